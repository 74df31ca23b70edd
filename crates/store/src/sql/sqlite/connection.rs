//! One connection to an SQLite file: statements run on the calling thread, each with a time after which it is ended.

use std::{
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{
    CachedStatement, ErrorCode, OpenFlags, ToSql,
    config::DbConfig,
    types::{ToSqlOutput, ValueRef},
};

use super::super::{
    Arg, Row,
    arg::{Cell, Cells, Values},
};

/// Steps of SQLite's machine between two looks at the clock: some tens of microseconds.
const STEPS_PER_LOOK: i32 = 1000;

/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 128;

pub(in crate::sql) struct Connection {
    inner: rusqlite::Connection,
    limit: Arc<Limit>,
}

/// When the running statement is to end; shared with the engine's progress callback.
pub(super) struct Limit {
    start: Instant,
    /// Microseconds after `start`.
    until_us: AtomicU64,
    abandoned: AtomicBool,
}

impl Limit {
    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn is_over(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed) || self.now_us() > self.until_us.load(Ordering::Relaxed)
    }

    /// Ends the running statement: nobody waits for it.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

impl Connection {
    /// Opens a file that need not exist yet if `create`, and runs `pragmas`.
    pub(super) fn open(path: &Path, create: bool, pragmas: &str) -> rusqlite::Result<Self> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
        let mut inner = rusqlite::Connection::open_with_flags(path, flags)?;
        inner.busy_timeout(Duration::from_secs(5))?;
        inner.set_prepared_statement_cache_capacity(STATEMENTS);
        // A plan that may depend on arguments is made anew with every new argument, which took half of a search's time.
        inner.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        inner.execute_batch(pragmas)?;
        let limit = Arc::new(Limit {
            start: Instant::now(),
            until_us: AtomicU64::new(u64::MAX),
            abandoned: AtomicBool::new(false),
        });
        let watched = Arc::clone(&limit);
        inner.progress_handler(STEPS_PER_LOOK, Some(move || watched.is_over()))?;
        Ok(Self { inner, limit })
    }

    /// Gives what follows `time` from now; a statement that runs longer fails as [`is_interrupted`].
    pub(super) fn allow(&self, time: Duration) {
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.limit
            .until_us
            .store(self.limit.now_us().saturating_add(time), Ordering::Relaxed);
        self.limit.abandoned.store(false, Ordering::Relaxed);
    }

    /// By which another thread can end what runs here.
    pub(super) fn limit(&self) -> Arc<Limit> {
        Arc::clone(&self.limit)
    }

    /// Gives the rows of a statement one by one to `each`, until it breaks.
    pub(in crate::sql) fn each(
        &self,
        sql: &str,
        args: &[Arg<'_>],
        mut each: impl FnMut(Row) -> ControlFlow<()>,
    ) -> rusqlite::Result<()> {
        let mut statement = self.prepare(sql, args)?;
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        let mut bytes = Vec::new();
        while let Some(row) = rows.next()? {
            if each(copy(row, columns, &mut bytes)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// All rows of a statement.
    pub(in crate::sql) fn query(&self, sql: &str, args: &[Arg<'_>]) -> rusqlite::Result<Vec<Row>> {
        let mut rows = Vec::new();
        self.each(sql, args, |row| {
            rows.push(row);
            ControlFlow::Continue(())
        })?;
        Ok(rows)
    }

    /// Runs a statement to its end; how many rows it changed.
    pub(in crate::sql) fn execute(&self, sql: &str, args: &[Arg<'_>]) -> rusqlite::Result<u64> {
        let mut statement = self.prepare(sql, args)?;
        let mut rows = statement.raw_query();
        while rows.next()?.is_some() {}
        drop(rows);
        // The engine repeats the count of the last change for what changes nothing.
        Ok(if statement.readonly() {
            0
        } else {
            self.inner.changes()
        })
    }

    /// The number of the row that was inserted last.
    pub(in crate::sql) fn last_row(&self) -> i64 {
        self.inner.last_insert_rowid()
    }

    /// Runs statements without arguments, separated by `;`.
    pub(in crate::sql) fn script(&self, sql: &str) -> rusqlite::Result<()> {
        self.inner.execute_batch(sql)
    }

    /// Whether a transaction is open.
    pub(super) fn is_in_transaction(&self) -> bool {
        !self.inner.is_autocommit()
    }

    pub(super) fn close(self) -> rusqlite::Result<()> {
        self.inner.close().map_err(|(_, error)| error)
    }

    fn prepare(&self, sql: &str, args: &[Arg<'_>]) -> rusqlite::Result<CachedStatement<'_>> {
        if self.limit.is_over() {
            return Err(interrupted());
        }
        let mut statement = self.inner.prepare_cached(&translated(sql))?;
        for (i, arg) in args.iter().enumerate() {
            statement.raw_bind_parameter(i + 1, arg)?;
        }
        Ok(statement)
    }
}

/// Whether a statement was ended because its time was over.
pub(in crate::sql) fn is_interrupted(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}

fn interrupted() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_INTERRUPT), None)
}

/// The same statement in SQLite's own words.
///
/// `$1` outside of quotes becomes `?1`: for SQLite `$1` is a name, and looking names up takes a time that grows with the
/// square of their number. A failing INSERT or UPDATE may leave its work half done (`OR FAIL`), as its operation is rolled
/// back whole: else SQLite copies every page that it changes, in case that statement alone must be undone.
fn translated(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len() + 8);
    let mut rest = sql;
    for word in ["INSERT", "UPDATE"] {
        if let Some(after) = sql.strip_prefix(word)
            && after.starts_with(' ')
        {
            out.push_str(word);
            out.push_str(" OR FAIL");
            rest = after;
        }
    }
    let bytes = rest.as_bytes();
    let (mut copied, mut is_quoted) = (0, false);
    for at in memchr::memchr2_iter(b'$', b'\'', bytes) {
        if bytes[at] == b'\'' {
            is_quoted = !is_quoted;
        } else if !is_quoted && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
            out.push_str(&rest[copied..at]);
            out.push('?');
            copied = at + 1;
        }
    }
    out.push_str(&rest[copied..]);
    out
}

impl ToSql for Arg<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(v) => ValueRef::Integer(*v),
            Self::Real(v) => ValueRef::Real(*v),
            Self::Bool(v) => ValueRef::Integer(i64::from(*v)),
            Self::Text(v) => ValueRef::Text(v.as_bytes()),
            Self::Bytes(v) => ValueRef::Blob(v),
            Self::Ints(_) | Self::Texts(_) | Self::Column(_) => {
                return Err(rusqlite::Error::ToSqlConversionFailure(
                    "SQLite has no arrays".into(),
                ));
            }
        }))
    }
}

