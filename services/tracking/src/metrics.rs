//! Metrics: batches, histories, and the work that follows them in the background.

use std::{sync::Arc, time::Duration};

use lodeway_domain::{
    Result,
    caller::Workspace,
    id::RunId,
    page::{Page, PageRequest},
    time::Clock,
    tracking::{HistoryOrder, LogBatch, Point, StoredPoint},
};
use lodeway_rpc::Tasks;
use lodeway_store::tracking::{MetricStore, Sample, Write};

/// How long the background sleeps when nothing is to be done.
const IDLE: Duration = Duration::from_secs(1);
/// The pause between two slices of work, so that callers' writes come first.
const BETWEEN_SLICES: Duration = Duration::from_millis(5);
/// The pause after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

pub struct Metrics {
    store: Arc<dyn MetricStore>,
}

impl Metrics {
    pub fn new(store: Arc<dyn MetricStore>) -> Self {
        Self { store }
    }

    pub async fn log_batch(&self, write: Write<()>, run: &RunId, batch: LogBatch) -> Result<()> {
        self.store.log_batch(write, run, batch).await
    }

    pub async fn history(
        &self,
        workspace: &Workspace,
        run: &RunId,
        key: &str,
        order: HistoryOrder,
        page: &PageRequest,
    ) -> Result<Page<Point>> {
        self.store.metric_history(workspace, run, key, order, page).await
    }

    pub async fn sample(&self, workspace: &Workspace, sample: &Sample) -> Result<Vec<StoredPoint>> {
        self.store.sample_history(workspace, sample).await
    }
}

/// How long a watcher may be away and still go on from its cursor.
const CHANGES_KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How often older entries of the change log are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);

/// Compacts points and keeps the index of latest values up to date, until shutdown.
pub fn maintain(store: Arc<dyn MetricStore>, clock: Arc<dyn Clock>, tasks: &Tasks) {
    tasks.spawn_until_stop(async move {
        loop {
            let pause = match store.maintain_metrics(clock.now()).await {
                Ok(true) => BETWEEN_SLICES,
                Ok(false) => IDLE,
                Err(error) => {
                    tracing::warn!(%error, cause = error.cause().map(tracing::field::display), "work on metrics failed");
                    AFTER_FAILURE
                }
            };
            tokio::time::sleep(pause).await;
        }
    });
}

/// Forgets old entries of the change log, until shutdown, so that it does not grow for ever.
pub fn keep_log_short(store: Arc<dyn MetricStore>, clock: Arc<dyn Clock>, tasks: &Tasks) {
    tasks.spawn_until_stop(async move {
        loop {
            tokio::time::sleep(PRUNE_EVERY).await;
            let forgotten = async {
                while store.prune_changes(clock.now(), CHANGES_KEPT).await? > 0 {}
                Ok::<_, lodeway_domain::Error>(())
            };
            if let Err(error) = forgotten.await {
                tracing::warn!(%error, "old changes cannot be forgotten now");
            }
        }
    });
}
