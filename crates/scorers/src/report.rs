//! What an evaluation gives, and its JSON.

use std::collections::BTreeMap;

use lodeway_domain::{Error, Result, evaluation::slice_name};
pub use lodeway_metrics::METRIC_VERSION;
use lodeway_metrics::{Confusion, Estimate};
use serde::{Deserialize, Serialize};

use crate::{compare::Compared, curves::Curves, plan::Task, thresholds::Verdict};

/// The version of [`Report`]'s JSON; fields are only ever added within one.
pub const REPORT_VERSION: u32 = 1;

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// What was evaluated, given or inferred.
    pub task: Task,
    /// Rows read.
    pub rows: u64,
    /// Rows scored.
    pub scored: u64,
    /// Rows left out, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<String, u64>,
    /// Metrics by their short names.
    pub metrics: BTreeMap<String, Metric>,
    /// Metrics of slices, column by column, in the order in which values came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<Slice>,
    /// Classifiers only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<ConfusionTable>,
    /// Classifiers only: the metrics of each class by itself, in the order of the classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_class: Vec<ClassRow>,
    /// Curves as data.
    #[serde(default)]
    pub curves: Curves,
    /// What the data was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// How intervals were found.
    pub intervals: Intervals,
    /// The positive one of two classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive: Option<String>,
    /// Against another prediction of the same rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<BTreeMap<String, Compared>>,
    /// Of the thresholds asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// A metric with its interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// The value on these rows; `null` in JSON, NaN here, if it is not defined on them.
    #[serde(with = "crate::number")]
    pub value: f64,
    /// The lower end; `null` where there is no interval.
    #[serde(with = "crate::number")]
    pub low: f64,
    /// The upper end; `null` where there is no interval.
    #[serde(with = "crate::number")]
    pub high: f64,
    /// `wilson`, `wilson_delta`, `wilson_delong`, `delta`, `order_statistics`, `bootstrap`, `none` or
    /// `undefined`; see `lodeway_metrics::Method`.
    pub method: String,
    /// Rows, or queries in ranking.
    pub samples: u64,
    /// [`METRIC_VERSION`].
    pub version: u32,
}

/// Rows with one value of a slice column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// The column.
    pub column: String,
    /// The value as text; empty for rows without a value, and for rows beyond the most slices.
    pub value: String,
    /// These are the rows without a value.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_missing: bool,
    /// These are the rows beyond the most slices, all together.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_rest: bool,
    /// Rows.
    pub rows: u64,
    /// Metrics by their short names; none if there are too few rows.
    pub metrics: BTreeMap<String, Metric>,
    /// Why there are no metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Slice {
    /// What it is called: `column=value`, `column is missing`, or `column=(rest)` for rows beyond the most slices.
    pub fn name(&self) -> String {
        let value = if self.is_rest { "(rest)" } else { &self.value };
        slice_name(&self.column, Some(value).filter(|_| !self.is_missing))
    }
}

/// How often which class was taken for which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfusionTable {
    /// The classes, sorted.
    pub labels: Vec<String>,
    /// The pairs that occur: place of the true class, place of the predicted one, sum of weights. The heaviest ones if
    /// there are very many.
    pub cells: Vec<(usize, usize, f64)>,
}

/// A class by itself, as `sklearn.metrics.classification_report` has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassRow {
    /// The class.
    pub class: String,
    /// Of the rows predicted so, the share that are; 0 where none are predicted so.
    pub precision: f64,
    /// Of the rows that are so, the share predicted so; 0 where there are none.
    pub recall: f64,
    /// The harmonic mean of both; 0 where both are.
    pub f1: f64,
    /// The rows that are so, or their weight.
    pub support: f64,
}

/// What the data was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The fingerprint of the columns read, see `lodeway_tables::Digester`.
    pub digest: String,
    /// The fingerprint of each column.
    pub columns: BTreeMap<String, String>,
}

/// How intervals were found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    /// Coverage.
    pub confidence: f64,
    /// Of all that is random.
    pub seed: u64,
    /// Resamples; 0 if all intervals are analytic.
    pub replicates: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Metric {
    pub(crate) fn of(estimate: &Estimate, samples: u64) -> Self {
        Self {
            value: estimate.value,
            low: estimate.low,
            high: estimate.high,
            method: estimate.method.as_str().to_owned(),
            samples,
            version: METRIC_VERSION,
        }
    }

    pub(crate) fn all(estimates: &BTreeMap<String, Estimate>, samples: u64) -> BTreeMap<String, Self> {
        let metrics = estimates.iter();
        metrics
            .map(|(name, estimate)| (name.clone(), Self::of(estimate, samples)))
            .collect()
    }
}

impl ConfusionTable {
    /// The most cells.
    const CELLS: usize = 10_000;

    pub(crate) fn of(confusion: &Confusion) -> Self {
        let mut cells = confusion.cells().to_vec();
        if cells.len() > Self::CELLS {
            cells.sort_by(|a, b| b.2.total_cmp(&a.2));
            cells.truncate(Self::CELLS);
            cells.sort_by_key(|cell| (cell.0, cell.1));
        }
        Self {
            labels: confusion.labels().iter().map(ToString::to_string).collect(),
            cells,
        }
    }
}

impl ClassRow {
    /// The most classes.
    const CLASSES: usize = 1_000;

    /// One for each class; of very many those with the greatest support.
    pub(crate) fn all(confusion: &Confusion) -> Vec<Self> {
        let rows = confusion.labels().iter().zip(confusion.per_class());
        let mut rows: Vec<_> = rows
            .map(|(label, [precision, recall, f1, support])| Self {
                class: label.to_string(),
                precision,
                recall,
                f1,
                support,
            })
            .enumerate()
            .collect();
        if rows.len() > Self::CLASSES {
            rows.sort_by(|(_, a), (_, b)| b.support.total_cmp(&a.support));
            rows.truncate(Self::CLASSES);
            rows.sort_by_key(|(at, _)| *at);
        }
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

impl Report {
    /// As JSON: keys in a fixed order, numbers with all their digits, NaN and infinity as `null`.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(Error::internal)
    }

    /// From JSON. Errors: [`Error::DataLoss`] for anything else than a report of this version.
    pub fn from_json(json: &str) -> Result<Self> {
        let damaged = |why: String| Error::DataLoss(format!("the report cannot be read: {why}"));
        let report: Self = serde_json::from_str(json).map_err(|error| damaged(error.to_string()))?;
        if report.version == REPORT_VERSION {
            Ok(report)
        } else {
            Err(damaged(format!("it has version {}", report.version)))
        }
    }
}
