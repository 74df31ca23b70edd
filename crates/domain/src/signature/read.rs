//! Plain values read with the path of their field, and the JSON that Python writes.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::{Error, Result, id::clip};

/// What kind of value it is, in words for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// The path of a named entry, `inputs["age"]`; quoted, as names of columns may hold dots and brackets.
pub(super) fn entry(field: &str, name: &str) -> String {
    format!("{field}[\"{}\"]", clip(name))
}

/// At most eight of a list, for a message.
pub(super) fn short(names: &[String]) -> String {
    match names.split_at_checked(8) {
        Some((first, rest)) if !rest.is_empty() => format!("{} and {} more", first.join(", "), rest.len()),
        _ => names.join(", "),
    }
}

/// A fault of the whole input and not of one entry.
pub(super) fn whole(why: String) -> Error {
    Error::invalid("inputs", why)
}

fn wrong<T>(field: &str, value: &Value, wanted: &str) -> Result<T> {
    let why = format!("must be {wanted}, and is {}", kind(value));
    Err(Error::invalid(field, why))
}

pub(super) fn object<'a>(field: &str, value: &'a Value) -> Result<&'a Map<String, Value>> {
    value
        .as_object()
        .map_or_else(|| wrong(field, value, "a mapping"), Ok)
}

pub(super) fn list<'a>(field: &str, value: &'a Value) -> Result<&'a [Value]> {
    value
        .as_array()
        .map_or_else(|| wrong(field, value, "a list"), |list| Ok(list.as_slice()))
}

/// A string that must be there.
pub(super) fn text(field: &str, value: Option<&Value>) -> Result<String> {
    optional_text(field, value)?.ok_or_else(|| Error::invalid(field, "must be given, as a string"))
}

/// A string, or `None` for null and for a key that is not there.
pub(super) fn optional_text(field: &str, value: Option<&Value>) -> Result<Option<String>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => wrong(field, other, "a string"),
    }
}

/// The list in a string of JSON as Python writes it.
///
/// `serde_json` refuses to nest deeper than 128, so whoever walks the result may recurse.
pub(super) fn json_list(field: &str, text: &str) -> Result<Vec<Value>> {
    match serde_json::from_str(&finite(text)) {
        Ok(Value::Array(list)) => Ok(list),
        Ok(other) => wrong(field, &other, "a string of JSON that holds a list"),
        Err(error) => Err(Error::invalid(field, format!("is not JSON: {error}"))),
    }
}

/// `text` with null for the words `NaN`, `Infinity` and `-Infinity`, which Python's encoder writes and JSON has not.
///
/// They stand only where a param's default is no finite number; the Python worker reads that default for itself.
fn finite(text: &str) -> Cow<'_, str> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // strings are copied whole, so that a column may be called NaN
    while let Some(quote) = rest.find('"') {
        let (outside, from_quote) = rest.split_at(quote);
        let end = string_end(from_quote);
        out.push_str(&without_words(outside));
        out.push_str(&from_quote[..end]);
        rest = &from_quote[end..];
    }
    out.push_str(&without_words(rest));
    Cow::Owned(out)
}

fn without_words(text: &str) -> String {
    ["-Infinity", "Infinity", "NaN"]
        .iter()
        .fold(text.to_owned(), |text, word| text.replace(word, "null"))
}

/// Where the JSON string at the start of `text` ends, its quotes included.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}
