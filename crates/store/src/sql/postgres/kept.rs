//! Connections that stay at hand between two uses.
//!
//! sqlx's pool asks the server for a sign of life each time a connection comes back, so that every lone statement costs two
//! round trips, which is half of the server's work where it is small. Here a connection that comes back in good order waits for its next
//! use without one, and the last to come back goes first: its server process is the warmest. sqlx's pool opens connections and
//! bounds their number.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use lodeway_domain::{Error, Result};
use sqlx::{
    Connection as _, Executor as _, PgConnection, Postgres as Driver,
    pool::{Pool, PoolConnection},
};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, time::timeout};

use crate::sql::error::{is_broken_connection, sorted, unavailable, unreachable};

/// A connection that waited longer is asked for a sign of life before it is used.
const FRESH: Duration = Duration::from_secs(1);
/// How long a sign of life may take, and the beginning of a transaction.
const ALIVE: Duration = Duration::from_secs(5);
/// After how long without use a connection is closed, when another one comes back.
const MAX_IDLE: Duration = Duration::from_secs(300);
/// After how long a connection is replaced: its server process holds on to memory.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// How long it may take to find out why there is no connection.
const REASON: Duration = Duration::from_millis(500);

/// The connections of one database that nobody uses now.
pub(super) struct Kept {
    pool: Pool<Driver>,
    /// The last to come back is at the end.
    waiting: Mutex<Vec<Waiting>>,
    start: Instant,
    /// When a connection was last found broken, in milliseconds after `start`.
    broken_ms: AtomicU64,
    /// How long one statement may take: a server that hangs closes no connection.
    statement_timeout: Duration,
}

struct Waiting {
    conn: PoolConnection<Driver>,
    since: Instant,
    opened: Instant,
}

impl Kept {
    pub(super) fn new(pool: Pool<Driver>, statement_timeout: Duration) -> Self {
        Self {
            pool,
            waiting: Mutex::default(),
            start: Instant::now(),
            broken_ms: AtomicU64::new(0),
            statement_timeout,
        }
    }

    /// Whether one that waits is alive; none if none waits.
    pub(super) async fn is_alive(&self) -> Option<bool> {
        let mut next = self.waiting().pop()?;
        let is_alive = is_ok(ALIVE, next.conn.ping()).await;
        match is_alive {
            true => self.give_back(next.conn, next.opened),
            false => discard(next.conn),
        }
        Some(is_alive)
    }

