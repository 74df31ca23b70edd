//! A run's log from a place on: what `WatchRun` reads.

use std::{fmt, ops::ControlFlow};

use lodeway_domain::{
    Error, Reason, ResourceKind, Result,
    caller::Workspace,
    id::RunId,
    tracking::{Point, StoredPoint},
};

use super::{
    SqlTracking,
    blocks::Block,
    labels::{in_ids, json_ids},
    run_head::RUN_ENTITY,
};
use crate::{
    args,
    ledger::changes::{self, ChangeFilter},
    sql::Reader,
};

/// Appends looked at in one go at first; more if they hold few points.
const WINDOW: i64 = 32;
const MAX_WINDOW: i64 = 4096;
/// Changes of one run that are passed over in one go; more come with the next.
const MAX_CHANGES: i64 = 100;

/// A place in what a watcher of a run has seen: points up to `seq` (of that append those up to `key`, of that key those
/// up to `index`), changes up to `change`, and whether the run was in the bin then. Its text form is opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunCursor {
    seq: i64,
    key: i64,
    index: i64,
    change: i64,
    /// Told apart from other changes: an experiment takes its runs to the bin and back without a change of each.
    is_deleted: bool,
    begun: bool,
}

/// How the text form begins: of a run that was active, and of one in the bin.
const ACTIVE: &str = "r1.";
const DELETED: &str = "d1.";

/// The key that comes after all others: an append that was seen whole.
const WHOLE: i64 = i64::MAX;

impl RunCursor {
    /// Reads the text form; the empty text is the beginning of the run.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let refuse = || {
            Error::invalid(
                "cursor",
                "is not a cursor that this server made; watch without one",
            )
        };
        let (rest, is_deleted) = match (text.strip_prefix(ACTIVE), text.strip_prefix(DELETED)) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => return Err(refuse()),
        };
        let numbers: Vec<i64> = rest
            .split('.')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| refuse())?;
        match numbers[..] {
            [seq, change] if seq >= 0 && change >= 0 => Ok(Self {
                seq,
                key: WHOLE,
                index: 0,
                change,
                is_deleted,
                begun: true,
            }),
            [seq, change, key, index] if seq >= 0 && change >= 0 => Ok(Self {
                seq,
                key,
                index,
                change,
                is_deleted,
                begun: true,
            }),
            _ => Err(refuse()),
        }
    }

    fn place(&self) -> (i64, i64, i64) {
        (self.seq, self.key, self.index)
    }
}

impl fmt::Display for RunCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begin = if self.is_deleted { DELETED } else { ACTIVE };
        match self.key {
            WHOLE => write!(f, "{begin}{}.{}", self.seq, self.change),
            key => write!(f, "{begin}{}.{}.{key}.{}", self.seq, self.change, self.index),
        }
    }
}

/// What is new in a run's log.
#[derive(Debug, Clone, PartialEq)]
pub struct Tail {
    /// New points, by append.
    pub points: Vec<StoredPoint>,
    /// Whether the run's own fields, params or tags changed, or it went to the bin or came back; always at the beginning.
    pub changed: bool,
    /// Where to go on.
    pub cursor: RunCursor,
    /// Whether this was everything there is now.
    pub is_end: bool,
}

/// A point and its place: append, key, position among the points of that key in that append.
type Placed = ((i64, i64, i64), Point);

struct RunState {
    id: i64,
    append_seq: i64,
    is_deleted: bool,
}

impl SqlTracking {
    pub(super) async fn read_tail(
        &self,
        workspace: &Workspace,
        run: &RunId,
        mut cursor: RunCursor,
        keys: &[String],
        limit: usize,
    ) -> Result<Tail> {
        let mut conn = self.db.snapshot().await?;
        let state = state(&mut conn, workspace, run).await?;
        if cursor.seq > state.append_seq {
            let message =
                format!("cursor `{cursor}` is ahead of the log of run `{run}`; watch without a cursor");
            return Err(Error::OutOfRange {
                reason: Reason::CursorExpired,
                message,
            });
        }
        let changed = if cursor.begun {
            let filter = ChangeFilter {
                workspace: Some(workspace.as_str()),
                entity: Some(RUN_ENTITY),
                entity_id: Some(run.as_str()),
            };
            let new = changes::after(&mut conn, cursor.change, filter, MAX_CHANGES).await?;
            cursor.change = new.next;
            !new.changes.is_empty() || state.is_deleted != cursor.is_deleted
        } else {
            cursor.change = changes::head(&mut conn).await?;
            true
        };
        cursor.is_deleted = state.is_deleted;
        cursor.begun = true;
        let keys = self.wanted(&mut conn, keys).await?;
        let (placed, is_end) = read(&mut conn, &state, &mut cursor, keys.as_deref(), limit.max(1)).await?;
        let ids: Vec<i64> = placed.iter().map(|(place, _)| place.1).collect();
        let texts = self.keys.texts(&mut conn, &ids).await?;
        let points = placed
            .into_iter()
            .zip(texts)
            .map(|((place, point), key)| StoredPoint {
                run: run.clone(),
                key: key.as_ref().to_owned(),
                point,
                append_seq: place.0,
            })
            .collect();
        Ok(Tail {
            points,
            changed,
            cursor,
            is_end,
        })
    }

