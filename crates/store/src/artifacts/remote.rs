//! A bucket: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryFutureExt as _, TryStreamExt as _, stream};
use lodeway_domain::{Error, FieldViolation, ResourceKind, Result};
use object_store::{
    ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutPayload,
    RetryConfig,
    aws::AmazonS3Builder,
    azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder,
    list::{PaginatedListOptions, PaginatedListStore},
    multipart::{MultipartStore, PartId},
    path::Path as Key,
    signer::{Method, SignedUrlOptions, Signer},
};

use super::{
    backend::{Backend, ByteStream, Entry, Gate, Listing, OpenFile, Removed, Staged, damaged},
    digest::{FileDigest, Hasher},
    path::ArtifactPath,
    presign::{
        Multipart, PresignMethod, PresignStore, Presigned, PresignedPart, UploadedPart, in_order, unsupported,
    },
    upload::{Failed, PART_BYTES, Upload, send_parts},
};

/// Which service holds a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Cloud {
    S3,
    Google,
    Azure,
}

impl Cloud {
    /// The scheme of its URIs, in the spelling of the platform.
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }
}

/// One client type of `object_store` in its roles.
struct Client {
    objects: Arc<dyn ObjectStore>,
    pages: Arc<dyn PaginatedListStore>,
    signer: Arc<dyn Signer>,
    multipart: Option<Arc<dyn MultipartStore>>,
}

/// A bucket, or the part of it below a prefix.
#[derive(Clone)]
pub(crate) struct BucketRoot(Arc<Inner>);

struct Inner {
    client: Client,
    prefix: String,
}

/// Options of the stores, by the names of their environment variables in any case, for example `AWS_ENDPOINT_URL`.
pub(crate) type Options = BTreeMap<String, String>;

impl BucketRoot {
    /// Builds the client; nothing is sent yet. `url` is the bucket in a form that `object_store` knows.
    pub fn open(cloud: Cloud, url: &str, prefix: &str, options: &Options) -> Result<Self> {
        let bad = |e: object_store::Error| {
            Error::invalid("artifacts", format!("`{url}` cannot be used as a store: {e}"))
        };
        let client = build(cloud, url, options).map_err(bad)?;
        Ok(Self(Arc::new(Inner {
            client,
            prefix: prefix.trim_matches('/').to_owned(),
        })))
    }
}

fn build(cloud: Cloud, url: &str, options: &Options) -> object_store::Result<Client> {
    let retry = RetryConfig {
        max_retries: 4,
        retry_timeout: Duration::from_secs(20),
        ..RetryConfig::default()
    };
    let options: Vec<(String, &String)> = options
        .iter()
        .map(|(key, value)| (key.to_ascii_lowercase(), value))
        .collect();
    let plain = options.iter().any(|(key, value)| {
        key == "allow_http"
            || key == "aws_allow_http"
            || (key.contains("endpoint") && value.starts_with("http://"))
    });
    // the clients panic without one; if main has installed it already, that one stays
    rustls::crypto::ring::default_provider()
        .install_default()
        .unwrap_or_default();
    let http = ClientOptions::new()
        .with_allow_http(plain)
        .with_connect_timeout(Duration::from_secs(5))
        .with_timeout(Duration::from_secs(300));
    // options of the other clouds and unknown ones are passed over: one map serves every root
    macro_rules! configured {
        ($builder:expr) => {{
            let mut builder = $builder.with_url(url).with_client_options(http).with_retry(retry);
            for (key, value) in &options {
                if let Ok(key) = key.parse() {
                    builder = builder.with_config(key, value.as_str());
                }
            }
            builder
        }};
    }
    Ok(match cloud {
        Cloud::S3 => {
            let store = Arc::new(
                configured!(AmazonS3Builder::new())
                    .with_allow_http(plain)
                    .build()?,
            );
            Client {
                objects: store.clone(),
                pages: store.clone(),
                signer: store.clone(),
                multipart: Some(store),
            }
        }
        Cloud::Google => {
            let store = Arc::new(configured!(GoogleCloudStorageBuilder::new()).build()?);
            Client {
                objects: store.clone(),
                pages: store.clone(),
                signer: store,
                multipart: None,
            }
        }
        Cloud::Azure => {
            let store = Arc::new(
                configured!(MicrosoftAzureBuilder::new())
                    .with_allow_http(plain)
                    .build()?,
            );
            Client {
                objects: store.clone(),
                pages: store.clone(),
                signer: store,
                multipart: None,
            }
        }
    })
}

