//! A peer over HTTP/2 without TLS: one connection, made when first needed and again after it broke.
//!
//! This speaks to the `h2` crate and not through a client on top of it. Such clients open a stream in one task and send its
//! body from another, which makes two packets of a short call and wakes a second thread between them; here both leave
//! together. Between a gateway and its model hosts that is a tenth of what a call costs.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use h2::{
    Ping,
    client::{Connection, SendRequest},
};
use http::{
    HeaderValue, Request, Response, Uri,
    header::USER_AGENT,
    uri::{Authority, PathAndQuery, Scheme},
};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tonic::body::Body;
use url::{Host, Url};

use super::{
    CONNECT_TIMEOUT,
    remote::{
        CONNECTION_WINDOW, Failure, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, MAX_HEADER_BYTES, STREAM_WINDOW,
    },
};
use crate::{layers::parse_timeout, wire};

mod exchange;

/// Clones share the connection.
#[derive(Clone)]
pub(super) struct Plain(Arc<Shared>);

struct Shared {
    host: Host<String>,
    port: u16,
    authority: Authority,
    current: Mutex<Option<Open>>,
    /// Held while connecting, with the last failure: those who waited for it share it, or each would wait as long again.
    connecting: tokio::sync::Mutex<Option<(Instant, String)>>,
}

/// A connection on which streams can be opened.
#[derive(Clone)]
struct Open {
    requests: SendRequest<Bytes>,
    calls: Arc<AtomicUsize>,
}

/// Counts as a call under way until dropped.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn new(calls: &Arc<AtomicUsize>) -> Self {
        calls.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(calls))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Plain {
    /// None for a URL without a host, or one whose port is not known.
    pub(super) fn new(url: &Url) -> Option<Self> {
        let host = url.host()?.to_owned();
        let port = url.port_or_known_default()?;
        let authority = format!("{host}:{port}").parse().ok()?;
        Some(Self(Arc::new(Shared {
            host,
            port,
            authority,
            current: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        })))
    }

    /// Sends a request and waits for the head of its answer, no longer than `grpc-timeout` says.
    pub(super) async fn call(&self, mut request: Request<Body>) -> Result<Response<Body>, Failure> {
        let limit = request
            .headers()
            .get(wire::GRPC_TIMEOUT)
            .and_then(|value| parse_timeout(value.to_str().ok()?));
        self.address(&mut request)?;
        let call = async { exchange::exchange(self.open().await?, request).await };
        match limit {
            Some(limit) => timeout(limit, call).await.unwrap_or(Err(Failure::TimedOut)),
            None => call.await,
        }
    }

    fn address(&self, request: &mut Request<Body>) -> Result<(), Failure> {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.0.authority.clone());
        parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from_parts(parts).map_err(|error| Failure::Lost(error.into()))?;
        let agent = HeaderValue::from_static(concat!("lodeway/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        Ok(())
    }

    async fn open(&self) -> Result<Open, Failure> {
        if let Some(open) = self.usable() {
            return Ok(open);
        }
        let since = Instant::now();
        let mut failure = self.0.connecting.lock().await;
        if let Some(open) = self.usable() {
            return Ok(open);
        }
        if let Some((at, why)) = &*failure
            && *at >= since
        {
            return Err(Failure::Lost(why.clone().into()));
        }
        let connected = match timeout(CONNECT_TIMEOUT, self.connect()).await {
            Ok(connected) => connected.map_err(|error| crate::status::chain(&*error)),
            Err(_) => Err(format!("no connection within {CONNECT_TIMEOUT:?}")),
        };
        match connected {
            Ok(open) => {
                *failure = None;
                *self.current() = Some(open.clone());
                Ok(open)
            }
            Err(why) => {
                *failure = Some((Instant::now(), why.clone()));
                Err(Failure::Lost(why.into()))
            }
        }
    }

    fn current(&self) -> MutexGuard<'_, Option<Open>> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, if there is one that still takes requests.
    fn usable(&self) -> Option<Open> {
        let mut current = self.current();
        let mut open = current.clone()?;
        // A clone has no stream of its own to wait for, so this tells only whether the connection has ended.
        if let Poll::Ready(Err(_)) = open.requests.poll_ready(&mut Context::from_waker(Waker::noop())) {
            *current = None;
            return None;
        }
        Some(open)
    }

    async fn connect(&self) -> Result<Open, tower::BoxError> {
        let port = self.0.port;
        let socket = match &self.0.host {
            Host::Domain(name) => TcpStream::connect((name.as_str(), port)).await?,
            Host::Ipv4(ip) => TcpStream::connect((*ip, port)).await?,
            Host::Ipv6(ip) => TcpStream::connect((*ip, port)).await?,
        };
        socket.set_nodelay(true)?;
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_BYTES)
            .enable_push(false)
            .handshake(socket)
            .await?;
        let calls = Arc::new(AtomicUsize::new(0));
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with the connection, which shutdown need not wait for: the calls on it are waited for"
        )]
        tokio::spawn(drive(connection, Arc::clone(&calls)));
        Ok(Open { requests, calls })
    }
}

/// Moves the bytes of a connection until it ends. Ended is also one on which calls wait and the other side does not answer
/// a ping; without calls there are none, because some servers take them for an attack.
async fn drive(mut connection: Connection<TcpStream>, calls: Arc<AtomicUsize>) {
    let pings = connection.ping_pong();
    let silent = async {
        let Some(mut pings) = pings else {
            return std::future::pending::<()>().await;
        };
        loop {
            sleep(KEEP_ALIVE_INTERVAL).await;
            if calls.load(Ordering::Relaxed) > 0 {
                let pong = timeout(KEEP_ALIVE_TIMEOUT, pings.ping(Ping::opaque())).await;
                if !matches!(pong, Ok(Ok(_))) {
                    return;
                }
            }
        }
    };
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to a peer broke");
            }
        }
        () = silent => tracing::warn!("a connection to a peer is silent"),
    }
}
