//! Appending a few points in one statement, where every statement is a round trip.
//!
//! What [`super::metrics`] does with three statements after the lock of the run, [`append_in`] does with one; for batches
//! that have nothing but points, and callers without a request id, [`append`] is the whole transaction. On PostgreSQL round
//! trips are most of what logging a metric costs on both sides.

use std::fmt::Write as _;

use lodeway_domain::{Result, float, id::RunId, time::Timestamp, tracking::Point};

use super::{
    blocks::{self, NewBlock},
    latest,
    metrics::RunHead,
};
use crate::sql::{Arg, Db, Tx};

/// The most keys in a batch; each number of keys is a statement that stays prepared.
const MAX_KEYS: usize = 16;
const MAX_POINTS: usize = 64;

/// Whether these points, sorted by key, are few enough.
pub(super) fn are_few(points: &[(i64, Point)]) -> bool {
    (1..=MAX_POINTS).contains(&points.len()) && points.chunk_by(|a, b| a.0 == b.0).count() <= MAX_KEYS
}

/// Appends points, sorted by key and then (step, time, value), to an active run: its row id and the append. None, and
/// nothing done, if there is no such run or it is deleted.
///
/// Locks as a transaction would: the run's row first, from which all other parts of the statement take their run. Run
/// twice it appends twice, which no reader of histories sees.
pub(super) async fn append(
    db: &Db,
    workspace: &str,
    run_id: &RunId,
    points: &[(i64, Point)],
    now: Timestamp,
) -> Result<Option<(i64, i64)>> {
    let run = "UPDATE runs SET append_seq = append_seq + 1 WHERE workspace = $1 AND run_id = $2 AND deleted_ms IS NULL \
               RETURNING id, experiment, append_seq, started_ms";
    let args = vec![
        Arg::from(workspace.to_owned()),
        Arg::from(run_id.as_str().to_owned()),
        Arg::from(now.millis()),
        Arg::from(latest::noted_before(now).millis()),
    ];
    let (sql, args) = statement(run, args, points);
    let row = db.write_at_once(&sql, &args).await?.into_iter().next();
    row.map(|row| Ok((row.int(0)?, row.int(1)?))).transpose()
}

/// Appends points, sorted as in [`append`], to a run whose row is locked.
pub(super) async fn append_in(
    tx: &mut Tx,
    head: &RunHead,
    points: &[(i64, Point)],
    now: Timestamp,
) -> Result<()> {
    let run = "SELECT CAST($1 AS BIGINT) AS id, CAST($2 AS BIGINT) AS experiment, CAST($5 AS BIGINT) AS append_seq, \
               CAST($6 AS BIGINT) AS started_ms";
    let args = [
        head.id,
        head.experiment,
        now.millis(),
        latest::noted_before(now).millis(),
        head.append_seq,
        head.started_ms,
    ];
    let (sql, args) = statement(run, args.map(Arg::from).into(), points);
    tx.query(&sql, &args).await.map(|_| ())
}

/// The statement for a run that `run` selects: its row id, experiment, append and start. `$3` and `$4` are those of
/// [`latest::NOTED`].
fn statement(run: &str, mut args: Vec<Arg<'static>>, points: &[(i64, Point)]) -> (String, Vec<Arg<'static>>) {
    // The append's number is not in the bytes of its blocks.
    let blocks = blocks::pack(0, points);
    let last = points.chunk_by(|a, b| a.0 == b.0).filter_map(<[_]>::last);
    let mut sql = format!(
        "WITH r AS ({run}), \
         b AS (INSERT INTO metric_blocks (run, key, append_seq, last_seq, points, min_ts_ms, max_ts_ms, min_step, \
         max_step, data) SELECT r.id, v.key, r.append_seq, r.append_seq, v.points, v.min_ts_ms, v.max_ts_ms, v.min_step, \
         v.max_step, v.data FROM r CROSS JOIN (VALUES ",
    );
    for (i, block) in blocks.iter().enumerate() {
        sql.push_str(if i == 0 { "" } else { ", " });
        row(&mut sql, &mut args, of_block(block));
    }
    sql.push_str(") AS v (key, points, min_ts_ms, max_ts_ms, min_step, max_step, data)), l AS (");
    sql.push_str(latest::INTO);
    sql.push_str(
        " SELECT r.id, v.key, r.experiment, r.started_ms, v.rank, v.sort, v.bits, v.step, v.ts_ms, FALSE \
         FROM r CROSS JOIN (VALUES ",
    );
    for (i, (key, point)) in last.enumerate() {
        sql.push_str(if i == 0 { "" } else { ", " });
        row(&mut sql, &mut args, of_point(*key, point));
    }
    sql.push_str(") AS v (key, rank, sort, bits, step, ts_ms) ");
    sql.push_str(latest::END);
    sql.push_str("), u AS (INSERT INTO unindexed_runs (run, experiment, since_ms) SELECT r.id, r.experiment, $3 FROM r ");
    sql.push_str(latest::NOTED);
    sql.push_str(") SELECT id, append_seq FROM r");
    (sql, args)
}

fn of_block(block: &NewBlock) -> Vec<Arg<'static>> {
    let numbers = [
        block.key,
        block.points,
        block.times_ms.0,
        block.times_ms.1,
        block.steps.0,
        block.steps.1,
    ];
    let data = Arg::from(block.data.clone());
    numbers.into_iter().map(Arg::from).chain([data]).collect()
}

fn of_point(key: i64, point: &Point) -> Vec<Arg<'static>> {
    let value = point.value;
    [
        key,
        float::rank(value),
        float::sort_key(value),
        float::to_bits(value),
        point.step,
        point.time.millis(),
    ]
    .map(Arg::from)
    .into()
}

/// Writes a row of VALUES; the engine cannot tell the types of arguments there by itself.
fn row(sql: &mut String, args: &mut Vec<Arg<'static>>, values: Vec<Arg<'static>>) {
    for (i, value) in values.into_iter().enumerate() {
        let kind = if matches!(value, Arg::Bytes(_)) {
            "BYTEA"
        } else {
            "BIGINT"
        };
        args.push(value);
        let lead = if i == 0 { "(" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(sql, "{lead}CAST(${} AS {kind})", args.len());
    }
    sql.push(')');
}
