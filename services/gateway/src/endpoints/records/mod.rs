//! Records of single calls: which prediction was given when, and, of a sample, request and answer whole.
//!
//! A call offers its record when it is over and never waits: the queue is bounded by records and bytes, and what
//! does not fit is counted and lost. One writer turns records into Parquet files of the artifact store, by size, by age
//! and at shutdown:
//!
//! ```text
//! endpoints/NAME/date=YYYY-MM-DD/FIRST-LAST-ENDPOINT-WRITER-N.parquet     (workspaces/W/endpoints/… beside `default`)
//! ```
//!
//! FIRST and LAST are the times of the file's records in milliseconds, ENDPOINT the endpoint's key: a name that was given
//! to another endpoint shares the folder and no file. `row` says which columns a file has, `write` how it comes about,
//! `read` how it is found again, `find` how many single ones are.

mod files;
mod find;
mod read;
mod row;
mod write;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use lodeway_domain::{
    Error, Result,
    serving::{EndpointKey, PredictionId, RequestLog, WHOLE_SHARE},
    time::Timestamp,
};
use lodeway_proto::{
    artifacts::v1::artifact_service_client::ArtifactServiceClient,
    inference::{ModelInferRequest, ModelInferResponse},
};
use lodeway_rpc::{Transport, inference};
use metrics::counter;
use prost::Message;
use tokio::sync::{mpsc, oneshot};

use self::{files::Files, row::Slices};
use super::{Endpoints, table::Route};

pub(crate) use self::{
    find::{Found, FoundPrediction},
    read::Wanted,
    row::Record,
};

/// Records that wait for the writer at most.
const MAX_QUEUED: usize = 4_096;
/// Bytes of requests and answers that wait for the writer at most.
const MAX_QUEUED_BYTES: usize = 32 << 20;
/// How often at most single records that are looked for have everything written.
const FLUSH_EVERY_MS: u64 = 1_000;
/// An answer that is longer is recorded without its values, unless it is kept whole.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 << 10;

/// A call as it is offered.
pub(crate) struct Offer<'a> {
    pub(crate) target: &'a str,
    pub(crate) model_version: &'a str,
    pub(crate) id: &'a PredictionId,
    /// What names the call in logs.
    pub(crate) trace: &'a str,
    pub(crate) latency: Duration,
    /// `OK`, or the name of the code with which it failed.
    pub(crate) outcome: &'static str,
    /// Whether it is a copy whose answer nobody gets; it has the id of the call that it copies.
    pub(crate) is_shadow: bool,
    pub(crate) said: Said<'a>,
}

/// The outcome of a call that was answered.
pub(crate) const OK: &str = "OK";

/// What was asked and answered; a call that failed has no answer.
#[derive(Clone, Copy)]
pub(crate) enum Said<'a> {
    Tensors(&'a ModelInferRequest, Option<&'a ModelInferResponse>),
    /// The request only where it was kept, and as many of the answers.
    Stream(Option<&'a ModelInferRequest>, &'a [ModelInferResponse]),
    Document {
        content_type: &'a str,
        request: &'a Bytes,
        answer: Option<&'a Bytes>,
    },
}

/// What became of the records of one endpoint since this process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) recorded: u64,
    pub(crate) kept_whole: u64,
    pub(crate) over_budget: u64,
    pub(crate) payloads_over_budget: u64,
    pub(crate) lost: u64,
}

/// Where records go. Without an artifact store nowhere.
#[derive(Default)]
pub(crate) struct Records {
    way: Option<Way>,
    queued_bytes: Arc<AtomicUsize>,
    /// When somebody who looked for records had what there is written last, in milliseconds.
    flushed_ms: AtomicI64,
    endpoints: Mutex<HashMap<EndpointKey, State>>,
}

struct Way {
    queue: mpsc::Sender<Order>,
    files: Files,
}

/// What the writer is told.
enum Order {
    Record(Box<Queued>),
    /// Write what there is, then say so.
    Flush(oneshot::Sender<()>),
}

/// A call on its way to the writer.
struct Queued {
    route: Arc<Route>,
    target: String,
    model_version: String,
    id: PredictionId,
    trace: String,
    latency: Duration,
    outcome: &'static str,
    is_shadow: bool,
    rows: i64,
    slices: Slices,
    request: Option<Given>,
    answer: Option<Given>,
    is_whole: bool,
    _bytes: Held,
}

