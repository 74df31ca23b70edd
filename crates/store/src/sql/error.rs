//! What can go wrong in a database, sorted by what can be done about it.

use std::{fmt, path::PathBuf};

use lodeway_domain::Error;

/// Why a database cannot be opened or brought to this program's schema; for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The address cannot be read.
    #[error("the database address {reason}")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// The schema's name is no lower-case word.
    #[error("`{schema}` is not a schema name (a-z and _)")]
    Schema {
        /// The name.
        schema: String,
    },
    /// Another process has the file open.
    #[error("the database file `{}` is in use by another process; stop it or choose another folder", path.display())]
    Locked {
        /// The database file.
        path: PathBuf,
    },
    /// A file or folder cannot be made or opened.
    #[error("cannot open `{}`: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A newer program has changed the tables.
    #[error(
        "`{component}` in this database has schema {found}, and this program knows {known}; use a newer program"
    )]
    NewerSchema {
        /// Whose tables.
        component: String,
        /// The schema in the database.
        found: i64,
        /// The newest schema of this program.
        known: i64,
    },
    /// An applied migration is not the one that this program has under its number.
    #[error(
        "migration {version} of `{component}` was applied with another text; this database belongs to another program"
    )]
    ChangedMigration {
        /// Whose tables.
        component: String,
        /// Its number.
        version: i64,
    },
    /// The database does not answer or refuses.
    #[error("the database failed: {}", told(.0))]
    Database(Error),
}

/// A fault with its cause, which is all there is to say of an internal one.
fn told(error: &Error) -> String {
    match (error, error.cause()) {
        (_, None) => error.to_string(),
        (Error::Internal(_), Some(cause)) => cause.to_string(),
        (_, Some(cause)) => format!("{error} ({cause})"),
    }
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

/// What kind of failure a statement had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqlErrorKind {
    /// A unique key exists already.
    Unique,
    /// The operation lost against another and can be repeated.
    Retry,
    /// The connection is gone.
    Connection,
    /// The engine cannot work now: starting, stopping, out of memory.
    Unavailable,
    /// There is no room left where the engine keeps its files.
    Full,
    /// The file is damaged.
    Damaged,
    /// A fault of the program.
    Other,
}

/// A failed statement: the cause inside a domain error, for the log.
#[derive(Debug)]
pub struct SqlError {
    kind: SqlErrorKind,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl SqlError {
    /// What kind of failure it was.
    pub fn kind(&self) -> SqlErrorKind {
        self.kind
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)
    }
}

impl std::error::Error for SqlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

/// The kind of the SQL failure behind `error`, if there is one.
pub(super) fn kind_of(error: &Error) -> Option<SqlErrorKind> {
    error.cause()?.downcast_ref::<SqlError>().map(SqlError::kind)
}

/// Whether `error` comes from a violated unique key.
pub fn is_unique(error: &Error) -> bool {
    kind_of(error) == Some(SqlErrorKind::Unique)
}

pub(super) fn is_broken_connection(error: &Error) -> bool {
    kind_of(error) == Some(SqlErrorKind::Connection)
}

pub(super) fn is_retry(error: &Error) -> bool {
    kind_of(error) == Some(SqlErrorKind::Retry)
}

const DISK_FULL: &str = "the disk of the database is full";

/// What an operation is told that was lost with the commit of others, which failed with `error`.
pub(super) fn lost(error: &Error) -> Error {
    const WHAT: &str = "the commit failed";
    match kind_of(error) {
        Some(SqlErrorKind::Full) => Error::unavailable(DISK_FULL, WHAT),
        _ => unavailable(WHAT),
    }
}

/// A database that cannot be used because of `what`.
pub(super) fn unavailable(what: &'static str) -> Error {
    Error::unavailable("the database does not answer", what)
}

/// A PostgreSQL to which no connection could be made in all the time there was, because of `why`.
pub(super) fn unreachable(why: String) -> Error {
    of_kind(SqlErrorKind::Unavailable, why.into())
}

