//! Scoring over REST: MLflow's scoring documents and the Open Inference Protocol, both the way of any other call.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use lodeway_domain::{Caller, Error};
use lodeway_inference::{Document, Payload, Tensor, oip, scoring};
use lodeway_proto::inference::{ModelInferRequest, model_metadata_response::TensorMetadata};
use lodeway_rpc::{CallContext, access::Access, inference, status};
use serde_json::{Map, Value, json};

use super::coding::Coding;
use super::{
    mlflow::error::RestError,
    streamed,
    unanswered::{MODEL_VERSION, PREDICTION_ID, Unanswered, refused, sendable, too_large},
};
use crate::endpoints::{Endpoints, MAX_INPUT_BYTES, forward::Answered, table::Route};

/// Rows of a table in Parquet; few bytes may stand for many of them.
const MAX_PARQUET_ROWS: u64 = 10_000_000;
/// The access rules of these routes.
pub(crate) const RULES: &[(&str, Access)] = &[
    ("POST /endpoints/{name}/invocations", Access::Read),
    ("POST /invocations", Access::Read),
    ("GET /ping", Access::Public),
    ("GET /v2", Access::Public),
    ("GET /v2/health/live", Access::Public),
    ("GET /v2/health/ready", Access::Public),
    ("GET /v2/models/{name}", Access::Read),
    ("GET /v2/models/{name}/ready", Access::Read),
    ("POST /v2/models/{name}/infer", Access::Read),
    ("GET /v2/models/{name}/versions/{version}", Access::Read),
    ("GET /v2/models/{name}/versions/{version}/ready", Access::Read),
    ("POST /v2/models/{name}/versions/{version}/infer", Access::Read),
    ("POST /v2/repository/index", Access::Read),
    ("POST /v2/repository/models/{name}/load", Access::Write),
    ("POST /v2/repository/models/{name}/unload", Access::Write),
];

/// The routes.
pub(crate) fn router(endpoints: Endpoints) -> Router {
    Router::new()
        .route("/endpoints/{name}/invocations", post(invocations))
        .route("/invocations", post(only_invocations))
        .route("/ping", get(ping))
        .route("/v2", get(server))
        .route("/v2/health/live", get(|| async { StatusCode::OK }))
        .route("/v2/health/ready", get(|| async { StatusCode::OK }))
        .route("/v2/models/{name}", get(metadata))
        .route("/v2/models/{name}/ready", get(ready))
        .route("/v2/models/{name}/infer", post(infer))
        .route("/v2/models/{name}/versions/{version}", get(metadata))
        .route("/v2/models/{name}/versions/{version}/ready", get(ready))
        .route("/v2/models/{name}/versions/{version}/infer", post(infer))
        .route("/v2/repository/index", post(index))
        .route("/v2/repository/models/{name}/load", post(load))
        .route("/v2/repository/models/{name}/unload", post(unload))
        .with_state(endpoints)
}

/// Who calls; a router that was mounted without the layers serves nobody in particular.
fn context(request: &Request) -> CallContext {
    let known = request.extensions().get::<CallContext>().cloned();
    known.unwrap_or_else(|| CallContext::new(Caller::anonymous()))
}

/// The body whole and unpacked, up to the limit; one that says beforehand that it is larger is not waited for.
async fn body(request: Request) -> Result<Bytes, Unanswered> {
    let coding = Coding::of(request.headers())?;
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_INPUT_BYTES as u64) {
        return Err(Unanswered::TooLarge);
    }
    let limited = Limited::new(request.into_body(), MAX_INPUT_BYTES).collect().await;
    let whole = limited.map_err(|e| {
        if e.is::<LengthLimitError>() {
            return Unanswered::TooLarge;
        }
        Unanswered::from(Error::invalid("", format!("the request body broke off: {e}")))
    })?;
    let unpacked = coding.unpack(whole.to_bytes(), MAX_INPUT_BYTES).await?;
    unpacked.ok_or(Unanswered::TooLarge)
}

async fn ping(State(endpoints): State<Endpoints>, request: Request) -> Response {
    let cx = context(&request);
    let is_ready = endpoints
        .only(&cx)
        .is_some_and(|route| route.targets.iter().any(|t| t.ready().is_some()));
    let code = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    };
    (code, "\n").into_response()
}

