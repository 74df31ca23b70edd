//! The rows of a dataset beside the answers that parts keep, in order and in bounded memory.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use lodeway_domain::{Error, Result, evaluation::Part};
use lodeway_tables::{Batch, Column, Format, Options, Reader, Type};

use super::{
    answered::{FAILURE, PREDICTION_ID, ROW, joined},
    answers::{PREDICTION, PROBABILITY},
    data::{Batches, Data},
    judged::{JudgedColumns, OUTCOME, REASON, RESULT, SCORE},
};

/// Parts that are on this machine, by row, and the columns that they have together.
#[derive(Clone)]
pub(super) struct Parts {
    files: Arc<Vec<(u64, u64, PathBuf)>>,
    columns: Vec<(String, Type)>,
}

impl Parts {
    /// Reads what columns the files have. Errors: a file that is no part.
    pub(super) fn open(parts: &[Part], file: impl Fn(&Part) -> PathBuf) -> Result<Self> {
        let mut files: Vec<_> = parts
            .iter()
            .map(|part| (part.start_row, part.rows, file(part)))
            .collect();
        files.sort();
        let mut types: BTreeMap<String, Vec<Type>> = BTreeMap::new();
        for (_, _, path) in &files {
            for field in reader(path)?.schema().fields() {
                types.entry(field.name.to_string()).or_default().push(field.dtype);
            }
        }
        let columns = types.into_iter().map(|(name, types)| (name, common(&types)));
        Ok(Self {
            files: Arc::new(files),
            columns: columns.collect(),
        })
    }

    /// The probability columns: class and name.
    pub(super) fn probabilities(&self) -> Vec<(String, String)> {
        let all = self.columns.iter().filter_map(|(name, _)| {
            let class = name.strip_prefix(PROBABILITY)?;
            Some((class.to_owned(), name.clone()))
        });
        all.collect()
    }

    /// Whether any row was answered.
    pub(super) fn has_predictions(&self) -> bool {
        self.columns.iter().any(|(name, _)| name == PREDICTION)
    }

    /// The rows of the parts, one part a batch, each column in the type common to all parts.
    fn read(&self, at: usize) -> Option<Result<(u64, Batch)>> {
        let (start, rows, path) = self.files.get(at)?;
        Some(self.part(*rows, path).map(|batch| (*start, batch)))
    }

    fn part(&self, rows: u64, path: &PathBuf) -> Result<Batch> {
        let batches = reader(path)?
            .collect::<lodeway_tables::Result<Vec<_>>>()
            .map_err(damaged)?;
        let found: usize = batches.iter().map(Batch::rows).sum();
        if found as u64 != rows {
            return Err(Error::DataLoss(format!(
                "a part has {found} rows instead of {rows}"
            )));
        }
        let columns = self.columns.iter().map(|(name, dtype)| {
            let mut pieces: Vec<_> = batches
                .iter()
                .map(|batch| (batch.rows(), batch.column(name)))
                .collect();
            // A piece without rows says of which type all of it is to be.
            let shape = Column::new(name.as_str(), *dtype, lodeway_tables::Values::of(*dtype), None);
            let shape = shape.map_err(Error::internal)?;
            pieces.push((0, Some(&shape)));
            joined(name, &pieces)
        });
        Batch::new(columns.collect::<Result<_>>()?).map_err(Error::internal)
    }
}

fn damaged(error: lodeway_tables::TableError) -> Error {
    Error::DataLoss(format!("a part cannot be read: {error}"))
}

fn reader(path: &PathBuf) -> Result<Reader> {
    let file = std::fs::File::open(path).map_err(|e| Error::internal(format!("cannot read a part: {e}")))?;
    let source = lodeway_tables::Source::new(file).map_err(Error::internal)?;
    Reader::open(source, Format::Parquet, &Options::default()).map_err(damaged)
}

/// The type that holds all: as one column of pieces has it.
fn common(types: &[Type]) -> Type {
    let is_number = |dtype: &Type| {
        !matches!(
            dtype,
            Type::Text | Type::Json | Type::Binary | Type::Timestamp { .. }
        )
    };
    match types {
        [first, rest @ ..] if rest.iter().all(|dtype| dtype == first) => *first,
        all if all.iter().all(is_number) => Type::Float64,
        _ => Type::Text,
    }
}

/// Rows beside their answers: the columns of the dataset, then those of each set of parts under names of their own.
pub(super) struct Replay {
    batches: Batches,
    sets: Vec<Cursor>,
    pending: Option<(Batch, usize)>,
    row: u64,
}

/// Where the reading of some parts is.
struct Cursor {
    parts: Parts,
    next: usize,
    current: Option<(u64, Batch)>,
    /// What the columns are called in the replay.
    names: BTreeMap<String, String>,
}

/// What the columns of a set of parts are called in a replay.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) prediction: String,
    /// Class and column.
    pub(super) probabilities: Vec<(String, String)>,
    pub(super) failure: String,
}

impl Replay {
    /// A replay of the dataset alone.
    pub(super) fn new(data: &Data) -> Result<Self> {
        Ok(Self {
            batches: data.batches()?,
            sets: Vec::new(),
            pending: None,
            row: 0,
        })
    }

    /// Also gives the answers of these parts, under names that begin with `stem` and that no column of the dataset has.
    pub(super) fn with(&mut self, data: &Data, parts: &Parts, stem: &str) -> Names {
        self.with_called(data, parts, stem, PREDICTION)
    }

