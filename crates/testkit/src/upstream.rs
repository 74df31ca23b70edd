//! A server of the Open Inference Protocol v2 that answers, waits, fails and dies as a test says.
//!
//! It speaks real gRPC on a free port of this machine and lives in a thread with a runtime of its own, so that [`die`]
//! closes every connection at once, as the end of a process does.
//!
//! [`die`]: Upstream::die

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use lodeway_proto::inference::{
    self as wire, InferTensorContents,
    grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer},
    model_infer_response::InferOutputTensor,
    model_metadata_response::TensorMetadata,
};
use tokio::sync::{oneshot, watch};
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status, Streaming, async_trait, transport::server::TcpIncoming};
use tonic_types::{ErrorDetails, StatusExt as _};

/// How long a call may take to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// From an input value to a score.
type Score = Arc<dyn Fn(f64) -> f64 + Send + Sync>;

/// What the server does with a call.
struct Behaviour {
    score: Score,
    /// The values that a call may not hold.
    refuses: Arc<dyn Fn(f64) -> bool + Send + Sync>,
    dies_of: Arc<dyn Fn(f64) -> bool + Send + Sync>,
    failure: Option<Code>,
    /// Of the next calls, with what each fails; before `failure`.
    next_failures: Vec<Code>,
    delay: Duration,
    is_ready: bool,
    inputs: Vec<TensorMetadata>,
    calls: u64,
    last: Option<wire::ModelInferRequest>,
}

/// What the server and its test share.
struct Shared {
    behaviour: Mutex<Behaviour>,
    /// Calls up to this one, by the order in which they came, are held back; 0 is none.
    held: watch::Sender<u64>,
    /// How many calls have come.
    arrived: watch::Sender<u64>,
}

