//! Files of evaluations in the artifact service, and on this machine while they are at work.

use std::path::Path;

use futures::{StreamExt as _, stream};
use lodeway_domain::{Caller, Error, Reason, Result, caller::Workspace};
use lodeway_proto::artifacts::v1::{
    Artifact, DownloadArtifactRequest, GetArtifactRequest, UploadArtifactRequest, UploadOpening,
    artifact_service_client::ArtifactServiceClient, download_artifact_response,
    upload_artifact_request::Kind,
};
use lodeway_rpc::{CallContext, Transport, status};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::Site;

const CHUNK_BYTES: usize = 512 << 10;

/// Where parts of an evaluation are, and its report if no run holds it.
pub(crate) fn location(workspace: &Workspace, evaluation_id: &str) -> String {
    workspace.artifacts(&format!("evaluations/{evaluation_id}"))
}

/// A client of the artifact service. Errors: `NOT_IMPLEMENTED` where there is none.
pub(crate) fn artifacts(site: &Site) -> Result<ArtifactServiceClient<Transport>> {
    let peer = site.peers.artifacts.clone().ok_or_else(|| Error::Unimplemented {
        reason: Reason::NotImplemented,
        message: "evaluation works without an artifact service here; set `peers.artifacts`".to_owned(),
    })?;
    Ok(ArtifactServiceClient::new(peer))
}

/// Where the folders of evaluations and of datasets are, which nobody but this service writes to.
fn own_folders(workspace: &Workspace) -> [String; 2] {
    ["evaluations/", "datasets/"].map(|below| workspace.artifacts(below))
}

/// As whom a file is written: in our own folders as this service, elsewhere as whoever asked for it.
fn writer(cx: &CallContext, location: &str) -> CallContext {
    let workspace = &cx.caller.workspace;
    match own_folders(workspace).iter().any(|own| location.starts_with(own)) {
        true => cx.by(Caller::evaluation(workspace.clone())),
        false => cx.clone(),
    }
}

/// Sends a file that holds exactly these bytes.
pub(super) async fn put_bytes(
    site: &Site,
    cx: &CallContext,
    location: &str,
    path: &str,
    bytes: Vec<u8>,
) -> Result<String> {
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let opening = UploadOpening {
        location: location.to_owned(),
        path: path.to_owned(),
        size_bytes: i64::try_from(bytes.len()).ok(),
        sha256: sha256.clone(),
    };
    let chunks: Vec<_> = bytes
        .chunks(CHUNK_BYTES)
        .map(|chunk| Kind::Chunk(chunk.to_vec().into()))
        .collect();
    let kinds = std::iter::once(Kind::Open(opening)).chain(chunks);
    let messages = stream::iter(kinds.map(|kind| UploadArtifactRequest { kind: Some(kind) }));
    let mut client = artifacts(site)?;
    client
        .upload_artifact(writer(cx, location).request(messages))
        .await
        .map_err(|s| status::into_error(&s))?;
    Ok(sha256)
}

/// Sends a file of this machine; its SHA-256. It is read twice, so that it arrives whole or not at all.
pub(crate) async fn put_file(
    site: &Site,
    cx: &CallContext,
    location: &str,
    path: &str,
    file: &Path,
) -> Result<String> {
    let sha256 = digest_of(file).await?;
    send_file(site, cx, location, path, file, sha256.clone()).await?;
    Ok(sha256)
}

/// Sends a file of this machine whose SHA-256 is known; it arrives whole or not at all.
pub(crate) async fn send_file(
    site: &Site,
    cx: &CallContext,
    location: &str,
    path: &str,
    file: &Path,
    sha256: String,
) -> Result<()> {
    let io = |e: std::io::Error| Error::internal(format!("cannot read a file at work: {e}"));
    let source = tokio::fs::File::open(file).await.map_err(io)?;
    let size = source.metadata().await.map_err(io)?.len();
    let opening = UploadOpening {
        location: location.to_owned(),
        path: path.to_owned(),
        size_bytes: i64::try_from(size).ok(),
        sha256,
    };
    let chunks = stream::unfold(source, |mut source| async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        // A file that cannot be read ends early, and its size and digest do not fit.
        let read = source.read(&mut chunk).await.unwrap_or(0);
        chunk.truncate(read);
        (read > 0).then(|| (Kind::Chunk(chunk.into()), source))
    });
    let opening = stream::once(std::future::ready(Kind::Open(opening)));
    let messages = opening
        .chain(chunks)
        .map(|kind| UploadArtifactRequest { kind: Some(kind) });
    let mut client = artifacts(site)?;
    client
        .upload_artifact(writer(cx, location).request(messages))
        .await
        .map_err(|s| status::into_error(&s))
        .map(drop)
}

/// Describes a file or folder. Errors: `NOT_FOUND`.
pub(crate) async fn describe(site: &Site, cx: &CallContext, location: &str, path: &str) -> Result<Artifact> {
    let message = GetArtifactRequest {
        location: location.to_owned(),
        path: path.to_owned(),
    };
    let reply = artifacts(site)?.get_artifact(cx.request(message)).await;
    let reply = reply.map_err(|s| status::into_error(&s))?.into_inner();
    reply
        .artifact
        .ok_or_else(|| Error::internal("a peer described no file"))
}

/// Fetches a file. Errors: `DIGEST_MISMATCH` if its bytes are not those of the digest.
pub(crate) async fn fetch(
    site: &Site,
    cx: &CallContext,
    location: &str,
    path: &str,
    sha256: &str,
    to: &Path,
) -> Result<()> {
    let request = DownloadArtifactRequest {
        location: location.to_owned(),
        path: path.to_owned(),
        offset_bytes: 0,
        length_bytes: None,
    };
    let mut client = artifacts(site)?;
    let reply = client.download_artifact(cx.request(request)).await;
    let mut messages = reply.map_err(|s| status::into_error(&s))?.into_inner();
    let mut out = tokio::fs::File::create(to).await.map_err(broken)?;
    let mut hash = Sha256::new();
    while let Some(message) = messages.message().await.map_err(|s| status::into_error(&s))? {
        if let Some(download_artifact_response::Kind::Chunk(chunk)) = message.kind {
            hash.update(&chunk);
            out.write_all(&chunk).await.map_err(broken)?;
        }
    }
    out.flush().await.map_err(broken)?;
    let found = hex::encode(hash.finalize());
    if !sha256.is_empty() && found != sha256 {
        return Err(Error::DataLoss(format!(
            "the bytes of `{path}` are not those of its digest"
        )));
    }
    Ok(())
}

/// SHA-256 of a file, in hex.
pub(crate) async fn digest_of(file: &Path) -> Result<String> {
    let file = file.to_owned();
    let digest = move || -> std::io::Result<String> {
        let mut hash = Sha256::new();
        let mut source = std::fs::File::open(file)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match std::io::Read::read(&mut source, &mut chunk)? {
                0 => return Ok(hex::encode(hash.finalize())),
                read => hash.update(chunk.get(..read).unwrap_or_default()),
            }
        }
    };
    tokio::task::spawn_blocking(digest)
        .await
        .map_err(Error::internal)?
        .map_err(|e| Error::internal(format!("cannot read a file at work: {e}")))
}

/// What became of a file at work. A full disk is nobody's fault here, and may have room again.
pub(crate) fn broken(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            Error::unavailable("the disk of the evaluation service is full", error)
        }
        _ => Error::internal(format!("cannot keep a file at work: {error}")),
    }
}
