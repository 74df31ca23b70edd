//! Endpoints: the stable names that callers use.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::EndpointUid;
use crate::{
    Error, Result,
    error::Violations,
    id::clip,
    registry::{Tags, check_description, check_tags},
    time::Timestamp,
};

/// The longest name of an endpoint, in characters; also the longest label of a host name (RFC 1123).
pub const MAX_ENDPOINT_NAME_CHARS: usize = 63;

/// The name of an endpoint: 1 to 63 of `a-z 0-9 -`, first a letter, last a letter or digit.
///
/// So it can stand in a URL and a host name as it is, and in the name of a gRPC service after [`EndpointName::ident`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EndpointName(String);

impl EndpointName {
    /// Checks a name. Errors: `INVALID_FIELD` for `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let fits = bytes.len() <= MAX_ENDPOINT_NAME_CHARS
            && bytes.first().is_some_and(u8::is_ascii_lowercase)
            && bytes.last().is_some_and(alnum)
            && bytes.iter().all(|b| alnum(b) || *b == b'-');
        if fits {
            return Ok(Self(text.to_owned()));
        }
        let why = format!(
            "is not an endpoint name; use 1 to {MAX_ENDPOINT_NAME_CHARS} of a-z, 0-9 and inner hyphens, first a letter"
        );
        Err(Error::invalid(field, format!("`{}` {why}", clip(text))))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as an identifier of a protobuf file, hyphens as underscores. Different names stay different, since no
    /// name has an underscore.
    pub fn ident(&self) -> String {
        self.0.replace('-', "_")
    }
}

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for EndpointName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse("name", &text)
    }
}

impl From<EndpointName> for String {
    fn from(name: EndpointName) -> Self {
        name.0
    }
}

/// An endpoint in 64 bits: the first 8 bytes of the SHA-256 of its uid, big-endian.
///
/// It is looked up, never computed back. That two of a million endpoints share one has odds below 1 in 10^7; a store
/// keeps it under a unique key, so that the second cannot be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EndpointKey(u64);

impl EndpointKey {
    /// The key of an endpoint.
    pub fn of(uid: &EndpointUid) -> Self {
        let digest = Sha256::digest(uid.as_str().as_bytes());
        Self(u64::from_be_bytes(
            digest.first_chunk().copied().unwrap_or_default(),
        ))
    }

    /// From its number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A stable name that callers use, and the revision that answers for it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its immutable id.
    pub uid: EndpointUid,
    /// Its name, unique in the workspace.
    pub name: EndpointName,
    /// Free text.
    pub description: String,
    /// Free labels.
    pub tags: Tags,
    /// The number of the current revision, at least 1.
    pub revision: u32,
    /// When it was created.
    pub created: Timestamp,
    /// When anything of it last changed, the current revision included.
    pub updated: Timestamp,
}

/// What a caller gives to create an endpoint, beside its first revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewEndpoint {
    /// The name, not yet checked.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Free labels.
    pub tags: Tags,
}

impl NewEndpoint {
    /// The endpoint with its first revision. Errors: `INVALID_FIELD` for every bad field.
    pub fn create(self, uid: EndpointUid, now: Timestamp) -> Result<Endpoint> {
        let mut violations = Violations::new();
        let name = violations.take("name", EndpointName::parse("name", &self.name));
        let _ = violations.take("description", check_description("description", &self.description));
        let _ = violations.take("tags", check_tags(&self.tags));
        violations.finish()?;
        Ok(Endpoint {
            uid,
            name: name.ok_or_else(|| Error::invalid("name", "must be given"))?,
            description: self.description,
            tags: self.tags,
            revision: 1,
            created: now,
            updated: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_fit_urls_and_services() {
        for good in ["a", "a1", "fraud-score", "a--b", &"x".repeat(63)] {
            assert_eq!(EndpointName::parse("name", good).unwrap().as_str(), good);
        }
        let shown = EndpointName::parse("name", "fraud-score").unwrap().ident();
        assert_eq!(shown, "fraud_score");
        for bad in [
            "",
            "1a",
            "-a",
            "a-",
            "A",
            "a_b",
            "a.b",
            "a/b",
            "ä",
            &"x".repeat(64),
        ] {
            let Err(Error::Invalid(found)) = EndpointName::parse("endpoint.name", bad) else {
                panic!("{bad} was taken")
            };
            assert_eq!(found[0].field, "endpoint.name");
            assert!(serde_json::from_value::<EndpointName>(bad.into()).is_err());
        }
    }

    #[test]
    fn creation_lists_every_bad_field() {
        let bad = NewEndpoint {
            name: "No".to_owned(),
            description: "\0".to_owned(),
            tags: Tags::from([(String::new(), String::new())]),
        };
        let uid = EndpointUid::parse("e1").unwrap();
        let Err(Error::Invalid(found)) = bad.create(uid.clone(), Timestamp::from_millis(1)) else {
            panic!("it was taken")
        };
        let fields: Vec<_> = found.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["name", "description", "tags"]);
        let good = NewEndpoint {
            name: "fraud".to_owned(),
            ..NewEndpoint::default()
        };
        let made = good.create(uid, Timestamp::from_millis(7)).unwrap();
        assert_eq!((made.revision, made.created), (1, Timestamp::from_millis(7)));
        let text = serde_json::to_string(&made).unwrap();
        assert_eq!(serde_json::from_str::<Endpoint>(&text).unwrap(), made);
    }

    #[test]
    fn keys_are_short_and_stay() {
        let key = |uid: &str| EndpointUid::parse(uid).unwrap().key();
        // Prediction ids in the world carry it: it must never change.
        assert_eq!(key("endpoint").get(), 0xb6bf_7bc8_d96f_3ea9);
        assert_ne!(key("a"), key("b"));
    }

    proptest! {
        #[test]
        fn a_name_is_refused_or_kept(text in "[a-z0-9-]{0,66}|.{0,8}") {
            if let Ok(name) = EndpointName::parse("name", &text) {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(text.len() <= 63 && !text.starts_with('-') && !text.ends_with('-'));
            }
        }
    }
}
