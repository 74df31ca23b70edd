//! The latest point of every metric of a run, and the index that searches order by.
//!
//! `latest_metrics` is right at every commit. Its index over values is partial: a row that changes leaves it (`indexed`
//! false) and is put back once its run has been quiet for a moment, by [`settle`]. Until then the run is in
//! `unindexed_runs`, so that a search led by a metric reads two sets that share no row: the index, and the few rows of
//! those runs: `latest_metrics x WHERE x.indexed`, and `unindexed_runs u JOIN latest_metrics x ON x.run = u.run WHERE
//! u.experiment = … AND NOT x.indexed`.

use std::time::Duration;

use lodeway_domain::{Result, float, time::Timestamp, tracking::Point};

use super::{
    labels::{in_ids, json_ids},
    run_head::RunHead,
};
use crate::{
    args,
    sql::{Db, Engine, Tx},
};

/// How long a run must have been quiet before its rows go back into the index.
pub(super) const QUIET: Duration = Duration::from_secs(3);

/// Rows put back into the index in one go.
const SLICE: i64 = 500;

/// The order of latest points, (step, time, value) with NaN last and −0.0 after 0.0, as one tuple of a row.
/// `bits < 0` before `bits`: the bits count as unsigned there.
macro_rules! place {
    ($table:literal) => {
        concat!(
            "(",
            $table,
            ".step, ",
            $table,
            ".ts_ms, ",
            $table,
            ".rank, ",
            $table,
            ".sort, ",
            $table,
            ".bits < 0, ",
            $table,
            ".bits)"
        )
    };
}

pub(super) const INTO: &str =
    "INSERT INTO latest_metrics (run, key, experiment, started_ms, rank, sort, bits, step, ts_ms, indexed)";

/// Replaces a row by a greater one.
pub(super) const END: &str = concat!(
    "ON CONFLICT (run, key) DO UPDATE SET rank = excluded.rank, sort = excluded.sort, bits = excluded.bits, \
     step = excluded.step, ts_ms = excluded.ts_ms, indexed = FALSE WHERE ",
    place!("excluded"),
    " > ",
    place!("latest_metrics")
);

/// Takes the last point of each key where it is greater than what is there. `points` as in `append_points`.
pub(super) async fn raise(tx: &mut Tx, head: &RunHead, points: &[(i64, Point)]) -> Result<()> {
    let last: Vec<&(i64, Point)> = points
        .chunk_by(|a, b| a.0 == b.0)
        .filter_map(<[_]>::last)
        .collect();
    let mut rows = Vec::with_capacity(last.len() * 10);
    for (key, point) in last {
        let value = point.value;
        rows.extend(args![
            head.id,
            *key,
            head.experiment,
            head.started_ms,
            float::rank(value),
            float::sort_key(value),
            float::to_bits(value),
            point.step,
            point.time.millis(),
            false,
        ]);
    }
    tx.insert_many(INTO, 10, END, &rows).await?;
    Ok(())
}

/// What a run that is on the list already needs: nothing, unless its last append there is before `$4`. `$3` is now.
pub(super) const NOTED: &str = "ON CONFLICT (run) DO UPDATE SET since_ms = excluded.since_ms \
    WHERE unindexed_runs.since_ms < $4 OR unindexed_runs.since_ms > excluded.since_ms";

/// Appends since then need not be noted again.
pub(super) fn noted_before(now: Timestamp) -> Timestamp {
    now.minus(Duration::from_secs(1))
}

/// Puts the run on the list of work for the background.
pub(super) async fn note_append(tx: &mut Tx, head: &RunHead, now: Timestamp) -> Result<()> {
    let second_ago = noted_before(now).millis();
    if head
        .noted_ms
        .is_some_and(|noted| (second_ago..=now.millis()).contains(&noted))
    {
        return Ok(());
    }
    let sql = format!("INSERT INTO unindexed_runs (run, experiment, since_ms) VALUES ($1, $2, $3) {NOTED}");
    tx.execute(&sql, &args![head.id, head.experiment, now.millis(), second_ago])
        .await?;
    Ok(())
}

/// Puts rows of runs back into the index, a slice of them; false if some are left.
///
/// Takes the runs off the list with the last of them: no append is under way then, and the next one puts its run back.
pub(super) async fn settle(db: &Db, runs: &[i64]) -> Result<bool> {
    db.write_with(json_ids(runs.iter().copied())?, |tx, runs| {
        Box::pin(async move {
            let engine = tx.engine();
            let these = in_ids(engine, "$1");
            // An append locks its run's row first, so none is under way once all are held.
            if engine == Engine::Postgres {
                let lock = format!("SELECT 1 FROM runs WHERE id {these} ORDER BY id FOR UPDATE");
                tx.query(&lock, &args![runs]).await?;
            }
            let sql = format!(
                "UPDATE latest_metrics SET indexed = TRUE WHERE (run, key) IN (SELECT run, key FROM latest_metrics \
                 WHERE run {these} AND NOT indexed ORDER BY run, key LIMIT $2)"
            );
            let done = tx.execute(&sql, &args![runs, SLICE]).await?;
            if i64::try_from(done).unwrap_or(SLICE) >= SLICE {
                return Ok(false);
            }
            let sql = format!("DELETE FROM unindexed_runs WHERE run {these}");
            tx.execute(&sql, &args![runs]).await?;
            Ok(true)
        })
    })
    .await
}
