//! One queue a model: bounded, first come first served, with batches that grow under load.
//!
//! While the model has a place free, a call goes straight through and waits for nobody. When all places are taken, calls
//! gather; whoever ends takes as many of them as fit together into one batch. So the size of batches follows the load,
//! and a lone caller pays nothing for it (`max_batch_delay` makes the first call wait for company all the same, for
//! models that gain much by it).

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use lodeway_domain::{Error, Result, serving::DeploymentSettings};
use lodeway_inference::{Payload, rows};
use lodeway_rpc::Tasks;
use tokio::sync::oneshot;

use crate::runtime::{Call, Runtime};

#[cfg(test)]
mod tests;

/// Calls of a batch that are named in the log where it fails.
const NAMED: usize = 8;

/// The queue of one loaded model. Clones share it.
#[derive(Clone)]
pub(crate) struct Queue(Arc<Inner>);

struct Inner {
    runtime: Arc<dyn Runtime>,
    tasks: Tasks,
    limits: Limits,
    state: Mutex<State>,
}

/// What a queue allows.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Whether calls of different callers may share a batch.
    pub(crate) merges: bool,
    pub(crate) max_batch_rows: usize,
    pub(crate) max_batch_delay: Duration,
    pub(crate) max_queued: usize,
    pub(crate) call_timeout: Duration,
    /// Batches at the same time.
    pub(crate) places: usize,
}

impl Limits {
    pub(crate) fn new(settings: &DeploymentSettings, runtime: &dyn Runtime, row_independent: bool) -> Self {
        Self {
            merges: row_independent,
            max_batch_rows: settings.max_batch_rows,
            max_batch_delay: settings.max_batch_delay,
            max_queued: settings.max_queued_calls,
            call_timeout: settings.call_timeout,
            places: settings.max_active_batches.unwrap_or_else(|| runtime.parallel()),
        }
    }
}

#[derive(Default)]
struct State {
    active: usize,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    call: Call,
    answer: oneshot::Sender<Result<Payload>>,
}

impl Waiting {
    /// True if nobody waits for it any longer.
    fn is_over(&self, now: Instant) -> bool {
        self.answer.is_closed() || self.call.deadline <= now
    }
}

impl Queue {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, limits: Limits, tasks: Tasks) -> Self {
        Self(Arc::new(Inner {
            runtime,
            tasks,
            limits,
            state: Mutex::default(),
        }))
    }

    /// Calls that wait and calls at work.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let state = self.0.state();
        (state.waiting.len(), state.active)
    }

    /// Scores one call. Errors: `LIMIT_EXCEEDED` if the queue is full, `DEADLINE_PASSED`, and those of the runtime.
    pub(crate) async fn infer(&self, call: Call) -> Result<Payload> {
        let inner = &self.0;
        let deadline = call.deadline;
        let receiver = {
            let mut state = inner.state();
            let is_free = state.active < inner.limits.places;
            if is_free && state.waiting.is_empty() && inner.limits.max_batch_delay.is_zero() {
                state.active += 1;
                None
            } else {
                if state.waiting.len() >= inner.limits.max_queued {
                    let now = Instant::now();
                    state.waiting.retain(|waiting| !waiting.is_over(now));
                }
                if state.waiting.len() >= inner.limits.max_queued {
                    return Err(full(inner.limits.max_queued));
                }
                let (answer, receiver) = oneshot::channel();
                state.waiting.push_back(Waiting {
                    call: call.clone(),
                    answer,
                });
                if is_free {
                    state.active += 1;
                    let place = Place(inner.clone());
                    inner.tasks.spawn(async move { place.gather().await });
                }
                Some(receiver)
            }
        };
        match receiver {
            None => {
                let place = Place(inner.clone());
                let answer = inner.run(call).await;
                drop(place);
                answer
            }
            Some(receiver) => match tokio::time::timeout_at(deadline.into(), receiver).await {
                Ok(Ok(answer)) => answer,
                // Who looks for the next batch may see that its time is over before this call does.
                Ok(Err(_gone)) if deadline <= Instant::now() => Err(Error::DeadlineExceeded),
                Ok(Err(_gone)) => Err(Error::unavailable("the model was stopped", "its queue ended")),
                Err(_elapsed) => Err(Error::DeadlineExceeded),
            },
        }
    }

    /// Waits until nothing is at work or waiting; false if that took longer than `patience`.
    pub(crate) async fn drained(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while self.depth() != (0, 0) {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }
}

/// A place at the model, given on or given back when dropped: also when a caller goes away in the middle.
struct Place(Arc<Inner>);

