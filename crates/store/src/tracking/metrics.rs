//! Metrics: what is promised, and how batches are appended.
//!
//! Every append of points to a run locks the run's row and takes the next number of its log, `append_seq`; so numbers
//! come in the order of commits, and a watcher that has seen one never finds a smaller one later.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use lodeway_domain::{
    Error, Reason, ResourceKind, Result,
    caller::Workspace,
    float,
    id::RunId,
    page::{Page, PageRequest},
    time::Timestamp,
    tracking::{HistoryOrder, LogBatch, Metric, Point, RUN_NAME_TAG, StoredPoint},
};
use tokio::sync::watch;

use super::{
    SqlTracking, at_once, blocks,
    history::Sample,
    labels::{self, Label},
    latest,
    run_head::{RUN_ENTITY, RunHead, find_run},
    tail::{RunCursor, Tail},
    write::Write,
};
use crate::{
    args,
    ledger::changes::{self, NewChange},
    sql::{Engine, Tx},
};

/// Where a stream of a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// The last durable sequence; 0 for a new stream.
    pub durable: i64,
}

/// Batches of a stream that follow each other.
#[derive(Debug, Clone)]
pub struct StreamAppend {
    /// The writer's stream: a UUID.
    pub stream_id: String,
    /// The durable sequence that they follow.
    pub after: i64,
    /// The batches with the sequences `after + 1`, `after + 2`, …; their params and tags are not looked at.
    pub batches: Vec<Arc<LogBatch>>,
}

/// What became of an append to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamOutcome {
    /// All batches are durable, up to this sequence.
    Durable(i64),
    /// Nothing was written: the stream is at this sequence, because another connection wrote to it.
    Moved(i64),
}

/// Points of runs: appended in batches, read as histories or from a place in the log on.
#[async_trait]
pub trait MetricStore: Send + Sync + 'static {
    /// Appends one batch to an active run, all or nothing; durable when this returns.
    ///
    /// Params are write-once, tags replace, the tag `mlflow.runName` renames the run. Repeating a batch changes nothing
    /// that a reader of histories sees: equal points collapse. Errors: `NotFound` for the run or a logged model,
    /// `RUN_NOT_ACTIVE`, `PARAM_ALREADY_SET`, `REQUEST_ID_REUSED`.
    async fn log_batch(&self, write: Write<()>, run: &RunId, batch: LogBatch) -> Result<()>;

    /// Where a stream of an active run is. Errors: `NotFound`, `RUN_NOT_ACTIVE`.
    async fn open_stream(&self, workspace: &Workspace, run: &RunId, stream_id: &str) -> Result<StreamState>;

    /// Appends batches of a stream and their sequence in one commit, if the stream is where the caller thinks it is.
    /// Errors: `NotFound`, `RUN_NOT_ACTIVE`.
    async fn append_stream(
        &self,
        workspace: &Workspace,
        run: &RunId,
        append: StreamAppend,
        now: Timestamp,
    ) -> Result<StreamOutcome>;

    /// One page of a metric's history; equal points come once. Positions are (time, step, bits) or (step, time, bits).
    /// A metric that the run does not have is an empty page. Errors: `NotFound` for the run, `INVALID_PAGE_TOKEN`.
    async fn metric_history(
        &self,
        workspace: &Workspace,
        run: &RunId,
        key: &str,
        order: HistoryOrder,
        page: &PageRequest,
    ) -> Result<Page<Point>>;

    /// Histories of one metric thinned to the same steps in all runs, by run as asked for, then (step, time, value).
    ///
    /// Steps are those of all runs together within the range; at most `max_steps` of them are kept, evenly spaced by
    /// their rank, besides the first and last of each run and the last of all. Runs that do not exist are left out.
    async fn sample_history(&self, workspace: &Workspace, sample: &Sample) -> Result<Vec<StoredPoint>>;

    /// What is new in a run's log after `cursor`: at most about `limit` points, by (append, key). A page of points is cut
    /// only between points, and the cursor it comes with goes on right there. A deleted run is read like any other.
    /// Errors: `NotFound`, also for a run that was purged.
    async fn tail(
        &self,
        workspace: &Workspace,
        run: &RunId,
        cursor: RunCursor,
        keys: &[String],
        limit: usize,
    ) -> Result<Tail>;

    /// Changes when points were appended to this run by this process; other processes' appends do not show.
    async fn appends(&self, workspace: &Workspace, run: &RunId) -> Result<watch::Receiver<i64>>;

    /// Changes with every commit to the change log, see [`Db::wakeups`](crate::sql::Db::wakeups).
    fn wakeups(&self) -> watch::Receiver<u64>;

    /// Does one small piece of work in the background: compacts blocks, brings the index of latest values up to date.
    /// True if there may be more to do.
    async fn maintain_metrics(&self, now: Timestamp) -> Result<bool>;

    /// Forgets changes older than `keep`, some of them a call; how many. A watch that is behind them has to begin anew.
    async fn prune_changes(&self, now: Timestamp, keep: Duration) -> Result<u64>;
}

