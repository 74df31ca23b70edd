//! Calls of typed services: bytes of a message in, bytes of a message out.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    response::Response,
    routing::post,
};
use bytes::{Buf as _, BufMut as _, Bytes};
use futures::{StreamExt as _, stream::BoxStream};
use http::HeaderMap;
use lodeway_domain::{Error, FieldViolation, Reason, Result};
use lodeway_inference::{Document, Payload, scoring};
use lodeway_proto::inference::ModelInferRequest;
use lodeway_rpc::{CallContext, context, inference};
use tonic::{
    Request, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::Grpc,
    service::Routes,
};

use super::{
    describe::{PREDICT, PREDICT_BATCH, PREDICT_STREAM},
    known,
    plan::{Inputs, Plan},
    request::What,
    response::{Answer, piece},
    service::Declared,
};
use crate::endpoints::{Endpoints, MAX_INPUT_BYTES, forward::PREDICTION_ID, table::Route};

impl Endpoints {
    /// The typed services of all endpoints, as they come and go.
    pub fn typed_services(&self) -> Routes {
        Router::new()
            .route("/lodeway.endpoints.{service}/{method}", post(serve))
            .with_state(self.clone())
            .into()
    }

    /// The endpoint of a service with what is declared of it. `service` is the name after the packages that all share, as in
    /// `iris.IrisService`. Errors: `NOT_IMPLEMENTED` for a service or method that there is not.
    async fn served(
        &self,
        cx: &CallContext,
        service: &str,
        method: &str,
    ) -> Result<(Arc<Route>, Arc<Declared>)> {
        let (ident, service) = service.split_once('.').unwrap_or((service, ""));
        let route = self.route(cx, &ident.replace('_', "-"))?;
        let declared = self.declare(&route).await;
        let plan = &known(&route, &declared)?.plan;
        let is_known = match method {
            PREDICT | PREDICT_STREAM => true,
            PREDICT_BATCH => plan.has_batch,
            _ => false,
        };
        // `a_b` and `a-b` are the same in a package's name, and only one of them is a name of an endpoint.
        if !is_known || plan.endpoint.ident() != ident || plan.service != service {
            return Err(unknown(ident, service, method));
        }
        Ok((route, declared))
    }

    /// One call that is answered piece by piece.
    async fn predict_stream(
        &self,
        cx: &CallContext,
        headers: &HeaderMap,
        service: &str,
        message: Bytes,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let (route, declared) = self.served(cx, service, PREDICT_STREAM).await?;
        let plan = &known(&route, &declared)?.plan;
        // A piece is answered to a document as the model gave it, and to a frame as a row.
        let as_document = route.reads_documents() || plan.takes_nested();
        let input = plan.read(message, false, as_document)?;
        let message = match input.what {
            What::Packed(payload) => inference::request_of(payload, &input.params)?,
            What::Document(body) => inference::document_request(&Document {
                content_type: "application/json".into(),
                body,
            })?,
        };
        let message = ModelInferRequest {
            model_name: route.record.endpoint.name.to_string(),
            ..message
        };
        let answers = self.stream(cx, headers, message).await;
        let answers = answers.map_err(|error| in_fields(plan, false, error))?;
        let pieces = answers.map(move |answer| {
            let told = |error| match &*declared {
                Ok(typed) => in_fields(&typed.plan, false, error),
                Err(_) => error,
            };
            let answer = answer.map_err(told)?;
            let id = answer.parameters.get(PREDICTION_ID).and_then(inference::text_of);
            let (id, version) = (id.unwrap_or_default().to_owned(), answer.model_version.clone());
            let json = match inference::answer_of(answer)? {
                Payload::Document(document) => document.body,
                packed => scoring::write_predictions(&packed, scoring::Form::Inputs).into(),
            };
            piece(&json, (&id, &version))
        });
        Ok(pieces.boxed())
    }

