//! What columns of a dataset are for.

use serde::{Deserialize, Serialize};

/// What columns are for; none: not said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ColumnRoles {
    /// The truth: a class or a number.
    pub target: Option<String>,
    /// What a model said already.
    pub prediction: Option<String>,
    /// What it said about classes.
    pub probabilities: Vec<ProbabilityColumn>,
    /// The weight of a row.
    pub weight: Option<String>,
    /// Metrics are also given for each value of these.
    pub slices: Vec<String>,
    /// What goes into the model; none: every column without another role.
    pub features: Vec<String>,
    /// What an LLM was asked.
    pub prompt: Option<String>,
    /// What it answered already.
    pub answer: Option<String>,
    /// What it was given to answer from.
    pub context: Option<String>,
    /// What it should have answered.
    pub expected_answer: Option<String>,
    /// Rows of one query belong together.
    pub query: Option<String>,
}

/// Probabilities of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbabilityColumn {
    /// The class; empty: the positive one.
    pub class: String,
    /// The column, or for predictions of a model the output.
    pub column: String,
}

impl ColumnRoles {
    /// These roles where they are said, else those of `other`.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        fn list<T: Clone>(own: Vec<T>, other: &[T]) -> Vec<T> {
            if own.is_empty() { other.to_vec() } else { own }
        }
        Self {
            target: self.target.or_else(|| other.target.clone()),
            prediction: self.prediction.or_else(|| other.prediction.clone()),
            probabilities: list(self.probabilities, &other.probabilities),
            weight: self.weight.or_else(|| other.weight.clone()),
            slices: list(self.slices, &other.slices),
            features: list(self.features, &other.features),
            prompt: self.prompt.or_else(|| other.prompt.clone()),
            answer: self.answer.or_else(|| other.answer.clone()),
            context: self.context.or_else(|| other.context.clone()),
            expected_answer: self.expected_answer.or_else(|| other.expected_answer.clone()),
            query: self.query.or_else(|| other.query.clone()),
        }
    }
}
