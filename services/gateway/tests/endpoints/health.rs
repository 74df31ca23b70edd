//! Targets that fail are left alone, and come back.

use super::*;

fn touchy() -> wire::Resilience {
    wire::Resilience {
        ejection_failures: 3,
        ejection_time: millis(10_000),
        max_ejection_time: millis(60_000),
        ..no_retries()
    }
}

#[tokio::test]
async fn a_failing_target_is_ejected_probed_and_taken_back() {
    let bench = Bench::new().await;
    let (one, two) = (Upstream::constant(1.0).unwrap(), Upstream::constant(2.0).unwrap());
    let targets = [target("one", &one, 1), target("two", &two, 1)];
    bench.create("a", with(spec(targets), touchy())).await.unwrap();
    one.fail(Code::Internal);
    let failed = async || {
        let mut failed = 0;
        for _ in 0..100 {
            failed += usize::from(bench.score("a", 0.0).await.is_err());
        }
        failed
    };
    assert_eq!(failed().await, 3);
    assert_eq!(bench.state("a", "one").await, "ejected");
    assert_eq!((failed().await, one.calls()), (0, 3));
    // Just before the end of the ejection, then at it: one call tries.
    bench.turn(Duration::from_millis(9_999));
    assert_eq!((failed().await, one.calls()), (0, 3));
    bench.turn(Duration::from_millis(1));
    assert_eq!((failed().await, one.calls()), (1, 4));
    // It failed, so the next time is twice as long.
    bench.turn(Duration::from_secs(19));
    assert_eq!((failed().await, one.calls()), (0, 4));
    one.heal();
    bench.turn(Duration::from_secs(1));
    let counts = bench.scores("a", 200).await;
    assert!(counts[&1] > 50, "{counts:?}");
    assert_eq!(bench.state("a", "one").await, "ready");
}

#[tokio::test]
async fn the_last_target_is_not_left_alone() {
    let bench = Bench::new().await;
    let mut one = Upstream::constant(1.0).unwrap();
    bench
        .create("a", with(spec([target("one", &one, 1)]), touchy()))
        .await
        .unwrap();
    // One caller's calls that make it fail are nobody else's failures.
    one.fail(Code::Internal);
    for _ in 0..20 {
        assert_eq!(bench.score("a", 0.0).await.unwrap_err().code(), Code::Internal);
    }
    assert_eq!(bench.state("a", "one").await, "ready");
    one.heal();
    assert_eq!(bench.score("a", 0.0).await.unwrap(), 1.0);
    one.die();
    for _ in 0..4 {
        let gone = bench.score("a", 0.0).await.unwrap_err();
        refused(&gone, Code::Unavailable, "BACKEND_UNAVAILABLE");
    }
    one.revive().unwrap();
    // The connection is made anew; the clock stands still.
    assert_eq!(until(async || bench.score("a", 0.0).await.ok()).await, 1.0);
}

#[tokio::test]
async fn the_last_of_several_takes_all_calls_and_so_does_an_ejected_one_that_is_left() {
    let bench = Bench::new().await;
    let (one, two) = (Upstream::constant(1.0).unwrap(), Upstream::constant(2.0).unwrap());
    let targets = [target("one", &one, 1), target("two", &two, 1)];
    bench.create("a", with(spec(targets), touchy())).await.unwrap();
    one.fail(Code::Internal);
    two.fail(Code::Internal);
    for _ in 0..100 {
        assert_eq!(bench.score("a", 0.0).await.unwrap_err().code(), Code::Internal);
    }
    let mut states = [bench.state("a", "one").await, bench.state("a", "two").await];
    states.sort();
    assert_eq!(states, ["ejected", "ready"]);
    // The one that is left is the one that was left alone.
    let (name, left) = match &*bench.state("a", "one").await {
        "ejected" => ("one", &one),
        _ => ("two", &two),
    };
    bench
        .revise("a", with(spec([target(name, left, 1)]), touchy()))
        .await
        .unwrap();
    left.heal();
    assert!(bench.score("a", 0.0).await.is_ok());
}

#[tokio::test]
async fn an_exception_of_a_model_is_no_failure_of_its_target() {
    let bench = Bench::new().await;
    let (one, two) = (Upstream::constant(1.0).unwrap(), Upstream::constant(1.0).unwrap());
    let targets = [target("one", &one, 1), target("two", &two, 1)];
    bench.create("a", with(spec(targets), touchy())).await.unwrap();
    // What a model that raises answers with.
    one.fail(Code::FailedPrecondition);
    two.fail(Code::FailedPrecondition);
    for _ in 0..50 {
        let raised = bench.score("a", 0.0).await.unwrap_err();
        assert_eq!(raised.code(), Code::FailedPrecondition);
    }
    for name in ["one", "two"] {
        assert_eq!(bench.state("a", name).await, "ready");
    }
    one.heal();
    two.heal();
    assert!(bench.score("a", 0.0).await.is_ok());
}

#[tokio::test]
async fn a_probe_whose_caller_leaves_makes_room_for_another() {
    let bench = Bench::new().await;
    let (one, two) = (Upstream::constant(1.0).unwrap(), Upstream::constant(2.0).unwrap());
    let targets = [target("one", &one, 1), target("two", &two, 1)];
    bench.create("a", with(spec(targets), touchy())).await.unwrap();
    // Calls of `one` alone: a caller may name the target.
    let named = || wire_input("one");
    one.fail_next(3, Code::Internal);
    for _ in 0..3 {
        bench.call(Request::new(named())).await.unwrap_err();
    }
    assert_eq!(bench.state("a", "one").await, "ejected");
    bench.turn(Duration::from_secs(10));
    one.hold();
    let mut scoring = bench.scoring.clone();
    let probe = bench
        .tasks
        .spawn(async move { scoring.model_infer(wire_input("one")).await });
    one.arrived(4).await.unwrap();
    assert_eq!(bench.state("a", "one").await, "probing");
    refused(
        &bench.call(Request::new(named())).await.unwrap_err(),
        Code::Unavailable,
        "BACKEND_UNAVAILABLE",
    );
    probe.abort();
    one.release();
    // The clock stands still: what lets the next probe through is that the first one ended.
    until(async || bench.call(Request::new(named())).await.ok()).await;
    assert_eq!(bench.state("a", "one").await, "ready");
}

/// An input for the target of this name.
fn wire_input(target: &str) -> ModelInferRequest {
    ModelInferRequest {
        model_version: target.to_owned(),
        ..input("a", 0.0)
    }
}

#[tokio::test]
async fn new_rules_of_ejection_hold_for_targets_that_stay() {
    let bench = Bench::new().await;
    let (one, two) = (Upstream::constant(1.0).unwrap(), Upstream::constant(2.0).unwrap());
    let targets = || [target("one", &one, 1), target("two", &two, 1)];
    let patient = wire::Resilience {
        ejection_failures: 1_000,
        ..no_retries()
    };
    bench.create("a", with(spec(targets()), patient)).await.unwrap();
    one.fail(Code::Internal);
    let named = async || bench.call(Request::new(wire_input("one"))).await.unwrap_err();
    for _ in 0..20 {
        assert_eq!(named().await.code(), Code::Internal);
    }
    bench.revise("a", with(spec(targets()), touchy())).await.unwrap();
    for _ in 0..3 {
        assert_eq!(named().await.code(), Code::Internal);
    }
    refused(&named().await, Code::Unavailable, "BACKEND_UNAVAILABLE");
}
