//! The listener: one port for gRPC, gRPC-web and REST, with bounds on everything a client can hold.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{ByteSize, HumanDuration},
    layers::Layered,
    tasks::Tasks,
};

mod dispatch;
mod platform;
mod reflection;
use dispatch::Dispatch;
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

    /// Serves until `shutdown` ends, then drains: health says NOT_SERVING, nothing is accepted, clients are told to go
    /// (GOAWAY), calls at work get up to `grace`.
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
        let dispatch = Dispatch::new(grpc, rest, &self.config);
        let builder = Arc::new(builder(&self.config));
        let (graceful, cut) = (GracefulShutdown::new(), CancellationToken::new());
        let places = Arc::new(Semaphore::new(self.config.max_connections));
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = accept(&self.listener, &places) => accepted,
            };
            let Some((stream, place)) = accepted else { continue };
            let (seen, service) = dispatch.for_connection();
            let connection =
                builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
            let connection = graceful.watch(connection.into_owned());
            let (cut, patience) = (cut.clone(), self.config.header_timeout.get());
            self.tasks.spawn(async move {
                tokio::select! {
                    ended = connection => if let Err(error) = ended {
                        tracing::debug!(error, "a connection broke");
                    },
                    () = seen.nothing_for(patience) => tracing::debug!("a client connected and asked nothing"),
                    () = cut.cancelled() => {}
                }
                drop(place);
            });
        }
        drop(self.listener);
        self.health.not_serving().await;
        self.tasks.begin_drain();
        let open = graceful.count();
        let started = Instant::now();
        if tokio::time::timeout(grace, graceful.shutdown()).await.is_ok() {
            tracing::info!(
                connections = open,
                duration_ms = started.elapsed().as_secs_f64() * 1e3,
                "drained"
            );
            return Drained::Clean;
        }
        let left = self.config.max_connections - places.available_permits();
        tracing::warn!(connections = left, "connections are cut after {grace:?} of grace");
        cut.cancel();
        Drained::Cut(left)
    }
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
            // Neither is needed to serve: a socket that refuses them is about to break anyway.
            let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
            drop((
                stream.set_nodelay(true),
                socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive),
            ));
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

/// Everything a listener answers is an answer.
type Never = Infallible;
