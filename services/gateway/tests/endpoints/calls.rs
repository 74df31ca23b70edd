//! Which target answers a call, and when none does.

use super::*;

async fn two() -> (Bench, Upstream, Upstream) {
    (
        Bench::new().await,
        Upstream::constant(1.0).unwrap(),
        Upstream::constant(2.0).unwrap(),
    )
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test]
async fn calls_are_divided_by_weight() {
    let (bench, one, two) = two().await;
    let targets = [target("one", &one, 3), target("two", &two, 1)];
    bench.create("a", spec(targets)).await.unwrap();
    let counts = bench.scores("a", 2_000).await;
    // 1,500 expected, with a standard deviation of 19.4.
    assert!((1_400..1_600).contains(&counts[&1]), "{counts:?}");
    assert_eq!(
        (one.calls() + two.calls(), one.calls()),
        (2_000, counts[&1] as u64)
    );
    let sent = two.last().unwrap();
    assert_eq!((&*sent.model_name, &*sent.model_version), ("m", ""));
}

#[tokio::test]
async fn a_target_without_weight_gets_nothing_unless_named() {
    let (bench, one, two) = two().await;
    let targets = [target("one", &one, 1), target("two", &two, 0)];
    bench.create("a", spec(targets)).await.unwrap();
    assert_eq!(bench.scores("a", 200).await, BTreeMap::from([(1, 200)]));
    let pinned = |version: &str| {
        let mut message = input("a", 0.0);
        message.model_version = version.to_owned();
        Request::new(message)
    };
    assert_eq!(scored(&bench.call(pinned("two")).await.unwrap()), 2.0);
    let unknown = bench.call(pinned("three")).await.unwrap_err();
    refused(&unknown, Code::InvalidArgument, "INVALID_FIELD");
    assert!(unknown.message().contains("`one`, `two`"), "{unknown:?}");
    // Who pins a target does not want another one.
    two.fail(Code::Unavailable);
    let failed = bench.call(pinned("two")).await.unwrap_err();
    assert_eq!((failed.code(), one.calls()), (Code::Unavailable, 200));
}

#[tokio::test]
async fn a_key_stays_with_its_target() {
    let (bench, one, two) = two().await;
    let targets = [target("one", &one, 1), target("two", &two, 1)];
    bench.create("a", sticky(spec(targets))).await.unwrap();
    let mut whose = BTreeMap::new();
    for user in 0..60 {
        let key = format!("user-{user}");
        let first = bench.score_for("a", &key).await.unwrap();
        *whose.entry(first as i64).or_insert(0) += 1;
        for _ in 0..3 {
            assert_eq!(bench.score_for("a", &key).await.unwrap(), first, "{key}");
        }
    }
    assert!(whose.len() == 2 && whose.values().all(|n| *n > 15), "{whose:?}");
    // The same in another gateway, and after a restart.
    let twin = bench.twin("gw-1").await;
    for user in 0..60 {
        let key = format!("user-{user}");
        let (here, there) = (bench.score_for("a", &key).await, twin.score_for("a", &key).await);
        assert_eq!(here.unwrap(), there.unwrap(), "{key}");
    }
}

