//! Versions whose writer went away before tracking knew of them, while a purge took their files.

use lodeway_domain::{
    Caller,
    id::{RequestId, RunId},
    registry::{DigestState, ModelName, NewVersion, Tags},
};
use lodeway_store::{ledger::Write, registry::RegistryStore as _};

use super::{
    references::{emptied, from, knowing_peer},
    *,
};

/// The version that a process made of `source` right before it died, by the request of this number.
async fn made_and_died(bench: &Bench, source: &str, request: u128) -> i64 {
    let store = SqlRegistry::open(bench.db.clone(), Timestamp::from_millis(START))
        .await
        .unwrap();
    let write = Write {
        caller: Caller::anonymous(),
        now: Timestamp::from_millis(START),
        request: RequestId::parse(&request_id(request)).unwrap(),
        body_hash: vec![7],
    };
    let new = NewVersion {
        name: ModelName::parse("name", "churn").unwrap(),
        source: source.to_owned(),
        artifact_uri: source.to_owned(),
        run_id: Some(RunId::parse("r1").unwrap()),
        run_link: String::new(),
        model_id: None,
        description: String::new(),
        tags: Tags::new(),
        digest_state: DigestState::None,
        source_unchecked: false,
    };
    store.create_version(write, new).await.unwrap().version.version
}

async fn is_gone(bench: &Bench, version: i64) {
    until(async || {
        bench.turn(5_000);
        let status = bench.get("churn", version).await.err()?;
        (status.code() == Code::NotFound).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_version_is_taken_back_if_its_writer_died_before_the_purge_of_its_files() {
    let peer = knowing_peer();
    let here = "mlflow-artifacts:/1/r1/artifacts/model";
    peer.script(|s| {
        s.purged.insert("r1".into());
        s.manifests.insert(here.into(), "d1".into());
    });
    let bench = Bench::with(peer.both()).await;
    bench.model("churn").await;
    let version = made_and_died(&bench, here, 1).await;
    is_gone(&bench, version).await;
    emptied(&bench).await;
    peer.script(|s| s.purged.clear());
    let again = wire::CreateModelVersionRequest {
        request_id: request_id(1),
        ..from(here)
    };
    let made = bench.create(again).await.unwrap();
    assert!(made.version > version, "the request is as if it had never come");
}

/// It may have been answered: files elsewhere are no purge's to take, and no reason to wait for tracking.
#[tokio::test]
async fn a_version_of_files_elsewhere_stays_though_its_run_is_purged() {
    let peer = knowing_peer();
    peer.script(|s| {
        s.purged.insert("r1".into());
        s.files_failure = Some(Code::InvalidArgument);
    });
    let bench = Bench::with(peer.both()).await;
    bench.model("churn").await;
    let version = made_and_died(&bench, "s3://theirs/x", 1).await;
    bench.turn(60_000);
    emptied(&bench).await;
    assert!(bench.get("churn", version).await.is_ok());
}

#[tokio::test]
async fn a_version_that_was_promoted_meanwhile_stays() {
    let peer = knowing_peer();
    let here = "mlflow-artifacts:/1/r1/artifacts/model";
    peer.script(|s| {
        s.purged.insert("r1".into());
        s.manifests.insert(here.into(), "d1".into());
    });
    let bench = Bench::with(peer.both()).await;
    bench.model("churn").await;
    let version = made_and_died(&bench, here, 1).await;
    bench.point("churn", "champion", version).await;
    bench.turn(60_000);
    emptied(&bench).await;
    assert!(bench.get("churn", version).await.is_ok());
}

#[tokio::test]
async fn a_version_is_taken_back_though_its_caller_has_hung_up() {
    let peer = knowing_peer();
    peer.script(|s| {
        s.purged.insert("r1".into());
        s.hangs = true;
    });
    let bench = Bench::with(peer.tracking()).await;
    bench.model("churn").await;
    {
        let create = bench.create(from("runs:/r1/model"));
        let asked = until(async || peer.script(|s| s.attempts > 0).then_some(()));
        tokio::select! {
            answer = create => panic!("tracking has not answered: {answer:?}"),
            () = asked => {}
        }
    }
    assert!(bench.get("churn", 1).await.is_ok());
    peer.script(|s| s.hangs = false);
    is_gone(&bench, 1).await;
    emptied(&bench).await;
}
