//! The two streams: chunks in, chunks out.

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use lodeway_domain::{Error, Result};
use lodeway_proto::artifacts::v1::{
    DownloadArtifactResponse, UploadArtifactRequest, UploadOpening, download_artifact_response as down,
    upload_artifact_request::Kind,
};
use lodeway_rpc::{CallContext, status};
use lodeway_store::artifacts::ByteStream;
use tonic::{Status, Streaming};

/// The largest chunk in either direction.
pub const MAX_CHUNK_BYTES: usize = 1 << 20;

/// The messages of a download.
pub type DownloadStream = Pin<Box<dyn Stream<Item = Result<DownloadArtifactResponse, Status>> + Send>>;

/// The first message of an upload, which names the file.
pub async fn opening(messages: &mut Streaming<UploadArtifactRequest>) -> Result<UploadOpening, Status> {
    let refuse = || Error::invalid("open", "the first message of an upload must open it");
    match messages.message().await?.and_then(|message| message.kind) {
        Some(Kind::Open(opening)) => Ok(opening),
        Some(Kind::Chunk(_)) | None => Err(status::status_of(&refuse(), "", status::DEFAULT_DOMAIN)),
    }
}

/// The bytes of an upload after its opening. Ends with an error if the client breaks off, so that nothing is stored.
pub fn chunks(
    messages: Streaming<UploadArtifactRequest>,
) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    messages.enumerate().map(|(index, message)| {
        let field = |name: &str| format!("messages[{}].{name}", index + 1);
        let message = message.map_err(|broken| match status::of_request(&broken) {
            // Whoever sends has gone away, which is no fault of the server.
            Error::Internal(_) => Error::invalid(
                format!("messages[{}]", index + 1),
                "did not come: the upload broke off",
            ),
            other => other,
        });
        match message?.kind {
            Some(Kind::Chunk(chunk)) if chunk.len() > MAX_CHUNK_BYTES => Err(Error::invalid(
                field("chunk"),
                format!("holds {} bytes; at most 1 MiB fit", chunk.len()),
            )),
            Some(Kind::Chunk(chunk)) => Ok(chunk),
            Some(Kind::Open(_)) => Err(Error::invalid(
                field("open"),
                "only the first message opens an upload",
            )),
            None => Err(Error::invalid(field("chunk"), "must be given")),
        }
    })
}

/// A description, then the bytes cut into chunks.
pub fn messages(
    cx: CallContext,
    first: lodeway_proto::artifacts::v1::Artifact,
    body: ByteStream,
) -> DownloadStream {
    let first = DownloadArtifactResponse {
        kind: Some(down::Kind::Artifact(first)),
    };
    let rest = body.flat_map(move |piece| {
        let cut: Vec<_> = match piece {
            Ok(piece) => pieces(piece).map(|chunk| Ok(message(chunk))).collect(),
            Err(error) => vec![Err(cx.status(error))],
        };
        stream::iter(cut)
    });
    Box::pin(stream::once(async { Ok(first) }).chain(rest))
}

fn message(chunk: Bytes) -> DownloadArtifactResponse {
    DownloadArtifactResponse {
        kind: Some(down::Kind::Chunk(chunk)),
    }
}

fn pieces(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let next = bytes.split_to(bytes.len().min(MAX_CHUNK_BYTES));
        (!next.is_empty()).then_some(next)
    })
}
