//! A PostgreSQL of the test run's own: one server per test process, one database per test.
//!
//! The server lives in a temporary folder, listens on a free port of the loopback, syncs as in production, and is stopped
//! when the test process ends, however it ends: a small shell process watches for that.

use std::{
    fs,
    io::Write as _,
    net::{TcpListener, TcpStream},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Names a PostgreSQL to use instead of starting one: an address whose user may create databases.
pub const OVERRIDE: &str = "LODEWAY_TEST_POSTGRES";

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// The address without a database, ending with `/`.
    base: String,
    psql: PathBuf,
}

static SHARED: OnceLock<Result<Server, String>> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A new, empty database on the shared server, as `postgres://…/NAME`.
///
/// Blocks; the first call starts the server, which takes a second or two.
pub fn database() -> Result<String> {
    match SHARED.get_or_init(|| start().map_err(|e| format!("{e:#}"))) {
        Ok(server) => server.database(),
        Err(reason) => bail!("no PostgreSQL for the tests: {reason}"),
    }
}

impl Server {
    fn database(&self) -> Result<String> {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("lodeway_test_{}_{number}", std::process::id());
        run(Command::new(&self.psql).args([
            "-X",
            "-q",
            "-c",
            &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"),
            &format!("{}postgres", self.base),
        ]))?;
        Ok(format!("{}{name}", self.base))
    }
}

/// A server of one test's own, which can be stopped and started again.
#[derive(Debug)]
pub struct Own {
    folder: PathBuf,
    port: u16,
}

impl Own {
    /// Starts one on a free port; it takes a second or two.
    pub fn start() -> Result<Self> {
        let folder = initialise()?;
        let port = launch_anywhere(&folder)?;
        Ok(Self { folder, port })
    }

    /// Its database, as `postgres://…/NAME`; the same after a restart.
    pub fn url(&self) -> String {
        format!("postgres://lodeway@127.0.0.1:{}/postgres", self.port)
    }

