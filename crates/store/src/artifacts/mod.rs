//! Artifact bytes: files below locations, written durably with their digests, read back verified.
//!
//! [`Roots`] says which places the server opens, [`ArtifactPath`] which names it takes, [`ArtifactStore`] does the work.
//! Memory stays flat whatever the size of a file: two batches of 1 MiB on the way into a folder, three parts of 8 MiB
//! on the way into a bucket, one block of 4 MiB on the way out.
//!
//! Files are plain files under the names that clients gave. Digests are kept apart (see [`index`]); a file that
//! somebody else put there has none and is given out unverified, and [`Meta`] says so.

mod backend;
mod digest;
mod holds;
pub mod index;
mod local;
mod local_file;
mod locks;
mod manifest;
mod own;
mod path;
mod place;
mod presign;
mod proxied;
mod read;
mod remote;
mod root;
mod sink;
mod sql_index;
mod tenancy;
mod upload;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::Stream;
use lodeway_domain::{
    Caller, Error, FieldViolation, Reason, Result,
    caller::Workspace,
    page::{KeyValue, Page, PageRequest, Position},
    time::{Clock, Timestamp},
};
use uuid::Uuid;

use self::{backend::Listing, index::Recorded, locks::PathLocks, presign::unsupported};
pub use self::{
    backend::{ByteStream, Entry, Removed},
    digest::{BLOCK_BYTES, BlockCheck, FileDigest, Hasher, Sha256Digest},
    holds::{Hold, Holds},
    index::DigestIndex,
    manifest::{Manifest, ManifestEntry, Trust},
    own::is_own_folder,
    path::{ArtifactPath, MAX_PATH_BYTES, MAX_SEGMENT_BYTES},
    presign::{MAX_PARTS, Multipart, PresignMethod, Presigned, PresignedPart, UploadedPart},
    read::{Meta, Range},
    root::{Location, RootSettings, Roots, bucket_of, spelled},
    sql_index::{MIGRATIONS, SqlDigestIndex},
    tenancy::Reach,
};

/// How often, and how long each time, a holder waits for files that are just getting their names.
const WAITS: u32 = 100;
const WAIT: Duration = Duration::from_millis(20);
/// A write that began so long ago and is not settled was cut off.
const ABANDONED_MS: i64 = 60_000;
/// So much the clocks of processes that share a store may differ.
const CLOCKS_MS: i64 = 500;
/// How often a race with other writers is run again before it is given up.
const ATTEMPTS: usize = 8;

/// What the writer expects its body to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected {
    /// Its length.
    pub size_bytes: Option<u64>,
    /// Its digest.
    pub sha256: Option<Sha256Digest>,
}

/// Reads and writes artifacts. Cheap to clone.
#[derive(Clone)]
pub struct ArtifactStore {
    roots: Roots,
    index: Arc<dyn DigestIndex>,
    clock: Arc<dyn Clock>,
    locks: PathLocks,
    holds: Option<Holds>,
    /// Whether everybody may change the platform's own folders.
    is_open: bool,
}

impl ArtifactStore {
    /// A store over the opened roots whose digests are kept in `index`.
    pub fn new(roots: Roots, index: Arc<dyn DigestIndex>, clock: Arc<dyn Clock>) -> Self {
        Self {
            roots,
            index,
            clock,
            locks: PathLocks::default(),
            holds: None,
            is_open: false,
        }
    }

    /// The same store, in which everybody may change the platform's own folders: for a process that cannot tell services of the
    /// platform from other callers, and would shut them out.
    #[must_use]
    pub fn with_open_folders(self) -> Self {
        Self {
            is_open: true,
            ..self
        }
    }

    /// The same store, in which folders can be held; see [`Holds`].
    #[must_use]
    pub fn with_holds(self, holds: Holds) -> Self {
        let holds = Some(holds);
        Self { holds, ..self }
    }

    /// The places that this store opens.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// The location of a URI, for an operation of somebody in `workspace` on this path and `reach` far below it.
    ///
    /// The one way from a caller's words to a location: below every root `workspaces/NAME` is that workspace's, and the rest
    /// is that of `default`. Errors: `Invalid` naming `artifact_uri`, reason `LOCATION_NOT_ALLOWED`, for what lies below no
    /// root and for files of another workspace.
    pub async fn locate(
        &self,
        artifact_uri: &str,
        path: &ArtifactPath,
        reach: Reach,
        workspace: &Workspace,
    ) -> Result<Location> {
        let location = self.roots.resolve(artifact_uri)?;
        tenancy::check(&location, path, reach, workspace).await?;
        Ok(location)
    }

