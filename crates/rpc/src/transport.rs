//! One type for a peer in this process and one in another, so that nobody above the wiring can tell which.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tower::Service;
use url::Url;

use crate::{
    config::Secret,
    layers::{Layered, LayeredFuture},
};

mod connection;
mod plain;
mod remote;
use remote::Remote;

/// A peer: a generated client takes it, `TrackingServiceClient::new(transport)`. Clones are cheap.
///
/// A peer that does not answer is UNAVAILABLE, whatever the cause; connecting is lazy and repeated, so that start order
/// does not matter.
#[derive(Clone)]
pub struct Transport(Peer);

#[derive(Clone)]
enum Peer {
    Local(Layered),
    Remote(Remote),
}

/// A peer's address or settings that cannot work.
#[derive(Debug, thiserror::Error)]
#[error("peer `{url}`: {why}")]
pub struct PeerError {
    /// The address as configured.
    pub url: String,
    /// What is wrong with it.
    pub why: String,
}

impl Transport {
    /// A peer in this process: tonic `Routes`, or [`Layered`] ones from [`crate::layers::Column::wrap`].
    pub fn local(routes: impl Into<Layered>) -> Self {
        Self(Peer::Local(routes.into()))
    }

    /// A peer in another process, `http://host:port` or `https://host:port`. Needs a tokio runtime; connects at the
    /// first call.
    pub fn remote(url: &Url) -> Result<Self, PeerError> {
        Remote::new(url).map(|remote| Self(Peer::Remote(remote)))
    }

    /// Vouches for the caller to a remote peer of the platform that knows the same `token`; without it the caller's own
    /// credentials are passed on and the peer authenticates by itself. Where the call is not the caller's own any more, as the
    /// end of a rollout that he began, he is named as he would name himself, which an open peer believes.
    #[must_use]
    pub fn with_peer_token(self, token: Option<Secret<String>>) -> Self {
        match self.0 {
            Peer::Remote(remote) => Self(Peer::Remote(remote.with_peer_token(token))),
            local @ Peer::Local(_) => Self(local),
        }
    }

    /// Calls a remote peer that knows no common token with this process's own credentials, a bearer token, whoever the call
    /// is made for; without it with the caller's.
    #[must_use]
    pub fn with_credentials(self, token: Option<Secret<String>>) -> Self {
        match self.0 {
            Peer::Remote(remote) => Self(Peer::Remote(remote.with_credentials(token))),
            local @ Peer::Local(_) => Self(local),
        }
    }

    /// True for a peer in this process.
    pub fn is_local(&self) -> bool {
        matches!(self.0, Peer::Local(_))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Peer::Local(_) => f.write_str("Transport(local)"),
            Peer::Remote(remote) => write!(f, "Transport({})", remote.url()),
        }
    }
}

impl<B> Service<Request<B>> for Transport
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<tower::BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = TransportFuture;

    // Always ready: a generated client makes an error of readiness UNKNOWN, so waiting and failing belong into `call`.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> TransportFuture {
        match &mut self.0 {
            Peer::Local(routes) => TransportFuture::Local(routes.call(request.map(Body::new))),
            Peer::Remote(remote) => TransportFuture::Remote(remote.call(request.map(Body::new))),
        }
    }
}

/// The answer of a peer; never an error, failures are statuses.
pub enum TransportFuture {
    /// Of a peer in this process.
    Local(LayeredFuture),
    /// Of a peer in another one.
    Remote(BoxFuture<'static, Response<Body>>),
}

impl Future for TransportFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Local(future) => Pin::new(future).poll(cx),
            Self::Remote(future) => future.as_mut().poll(cx).map(Ok),
        }
    }
}

/// How long connecting to a peer may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
