//! Endpoints: what is behind a name, and the way of a call to it.
//!
//! The way of a call: `table` gives the endpoint's [`Route`] (an immutable snapshot, no lock, no database), `choose` says
//! which target, `forward` calls it (an `upstream`) within its deadline, tries again where that is safe, stamps the answer
//! with its prediction id, and tells `measure` and `shadow`. Beside it: `manage` makes endpoints and revisions, `resolve`
//! finds out what a target means and gets it ready (by what its `host` says), `outside` does so for models on other servers,
//! `records` keeps single predictions, `follow` keeps the table fresh, `monitor` merges what all gateways measured,
//! `rollouts` moves traffic by steps, `drift` tells of shifted values, `typed` gives each endpoint a gRPC service of its own,
//! `alone` is what a server of one model adds.

pub(crate) mod alone;
pub(crate) mod choose;
pub(crate) mod drift;
pub(crate) mod events;
pub(crate) mod follow;
pub(crate) mod forward;
mod host;
mod known;
pub(crate) mod manage;
pub(crate) mod measure;
pub(crate) mod monitor;
mod outside;
pub(crate) mod records;
pub(crate) mod resolve;
pub(crate) mod rollouts;
pub(crate) mod shadow;
pub(crate) mod spans;
pub(crate) mod streams;
pub(crate) mod table;
pub(crate) mod typed;
pub(crate) mod upstream;
pub(crate) mod watch;

use std::{sync::Arc, time::Duration};

use lodeway_domain::{
    Caller, Error, Result,
    caller::Workspace,
    serving::{PredictionKey, PredictionKeys},
    time::Clock,
};
use lodeway_proto::{
    gateway::v1::{
        endpoint_service_server::EndpointServiceServer, monitor_service_server::MonitorServiceServer,
    },
    inference::{
        grpc_inference_service_client::GrpcInferenceServiceClient,
        grpc_inference_service_server::GrpcInferenceServiceServer,
    },
    registry::v1::registry_service_client::RegistryServiceClient,
    serving::v1::deployment_service_client::DeploymentServiceClient,
};
use lodeway_rpc::{CallContext, Tasks, Transport};
use lodeway_store::gateway::{GatewayStore, Window};

use self::table::Table;

/// An input or an answer may be this large.
pub(crate) const MAX_INPUT_BYTES: usize = 256 << 20;

/// The peers that endpoints need.
#[derive(Clone)]
pub struct EndpointPeers {
    /// Holds the models; none: only targets on other servers can be served.
    pub serving: Option<Transport>,
    /// Says what references mean and when that changes; none: as above.
    pub registry: Option<Transport>,
    /// Keeps records of single calls; none: none are kept.
    pub artifacts: Option<Transport>,
}

/// What endpoints may be told.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// This process among several gateways; the same after a restart, it goes on with its rollouts at once.
    pub replica: String,
    /// How long one window of measurements is.
    pub window: Duration,
    /// How long windows are kept.
    pub window_retention: Duration,
    /// Calls a second and target whose values go into distributions; the rest is only counted.
    pub sampled_calls_per_second: u32,
    /// Calls a second and endpoint whose predictions are recorded; calls that are kept whole come on top.
    pub recorded_calls_per_second: u32,
    /// How long a recorded prediction waits at most until it is written.
    pub record_flush: Duration,
    /// How long recorded predictions are kept.
    pub record_retention: Duration,
    /// How often targets that are not ready are looked at again, and followed references compared with the registry.
    pub follow_every: Duration,
    /// How often rollouts are looked at.
    pub rollout_every: Duration,
    /// The population stability index beyond chance above which values of a target have shifted; 0: nobody looks.
    pub drift_psi: f64,
    /// Values of an input or output before anything is said of its shift.
    pub drift_min_samples: u64,
    /// Over which span it is looked for.
    pub drift_window: Duration,
    /// How often.
    pub drift_every: Duration,
    /// True for a server of one model alone, which is healthy only when that model is ready.
    pub one_model: bool,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            replica: lodeway_domain::id::new_hex(),
            window: Duration::from_secs(10),
            window_retention: Duration::from_secs(30 * 24 * 3_600),
            sampled_calls_per_second: 200,
            recorded_calls_per_second: 100,
            record_flush: Duration::from_secs(30),
            record_retention: Duration::from_secs(30 * 24 * 3_600),
            follow_every: Duration::from_secs(2),
            rollout_every: Duration::from_secs(1),
            drift_psi: 0.25,
            drift_min_samples: 500,
            drift_window: Duration::from_secs(600),
            drift_every: Duration::from_secs(30),
            one_model: false,
        }
    }
}

