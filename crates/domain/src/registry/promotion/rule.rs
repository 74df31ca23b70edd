//! Rules of promotion and their parts.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::exact_opt;
use crate::{
    Error, Result,
    error::Violations,
    id::clip,
    registry::{AliasName, ModelName, Stage},
    time::Timestamp,
};

/// The most rules that one model, or the workspace for every model, can have.
pub const MAX_RULES: usize = 100;
/// The most clauses of a rule.
const MAX_CLAUSES: usize = 32;
/// The most thresholds of a clause, and entries of its lists.
const MAX_ENTRIES: usize = 64;
/// The share of the dataset's rows that must have been measured where a rule does not say: what evaluations give up by
/// themselves.
const MIN_ROW_SHARE: f64 = 0.99;
/// The longest name of a rule, an evaluation, a metric and the like, in characters.
const MAX_WORD_CHARS: usize = 250;

/// The name of a rule: 1 to 250 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleName(String);

impl RuleName {
    /// Parses a name; `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        check_word(field, text)?;
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks a word that must be given: at most 250 characters, none of them a control character.
pub(super) fn check_word(field: &str, text: &str) -> Result<()> {
    if text.is_empty() {
        return Err(Error::invalid(field, "must be given"));
    }
    check_optional_word(field, text)
}

/// As [`check_word`], but it may be empty.
pub(super) fn check_optional_word(field: &str, text: &str) -> Result<()> {
    if text.chars().any(char::is_control) || text.chars().count() > MAX_WORD_CHARS {
        let why = format!("is longer than {MAX_WORD_CHARS} characters or holds control characters");
        return Err(Error::invalid(field, format!("`{}` {why}", clip(text))));
    }
    Ok(())
}

/// What a version is promoted to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// A stage, Staging or Production.
    Stage(Stage),
    /// An alias.
    Alias(AliasName),
}

impl Target {
    /// A stage as a target. Errors: `INVALID_FIELD` for stages that nobody is promoted to.
    pub fn stage(field: &str, stage: Stage) -> Result<Self> {
        if stage.is_active() {
            return Ok(Self::Stage(stage));
        }
        let why = format!("`{stage}` cannot be gated; use Staging or Production");
        Err(Error::invalid(field, why))
    }

    /// `stage` or `alias`, as stores keep it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Stage(_) => "stage",
            Self::Alias(_) => "alias",
        }
    }

    /// The stage's or alias's own name.
    pub fn name(&self) -> &str {
        match self {
            Self::Stage(stage) => stage.as_str(),
            Self::Alias(alias) => alias.as_str(),
        }
    }
}

/// As it stands in messages: ``stage `Production` ``.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind(), self.name())
    }
}

/// Which number of a metric's interval is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub enum IntervalEnd {
    /// The estimate itself.
    #[default]
    Value,
    /// The lower end.
    Low,
    /// The upper end.
    High,
}

impl IntervalEnd {
    /// The word for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Low => "low",
            Self::High => "high",
        }
    }
}

/// What a metric must be. Bounds are inclusive; NaN fulfils none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct MetricThreshold {
    /// The metric.
    pub metric: String,
    /// The slice of the data; empty: all of it.
    pub slice: String,
    /// What of the candidate's interval is compared.
    pub end: IntervalEnd,
    /// The least it may be.
    #[serde(with = "exact_opt")]
    pub min: Option<f64>,
    /// The most it may be.
    #[serde(with = "exact_opt")]
    pub max: Option<f64>,
    /// The least it may be above the holder's value.
    #[serde(with = "exact_opt")]
    pub min_difference: Option<f64>,
    /// The most it may be above the holder's value.
    #[serde(with = "exact_opt")]
    pub max_difference: Option<f64>,
    /// The least it may be as a multiple of the holder's value.
    #[serde(with = "exact_opt")]
    pub min_ratio: Option<f64>,
    /// The most it may be as a multiple of the holder's value.
    #[serde(with = "exact_opt")]
    pub max_ratio: Option<f64>,
}

impl MetricThreshold {
    fn bounds(&self) -> [(&'static str, Option<f64>); 6] {
        [
            ("min", self.min),
            ("max", self.max),
            ("min_difference", self.min_difference),
            ("max_difference", self.max_difference),
            ("min_ratio", self.min_ratio),
            ("max_ratio", self.max_ratio),
        ]
    }

    /// Whether it compares with the version that holds the target.
    pub fn is_relative(&self) -> bool {
        let [_, _, relative @ ..] = self.bounds();
        relative.iter().any(|(_, bound)| bound.is_some())
    }

    fn validate(&self, field: &str, bad: &mut Violations) {
        bad.take(field, check_word(&format!("{field}.metric"), &self.metric));
        bad.take(field, check_optional_word(&format!("{field}.slice"), &self.slice));
        if self.bounds().iter().all(|(_, bound)| bound.is_none()) {
            bad.add(field, "must have a bound, such as `min`");
        }
        for (name, _) in self
            .bounds()
            .iter()
            .filter(|(_, b)| b.is_some_and(|b| !b.is_finite()))
        {
            bad.add(format!("{field}.{name}"), "must be a finite number");
        }
    }
}

/// Demands a verdict of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct EvaluationClause {
    /// The evaluation's name.
    pub evaluation: String,
    /// What its metrics must be.
    pub thresholds: Vec<MetricThreshold>,
    /// The dataset's name; empty: any.
    pub dataset: String,
    /// The dataset's digest; empty: any.
    pub data_digest: String,
    /// How old the verdict may be; none: any age.
    pub max_age: Option<Duration>,
    /// The share of the dataset's rows that must have been measured, 0 to 1; none: 0.99.
    #[serde(default, with = "exact_opt")]
    pub min_row_share: Option<f64>,
    /// The digest of the evaluation's definition; empty: any.
    #[serde(default)]
    pub definition_digest: String,
}

