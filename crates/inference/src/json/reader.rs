//! A reader that walks over JSON once and gives scalars as they come.

use std::borrow::Cow;

use lodeway_domain::Error;
use serde_json::Value;

use super::{MAX_DEPTH, number, scalar::Scalar};
use crate::{
    Params,
    fault::{Fault, Read},
};

/// A body without the byte order mark of UTF-8, which some editors and libraries write before JSON.
pub(crate) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Walks over a body.
///
/// It takes what Python's `json` takes (`NaN` and the infinities included), except lone surrogates, which UTF-8 cannot
/// hold, and numbers in digits beyond the floats of 64 bits.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `body`, after its byte order mark if it has one. Errors: a body that is not UTF-8.
    pub(crate) fn new(body: &'a [u8]) -> Read<Self> {
        match std::str::from_utf8(body) {
            Ok(text) => Ok(Self {
                text,
                at: body.len() - without_mark(body).len(),
            }),
            Err(error) => Err(Fault::at(
                "body",
                format!("is not UTF-8 from byte {} on", error.valid_up_to()),
            )),
        }
    }

    fn fault(&self, why: &str) -> Fault {
        Fault::at("body", format!("is not JSON: {why} at byte {}", self.at))
    }

    /// The first byte of what comes next; nothing is taken.
    pub(crate) fn peek(&mut self) -> Read<u8> {
        while let Some(&byte) = self.text.as_bytes().get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Ok(byte);
            }
            self.at += 1;
        }
        Err(self.fault("it ends too early"))
    }

    /// Whether a list comes whose first element is an object; nothing is taken.
    pub(crate) fn begins_with_objects(&mut self) -> Read<bool> {
        self.begins_with(b"[{")
    }

    /// Whether these bytes come next, with spaces between them or not; nothing is taken.
    pub(crate) fn begins_with(&mut self, bytes: &[u8]) -> Read<bool> {
        let mut ahead = self.clone();
        for &byte in bytes {
            if ahead.peek()? != byte {
                return Ok(false);
            }
            ahead.at += 1;
        }
        Ok(true)
    }

    fn take(&mut self, wanted: u8, what: &str) -> Read<()> {
        if self.peek()? != wanted {
            return Err(self.fault(what));
        }
        self.at += 1;
        Ok(())
    }

    /// Calls `each` in front of every element of a list, which has to take exactly that.
    pub(crate) fn list(&mut self, mut each: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.take(b'[', "a list was expected")?;
        if self.closes(b']')? {
            return Ok(());
        }
        loop {
            each(self)?;
            if !self.goes_on(b']')? {
                return Ok(());
            }
        }
    }

    /// Calls `each` with every key of an object and in front of its value, which it has to take.
    pub(crate) fn object(&mut self, mut each: impl FnMut(&mut Self, Cow<'a, str>) -> Read<()>) -> Read<()> {
        self.take(b'{', "an object was expected")?;
        if self.closes(b'}')? {
            return Ok(());
        }
        loop {
            self.peek()?;
            let key = self.string()?;
            self.take(b':', "a colon was expected")?;
            each(self, key)?;
            if !self.goes_on(b'}')? {
                return Ok(());
            }
        }
    }

    fn closes(&mut self, end: u8) -> Read<bool> {
        let closes = self.peek()? == end;
        self.at += usize::from(closes);
        Ok(closes)
    }

    /// Whether a comma comes and not the end.
    fn goes_on(&mut self, end: u8) -> Read<bool> {
        let next = self.peek()?;
        if next != b',' && next != end {
            return Err(self.fault("a comma or the end of a list or object was expected"));
        }
        self.at += 1;
        Ok(next == b',')
    }

    /// Takes a value that is no list and no object.
    pub(crate) fn scalar(&mut self) -> Read<Scalar<'a>> {
        match self.peek()? {
            b'"' => self.string().map(Scalar::Text),
            b't' => self.word("true", Scalar::Bool(true)),
            b'f' => self.word("false", Scalar::Bool(false)),
            b'n' => self.word("null", Scalar::Null),
            b'N' => self.word("NaN", Scalar::Float(f64::NAN)),
            b'I' => self.word("Infinity", Scalar::Float(f64::INFINITY)),
            b'-' if self.rest().starts_with("-I") => self.word("-Infinity", Scalar::Float(f64::NEG_INFINITY)),
            _ => match number::parse(self.rest()) {
                Ok((scalar, length)) => {
                    self.at += length;
                    Ok(scalar)
                }
                Err(why) => Err(self.fault(why)),
            },
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn word(&mut self, word: &str, scalar: Scalar<'a>) -> Read<Scalar<'a>> {
        if !self.rest().starts_with(word) {
            return Err(self.fault("a value was expected"));
        }
        self.at += word.len();
        Ok(scalar)
    }

    /// Takes a string, borrowed where it has no escapes. Blanks before it must have been taken.
    fn string(&mut self) -> Read<Cow<'a, str>> {
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) != Some(&b'"') {
            return Err(self.fault("a string was expected"));
        }
        let start = self.at + 1;
        let mut end = start;
        loop {
            match bytes.get(end) {
                Some(b'"') => {
                    self.at = end + 1;
                    return Ok(Cow::Borrowed(self.text.get(start..end).unwrap_or_default()));
                }
                Some(b'\\') => return self.escaped(start),
                Some(0x20..) => end += 1,
                _ => {
                    self.at = end;
                    return Err(self.fault("a string is cut off or holds a control character"));
                }
            }
        }
    }

    /// Takes a string that has escapes; its quote is before `start`.
    fn escaped(&mut self, start: usize) -> Read<Cow<'a, str>> {
        let bytes = self.text.as_bytes();
        let mut end = start;
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(_) => end += 1,
                None => return Err(self.fault("a string is cut off")),
            }
        }
        // escapes are rare enough to be left to serde, which knows the pairs of surrogates
        let quoted = self.text.get(start - 1..=end).unwrap_or_default();
        match serde_json::from_str(quoted) {
            Ok(text) => {
                self.at = end + 1;
                Ok(Cow::Owned(text))
            }
            Err(error) => Err(self.fault(&format!("a string has a bad escape ({error})"))),
        }
    }

    /// Takes any value and checks that it is JSON, no deeper than [`MAX_DEPTH`]; returns its text.
    pub(crate) fn skip(&mut self) -> Read<&'a str> {
        self.peek()?;
        let start = self.at;
        // true for objects
        let mut open = Vec::new();
        loop {
            match self.peek()? {
                opening @ (b'[' | b'{') => {
                    if open.len() == MAX_DEPTH {
                        return Err(self.fault("it nests too deep"));
                    }
                    let is_object = opening == b'{';
                    self.at += 1;
                    if !self.closes(if is_object { b'}' } else { b']' })? {
                        open.push(is_object);
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => drop(self.scalar()?),
            }
            while let Some(&is_object) = open.last() {
                if !self.goes_on(if is_object { b'}' } else { b']' })? {
                    open.pop();
                } else {
                    if is_object {
                        self.key()?;
                    }
                    break;
                }
            }
            if open.is_empty() {
                return Ok(self.text.get(start..self.at).unwrap_or_default());
            }
        }
    }

    fn key(&mut self) -> Read<()> {
        self.peek()?;
        self.string()?;
        self.take(b':', "a colon was expected")
    }

    /// Takes a string that must be there; `field` is its path.
    pub(crate) fn text(&mut self, field: &str) -> Read<Cow<'a, str>> {
        match self.peek()? {
            b'"' => self.string(),
            _ => Err(Fault::at(field, "must be a string")),
        }
    }

    /// Takes an object of parameters, or null for none.
    pub(crate) fn params(&mut self, field: &str) -> Read<Params> {
        match serde_json::from_str(self.skip()?) {
            Ok(Value::Object(params)) => Ok(params),
            Ok(Value::Null) => Ok(Params::new()),
            Ok(_) => Err(Fault::at(field, "must be an object of parameters by name")),
            // it was JSON with Python's words a moment ago
            Err(_) => Err(Fault::at(
                field,
                "must not hold NaN or infinities, nor nest as deep",
            )),
        }
    }

    /// A reader of `text`, which this reader skipped before.
    pub(crate) fn again(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Checks that nothing but blanks is left.
    pub(crate) fn finish(&mut self) -> Read<()> {
        match self.peek() {
            Ok(_) => Err(self.fault("something follows the value")),
            Err(_) => Ok(()),
        }
    }
}

