//! The thread that writes.

use std::{
    fs::File,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{FutureExt, executor::block_on, future::BoxFuture};
use lodeway_domain::{Error, Result};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    super::{
        DbOptions, OpenError, Tx,
        conn::{Conn, Link},
        error::{lost, sorted_sqlite, unavailable},
    },
    connection::Connection,
};

/// Operations that share one commit at most; bounds what a failing commit takes down.
const GROUP_MAX: usize = 256;

/// How long a statement of the writer itself may run.
const OWN: Duration = Duration::from_secs(3600);

const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA case_sensitive_like = 1; PRAGMA temp_store = MEMORY; \
     PRAGMA foreign_keys = 1; PRAGMA wal_autocheckpoint = 2000; PRAGMA journal_size_limit = 67108864; \
     PRAGMA cache_size = -8192;";

pub(super) enum Message {
    Job(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// Opens the file for writing and starts its thread, which ends when asked to or when the queue has no senders left.
pub(super) async fn start(
    path: &Path,
    lock: File,
    options: &DbOptions,
    wake: watch::Sender<u64>,
) -> Result<mpsc::Sender<Message>, OpenError> {
    let (queue, jobs) = mpsc::channel(options.queue_len.max(1));
    let (opened, answer) = oneshot::channel();
    let (file, operation_timeout) = (path.to_owned(), options.operation_timeout);
    let run = move || match open(&file) {
        Ok(connection) => {
            let writer = Writer {
                tx: Tx::new(Conn::new(Link::SqliteWriter(Box::new(connection)), None)),
                path: file,
                jobs,
                wake,
                operation_timeout,
                lock,
            };
            // An error means that nobody waits for the database any more; the queue is closed then as well.
            let _ = opened.send(Ok(()));
            writer.run();
        }
        Err(error) => {
            let _ = opened.send(Err(error));
        }
    };
    std::thread::Builder::new()
        .name("lodeway-writer".to_owned())
        .spawn(run)
        .map_err(|source| OpenError::File {
            path: path.to_owned(),
            source,
        })?;
    answer
        .await
        .unwrap_or_else(|_| Err(unavailable("the writer's thread ended")))?;
    Ok(queue)
}

fn open(path: &Path) -> Result<Connection> {
    Connection::open(path, true, PRAGMAS).map_err(sorted_sqlite)
}

/// One queued operation, its types erased.
pub(super) trait Job: Send {
    /// Whether somebody still waits for it.
    fn is_wanted(&self) -> bool;
    /// Runs it; the result stays inside.
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, Result<()>>;
    /// Answers with the result, or with `failure`.
    fn answer(self: Box<Self>, failure: Option<Error>);
}

pub(super) struct Operation<S, T, F> {
    state: S,
    op: F,
    result: Option<T>,
    reply: oneshot::Sender<Result<T>>,
}

impl<S, T, F> Operation<S, T, F> {
    pub(super) fn new(state: S, op: F, reply: oneshot::Sender<Result<T>>) -> Self {
        Self {
            state,
            op,
            result: None,
            reply,
        }
    }
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
    path: PathBuf,
    jobs: mpsc::Receiver<Message>,
    wake: watch::Sender<u64>,
    operation_timeout: Duration,
    lock: File,
}

/// An operation that ran, and its error if it has one.
type Ran = (Box<dyn Job>, Option<Error>);

impl Writer {
    fn run(mut self) {
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = self.jobs.blocking_recv() else {
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
            self.commit_group(group);
        }
        self.jobs.close();
        if let (Link::SqliteWriter(connection), _) = self.tx.conn.into_parts()
            && let Err(error) = connection.close()
        {
            tracing::warn!(%error, "closing a database failed");
        }
        drop(self.lock);
        if let Some(done) = closing {
            // Nobody waits for the end.
            let _ = done.send(());
        }
    }

    fn commit_group(&mut self, group: Vec<Box<dyn Job>>) {
        let group: Vec<_> = group.into_iter().filter(|job| job.is_wanted()).collect();
        if group.is_empty() {
            return;
        }
        if let Err(error) = self.begin() {
            return fail(group.into_iter().map(|job| (job, None)).collect(), &error);
        }
        let mut ran: Vec<Ran> = Vec::with_capacity(group.len());
        let outcome = match <[_; 1]>::try_from(group) {
            Ok([only]) => self.run_alone(only, &mut ran),
            Err(group) => self.run_group(group, &mut ran),
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
                self.abort();
                fail(ran, &error);
            }
        }
    }

    /// A lone operation needs no savepoint: the transaction is one.
    fn run_alone(&mut self, mut job: Box<dyn Job>, ran: &mut Vec<Ran>) -> Result<()> {
        let failed = self.run_job(&mut job).err();
        let end = if failed.is_none() { "COMMIT" } else { "ROLLBACK" };
        let is_harmless = failed
            .as_ref()
            .is_some_and(|e| !matches!(e, Error::Unavailable { .. }));
        ran.push((job, failed));
        match self.own(end) {
            // The engine may have rolled back already, and the operation has its own error to tell.
            Err(_) if is_harmless => {
                self.abort();
                Ok(())
            }
            other => other,
        }
    }

    fn run_group(&mut self, group: Vec<Box<dyn Job>>, ran: &mut Vec<Ran>) -> Result<()> {
        let mut group = group.into_iter();
        let mut outcome = self.own("SAVEPOINT op");
        while outcome.is_ok()
            && let Some(mut job) = group.next()
        {
            let failed = self.run_job(&mut job).err();
            // Rolling back to a savepoint keeps it open for the next operation.
            outcome = match failed {
                Some(_) => self.own("ROLLBACK TO op"),
                None => self.own("RELEASE op").and_then(|()| self.own("SAVEPOINT op")),
            };
            ran.push((job, failed));
        }
        ran.extend(group.map(|job| (job, None)));
        outcome?;
        self.own("COMMIT")
    }

    /// Runs one operation; a panic, a timeout or a swallowed failure of a statement is an error of its own.
    fn run_job(&mut self, job: &mut Box<dyn Job>) -> Result<()> {
        let woke = self.tx.wakes;
        self.allow(self.operation_timeout);
        let run = AssertUnwindSafe(job.run(&mut self.tx)).catch_unwind();
        let result = match block_on(run) {
            Ok(Ok(())) if self.tx.conn.has_failed() => Err(Error::internal(
                "a write operation ignored the failure of a statement",
            )),
            Ok(result) => result,
            Err(_) => Err(Error::internal("a write operation panicked")),
        };
        if result.is_err() {
            self.tx.wakes = woke;
        }
        result
    }

    fn allow(&mut self, time: Duration) {
        if let Link::SqliteWriter(connection) = self.tx.conn.link() {
            connection.allow(time);
        }
    }

    /// Runs a statement of the writer's own.
    fn own(&mut self, sql: &'static str) -> Result<()> {
        self.tx.conn.recover();
        self.allow(OWN);
        match self.tx.conn.link() {
            Link::SqliteWriter(connection) => connection.execute(sql, &[]).map(|_| ()).map_err(sorted_sqlite),
            _ => Err(Error::internal("the writer's connection is not SQLite's")),
        }
    }

    fn begin(&mut self) -> Result<()> {
        self.tx.wakes = false;
        if self.own("BEGIN IMMEDIATE").is_ok() {
            return Ok(());
        }
        // Whatever state the connection is in, a new one is in none.
        *self.tx.conn.link() = Link::SqliteWriter(Box::new(open(&self.path)?));
        self.own("BEGIN IMMEDIATE")
    }

    /// Leaves the transaction, if there still is one.
    fn abort(&mut self) {
        self.tx.wakes = false;
        // The engine may have rolled back by itself; `begin` looks for the rest.
        let _ = self.own("ROLLBACK");
    }
}

/// Answers a whole group whose transaction is lost; an answer may rest on what others in the group wrote, hence all.
fn fail(ran: Vec<Ran>, error: &Error) {
    tracing::error!(error = %error, cause = error.cause().map(tracing::field::display), operations = ran.len(), "a commit failed");
    for (job, own) in ran {
        let answer = match own {
            Some(own @ Error::Unavailable { .. }) => own,
            _ => lost(error),
        };
        job.answer(Some(answer));
    }
}
