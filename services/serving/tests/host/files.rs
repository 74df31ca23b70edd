//! Models that are fetched: their digests, and what is found again.

use std::{fs, path::PathBuf};

use super::*;

/// A copy of a model that a test may change.
pub async fn copy(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(models().await.folder(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

/// Changes one bit in the middle of a file.
fn flip(path: PathBuf) {
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// The only fetched model.
fn fetched(bench: &Bench) -> PathBuf {
    let entries = fs::read_dir(bench.folder.path().join("models")).unwrap();
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.pop().unwrap()
}

#[tokio::test]
async fn a_registered_version_is_fetched_once_and_found_again() {
    let (peer, folder) = (Peer::new(), copy("lightgbm").await);
    peer.register("models:/churn/3", folder.path());
    let bench = Bench::new(peer.peers()).await;
    let made = bench.create("models:/churn/3").await.unwrap();
    assert_eq!(
        (made.state(), &*made.model_name, &*made.model_version),
        (State::Ready, "churn", "3")
    );
    assert_eq!((made.model_uid.as_str(), made.content_digest.len()), ("u1", 64));
    let files = peer.downloads();
    assert_eq!(files, fs::read_dir(folder.path()).unwrap().count());
    assert_eq!(
        bench.create("models:/churn/3").await.unwrap().deployment_id,
        made.deployment_id
    );
    // After a restart it is known, not in memory, and loaded by its first call without being fetched again.
    let bench = bench.restart(peer.peers()).await;
    let known = bench.get(&made.deployment_id).await.unwrap();
    assert_eq!(
        (known.state(), known.content_digest),
        (State::Unloaded, made.content_digest.clone())
    );
    let Expected {
        inputs,
        predictions: wanted,
    } = models().await.expected("lightgbm").unwrap();
    let answer = bench.infer(&made.deployment_id, table(&inputs)).await.unwrap();
    close(&predictions(&answer), &wanted);
    assert_eq!(
        (&*answer.model_name, &*answer.model_version, peer.downloads()),
        ("churn", "3", files)
    );
    // By its name too.
    assert!(bench.infer("churn", table(&inputs)).await.is_ok());
    let deployment_id = made.deployment_id.clone();
    let request = wire::DeleteDeploymentRequest { deployment_id };
    bench.api.clone().delete_deployment(request).await.unwrap();
    let bench = bench.restart(peer.peers()).await;
    let gone = bench.get(&made.deployment_id).await.unwrap_err();
    refused(&gone, Code::NotFound, "RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn files_that_are_not_those_of_the_version_are_refused() {
    let (peer, folder) = (Peer::new(), copy("lightgbm").await);
    peer.register("models:/churn/3", folder.path());
    let bench = Bench::new(peer.peers()).await;
    // The bytes are others than the manifest says.
    flip(folder.path().join("model.lgb"));
    let made = bench.create("models:/churn/3").await.unwrap();
    assert_eq!(made.state(), State::Failed, "{made:?}");
    assert!(made.state_reason.contains("`model.lgb`"), "{}", made.state_reason);
    // Nothing of it stays.
    assert_eq!(
        fs::read_dir(bench.folder.path().join("models")).unwrap().count(),
        0
    );
    // The artifact service has seen it, and the version was registered with others.
    peer.rescan(folder.path());
    let error = bench.create("models:/churn/3").await.unwrap_err();
    assert_eq!(error.code(), Code::DataLoss, "{error:?}");
    let deployment_id = made.deployment_id.clone();
    let request = wire::LoadDeploymentRequest { deployment_id };
    let error = bench.api.clone().load_deployment(request).await.unwrap_err();
    assert_eq!(error.code(), Code::DataLoss, "{error:?}");
    // With the right bytes it can be loaded.
    flip(folder.path().join("model.lgb"));
    peer.rescan(folder.path());
    let deployment_id = made.deployment_id.clone();
    let request = wire::LoadDeploymentRequest { deployment_id };
    bench.api.clone().load_deployment(request).await.unwrap();
    assert_eq!(
        bench.get(&made.deployment_id).await.unwrap().state(),
        State::Ready
    );
}

#[tokio::test]
async fn a_folder_that_was_changed_on_this_machine_is_fetched_again() {
    let (peer, folder) = (Peer::new(), copy("xgboost").await);
    peer.register("models:/churn/1", folder.path());
    let bench = Bench::new(peer.peers()).await;
    let made = bench.create("models:/churn/1").await.unwrap();
    assert_eq!(made.state(), State::Ready, "{made:?}");
    let files = peer.downloads();
    flip(fetched(&bench).join("MLmodel"));
    let bench = bench.restart(peer.peers()).await;
    let Expected {
        inputs,
        predictions: wanted,
    } = models().await.expected("xgboost").unwrap();
    let answer = bench.infer(&made.deployment_id, table(&inputs)).await.unwrap();
    close(&predictions(&answer), &wanted);
    assert_eq!(peer.downloads(), 2 * files);
}

#[tokio::test]
async fn a_version_without_its_artifacts_fails_and_can_be_tried_again() {
    let (peer, folder) = (Peer::new(), copy("lightgbm").await);
    peer.register("models:/churn/3", folder.path());
    let bench = Bench::new(peer.peers()).await;
    let away = folder.path().join("model.lgb");
    let bytes = fs::read(&away).unwrap();
    fs::remove_file(&away).unwrap();
    let made = bench.create("models:/churn/3").await.unwrap();
    assert_eq!(made.state(), State::Failed, "{made:?}");
    // A moment later callers are told without another try.
    let tries = peer.downloads();
    let error = bench
        .infer(&made.deployment_id, table(&[[1.0, 2.0, 3.0]]))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), peer.downloads()),
        (Code::FailedPrecondition, tries),
        "{error:?}"
    );
    fs::write(&away, bytes).unwrap();
    let deployment_id = made.deployment_id.clone();
    let request = wire::LoadDeploymentRequest { deployment_id };
    bench.api.clone().load_deployment(request).await.unwrap();
    assert!(
        bench
            .infer(&made.deployment_id, table(&[[1.0, 2.0, 3.0]]))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn an_answer_is_compared_with_the_stored_one_at_load() {
    let bench = Bench::new(Peer::new().peers()).await;
    // Each in a folder of its own: one that is known is not loaded again.
    let parity = async |stored: Option<&[f64]>| {
        let folder = copy("lightgbm").await;
        if let Some(rows) = stored {
            let text = serde_json::json!({ "predictions": rows }).to_string();
            fs::write(folder.path().join("serving_output_example.json"), text).unwrap();
        }
        let made = bench.create(&source(folder.path())).await.unwrap();
        made.parity.unwrap()
    };
    let unknown = parity(None).await;
    assert!(!unknown.was_checked, "{unknown:?}");
    assert!(
        unknown.detail.contains("has no `serving_output_example.json`"),
        "{unknown:?}"
    );
    // What LightGBM itself gave for the first rows, which are the example.
    let wanted = models().await.expected("lightgbm").unwrap().predictions;
    let close = parity(Some(&wanted[..3])).await;
    assert!(close.was_checked && close.max_abs_difference < 1e-6, "{close:?}");
    assert!(close.detail.ends_with("over 3 rows"), "{close:?}");
    let far = parity(Some(&[wanted[0], wanted[1] + 0.25, wanted[2]])).await;
    assert!((far.max_abs_difference - 0.25).abs() < 1e-6, "{far:?}");
    let other = parity(Some(&wanted[..2])).await;
    assert!(
        other.was_checked && other.max_abs_difference.is_infinite(),
        "{other:?}"
    );
}
