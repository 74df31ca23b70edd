//! The change log: what changed in a service's database, in the order of commits, for every Watch call.
//!
//! `seq` is given under a lock held to the commit, so a reader that has seen `n` never finds a smaller number later.
//! On PostgreSQL that lock makes writers who append wait for each other: append as the last thing of an operation.

use std::time::Duration;

use lodeway_domain::{Error, Reason, Result, time::Timestamp};

use crate::{
    args,
    sql::{Arg, Conn, Db, Engine, Row, Tx},
};

/// How many old entries one call of [`prune`] takes away at most.
const PRUNE_MAX: i64 = 1000;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its place in the log; grows with every commit, gaps are possible.
    pub seq: i64,
    /// The workspace of the entity.
    pub workspace: String,
    /// The kind of entity, for example `run` or `model_version`.
    pub entity: String,
    /// The entity's id or name.
    pub entity_id: String,
    /// The entity's version after the change; 0 where it has none.
    pub version: i64,
    /// What the service wrote about the change.
    pub payload: Vec<u8>,
    /// When it was written.
    pub created: Timestamp,
}

/// What to append.
#[derive(Debug, Clone, Copy)]
pub struct NewChange<'a> {
    /// The workspace of the entity.
    pub workspace: &'a str,
    /// The kind of entity.
    pub entity: &'a str,
    /// The entity's id or name.
    pub entity_id: &'a str,
    /// The entity's version after the change; 0 where it has none.
    pub version: i64,
    /// Anything the service wants to tell its watchers.
    pub payload: &'a [u8],
}

/// Which entries to read; `None` is any.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChangeFilter<'a> {
    /// Only this workspace.
    pub workspace: Option<&'a str>,
    /// Only this kind of entity.
    pub entity: Option<&'a str>,
    /// Only this entity.
    pub entity_id: Option<&'a str>,
}

/// Appends one entry and wakes the watchers after the commit; its number.
pub async fn append(tx: &mut Tx, change: NewChange<'_>, now: Timestamp) -> Result<i64> {
    let NewChange {
        workspace,
        entity,
        entity_id,
        version,
        payload,
    } = change;
    let args = args![workspace, entity, entity_id, version, payload, now.millis()];
    let seq = match tx.engine() {
        Engine::Sqlite => {
            let sql = "INSERT INTO changes (seq, workspace, entity, entity_id, version, payload, created_ms) VALUES (\
                       COALESCE((SELECT MAX(seq) FROM changes), (SELECT pruned_seq FROM change_head)) + 1, \
                       $1, $2, $3, $4, $5, $6)";
            tx.insert(sql, "seq", &args).await?
        }
        Engine::Postgres => {
            let sql = "WITH head AS (UPDATE change_head SET seq = seq + 1 WHERE one = 1 RETURNING seq) \
                       INSERT INTO changes (seq, workspace, entity, entity_id, version, payload, created_ms) \
                       SELECT seq, $1, $2, $3, $4, $5, $6 FROM head RETURNING seq";
            tx.query_one(sql, &args).await?.int(0)?
        }
    };
    tx.wake_after_commit();
    Ok(seq)
}

/// The parts `h` and `c` of a WITH on PostgreSQL that append one entry if the condition `when` holds, for statements run
/// by [`Db::change_at_once`]. The values, in the order of [`NewChange`]'s fields and then the time, are expressions.
///
/// The log's head is locked when `when` is known: let it depend on all that takes other locks.
pub(crate) fn entry(when: &str, values: [&str; 6]) -> String {
    format!(
        "h AS (UPDATE change_head SET seq = seq + 1 WHERE one = 1 AND {when} RETURNING seq), \
         c AS (INSERT INTO changes (seq, workspace, entity, entity_id, version, payload, created_ms) \
         SELECT h.seq, {} FROM h)",
        values.join(", ")
    )
}

/// Appends entries, as [`append`] does one.
pub async fn append_many(tx: &mut Tx, changes: &[NewChange<'_>], now: Timestamp) -> Result<()> {
    if tx.engine() == Engine::Sqlite || changes.len() < 2 {
        for change in changes {
            append(tx, *change, now).await?;
        }
        return Ok(());
    }
    let sql = "WITH head AS (UPDATE change_head SET seq = seq + $1 WHERE one = 1 RETURNING seq - $1 AS before) \
               INSERT INTO changes (seq, workspace, entity, entity_id, version, payload, created_ms) \
               SELECT before + n, v.workspace, v.entity, v.entity_id, v.version, v.payload, $2 \
               FROM head CROSS JOIN unnest($3, $4, $5, $6, $7) WITH ORDINALITY \
               AS v (workspace, entity, entity_id, version, payload, n)";
    fn column<'a>(changes: &[NewChange<'a>], of: impl Fn(&NewChange<'a>) -> Arg<'a>) -> Arg<'a> {
        Arg::Column(changes.iter().map(of).collect())
    }
    let count = i64::try_from(changes.len()).map_err(Error::internal)?;
    let args = [
        Arg::from(count),
        Arg::from(now.millis()),
        column(changes, |c| Arg::from(c.workspace)),
        column(changes, |c| Arg::from(c.entity)),
        column(changes, |c| Arg::from(c.entity_id)),
        column(changes, |c| Arg::from(c.version)),
        column(changes, |c| Arg::from(c.payload)),
    ];
    tx.execute(sql, &args).await?;
    tx.wake_after_commit();
    Ok(())
}

