//! Copies of calls to a target whose answers nobody gets.

use super::*;

fn mirrored(one: &Upstream, two: &Upstream, max_active_calls: u32) -> wire::RevisionSpec {
    let mut of = spec([target("one", one, 1), target("two", two, 0)]);
    of.shadow = Some(wire::Shadow {
        target: "two".to_owned(),
        share: 1.0,
        max_active_calls,
    });
    of
}

async fn summary(bench: &Bench) -> wire::ShadowSummary {
    let found = bench.measured("a").await;
    let mut shadows = found.into_iter().filter_map(|one| one.shadow);
    shadows.next().unwrap_or_default()
}

#[tokio::test]
async fn copies_are_compared_with_what_callers_got() {
    let bench = Bench::new().await;
    let (one, two) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    two.score(|value| if value >= 8.0 { value + 0.5 } else { value });
    bench.create("a", mirrored(&one, &two, 64)).await.unwrap();
    let mut ids = Vec::new();
    for value in 0..10 {
        let answer = bench
            .call(Request::new(input("a", f64::from(value))))
            .await
            .unwrap();
        // Nobody gets the shadow's answer.
        assert_eq!(scored(&answer), f64::from(value));
        ids.push(prediction_id(&answer));
    }
    let found = until(async || Some(summary(&bench).await).filter(|found| found.compared == 10)).await;
    assert_eq!((found.agreed, found.failed, found.dropped), (8, 0, 0));
    assert_eq!(
        (found.max_abs_difference, found.median_abs_difference),
        (0.5, 0.0)
    );
    let mut worst = found.worst_prediction_ids.clone();
    worst.sort();
    let mut wanted = ids.split_off(8);
    wanted.sort();
    assert_eq!(worst, wanted);
    // It is compared with the target that answers, and not that with it.
    let found = bench.measured("a").await;
    let references = found.iter().map(|one| {
        let drift = one.predictions.first().and_then(|of| of.drift.as_ref());
        (one.target.as_str(), drift.map(|drift| drift.reference.clone()))
    });
    assert_eq!(
        references.collect::<std::collections::BTreeMap<_, _>>(),
        [("one", None), ("two", Some("one".to_owned()))].into()
    );
    two.fail(Code::Internal);
    bench.scores("a", 3).await;
    until(async || Some(summary(&bench).await).filter(|found| found.failed == 3)).await;
    // What fails in the shadow is nobody's business.
    assert_eq!(bench.counted("a", "one", "ok").await, 13);
    assert_eq!(bench.state("a", "two").await, "ready");
}

#[tokio::test]
async fn a_shadow_never_slows_a_caller() {
    let bench = Bench::new().await;
    let (one, two) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    bench.create("a", mirrored(&one, &two, 2)).await.unwrap();
    two.hold();
    for value in 0..50 {
        assert_eq!(
            bench.score("a", f64::from(value)).await.unwrap(),
            f64::from(value)
        );
    }
    let found = until(async || Some(summary(&bench).await).filter(|found| found.dropped == 48)).await;
    assert_eq!((found.compared, found.failed), (0, 0));
    two.arrived(2).await.unwrap();
    two.release();
    until(async || Some(summary(&bench).await).filter(|found| found.compared == 2)).await;
    assert_eq!(two.calls(), 2);
}

#[tokio::test]
async fn some_of_the_calls_are_copied() {
    let bench = Bench::new().await;
    let (one, two) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    let mut of = mirrored(&one, &two, 64);
    of.shadow.as_mut().unwrap().share = 0.25;
    bench.create("a", of).await.unwrap();
    bench.scores("a", 800).await;
    // 200 expected, with a standard deviation of 12.2.
    let copies = |found: &wire::ShadowSummary| found.compared + found.dropped;
    let found = until(async || Some(summary(&bench).await).filter(|found| copies(found) > 130)).await;
    assert!(copies(&found) < 270, "{found:?}");
}

#[tokio::test]
async fn copies_that_end_in_another_window_than_they_began_are_counted_once() {
    let bench = Bench::new().await;
    let (one, two) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    bench.create("a", mirrored(&one, &two, 64)).await.unwrap();
    two.hold_next();
    bench.score("a", 1.0).await.unwrap();
    two.arrived(1).await.unwrap();
    bench.turn(Duration::from_secs(10));
    for compared in [1, 2, 3] {
        match compared {
            // The second to be compared is the first that was copied.
            2 => two.release(),
            _ => bench.score("a", 1.0).await.map(drop).unwrap(),
        }
        until(async || Some(summary(&bench).await).filter(|found| found.compared == compared)).await;
    }
    assert_eq!(bench.counted("a", "two", "ok").await, 3);
}
