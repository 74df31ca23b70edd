//! The trace that a call belongs to: taken from its headers, told in spans, sent on to peers.

use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use opentelemetry::{
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::TraceContextExt,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::wire;

/// Whether this process exports traces.
static EXPORTS: AtomicBool = AtomicBool::new(false);

/// Says whether this process exports traces.
pub(crate) fn set_exported(is_exported: bool) {
    EXPORTS.store(is_exported, Ordering::Relaxed);
}

/// Whether somebody reads what calls tell about their course and their end: a collector of traces, or a log of debug
/// lines. If not, lines of the log need only say which call they belong to.
pub(crate) fn is_followed() -> bool {
    EXPORTS.load(Ordering::Relaxed) || tracing::enabled!(tracing::Level::DEBUG)
}

/// Makes the caller's trace the parent of `span` and names the trace in the span's `trace.id`; costs a header look-up where
/// there is none.
pub(crate) fn adopt(span: &Span, headers: &HeaderMap) {
    if let Some(given) = headers.get(wire::TRACEPARENT) {
        let parent = TraceContextPropagator::new().extract(&Read(headers));
        // Fails without an exporter, and then nobody asks for the parent.
        drop(span.set_parent(parent));
        if let Some(id) = trace_id_of(given) {
            span.record("trace.id", id);
        }
    } else if EXPORTS.load(Ordering::Relaxed) {
        let context = span.context();
        let id = context.span().span_context().trace_id();
        span.record("trace.id", tracing::field::display(id));
    }
}

/// The id of the trace that the current span belongs to, if traces are exported: 32 hexadecimal digits.
pub(crate) fn trace_id() -> Option<String> {
    if !EXPORTS.load(Ordering::Relaxed) {
        return None;
    }
    let context = Span::current().context();
    let of = context.span().span_context().clone();
    of.is_valid().then(|| of.trace_id().to_string())
}

/// The id of the trace that a `traceparent` names.
///
/// Source: W3C Trace Context, version 00: `00-TRACE(32 hex)-PARENT(16 hex)-FLAGS(2 hex)`.
pub(crate) fn trace_id_of(traceparent: &http::HeaderValue) -> Option<&str> {
    let id = traceparent.to_str().ok()?.split('-').nth(1)?;
    let is_id = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) && id.bytes().any(|b| b != b'0');
    is_id.then_some(id)
}

/// Writes the current span into `headers`, if traces are exported; else what stands there stays.
pub(crate) fn inject(headers: &mut HeaderMap) {
    let context = Span::current().context();
    if context.span().span_context().is_valid() {
        TraceContextPropagator::new().inject_context(&context, &mut Write(headers));
    }
}

struct Read<'a>(&'a HeaderMap);

impl Extractor for Read<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

struct Write<'a>(&'a mut HeaderMap);

impl Injector for Write<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (
            http::HeaderName::try_from(key),
            http::HeaderValue::try_from(value),
        ) {
            self.0.insert(name, value);
        }
    }
}
