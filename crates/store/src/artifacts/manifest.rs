//! The list of everything below a location with its digests, and one digest of the list.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use lodeway_domain::{
    Result,
    page::{PageRequest, QueryHash},
};

use super::{
    ArtifactPath, ArtifactStore, Entry, Location,
    backend::damaged,
    digest::{Hasher, Sha256Digest},
    read::hash,
};

/// How many files are read at a time.
const READERS: usize = 2;

/// How many files are looked up at a time.
const BATCH: usize = 500;

/// Whether recorded digests are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Take the digest recorded when the server wrote the file, if length and record agree; read only other files.
    Recorded,
    /// Read every byte and check it.
    Nothing,
}

/// One file of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestEntry {
    /// Relative to the location.
    pub path: ArtifactPath,
    /// Length.
    pub size_bytes: u64,
    /// Digest of the whole file.
    pub sha256: Sha256Digest,
}

/// Everything below a location at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Sorted by path in byte order.
    pub entries: Vec<ManifestEntry>,
    /// See [`Manifest::text`].
    pub digest: Sha256Digest,
}

impl Manifest {
    /// Sorts the entries and computes the digest.
    pub fn new(mut entries: Vec<ManifestEntry>) -> Self {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let mut hasher = Hasher::new();
        hasher.update(Self::text(&entries).as_bytes());
        Self {
            entries,
            digest: hasher.finish().sha256,
        }
    }

    /// The text whose SHA-256 is the digest: the line `lodeway-manifest 1`, then a line `SHA256 SIZE PATH` for each
    /// entry. Paths hold no control characters, so no two lists have the same text.
    pub fn text(entries: &[ManifestEntry]) -> String {
        let lines = entries
            .iter()
            .map(|e| format!("{} {} {}\n", e.sha256, e.size_bytes, e.path));
        std::iter::once("lodeway-manifest 1\n".to_owned())
            .chain(lines)
            .collect()
    }

    /// The length of all files together.
    pub fn size_bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.size_bytes).sum()
    }
}

impl ArtifactStore {
    /// The manifest of a location; an empty or missing one has no entries.
    ///
    /// Files written while it runs may be in it or not. Errors: `DataLoss` if a file is not what was recorded.
    pub async fn manifest(&self, location: &Location, trust: Trust) -> Result<Manifest> {
        let mut page = PageRequest::first(BATCH, QueryHash::of(&["manifest"]));
        let mut entries = Vec::new();
        loop {
            let found = self.list(location, &ArtifactPath::root(), true, &page).await?;
            entries.extend(self.digests(location, found.items, trust).await?);
            match found.next {
                Some(next) => page.after = Some(next),
                None => return Ok(Manifest::new(entries)),
            }
        }
    }

    /// The digests on record of a page of a listing, in its order; none for folders, and for files that were never written
    /// by us, are being replaced, or have another length than on record. No file is read.
    pub async fn recorded(&self, location: &Location, listed: &[Entry]) -> Result<Vec<Option<Sha256Digest>>> {
        let mut keys = Vec::with_capacity(listed.len());
        for file in listed {
            keys.push(location.index_key(&location.full(&file.path)?));
        }
        let of_files = listed.iter().zip(&keys).filter(|(entry, _)| !entry.is_dir);
        let of_files: Vec<String> = of_files.map(|(_, key)| key.clone()).collect();
        if of_files.is_empty() {
            return Ok(vec![None; listed.len()]);
        }
        let known = self.index.settled(&of_files).await?;
        let digest = |(entry, key): (&Entry, &String)| {
            let known = known.get(key).filter(|_| !entry.is_dir)?;
            (known.size_bytes == entry.size_bytes).then_some(known.sha256)
        };
        Ok(listed.iter().zip(&keys).map(digest).collect())
    }

    async fn digests(
        &self,
        location: &Location,
        files: Vec<Entry>,
        trust: Trust,
    ) -> Result<Vec<ManifestEntry>> {
        let known = match trust {
            Trust::Recorded => self.recorded(location, &files).await?,
            Trust::Nothing => vec![None; files.len()],
        };
        let jobs: Vec<_> = files.into_iter().zip(known).collect();
        stream::iter(jobs)
            .map(|(file, known)| async move {
                match known {
                    Some(sha256) => Ok(ManifestEntry {
                        path: file.path,
                        size_bytes: file.size_bytes,
                        sha256,
                    }),
                    // The bytes tell.
                    None => self.read_entry(location, file.path).await,
                }
            })
            .buffered(READERS)
            .try_collect()
            .await
    }

    async fn read_entry(&self, location: &Location, path: ArtifactPath) -> Result<ManifestEntry> {
        let (file, recorded) = self.open(location, &path).await?;
        let found = hash(file.as_ref()).await?;
        if recorded.is_some_and(|recorded| recorded.sha256 != found.sha256) {
            return Err(damaged());
        }
        Ok(ManifestEntry {
            path,
            size_bytes: found.size_bytes,
            sha256: found.sha256,
        })
    }
}
