//! SQLite: one file, one writer, a few readers.
//!
//! All writes of a database go through one task, which takes what is queued, runs each operation in a savepoint, commits
//! once (`synchronous=FULL`, write-ahead log: one sync) and only then answers. So a lone write costs one sync and a
//! thousand concurrent ones share a few.

use std::{
    fs::{File, OpenOptions, TryLockError},
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use lodeway_domain::{Error, Result};
use sqlx::{
    ConnectOptions, Connection, Sqlite as Driver, SqliteConnection,
    pool::{Pool, PoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{
    DbOptions, OpenError, Reader, Tx,
    conn::{Conn, Link},
    error::{sorted, unavailable},
};

/// Operations that share one commit at most; bounds what a failing commit takes down.
const GROUP_MAX: usize = 256;

pub(super) struct Sqlite {
    pub(super) path: PathBuf,
    queue: mpsc::Sender<Message>,
    queue_timeout: Duration,
    readers: Pool<Driver>,
}

enum Message {
    Job(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

impl Sqlite {
    pub(super) async fn open(
        path: &Path,
        options: &DbOptions,
        wake: watch::Sender<u64>,
    ) -> Result<Self, OpenError> {
        let lock = lock(path)?;
        let writer = writer_options(path);
        let connection = writer.connect().await.map_err(sorted)?;
        let (queue, jobs) = mpsc::channel(options.queue_len.max(1));
        let task = Writer {
            tx: Tx::new(Conn::new(Link::SqliteWriter(Box::new(connection)), None)),
            options: writer,
            jobs,
            wake,
            operation_timeout: options.operation_timeout,
            lock,
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the writer ends with its database, see `Db::close`"
        )]
        tokio::spawn(task.run());
        let readers = PoolOptions::new()
            .max_connections(options.readers.max(1))
            .acquire_timeout(options.queue_timeout)
            .idle_timeout(Duration::from_secs(60))
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_lazy_with(reader_options(path));
        Ok(Self {
            path: path.to_owned(),
            queue,
            queue_timeout: options.queue_timeout,
            readers,
        })
    }

    pub(super) async fn read(&self) -> Result<Reader> {
        let conn = self.readers.acquire().await.map_err(sorted)?;
        Ok(Reader(Conn::new(Link::SqlitePooled(conn), None)))
    }

    pub(super) async fn snapshot(&self) -> Result<Reader> {
        let transaction = self.readers.begin().await.map_err(sorted)?;
        Ok(Reader(Conn::new(Link::SqliteSnapshot(transaction), None)))
    }

    pub(super) async fn write<S, T, F>(&self, state: S, op: F) -> Result<T>
    where
        S: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a mut Tx, &'a S) -> BoxFuture<'a, Result<T>> + Send + Sync + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Operation {
            state,
            op,
            result: None,
            reply,
        };
        match self
            .queue
            .send_timeout(Message::Job(Box::new(job)), self.queue_timeout)
            .await
        {
            Ok(()) => answer
                .await
                .unwrap_or_else(|_| Err(unavailable("the database is closed"))),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(unavailable("the database is closed")),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(unavailable("the queue of writes is full")),
        }
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        let (done, closed) = oneshot::channel();
        if self.queue.send(Message::Close(done)).await.is_ok() {
            // An error means that the writer is gone, which is what was wanted.
            let _ = closed.await;
        }
    }
}

/// Makes the folder and takes the lock of the file; the lock lives as long as the returned handle and the process.
fn lock(path: &Path) -> Result<File, OpenError> {
    let file_error = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::File { path, source }
    };
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(file_error(folder))?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(file_error(&lock_path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(OpenError::File {
            path: lock_path,
            source,
        }),
    }
}

fn base_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_secs(5))
        .statement_cache_capacity(128)
        .pragma("case_sensitive_like", "1")
        .disable_statement_logging()
}

fn writer_options(path: &Path) -> SqliteConnectOptions {
    base_options(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", "2000")
        .pragma("journal_size_limit", "67108864")
        .pragma("cache_size", "-8192")
}

fn reader_options(path: &Path) -> SqliteConnectOptions {
    base_options(path)
        .pragma("cache_size", "-2048")
        .pragma("query_only", "1")
        // A look at a random page costs a third of what a read into the small cache does; the pages are the kernel's.
        .pragma("mmap_size", "1073741824")
        // With few, the thread of the connection and its reader wait for each other again and again.
        .row_buffer_size(1024)
}

/// One queued operation, its types erased.
trait Job: Send {
    /// Whether somebody still waits for it.
    fn is_wanted(&self) -> bool;
    /// Runs it; the result stays inside.
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, Result<()>>;
    /// Answers with the result, or with `failure`.
    fn answer(self: Box<Self>, failure: Option<Error>);
}

struct Operation<S, T, F> {
    state: S,
    op: F,
    result: Option<T>,
    reply: oneshot::Sender<Result<T>>,
}

impl<S, T, F> Job for Operation<S, T, F>
where
    S: Send + Sync + 'static,
    T: Send + 'static,
    F: for<'a> Fn(&'a mut Tx, &'a S) -> BoxFuture<'a, Result<T>> + Send + Sync + 'static,
{
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, Result<()>> {
        let Self {
            state, op, result, ..
        } = self;
        let run = op(tx, state);
        Box::pin(async move {
            *result = Some(run.await?);
            Ok(())
        })
    }

    fn answer(self: Box<Self>, failure: Option<Error>) {
        let answer = match (failure, self.result) {
            (Some(failure), _) => Err(failure),
            (None, Some(result)) => Ok(result),
            (None, None) => Err(Error::internal("the operation did not run")),
        };
        // Nobody listens any more: the caller gave up, its write is done all the same.
        let _ = self.reply.send(answer);
    }
}

struct Writer {
    tx: Tx,
    options: SqliteConnectOptions,
    jobs: mpsc::Receiver<Message>,
    wake: watch::Sender<u64>,
    operation_timeout: Duration,
    lock: File,
}

/// An operation that ran, and its error if it has one.
type Ran = (Box<dyn Job>, Option<Error>);

impl Writer {
    async fn run(mut self) {
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = self.jobs.recv().await else {
                break;
            };
            let mut group = Vec::new();
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Job(job) => group.push(job),
                    Message::Close(done) => closing = Some(done),
                }
                let more = closing.is_none() && group.len() < GROUP_MAX;
                next = if more { self.jobs.try_recv().ok() } else { None };
            }
            self.commit_group(group).await;
        }
        self.jobs.close();
        let (link, _) = self.tx.conn.into_parts();
        if let Link::SqliteWriter(connection) = link
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "closing a database failed");
        }
        drop(self.lock);
        if let Some(done) = closing {
            // Nobody waits for the end.
            let _ = done.send(());
        }
    }

    async fn commit_group(&mut self, group: Vec<Box<dyn Job>>) {
        let group: Vec<_> = group.into_iter().filter(|job| job.is_wanted()).collect();
        if group.is_empty() {
            return;
        }
        let mut ran: Vec<Ran> = Vec::with_capacity(group.len());
        let outcome = match <[_; 1]>::try_from(group) {
            Ok([only]) => self.run_alone(only, &mut ran).await,
            Err(group) => {
                if let Err(error) = self.begin().await {
                    return fail(group.into_iter().map(|job| (job, None)).collect(), &error);
                }
                self.run_group(group, &mut ran).await
            }
        };
        match outcome {
            Ok(()) => {
                if std::mem::take(&mut self.tx.wakes) {
                    self.wake.send_modify(|n| *n = n.wrapping_add(1));
                }
                for (job, error) in ran {
                    job.answer(error);
                }
            }
            Err(error) => {
                self.abort().await;
                fail(ran, &error);
            }
        }
    }

    /// A lone operation needs no savepoint: the transaction is one. It begins with the operation's first statement, which
    /// saves a hop to the connection's thread and back, a good part of what a small write costs.
    async fn run_alone(&mut self, mut job: Box<dyn Job>, ran: &mut Vec<Ran>) -> Result<()> {
        self.tx.wakes = false;
        self.tx.conn.recover();
        self.tx.conn.precede("BEGIN IMMEDIATE; ");
        let mut result = self.run_job(&mut job).await;
        if self.tx.conn.take_before().is_some() {
            // No statement ran, so nothing began.
            ran.push((job, result.err()));
            return Ok(());
        }
        if self.tx.conn.is_beginning_lost() {
            // It may have been the beginning that failed and not the operation: do it again, one after the other.
            self.abort().await;
            if let Err(error) = self.begin().await {
                ran.push((job, None));
                return Err(error);
            }
            result = self.run_job(&mut job).await;
        }
        let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let failed = result.err();
        let harmless = failed
            .as_ref()
            .is_some_and(|e| !matches!(e, Error::Unavailable { .. }));
        ran.push((job, failed));
        self.tx.conn.recover();
        match self.tx.conn.execute(end, &[]).await {
            // The engine may have rolled back already, and the operation has its own error to tell.
            Err(_) if harmless => {
                self.abort().await;
                Ok(())
            }
            other => other.map(|_| ()),
        }
    }

    async fn run_group(&mut self, group: Vec<Box<dyn Job>>, ran: &mut Vec<Ran>) -> Result<()> {
        let mut group = group.into_iter();
        let mut before = "SAVEPOINT op";
        let mut broken = None;
        for mut job in group.by_ref() {
            if !before.is_empty()
                && let Err(error) = self.tx.conn.execute(before, &[]).await
            {
                ran.push((job, None));
                broken = Some(error);
                break;
            }
            let failed = self.run_job(&mut job).await.err();
            let undo = failed.is_some();
            ran.push((job, failed));
            self.tx.conn.recover();
            // Rolling back to a savepoint keeps it open for the next operation.
            before = if undo { "" } else { "RELEASE op; SAVEPOINT op" };
            if undo && let Err(error) = self.tx.conn.execute("ROLLBACK TO op", &[]).await {
                broken = Some(error);
                break;
            }
        }
        ran.extend(group.map(|job| (job, None)));
        match broken {
            Some(error) => Err(error),
            None => self.tx.conn.execute("COMMIT", &[]).await.map(|_| ()),
        }
    }

    /// Runs one operation; a panic, a timeout or a swallowed failure of a statement is an error of its own.
    async fn run_job(&mut self, job: &mut Box<dyn Job>) -> Result<()> {
        let woke = self.tx.wakes;
        let run = AssertUnwindSafe(job.run(&mut self.tx)).catch_unwind();
        let result = match timeout(self.operation_timeout, run).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::internal("a write operation panicked")),
            Err(_) => Err(Error::DeadlineExceeded),
        };
        let result = match result {
            Ok(()) if self.tx.conn.has_failed() => Err(Error::internal(
                "a write operation ignored the failure of a statement",
            )),
            other => other,
        };
        if result.is_err() {
            self.tx.wakes = woke;
        }
        result
    }

    async fn begin(&mut self) -> Result<()> {
        self.tx.wakes = false;
        self.tx.conn.recover();
        if self.tx.conn.execute("BEGIN IMMEDIATE", &[]).await.is_ok() {
            return Ok(());
        }
        // Whatever state the connection is in, a new one is in none.
        let connection: SqliteConnection = self.options.connect().await.map_err(sorted)?;
        if let Link::SqliteWriter(old) =
            std::mem::replace(self.tx.conn.link(), Link::SqliteWriter(Box::new(connection)))
        {
            // Its transaction is lost either way.
            let _ = old.close().await;
        }
        self.tx.conn.recover();
        self.tx.conn.execute("BEGIN IMMEDIATE", &[]).await.map(|_| ())
    }

    /// Leaves the transaction, if there still is one.
    async fn abort(&mut self) {
        self.tx.wakes = false;
        self.tx.conn.recover();
        // The engine may have rolled back by itself; `begin` looks for the rest.
        let _ = self.tx.conn.execute("ROLLBACK", &[]).await;
        self.tx.conn.recover();
    }
}

/// Answers a whole group whose transaction is lost; an answer may rest on what others in the group wrote, hence all.
fn fail(ran: Vec<Ran>, error: &Error) {
    tracing::error!(error = %error, cause = error.cause().map(tracing::field::display), operations = ran.len(), "a commit failed");
    for (job, own) in ran {
        let answer = match own {
            Some(own @ Error::Unavailable { .. }) => own,
            _ => unavailable("the commit failed"),
        };
        job.answer(Some(answer));
    }
}
