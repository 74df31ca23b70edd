//! An S3-compatible server of the test run's own: `moto_server` in memory, one server per test process, one bucket per
//! test. It is stopped when the test process ends, however it ends: a small shell process watches for that.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Names a server to use instead of starting one, as `http://HOST:PORT`; buckets are created in it without credentials.
pub const OVERRIDE: &str = "LODEWAY_TEST_S3_ENDPOINT";

/// Names the folder of programs of the Python environment for tests, instead of `target/venv/bin`.
pub const VENV: &str = "LODEWAY_TEST_VENV";

static SHARED: OnceLock<Result<String, String>> = OnceLock::new();
static BUCKETS: AtomicU32 = AtomicU32::new(0);

/// A bucket of a test's own.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// The server, as `http://HOST:PORT`.
    pub endpoint: String,
}

impl Bucket {
    /// The bucket as `s3://NAME`.
    pub fn url(&self) -> String {
        format!("s3://{}", self.name)
    }

    /// What a client needs to reach it, by the names of the usual environment variables.
    pub fn options(&self) -> BTreeMap<String, String> {
        [
            ("AWS_ENDPOINT_URL", self.endpoint.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "testing"),
            ("AWS_SECRET_ACCESS_KEY", "testing"),
            ("AWS_ALLOW_HTTP", "true"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }
}

/// A new, empty bucket on the shared server. Blocks; the first call starts the server, which takes some seconds.
pub fn bucket() -> Result<Bucket> {
    match SHARED.get_or_init(|| start().map_err(|e| format!("{e:#}"))) {
        Ok(endpoint) => {
            let number = BUCKETS.fetch_add(1, Ordering::Relaxed);
            let name = format!("lodeway-test-{}-{number}", std::process::id());
            let (status, body) = request(endpoint, "PUT", &format!("/{name}"), b"")?;
            if status != 200 {
                bail!(
                    "the bucket could not be created: {status} {}",
                    String::from_utf8_lossy(&body)
                );
            }
            Ok(Bucket {
                name,
                endpoint: endpoint.clone(),
            })
        }
        Err(reason) => bail!("no S3-compatible server for the tests: {reason}"),
    }
}

/// A plain HTTP/1.1 request without credentials, as a client with a signed URL sends it; gives status and headers with
/// body. `target` is a path, or a whole URL of `endpoint`.
pub fn request(endpoint: &str, method: &str, target: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
    let host = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let path = target.strip_prefix(endpoint).unwrap_or(target);
    let mut stream = TcpStream::connect(host).with_context(|| format!("connecting to {host}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = String::from_utf8_lossy(answer.get(..answer.len().min(64)).unwrap_or_default());
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .context("the answer has no status")?;
    Ok((status, answer))
}

fn start() -> Result<String> {
    if let Some(endpoint) = std::env::var_os(OVERRIDE).filter(|v| !v.is_empty()) {
        return endpoint.into_string().ok().context("the address is not UTF-8");
    }
    let program = program("moto_server")?;
    let log = std::env::temp_dir().join(format!("lodeway-moto-{}.log", std::process::id()));
    // The port is free now; another process may take it before the server does, hence several attempts.
    for _ in 0..3 {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        launch(&program, port, &log)?;
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(format!("http://127.0.0.1:{port}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    bail!("`{}` does not start; see {}", program.display(), log.display())
}

fn launch(program: &Path, port: u16, log: &Path) -> Result<()> {
    let script = r#"
        "$1" -H 127.0.0.1 -p "$2" >>"$3" 2>&1 &
        server=$!
        trap '' INT TERM HUP
        while kill -0 "$server" 2>/dev/null && [ -d "/proc/$4" ]; do sleep 0.5; done
        kill -KILL "$server" 2>/dev/null
        wait "$server"
        [ -d "/proc/$4" ] || rm -f "$3"
    "#;
    Command::new("/bin/sh")
        .args(["-c", script, "watch-moto"])
        .arg(program)
        .arg(port.to_string())
        .arg(log)
        .arg(std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("starting the server")?;
    Ok(())
}

/// Finds a program of the Python environment for tests.
fn program(name: &str) -> Result<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    if let Some(venv) = std::env::var_os(VENV).filter(|v| !v.is_empty()) {
        let venv = PathBuf::from(venv);
        folders.extend([venv.join("bin"), venv]);
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("/"));
    folders.push(workspace.join("target/venv/bin"));
    folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    let found = folders
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.with_context(|| {
        format!("`{name}` is not in ${VENV}, target/venv/bin or $PATH; run `cargo xtask test`, which installs it, or set ${OVERRIDE}")
    })
}
