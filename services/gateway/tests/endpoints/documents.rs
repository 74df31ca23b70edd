//! Scoring documents over REST that the gateway reads itself.

use axum::body::Body;
use http::{StatusCode, header};
use lodeway_gateway::{Config, Gateway, Peers};
use serde_json::{Value, json};
use tonic::service::Routes;
use tower::ServiceExt as _;

use super::*;

const PARQUET: &str = "application/vnd.apache.parquet";
/// `pandas.DataFrame({"x": [1.5, 2.5]}).to_parquet(…)`.
const TABLE: &[u8] = include_bytes!("data/pandas.parquet");

impl Bench {
    /// Posts a document to an endpoint.
    async fn post(&self, endpoint: &str, body: Vec<u8>) -> (StatusCode, Value) {
        let nobody = || Transport::local(Routes::default());
        let peers = Peers {
            tracking: nobody(),
            registry: nobody(),
            artifacts: nobody(),
        };
        let gateway = Gateway::new(peers, Config::default()).with_endpoints(self.endpoints.clone());
        let request = http::Request::post(format!("/endpoints/{endpoint}/invocations"))
            .header(header::CONTENT_TYPE, PARQUET)
            .body(Body::from(body));
        let response = gateway.into_router().oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }
}

#[tokio::test]
async fn a_table_of_pandas_in_parquet_is_scored() {
    let bench = Bench::new().await;
    let one = Upstream::start().unwrap();
    one.score(|value| value * 2.0);
    bench.create("a", spec([target("one", &one, 1)])).await.unwrap();
    let (status, answer) = bench.post("a", TABLE.to_vec()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer, json!({ "predictions": [3.0, 5.0] }));
    let sent = one.last().unwrap();
    assert_eq!(
        (
            &*sent.inputs[0].name,
            &*sent.inputs[0].datatype,
            &*sent.inputs[0].shape
        ),
        ("x", "FP64", &[2][..])
    );
}

#[tokio::test]
async fn a_broken_file_is_refused_and_reaches_no_target() {
    let bench = Bench::new().await;
    let one = Upstream::start().unwrap();
    bench.create("a", spec([target("one", &one, 1)])).await.unwrap();
    let calls = one.calls();
    let mut flipped = TABLE.to_vec();
    let middle = flipped.len() / 2;
    flipped[middle..middle + 16].fill(0xff);
    for (what, body) in [
        ("empty", Vec::new()),
        ("no Parquet", b"x\n1.5\n".to_vec()),
        ("cut off", TABLE[..TABLE.len() / 2].to_vec()),
        ("without its head", TABLE[TABLE.len() - 40..].to_vec()),
        ("damaged", flipped),
    ] {
        let (status, answer) = bench.post("a", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{what}: {answer}");
        assert!(
            answer["message"]
                .as_str()
                .is_some_and(|text| text.contains("table") || text.contains("columns[")),
            "{what}: {answer}"
        );
    }
    assert_eq!(one.calls(), calls);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413_wherever_models_are_scored() {
    let bench = Bench::new().await;
    let one = Upstream::start().unwrap();
    bench.create("a", spec([target("one", &one, 1)])).await.unwrap();
    let nobody = || Transport::local(Routes::default());
    let peers = Peers {
        tracking: nobody(),
        registry: nobody(),
        artifacts: nobody(),
    };
    let router = Gateway::new(peers, Config::default())
        .with_endpoints(bench.endpoints.clone())
        .into_router();
    let send = async |request: http::Request<Body>| {
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let message = "the request is larger than 256 MiB; send fewer rows at a time";
    let of_mlflow = json!({ "error_code": "INVALID_PARAMETER_VALUE", "message": message });
    for (path, said) in [
        ("/endpoints/a/invocations", &of_mlflow),
        ("/invocations", &of_mlflow),
        ("/v2/models/a/infer", &json!({ "error": message })),
        ("/v2/models/a/versions/one/infer", &json!({ "error": message })),
    ] {
        // It says so beforehand, and nothing of it is read.
        let request = http::Request::post(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_LENGTH, 300_u64 << 20)
            .body(Body::empty());
        let (status, body) = send(request.unwrap()).await;
        assert_eq!((status, &body), (StatusCode::PAYLOAD_TOO_LARGE, said), "{path}");
    }
    // It does not end.
    let chunk = bytes::Bytes::from(vec![b' '; 4 << 20]);
    let endless = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
    let request = http::Request::post("/v2/models/a/infer").body(Body::from_stream(endless));
    let (status, body) = send(request.unwrap()).await;
    assert_eq!(
        (status, body),
        (StatusCode::PAYLOAD_TOO_LARGE, json!({ "error": message }))
    );
    assert_eq!(one.calls(), 0);
}
