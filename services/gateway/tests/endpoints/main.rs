//! Endpoints over scripted model servers: real gRPC behind, a real store, a hand-turned clock.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod calls;
mod counted;
mod documents;
mod drift;
mod followed;
mod health;
mod host;
mod hosted;
mod known;
mod manage;
mod measured;
mod outside;
mod records;
mod rollouts;
mod shadow;
mod spans;
mod streamed;
mod swaps;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lodeway_domain::time::{ManualClock, Timestamp};
use lodeway_gateway::{EndpointConfig, EndpointPeers, Endpoints};
use lodeway_proto::{
    gateway::v1::{
        self as wire, endpoint_service_client::EndpointServiceClient,
        monitor_service_client::MonitorServiceClient,
    },
    inference::{
        InferTensorContents, ModelInferRequest, ModelInferResponse,
        grpc_inference_service_client::GrpcInferenceServiceClient, infer_parameter::ParameterChoice,
        model_infer_request::InferInputTensor,
    },
};
use lodeway_rpc::{
    Tasks, Transport, access,
    auth::Authenticator,
    layers::{Column, ColumnConfig},
    status::from_status,
};
use lodeway_store::{
    gateway::{GatewayStore, SqlGateway},
    sql::{Db, DbOptions, StoreUrl},
};
use lodeway_testkit::upstream::Upstream;
use tonic::{Code, Request, Status, service::RoutesBuilder};

/// When the clock of a test begins.
const START: i64 = 1_700_000_000_000;

/// A gateway with its store.
struct Bench {
    _folder: Arc<tempfile::TempDir>,
    store: Arc<dyn GatewayStore>,
    clock: Arc<ManualClock>,
    tasks: Tasks,
    api: EndpointServiceClient<Transport>,
    monitor: MonitorServiceClient<Transport>,
    peers: EndpointPeers,
    endpoints: Endpoints,
    scoring: GrpcInferenceServiceClient<Transport>,
}

fn config(replica: &str) -> EndpointConfig {
    EndpointConfig {
        replica: replica.to_owned(),
        window: Duration::from_secs(10),
        follow_every: Duration::from_millis(20),
        rollout_every: Duration::from_millis(10),
        ..EndpointConfig::default()
    }
}

/// A gateway by itself.
fn nobody() -> EndpointPeers {
    EndpointPeers {
        serving: None,
        registry: None,
        artifacts: None,
    }
}

impl Bench {
    async fn new() -> Self {
        Self::keeping(None).await
    }

    /// A gateway that keeps records of calls in this artifact service.
    async fn keeping(artifacts: Option<Transport>) -> Self {
        let peers = EndpointPeers {
            artifacts,
            ..nobody()
        };
        Self::with(peers, config("gw-0")).await
    }

