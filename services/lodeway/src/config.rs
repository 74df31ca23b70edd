//! The configuration of the process: one value, read once in `main` and handed down in parts.
//!
//! Later wins: the defaults (always a working house), the file, `LODEWAY_…` variables, flags.

use std::{collections::BTreeMap, path::PathBuf};

use lodeway_rpc::{
    config::{ByteSize, HumanDuration, Secret},
    layers::ColumnConfig,
    serve::ServeConfig,
    telemetry::TelemetryConfig,
};
use lodeway_store::artifacts::RootSettings;
use lodeway_worker::Unfenced;
use serde::{Deserialize, Serialize, Serializer};

use crate::secrets;

mod faults;

/// A service that can run in this process.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum ServiceName {
    /// Artifact files.
    Artifacts,
    /// Experiments, runs, metrics, logged models.
    Tracking,
    /// Registered models, versions, stages, aliases.
    Registry,
    /// The model host: model versions in memory, scored.
    Serving,
    /// The edge: MLflow's REST API, endpoints, and every service passed through.
    Gateway,
    /// Datasets, evaluations, outcomes.
    Evaluation,
}

/// Where a peer is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Peer {
    /// In this process.
    #[default]
    Local,
    /// At this address.
    At(url::Url),
    /// Nowhere: what needs it goes without.
    None,
}

impl TryFrom<String> for Peer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "local" => Ok(Self::Local),
            "none" => Ok(Self::None),
            other => match url::Url::parse(other) {
                Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Self::At(url)),
                _ => Err(format!(
                    "`{other}` is neither `local`, `none` nor an http:// or https:// address"
                )),
            },
        }
    }
}

impl From<Peer> for String {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Local => "local".to_owned(),
            Peer::None => "none".to_owned(),
            // A configuration is shown; calls go by the address itself.
            Peer::At(url) => secrets::hidden_in_address(url.as_str()),
        }
    }
}

/// Shows where the database is, without its password; nothing at all of what is not surely an address.
fn shown_database<S: Serializer>(url: &Secret<String>, serializer: S) -> Result<S::Ok, S::Error> {
    match secrets::hidden_in_database(url.reveal()) {
        Some(shown) => serializer.serialize_str(&shown),
        None => url.serialize(serializer),
    }
}

/// The whole configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What runs here.
    pub services: Vec<ServiceName>,
    /// Databases and, by default, artifacts.
    pub data_dir: PathBuf,
    /// One port for gRPC, gRPC-web and REST.
    pub listen: String,
    /// How long calls at work may take after SIGTERM.
    pub shutdown_grace: HumanDuration,
    /// The databases.
    pub store: StoreConfig,
    /// The files.
    pub artifacts: ArtifactsConfig,
    /// Where services that do not run here are.
    pub peers: Peers,
    /// Shared by processes that trust each other's word on who is calling.
    pub peer_token: Secret<String>,
    /// Who may call.
    pub auth: AuthConfig,
    /// The registry's own.
    pub registry: RegistryConfig,
    /// The model host's own.
    pub serving: ServingConfig,
    /// The endpoints' own.
    pub endpoints: EndpointsConfig,
    /// Evaluation's own.
    pub evaluation: EvaluationConfig,
    /// Routes to language models.
    pub llm: LlmConfig,
    /// Bounds on calls.
    pub calls: ColumnConfig,
    /// Bounds on connections.
    pub server: ServeConfig,
    /// Logs, traces.
    pub telemetry: TelemetryConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            services: vec![
                ServiceName::Artifacts,
                ServiceName::Tracking,
                ServiceName::Registry,
                ServiceName::Serving,
                ServiceName::Gateway,
                ServiceName::Evaluation,
            ],
            data_dir: "./lodeway-data".into(),
            listen: "127.0.0.1:5000".to_owned(),
            shutdown_grace: HumanDuration::secs(20),
            store: StoreConfig::default(),
            artifacts: ArtifactsConfig::default(),
            peers: Peers::default(),
            peer_token: Secret::default(),
            auth: AuthConfig::default(),
            registry: RegistryConfig::default(),
            serving: ServingConfig::default(),
            endpoints: EndpointsConfig::default(),
            evaluation: EvaluationConfig::default(),
            llm: LlmConfig::default(),
            calls: ColumnConfig::default(),
            server: ServeConfig::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

