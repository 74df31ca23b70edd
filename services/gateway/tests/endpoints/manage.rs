//! Making endpoints and revisions.

use super::{host::Host, hosted::hosted, *};

#[tokio::test]
async fn an_endpoint_is_made_once_its_targets_are_ready() {
    let bench = Bench::new().await;
    let upstream = Upstream::constant(7.0).unwrap();
    upstream.set_ready(false);
    let early = bench.create("a", spec([target("v1", &upstream, 1)])).await;
    let early = early.unwrap_err();
    refused(&early, Code::FailedPrecondition, "TARGET_NOT_READY");
    assert!(early.message().contains("`v1`"), "{early:?}");
    refused(
        &bench.get("a").await.unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
    let mut dead = Upstream::start().unwrap();
    dead.die();
    let targets = [target("v1", &upstream, 1), target("v2", &dead, 0)];
    upstream.set_ready(true);
    let half = bench.create("a", spec(targets)).await.unwrap_err();
    refused(&half, Code::FailedPrecondition, "TARGET_NOT_READY");
    assert!(half.message().contains("`v2`"), "{half:?}");
    refused(
        &bench.score("a", 1.0).await.unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );

    let made = bench
        .create("a", spec([target("v1", &upstream, 1)]))
        .await
        .unwrap();
    assert_eq!(made.revision.unwrap().number, 1);
    assert_eq!(
        (
            &*made.target_statuses[0].state,
            &*made.target_statuses[0].platform
        ),
        ("ready", "scripted")
    );
    assert_eq!(bench.score("a", 1.0).await.unwrap(), 7.0);
    let again = bench
        .create("a", spec([target("v1", &upstream, 1)]))
        .await
        .unwrap_err();
    refused(&again, Code::AlreadyExists, "RESOURCE_EXISTS");
}

#[tokio::test]
async fn a_revision_with_a_target_that_is_not_ready_changes_nothing() {
    let bench = Bench::new().await;
    let (old, new) = (Upstream::constant(1.0).unwrap(), Upstream::constant(2.0).unwrap());
    bench.create("a", spec([target("v1", &old, 1)])).await.unwrap();
    new.set_ready(false);
    let refusal = bench
        .revise("a", spec([target("v2", &new, 1)]))
        .await
        .unwrap_err();
    refused(&refusal, Code::FailedPrecondition, "TARGET_NOT_READY");
    assert_eq!(bench.get("a").await.unwrap().revision.unwrap().number, 1);
    assert_eq!(bench.score("a", 0.0).await.unwrap(), 1.0);
    new.set_ready(true);
    bench.revise("a", spec([target("v2", &new, 1)])).await.unwrap();
    assert_eq!(bench.score("a", 0.0).await.unwrap(), 2.0);
}

#[tokio::test]
async fn a_stale_revision_is_refused_with_a_request_id_and_without() {
    let bench = Bench::new().await;
    let upstream = Upstream::start().unwrap();
    bench
        .create("a", spec([target("v1", &upstream, 1)]))
        .await
        .unwrap();
    let revise = |expected: Option<i64>, id: String, weight: u32| {
        let request = wire::CreateRevisionRequest {
            name: "a".to_owned(),
            spec: Some(spec([target("v1", &upstream, weight)])),
            expected_revision: expected,
            request_id: id,
            ..wire::CreateRevisionRequest::default()
        };
        let mut api = bench.api();
        async move {
            api.create_revision(request)
                .await
                .map(|made| made.into_inner().endpoint.unwrap())
        }
    };
    let first = revise(Some(1), request_id(1), 2).await.unwrap();
    assert_eq!(first.revision.as_ref().unwrap().number, 2);
    // The same once more is the same answer, and no third revision.
    let repeated = revise(Some(1), request_id(1), 2).await.unwrap();
    assert_eq!(repeated.revision, first.revision);
    refused(
        &revise(Some(1), request_id(1), 3).await.unwrap_err(),
        Code::InvalidArgument,
        "REQUEST_ID_REUSED",
    );
    for (expected, id) in [
        (1, String::new()),
        (1, request_id(2)),
        (9, request_id(3)),
        (9, String::new()),
    ] {
        let stale = revise(Some(expected), id, 4).await.unwrap_err();
        refused(&stale, Code::Aborted, "ETAG_MISMATCH");
    }
    assert_eq!(bench.get("a").await.unwrap().revision.unwrap().number, 2);
    assert_eq!(
        revise(Some(2), request_id(4), 5)
            .await
            .unwrap()
            .revision
            .unwrap()
            .number,
        3
    );
}

#[tokio::test]
async fn a_repeated_request_does_not_bring_an_old_target_back() {
    let bench = Bench::new().await;
    let (old, new) = (Upstream::constant(1.0).unwrap(), Upstream::constant(2.0).unwrap());
    bench.create("a", spec([target("v", &old, 1)])).await.unwrap();
    let request = wire::CreateRevisionRequest {
        name: "a".to_owned(),
        spec: Some(spec([target("v", &old, 2)])),
        request_id: request_id(1),
        ..wire::CreateRevisionRequest::default()
    };
    bench.api().create_revision(request.clone()).await.unwrap();
    // The name stays, the server behind it is another.
    bench.revise("a", spec([target("v", &new, 1)])).await.unwrap();
    let late = bench.api().create_revision(request).await.unwrap().into_inner();
    assert_eq!(late.endpoint.unwrap().revision.unwrap().number, 2);
    assert_eq!(bench.get("a").await.unwrap().revision.unwrap().number, 3);
    assert_eq!(bench.score("a", 0.0).await.unwrap(), 2.0);
}

#[tokio::test]
async fn an_endpoint_deleted_and_made_again_is_another_one() {
    let bench = Bench::new().await;
    let (old, new) = (Upstream::constant(1.0).unwrap(), Upstream::constant(2.0).unwrap());
    let first = bench.create("a", spec([target("v", &old, 1)])).await.unwrap();
    let answer = bench.call(Request::new(input("a", 0.0))).await.unwrap();
    let id = prediction_id(&answer);
    for round in 0..20_u128 {
        let request = wire::DeleteEndpointRequest {
            name: "a".to_owned(),
            request_id: request_id(round + 1),
        };
        bench.api().delete_endpoint(request).await.unwrap();
        refused(
            &bench.score("a", 0.0).await.unwrap_err(),
            Code::NotFound,
            "RESOURCE_NOT_FOUND",
        );
        let made = bench.create("a", spec([target("v", &new, 1)])).await.unwrap();
        assert_ne!(made.endpoint_uid, first.endpoint_uid);
        // What this gateway hears of the old one, late, changes nothing any more.
        for _ in 0..20 {
            assert_eq!(bench.score("a", 0.0).await.unwrap(), 2.0);
        }
    }
    let request = wire::ExplainPredictionRequest { prediction_id: id };
    let explained = bench.monitor.clone().explain_prediction(request).await.unwrap();
    let explained = explained.into_inner();
    assert_eq!(
        (&*explained.endpoint, explained.reference),
        ("a", old.reference("m"))
    );
}

#[tokio::test]
async fn descriptions_change_with_etags_and_keep_what_serves() {
    let bench = Bench::new().await;
    let upstream = Upstream::constant(3.0).unwrap();
    let made = bench
        .create("a", spec([target("v", &upstream, 1)]))
        .await
        .unwrap();
    let update = |etag: &str, text: &str| {
        let endpoint = wire::Endpoint {
            name: "a".to_owned(),
            description: text.to_owned(),
            etag: etag.to_owned(),
            ..wire::Endpoint::default()
        };
        let request = wire::UpdateEndpointRequest {
            endpoint: Some(endpoint),
            ..wire::UpdateEndpointRequest::default()
        };
        let mut api = bench.api();
        async move {
            api.update_endpoint(request)
                .await
                .map(|done| done.into_inner().endpoint.unwrap())
        }
    };
    let changed = update(&made.etag, "new").await.unwrap();
    assert_eq!(
        (&*changed.description, changed.revision.unwrap().number),
        ("new", 1)
    );
    refused(
        &update(&made.etag, "lost").await.unwrap_err(),
        Code::Aborted,
        "ETAG_MISMATCH",
    );
    assert_eq!(bench.get("a").await.unwrap().description, "new");
    assert_eq!(bench.score("a", 0.0).await.unwrap(), 3.0);
}

#[tokio::test]
async fn another_gateway_takes_over_what_was_made_changed_and_deleted() {
    let bench = Bench::new().await;
    let twin = bench.twin("gw-1").await;
    let (one, two) = (Upstream::constant(1.0).unwrap(), Upstream::constant(2.0).unwrap());
    bench.create("a", spec([target("v", &one, 1)])).await.unwrap();
    until(async || twin.score("a", 0.0).await.ok().filter(|score| *score == 1.0)).await;
    bench.revise("a", spec([target("w", &two, 1)])).await.unwrap();
    until(async || twin.score("a", 0.0).await.ok().filter(|score| *score == 2.0)).await;
    let name = "a".to_owned();
    let request = wire::DeleteEndpointRequest {
        name,
        ..wire::DeleteEndpointRequest::default()
    };
    bench.api().delete_endpoint(request).await.unwrap();
    let gone = until(async || twin.score("a", 0.0).await.err()).await;
    refused(&gone, Code::NotFound, "RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn endpoints_serve_again_after_a_restart() {
    let bench = Bench::new().await;
    let mut upstream = Upstream::constant(5.0).unwrap();
    bench
        .create("a", spec([target("v", &upstream, 1)]))
        .await
        .unwrap();
    let bench = bench.restart("gw-1").await;
    assert_eq!(bench.score("a", 0.0).await.unwrap(), 5.0);
    upstream.die();
    let bench = bench.restart("gw-2").await;
    let down = bench.score("a", 0.0).await.unwrap_err();
    refused(&down, Code::Unavailable, "BACKEND_UNAVAILABLE");
    // It comes back without anybody's help.
    upstream.revive().unwrap();
    until(async || bench.score("a", 0.0).await.ok().filter(|score| *score == 5.0)).await;
}

#[tokio::test]
async fn revisions_are_compared_listed_and_rolled_back() {
    let bench = Bench::new().await;
    let (one, two) = (Upstream::constant(1.0).unwrap(), Upstream::constant(2.0).unwrap());
    let both =
        |first: u32, second: u32| sticky(spec([target("one", &one, first), target("two", &two, second)]));
    bench.create("a", both(9, 1)).await.unwrap();
    let users: Vec<String> = (0..200).map(|n| format!("user-{n}")).collect();
    let who = async || {
        let mut scores = Vec::new();
        for user in &users {
            scores.push(bench.score_for("a", user).await.unwrap());
        }
        scores
    };
    let before = who().await;
    assert!(
        (5..50).contains(&before.iter().filter(|score| **score == 2.0).count()),
        "{before:?}"
    );
    bench.revise("a", both(5, 5)).await.unwrap();
    let after = who().await;
    // A key that had come to `two` stays there.
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(old, new)| *old == 1.0 || *new == 2.0)
    );
    assert_ne!(before, after);
    let request = wire::DiffRevisionsRequest {
        name: "a".to_owned(),
        from_number: 1,
        to_number: 0,
    };
    let diff = bench.api().diff_revisions(request).await.unwrap().into_inner();
    assert!((diff.moved_share - 0.4).abs() < 1e-9, "{diff:?}");
    let request = wire::RollbackEndpointRequest {
        name: "a".to_owned(),
        ..wire::RollbackEndpointRequest::default()
    };
    let back = bench.api().rollback_endpoint(request).await.unwrap().into_inner();
    let revision = back.endpoint.unwrap().revision.unwrap();
    assert_eq!((revision.number, &*revision.reason), (3, "rollback to 1"));
    assert_eq!(who().await, before);
    let request = wire::ListRevisionsRequest {
        name: "a".to_owned(),
        ..wire::ListRevisionsRequest::default()
    };
    let listed = bench
        .api()
        .list_revisions(request)
        .await
        .unwrap()
        .into_inner()
        .revisions;
    let moved = |revision: &wire::Revision| (revision.number, (revision.moved_share * 10.0).round());
    let listed: Vec<_> = listed.iter().map(moved).collect();
    assert_eq!(listed, [(3, 4.0), (2, 4.0), (1, 0.0)]);
    // On a page of its own too, and where the endpoint is looked at.
    let request = wire::ListRevisionsRequest {
        name: "a".to_owned(),
        page_size: 1,
        ..wire::ListRevisionsRequest::default()
    };
    let newest = bench.api().list_revisions(request).await.unwrap().into_inner();
    assert_eq!(newest.revisions.iter().map(moved).collect::<Vec<_>>(), [(3, 4.0)]);
    assert_eq!(moved(&bench.get("a").await.unwrap().revision.unwrap()), (3, 4.0));
    let request = wire::RollbackEndpointRequest {
        name: "a".to_owned(),
        number: 3,
        ..wire::RollbackEndpointRequest::default()
    };
    let none = bench.api().rollback_endpoint(request).await.unwrap_err();
    refused(&none, Code::InvalidArgument, "INVALID_FIELD");
}

