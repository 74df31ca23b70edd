//! Classification: the state for values and intervals, and the rows of comparisons to resample.

mod areas;
mod losses;
mod rows;

use std::{borrow::Cow, collections::BTreeMap};

use lodeway_domain::{Error, Result};

use self::rows::Rows;
use super::{Columns, Options, Prepared, Resample};
use crate::{
    Classes, ClassificationBatch, ClassificationSpec, ClassificationState, Column, Estimate, Label,
    ProbabilityClasses, check, default_positive,
};

/// Values with their intervals.
pub(super) fn evaluate(columns: &Columns<'_>, options: &Options) -> Result<BTreeMap<String, Estimate>> {
    with_batch(columns, |batch| {
        state_of(columns, batch, options)?.finish(options.confidence, None)
    })
}

/// The same, and the rows to resample.
pub(super) fn prepare(columns: &Columns<'_>, options: &Options) -> Result<Prepared> {
    with_batch(columns, |batch| {
        let state = state_of(columns, batch, options)?;
        let metrics = state.finish(options.confidence, None)?;
        let rows: Box<dyn Resample> = Box::new(Rows::new(&state, batch, options)?);
        Ok((metrics, rows))
    })
}

fn with_batch<T>(columns: &Columns<'_>, use_it: impl FnOnce(&ClassificationBatch<'_>) -> T) -> T {
    let (target, prediction) = numbers_for_bools(columns);
    use_it(&ClassificationBatch {
        target: column(&target),
        prediction: prediction.as_ref().map(column),
        probability: columns.probability,
        weights: columns.weights,
    })
}

fn state_of(
    columns: &Columns<'_>,
    batch: &ClassificationBatch<'_>,
    options: &Options,
) -> Result<ClassificationState> {
    let mut state = ClassificationState::new(ClassificationSpec {
        positive: options.positive.clone(),
        probabilities: probability_classes(columns, batch, options)?,
        bins: options.bins,
        top_k: options.top_k,
        average: options.average,
        betas: options.betas.clone(),
        max_rows: batch.target.len(),
    })?;
    state.update(batch)?;
    Ok(state)
}

/// A column that may have been made here.
enum Made<'a> {
    Given(Column<'a>),
    Ints(Vec<i64>),
}

fn column<'a>(made: &'a Made<'a>) -> Column<'a> {
    match made {
        Made::Given(column) => *column,
        Made::Ints(values) => Column::Ints(values),
    }
}

/// Truth values beside numbers mean 0 and 1.
fn numbers_for_bools<'a>(columns: &Columns<'a>) -> (Made<'a>, Option<Made<'a>>) {
    let is_number = |column: &Column<'_>| matches!(column, Column::Ints(_) | Column::Floats(_));
    let convert = |column: Column<'a>, other: Option<Column<'a>>| match (column, other) {
        (Column::Bools(values), Some(other)) if is_number(&other) => {
            Made::Ints(values.iter().map(|&value| i64::from(value)).collect())
        }
        _ => Made::Given(column),
    };
    let prediction = columns
        .prediction
        .map(|column| convert(column, Some(columns.target)));
    (convert(columns.target, columns.prediction), prediction)
}

/// The classes of the columns of probabilities, given or found.
fn probability_classes(
    columns: &Columns<'_>,
    batch: &ClassificationBatch<'_>,
    options: &Options,
) -> Result<Option<ProbabilityClasses>> {
    let (Some(values), rows) = (columns.probability, batch.target.len()) else {
        return Ok(None);
    };
    check::not_empty(rows as u64, 1.0)?;
    let width = values.len() / rows;
    if width == 0 || values.len() != rows * width {
        let problem = format!(
            "has {} values, which are not some columns of {rows} rows",
            values.len()
        );
        return Err(Error::invalid("probability", problem));
    }
    let labels = match columns.classes {
        Some(labels) => Cow::Borrowed(labels),
        None => {
            let mut classes = Classes::default();
            classes.encode("target", batch.target)?;
            if let (1, Some(prediction)) = (width, batch.prediction) {
                classes.encode("prediction", prediction)?;
            }
            let mut labels = classes.labels().to_vec();
            labels.sort();
            Cow::Owned(labels)
        }
    };
    if width > 1 {
        if labels.len() == width {
            return Ok(Some(ProbabilityClasses::PerClass(labels.into_owned())));
        }
        let problem = format!(
            "has {width} columns for {} classes; name the classes",
            labels.len()
        );
        return Err(Error::invalid("probability", problem));
    }
    let (negative, positive) = match (labels.as_ref(), &options.positive) {
        ([a, b], Some(positive)) if a == positive => (b.clone(), a.clone()),
        ([a, b], Some(_)) => (a.clone(), b.clone()),
        ([a, b], None) if columns.classes.is_some() || default_positive(&labels).as_ref() == Some(b) => {
            (a.clone(), b.clone())
        }
        ([a, b], None) => (b.clone(), a.clone()),
        ([only], _) => other_class(only)?,
        (many, _) => {
            let problem = format!("has one column, but the target has {} classes", many.len());
            return Err(Error::invalid("probability", problem));
        }
    };
    Ok(Some(ProbabilityClasses::Binary { negative, positive }))
}

/// Negative and positive class where only one of them occurs.
fn other_class(only: &Label) -> Result<(Label, Label)> {
    match only {
        Label::Bool(_) => Ok((Label::Bool(false), Label::Bool(true))),
        Label::Int(0 | 1) => Ok((Label::Int(0), Label::Int(1))),
        Label::Int(-1) => Ok((Label::Int(-1), Label::Int(1))),
        other => Err(Error::invalid(
            "target",
            format!("has the single class `{other}`; name both classes"),
        )),
    }
}
