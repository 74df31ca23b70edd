//! Where the configuration is read: flags, environment, file. Nothing below reads the environment.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use lodeway_gateway::{LlmKey, LlmKeys};
use lodeway_rpc::config::{ConfigError, Fault, Loader, Origin, Secret};
use url::Url;

use crate::{
    config::{Config, ServiceName},
    secrets,
};

/// Variables that begin with `LODEWAY_` and are no configuration of the server.
const NOT_CONFIG: &[&str] = &[
    "LODEWAY_CONFIG",
    "LODEWAY_ADDRESS",
    "LODEWAY_TOKEN",
    "LODEWAY_WORKSPACE",
    "LODEWAY_BIN",
];

/// MLflow's variable for what `registry.source_regex` says.
const SOURCE_REGEX: &str = "MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX";

/// Beginnings of variables that belong to tests and developer tools.
const DEVELOPER_PREFIXES: &[&str] = &["LODEWAY_TEST_", "LODEWAY_BENCH_"];

/// Variables of other tools that the server honours for its buckets, as their own clients do.
const BUCKET_PREFIXES: &[&str] = &["AWS_", "GOOGLE_", "AZURE_"];

/// The flags of commands that run or inspect the platform; each overrides one key of the configuration.
#[derive(Debug, Default, Args)]
pub struct Flags {
    /// A TOML file of configuration.
    #[arg(long, value_name = "FILE", env = "LODEWAY_CONFIG")]
    config: Option<PathBuf>,
    /// Address and port of gRPC, gRPC-web and REST; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Folder of the SQLite databases and, by default, of the artifacts.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// PostgreSQL instead of SQLite: `postgres://user:password@host/database`.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Where `mlflow-artifacts:` is: a folder or a bucket's URL.
    #[arg(long, value_name = "URL")]
    artifacts: Option<String>,
    /// The location that new experiments get below.
    #[arg(long, value_name = "URI")]
    default_artifact_root: Option<String>,
    /// A further place that the server may open; repeatable.
    #[arg(long, value_name = "URI")]
    allow_artifact_root: Vec<String>,
    /// Where the artifact service is: `local`, an address, or `none`.
    #[arg(long, value_name = "PEER")]
    artifacts_peer: Option<String>,
    /// Where tracking is: `local`, an address, or `none`.
    #[arg(long, value_name = "PEER")]
    tracking: Option<String>,
    /// Where the registry is: `local`, an address, or `none`.
    #[arg(long, value_name = "PEER")]
    registry: Option<String>,
    /// Where the model host is: `local`, an address, or `none`.
    #[arg(long, value_name = "PEER")]
    serving: Option<String>,
    /// Where endpoints and LLM routes are, for evaluation.
    #[arg(long, value_name = "PEER")]
    gateway: Option<String>,
    /// Where evaluation is: the gateway passes its calls on.
    #[arg(long, value_name = "PEER")]
    evaluation: Option<String>,
    /// A file of users and hashed tokens; without it everybody may call, unverified.
    #[arg(long, value_name = "FILE")]
    token_table: Option<String>,
}

impl Flags {
    /// No flag but `--data-dir`.
    pub fn with_data_dir(folder: &Path) -> Self {
        Self {
            data_dir: Some(folder.display().to_string()),
            ..Self::default()
        }
    }
}

/// Reads the configuration; `services` overrides which services run here. Errors: every fault at once that can be told on
/// any machine.
pub fn load(flags: &Flags, services: Option<Vec<ServiceName>>) -> Result<Config> {
    read(flags, services, Config::faults)
}

/// As [`load`], on the machine that it is for. Errors: also files and variables that are not there.
pub fn load_to_start(flags: &Flags, services: Option<Vec<ServiceName>>) -> Result<Config> {
    read(flags, services, |config| {
        let mut faults = config.faults();
        faults.extend(config.blocked_folders());
        faults.extend(missing(config, &environment()));
        faults
    })
}

/// What this process needs of its machine and cannot read, as (key, message).
fn missing(config: &Config, variables: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    let table = &config.auth.token_table;
    // One that is there is looked at in any case.
    if !table.as_os_str().is_empty() && !table.exists() {
        let why = std::fs::metadata(table).err();
        let why = why.map_or_else(
            || "is not there".to_owned(),
            |error| format!("cannot be read: {error}"),
        );
        faults.push(("auth.token_table".to_owned(), why));
    }
    if config.runs(ServiceName::Gateway) {
        for (name, place) in &config.llm.keys {
            if let Err(why) = llm_key(place.reveal(), variables) {
                faults.push((format!("llm.keys.{name}"), why));
            }
        }
    }
    faults
}

