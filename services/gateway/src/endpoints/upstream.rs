//! One target as it is called: a deployment of the model host, or a model on another server.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use lodeway_domain::{
    Error, Reason, Result,
    serving::{External, Scheme},
};
use lodeway_inference::{Payload, oip};
use lodeway_proto::{
    inference::{
        ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse,
        ModelReadyRequest, ModelStreamInferResponse,
        grpc_inference_service_client::GrpcInferenceServiceClient,
    },
    serving::v1::{ScoreRequest, ScoreResponse},
};
use lodeway_rpc::{CallContext, Transport, inference, status};
use tonic::Request;

use super::{MAX_INPUT_BYTES, ServingClients, resolve::is_unloadable};

/// How long an answer about a server itself may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// A target as it is called. Clones share the connection.
#[derive(Clone)]
pub(crate) enum Upstream {
    /// A deployment of the model host.
    Deployment {
        /// The host.
        clients: Arc<ServingClients>,
        /// Which one.
        id: String,
    },
    /// A model on another server, over gRPC.
    Grpc {
        client: Box<GrpcInferenceServiceClient<Transport>>,
        model: String,
        version: String,
    },
    /// A model on another server, over REST.
    Http { client: reqwest::Client, url: String },
}

impl Upstream {
    /// A model on another server. Errors: an address that this gateway does not connect to.
    pub(crate) fn external(to: &External) -> Result<Self> {
        let (host, port) = (to.host(), to.port());
        refuse_metadata_service(host)?;
        let (model, version) = (to.model().to_owned(), to.version().unwrap_or_default().to_owned());
        let web = match to.scheme() {
            Scheme::Grpc | Scheme::Http => "http",
            Scheme::Grpcs | Scheme::Https => "https",
        };
        let base = format!("{web}://{host}:{port}");
        match to.scheme() {
            Scheme::Grpc | Scheme::Grpcs => {
                let url = url::Url::parse(&base).map_err(Error::internal)?;
                let transport = Transport::remote(&url).map_err(Error::internal)?;
                let client = GrpcInferenceServiceClient::new(transport)
                    .max_decoding_message_size(MAX_INPUT_BYTES)
                    .max_encoding_message_size(MAX_INPUT_BYTES);
                Ok(Self::Grpc {
                    client: Box::new(client),
                    model,
                    version,
                })
            }
            Scheme::Http | Scheme::Https => {
                let client = reqwest::Client::builder()
                    .redirect(reqwest::redirect::Policy::none())
                    .build()
                    .map_err(Error::internal)?;
                let version = match version.as_str() {
                    "" => String::new(),
                    version => format!("/versions/{version}"),
                };
                let url = format!("{base}/v2/models/{model}{version}");
                Ok(Self::Http { client, url })
            }
        }
    }

    /// Whether the error is the model host's and means that it cannot load the model.
    pub(crate) fn cannot_load(&self, error: &Error) -> bool {
        matches!(self, Self::Deployment { .. }) && is_unloadable(error)
    }

    /// Whether it is a deployment of the model host, which reads scoring documents.
    pub(crate) fn is_deployment(&self) -> bool {
        matches!(self, Self::Deployment { .. })
    }

    /// Scores one input before `deadline`.
    pub(crate) async fn infer(
        &self,
        cx: &CallContext,
        mut message: ModelInferRequest,
        deadline: Instant,
    ) -> Result<ModelInferResponse> {
        let call = async {
            match self {
                Self::Deployment { clients, id } => {
                    message.model_name.clone_from(id);
                    message.model_version.clear();
                    let cx = cx.until(deadline);
                    let reply = clients.inference.clone().model_infer(cx.request(message)).await;
                    reply
                        .map(tonic::Response::into_inner)
                        .map_err(|s| status::into_error(&s))
                }
                Self::Grpc {
                    client,
                    model,
                    version,
                } => {
                    message.model_name.clone_from(model);
                    message.model_version.clone_from(version);
                    // Without the caller's context: their credentials are not another server's business.
                    let reply = client.clone().model_infer(within(message, deadline)).await;
                    reply
                        .map(tonic::Response::into_inner)
                        .map_err(|s| status::into_error(&s))
                }
                Self::Http { client, url } => over_http(client, url, message).await,
            }
        };
        tokio::time::timeout_at(deadline.into(), call)
            .await
            .unwrap_or(Err(Error::DeadlineExceeded))
    }

