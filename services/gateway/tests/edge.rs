//! The edge in front of services that are not there, or that a test plays: routes, refusals and what it says about itself.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    response::{IntoResponse as _, Response},
    routing::post,
};
use futures::StreamExt as _;
use http::{Method, Request, StatusCode, header};
use lodeway_domain::{Error, ResourceKind};
use lodeway_gateway::{
    ArtifactBytes, Config, Gateway, Peers, access_rules,
    artifact_bytes::{ByteStream, Download},
};
use lodeway_proto::{registry::v1 as registry, tracking::v1 as tracking};
use lodeway_rpc::{
    CallContext, Transport,
    access::Access,
    status::{into_error, status_of},
};
use serde_json::{Value, json};
use tonic::{Code, Status, service::Routes};
use tower::ServiceExt as _;

fn edge() -> Router {
    let nobody = || Transport::local(Routes::default());
    let peers = Peers {
        tracking: nobody(),
        registry: nobody(),
        artifacts: nobody(),
    };
    Gateway::new(peers, Config::default()).into_router()
}

async fn send(request: Request<Body>) -> (StatusCode, String, String) {
    send_to(edge(), request).await
}

async fn send_to(edge: Router, request: Request<Body>) -> (StatusCode, String, String) {
    let response = edge.oneshot(request).await.unwrap();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

async fn call(method: Method, path: &str, body: &str) -> (StatusCode, Value) {
    call_to(edge(), method, path, body).await
}

async fn call_to(edge: Router, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json");
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let (status, kind, text) = send_to(edge, request).await;
    assert_eq!(kind, "application/json", "{path}: {text}");
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn every_route_answers_in_json_under_both_prefixes() {
    let keys = access_rules();
    assert!(keys.len() > 150, "{}", keys.len());
    for twin in [
        "POST /api/2.0/mlflow/runs/log-batch",
        "POST /ajax-api/2.0/mlflow/runs/log-batch",
    ] {
        assert!(keys.contains(&(twin, Access::Write)), "{twin}");
    }
    for (key, _) in keys {
        let (method, path) = key.split_once(' ').unwrap();
        // These speak other protocols, and are there only with endpoints or with routes to language models.
        let is_other = ["/endpoints/", "/invocations", "/ping", "/v2", "/v1/"]
            .iter()
            .any(|start| path.starts_with(start));
        if ["/health", "/version"].contains(&path) || is_other {
            continue;
        }
        let path = path
            .replace("{*path}", "a/b")
            .replace("{*rest}", "x")
            .replace(['{', '}'], "");
        let (status, body) = call(method.parse().unwrap(), &path, "{}").await;
        let known = body.get("error_code").is_some() || status == StatusCode::OK;
        assert!(known && !status.is_redirection(), "{key}: {status} {body}");
    }
}

#[tokio::test]
async fn what_the_edge_says_about_itself() {
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(send(get("/health")).await.2, "OK");
    let (_, kind, version) = send(get("/version")).await;
    assert_eq!(
        (kind.as_str(), version.as_str()),
        ("text/plain; charset=utf-8", "3.7.0")
    );
    assert!(send(get("/")).await.2.contains("Lodeway"));
    let (status, info) = call(Method::GET, "/api/3.0/mlflow/server-info", "").await;
    assert_eq!(
        (status, info["multipart_uploads_enabled"].as_bool()),
        (StatusCode::OK, Some(false))
    );
}

#[tokio::test]
async fn unknown_routes_and_verbs_are_no_json() {
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let (status, kind, _) = send(get("/api/2.0/mlflow/nothing")).await;
    assert_eq!(
        (status, kind.starts_with("text/html")),
        (StatusCode::NOT_FOUND, true)
    );
    assert_eq!(
        send(get("/api/2.0/mlflow/runs/log-batch")).await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    // Only the web pages' path of this one works, as in the reference.
    let search = "/2.0/mlflow/experiments/search-datasets";
    assert_eq!(send(get(&format!("/api{search}"))).await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        send(get(&format!("/ajax-api{search}"))).await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    let (status, ..) = send(get("//model-versions/get-artifact?name=m&version=1&path=..")).await;
    assert_eq!(status, StatusCode::PERMANENT_REDIRECT);
}

#[tokio::test]
async fn absent_services_and_features_are_not_implemented() {
    let (status, body) = call(Method::GET, "/api/2.0/mlflow/runs/get?run_id=abc", "").await;
    assert_eq!(
        (status, &body["error_code"]),
        (StatusCode::NOT_IMPLEMENTED, &"NOT_IMPLEMENTED".into())
    );
    let (status, body) = call(Method::POST, "/api/3.0/mlflow/traces", "{}").await;
    assert_eq!(
        (status, &body["error_code"]),
        (StatusCode::NOT_IMPLEMENTED, &"NOT_IMPLEMENTED".into())
    );
    let (status, body) = call(Method::PATCH, "/api/2.0/mlflow/traces/tr-1/tags", "{}").await;
    let message = body["message"].as_str().unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(message.starts_with("Missing value for required parameter 'key'"));
    assert_eq!(
        call(Method::POST, "/api/3.0/mlflow/traces/search", "{}").await.0,
        StatusCode::OK
    );
}

#[tokio::test]
async fn paths_are_refused_before_anybody_is_asked() {
    for path in [
        "/api/2.0/mlflow-artifacts/artifacts/a/%2e%2e/b",
        "/api/2.0/mlflow-artifacts/artifacts/%252e%252e/b",
        "/api/2.0/mlflow-artifacts/artifacts/a%5cb",
        "/api/2.0/mlflow-artifacts/artifacts/%2fetc/passwd",
        "/api/2.0/mlflow-artifacts/artifacts?path=../x",
        "/api/2.0/mlflow/artifacts/list?run_id=a&path=../x",
        "/get-artifact?run_id=a&path=/etc/passwd",
        "/model-versions/get-artifact?name=m&version=1&path=%2e%2e/x",
        "/api/2.0/mlflow/logged-models/m-1/artifacts/directories?artifact_directory_path=../x",
        "/ajax-api/2.0/mlflow/logged-models/m-1/artifacts/files?artifact_file_path=../x",
    ] {
        let (status, body) = call(Method::GET, path, "").await;
        assert_eq!(
            (status, &body["message"]),
            (StatusCode::BAD_REQUEST, &"Invalid path".into()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn big_bodies_are_refused_without_reading_them() {
    let path = "/api/2.0/mlflow/runs/log-batch";
    let request = |body| {
        Request::post(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .unwrap()
    };
    let mut known = request(Body::empty());
    known
        .headers_mut()
        .insert(header::CONTENT_LENGTH, (50_u64 << 20).into());
    assert_eq!(send(known).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let chunk = || Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b' '; 1 << 20]));
    let endless = futures::stream::iter((0..50).map(move |_| chunk()));
    let (status, _, text) = send(request(Body::from_stream(endless))).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{text}");
    assert!(text.contains("INVALID_PARAMETER_VALUE"));
}

#[tokio::test]
async fn graphql_answers_200_with_its_faults_inside() {
    let ask = async |query: &str| {
        let body = serde_json::json!({ "query": query }).to_string();
        let (status, answer) = call(Method::POST, "/graphql", &body).await;
        assert_eq!(status, StatusCode::OK);
        answer
    };
    let echo = ask("query q @component(name: \"T\") { a: test(inputString: \"abc\") { output } }").await;
    assert_eq!(
        echo,
        serde_json::json!({ "data": { "a": { "output": "abc" } }, "errors": null })
    );
    for (query, fault) in [
        ("{ nothing { x } }", "Cannot query field 'nothing'"),
        (
            "{ test(inputString: \"a\") { wrong } }",
            "Cannot query field 'wrong'",
        ),
        ("{ test(inputString: \"a\") }", "must have a selection"),
        ("{ test(", "Syntax Error"),
        (
            "{ mlflowGetRun(input: {runId: \"a\"}) { run { info { status } } } }",
            "",
        ),
    ] {
        let answer = ask(query).await;
        assert!(
            answer["errors"][0].as_str().unwrap().contains(fault),
            "{query}: {answer}"
        );
    }
}

/// The one message of a gRPC request.
async fn asked<M: prost::Message + Default>(request: Request<Body>) -> M {
    let bytes = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    M::decode(&bytes[5..]).unwrap()
}

/// A gRPC answer of one message.
fn answered(message: &impl prost::Message) -> Response {
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.encoded_len()).unwrap().to_be_bytes());
    message.encode(&mut frame).unwrap();
    let kind = [
        (header::CONTENT_TYPE.as_str(), "application/grpc"),
        ("grpc-status", "0"),
    ];
    (kind, frame).into_response()
}

fn unknown(kind: ResourceKind, name: &str) -> Response {
    let status = status_of(&Error::not_found(kind, name), "peer", "tracking.lodeway.dev");
    status.into_http()
}

async fn get_run(request: Request<Body>) -> Response {
    let id = asked::<tracking::GetRunRequest>(request).await.run_id;
    if id != "known" {
        return unknown(ResourceKind::Run, &id);
    }
    let run = tracking::Run {
        run_id: id,
        artifact_uri: "file:///files/known".to_owned(),
        ..Default::default()
    };
    answered(&tracking::GetRunResponse { run: Some(run) })
}

async fn get_logged_model(request: Request<Body>) -> Response {
    let id = asked::<tracking::GetLoggedModelRequest>(request).await.model_id;
    if id != "m-known" {
        return unknown(ResourceKind::LoggedModel, &id);
    }
    let model = tracking::LoggedModel {
        model_id: id,
        ..Default::default()
    };
    answered(&tracking::GetLoggedModelResponse { model: Some(model) })
}

async fn create_version(request: Request<Body>) -> Response {
    let asked: registry::CreateModelVersionRequest = asked(request).await;
    let model_version = registry::ModelVersion {
        name: asked.name,
        version: 1,
        source: asked.source,
        run_id: asked.run_id,
        ..Default::default()
    };
    answered(&registry::CreateModelVersionResponse {
        model_version: Some(model_version),
    })
}

/// An edge whose tracking knows the run `known` and the logged model `m-known`, and whose registry takes every version.
fn edge_that_knows_some() -> Router {
    let service = |paths: Router| Transport::local(Routes::from(paths));
    let peers = Peers {
        tracking: service(
            Router::new()
                .route("/lodeway.tracking.v1.TrackingService/GetRun", post(get_run))
                .route(
                    "/lodeway.tracking.v1.TrackingService/GetLoggedModel",
                    post(get_logged_model),
                ),
        ),
        registry: service(Router::new().route(
            "/lodeway.registry.v1.RegistryService/CreateModelVersion",
            post(create_version),
        )),
        artifacts: Transport::local(Routes::default()),
    };
    Gateway::new(peers, Config::default()).into_router()
}

async fn create(fields: Value) -> (StatusCode, Value) {
    let mut body = json!({ "name": "m" });
    body.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    let path = "/api/2.0/mlflow/model-versions/create";
    call_to(edge_that_knows_some(), Method::POST, path, &body.to_string()).await
}

#[tokio::test]
async fn local_sources_are_refused_in_any_case_of_their_scheme() {
    for source in [
        "file:///etc",
        "FILE:///etc",
        "File:/etc",
        "fIlE://LOCALHOST/etc",
        "/etc",
    ] {
        for run in [json!({}), json!({ "run_id": "known" })] {
            let mut fields = json!({ "source": source });
            fields
                .as_object_mut()
                .unwrap()
                .extend(run.as_object().unwrap().clone());
            let (status, body) = create(fields).await;
            assert_eq!(
                (status, &body["error_code"]),
                (StatusCode::BAD_REQUEST, &"INVALID_PARAMETER_VALUE".into()),
                "{source}: {body}"
            );
            let message = body["message"].as_str().unwrap();
            assert!(
                message.contains("To use a local path as a model version source"),
                "{message}"
            );
        }
    }
    let (status, body) = create(json!({ "source": "FILE:///files/known/M", "run_id": "known" })).await;
    assert_eq!(
        (status, &body["model_version"]["source"]),
        (StatusCode::OK, &"file:///files/known/M".into()),
        "{body}"
    );
    let location = json!({ "name": "e", "artifact_location": "RUNS:/known/x" }).to_string();
    let (status, body) = call(Method::POST, "/api/2.0/mlflow/experiments/create", &location).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
}

#[tokio::test]
async fn sources_that_name_what_nobody_knows_are_refused() {
    for (fields, message) in [
        (json!({ "source": "runs:/nope/x" }), "source: 'runs:/nope/x'"),
        (json!({ "source": "RUNS:/nope/x" }), "source: 'runs:/nope/x'"),
        (json!({ "source": "models:/m-nope" }), "source: 'models:/m-nope'"),
        (
            json!({ "source": "models:/m-nope", "run_id": "known" }),
            "source: 'models:/m-nope'",
        ),
        (
            json!({ "source": "models:/m-nope", "model_id": "m-known" }),
            "source: 'models:/m-nope'",
        ),
    ] {
        let (status, body) = create(fields.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{fields}: {body}");
        assert!(
            body["message"].as_str().unwrap().contains(message),
            "{fields}: {body}"
        );
    }
    for fields in [
        json!({ "source": "s3://b/x", "model_id": "m-nope" }),
        json!({ "source": "models:/m-nope", "model_id": "m-nope" }),
    ] {
        let (status, body) = create(fields.clone()).await;
        assert_eq!(
            (status, &body["error_code"]),
            (StatusCode::NOT_FOUND, &"RESOURCE_DOES_NOT_EXIST".into()),
            "{fields}: {body}"
        );
    }
    // MLflow takes any run that the caller names, and its own tests make such versions.
    for fields in [
        json!({ "source": "runs:/known/x" }),
        json!({ "source": "runs:/nope/x", "run_id": "nope" }),
        json!({ "source": "runs:/nope/x", "run_id": "other" }),
        json!({ "source": "s3://b/x", "run_id": "nope" }),
        json!({ "source": "models:/m-known" }),
        json!({ "source": "models:/m-known", "model_id": "m-known", "run_id": "nope" }),
        json!({ "source": "dummy", "tags": [{ "key": "mlflow.prompt.is_prompt", "value": "true" }] }),
    ] {
        let (status, body) = create(fields.clone()).await;
        assert_eq!(status, StatusCode::OK, "{fields}: {body}");
        assert_eq!(body["model_version"]["source"], fields["source"]);
    }
}

#[tokio::test]
async fn a_value_of_the_wrong_type_is_named_by_its_path() {
    let long = "Hint: Write infinities as \"Infinity\" and \"-Infinity\", and what is no number as \"NaN\".";
    for (path, body, parameter, value, hint) in [
        (
            "log-batch",
            r#"{"run_id":"x","metrics":[{"key":"a","value":"abc","timestamp":5}]}"#,
            "metrics[0].value",
            "\"abc\"",
            "Hint: Value was of type 'str'.",
        ),
        (
            "log-batch",
            r#"{"run_id":"x","metrics":[{"key":"a","value":1,"timestamp":9223372036854775808}]}"#,
            "metrics[0].timestamp",
            "9223372036854775808",
            "Hint: out of range.",
        ),
        (
            "log-batch",
            r#"{"run_id":"x","tags":[{"key":"k","value":5}]}"#,
            "tags[0].value",
            "5",
            "Hint: Value was of type 'int'.",
        ),
        (
            "log-batch",
            r#"{"run_id":"x","metrics":[{"key":"a","value":1,"timestamp":5},{"key":5,"value":1,"timestamp":5}]}"#,
            "metrics[1].key",
            "5",
            "Hint: Value was of type 'int'.",
        ),
        (
            "log-batch",
            r#"{"run_id":"x","params":[{"key":"a","value":["b"]}]}"#,
            "params[0].value",
            "[\"b\"]",
            "Hint: Value was of type 'list'.",
        ),
        (
            "log-inputs",
            r#"{"run_id":"x","datasets":[{"dataset":{"name":5}}]}"#,
            "datasets[0].dataset.name",
            "5",
            "Hint: Value was of type 'int'.",
        ),
        (
            "log-batch",
            r#"{"run_id":"x","metrics":[{"key":"a","value":1e400,"timestamp":5}]}"#,
            "metrics[0].value",
            "1e400",
            long,
        ),
        (
            "log-metric",
            r#"{"run_id":"x","key":"a","value":-1e400,"timestamp":5}"#,
            "value",
            "-1e400",
            long,
        ),
        (
            "log-metric",
            r#"{"run_id":"x","key":"a","value":NaN,"timestamp":5}"#,
            "value",
            "NaN",
            long,
        ),
        (
            "log-metric",
            r#"{"run_id":"x","key":"a","value":1,"timestamp":9223372036854775808}"#,
            "timestamp",
            "9223372036854775808",
            "Hint: out of range.",
        ),
    ] {
        let path = format!("/api/2.0/mlflow/runs/{path}");
        let (status, answer) = call(Method::POST, &path, body).await;
        let told = answer["message"].as_str().unwrap();
        let expected = format!("Invalid value {value} for parameter '{parameter}' supplied: {hint}");
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {told}");
        assert!(told.starts_with(&expected), "{body}: {told}");
    }
}

/// A store in the same process: what goes wrong with the bytes comes back as an error of its own.
struct Store;

#[async_trait::async_trait]
impl ArtifactBytes for Store {
    async fn put(
        &self,
        cx: &CallContext,
        _: &str,
        _: &str,
        _: Option<u64>,
        mut content: ByteStream,
    ) -> Result<(), Status> {
        while let Some(piece) = content.next().await {
            piece
                .map_err(|status| status_of(&into_error(&status), &cx.request_id, "artifacts.lodeway.dev"))?;
        }
        Ok(())
    }

    async fn get(&self, _: &CallContext, _: &str, _: &str) -> Result<Download, Status> {
        Err(Status::new(Code::Unimplemented, "only writes"))
    }
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_the_mistake_of_its_sender() {
    let edge = || {
        let nobody = || Transport::local(Routes::default());
        let peers = Peers {
            tracking: nobody(),
            registry: nobody(),
            artifacts: nobody(),
        };
        Gateway::new(peers, Config::default())
    };
    let piece = |bytes: &'static [u8]| Ok(bytes::Bytes::from_static(bytes));
    let upload = |end: Option<std::io::Error>| {
        let pieces = [piece(b"abc")].into_iter().chain(end.map(Err));
        Request::put("/api/2.0/mlflow-artifacts/artifacts/a/b.txt")
            .body(Body::from_stream(futures::stream::iter(pieces)))
            .unwrap()
    };
    let direct = || edge().with_artifact_bytes(Arc::new(Store)).into_router();
    for (way, edge) in [("direct", direct()), ("over gRPC", slow_artifacts())] {
        let broken = std::io::Error::other("the request body stood still for too long");
        let (status, _, text) = send_to(edge, upload(Some(broken))).await;
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (status, &body["error_code"], &body["message"]),
            (
                StatusCode::BAD_REQUEST,
                &"BAD_REQUEST".into(),
                &"the request body ended before it was complete".into()
            ),
            "{way}: {text}"
        );
    }
    assert_eq!(send_to(direct(), upload(None)).await.0, StatusCode::OK);
}

async fn upload_whole(request: Request<Body>) -> Response {
    drop(axum::body::to_bytes(request.into_body(), 1 << 20).await);
    answered(&lodeway_proto::artifacts::v1::UploadArtifactResponse::default())
}

/// An edge whose artifact service waits for the end of what is sent to it.
fn slow_artifacts() -> Router {
    let service = Router::new().route(
        "/lodeway.artifacts.v1.ArtifactService/UploadArtifact",
        post(upload_whole),
    );
    let peers = Peers {
        tracking: Transport::local(Routes::default()),
        registry: Transport::local(Routes::default()),
        artifacts: Transport::local(Routes::from(service)),
    };
    Gateway::new(peers, Config::default()).into_router()
}
