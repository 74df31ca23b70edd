//! The whole platform as processes of the real binary, on free ports and in a temporary folder.
//!
//! The binary is the one next to the tests (`target/debug/lodeway`), or what [`OVERRIDE`] names. `cargo test` builds a
//! package's binary only for that package's own integration tests, so the first test that needs it runs
//! `cargo build --package lodeway`, which does nothing where it is fresh.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use lodeway_proto::{
    artifacts::v1::artifact_service_client::ArtifactServiceClient,
    registry::v1::registry_service_client::RegistryServiceClient,
    tracking::v1::tracking_service_client::TrackingServiceClient,
};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

/// Names a binary to test instead of building one.
pub const OVERRIDE: &str = "LODEWAY_BIN";

/// How long a process may take to answer, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The largest answer that the clients take.
const MAX_MESSAGE_BYTES: usize = 512 << 20;

/// Whether the services share a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `lodeway up`: everything in one process.
    Embedded,
    /// Four processes: artifacts with tracking, the registry, the model host, the gateway.
    Split,
}

impl Shape {
    /// Both shapes.
    pub const ALL: [Self; 2] = [Self::Embedded, Self::Split];
}

/// What a platform is started with.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// A `postgres://…` address; empty: SQLite in the platform's folder.
    pub store: String,
    /// Further arguments of every process.
    pub args: Vec<String>,
    /// Variables of every process.
    pub env: Vec<(String, String)>,
    /// The folder of databases and artifacts, instead of one that ends with the platform.
    pub data_dir: Option<PathBuf>,
    /// A program and its first arguments to run each process under, such as `strace -f`; empty: none.
    pub wrapper: Vec<OsString>,
}

impl Settings {
    /// The defaults on PostgreSQL.
    pub fn on(store: impl Into<String>) -> Self {
        Self {
            store: store.into(),
            ..Self::default()
        }
    }

    /// The same with a variable of configuration, such as `LODEWAY_STORE__POOL_SIZE`.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// The same with an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }
}

/// A running platform. Dropping it kills its processes and removes its folder.
#[derive(Debug)]
pub struct Platform {
    nodes: Vec<Node>,
    data: PathBuf,
    folder: TempDir,
}

impl Platform {
    /// Everything in one process, on SQLite.
    pub fn embedded() -> Result<Self> {
        Self::start(Shape::Embedded, &Settings::default())
    }

    /// Four processes, on SQLite in one folder.
    pub fn split() -> Result<Self> {
        Self::start(Shape::Split, &Settings::default())
    }

    /// A platform of this shape, every process of it answering. Blocks for a second or two.
    pub fn start(shape: Shape, settings: &Settings) -> Result<Self> {
        let mut platform = Self::prepare(shape, settings)?;
        for node in &mut platform.nodes {
            node.spawn()?;
        }
        for node in &mut platform.nodes {
            node.wait_ready()?;
        }
        Ok(platform)
    }

