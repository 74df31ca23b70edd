//! Files of one workspace and callers of another: every route of the edge that names a file by its place.

use lodeway_testkit::platform::Platform;
use serde_json::{Value, json};

use crate::support::{
    http::{self, Answer},
    on_both,
};

const JSON: (&str, &str) = ("content-type", "application/json");
const ROOT: &str = "/api/2.0/mlflow-artifacts/artifacts";

/// Somebody in a workspace.
struct Tenant<'a> {
    house: &'a Platform,
    workspace: &'a str,
}

impl Tenant<'_> {
    #[track_caller]
    fn send(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        let headers = [("x-mlflow-workspace", self.workspace), JSON];
        http::send(self.house.address(), method, target, &headers, body)
    }

    #[track_caller]
    fn made(&self, what: &str, body: &Value) -> Value {
        let made = self.send(
            "POST",
            &format!("/api/2.0/mlflow/{what}"),
            body.to_string().as_bytes(),
        );
        assert_eq!(made.status, 200, "{what}: {}", made.text());
        made.json()
    }

    /// A run with one file; its id and where its files are below the artifact root.
    fn run_with_a_file(&self) -> (String, String) {
        let experiment = self.made("experiments/create", &json!({"name": "tenant"}));
        let run = self.made(
            "runs/create",
            &json!({"experiment_id": experiment["experiment_id"]}),
        );
        let info = &run["run"]["info"];
        let folder = info["artifact_uri"].as_str().unwrap();
        let folder = folder.strip_prefix("mlflow-artifacts:/").unwrap().to_owned();
        let put = self.send(
            "PUT",
            &format!("{ROOT}/{folder}/model.bin"),
            self.workspace.as_bytes(),
        );
        assert_eq!(put.status, 200, "{}", put.text());
        (info["run_id"].as_str().unwrap().to_owned(), folder)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rest_route_opens_a_file_of_another_workspace() {
    on_both(async |house| {
        let [default, team] = ["default", "team-a"].map(|workspace| Tenant {
            house: &house,
            workspace,
        });
        for (owner, other) in [(&default, &team), (&team, &default)] {
            let (run, folder) = owner.run_with_a_file();
            let file = format!("{ROOT}/{folder}/model.bin");
            let parts = format!("/api/2.0/mlflow-artifacts/mpu/create/{folder}/model.bin");
            let by_run = format!("/get-artifact?run_id={run}&path=model.bin");
            for (method, target) in [
                ("GET", file.clone()),
                ("PUT", file.clone()),
                ("DELETE", file.clone()),
                ("DELETE", format!("{ROOT}/{folder}")),
                ("GET", format!("{ROOT}?path={folder}")),
                ("GET", by_run.clone()),
                ("GET", format!("/api/2.0/mlflow/artifacts/list?run_id={run}")),
                ("POST", parts),
            ] {
                let answer = other.send(method, &target, br#"{"path": "model.bin", "num_parts": 1}"#);
                assert!(
                    matches!(answer.status, 400 | 404),
                    "{method} {target}: {}",
                    answer.text()
                );
            }
            for target in [&file, &by_run] {
                let got = owner.send("GET", target, b"");
                assert_eq!(
                    (got.status, got.text().as_str()),
                    (200, owner.workspace),
                    "{target}"
                );
            }
        }
    })
    .await;
}
