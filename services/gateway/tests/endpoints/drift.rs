//! Drift alarms: told once when values shift and once when they have come back.

use lodeway_domain::monitor::Profile;
use lodeway_rpc::telemetry::Metrics;

use super::{host::Host, hosted::hosted, *};

/// A gateway that looks all the time.
fn looking() -> EndpointConfig {
    EndpointConfig {
        drift_min_samples: 100,
        drift_window: Duration::from_secs(20),
        drift_every: Duration::from_millis(10),
        ..config("gw-0")
    }
}

impl Bench {
    /// So many calls over some seconds, with values from `from` on.
    async fn traffic(&self, endpoint: &str, calls: u32, from: f64) {
        for call in 0..calls {
            self.turn(Duration::from_millis(30));
            let value = f64::from(call % 97) + f64::from(call % 7) / 7.0;
            self.score(endpoint, from + value).await.unwrap();
        }
    }

    /// Since when alarms stand: of predictions, then of features.
    async fn alarms(&self, endpoint: &str, target: &str) -> [Option<prost_types::Timestamp>; 2] {
        let found = self.measured(endpoint).await;
        let one = found.iter().find(|one| one.target == target).unwrap();
        [&one.predictions, &one.features].map(|side| side[0].drift.as_ref()?.alarm_time)
    }
}

/// Long enough for several looks.
async fn some_looks() {
    tokio::time::sleep(Duration::from_millis(150)).await;
}

#[tokio::test]
async fn shifted_predictions_are_told_once_and_once_more_when_they_are_back() {
    let bench = Bench::with(nobody(), looking()).await;
    let (one, two) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    let targets = [target("one", &one, 2), target("two", &two, 1)];
    bench.create("a", spec(targets)).await.unwrap();
    let mut watch = bench.watch("a", 10, None).await.unwrap();
    bench.traffic("a", 900, 0.0).await;
    some_looks().await;
    assert_eq!(watch.so_far("drift").await, []);
    two.score(|value| value + 40.0);
    bench.traffic("a", 900, 0.0).await;
    let event = watch.event("drift").await;
    assert_eq!(event.target, "two");
    assert!(
        event.message.starts_with("prediction `score` (PSI ")
            && event.message.ends_with("compared with one")
            && !event.message.contains("input"),
        "{event:?}"
    );
    assert_eq!(bench.alarms("a", "two").await, [event.time, None]);
    // It stands, and nothing more is said of it.
    bench.traffic("a", 300, 0.0).await;
    some_looks().await;
    assert_eq!(watch.so_far("drift").await, []);
    two.score(|value| value);
    bench.traffic("a", 900, 0.0).await;
    let event = watch.event("drift").await;
    assert!(
        event.message.starts_with("no longer: prediction `score` (PSI 0."),
        "{event:?}"
    );
    assert_eq!(event.target, "two");
    assert_eq!(bench.alarms("a", "two").await, [None, None]);
    some_looks().await;
    assert_eq!(watch.so_far("drift").await, []);
}

#[tokio::test]
async fn inputs_are_compared_with_training_and_the_figure_is_a_metric() {
    let metrics = Metrics::install().unwrap();
    let figure = |version: &str| {
        let labels = format!(
            "{{workspace=\"default\",endpoint=\"drifting\",target=\"one\",version=\"{version}\",values=\"features\"}} "
        );
        let text = metrics.render();
        let line = text.lines().find_map(|line| {
            line.strip_prefix("lodeway_endpoint_drift_psi")?
                .strip_prefix(&*labels)
        });
        line.map(|value| value.parse::<f64>().unwrap())
    };
    let mut training = Profile::default();
    for row in 0..500 {
        let value = f64::from(row % 97) + f64::from(row % 7) / 7.0;
        training.add_row([("x", value.into())], []);
    }
    let host = Host::default();
    host.script().profile = training.encode();
    let bench = Bench::hosted(&host, looking()).await;
    let target = |version: u32| hosted("one", &format!("models:/m/{version}"), 1);
    bench.create("drifting", spec([target(1)])).await.unwrap();
    let mut watch = bench.watch("drifting", 10, None).await.unwrap();
    bench.traffic("drifting", 400, 0.0).await;
    until(async || figure("1")).await;
    assert!(figure("1").unwrap() < 0.25, "{:?}", figure("1"));
    bench.traffic("drifting", 400, 300.0).await;
    let event = watch.event("drift").await;
    assert!(
        event.message.starts_with("input `x` (PSI ") && event.message.ends_with("compared with training"),
        "{event:?}"
    );
    assert!(figure("1").unwrap() > 0.25, "{:?}", figure("1"));
    let counted = "lodeway_endpoint_drift_alarms_total{workspace=\"default\",endpoint=\"drifting\",target=\"one\",version=\"1\"} 1";
    assert!(metrics.render().contains(counted), "{}", metrics.render());
    assert_eq!(bench.alarms("drifting", "one").await, [None, event.time]);
    // Another version is another story.
    bench.revise("drifting", spec([target(2)])).await.unwrap();
    let event = watch.event("drift").await;
    assert_eq!(event.message, "no longer: input `x`; it serves no more");
    assert!(figure("1").unwrap().is_nan());
}