#[tokio::test]
async fn an_input_can_be_the_key() {
    let (bench, one, two) = two().await;
    let mut of = spec([target("one", &one, 1), target("two", &two, 1)]);
    let source = wire::sticky_key::Source::Input("x".to_owned());
    of.sticky_key = Some(wire::StickyKey { source: Some(source) });
    bench.create("a", of).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for value in 0..40 {
        let first = bench.score("a", f64::from(value)).await.unwrap();
        assert_eq!(bench.score("a", f64::from(value)).await.unwrap(), first);
        seen.insert(first as i64);
    }
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn rules_come_before_the_split_in_their_order() {
    let (bench, one, two) = two().await;
    let mut of = spec([target("one", &one, 1), target("two", &two, 0)]);
    let rule = |condition, target: &str| wire::MatchRule {
        header: "x-user".to_owned(),
        condition: Some(condition),
        target: target.to_owned(),
    };
    use wire::match_rule::Condition;
    of.rules = vec![
        rule(Condition::Equals("test-prod".to_owned()), "one"),
        rule(Condition::Prefix("test-".to_owned()), "two"),
    ];
    bench.create("a", of).await.unwrap();
    for (user, score) in [("test-prod", 1.0), ("test-9", 2.0), ("ada", 1.0)] {
        assert_eq!(bench.score_for("a", user).await.unwrap(), score, "{user}");
    }
    // A rule's target is the only one that its calls may go to.
    two.fail(Code::Unavailable);
    assert_eq!(
        bench.score_for("a", "test-9").await.unwrap_err().code(),
        Code::Unavailable
    );
    assert_eq!(bench.score_for("a", "ada").await.unwrap(), 1.0);
}

#[tokio::test]
async fn a_failed_call_goes_to_another_target() {
    let (bench, one, two) = two().await;
    let targets = [target("one", &one, 1), target("two", &two, 1)];
    let rare = wire::Resilience {
        ejection_failures: 1_000,
        retry_min_per_second: Some(1_000),
        ..wire::Resilience::default()
    };
    bench.create("a", with(spec(targets), rare)).await.unwrap();
    one.fail(Code::Unavailable);
    assert_eq!(bench.scores("a", 100).await, BTreeMap::from([(2, 100)]));
    assert!(one.calls() > 20, "{}", one.calls());
    // Each call is counted once, where its caller's answer came from.
    let (failed, good) = (
        bench.counted("a", "one", "UNAVAILABLE").await,
        bench.counted("a", "two", "ok").await,
    );
    assert_eq!((failed, good), (0, 100));
    // What is the caller's fault is not tried again anywhere.
    one.fail(Code::InvalidArgument);
    two.fail(Code::InvalidArgument);
    let before = one.calls() + two.calls();
    let bad = bench.score("a", 0.0).await.unwrap_err();
    assert_eq!(
        (bad.code(), one.calls() + two.calls()),
        (Code::InvalidArgument, before + 1)
    );
}

#[tokio::test]
async fn retries_are_bounded_by_their_budget() {
    let (bench, one, _two) = two().await;
    let budget = wire::Resilience {
        retry_percent: Some(10),
        retry_min_per_second: Some(3),
        max_retries: Some(2),
        ejection_failures: 1_000,
        ..wire::Resilience::default()
    };
    bench
        .create("a", with(spec([target("one", &one, 1)]), budget))
        .await
        .unwrap();
    one.fail(Code::Unavailable);
    for _ in 0..100 {
        assert_eq!(bench.score("a", 0.0).await.unwrap_err().code(), Code::Unavailable);
    }
    // The clock stands: 3 for the second, and 10 for a hundred calls.
    assert_eq!(one.calls(), 113);
    // A change of something else gives no new budget.
    bench
        .revise("a", with(spec([target("one", &one, 2)]), budget))
        .await
        .unwrap();
    bench.score("a", 0.0).await.unwrap_err();
    assert_eq!(one.calls(), 114);
    bench.turn(seconds(1));
    bench.score("a", 0.0).await.unwrap_err();
    assert_eq!(one.calls(), 117);
}

#[tokio::test]
async fn a_slow_answer_is_raced_by_another_target() {
    let (bench, one, two) = two().await;
    let hedged = wire::Resilience {
        hedge_after: millis(30),
        ..wire::Resilience::default()
    };
    let targets = [target("one", &one, 1_000_000), target("two", &two, 1)];
    bench.create("a", with(spec(targets), hedged)).await.unwrap();
    one.hold();
    for round in 1..=5 {
        assert_eq!(bench.score("a", 0.0).await.unwrap(), 2.0);
        assert_eq!((one.calls(), two.calls()), (round, round));
    }
    // The one that is slow is not counted as failed: nobody waited for it.
    assert_eq!(bench.state("a", "one").await, "ready");
    one.release();
    assert_eq!(bench.score("a", 0.0).await.unwrap(), 1.0);
}

#[tokio::test]
async fn hedged_attempts_are_retries() {
    let (bench, one, two) = two().await;
    let targets = || [target("one", &one, 1), target("two", &two, 1)];
    let hedged = |max_retries| wire::Resilience {
        hedge_after: millis(20),
        max_retries: Some(max_retries),
        timeout: millis(300),
        ejection_failures: 1_000,
        ..wire::Resilience::default()
    };
    bench.create("a", with(spec(targets()), hedged(0))).await.unwrap();
    one.hold();
    two.hold();
    assert_eq!(
        bench.score("a", 0.0).await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
    assert_eq!(one.calls() + two.calls(), 1);
    one.release();
    two.release();
    one.fail(Code::Unavailable);
    two.fail(Code::Unavailable);
    one.delay(Duration::from_millis(60));
    two.delay(Duration::from_millis(60));
    bench.revise("a", with(spec(targets()), hedged(1))).await.unwrap();
    assert_eq!(bench.score("a", 0.0).await.unwrap_err().code(), Code::Unavailable);
    // One, and the one beside it; a third would be a second retry.
    assert_eq!(one.calls() + two.calls(), 3);
}

#[tokio::test]
async fn time_is_bounded_by_caller_endpoint_and_target() {
    let (bench, one, two) = two().await;
    let mut quick = target("one", &one, 1);
    quick.timeout = millis(50);
    bench
        .create("a", with(spec([quick]), no_retries()))
        .await
        .unwrap();
    let half = wire::Resilience {
        timeout: millis(50),
        ..no_retries()
    };
    bench
        .create("b", with(spec([target("two", &two, 1)]), half))
        .await
        .unwrap();
    bench
        .create("c", with(spec([target("two", &two, 1)]), no_retries()))
        .await
        .unwrap();
    one.hold();
    two.hold();
    for name in ["a", "b"] {
        let late = bench.score(name, 0.0).await.unwrap_err();
        assert_eq!(late.code(), Code::DeadlineExceeded, "{name}");
    }
    // A caller in a hurry says nothing of the target, however often.
    for _ in 0..10 {
        let mut request = Request::new(input("c", 0.0));
        request.set_timeout(Duration::from_millis(20));
        let late = bench.call(request).await.unwrap_err();
        assert!(
            [Code::DeadlineExceeded, Code::Cancelled].contains(&late.code()),
            "{late:?}"
        );
    }
    assert_eq!(bench.state("c", "two").await, "ready");
    two.release();
    assert_eq!(bench.score("c", 0.0).await.unwrap(), 2.0);
}

#[tokio::test]
async fn an_endpoint_takes_so_many_calls_at_once() {
    let (bench, one, _two) = two().await;
    let few = |calls| wire::Resilience {
        max_active_calls: calls,
        ..no_retries()
    };
    bench
        .create("a", with(spec([target("one", &one, 1)]), few(3)))
        .await
        .unwrap();
    one.hold();
    let begin = || {
        let mut scoring = bench.scoring.clone();
        bench
            .tasks
            .spawn(async move { scoring.model_infer(input("a", 0.0)).await })
    };
    let held = [begin(), begin(), begin()];
    one.arrived(3).await.unwrap();
    let full = bench.score("a", 0.0).await.unwrap_err();
    refused(&full, Code::ResourceExhausted, "LIMIT_EXCEEDED");
    assert_eq!(one.calls(), 3);
    assert_eq!(bench.get("a").await.unwrap().target_statuses[0].active_calls, 3);
    // A new revision does not forget the calls that are under way.
    bench
        .revise("a", with(spec([target("one", &one, 2)]), few(3)))
        .await
        .unwrap();
    let full = bench.score("a", 0.0).await.unwrap_err();
    refused(&full, Code::ResourceExhausted, "LIMIT_EXCEEDED");
    // A caller who leaves makes room.
    let [gone, second, third] = held;
    gone.abort();
    let again = until(async || {
        let (mut scoring, tasks) = (bench.scoring.clone(), &bench.tasks);
        let call = tasks.spawn(async move { scoring.model_infer(input("a", 0.0)).await });
        let arrived = tokio::time::timeout(Duration::from_millis(200), one.arrived(4)).await;
        arrived.is_ok().then_some(call)
    })
    .await;
    one.release();
    for call in [second, third, again] {
        assert_eq!(scored(&call.await.unwrap().unwrap().into_inner()), 1.0);
    }
    assert_eq!(bench.score("a", 0.0).await.unwrap(), 1.0);
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_not_found() {
    let (bench, _one, _two) = two().await;
    let missing = bench.score("nobody", 0.0).await.unwrap_err();
    refused(&missing, Code::NotFound, "RESOURCE_NOT_FOUND");
    let mut elsewhere = Request::new(input("a", 0.0));
    elsewhere
        .metadata_mut()
        .insert("x-mlflow-workspace", "b".parse().unwrap());
    refused(
        &bench.call(elsewhere).await.unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
}
