//! Load on a server: some connections that each send one request after the other for a given time.

use std::{
    net::SocketAddr,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};

use crate::{client::Client, proc};

/// How long a server may go on computing after the load has ended.
const SETTLE: Duration = Duration::from_secs(10);

/// What one round of load cost.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Round {
    /// Operations done.
    pub ops: usize,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Of each operation, sorted, in milliseconds.
    #[serde(skip)]
    pub latencies_ms: Vec<f64>,
    /// CPU of the server's process tree, its idle share taken off.
    pub cpu_seconds: f64,
    /// CPU of its PostgreSQL, if it has one, idle share taken off.
    pub db_cpu_seconds: f64,
    /// Memory of the server's tree after the round, or the most seen where a scenario samples it.
    pub pss_mib: f64,
}

/// What is watched while load runs.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Where it answers.
    pub addr: SocketAddr,
    /// Its topmost process.
    pub root: u32,
    /// The topmost process of its PostgreSQL.
    pub db_root: Option<u32>,
    /// Share of a core that the server uses while nobody calls.
    pub idle: f64,
    /// The same of its PostgreSQL.
    pub db_idle: f64,
}

impl Target {
    /// CPU seconds so far of server and database.
    pub fn cpu(&self) -> (f64, f64) {
        (
            proc::cpu_seconds(self.root),
            self.db_root.map_or(0.0, proc::cpu_seconds),
        )
    }

    /// Waits until the work that the load left behind is done.
    pub fn settle(&self) {
        let roots: Vec<u32> = std::iter::once(self.root).chain(self.db_root).collect();
        proc::settle(&roots, SETTLE);
    }

    /// Measures `work`, which gives the latencies of its operations; also what the server does afterwards because of it.
    pub fn measure(&self, work: impl FnOnce() -> Result<Vec<f64>>) -> Result<Round> {
        self.settle();
        let (before, start) = (self.cpu(), Instant::now());
        let mut latencies_ms = work()?;
        let seconds = start.elapsed().as_secs_f64();
        self.settle();
        let (after, watched) = (self.cpu(), start.elapsed().as_secs_f64());
        latencies_ms.sort_by(f64::total_cmp);
        Ok(Round {
            ops: latencies_ms.len(),
            seconds,
            latencies_ms,
            cpu_seconds: (after.0 - before.0 - self.idle * watched).max(0.0),
            db_cpu_seconds: (after.1 - before.1 - self.db_idle * watched).max(0.0),
            pss_mib: proc::pss_mib(self.root),
        })
    }

    /// Runs `concurrency` connections for `time`; each prepares itself unmeasured, then repeats `op` with a counter.
    pub fn drive<S>(
        &self,
        concurrency: usize,
        time: Duration,
        setup: impl Fn(&mut Client, usize) -> Result<S> + Sync,
        op: impl Fn(&mut Client, &mut S, usize) -> Result<()> + Sync,
    ) -> Result<Round> {
        let (ready, go) = (Barrier::new(concurrency + 1), Barrier::new(concurrency + 1));
        let worker = &|number: usize| -> Result<Vec<f64>> {
            let prepared = Client::connect(self.addr).and_then(|mut client| {
                let state = setup(&mut client, number)?;
                Ok((client, state))
            });
            ready.wait();
            go.wait();
            let (mut client, mut state) = prepared?;
            let (start, mut latencies) = (Instant::now(), Vec::new());
            while latencies.is_empty() || start.elapsed() < time {
                let sent = Instant::now();
                op(&mut client, &mut state, latencies.len())?;
                latencies.push(sent.elapsed().as_secs_f64() * 1e3);
            }
            Ok(latencies)
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..concurrency).map(|n| scope.spawn(move || worker(n))).collect();
            ready.wait();
            self.measure(|| {
                go.wait();
                let mut all = Vec::new();
                for worker in workers {
                    let done = worker.join().map_err(|_| anyhow!("a load thread panicked"))?;
                    all.extend(done.context("under load")?);
                }
                Ok(all)
            })
        })
    }
}
