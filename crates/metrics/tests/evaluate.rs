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
    assert_eq!(first["accuracy"].method, Method::Bootstrap);
    let analytic = Options {
        analytic_above: 5,
        ..options
    };
    let metrics = evaluate(Task::Classification, &binary(), &analytic).unwrap();
    assert_eq!(metrics["accuracy"].method, Method::Wilson);
    assert_eq!(metrics["roc_auc"].method, Method::DeLong);
    assert_eq!(metrics["f1"].method, Method::Delta);
    // Resamples of what is always right never differ.
    let right = evaluate(Task::Classification, &Columns::new(Y, Y), &Options::default()).unwrap();
    assert_eq!(right["accuracy"].method, Method::Wilson);
    assert!(right["accuracy"].low < 0.7 && right["accuracy"].high == 1.0);
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

/// Labels alone are resampled in groups of rows that are alike; with weights of 1 they are not, and nothing may change.
#[test]
fn rows_that_are_alike_have_the_intervals_of_rows() {
    for rows in [60, 5_000_i64] {
        let truth: Vec<i64> = (0..rows).map(|i| i * 7 % 3).collect();
        let said: Vec<i64> = (0..rows)
            .map(|i| if i % 4 == 0 { i * 5 % 3 } else { i * 7 % 3 })
            .collect();
        let columns = Columns::new(Column::Ints(&truth), Column::Ints(&said));
        let ones = vec![1.0; truth.len()];
        let weighted = Columns {
            weights: Some(&ones),
            ..columns
        };
        let [grouped, single] = [columns, weighted]
            .map(|columns| evaluate(Task::Classification, &columns, &Options::default()).unwrap());
        assert_eq!(grouped.len(), single.len());
        for (name, grouped) in &grouped {
            let single = single[name];
            assert_eq!(
                (grouped.value, grouped.method),
                (single.value, single.method),
                "{name}"
            );
            let ratio = (grouped.high - grouped.low) / (single.high - single.low);
            assert!(
                (ratio - 1.0).abs() < 0.15,
                "{name} of {rows}: {grouped:?} {single:?}"
            );
        }
    }
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
        assert_eq!(estimate.method, Method::Bootstrap, "{name}");
        assert!(
            estimate.low <= estimate.value && estimate.value <= estimate.high,
            "{name} {estimate:?}"
        );
    }
    assert!(evaluate_text(&[], &[], &Options::default()).is_err());
    assert!(evaluate_text(&texts, &references[..1], &Options::default()).is_err());
}
