//! A peer in another process: one lazily connected HTTP/2 channel.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use lodeway_domain::Error;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tonic::{
    Code, Status, TimeoutExpired,
    body::Body,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tower::{Service, ServiceExt};
use url::Url;

use super::{CONNECT_TIMEOUT, PeerError};
use crate::{auth::peer_proof, config::Secret, context::CallContext, status, telemetry, wire};

const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
const MAX_HEADER_BYTES: u32 = 128 << 10;

#[derive(Clone)]
pub(super) struct Remote {
    channel: Channel,
    url: Arc<str>,
    peer_token: Option<HeaderValue>,
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
        let mut endpoint = Endpoint::from_shared(url.to_string())
            .map_err(|e| refuse(status::chain(&e)))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_header_list_size(MAX_HEADER_BYTES);
        if url.scheme() == "https" {
            let tls = ClientTlsConfig::new().with_native_roots();
            endpoint = endpoint.tls_config(tls).map_err(|e| refuse(status::chain(&e)))?;
        }
        Ok(Self {
            channel: endpoint.connect_lazy(),
            url: url.as_str().into(),
            peer_token: None,
        })
    }

    pub(super) fn with_peer_token(mut self, token: Option<Secret<String>>) -> Self {
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
        let mut channel = self.channel.clone();
        let (peer_token, url) = (self.peer_token.clone(), self.url.clone());
        Box::pin(async move {
            let context = request.extensions_mut().remove::<CallContext>();
            strip(request.headers_mut());
            if let Some(context) = &context {
                carry(context, peer_token, request.headers_mut());
            }
            telemetry::inject(request.headers_mut());
            let answer = match channel.ready().await {
                Ok(ready) => ready.call(request).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(response) => response.map(|body| Body::new(body.map_err(broken_stream))),
                Err(error) => failed(&url, error, context.as_ref()).into_http(),
            }
        })
    }
}

/// Removes what only a peer may say, so that nobody outside vouches for himself through a proxied call.
fn strip(headers: &mut HeaderMap) {
    for name in [wire::PEER_TOKEN, wire::PRINCIPAL, wire::VERIFIED] {
        headers.remove(name);
    }
}

/// Writes the context into headers.
fn carry(context: &CallContext, peer_token: Option<HeaderValue>, headers: &mut HeaderMap) {
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
    match (peer_token, &context.authorization) {
        (Some(token), _) => {
            headers.insert(wire::PEER_TOKEN, token);
        }
        (None, Some(own)) => {
            headers.insert(http::header::AUTHORIZATION, own.clone());
        }
        (None, None) => {}
    }
}

fn failed(url: &str, error: tonic::transport::Error, context: Option<&CallContext>) -> Status {
    let timed_out = {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        std::iter::from_fn(|| {
            let this = source?;
            source = this.source();
            Some(this.is::<TimeoutExpired>())
        })
        .any(|expired| expired)
    };
    let error = if timed_out {
        Error::DeadlineExceeded
    } else {
        Error::unavailable(
            "a part of the platform does not answer",
            format!("peer {url}: {}", status::chain(&error)),
        )
    };
    let (request_id, domain) = context.map_or(("", status::DEFAULT_DOMAIN), |c| (&*c.request_id, &*c.domain));
    status::status_of(&error, request_id, domain)
}

/// A stream that breaks in the middle: the peer went away, whatever the layer below calls it.
fn broken_stream(error: Status) -> Status {
    match error.code() {
        Code::Unknown | Code::Internal => {
            Status::unavailable("the connection to a part of the platform broke")
        }
        _ => error,
    }
}
