//! Regression: the state for values and analytic intervals, resamples below the bound.

use std::{borrow::Cow, collections::BTreeMap};

use lodeway_domain::{Error, Result};

use super::{Columns, Options, Prepared, Resample};
use crate::{
    Estimate, MedianRule, RegressionSpec, RegressionState, check,
    regression::{ape, poisson_deviance, smape},
};

/// Values with their intervals, from resamples where they are to be.
pub(super) fn evaluate(columns: &Columns<'_>, options: &Options) -> Result<BTreeMap<String, Estimate>> {
    let sample = Sample::of(columns, options)?;
    let mut metrics = sample.state.finish(options.confidence, None)?;
    let rows = sample.target.len();
    if !options.resamples(rows, sample.state.sums().effective_rows()) {
        return Ok(metrics);
    }
    let resampled = sample.rows(columns, options);
    let compute = |counts: &[u32], values: &mut [f64]| resampled.resample(counts, values);
    let replicates = options.bootstrap.run(rows, NAMES.len(), compute)?;
    for (at, name) in NAMES.iter().enumerate() {
        if let Some(estimate) = metrics.get_mut(*name) {
            let resampled = replicates.estimate(at, estimate.value, options.confidence);
            *estimate = resampled.unwrap_or(*estimate);
        }
    }
    Ok(metrics)
}

/// Values with analytic intervals, and the rows to resample.
pub(super) fn prepare(columns: &Columns<'_>, options: &Options) -> Result<Prepared> {
    let sample = Sample::of(columns, options)?;
    let metrics = sample.state.finish(options.confidence, None)?;
    Ok((metrics, Box::new(sample.rows(columns, options))))
}

/// The columns as numbers, and what they add up to.
struct Sample<'a> {
    target: Cow<'a, [f64]>,
    predicted: Cow<'a, [f64]>,
    state: RegressionState,
}

impl<'a> Sample<'a> {
    fn of(columns: &Columns<'a>, options: &Options) -> Result<Self> {
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
        Ok(Self {
            target,
            predicted,
            state,
        })
    }

    fn rows(&self, columns: &Columns<'_>, options: &Options) -> Rows {
        Rows::new(
            &self.target,
            &self.predicted,
            columns.weights,
            &self.state,
            options,
        )
    }
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
const ERROR_SQUARED: usize = 7;
const TARGET: usize = 8;
const TARGET_SQUARED: usize = 9;
const TERMS: usize = 10;

/// Rows in the order of their absolute errors, so that the median of a resample is one walk.
struct Rows {
    rows: Vec<Row>,
    averaged: bool,
    names: Vec<String>,
}

struct Row {
    /// Its place in the columns.
    at: u32,
    weight: f64,
    terms: [f64; TERMS],
}

impl Rows {
    fn new(
        target: &[f64],
        predicted: &[f64],
        weights: Option<&[f64]>,
        state: &RegressionState,
        options: &Options,
    ) -> Self {
        // Around the whole sample's means, where little cancels.
        let (bias, mean) = (state.sums().bias(), state.sums().target_mean());
        let row = |(at, (&target, &predicted)): (usize, (&f64, &f64))| {
            let error = target - predicted;
            let distance = error.abs();
            let slope = if error >= 0.0 {
                options.quantile
            } else {
                1.0 - options.quantile
            };
            let has_deviance = target >= 0.0 && predicted > 0.0;
            let (centred, from_mean) = (error - bias, target - mean);
            Row {
                at: at as u32,
                weight: check::weight_of(weights, at),
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
                    centred,
                    centred * centred,
                    from_mean,
                    from_mean * from_mean,
                ],
            }
        };
        let mut rows: Vec<Row> = target.iter().zip(predicted).enumerate().map(row).collect();
        rows.sort_by(|a, b| a.terms[ABSOLUTE].total_cmp(&b.terms[ABSOLUTE]));
        Self {
            rows,
            averaged: weights.is_none() || options.median == MedianRule::Mean,
            names: NAMES.map(str::to_owned).to_vec(),
        }
    }

    fn median(&self, weights: &[f64], total: f64) -> f64 {
        let half = 0.5 * total;
        let mut below = 0.0;
        let mut lower = None;
        for (row, &weight) in self.rows.iter().zip(weights).filter(|(_, weight)| **weight > 0.0) {
            let value = row.terms[ABSOLUTE];
            if let Some(lower) = lower {
                return 0.5 * (lower + value);
            }
            below += weight;
            if below > half || below >= half && !self.averaged {
                return value;
            }
            if below >= half {
                lower = Some(value);
            }
        }
        lower.unwrap_or(f64::NAN)
    }
}

impl Resample for Rows {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn resample(&self, counts: &[u32], values: &mut [f64]) {
        let mut total = 0.0;
        let mut sums = [0.0; TERMS];
        let mut weights = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let weight = row.weight * f64::from(counts[row.at as usize]);
            weights.push(weight);
            total += weight;
            for (sum, term) in sums.iter_mut().zip(&row.terms) {
                *sum += weight * term;
            }
        }
        if total <= 0.0 {
            return;
        }
        let means = sums.map(|sum| sum / total);
        values[..MEANS].copy_from_slice(&means[..MEANS]);
        values[MEANS] = means[SQUARED].sqrt();
        let spread = means[TARGET_SQUARED] - means[TARGET] * means[TARGET];
        // Else the resample holds a single target, and rounding would decide.
        if spread > 1e-14 * means[TARGET_SQUARED] {
            values[MEANS + 1] = 1.0 - means[SQUARED] / spread;
            let residual = means[ERROR_SQUARED] - means[ERROR] * means[ERROR];
            values[MEANS + 2] = 1.0 - residual / spread;
        }
        values[MEANS + 3] = self.median(&weights, total);
    }
}