/// Some entries of the log, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The entries that pass the filter, oldest first.
    pub changes: Vec<Change>,
    /// The cursor for the next call; also moves over entries that the filter left out.
    pub next: i64,
}

/// At most `limit` entries after `cursor`. A cursor of 0 is the beginning of time.
///
/// One statement, so a plain reader will do. Errors: `OutOfRange` with [`Reason::CursorExpired`] if entries after the
/// cursor have been pruned, or if the cursor is ahead of the log (of another database); the watcher takes a snapshot and
/// goes on from [`head`].
pub async fn after(conn: &mut Conn, cursor: i64, filter: ChangeFilter<'_>, limit: i64) -> Result<Batch> {
    let head = head_sql(conn.engine());
    let sql = format!(
        "SELECT {head}, h.pruned_seq, c.seq, c.workspace, c.entity, c.entity_id, c.version, c.payload, c.created_ms \
         FROM change_head AS h LEFT JOIN (SELECT seq, workspace, entity, entity_id, version, payload, created_ms \
         FROM changes WHERE seq > $1 AND (CAST($2 AS TEXT) IS NULL OR workspace = $2) \
         AND (CAST($3 AS TEXT) IS NULL OR entity = $3) AND (CAST($4 AS TEXT) IS NULL OR entity_id = $4) \
         ORDER BY seq LIMIT $5) AS c ON 1 = 1 ORDER BY c.seq"
    );
    let args = args![cursor, filter.workspace, filter.entity, filter.entity_id, limit];
    let rows = conn.query(&sql, &args).await?;
    let Some(first) = rows.first() else {
        return Err(Error::internal("the change log has no head"));
    };
    let (head, pruned) = (first.int(0)?, first.int(1)?);
    if cursor < pruned || cursor > head {
        return Err(Error::OutOfRange {
            reason: Reason::CursorExpired,
            message: format!(
                "cursor `{cursor}` is not in the change log; take a snapshot and watch from there"
            ),
        });
    }
    let changes = match first.opt_int(2)? {
        Some(_) => rows.iter().map(change).collect::<Result<Vec<_>>>()?,
        None => Vec::new(),
    };
    let is_full = i64::try_from(changes.len()).is_ok_and(|n| n >= limit);
    let next = changes.last().filter(|_| is_full).map_or(head, |last| last.seq);
    Ok(Batch { changes, next })
}

fn change(row: &Row) -> Result<Change> {
    Ok(Change {
        seq: row.int(2)?,
        workspace: row.text(3)?,
        entity: row.text(4)?,
        entity_id: row.text(5)?,
        version: row.int(6)?,
        payload: row.bytes(7)?,
        created: Timestamp::from_millis(row.int(8)?),
    })
}

/// The newest number given, where `h` is the row of `change_head`.
fn head_sql(engine: Engine) -> &'static str {
    match engine {
        // All that were given before the last pruned one are gone, and none is given twice.
        Engine::Sqlite => "COALESCE((SELECT MAX(seq) FROM changes), h.pruned_seq)",
        Engine::Postgres => "h.seq",
    }
}

struct Span {
    head: i64,
    pruned: i64,
}

async fn span(conn: &mut Conn) -> Result<Span> {
    let sql = format!(
        "SELECT {}, h.pruned_seq FROM change_head AS h",
        head_sql(conn.engine())
    );
    let row = conn.query_one(&sql, &[]).await?;
    Ok(Span {
        head: row.int(0)?,
        pruned: row.int(1)?,
    })
}

/// The number of the newest entry, 0 if there never was one: where a watcher begins that takes a snapshot first.
///
/// Read it in the same [`Db::snapshot`] as the snapshot itself.
pub async fn head(conn: &mut Conn) -> Result<i64> {
    Ok(span(conn).await?.head)
}

/// The number of the oldest entry kept; one more than the newest if none is.
pub async fn oldest(conn: &mut Conn) -> Result<i64> {
    Ok(span(conn).await?.pruned + 1)
}

/// Takes away entries older than `keep`, at most a thousand a call; how many. Call it now and then.
pub async fn prune(db: &Db, now: Timestamp, keep: Duration) -> Result<u64> {
    let before = now.minus(keep).millis();
    db.write(move |tx| {
        Box::pin(async move {
            // The log is pruned from its beginning only, up to the first entry that is young enough.
            let sql = "SELECT MAX(seq) FROM (SELECT seq, created_ms FROM changes ORDER BY seq LIMIT $1) AS oldest \
                       WHERE created_ms < $2";
            let Some(last) = tx.query_one(sql, &args![PRUNE_MAX, before]).await?.opt_int(0)? else {
                return Ok(0);
            };
            tx.execute("UPDATE change_head SET pruned_seq = $1 WHERE pruned_seq < $1", &args![last]).await?;
            tx.execute("DELETE FROM changes WHERE seq <= $1", &args![last]).await
        })
    })
    .await
}