    /// Opens connections, and says when this is closed.
    pub(super) fn pool(&self) -> &Pool<Driver> {
        &self.pool
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a connection must be opened for the next use.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    /// One that waits, or a new one. `permit` is given back after the connection: who gets it next finds one waiting.
    pub(super) async fn take(self: &Arc<Self>, permit: Option<OwnedSemaphorePermit>) -> Result<Lease> {
        loop {
            let Some(mut next) = self.waiting().pop() else {
                let conn = match self.pool.acquire().await {
                    Ok(conn) => conn,
                    Err(sqlx::Error::PoolTimedOut) => return Err(self.no_connection().await),
                    Err(error) => return Err(sorted(error)),
                };
                return Ok(Lease::new(self, permit, conn, Instant::now()));
            };
            // One that waited may have died, or died with another since it was used; one that dies while busy shows at
            // its next statement, which is repeated where that is safe.
            let is_fresh = next.since.elapsed() < FRESH
                && self.millis(next.since) > self.broken_ms.load(Ordering::Relaxed);
            if is_fresh || is_ok(ALIVE, next.conn.ping()).await {
                return Ok(Lease::new(self, permit, next.conn, next.opened));
            }
            discard(next.conn);
        }
    }

    /// Why no connection could be made. The pool tries until its time is over, and says only that.
    async fn no_connection(&self) -> Error {
        let options = self.pool.connect_options();
        let why = match timeout(REASON, PgConnection::connect_with(&options)).await {
            Ok(Ok(_)) => "there was no connection in time".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it takes no connections".to_owned(),
        };
        unreachable(format!("{}:{}: {why}", options.get_host(), options.get_port()))
    }

    fn give_back(&self, conn: PoolConnection<Driver>, opened: Instant) {
        if self.pool.is_closed() || opened.elapsed() > MAX_AGE {
            return discard(conn);
        }
        let mut waiting = self.waiting();
        let since = Instant::now();
        waiting.push(Waiting { conn, since, opened });
        // They are in the order in which they came back.
        let idle = waiting.partition_point(|one| one.since.elapsed() > MAX_IDLE);
        let idle: Vec<_> = waiting.drain(..idle).collect();
        drop(waiting);
        for one in idle {
            discard(one.conn);
        }
        if self.pool.is_closed() {
            // Closed in between, and perhaps emptied before this one came.
            self.abandon();
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    /// Those that were used before this moment are asked for a sign of life.
    fn note_broken(&self) {
        // From the next millisecond on, so that what is used in this one counts as used before.
        let now = self.millis(Instant::now()) + 1;
        self.broken_ms.fetch_max(now, Ordering::Relaxed);
    }

    /// Says goodbye on every connection; those in use follow when they come back.
    pub(super) async fn close(&self) {
        // Marks it at once; the future only waits for the connections.
        let closed = self.pool.close();
        let waiting = std::mem::take(&mut *self.waiting());
        for one in waiting {
            if let Err(error) = one.conn.close().await {
                tracing::debug!(%error, "a connection was closed without a goodbye");
            }
        }
        closed.await;
    }

    /// Closes without waiting for anything, also outside a runtime.
    pub(super) fn abandon(&self) {
        drop(self.pool.close());
        let waiting = std::mem::take(&mut *self.waiting());
        for one in waiting {
            discard(one.conn);
        }
    }
}

async fn is_ok<T, E>(limit: Duration, work: impl Future<Output = Result<T, E>>) -> bool {
    matches!(tokio::time::timeout(limit, work).await, Ok(Ok(_)))
}

/// What a statement comes to within `limit`.
pub(in crate::sql) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    // Not as a connection that broke: that would be tried again, for as long.
    let outcome = tokio::time::timeout(limit, work).await;
    outcome.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Closes the socket, at which the server rolls back and ends: not the goodbye of the pool, which needs a runtime.
fn discard(conn: PoolConnection<Driver>) {
    drop(conn.detach());
}

/// A connection in use. Dropped, it waits for its next use, after a rollback if a transaction is open; amid a statement it is
/// closed instead.
pub(in crate::sql) struct Lease {
    /// None only once it is dropped.
    conn: Option<PoolConnection<Driver>>,
    opened: Instant,
    home: Arc<Kept>,
    permit: Option<OwnedSemaphorePermit>,
    /// Amid a statement, or broken.
    is_torn: bool,
    in_transaction: bool,
}

impl Lease {
    fn new(
        home: &Arc<Kept>,
        permit: Option<OwnedSemaphorePermit>,
        conn: PoolConnection<Driver>,
        opened: Instant,
    ) -> Self {
        Self {
            conn: Some(conn),
            opened,
            home: Arc::clone(home),
            permit,
            is_torn: false,
            in_transaction: false,
        }
    }

    /// The connection, for one statement; [`Self::done`] says how that went.
    pub(in crate::sql) fn open(&mut self) -> Result<&mut PgConnection> {
        self.is_torn = true;
        match &mut self.conn {
            Some(conn) => Ok(conn),
            None => Err(unavailable("its connection was given back")),
        }
    }

    /// Takes the outcome of a statement that ran to its end, or was given up.
    pub(in crate::sql) fn done<T>(&mut self, outcome: Result<T, sqlx::Error>) -> Result<T> {
        let is_late = matches!(outcome, Err(sqlx::Error::PoolTimedOut));
        let outcome = outcome.map_err(sorted);
        self.is_torn = is_late || outcome.as_ref().is_err_and(is_broken_connection);
        if self.is_torn {
            self.home.note_broken();
        }
        outcome
    }

    /// Begins a transaction by `statement`.
    pub(super) async fn begin(&mut self, statement: &'static str) -> Result<()> {
        self.run(statement, ALIVE).await?;
        self.in_transaction = true;
        Ok(())
    }

    /// Ends the transaction by `statement`.
    pub(super) async fn end(&mut self, statement: &'static str) -> Result<()> {
        self.run(statement, self.limit()).await?;
        self.in_transaction = false;
        Ok(())
    }

    async fn run(&mut self, statement: &'static str, limit: Duration) -> Result<()> {
        let done = within(limit, self.open()?.execute(statement)).await;
        self.done(done).map(drop)
    }

    /// How long one statement may take.
    pub(in crate::sql) fn limit(&self) -> Duration {
        self.home.statement_timeout
    }

    /// Whether it can only be closed: it is amid a statement, or broken.
    pub(super) fn is_torn(&self) -> bool {
        self.is_torn
    }

    pub(in crate::sql) fn in_transaction(&self) -> bool {
        self.in_transaction
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut conn) = self.conn.take() else { return };
        if self.is_torn {
            return discard(conn);
        }
        if !self.in_transaction {
            return self.home.give_back(conn, self.opened);
        }
        // The end of a snapshot, or of an operation that nobody waits for any longer.
        let Ok(runtime) = Handle::try_current() else {
            return discard(conn);
        };
        let (home, permit, opened) = (Arc::clone(&self.home), self.permit.take(), self.opened);
        runtime.spawn(async move {
            match conn.execute("ROLLBACK").await {
                Ok(_) => home.give_back(conn, opened),
                Err(_) => discard(conn),
            }
            drop(permit);
        });
    }
}
