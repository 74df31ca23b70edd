//! JSON as XGBoost writes it, which has `NaN` and `Infinity` among its numbers.
//!
//! Arrays of numbers are only bounded here, not decoded: see [`crate::numbers`].

use std::borrow::Cow;

use crate::{
    Result, TreeError,
    numbers::Numbers,
    value::{Budget, Value},
};

/// Reads one value and refuses anything after it but white space.
pub(crate) fn read(bytes: &[u8]) -> Result<Value<'_>> {
    let text = str::from_utf8(bytes).map_err(|e| {
        TreeError::malformed(format_args!("byte {}", e.valid_up_to()), "the file is not UTF-8")
    })?;
    let mut reader = Reader {
        text,
        at: 0,
        budget: Budget::new(),
    };
    let value = reader.value(0)?;
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.wrong("something follows the end of the model")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    budget: Budget,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value<'a>> {
        let next = self.peek();
        self.budget.take(depth, self.at)?;
        match next {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => Ok(Value::Text(self.string()?)),
            Some(_) => match self.token() {
                "null" | "true" | "false" => Ok(Value::Word),
                "" => Err(self.wrong("a value is expected")),
                number => Ok(Value::Numbers(Numbers::Text(number))),
            },
            None => Err(self.too_short()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value<'a>> {
        self.at += 1;
        let mut fields = Vec::new();
        if self.skip(b'}') {
            return Ok(Value::Object(fields));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.wrong("the name of a field is expected"));
            }
            let name = self.string()?;
            self.expect(b':')?;
            fields.push((name, self.value(depth + 1)?));
            if !self.skip(b',') {
                self.expect(b'}')?;
                return Ok(Value::Object(fields));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>> {
        self.at += 1;
        match self.peek() {
            Some(b']') => {
                self.at += 1;
                Ok(Value::List(Vec::new()))
            }
            Some(b'{' | b'[' | b'"') => {
                let mut items = vec![self.value(depth + 1)?];
                while self.skip(b',') {
                    items.push(self.value(depth + 1)?);
                }
                self.expect(b']')?;
                Ok(Value::List(items))
            }
            Some(_) => {
                let start = self.at;
                self.tokens()?;
                let inside = self.text.get(start..self.at).unwrap_or_default();
                self.expect(b']')?;
                Ok(Value::Numbers(Numbers::Text(inside)))
            }
            None => Err(self.too_short()),
        }
    }

    /// Passes over bare words with commas between.
    fn tokens(&mut self) -> Result<()> {
        loop {
            if self.token().is_empty() {
                return Err(self.wrong("a number is expected"));
            }
            if !self.skip(b',') {
                return Ok(());
            }
            self.peek();
        }
    }

    /// A bare word: a number, `true`, `NaN` and so on; empty if something else comes next.
    fn token(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let length = rest.bytes().take_while(is_part).count();
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn string(&mut self) -> Result<Cow<'a, str>> {
        let start = self.at;
        self.at += 1;
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let mut is_escaped = false;
        let mut has_escapes = false;
        for &byte in rest {
            self.at += 1;
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => (is_escaped, has_escapes) = (true, true),
                b'"' if has_escapes => return self.unescape(start),
                b'"' => {
                    let inside = self.text.get(start + 1..self.at - 1);
                    return Ok(Cow::Borrowed(inside.unwrap_or_default()));
                }
                _ => {}
            }
        }
        Err(self.too_short())
    }

    fn unescape(&self, start: usize) -> Result<Cow<'a, str>> {
        let quoted = self.text.get(start..self.at).unwrap_or_default();
        match serde_json::from_str(quoted) {
            Ok(text) => Ok(Cow::Owned(text)),
            Err(_) => Err(self.wrong("a string has escapes that JSON does not know")),
        }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let space = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
        self.at += space;
        rest.get(space).copied()
    }

    fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.skip(byte) {
            return Ok(());
        }
        match self.peek() {
            None => Err(self.too_short()),
            Some(_) => Err(self.wrong(format!("`{}` is expected", char::from(byte)))),
        }
    }

    fn too_short(&self) -> TreeError {
        self.wrong("the file ends inside a value")
    }

    fn wrong(&self, problem: impl Into<String>) -> TreeError {
        TreeError::malformed(format_args!("byte {}", self.at), problem)
    }
}
