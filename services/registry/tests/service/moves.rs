//! Stages, aliases, the ledger, rollback, resolution.

use super::*;

#[tokio::test]
async fn a_promotion_is_recorded_and_taken_back() {
    let bench = Bench::alone().await;
    bench.model("churn").await;
    bench.version("churn").await;
    bench.version("churn").await;
    bench.go("churn", 1, wire::Stage::Production).await.unwrap();
    bench.turn(7);
    let told = bench.go("churn", 2, wire::Stage::Production).await.unwrap();
    let seen: Vec<_> = told
        .iter()
        .map(|t| (t.version, t.from_stage(), t.to_stage()))
        .collect();
    assert_eq!(
        seen,
        [
            (2, wire::Stage::None, wire::Stage::Production),
            (1, wire::Stage::Production, wire::Stage::Archived)
        ]
    );
    assert_eq!(
        (&*told[0].comment, &*told[0].principal, told[0].principal_verified),
        ("because", "anonymous", false)
    );
    assert_eq!(
        (told[0].create_time, told[1].group_id),
        (Some(stamp(7)), told[0].transition_id)
    );

    let rollback = |id: i64, request_id: String| wire::RollbackTransitionRequest {
        transition_id: id,
        comment: "oops".into(),
        request_id,
    };
    let request = rollback(told[0].transition_id, request_id(1));
    let back = bench
        .api()
        .rollback_transition(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(back.transitions.len(), 2);
    assert_eq!(
        bench.get("churn", 1).await.unwrap().stage(),
        wire::Stage::Production
    );
    assert_eq!(bench.get("churn", 2).await.unwrap().stage(), wire::Stage::None);
    assert_eq!(
        bench
            .api()
            .rollback_transition(request)
            .await
            .unwrap()
            .into_inner(),
        back,
        "repeated"
    );
    let status = bench
        .api()
        .rollback_transition(rollback(told[0].transition_id, String::new()))
        .await
        .unwrap_err();
    refused(&status, Code::FailedPrecondition, "SUPERSEDED_TRANSITION");
    let later = back.transitions[0].transition_id.to_string();
    assert_eq!(from_status(&status).value("transition_id"), Some(&*later));
    let ledger = bench.ledger().await;
    let original = ledger
        .iter()
        .find(|t| t.transition_id == told[0].transition_id)
        .unwrap();
    assert!(original.rolled_back_by > 0);

    let created = ledger.last().unwrap().transition_id;
    let status = bench
        .api()
        .rollback_transition(rollback(created, String::new()))
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["transition_id"]);
    refused(
        &bench
            .api()
            .rollback_transition(rollback(999, String::new()))
            .await
            .unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
    assert_eq!(
        fields(
            &bench
                .api()
                .rollback_transition(rollback(0, String::new()))
                .await
                .unwrap_err()
        ),
        ["transition_id"]
    );
}

#[tokio::test]
async fn transitions_are_refused_with_their_fields() {
    let bench = Bench::alone().await;
    bench.model("churn").await;
    bench.version("churn").await;
    let request = |stage: wire::Stage, archive_existing_versions| wire::TransitionModelVersionRequest {
        name: "churn".into(),
        version: 1,
        stage: stage.into(),
        archive_existing_versions,
        comment: String::new(),
        request_id: request_id(2),
    };
    let go = async |request| {
        bench
            .api()
            .transition_model_version(request)
            .await
            .map(tonic::Response::into_inner)
    };
    assert_eq!(
        fields(&go(request(wire::Stage::Unspecified, false)).await.unwrap_err()),
        ["stage"]
    );
    let status = go(request(wire::Stage::Archived, true)).await.unwrap_err();
    assert_eq!(fields(&status), ["archive_existing_versions"]);
    let long = wire::TransitionModelVersionRequest {
        comment: "x".repeat(5_001),
        ..request(wire::Stage::None, false)
    };
    assert_eq!(fields(&go(long).await.unwrap_err()), ["comment"]);
    refused(
        &bench.go("churn", 9, wire::Stage::Staging).await.unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
    let first = go(request(wire::Stage::Staging, true)).await.unwrap();
    bench.turn(5);
    assert_eq!(go(request(wire::Stage::Staging, true)).await.unwrap(), first);
    assert_eq!(bench.ledger().await.len(), 3);
}

#[tokio::test]
async fn aliases_are_set_moved_and_removed() {
    let bench = Bench::alone().await;
    bench.model("churn").await;
    bench.version("churn").await;
    bench.version("churn").await;
    assert_eq!(
        bench.point("churn", "x", 1).await.unwrap().kind(),
        wire::TransitionKind::Alias
    );
    assert!(bench.point("churn", "x", 1).await.is_none());
    assert_eq!(bench.point("churn", "x", 2).await.unwrap().from_version, 1);
    let set = |alias: &str, version| wire::SetAliasRequest {
        name: "churn".into(),
        alias: alias.into(),
        version,
        ..Default::default()
    };
    for bad in ["latest", "v3", "a b", ""] {
        assert_eq!(
            fields(&bench.api().set_alias(set(bad, 1)).await.unwrap_err()),
            ["alias"],
            "{bad}"
        );
    }
    refused(
        &bench.api().set_alias(set("x", 9)).await.unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
    let delete = |name: &str| wire::DeleteAliasRequest {
        name: name.into(),
        alias: "x".into(),
        ..Default::default()
    };
    let gone = bench
        .api()
        .delete_alias(delete("churn"))
        .await
        .unwrap()
        .into_inner()
        .transition
        .unwrap();
    assert_eq!((gone.version, gone.from_version), (0, 2));
    assert!(
        bench
            .api()
            .delete_alias(delete("churn"))
            .await
            .unwrap()
            .into_inner()
            .transition
            .is_none()
    );
    refused(
        &bench.api().delete_alias(delete("y")).await.unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
}

#[tokio::test]
async fn the_ledger_is_listed_by_name_uid_and_page() {
    let bench = Bench::alone().await;
    let churn = bench.model("churn").await;
    bench.version("churn").await;
    bench.go("churn", 1, wire::Stage::Staging).await.unwrap();
    bench.model("fraud").await;
    let list = async |request: wire::ListTransitionsRequest| {
        bench
            .api()
            .list_transitions(request)
            .await
            .map(tonic::Response::into_inner)
    };
    let kinds =
        |page: &wire::ListTransitionsResponse| page.transitions.iter().map(|t| t.kind()).collect::<Vec<_>>();
    use wire::TransitionKind as Kind;
    let by_name = wire::ListTransitionsRequest {
        name: "churn".into(),
        ..Default::default()
    };
    assert_eq!(
        kinds(&list(by_name.clone()).await.unwrap()),
        [Kind::Stage, Kind::VersionCreated, Kind::ModelCreated]
    );
    let first = list(wire::ListTransitionsRequest {
        page_size: 2,
        ..by_name.clone()
    })
    .await
    .unwrap();
    let rest = wire::ListTransitionsRequest {
        page_token: first.next_page_token.clone(),
        ..by_name.clone()
    };
    assert_eq!(kinds(&list(rest).await.unwrap()), [Kind::ModelCreated]);
    let foreign = wire::ListTransitionsRequest {
        page_token: first.next_page_token,
        ..Default::default()
    };
    refused(
        &list(foreign).await.unwrap_err(),
        Code::InvalidArgument,
        "INVALID_PAGE_TOKEN",
    );
    let kind = wire::ListTransitionsRequest {
        kinds: vec![Kind::ModelCreated.into()],
        ..Default::default()
    };
    assert_eq!(list(kind).await.unwrap().transitions.len(), 2);
    let bad = wire::ListTransitionsRequest {
        kinds: vec![0],
        version: -1,
        ..Default::default()
    };
    assert_eq!(fields(&list(bad).await.unwrap_err()), ["version", "kinds[0]"]);
    let delete = wire::DeleteRegisteredModelRequest {
        name: "churn".into(),
        ..Default::default()
    };
    bench.api().delete_registered_model(delete).await.unwrap();
    refused(
        &list(by_name).await.unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
    let by_uid = wire::ListTransitionsRequest {
        model_uid: churn.uid,
        ..Default::default()
    };
    assert_eq!(kinds(&list(by_uid).await.unwrap())[0], Kind::ModelDeleted);
}

#[tokio::test]
async fn a_uri_is_resolved_now_and_then() {
    let bench = Bench::alone().await;
    bench.model("churn").await;
    bench.version("churn").await;
    bench.version("churn").await;
    bench.turn(10);
    bench.go("churn", 1, wire::Stage::Production).await.unwrap();
    bench.point("churn", "champion", 1).await;
    bench.turn(10);
    bench.go("churn", 2, wire::Stage::Production).await.unwrap();
    for (uri, at, version) in [
        ("models:/churn/1", None, 1),
        ("models:/churn/Production", None, 2),
        ("models:/churn/production", Some(19), 1),
        ("models:/churn/latest", None, 2),
        ("models:/churn@champion", None, 1),
        ("models:/churn@champion", Some(10), 1),
    ] {
        let found = bench.resolve(uri, at).await.unwrap();
        assert_eq!(found.model_version.unwrap().version, version, "{uri} {at:?}");
        assert_eq!(found.artifact_uri, "s3://b/x");
    }
    for (uri, at) in [
        ("models:/churn/Staging", None),
        ("models:/churn/Production", Some(9)),
        ("models:/churn@champion", Some(9)),
        ("models:/fraud/1", None),
    ] {
        refused(
            &bench.resolve(uri, at).await.unwrap_err(),
            Code::NotFound,
            "RESOURCE_NOT_FOUND",
        );
    }
    assert_eq!(
        fields(&bench.resolve("s3://b/x", None).await.unwrap_err()),
        ["uri"]
    );
    assert_eq!(
        fields(&bench.resolve("runs:/r1/m", Some(1)).await.unwrap_err()),
        ["as_of_time"]
    );
    refused(
        &bench.resolve("runs:/r1/m", None).await.unwrap_err(),
        Code::Unimplemented,
        "NOT_IMPLEMENTED",
    );
    // Clocks are not read to the millisecond, nor do they agree to the second.
    let mut fine = stamp(19);
    fine.nanos += 999_999;
    let request = wire::ResolveModelRequest {
        uri: "models:/churn/Production".into(),
        as_of_time: Some(fine),
    };
    let found = bench.api().resolve_model(request).await.unwrap().into_inner();
    assert_eq!(found.model_version.unwrap().version, 1);
    for (ahead, is_known) in [(30_000, true), (120_000, false)] {
        let found = bench.resolve("models:/churn/Production", Some(20 + ahead)).await;
        match found {
            Ok(found) => assert!(is_known && found.model_version.unwrap().version == 2),
            Err(refused) => {
                assert!(!is_known);
                assert_eq!(fields(&refused), ["as_of_time"]);
                assert!(refused.message().contains("future"), "{refused}");
            }
        }
    }
}

#[tokio::test]
async fn a_uri_means_what_it_meant_after_its_version_was_deleted() {
    let bench = Bench::alone().await;
    bench.model("churn").await;
    bench.version("churn").await;
    bench.turn(10);
    bench.go("churn", 1, wire::Stage::Production).await.unwrap();
    bench.turn(10);
    bench.go("churn", 1, wire::Stage::Archived).await.unwrap();
    let meant = bench.resolve("models:/churn/1", Some(19)).await.unwrap();
    assert_eq!(meant.model_version.unwrap().stage(), wire::Stage::Production);
    assert_eq!(meant.deleted_time, None);

    bench.turn(10);
    let delete = wire::DeleteModelVersionRequest {
        name: "churn".into(),
        version: 1,
        ..Default::default()
    };
    bench.api().delete_model_version(delete).await.unwrap();
    let meant = bench.resolve("models:/churn/Production", Some(19)).await.unwrap();
    let version = meant.model_version.unwrap();
    assert_eq!((version.version, version.stage()), (1, wire::Stage::Production));
    assert_eq!(
        (&*meant.artifact_uri, meant.deleted_time),
        ("s3://b/x", Some(stamp(30)))
    );
    refused(
        &bench.resolve("models:/churn/1", Some(30)).await.unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
}