/// The databases.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Empty: one SQLite file a service in `data_dir`; or `postgres://…/database`, one schema a service.
    #[serde(serialize_with = "shown_database")]
    pub url: Secret<String>,
    /// PostgreSQL connections of each service.
    pub pool_size: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            pool_size: 8,
        }
    }
}

/// The files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArtifactsConfig {
    /// Where `mlflow-artifacts:` is: a folder or a bucket's URL; empty: `data_dir/artifacts`.
    pub url: String,
    /// The location that new experiments get below; empty: `mlflow-artifacts:/`.
    pub default_root: String,
    /// Further roots that the server may open, as experiments name them in `artifact_location`.
    pub allow_roots: Vec<String>,
    /// Options of the bucket's client, such as `aws_endpoint`, `aws_region`, `aws_access_key_id`.
    pub options: BTreeMap<String, Secret<String>>,
}

/// Where services that do not run here are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Peers {
    /// Artifact files.
    pub artifacts: Peer,
    /// Experiments and runs.
    pub tracking: Peer,
    /// Registered models.
    pub registry: Peer,
    /// The model host.
    pub serving: Peer,
    /// Endpoints and LLM routes, which evaluation asks.
    pub gateway: Peer,
    /// Datasets and evaluations, which the gateway passes on to.
    pub evaluation: Peer,
    /// With which bearer token this process calls them where they and it have no `peer_token` in common; empty: with that of
    /// whoever calls.
    pub token: Secret<String>,
}

/// Who may call.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// A file of users and hashed tokens; empty: everybody may call, and nobody is verified.
    pub token_table: PathBuf,
}

/// The registry's own.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// A regular expression that sources of model versions must match over the REST API; empty: any.
    pub source_regex: String,
}

/// The model host's own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServingConfig {
    /// Fetched models; empty: `data_dir/models`.
    pub models_dir: PathBuf,
    /// What all models in memory may hold together.
    pub memory_budget: ByteSize,
    /// Whether folders of this machine are served (`file:///…`).
    pub allow_folders: bool,
    /// The shared library of ONNX Runtime; empty: what `lodeway runtime install onnx` fetched, if it was run.
    pub onnx_library: PathBuf,
    /// The interpreter for Python models; empty: that of the active virtual environment, else `python3`.
    pub python: PathBuf,
    /// What to do with Python models where the kernel cannot fence them: `refuse` or `allow`.
    pub unfenced: Unfenced,
    /// Whether an interpreter is started with the platform, so that the first Python model finds it warm.
    pub warm_python: bool,
}

impl Default for ServingConfig {
    fn default() -> Self {
        Self {
            models_dir: PathBuf::new(),
            memory_budget: ByteSize::mib(4_096),
            allow_folders: false,
            onnx_library: PathBuf::new(),
            python: PathBuf::new(),
            unfenced: Unfenced::Refuse,
            warm_python: false,
        }
    }
}

/// Routes to language models.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LlmConfig {
    /// Keys of upstream servers by the names that routes use: `env:VARIABLE`, `file:/path`, or the key itself.
    pub keys: BTreeMap<String, Secret<String>>,
    /// Where a key may go, by its name: origins such as `https://api.openai.com`. A key that is not here goes wherever a
    /// route says.
    pub key_origins: BTreeMap<String, Vec<String>>,
}

/// The endpoints' own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointsConfig {
    /// This process among several gateways; empty: made up at each start.
    pub replica: String,
    /// How long one window of measurements is.
    pub window: HumanDuration,
    /// How long measurements are kept.
    pub window_retention: HumanDuration,
    /// Calls a second and target whose values go into distributions.
    pub sampled_calls_per_second: u32,
    /// Calls a second and endpoint whose predictions are recorded; calls that are kept whole come on top.
    pub recorded_calls_per_second: u32,
    /// How long a recorded prediction waits at most until it is written.
    pub record_flush: HumanDuration,
    /// How long recorded predictions are kept.
    pub record_retention: HumanDuration,
    /// How often what targets mean and whether they are ready is looked at.
    pub follow_every: HumanDuration,
    /// How often rollouts are looked at.
    pub rollout_every: HumanDuration,
    /// The population stability index beyond chance above which an event says that values of a target have shifted; 0: none.
    pub drift_psi: f64,
    /// Values of an input or output before anything is said of its shift.
    pub drift_min_samples: u64,
    /// Over which span shifts are looked for.
    pub drift_window: HumanDuration,
    /// How often.
    pub drift_every: HumanDuration,
    /// True in `lodeway serve-model`, which nothing but the command itself says.
    #[serde(skip)]
    pub one_model: bool,
}

