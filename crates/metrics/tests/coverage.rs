//! Intervals hold what they promise: simulated samples, and how often the interval has the true value.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lodeway_metrics::{Bootstrap, Column, Columns, Label, Options, Random, Task, compare, evaluate};

const SAMPLES: u64 = 400;
const CONFIDENCE: f64 = 0.9;

/// With 400 samples the share that covers has a deviation of 0.015; the rest is for small-sample bias.
const TOLERANCE: f64 = 0.055;

fn normal(random: &mut Random) -> f64 {
    // Twelve uniform numbers are near enough, and their moments are known.
    (0..12).map(|_| random.unit()).sum::<f64>() - 6.0
}

struct Classified {
    truth: Vec<i64>,
    labels: Vec<i64>,
    scores: Vec<f64>,
}

/// A score that is right more often than not, and not calibrated.
fn classified(random: &mut Random, rows: usize) -> Classified {
    let truth: Vec<i64> = (0..rows).map(|_| i64::from(random.unit() < 0.35)).collect();
    let score =
        |y: &i64, random: &mut Random| 1.0 / (1.0 + (-(1.2 * *y as f64 - 0.8 + normal(random))).exp());
    let scores: Vec<f64> = truth.iter().map(|y| score(y, random)).collect();
    let labels = scores.iter().map(|&s| i64::from(s > 0.5)).collect();
    Classified {
        truth,
        labels,
        scores,
    }
}

impl Classified {
    fn columns(&self) -> Columns<'_> {
        Columns {
            probability: Some(&self.scores),
            ..Columns::new(Column::Ints(&self.truth), Column::Ints(&self.labels))
        }
    }
}

fn numbers(random: &mut Random, rows: usize) -> (Vec<f64>, Vec<f64>) {
    let target: Vec<f64> = (0..rows).map(|_| 10.0 + 2.0 * normal(random)).collect();
    let predicted = target.iter().map(|y| 0.9 * y + 1.2 + normal(random)).collect();
    (target, predicted)
}

fn options(analytic: bool) -> Options {
    Options {
        confidence: CONFIDENCE,
        analytic_above: if analytic { 0 } else { usize::MAX },
        bootstrap: Bootstrap {
            replicates: 200,
            ..Bootstrap::default()
        },
        ..Options::default()
    }
}

/// Shares of samples whose interval holds the value of a large sample.
fn check(
    names: &[&str],
    analytic: bool,
    sample: impl Fn(&mut Random, usize, &Options) -> Vec<(f64, f64, f64)>,
) {
    let options = options(analytic);
    let large = Options {
        analytic_above: 0,
        ..options.clone()
    };
    let truth: Vec<f64> = sample(&mut Random::new(7, 0), 1_000_000, &large)
        .iter()
        .map(|e| e.0)
        .collect();
    let mut covered = vec![0.0; names.len()];
    for stream in 1..=SAMPLES {
        let estimates = sample(&mut Random::new(7, stream), 250, &options);
        for ((count, (_, low, high)), truth) in covered.iter_mut().zip(estimates).zip(&truth) {
            *count += f64::from(u8::from(low <= *truth && *truth <= high)) / SAMPLES as f64;
        }
    }
    let wrong: Vec<String> = names
        .iter()
        .zip(&covered)
        .filter(|(_, share)| (**share - CONFIDENCE).abs() > TOLERANCE)
        .map(|(name, share)| format!("{name} {share:.3}"))
        .collect();
    assert!(
        wrong.is_empty(),
        "intervals of {CONFIDENCE}, analytic {analytic}: {}",
        wrong.join(", ")
    );
}

const LABELS: [&str; 11] = [
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "matthews",
    "cohen_kappa",
    "log_loss",
    "brier",
    "roc_auc",
    "average_precision",
];
const NUMBERS: [&str; 8] = [
    "mae",
    "mse",
    "rmse",
    "r2",
    "explained_variance",
    "smape",
    "mean_pinball_loss",
    "median_absolute_error",
];

fn classifier(random: &mut Random, rows: usize, options: &Options) -> Vec<(f64, f64, f64)> {
    let sample = classified(random, rows);
    let metrics = evaluate(Task::Classification, &sample.columns(), options).unwrap();
    LABELS
        .iter()
        .map(|name| (metrics[*name].value, metrics[*name].low, metrics[*name].high))
        .collect()
}

fn regression(random: &mut Random, rows: usize, options: &Options) -> Vec<(f64, f64, f64)> {
    let (target, predicted) = numbers(random, rows);
    let columns = Columns::new(Column::Floats(&target), Column::Floats(&predicted));
    let metrics = evaluate(Task::Regression, &columns, options).unwrap();
    NUMBERS
        .iter()
        .map(|name| (metrics[*name].value, metrics[*name].low, metrics[*name].high))
        .collect()
}

