//! Model folders on this machine: fetched once, each file checked against its digest, found again after a restart.
//!
//! A folder's name is the digest of its content, so it never changes and is shared by every deployment of the same
//! files. It is written beside its place and moved there when it is complete; what a crash leaves is fetched anew.

use std::path::{Component, Path, PathBuf};

use futures::TryStreamExt as _;
use lodeway_domain::{Error, Result, caller::Workspace, id};
use lodeway_proto::artifacts::v1::{
    Artifact, DownloadArtifactRequest, GetManifestRequest, artifact_service_client::ArtifactServiceClient,
    download_artifact_response::Kind,
};
use lodeway_rpc::{CallContext, Transport, status};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use crate::runtime::not_loadable;

/// The file that makes a folder a model.
pub(crate) const MODEL_FILE: &str = "MLmodel";
/// A manifest of 100,000 files.
const MAX_MANIFEST_BYTES: usize = 64 << 20;

/// Where fetched models are.
#[derive(Clone)]
pub(crate) struct Files {
    root: PathBuf,
    artifacts: Option<ArtifactServiceClient<Transport>>,
}

/// What a location holds.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) content_digest: String,
    files: Vec<Artifact>,
}

impl Files {
    pub(crate) fn new(root: PathBuf, artifacts: Option<ArtifactServiceClient<Transport>>) -> Self {
        let artifacts = artifacts.map(|client| client.max_decoding_message_size(MAX_MANIFEST_BYTES));
        Self { root, artifacts }
    }

    fn artifacts(&self) -> Result<ArtifactServiceClient<Transport>> {
        self.artifacts.clone().ok_or_else(|| {
            not_loadable("this host works without an artifact service; set `peers.artifacts`".to_owned())
        })
    }

    /// What is at `location`. Errors: `MODEL_NOT_READY` if nothing is, those of the artifact service.
    pub(crate) async fn manifest(&self, cx: &CallContext, location: &str) -> Result<Manifest> {
        let message = GetManifestRequest {
            location: location.to_owned(),
            path: String::new(),
        };
        let reply = self.artifacts()?.get_manifest(cx.request(message)).await;
        let reply = reply.map_err(|s| status::into_error(&s))?.into_inner();
        if reply.artifacts.is_empty() {
            return Err(not_loadable(format!("there are no files at `{location}`")));
        }
        Ok(Manifest {
            content_digest: reply.content_digest,
            files: reply.artifacts,
        })
    }

    /// The folder of this content if it is on this machine, each file checked against the list kept beside it: a restart
    /// needs no other service.
    pub(crate) async fn known(&self, content_digest: &str) -> Result<Option<PathBuf>> {
        if !is_digest(content_digest) {
            return Ok(None);
        }
        let Ok(text) = tokio::fs::read_to_string(self.list(content_digest)).await else {
            return Ok(None);
        };
        // The digest of the content is that of its list, so a list that was changed does not pass for it.
        if hex::encode(Sha256::digest(text.as_bytes())) != content_digest {
            return Ok(None);
        }
        let files = text.lines().skip(1).filter_map(|line| {
            let mut parts = line.splitn(3, ' ');
            let (sha256, size, path) = (parts.next()?, parts.next()?, parts.next()?);
            Some(Artifact {
                path: path.to_owned(),
                sha256: sha256.to_owned(),
                size_bytes: size.parse().ok()?,
                ..Artifact::default()
            })
        });
        let manifest = Manifest {
            content_digest: content_digest.to_owned(),
            files: files.collect(),
        };
        let place = self.root.join(content_digest);
        Ok(is_intact(place.clone(), manifest).await?.then_some(place))
    }

    fn list(&self, content_digest: &str) -> PathBuf {
        self.root.join(format!("{content_digest}.manifest"))
    }

    /// The folder with these files, fetched unless it is here; every file has its digest.
    ///
    /// Errors: `DATA_LOSS` with the path of a file whose bytes are not those of its digest.
    pub(crate) async fn folder(
        &self,
        workspace: &Workspace,
        location: &str,
        manifest: &Manifest,
    ) -> Result<PathBuf> {
        let name = &manifest.content_digest;
        if !is_digest(name) {
            return Err(Error::internal(format!("`{name}` is no content digest")));
        }
        let place = self.root.join(name);
        if is_intact(place.clone(), manifest.clone()).await? {
            return Ok(place);
        }
        let io = |e: std::io::Error| Error::internal(format!("cannot keep a model: {e}"));
        let beside = self.root.join(format!(".fetching-{}", id::new_hex()));
        let fetched = self.fetch(workspace, location, manifest, &beside).await;
        if let Err(error) = fetched {
            // What is left of it is of no use to anybody; that it cannot be removed is no other fault.
            drop(tokio::fs::remove_dir_all(&beside).await);
            return Err(error);
        }
        // As the artifact service writes it, so that its digest is the content's.
        let lines = manifest
            .files
            .iter()
            .map(|f| format!("{} {} {}\n", f.sha256, f.size_bytes, f.path));
        let text: String = std::iter::once("lodeway-manifest 1\n".to_owned())
            .chain(lines)
            .collect();
        tokio::fs::write(self.list(name), text).await.map_err(io)?;
        drop(tokio::fs::remove_dir_all(&place).await);
        match tokio::fs::rename(&beside, &place).await {
            Ok(()) => Ok(place),
            // Somebody else was faster, with the same files.
            Err(_) if place.is_dir() => {
                drop(tokio::fs::remove_dir_all(&beside).await);
                Ok(place)
            }
            Err(error) => Err(io(error)),
        }
    }

