//! Exact metrics of an order, for more rows than memory holds: sorted runs, spilled by the caller, merged here.
//!
//! ROC AUC, average precision and medians need all values in order. A [`Scores`](crate::Scores) buffer that is full, or one
//! of [`ClassScores`](crate::ClassScores), hands its rows to a [`ScoreSink`] as a sorted run; what the sink does with it (a file, an object) is not this crate's
//! business. At the end [`merge_runs`] makes one ordered stream of all runs, and a [`Ranking`](crate::Ranking), a
//! [`CurvePoints`](crate::CurvePoints) or a [`MedianSearch`](crate::MedianSearch) reads it in constant memory.

use std::{cmp::Ordering, collections::BinaryHeap};

use lodeway_domain::{Error, Result};

/// One row of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoredRow {
    /// The predicted score, finite; for medians the value.
    pub score: f64,
    /// The row is of the positive class; false where there are no classes.
    pub is_positive: bool,
    /// Above 0: rows without weight change nothing and are left out.
    pub weight: f64,
}

impl ScoredRow {
    /// The size of [`ScoredRow::to_bytes`].
    pub const BYTES: usize = 17;

    /// Score, weight (both little-endian) and class in 17 bytes.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.score.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.weight.to_le_bytes());
        bytes[16] = u8::from(self.is_positive);
        bytes
    }

    /// From 17 bytes. Errors: [`Error::DataLoss`] for values that no row has.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Result<Self> {
        let [score @ .., _, _, _, _, _, _, _, _, class] = *bytes;
        let [_, _, _, _, _, _, _, _, weight @ .., _] = *bytes;
        let row = Self {
            score: f64::from_le_bytes(score),
            is_positive: class == 1,
            weight: f64::from_le_bytes(weight),
        };
        if class <= 1 && row.score.is_finite() && row.weight.is_finite() && row.weight > 0.0 {
            Ok(row)
        } else {
            Err(Error::DataLoss("a row of a sorted run is damaged".into()))
        }
    }
}

/// One row of a run of a problem with several classes: what a class's column says of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassRow {
    /// The probability of the run's class, in [0, 1].
    pub score: f64,
    /// The place of the true class.
    pub class: u32,
    /// The group of the row, the same in the runs of all classes.
    pub group: u32,
    /// Above 0.
    pub weight: f64,
}

impl ClassRow {
    /// The size of [`ClassRow::to_bytes`].
    pub const BYTES: usize = 24;

    /// Score, weight, class and group, little-endian, in 24 bytes.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.score.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.weight.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.class.to_le_bytes());
        bytes[20..].copy_from_slice(&self.group.to_le_bytes());
        bytes
    }

    /// From 24 bytes. Errors: [`Error::DataLoss`] for values that no row has; whether class and group are known is not
    /// seen here.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Result<Self> {
        let ([score, weight, _], _) = bytes.as_chunks::<8>() else {
            return Err(Error::DataLoss("a row of a sorted run is damaged".into()));
        };
        let ([.., class, group], _) = bytes.as_chunks::<4>() else {
            return Err(Error::DataLoss("a row of a sorted run is damaged".into()));
        };
        let row = Self {
            score: f64::from_le_bytes(*score),
            class: u32::from_le_bytes(*class),
            group: u32::from_le_bytes(*group),
            weight: f64::from_le_bytes(*weight),
        };
        if (0.0..=1.0).contains(&row.score) && row.weight.is_finite() && row.weight > 0.0 {
            Ok(row)
        } else {
            Err(Error::DataLoss("a row of a sorted run is damaged".into()))
        }
    }
}

/// A row that runs are sorted by.
pub trait RunRow: Copy {
    /// What runs are in descending order of.
    fn score(&self) -> f64;
}

impl RunRow for ScoredRow {
    fn score(&self) -> f64 {
        self.score
    }
}

impl RunRow for ClassRow {
    fn score(&self) -> f64 {
        self.score
    }
}

/// Where full buffers go.
pub trait ScoreSink {
    /// Keeps one run, in descending order of the score.
    fn spill(&mut self, run: &mut dyn Iterator<Item = ScoredRow>) -> Result<()>;

    /// Keeps one run of a class, in descending order of the class's probability.
    ///
    /// Errors: `LIMIT_EXCEEDED` unless there is a place for such runs.
    fn spill_class(&mut self, class: usize, run: &mut dyn Iterator<Item = ClassRow>) -> Result<()> {
        let rows = run.count();
        Err(Error::Exhausted {
            message: format!("there is no place for {rows} rows of class {class}"),
            retry_after: None,
        })
    }
}

