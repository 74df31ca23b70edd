//! A peer in another process: HTTP/2, connected when first needed, and the caller's context in the headers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use lodeway_domain::{
    Caller, Error, Reason,
    caller::{ANONYMOUS, is_reserved},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tonic::{
    Code, Status,
    body::Body,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tower::{Service, ServiceExt};
use url::Url;

use super::{
    CONNECT_TIMEOUT, PeerError,
    connection::{
        CONNECTION_WINDOW, Failure, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, MAX_HEADER_BYTES, STREAM_WINDOW,
    },
    plain::Plain,
};
use crate::{auth::peer_proof, config::Secret, context::CallContext, seldom::Seldom, status, trace, wire};

#[derive(Clone)]
pub(super) struct Remote {
    line: Line,
    url: Arc<str>,
    peer_token: Option<HeaderValue>,
    /// Whether it is one of the platform's, which may know whom a call is made for.
    names_callers: bool,
    /// This process's own, for a peer to which it cannot vouch for its callers.
    credentials: Option<HeaderValue>,
    refusals: Arc<Seldom>,
}

#[derive(Clone)]
enum Line {
    Plain(Plain),
    Tls(Channel),
}

impl Remote {
    pub(super) fn new(url: &Url) -> Result<Self, PeerError> {
        let refuse = |why: String| PeerError {
            url: url.to_string(),
            why,
        };
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(refuse(
                "is not `http://host:port` or `https://host:port`".to_owned(),
            ));
        }
        let line = if url.scheme() == "http" {
            Plain::new(url)
                .map(Line::Plain)
                .ok_or_else(|| refuse("is not a host with a port".to_owned()))?
        } else {
            Line::Tls(secured(url).map_err(|error| refuse(status::chain(&error)))?)
        };
        Ok(Self {
            line,
            url: url.as_str().into(),
            peer_token: None,
            names_callers: false,
            credentials: None,
            refusals: Arc::default(),
        })
    }

    pub(super) fn with_credentials(mut self, token: Option<Secret<String>>) -> Self {
        self.credentials = token
            .and_then(|token| HeaderValue::from_str(&format!("Bearer {}", token.reveal())).ok())
            .map(|mut value| {
                value.set_sensitive(true);
                value
            });
        self
    }

    pub(super) fn with_peer_token(mut self, token: Option<Secret<String>>) -> Self {
        self.names_callers = true;
        self.peer_token = token
            .and_then(|t| HeaderValue::from_str(&peer_proof(&t)).ok())
            .map(|mut value| {
                value.set_sensitive(true);
                value
            });
        self
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn call(&self, mut request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let line = self.line.clone();
        let (peer_token, credentials) = (self.peer_token.clone(), self.credentials.clone());
        let names_callers = self.names_callers;
        let (url, refusals) = (self.url.clone(), self.refusals.clone());
        let part = part_of(request.uri().path());
        Box::pin(async move {
            let context = request.extensions_mut().remove::<CallContext>();
            let is_vouched = context.is_some() && peer_token.is_some();
            strip(request.headers_mut());
            if let Some(context) = &context {
                let name = || named(context).filter(|_| names_callers);
                let credentials = credentials
                    .or_else(|| context.authorization.clone())
                    .or_else(name);
                carry(context, (peer_token, credentials), request.headers_mut());
            }
            trace::inject(request.headers_mut());
            match line.call(request).await {
                Ok(response) if is_vouched && is_untrusted(response.headers()) => {
                    untrusted((&url, &part), &refusals, context.as_ref()).into_http()
                }
                Ok(response) => response.map(|body| Body::new(body.map_err(broken_stream))),
                Err(error) => failed((&url, &part), error, context.as_ref()).into_http(),
            }
        })
    }
}

impl Line {
    async fn call(self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        match self {
            Self::Plain(plain) => plain.call(request).await,
            Self::Tls(mut channel) => Ok(channel.ready().await?.call(request).await?),
        }
    }
}

fn secured(url: &Url) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(url.to_string())?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .tls_config(ClientTlsConfig::new().with_native_roots())?;
    Ok(endpoint.connect_lazy())
}

/// Removes what only a peer may say, so that nobody outside vouches for himself through a proxied call.
fn strip(headers: &mut HeaderMap) {
    for name in [wire::PEER_TOKEN, wire::PRINCIPAL, wire::VERIFIED] {
        headers.remove(name);
    }
}

