//! Evaluation: what a model is worth, before it is deployed and after.
//!
//! Its job: keep datasets in versions; measure versions, endpoints and LLMs on them as durable jobs that leave a run and
//! a report; join outcomes that become known later with the predictions that were given. Not its job: the mathematics
//! (`lodeway-metrics`), tables in files (`lodeway-tables`), loading models (the model host), or deciding who is promoted:
//! it records verdicts, and the registry's rules read them.
//!
//! A tour: [`Evaluation`] is what the binary composes; `datasets/`, `evaluations/` and `outcomes/` are the three services,
//! each with its generated trait in `api.rs`, wire and domain in `convert.rs`, and one use case a file; `schedules/` repeats
//! evaluations of traffic; [`Peers`] are the services it asks.

mod config;
mod datasets;
mod evaluations;
mod outcomes;
mod peers;
mod schedules;

use std::sync::Arc;

use lodeway_domain::{Result, time::Clock};
use lodeway_proto::evaluation::v1::{
    dataset_service_server, evaluation_service_server, outcome_service_server,
};
use lodeway_rpc::Tasks;
use lodeway_store::evaluation::SqlEvaluation;
use tonic::service::Routes;

pub use self::{config::EvaluationConfig, peers::Peers};
use self::{
    datasets::{Cache, Datasets},
    evaluations::Evaluations,
    outcomes::Outcomes,
    schedules::Schedules,
};

/// The services, ready to be mounted. Clones share them.
#[derive(Clone)]
pub struct Evaluation {
    datasets: Datasets,
    evaluations: Evaluations,
    outcomes: Outcomes,
}

/// What the three services share.
struct Site {
    store: SqlEvaluation,
    peers: Peers,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    config: EvaluationConfig,
    /// Files of datasets on this machine.
    datasets: Cache,
}

impl Evaluation {
    /// Opens the services; jobs that were cut off go on in the background.
    pub async fn start(
        store: SqlEvaluation,
        peers: Peers,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        config: EvaluationConfig,
    ) -> Result<Self> {
        let site = Site {
            datasets: Cache::open(&config.work_dir)?,
            store,
            peers,
            clock,
            tasks,
            config,
        };
        let site = Arc::new(site);
        let datasets = Datasets::start(site.clone())?;
        let evaluations = Evaluations::start(site.clone())?;
        let schedules = Schedules::start(site.clone(), datasets.clone(), evaluations.clone());
        Ok(Self {
            outcomes: Outcomes::start(site, schedules),
            datasets,
            evaluations,
        })
    }

    /// Each service by its full name.
    pub fn services(&self) -> Vec<(&'static str, Routes)> {
        vec![
            (
                dataset_service_server::SERVICE_NAME,
                Routes::new(self.datasets.service()),
            ),
            (
                evaluation_service_server::SERVICE_NAME,
                Routes::new(self.evaluations.service()),
            ),
            (
                outcome_service_server::SERVICE_NAME,
                Routes::new(self.outcomes.service()),
            ),
        ]
    }
}
