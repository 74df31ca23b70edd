//! Ids of endpoints and rollouts.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{EndpointKey, Salt};
use crate::{
    Error, Result,
    id::{clip, new_hex},
};

macro_rules! uid {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// A new id: 32 hex digits, ordered by time.
            pub fn generate() -> Self {
                Self(new_hex())
            }

            #[doc = concat!("Accepts 1 to 64 of letters, digits, `_` and `-`. Errors: `INVALID_FIELD` for `", $field, "`.")]
            pub fn parse(text: &str) -> Result<Self> {
                let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
                if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) {
                    let why = "is not an id; use 1 to 64 of letters, digits, `_` and `-`";
                    return Err(Error::invalid($field, format!("`{}` {why}", clip(text))));
                }
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

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(uid: $name) -> Self {
                uid.0
            }
        }
    };
}

uid!(
    /// An endpoint's immutable id. A name that is used again after a deletion has another.
    EndpointUid, "uid"
);
uid!(
    /// A rollout's id.
    RolloutId, "rollout_id"
);

impl EndpointUid {
    /// What divides this endpoint's keys otherwise than any other endpoint's.
    pub fn salt(&self) -> Salt {
        Salt::of(&self.0)
    }

    /// The short form that prediction ids carry.
    pub fn key(&self) -> EndpointKey {
        EndpointKey::of(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_a_sane_shape() {
        for bad in ["", "a b", "a/b", "ü", &"x".repeat(65)] {
            assert!(EndpointUid::parse(bad).is_err(), "{bad}");
            assert!(serde_json::from_value::<RolloutId>(bad.into()).is_err(), "{bad}");
        }
        assert_eq!(EndpointUid::generate().as_str().len(), 32);
        assert_ne!(RolloutId::generate(), RolloutId::generate());
    }
}
