//! Builds the services that run in this process, in the order of peers, and puts them behind one listener.
//!
//! A service that runs here is a peer in this process; one that has an address is connected at first use, so the order
//! of starting does not matter; one that is neither is absent, and what needs it goes without.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use axum::Router;
use lodeway_artifacts::Artifacts;
use lodeway_domain::time::{Clock, SystemClock};
use lodeway_evaluation::Evaluation;
use lodeway_gateway::{EndpointConfig, EndpointPeers, Endpoints, Gateway, Llm};
use lodeway_proto::{
    DESCRIPTOR_SET,
    artifacts::v1::{artifact_service_client::ArtifactServiceClient, artifact_service_server},
    evaluation::v1::{dataset_service_server, evaluation_service_server, outcome_service_server},
    gateway::v1::{endpoint_service_server, llm_service_server, monitor_service_server},
    inference::grpc_inference_service_server,
    registry::v1::{
        promotion_service_server, registry_service_client::RegistryServiceClient, registry_service_server,
    },
    serving::v1::deployment_service_server,
    tracking::v1::{tracking_service_client::TrackingServiceClient, tracking_service_server},
};
use lodeway_registry::Registry;
use lodeway_rpc::{
    Tasks, Transport, access,
    auth::{Authenticator, TokenTable},
    layers::{Column, Layered},
    serve::{Health, Reflection, Server, default_router, merge, platform_routes, proxy},
    telemetry::Metrics,
};
use lodeway_serving::{Runtimes, Serving, runtime::OnnxLibrary};
use lodeway_store::{
    artifacts::{self, ArtifactStore, Holds, Roots, SqlDigestIndex},
    evaluation::SqlEvaluation,
    gateway::SqlGateway,
    migrate,
    registry::SqlRegistry,
    serving::SqlDeployments,
    sql::{Db, DbOptions, Engine, OpenError, StoreUrl},
    tracking::SqlTracking,
};
use lodeway_tracking::Tracking;
use tonic::service::Routes;

use crate::{
    config::{Config, Peer, ServiceName},
    direct_files::DirectFiles,
    runtimes,
    settings::{self, EdgeEnvironment},
};

const ARTIFACT_SERVICE: &str = artifact_service_server::SERVICE_NAME;
const TRACKING_SERVICE: &str = tracking_service_server::SERVICE_NAME;
const REGISTRY_SERVICE: &str = registry_service_server::SERVICE_NAME;
const PROMOTION_SERVICE: &str = promotion_service_server::SERVICE_NAME;
const DEPLOYMENT_SERVICE: &str = deployment_service_server::SERVICE_NAME;
const INFERENCE_SERVICE: &str = grpc_inference_service_server::SERVICE_NAME;
const ENDPOINT_SERVICE: &str = endpoint_service_server::SERVICE_NAME;
const DATASET_SERVICE: &str = dataset_service_server::SERVICE_NAME;
const EVALUATION_SERVICE: &str = evaluation_service_server::SERVICE_NAME;
const OUTCOME_SERVICE: &str = outcome_service_server::SERVICE_NAME;
const MONITOR_SERVICE: &str = monitor_service_server::SERVICE_NAME;
const LLM_SERVICE: &str = llm_service_server::SERVICE_NAME;

/// Everything that runs in this process.
pub struct House {
    server: Server,
    grpc: Layered,
    rest: Router,
    tasks: Tasks,
    databases: Vec<Db>,
}

