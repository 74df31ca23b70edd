//! Targets on another server that speaks REST: what it says of itself decides what it is sent.

use std::sync::{Mutex, MutexGuard};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    response::IntoResponse as _,
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use lodeway_gateway::{Config, Gateway, Peers};
use serde_json::{Value, json};
use tonic::service::Routes;
use tower::ServiceExt as _;

use super::*;

/// What a server of REST says and got.
#[derive(Default)]
struct Script {
    /// Nothing is said if it is null.
    extensions: Value,
    inputs: Value,
    is_away: bool,
    /// The JSON of the last call, and the header that says where it ends.
    asked: Value,
    header_length: Option<String>,
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<Script>>);

impl Server {
    /// Listens on a free port.
    async fn start(extensions: Value, inputs: Value) -> (Self, String) {
        // The client of such servers needs one, as the binary sets it; a second test finds it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = Self::default();
        *server.script() = Script {
            extensions,
            inputs,
            ..Script::default()
        };
        let router = Router::new()
            .route("/v2", get(Self::about))
            .route("/v2/models/m", get(Self::metadata))
            .route("/v2/models/m/ready", get(Self::ready))
            .route("/v2/models/m/infer", post(Self::infer))
            .with_state(server.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Tasks::new().spawn(async move { axum::serve(listener, router).await.unwrap() });
        (server, format!("http://{address}/m"))
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    async fn about(State(this): State<Self>) -> axum::response::Response {
        match this.script().extensions.clone() {
            Value::Null => StatusCode::NOT_FOUND.into_response(),
            extensions => {
                Json(json!({ "name": "s", "version": "1", "extensions": extensions })).into_response()
            }
        }
    }

    async fn metadata(State(this): State<Self>) -> axum::response::Response {
        match this.script().inputs.clone() {
            Value::Null => StatusCode::NOT_FOUND.into_response(),
            inputs => Json(json!({
                "name": "m", "versions": ["1"], "platform": "elsewhere", "inputs": inputs,
                "outputs": [{ "name": "y", "datatype": "FP32", "shape": [-1] }],
            }))
            .into_response(),
        }
    }

    async fn ready(State(this): State<Self>) -> StatusCode {
        match this.script().is_away {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::OK,
        }
    }

    async fn infer(State(this): State<Self>, headers: HeaderMap, body: Bytes) -> Json<Value> {
        let length = headers.get("inference-header-content-length");
        let length = length.map(|value| value.to_str().unwrap().to_owned());
        let end = length
            .as_ref()
            .map_or(body.len(), |length| length.parse().unwrap());
        let mut script = this.script();
        script.asked = serde_json::from_slice(&body[..end]).unwrap();
        script.header_length = length;
        Json(json!({
            "model_name": "m",
            "outputs": [{ "name": "y", "datatype": "FP32", "shape": [1], "data": [0.5] }],
        }))
    }

    /// Datatype and data of the inputs that it got, by name.
    fn got(&self) -> Value {
        let asked = self.script().asked.clone();
        let inputs = asked["inputs"].as_array().unwrap().iter();
        let each = inputs.map(|input| {
            let told = json!([input["datatype"], input["data"]]);
            (input["name"].as_str().unwrap().to_owned(), told)
        });
        each.collect()
    }
}

fn at(reference: &str) -> wire::RevisionSpec {
    spec([wire::Target {
        name: "v".to_owned(),
        reference: reference.to_owned(),
        weight: 1,
        ..wire::Target::default()
    }])
}

/// What the gateway's REST side answers.
async fn rest(bench: &Bench, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
    let nobody = || Transport::local(Routes::default());
    let peers = Peers {
        tracking: nobody(),
        registry: nobody(),
        artifacts: nobody(),
    };
    let gateway = Gateway::new(peers, Config::default()).with_endpoints(bench.endpoints.clone());
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json");
    let request = request.body(Body::from(body.to_string())).unwrap();
    let response = gateway.into_router().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    (parts.status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn scored(bench: &Bench, document: Value) {
    let (status, answer) = rest(bench, "POST", "/endpoints/a/invocations", document).await;
    assert_eq!(
        (status, &answer["predictions"]),
        (StatusCode::OK, &json!([0.5])),
        "{answer}"
    );
}

#[tokio::test]
async fn documents_go_out_in_the_datatypes_that_the_server_declares() {
    let bench = Bench::new().await;
    let inputs = json!([
        { "name": "x", "datatype": "FP32", "shape": [-1] },
        { "name": "n", "datatype": "INT32", "shape": ["batch"] },
    ]);
    let (server, reference) = Server::start(json!([]), inputs.clone()).await;
    bench.create("a", at(&reference)).await.unwrap();
    let (_, told) = rest(&bench, "GET", "/v2/models/a", Value::Null).await;
    assert_eq!(
        (&told["platform"], &told["inputs"][0]),
        (&json!("elsewhere"), &inputs[0])
    );
    for (document, expected) in [
        (
            json!({ "inputs": { "x": [1, 2], "n": [3, 4] } }),
            json!({ "x": ["FP32", [1.0, 2.0]], "n": ["INT32", [3, 4]] }),
        ),
        (
            json!({ "dataframe_split": { "columns": ["x", "n"], "data": [[0.1, 3]] } }),
            json!({ "x": ["FP32", [0.1]], "n": ["INT32", [3]] }),
        ),
        (
            // What a declared type does not hold goes out as it is: the server says what is wrong with it.
            json!({ "inputs": { "x": [16777217], "n": [3000000000_i64] } }),
            json!({ "x": ["INT64", [16777217]], "n": ["INT64", [3000000000_i64]] }),
        ),
    ] {
        scored(&bench, document.clone()).await;
        assert_eq!(server.got(), expected, "{document}");
    }
    // A caller of the protocol says what he means.
    bench.call(Request::new(input("a", 2.0))).await.unwrap();
    assert_eq!(server.got(), json!({ "x": ["FP64", [2.0]] }));
    // What was declared is known after a restart, when nobody is asked again.
    server.script().inputs = Value::Null;
    let bench = bench.restart("gw-0").await;
    scored(&bench, json!({ "inputs": { "x": [1], "n": [1] } })).await;
    assert_eq!(server.got(), json!({ "x": ["FP32", [1.0]], "n": ["INT32", [1]] }));
}

#[tokio::test]
async fn the_only_input_need_not_be_named() {
    let bench = Bench::new().await;
    let inputs = json!([{ "name": "x", "datatype": "FP64", "shape": [-1, 2] }]);
    let (server, reference) = Server::start(Value::Null, inputs).await;
    bench.create("a", at(&reference)).await.unwrap();
    scored(&bench, json!({ "instances": [[1, 2]] })).await;
    assert_eq!(server.got(), json!({ "x": ["FP64", [1.0, 2.0]] }));
}

#[tokio::test]
async fn binary_tensors_go_only_to_servers_that_take_them() {
    let bench = Bench::new().await;
    let document = || json!({ "inputs": { "x": [1.5] } });
    for (extensions, is_binary) in [
        (json!(["model_repository"]), false),
        (Value::Null, false),
        (json!(["binary_tensor_data"]), true),
        (json!(["binary_data"]), true),
    ] {
        let (server, reference) = Server::start(extensions.clone(), Value::Null).await;
        // The first one makes the endpoint.
        if bench.get("a").await.is_err() {
            bench.create("a", at(&reference)).await.unwrap();
        } else {
            bench.revise("a", at(&reference)).await.unwrap();
        }
        scored(&bench, document()).await;
        let script = server.script();
        assert_eq!(script.header_length.is_some(), is_binary, "{extensions}");
        let data = &script.asked["inputs"][0]["data"];
        assert_eq!(data.is_null(), is_binary, "{extensions}: {data}");
        let parameters = &script.asked["parameters"];
        assert!(parameters.get("binary_data_output").is_none(), "{parameters}");
    }
}

#[tokio::test]
async fn a_server_that_was_away_is_asked_again_what_it_takes() {
    let bench = Bench::new().await;
    let (server, reference) = Server::start(json!(["binary_tensor_data"]), Value::Null).await;
    bench.create("a", at(&reference)).await.unwrap();
    scored(&bench, json!({ "inputs": { "x": [1.5] } })).await;
    assert!(server.script().header_length.is_some());
    {
        let mut script = server.script();
        (script.is_away, script.extensions) = (true, json!([]));
    }
    until(async || (bench.state("a", "v").await == "failed").then_some(())).await;
    server.script().is_away = false;
    until(async || (bench.state("a", "v").await == "ready").then_some(())).await;
    scored(&bench, json!({ "inputs": { "x": [1.5] } })).await;
    assert_eq!(server.script().header_length, None);
}
