//! Targets on the model host, over a scripted one: what is ready where, and who gets calls.

use axum::body::Body;
use http::StatusCode;
use lodeway_gateway::{Config, Gateway, Peers};
use lodeway_proto::{inference as oip, serving::v1::DeploymentState};
use serde_json::{Value, json};
use tonic::service::Routes;
use tower::ServiceExt as _;

use super::{
    host::{DAMAGED, Host},
    *,
};

impl Bench {
    pub async fn hosted(host: &Host, config: EndpointConfig) -> Self {
        let peers = EndpointPeers {
            serving: Some(host.transport()),
            registry: None,
            artifacts: None,
        };
        Self::with(peers, config).await
    }

    /// What a REST call answers, as JSON where it is JSON.
    async fn rest(&self, method: &str, path: &str) -> (StatusCode, Value, http::HeaderMap) {
        let nobody = || Transport::local(Routes::default());
        let peers = Peers {
            tracking: nobody(),
            registry: nobody(),
            artifacts: nobody(),
        };
        let gateway = Gateway::new(peers, Config::default()).with_endpoints(self.endpoints.clone());
        let request = http::Request::builder().method(method).uri(path);
        let request = request.body(Body::empty()).unwrap();
        let response = gateway.into_router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let text = || Value::from(String::from_utf8_lossy(&body).into_owned());
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| text());
        (parts.status, body, parts.headers)
    }

    async fn model_ready(&self, name: &str, version: &str) -> bool {
        let request = oip::ModelReadyRequest {
            name: name.to_owned(),
            version: version.to_owned(),
        };
        self.scoring
            .clone()
            .model_ready(request)
            .await
            .unwrap()
            .into_inner()
            .ready
    }

    /// Version, state and reason of each line of the repository's index.
    async fn index(&self) -> Vec<(String, String, String)> {
        let request = oip::RepositoryIndexRequest::default();
        let found = self.scoring.clone().repository_index(request).await.unwrap();
        let models = found.into_inner().models.into_iter();
        models
            .map(|model| (model.version, model.state, model.reason))
            .collect()
    }
}

/// A target on the model host.
pub fn hosted(name: &str, reference: &str, weight: u32) -> wire::Target {
    wire::Target {
        name: name.to_owned(),
        reference: reference.to_owned(),
        weight,
        ..wire::Target::default()
    }
}

fn line(version: &str, state: &str, reason: &str) -> (String, String, String) {
    (version.to_owned(), state.to_owned(), reason.to_owned())
}

/// Two versions, half of the calls each.
async fn halves(host: &Host) -> Bench {
    let bench = Bench::hosted(host, config("gw-0")).await;
    let targets = [hosted("one", "models:/m/1", 1), hosted("two", "models:/m/2", 1)];
    bench.create("a", spec(targets)).await.unwrap();
    bench
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_is_ready_nowhere_and_gets_no_calls() {
    let host = Host::default();
    let bench = halves(&host).await;
    assert_eq!(
        bench.index().await,
        [line("1", "READY", ""), line("2", "READY", "")]
    );
    host.damage("d-m-1");
    // No call fails, the one that finds it out included.
    let counts = bench.scores("a", 100).await;
    assert_eq!(bench.state("a", "one").await, "failed");
    assert!(counts[&2] >= 99, "{counts:?}");
    let calls = host.calls("d-m-1");
    assert_eq!(bench.scores("a", 100).await, [(2, 100)].into());
    assert_eq!(host.calls("d-m-1"), calls);
    assert_eq!(
        bench.index().await,
        [line("1", "UNAVAILABLE", DAMAGED), line("2", "READY", "")]
    );
    assert!(bench.model_ready("a", "").await && bench.model_ready("a", "2").await);
    assert!(!bench.model_ready("a", "1").await && !bench.model_ready("a", "one").await);
    let (status, body, _) = bench.rest("GET", "/v2/models/a/versions/1/ready").await;
    assert_eq!(
        (status, body),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            json!({ "name": "a", "ready": false })
        )
    );
    // It is tried again in the background.
    host.script().held.get_mut("d-m-1").unwrap().broken = None;
    until(async || bench.model_ready("a", "1").await.then_some(())).await;
    assert_eq!(bench.state("a", "one").await, "ready");
    assert!(bench.scores("a", 100).await[&1] > 10);
}

