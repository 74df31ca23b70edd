//! The interpreter of a model: the local one, or one in an environment built from the model's own requirements.
//!
//! Building runs what packages bring along, so it is fenced as well: with network, but it writes only its own folder.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use lodeway_domain::Error;
use tokio::time::{Instant, sleep};

use crate::{
    EnvManager,
    python::Interpreter,
    requirements::Requirements,
    zygotes::{Inner, base_environment, unimplemented},
};

/// The machine's settings of pip.
const PIP_SETTINGS: &str = "/etc/pip.conf";
/// Lines of a build's output that an error shows.
const SHOWN_LINES: usize = 15;
/// A file of a package, at most.
const MAX_PACKAGE_BYTES: u64 = 16 << 30;
/// How often another process's lock is tried.
const LOCK_TICK: Duration = Duration::from_millis(250);

/// One environment on its way.
struct Build<'a> {
    inner: &'a Inner,
    /// What packages are installed into.
    dir: PathBuf,
    /// HOME, caches and temporary files of the build.
    scratch: PathBuf,
    model: &'a Path,
    base: &'a Interpreter,
    deadline: Instant,
}

impl Inner {
    /// The interpreter for the model in `folder`; its environment is built if it is not there.
    pub async fn interpreter(&self, manager: EnvManager, folder: &Path) -> Result<Interpreter, Error> {
        let base = self.local_interpreter().await?;
        let tool = match manager {
            EnvManager::Local => return Ok(base),
            EnvManager::Uv => "uv",
            EnvManager::Virtualenv => "virtualenv",
        };
        let wanted = Requirements::read(folder).map_err(|why| Error::invalid("folder", why))?;
        let base = match manager {
            EnvManager::Virtualenv => self.of_version(base, &wanted).await?,
            _ => base,
        };
        let key = wanted.key(&format!("{tool} {}", base.version));
        // held until the environment is there, so that it is built once in this process
        let turn = self.turn(&key);
        let _turn = turn.lock().await;
        let dir = self.config.environments.join(&key);
        let ready = self.config.environments.join(format!("{key}.ready"));
        let deadline = Instant::now() + self.config.build_timeout;
        if !ready.exists() {
            let _lock = lock_file(&self.config.environments.join(format!("{key}.lock")), deadline).await?;
            if !ready.exists() {
                // half of an environment, of a build that was interrupted
                let _ = fs::remove_dir_all(&dir);
                fs::create_dir_all(&dir).map_err(Error::internal)?;
                let scratch = self.new_scratch(&self.config.scratch.join("builds"))?;
                tracing::info!(folder = %folder.display(), %tool, %key, "building a model's environment");
                let build = Build {
                    inner: self,
                    dir: dir.clone(),
                    scratch: scratch.clone(),
                    model: folder,
                    base: &base,
                    deadline,
                };
                let built = match manager {
                    EnvManager::Uv => build.by_uv(&wanted).await,
                    _ => build.by_pip(&wanted).await,
                };
                let _ = fs::remove_dir_all(&scratch);
                built?;
                fs::write(&ready, "").map_err(Error::internal)?;
            }
        }
        let mut paths = base.paths.clone();
        paths.push(dir.clone());
        Ok(Interpreter {
            program: dir.join("env/bin/python"),
            version: base.version.clone(),
            paths,
        })
    }

    fn turn(&self, key: &str) -> std::sync::Arc<tokio::sync::Mutex<()>> {
        let mut builds = self
            .builds
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        builds.entry(key.to_owned()).or_default().clone()
    }

    /// An interpreter of the minor version that the model wants.
    async fn of_version(&self, base: Interpreter, wanted: &Requirements) -> Result<Interpreter, Error> {
        let Some(python) = &wanted.python else {
            return Ok(base);
        };
        let wanted = minor(python);
        if minor(&base.version) == wanted {
            return Ok(base);
        }
        let found = self
            .on_path(&format!("python{wanted}"))
            .find(|path| path.is_file());
        match found {
            Some(program) => self.examine(program).await,
            None => Err(unimplemented(format!(
                "the model wants Python {wanted}, and there is no `python{wanted}`; install it or use `uv`"
            ))),
        }
    }
}

