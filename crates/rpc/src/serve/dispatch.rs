//! Which request goes where: `application/grpc*` to the services, everything else to the REST router.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version, header, request::Parts};
use http_body::Frame;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use tonic::body::Body;
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::{Layer, Service};
use tower_http::cors::{AllowHeaders, AllowOrigin, Cors, CorsLayer};

use super::{
    Never, ServeConfig,
    unread::{Unread, Watched},
};
use crate::{layers::Layered, wire};

/// The services of a listener, shared by its connections.
#[derive(Clone)]
pub(super) struct Dispatch {
    grpc: Layered,
    web: Cors<GrpcWebService<Layered>>,
    rest: Router,
    body_timeout: Duration,
    seen: Seen,
    unread: Unread,
    /// Whether the listener drains: answers over HTTP/1 say then that they are the last of their connection.
    draining: Arc<AtomicBool>,
}

/// Whether a connection has asked anything yet, and in which version of HTTP.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<AtomicU8>);

impl Seen {
    const HTTP1: u8 = 1;
    const HTTP2: u8 = 2;

    fn note(&self, version: Version) {
        let seen = if version < Version::HTTP_2 {
            Self::HTTP1
        } else {
            Self::HTTP2
        };
        self.0.store(seen, Ordering::Relaxed);
    }

    /// Whether it has asked something over HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::HTTP2
    }

    /// Ends after `patience` if nothing was asked by then, else never.
    pub(super) async fn nothing_for(self, patience: Duration) {
        tokio::time::sleep(patience).await;
        if self.0.load(Ordering::Relaxed) != 0 {
            std::future::pending().await
        }
    }
}

impl Dispatch {
    pub(super) fn new(grpc: Layered, rest: Router, config: &ServeConfig) -> Self {
        let web = cors(config.cors_origins.clone()).layer(GrpcWebLayer::new().layer(grpc.clone()));
        // `with_state` prepares every route once instead of at each request.
        let rest = rest.with_state(());
        Self {
            grpc,
            web,
            rest,
            body_timeout: config.body_timeout.get(),
            seen: Seen::default(),
            unread: Unread::default(),
            draining: Arc::default(),
        }
    }

    /// From now on answers over HTTP/1 end their connections.
    pub(super) fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The service of one connection, and whether it was used.
    pub(super) fn for_connection(&self) -> (Seen, Self) {
        let seen = Seen::default();
        let service = Self {
            seen: seen.clone(),
            unread: Unread::default(),
            ..self.clone()
        };
        (seen, service)
    }
}

impl Service<Request<Incoming>> for Dispatch {
    type Response = Response<Body>;
    type Error = Never;
    type Future = BoxFuture<'static, Result<Response<Body>, Never>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Never>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let version = request.version();
        self.seen.note(version);
        let kind = kind(&request);
        // Over HTTP/1 gRPC has no place for its status, so nobody asks that.
        if matches!(kind, Kind::Grpc) {
            return self.grpc.call(request.map(Body::new));
        }
        // Only over HTTP/1 is a connection tied to the body of one request.
        let unread = (version < Version::HTTP_2).then(|| self.unread.clone());
        let request = match &unread {
            Some(unread) => unread.watch(request),
            None => request.map(Watched::not),
        };
        let answer: BoxFuture<'static, _> = match kind {
            Kind::Grpc | Kind::Web => Box::pin(self.web.call(request.map(Body::new))),
            Kind::Rest => {
                let timeout = self.body_timeout;
                let answer = self
                    .rest
                    .call(request.map(|body| axum::body::Body::new(Patient::new(body, timeout))));
                Box::pin(async move { Ok(answer.await?.map(Body::new)) })
            }
        };
        let Some(unread) = unread else { return answer };
        let draining = self.draining.clone();
        Box::pin(async move {
            let mut response = answer.await?;
            if draining.load(Ordering::Relaxed) || !unread.is_over().await {
                // HTTP/2 says it to the connection, by GOAWAY. hyper closes after such an answer.
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok(response)
        })
    }
}

enum Kind {
    Grpc,
    Web,
    Rest,
}

fn kind<B>(request: &Request<B>) -> Kind {
    let headers = request.headers();
    let content = headers
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    match content.strip_prefix(b"application/grpc") {
        Some(rest) if rest.starts_with(b"-web") => Kind::Web,
        Some(_) => Kind::Grpc,
        None if is_web_preflight(request.method(), headers) => Kind::Web,
        None => Kind::Rest,
    }
}

/// A browser asks first whether it may send gRPC-web; it names the header that every such client sends.
fn is_web_preflight(method: &Method, headers: &HeaderMap) -> bool {
    let asked = headers
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let grpc = |name: &str| {
        let name = name.trim();
        name.eq_ignore_ascii_case("x-grpc-web") || name.eq_ignore_ascii_case("connect-protocol-version")
    };
    method == Method::OPTIONS && asked.split(',').any(grpc)
}

fn cors(origins: Vec<String>) -> CorsLayer {
    let allowed = move |origin: &HeaderValue, _: &Parts| {
        let Ok(origin) = origin.to_str() else { return false };
        origins.iter().any(|o| o == "*" || o == origin) || is_this_machine(origin)
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        .allow_methods([Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            HeaderName::from_static("grpc-status"),
            HeaderName::from_static("grpc-message"),
            HeaderName::from_static("grpc-status-details-bin"),
            wire::REQUEST_ID,
        ])
        .max_age(Duration::from_secs(86_400))
}

fn is_this_machine(origin: &str) -> bool {
    let host = url::Url::parse(origin)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned));
    host.is_some_and(|host| matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]"))
}

/// A request body that may not stand still for longer than `timeout`.
struct Patient {
    inner: Watched,
    timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(inner: Watched, timeout: Duration) -> Self {
        Self {
            inner,
            timeout,
            timer: None,
        }
    }
}

impl http_body::Body for Patient {
    type Data = Bytes;
    type Error = tower::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            // Set again only when next kept waiting: a fast body never touches the timer.
            this.timer = None;
            return Poll::Ready(frame.map(|f| f.map_err(Into::into)));
        }
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + this.timeout)));
        timer
            .as_mut()
            .poll(cx)
            .map(|()| Some(Err("the request body stood still for too long".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}
