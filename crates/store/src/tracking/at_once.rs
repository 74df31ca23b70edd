//! Logging to a run in one statement, where every statement is a round trip.
//!
//! What [`super::metrics`] does with several statements in a transaction, [`log`] does with one that is the whole
//! transaction; [`append_in`] does it for the points of an operation that holds the run's row. On PostgreSQL round trips
//! are most of what small batches cost on both sides. Rows go as one array a column, so that the text does not depend on
//! how many they are and stays prepared.

use std::fmt::Write as _;

use lodeway_domain::{Result, float, id::RunId, time::Timestamp, tracking::Point};

use super::{
    blocks,
    labels::{Label, head},
    latest,
    run_head::{RUN_ENTITY, RunHead},
};
use crate::{
    ledger::changes,
    sql::{Arg, Db, Tx, is_unique},
};

/// What is logged: keys in each part at most once, points sorted by key and then (step, time, value).
#[derive(Clone, Copy)]
pub(super) struct Batch<'b> {
    pub params: &'b [Label],
    pub tags: &'b [Label],
    pub points: &'b [(i64, Point)],
}

impl Batch<'_> {
    fn has_labels(&self) -> bool {
        !self.params.is_empty() || !self.tags.is_empty()
    }
}

/// Logs a batch to an active run: its row id and the append. None, and nothing done, if there is no such run, it is deleted
/// or one of its params has another value: which, is for an operation to find out.
///
/// Locks as a transaction would: the run's row first, from which all other parts of the statement take their run, the
/// change log's head last. Run twice it appends twice, which no reader of histories sees, and changes nothing else.
pub(super) async fn log(
    db: &Db,
    workspace: &str,
    run_id: &RunId,
    batch: Batch<'_>,
    now: Timestamp,
) -> Result<Option<(i64, i64)>> {
    let mut made = Statement {
        sql: "WITH ".to_owned(),
        args: [
            Arg::from(workspace),
            Arg::from(run_id.as_str()),
            Arg::from(now.millis()),
            Arg::from(latest::noted_before(now).millis()),
        ]
        .into(),
    };
    let mut fits = "";
    if !batch.params.is_empty() {
        let given = made.labels(batch.params);
        // As the statement found them. Params set meanwhile show as a violated key when these are inserted.
        let _ = write!(
            made.sql,
            "g AS (SELECT * FROM {given}), o AS (SELECT p.key, p.value FROM runs x JOIN params p ON p.run = x.id \
             WHERE x.workspace = $1 AND x.run_id = $2 AND p.key IN (SELECT key FROM g)), "
        );
        fits = " AND NOT EXISTS (SELECT 1 FROM o JOIN g ON g.key = o.key WHERE g.value <> o.value)";
    }
    let appends = i64::from(!batch.points.is_empty());
    let _ = write!(
        made.sql,
        "r AS (UPDATE runs SET append_seq = append_seq + {appends} WHERE workspace = $1 AND run_id = $2 \
         AND deleted_ms IS NULL{fits} RETURNING id, experiment, append_seq, started_ms, revision)"
    );
    let labelled = "SELECT r.id, g.key, r.experiment, r.started_ms, g.head, g.value FROM r CROSS JOIN";
    let mut changed = Vec::new();
    if !batch.params.is_empty() {
        let _ = write!(
            made.sql,
            ", p AS (INSERT INTO params (run, key, experiment, started_ms, head, value) {labelled} g \
             WHERE NOT EXISTS (SELECT 1 FROM o WHERE o.key = g.key) RETURNING 1)"
        );
        changed.push("(SELECT count(*) FROM p) > 0");
    }
    if !batch.tags.is_empty() {
        let given = made.labels(batch.tags);
        let _ = write!(
            made.sql,
            ", t AS (INSERT INTO run_tags (run, key, experiment, started_ms, head, value) {labelled} {given} \
             ON CONFLICT (run, key) DO UPDATE SET head = excluded.head, value = excluded.value \
             WHERE run_tags.value <> excluded.value RETURNING 1)"
        );
        changed.push("(SELECT count(*) FROM t) > 0");
    }
    if !batch.points.is_empty() {
        made.points(batch.points);
    }
    if !batch.has_labels() {
        made.sql.push_str(" SELECT id, append_seq, FALSE FROM r");
        return done(db, db.write_at_once(&made.sql, &made.args).await);
    }
    let (entity, nothing) = (made.bind(RUN_ENTITY), made.bind(&b""[..]));
    let revision = "(SELECT revision FROM r)";
    let entry = changes::entry(
        &format!("({})", changed.join(" OR ")),
        ["$1", &entity, "$2", revision, &nothing, "$3"],
    );
    let _ = write!(
        made.sql,
        ", {entry} SELECT id, append_seq, EXISTS (SELECT 1 FROM h) FROM r"
    );
    done(db, db.change_at_once(&made.sql, &made.args, true).await)
}

