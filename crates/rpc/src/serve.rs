//! The listener: one port for gRPC, gRPC-web and REST, with bounds on everything a client can hold.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{ByteSize, HumanDuration},
    layers::Layered,
    tasks::Tasks,
};

mod dispatch;
mod platform;
mod reflection;
mod unread;
use dispatch::{Dispatch, Seen};
pub use platform::{Health, default_router, merge, platform_routes, proxy};
pub use reflection::{ChangingFiles, Reflection};

/// What a listener allows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeConfig {
    /// Connections at once; further ones wait to be accepted.
    pub max_connections: usize,
    /// HTTP/2 streams of one connection at once.
    pub max_streams: u32,
    /// How long a client may take to send its headers, or its first request after connecting.
    pub header_timeout: HumanDuration,
    /// How long the body of a REST request may stand still.
    pub body_timeout: HumanDuration,
    /// How often an HTTP/2 client is asked whether it is still there.
    pub keepalive_interval: HumanDuration,
    /// How long it may take to answer that.
    pub keepalive_timeout: HumanDuration,
    /// How much a client may send on one stream before we read it.
    pub stream_window: ByteSize,
    /// How long HTTP/1.1 connections without a call stay open when the listener drains, at most half of the grace: a client
    /// may be sending its next call just then. Answers given meanwhile say that they are the last.
    pub linger: HumanDuration,
    /// Origins whose pages may use gRPC-web, beside those of this machine; `*` allows all.
    pub cors_origins: Vec<String>,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            max_connections: 4_096,
            max_streams: 1_024,
            header_timeout: HumanDuration::secs(15),
            body_timeout: HumanDuration::secs(60),
            keepalive_interval: HumanDuration::secs(30),
            keepalive_timeout: HumanDuration::secs(15),
            stream_window: ByteSize::mib(2),
            linger: HumanDuration::secs(1),
            cors_origins: Vec::new(),
        }
    }
}

/// How a listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every connection ended by itself.
    Clean,
    /// So many connections were cut when the grace was over.
    Cut(usize),
}

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    config: ServeConfig,
    health: Health,
    tasks: Tasks,
}

impl Server {
    /// Binds `addr` (port 0 = any free one). `tasks` is told to drain when serving ends.
    pub async fn bind(
        addr: SocketAddr,
        config: ServeConfig,
        health: Health,
        tasks: Tasks,
    ) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(addr).await?,
            config,
            health,
            tasks,
        })
    }

    /// The address, with the port that was given.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` ends, then drains: health says NOT_SERVING, nothing is accepted but who connected before,
    /// clients are told to go (HTTP/2 by GOAWAY, HTTP/1.1 by `connection: close` on the next answer), calls at work get up
    /// to `grace`. Watches of the platform, also those passed through ([`proxy`]), end at once, as UNAVAILABLE.
    ///
    /// `grpc` should be [`crate::layers::Column::wrap`]ped and hold [`platform_routes`]; `rest` gets everything that is
    /// not gRPC and should be wrapped by [`crate::layers::Column::wrap_rest`].
    pub async fn serve(
        self,
        grpc: Layered,
        rest: Router,
        shutdown: impl Future<Output = ()>,
        grace: Duration,
    ) -> Drained {
        let open = Connections {
            dispatch: Dispatch::new(grpc.behind(&self.tasks), rest, &self.config),
            builder: builder(&self.config),
            patience: self.config.header_timeout.get(),
            linger: self.config.linger.get().min(grace / 2),
            tasks: self.tasks.clone(),
            tracker: TaskTracker::new(),
            drain: CancellationToken::new(),
            cut: CancellationToken::new(),
        };
        let places = Arc::new(Semaphore::new(self.config.max_connections));
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = accept(&self.listener, &places) => accepted,
            };
            if let Some((stream, place)) = accepted {
                open.serve(stream, place);
            }
        }
        let started = Instant::now();
        open.dispatch.begin_drain();
        for (stream, place) in waiting(self.listener, &places) {
            open.serve(stream, place);
        }
        self.health.not_serving().await;
        self.tasks.begin_drain();
        let connections = open.tracker.len();
        open.drain.cancel();
        open.tracker.close();
        if tokio::time::timeout(grace, open.tracker.wait()).await.is_ok() {
            let duration_ms = started.elapsed().as_secs_f64() * 1e3;
            tracing::info!(connections, duration_ms, "drained");
            return Drained::Clean;
        }
        let left = open.tracker.len();
        tracing::warn!(connections = left, "connections are cut after {grace:?} of grace");
        open.cut.cancel();
        Drained::Cut(left)
    }
}

