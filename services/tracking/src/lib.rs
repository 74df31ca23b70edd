//! The tracking service: what happens while models are made.
//!
//! Its job: experiments, runs, metrics, params, tags, data sets and logged models, and finding them again. Not its job:
//! the bytes of artifacts (it only says where they are) and registered models.
//!
//! A tour: [`Tracking`] is the service; `api` implements the generated trait, a few lines a method; `convert` alone knows
//! both the wire and the domain; `experiments`, `runs`, `metrics`, `stream`, `watch` and `models`, `datasets`, `purge` are the use cases;
//! `names` invents names; [`config`] is what is configured. What is kept, and how, is in `lodeway_store::tracking`.

mod api;
pub mod config;
mod convert;
mod datasets;
mod experiments;
mod files;
mod metrics;
mod models;
mod names;
mod purge;
mod runs;
mod stream;
mod watch;

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
    /// Takes away the artifacts of what is purged; without it, nothing can be purged.
    pub artifacts: Option<ArtifactServiceClient<Transport>>,
}

/// The tracking service. Clones share everything.
#[derive(Clone)]
pub struct Tracking {
    pub(crate) experiments: Arc<experiments::Experiments>,
    pub(crate) runs: Arc<runs::Runs>,
    pub(crate) models: Arc<models::Models>,
    pub(crate) datasets: Arc<datasets::Datasets>,
    pub(crate) purge: Arc<purge::Purge>,
    pub(crate) metrics: Arc<metrics::Metrics>,
    pub(crate) streams: stream::Streams,
    pub(crate) watches: watch::Watches,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Tracking {
    /// A service over `store`; its work in the background runs in `tasks`.
    pub fn new(
        store: Arc<SqlTracking>,
        peers: Peers,
        config: TrackingConfig,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Self {
        let experiments = Arc::new(experiments::Experiments::new(
            store.clone(),
            config,
            Arc::clone(&clock),
        ));
        let models = models::Models::new(
            store.clone(),
            store.clone(),
            Arc::clone(&experiments),
            Arc::clone(&clock),
        );
        let files = files::Files::new(peers.artifacts);
        metrics::maintain(store.clone(), Arc::clone(&clock), tasks);
        metrics::keep_log_short(store.clone(), Arc::clone(&clock), tasks);
        Self {
            metrics: Arc::new(metrics::Metrics::new(store.clone())),
            streams: stream::Streams::new(store.clone(), Arc::clone(&clock), tasks),
            watches: watch::Watches::new(store.clone(), store.clone(), tasks),
            models: Arc::new(models),
            datasets: Arc::new(datasets::Datasets::new(store.clone())),
            purge: Arc::new(purge::Purge::new(store.clone(), files)),
            runs: Arc::new(runs::Runs::new(store, Arc::clone(&experiments))),
            experiments,
            clock,
        }
    }

    /// The service as tonic serves it.
    pub fn into_service(self) -> TrackingServiceServer<Self> {
        lodeway_rpc::unpacking!(TrackingServiceServer::new(self))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}