#[test]
fn intervals_of_a_classifier_cover() {
    check(&LABELS, true, classifier);
}

#[test]
fn analytic_intervals_of_a_regression_cover() {
    check(&NUMBERS, true, regression);
}

#[test]
fn resampled_intervals_of_a_regression_cover() {
    check(&NUMBERS, false, regression);
}

const SHARP: [&str; 9] = [
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "matthews",
    "brier",
    "roc_auc_ovr",
    "roc_auc_ovr_weighted",
    "roc_auc_ovo",
    "roc_auc_ovo_weighted",
];
const SHARP_BINARY: [&str; 3] = ["f1", "roc_auc", "average_precision"];

/// A model of three classes, or of two, that is right and sure but for one row in 40, in which it is as sure
/// and wrong.
fn sharp(random: &mut Random, rows: usize, classes: usize, options: &Options) -> Vec<(f64, f64, f64)> {
    let (mut truth, mut probability) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let class = if random.unit() < 0.3 {
            0
        } else {
            1 + random.below(classes as u64 - 1) as usize
        };
        let shown = if random.unit() < 0.025 {
            (class + 1) % classes
        } else {
            class
        };
        let scores: Vec<f64> = (0..classes)
            .map(|one| (0.7 * normal(random) + if one == shown { 4.0 } else { 0.0 }).exp())
            .collect();
        let all: f64 = scores.iter().sum();
        truth.push(class as i64);
        probability.extend(scores.iter().map(|score| score / all));
    }
    let labels: Vec<Label> = (0..classes as i64).map(Label::Int).collect();
    let columns = Columns {
        prediction: None,
        probability: Some(&probability),
        classes: Some(&labels),
        ..Columns::new(Column::Ints(&truth), Column::Ints(&truth))
    };
    let metrics = evaluate(Task::Classification, &columns, options).unwrap();
    let names = if classes == 2 {
        &SHARP_BINARY[..]
    } else {
        &SHARP[..]
    };
    names
        .iter()
        .map(|name| (metrics[*name].value, metrics[*name].low, metrics[*name].high))
        .collect()
}

/// Near a perfect score, where many samples have no error at all, 95 % intervals hold the truth in at least
/// 90 % of samples; their lower ends are above it in 6 % at most, or for losses the upper ones below it. 200
/// samples tell it to 2 %.
#[test]
fn intervals_of_good_models_cover() {
    let options = Options::default();
    for (classes, names) in [(2, &SHARP_BINARY[..]), (3, &SHARP[..])] {
        let large = sharp(&mut Random::new(5, 0), 400_000, classes, &options);
        for rows in [15, 50, 200] {
            let samples = 200;
            let mut outside = vec![[0_u32; 2]; names.len()];
            for stream in 1..=samples {
                let estimates = sharp(&mut Random::new(5, stream), rows, classes, &options);
                for ((outside, (_, low, high)), (truth, ..)) in outside.iter_mut().zip(estimates).zip(&large)
                {
                    outside[0] += u32::from(low > *truth);
                    outside[1] += u32::from(high < *truth);
                }
            }
            for (name, [above, below]) in names.iter().zip(outside) {
                let [above, below] = [above, below].map(|count| f64::from(count) / samples as f64);
                let too_good = if *name == "brier" { below } else { above };
                assert!(
                    above + below <= 0.1 && too_good <= 0.06,
                    "{name} of {rows} rows: {above} above, {below} below"
                );
            }
        }
    }
}

/// Under "no difference" a p-value is below 0.1 in a tenth of the samples.
#[test]
fn comparisons_find_no_difference_where_there_is_none() {
    let options = options(false);
    let names = ["brier", "roc_auc", "f1"];
    let mut found = [0.0; 3];
    for stream in 0..SAMPLES {
        let mut random = Random::new(9, stream);
        let first = classified(&mut random, 200);
        let mut second = classified(&mut random, 200);
        // Two models of one kind on the same rows.
        let scores = first
            .truth
            .iter()
            .map(|y| 1.0 / (1.0 + (-(1.2 * *y as f64 - 0.8 + normal(&mut random))).exp()));
        second.scores = scores.collect();
        second.labels = second.scores.iter().map(|&s| i64::from(s > 0.5)).collect();
        second.truth.clone_from(&first.truth);
        let comparisons = compare(
            Task::Classification,
            &first.columns(),
            &second.columns(),
            &options,
        )
        .unwrap();
        for (count, name) in found.iter_mut().zip(names) {
            *count += f64::from(u8::from(comparisons[name].p_value < 0.1)) / SAMPLES as f64;
        }
    }
    assert!(
        found.iter().all(|share| (share - 0.1).abs() < TOLERANCE),
        "{found:?}"
    );
}
