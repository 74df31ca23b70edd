//! Sorted runs of what each class's column says of the rows, for more rows than memory holds.
//!
//! The areas of several classes need all rows in the order of each class's probability. A buffer of
//! [`ClassScores`](crate::ClassScores) that is full goes to a [`SpillStore`] as one sorted run a class; at the end
//! [`merged`] makes one ordered stream of a class's runs.

use std::{cmp::Ordering, collections::BinaryHeap};

use lodeway_domain::{Error, Result};

use crate::{SpillStore, spill::damaged};

/// One row of a run of a problem with several classes: what a class's column says of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ClassRow {
    /// The probability of the run's class, in [0, 1].
    pub(crate) score: f64,
    /// The place of the true class.
    pub(crate) class: u32,
    /// The group of the row, the same in the runs of all classes.
    pub(crate) group: u32,
    /// Above 0.
    pub(crate) weight: f64,
}

impl ClassRow {
    /// The size of [`ClassRow::to_bytes`].
    const BYTES: usize = 24;

    /// Score, weight, class and group, little-endian, in 24 bytes.
    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.score.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.weight.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.class.to_le_bytes());
        bytes[20..].copy_from_slice(&self.group.to_le_bytes());
        bytes
    }

    /// From 24 bytes. Errors: [`Error::DataLoss`] for values that no row has; whether class and group are known is not
    /// seen here.
    fn from_bytes(bytes: &[u8; Self::BYTES]) -> Result<Self> {
        let ([score, weight, _], _) = bytes.as_chunks::<8>() else {
            return Err(damaged());
        };
        let ([.., class, group], _) = bytes.as_chunks::<4>() else {
            return Err(damaged());
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
            Err(damaged())
        }
    }
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Run {
    offset: u64,
    rows: u64,
}

impl Run {
    /// Rows written or read at a time.
    const ROWS: usize = 2048;

    /// Keeps `rows`, which are in descending order of their score.
    pub(crate) fn write(rows: impl Iterator<Item = ClassRow>, store: &mut dyn SpillStore) -> Result<Self> {
        let (mut bytes, mut written, mut offset) = (Vec::new(), 0, None);
        let mut rows = rows.peekable();
        while let Some(row) = rows.next() {
            bytes.extend_from_slice(&row.to_bytes());
            written += 1;
            if bytes.len() >= Self::ROWS * ClassRow::BYTES || rows.peek().is_none() {
                let at = store.append(&bytes)?;
                offset.get_or_insert(at);
                bytes.clear();
            }
        }
        Ok(Self {
            offset: offset.unwrap_or_default(),
            rows: written,
        })
    }
}

/// One ordered stream of `runs`, with a few rows of each in memory.
///
/// The stream ends with an error if the store fails or a run is not in descending order; runs of one score may give it in any
/// order of their rows.
pub(crate) fn merged<'a>(runs: &[Run], store: &'a dyn SpillStore) -> Merged<'a> {
    let rows = runs.iter().map(|run| Rows {
        store,
        left: *run,
        buffer: Vec::new(),
        at: 0,
    });
    let mut merged = Merged {
        heads: BinaryHeap::with_capacity(runs.len()),
        runs: rows.collect(),
        error: None,
    };
    for run in 0..merged.runs.len() {
        merged.advance(run, f64::INFINITY);
    }
    merged
}

/// See [`merged`].
pub(crate) struct Merged<'a> {
    runs: Vec<Rows<'a>>,
    heads: BinaryHeap<Head>,
    error: Option<Error>,
}

impl Merged<'_> {
    fn advance(&mut self, run: usize, before: f64) {
        match self.runs.get_mut(run).and_then(Iterator::next) {
            None => {}
            Some(Ok(row)) if row.score <= before => self.heads.push(Head { row, run }),
            Some(Ok(_)) => self.error = Some(damaged()),
            Some(Err(error)) => self.error = Some(error),
        }
    }
}

impl Iterator for Merged<'_> {
    type Item = Result<ClassRow>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.error.take() {
            self.heads.clear();
            self.runs.clear();
            return Some(Err(error));
        }
        let Head { row, run } = self.heads.pop()?;
        self.advance(run, row.score);
        Some(Ok(row))
    }
}

/// The rows of one run.
struct Rows<'a> {
    store: &'a dyn SpillStore,
    /// What is not in the buffer yet.
    left: Run,
    buffer: Vec<u8>,
    at: usize,
}

impl Rows<'_> {
    fn fill(&mut self) -> Result<()> {
        let rows = self.left.rows.min(Run::ROWS as u64);
        self.buffer.resize(rows as usize * ClassRow::BYTES, 0);
        self.at = 0;
        self.store.read(self.left.offset, &mut self.buffer)?;
        self.left.offset += self.buffer.len() as u64;
        self.left.rows -= rows;
        Ok(())
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<ClassRow>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.buffer.len() {
            if self.left.rows == 0 {
                return None;
            }
            if let Err(error) = self.fill() {
                self.left.rows = 0;
                self.buffer.clear();
                return Some(Err(error));
            }
        }
        let bytes = self.buffer.get(self.at..)?.first_chunk()?;
        self.at += ClassRow::BYTES;
        Some(ClassRow::from_bytes(bytes))
    }
}

#[derive(Debug)]
struct Head {
    row: ClassRow,
    run: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = self.row.score.total_cmp(&other.row.score);
        by_score.then_with(|| other.run.cmp(&self.run))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(score: f64) -> ClassRow {
        ClassRow {
            score,
            class: u32::from(score > 0.2),
            group: 7,
            weight: 0.5,
        }
    }

    fn write(store: &mut Vec<u8>, scores: &[f64]) -> Run {
        Run::write(scores.iter().map(|score| row(*score)), store).unwrap()
    }

    #[test]
    fn runs_become_one_stream_in_order() {
        let mut store = Vec::new();
        let long: Vec<f64> = (0..5000).map(|n| 1.0 - f64::from(n) / 5000.0).collect();
        let runs = [[0.5, 0.3, 0.3].as_slice(), &[], &[0.4, 0.3, 0.0], &long];
        let runs = runs.map(|scores| write(&mut store, scores));
        let rows: Vec<ClassRow> = merged(&runs, &store).map(Result::unwrap).collect();
        assert_eq!(rows.len(), 5006);
        assert!(rows.is_sorted_by(|one, next| one.score >= next.score));
        assert_eq!(rows.iter().filter(|row| row.score == 0.3).count(), 3);
        assert!(rows.iter().all(|one| *one == row(one.score)));
    }

    #[test]
    fn a_run_out_of_order_or_cut_off_ends_the_stream() {
        let mut store = Vec::new();
        let runs = [[0.1, 0.2, 0.0].as_slice(), &[0.05]].map(|scores| write(&mut store, scores));
        let rows: Vec<_> = merged(&runs, &store).collect();
        assert!(matches!(rows.last(), Some(Err(Error::DataLoss(_)))));
        assert_eq!(rows.iter().filter(|row| row.is_err()).count(), 1);
        store.pop();
        assert!(merged(&runs, &store).any(|row| row.is_err()));
    }

    #[test]
    fn rows_have_a_byte_form() {
        let bytes = row(0.25).to_bytes();
        assert_eq!(ClassRow::from_bytes(&bytes).unwrap(), row(0.25));
        for at in [7, 15] {
            let mut damaged = bytes;
            damaged[at] = 0x7f;
            damaged[at - 1] = 0xf0;
            assert!(ClassRow::from_bytes(&damaged).is_err(), "{at}");
        }
    }
}
