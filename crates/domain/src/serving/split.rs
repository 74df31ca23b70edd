//! How an endpoint divides its traffic between targets.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::buckets::{self, BUCKETS, BucketMap};
use crate::{Error, FieldViolation, Result, id::clip};

/// The most targets of one split.
pub const MAX_TARGETS: usize = 64;

/// The greatest weight. With so many targets, each with a weight, every one still gets some of the 2^32 buckets.
pub const MAX_WEIGHT: u32 = 1_000_000;

const MAX_NAME_CHARS: usize = 128;

/// The name of a target, unique in its endpoint: 1 to 128 of letters, digits, `_ - . : @ /`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetName(String);

impl TargetName {
    /// Checks a name. Errors: `INVALID_FIELD` for `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_-.:@/".contains(c);
        if text.is_empty() || text.len() > MAX_NAME_CHARS || !text.chars().all(is_allowed) {
            let why = format!("is not 1 to {MAX_NAME_CHARS} of letters, digits, `_ - . : @ /`");
            return Err(Error::invalid(field, format!("`{}` {why}", clip(text))));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for TargetName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse("target", &text)
    }
}

impl From<TargetName> for String {
    fn from(name: TargetName) -> Self {
        name.0
    }
}

/// What makes the same key fall differently in each endpoint, so that nobody is in every experiment's first percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Salt([u8; 16]);

impl Salt {
    /// The salt of an endpoint, made once from what never changes about it, its uid.
    pub fn of(uid: &str) -> Self {
        let digest = Sha256::digest(uid.as_bytes());
        Self(digest.first_chunk().copied().unwrap_or_default())
    }
}

/// A target and its part of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// Which target.
    pub target: TargetName,
    /// Its part of the sum of all; 0 gets nothing.
    pub weight: u32,
}

/// Which target serves a key: sticky, exact, and the same on every replica and after a restart.
///
/// A key hashes (SHA-256 of the endpoint's salt and the key, its first four bytes) into one of 2^32 buckets, and each
/// bucket belongs to a target. A revision's map of buckets comes from the one before it by moving as few as possible, so between consecutive revisions
/// exactly the total variation distance of the weights moves. Going back to an older revision takes its map as it was:
/// every key is where it was then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct TrafficSplit {
    salt: Salt,
    weights: Vec<Weight>,
    map: BucketMap,
}

impl TrafficSplit {
    /// The split of an endpoint's first revision. Errors: `INVALID_FIELD` for no, too many or doubled targets, too large
    /// weights, and weights that are all 0.
    pub fn new(salt: Salt, weights: Vec<Weight>) -> Result<Self> {
        let quotas = checked(&weights)?;
        Ok(Self {
            salt,
            map: BucketMap::new(&quotas),
            weights,
        })
    }

    /// The split of the next revision; targets are the same if their names are. Errors: as [`TrafficSplit::new`].
    pub fn followed_by(&self, weights: Vec<Weight>) -> Result<Self> {
        let quotas = checked(&weights)?;
        let renamed = |owner: usize| {
            let old = self.weights.get(owner)?;
            weights.iter().position(|new| new.target == old.target)
        };
        Ok(Self {
            salt: self.salt,
            map: self.map.followed_by(&quotas, renamed),
            weights,
        })
    }

    /// The target that serves `key`; same split and key, same answer. A target of weight 0 is never chosen.
    pub fn choose(&self, key: &[u8]) -> &TargetName {
        let digest = Sha256::new()
            .chain_update(self.salt.0)
            .chain_update(key)
            .finalize();
        self.at(u32::from_be_bytes(
            digest.first_chunk().copied().unwrap_or_default(),
        ))
    }

    /// The target that has a bucket; with a random one, the choice for a caller without a key.
    pub fn at(&self, bucket: u32) -> &TargetName {
        let owner = self.map.owner(bucket);
        // Owners are places in the list, which has at least one entry.
        &self.weights[owner.min(self.weights.len() - 1)].target
    }

    /// The targets with their weights, in the order given.
    pub fn weights(&self) -> &[Weight] {
        &self.weights
    }

    /// The share of keys that another split of the same endpoint gives to another target, in [0, 1].
    pub fn moved(&self, other: &Self) -> f64 {
        self.moved_buckets(other) as f64 / BUCKETS as f64
    }

    pub(super) fn moved_buckets(&self, other: &Self) -> u64 {
        let name = |weights: &[Weight], owner: usize| weights.get(owner).map(|w| w.target.clone());
        self.map.moved(&other.map, |ours, theirs| {
            name(&self.weights, ours) == name(&other.weights, theirs)
        })
    }

    #[cfg(test)]
    pub(super) fn runs(&self) -> usize {
        self.map.len()
    }
}

fn checked(weights: &[Weight]) -> Result<Vec<u64>> {
    let mut violations = Vec::new();
    if weights.is_empty() || weights.len() > MAX_TARGETS {
        let text = format!("has {} targets; give 1 to {MAX_TARGETS}", weights.len());
        violations.push(FieldViolation::new("targets", text));
    }
    for (i, weight) in weights.iter().enumerate() {
        let name = &weight.target;
        if weights.iter().take(i).any(|earlier| earlier.target == *name) {
            let text = format!("`{name}` is there twice; add the weights up");
            violations.push(FieldViolation::new(format!("targets[{i}].name"), text));
        }
        if weight.weight > MAX_WEIGHT {
            let text = format!(
                "{} is more than {MAX_WEIGHT}; weights are parts of their sum",
                weight.weight
            );
            violations.push(FieldViolation::new(format!("targets[{i}].weight"), text));
        }
    }
    if !weights.is_empty() && weights.iter().all(|weight| weight.weight == 0) {
        let text = "have no weight at all; give at least one target a weight above 0";
        violations.push(FieldViolation::new("targets", text));
    }
    if !violations.is_empty() {
        return Err(Error::Invalid(violations));
    }
    let parts: Vec<u32> = weights.iter().map(|weight| weight.weight).collect();
    Ok(buckets::quotas(&parts))
}

/// A split as it is kept with its revision.
#[derive(Serialize, Deserialize)]
struct Stored {
    salt: Salt,
    weights: Vec<Weight>,
    /// The first bucket of each run, and whose it is.
    runs: Vec<(u32, usize)>,
}

impl From<TrafficSplit> for Stored {
    fn from(split: TrafficSplit) -> Self {
        Self {
            salt: split.salt,
            runs: split.map.starts().collect(),
            weights: split.weights,
        }
    }
}

impl TryFrom<Stored> for TrafficSplit {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self> {
        let quotas = checked(&stored.weights)?;
        let map = BucketMap::of(&stored.runs, &quotas)
            .ok_or_else(|| Error::DataLoss("a stored traffic split does not fit its weights".to_owned()))?;
        Ok(Self {
            salt: stored.salt,
            weights: stored.weights,
            map,
        })
    }
}
