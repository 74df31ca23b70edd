//! The Open Inference Protocol over gRPC: `model_name` is a deployment's id or a model's name.

use std::{pin::Pin, time::Instant};

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use lodeway_domain::{Error, ResourceKind};
use lodeway_proto::inference::{self as wire, grpc_inference_service_server::GrpcInferenceService};
use lodeway_rpc::{CallContext, context, inference};
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::{DEFAULT_TIMEOUT, Serving, convert, host::Deployment, runtime::Call};

type Answers = Pin<Box<dyn Stream<Item = Result<wire::ModelStreamInferResponse, Status>> + Send>>;

/// What is served beyond the protocol.
const EXTENSIONS: [&str; 2] = ["binary_tensor_data", "model_repository"];

impl Serving {
    async fn one(
        &self,
        cx: &CallContext,
        message: wire::ModelInferRequest,
    ) -> Result<wire::ModelInferResponse, Error> {
        let deployment = self
            .host
            .find_known(&cx.caller.workspace, &message.model_name, &message.model_version)
            .await?;
        let model = self.host.model(&deployment).await?;
        let (id, raw) = (message.id.clone(), !message.raw_input_contents.is_empty());
        let wanted: Vec<_> = message.outputs.iter().map(|output| output.name.clone()).collect();
        let (payload, params) = inference::input_of(message)?;
        let call = Call {
            payload,
            params,
            deadline: cx.deadline.unwrap_or_else(|| Instant::now() + DEFAULT_TIMEOUT),
            trace: cx.trace(),
        };
        let answer = model.infer(call).await?;
        let mut response = inference::response_of(answer, raw)?;
        keep(&mut response, &wanted)?;
        response.model_name.clone_from(&deployment.record.model_name);
        response
            .model_version
            .clone_from(&deployment.record.model_version);
        response.id = id;
        Ok(response)
    }
}

impl Serving {
    /// The answers to one message; a failure is an answer too, since later messages are still answered.
    async fn several(&self, cx: &CallContext, message: wire::ModelInferRequest) -> Answers {
        let id = message.id.clone();
        let wants_end = inference::wants_end(&message);
        let (name, version, raw) = (
            message.model_name.clone(),
            message.model_version.clone(),
            !message.raw_input_contents.is_empty(),
        );
        let begun = async {
            let deployment = self
                .host
                .find_known(&cx.caller.workspace, &name, &version)
                .await?;
            let model = self.host.model(&deployment).await?;
            let (payload, params) = inference::input_of(message)?;
            let deadline = cx.deadline.unwrap_or_else(|| Instant::now() + DEFAULT_TIMEOUT);
            let call = Call {
                payload,
                params,
                deadline,
                trace: cx.trace(),
            };
            let answers = model.stream(call).await?;
            Ok::<_, Error>((deployment, answers, model.streams()))
        };
        let failed = |cx: &CallContext, id: &str, error: Error| {
            // The protocol has only a text; what kind of failure it is decides whose fault it is.
            let reason = inference::text_parameter(error.reason().as_str());
            wire::ModelStreamInferResponse {
                error_message: cx.status(error).message().to_owned(),
                // The id tells a client with several inputs under way which one failed.
                infer_response: Some(wire::ModelInferResponse {
                    id: id.to_owned(),
                    parameters: [(inference::ERROR_REASON.to_owned(), reason)].into(),
                    ..wire::ModelInferResponse::default()
                }),
            }
        };
        match begun.await {
            Err(error) => {
                let failed = failed(cx, &id, error);
                Box::pin(futures::stream::once(async move { Ok(failed) }))
            }
            Ok((deployment, answers, streams)) => {
                let cx = cx.clone();
                let answers = answers
                    .map(move |answer| answer.and_then(|payload| inference::response_of(payload, raw)));
                let end = (streams && wants_end).then(|| Ok(wire::ModelInferResponse::default()));
                let all = answers
                    .map(move |answer| (answer, !streams))
                    .chain(futures::stream::iter(end.map(|end| (end, true))));
                Box::pin(all.map(move |(answer, is_last)| {
                    Ok(match answer {
                        Ok(mut response) => {
                            response.model_name.clone_from(&deployment.record.model_name);
                            response
                                .model_version
                                .clone_from(&deployment.record.model_version);
                            response.id.clone_from(&id);
                            let is_last = inference::flag_parameter(is_last);
                            response.parameters.insert(inference::FINAL.to_owned(), is_last);
                            wire::ModelStreamInferResponse {
                                error_message: String::new(),
                                infer_response: Some(response),
                            }
                        }
                        Err(error) => failed(&cx, &id, error),
                    })
                }))
            }
        }
    }
}

