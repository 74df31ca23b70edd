//! The column that every call passes, local ones too: request id, trace, caller, load bound, deadline, metrics, panics.
//!
//! One future rather than a stack of tower layers (2026-11): one allocation a call, and no layer can be left out.

use std::{
    collections::HashMap,
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Request, Response, header::AUTHORIZATION};
use lodeway_domain::{Error, id};
use serde::{Deserialize, Serialize};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Code, Status, body::Body, service::Routes};
use tower::Service;
use tracing::{Instrument, Span, field::Empty};

use crate::{
    access::{Access, AccessTable, Pattern},
    auth::Authenticator,
    config::HumanDuration,
    context::CallContext,
    status,
    tasks::Tasks,
    trace, wire,
};

mod body;
mod edge;
mod meter;
use body::{CallBody, Ends};
use meter::{Call, InFlight, Method};

/// What the column allows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColumnConfig {
    /// Calls at work at once, streams included; further ones are RESOURCE_EXHAUSTED.
    pub max_in_flight: usize,
    /// The longest a call may take to its first answer, whatever its own deadline says.
    pub max_timeout: HumanDuration,
}

impl Default for ColumnConfig {
    fn default() -> Self {
        Self {
            max_in_flight: 4_096,
            max_timeout: HumanDuration::secs(900),
        }
    }
}

/// The column of one process. Clones share its bounds, caches and metrics.
///
/// Make it after [`crate::telemetry::Telemetry::init`]: it keeps handles of the metrics recorder of its first call.
#[derive(Clone)]
pub struct Column(Arc<Inner>);

struct Inner {
    config: ColumnConfig,
    auth: Authenticator,
    access: AccessTable,
    in_flight: Arc<InFlight>,
    methods: HashMap<&'static str, Arc<Method>>,
    patterns: Vec<(Pattern, Arc<Method>)>,
    unknown: Arc<Method>,
}

impl Column {
    /// A column with these bounds, callers and rules.
    pub fn new(config: ColumnConfig, auth: Authenticator, access: AccessTable) -> Self {
        let methods = access
            .iter()
            .map(|(path, access)| (path, Arc::new(Method::new(path, access))))
            .collect();
        let patterns = access
            .patterns()
            .map(|(pattern, access)| (pattern, Arc::new(Method::new(pattern.as_str(), access))))
            .collect();
        // Every method of the contract has a rule (a test sees to it), so what has none is not there, which whoever may
        // look is told.
        let unknown = Arc::new(Method::new("/unknown/unknown", Access::Read));
        Self(Arc::new(Inner {
            config,
            auth,
            access,
            in_flight: Arc::default(),
            methods,
            patterns,
            unknown,
        }))
    }

    /// These routes with the column around them.
    pub fn wrap(&self, routes: Routes) -> Layered {
        Layered {
            routes: routes.prepare(),
            column: Some(self.clone()),
            listener: None,
        }
    }

    /// Whether callers need credentials, except for what is public.
    pub fn is_closed(&self) -> bool {
        self.0.auth.is_closed()
    }

