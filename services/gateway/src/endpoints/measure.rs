//! What this process measures of one target: every call is counted and timed, the values of some go into distributions.
//!
//! Values are taken from a bounded number of calls a second: their cost is bounded, whatever the traffic, and a sample says
//! the same of a distribution.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lodeway_domain::{
    caller::Workspace,
    monitor::{Columns, Comparison, Outcome, TrafficSummary},
    serving::{EndpointKey, PredictionId, TargetName},
    time::Timestamp,
};
use lodeway_inference::values;
use lodeway_proto::inference::{ModelInferRequest, ModelInferResponse};
use lodeway_rpc::inference;
use lodeway_store::gateway::{Window, WindowKey};
use metrics::{Counter, Histogram, counter, histogram};

use super::EndpointConfig;

/// Rows of one call that go into distributions.
const SAMPLED_ROWS: usize = 16;
/// Windows that wait for the store at most, a target; while it is down the oldest are lost.
const MAX_WAITING: usize = 360;

/// One call as it is measured.
pub(crate) struct Seen<'a> {
    pub(crate) latency: Duration,
    pub(crate) outcome: Result<(), &'static str>,
    pub(crate) input: Option<&'a ModelInferRequest>,
    pub(crate) answer: Option<&'a ModelInferResponse>,
    pub(crate) kind: Kind,
}

/// Whose attempt was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The one whose answer the caller got, if it is the last failure: each call has one.
    Call,
    /// One before it that failed, or beside it: the caller got another one's answer.
    Retried,
    /// A copy for a shadow, whose answer nobody gets.
    Copy,
}

/// How the replica of a window of attempts ends whose answers nobody got. Such windows stand beside those of calls.
pub(super) const RETRIED: &str = "/retried";

/// Whose measurements: what does not change while a route lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Of<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) endpoint: &'a str,
    pub(crate) target: &'a TargetName,
    pub(crate) revision: u32,
    pub(crate) version: &'a str,
}

/// What is measured of one target by this process.
#[derive(Default)]
pub(crate) struct TargetMonitor(Mutex<State>);

#[derive(Default)]
struct State {
    open: Vec<Open>,
    closed: Vec<Open>,
    second: i64,
    sampled: u32,
    counters: HashMap<(String, &'static str, Kind), (Counter, Option<Histogram>)>,
}

/// One window that is being filled.
struct Open {
    is_retried: bool,
    revision: u32,
    version: String,
    start_ms: i64,
    end_ms: i64,
    summary: TrafficSummary,
    is_dirty: bool,
}

impl TargetMonitor {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an attempt that was given up because another one answered first: how it would have ended is not known, so it
    /// says nothing of its target.
    pub(crate) fn given_up(&self, of: Of<'_>) {
        let code = Outcome::Cancelled.as_str();
        self.state().count(of, (code, Kind::Retried), Duration::ZERO);
    }

    /// Measures one attempt.
    pub(crate) fn record(&self, of: Of<'_>, now: Timestamp, seen: &Seen<'_>, config: &EndpointConfig) {
        let outcome = seen.outcome.err().map_or(Outcome::Ok, outcome_of);
        let name = seen.outcome.err().unwrap_or("OK");
        let mut state = self.state();
        state.count(of, (name, seen.kind), seen.latency);
        let is_retried = seen.kind == Kind::Retried;
        let samples = !is_retried && state.may_sample(now, config.sampled_calls_per_second);
        let rows = seen.input.map_or(1, rows_of);
        let window = state.window((of, is_retried), now, config.window);
        window.summary.record_call(outcome, seen.latency, rows);
        // Only what was answered: a caller's made-up inputs would crowd out the model's.
        if samples && seen.answer.is_some() {
            if let Some(input) = seen.input {
                add_input(window.summary.features_mut(), input);
            }
            if let Some(answer) = seen.answer {
                add_answer(window.summary.predictions_mut(), answer);
            }
        }
    }

    /// A copy was compared with what its caller got.
    pub(crate) fn shadow(&self, of: Of<'_>, now: Timestamp, config: &EndpointConfig, outcome: Mirrored<'_>) {
        let mut state = self.state();
        let window = state.window((of, false), now, config.window);
        match outcome {
            Mirrored::Compared(comparison, id) => window.summary.shadow_mut().record(comparison, id),
            Mirrored::Failed => window.summary.shadow_mut().record_failed(),
            Mirrored::Dropped => window.summary.shadow_mut().record_dropped(),
        }
    }

