//! Sources, messages to tracking, content digests.

use lodeway_proto::tracking::v1::RecordModelVersionRequest;

use super::{peer::Peer, *};

pub(super) fn knowing_peer() -> Peer {
    let peer = Peer::default();
    peer.script(|s| {
        s.runs.insert("r1".into(), "s3://b/1/r1/artifacts".into());
        s.models
            .insert("m-1".into(), ("s3://b/1/models/m-1".into(), "r1".into()));
    });
    peer
}

pub(super) fn from(source: &str) -> wire::CreateModelVersionRequest {
    wire::CreateModelVersionRequest {
        source: source.into(),
        ..plain("churn")
    }
}

async fn arrived(peer: &Peer, count: usize) -> Vec<RecordModelVersionRequest> {
    until(async || Some(peer.recorded()).filter(|told| told.len() >= count)).await
}

async fn waiting(bench: &Bench) -> i64 {
    lodeway_store::ledger::outbox::waiting(&bench.db).await.unwrap()
}

pub(super) async fn emptied(bench: &Bench) {
    until(async || Some(waiting(bench).await).filter(|left| *left == 0)).await;
}

#[tokio::test]
async fn sources_are_resolved_with_tracking() {
    let peer = knowing_peer();
    let bench = Bench::with(peer.tracking()).await;
    bench.model("churn").await;
    let of_run = bench.create(from("runs:/r1/model")).await.unwrap();
    assert_eq!(
        (&*of_run.artifact_uri, &*of_run.run_id),
        ("s3://b/1/r1/artifacts/model", "r1")
    );
    let of_model = bench.create(from("models:/m-1")).await.unwrap();
    assert_eq!(
        (&*of_model.artifact_uri, &*of_model.run_id, &*of_model.model_id),
        ("s3://b/1/models/m-1", "r1", "m-1")
    );
    let of_version = bench.create(from("models:/churn/1")).await.unwrap();
    assert_eq!(
        (of_version.artifact_uri, of_version.source_unchecked),
        (of_run.artifact_uri, false)
    );
    refused(
        &bench.create(from("runs:/r9/model")).await.unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
    let whatever = wire::CreateModelVersionRequest {
        allow_unknown_source: true,
        ..from("runs:/r1/model")
    };
    assert!(!bench.create(whatever).await.unwrap().source_unchecked);
    refused(
        &bench.create(from("models:/m-9")).await.unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
    refused(
        &bench.create(from("models:/churn/9")).await.unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
    assert_eq!(bench.version("churn").await.version, 5, "refusals leave no gap");

    let resolved = bench.resolve("runs:/r1/a/b", None).await.unwrap();
    assert_eq!(
        (&*resolved.artifact_uri, resolved.model_version),
        ("s3://b/1/r1/artifacts/a/b", None)
    );
    assert_eq!(
        bench.resolve("models:/m-1", None).await.unwrap().artifact_uri,
        "s3://b/1/models/m-1"
    );

    let request = wire::CreateModelVersionRequest {
        request_id: request_id(1),
        ..from("runs:/r1/model")
    };
    let made = bench.create(request.clone()).await.unwrap();
    peer.script(|s| s.runs.clear());
    assert_eq!(
        bench.create(request).await.unwrap(),
        made,
        "repeated, though the run is gone"
    );
}

/// A reference that moves would soon name another version.
#[tokio::test]
async fn a_version_of_another_has_its_origin_and_names_it_for_good() {
    let peer = knowing_peer();
    peer.script(|s| {
        s.models
            .insert("m-2".into(), ("s3://b/1/models/m-2".into(), "r1".into()))
    });
    let bench = Bench::with(peer.tracking()).await;
    bench.model("churn").await;
    bench.create(from("models:/m-1")).await.unwrap();
    bench.point("churn", "champion", 1).await;
    for source in ["models:/churn@champion", "models:/churn/1"] {
        let made = bench.create(from(source)).await.unwrap();
        assert_eq!(
            (&*made.source, &*made.artifact_uri, &*made.run_id, &*made.model_id),
            ("models:/churn/1", "s3://b/1/models/m-1", "r1", "m-1"),
            "{source}"
        );
    }
    let latest = bench.create(from("models:/churn/latest")).await.unwrap();
    assert_eq!(latest.source, "models:/churn/3");
    for (field, run_id, model_id) in [("run_id", "r2", ""), ("model_id", "", "m-2")] {
        let request = wire::CreateModelVersionRequest {
            run_id: run_id.into(),
            model_id: model_id.into(),
            allow_unknown_source: true,
            ..from("models:/churn/1")
        };
        let status = bench.create(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
        assert_eq!(fields(&status), [field]);
    }
}

#[tokio::test]
async fn a_prompt_is_no_source() {
    let bench = Bench::alone().await;
    bench.model("churn").await;
    let mut prompt = from("dummy-source");
    prompt
        .tags
        .insert("mlflow.prompt.is_prompt".into(), "true".into());
    let prompt = bench.create(prompt).await.unwrap();
    let source = format!("models:/churn/{}", prompt.version);
    let status = bench.create(from(&source)).await.unwrap_err();
    assert_eq!(
        (status.code(), fields(&status)),
        (Code::InvalidArgument, vec!["source".to_owned()])
    );
}

#[tokio::test]
async fn a_place_has_one_name() {
    let bench = Bench::with(knowing_peer().tracking()).await;
    bench.model("churn").await;
    let made = bench
        .create(from("MLFLOW-ARTIFACTS:/7/Run/artifacts"))
        .await
        .unwrap();
    assert_eq!(made.source, "MLFLOW-ARTIFACTS:/7/Run/artifacts");
    assert_eq!(made.artifact_uri, "mlflow-artifacts:/7/Run/artifacts");
    for source in [
        "/data/../data/x",
        "mlflow-artifacts:/a/%2e%2E/b",
        "s3://b/x/..",
        "mlflow-artifacts:/1/r/artifacts/mod%2565l",
    ] {
        let refused = bench.create(from(source)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{source}: {refused:?}");
        assert!(refused.message().contains("`source`"), "{refused:?}");
    }
}

#[tokio::test]
async fn unknown_sources_are_taken_and_marked_if_that_is_allowed() {
    let bench = Bench::with(knowing_peer().tracking()).await;
    bench.model("churn").await;
    for source in ["runs:/r9/model", "models:/m-9"] {
        let request = wire::CreateModelVersionRequest {
            allow_unknown_source: true,
            ..from(source)
        };
        let made = bench.create(request).await.unwrap();
        assert_eq!((&*made.artifact_uri, made.source_unchecked), (source, true));
    }
    let version = wire::CreateModelVersionRequest {
        allow_unknown_source: true,
        ..from("models:/churn/9")
    };
    refused(
        &bench.create(version).await.unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
}

#[tokio::test]
async fn a_model_that_tracking_does_not_know_is_refused() {
    let peer = knowing_peer();
    let bench = Bench::with(peer.tracking()).await;
    bench.model("churn").await;
    for allow_unknown_source in [false, true] {
        for source in ["s3://b/x", "models:/m-1", "models:/m-9", "runs:/r1/model"] {
            let unknown = wire::CreateModelVersionRequest {
                model_id: "m-9".into(),
                run_id: "r1".into(),
                allow_unknown_source,
                ..from(source)
            };
            let status = bench.create(unknown).await.unwrap_err();
            refused(&status, Code::NotFound, "RESOURCE_NOT_FOUND");
            assert!(status.message().contains("m-9"), "{status:?}");
        }
    }
    let known = wire::CreateModelVersionRequest {
        model_id: "m-1".into(),
        request_id: request_id(1),
        ..plain("churn")
    };
    let made = bench.create(known.clone()).await.unwrap();
    assert_eq!(
        (
            made.version,
            &*made.model_id,
            &*made.run_id,
            made.source_unchecked
        ),
        (1, "m-1", "r1", false),
        "the run is the one that made the model"
    );
    let told = arrived(&peer, 1).await;
    assert_eq!((&*told[0].model_id, &*told[0].run_id), ("m-1", "r1"));

    peer.script(|s| s.failure = Some(Code::Unavailable));
    let later = wire::CreateModelVersionRequest {
        request_id: String::new(),
        ..known.clone()
    };
    assert_eq!(
        bench.create(later).await.unwrap_err().code(),
        Code::Unavailable,
        "nobody vouched for the model"
    );
    assert_eq!(bench.create(known).await.unwrap(), made, "repeated");
}

#[tokio::test]
async fn a_run_that_tracking_does_not_know_is_refused_unless_that_is_allowed() {
    let peer = knowing_peer();
    let bench = Bench::with(peer.tracking()).await;
    bench.model("churn").await;
    let unknown = wire::CreateModelVersionRequest {
        run_id: "r9".into(),
        ..plain("churn")
    };
    let status = bench.create(unknown.clone()).await.unwrap_err();
    refused(&status, Code::NotFound, "RESOURCE_NOT_FOUND");
    let allowed = wire::CreateModelVersionRequest {
        allow_unknown_source: true,
        ..unknown
    };
    let made = bench.create(allowed.clone()).await.unwrap();
    assert_eq!((&*made.run_id, made.source_unchecked), ("r9", false));
    let of_known_model = wire::CreateModelVersionRequest {
        source: "models:/m-1".into(),
        model_id: "m-1".into(),
        ..allowed
    };
    let made = bench.create(of_known_model).await.unwrap();
    assert_eq!(
        (&*made.run_id, &*made.artifact_uri, made.source_unchecked),
        ("r9", "s3://b/1/models/m-1", false)
    );
}

#[tokio::test]
async fn a_registry_alone_accepts_sources_unchecked() {
    let bench = Bench::alone().await;
    bench.model("churn").await;
    let made = bench.create(from("runs:/r1/model")).await.unwrap();
    assert_eq!(
        (&*made.artifact_uri, &*made.run_id, made.source_unchecked),
        ("runs:/r1/model", "r1", true)
    );
    assert_eq!(made.digest_state(), wire::DigestState::Unspecified);
    let with_run = wire::CreateModelVersionRequest {
        run_id: "r1".into(),
        ..plain("churn")
    };
    assert!(bench.create(with_run).await.unwrap().source_unchecked);
    assert!(!bench.version("churn").await.source_unchecked);
    emptied(&bench).await;
}

#[tokio::test]
async fn tracking_knows_before_the_answer_if_it_can() {
    let peer = knowing_peer();
    let bench = Bench::with(peer.tracking()).await;
    let model = bench.model("churn").await;
    bench.create(from("models:/m-1")).await.unwrap();
    let told = peer.recorded();
    assert_eq!(told.len(), 1);
    let first = &told[0];
    assert_eq!(
        (&*first.name, first.version, &*first.model_id, &*first.run_id),
        ("churn", 1, "m-1", "r1")
    );
    assert_eq!((&first.model_uid, first.released), (&model.uid, false));

    let rename = wire::RenameRegisteredModelRequest {
        name: "churn".into(),
        new_name: "leave".into(),
        ..Default::default()
    };
    bench.api().rename_registered_model(rename).await.unwrap();
    let told = arrived(&peer, 2).await;
    assert_eq!((&*told[1].name, told[1].released), ("leave", false));
    let delete = wire::DeleteModelVersionRequest {
        name: "leave".into(),
        version: 1,
        ..Default::default()
    };
    bench.api().delete_model_version(delete).await.unwrap();
    let told = arrived(&peer, 3).await;
    assert!(told[2].released);
    assert!(told.windows(2).all(|pair| pair[0].event_seq < pair[1].event_seq));
    emptied(&bench).await;
    assert_eq!(peer.recorded().len(), 3);
}

#[tokio::test]
async fn a_version_of_what_is_purged_meanwhile_is_taken_back() {
    let peer = knowing_peer();
    let bench = Bench::with(peer.tracking()).await;
    bench.model("churn").await;
    peer.script(|s| s.purged.insert("r1".into()));
    let request = wire::CreateModelVersionRequest {
        request_id: request_id(1),
        ..from("runs:/r1/model")
    };
    for _ in 0..2 {
        let status = bench.create(request.clone()).await.unwrap_err();
        refused(&status, Code::NotFound, "RESOURCE_NOT_FOUND");
        assert!(status.message().contains("r1"), "{status:?}");
    }
    for version in [1, 2] {
        let status = bench.get("churn", version).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{version}");
    }
    // Tracking hears that nothing is left of them.
    let told = arrived(&peer, 2).await;
    assert!(told.iter().all(|told| told.released), "{told:?}");
    emptied(&bench).await;
    peer.script(|s| s.purged.clear());
    let made = bench.create(request.clone()).await.unwrap();
    assert_eq!(made.version, 3, "no number is given twice");
    assert_eq!(bench.create(request).await.unwrap(), made);
}

#[tokio::test]
async fn tracking_is_told_of_a_version_that_names_only_its_folder() {
    let peer = knowing_peer();
    let bench = Bench::with(peer.tracking()).await;
    let model = bench.model("churn").await;
    bench
        .create(from("mlflow-artifacts:/1/r1/artifacts/model"))
        .await
        .unwrap();
    let told = peer.recorded();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&*told[0].artifact_uri, &*told[0].run_id, &*told[0].model_id),
        ("mlflow-artifacts:/1/r1/artifacts/model", "", "")
    );
    assert_eq!((&told[0].model_uid, told[0].released), (&model.uid, false));
    let delete = wire::DeleteModelVersionRequest {
        name: "churn".into(),
        version: 1,
        ..Default::default()
    };
    bench.api().delete_model_version(delete).await.unwrap();
    let told = arrived(&peer, 2).await;
    assert!(told[1].released && told[1].event_seq > told[0].event_seq);
    emptied(&bench).await;
}

#[tokio::test]
async fn a_message_waits_until_tracking_takes_this_registry_for_one() {
    let peer = knowing_peer();
    let bench = Bench::with(peer.tracking()).await;
    bench.model("churn").await;
    for code in [Code::PermissionDenied, Code::Unauthenticated] {
        peer.script(|s| s.failure = Some(code));
        bench.version("churn").await;
    }
    assert_eq!(waiting(&bench).await, 2);
    peer.script(|s| s.failure = None);
    until(async || {
        bench.turn(5_000);
        Some(()).filter(|()| peer.recorded().len() == 2)
    })
    .await;
    emptied(&bench).await;
}

#[tokio::test]
async fn a_message_is_delivered_late_and_once() {
    let peer = knowing_peer();
    let bench = Bench::with(peer.tracking()).await;
    bench.model("churn").await;
    peer.script(|s| s.failure = Some(Code::Unavailable));
    assert_eq!(
        bench.create(plain("churn")).await.unwrap().version,
        1,
        "acknowledged although tracking is away"
    );
    assert_eq!(waiting(&bench).await, 1);
    bench.turn(3_000);
    until(async || Some(()).filter(|()| peer.script(|s| s.attempts) >= 2)).await;
    assert_eq!(waiting(&bench).await, 1);
    peer.script(|s| s.failure = None);
    until(async || {
        bench.turn(5_000);
        Some(()).filter(|()| !peer.recorded().is_empty())
    })
    .await;
    emptied(&bench).await;
    bench.turn(600_000);
    assert_eq!(peer.recorded().len(), 1);
}

/// Files that a purge could take: tracking must know of the version before it is answered.
#[tokio::test]
async fn a_version_of_files_kept_here_is_not_made_while_tracking_is_away() {
    let peer = knowing_peer();
    peer.script(|s| s.manifests.insert("s3://b/x".into(), "d1".into()));
    let bench = Bench::with(peer.both()).await;
    bench.model("churn").await;
    let request = wire::CreateModelVersionRequest {
        request_id: request_id(7),
        ..plain("churn")
    };
    peer.script(|s| s.tracking_failure = Some(Code::Unavailable));
    let status = bench.create(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(
        status.message().contains("tracking does not answer"),
        "{status:?}"
    );
    assert_eq!(bench.get("churn", 1).await.unwrap_err().code(), Code::NotFound);
    // What fails from then on takes no number.
    for _ in 0..3 {
        let status = bench.create(plain("churn")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    }
    assert!(peer.script(|s| s.probes) >= 3);
    peer.script(|s| s.tracking_failure = None);
    let made = bench.create(request.clone()).await.unwrap();
    assert_eq!(made.version, 2, "the first has been given and taken back");
    assert_eq!(bench.create(request).await.unwrap(), made);
    until(async || {
        bench.turn(60_000);
        let told = peer.recorded();
        let last = |version: i64| {
            told.iter()
                .rfind(|one| one.version == version)
                .map(|one| one.released)
        };
        (last(1) == Some(true) && last(2) == Some(false)).then_some(())
    })
    .await;
}

/// A repetition of a request whose process died, or is at work on it, says no more than that.
#[tokio::test]
async fn a_repetition_is_answered_when_tracking_knows_of_the_version() {
    let peer = knowing_peer();
    peer.script(|s| {
        s.manifests.insert("s3://b/x".into(), "d1".into());
        s.hangs = true;
    });
    let bench = Bench::with(peer.both()).await;
    bench.model("churn").await;
    let request = wire::CreateModelVersionRequest {
        request_id: request_id(9),
        ..plain("churn")
    };
    let first = bench.create(request.clone());
    let again = async {
        until(async || (peer.script(|s| s.attempts) > 0).then_some(())).await;
        bench.create(request.clone()).await
    };
    let (first, again) = tokio::join!(first, again);
    for answer in [first, again] {
        assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
    }
    peer.script(|s| s.hangs = false);
    let made = bench.create(request.clone()).await.unwrap();
    assert_eq!(bench.create(request).await.unwrap(), made);
    assert!(bench.get("churn", made.version).await.is_ok());
    // Who took back what, and why.
    let history = wire::ListTransitionsRequest {
        name: "churn".into(),
        ..Default::default()
    };
    let history = bench.api().list_transitions(history).await.unwrap().into_inner();
    let comments = history.transitions.iter().map(|entry| entry.comment.as_str());
    assert!(
        comments
            .into_iter()
            .any(|comment| comment.starts_with("taken back"))
    );
}

/// Files that are not kept here, and of which nobody says that they are.
#[tokio::test]
async fn a_version_of_files_elsewhere_is_made_while_tracking_is_away() {
    let peer = knowing_peer();
    let bench = Bench::with(peer.both()).await;
    bench.model("churn").await;
    peer.script(|s| s.tracking_failure = Some(Code::Unavailable));
    for (version, code) in [(1, Code::InvalidArgument), (2, Code::Unavailable)] {
        peer.script(|s| s.files_failure = Some(code));
        assert_eq!(bench.version("churn").await.version, version, "{code}");
    }
    assert_eq!(waiting(&bench).await, 2);
    // Nobody says that these are elsewhere.
    let of_run = wire::CreateModelVersionRequest {
        run_id: "r1".into(),
        ..plain("churn")
    };
    for request in [of_run, from("mlflow-artifacts:/1/r1/artifacts"), from("/data/x")] {
        let status = bench.create(request).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    }
    assert_eq!(bench.version("churn").await.version, 3);
}

#[tokio::test]
async fn a_peer_that_hangs_costs_only_the_wait() {
    let peer = knowing_peer();
    let bench = Bench::with(peer.tracking()).await;
    bench.model("churn").await;
    peer.script(|s| s.hangs = true);
    let before = tokio::time::Instant::now();
    bench.create(plain("churn")).await.unwrap();
    let waited = before.elapsed();
    assert!(
        waited >= config().delivery_wait && waited < Duration::from_secs(8),
        "{waited:?}"
    );
}

#[tokio::test]
async fn a_message_survives_a_restart() {
    let peer = knowing_peer();
    let bench = Bench::with(peer.tracking()).await;
    bench.model("churn").await;
    peer.script(|s| s.failure = Some(Code::Unavailable));
    bench.create(plain("churn")).await.unwrap();
    let late = knowing_peer();
    let bench = bench.restart(late.tracking()).await;
    bench.turn(400_000);
    assert_eq!(arrived(&late, 1).await[0].version, 1);
    assert!(peer.recorded().is_empty());
}

#[tokio::test]
async fn what_tracking_refuses_for_good_is_dropped() {
    let peer = knowing_peer();
    let bench = Bench::with(peer.tracking()).await;
    bench.model("churn").await;
    peer.script(|s| s.failure = Some(Code::InvalidArgument));
    let with_run = wire::CreateModelVersionRequest {
        run_id: "unheard-of".into(),
        allow_unknown_source: true,
        ..plain("churn")
    };
    bench.create(with_run).await.unwrap();
    emptied(&bench).await;
    assert_eq!(peer.script(|s| s.attempts), 1);
}

async fn with_digest(bench: &Bench, version: i64, state: wire::DigestState) -> wire::ModelVersion {
    until(async || {
        bench
            .get("churn", version)
            .await
            .ok()
            .filter(|v| v.digest_state() == state)
    })
    .await
}

#[tokio::test]
async fn digests_are_recorded_after_the_answer() {
    let peer = knowing_peer();
    peer.script(|s| s.manifests.insert("s3://b/x".into(), "d1".into()));
    let bench = Bench::with(peer.both()).await;
    bench.model("churn").await;
    let made = bench.version("churn").await;
    assert_eq!(made.digest_state(), wire::DigestState::Pending);
    let recorded = with_digest(&bench, 1, wire::DigestState::Recorded).await;
    assert_eq!((&*recorded.content_digest, &recorded.etag), ("d1", &made.etag));
    bench.create(from("s3://b/empty")).await.unwrap();
    with_digest(&bench, 2, wire::DigestState::Failed).await;
    let prompt = wire::CreateModelVersionRequest {
        tags: [("mlflow.prompt.is_prompt".to_owned(), "true".to_owned())].into(),
        ..from("prompt-template")
    };
    assert_eq!(
        bench.create(prompt).await.unwrap().digest_state(),
        wire::DigestState::Unspecified
    );
}

#[tokio::test]
async fn pending_digests_survive_a_restart() {
    let peer = knowing_peer();
    peer.script(|s| s.files_failure = Some(Code::Unavailable));
    let bench = Bench::with(peer.both()).await;
    bench.model("churn").await;
    bench.version("churn").await;
    let late = knowing_peer();
    late.script(|s| s.manifests.insert("s3://b/x".into(), "d1".into()));
    let bench = bench.restart(late.both()).await;
    assert_eq!(
        with_digest(&bench, 1, wire::DigestState::Recorded)
            .await
            .content_digest,
        "d1"
    );
}

#[tokio::test]
async fn production_refuses_files_that_changed() {
    let peer = knowing_peer();
    peer.script(|s| s.manifests.insert("s3://b/x".into(), "d1".into()));
    let bench = Bench::with(peer.both()).await;
    bench.model("churn").await;
    bench.version("churn").await;
    with_digest(&bench, 1, wire::DigestState::Recorded).await;
    peer.script(|s| s.manifests.insert("s3://b/x".into(), "d2".into()));
    bench.go("churn", 1, wire::Stage::Staging).await.unwrap();
    let status = bench.go("churn", 1, wire::Stage::Production).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "DIGEST_MISMATCH");
    assert_eq!(bench.get("churn", 1).await.unwrap().stage(), wire::Stage::Staging);
    peer.script(|s| s.failure = Some(Code::Unavailable));
    bench.go("churn", 1, wire::Stage::Production).await.unwrap();
}

#[tokio::test]
async fn the_way_back_to_production_refuses_files_that_changed() {
    let peer = knowing_peer();
    peer.script(|s| s.manifests.insert("s3://b/x".into(), "d1".into()));
    let bench = Bench::with(peer.both()).await;
    bench.model("churn").await;
    bench.version("churn").await;
    with_digest(&bench, 1, wire::DigestState::Recorded).await;
    bench.go("churn", 1, wire::Stage::Production).await.unwrap();
    let left = bench.go("churn", 1, wire::Stage::Archived).await.unwrap();
    let back = wire::RollbackTransitionRequest {
        transition_id: left[0].transition_id,
        ..Default::default()
    };
    peer.script(|s| s.manifests.insert("s3://b/x".into(), "d2".into()));
    let status = bench.api().rollback_transition(back.clone()).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "DIGEST_MISMATCH");
    assert_eq!(
        bench.get("churn", 1).await.unwrap().stage(),
        wire::Stage::Archived
    );
    peer.script(|s| s.manifests.insert("s3://b/x".into(), "d1".into()));
    bench.api().rollback_transition(back).await.unwrap();
    assert_eq!(
        bench.get("churn", 1).await.unwrap().stage(),
        wire::Stage::Production
    );
}

/// A bench that knows that files in the bucket `b` alone are kept by the platform, while tracking does not answer.
async fn knowing_of_elsewhere(peer: &Peer) -> Bench {
    peer.script(|s| {
        s.buckets = Some(vec!["s3://b".into()]);
        s.tracking_failure = Some(Code::Unavailable);
    });
    let bench = Bench::with(peer.both()).await;
    bench.model("churn").await;
    until(async || bench.create(from("s3://elsewhere/first")).await.ok()).await;
    bench
}

/// Lets tracking answer, and time pass until it was told everything.
async fn are_delivered(bench: &Bench, peer: &Peer) {
    peer.script(|s| s.tracking_failure = None);
    let told = async || {
        bench.turn(1_000);
        Some(waiting(bench).await).filter(|left| *left == 0)
    };
    until(told).await;
}

#[tokio::test]
async fn a_version_of_files_elsewhere_waits_for_nobody() {
    let peer = knowing_peer();
    let bench = knowing_of_elsewhere(&peer).await;
    let (attempts, reads) = peer.script(|s| (s.attempts, s.manifest_reads));
    for n in 0..200 {
        let made = bench.create(from(&format!("s3://elsewhere/{n}"))).await.unwrap();
        assert_eq!(made.digest_state, wire::DigestState::Unspecified as i32);
    }
    assert_eq!(
        peer.script(|s| s.manifest_reads),
        reads,
        "nobody keeps those files here"
    );
    let kept = bench.create(from("s3://b/other")).await.unwrap_err();
    assert_eq!(
        kept.code(),
        Code::Unavailable,
        "a purge could take them: {kept:?}"
    );
    let request = wire::CreateModelVersionRequest {
        run_id: "r1".into(),
        ..from("s3://elsewhere/of-a-run")
    };
    bench.create(request).await.unwrap();
    assert!(
        peer.script(|s| s.attempts) > attempts,
        "what is of a run is told at once"
    );

    are_delivered(&bench, &peer).await;
    assert!(told_of(&peer, 200));
}

/// Whether tracking was told of so many folders elsewhere, by their numbers.
fn told_of(peer: &Peer, count: usize) -> bool {
    let told: std::collections::BTreeSet<_> =
        peer.recorded().into_iter().map(|one| one.artifact_uri).collect();
    (0..count).all(|n| told.contains(&format!("s3://elsewhere/{n}")))
}

#[tokio::test]
async fn a_request_for_a_version_of_files_elsewhere_is_repeated_without_tracking() {
    let peer = knowing_peer();
    let bench = knowing_of_elsewhere(&peer).await;
    let request = wire::CreateModelVersionRequest {
        request_id: request_id(7),
        ..from("s3://elsewhere/model")
    };
    let made = bench.create(request.clone()).await.unwrap();
    assert_eq!(bench.create(request).await.unwrap(), made);
}

#[tokio::test]
async fn messages_of_a_moment_arrive_without_another_look() {
    let peer = knowing_peer();
    let bench = knowing_of_elsewhere(&peer).await;
    are_delivered(&bench, &peer).await;
    for n in 0..50 {
        bench.create(from(&format!("s3://elsewhere/{n}"))).await.unwrap();
    }
    // The clock stands still: none of them is due for anybody but the process that wrote it.
    until(async || told_of(&peer, 50).then_some(())).await;
    emptied(&bench).await;
    let batches = peer.script(|s| s.batches);
    assert!((1..20).contains(&batches), "{batches} messages for 50 versions");
}

#[tokio::test]
async fn a_bucket_that_becomes_the_platforms_has_its_versions_read() {
    let peer = knowing_peer();
    let bench = knowing_of_elsewhere(&peer).await;
    let made = bench.create(from("s3a://elsewhere/model")).await.unwrap();
    assert_eq!(made.digest_state, wire::DigestState::Unspecified as i32);
    peer.script(|s| {
        s.manifests.insert("s3a://elsewhere/model".into(), "d1".into());
        s.buckets = Some(vec!["s3://b".into(), "s3://elsewhere".into()]);
    });
    let read = async || {
        let version = bench.get("churn", made.version).await.ok()?;
        (version.content_digest == "d1").then_some(())
    };
    until(read).await;
}
