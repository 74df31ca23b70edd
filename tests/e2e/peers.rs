//! Several processes: who may share a folder, in which order they start, what works while one is gone.

use std::process::Command;

use lodeway_proto::{
    registry::v1::{
        CreateModelVersionRequest, CreateRegisteredModelRequest, GetModelVersionRequest, ModelVersion,
        get_model_version_request::By,
    },
    tracking::v1::{CreateLoggedModelRequest, CreateRunRequest, GetLoggedModelRequest},
};
use lodeway_testkit::{
    platform::{self, Platform, Settings, Shape, binary, free_address},
    postgres,
};
use serde_json::json;
use sqlx::Connection as _;
use tonic::{Code, Status};

use crate::support::{eventually, http, new_run, on_both, people, started};

/// Runs the binary until it ends; gives whether it ended well, and what it said.
fn run(args: &[String]) -> (bool, String) {
    let output = Command::new(binary().unwrap()).args(args).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_a_sqlite_folder_is_refused() {
    on_both(async |house| {
        let listen = format!("--listen={}", free_address().unwrap());
        let data = format!("--data-dir={}", house.data_dir().display());
        for command in [vec!["up"], vec!["serve", "tracking"], vec!["serve", "registry"]] {
            let mut args: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
            args.extend([listen.clone(), data.clone()]);
            let (fine, said) = run(&args);
            assert!(!fine, "{command:?} was let in: {said}");
            assert!(
                said.contains("in use by another process"),
                "{command:?} says: {said}"
            );
            assert!(said.contains(".db"), "{command:?} does not name the file: {said}");
        }
        new_run(&house).await;
    })
    .await;
}

/// Says that one more migration of tracking was applied.
const NEWER: &str = "INSERT INTO schema_versions (component, version, name, checksum, applied_ms) \
    SELECT component, version + 1, 'from the future', checksum, applied_ms FROM schema_versions \
    WHERE component = 'tracking' ORDER BY version DESC LIMIT 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused() {
    let mut house = started(Shape::Embedded, Settings::default()).await;
    house.stop().unwrap();
    let file = house.data_dir().join("tracking.db");
    let sqlite = rusqlite::Connection::open(file).unwrap();
    assert_eq!(sqlite.execute(NEWER, ()).unwrap(), 1);
    sqlite.close().unwrap();
    let data = format!("--data-dir={}", house.data_dir().display());
    let url = crate::support::postgres().await;
    let store = format!("--store={url}");
    let (fine, said) = run(&["migrate".to_owned(), store.clone(), data.clone()]);
    assert!(fine, "{said}");
    let mut pg = sqlx::PgConnection::connect(&url).await.unwrap();
    sqlx::query("SET search_path TO tracking")
        .execute(&mut pg)
        .await
        .unwrap();
    sqlx::query(NEWER).execute(&mut pg).await.unwrap();
    for extra in [vec![data.clone()], vec![data, store]] {
        for command in ["up", "migrate"] {
            let mut args = vec![
                command.to_owned(),
                format!("--listen={}", free_address().unwrap()),
            ];
            args.extend(extra.iter().cloned());
            let (fine, said) = run(&args);
            assert!(!fine, "{command} accepted it: {said}");
            assert!(said.contains("use a newer program"), "{command} says: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_replicas_start_at_once_on_an_empty_database() {
    let url = tokio::task::spawn_blocking(postgres::database)
        .await
        .unwrap()
        .unwrap();
    let starts = (0..3).map(|_| started(Shape::Embedded, Settings::on(url.clone())));
    let replicas = futures::future::join_all(starts).await;
    let run_id = new_run(&replicas[0]).await;
    let target = format!("/api/2.0/mlflow/runs/get?run_id={run_id}");
    for replica in &replicas {
        assert_eq!(http::get(replica.address(), &target).status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_starting_does_not_matter() {
    let mut house = Platform::prepare(Shape::Split, &Settings::default()).unwrap();
    for name in ["gateway", "registry"] {
        let node = house.node(name);
        node.spawn().unwrap();
        node.wait_ready().unwrap();
    }
    let early = http::post(house.address(), "experiments/create", &json!({"name": "early"}));
    assert_eq!(
        (early.status, early.error_code().as_str()),
        (503, "TEMPORARILY_UNAVAILABLE")
    );
    let early = house
        .tracking()
        .create_run(CreateRunRequest::default())
        .await
        .unwrap_err();
    assert_eq!(early.code(), Code::Unavailable, "{early:?}");
    // The registry does what needs nobody else.
    registered(&house, "m").await;
    house.node("tracking").spawn().unwrap();
    house.node("tracking").wait_ready().unwrap();
    let run_id = eventually("the gateway finds tracking", async || {
        let answer = house
            .tracking()
            .create_run(CreateRunRequest::default())
            .await
            .ok()?;
        Some(answer.into_inner().run?.run_id)
    })
    .await;
    let version = versioned(&house, "m", &format!("runs:/{run_id}/model"), "")
        .await
        .unwrap();
    assert_eq!(version.version, 1);
}

async fn registered(house: &Platform, name: &str) {
    let model = CreateRegisteredModelRequest {
        name: name.to_owned(),
        ..CreateRegisteredModelRequest::default()
    };
    house.registry().create_registered_model(model).await.unwrap();
}

async fn versioned(
    house: &Platform,
    name: &str,
    source: &str,
    model_id: &str,
) -> Result<ModelVersion, Status> {
    let version = CreateModelVersionRequest {
        name: name.to_owned(),
        source: source.to_owned(),
        model_id: model_id.to_owned(),
        ..CreateModelVersionRequest::default()
    };
    let answer = house.registry().create_model_version(version).await?;
    Ok(answer.into_inner().model_version.unwrap())
}

/// A version either cannot be made while tracking is gone, or its reference arrives later; numbers have no gap anyhow.
#[tokio::test(flavor = "multi_thread")]
async fn versions_made_while_tracking_is_down_are_not_lost() {
    let mut house = started(Shape::Split, Settings::default()).await;
    let model = CreateLoggedModelRequest::default();
    let model = house
        .tracking()
        .create_logged_model(model)
        .await
        .unwrap()
        .into_inner()
        .model
        .unwrap();
    registered(&house, "m").await;
    let source = format!("models:/{}", model.model_id);
    house.node("tracking").signal("KILL").unwrap();
    house.node("tracking").wait().unwrap();

    let refused = versioned(&house, "m", &source, &model.model_id)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    // What does not concern tracking goes on.
    assert_eq!(
        versioned(&house, "m", "s3://bucket/x", "").await.unwrap().version,
        1
    );

    house.node("tracking").spawn().unwrap();
    house.node("tracking").wait_ready().unwrap();
    let version = eventually("the registry finds tracking again", async || {
        versioned(&house, "m", &source, &model.model_id).await.ok()
    })
    .await;
    assert_eq!(version.version, 2);
    let request = GetLoggedModelRequest {
        model_id: model.model_id,
        allow_deleted: false,
    };
    eventually("the reference is recorded", async || {
        let model = house
            .tracking()
            .get_logged_model(request.clone())
            .await
            .ok()?
            .into_inner()
            .model?;
        (model.registrations.len() == 1 && model.registrations[0].version == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_alone_takes_sources_unchecked() {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address().unwrap();
    let mut alone = Command::new(binary().unwrap())
        .args([
            "serve",
            "registry",
            "gateway",
            "--tracking=none",
            "--artifacts-peer=none",
        ])
        .args([
            format!("--listen={address}"),
            format!("--data-dir={}", folder.path().display()),
        ])
        .spawn()
        .unwrap();
    eventually("it answers", async || platform::is_healthy(address).then_some(())).await;
    let model = http::post(address, "registered-models/create", &json!({"name": "alone"}));
    let source = format!("runs:/{}/model", "0".repeat(32));
    let version = json!({"name": "alone", "source": source, "run_id": "0".repeat(32)});
    let version = http::post(address, "model-versions/create", &version);
    let asked = GetModelVersionRequest {
        name: "alone".to_owned(),
        by: Some(By::Version(1)),
    };
    let mut client = lodeway_proto::registry::v1::registry_service_client::RegistryServiceClient::new(
        platform::channel(address),
    );
    let stored = client.get_model_version(asked).await;
    let absent = http::post(address, "runs/create", &json!({"experiment_id": "0"}));
    alone.kill().unwrap();
    alone.wait().unwrap();
    assert_eq!(model.status, 200, "{}", model.text());
    assert_eq!(version.json()["model_version"]["version"], "1");
    assert!(
        stored
            .unwrap()
            .into_inner()
            .model_version
            .unwrap()
            .source_unchecked
    );
    assert_eq!(absent.error_code(), "NOT_IMPLEMENTED");
}

/// The caller of a gateway that tracking does not trust is not asked for credentials that he has given.
#[tokio::test(flavor = "multi_thread")]
async fn different_peer_tokens_are_a_fault_of_the_platform() {
    let (settings, folder) = people::known(&["ada"]);
    let table = settings
        .env
        .iter()
        .find(|(name, _)| name == "LODEWAY_AUTH__TOKEN_TABLE");
    let settings = Settings {
        env: table.into_iter().cloned().collect(),
        ..Settings::default()
    };
    let mut house = Platform::prepare(Shape::Split, &settings).unwrap();
    for (name, token) in [("tracking", "first secret"), ("gateway", "second secret")] {
        let file = folder.path().join(format!("{name}.toml"));
        std::fs::write(&file, format!("peer_token = \"{token}\"\n")).unwrap();
        let node = house.node(name);
        node.args_mut().push(format!("--config={}", file.display()));
        node.spawn().unwrap();
        node.wait_ready().unwrap();
    }
    let search = |headers: &[(&str, &str)]| {
        let target = "/api/2.0/mlflow/experiments/search?max_results=1";
        http::send(house.address(), "GET", target, headers, b"")
    };
    let ada = people::bearer("ada");
    for _ in 0..20 {
        let refused = search(&[("authorization", &ada)]);
        assert_eq!(
            (refused.status, refused.error_code().as_str()),
            (503, "TEMPORARILY_UNAVAILABLE")
        );
        assert!(refused.text().contains("peer token"), "{}", refused.text());
    }
    let forged = [
        ("x-lodeway-peer-token", "guess"),
        ("x-lodeway-principal", "ada"),
        ("x-lodeway-verified", "1"),
    ];
    assert_eq!(search(&forged).status, 401);
    for name in ["tracking", "gateway"] {
        let log = house.node(name).log();
        let said = log.lines().filter(|line| line.contains("`peer_token`")).count();
        assert!((1..=4).contains(&said), "{name} says it {said} times: {log}");
        for secret in ["first secret", "second secret", "t-ada", "guess"] {
            assert!(!log.contains(secret), "{name}: {log}");
        }
    }
}