/// Locks the row of an active run and gives out `appends` numbers of its log.
pub(super) async fn lock_run(tx: &mut Tx, workspace: &str, run: &RunId, appends: i64) -> Result<RunHead> {
    // SQLite has one writer, so that a look before the update is as good, and cheaper than an update that returns rows.
    // On PostgreSQL the list of work would be seen as it was before this waited for the row.
    let (sql, args) = match tx.engine() {
        Engine::Sqlite => (
            "SELECT id, experiment, append_seq, revision, deleted_ms, started_ms, \
             (SELECT u.since_ms FROM unindexed_runs u WHERE u.run = runs.id) \
             FROM runs WHERE workspace = $1 AND run_id = $2",
            args![workspace, run.as_str()].to_vec(),
        ),
        Engine::Postgres => (
            "UPDATE runs SET append_seq = append_seq + $3 WHERE workspace = $1 AND run_id = $2 \
             RETURNING id, experiment, append_seq, revision, deleted_ms, started_ms, CAST(NULL AS BIGINT)",
            args![workspace, run.as_str(), appends].to_vec(),
        ),
    };
    let row = tx.query_opt(sql, &args).await?;
    let row = row.ok_or_else(|| Error::not_found(ResourceKind::Run, run))?;
    active(run, row.opt_int(4)?)?;
    let mut head = RunHead {
        id: row.int(0)?,
        experiment: row.int(1)?,
        append_seq: row.int(2)?,
        revision: row.int(3)?,
        started_ms: row.int(5)?,
        noted_ms: row.opt_int(6)?,
    };
    if tx.engine() == Engine::Sqlite && appends > 0 {
        head.append_seq += appends;
        let sql = "UPDATE runs SET append_seq = $2 WHERE id = $1";
        tx.execute(sql, &args![head.id, head.append_seq]).await?;
    }
    Ok(head)
}

fn active(run: &RunId, deleted_ms: Option<i64>) -> Result<()> {
    use lodeway_domain::tracking::{Lifecycle, ensure_active};
    let deleted = |ms| Lifecycle::Deleted(Timestamp::from_millis(ms));
    ensure_active(run, deleted_ms.map_or(Lifecycle::Active, deleted))
}

/// A batch, made ready outside the operation.
struct Prepared {
    run: RunId,
    points: Vec<(i64, Point)>,
    measured: Vec<Metric>,
    params: Vec<Label>,
    tags: Vec<Label>,
    /// The run's row id and the append, once points are appended.
    appended: Mutex<Option<(i64, i64)>>,
}

impl Prepared {
    /// Whether it touches nothing but the run and its parts, and of the run itself not the name.
    fn is_plain(&self) -> bool {
        self.measured.is_empty() && self.tags.iter().all(|tag| tag.key != RUN_NAME_TAG)
    }

    fn batch(&self) -> at_once::Batch<'_> {
        at_once::Batch {
            params: &self.params,
            tags: &self.tags,
            points: &self.points,
        }
    }
}