fn explain(error: object_store::Error, path: &ArtifactPath) -> Error {
    use object_store::Error as Fault;
    match error {
        Fault::NotFound { .. } => Error::not_found(ResourceKind::Artifact, path),
        Fault::InvalidPath { .. } => Error::Invalid(vec![FieldViolation::new(
            "path",
            "is a name that the bucket does not take",
        )]),
        Fault::NotSupported { .. } | Fault::NotImplemented { .. } => unsupported("this operation"),
        // the file was replaced between two requests of one read
        Fault::Precondition { .. } => Error::unavailable(
            "the artifact was replaced while it was read; read it again",
            error,
        ),
        Fault::PermissionDenied { .. }
        | Fault::Unauthenticated { .. }
        | Fault::UnknownConfigurationKey { .. } => Error::internal(error),
        _ => Error::unavailable("the artifact store does not answer; try again", error),
    }
}

/// For a file that is begun: what is not there can only be the bucket.
fn explain_new(error: object_store::Error, path: &ArtifactPath) -> Error {
    match error {
        object_store::Error::NotFound { .. } => Error::unavailable(
            "the bucket of the artifact store does not exist; who runs the platform must create it or name another",
            error,
        ),
        other => explain(other, path),
    }
}

fn identity(meta: &ObjectMeta) -> String {
    match (&meta.version, &meta.e_tag) {
        (Some(version), _) => format!("version {version}"),
        (None, Some(tag)) => format!("etag {tag}"),
        (None, None) => format!("size {} time {}", meta.size, meta.last_modified),
    }
}

impl Inner {
    fn key(&self, path: &ArtifactPath) -> Result<Key> {
        let text = match (self.prefix.is_empty(), path.is_root()) {
            (true, _) => path.as_str().to_owned(),
            (false, true) => self.prefix.clone(),
            (false, false) => format!("{}/{path}", self.prefix),
        };
        // parsed, not encoded: other programs find the file under the name the client gave
        Key::parse(&text).map_err(|e| explain(e.into(), path))
    }

    fn folder_key(&self, folder: &ArtifactPath) -> Result<String> {
        let key = self.key(folder)?.to_string();
        Ok(if key.is_empty() { key } else { format!("{key}/") })
    }

