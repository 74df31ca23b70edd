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

/// A version of model `name` in a folder of its own, just registered.
async fn fresh(bench: &Bench, name: &str) -> (wire::ModelVersion, String) {
    let request = wire::CreateModelVersionRequest {
        source: format!("s3://b/{name}"),
        ..plain(name)
    };
    bench.model(name).await;
    let made = bench.create(request).await.unwrap();
    let holder = format!("registry/{}/1", made.model_uid);
    (made, holder)
}

#[tokio::test]
async fn what_was_registered_just_now_is_held_when_its_promotion_answers() {
    let peer = Peer::default();
    let bench = Bench::with(peer.both()).await;
    for name in ["staged", "named"] {
        let folder = format!("s3://b/{name}");
        peer.script(|s| s.manifests.insert(folder.clone(), "d1".into()));
        let (_, holder) = fresh(&bench, name).await;
        match name {
            "staged" => drop(bench.go(name, 1, wire::Stage::Production).await.unwrap()),
            _ => drop(bench.point(name, "champion", 1).await),
        }
        assert_eq!(peer.holders(&folder), [holder.as_str()]);
        // What is on record is what is held.
        let now = bench.get(name, 1).await.unwrap();
        assert_eq!(
            (now.digest_state(), &*now.content_digest),
            (wire::DigestState::Recorded, "d1")
        );
    }
}

#[tokio::test]
async fn what_was_read_before_files_were_held_is_not_put_on_record() {
    let peer = Peer::default();
    let bench = Bench::with(peer.both()).await;
    peer.script(|s| {
        s.manifests.insert("s3://b/churn".into(), "d1".into());
        s.manifest_takes = Duration::from_secs(3);
    });
    let (_, holder) = fresh(&bench, "churn").await;
    // Its files change while they are read for the digest, then it is promoted.
    tokio::time::sleep(Duration::from_millis(500)).await;
    peer.script(|s| s.manifests.insert("s3://b/churn".into(), "d2".into()));
    bench.go("churn", 1, wire::Stage::Staging).await.unwrap();
    assert_eq!(peer.holders("s3://b/churn"), [holder.as_str()]);
    let now = bench.get("churn", 1).await.unwrap();
    assert_eq!(now.digest_state(), wire::DigestState::Pending);
    peer.script(|s| s.manifest_takes = Duration::ZERO);
    let recorded = until(async || {
        let now = bench.get("churn", 1).await.unwrap();
        (now.digest_state() == wire::DigestState::Recorded).then_some(now.content_digest)
    });
    assert_eq!(recorded.await, "d2");
}

#[tokio::test]
async fn only_folders_with_a_model_file_are_held() {
    let peer = Peer::default();
    let bench = Bench::with(peer.both()).await;
    peer.script(|s| {
        s.manifests.insert("s3://b/churn".into(), "d1".into());
        s.plain.insert("s3://b/churn".into());
    });
    fresh(&bench, "churn").await;
    bench.go("churn", 1, wire::Stage::Staging).await.unwrap();
    until(async || {
        let now = bench.get("churn", 1).await.unwrap();
        (now.digest_state() == wire::DigestState::Recorded).then_some(())
    })
    .await;
    bench.go("churn", 1, wire::Stage::Production).await.unwrap();
    assert_eq!(peer.holders("s3://b/churn"), [""; 0]);
    // Files that came after the version was registered are held as they are found.
    let (made, holder) = fresh(&bench, "late").await;
    until(async || {
        let now = bench.get("late", made.version).await.unwrap();
        (now.digest_state() == wire::DigestState::Failed).then_some(())
    })
    .await;
    peer.script(|s| s.manifests.insert("s3://b/late".into(), "d1".into()));
    bench.point("late", "champion", 1).await;
    assert_eq!(peer.holders("s3://b/late"), [holder.as_str()]);
}

#[tokio::test]
async fn what_was_promoted_without_an_artifact_service_is_held_when_it_is_back() {
    let peer = Peer::default();
    let bench = Bench::with(peer.both()).await;
    peer.script(|s| {
        s.manifests.insert("s3://b/churn".into(), "d1".into());
        s.files_failure = Some(Code::Unavailable);
    });
    let (_, holder) = fresh(&bench, "churn").await;
    bench.go("churn", 1, wire::Stage::Production).await.unwrap();
    peer.script(|s| s.files_failure = None);
    until(async || (peer.holders("s3://b/churn") == [holder.clone()]).then_some(())).await;
}

