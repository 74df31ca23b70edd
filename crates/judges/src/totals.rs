//! What judging cost.

use serde::{Deserialize, Serialize};

use crate::{ChatAnswer, Usage};

/// Answers, tokens and cost; sums of a row, a judge or a run.
///
/// `answers`, `usage` and `cost` are the same at every rerun; `cached` and what was spent tell how much of it came free, and are
/// not written where they are not told apart.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Answers of models; of embedding models and classifiers one for each text.
    pub answers: u64,
    /// Those of them that were in the cache.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cached: u64,
    /// Calls that gave no answer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failed_calls: u64,
    /// Tokens of all answers.
    pub usage: Usage,
    /// Cost of all answers that have one.
    pub cost: f64,
    /// Answers without a cost.
    pub unpriced: u64,
    /// Tokens of answers that were not in the cache.
    #[serde(default, skip_serializing_if = "is_default")]
    pub spent_usage: Usage,
    /// Cost of answers that were not in the cache.
    #[serde(default, skip_serializing_if = "is_default")]
    pub spent_cost: f64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Totals {
    pub(crate) fn count(&mut self, answer: &ChatAnswer, is_cached: bool) {
        self.count_one(answer.usage, answer.cost, is_cached);
    }

    /// Counts an answer with its tokens and cost.
    pub(crate) fn count_one(&mut self, usage: Usage, cost: Option<f64>, is_cached: bool) {
        let cost = cost.filter(|cost| cost.is_finite());
        let mut one = Self {
            answers: 1,
            cached: u64::from(is_cached),
            usage,
            cost: cost.unwrap_or(0.0),
            unpriced: u64::from(cost.is_none()),
            ..Self::default()
        };
        if !is_cached {
            one.spent_usage = one.usage;
            one.spent_cost = one.cost;
        }
        self.add(&one);
    }

    /// Adds the sums of another part.
    pub fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.cached += other.cached;
        self.failed_calls += other.failed_calls;
        self.usage = sum(self.usage, other.usage);
        self.cost += other.cost;
        self.unpriced += other.unpriced;
        self.spent_usage = sum(self.spent_usage, other.spent_usage);
        self.spent_cost += other.spent_cost;
    }
}

/// A provider may count any number of tokens, so sums saturate.
fn sum(left: Usage, right: Usage) -> Usage {
    Usage {
        input_tokens: left.input_tokens.saturating_add(right.input_tokens),
        output_tokens: left.output_tokens.saturating_add(right.output_tokens),
    }
}
