//! The evaluator on tables: what it gives, what it refuses, and that cuts between batches do not matter.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails it")]

use std::sync::{Arc, Mutex};

use lodeway_domain::Result;
use lodeway_scorers::{
    BadRows, Comparator, Evaluator, Plan, PlanOptions, Probability, Report, Roles, Task, Thresholds, plots,
    row_schema,
};
use lodeway_tables::{Batch, Column, Texts, Type, Values};
use proptest::prelude::*;

fn ints(name: &str, values: Vec<i64>) -> Column {
    Column::new(name, Type::Int64, Values::Int(values), None).unwrap()
}

fn doubles(name: &str, values: Vec<f64>) -> Column {
    Column::new(name, Type::Float64, Values::Double(values), None).unwrap()
}

fn texts(name: &str, values: &[&str]) -> Column {
    let values: Texts = values.iter().copied().collect();
    Column::new(name, Type::Text, Values::Text(values), None).unwrap()
}

fn batch(columns: Vec<Column>) -> Batch {
    Batch::new(columns).unwrap()
}

fn roles(target: &str, prediction: &str) -> Roles {
    Roles {
        target: Some(target.to_owned()),
        prediction: Some(prediction.to_owned()),
        ..Roles::default()
    }
}

fn probability(class: Option<&str>, column: &str) -> Probability {
    Probability {
        class: class.map(str::to_owned),
        column: column.to_owned(),
    }
}

fn evaluate(plan: &Plan, batches: &[Batch]) -> Result<Report> {
    let mut evaluator = Evaluator::new(plan.clone(), &batches[0].schema())?;
    for batch in batches {
        evaluator.push(batch)?;
    }
    evaluator.finish()
}

/// Rows of everything a classifier has.
fn classified(rows: std::ops::Range<u64>) -> Batch {
    let noise = |row: u64| row.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) % 1000;
    let score = |row: u64| noise(row) as f64 / 1000.0;
    let truth = |row: u64| i64::from(noise(row) + noise(row + 7) > 1000);
    batch(vec![
        ints("y", rows.clone().map(truth).collect()),
        ints(
            "yhat",
            rows.clone().map(|row| i64::from(score(row) > 0.5)).collect(),
        ),
        doubles("p", rows.clone().map(score).collect()),
        doubles("w", rows.clone().map(|row| 0.5 + score(row + 3)).collect()),
        ints("part", rows.map(|row| (row % 3) as i64).collect()),
    ])
}

fn classifier(analytic_above: u64) -> Plan {
    Plan {
        roles: Roles {
            probabilities: vec![probability(None, "p")],
            weight: Some("w".to_owned()),
            slices: vec!["part".to_owned()],
            ..roles("y", "yhat")
        },
        options: PlanOptions {
            analytic_above,
            replicates: 50,
            ..PlanOptions::default()
        },
        ..Plan::default()
    }
}

fn cut(rows: u64, sizes: &[u64], make: impl Fn(std::ops::Range<u64>) -> Batch) -> Vec<Batch> {
    let (mut from, mut batches) = (0, Vec::new());
    for &size in sizes.iter().cycle() {
        let to = rows.min(from + size);
        batches.push(make(from..to));
        from = to;
        if from == rows {
            return batches;
        }
    }
    batches
}

#[test]
fn streaming_gives_the_values_of_held_rows() {
    let batches = cut(60_000, &[7_000], classified);
    let held = evaluate(&classifier(100_000), &batches).unwrap();
    let streamed = evaluate(&classifier(1_000), &batches).unwrap();
    assert_eq!((held.rows, streamed.scored), (60_000, 60_000));
    assert!(held.metrics.len() > 10 && held.metrics.len() == streamed.metrics.len());
    for (name, metric) in &held.metrics {
        let other = &streamed.metrics[name];
        assert!(
            (metric.value - other.value).abs() <= 1e-12,
            "{name}: {metric:?} {other:?}"
        );
        assert!(
            other.low <= other.value && other.value <= other.high,
            "{name}: {other:?}"
        );
    }
    assert_eq!(held.slices.len(), 3);
    for (one, other) in held.slices.iter().zip(&streamed.slices) {
        assert_eq!((&one.value, one.rows), (&other.value, other.rows));
        assert!((one.metrics["roc_auc"].value - other.metrics["roc_auc"].value).abs() <= 1e-12);
    }
    assert_eq!(held.data, streamed.data);
    assert_eq!(held.confusion, streamed.confusion);
    assert_eq!(
        Report::from_json(&held.to_json().unwrap()).unwrap().metrics,
        held.metrics
    );
}

