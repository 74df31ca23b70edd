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