#[tokio::test]
async fn an_example_of_five_rows_tells_of_a_complete_shift_and_of_nothing_less() {
    let mut training = Profile::default();
    for value in [3.5, 20.25, 41.0, 66.5, 90.75] {
        training.add_row([("x", value.into())], []);
    }
    let host = Host::default();
    host.script().profile = training.encode();
    let bench = Bench::hosted(&host, looking()).await;
    let targets = [hosted("one", "models:/m/1", 1)];
    bench.create("a", spec(targets)).await.unwrap();
    let mut watch = bench.watch("a", 10, None).await.unwrap();
    bench.traffic("a", 700, 0.0).await;
    some_looks().await;
    assert_eq!(watch.so_far("drift").await, []);
    bench.traffic("a", 700, 300.0).await;
    let event = watch.event("drift").await;
    assert!(event.message.starts_with("input `x` (PSI "), "{event:?}");
    bench.traffic("a", 1_400, 0.0).await;
    let event = watch.event("drift").await;
    assert!(event.message.starts_with("no longer: input `x`"), "{event:?}");
}

#[tokio::test]
async fn an_alarm_of_which_nothing_is_heard_ends() {
    let bench = Bench::with(nobody(), looking()).await;
    let (one, two) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    two.score(|value| value + 40.0);
    let targets = [target("one", &one, 2), target("two", &two, 1)];
    bench.create("a", spec(targets)).await.unwrap();
    let mut watch = bench.watch("a", 10, None).await.unwrap();
    bench.traffic("a", 900, 0.0).await;
    watch.event("drift").await;
    bench.turn(Duration::from_secs(130));
    let event = watch.event("drift").await;
    assert_eq!(
        event.message,
        "no longer: prediction `score`; there are too few values to tell"
    );
}

#[tokio::test]
async fn few_values_and_a_limit_of_0_say_nothing() {
    let few = EndpointConfig {
        drift_min_samples: 1_000,
        ..looking()
    };
    let none = EndpointConfig {
        drift_psi: 0.0,
        ..looking()
    };
    for settings in [few, none] {
        let bench = Bench::with(nobody(), settings).await;
        let (one, two) = (Upstream::start().unwrap(), Upstream::start().unwrap());
        two.score(|value| value + 40.0);
        let targets = [target("one", &one, 2), target("two", &two, 1)];
        bench.create("a", spec(targets)).await.unwrap();
        let mut watch = bench.watch("a", 10, None).await.unwrap();
        bench.traffic("a", 600, 0.0).await;
        some_looks().await;
        assert_eq!(watch.so_far("drift").await, []);
    }
}

#[tokio::test]
async fn the_input_that_keys_are_taken_from_does_not_shift() {
    let bench = Bench::with(nobody(), looking()).await;
    let (one, two) = (Upstream::constant(1.0).unwrap(), Upstream::constant(1.0).unwrap());
    let mut both = spec([target("one", &one, 2), target("two", &two, 1)]);
    let source = wire::sticky_key::Source::Input("x".to_owned());
    both.sticky_key = Some(wire::StickyKey { source: Some(source) });
    bench.create("a", both).await.unwrap();
    let mut watch = bench.watch("a", 10, None).await.unwrap();
    // Few keys, each of which only one target gets.
    for call in 0..900 {
        bench.turn(Duration::from_millis(20));
        bench.score("a", f64::from(call % 60)).await.unwrap();
    }
    some_looks().await;
    assert_eq!(watch.so_far("drift").await, []);
    assert!(one.calls() > 100 && two.calls() > 100);
    for target in bench.measured("a").await {
        assert_eq!(
            (&*target.features[0].name, target.features[0].drift.clone()),
            ("x", None)
        );
        assert!(target.features[0].count > 0);
    }
}
