//! Walks over Thrift's compact protocol, in which Parquet writes its headers.
//!
//! Source: <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>.

/// How deep structs and lists may be nested; Parquet's own go to 7.
const DEEPEST: usize = 16;

/// The kinds of value of the protocol that matter here.
pub(super) const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
pub(super) const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
pub(super) const STRUCT: u8 = 12;
const UUID: u8 = 13;

/// Bytes being walked over; every step is `None` at what is no Thrift or ends too early.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            depth: 0,
        }
    }

    /// How far the walk came.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Calls `each` with number and kind of every field of a struct; `each` walks over the value or returns false.
    pub(super) fn fields(&mut self, mut each: impl FnMut(&mut Self, i64, u8) -> Option<bool>) -> Option<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let mut number = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                self.depth -= 1;
                return Some(());
            }
            let kind = head & 0x0f;
            number = match head >> 4 {
                0 => self.int()?,
                step => number.checked_add(step.into())?,
            };
            if !each(self, number, kind)? {
                self.skip(kind)?;
            }
        }
    }

    /// Number and kind of the elements of a list; there are no more than bytes are left.
    pub(super) fn list(&mut self) -> Option<(usize, u8)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => usize::try_from(self.varint()?).ok()?,
            count => count.into(),
        };
        (count <= self.bytes.len() - self.at).then_some((count, head & 0x0f))
    }

    /// Walks over a value.
    pub(super) fn skip(&mut self, kind: u8) -> Option<()> {
        match kind {
            TRUE | FALSE => {}
            BYTE => self.pass(1)?,
            I16 | I32 | I64 => drop(self.varint()?),
            DOUBLE => self.pass(8)?,
            BINARY => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.pass(length)?;
            }
            LIST | SET => {
                let (count, kind) = self.list()?;
                self.skip_all(count, &[kind])?;
            }
            MAP => {
                let count = usize::try_from(self.varint()?).ok()?;
                if count > 0 {
                    let kinds = self.byte()?;
                    self.skip_all(count, &[kinds >> 4, kinds & 0x0f])?;
                }
            }
            STRUCT => self.fields(|_, _, _| Some(false))?,
            UUID => self.pass(16)?,
            _ => return None,
        }
        Some(())
    }

    fn skip_all(&mut self, count: usize, kinds: &[u8]) -> Option<()> {
        self.depth += 1;
        if self.depth > DEEPEST || count > self.bytes.len() - self.at {
            return None;
        }
        for _ in 0..count {
            for &kind in kinds {
                match kind {
                    // elements of lists have a byte, fields do not
                    TRUE | FALSE => self.pass(1)?,
                    kind => self.skip(kind)?,
                }
            }
        }
        self.depth -= 1;
        Some(())
    }

    /// A signed integer.
    pub(super) fn int(&mut self) -> Option<i64> {
        let raw = self.varint()?;
        Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// An unsigned integer.
    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// Walks over so many bytes.
    pub(super) fn pass(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.bytes.len())?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_walked_over() {
        // fields: 1 i32 = -3; 3 list of two i32; 4 bool; 5 struct {}; 6 binary "ab"
        let bytes = [
            0x15, 5, 0x29, 0x25, 2, 4, 0x11, 0x1c, 0, 0x18, 2, b'a', b'b', 0, 99,
        ];
        let mut walk = Walk::new(&bytes);
        let mut met = Vec::new();
        walk.fields(|walk, number, kind| {
            met.push((number, kind));
            if number == 1 {
                assert_eq!(walk.int(), Some(-3));
            }
            Some(number == 1)
        })
        .unwrap();
        assert_eq!(met, [(1, I32), (3, LIST), (4, TRUE), (5, STRUCT), (6, BINARY)]);
        assert_eq!(walk.at(), bytes.len() - 1);
        for cut in 0..bytes.len() - 1 {
            assert_eq!(Walk::new(&bytes[..cut]).skip(STRUCT), None, "{cut}");
        }
    }

    #[test]
    fn nesting_and_counts_are_bounded() {
        assert_eq!(Walk::new(&[0x1c; 1000]).skip(STRUCT), None);
        assert_eq!(Walk::new(&[0xf5, 0xff, 0xff, 0xff, 0x0f, 1]).skip(LIST), None);
        assert_eq!(Walk::new(&[0xff; 11]).varint(), None);
    }
}
