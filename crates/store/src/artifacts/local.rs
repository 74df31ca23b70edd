//! A local folder: plain files under the names clients gave, opened beneath the root and never through a link.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use cap_std::{
    ambient_authority,
    fs::{Dir, Metadata, MetadataExt as _, OpenOptions},
};
use futures::{
    FutureExt as _, StreamExt as _,
    future::{self, BoxFuture},
};
use lodeway_domain::{Error, FieldViolation, Reason, ResourceKind, Result};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{
    backend::{Backend, ByteStream, Entry, Listing, OpenFile, Removed, Staged},
    digest::{FileDigest, Hasher},
    local_file::{LocalFile, blocking},
    path::{ArtifactPath, STAGING},
    presign::PresignStore,
    sink::Sink,
};

/// How much of a body is gathered before it is handed to a blocking thread.
const BATCH_BYTES: usize = 1 << 20;

/// Staged files older than this belong to a process that died, also where files cannot be locked.
const STAGED_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long an empty staged file may be without a lock: it is made first and locked then.
const UNLOCKED_FOR: Duration = Duration::from_secs(10);

/// How often a folder is made for a file while others remove it as an empty one.
const FOLDER_TRIES: u32 = 1_000;

/// A folder whose files are artifacts.
pub(crate) struct LocalRoot(Arc<Inner>);

struct Inner {
    path: PathBuf,
    dir: OnceLock<Dir>,
}

impl LocalRoot {
    /// Names a folder; it is opened at first use and created at the first write.
    pub fn new(path: PathBuf) -> Self {
        Self(Arc::new(Inner {
            path,
            dir: OnceLock::new(),
        }))
    }

    async fn run<T: Send + 'static>(
        &self,
        path: ArtifactPath,
        work: impl FnOnce(&Inner, &ArtifactPath) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = self.0.clone();
        blocking(move || work(&inner, &path).map_err(|e| explain(e, &path))).await
    }
}

/// A name on the way to a file is a symbolic link.
#[derive(Debug, thiserror::Error)]
#[error("a symbolic link stands in the way")]
struct LinkFound;

fn explain(error: io::Error, path: &ArtifactPath) -> Error {
    use io::ErrorKind as Kind;
    let refuse = |why: &str| Error::Invalid(vec![FieldViolation::new("path", why)]);
    if error.get_ref().is_some_and(|inner| inner.is::<LinkFound>()) {
        let violation = FieldViolation::new(
            "path",
            "leads through a symbolic link, which the server does not follow",
        );
        return Error::Invalid(vec![violation.because(Reason::LocationNotAllowed)]);
    }
    match error.kind() {
        Kind::NotFound => Error::not_found(ResourceKind::Artifact, path),
        Kind::NotADirectory => refuse("goes through a file as if it were a folder"),
        Kind::IsADirectory | Kind::DirectoryNotEmpty => refuse("names a folder; name a file"),
        Kind::InvalidFilename => refuse("is a name that the file system does not take"),
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => Error::unavailable(
            "the artifact store has no room left; free space and try again",
            error,
        ),
        Kind::ReadOnlyFilesystem => Error::unavailable("the artifact store is read-only now", error),
        _ => Error::internal(error),
    }
}

impl Inner {
    fn dir(&self, create: bool) -> io::Result<&Dir> {
        if let Some(dir) = self.dir.get() {
            return Ok(dir);
        }
        if create {
            Dir::create_ambient_dir_all(&self.path, ambient_authority())?;
        }
        let dir = Dir::open_ambient_dir(&self.path, ambient_authority())?;
        Ok(self.dir.get_or_init(|| dir))
    }

    /// Opens a folder step by step. The folder handles make it impossible to leave the root; looking at each name
    /// before makes links inside the root an error too, so that one file never has two names.
    fn folder(&self, path: &ArtifactPath, create: bool) -> io::Result<Dir> {
        let mut dir = self.dir(create)?.try_clone()?;
        for name in path.segments() {
            match meta(&dir, name) {
                Ok(_) => {}
                Err(e) if create && e.kind() == io::ErrorKind::NotFound => {
                    match dir.create_dir(name) {
                        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                        _ => sync_dir(&dir)?,
                    }
                    meta(&dir, name)?;
                }
                Err(e) => return Err(e),
            }
            dir = dir.open_dir(name)?;
        }
        Ok(dir)
    }

    fn find(&self, path: &ArtifactPath) -> io::Result<(Dir, Metadata)> {
        let Some((folder, name)) = path.split_last() else {
            let dir = self.dir(false)?.try_clone()?;
            let meta = dir.dir_metadata()?;
            return Ok((dir, meta));
        };
        let dir = self.folder(&folder, false)?;
        let meta = meta(&dir, name)?;
        Ok((dir, meta))
    }

