//! What an evaluation is asked to do, every value in its bounds.

use std::{collections::HashSet, fmt};

use serde::{Deserialize, Serialize};

use super::{
    direction,
    fields::{check_model, check_name, check_text},
    roles::ColumnRoles,
    scorer::{JudgeKind, Scorer, ScorerKind},
    slice::is_slice_name,
};
use crate::{Result, error::Violations, id::clip};

/// The most scorers of an evaluation.
pub const MAX_SCORERS: usize = 50;
/// The most thresholds of an evaluation.
pub const MAX_THRESHOLDS: usize = 200;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationSpec {
    /// What the evaluation is called; promotion rules demand evaluations by this name.
    pub name: String,
    /// On which dataset.
    pub dataset: String,
    /// On which version of it; none: the newest when the evaluation begins.
    pub dataset_version: Option<i64>,
    /// What the columns are for, where it differs from what the dataset version says.
    pub roles: ColumnRoles,
    /// What is measured.
    pub target: Target,
    /// What the target column is; none: told from the data.
    pub task: Option<Task>,
    /// With what; none: with the scorer of the task.
    pub scorers: Vec<Scorer>,
    /// What must hold.
    pub thresholds: Vec<Threshold>,
    /// What relative thresholds compare with.
    pub baseline: Option<Baseline>,
    /// How.
    pub options: EvaluationOptions,
    /// The experiment of the run.
    pub experiment: String,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The predictions or answers in the data.
    Data,
    /// A model version, by its URI; the model host loads it.
    Model(String),
    /// An endpoint, called as anybody calls it.
    Endpoint(EndpointTarget),
    /// An LLM.
    Llm(LlmTarget),
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointTarget {
    /// Its name.
    pub endpoint: String,
    /// Only this target; empty: by the split.
    pub target: String,
}

/// An LLM behind a chat route of the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlmTarget {
    /// The route.
    pub route: String,
    /// What the LLM is told first; empty: nothing.
    pub system_prompt: String,
    /// The text that is sent, with columns as `{{column}}`; empty: the prompt column.
    pub template: String,
    /// None: the route's.
    pub temperature: Option<f64>,
    /// None: the route's.
    pub max_tokens: Option<i32>,
}

/// What a target column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Classes.
    Classification,
    /// Numbers.
    Regression,
    /// Relevance of what was ranked for a query.
    Ranking,
    /// Texts.
    Text,
}

/// How an evaluation is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvaluationOptions {
    /// Of bootstrap, sampling and judges.
    pub seed: i64,
    /// Of intervals, between 0 and 1.
    pub confidence: f64,
    /// Rows a call of the target.
    pub batch_size: usize,
    /// Calls of the target at a time.
    pub max_concurrency: usize,
    /// Only so many rows, from the beginning; none: all.
    pub max_rows: Option<u64>,
    /// The share of rows on which the target may fail before the evaluation is given up.
    pub max_failed_share: f64,
    /// A slice gets metrics from so many rows on.
    pub min_slice_rows: u64,
    /// Whether the verdict is recorded on the model version in the registry.
    pub record_verdict: bool,
}

impl Default for EvaluationOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            confidence: 0.95,
            batch_size: 256,
            max_concurrency: 4,
            max_rows: None,
            max_failed_share: 0.01,
            min_slice_rows: 30,
            record_verdict: true,
        }
    }
}

/// What relative thresholds compare with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// Another version, scored on the same rows.
    Model(String),
    /// A finished evaluation of the same data.
    Evaluation(String),
    /// A column with another model's predictions.
    Column(String),
    /// A finished evaluation of other rows.
    Earlier(String),
}

/// Which end of an interval counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// The value itself.
    #[default]
    Value,
    /// The lower end.
    Low,
    /// The upper end.
    High,
}

/// One thing that must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The metric; of a scorer other than the task's: `scorer/metric`.
    pub metric: String,
    /// `column=value` or `column is missing`; empty: over all rows.
    pub slice: String,
    /// Which end of the interval is compared.
    pub bound: Bound,
    /// At least this.
    pub min: Option<f64>,
    /// At most this.
    pub max: Option<f64>,
    /// Not worse than the baseline by more than this, in the metric's unit.
    pub max_loss: Option<f64>,
    /// Not worse than the baseline by more than this share of its value.
    pub max_relative_loss: Option<f64>,
}

impl Threshold {
    /// Whether it compares with a baseline.
    pub fn is_relative(&self) -> bool {
        self.max_loss.is_some() || self.max_relative_loss.is_some()
    }
}

/// In words, for example `accuracy.low at least 0.9` or `f1 of plan=a at most 0.01 worse than the baseline`.
impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.metric)?;
        f.write_str(match self.bound {
            Bound::Value => "",
            Bound::Low => ".low",
            Bound::High => ".high",
        })?;
        if !self.slice.is_empty() {
            write!(f, " of {}", self.slice)?;
        }
        let demands = [
            self.min.map(|min| format!(" at least {min}")),
            self.max.map(|max| format!(" at most {max}")),
            self.max_loss
                .map(|loss| format!(" at most {loss} worse than the baseline")),
            self.max_relative_loss
                .map(|share| format!(" at most {share} of its value worse than the baseline")),
        ];
        f.write_str(&demands.into_iter().flatten().collect::<Vec<_>>().join(","))
    }
}

