//! The only door to SQL: one small interface over SQLite and PostgreSQL.
//!
//! Each statement is written once, in what both engines read: `$1` arguments, `ON CONFLICT`, `RETURNING`, the types TEXT,
//! BIGINT, DOUBLE PRECISION, BOOLEAN and, in migrations, `{{bytes}}`. Where they differ there is a method on [`Engine`].
//!
//! ```no_run
//! use lodeway_store::{args, sql::{Db, DbOptions, StoreUrl}};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let url = StoreUrl::parse("sqlite:///var/lib/lodeway/tracking.db")?;
//! let db = Db::open(&url, "tracking", DbOptions::default()).await?;     // cheap to clone
//!
//! // Reads: single statements, or several in one consistent snapshot.
//! let rows = db.query("SELECT name, n FROM t WHERE n > $1 ORDER BY n", &args![7]).await?;
//! for row in &rows { let (_name, _n) = (row.str(0)?, row.int(1)?); }
//! let mut snapshot = db.snapshot().await?;
//! let _one = snapshot.query_opt("SELECT n FROM t WHERE name = $1", &args!["a"]).await?;
//!
//! // Writes: one operation, all or nothing, acknowledged once durable. The state is borrowed by the operation, which may
//! // run more than once (PostgreSQL retries deadlocks) and so must have no effect but through `tx`.
//! let names = vec!["a".to_owned(), "b".to_owned()];
//! let _count = db.write_with(names, |tx, names| Box::pin(async move {
//!     for name in names {
//!         tx.execute("INSERT INTO t (name, n) VALUES ($1, $2) ON CONFLICT DO NOTHING", &args![name, 1]).await?;
//!     }
//!     Ok(names.len())
//! })).await?;
//! # Ok(()) }
//! ```
//!
//! What a writer of statements has to know:
//! - On SQLite all operations of a database run one after the other, on one thread: an operation that waits for anything
//!   but its statements holds up all others. On PostgreSQL they run side by side in READ
//!   COMMITTED: a check that must hold until the commit takes the row with [`Engine::for_update`] (or `FOR SHARE`) or a
//!   name with [`Tx::lock`]. Take locks in one order (sort keys), or deadlocks cost retries.
//! - After any failed statement the operation cannot go on: its later statements fail and it is rolled back. So use
//!   `ON CONFLICT DO NOTHING` and look at the count, do not catch. [`is_unique`] recognises a violated unique key.
//! - An error that the operation returns rolls back its own changes only, though others may share its commit.
//! - Every statement costs a round trip on PostgreSQL: use few, fold checks into them, and [`Conn::insert_many`] for
//!   rows. Keep texts constant, so that they stay prepared: give many values as one array. Where a whole operation fits
//!   into one statement, [`Db::write_at_once`] and [`Db::change_at_once`] spare the transaction round it too.
//! - PostgreSQL infers the type of `$1` from its place; where it cannot (`SELECT $1`, `$1 IS NULL`), write
//!   `CAST($1 AS BIGINT)`. Sums of BIGINT are NUMERIC there: `CAST(SUM(n) AS BIGINT)`.
//! - LIKE is case-sensitive on both, without an escape character, and ILIKE is spelled [`Engine::like`]; case folding
//!   is ASCII on both. Text compares by bytes on both (`COLLATE "C"`). NULLs rank differently: write `NULLS LAST`.
//! - A NaN bound as [`Arg::Real`] reads back NULL on SQLite: store bits in a BIGINT where that matters.
//! - SQLite binds at most 32,766 arguments, PostgreSQL at most 65,535.
//!
//! Errors: a database that does not answer, is full or is too contended is `Unavailable`, damaged files are `DataLoss`,
//! anything else is `Internal` with an [`SqlError`] as cause. No SQL text is in what the caller sees.

mod arg;
mod array;
mod conn;
mod error;
mod postgres;
mod sqlite;
mod url;

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use lodeway_domain::Result;
use tokio::sync::watch;

pub use self::{
    arg::{Arg, Row},
    conn::{Conn, Reader, Tx},
    error::{OpenError, SqlError, SqlErrorKind, is_unique},
    url::StoreUrl,
};

/// Which database engine answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// One file per service.
    Sqlite,
    /// One schema per service.
    Postgres,
}

