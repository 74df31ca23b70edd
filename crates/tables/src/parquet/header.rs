//! The heads of pages.

use super::thrift::{TRUE, Walk};
use parquet::basic::Encoding;

/// What stands before a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Bytes in the file after the header.
    pub(super) packed: usize,
    /// Bytes once decompressed, levels included.
    pub(super) unpacked: usize,
    /// Values, nulls included.
    pub(super) values: u32,
    pub(super) encoding: Encoding,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Dictionary {
        is_sorted: bool,
    },
    V1 {
        def_levels: Encoding,
        rep_levels: Encoding,
    },
    V2 {
        nulls: u32,
        rows: u32,
        def_bytes: usize,
        rep_bytes: usize,
        is_compressed: bool,
    },
    /// Of no use for reading.
    Other,
}

/// The fields of a struct in a page header by number, as far as they are numbers.
type Numbers = [Option<i64>; 9];

impl Header {
    /// The header at the beginning of `bytes` and its length; `None` if it is damaged or goes on beyond them.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut walk = Walk::new(bytes);
        let mut head = Numbers::default();
        let mut inner: Option<Numbers> = None;
        walk.fields(|walk, number, _| match number {
            1..=3 => {
                let value = walk.int()?;
                put(&mut head, number, value);
                Some(true)
            }
            5 | 7 | 8 => {
                let mut numbers = Numbers::default();
                walk.fields(|walk, number, kind| {
                    let is_flag = kind <= 2;
                    if is_flag {
                        put(&mut numbers, number, (kind == TRUE).into());
                    } else if matches!(kind, 4..=6) {
                        let value = walk.int()?;
                        put(&mut numbers, number, value);
                        return Some(true);
                    }
                    Some(false)
                })?;
                put(&mut head, number, 1);
                inner = Some(numbers);
                Some(true)
            }
            _ => Some(false),
        })?;
        let size = |number: usize| usize::try_from(i32::try_from(head.get(number).copied()??).ok()?).ok();
        let (packed, unpacked) = (size(3)?, size(2)?);
        let blank = Self {
            kind: Kind::Other,
            packed,
            unpacked,
            values: 0,
            encoding: Encoding::PLAIN,
        };
        let wanted = match head.get(1).copied()?? {
            0 => 5,
            2 => 7,
            3 => 8,
            _ => return Some((blank, walk.at())),
        };
        // the struct that belongs to the kind must be there, and the only one
        let came = [5, 7, 8].map(|number| head.get(number).copied().flatten().is_some());
        if came != [5, 7, 8].map(|number| number == wanted) {
            return None;
        }
        let numbers = inner?;
        let number = |at: usize| numbers.get(at).copied().flatten();
        let count = |at: usize| {
            u32::try_from(number(at)?)
                .ok()
                .filter(|count| i32::try_from(*count).is_ok())
        };
        let (kind, coded) = match wanted {
            7 => (
                Kind::Dictionary {
                    is_sorted: number(3) == Some(1),
                },
                2,
            ),
            5 => (
                Kind::V1 {
                    def_levels: encoding(number(3)?)?,
                    rep_levels: encoding(number(4)?)?,
                },
                2,
            ),
            _ => (
                Kind::V2 {
                    nulls: count(2)?,
                    rows: count(3)?,
                    def_bytes: usize::try_from(count(5)?).ok()?,
                    rep_bytes: usize::try_from(count(6)?).ok()?,
                    is_compressed: number(7) != Some(0),
                },
                4,
            ),
        };
        let header = Self {
            kind,
            values: count(1)?,
            encoding: encoding(number(coded)?)?,
            ..blank
        };
        Some((header, walk.at()))
    }
}

fn put(numbers: &mut Numbers, number: i64, value: i64) {
    let at = usize::try_from(number).ok();
    if let Some(slot) = at.and_then(|at| numbers.get_mut(at)) {
        *slot = Some(value);
    }
}

fn encoding(number: i64) -> Option<Encoding> {
    #[expect(deprecated, reason = "old writers use it for levels")]
    let bit_packed = Encoding::BIT_PACKED;
    Some(match number {
        0 => Encoding::PLAIN,
        2 => Encoding::PLAIN_DICTIONARY,
        3 => Encoding::RLE,
        4 => bit_packed,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        7 => Encoding::DELTA_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        9 => Encoding::BYTE_STREAM_SPLIT,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        // type 0, unpacked 40, packed 30, v1 {values 5, plain, rle, rle}
        let bytes = [
            0x15, 0, 0x15, 80, 0x15, 60, 0x2c, 0x15, 10, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0,
        ];
        let (header, length) = Header::read(&bytes).unwrap();
        assert_eq!(length, bytes.len());
        let kind = Kind::V1 {
            def_levels: Encoding::RLE,
            rep_levels: Encoding::RLE,
        };
        let wanted = Header {
            kind,
            packed: 30,
            unpacked: 40,
            values: 5,
            encoding: Encoding::PLAIN,
        };
        assert_eq!(header, wanted);
        let mut negative = bytes;
        negative[3] = 79;
        assert_eq!(Header::read(&negative), None);
        let mut other_kind = bytes;
        other_kind[1] = 4;
        assert_eq!(Header::read(&other_kind), None);
    }
}
