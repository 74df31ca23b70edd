//! The tracked spawner, so that shutdown waits for work in the background.

use std::{future::Future, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::TaskTracker,
};

/// Spawns tasks that shutdown knows of; clones share one set.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    drain: CancellationToken,
    stop: CancellationToken,
}

impl Tasks {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `work` to its end; shutdown waits for it, and it should end soon after [`Tasks::stopping`].
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(work)
    }

    /// Runs `work` until it ends or shutdown begins, whichever is first; it is dropped at its next await then.
    pub fn spawn_until_stop<F>(&self, work: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let stop = self.stop.clone();
        self.tracker
            .spawn(async move { stop.run_until_cancelled(work).await })
    }

    /// Runs blocking `work` on its own thread; shutdown waits for it.
    pub fn spawn_blocking<F, T>(&self, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.tracker.spawn_blocking(work)
    }

    /// Ends when the listener begins to drain, before [`Tasks::stopping`]: streams that would never end (watches) end
    /// here, while calls at work and the tasks they need go on.
    pub fn draining(&self) -> WaitForCancellationFutureOwned {
        self.drain.clone().cancelled_owned()
    }

    /// Tells endless streams to end; [`crate::serve::Server::serve`] calls it.
    pub fn begin_drain(&self) {
        self.drain.cancel();
    }

    /// Ends when shutdown begins.
    pub fn stopping(&self) -> WaitForCancellationFutureOwned {
        self.stop.clone().cancelled_owned()
    }

    /// True once shutdown has begun.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// A token that is cancelled when shutdown begins, for code that takes one.
    pub fn token(&self) -> CancellationToken {
        self.stop.child_token()
    }

    /// How many tasks run now.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// True if no task runs.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Tells every task to stop and waits up to `grace`; false if some were still running then.
    pub async fn shutdown(&self, grace: Duration) -> bool {
        self.drain.cancel();
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(grace, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutdown_waits_for_tasks_and_reports_the_ones_that_hang() {
        let tasks = Tasks::new();
        let stopping = tasks.stopping();
        let polite = tasks.spawn(async move {
            stopping.await;
            7
        });
        let endless = tasks.spawn_until_stop(std::future::pending::<()>());
        assert_eq!(tasks.len(), 2);
        assert!(tasks.shutdown(Duration::from_secs(5)).await);
        assert_eq!(polite.await.unwrap(), 7);
        assert_eq!(endless.await.unwrap(), None);

        let tasks = Tasks::new();
        let hanging = tasks.spawn(std::future::pending::<()>());
        assert!(!tasks.shutdown(Duration::from_millis(20)).await);
        hanging.abort();
    }
}