fn read(
    flags: &Flags,
    services: Option<Vec<ServiceName>>,
    faults: impl FnOnce(&Config) -> Vec<(String, String)>,
) -> Result<Config> {
    let mut variables = environment();
    variables.retain(|name, _| !is_foreign(name));
    let mut loader = Loader::new();
    if let Some(path) = &flags.config {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        loader = loader.file(&path.display().to_string(), &text);
    }
    let roots = (!flags.allow_artifact_root.is_empty()).then(|| flags.allow_artifact_root.join(","));
    let loader = loader
        .environment(&variables, NOT_CONFIG)
        .flag("--listen", "listen", flags.listen.clone())
        .flag("--data-dir", "data_dir", flags.data_dir.clone())
        .flag("--store", "store.url", flags.store.clone())
        .flag("--artifacts", "artifacts.url", flags.artifacts.clone())
        .flag(
            "--default-artifact-root",
            "artifacts.default_root",
            flags.default_artifact_root.clone(),
        )
        .flag("--allow-artifact-root", "artifacts.allow_roots", roots)
        .flag(
            "--artifacts-peer",
            "peers.artifacts",
            flags.artifacts_peer.clone(),
        )
        .flag("--tracking", "peers.tracking", flags.tracking.clone())
        .flag("--registry", "peers.registry", flags.registry.clone())
        .flag("--serving", "peers.serving", flags.serving.clone())
        .flag("--gateway", "peers.gateway", flags.gateway.clone())
        .flag("--evaluation", "peers.evaluation", flags.evaluation.clone())
        .flag("--token-table", "auth.token_table", flags.token_table.clone());
    let loaded = loader.load_valid(|config: &Config| {
        // What is wrong depends on what runs here.
        faults(&Config {
            services: services.clone().unwrap_or_else(|| config.services.clone()),
            ..config.clone()
        })
    });
    let mut config = loaded.map_err(shown)?;
    if let Some(services) = services {
        config.services = services;
    }
    config.services.sort_unstable();
    config.services.dedup();
    for (name, value) in variables {
        if BUCKET_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            config
                .artifacts
                .options
                .entry(name)
                .or_insert_with(|| Secret::new(value));
        }
    }
    Ok(config)
}

/// The faults without passwords and keys.
fn shown(mut error: ConfigError) -> ConfigError {
    for fault in &mut error.faults {
        let is_place = fault.value.starts_with("env:") || fault.value.starts_with("file:");
        if fault.key.starts_with("llm.keys.") && !is_place && !fault.value.is_empty() {
            fault.value = "***".to_owned();
        } else {
            let value = secrets::hidden_in_address(&fault.value);
            if value != fault.value {
                fault.message = fault.message.replace(&fault.value, &value);
            }
            fault.value = value;
            fault.message = secrets::hidden_in_text(&fault.message);
        }
    }
    error
}

/// What is taken from the environment under the names of other tools, so that a server can be swapped in place.
#[derive(Debug, Default)]
pub struct EdgeEnvironment {
    /// `MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX`, where it counts.
    pub source_regex: Option<String>,
    /// `MLFLOW_TRUNCATE_LONG_VALUES`.
    pub truncate_long_values: Option<bool>,
    /// The folder against which relative artifact locations are resolved.
    pub working_dir: PathBuf,
    /// `ORT_DYLIB_PATH`: the library of ONNX Runtime, as its other users name it.
    pub onnx_library: Option<PathBuf>,
    /// `VIRTUAL_ENV`: the active Python environment.
    pub virtual_env: Option<PathBuf>,
    /// `PATH`, for finding interpreters.
    pub search_path: OsString,
    /// This program.
    pub program: PathBuf,
}

/// Reads [`EdgeEnvironment`]. Errors: a variable whose text cannot be meant, if this process goes by it.
pub fn edge(config: &Config) -> Result<EdgeEnvironment> {
    let variables = environment();
    Ok(EdgeEnvironment {
        source_regex: source_regex(config, &variables)?,
        truncate_long_values: variables
            .get("MLFLOW_TRUNCATE_LONG_VALUES")
            .map(|text| !matches!(text.to_ascii_lowercase().as_str(), "false" | "0")),
        working_dir: std::env::current_dir().context("cannot tell the working folder")?,
        onnx_library: variables.get("ORT_DYLIB_PATH").map(PathBuf::from),
        virtual_env: variables.get("VIRTUAL_ENV").map(PathBuf::from),
        search_path: variables.get("PATH").map(OsString::from).unwrap_or_default(),
        program: std::env::current_exe().context("cannot tell where this program is")?,
    })
}