/// Sorts a failure of PostgreSQL.
pub(super) fn sorted(source: sqlx::Error) -> Error {
    of_kind(kind(&source), source.into())
}

/// Sorts a failure of SQLite.
pub(super) fn sorted_sqlite(source: rusqlite::Error) -> Error {
    match &source {
        rusqlite::Error::SqliteFailure(error, _)
            if error.code == rusqlite::ErrorCode::OperationInterrupted =>
        {
            Error::DeadlineExceeded
        }
        rusqlite::Error::SqliteFailure(error, _) => of_kind(sqlite_kind(error.extended_code), source.into()),
        _ => of_kind(SqlErrorKind::Other, source.into()),
    }
}

fn of_kind(kind: SqlErrorKind, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    let cause = SqlError { kind, source };
    match kind {
        SqlErrorKind::Unique | SqlErrorKind::Other => Error::internal(cause),
        SqlErrorKind::Retry => Error::unavailable("the database is too contended", cause),
        SqlErrorKind::Connection | SqlErrorKind::Unavailable => {
            Error::unavailable("the database does not answer", cause)
        }
        // Reading goes on, and writing as soon as somebody makes room: not the caller's limit, but the operator's.
        SqlErrorKind::Full => Error::unavailable(DISK_FULL, cause),
        SqlErrorKind::Damaged => {
            tracing::error!(error = %cause, "the database file is damaged");
            Error::DataLoss("the database file is damaged; restore it from a backup".to_owned())
        }
    }
}

fn kind(error: &sqlx::Error) -> SqlErrorKind {
    use sqlx::Error as E;
    match error {
        E::Io(_) | E::Tls(_) | E::Protocol(_) => SqlErrorKind::Connection,
        E::PoolTimedOut | E::PoolClosed | E::BeginFailed => SqlErrorKind::Unavailable,
        E::Database(e) if e.is_unique_violation() => SqlErrorKind::Unique,
        E::Database(e) => postgres_kind(&e.code().unwrap_or_default()),
        _ => SqlErrorKind::Other,
    }
}

/// Source: PostgreSQL manual, appendix A, "PostgreSQL Error Codes".
fn postgres_kind(code: &str) -> SqlErrorKind {
    match code {
        "40001" | "40P01" | "55P03" => SqlErrorKind::Retry,
        "57P01" | "57P02" => SqlErrorKind::Connection,
        "57014" | "57P03" | "25006" => SqlErrorKind::Unavailable,
        "53100" => SqlErrorKind::Full,
        "XX001" | "XX002" => SqlErrorKind::Damaged,
        _ if code.starts_with("08") => SqlErrorKind::Connection,
        _ if code.starts_with("53") || code.starts_with("58") => SqlErrorKind::Unavailable,
        _ => SqlErrorKind::Other,
    }
}

/// Source: SQLite manual, "Result and Error Codes"; the low byte is the primary code.
fn sqlite_kind(code: i32) -> SqlErrorKind {
    match code {
        // CONSTRAINT_UNIQUE, CONSTRAINT_PRIMARYKEY, CONSTRAINT_ROWID
        2067 | 1555 | 2579 => return SqlErrorKind::Unique,
        // IOERR_SHMSIZE: the index of the log cannot grow, "may indicate that the volume is out of space".
        4874 => return SqlErrorKind::Full,
        _ => {}
    }
    match code & 0xff {
        5 | 6 => SqlErrorKind::Retry,
        // FULL, which is what ENOSPC becomes too.
        13 => SqlErrorKind::Full,
        // NOMEM, READONLY, IOERR, CANTOPEN, PROTOCOL, NOLFS
        7 | 8 | 10 | 14 | 15 | 22 => SqlErrorKind::Unavailable,
        11 | 26 => SqlErrorKind::Damaged,
        _ => SqlErrorKind::Other,
    }
}
