//! The connections that only read.
//!
//! Most reads take microseconds, less than handing them to another thread and back. So a statement first runs where it is
//! asked for, for [`INLINE`] at most; what takes longer is ended, begun anew on a thread that may block, and given all the
//! time of an operation.

use std::{
    ops::ControlFlow,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use lodeway_domain::{Error, Result};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::{JoinError, spawn_blocking},
    time::timeout,
};

use super::{
    super::{
        Arg, DbOptions, Row,
        error::{sorted_sqlite, unavailable},
    },
    connection::{Connection, Limit, is_interrupted},
};

/// How long a statement may keep the thread of its caller.
const INLINE: Duration = Duration::from_micros(300);

/// How much of a streamed result is collected before it is handed on.
const BATCH_ROWS: usize = 512;
const BATCH_BYTES: usize = 512 << 10;

/// A connection unused for this long is closed, so that its cache does not stay.
const IDLE: Duration = Duration::from_secs(60);

/// The cache holds what a search by a filter and a metric looks at among 100,000 runs; with less it reads all of that from
/// the file each time. A map of the file would do as well, but counts the whole file as memory in use.
const PRAGMAS: &str = "PRAGMA case_sensitive_like = 1; PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = 1; \
     PRAGMA cache_size = -16384; PRAGMA query_only = 1;";

/// A pool of connections, opened when first needed.
pub(super) struct Readers {
    path: PathBuf,
    turns: Arc<Semaphore>,
    queue_timeout: Duration,
    operation_timeout: Duration,
    /// Last used last, so that the first ones fall idle.
    idle: Mutex<Vec<(Connection, Instant)>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, options: &DbOptions) -> Arc<Self> {
        Arc::new(Self {
            path,
            turns: Arc::new(Semaphore::new(options.readers.max(1) as usize)),
            queue_timeout: options.queue_timeout,
            operation_timeout: options.operation_timeout,
            idle: Mutex::default(),
        })
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(permit);
        }
        match timeout(self.queue_timeout, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(unavailable("the database is closed")),
            Err(_) => Err(unavailable("the queue for a database connection is full")),
        }
    }

    /// A connection, in a transaction if `is_snapshot`.
    pub(super) async fn acquire(self: &Arc<Self>, is_snapshot: bool) -> Result<Pooled> {
        let permit = self.turn().await?;
        let kept = self.lock().pop();
        let connection = match kept {
            Some((connection, _)) => connection,
            None => Connection::open(&self.path, false, PRAGMAS).map_err(sorted_sqlite)?,
        };
        let held = Box::new(Held {
            connection: Some(connection),
            readers: Arc::clone(self),
            _permit: permit,
        });
        if is_snapshot {
            let connection = held.connection()?;
            connection.allow(self.operation_timeout);
            connection.execute("BEGIN", &[]).map_err(sorted_sqlite)?;
        }
        Ok(Pooled(Some(held)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, connection: Connection) {
        connection.allow(self.operation_timeout);
        if connection.is_in_transaction() && connection.execute("ROLLBACK", &[]).is_err() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.lock();
        if self.turns.is_closed() {
            return;
        }
        idle.retain(|(_, since)| now.duration_since(*since) < IDLE);
        idle.push((connection, now));
    }

    /// Closes what is idle now, and what comes back when it does.
    pub(super) fn close(&self) {
        self.turns.close();
        self.lock().clear();
    }
}

/// A connection out of the pool and the turn that it came with; gives both back when dropped, on whichever thread.
struct Held {
    // Taken only by `drop`.
    connection: Option<Connection>,
    readers: Arc<Readers>,
    // After the connection: who gets the turn should find the connection given back.
    _permit: OwnedSemaphorePermit,
}

impl Held {
    fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or_else(lost)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.readers.give_back(connection);
        }
    }
}

/// A connection for reading. Empty only after a caller gave up while a statement ran on another thread.
pub(in crate::sql) struct Pooled(Option<Box<Held>>);

/// Ends the statement on the other thread if the caller gives up.
struct Abandon(Option<Arc<Limit>>);

impl Drop for Abandon {
    fn drop(&mut self) {
        if let Some(limit) = self.0.take() {
            limit.abandon();
        }
    }
}

