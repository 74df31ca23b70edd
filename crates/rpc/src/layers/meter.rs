//! Counting and timing of calls.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tonic::Code;
use tracing::Span;

use crate::{access::Access, status, trace};

/// What is known of a method beforehand.
pub(super) struct Method {
    pub(super) path: String,
    pub(super) service: String,
    pub(super) name: String,
    pub(super) domain: Arc<str>,
    pub(super) access: Access,
    by_code: [OnceLock<(Counter, Histogram)>; CODES.len()],
}

impl Method {
    /// Whether its stream never ends by itself and can be begun again elsewhere, from a cursor. Watches of health are not among
    /// them: they tell of the end themselves.
    pub(super) fn is_watch(&self) -> bool {
        self.name.starts_with("Watch") && self.service.starts_with("lodeway.")
    }

    pub(super) fn new(path: &str, access: Access) -> Self {
        let (service, name) = path
            .trim_start_matches('/')
            .split_once('/')
            .unwrap_or(("unknown", "unknown"));
        Self {
            path: path.to_owned(),
            service: service.to_owned(),
            name: name.to_owned(),
            domain: status::domain_of(service).into(),
            access,
            by_code: Default::default(),
        }
    }

    fn record(&self, code: Code, seconds: f64) {
        let Some((slot, name)) = usize::try_from(code as i32)
            .ok()
            .and_then(|i| self.by_code.get(i).zip(CODES.get(i)))
        else {
            return;
        };
        let (requests, duration) = slot.get_or_init(|| {
            let labels = [
                ("service", self.service.clone()),
                ("method", self.name.clone()),
                ("code", (*name).to_owned()),
            ];
            (
                counter!("lodeway_rpc_requests_total", &labels),
                histogram!("lodeway_rpc_duration_seconds", &labels),
            )
        });
        requests.increment(1);
        duration.record(seconds);
    }
}

/// The canonical names of the codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

fn code_name(code: Code) -> &'static str {
    usize::try_from(code as i32)
        .ok()
        .and_then(|i| CODES.get(i))
        .copied()
        .unwrap_or("UNKNOWN")
}

/// One call from its begin to its end; dropped before its end it counts as CANCELLED.
pub(super) struct Call {
    method: Arc<Method>,
    started: Instant,
    place: Option<Place>,
    done: bool,
}

impl Call {
    pub(super) fn begin(method: Arc<Method>) -> Self {
        Self {
            method,
            started: Instant::now(),
            place: None,
            done: false,
        }
    }

    /// Keeps a place among the calls at work until the end.
    pub(super) fn hold(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// Writes down the end; a second end is ignored.
    pub(super) fn finish(&mut self, code: Code, span: &Span) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        self.place = None;
        let seconds = self.started.elapsed().as_secs_f64();
        self.method.record(code, seconds);
        if !span.is_disabled() && trace::is_followed() {
            span.record("rpc.code", code_name(code))
                .record("duration_ms", seconds * 1e3);
            span.in_scope(|| tracing::debug!("call ended"));
        }
    }

    pub(super) fn domain(&self) -> &str {
        &self.method.domain
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.finish(Code::Cancelled, &Span::none());
    }
}

/// How many calls are at work.
#[derive(Default)]
pub(super) struct InFlight {
    now: AtomicUsize,
    gauge: OnceLock<Gauge>,
}

impl InFlight {
    pub(super) fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// A place, unless `bound` are taken.
    pub(super) fn enter(this: &Arc<Self>, bound: usize) -> Option<Place> {
        let before = this.now.fetch_add(1, Ordering::Relaxed);
        if before >= bound {
            this.now.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        this.gauge().increment(1);
        Some(Place(this.clone()))
    }

    fn gauge(&self) -> &Gauge {
        self.gauge.get_or_init(|| gauge!("lodeway_rpc_in_flight"))
    }
}

/// A place among the calls at work, given back when dropped.
pub(super) struct Place(Arc<InFlight>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
        self.0.gauge().decrement(1);
    }
}
