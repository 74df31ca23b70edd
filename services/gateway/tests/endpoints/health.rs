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
async fn the_last_target_fails_closed_and_comes_back() {
    let bench = Bench::new().await;
    let mut one = Upstream::constant(1.0).unwrap();
    bench
        .create("a", with(spec([target("one", &one, 1)]), touchy()))
        .await
        .unwrap();
    one.die();
    for _ in 0..3 {
        assert_eq!(bench.score("a", 0.0).await.unwrap_err().code(), Code::Unavailable);
    }
    let alone = bench.score("a", 0.0).await.unwrap_err();
    refused(&alone, Code::Unavailable, "BACKEND_UNAVAILABLE");
    one.revive().unwrap();
    bench.turn(Duration::from_secs(10));
    assert_eq!(bench.score("a", 0.0).await.unwrap(), 1.0);
}

#[tokio::test]
async fn a_probe_whose_caller_leaves_makes_room_for_another() {
    let bench = Bench::new().await;
    let one = Upstream::constant(1.0).unwrap();
    bench
        .create("a", with(spec([target("one", &one, 1)]), touchy()))
        .await
        .unwrap();
    one.fail_next(3, Code::Internal);
    for _ in 0..3 {
        bench.score("a", 0.0).await.unwrap_err();
    }
    assert_eq!(bench.state("a", "one").await, "ejected");
    bench.turn(Duration::from_secs(10));
    one.hold();
    let mut scoring = bench.scoring.clone();
    let probe = bench
        .tasks
        .spawn(async move { scoring.model_infer(input("a", 0.0)).await });
    one.arrived(4).await.unwrap();
    assert_eq!(bench.state("a", "one").await, "probing");
    refused(
        &bench.score("a", 0.0).await.unwrap_err(),
        Code::Unavailable,
        "BACKEND_UNAVAILABLE",
    );
    probe.abort();
    one.release();
    // The clock stands still: what lets the next probe through is that the first one ended.
    assert_eq!(until(async || bench.score("a", 0.0).await.ok()).await, 1.0);
    assert_eq!(bench.state("a", "one").await, "ready");
}

#[tokio::test]
async fn new_rules_of_ejection_hold_for_targets_that_stay() {
    let bench = Bench::new().await;
    let one = Upstream::constant(1.0).unwrap();
    let patient = wire::Resilience {
        ejection_failures: 1_000,
        ..no_retries()
    };
    bench
        .create("a", with(spec([target("one", &one, 1)]), patient))
        .await
        .unwrap();
    one.fail(Code::Internal);
    for _ in 0..20 {
        assert_eq!(bench.score("a", 0.0).await.unwrap_err().code(), Code::Internal);
    }
    bench
        .revise("a", with(spec([target("one", &one, 1)]), touchy()))
        .await
        .unwrap();
    for _ in 0..3 {
        assert_eq!(bench.score("a", 0.0).await.unwrap_err().code(), Code::Internal);
    }
    refused(
        &bench.score("a", 0.0).await.unwrap_err(),
        Code::Unavailable,
        "BACKEND_UNAVAILABLE",
    );
}
