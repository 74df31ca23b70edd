//! All interpreters of this process, and the way to a pool of one model.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lodeway_domain::{Error, Reason};
use serde_json::json;

use crate::{
    Pool, PoolSpec, Spawn, Unfenced, WorkerConfig,
    fence::{FenceSpec, NOT_FENCED},
    process::Spawner,
    python::{self, Interpreter},
    zygote::{StartError, Zygote},
};

/// Open files of a worker at most.
const MAX_FILES: u64 = 4096;
/// A file that a worker writes, at most; there is no limit of all together.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// What every interpreter reads, as far as it is there.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/alpine-release",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/debian_version",
    "/etc/fonts",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/lsb-release",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki",
    "/etc/protocols",
    "/etc/redhat-release",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/system-release",
    "/etc/timezone",
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/kernel/random",
    "/proc/sys/vm/overcommit_memory",
    "/proc/version",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
];

/// Starts interpreters and gives out pools; clones share them.
#[derive(Clone)]
pub struct Zygotes {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub config: WorkerConfig,
    pub spawn: Spawn,
    pub spawner: Spawner,
    sources: PathBuf,
    running: Mutex<HashMap<Key, Entry>>,
    scratch_number: AtomicU64,
    local: tokio::sync::Mutex<Option<Interpreter>>,
    /// One lock an environment, so that none is built twice at a time.
    pub builds: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

type Entry = Arc<tokio::sync::Mutex<Option<Arc<Zygote>>>>;

/// What must be equal for two models to share an interpreter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub interpreter: Interpreter,
    pub allow_network: bool,
}

impl Zygotes {
    /// Makes the folders ready; no interpreter starts before the first pool or [`Zygotes::warm`].
    ///
    /// `spawn` runs work in the background, so that shutdown can wait for it. Errors: the folders cannot be made.
    pub fn new(config: WorkerConfig, spawn: Spawn) -> Result<Self, Error> {
        let mut config = config;
        let workers = config.scratch.join("workers");
        // what workers of an earlier start left behind
        match fs::remove_dir_all(&workers) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::internal(error)),
            _ => {}
        }
        for folder in [&workers, &config.models_root, &config.environments] {
            fs::create_dir_all(folder).map_err(Error::internal)?;
        }
        for folder in [
            &mut config.scratch,
            &mut config.models_root,
            &mut config.environments,
        ] {
            *folder = folder.canonicalize().map_err(Error::internal)?;
        }
        let sources = python::write_sources(&config.scratch).map_err(Error::internal)?;
        Ok(Self {
            inner: Arc::new(Inner {
                spawner: Spawner::new().map_err(Error::internal)?,
                config,
                spawn,
                sources,
                running: Mutex::default(),
                scratch_number: AtomicU64::new(0),
                local: tokio::sync::Mutex::default(),
                builds: Mutex::default(),
            }),
        })
    }

    /// Starts the local interpreter, so that the first pool finds it warm. Errors: as [`Zygotes::pool`].
    pub async fn warm(&self) -> Result<(), Error> {
        let key = Key {
            interpreter: self.inner.local_interpreter().await?,
            allow_network: false,
        };
        self.inner.zygote(&key).await.map(|_| ())
    }

    /// Loads a model into `spec.workers` processes; ready when all have it.
    ///
    /// Errors: `INVALID_FIELD` for a folder that is no model below the models' root, or a model that does not load
    /// or whose environment cannot be built (with the last lines of either); `NOT_IMPLEMENTED` if the kernel cannot
    /// fence, there is no interpreter, or it has no MLflow; `BACKEND_UNAVAILABLE` if processes cannot be started.
    pub async fn pool(&self, spec: PoolSpec) -> Result<Pool, Error> {
        let root = &self.inner.config.models_root;
        let folder = spec.folder.canonicalize().ok();
        let folder = folder
            .filter(|folder| folder.starts_with(root) && folder != root && folder.join("MLmodel").is_file())
            .ok_or_else(|| {
                Error::invalid(
                    "folder",
                    "must be a model's folder below the folder of models, with `MLmodel`",
                )
            })?;
        if spec.workers == 0 {
            return Err(Error::invalid("workers", "must be at least 1"));
        }
        let interpreter = self.inner.interpreter(spec.env_manager, &folder).await?;
        let key = Key {
            interpreter,
            allow_network: spec.allow_network,
        };
        Pool::start(self.inner.clone(), key, PoolSpec { folder, ..spec }).await
    }

    /// Ends all interpreters, and with them every worker that is left; pools should be stopped before.
    pub async fn stop(&self, grace: Duration) {
        let entries: Vec<_> = self.inner.running().drain().map(|(_, entry)| entry).collect();
        let stops = entries.into_iter().map(async |entry| {
            if let Some(zygote) = entry.lock().await.take() {
                zygote.stop(grace).await;
            }
        });
        futures::future::join_all(stops).await;
    }
}

