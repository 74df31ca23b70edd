//! Compaction: many small blocks become few large ones, in slices that each are one commit.
//!
//! Blocks of fresh appends are rewritten by key, 64 appends or so at a time; small blocks of one key are merged later.
//! Both read outside the writer and then replace exactly the blocks they read, or nothing if one of them is gone. The
//! points of one key in one append stay in one block, with their append, so histories and watchers see no difference.

use std::{collections::BTreeMap, ops::ControlFlow, time::Duration};

use lodeway_domain::{Error, Result, time::Timestamp};

use super::{
    SqlTracking,
    blocks::{Block, NewBlock, SeqPoint, merge, read_key},
    latest,
    metrics::write_blocks,
};
use crate::{
    args,
    sql::{Engine, Tx},
};

/// Appends that wait before their blocks are rewritten.
pub(super) const LOOSE_APPENDS: i64 = 64;
/// The same once the run is quiet.
const LOOSE_APPENDS_QUIET: i64 = 8;
/// Points that one slice takes at most, give or take an append.
const SLICE_POINTS: usize = 64 * 1024;
/// A block of one key is closed with the append that brings it here.
const FULL_POINTS: usize = 4096;
/// A block of one key with so many points is left alone.
const LARGE_POINTS: i64 = 2048;
/// Small blocks of one key that wait before they are merged.
const SMALL_BLOCKS: i64 = 32;
/// The same once the run is quiet.
const SMALL_BLOCKS_QUIET: i64 = 8;
/// Keys whose small blocks one slice merges.
const SLICE_KEYS: i64 = 16;

/// How long a finished run is left alone; longer than its last call takes to follow the one before.
const FINISHED_QUIET: Duration = Duration::from_millis(500);
/// Small runs that are settled in one commit.
const SETTLED_TOGETHER: i64 = 64;

/// Work that waits.
#[derive(Debug)]
struct Candidate {
    run: i64,
    append_seq: i64,
    compacted_seq: i64,
    is_quiet: bool,
}

/// Blocks to put in the place of others.
#[derive(Debug, Default)]
struct Rewrite {
    run: i64,
    /// Key and append of each block that goes.
    old: Vec<(i64, i64)>,
    new: Vec<NewBlock>,
    /// How far the run is compacted before and after.
    compacted: Option<(i64, i64)>,
}

impl SqlTracking {
    pub(super) async fn maintain(&self, now: Timestamp) -> Result<bool> {
        let settled = self.quiet_small_runs(now).await?;
        if !settled.is_empty() {
            latest::settle(&self.db, &settled).await?;
            return Ok(true);
        }
        let Some(next) = self.next_candidate(now).await? else {
            return Ok(false);
        };
        let loose = next.append_seq - next.compacted_seq;
        if loose >= LOOSE_APPENDS || (next.is_quiet && loose >= LOOSE_APPENDS_QUIET) {
            let to = self.compact_loose(&next).await?;
            // Looking for small blocks walks over the run's blocks: not after every slice.
            if to / (8 * LOOSE_APPENDS) != next.compacted_seq / (8 * LOOSE_APPENDS) {
                while self.merge_small(next.run, to, SMALL_BLOCKS).await? {}
            }
            return Ok(true);
        }
        if next.is_quiet
            && !self
                .merge_small(next.run, next.compacted_seq, SMALL_BLOCKS_QUIET)
                .await?
        {
            latest::settle(&self.db, &[next.run]).await?;
        }
        Ok(true)
    }

    /// Quiet runs with too few appends for any compaction, which is most of them: they are settled many at a time, so that
    /// a finished run costs a share of a commit and not one of its own.
    async fn quiet_small_runs(&self, now: Timestamp) -> Result<Vec<i64>> {
        let sql = "SELECT u.run FROM unindexed_runs u JOIN runs r ON r.id = u.run \
                   WHERE r.append_seq < $3 AND (u.since_ms < $1 OR (r.status >= 3 AND u.since_ms < $2)) \
                   ORDER BY u.since_ms, u.run LIMIT $4";
        let quiet = now.minus(latest::QUIET).millis();
        let finished = now.minus(FINISHED_QUIET).millis();
        let rows = self
            .db
            .query(
                sql,
                &args![quiet, finished, LOOSE_APPENDS_QUIET, SETTLED_TOGETHER],
            )
            .await?;
        rows.iter().map(|row| row.int(0)).collect()
    }