    /// Calls at work now.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.now()
    }

    fn method(&self, path: &str) -> &Arc<Method> {
        let pattern = || self.0.patterns.iter().find(|(pattern, _)| pattern.matches(path));
        self.0
            .methods
            .get(path)
            .or_else(|| pattern().map(|(_, method)| method))
            .unwrap_or(&self.0.unknown)
    }

    /// A place among the calls at work, unless all are taken. Errors: `Exhausted`.
    fn admit(&self, access: Access) -> Result<meter::Place, Error> {
        let bound = if access == Access::Public {
            usize::MAX
        } else {
            self.0.config.max_in_flight
        };
        InFlight::enter(&self.0.in_flight, bound).ok_or_else(|| Error::Exhausted {
            message: "the server has as many calls at work as it takes; repeat a moment later".to_owned(),
            retry_after: Some(Duration::from_secs(1)),
        })
    }

    /// The context of a call that comes from outside this process.
    async fn context(
        &self,
        headers: &HeaderMap,
        request_id: Arc<str>,
        domain: Arc<str>,
        access: Access,
    ) -> Result<CallContext, Error> {
        let caller = self.0.auth.caller(headers, access).await?;
        Ok(CallContext {
            caller: Arc::new(caller),
            request_id,
            deadline: deadline_of(headers)?,
            domain,
            traceparent: headers.get(wire::TRACEPARENT).cloned(),
            authorization: headers.get(AUTHORIZATION).cloned(),
        })
    }

    async fn run(
        self,
        mut routes: Routes,
        mut request: Request<Body>,
        listener: Option<Arc<Tasks>>,
    ) -> Response<Body> {
        let method = self.method(request.uri().path()).clone();
        let mut call = Call::begin(method.clone());
        let inherited = request.extensions_mut().remove::<CallContext>();
        let outside = inherited.is_none();
        let request_id = match &inherited {
            Some(context) => context.request_id.clone(),
            None => request_id_of(request.headers()),
        };
        let context = match inherited {
            Some(context) => Ok(CallContext {
                domain: method.domain.clone(),
                ..context
            }),
            // A call from inside was admitted when it came in from outside; counting it twice could lock up.
            None => match self.admit(method.access) {
                Ok(place) => {
                    call.hold(place);
                    self.context(
                        request.headers(),
                        request_id.clone(),
                        method.domain.clone(),
                        method.access,
                    )
                    .await
                }
                Err(error) => Err(error),
            },
        };
        // A call from inside stands in the span of the one that it is part of.
        let span = if outside || trace::is_followed() {
            rpc_span(&method, &request_id, context.as_ref().ok())
        } else {
            Span::none()
        };
        if outside {
            trace::adopt(&span, request.headers());
        }
        let mut response = match context {
            Ok(context) => {
                let deadline = context.deadline;
                request.extensions_mut().insert(context);
                let work = work(
                    self.limit(deadline),
                    routes.call(request),
                    &request_id,
                    &method.domain,
                );
                let mut answer = work.instrument(span.clone()).await;
                let is_passed = answer.extensions_mut().remove::<EndsWithDrain>().is_some();
                let is_endless = is_passed || method.is_watch();
                let drain = listener.filter(|_| is_endless).map(|tasks| tasks.draining());
                wrap_body(
                    in_our_words(answer, &request_id, &method.domain),
                    (call, span),
                    (deadline, drain),
                    request_id.clone(),
                )
            }
            Err(error) => {
                let status = span.in_scope(|| status::status_of(&error, &request_id, &method.domain));
                call.finish(status.code(), &span);
                status.into_http()
            }
        };
        if outside && let Ok(value) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(wire::REQUEST_ID, value);
        }
        response
    }

    fn limit(&self, deadline: Option<Instant>) -> Instant {
        let latest = Instant::now() + self.0.config.max_timeout.get();
        deadline.map_or(latest, |d| d.min(latest))
    }
}

/// Runs a handler until it answers, panics or `limit` passes; then it is dropped.
async fn work<F>(limit: Instant, handler: F, request_id: &str, domain: &str) -> Response<Body>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    let handler = AssertUnwindSafe(handler).catch_unwind();
    match tokio::time::timeout_at(limit.into(), handler).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Err(panic)) => status::status_of(&panicked(&*panic), request_id, domain).into_http(),
        Err(_elapsed) => status::status_of(&Error::DeadlineExceeded, request_id, domain).into_http(),
    }
}

/// The answer, unless it is an error that the framework made by itself: that gets the code and details of its like.
fn in_our_words(answer: Response<Body>, request_id: &str, domain: &str) -> Response<Body> {
    let headers = answer.headers();
    if headers.contains_key(Status::GRPC_STATUS_DETAILS) || !headers.contains_key(Status::GRPC_STATUS) {
        return answer;
    }
    let status = Status::from_header_map(headers);
    match status.as_ref().and_then(status::of_framework) {
        Some(error) => status::status_of(&error, request_id, domain).into_http(),
        None => answer,
    }
}

/// Marks an answer that never ends by itself and that its caller can ask for again: it ends when its listener drains.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndsWithDrain;

/// Measures a streamed answer to its end and ends it at the deadline, or with `drain`.
fn wrap_body(
    response: Response<Body>,
    (mut call, span): (Call, Span),
    (deadline, drain): (Option<Instant>, Option<WaitForCancellationFutureOwned>),
    request_id: Arc<str>,
) -> Response<Body> {
    let code = response
        .headers()
        .get("grpc-status")
        .map(|v| Code::from_bytes(v.as_bytes()));
    if let Some(code) = code {
        call.finish(code, &span);
        return response;
    }
    let ends = Ends::new(deadline, drain);
    response.map(|body| Body::new(CallBody::new(body, call, span, ends, request_id)))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    Error::internal(format!("a handler panicked: {}", text.unwrap_or("no message")))
}