impl Default for EndpointsConfig {
    fn default() -> Self {
        Self {
            replica: String::new(),
            window: HumanDuration::secs(10),
            window_retention: HumanDuration::secs(30 * 24 * 3_600),
            sampled_calls_per_second: 200,
            recorded_calls_per_second: 100,
            record_flush: HumanDuration::secs(30),
            record_retention: HumanDuration::secs(30 * 24 * 3_600),
            follow_every: HumanDuration::secs(2),
            rollout_every: HumanDuration::secs(1),
            drift_psi: 0.25,
            drift_min_samples: 500,
            drift_window: HumanDuration::secs(600),
            drift_every: HumanDuration::secs(30),
            one_model: false,
        }
    }
}

/// Evaluation's own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Evaluations at a time; the others wait.
    pub max_running: u32,
    /// The largest file that may be uploaded as a dataset.
    pub max_upload: ByteSize,
    /// How long outcomes are gathered before the gateway is told of live metrics.
    pub live_delay: HumanDuration,
    /// Over the predictions of how much time back these are.
    pub live_window: HumanDuration,
    /// How long after its end a schedule's window is looked at; with several gateways longer than `endpoints.record_flush`.
    pub window_delay: HumanDuration,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            max_running: 2,
            max_upload: ByteSize::mib(64 << 10),
            live_delay: HumanDuration::secs(5),
            live_window: HumanDuration::secs(24 * 3_600),
            window_delay: HumanDuration::secs(2),
        }
    }
}

impl Config {
    /// True if `service` runs in this process.
    pub fn runs(&self, service: ServiceName) -> bool {
        self.services.contains(&service)
    }

    /// Where artifacts are, in the words of their store.
    pub fn root_settings(&self) -> RootSettings {
        let artifacts = &self.artifacts;
        let proxied = match artifacts.url.as_str() {
            "" => self.data_dir.join("artifacts").display().to_string(),
            url => url.to_owned(),
        };
        let options = artifacts.options.iter();
        RootSettings {
            proxied,
            default_root: Some(self.default_root()),
            allowed: artifacts.allow_roots.clone(),
            options: options.map(|(k, v)| (k.clone(), v.reveal().clone())).collect(),
        }
    }

    /// Below which URI new experiments keep their artifacts.
    pub fn default_root(&self) -> String {
        match self.artifacts.default_root.as_str() {
            "" => "mlflow-artifacts:/".to_owned(),
            root => root.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_peers_are_not_shown() {
        let mut config = Config::default();
        config.peers.tracking = Peer::try_from("http://u:pw@h:1".to_owned()).unwrap();
        let shown = toml::to_string_pretty(&config).unwrap();
        assert!(shown.contains("http://u:***@h:1"), "{shown}");
        assert!(!shown.contains("pw@"), "{shown}");
        // What is called has it still.
        let Peer::At(url) = &config.peers.tracking else {
            panic!()
        };
        assert_eq!(url.password(), Some("pw"));
    }

    #[test]
    fn the_guide_names_the_database_of_every_service() {
        let guide = include_str!("../../../docs/operations.md");
        for service in Config::default().services {
            let name = toml::Value::try_from(service).unwrap();
            let file = format!("`{}.db`", name.as_str().unwrap());
            assert!(guide.contains(&file), "{file}");
        }
    }

    #[test]
    fn the_database_is_shown_without_its_password() {
        for (url, shown) in [
            ("", ""),
            ("postgres://u:pw@h:5432/db", "postgres://u:***@h:5432/db"),
            ("host=h password=pw", "***"),
        ] {
            let mut config = Config::default();
            config.store.url = Secret::new(url.to_owned());
            let document = toml::Value::try_from(&config).unwrap();
            assert_eq!(document["store"]["url"].as_str(), Some(shown));
            assert!(!format!("{config:?}").contains("pw"));
        }
    }
}
