//! The way of files through the edge when the artifact service runs in the same process: straight to the store, without
//! a copy into protobuf messages. Errors are the same statuses that the service would give.

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use lodeway_artifacts::ARTIFACT_DOMAIN;
use lodeway_domain::{Error, Result};
use lodeway_gateway::artifact_bytes::{ArtifactBytes, ByteStream, Download};
use lodeway_rpc::{CallContext, status};
use lodeway_store::artifacts::{ArtifactPath, ArtifactStore, Expected, Location, Reach};
use tonic::Status;

/// Reads and writes the store of this process.
pub struct DirectFiles(pub ArtifactStore);

impl DirectFiles {
    /// A file of the caller's workspace.
    async fn named(&self, cx: &CallContext, location: &str, path: &str) -> Result<(Location, ArtifactPath)> {
        let path = ArtifactPath::parse(path)?;
        let workspace = &cx.caller.workspace;
        Ok((self.0.locate(location, &path, Reach::One, workspace).await?, path))
    }

    /// A file that the caller may write.
    async fn to_write(
        &self,
        cx: &CallContext,
        location: &str,
        path: &str,
    ) -> Result<(Location, ArtifactPath)> {
        let path = ArtifactPath::parse(path)?;
        let found = self.0.locate_to_change(location, &path, Reach::One, &cx.caller);
        Ok((found.await?, path))
    }
}

fn refuse(cx: &CallContext, error: &Error) -> Status {
    status::status_of(error, &cx.request_id, ARTIFACT_DOMAIN)
}

#[async_trait]
impl ArtifactBytes for DirectFiles {
    async fn put(
        &self,
        cx: &CallContext,
        location: &str,
        path: &str,
        size_bytes: Option<u64>,
        content: ByteStream,
    ) -> Result<(), Status> {
        let named = self.to_write(cx, location, path).await;
        let (location, path) = named.map_err(|e| refuse(cx, &e))?;
        let body = content.map_err(|status| status::into_error(&status));
        let expected = Expected {
            size_bytes,
            sha256: None,
        };
        self.0
            .put(&location, &path, body, expected)
            .await
            .map_err(|e| refuse(cx, &e))?;
        Ok(())
    }

    async fn get(&self, cx: &CallContext, location: &str, path: &str) -> Result<Download, Status> {
        let named = self.named(cx, location, path).await;
        let (location, path) = named.map_err(|e| refuse(cx, &e))?;
        let (meta, body) = self
            .0
            .get(&location, &path, None)
            .await
            .map_err(|e| refuse(cx, &e))?;
        let cx = cx.clone();
        let content = body.map(move |piece| piece.map_err(|e| refuse(&cx, &e))).boxed();
        Ok(Download {
            size_bytes: meta.size_bytes,
            content,
        })
    }
}
