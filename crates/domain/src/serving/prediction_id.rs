//! Prediction ids: texts that say by themselves which revision and target answered, and when.
//!
//! An id is 36 bytes in base64url (RFC 4648, section 5), 48 characters without padding, all numbers big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0 | version of the format, 1 |
//! | 1 | id of the key it is signed with |
//! | 2..10 | endpoint, an [`EndpointKey`] |
//! | 10..14 | number of the revision |
//! | 14..16 | place of the target in the revision |
//! | 16..22 | milliseconds since 1970 |
//! | 22..28 | sequence: what tells apart ids of one millisecond |
//! | 28..36 | the first 8 bytes of HMAC-SHA256 over the 28 before |
//!
//! The code has one block to hash on each side of the HMAC (RFC 2104), since the key's own blocks are hashed once, when
//! it is made: an id costs 0.16 µs on a processor with instructions for SHA-256 and 0.5 µs on one without.
//! **Why HMAC-SHA256 and not SipHash**, which has a 64-bit tag and would be faster: SHA-256 is in the house
//! already, its use as a code needs no defence, and the difference is a fraction of a microsecond in a call that takes
//! a thousand. 64 bits are enough against a forger who must ask this server about each guess; a longer tag would make
//! every id longer. It is no secret what an id says: it is signed, not encrypted.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::EndpointKey;
use crate::{Error, Result, time::Timestamp};

/// The version of the format that is written.
const VERSION: u8 = 1;
const SIGNED_BYTES: usize = 28;
const ID_BYTES: usize = 36;
/// The length of an id, in characters.
pub const PREDICTION_ID_CHARS: usize = 48;
/// Times and sequences have 48 bits.
const MAX_48: u64 = (1 << 48) - 1;
/// The most keys of one ring; the key's number has 8 bits.
pub const MAX_PREDICTION_KEYS: usize = 16;

/// What a prediction id says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PredictionFields {
    /// The endpoint that was called.
    pub endpoint: EndpointKey,
    /// The number of the revision that routed the call.
    pub revision: u32,
    /// The place of the target that answered, in that revision.
    pub target: u16,
    /// When the call was answered: from 1970 to the year 10889; other times become the nearest of these.
    pub time: Timestamp,
    /// What tells apart the answers of one millisecond, given by the caller: random, or a counter that starts at random.
    /// The lower 48 bits count.
    pub sequence: u64,
}

/// The id of one answer, 48 characters of `A-Z a-z 0-9 - _`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PredictionId(String);