/// What the services share while they are built.
struct Site<'a> {
    config: &'a Config,
    column: Column,
    tasks: Tasks,
    clock: Arc<dyn Clock>,
    databases: Vec<Db>,
    routes: Vec<Routes>,
    served: Vec<&'static str>,
    /// Of those, what runs elsewhere and is passed through.
    passed: Vec<(&'static str, Transport)>,
    /// Of those, what answers nothing without its database. The gateway and the model host go on without theirs.
    stored: Vec<(Vec<&'static str>, Db)>,
}

impl House {
    /// Opens the stores, builds the services and binds the listener.
    pub async fn build(config: &Config, edge: &EdgeEnvironment, metrics: Metrics) -> Result<Self> {
        let tasks = Tasks::new();
        let rules = access::platform().with(&lodeway_gateway::access_rules());
        let callers = authenticator(config)?;
        if callers.is_closed() {
            tasks.spawn_until_stop(callers.clone().follow_table(config.auth.token_table.clone()));
        }
        let column = Column::new(config.calls.clone(), callers, rules);
        let mut site = Site {
            config,
            column,
            tasks: tasks.clone(),
            clock: Arc::new(SystemClock),
            databases: Vec::new(),
            routes: Vec::new(),
            served: Vec::new(),
            passed: Vec::new(),
            stored: Vec::new(),
        };
        let (artifacts, store) = site.artifacts().await?;
        let tracking = site.tracking(artifacts.clone(), store.as_ref()).await?;
        let registry = site.registry(tracking.clone(), artifacts.clone()).await?;
        let serving = site.serving(edge, registry.clone(), artifacts.clone()).await?;
        let (front, gateway) = site
            .endpoints(serving.clone(), registry.clone(), artifacts.clone())
            .await?;
        let (endpoints, llm) = front.unzip();
        let evaluation = site
            .evaluation(lodeway_evaluation::Peers {
                artifacts: artifacts.clone(),
                tracking: tracking.clone(),
                registry: registry.clone(),
                serving: serving.clone(),
                gateway,
            })
            .await?;
        let rest = site.edge(
            edge,
            [tracking, registry, artifacts, serving, evaluation],
            store,
            (endpoints.clone(), llm),
            metrics,
        )?;

        let health = Health::new();
        for service in &site.served {
            health.set(service, true).await;
        }
        for (service, peer) in &site.passed {
            health.follow(service, peer.clone(), &tasks);
        }
        // A database file has no server that could go away.
        let remote = |(_, db): &(_, Db)| db.engine() == Engine::Postgres;
        for (services, db) in site.stored.into_iter().filter(remote) {
            health.need(services, &tasks, move || {
                let db = db.clone();
                async move { db.answers().await }
            });
        }
        let mut reflection = Reflection::new(&[DESCRIPTOR_SET], &site.served)?;
        if let Some(endpoints) = endpoints {
            reflection = reflection.with_changing(Arc::new(endpoints), site.column.is_closed());
        }
        site.routes.push(platform_routes(&health, &reflection));
        let address: SocketAddr = config.listen.parse().context("`listen` is not ADDRESS:PORT")?;
        let server = Server::bind(address, config.server.clone(), health, tasks.clone())
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        let grpc = site.column.wrap(merge(site.routes));
        Ok(Self {
            server,
            grpc,
            rest,
            tasks,
            databases: site.databases,
        })
    }

    /// The address of the listener.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.server.local_addr()?)
    }

    /// Serves until `shutdown`, drains, and closes the databases.
    pub async fn serve(self, shutdown: impl Future<Output = ()>, grace: Duration) {
        self.server.serve(self.grpc, self.rest, shutdown, grace).await;
        self.tasks.shutdown(grace).await;
        for db in self.databases {
            db.close().await;
        }
    }
}

