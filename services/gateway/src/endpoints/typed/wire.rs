//! The wire format of protobuf, as far as typed services need it.
//!
//! Decision, 2026-11-25: messages are read straight into columns and written straight from tensors. Dynamic messages in
//! between would hold every number of a tensor as a value of many bytes, so that a request of the largest size could grow to
//! several gigabytes.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

use bytes::{Buf as _, Bytes};

/// A field as it stands on the wire.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    /// `bool` and integers.
    Varint(u64),
    /// `double`.
    Fixed64(u64),
    /// `float`.
    Fixed32(u32),
    /// Texts, bytes, messages and packed lists.
    Bytes(Bytes),
}

/// Why bytes are no message.
pub(super) type Malformed = &'static str;

/// The fields of a message, one after the other.
pub(super) struct Reader(Bytes);

impl Reader {
    pub(super) fn new(message: Bytes) -> Self {
        Self(message)
    }

    /// The next field and its number; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Raw)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = take_varint(&mut self.0)?;
        let number = u32::try_from(key >> 3).ok().filter(|&number| number > 0);
        let number = number.ok_or("has a field without a number")?;
        let raw = match key & 7 {
            0 => Raw::Varint(take_varint(&mut self.0)?),
            1 => Raw::Fixed64(self.0.try_get_u64_le().map_err(|_| ENDS)?),
            2 => {
                let length = usize::try_from(take_varint(&mut self.0)?).map_err(|_| ENDS)?;
                if length > self.0.len() {
                    return Err(ENDS);
                }
                Raw::Bytes(self.0.split_to(length))
            }
            5 => Raw::Fixed32(self.0.try_get_u32_le().map_err(|_| ENDS)?),
            _ => return Err("has a field of an unknown wire type"),
        };
        Ok(Some((number, raw)))
    }
}

const ENDS: Malformed = "ends in the middle of a field";

/// The varint at the front of `bytes`.
pub(super) fn take_varint(bytes: &mut Bytes) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for (at, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            bytes.advance(at + 1);
            return Ok(value);
        }
    }
    Err(if bytes.len() < 10 {
        ENDS
    } else {
        "has a number of more than 64 bits"
    })
}

/// Writes a varint.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A value as it is written, without its number.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Bytes),
}

impl Scalar {
    /// Whether it is what is read where nothing stands.
    pub(super) fn is_default(&self) -> bool {
        match self {
            Self::Varint(value) | Self::Fixed64(value) => *value == 0,
            Self::Fixed32(value) => *value == 0,
            Self::Bytes(bytes) => bytes.is_empty(),
        }
    }

    /// Writes it with its number.
    pub(super) fn put(&self, out: &mut Vec<u8>, number: u32) {
        let wire_type = match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => 2,
            Self::Fixed32(_) => 5,
        };
        put_varint(out, u64::from(number) << 3 | wire_type);
        self.put_packed(out);
    }

    /// Writes it as one of a packed list.
    pub(super) fn put_packed(&self, out: &mut Vec<u8>) {
        match self {
            Self::Varint(value) => put_varint(out, *value),
            Self::Fixed64(value) => out.extend(value.to_le_bytes()),
            Self::Fixed32(value) => out.extend(value.to_le_bytes()),
            Self::Bytes(bytes) => {
                put_varint(out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
        }
    }
}

/// Writes a text, bytes, a message or a packed list with its number.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u32, Raw)>, Malformed> {
        let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
        let mut fields = Vec::new();
        while let Some(field) = reader.next()? {
            fields.push(field);
        }
        Ok(fields)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(number in 1..536_870_912_u32, varint: u64, fixed: u32, text: Vec<u8>) {
            let values = [
                Scalar::Varint(varint),
                Scalar::Fixed64(varint),
                Scalar::Fixed32(fixed),
                Scalar::Bytes(text.clone().into()),
            ];
            let mut out = Vec::new();
            values.iter().for_each(|value| value.put(&mut out, number));
            let wanted = [Raw::Varint(varint), Raw::Fixed64(varint), Raw::Fixed32(fixed), Raw::Bytes(text.into())];
            prop_assert_eq!(all(&out).unwrap(), wanted.map(|raw| (number, raw)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            prop_assert!(all(&bytes).is_ok_and(|fields| fields.len() <= bytes.len()) || all(&bytes).is_err());
        }
    }

    #[test]
    fn only_what_is_read_anyhow_is_a_default() {
        let values = [
            Scalar::Varint(0),
            Scalar::Fixed64(0),
            Scalar::Fixed32(0),
            Scalar::Bytes(Bytes::new()),
        ];
        assert!(values.iter().all(Scalar::is_default));
        assert!(!Scalar::Fixed64((-0.0_f64).to_bits()).is_default());
    }

    #[test]
    fn damaged_messages_are_refused() {
        for bad in [
            &[0x08][..],
            &[0x0a, 5, 1],
            &[0x09, 1],
            &[0x0d, 1],
            &[0x00, 1],
            &[0x0b],
            &[0xff; 11],
        ] {
            assert!(all(bad).is_err(), "{bad:?}");
        }
    }
}
