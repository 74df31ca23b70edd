//! What a captured version has, and what it leaves out.

use lodeway_domain::id::RequestId;
use lodeway_proto::gateway::v1::PredictionRecord;

use super::{
    gateway::{ENDPOINT, time},
    *,
};

fn asking() -> wire::CaptureTrafficRequest {
    wire::CaptureTrafficRequest {
        name: "live".to_owned(),
        endpoint: ENDPOINT.to_owned(),
        ..wire::CaptureTrafficRequest::default()
    }
}

fn frame(age: f64) -> String {
    format!(r#"{{"dataframe_records": [{{"age": {age:?}, "plan": "basic"}}]}}"#)
}

/// Eight calls of the last minutes: of the first five the outcome is known, one of them was predicted wrong; one was kept
/// without its request, one is of two rows, one is damaged.
async fn busy(bench: &Bench) {
    for at in 0..5 {
        let said = if at == 0 { "[0]" } else { "[1]" };
        let id = bench
            .gateway
            .call(START - 60_000 + at, &frame(at as f64 + 0.5), said);
        bench.report(&id, number(1.0), number(1.0)).await;
    }
    bench.gateway.call(START - 50_000, "", "[0]");
    let two = r#"{"inputs": {"age": [7.0, 8.0], "plan": ["basic", "gold"]}}"#;
    bench.gateway.call(START - 40_000, two, "[1, 0]");
    bench.gateway.call(START - 30_000, &frame(9.0), "[1, 0, 0]");
}

fn names(version: &wire::DatasetVersion) -> Vec<(&str, &str)> {
    let columns = version.columns.iter();
    columns
        .map(|column| (column.name.as_str(), column.r#type.as_str()))
        .collect()
}

#[tokio::test]
async fn calls_become_a_version_with_roles_and_can_be_evaluated() {
    let bench = Bench::new().await;
    busy(&bench).await;
    let request_id = RequestId::generate().to_string();
    let asked = wire::CaptureTrafficRequest {
        request_id,
        ..asking()
    };
    let made = bench.capture(asked.clone()).await.unwrap();
    assert_eq!(
        (made.version, made.row_count, &*made.source),
        (1, 7, "endpoints/churn")
    );
    let wanted = [
        ("age", "double"),
        ("plan", "string"),
        ("prediction", "int64"),
        ("label", "int64"),
        ("prediction_id", "string"),
        ("row", "int64"),
        ("time", "timestamp"),
        ("target", "string"),
        ("model_version", "string"),
    ];
    assert_eq!(names(&made), wanted);
    let roles = made.roles.clone().unwrap();
    assert_eq!((&*roles.target, &*roles.prediction), ("label", "prediction"));
    assert_eq!(roles.features, ["age", "plan"]);
    assert!(bench.gateway.pages() > 1);

    let traffic = made.traffic.unwrap();
    assert_eq!((traffic.answered_calls, traffic.recorded_calls), (12, 8));
    assert_eq!((traffic.captured_calls, traffic.labelled_calls), (6, 5));
    assert_eq!((traffic.calls_without_request, traffic.unreadable_calls), (1, 1));
    assert_eq!((traffic.unlabelled_calls, traffic.unsampled_calls), (0, 0));
    assert_eq!(traffic.end_time, Some(time(START)));

    let rows = bench.rows(&made).await;
    assert_eq!(rows[1].fields["age"], number(1.5));
    assert_eq!(rows[1].fields["label"], number(1.0));
    assert_eq!(rows[6].fields["plan"], text("gold"));
    assert_eq!(
        (&rows[6].fields["row"], &rows[6].fields["prediction"]),
        (&number(1.0), &number(0.0))
    );
    assert_eq!(rows[6].fields["time"], text("2023-11-14T22:12:40Z"));
    assert!(matches!(rows[6].fields["label"].kind, Some(Kind::NullValue(_))));

    // The same id is the same version, counts and all; another one is the next, with the same data.
    assert_eq!(bench.capture(asked).await.unwrap(), made);
    let again = bench.capture(asking()).await.unwrap();
    assert_eq!((again.version, &again.data_digest), (2, &made.data_digest));

    // The version is evaluated as any other one.
    let spec = wire::EvaluationSpec {
        dataset: Some(wire::DatasetRef {
            name: "live".to_owned(),
            version: 1,
        }),
        options: Some(wire::EvaluationOptions {
            max_failed_share: Some(1.0),
            ..wire::EvaluationOptions::default()
        }),
        ..wire::EvaluationSpec::default()
    };
    bench.evaluate(spec).await;
    let ended = eventually("the evaluation ends", async || {
        let found = bench.all().await.remove(0);
        (found.end_time.is_some()).then_some(found)
    })
    .await;
    assert_eq!(ended.state(), wire::EvaluationState::Succeeded, "{ended:?}");
    assert!((value(&ended.metrics, "accuracy") - 0.8).abs() < 1e-12);
}

#[tokio::test]
async fn what_is_asked_for_is_taken_and_the_rest_is_counted() {
    let bench = Bench::new().await;
    busy(&bench).await;
    let labelled = wire::CaptureTrafficRequest {
        labelled_only: true,
        ..asking()
    };
    let made = bench.capture(labelled).await.unwrap();
    let traffic = made.traffic.unwrap();
    assert_eq!((made.row_count, traffic.unlabelled_calls), (5, 3));

    // Calls without a request have no inputs, but slices, answers and labels.
    let id = bench.gateway.record(PredictionRecord {
        time: Some(time(START - 20_000)),
        target: "other".to_owned(),
        model_version: "4".to_owned(),
        rows: 1,
        prediction_json: r#"{"label": [1], "probabilities": [[0.25, 0.75]]}"#.to_owned(),
        slices: [("plan".to_owned(), "\"silver\"".to_owned())].into(),
        ..PredictionRecord::default()
    });
    bench.report(&id, number(0.0), number(1.0)).await;
    let other = wire::CaptureTrafficRequest {
        target: "other".to_owned(),
        model_version: "4".to_owned(),
        with_unsampled: true,
        ..asking()
    };
    let made = bench.capture(other.clone()).await.unwrap();
    let rows = bench.rows(&made).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].fields["plan"], text("silver"));
    assert_eq!(rows[0].fields["probability"], number(0.75));
    let roles = made.roles.unwrap();
    assert_eq!(
        (roles.probabilities.len(), roles.slices),
        (1, vec!["plan".to_owned()])
    );
    let of_none = wire::CaptureTrafficRequest {
        model_version: "5".to_owned(),
        ..other
    };
    refused(
        &bench.capture(of_none).await.unwrap_err(),
        Code::FailedPrecondition,
        "NO_TRAFFIC",
    );

    // A sample is the same one with the same seed.
    let few = |seed: i64| wire::CaptureTrafficRequest {
        max_rows: 3,
        seed,
        ..asking()
    };
    let (one, two) = (
        bench.capture(few(1)).await.unwrap(),
        bench.capture(few(1)).await.unwrap(),
    );
    assert_eq!(one.data_digest, two.data_digest);
    assert!((2..=3).contains(&one.row_count));
    let traffic = one.traffic.unwrap();
    assert_eq!(traffic.captured_calls + traffic.unsampled_calls, 6, "{traffic:?}");
    let mut digests = std::collections::BTreeSet::new();
    for seed in 0..6 {
        digests.insert(bench.capture(few(seed)).await.unwrap().data_digest);
    }
    assert!(digests.len() > 1);
}

#[tokio::test]
async fn what_cannot_be_captured_is_refused_and_leaves_nothing() {
    let bench = Bench::new().await;
    let empty = bench.capture(asking()).await.unwrap_err();
    refused(&empty, Code::FailedPrecondition, "NO_TRAFFIC");
    assert!(empty.message().contains("no call was recorded"), "{empty:?}");
    let nowhere = wire::CaptureTrafficRequest {
        endpoint: "nowhere".to_owned(),
        ..asking()
    };
    let nowhere = bench.capture(nowhere).await.unwrap_err();
    refused(&nowhere, Code::NotFound, "RESOURCE_NOT_FOUND");
    let wrong = wire::CaptureTrafficRequest {
        name: "a@1".to_owned(),
        endpoint: String::new(),
        start_time: Some(time(START)),
        end_time: Some(time(START)),
        max_rows: 1_000_001,
        sample_share: 1.5,
        ..asking()
    };
    let wrong = bench.capture(wrong).await.unwrap_err();
    refused(&wrong, Code::InvalidArgument, "INVALID_FIELD");
    let lodeway_domain::Error::Invalid(faults) = lodeway_rpc::status::into_error(&wrong) else {
        panic!("{wrong:?}");
    };
    let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(
        fields,
        ["name", "endpoint", "start_time", "max_rows", "sample_share"]
    );
    bench.gateway.set_down(true);
    let down = bench.capture(asking()).await.unwrap_err();
    assert_eq!(down.code(), Code::Unavailable);
    let found = bench
        .datasets
        .clone()
        .get_dataset(wire::GetDatasetRequest {
            name: "live".to_owned(),
        })
        .await;
    assert_eq!(found.unwrap_err().code(), Code::NotFound);
}
