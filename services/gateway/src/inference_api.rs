//! The Open Inference Protocol at the edge: `model_name` is an endpoint, `model_version` a target or version, or empty.

use std::pin::Pin;

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http::HeaderMap;
use lodeway_domain::Error;
use lodeway_proto::inference::{self as wire, grpc_inference_service_server::GrpcInferenceService};
use lodeway_rpc::{CallContext, context};
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::endpoints::{
    Endpoints,
    table::{Route, TargetRoute},
};

type Answers = Pin<Box<dyn Stream<Item = Result<wire::ModelStreamInferResponse, Status>> + Send>>;

/// What is served beyond the protocol.
pub(crate) const EXTENSIONS: [&str; 2] = ["binary_tensor_data", "model_repository"];

/// Context, headers and message of a call.
fn parts<T>(request: Request<T>) -> Result<(CallContext, HeaderMap, T), Status> {
    let headers = request.metadata().as_ref().clone();
    let (cx, message) = context::split(request)?;
    Ok((cx, headers, message))
}

impl Endpoints {
    /// What an endpoint takes and gives, as its first ready target says, or else the first that was ready once.
    ///
    /// Errors: `RESOURCE_NOT_FOUND` for a version that is no target's, `BACKEND_UNAVAILABLE` while none was ready yet.
    pub(crate) async fn metadata(
        &self,
        cx: &CallContext,
        name: &str,
        version: &str,
    ) -> Result<wire::ModelMetadataResponse, Error> {
        let route = self.route(cx, name)?;
        let wanted = route.targets_of(version)?;
        let ready = wanted.iter().find_map(|target| target.ready());
        let known = || wanted.iter().find_map(|target| target.known());
        let ready = ready.or_else(known).ok_or_else(|| {
            Error::unavailable(
                format!("endpoint `{name}` has no target ready"),
                "all are loading",
            )
        })?;
        let mut answer = self.upstream_metadata(cx, &ready).await?;
        answer.name = name.to_owned();
        answer.versions = versions(&route);
        Ok(answer)
    }

    /// The answers to one message of a stream; a failure is an answer too, since later messages are still answered.
    async fn several(
        &self,
        cx: CallContext,
        headers: &HeaderMap,
        message: wire::ModelInferRequest,
    ) -> Answers {
        let id = message.id.clone();
        let answers = match self.stream(&cx, headers, message).await {
            Ok(answers) => answers,
            Err(error) => Box::pin(stream::once(async move { Err(error) })),
        };
        Box::pin(answers.map(move |answer| {
            Ok(match answer {
                Ok(response) => wire::ModelStreamInferResponse {
                    error_message: String::new(),
                    infer_response: Some(response),
                },
                // The id tells a client with several inputs under way which one failed.
                Err(error) => wire::ModelStreamInferResponse {
                    error_message: cx.status(error).message().to_owned(),
                    infer_response: Some(wire::ModelInferResponse {
                        id: id.clone(),
                        ..wire::ModelInferResponse::default()
                    }),
                },
            })
        }))
    }

    /// Every target of every endpoint.
    pub(crate) fn index(
        &self,
        cx: &CallContext,
        only_ready: bool,
    ) -> Vec<wire::repository_index_response::ModelIndex> {
        let mut routes = self.0.table.all();
        routes.retain(|route| route.workspace == cx.caller.workspace);
        routes.sort_by(|a, b| a.record.endpoint.name.cmp(&b.record.endpoint.name));
        let mut models = Vec::new();
        for route in routes {
            for target in &route.targets {
                let is_ready = target.ready().is_some();
                if only_ready && !is_ready {
                    continue;
                }
                models.push(wire::repository_index_response::ModelIndex {
                    name: route.record.endpoint.name.to_string(),
                    version: version(&route, target),
                    state: if is_ready { "READY" } else { "UNAVAILABLE" }.to_owned(),
                    reason: target.trouble(),
                });
            }
        }
        models
    }