    /// As [`ArtifactStore::locate`], for an operation that writes or removes: the platform's own folders are changed by its own
    /// services only, so that what was measured on stays what it was.
    ///
    /// Errors: beside those a `Precondition`, reason `LOCATION_NOT_ALLOWED`, naming the place.
    pub async fn locate_to_change(
        &self,
        artifact_uri: &str,
        path: &ArtifactPath,
        reach: Reach,
        caller: &Caller,
    ) -> Result<Location> {
        let location = self.locate(artifact_uri, path, reach, &caller.workspace).await?;
        if !caller.is_service() && !self.is_open {
            own::check_not_own(&self.roots, &location, path, reach, &caller.workspace).await?;
        }
        Ok(location)
    }

    /// Writes a file, replacing what stood under its name; readers see the whole old or the whole new file.
    ///
    /// When it returns, the bytes, the name and the digest are durable. On failure the name is untouched; only after a
    /// failure of the database at the very end may the new file stand there already. Of concurrent writers to one path,
    /// in this or another process, the last one wins. Errors: `Invalid` for `path`, `size_bytes` or `sha256`;
    /// `STILL_REFERENCED` in a folder that is held; what the body stream fails with; `Unavailable`.
    pub async fn put(
        &self,
        location: &Location,
        path: &ArtifactPath,
        body: impl Stream<Item = Result<Bytes>> + Send + 'static,
        expected: Expected,
    ) -> Result<Arc<FileDigest>> {
        let full = location.full(path)?;
        if path.is_root() {
            return Err(Error::invalid("path", "is empty; name a file"));
        }
        let backend = &location.root.backend;
        let staged = backend.stage(&full, Box::pin(body)).await?;
        let digest = staged.digest().clone();
        if let Err(error) = check_expected(&digest, expected) {
            staged.discard().await;
            return Err(error);
        }
        let key = location.index_key(&full);
        let write = Recorded {
            write_id: Uuid::now_v7().simple().to_string(),
            begun: self.clock.now(),
            digest: digest.clone(),
        };
        // only the naming is serialised, so a slow upload holds nobody up
        let _turn = self.locks.lock(&key).await;
        if let Err(error) = self.index.begin(&key, &write).await {
            staged.discard().await;
            return Err(error);
        }
        // After the record, which whoever holds the folder waits for: of a writer and a holder at the same time at least one
        // sees the other.
        if let Err(error) = self.check_free(location, &full, &[]).await {
            staged.discard().await;
            self.index
                .discard(&key, std::slice::from_ref(&write.write_id))
                .await?;
            return Err(error);
        }
        // if naming fails, the pending record stays: the answer of a bucket may be lost after the deed, and a record
        // of a write that did not happen does no harm
        let identity = staged.commit().await?;
        self.settle(location, &full, &write, &identity).await?;
        Ok(digest)
    }

    /// Makes the digest of a named file the current one, unless another file has taken the name since.
    ///
    /// The identity is looked at after the current record, and the promotion fails if that record has moved meanwhile.
    /// So if two writers name A, then B, and B promotes first, then A's promotion fails, A looks again, finds
    /// B's file and steps back; if A promotes first, B's promotion is simply the later one.
    async fn settle(
        &self,
        location: &Location,
        full: &ArtifactPath,
        write: &Recorded,
        identity: &str,
    ) -> Result<()> {
        let key = location.index_key(full);
        for _ in 0..ATTEMPTS {
            let row = self.index.load(&key).await?;
            if location.root.backend.identity(full).await?.as_deref() != Some(identity) {
                return self
                    .index
                    .discard(&key, std::slice::from_ref(&write.write_id))
                    .await;
            }
            let current = row.current.as_ref().map(|c| c.write_id.as_str());
            if current == Some(&write.write_id) || self.index.promote(&key, write, current).await? {
                return Ok(());
            }
        }
        // others write this path in quick succession; the pending record keeps every reader right
        Ok(())
    }

    /// Lists a folder: one level of files and folders, or files of all depths; sorted by path in byte order.
    ///
    /// Paths are relative to the location. A file, or a folder that does not exist, gives an empty page. The folder of
    /// all workspaces is left out of its root's.
    pub async fn list(
        &self,
        location: &Location,
        folder: &ArtifactPath,
        recursive: bool,
        page: &PageRequest,
    ) -> Result<Page<Entry>> {
        let full = location.full(folder)?;
        let after = match page.after.as_ref().map(|position| position.0.as_slice()) {
            None => None,
            Some([KeyValue::Text(after)]) if ArtifactPath::parse(after).is_ok() => Some(after.as_str()),
            Some(_) => {
                let violation = FieldViolation::new("page_token", "is not a token that this server made");
                return Err(Error::Invalid(vec![violation.because(Reason::InvalidPageToken)]));
            }
        };
        let listing = Listing {
            recursive,
            after,
            limit: page.size.saturating_add(1),
        };
        let entries = location.root.backend.list(&full, listing).await?;
        let mut rows = Vec::with_capacity(entries.len());
        for entry in entries {
            let position = Position(vec![KeyValue::Text(entry.path.as_str().to_owned())]);
            // a name that is too long together with its folder could not be asked for either
            if let Ok(path) = folder.join(&entry.path) {
                rows.push((Entry { path, ..entry }, position));
            }
        }
        let mut found = Page::from_lookahead(rows, page.size);
        if !recursive {
            found
                .items
                .retain(|entry| !tenancy::is_shared(location, &full, entry));
        }
        Ok(found)
    }

