//! Histories of one metric: pages in either order, and thinned for charts.

use std::{collections::BTreeSet, ops::ControlFlow};

use lodeway_domain::{
    Error, FieldViolation, Reason, Result,
    caller::Workspace,
    float,
    id::RunId,
    page::{KeyValue, Page, PageRequest, Position},
    time::Timestamp,
    tracking::{HistoryOrder, Point, StoredPoint},
};

use super::{
    SqlTracking,
    blocks::{SeqPoint, read_key},
    labels::{in_ids, json_ids},
    run_head::find_run,
};
use crate::{args, sql::Conn};

/// The most points that a thinned history gives of one run: many may share a step.
pub const MAX_SAMPLED_POINTS: usize = 10_000;

/// Which histories to thin, and how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The runs; one that comes twice counts once.
    pub runs: Vec<RunId>,
    /// The metric.
    pub key: String,
    /// Only steps from the first to the second, inclusive.
    pub range: Option<(i64, i64)>,
    /// At most this many steps besides first and last ones, at least 1.
    pub max_steps: usize,
}

impl SqlTracking {
    pub(super) async fn history_page(
        &self,
        workspace: &Workspace,
        run: &RunId,
        key: &str,
        order: HistoryOrder,
        page: &PageRequest,
    ) -> Result<Page<Point>> {
        let after = page
            .after
            .as_ref()
            .map(|position| point_at(position, order))
            .transpose()?;
        let mut conn = self.db.snapshot().await?;
        let (run, _) = find_run(&mut conn, workspace, run).await?;
        let mut points = match self.keys.find(&mut conn, &[key]).await?.first() {
            Some(Some(key)) => {
                Reading {
                    run,
                    key: *key,
                    order,
                    after,
                }
                .first(&mut conn, page.size + 1)
                .await?
            }
            _ => Vec::new(),
        };
        let more = points.len() > page.size;
        points.truncate(page.size);
        let next = points
            .last()
            .filter(|_| more)
            .map(|point| position_of(point, order));
        Ok(Page { items: points, next })
    }

