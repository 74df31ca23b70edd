//! Writes that carry a request id: the same id gives the same answer and has no further effect.
//!
//! [`once`] goes first in the operation, [`record`] last, so that the effect and its answer are committed together.

use std::time::Duration;

use lodeway_domain::{Caller, Error, FieldViolation, Reason, Result, id::RequestId, time::Timestamp};

use crate::{
    args,
    sql::{Conn, Tx},
};

/// How long an answer is kept.
pub const RETENTION: Duration = Duration::from_secs(24 * 3600);

/// How many old answers one write takes away at most, so that none pays for all.
const PRUNE_MAX: i64 = 16;

/// Whether a request was seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// No: do the work, then [`record`] its answer.
    Fresh,
    /// Yes: give this answer again and do nothing.
    Replay(Vec<u8>),
}

/// Claims `request` for this operation, or finds the answer that it got before.
///
/// Without a request id everything is fresh. Ids are per workspace, principal and method. A concurrent operation with the
/// same id is waited for. Errors: `Invalid` with [`Reason::RequestIdReused`] if it came with another body within 24 hours.
pub async fn once(
    tx: &mut Tx,
    caller: &Caller,
    method: &str,
    request: Option<RequestId>,
    body_hash: &[u8],
    now: Timestamp,
) -> Result<Seen> {
    let Some(request) = request else {
        return Ok(Seen::Fresh);
    };
    let (workspace, principal, id) = (caller.workspace.as_str(), &caller.principal, request.to_string());
    let old = now.minus(RETENTION).millis();
    let claim = "INSERT INTO requests (workspace, principal, method, request_id, body_hash, created_ms) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (workspace, principal, method, request_id) \
                 DO UPDATE SET body_hash = excluded.body_hash, response = NULL, created_ms = excluded.created_ms \
                 WHERE requests.created_ms < $7";
    let claimed = tx
        .execute(
            claim,
            &args![workspace, principal, method, &id, body_hash, now.millis(), old],
        )
        .await?;
    if claimed > 0 {
        return Ok(Seen::Fresh);
    }
    let find = "SELECT body_hash, response FROM requests \
                WHERE workspace = $1 AND principal = $2 AND method = $3 AND request_id = $4";
    let row = tx
        .query_one(find, &args![workspace, principal, method, &id])
        .await?;
    if row.blob(0)? != body_hash {
        return Err(reused(&id));
    }
    Ok(Seen::Replay(row.opt_bytes(1)?.unwrap_or_default()))
}

/// The answer that `request` got before, if it did, without claiming it: saves work whose result would be thrown away.
///
/// Errors: as [`once`].
pub async fn seen(
    conn: &mut Conn,
    caller: &Caller,
    method: &str,
    request: Option<RequestId>,
    body_hash: &[u8],
    now: Timestamp,
) -> Result<Option<Vec<u8>>> {
    let Some(request) = request else { return Ok(None) };
    let find = "SELECT body_hash, response FROM requests WHERE workspace = $1 AND principal = $2 AND method = $3 \
                AND request_id = $4 AND created_ms >= $5";
    let id = request.to_string();
    let args = args![
        caller.workspace.as_str(),
        &caller.principal,
        method,
        &id,
        now.minus(RETENTION).millis()
    ];
    let Some(row) = conn.query_opt(find, &args).await? else {
        return Ok(None);
    };
    if row.blob(0)? != body_hash {
        return Err(reused(&id));
    }
    row.opt_bytes(1)
}

fn reused(id: &str) -> Error {
    let text = format!("`{id}` was used for another request; make a new id for each request");
    Error::Invalid(vec![
        FieldViolation::new("request_id", text).because(Reason::RequestIdReused),
    ])
}

/// Keeps the answer of a request that [`once`] called fresh, and takes away a few answers that are too old.
pub async fn record(
    tx: &mut Tx,
    caller: &Caller,
    method: &str,
    request: Option<RequestId>,
    response: &[u8],
    now: Timestamp,
) -> Result<()> {
    let Some(request) = request else { return Ok(()) };
    let keep = "UPDATE requests SET response = $5 \
                WHERE workspace = $1 AND principal = $2 AND method = $3 AND request_id = $4";
    let id = request.to_string();
    tx.execute(
        keep,
        &args![
            caller.workspace.as_str(),
            &caller.principal,
            method,
            &id,
            response
        ],
    )
    .await?;
    // One write in eight prunes twice as many as eight can add; the id's last digit is as good as a die.
    if matches!(id.as_bytes().last(), Some(b'0' | b'8')) {
        prune(tx, now).await?;
    }
    Ok(())
}

/// Forgets a request whose effect is undone: it is fresh if it comes again.
pub async fn forget(tx: &mut Tx, caller: &Caller, method: &str, request: Option<RequestId>) -> Result<()> {
    let Some(request) = request else { return Ok(()) };
    let sql =
        "DELETE FROM requests WHERE workspace = $1 AND principal = $2 AND method = $3 AND request_id = $4";
    let (workspace, principal, id) = (caller.workspace.as_str(), &caller.principal, request.to_string());
    tx.execute(sql, &args![workspace, principal, method, &id])
        .await
        .map(drop)
}

/// Takes away at most sixteen answers that are too old; how many.
pub async fn prune(tx: &mut Tx, now: Timestamp) -> Result<u64> {
    // Rows that another operation is taking away or claiming are left to it.
    let skip = match tx.engine() {
        crate::sql::Engine::Sqlite => "",
        crate::sql::Engine::Postgres => " FOR UPDATE SKIP LOCKED",
    };
    let sql = format!(
        "DELETE FROM requests WHERE (workspace, principal, method, request_id) IN (SELECT workspace, principal, \
         method, request_id FROM requests WHERE created_ms < $1 ORDER BY created_ms LIMIT $2{skip})"
    );
    tx.execute(&sql, &args![now.minus(RETENTION).millis(), PRUNE_MAX])
        .await
}