/// A request or an answer as it was.
enum Given {
    Request(ModelInferRequest),
    Answer(ModelInferResponse),
    Answers(Vec<ModelInferResponse>),
    Document(Bytes),
}

/// Bytes that wait, given back when dropped.
struct Held(Arc<AtomicUsize>, usize);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct State {
    second: i64,
    calls: u32,
    bytes: u64,
    counts: Counts,
}

impl Records {
    /// Records that go to an artifact service, and what its writer is to read; none without one.
    pub(crate) fn new(artifacts: Option<Transport>) -> (Self, Option<Inbox>) {
        let Some(artifacts) = artifacts else {
            return (Self::default(), None);
        };
        let (queue, orders) = mpsc::channel(MAX_QUEUED);
        let way = Way {
            queue,
            files: Files::new(ArtifactServiceClient::new(artifacts)),
        };
        let records = Self {
            way: Some(way),
            ..Self::default()
        };
        (records, Some(Inbox(orders)))
    }

    fn endpoints(&self) -> MutexGuard<'_, HashMap<EndpointKey, State>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where files are. Errors: `FAILED_PRECONDITION`-like refusals for a gateway without an artifact store.
    fn files(&self) -> Result<&Files> {
        let files = self.way.as_ref().map(|way| &way.files);
        files.ok_or_else(|| Error::unavailable("this gateway has no artifact store", "not configured"))
    }

    /// Whether requests can be kept. Errors: a share of calls to be kept whole where there is no artifact store.
    pub(crate) fn takes(&self, log: &RequestLog) -> Result<()> {
        if log.share > 0 && self.way.is_none() {
            let why = "cannot be kept: this gateway has no artifact store";
            return Err(Error::invalid("spec.request_log.sample_share", why));
        }
        Ok(())
    }

    /// What became of the records of an endpoint.
    pub(crate) fn counts(&self, key: EndpointKey) -> Counts {
        self.endpoints()
            .get(&key)
            .map(|state| state.counts)
            .unwrap_or_default()
    }

    /// Counts what became of records of an endpoint.
    fn count_many(&self, route: &Route, recorded: u64, whole: u64, lost: u64) {
        let mut endpoints = self.endpoints();
        let counts = &mut endpoints.entry(route.key).or_default().counts;
        counts.recorded += recorded;
        counts.kept_whole += whole;
        counts.lost += lost;
        drop(endpoints);
        for (outcome, count) in [("recorded", recorded), ("lost", lost)] {
            if count > 0 {
                let endpoint = route.record.endpoint.name.to_string();
                let labels = [
                    ("workspace", route.workspace.as_str().to_owned()),
                    ("endpoint", endpoint),
                    ("outcome", outcome.to_owned()),
                ];
                counter!("lodeway_endpoint_records_total", &labels).increment(count);
            }
        }
    }

    /// Takes a call's record, if it is within the budgets. Never waits.
    pub(crate) fn offer(&self, route: &Arc<Route>, offer: &Offer<'_>, now: Timestamp, calls_per_second: u32) {
        let Some(way) = &self.way else { return };
        let log = &route.revision().request_log;
        let (asked, answered) = offer.said.sizes();
        let wants_whole = log.share > 0 && fastrand::u16(..WHOLE_SHARE) < log.share;
        let is_whole = {
            let mut endpoints = self.endpoints();
            let state = endpoints.entry(route.key).or_default();
            let second = now.millis().div_euclid(1_000);
            if state.second != second {
                (state.second, state.calls, state.bytes) = (second, 0, 0);
            }
            let size = (asked + answered) as u64;
            let fits = state.bytes.saturating_add(size) <= log.max_bytes_per_second;
            if wants_whole && !fits {
                state.counts.payloads_over_budget += 1;
            }
            let is_whole = wants_whole && fits;
            // A call that is kept whole has a budget of its own.
            if !is_whole && state.calls >= calls_per_second {
                state.counts.over_budget += 1;
                return;
            }
            match is_whole {
                true => state.bytes += size,
                false => state.calls += 1,
            }
            is_whole
        };
        let keeps_answer = is_whole || answered <= MAX_ANSWER_BYTES;
        let size = if is_whole { asked } else { 0 } + if keeps_answer { answered } else { 0 };
        let before = self.queued_bytes.fetch_add(size, Ordering::Relaxed);
        let held = Held(self.queued_bytes.clone(), size);
        if before + size > MAX_QUEUED_BYTES {
            return self.count_many(route, 0, 0, 1);
        }
        let queued = Queued {
            route: route.clone(),
            target: offer.target.to_owned(),
            model_version: offer.model_version.to_owned(),
            id: offer.id.clone(),
            trace: offer.trace.to_owned(),
            latency: offer.latency,
            outcome: offer.outcome,
            is_shadow: offer.is_shadow,
            rows: offer.said.rows(),
            slices: row::slices(&offer.said, log),
            request: is_whole.then(|| offer.said.request(log)).flatten(),
            answer: keeps_answer.then(|| offer.said.answer()).flatten(),
            is_whole,
            _bytes: held,
        };
        if way.queue.try_send(Order::Record(Box::new(queued))).is_err() {
            self.count_many(route, 0, 0, 1);
        }
    }