    /// A platform whose processes are still to be started, one by one.
    pub fn prepare(shape: Shape, settings: &Settings) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("lodeway-platform-").tempdir()?;
        let data = settings
            .data_dir
            .clone()
            .unwrap_or_else(|| folder.path().join("data"));
        let node = |name: &str, command: &[&str], address, peers: &[(&str, SocketAddr)]| {
            let mut args: Vec<String> = command.iter().map(|&a| a.to_owned()).collect();
            args.extend([
                format!("--listen={address}"),
                format!("--data-dir={}", data.display()),
            ]);
            args.extend(peers.iter().map(|(flag, peer)| format!("{flag}=http://{peer}")));
            if !settings.store.is_empty() {
                args.push(format!("--store={}", settings.store));
            }
            args.extend(settings.args.iter().cloned());
            Node {
                name: name.to_owned(),
                address,
                args,
                env: settings.env.clone(),
                wrapper: settings.wrapper.clone(),
                log: folder.path().join(format!("{name}.log")),
                child: None,
            }
        };
        let nodes = match shape {
            Shape::Embedded => vec![node("up", &["up"], free_address()?, &[])],
            Shape::Split => {
                let (tracking, registry, serving) = (free_address()?, free_address()?, free_address()?);
                let files = [("--artifacts-peer", tracking), ("--tracking", tracking)];
                let models = [files[0], ("--registry", registry)];
                let (gateway, evaluation) = (free_address()?, free_address()?);
                let all = [files[0], files[1], models[1], ("--serving", serving)];
                let asked = [all[0], all[1], all[2], all[3], ("--gateway", gateway)];
                let edge = [all[0], all[1], all[2], all[3], ("--evaluation", evaluation)];
                vec![
                    node("tracking", &["serve", "artifacts", "tracking"], tracking, &[]),
                    node("registry", &["serve", "registry"], registry, &files),
                    node("serving", &["serve", "serving"], serving, &models),
                    node("evaluation", &["serve", "evaluation"], evaluation, &asked),
                    node("gateway", &["serve", "gateway"], gateway, &edge),
                ]
            }
        };
        Ok(Self { nodes, data, folder })
    }

    /// Where clients call: the edge.
    pub fn address(&self) -> SocketAddr {
        self.nodes
            .last()
            .map_or(([127, 0, 0, 1], 0).into(), |node| node.address)
    }

    /// The databases and the artifacts.
    pub fn data_dir(&self) -> PathBuf {
        self.data.clone()
    }

    /// A folder of the test's own, next to the platform's.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The processes in the order tracking, registry, serving, evaluation, gateway; or the only one.
    pub fn nodes(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// One process by the service that it runs: `tracking`, `registry`, `serving`, `evaluation` or `gateway`; embedded all are one.
    pub fn node(&mut self, service: &str) -> &mut Node {
        let found = self.nodes.iter().position(|node| node.name == service);
        &mut self.nodes[found.unwrap_or(0)]
    }

    /// The ids of the processes that run.
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(Node::pid).collect()
    }

    /// Ends every process as a power failure would, at once: `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.signal("KILL")?;
        }
        for node in &mut self.nodes {
            node.wait()?;
        }
        Ok(())
    }

    /// Asks every process to end (SIGTERM), the edge first, and waits. Errors: one that does not end well.
    pub fn stop(&mut self) -> Result<()> {
        for node in self.nodes.iter_mut().rev() {
            node.signal("TERM")?;
            let status = node.wait()?;
            if !status.success() {
                bail!("`{}` ended with {status}: {}", node.name, node.log());
            }
        }
        Ok(())
    }

    /// Starts the processes that ended again, at the same addresses, and waits until they answer.
    pub fn restart(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.spawn()?;
        }
        self.nodes.iter_mut().try_for_each(Node::wait_ready)
    }

    /// A new connection to the edge, made with the first call.
    pub fn channel(&self) -> Channel {
        channel(self.address())
    }

    /// A client of tracking through the edge, on a connection of its own.
    pub fn tracking(&self) -> TrackingServiceClient<Channel> {
        TrackingServiceClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// A client of the registry through the edge, on a connection of its own.
    pub fn registry(&self) -> RegistryServiceClient<Channel> {
        RegistryServiceClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// A client of the files through the edge, on a connection of its own.
    pub fn artifacts(&self) -> ArtifactServiceClient<Channel> {
        ArtifactServiceClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// What the processes logged, for a failing test to show.
    pub fn logs(&self) -> String {
        self.nodes
            .iter()
            .map(|n| format!("--- {}\n{}\n", n.name, n.log()))
            .collect()
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut stderr = std::io::stderr();
            // Where the test fails for another reason, this is an aid and no more.
            let _ = writeln!(stderr, "{}", self.logs());
        }
    }
}

/// One process.
#[derive(Debug)]
pub struct Node {
    name: String,
    address: SocketAddr,
    args: Vec<String>,
    env: Vec<(String, String)>,
    wrapper: Vec<OsString>,
    log: PathBuf,
    child: Option<Child>,
}

impl Node {
    /// The service it runs, or `up`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The arguments it is started with; a change counts from the next start.
    pub fn args_mut(&mut self) -> &mut Vec<String> {
        &mut self.args
    }

    /// What it logged, all starts together.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Starts it, unless it runs.
    pub fn spawn(&mut self) -> Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut words = self.wrapper.clone();
        words.push(binary()?.into());
        words.extend(self.args.iter().map(OsString::from));
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["LODEWAY_", "MLFLOW_", "AWS_"]
                .iter()
                .any(|p| text.starts_with(p))
            {
                command.env_remove(&name);
            }
        }
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        self.child = Some(
            command
                .spawn()
                .with_context(|| format!("starting `{}`", self.name))?,
        );
        Ok(())
    }

    /// Waits until it answers. Errors: it ended, or the time is up.
    pub fn wait_ready(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if is_healthy(self.address) {
                return Ok(());
            }
            if let Some(status) = self.ended()? {
                bail!("`{}` ended with {status}: {}", self.name, self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("`{}` does not answer: {}", self.name, self.log())
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?),
            None => Ok(None),
        }
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&mut self, signal: &str) -> Result<()> {
        if let Some(child) = &self.child {
            let pid = child.id().to_string();
            let status = Command::new("kill")
                .args([&format!("-{signal}"), &pid])
                .status()?;
            if !status.success() {
                bail!("`{}` cannot be sent {signal}: {}", self.name, self.log());
            }
        }
        Ok(())
    }

    /// The process id, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Waits for its end; what follows may start it again. Errors: it does not end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.ended()? {
                self.child = None;
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("`{}` does not end: {}", self.name, self.log())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A connection to a listener, made with the first call.
pub fn channel(address: SocketAddr) -> Channel {
    let uri = format!("http://{address}");
    // The text is an address followed by nothing, which always parses.
    Endpoint::from_shared(uri)
        .unwrap_or_else(|_| Endpoint::from_static("http://127.0.0.1:1"))
        .connect_timeout(Duration::from_secs(10))
        // A call that hangs should fail its test, with the logs, rather than hang the whole run.
        .timeout(PATIENCE * 2)
        .connect_lazy()
}

