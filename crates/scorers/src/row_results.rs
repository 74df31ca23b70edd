//! What each row came to.

use lodeway_domain::{Error, Result};
use lodeway_metrics::{
    Label,
    text::{exact_match, rouge, token_f1},
};
use lodeway_tables::{Batch, Column, Field, Schema, Texts, Type, Values};

use crate::{
    plan::{Plan, Task},
    rows::{Cells, Lent, View},
    setting::Setting,
};

/// Takes batches of row results.
pub type RowSink = Box<dyn FnMut(&Batch) -> Result<()> + Send>;

/// The columns of row results, for a writer of `lodeway-tables`:
///
/// | column | task | |
/// |---|---|---|
/// | `row` | all | where the row stands in the data, from 0 |
/// | `target`, `prediction` | all but text | as text in classification, else numbers |
/// | `probability` | classification with probabilities | of the true class |
/// | `correct` | classification with predictions | prediction equals target |
/// | `log_loss` | classification with probabilities | −ln of `probability`, cut to [2⁻⁵², 1 − 2⁻⁵²] |
/// | `residual` | regression | target − prediction |
/// | `query` | ranking | |
/// | `exact_match`, `token_f1`, `rougeL` | text | of the row |
///
/// Rows that were left out are not there.
pub struct RowResults {
    has_prediction: bool,
    has_probability: bool,
    sink: RowSink,
}

impl RowResults {
    pub(crate) fn new(plan: &Plan, sink: RowSink) -> Self {
        Self {
            has_prediction: plan.roles.prediction.is_some(),
            has_probability: !plan.roles.probabilities.is_empty(),
            sink,
        }
    }

    pub(crate) fn put(&mut self, rows: View<'_>, setting: &Setting) -> Result<()> {
        let numbers: Vec<u64> = (0..rows.len()).map(|row| rows.number(row)).collect();
        let mut columns = vec![Column::new("row", Type::Uint64, Values::Uint(numbers), None)?];
        match setting.task {
            Task::Classification => self.classification(rows, setting, &mut columns)?,
            Task::Regression | Task::Ranking => {
                let target = floats("target", rows.target())?;
                let prediction = rows
                    .prediction()
                    .map(|lent| floats("prediction", lent))
                    .transpose()?;
                let prediction = prediction.unwrap_or_default();
                let residual = target.iter().zip(&prediction).map(|(t, p)| t - p).collect();
                let is_ranking = setting.task == Task::Ranking;
                columns.push(Column::new(
                    "target",
                    Type::Float64,
                    Values::Double(target),
                    None,
                )?);
                columns.push(Column::new(
                    "prediction",
                    Type::Float64,
                    Values::Double(prediction),
                    None,
                )?);
                columns.push(if is_ranking {
                    let queries: Texts = rows.texts(|rows| &rows.query).into_iter().collect();
                    Column::new("query", Type::Text, Values::Text(queries), None)?
                } else {
                    Column::new("residual", Type::Float64, Values::Double(residual), None)?
                });
            }
            Task::Text => {
                let (answers, expected) =
                    (rows.texts(|rows| &rows.answer), rows.texts(|rows| &rows.expected));
                let pairs = || answers.iter().zip(&expected);
                let exact = pairs().map(|(a, b)| exact_match(a, b)).collect();
                let f1 = pairs().map(|(a, b)| token_f1(a, b).f1).collect();
                let longest = pairs().map(|(a, b)| rouge(a, b).rouge_l.f1).collect();
                columns.push(Column::new("exact_match", Type::Bool, Values::Bool(exact), None)?);
                columns.push(Column::new("token_f1", Type::Float64, Values::Double(f1), None)?);
                columns.push(Column::new(
                    "rougeL",
                    Type::Float64,
                    Values::Double(longest),
                    None,
                )?);
            }
        }
        (self.sink)(&Batch::new(columns)?)
    }

    fn classification(&self, rows: View<'_>, setting: &Setting, columns: &mut Vec<Column>) -> Result<()> {
        let text = |cells: &Cells| -> Texts {
            let all: Vec<String> = (rows.from..rows.to).map(|row| cells.text(row)).collect();
            all.iter().map(String::as_str).collect()
        };
        let target = rows.rows.target.as_ref().map(text).unwrap_or_default();
        if self.has_prediction {
            let prediction = rows.rows.prediction.as_ref().map(text).unwrap_or_default();
            let correct = target
                .iter()
                .zip(prediction.iter())
                .map(|(t, p)| t == p)
                .collect();
            columns.push(Column::new(
                "prediction",
                Type::Text,
                Values::Text(prediction),
                None,
            )?);
            columns.push(Column::new("correct", Type::Bool, Values::Bool(correct), None)?);
        }
        if self.has_probability
            && let (Some(classes), Some(values)) = (&setting.classes, rows.probability())
        {
            let names: Vec<String> = classes.iter().map(Label::to_string).collect();
            let width = rows.rows.width.max(1);
            let own = |(class, values): (&str, &[f64])| {
                let place = names.iter().position(|name| name == class);
                match (place, values) {
                    (Some(0), [p]) => 1.0 - p,
                    (Some(_), [p]) => *p,
                    (Some(place), values) => values.get(place).copied().unwrap_or(f64::NAN),
                    (None, _) => f64::NAN,
                }
            };
            let own: Vec<f64> = target.iter().zip(values.chunks_exact(width)).map(own).collect();
            let loss = own
                .iter()
                .map(|p| -p.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln())
                .collect();
            columns.push(Column::new(
                "probability",
                Type::Float64,
                Values::Double(own),
                None,
            )?);
            columns.push(Column::new(
                "log_loss",
                Type::Float64,
                Values::Double(loss),
                None,
            )?);
        }
        columns.insert(1, Column::new("target", Type::Text, Values::Text(target), None)?);
        Ok(())
    }
}

/// The columns of row results of a task, for opening a writer.
pub fn row_schema(plan: &Plan, task: Task) -> Result<Schema> {
    let mut names = vec![("row", Type::Uint64)];
    match task {
        Task::Classification => {
            names.push(("target", Type::Text));
            if plan.roles.prediction.is_some() {
                names.extend([("prediction", Type::Text), ("correct", Type::Bool)]);
            }
            if !plan.roles.probabilities.is_empty() {
                names.extend([("probability", Type::Float64), ("log_loss", Type::Float64)]);
            }
        }
        Task::Regression | Task::Ranking => {
            names.extend([("target", Type::Float64), ("prediction", Type::Float64)]);
            names.push(if task == Task::Ranking {
                ("query", Type::Text)
            } else {
                ("residual", Type::Float64)
            });
        }
        Task::Text => names.extend([
            ("exact_match", Type::Bool),
            ("token_f1", Type::Float64),
            ("rougeL", Type::Float64),
        ]),
    }
    let fields = names.into_iter().map(|(name, dtype)| Field {
        name: name.into(),
        dtype,
        is_nullable: false,
    });
    Schema::new(fields.collect()).map_err(Error::from)
}

fn floats(name: &str, lent: Lent<'_>) -> Result<Vec<f64>> {
    Ok(lent.column().numbers(name)?.into_owned())
}
