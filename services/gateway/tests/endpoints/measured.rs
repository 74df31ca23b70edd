//! What is measured of traffic, and where an answer came from.

use super::*;

#[tokio::test]
async fn calls_times_and_values_are_measured_by_target() {
    let bench = Bench::new().await;
    let (one, two) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    two.score(|value| value + 100.0);
    let targets = [target("one", &one, 1), target("two", &two, 1)];
    bench
        .create("a", with(spec(targets), no_retries()))
        .await
        .unwrap();
    for value in 0..200 {
        bench.score("a", f64::from(value % 10)).await.unwrap();
    }
    one.fail(Code::InvalidArgument);
    two.fail(Code::InvalidArgument);
    bench.score("a", 0.0).await.unwrap_err();
    let found = bench.measured("a").await;
    let all: i64 = found.iter().flat_map(|one| one.outcomes.values()).sum();
    assert_eq!((found.len(), all), (2, 201));
    for one in &found {
        let latency = one.latency.as_ref().unwrap();
        assert_eq!(latency.count, one.outcomes.values().sum::<i64>(), "{one:?}");
        assert_eq!(one.rows, latency.count);
        let (feature, prediction) = (&one.features[0], &one.predictions[0]);
        assert_eq!((&*feature.name, &*prediction.name), ("x", "score"));
        assert_eq!(prediction.count, one.outcomes["ok"]);
        let shift = if one.target == "two" { 100.0 } else { 0.0 };
        assert!(
            (prediction.mean.unwrap() - feature.mean.unwrap() - shift).abs() < 1.0,
            "{one:?}"
        );
    }
    // The one with fewer calls is compared with the other.
    let drifts: Vec<_> = found
        .iter()
        .filter_map(|one| one.predictions[0].drift.clone())
        .collect();
    assert!(drifts.len() == 1 && drifts[0].psi > 1.0, "{drifts:?}");
    let only = wire::QueryMonitorRequest {
        endpoint: "a".to_owned(),
        target: "two".to_owned(),
        end_time: Some(stamp(1)),
        ..wire::QueryMonitorRequest::default()
    };
    let nobody = wire::QueryMonitorRequest {
        target: "three".to_owned(),
        ..only.clone()
    };
    let only = bench
        .monitor
        .clone()
        .query_monitor(only)
        .await
        .unwrap()
        .into_inner()
        .targets;
    assert!(only.len() == 1 && only[0].target == "two");
    let nobody = bench.monitor.clone().query_monitor(nobody).await.unwrap_err();
    refused(&nobody, Code::InvalidArgument, "INVALID_FIELD");
    assert!(
        nobody.message().contains("its targets are one, two"),
        "{nobody:?}"
    );
}

#[tokio::test]
async fn spans_are_told_apart_by_the_clock() {
    let bench = Bench::new().await;
    let one = Upstream::start().unwrap();
    bench.create("a", spec([target("one", &one, 1)])).await.unwrap();
    for calls in [3, 4, 5] {
        bench.scores("a", calls).await;
        bench.turn(Duration::from_secs(10));
    }
    let count = async |from: i64, until: i64| {
        let request = wire::QueryMonitorRequest {
            endpoint: "a".to_owned(),
            start_time: Some(stamp(from)),
            end_time: Some(stamp(until)),
            ..wire::QueryMonitorRequest::default()
        };
        let found = bench
            .monitor
            .clone()
            .query_monitor(request)
            .await
            .unwrap()
            .into_inner()
            .targets;
        found.iter().flat_map(|one| one.outcomes.values()).sum::<i64>()
    };
    let counts = [
        count(0, 10_000).await,
        count(10_000, 20_000).await,
        count(0, 30_000).await,
    ];
    assert_eq!(counts, [3, 4, 12]);
    assert_eq!(count(30_000, 40_000).await, 0);
    let request = wire::QueryMonitorRequest {
        endpoint: "a".to_owned(),
        start_time: Some(stamp(5)),
        end_time: Some(stamp(5)),
        ..wire::QueryMonitorRequest::default()
    };
    let empty = bench.monitor.clone().query_monitor(request).await.unwrap_err();
    refused(&empty, Code::InvalidArgument, "INVALID_FIELD");
}