#[tokio::test]
async fn a_dead_target_is_told_and_can_be_taken_out_of_use() {
    let bench = Bench::new().await;
    let mut dies = Upstream::constant(1.0).unwrap();
    let lives = Upstream::constant(2.0).unwrap();
    let of = |dies: &Upstream, first: u32, second: u32| {
        spec([target("dies", dies, first), target("lives", &lives, second)])
    };
    bench.create("a", of(&dies, 1, 1)).await.unwrap();
    bench
        .create("alone", spec([target("dies", &dies, 1)]))
        .await
        .unwrap();
    dies.die();
    // Nobody has to call it for that.
    for name in ["a", "alone"] {
        until(async || (bench.state(name, "dies").await == "failed").then_some(())).await;
    }
    assert_eq!(bench.state("a", "lives").await, "ready");
    // What changes something else about it is none of its business, nor is its share of the calls.
    let mut patient = of(&dies, 1, 1);
    patient.resilience = Some(wire::Resilience {
        max_retries: Some(2),
        ..wire::Resilience::default()
    });
    bench.revise("a", patient).await.unwrap();
    bench.revise("a", of(&dies, 0, 1)).await.unwrap();
    assert_eq!(bench.score("a", 0.0).await.unwrap(), 2.0);
    // It gets no calls again before it answers, nor does another that does not.
    let back = bench.revise("a", of(&dies, 1, 1)).await.unwrap_err();
    refused(&back, Code::FailedPrecondition, "TARGET_NOT_READY");
    let mut more = of(&dies, 0, 1);
    more.targets.extend(spec([target("new", &dies, 0)]).targets);
    let new = bench.revise("a", more).await.unwrap_err();
    refused(&new, Code::FailedPrecondition, "TARGET_NOT_READY");
    dies.revive().unwrap();
    until(async || (bench.state("alone", "dies").await == "ready").then_some(())).await;
    bench.revise("a", of(&dies, 1, 1)).await.unwrap();
}

