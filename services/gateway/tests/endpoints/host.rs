//! A scripted model host.

use std::sync::{Mutex, MutexGuard};

use lodeway_domain::{Error, Reason, ResourceKind};
use lodeway_proto::{
    inference::{
        self as oip,
        grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer},
        model_infer_response::InferOutputTensor,
    },
    serving::v1::{
        self as serving, DeploymentState,
        deployment_service_server::{DeploymentService, DeploymentServiceServer},
    },
};
use lodeway_rpc::status::status_of;
use tonic::{Response, Streaming, async_trait};

use super::*;

/// Why the scripted host cannot load a model.
pub const DAMAGED: &str = "the bytes of `model.pkl` are not those of its digest";

/// How one model of the host stands.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// Why it cannot be loaded.
    pub broken: Option<&'static str>,
    pub state: DeploymentState,
    reason: String,
    calls: u64,
}

#[derive(Default)]
pub struct Script {
    pub held: BTreeMap<String, Held>,
    /// True while nothing is answered.
    pub is_away: bool,
    /// True while the host cannot ask the registry what a reference means.
    pub is_alone: bool,
    pub created: u64,
    /// Versions by the stages and aliases that mean them, such as `models:/m/1`.
    pub means: BTreeMap<String, String>,
    /// The uid of all models, if they have one of a registry.
    pub uid: Option<String>,
    /// What all models say of inputs and outputs, and what they saw in training.
    pub signature: String,
    pub profile: Vec<u8>,
    /// Whether models run in Python, and take documents whole.
    pub is_python: bool,
    /// What each call of a stream is answered with; models stream if it is given.
    pub answers: Option<Vec<oip::ModelStreamInferResponse>>,
    /// The documents that were scored whole, and the inputs of streams.
    pub scored: Vec<Vec<u8>>,
    pub asked: Vec<ModelInferRequest>,
}

/// A model host that knows `models:/NAME/VERSION` for any name and version; each version's score is its number.
#[derive(Clone, Default)]
pub struct Host(Arc<Mutex<Script>>);

fn refusal(error: &Error) -> Status {
    status_of(error, "host", "serving.lodeway.dev")
}

impl Host {
    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    pub fn transport(&self) -> Transport {
        let mut routes = RoutesBuilder::default();
        routes
            .add_service(DeploymentServiceServer::new(self.clone()))
            .add_service(GrpcInferenceServiceServer::new(self.clone()));
        Transport::local(routes.routes())
    }

    fn held<T>(&self, id: &str, change: impl FnOnce(&mut Held) -> T) -> Result<T, Status> {
        let mut script = self.script();
        if script.is_away {
            return Err(refusal(&Error::unavailable(
                "the host does not answer",
                "it is away",
            )));
        }
        let found = script.held.get_mut(id);
        found
            .map(change)
            .ok_or_else(|| refusal(&Error::not_found(ResourceKind::Deployment, id)))
    }

    /// Loads as a call does.
    pub fn load(&self, id: &str) -> Result<(), Status> {
        self.held(id, |held| {
            (held.state, held.reason) = match held.broken {
                Some(why) => (DeploymentState::Failed, why.to_owned()),
                None => (DeploymentState::Ready, String::new()),
            };
            match held.broken {
                Some(why) => Err(refusal(&Error::precondition(
                    Reason::ModelNotReady,
                    why,
                    Vec::new(),
                ))),
                None => Ok(()),
            }
        })?
    }

    fn described(&self, id: &str) -> Result<serving::Deployment, Status> {
        let (name, version) = id.trim_start_matches("d-").split_once('-').unwrap();
        let (uid, signature, profile, is_python) = {
            let script = self.script();
            let uid = script.uid.clone().unwrap_or_else(|| format!("u-{name}"));
            (
                uid,
                script.signature.clone(),
                script.profile.clone(),
                script.is_python,
            )
        };
        let platform = if is_python {
            "mlflow_python_function"
        } else {
            "scripted"
        };
        self.held(id, |held| serving::Deployment {
            deployment_id: id.to_owned(),
            model_name: name.to_owned(),
            model_version: version.to_owned(),
            model_uid: uid,
            signature_json: signature,
            profile: profile.into(),
            state: held.state.into(),
            state_reason: held.reason.clone(),
            platform: platform.to_owned(),
            ..serving::Deployment::default()
        })
    }

    /// The files of a version are damaged, and it is not in memory.
    pub fn damage(&self, id: &str) {
        let mut script = self.script();
        let held = script.held.get_mut(id).unwrap();
        (held.broken, held.state) = (Some(DAMAGED), DeploymentState::Unloaded);
    }

    pub fn calls(&self, id: &str) -> u64 {
        self.script().held[id].calls
    }
}

#[async_trait]
impl DeploymentService for Host {
    async fn create_deployment(
        &self,
        request: Request<serving::CreateDeploymentRequest>,
    ) -> Result<Response<serving::CreateDeploymentResponse>, Status> {
        let source = request.into_inner().source;
        let source = self.script().means.get(&source).cloned().unwrap_or(source);
        let id = format!("d-{}", source.trim_start_matches("models:/").replace('/', "-"));
        {
            let mut script = self.script();
            script.created += 1;
            if script.is_away || script.is_alone {
                return Err(refusal(&Error::unavailable(
                    "a part of the platform does not answer",
                    "down",
                )));
            }
            script.held.entry(id.clone()).or_default();
        }
        drop(self.load(&id));
        let deployment = Some(self.described(&id)?);
        Ok(Response::new(serving::CreateDeploymentResponse { deployment }))
    }

