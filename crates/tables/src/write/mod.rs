//! Writing tables.

mod csv;
mod json;
mod parquet;
mod rows;

use std::io::{self, Write};

use self::{csv::Csv, json::Json, parquet::Parquet};
use crate::{Batch, Column, Format, Result, Schema, TableError};

/// How to write a table; [`WriteOptions::default`] suits most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOptions {
    /// How the pages of a Parquet file are compressed.
    pub compression: Compression,
    /// The most rows of a row group.
    pub group_rows: usize,
    /// The most bytes of a row group in the file, about; so much stays in memory while it is filled.
    pub group_bytes: usize,
    /// Names and values that a Parquet file keeps beside the data.
    pub notes: Vec<(String, String)>,
    /// What separates the fields of a CSV.
    pub delimiter: u8,
}

/// How pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// Fast.
    Snappy,
    /// Smaller, nearly as fast to read.
    #[default]
    Zstd,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub rows: u64,
    /// Row groups of a Parquet file; 0 for the other formats.
    pub groups: u64,
    /// The length of the file.
    pub size_bytes: u64,
}

/// Writes a table batch by batch.
///
/// What is dropped without [`Writer::finish`] is no whole file. It blocks on its output.
pub struct Writer<W: Write + Send> {
    format: Format,
    schema: Schema,
    rows: u64,
    inner: Inner<W>,
}

enum Inner<W: Write + Send> {
    Parquet(Box<Parquet<Counted<W>>>),
    Csv(Csv<Counted<W>>),
    Json(Json<Counted<W>>),
}

/// Counts what is written.
struct Counted<W> {
    out: W,
    bytes: u64,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            compression: Compression::default(),
            group_rows: 1 << 20,
            group_bytes: 64 << 20,
            notes: Vec::new(),
            delimiter: b',',
        }
    }
}

impl<W: Write + Send> Writer<W> {
    /// Begins a file of Parquet, CSV or JSON Lines. Errors: `out` fails, a format that is not written.
    ///
    /// JSON documents and texts are not told apart in Parquet; CSV keeps no types, and JSON Lines few.
    pub fn new(out: W, format: Format, schema: &Schema, options: &WriteOptions) -> Result<Self> {
        let out = Counted { out, bytes: 0 };
        let inner = match format {
            Format::Parquet => Inner::Parquet(Box::new(Parquet::new(out, schema, options)?)),
            Format::Csv => Inner::Csv(Csv::new(out, schema, options.delimiter)?),
            Format::JsonLines => Inner::Json(Json::new(out)),
            Format::Arrow => return Err(TableError::invalid("cannot be written as arrow; write parquet")),
        };
        Ok(Self {
            format,
            schema: schema.clone(),
            rows: 0,
            inner,
        })
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Appends rows; columns are found by name. Errors: `out` fails, a column of the schema is missing or of another type
    /// or has nulls it must not have, a document that is no JSON. After an error the file is not to be used.
    pub fn write(&mut self, batch: &Batch) -> Result<()> {
        let columns = self.schema.fields().iter().enumerate().map(|(at, field)| {
            let here = batch
                .columns()
                .get(at)
                .filter(|column| column.name() == &*field.name);
            let column = here.or_else(|| batch.column(&field.name));
            let wrong = |why: String| TableError::in_column(&field.name, why);
            match column {
                None => Err(wrong("is missing".to_owned())),
                Some(column) if column.dtype() != field.dtype => Err(wrong(format!(
                    "is {}, and the schema says {}",
                    column.dtype(),
                    field.dtype
                ))),
                Some(column) if !field.is_nullable && column.nulls().is_some() => {
                    Err(wrong("has nulls, and the schema says it has none".to_owned()))
                }
                Some(column) => Ok(column),
            }
        });
        let columns: Vec<&Column> = columns.collect::<Result<_>>()?;
        match &mut self.inner {
            Inner::Parquet(parquet) => parquet.write(&columns, batch.rows())?,
            Inner::Csv(csv) => csv.write(&columns, batch.rows())?,
            Inner::Json(json) => json.write(&columns, batch.rows())?,
        }
        self.rows += batch.rows() as u64;
        Ok(())
    }

    /// Ends the file. Errors: `out` fails.
    pub fn finish(self) -> Result<Written> {
        let (groups, size_bytes) = match self.inner {
            Inner::Parquet(parquet) => parquet.finish()?,
            Inner::Csv(csv) => (0, csv.finish()?),
            Inner::Json(json) => (0, json.finish()?),
        };
        Ok(Written {
            rows: self.rows,
            groups,
            size_bytes,
        })
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write + Send> std::fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = f.debug_struct("Writer");
        text.field("format", &self.format).field("rows", &self.rows);
        text.finish_non_exhaustive()
    }
}