#[async_trait]
impl MetricStore for SqlTracking {
    async fn log_batch(&self, write: Write<()>, run: &RunId, batch: LogBatch) -> Result<()> {
        let params = self
            .labels(
                batch
                    .params()
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_str())),
            )
            .await?;
        let tags = self.labels(batch.tags().iter()).await?;
        let prepared = Arc::new(Prepared {
            run: run.clone(),
            points: self.points_of(&[&batch]).await?,
            measured: batch
                .metrics()
                .iter()
                .filter(|m| m.source.is_some())
                .cloned()
                .collect(),
            params,
            tags,
            appended: Mutex::default(),
        });
        if self.db.engine() == Engine::Postgres && write.request.is_none() && prepared.is_plain() {
            let batch = prepared.batch();
            if let Some((run, seq)) = at_once::log(&self.db, write.workspace(), run, batch, write.now).await?
            {
                if !batch.points.is_empty() {
                    self.appends.tell(run, seq);
                }
                return Ok(());
            }
            // Why not, is for the operation to say.
        }
        write
            .once(&self.db, Arc::clone(&prepared), |tx, write, batch| {
                Box::pin(log(tx, write, batch))
            })
            .await?;
        let appended = *prepared.appended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((run, seq)) = appended {
            self.appends.tell(run, seq);
        }
        Ok(())
    }

    async fn open_stream(&self, workspace: &Workspace, run: &RunId, stream_id: &str) -> Result<StreamState> {
        let mut conn = self.db.read().await?;
        let (id, deleted_ms) = find_run(&mut conn, workspace, run).await?;
        active(run, deleted_ms)?;
        let sql = "SELECT sequence FROM metric_streams WHERE run = $1 AND stream_id = $2";
        let row = conn.query_opt(sql, &args![id, stream_id]).await?;
        Ok(StreamState {
            durable: row.map_or(Ok(0), |row| row.int(0))?,
        })
    }

    async fn append_stream(
        &self,
        workspace: &Workspace,
        run: &RunId,
        append: StreamAppend,
        now: Timestamp,
    ) -> Result<StreamOutcome> {
        self.append_to_stream(workspace, run, append, now).await
    }

    async fn metric_history(
        &self,
        workspace: &Workspace,
        run: &RunId,
        key: &str,
        order: HistoryOrder,
        page: &PageRequest,
    ) -> Result<Page<Point>> {
        self.history_page(workspace, run, key, order, page).await
    }

    async fn sample_history(&self, workspace: &Workspace, sample: &Sample) -> Result<Vec<StoredPoint>> {
        self.sampled_history(workspace, sample).await
    }

    async fn tail(
        &self,
        workspace: &Workspace,
        run: &RunId,
        cursor: RunCursor,
        keys: &[String],
        limit: usize,
    ) -> Result<Tail> {
        self.read_tail(workspace, run, cursor, keys, limit).await
    }

    async fn appends(&self, workspace: &Workspace, run: &RunId) -> Result<watch::Receiver<i64>> {
        let (id, _) = find_run(&mut *self.db.read().await?, workspace, run).await?;
        Ok(self.appends.watch(id))
    }

    fn wakeups(&self) -> watch::Receiver<u64> {
        self.db.wakeups()
    }

    async fn maintain_metrics(&self, now: Timestamp) -> Result<bool> {
        self.maintain(now).await
    }

    async fn prune_changes(&self, now: Timestamp, keep: Duration) -> Result<u64> {
        changes::prune(&self.db, now, keep).await
    }
}

impl SqlTracking {
    /// All points of batches by interned key, then (step, time, value); equal ones once.
    pub(super) async fn points_of(&self, batches: &[&LogBatch]) -> Result<Vec<(i64, Point)>> {
        let groups: Vec<&[Metric]> = batches
            .iter()
            .flat_map(|batch| batch.metrics().chunk_by(|a, b| a.key == b.key))
            .collect();
        let keys: Vec<&str> = groups.iter().map(|group| group[0].key.as_str()).collect();
        let ids = self.keys.intern(&self.db, &keys).await?;
        let mut points: Vec<(i64, Point)> = Vec::with_capacity(groups.iter().map(|group| group.len()).sum());
        for (group, id) in groups.iter().zip(ids) {
            points.extend(group.iter().map(|metric| (id, metric.point)));
        }
        points.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp_by_step(&b.1)));
        points.dedup();
        Ok(points)
    }
}

/// The refusal of a param, with the run that it is about.
fn of_run(mut error: Error, run: &RunId) -> Error {
    if let Error::Precondition {
        reason: Reason::ParamAlreadySet,
        metadata,
        ..
    } = &mut error
    {
        metadata.push(("run_id", run.to_string()));
    }
    error
}

