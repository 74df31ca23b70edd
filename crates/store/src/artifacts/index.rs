//! Which digest belongs to which file.
//!
//! The bytes lie in a folder or bucket and the digests in a database, so no transaction spans both. The order of a
//! write is: the body is staged; its digest is recorded as *pending* (committed); the body gets its name; the pending
//! digest becomes the *current* one. A process may die between any two of these steps, and other processes may write
//! the same path at the same time, yet the file under the name is always one whose digest is recorded: the current one,
//! or one of the pending ones. A reader that finds pending digests hashes the file to learn which one it is, and
//! makes that one current.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use lodeway_domain::{Result, time::Timestamp};

use super::digest::{FileDigest, Sha256Digest};

/// A digest with the write that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Names the write; unique.
    pub write_id: String,
    /// When the write was about to be named.
    pub begun: Timestamp,
    /// What was written.
    pub digest: Arc<FileDigest>,
}

/// Everything recorded of one path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DigestRow {
    /// The digest of the file unless a pending write has replaced it; none if it was never written through the server.
    pub current: Option<Recorded>,
    /// Writes that were about to be named, oldest first; each may have happened or not.
    pub pending: Vec<Recorded>,
}

/// What a manifest needs of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Length recorded.
    pub size_bytes: u64,
    /// Digest recorded.
    pub sha256: Sha256Digest,
}

/// The records of digests. Each method is atomic and durable when it returns.
#[async_trait]
pub trait DigestIndex: Send + Sync + 'static {
    /// Everything recorded of a path; empty if nothing is.
    async fn load(&self, key: &str) -> Result<DigestRow>;

    /// The current digests of those paths that have one and have no pending write.
    async fn settled(&self, keys: &[String]) -> Result<HashMap<String, Summary>>;

    /// Records a pending write.
    async fn begin(&self, key: &str, write: &Recorded) -> Result<()>;

    /// Makes a write the current one, if the current one is still that of `expected`; else changes nothing and
    /// returns false.
    async fn promote(&self, key: &str, write: &Recorded, expected: Option<&str>) -> Result<bool>;

    /// Forgets pending writes that did not happen or were replaced.
    async fn discard(&self, key: &str, write_ids: &[String]) -> Result<()>;

    /// Forgets a path.
    async fn remove(&self, key: &str) -> Result<()>;

    /// Forgets every path that begins with `prefix`.
    async fn remove_below(&self, prefix: &str) -> Result<()>;
}
