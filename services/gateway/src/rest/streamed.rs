//! Scoring documents that are answered piece by piece, as server-sent events.
//!
//! A chat model or agent that streams answers a document with `"stream": true` by one event an answer, `data: JSON`, in the
//! form of an answer to the same document without it, and ends by `data: [DONE]`. What fails before the first answer is
//! refused as any call is; what fails later is an event `{"error": …}` before the end.
//!
//! Source: the agent server of mlflow 3.17 (`genai/agent_server/server.py`).

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use http::{HeaderMap, HeaderValue, header};
use lodeway_domain::{Error, Result};
use lodeway_inference::{Document, Payload, scoring};
use lodeway_proto::inference::{ModelInferRequest, ModelInferResponse};
use lodeway_rpc::{CallContext, inference};
use serde_json::json;

use super::{
    mlflow::error::RestError,
    unanswered::{MODEL_VERSION, PREDICTION_ID, Unanswered, refused, sendable, too_large},
};
use crate::endpoints::{Endpoints, table::Route};

const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// Answers a document that asks for a stream.
pub(super) async fn answer(
    endpoints: &Endpoints,
    cx: CallContext,
    headers: &HeaderMap,
    route: &Arc<Route>,
    document: &Document,
) -> Response {
    let message = inference::document_request(document).map(|message| ModelInferRequest {
        model_name: route.record.endpoint.name.to_string(),
        ..message
    });
    let message = match message.map_err(Unanswered::from).and_then(sendable) {
        Ok(message) => message,
        Err(Unanswered::Failed(error)) => return refused(&cx, error),
        Err(Unanswered::TooLarge) => return RestError::larger(too_large()).into_response(),
    };
    let mut answers = match endpoints.stream(&cx, headers, message).await {
        Ok(answers) => answers,
        Err(error) => return refused(&cx, error),
    };
    match answers.next().await {
        Some(Err(error)) => refused(&cx, error),
        Some(Ok(first)) => {
            let told = told(&first);
            let all = stream::once(async move { Ok(first) }).chain(answers);
            events(cx, all.boxed(), told)
        }
        None => events(cx, stream::empty().boxed(), HeaderMap::new()),
    }
}

/// The headers that name the call, which are those of its first answer.
fn told(first: &ModelInferResponse) -> HeaderMap {
    let id = first
        .parameters
        .get(crate::endpoints::forward::PREDICTION_ID)
        .and_then(inference::text_of);
    let named = [(PREDICTION_ID, id), (MODEL_VERSION, Some(&*first.model_version))];
    let named = named.into_iter().filter_map(|(name, value)| {
        let value = HeaderValue::from_str(value?).ok()?;
        Some((header::HeaderName::from_static(name), value))
    });
    named.collect()
}

/// Polled by the caller's connection alone: when that goes away, so does the stream of the model.
fn events(
    cx: CallContext,
    answers: BoxStream<'static, Result<ModelInferResponse>>,
    told: HeaderMap,
) -> Response {
    let failed = move |error: Error| {
        let status = cx.status(error);
        event(json!({ "error": status.message() }).to_string().as_bytes())
    };
    let pieces = answers.map(move |answer| match answer.and_then(text) {
        Ok(text) => event(&text),
        Err(error) => failed(error),
    });
    let events = pieces.chain(stream::once(async { DONE }));
    let mut response = Body::from_stream(events.map(Ok::<_, Infallible>)).into_response();
    let headers = response.headers_mut();
    headers.extend(told);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The JSON of one answer.
fn text(answer: ModelInferResponse) -> Result<Bytes> {
    Ok(match inference::answer_of(answer)? {
        Payload::Document(document) => document.body,
        // A target that does not stream may be beside one that does, and a host may pack what it can.
        packed => scoring::write_predictions(&packed, scoring::Form::Inputs).into(),
    })
}

/// An event; a line break, which JSON has only between its words, would end it.
fn event(json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(json.len() + 8);
    out.extend_from_slice(b"data: ");
    out.extend(json.iter().map(|&byte| match byte {
        b'\n' | b'\r' => b' ',
        byte => byte,
    }));
    out.extend_from_slice(b"\n\n");
    out.into()
}
