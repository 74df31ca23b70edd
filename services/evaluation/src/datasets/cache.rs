//! Files of versions on this machine: each is fetched once and goes when others need the room.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lodeway_domain::{Error, Result};
use tempfile::NamedTempFile;

use crate::evaluations::files::digest_of;

/// Files that nobody reads may take so much together.
const LIMIT_BYTES: u64 = 32 << 30;

/// The files by their SHA-256.
pub(crate) struct Cache {
    folder: PathBuf,
    limit_bytes: u64,
    files: Mutex<Files>,
    /// One fetches a file while the others wait for it.
    fetching: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Default)]
struct Files {
    held: HashMap<String, Held>,
    /// Counts uses, to tell which was last.
    uses: u64,
}

struct Held {
    size_bytes: u64,
    last_use: u64,
    /// Its bytes were compared with its digest since the process began.
    is_verified: bool,
    pin: Arc<()>,
}

/// Keeps a file in its place for as long as it lives.
#[derive(Debug, Clone)]
pub(crate) struct Pin {
    _pin: Arc<()>,
}

impl Cache {
    /// Opens the folder below this one; files that are there are verified before they are used.
    pub(crate) fn open(work_dir: &Path) -> Result<Self> {
        Self::with_limit(work_dir, LIMIT_BYTES)
    }

    fn with_limit(work_dir: &Path, limit_bytes: u64) -> Result<Self> {
        let folder = work_dir.join("datasets").join("files");
        let fail = |error: std::io::Error| {
            Error::internal(format!("`{}` cannot be used: {error}", folder.display()))
        };
        std::fs::create_dir_all(&folder).map_err(fail)?;
        let mut files = Files::default();
        for entry in std::fs::read_dir(&folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !is_digest(&name) {
                // A fetch that was cut off.
                drop(std::fs::remove_file(entry.path()));
                continue;
            }
            let held = Held {
                size_bytes: entry.metadata().map_err(fail)?.len(),
                last_use: 0,
                is_verified: false,
                pin: Arc::new(()),
            };
            files.held.insert(name, held);
        }
        Ok(Self {
            folder,
            limit_bytes,
            files: Mutex::new(files),
            fetching: Mutex::default(),
        })
    }

    /// The file of this digest, fetched by `fetch` into the path it is given if it is not here.
    ///
    /// `fetch` answers for the bytes being those of the digest.
    pub(crate) async fn get(
        &self,
        sha256: &str,
        fetch: impl AsyncFnOnce(&Path) -> Result<()>,
    ) -> Result<(PathBuf, Pin)> {
        if !is_digest(sha256) {
            return Err(Error::internal("a version has no digest of its file"));
        }
        let turn = lock(&self.fetching).entry(sha256.to_owned()).or_default().clone();
        let found = {
            let _turn = turn.lock().await;
            self.get_alone(sha256, fetch).await
        };
        drop(turn);
        let mut fetching = lock(&self.fetching);
        if fetching
            .get(sha256)
            .is_some_and(|turn| Arc::strong_count(turn) == 1)
        {
            fetching.remove(sha256);
        }
        found
    }

    async fn get_alone(
        &self,
        sha256: &str,
        fetch: impl AsyncFnOnce(&Path) -> Result<()>,
    ) -> Result<(PathBuf, Pin)> {
        let path = self.folder.join(sha256);
        if let Some((pin, is_verified)) = self.pinned(sha256) {
            if is_verified {
                return Ok((path, pin));
            }
            match digest_of(&path).await {
                Ok(found) if found == sha256 => {
                    if let Some(held) = lock(&self.files).held.get_mut(sha256) {
                        held.is_verified = true;
                    }
                    return Ok((path, pin));
                }
                _ => tracing::warn!(
                    file.digest = sha256,
                    "a cached file is damaged; it is fetched again"
                ),
            }
        }
        let beside = NamedTempFile::new_in(&self.folder).map_err(Error::internal)?;
        fetch(beside.path()).await?;
        Ok((path, self.keep(sha256, beside)?))
    }

    /// Takes a file whose bytes are known to have this digest.
    pub(crate) fn keep(&self, sha256: &str, file: NamedTempFile) -> Result<Pin> {
        let size_bytes = file.as_file().metadata().map_err(Error::internal)?.len();
        file.persist(self.folder.join(sha256)).map_err(Error::internal)?;
        let mut files = lock(&self.files);
        files.uses += 1;
        let held = Held {
            size_bytes,
            last_use: files.uses,
            is_verified: true,
            pin: files
                .held
                .get(sha256)
                .map_or_else(Arc::default, |held| held.pin.clone()),
        };
        let pin = Pin {
            _pin: held.pin.clone(),
        };
        files.held.insert(sha256.to_owned(), held);
        self.make_room(&mut files);
        Ok(pin)
    }

    fn pinned(&self, sha256: &str) -> Option<(Pin, bool)> {
        let mut files = lock(&self.files);
        files.uses += 1;
        let uses = files.uses;
        let held = files.held.get_mut(sha256)?;
        held.last_use = uses;
        let pin = Pin {
            _pin: held.pin.clone(),
        };
        Some((pin, held.is_verified))
    }

    /// Removes files that nobody reads, the one used longest ago first, until all fit.
    fn make_room(&self, files: &mut Files) {
        let mut total: u64 = files.held.values().map(|held| held.size_bytes).sum();
        while total > self.limit_bytes {
            let free = files
                .held
                .iter()
                .filter(|(_, held)| Arc::strong_count(&held.pin) == 1);
            let Some(oldest) = free
                .min_by_key(|(_, held)| held.last_use)
                .map(|(name, _)| name.clone())
            else {
                return;
            };
            if let Some(held) = files.held.remove(&oldest) {
                total -= held.size_bytes;
            }
            // One that cannot be removed is found again with the next start.
            drop(std::fs::remove_file(self.folder.join(&oldest)));
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn digest(bytes: &[u8]) -> String {
        hex::encode(Sha256::digest(bytes))
    }

    async fn get(cache: &Cache, bytes: &'static [u8], fetched: &mut u32) -> (PathBuf, Pin) {
        let fetch = async |to: &Path| {
            *fetched += 1;
            std::fs::write(to, bytes).map_err(Error::internal)
        };
        cache.get(&digest(bytes), fetch).await.unwrap()
    }

    #[tokio::test]
    async fn a_file_is_fetched_once_and_again_if_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let mut fetched = 0;
        let cache = Cache::open(folder.path()).unwrap();
        let (path, _) = get(&cache, b"one", &mut fetched).await;
        get(&cache, b"one", &mut fetched).await;
        assert_eq!(fetched, 1);
        let again = Cache::open(folder.path()).unwrap();
        get(&again, b"one", &mut fetched).await;
        assert_eq!(fetched, 1);
        std::fs::write(&path, b"two").unwrap();
        let again = Cache::open(folder.path()).unwrap();
        get(&again, b"one", &mut fetched).await;
        assert_eq!((fetched, std::fs::read(&path).unwrap()), (2, b"one".to_vec()));
    }

    #[tokio::test]
    async fn what_is_read_stays_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut fetched = 0;
        let cache = Cache::with_limit(folder.path(), 6).unwrap();
        let (one, pin) = get(&cache, b"one", &mut fetched).await;
        let (two, _) = get(&cache, b"two", &mut fetched).await;
        let (three, _) = get(&cache, b"333", &mut fetched).await;
        assert!(one.exists() && !two.exists() && three.exists());
        drop(pin);
        get(&cache, b"two", &mut fetched).await;
        assert!(!one.exists() && two.exists() && three.exists());
    }
}