/// True if `GET /health` is answered with 200.
pub fn is_healthy(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(
            stream,
            "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(head.ends_with(b"200"))
    };
    ask().unwrap_or(false)
}

/// An address of the loopback that is free now and that no outgoing connection will take.
pub fn free_address() -> Result<SocketAddr> {
    // Below the range from which the kernel takes ports for outgoing connections (32768 and up), so that a process can
    // be killed and started again at its address; where to begin differs between test processes.
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(u64::from(std::process::id()) * 197 % u64::from(COUNT))?;
    for _ in 0..COUNT {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start + offset % COUNT) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port is free")
}

/// The binary, built if it is not there or not fresh.
pub fn binary() -> Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match BINARY.get_or_init(|| find_binary().map_err(|e| format!("{e:#}"))) {
        Ok(path) => Ok(path.clone()),
        Err(reason) => bail!("no `lodeway` to test: {reason}"),
    }
}

fn find_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(OVERRIDE).filter(|v| !v.is_empty()) {
        return Ok(path.into());
    }
    // …/target/PROFILE/deps/TEST
    let test = std::env::current_exe()?;
    let profile = test
        .parent()
        .and_then(Path::parent)
        .context("the test has no folder")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut build = Command::new(cargo);
    build
        .current_dir(workspace)
        .args([
            "build",
            "--quiet",
            "--package",
            "lodeway",
            "--bin",
            "lodeway",
            "--target-dir",
        ])
        .arg(profile.parent().context("the test has no target folder")?);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let output = build.output().context("running cargo")?;
    if !output.status.success() {
        bail!(
            "`cargo build --package lodeway` failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(profile.join("lodeway"))
}
