//! What became of a model that is deployed: its calls as a dataset, and evaluations of them on a schedule.

use std::time::Duration;

use lodeway_proto::{
    evaluation::v1::{Outcome, ReportOutcomesRequest, outcome_service_client::OutcomeServiceClient},
    gateway::v1::{self as gateway, CreateEndpointRequest, endpoint_service_client::EndpointServiceClient},
};
use lodeway_testkit::platform::{Platform, Shape};
use prost_types::{Value as Wire, value::Kind};
use serde_json::{Value, json};

use crate::support::{command::ask, eventually, growth, http};

const SETTINGS: &[(&str, &str)] = &[("LODEWAY_PEER_TOKEN", "between ourselves")];
const CALLS: usize = 20;
const LABELLED: usize = 12;

/// An endpoint of `champion`, which keeps every request but for these inputs.
async fn endpoint(house: &Platform, name: &str, redacted: &[&str]) {
    let target = gateway::Target {
        name: "champion".to_owned(),
        reference: "models:/growth@champion".to_owned(),
        weight: 1,
        ..gateway::Target::default()
    };
    let request = CreateEndpointRequest {
        name: name.to_owned(),
        spec: Some(gateway::RevisionSpec {
            targets: vec![target],
            request_log: Some(gateway::RequestLog {
                sample_share: 1.0,
                redacted_fields: redacted.iter().map(|&field| field.to_owned()).collect(),
                ..gateway::RequestLog::default()
            }),
            ..gateway::RevisionSpec::default()
        }),
        ..CreateEndpointRequest::default()
    };
    EndpointServiceClient::new(house.channel())
        .create_endpoint(request)
        .await
        .unwrap();
}

fn number(number: f64) -> Option<Wire> {
    Some(Wire {
        kind: Some(Kind::NumberValue(number)),
    })
}