#[tokio::test]
async fn a_model_that_another_caller_found_broken_is_not_ready_either() {
    let host = Host::default();
    let bench = halves(&host).await;
    host.damage("d-m-1");
    host.load("d-m-1").unwrap_err();
    until(async || (bench.state("a", "one").await == "failed").then_some(())).await;
    assert_eq!(host.calls("d-m-1"), 0);
    // Who names it is told why.
    let named = bench
        .call(Request::new(ModelInferRequest {
            model_version: "1".to_owned(),
            ..input("a", 0.0)
        }))
        .await
        .unwrap_err();
    refused(&named, Code::Unavailable, "BACKEND_UNAVAILABLE");
    assert!(named.message().contains(DAMAGED), "{named:?}");
    // Without another target its host is asked all the same.
    host.damage("d-m-2");
    let error = bench.score("a", 0.0).await.unwrap_err();
    refused(&error, Code::FailedPrecondition, "MODEL_NOT_READY");
    assert!(error.message().contains(DAMAGED), "{error:?}");
    assert!(!bench.model_ready("a", "").await);
    assert_eq!(bench.rest("GET", "/ping").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_model_that_was_unloaded_is_not_ready_until_it_is_loaded_or_called() {
    let host = Host::default();
    let bench = Bench::hosted(&host, config("gw-0")).await;
    bench
        .create("a", spec([hosted("one", "models:/m/1", 1)]))
        .await
        .unwrap();
    let unload = async || {
        let (status, body, _) = bench.rest("POST", "/v2/repository/models/a/unload").await;
        assert_eq!(status, StatusCode::OK, "{body}");
        // However often the host is asked meanwhile.
        for _ in 0..10 {
            assert!(!bench.model_ready("a", "").await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(bench.index().await, [line("1", "UNAVAILABLE", "unloaded")]);
        assert_eq!(bench.state("a", "one").await, "unloaded");
    };
    unload().await;
    let (status, body, _) = bench.rest("POST", "/v2/repository/models/a/load").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(bench.model_ready("a", "").await);
    unload().await;
    assert_eq!(bench.score("a", 0.0).await.unwrap(), 1.0);
    assert!(bench.model_ready("a", "").await);
    // What made room for others is loaded by its next call and stays ready.
    host.script().held.get_mut("d-m-1").unwrap().state = DeploymentState::Unloaded;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(bench.model_ready("a", "").await);
}

#[tokio::test]
async fn a_version_that_there_is_not_is_not_found() {
    let host = Host::default();
    let bench = Bench::hosted(&host, config("gw-0")).await;
    bench
        .create("a", spec([hosted("one", "models:/m/1", 1)]))
        .await
        .unwrap();
    for path in [
        "/v2/models/a/versions/99",
        "/v2/models/a/versions/99/ready",
        "/v2/models/b",
    ] {
        let (status, body, _) = bench.rest("GET", path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {body}");
        assert!(body["error"].is_string(), "{path}: {body}");
    }
    let request = oip::ModelMetadataRequest {
        name: "a".to_owned(),
        version: "99".to_owned(),
    };
    let error = bench.scoring.clone().model_metadata(request).await.unwrap_err();
    refused(&error, Code::NotFound, "RESOURCE_NOT_FOUND");
    assert!(!bench.model_ready("a", "99").await && !bench.model_ready("b", "").await);
    // A version is known, though its model cannot be loaded.
    host.damage("d-m-1");
    let (status, body, _) = bench.rest("GET", "/v2/models/a/versions/1").await;
    assert_ne!(status, StatusCode::NOT_FOUND, "{body}");
}

#[tokio::test]
async fn paths_of_the_protocol_that_there_are_not_answer_in_json() {
    let bench = Bench::new().await;
    for path in ["/v2/nothing", "/v2/models", "/v2/models/a/b/c"] {
        let (status, body, _) = bench.rest("GET", path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(body, json!({ "error": format!("there is nothing at `{path}`") }));
    }
    let (status, body, _) = bench.rest("GET", "/nothing").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body.as_str().unwrap().starts_with("<!doctype html>"), "{body}");
}

#[tokio::test]
async fn a_gateway_that_was_there_before_its_host_needs_no_registry() {
    let host = Host::default();
    let bench = halves(&host).await;
    // Both begin anew, the gateway first, and the registry is away.
    host.script().is_away = true;
    host.script().is_alone = true;
    let bench = bench.restart("gw-0").await;
    assert_eq!(bench.state("a", "one").await, "loading");
    bench.score("a", 0.0).await.unwrap_err();
    // A version that is pinned is known before its target is ready.
    assert!(!bench.model_ready("a", "1").await);
    assert_eq!(
        bench.rest("GET", "/v2/models/a/versions/1").await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    for held in host.script().held.values_mut() {
        held.state = DeploymentState::Unloaded;
    }
    let created = host.script().created;
    host.script().is_away = false;
    until(async || (bench.state("a", "two").await == "ready").then_some(())).await;
    until(async || bench.model_ready("a", "1").await.then_some(())).await;
    assert!(bench.scores("a", 100).await[&1] > 10);
    assert_eq!(host.script().created, created);
}

#[tokio::test]
async fn a_deployment_that_its_host_forgot_is_made_again() {
    let host = Host::default();
    let bench = halves(&host).await;
    host.script().held.remove("d-m-1");
    until(async || host.script().held.contains_key("d-m-1").then_some(())).await;
    until(async || (bench.state("a", "one").await == "ready").then_some(())).await;
}

#[tokio::test]
async fn a_server_of_one_model_is_healthy_when_that_model_is() {
    let host = Host::default();
    let alone = EndpointConfig {
        one_model: true,
        ..config("gw-0")
    };
    let bench = Bench::hosted(&host, alone).await;
    let ready = async || {
        let request = oip::ServerReadyRequest::default();
        bench
            .scoring
            .clone()
            .server_ready(request)
            .await
            .unwrap()
            .into_inner()
            .ready
    };
    for (method, path, code) in [
        ("GET", "/health", 404),
        ("GET", "/ping", 404),
        ("GET", "/v2/health/ready", 503),
        ("POST", "/invocations", 503),
        ("GET", "/v2/models/model/ready", 503),
        ("POST", "/v2/models/model/infer", 503),
        ("GET", "/v2/health/live", 200),
        ("GET", "/version", 200),
    ] {
        let (status, body, headers) = bench.rest(method, path).await;
        assert_eq!(status, code, "{path}: {body}");
        assert_eq!(headers.contains_key("retry-after"), code == 503, "{path}");
        assert!(
            code == 200 || body.to_string().contains("is still being loaded"),
            "{path}: {body}"
        );
    }
    assert!(!ready().await);
    bench
        .create("model", spec([hosted("model", "models:/m/1", 1)]))
        .await
        .unwrap();
    let healthy = async || {
        let mut found = Vec::new();
        for path in ["/health", "/ping", "/v2/health/ready", "/v2/models/model/ready"] {
            found.push(bench.rest("GET", path).await.0.as_u16());
        }
        found
    };
    assert_eq!((healthy().await, ready().await), (vec![200; 4], true));
    host.damage("d-m-1");
    bench.score("model", 0.0).await.unwrap_err();
    assert_eq!(
        (healthy().await, ready().await),
        (vec![404, 404, 503, 503], false)
    );
    let (_, body, _) = bench.rest("GET", "/health").await;
    assert!(body.to_string().contains("the bytes of"), "{body}");
}
