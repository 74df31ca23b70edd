//! One place in a pool: the worker that holds it, and what it does. `supervise` keeps it filled.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::{
    memory::resident_bytes,
    worker::{Doom, Worker},
};

/// What a slot does now.
#[derive(Debug, Clone, Default)]
pub(crate) enum Phase {
    /// A worker is being started.
    #[default]
    Starting,
    /// A worker takes calls.
    Ready,
    /// The next worker is started later.
    Backoff { until: Instant, why: String },
    /// There will be no other.
    Stopped,
}

/// One process of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Its number; `None` while there is none.
    pub pid: Option<u32>,
    /// Whether it takes calls.
    pub is_ready: bool,
    /// Whether it has a call.
    pub is_busy: bool,
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Calls that it answered, errors of callers and models included.
    pub calls: u64,
    /// How often another process took its place.
    pub restarts: u64,
    /// How the last one before it ended.
    pub last_end: Option<String>,
}

/// A place for one process.
#[derive(Default)]
pub(crate) struct Slot(Mutex<State>);

#[derive(Default)]
struct State {
    phase: Phase,
    worker: Option<Arc<Worker>>,
    restarts: u64,
    last_end: Option<String>,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn phase(&self) -> Phase {
        self.state().phase.clone()
    }

    pub fn set_phase(&self, phase: Phase) {
        self.state().phase = phase;
    }

    pub fn set_worker(&self, worker: Option<Arc<Worker>>) {
        self.state().worker = worker;
    }

    /// Notes how a worker ended whose place another takes.
    pub fn note_end(&self, why: String) {
        let mut state = self.state();
        state.restarts += 1;
        state.last_end = Some(why);
    }

    pub fn status(&self) -> WorkerStatus {
        let state = self.state();
        let worker = state.worker.as_ref();
        WorkerStatus {
            pid: worker.map(|worker| worker.pid).filter(|&pid| pid != 0),
            is_ready: matches!(state.phase, Phase::Ready),
            is_busy: worker.is_some_and(|worker| worker.is_busy()),
            resident_bytes: worker
                .and_then(|worker| resident_bytes(worker.pid))
                .unwrap_or_default(),
            calls: worker.map(|worker| worker.calls()).unwrap_or_default(),
            restarts: state.restarts,
            last_end: state.last_end.clone(),
        }
    }

    /// Kills the worker that is there.
    pub fn kill(&self, why: &Doom) {
        if let Some(worker) = self.worker() {
            worker.kill(why.clone());
        }
    }

    pub fn worker(&self) -> Option<Arc<Worker>> {
        self.state().worker.clone()
    }
}
