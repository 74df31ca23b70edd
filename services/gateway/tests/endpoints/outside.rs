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
    /// Metadata fail, are no metadata, or are never answered.
    metadata: Metadata,
    /// How often they were asked for.
    asked_metadata: usize,
    /// Calls that came.
    calls: usize,
    /// How long the answer to a call says that it is.
    answer_length: Option<usize>,
    /// Calls are too many, for seven seconds.
    is_full: bool,
    /// Calls that are refused from now on, as with inputs of another datatype.
    refusals: usize,
    /// The JSON of the last call, and the header that says where it ends.
    asked: Value,
    header_length: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Metadata {
    #[default]
    Told,
    Failing,
    Refused(u16),
    Says(&'static str),
    Silent,
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
        let (metadata, inputs) = {
            let mut script = this.script();
            script.asked_metadata += 1;
            (script.metadata, script.inputs.clone())
        };
        match metadata {
            Metadata::Told => {}
            Metadata::Failing => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Metadata::Refused(code) => return StatusCode::from_u16(code).unwrap().into_response(),
            Metadata::Says(text) => return text.into_response(),
            Metadata::Silent => std::future::pending().await,
        }
        match inputs {
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

    async fn infer(
        State(this): State<Self>,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<axum::response::Response, (StatusCode, Json<Value>)> {
        let length = headers.get("inference-header-content-length");
        let length = length.map(|value| value.to_str().unwrap().to_owned());
        let end = length
            .as_ref()
            .map_or(body.len(), |length| length.parse().unwrap());
        let mut script = this.script();
        script.asked = serde_json::from_slice(&body[..end]).unwrap();
        script.header_length = length;
        script.calls += 1;
        if let Some(length) = script.answer_length {
            // None of it comes: who waits for it waits for ever.
            let nothing = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
            return Ok(([("content-length", length.to_string())], nothing).into_response());
        }
        if script.is_full {
            return Ok((StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")], "full").into_response());
        }
        if let Some(left) = script.refusals.checked_sub(1) {
            script.refusals = left;
            let why = json!({ "error": "unexpected datatype" });
            return Err((StatusCode::BAD_REQUEST, Json(why)));
        }
        Ok(Json(json!({
            "model_name": "m",
            "outputs": [{ "name": "y", "datatype": "FP32", "shape": [1], "data": [0.5] }],
        }))
        .into_response())
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
    let (parts, body) = rest_whole(bench, method, path, body).await;
    (parts.status, body)
}

/// The same with the headers of the answer.
async fn rest_whole(bench: &Bench, method: &str, path: &str, body: Value) -> (http::response::Parts, Value) {
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
    (parts, serde_json::from_slice(&body).unwrap_or_default())
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
    server.script().metadata = Metadata::Failing;
    let bench = bench.restart("gw-0").await;
    scored(&bench, json!({ "inputs": { "x": [1], "n": [1] } })).await;
    assert_eq!(server.got(), json!({ "x": ["FP32", [1.0]], "n": ["INT32", [1]] }));
}

/// One input `x`.
fn x_of(datatype: &str) -> Value {
    json!([{ "name": "x", "datatype": datatype, "shape": [-1] }])
}

/// A gateway with an endpoint whose server takes FP32.
async fn of_floats() -> (Bench, Server) {
    let bench = Bench::new().await;
    let (server, reference) = Server::start(json!([]), x_of("FP32")).await;
    bench.create("a", at(&reference)).await.unwrap();
    scored(&bench, json!({ "inputs": { "x": [1] } })).await;
    assert_eq!(server.got(), json!({ "x": ["FP32", [1.0]] }));
    (bench, server)
}

/// Waits until a document goes out in this datatype.
async fn goes_out_as(bench: &Bench, server: &Server, datatype: &str) {
    until(async || {
        scored(bench, json!({ "inputs": { "x": [1] } })).await;
        (server.got()["x"][0] == datatype).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_refuses_a_call_is_asked_again_what_it_declares() {
    let (bench, server) = of_floats().await;
    {
        let mut script = server.script();
        (script.inputs, script.refusals) = (x_of("INT32"), 1);
    }
    let document = json!({ "inputs": { "x": [1] } });
    let (status, _) = rest(&bench, "POST", "/endpoints/a/invocations", document).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    goes_out_as(&bench, &server, "INT32").await;
}

#[tokio::test]
async fn what_a_server_declares_is_asked_again_after_a_while() {
    let (bench, server) = of_floats().await;
    server.script().inputs = x_of("INT32");
    bench.turn(Duration::from_secs(60));
    goes_out_as(&bench, &server, "INT32").await;
    // One that fails to say it is taken at its last word, one that says nothing gets documents as they are.
    server.script().metadata = Metadata::Failing;
    bench.turn(Duration::from_secs(60));
    scored(&bench, json!({ "inputs": { "x": [1] } })).await;
    assert_eq!(server.got()["x"][0], "INT32");
    {
        let mut script = server.script();
        (script.metadata, script.inputs) = (Metadata::Told, Value::Null);
    }
    bench.turn(Duration::from_secs(60));
    goes_out_as(&bench, &server, "INT64").await;
}

#[tokio::test]
async fn a_server_that_was_away_gets_no_call_before_it_has_said_what_it_declares() {
    let (bench, server) = of_floats().await;
    server.script().is_away = true;
    until(async || (bench.state("a", "v").await == "failed").then_some(())).await;
    {
        let mut script = server.script();
        (script.is_away, script.inputs) = (false, x_of("INT32"));
    }
    until(async || (bench.state("a", "v").await == "ready").then_some(())).await;
    scored(&bench, json!({ "inputs": { "x": [1] } })).await;
    assert_eq!(server.got()["x"][0], "INT32");
}

#[tokio::test]
async fn a_server_that_refuses_to_say_what_it_takes_is_taken_at_its_last_word() {
    let (bench, server) = of_floats().await;
    for metadata in [
        Metadata::Refused(401),
        Metadata::Refused(403),
        Metadata::Refused(408),
        Metadata::Refused(429),
        Metadata::Says("<html>sign in</html>"),
        Metadata::Says(r#"{"error":"no"}"#),
        Metadata::Says(r#"{"name":"m","inputs":[{"name":"x","datatype":"FOO","shape":[-1]}],"outputs":[]}"#),
        Metadata::Says(r#"{"name":"m","inputs":[{"name":5,"datatype":"INT32","shape":["a"]}],"outputs":3}"#),
        Metadata::Says(r#"{"name":"m","inputs":[{"name":"x","datatype":"INT64","shape":"x"}],"outputs":[]}"#),
        // Another question comes after the answer to the last one.
        Metadata::Failing,
    ] {
        let before = {
            let mut script = server.script();
            script.metadata = metadata;
            script.asked_metadata
        };
        // That there is nothing is believed when it is said twice.
        for asked in 1..=2 {
            bench.turn(Duration::from_secs(60));
            until(async || (server.script().asked_metadata >= before + asked).then_some(())).await;
            scored(&bench, json!({ "inputs": { "x": [1] } })).await;
            assert_eq!(server.got()["x"][0], "FP32", "{metadata:?}");
        }
    }
}

#[tokio::test]
async fn a_server_says_when_it_may_be_asked_again() {
    let (bench, server) = of_floats().await;
    server.script().is_full = true;
    let document = json!({ "inputs": { "x": [1] } });
    let (answer, _) = rest_whole(&bench, "POST", "/endpoints/a/invocations", document).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers["retry-after"], "7");
    let tensors = json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1], "data": [1] }] });
    let (answer, _) = rest_whole(&bench, "POST", "/v2/models/a/infer", tensors).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers["retry-after"], "7");
}

#[tokio::test]
async fn the_first_call_after_a_restart_goes_by_what_the_server_declares_then() {
    let (bench, server) = of_floats().await;
    server.script().inputs = x_of("INT32");
    let bench = bench.restart("gw-0").await;
    scored(&bench, json!({ "inputs": { "x": [1] } })).await;
    assert_eq!(server.got()["x"][0], "INT32");
    // One that does not say it is taken at the word that was written.
    for metadata in [Metadata::Silent, Metadata::Refused(404)] {
        server.script().metadata = metadata;
        let twin = bench.twin("gw-1").await;
        scored(&twin, json!({ "inputs": { "x": [1] } })).await;
        assert_eq!(server.got()["x"][0], "FP32");
    }
}

#[tokio::test]
async fn a_new_revision_keeps_what_is_known_of_a_server_that_does_not_say_it() {
    let (bench, server) = of_floats().await;
    let reference = bench
        .get("a")
        .await
        .unwrap()
        .revision
        .unwrap()
        .spec
        .unwrap()
        .targets[0]
        .reference
        .clone();
    let (_other, elsewhere) = Server::start(json!([]), x_of("FP64")).await;
    bench.revise("a", at(&elsewhere)).await.unwrap();
    server.script().metadata = Metadata::Refused(401);
    // By what was written with the revision that it goes back to.
    let back = wire::RollbackEndpointRequest {
        name: "a".to_owned(),
        ..wire::RollbackEndpointRequest::default()
    };
    bench.api().rollback_endpoint(back).await.unwrap();
    scored(&bench, json!({ "inputs": { "x": [1] } })).await;
    assert_eq!(server.got()["x"][0], "FP32");
    // By what the running target at the same address goes by.
    {
        let mut script = server.script();
        (script.metadata, script.inputs) = (Metadata::Told, x_of("INT32"));
    }
    bench.turn(Duration::from_secs(60));
    goes_out_as(&bench, &server, "INT32").await;
    server.script().metadata = Metadata::Refused(401);
    let mut renamed = at(&reference);
    renamed.targets[0].name = "w".to_owned();
    bench.revise("a", renamed).await.unwrap();
    scored(&bench, json!({ "inputs": { "x": [1] } })).await;
    assert_eq!(server.got()["x"][0], "INT32");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_the_fault_of_its_server_and_not_asked_for_again() {
    let (bench, server) = of_floats().await;
    let before = {
        let mut script = server.script();
        script.answer_length = Some((256 << 20) + 1);
        script.calls
    };
    let document = json!({ "inputs": { "x": [1] } });
    let (status, answer) = rest(&bench, "POST", "/endpoints/a/invocations", document).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    let why = answer["message"].as_str().unwrap();
    assert_eq!(why, "the answer of the target is larger than 268435456 bytes");
    assert_eq!(server.script().calls, before + 1);
    assert_eq!(bench.counted("a", "v", "UNAVAILABLE").await, 1);
}

#[tokio::test]
async fn a_server_of_grpc_is_asked_again_too() {
    let bench = Bench::new().await;
    let server = Upstream::start().unwrap();
    server.declare(&[("x", "FP64", &[-1])]);
    bench.create("a", spec([target("v", &server, 1)])).await.unwrap();
    let call = async || {
        let document = json!({ "inputs": { "x": [1] } });
        let (status, _) = rest(&bench, "POST", "/endpoints/a/invocations", document).await;
        let sent = server.last().unwrap().inputs[0].datatype.clone();
        (status, sent)
    };
    assert_eq!(call().await, (StatusCode::OK, "FP64".to_owned()));
    server.declare(&[("x", "FP32", &[-1])]);
    server.fail_next(1, Code::InvalidArgument);
    assert_eq!(call().await.0, StatusCode::BAD_REQUEST);
    until(async || (call().await.1 == "FP32").then_some(())).await;
}

#[tokio::test]
async fn a_server_that_is_slow_to_say_what_it_takes_gets_calls_all_the_same() {
    let bench = Bench::new().await;
    let (server, reference) = Server::start(json!([]), x_of("FP32")).await;
    server.script().metadata = Metadata::Silent;
    bench.create("a", at(&reference)).await.unwrap();
    scored(&bench, json!({ "inputs": { "x": [1] } })).await;
    assert_eq!(server.got(), json!({ "x": ["INT64", [1]] }));
    // Who asks for the metadata themselves is told that there are none now.
    let (status, told) = rest(&bench, "GET", "/v2/models/a", Value::Null).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{told}");
    let why = told["error"].as_str().unwrap();
    assert!(why.contains("does not say what its model takes"), "{why}");
    server.script().metadata = Metadata::Told;
    bench.turn(Duration::from_secs(60));
    goes_out_as(&bench, &server, "FP32").await;
    // One that is not ready gets none, however fast it says what it takes.
    server.script().is_away = true;
    let refusal = bench.create("b", at(&reference)).await.unwrap_err();
    refused(&refusal, Code::FailedPrecondition, "TARGET_NOT_READY");
}

#[tokio::test]
async fn a_table_without_rows_goes_out_as_it_is_declared() {
    let bench = Bench::new().await;
    let inputs = json!([
        { "name": "x", "datatype": "FP32", "shape": [-1] },
        { "name": "n", "datatype": "INT32", "shape": [-1, 1] },
        { "name": "t", "datatype": "BYTES", "shape": [-1, 1] },
    ]);
    let (server, reference) = Server::start(json!([]), inputs).await;
    bench.create("a", at(&reference)).await.unwrap();
    let sent = || {
        let asked = server.script().asked.clone();
        let inputs = asked["inputs"].as_array().unwrap().iter();
        let each =
            inputs.map(|input| json!([input["name"], input["datatype"], input["shape"], input["data"]]));
        each.collect::<Value>()
    };
    let table = |data: Value| json!({ "dataframe_split": { "columns": ["x", "n", "t"], "data": data } });
    scored(&bench, table(json!([]))).await;
    assert_eq!(
        sent(),
        json!([
            ["x", "FP32", [0], []],
            ["n", "INT32", [0, 1], []],
            ["t", "BYTES", [0, 1], []],
        ])
    );
    scored(&bench, table(json!([[1, 2, "a"], [0.5, 3, "b"]]))).await;
    assert_eq!(
        sent(),
        json!([
            ["x", "FP32", [2], [1.0, 0.5]],
            ["n", "INT32", [2, 1], [2, 3]],
            ["t", "BYTES", [2, 1], ["a", "b"]],
        ])
    );
    // Records that are none name no columns: all that are declared go out.
    scored(&bench, json!({ "dataframe_records": [] })).await;
    assert_eq!(
        sent(),
        json!([
            ["x", "FP32", [0], []],
            ["n", "INT32", [0, 1], []],
            ["t", "BYTES", [0, 1], []],
        ])
    );
    // What no tensor holds is refused with what is in the way.
    let mixed = table(json!([[[1], 2, "a"]]));
    let (status, refusal) = rest(&bench, "POST", "/endpoints/a/invocations", mixed).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let why = refusal["message"].as_str().unwrap();
    assert!(
        why.contains("[\"x\"] holds lists, records or mixed values"),
        "{refusal}"
    );
    assert!(why.contains("only tensors and tables"), "{refusal}");
}

#[tokio::test]
async fn a_table_without_rows_goes_to_a_server_of_grpc_as_it_is_declared() {
    let bench = Bench::new().await;
    let server = Upstream::start().unwrap();
    server.declare(&[("x", "FP32", &[-1]), ("n", "INT32", &[-1, 1])]);
    bench.create("a", spec([target("v", &server, 1)])).await.unwrap();
    let document = json!({ "dataframe_split": { "columns": ["x", "n"], "data": [] } });
    let (status, answer) = rest(&bench, "POST", "/endpoints/a/invocations", document).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let sent = server.last().unwrap().inputs.into_iter();
    let sent: Vec<_> = sent
        .map(|input| (input.name, input.datatype, input.shape))
        .collect();
    let wanted =
        |name: &str, datatype: &str, shape: &[i64]| (name.to_owned(), datatype.to_owned(), shape.to_vec());
    assert_eq!(sent, [wanted("x", "FP32", &[0]), wanted("n", "INT32", &[0, 1])]);
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
