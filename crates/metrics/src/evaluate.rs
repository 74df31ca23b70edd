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
    /// Up to so many rows intervals are from the bootstrap, above they are analytic.
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

/// Metrics that are biased on resamples: their intervals are analytic for any number of rows.
const ANALYTIC: [&str; 1] = ["calibration_error"];

/// Every metric of the task by its short name.
///
/// **Classification**: accuracy, balanced_accuracy, cohen_kappa, matthews; with two classes precision, recall, f1 and
/// `fbeta_B` of further betas of the positive one, with more also `_micro`, `_macro` and `_weighted` of each, the plain name being [`Options::average`]; with
/// probabilities log_loss, brier, calibration_error, roc_auc, and average_precision (two classes) or top_K_accuracy,
/// roc_auc_ovr, roc_auc_ovo and their `_weighted` (more; roc_auc is roc_auc_ovr).
///
/// **Regression**: mae, mse, rmse, r2, mape, smape, max_error, median_absolute_error, explained_variance,
/// mean_pinball_loss, and mean_poisson_deviance where targets and predictions have one.
///
/// A metric that is not defined on the rows is NaN with [`Method::Undefined`](crate::Method::Undefined), where
/// scikit-learn warns and returns NaN. Intervals: percentiles of the bootstrap up to [`Options::analytic_above`] rows, and
/// where resamples never differ (accuracy of 1, say) or above, Wilson, DeLong or the delta method. The largest error of a
/// sample has no interval, and that of calibration_error is analytic. ROC AUC over classes keeps its analytic interval where rows × classes × resamples exceed 10⁹.
///
/// Errors: `INVALID_FIELD` for no rows, columns of different length, labels of mixed kinds, values that are NaN or infinite,
/// probabilities outside [0, 1], unknown classes, bad weights or options; it names column and row.
pub fn evaluate(task: Task, columns: &Columns<'_>, options: &Options) -> Result<BTreeMap<String, Estimate>> {
    options.check()?;
    let is_resampled = columns.target.len() <= options.analytic_above;
    let (mut metrics, rows) = prepare(task, columns, options, is_resampled)?;
    if let Some(rows) = rows {
        let names = rows.names();
        let bootstrap = &options.bootstrap;
        let replicates = match rows.groups() {
            Some(groups) => {
                let compute = |counts: &[u32], values: &mut [f64]| groups.rows.resample(counts, values);
                bootstrap.run_groups(&groups.sizes, names.len(), compute)?
            }
            None => {
                let compute = |counts: &[u32], values: &mut [f64]| rows.resample(counts, values);
                bootstrap.run(columns.target.len(), names.len(), compute)?
            }
        };
        for (at, name) in names
            .iter()
            .enumerate()
            .filter(|(_, name)| !ANALYTIC.contains(&name.as_str()))
        {
            if let Some(estimate) = metrics.get_mut(name) {
                let resampled = replicates.estimate(at, estimate.value, options.confidence);
                *estimate = resampled.unwrap_or(*estimate);
            }
        }
    }
    Ok(metrics)
}

/// Rows that metrics can be computed from again and again, each row as often as a resample says.
trait Resample {
    /// The names of the values, in their order.
    fn names(&self) -> &[String];

    /// Computes all values with each row as often as `counts` says, NaN where one is not defined. A metric that `names` has
    /// but the evaluation has not may hold anything.
    fn resample(&self, counts: &[u32], values: &mut [f64]);

    /// The same rows in groups, where only few of them differ.
    fn groups(&self) -> Option<Groups> {
        None
    }
}

/// Rows that are alike.
struct Groups {
    /// How many rows each group has.
    sizes: Vec<u64>,
    /// One row of each group.
    rows: Box<dyn Resample>,
}

type Prepared = (BTreeMap<String, Estimate>, Option<Box<dyn Resample>>);

fn prepare(task: Task, columns: &Columns<'_>, options: &Options, is_resampled: bool) -> Result<Prepared> {
    if let Some(prediction) = columns.prediction {
        check::same_length("prediction", prediction.len(), columns.target.len())?;
    }
    match task {
        Task::Classification => classification::evaluate(columns, options, is_resampled),
        Task::Regression => regression::evaluate(columns, options, is_resampled),
    }
}