/// Keeps runs of classes in memory, by class; for tests and small jobs.
impl ScoreSink for Vec<Vec<Vec<ClassRow>>> {
    fn spill(&mut self, run: &mut dyn Iterator<Item = ScoredRow>) -> Result<()> {
        let rows = run.count();
        Err(Error::Exhausted {
            message: format!("there is no place for {rows} rows without classes"),
            retry_after: None,
        })
    }

    fn spill_class(&mut self, class: usize, run: &mut dyn Iterator<Item = ClassRow>) -> Result<()> {
        self.resize_with(self.len().max(class + 1), Vec::new);
        if let Some(runs) = self.get_mut(class) {
            runs.push(run.collect());
        }
        Ok(())
    }
}

/// Keeps runs in memory; for tests and small jobs.
impl ScoreSink for Vec<Vec<ScoredRow>> {
    fn spill(&mut self, run: &mut dyn Iterator<Item = ScoredRow>) -> Result<()> {
        self.push(run.collect());
        Ok(())
    }
}

/// Merges runs, each in descending order of the score, into one such stream; see [`merge_runs`].
#[derive(Debug)]
pub struct MergedRuns<I, R = ScoredRow> {
    runs: Vec<I>,
    heads: BinaryHeap<Head<R>>,
    error: Option<Error>,
}

/// One ordered stream of `runs`, with one row of each in memory.
///
/// The stream ends with an error if a run fails or is not in descending order; runs of one score may give it in any
/// order of their rows.
pub fn merge_runs<I: Iterator<Item = Result<R>>, R: RunRow>(runs: Vec<I>) -> MergedRuns<I, R> {
    let mut merged = MergedRuns {
        heads: BinaryHeap::with_capacity(runs.len()),
        runs,
        error: None,
    };
    for run in 0..merged.runs.len() {
        merged.advance(run, f64::INFINITY);
    }
    merged
}

impl<I: Iterator<Item = Result<R>>, R: RunRow> MergedRuns<I, R> {
    fn advance(&mut self, run: usize, before: f64) {
        match self.runs.get_mut(run).and_then(Iterator::next) {
            None => {}
            Some(Ok(row)) if row.score() <= before => self.heads.push(Head { row, run }),
            Some(Ok(_)) => {
                self.error = Some(Error::DataLoss(format!(
                    "sorted run {run} is not in descending order"
                )));
            }
            Some(Err(error)) => self.error = Some(error),
        }
    }
}

impl<I: Iterator<Item = Result<R>>, R: RunRow> Iterator for MergedRuns<I, R> {
    type Item = Result<R>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.error.take() {
            self.heads.clear();
            self.runs.clear();
            return Some(Err(error));
        }
        let Head { row, run } = self.heads.pop()?;
        self.advance(run, row.score());
        Some(Ok(row))
    }
}

#[derive(Debug)]
struct Head<R> {
    row: R,
    run: usize,
}

impl<R: RunRow> Ord for Head<R> {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = self.row.score().total_cmp(&other.row.score());
        by_score.then_with(|| other.run.cmp(&self.run))
    }
}

impl<R: RunRow> PartialOrd for Head<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: RunRow> PartialEq for Head<R> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<R: RunRow> Eq for Head<R> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(score: f64) -> ScoredRow {
        ScoredRow {
            score,
            is_positive: score > 2.0,
            weight: 0.5,
        }
    }

    fn run(scores: &[f64]) -> std::vec::IntoIter<Result<ScoredRow>> {
        scores.iter().map(|&s| Ok(row(s))).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn runs_become_one_stream_in_order() {
        let runs = vec![run(&[5.0, 3.0, 3.0]), run(&[]), run(&[4.0, 3.0, -1.0])];
        let scores: Vec<f64> = merge_runs(runs).map(|row| row.unwrap().score).collect();
        assert_eq!(scores, [5.0, 4.0, 3.0, 3.0, 3.0, -1.0]);
    }

    #[test]
    fn a_run_out_of_order_ends_the_stream() {
        let rows: Vec<_> = merge_runs(vec![run(&[1.0, 2.0, 0.0]), run(&[0.5])]).collect();
        assert!(matches!(rows.last(), Some(Err(Error::DataLoss(_)))));
        assert_eq!(rows.iter().filter(|row| row.is_err()).count(), 1);
    }

    #[test]
    fn rows_have_a_byte_form() {
        let bytes = row(3.25).to_bytes();
        assert_eq!(ScoredRow::from_bytes(&bytes).unwrap(), row(3.25));
        for (at, byte) in [(16, 2), (7, 0x7f), (15, 0xff)] {
            let mut damaged = bytes;
            damaged[at] = byte;
            if at == 7 {
                damaged[6] = 0xf0;
            }
            assert!(ScoredRow::from_bytes(&damaged).is_err(), "{at}");
        }
    }
}
