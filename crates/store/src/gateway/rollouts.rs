//! Rollouts: one open an endpoint, each step compare-and-set, decided by whoever holds the lease.

use std::time::Duration;

use lodeway_domain::{
    Error, Reason, Resource, ResourceKind, Result,
    page::{KeyValue, Page, PageRequest, Position},
    serving::EndpointKey,
    time::Timestamp,
};

use super::{
    RolloutRecord, RolloutStep,
    endpoints::{self, key, number},
};
use crate::{
    args,
    ledger::Write,
    sql::{Conn, Row, Tx},
};

const FIELDS: &str = "rollout_id, workspace, endpoint_key, body, version, is_open, created_ms";

fn record(row: &Row) -> Result<RolloutRecord> {
    Ok(RolloutRecord {
        rollout_id: row.text(0)?,
        workspace: row.text(1)?,
        key: key(row.int(2)?),
        body: row.text(3)?,
        version: row.int(4)?,
        is_open: row.bool(5)?,
        created: Timestamp::from_millis(row.int(6)?),
    })
}

pub(super) async fn start(tx: &mut Tx, write: &Write, new: &RolloutRecord) -> Result<RolloutRecord> {
    // The endpoint's row is the lock of everything about it.
    let lock = tx.engine().for_update();
    let sql = format!("SELECT 1 FROM endpoints WHERE endpoint_key = $1 AND deleted_ms IS NULL{lock}");
    if tx.query_opt(&sql, &args![number(new.key)]).await?.is_none() {
        return Err(Error::not_found(ResourceKind::Endpoint, new.key.get()));
    }
    let sql = "SELECT rollout_id FROM rollouts WHERE endpoint_key = $1 AND is_open";
    if let Some(row) = tx.query_opt(sql, &args![number(new.key)]).await? {
        let id = row.text(0)?;
        return Err(Error::precondition(
            Reason::RolloutState,
            format!("rollout `{id}` of this endpoint is under way; abort it or wait for its end"),
            vec![("resource_name", id)],
        ));
    }
    let sql = "INSERT INTO rollouts (rollout_id, workspace, endpoint_key, body, version, is_open, holder, lease_ms, \
               created_ms) VALUES ($1, $2, $3, $4, 1, TRUE, '', 0, $5)";
    let args = args![
        &new.rollout_id,
        write.workspace(),
        number(new.key),
        &new.body,
        new.created.millis()
    ];
    tx.execute(sql, &args).await?;
    Ok(RolloutRecord {
        version: 1,
        ..new.clone()
    })
}

pub(super) async fn get(conn: &mut Conn, workspace: &str, id: &str) -> Result<RolloutRecord> {
    let sql = format!("SELECT {FIELDS} FROM rollouts WHERE workspace = $1 AND rollout_id = $2");
    let row = conn.query_opt(&sql, &args![workspace, id]).await?;
    record(&row.ok_or_else(|| Error::not_found(ResourceKind::Rollout, id))?)
}

pub(super) async fn list(
    conn: &mut Conn,
    workspace: &str,
    endpoint: Option<EndpointKey>,
    page: &PageRequest,
) -> Result<Page<RolloutRecord>> {
    let (before_ms, before_id) = match page.after.as_ref().map(|position| position.0.as_slice()) {
        Some([KeyValue::Int(ms), KeyValue::Text(id)]) => (*ms, id.as_str()),
        _ => (i64::MAX, ""),
    };
    let limit = i64::try_from(page.size + 1).unwrap_or(i64::MAX);
    let of_one = endpoint.map(|_| " AND endpoint_key = $5").unwrap_or_default();
    let sql = format!(
        "SELECT {FIELDS} FROM rollouts WHERE workspace = $1 AND (created_ms < $2 OR (created_ms = $2 AND rollout_id < $3))\
         {of_one} ORDER BY created_ms DESC, rollout_id DESC LIMIT $4"
    );
    let mut args = args![workspace, before_ms, before_id, limit].to_vec();
    args.extend(endpoint.map(|key| number(key).into()));
    let rows = conn.query(&sql, &args).await?;
    let found = rows.iter().map(|row| {
        let found = record(row)?;
        let place = vec![
            KeyValue::Int(found.created.millis()),
            KeyValue::Text(found.rollout_id.clone()),
        ];
        Ok((found, Position(place)))
    });
    Ok(Page::from_lookahead(found.collect::<Result<_>>()?, page.size))
}

pub(super) async fn lease(
    tx: &mut Tx,
    holder: &str,
    now: Timestamp,
    lease: Duration,
) -> Result<Vec<RolloutRecord>> {
    let sql =
        "UPDATE rollouts SET holder = $1, lease_ms = $3 WHERE is_open AND (holder = $1 OR lease_ms <= $2)";
    tx.execute(sql, &args![holder, now.millis(), now.plus(lease).millis()])
        .await?;
    let sql = format!("SELECT {FIELDS} FROM rollouts WHERE is_open AND holder = $1 ORDER BY rollout_id");
    let rows = tx.query(&sql, &args![holder]).await?;
    rows.iter().map(record).collect()
}

pub(super) async fn step(tx: &mut Tx, write: &Write, step: &RolloutStep) -> Result<RolloutRecord> {
    let wanted = &step.record;
    let lost = || Error::Conflict(Resource::new(ResourceKind::Rollout, &wanted.rollout_id));
    // The endpoint's row first, as everywhere: the lock order is endpoint, then rollout.
    if let Some(new) = &step.revision {
        endpoints::add_revision(tx, write, new).await?;
    }
    let sql = "UPDATE rollouts SET body = $3, version = version + 1, is_open = $4 WHERE rollout_id = $1 AND version = $2 \
               AND is_open AND (CAST($5 AS TEXT) = '' OR (holder = $5 AND lease_ms > $6))";
    let args = args![
        &wanted.rollout_id,
        wanted.version,
        &wanted.body,
        wanted.is_open,
        step.holder.as_deref().unwrap_or_default(),
        write.now.millis()
    ];
    if tx.execute(sql, &args).await? == 0 {
        return Err(lost());
    }
    Ok(RolloutRecord {
        version: wanted.version + 1,
        ..wanted.clone()
    })
}
