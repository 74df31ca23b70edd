//! Stages and aliases that are followed, over a real registry.

use lodeway_proto::registry::v1::{self as registry, registry_service_client::RegistryServiceClient};
use lodeway_registry::{Peers, Registry};
use lodeway_store::registry::SqlRegistry;
use tonic::service::Routes;

use super::{host::Host, hosted::hosted, *};

/// A registry that has the model `m` with two versions.
struct Followed {
    _folder: tempfile::TempDir,
    registry: RegistryServiceClient<Transport>,
    host: Host,
    bench: Bench,
}

impl Followed {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = StoreUrl::Sqlite(folder.path().join("registry.db"));
        let db = Db::open(&url, "registry", DbOptions::default()).await.unwrap();
        let start = Timestamp::from_millis(START);
        let store = SqlRegistry::open(db, start).await.unwrap();
        let clock = Arc::new(ManualClock::at(start));
        let service = Registry::new(Arc::new(store), Peers::default(), clock, Tasks::new());
        let column = Column::new(ColumnConfig::default(), Authenticator::open(), access::platform());
        let transport = Transport::local(column.wrap(Routes::new(service.into_service())));
        let mut client = RegistryServiceClient::new(transport.clone());
        let model = registry::CreateRegisteredModelRequest {
            name: "m".to_owned(),
            ..Default::default()
        };
        client.create_registered_model(model).await.unwrap();
        let host = Host::default();
        for _ in 0..2 {
            let version = registry::CreateModelVersionRequest {
                name: "m".to_owned(),
                source: "file:///somewhere".to_owned(),
                ..Default::default()
            };
            let made = client.create_model_version(version).await.unwrap().into_inner();
            host.script().uid = Some(made.model_version.unwrap().model_uid);
        }
        let peers = EndpointPeers {
            serving: Some(host.transport()),
            registry: Some(transport),
            artifacts: None,
        };
        let bench = Bench::with(peers, config("gw-0")).await;
        Self {
            _folder: folder,
            registry: client,
            host,
            bench,
        }
    }

    /// What the host makes of a reference.
    fn means(&self, reference: &str, version: i64) {
        let meant = format!("models:/m/{version}");
        self.host.script().means.insert(reference.to_owned(), meant);
    }

    async fn set_alias(&self, version: i64) {
        self.means("models:/m@champion", version);
        let request = registry::SetAliasRequest {
            name: "m".to_owned(),
            alias: "champion".to_owned(),
            version,
            ..Default::default()
        };
        self.registry.clone().set_alias(request).await.unwrap();
    }

    async fn delete_alias(&self) {
        let request = registry::DeleteAliasRequest {
            name: "m".to_owned(),
            alias: "champion".to_owned(),
            ..Default::default()
        };
        self.registry.clone().delete_alias(request).await.unwrap();
    }

    async fn move_to(&self, version: i64, stage: registry::Stage) {
        let request = registry::TransitionModelVersionRequest {
            name: "m".to_owned(),
            version,
            stage: stage.into(),
            ..Default::default()
        };
        self.registry
            .clone()
            .transition_model_version(request)
            .await
            .unwrap();
    }

    /// How the only target stands, and why its reference means nothing.
    async fn standing(&self, endpoint: &str) -> (String, String) {
        let status = self.bench.get(endpoint).await.unwrap().target_statuses.remove(0);
        (status.state, status.unresolved_reason)
    }
}

#[tokio::test]
async fn an_alias_that_is_deleted_is_told_of_and_its_version_goes_on() {
    let it = Followed::new().await;
    it.set_alias(1).await;
    let targets = [hosted("champion", "models:/m@champion", 1)];
    it.bench.create("a", spec(targets)).await.unwrap();
    let mut watch = it.bench.watch("a", 10, None).await.unwrap();
    assert_eq!(it.standing("a").await, ("ready".to_owned(), String::new()));
    it.delete_alias().await;
    let event = watch.event("unresolved").await;
    assert!(
        event.target == "champion" && event.message.ends_with("`m` version 1 goes on serving"),
        "{event:?}"
    );
    let (state, why) = it.standing("a").await;
    assert!(state == "ready" && why.contains("champion"), "{state}: {why}");
    assert_eq!(it.bench.score("a", 0.0).await.unwrap(), 1.0);
    // Once, not at every look.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(watch.so_far("unresolved").await, []);

    it.set_alias(1).await;
    assert_eq!(watch.event("resolved").await.message, "means `m` version 1 again");
    assert_eq!(it.standing("a").await, ("ready".to_owned(), String::new()));

    it.delete_alias().await;
    watch.event("unresolved").await;
    it.set_alias(2).await;
    assert_eq!(watch.event("resolved").await.message, "is `m` version 2 now");
    assert_eq!(it.standing("a").await.1, "");
    assert_eq!(it.bench.score("a", 0.0).await.unwrap(), 2.0);
}

#[tokio::test]
async fn a_stage_that_is_emptied_is_told_of_also_after_a_restart() {
    let it = Followed::new().await;
    it.move_to(1, registry::Stage::Production).await;
    it.means("models:/m/Production", 1);
    let targets = [hosted("production", "models:/m/Production", 1)];
    it.bench.create("a", spec(targets)).await.unwrap();
    let mut watch = it.bench.watch("a", 10, None).await.unwrap();
    it.move_to(1, registry::Stage::Archived).await;
    watch.event("unresolved").await;
    let Followed { bench, host, .. } = it;
    let bench = bench.restart("gw-0").await;
    let why = until(async || {
        let status = bench.get("a").await.unwrap().target_statuses.remove(0);
        (!status.unresolved_reason.is_empty()).then_some(status.unresolved_reason)
    })
    .await;
    assert!(why.contains("Production"), "{why}");
    assert_eq!(bench.score("a", 0.0).await.unwrap(), 1.0);
    assert_eq!(host.calls("d-m-1"), 1);
}
