//! What the embedder decides about workers, and what each pool asks for.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// How every worker of this process is run.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The program that fences itself and becomes an interpreter: this platform's own.
    pub program: PathBuf,
    /// The arguments before its own that make `program` call [`crate::worker_exec`].
    pub program_args: Vec<String>,
    /// The interpreter for `env_manager = local`; `None` = that of `virtual_env`, else `python3` on `search_path`.
    pub python: Option<PathBuf>,
    /// The value of `VIRTUAL_ENV`, if the platform was started in one.
    pub virtual_env: Option<PathBuf>,
    /// The value of `PATH`, for finding interpreters and `uv`.
    pub search_path: OsString,
    /// A folder of our own for the workers' temporary folders and the Python sources; emptied at start.
    pub scratch: PathBuf,
    /// Where the folders of models lie; a pool serves no other.
    pub models_root: PathBuf,
    /// Where environments of `uv` and `virtualenv` are kept between starts.
    pub environments: PathBuf,
    /// What to do where the kernel cannot fence.
    pub unfenced: Unfenced,
    /// More that workers may read, such as certificates or a driver's folder.
    pub read: Vec<PathBuf>,
    /// More that workers may write, such as a GPU's devices.
    pub write: Vec<PathBuf>,
    /// More variables for the workers' environment, which is otherwise almost empty.
    pub variables: Vec<(String, String)>,
    /// More variables for building environments, such as the address of a package index or a proxy.
    pub build_variables: Vec<(String, String)>,
    /// Modules imported before any model, if they are installed, so that all models share them.
    pub preload: Vec<String>,
    /// Threads of the numeric libraries (OpenMP, BLAS) in each worker.
    pub threads: u32,
    /// The largest body of one message in either direction.
    pub max_message_bytes: u64,
    /// How long an interpreter may import before it counts as stuck.
    pub import_timeout: Duration,
    /// How long the building of an environment may take.
    pub build_timeout: Duration,
}

impl WorkerConfig {
    /// The defaults: refuse what cannot be fenced, one thread, messages up to 256 MiB.
    pub fn new(
        program: impl Into<PathBuf>,
        scratch: impl Into<PathBuf>,
        models_root: impl Into<PathBuf>,
        environments: impl Into<PathBuf>,
    ) -> Self {
        Self {
            program: program.into(),
            program_args: vec!["worker-exec".to_owned()],
            python: None,
            virtual_env: None,
            search_path: OsString::from("/usr/local/bin:/usr/bin:/bin"),
            scratch: scratch.into(),
            models_root: models_root.into(),
            environments: environments.into(),
            unfenced: Unfenced::Refuse,
            read: Vec::new(),
            write: Vec::new(),
            variables: Vec::new(),
            build_variables: Vec::new(),
            preload: [
                "mlflow.sklearn",
                "sklearn.linear_model",
                "sklearn.ensemble",
                "sklearn.pipeline",
            ]
            .map(str::to_owned)
            .to_vec(),
            threads: 1,
            max_message_bytes: 256 << 20,
            import_timeout: Duration::from_secs(120),
            build_timeout: Duration::from_secs(30 * 60),
        }
    }
}

/// What to do where the kernel has no Landlock or no seccomp.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unfenced {
    /// Refuse Python models, since loading one runs its code.
    #[default]
    Refuse,
    /// Run them with the layers that there are.
    Allow,
}

/// Which Python environment a model runs in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvManager {
    /// The interpreter that the platform was given.
    #[default]
    Local,
    /// One made by `uv` from the model's requirements.
    Uv,
    /// One made by `venv` and `pip` from the model's requirements.
    Virtualenv,
}

/// One model and how it is served.
#[derive(Debug, Clone)]
pub struct PoolSpec {
    /// The model's folder, which holds `MLmodel`; below [`WorkerConfig::models_root`].
    pub folder: PathBuf,
    /// Which Python environment it runs in.
    pub env_manager: EnvManager,
    /// How many processes serve it, at least 1; each answers one call at a time.
    pub workers: usize,
    /// Resident memory of one process with its own children at which it is replaced after its call; killed at a
    /// quarter more. `None` = unwatched.
    pub memory_limit_bytes: Option<u64>,
    /// How long one call may take before its process is killed.
    pub call_timeout: Duration,
    /// How long loading may take.
    pub load_timeout: Duration,
    /// Whether the model may open internet sockets. It reaches all that this machine reaches, its own ports included.
    pub allow_network: bool,
    /// How many calls may wait for a free process; more are refused.
    pub max_waiting: usize,
}

impl PoolSpec {
    /// One process in the local environment, without network: a minute a call, five to load.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            env_manager: EnvManager::Local,
            workers: 1,
            memory_limit_bytes: None,
            call_timeout: Duration::from_secs(60),
            load_timeout: Duration::from_secs(300),
            allow_network: false,
            max_waiting: 1024,
        }
    }
}
