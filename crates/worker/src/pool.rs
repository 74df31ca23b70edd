//! The processes that serve one model, and calls to them.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant as StdInstant},
};

use lodeway_domain::{Error, Reason};
use lodeway_inference::{Params, Payload};
use tokio::{
    sync::{Semaphore, oneshot},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Fence, PoolSpec, PredictStream,
    busy::Busy,
    conn::Conn,
    slot::{self, Phase, Slot},
    wire::{self, Call, ModelFacts, Reply},
    worker::{Doom, Worker},
    zygotes::{Inner, Key},
};

/// A slow call is forgotten by about one part in so many with each that follows.
const FORGETTING: u64 = 16;
/// So many times the slowest call of late is beyond what is healthy.
const PATIENCE: u32 = 2;

/// One model in its processes; clones share them. They end with [`Pool::stop`] or the last clone.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    _stop_on_drop: Arc<StopOnDrop>,
}

struct StopOnDrop(CancellationToken);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

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

/// How a pool is, at one moment.
#[derive(Debug, Clone)]
pub struct PoolStatus {
    /// Its processes.
    pub workers: Vec<WorkerStatus>,
    /// Calls that wait for a free process.
    pub waiting: usize,
    /// What keeps the model's code away from the machine.
    pub fence: Fence,
    /// The version of the interpreter.
    pub python: String,
    /// What is known of the model.
    pub model: Option<ModelFacts>,
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

impl Pool {
    pub(crate) async fn start(zygotes: Arc<Inner>, key: Key, spec: PoolSpec) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
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
        });
        let pool = Self {
            _stop_on_drop: Arc::new(StopOnDrop(shared.stop.clone())),
            shared,
        };
        let shared = &pool.shared;
        let starts: Vec<_> = (0..shared.spec.workers)
            .map(|number| {
                let (first, started) = oneshot::channel();
                shared.spawn(slot::supervise(shared.clone(), number, first));
                started
            })
            .collect();
        for started in starts {
            let started = started.await.map_err(Error::internal).flatten();
            if let Err(error) = started {
                pool.stop(Duration::ZERO).await;
                return Err(error);
            }
        }
        if let Some(limit) = shared.spec.memory_limit_bytes {
            shared.spawn(slot::watch_memory(shared.clone(), limit));
        }
        Ok(pool)
    }

    /// One answer of the model; the same as `load_model(folder).predict(…)` gives, to the last bit.
    ///
    /// | input | what the model is given |
    /// |---|---|
    /// | document | what MLflow's scoring server makes of it; its params stand in it, `params` must be empty |
    /// | frame | a `DataFrame` of the same types, nulls as pandas has them |
    /// | tensors, signature of columns | a `DataFrame` of `[rows]` or `[rows, 1]` columns, or of one matrix |
    /// | tensors, otherwise | an array for one without a name in the signature, else a dict of arrays |
    ///
    /// Arrays, lists of one kind, scalars and sparse matrices are answered as tensors (`predictions`, or the one name
    /// in the signature), frames and series as frames; a document input and everything else as MLflow's JSON document.
    ///
    /// Errors: `INVALID_FIELD` for what MLflow finds wrong with the input; `MODEL_RAISED` if the model raises, see
    /// [`crate::ModelFault`]; `BACKEND_UNAVAILABLE` if its process ended during the call or none is to be had by the
    /// deadline; `DEADLINE_PASSED` at `deadline`, or at the pool's `call_timeout`, whose process is killed, as is one
    /// whose call goes on long after its deadline while others wait; `LIMIT_EXCEEDED` if too many calls wait, or input or answer is too large.
    pub async fn predict(
        &self,
        input: Payload,
        params: &Params,
        deadline: StdInstant,
    ) -> Result<Payload, Error> {
        self.predict_traced(input, params, deadline, "").await
    }

    /// As [`Pool::predict`]; `trace` stands in the worker's log before what went wrong in this call.
    pub async fn predict_traced(
        &self,
        input: Payload,
        params: &Params,
        deadline: StdInstant,
        trace: &str,
    ) -> Result<Payload, Error> {
        let shared = &self.shared;
        let id = shared.next_call();
        check_params(&input, params)?;
        let frame = wire::encode(Call::Predict(input, params, trace), id, shared.max_body_bytes())?;
        let mut busy = shared.checkout(Instant::from_std(deadline)).await?;
        let (reply, body) = busy.call(id, frame).await?;
        let answer = busy.answer(reply, &body);
        busy.finish();
        answer?.ok_or_else(|| Error::internal("the model answered a call with the end of a stream"))
    }

    /// The answers of the model's `predict_stream`, as it makes them. Errors: as [`Pool::predict`]; a model without
    /// streams raises.
    pub async fn predict_stream(
        &self,
        input: Payload,
        params: &Params,
        deadline: StdInstant,
    ) -> Result<PredictStream, Error> {
        self.predict_stream_traced(input, params, deadline, "").await
    }

    /// As [`Pool::predict_stream`]; `trace` stands in the worker's log before what went wrong in this call.
    pub async fn predict_stream_traced(
        &self,
        input: Payload,
        params: &Params,
        deadline: StdInstant,
        trace: &str,
    ) -> Result<PredictStream, Error> {
        let shared = &self.shared;
        let id = shared.next_call();
        check_params(&input, params)?;
        let frame = wire::encode(Call::Stream(input, params, trace), id, shared.max_body_bytes())?;
        let mut busy = shared.checkout(Instant::from_std(deadline)).await?;
        busy.put(id, frame);
        Ok(PredictStream::new(shared, busy))
    }

    /// Asks a free worker whether it is there; nothing of the model runs. Errors: as [`Pool::predict`].
    pub async fn ping(&self, deadline: StdInstant) -> Result<(), Error> {
        let id = self.shared.next_call();
        let frame = wire::encode(Call::Ping, id, self.shared.max_body_bytes())?;
        let mut busy = self.shared.checkout(Instant::from_std(deadline)).await?;
        busy.call(id, frame).await?;
        busy.finish();
        Ok(())
    }

    /// How it is now.
    pub fn status(&self) -> PoolStatus {
        let shared = &self.shared;
        PoolStatus {
            workers: shared.slots.iter().map(Slot::status).collect(),
            waiting: shared.waiting.load(Ordering::Relaxed),
            fence: shared.fence.get().copied().unwrap_or_default(),
            python: shared.python.get().cloned().unwrap_or_default(),
            model: shared.facts.get().cloned(),
        }
    }

    /// What is known of the model.
    pub fn model(&self) -> Option<&ModelFacts> {
        self.shared.facts.get()
    }

    /// Takes no more calls, waits up to `grace` for those at work, ends the processes.
    pub async fn stop(&self, grace: Duration) {
        let shared = &self.shared;
        shared.ready.close();
        let deadline = Instant::now() + grace;
        // each slot dismisses its worker as soon as it has no call
        shared.stop.cancel();
        shared.tasks.close();
        if timeout_at(deadline, shared.tasks.wait()).await.is_ok() {
            return;
        }
        for slot in &shared.slots {
            slot.kill(&Doom::Stopped);
        }
        let _ = timeout(Duration::from_secs(5), shared.tasks.wait()).await;
    }
}

/// The params of a document stand in it, as in a body for MLflow's scoring server.
fn check_params(input: &Payload, params: &Params) -> Result<(), Error> {
    match input {
        Payload::Document(_) if !params.is_empty() => Err(Error::invalid(
            "params",
            "must be empty: a document holds its own",
        )),
        _ => Ok(()),
    }
}

impl Shared {
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
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn next_call(&self) -> u64 {
        self.next_call.fetch_add(1, Ordering::Relaxed)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free worker, all to oneself.
    async fn checkout(self: &Arc<Self>, deadline: Instant) -> Result<Busy, Error> {
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
            return Ok(Busy::new(self.clone(), idle, deadline));
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
            && let Some(resident) = crate::memory::resident_bytes(idle.worker.pid)
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

/// Reads the first thing that a worker says: whether its model is loaded.
pub(crate) async fn first_words(conn: &mut Conn) -> Result<ModelFacts, String> {
    match conn.exchange().await {
        Ok((Reply::Ready(facts), _)) => Ok(facts),
        Ok((Reply::Failed { message }, _)) => Err(message),
        Ok(_) => Err("it spoke before its model was loaded".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
