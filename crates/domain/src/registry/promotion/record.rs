//! What is on record about a version: verdicts of evaluations and approvals.

use serde::{Deserialize, Serialize};

use super::{
    Target, exact, exact_opt,
    rule::{check_optional_word, check_word},
};
use crate::{Result, error::Violations, evaluation::is_same_slice, id::ModelUid, time::Timestamp};

/// The most metrics of a verdict.
const MAX_METRICS: usize = 2_000;
/// The most clauses of a verdict.
const MAX_CLAUSES: usize = 1_000;
/// The longest text of a clause, in characters.
const MAX_TEXT_CHARS: usize = 1_000;

/// A metric as evaluation measured it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredMetric {
    /// Its name.
    pub metric: String,
    /// The slice of the data; empty: all of it.
    pub slice: String,
    /// The estimate; may be NaN.
    #[serde(with = "exact")]
    pub value: f64,
    /// The lower end of its interval.
    #[serde(with = "exact_opt")]
    pub low: Option<f64>,
    /// The upper end of its interval.
    #[serde(with = "exact_opt")]
    pub high: Option<f64>,
    /// How many rows it is computed from.
    pub sample_count: i64,
}

/// A demand as evaluation judged it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedClause {
    /// What was demanded, in words.
    pub demand: String,
    /// What was found, in words.
    pub value: String,
    /// Whether that is enough.
    pub passed: bool,
}

/// What evaluation says of a version before it is on record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewVerdict {
    /// The evaluation's id.
    pub evaluation_id: String,
    /// The evaluation's name, by which rules ask for it.
    pub evaluation: String,
    /// The version of the definition by which evaluation judged; 0: none.
    pub rule_version: i64,
    /// The name of the data.
    pub dataset: String,
    /// The digest of the data.
    pub data_digest: String,
    /// How many rows were measured.
    #[serde(default)]
    pub rows_scored: i64,
    /// How many rows the data have.
    #[serde(default)]
    pub dataset_rows: i64,
    /// The digest of how rows and answers became numbers; empty: not known.
    #[serde(default)]
    pub definition_digest: String,
    /// The `content_digest` of the version that was evaluated.
    pub content_digest: String,
    /// What was measured.
    pub metrics: Vec<MeasuredMetric>,
    /// What evaluation itself demanded.
    pub clauses: Vec<JudgedClause>,
}

impl NewVerdict {
    /// Checks counts and texts; every fault is listed. Errors: `INVALID_FIELD` with paths such as `metrics[2].metric`.
    pub fn validate(&self) -> Result<()> {
        let mut bad = Violations::new();
        for (field, word) in [
            ("evaluation_id", &self.evaluation_id),
            ("evaluation", &self.evaluation),
            ("data_digest", &self.data_digest),
            ("content_digest", &self.content_digest),
        ] {
            bad.take(field, check_word(field, word));
        }
        for (field, word) in [
            ("dataset", &self.dataset),
            ("definition_digest", &self.definition_digest),
        ] {
            bad.take(field, check_optional_word(field, word));
        }
        if self.rows_scored < 0 || self.rows_scored > self.dataset_rows {
            bad.add("rows_scored", "must be 0 to `dataset_rows`");
        }
        if self.metrics.len() > MAX_METRICS {
            bad.add("metrics", format!("must be at most {MAX_METRICS}"));
        }
        if self.clauses.len() > MAX_CLAUSES {
            bad.add("clauses", format!("must be at most {MAX_CLAUSES}"));
        }
        for (i, metric) in self.metrics.iter().enumerate() {
            let field = format!("metrics[{i}].metric");
            bad.take(&field, check_word(&field, &metric.metric));
            let field = format!("metrics[{i}].slice");
            bad.take(&field, check_optional_word(&field, &metric.slice));
            if metric.sample_count < 0 {
                bad.add(format!("metrics[{i}].sample_count"), "must not be negative");
            }
        }
        let long = |text: &str| text.contains('\0') || text.chars().count() > MAX_TEXT_CHARS;
        for (i, clause) in self.clauses.iter().enumerate() {
            if long(&clause.demand) || long(&clause.value) {
                let why = format!("holds NUL or a text longer than {MAX_TEXT_CHARS} characters");
                bad.add(format!("clauses[{i}]"), why);
            }
        }
        bad.finish()
    }
}

impl NewVerdict {
    /// The share of the dataset's rows that were measured, in millionths, rounded down; 0 if the data are not known to have
    /// any.
    pub fn row_millionths(&self) -> i64 {
        let share = (i128::from(self.rows_scored) * 1_000_000).checked_div(i128::from(self.dataset_rows));
        share.and_then(|share| i64::try_from(share).ok()).unwrap_or(0)
    }
}

/// A verdict on record; never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Grows with every verdict of the workspace.
    pub id: i64,
    /// The registered model.
    pub model_uid: ModelUid,
    /// The version.
    pub version: i64,
    /// What evaluation said.
    #[serde(flatten)]
    pub said: NewVerdict,
    /// Who recorded it.
    pub principal: String,
    /// When.
    pub created: Timestamp,
}

impl Verdict {
    /// Whether everything that evaluation itself demanded was fulfilled.
    pub fn passed(&self) -> bool {
        self.said.clauses.iter().all(|clause| clause.passed)
    }

    /// A metric of a slice.
    pub fn metric(&self, name: &str, slice: &str) -> Option<&MeasuredMetric> {
        let of_name = || self.said.metrics.iter().filter(|metric| metric.metric == name);
        of_name()
            .find(|metric| metric.slice == slice)
            .or_else(|| of_name().find(|metric| is_same_slice(&metric.slice, slice)))
    }
}

/// Somebody's word that a version may have a stage or an alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Grows with every approval of the workspace.
    pub id: i64,
    /// The registered model.
    pub model_uid: ModelUid,
    /// The version.
    pub version: i64,
    /// For what.
    pub target: Target,
    /// Who said so; a verified caller.
    pub principal: String,
    /// Why.
    pub comment: String,
    /// The version's `content_digest` then; empty if it has none.
    pub content_digest: String,
    /// When.
    pub created: Timestamp,
    /// When it was taken back, if it was.
    pub withdrawn: Option<Timestamp>,
}
