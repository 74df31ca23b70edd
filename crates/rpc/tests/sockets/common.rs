//! A real server on a free port around a service whose answers the tests choose by name.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use lodeway_domain::{Error, ResourceKind};
use lodeway_rpc::{
    Tasks, Transport, access,
    auth::Authenticator,
    context,
    layers::{Column, ColumnConfig},
    serve::{
        Drained, Health, Reflection, ServeConfig, Server, default_router, merge, platform_routes, proxy,
    },
};
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{Request, Response, Status, service::Routes};
pub use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_health::pb::{
    HealthCheckResponse,
    health_server::{Health as HealthService, HealthServer},
};

/// Answers by the name in the request.
#[derive(Clone, Default)]
pub struct Probe {
    pub running: Arc<AtomicUsize>,
    pub dropped: Arc<AtomicUsize>,
}

struct Running(Probe);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[async_trait::async_trait]
impl HealthService for Probe {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let (cx, message) = context::split(request)?;
        match message.service.as_str() {
            "missing" => Err(cx.status(Error::not_found(ResourceKind::Run, "4f1"))),
            "fault" => Err(cx.status(Error::internal("disk on fire"))),
            "whoami" => {
                let (who, space) = (&cx.caller.principal, cx.caller.workspace.as_str());
                let text = format!(
                    "{who} {} {space} {} {}",
                    cx.caller.verified,
                    cx.request_id,
                    cx.deadline.is_some()
                );
                Err(cx.status(Error::Denied(text)))
            }
            "panic" => panic!("as asked"),
            "slow" => {
                let _running = Running(self.clone());
                self.running.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
            "brief" => {
                self.running.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok(Response::new(HealthCheckResponse::default()))
            }
            _ => Ok(Response::new(HealthCheckResponse::default())),
        }
    }

    type WatchStream = Answers;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Answers>, Status> {
        let (cx, message) = context::split(request)?;
        let three = stream::iter((1..=3).map(|status| Ok(HealthCheckResponse { status })));
        let answers: Answers = match message.service.as_str() {
            "missing" => three
                .chain(stream::iter([Err(
                    cx.status(Error::not_found(ResourceKind::Run, "4f1"))
                )]))
                .boxed(),
            "panic" => three.chain(stream::poll_fn(|_| panic!("in the stream"))).boxed(),
            "endless" => three.chain(stream::pending()).boxed(),
            _ => three.boxed(),
        };
        Ok(Response::new(answers))
    }
}

pub struct House {
    pub addr: SocketAddr,
    pub column: Column,
    pub health: Health,
    pub probe: Probe,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Drained>,
}

impl House {
    pub async fn start() -> Self {
        Self::with(
            ColumnConfig::default(),
            Authenticator::open(),
            ServeConfig::default(),
        )
        .await
    }

    /// The probe's own routes are under the health service's name, so real health is left out here.
    pub async fn with(config: ColumnConfig, auth: Authenticator, serve: ServeConfig) -> Self {
        let probe = Probe::default();
        Self::serving(
            Routes::new(HealthServer::new(probe.clone())),
            probe,
            (config, auth, serve),
        )
        .await
    }

    /// Real health and reflection instead of the probe.
    pub async fn platform(serve: ServeConfig) -> Self {
        let reflection = Reflection::new(&[], &[]).unwrap();
        Self::telling(&reflection, Authenticator::open(), serve).await
    }

    /// The same with this reflection.
    pub async fn telling(reflection: &Reflection, auth: Authenticator, serve: ServeConfig) -> Self {
        let health = Health::new();
        let routes = merge([platform_routes(&health, reflection)]);
        let parts = (ColumnConfig::default(), auth, serve);
        Self {
            health: health.clone(),
            ..Self::serving_health(routes, Probe::default(), health, parts).await
        }
    }

    /// A listener that passes calls of the probe's service through to `back`.
    pub async fn front(back: &Self) -> Self {
        let parts = (
            ColumnConfig::default(),
            Authenticator::open(),
            ServeConfig::default(),
        );
        let routes = proxy(&["grpc.health.v1.Health"], &back.remote());
        Self::serving(routes, Probe::default(), parts).await
    }

    async fn serving(
        routes: Routes,
        probe: Probe,
        parts: (ColumnConfig, Authenticator, ServeConfig),
    ) -> Self {
        Self::serving_health(routes, probe, Health::new(), parts).await
    }

    async fn serving_health(
        routes: Routes,
        probe: Probe,
        health: Health,
        (config, auth, serve): (ColumnConfig, Authenticator, ServeConfig),
    ) -> Self {
        // The probe stands in for a service that is not public.
        let table = access::platform().with(&[("/grpc.health.v1.Health/Check", access::Access::Read)]);
        let column = Column::new(config, auth, table);
        let tasks = Tasks::new();
        let server = Server::bind(([127, 0, 0, 1], 0).into(), serve, health.clone(), tasks.clone())
            .await
            .unwrap();
        let addr = server.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let rest = column.wrap_rest(default_router(None), |e| {
            axum::response::Response::new(e.to_string().into())
        });
        let wrapped = column.wrap(routes);
        let served = tasks.spawn(async move {
            server
                .serve(
                    wrapped,
                    rest,
                    async { drop(stopped.await) },
                    Duration::from_secs(2),
                )
                .await
        });
        Self {
            addr,
            column,
            health,
            probe,
            stop,
            served,
        }
    }

    pub fn remote(&self) -> Transport {
        Transport::remote(&format!("http://{}", self.addr).parse().unwrap()).unwrap()
    }

    /// The same service without a socket, behind the same column.
    pub fn local(&self) -> Transport {
        Transport::local(
            self.column
                .wrap(Routes::new(HealthServer::new(self.probe.clone()))),
        )
    }

    pub fn client(&self) -> HealthClient<Transport> {
        HealthClient::new(self.remote())
    }

    pub async fn stop(self) -> Drained {
        let _ = self.stop.send(());
        self.served.await.unwrap()
    }
}

pub fn ask(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

/// Waits until `holds`, at most ten seconds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within ten seconds: {what}");
}