impl Site<'_> {
    /// A service that runs here: mounted, and as a peer for the services after it.
    fn mount(&mut self, name: &'static str, routes: Routes) -> Transport {
        let peer = Transport::local(self.column.wrap(routes.clone()));
        self.routes.push(routes);
        self.served.push(name);
        peer
    }

    /// A service that does not run here, if it is anywhere.
    fn elsewhere(&self, peer: &Peer) -> Result<Option<Transport>> {
        let Peer::At(url) = peer else { return Ok(None) };
        let token = self.config.peer_token.clone();
        let token = (!token.reveal().is_empty()).then_some(token);
        let own = Some(self.config.peers.token.clone()).filter(|token| !token.reveal().is_empty());
        let peer = Transport::remote(url)?.with_peer_token(token);
        Ok(Some(peer.with_credentials(own)))
    }

    async fn database(&mut self, service: &str) -> Result<Db> {
        let db = open_database(self.config, service).await?;
        self.databases.push(db.clone());
        Ok(db)
    }

    async fn artifacts(&mut self) -> Result<(Option<Transport>, Option<ArtifactStore>)> {
        if !self.config.runs(ServiceName::Artifacts) {
            return Ok((self.elsewhere(&self.config.peers.artifacts)?, None));
        }
        let db = self.database("artifacts").await?;
        let brought = migrate::apply(&db, artifacts::MIGRATIONS, self.clock.now()).await;
        brought.with_context(|| cannot_open(self.config, "artifacts"))?;
        self.stored.push((vec![ARTIFACT_SERVICE], db.clone()));
        let (index, holds) = (SqlDigestIndex::new(db.clone()), Holds::new(db));
        let roots = Roots::open(&self.config.root_settings()).await?;
        let mut store = ArtifactStore::new(roots, Arc::new(index), self.clock.clone()).with_holds(holds);
        if !knows_services(self.config) {
            tracing::warn!(
                "services of the platform run elsewhere, and without `peer_token` they are as anybody: the folders of datasets, evaluations and endpoints are not guarded"
            );
            store = store.with_open_folders();
        }
        let service = Artifacts::new(store.clone(), self.clock.clone());
        let peer = self.mount(ARTIFACT_SERVICE, Routes::new(service.into_service()));
        Ok((Some(peer), Some(store)))
    }

    async fn tracking(
        &mut self,
        artifacts: Option<Transport>,
        files: Option<&ArtifactStore>,
    ) -> Result<Option<Transport>> {
        if !self.config.runs(ServiceName::Tracking) {
            return self.elsewhere(&self.config.peers.tracking);
        }
        let db = self.database("tracking").await?;
        self.stored.push((vec![TRACKING_SERVICE], db.clone()));
        let opened = SqlTracking::open(db, self.clock.now()).await;
        let mut store = opened.with_context(|| cannot_open(self.config, "tracking"))?;
        if let Some(files) = files {
            store = store.with_artifact_roots(files.roots().clone());
        } else if !self.config.artifacts.url.is_empty() {
            // The artifact service is elsewhere; what its places are called tells which of them are the same.
            store = store.with_artifact_roots(Roots::named(&self.config.root_settings())?);
        }
        let settings = lodeway_tracking::TrackingConfig {
            default_artifact_root: self.config.default_root(),
        };
        let peers = lodeway_tracking::Peers {
            artifacts: artifacts.map(ArtifactServiceClient::new),
        };
        let service = Tracking::new(Arc::new(store), peers, settings, self.clock.clone(), &self.tasks);
        Ok(Some(
            self.mount(TRACKING_SERVICE, Routes::new(service.into_service())),
        ))
    }

    async fn registry(
        &mut self,
        tracking: Option<Transport>,
        artifacts: Option<Transport>,
    ) -> Result<Option<Transport>> {
        if !self.config.runs(ServiceName::Registry) {
            return self.elsewhere(&self.config.peers.registry);
        }
        let db = self.database("registry").await?;
        self.stored
            .push((vec![REGISTRY_SERVICE, PROMOTION_SERVICE], db.clone()));
        let opened = SqlRegistry::open(db, self.clock.now()).await;
        let store = opened.with_context(|| cannot_open(self.config, "registry"))?;
        let peers = lodeway_registry::Peers {
            tracking: tracking.map(TrackingServiceClient::new),
            artifacts: artifacts.map(ArtifactServiceClient::new),
        };
        let service = Registry::new(Arc::new(store), peers, self.clock.clone(), self.tasks.clone());
        let promotion = Routes::new(service.clone().into_promotion_service());
        self.served.push(PROMOTION_SERVICE);
        let routes = merge([Routes::new(service.into_service()), promotion]);
        Ok(Some(self.mount(REGISTRY_SERVICE, routes)))
    }

    /// The model host. Its scoring service is on the listener only where no gateway is: with one, that scores.
    async fn serving(
        &mut self,
        edge: &EdgeEnvironment,
        registry: Option<Transport>,
        artifacts: Option<Transport>,
    ) -> Result<Option<Transport>> {
        if !self.config.runs(ServiceName::Serving) {
            return self.elsewhere(&self.config.peers.serving);
        }
        let db = self.database("serving").await?;
        let opened = SqlDeployments::open(db, self.clock.now()).await;
        let store = opened.with_context(|| cannot_open(self.config, "serving"))?;
        let python = runtimes::python(self.config, edge, &self.tasks)?;
        let runtimes = Runtimes {
            onnx: OnnxLibrary::at(runtimes::onnx_library(self.config, edge)),
            python: Some(python),
        };
        let peers = lodeway_serving::Peers {
            registry: registry.map(RegistryServiceClient::new),
            artifacts: artifacts.map(ArtifactServiceClient::new),
        };
        let settings = lodeway_serving::ServingConfig {
            models_dir: runtimes::models_dir(self.config)?,
            memory_budget_bytes: self.config.serving.memory_budget.0,
            allow_folders: self.config.serving.allow_folders,
        };
        let tasks = self.tasks.clone();
        let service = Serving::new(
            Arc::new(store),
            peers,
            runtimes,
            self.clock.clone(),
            tasks,
            settings,
        )
        .await?;
        let deployments = Routes::new(service.deployments());
        let inference = Routes::new(service.inference());
        let peer = merge([deployments.clone(), inference.clone()]);
        self.routes.push(deployments);
        self.served.push(DEPLOYMENT_SERVICE);
        if !self.config.runs(ServiceName::Gateway) {
            self.routes.push(inference);
            self.served.push(INFERENCE_SERVICE);
        }
        Ok(Some(Transport::local(self.column.wrap(peer))))
    }

    /// Endpoints and routes to language models, where the gateway runs, and what evaluation asks of them.
    async fn endpoints(
        &mut self,
        serving: Option<Transport>,
        registry: Option<Transport>,
        artifacts: Option<Transport>,
    ) -> Result<(Option<(Endpoints, Llm)>, Option<Transport>)> {
        if !self.config.runs(ServiceName::Gateway) {
            return Ok((None, self.elsewhere(&self.config.peers.gateway)?));
        }
        let db = self.database("gateway").await?;
        let opened = SqlGateway::open(db, self.clock.now()).await;
        let store = opened.with_context(|| cannot_open(self.config, "gateway"))?;
        let keys = settings::llm_keys(self.config)?;
        let llm = Llm::new(Arc::new(store.clone()), keys, self.clock.clone())?;
        let own = &self.config.endpoints;
        let default = EndpointConfig::default();
        let settings = EndpointConfig {
            replica: Some(own.replica.clone())
                .filter(|name| !name.is_empty())
                .unwrap_or(default.replica),
            window: own.window.get(),
            window_retention: own.window_retention.get(),
            sampled_calls_per_second: own.sampled_calls_per_second,
            recorded_calls_per_second: own.recorded_calls_per_second,
            record_flush: own.record_flush.get(),
            record_retention: own.record_retention.get(),
            follow_every: own.follow_every.get(),
            rollout_every: own.rollout_every.get(),
            drift_psi: own.drift_psi,
            drift_min_samples: own.drift_min_samples,
            drift_window: own.drift_window.get(),
            drift_every: own.drift_every.get(),
            one_model: own.one_model,
        };
        let peers = EndpointPeers {
            serving,
            registry,
            // A server of one model is no service of the platform that it fetches from, and may not keep records there.
            artifacts: artifacts.filter(|_| !own.one_model),
        };
        let tasks = self.tasks.clone();
        let endpoints = Endpoints::start(Arc::new(store), peers, self.clock.clone(), tasks, settings).await?;
        let asked = merge([
            Routes::new(endpoints.endpoint_service()),
            Routes::new(endpoints.monitor_service()),
            Routes::new(endpoints.inference_service()),
            Routes::new(llm.service()),
        ]);
        self.routes.push(asked.clone());
        self.routes.push(endpoints.typed_services());
        self.served
            .extend([ENDPOINT_SERVICE, MONITOR_SERVICE, INFERENCE_SERVICE, LLM_SERVICE]);
        Ok((
            Some((endpoints, llm)),
            Some(Transport::local(self.column.wrap(asked))),
        ))
    }

    /// Datasets, evaluations and outcomes. It stands after the gateway, which only passes its calls on.
    async fn evaluation(&mut self, peers: lodeway_evaluation::Peers) -> Result<Option<Transport>> {
        if !self.config.runs(ServiceName::Evaluation) {
            return self.elsewhere(&self.config.peers.evaluation);
        }
        let db = self.database("evaluation").await?;
        let evaluating = vec![DATASET_SERVICE, EVALUATION_SERVICE, OUTCOME_SERVICE];
        self.stored.push((evaluating, db.clone()));
        let opened = SqlEvaluation::open(db, self.clock.now()).await;
        let store = opened.with_context(|| cannot_open(self.config, "evaluation"))?;
        let settings = lodeway_evaluation::EvaluationConfig {
            work_dir: self.config.data_dir.join("evaluation"),
            max_running: usize::try_from(self.config.evaluation.max_running)?,
            max_upload_bytes: self.config.evaluation.max_upload.0,
            live_delay: self.config.evaluation.live_delay.get(),
            live_window: self.config.evaluation.live_window.get(),
            window_delay: self.config.evaluation.window_delay.get(),
        };
        let (clock, tasks) = (self.clock.clone(), self.tasks.clone());
        let service = Evaluation::start(store, peers, clock, tasks, settings).await?;
        let mut all = Vec::new();
        for (name, routes) in service.services() {
            self.routes.push(routes.clone());
            self.served.push(name);
            all.push(routes);
        }
        Ok(Some(Transport::local(self.column.wrap(merge(all)))))
    }

    /// The REST side of the listener; with the gateway also every service that runs elsewhere, passed through.
    fn edge(
        &mut self,
        edge: &EdgeEnvironment,
        [tracking, registry, artifacts, serving, evaluation]: [Option<Transport>; 5],
        store: Option<ArtifactStore>,
        (endpoints, llm): (Option<Endpoints>, Option<Llm>),
        metrics: Metrics,
    ) -> Result<Router> {
        if !self.config.runs(ServiceName::Gateway) {
            return Ok(default_router(Some(metrics)));
        }
        let passed = [
            (TRACKING_SERVICE, &tracking),
            (REGISTRY_SERVICE, &registry),
            (PROMOTION_SERVICE, &registry),
            (ARTIFACT_SERVICE, &artifacts),
            (DEPLOYMENT_SERVICE, &serving),
            (DATASET_SERVICE, &evaluation),
            (EVALUATION_SERVICE, &evaluation),
            (OUTCOME_SERVICE, &evaluation),
        ];
        for (name, peer) in passed {
            if let Some(peer) = peer.as_ref().filter(|peer| !peer.is_local()) {
                self.routes.push(proxy(&[name], peer));
                self.served.push(name);
                self.passed.push((name, peer.clone()));
            }
        }
        let absent = || Transport::local(self.column.wrap(merge([])));
        let peers = lodeway_gateway::Peers {
            tracking: tracking.unwrap_or_else(absent),
            registry: registry.unwrap_or_else(absent),
            artifacts: artifacts.unwrap_or_else(absent),
        };
        let configured =
            Some(self.config.registry.source_regex.clone()).filter(|pattern| !pattern.is_empty());
        let pattern = configured
            .or_else(|| edge.source_regex.clone())
            .unwrap_or_default();
        let settings = lodeway_gateway::Config {
            working_dir: edge.working_dir.clone(),
            truncate_long_values: edge.truncate_long_values.unwrap_or(true),
            multipart_uploads: is_bucket(&self.config.artifacts.url),
            ..lodeway_gateway::Config::default()
        }
        .with_model_version_source_regex(&pattern)
        .context("`registry.source_regex`")?;
        let mut gateway = Gateway::new(peers, settings);
        if let Some(store) = store {
            gateway = gateway.with_artifact_bytes(Arc::new(DirectFiles(store)));
        }
        if let Some(endpoints) = endpoints {
            gateway = gateway.with_endpoints(endpoints);
        }
        if let Some(llm) = llm {
            gateway = gateway.with_llm(llm);
        }
        let metrics = Router::new().route("/metrics", axum::routing::get(async move || metrics.render()));
        Ok(self
            .column
            .wrap_rest(gateway.into_router().merge(metrics), lodeway_gateway::refuse))
    }
}