/// Only the outputs that are wanted, in that order. Errors: `INVALID_FIELD` for one that there is not.
fn keep(response: &mut wire::ModelInferResponse, wanted: &[String]) -> Result<(), Error> {
    if wanted.is_empty() {
        return Ok(());
    }
    let (mut outputs, mut raw) = (Vec::new(), Vec::new());
    for (at, name) in wanted.iter().enumerate() {
        let place = response.outputs.iter().position(|output| output.name == *name);
        let Some((place, output)) = place.and_then(|p| Some((p, response.outputs.get(p)?))) else {
            return Err(Error::invalid(
                format!("outputs[{at}].name"),
                format!("the model gives no `{name}`"),
            ));
        };
        outputs.push(output.clone());
        raw.extend(response.raw_output_contents.get(place).cloned());
    }
    response.outputs = outputs;
    response.raw_output_contents = raw;
    Ok(())
}

#[async_trait]
impl GrpcInferenceService for Serving {
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
            ready: !self.tasks.is_stopping(),
        }))
    }

    async fn model_ready(
        &self,
        request: Request<wire::ModelReadyRequest>,
    ) -> Result<Response<wire::ModelReadyResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let found = self
            .host
            .find_known(&cx.caller.workspace, &message.name, &message.version)
            .await;
        let ready = found.is_ok_and(|deployment| deployment.model().is_some());
        Ok(Response::new(wire::ModelReadyResponse { ready }))
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
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let deployment = self
            .host
            .find_known(&cx.caller.workspace, &message.name, &message.version)
            .await
            .map_err(fail)?;
        let model = self.host.model(&deployment).await.map_err(fail)?;
        let versions = self.host.all();
        let versions = versions
            .values()
            .filter(|d| {
                d.record.workspace == deployment.record.workspace
                    && d.record.model_name == deployment.record.model_name
                    && !d.record.model_version.is_empty()
            })
            .map(|d| d.record.model_version.clone());
        let streams = || (inference::STREAMS.to_owned(), true.to_string());
        let properties = model.streams().then(streams);
        Ok(Response::new(wire::ModelMetadataResponse {
            name: message.name,
            versions: versions.collect(),
            platform: model.platform().to_owned(),
            inputs: model.inputs().iter().map(convert::metadata).collect(),
            outputs: model.outputs().iter().map(convert::metadata).collect(),
            properties: properties.into_iter().collect(),
        }))
    }

    async fn model_infer(
        &self,
        request: Request<wire::ModelInferRequest>,
    ) -> Result<Response<wire::ModelInferResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let answer = self.one(&cx, message).await.map_err(|e| cx.status(e))?;
        Ok(Response::new(answer))
    }

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<wire::ModelInferRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (cx, messages) = context::split(request)?;
        let this = self.clone();
        let answers = messages
            .then(move |message| {
                let (this, cx) = (this.clone(), cx.clone());
                async move { Ok::<_, Status>(this.several(&cx, message?).await) }
            })
            .try_flatten();
        Ok(Response::new(Box::pin(answers)))
    }

    async fn repository_index(
        &self,
        request: Request<wire::RepositoryIndexRequest>,
    ) -> Result<Response<wire::RepositoryIndexResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let all = self.host.all();
        let mine = all
            .values()
            .filter(|d| d.record.workspace == cx.caller.workspace.as_str());
        let wanted = mine.filter(|d| !message.ready || d.model().is_some());
        let models = wanted.map(|d| {
            let state = convert::deployment(d);
            wire::repository_index_response::ModelIndex {
                name: d.record.model_name.clone(),
                version: d.record.model_version.clone(),
                state: d.standing().state.as_str().to_owned(),
                reason: state.state_reason,
            }
        });
        Ok(Response::new(wire::RepositoryIndexResponse {
            models: models.collect(),
        }))
    }

    async fn repository_model_load(
        &self,
        request: Request<wire::RepositoryModelLoadRequest>,
    ) -> Result<Response<wire::RepositoryModelLoadResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let found = self
            .host
            .find_known(&cx.caller.workspace, &message.model_name, "")
            .await
            .map_err(fail)?;
        self.host.reload(&found).await.map_err(fail)?;
        Ok(Response::new(wire::RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<wire::RepositoryModelUnloadRequest>,
    ) -> Result<Response<wire::RepositoryModelUnloadResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let named = |d: &Deployment| {
            d.record.workspace == cx.caller.workspace.as_str()
                && (d.record.model_name == message.model_name || d.record.deployment_id == message.model_name)
        };
        let found: Vec<_> = self.host.all().values().filter(|d| named(d)).cloned().collect();
        if found.is_empty() {
            return Err(cx.status(Error::not_found(ResourceKind::Deployment, &message.model_name)));
        }
        for deployment in found {
            self.host.send_away(&deployment).await;
        }
        Ok(Response::new(wire::RepositoryModelUnloadResponse {}))
    }
}