#[tokio::test]
async fn no_call_is_lost_when_targets_leave_gateways_restart_or_share() {
    let bench = Bench::new().await;
    let (one, two) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    bench.create("a", spec([target("one", &one, 1)])).await.unwrap();
    bench.scores("a", 10).await;
    // The target leaves before anything was written.
    bench.revise("a", spec([target("two", &two, 1)])).await.unwrap();
    bench.scores("a", 20).await;
    assert_eq!(bench.counted("a", "one", "ok").await, 10);
    let twin = bench.twin("gw-1").await;
    twin.scores("a", 5).await;
    // Another process under the same name, in the same window.
    let bench = bench.restart("gw-0").await;
    bench.scores("a", 7).await;
    assert_eq!(twin.counted("a", "two", "ok").await, 20 + 5);
    assert_eq!(bench.counted("a", "two", "ok").await, 20 + 5 + 7);
    let bench = bench.restart("gw-0").await;
    assert_eq!(bench.counted("a", "one", "ok").await, 10);
    assert_eq!(bench.counted("a", "two", "ok").await, 32);
}

#[tokio::test]
async fn an_answer_says_where_it_came_from() {
    let bench = Bench::new().await;
    let (one, two) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    let mut first = target("one", &one, 1);
    first.reference = format!("{}/7", one.reference("m"));
    bench.create("a", spec([first.clone()])).await.unwrap();
    bench.turn(Duration::from_secs(5));
    let answer = bench.call(Request::new(input("a", 0.0))).await.unwrap();
    assert_eq!((&*answer.model_name, &*answer.model_version), ("a", "7"));
    assert_eq!(one.last().unwrap().model_version, "7");
    let id = prediction_id(&answer);
    bench.turn(Duration::from_secs(5));
    bench.revise("a", spec([target("two", &two, 1)])).await.unwrap();
    let explain = async |of: &Bench, id: &str| {
        let request = wire::ExplainPredictionRequest {
            prediction_id: id.to_owned(),
        };
        of.monitor
            .clone()
            .explain_prediction(request)
            .await
            .map(tonic::Response::into_inner)
    };
    let twin = bench.twin("gw-1").await;
    for of in [&bench, &twin] {
        let explained = explain(of, &id).await.unwrap();
        assert_eq!((&*explained.endpoint, &*explained.target), ("a", "one"));
        assert_eq!(
            (&explained.reference, &*explained.model_version),
            (&first.reference, "7")
        );
        assert_eq!(
            (explained.revision.unwrap().number, explained.time),
            (1, Some(stamp(5_000)))
        );
    }
    let another = prediction_id(&bench.call(Request::new(input("a", 0.0))).await.unwrap());
    assert_ne!(another, id);
    assert_eq!(explain(&bench, &another).await.unwrap().target, "two");
    // An id that nobody gave: one character is another.
    let flip = |c: char| if c == 'a' { 'b' } else { 'a' };
    let mut forged: Vec<char> = id.chars().collect();
    let last = forged.len() - 1;
    forged[last] = flip(forged[last]);
    let forged: String = forged.into_iter().collect();
    for bad in [&*forged, "", "nonsense"] {
        let error = explain(&bench, bad).await.unwrap_err();
        assert!(
            [Code::InvalidArgument, Code::NotFound].contains(&error.code()),
            "{bad}: {error:?}"
        );
    }
}

#[tokio::test]
async fn what_was_behind_an_endpoint_at_a_moment_is_known() {
    let bench = Bench::new().await;
    let (one, two) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    bench.turn(Duration::from_secs(10));
    bench.create("a", spec([target("one", &one, 1)])).await.unwrap();
    bench.turn(Duration::from_secs(10));
    bench.revise("a", spec([target("two", &two, 1)])).await.unwrap();
    let at = async |ms: i64| {
        let request = wire::ServedAtRequest {
            endpoint: "a".to_owned(),
            time: Some(stamp(ms)),
        };
        bench
            .monitor
            .clone()
            .served_at(request)
            .await
            .map(tonic::Response::into_inner)
    };
    for (ms, number, name) in [
        (10_000, 1, "one"),
        (19_999, 1, "one"),
        (20_000, 2, "two"),
        (80_000, 2, "two"),
    ] {
        let served = at(ms).await.unwrap();
        assert_eq!(
            (served.revision.unwrap().number, &*served.targets[0].target),
            (number, name),
            "{ms}"
        );
    }
    // Before there was an endpoint, and further ahead than a caller's clock may be.
    for ms in [9_999, 80_001] {
        refused(&at(ms).await.unwrap_err(), Code::InvalidArgument, "INVALID_FIELD");
    }
}
