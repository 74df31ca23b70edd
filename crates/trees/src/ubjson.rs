//! Universal Binary JSON, as far as XGBoost writes it.
//!
//! Source: <https://ubjson.org>, draft 12; counted objects, no-ops and high-precision numbers do not occur and are
//! refused. Lengths are checked against the bytes that are left before anything is reserved.

use std::borrow::Cow;

use crate::{
    Result, TreeError,
    numbers::{Numbers, Packed},
    value::{Budget, Value},
};

/// Reads one value and refuses anything after it.
pub(crate) fn read(bytes: &[u8]) -> Result<Value<'_>> {
    let mut reader = Reader {
        bytes,
        at: 0,
        budget: Budget::new(),
    };
    let value = reader.value(0)?;
    match reader.at == bytes.len() {
        true => Ok(value),
        false => Err(reader.wrong("something follows the end of the model")),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    budget: Budget,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value<'a>> {
        self.budget.take(depth, self.at)?;
        let marker = self.byte()?;
        Ok(match marker {
            b'{' => self.object(depth)?,
            b'[' => self.list(depth)?,
            b'Z' | b'T' | b'F' => Value::Word,
            b'S' => Value::Text(self.text()?),
            b'C' => Value::Numbers(Numbers::Packed(Packed::I8, self.take(1)?)),
            _ => match Packed::of(marker) {
                Some(kind) => Value::Numbers(Numbers::Packed(kind, self.take(kind.size())?)),
                None => return Err(self.unknown_marker(marker)),
            },
        })
    }

    fn object(&mut self, depth: usize) -> Result<Value<'a>> {
        let mut fields = Vec::new();
        while self.peek()? != b'}' {
            let name = self.text()?;
            fields.push((name, self.value(depth + 1)?));
        }
        self.at += 1;
        Ok(Value::Object(fields))
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>> {
        match self.peek()? {
            b'$' => {
                self.at += 1;
                let marker = self.byte()?;
                let kind = Packed::of(marker).ok_or_else(|| self.unknown_marker(marker))?;
                if self.byte()? != b'#' {
                    return Err(self.wrong("an array with a type has no count"));
                }
                let count = self.length()?;
                let size = count.checked_mul(kind.size()).ok_or_else(|| self.too_short())?;
                Ok(Value::Numbers(Numbers::Packed(kind, self.take(size)?)))
            }
            b'#' => {
                self.at += 1;
                let count = self.length()?;
                // An item is one byte at least.
                if count > self.bytes.len() - self.at {
                    return Err(self.too_short());
                }
                self.items(depth, |_, found| Ok(found == count))
            }
            _ => self.items(depth, |reader, _| {
                let is_end = reader.peek()? == b']';
                reader.at += usize::from(is_end);
                Ok(is_end)
            }),
        }
    }

    /// The items until `is_end`, asked with their number so far. Numbers are kept as such, not as values, for files hold
    /// long lists of them.
    fn items(
        &mut self,
        depth: usize,
        is_end: impl Fn(&mut Self, usize) -> Result<bool>,
    ) -> Result<Value<'a>> {
        if is_end(self, 0)? {
            return Ok(Value::List(Vec::new()));
        }
        match Packed::of(self.peek()?) {
            Some(kind) if kind.is_real() => {
                let reals = self.collect(is_end, Self::real)?;
                Ok(Value::Numbers(Numbers::Reals(reals)))
            }
            Some(_) => {
                let integers = self.collect(is_end, Self::integer)?;
                Ok(Value::Numbers(Numbers::Integers(integers)))
            }
            None => Ok(Value::List(
                self.collect(is_end, |reader| reader.value(depth + 1))?,
            )),
        }
    }

    fn collect<T>(
        &mut self,
        is_end: impl Fn(&mut Self, usize) -> Result<bool>,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut items = Vec::new();
        while !is_end(self, items.len())? {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// An integer of any size.
    fn integer(&mut self) -> Result<i64> {
        let number = self.number(false)?.integers().unwrap_or_default();
        number
            .first()
            .copied()
            .ok_or_else(|| self.wrong("an integer is expected"))
    }

    /// A floating-point number of either size.
    fn real(&mut self) -> Result<f64> {
        let number = self.number(true)?.doubles().unwrap_or_default();
        number
            .first()
            .copied()
            .ok_or_else(|| self.wrong("a number with a fraction is expected"))
    }

    fn number(&mut self, is_real: bool) -> Result<Numbers<'a>> {
        let marker = self.peek()?;
        match Packed::of(marker).filter(|kind| kind.is_real() == is_real) {
            Some(kind) => {
                self.at += 1;
                Ok(Numbers::Packed(kind, self.take(kind.size())?))
            }
            None => Err(self.unknown_marker(marker)),
        }
    }

    fn length(&mut self) -> Result<usize> {
        let length = self.integer()?;
        usize::try_from(length).map_err(|_| self.wrong("a length is negative"))
    }

    fn text(&mut self) -> Result<Cow<'a, str>> {
        let length = self.length()?;
        let bytes = self.take(length)?;
        match str::from_utf8(bytes) {
            Ok(text) => Ok(Cow::Borrowed(text)),
            Err(_) => Err(self.wrong("a string is not UTF-8")),
        }
    }

    fn byte(&mut self) -> Result<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    fn peek(&self) -> Result<u8> {
        self.bytes.get(self.at).copied().ok_or_else(|| self.too_short())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let taken = self
            .at
            .checked_add(count)
            .and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| self.too_short())?;
        self.at += count;
        Ok(taken)
    }

    fn too_short(&self) -> TreeError {
        self.wrong("the file ends inside a value")
    }

    fn unknown_marker(&self, marker: u8) -> TreeError {
        self.wrong(format!("type marker 0x{marker:02x} is not expected here"))
    }

    fn wrong(&self, problem: impl Into<String>) -> TreeError {
        TreeError::malformed(format_args!("byte {}", self.at), problem)
    }
}