    async fn head(&self, path: &ArtifactPath) -> Result<Option<ObjectMeta>> {
        match self.client.objects.head(&self.key(path)?).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(explain(e, path)),
        }
    }

    /// One level. The service sorts by key, where folders end in a slash, but listings sort by name: so all pages are
    /// read and the first `limit` names after the position are kept.
    async fn list_level(&self, folder: &ArtifactPath, listing: Listing<'_>) -> Result<Vec<Entry>> {
        let prefix = self.folder_key(folder)?;
        let mut first: BTreeMap<String, Entry> = BTreeMap::new();
        let mut page_token = None;
        loop {
            let options = PaginatedListOptions {
                delimiter: Some("/".into()),
                page_token,
                ..PaginatedListOptions::default()
            };
            let below = Some(prefix.as_str()).filter(|p| !p.is_empty());
            let page = self
                .client
                .pages
                .list_paginated(below, options)
                .await
                .map_err(|e| explain(e, folder))?;
            let folders = page
                .result
                .common_prefixes
                .iter()
                .map(|key| (key.as_ref(), true, 0));
            let files = page
                .result
                .objects
                .iter()
                .map(|o| (o.location.as_ref(), false, o.size));
            for (key, is_dir, size_bytes) in folders.chain(files) {
                let Some(name) = key.strip_prefix(&prefix).map(|n| n.trim_end_matches('/')) else {
                    continue;
                };
                let Some(path) = ArtifactPath::parse(name).ok().filter(|p| p.as_str() == name) else {
                    continue;
                };
                if listing.after.is_none_or(|after| name > after) {
                    first.insert(
                        name.to_owned(),
                        Entry {
                            path,
                            is_dir,
                            size_bytes,
                        },
                    );
                    if first.len() > listing.limit {
                        first.pop_last();
                    }
                }
            }
            page_token = page.page_token;
            if page_token.is_none() {
                return Ok(first.into_values().collect());
            }
        }
    }

    async fn list_all(&self, folder: &ArtifactPath, listing: Listing<'_>) -> Result<Vec<Entry>> {
        let prefix = self.folder_key(folder)?;
        let root = self.key(folder)?;
        let below = Some(&root).filter(|_| !prefix.is_empty());
        let objects = match listing.after {
            Some(after) => {
                let offset = Key::parse(format!("{prefix}{after}")).map_err(|e| explain(e.into(), folder))?;
                self.client.objects.list_with_offset(below, &offset)
            }
            None => self.client.objects.list(below),
        };
        objects
            .map_err(|e| explain(e, folder))
            .try_filter_map(|object| {
                let name = object.location.as_ref().strip_prefix(&prefix);
                let path = name.and_then(|n| ArtifactPath::parse(n).ok().filter(|p| p.as_str() == n));
                std::future::ready(Ok(path.map(|path| Entry {
                    path,
                    is_dir: false,
                    size_bytes: object.size,
                })))
            })
            .take(listing.limit)
            .try_collect()
            .await
    }
}

enum Content {
    Small(Vec<Bytes>),
    Large(Upload),
}

struct StagedObject {
    root: BucketRoot,
    path: ArtifactPath,
    digest: Arc<FileDigest>,
    content: Content,
}

#[async_trait]
impl Staged for StagedObject {
    fn digest(&self) -> &Arc<FileDigest> {
        &self.digest
    }

    async fn commit(self: Box<Self>) -> Result<String> {
        let Self {
            root, path, content, ..
        } = *self;
        match content {
            Content::Small(pieces) => {
                let key = root.0.key(&path)?;
                let payload: PutPayload = pieces.into_iter().collect();
                root.0
                    .client
                    .objects
                    .put(&key, payload)
                    .await
                    .map_err(|e| explain_new(e, &path))?;
            }
            Content::Large(upload) => upload.complete().await.map_err(|e| explain(e, &path))?,
        }
        let gone = || Error::not_found(ResourceKind::Artifact, &path);
        root.identity(&path).await?.ok_or_else(gone)
    }

    async fn discard(self: Box<Self>) {
        if let Content::Large(upload) = self.content {
            upload.abort().await;
        }
    }
}

struct RemoteFile {
    root: BucketRoot,
    path: ArtifactPath,
    meta: ObjectMeta,
    identity: String,
}

impl RemoteFile {
    async fn fetch(
        root: BucketRoot,
        path: ArtifactPath,
        meta: ObjectMeta,
        range: std::ops::Range<u64>,
    ) -> Result<ByteStream> {
        let options = GetOptions {
            // all bytes of one read are of one object, even if it is replaced meanwhile
            if_match: meta.e_tag.clone(),
            version: meta.version.clone(),
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let got = root
            .0
            .client
            .objects
            .get_opts(&meta.location, options)
            .await
            .map_err(|e| explain(e, &path))?;
        Ok(got.into_stream().map_err(move |e| explain(e, &path)).boxed())
    }
}

impl OpenFile for RemoteFile {
    fn size_bytes(&self) -> u64 {
        self.meta.size
    }

    fn identity(&self) -> &str {
        &self.identity
    }