    async fn get_deployment(
        &self,
        request: Request<serving::GetDeploymentRequest>,
    ) -> Result<Response<serving::GetDeploymentResponse>, Status> {
        let deployment = Some(self.described(&request.into_inner().deployment_id)?);
        Ok(Response::new(serving::GetDeploymentResponse { deployment }))
    }

    async fn list_deployments(
        &self,
        _: Request<serving::ListDeploymentsRequest>,
    ) -> Result<Response<serving::ListDeploymentsResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn load_deployment(
        &self,
        request: Request<serving::LoadDeploymentRequest>,
    ) -> Result<Response<serving::LoadDeploymentResponse>, Status> {
        let id = request.into_inner().deployment_id;
        self.load(&id)?;
        let deployment = Some(self.described(&id)?);
        Ok(Response::new(serving::LoadDeploymentResponse { deployment }))
    }

    async fn unload_deployment(
        &self,
        request: Request<serving::UnloadDeploymentRequest>,
    ) -> Result<Response<serving::UnloadDeploymentResponse>, Status> {
        let id = request.into_inner().deployment_id;
        self.held(&id, |held| {
            (held.state, held.reason) = (DeploymentState::Unloaded, "unloaded".to_owned());
        })?;
        let deployment = Some(self.described(&id)?);
        Ok(Response::new(serving::UnloadDeploymentResponse { deployment }))
    }

    async fn delete_deployment(
        &self,
        _: Request<serving::DeleteDeploymentRequest>,
    ) -> Result<Response<serving::DeleteDeploymentResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn score(
        &self,
        request: Request<serving::ScoreRequest>,
    ) -> Result<Response<serving::ScoreResponse>, Status> {
        let mut script = self.script();
        if !script.is_python {
            return Err(Status::unimplemented("not scripted"));
        }
        script.scored.push(request.into_inner().body.to_vec());
        Ok(Response::new(serving::ScoreResponse {
            content_type: "application/json".to_owned(),
            body: "{\"whole\": true}".into(),
            ..serving::ScoreResponse::default()
        }))
    }
}

type Answers = futures::stream::BoxStream<'static, Result<oip::ModelStreamInferResponse, Status>>;

#[async_trait]
impl GrpcInferenceService for Host {
    type ModelStreamInferStream = Answers;

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let id = request.into_inner().model_name;
        self.held(&id, |held| held.calls += 1)?;
        self.load(&id)?;
        let version = id.rsplit('-').next().unwrap().parse().unwrap();
        let output = InferOutputTensor {
            name: "predictions".to_owned(),
            datatype: "FP64".to_owned(),
            shape: vec![1],
            contents: Some(InferTensorContents {
                fp64_contents: vec![version],
                ..InferTensorContents::default()
            }),
            ..InferOutputTensor::default()
        };
        Ok(Response::new(ModelInferResponse {
            outputs: vec![output],
            ..ModelInferResponse::default()
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<oip::ModelMetadataRequest>,
    ) -> Result<Response<oip::ModelMetadataResponse>, Status> {
        let name = request.into_inner().name;
        self.load(&name)?;
        let streams = self.script().answers.is_some();
        let streams = streams.then(|| ("streams".to_owned(), "true".to_owned()));
        Ok(Response::new(oip::ModelMetadataResponse {
            name,
            properties: streams.into_iter().collect(),
            ..oip::ModelMetadataResponse::default()
        }))
    }

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let asked = request.into_inner().message().await?;
        let mut script = self.script();
        script.asked.extend(asked);
        let answers = script
            .answers
            .clone()
            .ok_or_else(|| Status::unimplemented("not scripted"))?;
        Ok(Response::new(Box::pin(futures::stream::iter(
            answers.into_iter().map(Ok),
        ))))
    }

    async fn server_live(
        &self,
        _: Request<oip::ServerLiveRequest>,
    ) -> Result<Response<oip::ServerLiveResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn server_ready(
        &self,
        _: Request<oip::ServerReadyRequest>,
    ) -> Result<Response<oip::ServerReadyResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn model_ready(
        &self,
        _: Request<oip::ModelReadyRequest>,
    ) -> Result<Response<oip::ModelReadyResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn server_metadata(
        &self,
        _: Request<oip::ServerMetadataRequest>,
    ) -> Result<Response<oip::ServerMetadataResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn repository_index(
        &self,
        _: Request<oip::RepositoryIndexRequest>,
    ) -> Result<Response<oip::RepositoryIndexResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn repository_model_load(
        &self,
        _: Request<oip::RepositoryModelLoadRequest>,
    ) -> Result<Response<oip::RepositoryModelLoadResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn repository_model_unload(
        &self,
        _: Request<oip::RepositoryModelUnloadRequest>,
    ) -> Result<Response<oip::RepositoryModelUnloadResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
}