impl EvaluationSpec {
    /// The same if all its values are in their bounds. Errors: `INVALID_FIELD` at each path that is not, below `spec`.
    pub fn checked(self) -> Result<Self> {
        let mut bad = Violations::new();
        check_name(&mut bad, "spec.name", &self.name);
        check_name(&mut bad, "spec.dataset.name", &self.dataset);
        check_name(&mut bad, "spec.experiment", &self.experiment);
        if self.dataset_version.is_some_and(|version| version < 1) {
            bad.add("spec.dataset.version", "must be at least 1, or 0 for the newest");
        }
        self.check_target(&mut bad);
        self.check_scorers(&mut bad);
        self.check_thresholds(&mut bad);
        match &self.baseline {
            Some(Baseline::Model(uri)) => check_model(&mut bad, "spec.baseline.model_uri", uri),
            Some(Baseline::Evaluation(id)) => check_name(&mut bad, "spec.baseline.evaluation_id", id),
            Some(Baseline::Earlier(id)) => check_name(&mut bad, "spec.baseline.earlier_evaluation_id", id),
            Some(Baseline::Column(name)) => check_name(&mut bad, "spec.baseline.prediction_column", name),
            None => {}
        }
        self.options.check(&mut bad);
        bad.finish()?;
        Ok(self)
    }

    /// Whether a model, an endpoint or an LLM is asked.
    pub fn asks_target(&self) -> bool {
        self.target != Target::Data
    }

    /// Whether more of a metric is better; what the scorer says of its score counts.
    pub fn more_is_better(&self, metric: &str) -> bool {
        let of_scorer = metric.split_once('/').and_then(|(name, rest)| {
            let scorer = self.scorers.iter().find(|scorer| scorer.name == name)?;
            (rest == "score").then_some(&scorer.kind)
        });
        match of_scorer {
            Some(ScorerKind::Judge(judge)) => judge.kind != JudgeKind::Toxicity,
            Some(ScorerKind::Classifier(classifier)) => classifier.greater_is_better,
            _ => direction::more_is_better(metric),
        }
    }

    fn check_target(&self, bad: &mut Violations) {
        match &self.target {
            Target::Data => {}
            Target::Model(uri) => check_model(bad, "spec.target.model_uri", uri),
            Target::Endpoint(endpoint) => {
                check_name(bad, "spec.target.endpoint.endpoint", &endpoint.endpoint);
            }
            Target::Llm(llm) => {
                check_name(bad, "spec.target.llm.route", &llm.route);
                for (field, text) in [("template", &llm.template), ("system_prompt", &llm.system_prompt)] {
                    check_text(bad, &format!("spec.target.llm.{field}"), text);
                }
                if llm.temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
                    bad.add("spec.target.llm.temperature", "must be from 0 to 2");
                }
                if llm.max_tokens.is_some_and(|n| n < 1) {
                    bad.add("spec.target.llm.max_tokens", "must be at least 1");
                }
            }
        }
    }

    fn check_scorers(&self, bad: &mut Violations) {
        if self.scorers.len() > MAX_SCORERS {
            bad.add("spec.scorers", format!("must be at most {MAX_SCORERS}"));
        }
        let mut names = HashSet::new();
        for (at, scorer) in self.scorers.iter().enumerate() {
            let field = |rest: &str| format!("spec.scorers[{at}].{rest}");
            check_name(bad, &field("name"), &scorer.name);
            if !names.insert(&scorer.name) {
                let why = format!(
                    "`{}` comes twice; give each scorer a name of its own",
                    clip(&scorer.name)
                );
                bad.add(field("name"), why);
            }
            scorer.kind.check(bad, &field);
        }
    }

    fn check_thresholds(&self, bad: &mut Violations) {
        if self.thresholds.len() > MAX_THRESHOLDS {
            bad.add("spec.thresholds", format!("must be at most {MAX_THRESHOLDS}"));
        }
        for (at, threshold) in self.thresholds.iter().enumerate() {
            let field = |rest: &str| format!("spec.thresholds[{at}].{rest}");
            check_name(bad, &field("metric"), &threshold.metric);
            if !threshold.slice.is_empty() && !is_slice_name(&threshold.slice) {
                bad.add(field("slice"), "must be `column=value` or `column is missing`");
            }
            let limits = [
                ("min", threshold.min),
                ("max", threshold.max),
                ("max_loss", threshold.max_loss),
                ("max_relative_loss", threshold.max_relative_loss),
            ];
            for (name, limit) in limits {
                if limit.is_some_and(|limit| !limit.is_finite()) {
                    bad.add(field(name), "must be a finite number");
                }
            }
            if limits.iter().all(|(_, limit)| limit.is_none()) {
                let why = "must demand something: set `min`, `max`, `max_loss` or `max_relative_loss`";
                bad.add(format!("spec.thresholds[{at}]"), why);
            }
            if threshold.is_relative() && self.baseline.is_none() {
                bad.add(field("max_loss"), "compares with a baseline; set `spec.baseline`");
            }
        }
    }
}

impl EvaluationOptions {
    fn check(&self, bad: &mut Violations) {
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            bad.add(
                "spec.options.confidence",
                "must be between 0 and 1, for example 0.95",
            );
        }
        if !(1..=100_000).contains(&self.batch_size) {
            bad.add("spec.options.batch_size", "must be from 1 to 100,000");
        }
        if !(1..=256).contains(&self.max_concurrency) {
            bad.add("spec.options.max_concurrency", "must be from 1 to 256");
        }
        if !(0.0..=1.0).contains(&self.max_failed_share) {
            bad.add("spec.options.max_failed_share", "must be from 0 to 1");
        }
        if self.min_slice_rows < 1 {
            bad.add("spec.options.min_slice_rows", "must be at least 1");
        }
    }
}

#[cfg(test)]
mod tests;