    /// The same, with another word for predictions: `answer` of an LLM.
    pub(super) fn with_called(&mut self, data: &Data, parts: &Parts, stem: &str, word: &str) -> Names {
        let free = |wanted: String| {
            let mut name = wanted;
            while data.schema.field(&name).is_some() {
                name.push('_');
            }
            name
        };
        let mut names = Names {
            prediction: free(format!("{stem}{word}")),
            failure: free(format!("{stem}{FAILURE}")),
            probabilities: Vec::new(),
        };
        let mut all = BTreeMap::from([
            (PREDICTION.to_owned(), names.prediction.clone()),
            (FAILURE.to_owned(), names.failure.clone()),
            (PREDICTION_ID.to_owned(), free(format!("{stem}{PREDICTION_ID}"))),
        ]);
        for (class, column) in parts.probabilities() {
            let name = free(format!("{stem}{column}"));
            all.insert(column, name.clone());
            names.probabilities.push((class, name));
        }
        self.sets.push(Cursor {
            parts: parts.clone(),
            next: 0,
            current: None,
            names: all,
        });
        names
    }

    /// Also gives the judgements of these scorers, under names that no column of the dataset has.
    pub(super) fn with_judgements(
        &mut self,
        data: &Data,
        parts: &Parts,
        scorers: impl Iterator<Item = String>,
    ) -> Vec<JudgedColumns> {
        let mut all = BTreeMap::new();
        let mut named = |name: String| {
            let mut free = name.clone();
            while data.schema.field(&free).is_some() {
                free.push('_');
            }
            all.insert(name, free.clone());
            free
        };
        let columns = scorers.map(|scorer| JudgedColumns {
            score: named(format!("{scorer}/{SCORE}")),
            outcome: named(format!("{scorer}/{OUTCOME}")),
            reason: named(format!("{scorer}/{REASON}")),
            result: named(format!("{scorer}/{RESULT}")),
            scorer,
        });
        let columns = columns.collect();
        self.sets.push(Cursor {
            parts: parts.clone(),
            next: 0,
            current: None,
            names: all,
        });
        columns
    }

    fn step(&mut self) -> Result<Option<Batch>> {
        let (batch, from) = match self.pending.take() {
            Some(pending) => pending,
            None => match self.batches.next() {
                None => return Ok(None),
                Some(batch) => (batch?, 0),
            },
        };
        let mut rows = batch.rows() - from;
        for set in &mut self.sets {
            rows = rows.min(set.seek(self.row)?);
        }
        let part = batch.slice(from..from + rows).map_err(Error::internal)?;
        let mut columns = part.into_columns();
        for set in &self.sets {
            columns.extend(set.columns(self.row, rows)?);
        }
        self.row += rows as u64;
        if from + rows < batch.rows() {
            self.pending = Some((batch, from + rows));
        }
        Batch::new(columns).map(Some).map_err(Error::internal)
    }
}

impl Iterator for Replay {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

impl Cursor {
    /// Brings the part with this row into memory; how many rows of it there are from there on.
    fn seek(&mut self, row: u64) -> Result<usize> {
        loop {
            if let Some((start, batch)) = &self.current {
                let end = start + batch.rows() as u64;
                if (*start..end).contains(&row) {
                    return usize::try_from(end - row).map_err(Error::internal);
                }
            }
            let next = self.parts.read(self.next);
            self.next += 1;
            match next {
                Some(next) => self.current = Some(next?),
                None => return Err(Error::DataLoss(format!("no part holds row {row}"))),
            }
        }
    }

    fn columns(&self, row: u64, rows: usize) -> Result<Vec<Column>> {
        let Some((start, batch)) = &self.current else {
            return Ok(Vec::new());
        };
        let from = usize::try_from(row - start).map_err(Error::internal)?;
        let mut columns = Vec::new();
        for column in batch.columns().iter().filter(|column| column.name() != ROW) {
            let Some(name) = self.names.get(column.name()) else {
                continue;
            };
            let some = column.slice(from..from + rows).map_err(Error::internal)?;
            let (_, dtype, values, nulls) = some.into_parts();
            columns.push(Column::new(name.as_str(), dtype, values, nulls).map_err(Error::internal)?);
        }
        Ok(columns)
    }
}

/// The rows of a batch on which the target did not fail, and how many it left out.
pub(super) fn answered(batch: Batch, failure: &str) -> Result<(Batch, usize)> {
    let Some(column) = batch.column(failure) else {
        return Ok((batch, 0));
    };
    let failed: Vec<bool> = (0..batch.rows()).map(|row| !column.is_null(row)).collect();
    let count = failed.iter().filter(|failed| **failed).count();
    if count == 0 {
        return Ok((batch, 0));
    }
    // Runs of rows that were answered, put together again.
    let (mut pieces, mut from) = (Vec::new(), 0);
    for (row, failed) in failed.iter().chain([&true]).enumerate() {
        if *failed {
            if from < row {
                pieces.push(batch.slice(from..row).map_err(Error::internal)?);
            }
            from = row + 1;
        }
    }
    let columns = batch.columns().iter().map(|column| {
        let mut parts: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.rows(), piece.column(column.name())))
            .collect();
        let shape = column.slice(0..0).map_err(Error::internal)?;
        parts.push((0, Some(&shape)));
        joined(column.name(), &parts)
    });
    let rest = Batch::new(columns.collect::<Result<_>>()?).map_err(Error::internal)?;
    Ok((rest, count))
}
