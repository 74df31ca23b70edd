//! Promotion rules with real tokens: over MLflow's REST API, the commands and gRPC, in one process and split.

use std::process::Command;

use lodeway_domain::{Caller, caller::Workspace};
use lodeway_proto::registry::v1::{
    CreateModelVersionRequest, CreateRegisteredModelRequest, DigestState, GetModelVersionRequest,
    ModelVersion, RecordVerdictRequest, Verdict, VerdictMetric, get_model_version_request::By,
    promotion_service_client::PromotionServiceClient,
};
use lodeway_rpc::{CallContext, Transport, config::Secret};
use lodeway_testkit::platform::{Platform, Shape, binary};
use serde_json::{Value, json};

use crate::support::{
    eventually, http, new_run_of,
    people::{self, PEER_TOKEN, RULER, of},
    started, upload_as,
};

const MLMODEL: &[u8] = b"flavors:\n  onnx:\n    data: model.onnx\n";

/// `lodeway model ARGS` as somebody: whether it went well, and what it said.
fn model(house: &Platform, who: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new(binary().unwrap())
        .arg("model")
        .args(args)
        .arg(format!("--address=http://{}", house.address()))
        .arg(format!("--token={}", people::token(who)))
        .arg("--output=json")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// A call of MLflow's API as somebody.
fn rest(house: &Platform, who: &str, path: &str, body: &Value) -> http::Answer {
    let token = people::bearer(who);
    let headers = [
        ("content-type", "application/json"),
        ("authorization", token.as_str()),
    ];
    let target = format!("/api/2.0/mlflow/{path}");
    let method = if path.ends_with("/delete") {
        "DELETE"
    } else {
        "POST"
    };
    http::send(
        house.address(),
        method,
        &target,
        &headers,
        body.to_string().as_bytes(),
    )
}

async fn version(house: &Platform) -> ModelVersion {
    let request = GetModelVersionRequest {
        name: "churn".into(),
        by: Some(By::Version(1)),
    };
    let found = house
        .registry()
        .get_model_version(of("ada", request))
        .await
        .unwrap();
    found.into_inner().model_version.unwrap()
}

/// A version of ada's with a model file, whose digest is on record.
async fn register(house: &Platform) -> ModelVersion {
    let run = new_run_of(house, "ada").await;
    upload_as(house, "ada", &run.artifact_uri, ("model/MLmodel", MLMODEL))
        .await
        .unwrap();
    let request = CreateRegisteredModelRequest {
        name: "churn".into(),
        ..CreateRegisteredModelRequest::default()
    };
    house
        .registry()
        .create_registered_model(of("ada", request))
        .await
        .unwrap();
    let request = CreateModelVersionRequest {
        name: "churn".into(),
        source: format!("runs:/{}/model", run.run_id),
        run_id: run.run_id,
        ..CreateModelVersionRequest::default()
    };
    house
        .registry()
        .create_model_version(of("ada", request))
        .await
        .unwrap();
    eventually("the digest is on record", async || {
        Some(version(house).await).filter(|version| version.digest_state() == DigestState::Recorded)
    })
    .await
}

/// Records a verdict as a process does that holds this peer token.
async fn judge(house: &Platform, token: &str, digest: &str) -> Result<(), tonic::Status> {
    let url = format!("http://{}", house.address()).parse().unwrap();
    let peer = Transport::remote(&url)
        .unwrap()
        .with_peer_token(Some(Secret::new(token.to_owned())));
    let verdict = Verdict {
        evaluation_id: "e1".into(),
        evaluation: "holdout".into(),
        data_digest: "dd".into(),
        content_digest: digest.into(),
        rows_scored: 1_000,
        dataset_rows: 1_000,
        metrics: vec![VerdictMetric {
            metric: "accuracy".into(),
            value: 0.95,
            low: Some(0.93),
            sample_count: 1_000,
            ..VerdictMetric::default()
        }],
        ..Verdict::default()
    };
    let request = RecordVerdictRequest {
        name: "churn".into(),
        version: 1,
        verdict: Some(verdict),
        request_id: String::new(),
    };
    let cx = CallContext::new(Caller::evaluation(Workspace::default()));
    PromotionServiceClient::new(peer)
        .record_verdict(cx.request(request))
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_reaches_production_when_the_rule_is_fulfilled() {
    for shape in Shape::ALL {
        let (settings, _table) = people::known(&["ada", "bob", "eve"]);
        let house = started(shape, settings).await;
        promote(&house).await;
    }
}

async fn promote(house: &Platform) {
    let digest = register(house).await.content_digest;
    let rule = [
        "rule",
        "set",
        "release",
        "--model=churn",
        "--stage=Production",
        "--evaluation=holdout",
        "--threshold=low(accuracy)>=0.9",
        "--approvals=1",
        "--format=onnx",
    ];
    let (fine, said) = model(house, "ada", &rule);
    assert!(!fine && said.contains("this call takes `admin`"), "{said}");
    let (fine, said) = model(house, RULER, &rule);
    assert!(fine, "{said}");
    let (fine, said) = model(
        house,
        RULER,
        &["rule", "set", "crown", "--alias=champion", "--evaluation=holdout"],
    );
    assert!(fine, "{said}");

    let to_production = json!({"name": "churn", "version": "1", "stage": "Production",
        "archive_existing_versions": false});
    let champion = json!({"name": "churn", "alias": "champion", "version": "1"});
    for (path, body) in [
        ("model-versions/transition-stage", &to_production),
        ("registered-models/alias", &champion),
    ] {
        let answer = rest(house, "bob", path, body);
        assert_eq!(
            (answer.status, &*answer.error_code()),
            (400, "INVALID_PARAMETER_VALUE"),
            "{}",
            answer.text()
        );
        assert!(answer.text().contains("holdout"), "{}", answer.text());
    }
    let (fine, said) = model(house, "bob", &["transition", "churn", "1", "Production"]);
    assert!(!fine && said.contains("holdout"), "{said}");

    judge(house, "guessed", &digest).await.unwrap_err();
    judge(house, PEER_TOKEN, "another").await.unwrap_err();
    judge(house, PEER_TOKEN, &digest).await.unwrap();
    let (fine, said) = model(house, "ada", &["approve", "churn/1", "--stage=Production"]);
    assert!(!fine, "{said}");
    let (_, said) = model(house, "bob", &["check", "churn/1", "--stage=Production"]);
    assert_eq!(
        said.matches("\"passed\": false").count() + said.matches("\"passed\":false").count(),
        1,
        "{said}"
    );
    let (fine, said) = model(
        house,
        "eve",
        &["approve", "churn/1", "--stage=Production", "--comment=fine"],
    );
    assert!(fine, "{said}");
    rest(house, "bob", "model-versions/transition-stage", &to_production).json();
    rest(house, "bob", "registered-models/alias", &champion).json();
    assert_eq!(version(house).await.aliases, ["champion"]);
    let answer = rest(
        house,
        "bob",
        "model-versions/delete",
        &json!({"name": "churn", "version": "1"}),
    );
    assert_eq!(answer.status, 400, "a rule protects it: {}", answer.text());
}
