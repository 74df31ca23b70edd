//! What each format does to be read, and where in a file that is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Batch, Result, Schema, TableError};

/// A place between two rows of a file from which reading can go on, as long as the file is the same.
///
/// It has a text form `ROW:PART:SKIP` to be stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Rows before it.
    pub row: u64,
    /// The row group of a Parquet file; the byte where a record batch of an Arrow file or a line of a text begins.
    pub part: u64,
    /// Rows of that part before it; 0 for texts.
    pub skip: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.row, self.part, self.skip)
    }
}

impl FromStr for Position {
    type Err = TableError;

    fn from_str(text: &str) -> Result<Self> {
        let mut numbers = text.split(':').map(str::parse);
        match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(row)), Some(Ok(part)), Some(Ok(skip)), None) => Ok(Self { row, part, skip }),
            _ => Err(TableError::invalid("a position is written as ROW:PART:SKIP")),
        }
    }
}

/// What each format does.
pub(crate) trait Decode {
    fn schema(&self) -> &Schema;
    fn rows(&self) -> Option<u64>;
    fn position(&self) -> Position;
    fn seek(&mut self, to: Position) -> Result<()>;
    fn next(&mut self) -> Result<Option<Batch>>;
}
