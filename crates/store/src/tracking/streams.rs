//! Streams of metrics: several batches in one commit, with the sequence that makes resending harmless.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use lodeway_domain::{Result, caller::Workspace, id::RunId, time::Timestamp, tracking::Point};
use tokio::sync::watch;

use super::{
    SqlTracking,
    metrics::{StreamAppend, StreamOutcome, append_points, lock_run},
};
use crate::{args, sql::Tx};

struct Prepared {
    workspace: String,
    run: RunId,
    stream_id: String,
    after: i64,
    last: i64,
    points: Vec<(i64, Point)>,
    now: Timestamp,
}

impl SqlTracking {
    pub(super) async fn append_to_stream(
        &self,
        workspace: &Workspace,
        run: &RunId,
        append: StreamAppend,
        now: Timestamp,
    ) -> Result<StreamOutcome> {
        let count = i64::try_from(append.batches.len()).unwrap_or(i64::MAX);
        let prepared = Prepared {
            workspace: workspace.as_str().to_owned(),
            run: run.clone(),
            last: append.after.saturating_add(count),
            points: self
                .points_of(&append.batches.iter().map(|batch| &**batch).collect::<Vec<_>>())
                .await?,
            stream_id: append.stream_id,
            after: append.after,
            now,
        };
        let (outcome, run, seq) = self
            .db
            .write_with(prepared, |tx, p| Box::pin(write(tx, p)))
            .await?;
        if matches!(outcome, StreamOutcome::Durable(_)) {
            self.appends.tell(run, seq);
        }
        Ok(outcome)
    }
}

async fn write(tx: &mut Tx, batch: &Prepared) -> Result<(StreamOutcome, i64, i64)> {
    let head = lock_run(
        tx,
        &batch.workspace,
        &batch.run,
        i64::from(!batch.points.is_empty()),
    )
    .await?;
    let sql = "INSERT INTO metric_streams (run, stream_id, sequence) VALUES ($1, $2, $3) \
               ON CONFLICT (run, stream_id) DO UPDATE SET sequence = excluded.sequence \
               WHERE metric_streams.sequence = $4";
    let moved = tx
        .execute(sql, &args![head.id, &batch.stream_id, batch.last, batch.after])
        .await?;
    if moved == 0 {
        let sql = "SELECT sequence FROM metric_streams WHERE run = $1 AND stream_id = $2";
        let durable = tx
            .query_one(sql, &args![head.id, &batch.stream_id])
            .await?
            .int(0)?;
        return Ok((StreamOutcome::Moved(durable), head.id, head.append_seq));
    }
    append_points(tx, &head, &batch.points, batch.now).await?;
    Ok((StreamOutcome::Durable(batch.last), head.id, head.append_seq))
}

/// Who in this process waits for appends, by run. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Appends {
    watched: Arc<Mutex<HashMap<i64, watch::Sender<i64>>>>,
}

impl Appends {
    /// Tells the watchers of a run, if there are any.
    pub fn tell(&self, run: i64, seq: i64) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = watched.get(&run) else { return };
        if sender.receiver_count() == 0 {
            watched.remove(&run);
        } else {
            sender.send_modify(|last| *last = seq.max(*last));
        }
    }

    /// A receiver that changes with every append to the run.
    pub fn watch(&self, run: i64) -> watch::Receiver<i64> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|_, sender| sender.receiver_count() > 0);
        watched
            .entry(run)
            .or_insert_with(|| watch::Sender::new(0))
            .subscribe()
    }
}
