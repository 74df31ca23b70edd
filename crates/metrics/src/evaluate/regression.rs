//! Regression: the state for values and analytic intervals, resamples below the bound.

use std::collections::BTreeMap;

use lodeway_domain::{Error, Result};

use super::{Columns, Options};
use crate::{
    Estimate, MedianRule, RegressionSpec, RegressionState, check,
    regression::{ape, poisson_deviance, smape},
};

pub(super) fn evaluate(columns: &Columns<'_>, options: &Options) -> Result<BTreeMap<String, Estimate>> {
    let Some(prediction) = columns.prediction else {
        return Err(Error::invalid("prediction", "is missing"));
    };
    let target = columns.target.numbers("target")?;
    let predicted = prediction.numbers("prediction")?;
    let mut state = RegressionState::new(RegressionSpec {
        quantile: options.quantile,
        median: options.median,
        max_rows: target.len(),
    })?;
    state.update(&target, &predicted, columns.weights)?;
    let mut metrics = state.finish(options.confidence, None)?;
    if target.len() > options.analytic_above {
        return Ok(metrics);
    }
    let mut rows: Vec<Row> = (0..target.len())
        .map(|row| {
            Row::new(
                target[row],
                predicted[row],
                check::weight_of(columns.weights, row),
                &state,
                options,
            )
        })
        .collect();
    // In the order of the errors, so that the median of a resample is one walk.
    rows.sort_by(|a, b| a.terms[ABSOLUTE].total_cmp(&b.terms[ABSOLUTE]));
    let averaged = columns.weights.is_none() || options.median == MedianRule::Mean;
    let replicates = options.bootstrap.run(rows.len(), NAMES.len(), |counts, values| {
        resample(&rows, counts, averaged, values);
    })?;
    for (at, name) in NAMES.iter().enumerate() {
        if let Some(estimate) = metrics.get_mut(*name) {
            let resampled = replicates.estimate(at, estimate.value, options.confidence);
            *estimate = resampled.unwrap_or(*estimate);
        }
    }
    Ok(metrics)
}

/// In the order of the values of a resample.
const NAMES: [&str; 10] = [
    "mae",
    "mse",
    "mape",
    "smape",
    "mean_pinball_loss",
    "mean_poisson_deviance",
    "rmse",
    "r2",
    "explained_variance",
    "median_absolute_error",
];
const ABSOLUTE: usize = 0;
const SQUARED: usize = 1;
/// Plain means come first, at the places of their names.
const MEANS: usize = 6;
const ERROR: usize = 6;
const TARGET: usize = 7;
const TARGET_SQUARED: usize = 8;
const TERMS: usize = 9;

struct Row {
    weight: f64,
    terms: [f64; TERMS],
}

impl Row {
    fn new(target: f64, predicted: f64, weight: f64, state: &RegressionState, options: &Options) -> Self {
        let error = target - predicted;
        let distance = error.abs();
        let slope = if error >= 0.0 {
            options.quantile
        } else {
            1.0 - options.quantile
        };
        let from_mean = target - state.sums().target_mean();
        let has_deviance = target >= 0.0 && predicted > 0.0;
        Self {
            weight,
            terms: [
                distance,
                error * error,
                ape(target, distance),
                smape(target, predicted),
                slope * distance,
                if has_deviance {
                    poisson_deviance(target, predicted)
                } else {
                    0.0
                },
                // Around the whole sample's mean, where little cancels.
                error - state.sums().bias(),
                from_mean,
                from_mean * from_mean,
            ],
        }
    }
}

fn resample(rows: &[Row], counts: &[u32], averaged: bool, values: &mut [f64]) {
    let mut total = 0.0;
    let mut sums = [0.0; TERMS];
    let mut centred_squares = 0.0;
    for (row, &count) in rows.iter().zip(counts) {
        let weight = row.weight * f64::from(count);
        total += weight;
        for (sum, term) in sums.iter_mut().zip(&row.terms) {
            *sum += weight * term;
        }
        centred_squares += weight * row.terms[ERROR] * row.terms[ERROR];
    }
    if total <= 0.0 {
        return;
    }
    let means = sums.map(|sum| sum / total);
    values[..MEANS].copy_from_slice(&means[..MEANS]);
    values[6] = means[SQUARED].sqrt();
    let spread = means[TARGET_SQUARED] - means[TARGET] * means[TARGET];
    if spread > 1e-14 * means[TARGET_SQUARED] {
        values[7] = 1.0 - means[SQUARED] / spread;
        let residual = centred_squares / total - means[ERROR] * means[ERROR];
        values[8] = 1.0 - residual / spread;
    }
    values[9] = median(rows, counts, total, averaged);
}

fn median(rows: &[Row], counts: &[u32], total: f64, averaged: bool) -> f64 {
    let half = 0.5 * total;
    let mut below = 0.0;
    let mut lower = None;
    for (row, &count) in rows.iter().zip(counts) {
        let weight = row.weight * f64::from(count);
        if weight <= 0.0 {
            continue;
        }
        if let Some(lower) = lower {
            return 0.5 * (lower + row.terms[ABSOLUTE]);
        }
        below += weight;
        if below > half || below >= half && !averaged {
            return row.terms[ABSOLUTE];
        }
        if below >= half {
            lower = Some(row.terms[ABSOLUTE]);
        }
    }
    lower.unwrap_or(f64::NAN)
}
