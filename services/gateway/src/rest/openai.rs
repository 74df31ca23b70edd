//! OpenAI's REST dialect over routes to language models: `model` is a route's name.
//!
//! Requests pass on with every field that the gateway does not know; answers come back as the upstream gave them. Errors
//! have OpenAI's shape, also inside a stream, where the last mark is left out then.

use std::convert::Infallible;

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use lodeway_domain::{
    Caller, Error, Result,
    llm::{LlmKind, LlmRouteName},
};
use lodeway_rpc::{CallContext, access::Access, status};
use lodeway_store::gateway::LlmRouteRecord;
use serde_json::{Map, Value, json};

use crate::{
    convert,
    llm::{AnswerStream, Llm, MAX_BODY_BYTES, Provenance},
};

const TARGET: &str = "x-lodeway-llm-target";
const ATTEMPTS: &str = "x-lodeway-llm-attempts";
const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");
/// As many as a list of the gRPC API gives at once.
const LIST_PAGE: i32 = 1_000;

/// The access rules of these routes.
pub(crate) const RULES: &[(&str, Access)] = &[
    ("POST /v1/chat/completions", Access::Read),
    ("POST /v1/embeddings", Access::Read),
    ("GET /v1/models", Access::Read),
    ("GET /v1/models/{model}", Access::Read),
];

/// The routes.
pub(crate) fn router(llm: Llm) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/embeddings", post(embeddings))
        .route("/v1/models", get(models))
        .route("/v1/models/{model}", get(model))
        .with_state(llm)
}

async fn chat(State(llm): State<Llm>, request: Request) -> Response {
    let cx = context(&request);
    let done = async {
        let (model, body) = read(request).await?;
        if body.get("stream").and_then(Value::as_bool) != Some(true) {
            let answer = llm.call(&cx, "model", &model, LlmKind::Chat, body).await?;
            return Ok(whole(&answer.body, &answer.provenance));
        }
        let options = body.get("stream_options");
        let wants_usage = options.and_then(|options| options.get("include_usage"));
        let wants_usage = wants_usage.and_then(Value::as_bool) == Some(true);
        let answer = llm.stream(&cx, "model", &model, body).await?;
        Ok(streamed(cx.clone(), answer, wants_usage))
    };
    done.await.unwrap_or_else(|error| refused(&cx, error))
}

async fn embeddings(State(llm): State<Llm>, request: Request) -> Response {
    let cx = context(&request);
    let done = async {
        let (model, body) = read(request).await?;
        let answer = llm.call(&cx, "model", &model, LlmKind::Embeddings, body).await?;
        Ok(whole(&answer.body, &answer.provenance))
    };
    done.await.unwrap_or_else(|error| refused(&cx, error))
}

/// All routes; the protocol's list has no pages.
async fn models(State(llm): State<Llm>, request: Request) -> Response {
    let cx = context(&request);
    let done = async {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let page = convert::page(&cx, LIST_PAGE, &token, &["llm routes"])?;
            let routes = llm.list(&cx, &page).await?;
            found.extend(routes.items.iter().map(described));
            token = routes.token(page.query);
            if token.is_empty() {
                return Ok(json_response(&json!({ "object": "list", "data": found })));
            }
        }
    };
    done.await.unwrap_or_else(|error| refused(&cx, error))
}

async fn model(State(llm): State<Llm>, Path(model): Path<String>, request: Request) -> Response {
    let cx = context(&request);
    let done = async {
        let name = LlmRouteName::parse("model", &model)?;
        Ok(json_response(&described(&llm.get(&cx, &name).await?)))
    };
    done.await.unwrap_or_else(|error| refused(&cx, error))
}

fn described(record: &LlmRouteRecord) -> Value {
    json!({
        "id": record.route.name.as_str(),
        "object": "model",
        "created": record.route.created.millis().div_euclid(1_000),
        "owned_by": "lodeway",
    })
}

/// Who calls; a router that was mounted without the layers serves nobody in particular.
fn context(request: &Request) -> CallContext {
    let known = request.extensions().get::<CallContext>().cloned();
    known.unwrap_or_else(|| CallContext::new(Caller::anonymous()))
}

