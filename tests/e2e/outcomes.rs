//! Outcomes of a real model behind an endpoint: reported by the ids of its answers, measured live, and what a rollout makes
//! of them.

use std::io::Write as _;

use lodeway_proto::{
    evaluation::v1::{Outcome, ReportOutcomesRequest, outcome_service_client::OutcomeServiceClient},
    gateway::v1::{
        CreateEndpointRequest, RequestLog, RevisionSpec, Target,
        endpoint_service_client::EndpointServiceClient,
    },
    inference::{
        InferTensorContents, ModelInferRequest, grpc_inference_service_client::GrpcInferenceServiceClient,
        infer_parameter::ParameterChoice, model_infer_request::InferInputTensor,
    },
};
use lodeway_testkit::platform::{Platform, Shape};
use prost_types::{ListValue, Value as Wire, value::Kind};
use serde_json::{Value, json};

use crate::support::{
    command::{ask, refusal},
    eventually, growth, http, request_id,
};

const SETTINGS: &[(&str, &str)] = &[
    ("LODEWAY_EVALUATION__LIVE_DELAY", "50ms"),
    ("LODEWAY_PEER_TOKEN", "between ourselves"),
];

/// Somebody: age and height, and what is true of them.
type Person = (f64, f64, f64);

/// What version 1 says of the small and of the tall.
fn says(height: f64) -> f64 {
    if height <= 1.5 { 10.0 } else { 20.0 }
}

fn number(value: f64) -> Wire {
    Wire {
        kind: Some(Kind::NumberValue(value)),
    }
}

/// An endpoint of version 1 that keeps the age as a slice.
async fn endpoint(house: &Platform) {
    let target = Target {
        name: "only".to_owned(),
        reference: "models:/growth/1".to_owned(),
        weight: 1,
        ..Target::default()
    };
    let request = CreateEndpointRequest {
        name: "growth".to_owned(),
        spec: Some(RevisionSpec {
            targets: vec![target],
            request_log: Some(RequestLog {
                slice_fields: vec!["age".to_owned()],
                ..RequestLog::default()
            }),
            ..RevisionSpec::default()
        }),
        ..CreateEndpointRequest::default()
    };
    EndpointServiceClient::new(house.channel())
        .create_endpoint(request)
        .await
        .unwrap();
}

fn post(house: &Platform, target: &str, body: &Value) -> http::Answer {
    let headers = [("content-type", "application/json")];
    http::send(
        house.address(),
        "POST",
        target,
        &headers,
        body.to_string().as_bytes(),
    )
}

/// Asks by MLflow's protocol; the prediction's id.
fn invoked(house: &Platform, (age, height, _): Person) -> String {
    let body = json!({ "dataframe_records": [{ "age": age, "height": height }] });
    let answer = post(house, "/endpoints/growth/invocations", &body);
    answer.json();
    answer.header("x-lodeway-prediction-id").unwrap().to_owned()
}

/// Asks for several rows by the Open Inference Protocol over REST.
fn inferred(house: &Platform, people: &[Person]) -> String {
    let input = |name: &str, of: fn(&Person) -> f64| {
        let data: Vec<_> = people.iter().map(of).collect();
        json!({ "name": name, "shape": [people.len(), 1], "datatype": "FP64", "data": data })
    };
    let body = json!({ "inputs": [input("age", |p| p.0), input("height", |p| p.1)] });
    let answer = post(house, "/v2/models/growth/infer", &body).json();
    let said: Vec<_> = people.iter().map(|p| json!(says(p.1))).collect();
    assert_eq!(answer["outputs"][0]["data"], Value::Array(said));
    answer["parameters"]["prediction_id"].as_str().unwrap().to_owned()
}

/// The same over gRPC.
async fn asked(house: &Platform, people: &[Person]) -> String {
    let input = |name: &str, of: fn(&Person) -> f64| InferInputTensor {
        name: name.to_owned(),
        datatype: "FP64".to_owned(),
        shape: vec![people.len() as i64, 1],
        contents: Some(InferTensorContents {
            fp64_contents: people.iter().map(of).collect(),
            ..InferTensorContents::default()
        }),
        ..InferInputTensor::default()
    };
    let request = ModelInferRequest {
        model_name: "growth".to_owned(),
        inputs: vec![input("age", |p| p.0), input("height", |p| p.1)],
        ..ModelInferRequest::default()
    };
    let mut api = GrpcInferenceServiceClient::new(house.channel());
    let answer = api.model_infer(request).await.unwrap().into_inner();
    match &answer.parameters["prediction_id"].parameter_choice {
        Some(ParameterChoice::StringParam(id)) => id.clone(),
        other => panic!("{other:?}"),
    }
}