async fn only_invocations(State(endpoints): State<Endpoints>, request: Request) -> Response {
    let cx = context(&request);
    match endpoints.only(&cx) {
        Some(route) => score(&endpoints, cx, route, request).await,
        None => {
            let why = "this server has several endpoints; post to /endpoints/NAME/invocations";
            refused(&cx, Error::invalid("", why))
        }
    }
}

async fn invocations(
    State(endpoints): State<Endpoints>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let cx = context(&request);
    match endpoints.route(&cx, &name) {
        Ok(route) => score(&endpoints, cx, route, request).await,
        Err(error) => refused(&cx, error),
    }
}

impl Endpoints {
    /// A table in Parquet, read on a thread for blocking work. Errors: `INVALID_FIELD` naming the column or the place of a
    /// file that is broken or holds what has no tensor, `LIMIT_EXCEEDED`.
    async fn read_parquet(&self, body: Bytes) -> Result<scoring::Input, Error> {
        let read = move || lodeway_tables::frame_of_parquet(body, MAX_PARQUET_ROWS);
        let table = self
            .0
            .tasks
            .spawn_blocking(read)
            .await
            .map_err(Error::internal)??;
        Ok(scoring::Input {
            payload: Payload::Frame(table.frame),
            params: lodeway_inference::Params::new(),
            form: scoring::Form::Parquet,
            ignored: Vec::new(),
            has_index: table.has_index,
        })
    }
}

/// A scoring document: read here where that is possible, else passed on as it came.
async fn score(endpoints: &Endpoints, cx: CallContext, route: Arc<Route>, request: Request) -> Response {
    let headers = request.headers().clone();
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("application/json")
        .to_owned();
    let body = match body(request).await {
        Ok(body) => body,
        Err(Unanswered::TooLarge) => return RestError::larger(too_large()).into_response(),
        Err(Unanswered::Failed(error)) => return refused(&cx, error),
    };
    let document = Document { content_type, body };
    if route.is_python() && scoring::wants_stream(&document) && endpoints.streams(&cx, &route).await {
        return streamed::answer(endpoints, cx, &headers, &route, &document).await;
    }
    let declared = route.signature();
    let passes_on = route.reads_documents();
    let signature = declared.as_ref().and_then(|ready| ready.signature.as_ref());
    // Another server reads no documents, whatever its model is made of.
    let parsed = match route.is_outside() {
        true => scoring::parse_packed(&document),
        false => scoring::parse(&document, signature),
    };
    let input = match parsed {
        Err(scoring::Refused::MediaType(why)) => {
            return (StatusCode::UNSUPPORTED_MEDIA_TYPE, why).into_response();
        }
        Ok(scoring::Parsed::Input(input)) if !(passes_on || input.has_index && route.is_python()) => {
            Some(input)
        }
        Ok(scoring::Parsed::PassOn(scoring::PassOn {
            form: scoring::Form::Parquet,
            ..
        })) if !(passes_on || route.is_python()) => match endpoints.read_parquet(document.body.clone()).await
        {
            Ok(input) => Some(input),
            Err(Error::Exhausted { message, .. }) => return RestError::larger(message).into_response(),
            Err(error) => return refused(&cx, error),
        },
        Ok(scoring::Parsed::PassOn(scoring::PassOn {
            reason: scoring::Reason::NeedsRuntime(why),
            ..
        })) if route.is_outside() => return refused(&cx, only_packed(&why)),
        Ok(_) => None,
        // What a model with type hints takes is for the model to say.
        Err(scoring::Refused::Invalid(_)) if passes_on => None,
        Err(scoring::Refused::Invalid(error)) => return refused(&cx, error),
    };
    let Some(input) = input else {
        let answered = endpoints
            .score(&cx, &headers, &route, (&document.content_type, &document.body))
            .await;
        return match answered {
            Ok(answered) => {
                let body = answered.answer.body.clone();
                stamped(json_body(body), &answered)
            }
            Err(error) => refused(&cx, error),
        };
    };
    let payload = match input.payload {
        // Each server gets them in the datatypes that it declares.
        Payload::Tensors(tensors) if route.is_outside() => {
            Payload::Tensors(tensors.into_iter().map(Tensor::inferred).collect())
        }
        payload => payload,
    };
    let message = inference::request_of(payload, &input.params).map(|message| ModelInferRequest {
        model_name: route.record.endpoint.name.to_string(),
        ..message
    });
    let answered = match message.map_err(Unanswered::from).and_then(sendable) {
        Ok(message) => endpoints.infer(&cx, &headers, message).await,
        Err(Unanswered::Failed(error)) => Err(error),
        Err(Unanswered::TooLarge) => return RestError::larger(too_large()).into_response(),
    };
    match answered {
        Ok(mut answered) => {
            let response = std::mem::take(&mut answered.answer);
            match inference::answer_of(response) {
                Ok(payload) => {
                    let body = scoring::write_predictions(&payload, input.form);
                    stamped(json_body(Bytes::from(body)), &answered)
                }
                Err(error) => refused(&cx, error),
            }
        }
        Err(error) => refused(&cx, error),
    }
}