impl Inner {
    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Entry>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The running zygote of `key`, started if there is none.
    pub async fn zygote(&self, key: &Key) -> Result<Arc<Zygote>, Error> {
        let entry = self.running().entry(key.clone()).or_default().clone();
        let mut entry = entry.lock().await;
        if let Some(zygote) = entry.as_ref().filter(|zygote| zygote.is_alive()) {
            return Ok(zygote.clone());
        }
        let zygote = Arc::new(self.start(key).await?);
        tracing::info!(
            pid = zygote.pid,
            python = %key.interpreter.program.display(),
            version = %zygote.hello.python,
            mlflow = %zygote.hello.mlflow,
            import_ms = zygote.hello.import_ms,
            fence = ?zygote.hello.fence,
            "an interpreter is ready for models"
        );
        if zygote.hello.threads > 1 {
            tracing::warn!(
                threads = zygote.hello.threads,
                "an interpreter forks with more threads than one"
            );
        }
        *entry = Some(zygote.clone());
        Ok(zygote)
    }

    /// Ends the zygote of `key` if no pool uses it any more; the local one stays for the next pool.
    pub async fn release(&self, key: &Key) {
        let local = self.local.lock().await.clone();
        if !key.allow_network && local.as_ref() == Some(&key.interpreter) {
            return;
        }
        let Some(entry) = self.running().get(key).cloned() else {
            return;
        };
        let mut entry = entry.lock().await;
        let unused = entry
            .as_mut()
            .is_some_and(|zygote| Arc::get_mut(zygote).is_some());
        if unused && let Some(zygote) = entry.take() {
            zygote.stop(Duration::from_secs(5)).await;
        }
    }

    async fn start(&self, key: &Key) -> Result<Zygote, Error> {
        let scratch = self.new_scratch(&self.config.scratch.join("workers"))?;
        let mut read = self.readable(&key.interpreter);
        read.push(self.config.models_root.clone());
        // to find what children leave behind; they take it from themselves before a model is loaded
        read.push(PathBuf::from("/proc"));
        let mut write = self.writable();
        write.push(scratch.clone());
        let spec = self.fence_spec(read, write, key.allow_network);
        let options = json!({
            "preload": self.config.preload,
            "max_body_bytes": self.config.max_message_bytes,
        });
        let program = [key.interpreter.program.clone().into_os_string()];
        let flags = ["-I", "-B", "-X", "faulthandler"].map(OsString::from);
        let args = [
            self.sources.clone().into_os_string(),
            OsString::from(options.to_string()),
        ];
        let command = self.fenced(&spec, program.into_iter().chain(flags).chain(args))?;
        let command = self.with_environment(command, key, &scratch);
        let label = format!("python {}", key.interpreter.version);
        let started = Zygote::start(
            command,
            &label,
            scratch,
            self.config.import_timeout,
            &self.spawner,
            &self.spawn,
        );
        started
            .await
            .map_err(|error| cannot_start(&key.interpreter, error))
    }

    /// A command that fences itself by `spec` and becomes `program`, with an empty environment.
    pub fn fenced(
        &self,
        spec: &FenceSpec,
        program: impl IntoIterator<Item = OsString>,
    ) -> Result<Command, Error> {
        let spec = serde_json::to_string(spec).map_err(Error::internal)?;
        let mut command = Command::new(&self.config.program);
        command
            .args(&self.config.program_args)
            .arg(spec)
            .arg("--")
            .args(program)
            .current_dir("/")
            .env_clear();
        Ok(command)
    }

    pub fn fence_spec(&self, read: Vec<PathBuf>, write: Vec<PathBuf>, allow_network: bool) -> FenceSpec {
        FenceSpec {
            read,
            write,
            allow_network,
            allow_modes: false,
            unfenced: self.config.unfenced == Unfenced::Allow,
            parent: std::process::id(),
            exec: self.config.program_args.clone(),
            max_files: MAX_FILES,
            max_file_bytes: MAX_FILE_BYTES,
        }
    }