fn source_regex(
    config: &Config,
    variables: &BTreeMap<String, String>,
) -> Result<Option<String>, ConfigError> {
    let is_asked = config.runs(ServiceName::Gateway) && config.registry.source_regex.is_empty();
    let Some(pattern) = variables.get(SOURCE_REGEX).filter(|_| is_asked) else {
        return Ok(None);
    };
    match lodeway_gateway::Config::default().with_model_version_source_regex(pattern) {
        Ok(_) => Ok(Some(pattern.clone())),
        Err(error) => Err(ConfigError {
            faults: vec![Fault {
                key: "registry.source_regex".to_owned(),
                value: pattern.clone(),
                origin: Origin::Environment(SOURCE_REGEX.to_owned()),
                message: error.to_string(),
            }],
        }),
    }
}

/// The keys of upstream servers, read from where the configuration says they are. Errors: a variable that is not set, a
/// file that cannot be read, a key that is empty; never with a key in the text.
pub fn llm_keys(config: &Config) -> Result<LlmKeys> {
    let variables = environment();
    let read = |(name, place): (&String, &Secret<String>)| {
        let key = llm_key(place.reveal(), &variables);
        let key = key.map_err(|why| anyhow::anyhow!("`llm.keys.{name}`: {why}"))?;
        let origins = config.llm.key_origins.get(name).into_iter().flatten();
        let origins = origins.map(|origin| Url::parse(origin));
        let key = LlmKey {
            secret: Secret::new(key),
            origins: origins.collect::<Result<_, _>>()?,
        };
        Ok((name.clone(), key))
    };
    config.llm.keys.iter().map(read).collect()
}

/// The key at a place of the configuration. Errors: why there is none, without a key in the text.
fn llm_key(place: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let key = if let Some(variable) = place.strip_prefix("env:") {
        let found = variables.get(variable);
        found
            .ok_or_else(|| format!("the variable `{variable}` is not set"))?
            .clone()
    } else if let Some(path) = place.strip_prefix("file:") {
        std::fs::read_to_string(path).map_err(|error| format!("cannot read `{path}`: {error}"))?
    } else {
        place.to_owned()
    };
    match key.trim() {
        "" => Err("the key is empty".to_owned()),
        key => Ok(key.to_owned()),
    }
}

/// True for variables that look like configuration and are not: a Kubernetes service called `lodeway…` puts its address
/// into the environment of every pod of its namespace (`LODEWAY_REGISTRY_SERVICE_HOST`, `LODEWAY_PORT_5000_TCP`, …).
fn is_foreign(name: &str) -> bool {
    let of_a_service = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT_"]
        .iter()
        .any(|part| name.contains(part))
        || name.ends_with("_PORT");
    DEVELOPER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || (name.starts_with("LODEWAY_") && of_a_service)
}

fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The user of this machine, whose name goes into ledgers where no token says who calls.
pub fn user() -> Option<String> {
    let variables = environment();
    let said = variables.get("USER").or_else(|| variables.get("LOGNAME"));
    let said = said.filter(|name| !name.is_empty()).cloned();
    said.or_else(|| {
        // Neither is set in containers and by cron, and the system knows all the same.
        let asked = std::process::Command::new("id").arg("-un").output().ok()?;
        let name = String::from_utf8(asked.stdout).ok()?.trim().to_owned();
        (asked.status.success() && !name.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The faults of a file, a line each.
    fn faults(file: &str, is_start: bool) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lodeway.toml");
        std::fs::write(&path, file).unwrap();
        let flags = Flags {
            config: Some(path.clone()),
            ..Flags::default()
        };
        let loaded = match is_start {
            true => load_to_start(&flags, None),
            false => load(&flags, None),
        };
        let Err(error) = loaded else { return Vec::new() };
        let text = error
            .to_string()
            .replace(&path.display().to_string(), "lodeway.toml");
        text.lines().skip(1).map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn what_the_machine_lacks_is_told_at_once_with_where_it_was_asked_for() {
        let file = r#"
            auth.token_table = "/no/such/table"
            telemetry.log = "a=b=c"
            [llm.keys]
            one = "env:LODEWAY_TEST_NOT_SET"
            two = "file:/no/such/key"
        "#;
        let found = faults(file, true);
        assert_eq!(found.len(), 4, "{found:?}");
        for (start, why) in [
            ("`telemetry.log` = `a=b=c` from file lodeway.toml: ", "filter"),
            (
                "`auth.token_table` = `/no/such/table` from file lodeway.toml: ",
                "No such file",
            ),
            (
                "`llm.keys.one` = `env:LODEWAY_TEST_NOT_SET` from file lodeway.toml: ",
                "`LODEWAY_TEST_NOT_SET` is not set",
            ),
            (
                "`llm.keys.two` = `file:/no/such/key` from file lodeway.toml: ",
                "No such file",
            ),
        ] {
            let told = found
                .iter()
                .any(|line| line.starts_with(start) && line.contains(why));
            assert!(told, "{start}: {found:?}");
        }
        // On another machine only what is wrong on every one.
        let found = faults(file, false);
        assert!(
            matches!(found.as_slice(), [line] if line.starts_with("`telemetry.log`")),
            "{found:?}"
        );
        // A process without routes to language models needs no keys.
        let without = format!("services = [\"tracking\"]\n{file}");
        assert_eq!(faults(&without, true).len(), 2);
    }

    #[test]
    fn a_pattern_of_mlflow_is_looked_at_where_it_counts() {
        let variables = BTreeMap::from([(SOURCE_REGEX.to_owned(), "([".to_owned())]);
        let mut config = Config::default();
        let said = source_regex(&config, &variables).unwrap_err().to_string();
        let told = format!("`registry.source_regex` = `([` from environment variable {SOURCE_REGEX}: ");
        assert!(
            said.contains(&told) && said.contains("unclosed character class"),
            "{said}"
        );
        config.registry.source_regex = "^s3://".to_owned();
        assert_eq!(source_regex(&config, &variables).unwrap(), None);
        config.registry.source_regex.clear();
        config.services = vec![ServiceName::Tracking];
        assert_eq!(source_regex(&config, &variables).unwrap(), None);
    }

    #[test]
    fn a_file_in_place_of_a_folder_is_a_fault_of_a_start() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let file_name = file.path().display();
        let text = format!("artifacts.url = \"{file_name}\"");
        let found = faults(&text, true);
        let start = format!("`artifacts.url` = `{file_name}` from file lodeway.toml: ");
        assert!(
            matches!(found.as_slice(), [line] if line.starts_with(&start) && line.contains("is a file")),
            "{found:?}"
        );
        // Another machine may have a folder there.
        assert_eq!(faults(&text, false), Vec::<String>::new());
    }

    #[test]
    fn faults_show_no_keys_and_no_passwords() {
        let found = faults(
            "peers.tracking = \"ftp://u:pw@h:1\"\n[llm.keys]\nBad = \"sk-123\"",
            false,
        );
        let text = found.join("\n");
        assert!(text.contains("ftp://u:***@h:1"), "{text}");
        assert!(!text.contains("pw@"), "{text}");
        let collector = "telemetry.otlp_endpoint = \"ftp://u:pw/x@h?api_key=k1&x=1\"";
        let text = faults(collector, false).join("\n");
        assert!(text.contains("`ftp://u:***@h?api_key=***&x=1`"), "{text}");
        assert!(!text.contains("pw/x") && !text.contains("k1"), "{text}");
        let text = faults("[llm.keys]\nBad = \"sk-123\"", false).join("\n");
        assert!(
            text.contains("`llm.keys.Bad` = `***`") && !text.contains("sk-123"),
            "{text}"
        );
    }

    #[test]
    fn what_is_wrong_depends_on_what_runs() {
        let flags = Flags {
            store: Some("sqlite:///data/tracking.db".to_owned()),
            ..Flags::default()
        };
        assert!(load(&flags, None).is_err());
        assert!(load(&flags, Some(vec![ServiceName::Tracking])).is_ok());
    }

    #[test]
    fn addresses_of_kubernetes_services_are_no_configuration() {
        for foreign in [
            "LODEWAY_PORT",
            "LODEWAY_REGISTRY_SERVICE_HOST",
            "LODEWAY_TRACKING_PORT_5000_TCP_ADDR",
        ] {
            assert!(is_foreign(foreign), "{foreign}");
        }
        for ours in [
            "LODEWAY_LISTEN",
            "LODEWAY_STORE__URL",
            "LODEWAY_PEERS__TRACKING",
            "AWS_REGION",
        ] {
            assert!(!is_foreign(ours), "{ours}");
        }
    }
}
