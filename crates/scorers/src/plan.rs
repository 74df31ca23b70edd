//! What is to be evaluated: the task, what each column is for, and how.

use std::fmt;

use lodeway_domain::{Error, Result};
use lodeway_metrics::{Bootstrap, Label, MedianRule, MultiAverage};
use lodeway_tables::{Schema, Type};
use serde::{Deserialize, Serialize};

/// What is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Predicted classes, or probabilities of them.
    Classification,
    /// Predicted numbers.
    Regression,
    /// Answers ranked for a query.
    Ranking,
    /// Texts beside expected texts.
    Text,
}

/// What happens to a row with a value that cannot be scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadRows {
    /// The evaluation ends with an error that names column and row.
    #[default]
    Fail,
    /// The row is left out and counted by reason in the report.
    Skip,
}

/// A column of probabilities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probability {
    /// The class that it is the probability of, as text; `None` for the positive class, if it is the only column.
    pub class: Option<String>,
    /// The name of the column.
    pub column: String,
}

/// What each column is for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Roles {
    /// What is true: a class, a number, or how relevant an answer is.
    pub target: Option<String>,
    /// What was predicted; in ranking the score.
    pub prediction: Option<String>,
    /// Predicted probabilities.
    pub probabilities: Vec<Probability>,
    /// How much a row counts.
    pub weight: Option<String>,
    /// Rows of one value of such a column are also evaluated for themselves.
    pub slices: Vec<String>,
    /// Answers to the same query stand in adjacent rows with the same value.
    pub query: Option<String>,
    /// The text that was asked; read by judges, no metric here needs it.
    pub prompt: Option<String>,
    /// The text that is evaluated.
    pub answer: Option<String>,
    /// The text that the answer was to be drawn from; read by judges, no metric here needs it.
    pub context: Option<String>,
    /// The text that the answer should be.
    pub expected: Option<String>,
}

/// How to evaluate; the defaults suit most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanOptions {
    /// Of all that is random.
    pub seed: u64,
    /// Coverage of the intervals, in (0, 1).
    pub confidence: f64,
    /// Resamples of the bootstrap, which gives intervals of regression and of some metrics of texts from
    /// `lodeway_metrics::Bootstrap::FEWEST_ROWS` up to [`PlanOptions::analytic_above`] rows, and those of
    /// comparisons.
    pub replicates: u32,
    /// Up to so many rows, which stay in memory, there is a bootstrap; above all intervals are analytic.
    pub analytic_above: u64,
    /// The positive one of two classes, as text.
    pub positive: Option<String>,
    /// Both classes of one column of probabilities, as text; by default those among the first
    /// [`PlanOptions::analytic_above`] rows.
    pub classes: Vec<String>,
    /// What `precision`, `recall` and `f1` are for more than two classes.
    pub average: Average,
    /// Further F scores: 0.5 gives `fbeta_0.5`, with recall half as important as precision.
    pub betas: Vec<f64>,
    /// Bins of the calibration error and curve.
    pub bins: usize,
    /// The k of top-k accuracy.
    pub top_k: usize,
    /// The k of NDCG, precision and recall of ranked answers.
    pub ks: Vec<usize>,
    /// The quantile of the pinball loss.
    pub quantile: f64,
    /// What a row that cannot be scored does.
    pub bad_rows: BadRows,
    /// A slice with fewer rows has no metrics.
    pub slice_rows: u64,
    /// The most slices of one column, in the order in which they come; further rows make one slice, the rest.
    pub slices: usize,
    /// The most points of a curve.
    pub points: usize,
    /// Whether the data is fingerprinted.
    pub digest: bool,
}

/// How classes are averaged where there is no positive one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Average {
    /// Over rows.
    Micro,
    /// Over classes.
    #[default]
    Macro,
    /// Over classes, by their rows.
    Weighted,
}

/// An evaluation as it is asked for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// What is evaluated; `None` for what roles and the first rows say.
    pub task: Option<Task>,
    /// What each column is for.
    pub roles: Roles,
    /// How.
    pub options: PlanOptions,
}

