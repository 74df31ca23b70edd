//! Names of registered models and of aliases.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, id::clip};

/// The longest name of a registered model, in characters.
pub const MAX_NAME_CHARS: usize = 256;
/// The longest alias, in characters.
pub const MAX_ALIAS_CHARS: usize = 255;

/// The name of a registered model: a label that can change, 1 to 256 characters without `/`, `:` and control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelName(String);

impl ModelName {
    /// Parses a name; `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::invalid(field, "must be given"));
        }
        if text.chars().count() > MAX_NAME_CHARS {
            return Err(Error::invalid(
                field,
                format!("`{}` is longer than {MAX_NAME_CHARS} characters", clip(text)),
            ));
        }
        if text.contains(['/', ':']) || text.chars().any(char::is_control) {
            let why = "is not a name of a registered model; use no `/`, `:` or control character";
            return Err(Error::invalid(field, format!("`{}` {why}", clip(text))));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of an alias: 1 to 255 letters, digits, `_` and `-`; neither `latest` nor `v` and digits, in any case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AliasName(String);

impl AliasName {
    /// Parses an alias that is to be set. Errors name the field `alias`.
    pub fn parse(text: &str) -> Result<Self> {
        let alias = Self::parse_any(text)?;
        if is_latest(text) {
            return Err(Error::invalid(
                "alias",
                "`latest` is reserved: it always means the newest version",
            ));
        }
        let digits = text.strip_prefix(['v', 'V']).unwrap_or_default();
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Error::invalid(
                "alias",
                format!("`{}` looks like a version; use another word", clip(text)),
            ));
        }
        Ok(alias)
    }

    /// Parses an alias that is only looked up: a reserved one names nothing, which is no error of shape.
    pub fn parse_any(text: &str) -> Result<Self> {
        let fits = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        if text.is_empty() {
            return Err(Error::invalid("alias", "must be given"));
        }
        if !text.chars().all(fits) || text.chars().count() > MAX_ALIAS_CHARS {
            let why = format!("is not an alias; use up to {MAX_ALIAS_CHARS} letters, digits, `_` and `-`");
            return Err(Error::invalid("alias", format!("`{}` {why}", clip(text))));
        }
        Ok(Self(text.to_owned()))
    }

    /// The alias.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the word means the newest version; no alias can have this name.
pub fn is_latest(word: &str) -> bool {
    word.eq_ignore_ascii_case("latest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_uri_cannot_carry_are_refused() {
        for good in ["a", "modèle 3", &"x".repeat(256), "m-1", "a@b", "100%"] {
            assert_eq!(ModelName::parse("name", good).unwrap().as_str(), good);
        }
        for bad in ["", "a/b", "a:b", "a\0b", "a\nb", &"x".repeat(257)] {
            let Err(Error::Invalid(violations)) = ModelName::parse("new_name", bad) else {
                panic!("{bad}")
            };
            assert_eq!(violations[0].field, "new_name");
        }
    }

    #[test]
    fn reserved_aliases_can_be_read_but_not_set() {
        for good in ["champion", "A_b-9", "v", "v1a", "ver1", "größte"] {
            assert!(AliasName::parse(good).is_ok(), "{good}");
        }
        for reserved in ["latest", "LATEST", "v1", "V20"] {
            assert!(
                AliasName::parse(reserved).is_err() && AliasName::parse_any(reserved).is_ok(),
                "{reserved}"
            );
        }
        for bad in ["", "a b", "a@b", "a/b", &"x".repeat(256)] {
            assert!(AliasName::parse_any(bad).is_err(), "{bad}");
        }
    }
}
