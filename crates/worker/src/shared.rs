//! What the calls of a pool and the supervisors of its processes share: the workers without a call, the queue for them, and
//! what is known of the model.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use lodeway_domain::{Error, Reason};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Fence, PoolSpec,
    conn::Conn,
    memory::resident_bytes,
    slot::{Phase, Slot},
    wire::ModelFacts,
    worker::{Doom, Worker},
    zygotes::{Inner, Key},
};

/// A slow call is forgotten by about one part in so many with each that follows.
const FORGETTING: u64 = 16;
/// So many times the slowest call of late is beyond what is healthy.
const PATIENCE: u32 = 2;

pub(crate) struct Shared {
    pub zygotes: Arc<Inner>,
    pub key: Key,
    pub spec: PoolSpec,
    pub slots: Vec<Slot>,
    /// Cancelled once no more workers are to be started.
    pub stop: CancellationToken,
    /// The tasks that supervise the slots, and calls that are drained.
    pub tasks: TaskTracker,
    pub facts: OnceLock<ModelFacts>,
    pub fence: OnceLock<Fence>,
    pub python: OnceLock<String>,
    /// Workers without a call; as many permits as entries.
    idle: Mutex<Vec<Idle>>,
    ready: Semaphore,
    waiting: AtomicUsize,
    next_call: AtomicU64,
    /// About the longest that calls took lately, in milliseconds.
    slowest_ms: AtomicU64,
    /// When a process last answered a call.
    answered: Mutex<Option<Instant>>,
}

/// A worker that waits for a call.
pub(crate) struct Idle {
    pub conn: Conn,
    pub worker: Arc<Worker>,
}

impl Shared {
    pub fn new(zygotes: Arc<Inner>, key: Key, spec: PoolSpec) -> Self {
        Self {
            zygotes,
            key,
            slots: (0..spec.workers).map(|_| Slot::default()).collect(),
            spec,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            facts: OnceLock::new(),
            fence: OnceLock::new(),
            python: OnceLock::new(),
            idle: Mutex::default(),
            ready: Semaphore::new(0),
            waiting: AtomicUsize::new(0),
            next_call: AtomicU64::new(1),
            slowest_ms: AtomicU64::new(0),
            answered: Mutex::default(),
        }
    }