    async fn fetch(
        &self,
        workspace: &Workspace,
        location: &str,
        manifest: &Manifest,
        into: &Path,
    ) -> Result<()> {
        let cx = crate::own_context(workspace);
        for file in &manifest.files {
            let target = into.join(inside(&file.path)?);
            self.fetch_one(&cx, location, file, &target).await?;
        }
        Ok(())
    }

    async fn fetch_one(
        &self,
        cx: &CallContext,
        location: &str,
        file: &Artifact,
        target: &Path,
    ) -> Result<()> {
        let io = |e: std::io::Error| Error::internal(format!("cannot keep `{}`: {e}", file.path));
        if let Some(parent) = target.parent() {
            tokio::fs::create_dir_all(parent).await.map_err(io)?;
        }
        let message = DownloadArtifactRequest {
            location: location.to_owned(),
            path: file.path.clone(),
            offset_bytes: 0,
            length_bytes: None,
        };
        let reply = self.artifacts()?.download_artifact(cx.request(message)).await;
        let mut chunks = reply.map_err(|s| named(file, &s))?.into_inner();
        let mut out = tokio::fs::File::create(target).await.map_err(io)?;
        let mut hash = Sha256::new();
        while let Some(reply) = chunks.try_next().await.map_err(|s| named(file, &s))? {
            if let Some(Kind::Chunk(chunk)) = reply.kind {
                hash.update(&chunk);
                out.write_all(&chunk).await.map_err(io)?;
            }
        }
        out.flush().await.map_err(io)?;
        check(file, &hex::encode(hash.finalize()))
    }
}

/// What the artifact service says of a file, with its path where the file is damaged.
fn named(file: &Artifact, status: &tonic::Status) -> Error {
    match status::into_error(status) {
        Error::DataLoss(why) => Error::DataLoss(format!("`{}`: {why}", file.path)),
        other => other,
    }
}

/// A digest is the name of a folder here, so it must be nothing else.
fn is_digest(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn check(file: &Artifact, found: &str) -> Result<()> {
    if file.sha256.is_empty() || file.sha256 == found {
        return Ok(());
    }
    let path = &file.path;
    Err(Error::DataLoss(format!(
        "the bytes of `{path}` are not those of its digest; register the model again"
    )))
}

/// A path below the folder. Errors: one that leads out of it.
fn inside(path: &str) -> Result<&Path> {
    let path = Path::new(path);
    if path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Ok(path);
    }
    Err(not_loadable(format!(
        "`{}` leads out of the model's folder",
        path.display()
    )))
}

/// Whether the folder is there and each of its files has its digest.
async fn is_intact(place: PathBuf, manifest: Manifest) -> Result<bool> {
    let look = move || {
        place.is_dir()
            && manifest.files.iter().all(|file| {
                let Ok(path) = inside(&file.path) else {
                    return false;
                };
                let digest = digest_of(&place.join(path));
                let is_same = digest.is_ok_and(|found| file.sha256.is_empty() || found == file.sha256);
                if !is_same {
                    tracing::warn!(
                        path = file.path,
                        "a file of a model on this machine was changed; it is fetched again"
                    );
                }
                is_same
            })
    };
    tokio::task::spawn_blocking(look).await.map_err(Error::internal)
}

fn digest_of(path: &Path) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    std::io::copy(&mut std::fs::File::open(path)?, &mut HashWriter(&mut hash))?;
    Ok(hex::encode(hash.finalize()))
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The text of a model's own file, of a sane size.
pub(crate) async fn read_model_file(folder: &Path) -> Result<String> {
    let path = folder.join(MODEL_FILE);
    let io = |e: std::io::Error| not_loadable(format!("`{MODEL_FILE}` cannot be read: {e}"));
    let size = tokio::fs::metadata(&path).await.map_err(io)?.len();
    if size > lodeway_domain::signature::MAX_FILE_BYTES as u64 {
        return Err(not_loadable(format!(
            "`{MODEL_FILE}` has {size} bytes, which is more than any has"
        )));
    }
    tokio::fs::read_to_string(&path).await.map_err(io)
}
