//! The model host: model versions in memory, scored by the Open Inference Protocol or as documents.
//!
//! Its job: fetch a model's files and check them, load it into the runtime that suits it, queue and batch its calls,
//! keep what is in memory within a budget. Not its job: which version a caller gets (that is the gateway's), or what
//! became of the calls.
//!
//! A tour: `api.rs` and `inference_api.rs` are the generated traits, `convert.rs` knows both wire and domain, `host.rs`
//! holds the deployments, `files.rs` their folders on this machine, `model.rs` is one loaded model, `queue.rs` the way of
//! its calls, `tensors.rs` checks them, `probe.rs` tries the stored example, `runtime/` scores, `peers.rs` asks the registry.

mod api;
mod config;
mod convert;
mod files;
mod host;
mod inference_api;
mod model;
mod parity;
mod peers;
mod probe;
mod queue;
pub mod runtime;
mod tensors;

use std::{sync::Arc, time::Duration};

use lodeway_domain::{Result, time::Clock};
use lodeway_proto::{
    inference::grpc_inference_service_server::GrpcInferenceServiceServer,
    serving::v1::deployment_service_server::DeploymentServiceServer,
};
use lodeway_rpc::Tasks;
use lodeway_store::serving::DeploymentStore;

use self::host::{Host, own_context};
pub use self::{config::ServingConfig, peers::Peers, runtime::Runtimes};

/// An input may be this large: a batch of images.
const MAX_INPUT_BYTES: usize = 256 << 20;
/// How long a call without a deadline may take.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// The service, ready to be mounted. Clones share it.
#[derive(Clone)]
pub struct Serving {
    host: Host,
    tasks: Tasks,
}

impl Serving {
    /// A host that knows again what it was asked for before; models are loaded when they are asked for.
    pub async fn new(
        store: Arc<dyn DeploymentStore>,
        peers: Peers,
        runtimes: Runtimes,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        config: ServingConfig,
    ) -> Result<Self> {
        let host = Host::open(store, peers, runtimes, clock, tasks.clone(), config).await?;
        Ok(Self { host, tasks })
    }

    /// The service that manages deployments.
    pub fn deployments(&self) -> DeploymentServiceServer<Self> {
        lodeway_rpc::unpacking!(DeploymentServiceServer::new(self.clone()))
            .max_decoding_message_size(MAX_INPUT_BYTES)
    }

    /// The service that scores.
    pub fn inference(&self) -> GrpcInferenceServiceServer<Self> {
        lodeway_rpc::unpacking!(GrpcInferenceServiceServer::new(self.clone()))
            .max_decoding_message_size(MAX_INPUT_BYTES)
            .max_encoding_message_size(MAX_INPUT_BYTES)
    }
}
