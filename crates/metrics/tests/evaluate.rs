//! One call from columns to metrics: names, what is not defined, what is refused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use lodeway_metrics::{
    Column, Columns, Estimate, Label, Method, Options, Task, compare, evaluate, text::evaluate_text,
};

fn names(metrics: &BTreeMap<String, Estimate>) -> String {
    metrics.keys().map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn refusal(task: Task, columns: &Columns<'_>) -> String {
    evaluate(task, columns, &Options::default())
        .unwrap_err()
        .to_string()
}

const Y: Column<'_> = Column::Ints(&[0, 1, 1, 0, 1, 0]);
const P: Column<'_> = Column::Ints(&[0, 1, 0, 0, 1, 1]);
const PROBABILITY: &[f64] = &[0.2, 0.9, 0.4, 0.1, 0.8, 0.7];

fn binary() -> Columns<'static> {
    Columns {
        probability: Some(PROBABILITY),
        ..Columns::new(Y, P)
    }
}

#[test]
fn metrics_have_the_short_names() {
    let metrics = evaluate(Task::Classification, &binary(), &Options::default()).unwrap();
    assert_eq!(
        names(&metrics),
        "accuracy average_precision balanced_accuracy brier calibration_error cohen_kappa f1 log_loss matthews \
         precision recall roc_auc"
    );
    for (name, estimate) in &metrics {
        assert!(
            estimate.low <= estimate.value && estimate.value <= estimate.high,
            "{name} {estimate:?}"
        );
    }
    assert!((metrics["roc_auc"].value - 8.0 / 9.0).abs() < 1e-15);

    let numbers = Columns::new(Column::Floats(&[1.0, 2.5, 3.0]), Column::Ints(&[1, 2, 4]));
    let metrics = evaluate(Task::Regression, &numbers, &Options::default()).unwrap();
    assert_eq!(
        names(&metrics),
        "explained_variance mae mape max_error mean_pinball_loss mean_poisson_deviance median_absolute_error mse r2 \
         rmse smape"
    );
    assert_eq!(metrics["max_error"].method, Method::NoInterval);

    let probability = [0.6, 0.3, 0.1, 0.2, 0.5, 0.3, 0.1, 0.1, 0.8, 0.4, 0.5, 0.1];
    let three = Columns {
        prediction: None,
        probability: Some(&probability),
        ..Columns::new(Column::Texts(&["a", "b", "c", "a"]), Y)
    };
    let metrics = evaluate(Task::Classification, &three, &Options::default()).unwrap();
    for name in [
        "f1",
        "f1_micro",
        "precision_weighted",
        "top_2_accuracy",
        "roc_auc_ovo",
        "roc_auc_ovr_weighted",
    ] {
        assert!(metrics[name].is_defined(), "{name}");
    }
    assert_eq!(
        (metrics["accuracy"].value, metrics["top_2_accuracy"].value),
        (0.75, 1.0)
    );
    assert_eq!(metrics["f1"], metrics["f1_macro"]);
}

#[test]
fn intervals_repeat_with_the_seed_and_change_with_the_number_of_rows() {
    let options = Options::default();
    let first = evaluate(Task::Classification, &binary(), &options).unwrap();
    assert_eq!(
        first,
        evaluate(Task::Classification, &binary(), &options).unwrap()
    );
    let analytic = Options {
        analytic_above: 5,
        ..options.clone()
    };
    let methods = [
        ("accuracy", Method::Wilson),
        ("recall", Method::Wilson),
        ("f1", Method::WilsonDelta),
        ("matthews", Method::WilsonDelta),
        ("brier", Method::WilsonDelta),
        ("average_precision", Method::WilsonDelta),
        ("roc_auc", Method::WilsonDeLong),
        ("log_loss", Method::Delta),
    ];
    for (name, method) in methods {
        assert_eq!(first[name].method, method, "{name}");
    }
    // Whatever the rows, intervals of classes are the same.
    let above = evaluate(Task::Classification, &binary(), &analytic).unwrap();
    assert_eq!(first, above);

    let target: Vec<f64> = (0..40).map(|row| f64::from(row * 7 % 40)).collect();
    let predicted: Vec<f64> = (0..40).map(|row| f64::from(row * 7 % 40 + row % 3)).collect();
    let method = |rows: usize, options: &Options, name: &str| {
        let columns = Columns::new(
            Column::Floats(&target[..rows]),
            Column::Floats(&predicted[..rows]),
        );
        evaluate(Task::Regression, &columns, options).unwrap()[name].method
    };
    for name in ["mae", "rmse", "r2", "smape", "median_absolute_error"] {
        let by_delta = match name {
            "median_absolute_error" => Method::OrderStatistics,
            _ => Method::Delta,
        };
        assert_eq!(method(40, &options, name), Method::Bootstrap, "{name}");
        assert_eq!(method(40, &analytic, name), by_delta, "{name}");
        // Percentiles of few rows are too narrow.
        assert_eq!(method(19, &options, name), by_delta, "{name}");
    }
}