impl Place {
    /// Waits for company, then works.
    async fn gather(self) {
        tokio::time::sleep(self.0.limits.max_batch_delay).await;
        self.work().await;
    }

    /// Works batch by batch until nobody waits.
    async fn work(self) {
        while let Some(batch) = self.0.next_batch() {
            self.0.serve(batch).await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if state.waiting.is_empty() {
            state.active -= 1;
            return;
        }
        drop(state);
        let next = Self(self.0.clone());
        self.0.tasks.spawn(next.work());
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, mut call: Call) -> Result<Payload> {
        let now = Instant::now();
        call.deadline = call.deadline.min(now + self.limits.call_timeout);
        if call.deadline <= now {
            return Err(Error::DeadlineExceeded);
        }
        let deadline = call.deadline;
        tokio::time::timeout_at(deadline.into(), self.runtime.infer(call))
            .await
            .unwrap_or(Err(Error::DeadlineExceeded))
    }

    /// The calls that go together next; those nobody waits for are dropped on the way.
    fn next_batch(&self) -> Option<Vec<Waiting>> {
        let mut state = self.state();
        let now = Instant::now();
        let first = loop {
            let next = state.waiting.pop_front()?;
            if !next.is_over(now) {
                break next;
            }
        };
        let mut batch = vec![first];
        if !self.limits.merges {
            return Some(batch);
        }
        let Some(mut held) = batch.first().and_then(|one| one.call.payload.rows()) else {
            return Some(batch);
        };
        while let Some(next) = state.waiting.front() {
            let fits = next
                .call
                .payload
                .rows()
                .is_some_and(|n| held + n <= self.limits.max_batch_rows)
                && batch.first().is_some_and(|first| {
                    first.call.params == next.call.params
                        && rows::compatible(&first.call.payload, &next.call.payload)
                });
            if !fits && !next.is_over(now) {
                break;
            }
            let Some(next) = state.waiting.pop_front() else {
                break;
            };
            if !next.is_over(now) {
                held += next.call.payload.rows().unwrap_or_default();
                batch.push(next);
            }
        }
        Some(batch)
    }

    /// Scores a batch, as long as anybody waits for it.
    async fn serve(&self, batch: Vec<Waiting>) {
        let each = batch.into_iter().map(|one| (one.call, one.answer));
        let (calls, mut callers): (Vec<Call>, Vec<_>) = each.unzip();
        if calls.len() > 1 {
            let answers = tokio::select! {
                answers = self.together(&calls) => answers,
                () = all_left(&mut callers) => return,
            };
            if let Some(answers) = answers {
                for (caller, answer) in callers.into_iter().zip(answers) {
                    drop(caller.send(Ok(answer)));
                }
                return;
            }
        }
        for (call, mut caller) in calls.into_iter().zip(callers) {
            let result = tokio::select! {
                result = self.run(call) => result,
                () = caller.closed() => continue,
            };
            drop(caller.send(result));
        }
    }

    /// One batch for all; none if it failed or its answer does not divide, and each is then tried alone, so that one
    /// caller's bad input is nobody else's failure.
    async fn together(&self, batch: &[Call]) -> Option<Vec<Payload>> {
        let payloads: Vec<_> = batch.iter().map(|one| &one.payload).collect();
        let sizes: Vec<_> = payloads.iter().map(|p| p.rows().unwrap_or_default()).collect();
        let deadlines = batch.iter().map(|one| one.deadline);
        let call = Call {
            payload: rows::concat_rows(&payloads).ok()?,
            params: batch.first()?.params.clone(),
            // Those who wait longest say how long the batch may take, and the others stop waiting by themselves; but a run that
            // can be stopped for nothing ends with the first, who may be the one that makes it take so long.
            deadline: match self.runtime.stops_at_once() {
                true => deadlines.min()?,
                false => deadlines.max()?,
            },
            trace: traces(batch),
        };
        let answer = self.run(call).await.ok()?;
        rows::split_rows(&answer, &sizes).ok()
    }
}

/// Waits until nobody waits any longer.
async fn all_left(callers: &mut [oneshot::Sender<Result<Payload>>]) {
    for caller in callers {
        caller.closed().await;
    }
}

/// The names of the calls of a batch, as many as fit into a line of a log.
fn traces(batch: &[Call]) -> Arc<str> {
    let named = batch.iter().take(NAMED).map(|one| &*one.trace);
    let mut all = named.collect::<Vec<_>>().join(",");
    if batch.len() > NAMED {
        all.push_str(",…");
    }
    all.into()
}

fn full(bound: usize) -> Error {
    Error::Exhausted {
        message: format!("{bound} calls wait for this model already; repeat a moment later"),
        retry_after: Some(Duration::from_millis(100)),
    }
}