/// Writes the context into headers.
fn carry(
    context: &CallContext,
    (peer_token, credentials): (Option<HeaderValue>, Option<HeaderValue>),
    headers: &mut HeaderMap,
) {
    let mut put = |name, value: &str| {
        HeaderValue::from_str(value)
            .map(|value| headers.insert(name, value))
            .is_ok()
    };
    put(wire::REQUEST_ID, &context.request_id);
    put(wire::WORKSPACE, context.caller.workspace.as_str());
    if peer_token.is_some() {
        put(
            wire::PRINCIPAL,
            &utf8_percent_encode(&context.caller.principal, NON_ALPHANUMERIC).to_string(),
        );
        put(wire::VERIFIED, if context.caller.verified { "1" } else { "0" });
    }
    if let Some(deadline) = context.deadline {
        let left = deadline
            .saturating_duration_since(Instant::now())
            .as_millis()
            .clamp(1, 99_999_999);
        put(wire::GRPC_TIMEOUT, &format!("{left}m"));
    }
    if let Some(traceparent) = &context.traceparent {
        headers.insert(wire::TRACEPARENT, traceparent.clone());
    }
    match (peer_token, credentials) {
        (Some(token), _) => {
            headers.insert(wire::PEER_TOKEN, token);
        }
        (None, Some(credentials)) => {
            headers.insert(http::header::AUTHORIZATION, credentials);
        }
        (None, None) => {}
    }
}

/// A caller whom no credential proved, as a user of basic authentication without a password; none if that cannot say who it is.
fn named(context: &CallContext) -> Option<HeaderValue> {
    let Caller {
        principal, verified, ..
    } = &*context.caller;
    let is_nameable = !principal.contains(':') && principal != ANONYMOUS && !is_reserved(principal);
    let user = (is_nameable && !verified).then(|| STANDARD.encode(format!("{principal}:")))?;
    HeaderValue::from_str(&format!("Basic {user}")).ok()
}

/// Whom a call is for, by the package of its service: the caller may know nothing of addresses in here.
fn part_of(path: &str) -> String {
    let package = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match package.split('.').collect::<Vec<_>>()[..] {
        ["lodeway", part, ..] => format!("the {part} service"),
        ["inference", ..] => "the server of a model".to_owned(),
        _ => "a part of the platform".to_owned(),
    }
}

fn failed((url, part): (&str, &str), failure: Failure, context: Option<&CallContext>) -> Status {
    let error = match failure {
        Failure::Own(status) => return *status,
        Failure::TimedOut => Error::DeadlineExceeded,
        Failure::Lost(error) => Error::unavailable(
            format!("{part} does not answer"),
            format!("peer {url}: {}", status::chain(&*error)),
        ),
    };
    let (request_id, domain) = context.map_or(("", status::DEFAULT_DOMAIN), |c| (&*c.request_id, &*c.domain));
    status::status_of(&error, request_id, domain)
}

/// Whether a peer says that the peer token it got is not its own. It says so with the same code as to anybody without
/// credentials, and only we know that it was not the caller who sent the token.
fn is_untrusted(headers: &HeaderMap) -> bool {
    let refused = Status::from_header_map(headers).filter(|status| status.code() == Code::Unauthenticated);
    refused
        .is_some_and(|status| status::from_status(&status).known_reason() == Some(Reason::PeerTokenRefused))
}

/// What the caller hears where a peer does not trust this process: nothing that he could set right.
fn untrusted((url, part): (&str, &str), refusals: &Seldom, context: Option<&CallContext>) -> Status {
    if refusals.is_due() {
        tracing::warn!(
            peer = url,
            "{part} does not accept the `peer_token` of this process: both need the same one, and until then calls to it fail"
        );
    }
    let error = Error::Unavailable {
        reason: Reason::PeerTokenRefused,
        message: "the services of this platform do not accept each other's peer token, which its operator has to set right"
            .to_owned(),
        retry_after: Duration::from_secs(1),
        cause: format!("peer {url}: it has another peer token").into(),
    };
    let (request_id, domain) = context.map_or(("", status::DEFAULT_DOMAIN), |c| (&*c.request_id, &*c.domain));
    status::status_of(&error, request_id, domain)
}

/// A stream that breaks in the middle: the peer went away, whatever the layer below calls it. What the peer itself says is in
/// its trailers and does not come here.
fn broken_stream(error: Status) -> Status {
    match error.code() {
        Code::Unknown | Code::Internal | Code::Cancelled | Code::Unavailable => {
            Status::unavailable("the connection to a part of the platform broke")
        }
        _ => error,
    }
}
