//! What every listener offers besides its services: health, reflection, `/health`, `/metrics`, `/version`.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::get};
use http::Response;
use lodeway_domain::Error;
use tonic::{Status, body::Body, service::Routes};
use tonic_health::{
    ServingStatus,
    pb::{
        HealthCheckRequest, health_check_response::ServingStatus as Said, health_client::HealthClient,
        health_server::HealthServer,
    },
    server::{HealthReporter, HealthService},
};

use tower::Service;

use super::Reflection;
use crate::{
    Tasks,
    layers::EndsWithDrain,
    status,
    telemetry::Metrics,
    transport::{Transport, TransportFuture},
};

/// How often a service that runs elsewhere is asked for its health, and how long it may take to answer.
const PEER_EVERY: Duration = Duration::from_secs(2);
const PEER_ANSWERS: Duration = Duration::from_secs(1);
/// How often a service asks for what it cannot serve without, how long that may take, and how many failures in a row count.
const NEED_EVERY: Duration = Duration::from_secs(2);
const NEED_ANSWERS: Duration = Duration::from_secs(2);
const NEED_FAILURES: u32 = 2;

/// The health of each service and of the process (the empty name), as `grpc.health.v1` reports it. Clones share it.
#[derive(Debug, Clone)]
pub struct Health {
    reporter: HealthReporter,
    services: Arc<Mutex<Vec<String>>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            reporter: HealthReporter::new(),
            services: Arc::default(),
        }
    }
}

impl Health {
    /// The process serves, no service known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one service by its full name, for example `lodeway.tracking.v1.TrackingService`.
    pub async fn set(&self, service: &str, serving: bool) {
        {
            let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
            if !services.iter().any(|s| s == service) {
                services.push(service.to_owned());
            }
        }
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        self.reporter.set_service_status(service, status).await;
    }

    /// Reports of a service that runs elsewhere what it says itself, and that it does not serve while it does not answer;
    /// until this process drains.
    pub fn follow(&self, service: &'static str, peer: Transport, tasks: &Tasks) {
        let health = self.clone();
        let mut peer = HealthClient::new(peer);
        until_draining(tasks, async move {
            let mut known = None;
            loop {
                let request = HealthCheckRequest {
                    service: service.to_owned(),
                };
                let answer = tokio::time::timeout(PEER_ANSWERS, peer.check(request)).await;
                let serves = matches!(answer, Ok(Ok(reply)) if reply.get_ref().status() == Said::Serving);
                if known != Some(serves) {
                    known = Some(serves);
                    health.set(service, serves).await;
                }
                tokio::time::sleep(PEER_EVERY).await;
            }
        });
    }

    /// Reports that these services do not serve while what they need, a database say, does not answer `ask`; until this
    /// process drains. The process itself goes on serving: starting it again would not help.
    pub fn need<F>(&self, services: Vec<&'static str>, tasks: &Tasks, ask: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = bool> + Send,
    {
        let health = self.clone();
        until_draining(tasks, async move {
            let mut failures = 0_u32;
            loop {
                tokio::time::sleep(NEED_EVERY).await;
                let answers = tokio::time::timeout(NEED_ANSWERS, ask()).await;
                let was = failures;
                failures = match answers {
                    Ok(true) => 0,
                    _ => failures.saturating_add(1),
                };
                let turned = (was < NEED_FAILURES) != (failures < NEED_FAILURES);
                for service in services.iter().filter(|_| turned) {
                    health.set(service, failures == 0).await;
                }
            }
        });
    }

    /// The process and every service stop serving; probes see it while calls drain.
    pub async fn not_serving(&self) {
        let services = self
            .services
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for service in services.iter().map(String::as_str).chain([""]) {
            self.reporter
                .set_service_status(service, ServingStatus::NotServing)
                .await;
        }
    }
}

fn until_draining(tasks: &Tasks, work: impl Future<Output = ()> + Send + 'static) {
    let draining = tasks.draining();
    tasks.spawn_until_stop(async move {
        tokio::select! {
            () = work => {}
            () = draining => {}
        }
    });
}

/// Health and reflection (v1 and v1alpha), to be [`merge`]d with the services.
pub fn platform_routes(health: &Health, reflection: &Reflection) -> Routes {
    let service = HealthService::from_health_reporter(health.reporter.clone());
    merge([
        Routes::new(crate::unpacking!(HealthServer::new(service))),
        reflection.routes(),
    ])
}

/// All these routes as one; an unknown method is UNIMPLEMENTED. Panics at start if two serve the same service.
pub fn merge(routes: impl IntoIterator<Item = Routes>) -> Routes {
    // Two routers with fallbacks do not merge, and each `Routes` has one.
    let plain = routes.into_iter().map(|r| r.into_axum_router().reset_fallback());
    let merged = plain.fold(Router::new(), Router::merge);
    merged.fallback(unknown_method).into()
}

/// These services of a peer, passed through byte by byte; for a listener that fronts services it does not run. Their methods
/// `Watch…` give streams that end when that listener drains: they never end by themselves, and are begun again elsewhere.
pub fn proxy(services: &[&str], peer: &Transport) -> Routes {
    let route = |router: Router, service: &&str| {
        router.route_service(&format!("/{service}/{{*method}}"), Passed(peer.clone()))
    };
    services
        .iter()
        .fold(Router::new(), route)
        .fallback(unknown_method)
        .into()
}

/// A peer whose watches are marked as such.
#[derive(Clone)]
struct Passed(Transport);

impl Service<axum::extract::Request> for Passed {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = PassedFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: axum::extract::Request) -> PassedFuture {
        let method = request.uri().path().rsplit('/').next();
        PassedFuture {
            is_watch: method.is_some_and(|method| method.starts_with("Watch")),
            answer: self.0.call(request),
        }
    }
}

struct PassedFuture {
    answer: TransportFuture,
    is_watch: bool,
}

impl Future for PassedFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let is_watch = self.is_watch;
        Pin::new(&mut self.answer).poll(cx).map_ok(|mut response| {
            if is_watch {
                response.extensions_mut().insert(EndsWithDrain);
            }
            response
        })
    }
}

async fn unknown_method(request: axum::extract::Request) -> axum::response::Response {
    let message = format!(
        "method `{}` is not offered here; reflection lists what is",
        request.uri().path()
    );
    let error = Error::Unimplemented {
        reason: lodeway_domain::Reason::NotImplemented,
        message,
    };
    let status: Status = status::status_of(&error, "", status::DEFAULT_DOMAIN);
    status.into_http::<axum::body::Body>()
}

/// `/health`, `/version` and, with `metrics`, `/metrics`: the REST side of a listener that has no other.
pub fn default_router(metrics: Option<Metrics>) -> Router {
    let router = Router::new()
        .route("/health", get(async || "OK"))
        .route("/version", get(async || env!("CARGO_PKG_VERSION")))
        .fallback(async || {
            (
                StatusCode::NOT_FOUND,
                "not found; this listener speaks gRPC (see reflection)",
            )
        });
    match metrics {
        None => router,
        Some(metrics) => router.route("/metrics", get(async move || metrics.render())),
    }
}
