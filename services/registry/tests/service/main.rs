//! The registry service over its generated client, on a real database, with a hand-turned clock.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod abandoned;
mod gates;
mod holds;
mod models;
mod moves;
mod peer;
mod references;
mod versions;
mod watches;

use std::{sync::Arc, time::Duration};

use lodeway_domain::time::{ManualClock, Timestamp};
use lodeway_proto::registry::v1::{self as wire, registry_service_client::RegistryServiceClient};
use lodeway_registry::{Peers, Registry, RegistryConfig};
use lodeway_rpc::{
    Tasks, Transport, access,
    auth::Authenticator,
    layers::{Column, ColumnConfig},
    status::from_status,
};
use lodeway_store::{
    registry::SqlRegistry,
    sql::{Db, DbOptions, StoreUrl},
};
use tonic::{Code, Status, service::Routes};

/// When the clock of a test begins.
const START: i64 = 1_700_000_000_000;

struct Bench {
    folder: Arc<tempfile::TempDir>,
    db: Db,
    clock: Arc<ManualClock>,
    tasks: Tasks,
    client: RegistryServiceClient<Transport>,
}

fn config() -> RegistryConfig {
    RegistryConfig {
        delivery_wait: Duration::from_millis(300),
        outbox_poll: Duration::from_millis(20),
        outbox_idle_poll: Duration::from_millis(50),
        bucket_poll: Duration::from_millis(20),
        watch_poll: Duration::from_secs(60),
        digest_wait: Duration::from_secs(2),
        ..RegistryConfig::default()
    }
}

impl Bench {
    async fn alone() -> Self {
        Self::with(Peers::default()).await
    }

    async fn with(peers: Peers) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(START)));
        Self::on(Arc::new(tempfile::tempdir().unwrap()), clock, peers).await
    }

    async fn on(folder: Arc<tempfile::TempDir>, clock: Arc<ManualClock>, peers: Peers) -> Self {
        let url = StoreUrl::Sqlite(folder.path().join("registry.db"));
        Self::over(url, folder, clock, peers).await
    }

    async fn over(
        url: StoreUrl,
        folder: Arc<tempfile::TempDir>,
        clock: Arc<ManualClock>,
        peers: Peers,
    ) -> Self {
        let db = Db::open(&url, "registry", DbOptions::default()).await.unwrap();
        let store = SqlRegistry::open(db.clone(), Timestamp::from_millis(START))
            .await
            .unwrap();
        let tasks = Tasks::new();
        let service = Registry::with_config(Arc::new(store), peers, clock.clone(), tasks.clone(), config());
        let column = Column::new(ColumnConfig::default(), Authenticator::open(), access::platform());
        let routes = column.wrap(Routes::new(service.into_service()));
        Self {
            folder,
            db,
            clock,
            tasks,
            client: RegistryServiceClient::new(Transport::local(routes)),
        }
    }

    /// Stops the service and starts another one on the same database.
    async fn restart(self, peers: Peers) -> Self {
        assert!(self.tasks.shutdown(Duration::from_secs(10)).await);
        self.db.close().await;
        Self::on(self.folder, self.clock, peers).await
    }

    fn turn(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }

    fn api(&self) -> RegistryServiceClient<Transport> {
        self.client.clone()
    }

    async fn model(&self, name: &str) -> wire::RegisteredModel {
        let request = wire::CreateRegisteredModelRequest {
            name: name.into(),
            ..Default::default()
        };
        self.api()
            .create_registered_model(request)
            .await
            .unwrap()
            .into_inner()
            .model
            .unwrap()
    }

    async fn create(&self, request: wire::CreateModelVersionRequest) -> Result<wire::ModelVersion, Status> {
        Ok(self
            .api()
            .create_model_version(request)
            .await?
            .into_inner()
            .model_version
            .unwrap())
    }

    async fn version(&self, name: &str) -> wire::ModelVersion {
        self.create(plain(name)).await.unwrap()
    }

    async fn get(&self, name: &str, version: i64) -> Result<wire::ModelVersion, Status> {
        let by = Some(wire::get_model_version_request::By::Version(version));
        let request = wire::GetModelVersionRequest {
            name: name.into(),
            by,
        };
        Ok(self
            .api()
            .get_model_version(request)
            .await?
            .into_inner()
            .model_version
            .unwrap())
    }

    async fn go(
        &self,
        name: &str,
        version: i64,
        stage: wire::Stage,
    ) -> Result<Vec<wire::Transition>, Status> {
        let request = wire::TransitionModelVersionRequest {
            name: name.into(),
            version,
            stage: stage.into(),
            archive_existing_versions: matches!(stage, wire::Stage::Production | wire::Stage::Staging),
            comment: "because".into(),
            request_id: String::new(),
        };
        Ok(self
            .api()
            .transition_model_version(request)
            .await?
            .into_inner()
            .transitions)
    }

    async fn point(&self, name: &str, alias: &str, version: i64) -> Option<wire::Transition> {
        let request = wire::SetAliasRequest {
            name: name.into(),
            alias: alias.into(),
            version,
            ..Default::default()
        };
        self.api()
            .set_alias(request)
            .await
            .unwrap()
            .into_inner()
            .transition
    }

    async fn ledger(&self) -> Vec<wire::Transition> {
        let request = wire::ListTransitionsRequest::default();
        self.api()
            .list_transitions(request)
            .await
            .unwrap()
            .into_inner()
            .transitions
    }

    async fn resolve(&self, uri: &str, at_ms: Option<i64>) -> Result<wire::ResolveModelResponse, Status> {
        let as_of_time = at_ms.map(stamp);
        Ok(self
            .api()
            .resolve_model(wire::ResolveModelRequest {
                uri: uri.into(),
                as_of_time,
            })
            .await?
            .into_inner())
    }
}

fn plain(name: &str) -> wire::CreateModelVersionRequest {
    wire::CreateModelVersionRequest {
        name: name.into(),
        source: "s3://b/x".into(),
        ..Default::default()
    }
}

/// The wire's time of the clock's start and some milliseconds.
fn stamp(ms: i64) -> prost_types::Timestamp {
    let ms = START + ms;
    prost_types::Timestamp {
        seconds: ms / 1_000,
        nanos: i32::try_from(ms % 1_000).unwrap() * 1_000_000,
    }
}

fn request_id(n: u128) -> String {
    format!("{n:032x}")
}

#[track_caller]
fn refused(status: &Status, code: Code, reason: &str) {
    let failure = from_status(status);
    assert_eq!(
        (failure.code, &*failure.reason, &*failure.domain),
        (code, reason, "registry.lodeway.dev"),
        "{status:?}"
    );
}

/// The fields that a request was refused for.
fn fields(status: &Status) -> Vec<String> {
    from_status(status)
        .violations
        .into_iter()
        .map(|v| v.field)
        .collect()
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
