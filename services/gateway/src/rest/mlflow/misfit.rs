//! Where in a JSON body a value does not fit its type. A body is read this way only after it failed to be read straight,
//! so that what fits never pays for knowing its place.

use std::{cell::RefCell, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor, value::BorrowedStrDeserializer},
    forward_to_deserialize_any,
};
use serde_json::{Error, Map, Value};

/// A value that does not fit.
#[derive(Debug)]
pub(super) struct Misfit<'v> {
    /// From the top, for example `metrics[0].value`; empty: the body itself.
    pub(super) path: String,
    pub(super) value: &'v Value,
    /// What is wrong, in the words of whoever reads the type.
    pub(super) why: String,
}

impl Misfit<'_> {
    /// The field of the request that it is in.
    pub(super) fn field(&self) -> &str {
        self.path.split(['.', '[']).next().unwrap_or_default()
    }
}

/// The first value of `body` that does not fit a `T`.
pub(super) fn find<'v, T: Deserialize<'v>>(body: &'v Value) -> Option<Misfit<'v>> {
    let found = RefCell::new(None);
    let reader = Reader {
        value: body,
        place: &Place::Top,
        found: &found,
    };
    drop(T::deserialize(reader));
    found.into_inner()
}

/// Where a value is: a list from there to the top, which costs nothing until it is written out.
enum Place<'p> {
    Top,
    Field(&'p Place<'p>, &'p str),
    Entry(&'p Place<'p>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top => Ok(()),
            Self::Field(Self::Top, name) => f.write_str(name),
            Self::Field(above, name) => write!(f, "{above}.{name}"),
            Self::Entry(above, index) => write!(f, "{above}[{index}]"),
        }
    }
}

/// A value that knows its place, and notes it down if it does not fit.
#[derive(Clone, Copy)]
struct Reader<'v, 'p> {
    value: &'v Value,
    place: &'p Place<'p>,
    found: &'p RefCell<Option<Misfit<'v>>>,
}

impl<'v> Reader<'v, '_> {
    /// Passes the result on. The innermost value fails first, and stays.
    fn noted<T>(self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            self.found.borrow_mut().get_or_insert_with(|| Misfit {
                path: self.place.to_string(),
                value: self.value,
                why: error.to_string(),
            });
        }
        result
    }
}

impl<'de> Deserializer<'de> for Reader<'de, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = match self.value {
            Value::Array(entries) => visitor.visit_seq(Entries {
                list: self,
                rest: entries.iter().enumerate(),
            }),
            Value::Object(fields) => visitor.visit_map(Fields {
                object: self,
                rest: fields.iter(),
                next: None,
            }),
            scalar => scalar.deserialize_any(visitor),
        };
        self.noted(result)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.noted(self.value.deserialize_enum(name, variants, visitor))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

struct Entries<'v, 'p> {
    list: Reader<'v, 'p>,
    rest: std::iter::Enumerate<std::slice::Iter<'v, Value>>,
}

impl<'v> SeqAccess<'v> for Entries<'v, '_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'v>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((index, value)) = self.rest.next() else {
            return Ok(None);
        };
        let entry = Reader {
            value,
            place: &Place::Entry(self.list.place, index),
            found: self.list.found,
        };
        seed.deserialize(entry).map(Some)
    }
}

struct Fields<'v, 'p> {
    object: Reader<'v, 'p>,
    rest: <&'v Map<String, Value> as IntoIterator>::IntoIter,
    next: Option<(&'v str, &'v Value)>,
}

impl<'v> MapAccess<'v> for Fields<'v, '_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'v>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((key, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.next = Some((key, value));
        seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'v>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (key, value) = self.next.take().unwrap_or(("", &Value::Null));
        let field = Reader {
            value,
            place: &Place::Field(self.object.place, key),
            found: self.object.found,
        };
        seed.deserialize(field)
    }
}

/// The key of the object that stands for a number which JSON cannot hold; see [`with_marks`].
const MARK: &str = "not a JSON number";