    fn read(&self, start: u64, end: u64, digest: Option<Arc<FileDigest>>) -> ByteStream {
        if start >= end {
            return stream::empty().boxed();
        }
        let raw = Self::fetch(
            self.root.clone(),
            self.path.clone(),
            self.meta.clone(),
            start..end,
        )
        .try_flatten_stream();
        let Some(digest) = digest else { return raw.boxed() };
        let gate = Gate::new(digest, start);
        let pieces = stream::try_unfold((raw.boxed(), gate), |(mut raw, mut gate)| async move {
            match raw.try_next().await? {
                Some(piece) => {
                    let free = gate.push(piece)?;
                    Ok(Some((stream::iter(free.into_iter().map(Ok)), (raw, gate))))
                }
                None if gate.is_clear() => Ok(None),
                None => Err(damaged()),
            }
        });
        pieces.try_flatten().boxed()
    }
}

#[async_trait]
impl Backend for BucketRoot {
    async fn stage(&self, path: &ArtifactPath, mut body: ByteStream) -> Result<Box<dyn Staged>> {
        let key = self.0.key(path)?;
        let mut hasher = Hasher::new();
        let mut gathered = Vec::new();
        while hasher.size_bytes() < PART_BYTES as u64
            && let Some(piece) = body.try_next().await?
        {
            hasher.update(&piece);
            gathered.push(piece);
        }
        let content = if hasher.size_bytes() < PART_BYTES as u64 {
            Content::Small(gathered)
        } else {
            let parts = self
                .0
                .client
                .objects
                .put_multipart(&key)
                .await
                .map_err(|e| explain_new(e, path))?;
            let mut upload = Upload::new(parts);
            if let Err(failed) = send_parts(&mut upload, gathered, &mut body, &mut hasher).await {
                upload.abort().await;
                return Err(match failed {
                    Failed::Body(error) => error,
                    Failed::Store(error) => explain(error, path),
                });
            }
            Content::Large(upload)
        };
        let digest = Arc::new(hasher.finish());
        Ok(Box::new(StagedObject {
            root: self.clone(),
            path: path.clone(),
            digest,
            content,
        }))
    }

    async fn open(&self, path: &ArtifactPath) -> Result<Box<dyn OpenFile>> {
        let meta = self
            .0
            .head(path)
            .await?
            .ok_or_else(|| Error::not_found(ResourceKind::Artifact, path))?;
        let identity = identity(&meta);
        Ok(Box::new(RemoteFile {
            root: self.clone(),
            path: path.clone(),
            meta,
            identity,
        }))
    }

    async fn identity(&self, path: &ArtifactPath) -> Result<Option<String>> {
        Ok(self.0.head(path).await?.as_ref().map(identity))
    }

    async fn list(&self, folder: &ArtifactPath, listing: Listing<'_>) -> Result<Vec<Entry>> {
        if listing.recursive {
            self.0.list_all(folder, listing).await
        } else {
            self.0.list_level(folder, listing).await
        }
    }

    async fn stat(&self, path: &ArtifactPath) -> Result<Option<Entry>> {
        let name = ArtifactPath::parse_or_root(path.name()).unwrap_or_default();
        if !path.is_root()
            && let Some(meta) = self.0.head(path).await?
        {
            return Ok(Some(Entry {
                path: name,
                is_dir: false,
                size_bytes: meta.size,
            }));
        }
        let below = self
            .0
            .list_all(
                path,
                Listing {
                    recursive: true,
                    after: None,
                    limit: 1,
                },
            )
            .await?;
        let is_there = path.is_root() || !below.is_empty();
        Ok(is_there.then_some(Entry {
            path: name,
            is_dir: true,
            size_bytes: 0,
        }))
    }

