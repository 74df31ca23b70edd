//! How well classes are told apart, as a report has it: the confusion table, and each class by itself.

use lodeway_metrics::Confusion;
use serde::{Deserialize, Serialize};

/// How often which class was taken for which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfusionTable {
    /// The classes, sorted.
    pub labels: Vec<String>,
    /// The pairs that occur: place of the true class, place of the predicted one, sum of weights. The heaviest ones if
    /// there are very many.
    pub cells: Vec<(usize, usize, f64)>,
}

/// A class by itself, as `sklearn.metrics.classification_report` has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassRow {
    /// The class.
    pub class: String,
    /// Of the rows predicted so, the share that are; 0 where none are predicted so.
    pub precision: f64,
    /// Of the rows that are so, the share predicted so; 0 where there are none.
    pub recall: f64,
    /// The harmonic mean of both; 0 where both are.
    pub f1: f64,
    /// The rows that are so, or their weight.
    pub support: f64,
}

impl ConfusionTable {
    /// The most cells.
    const CELLS: usize = 10_000;

    pub(crate) fn of(confusion: &Confusion) -> Self {
        let mut cells = confusion.cells().to_vec();
        if cells.len() > Self::CELLS {
            cells.sort_by(|a, b| b.2.total_cmp(&a.2));
            cells.truncate(Self::CELLS);
            cells.sort_by_key(|cell| (cell.0, cell.1));
        }
        Self {
            labels: confusion.labels().iter().map(ToString::to_string).collect(),
            cells,
        }
    }
}

impl ClassRow {
    /// The most classes.
    const CLASSES: usize = 1_000;

    /// One for each class; of very many those with the greatest support.
    pub(crate) fn all(confusion: &Confusion) -> Vec<Self> {
        let rows = confusion.labels().iter().zip(confusion.per_class());
        let mut rows: Vec<_> = rows
            .map(|(label, [precision, recall, f1, support])| Self {
                class: label.to_string(),
                precision,
                recall,
                f1,
                support,
            })
            .enumerate()
            .collect();
        if rows.len() > Self::CLASSES {
            rows.sort_by(|(_, a), (_, b)| b.support.total_cmp(&a.support));
            rows.truncate(Self::CLASSES);
            rows.sort_by_key(|(at, _)| *at);
        }
        rows.into_iter().map(|(_, row)| row).collect()
    }
}