impl Shared {
    fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        self.behaviour.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running server. Dropping it ends it.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Upstream {
    /// A server that is ready and gives each input value back as its score.
    pub fn start() -> Result<Self> {
        let behaviour = Behaviour {
            score: Arc::new(|value| value),
            refuses: Arc::new(|_| false),
            dies_of: Arc::new(|_| false),
            failure: None,
            next_failures: Vec::new(),
            delay: Duration::ZERO,
            is_ready: true,
            inputs: Vec::new(),
            calls: 0,
            last: None,
        };
        let shared = Shared {
            behaviour: Mutex::new(behaviour),
            held: watch::Sender::new(0),
            arrived: watch::Sender::new(0),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut upstream = Self {
            address: listener.local_addr()?,
            shared: Arc::new(shared),
            running: None,
        };
        upstream.run(listener)?;
        Ok(upstream)
    }

    /// A server whose every score is `value`, so that an answer says who gave it.
    pub fn constant(value: f64) -> Result<Self> {
        let upstream = Self::start()?;
        upstream.score(move |_| value);
        Ok(upstream)
    }

    fn run(&mut self, listener: TcpListener) -> Result<()> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("a runtime for the upstream")?;
        let (stop, stopped) = oneshot::channel();
        let service = GrpcInferenceServiceServer::new(Service(self.shared.clone()))
            .max_decoding_message_size(64 << 20)
            .max_encoding_message_size(64 << 20);
        let thread = std::thread::spawn(move || {
            // Whichever ends first: the runtime is dropped with all its connections then.
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
                    return;
                };
                // Servers of this protocol send at once; without that the first answer of a connection waits 40 ms.
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                let server = tonic::transport::Server::builder()
                    .add_service(service)
                    .serve_with_incoming(incoming);
                tokio::select! {
                    _ = server => {}
                    _ = stopped => {}
                }
            });
        });
        self.running = Some((stop, thread));
        Ok(())
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a model on this server, as a target's reference.
    pub fn reference(&self, model: &str) -> String {
        format!("grpc://{}/{model}", self.address)
    }

    /// From now on scores are `score` of each input value.
    pub fn score(&self, score: impl Fn(f64) -> f64 + Send + Sync + 'static) {
        self.shared.behaviour().score = Arc::new(score);
    }

    /// From now on a call with an input value that `refuses` is true of fails as a whole.
    pub fn refuse(&self, refuses: impl Fn(f64) -> bool + Send + Sync + 'static) {
        self.shared.behaviour().refuses = Arc::new(refuses);
    }

    /// From now on a call with an input value that `dies_of` is true of is not answered, as if it had ended the model's
    /// process.
    pub fn die_of(&self, dies_of: impl Fn(f64) -> bool + Send + Sync + 'static) {
        self.shared.behaviour().dies_of = Arc::new(dies_of);
    }

    /// From now on every call fails with this code.
    pub fn fail(&self, code: Code) {
        self.shared.behaviour().failure = Some(code);
    }

    /// The next `times` calls fail with this code.
    pub fn fail_next(&self, times: usize, code: Code) {
        self.shared.behaviour().next_failures = vec![code; times];
    }

    /// From now on calls are answered again.
    pub fn heal(&self) {
        let mut behaviour = self.shared.behaviour();
        behaviour.failure = None;
        behaviour.next_failures.clear();
    }

    /// From now on every call takes so long.
    pub fn delay(&self, delay: Duration) {
        self.shared.behaviour().delay = delay;
    }

    /// Whether the model says that it is ready.
    pub fn set_ready(&self, is_ready: bool) {
        self.shared.behaviour().is_ready = is_ready;
    }

    /// What the model says from now on of its inputs: names, datatypes and shapes.
    pub fn declare(&self, inputs: &[(&str, &str, &[i64])]) {
        let each = inputs.iter().map(|(name, datatype, shape)| TensorMetadata {
            name: (*name).to_owned(),
            datatype: (*datatype).to_owned(),
            shape: shape.to_vec(),
            ..TensorMetadata::default()
        });
        self.shared.behaviour().inputs = each.collect();
    }

    /// From now on calls wait until [`Upstream::release`].
    pub fn hold(&self) {
        self.shared.held.send_replace(u64::MAX);
    }

    /// The next call waits until [`Upstream::release`]; those after it do not.
    pub fn hold_next(&self) {
        self.shared.held.send_replace(self.calls() + 1);
    }

    /// Lets the calls go on that wait.
    pub fn release(&self) {
        self.shared.held.send_replace(0);
    }

    /// How many calls have come.
    pub fn calls(&self) -> u64 {
        self.shared.behaviour().calls
    }

    /// Waits until `calls` have come in all. Errors: they do not come.
    pub async fn arrived(&self, calls: u64) -> Result<()> {
        let mut arrived = self.shared.arrived.subscribe();
        let come = arrived.wait_for(|so_far| *so_far >= calls);
        tokio::time::timeout(PATIENCE, come).await??;
        Ok(())
    }

    /// The last call that came.
    pub fn last(&self) -> Option<wire::ModelInferRequest> {
        self.shared.behaviour().last.clone()
    }

    /// Ends the server and every connection to it; its port refuses connections then.
    pub fn die(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            // One that has ended already is as dead as can be.
            let _ = stop.send(());
            drop(thread.join());
        }
    }

    /// Starts a dead server again, on the same port.
    pub fn revive(&mut self) -> Result<()> {
        if self.running.is_some() {
            return Err(anyhow!("the upstream is alive"));
        }
        let listener = TcpListener::bind(self.address).context("the upstream's old port")?;
        self.run(listener)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.die();
    }
}

struct Service(Arc<Shared>);