    async fn remove(&self, path: &ArtifactPath, dry_run: bool) -> Result<Removed> {
        let mut removed = Removed::default();
        let own = if path.is_root() {
            None
        } else {
            self.0.head(path).await?
        };
        let key = self.0.key(path)?;
        let below = Some(&key).filter(|k| !k.as_ref().is_empty());
        // `list` gives what lies below `key/`, never `key` itself nor a neighbour whose name begins like it
        let objects = stream::iter(own.map(Ok)).chain(self.0.client.objects.list(below));
        let mut doomed = Vec::new();
        let mut objects = objects.map_err(|e| explain(e, path)).boxed();
        while let Some(object) = objects.try_next().await? {
            removed.files += 1;
            removed.size_bytes += object.size;
            if !dry_run {
                doomed.push(object.location);
            }
            if doomed.len() >= 1000 {
                self.delete_all(std::mem::take(&mut doomed), path).await?;
            }
        }
        self.delete_all(doomed, path).await?;
        Ok(removed)
    }

    fn presign(&self) -> Option<&dyn PresignStore> {
        Some(self)
    }
}

impl BucketRoot {
    async fn delete_all(&self, keys: Vec<Key>, path: &ArtifactPath) -> Result<()> {
        let mut gone = self
            .0
            .client
            .objects
            .delete_stream(stream::iter(keys.into_iter().map(Ok)).boxed());
        loop {
            match gone.try_next().await {
                Ok(None) => return Ok(()),
                Ok(Some(_)) | Err(object_store::Error::NotFound { .. }) => {}
                Err(e) => return Err(explain(e, path)),
            }
        }
    }

    fn multipart(&self) -> Result<&Arc<dyn MultipartStore>> {
        self.0
            .client
            .multipart
            .as_ref()
            .ok_or_else(|| unsupported("multipart upload by signed URLs"))
    }
}

#[async_trait]
impl PresignStore for BucketRoot {
    async fn url(&self, path: &ArtifactPath, method: PresignMethod, expires: Duration) -> Result<Presigned> {
        let verb = match method {
            PresignMethod::Get => Method::GET,
            PresignMethod::Put => Method::PUT,
        };
        let url = self
            .0
            .client
            .signer
            .signed_url(verb, &self.0.key(path)?, expires)
            .await;
        Ok(Presigned {
            url: url.map_err(|e| explain(e, path))?.into(),
            headers: Vec::new(),
        })
    }

    async fn create_multipart(
        &self,
        path: &ArtifactPath,
        parts: u32,
        expires: Duration,
    ) -> Result<Multipart> {
        let key = self.0.key(path)?;
        let store = self.multipart()?;
        let upload_id = store
            .create_multipart(&key)
            .await
            .map_err(|e| explain_new(e, path))?;
        let mut targets = Vec::new();
        for part_number in 1..=parts {
            let query = [
                ("partNumber", part_number.to_string()),
                ("uploadId", upload_id.clone()),
            ];
            let options = SignedUrlOptions::new().with_query(query);
            let url = self
                .0
                .client
                .signer
                .signed_url_opts(Method::PUT, &key, expires, &options)
                .await;
            let target = Presigned {
                url: url.map_err(|e| explain(e, path))?.into(),
                headers: Vec::new(),
            };
            targets.push(PresignedPart { part_number, target });
        }
        Ok(Multipart {
            upload_id,
            parts: targets,
        })
    }

    async fn complete_multipart(
        &self,
        path: &ArtifactPath,
        upload_id: &str,
        parts: Vec<UploadedPart>,
    ) -> Result<()> {
        let parts = in_order(parts)?
            .into_iter()
            .map(|part| PartId {
                content_id: part.etag,
            })
            .collect();
        let key = self.0.key(path)?;
        let done = self
            .multipart()?
            .complete_multipart(&key, &upload_id.to_owned(), parts)
            .await;
        done.map(drop).map_err(|e| explain(e, path))
    }

    async fn abort_multipart(&self, path: &ArtifactPath, upload_id: &str) -> Result<()> {
        let key = self.0.key(path)?;
        self.multipart()?
            .abort_multipart(&key, &upload_id.to_owned())
            .await
            .map_err(|e| explain(e, path))
    }
}
