//! Reading a table batch by batch.

use std::fmt;

use crate::{
    Batch, Format, Options, Position, Result, Schema, Source, arrow::Arrow, decode::Decode, guard::caught,
    parquet::Parquet, text::Lines,
};

/// Reads a table batch by batch, in bounded memory; an iterator of [`Batch`]es that ends at the first error.
///
/// It blocks on its source: async callers read on a thread for blocking work.
pub struct Reader {
    decoder: Box<dyn Decode + Send>,
    format: Format,
    has_failed: bool,
}

impl Reader {
    /// Opens a table.
    ///
    /// Reads as much as the schema needs: the end of a Parquet file, the beginning of an Arrow file; CSV and JSON Lines
    /// are read up to [`Options::infer_rows`] unless all columns are hinted. Errors: a file that is damaged or not of
    /// this format, a column asked for that it does not have, a type that is not read, more than the bounds of `options`.
    pub fn open(source: impl Into<Source>, format: Format, options: &Options) -> Result<Self> {
        let source = source.into();
        let decoder = caught(|| -> Result<Box<dyn Decode + Send>> {
            Ok(match format {
                Format::Parquet => Box::new(Parquet::open(source, options)?),
                Format::Arrow => Box::new(Arrow::open(source, options)?),
                Format::Csv | Format::JsonLines => Box::new(Lines::open(source, format, options)?),
            })
        })?;
        Ok(Self {
            decoder,
            format,
            has_failed: false,
        })
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Names and types of the columns that are read.
    pub fn schema(&self) -> &Schema {
        self.decoder.schema()
    }

    /// How many rows there are, all in all; `None` where only reading to the end tells.
    pub fn rows(&self) -> Option<u64> {
        self.decoder.rows()
    }

    /// Where the next batch begins.
    pub fn position(&self) -> Position {
        self.decoder.position()
    }

    /// Goes on from a position that a reader of the same file gave. Errors: a position that the file cannot have.
    pub fn seek(&mut self, to: Position) -> Result<()> {
        let sought = caught(|| self.decoder.seek(to));
        self.has_failed = sought.is_err();
        sought
    }
}

impl Iterator for Reader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let next = caught(|| self.decoder.next());
        self.has_failed = next.is_err();
        next.transpose()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Reader");
        text.field("format", &self.format)
            .field("position", &self.position());
        text.finish_non_exhaustive()
    }
}