    /// The answers to one input, as the target makes them; one where the target does not stream.
    pub(crate) async fn stream(
        &self,
        cx: &CallContext,
        mut message: ModelInferRequest,
        deadline: Instant,
    ) -> Result<BoxStream<'static, Result<ModelInferResponse>>> {
        if inference::is_document(&message) && !self.is_deployment() {
            return Err(no_document());
        }
        let request = match self {
            Self::Deployment { clients, id } => {
                message.model_name.clone_from(id);
                message.model_version.clear();
                let mut client = clients.inference.clone();
                let request = cx.until(deadline).request(stream::iter([message]));
                client.model_stream_infer(request).await
            }
            Self::Grpc {
                client,
                model,
                version,
            } => {
                message.model_name.clone_from(model);
                message.model_version.clone_from(version);
                let sent = message.clone();
                match client
                    .clone()
                    .model_stream_infer(within(stream::iter([sent]), deadline))
                    .await
                {
                    // A server without streams answers once.
                    Err(status) if status.code() == tonic::Code::Unimplemented => {
                        return self.only(cx, message, deadline).await;
                    }
                    begun => begun,
                }
            }
            Self::Http { .. } => return self.only(cx, message, deadline).await,
        };
        let answers = request.map_err(|s| status::into_error(&s))?.into_inner();
        Ok(Box::pin(answers.map(|answer| {
            let answer = answer.map_err(|s| status::into_error(&s))?;
            if !answer.error_message.is_empty() {
                return Err(failed_answer(answer));
            }
            Ok(answer.infer_response.unwrap_or_default())
        })))
    }

    /// The one answer of a server without streams.
    async fn only(
        &self,
        cx: &CallContext,
        message: ModelInferRequest,
        deadline: Instant,
    ) -> Result<BoxStream<'static, Result<ModelInferResponse>>> {
        let mut answer = self.infer(cx, message, deadline).await?;
        let is_last = inference::flag_parameter(true);
        answer.parameters.insert(inference::FINAL.to_owned(), is_last);
        Ok(Box::pin(stream::once(async move { Ok(answer) })))
    }

    /// Scores a document that was not read here. Errors: `INVALID_FIELD` for another server, which takes only tensors.
    pub(crate) async fn score(
        &self,
        cx: &CallContext,
        content_type: String,
        body: Bytes,
        deadline: Instant,
    ) -> Result<ScoreResponse> {
        let Self::Deployment { clients, id } = self else {
            return Err(no_document());
        };
        let message = ScoreRequest {
            deployment_id: id.clone(),
            content_type,
            body,
        };
        let cx = cx.until(deadline);
        let mut client = clients.deployments.clone();
        let call = client.score(cx.request(message));
        let reply = tokio::time::timeout_at(deadline.into(), call).await;
        let reply = reply.map_err(|_| Error::DeadlineExceeded)?;
        reply
            .map(tonic::Response::into_inner)
            .map_err(|s| status::into_error(&s))
    }

    /// Whether a model on another server is ready. Errors: why not.
    pub(crate) async fn is_ready_there(&self) -> Result<()> {
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let look = async {
            let is_ready = match self {
                Self::Deployment { .. } => true,
                Self::Grpc {
                    client,
                    model,
                    version,
                } => {
                    let ready = ModelReadyRequest {
                        name: model.clone(),
                        version: version.clone(),
                    };
                    let reply = client.clone().model_ready(within(ready, deadline)).await;
                    reply.map_err(|s| status::into_error(&s))?.into_inner().ready
                }
                Self::Http { client, url } => {
                    let reply = client.get(format!("{url}/ready")).send().await.map_err(gone)?;
                    reply.status().is_success()
                }
            };
            if is_ready {
                Ok(())
            } else {
                Err(Error::unavailable("the model is not ready there", "it said so"))
            }
        };
        tokio::time::timeout_at(deadline.into(), look)
            .await
            .unwrap_or(Err(Error::DeadlineExceeded))
    }

    /// What a model on another server takes and gives; an error if it does not answer or is not ready.
    pub(crate) async fn probe(&self) -> Result<ModelMetadataResponse> {
        self.is_ready_there().await?;
        let Self::Grpc {
            client,
            model,
            version,
        } = self
        else {
            return Ok(ModelMetadataResponse::default());
        };
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let wanted = ModelMetadataRequest {
            name: model.clone(),
            version: version.clone(),
        };
        let mut client = client.clone();
        let reply = client.model_metadata(within(wanted, deadline));
        let reply = tokio::time::timeout_at(deadline.into(), reply)
            .await
            .map_err(|_| Error::DeadlineExceeded)?;
        // A server may know no metadata and score all the same.
        Ok(reply.map(tonic::Response::into_inner).unwrap_or_default())
    }
}

