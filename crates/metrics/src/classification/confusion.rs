//! The confusion matrix as a state: what every metric of labels is computed from.

use std::collections::BTreeMap;

use lodeway_domain::{Error, Result};

use super::margins::Margins;
use crate::{
    Classes, Column, Label, Sum,
    bytes::{Reader, Writer},
    check,
};

/// Weighted counts of (true class, predicted class), gathered batch by batch.
///
/// Only pairs that occur take memory. Parts merge, in any order and grouping, into the state of the whole; the counts
/// of unweighted rows exactly, sums of weights to the last digit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfusionState {
    classes: Classes,
    cells: BTreeMap<(u32, u32), Cell>,
    rows: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Cell {
    rows: u64,
    weight: Sum,
    squared: Sum,
}

impl Cell {
    fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.weight.merge(other.weight);
        self.squared.merge(other.squared);
    }
}

impl ConfusionState {
    pub(crate) const KIND: u8 = 1;
    const WHAT: &'static str = "confusion";
    /// Up to so many pairs a batch is counted in a table, above in the map.
    const TABLE: usize = 1 << 16;

    /// No rows yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a batch of rows.
    ///
    /// Errors: `INVALID_FIELD` for columns of different length, labels of mixed kinds, bad weights; `LIMIT_EXCEEDED` for
    /// more than [`Classes::LIMIT`] classes. After an error the counts are those before the call.
    pub fn update(
        &mut self,
        truth: Column<'_>,
        predicted: Column<'_>,
        weights: Option<&[f64]>,
    ) -> Result<()> {
        let truth = self.classes.encode("target", truth)?;
        let predicted = self.classes.encode("prediction", predicted)?;
        self.update_codes(&truth, &predicted, weights)
    }

    /// Adds a batch of rows whose labels are codes of [`ConfusionState::classes`].
    pub(crate) fn update_codes(
        &mut self,
        truth: &[u32],
        predicted: &[u32],
        weights: Option<&[f64]>,
    ) -> Result<()> {
        check::same_length("prediction", predicted.len(), truth.len())?;
        check::weights(weights, truth.len())?;
        let width = self.classes.len();
        let pairs = truth.iter().zip(predicted);
        if width * width <= Self::TABLE {
            let mut table = vec![Cell::default(); width * width];
            match weights {
                None => pairs.for_each(|(&t, &p)| table[t as usize * width + p as usize].rows += 1),
                Some(weights) => pairs.zip(weights).for_each(|((&t, &p), &weight)| {
                    table[t as usize * width + p as usize].merge(&Cell::one(weight));
                }),
            }
            for (at, mut cell) in table.into_iter().enumerate().filter(|(_, cell)| cell.rows > 0) {
                if weights.is_none() {
                    cell.weight = Sum::from(cell.rows as f64);
                    cell.squared = cell.weight;
                }
                let pair = ((at / width) as u32, (at % width) as u32);
                self.cells.entry(pair).or_default().merge(&cell);
            }
        } else {
            for (row, (&t, &p)) in pairs.enumerate() {
                let cell = Cell::one(check::weight_of(weights, row));
                self.cells.entry((t, p)).or_default().merge(&cell);
            }
        }
        self.rows += truth.len() as u64;
        Ok(())
    }

