//! Revisions that are swapped under load.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_swaps_fail_no_call() {
    let bench = Bench::new().await;
    let upstreams: Vec<_> = (0..3)
        .map(|n| Upstream::constant(f64::from(n)).unwrap())
        .collect();
    let of = |round: usize| {
        let (first, second) = (round % 3, (round + 1) % 3);
        // Names move between servers, and weights change.
        let targets = [
            target("main", &upstreams[first], 1 + (round % 5) as u32),
            target(&format!("v{second}"), &upstreams[second], 1),
        ];
        with(spec(targets), no_retries())
    };
    bench.create("a", of(0)).await.unwrap();
    let (is_over, calls, wrong) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
    );
    let load = (0..4).map(|_| {
        let (mut scoring, is_over, calls, wrong) = (
            bench.scoring.clone(),
            is_over.clone(),
            calls.clone(),
            wrong.clone(),
        );
        bench.tasks.spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let answer = scoring.model_infer(input("a", 0.0)).await;
                calls.fetch_add(1, Ordering::Relaxed);
                wrong.fetch_add(u64::from(answer.is_err()), Ordering::Relaxed);
            }
        })
    });
    let load: Vec<_> = load.collect();
    for round in 1..=100 {
        let made = bench.revise("a", of(round)).await.unwrap();
        assert_eq!(made.revision.unwrap().number, round as i64 + 1);
        let so_far = calls.load(Ordering::Relaxed);
        until(async || (calls.load(Ordering::Relaxed) >= so_far + 8).then_some(())).await;
    }
    is_over.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    let calls = calls.load(Ordering::Relaxed);
    assert_eq!(wrong.load(Ordering::Relaxed), 0, "of {calls}");
    assert!(calls >= 800, "{calls}");
    assert_eq!(upstreams.iter().map(Upstream::calls).sum::<u64>(), calls);
    // No call is lost to the monitor either, whichever revision it met.
    let mut seen = 0;
    for monitor in bench.measured("a").await {
        seen += monitor.outcomes.values().sum::<i64>() as u64;
    }
    assert_eq!(seen, calls);
}