/// The operation behind `log_batch`.
async fn log(tx: &mut Tx, write: &Write<()>, batch: &Prepared) -> Result<()> {
    let head = lock_run(
        tx,
        write.workspace(),
        &batch.run,
        i64::from(!batch.points.is_empty()),
    )
    .await?;
    let mut changed = labels::set_params(tx, &head, &batch.params)
        .await
        .map_err(|error| of_run(error, &batch.run))?;
    changed |= labels::set_tags(tx, &head, &batch.tags).await?;
    let name = batch
        .tags
        .iter()
        .find(|tag| tag.key == RUN_NAME_TAG)
        .map(|tag| tag.value.as_str());
    let revision = head.revision + rename(tx, head.id, name).await?;
    append_points(tx, &head, &batch.points, write.now).await?;
    write_measured(tx, write.workspace(), &batch.run, &batch.measured).await?;
    if !batch.points.is_empty() {
        *batch.appended.lock().unwrap_or_else(PoisonError::into_inner) = Some((head.id, head.append_seq));
    }
    if changed || revision != head.revision {
        let change = NewChange {
            workspace: write.workspace(),
            entity: RUN_ENTITY,
            entity_id: batch.run.as_str(),
            version: revision,
            payload: &[],
        };
        changes::append(tx, change, write.now).await?;
    }
    Ok(())
}

/// How far the revision moves.
async fn rename(tx: &mut Tx, run: i64, name: Option<&str>) -> Result<i64> {
    let Some(name) = name else { return Ok(0) };
    let sql = "UPDATE runs SET name = $2, revision = revision + 1 WHERE id = $1 AND name <> $2";
    Ok(i64::from(tx.execute(sql, &args![run, name]).await? > 0))
}

/// Appends points, sorted by key and then (step, time, value), as the append `head.append_seq`.
pub(super) async fn append_points(
    tx: &mut Tx,
    head: &RunHead,
    points: &[(i64, Point)],
    now: Timestamp,
) -> Result<()> {
    if points.is_empty() {
        return Ok(());
    }
    if tx.engine() == Engine::Postgres {
        return at_once::append_in(tx, head, points, now).await;
    }
    write_blocks(tx, head.id, &blocks::pack(head.append_seq, points)).await?;
    latest::raise(tx, head, points).await?;
    latest::note_append(tx, head, now).await
}

pub(super) async fn write_blocks(tx: &mut Tx, run: i64, blocks: &[blocks::NewBlock]) -> Result<()> {
    let into = "INSERT INTO metric_blocks (run, key, append_seq, last_seq, points, min_ts_ms, max_ts_ms, min_step, \
                max_step, data)";
    let rows: Vec<_> = blocks
        .iter()
        .flat_map(|b| {
            args![
                run,
                b.key,
                b.first_seq,
                b.last_seq,
                b.points,
                b.times_ms.0,
                b.times_ms.1,
                b.steps.0,
                b.steps.1,
                &b.data
            ]
        })
        .collect();
    tx.insert_many(into, 10, "", &rows).await?;
    Ok(())
}

/// Gives the points that measure logged models to these.
async fn write_measured(tx: &mut Tx, workspace: &str, run: &RunId, measured: &[Metric]) -> Result<()> {
    if measured.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "SELECT id FROM logged_models WHERE workspace = $1 AND model_id = $2{}",
        tx.engine().for_share()
    );
    let mut models = std::collections::BTreeMap::new();
    for source in measured.iter().filter_map(|m| m.source.as_ref()) {
        models.insert(&source.model, 0);
    }
    for (model, id) in &mut models {
        let row = tx.query_opt(&sql, &args![workspace, model.as_str()]).await?;
        *id = row
            .ok_or_else(|| Error::not_found(ResourceKind::LoggedModel, model))?
            .int(0)?;
    }
    let mut rows = Vec::new();
    for metric in measured {
        let Some(source) = &metric.source else { continue };
        let (point, value) = (&metric.point, metric.point.value);
        rows.extend(args![
            models.get(&source.model).copied().unwrap_or_default(),
            metric.key.as_str(),
            &source.dataset_name,
            &source.dataset_digest,
            run.as_str(),
            point.step,
            point.time.millis(),
            float::rank(value),
            float::sort_key(value),
            float::to_bits(value),
        ]);
    }
    let into = "INSERT INTO logged_model_metrics (model, key, dataset_name, dataset_digest, run_id, step, ts_ms, rank, \
                sort, bits)";
    tx.insert_many(into, 10, "ON CONFLICT DO NOTHING", &rows).await?;
    Ok(())
}

/// The error for a sequence that does not follow the last one.
pub fn sequence_gap(expected: i64, found: i64) -> Error {
    Error::precondition(
        Reason::SequenceGap,
        format!(
            "batch `{found}` came where `{expected}` was expected; resend from the last acknowledged sequence on"
        ),
        vec![
            ("expected", expected.to_string()),
            ("sequence", found.to_string()),
        ],
    )
}