    /// The environment of an interpreter: nothing of the platform's own, whose secrets may be there.
    fn with_environment(&self, mut command: Command, key: &Key, scratch: &Path) -> Command {
        let threads = self.config.threads.max(1).to_string();
        for (name, value) in base_environment(&key.interpreter.program, scratch) {
            command.env(name, value);
        }
        for name in [
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "NUMEXPR_NUM_THREADS",
        ] {
            command.env(name, &threads);
        }
        command
            .env("MLFLOW_DISABLE_TELEMETRY", "true")
            .env("DO_NOT_TRACK", "true")
            .env("TOKENIZERS_PARALLELISM", "false")
            // pyarrow's allocator would start a thread, which a fork does not copy
            .env("JE_ARROW_MALLOC_CONF", "background_thread:false");
        if !key.allow_network {
            command
                .env("HF_HUB_OFFLINE", "1")
                .env("TRANSFORMERS_OFFLINE", "1");
        }
        command.envs(self.config.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// What the workers of an interpreter may read beside their model.
    pub fn readable(&self, interpreter: &Interpreter) -> Vec<PathBuf> {
        let mut paths: Vec<_> = SYSTEM.iter().map(PathBuf::from).collect();
        let own = [
            &self.config.models_root,
            &self.config.scratch,
            &self.config.environments,
        ];
        let (wide, narrow): (Vec<_>, Vec<_>) = interpreter
            .paths
            .iter()
            .cloned()
            .partition(|path| own.iter().any(|own| own.starts_with(path)));
        if !wide.is_empty() {
            tracing::warn!(
                ?wide,
                "not readable for models: these hold the platform's own folders"
            );
        }
        paths.extend(narrow);
        paths.push(self.sources.clone());
        paths.extend(self.config.read.iter().cloned());
        paths
    }

    pub fn writable(&self) -> Vec<PathBuf> {
        let mut paths = vec![PathBuf::from("/dev/null")];
        paths.extend(self.config.write.iter().cloned());
        paths
    }

    /// A new empty folder below `parent`.
    pub fn new_scratch(&self, parent: &Path) -> Result<PathBuf, Error> {
        let number = self.scratch_number.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(number.to_string());
        fs::create_dir_all(&folder).map_err(Error::internal)?;
        Ok(folder)
    }

    /// The interpreter of `env_manager = local`.
    pub async fn local_interpreter(&self) -> Result<Interpreter, Error> {
        let mut known = self.local.lock().await;
        if let Some(interpreter) = known.as_ref() {
            return Ok(interpreter.clone());
        }
        let program = self.local_program()?;
        let interpreter = self.examine(program).await?;
        *known = Some(interpreter.clone());
        Ok(interpreter)
    }

    fn local_program(&self) -> Result<PathBuf, Error> {
        if let Some(python) = &self.config.python {
            return Ok(python.clone());
        }
        let virtual_env = self.config.virtual_env.iter().map(|dir| dir.join("bin/python3"));
        let found = virtual_env
            .chain(self.on_path("python3"))
            .find(|path| path.is_file());
        found.ok_or_else(|| unimplemented("there is no `python3`; install one, or say which one to use"))
    }

    /// The places where a program of this name may be.
    pub fn on_path(&self, program: &str) -> impl Iterator<Item = PathBuf> {
        let dirs: Vec<_> = std::env::split_paths(&self.config.search_path).collect();
        let program = program.to_owned();
        dirs.into_iter().map(move |dir| dir.join(&program))
    }

    /// Asks an interpreter of the administrator's for its facts; it runs unfenced, as he would run it.
    pub async fn examine(&self, program: PathBuf) -> Result<Interpreter, Error> {
        let mut command = Command::new(&program);
        command
            .args(["-I", "-B", "-c", python::FACTS])
            .env_clear()
            .current_dir("/");
        let label = program.display().to_string();
        let (status, output) = self
            .run(command, &label, 1000, Duration::from_secs(30))
            .await
            .map_err(|error| unimplemented(format!("`{label}` cannot be started: {error}")))?;
        let interpreter = Interpreter::parse(program, &output);
        interpreter
            .filter(|_| status == Some(0))
            .ok_or_else(|| unimplemented(format!("`{label}` is no Python interpreter that works: {output}")))
    }
}

/// The variables of every process that we start: where it lives and how it speaks.
pub(crate) fn base_environment(program: &Path, home: &Path) -> Vec<(&'static str, OsString)> {
    let mut path = program
        .parent()
        .map(|dir| dir.as_os_str().to_owned())
        .unwrap_or_default();
    path.push(":/usr/local/bin:/usr/bin:/bin");
    let home = home.as_os_str();
    vec![
        ("PATH", path),
        ("HOME", home.to_owned()),
        ("TMPDIR", home.to_owned()),
        ("USER", "lodeway".into()),
        ("LOGNAME", "lodeway".into()),
        ("LANG", "C.UTF-8".into()),
    ]
}

/// Something that this machine lacks, and what would help.
pub(crate) fn unimplemented(message: impl Into<String>) -> Error {
    Error::Unimplemented {
        reason: Reason::NotImplemented,
        message: message.into(),
    }
}

fn cannot_start(interpreter: &Interpreter, error: StartError) -> Error {
    let program = interpreter.program.display();
    match error {
        StartError::Ended { code, tail, .. } if code == Some(i32::from(NOT_FENCED)) => {
            unimplemented(format!("Python models are refused: {tail}"))
        }
        StartError::Ended { message, tail, .. } => {
            tracing::warn!(%program, %message, %tail, "an interpreter does not start");
            let last = tail.lines().last().unwrap_or_default();
            unimplemented(format!(
                "`{program}` cannot serve models ({message}; {last}); it needs MLflow, or the model an environment of its own"
            ))
        }
        StartError::Io(_) | StartError::Slow(_) => {
            let message = format!("`{program}` {error}");
            Error::unavailable(message, error)
        }
    }
}