impl Service {
    async fn infer(&self, request: wire::ModelInferRequest) -> Result<wire::ModelInferResponse, Status> {
        let (number, score, refuses, dies_of, failure, delay) = {
            let mut behaviour = self.0.behaviour();
            behaviour.calls += 1;
            behaviour.last = Some(request.clone());
            let failure = behaviour.next_failures.pop().or(behaviour.failure);
            let (refuses, dies_of) = (behaviour.refuses.clone(), behaviour.dies_of.clone());
            (
                behaviour.calls,
                behaviour.score.clone(),
                refuses,
                dies_of,
                failure,
                behaviour.delay,
            )
        };
        self.0.arrived.send_modify(|arrived| *arrived += 1);
        let mut held = self.0.held.subscribe();
        held.wait_for(|held| number > *held)
            .await
            .map_err(|e| Status::internal(e.to_string()))?;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if let Some(code) = failure {
            return Err(Status::new(code, "as the script says"));
        }
        let input = request.inputs.first();
        let values = input.and_then(|input| input.contents.as_ref());
        let values = match (values, request.raw_input_contents.first()) {
            (Some(contents), _) => contents.fp64_contents.clone(),
            (None, Some(raw)) => raw
                .as_chunks::<8>()
                .0
                .iter()
                .map(|bytes| f64::from_le_bytes(*bytes))
                .collect(),
            (None, None) => Vec::new(),
        };
        if let Some(value) = values.iter().find(|value| refuses(**value)) {
            return Err(Status::invalid_argument(format!("{value} is refused")));
        }
        if values.iter().any(|value| dies_of(*value)) {
            // As the model host says it.
            let details = ErrorDetails::with_error_info("MODEL_PROCESS_ENDED", "lodeway.dev", HashMap::new());
            let why = "the model's process exited with code 7; it is started again";
            return Err(Status::with_error_details(Code::Unavailable, why, details));
        }
        let scores: Vec<f64> = values.iter().map(|value| score(*value)).collect();
        let output = InferOutputTensor {
            name: "score".to_owned(),
            datatype: "FP64".to_owned(),
            shape: vec![i64::try_from(scores.len()).unwrap_or(i64::MAX)],
            contents: Some(InferTensorContents {
                fp64_contents: scores,
                ..InferTensorContents::default()
            }),
            ..InferOutputTensor::default()
        };
        Ok(wire::ModelInferResponse {
            model_name: request.model_name,
            model_version: request.model_version,
            id: request.id,
            outputs: vec![output],
            ..wire::ModelInferResponse::default()
        })
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<wire::ModelStreamInferResponse, Status>> + Send>>;

#[async_trait]
impl GrpcInferenceService for Service {
    type ModelStreamInferStream = Answers;

    async fn server_live(
        &self,
        _: Request<wire::ServerLiveRequest>,
    ) -> Result<Response<wire::ServerLiveResponse>, Status> {
        Ok(Response::new(wire::ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<wire::ServerReadyRequest>,
    ) -> Result<Response<wire::ServerReadyResponse>, Status> {
        Ok(Response::new(wire::ServerReadyResponse { ready: true }))
    }

    async fn model_ready(
        &self,
        _: Request<wire::ModelReadyRequest>,
    ) -> Result<Response<wire::ModelReadyResponse>, Status> {
        let ready = self.0.behaviour().is_ready;
        Ok(Response::new(wire::ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<wire::ServerMetadataRequest>,
    ) -> Result<Response<wire::ServerMetadataResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn model_metadata(
        &self,
        request: Request<wire::ModelMetadataRequest>,
    ) -> Result<Response<wire::ModelMetadataResponse>, Status> {
        Ok(Response::new(wire::ModelMetadataResponse {
            name: request.into_inner().name,
            platform: "scripted".to_owned(),
            inputs: self.0.behaviour().inputs.clone(),
            ..wire::ModelMetadataResponse::default()
        }))
    }

    async fn model_infer(
        &self,
        request: Request<wire::ModelInferRequest>,
    ) -> Result<Response<wire::ModelInferResponse>, Status> {
        self.infer(request.into_inner()).await.map(Response::new)
    }

    async fn model_stream_infer(
        &self,
        _: Request<Streaming<wire::ModelInferRequest>>,
    ) -> Result<Response<Answers>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn repository_index(
        &self,
        _: Request<wire::RepositoryIndexRequest>,
    ) -> Result<Response<wire::RepositoryIndexResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn repository_model_load(
        &self,
        _: Request<wire::RepositoryModelLoadRequest>,
    ) -> Result<Response<wire::RepositoryModelLoadResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn repository_model_unload(
        &self,
        _: Request<wire::RepositoryModelUnloadRequest>,
    ) -> Result<Response<wire::RepositoryModelUnloadResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
}