    async fn with(peers: EndpointPeers, config: EndpointConfig) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let url = StoreUrl::Sqlite(folder.path().join("gateway.db"));
        let db = Db::open(&url, "gateway", DbOptions::default()).await.unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(START)));
        let store = SqlGateway::open(db, Timestamp::from_millis(START)).await.unwrap();
        Self::on(folder, Arc::new(store), clock, config, peers).await
    }

    async fn on(
        folder: Arc<tempfile::TempDir>,
        store: Arc<dyn GatewayStore>,
        clock: Arc<ManualClock>,
        config: EndpointConfig,
        peers: EndpointPeers,
    ) -> Self {
        let tasks = Tasks::new();
        let endpoints = Endpoints::start(store.clone(), peers.clone(), clock.clone(), tasks.clone(), config)
            .await
            .unwrap();
        let mut routes = RoutesBuilder::default();
        routes
            .add_service(endpoints.endpoint_service())
            .add_service(endpoints.monitor_service())
            .add_service(endpoints.inference_service());
        let column = Column::new(ColumnConfig::default(), Authenticator::open(), access::platform());
        let transport = Transport::local(column.wrap(routes.routes()));
        Self {
            _folder: folder,
            store,
            clock,
            tasks,
            api: EndpointServiceClient::new(transport.clone()),
            monitor: MonitorServiceClient::new(transport.clone()),
            peers,
            endpoints,
            scoring: GrpcInferenceServiceClient::new(transport),
        }
    }

    /// Another gateway over the same store.
    async fn twin(&self, replica: &str) -> Self {
        Self::on(
            self._folder.clone(),
            self.store.clone(),
            self.clock.clone(),
            config(replica),
            self.peers.clone(),
        )
        .await
    }

    /// Ends this gateway and starts another one over its store.
    async fn restart(self, replica: &str) -> Self {
        assert!(self.tasks.shutdown(Duration::from_secs(10)).await);
        self.twin(replica).await
    }

    fn turn(&self, span: Duration) {
        self.clock.advance(span);
    }

    fn api(&self) -> EndpointServiceClient<Transport> {
        self.api.clone()
    }

    async fn create(&self, name: &str, spec: wire::RevisionSpec) -> Result<wire::Endpoint, Status> {
        let request = wire::CreateEndpointRequest {
            name: name.to_owned(),
            spec: Some(spec),
            ..wire::CreateEndpointRequest::default()
        };
        let made = self.api().create_endpoint(request).await?;
        Ok(made.into_inner().endpoint.unwrap())
    }

    async fn revise(&self, name: &str, spec: wire::RevisionSpec) -> Result<wire::Endpoint, Status> {
        let request = wire::CreateRevisionRequest {
            name: name.to_owned(),
            spec: Some(spec),
            ..wire::CreateRevisionRequest::default()
        };
        let made = self.api().create_revision(request).await?;
        Ok(made.into_inner().endpoint.unwrap())
    }

    async fn get(&self, name: &str) -> Result<wire::Endpoint, Status> {
        let name = name.to_owned();
        let found = self.api().get_endpoint(wire::GetEndpointRequest { name }).await?;
        Ok(found.into_inner().endpoint.unwrap())
    }

    /// The state of a target in this gateway.
    async fn state(&self, name: &str, target: &str) -> String {
        let statuses = self.get(name).await.unwrap().target_statuses;
        let found = statuses.into_iter().find(|status| status.target == target);
        found.unwrap().state
    }

    async fn call(&self, request: Request<ModelInferRequest>) -> Result<ModelInferResponse, Status> {
        let answer = self.scoring.clone().model_infer(request).await?;
        Ok(answer.into_inner())
    }

    /// The score of one value.
    async fn score(&self, name: &str, value: f64) -> Result<f64, Status> {
        let answer = self.call(Request::new(input(name, value))).await?;
        Ok(scored(&answer))
    }

    /// The score of one value for a caller with this key.
    async fn score_for(&self, name: &str, key: &str) -> Result<f64, Status> {
        let mut request = Request::new(input(name, 0.0));
        request.metadata_mut().insert("x-user", key.parse().unwrap());
        Ok(scored(&self.call(request).await?))
    }

    /// So many calls that must not fail; how often each score came.
    async fn scores(&self, name: &str, calls: usize) -> BTreeMap<i64, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..calls {
            *counts
                .entry(self.score(name, 0.0).await.unwrap() as i64)
                .or_default() += 1;
        }
        counts
    }

    async fn measured(&self, endpoint: &str) -> Vec<wire::TargetMonitor> {
        let request = wire::QueryMonitorRequest {
            endpoint: endpoint.to_owned(),
            end_time: Some(stamp(1_000_000_000)),
            start_time: Some(stamp(-1)),
            ..wire::QueryMonitorRequest::default()
        };
        let found = self.monitor.clone().query_monitor(request).await.unwrap();
        found.into_inner().targets
    }

    /// Watches what is measured, in spans of so many seconds.
    async fn watch(
        &self,
        endpoint: &str,
        seconds: i64,
        start_time: Option<prost_types::Timestamp>,
    ) -> Result<Watch, Status> {
        let request = wire::WatchMonitorRequest {
            endpoint: endpoint.to_owned(),
            interval: Some(prost_types::Duration { seconds, nanos: 0 }),
            start_time,
        };
        let stream = self.monitor.clone().watch_monitor(request).await?;
        Ok(Watch(stream.into_inner()))
    }

    /// How many calls of a target ended with this code.
    async fn counted(&self, endpoint: &str, target: &str, code: &str) -> i64 {
        let targets = self.measured(endpoint).await;
        let mine = targets.iter().filter(|one| one.target == target);
        mine.filter_map(|one| one.outcomes.get(code)).sum()
    }
}