/// Two classes in turn, or three, predicted right and surely.
fn right(rows: usize, classes: i64) -> (Vec<i64>, Vec<f64>) {
    let truth: Vec<i64> = (0..rows as i64).map(|row| row % classes).collect();
    let columns = if classes == 2 { 1..2 } else { 0..classes };
    let probability = truth
        .iter()
        .flat_map(|class| {
            columns
                .clone()
                .map(move |column| f64::from(u8::from(column == *class)))
        })
        .collect();
    (truth, probability)
}

#[test]
fn rows_without_errors_prove_no_perfect_model() {
    for classes in [2, 3] {
        let mut before: BTreeMap<String, f64> = BTreeMap::new();
        for rows in [6, 20, 50, 200, 1000] {
            let (truth, probability) = right(rows, classes);
            let columns = Columns {
                probability: Some(&probability),
                ..Columns::new(Column::Ints(&truth), Column::Ints(&truth))
            };
            let ones = vec![3.0; rows];
            let weighted = Columns {
                weights: Some(&ones),
                ..columns
            };
            let metrics = evaluate(Task::Classification, &columns, &Options::default()).unwrap();
            let same = evaluate(Task::Classification, &weighted, &Options::default()).unwrap();
            for (name, found) in &metrics {
                if name == "log_loss" {
                    // A loss has no far end.
                    assert_eq!(found.method, Method::NoInterval);
                    continue;
                }
                let width = found.high - found.low;
                let widest = before.insert(name.clone(), width).unwrap_or(2.0);
                assert!(width > 0.0 && width < widest, "{name} of {rows}: {found:?}");
                assert!(
                    found.low <= found.value && found.value <= found.high && found.high <= 1.0 + 1e-12,
                    "{name} of {rows}: {found:?}"
                );
                // Of as many rows as six, one in four might be wrong.
                assert!(rows > 6 || width > 0.25, "{name} of {rows}: {found:?}");
                let other = same[name];
                if other.is_defined() {
                    assert!(
                        (other.low - found.low).abs() < 1e-9,
                        "{name} of {rows}: {found:?} {other:?}"
                    );
                }
            }
        }
        assert!(
            before.len() > 8 && before.values().all(|width| *width < 0.04),
            "{before:?}"
        );
    }
}

#[test]
fn two_rows_pass_no_threshold() {
    let (truth, probability) = right(2, 2);
    let columns = Columns {
        probability: Some(&probability),
        ..Columns::new(Column::Ints(&truth), Column::Ints(&truth))
    };
    let metrics = evaluate(Task::Classification, &columns, &Options::default()).unwrap();
    for (name, found) in metrics {
        let is_loss = ["brier", "calibration_error", "log_loss"].contains(&name.as_str());
        let end = if is_loss { 1.0 - found.high } else { found.low };
        assert!(end.is_nan() || end < 0.65, "{name} {found:?}");
    }
}

#[test]
fn residuals_that_do_not_differ_have_no_interval() {
    let values: Vec<f64> = (0..50).map(|row| f64::from(row) * 0.1).collect();
    for bias in [0.0, 0.1] {
        for rows in [1, 2, 50] {
            let predicted: Vec<f64> = values[..rows].iter().map(|value| value + bias).collect();
            let columns = Columns::new(Column::Floats(&values[..rows]), Column::Floats(&predicted));
            let metrics = evaluate(Task::Regression, &columns, &Options::default()).unwrap();
            for name in [
                "mae",
                "mse",
                "rmse",
                "mean_pinball_loss",
                "explained_variance",
                "max_error",
            ] {
                assert!(
                    metrics[name].low.is_nan(),
                    "{name} of {rows}: {:?}",
                    metrics[name]
                );
            }
            assert!(bias > 0.0 || metrics["r2"].low.is_nan());
            let median = metrics["median_absolute_error"];
            // Of so many rows more than half of all have that error.
            assert_eq!(median.low.is_nan(), rows < 6, "{median:?}");
        }
    }
    // Two rows that differ know little: Student's t with one degree of freedom.
    let two = Columns::new(Column::Floats(&[0.0, 0.0]), Column::Floats(&[0.1, 0.3]));
    let metrics = evaluate(Task::Regression, &two, &Options::default()).unwrap();
    assert!(metrics["mae"].low == 0.0 && (metrics["mae"].high - (0.2 + 12.706_2 * 0.1)).abs() < 1e-4);
}