#[tokio::test]
async fn watchers_see_a_snapshot_and_every_change() {
    let bench = Bench::new().await;
    let upstream = Upstream::start().unwrap();
    bench
        .create("a", spec([target("v", &upstream, 1)]))
        .await
        .unwrap();
    let opened = bench
        .api()
        .watch_endpoints(wire::WatchEndpointsRequest::default())
        .await;
    let mut stream = opened.unwrap().into_inner();
    let snapshot = stream.message().await.unwrap().unwrap();
    assert_eq!(snapshot.endpoint.unwrap().name, "a");
    let end = stream.message().await.unwrap().unwrap();
    assert!(end.snapshot_end);
    bench
        .create("b", spec([target("v", &upstream, 1)]))
        .await
        .unwrap();
    bench
        .revise("a", spec([target("v", &upstream, 2)]))
        .await
        .unwrap();
    for (name, number) in [("b", 1), ("a", 2)] {
        let endpoint = stream.message().await.unwrap().unwrap().endpoint.unwrap();
        assert_eq!(
            (&*endpoint.name, endpoint.revision.unwrap().number),
            (name, number)
        );
    }
    // A watcher that was cut off goes on from its cursor.
    let request = wire::WatchEndpointsRequest { cursor: end.cursor };
    let mut stream = bench.api().watch_endpoints(request).await.unwrap().into_inner();
    assert_eq!(
        stream.message().await.unwrap().unwrap().endpoint.unwrap().name,
        "b"
    );
    let cursor = "1000000".to_owned();
    let foreign = bench
        .api()
        .watch_endpoints(wire::WatchEndpointsRequest { cursor })
        .await;
    refused(&foreign.unwrap_err(), Code::OutOfRange, "CURSOR_EXPIRED");
}