    /// Whether a model is ready: at least one of the targets that the version names. Errors: `RESOURCE_NOT_FOUND`.
    pub(crate) fn readiness(&self, cx: &CallContext, name: &str, version: &str) -> Result<bool, Error> {
        let route = self.route(cx, name)?;
        let wanted = route.targets_of(version)?;
        Ok(wanted.iter().any(|target| target.ready().is_some()))
    }
}

/// The versions behind an endpoint now.
fn versions(route: &Route) -> Vec<String> {
    let mut found: Vec<_> = route
        .targets
        .iter()
        .map(|target| version(route, target))
        .collect();
    found.dedup();
    found
}

/// The version that a target means; one without a version goes by its name.
fn version(route: &Route, target: &TargetRoute) -> String {
    let version = route.version(target);
    version.unwrap_or_else(|| target.target.name.to_string())
}

#[async_trait]
impl GrpcInferenceService for Endpoints {
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
        Ok(Response::new(wire::ServerReadyResponse {
            ready: !self.0.tasks.is_stopping() && self.waits_for().is_none(),
        }))
    }

    async fn model_ready(
        &self,
        request: Request<wire::ModelReadyRequest>,
    ) -> Result<Response<wire::ModelReadyResponse>, Status> {
        let (cx, _, message) = parts(request)?;
        Ok(Response::new(wire::ModelReadyResponse {
            // The protocol knows no error here: what there is not is not ready.
            ready: self
                .readiness(&cx, &message.name, &message.version)
                .unwrap_or(false),
        }))
    }

    async fn server_metadata(
        &self,
        _: Request<wire::ServerMetadataRequest>,
    ) -> Result<Response<wire::ServerMetadataResponse>, Status> {
        Ok(Response::new(wire::ServerMetadataResponse {
            name: "lodeway".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<wire::ModelMetadataRequest>,
    ) -> Result<Response<wire::ModelMetadataResponse>, Status> {
        let (cx, _, message) = parts(request)?;
        let answer = self.metadata(&cx, &message.name, &message.version).await;
        answer.map(Response::new).map_err(|e| cx.status(e))
    }

    async fn model_infer(
        &self,
        request: Request<wire::ModelInferRequest>,
    ) -> Result<Response<wire::ModelInferResponse>, Status> {
        let (cx, headers, message) = parts(request)?;
        let answered = self
            .infer(&cx, &headers, message)
            .await
            .map_err(|e| cx.status(e))?;
        Ok(Response::new(answered.answer))
    }

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<wire::ModelInferRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (cx, headers, messages) = parts(request)?;
        let this = self.clone();
        let answers = messages
            .then(move |message| {
                let (this, cx, headers) = (this.clone(), cx.clone(), headers.clone());
                async move { Ok::<_, Status>(this.several(cx, &headers, message?).await) }
            })
            .try_flatten();
        Ok(Response::new(Box::pin(answers)))
    }

    async fn repository_index(
        &self,
        request: Request<wire::RepositoryIndexRequest>,
    ) -> Result<Response<wire::RepositoryIndexResponse>, Status> {
        let (cx, _, message) = parts(request)?;
        let models = self.index(&cx, message.ready);
        Ok(Response::new(wire::RepositoryIndexResponse { models }))
    }

    async fn repository_model_load(
        &self,
        request: Request<wire::RepositoryModelLoadRequest>,
    ) -> Result<Response<wire::RepositoryModelLoadResponse>, Status> {
        let (cx, _, message) = parts(request)?;
        let done = self.load(&cx, &message.model_name).await;
        done.map_err(|e| cx.status(e))?;
        Ok(Response::new(wire::RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<wire::RepositoryModelUnloadRequest>,
    ) -> Result<Response<wire::RepositoryModelUnloadResponse>, Status> {
        let (cx, _, message) = parts(request)?;
        let done = self.unload(&cx, &message.model_name).await;
        done.map_err(|e| cx.status(e))?;
        Ok(Response::new(wire::RepositoryModelUnloadResponse {}))
    }
}