    fn find_opt(&self, path: &ArtifactPath) -> io::Result<Option<(Dir, Metadata)>> {
        match self.find(path) {
            Ok(found) => Ok(Some(found)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn staging(&self) -> io::Result<Dir> {
        let root = self.dir(true)?;
        match root.create_dir(STAGING) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        meta(root, STAGING)?;
        root.open_dir(STAGING)
    }

    fn sweep(&self) -> io::Result<()> {
        let staging = self.staging()?;
        for entry in staging.entries()? {
            let entry = entry?;
            let Ok(meta) = entry.metadata() else { continue };
            let age = meta.modified().ok().and_then(|at| at.into_std().elapsed().ok());
            // Whoever writes locks first.
            let is_begun = meta.len() > 0 || age > Some(UNLOCKED_FOR);
            if age > Some(STAGED_FOR) || (is_begun && is_unlocked(&staging, &entry.file_name())) {
                staging.remove_file(entry.file_name()).unwrap_or_default();
            }
        }
        Ok(())
    }

    fn list(
        &self,
        folder: &ArtifactPath,
        recursive: bool,
        after: Option<&str>,
        limit: usize,
    ) -> io::Result<Vec<Entry>> {
        let Some((dir, meta)) = self.find_opt(folder)? else {
            return Ok(Vec::new());
        };
        if !meta.is_dir() {
            return Ok(Vec::new());
        }
        let dir = if folder.is_root() {
            dir
        } else {
            dir.open_dir(folder.name())?
        };
        let mut found = Vec::new();
        if recursive {
            collect_files(&dir, "", after.unwrap_or_default(), limit, &mut found)?;
        } else {
            let mut first = BTreeMap::new();
            each_entry(&dir, |name, meta| {
                if after.is_none_or(|after| name > after) {
                    first.insert(name.to_owned(), meta.clone());
                    if first.len() > limit {
                        first.pop_last();
                    }
                }
            })?;
            found.extend(first.into_iter().filter_map(|(name, meta)| entry(&name, &meta)));
        }
        Ok(found)
    }

    fn count(dir: &Dir) -> io::Result<Removed> {
        let mut removed = Removed::default();
        for entry in dir.entries()? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                let below = Self::count(&entry.open_dir()?)?;
                removed.files += below.files;
                removed.size_bytes += below.size_bytes;
            } else {
                removed.files += 1;
                removed.size_bytes += entry.metadata()?.len();
            }
        }
        Ok(removed)
    }

    fn remove(&self, path: &ArtifactPath, dry_run: bool) -> io::Result<Removed> {
        let Some((dir, meta)) = self.find_opt(path)? else {
            return Ok(Removed::default());
        };
        let name = path.name();
        let removed = if meta.is_dir() {
            Self::count(&dir.open_dir(name)?)?
        } else {
            Removed {
                files: 1,
                size_bytes: meta.len(),
            }
        };
        if !dry_run {
            let gone = if meta.is_dir() {
                dir.remove_dir_all(name)
            } else {
                dir.remove_file(name)
            };
            // The folder around it may have gone by now as an empty one, and what is not there needs no syncing.
            match gone.and_then(|()| sync_dir(&dir)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(removed)
    }

    /// Removes a folder in which nothing is; false if it is there still, or is no folder.
    fn remove_empty(&self, folder: &ArtifactPath) -> io::Result<bool> {
        if folder.is_root() {
            return Ok(false);
        }
        let Some((dir, _)) = self.find_opt(folder)? else {
            return Ok(true);
        };
        match dir.remove_dir(folder.name()) {
            Ok(()) => match sync_dir(&dir) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(true),
            },
            Err(e) => Ok(e.kind() == io::ErrorKind::NotFound),
        }
    }
}

/// Whether no process has a staged file locked; false where that cannot be told.
fn is_unlocked(staging: &Dir, name: &std::ffi::OsStr) -> bool {
    let file = staging.open(name).map(cap_std::fs::File::into_std);
    file.is_ok_and(|file| file.try_lock().is_ok())
}

/// What stands under a name; a link is an error.
fn meta(dir: &Dir, name: &str) -> io::Result<Metadata> {
    let meta = dir.symlink_metadata(name)?;
    if meta.is_symlink() {
        Err(io::Error::other(LinkFound))
    } else {
        Ok(meta)
    }
}

/// Makes the names in a folder durable. Folder handles are opened for paths only, so the folder is opened again.
fn sync_dir(dir: &Dir) -> io::Result<()> {
    dir.open(".")?.sync_all()
}

fn identity(meta: &Metadata) -> String {
    format!(
        "{}:{}:{}:{}.{}",
        meta.dev(),
        meta.ino(),
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec()
    )
}

/// Calls `f` for files and folders; links, devices and names that no request could ask for are passed over.
fn each_entry(dir: &Dir, mut f: impl FnMut(&str, &Metadata)) -> io::Result<()> {
    for entry in dir.entries()? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name
            .to_str()
            .filter(|n| ArtifactPath::parse(n).is_ok_and(|p| p.as_str() == *n))
        else {
            continue;
        };
        match entry.metadata() {
            Ok(meta) if meta.is_dir() || meta.is_file() => f(name, &meta),
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

fn entry(path: &str, meta: &Metadata) -> Option<Entry> {
    let is_dir = meta.is_dir();
    Some(Entry {
        path: ArtifactPath::parse(path).ok()?,
        is_dir,
        size_bytes: if is_dir { 0 } else { meta.len() },
    })
}

/// Files of all depths in byte order of their whole paths, in which `a.b` stands before `a/b`.
fn collect_files(
    dir: &Dir,
    prefix: &str,
    after: &str,
    limit: usize,
    found: &mut Vec<Entry>,
) -> io::Result<()> {
    let mut names = BTreeMap::new();
    each_entry(dir, |name, meta| {
        let path = if meta.is_dir() {
            format!("{prefix}{name}/")
        } else {
            format!("{prefix}{name}")
        };
        if path.as_str() > after || (meta.is_dir() && after.starts_with(&path)) {
            names.insert(path, meta.clone());
        }
    })?;
    for (path, meta) in names {
        if found.len() >= limit {
            break;
        }
        if meta.is_dir() {
            let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            collect_files(&dir.open_dir(name)?, &path, after, limit, found)?;
        } else {
            found.extend(entry(&path, &meta));
        }
    }
    Ok(())
}

/// A body on its way into a staged file.
struct Writer {
    file: Sink,
    hasher: Hasher,
    guard: StagedName,
}

impl Writer {
    fn write(mut self, batch: &[Bytes]) -> io::Result<Self> {
        for piece in batch {
            self.hasher.update(piece);
            self.file.write(piece)?;
        }
        Ok(self)
    }

    /// Writes on a blocking thread, which starts at once; the future only waits for it.
    fn write_aside(self, batch: Vec<Bytes>, path: &ArtifactPath) -> BoxFuture<'static, Result<Self>> {
        let path = path.clone();
        let task = spawn_blocking(move || self.write(&batch));
        async move {
            task.await
                .map_err(Error::internal)?
                .map_err(|e| explain(e, &path))
        }
        .boxed()
    }
}

/// Removes a staged file when it goes out of use without having got its name.
struct StagedName {
    staging: Dir,
    name: Option<String>,
}

impl Drop for StagedName {
    fn drop(&mut self) {
        if let Some(name) = &self.name
            && let Err(error) = self.staging.remove_file(name)
        {
            tracing::debug!(%error, "a staged artifact could not be removed; it goes with the next start");
        }
    }
}

struct StagedFile {
    root: Arc<Inner>,
    path: ArtifactPath,
    digest: Arc<FileDigest>,
    guard: StagedName,
    /// Open until it has its name.
    _locked: std::fs::File,
}

impl StagedFile {
    fn rename(mut self) -> io::Result<String> {
        let Some((folder, name)) = self.path.split_last() else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let Some(staged) = self.guard.name.clone() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        // taken before the rename: afterwards the name may already be another writer's
        let identity = identity(&self.guard.staging.symlink_metadata(&staged)?);
        let mut tries = 1..FOLDER_TRIES;
        let dir = loop {
            match self.place(&staged, &folder, name) {
                // A folder on the way went, empty, before the file was in it.
                Err(e) if e.kind() == io::ErrorKind::NotFound && tries.next().is_some() => {}
                placed => break placed?,
            }
        };
        self.guard.name = None;
        sync_dir(&dir)?;
        Ok(identity)
    }

    /// Gives the staged file its name in a folder that is made if it is not there; the folder.
    fn place(&self, staged: &str, folder: &ArtifactPath, name: &str) -> io::Result<Dir> {
        let dir = self.root.folder(folder, true)?;
        match meta(&dir, name) {
            Ok(meta) if meta.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        self.guard.staging.rename(staged, &dir, name)?;
        Ok(dir)
    }
}

#[async_trait]
impl Staged for StagedFile {
    fn digest(&self) -> &Arc<FileDigest> {
        &self.digest
    }

    async fn commit(self: Box<Self>) -> Result<String> {
        let path = self.path.clone();
        blocking(move || self.rename().map_err(|e| explain(e, &path))).await
    }

    async fn discard(self: Box<Self>) {
        // the guard unlinks the file; a single unlink does not merit a thread of its own
        drop(self);
    }
}

#[async_trait]
impl Backend for LocalRoot {
    /// Creates the folder if need be and clears away what dead writers left in it.
    async fn prepare(&self) -> Result<()> {
        self.run(ArtifactPath::root(), |inner, _| {
            inner.dir(true)?;
            inner.sweep()
        })
        .await
    }

    async fn stage(&self, path: &ArtifactPath, mut body: ByteStream) -> Result<Box<dyn Staged>> {
        let opened = self.run(path.clone(), |inner, path| {
            if inner.find_opt(path)?.is_some_and(|(_, meta)| meta.is_dir()) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            let staging = inner.staging()?;
            let name = Uuid::now_v7().simple().to_string();
            let file = staging
                .open_with(&name, OpenOptions::new().write(true).create_new(true))?
                .into_std();
            // As long as it is open, so that another start does not take it for what a crash left; where files cannot be locked,
            // their age tells.
            if let Err(error) = file.try_lock() {
                tracing::debug!(%error, "a staged artifact is not locked");
            }
            Ok(Writer {
                file: Sink::new(file),
                hasher: Hasher::new(),
                guard: StagedName {
                    staging,
                    name: Some(name),
                },
            })
        });
        // one batch is hashed and written on a blocking thread while the next is gathered; no thread waits for a slow
        // client, and a body never has more than two batches in memory
        let mut writer = opened.await.map(|writer| future::ready(Ok(writer)).boxed())?;
        let mut batch = Vec::new();
        let mut gathered = 0;
        while let Some(piece) = body.next().await {
            let piece = piece?;
            gathered += piece.len();
            batch.push(piece);
            if gathered >= BATCH_BYTES {
                writer = writer.await?.write_aside(std::mem::take(&mut batch), path);
                gathered = 0;
            }
        }
        let writer = writer.await?;
        let (root, path) = (self.0.clone(), path.clone());
        blocking(move || {
            let finish = || {
                let Writer { file, hasher, guard } = writer.write(&batch)?;
                io::Result::Ok((hasher, guard, file.finish()?))
            };
            let (hasher, guard, file) = finish().map_err(|e| explain(e, &path))?;
            let digest = Arc::new(hasher.finish());
            Ok(Box::new(StagedFile {
                root,
                path,
                digest,
                guard,
                _locked: file,
            }) as Box<dyn Staged>)
        })
        .await
    }

    async fn open(&self, path: &ArtifactPath) -> Result<Box<dyn OpenFile>> {
        self.run(path.clone(), |inner, path| {
            let missing = || io::Error::from(io::ErrorKind::NotFound);
            let (dir, meta) = inner.find_opt(path)?.ok_or_else(missing)?;
            // a folder, a pipe or a device is not a file to be downloaded, and opening a pipe would wait for a writer
            if !meta.is_file() {
                return Err(missing());
            }
            let file = dir.open(path.name())?;
            let meta = file.metadata()?;
            let open = LocalFile {
                size_bytes: meta.len(),
                identity: identity(&meta),
                file: Arc::new(file.into_std()),
            };
            Ok(Box::new(open) as Box<dyn OpenFile>)
        })
        .await
    }

    async fn identity(&self, path: &ArtifactPath) -> Result<Option<String>> {
        self.run(path.clone(), |inner, path| {
            Ok(inner
                .find_opt(path)?
                .filter(|(_, meta)| meta.is_file())
                .map(|(_, meta)| identity(&meta)))
        })
        .await
    }

    async fn list(&self, folder: &ArtifactPath, listing: Listing<'_>) -> Result<Vec<Entry>> {
        let (after, recursive, limit) = (listing.after.map(str::to_owned), listing.recursive, listing.limit);
        self.run(folder.clone(), move |inner, folder| {
            inner.list(folder, recursive, after.as_deref(), limit)
        })
        .await
    }

    async fn stat(&self, path: &ArtifactPath) -> Result<Option<Entry>> {
        self.run(path.clone(), |inner, path| {
            let Some((_, meta)) = inner.find_opt(path)? else {
                return Ok(None);
            };
            let is_dir = meta.is_dir();
            let kept = is_dir || meta.is_file();
            let name = ArtifactPath::parse_or_root(path.name()).unwrap_or_default();
            Ok(kept.then(|| Entry {
                path: name,
                is_dir,
                size_bytes: if is_dir { 0 } else { meta.len() },
            }))
        })
        .await
    }

    async fn remove(&self, path: &ArtifactPath, dry_run: bool) -> Result<Removed> {
        self.run(path.clone(), move |inner, path| inner.remove(path, dry_run))
            .await
    }

    async fn remove_empty(&self, folder: &ArtifactPath) -> Result<bool> {
        self.run(folder.clone(), Inner::remove_empty).await
    }

    fn presign(&self) -> Option<&dyn PresignStore> {
        None
    }
}
