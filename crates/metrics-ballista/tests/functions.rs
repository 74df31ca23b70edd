//! The functions in queries of one process: kinds of columns, gaps, and what is refused.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use datafusion::{arrow::array::AsArray as _, prelude::SessionConfig};
use lodeway_metrics_ballista::local;
use serde_json::Value;

/// The reports of a query over rows given as values; no report is `null`.
async fn reports(query: &str) -> Result<Vec<Value>, String> {
    let context = local(SessionConfig::new().with_target_partitions(2));
    let run = async { context.sql(query).await?.collect().await };
    let batches = run.await.map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for batch in batches {
        for text in batch.column(0).as_string::<i32>() {
            found.push(text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap()));
        }
    }
    Ok(found)
}

async fn report(query: &str) -> Value {
    let mut reports = reports(query).await.expect("a report");
    assert_eq!(reports.len(), 1);
    reports.remove(0)
}

async fn error(query: &str) -> String {
    reports(query).await.expect_err("an error")
}

#[tokio::test]
async fn columns_of_many_kinds_are_labels() {
    for rows in [
        "VALUES (true, true), (false, true), (true, true), (false, false)",
        "VALUES (true, 1), (false, 1), (true, 1), (false, 0)",
        "VALUES (1.0, 1), (0.0, 1), (1.0, 1), (0.0, 0)",
        "VALUES ('yes', 'yes'), ('no', 'yes'), ('yes', 'yes'), ('no', 'no')",
        "SELECT arrow_cast(a, 'Dictionary(Int8, Utf8)'), arrow_cast(b, 'LargeUtf8') \
         FROM (VALUES ('yes', 'yes'), ('no', 'yes'), ('yes', 'yes'), ('no', 'no')) AS t(a, b)",
        "SELECT arrow_cast(a, 'UInt8'), arrow_cast(b, 'Int16') \
         FROM (VALUES (1, 1), (0, 1), (1, 1), (0, 0)) AS t(a, b)",
    ] {
        let query =
            format!("SELECT evaluation_metrics(classification_state(y, p)) FROM ({rows}) AS rows(y, p)");
        let report = report(&query).await;
        assert_eq!(report["rows"], 4, "{rows}");
        assert_eq!(report["metrics"]["accuracy"]["value"], 0.75, "{rows}");
        assert_eq!(report["metrics"]["recall"]["value"], 1.0, "{rows}");
    }
}

#[tokio::test]
async fn a_list_of_probabilities_has_one_for_each_class() {
    let rows =
        "(VALUES ('a', 0.7, 0.2, 0.1), ('b', 0.1, 0.8, 0.1), ('c', 0.4, 0.35, 0.25)) AS rows(y, a, b, c)";
    let query = |list: &str, settings: &str| {
        format!(
            "SELECT evaluation_metrics(classification_state(y, NULL, {list}, NULL, '{settings}'), 0.9) FROM {rows}"
        )
    };
    let classes = r#"{"classes": ["a", "b", "c"], "top_k": 2}"#;
    for list in [
        "make_array(a, b, c)",
        "arrow_cast(make_array(a, b, c), 'FixedSizeList(3, Float64)')",
    ] {
        let metrics = report(&query(list, classes)).await["metrics"].take();
        assert_eq!(metrics["accuracy"]["value"].as_f64(), Some(2.0 / 3.0));
        assert_eq!(metrics["top_2_accuracy"]["value"].as_f64(), Some(2.0 / 3.0));
        assert!(metrics["roc_auc"]["value"].is_number());
    }
    let short = error(&query("make_array(a, b)", classes)).await;
    assert!(
        short.contains("2 probabilities where there are 3 classes"),
        "{short}"
    );
    let unnamed = error(&query("make_array(a, b, c)", "{}")).await;
    assert!(unnamed.contains("`classes`: are missing"), "{unnamed}");
}

#[tokio::test]
async fn no_rows_are_no_report() {
    let query = "SELECT evaluation_metrics(regression_state(y, p)) FROM (VALUES (1.0, 1.5)) AS rows(y, p)";
    assert_eq!(report(&format!("{query} WHERE y > 2")).await, Value::Null);
    let report = report(query).await;
    assert_eq!(report["metrics"]["mae"]["value"], 0.5);
    assert_eq!(report["task"], "regression");
}

