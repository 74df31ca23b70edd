//! Outcomes: what was true of predictions that were given.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The most outcomes of one request.
pub const MAX_OUTCOMES: usize = 1_000;
/// The most rows of one call whose outcomes are reported.
pub const MAX_OUTCOME_ROWS: usize = 10_000;
/// The most slices of one call.
pub const MAX_OUTCOME_SLICES: usize = 32;
/// The longest text of a label, prediction or slice, in bytes.
pub const MAX_OUTCOME_TEXT: usize = 1_000;

/// What was true or predicted of one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OutcomeValue {
    /// A truth value.
    Flag(bool),
    /// A number, not NaN or infinite.
    Number(f64),
    /// A class.
    Text(String),
}

/// What was true of a prediction, row by row, beside what was predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which prediction, as the gateway named it.
    pub prediction_id: String,
    /// The endpoint that gave it.
    pub endpoint: String,
    /// The target that answered.
    pub target: String,
    /// Its version then.
    pub model_version: String,
    /// When it was given.
    pub predicted: Timestamp,
    /// What was true, a value a row.
    pub labels: Vec<OutcomeValue>,
    /// What was predicted, as many.
    pub predictions: Vec<OutcomeValue>,
    /// Of which slices the call was, by column.
    pub slices: BTreeMap<String, String>,
    /// When it became known; of two outcomes of one prediction the later one counts.
    pub known: Timestamp,
}
