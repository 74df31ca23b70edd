//! Row groups.

use std::sync::Arc;

use parquet::{
    arrow::arrow_reader::RowGroups,
    column::page::PageIterator,
    errors::Result as ParquetResult,
    file::metadata::{ParquetMetaData, RowGroupMetaData},
};

use super::pages::{Budget, Chunk, Pages, fault};
use crate::{Place, Result, Source, TableError};

/// The least memory that is counted for a value: many take less in the file than once decoded.
const VALUE_BYTES: u64 = 16;

/// One row group, as the library asks for it.
pub(super) struct Group<'a> {
    source: &'a Source,
    metadata: &'a ParquetMetaData,
    at: usize,
    budget: Arc<Budget>,
}

/// Checks what the footer says about row groups and returns the number of rows.
pub(super) fn check(metadata: &ParquetMetaData, max_rows: u64) -> Result<u64> {
    let columns = metadata.file_metadata().schema_descr().num_columns();
    let mut sum = 0_u64;
    for (at, group) in metadata.row_groups().iter().enumerate() {
        let wrong = |why: &str| TableError::invalid(why).at(Place::Group(at as u64));
        if group.num_columns() != columns {
            return Err(wrong("has not all columns"));
        }
        let rows = u64::try_from(group.num_rows()).map_err(|_| wrong("has less than no rows"))?;
        sum = sum
            .checked_add(rows)
            .ok_or_else(|| wrong("has more rows than can be counted"))?;
    }
    if u64::try_from(metadata.file_metadata().num_rows()) != Ok(sum) {
        return Err(TableError::invalid("has another number of rows than its groups"));
    }
    if sum > max_rows {
        return Err(TableError::too_large(format!(
            "has {sum} rows; at most {max_rows} are read"
        )));
    }
    Ok(sum)
}

impl<'a> Group<'a> {
    pub(super) fn new(
        source: &'a Source,
        metadata: &'a ParquetMetaData,
        at: usize,
        budget: Arc<Budget>,
    ) -> Self {
        Self {
            source,
            metadata,
            at,
            budget,
        }
    }

    fn group(&self) -> Option<&'a RowGroupMetaData> {
        self.metadata.row_groups().get(self.at)
    }

    /// How many rows of these top-level columns take about so much memory, by what the footer says; at least 1.
    pub(super) fn rows_within(&self, bytes: u64, roots: &[usize]) -> usize {
        let Some(group) = self.group() else { return 1 };
        let schema = self.metadata.file_metadata().schema_descr();
        let rows = u64::try_from(group.num_rows()).unwrap_or_default().max(1);
        let mut per_row = 1_u64;
        for (leaf, chunk) in group.columns().iter().enumerate() {
            if !roots.contains(&schema.get_column_root_idx(leaf)) {
                continue;
            }
            let fixed = u64::try_from(chunk.column_descr().type_length()).unwrap_or_default();
            let values = u64::try_from(chunk.num_values())
                .unwrap_or_default()
                .div_ceil(rows);
            let packed = u64::try_from(chunk.uncompressed_size())
                .unwrap_or_default()
                .div_ceil(rows);
            let decoded = values.max(1).saturating_mul(VALUE_BYTES.max(fixed));
            per_row = per_row.saturating_add(packed.max(decoded));
        }
        usize::try_from(bytes / per_row).unwrap_or(usize::MAX).max(1)
    }
}

impl RowGroups for Group<'_> {
    fn num_rows(&self) -> usize {
        let rows = self.group().map(RowGroupMetaData::num_rows);
        rows.and_then(|rows| usize::try_from(rows).ok())
            .unwrap_or_default()
    }

    fn column_chunks(&self, leaf: usize) -> ParquetResult<Box<dyn PageIterator>> {
        let group = self.group().filter(|group| leaf < group.num_columns());
        let group = group.ok_or_else(|| fault("has no such column"))?;
        let rows = self.num_rows() as u64;
        let pages = Pages::new(self.source, group.column(leaf), rows, self.budget.clone()).map_err(fault)?;
        Ok(Box::new(Chunk(Some(pages))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.group().into_iter())
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.metadata
    }
}
