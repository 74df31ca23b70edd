//! From batches of a table to rows that can be scored.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use lodeway_domain::Result;
use lodeway_tables::{Batch, Column, Schema, Texts, Type, Value, Values};

use crate::{
    plan::{BadRows, Plan, Task, in_column, in_row, type_of},
    rows::{Cells, Rows},
};

/// Beside the values of a slice column: a row of one value too many.
pub(crate) const OTHERS: u32 = u32::MAX;

/// Turns batches into [`Rows`]; refuses or counts what cannot be scored.
pub(crate) struct Intake {
    /// Classes need whole numbers; known once the task is.
    pub(crate) task: Option<Task>,
    bad_rows: BadRows,
    /// Truth values beside numbers mean 0 and 1.
    has_numbers: bool,
    /// Rows read so far.
    pub(crate) rows: u64,
    /// Rows left out, by reason.
    pub(crate) skipped: BTreeMap<String, u64>,
    /// The values of each slice column by code.
    pub(crate) slices: Vec<SliceValues>,
}

/// The values of a slice column.
#[derive(Debug, Default)]
pub(crate) struct SliceValues {
    pub(crate) column: String,
    /// None: rows without a value.
    pub(crate) values: Vec<Option<String>>,
    codes: HashMap<String, u32>,
    /// The code of rows without a value.
    missing: Option<u32>,
    /// Rows beyond the most slices.
    pub(crate) others: u64,
}

/// The worst of a row: what is wrong in which column.
struct Faults<'a> {
    first: Vec<Option<(&'a str, &'static str)>>,
    any: bool,
}

impl<'a> Faults<'a> {
    fn mark(&mut self, row: usize, column: &'a str, why: &'static str) {
        self.any = true;
        if let Some(slot) = self.first.get_mut(row) {
            slot.get_or_insert((column, why));
        }
    }
}

const MISSING: &str = "is missing";
const NOT_FINITE: &str = "is NaN or infinite";
const NO_CLASS: &str = "is not a whole number, and so no class label";
const NO_PROBABILITY: &str = "is not a probability between 0 and 1";
const NO_SUM: &str = "and the other probabilities of its row do not sum to 1";
const NO_WEIGHT: &str = "is not a finite weight of at least 0";
const NO_RELEVANCE: &str = "is a relevance below 0";
const TOO_LARGE: &str = "is an integer above 2^63 - 1";

impl Intake {
    pub(crate) fn new(plan: &Plan, schema: &Schema) -> Result<Self> {
        let roles = &plan.roles;
        let dtypes = [&roles.target, &roles.prediction].into_iter().flatten();
        let dtypes: Vec<Type> = dtypes.map(|name| type_of(schema, name)).collect::<Result<_>>()?;
        Ok(Self {
            task: plan.told_task(),
            bad_rows: plan.options.bad_rows,
            has_numbers: dtypes
                .iter()
                .any(|dtype| !matches!(dtype, Type::Bool | Type::Text)),
            rows: 0,
            skipped: BTreeMap::new(),
            slices: roles
                .slices
                .iter()
                .map(|column| SliceValues {
                    column: column.clone(),
                    ..SliceValues::default()
                })
                .collect(),
        })
    }