    /// Waits until what was offered so far is in files, or has been given up.
    async fn flush(&self) {
        let Some(way) = &self.way else { return };
        let (done, is_done) = oneshot::channel();
        // A writer that is gone has written what it had.
        if way.queue.send(Order::Flush(done)).await.is_ok() {
            drop(is_done.await);
        }
    }

    /// As [`Records::flush`], but at most once a second: each time may make a file.
    async fn flush_seldom(&self, now: Timestamp) {
        let last = self.flushed_ms.load(Ordering::Relaxed);
        let now = now.millis();
        let is_mine = now.abs_diff(last) >= FLUSH_EVERY_MS
            && self
                .flushed_ms
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_mine {
            self.flush().await;
        }
    }
}

/// What the writer reads.
pub(crate) struct Inbox(mpsc::Receiver<Order>);

impl Said<'_> {
    /// Bytes of request and answer.
    fn sizes(&self) -> (usize, usize) {
        match self {
            Self::Tensors(request, answer) => (request.encoded_len(), answer.map_or(0, Message::encoded_len)),
            Self::Stream(request, answers) => (
                request.map_or(0, Message::encoded_len),
                answers.iter().map(Message::encoded_len).sum(),
            ),
            Self::Document { request, answer, .. } => (request.len(), answer.map_or(0, Bytes::len)),
        }
    }

    fn rows(&self) -> i64 {
        let first = self.request_tensors().and_then(|request| request.inputs.first());
        first.and_then(|input| input.shape.first()).copied().unwrap_or(1)
    }

    /// The request as it is kept; none for a document of which something is to be left out, or that is no text.
    fn request(&self, log: &RequestLog) -> Option<Given> {
        match self {
            Self::Tensors(request, _) | Self::Stream(Some(request), _)
                if inference::is_document(request) && !log.redacted.is_empty() =>
            {
                None
            }
            Self::Tensors(request, _) | Self::Stream(Some(request), _) => {
                Some(Given::Request((*request).clone()))
            }
            Self::Stream(None, _) => None,
            Self::Document {
                content_type,
                request,
                ..
            } => {
                let is_json = content_type.starts_with("application/json");
                (is_json && log.redacted.is_empty()).then(|| Given::Document((*request).clone()))
            }
        }
    }

    fn answer(&self) -> Option<Given> {
        match self {
            Self::Tensors(_, answer) => answer.map(|answer| Given::Answer(answer.clone())),
            Self::Stream(_, answers) => Some(Given::Answers(answers.to_vec())),
            Self::Document { answer, .. } => answer.map(|answer| Given::Document(answer.clone())),
        }
    }

    fn request_tensors(&self) -> Option<&ModelInferRequest> {
        match self {
            Self::Tensors(request, _) => Some(request),
            Self::Stream(request, _) => *request,
            Self::Document { .. } => None,
        }
    }
}

impl Endpoints {
    /// Offers the record of a call that is over.
    pub(crate) fn record(&self, route: &Arc<Route>, offer: &Offer<'_>) {
        let budget = self.0.config.recorded_calls_per_second;
        self.0.records.offer(route, offer, self.0.clock.now(), budget);
    }
}