#[test]
fn texts_that_are_all_right_leave_doubt() {
    let words = "the cat sat on the mat all day";
    for (rows, most) in [(3, 0.5), (30, 0.9), (300, 0.99)] {
        let texts = vec![words; rows];
        let metrics = evaluate_text(&texts, &texts, &Options::default()).unwrap();
        for name in ["exact_match", "token_f1", "rouge1", "rougeL", "levenshtein_ratio"] {
            let found = metrics[name];
            assert!(
                found.value == 1.0 && found.high == 1.0 && found.low < most,
                "{name} {found:?}"
            );
            assert!(found.low > most - 0.1, "{name} {found:?}");
        }
        for name in ["bleu", "chrf", "length", "flesch"] {
            assert_eq!(
                metrics[name].method,
                Method::NoInterval,
                "{name} {:?}",
                metrics[name]
            );
        }
    }
}

#[test]
fn comparisons_of_what_never_differs_prove_nothing() {
    for rows in [2, 30] {
        let (truth, probability) = right(rows, 2);
        let columns = Columns {
            probability: Some(&probability),
            ..Columns::new(Column::Ints(&truth), Column::Ints(&truth))
        };
        let wrong: Vec<i64> = truth.iter().map(|class| 1 - class).collect();
        let swapped: Vec<f64> = probability.iter().map(|p| 1.0 - p).collect();
        let all_wrong = Columns {
            probability: Some(&swapped),
            ..Columns::new(Column::Ints(&truth), Column::Ints(&wrong))
        };
        let options = Options::default();
        let same = compare(Task::Classification, &columns, &columns, &options).unwrap();
        for (name, found) in same {
            assert_eq!((found.difference.value, found.p_value), (0.0, 1.0), "{name}");
            let is_open = found.difference.low < 0.0 && found.difference.high > 0.0;
            assert_eq!(is_open, name == "accuracy", "{name} {found:?}");
        }
        let opposite = compare(Task::Classification, &columns, &all_wrong, &options).unwrap();
        for (name, found) in &opposite {
            // Resamples that all make the same difference tell no chance.
            let is_known = name == "accuracy" || found.difference.low < found.difference.high;
            assert!(is_known == found.p_value.is_finite(), "{name} {found:?}");
            assert!(found.p_value.is_nan() || found.p_value > 0.0, "{name} {found:?}");
        }
        let exact = opposite["accuracy"];
        assert!((exact.p_value * 2_f64.powi(rows as i32 - 1) - 1.0).abs() < 1e-12);
        assert!(exact.difference.high == 1.0 && exact.difference.low < 1.0);

        let values: Vec<f64> = (0..rows).map(|row| row as f64).collect();
        let perfect = Columns::new(Column::Floats(&values), Column::Floats(&values));
        let same = compare(Task::Regression, &perfect, &perfect, &options).unwrap();
        for (name, found) in same {
            // The largest error is not resampled, and a resample of two rows may hold one target only.
            let is_known = name != "max_error" && found.p_value.is_finite();
            assert!(!is_known || found.p_value == 1.0, "{name} {found:?}");
            assert!(found.difference.low.is_nan(), "{name} {found:?}");
        }
    }
}

#[test]
fn one_class_leaves_metrics_undefined_by_name() {
    let one = Columns {
        probability: Some(&[0.2, 0.9]),
        ..Columns::new(Column::Ints(&[1, 1]), Column::Ints(&[0, 1]))
    };
    let metrics = evaluate(Task::Classification, &one, &Options::default()).unwrap();
    assert_eq!(metrics["roc_auc"].method, Method::Undefined);
    assert_eq!(metrics["average_precision"].value, 1.0);
    assert_eq!(metrics["accuracy"].value, 0.5);
    let single = Columns::new(Column::Floats(&[1.0]), Column::Floats(&[2.0]));
    let metrics = evaluate(Task::Regression, &single, &Options::default()).unwrap();
    assert!(!metrics["r2"].is_defined() && metrics["mae"].value == 1.0);
}