#[test]
fn scores_that_do_not_fit_are_sorted_on_disk() {
    // More rows than are held in memory for their order, of the whole and of each slice.
    let rows = 1_200_000;
    let batches = cut(rows, &[100_000], classified);
    let report = evaluate(&classifier(1_000), &batches).unwrap();
    let whole = classified(0..rows);
    let Values::Int(truth) = whole.column("y").unwrap().values() else {
        panic!()
    };
    let Values::Double(scores) = whole.column("p").unwrap().values() else {
        panic!()
    };
    let Values::Double(weights) = whole.column("w").unwrap().values() else {
        panic!()
    };
    let truth: Vec<bool> = truth.iter().map(|y| *y == 1).collect();
    let ranked = lodeway_metrics::Scores::of(scores, &truth, Some(weights))
        .unwrap()
        .ranking()
        .finish();
    assert!((report.metrics["roc_auc"].value - ranked.roc_auc).abs() < 1e-12);
    assert!((report.metrics["average_precision"].value - ranked.average_precision).abs() < 1e-12);
    assert!(report.curves.roc.as_ref().unwrap().x.len() <= 1000);
    assert!(
        report
            .slices
            .iter()
            .all(|slice| slice.metrics["roc_auc"].value > 0.5)
    );

    let numbers = |rows: std::ops::Range<u64>| {
        let value = |row: u64| (row * 7919 % 10_007) as f64 / 100.0;
        batch(vec![
            doubles("y", rows.clone().map(value).collect()),
            doubles(
                "yhat",
                rows.map(|row| value(row) + (row % 13) as f64 - 6.5).collect(),
            ),
        ])
    };
    let plan = Plan {
        roles: roles("y", "yhat"),
        ..Plan::default()
    };
    let report = evaluate(&plan, &cut(rows, &[50_000], numbers)).unwrap();
    assert_eq!(report.task, Task::Regression);
    assert_eq!(report.metrics["median_absolute_error"].value, 3.5);
    assert_eq!(report.curves.predicted_actual.len(), 1000);
    let residuals = report.curves.residuals.unwrap();
    assert_eq!(residuals.weights.iter().sum::<f64>(), rows as f64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn cuts_between_batches_do_not_matter(
        sizes in prop::collection::vec(1_u64..9_000, 1..5),
        analytic_above in prop_oneof![Just(500_u64), Just(2_000), Just(100_000)],
    ) {
        let rows = 4_000;
        let plan = Plan {
            options: PlanOptions { replicates: 10, ..classifier(analytic_above).options },
            ..classifier(analytic_above)
        };
        let whole = evaluate(&plan, &[classified(0..rows)]).unwrap();
        let parts = evaluate(&plan, &cut(rows, &sizes, classified)).unwrap();
        prop_assert_eq!(whole.to_json().unwrap(), parts.to_json().unwrap());
    }
}

#[test]
fn a_killed_job_goes_on_from_its_stored_rows() {
    let stored: Arc<Mutex<Vec<Batch>>> = Arc::default();
    let batches = cut(5_000, &[900], classified);
    let mut first = Evaluator::new(classifier(1_000), &batches[0].schema()).unwrap();
    for batch in &batches[..3] {
        first.push(batch).unwrap();
        stored.lock().unwrap().push(batch.clone());
    }
    drop(first);
    let mut second = Evaluator::new(classifier(1_000), &batches[0].schema()).unwrap();
    for batch in stored.lock().unwrap().iter().chain(&batches[3..]) {
        second.push(batch).unwrap();
    }
    assert_eq!(second.rows(), 5_000);
    assert_eq!(
        second.finish().unwrap(),
        evaluate(&classifier(1_000), &batches).unwrap()
    );
}

/// The message of the error that this gives.
fn refused(plan: &Plan, table: Batch) -> String {
    evaluate(plan, &[table]).unwrap_err().to_string()
}

#[test]
fn what_cannot_be_scored_is_named() {
    let plan = Plan {
        roles: roles("y", "yhat"),
        ..Plan::default()
    };
    let says = |plan: &Plan, table: Batch, parts: &[&str]| {
        let error = refused(plan, table);
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    says(
        &plan,
        batch(vec![ints("y", vec![1])]),
        &["yhat", "is missing; the table has y"],
    );
    says(
        &plan,
        batch(vec![ints("y", vec![]), ints("yhat", vec![])]),
        &["has no rows"],
    );
    let mixed = batch(vec![ints("y", vec![1]), texts("yhat", &["a"])]);
    says(&plan, mixed, &["yhat", "has text where the target `y` has int64"]);
    for bad in [f64::NAN, f64::INFINITY] {
        let table = batch(vec![
            doubles("y", vec![0.5, 1.0, 2.0]),
            doubles("yhat", vec![1.0, 1.0, bad]),
        ]);
        says(&plan, table, &["yhat", "row 2: is NaN or infinite"]);
    }
    let told = Plan {
        task: Some(Task::Classification),
        ..plan.clone()
    };
    let table = batch(vec![
        doubles("y", vec![1.0, 0.5]),
        doubles("yhat", vec![1.0, 1.0]),
    ]);
    says(
        &told,
        table,
        &["`columns[\"y\"]`", "row 1: is not a whole number"],
    );
    let told = Plan {
        task: Some(Task::Regression),
        ..plan.clone()
    };
    says(
        &told,
        batch(vec![texts("y", &["a"]), texts("yhat", &["a"])]),
        &["y", "has text where numbers"],
    );

    let with = |probabilities: Vec<Probability>| Plan {
        roles: Roles {
            probabilities,
            ..roles("y", "yhat")
        },
        ..Plan::default()
    };
    let one = with(vec![probability(None, "p")]);
    let three = |p| {
        vec![
            ints("y", vec![0, 1, 1]),
            ints("yhat", vec![0, 1, 1]),
            doubles("p", p),
        ]
    };
    says(
        &one,
        batch(three(vec![0.1, 0.2, 1.5])),
        &["p", "row 2: is not a probability between 0 and 1"],
    );
    let single = batch(vec![
        texts("y", &["a"]),
        texts("yhat", &["a"]),
        doubles("p", vec![0.5]),
    ]);
    says(&one, single, &["p", "needs two classes", "only `a`"]);
    let many = batch(vec![
        ints("y", vec![0, 1, 2]),
        ints("yhat", vec![0, 1, 2]),
        doubles("p", vec![0.5; 3]),
    ]);
    says(
        &one,
        many,
        &[
            "p",
            "is one column of probabilities, and the target has 3 classes",
        ],
    );
    let each = with(vec![probability(Some("a"), "pa"), probability(Some("b"), "pb")]);
    let table = |y: &[&str], sums: f64| {
        batch(vec![
            texts("y", y),
            texts("yhat", &["a", "b"]),
            doubles("pa", vec![0.5, 0.5]),
            doubles("pb", vec![0.5, sums]),
        ])
    };
    says(
        &each,
        table(&["a", "c"], 0.5),
        &["y", "row 1: is class `c`, which has no probability"],
    );
    says(
        &each,
        table(&["a", "b"], 0.6),
        &["pa", "row 1", "do not sum to 1"],
    );
    let weighted = Plan {
        roles: Roles {
            weight: Some("p".to_owned()),
            ..roles("y", "yhat")
        },
        ..Plan::default()
    };
    says(
        &weighted,
        batch(three(vec![1.0, -1.0, 1.0])),
        &["p", "row 1: is not a finite weight"],
    );
    says(&weighted, batch(three(vec![0.0; 3])), &["sums to 0"]);
    let late = Plan {
        options: PlanOptions {
            analytic_above: 1,
            ..plan.options.clone()
        },
        ..each
    };
    says(&late, table(&["a", "c"], 0.5), &["y", "row 1: is class `c`"]);
}

#[test]
fn bad_rows_can_be_left_out_and_are_counted() {
    let nulls = Some(vec![false, true, false, false]);
    let y = Column::new(
        "y",
        Type::Float64,
        Values::Double(vec![1.5, 0.0, 2.0, 3.0]),
        nulls,
    )
    .unwrap();
    let table = batch(vec![y, doubles("yhat", vec![1.0, 1.0, f64::NAN, 3.0])]);
    let plan = Plan {
        roles: roles("y", "yhat"),
        options: PlanOptions {
            bad_rows: BadRows::Skip,
            ..PlanOptions::default()
        },
        ..Plan::default()
    };
    let report = evaluate(&plan, &[table]).unwrap();
    assert_eq!((report.rows, report.scored), (4, 2));
    assert_eq!(report.skipped["`y` is missing"], 1);
    assert_eq!(report.skipped["`yhat` is NaN or infinite"], 1);
    assert_eq!(report.metrics["mae"].value, 0.25);
    let none = batch(vec![doubles("y", vec![0.5]), doubles("yhat", vec![f64::NAN])]);
    assert!(refused(&plan, none).contains("none can be scored"));
}

#[test]
fn one_class_has_the_metrics_that_it_can_have() {
    let plan = Plan {
        roles: Roles {
            probabilities: vec![probability(None, "p")],
            ..roles("y", "yhat")
        },
        ..Plan::default()
    };
    let table = batch(vec![
        ints("y", vec![0; 4]),
        ints("yhat", vec![0, 0, 1, 0]),
        doubles("p", vec![0.1, 0.2, 0.9, 0.3]),
    ]);
    let report = evaluate(&plan, &[table]).unwrap();
    assert_eq!(report.metrics["accuracy"].value, 0.75);
    assert_eq!(report.metrics["roc_auc"].method, "undefined");
    assert!(
        report
            .to_json()
            .unwrap()
            .contains("\"roc_auc\": {\n      \"value\": null")
    );
    let verdict = Thresholds {
        clauses: vec!["roc_auc>=0.1".parse().unwrap(), "accuracy>=0.75".parse().unwrap()],
    };
    let verdict = verdict.judge(&report, None);
    assert!(!verdict.passed && !verdict.clauses[0].passed && verdict.clauses[1].passed);
    assert_eq!(
        verdict.clauses[0].why.as_deref(),
        Some("the metric is not defined on these rows")
    );
}

#[test]
fn truth_values_and_texts_are_classes() {
    let bools =
        |name: &str, values: Vec<bool>| Column::new(name, Type::Bool, Values::Bool(values), None).unwrap();
    let plan = Plan {
        roles: roles("y", "yhat"),
        ..Plan::default()
    };
    let table = batch(vec![
        bools("y", vec![true, false, true]),
        ints("yhat", vec![1, 0, 0]),
    ]);
    let report = evaluate(&plan, &[table]).unwrap();
    assert_eq!(
        (report.metrics["recall"].value, report.positive.as_deref()),
        (0.5, Some("1"))
    );
    let options = PlanOptions {
        positive: Some("ham".to_owned()),
        ..PlanOptions::default()
    };
    let plan = Plan { options, ..plan };
    let table = batch(vec![
        texts("y", &["ham", "spam", "ham"]),
        texts("yhat", &["ham", "spam", "spam"]),
    ]);
    let report = evaluate(&plan, &[table]).unwrap();
    assert_eq!(
        (report.metrics["recall"].value, report.positive.as_deref()),
        (0.5, Some("ham"))
    );
}

#[test]
fn slices_are_bounded_and_small_ones_have_no_metrics() {
    let rows = 400_u64;
    let parts = (0..rows).map(|row| (row / 60) as i64).collect();
    let table = batch(vec![
        ints("y", (0..rows).map(|row| (row % 2) as i64).collect()),
        ints("yhat", (0..rows).map(|row| (row % 3 % 2) as i64).collect()),
        ints("part", parts),
    ]);
    for analytic_above in [100, 100_000] {
        let plan = Plan {
            roles: Roles {
                slices: vec!["part".to_owned()],
                ..roles("y", "yhat")
            },
            options: PlanOptions {
                slices: 2,
                slice_rows: 100,
                analytic_above,
                replicates: 20,
                ..PlanOptions::default()
            },
            ..Plan::default()
        };
        let report = evaluate(&plan, std::slice::from_ref(&table)).unwrap();
        let rows: Vec<_> = report
            .slices
            .iter()
            .map(|slice| (slice.value.as_str(), slice.is_rest, slice.rows))
            .collect();
        assert_eq!(rows, [("0", false, 60), ("1", false, 60), ("", true, 280)]);
        assert!(report.slices[0].metrics.is_empty() && report.slices[0].note.is_some());
        assert!(report.slices[2].metrics["accuracy"].value > 0.0);
    }
}

#[test]
fn texts_and_rankings() {
    let plan = Plan {
        roles: Roles {
            answer: Some("a".to_owned()),
            expected: Some("e".to_owned()),
            ..Roles::default()
        },
        ..Plan::default()
    };
    let answers: Vec<&str> = ["the cat sat on the mat", "a dog", "nothing"]
        .into_iter()
        .cycle()
        .take(90)
        .collect();
    let expected: Vec<&str> = ["the cat sat on a mat", "a dog", "all of it"]
        .into_iter()
        .cycle()
        .take(90)
        .collect();
    let table = batch(vec![texts("a", &answers), texts("e", &expected)]);
    let held = evaluate(&plan, std::slice::from_ref(&table)).unwrap();
    let options = PlanOptions {
        analytic_above: 10,
        ..PlanOptions::default()
    };
    let streamed = evaluate(&Plan { options, ..plan }, &[table]).unwrap();
    assert_eq!(
        (held.task, held.metrics["exact_match"].value),
        (Task::Text, 2.0 / 3.0)
    );
    for (name, metric) in &held.metrics {
        let other = &streamed.metrics[name];
        assert!((metric.value - other.value).abs() < 1e-9, "{name}");
        assert!(
            other.low <= other.value && other.value <= other.high,
            "{name}: {other:?}"
        );
    }

    let plan = Plan {
        roles: Roles {
            query: Some("q".to_owned()),
            ..roles("y", "s")
        },
        ..Plan::default()
    };
    let table = |queries: &[&str]| {
        batch(vec![
            texts("q", queries),
            ints("y", vec![1, 0, 0, 1]),
            doubles("s", vec![0.9, 0.1, 0.8, 0.7]),
        ])
    };
    let report = evaluate(&plan, &[table(&["a", "a", "b", "b"])]).unwrap();
    assert_eq!((report.task, report.metrics["mrr"].value), (Task::Ranking, 0.75));
    assert_eq!(report.metrics["ndcg_at_10"].samples, 2);
    let error = refused(&plan, table(&["a", "b", "a", "b"]));
    assert!(error.contains("row 2: query `a` comes again"), "{error}");
}

/// Whether `clause` holds of these rows, held and streamed.
fn passes(plan: &Plan, table: &Batch, clause: &str) -> bool {
    let [held, streamed] = [100_000, 1].map(|analytic_above| {
        let plan = Plan {
            options: PlanOptions {
                analytic_above,
                ..plan.options.clone()
            },
            ..plan.clone()
        };
        let thresholds = Thresholds {
            clauses: vec![clause.parse().unwrap()],
        };
        let report = evaluate(&plan, std::slice::from_ref(table)).unwrap();
        thresholds.judge(&report, None).passed
    });
    assert_eq!(held, streamed, "{clause}");
    held
}

#[test]
fn a_few_right_rows_pass_no_threshold_on_an_end() {
    let sure = |rows: u64| {
        let class = |row: u64| (row % 2) as i64;
        batch(vec![
            ints("y", (0..rows).map(class).collect()),
            doubles("p", (0..rows).map(|row| class(row) as f64).collect()),
            texts("q", &vec!["a"; rows as usize]),
            texts("t", &vec!["all of it is right"; rows as usize]),
        ])
    };
    let classifier = Plan {
        roles: Roles {
            probabilities: vec![probability(None, "p")],
            ..roles("y", "y")
        },
        ..Plan::default()
    };
    let texts_plan = Plan {
        roles: Roles {
            answer: Some("t".to_owned()),
            expected: Some("t".to_owned()),
            ..Roles::default()
        },
        ..Plan::default()
    };
    let ranking = Plan {
        roles: Roles {
            query: Some("q".to_owned()),
            ..roles("y", "p")
        },
        ..Plan::default()
    };
    for name in [
        "accuracy",
        "balanced_accuracy",
        "f1",
        "cohen_kappa",
        "matthews",
        "roc_auc",
        "average_precision",
    ] {
        let clause = format!("{name}.low>=0.9");
        assert!(passes(&classifier, &sure(2), &format!("{name}>=1")), "{name}");
        assert!(!passes(&classifier, &sure(2), &clause), "{name}");
        assert!(!passes(&classifier, &sure(20), &clause), "{name}");
        assert!(passes(&classifier, &sure(1000), &clause), "{name}");
    }
    for name in ["brier", "calibration_error", "log_loss"] {
        assert!(
            !passes(&classifier, &sure(2), &format!("{name}.high<=0.2")),
            "{name}"
        );
    }
    for name in ["exact_match", "rouge1", "bleu", "chrf"] {
        assert!(
            !passes(&texts_plan, &sure(2), &format!("{name}.low>=0.9")),
            "{name}"
        );
    }
    assert!(!passes(&ranking, &sure(2), "mrr.low>=0.9"));
    let regression = Plan {
        task: Some(Task::Regression),
        roles: roles("y", "y"),
        ..Plan::default()
    };
    for clause in [
        "mae.high<=0.1",
        "rmse.high<=0.1",
        "r2.low>=0.9",
        "median_absolute_error.high<=0.1",
    ] {
        assert!(!passes(&regression, &sure(2), clause), "{clause}");
    }
}

#[test]
fn two_models_without_errors_do_not_differ() {
    let rows = 3_000_u64;
    let table = batch(vec![
        ints("y", (0..rows).map(|row| (row % 3) as i64).collect()),
        ints("a", (0..rows).map(|row| (row % 3) as i64).collect()),
        ints("b", (0..rows).map(|row| (row % 3) as i64).collect()),
    ]);
    let plan = Plan {
        roles: roles("y", "a"),
        ..Plan::default()
    };
    for held in [10_000, 100] {
        let comparator = Comparator::new(&plan, Some("b".to_owned()), Vec::new(), &table.schema());
        let mut comparator = comparator.unwrap().hold(held);
        comparator.push(&table).unwrap();
        for (name, one) in comparator.finish().unwrap() {
            assert_eq!((one.difference, one.p_value), (0.0, 1.0), "{name}");
            let method = if name == "accuracy" {
                "bonett_price"
            } else {
                "none"
            };
            assert_eq!(one.method, method, "{name}");
            assert_ne!(one.test, "none", "{name}");
        }
    }
}

#[test]
fn two_predictions_are_compared_on_the_same_rows() {
    let rows = 0..3_000_u64;
    let mut columns = classified(rows.clone()).into_columns();
    columns.push(ints("other", rows.clone().map(|row| (row % 2) as i64).collect()));
    columns.push(doubles("q", rows.map(|row| (row % 10) as f64 / 10.0).collect()));
    let table = batch(columns);
    let mut plan = classifier(100_000);
    plan.roles.weight = None;
    let mut comparator = Comparator::new(
        &plan,
        Some("other".to_owned()),
        vec![probability(None, "q")],
        &table.schema(),
    )
    .unwrap();
    comparator.push(&table).unwrap();
    let compared = comparator.finish().unwrap();
    let (accuracy, area) = (&compared["accuracy"], &compared["roc_auc"]);
    assert_eq!(
        (accuracy.test.as_str(), area.test.as_str()),
        ("mcnemar", "delong")
    );
    assert!(accuracy.first > 0.7 && accuracy.p_value < 1e-6 && accuracy.low > 0.1);
    assert!((area.difference - (area.first - area.second)).abs() < 1e-12 && area.low > 0.2);
    assert!(compared["log_loss"].high < 0.0 && compared["log_loss"].test == "bootstrap");
}

#[test]
fn results_of_rows_and_pictures() {
    for analytic_above in [100, 100_000] {
        let plan = classifier(analytic_above);
        let results: Arc<Mutex<Vec<Batch>>> = Arc::default();
        let kept = results.clone();
        let table = classified(0..500);
        let mut evaluator = Evaluator::new(plan.clone(), &table.schema())
            .unwrap()
            .rows_to(move |batch| {
                kept.lock().unwrap().push(batch.clone());
                Ok(())
            });
        evaluator.push(&table).unwrap();
        let report = evaluator.finish().unwrap();
        let results = results.lock().unwrap();
        let wanted = row_schema(&plan, Task::Classification).unwrap();
        assert_eq!(results.iter().map(Batch::rows).sum::<usize>(), 500);
        assert!(results.iter().all(|batch| batch.schema() == wanted));
        let Values::Bool(correct) = results[0].column("correct").unwrap().values() else {
            panic!()
        };
        assert!(correct.contains(&true) && correct.contains(&false));

        let names: Vec<_> = plots::plots(&report).iter().map(|plot| plot.name).collect();
        assert_eq!(
            names,
            [
                "roc",
                "precision_recall",
                "calibration",
                "lift",
                "gain",
                "confusion_matrix",
                "metrics"
            ]
        );
        let page = plots::html("<Evaluation>", &report);
        assert!(page.contains("&lt;Evaluation&gt;") && page.matches("<svg").count() == names.len());
        // The namespace of SVG aside it names no address.
        assert!(!page.contains("NaN") && page.matches("http").count() == names.len());
    }
}

#[test]
fn clauses_read_back_as_they_are_written() {
    for text in [
        "accuracy>=0.9",
        "roc_auc.low>0.5",
        "log_loss<=baseline*1.05",
        "f1>=baseline-0.01",
        "mae<baseline+2",
        "mae<=baseline",
    ] {
        let clause: lodeway_scorers::Clause = text.parse().unwrap();
        assert_eq!(clause.to_string(), text);
    }
    for text in [
        "accuracy",
        "accuracy=1",
        "accuracy>=",
        ">=1",
        "accuracy.mid>=1",
        "accuracy>=baseline/2",
        "accuracy=>0.1",
        "a>=NaN",
    ] {
        assert!(text.parse::<lodeway_scorers::Clause>().is_err(), "{text}");
    }
}

#[test]
fn rows_without_a_value_are_another_slice_than_the_empty_text() {
    let texts = ["", "", "a", ""].into_iter().collect();
    let nulls = vec![true, false, false, true];
    let part = Column::new("part", Type::Text, Values::Text(texts), Some(nulls)).unwrap();
    let table = batch(vec![
        ints("y", vec![0, 1, 0, 1]),
        ints("yhat", vec![0, 1, 1, 0]),
        part,
    ]);
    let plan = Plan {
        roles: Roles {
            slices: vec!["part".to_owned()],
            ..roles("y", "yhat")
        },
        ..Plan::default()
    };
    let report = evaluate(&plan, std::slice::from_ref(&table)).unwrap();
    let named: Vec<_> = report
        .slices
        .iter()
        .map(|slice| (slice.name(), slice.is_missing, slice.rows))
        .collect();
    let name = |name: &str| name.to_owned();
    assert_eq!(
        named,
        [
            (name("part is missing"), true, 2),
            (name("part="), false, 1),
            (name("part=a"), false, 1)
        ]
    );
}