    /// Runs `work` in the background, known to the pool and to the process.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let work = self.tasks.track_future(work);
        (self.zygotes.spawn)(Box::pin(work));
    }

    pub fn max_body_bytes(&self) -> u64 {
        self.zygotes.config.max_message_bytes
    }

    /// Learns how long a call took that was answered.
    pub fn note_duration(&self, took: Duration) {
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let note = |before: u64| Some(took.max(before - before / FORGETTING));
        let _ = self
            .slowest_ms
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, note);
    }

    /// Notes that a process answered a call.
    pub fn note_answer(&self, worker: &Worker) {
        worker.count_call();
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a process of this model answered a call within `span`.
    pub fn has_answered_within(&self, span: Duration) -> bool {
        let answered = *self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.is_some_and(|at| at.elapsed() < span)
    }

    /// How long a healthy call may take, by those that were answered lately.
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.slowest_ms.load(Ordering::Relaxed)).saturating_mul(PATIENCE)
    }

    /// Whether a call waits for a free worker.
    pub fn is_awaited(&self) -> bool {
        self.waiting() > 0
    }

    /// Calls that wait for a free worker.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Gives no more workers to calls.
    pub fn close(&self) {
        self.ready.close();
    }

    pub fn next_call(&self) -> u64 {
        self.next_call.fetch_add(1, Ordering::Relaxed)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free worker, all to oneself.
    pub async fn checkout(&self, deadline: Instant) -> Result<Idle, Error> {
        loop {
            let permit = match self.ready.try_acquire() {
                Ok(permit) => permit,
                Err(tokio::sync::TryAcquireError::Closed) => return Err(stopping()),
                Err(tokio::sync::TryAcquireError::NoPermits) => self.wait_for_worker(deadline).await?,
            };
            permit.forget();
            let idle = self.idle().pop();
            // none if it was purged meanwhile
            let Some(idle) = idle else { continue };
            if idle.worker.has_ended() {
                continue;
            }
            // it may have ended, or gone mad, since its last call
            if idle.worker.is_retired() || !idle.conn.is_quiet() {
                idle.worker.let_go(idle.conn, &self.zygotes.spawn);
                continue;
            }
            idle.worker.set_busy(true);
            return Ok(idle);
        }
    }

    async fn wait_for_worker(&self, deadline: Instant) -> Result<tokio::sync::SemaphorePermit<'_>, Error> {
        self.refuse_if_none_comes(deadline)?;
        let place = Place::take(&self.waiting, self.spec.max_waiting)?;
        let permit = timeout_at(deadline, self.ready.acquire()).await;
        drop(place);
        match permit {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(stopping()),
            Err(_) => {
                self.refuse_if_none_comes(deadline)?;
                Err(Error::DeadlineExceeded)
            }
        }
    }

    /// An error if every slot waits to start its worker again until after `deadline`.
    fn refuse_if_none_comes(&self, deadline: Instant) -> Result<(), Error> {
        let mut soonest: Option<(Instant, String)> = None;
        for slot in &self.slots {
            match slot.phase() {
                Phase::Backoff { until, why } if until > deadline => {
                    if soonest.as_ref().is_none_or(|(known, _)| until < *known) {
                        soonest = Some((until, why));
                    }
                }
                _ => return Ok(()),
            }
        }
        let Some((until, why)) = soonest else {
            return Ok(());
        };
        Err(Error::Unavailable {
            reason: Reason::BackendUnavailable,
            message: "the model's processes keep ending; they are started again after a while".to_owned(),
            retry_after: until.saturating_duration_since(Instant::now()),
            cause: why.into(),
        })
    }

    /// Takes a worker back from its call, or lets it go if it is not to have another.
    pub fn give_back(&self, idle: Idle) {
        idle.worker.set_busy(false);
        if let Some(limit) = self.spec.memory_limit_bytes
            && let Some(resident) = resident_bytes(idle.worker.pid)
            && resident > limit
        {
            idle.worker.retire(Doom::Replaced { resident, limit });
        }
        if self.stop.is_cancelled() {
            idle.worker.retire(Doom::Stopped);
        }
        if idle.worker.is_retired() {
            idle.worker.let_go(idle.conn, &self.zygotes.spawn);
            return;
        }
        self.idle().push(idle);
        self.ready.add_permits(1);
        // stopped between the question and the push
        if self.stop.is_cancelled() {
            self.dismiss();
        }
    }

    /// Lets the workers without a call go, since the pool ends.
    pub fn dismiss(&self) {
        let idle = std::mem::take(&mut *self.idle());
        for Idle { conn, worker } in idle {
            worker.retire(Doom::Stopped);
            worker.let_go(conn, &self.zygotes.spawn);
        }
    }

    /// Removes idle workers that have ended or are to go.
    pub fn purge(&self) {
        let gone: Vec<_> = {
            let mut idle = self.idle();
            let (gone, kept) = idle
                .drain(..)
                .partition(|idle| idle.worker.has_ended() || idle.worker.is_retired());
            *idle = kept;
            gone
        };
        self.ready.forget_permits(gone.len());
        for idle in gone {
            idle.worker.let_go(idle.conn, &self.zygotes.spawn);
        }
    }

    /// What a fresh worker says about its model.
    pub fn learn(&self, facts: ModelFacts) {
        let _ = self.facts.set(facts);
    }
}

fn stopping() -> Error {
    Error::unavailable("the model is being unloaded", "its pool is stopped")
}

/// A place in the queue; left when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Result<Self, Error> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(waiting);
        if before >= most {
            return Err(Error::Exhausted {
                message: format!("{before} calls wait for this model already"),
                retry_after: Some(Duration::from_millis(100)),
            });
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