fn within<T>(message: T, deadline: Instant) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    request
}

/// The error in a stream, by the reason that our own host gives beside the text.
fn failed_answer(answer: ModelStreamInferResponse) -> Error {
    let message = answer.error_message;
    let parameters = answer.infer_response.unwrap_or_default().parameters;
    let reason = parameters
        .get(inference::ERROR_REASON)
        .and_then(inference::text_of)
        .and_then(status::reason_named);
    match reason {
        Some(reason @ Reason::ModelRaised) => Error::precondition(reason, message, Vec::new()),
        Some(Reason::InvalidField) => Error::invalid("", message),
        Some(Reason::DeadlinePassed) => Error::DeadlineExceeded,
        // A caller who did not read, or a model with too many calls.
        Some(Reason::LimitExceeded) => Error::Exhausted {
            message,
            retry_after: None,
        },
        _ => Error::unavailable("the target failed in its answer", message),
    }
}

fn no_document() -> Error {
    let why = "this target is on another server, which takes only tensors and tables";
    Error::invalid("content_type", why)
}

fn gone(error: reqwest::Error) -> Error {
    Error::unavailable("a target on another server does not answer", error)
}

async fn over_http(
    client: &reqwest::Client,
    url: &str,
    message: ModelInferRequest,
) -> Result<ModelInferResponse> {
    let raw = !message.raw_input_contents.is_empty();
    let id = message.id.clone();
    let (payload, parameters) = inference::input_of(message)?;
    let inputs = match payload {
        Payload::Tensors(tensors) => tensors,
        Payload::Frame(frame) => frame
            .into_columns()
            .into_iter()
            .map(|column| column.values)
            .collect(),
        Payload::Document(_) => return Err(Error::internal("a document is no inference request")),
    };
    let request = oip::InferRequest {
        id: Some(id).filter(|id| !id.is_empty()),
        parameters,
        inputs,
        ..oip::InferRequest::default()
    };
    let encoded = oip::write_request(&request, raw)?;
    let mut call = client.post(format!("{url}/infer")).body(encoded.body);
    if let Some(length) = encoded.header_length {
        call = call.header(oip::HEADER_LENGTH, length);
    }
    let reply = call
        .header("content-type", "application/json")
        .send()
        .await
        .map_err(gone)?;
    let (code, length) = (reply.status(), reply.headers().get(oip::HEADER_LENGTH).cloned());
    let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
    let body = reply.bytes().await.map_err(gone)?;
    if !code.is_success() {
        let text = String::from_utf8_lossy(body.get(..body.len().min(500)).unwrap_or_default()).into_owned();
        return Err(match code.as_u16() {
            400..=499 => Error::invalid("inputs", format!("the target refused it: {text}")),
            _ => Error::unavailable("a target on another server failed", format!("{code}: {text}")),
        });
    }
    let answer = oip::read_response(&body, length)?;
    inference::response_of(Payload::Tensors(answer.outputs), raw)
}

/// The address under which clouds hand out credentials is nobody's model.
fn refuse_metadata_service(host: &str) -> Result<()> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_link_local = match bare.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(v4)) => v4.is_link_local(),
        Ok(std::net::IpAddr::V6(v6)) => v6.is_unicast_link_local(),
        Err(_) => bare == "metadata.google.internal",
    };
    if is_link_local {
        return Err(Error::invalid(
            "reference",
            format!("`{host}` is not an address this gateway connects to"),
        ));
    }
    Ok(())
}
