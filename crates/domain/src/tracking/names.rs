//! Names and values of metrics, params and tags.

use std::{collections::BTreeMap, fmt};

use crate::{Error, Result, error::Violations, id::clip};

/// The longest key of a metric, param or tag, in characters.
pub const MAX_KEY_CHARS: usize = 250;
/// The longest param value, in characters.
pub const MAX_PARAM_VALUE_CHARS: usize = 6_000;
/// The longest run tag value, in characters.
pub const MAX_TAG_VALUE_CHARS: usize = 8_000;

/// The key of a metric, param or tag: letters, digits, `_ - . : / ` and space, and a normal relative path, so that it can
/// be shown as a tree and never escapes a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityKey(String);

impl EntityKey {
    /// Parses a key; `field` names it in the error.
    pub fn parse(field: &str, key: &str) -> Result<Self> {
        if let Some(fault) = fault_of(key) {
            return Err(Error::invalid(field, fault));
        }
        Ok(Self(key.to_owned()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key as text, owned.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for EntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn fault_of(key: &str) -> Option<String> {
    if key.is_empty() {
        return Some("must be given".to_owned());
    }
    // Plain ASCII keys are nearly all there is, and this runs for every point that is logged.
    let simple = key.len() <= MAX_KEY_CHARS
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b' ' | b':'));
    if simple {
        return None;
    }
    if key.chars().count() > MAX_KEY_CHARS {
        return Some(format!(
            "`{}` is longer than {MAX_KEY_CHARS} characters",
            clip(key)
        ));
    }
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | ':' | '/');
    if let Some(odd) = key.chars().find(|c| !allowed(*c)) {
        return Some(format!(
            "`{}` contains {odd:?}; allowed are letters, digits, `_`, `-`, `.`, `:`, `/` and space",
            clip(key)
        ));
    }
    let normal = !key.split('/').any(|part| matches!(part, "" | "." | ".."));
    if !normal {
        return Some(format!("`{}` is not a normal relative path", clip(key)));
    }
    None
}

/// The write-once value of a param; may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamValue(String);

impl ParamValue {
    /// Parses a value; `field` names it in the error.
    pub fn parse(field: &str, value: String) -> Result<Self> {
        check_text(field, &value, MAX_PARAM_VALUE_CHARS).map(|()| Self(value))
    }

    /// The value as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The value of a run's or logged model's tag; may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagValue(String);

impl TagValue {
    /// Parses a value; `field` names it in the error.
    pub fn parse(field: &str, value: String) -> Result<Self> {
        check_text(field, &value, MAX_TAG_VALUE_CHARS).map(|()| Self(value))
    }

    /// The value as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Refuses a text that is longer than `max_chars` characters or has a NUL, which PostgreSQL cannot store.
pub fn check_text(field: &str, text: &str, max_chars: usize) -> Result<()> {
    if text.len() > max_chars && text.chars().count() > max_chars {
        return Err(Error::invalid(
            field,
            format!("is longer than {max_chars} characters"),
        ));
    }
    check_no_nul(field, text)
}

/// Refuses a text with a NUL, which PostgreSQL cannot store.
pub fn check_no_nul(field: &str, text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::invalid(field, "contains a NUL character"));
    }
    Ok(())
}

/// Labels of an entity, by key. Keys obey [`EntityKey`]; the longest value is given where they are parsed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    /// Parses the map of a request whose field is `field`; values up to `max_value_chars` characters.
    pub fn parse(
        field: &str,
        tags: impl IntoIterator<Item = (String, String)>,
        max_value_chars: usize,
    ) -> Result<Self> {
        let mut violations = Violations::new();
        let mut parsed = BTreeMap::new();
        for (key, value) in tags {
            let path = format!("{field}[{}]", clip(&key));
            let key = violations.take(&path, EntityKey::parse(&path, &key));
            violations.take(&path, check_text(&path, &value, max_value_chars));
            if let Some(key) = key {
                parsed.insert(key.into_string(), value);
            }
        }
        violations.finish().map(|()| Self(parsed))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Sets a label that the server itself writes.
    pub fn set(&mut self, key: &'static str, value: impl Into<String>) {
        self.0.insert(key.to_owned(), value.into());
    }

    /// All labels by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels as a map.
    pub fn into_map(self) -> BTreeMap<String, String> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_normal_relative_paths_of_plain_characters() {
        for good in ["loss", "val/loss", "a b", "größe", "a.b:c-d_e", "a/b.c", "..."] {
            assert!(EntityKey::parse("key", good).is_ok(), "{good}");
        }
        let long = "k".repeat(251);
        for bad in [
            "", ".", "..", "/a", "a//b", "a/../b", "a/./b", "a/", "a\0b", "a*b", "a\n", &long,
        ] {
            assert!(EntityKey::parse("key", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lengths_count_characters_not_bytes() {
        assert!(EntityKey::parse("key", &"ß".repeat(250)).is_ok());
        assert!(ParamValue::parse("value", "ß".repeat(6_000)).is_ok());
        assert!(ParamValue::parse("value", "ß".repeat(6_001)).is_err());
    }

    #[test]
    fn every_bad_tag_is_named() {
        let tags = [("a*".to_owned(), String::new()), ("ok".to_owned(), "x".repeat(9))];
        let Err(Error::Invalid(violations)) = Tags::parse("tags", tags, 8) else {
            panic!("accepted")
        };
        let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["tags[a*]", "tags[ok]"]);
    }
}