    /// Adds the rows of another state.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let codes = self.classes.absorb(&other.classes)?;
        let code = |old: u32| codes.get(old as usize).copied();
        for ((truth, predicted), cell) in &other.cells {
            if let (Some(truth), Some(predicted)) = (code(*truth), code(*predicted)) {
                self.cells.entry((truth, predicted)).or_default().merge(cell);
            }
        }
        self.rows += other.rows;
        Ok(())
    }

    /// The labels seen so far, with their codes.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    pub(crate) fn classes_mut(&mut self) -> &mut Classes {
        &mut self.classes
    }

    /// How many rows were added.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The matrix. Errors: `INVALID_FIELD` if there are no rows or all weights are 0.
    pub fn finish(&self) -> Result<Confusion> {
        let (mut weight, mut squared) = (Sum::default(), Sum::default());
        for cell in self.cells.values() {
            weight.merge(cell.weight);
            squared.merge(cell.squared);
        }
        check::not_empty(self.rows, weight.value())?;

        let mut order: Vec<usize> = (0..self.classes.len()).collect();
        let labels = self.classes.labels();
        order.sort_by(|&a, &b| labels[a].cmp(&labels[b]));
        let mut rank = vec![0; order.len()];
        order.iter().enumerate().for_each(|(at, &code)| rank[code] = at);

        let mut sums = vec![[Sum::default(); 3]; order.len()];
        let mut cells = Vec::with_capacity(self.cells.len());
        for ((truth, predicted), cell) in &self.cells {
            let (truth, predicted) = (rank[*truth as usize], rank[*predicted as usize]);
            if truth == predicted {
                sums[truth][0].merge(cell.weight);
            }
            sums[truth][1].merge(cell.weight);
            sums[predicted][2].merge(cell.weight);
            cells.push((truth, predicted, cell.weight.value()));
        }
        cells.sort_unstable_by_key(|&(truth, predicted, _)| (truth, predicted));
        let column = |at: usize| sums.iter().map(|sums| sums[at].value()).collect();
        Ok(Confusion {
            labels: order.iter().map(|&code| labels[code].clone()).collect(),
            cells,
            margins: Margins {
                hits: column(0),
                truth: column(1),
                predicted: column(2),
                total: weight.value(),
            },
            rows: self.rows,
            effective_rows: (weight * weight / squared).value(),
        })
    }

    /// The versioned byte form.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Self::KIND);
        writer.labels(self.classes.labels());
        writer.u64(self.rows);
        writer.length(self.cells.len());
        for ((truth, predicted), cell) in &self.cells {
            writer.u32(*truth);
            writer.u32(*predicted);
            writer.u64(cell.rows);
            writer.sum(cell.weight);
            writer.sum(cell.squared);
        }
        writer.finish()
    }

    /// From the byte form. Errors: [`Error::DataLoss`] for bytes that are damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, Self::KIND, Self::WHAT)?;
        let labels = reader.labels()?;
        let Ok(classes) = Classes::from_labels(labels) else {
            return Err(reader.damaged("has labels that are no classes"));
        };
        let rows = reader.u64()?;
        let length = reader.length(48)?;
        let mut cells = BTreeMap::new();
        let mut counted = 0_u64;
        for _ in 0..length {
            let pair = (reader.u32()?, reader.u32()?);
            let known = pair.0.max(pair.1) < classes.len() as u32;
            reader.check(known, "counts a class that it does not name")?;
            let cell = Cell {
                rows: reader.u64()?,
                weight: reader.sum()?,
                squared: reader.sum()?,
            };
            let sound = cell.weight.value() >= 0.0 && cell.squared.value() >= 0.0;
            reader.check(sound, "has a weight that is not a number of at least 0")?;
            counted = counted.saturating_add(cell.rows);
            let first = cells.insert(pair, cell).is_none();
            reader.check(first, "counts a pair of classes twice")?;
        }
        reader.check(counted == rows, "has rows that do not add up")?;
        reader.finish()?;
        Ok(Self { classes, cells, rows })
    }
}

impl Cell {
    fn one(weight: f64) -> Self {
        let mut squared = Sum::default();
        squared.add_product(weight, weight);
        Self {
            rows: 1,
            weight: Sum::from(weight),
            squared,
        }
    }
}

/// A finished confusion matrix: rows are true classes, columns predicted ones, both in sorted order of the labels.
///
/// The labels are all that occur in either column, as `sklearn.metrics.confusion_matrix` takes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Confusion {
    labels: Vec<Label>,
    cells: Vec<(usize, usize, f64)>,
    margins: Margins,
    rows: u64,
    effective_rows: f64,
}

impl Confusion {
    /// From two columns at once. Errors: those of [`ConfusionState::update`] and [`ConfusionState::finish`].
    pub fn of(truth: Column<'_>, predicted: Column<'_>, weights: Option<&[f64]>) -> Result<Self> {
        let mut state = ConfusionState::new();
        state.update(truth, predicted, weights)?;
        state.finish()
    }

    /// The classes, sorted.
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// The pairs that occur: true class, predicted class (places in [`Confusion::labels`]), sum of weights.
    pub fn cells(&self) -> &[(usize, usize, f64)] {
        &self.cells
    }

    /// The whole matrix, `[classes, classes]`, row-major. Errors: `LIMIT_EXCEEDED` above 4,096 classes.
    pub fn matrix(&self) -> Result<Vec<f64>> {
        const LIMIT: usize = 4096;
        let width = self.labels.len();
        if width > LIMIT {
            return Err(Error::Exhausted {
                message: format!(
                    "a matrix of {width} classes is too large, {LIMIT} is the most; read the cells"
                ),
                retry_after: None,
            });
        }
        let mut matrix = vec![0.0; width * width];
        for &(truth, predicted, weight) in &self.cells {
            matrix[truth * width + predicted] = weight;
        }
        Ok(matrix)
    }

    /// How many rows it counts.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// (Σw)² / Σw²: as many unweighted rows would give the same uncertainty (Kish 1965, "Survey Sampling", 11.7).
    pub fn effective_rows(&self) -> f64 {
        self.effective_rows
    }

    pub(crate) fn margins(&self) -> &Margins {
        &self.margins
    }
}
