//! How reading or writing a table fails.

use std::{fmt, io};

use lodeway_domain::Error;

/// The result of reading or writing a table.
pub type Result<T, E = TableError> = std::result::Result<T, E>;

/// Why a table could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The file, the disk or the connection behind the table failed.
    #[error("the table could not be reached")]
    Io(#[from] io::Error),
    /// The table is damaged, or not what was asked for.
    #[error("{0}")]
    Invalid(Fault),
    /// The table is beyond a bound that the caller set.
    #[error("{0}")]
    TooLarge(Fault),
}

/// What is wrong and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The name of the column, if it is one column's fault.
    pub column: Option<String>,
    /// Where in the file, as far as that is known.
    pub place: Option<Place>,
    /// What is wrong, lower case, no full stop.
    pub why: String,
}

/// A place in a table, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A row.
    Row(u64),
    /// A row group of a Parquet file, or a record batch of an Arrow file.
    Group(u64),
    /// A byte of the file.
    Byte(u64),
}

impl Fault {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self {
            column: None,
            place: None,
            why: why.into(),
        }
    }

    pub(crate) fn column(mut self, name: &str) -> Self {
        self.column = Some(name.to_owned());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(column) = &self.column {
            write!(f, "column `{}`: ", clip(column))?;
        }
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.why)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(row) => write!(f, "row {row}"),
            Self::Group(group) => write!(f, "group {group}"),
            Self::Byte(byte) => write!(f, "byte {byte}"),
        }
    }
}

impl TableError {
    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid(Fault::new(why))
    }

    pub(crate) fn in_column(name: &str, why: impl Into<String>) -> Self {
        Self::Invalid(Fault::new(why).column(name))
    }

    pub(crate) fn too_large(why: impl Into<String>) -> Self {
        Self::TooLarge(Fault::new(why))
    }

    /// The same error with a place, unless it has one.
    pub(crate) fn at(mut self, place: Place) -> Self {
        if let Self::Invalid(fault) | Self::TooLarge(fault) = &mut self {
            fault.place.get_or_insert(place);
        }
        self
    }

    /// The same error with a column, unless it has one.
    pub(crate) fn of(mut self, name: &str) -> Self {
        if let Self::Invalid(fault) | Self::TooLarge(fault) = &mut self {
            fault.column.get_or_insert_with(|| name.to_owned());
        }
        self
    }
}

/// What a caller is told: a bad table is `INVALID_FIELD` at `columns["NAME"]` or `table`, a bound `LIMIT_EXCEEDED`, and
/// the rest the server's fault.
impl From<TableError> for Error {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Io(cause) => Self::internal(cause),
            TableError::TooLarge(fault) => Self::Exhausted {
                message: fault.to_string(),
                retry_after: None,
            },
            TableError::Invalid(Fault { column, place, why }) => {
                let field = column.map_or("table".to_owned(), |name| format!("columns[\"{}\"]", clip(&name)));
                let why = place.map_or(why.clone(), |place| format!("{place}: {why}"));
                Self::invalid(field, why)
            }
        }
    }
}

/// The beginning of a text that somebody else made up, for a message.
pub(crate) fn clip(text: &str) -> &str {
    const LONGEST: usize = 64;
    text.char_indices()
        .nth(LONGEST)
        .and_then(|(end, _)| text.get(..end))
        .unwrap_or(text)
}