/// Copies a row out of the engine: its cells, and one piece of memory for all texts and bytes in it.
fn copy(row: &rusqlite::Row<'_>, columns: usize, bytes: &mut Vec<u8>) -> rusqlite::Result<Row> {
    bytes.clear();
    let mut cells = Vec::with_capacity(columns);
    for i in 0..columns {
        let start = bytes.len();
        cells.push(match row.get_ref(i)? {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(v) => Cell::Int(v),
            ValueRef::Real(v) => Cell::Real(v),
            ValueRef::Text(v) => {
                bytes.extend_from_slice(v);
                Cell::Text(start, bytes.len())
            }
            ValueRef::Blob(v) => {
                bytes.extend_from_slice(v);
                Cell::Bytes(start, bytes.len())
            }
        });
    }
    Ok(Row(Cells::Sqlite(Values {
        cells: cells.into(),
        bytes: bytes.as_slice().into(),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_numbered_outside_of_quotes() {
        let sql = "SELECT '$1', 'it''s $2', $12 WHERE a = $1 AND j ->> '$.x' = $3 || '$'";
        assert_eq!(
            translated(sql),
            "SELECT '$1', 'it''s $2', ?12 WHERE a = ?1 AND j ->> '$.x' = ?3 || '$'"
        );
        assert_eq!(translated("SELECT 1"), "SELECT 1");
        let (insert, update) = ("INSERT INTO t VALUES ($1)", "UPDATE t SET a = $1");
        assert_eq!(translated(insert), "INSERT OR FAIL INTO t VALUES (?1)");
        assert_eq!(translated(update), "UPDATE OR FAIL t SET a = ?1");
        assert_eq!(translated("UPDATED"), "UPDATED");
    }

    #[test]
    fn a_statement_ends_when_its_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(&folder.path().join("t.db"), true, "").unwrap();
        let endless =
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n";
        connection.allow(Duration::from_millis(20));
        let Err(error) = connection.query(endless, &[]) else {
            panic!("counted to infinity")
        };
        assert!(is_interrupted(&error), "{error}");
        // The next one needs time of its own.
        assert!(
            connection
                .query("SELECT 1", &[])
                .is_err_and(|e| is_interrupted(&e))
        );
        connection.allow(Duration::from_secs(1));
        assert_eq!(connection.query("SELECT 7", &[]).unwrap()[0].int(0).unwrap(), 7);

        connection.allow(Duration::from_secs(60));
        let limit = connection.limit();
        let other = std::thread::spawn(move || limit.abandon());
        assert!(connection.query(endless, &[]).is_err_and(|e| is_interrupted(&e)));
        other.join().unwrap();
    }

    #[test]
    fn rows_keep_every_kind_of_value() {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(&folder.path().join("t.db"), true, "").unwrap();
        let args = [
            Arg::Null,
            Arg::Int(-3),
            Arg::Real(0.5),
            Arg::Bool(true),
            Arg::from("ä"),
            Arg::from(&[0_u8, 255]),
            Arg::from(""),
        ];
        let rows = connection
            .query("SELECT $1, $2, $3, $4, $5, $6, $7", &args)
            .unwrap();
        let row = &rows[0];
        assert_eq!(row.columns(), 7);
        assert_eq!(row.opt_int(0).unwrap(), None);
        assert!(row.int(0).is_err());
        assert_eq!(row.int(1).unwrap(), -3);
        assert_eq!(row.real(2).unwrap(), 0.5);
        assert!(row.bool(3).unwrap());
        assert_eq!(row.str(4).unwrap(), "ä");
        assert_eq!(row.blob(5).unwrap(), [0, 255]);
        assert_eq!(row.text(6).unwrap(), "");
        assert!(row.str(1).is_err(), "a number is no text");
    }
}
