//! A model on another server of the Open Inference Protocol, over REST.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use lodeway_domain::{Error, Reason, Result};
use lodeway_inference::{Payload, oip};
use lodeway_proto::inference::{
    ModelInferRequest, ModelInferResponse, ModelMetadataResponse, model_metadata_response::TensorMetadata,
};
use lodeway_rpc::inference;
use serde_json::Value;

use super::{MAX_INPUT_BYTES, declared::DeclaredInputs, untold};
use crate::retry_after::retry_after;

/// How long a server may take to say what it offers beyond the protocol.
const EXTENSIONS_WAIT: Duration = Duration::from_secs(1);
/// What a server may say about itself or a model.
const MAX_METADATA_BYTES: usize = 1 << 20;
/// How much of a refusal is read; its beginning goes into the error.
const MAX_REFUSAL_BYTES: usize = 64 << 10;
/// The names of the extension for binary tensors.
const BINARY: [&str; 2] = ["binary_tensor_data", "binary_data"];

/// A model and its server. Clones share the connections and what is known of the server.
#[derive(Clone)]
pub(crate) struct HttpModel {
    client: reqwest::Client,
    /// `http://host:port`.
    server: String,
    /// The model, and its version if there is one.
    url: String,
    /// Whether the server takes binary tensors, as far as it was asked.
    binary: Arc<AtomicU8>,
    /// How large an answer may be.
    max_answer_bytes: usize,
}

const UNASKED: u8 = 0;
const TAKES_BINARY: u8 = 1;
const TAKES_JSON: u8 = 2;

impl HttpModel {
    /// A model of the server at `http://host:port`; an empty version is none. Errors: a client that cannot be made.
    pub(super) fn new(server: String, model: &str, version: &str) -> Result<Self> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Error::internal)?;
        let version = match version {
            "" => String::new(),
            version => format!("/versions/{version}"),
        };
        Ok(Self {
            client,
            url: format!("{server}/v2/models/{model}{version}"),
            server,
            binary: Arc::default(),
            max_answer_bytes: MAX_INPUT_BYTES,
        })
    }

    /// Whether the model says that it is ready. Errors: a server that does not answer.
    pub(super) async fn is_ready(&self) -> Result<bool> {
        let ready = format!("{}/ready", self.url);
        let reply = self.client.get(ready).send().await.map_err(gone);
        let is_ready = reply.as_ref().is_ok_and(|reply| reply.status().is_success());
        if !is_ready {
            // It may be another server when it is back.
            self.binary.store(UNASKED, Ordering::Relaxed);
        }
        reply.map(|_| is_ready)
    }

    /// What the model takes and gives; none where the server says that it has no metadata. What the server offers is asked
    /// anew with it. Errors: a server that does not answer, fails, or says anything else.
    pub(super) async fn metadata(&self) -> Result<Option<ModelMetadataResponse>> {
        self.ask_binary().await;
        let Some(told) = self.told(&self.url).await? else {
            return Ok(None);
        };
        if !is_metadata(&told) {
            return Err(untold("its JSON is no metadata of a model"));
        }
        let metadata = metadata(&told);
        let said = told.get("inputs").and_then(Value::as_array).map_or(0, Vec::len);
        if metadata.inputs.len() < said {
            return Err(untold("an input in its metadata has no name, datatype or shape"));
        }
        Ok(Some(metadata))
    }

    /// Whether the server takes binary tensors, as it said last.
    async fn takes_binary(&self) -> bool {
        match self.binary.load(Ordering::Relaxed) {
            UNASKED => self.ask_binary().await,
            known => known == TAKES_BINARY,
        }
    }

    /// Asks whether the server takes binary tensors: it says so. One that says nothing gets JSON, which every server takes;
    /// one that does not answer is taken at its last word.
    async fn ask_binary(&self) -> bool {
        let about = format!("{}/v2", self.server);
        let takes = match tokio::time::timeout(EXTENSIONS_WAIT, self.told(&about)).await {
            Ok(Ok(told)) => {
                let extensions = told.as_ref().and_then(|told| told.get("extensions")?.as_array());
                let mut names = extensions.into_iter().flatten().filter_map(Value::as_str);
                names.any(|name| BINARY.contains(&name))
            }
            Ok(Err(_)) | Err(_) => self.binary.load(Ordering::Relaxed) == TAKES_BINARY,
        };
        let known = if takes { TAKES_BINARY } else { TAKES_JSON };
        self.binary.store(known, Ordering::Relaxed);
        takes
    }

    /// The JSON at an address of the server; none where the server says that there is none. Errors: a server that does not
    /// answer or fails, wants something of whoever asks it, or gives what is no JSON.
    async fn told(&self, url: &str) -> Result<Option<Value>> {
        let reply = self.client.get(url).send().await.map_err(gone)?;
        let code = reply.status();
        if matches!(code.as_u16(), 404 | 405 | 501) {
            return Ok(None);
        }
        if code.is_server_error() {
            return Err(Error::unavailable(
                "a target on another server failed",
                code.to_string(),
            ));
        }
        if !code.is_success() {
            return Err(untold(format!("it answers {code}")));
        }
        let body = whole(reply, MAX_METADATA_BYTES).await?;
        let body = body.ok_or_else(|| untold(format!("it says more than {MAX_METADATA_BYTES} bytes")))?;
        serde_json::from_slice(&body)
            .map(Some)
            .map_err(|error| untold(format!("its answer is no JSON: {error}")))
    }

    /// Scores one input. Errors: `INVALID_FIELD` for what the server refuses, and for values that have no form in JSON
    /// where it takes no binary tensors; `LIMIT_EXCEEDED` for an answer that is too large.
    pub(super) async fn infer(
        &self,
        message: ModelInferRequest,
        declared: &DeclaredInputs,
    ) -> Result<ModelInferResponse> {
        let raw = !message.raw_input_contents.is_empty();
        let encoded = oip::write_request(&request(message, declared)?, raw && self.takes_binary().await)?;
        let infer = format!("{}/infer", self.url);
        let mut call = self.client.post(infer).body(encoded.body);
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
        if !code.is_success() {
            let wait = retry_after(reply.headers());
            return Err(refusal(code, wait, &beginning(reply, MAX_REFUSAL_BYTES).await?));
        }
        let body = whole(reply, self.max_answer_bytes).await?;
        let body = body.ok_or_else(|| too_large(self.max_answer_bytes))?;
        let answer = oip::read_response(&body, length).map_err(unreadable)?;
        inference::response_of(Payload::Tensors(answer.outputs), raw)
    }
}

