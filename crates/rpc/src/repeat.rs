//! What tells a repeated write from a new one.

use lodeway_domain::{Result, id::RequestId};
use prost::Message;
use sha2::{Digest as _, Sha256};

/// The request id of a write and a hash of what was asked under it; without an id every call is a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repeat {
    /// The caller's own id.
    pub id: Option<RequestId>,
    /// SHA-256 of the encoded message; empty without an id.
    pub body_hash: Vec<u8>,
}

impl Repeat {
    /// Of a message and the `request_id` in it. Errors: `INVALID_FIELD` at `request_id` for what is no UUID.
    pub fn of(message: &impl Message, request_id: &str) -> Result<Self> {
        let id = RequestId::parse(request_id)?;
        let body_hash = id.map(|_| {
            let mut body = message.encode_to_vec();
            // However the same id is written, in capitals or without hyphens: it is left out, with its length before it.
            let place = body
                .windows(request_id.len())
                .position(|text| text == request_id.as_bytes());
            if let Some(at) = place {
                body.drain(at.saturating_sub(1)..at + request_id.len());
            }
            Sha256::digest(body).to_vec()
        });
        Ok(Self {
            id,
            body_hash: body_hash.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_body_is_told_from_the_same() {
        let id = "0190b0a0-0000-7000-8000-000000000001";
        let one = Repeat::of(&"a".to_owned(), id).unwrap();
        assert_eq!(one, Repeat::of(&"a".to_owned(), id).unwrap());
        assert_ne!(one.body_hash, Repeat::of(&"b".to_owned(), id).unwrap().body_hash);
        assert_eq!(Repeat::of(&"a".to_owned(), "").unwrap(), Repeat::default());
        assert!(Repeat::of(&"a".to_owned(), "no uuid").is_err());
        let with = |id: &str| Repeat::of(&id.to_owned(), id).unwrap();
        assert_eq!(with(id), with(&id.to_uppercase()));
        assert_eq!(with(id), with(&id.replace('-', "")));
    }
}
