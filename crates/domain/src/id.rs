//! Typed ids. An id that is unknown is "not found", never a parse error, so any string of a sane shape is an id.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, Result};

/// The longest id text accepted, in bytes.
pub const MAX_ID_LEN: usize = 256;

/// 32 lower-case hex digits of a new time-ordered UUID (version 7).
pub fn new_hex() -> String {
    Uuid::now_v7().simple().to_string()
}

fn check(field: &str, text: &str) -> Result<()> {
    let bytes = text.as_bytes();
    let fits = bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.len() <= MAX_ID_LEN
        && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    if fits {
        return Ok(());
    }
    let description = if text.is_empty() {
        "must be given".to_owned()
    } else {
        format!(
            "`{}` is not an id (letters, digits, `_`, `-`; at most {MAX_ID_LEN} bytes)",
            clip(text)
        )
    };
    Err(Error::invalid(field, description))
}

/// At most 80 characters of `text`, so that an error message does not echo a megabyte.
pub fn clip(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $field:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// A new time-ordered id.
            pub fn generate() -> Self {
                Self(format!(concat!($prefix, "{}"), new_hex()))
            }

            /// Accepts any id of a sane shape, ids of imported entities included.
            pub fn parse(text: &str) -> Result<Self> {
                check($field, text)?;
                Ok(Self(text.to_owned()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// A run's id: 32 hex digits where we made it, another shape where it was imported.
    RunId, "run_id", ""
);
text_id!(
    /// A logged model's id: `m-` and 32 hex digits where we made it.
    ModelId, "model_id", "m-"
);
text_id!(
    /// A registered model's immutable id; its name is only a label that can move.
    ModelUid, "uid", ""
);

/// An experiment's id: a number written in decimal; 0 is the experiment `Default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExperimentId(i64);

impl ExperimentId {
    /// The experiment `Default`, which exists in every workspace.
    pub const DEFAULT: Self = Self(0);

    /// From its number.
    pub const fn new(id: i64) -> Self {
        Self(id)
    }

    /// Its number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Parses the decimal text. `Ok(None)` is a well-shaped text that can name no experiment, hence "not found".
    pub fn parse(text: &str) -> Result<Option<Self>> {
        if text.is_empty() {
            return Err(Error::invalid("experiment_id", "must be given"));
        }
        Ok(text.parse::<i64>().ok().filter(|id| *id >= 0).map(Self))
    }
}

impl fmt::Display for ExperimentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A caller's id for one write: repeating the write under the same id has no further effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(Uuid);

impl RequestId {
    /// Parses a UUID in any of its usual forms; the empty text means that none was given.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        if text.is_empty() {
            return Ok(None);
        }
        match Uuid::parse_str(text) {
            Ok(id) => Ok(Some(Self(id))),
            Err(_) => Err(Error::invalid(
                "request_id",
                format!("`{}` is not a UUID", clip(text)),
            )),
        }
    }

    /// A new id.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}
