//! Evaluations over the generated client, with real artifacts, tracking, registry and model host, and a scripted endpoint.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod data;
mod faults;
mod llm;
mod models;

use std::{path::Path, sync::Arc, time::Duration};

use lodeway_artifacts::Artifacts;
use lodeway_domain::time::{Clock, SystemClock};
use lodeway_evaluation::{Evaluation, EvaluationConfig, Peers};
use lodeway_proto::{
    artifacts::v1::{
        UploadArtifactRequest, UploadOpening, artifact_service_client::ArtifactServiceClient,
        upload_artifact_request::Kind,
    },
    evaluation::v1::{
        self as wire, EvaluationState as State, dataset_service_client::DatasetServiceClient,
        evaluation_service_client::EvaluationServiceClient,
    },
    registry::v1::{
        promotion_service_client::PromotionServiceClient, registry_service_client::RegistryServiceClient,
    },
    tracking::v1::{self as tracking, tracking_service_client::TrackingServiceClient},
};
use lodeway_registry::Registry;
use lodeway_rpc::{
    Tasks, Transport, access,
    auth::Authenticator,
    layers::{Column, ColumnConfig},
};
use lodeway_serving::{Runtimes, Serving, ServingConfig};
use lodeway_store::{
    artifacts::{self, ArtifactStore, RootSettings, Roots, SqlDigestIndex},
    evaluation::SqlEvaluation,
    migrate,
    registry::SqlRegistry,
    serving::SqlDeployments,
    sql::{Db, DbOptions, StoreUrl},
    tracking::SqlTracking,
};
use lodeway_tracking::{Tracking, TrackingConfig};
use tonic::{Code, Status, service::RoutesBuilder};

/// How long a job may take in a test.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    folder: tempfile::TempDir,
    tasks: Tasks,
    api: EvaluationServiceClient<Transport>,
    datasets: DatasetServiceClient<Transport>,
    artifacts: ArtifactServiceClient<Transport>,
    tracking: TrackingServiceClient<Transport>,
    registry: RegistryServiceClient<Transport>,
    promotion: PromotionServiceClient<Transport>,
    store: SqlEvaluation,
    peers: Peers,
    /// Those of evaluation alone.
    evaluating: Tasks,
}

async fn database(folder: &Path, service: &str) -> Db {
    let url = StoreUrl::Sqlite(folder.join(format!("{service}.db")));
    Db::open(&url, service, DbOptions::default()).await.unwrap()
}

fn column() -> Column {
    Column::new(ColumnConfig::default(), Authenticator::open(), access::platform())
}

async fn evaluation(folder: &Path, store: &SqlEvaluation, peers: &Peers, tasks: &Tasks) -> Transport {
    let settings = EvaluationConfig {
        work_dir: folder.join("evaluation"),
        ..EvaluationConfig::default()
    };
    let (store, peers, clock) = (store.clone(), peers.clone(), Arc::new(SystemClock));
    let service = Evaluation::start(store, peers, clock, tasks.clone(), settings)
        .await
        .unwrap();
    let routes = service.services().into_iter().map(|(_, routes)| routes);
    let routes = lodeway_rpc::serve::merge(routes.collect::<Vec<_>>());
    Transport::local(column().wrap(routes))
}

impl Bench {
    /// The house, with this gateway if any.
    async fn new(gateway: Option<Transport>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (now, tasks, at) = (clock.now(), Tasks::new(), folder.path());
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
        let service = Tracking::new(Arc::new(store), peers, settings, clock.clone(), &tasks);
        let mut routes = RoutesBuilder::default();
        routes.add_service(service.into_service());
        let runs = Transport::local(column().wrap(routes.routes()));

        let store = SqlRegistry::open(database(at, "registry").await, now)
            .await
            .unwrap();
        let peers = lodeway_registry::Peers {
            tracking: Some(TrackingServiceClient::new(runs.clone())),
            artifacts: Some(ArtifactServiceClient::new(files.clone())),
        };
        let service = Registry::new(Arc::new(store), peers, clock.clone(), tasks.clone());
        let mut routes = RoutesBuilder::default();
        routes
            .add_service(service.clone().into_promotion_service())
            .add_service(service.into_service());
        let versions = Transport::local(column().wrap(routes.routes()));

        let store = SqlDeployments::open(database(at, "serving").await, now)
            .await
            .unwrap();
        let peers = lodeway_serving::Peers {
            registry: Some(RegistryServiceClient::new(versions.clone())),
            artifacts: Some(ArtifactServiceClient::new(files.clone())),
        };
        let settings = ServingConfig {
            models_dir: at.join("models"),
            memory_budget_bytes: 1 << 30,
            allow_folders: false,
        };
        let own = (clock.clone(), tasks.clone());
        let service = Serving::new(
            Arc::new(store),
            peers,
            Runtimes::default(),
            own.0,
            own.1,
            settings,
        );
        let service = service.await.unwrap();
        let mut routes = RoutesBuilder::default();
        routes
            .add_service(service.deployments())
            .add_service(service.inference());
        let host = Transport::local(column().wrap(routes.routes()));

        let store = SqlEvaluation::open(database(at, "evaluation").await, now)
            .await
            .unwrap();
        let peers = Peers {
            artifacts: Some(files.clone()),
            tracking: Some(runs.clone()),
            registry: Some(versions.clone()),
            serving: Some(host),
            gateway,
        };
        let evaluating = Tasks::new();
        let own = evaluation(at, &store, &peers, &evaluating).await;
        Self {
            store,
            peers,
            evaluating,
            api: EvaluationServiceClient::new(own.clone()),
            datasets: DatasetServiceClient::new(own),
            artifacts: ArtifactServiceClient::new(files),
            tracking: TrackingServiceClient::new(runs),
            registry: RegistryServiceClient::new(versions.clone()),
            promotion: PromotionServiceClient::new(versions),
            folder,
            tasks,
        }
    }

