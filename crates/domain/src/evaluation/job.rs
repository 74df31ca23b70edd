//! An evaluation as a durable job: its states, its parts, its results.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spec::{EvaluationSpec, Threshold};
use crate::time::Timestamp;

/// Where an evaluation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvaluationState {
    /// Waits for its turn.
    Pending,
    /// At work; after a crash it goes on where it was.
    Running,
    /// Done.
    Succeeded,
    /// Given up; what was scored is kept.
    Failed,
    /// Stopped by a person; what was scored is kept.
    Cancelled,
}

impl EvaluationState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word under which it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing follows.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Whether `next` may follow. Running may follow running: another replica takes over after a crash.
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending => matches!(next, Self::Running | Self::Cancelled),
            Self::Running => !matches!(next, Self::Pending),
            Self::Succeeded | Self::Failed | Self::Cancelled => false,
        }
    }
}

/// What an evaluation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The target is asked.
    #[default]
    Predict,
    /// Judges are asked.
    Judge,
    /// Metrics are computed.
    Measure,
    /// Results are written to tracking and the registry.
    Record,
}

impl Phase {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Predict => "predict",
            Self::Judge => "judge",
            Self::Measure => "measure",
            Self::Record => "record",
        }
    }
}

/// How far an evaluation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Rows to be measured.
    pub rows_total: u64,
    /// Rows with an answer.
    pub rows_done: u64,
    /// Rows on which the target failed.
    pub rows_failed: u64,
    /// Judgements made.
    pub judgements_done: u64,
}

/// A model version as it was scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluatedModel {
    /// The registered model.
    pub name: String,
    /// Its immutable id.
    pub uid: String,
    /// The version.
    pub version: i64,
    /// The digest of its files.
    pub content_digest: String,
    /// The logged model behind it; empty if there is none.
    #[serde(default)]
    pub model_id: String,
}

impl EvaluatedModel {
    /// The URI that names exactly this version.
    pub fn uri(&self) -> String {
        format!("models:/{}/{}", self.name, self.version)
    }
}

/// A metric with its interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricValue {
    /// The metric.
    pub metric: String,
    /// `column=value`; empty: over all rows.
    pub slice: String,
    /// The value; finite.
    pub value: f64,
    /// The lower end of the interval, if there is one.
    pub low: Option<f64>,
    /// The upper end of the interval, if there is one.
    pub high: Option<f64>,
    /// Rows that counted.
    pub samples: u64,
    /// How the interval was made.
    pub method: String,
}

/// Whether everything that was demanded holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// True if every clause passed.
    pub passed: bool,
    /// One a threshold, in their order.
    pub clauses: Vec<Clause>,
    /// Whether the registry has it.
    pub recorded: bool,
}

/// One threshold and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clause {
    /// What was demanded.
    pub threshold: Threshold,
    /// What was compared.
    pub value: Option<f64>,
    /// The baseline's value.
    pub baseline: Option<f64>,
    /// Whether it holds.
    pub passed: bool,
    /// In words.
    pub message: String,
}

/// What LLMs cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Calls that were made.
    pub calls: u64,
    /// Calls answered from what was kept.
    pub cached_calls: u64,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// In the currency of the routes' prices.
    pub cost: f64,
}

impl Usage {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.cached_calls += other.cached_calls;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cost += other.cost;
    }
}

/// What the rows of a part are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartOf {
    /// Answers of what is measured.
    Target,
    /// Answers of what it is compared with.
    Baseline,
    /// Judgements.
    Judge,
}

impl PartOf {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Target, Self::Baseline, Self::Judge];

    /// The word under which it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Baseline => "baseline",
            Self::Judge => "judge",
        }
    }
}

/// Answers of consecutive rows that are kept in a file: what is in a part is never asked again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What its rows are.
    pub of: PartOf,
    /// Its first row.
    pub start_row: u64,
    /// Its rows.
    pub rows: u64,
    /// Rows on which the target failed.
    pub failed_rows: u64,
    /// Why rows failed, with how many each, the most frequent first; bounded.
    pub failures: Vec<(String, u64)>,
    /// The file, below the evaluation's location.
    pub path: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// What its answers cost.
    pub usage: Usage,
}

/// An evaluation as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// Of this evaluation.
    pub evaluation_id: String,
    /// In which workspace.
    pub workspace: String,
    /// What was asked for.
    pub spec: EvaluationSpec,
    /// Where it stands.
    pub state: EvaluationState,
    /// How far it is.
    pub progress: Progress,
    /// Why it failed; empty if it did not.
    pub error: String,
    /// The dataset version that is read; 0: not yet known.
    pub dataset_version: i64,
    /// The digest of its values.
    pub data_digest: String,
    /// The digest of how rows and answers become numbers; empty: not yet known.
    #[serde(default)]
    pub definition_digest: String,
    /// How many rows were measured.
    #[serde(default)]
    pub rows_scored: u64,
    /// How many rows the dataset has.
    #[serde(default)]
    pub dataset_rows: u64,
    /// The model version that is scored.
    pub model: Option<EvaluatedModel>,
    /// The model version that it is compared with.
    pub baseline_model: Option<EvaluatedModel>,
    /// The model versions that scorers ask, by the names of the scorers.
    #[serde(default)]
    pub scorer_models: BTreeMap<String, EvaluatedModel>,
    /// The tracking run that holds the results; empty: none yet.
    pub run_id: String,
    /// Where report and tables are; empty: nowhere yet.
    pub artifact_uri: String,
    /// Metrics over all rows.
    pub metrics: Vec<MetricValue>,
    /// Whether what was demanded holds.
    pub verdict: Option<Verdict>,
    /// Who asked.
    pub principal: String,
    /// Whether a credential proved who asked.
    pub verified: bool,
    /// When it was asked for.
    pub created: Timestamp,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What LLMs cost.
    pub usage: Usage,
    /// Whether somebody asked it to stop.
    pub cancel_requested: bool,
    /// Grows with every change.
    pub version: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_evaluations_stay_as_they_are() {
        for state in EvaluationState::ALL {
            let next = EvaluationState::ALL
                .iter()
                .filter(|next| state.may_become(**next));
            assert_eq!(next.count() == 0, state.has_ended(), "{state:?}");
        }
        assert!(EvaluationState::Running.may_become(EvaluationState::Running));
        assert!(!EvaluationState::Pending.may_become(EvaluationState::Succeeded));
    }
}
