//! A store for one test.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use lodeway_domain::{
    Error, Result,
    page::{PageRequest, QueryHash},
    time::SystemClock,
};
use lodeway_store::{
    artifacts::{
        ArtifactPath, ArtifactStore, DigestIndex, Entry, Expected, FileDigest, Holds, Location, MIGRATIONS,
        Meta, Range, RootSettings, Roots, SqlDigestIndex,
    },
    migrate,
    sql::{Db, DbOptions, StoreUrl},
};
use tempfile::TempDir;

pub struct House {
    pub dir: TempDir,
    pub index: Arc<dyn DigestIndex>,
    pub store: ArtifactStore,
    pub at: Location,
}

pub fn path(text: &str) -> ArtifactPath {
    ArtifactPath::parse(text).unwrap()
}

/// Bytes that differ from place to place.
pub fn bytes(len: usize) -> Bytes {
    (0..len)
        .map(|i| (i ^ (i >> 8) ^ (i >> 17)) as u8)
        .collect::<Vec<_>>()
        .into()
}

pub async fn index(dir: &std::path::Path) -> Arc<dyn DigestIndex> {
    Arc::new(SqlDigestIndex::new(database(dir).await))
}

async fn database(dir: &std::path::Path) -> Db {
    let url = StoreUrl::parse(&format!("sqlite://{}/artifacts.db", dir.display())).unwrap();
    let db = Db::open(&url, "artifacts", DbOptions::default()).await.unwrap();
    migrate::apply(&db, MIGRATIONS, Default::default()).await.unwrap();
    db
}

impl House {
    pub async fn local() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let proxied = dir.path().join("files").display().to_string();
        Self::open(
            dir,
            RootSettings {
                proxied,
                ..RootSettings::default()
            },
        )
        .await
    }

    pub async fn s3() -> Self {
        Self::in_bucket(|bucket| format!("{bucket}/some/prefix")).await
    }

    /// Below a place that is named after the address of a new bucket.
    pub async fn in_bucket(place: impl Fn(String) -> String) -> Self {
        let bucket = tokio::task::spawn_blocking(lodeway_testkit::s3::bucket)
            .await
            .unwrap()
            .unwrap();
        let settings = RootSettings {
            proxied: place(bucket.url()),
            options: bucket.options(),
            ..RootSettings::default()
        };
        Self::open(tempfile::tempdir().unwrap(), settings).await
    }

    async fn open(dir: TempDir, settings: RootSettings) -> Self {
        let roots = Roots::open(&settings).await.unwrap();
        let db = database(dir.path()).await;
        let index: Arc<dyn DigestIndex> = Arc::new(SqlDigestIndex::new(db.clone()));
        let at = roots.resolve("mlflow-artifacts:/0/run/artifacts").unwrap();
        let store = ArtifactStore::new(roots, index.clone(), Arc::new(SystemClock));
        let store = store.with_holds(Holds::new(db));
        Self {
            dir,
            index,
            store,
            at,
        }
    }

    /// Another store over the same bytes with another index.
    pub async fn with_index(&self, index: Arc<dyn DigestIndex>) -> ArtifactStore {
        ArtifactStore::new(self.store.roots().clone(), index, Arc::new(SystemClock))
    }

    /// Where a file of the location lies on disk.
    pub fn on_disk(&self, name: &str) -> PathBuf {
        self.dir.path().join("files/0/run/artifacts").join(name)
    }

    pub async fn put(&self, name: &str, content: &Bytes) -> Result<Arc<FileDigest>> {
        put(&self.store, &self.at, name, content).await
    }

    pub async fn get(&self, name: &str) -> Result<(Meta, Bytes)> {
        read(&self.store, &self.at, name, None).await
    }

    pub async fn range(&self, name: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        read(&self.store, &self.at, name, Some(Range { offset, len }))
            .await
            .map(|(_, bytes)| bytes)
    }

    /// Everything in a folder, asked for in pages of `size`.
    pub async fn list(&self, folder: &str, recursive: bool, size: usize) -> Vec<Entry> {
        let folder = ArtifactPath::parse_or_root(folder).unwrap();
        let mut page = PageRequest::first(size, QueryHash::of(&[]));
        let mut all = Vec::new();
        loop {
            let found = self
                .store
                .list(&self.at, &folder, recursive, &page)
                .await
                .unwrap();
            assert!(found.items.len() <= size);
            all.extend(found.items);
            match found.next {
                Some(next) => page.after = Some(next),
                None => return all,
            }
        }
    }

    pub async fn names(&self, folder: &str, recursive: bool, size: usize) -> Vec<String> {
        let slash = |e: Entry| format!("{}{}", e.path, if e.is_dir { "/" } else { "" });
        self.list(folder, recursive, size)
            .await
            .into_iter()
            .map(slash)
            .collect()
    }
}

pub async fn put(
    store: &ArtifactStore,
    at: &Location,
    name: &str,
    content: &Bytes,
) -> Result<Arc<FileDigest>> {
    let pieces: Vec<Result<Bytes>> = (0..content.len())
        .step_by(70_001)
        .map(|from| Ok(content.slice(from..content.len().min(from + 70_001))))
        .collect();
    store
        .put(at, &path(name), stream::iter(pieces), Expected::default())
        .await
}

pub async fn read(
    store: &ArtifactStore,
    at: &Location,
    name: &str,
    range: Option<Range>,
) -> Result<(Meta, Bytes)> {
    let (meta, stream) = store.get(at, &path(name), range).await?;
    let pieces: Vec<Bytes> = stream.try_collect().await?;
    Ok((meta, pieces.concat().into()))
}

/// How many bytes came out before the stream ended, and how it ended.
pub async fn drain(store: &ArtifactStore, at: &Location, name: &str) -> (u64, Result<()>) {
    let mut stream = match store.get(at, &path(name), None).await {
        Ok((_, stream)) => stream,
        Err(e) => return (0, Err(e)),
    };
    let mut out = 0;
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => out += piece.len() as u64,
            Err(e) => return (out, Err(e)),
        }
    }
    (out, Ok(()))
}

pub fn is_loss<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::DataLoss(_)))
}

pub fn is_missing<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::NotFound(_)))
}
