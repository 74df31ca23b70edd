//! What an evaluation gives, and its JSON.

use std::collections::BTreeMap;

use lodeway_domain::{Error, Result, evaluation::slice_name};
use lodeway_metrics::Estimate;
pub use lodeway_metrics::METRIC_VERSION;
use serde::{Deserialize, Serialize};

use crate::{
    compared::Compared,
    confusion::{ClassRow, ConfusionTable},
    curves::Curves,
    plan::Task,
    thresholds::Verdict,
};

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
