//! PostgreSQL: one schema per service, a small pool, one transaction per operation.

pub(super) mod kept;

use std::{
    panic::AssertUnwindSafe,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use lodeway_domain::{Error, Result};
use sqlx::{
    ConnectOptions, Connection as _, PgConnection, Postgres as Driver,
    pool::{Pool, PoolOptions},
    postgres::{PgConnectOptions, PgListener},
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

use self::kept::Kept;

use super::{
    Arg, DbOptions, OpenError, Reader, Row, Tx,
    conn::{Conn, Link},
    error::{is_broken_connection, is_retry, unavailable},
};

/// The notification channel of all services; the payload is the schema.
const CHANNEL: &str = "lodeway_changes";

/// How long one notification stands for all commits that follow it.
const GATHER: Duration = Duration::from_millis(20);

/// How many statements that append to the change log run at a time: one is committed while another does its work.
const APPENDING: usize = 2;

/// How long a statement waits for those before it to be through with the change log; see [`Postgres::change_at_once`].
const TURN: Duration = Duration::from_millis(50);

/// How often an operation that lost against another is run in all.
const ATTEMPTS: u32 = 6;

/// After a failed connection, how long callers are refused at once instead of each waiting for its own timeout.
const DOWN_MS: u64 = 500;

pub(super) struct Postgres {
    kept: Arc<Kept>,
    /// How a connection is made.
    connect: Box<PgConnectOptions>,
    schema: String,
    /// Callers queue here rather than at the pool, whose timeout is that of connecting.
    turns: Arc<Semaphore>,
    queue_timeout: Duration,
    operation_timeout: Duration,
    attempts_to_begin: u32,
    start: Instant,
    down_until_ms: AtomicU64,
    listens: AtomicBool,
    /// Asks the notifier, which runs once `notifies` is set, to tell other processes.
    told: Arc<Notify>,
    notifies: AtomicBool,
    /// For the statements that append to the change log.
    changes: Semaphore,
}

impl Postgres {
    pub(super) fn open(url: &str, schema: &str, options: &DbOptions) -> Result<Self, OpenError> {
        let connect = PgConnectOptions::from_str(url)
            .map_err(|_| OpenError::Url {
                reason: "is not a PostgreSQL address".to_owned(),
            })?
            .application_name(&format!("lodeway-{schema}"))
            // Compiling a statement takes longer than running any of ours.
            .options([
                ("search_path", schema),
                ("jit", "off"),
                (
                    "plan_cache_mode",
                    if options.plans_once {
                        "force_generic_plan"
                    } else {
                        "auto"
                    },
                ),
            ])
            .statement_cache_capacity(128)
            .disable_statement_logging();
        let size = options.pool_size.max(1);
        let pool = PoolOptions::new()
            // Two more than the turns: for the listener and the notifier.
            .max_connections(size + 2)
            .acquire_timeout(options.connect_timeout)
            .connect_lazy_with(connect.clone());
        Ok(Self {
            kept: Arc::new(Kept::new(pool, options.operation_timeout)),
            connect: Box::new(connect),
            schema: schema.to_owned(),
            turns: Arc::new(Semaphore::new(size as usize)),
            queue_timeout: options.queue_timeout,
            operation_timeout: options.operation_timeout,
            attempts_to_begin: size + 2,
            start: Instant::now(),
            down_until_ms: AtomicU64::new(0),
            listens: AtomicBool::new(false),
            told: Arc::default(),
            notifies: AtomicBool::new(false),
            changes: Semaphore::new(APPENDING),
        })
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit> {
        match timeout(self.queue_timeout, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(unavailable("the database is closed")),
            Err(_) => Err(unavailable("the queue for a database connection is full")),
        }
    }

    fn now_ms(&self) -> u64 {
        millis(self.start.elapsed())
    }

    /// Whether the server takes calls now, asked beside all that waits for a connection: how many wait says nothing of it.
    pub(super) async fn answers(&self) -> bool {
        if self.kept.is_alive().await == Some(true) {
            return true;
        }
        match PgConnection::connect_with(&self.connect).await {
            Ok(conn) => conn.close().await.is_ok(),
            // It has no place for one more, and so is there; one that starts or stops says that in this class.
            Err(sqlx::Error::Database(error)) => error.code().is_none_or(|code| !code.starts_with("57")),
            Err(_) => false,
        }
    }

    /// Fails at once while the last attempt to connect is fresh and failed.
    fn check_up(&self) -> Result<()> {
        if self.kept.is_empty() && self.now_ms() < self.down_until_ms.load(Ordering::Relaxed) {
            return Err(unavailable("the database did not answer a moment ago"));
        }
        Ok(())
    }

    /// Remembers a failure to connect.
    fn note(&self, error: Error) -> Error {
        if matches!(error, Error::Unavailable { .. }) && !is_retry(&error) {
            self.down_until_ms
                .store(self.now_ms() + DOWN_MS, Ordering::Relaxed);
        }
        error
    }

    pub(super) async fn read(&self) -> Result<Reader> {
        let permit = self.turn().await?;
        self.check_up()?;
        let lease = self.kept.take(Some(permit)).await.map_err(|e| self.note(e))?;
        Ok(Reader(Conn::new(Link::Postgres(lease), None)))
    }

    pub(super) async fn snapshot(&self) -> Result<Reader> {
        Ok(Reader(
            self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                .await?,
        ))
    }

    /// Begins on a live connection: the dead ones left over from a restart of the server are tried and thrown away.
    async fn begin(&self, statement: &'static str) -> Result<Conn> {
        let mut left = self.attempts_to_begin;
        loop {
            let permit = self.turn().await?;
            self.check_up()?;
            let begun = async {
                let mut lease = self.kept.take(Some(permit)).await?;
                lease.begin(statement).await.map(|()| lease)
            };
            match begun.await {
                Ok(lease) => return Ok(Conn::new(Link::Postgres(lease), None)),
                Err(e) => {
                    left -= 1;
                    if left == 0 || !is_broken_connection(&e) {
                        return Err(self.note(e));
                    }
                }
            }
        }
    }

    pub(super) async fn write<S, T, F>(&self, wake: &watch::Sender<u64>, state: S, op: F) -> Result<T>
    where
        S: Send + Sync + 'static,
        F: for<'a> Fn(&'a mut Tx, &'a S) -> BoxFuture<'a, Result<T>> + Send + Sync + 'static,
    {
        let mut attempt = 1;
        loop {
            match self.attempt(wake, &state, &op).await {
                Err(e) if is_retry(&e) && attempt < ATTEMPTS => {
                    tokio::time::sleep(pause(attempt)).await;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    pub(super) async fn write_at_once(
        &self,
        sql: &str,
        args: &[Arg<'_>],
        is_repeatable: bool,
    ) -> Result<Vec<Row>> {
        let (mut lost, mut broken) = (0, 0);
        loop {
            let mut conn = self.read().await?;
            let outcome = match timeout(self.operation_timeout, conn.query(sql, args)).await {
                Ok(outcome) => outcome,
                Err(_) => return Err(Error::DeadlineExceeded),
            };
            match outcome {
                // Rolled back, so whatever the statement does.
                Err(e) if is_retry(&e) && lost + 1 < ATTEMPTS => {
                    lost += 1;
                    drop(conn);
                    tokio::time::sleep(pause(lost)).await;
                }
                // Left over from a restart of the server, like those that `begin` meets.
                Err(e) if is_broken_connection(&e) => {
                    if !is_repeatable || broken >= self.attempts_to_begin {
                        return Err(e);
                    }
                    broken += 1;
                }
                other => return other,
            }
        }
    }

    /// As [`Self::write_at_once`], for a statement that appends to the change log: few of this process run at a time. All
    /// would meet at the log's head, where each that waits costs the server several times its own work.
    pub(super) async fn change_at_once(
        &self,
        sql: &str,
        args: &[Arg<'_>],
        is_repeatable: bool,
    ) -> Result<Vec<Row>> {
        // Not for long: one that is held up by a lock on something else should not hold up all.
        let _turn = timeout(TURN, self.changes.acquire()).await;
        self.write_at_once(sql, args, is_repeatable).await
    }

    async fn attempt<S, T, F>(&self, wake: &watch::Sender<u64>, state: &S, op: &F) -> Result<T>
    where
        F: for<'a> Fn(&'a mut Tx, &'a S) -> BoxFuture<'a, Result<T>>,
    {
        let mut tx = Tx::new(self.begin("BEGIN").await?);
        let run = AssertUnwindSafe(op(&mut tx, state)).catch_unwind();
        let result = match timeout(self.operation_timeout, run).await {
            Ok(Ok(Ok(_))) if tx.conn.has_failed() => Err(Error::internal(
                "a write operation ignored the failure of a statement",
            )),
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::internal("a write operation panicked")),
            Err(_) => Err(Error::DeadlineExceeded),
        };
        let result = match result {
            Ok(result) => result,
            Err(error) => {
                // At once and not when the connection is used next: others may wait for its locks.
                // One amid a statement is closed instead, which does the same once the statement has ended.
                if let (Link::Postgres(mut lease), _) = tx.conn.into_parts()
                    && !lease.is_torn()
                    && let Err(error) = lease.end("ROLLBACK").await
                {
                    tracing::debug!(%error, "a rollback was left to the server");
                }
                return Err(error);
            }
        };
        let wakes = tx.wakes;
        if let (Link::Postgres(mut lease), _) = tx.conn.into_parts() {
            lease.end("COMMIT").await?;
        }
        if wakes {
            self.wake(wake);
        }
        Ok(result)
    }

    /// Wakes those who watch the change log, here and in other processes.
    ///
    /// Others are told after the commit and not with it, by one notification for all commits of a moment: with it, each
    /// commit would wait for the one before and wake every listener. If this process ends in between, they look later.
    pub(super) fn wake(&self, wake: &watch::Sender<u64>) {
        wake.send_modify(|n| *n = n.wrapping_add(1));
        self.told.notify_one();
        if self.notifies.swap(true, Ordering::SeqCst) {
            return;
        }
        let (kept, schema, told) = (
            Arc::clone(&self.kept),
            self.schema.clone(),
            Arc::clone(&self.told),
        );
        #[expect(
            clippy::disallowed_methods,
            reason = "the notifier ends with its pool, see `Db::close`"
        )]
        tokio::spawn(async move {
            let closed = kept.pool().close_event();
            let notify = async {
                loop {
                    told.notified().await;
                    if let Err(error) = notify(&kept, &schema).await {
                        tracing::debug!(%error, "other processes were not told of changes");
                    }
                    tokio::time::sleep(GATHER).await;
                }
            };
            tokio::select! {
                () = closed => {}
                () = notify => {}
            }
        });
    }

    /// Starts to pass on notifications, once.
    pub(super) fn listen(&self, wake: watch::Sender<u64>) {
        if self.listens.swap(true, Ordering::SeqCst) {
            return;
        }
        let (pool, schema) = (self.kept.pool().clone(), self.schema.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "the listener ends with its pool, see `Db::close`"
        )]
        tokio::spawn(async move {
            let closed = pool.close_event();
            let listen = async {
                loop {
                    if let Err(error) = pass_on(&pool, &schema, &wake).await
                        && !pool.is_closed()
                    {
                        tracing::warn!(%error, "listening for changes failed; trying again");
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            };
            tokio::select! {
                () = closed => {}
                () = listen => {}
            }
        });
    }

    pub(super) async fn close(&self) {
        self.turns.close();
        self.kept.close().await;
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Listener and notifier hold the pool; this ends them.
        self.kept.abandon();
    }
}

/// Tells every process that listens of changes to this schema.
async fn notify(kept: &Arc<Kept>, schema: &str) -> Result<()> {
    let mut lease = kept.take(None).await?;
    let sql = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(schema);
    let told = sql.execute(lease.open()?).await;
    lease.done(told).map(drop)
}

async fn pass_on(pool: &Pool<Driver>, schema: &str, wake: &watch::Sender<u64>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    // What was committed between the last look and the LISTEN.
    wake.send_modify(|n| *n = n.wrapping_add(1));
    loop {
        // `None` is a connection lost and made again, in which time notifications may have been missed.
        let ours = listener.try_recv().await?.is_none_or(|n| n.payload() == schema);
        if ours {
            wake.send_modify(|n| *n = n.wrapping_add(1));
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Grows from about 4 ms to 100; the jitter keeps two losers from meeting again.
fn pause(attempt: u32) -> Duration {
    let jitter = u64::from(uuid::Uuid::now_v7().as_bytes()[15] % 4);
    Duration::from_millis((1 << attempt.min(6)) + jitter * u64::from(attempt))
}
