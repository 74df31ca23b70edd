//! What about a call decides its target before the split does, and what makes the split sticky.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::TargetName;
use crate::{Error, Result, id::clip};

/// The longest name of a header or an input field, in characters.
pub const MAX_HEADER_CHARS: usize = 128;

/// The longest value that a rule compares with, in characters.
pub const MAX_RULE_VALUE_CHARS: usize = 256;

/// The name of an HTTP header or of a gRPC metadata key, lower case: 1 to 128 of `a-z 0-9 _ - .`.
///
/// Keys that end with `-bin` are refused: gRPC's metadata of that name are bytes and not text
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HeaderName(String);

impl HeaderName {
    /// Checks a name in any case. Errors: `INVALID_FIELD` for `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let name = text.to_ascii_lowercase();
        let fits =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-' || b == b'.';
        if name.is_empty() || name.len() > MAX_HEADER_CHARS || !name.bytes().all(fits) {
            let why =
                format!("is not a header; use 1 to {MAX_HEADER_CHARS} of letters, digits, `_`, `-` and `.`");
            return Err(Error::invalid(field, format!("`{}` {why}", clip(text))));
        }
        if name.ends_with("-bin") {
            let why = "ends with `-bin`, so its values are bytes and not text; use another header";
            return Err(Error::invalid(field, format!("`{}` {why}", clip(text))));
        }
        Ok(Self(name))
    }

    /// The name, lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for HeaderName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse("header", &text)
    }
}

impl From<HeaderName> for String {
    fn from(name: HeaderName) -> Self {
        name.0
    }
}

/// What a rule asks of a header's value; upper and lower case differ.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Condition {
    /// The value is this.
    Equals(String),
    /// The value begins with this.
    Prefix(String),
    /// There is a value, whatever it is.
    Present,
}

impl Condition {
    /// Whether a value fits; `None` is a call without the header.
    pub fn holds(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (_, None) => false,
            (Self::Equals(wanted), Some(value)) => value == wanted,
            (Self::Prefix(prefix), Some(value)) => value.starts_with(prefix.as_str()),
            (Self::Present, Some(_)) => true,
        }
    }

    /// Checks the value compared with: printable ASCII, as headers are. Errors: `INVALID_FIELD` for `field`.
    pub fn check(&self, field: &str) -> Result<()> {
        let value = match self {
            Self::Equals(value) => value,
            Self::Prefix(value) if value.is_empty() => {
                return Err(Error::invalid(
                    field,
                    "fits every value; ask whether the header is present",
                ));
            }
            Self::Prefix(value) => value,
            Self::Present => return Ok(()),
        };
        if value.len() > MAX_RULE_VALUE_CHARS || !value.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            let why = format!("is not at most {MAX_RULE_VALUE_CHARS} printable ASCII characters");
            return Err(Error::invalid(field, format!("`{}` {why}", clip(value))));
        }
        Ok(())
    }
}

/// Sends calls with a certain header to a certain target, whatever the split says; the first rule that fits wins.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MatchRule {
    /// Which header or metadata key.
    pub header: HeaderName,
    /// What its value must be. Of a header with several values, one is enough.
    pub condition: Condition,
    /// Who answers then; it may have weight 0 in the split.
    pub target: TargetName,
}

impl fmt::Display for MatchRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { header, target, .. } = self;
        match &self.condition {
            Condition::Equals(value) => write!(f, "`{header}` = `{value}` → `{target}`"),
            Condition::Prefix(prefix) => write!(f, "`{header}` begins with `{prefix}` → `{target}`"),
            Condition::Present => write!(f, "`{header}` is there → `{target}`"),
        }
    }
}

/// What of a call is hashed into the split, so that the same caller gets the same target.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum StickyKey {
    /// Nothing: every call falls anew.
    #[default]
    None,
    /// The value of a header or metadata key.
    Header(HeaderName),
    /// The first value of an input tensor or column, as text.
    InputField(String),
}

impl StickyKey {
    /// Checks the name of an input field. Errors: `INVALID_FIELD` for `field`.
    pub fn check(&self, field: &str) -> Result<()> {
        match self {
            Self::None | Self::Header(_) => Ok(()),
            Self::InputField(name) => {
                let is_long = name.chars().count() > MAX_HEADER_CHARS;
                if name.is_empty() || is_long || name.chars().any(char::is_control) {
                    let why = format!("is not 1 to {MAX_HEADER_CHARS} characters without control characters");
                    return Err(Error::invalid(field, format!("`{}` {why}", clip(name))));
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for StickyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("nothing"),
            Self::Header(name) => write!(f, "header `{name}`"),
            Self::InputField(name) => write!(f, "input `{name}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_are_lower_case_text() {
        assert_eq!(HeaderName::parse("h", "X-User-Id").unwrap().as_str(), "x-user-id");
        for bad in [
            "",
            "a b",
            ":path",
            "token-bin",
            "Token-BIN",
            "ü",
            &"x".repeat(129),
        ] {
            assert!(HeaderName::parse("h", bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<HeaderName>("\"a:b\"").is_err());
    }

    #[test]
    fn conditions_hold_or_not() {
        let equals = Condition::Equals("beta".to_owned());
        let prefix = Condition::Prefix("be".to_owned());
        for (condition, value, holds) in [
            (&equals, Some("beta"), true),
            (&equals, Some("Beta"), false),
            (&equals, Some("beta2"), false),
            (&equals, None, false),
            (&prefix, Some("beta"), true),
            (&prefix, Some("b"), false),
            (&prefix, None, false),
            (&Condition::Present, Some(""), true),
            (&Condition::Present, None, false),
        ] {
            assert_eq!(condition.holds(value), holds, "{condition:?} {value:?}");
        }
        assert!(Condition::Prefix(String::new()).check("v").is_err());
        assert!(Condition::Equals("ü".to_owned()).check("v").is_err());
        assert!(Condition::Equals("x".repeat(257)).check("v").is_err());
        assert!(Condition::Equals(String::new()).check("v").is_ok() && equals.check("v").is_ok());
    }

    #[test]
    fn sticky_fields_have_names() {
        let field = |name: &str| StickyKey::InputField(name.to_owned());
        assert!(field("user id").check("s").is_ok() && StickyKey::None.check("s").is_ok());
        assert!(field("").check("s").is_err() && field("a\n").check("s").is_err());
        assert_eq!(field("user").to_string(), "input `user`");
    }

    proptest! {
        #[test]
        fn what_equals_also_begins_and_is_present(value in ".{0,12}", other in ".{0,12}") {
            let equals = Condition::Equals(value.clone()).holds(Some(&other));
            let begins = Condition::Prefix(value).holds(Some(&other));
            prop_assert!(!equals || begins);
            prop_assert!(Condition::Present.holds(Some(&other)));
        }
    }
}
