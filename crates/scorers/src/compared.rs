//! What a comparison says of one metric.

use lodeway_metrics::Comparison;
use serde::{Deserialize, Serialize};

/// A metric of two models on the same rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The first model's value.
    #[serde(with = "crate::number")]
    pub first: f64,
    /// The second model's value.
    #[serde(with = "crate::number")]
    pub second: f64,
    /// First minus second.
    #[serde(with = "crate::number")]
    pub difference: f64,
    /// The lower end of the difference's interval.
    #[serde(with = "crate::number")]
    pub low: f64,
    /// The upper end of the difference's interval.
    #[serde(with = "crate::number")]
    pub high: f64,
    /// How the interval was found.
    pub method: String,
    /// Two-sided, for "no difference"; `null` where there is none.
    #[serde(with = "crate::number")]
    pub p_value: f64,
    /// `mcnemar` (accuracy), `delong` (ROC AUC of two classes), `bootstrap`, or `random_groups` beyond the rows that are held;
    /// `none` where there is no p-value.
    pub test: String,
}

impl Compared {
    pub(crate) fn of(comparison: &Comparison, test: &str) -> Self {
        let difference = comparison.difference;
        let test = if comparison.p_value.is_nan() { "none" } else { test };
        Self {
            first: comparison.first,
            second: comparison.second,
            difference: difference.value,
            low: difference.low,
            high: difference.high,
            method: difference.method.as_str().to_owned(),
            p_value: comparison.p_value,
            test: test.to_owned(),
        }
    }
}