fn done(db: &Db, rows: Result<Vec<crate::sql::Row>>) -> Result<Option<(i64, i64)>> {
    let rows = match rows {
        Err(error) if is_unique(&error) => return Ok(None),
        other => other?,
    };
    let Some(row) = rows.first() else { return Ok(None) };
    if row.bool(2)? {
        db.wake();
    }
    Ok(Some((row.int(0)?, row.int(1)?)))
}

/// Appends points, sorted as in [`Batch`], to a run whose row is locked.
pub(super) async fn append_in(
    tx: &mut Tx,
    head: &RunHead,
    points: &[(i64, Point)],
    now: Timestamp,
) -> Result<()> {
    let args = [
        head.id,
        head.experiment,
        now.millis(),
        latest::noted_before(now).millis(),
        head.append_seq,
        head.started_ms,
    ];
    let mut made = Statement {
        sql: "WITH r AS (SELECT CAST($1 AS BIGINT) AS id, CAST($2 AS BIGINT) AS experiment, \
              CAST($5 AS BIGINT) AS append_seq, CAST($6 AS BIGINT) AS started_ms)"
            .to_owned(),
        args: args.map(Arg::from).into(),
    };
    made.points(points);
    made.sql.push_str(" SELECT 1");
    tx.query(&made.sql, &made.args).await.map(|_| ())
}

/// A statement in the making. `$3` and `$4` are those of [`latest::NOTED`].
struct Statement<'b> {
    sql: String,
    args: Vec<Arg<'b>>,
}

impl<'b> Statement<'b> {
    fn bind(&mut self, arg: impl Into<Arg<'b>>) -> String {
        self.args.push(arg.into());
        format!("${}", self.args.len())
    }

    /// Labels as rows of `g`.
    fn labels(&mut self, labels: &'b [Label]) -> String {
        let keys = self.bind(labels.iter().map(|l| l.id).collect::<Vec<_>>());
        let heads = self.bind(Arg::Texts(labels.iter().map(|l| head(&l.value).into()).collect()));
        let values = self.bind(Arg::Texts(
            labels.iter().map(|l| l.value.as_str().into()).collect(),
        ));
        format!("unnest({keys}, {heads}, {values}) AS g (key, head, value)")
    }

    /// Adds the parts that append points to the run `r`.
    fn points(&mut self, points: &[(i64, Point)]) {
        // The append's number is not in the bytes of its blocks.
        let mut blocks = blocks::pack(0, points);
        let data = blocks
            .iter_mut()
            .map(|block| Arg::from(std::mem::take(&mut block.data)));
        let data = Arg::Column(data.collect());
        let numbers = blocks.iter().map(|block| {
            [
                block.key,
                block.points,
                block.times_ms.0,
                block.times_ms.1,
                block.steps.0,
                block.steps.1,
            ]
        });
        let numbers = self.numbers(numbers);
        let data = self.bind(data);
        let _ = write!(
            self.sql,
            ", b AS (INSERT INTO metric_blocks (run, key, append_seq, last_seq, points, min_ts_ms, max_ts_ms, min_step, \
             max_step, data) SELECT r.id, v.key, r.append_seq, r.append_seq, v.points, v.min_ts_ms, v.max_ts_ms, \
             v.min_step, v.max_step, v.data FROM r CROSS JOIN unnest({numbers}, {data}) \
             AS v (key, points, min_ts_ms, max_ts_ms, min_step, max_step, data))"
        );
        let last = points.chunk_by(|a, b| a.0 == b.0).filter_map(<[_]>::last);
        let numbers = last.map(|(key, point)| {
            let value = point.value;
            [
                *key,
                float::rank(value),
                float::sort_key(value),
                float::to_bits(value),
                point.step,
                point.time.millis(),
            ]
        });
        let numbers = self.numbers(numbers);
        // A new row goes into the index at once: here that costs less than writing the row again later. It leaves the index
        // when it changes, and changes often after that without touching it.
        let _ = write!(
            self.sql,
            ", l AS ({} SELECT r.id, v.key, r.experiment, r.started_ms, v.rank, v.sort, v.bits, v.step, v.ts_ms, TRUE \
             FROM r CROSS JOIN unnest({numbers}) AS v (key, rank, sort, bits, step, ts_ms) {}), \
             u AS (INSERT INTO unindexed_runs (run, experiment, since_ms) SELECT r.id, r.experiment, $3 FROM r {})",
            latest::INTO,
            latest::END,
            latest::NOTED
        );
    }

    /// Binds rows of numbers, as one array a column.
    fn numbers<const N: usize>(&mut self, rows: impl Iterator<Item = [i64; N]>) -> String {
        let mut columns = [const { Vec::new() }; N];
        for row in rows {
            for (column, number) in columns.iter_mut().zip(row) {
                column.push(number);
            }
        }
        columns.map(|column| self.bind(column)).join(", ")
    }
}
