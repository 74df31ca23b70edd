//! What a place that holds bytes can do; a local folder and a bucket are such places.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use lodeway_domain::{Error, Result};

use super::{
    digest::{BLOCK_BYTES, BlockCheck, FileDigest},
    path::ArtifactPath,
    presign::PresignStore,
};

/// The bytes of a file in order, in pieces of any size.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// One file or folder of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is, relative to the location that was listed from.
    pub path: ArtifactPath,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Length of a file, 0 for a folder.
    pub size_bytes: u64,
}

/// What a removal took away, or would take away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many files.
    pub files: u64,
    /// Their length in all.
    pub size_bytes: u64,
}

/// Which entries a listing gives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listing<'a> {
    /// Files of all depths instead of one level of files and folders.
    pub recursive: bool,
    /// Only paths after this one (relative to the folder listed), in byte order.
    pub after: Option<&'a str>,
    /// At most this many.
    pub limit: usize,
}

/// A place that holds bytes under paths.
#[async_trait]
pub(crate) trait Backend: Send + Sync + 'static {
    /// Makes the place ready for the first write, where that is needed.
    async fn prepare(&self) -> Result<()> {
        Ok(())
    }

    /// Writes a body where readers do not see it yet; on failure nothing is left behind.
    async fn stage(&self, path: &ArtifactPath, body: ByteStream) -> Result<Box<dyn Staged>>;

    /// Opens a file. Errors: `NotFound` for what is missing or a folder.
    async fn open(&self, path: &ArtifactPath) -> Result<Box<dyn OpenFile>>;

    /// What tells this file from any other that has stood or will stand under its name; none if there is no file.
    async fn identity(&self, path: &ArtifactPath) -> Result<Option<String>>;

    /// The entries below a folder, sorted by path; none for a file or what is missing. Paths are relative to `folder`.
    async fn list(&self, folder: &ArtifactPath, listing: Listing<'_>) -> Result<Vec<Entry>>;

    /// The file or folder of that name, by its last segment only; none if missing.
    async fn stat(&self, path: &ArtifactPath) -> Result<Option<Entry>>;

    /// Removes a file, or a folder with everything below it, or only says what that would be.
    async fn remove(&self, path: &ArtifactPath, dry_run: bool) -> Result<Removed>;

    /// Removes a folder if nothing is in it, at once; false if something is. A bucket has no empty folders.
    async fn remove_empty(&self, _folder: &ArtifactPath) -> Result<bool> {
        Ok(true)
    }

    /// The part that signs URLs, where the place has one.
    fn presign(&self) -> Option<&dyn PresignStore>;
}

/// A body that is written and has no name yet. Dropping it takes it away.
#[async_trait]
pub(crate) trait Staged: Send {
    /// The digest of what was written.
    fn digest(&self) -> &Arc<FileDigest>;

    /// Gives it its name, durably and at once, replacing what stood there; returns its identity.
    async fn commit(self: Box<Self>) -> Result<String>;

    /// Takes it away.
    async fn discard(self: Box<Self>);
}

/// A file that stays the same while it is read, even if its name passes to another.
pub(crate) trait OpenFile: Send + Sync {
    /// Its length.
    fn size_bytes(&self) -> u64;

    /// See [`Backend::identity`].
    fn identity(&self) -> &str;

    /// The bytes from `start` (a multiple of the block size) to `end` (one too, or the end of the file); with a digest,
    /// no byte comes out before its block has passed.
    fn read(&self, start: u64, end: u64, digest: Option<Arc<FileDigest>>) -> ByteStream;
}

/// Holds the pieces of a block back until the block has passed.
pub(crate) struct Gate {
    digest: Arc<FileDigest>,
    check: Option<BlockCheck>,
    block: u64,
    held: Vec<Bytes>,
    held_bytes: u64,
}

impl Gate {
    /// For bytes that begin at the offset `start`, a multiple of the block size.
    pub fn new(digest: Arc<FileDigest>, start: u64) -> Self {
        Self {
            digest,
            check: None,
            block: start / BLOCK_BYTES,
            held: Vec::new(),
            held_bytes: 0,
        }
    }

    /// Takes the next piece and returns what may leave. Errors: `DataLoss`.
    pub fn push(&mut self, mut piece: Bytes) -> Result<Vec<Bytes>> {
        let mut free = Vec::new();
        while !piece.is_empty() {
            let rest = self
                .digest
                .size_bytes
                .saturating_sub(self.block * BLOCK_BYTES)
                .min(BLOCK_BYTES);
            let room = usize::try_from(rest - self.held_bytes).unwrap_or(usize::MAX);
            let part = piece.split_to(piece.len().min(room));
            if part.is_empty() {
                return Err(damaged());
            }
            let mut check = match self.check.take() {
                Some(check) => check,
                None => BlockCheck::new(self.digest.clone(), self.block).ok_or_else(damaged)?,
            };
            check.update(&part);
            self.held_bytes += part.len() as u64;
            self.held.push(part);
            if self.held_bytes < rest {
                self.check = Some(check);
            } else if check.passes() {
                free.append(&mut self.held);
                self.block += 1;
                self.held_bytes = 0;
            } else {
                return Err(damaged());
            }
        }
        Ok(free)
    }

    /// Whether everything pushed has left.
    pub fn is_clear(&self) -> bool {
        self.held.is_empty()
    }
}

/// The error for bytes that are not those that were written.
pub(crate) fn damaged() -> Error {
    Error::DataLoss("stored artifact bytes do not match the digest recorded when they were written; restore the file or log it again".into())
}