/// All endpoints of this process. Clones share them.
#[derive(Clone)]
pub struct Endpoints(pub(crate) Arc<Shared>);

/// What the parts of the way share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn GatewayStore>,
    pub(crate) table: Table,
    pub(crate) serving: Option<Arc<ServingClients>>,
    pub(crate) registry: Option<RegistryServiceClient<Transport>>,
    pub(crate) keys: PredictionKeys,
    pub(crate) events: events::Events,
    pub(crate) drift: drift::Alarms,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    pub(crate) config: EndpointConfig,
    /// Who measures: this process, so that another one under the same name does not write over its windows.
    pub(crate) measurer: String,
    /// Records of single calls.
    pub(crate) records: records::Records,
    /// Who writes them, in names of files.
    pub(crate) writer: String,
    /// Windows that the store did not take; held while windows are written.
    pub(crate) unsent: tokio::sync::Mutex<Vec<Window>>,
}

/// The model host as the gateway calls it.
#[derive(Clone)]
pub(crate) struct ServingClients {
    pub(crate) deployments: DeploymentServiceClient<Transport>,
    pub(crate) inference: GrpcInferenceServiceClient<Transport>,
}

impl Endpoints {
    /// Endpoints as they were left, ready to serve before registry and model host answer. Needs a tokio runtime.
    pub async fn start(
        store: Arc<dyn GatewayStore>,
        peers: EndpointPeers,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        config: EndpointConfig,
    ) -> Result<Self> {
        let secret = store.secret("predictions-1", fresh_secret()?).await?;
        let keys = PredictionKeys::new(PredictionKey::new(1, &secret), Vec::new())?;
        let serving = peers.serving.map(|transport| {
            Arc::new(ServingClients {
                deployments: DeploymentServiceClient::new(transport.clone())
                    .max_decoding_message_size(MAX_INPUT_BYTES),
                inference: GrpcInferenceServiceClient::new(transport)
                    .max_decoding_message_size(MAX_INPUT_BYTES)
                    .max_encoding_message_size(MAX_INPUT_BYTES),
            })
        });
        let registry = peers.registry.map(RegistryServiceClient::new);
        let (records, inbox) = records::Records::new(peers.artifacts);
        let endpoints = Self(Arc::new(Shared {
            store,
            table: Table::default(),
            serving,
            registry,
            keys,
            events: events::Events::default(),
            drift: drift::Alarms::default(),
            clock,
            tasks,
            measurer: format!("{}/{}", config.replica, lodeway_domain::id::new_hex()),
            config,
            records,
            writer: lodeway_domain::id::new_hex(),
            unsent: tokio::sync::Mutex::default(),
        }));
        endpoints.begin_following().await?;
        endpoints.begin_flushing();
        if let Some(inbox) = inbox {
            endpoints.begin_recording(inbox);
        }
        endpoints.begin_rollouts();
        endpoints.begin_looking_for_drift();
        Ok(endpoints)
    }

    /// The service that keeps endpoints and rollouts.
    pub fn endpoint_service(&self) -> EndpointServiceServer<Self> {
        lodeway_rpc::unpacking!(EndpointServiceServer::new(self.clone()))
    }

    /// The service that says what happened to traffic.
    pub fn monitor_service(&self) -> MonitorServiceServer<Self> {
        lodeway_rpc::unpacking!(MonitorServiceServer::new(self.clone()))
    }

    /// The service that scores.
    pub fn inference_service(&self) -> GrpcInferenceServiceServer<Self> {
        lodeway_rpc::unpacking!(GrpcInferenceServiceServer::new(self.clone()))
            .max_decoding_message_size(MAX_INPUT_BYTES)
            .max_encoding_message_size(MAX_INPUT_BYTES)
    }
}

/// 32 bytes nobody can guess. Errors: a system without randomness.
fn fresh_secret() -> Result<[u8; 32]> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|e| Error::internal(e.to_string()))?;
    Ok(secret)
}

/// The context of work that no caller waits for.
pub(crate) fn own_context(workspace: &Workspace) -> CallContext {
    CallContext::new(Caller::gateway(workspace.clone()))
}
