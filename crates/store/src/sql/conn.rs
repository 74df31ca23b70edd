//! A connection, and the two things it can be in: a reader or the transaction of a write.

use std::{
    fmt::Write as _,
    ops::{ControlFlow, Deref, DerefMut},
};

use futures::TryStreamExt;
use lodeway_domain::{Error, Result};
use sqlx::Executor as _;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Arg, Engine, Row,
    arg::{Cells, postgres_args},
    error::sorted_sqlite,
    postgres::kept::{Lease, within},
    sqlite::{connection::Connection, readers::Pooled},
};

/// A connection with its state; what readers and transactions have in common.
pub struct Conn {
    // Before the permit: fields drop in order, and the next caller should find the connection given back.
    link: Link,
    permit: Option<OwnedSemaphorePermit>,
    /// Set by a failed statement inside a transaction, which then can only be rolled back.
    failed: bool,
    in_transaction: bool,
}

pub(super) enum Link {
    SqliteWriter(Box<Connection>),
    SqliteReader(Pooled),
    Postgres(Lease),
}

/// Values in one statement: on SQLite, where each is bound by itself and more become slow,
const MAX_BOUND: usize = 2000;
/// and on PostgreSQL, where they are in arrays and this only bounds memory.
const MAX_IN_ARRAYS: usize = 65_536;

