//! The byte form of the states: a version, a kind, then fields in little-endian order, then a check sum.
//!
//! A reader asks for what it expects; what is not there, is there too much or was changed is [`Error::DataLoss`].
//! Nothing is allocated for a length before that many bytes are known to follow.

use lodeway_domain::{Error, Result};

use crate::{Label, Sum};

/// The version written, and the only one read so far.
const VERSION: u8 = 2;
const CHECK_BYTES: usize = 8;

/// Writes one state.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new(kind: u8) -> Self {
        Self(vec![VERSION, kind])
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }

    pub(crate) fn sum(&mut self, value: Sum) {
        let (high, low) = value.parts();
        self.f64(high);
        self.f64(low);
    }

    /// How many elements follow.
    pub(crate) fn length(&mut self, length: usize) {
        self.u64(length as u64);
    }

    pub(crate) fn f64s(&mut self, values: &[f64]) {
        self.length(values.len());
        values.iter().for_each(|&value| self.f64(value));
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn label(&mut self, label: &Label) {
        match label {
            Label::Bool(value) => {
                self.u8(0);
                self.u8(u8::from(*value));
            }
            Label::Int(value) => {
                self.u8(1);
                self.u64(value.cast_unsigned());
            }
            Label::Text(text) => {
                self.u8(2);
                self.bytes(text.as_bytes());
            }
        }
    }

    pub(crate) fn labels(&mut self, labels: &[Label]) {
        self.length(labels.len());
        labels.iter().for_each(|label| self.label(label));
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let check = check_sum(&self.0);
        self.u64(check);
        self.0
    }
}

/// Reads one state.
pub(crate) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks sum, version and kind; `what` names the state in errors.
    pub(crate) fn new(bytes: &'a [u8], kind: u8, what: &'static str) -> Result<Self> {
        let mut reader = Self { what, rest: bytes };
        let split = bytes.len().checked_sub(CHECK_BYTES);
        let Some((body, check)) = split.and_then(|at| bytes.split_at_checked(at)) else {
            return Err(reader.damaged("is too short"));
        };
        reader.rest = check;
        let sound = reader.u64()? == check_sum(body);
        reader.check(sound, "has another check sum than when it was written")?;
        reader.rest = body;
        match reader.array::<2>()? {
            [VERSION, found] if found == kind => Ok(reader),
            [VERSION, _] => Err(reader.damaged("is a state of another kind")),
            [version, _] => Err(reader.damaged(&format!(
                "has version {version}, this program reads version {VERSION}"
            ))),
        }
    }

    /// The error for bytes that cannot be what was written.
    pub(crate) fn damaged(&self, why: &str) -> Error {
        Error::DataLoss(format!("the stored {} state {why}", self.what))
    }

    /// Ok if `sound`, else the error that says `why` not.
    pub(crate) fn check(&self, sound: bool, why: &str) -> Result<()> {
        if sound { Ok(()) } else { Err(self.damaged(why)) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.damaged("is cut off"));
        };
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn bool(&mut self) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.damaged("has a truth value that is neither 0 nor 1")),
        }
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn f64(&mut self) -> Result<f64> {
        self.u64().map(f64::from_bits)
    }

    pub(crate) fn sum(&mut self) -> Result<Sum> {
        Ok(Sum::from_parts(self.f64()?, self.f64()?))
    }

    /// A count of elements of at least `bytes_each` bytes, all of which must still follow.
    pub(crate) fn length(&mut self, bytes_each: usize) -> Result<usize> {
        let length = usize::try_from(self.u64()?).unwrap_or(usize::MAX);
        let fits = length
            .checked_mul(bytes_each)
            .is_some_and(|bytes| bytes <= self.rest.len());
        self.check(fits, "is cut off")?;
        Ok(length)
    }

    pub(crate) fn f64s(&mut self) -> Result<Vec<f64>> {
        let length = self.length(8)?;
        (0..length).map(|_| self.f64()).collect()
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.length(1)?;
        let Some((head, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.damaged("is cut off"));
        };
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str> {
        let bytes = self.bytes()?;
        str::from_utf8(bytes).map_err(|_| self.damaged("has a text that is not UTF-8"))
    }

    pub(crate) fn label(&mut self) -> Result<Label> {
        match self.u8()? {
            0 => Ok(Label::Bool(self.bool()?)),
            1 => Ok(Label::Int(self.u64()?.cast_signed())),
            2 => Ok(Label::Text(self.text()?.into())),
            _ => Err(self.damaged("has a label of an unknown kind")),
        }
    }

    pub(crate) fn labels(&mut self) -> Result<Vec<Label>> {
        let length = self.length(2)?;
        (0..length).map(|_| self.label()).collect()
    }

    /// Ok if everything was read.
    pub(crate) fn finish(self) -> Result<()> {
        self.check(self.rest.is_empty(), "has bytes after its end")
    }
}

/// FNV-1a over 64-bit words: not against malice, only against damage.
fn check_sum(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let (words, tail) = bytes.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let mixed = words.chain(tail.iter().map(|byte| u64::from(*byte)));
    mixed.fold(0xcbf2_9ce4_8422_2325, |hash, word| {
        let hash = (hash ^ word).wrapping_mul(PRIME);
        // The product alone never carries a high bit down.
        hash ^ (hash >> 29)
    })
}