impl Engine {
    /// A condition `column LIKE pattern` with `%` and `_` as wildcards and no escape character, the same on both engines.
    ///
    /// `fold` ignores the case of ASCII letters, and of no others. `pattern` is a placeholder such as `$3`.
    pub fn like(self, column: &str, pattern: &str, fold: bool) -> String {
        match (self, fold) {
            (Self::Sqlite, false) => format!("{column} LIKE {pattern}"),
            (Self::Sqlite, true) => format!("lower({column}) LIKE lower({pattern})"),
            (Self::Postgres, false) => format!("{column} LIKE CAST({pattern} AS TEXT) ESCAPE ''"),
            (Self::Postgres, true) => format!(
                "lower({column} COLLATE \"C\") LIKE lower(CAST({pattern} AS TEXT) COLLATE \"C\") ESCAPE ''"
            ),
        }
    }

    /// The end of a SELECT that keeps others from changing its rows until the commit; nothing on SQLite, which has one
    /// writer.
    pub fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE",
        }
    }

    /// The end of a SELECT that keeps its rows as they are until the commit, while others may do the same.
    pub fn for_share(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR SHARE",
        }
    }
}

/// Sizes and waiting times of a database; the default suits a server.
#[derive(Debug, Clone)]
pub struct DbOptions {
    /// PostgreSQL connections for all work; further callers queue.
    pub pool_size: u32,
    /// SQLite connections for reads; further callers queue.
    pub readers: u32,
    /// SQLite operations that may wait for the writer; a full queue makes callers wait up to `queue_timeout`.
    pub queue_len: usize,
    /// How long a caller waits for its turn before it gets `Unavailable`.
    pub queue_timeout: Duration,
    /// How long connecting may take before the database counts as not answering.
    pub connect_timeout: Duration,
    /// How long one operation may run.
    pub operation_timeout: Duration,
    /// Whether PostgreSQL plans a statement once for all values. Otherwise it may plan it anew each time, as it does where
    /// it takes that to be worth it: right for searches over tables of many shapes, several times the work of a statement
    /// that looks up a few rows.
    pub plans_once: bool,
}

impl Default for DbOptions {
    fn default() -> Self {
        Self {
            pool_size: 8,
            readers: 4,
            queue_len: 1024,
            queue_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(60),
            plans_once: false,
        }
    }
}

/// How many connections in a row may turn out to be dead.
const READ_ATTEMPTS: u32 = 10;

/// A database of one service; clones share it.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    schema: String,
    pools: Pools,
    wake: watch::Sender<u64>,
}

enum Pools {
    Sqlite(sqlite::Sqlite),
    Postgres(postgres::Postgres),
}

