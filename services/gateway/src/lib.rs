//! The edge: MLflow's REST dialect in, calls of the platform's services out; and endpoints, behind which versions of models
//! answer.
//!
//! Its job: parse and validate a REST request as the stock `mlflow` client sends it, make the gRPC call that means the
//! same, and say the answer in MLflow's JSON; keep endpoints and their revisions, and give each call of one to the target
//! that its traffic split says. Not its job: models in memory (that is the model host's), any decision that a gRPC client
//! would not meet as well. The gateway never composes two writes.
//!
//! A tour: [`Gateway`] is what the binary composes, [`Config`] what it may be told, [`artifact_bytes`] how files pass
//! through; [`Endpoints`] is the other half: `endpoint_api.rs`, `monitor_api.rs` and `inference_api.rs` are the generated
//! traits, `convert.rs` knows both wire and domain, `endpoints/` the way of a call, `rest/scoring.rs` its REST forms; [`Llm`] is routes to language models:
//! `llm/`, `llm_api.rs`, `llm_convert.rs`, `rest/openai.rs`; `rest/mlflow/mod.rs` holds the table of routes, `body.rs` how requests are read, `validate.rs` MLflow's
//! rules for names and lengths, `dialect/` its search grammar, `error.rs` its errors, and each remaining file one noun.
//!
//! Decision, 2026-11-23: requests are parsed straight into typed structs; only a body that does not fit is read again as
//! free JSON, to say which field is wrong in the order in which MLflow checks them.

pub mod artifact_bytes;
mod config;
mod convert;
mod endpoint_api;
mod endpoints;
mod inference_api;
mod llm;
mod llm_api;
mod llm_convert;
mod monitor_api;
mod rest;
mod retry_after;

use std::sync::Arc;

use lodeway_proto::{
    artifacts::v1::artifact_service_client::ArtifactServiceClient,
    registry::v1::{
        promotion_service_client::PromotionServiceClient, registry_service_client::RegistryServiceClient,
    },
    tracking::v1::tracking_service_client::TrackingServiceClient,
};
use lodeway_rpc::transport::Transport;

pub use artifact_bytes::ArtifactBytes;
pub use config::{Config, ConfigError};
pub use endpoints::{EndpointConfig, EndpointPeers, Endpoints};
pub use llm::{Llm, LlmKey, LlmKeys};
pub use rest::{access_rules, refuse};

use artifact_bytes::RemoteBytes;

/// The services that the gateway calls.
#[derive(Debug, Clone)]
pub struct Peers {
    /// Experiments, runs, metrics and logged models.
    pub tracking: Transport,
    /// Registered models and their versions.
    pub registry: Transport,
    /// Files.
    pub artifacts: Transport,
}

/// The edge, ready to be mounted.
#[derive(Clone)]
pub struct Gateway {
    edge: Arc<Edge>,
    endpoints: Option<Endpoints>,
    llm: Option<Llm>,
}

/// What every handler shares.
pub(crate) struct Edge {
    pub(crate) tracking: TrackingServiceClient<Transport>,
    pub(crate) registry: RegistryServiceClient<Transport>,
    pub(crate) promotion: PromotionServiceClient<Transport>,
    pub(crate) artifacts: ArtifactServiceClient<Transport>,
    pub(crate) bytes: Arc<dyn ArtifactBytes>,
    pub(crate) config: Config,
}

impl Gateway {
    /// A gateway that reads and writes files through the artifact service.
    pub fn new(peers: Peers, config: Config) -> Self {
        let artifacts =
            ArtifactServiceClient::new(peers.artifacts).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let edge = Edge {
            tracking: TrackingServiceClient::new(peers.tracking).max_decoding_message_size(MAX_MESSAGE_BYTES),
            promotion: PromotionServiceClient::new(peers.registry.clone()),
            registry: RegistryServiceClient::new(peers.registry).max_decoding_message_size(MAX_MESSAGE_BYTES),
            bytes: Arc::new(RemoteBytes::new(artifacts.clone())),
            artifacts,
            config,
        };
        Self {
            edge: Arc::new(edge),
            endpoints: None,
            llm: None,
        }
    }

    /// The same gateway with these endpoints behind its scoring routes.
    #[must_use]
    pub fn with_endpoints(self, endpoints: Endpoints) -> Self {
        Self {
            endpoints: Some(endpoints),
            ..self
        }
    }

    /// The same gateway with these routes to language models.
    #[must_use]
    pub fn with_llm(self, llm: Llm) -> Self {
        Self {
            llm: Some(llm),
            ..self
        }
    }

    /// The same gateway with direct access to the bytes of files, for a process that runs the artifact service itself.
    #[must_use]
    pub fn with_artifact_bytes(self, bytes: Arc<dyn ArtifactBytes>) -> Self {
        let edge = Edge {
            tracking: self.edge.tracking.clone(),
            registry: self.edge.registry.clone(),
            promotion: self.edge.promotion.clone(),
            artifacts: self.edge.artifacts.clone(),
            config: self.edge.config.clone(),
            bytes,
        };
        Self {
            edge: Arc::new(edge),
            endpoints: self.endpoints,
            llm: self.llm,
        }
    }

    /// All routes of the REST edge; `lodeway_rpc::layers` goes round it and tells each request who calls.
    pub fn into_router(self) -> axum::Router {
        rest::router(self.edge, self.endpoints, self.llm)
    }
}

/// The largest answer of a peer: a page of 100,000 metric points, or of 50,000 runs with all they recorded.
const MAX_MESSAGE_BYTES: usize = 512 << 20;