    /// One call.
    async fn predict(
        &self,
        cx: &CallContext,
        headers: &HeaderMap,
        (service, method): (&str, &str),
        message: Bytes,
    ) -> Result<Bytes> {
        let (route, declared) = self.served(cx, service, method).await?;
        let plan = &known(&route, &declared)?.plan;
        let is_batch = method == PREDICT_BATCH;
        // Packed wherever it can be: a document has no infinities, and MLflow reads no missing bytes from one.
        let input = plan.read(message, is_batch, route.reads_documents())?;
        let told = |error| in_fields(plan, is_batch, error);
        match input.what {
            What::Packed(payload) => {
                let message = ModelInferRequest {
                    model_name: route.record.endpoint.name.to_string(),
                    ..inference::request_of(payload, &input.params)?
                };
                let answered = self.infer(cx, headers, message).await.map_err(told)?;
                let answer = match inference::answer_of(answered.answer)? {
                    // What no tensor holds: records, lists of different lengths.
                    Payload::Document(document) => Answer::Document(document.body),
                    packed => Answer::Packed(packed),
                };
                let names = (answered.prediction_id.as_str(), answered.model_version.as_str());
                plan.write(answer, &input.rows, is_batch, names)
            }
            What::Document(body) => {
                let document = ("application/json", &body);
                let answered = self.score(cx, headers, &route, document).await.map_err(told)?;
                let names = (answered.prediction_id.as_str(), answered.model_version.as_str());
                plan.write(
                    Answer::Document(answered.answer.body),
                    &input.rows,
                    is_batch,
                    names,
                )
            }
        }
    }
}

fn unknown(ident: &str, service: &str, method: &str) -> Error {
    Error::Unimplemented {
        reason: Reason::NotImplemented,
        message: format!(
            "method `/lodeway.endpoints.{ident}.{service}/{method}` is not offered here; reflection lists what is"
        ),
    }
}

/// The same error with the fields of a request in the place of a model's inputs and params.
fn in_fields(plan: &Plan, is_batch: bool, error: Error) -> Error {
    let Error::Invalid(violations) = error else {
        return error;
    };
    let inputs: Vec<_> = match &plan.inputs {
        Inputs::Row(columns) => columns.iter().map(|column| column.name.as_str()).collect(),
        Inputs::Tensors(tensors) => tensors.iter().map(|tensor| tensor.name.as_str()).collect(),
    };
    let rows = if is_batch { "rows[*]." } else { "" };
    let field = |text: &str| {
        let fields = inputs.iter().zip(&plan.request.fields);
        let of_input = fields.filter_map(|(name, field)| {
            let rest = text.strip_prefix(&format!("inputs[\"{name}\"]"))?;
            Some(format!("{rows}{}{rest}", field.name))
        });
        let params = plan.params.iter().flat_map(|params| &params.fields);
        let of_param = params.filter_map(|field| {
            let rest = text.strip_prefix(&format!("params[\"{}\"]", field.source))?;
            Some(format!("params.{}{rest}", field.name))
        });
        of_input.chain(of_param).next()
    };
    let violations = violations.into_iter().map(|violation| FieldViolation {
        field: field(&violation.field).unwrap_or(violation.field),
        ..violation
    });
    Error::Invalid(violations.collect())
}

async fn serve(
    State(endpoints): State<Endpoints>,
    Path((service, method)): Path<(String, String)>,
    request: axum::extract::Request,
) -> Response {
    let mut grpc = lodeway_rpc::unpacking!(Grpc::new(Plain))
        .max_decoding_message_size(MAX_INPUT_BYTES)
        .max_encoding_message_size(MAX_INPUT_BYTES);
    if method == PREDICT_STREAM {
        let call = tower::service_fn(move |request: Request<Bytes>| {
            let (endpoints, service) = (endpoints.clone(), service.clone());
            async move {
                let headers = request.metadata().as_ref().clone();
                let (cx, message) = context::split(request)?;
                let pieces = endpoints.predict_stream(&cx, &headers, &service, message).await;
                let pieces = pieces.map_err(|error| cx.status(error))?;
                let pieces = pieces.map(move |piece| piece.map_err(|error| cx.status(error)));
                Ok::<_, Status>(tonic::Response::new(pieces.boxed()))
            }
        });
        return grpc.server_streaming(call, request).await.map(Body::new);
    }
    let call = tower::service_fn(move |request: Request<Bytes>| {
        let (endpoints, service, method) = (endpoints.clone(), service.clone(), method.clone());
        async move {
            let headers = request.metadata().as_ref().clone();
            let (cx, message) = context::split(request)?;
            let answer = endpoints
                .predict(&cx, &headers, (&service, &method), message)
                .await;
            answer.map(tonic::Response::new).map_err(|error| cx.status(error))
        }
    });
    grpc.unary(call, request).await.map(Body::new)
}

/// Messages as they are.
#[derive(Debug, Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(message);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}
