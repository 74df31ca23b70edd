//! The model host over its generated clients, with real models and a real store.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod files;
mod memory;
mod peer;
mod scoring;

use std::{path::Path, sync::Arc, time::Duration};

use lodeway_domain::time::{ManualClock, Timestamp};
use lodeway_proto::{
    inference::{
        InferTensorContents, ModelInferRequest, ModelInferResponse,
        grpc_inference_service_client::GrpcInferenceServiceClient, model_infer_request::InferInputTensor,
    },
    serving::v1::{
        self as wire, DeploymentState as State, deployment_service_client::DeploymentServiceClient,
    },
};
use lodeway_rpc::{
    Tasks, Transport, access,
    auth::Authenticator,
    layers::{Column, ColumnConfig},
    status::from_status,
};
use lodeway_serving::{Peers, Runtimes, Serving, ServingConfig};
use lodeway_store::{
    serving::SqlDeployments,
    sql::{Db, DbOptions, StoreUrl},
};
use lodeway_testkit::models::{Expected, Models};
use tonic::{Code, Status, service::RoutesBuilder};

use peer::Peer;

struct Bench {
    folder: Arc<tempfile::TempDir>,
    db: Db,
    tasks: Tasks,
    api: DeploymentServiceClient<Transport>,
    scoring: GrpcInferenceServiceClient<Transport>,
}

/// The models of this process; made at the first call.
async fn models() -> &'static Models {
    tokio::task::spawn_blocking(Models::get).await.unwrap().unwrap()
}

impl Bench {
    async fn new(peers: Peers) -> Self {
        Self::with_budget(peers, 1 << 30).await
    }

    async fn with_budget(peers: Peers, memory_budget_bytes: u64) -> Self {
        Self::on(Arc::new(tempfile::tempdir().unwrap()), peers, memory_budget_bytes).await
    }

    async fn on(folder: Arc<tempfile::TempDir>, peers: Peers, memory_budget_bytes: u64) -> Self {
        let url = StoreUrl::Sqlite(folder.path().join("serving.db"));
        let db = Db::open(&url, "serving", DbOptions::default()).await.unwrap();
        let now = Timestamp::from_millis(1_700_000_000_000);
        let store = SqlDeployments::open(db.clone(), now).await.unwrap();
        let tasks = Tasks::new();
        let config = ServingConfig {
            models_dir: folder.path().join("models"),
            memory_budget_bytes,
            allow_folders: true,
        };
        let clock = Arc::new(ManualClock::at(now));
        let service = Serving::new(
            Arc::new(store),
            peers,
            Runtimes::default(),
            clock,
            tasks.clone(),
            config,
        );
        let service = service.await.unwrap();
        let mut routes = RoutesBuilder::default();
        routes
            .add_service(service.deployments())
            .add_service(service.inference());
        let column = Column::new(ColumnConfig::default(), Authenticator::open(), access::platform());
        let transport = Transport::local(column.wrap(routes.routes()));
        Self {
            folder,
            db,
            tasks,
            api: DeploymentServiceClient::new(transport.clone()),
            scoring: GrpcInferenceServiceClient::new(transport),
        }
    }

    /// Ends this host and starts another one on its folder.
    async fn restart(self, peers: Peers) -> Self {
        assert!(self.tasks.shutdown(Duration::from_secs(10)).await);
        self.db.close().await;
        Self::on(self.folder, peers, 1 << 30).await
    }

    async fn create(&self, source: &str) -> Result<wire::Deployment, Status> {
        let request = wire::CreateDeploymentRequest {
            source: source.to_owned(),
            settings: None,
            wait: prost_types::Duration::try_from(Duration::from_secs(60)).ok(),
        };
        let made = self.api.clone().create_deployment(request).await?;
        Ok(made.into_inner().deployment.unwrap())
    }

    async fn get(&self, id: &str) -> Result<wire::Deployment, Status> {
        let deployment_id = id.to_owned();
        let found = self
            .api
            .clone()
            .get_deployment(wire::GetDeploymentRequest { deployment_id })
            .await?;
        Ok(found.into_inner().deployment.unwrap())
    }

    async fn infer(&self, id: &str, message: ModelInferRequest) -> Result<ModelInferResponse, Status> {
        let message = ModelInferRequest {
            model_name: id.to_owned(),
            ..message
        };
        Ok(self.scoring.clone().model_infer(message).await?.into_inner())
    }
}

/// The folder as a source.
fn source(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

/// Rows as a table: a tensor a column.
fn table(rows: &[[f64; 3]]) -> ModelInferRequest {
    let column = |(at, name): (usize, &str)| InferInputTensor {
        name: name.to_owned(),
        datatype: "FP64".to_owned(),
        shape: vec![rows.len() as i64],
        contents: Some(InferTensorContents {
            fp64_contents: rows.iter().map(|row| row[at]).collect(),
            ..InferTensorContents::default()
        }),
        ..InferInputTensor::default()
    };
    ModelInferRequest {
        inputs: ["a", "b", "c"].into_iter().enumerate().map(column).collect(),
        ..ModelInferRequest::default()
    }
}

/// The numbers of the only output, whatever their type.
fn predictions(answer: &ModelInferResponse) -> Vec<f64> {
    let [output] = answer.outputs.as_slice() else {
        panic!("{answer:?}")
    };
    let contents = output.contents.clone().unwrap_or_default();
    let wholes = contents.int64_contents.iter().map(|value| *value as f64);
    let halves = contents.int_contents.iter().map(|value| f64::from(*value));
    contents
        .fp64_contents
        .iter()
        .copied()
        .chain(wholes)
        .chain(halves)
        .collect()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64]) {
    let same = |(one, other): (&f64, &f64)| (one - other).abs() <= 1e-12 * other.abs().max(1.0);
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().zip(expected).all(same), "{found:?} {expected:?}");
}

#[track_caller]
fn refused(status: &Status, code: Code, reason: &str) {
    let failure = from_status(status);
    assert_eq!((failure.code, &*failure.reason), (code, reason), "{status:?}");
}

/// Waits until `check` gives something.
async fn until<T>(mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "it never happened");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