    pub(super) async fn sampled_history(
        &self,
        workspace: &Workspace,
        sample: &Sample,
    ) -> Result<Vec<StoredPoint>> {
        let mut conn = self.db.snapshot().await?;
        let Some(key) = self
            .keys
            .find(&mut conn, &[&sample.key])
            .await?
            .into_iter()
            .next()
            .flatten()
        else {
            return Ok(Vec::new());
        };
        let mut runs: Vec<(&RunId, i64)> = Vec::new();
        for run in &sample.runs {
            match find_run(&mut conn, workspace, run).await {
                Ok((id, _)) if runs.iter().all(|(_, known)| *known != id) => runs.push((run, id)),
                Ok(_) | Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let (mut all, mut ends) = (Vec::new(), BTreeSet::new());
        for (_, run) in &runs {
            let mut steps: Vec<i64> = read_all(&mut conn, *run, key)
                .await?
                .iter()
                .map(|p| p.point.step)
                .collect();
            steps.sort_unstable();
            ends.extend(steps.first().into_iter().chain(steps.last()));
            all.append(&mut steps);
            all.sort_unstable();
            all.dedup();
        }
        let wanted = sampled_steps(&all, &ends, sample.range, sample.max_steps);
        let mut found = Vec::new();
        for (run, id) in runs {
            let mut points = read_all(&mut conn, id, key).await?;
            points.retain(|p| wanted.binary_search(&p.point.step).is_ok());
            points.sort_by(|a, b| a.point.cmp_by_step(&b.point).then(a.seq.cmp(&b.seq)));
            points.dedup_by(|b, a| a.point == b.point);
            points.truncate(MAX_SAMPLED_POINTS);
            found.extend(points.into_iter().map(|p| StoredPoint {
                run: run.clone(),
                key: sample.key.clone(),
                point: p.point,
                append_seq: p.seq,
            }));
        }
        Ok(found)
    }
}

/// The steps to keep, sorted. `all` is sorted and distinct, `ends` are the first and last steps of each run.
pub(super) fn sampled_steps(
    all: &[i64],
    ends: &BTreeSet<i64>,
    range: Option<(i64, i64)>,
    max_steps: usize,
) -> Vec<i64> {
    let (low, high) = range.unwrap_or((i64::MIN, i64::MAX));
    let start = all.partition_point(|step| *step < low);
    let end = all.partition_point(|step| *step <= high).max(start);
    let within = &all[start..end];
    let mut kept: BTreeSet<i64> = ends
        .iter()
        .copied()
        .filter(|step| (low..=high).contains(step))
        .collect();
    if within.len() <= max_steps {
        kept.extend(within);
    } else {
        kept.extend((0..max_steps).map(|i| within[i * within.len() / max_steps]));
        kept.extend(within.last());
    }
    kept.into_iter().collect()
}

fn point_at(position: &Position, order: HistoryOrder) -> Result<Point> {
    let [KeyValue::Int(first), KeyValue::Int(second), KeyValue::Int(bits)] = position.0[..] else {
        let violation = FieldViolation::new("page_token", "is not a token that this server made");
        return Err(Error::Invalid(vec![violation.because(Reason::InvalidPageToken)]));
    };
    let (ms, step) = match order {
        HistoryOrder::Time => (first, second),
        HistoryOrder::Step => (second, first),
    };
    Ok(Point {
        value: float::from_bits(bits),
        time: Timestamp::from_millis(ms),
        step,
    })
}

fn position_of(point: &Point, order: HistoryOrder) -> Position {
    let (ms, step, bits) = (point.time.millis(), point.step, float::to_bits(point.value));
    let (first, second) = match order {
        HistoryOrder::Time => (ms, step),
        HistoryOrder::Step => (step, ms),
    };
    Position(vec![
        KeyValue::Int(first),
        KeyValue::Int(second),
        KeyValue::Int(bits),
    ])
}

/// The history of one metric of one run from a point on.
struct Reading {
    run: i64,
    key: i64,
    order: HistoryOrder,
    after: Option<Point>,
}

/// A block that may hold wanted points.
struct Candidate {
    key: i64,
    append_seq: i64,
    points: usize,
    /// The least time or step in it, whichever leads the order.
    low: i64,
}

impl Reading {
    fn lead(&self, point: &Point) -> i64 {
        match self.order {
            HistoryOrder::Time => point.time.millis(),
            HistoryOrder::Step => point.step,
        }
    }

    fn is_wanted(&self, point: &Point) -> bool {
        self.after.is_none_or(|after| match self.order {
            HistoryOrder::Time => point.cmp_by_time(&after).is_gt(),
            HistoryOrder::Step => point.cmp_by_step(&after).is_gt(),
        })
    }

    fn sort(&self, points: &mut Vec<SeqPoint>) {
        match self.order {
            HistoryOrder::Time => points.sort_by(|a, b| a.point.cmp_by_time(&b.point)),
            HistoryOrder::Step => points.sort_by(|a, b| a.point.cmp_by_step(&b.point)),
        }
        points.dedup_by(|b, a| a.point == b.point);
    }

    /// The first `count` points. Reads blocks by their least time (or step) and stops when no later block can hold a
    /// point that comes before those it has.
    async fn first(&self, conn: &mut Conn, count: usize) -> Result<Vec<Point>> {
        let candidates = self.candidates(conn).await?;
        let (mut rest, mut found, mut wanted) = (candidates.as_slice(), Vec::new(), count);
        while !rest.is_empty() {
            let mut expected = 0;
            let picked = rest.iter().take_while(|block| {
                let more = expected < wanted;
                // How many points a block of many keys holds of this one is not known; usually very few.
                expected += if block.key == 0 { 1 } else { block.points };
                more
            });
            let (picked, later) = rest.split_at(picked.count());
            self.read(conn, picked, &mut found).await?;
            self.sort(&mut found);
            rest = later;
            let sure = rest.first().map_or(found.len(), |next| {
                found.partition_point(|p| self.lead(&p.point) < next.low)
            });
            if sure >= count {
                break;
            }
            wanted = wanted.saturating_mul(2);
        }
        found.truncate(count);
        Ok(found.into_iter().map(|p| p.point).collect())
    }

    async fn candidates(&self, conn: &mut Conn) -> Result<Vec<Candidate>> {
        let sql = match self.order {
            HistoryOrder::Time => {
                "SELECT key, append_seq, points, min_ts_ms FROM metric_blocks \
                 WHERE run = $1 AND key IN (0, $2) AND max_ts_ms >= $3 ORDER BY min_ts_ms"
            }
            HistoryOrder::Step => {
                "SELECT key, append_seq, points, min_step FROM metric_blocks \
                 WHERE run = $1 AND key IN (0, $2) AND max_step >= $3 ORDER BY min_step"
            }
        };
        let from = self.after.as_ref().map_or(i64::MIN, |point| self.lead(point));
        let rows = conn.query(sql, &args![self.run, self.key, from]).await?;
        rows.iter()
            .map(|row| {
                Ok(Candidate {
                    key: row.int(0)?,
                    append_seq: row.int(1)?,
                    points: usize::try_from(row.int(2)?).unwrap_or(0),
                    low: row.int(3)?,
                })
            })
            .collect()
    }

    async fn read(&self, conn: &mut Conn, picked: &[Candidate], found: &mut Vec<SeqPoint>) -> Result<()> {
        let sql = format!(
            "SELECT append_seq, data FROM metric_blocks WHERE run = $1 AND key = $2 AND append_seq {}",
            in_ids(conn.engine(), "$3")
        );
        for key in [self.key, 0] {
            let seqs = json_ids(
                picked
                    .iter()
                    .filter(|block| block.key == key)
                    .map(|block| block.append_seq),
            )?;
            if seqs == "[]" {
                continue;
            }
            conn.for_each(&sql, &args![self.run, key, &seqs], |row| {
                let start = found.len();
                read_key(row.blob(1)?, row.int(0)?, self.key, found)?;
                let mut at = start;
                for i in start..found.len() {
                    if self.is_wanted(&found[i].point) {
                        found.swap(at, i);
                        at += 1;
                    }
                }
                found.truncate(at);
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        }
        Ok(())
    }
}

/// All points of a key of a run, in no order.
async fn read_all(conn: &mut Conn, run: i64, key: i64) -> Result<Vec<SeqPoint>> {
    let sql = "SELECT append_seq, data FROM metric_blocks WHERE run = $1 AND key IN (0, $2)";
    let mut found = Vec::new();
    conn.for_each(sql, &args![run, key], |row| {
        read_key(row.blob(1)?, row.int(0)?, key, &mut found)?;
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    Ok(found)
}