impl Task {
    /// Its name, lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classification => "classification",
            Self::Regression => "regression",
            Self::Ranking => "ranking",
            Self::Text => "text",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            confidence: 0.95,
            replicates: 1000,
            analytic_above: 100_000,
            positive: None,
            classes: Vec::new(),
            average: Average::default(),
            betas: Vec::new(),
            bins: 15,
            top_k: 2,
            ks: vec![10],
            quantile: 0.5,
            bad_rows: BadRows::default(),
            slice_rows: 30,
            slices: 50,
            points: 1000,
            digest: true,
        }
    }
}

impl PlanOptions {
    /// The same for the kernels.
    pub(crate) fn kernel(&self, positive: Option<Label>) -> lodeway_metrics::Options {
        lodeway_metrics::Options {
            confidence: self.confidence,
            bootstrap: Bootstrap {
                seed: self.seed,
                replicates: self.replicates,
                ..Bootstrap::default()
            },
            analytic_above: usize::try_from(self.analytic_above).unwrap_or(usize::MAX),
            positive,
            average: self.multi_average(),
            betas: self.betas.clone(),
            bins: self.bins,
            top_k: self.top_k,
            quantile: self.quantile,
            median: MedianRule::default(),
        }
    }

    pub(crate) fn multi_average(&self) -> MultiAverage {
        match self.average {
            Average::Micro => MultiAverage::Micro,
            Average::Macro => MultiAverage::Macro,
            Average::Weighted => MultiAverage::Weighted,
        }
    }

    fn check(&self) -> Result<()> {
        let rules = [
            (
                "confidence",
                self.confidence > 0.0 && self.confidence < 1.0,
                "is not between 0 and 1",
            ),
            (
                "replicates",
                (1..=Bootstrap::MAX_REPLICATES).contains(&self.replicates),
                "is not between 1 and 100000",
            ),
            (
                "quantile",
                (0.0..=1.0).contains(&self.quantile),
                "is not between 0 and 1",
            ),
            (
                "bins",
                (1..=1000).contains(&self.bins),
                "is not between 1 and 1000",
            ),
            (
                "top_k",
                (1..=100).contains(&self.top_k),
                "is not between 1 and 100",
            ),
            (
                "points",
                (10..=10_000).contains(&self.points),
                "is not between 10 and 10000",
            ),
            ("slices", self.slices <= 1000, "is above 1000"),
            (
                "analytic_above",
                (1..=10_000_000).contains(&self.analytic_above),
                "is not between 1 and 10000000",
            ),
            (
                "ks",
                !self.ks.is_empty() && self.ks.len() <= 16 && !self.ks.contains(&0),
                "are not 1 to 16 numbers above 0",
            ),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            None => Ok(()),
            Some((field, _, why)) => Err(Error::invalid(field, why)),
        }
    }
}

