//! The servers under test: processes of their own, each on a free port of the loopback, with a log file each.

mod child;
mod lodeway;
mod mlflow;
mod postgres;

use std::{
    fmt,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;

pub use self::{
    child::Child,
    lodeway::Lodeway,
    mlflow::{Fixture, Mlflow, Workers},
    postgres::{Postgres, SETTINGS},
};
use crate::{client::Client, load::Target, proc};

/// The database that both sides use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// A file of the server's own.
    Sqlite,
    /// A server of each side's own, started by the bench with fsync on.
    Postgres,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

impl Engine {
    /// What is on the disk when a write is acknowledged, on either side.
    pub fn durability(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "both synced at commit (lodeway: WAL, synchronous=FULL; mlflow: its default, rollback journal, synchronous=FULL)"
            }
            Self::Postgres => "both synced at commit (fsync=on, synchronous_commit=on)",
        }
    }
}

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Ours.
    Lodeway,
    /// `mlflow server`.
    Mlflow,
}

/// Where the programs are and where they may write.
#[derive(Debug, Clone)]
pub struct Places {
    /// The binary of Lodeway.
    pub lodeway: PathBuf,
    /// The `mlflow` command.
    pub mlflow: PathBuf,
    /// The Python environment with the peers of the serving rows and the library of ONNX Runtime.
    pub peers: PathBuf,
    /// Databases, artifacts, logs; emptied at start.
    pub work: PathBuf,
}

/// A running server.
pub struct Running {
    /// Its processes; ended when dropped.
    pub child: Child,
    /// Where it answers.
    pub addr: SocketAddr,
    /// From the start of the process to the first answer of the API.
    pub start: Duration,
}

impl Running {
    /// What a scenario watches; `idle` shares are measured by [`Running::watch_idle`].
    pub fn target(&self, postgres: Option<&Postgres>) -> Target {
        Target {
            addr: self.addr,
            root: self.child.id(),
            db_root: postgres.map(Postgres::id),
            idle: 0.0,
            db_idle: 0.0,
        }
    }
}

/// How long the late workers of a server that answers already may take.
const STARTED: Duration = Duration::from_secs(90);

/// Measures what server and database compute while nobody calls, for `time`.
pub fn watch_idle(mut target: Target, time: Duration) -> Target {
    proc::settle(&[target.root], STARTED);
    let (before, start) = (target.cpu(), Instant::now());
    thread::sleep(time);
    let (after, seconds) = (target.cpu(), start.elapsed().as_secs_f64());
    target.idle = (after.0 - before.0) / seconds;
    target.db_idle = (after.1 - before.1) / seconds;
    target
}

/// A port that is free now.
pub fn free_addr() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Waits until the API gives an answer from its database.
fn first_answer(child: &mut Child, addr: SocketAddr, started: Instant) -> Result<Duration> {
    wait_until(child, addr, started, |client| {
        client.get("experiments/get?experiment_id=0").map(drop)
    })
}

/// Waits until `probe` succeeds on a new connection, at most two minutes; how long that took since `started`.
pub fn wait_until(
    child: &mut Child,
    addr: SocketAddr,
    started: Instant,
    probe: impl Fn(&mut Client) -> Result<()>,
) -> Result<Duration> {
    while started.elapsed() < Duration::from_secs(120) {
        if Client::connect(addr)
            .and_then(|mut client| probe(&mut client))
            .is_ok()
        {
            return Ok(started.elapsed());
        }
        if let Some(log) = child.ended()? {
            bail!("the server ended; its log says: {log}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    bail!(
        "no answer at {addr} within two minutes; the log is {}",
        child.log().display()
    )
}

/// Memory of a tree once it has settled.
pub fn settled_pss(target: &Target) -> f64 {
    proc::settle(&[target.root], STARTED);
    proc::pss_mib(target.root)
}
