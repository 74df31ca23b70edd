//! How the bytes of files pass through the edge: straight to the store in the same process, else over gRPC.

use std::{collections::VecDeque, pin::Pin};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use lodeway_proto::artifacts::v1::{
    DownloadArtifactRequest, UploadArtifactRequest, UploadOpening,
    artifact_service_client::ArtifactServiceClient, download_artifact_response, upload_artifact_request,
};
use lodeway_rpc::{context::CallContext, transport::Transport};
use tokio::sync::oneshot;
use tonic::Status;

/// Bytes in order; an error ends them and nothing of the file is kept.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// A file that is being read.
pub struct Download {
    /// Its size.
    pub size_bytes: u64,
    /// Its content.
    pub content: ByteStream,
}

/// Reads and writes whole files by location (a URI) and path below it, with memory flat whatever their size.
///
/// Errors are statuses as the artifact service gives them, with the same reasons.
#[async_trait]
pub trait ArtifactBytes: Send + Sync + 'static {
    /// Writes one file; what was there before stays until the new content is durable.
    async fn put(
        &self,
        cx: &CallContext,
        location: &str,
        path: &str,
        size_bytes: Option<u64>,
        content: ByteStream,
    ) -> Result<(), Status>;

    /// Reads one file.
    async fn get(&self, cx: &CallContext, location: &str, path: &str) -> Result<Download, Status>;
}

/// Over gRPC, in messages of at most 1 MiB.
pub(crate) struct RemoteBytes(ArtifactServiceClient<Transport>);

const CHUNK_BYTES: usize = 1 << 20;

impl RemoteBytes {
    pub(crate) fn new(client: ArtifactServiceClient<Transport>) -> Self {
        Self(client)
    }
}

#[async_trait]
impl ArtifactBytes for RemoteBytes {
    async fn put(
        &self,
        cx: &CallContext,
        location: &str,
        path: &str,
        size_bytes: Option<u64>,
        content: ByteStream,
    ) -> Result<(), Status> {
        use upload_artifact_request::Kind;
        let opening = UploadOpening {
            location: location.to_owned(),
            path: path.to_owned(),
            size_bytes: size_bytes.and_then(|n| i64::try_from(n).ok()),
            sha256: String::new(),
        };
        // The messages of a gRPC client cannot fail, and a body that merely ended early would be stored as a whole file.
        // So when the body breaks off, its end never comes and the call is dropped, which drops the upload.
        let (tell, broken) = oneshot::channel();
        let chunks = Chunks {
            content,
            ready: VecDeque::new(),
            broken: Some(tell),
        };
        let message = |kind| UploadArtifactRequest { kind: Some(kind) };
        let opening = stream::once(std::future::ready(message(Kind::Open(opening))));
        let messages = opening.chain(stream::unfold(chunks, Chunks::next));
        let mut client = self.0.clone();
        tokio::select! {
            answer = client.upload_artifact(cx.request(messages)) => answer.map(drop),
            Ok(status) = broken => Err(status),
        }
    }

    async fn get(&self, cx: &CallContext, location: &str, path: &str) -> Result<Download, Status> {
        use download_artifact_response::Kind;
        let request = DownloadArtifactRequest {
            location: location.to_owned(),
            path: path.to_owned(),
            offset_bytes: 0,
            length_bytes: None,
        };
        let mut messages = self
            .0
            .clone()
            .download_artifact(cx.request(request))
            .await?
            .into_inner();
        let first = messages.message().await?.and_then(|m| m.kind);
        let Some(Kind::Artifact(artifact)) = first else {
            return Err(Status::internal(
                "the artifact service sent no description of the file",
            ));
        };
        let content = messages.try_filter_map(|message| {
            std::future::ready(Ok(match message.kind {
                Some(Kind::Chunk(bytes)) => Some(bytes),
                _ => None,
            }))
        });
        Ok(Download {
            size_bytes: artifact.size_bytes.try_into().unwrap_or(0),
            content: Box::pin(content),
        })
    }
}

/// A body cut into messages.
struct Chunks {
    content: ByteStream,
    ready: VecDeque<Bytes>,
    broken: Option<oneshot::Sender<Status>>,
}

impl Chunks {
    async fn next(mut self) -> Option<(UploadArtifactRequest, Self)> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                let kind = Some(upload_artifact_request::Kind::Chunk(bytes));
                return Some((UploadArtifactRequest { kind }, self));
            }
            match self.content.next().await? {
                Ok(mut bytes) => {
                    while bytes.len() > CHUNK_BYTES {
                        self.ready.push_back(bytes.split_to(CHUNK_BYTES));
                    }
                    if !bytes.is_empty() {
                        self.ready.push_back(bytes);
                    }
                }
                Err(status) => {
                    if let Some(tell) = self.broken.take() {
                        drop(tell.send(status));
                    }
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}