    /// Adds the rows of a batch to `rows`.
    ///
    /// Errors: a column that the batch has not; a value that cannot be scored, unless such rows are skipped.
    pub(crate) fn take(&mut self, plan: &Plan, batch: &Batch, rows: &mut Rows) -> Result<()> {
        let roles = &plan.roles;
        let count = batch.rows();
        let column = |name: &String| {
            batch
                .column(name)
                .ok_or_else(|| in_column(name, "is missing in a later batch"))
        };
        let maybe = |name: &Option<String>| name.as_ref().map(column).transpose();
        let mut faults = Faults {
            first: vec![None; count],
            any: false,
        };

        let target = maybe(&roles.target)?.map(|column| self.cells(column, &mut faults));
        let prediction = maybe(&roles.prediction)?.map(|column| self.cells(column, &mut faults));
        if self.task == Some(Task::Ranking)
            && let (Some(Cells::Floats(values)), Some(name)) = (&target, &roles.target)
        {
            mark(&mut faults, name, values, |value| *value < 0.0, NO_RELEVANCE);
        }
        let mut probabilities = Vec::with_capacity(roles.probabilities.len());
        for probability in &roles.probabilities {
            let values = floats(column(&probability.column)?, &mut faults);
            mark(
                &mut faults,
                &probability.column,
                &values,
                |p| !(0.0..=1.0).contains(p),
                NO_PROBABILITY,
            );
            probabilities.push(values);
        }
        if let [first, _, ..] = roles.probabilities.as_slice() {
            for row in 0..count {
                let sum: f64 = probabilities.iter().filter_map(|values| values.get(row)).sum();
                if (sum - 1.0).abs() > 1e-5 {
                    faults.mark(row, &first.column, NO_SUM);
                }
            }
        }
        let mut weights = None;
        if let Some(weight) = maybe(&roles.weight)? {
            let values = floats(weight, &mut faults);
            mark(
                &mut faults,
                weight.name(),
                &values,
                |w| !(w.is_finite() && *w >= 0.0),
                NO_WEIGHT,
            );
            weights = Some(values);
        }
        let query = maybe(&roles.query)?.map(|column| texts(column, &mut faults));
        let answer = maybe(&roles.answer)?.map(|column| texts(column, &mut faults));
        let expected = maybe(&roles.expected)?.map(|column| texts(column, &mut faults));

        let keep = self.keep(&faults)?;
        let keep = keep.as_deref();
        for (to, from) in [(&mut rows.target, target), (&mut rows.prediction, prediction)] {
            if let Some(from) = from {
                append(to, from, keep);
            }
        }
        for (to, from) in [
            (&mut rows.query, query),
            (&mut rows.answer, answer),
            (&mut rows.expected, expected),
        ] {
            if let Some(from) = from {
                let to = to.get_or_insert_default();
                each(count, keep, |row| to.push(from.get(row).unwrap_or_default()));
            }
        }
        rows.width = probabilities.len();
        match (probabilities.as_slice(), keep) {
            ([], _) => {}
            ([only], None) => rows.probability.extend_from_slice(only),
            _ => each(count, keep, |row| {
                let values = probabilities.iter().filter_map(|values| values.get(row).copied());
                rows.probability.extend(values);
            }),
        }
        if let Some(weights) = weights {
            extend(rows.weights.get_or_insert_default(), &weights, keep);
        }
        rows.slices.resize(roles.slices.len(), Vec::new());
        for ((values, name), codes) in self.slices.iter_mut().zip(&roles.slices).zip(&mut rows.slices) {
            let column = column(name)?;
            each(count, keep, |row| {
                codes.push(values.code(column, row, plan.options.slices))
            });
        }
        let first = self.rows;
        each(count, keep, |row| rows.numbers.push(first + row as u64));
        self.rows += count as u64;
        Ok(())
    }

    /// Which rows stay; `None` if all do.
    fn keep(&mut self, faults: &Faults<'_>) -> Result<Option<Vec<bool>>> {
        if !faults.any {
            return Ok(None);
        }
        if self.bad_rows == BadRows::Fail {
            let first = faults
                .first
                .iter()
                .enumerate()
                .find_map(|(row, fault)| fault.map(|fault| (row, fault)));
            if let Some((row, (column, why))) = first {
                return Err(in_row(column, self.rows + row as u64, why));
            }
        }
        for (column, why) in faults.first.iter().flatten() {
            *self.skipped.entry(format!("`{column}` {why}")).or_default() += 1;
        }
        Ok(Some(faults.first.iter().map(Option::is_none).collect()))
    }

    fn cells<'a>(&self, column: &'a Column, faults: &mut Faults<'a>) -> Cells {
        let name = column.name();
        let is_class = self.task == Some(Task::Classification);
        if matches!(self.task, Some(Task::Regression | Task::Ranking)) {
            let values = floats(column, faults);
            mark(faults, name, &values, |value| !value.is_finite(), NOT_FINITE);
            return Cells::Floats(values);
        }
        match column.values() {
            Values::Text(values) => {
                mark_nulls(column, faults);
                Cells::Texts(values.clone())
            }
            Values::Bool(values) => {
                mark_nulls(column, faults);
                if self.has_numbers {
                    Cells::Ints(values.iter().map(|&value| i64::from(value)).collect())
                } else {
                    Cells::Bools(values.clone())
                }
            }
            Values::Int(values) => {
                mark_nulls(column, faults);
                Cells::Ints(values.clone())
            }
            Values::Uint(values) => {
                mark_nulls(column, faults);
                let large = values
                    .iter()
                    .enumerate()
                    .filter(|(_, value)| **value > i64::MAX as u64);
                large.for_each(|(row, _)| faults.mark(row, name, TOO_LARGE));
                Cells::Ints(values.iter().map(|&value| value as i64).collect())
            }
            _ => {
                let values = floats(column, faults);
                mark(faults, name, &values, |value| !value.is_finite(), NOT_FINITE);
                if is_class {
                    mark(faults, name, &values, |value| value.fract() != 0.0, NO_CLASS);
                }
                Cells::Floats(values)
            }
        }
    }
}

