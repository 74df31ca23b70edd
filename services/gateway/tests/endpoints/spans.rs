//! Watching what is measured: each call in one message, whatever the interval, and on from where a watch broke off.

use super::*;

/// Windows of a second.
fn short() -> EndpointConfig {
    EndpointConfig {
        window: Duration::from_secs(1),
        ..config("gw-0")
    }
}

/// Calls of a message, and its span in milliseconds of the clock.
fn told(message: &wire::WatchMonitorResponse) -> (i64, i64, i64) {
    let ms = |time: &Option<prost_types::Timestamp>| {
        let time = time.as_ref().unwrap();
        time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000 - START
    };
    let calls = message.targets.iter().flat_map(|one| one.outcomes.values()).sum();
    (calls, ms(&message.start_time), ms(&message.end_time))
}

#[tokio::test]
async fn each_message_has_the_calls_of_its_span() {
    let bench = Bench::with(nobody(), short()).await;
    let one = Upstream::start().unwrap();
    bench.create("a", spec([target("one", &one, 1)])).await.unwrap();
    let mut watches = Vec::new();
    for interval in [1, 2] {
        watches.push(bench.watch("a", interval, None).await.unwrap());
    }
    let twin = EndpointConfig {
        replica: "gw-1".to_owned(),
        ..short()
    };
    let (folder, store, clock) = (bench._folder.clone(), bench.store.clone(), bench.clock.clone());
    let twin = Bench::on(folder, store, clock, twin, nobody()).await;
    for calls in [3, 4, 0, 5, 6, 0] {
        bench.scores("a", calls).await;
        if calls > 0 {
            twin.scores("a", 1).await;
            // Another gateway writes what it measured in its own time.
            twin.measured("a").await;
        }
        bench.turn(Duration::from_secs(1));
    }
    let mut each = Vec::new();
    for _ in 0..5 {
        each.push(told(&watches[0].next().await));
    }
    let starts = [(4, 0), (5, 1_000), (0, 2_000), (6, 3_000), (7, 4_000)];
    assert_eq!(each, starts.map(|(calls, start)| (calls, start, start + 1_000)));
    let pairs = [told(&watches[1].next().await), told(&watches[1].next().await)];
    assert_eq!(pairs, [(9, 0, 2_000), (6, 2_000, 4_000)]);
    // The last second has not settled yet.
    assert_eq!(watches[1].so_far("").await, []);

    // A watch that broke off goes on where it was.
    let mut again = bench.watch("a", 2, Some(stamp(2_000))).await.unwrap();
    assert_eq!(told(&again.next().await), (6, 2_000, 4_000));
    bench.turn(Duration::from_secs(1));
    assert_eq!(told(&again.next().await), (7, 4_000, 6_000));
    // What is pushed is what a question gives.
    let request = wire::QueryMonitorRequest {
        endpoint: "a".to_owned(),
        start_time: Some(stamp(2_000)),
        end_time: Some(stamp(4_000)),
        ..wire::QueryMonitorRequest::default()
    };
    let asked = bench
        .monitor
        .clone()
        .query_monitor(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(asked.targets[0].outcomes["ok"], 6);
}

#[tokio::test]
async fn an_interval_is_whole_windows() {
    let bench = Bench::new().await;
    let one = Upstream::start().unwrap();
    bench.create("a", spec([target("one", &one, 1)])).await.unwrap();
    bench.turn(Duration::from_secs(3));
    let mut watch = bench.watch("a", 11, None).await.unwrap();
    bench.scores("a", 3).await;
    bench.turn(Duration::from_secs(30));
    let message = watch.next().await;
    assert_eq!(told(&message), (3, 0, 20_000));
    assert_eq!(message.targets[0].calls_per_second, 0.15);
    for (interval, start) in [(1, stamp(34_000)), (1, stamp(-90_000_000)), (90_000, stamp(0))] {
        let refusal = bench.watch("a", interval, Some(start)).await.err().unwrap();
        refused(&refusal, Code::InvalidArgument, "INVALID_FIELD");
    }
    let refusal = bench.watch("b", 1, None).await.err().unwrap();
    refused(&refusal, Code::NotFound, "RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn events_do_not_wait_for_the_end_of_a_span() {
    let bench = Bench::new().await;
    let (one, two) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    let targets = [target("one", &one, 1), target("two", &two, 1)];
    bench.create("a", spec(targets)).await.unwrap();
    let mut watch = bench.watch("a", 3_600, None).await.unwrap();
    one.fail(Code::Unavailable);
    for _ in 0..40 {
        bench.score("a", 0.0).await.unwrap();
    }
    let message = watch.next().await;
    assert_eq!((message.start_time, message.targets), (None, Vec::new()));
    assert_eq!(
        (&*message.events[0].kind, &*message.events[0].target),
        ("ejected", "one")
    );
}
