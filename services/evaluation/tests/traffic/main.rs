//! What became of a model that is deployed, over the generated client: captured traffic, schedules and outcomes, with real
//! artifacts and tracking, a clock turned by hand, and a gateway whose recorded calls are scripted.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod capture;
mod gateway;
mod outcomes;
mod schedules;

use std::{path::Path, sync::Arc, time::Duration};

use lodeway_artifacts::Artifacts;
use lodeway_domain::time::{Clock, ManualClock, Timestamp};
use lodeway_evaluation::{Evaluation, EvaluationConfig, Peers};
use lodeway_gateway::{Llm, LlmKeys};
use lodeway_proto::{
    artifacts::v1::artifact_service_client::ArtifactServiceClient,
    evaluation::v1::{
        self as wire, dataset_service_client::DatasetServiceClient,
        evaluation_service_client::EvaluationServiceClient, outcome_service_client::OutcomeServiceClient,
    },
    gateway::v1::monitor_service_server::MonitorServiceServer,
};
use lodeway_rpc::{
    Tasks, Transport, access,
    auth::Authenticator,
    layers::{Column, ColumnConfig},
};
use lodeway_store::{
    artifacts::{self, ArtifactStore, RootSettings, Roots, SqlDigestIndex},
    evaluation::SqlEvaluation,
    gateway::SqlGateway,
    migrate,
    sql::{Db, DbOptions, StoreUrl},
    tracking::SqlTracking,
};
use lodeway_tracking::{Tracking, TrackingConfig};
use prost_types::{Value, value::Kind};
use tonic::{Code, Status, service::RoutesBuilder};

use self::gateway::Gateway;

/// When every test begins.
const START: i64 = 1_700_000_000_000;
/// How long something may take in a test.
const PATIENCE: Duration = Duration::from_secs(60);

/// A house with one evaluation service or more on one database.
struct Bench {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    gateway: Gateway,
    store: SqlEvaluation,
    peers: Peers,
    datasets: DatasetServiceClient<Transport>,
    evaluations: EvaluationServiceClient<Transport>,
    outcomes: OutcomeServiceClient<Transport>,
    tasks: Tasks,
}

async fn database(folder: &Path, service: &str) -> Db {
    let url = StoreUrl::Sqlite(folder.join(format!("{service}.db")));
    Db::open(&url, service, DbOptions::default()).await.unwrap()
}

fn column() -> Column {
    Column::new(ColumnConfig::default(), Authenticator::open(), access::platform())
}