    /// Ends evaluation in the middle of what it does, and begins it again.
    async fn restart(&mut self) {
        assert!(self.evaluating.shutdown(PATIENCE).await);
        self.evaluating = Tasks::new();
        let own = evaluation(self.folder.path(), &self.store, &self.peers, &self.evaluating).await;
        self.api = EvaluationServiceClient::new(own.clone());
        self.datasets = DatasetServiceClient::new(own);
    }

    fn api(&self) -> EvaluationServiceClient<Transport> {
        self.api.clone()
    }

    /// Puts a file into the artifact service; its URI.
    async fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) -> String {
        let (location, name) = path.rsplit_once('/').unwrap();
        let location = format!("mlflow-artifacts:/{location}");
        let opening = UploadOpening {
            location: location.clone(),
            path: name.to_owned(),
            ..UploadOpening::default()
        };
        let bytes: Vec<u8> = bytes.into();
        let chunks: Vec<_> = bytes
            .chunks(1 << 19)
            .map(|c| Kind::Chunk(c.to_vec().into()))
            .collect();
        let kinds: Vec<_> = std::iter::once(Kind::Open(opening)).chain(chunks).collect();
        let messages = kinds
            .into_iter()
            .map(|kind| UploadArtifactRequest { kind: Some(kind) });
        self.artifacts
            .clone()
            .upload_artifact(tokio_stream::iter(messages))
            .await
            .unwrap();
        format!("{location}/{name}")
    }

    async fn create(&self, spec: wire::EvaluationSpec) -> Result<wire::Evaluation, Status> {
        let request = wire::CreateEvaluationRequest {
            spec: Some(spec),
            request_id: String::new(),
        };
        Ok(self
            .api()
            .create_evaluation(request)
            .await?
            .into_inner()
            .evaluation
            .unwrap())
    }

    async fn get(&self, id: &str) -> wire::Evaluation {
        let evaluation_id = id.to_owned();
        let found = self
            .api()
            .get_evaluation(wire::GetEvaluationRequest { evaluation_id })
            .await;
        found.unwrap().into_inner().evaluation.unwrap()
    }

    /// Waits for the end, on the watch.
    async fn ended(&self, id: &str) -> wire::Evaluation {
        let evaluation_id = id.to_owned();
        let request = wire::WatchEvaluationRequest { evaluation_id };
        let mut pushes = self.api().watch_evaluation(request).await.unwrap().into_inner();
        let wait = async {
            let mut last = None;
            while let Some(push) = pushes.message().await.unwrap() {
                last = push.evaluation;
            }
            last.unwrap()
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap()
    }

    /// Runs an evaluation to its good end.
    async fn evaluate(&self, spec: wire::EvaluationSpec) -> wire::Evaluation {
        let made = self.create(spec).await.unwrap();
        let ended = self.ended(&made.evaluation_id).await;
        assert_eq!(ended.state(), State::Succeeded, "{ended:#?}");
        ended
    }

    async fn run(&self, id: &str) -> tracking::Run {
        let request = tracking::GetRunRequest {
            run_id: id.to_owned(),
            columns: Vec::new(),
        };
        self.tracking
            .clone()
            .get_run(request)
            .await
            .unwrap()
            .into_inner()
            .run
            .unwrap()
    }

    async fn rows(&self, id: &str, start_row: i64, max_rows: i64) -> Vec<prost_types::Struct> {
        let request = wire::ReadResultsRequest {
            evaluation_id: id.to_owned(),
            start_row,
            max_rows,
        };
        let mut messages = self.api().read_results(request).await.unwrap().into_inner();
        let mut rows = Vec::new();
        while let Some(message) = messages.message().await.unwrap() {
            assert_eq!(message.start_row, start_row + rows.len() as i64);
            rows.extend(message.rows);
        }
        rows
    }

    async fn verify(&self, id: &str, predict_again: bool) -> wire::VerifyEvaluationResponse {
        let request = wire::VerifyEvaluationRequest {
            evaluation_id: id.to_owned(),
            predict_again,
        };
        self.api().verify_evaluation(request).await.unwrap().into_inner()
    }
}

/// A spec on a dataset with this target column.
fn spec(dataset: &str, target: &str) -> wire::EvaluationSpec {
    wire::EvaluationSpec {
        name: "holdout".to_owned(),
        dataset: Some(wire::DatasetRef {
            name: dataset.to_owned(),
            version: 0,
        }),
        roles: Some(wire::ColumnRoles {
            target: target.to_owned(),
            ..wire::ColumnRoles::default()
        }),
        ..wire::EvaluationSpec::default()
    }
}

fn at_least(metric: &str, min: f64) -> wire::Threshold {
    wire::Threshold {
        metric: metric.to_owned(),
        min: Some(min),
        ..wire::Threshold::default()
    }
}

fn metric(evaluation: &wire::Evaluation, name: &str) -> wire::MetricValue {
    let found = evaluation.metrics.iter().find(|metric| metric.metric == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {:?}", evaluation.metrics))
        .clone()
}

fn number(row: &prost_types::Struct, field: &str) -> f64 {
    match row.fields[field].kind {
        Some(prost_types::value::Kind::NumberValue(number)) => number,
        ref other => panic!("{field} is {other:?}"),
    }
}