/// The error of a document that holds what no tensor does, for a model on another server.
fn only_packed(why: &str) -> Error {
    let all = "the targets are on other servers, which take only tensors and tables";
    Error::invalid("", format!("{why}; {all}"))
}

fn json_body(body: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The answer with what names it.
fn stamped<T>(mut response: Response, answered: &Answered<T>) -> Response {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(answered.prediction_id.as_str()) {
        headers.insert(PREDICTION_ID, value);
    }
    if let Ok(value) = HeaderValue::from_str(&answered.model_version) {
        headers.insert(MODEL_VERSION, value);
    }
    response
}

/// An error in the protocol's shape.
fn oip_error(cx: &CallContext, error: Error) -> Response {
    let status = cx.status(error);
    let code = StatusCode::from_u16(status::http_code(status.code()));
    let mut response = oip_said(
        code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        status.message(),
    );
    if let Some(wait) = status::from_status(&status).retry_after {
        let seconds = HeaderValue::from(wait.as_secs().max(1));
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

fn oip_said(code: StatusCode, why: &str) -> Response {
    let mut response = json_body(Bytes::from(json!({ "error": why }).to_string()));
    *response.status_mut() = code;
    response
}

async fn server() -> Response {
    let body = json!({
        "name": "lodeway",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": crate::inference_api::EXTENSIONS,
    });
    json_body(Bytes::from(body.to_string()))
}

/// The model and, if the path has one, the version.
#[derive(Debug, serde::Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    version: String,
}

async fn metadata(
    State(endpoints): State<Endpoints>,
    Path(named): Path<Named>,
    request: Request,
) -> Response {
    let cx = context(&request);
    match endpoints.metadata(&cx, &named.name, &named.version).await {
        Ok(found) => {
            let tensors = |tensors: &[TensorMetadata]| tensors.iter().map(described).collect::<Vec<_>>();
            let mut body = json!({
                "name": found.name,
                "versions": found.versions,
                "platform": found.platform,
                "inputs": tensors(&found.inputs),
                "outputs": tensors(&found.outputs),
            });
            if !found.properties.is_empty() {
                body["properties"] = json!(found.properties);
            }
            json_body(Bytes::from(body.to_string()))
        }
        Err(error) => oip_error(&cx, error),
    }
}

/// A tensor of a model's metadata; what is told of it beyond the protocol only where there is something.
fn described(tensor: &TensorMetadata) -> Value {
    let mut described = json!({ "name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape });
    let told: Map<String, Value> = tensor
        .parameters
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), inference::text_of(value)?.into())))
        .collect();
    if !told.is_empty() {
        described["parameters"] = told.into();
    }
    described
}

async fn ready(State(endpoints): State<Endpoints>, Path(named): Path<Named>, request: Request) -> Response {
    let cx = context(&request);
    let is_ready = match endpoints.readiness(&cx, &named.name, &named.version) {
        Ok(is_ready) => is_ready,
        Err(error) => return oip_error(&cx, error),
    };
    let body = json!({ "name": named.name, "ready": is_ready }).to_string();
    let code = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, json_body(Bytes::from(body))).into_response()
}

async fn infer(State(endpoints): State<Endpoints>, Path(named): Path<Named>, request: Request) -> Response {
    let cx = context(&request);
    let headers = request.headers().clone();
    match infer_inner(&endpoints, &cx, &headers, named, request).await {
        Ok(response) => response,
        Err(Unanswered::TooLarge) => oip_said(StatusCode::PAYLOAD_TOO_LARGE, &too_large()),
        Err(Unanswered::Failed(error)) => oip_error(&cx, error),
    }
}

