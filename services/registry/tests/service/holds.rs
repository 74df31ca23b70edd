//! Files of promoted versions are held at the artifact service, and let go afterwards.

use super::{peer::Peer, *};

/// A model with one version in `s3://b/x` whose digest is on record.
async fn ready(peer: &Peer) -> (Bench, String) {
    peer.script(|s| s.manifests.insert("s3://b/x".into(), "d1".into()));
    let bench = Bench::with(peer.both()).await;
    bench.model("churn").await;
    let made = bench.version("churn").await;
    until(async || {
        let found = bench.get("churn", 1).await.unwrap();
        (found.digest_state() == wire::DigestState::Recorded).then_some(())
    })
    .await;
    let holder = format!("registry/{}/1", made.model_uid);
    (bench, holder)
}

async fn let_go(peer: &Peer) {
    until(async || peer.holders("s3://b/x").is_empty().then_some(())).await;
}

async fn delete_alias(bench: &Bench, alias: &str) {
    let request = wire::DeleteAliasRequest {
        name: "churn".into(),
        alias: alias.into(),
        ..Default::default()
    };
    bench.api().delete_alias(request).await.unwrap();
}

#[tokio::test]
async fn files_are_held_as_long_as_a_version_is_promoted() {
    let peer = Peer::default();
    let (bench, holder) = ready(&peer).await;
    assert_eq!(peer.holders("s3://b/x"), [""; 0]);
    // Held when the call answers, let go a little later.
    bench.go("churn", 1, wire::Stage::Staging).await.unwrap();
    assert_eq!(peer.holders("s3://b/x"), [holder.as_str()]);
    bench.go("churn", 1, wire::Stage::Production).await.unwrap();
    bench.point("churn", "champion", 1).await;
    let left = bench.go("churn", 1, wire::Stage::Archived).await.unwrap();
    bench.point("churn", "other", 1).await;
    delete_alias(&bench, "champion").await;
    assert_eq!(peer.holders("s3://b/x"), [holder.as_str()]);
    delete_alias(&bench, "other").await;
    let_go(&peer).await;
    let back = wire::RollbackTransitionRequest {
        transition_id: left[0].transition_id,
        ..Default::default()
    };
    bench.api().rollback_transition(back).await.unwrap();
    assert_eq!(peer.holders("s3://b/x"), [holder.as_str()]);
    // Another version in the same folder holds it for itself.
    let second = bench.version("churn").await;
    bench
        .go("churn", second.version, wire::Stage::Production)
        .await
        .unwrap();
    let other = format!("registry/{}/2", second.model_uid);
    until(async || (peer.holders("s3://b/x") == [other.as_str()]).then_some(())).await;
    let request = wire::DeleteRegisteredModelRequest {
        name: "churn".into(),
        force: true,
        ..Default::default()
    };
    bench.api().delete_registered_model(request).await.unwrap();
    let_go(&peer).await;
}

#[tokio::test]
async fn a_move_that_is_refused_holds_nothing() {
    let peer = Peer::default();
    let (bench, _) = ready(&peer).await;
    peer.script(|s| s.manifests.insert("s3://b/x".into(), "d2".into()));
    let status = bench.go("churn", 1, wire::Stage::Production).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "DIGEST_MISMATCH");
    let_go(&peer).await;
}

#[tokio::test]
async fn what_was_missed_is_found_with_the_next_start() {
    let peer = Peer::default();
    let (bench, holder) = ready(&peer).await;
    bench.go("churn", 1, wire::Stage::Production).await.unwrap();
    let gone = [format!("{holder}7"), "registry/nobody/1".to_owned()];
    let foreign = "somebody else/1".to_owned();
    peer.script(|s| {
        let all = gone.iter().chain([&foreign]);
        s.held
            .extend(all.map(|holder| ("s3://b/x".to_owned(), holder.clone())));
    });
    let bench = bench.restart(peer.both()).await;
    until(async || (peer.holders("s3://b/x") == [holder.clone(), foreign.clone()]).then_some(())).await;
    // And what should be held and is not is held again.
    peer.script(|s| s.held.clear());
    let bench = bench.restart(peer.both()).await;
    until(async || (peer.holders("s3://b/x") == [holder.clone()]).then_some(())).await;
    // Without an answer from the artifact service a version moves all the same, where no rule stands.
    peer.script(|s| s.failure = Some(Code::Unavailable));
    bench.go("churn", 1, wire::Stage::Staging).await.unwrap();
}

#[tokio::test]
async fn nobody_lets_go_of_what_is_just_being_promoted() {
    let peer = Peer::default();
    let (bench, holder) = ready(&peer).await;
    peer.script(|s| s.manifest_takes = Duration::from_secs(2));
    let promotion = bench.go("churn", 1, wire::Stage::Production);
    let looks = async {
        until(async || (!peer.holders("s3://b/x").is_empty()).then_some(())).await;
        // Every hold is looked at while the files are compared.
        bench.model("other").await;
        let request = wire::DeleteRegisteredModelRequest {
            name: "other".into(),
            ..Default::default()
        };
        bench.api().delete_registered_model(request).await.unwrap();
        let looked_at = peer.script(|s| s.listings);
        until(async || (peer.script(|s| s.listings) > looked_at).then_some(())).await;
    };
    let (moved, ()) = tokio::join!(promotion, looks);
    moved.unwrap();
    assert_eq!(peer.holders("s3://b/x"), [holder.as_str()]);
}
