//! Outcomes without a prediction, joined with the gateway's records; and what the gateway is told.

use lodeway_domain::serving::{EndpointUid, PredictionFields, PredictionId, PredictionKey};

use super::*;

/// Waits until `check` gives something.
async fn until<T>(mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "it never happened");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn number(value: f64) -> Option<Value> {
    Some(Value {
        kind: Some(Kind::NumberValue(value)),
    })
}

/// An outcome without prediction and slices.
fn bare(id: &str, label: Option<Value>) -> wire::Outcome {
    wire::Outcome {
        prediction_id: id.to_owned(),
        label,
        ..wire::Outcome::default()
    }
}

#[tokio::test]
async fn predictions_come_from_the_records_of_the_gateway() {
    let bench = Bench::new().await;
    bench.gateway.answered("p1", 1, "[2.0]");
    bench
        .gateway
        .answered("p2", 2, r#"{"y": [[1.0], [4.5]], "extra": [1, 2]}"#);
    bench.gateway.answered("p3", 3, "[1, 2, 3]");
    bench.gateway.answered("p4", 1, "[[0.1, 0.9]]");
    let told = bench
        .report(vec![
            bare("p1", number(3.0)),
            bare("p2", numbers(&[1.0, 4.0])),
            bare("p3", number(1.0)),
            bare("p4", number(1.0)),
        ])
        .await
        .unwrap();
    assert_eq!((told.accepted, told.pending), (2, 0));
    let words: Vec<_> = told
        .refusals
        .iter()
        .map(|one| (one.index, one.message.as_str()))
        .collect();
    assert_eq!(words.len(), 2);
    assert!(
        words[0].0 == 2 && words[0].1.contains("1 values for a prediction of 3 rows"),
        "{words:?}"
    );
    assert!(
        words[1].0 == 3 && words[1].1.contains("several values a row"),
        "{words:?}"
    );
    let request = wire::QueryLiveMetricsRequest {
        slice: "city".to_owned(),
        ..asking()
    };
    let live = bench.live(request).await;
    assert!((value(&live[0], "mae") - 0.5).abs() < 1e-12);
    assert_eq!((live[0].labelled, live[0].pending, live[0].unjoined), (2, 0, 0));
    // Recorded slices are those of the first row, so that only a call of one row has them.
    assert_eq!(
        (live.len(), live[1].slice.as_str(), live[1].labelled),
        (2, "city=Bonn", 1)
    );
    assert!((value(&live[1], "mae") - 1.0).abs() < 1e-12);
    // It was recorded as `7.0`; evaluations of data say `7`.
    let request = wire::QueryLiveMetricsRequest {
        slice: "age".to_owned(),
        ..asking()
    };
    let live = bench.live(request).await;
    assert_eq!((live.len(), live[1].slice.as_str()), (2, "age=7"));
}

#[tokio::test]
async fn a_thousand_outcomes_ask_the_gateway_once() {
    let bench = Bench::new().await;
    let ids: Vec<_> = (0..1_000).map(|n| format!("p{n}")).collect();
    ids.iter()
        .for_each(|id| bench.gateway.answered(id, 1, "[\"yes\"]"));
    let given = |label: &'static str| ids.iter().map(move |id| bare(id, text(label))).collect();
    let told = bench.report(given("yes")).await.unwrap();
    assert_eq!((told.accepted, told.pending), (1_000, 0));
    assert_eq!(bench.gateway.script().asked, [1_000]);
    // Once more they are the same ones.
    bench.report(given("yes")).await.unwrap();
    let live = bench.live(asking()).await;
    assert_eq!(live[0].labelled, 1_000);
    assert!((value(&live[0], "accuracy") - 1.0).abs() < 1e-12);
}

#[tokio::test]
async fn what_is_not_recorded_yet_is_joined_later_by_whoever_works_then() {
    let bench = Bench::new().await;
    let told = bench.report(vec![bare("p1", number(3.5))]).await.unwrap();
    assert_eq!((told.accepted, told.pending), (1, 1));
    let live = bench.live(asking()).await;
    assert_eq!(
        (live[0].labelled, live[0].pending, live[0].metrics.len()),
        (1, 1, 0)
    );
    let bench = bench.restart().await;
    bench.gateway.answered("p1", 1, "[2.0]");
    until(async || {
        bench.clock.advance(Duration::from_secs(1));
        let live = bench.live(asking()).await;
        (live[0].pending == 0).then(|| assert!((value(&live[0], "mae") - 1.5).abs() < 1e-12))
    })
    .await;
    // A label that is corrected keeps the prediction, even if its record is gone.
    bench.gateway.script().calls.clear();
    let told = bench.report(vec![bare("p1", number(2.5))]).await.unwrap();
    assert_eq!((told.accepted, told.pending), (1, 0));
    let live = bench.live(asking()).await;
    assert!((value(&live[0], "mae") - 0.5).abs() < 1e-12);
    assert_eq!(live[0].labelled, 1);
}

#[tokio::test]
async fn what_was_never_recorded_is_given_up_and_counted() {
    let bench = Bench::new().await;
    bench
        .report(vec![bare("p1", text("yes")), bare("p2", text("yes"))])
        .await
        .unwrap();
    // Of another number of rows than the label.
    bench.gateway.answered("p2", 2, "[1, 2]");
    until(async || {
        bench.clock.advance(Duration::from_secs(600));
        let live = bench.live(asking()).await;
        (live[0].unjoined == 2).then(|| assert_eq!((live[0].labelled, live[0].pending), (2, 0)))
    })
    .await;
    let asked = bench.gateway.script().asked.len();
    assert!(asked <= 10, "{asked}");
    // Each with its reason, page by page.
    let list = |page_token: String| wire::ListUnjoinedOutcomesRequest {
        endpoint: "churn".to_owned(),
        page_size: 1,
        page_token,
        ..wire::ListUnjoinedOutcomesRequest::default()
    };
    let mut api = bench.api.clone();
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let page = api
            .list_unjoined_outcomes(list(token))
            .await
            .unwrap()
            .into_inner();
        assert!(page.outcomes.len() <= 1);
        found.extend(page.outcomes);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let told: Vec<_> = found
        .iter()
        .map(|one| (one.prediction_id.as_str(), one.reason.as_str(), one.next_time))
        .collect();
    assert_eq!(
        told,
        [
            ("p1", "the prediction was not recorded", None),
            ("p2", "the label has 1 values for a prediction of 2 rows", None)
        ]
    );
    assert_eq!(
        (
            found[0].target.as_str(),
            found[0].try_count,
            found[0].prediction_time
        ),
        ("main", 9, Some(predicted()))
    );
    // What is still looked for only where it is asked for, with when.
    bench.report(vec![bare("p3", text("yes"))]).await.unwrap();
    let with_pending = async |with_pending| {
        let request = wire::ListUnjoinedOutcomesRequest {
            with_pending,
            page_size: 10,
            ..list(String::new())
        };
        bench
            .api
            .clone()
            .list_unjoined_outcomes(request)
            .await
            .unwrap()
            .into_inner()
            .outcomes
    };
    assert_eq!(with_pending(false).await.len(), 2);
    let all = with_pending(true).await;
    assert!(all.len() == 3 && all[2].next_time.is_some(), "{all:?}");
    let nameless = wire::ListUnjoinedOutcomesRequest::default();
    let refused = api.list_unjoined_outcomes(nameless).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    // With its prediction it is joined after all.
    bench
        .report(vec![outcome("p1", text("yes"), text("yes"), "basic")])
        .await
        .unwrap();
    let live = bench.live(asking()).await;
    assert_eq!((live[0].labelled, live[0].unjoined), (3, 1));
    assert!((value(&live[0], "accuracy") - 1.0).abs() < 1e-12);
}

/// The id of a prediction of an endpoint.
fn id_of(endpoint: &EndpointUid, sequence: u64) -> String {
    let fields = PredictionFields {
        endpoint: endpoint.key(),
        revision: 1,
        target: 0,
        time: Timestamp::from_millis(START),
        sequence,
    };
    let key = PredictionKey::new(1, &[7; 32]);
    PredictionId::mint(&key, &fields).as_str().to_owned()
}

#[tokio::test]
async fn an_endpoint_that_is_made_again_has_no_outcomes_of_the_one_before() {
    let bench = Bench::new().await;
    let [before, now] = ["before", "now"].map(|uid| EndpointUid::parse(uid).unwrap());
    bench.gateway.script().endpoint_uid = before.to_string();
    let given = (0..3).map(|n| outcome(&id_of(&before, n), text("no"), text("yes"), "basic"));
    let told = bench.report(given.collect()).await.unwrap();
    assert_eq!((told.accepted, told.pending), (3, 0));
    let live = bench.live(asking()).await;
    assert_eq!(live[0].labelled, 3);
    assert!(value(&live[0], "accuracy").abs() < 1e-12);

    bench.gateway.script().endpoint_uid = now.to_string();
    let live = bench.live(asking()).await;
    assert_eq!((live[0].labelled, live[0].metrics.len()), (0, 0));
    bench
        .report(vec![outcome(&id_of(&now, 0), text("yes"), text("yes"), "basic")])
        .await
        .unwrap();
    let live = bench.live(asking()).await;
    assert_eq!(live[0].labelled, 1);
    assert!((value(&live[0], "accuracy") - 1.0).abs() < 1e-12);
    // Guards are told of the new one alone.
    let told = until(async || {
        bench.clock.advance(Duration::from_secs(1));
        let script = bench.gateway.script();
        let last = script.told.last()?.1.clone();
        last.metrics.iter().any(|one| one.value > 0.5).then_some(last)
    })
    .await;
    let counts: Vec<_> = told.metrics.iter().map(|metric| metric.sample_count).collect();
    assert!(counts.iter().all(|count| *count == 1), "{told:?}");
}

#[tokio::test]
async fn the_gateway_is_told_of_live_metrics_by_evaluation() {
    let bench = Bench::new().await;
    for (id, class) in [("p1", "yes"), ("p2", "no"), ("p3", "no")] {
        bench.gateway.answered(id, 1, &format!("[\"{class}\"]"));
    }
    bench.gateway.script().is_deaf = true;
    let all = ["p1", "p2", "p3"].map(|id| bare(id, text("no")));
    bench.report(all.to_vec()).await.unwrap();
    bench.clock.advance(Duration::from_secs(1));
    tokio::task::yield_now().await;
    assert!(bench.gateway.script().told.is_empty());
    bench.gateway.script().is_deaf = false;
    let told = async |bench: &Bench, times: usize| {
        until(async || {
            bench.clock.advance(Duration::from_secs(1));
            let script = bench.gateway.script();
            (script.told.len() >= times).then(|| script.told.last().cloned().unwrap())
        })
        .await
    };
    let (who, message) = told(&bench, 1).await;
    assert_eq!((who.as_str(), message.endpoint.as_str()), ("evaluation", "churn"));
    let accuracy = |message: &lodeway_proto::gateway::v1::RecordLiveMetricsRequest| {
        let mut all = message.metrics.iter();
        all.find(|metric| metric.metric == "accuracy").cloned().unwrap()
    };
    let metric = accuracy(&message);
    assert_eq!(
        (metric.target.as_str(), metric.model_version.as_str()),
        ("main", "3")
    );
    assert!((metric.value - 2.0 / 3.0).abs() < 1e-12);
    assert!(metric.low.unwrap() < metric.value && metric.value < metric.high.unwrap());
    assert_eq!(metric.sample_count, 3);
    assert!((metric.unlabelled_share - 0.75).abs() < 1e-12);
    assert!(message.metrics.iter().all(|metric| metric.value.is_finite()));

    // Nothing new is not told, a corrected label is.
    bench.report(vec![bare("p2", text("no"))]).await.unwrap();
    let times = bench.gateway.script().told.len();
    let later = wire::Outcome {
        time: Some(time(bench.clock.now().plus(Duration::from_secs(1)))),
        ..bare("p2", text("yes"))
    };
    bench.report(vec![later]).await.unwrap();
    let (_, message) = told(&bench, times + 1).await;
    let metric = accuracy(&message);
    assert!((metric.value - 1.0 / 3.0).abs() < 1e-12);
    assert_eq!(metric.sample_count, 3);
    assert_eq!(bench.gateway.script().told.len(), times + 1);
}