fn request(message: ModelInferRequest, declared: &DeclaredInputs) -> Result<oip::InferRequest> {
    let id = message.id.clone();
    let (payload, parameters) = inference::input_of(message)?;
    Ok(oip::InferRequest {
        id: Some(id).filter(|id| !id.is_empty()),
        parameters,
        inputs: declared.fit_tensors(payload)?,
        ..oip::InferRequest::default()
    })
}

/// A body whole; none if it is larger than `limit` bytes, of which it may say so beforehand. Errors: a server that breaks off.
async fn whole(mut reply: reqwest::Response, limit: usize) -> Result<Option<Bytes>> {
    if reply.content_length().is_some_and(|length| length > limit as u64) {
        return Ok(None);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = reply.chunk().await.map_err(gone)? {
        if body.len() + chunk.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}

/// The first bytes of a body: `limit` and what came with them. Errors: a server that breaks off.
async fn beginning(mut reply: reqwest::Response, limit: usize) -> Result<Bytes> {
    let mut body = BytesMut::new();
    while let Some(chunk) = reply.chunk().await.map_err(gone)? {
        body.extend_from_slice(&chunk);
        if body.len() >= limit {
            break;
        }
    }
    Ok(body.freeze())
}

/// A fault of the server, which would give the same answer again.
pub(super) fn too_large(limit: usize) -> Error {
    let message = format!("the answer of the target is larger than {limit} bytes");
    Error::Unavailable {
        reason: Reason::LimitExceeded,
        retry_after: Duration::from_secs(1),
        cause: message.clone().into(),
        message,
    }
}

/// Why a server does not score an input, and when it may be asked again if it says so.
fn refusal(code: reqwest::StatusCode, wait: Option<Duration>, body: &Bytes) -> Error {
    let text = String::from_utf8_lossy(body.get(..body.len().min(500)).unwrap_or_default()).into_owned();
    match code.as_u16() {
        429 => Error::Exhausted {
            message: format!("a target on another server is full: {text}"),
            retry_after: wait,
        },
        // It has no such model, or wants something of whoever asks it: no input would change that.
        401 | 403 | 404 | 405 | 408 | 410 => Error::unavailable(
            "a target on another server takes no calls",
            format!("{code}: {text}"),
        ),
        400..=499 => Error::invalid("inputs", format!("the target refused it: {text}")),
        _ => Error::Unavailable {
            reason: Reason::BackendUnavailable,
            message: "a target on another server failed".to_owned(),
            retry_after: wait.unwrap_or(Duration::from_secs(1)),
            cause: format!("{code}: {text}").into(),
        },
    }
}

/// An answer that is none: a fault of the server, whatever it is a fault of by itself.
fn unreadable(error: Error) -> Error {
    Error::unavailable(
        "a target on another server gave an answer that cannot be read",
        error,
    )
}

/// Whether this says anything of a model, as the page of a proxy or an error does not.
fn is_metadata(told: &Value) -> bool {
    let is_list = |name: &str| told.get(name).is_some_and(Value::is_array);
    let is_left_out = told.get("inputs").is_none_or(Value::is_null);
    is_list("inputs") || is_left_out && told.get("name").is_some_and(Value::is_string)
}

/// Metadata as the protocol's JSON has them; what cannot be read is left out.
fn metadata(told: &Value) -> ModelMetadataResponse {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = |name: &str| told.get(name).and_then(Value::as_array).into_iter().flatten();
    let tensor = |of: &Value| {
        let sizes = of.get("shape").and_then(Value::as_array)?.iter();
        Some(TensorMetadata {
            name: of.get("name").and_then(text)?,
            datatype: of.get("datatype").and_then(text)?,
            // A size that varies is negative, or a word in some servers.
            shape: sizes.map(|size| size.as_i64().unwrap_or(-1)).collect(),
            parameters: BTreeMap::new(),
        })
    };
    let properties = told
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    ModelMetadataResponse {
        name: told.get("name").and_then(text).unwrap_or_default(),
        versions: list("versions").filter_map(text).collect(),
        platform: told.get("platform").and_then(text).unwrap_or_default(),
        inputs: list("inputs").filter_map(tensor).collect(),
        outputs: list("outputs").filter_map(tensor).collect(),
        properties: properties
            .filter_map(|(name, value)| Some((name.clone(), text(value)?)))
            .collect(),
    }
}

pub(super) fn gone(error: reqwest::Error) -> Error {
    Error::unavailable("a target on another server does not answer", error)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::StreamExt as _;

    use super::*;
    use crate::endpoints::forward::{is_targets_fault, is_worth_retrying};

    /// A model whose server answers every call with this body, and says its length beforehand or not.
    async fn answering(body: &'static str, says_length: bool) -> HttpModel {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let answer = move || async move {
            let bytes = Bytes::from_static(body.as_bytes());
            match says_length {
                true => axum::body::Body::from(bytes),
                false => {
                    // Byte by byte, and no end: who reads more than the bound waits for ever.
                    let bytes = bytes.into_iter().map(|byte| Ok::<_, Infallible>(vec![byte]));
                    let stream = futures::stream::iter(bytes).chain(futures::stream::pending());
                    axum::body::Body::from_stream(stream)
                }
            }
        };
        let router = axum::Router::new().route("/v2/models/m/infer", axum::routing::post(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        lodeway_rpc::Tasks::new().spawn(async move { axum::serve(listener, router).await.unwrap() });
        HttpModel::new(server, "m", "").unwrap()
    }

    #[tokio::test]
    async fn an_answer_beyond_the_bound_is_not_read() {
        let body = r#"{"model_name":"m","outputs":[]}"#;
        let none = DeclaredInputs::default();
        for (says_length, bound) in [(true, body.len() - 1), (false, body.len() - 1)] {
            let mut model = answering(body, says_length).await;
            model.max_answer_bytes = bound;
            let call = model.infer(ModelInferRequest::default(), &none);
            let error = call.await.unwrap_err();
            let wanted = format!("the answer of the target is larger than {bound} bytes");
            assert_eq!(error.to_string(), wanted);
            assert!(
                is_targets_fault(&error) && !is_worth_retrying(&error),
                "{error:?}"
            );
        }
        let mut model = answering(body, true).await;
        model.max_answer_bytes = body.len();
        let call = model.infer(ModelInferRequest::default(), &none);
        call.await.unwrap();
    }

    #[test]
    fn only_what_another_input_would_change_is_a_fault_of_the_input() {
        let of = |code: u16| refusal(code.try_into().unwrap(), None, &Bytes::from_static(b"no"));
        for code in [400, 413, 415, 422] {
            assert!(matches!(of(code), Error::Invalid(_)), "{code}");
        }
        for code in [401, 403, 404, 405, 408, 410, 500, 503] {
            assert!(matches!(of(code), Error::Unavailable { .. }), "{code}");
        }
        assert!(matches!(of(429), Error::Exhausted { .. }));
        let broken = oip::read_response(&Bytes::from_static(b"{\"outputs\":\"nonsense\"}"), None);
        assert!(matches!(
            broken.map_err(unreadable),
            Err(Error::Unavailable { .. })
        ));
    }
}
