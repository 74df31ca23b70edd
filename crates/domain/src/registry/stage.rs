//! Stages of a version.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, id::clip};

/// How far a version is on its way to users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub enum Stage {
    /// Registered, nothing more.
    #[default]
    None,
    /// Under test.
    Staging,
    /// In use.
    Production,
    /// Out of use.
    Archived,
}

impl Stage {
    /// Every stage, in their order.
    pub const ALL: [Self; 4] = [Self::None, Self::Staging, Self::Production, Self::Archived];

    /// Parses the field's word in any case.
    pub fn parse(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                let why = "is not a stage; use one of None, Staging, Production, Archived";
                Error::invalid("stage", format!("`{}` {why}", clip(text)))
            })
    }

    /// The field's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Staging => "Staging",
            Self::Production => "Production",
            Self::Archived => "Archived",
        }
    }

    /// Whether versions are there to be used, so that a newcomer can archive them.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Staging | Self::Production)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_read_in_any_case() {
        for stage in Stage::ALL {
            assert_eq!(Stage::parse(&stage.as_str().to_uppercase()).unwrap(), stage);
        }
        assert!(Stage::parse("prod").is_err() && Stage::parse("").is_err());
        assert_eq!(Stage::ALL.map(Stage::is_active), [false, true, true, false]);
    }
}
