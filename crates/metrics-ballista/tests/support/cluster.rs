//! A scheduler and executors, each a process, on free ports of this machine.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The program, which examples find beside their own folder.
fn program() -> PathBuf {
    if let Some(known) = option_env!("CARGO_BIN_EXE_lodeway-ballista") {
        return known.into();
    }
    let own = std::env::current_exe().expect("this program");
    let folder = own.parent().and_then(Path::parent).expect("a folder");
    folder.join("lodeway-ballista")
}

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process that ends with the test.
pub struct Process(Child);

impl Process {
    fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().expect("the program starts"))
    }

    /// Ends it at once, as when its machine fails.
    pub fn kill(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }

    /// It has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("its state").is_none()
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// The most memory it had at a time, in MiB; 0 where the system does not tell.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kibibytes.unwrap_or(0) / 1024
    }

    /// What it printed; it has to end well.
    pub fn report(self) -> Value {
        let output = self.output();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// What it printed, however it ended.
    pub fn output(mut self) -> Output {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut errors = self.0.stderr.take().expect("a pipe");
        let reader = std::thread::spawn(move || errors.read_to_end(&mut stderr).map(|_| stderr));
        let mut printed = self.0.stdout.take().expect("a pipe");
        printed.read_to_end(&mut stdout).expect("what it prints");
        Output {
            status: self.0.wait().expect("it ends"),
            stdout,
            stderr: reader.join().expect("a thread").expect("its errors"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An executor and the folder it writes to.
pub struct Executor {
    pub process: Process,
    pub folder: PathBuf,
}

impl Executor {
    /// Kills it, and takes what it wrote along, as when its machine fails.
    pub fn lose(&mut self) {
        self.process.kill();
        std::fs::remove_dir_all(&self.folder).expect("its folder");
    }

    /// The files it wrote for other tasks.
    pub fn outputs(&self) -> usize {
        files(&self.folder)
    }
}

/// A scheduler with executors.
pub struct Cluster {
    _scheduler: Process,
    address: String,
    pub executors: Vec<Executor>,
}

impl Cluster {
    /// Starts it, each executor with one task at a time; logs and what executors write go below `folder`.
    pub fn start(folder: &Path, executors: usize) -> Self {
        let log = |name: &str| File::create(folder.join(format!("{name}.log"))).expect("a log");
        let mut scheduler = Process::spawn(
            Command::new(program())
                .args(["scheduler", "--listen", "127.0.0.1:0", "--executor-timeout", "4"])
                .args(["--ready-executors", &executors.to_string()])
                .env("RUST_LOG", "info")
                .stdout(Stdio::piped())
                .stderr(log("scheduler")),
        );
        let mut line = String::new();
        let stdout = scheduler.0.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on ").expect("an address");
        let executor = |place: usize| {
            let folder = folder.join(format!("executor-{place}"));
            std::fs::create_dir(&folder).expect("a folder");
            let process = Process::spawn(
                Command::new(program())
                    .args(["executor", "--scheduler", address, "--cores", "1"])
                    .args(["--port", &free_port().to_string()])
                    .args(["--grpc-port", &free_port().to_string()])
                    .args(["--heartbeat", "1", "--work-dir"])
                    .arg(&folder)
                    .env("RUST_LOG", "info")
                    .stdout(Stdio::null())
                    .stderr(log(&format!("executor-{place}"))),
            );
            Executor { process, folder }
        };
        let cluster = Self {
            executors: (0..executors).map(executor).collect(),
            address: address.to_owned(),
            _scheduler: scheduler,
        };
        wait_for("the executors", || cluster.is_ready());
        cluster
    }

    /// Begins to evaluate in one process, with no cluster.
    pub fn none(data: &Path, arguments: &[&str]) -> Process {
        Process::spawn(
            Command::new(program())
                .args(["evaluate", "--data"])
                .arg(data)
                .args(arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        )
    }

    fn is_ready(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&self.address)?;
            write!(
                stream,
                "GET /readyz HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
                self.address
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Begins to evaluate. Executors fetch from each other over the network, as if they were on several machines.
    pub fn begin(&self, data: &Path, arguments: &[&str]) -> Process {
        Process::spawn(
            Command::new(program())
                .args(["evaluate", "--scheduler", &self.address, "--data"])
                .arg(data)
                .args(["--set", "ballista.shuffle.force_remote_read=true"])
                .args(arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        )
    }
}

/// Waits until something is seen; `what` is said if it never is.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let entries = entries.flatten().map(|entry| entry.path());
    entries
        .map(|path| if path.is_dir() { files(&path) } else { 1 })
        .sum()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