    /// What stands under a path; none if nothing does.
    pub async fn stat(&self, location: &Location, path: &ArtifactPath) -> Result<Option<Entry>> {
        let found = location.root.backend.stat(&location.full(path)?).await?;
        Ok(found.map(|entry| Entry {
            path: path.clone(),
            ..entry
        }))
    }

    /// Removes a file, or a folder with everything below it; what is not there is removed already. Errors:
    /// `STILL_REFERENCED` where something of it is held.
    pub async fn delete(&self, location: &Location, path: &ArtifactPath) -> Result<Removed> {
        self.remove(location, path, false).await
    }

    /// Removes everything below a location, or with `dry_run` only counts it. Errors, with `dry_run` too: `Precondition` for a
    /// root itself, and where something below is held.
    pub async fn delete_prefix(&self, location: &Location, dry_run: bool) -> Result<Removed> {
        self.remove(location, &ArtifactPath::root(), dry_run).await
    }

    /// Removes the folders that were there only for the files at a location, as far as nothing is in them: the run's or logged
    /// model's own, and the one of all logged models. Never that of the experiment, and no root.
    pub async fn remove_empty_above(&self, location: &Location) -> Result<()> {
        for folder in tenancy::folders_of_entity(location) {
            if !location.root.backend.remove_empty(&folder).await? {
                break;
            }
        }
        Ok(())
    }

    async fn remove(&self, location: &Location, path: &ArtifactPath, dry_run: bool) -> Result<Removed> {
        let full = location.full(path)?;
        if full.is_root() {
            let message = "a whole artifact root cannot be deleted; name a folder in it";
            return Err(Error::precondition(
                Reason::LocationNotAllowed,
                message,
                Vec::new(),
            ));
        }
        let key = location.index_key(&full);
        let _turn = self.locks.lock(&key).await;
        self.check_free(location, &full, &location.index_prefixes(&full))
            .await?;
        let removed = location.root.backend.remove(&full, dry_run).await?;
        if !dry_run {
            // after the files: a record without a file does no harm, a file without its record loses its check
            self.index.remove(&key).await?;
            for prefix in location.index_prefixes(&full) {
                self.index.remove_below(&prefix).await?;
            }
        }
        Ok(removed)
    }

    /// Signs a URL for one file. A digest is not recorded for what is uploaded so.
    ///
    /// Errors: `Unimplemented` reason `NOT_SUPPORTED_BY_STORE` for a local folder.
    pub async fn presign(
        &self,
        location: &Location,
        path: &ArtifactPath,
        method: PresignMethod,
        expires: Duration,
    ) -> Result<Presigned> {
        let full = location.full(path)?;
        let signer = location
            .root
            .backend
            .presign()
            .ok_or_else(|| unsupported("a signed URL"))?;
        if method == PresignMethod::Put {
            self.check_free(location, &full, &[]).await?;
        }
        let signed = signer.url(&full, method, expires).await?;
        if method == PresignMethod::Put {
            // the client will replace the file behind the server's back; the old digest would condemn the new bytes
            self.index.remove(&location.index_key(&full)).await?;
        }
        Ok(signed)
    }

    /// Begins a multipart upload that the client sends by signed URLs. Errors: `Unimplemented` for stores without it,
    /// `STILL_REFERENCED` where the file is held.
    pub async fn create_multipart(
        &self,
        location: &Location,
        path: &ArtifactPath,
        parts: u32,
        expires: Duration,
    ) -> Result<Multipart> {
        if !(1..=MAX_PARTS).contains(&parts) {
            return Err(Error::invalid(
                "num_parts",
                format!("is not between 1 and {MAX_PARTS}"),
            ));
        }
        let full = location.full(path)?;
        let signer = self.multipart(location)?;
        // What is held meanwhile is refused when the parts are put together; here it saves sending them.
        self.check_free(location, &full, &[]).await?;
        signer.create_multipart(&full, parts, expires).await
    }

