//! What a table holds, column by column.

use std::cmp::Reverse;

use lodeway_domain::monitor::{Columns, Distribution, DistributionSummary};

use crate::{Batch, Column, DataDigest, Digester, Reader, Result, Schema, Type, Value, Values};

/// Of so many columns distributions are kept, 30 KB each; of the others values are only counted.
pub const MAX_PROFILED: usize = 2048;
/// So many of the most frequent values are named.
pub const TOP_VALUES: usize = 20;

/// What a table holds.
#[derive(Debug, Clone, PartialEq)]
pub struct TableProfile {
    /// The number of rows.
    pub rows: u64,
    /// The columns, in order.
    pub columns: Vec<ColumnProfile>,
    /// The digest of the data, see [`Digester`].
    pub digest: DataDigest,
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnProfile {
    /// The name.
    pub name: String,
    /// The type.
    pub dtype: Type,
    /// Values that are null or NaN.
    pub missing: u64,
    /// The digest of the column.
    pub digest: DataDigest,
    /// How the values are distributed: numbers, times in milliseconds since 1970, texts and truth values; nothing but what
    /// is missing for bytes and documents. `None` beyond [`MAX_PROFILED`] columns.
    pub distribution: Option<Distribution>,
}

/// Takes in a table batch by batch; memory does not grow with rows.
#[derive(Debug)]
pub struct Profiler {
    schema: Schema,
    rows: u64,
    columns: Vec<(u64, Option<Distribution>)>,
    digester: Digester,
}

impl Profiler {
    /// Begins a table of these columns.
    pub fn new(schema: &Schema) -> Self {
        let column = |at: usize| (0, (at < MAX_PROFILED).then(Distribution::default));
        Self {
            schema: schema.clone(),
            rows: 0,
            columns: (0..schema.len()).map(column).collect(),
            digester: Digester::new(schema),
        }
    }

    /// Takes in the next rows. Errors: other columns than the schema's.
    pub fn add(&mut self, batch: &Batch) -> Result<()> {
        self.digester.add(batch)?;
        self.rows += batch.rows() as u64;
        for ((missing, distribution), column) in self.columns.iter_mut().zip(batch.columns()) {
            *missing += missing_in(column);
            if let Some(distribution) = distribution {
                spread(distribution, column);
            }
        }
        Ok(())
    }

    /// The profile of what was taken in.
    pub fn finish(self) -> TableProfile {
        let (digest, digests) = self.digester.finish();
        let columns = self.schema.fields().iter().zip(self.columns).zip(digests);
        let columns = columns.map(|((field, (missing, distribution)), digest)| ColumnProfile {
            name: field.name.to_string(),
            dtype: field.dtype,
            missing,
            digest,
            distribution,
        });
        TableProfile {
            rows: self.rows,
            columns: columns.collect(),
            digest,
        }
    }
}

impl TableProfile {
    /// Reads a table to its end. Errors: those of the reader.
    pub fn read(reader: &mut Reader) -> Result<Self> {
        let mut profiler = Profiler::new(reader.schema());
        for batch in reader {
            profiler.add(&batch?)?;
        }
        Ok(profiler.finish())
    }

    /// The distributions by name, as monitoring compares them with traffic; as many as it keeps.
    pub fn distributions(&self) -> Columns {
        let mut columns = Columns::default();
        for column in &self.columns {
            if let (Some(distribution), Some(slot)) = (&column.distribution, columns.column(&column.name)) {
                *slot = distribution.clone();
            }
        }
        columns
    }
}

impl ColumnProfile {
    /// Least, greatest, mean and so on.
    pub fn summary(&self) -> Option<DistributionSummary> {
        self.distribution.as_ref().map(Distribution::summary)
    }

    /// The most frequent values and how often they occur, at most [`TOP_VALUES`]; empty if these are no categories.
    pub fn top_values(&self) -> Vec<(String, u64)> {
        let categories = self
            .summary()
            .map(|summary| summary.categories)
            .unwrap_or_default();
        let mut top: Vec<_> = categories.into_iter().collect();
        top.sort_by(|one, two| (Reverse(one.1), &one.0).cmp(&(Reverse(two.1), &two.0)));
        top.truncate(TOP_VALUES);
        top
    }
}

fn missing_in(column: &Column) -> u64 {
    let nulls = column
        .nulls()
        .map_or(0, |nulls| nulls.iter().filter(|null| **null).count());
    // zeros stand under nulls, so NaN are others
    let nans = match column.values() {
        Values::Single(floats) => floats.iter().filter(|float| float.is_nan()).count(),
        Values::Double(floats) => floats.iter().filter(|float| float.is_nan()).count(),
        _ => 0,
    };
    (nulls + nans) as u64
}

fn spread(distribution: &mut Distribution, column: &Column) {
    for row in 0..column.len() {
        match column.value(row) {
            Value::Null => distribution.add_missing(),
            Value::Bool(flag) => distribution.add_bool(flag),
            Value::Int(int) => distribution.add_whole(int),
            Value::Uint(int) => match i64::try_from(int) {
                Ok(int) => distribution.add_whole(int),
                Err(_) => distribution.add_number(int as f64),
            },
            Value::Single(float) => distribution.add_number(float.into()),
            Value::Double(float) => distribution.add_number(float),
            Value::Text(text) if column.dtype() == Type::Text => distribution.add_text(text),
            Value::Text(_) | Value::Binary(_) => {}
        }
    }
}