#[tokio::test]
async fn many_slices_have_a_state_each() {
    let rows = "SELECT value % 100000 AS slice, value AS y, value + 1.5 AS p FROM generate_series(1, 200000)";
    let query =
        format!("SELECT evaluation_metrics(regression_state(y, p)) FROM ({rows}) AS rows GROUP BY slice");
    let found = reports(&query).await.expect("reports");
    assert_eq!(found.len(), 100_000);
    for report in found {
        assert_eq!(report["rows"], 2);
        assert_eq!(report["metrics"]["mae"]["value"], 1.5);
    }
}

#[tokio::test]
async fn a_slice_without_weight_has_a_note() {
    let rows = "(VALUES ('a', 1.0, 1.5, 1.0), ('b', 1.0, 1.5, 0.0)) AS rows(slice, y, p, w) GROUP BY slice ORDER BY slice";
    let of = |function: &str| format!("SELECT {function}(regression_state(y, p, w)) FROM {rows}");
    let weight = error(&of("evaluation_metrics")).await;
    let found = reports(&of("evaluation_metrics_or_note")).await.expect("reports");
    assert_eq!(found[0]["metrics"]["mae"]["value"], 0.5);
    let note = found[1]["note"].as_str().expect("a note");
    assert!(weight.contains(note), "{weight}: {note}");
}

#[tokio::test]
async fn settings_reach_the_states() {
    let rows = "FROM (VALUES (1, 1, 0.9), (0, 1, 0.6), (1, 0, 0.4), (0, 0, 0.3)) AS rows(y, p, s)";
    let state = |settings: &str| {
        format!("SELECT evaluation_metrics(classification_state(y, p, s, NULL, '{settings}')) {rows}")
    };
    let all = report(&state(r#"{"betas": [2.0]}"#)).await["metrics"].take();
    assert!(all["fbeta_2"]["value"].is_number());
    assert_eq!(all["roc_auc"]["value"], 0.75);
    let sums = report(&state(r#"{"max_rows": 0}"#)).await["metrics"].take();
    assert_eq!(sums["log_loss"], all["log_loss"]);
    assert!(sums.get("roc_auc").is_none() && sums.get("average_precision").is_none());
    let few = error(&state(r#"{"max_rows": 3}"#)).await;
    assert!(few.contains("more than 3 rows"), "{few}");
}

#[tokio::test]
async fn what_cannot_be_evaluated_is_refused() {
    let of = |call: &str, rows: &str| {
        format!("SELECT evaluation_metrics({call}) FROM (VALUES {rows}) AS rows(y, p, s)")
    };
    let states = "classification_state(y, p, s)";
    for (query, why) in [
        (
            of(states, "(1, 1, 0.5), (NULL, 1, 0.5)"),
            "`target`: has no value in 1 rows",
        ),
        (
            of(states, "(1, 1, 0.5), (0, 1, NULL)"),
            "`probability`: has no value in 1 rows",
        ),
        (of(states, "(1, 1, 1.5)"), "probability"),
        (of(states, "(2, 1, 0.5)"), "is class `2`"),
        (
            of(states, "('a', 'b', 0.5)"),
            "name the negative and the positive one",
        ),
        (
            of("classification_state(y, p)", "('a', 1, 0.5)"),
            "where the other labels are",
        ),
        (
            of("classification_state(DISTINCT y, p)", "(1, 1, 0.5)"),
            "leave DISTINCT out",
        ),
        (
            of("classification_state(y, p, s, NULL, p)", "(1, 'x', 0.5)"),
            "are no literal",
        ),
        (
            of("classification_state(make_array(y), p)", "(1, 1, 0.5)"),
            "neither truth value",
        ),
        (
            of("classification_state(y, NULL)", "(1, 1, 0.5)"),
            "`prediction`: is missing",
        ),
        (
            of("regression_state(y, NULL)", "(1, 1, 0.5)"),
            "`prediction`: is missing",
        ),
        (
            of("regression_state(y, p, s, '{\"mean\": 1}')", "(1, 1, 0.5)"),
            "unknown field `mean`",
        ),
        (
            of("regression_state(y, p), 1.5", "(1, 1, 0.5)"),
            "`confidence`: is not between 0 and 1",
        ),
        (of("X'0102'", "(1, 1, 0.5)"), "too short"),
    ] {
        let error = error(&query).await;
        assert!(error.contains(why), "{query}: {error}");
    }
}
