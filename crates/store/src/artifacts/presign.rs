//! URLs with which a client moves bytes past the server, where the store signs such URLs.

use std::time::Duration;

use async_trait::async_trait;
use lodeway_domain::{Error, Reason, Result};

use super::path::ArtifactPath;

/// The largest number of parts of a multipart upload (S3's bound).
pub const MAX_PARTS: u32 = 10_000;

/// What a signed URL allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresignMethod {
    /// Download of the file.
    Get,
    /// Upload of the whole file in one request.
    Put,
}

/// A URL that works for a while without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presigned {
    /// Where to send the request.
    pub url: String,
    /// Headers that must go with it.
    pub headers: Vec<(String, String)>,
}

/// One part of a multipart upload, to be sent by PUT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresignedPart {
    /// From 1.
    pub part_number: u32,
    /// Where to send it.
    pub target: Presigned,
}

/// A multipart upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multipart {
    /// The store's id of the upload.
    pub upload_id: String,
    /// One target per part, in order.
    pub parts: Vec<PresignedPart>,
}

/// What the client got back for a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedPart {
    /// From 1.
    pub part_number: u32,
    /// The `ETag` header of the answer, with or without its quotes.
    pub etag: String,
}

/// The part of a store that signs.
#[async_trait]
pub(crate) trait PresignStore: Send + Sync {
    async fn url(&self, path: &ArtifactPath, method: PresignMethod, expires: Duration) -> Result<Presigned>;
    async fn create_multipart(&self, path: &ArtifactPath, parts: u32, expires: Duration)
    -> Result<Multipart>;
    async fn complete_multipart(
        &self,
        path: &ArtifactPath,
        upload_id: &str,
        parts: Vec<UploadedPart>,
    ) -> Result<()>;
    async fn abort_multipart(&self, path: &ArtifactPath, upload_id: &str) -> Result<()>;
}

/// The answer where the store cannot sign.
pub(crate) fn unsupported(what: &str) -> Error {
    Error::Unimplemented {
        reason: Reason::NotSupportedByStore,
        message: format!("{what} is unsupported by this artifact store; send the file through the server"),
    }
}

/// Sorts the parts and checks that they are 1, 2, 3 and so on.
pub(crate) fn in_order(mut parts: Vec<UploadedPart>) -> Result<Vec<UploadedPart>> {
    parts.sort_by_key(|part| part.part_number);
    let complete = parts
        .iter()
        .zip(1..)
        .all(|(part, number)| part.part_number == number);
    if parts.is_empty() || !complete {
        return Err(Error::invalid(
            "parts",
            "does not hold every part from 1 on exactly once",
        ));
    }
    Ok(parts)
}