async fn infer_inner(
    endpoints: &Endpoints,
    cx: &CallContext,
    headers: &HeaderMap,
    named: Named,
    request: Request,
) -> Result<Response, Unanswered> {
    let length = headers.get(oip::HEADER_LENGTH).map(|value| {
        let length = value.to_str().ok().and_then(|text| text.parse().ok());
        length.ok_or_else(|| Error::invalid(oip::HEADER_LENGTH, "is no length"))
    });
    let body = body(request).await?;
    let asked = oip::read_request(&body, length.transpose()?)?;
    let binary = asked.binary_outputs();
    let wanted: Vec<_> = asked.outputs.iter().map(|output| output.name.clone()).collect();
    let is_table = asked.parameters.get("content_type").and_then(Value::as_str) == Some("pd");
    let payload = match is_table {
        true => columns(asked.inputs)?,
        false => Payload::Tensors(asked.inputs),
    };
    let mut params = asked.parameters;
    params.retain(|name, _| !matches!(name.as_str(), "content_type" | "binary_data_output" | "headers"));
    let mut message = inference::request_of(payload, &params)?;
    message.model_name = named.name;
    message.model_version = named.version;
    message.id = asked.id.clone().unwrap_or_default();
    let message = sendable(message)?;
    let mut answered = endpoints.infer(cx, headers, message).await?;
    let response = std::mem::take(&mut answered.answer);
    let (model_name, model_version) = (response.model_name.clone(), response.model_version.clone());
    let mut outputs = match inference::answer_of(response)? {
        Payload::Tensors(tensors) => tensors,
        Payload::Frame(frame) => frame.into_tensors(),
        // What no tensor holds goes out as its JSON.
        Payload::Document(document) => {
            vec![lodeway_inference::Tensor::of_texts(
                "predictions",
                vec![1],
                [&document.body],
            )?]
        }
    };
    if let Some(missing) = wanted
        .iter()
        .find(|name| outputs.iter().all(|output| output.name() != **name))
    {
        let why = format!("the model gives no `{missing}`");
        return Err(Error::invalid("outputs", why).into());
    }
    if !wanted.is_empty() {
        outputs.retain(|output| wanted.iter().any(|name| name == output.name()));
    }
    let mut parameters = lodeway_inference::Params::new();
    parameters.insert("prediction_id".to_owned(), answered.prediction_id.as_str().into());
    let answer = oip::InferResponse {
        model_name,
        model_version: Some(model_version).filter(|version| !version.is_empty()),
        id: asked.id,
        parameters,
        outputs,
        tensor_parameters: Vec::new(),
    };
    let encoded = oip::write_response(&answer, &binary)?;
    let mut response = json_body(encoded.body);
    if let Some(length) = encoded.header_length {
        response
            .headers_mut()
            .insert(oip::HEADER_LENGTH, HeaderValue::from(length));
        let octets = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, octets);
    }
    Ok(stamped(response, &answered))
}

/// Tensors `[rows]` or `[rows, 1]` as the columns of a table.
fn columns(inputs: Vec<lodeway_inference::Tensor>) -> Result<Payload, Error> {
    let columns = inputs.into_iter().map(|tensor| {
        let rows = tensor.shape().first().copied().unwrap_or_default();
        tensor.reshaped(vec![rows]).map(lodeway_inference::Column::new)
    });
    lodeway_inference::Frame::new(columns.collect::<Result<_, _>>()?).map(Payload::Frame)
}

async fn index(State(endpoints): State<Endpoints>, request: Request) -> Response {
    let cx = context(&request);
    let models: Vec<_> = endpoints
        .index(&cx, false)
        .into_iter()
        .map(|m| json!({ "name": m.name, "version": m.version, "state": m.state, "reason": m.reason }))
        .collect();
    json_body(Bytes::from(Value::from(models).to_string()))
}

async fn load(State(endpoints): State<Endpoints>, Path(named): Path<Named>, request: Request) -> Response {
    let cx = context(&request);
    match endpoints.load(&cx, &named.name).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => oip_error(&cx, error),
    }
}

async fn unload(State(endpoints): State<Endpoints>, Path(named): Path<Named>, request: Request) -> Response {
    let cx = context(&request);
    match endpoints.unload(&cx, &named.name).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => oip_error(&cx, error),
    }
}