/// Brings the databases of the services in `config` to the newest schema; gives their addresses, without passwords.
pub async fn migrate(config: &Config) -> Result<Vec<(&'static str, String)>> {
    let mut done = Vec::new();
    for (name, service) in [
        ("artifacts", ServiceName::Artifacts),
        ("tracking", ServiceName::Tracking),
        ("registry", ServiceName::Registry),
        ("serving", ServiceName::Serving),
        ("gateway", ServiceName::Gateway),
        ("evaluation", ServiceName::Evaluation),
    ] {
        if !config.runs(service) {
            continue;
        }
        let db = open_database(config, name).await?;
        let brought = bring(&db, service).await;
        db.close().await;
        brought.with_context(|| cannot_open(config, name))?;
        done.push((name, database_url(config, name)?.to_string()));
    }
    Ok(done)
}

/// Brings the tables of `service` to the newest schema.
async fn bring(db: &Db, service: ServiceName) -> Result<(), OpenError> {
    let now = SystemClock.now();
    match service {
        ServiceName::Artifacts => migrate::apply(db, artifacts::MIGRATIONS, now).await,
        ServiceName::Tracking => SqlTracking::open(db.clone(), now).await.map(drop),
        ServiceName::Registry => SqlRegistry::open(db.clone(), now).await.map(drop),
        ServiceName::Serving => SqlDeployments::open(db.clone(), now).await.map(drop),
        ServiceName::Gateway => SqlGateway::open(db.clone(), now).await.map(drop),
        ServiceName::Evaluation => SqlEvaluation::open(db.clone(), now).await.map(drop),
    }
}

