//! The column round a REST router: the same caller, request id, bound and panic guard, other metrics.

use std::{panic::AssertUnwindSafe, time::Instant};

use axum::{
    Router,
    extract::{MatchedPath, Request},
    middleware::{Next, from_fn},
    response::Response,
};
use futures::FutureExt;
use http::HeaderValue;
use lodeway_domain::Error;
use metrics::{counter, histogram};
use tracing::{Instrument, field::Empty};

use super::{Column, panicked, request_id_of};
use crate::{status, trace, wire};

/// What stands for the route where there is none.
const UNMATCHED: &str = "unmatched";

/// Renders an error of the column (not of a handler) in the edge's own dialect.
pub type Refuse = fn(&Error) -> Response;

impl Column {
    /// The router with the column around it: its handlers find the [`crate::CallContext`] as an `Extension`.
    ///
    /// Call it once, after all routes are added. Access rules are looked up as `GET /path/as/{matched}`.
    pub fn wrap_rest(&self, router: Router, refuse: Refuse) -> Router {
        let column = self.clone();
        router.layer(from_fn(move |request: Request, next: Next| {
            let column = column.clone();
            async move { column.rest(request, next, refuse).await }
        }))
    }

    async fn rest(self, mut request: Request, next: Next, refuse: Refuse) -> Response {
        let started = Instant::now();
        let route = request
            .extensions()
            .get::<MatchedPath>()
            .map_or(UNMATCHED, MatchedPath::as_str)
            .to_owned();
        let method = request.method().clone();
        let matched = Some(route.as_str()).filter(|route| *route != UNMATCHED);
        let access = self.0.access.rest_rule(method.as_str(), matched);
        let request_id = request_id_of(request.headers());
        let span = tracing::info_span!(
            "http",
            otel.kind = "server",
            otel.name = route.as_str(),
            http.method = method.as_str(),
            http.route = route.as_str(),
            request.id = &*request_id,
            trace.id = Empty,
            caller.principal = Empty,
            http.status = Empty,
            duration_ms = Empty,
        );
        trace::adopt(&span, request.headers());
        let mut place = None;
        let context = match self.admit(access) {
            Ok(taken) => {
                place = Some(taken);
                let domain = status::DEFAULT_DOMAIN.into();
                self.context(request.headers(), request_id.clone(), domain, access)
                    .await
            }
            Err(error) => Err(error),
        };
        let mut response = match context {
            Ok(context) => {
                span.record("caller.principal", context.caller.principal.as_str());
                request.extensions_mut().insert(context);
                let work = AssertUnwindSafe(next.run(request))
                    .catch_unwind()
                    .instrument(span.clone())
                    .await;
                work.unwrap_or_else(|panic| self.refused(&panicked(&*panic), &request_id, refuse))
            }
            Err(error) => self.refused(&error, &request_id, refuse),
        };
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(wire::REQUEST_ID, value);
        }
        let (code, seconds) = (response.status(), started.elapsed().as_secs_f64());
        if trace::is_followed() {
            span.record("http.status", code.as_u16())
                .record("duration_ms", seconds * 1e3);
            span.in_scope(|| tracing::debug!("request ended"));
        }
        let labels = [
            ("route", route),
            ("method", method_label(&method)),
            ("status", code.as_str().to_owned()),
        ];
        counter!("lodeway_http_requests_total", &labels).increment(1);
        histogram!("lodeway_http_duration_seconds", &labels).record(seconds);
        drop(place);
        response
    }

    fn refused(&self, error: &Error, request_id: &str, refuse: Refuse) -> Response {
        // For its log entry; the text for the caller is the edge's.
        drop(status::status_of(error, request_id, status::DEFAULT_DOMAIN));
        refuse(error)
    }
}

/// Methods are free text on the wire; a label must not be.
fn method_label(method: &http::Method) -> String {
    const KNOWN: [http::Method; 7] = [
        http::Method::GET,
        http::Method::POST,
        http::Method::PUT,
        http::Method::PATCH,
        http::Method::DELETE,
        http::Method::HEAD,
        http::Method::OPTIONS,
    ];
    if KNOWN.contains(method) {
        method.to_string()
    } else {
        "OTHER".to_owned()
    }
}