#[tokio::test]
async fn a_hold_says_the_present_name_of_its_model() {
    let peer = Peer::default();
    let (bench, holder) = ready(&peer).await;
    bench.go("churn", 1, wire::Stage::Production).await.unwrap();
    let reason = async || peer.script(|s| s.reasons.get(&holder).cloned());
    assert_eq!(reason().await.unwrap(), "version 1 of model `churn`");
    let request = wire::RenameRegisteredModelRequest {
        name: "churn".into(),
        new_name: "retention".into(),
        ..Default::default()
    };
    bench.api().rename_registered_model(request).await.unwrap();
    until(async || (reason().await? == "version 1 of model `retention`").then_some(())).await;
    assert_eq!(peer.holders("s3://b/x"), [holder.as_str()]);
}

/// Two replicas of the service on one database, with a version of `churn` whose digest is on record, and its holder.
async fn replicas(peer: &Peer) -> (Bench, Bench, String) {
    peer.script(|s| s.manifests.insert("s3://b/x".into(), "d1".into()));
    let text = tokio::task::spawn_blocking(lodeway_testkit::postgres::database)
        .await
        .unwrap()
        .unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(START)));
    let replica = async || {
        let url = StoreUrl::parse(&text).unwrap();
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Bench::over(url, folder, clock.clone(), peer.both()).await
    };
    let (one, other) = (replica().await, replica().await);
    one.model("churn").await;
    let made = one.version("churn").await;
    until(async || {
        let found = one.get("churn", 1).await.unwrap();
        (found.digest_state() == wire::DigestState::Recorded).then_some(())
    })
    .await;
    (one, other, format!("registry/{}/1", made.model_uid))
}

/// Has a replica look at every hold, until it has begun to.
async fn look_at_all(bench: &Bench, peer: &Peer) {
    let looked_at = peer.script(|s| s.listings);
    bench.model("other").await;
    let request = wire::DeleteRegisteredModelRequest {
        name: "other".into(),
        ..Default::default()
    };
    bench.api().delete_registered_model(request).await.unwrap();
    until(async || (peer.script(|s| s.listings) > looked_at).then_some(())).await;
}

#[tokio::test]
async fn no_replica_lets_go_of_what_another_is_promoting() {
    let peer = Peer::default();
    let (one, other, holder) = replicas(&peer).await;
    peer.script(|s| s.manifest_takes = Duration::from_secs(3));
    let promotion = one.go("churn", 1, wire::Stage::Production);
    let looks = async {
        until(async || (!peer.holders("s3://b/x").is_empty()).then_some(())).await;
        look_at_all(&other, &peer).await;
        // What the look finds is let go of soon after.
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert_eq!(peer.holders("s3://b/x"), [holder.as_str()]);
        }
    };
    let (moved, ()) = tokio::join!(promotion, looks);
    moved.unwrap();
    assert_eq!(peer.holders("s3://b/x"), [holder.as_str()]);

    // What is promoted no more is let go, whoever held it.
    peer.script(|s| s.manifest_takes = Duration::ZERO);
    other.go("churn", 1, wire::Stage::Archived).await.unwrap();
    let_go(&peer).await;
}

#[tokio::test]
async fn a_promotion_waits_for_a_replica_that_is_letting_go() {
    let peer = Peer::default();
    let (one, other, holder) = replicas(&peer).await;
    other.go("churn", 1, wire::Stage::Production).await.unwrap();
    let begun = peer.script(|s| {
        s.release_takes = Duration::from_secs(1);
        s.releases
    });
    other.go("churn", 1, wire::Stage::Archived).await.unwrap();
    until(async || (peer.script(|s| s.releases) > begun).then_some(())).await;
    one.go("churn", 1, wire::Stage::Production).await.unwrap();
    for _ in 0..150 {
        assert_eq!(peer.holders("s3://b/x"), [holder.as_str()]);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