fn database_url(config: &Config, service: &str) -> Result<StoreUrl> {
    Ok(match config.store.url.reveal().as_str() {
        "" => StoreUrl::Sqlite(config.data_dir.join(format!("{service}.db"))),
        url => StoreUrl::parse(url)?,
    })
}

async fn open_database(config: &Config, service: &str) -> Result<Db> {
    let url = database_url(config, service)?;
    let options = DbOptions {
        pool_size: config.store.pool_size,
        plans_once: service == "registry",
        ..DbOptions::default()
    };
    let opened = Db::open(&url, service, options).await;
    opened.with_context(|| cannot_open(config, service))
}

/// Whose database it is that cannot be used, and where it is; without a password.
fn cannot_open(config: &Config, service: &str) -> String {
    match database_url(config, service) {
        Ok(url) => format!("cannot open the database of {service}, {url}"),
        Err(_) => format!("cannot open the database of {service}"),
    }
}

/// True for a URL of a bucket, which gives addresses for uploads in parts; a folder does not.
fn is_bucket(url: &str) -> bool {
    url.contains("://") && !url.starts_with("file://")
}

/// Whether callers that write to the platform's own folders show that they are services of it: they run here, share a token
/// with this process, or callers need credentials anyway.
fn knows_services(config: &Config) -> bool {
    let run_here = config.runs(ServiceName::Gateway) && config.runs(ServiceName::Evaluation);
    let is_closed = !config.auth.token_table.as_os_str().is_empty();
    run_here || is_closed || !config.peer_token.reveal().is_empty()
}

fn authenticator(config: &Config) -> Result<Authenticator> {
    let open = match config.auth.token_table.as_os_str().is_empty() {
        true => Authenticator::open(),
        false => Authenticator::with_table(TokenTable::load(&config.auth.token_table)?),
    };
    let token = Some(&config.peer_token).filter(|token| !token.reveal().is_empty());
    Ok(open.trusting_peers(token))
}