impl Pooled {
    fn held(&self) -> Result<&Held> {
        self.0.as_deref().ok_or_else(lost)
    }

    /// All rows of a statement.
    pub(in crate::sql) async fn query(&mut self, sql: &str, args: &[Arg<'_>]) -> Result<Vec<Row>> {
        let connection = self.held()?.connection()?;
        connection.allow(INLINE);
        match connection.query(sql, args) {
            Err(error) if is_interrupted(&error) => {
                self.elsewhere(sql, args, |connection, sql, args| connection.query(sql, args))
                    .await
            }
            other => other.map_err(sorted_sqlite),
        }
    }

    /// Runs a statement; how many rows it changed, which is 0 for what readers may do.
    pub(in crate::sql) async fn execute(&mut self, sql: &str, args: &[Arg<'_>]) -> Result<u64> {
        self.query(sql, args).await.map(|_| 0)
    }

    /// Runs statements without arguments.
    pub(in crate::sql) async fn script(&mut self, sql: &str) -> Result<()> {
        self.elsewhere(sql, &[], |connection, sql, _| connection.script(sql))
            .await
    }

    /// Gives the rows one by one to `each`, until it breaks; what is in memory at once is bounded.
    pub(in crate::sql) async fn each(
        &mut self,
        sql: &str,
        args: &[Arg<'_>],
        mut each: impl FnMut(Row) -> ControlFlow<()> + Send,
    ) -> Result<()> {
        let connection = self.held()?.connection()?;
        connection.allow(INLINE);
        let mut first = Batch::default();
        let mut is_whole = true;
        let outcome = connection.each(sql, args, |row| {
            first.push(row);
            is_whole = !first.is_full();
            if is_whole {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        match outcome {
            Ok(()) if is_whole => {
                let _ = hand_on(first, &mut each);
                return Ok(());
            }
            Err(error) if !is_interrupted(&error) => return Err(sorted_sqlite(error)),
            _ => drop(first),
        }

        let (send, mut receive) = mpsc::channel(2);
        let run = self.elsewhere(sql, args, move |connection, sql, args| {
            let mut batch = Batch::default();
            connection.each(sql, args, |row| {
                batch.push(row);
                if batch.is_full() && send.blocking_send(std::mem::take(&mut batch)).is_err() {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            // The receiver has gone if it wanted no more.
            let _ = send.blocking_send(batch);
            Ok(())
        });
        let consume = async {
            while let Some(batch) = receive.recv().await {
                if hand_on(batch, &mut each).is_break() {
                    break;
                }
            }
            // The other side ends with its next batch.
            drop(receive);
        };
        let (outcome, ()) = futures::join!(run, consume);
        outcome
    }

    /// Runs `work` on a thread that may block.
    async fn elsewhere<T: Send + 'static>(
        &mut self,
        sql: &str,
        args: &[Arg<'_>],
        work: impl FnOnce(&Connection, &str, &[Arg<'static>]) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let held = self.0.take().ok_or_else(lost)?;
        let mut abandon = Abandon(Some(held.connection()?.limit()));
        let sql = sql.to_owned();
        let args: Vec<Arg<'static>> = args.iter().map(Arg::to_static).collect();
        held.connection()?.allow(held.readers.operation_timeout);
        let (held, outcome) = spawn_blocking(move || {
            let outcome = held
                .connection()
                .and_then(|connection| work(connection, &sql, &args).map_err(sorted_sqlite));
            (held, outcome)
        })
        .await
        .map_err(died)?;
        abandon.0 = None;
        self.0 = Some(held);
        outcome
    }
}

/// Rows on their way from one thread to another.
#[derive(Default)]
struct Batch {
    rows: Vec<Row>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, row: Row) {
        self.bytes += row.size_bytes();
        self.rows.push(row);
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }
}

fn hand_on(batch: Batch, each: impl FnMut(Row) -> ControlFlow<()>) -> ControlFlow<()> {
    batch.rows.into_iter().try_for_each(each)
}

fn lost() -> Error {
    Error::internal("a read was given up while it ran, and its connection is used again")
}

fn died(error: JoinError) -> Error {
    Error::internal(error)
}
