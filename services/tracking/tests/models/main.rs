//! Logged models, used data sets and purging over the generated client, with a real database and a real artifact service.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod models;
mod purge;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lodeway_artifacts::Artifacts;
use lodeway_domain::{
    Caller, Reason,
    caller::Workspace,
    id::RequestId,
    time::{Clock, ManualClock, Timestamp},
};
use lodeway_proto::{
    artifacts::v1::{
        ArtifactHold, HoldArtifactsRequest, ListArtifactsRequest, UploadArtifactRequest, UploadOpening,
        artifact_service_client::ArtifactServiceClient, upload_artifact_request::Kind,
    },
    tracking::v1::{self as pb, tracking_service_client::TrackingServiceClient},
};
use lodeway_rpc::{
    CallContext, Tasks, Transport, access,
    auth::Authenticator,
    layers::{Column, ColumnConfig},
    status::from_status,
};
use lodeway_store::{
    artifacts::{ArtifactStore, Holds, MIGRATIONS, RootSettings, Roots, SqlDigestIndex},
    migrate,
    sql::{Db, DbOptions, StoreUrl},
    tracking::{PurgeFilter, PurgeStore, SqlTracking, Write},
};
use lodeway_tracking::{Peers, Tracking, TrackingConfig};
use tonic::{Status, service::Routes};

type Tracker = TrackingServiceClient<Transport>;

/// The services over one folder.
struct Bench {
    client: Tracker,
    files: ArtifactServiceClient<Transport>,
    store: Arc<SqlTracking>,
    clock: Arc<ManualClock>,
    tasks: Tasks,
    dir: tempfile::TempDir,
}

fn mounted(routes: Routes) -> Transport {
    let column = Column::new(ColumnConfig::default(), Authenticator::open(), access::platform());
    Transport::local(column.wrap(routes))
}

fn tracker(
    store: &Arc<SqlTracking>,
    clock: &Arc<ManualClock>,
    tasks: &Tasks,
    artifacts: Option<ArtifactServiceClient<Transport>>,
) -> Tracker {
    let config = TrackingConfig {
        default_artifact_root: "mlflow-artifacts:/".to_owned(),
    };
    let service = Tracking::new(store.clone(), Peers { artifacts }, config, clock.clone(), tasks);
    TrackingServiceClient::new(mounted(Routes::new(service.into_service())))
}

async fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_700_000_000_000)));
    let open = async |name: &str| {
        let url = StoreUrl::Sqlite(dir.path().join(format!("{name}.db")));
        Db::open(&url, name, DbOptions::default()).await.unwrap()
    };
    let db = open("artifacts").await;
    migrate::apply(&db, MIGRATIONS, Timestamp::from_millis(0))
        .await
        .unwrap();
    let settings = RootSettings {
        proxied: dir.path().join("files").display().to_string(),
        ..RootSettings::default()
    };
    let roots = Roots::open(&settings).await.unwrap();
    let index = Arc::new(SqlDigestIndex::new(db.clone()));
    let bytes = ArtifactStore::new(roots.clone(), index, clock.clone()).with_holds(Holds::new(db));
    let artifacts = Artifacts::new(bytes, clock.clone());
    let files = ArtifactServiceClient::new(mounted(Routes::new(artifacts.into_service())));
    let store = SqlTracking::open(open("tracking").await, Timestamp::from_millis(0)).await;
    let store = Arc::new(store.unwrap().with_artifact_roots(roots));
    let tasks = Tasks::new();
    let client = tracker(&store, &clock, &tasks, Some(files.clone()));
    Bench {
        client,
        files,
        store,
        clock,
        tasks,
        dir,
    }
}

fn reason(status: &Status) -> Reason {
    from_status(status).known_reason().unwrap()
}

fn request_id() -> String {
    RequestId::generate().to_string()
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

impl Bench {
    fn client(&self) -> Tracker {
        self.client.clone()
    }

    async fn experiment(&self, name: &str, location: &str) -> String {
        let request = pb::CreateExperimentRequest {
            name: name.to_owned(),
            artifact_location: location.to_owned(),
            ..Default::default()
        };
        let reply = self
            .client()
            .create_experiment(request)
            .await
            .unwrap()
            .into_inner();
        reply.experiment.unwrap().experiment_id
    }

    async fn run(&self, experiment: &str) -> pb::Run {
        let request = pb::CreateRunRequest {
            experiment_id: experiment.to_owned(),
            ..Default::default()
        };
        self.client()
            .create_run(request)
            .await
            .unwrap()
            .into_inner()
            .run
            .unwrap()
    }

    async fn model(&self, experiment: &str, name: &str) -> pb::LoggedModel {
        let request = pb::CreateLoggedModelRequest {
            experiment_id: experiment.to_owned(),
            name: name.to_owned(),
            ..Default::default()
        };
        let reply = self
            .client()
            .create_logged_model(request)
            .await
            .unwrap()
            .into_inner();
        reply.model.unwrap()
    }

    async fn get(&self, id: &str, allow_deleted: bool) -> Result<pb::LoggedModel, Status> {
        let request = pb::GetLoggedModelRequest {
            model_id: id.to_owned(),
            allow_deleted,
        };
        Ok(self
            .client()
            .get_logged_model(request)
            .await?
            .into_inner()
            .model
            .unwrap())
    }
}
