//! Files of a promoted version: nobody changes them under those who load it by stage or alias.

use lodeway_proto::artifacts::v1::{
    DeleteArtifactsRequest, GetManifestRequest, artifact_service_client::ArtifactServiceClient,
};
use lodeway_testkit::platform::{Platform, Shape};
use serde_json::json;
use tonic::Code;

use crate::support::{
    command::{ask_as, refusal_as},
    eventually,
    http::{self, Answer},
    new_run_of,
    people::{self, RULER, of},
    reason, started, upload_as,
};

const MLMODEL: &[u8] = b"flavors:\n  onnx:\n    data: model.onnx\n";
const ROOT: &str = "/api/2.0/mlflow-artifacts/artifacts";

fn send(house: &Platform, method: &str, target: &str, body: &[u8]) -> Answer {
    let bearer = people::bearer("ada");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    http::send(house.address(), method, target, &headers, body)
}

fn made(house: &Platform, method: &str, what: &str, body: serde_json::Value) -> serde_json::Value {
    let target = format!("/api/2.0/mlflow/{what}");
    let answer = send(house, method, &target, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{what}: {}", answer.text());
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_changes_the_files_of_a_promoted_version() {
    for shape in Shape::ALL {
        let (settings, _table) = people::known(&["ada"]);
        let house = started(shape, settings).await;
        held(&house).await;
        held_at_once(&house).await;
        held_by_any_name(&house).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_promoted_while_nobody_can_hold_it_is_held_soon_after() {
    let (settings, _table) = people::known(&["ada"]);
    let mut house = started(Shape::Split, settings).await;
    let run = new_run_of(&house, "ada").await;
    upload_as(&house, "ada", &run.artifact_uri, ("model/MLmodel", MLMODEL))
        .await
        .unwrap();
    made(
        &house,
        "POST",
        "registered-models/create",
        json!({"name": "late"}),
    );
    let source = format!("{}/model", run.artifact_uri);
    made(
        &house,
        "POST",
        "model-versions/create",
        json!({"name": "late", "source": source}),
    );
    // The artifact service is in this process.
    house.node("tracking").signal("KILL").unwrap();
    house.node("tracking").wait().unwrap();
    let promoted =
        json!({"name": "late", "version": "1", "stage": "Production", "archive_existing_versions": false});
    made(&house, "POST", "model-versions/transition-stage", promoted);
    house.node("tracking").spawn().unwrap();
    house.node("tracking").wait_ready().unwrap();
    let folder = run.artifact_uri.strip_prefix("mlflow-artifacts:/").unwrap();
    let target = format!("{ROOT}/{folder}/model/MLmodel");
    eventually("the files are held", async || {
        (send(&house, "PUT", &target, MLMODEL).status == 400).then_some(())
    })
    .await;
}

/// What is promoted right after it was registered is held when that answers, and its digest is that of the held files.
async fn held_at_once(house: &Platform) {
    made(
        house,
        "POST",
        "registered-models/create",
        json!({"name": "fresh"}),
    );
    for number in 1..=6 {
        let run = new_run_of(house, "ada").await;
        let folder = run.artifact_uri.strip_prefix("mlflow-artifacts:/").unwrap();
        let put = |body: &[u8]| {
            let target = format!("{ROOT}/{folder}/model/weights.bin");
            send(house, "PUT", &target, body).status
        };
        upload_as(house, "ada", &run.artifact_uri, ("model/MLmodel", MLMODEL))
            .await
            .unwrap();
        assert_eq!(put(b"good"), 200);
        let source = format!("runs:/{}/model", run.run_id);
        let version = json!({"name": "fresh", "source": source, "run_id": run.run_id});
        made(house, "POST", "model-versions/create", version);
        let number = number.to_string();
        let (what, body) = if number.ends_with(['1', '3', '5']) {
            let body = json!({"name": "fresh", "alias": "champion", "version": number});
            ("registered-models/alias", body)
        } else {
            let body = json!({"name": "fresh", "version": number, "stage": "Production", "archive_existing_versions": true});
            ("model-versions/transition-stage", body)
        };
        made(house, "POST", what, body);
        assert_eq!(put(b"evil"), 400, "version {number}");
        let on_record = async || {
            let found = ask_as(house, "ada", &format!("model show fresh {number}"));
            found["content_digest"]
                .as_str()
                .filter(|digest| !digest.is_empty())
                .map(str::to_owned)
        };
        let on_record = eventually("the digest is on record", on_record).await;
        let request = GetManifestRequest {
            location: run.artifact_uri.clone(),
            path: "model".to_owned(),
        };
        let mut artifacts = ArtifactServiceClient::new(house.channel());
        let held = artifacts.get_manifest(of("ada", request)).await.unwrap();
        assert_eq!(held.into_inner().content_digest, on_record);
    }
    // A refusal names the model as it is called now.
    let renamed = json!({"name": "fresh", "new_name": "renamed"});
    made(house, "POST", "registered-models/rename", renamed);
    eventually("the hold names the model anew", async || {
        let held = ask_as(house, "ada", "artifact holds");
        let reasons = held.as_array().unwrap().iter();
        let mut reasons = reasons.filter_map(|hold| hold["reason"].as_str());
        reasons
            .any(|reason| reason == "version 6 of model `renamed`")
            .then_some(())
    })
    .await;
}

/// A folder is held by whatever name of it clients load its files; what they would not read alike is no source.
async fn held_by_any_name(house: &Platform) {
    made(
        house,
        "POST",
        "registered-models/create",
        json!({"name": "named"}),
    );
    let mut versions = 0;
    let address = house.address();
    for (before, after) in [
        ("mlflow-artifacts:/".to_owned(), "?x=1"),
        ("mlflow-artifacts:/".to_owned(), "?"),
        ("mlflow-artifacts:/".to_owned(), "?x=%2F"),
        ("mlflow-artifacts:////".to_owned(), ""),
        (format!("mlflow-artifacts://{address}//"), ""),
        ("mlflow-artifacts://host/".to_owned(), "#f"),
        (
            format!("http://{address}/ajax-api/2.0/mlflow-artifacts/artifacts/"),
            "",
        ),
        (format!("http://{address}{ROOT}/"), "?x=1"),
        ("mlflow-artifacts:/".to_owned(), "\t"),
        (" mlflow-artifacts:/".to_owned(), ""),
    ] {
        let run = new_run_of(house, "ada").await;
        let folder = run.artifact_uri.strip_prefix("mlflow-artifacts:/").unwrap();
        upload_as(house, "ada", &run.artifact_uri, ("model/MLmodel", MLMODEL))
            .await
            .unwrap();
        let source = format!("{before}{folder}/model{after}");
        let body = json!({"name": "named", "source": source}).to_string();
        let create = "/api/2.0/mlflow/model-versions/create";
        let answer = send(house, "POST", create, body.as_bytes());
        if answer.status != 200 {
            let is_dropped = source.contains(['\t', ' ']);
            assert!(
                is_dropped && answer.error_code() == "INVALID_PARAMETER_VALUE",
                "{source:?}: {}",
                answer.text()
            );
            continue;
        }
        versions += 1;
        let alias = json!({"name": "named", "alias": "champion", "version": versions.to_string()});
        made(house, "POST", "registered-models/alias", alias);
        let target = format!("{ROOT}/{folder}/model/MLmodel");
        assert_eq!(send(house, "PUT", &target, b"evil").status, 400, "{source:?}");
    }
    assert_eq!(versions, 8);
}

async fn held(house: &Platform) {
    let run = new_run_of(house, "ada").await;
    let uri = run.artifact_uri.clone();
    let put = async |path: &str| upload_as(house, "ada", &uri, (path, MLMODEL)).await;
    put("model/MLmodel").await.unwrap();
    made(
        house,
        "POST",
        "registered-models/create",
        json!({"name": "churn"}),
    );
    let source = format!("runs:/{}/model", run.run_id);
    let version = json!({"name": "churn", "source": source, "run_id": run.run_id});
    made(house, "POST", "model-versions/create", version);
    eventually("the digest is on record", async || {
        let found = ask_as(house, "ada", "model show churn 1");
        found["content_digest"]
            .as_str()
            .filter(|digest| !digest.is_empty())
            .map(drop)
    })
    .await;
    assert_eq!(
        ask_as(house, "ada", "model show churn/1"),
        ask_as(house, "ada", "model show churn 1")
    );
    put("model/MLmodel").await.unwrap();
    let stage = |stage: &str| json!({"name": "churn", "version": "1", "stage": stage, "archive_existing_versions": false});
    made(
        house,
        "POST",
        "model-versions/transition-stage",
        stage("Production"),
    );

    let folder = uri.strip_prefix("mlflow-artifacts:/").unwrap();
    for (method, target) in [
        ("PUT", format!("{ROOT}/{folder}/model/MLmodel")),
        ("PUT", format!("{ROOT}/{folder}/model/another.py")),
        ("DELETE", format!("{ROOT}/{folder}/model/MLmodel")),
        ("DELETE", format!("{ROOT}/{folder}/model")),
        ("DELETE", format!("{ROOT}/{folder}")),
    ] {
        let answer = send(house, method, &target, b"other");
        let said = (answer.status, answer.error_code());
        assert_eq!(
            said,
            (400, "INVALID_PARAMETER_VALUE".to_owned()),
            "{method} {target}: {}",
            answer.text()
        );
        assert!(
            answer.text().contains("version 1 of model `churn`"),
            "{}",
            answer.text()
        );
    }
    let status = put("model/MLmodel").await.unwrap_err();
    assert_eq!(
        (status.code(), &*reason(&status)),
        (Code::FailedPrecondition, "STILL_REFERENCED")
    );
    let mut artifacts = ArtifactServiceClient::new(house.channel());
    let request = DeleteArtifactsRequest {
        location: uri.clone(),
        path: String::new(),
        dry_run: false,
    };
    let status = artifacts.delete_artifacts(of("ada", request)).await.unwrap_err();
    assert_eq!(reason(&status), "STILL_REFERENCED");
    // Beside the model the run takes files as ever, and nobody but an administrator lets go.
    put("plots/loss.txt").await.unwrap();
    let held = ask_as(house, "ada", "artifact holds");
    let held = &held.as_array().unwrap()[0];
    assert_eq!(held["reason"], "version 1 of model `churn`", "{held}");
    let release = format!(
        "artifact release {} --holder {}",
        held["location"].as_str().unwrap(),
        held["holder"].as_str().unwrap()
    );
    let (code, complaint) = refusal_as(house, "ada", &release);
    assert!(code != 0 && complaint.contains("`admin`"), "{code}: {complaint}");
    ask_as(house, RULER, &release);
    put("model/MLmodel").await.unwrap();

    // A version of a whole run, or of what others have their files in, keeps nobody from writing there.
    let experiment = uri
        .strip_prefix("mlflow-artifacts:/")
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    for (number, source) in [
        (2, uri.clone()),
        (3, format!("mlflow-artifacts:/{experiment}")),
        (4, "mlflow-artifacts:/datasets".to_owned()),
    ] {
        let body = json!({"name": "churn", "source": source});
        made(house, "POST", "model-versions/create", body);
        let version = number.to_string();
        made(
            house,
            "POST",
            "registered-models/alias",
            json!({"name": "churn", "alias": "wide", "version": version}),
        );
        put("plots/loss.txt").await.unwrap();
    }
    made(
        house,
        "DELETE",
        "registered-models/alias",
        json!({"name": "churn", "alias": "wide"}),
    );

    // Held again with an alias, and let go when it has neither.
    made(
        house,
        "POST",
        "registered-models/alias",
        json!({"name": "churn", "alias": "champion", "version": "1"}),
    );
    assert!(put("model/MLmodel").await.is_err());
    made(
        house,
        "POST",
        "model-versions/transition-stage",
        stage("Archived"),
    );
    assert!(put("model/MLmodel").await.is_err());
    made(
        house,
        "DELETE",
        "registered-models/alias",
        json!({"name": "churn", "alias": "champion"}),
    );
    eventually("the files are let go", async || put("model/MLmodel").await.ok()).await;
    // What is changed then cannot be promoted, and clients are not told to try again.
    upload_as(house, "ada", &uri, ("model/MLmodel", b"flavors: {other: {}}"))
        .await
        .unwrap();
    let answer = send(
        house,
        "POST",
        "/api/2.0/mlflow/model-versions/transition-stage",
        stage("Production").to_string().as_bytes(),
    );
    assert_eq!(
        (answer.status, answer.error_code()),
        (400, "INVALID_PARAMETER_VALUE".to_owned()),
        "{}",
        answer.text()
    );
    assert!(
        answer.text().contains("register them as a new version"),
        "{}",
        answer.text()
    );
}
