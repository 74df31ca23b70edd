//! Models whose columns are lists and objects, and that answer in streams, over a scripted host.

use axum::body::Body;
use http::{StatusCode, header};
use lodeway_domain::Reason;
use lodeway_gateway::{Config, Gateway, Peers};
use lodeway_inference::{Document, Payload};
use lodeway_proto::inference as oip;
use lodeway_rpc::inference;
use serde_json::{Value, json};
use tonic::service::Routes;
use tower::ServiceExt as _;

use super::{host::Host, hosted::hosted, *};

const ASKED: &str = r#"{"messages": [{"role": "user"}], "stream": true}"#;

/// A gateway with the endpoint `chat`, whose model takes messages.
async fn chat(answers: Option<Vec<oip::ModelStreamInferResponse>>) -> (Host, Bench) {
    chat_with(answers, |spec| spec).await
}

async fn chat_with(
    answers: Option<Vec<oip::ModelStreamInferResponse>>,
    change: impl FnOnce(wire::RevisionSpec) -> wire::RevisionSpec,
) -> (Host, Bench) {
    let host = Host::default();
    {
        let mut script = host.script();
        let inputs = json!([
            { "name": "messages", "type": "array", "items": { "type": "object", "properties": {
                "role": { "type": "string" } } }, "required": true },
            { "name": "user", "type": "string", "required": false },
        ]);
        let signature = json!({ "inputs": inputs.to_string(), "outputs": null, "params": null });
        script.signature = signature.to_string();
        script.is_python = true;
        script.answers = answers;
    }
    let bench = Bench::hosted(&host, EndpointConfig::default()).await;
    let target = hosted("a", "models:/chat/1", 1);
    bench.create("chat", change(spec([target]))).await.unwrap();
    (host, bench)
}

fn chunk(body: &str) -> oip::ModelStreamInferResponse {
    let document = Payload::Document(Document {
        content_type: "application/json".to_owned(),
        body: body.to_owned().into(),
    });
    oip::ModelStreamInferResponse {
        error_message: String::new(),
        infer_response: Some(inference::response_of(document, true).unwrap()),
    }
}

fn failure(reason: Reason, why: &str) -> oip::ModelStreamInferResponse {
    let reason = inference::text_parameter(reason.as_str());
    oip::ModelStreamInferResponse {
        error_message: why.to_owned(),
        infer_response: Some(ModelInferResponse {
            parameters: [(inference::ERROR_REASON.to_owned(), reason)].into(),
            ..ModelInferResponse::default()
        }),
    }
}

async fn post(bench: &Bench, path: &str, body: &str) -> (StatusCode, http::HeaderMap, String) {
    let (parts, body) = begin(bench, path, body).await.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    (parts.status, parts.headers, text)
}