    async fn next_candidate(&self, now: Timestamp) -> Result<Option<Candidate>> {
        let sql = "SELECT u.run, COALESCE(r.append_seq, 0), COALESCE(r.compacted_seq, 0), \
                   (u.since_ms < $1 OR r.id IS NULL OR (r.status >= 3 AND u.since_ms < $2)) \
                   FROM unindexed_runs u LEFT JOIN runs r ON r.id = u.run \
                   WHERE u.since_ms < $1 OR r.id IS NULL OR (r.status >= 3 AND u.since_ms < $2) \
                   OR r.append_seq - r.compacted_seq >= $3 ORDER BY u.since_ms, u.run LIMIT 1";
        let quiet = now.minus(latest::QUIET).millis();
        let finished = now.minus(FINISHED_QUIET).millis();
        let row = self
            .db
            .query_opt(sql, &args![quiet, finished, LOOSE_APPENDS])
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Candidate {
            run: row.int(0)?,
            append_seq: row.int(1)?,
            compacted_seq: row.int(2)?,
            is_quiet: row.bool(3)?,
        }))
    }

    /// Rewrites the blocks of the next appends by key; how far it came.
    async fn compact_loose(&self, run: &Candidate) -> Result<i64> {
        let (rewrite, to) = match self.plan_loose(run).await {
            Ok(plan) => plan,
            Err(Error::DataLoss(message)) => {
                tracing::error!(message, "blocks of points are left as they are");
                (
                    Rewrite {
                        run: run.run,
                        ..Rewrite::default()
                    },
                    run.append_seq,
                )
            }
            Err(error) => return Err(error),
        };
        let rewrite = Rewrite {
            compacted: Some((run.compacted_seq, to)),
            ..rewrite
        };
        self.db
            .write_with(rewrite, |tx, rewrite| Box::pin(replace(tx, rewrite)))
            .await?;
        Ok(to)
    }

    async fn plan_loose(&self, run: &Candidate) -> Result<(Rewrite, i64)> {
        let sql = "SELECT key, append_seq, points, data FROM metric_blocks \
                   WHERE run = $1 AND last_seq > $2 AND last_seq <= $3 AND append_seq = last_seq ORDER BY last_seq";
        let end = run.append_seq.min(run.compacted_seq + 4 * LOOSE_APPENDS);
        let (mut old, mut total, mut last, mut to) = (Vec::new(), 0, run.compacted_seq, end);
        let mut by_key: BTreeMap<i64, (usize, Vec<SeqPoint>)> = BTreeMap::new();
        let mut lone: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        let mut conn = self.db.read().await?;
        conn.for_each(sql, &args![run.run, run.compacted_seq, end], |row| {
            let (key, seq) = (row.int(0)?, row.int(1)?);
            if total >= SLICE_POINTS && seq > last {
                to = last;
                return Ok(ControlFlow::Break(()));
            }
            last = seq;
            if key > 0 && row.int(2)? >= LARGE_POINTS {
                return Ok(ControlFlow::Continue(()));
            }
            old.push((key, seq));
            let mut block = Block::open(row.blob(3)?, seq)?;
            while let Some(group) = block.next()? {
                let (blocks, points) = by_key.entry(group.key).or_default();
                *blocks += 1;
                lone.insert(group.key, (key, seq));
                let before = points.len();
                block.read(group, points)?;
                total += points.len() - before;
            }
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        // A block of one key that has no other to join stays as it is.
        by_key.retain(|key, (blocks, _)| {
            let stays = *blocks == 1 && lone.get(key).is_some_and(|(of, _)| of == key);
            if stays && let Some(place) = lone.get(key) {
                old.retain(|block| block != place);
            }
            !stays
        });
        let new = by_key
            .into_iter()
            .flat_map(|(key, (_, points))| cut(key, points))
            .collect();
        Ok((
            Rewrite {
                run: run.run,
                old,
                new,
                compacted: None,
            },
            to,
        ))
    }

    /// Merges the small blocks of a few keys, if there are keys that have at least `least`; true if there were.
    async fn merge_small(&self, run: i64, up_to: i64, least: i64) -> Result<bool> {
        let sql = "SELECT key FROM metric_blocks WHERE run = $1 AND key > 0 AND last_seq <= $2 AND points < $3 \
                   GROUP BY key HAVING COUNT(*) >= $4 ORDER BY key LIMIT $5";
        let keys = self
            .db
            .query(sql, &args![run, up_to, LARGE_POINTS, least, SLICE_KEYS])
            .await?;
        let sql = "SELECT append_seq, data FROM metric_blocks WHERE run = $1 AND key = $2 AND last_seq <= $3 \
                   AND points < $4 ORDER BY append_seq LIMIT $5";
        let mut rewrite = Rewrite {
            run,
            ..Rewrite::default()
        };
        for row in &keys {
            let (key, mut points) = (row.int(0)?, Vec::new());
            let start = rewrite.old.len();
            for row in self
                .db
                .query(sql, &args![run, key, up_to, LARGE_POINTS, SMALL_BLOCKS])
                .await?
            {
                let seq = row.int(0)?;
                if let Err(error) = read_key(row.blob(1)?, seq, key, &mut points) {
                    tracing::error!(%error, "small blocks of points are left as they are");
                    return Ok(false);
                }
                rewrite.old.push((key, seq));
            }
            points.sort_by_key(|p| p.seq);
            let merged = cut(key, points);
            if merged.len() < rewrite.old.len() - start {
                rewrite.new.extend(merged);
            } else {
                rewrite.old.truncate(start);
            }
        }
        let some = !rewrite.new.is_empty();
        if some {
            self.db
                .write_with(rewrite, |tx, rewrite| Box::pin(replace(tx, rewrite)))
                .await?;
        }
        Ok(some)
    }
}

/// Blocks of about [`FULL_POINTS`], cut between appends only. The points are in the order of their appends.
fn cut(key: i64, points: Vec<SeqPoint>) -> Vec<NewBlock> {
    let (mut blocks, mut start) = (Vec::new(), 0);
    let mut end = 0;
    for append in points.chunk_by(|a, b| a.seq == b.seq) {
        end += append.len();
        if end - start >= FULL_POINTS {
            blocks.extend(merge(key, &points[start..end]));
            start = end;
        }
    }
    blocks.extend(merge(key, &points[start..]));
    blocks
}

/// Puts blocks in the place of others, unless somebody else did so meanwhile.
async fn replace(tx: &mut Tx, rewrite: &Rewrite) -> Result<()> {
    let lock = format!(
        "SELECT compacted_seq FROM runs WHERE id = $1{}",
        tx.engine().for_update()
    );
    let Some(row) = tx.query_opt(&lock, &args![rewrite.run]).await? else {
        return Ok(());
    };
    if let Some((from, to)) = rewrite.compacted {
        if row.int(0)? != from {
            return Ok(());
        }
        tx.execute(
            "UPDATE runs SET compacted_seq = $2 WHERE id = $1",
            &args![rewrite.run, to],
        )
        .await?;
    }
    if rewrite.old.is_empty() {
        return Ok(());
    }
    let pairs = match tx.engine() {
        Engine::Sqlite => {
            "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each($2)"
        }
        Engine::Postgres => {
            "SELECT CAST(v->>0 AS BIGINT), CAST(v->>1 AS BIGINT) FROM json_array_elements(CAST($2 AS JSON)) AS v"
        }
    };
    let sql = format!("DELETE FROM metric_blocks WHERE run = $1 AND (key, append_seq) IN ({pairs})");
    let old = serde_json::to_string(&rewrite.old).map_err(Error::internal)?;
    let gone = tx.execute(&sql, &args![rewrite.run, &old]).await?;
    if usize::try_from(gone).unwrap_or(0) != rewrite.old.len() {
        return Err(Error::unavailable(
            "blocks of points were rewritten meanwhile",
            "compaction lost a race",
        ));
    }
    write_blocks(tx, rewrite.run, &rewrite.new).await
}