impl SliceValues {
    fn code(&mut self, column: &Column, row: usize, limit: usize) -> u32 {
        let text: Option<Cow<'_, str>> = match column.value(row) {
            Value::Null => None,
            Value::Text(text) => Some(text.into()),
            other => Some(shown(other).into()),
        };
        let known = match &text {
            Some(text) => self.codes.get(&**text).copied(),
            None => self.missing,
        };
        if let Some(code) = known {
            return code;
        }
        if self.values.len() >= limit {
            self.others += 1;
            return OTHERS;
        }
        let code = self.values.len() as u32;
        let text = text.map(Cow::into_owned);
        self.values.push(text.clone());
        match text {
            Some(text) => drop(self.codes.insert(text, code)),
            None => self.missing = Some(code),
        }
        code
    }
}

/// A value as text.
pub(crate) fn shown(value: Value<'_>) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Single(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::Text(value) => value.to_owned(),
        Value::Binary(value) => format!("{} bytes", value.len()),
    }
}

fn mark_nulls<'a>(column: &'a Column, faults: &mut Faults<'a>) {
    for (row, _) in column
        .nulls()
        .unwrap_or_default()
        .iter()
        .enumerate()
        .filter(|(_, null)| **null)
    {
        faults.mark(row, column.name(), MISSING);
    }
}

fn mark<'a>(
    faults: &mut Faults<'a>,
    name: &'a str,
    values: &[f64],
    is_bad: impl Fn(&f64) -> bool,
    why: &'static str,
) {
    const MANY: usize = 64;
    for (at, chunk) in values.chunks(MANY).enumerate() {
        // Bad values are rare, so many are looked at before it matters whether any was.
        if chunk.iter().fold(false, |any, value| any | is_bad(value)) {
            for (row, _) in chunk.iter().enumerate().filter(|(_, value)| is_bad(value)) {
                faults.mark(at * MANY + row, name, why);
            }
        }
    }
}

fn floats<'a>(column: &'a Column, faults: &mut Faults<'a>) -> Vec<f64> {
    mark_nulls(column, faults);
    match column.values() {
        Values::Bool(values) => values.iter().map(|&value| f64::from(u8::from(value))).collect(),
        Values::Int(values) => values.iter().map(|&value| value as f64).collect(),
        Values::Uint(values) => values.iter().map(|&value| value as f64).collect(),
        Values::Single(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Values::Double(values) => values.clone(),
        Values::Text(_) | Values::Binary(_) => vec![f64::NAN; column.len()],
    }
}

fn texts<'a>(column: &'a Column, faults: &mut Faults<'a>) -> Texts {
    mark_nulls(column, faults);
    match column.values() {
        Values::Text(values) => values.clone(),
        _ => {
            let all: Vec<String> = (0..column.len()).map(|row| shown(column.value(row))).collect();
            all.iter().map(String::as_str).collect()
        }
    }
}

fn each(count: usize, keep: Option<&[bool]>, mut visit: impl FnMut(usize)) {
    (0..count)
        .filter(|&row| keep.is_none_or(|keep| keep.get(row) == Some(&true)))
        .for_each(&mut visit);
}

fn extend<T: Copy>(to: &mut Vec<T>, from: &[T], keep: Option<&[bool]>) {
    match keep {
        None => to.extend_from_slice(from),
        Some(keep) => to.extend(
            from.iter()
                .zip(keep)
                .filter(|(_, keep)| **keep)
                .map(|(value, _)| *value),
        ),
    }
}

fn append(to: &mut Option<Cells>, from: Cells, keep: Option<&[bool]>) {
    let Some(to) = to else {
        *to = Some(match from {
            Cells::Bools(mut values) => {
                let all = std::mem::take(&mut values);
                extend(&mut values, &all, keep);
                Cells::Bools(values)
            }
            Cells::Ints(mut values) => {
                let all = std::mem::take(&mut values);
                extend(&mut values, &all, keep);
                Cells::Ints(values)
            }
            Cells::Floats(mut values) => {
                let all = std::mem::take(&mut values);
                extend(&mut values, &all, keep);
                Cells::Floats(values)
            }
            Cells::Texts(all) => {
                let mut values = Texts::default();
                each(all.len(), keep, |row| {
                    values.push(all.get(row).unwrap_or_default())
                });
                Cells::Texts(values)
            }
        });
        return;
    };
    match (to, from) {
        (Cells::Bools(to), Cells::Bools(from)) => extend(to, &from, keep),
        (Cells::Ints(to), Cells::Ints(from)) => extend(to, &from, keep),
        (Cells::Floats(to), Cells::Floats(from)) => extend(to, &from, keep),
        // The task was settled after the first rows: what was integers is numbers now.
        (to @ Cells::Ints(_), Cells::Floats(from)) => {
            if let Cells::Ints(ints) = to {
                let mut all: Vec<f64> = ints.iter().map(|&value| value as f64).collect();
                extend(&mut all, &from, keep);
                *to = Cells::Floats(all);
            }
        }
        (Cells::Texts(to), Cells::Texts(from)) => {
            each(from.len(), keep, |row| to.push(from.get(row).unwrap_or_default()));
        }
        _ => {}
    }
}
