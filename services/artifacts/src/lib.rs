//! The artifact service: files in and out of artifact storage over gRPC.
//!
//! Its job: chunks, ranges, pages and presigned URLs over [`lodeway_store::artifacts`], which does the durable and
//! verified part. Not its job: knowing runs or models; a file is named by a location (a URI) and a path below it.
//!
//! A tour: `api.rs` is the generated trait, `convert.rs` the only file that knows both wire and domain, `transfer.rs` the
//! two streams.
//!
//! 2026-11: the REST edge in the same process reads and writes the store itself and does not come through here, so that a
//! large file is never copied into protobuf messages; both go through the same `ArtifactStore`.

mod api;
mod convert;
mod transfer;

use std::sync::Arc;

use lodeway_domain::time::Clock;
use lodeway_proto::artifacts::v1::artifact_service_server::ArtifactServiceServer;
use lodeway_store::artifacts::ArtifactStore;

/// The domain of this service's errors, `google.rpc.ErrorInfo.domain`.
pub const ARTIFACT_DOMAIN: &str = "artifacts.lodeway.dev";

/// A request message holds one chunk of at most 1 MiB; some room for its frame.
const MAX_REQUEST_BYTES: usize = 2 << 20;
/// A manifest of 100,000 files.
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// The service, ready to be mounted.
#[derive(Clone)]
pub struct Artifacts {
    store: ArtifactStore,
    clock: Arc<dyn Clock>,
}

impl Artifacts {
    /// A service over this store.
    pub fn new(store: ArtifactStore, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// The service with its message limits.
    pub fn into_service(self) -> ArtifactServiceServer<Self> {
        lodeway_rpc::unpacking!(ArtifactServiceServer::new(self))
            .max_decoding_message_size(MAX_REQUEST_BYTES)
            .max_encoding_message_size(MAX_RESPONSE_BYTES)
    }
}
