//! SQLite: one file, one writer, a few readers.
//!
//! All writes of a database go through one thread ([`writer`]), which takes what is queued, runs each operation in a
//! savepoint, commits once (`synchronous=FULL`, write-ahead log: one sync) and only then answers. So a lone write costs one
//! sync and a thousand concurrent ones share a few. The statements of an operation run on that thread one after the other:
//! a hop to another thread for each cost several times what the statement did.

pub(super) mod connection;
pub(super) mod readers;
mod writer;

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use lodeway_domain::Result;
use tokio::sync::{mpsc, oneshot, watch};

use self::{
    readers::Readers,
    writer::{Message, Operation},
};
use super::{
    DbOptions, OpenError, Reader, Tx,
    conn::{Conn, Link},
    error::unavailable,
};

pub(super) struct Sqlite {
    pub(super) path: PathBuf,
    queue: mpsc::Sender<Message>,
    queue_timeout: Duration,
    readers: Arc<Readers>,
}

impl Sqlite {
    pub(super) async fn open(
        path: &Path,
        options: &DbOptions,
        wake: watch::Sender<u64>,
    ) -> Result<Self, OpenError> {
        let lock = lock(path)?;
        let queue = writer::start(path, lock, options, wake).await?;
        Ok(Self {
            path: path.to_owned(),
            queue,
            queue_timeout: options.queue_timeout,
            readers: Readers::new(path.to_owned(), options),
        })
    }

    pub(super) async fn read(&self) -> Result<Reader> {
        Ok(Reader(Conn::new(
            Link::SqliteReader(self.readers.acquire(false).await?),
            None,
        )))
    }

    pub(super) async fn snapshot(&self) -> Result<Reader> {
        Ok(Reader(Conn::new(
            Link::SqliteReader(self.readers.acquire(true).await?),
            None,
        )))
    }

    pub(super) async fn write<S, T, F>(&self, state: S, op: F) -> Result<T>
    where
        S: Send + Sync + 'static,
        T: Send + 'static,
        F: for<'a> Fn(&'a mut Tx, &'a S) -> BoxFuture<'a, Result<T>> + Send + Sync + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Message::Job(Box::new(Operation::new(state, op, reply)));
        match self.queue.send_timeout(job, self.queue_timeout).await {
            Ok(()) => answer
                .await
                .unwrap_or_else(|_| Err(unavailable("the database is closed"))),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(unavailable("the database is closed")),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(unavailable("the queue of writes is full")),
        }
    }

    pub(super) async fn close(&self) {
        self.readers.close();
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