impl Build<'_> {
    /// By the interpreter's own `venv` and `pip`.
    async fn by_pip(&self, wanted: &Requirements) -> Result<(), Error> {
        let env = self.dir.join("env");
        let python = env.join("bin/python").into_os_string();
        let venv = ["-I", "-m", "venv", "--without-pip"].map(OsString::from);
        let base = self.base.program.clone().into_os_string();
        let made = std::iter::once(base).chain(venv).chain([env.into_os_string()]);
        self.run(made, false).await?;
        // by itself, since `venv` would keep what it says to itself
        let pip = ["-I", "-m", "ensurepip", "--default-pip"].map(OsString::from);
        self.run(std::iter::once(python.clone()).chain(pip), false)
            .await?;
        for (packages, name) in [(&wanted.build, "build.txt"), (&wanted.packages, "packages.txt")] {
            if packages.is_empty() {
                continue;
            }
            let list = self.list(name, packages)?;
            let flags = [
                "-I",
                "-m",
                "pip",
                "install",
                "--no-input",
                "--no-cache-dir",
                "--progress-bar=off",
                "-r",
            ];
            let args = flags
                .map(OsString::from)
                .into_iter()
                .chain([list.into_os_string()]);
            self.run(std::iter::once(python.clone()).chain(args), false)
                .await?;
        }
        Ok(())
    }

    /// By `uv`, which also fetches the interpreter if there is none of the version.
    async fn by_uv(&self, wanted: &Requirements) -> Result<(), Error> {
        let beside = self.base.program.parent().map(|dir| dir.join("uv"));
        let uv = beside
            .into_iter()
            .chain(self.inner.on_path("uv"))
            .find(|path| path.is_file());
        let uv = uv.ok_or_else(|| unimplemented("there is no `uv`; install it or use `virtualenv`"))?;
        let uv = uv.canonicalize().unwrap_or(uv).into_os_string();
        // the local interpreter if it is of the version, else one that uv finds or fetches
        let local = self.base.program.to_string_lossy().into_owned();
        let python = match &wanted.python {
            Some(python) if minor(python) != minor(&self.base.version) => minor(python),
            _ => local,
        };
        let env = self.dir.join("env").into_os_string();
        let venv = ["venv", "--no-config", "--python", &python].map(OsString::from);
        // an interpreter that it unpacks must become executable, and no package's code runs yet
        let made = std::iter::once(uv.clone()).chain(venv).chain([env.clone()]);
        self.run(made, true).await?;
        let mut lines = wanted.build.clone();
        lines.extend(wanted.packages.iter().cloned());
        let list = self.list("packages.txt", &lines)?.into_os_string();
        let install = ["pip", "install", "--no-config", "--compile-bytecode", "--python"].map(OsString::from);
        let args = install.into_iter().chain([env, "-r".into(), list]);
        self.run(std::iter::once(uv).chain(args), false).await
    }

    /// A requirements file of these lines, files in it named by their whole path.
    fn list(&self, name: &str, lines: &[String]) -> Result<PathBuf, Error> {
        let whole = |line: &String| match line.strip_prefix("-r ") {
            Some(file) => format!("-r {}\n", self.model.join(file.trim()).display()),
            None => format!("{line}\n"),
        };
        let path = self.scratch.join(name);
        fs::write(&path, lines.iter().map(whole).collect::<String>()).map_err(Error::internal)?;
        Ok(path)
    }

    async fn run(&self, program: impl IntoIterator<Item = OsString>, modes: bool) -> Result<(), Error> {
        let inner = self.inner;
        let program: Vec<_> = program.into_iter().collect();
        let name = program.first().map(PathBuf::from).unwrap_or_default();
        let mut read = inner.readable(self.base);
        // an environment's own interpreter is a link to the base
        read.extend([self.model.to_owned(), name.clone()]);
        // Where packages come from; it may hold a password, which no model is to read.
        read.extend(Some(PathBuf::from(PIP_SETTINGS)).filter(|file| file.is_file()));
        let mut write = inner.writable();
        write.extend([self.dir.clone(), self.scratch.clone()]);
        let mut spec = inner.fence_spec(read, write, true);
        spec.allow_modes = modes;
        spec.max_file_bytes = MAX_PACKAGE_BYTES;
        let mut command = inner.fenced(&spec, program)?;
        command.envs(base_environment(&name, &self.scratch));
        command
            .current_dir(self.model)
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
            .env("UV_CACHE_DIR", self.scratch.join("cache"))
            .env("UV_PYTHON_INSTALL_DIR", self.dir.join("python"))
            .env("UV_NO_PROGRESS", "1")
            // the certificates that this machine trusts, as pip does; by its new and its old name
            .env("UV_SYSTEM_CERTS", "true")
            .env("UV_NATIVE_TLS", "true")
            .envs(
                inner
                    .config
                    .build_variables
                    .iter()
                    .map(|(name, value)| (name, value)),
            );
        let left = self.deadline.saturating_duration_since(Instant::now());
        let label = name
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let failed = match inner.run(command, &label, SHOWN_LINES, left).await {
            Ok((Some(0), _)) => return Ok(()),
            Ok((_, lines)) => lines,
            Err(error) => error.to_string(),
        };
        let why = format!("the model's environment cannot be built; `{label}` said:\n{failed}");
        Err(Error::invalid("folder", why))
    }
}

/// `3.11` of `3.11.7`: packages are built for that much of a version.
fn minor(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// Takes a lock that other processes see; given back when dropped.
async fn lock_file(path: &Path, deadline: Instant) -> Result<File, Error> {
    let file = File::create(path).map_err(Error::internal)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(Error::internal(error)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                let message = "another process builds the same environment and does not finish";
                return Err(Error::unavailable(message, "the lock is held"));
            }
            Err(TryLockError::WouldBlock) => sleep(LOCK_TICK).await,
        }
    }
}
