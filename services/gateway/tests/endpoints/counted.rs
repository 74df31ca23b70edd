//! What `/metrics` counts: callers' calls, and attempts whose answers nobody got.

use std::sync::{Mutex, atomic::AtomicU64, atomic::Ordering};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::*;

/// Name, workspace, target and outcome.
type Series = (String, String, String, String);

/// Keeps counters by series.
#[derive(Clone, Default)]
struct Counters(Arc<Mutex<BTreeMap<Series, Arc<AtomicU64>>>>);

impl Counters {
    /// What a series of the workspace `default` has counted, by target and outcome.
    fn of(&self, name: &str) -> Vec<(String, String, u64)> {
        self.of_workspace("default", name)
    }

    fn of_workspace(&self, workspace: &str, name: &str) -> Vec<(String, String, u64)> {
        let all = self.0.lock().unwrap();
        let mine = all
            .iter()
            .filter(|((of, space, ..), _)| of == name && space == workspace);
        mine.map(|((_, _, target, outcome), count)| {
            (target.clone(), outcome.clone(), count.load(Ordering::Relaxed))
        })
        .collect()
    }
}

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let label = |name: &str| {
            let mut labels = key.labels();
            let found = labels.find(|label| label.key() == name);
            found.map(|label| label.value().to_owned()).unwrap_or_default()
        };
        let of = (
            key.name().to_owned(),
            label("workspace"),
            label("target"),
            label("outcome"),
        );
        Counter::from_arc(self.0.lock().unwrap().entry(of).or_default().clone())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn line(target: &str, outcome: &str, count: u64) -> (String, String, u64) {
    (target.to_owned(), outcome.to_owned(), count)
}

const CALLS: &str = "lodeway_endpoint_calls_total";
const RETRIES: &str = "lodeway_endpoint_retries_total";
const RECORDS: &str = "lodeway_endpoint_records_total";

#[tokio::test]
async fn a_call_is_counted_once_and_its_failed_attempts_by_themselves() {
    let counters = Counters::default();
    let _mine = metrics::set_default_local_recorder(&counters);
    let bench = Bench::new().await;
    let (one, two) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    let often = wire::Resilience {
        ejection_failures: 1_000,
        retry_min_per_second: Some(1_000),
        max_retries: Some(1),
        ..wire::Resilience::default()
    };
    let targets = || [target("one", &one, 1_000_000), target("two", &two, 1)];
    bench.create("a", with(spec(targets()), often)).await.unwrap();
    one.fail_next(3, Code::Unavailable);
    bench.scores("a", 10).await;
    assert_eq!(counters.of(RETRIES), [line("one", "UNAVAILABLE", 3)]);
    assert_eq!(counters.of(CALLS), [line("one", "OK", 7), line("two", "OK", 3)]);
    // All fail: the last one counts for the caller.
    one.fail(Code::Unavailable);
    two.fail(Code::Unavailable);
    bench.score("a", 0.0).await.unwrap_err();
    assert_eq!(counters.of(RETRIES), [line("one", "UNAVAILABLE", 4)]);
    let failed = line("two", "UNAVAILABLE", 1);
    assert_eq!(
        counters.of(CALLS),
        [line("one", "OK", 7), line("two", "OK", 3), failed]
    );
    assert_eq!(bench.counted("a", "two", "UNAVAILABLE").await, 1);
    assert_eq!(bench.counted("a", "one", "UNAVAILABLE").await, 0);
}

#[tokio::test]
async fn an_attempt_that_is_given_up_for_a_faster_one_is_no_call() {
    let counters = Counters::default();
    let _mine = metrics::set_default_local_recorder(&counters);
    let bench = Bench::new().await;
    let (one, two) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    let hedged = wire::Resilience {
        hedge_after: millis(20),
        ..wire::Resilience::default()
    };
    let targets = [target("one", &one, 1_000_000), target("two", &two, 1)];
    bench.create("a", with(spec(targets), hedged)).await.unwrap();
    one.hold();
    bench.score("a", 0.0).await.unwrap();
    assert_eq!(counters.of(RETRIES), [line("one", "CANCELLED", 1)]);
    assert_eq!(counters.of(CALLS), [line("two", "OK", 1)]);
}

#[tokio::test]
async fn endpoints_of_one_name_are_told_apart_by_their_workspaces() {
    let counters = Counters::default();
    let _mine = metrics::set_default_local_recorder(&counters);
    let shelf = records::Shelf::new().await;
    let bench = Bench::keeping(Some(shelf.transport.clone())).await;
    let up = Upstream::start().unwrap();
    for (workspace, calls) in [("default", 2), ("team-a", 3)] {
        let create = wire::CreateEndpointRequest {
            name: "a".to_owned(),
            spec: Some(spec([target("one", &up, 1)])),
            ..wire::CreateEndpointRequest::default()
        };
        bench.api().create_endpoint(of(workspace, create)).await.unwrap();
        for _ in 0..calls {
            bench.call(of(workspace, input("a", 0.0))).await.unwrap();
        }
    }
    assert_eq!(counters.of_workspace("default", CALLS), [line("one", "OK", 2)]);
    assert_eq!(counters.of_workspace("team-a", CALLS), [line("one", "OK", 3)]);
    // What waits is written at the end.
    assert!(bench.tasks.shutdown(Duration::from_secs(10)).await);
    assert_eq!(
        counters.of_workspace("default", RECORDS),
        [line("", "recorded", 2)]
    );
    assert_eq!(
        counters.of_workspace("team-a", RECORDS),
        [line("", "recorded", 3)]
    );
}

/// A request in a workspace.
fn of<T>(workspace: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("x-mlflow-workspace", workspace.parse().unwrap());
    request
}
