//! One call from columns to named metrics with intervals.

mod classification;
mod compare;
mod regression;
mod task;

use std::collections::BTreeMap;

use lodeway_domain::{Error, Result};

pub use compare::{Comparison, compare};
pub use task::{Task, infer_task};

use crate::{Bootstrap, Column, Estimate, Label, MedianRule, MultiAverage, check, classification::is_beta};

/// The columns of an evaluation, all with as many rows.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// What is true.
    pub target: Column<'a>,
    /// What was predicted; may be absent in classification if there are probabilities.
    pub prediction: Option<Column<'a>>,
    /// Predicted probabilities: `[rows]`, of the positive class, or `[rows, classes]`, row-major.
    pub probability: Option<&'a [f64]>,
    /// The classes of the columns of `probability`, in order, two for one column (negative, positive); by default the
    /// sorted labels of the target, as in scikit-learn.
    pub classes: Option<&'a [Label]>,
    /// Sample weights, finite and not negative.
    pub weights: Option<&'a [f64]>,
}

impl<'a> Columns<'a> {
    /// Target and prediction only.
    pub fn new(target: Column<'a>, prediction: Column<'a>) -> Self {
        Self {
            target,
            prediction: Some(prediction),
            probability: None,
            classes: None,
            weights: None,
        }
    }
}

/// How to evaluate.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Coverage of the intervals, in (0, 1).
    pub confidence: f64,
    /// Resamples of the bootstrap.
    pub bootstrap: Bootstrap,
    /// Up to so many rows intervals that can be from the bootstrap are, above all are analytic.
    pub analytic_above: usize,
    /// The positive class of two; by default that of [`default_positive`](crate::default_positive).
    pub positive: Option<Label>,
    /// What `precision`, `recall` and `f1` are for more than two classes.
    pub average: MultiAverage,
    /// Further F scores, each with recall beta times as important as precision; above 0.
    pub betas: Vec<f64>,
    /// Bins of the calibration error.
    pub bins: usize,
    /// The k of top-k accuracy.
    pub top_k: usize,
    /// The quantile of the pinball loss.
    pub quantile: f64,
    /// How a weighted median is taken.
    pub median: MedianRule,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            confidence: 0.95,
            bootstrap: Bootstrap::default(),
            analytic_above: 100_000,
            positive: None,
            average: MultiAverage::default(),
            betas: Vec::new(),
            bins: 15,
            top_k: 2,
            quantile: 0.5,
            median: MedianRule::default(),
        }
    }
}

impl Options {
    /// Whether intervals that can be from the bootstrap (of regression, and some of texts) are: neither too
    /// many rows nor, by the number of those without weights that would know as much, too few.
    pub fn resamples(&self, rows: usize, effective_rows: f64) -> bool {
        rows <= self.analytic_above && effective_rows >= Bootstrap::FEWEST_ROWS as f64
    }

    pub(crate) fn check(&self) -> Result<()> {
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            return Err(Error::invalid("confidence", "is not between 0 and 1"));
        }
        if !self.betas.iter().all(|beta| is_beta(*beta)) {
            return Err(Error::invalid(
                "betas",
                "hold a number that is not finite and above 0",
            ));
        }
        Ok(())
    }
}

/// Every metric of the task by its short name.
///
/// **Classification**: accuracy, balanced_accuracy, cohen_kappa, matthews; with two classes precision,
/// recall, f1 and `fbeta_B` of further betas of the positive one, with more also `_micro`, `_macro` and
/// `_weighted` of each, the plain name being [`Options::average`]; with probabilities log_loss, brier,
/// calibration_error, roc_auc, and average_precision (two classes) or top_K_accuracy, roc_auc_ovr,
/// roc_auc_ovo and their `_weighted` (more; roc_auc is roc_auc_ovr).
///
/// **Regression**: mae, mse, rmse, r2, mape, smape, max_error, median_absolute_error, explained_variance,
/// mean_pinball_loss, and mean_poisson_deviance where targets and predictions have one.
///
/// A metric that is not defined on the rows is NaN with [`Method::Undefined`](crate::Method::Undefined), where
/// scikit-learn warns and returns NaN.
///
/// Intervals of classification keep a width where all rows agree, so that a few right rows prove no perfect
/// model: those of shares are Wilson's, those of other metrics with a range are by Wilson's formula with as
/// many rows as the metric's variance is worth. Metrics of regression have percentiles of the bootstrap where
/// [`Options::resamples`] says so, else Student's t with the delta method, the median its order statistics;
/// log_loss always has Student's t. How far errors may go that did not occur is not known there: where
/// nothing varies (no error at all, one row) these have no interval. Neither have the largest error of a
/// sample, and metrics of a class or column that the rows do not tell of.
///
/// Errors: `INVALID_FIELD` for no rows, columns of different length, labels of mixed kinds, values that are NaN or infinite,
/// probabilities outside [0, 1], unknown classes, bad weights or options; it names column and row.
pub fn evaluate(task: Task, columns: &Columns<'_>, options: &Options) -> Result<BTreeMap<String, Estimate>> {
    options.check()?;
    check_lengths(columns)?;
    match task {
        Task::Classification => classification::evaluate(columns, options),
        Task::Regression => regression::evaluate(columns, options),
    }
}

/// Rows that metrics can be computed from again and again, each row as often as a resample says.
trait Resample {
    /// The names of the values, in their order.
    fn names(&self) -> &[String];

    /// Computes all values with each row as often as `counts` says, NaN where one is not defined. A metric that `names` has
    /// but the evaluation has not may hold anything.
    fn resample(&self, counts: &[u32], values: &mut [f64]);
}

type Prepared = (BTreeMap<String, Estimate>, Box<dyn Resample>);

/// The metrics, and the rows to resample.
fn prepare(task: Task, columns: &Columns<'_>, options: &Options) -> Result<Prepared> {
    check_lengths(columns)?;
    match task {
        Task::Classification => classification::prepare(columns, options),
        Task::Regression => regression::prepare(columns, options),
    }
}

fn check_lengths(columns: &Columns<'_>) -> Result<()> {
    match columns.prediction {
        Some(prediction) => check::same_length("prediction", prediction.len(), columns.target.len()),
        None => Ok(()),
    }
}