enum Open<'c> {
    Writer(&'c mut Connection),
    Reader(&'c mut Pooled),
    Postgres(&'c mut Lease),
}

impl Link {
    fn open(&mut self) -> Open<'_> {
        match self {
            Self::SqliteWriter(c) => Open::Writer(c),
            Self::SqliteReader(c) => Open::Reader(c),
            Self::Postgres(c) => Open::Postgres(c),
        }
    }
}

impl Conn {
    pub(super) fn new(link: Link, permit: Option<OwnedSemaphorePermit>) -> Self {
        // What a failed read on SQLite leaves behind does not matter to the next one, in a snapshot or not.
        let in_transaction = match &link {
            Link::SqliteWriter(_) => true,
            Link::SqliteReader(_) => false,
            Link::Postgres(lease) => lease.in_transaction(),
        };
        Self {
            link,
            permit,
            failed: false,
            in_transaction,
        }
    }

    pub(super) fn into_parts(self) -> (Link, Option<OwnedSemaphorePermit>) {
        (self.link, self.permit)
    }

    pub(super) fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    pub(super) fn recover(&mut self) {
        self.failed = false;
    }

    /// Which engine it talks to.
    pub fn engine(&self) -> Engine {
        match self.link {
            Link::SqliteWriter(_) | Link::SqliteReader(_) => Engine::Sqlite,
            Link::Postgres(_) => Engine::Postgres,
        }
    }

    fn check(&self) -> Result<()> {
        if self.failed {
            return Err(Error::internal("an earlier statement of this transaction failed"));
        }
        Ok(())
    }

    fn note<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.failed = self.in_transaction;
        }
        result
    }

    /// All rows of a statement; bound it with LIMIT, or use [`Conn::for_each`].
    pub async fn query(&mut self, sql: &str, args: &[Arg<'_>]) -> Result<Vec<Row>> {
        self.check()?;
        let rows = match self.link.open() {
            Open::Writer(c) => c.query(sql, args).map_err(sorted_sqlite),
            Open::Reader(c) => c.query(sql, args).await,
            Open::Postgres(lease) => {
                let statement = sqlx::query_with(sql, postgres_args(args)?);
                let rows = within(lease.limit(), statement.fetch_all(lease.open()?)).await;
                lease
                    .done(rows)
                    .map(|rows| rows.into_iter().map(|r| Row(Cells::Postgres(r))).collect())
            }
        };
        self.note(rows)
    }

    /// The first row of a statement, if there is one; the statement runs to its end.
    pub async fn query_opt(&mut self, sql: &str, args: &[Arg<'_>]) -> Result<Option<Row>> {
        // Not sqlx's `fetch_optional`, which stops at the first row and would leave a writing statement half done.
        Ok(self.query(sql, args).await?.into_iter().next())
    }

    /// The only row of a statement that always gives one, such as a count or an INSERT with RETURNING.
    pub async fn query_one(&mut self, sql: &str, args: &[Arg<'_>]) -> Result<Row> {
        self.query_opt(sql, args)
            .await?
            .ok_or_else(|| Error::internal("a statement gave no row"))
    }

    /// Gives the rows one by one to `each` as they come, until it breaks or fails; memory stays flat.
    pub async fn for_each(
        &mut self,
        sql: &str,
        args: &[Arg<'_>],
        mut each: impl FnMut(Row) -> Result<ControlFlow<()>> + Send,
    ) -> Result<()> {
        self.check()?;
        // A failure of `each` is none of the statement's, so it leaves the transaction usable.
        let mut refused = None;
        let mut each = |row| {
            each(row).unwrap_or_else(|error| {
                refused = Some(error);
                ControlFlow::Break(())
            })
        };
        let outcome = match self.link.open() {
            Open::Writer(c) => c.each(sql, args, each).map_err(sorted_sqlite),
            Open::Reader(c) => c.each(sql, args, each).await,
            Open::Postgres(lease) => {
                let limit = lease.limit();
                let mut rows = sqlx::query_with(sql, postgres_args(args)?).fetch(lease.open()?);
                let outcome = loop {
                    match within(limit, rows.try_next()).await {
                        Ok(Some(row)) => {
                            if each(Row(Cells::Postgres(row))).is_break() {
                                break Ok(());
                            }
                        }
                        Ok(None) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                };
                drop(rows);
                lease.done(outcome)
            }
        };
        self.note(outcome)?;
        refused.map_or(Ok(()), Err)
    }

    /// Runs a statement; how many rows it changed.
    pub async fn execute(&mut self, sql: &str, args: &[Arg<'_>]) -> Result<u64> {
        self.check()?;
        let done = match self.link.open() {
            Open::Writer(c) => c.execute(sql, args).map_err(sorted_sqlite),
            Open::Reader(c) => c.execute(sql, args).await,
            Open::Postgres(lease) => {
                let statement = sqlx::query_with(sql, postgres_args(args)?);
                let done = within(lease.limit(), statement.execute(lease.open()?)).await;
                lease.done(done).map(|d| d.rows_affected())
            }
        };
        self.note(done)
    }

    /// Inserts one row and gives its number: the value of `id`, a column of the migrations' type `{{id}}` or `{{seq}}`.
    ///
    /// `sql` ends before a RETURNING, and has no ON CONFLICT. SQLite knows the last row's number by itself, which is cheaper
    /// than the trigger that a RETURNING is there.
    pub async fn insert(&mut self, sql: &str, id: &str, args: &[Arg<'_>]) -> Result<i64> {
        if let Open::Postgres(_) = self.link.open() {
            let sql = format!("{sql} RETURNING {id}");
            return self.query_one(&sql, args).await?.int(0);
        }
        self.execute(sql, args).await?;
        match self.link.open() {
            Open::Writer(c) => Ok(c.last_row()),
            _ => Err(Error::internal("readers insert nothing")),
        }
    }

    /// Runs statements separated by `;` that take no arguments, such as a migration.
    pub async fn execute_script(&mut self, sql: &str) -> Result<()> {
        self.check()?;
        let done = match self.link.open() {
            Open::Writer(c) => c.script(sql).map_err(sorted_sqlite),
            Open::Reader(c) => c.script(sql).await,
            Open::Postgres(lease) => {
                let done = lease.open()?.execute(sqlx::raw_sql(sql)).await;
                lease.done(done).map(drop)
            }
        };
        self.note(done)
    }

    /// Inserts any number of rows; how many were inserted or updated.
    ///
    /// `into` is such as `INSERT INTO t (a, b)`, `args` the rows one after the other with `columns` values each, `end`
    /// such as `ON CONFLICT DO NOTHING` (or empty; its own `$N` are not possible). With `DO UPDATE`, no row may come twice.
    ///
    /// On PostgreSQL they go as one array a column, in one statement whose text does not depend on their number; on SQLite
    /// in chunks of a few fixed shapes. So every statement stays prepared.
    pub async fn insert_many(
        &mut self,
        into: &str,
        columns: usize,
        end: &str,
        args: &[Arg<'_>],
    ) -> Result<u64> {
        if columns == 0 || !args.len().is_multiple_of(columns) {
            return Err(Error::internal(format!(
                "{} values are no rows of {columns} columns",
                args.len()
            )));
        }
        let mut count = 0;
        if self.engine() == Engine::Postgres {
            for chunk in args.chunks((MAX_IN_ARRAYS / columns).max(1) * columns) {
                let (sql, arrays) = unnested(into, columns, end, chunk);
                count += self.execute(&sql, &arrays).await?;
            }
            return Ok(count);
        }
        let most = (MAX_BOUND / columns).max(1);
        let mut rest = args;
        while !rest.is_empty() {
            let rows = shape(rest.len() / columns, most);
            let (chunk, after) = rest.split_at(rows * columns);
            count += self.execute(&values(into, columns, rows, end), chunk).await?;
            rest = after;
        }
        Ok(count)
    }
}

/// The statement that inserts rows out of arrays, one a column.
fn unnested<'a>(into: &str, columns: usize, end: &str, args: &[Arg<'a>]) -> (String, Vec<Arg<'a>>) {
    let mut sql = String::with_capacity(into.len() + end.len() + 32 + columns * 24);
    sql.push_str(into);
    sql.push_str(" SELECT * FROM unnest(");
    let mut arrays = Vec::with_capacity(columns);
    for column in 0..columns {
        let values: Vec<Arg<'a>> = args.iter().skip(column).step_by(columns).cloned().collect();
        // BIGINT becomes TEXT and DOUBLE PRECISION where a column is NULL in every row.
        let kind = values.iter().find_map(Arg::array_type).unwrap_or("BIGINT[]");
        let comma = if column == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(sql, "{comma}CAST(${} AS {kind})", column + 1);
        arrays.push(Arg::Column(values));
    }
    sql.push_str(") ");
    sql.push_str(end);
    (sql, arrays)
}

/// How many of `rows` go into the next chunk: `most`, else the greatest power of two.
fn shape(rows: usize, most: usize) -> usize {
    if rows >= most {
        most
    } else {
        1 << rows.max(1).ilog2()
    }
}

fn values(into: &str, columns: usize, rows: usize, end: &str) -> String {
    let mut sql = String::with_capacity(into.len() + end.len() + 8 + rows * columns * 6);
    sql.push_str(into);
    sql.push_str(" VALUES ");
    for n in 0..rows * columns {
        sql.push_str(match (n, n % columns) {
            (0, _) => "($",
            (_, 0) => "),($",
            _ => ",$",
        });
        // Writing to a String cannot fail.
        let _ = write!(sql, "{}", n + 1);
    }
    sql.push_str(") ");
    sql.push_str(end);
    sql
}

/// A connection for reading; it goes back to its pool when dropped.
pub struct Reader(pub(super) Conn);

impl Deref for Reader {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.0
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.0
    }
}

/// The transaction of one write operation.
pub struct Tx {
    pub(super) conn: Conn,
    pub(super) wakes: bool,
}

impl Tx {
    pub(super) fn new(conn: Conn) -> Self {
        Self { conn, wakes: false }
    }

    /// Holds `name` alone until the commit; waits for the operation that holds it. At once on SQLite, which has one
    /// writer anyway.
    pub async fn lock(&mut self, name: &str) -> Result<()> {
        self.take_lock("pg_advisory_xact_lock", name).await
    }

    /// Holds `name` until the commit beside others who hold it like this, and nobody who holds it alone.
    pub async fn lock_shared(&mut self, name: &str) -> Result<()> {
        self.take_lock("pg_advisory_xact_lock_shared", name).await
    }

    async fn take_lock(&mut self, function: &str, name: &str) -> Result<()> {
        if self.conn.engine() == Engine::Postgres {
            // The schema is part of the name: services share the locks of a database.
            let sql = format!("SELECT {function}(hashtextextended(current_schema() || '.' || $1, 0))");
            self.conn.query(&sql, &[Arg::from(name)]).await?;
        }
        Ok(())
    }

    /// Wakes those who wait on [`super::Db::wakeups`] once this is committed.
    pub fn wake_after_commit(&mut self) {
        self.wakes = true;
    }
}

impl Deref for Tx {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.conn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_have_few_shapes() {
        assert_eq!(shape(1000, 225), 225);
        assert_eq!(shape(100, 225), 64);
        assert_eq!(shape(36, 225), 32);
        assert_eq!(shape(1, 225), 1);
        assert_eq!(
            values("INSERT INTO t (a, b)", 2, 2, ""),
            "INSERT INTO t (a, b) VALUES ($1,$2),($3,$4) "
        );
    }
}