    /// Puts the parts together under the path, without a digest. Errors: as [`ArtifactStore::create_multipart`].
    pub async fn complete_multipart(
        &self,
        location: &Location,
        path: &ArtifactPath,
        upload_id: &str,
        parts: Vec<UploadedPart>,
    ) -> Result<()> {
        let full = location.full(path)?;
        let signer = self.multipart(location)?;
        let key = location.index_key(&full);
        let _turn = self.locks.lock(&key).await;
        self.check_free(location, &full, &[]).await?;
        // before the deed, so that no reader holds the new bytes against the old digest
        self.index.remove(&key).await?;
        signer.complete_multipart(&full, upload_id, parts).await
    }

    /// Gives a multipart upload up.
    pub async fn abort_multipart(
        &self,
        location: &Location,
        path: &ArtifactPath,
        upload_id: &str,
    ) -> Result<()> {
        self.multipart(location)?
            .abort_multipart(&location.full(path)?, upload_id)
            .await
    }

    /// Holds the folder of a location: nobody writes to it or removes anything of it until every holder lets go. When it
    /// returns, no write that began before is under way any more. Of what the holder holds already only the reason changes.
    ///
    /// Errors: `NOT_SUPPORTED_BY_STORE` in a store without [`ArtifactStore::with_holds`]; `LOCATION_NOT_ALLOWED` for a folder
    /// in which others than one model have their files; `Unavailable` if a write does not come to its end.
    pub async fn hold(&self, location: &Location, workspace: &Workspace, hold: Hold) -> Result<()> {
        let full = location.full(&ArtifactPath::root())?;
        let holds = self.held()?;
        tenancy::check_holdable(location)?;
        holds.add(location.index_key(&full), workspace, hold).await?;
        let prefixes = location.index_prefixes(&full);
        let now = self.clock.now().millis();
        // Of those that begin from now on each sees the hold; waiting for them too, whoever tries again and again could keep
        // the holder from ever coming to an end.
        let begun = (
            Timestamp::from_millis(now - ABANDONED_MS),
            Timestamp::from_millis(now + CLOCKS_MS),
        );
        for _ in 0..WAITS {
            if !holds.is_written_to(&prefixes, begun).await? {
                return Ok(());
            }
            tokio::time::sleep(WAIT).await;
        }
        let why = "a file in the folder is being written; try again in a moment";
        Err(Error::unavailable(why, why))
    }

    /// Lets go of what a holder holds; of what it does not hold, nothing happens. Errors: as [`ArtifactStore::hold`].
    pub async fn release(&self, location: &Location, holder: &str) -> Result<()> {
        let key = location.index_key(&location.full(&ArtifactPath::root())?);
        self.held()?.remove(key, holder).await
    }

    /// What is held in a workspace, by place. Errors: as [`ArtifactStore::hold`].
    pub async fn holds(&self, workspace: &Workspace, page: &PageRequest) -> Result<Page<Hold>> {
        self.held()?.list(workspace, page).await
    }

    fn held(&self) -> Result<&Holds> {
        self.holds.as_ref().ok_or_else(|| unsupported("holding files"))
    }

    /// Refuses where a file or a folder above it is held, or what is named so `below` it. Errors: `STILL_REFERENCED`.
    async fn check_free(&self, location: &Location, full: &ArtifactPath, below: &[String]) -> Result<()> {
        let Some(holds) = &self.holds else {
            return Ok(());
        };
        let mut places = vec![location.index_key(full)];
        let mut above = full.clone();
        while let Some((folder, _)) = above.split_last() {
            places.push(location.index_key(&folder));
            above = folder;
        }
        let Some(hold) = holds.find(&places, below).await? else {
            return Ok(());
        };
        let message = format!(
            "`{full}` cannot be changed or removed: {} is made of the files in `{}` and is promoted. Register what is \
             new as a new version, or take stage and aliases away first",
            hold.reason, hold.uri
        );
        let metadata = vec![("resource_name", hold.uri)];
        Err(Error::precondition(Reason::StillReferenced, message, metadata))
    }

    fn multipart<'a>(&self, location: &'a Location) -> Result<&'a dyn presign::PresignStore> {
        location
            .root
            .backend
            .presign()
            .ok_or_else(|| unsupported("multipart upload"))
    }
}

fn check_expected(found: &FileDigest, expected: Expected) -> Result<()> {
    let mut violations = lodeway_domain::error::Violations::new();
    if let Some(size) = expected.size_bytes.filter(|size| *size != found.size_bytes) {
        violations.add(
            "size_bytes",
            format!(
                "says {size}, but {} bytes came; send the file again",
                found.size_bytes
            ),
        );
    }
    if let Some(sha256) = expected.sha256.filter(|sha256| *sha256 != found.sha256) {
        violations.add(
            "sha256",
            format!(
                "says {sha256}, but the bytes that came have {}; send the file again",
                found.sha256
            ),
        );
    }
    violations.finish()
}