#[test]
fn bad_input_is_named_by_column_and_row() {
    use Task::{Classification, Regression};
    let short = Columns::new(Y, Column::Ints(&[1]));
    assert_eq!(
        refusal(Classification, &short),
        "`prediction`: has 1 rows where 6 are needed"
    );
    let empty = Columns::new(Column::Ints(&[]), Column::Ints(&[]));
    assert_eq!(refusal(Classification, &empty), "`target`: has no rows");
    assert_eq!(refusal(Regression, &empty), "`target`: has no rows");
    let mixed = Columns::new(Y, Column::Texts(&["0"; 6]));
    assert_eq!(
        refusal(Classification, &mixed),
        "`prediction`: has texts where the other labels are integers"
    );
    let nan = Columns::new(Column::Floats(&[1.0, 2.0]), Column::Floats(&[1.0, f64::NAN]));
    assert_eq!(refusal(Regression, &nan), "`prediction[1]`: is NaN or infinite");
    let above = Columns {
        probability: Some(&[0.1, 0.2, 1.5, 0.0, 0.0, 0.0]),
        ..binary()
    };
    assert_eq!(
        refusal(Classification, &above),
        "`probability[2]`: is not a probability between 0 and 1"
    );
    let two_columns = Columns {
        probability: Some(&[0.5; 12]),
        target: Column::Ints(&[0, 1, 2, 0, 1, 2]),
        ..binary()
    };
    assert_eq!(
        refusal(Classification, &two_columns),
        "`probability`: has 2 columns for 3 classes; name the classes"
    );
    let unseen = [Label::Int(0), Label::Int(1)];
    let unseen = Columns {
        classes: Some(&unseen),
        target: Column::Ints(&[0, 1, 7, 0, 1, 0]),
        ..binary()
    };
    assert_eq!(
        refusal(Classification, &unseen),
        "`target[2]`: is class `7`, which has no probability"
    );
    let weightless = Columns {
        weights: Some(&[0.0; 6]),
        ..binary()
    };
    assert_eq!(
        refusal(Classification, &weightless),
        "`weight`: sums to 0 over all rows"
    );
    let negative = Columns {
        weights: Some(&[1.0, 1.0, -1.0, 1.0, 1.0, 1.0]),
        ..binary()
    };
    assert_eq!(
        refusal(Classification, &negative),
        "`weight[2]`: is not a finite number of at least 0"
    );
    let sure = Options {
        confidence: 1.0,
        ..Options::default()
    };
    assert!(evaluate(Classification, &binary(), &sure).is_err());
}

#[test]
fn truth_values_beside_numbers_are_zero_and_one() {
    let columns = Columns::new(Y, Column::Bools(&[false, true, false, false, true, true]));
    let metrics = evaluate(Task::Classification, &columns, &Options::default()).unwrap();
    let expected = evaluate(Task::Classification, &Columns::new(Y, P), &Options::default()).unwrap();
    assert_eq!(metrics, expected);
}

#[test]
fn a_better_model_is_told_from_a_worse_one() {
    let truth: Vec<i64> = (0..400).map(|i| i % 2).collect();
    let wrong_every = |n: i64| -> Vec<i64> {
        (0..400)
            .map(|i| if i % n == 0 { 1 - i % 2 } else { i % 2 })
            .collect()
    };
    let (good, bad) = (wrong_every(20), wrong_every(4));
    let first = Columns::new(Column::Ints(&truth), Column::Ints(&good));
    let second = Columns::new(Column::Ints(&truth), Column::Ints(&bad));
    let comparisons = compare(Task::Classification, &first, &second, &Options::default()).unwrap();
    let accuracy = comparisons["accuracy"];
    assert!((accuracy.difference.value - 0.2).abs() < 1e-12 && accuracy.difference.low > 0.1);
    assert!(accuracy.p_value < 1e-10 && comparisons["f1"].p_value < 0.01);
    let same = compare(Task::Classification, &first, &first, &Options::default()).unwrap();
    assert_eq!(
        (same["accuracy"].p_value, same["accuracy"].difference.value),
        (1.0, 0.0)
    );
    let short = Columns::new(Y, P);
    assert!(compare(Task::Classification, &first, &short, &Options::default()).is_err());
}

#[test]
fn texts_have_metrics_with_intervals() {
    let references = [
        "the cat sat on the mat today",
        "a dog ran over the hill",
        "rain fell all night long",
    ];
    let texts = [
        "the cat sat on a mat today",
        "a dog ran over the hill",
        "snow fell all night",
    ];
    let metrics = evaluate_text(&texts, &references, &Options::default()).unwrap();
    // Articles do not count, so the first pair matches too.
    assert!((metrics["exact_match"].value - 2.0 / 3.0).abs() < 1e-15);
    for name in [
        "bleu",
        "chrf",
        "rouge1",
        "rougeLsum",
        "token_f1",
        "levenshtein_ratio",
    ] {
        let estimate = metrics[name];
        let is_share = !matches!(name, "bleu" | "chrf");
        assert_eq!(
            estimate.method,
            if is_share {
                Method::WilsonDelta
            } else {
                Method::Delta
            },
            "{name}"
        );
        assert!(
            estimate.low <= estimate.value && estimate.value <= estimate.high,
            "{name} {estimate:?}"
        );
    }
    let many = |texts: &[&'static str]| texts.repeat(10);
    let metrics = evaluate_text(&many(&texts), &many(&references), &Options::default()).unwrap();
    assert_eq!(
        (metrics["bleu"].method, metrics["rouge1"].method),
        (Method::Bootstrap, Method::WilsonDelta)
    );
    assert!(evaluate_text(&[], &[], &Options::default()).is_err());
    assert!(evaluate_text(&texts, &references[..1], &Options::default()).is_err());
}