impl PredictionId {
    /// Makes the id of an answer, signed. The same key and fields make the same id.
    pub fn mint(key: &PredictionKey, fields: &PredictionFields) -> Self {
        let mut bytes = [0; ID_BYTES];
        let signed = signed(key.id, fields);
        let (head, tail) = bytes.split_at_mut(SIGNED_BYTES);
        head.copy_from_slice(&signed);
        tail.copy_from_slice(&key.tag(&signed));
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads what an id says, whoever made it: fit to find a key or to show, not to believe.
    /// Errors: `INVALID_FIELD` for `prediction_id`.
    pub fn parse(text: &str) -> Result<(Self, PredictionFields)> {
        let bytes = decoded(text)?;
        Ok((Self(text.to_owned()), fields(&bytes)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PredictionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PredictionId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        decoded(&text)?;
        Ok(Self(text))
    }
}

impl From<PredictionId> for String {
    fn from(id: PredictionId) -> Self {
        id.0
    }
}

/// A secret that signs prediction ids, with the number by which they name it.
#[derive(Clone)]
pub struct PredictionKey {
    id: u8,
    // Holds the states after the key's own two blocks, so that each id costs two blocks and not four.
    keyed: Hmac<Sha256>,
}

impl PredictionKey {
    /// The key with this number and secret, 32 random bytes.
    pub fn new(id: u8, secret: &[u8; 32]) -> Self {
        // A secret of one block or less is padded with zeros (RFC 2104, section 2), so this cannot fail.
        let mut block = [0; 64];
        block[..secret.len()].copy_from_slice(secret);
        Self {
            id,
            keyed: Hmac::new(&block.into()),
        }
    }

    /// The number by which ids name it.
    pub const fn id(&self) -> u8 {
        self.id
    }

    /// Checks that an id was made with this key, in constant time, and reads it. Errors: `INVALID_FIELD` for
    /// `prediction_id`, the same one for an id of another key and a forged one.
    pub fn verify(&self, text: &str) -> Result<PredictionFields> {
        let bytes = decoded(text)?;
        let (signed, tag) = bytes.split_at(SIGNED_BYTES);
        let is_ours = self.keyed.clone().chain_update(signed).verify_truncated_left(tag);
        if is_ours.is_err() || bytes[1] != self.id {
            return Err(unsigned());
        }
        Ok(fields(&bytes))
    }

    fn tag(&self, signed: &[u8; SIGNED_BYTES]) -> [u8; ID_BYTES - SIGNED_BYTES] {
        let code = self.keyed.clone().chain_update(signed).finalize().into_bytes();
        code.first_chunk().copied().unwrap_or_default()
    }
}

/// Never shows the secret.
impl fmt::Debug for PredictionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PredictionKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The key that signs now, and older ones whose ids are still believed.
#[derive(Debug, Clone)]
pub struct PredictionKeys {
    current: PredictionKey,
    older: Vec<PredictionKey>,
}

impl PredictionKeys {
    /// A ring of keys. Errors: `INVALID_FIELD` for `keys` if two have one number or there are more than 16.
    pub fn new(current: PredictionKey, older: Vec<PredictionKey>) -> Result<Self> {
        let mut ids: Vec<u8> = older.iter().chain([&current]).map(PredictionKey::id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != older.len() + 1 || ids.len() > MAX_PREDICTION_KEYS {
            let text = format!("must be at most {MAX_PREDICTION_KEYS} keys with different numbers");
            return Err(Error::invalid("keys", text));
        }
        Ok(Self { current, older })
    }

    /// Makes an id with the current key.
    pub fn mint(&self, fields: &PredictionFields) -> PredictionId {
        PredictionId::mint(&self.current, fields)
    }

    /// Checks an id with the key that it names, and reads it. Errors: `INVALID_FIELD` for `prediction_id`.
    pub fn verify(&self, text: &str) -> Result<PredictionFields> {
        let named = decoded(text)?[1];
        let mut keys = self.older.iter().chain([&self.current]);
        keys.find(|key| key.id == named)
            .ok_or_else(unsigned)?
            .verify(text)
    }
}

fn signed(key: u8, fields: &PredictionFields) -> [u8; SIGNED_BYTES] {
    let time = u64::try_from(fields.time.millis()).unwrap_or(0).min(MAX_48);
    let mut bytes = [0; SIGNED_BYTES];
    bytes[0] = VERSION;
    bytes[1] = key;
    bytes[2..10].copy_from_slice(&fields.endpoint.get().to_be_bytes());
    bytes[10..14].copy_from_slice(&fields.revision.to_be_bytes());
    bytes[14..16].copy_from_slice(&fields.target.to_be_bytes());
    bytes[16..22].copy_from_slice(&time.to_be_bytes()[2..]);
    bytes[22..28].copy_from_slice(&fields.sequence.to_be_bytes()[2..]);
    bytes
}

fn fields(bytes: &[u8; ID_BYTES]) -> PredictionFields {
    let number = |from: usize, to: usize| bytes[from..to].iter().fold(0, |n, b| n << 8 | u64::from(*b));
    PredictionFields {
        endpoint: EndpointKey::new(number(2, 10)),
        revision: number(10, 14) as u32,
        target: number(14, 16) as u16,
        time: Timestamp::from_millis(number(16, 22) as i64),
        sequence: number(22, 28),
    }
}

/// The bytes of an id. 36 bytes fill 48 characters to the last bit, so that no two texts are one id.
fn decoded(text: &str) -> Result<[u8; ID_BYTES]> {
    let mut bytes = [0; ID_BYTES];
    let is_whole = text.len() == PREDICTION_ID_CHARS
        && URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok() == Some(ID_BYTES)
        && bytes[0] == VERSION;
    if is_whole {
        Ok(bytes)
    } else {
        Err(Error::invalid("prediction_id", "is not a prediction id"))
    }
}

fn unsigned() -> Error {
    Error::invalid("prediction_id", "was not made by this server, or too long ago")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(id: u8, byte: u8) -> PredictionKey {
        PredictionKey::new(id, &[byte; 32])
    }

    fn any_fields() -> impl Strategy<Value = PredictionFields> {
        let time = 0..=MAX_48 as i64;
        (any::<u64>(), any::<u32>(), any::<u16>(), time, 0..=MAX_48).prop_map(
            |(endpoint, revision, target, time, sequence)| PredictionFields {
                endpoint: EndpointKey::new(endpoint),
                revision,
                target,
                time: Timestamp::from_millis(time),
                sequence,
            },
        )
    }

    fn some_fields() -> PredictionFields {
        PredictionFields {
            endpoint: EndpointKey::new(0x0102_0304_0506_0708),
            revision: 7,
            target: 2,
            time: Timestamp::from_millis(1_700_000_000_000),
            sequence: 99,
        }
    }

    proptest! {
        #[test]
        fn what_is_minted_is_read_and_verified(fields in any_fields(), id in any::<u8>(), byte in any::<u8>()) {
            let minted = PredictionId::mint(&key(id, byte), &fields);
            prop_assert_eq!(minted.as_str().len(), PREDICTION_ID_CHARS);
            prop_assert_eq!(PredictionId::parse(minted.as_str()).unwrap(), (minted.clone(), fields));
            prop_assert_eq!(key(id, byte).verify(minted.as_str()).unwrap(), fields);
            prop_assert!(key(id, byte.wrapping_add(1)).verify(minted.as_str()).is_err());
            prop_assert!(key(id.wrapping_add(1), byte).verify(minted.as_str()).is_err());
        }

        #[test]
        fn any_other_bit_makes_it_invalid(fields in any_fields()) {
            let key = key(1, 5);
            let minted = PredictionId::mint(&key, &fields);
            let bytes = URL_SAFE_NO_PAD.decode(minted.as_str()).unwrap();
            for bit in 0..ID_BYTES * 8 {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(key.verify(&URL_SAFE_NO_PAD.encode(&changed)).is_err(), "bit {}", bit);
            }
        }

        #[test]
        fn any_text_is_refused_or_kept(text in ".{0,60}|AQ[A-Za-z0-9_-]{46}") {
            match PredictionId::parse(&text) {
                Ok((id, _)) => prop_assert_eq!(id.as_str(), &text),
                Err(error) => prop_assert_eq!(error.reason(), crate::Reason::InvalidField),
            }
            prop_assert!(key(0, 0).verify(&text).is_err());
        }
    }

    #[test]
    fn the_code_is_that_of_the_standard() {
        // Test case 1 of RFC 4231 has a key of 20 bytes; a longer one padded with zeros is the same key.
        let mut secret = [0; 32];
        secret[..20].copy_from_slice(&[0x0b; 20]);
        let other = PredictionKey::new(0, &secret).keyed.chain_update(b"Hi There");
        assert_eq!(
            hex::encode(other.finalize().into_bytes()),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        // Ids in the world: the format must never change under its version. Computed with Python's hmac.
        let minted = PredictionId::mint(&key(3, 9), &some_fields());
        assert_eq!(
            minted.as_str(),
            "AQMBAgMEBQYHCAAAAAcAAgGLz-VoAAAAAAAAY7ZGjYebUzKX"
        );
    }

    #[test]
    fn keys_rotate() {
        let old = PredictionKeys::new(key(1, 1), vec![]).unwrap();
        let minted = old.mint(&some_fields());
        let both = PredictionKeys::new(key(2, 2), vec![key(1, 1)]).unwrap();
        assert_eq!(both.verify(minted.as_str()).unwrap(), some_fields());
        let new = both.mint(&some_fields());
        assert_eq!(both.verify(new.as_str()).unwrap(), some_fields());
        let only = PredictionKeys::new(key(2, 2), vec![]).unwrap();
        assert!(only.verify(minted.as_str()).is_err() && old.verify(new.as_str()).is_err());
        assert!(PredictionKeys::new(key(1, 1), vec![key(1, 2)]).is_err());
        assert!(PredictionKeys::new(key(0, 1), (1..=16).map(|i| key(i, 1)).collect()).is_err());
        let shown = format!("{:?}", key(1, 77));
        assert_eq!(shown, "PredictionKey { id: 1, .. }");
    }

    #[test]
    fn times_and_sequences_have_48_bits() {
        let odd = |time, sequence| {
            let fields = PredictionFields {
                time: Timestamp::from_millis(time),
                sequence,
                ..some_fields()
            };
            PredictionId::parse(PredictionId::mint(&key(1, 1), &fields).as_str())
                .unwrap()
                .1
        };
        assert_eq!(odd(-5, 0).time.millis(), 0);
        assert_eq!(odd(i64::MAX, 0).time.millis(), MAX_48 as i64);
        assert_eq!(odd(0, u64::MAX).sequence, MAX_48);
    }
}