/// What a gateway pushes.
struct Watch(tonic::Streaming<wire::WatchMonitorResponse>);

impl Watch {
    async fn next(&mut self) -> wire::WatchMonitorResponse {
        let message = tokio::time::timeout(Duration::from_secs(20), self.0.message());
        message.await.unwrap().unwrap().unwrap()
    }

    /// The next event of a kind.
    async fn event(&mut self, kind: &str) -> wire::MonitorEvent {
        loop {
            let events = self.next().await.events;
            if let Some(event) = events.into_iter().find(|event| event.kind == kind) {
                return event;
            }
        }
    }

    /// The events of a kind that are told already, or of all kinds.
    async fn so_far(&mut self, kind: &str) -> Vec<wire::MonitorEvent> {
        let mut found = Vec::new();
        while let Ok(message) = tokio::time::timeout(Duration::from_millis(1_200), self.0.message()).await {
            found.extend(message.unwrap().unwrap().events);
        }
        found.retain(|event| kind.is_empty() || event.kind == kind);
        found
    }
}

/// A target on a scripted server.
fn target(name: &str, upstream: &Upstream, weight: u32) -> wire::Target {
    wire::Target {
        name: name.to_owned(),
        reference: upstream.reference("m"),
        weight,
        ..wire::Target::default()
    }
}

fn spec(targets: impl Into<Vec<wire::Target>>) -> wire::RevisionSpec {
    wire::RevisionSpec {
        targets: targets.into(),
        ..wire::RevisionSpec::default()
    }
}

/// The same with what a test says of timeouts, retries and the like.
fn with(mut spec: wire::RevisionSpec, resilience: wire::Resilience) -> wire::RevisionSpec {
    spec.resilience = Some(resilience);
    spec
}

/// Nothing is tried again, so that a test sees each single call.
fn no_retries() -> wire::Resilience {
    wire::Resilience {
        max_retries: Some(0),
        ..wire::Resilience::default()
    }
}

/// The same with keys from the header `x-user`.
fn sticky(mut spec: wire::RevisionSpec) -> wire::RevisionSpec {
    let source = wire::sticky_key::Source::Header("x-user".to_owned());
    spec.sticky_key = Some(wire::StickyKey { source: Some(source) });
    spec
}

fn input(name: &str, value: f64) -> ModelInferRequest {
    let contents = InferTensorContents {
        fp64_contents: vec![value],
        ..InferTensorContents::default()
    };
    let tensor = InferInputTensor {
        name: "x".to_owned(),
        datatype: "FP64".to_owned(),
        shape: vec![1],
        contents: Some(contents),
        ..InferInputTensor::default()
    };
    ModelInferRequest {
        model_name: name.to_owned(),
        inputs: vec![tensor],
        ..ModelInferRequest::default()
    }
}

fn scored(answer: &ModelInferResponse) -> f64 {
    answer.outputs[0].contents.as_ref().unwrap().fp64_contents[0]
}

/// The id that an answer carries.
fn prediction_id(answer: &ModelInferResponse) -> String {
    match &answer.parameters["prediction_id"].parameter_choice {
        Some(ParameterChoice::StringParam(id)) => id.clone(),
        other => panic!("{other:?}"),
    }
}

/// The wire's time of the clock's start and some milliseconds.
fn stamp(ms: i64) -> prost_types::Timestamp {
    let ms = START + ms;
    prost_types::Timestamp {
        seconds: ms.div_euclid(1_000),
        nanos: i32::try_from(ms.rem_euclid(1_000)).unwrap() * 1_000_000,
    }
}

fn millis(ms: u64) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(Duration::from_millis(ms)).ok()
}

fn request_id(n: u128) -> String {
    format!("{n:032x}")
}

#[track_caller]
fn refused(status: &Status, code: Code, reason: &str) {
    let failure = from_status(status);
    assert_eq!((failure.code, &*failure.reason), (code, reason), "{status:?}");
}

/// Waits until `check` gives something.
async fn until<T>(mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "it never happened");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
