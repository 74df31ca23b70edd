//! Classification or regression, from the columns alone.

use std::{collections::BTreeSet, fmt};

use super::Columns;
use crate::Column;

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Predicts one of several classes.
    Classification,
    /// Predicts a number.
    Regression,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classification => "classification",
            Self::Regression => "regression",
        })
    }
}

/// More distinct whole numbers than this are no classes, unless there are very many rows of each.
const FEW_CLASSES: usize = 20;
const MANY_CLASSES: usize = 100;
const ROWS_PER_CLASS: usize = 50;

/// Guesses the task.
///
/// Classification if there are probabilities, or if the target holds texts or truth values. Of numbers, regression if
/// target or prediction has a fraction, or is NaN or infinite; whole numbers are classes if there are at most 20 distinct
/// ones (100 with 50 rows of each) and, beyond two, at most half as many as rows. Counts with few values look like classes:
/// there the task has to be said.
pub fn infer_task(columns: &Columns<'_>) -> Task {
    if columns.probability.is_some() {
        return Task::Classification;
    }
    let has_fraction =
        |column: Column<'_>| matches!(column, Column::Floats(v) if v.iter().any(|v| v.fract() != 0.0));
    let distinct = match columns.target {
        Column::Bools(_) | Column::Texts(_) => return Task::Classification,
        target if has_fraction(target) || columns.prediction.is_some_and(has_fraction) => {
            return Task::Regression;
        }
        Column::Ints(values) => few(values.iter().copied()),
        Column::Floats(values) => few(values.iter().map(|value| *value as i64)),
    };
    let rows = columns.target.len();
    let is_few = match distinct {
        0..=2 => true,
        3..=FEW_CLASSES => distinct * 2 <= rows,
        _ => distinct <= MANY_CLASSES && distinct * ROWS_PER_CLASS <= rows,
    };
    if is_few {
        Task::Classification
    } else {
        Task::Regression
    }
}

/// How many distinct values, counted a little past the bound.
fn few(values: impl Iterator<Item = i64>) -> usize {
    let mut seen = BTreeSet::new();
    for value in values {
        seen.insert(value);
        if seen.len() > MANY_CLASSES {
            break;
        }
    }
    seen.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(target: Column<'_>) -> Task {
        infer_task(&Columns {
            target,
            prediction: None,
            probability: None,
            classes: None,
            weights: None,
        })
    }

    #[test]
    fn the_target_tells() {
        let ages: Vec<i64> = (0..1000).map(|i| 18 + i % 70).collect();
        let digits: Vec<f64> = (0..200).map(|i| f64::from(i % 10)).collect();
        assert_eq!(task(Column::Texts(&["yes", "no"])), Task::Classification);
        assert_eq!(task(Column::Bools(&[true])), Task::Classification);
        assert_eq!(task(Column::Ints(&[0, 1, 1])), Task::Classification);
        assert_eq!(task(Column::Floats(&digits)), Task::Classification);
        assert_eq!(task(Column::Floats(&[0.5, 1.0])), Task::Regression);
        assert_eq!(task(Column::Floats(&[f64::NAN, 1.0])), Task::Regression);
        assert_eq!(task(Column::Ints(&ages)), Task::Regression);
        assert_eq!(task(Column::Ints(&[3, 8, 12, 7])), Task::Regression);
        let counts = Columns::new(Column::Ints(&[0, 1, 1, 0]), Column::Floats(&[0.2, 1.5, 0.7, 0.1]));
        assert_eq!(infer_task(&counts), Task::Regression);
    }
}
