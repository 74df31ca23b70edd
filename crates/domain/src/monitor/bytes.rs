//! The byte form of summaries: a version, a kind, then fields; whole numbers in as few bytes as they need.
//!
//! A whole number is in groups of 7 bits, the lowest first, the high bit set on all but the last (LEB128). Each number
//! has one form only, so that bytes that are read are those that would be written. Most counts of a window are small,
//! which is why this is not the fixed form of the sketches; the sketches themselves are inside as blocks of bytes.

use crate::{Error, Result};

/// The version written, and the only one read so far.
const VERSION: u8 = 1;
/// What one byte of a whole number holds, and the mark that another follows.
const GROUP: u64 = 0x7f;
const MORE: u8 = 0x80;

/// Writes one summary.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// Starts with the version and the kind.
    pub(super) fn new(kind: u8) -> Self {
        Self(vec![VERSION, kind])
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }

    pub(super) fn number(&mut self, mut number: u64) {
        while number > GROUP {
            self.0.push((number & GROUP) as u8 | MORE);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// A number of either sign; those near 0 are short.
    pub(super) fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    pub(super) fn length(&mut self, length: usize) {
        self.number(length as u64);
    }

    pub(super) fn float(&mut self, value: f64) {
        self.0.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    pub(super) fn block(&mut self, block: &[u8]) {
        self.length(block.len());
        self.0.extend_from_slice(block);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads one summary. Every error is [`Error::DataLoss`].
pub(super) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks the version and the kind; `what` names the summary in errors.
    pub(super) fn new(bytes: &'a [u8], kind: u8, what: &'static str) -> Result<Self> {
        let mut reader = Self { what, rest: bytes };
        match (reader.byte()?, reader.byte()?) {
            (VERSION, found) if found == kind => Ok(reader),
            (VERSION, _) => Err(reader.damaged("is of another kind")),
            (version, _) => Err(reader.damaged(&format!(
                "has version {version}, this program reads version {VERSION}"
            ))),
        }
    }

    pub(super) fn damaged(&self, why: &str) -> Error {
        Error::DataLoss(format!("the stored {} {why}", self.what))
    }

    /// Ok if `sound`, else the error that says `why` not.
    pub(super) fn check(&self, sound: bool, why: &str) -> Result<()> {
        if sound { Ok(()) } else { Err(self.damaged(why)) }
    }

    pub(super) fn flag(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.damaged("has a mark that cannot be")),
        }
    }

    pub(super) fn number(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let group = u64::from(byte) & GROUP;
            self.check(
                (group << shift) >> shift == group,
                "has a number that is too large",
            )?;
            number |= group << shift;
            if byte & MORE == 0 {
                self.check(
                    group > 0 || shift == 0,
                    "has a number that is longer than it needs",
                )?;
                return Ok(number);
            }
        }
        Err(self.damaged("has a number that is too large"))
    }

    pub(super) fn signed(&mut self) -> Result<i64> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
    }

    /// How many elements follow; an error if more than `most`.
    pub(super) fn length(&mut self, most: usize) -> Result<usize> {
        let length = usize::try_from(self.number()?).ok();
        length
            .filter(|&length| length <= most)
            .ok_or_else(|| self.damaged("has more elements than it can keep"))
    }

    pub(super) fn float(&mut self) -> Result<f64> {
        let (&bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| self.cut())?;
        self.rest = rest;
        Ok(f64::from_bits(u64::from_le_bytes(bytes)))
    }

    pub(super) fn block(&mut self) -> Result<&'a [u8]> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let (block, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.cut())?;
        self.rest = rest;
        Ok(block)
    }

    pub(super) fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.block()?).map_err(|_| self.damaged("has a text that is not UTF-8"))
    }

    /// Checks that nothing is left over.
    pub(super) fn finish(self) -> Result<()> {
        self.check(self.rest.is_empty(), "has bytes after its end")
    }

    fn byte(&mut self) -> Result<u8> {
        let (&byte, rest) = self.rest.split_first().ok_or_else(|| self.cut())?;
        self.rest = rest;
        Ok(byte)
    }

    fn cut(&self) -> Error {
        self.damaged("is cut short")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<u64> {
        let mut reader = Reader::new(bytes, b'x', "thing")?;
        let number = reader.number()?;
        reader.finish()?;
        Ok(number)
    }

    #[test]
    fn a_number_has_one_form() {
        assert_eq!(read(&[1, b'x', 0]).unwrap(), 0);
        assert_eq!(read(&[1, b'x', 0x80, 1]).unwrap(), 128);
        let longer = read(&[1, b'x', 0x80, 0]).unwrap_err().to_string();
        assert_eq!(
            longer,
            "the stored thing has a number that is longer than it needs"
        );
        let mut most = vec![1, b'x'];
        most.extend([0xff; 9]);
        assert_eq!(read(&[&most[..], &[1]].concat()).unwrap(), u64::MAX);
        assert!(read(&[&most[..], &[2]].concat()).is_err());
        assert!(read(&[&most[..], &[0x81, 0]].concat()).is_err());
        assert!(read(&[&most[..], &[0x81]].concat()).is_err());
    }

    #[test]
    fn another_version_and_another_kind_are_named() {
        assert_eq!(
            read(&[2, b'x', 0]).unwrap_err().to_string(),
            "the stored thing has version 2, this program reads version 1"
        );
        assert_eq!(
            read(&[1, b'y', 0]).unwrap_err().to_string(),
            "the stored thing is of another kind"
        );
        assert_eq!(
            read(&[1]).unwrap_err().to_string(),
            "the stored thing is cut short"
        );
    }

    proptest! {
        #[test]
        fn fields_come_back(number: u64, signed: i64, bits: u64, flag: bool, text in ".{0,20}") {
            let mut out = Writer::new(b'x');
            out.number(number);
            out.signed(signed);
            out.float(f64::from_bits(bits));
            out.flag(flag);
            out.block(text.as_bytes());
            let bytes = out.finish();
            let mut reader = Reader::new(&bytes, b'x', "thing").unwrap();
            prop_assert_eq!(reader.number().unwrap(), number);
            prop_assert_eq!(reader.signed().unwrap(), signed);
            prop_assert_eq!(reader.float().unwrap().to_bits(), bits);
            prop_assert_eq!(reader.flag().unwrap(), flag);
            prop_assert_eq!(reader.text().unwrap(), text);
            prop_assert!(reader.finish().is_ok());
        }
    }
}
