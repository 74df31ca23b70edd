//! Watches: a snapshot, then every change, from any cursor.

use tonic::Streaming;

use super::*;

async fn open(bench: &Bench, name: &str, cursor: &str) -> Streaming<wire::WatchModelVersionsResponse> {
    let request = wire::WatchModelVersionsRequest {
        name: name.into(),
        cursor: cursor.into(),
    };
    bench
        .api()
        .watch_model_versions(request)
        .await
        .unwrap()
        .into_inner()
}

async fn next(stream: &mut Streaming<wire::WatchModelVersionsResponse>) -> wire::WatchModelVersionsResponse {
    // Far below the poll of a minute: only a wake-up is this fast.
    tokio::time::timeout(Duration::from_secs(10), stream.message())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
}

fn seen(message: &wire::WatchModelVersionsResponse) -> String {
    let version = message
        .model_version
        .as_ref()
        .map(|v| format!("{}/{}", v.name, v.version));
    let model = message.model.as_ref().map(|m| m.name.clone());
    format!("{:?} {}", message.kind(), version.or(model).unwrap_or_default())
}

#[tokio::test]
async fn a_watch_begins_with_a_snapshot_and_wakes_at_once() {
    let bench = Bench::alone().await;
    bench.model("churn").await;
    bench.model("fraud").await;
    bench.version("churn").await;
    bench.version("fraud").await;
    let mut all = open(&bench, "", "").await;
    assert_eq!(seen(&next(&mut all).await), "Snapshot churn/1");
    assert_eq!(seen(&next(&mut all).await), "Snapshot fraud/1");
    let synced = next(&mut all).await;
    assert_eq!(seen(&synced), "Synced ");

    bench.version("churn").await;
    assert_eq!(seen(&next(&mut all).await), "Changed churn/2");
    bench.go("fraud", 1, wire::Stage::Staging).await.unwrap();
    assert_eq!(
        next(&mut all).await.model_version.unwrap().stage(),
        wire::Stage::Staging
    );
    bench.point("churn", "x", 2).await;
    let aliased = next(&mut all).await;
    assert_eq!(aliased.model.as_ref().unwrap().aliases.get("x"), Some(&2));

    let mut again = open(&bench, "churn", &synced.cursor).await;
    assert_eq!(seen(&next(&mut again).await), "Changed churn/2");
    assert_eq!(seen(&next(&mut again).await), "Model churn");
    let rename = wire::RenameRegisteredModelRequest {
        name: "churn".into(),
        new_name: "leave".into(),
        ..Default::default()
    };
    bench.api().rename_registered_model(rename).await.unwrap();
    assert_eq!(seen(&next(&mut again).await), "Model leave");
    let delete = wire::DeleteModelVersionRequest {
        name: "leave".into(),
        version: 2,
        ..Default::default()
    };
    bench.api().delete_model_version(delete).await.unwrap();
    assert_eq!(seen(&next(&mut again).await), "Model leave");
    assert_eq!(seen(&next(&mut again).await), "Deleted leave/2");
    let delete = wire::DeleteRegisteredModelRequest {
        name: "leave".into(),
        ..Default::default()
    };
    bench.api().delete_registered_model(delete).await.unwrap();
    let version_gone = next(&mut again).await;
    assert_eq!(seen(&version_gone), "Deleted leave/1");
    let model_gone = next(&mut again).await;
    assert_eq!(seen(&model_gone), "Model leave");
    assert!(model_gone.model.unwrap().create_time.is_none());
    let mut resumed = open(&bench, "", &version_gone.cursor).await;
    assert_eq!(
        seen(&next(&mut resumed).await),
        "Deleted leave/1",
        "nothing between the two is lost"
    );
}

#[tokio::test]
async fn an_old_cursor_is_out_of_range() {
    let bench = Bench::alone().await;
    bench.model("churn").await;
    bench.version("churn").await;
    let status = async |name: &str, cursor: &str| {
        let request = wire::WatchModelVersionsRequest {
            name: name.into(),
            cursor: cursor.into(),
        };
        bench.api().watch_model_versions(request).await.unwrap_err()
    };
    refused(&status("", "999").await, Code::OutOfRange, "CURSOR_EXPIRED");
    bench.turn(1_000_000);
    let keep = Duration::from_secs(1);
    let now = lodeway_domain::time::Clock::now(&*bench.clock);
    lodeway_store::ledger::changes::prune(&bench.db, now, keep)
        .await
        .unwrap();
    refused(&status("", "1").await, Code::OutOfRange, "CURSOR_EXPIRED");
    assert_eq!(fields(&status("", "x").await), ["cursor"]);
    refused(&status("x", "").await, Code::NotFound, "RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn a_watcher_that_leaves_is_forgotten() {
    let bench = Bench::alone().await;
    let before = bench.tasks.len();
    let mut stream = open(&bench, "", "").await;
    assert_eq!(seen(&next(&mut stream).await), "Synced ");
    assert_eq!(bench.tasks.len(), before + 1);
    drop(stream);
    until(async || Some(()).filter(|()| bench.tasks.len() == before)).await;
}