    /// What is to be written to the store: closed windows, and the open ones as they are.
    pub(super) fn take(&self, key: EndpointKey, target: &TargetName, replica: &str) -> Vec<Window> {
        let mut state = self.state();
        let closed = std::mem::take(&mut state.closed);
        let window = |window: &Open| Window {
            key: WindowKey {
                key,
                start: Timestamp::from_millis(window.start_ms),
                revision: window.revision,
                target: target.clone(),
                model_version: window.version.clone(),
                replica: format!("{replica}{}", if window.is_retried { RETRIED } else { "" }),
            },
            end: Timestamp::from_millis(window.end_ms),
            body: window.summary.encode(),
        };
        let now_open = state
            .open
            .iter_mut()
            .filter_map(|open| std::mem::take(&mut open.is_dirty).then_some(&*open));
        let mut windows: Vec<_> = now_open.map(window).collect();
        windows.extend(closed.iter().map(window));
        windows
    }
}

/// What became of a copy.
pub(crate) enum Mirrored<'a> {
    Compared(Comparison, &'a PredictionId),
    Failed,
    Dropped,
}

impl State {
    fn window(&mut self, (of, is_retried): (Of<'_>, bool), now: Timestamp, length: Duration) -> &mut Open {
        let length = i64::try_from(length.as_millis()).unwrap_or(10_000).max(1);
        let mut start_ms = now.millis() - now.millis().rem_euclid(length);
        // Calls that end together come in any order. One that is late by a window counts into the window that has begun:
        // opened again, the old one would be written over what is known of it.
        let newest = self.open.iter().map(|window| window.start_ms).max();
        if let Some(newest) = newest.filter(|newest| (1..=length).contains(&(newest - start_ms))) {
            start_ms = newest;
        }
        // Few are open at a time: a revision and a version, two while either changes.
        while let Some(place) = self.open.iter().position(|window| window.start_ms != start_ms) {
            let over = self.open.swap_remove(place);
            if self.closed.len() >= MAX_WAITING {
                self.closed.remove(0);
            }
            self.closed.push(over);
        }
        let is_same = |window: &Open| {
            (window.is_retried, window.revision) == (is_retried, of.revision) && window.version == of.version
        };
        let place = self.open.iter().position(is_same).unwrap_or_else(|| {
            self.open.push(Open {
                is_retried,
                revision: of.revision,
                version: of.version.to_owned(),
                start_ms,
                end_ms: start_ms + length,
                summary: TrafficSummary::with_seed(fastrand::u64(..)),
                is_dirty: true,
            });
            self.open.len() - 1
        });
        let window = &mut self.open[place];
        window.is_dirty = true;
        window
    }

    /// Whether the values of this call are taken.
    fn may_sample(&mut self, now: Timestamp, bound: u32) -> bool {
        let second = now.millis().div_euclid(1_000);
        if second != self.second {
            (self.second, self.sampled) = (second, 0);
        }
        self.sampled += 1;
        self.sampled <= bound
    }

    /// Counts for Prometheus. Copies have series of their own, and so have attempts before or beside the one that the caller
    /// got: sums over an endpoint are of its callers alone.
    fn count(&mut self, of: Of<'_>, (outcome, kind): (&'static str, Kind), latency: Duration) {
        let key = (of.version.to_owned(), outcome, kind);
        let (calls, seconds) = self.counters.entry(key).or_insert_with(|| {
            let labels = [
                ("workspace", of.workspace.as_str().to_owned()),
                ("endpoint", of.endpoint.to_owned()),
                ("target", of.target.to_string()),
                ("version", of.version.to_owned()),
                ("outcome", outcome.to_owned()),
            ];
            match kind {
                Kind::Call => (
                    counter!("lodeway_endpoint_calls_total", &labels),
                    Some(histogram!("lodeway_endpoint_duration_seconds", &labels)),
                ),
                Kind::Retried => (counter!("lodeway_endpoint_retries_total", &labels), None),
                Kind::Copy => (
                    counter!("lodeway_endpoint_shadow_calls_total", &labels),
                    Some(histogram!("lodeway_endpoint_shadow_duration_seconds", &labels)),
                ),
            }
        });
        calls.increment(1);
        if let Some(seconds) = seconds {
            seconds.record(latency.as_secs_f64());
        }
    }
}

fn outcome_of(code: &'static str) -> Outcome {
    let known = Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == code);
    known.unwrap_or(Outcome::Unknown)
}

fn rows_of(message: &ModelInferRequest) -> u64 {
    let first = message.inputs.first().and_then(|input| input.shape.first());
    first.and_then(|&rows| u64::try_from(rows).ok()).unwrap_or(1)
}

fn add_input(columns: &mut Columns, message: &ModelInferRequest) {
    if let Ok((payload, _)) = inference::input_of(message.clone()) {
        values::add(columns, &payload, SAMPLED_ROWS);
    }
}

fn add_answer(columns: &mut Columns, answer: &ModelInferResponse) {
    if let Ok(payload) = inference::answer_of(answer.clone()) {
        values::add(columns, &payload, SAMPLED_ROWS);
    }
}