/// The connections of a listener, and what they are served with.
struct Connections {
    dispatch: Dispatch,
    builder: auto::Builder<TokioExecutor>,
    /// How long a client may ask nothing after connecting.
    patience: Duration,
    linger: Duration,
    tasks: Tasks,
    tracker: TaskTracker,
    /// Clients are told to go.
    drain: CancellationToken,
    /// Calls at work are given up.
    cut: CancellationToken,
}

impl Connections {
    /// Serves one connection until it ends, in a task of its own that holds its place.
    fn serve(&self, stream: TcpStream, place: OwnedSemaphorePermit) {
        let (seen, service) = self.dispatch.for_connection();
        let connection = self
            .builder
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .into_owned();
        let leave = time_to_leave(self.drain.clone(), seen.clone(), self.linger);
        let (patience, cut) = (self.patience, self.cut.clone());
        let work = async move {
            let (mut connection, mut leave) = (pin!(connection), pin!(leave));
            let mut silent = pin!(seen.nothing_for(patience));
            let mut is_told = false;
            loop {
                tokio::select! {
                    ended = &mut connection => {
                        if let Err(error) = ended {
                            tracing::debug!(error, "a connection broke");
                        }
                        break;
                    }
                    () = &mut leave, if !is_told => {
                        is_told = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    () = &mut silent => {
                        tracing::debug!("a client connected and asked nothing");
                        break;
                    }
                    () = cut.cancelled() => break,
                }
            }
            drop(place);
        };
        self.tasks.spawn(self.tracker.track_future(work));
    }
}

/// Ends when a connection is to be told to go: an HTTP/2 client at once, since GOAWAY says which of its calls are still
/// answered. HTTP/1.1 has no such word before the next answer, and closing under a client that is just sending loses that
/// call, so it gets the time to send it.
async fn time_to_leave(drain: CancellationToken, seen: Seen, linger: Duration) {
    drain.cancelled().await;
    if !seen.is_http2() {
        tokio::time::sleep(linger).await;
    }
}

/// Who connected and was not accepted yet when the listener ends; closing it without them would reset their connections.
fn waiting(listener: TcpListener, places: &Arc<Semaphore>) -> Vec<(TcpStream, OwnedSemaphorePermit)> {
    let Ok(listener) = listener.into_std() else {
        return Vec::new();
    };
    let next = || {
        let place = places.clone().try_acquire_owned().ok()?;
        // It does not block: an error says that nobody waits.
        let (stream, _) = listener.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        let stream = TcpStream::from_std(stream).ok()?;
        set_options(&stream);
        Some((stream, place))
    };
    std::iter::from_fn(next).collect()
}

fn builder(config: &ServeConfig) -> auto::Builder<TokioExecutor> {
    let window = u32::try_from(config.stream_window.0).unwrap_or(u32::MAX >> 1);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout.get())
        .max_buf_size(256 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(config.keepalive_interval.get())
        .keep_alive_timeout(config.keepalive_timeout.get())
        .max_concurrent_streams(config.max_streams)
        .initial_stream_window_size(window)
        .initial_connection_window_size(window.saturating_mul(4))
        .max_header_list_size(64 << 10)
        .max_send_buf_size(1 << 20);
    builder
}

/// The next connection; none after an error, which is logged and waited out.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            set_options(&stream);
            Some((stream, place))
        }
        Err(error) => {
            // Out of file handles, or the client was gone already: let connections end instead of spinning.
            tracing::warn!(%error, "a connection was not accepted");
            tokio::time::sleep(Duration::from_millis(20)).await;
            None
        }
    }
}

/// Neither is needed to serve: a socket that refuses them is about to break anyway.
fn set_options(stream: &TcpStream) {
    let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
    drop((
        stream.set_nodelay(true),
        socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive),
    ));
}

/// Everything a listener answers is an answer.
type Never = Infallible;