impl Db {
    /// Opens the database of the service `schema` (`tracking`, `registry`, …): a lower-case word.
    ///
    /// SQLite: creates the file and its folder, and locks it against other processes until it is closed. PostgreSQL:
    /// connects at first use. Brings no tables: see [`crate::migrate`].
    pub async fn open(url: &StoreUrl, schema: &str, options: DbOptions) -> Result<Self, OpenError> {
        if schema.is_empty() || !schema.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            return Err(OpenError::Schema {
                schema: schema.to_owned(),
            });
        }
        let wake = watch::Sender::new(0);
        let pools = match url {
            StoreUrl::Sqlite(path) => {
                Pools::Sqlite(sqlite::Sqlite::open(path, &options, wake.clone()).await?)
            }
            StoreUrl::Postgres(url) => Pools::Postgres(postgres::Postgres::open(url, schema, &options)?),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                schema: schema.to_owned(),
                pools,
                wake,
            }),
        })
    }

    /// Which engine it is.
    pub fn engine(&self) -> Engine {
        match self.inner.pools {
            Pools::Sqlite(_) => Engine::Sqlite,
            Pools::Postgres(_) => Engine::Postgres,
        }
    }

    /// The service whose database it is.
    pub fn schema(&self) -> &str {
        &self.inner.schema
    }

    /// The file, if it is SQLite.
    pub fn path(&self) -> Option<&PathBuf> {
        match &self.inner.pools {
            Pools::Sqlite(pools) => Some(&pools.path),
            Pools::Postgres(_) => None,
        }
    }

    /// Whether its server takes calls now; a file has none that could be away. Bound it by a timeout.
    pub async fn answers(&self) -> bool {
        match &self.inner.pools {
            Pools::Sqlite(_) => true,
            Pools::Postgres(pools) => pools.answers().await,
        }
    }

    /// A connection for several reads that need not agree with each other.
    pub async fn read(&self) -> Result<Reader> {
        match &self.inner.pools {
            Pools::Sqlite(pools) => pools.read().await,
            Pools::Postgres(pools) => pools.read().await,
        }
    }

    /// A connection whose reads all see the same committed state. Drop it soon: it holds back cleaning up.
    pub async fn snapshot(&self) -> Result<Reader> {
        match &self.inner.pools {
            Pools::Sqlite(pools) => pools.snapshot().await,
            Pools::Postgres(pools) => pools.snapshot().await,
        }
    }

    /// All rows of one SELECT; bound it with LIMIT.
    pub async fn query(&self, sql: &str, args: &[Arg<'_>]) -> Result<Vec<Row>> {
        let mut left = READ_ATTEMPTS;
        loop {
            left -= 1;
            match self.read().await?.query(sql, args).await {
                // A connection that died shows only when used; a lone SELECT can be repeated.
                Err(e) if left > 0 && error::is_broken_connection(&e) => {}
                other => return other,
            }
        }
    }

    /// The first row of one SELECT, if there is one.
    pub async fn query_opt(&self, sql: &str, args: &[Arg<'_>]) -> Result<Option<Row>> {
        Ok(self.query(sql, args).await?.into_iter().next())
    }

    /// Runs one operation, all or nothing; returns once it is durable.
    ///
    /// `op` may run more than once. If this future is dropped, the operation may still happen.
    pub async fn write<T, F>(&self, op: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a mut Tx) -> BoxFuture<'a, Result<T>> + Send + Sync + 'static,
    {
        self.write_with(op, |tx, op| op(tx)).await
    }

    /// Like [`Db::write`], with a state that every run of the operation borrows, so that nothing need be cloned for it.
    pub async fn write_with<S, T, F>(&self, state: S, op: F) -> Result<T>
    where
        S: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a mut Tx, &'a S) -> BoxFuture<'a, Result<T>> + Send + Sync + 'static,
    {
        match &self.inner.pools {
            Pools::Sqlite(pools) => pools.write(state, op).await,
            Pools::Postgres(pools) => pools.write(&self.inner.wake, state, op).await,
        }
    }

    /// Runs one statement that writes, by itself: no transaction round it, which on PostgreSQL saves two round trips.
    ///
    /// The statement may run more than once, also where it had its effect already: it must do no harm then.
    pub async fn write_at_once(&self, sql: &str, args: &[Arg<'_>]) -> Result<Vec<Row>> {
        match &self.inner.pools {
            Pools::Sqlite(_) => self.write_on_sqlite(sql, args).await,
            Pools::Postgres(pools) => pools.write_at_once(sql, args, true).await,
        }
    }

    /// As [`Db::write_at_once`], for a statement that may append to the change log; call [`Db::wake`] if it did.
    ///
    /// Unless it is `repeatable`, it does not run again once it may have had its effect: a connection that breaks meanwhile
    /// is `Unavailable`.
    pub async fn change_at_once(&self, sql: &str, args: &[Arg<'_>], repeatable: bool) -> Result<Vec<Row>> {
        match &self.inner.pools {
            Pools::Sqlite(_) => self.write_on_sqlite(sql, args).await,
            Pools::Postgres(pools) => pools.change_at_once(sql, args, repeatable).await,
        }
    }

    async fn write_on_sqlite(&self, sql: &str, args: &[Arg<'_>]) -> Result<Vec<Row>> {
        let state = (
            sql.to_owned(),
            args.iter().map(Arg::to_static).collect::<Vec<_>>(),
        );
        self.write_with(state, |tx, (sql, args)| {
            Box::pin(async move { tx.query(sql, args).await })
        })
        .await
    }

    /// Wakes those who wait on [`Db::wakeups`], in other processes too.
    pub fn wake(&self) {
        match &self.inner.pools {
            Pools::Sqlite(_) => self.inner.wake.send_modify(|n| *n = n.wrapping_add(1)),
            Pools::Postgres(pools) => pools.wake(&self.inner.wake),
        }
    }

    /// Changes whenever a commit has appended to the change log (see [`crate::ledger::changes`]), also one of another
    /// process on PostgreSQL. A wake-up may be missing there while the database is away, so look now and then.
    pub fn wakeups(&self) -> watch::Receiver<u64> {
        if let Pools::Postgres(pools) = &self.inner.pools {
            pools.listen(self.inner.wake.clone());
        }
        self.inner.wake.subscribe()
    }

    /// Ends the queued work and closes every connection; on SQLite also folds the log into the file and unlocks it.
    /// Later calls get `Unavailable`.
    pub async fn close(&self) {
        match &self.inner.pools {
            Pools::Sqlite(pools) => pools.close().await,
            Pools::Postgres(pools) => pools.close().await,
        }
    }
}