fn rpc_span(method: &Method, request_id: &str, context: Option<&CallContext>) -> Span {
    tracing::info_span!(
        "rpc",
        otel.kind = "server",
        otel.name = method.path.as_str(),
        rpc.service = method.service.as_str(),
        rpc.method = method.name.as_str(),
        request.id = request_id,
        trace.id = Empty,
        caller.principal = context.map(|c| c.caller.principal.as_str()),
        rpc.code = Empty,
        duration_ms = Empty,
    )
}

/// The caller's own request id if it is of a sane shape, else a new one.
fn request_id_of(headers: &HeaderMap) -> Arc<str> {
    let sane = |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    match headers
        .get(wire::REQUEST_ID)
        .and_then(|v| v.to_str().ok())
        .filter(sane)
    {
        Some(id) => id.into(),
        None => id::new_hex().into(),
    }
}

/// When `grpc-timeout` says the caller stops waiting. Errors: `Invalid` for a text that is no timeout.
fn deadline_of(headers: &HeaderMap) -> Result<Option<Instant>, Error> {
    let Some(value) = headers.get(wire::GRPC_TIMEOUT) else {
        return Ok(None);
    };
    let timeout = value.to_str().ok().and_then(parse_timeout);
    let timeout =
        timeout.ok_or_else(|| Error::invalid("grpc-timeout", "is not up to 8 digits and a unit"))?;
    Ok(Instant::now().checked_add(timeout))
}

/// Source: gRPC over HTTP2, `Timeout`: at most 8 digits and one of H, M, S, m, u, n.
pub(crate) fn parse_timeout(text: &str) -> Option<Duration> {
    let (at, unit) = text.char_indices().next_back()?;
    let digits = &text[..at];
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(n * 3_600),
        'M' => Duration::from_secs(n * 60),
        'S' => Duration::from_secs(n),
        'm' => Duration::from_millis(n),
        'u' => Duration::from_micros(n),
        'n' => Duration::from_nanos(n),
        _ => return None,
    })
}

/// Routes, with the column around them if they come from [`Column::wrap`]. Clones are cheap.
#[derive(Clone)]
pub struct Layered {
    routes: Routes,
    column: Option<Column>,
    /// Those of the listener in front, if there is one.
    listener: Option<Arc<Tasks>>,
}

impl Layered {
    /// The same behind a listener that drains when these tasks are told to: endless streams that are passed through end
    /// then.
    #[must_use]
    pub(crate) fn behind(self, listener: &Tasks) -> Self {
        Self {
            listener: Some(Arc::new(listener.clone())),
            ..self
        }
    }
}

impl From<Routes> for Layered {
    fn from(routes: Routes) -> Self {
        Self {
            routes: routes.prepare(),
            column: None,
            listener: None,
        }
    }
}

/// The answer of [`Layered`]; never an error, failures are statuses.
pub type LayeredFuture = BoxFuture<'static, Result<Response<Body>, Infallible>>;

impl Service<Request<Body>> for Layered {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = LayeredFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> LayeredFuture {
        match &self.column {
            Some(column) => {
                let (column, routes) = (column.clone(), self.routes.clone());
                let listener = self.listener.clone();
                Box::pin(async move { Ok(column.run(routes, request, listener).await) })
            }
            None => Box::pin(self.routes.call(request)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_read_as_grpc_writes_them() {
        for (text, ms) in [
            ("1H", 3_600_000),
            ("2M", 120_000),
            ("3S", 3_000),
            ("250m", 250),
            ("5000u", 5),
        ] {
            assert_eq!(parse_timeout(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "m", "123456789S", "-1S", "5x", "5 S", "ü"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }

    #[test]
    fn request_ids_of_odd_shape_are_replaced() {
        let with = |id: &str| HeaderMap::from_iter([(wire::REQUEST_ID, HeaderValue::from_str(id).unwrap())]);
        assert_eq!(&*request_id_of(&with("abc-1")), "abc-1");
        for odd in ["", "two words", &"x".repeat(129)] {
            assert_eq!(request_id_of(&with(odd)).len(), 32, "{odd}");
        }
    }
}
