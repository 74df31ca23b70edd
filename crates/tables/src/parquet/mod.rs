//! Reads Parquet.
//!
//! The library decodes values; what it would trust is read here and checked first: the footer, the heads of pages, their
//! decompression and the counts they claim. So a file of any content takes a bounded amount of memory.

mod codec;
mod delta;
mod footer;
mod groups;
mod header;
mod pages;
mod schema;
mod thrift;

use std::sync::Arc;

use arrow_array::RecordBatch;
use parquet::{
    arrow::{
        FieldLevels, ProjectionMask,
        arrow_reader::{ParquetRecordBatchReader, RowSelection, RowSelector},
        parquet_to_arrow_field_levels,
    },
    file::metadata::ParquetMetaData,
};

use self::{groups::Group, pages::Budget};
use crate::{
    Batch, Place, Position, Result, Schema, Source, TableError,
    arrow::{Part, Plan},
    decode::Decode,
    guard::guarded,
    options::{Options, TARGET_BYTES},
};

/// A Parquet file being read.
pub(crate) struct Parquet {
    source: Source,
    metadata: Arc<ParquetMetaData>,
    file: schema::File,
    plan: Plan,
    levels: FieldLevels,
    budget: Arc<Budget>,
    batch_rows: usize,
    max_bytes: u64,
    rows: u64,
    /// The row group being read, and how many of its rows were given out.
    group: usize,
    given: u64,
    /// Rows before this group.
    before: u64,
    reader: Option<ParquetRecordBatchReader>,
    part: Option<Part>,
}

impl Parquet {
    pub(crate) fn open(source: Source, options: &Options) -> Result<Self> {
        let metadata = footer::read(&source, options.max_bytes)?;
        let rows = groups::check(&metadata, options.max_rows)?;
        let file = schema::File::of(&metadata)?;
        let plan = file.plan(options.columns.as_deref())?;
        let levels = file.levels(&metadata, &plan.roots())?;
        Ok(Self {
            budget: Arc::new(Budget::new(options.max_bytes)),
            batch_rows: options.batch_rows.max(1),
            max_bytes: options.max_bytes,
            metadata: Arc::new(metadata),
            source,
            file,
            plan,
            levels,
            rows,
            group: 0,
            given: 0,
            before: 0,
            reader: None,
            part: None,
        })
    }

    /// The value of a key beside the data, such as `pandas`.
    pub(crate) fn note(&self, key: &str) -> Option<&str> {
        let notes = self.metadata.file_metadata().key_value_metadata()?;
        notes.iter().find(|note| note.key == key)?.value.as_deref()
    }

    fn group_rows(&self, group: usize) -> Option<u64> {
        let groups = self.metadata.row_groups();
        groups
            .get(group)
            .and_then(|group| u64::try_from(group.num_rows()).ok())
    }

    /// A reader of a group from a row on.
    fn start(&self, levels: &FieldLevels, skip: u64) -> Result<ParquetRecordBatchReader> {
        let rows = self.group_rows(self.group).unwrap_or_default();
        let group = Group::new(&self.source, &self.metadata, self.group, self.budget.clone());
        let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
        let selection = (skip > 0).then(|| {
            let rest = RowSelector::select(count(rows.saturating_sub(skip)));
            RowSelection::from(vec![RowSelector::skip(count(skip)), rest])
        });
        let batch_rows = self
            .batch_rows
            .min(group.rows_within(TARGET_BYTES, &self.plan.roots()));
        guarded("cannot be decoded", || {
            ParquetRecordBatchReader::try_new_with_row_groups(levels, &group, batch_rows, selection)
        })
    }

    /// The next rows of this group; `None` at its end.
    fn decode(&mut self) -> Result<Option<RecordBatch>> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.start(&self.levels, self.given)?,
        };
        self.budget.reset();
        let next = guarded("cannot be decoded", || reader.next().transpose());
        if next.is_ok() {
            self.reader = Some(reader);
        } else if self.budget.is_exceeded() {
            let why = format!(
                "takes more than {} bytes in memory; read fewer rows or columns at once",
                self.max_bytes
            );
            return Err(TableError::too_large(why));
        }
        next
    }

    /// Finds out which column cannot be read: each on its own, from where the error came.
    fn blame(&self, error: TableError) -> TableError {
        let error = error.at(Place::Group(self.group as u64));
        for (root, name) in self.plan.columns() {
            self.budget.reset();
            let read = self.file.levels(&self.metadata, &[root]).and_then(|levels| {
                let mut reader = self.start(&levels, self.given)?;
                guarded("", || reader.next().transpose())
            });
            if read.is_err() {
                return error.of(name);
            }
        }
        error
    }
}

impl Decode for Parquet {
    fn schema(&self) -> &Schema {
        self.plan.schema()
    }

    fn rows(&self) -> Option<u64> {
        Some(self.rows)
    }

    fn position(&self) -> Position {
        Position {
            row: self.before + self.given,
            part: self.group as u64,
            skip: self.given,
        }
    }

    fn seek(&mut self, to: Position) -> Result<()> {
        let wrong = || TableError::invalid(format!("has no position {to}"));
        let group = usize::try_from(to.part).map_err(|_| wrong())?;
        let before = (0..group).try_fold(0, |sum, group| Some(sum + self.group_rows(group)?));
        let before = before.ok_or_else(wrong)?;
        let rows = self.group_rows(group).unwrap_or_default();
        if to.skip > rows || before + to.skip != to.row {
            return Err(wrong());
        }
        (self.group, self.given, self.before) = (group, to.skip, before);
        (self.reader, self.part) = (None, None);
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Batch>> {
        loop {
            if let Some(part) = &mut self.part {
                match part.next(&self.plan, self.batch_rows) {
                    Ok(Some(batch)) => {
                        self.given += batch.rows() as u64;
                        return Ok(Some(batch));
                    }
                    Ok(None) => self.part = None,
                    Err(error) => return Err(error.at(Place::Group(self.group as u64))),
                }
            }
            let Some(rows) = self.group_rows(self.group) else {
                return Ok(None);
            };
            if self.given >= rows {
                self.before += rows;
                (self.group, self.given) = (self.group + 1, 0);
                self.reader = None;
                continue;
            }
            match self.decode() {
                Ok(Some(rows)) if rows.num_rows() > 0 => self.part = Some(Part::new(rows)),
                Ok(_) => {
                    let why = format!("ends after {} of {rows} rows", self.given);
                    return Err(TableError::invalid(why).at(Place::Group(self.group as u64)));
                }
                Err(error) => return Err(self.blame(error)),
            }
        }
    }
}

fn levels_of(
    metadata: &ParquetMetaData,
    roots: &[usize],
    hint: &arrow_schema::Fields,
) -> Result<FieldLevels> {
    let schema = metadata.file_metadata().schema_descr();
    let mask = ProjectionMask::roots(schema, roots.iter().copied());
    guarded("has columns that cannot be read", || {
        parquet_to_arrow_field_levels(schema, mask, Some(hint))
    })
}
