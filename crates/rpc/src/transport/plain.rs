//! A peer over HTTP/2 without TLS: connections made when first needed and again after they broke, one for every so many
//! calls under way.
//!
//! This speaks to the `h2` crate and not through a client on top of it. Such clients open a stream in one task and send its
//! body from another, which makes two packets of a short call and wakes a second thread between them; here both leave
//! together. Of what one caller's calls cost a gateway in front of a model host that is about a fifth.

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
    HeaderMap, HeaderName, HeaderValue, Request, Response, Uri,
    header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE, USER_AGENT},
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
    connection::{
        CONNECTION_WINDOW, Failure, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT, MAX_HEADER_BYTES, STREAM_WINDOW,
    },
};
use crate::{layers::parse_timeout, wire};

mod exchange;

/// Calls under way on one connection before another is made. All bytes of a connection pass through one task here and one at
/// the peer, so with more the calls wait for each other; with fewer there is less to send at a time.
const CALLS_EACH: usize = 12;

/// The most connections to one peer; what they carry beyond [`CALLS_EACH`] they share.
const MAX_CONNECTIONS: usize = 4;

/// Clones share the connections.
#[derive(Clone)]
pub(super) struct Plain(Arc<Shared>);

struct Shared {
    host: Host<String>,
    port: u16,
    authority: Authority,
    current: Mutex<Vec<Open>>,
    /// Held while connecting, with the last failure: those who waited for it share it, or each would wait as long again.
    connecting: tokio::sync::Mutex<Option<(Instant, String)>>,
}

/// A connection on which streams can be opened.
#[derive(Clone)]
struct Open {
    requests: SendRequest<Bytes>,
    calls: Arc<AtomicUsize>,
}

/// The connection to use.
struct Least {
    open: Open,
    has_room: bool,
    /// No more are made.
    is_last: bool,
}

impl Least {
    fn taken(self) -> (Open, UnderWay) {
        let under_way = UnderWay::new(&self.open.calls);
        (self.open, under_way)
    }
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
        let call = async {
            let (open, under_way) = self.open().await?;
            exchange::exchange(open, under_way, request).await
        };
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
        let headers = request.headers_mut();
        remove_hop_by_hop(headers);
        let agent = HeaderValue::from_static(concat!("lodeway/", env!("CARGO_PKG_VERSION")));
        headers.insert(USER_AGENT, agent);
        Ok(())
    }

    /// A connection with a call of the caller's own on it.
    async fn open(&self) -> Result<(Open, UnderWay), Failure> {
        match self.least_used() {
            Some(least) if least.has_room || least.is_last => Ok(least.taken()),
            // All are in use. One caller makes another; nobody waits for that.
            Some(least) => match self.0.connecting.try_lock() {
                Ok(mut failure) => match self.connected(&mut failure).await {
                    Ok(open) => Ok(open),
                    Err(_) => Ok(least.taken()),
                },
                Err(_) => Ok(least.taken()),
            },
            None => {
                let since = Instant::now();
                let mut failure = self.0.connecting.lock().await;
                if let Some(least) = self.least_used() {
                    return Ok(least.taken());
                }
                match &*failure {
                    Some((at, why)) if *at >= since => Err(Failure::Lost(why.clone().into())),
                    _ => self.connected(&mut failure).await,
                }
            }
        }
    }

    async fn connected(&self, failure: &mut Option<(Instant, String)>) -> Result<(Open, UnderWay), Failure> {
        let connected = match timeout(CONNECT_TIMEOUT, self.connect()).await {
            Ok(connected) => connected.map_err(|error| crate::status::chain(&*error)),
            Err(_) => Err(format!("no connection within {CONNECT_TIMEOUT:?}")),
        };
        match connected {
            Ok(open) => {
                *failure = None;
                let under_way = UnderWay::new(&open.calls);
                self.current().push(open.clone());
                Ok((open, under_way))
            }
            Err(why) => {
                *failure = Some((Instant::now(), why.clone()));
                Err(Failure::Lost(why.into()))
            }
        }
    }

    fn current(&self) -> MutexGuard<'_, Vec<Open>> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of the connections that still take requests the first with room, else the one with the fewest calls. Those that have
    /// ended are forgotten.
    fn least_used(&self) -> Option<Least> {
        let mut current = self.current();
        // A clone has no stream of its own to wait for, so this tells only whether the connection has ended.
        current.retain_mut(|open| {
            let ready = open.requests.poll_ready(&mut Context::from_waker(Waker::noop()));
            !matches!(ready, Poll::Ready(Err(_)))
        });
        let used = |open: &Open| open.calls.load(Ordering::Relaxed);
        let with_room = current.iter().find(|open| used(open) < CALLS_EACH);
        let least = with_room.or_else(|| current.iter().min_by_key(|open| used(open)))?;
        Some(Least {
            open: least.clone(),
            has_room: with_room.is_some(),
            is_last: current.len() >= MAX_CONNECTIONS,
        })
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

/// Removes what a caller said about their own connection; a stream with such headers is malformed. Source: RFC 9113, 8.2.2.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let keep_alive = HeaderName::from_static("keep-alive");
    let proxy_connection = HeaderName::from_static("proxy-connection");
    for name in [
        CONNECTION,
        TRANSFER_ENCODING,
        UPGRADE,
        keep_alive,
        proxy_connection,
    ]
    .iter()
    .chain(&named)
    {
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|value| value != "trailers") {
        headers.remove(TE);
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