async fn report(house: &Platform, outcomes: Vec<(String, Vec<f64>)>) -> (i64, i64) {
    let one = |(prediction_id, labels): (String, Vec<f64>)| {
        let values = labels.into_iter().map(number).collect();
        let list = Kind::ListValue(ListValue { values });
        Outcome {
            prediction_id,
            label: Some(Wire { kind: Some(list) }),
            ..Outcome::default()
        }
    };
    let request = ReportOutcomesRequest {
        outcomes: outcomes.into_iter().map(one).collect(),
        request_id: request_id(),
    };
    let mut api = OutcomeServiceClient::new(house.channel());
    let told = api.report_outcomes(request).await.unwrap().into_inner();
    assert!(told.refusals.is_empty(), "{told:?}");
    (told.accepted, told.pending)
}

/// Live metrics once nothing waits for its record any more and so many calls have an outcome.
async fn live(house: &Platform, flags: &str, labelled: i64) -> Vec<Value> {
    eventually("every outcome is joined", async || {
        let found = ask(house, &format!("outcome metrics growth {flags}"));
        let all = found.as_array().unwrap().clone();
        let whole = all.first()?;
        (whole["labelled"] == labelled && whole["pending"] == 0).then_some(all)
    })
    .await
}

fn metric(live: &Value, name: &str) -> f64 {
    let all = live["metrics"].as_array().unwrap();
    let found = all.iter().find(|metric| metric["metric"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {live}"))["value"]
        .as_f64()
        .unwrap()
}

/// The share of people of whom the model says what is true.
fn accuracy<'a>(people: impl IntoIterator<Item = &'a Person>) -> f64 {
    let hits: Vec<_> = people
        .into_iter()
        .map(|p| f64::from(u8::from(says(p.1) == p.2)))
        .collect();
    hits.iter().sum::<f64>() / hits.len() as f64
}

#[track_caller]
fn close(one: f64, other: f64) {
    assert!((one - other).abs() < 1e-12, "{one} is not {other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_are_joined_with_what_was_predicted() {
    for shape in Shape::ALL {
        joined(&growth::house(shape, SETTINGS).await).await;
    }
}

async fn joined(house: &Platform) {
    endpoint(house).await;
    let single: Vec<Person> = (0..24)
        .map(|n| {
            let height = if n % 2 == 0 { 1.2 } else { 1.8 };
            let truth = if n % 5 == 0 {
                30.0 - says(height)
            } else {
                says(height)
            };
            (if n % 3 == 0 { 7.0 } else { 40.0 }, height, truth)
        })
        .collect();
    let ids: Vec<_> = single.iter().map(|person| invoked(house, *person)).collect();
    let rows: [Person; 3] = [(7.0, 1.2, 20.0), (7.0, 1.9, 20.0), (40.0, 1.0, 10.0)];
    let several = [inferred(house, &rows), asked(house, &rows).await];
    let calls = (ids.len() + several.len()) as i64;

    // Eight by gRPC, with those of several rows; eight by a file; eight are never told.
    let mut given: Vec<_> = ids[..8]
        .iter()
        .zip(&single)
        .map(|(id, person)| (id.clone(), vec![person.2]))
        .collect();
    given.extend(several.iter().map(|id| (id.clone(), rows.map(|p| p.2).to_vec())));
    assert_eq!(report(house, given.clone()).await.0, 10);
    let mut file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
    writeln!(file, "prediction_id,label").unwrap();
    for (id, person) in ids[8..16].iter().zip(&single[8..]) {
        writeln!(file, "{id},{}", person.2).unwrap();
    }
    file.flush().unwrap();
    let line = format!("outcome report {}", file.path().display());
    let told = ask(house, &line);
    assert_eq!((&told["accepted"], &told["refused"]), (&json!(8), &json!(0)));

    let told: Vec<Person> = [&single[..16], &rows, &rows].concat();
    let found = live(house, "", 18).await;
    let whole = &found[0];
    assert_eq!(
        (&whole["target"], &whole["model_version"]),
        (&json!("only"), &json!("1"))
    );
    close(metric(whole, "accuracy"), accuracy(&told));
    assert_eq!(whole["predictions"], calls);
    close(whole["unlabelled_share"].as_f64().unwrap(), 8.0 / 26.0);
    let entry = whole["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["metric"] == "accuracy");
    let entry = entry.unwrap();
    assert_eq!(entry["samples"], told.len());
    assert!(
        entry["low"].as_f64() < entry["value"].as_f64() && entry["value"].as_f64() < entry["high"].as_f64()
    );

    // By slice: those of one row, whose age the gateway recorded; and by day.
    let found = live(house, "--slice age --daily", 18).await;
    let slices: Vec<_> = found.iter().filter_map(|one| one["slice"].as_str()).collect();
    assert_eq!(slices, ["age=40", "age=7"]);
    for (at, age) in [(1, 40.0), (2, 7.0)] {
        let of_age: Vec<_> = single[..16].iter().filter(|p| p.0 == age).collect();
        assert_eq!(found[at]["labelled"], of_age.len());
        close(metric(&found[at], "accuracy"), accuracy(of_age));
    }
    assert!(found.iter().all(|one| one["day"].is_string()), "{found:?}");

    // The same once more changes nothing, a corrected label takes the place of the one before.
    report(house, given).await;
    ask(house, &line);
    close(metric(&live(house, "", 18).await[0], "accuracy"), accuracy(&told));
    let id = &ids[0];
    let corrected = ask(
        house,
        &format!("outcome report --id {id} --label {}", says(single[0].1)),
    );
    assert_eq!(corrected["accepted"], 1);
    let better = accuracy(&told) + 1.0 / told.len() as f64;
    close(metric(&live(house, "", 18).await[0], "accuracy"), better);

    // What no gateway signed is refused, and said where.
    let mut file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
    writeln!(file, "prediction_id,label\n{id},10\n{}AAAA,10", &id[..44]).unwrap();
    file.flush().unwrap();
    let (code, complaint) = refusal(house, &format!("outcome report {}", file.path().display()));
    assert_eq!(code, 4, "{complaint}");
    assert!(
        complaint.contains("1 are kept") && complaint.contains("row 1: `prediction_id`"),
        "{complaint}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_outlive_a_kill_before_they_are_joined() {
    let mut house = growth::house(Shape::Embedded, SETTINGS).await;
    endpoint(&house).await;
    let first = invoked(&house, (7.0, 1.2, 10.0));
    // Written at once with the first lookup; the second is within the second in which nothing is written again.
    report(&house, vec![(first, vec![10.0])]).await;
    let second = invoked(&house, (7.0, 1.2, 10.0));
    let (_, pending) = report(&house, vec![(second, vec![20.0])]).await;
    house.kill().unwrap();
    house.restart().unwrap();
    // What has no prediction is listed with why.
    let all = ask(&house, "outcome unjoined growth --pending");
    let all = all.as_array().unwrap();
    assert_eq!(all.len() as i64, pending, "{all:?}");
    for one in all {
        assert!(one["reason"].as_str().unwrap().contains("no record") && one["next_time"].is_string());
    }
    assert_eq!(ask(&house, "outcome unjoined growth"), json!([]));
    // The record of the second call died with the gateway, unless it was written in time: the label is kept and counted.
    let found = ask(&house, "outcome metrics growth");
    assert_eq!(found[0]["labelled"], 2);
    assert_eq!(found[0]["pending"], pending);
    close(
        metric(&found[0], "accuracy"),
        if pending == 1 { 1.0 } else { 0.5 },
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_made_again_begins_without_outcomes() {
    let house = growth::house(Shape::Embedded, SETTINGS).await;
    endpoint(&house).await;
    // All of the first one were wrong.
    let wrong = (7.0, 1.2, 20.0);
    let ids: Vec<_> = (0..4).map(|_| invoked(&house, wrong)).collect();
    report(&house, ids.into_iter().map(|id| (id, vec![wrong.2])).collect()).await;
    close(metric(&live(&house, "", 4).await[0], "accuracy"), 0.0);
    ask(&house, "endpoint delete growth");
    let (code, complaint) = refusal(&house, "outcome metrics growth");
    assert_eq!(code, 3, "{complaint}");

    endpoint(&house).await;
    assert_eq!(ask(&house, "outcome metrics growth"), json!([]));
    let right = (7.0, 1.2, 10.0);
    let id = invoked(&house, right);
    report(&house, vec![(id, vec![right.2])]).await;
    let found = live(&house, "", 1).await;
    close(metric(&found[0], "accuracy"), 1.0);
    assert_eq!(found[0]["predictions"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_outcomes_take_a_rollout_back() {
    for shape in Shape::ALL {
        taken_back(&growth::house(shape, SETTINGS).await).await;
    }
}

async fn taken_back(house: &Platform) {
    ask(house, "endpoint create growth --model models:/growth/1");
    let line = "rollout start growth --model models:/growth/2 --steps 50%,100% --step-duration 0s --min-samples 5 \
                --metric accuracy>=0.9 --max-p95 30s";
    let begun = ask(house, line);
    let id = begun["rollout_id"].as_str().unwrap().to_owned();
    // Version 2 says 11 of the small, of whom 10 is true.
    let small = (7.0, 1.2, 10.0);
    let ended = eventually("the rollout goes back", async || {
        let ids: Vec<_> = (0..10).map(|_| invoked(house, small)).collect();
        report(house, ids.into_iter().map(|id| (id, vec![10.0])).collect()).await;
        let rollout = ask(house, &format!("rollout show {id}"));
        rollout["end_time"].is_string().then_some(rollout)
    })
    .await;
    assert_eq!(ended["state"], "Rolled Back", "{ended}");
    let reason = ended["reason"].as_str().unwrap();
    assert!(reason.contains("metric `accuracy` is 0 over"), "{reason}");
    let body = json!({ "dataframe_records": [{ "age": 7.0, "height": 1.2 }] });
    let answer = post(house, "/endpoints/growth/invocations", &body).json();
    assert_eq!(answer, json!({ "predictions": [10.0] }));
    // The one before was right all along.
    let found = ask(house, "outcome metrics growth --metric accuracy");
    let versions: Vec<_> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["model_version"])
        .collect();
    assert_eq!(versions, [&json!("1"), &json!("2")]);
    close(metric(&found[0], "accuracy"), 1.0);
    close(metric(&found[1], "accuracy"), 0.0);
}
