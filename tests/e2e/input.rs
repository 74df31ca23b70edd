//! Bad and big input: a clear error that names the field, and the server goes on.

use std::io::Write as _;

use lodeway_proto::tracking::v1::{GetRunRequest, LogBatchRequest, Param, SearchRunsRequest};
use lodeway_testkit::platform::Platform;
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{batch, http, new_run, on_both, point, reason};

async fn is_alive(house: &Platform) {
    new_run(house).await;
    assert_eq!(http::get(house.address(), "/health").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_megabytes_of_json_are_refused() {
    on_both(async |house| {
        let run_id = new_run(&house).await;
        let body = format!(r#"{{"run_id": "{run_id}", "key": "k", "value": "{}"}}"#, "x".repeat(50 << 20));
        let headers = [("content-type", "application/json")];
        let target = "/api/2.0/mlflow/runs/set-tag";
        let answer = http::try_send(house.address(), "POST", target, &headers, body.as_bytes());
        let answer = answer.expect("the refusal arrives");
        assert!([400, 413].contains(&answer.status), "{} {}", answer.status, answer.text());
        let error: Value = serde_json::from_slice(&answer.body).unwrap();
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("larger") || message.contains("bytes") || message.contains("MiB"), "{message}");
        is_alive(&house).await;
        // Without saying its length in advance.
        let mut stream = std::net::TcpStream::connect(house.address()).unwrap();
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
        let sent = (0..50).take_while(|_| stream.write_all(chunk.as_bytes()).is_ok()).count();
        assert!(sent >= 16, "cut off after {sent} MiB");
        if let Ok(answer) = http::finish(stream) {
            assert!([400, 413].contains(&answer.status), "{} {}", answer.status, answer.text());
        }
        is_alive(&house).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn big_messages_are_refused_over_grpc() {
    on_both(async |house| {
        let run_id = new_run(&house).await;
        let request = LogBatchRequest {
            run_id,
            params: vec![Param {
                key: "k".to_owned(),
                value: "x".repeat(50 << 20),
            }],
            ..LogBatchRequest::default()
        };
        let refused = house.tracking().log_batch(request).await.unwrap_err();
        let codes = [Code::OutOfRange, Code::ResourceExhausted, Code::InvalidArgument];
        assert!(codes.contains(&refused.code()), "{refused:?}");
        is_alive(&house).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_may_have_ten_thousand_keys() {
    on_both(async |house| {
        let run_id = new_run(&house).await;
        for part in 0..10 {
            let metrics = (0..1_000).map(|n| point(&format!("key{:05}", part * 1_000 + n), 1, f64::from(n)));
            house
                .tracking()
                .log_batch(batch(&run_id, metrics.collect()))
                .await
                .unwrap();
        }
        let request = GetRunRequest {
            run_id: run_id.clone(),
            columns: Vec::new(),
        };
        let run = house
            .tracking()
            .get_run(request)
            .await
            .unwrap()
            .into_inner()
            .run
            .unwrap();
        assert_eq!(run.metrics.len(), 10_000);
        let found = http::get(
            house.address(),
            &format!("/api/2.0/mlflow/runs/get?run_id={run_id}"),
        )
        .json();
        assert_eq!(found["run"]["data"]["metrics"].as_array().unwrap().len(), 10_000);
        let request = SearchRunsRequest {
            experiment_ids: vec!["0".to_owned()],
            filter: "metrics.key09999 = 999".to_owned(),
            order_by: vec!["metrics.key00000 ASC".to_owned()],
            columns: vec!["metrics.key05000".to_owned()],
            ..SearchRunsRequest::default()
        };
        let runs = house
            .tracking()
            .search_runs(request)
            .await
            .unwrap()
            .into_inner()
            .runs;
        assert_eq!((runs.len(), runs[0].metrics.len()), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_json_names_what_is_missing_or_wrong() {
    on_both(async |house| {
        let to = house.address();
        let json = ("content-type", "application/json");
        let cases: [(&str, &[u8], &str); 8] = [
            ("runs/log-metric", b"{\"run_id\": ", "not JSON"),
            ("runs/log-metric", b"not json", "not JSON"),
            (
                "runs/create",
                b"{\"experiment_id\": \"1\", \"run_name\": \"trunc",
                "not JSON",
            ),
            ("runs/log-metric", b"[1, 2]", ""),
            ("runs/log-metric", b"\xff\xfe\x00", "not JSON"),
            ("experiments/create", b"{\"name\": 7}", "name"),
            ("experiments/create", b"{\"name\": \"\"}", "name"),
            (
                "runs/log-batch",
                b"{\"run_id\": \"a\", \"metrics\": {\"key\": 1}}",
                "metrics",
            ),
        ];
        for (path, body, field) in cases {
            let answer = http::send(to, "POST", &format!("/api/2.0/mlflow/{path}"), &[json], body);
            let told = (answer.status, answer.error_code());
            assert_eq!(
                told,
                (400, "INVALID_PARAMETER_VALUE".to_owned()),
                "{path}: {}",
                answer.text()
            );
            assert!(answer.text().contains(field), "{path}: {}", answer.text());
        }
        let deep = format!("{{\"name\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let answer = http::send(
            to,
            "POST",
            "/api/2.0/mlflow/experiments/create",
            &[json],
            deep.as_bytes(),
        );
        assert_eq!(answer.status, 400, "{}", answer.text());
        let plain = http::send(
            to,
            "POST",
            "/api/2.0/mlflow/experiments/create",
            &[],
            b"{\"name\": \"x\"}",
        );
        assert_eq!(plain.status, 400, "{}", plain.text());
        is_alive(&house).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_protobuf_is_an_error_of_its_call() {
    on_both(async |house| {
        let path = "/lodeway.tracking.v1.TrackingService/GetRun";
        let headers = [
            ("content-type", "application/grpc-web+proto"),
            ("x-grpc-web", "1"),
        ];
        let frames: [&[u8]; 5] = [
            // A field that is cut off; a wrong wire type; no UTF-8; half a frame; a frame of 4 GiB.
            &[0, 0, 0, 0, 2, 0x0a, 0x7f],
            &[0, 0, 0, 0, 2, 0x0f, 0x01],
            &[0, 0, 0, 0, 4, 0x0a, 2, 0xff, 0xfe],
            &[0, 0, 0, 0, 9, 0x0a],
            &[0, 0xff, 0xff, 0xff, 0xff, 0x0a],
        ];
        for frame in frames {
            let answer = http::send(house.address(), "POST", path, &headers, frame);
            let text = answer.text();
            let ok = answer.header("grpc-status") == Some("0") || text.contains("grpc-status:0");
            assert_eq!(answer.status, 200, "{frame:?}: {text}");
            assert!(!ok, "{frame:?} was accepted: {text}");
            assert!(
                answer.header("grpc-status").is_some() || text.contains("grpc-status:"),
                "{frame:?}: {text}"
            );
            is_alive(&house).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_field_is_named_at_once() {
    on_both(async |house| {
        let run_id = new_run(&house).await;
        let mut request = batch(&run_id, vec![point("good", 0, 1.0), point("../bad", 0, 1.0)]);
        request.params.push(Param {
            key: String::new(),
            value: "v".to_owned(),
        });
        let refused = house.tracking().log_batch(request).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::InvalidArgument, "INVALID_FIELD")
        );
        let failure = lodeway_rpc::status::from_status(&refused);
        let fields: Vec<_> = failure.violations.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["metrics[1].key", "params[0].key"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_say_where_they_are_wrong() {
    on_both(async |house| {
        let search = |filter: &str, order: &str, token: &str| SearchRunsRequest {
            experiment_ids: vec!["0".to_owned()],
            filter: filter.to_owned(),
            order_by: vec![order.to_owned()]
                .into_iter()
                .filter(|o| !o.is_empty())
                .collect(),
            page_token: token.to_owned(),
            ..SearchRunsRequest::default()
        };
        let cases = [
            (search("metrics.loss < ", "", ""), "INVALID_FILTER"),
            (search("nothing = 1", "", ""), "INVALID_FILTER"),
            (search("", "metrics.loss SIDEWAYS", ""), "INVALID_ORDER"),
            (search("", "", "not-a-token"), "INVALID_PAGE_TOKEN"),
        ];
        for (request, expected) in cases {
            let refused = house.tracking().search_runs(request).await.unwrap_err();
            assert_eq!(
                (refused.code(), reason(&refused).as_str()),
                (Code::InvalidArgument, expected)
            );
        }
        let refused = house
            .tracking()
            .search_runs(search("params.a = 'x' AND ! ", "", ""))
            .await
            .unwrap_err();
        assert!(refused.message().contains("position"), "{}", refused.message());
        let body = json!({"experiment_ids": ["0"], "filter": "metrics.loss <"});
        let answer = http::post(house.address(), "runs/search", &body);
        assert_eq!(answer.error_code(), "INVALID_PARAMETER_VALUE");
    })
    .await;
}