#[tokio::test]
async fn a_redacted_field_that_no_target_has_is_refused_where_all_say_what_they_have() {
    let host = Host::default();
    let signature = |inputs: &str, outputs: &str| {
        let of = serde_json::json!({ "inputs": inputs, "outputs": outputs });
        of.to_string()
    };
    let inputs =
        r#"[{"name": "age", "type": "double"}, {"name": "zip", "type": "string", "required": false}]"#;
    let named = signature(inputs, r#"[{"name": "score", "type": "double"}]"#);
    let redacting = |targets: Vec<wire::Target>, fields: &[&str]| {
        let mut spec = spec(targets);
        spec.request_log = Some(wire::RequestLog {
            redacted_fields: fields.iter().map(|&field| field.to_owned()).collect(),
            ..wire::RequestLog::default()
        });
        spec
    };
    host.script().signature = named.clone();
    let bench = Bench::hosted(&host, config("gw-0")).await;
    let one = || vec![hosted("one", "models:/m/1", 1)];
    let refusal = bench
        .create("a", redacting(one(), &["age", "agee"]))
        .await
        .unwrap_err();
    refused(&refusal, Code::InvalidArgument, "INVALID_FIELD");
    let fields: Vec<_> = from_status(&refusal)
        .violations
        .into_iter()
        .map(|v| v.field)
        .collect();
    assert_eq!(fields, ["spec.request_log.redacted_fields[1]"]);
    assert!(
        refusal
            .message()
            .contains("`agee` is no input or output of any target; there is `age`, `score`, `zip`"),
        "{refusal:?}"
    );
    bench
        .create("a", redacting(one(), &["zip", "score"]))
        .await
        .unwrap();
    let refusal = bench
        .revise("a", redacting(one(), &["nothing"]))
        .await
        .unwrap_err();
    refused(&refusal, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(bench.get("a").await.unwrap().revision.unwrap().number, 1);
    // One that says nothing of itself may have anything.
    let elsewhere = Upstream::start().unwrap();
    let mut both = one();
    both.push(target("two", &elsewhere, 1));
    bench.create("b", redacting(both, &["nothing"])).await.unwrap();
    for unknown in ["", &signature(inputs, "")] {
        unknown.clone_into(&mut host.script().signature);
        let name = format!("c{}", unknown.len());
        bench.create(&name, redacting(one(), &["nothing"])).await.unwrap();
    }
}
