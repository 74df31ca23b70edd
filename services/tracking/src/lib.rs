//! The tracking service: what happens while models are made.
//!
//! Its job: experiments, runs, metrics, params, tags, data sets and logged models, and finding them again. Not its job:
//! the bytes of artifacts (it only says where they are) and registered models.
//!
//! A tour: [`Tracking`] is the service; `api` implements the generated trait, a few lines a method; `convert` alone knows
//! both the wire and the domain; `experiments`, `runs`, `metrics`, `stream`, `watch` and `models` are the use cases;
//! `names` invents names; [`config`] is what is configured. What is kept, and how, is in `lodeway_store::tracking`.

mod api;
pub mod config;
mod convert;
mod experiments;
mod names;
mod runs;

use std::sync::Arc;

use lodeway_domain::time::Clock;
use lodeway_proto::{
    artifacts::v1::artifact_service_client::ArtifactServiceClient,
    tracking::v1::tracking_service_server::TrackingServiceServer,
};
use lodeway_rpc::{Tasks, Transport};
use lodeway_store::tracking::SqlTracking;

pub use config::TrackingConfig;

/// The largest message in and out: a page of 50,000 runs or a data set's profile has to fit.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// The services that tracking calls.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    /// Takes away the artifacts of what is purged; without it, purging leaves them where they are.
    pub artifacts: Option<ArtifactServiceClient<Transport>>,
}

/// The tracking service. Clones share everything.
#[derive(Clone)]
pub struct Tracking {
    pub(crate) experiments: Arc<experiments::Experiments>,
    pub(crate) runs: Arc<runs::Runs>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Tracking {
    /// A service over `store`; its work in the background runs in `tasks`.
    pub fn new(
        store: Arc<SqlTracking>,
        _peers: Peers,
        config: TrackingConfig,
        clock: Arc<dyn Clock>,
        _tasks: &Tasks,
    ) -> Self {
        let experiments = Arc::new(experiments::Experiments::new(
            store.clone(),
            config,
            Arc::clone(&clock),
        ));
        Self {
            runs: Arc::new(runs::Runs::new(store, Arc::clone(&experiments))),
            experiments,
            clock,
        }
    }

    /// The service as tonic serves it.
    pub fn into_service(self) -> TrackingServiceServer<Self> {
        TrackingServiceServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}