impl Plan {
    /// The names of all columns that the plan reads, each once, in the order of the roles.
    pub fn columns(&self) -> Vec<String> {
        let roles = &self.roles;
        let single = [
            &roles.target,
            &roles.prediction,
            &roles.weight,
            &roles.query,
            &roles.prompt,
            &roles.answer,
            &roles.context,
            &roles.expected,
        ];
        let several = roles.probabilities.iter().map(|p| &p.column).chain(&roles.slices);
        let mut names: Vec<String> = Vec::new();
        for name in single.into_iter().flatten().chain(several) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// The task, given or by the roles: text with an answer, ranking with a query, classification with probabilities.
    pub fn told_task(&self) -> Option<Task> {
        let roles = &self.roles;
        self.task
            .or(if roles.answer.is_some() || roles.expected.is_some() {
                Some(Task::Text)
            } else if roles.query.is_some() {
                Some(Task::Ranking)
            } else if roles.probabilities.is_empty() {
                None
            } else {
                Some(Task::Classification)
            })
    }

    /// Checks the plan against the columns of a table.
    ///
    /// Errors: `INVALID_FIELD` for an option out of its range, a role that the task needs and has not, a column that the
    /// table has not or whose type does not fit; it names the column.
    pub fn check(&self, schema: &Schema) -> Result<()> {
        self.options.check()?;
        for name in self.columns() {
            type_of(schema, &name)?;
        }
        let (roles, task) = (&self.roles, self.told_task());
        let needed = |field: &str, role: &Option<String>| {
            let task = task.map_or("this task", Task::as_str);
            let why = || Error::invalid(field, format!("has no column, which {task} needs"));
            role.as_ref().map(|_| ()).ok_or_else(why)
        };
        self.check_probabilities(schema)?;
        if let Some(weight) = &roles.weight {
            numeric(schema, weight)?;
        }
        if task == Some(Task::Text) {
            needed("answer", &roles.answer)?;
            needed("expected", &roles.expected)?;
            return Ok(());
        }
        needed("target", &roles.target)?;
        if task == Some(Task::Ranking) {
            needed("query", &roles.query)?;
        }
        if roles.probabilities.is_empty() {
            needed("prediction", &roles.prediction)?;
        }
        self.check_kinds(schema, task)
    }

    /// Target and prediction fit the task and each other.
    fn check_kinds(&self, schema: &Schema, task: Option<Task>) -> Result<()> {
        let roles = &self.roles;
        for name in [&roles.target, &roles.prediction].into_iter().flatten() {
            let dtype = type_of(schema, name)?;
            if matches!(dtype, Type::Binary | Type::Timestamp { .. } | Type::Json) {
                return Err(in_column(
                    name,
                    format!("has {dtype}, which is neither a class nor a number"),
                ));
            }
            if matches!(task, Some(Task::Regression | Task::Ranking)) {
                numeric(schema, name)?;
            }
        }
        if let (Some(target), Some(prediction)) = (&roles.target, &roles.prediction) {
            let (own, other) = (type_of(schema, target)?, type_of(schema, prediction)?);
            if (own == Type::Text) != (other == Type::Text) {
                return Err(in_column(
                    prediction,
                    format!("has {other} where the target `{target}` has {own}"),
                ));
            }
        }
        Ok(())
    }

    fn check_probabilities(&self, schema: &Schema) -> Result<()> {
        let probabilities = &self.roles.probabilities;
        if !probabilities.is_empty() && self.told_task() != Some(Task::Classification) {
            return Err(Error::invalid("probability", "is for classification only"));
        }
        for (at, probability) in probabilities.iter().enumerate() {
            numeric(schema, &probability.column)?;
            if probabilities.len() > 1 && probability.class.is_none() {
                let why = "needs its class, as in CLASS=COLUMN, beside other probabilities";
                return Err(in_column(&probability.column, why));
            }
            if probabilities
                .iter()
                .take(at)
                .any(|other| other.class == probability.class)
            {
                return Err(in_column(
                    &probability.column,
                    "is of a class that has a column already",
                ));
            }
        }
        Ok(())
    }
}

/// The type of a column. Errors: the table does not have it.
pub(crate) fn type_of(schema: &Schema, name: &str) -> Result<Type> {
    schema.field(name).map(|field| field.dtype).ok_or_else(|| {
        let names: Vec<&str> = schema
            .fields()
            .iter()
            .take(20)
            .map(|field| &*field.name)
            .collect();
        in_column(name, format!("is missing; the table has {}", names.join(", ")))
    })
}

fn numeric(schema: &Schema, name: &str) -> Result<()> {
    match type_of(schema, name)? {
        dtype @ (Type::Text | Type::Json | Type::Binary | Type::Timestamp { .. }) => {
            Err(in_column(name, format!("has {dtype} where numbers are needed")))
        }
        _ => Ok(()),
    }
}

/// A fault of one column.
pub(crate) fn in_column(name: &str, why: impl Into<String>) -> Error {
    Error::invalid(format!("columns[\"{name}\"]"), why)
}

/// A fault of one value; rows count from 0.
pub(crate) fn in_row(name: &str, row: u64, why: impl fmt::Display) -> Error {
    in_column(name, format!("row {row}: {why}"))
}