impl EvaluationClause {
    /// The share of the dataset's rows that must have been measured.
    pub fn row_share(&self) -> f64 {
        self.min_row_share.unwrap_or(MIN_ROW_SHARE)
    }

    /// The same in millionths.
    pub fn row_millionths(&self) -> i64 {
        // Of a share, so it fits.
        (self.row_share().clamp(0.0, 1.0) * 1e6).round() as i64
    }
}

/// Demands approvals by verified people other than the version's author and the one who promotes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ApprovalsClause {
    /// How many different people.
    pub count: u32,
    /// Whose approval counts; empty: anybody's.
    pub principals: Vec<String>,
}

/// Demands that every format of the model's files is one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct FormatsClause {
    /// Names of formats, as the `MLmodel` file has them: `onnx`, `sklearn`, `python_function`, …
    pub allowed: Vec<String>,
}

/// One demand of a rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Clause {
    /// A verdict of an evaluation.
    Evaluation(EvaluationClause),
    /// Approvals.
    Approvals(ApprovalsClause),
    /// The formats of the model's files.
    Formats(FormatsClause),
}

/// A rule as somebody asks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewRule {
    /// The name of the model it is for; none: every model of the workspace.
    pub model: Option<ModelName>,
    /// Its own name.
    pub name: RuleName,
    /// What it guards.
    pub target: Target,
    /// What it demands; all of it.
    pub clauses: Vec<Clause>,
    /// Why.
    pub comment: String,
}

impl NewRule {
    /// Checks counts, names and numbers; every fault is listed. Errors: `INVALID_FIELD` with paths such as
    /// `clauses[1].evaluation.thresholds[0].min`.
    pub fn validate(&self) -> Result<()> {
        let mut bad = Violations::new();
        if self.clauses.is_empty() || self.clauses.len() > MAX_CLAUSES {
            bad.add("clauses", format!("must be 1 to {MAX_CLAUSES}"));
        }
        for (i, clause) in self.clauses.iter().enumerate() {
            clause.validate(&format!("clauses[{i}]"), &mut bad);
        }
        bad.finish()
    }
}

fn validate_list(field: &str, list: &[String], bad: &mut Violations) {
    if list.len() > MAX_ENTRIES {
        bad.add(field, format!("must be at most {MAX_ENTRIES}"));
    }
    for (i, word) in list.iter().enumerate() {
        let field = format!("{field}[{i}]");
        bad.take(&field, check_word(&field, word));
    }
}

impl Clause {
    fn validate(&self, field: &str, bad: &mut Violations) {
        match self {
            Self::Evaluation(clause) => {
                let field = format!("{field}.evaluation");
                let words = [
                    ("dataset", &clause.dataset),
                    ("data_digest", &clause.data_digest),
                    ("definition_digest", &clause.definition_digest),
                ];
                for (name, word) in words {
                    bad.take(&field, check_optional_word(&format!("{field}.{name}"), word));
                }
                bad.take(
                    &field,
                    check_word(&format!("{field}.evaluation"), &clause.evaluation),
                );
                if clause.thresholds.len() > MAX_ENTRIES {
                    bad.add(
                        format!("{field}.thresholds"),
                        format!("must be at most {MAX_ENTRIES}"),
                    );
                }
                for (i, threshold) in clause.thresholds.iter().enumerate() {
                    threshold.validate(&format!("{field}.thresholds[{i}]"), bad);
                }
                if !(0.0..=1.0).contains(&clause.row_share()) {
                    bad.add(format!("{field}.min_row_share"), "must be 0 to 1");
                }
                if clause.max_age.is_some_and(|age| age.is_zero()) {
                    bad.add(format!("{field}.max_age"), "must be more than 0");
                }
            }
            Self::Approvals(clause) => {
                let field = format!("{field}.approvals");
                if clause.count == 0 {
                    bad.add(format!("{field}.count"), "must be at least 1");
                }
                validate_list(&format!("{field}.principals"), &clause.principals, bad);
                let named = u32::try_from(clause.principals.len()).unwrap_or(u32::MAX);
                if named > 0 && named < clause.count {
                    bad.add(
                        format!("{field}.principals"),
                        "must be at least `count`, or empty",
                    );
                }
            }
            Self::Formats(clause) => {
                let field = format!("{field}.formats.allowed");
                if clause.allowed.is_empty() {
                    bad.add(&field, "must be given");
                }
                validate_list(&field, &clause.allowed, bad);
            }
        }
    }
}

/// One version of a rule, as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// What it is.
    #[serde(flatten)]
    pub rule: NewRule,
    /// From 1; grows with every change, also over a deletion.
    pub version: i64,
    /// True in the history of a rule that was deleted; it demands nothing.
    pub is_deleted: bool,
    /// Who made this version.
    pub principal: String,
    /// When.
    pub created: Timestamp,
}

impl Rule {
    /// `NAME@VERSION`, as messages name it.
    pub fn label(&self) -> String {
        format!("{}@{}", self.rule.name, self.version)
    }
}