/// The body with an object in place of each number that Python reads and JSON does not have (`NaN`, `Infinity`) or a double
/// cannot hold (`1e400`). Such an object fits no field, so that the misfit can be named; nothing if there is none of them.
pub(super) fn with_marks(body: &[u8]) -> Option<Vec<u8>> {
    let mut marked = Vec::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(byte) = body.get(at) {
        if *byte == b'"' {
            at = past_text(body, at);
        } else if is_of_number(byte) {
            let end = body[at..]
                .iter()
                .position(|b| !is_of_number(b))
                .map_or(body.len(), |length| at + length);
            let token = &body[at..end];
            if let Ok(token) = std::str::from_utf8(token)
                && is_beyond_json(token)
            {
                marked.extend_from_slice(&body[copied..at]);
                marked.extend_from_slice(format!("{{\"{MARK}\":\"{token}\"}}").as_bytes());
                copied = end;
            }
            at = end;
        } else {
            at += 1;
        }
    }
    if copied == 0 {
        return None;
    }
    marked.extend_from_slice(&body[copied..]);
    Some(marked)
}

/// The place after the text that begins at `start`.
fn past_text(body: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        match body.get(at) {
            Some(b'\\') => at += 2,
            Some(b'"') => return at + 1,
            Some(_) => at += 1,
            None => return body.len(),
        }
    }
}

fn is_of_number(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

fn is_beyond_json(token: &str) -> bool {
    matches!(token, "NaN" | "Infinity" | "-Infinity")
        || (token.starts_with(|c: char| c == '-' || c.is_ascii_digit())
            && token.ends_with(|c: char| c.is_ascii_digit())
            && token.parse().is_ok_and(f64::is_infinite))
}

/// The number that a mark stands for, as the caller wrote it.
pub(super) fn marked(value: &Value) -> Option<&str> {
    value
        .as_object()
        .filter(|object| object.len() == 1)?
        .get(MARK)?
        .as_str()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::{super::wire::*, *};

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only whether it can be read matters")]
    struct Sample {
        #[serde(default, deserialize_with = "or_default")]
        points: Vec<Point>,
        labels: Option<BTreeMap<String, String>>,
        inner: Option<Box<Sample>>,
        anything: Option<Value>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only whether it can be read matters")]
    struct Point {
        key: String,
        value: Option<Double>,
        at: Option<Int>,
    }

    #[test]
    fn the_innermost_value_is_named() {
        for (body, path, why) in [
            (
                json!({ "points": [{ "key": "a" }, { "key": 5 }] }),
                "points[1].key",
                "invalid type",
            ),
            (
                json!({ "points": [{ "key": "a", "value": "x" }] }),
                "points[0].value",
                "not a number",
            ),
            (
                json!({ "points": [{ "key": "a", "at": u64::MAX }] }),
                "points[0].at",
                "out of range",
            ),
            (
                json!({ "points": [{ "at": 1 }] }),
                "points[0]",
                "missing field `key`",
            ),
            (json!({ "points": [[]] }), "points[0]", ""),
            (json!({ "points": 5 }), "points", "invalid type"),
            (json!({ "labels": { "a b": [] } }), "labels.a b", "invalid type"),
            (
                json!({ "inner": { "inner": { "points": ["x"] } } }),
                "inner.inner.points[0]",
                "invalid type",
            ),
            (json!(5), "", "invalid type"),
        ] {
            let found = find::<Sample>(&body).unwrap();
            assert_eq!(found.path, path, "{body}");
            assert!(found.why.contains(why), "{body}: {}", found.why);
        }
        let fits =
            json!({ "points": [{ "key": "a", "value": "NaN" }], "anything": [{}], "unknown": { "a": [5] } });
        assert!(find::<Sample>(&fits).is_none());
    }

    #[test]
    fn numbers_beyond_json_are_marked_where_they_stand() {
        for token in [
            "1e400",
            "-1e400",
            "NaN",
            "Infinity",
            "-Infinity",
            "1E+999",
            "2.5e308",
        ] {
            let body = format!(r#"{{"a": [{token}], "b\"1e400": "NaN", "c": 1e300}}"#);
            let value: Value = serde_json::from_slice(&with_marks(body.as_bytes()).unwrap()).unwrap();
            assert_eq!(marked(&value["a"][0]), Some(token));
            assert_eq!((&value["b\"1e400"], &value["c"]), (&json!("NaN"), &json!(1e300)));
        }
        for body in [
            "",
            "{}",
            r#"{"a": "1e400"#,
            r#"{"a": "x\"#,
            "1e-400",
            "no json",
            "inf",
            "nan",
            "1e400x",
        ] {
            assert_eq!(with_marks(body.as_bytes()), None, "{body}");
        }
    }
}