    /// Ends it at once, as a crash would; every connection breaks. Waits until it is gone.
    pub fn crash(&self) -> Result<()> {
        let pid_file = self.folder.join("data/postmaster.pid");
        let text = fs::read_to_string(&pid_file)?;
        let pid = text.lines().next().context("the server has no pid")?;
        run(Command::new("kill").args(["-QUIT", pid]))?;
        let end = Instant::now() + Duration::from_secs(30);
        while Path::new("/proc").join(pid).exists() {
            if Instant::now() > end {
                bail!("the server does not end");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Has all its processes stand still, so that connections stay open and nothing is answered.
    pub fn freeze(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// Has them go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> Result<()> {
        let text = fs::read_to_string(self.folder.join("data/postmaster.pid"))?;
        let main = text.lines().next().context("the server has no pid")?;
        let mut pids = vec![main.to_owned()];
        for entry in fs::read_dir("/proc")?.flatten() {
            // The field after the name, which stands in parentheses, and the state.
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat
                .rsplit(')')
                .next()
                .and_then(|rest| rest.split_whitespace().nth(1));
            if parent == Some(main) {
                pids.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        for pid in &pids {
            // One may have ended meanwhile.
            let _ = Command::new("kill").args([&format!("-{name}"), pid]).status()?;
        }
        Ok(())
    }

    /// Starts it again at its port.
    pub fn resume(&self) -> Result<()> {
        launch(&self.folder, &self.folder.join("data"), owner()?, self.port)?;
        if !answers(self.port, &self.folder) {
            bail!(
                "the server does not start; see {}",
                self.folder.join("log").display()
            );
        }
        Ok(())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // The watcher removes the folder with this process; only the server should not stay until then.
        let _ = self.crash();
    }
}

fn start() -> Result<Server> {
    if let Some(base) = std::env::var_os(OVERRIDE).filter(|v| !v.is_empty()) {
        let mut base = base.into_string().ok().context("the address is not UTF-8")?;
        if !base.ends_with('/') {
            base.push('/');
        }
        return Ok(Server {
            base,
            psql: binary("psql")?,
        });
    }
    let port = launch_anywhere(&initialise()?)?;
    Ok(Server {
        base: format!("postgres://lodeway@127.0.0.1:{port}/"),
        psql: binary("psql")?,
    })
}

/// Makes the files of a server in a folder of its own.
fn initialise() -> Result<PathBuf> {
    let folder = own_folder()?;
    let owner = owner()?;
    let data = folder.join("data");
    if let Some((uid, gid)) = owner {
        chown(&folder, Some(uid), Some(gid))?;
    }
    let mut initdb = as_owner(&binary("initdb")?, owner, &folder);
    run(initdb
        .args([
            "-U",
            "lodeway",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "-D",
        ])
        .arg(&data))?;
    let mut conf = fs::OpenOptions::new()
        .append(true)
        .open(data.join("postgresql.conf"))?;
    writeln!(
        conf,
        "max_connections = 200\nshared_buffers = 32MB\nunix_socket_directories = ''\nlog_min_messages = fatal"
    )?;
    Ok(folder)
}

/// Starts the server of this folder and gives its port.
fn launch_anywhere(folder: &Path) -> Result<u16> {
    // The port is free now; another process may take it before the server does, hence several attempts.
    for _ in 0..5 {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        launch(folder, &folder.join("data"), owner()?, port)?;
        if answers(port, folder) {
            return Ok(port);
        }
    }
    bail!("the server does not start; see {}", folder.join("log").display())
}

/// Runs the server under a shell that stops it, and removes its folder, once this process is gone.
fn launch(folder: &Path, data: &Path, owner: Option<(u32, u32)>, port: u16) -> Result<()> {
    let script = r#"
        "$1" -D "$2" -h 127.0.0.1 -p "$3" >>"$4/log" 2>&1 &
        server=$!
        trap '' INT TERM HUP
        while kill -0 "$server" 2>/dev/null && [ -d "/proc/$5" ]; do sleep 0.5; done
        kill -QUIT "$server" 2>/dev/null
        wait "$server"
        [ -d "/proc/$5" ] || rm -rf "$4"
    "#;
    let mut shell = as_owner(Path::new("/bin/sh"), owner, folder);
    shell
        .args(["-c", script, "watch-postgres"])
        .arg(binary("postgres")?)
        .arg(data)
        .arg(port.to_string())
        .arg(folder)
        .arg(std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Its own group: Ctrl-C ends the tests, and the watcher then ends the server.
        .process_group(0)
        .spawn()
        .context("starting the server")?;
    Ok(())
}

/// Waits until the server accepts connections; false if it ended instead.
fn answers(port: u16, folder: &Path) -> bool {
    let end = Instant::now() + Duration::from_secs(30);
    let pid_file = folder.join("data/postmaster.pid");
    while Instant::now() < end {
        // The last line of this file says `ready` once the server takes queries.
        let ready = fs::read_to_string(&pid_file).is_ok_and(|text| text.contains("ready"));
        if ready && TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

fn own_folder() -> Result<PathBuf> {
    let folder = tempfile::Builder::new().prefix("lodeway-postgres-").tempdir()?;
    // Removed by the watcher: a static value is never dropped.
    Ok(folder.keep())
}

/// Whom the server runs as if we are root, which it refuses to be.
fn owner() -> Result<Option<(u32, u32)>> {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let user = ["postgres", "nobody"].iter().find_map(|name| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    Ok(Some(user.context(
        "there is no user `postgres` or `nobody` to run the server as",
    )?))
}

fn as_owner(program: &Path, owner: Option<(u32, u32)>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env("LC_ALL", "C");
    if let Some((uid, gid)) = owner {
        command.uid(uid).gid(gid);
    }
    command
}

/// Finds a program of PostgreSQL in the search path or where Debian puts it; the newest version wins.
fn binary(name: &str) -> Result<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<_> = versions
            .filter_map(|v| Some(v.ok()?.path().join("bin")))
            .collect();
        versions.sort();
        folders.extend(versions.into_iter().rev());
    }
    let found = folders
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.with_context(|| format!("`{name}` of PostgreSQL is not installed"))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("running {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!(
            "{:?} failed: {}",
            command.get_program(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
