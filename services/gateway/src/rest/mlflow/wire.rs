//! The scalar rules of MLflow's JSON: what is accepted for a number or an id, and how doubles and times are written.

use std::fmt;

use lodeway_domain::time;
use lodeway_rpc::time::to_either;
use prost_types::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

/// A whole number: a JSON number without fraction, or its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Int(pub i64);

/// A double: a JSON number, its text, or `"NaN"`, `"Infinity"`, `"-Infinity"`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Double(pub f64);

/// An id as text; older clients send experiment ids as numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdText(pub String);

/// An enum by name or by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    Name(String),
    Number(i64),
}

impl Word {
    /// The entry it means in a list of (name, number, meaning).
    pub(crate) fn pick<T: Copy>(&self, words: &[(&str, i64, T)]) -> Option<T> {
        let fits = |(name, number, _): &&(&str, i64, T)| match self {
            Self::Name(text) => text == name || text.parse() == Ok(*number),
            Self::Number(n) => n == number,
        };
        words.iter().find(fits).map(|(_, _, meaning)| *meaning)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "\"{name}\""),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// A float that is a whole number and exactly an i64.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to be whole and within range"
)]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < 9.2e18).then_some(number as i64)
}

struct IntVisitor;

impl Visitor<'_> for IntVisitor {
    type Value = Int;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Int, E> {
        Ok(Int(v))
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Int, E> {
        i64::try_from(v).map(Int).map_err(|_| E::custom("out of range"))
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Int, E> {
        whole(v).map(Int).ok_or_else(|| E::custom("not a whole number"))
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<Int, E> {
        match v.parse::<i64>() {
            Ok(n) => Ok(Int(n)),
            Err(_) => match v.parse::<f64>() {
                Ok(f) => self.visit_f64(f),
                Err(_) => Err(E::custom("not a whole number")),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntVisitor)
    }
}

struct DoubleVisitor;

impl Visitor<'_> for DoubleVisitor {
    type Value = Double;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a JSON number without fraction means the nearest double"
    )]
    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Double, E> {
        Ok(Double(v as f64))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a JSON number without fraction means the nearest double"
    )]
    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Double, E> {
        Ok(Double(v as f64))
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Double, E> {
        Ok(Double(v))
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<Double, E> {
        v.parse().map(Double).map_err(|_| E::custom("not a number"))
    }
}

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DoubleVisitor)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = IdText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id")
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<IdText, E> {
        Ok(IdText(v.to_string()))
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<IdText, E> {
        Ok(IdText(v.to_string()))
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<IdText, E> {
        Ok(IdText(v.to_owned()))
    }
}

impl<'de> Deserialize<'de> for IdText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdVisitor)
    }
}

struct WordVisitor;

impl Visitor<'_> for WordVisitor {
    type Value = Word;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name or number of an enum value")
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Word, E> {
        Ok(Word::Number(v))
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Word, E> {
        i64::try_from(v)
            .map(Word::Number)
            .map_err(|_| E::custom("out of range"))
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<Word, E> {
        Ok(Word::Name(v.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordVisitor)
    }
}

/// For `#[serde(deserialize_with)]`: a JSON null counts as the field being left out.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A double on its way out: NaN is the text `"NaN"`, infinities are the greatest finite doubles.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Num(pub f64);

impl Serialize for Num {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_nan() {
            serializer.serialize_str("NaN")
        } else {
            serializer.serialize_f64(clamped(self.0))
        }
    }
}

/// The number with infinities as the greatest finite doubles; NaN stays.
pub(crate) const fn clamped(number: f64) -> f64 {
    if number.is_nan() {
        number
    } else {
        number.clamp(f64::MIN, f64::MAX)
    }
}

/// Milliseconds since the epoch.
pub(crate) fn millis(time: Option<&Timestamp>) -> Option<i64> {
    time.map(|t| {
        t.seconds
            .saturating_mul(1_000)
            .saturating_add(i64::from(t.nanos) / 1_000_000)
    })
}

/// Milliseconds since the epoch, of a time that a message tells in one of two fields.
pub(crate) fn either_millis(time: Option<&Timestamp>, ms: i64) -> Option<i64> {
    millis(time).or(Some(ms).filter(|ms| *ms != 0))
}

/// The two fields of a message for the time that many milliseconds after the epoch.
pub(crate) fn timestamp(ms: i64) -> (Option<Timestamp>, i64) {
    to_either(time::Timestamp::from_millis(ms))
}

/// Nothing for the empty text.
pub(crate) fn filled(text: String) -> Option<String> {
    if text.is_empty() { None } else { Some(text) }
}

/// A label as a list entry, `{"key": …, "value": …}`.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct KeyValue {
    #[serde(default)]
    pub key: Option<String>,
    #[serde(default)]
    pub value: Option<String>,
}

/// A label on its way out.
#[derive(Debug, Serialize)]
pub(crate) struct Label {
    pub key: String,
    pub value: String,
}

/// Labels in the order of their keys.
pub(crate) fn labels(map: std::collections::BTreeMap<String, String>) -> Vec<Label> {
    map.into_iter().map(|(key, value)| Label { key, value }).collect()
}

/// Labels as a map; of two with the same key the last one stays.
pub(crate) fn label_map(list: Vec<KeyValue>) -> std::collections::BTreeMap<String, String> {
    list.into_iter()
        .map(|kv| (kv.key.unwrap_or_default(), kv.value.unwrap_or_default()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_as_numbers_and_texts() {
        let int = |json: &str| serde_json::from_str::<Int>(json).ok().map(|i| i.0);
        assert_eq!(int("5"), Some(5));
        assert_eq!(int("\"5\""), Some(5));
        assert_eq!(int("5.0"), Some(5));
        assert_eq!((int("5.5"), int("\"foo\""), int("true")), (None, None, None));
        let double = |json: &str| serde_json::from_str::<Double>(json).ok().map(|d| d.0);
        assert_eq!(double("1"), Some(1.0));
        assert_eq!(double("\"-Infinity\""), Some(f64::NEG_INFINITY));
        assert!(double("\"NaN\"").unwrap().is_nan());
        assert_eq!(serde_json::from_str::<IdText>("7").unwrap().0, "7");
    }

    #[test]
    fn doubles_go_out_as_json() {
        let json = serde_json::to_string(&[Num(1.5), Num(f64::NAN), Num(f64::INFINITY), Num(3.0)]).unwrap();
        assert_eq!(json, r#"[1.5,"NaN",1.7976931348623157e+308,3.0]"#);
    }

    #[test]
    fn times_before_the_epoch_and_after_the_calendar() {
        for ms in [-1, 0, 1_795_435_751_250, 1_795_435_751_250_000_000] {
            let (time, beyond) = timestamp(ms);
            assert_eq!(either_millis(time.as_ref(), beyond), Some(ms));
        }
    }
}
