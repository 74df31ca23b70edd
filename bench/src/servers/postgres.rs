//! A PostgreSQL of one side's own, so that neither pays for the other's vacuuming; fsync and synchronous commits are on.

use std::{
    fs,
    net::TcpStream,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{Child, free_addr};

/// What it is set to beside its defaults, for the report.
pub const SETTINGS: &str = "fsync=on synchronous_commit=on full_page_writes=on shared_buffers=128MB";

/// A running server; it ends and its folder goes when dropped.
pub struct Postgres {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Postgres {
    /// Starts one with an empty database `database`.
    ///
    /// The folder is below the system's folder for temporary files: the server runs as another user if we are root, and
    /// that user has to reach it.
    pub fn start(database: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("lodeway-bench-{}-{database}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let owner = owner()?;
        if let Some((uid, gid)) = owner {
            chown(&folder, Some(uid), Some(gid))?;
        }
        let data = folder.join("data");
        let mut initdb = as_owner("initdb", owner, &folder)?;
        initdb
            .args(["-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C", "-D"])
            .arg(&data);
        run(&mut initdb)?;
        let port = free_addr()?.port();
        let mut server = as_owner("postgres", owner, &folder)?;
        server
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k", ""]);
        for setting in SETTINGS
            .split(' ')
            .chain(["max_connections=200", "log_min_messages=fatal"])
        {
            server.args(["-c", setting]);
        }
        let child = Child::spawn(server, &folder.join("log"), "INT")?;
        let server = Self { child, port, folder };
        server.wait()?;
        run(as_owner("createdb", owner, &server.folder)?.args([
            "-h",
            "127.0.0.1",
            "-U",
            "bench",
            "-p",
            &port.to_string(),
            database,
        ]))?;
        Ok(server)
    }

    /// The address of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://bench@127.0.0.1:{}/{database}", self.port)
    }

    /// The process whose children serve the connections.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn wait(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(30);
        let pid_file = self.folder.join("data/postmaster.pid");
        while Instant::now() < end {
            let ready = fs::read_to_string(&pid_file).is_ok_and(|text| text.contains("ready"));
            if ready && TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!(
            "PostgreSQL does not start; its log is {}",
            self.child.log().display()
        )
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its files may go while it runs: it is about to end and nobody reads them again.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Whom the server runs as if we are root, which it refuses to be.
fn owner() -> Result<Option<(u32, u32)>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let user = ["postgres", "nobody"].iter().find_map(|name| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2);
        Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
    });
    Ok(Some(user.context(
        "there is no user `postgres` or `nobody` to run PostgreSQL as",
    )?))
}

fn as_owner(program: &str, owner: Option<(u32, u32)>, folder: &Path) -> Result<Command> {
    let mut command = Command::new(binary(program)?);
    command.current_dir(folder).env("LC_ALL", "C");
    if let Some((uid, gid)) = owner {
        command.uid(uid).gid(gid);
    }
    Ok(command)
}

/// Finds a program of PostgreSQL in the search path or where Debian puts it; the newest version wins.
fn binary(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut versions: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    let found = folders
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.with_context(|| format!("`{name}` of PostgreSQL is not installed"))
}

fn run(command: &mut Command) -> Result<()> {
    let out = command
        .output()
        .with_context(|| format!("running {}", command.get_program().display()))?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(
        out.status.success(),
        "{} failed: {said}",
        command.get_program().display()
    );
    Ok(())
}
