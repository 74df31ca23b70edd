//! The answers of a part's calls, and the table that they make.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use lodeway_domain::{Error, Reason, Result, evaluation::Usage};
use lodeway_tables::{Batch, Column, Texts, Type, Value, Values};
use tokio::time::Instant;

use super::answers::Answer;

/// How long a part looks for the rows at which the target does not answer; a target that is away for good is not asked about
/// each half.
const SEARCH: Duration = Duration::from_secs(60);
/// How many reasons of failures a part keeps.
const MAX_REASONS: usize = 20;
/// How often a part's calls are cut to find the rows that fail.
const MAX_CUTS: u32 = 64;

/// The column of row numbers in a part.
pub(super) const ROW: &str = "row";
/// The column that says why a row failed; null where it did not.
pub(super) const FAILURE: &str = "failure";
/// The column of the gateway's ids.
pub(super) const PREDICTION_ID: &str = "prediction_id";

/// Whether asking again can help.
pub(super) fn is_passing(error: &Error) -> bool {
    matches!(
        error,
        Error::Unavailable { .. } | Error::DeadlineExceeded | Error::Exhausted { .. } | Error::Conflict(_)
    )
}

/// Whether the call ended the model's process.
pub(super) fn has_died(error: &Error) -> bool {
    error.reason() == Reason::ModelProcessEnded
}

/// The answers of consecutive rows, call by call.
#[derive(Default)]
pub(super) struct Answered {
    calls: Vec<(usize, Result<Answer, String>)>,
    pub(super) failed: u64,
    cuts: u32,
    search_until: Option<Instant>,
    pub(super) usage: Usage,
}

impl Answered {
    /// Whether a call that failed so may be cut, which is counted.
    pub(super) fn may_cut(&mut self, error: &Error) -> bool {
        if is_passing(error) && !has_died(error) {
            let now = Instant::now();
            if now >= *self.search_until.get_or_insert(now + SEARCH) {
                return false;
            }
        }
        self.may_search()
    }

    /// Whether rows that are known to hold one that fails may be cut, which is counted.
    pub(super) fn may_search(&mut self) -> bool {
        self.cuts += 1;
        self.cuts <= MAX_CUTS
    }

    pub(super) fn answer(&mut self, rows: usize, answer: Answer) {
        self.usage.add(&answer.usage);
        self.calls.push((rows, Ok(answer)));
    }

    pub(super) fn failure(&mut self, rows: usize, why: String) {
        self.failed += rows as u64;
        self.calls.push((rows, Err(why)));
    }

    pub(super) fn rows(&self) -> usize {
        self.calls.iter().map(|(rows, _)| rows).sum()
    }

    pub(super) fn reasons(&self) -> Vec<(String, u64)> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for (rows, outcome) in &self.calls {
            if let Err(why) = outcome {
                *counts.entry(why).or_default() += *rows as u64;
            }
        }
        let mut all: Vec<_> = counts
            .into_iter()
            .map(|(why, count)| (why.to_owned(), count))
            .collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all.truncate(MAX_REASONS);
        all
    }

    /// Row, answers, why it failed, id: one line a row.
    pub(super) fn into_batch(self, start: u64) -> Result<Batch> {
        let rows = self.rows();
        let first = i64::try_from(start).map_err(Error::internal)?;
        let numbers = (first..).take(rows).collect();
        let mut columns =
            vec![Column::new(ROW, Type::Int64, Values::Int(numbers), None).map_err(Error::internal)?];
        let mut names: Vec<String> = Vec::new();
        for (_, answer) in &self.calls {
            for column in answer.iter().flat_map(|answer| &answer.columns) {
                if !names.iter().any(|name| name == column.name()) {
                    names.push(column.name().to_owned());
                }
            }
        }
        for name in &names {
            let pieces = self.calls.iter().map(|(rows, answer)| {
                let column = answer.as_ref().ok();
                let column =
                    column.and_then(|answer| answer.columns.iter().find(|column| column.name() == name));
                (*rows, column)
            });
            columns.push(joined(name, &pieces.collect::<Vec<_>>())?);
        }
        let texts = |name: &str, of: &dyn Fn(&Result<Answer, String>) -> Option<String>| {
            let (mut texts, mut nulls) = (Texts::default(), Vec::with_capacity(rows));
            for (rows, outcome) in &self.calls {
                let text = of(outcome);
                for _ in 0..*rows {
                    texts.push(text.as_deref().unwrap_or_default());
                    nulls.push(text.is_none());
                }
            }
            Column::new(name, Type::Text, Values::Text(texts), Some(nulls)).map_err(Error::internal)
        };
        columns.push(texts(FAILURE, &|outcome| outcome.as_ref().err().cloned())?);
        let id = |outcome: &Result<Answer, String>| {
            let answer = outcome.as_ref().ok()?;
            Some(answer.prediction_id.clone()).filter(|id| !id.is_empty())
        };
        if self.calls.iter().any(|(_, outcome)| id(outcome).is_some()) {
            columns.push(texts(PREDICTION_ID, &id)?);
        }
        Batch::new(columns).map_err(Error::internal)
    }
}

