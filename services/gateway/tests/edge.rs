//! The edge in front of services that are not there: routes, refusals and what it says about itself.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use axum::{Router, body::Body};
use http::{Method, Request, StatusCode, header};
use lodeway_gateway::{Config, Gateway, Peers, access_rules};
use lodeway_rpc::{Transport, access::Access};
use serde_json::Value;
use tonic::service::Routes;
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
    let response = edge().oneshot(request).await.unwrap();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

async fn call(method: Method, path: &str, body: &str) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json");
    let (status, kind, text) = send(request.body(Body::from(body.to_owned())).unwrap()).await;
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