/// The route that is meant, and the body. Errors: `LIMIT_EXCEEDED`, `INVALID_FIELD`.
async fn read(request: Request) -> Result<(String, Map<String, Value>)> {
    let whole = Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await;
    let whole = whole.map_err(|e| {
        if e.is::<LengthLimitError>() {
            let mib = MAX_BODY_BYTES >> 20;
            return Error::invalid("", format!("the request body is larger than {mib} MiB"));
        }
        Error::invalid("", format!("the request body broke off: {e}"))
    })?;
    let body: Result<Map<String, Value>, _> = serde_json::from_slice(&whole.to_bytes());
    let body = body.map_err(|e| Error::invalid("", format!("the request body is not a JSON object: {e}")))?;
    let model = body.get("model").and_then(Value::as_str);
    let model = model.ok_or_else(|| Error::invalid("model", "must be the name of a route"))?;
    Ok((model.to_owned(), body))
}

fn json_response(body: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (kind, body.to_string()).into_response()
}

fn whole(body: &Value, provenance: &Provenance) -> Response {
    stamped(json_response(body), provenance)
}

/// The answer with headers that say where it comes from.
fn stamped(mut response: Response, provenance: &Provenance) -> Response {
    let headers = response.headers_mut();
    headers.insert(TARGET, HeaderValue::from(provenance.target));
    headers.insert(ATTEMPTS, HeaderValue::from(provenance.attempts));
    response
}

/// Polled by the caller's connection alone: when that goes away, so does the one to the upstream.
fn streamed(cx: CallContext, answer: AnswerStream, wants_usage: bool) -> Response {
    let provenance = answer.provenance();
    let events = stream::unfold(Some((answer, cx)), move |state| async move {
        let (mut answer, cx) = state?;
        loop {
            let (bytes, is_end) = match answer.next().await {
                Some(Ok(piece)) => match event(piece, wants_usage) {
                    Some(event) => (event, false),
                    None => continue,
                },
                Some(Err(error)) => (data(&shape(&cx, error).1), true),
                None => (DONE, true),
            };
            let next = (!is_end).then_some((answer, cx));
            return Some((Ok::<_, Infallible>(bytes), next));
        }
    });
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    stamped((headers, Body::from_stream(events)).into_response(), &provenance)
}

/// A piece as an event; none for the usage that only the gateway asked for: clients that did not look at a piece without
/// choices and fail.
fn event(mut piece: Value, wants_usage: bool) -> Option<Bytes> {
    if !wants_usage && piece.get("usage").is_some() {
        let choices = piece.get("choices").and_then(Value::as_array);
        if choices.is_none_or(Vec::is_empty) {
            return None;
        }
        piece.as_object_mut()?.remove("usage");
    }
    Some(data(&piece))
}

fn data(value: &Value) -> Bytes {
    format!("data: {value}\n\n").into()
}

fn refused(cx: &CallContext, error: Error) -> Response {
    let retry_after = match &error {
        Error::Exhausted { retry_after, .. } => *retry_after,
        Error::Unavailable { retry_after, .. } => Some(*retry_after),
        _ => None,
    };
    let (code, body) = shape(cx, error);
    let mut response = (code, json_response(&body)).into_response();
    if let Some(delay) = retry_after {
        let seconds = delay.as_millis().div_ceil(1_000).max(1);
        if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
    }
    response
}

/// An error in OpenAI's shape and its HTTP status.
fn shape(cx: &CallContext, error: Error) -> (StatusCode, Value) {
    let param = match &error {
        Error::Invalid(found) => found.first().map(|v| v.field.clone()),
        _ => None,
    };
    let param = param.filter(|field| !field.is_empty());
    let is_missing = matches!(error, Error::NotFound(_));
    let reason = error.reason().as_str();
    let status = cx.status(error);
    let code = StatusCode::from_u16(status::http_code(status.code()));
    let code = code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = match code.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    };
    let reason = match is_missing {
        true => "model_not_found".to_owned(),
        false => reason.to_ascii_lowercase(),
    };
    let error = json!({ "message": status.message(), "type": kind, "param": param, "code": reason });
    (code, json!({ "error": error }))
}
