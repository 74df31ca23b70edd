//! `WatchRun`: what a run has recorded, then what it records while one looks on.
//!
//! A run in the bin is watched on, for it may come back; only a purge ends its watch.
//!
//! A message is made only when the one before was taken, so a slow watcher costs time, not memory.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{Stream, stream};
use lodeway_domain::{
    Caller, Error, Result,
    filter::{Keys, Projection},
    id::RunId,
    tracking::Run,
};
use lodeway_rpc::{CallContext, Tasks};
use lodeway_store::tracking::{MetricStore, RunCursor, RunStore, Tail};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Points of one message at most, so that it fits the smallest limit of clients (4 MiB).
const POINTS_MAX: usize = 2_000;
/// How often to look even if nothing wakes us: another process may have appended.
const POLL: Duration = Duration::from_secs(1);

/// What the server needs for watchers.
#[derive(Clone)]
pub struct Watches {
    metrics: Arc<dyn MetricStore>,
    runs: Arc<dyn RunStore>,
    stop: CancellationToken,
}

impl Watches {
    pub fn new(metrics: Arc<dyn MetricStore>, runs: Arc<dyn RunStore>, tasks: &Tasks) -> Self {
        Self {
            metrics,
            runs,
            stop: tasks.token(),
        }
    }

    /// Gives what is after `cursor`, and goes on until the caller leaves, the run is purged (`NotFound`) or the server
    /// stops.
    pub async fn serve(
        self,
        cx: &CallContext,
        run: RunId,
        cursor: RunCursor,
        keys: Vec<String>,
    ) -> Result<impl Stream<Item = Result<(Tail, Option<Run>)>> + Send + use<>> {
        // Subscribed before the first look, so that nothing falls between.
        let wakeups = self.metrics.wakeups();
        let appends = self.metrics.appends(&cx.caller.workspace, &run).await?;
        let watcher = Watcher {
            watches: self,
            caller: Arc::clone(&cx.caller),
            run,
            cursor,
            keys,
            wakeups,
            appends,
            is_behind: true,
        };
        // One error ends the stream.
        Ok(stream::unfold(Some(watcher), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.step().await {
                Ok(message) => Some((Ok(message), Some(watcher))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }
}

struct Watcher {
    watches: Watches,
    caller: Arc<Caller>,
    run: RunId,
    cursor: RunCursor,
    keys: Vec<String>,
    wakeups: watch::Receiver<u64>,
    appends: watch::Receiver<i64>,
    /// Whether there may be more without waiting.
    is_behind: bool,
}

impl Watcher {
    /// Waits for news.
    async fn step(&mut self) -> Result<(Tail, Option<Run>)> {
        loop {
            if !self.is_behind {
                self.wait().await?;
            }
            self.wakeups.borrow_and_update();
            self.appends.borrow_and_update();
            let Watches { metrics, runs, .. } = &self.watches;
            let workspace = &self.caller.workspace;
            let tail = metrics
                .tail(workspace, &self.run, self.cursor, &self.keys, POINTS_MAX)
                .await?;
            let run = match tail.changed {
                true => Some(runs.run(workspace, &self.run, &projection()).await?),
                false => None,
            };
            self.cursor = tail.cursor;
            self.is_behind = !tail.is_end;
            if run.is_some() || !tail.points.is_empty() {
                return Ok((tail, run));
            }
        }
    }

    async fn wait(&mut self) -> Result<()> {
        tokio::select! {
            _ = self.wakeups.changed() => Ok(()),
            _ = self.appends.changed() => Ok(()),
            () = tokio::time::sleep(POLL) => Ok(()),
            () = self.watches.stop.cancelled() => {
                Err(Error::unavailable("the server is stopping; watch again from the last cursor", "shutdown"))
            }
        }
    }
}

/// Everything of a run except its metrics.
fn projection() -> Projection {
    Projection {
        metrics: Keys::Only(BTreeSet::new()),
        ..Projection::everything()
    }
}
