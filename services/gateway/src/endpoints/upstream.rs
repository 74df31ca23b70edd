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

use super::{MAX_INPUT_BYTES, ServingClients, host::is_unloadable};

mod declared;
mod http;
pub(crate) use declared::Declaration;
use http::HttpModel;

/// How long an answer about a server itself may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server may take to say what a model takes and gives. It may know nothing of that and score all the same.
pub(crate) const METADATA_TIMEOUT: Duration = Duration::from_secs(3);

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
        declared: Arc<Declaration>,
    },
    /// A model on another server, over REST.
    Http {
        model: HttpModel,
        declared: Arc<Declaration>,
    },
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
                    declared: Arc::default(),
                })
            }
            Scheme::Http | Scheme::Https => Ok(Self::Http {
                model: HttpModel::new(base, &model, &version)?,
                declared: Arc::default(),
            }),
        }
    }

    /// What a model on another server declares of its inputs; none for a deployment of the model host, which reads what it
    /// gets by itself.
    pub(crate) fn declaration(&self) -> Option<&Arc<Declaration>> {
        match self {
            Self::Grpc { declared, .. } | Self::Http { declared, .. } => Some(declared),
            Self::Deployment { .. } => None,
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
                    declared,
                } => {
                    let mut message = declared.inputs().fit_message(message)?;
                    message.model_name.clone_from(model);
                    message.model_version.clone_from(version);
                    // Without the caller's context: their credentials are not another server's business.
                    let reply = client.clone().model_infer(within(message, deadline)).await;
                    reply
                        .map(tonic::Response::into_inner)
                        .map_err(|s| failed_there(&s))
                }
                Self::Http { model, declared } => model.infer(message, &declared.inputs()).await,
            }
        };
        let answer = tokio::time::timeout_at(deadline.into(), call)
            .await
            .unwrap_or(Err(Error::DeadlineExceeded));
        if let (Err(_), Some(declared)) = (&answer, self.declaration()) {
            declared.doubt();
        }
        answer
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
                declared,
            } => {
                message = declared.inputs().fit_message(message)?;
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
        let declared = self.declaration().cloned();
        let failed = move |status: tonic::Status| {
            if let Some(declared) = &declared {
                declared.doubt();
            }
            failed_there(&status)
        };
        let answers = request.map_err(&failed)?.into_inner();
        Ok(Box::pin(answers.map(move |answer| {
            let answer = answer.map_err(&failed)?;
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
                    ..
                } => {
                    let ready = ModelReadyRequest {
                        name: model.clone(),
                        version: version.clone(),
                    };
                    let reply = client.clone().model_ready(within(ready, deadline)).await;
                    reply.map_err(|s| status::into_error(&s))?.into_inner().ready
                }
                Self::Http { model, .. } => model.is_ready().await?,
            };
            if is_ready {
                Ok(())
            } else {
                Err(Error::unavailable("the model is not ready there", "it said so"))
            }
        };
        let told = tokio::time::timeout_at(deadline.into(), look).await;
        told.unwrap_or_else(|_| {
            let why = format!("not within {} s", PROBE_TIMEOUT.as_secs());
            Err(Error::unavailable(
                "the server does not say whether the model is ready",
                why,
            ))
        })
    }

    /// What a model on another server takes and gives; none where the server says that it has no metadata. Errors: a server
    /// that does not say it in time, fails, or refuses to say it.
    pub(crate) async fn metadata(&self) -> Result<Option<ModelMetadataResponse>> {
        let deadline = Instant::now() + METADATA_TIMEOUT;
        let ask = async {
            match self {
                Self::Deployment { .. } => Ok(None),
                Self::Http { model, .. } => model.metadata().await,
                Self::Grpc {
                    client,
                    model,
                    version,
                    ..
                } => {
                    let wanted = ModelMetadataRequest {
                        name: model.clone(),
                        version: version.clone(),
                    };
                    match client.clone().model_metadata(within(wanted, deadline)).await {
                        Ok(reply) => Ok(Some(reply.into_inner())),
                        Err(status) if has_none(status.code()) => Ok(None),
                        // Whatever it is to the server, it is no error of who called here.
                        Err(status) => Err(untold(format!("{:?}: {}", status.code(), status.message()))),
                    }
                }
            }
        };
        let told = tokio::time::timeout_at(deadline.into(), ask).await;
        told.unwrap_or_else(|_| Err(untold(format!("not within {} s", METADATA_TIMEOUT.as_secs()))))
    }
}

/// Whether a server that answers so has no metadata, rather than trouble, or something against whoever asks.
fn has_none(code: tonic::Code) -> bool {
    matches!(code, tonic::Code::Unimplemented | tonic::Code::NotFound)
}

/// Why a call of a model failed. An answer that is larger than is read is no fault of the caller.
fn failed_there(status: &tonic::Status) -> Error {
    match status::is_oversized(status) {
        true => http::too_large(MAX_INPUT_BYTES),
        false => status::into_error(status),
    }
}

/// The error of a server that does not say what its model takes, for this reason.
pub(super) fn untold(why: impl Into<String>) -> Error {
    Error::unavailable("the server does not say what its model takes", why.into())
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

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn an_answer_that_is_larger_than_is_read_is_no_fault_of_the_caller() {
        let text = "Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes";
        let error = failed_there(&tonic::Status::out_of_range(text));
        assert!(
            matches!(
                &error,
                Error::Unavailable {
                    reason: Reason::LimitExceeded,
                    ..
                }
            ),
            "{error:?}"
        );
        let error = failed_there(&tonic::Status::out_of_range("the third row"));
        assert!(!matches!(error, Error::Unavailable { .. }), "{error:?}");
    }

    #[test]
    fn only_a_clear_word_is_that_there_is_no_metadata() {
        assert!(has_none(Code::Unimplemented) && has_none(Code::NotFound));
        for code in [
            Code::Unauthenticated,
            Code::PermissionDenied,
            Code::ResourceExhausted,
            Code::InvalidArgument,
            Code::Unavailable,
            Code::Internal,
        ] {
            assert!(!has_none(code), "{code:?}");
        }
    }
}
