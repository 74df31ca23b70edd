//! Routes to language models over a scripted server: real HTTP behind, a real store, both dialects.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod rest;
mod routes;

use std::{sync::Arc, time::Duration};

use lodeway_domain::time::{ManualClock, Timestamp};
use lodeway_gateway::{Gateway, Llm, LlmKey, LlmKeys, Peers};
use lodeway_proto::gateway::v1::{self as wire, llm_service_client::LlmServiceClient};
use lodeway_rpc::{
    Tasks, Transport, access,
    auth::Authenticator,
    config::Secret,
    layers::{Column, ColumnConfig},
    serve::{Health, ServeConfig, Server, merge},
    status::from_status,
};
use lodeway_store::{
    gateway::SqlGateway,
    sql::{Db, DbOptions, StoreUrl},
};
use lodeway_testkit::llm::{Reply, ScriptedLlm};
use tonic::{Code, Request, Status, service::Routes};

/// What the server's configuration holds under `main`.
const KEY: &str = "sk-server-side-0123456789";

/// A gateway with its store and a listener.
struct Bench {
    _folder: tempfile::TempDir,
    api: LlmServiceClient<Transport>,
    /// Of the REST side.
    url: String,
    tasks: Tasks,
}

impl Bench {
    async fn new() -> Self {
        // As the binary does; only the first test of a process is in time.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let url = StoreUrl::Sqlite(folder.path().join("gateway.db"));
        let db = Db::open(&url, "gateway", DbOptions::default()).await.unwrap();
        let now = Timestamp::from_millis(1_700_000_000_000);
        let store = SqlGateway::open(db, now).await.unwrap();
        let bound = LlmKey {
            secret: Secret::new(KEY.to_owned()),
            origins: vec!["https://api.example.com".parse().unwrap()],
        };
        let keys = LlmKeys::from([
            ("main".to_owned(), LlmKey::anywhere(Secret::new(KEY.to_owned()))),
            ("bound".to_owned(), bound),
        ]);
        let llm = Llm::new(Arc::new(store), keys, Arc::new(ManualClock::at(now))).unwrap();
        let rules = access::platform().with(&lodeway_gateway::access_rules());
        let column = Column::new(ColumnConfig::default(), Authenticator::open(), rules);
        let transport = Transport::local(column.wrap(Routes::new(llm.service())));
        let nobody = || Transport::local(column.wrap(merge([])));
        let peers = Peers {
            tracking: nobody(),
            registry: nobody(),
            artifacts: nobody(),
        };
        let gateway = Gateway::new(peers, lodeway_gateway::Config::default()).with_llm(llm);
        let rest = column.wrap_rest(gateway.into_router(), lodeway_gateway::refuse);
        let tasks = Tasks::new();
        let address = "127.0.0.1:0".parse().unwrap();
        let server = Server::bind(address, ServeConfig::default(), Health::new(), tasks.clone());
        let server = server.await.unwrap();
        let url = format!("http://{}/v1", server.local_addr().unwrap());
        let (stop, grpc) = (tasks.draining(), column.wrap(merge([])));
        tasks.spawn(async move { server.serve(grpc, rest, stop, Duration::from_secs(1)).await });
        Self {
            _folder: folder,
            api: LlmServiceClient::new(transport),
            url,
            tasks,
        }
    }

    fn api(&self) -> LlmServiceClient<Transport> {
        self.api.clone()
    }

    async fn create(&self, route: wire::LlmRoute) -> Result<wire::LlmRoute, Status> {
        let request = wire::CreateRouteRequest {
            route: Some(route),
            request_id: String::new(),
        };
        Ok(self
            .api()
            .create_route(request)
            .await?
            .into_inner()
            .route
            .unwrap())
    }

    async fn chat(&self, route: &str, prompt: &str) -> Result<wire::ChatResponse, Status> {
        Ok(self.api().chat(ask(route, prompt)).await?.into_inner())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.tasks.begin_drain();
    }
}

fn target(llm: &ScriptedLlm) -> wire::LlmTarget {
    wire::LlmTarget {
        base_url: llm.base_url(),
        model: "small-1".to_owned(),
        key_name: "main".to_owned(),
        ..wire::LlmTarget::default()
    }
}

fn route(name: &str, targets: impl Into<Vec<wire::LlmTarget>>) -> wire::LlmRoute {
    wire::LlmRoute {
        name: name.to_owned(),
        kind: wire::LlmKind::Chat.into(),
        targets: targets.into(),
        ..wire::LlmRoute::default()
    }
}

fn ask(route: &str, prompt: &str) -> wire::ChatRequest {
    wire::ChatRequest {
        route: route.to_owned(),
        messages: vec![said(prompt)],
        params: None,
    }
}

fn said(text: &str) -> wire::ChatMessage {
    wire::ChatMessage {
        role: wire::ChatRole::User.into(),
        content: text.to_owned(),
    }
}

fn span(ms: u64) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(Duration::from_millis(ms)).ok()
}

#[track_caller]
fn refused(status: &Status, code: Code, reason: &str) {
    let failure = from_status(status);
    assert_eq!((failure.code, &*failure.reason), (code, reason), "{status:?}");
}