    /// The ids of the keys asked for; none for all. A key that nothing uses yet is looked for again next time.
    async fn wanted(&self, conn: &mut Reader, keys: &[String]) -> Result<Option<Vec<i64>>> {
        if keys.is_empty() {
            return Ok(None);
        }
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        Ok(Some(
            self.keys.find(conn, &keys).await?.into_iter().flatten().collect(),
        ))
    }
}

async fn state(conn: &mut Reader, workspace: &Workspace, run: &RunId) -> Result<RunState> {
    let sql = "SELECT id, append_seq, deleted_ms FROM runs WHERE workspace = $1 AND run_id = $2";
    let row = conn
        .query_opt(sql, &args![workspace.as_str(), run.as_str()])
        .await?;
    let row = row.ok_or_else(|| Error::not_found(ResourceKind::Run, run))?;
    Ok(RunState {
        id: row.int(0)?,
        append_seq: row.int(1)?,
        is_deleted: row.opt_int(2)?.is_some(),
    })
}

/// Points after the cursor, which moves behind them; and whether nothing follows.
async fn read(
    conn: &mut Reader,
    run: &RunState,
    cursor: &mut RunCursor,
    keys: Option<&[i64]>,
    limit: usize,
) -> Result<(Vec<Placed>, bool)> {
    let (mut found, mut window) = (Vec::new(), WINDOW);
    loop {
        let low = if cursor.key == WHOLE {
            cursor.seq + 1
        } else {
            cursor.seq
        };
        if low > run.append_seq {
            return Ok((found, true));
        }
        let high = run.append_seq.min(low + window - 1);
        let missing = limit - found.len();
        let mut next = window_points(conn, run.id, cursor.place(), (low, high), keys, missing + 1).await?;
        if next.len() > missing {
            next.truncate(missing);
            if let Some((place, _)) = next.last() {
                (cursor.seq, cursor.key, cursor.index) = *place;
            }
            found.append(&mut next);
            return Ok((found, false));
        }
        found.append(&mut next);
        (cursor.seq, cursor.key, cursor.index) = (high, WHOLE, 0);
        if found.len() == limit {
            return Ok((found, high == run.append_seq));
        }
        window = (window * 2).min(MAX_WINDOW);
    }
}

/// The first `limit` points after a place within a span of appends; holds a few times as many at most.
async fn window_points(
    conn: &mut Reader,
    run: i64,
    after: (i64, i64, i64),
    (low, high): (i64, i64),
    keys: Option<&[i64]>,
    limit: usize,
) -> Result<Vec<Placed>> {
    let mut sql =
        "SELECT append_seq, data FROM metric_blocks WHERE run = $1 AND last_seq >= $2 AND append_seq <= $3"
            .to_owned();
    let mut args = args![run, low, high].to_vec();
    if let Some(keys) = keys {
        sql.push_str(&format!(" AND key {}", in_ids(conn.engine(), "$4")));
        args.push(json_ids(keys.iter().copied().chain([0]))?.into());
    }
    let mut found: Vec<Placed> = Vec::new();
    let mut scratch = Vec::new();
    let mut end = (high, WHOLE, 0);
    conn.for_each(&sql, &args, |row| {
        let mut block = Block::open(row.blob(1)?, row.int(0)?)?;
        while let Some(group) = block.next()? {
            let key = group.key;
            if keys.is_some_and(|keys| !keys.contains(&key)) {
                continue;
            }
            scratch.clear();
            block.read(group, &mut scratch)?;
            for append in scratch.chunk_by(|a, b| a.seq == b.seq) {
                let placed = append
                    .iter()
                    .zip(0..)
                    .map(|(p, index)| ((p.seq, key, index), p.point));
                found.extend(placed.filter(|(place, _)| *place > after && *place <= end));
            }
        }
        if found.len() > limit.saturating_mul(4).max(20_000) {
            found.sort_unstable_by_key(|(place, _)| *place);
            found.truncate(limit);
            end = found.last().map_or(end, |(place, _)| *place);
        }
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    found.sort_unstable_by_key(|(place, _)| *place);
    found.truncate(limit);
    Ok(found)
}