/// One column of several pieces, null where there is none: of their type if that is the same, else floats if all are
/// numbers, else texts.
pub(super) fn joined(name: &str, pieces: &[(usize, Option<&Column>)]) -> Result<Column> {
    let types: HashSet<Type> = pieces
        .iter()
        .filter_map(|(_, column)| column.map(Column::dtype))
        .collect();
    let is_number = |dtype: &Type| {
        !matches!(
            dtype,
            Type::Text | Type::Json | Type::Binary | Type::Timestamp { .. }
        )
    };
    let dtype = match types.iter().next() {
        Some(only) if types.len() == 1 => *only,
        Some(_) if types.iter().all(is_number) => Type::Float64,
        _ => Type::Text,
    };
    let mut nulls = Vec::new();
    let mut values = Values::of(dtype);
    for (rows, column) in pieces {
        for row in 0..*rows {
            let value = column.map_or(Value::Null, |column| column.value(row));
            nulls.push(value == Value::Null);
            push(&mut values, value);
        }
    }
    Column::new(name, dtype, values, Some(nulls)).map_err(Error::internal)
}

/// Adds a value in the kind of the column.
fn push(values: &mut Values, value: Value<'_>) {
    match (values, value) {
        (Values::Bool(all), value) => all.push(matches!(value, Value::Bool(true))),
        (Values::Int(all), Value::Int(n)) => all.push(n),
        (Values::Int(all), _) => all.push(0),
        (Values::Uint(all), Value::Uint(n)) => all.push(n),
        (Values::Uint(all), _) => all.push(0),
        (Values::Single(all), Value::Single(n)) => all.push(n),
        (Values::Single(all), _) => all.push(0.0),
        (Values::Double(all), value) => all.push(match value {
            Value::Int(n) => n as f64,
            Value::Uint(n) => n as f64,
            Value::Single(n) => n.into(),
            Value::Double(n) => n,
            Value::Bool(flag) => f64::from(u8::from(flag)),
            _ => 0.0,
        }),
        (Values::Text(all), value) => match value {
            Value::Text(text) => all.push(text),
            Value::Bool(flag) => all.push(if flag { "true" } else { "false" }),
            Value::Int(n) => all.push(&n.to_string()),
            Value::Uint(n) => all.push(&n.to_string()),
            Value::Single(n) => all.push(&n.to_string()),
            Value::Double(n) => all.push(&n.to_string()),
            Value::Null | Value::Binary(_) => all.push(""),
        },
        (Values::Binary(all), Value::Binary(bytes)) => all.push(bytes),
        (Values::Binary(all), _) => all.push(&[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_different_types_are_joined() {
        let ints = Column::new("a", Type::Int64, Values::Int(vec![1, 2]), None).unwrap();
        let floats = Column::new("a", Type::Float64, Values::Double(vec![0.5]), None).unwrap();
        let column = joined("a", &[(2, Some(&ints)), (1, None), (1, Some(&floats))]).unwrap();
        assert_eq!(column.values(), &Values::Double(vec![1.0, 2.0, 0.0, 0.5]));
        assert_eq!(column.nulls(), Some(&[false, false, true, false][..]));
        let texts = Column::new("a", Type::Text, Values::Text(["x"].into_iter().collect()), None).unwrap();
        let column = joined("a", &[(2, Some(&ints)), (1, Some(&texts))]).unwrap();
        assert_eq!(
            column.values(),
            &Values::Text(["1", "2", "x"].into_iter().collect())
        );
    }
}