/// An answer of which nothing is read yet.
async fn begin(bench: &Bench, path: &str, body: &str) -> http::Response<Body> {
    let nobody = || Transport::local(Routes::default());
    let peers = Peers {
        tracking: nobody(),
        registry: nobody(),
        artifacts: nobody(),
    };
    let gateway = Gateway::new(peers, Config::default()).with_endpoints(bench.endpoints.clone());
    let request = http::Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_owned()));
    gateway.into_router().oneshot(request.unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_document_is_answered_by_events() {
    let (host, bench) = chat(Some(vec![chunk("{\"a\":\n 1}"), chunk("\"b\"")])).await;
    for path in ["/endpoints/chat/invocations", "/invocations"] {
        let (status, headers, text) = post(&bench, path, ASKED).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        assert_eq!(headers[header::CONTENT_TYPE], "text/event-stream");
        assert_eq!(headers["x-lodeway-model-version"], "1");
        assert!(!headers["x-lodeway-prediction-id"].is_empty());
        assert_eq!(text, "data: {\"a\":  1}\n\ndata: \"b\"\n\ndata: [DONE]\n\n");
    }
    // The host gets the document as it came.
    let asked = host.script().asked.pop().unwrap();
    let document = Document {
        content_type: "application/json".to_owned(),
        body: ASKED.into(),
    };
    assert_eq!(inference::input_of(asked).unwrap().0, Payload::Document(document));
}

#[tokio::test]
async fn without_a_wish_or_a_model_that_streams_there_is_one_answer() {
    let (host, bench) = chat(Some(vec![chunk("1")])).await;
    let plain = ASKED.replace("true", "false");
    let (status, headers, text) = post(&bench, "/invocations", &plain).await;
    assert_eq!((status, &*text), (StatusCode::OK, "{\"whole\": true}"));
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    host.script().answers = None;
    let (status, _, text) = post(&bench, "/invocations", ASKED).await;
    assert_eq!((status, &*text), (StatusCode::OK, "{\"whole\": true}"));
    assert_eq!(host.script().scored.len(), 2);
    assert!(host.script().asked.is_empty());
}

#[tokio::test]
async fn what_fails_first_is_refused_and_what_fails_later_is_an_event() {
    let invalid = failure(Reason::InvalidField, "`messages`: is no list");
    let (host, bench) = chat(Some(vec![invalid])).await;
    let (status, _, text) = post(&bench, "/invocations", ASKED).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(said["error_code"], "INVALID_PARAMETER_VALUE");
    let raised = failure(Reason::ModelRaised, "ValueError: no");
    host.script().answers = Some(vec![chunk("1"), raised]);
    let (status, _, text) = post(&bench, "/invocations", ASKED).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        text,
        "data: 1\n\ndata: {\"error\":\"ValueError: no\"}\n\ndata: [DONE]\n\n"
    );
    host.script().answers = Some(Vec::new());
    let (status, _, text) = post(&bench, "/invocations", ASKED).await;
    assert_eq!((status, &*text), (StatusCode::OK, "data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_caller_who_stops_reading_keeps_his_place_until_the_deadline_only() {
    let one_at_a_time = wire::Resilience {
        max_active_calls: 1,
        timeout: Some(Duration::from_millis(700).try_into().unwrap()),
        ..wire::Resilience::default()
    };
    let answers = vec![chunk("1"); 100];
    let (_host, bench) = chat_with(Some(answers), |spec| with(spec, one_at_a_time)).await;
    let stalled = begin(&bench, "/invocations", ASKED).await;
    assert_eq!(stalled.status(), StatusCode::OK);
    let (status, ..) = post(&bench, "/invocations", ASKED).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    let text = until(async || {
        let (status, _, text) = post(&bench, "/invocations", ASKED).await;
        (status == StatusCode::OK).then_some(text)
    })
    .await;
    assert_eq!(text, format!("{}data: [DONE]\n\n", "data: 1\n\n".repeat(100)));
    // He is told that there was more.
    let body = axum::body::to_bytes(stalled.into_body(), 1 << 20).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(body.contains("data: {\"error\":") && body.len() < 500, "{body}");
}

#[tokio::test]
async fn who_does_not_read_ejects_no_target() {
    let unread = failure(Reason::LimitExceeded, "the answers were not read");
    let (_host, bench) = chat(Some(vec![chunk("1"), unread])).await;
    // More than eject a target that fails.
    for _ in 0..10 {
        let (status, _, text) = post(&bench, "/invocations", ASKED).await;
        assert_eq!(status, StatusCode::OK);
        assert!(
            text.contains("{\"error\":\"the answers were not read\"}"),
            "{text}"
        );
    }
    assert_eq!(bench.state("chat", "a").await, "ready");
}

#[tokio::test]
async fn structured_inputs_are_known_as_json_texts_on_their_way() {
    let (host, bench) = chat(Some(vec![chunk("1")])).await;
    let text = |name: &str, text: &str| InferInputTensor {
        name: name.to_owned(),
        datatype: "BYTES".to_owned(),
        shape: vec![1],
        contents: Some(InferTensorContents {
            bytes_contents: vec![text.to_owned().into()],
            ..InferTensorContents::default()
        }),
        ..InferInputTensor::default()
    };
    let message = ModelInferRequest {
        model_name: "chat".to_owned(),
        inputs: vec![text("user", "[]"), text("messages", "[]")],
        ..ModelInferRequest::default()
    };
    let answers = bench
        .scoring
        .clone()
        .model_stream_infer(futures::stream::iter([message]))
        .await
        .unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    assert_eq!(answer.error_message, "");
    let asked = host.script().asked.pop().unwrap();
    let Payload::Tensors(tensors) = inference::input_of(asked).unwrap().0 else {
        panic!("no tensors")
    };
    let marks: Vec<_> = tensors
        .iter()
        .map(|tensor| (tensor.name(), tensor.is_json()))
        .collect();
    assert_eq!(marks, [("user", false), ("messages", true)]);
}

#[tokio::test]
async fn another_server_gets_no_document() {
    let bench = Bench::new().await;
    let one = Upstream::start().unwrap();
    bench.create("a", spec([target("one", &one, 1)])).await.unwrap();
    let document = Document {
        content_type: "application/json".to_owned(),
        body: ASKED.into(),
    };
    let message = ModelInferRequest {
        model_name: "a".to_owned(),
        ..inference::document_request(&document).unwrap()
    };
    let calls = one.calls();
    let answers = bench
        .scoring
        .clone()
        .model_stream_infer(futures::stream::iter([message]))
        .await
        .unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    assert!(answer.error_message.contains("another server"), "{answer:?}");
    assert_eq!(one.calls(), calls);
    // Nor does it stream to a caller of scoring documents.
    let (status, _, text) = post(&bench, "/endpoints/a/invocations", ASKED).await;
    assert!(
        status == StatusCode::BAD_REQUEST && text.contains("another server"),
        "{text}"
    );
}
