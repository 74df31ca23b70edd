//! Experiments and runs over the generated client, with a real database: happy, refused, repeated.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod experiments;
mod runs;

use std::{collections::BTreeMap, sync::Arc};

use lodeway_domain::{
    id::RequestId,
    time::{ManualClock, Timestamp},
};
use lodeway_proto::tracking::v1::{self as pb, tracking_service_client::TrackingServiceClient};
use lodeway_rpc::{
    Tasks, Transport, access,
    auth::Authenticator,
    layers::{Column, ColumnConfig},
    status::from_status,
};
use lodeway_store::{
    sql::{Db, DbOptions, StoreUrl},
    tracking::SqlTracking,
};
use lodeway_tracking::{Peers, Tracking, TrackingConfig};
use tonic::{Code, Request, Status, service::Routes};

/// The service over one folder.
struct Bench {
    client: TrackingServiceClient<Transport>,
    _dir: tempfile::TempDir,
}

const NOW_MS: i64 = 1_700_000_000_123;

async fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(NOW_MS)));
    let url = StoreUrl::Sqlite(dir.path().join("tracking.db"));
    let db = Db::open(&url, "tracking", DbOptions::default()).await.unwrap();
    let store = SqlTracking::open(db, Timestamp::from_millis(0)).await.unwrap();
    let config = TrackingConfig {
        default_artifact_root: "s3://bucket/root".to_owned(),
    };
    let service = Tracking::new(Arc::new(store), Peers::default(), config, clock, &Tasks::new());
    let column = Column::new(ColumnConfig::default(), Authenticator::open(), access::platform());
    let routes = column.wrap(Routes::new(service.into_service()));
    Bench {
        client: TrackingServiceClient::new(Transport::local(routes)),
        _dir: dir,
    }
}

/// The code and reason of a refusal.
fn why<T: std::fmt::Debug>(refused: Result<T, Status>) -> (Code, String) {
    let status = refused.unwrap_err();
    (status.code(), from_status(&status).reason)
}

/// The fields that a refusal names.
fn fields<T: std::fmt::Debug>(refused: Result<T, Status>) -> Vec<String> {
    let failure = from_status(&refused.unwrap_err());
    failure
        .violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

fn id() -> String {
    RequestId::generate().to_string()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn mask(paths: &[&str]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
    })
}

fn time(ms: i64) -> Option<prost_types::Timestamp> {
    let nanos = i32::try_from(ms.rem_euclid(1_000)).unwrap() * 1_000_000;
    Some(prost_types::Timestamp {
        seconds: ms.div_euclid(1_000),
        nanos,
    })
}

fn in_workspace<T>(message: T, workspace: &'static str) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("x-mlflow-workspace", workspace.parse().unwrap());
    request
}

impl Bench {
    async fn experiment(&mut self, name: &str) -> pb::Experiment {
        let request = pb::CreateExperimentRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        let made = self.client.create_experiment(request).await.unwrap().into_inner();
        made.experiment.unwrap()
    }

    async fn run(&mut self, experiment: &str, name: &str) -> pb::Run {
        let request = pb::CreateRunRequest {
            experiment_id: experiment.to_owned(),
            name: name.to_owned(),
            ..Default::default()
        };
        self.client
            .create_run(request)
            .await
            .unwrap()
            .into_inner()
            .run
            .unwrap()
    }

    async fn get(&mut self, run_id: &str) -> pb::Run {
        let request = pb::GetRunRequest {
            run_id: run_id.to_owned(),
            columns: vec![],
        };
        self.client
            .get_run(request)
            .await
            .unwrap()
            .into_inner()
            .run
            .unwrap()
    }

    async fn log(&mut self, run_id: &str, metrics: &[(&str, f64)], params: &[(&str, &str)]) {
        let metric = |(key, value): &(&str, f64)| pb::Metric {
            key: (*key).to_owned(),
            value: *value,
            ..Default::default()
        };
        let param = |(key, value): &(&str, &str)| pb::Param {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        };
        let request = pb::LogBatchRequest {
            run_id: run_id.to_owned(),
            metrics: metrics.iter().map(metric).collect(),
            params: params.iter().map(param).collect(),
            ..Default::default()
        };
        self.client.log_batch(request).await.unwrap();
    }
}