/// The number that a text is as a whole, by JSON's grammar.
pub(crate) fn decimal(text: &str) -> Option<Scalar<'static>> {
    number::parse(text)
        .ok()
        .filter(|(_, length)| *length == text.len())
        .map(|(scalar, _)| scalar)
}

/// Reads a whole body with `read`, and nothing may follow.
pub(crate) fn whole<'a, T>(
    body: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Read<T>,
) -> Result<T, Error> {
    let mut reader = Reader::new(body)?;
    let value = read(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn skips(text: &str) -> bool {
        let mut reader = Reader::again(text);
        reader.skip().is_ok() && reader.finish().is_ok()
    }

    #[test]
    fn scalars_come_as_they_are_written() {
        let mut seen = Vec::new();
        let body = br#" [1, -2.5, "a\u00e9\"", true, null, NaN, -Infinity, "b" ] "#;
        whole(body, |reader| {
            reader.list(|reader| {
                seen.push(format!("{:?}", reader.scalar()?));
                Ok(())
            })
        })
        .unwrap();
        let wanted = [
            "Int(1)",
            "Float(-2.5)",
            "Text(\"aé\\\"\")",
            "Bool(true)",
            "Null",
            "Float(NaN)",
            "Float(-inf)",
            "Text(\"b\")",
        ];
        assert_eq!(seen, wanted);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{1:2}",
            "[1 2]",
            "nul",
            "\"a",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\n\"",
            "1 1",
            "[1]]",
            "tru",
            "Nan",
            "-Inf",
            "\"\\",
            "'a'",
        ] {
            assert!(!skips(text), "{text}");
        }
        assert!(!skips(&"[".repeat(100_000)));
        assert!(skips(&format!("{}{}", "[".repeat(128), "]".repeat(128))));
    }

    proptest! {
        #[test]
        fn skipping_agrees_with_serde(text in "[\\[\\]{},:\" 0-9.a\\\\-]{0,24}|\\PC{0,12}") {
            // numbers beyond 64 bits, which the two judge differently, need an exponent in so short a text
            let text = text.replace(['e', 'E'], "a");
            prop_assert_eq!(skips(&text), serde_json::from_str::<Value>(&text).is_ok());
        }
    }
}