/// Calls of somebody small (version 1 says 10) and somebody tall (20) in turn; of the first ones it becomes known that each
/// was one more.
async fn calls(house: &Platform, endpoint: &str) {
    let target = format!("/endpoints/{endpoint}/invocations");
    let mut outcomes = Vec::new();
    for call in 0..CALLS {
        let (height, said) = if call % 2 == 0 { (1.2, 10.0) } else { (1.8, 20.0) };
        let body = json!({ "inputs": [{ "age": 7.0, "height": height }] }).to_string();
        let headers = [("content-type", "application/json")];
        let answer = http::send(house.address(), "POST", &target, &headers, body.as_bytes());
        assert_eq!(answer.json(), json!({ "predictions": [said] }));
        if call < LABELLED {
            outcomes.push(Outcome {
                prediction_id: answer.header("x-lodeway-prediction-id").unwrap().to_owned(),
                label: number(said + 1.0),
                prediction: number(said),
                slices: [("who".to_owned(), format!("h{height}"))].into(),
                ..Outcome::default()
            });
        }
    }
    let request = ReportOutcomesRequest {
        outcomes,
        request_id: String::new(),
    };
    let told = OutcomeServiceClient::new(house.channel())
        .report_outcomes(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((told.accepted, told.refusals.len()), (LABELLED as i64, 0));
}

fn metric(metrics: &Value, name: &str) -> f64 {
    let all = metrics.as_array().unwrap();
    let found = all.iter().find(|metric| metric["metric"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {metrics}"))["value"]
        .as_f64()
        .unwrap()
}

/// The columns of a version, in order.
fn columns(house: &Platform, version: &str) -> Vec<String> {
    let shown = ask(house, &format!("dataset show {version}"));
    let columns = shown["columns"].as_array().unwrap();
    columns
        .iter()
        .map(|column| column["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The evaluations that a schedule made.
fn made(house: &Platform, name: &str) -> Vec<Value> {
    let all = ask(house, &format!("evaluation list --name {name}"));
    all.as_array().unwrap().clone()
}

async fn succeeded(house: &Platform, name: &str) -> Value {
    eventually("a window is evaluated", async || {
        let found = ask(house, &format!("schedule show {name}"));
        assert_eq!(found["error"], Value::Null, "{found}");
        (found["last_state"] == "Succeeded").then_some(found)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_become_a_dataset_and_are_evaluated_on_a_schedule() {
    for shape in Shape::ALL {
        let house = growth::house(shape, SETTINGS).await;
        endpoint(&house, "growth", &[]).await;
        calls(&house, "growth").await;

        let version = ask(&house, "dataset capture live --endpoint growth --last 1h");
        assert_eq!(version["row_count"], CALLS);
        assert_eq!(
            (&version["source"], &version["target"]),
            (&json!("endpoints/growth"), &json!("label"))
        );
        let traffic = &version["traffic"];
        assert_eq!(
            (&traffic["recorded_calls"], &traffic["captured_calls"]),
            (&json!(CALLS), &json!(CALLS))
        );
        assert_eq!(traffic["labelled_calls"], LABELLED);
        let own = [
            "prediction",
            "label",
            "prediction_id",
            "row",
            "time",
            "target",
            "model_version",
        ];
        assert_eq!(
            columns(&house, "live@1"),
            [&["age", "height", "who"], &own[..]].concat()
        );

        // The same calls say what another version is worth: it says 11 of the small, who were 11, and 20 of the tall.
        ask(
            &house,
            "dataset capture known --endpoint growth --last 1h --labelled",
        );
        let line = "evaluate models:/growth/2 --data dataset:known@1 --target label --task regression";
        let found = ask(&house, line);
        assert_eq!(
            (&found["state"], &found["rows"]),
            (&json!("Succeeded"), &json!(LABELLED))
        );
        assert!((found["metrics"]["mae"]["value"].as_f64().unwrap() - 0.5).abs() < 1e-12);

        // What is redacted at the endpoint is in no column.
        endpoint(&house, "private", &["age"]).await;
        calls(&house, "private").await;
        ask(&house, "dataset capture private --endpoint private");
        assert_eq!(
            columns(&house, "private@1"),
            [&["height", "who"], &own[..]].concat()
        );

        let line =
            "schedule create quality --endpoint growth --every 1h --task regression --threshold mae<=0.5";
        let schedule = ask(&house, line);
        assert_eq!(
            (&schedule["every"], &schedule["window"]),
            (&json!("1h"), &json!("1h"))
        );
        let schedule = succeeded(&house, "quality").await;
        assert!((metric(&schedule["last_metrics"], "mae") - 1.0).abs() < 1e-12);
        assert_eq!(schedule["last_verdict"], "failed");
        assert_eq!(made(&house, "quality").len(), 1);
        assert_eq!(ask(&house, "schedule list")[0]["name"], "quality");

        // Beside the other version, which is asked about the same calls and is half as wrong.
        let line = "schedule create beside --endpoint growth --every 1h --task regression --threshold mae<=baseline \
                    --baseline models:/growth/2 --keep 3";
        let schedule = ask(&house, line);
        assert_eq!(
            (&schedule["baseline"], &schedule["keep"]),
            (&json!("models:/growth/2"), &json!(3))
        );
        let schedule = succeeded(&house, "beside").await;
        assert!((metric(&schedule["last_metrics"], "mae") - 1.0).abs() < 1e-12);
        let clause = &schedule["last_clauses"][0];
        assert_eq!(clause["passed"], false, "{schedule}");
        let message = clause["message"].as_str().unwrap();
        assert!(message.contains("the baseline has 0.5"), "{message}");
        ask(&house, "schedule delete beside");

        ask(&house, "schedule delete quality");
        assert_eq!(ask(&house, "schedule list"), json!([]));
        assert_eq!(made(&house, "quality").len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_evaluated_once_although_the_platform_is_killed() {
    let mut house = growth::house(Shape::Embedded, SETTINGS).await;
    endpoint(&house, "growth", &[]).await;
    calls(&house, "growth").await;
    // Records go to their files before anything dies.
    ask(&house, "dataset capture live --endpoint growth --last 1h");
    for round in 0..4_u32 {
        let name = format!("quality{round}");
        ask(
            &house,
            &format!("schedule create {name} --endpoint growth --every 1h --task regression"),
        );
        // Somewhere between the lease and the end of the evaluation, each time somewhere else.
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 150)).await;
        house.kill().unwrap();
        house.restart().unwrap();
        let schedule = succeeded(&house, &name).await;
        assert!((metric(&schedule["last_metrics"], "mae") - 1.0).abs() < 1e-12);
        assert_eq!(schedule["skipped_windows"], 0);
        let all = made(&house, &name);
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0]["evaluation_id"], schedule["last_evaluation_id"]);
        let dataset = ask(&house, &format!("dataset show schedules/{name}"));
        assert_eq!(dataset["latest_version"], 1);
    }
}
