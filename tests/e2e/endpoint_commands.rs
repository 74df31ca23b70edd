//! `lodeway endpoint | rollout | deployment | prediction` as people and scripts use them, on models that need no Python.

use std::process::{Child, Stdio};

use lodeway_testkit::platform::{Platform, Shape};
use serde_json::{Value, json};

use crate::support::{
    command::{ask, command, refusal, text},
    eventually, growth, http,
};

/// A platform with the versions of `growth`.
async fn house() -> Platform {
    growth::house(Shape::Embedded, &[]).await
}

/// The answer of `growth` for somebody small.
fn call(house: &Platform, headers: &[(&str, &str)]) -> http::Answer {
    let body = json!({ "inputs": [{ "age": 7.0, "height": 1.2 }] }).to_string();
    let headers = [&[("content-type", "application/json")], headers].concat();
    let target = "/endpoints/growth/invocations";
    http::send(house.address(), "POST", target, &headers, body.as_bytes())
}

fn weights(endpoint: &Value) -> Vec<(&str, u64)> {
    let targets = endpoint["revision"]["targets"].as_array().unwrap();
    let weight = |target: &Value| target["weight"].as_u64().unwrap();
    targets
        .iter()
        .map(|target| (target["name"].as_str().unwrap(), weight(target)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_made_changed_and_taken_back() {
    let house = house().await;
    made(&house);
    changed(&house);
    cared_for(&house);
    explained(&house);
    taken_back(&house);
    described(&house);
    watched(&house);
    deployed(&house);
    removed(&house);
}

fn made(house: &Platform) {
    let endpoint = ask(house, "endpoint create growth --model models:/growth@champion");
    assert_eq!(weights(&endpoint), [("champion", 1)]);
    assert_eq!(endpoint["target_statuses"][0]["model_version"], "1");
    assert_eq!(endpoint["target_statuses"][0]["state"], "ready");
    let address = format!("http://{}", house.address());
    assert_eq!(
        endpoint["rest"][0],
        format!("{address}/endpoints/growth/invocations")
    );
    assert_eq!(endpoint["grpc"]["address"], address);
    assert_eq!(call(house, &[]).json(), json!({ "predictions": [10.0] }));

    let (code, complaint) = refusal(house, "endpoint create growth --model models:/growth/1");
    assert_eq!(code, 4, "{complaint}");
    assert!(complaint.contains("exists"), "{complaint}");
    let line = "endpoint create other --model models:/growth/1 --model models:/growth/2 --weight 1";
    let (code, complaint) = refusal(house, line);
    assert_eq!(code, 4, "{complaint}");
    assert!(complaint.contains("1 weights for 2 models"), "{complaint}");
    let (code, _) = refusal(house, "endpoint create other");
    assert_eq!(code, 2);

    let all = ask(house, "endpoint list");
    assert_eq!(all.as_array().unwrap().len(), 1);
    assert_eq!(all[0]["name"], "growth");
    let table = text(house, "endpoint list");
    assert!(
        table.contains("champion = models:/growth@champion, version 1: 100%, ready"),
        "{table}"
    );
}

fn changed(house: &Platform) {
    let line = "endpoint set growth --add models:/growth/2 --weight champion=9 --weight v2=1 \
                --sticky-header x-user --rule x-beta->v2 --comment canary";
    let endpoint = ask(house, line);
    assert_eq!(weights(&endpoint), [("champion", 9), ("v2", 1)]);
    assert_eq!(endpoint["revision"]["number"], 2);
    assert_eq!(endpoint["revision"]["sticky_key"], json!({ "header": "x-user" }));
    assert_eq!(endpoint["revision"]["comment"], "canary");

    let (code, complaint) = refusal(house, "endpoint set growth --weight v9=1");
    assert_eq!(code, 4, "{complaint}");
    assert!(complaint.contains("there is `champion`, `v2`"), "{complaint}");

    let diff = ask(house, "endpoint diff growth 1");
    assert!(
        (diff["moved_share"].as_f64().unwrap() - 0.1).abs() < 1e-6,
        "{diff}"
    );
    assert!(
        diff["changes"][0].as_str().unwrap().contains("champion"),
        "{diff}"
    );
    let history = ask(house, "endpoint history growth");
    let numbers: Vec<_> = history.as_array().unwrap().iter().map(|r| &r["number"]).collect();
    assert_eq!(numbers, [2, 1]);
}

/// What is kept of calls and what is done about failures: set, shown, and taken over by later changes.
fn cared_for(house: &Platform) {
    let line = "endpoint create careful --model models:/growth/1 --default-timeout 5s --hedge-after 200ms --max-retries 2 \
                --ejection-failures 3 --log-share 10% --log-redact age --timeout 1500ms";
    let made = ask(house, line);
    let revision = &made["revision"];
    assert_eq!(revision["resilience"]["timeout_ms"], 5_000.0);
    assert_eq!(revision["resilience"]["hedge_after_ms"], 200.0);
    assert_eq!(revision["targets"][0]["timeout_ms"], 1_500.0);
    assert_eq!(revision["request_log"]["redacted_fields"], json!(["age"]));
    let line =
        "endpoint set careful --hedge-after 0s --retry-percent 5 --max-ejection-time 1m --max-active-calls 8";
    let changed = ask(house, line);
    let resilience = &changed["revision"]["resilience"];
    assert_eq!(resilience["hedge_after_ms"], Value::Null);
    assert_eq!(resilience["max_retries"], 2);
    assert_eq!(resilience["max_active_calls"], 8);
    let table = text(house, "endpoint show careful");
    for line in [
        "v1 = models:/growth/1, version 1: 100%, timeout 1.5s, ready",
        "10% whole, at most 1048576 bytes a second; redacts age",
        "timeout: 5s",
        "retries: 2 a call, 5% of calls, 10 a second at least",
        "hedge: never",
        "ejection: after 3 failures, for 10s, at most 1m",
        "active calls: at most 8",
    ] {
        assert!(table.contains(line), "{line} in {table}");
    }
    let (code, complaint) = refusal(house, "endpoint set careful --log-redact agee");
    assert_eq!(code, 4, "{complaint}");
    assert!(complaint.contains("`agee` is no input or output"), "{complaint}");
    let kept = ask(
        house,
        "endpoint set careful --log-redact predictions --log-max-bytes-per-second 2MiB",
    );
    let log = json!({
        "sample_share": 0.1,
        "redacted_fields": ["predictions"],
        "slice_fields": [],
        "max_bytes_per_second": 2_097_152,
    });
    assert_eq!(kept["revision"]["request_log"], log);
    ask(house, "endpoint delete careful");
}

fn explained(house: &Platform) {
    let answer = call(house, &[("x-beta", "yes")]);
    assert_eq!(answer.json(), json!({ "predictions": [11.0] }));
    let id = answer.header("x-lodeway-prediction-id").unwrap();
    let found = ask(house, &format!("prediction explain {id}"));
    assert_eq!(found["endpoint"], "growth");
    assert_eq!(found["revision"], 2);
    assert_eq!(found["target"], "v2");
    assert_eq!(found["model_version"], "2");
    let (code, complaint) = refusal(house, "prediction explain none");
    assert_eq!(code, 4, "{complaint}");

    let measured = ask(house, "endpoint monitor growth --last 1h --target v2");
    assert_eq!(measured[0]["target"], "v2");
    assert_eq!(measured[0]["outcomes"], json!({ "ok": 1 }));
    let table = text(house, "endpoint monitor growth");
    assert!(table.contains("p95") && table.contains("champion"), "{table}");
}

fn taken_back(house: &Platform) {
    let before = ask(house, "endpoint show growth");
    let endpoint = ask(house, "endpoint rollback growth --comment no");
    assert_eq!(endpoint["revision"]["number"], 3);
    assert_eq!(endpoint["revision"]["reason"], "rollback to 1");
    assert_eq!(weights(&endpoint), [("champion", 1)]);
    let time = before["revision"]["create_time"].as_str().unwrap();
    let served = ask(house, &format!("endpoint served-at growth {time}"));
    assert_eq!(served["number"], 2);
    assert_eq!(served["resolved"].as_array().unwrap().len(), 2);
    let (code, complaint) = refusal(house, "endpoint served-at growth 2020-01-01T00:00:00Z");
    assert_eq!(code, 4, "{complaint}");
}

fn described(house: &Platform) {
    let line = "endpoint describe growth --description children --tag team=a --tag tier=1";
    let endpoint = ask(house, line);
    assert_eq!(endpoint["description"], "children");
    assert_eq!(endpoint["tags"], json!({ "team": "a", "tier": "1" }));
    let endpoint = ask(house, "endpoint describe growth --tag tier=");
    assert_eq!(endpoint["tags"], json!({ "team": "a" }));
    assert_eq!(endpoint["description"], "children");
}

fn watched(house: &Platform) {
    let lines = text(house, "endpoint watch --snapshot --output json");
    let event: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(event["endpoint"]["name"], "growth");
    assert_eq!(lines.lines().count(), 1);
}

fn deployed(house: &Platform) {
    let all = ask(house, "deployment list");
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 2);
    let second = all.iter().find(|one| one["model_version"] == "2").unwrap();
    let id = second["deployment_id"].as_str().unwrap();
    assert_eq!(
        ask(house, &format!("deployment unload {id}"))["state"],
        "Unloaded"
    );
    assert_eq!(ask(house, &format!("deployment load {id}"))["state"], "Ready");
    assert_eq!(
        ask(house, &format!("deployment show {id}"))["platform"],
        "lightgbm"
    );
    text(house, &format!("deployment delete {id}"));
    let (code, complaint) = refusal(house, &format!("deployment show {id}"));
    assert_eq!(code, 3, "{complaint}");
}

fn removed(house: &Platform) {
    assert!(text(house, "endpoint delete growth").contains("deleted"));
    let (code, complaint) = refusal(house, "endpoint show growth");
    assert_eq!(code, 3, "{complaint}");
    assert_eq!(ask(house, "endpoint list"), json!([]));
}

/// Begins a rollout of version 2 and gives its id.
fn begun(house: &Platform, flags: &str) -> String {
    let line = format!("rollout start growth --model models:/growth/2 {flags}");
    let rollout = ask(house, &line);
    assert_eq!(rollout["state"], "Running");
    rollout["rollout_id"].as_str().unwrap().to_owned()
}

fn follow(house: &Platform, id: &str) -> Child {
    command(house, &format!("rollout show {id} --watch"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_ends_well_or_is_aborted() {
    let house = house().await;
    ask(&house, "endpoint create growth --model models:/growth@champion");

    // Nobody calls, so it waits for samples until somebody ends it.
    let id = begun(&house, "--steps 50%,100% --step-duration 0s");
    let (code, complaint) = refusal(&house, "rollout start growth --model models:/growth/2");
    assert_eq!(code, 4, "{complaint}");
    let paused = eventually("a paused rollout", async || {
        // While traffic is being set it cannot be paused yet.
        let line = format!("rollout pause {id} --output json");
        let output = command(&house, &line).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).ok()
    })
    .await;
    assert_eq!(paused["state"], "Paused");
    assert_eq!(ask(&house, &format!("rollout resume {id}"))["state"], "Running");
    let aborted = ask(&house, &format!("rollout abort {id} --comment enough"));
    assert!(
        aborted["reason"].as_str().unwrap().contains("enough"),
        "{aborted}"
    );
    let end = follow(&house, &id).wait_with_output().unwrap();
    assert_eq!(
        end.status.code(),
        Some(4),
        "{}",
        String::from_utf8_lossy(&end.stderr)
    );
    assert_eq!(call(&house, &[]).json(), json!({ "predictions": [10.0] }));

    let flags = "--steps 50%,100% --step-duration 0s --min-samples 1 --max-p95 30s --then-alias champion";
    let id = begun(&house, flags);
    let mut watch = follow(&house, &id);
    eventually("the end of a watched rollout", async || {
        call(&house, &[]).json();
        watch.try_wait().unwrap()
    })
    .await;
    let end = watch.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&end.stdout);
    assert!(
        end.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&end.stderr)
    );
    assert!(told.contains("Completed"), "{told}");
    let resolved = ask(&house, "model resolve models:/growth@champion");
    assert_eq!(resolved["version"], 2);
    assert_eq!(call(&house, &[]).json(), json!({ "predictions": [11.0] }));

    // The endpoint follows the alias as it did before.
    let shown = ask(&house, "endpoint show growth");
    assert_eq!(weights(&shown), [("champion", 1)]);
    let reason = shown["revision"]["reason"].as_str().unwrap();
    assert!(reason.ends_with("done, follows as 3"), "{reason}");
    let (code, complaint) = refusal(&house, "endpoint rollback growth");
    assert!(
        code == 4 && complaint.contains("model rollback"),
        "{code}: {complaint}"
    );
    ask(&house, "model alias growth champion 1");
    eventually("a moved alias is followed", async || {
        (call(&house, &[]).json() == json!({ "predictions": [10.0] })).then_some(())
    })
    .await;

    let all = ask(&house, "rollout list growth");
    let states: Vec<_> = all.as_array().unwrap().iter().map(|one| &one["state"]).collect();
    assert_eq!(states, ["Completed", "Aborted"]);
    let (code, complaint) = refusal(&house, &format!("rollout abort {id}"));
    assert_eq!(code, 4, "{complaint}");
}