/// An evaluation service on this store, in a folder of its own.
async fn service(
    store: SqlEvaluation,
    peers: Peers,
    clock: Arc<ManualClock>,
    work_dir: std::path::PathBuf,
    tasks: Tasks,
) -> Transport {
    let settings = EvaluationConfig {
        work_dir,
        // The clock stands still, and nothing is on its way.
        window_delay: Duration::ZERO,
        ..EvaluationConfig::default()
    };
    let service = Evaluation::start(store, peers, clock, tasks, settings)
        .await
        .unwrap();
    let routes = service.services().into_iter().map(|(_, routes)| routes);
    let routes = lodeway_rpc::serve::merge(routes.collect::<Vec<_>>());
    Transport::local(column().wrap(routes))
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(START)));
        let (now, tasks) = (clock.now(), Tasks::new());
        let db = database(at, "artifacts").await;
        migrate::apply(&db, artifacts::MIGRATIONS, now).await.unwrap();
        let roots = RootSettings {
            proxied: at.join("artifacts").display().to_string(),
            default_root: Some("mlflow-artifacts:/".to_owned()),
            ..RootSettings::default()
        };
        let roots = Roots::open(&roots).await.unwrap();
        let store = ArtifactStore::new(roots, Arc::new(SqlDigestIndex::new(db)), clock.clone());
        let mut routes = RoutesBuilder::default();
        routes.add_service(Artifacts::new(store, clock.clone()).into_service());
        let files = Transport::local(column().wrap(routes.routes()));

        let store = SqlTracking::open(database(at, "tracking").await, now)
            .await
            .unwrap();
        let peers = lodeway_tracking::Peers {
            artifacts: Some(ArtifactServiceClient::new(files.clone())),
        };
        let settings = TrackingConfig {
            default_artifact_root: "mlflow-artifacts:/".to_owned(),
        };
        let tracking = Tracking::new(Arc::new(store), peers, settings, clock.clone(), &Tasks::new());
        let mut routes = RoutesBuilder::default();
        routes.add_service(tracking.into_service());
        let runs = Transport::local(column().wrap(routes.routes()));

        let gateway = Gateway::default();
        let mut routes = RoutesBuilder::default();
        routes.add_service(MonitorServiceServer::new(gateway.clone()));
        // As the binary does; only the first test of a process is in time.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let llms = SqlGateway::open(database(at, "gateway").await, now)
            .await
            .unwrap();
        let llms = Llm::new(Arc::new(llms), LlmKeys::new(), clock.clone()).unwrap();
        routes.add_service(llms.service());
        let rules = access::platform().with(&lodeway_gateway::access_rules());
        let edge = Column::new(ColumnConfig::default(), Authenticator::open(), rules);
        let peers = Peers {
            artifacts: Some(files),
            tracking: Some(runs),
            gateway: Some(Transport::local(edge.wrap(routes.routes()))),
            ..Peers::default()
        };
        let store = SqlEvaluation::open(database(at, "evaluation").await, now)
            .await
            .unwrap();
        let own = service(
            store.clone(),
            peers.clone(),
            clock.clone(),
            at.join("one"),
            tasks.clone(),
        );
        let own = own.await;
        Self {
            datasets: DatasetServiceClient::new(own.clone()),
            evaluations: EvaluationServiceClient::new(own.clone()),
            outcomes: OutcomeServiceClient::new(own),
            folder,
            clock,
            gateway,
            store,
            peers,
            tasks,
        }
    }

    /// Starts another replica.
    async fn join(&self, name: &str) -> Tasks {
        let tasks = Tasks::new();
        let folder = self.folder.path().join(name);
        let (store, peers) = (self.store.clone(), self.peers.clone());
        service(store, peers, self.clock.clone(), folder, tasks.clone()).await;
        tasks
    }

    fn turn(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn report(&self, prediction_id: &str, label: Value, prediction: Value) {
        let outcome = wire::Outcome {
            prediction_id: prediction_id.to_owned(),
            label: Some(label),
            prediction: Some(prediction),
            slices: [("plan".to_owned(), "gold".to_owned())].into(),
            time: None,
        };
        let request = wire::ReportOutcomesRequest {
            outcomes: vec![outcome],
            request_id: String::new(),
        };
        let told = self.outcomes.clone().report_outcomes(request).await.unwrap();
        assert_eq!(told.get_ref().accepted, 1, "{told:?}");
    }

    async fn capture(&self, request: wire::CaptureTrafficRequest) -> Result<wire::DatasetVersion, Status> {
        let reply = self.datasets.clone().capture_traffic(request).await?;
        Ok(reply.into_inner().dataset_version.unwrap())
    }

    async fn rows(&self, version: &wire::DatasetVersion) -> Vec<prost_types::Struct> {
        let request = wire::ReadDatasetRequest {
            name: version.name.clone(),
            version: version.version,
            ..wire::ReadDatasetRequest::default()
        };
        let mut messages = self
            .datasets
            .clone()
            .read_dataset(request)
            .await
            .unwrap()
            .into_inner();
        let mut rows = Vec::new();
        while let Some(message) = messages.message().await.unwrap() {
            rows.extend(message.rows);
        }
        rows
    }

    /// Asks for an evaluation.
    async fn evaluate(&self, spec: wire::EvaluationSpec) {
        let request = wire::CreateEvaluationRequest {
            spec: Some(spec),
            request_id: String::new(),
        };
        self.evaluations.clone().create_evaluation(request).await.unwrap();
    }

    /// Every evaluation, newest first.
    async fn all(&self) -> Vec<wire::Evaluation> {
        let request = wire::ListEvaluationsRequest::default();
        let found = self.evaluations.clone().list_evaluations(request).await.unwrap();
        found.into_inner().evaluations
    }
}

fn number(number: f64) -> Value {
    Value {
        kind: Some(Kind::NumberValue(number)),
    }
}

fn text(text: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    }
}

/// Asks until there is an answer; the clock stands still meanwhile.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, wait).await;
    found.unwrap_or_else(|_| panic!("{what}: not in {PATIENCE:?}"))
}

fn value(metrics: &[wire::MetricValue], name: &str) -> f64 {
    let found = metrics.iter().find(|metric| metric.metric == name);
    found.unwrap_or_else(|| panic!("no {name} in {metrics:?}")).value
}

fn refused(status: &Status, code: Code, reason: &str) {
    assert_eq!(status.code(), code, "{status:?}");
    let error = lodeway_rpc::status::into_error(status);
    assert_eq!(error.reason().as_str(), reason, "{status:?}");
}
