//! Endpoints, their revisions, and what targets meant when.

use std::collections::HashMap;

use lodeway_domain::{
    Error, Reason, Resource, ResourceKind, Result,
    caller::Workspace,
    page::{KeyValue, Page, PageRequest, Position},
    serving::{Endpoint, EndpointKey, EndpointName, Revision},
    time::Timestamp,
};
use serde::de::DeserializeOwned;

use super::{EndpointRecord, EndpointUpdate, Events, GatewayEvent, NewRevision, Resolution};
use crate::{
    args,
    ledger::Write,
    ledger::changes::{self, Change, ChangeFilter, NewChange},
    sql::{Conn, Row, Tx, is_unique},
};

const ENTITY: &str = "endpoint";

/// Bits of the key in the only integer both engines have.
pub(super) fn number(key: EndpointKey) -> i64 {
    i64::from_ne_bytes(key.get().to_ne_bytes())
}

pub(super) fn key(number: i64) -> EndpointKey {
    EndpointKey::new(u64::from_ne_bytes(number.to_ne_bytes()))
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(Error::internal)
}

fn written<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(Error::internal)
}

pub(super) async fn create(
    tx: &mut Tx,
    write: &Write,
    endpoint: &Endpoint,
    revision: &Revision,
    resolutions: &[Resolution],
) -> Result<EndpointRecord> {
    let exists = "SELECT 1 FROM endpoints WHERE workspace = $1 AND name = $2 AND deleted_ms IS NULL";
    let name = endpoint.name.as_str();
    let taken = || Error::exists(ResourceKind::Endpoint, name);
    if tx
        .query_opt(exists, &args![write.workspace(), name])
        .await?
        .is_some()
    {
        return Err(taken());
    }
    let sql = "INSERT INTO endpoints (endpoint_key, workspace, uid, name, body, version, deleted_ms) \
               VALUES ($1, $2, $3, $4, $5, 1, NULL)";
    let args = args![
        number(endpoint.uid.key()),
        write.workspace(),
        endpoint.uid.as_str(),
        name,
        written(endpoint)?
    ];
    if let Err(error) = tx.execute(sql, &args).await {
        return Err(if is_unique(&error) { taken() } else { error });
    }
    let record = EndpointRecord {
        endpoint: endpoint.clone(),
        revision: revision.clone(),
        resolutions: resolutions.to_vec(),
        version: 1,
    };
    keep_revision(tx, &record).await?;
    announce(tx, write, &record).await?;
    Ok(record)
}

async fn keep_revision(tx: &mut Tx, record: &EndpointRecord) -> Result<()> {
    let key = number(record.endpoint.uid.key());
    let revision = &record.revision;
    let sql = "INSERT INTO revisions (endpoint_key, number, body, created_ms) VALUES ($1, $2, $3, $4)";
    let args = args![
        key,
        i64::from(revision.number),
        written(revision)?,
        revision.created.millis()
    ];
    tx.execute(sql, &args).await?;
    for resolution in &record.resolutions {
        keep_resolution(tx, key, resolution).await?;
    }
    Ok(())
}

async fn keep_resolution(tx: &mut Tx, key: i64, resolution: &Resolution) -> Result<()> {
    let sql = "INSERT INTO resolutions (endpoint_key, revision, target, from_ms, body) VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT (endpoint_key, revision, target, from_ms) DO UPDATE SET body = excluded.body";
    let args = args![
        key,
        i64::from(resolution.revision),
        resolution.target.as_str(),
        resolution.from.millis(),
        written(resolution)?
    ];
    tx.execute(sql, &args).await.map(|_| ())
}

/// Tells the watchers, other gateways among them.
async fn announce(tx: &mut Tx, write: &Write, record: &EndpointRecord) -> Result<()> {
    let event = GatewayEvent::Endpoint(Box::new(record.clone()));
    tell(tx, write, record.endpoint.uid.as_str(), record.version, &event).await
}

async fn tell(tx: &mut Tx, write: &Write, uid: &str, version: i64, event: &GatewayEvent) -> Result<()> {
    let payload = serde_json::to_vec(event).map_err(Error::internal)?;
    let change = NewChange {
        workspace: write.workspace(),
        entity: ENTITY,
        entity_id: uid,
        version,
        payload: &payload,
    };
    changes::append(tx, change, write.now).await.map(|_| ())
}

const FIELDS: &str = "e.endpoint_key, e.body, e.version, r.body, e.workspace";
const TABLES: &str = "endpoints e JOIN revisions r ON r.endpoint_key = e.endpoint_key AND r.number = \
                      (SELECT MAX(l.number) FROM revisions l WHERE l.endpoint_key = e.endpoint_key)";

pub(super) async fn get(conn: &mut Conn, workspace: &str, name: &EndpointName) -> Result<EndpointRecord> {
    let sql = format!(
        "SELECT {FIELDS} FROM {TABLES} WHERE e.workspace = $1 AND e.name = $2 AND e.deleted_ms IS NULL"
    );
    let row = conn.query_opt(&sql, &args![workspace, name.as_str()]).await?;
    let row = row.ok_or_else(|| Error::not_found(ResourceKind::Endpoint, name))?;
    let mut records = records(conn, &[row]).await?;
    records
        .pop()
        .map(|(_, record)| record)
        .ok_or_else(|| Error::not_found(ResourceKind::Endpoint, name))
}

/// The records of these rows, with what their targets mean now.
async fn records(conn: &mut Conn, rows: &[Row]) -> Result<Vec<(Workspace, EndpointRecord)>> {
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let revision: Revision = read(row.str(3)?)?;
        let resolutions = current(conn, row.int(0)?, revision.number).await?;
        let record = EndpointRecord {
            endpoint: read(row.str(1)?)?,
            revision,
            resolutions,
            version: row.int(2)?,
        };
        found.push((Workspace::parse(row.str(4)?)?, record));
    }
    Ok(found)
}

/// The last resolution of each target of a revision.
async fn current(conn: &mut Conn, key: i64, revision: u32) -> Result<Vec<Resolution>> {
    resolved(conn, key, revision, i64::MAX).await
}

async fn resolved(conn: &mut Conn, key: i64, revision: u32, at_ms: i64) -> Result<Vec<Resolution>> {
    let sql = "SELECT body FROM resolutions WHERE endpoint_key = $1 AND revision = $2 AND from_ms <= $3 \
               ORDER BY target, from_ms";
    let rows = conn.query(sql, &args![key, i64::from(revision), at_ms]).await?;
    let mut last: HashMap<String, Resolution> = HashMap::new();
    for row in &rows {
        let resolution: Resolution = read(row.str(0)?)?;
        last.insert(resolution.target.as_str().to_owned(), resolution);
    }
    let mut found: Vec<_> = last.into_values().collect();
    found.sort_by(|a, b| a.target.as_str().cmp(b.target.as_str()));
    Ok(found)
}

pub(super) async fn by_key(conn: &mut Conn, workspace: &str, key: EndpointKey) -> Result<Option<Endpoint>> {
    let sql = "SELECT body FROM endpoints WHERE workspace = $1 AND endpoint_key = $2";
    let row = conn.query_opt(sql, &args![workspace, number(key)]).await?;
    row.map(|row| read(row.str(0)?)).transpose()
}

pub(super) async fn list(
    conn: &mut Conn,
    workspace: &str,
    page: &PageRequest,
) -> Result<Page<EndpointRecord>> {
    let after = match page.after.as_ref().map(|position| position.0.as_slice()) {
        Some([KeyValue::Text(name)]) => name.as_str(),
        _ => "",
    };
    let limit = i64::try_from(page.size + 1).unwrap_or(i64::MAX);
    let sql = format!(
        "SELECT {FIELDS} FROM {TABLES} WHERE e.workspace = $1 AND e.name > $2 AND e.deleted_ms IS NULL \
         ORDER BY e.name LIMIT $3"
    );
    let rows = conn.query(&sql, &args![workspace, after, limit]).await?;
    let found = records(conn, &rows).await?.into_iter().map(|(_, record)| {
        let place = Position(vec![KeyValue::Text(record.endpoint.name.to_string())]);
        (record, place)
    });
    Ok(Page::from_lookahead(found.collect(), page.size))
}

pub(super) async fn all(conn: &mut Conn) -> Result<(i64, Vec<(Workspace, EndpointRecord)>)> {
    let head = changes::head(conn).await?;
    let sql =
        format!("SELECT {FIELDS} FROM {TABLES} WHERE e.deleted_ms IS NULL ORDER BY e.workspace, e.name");
    let rows = conn.query(&sql, &[]).await?;
    Ok((head, records(conn, &rows).await?))
}

pub(super) async fn workspaces(conn: &mut Conn) -> Result<Vec<Workspace>> {
    let rows = conn
        .query("SELECT DISTINCT workspace FROM endpoints ORDER BY workspace", &[])
        .await?;
    rows.iter()
        .map(|row| Workspace::parse(row.str(0)?).map_err(|e| Error::internal(e.to_string())))
        .collect()
}

/// The endpoint of this name, its row locked until the commit.
async fn locked(tx: &mut Tx, write: &Write, name: &EndpointName) -> Result<EndpointRecord> {
    let lock = tx.engine().for_update();
    let sql = format!(
        "SELECT endpoint_key FROM endpoints WHERE workspace = $1 AND name = $2 AND deleted_ms IS NULL{lock}"
    );
    tx.query_opt(&sql, &args![write.workspace(), name.as_str()])
        .await?;
    get(tx, write.workspace(), name).await
}

pub(super) async fn update(tx: &mut Tx, write: &Write, update: &EndpointUpdate) -> Result<EndpointRecord> {
    let mut record = locked(tx, write, &update.name).await?;
    if update.version.is_some_and(|version| version != record.version) {
        return Err(Error::Conflict(Resource::new(
            ResourceKind::Endpoint,
            &update.name,
        )));
    }
    if let Some(description) = &update.description {
        record.endpoint.description.clone_from(description);
    }
    if let Some(tags) = &update.tags {
        record.endpoint.tags.clone_from(tags);
    }
    change(tx, write, &mut record).await?;
    Ok(record)
}

/// Writes a changed endpoint under its next version.
async fn change(tx: &mut Tx, write: &Write, record: &mut EndpointRecord) -> Result<()> {
    record.version += 1;
    record.endpoint.updated = write.now;
    let sql = "UPDATE endpoints SET body = $2, version = $3 WHERE endpoint_key = $1";
    let key = number(record.endpoint.uid.key());
    tx.execute(sql, &args![key, written(&record.endpoint)?, record.version])
        .await?;
    announce(tx, write, record).await
}

/// Refuses while a rollout moves the traffic, which would undo with its next step what somebody else does to it. The
/// endpoint's row is locked. Errors: `ROLLOUT_STATE`.
async fn check_no_rollout(tx: &mut Tx, key: EndpointKey) -> Result<()> {
    let open = "SELECT rollout_id FROM rollouts WHERE endpoint_key = $1 AND is_open";
    let Some(row) = tx.query_opt(open, &args![number(key)]).await? else {
        return Ok(());
    };
    let id = row.text(0)?;
    Err(Error::precondition(
        Reason::RolloutState,
        format!(
            "rollout `{id}` of this endpoint is under way; abort it first, which puts the traffic back where it was"
        ),
        vec![("resource_name", id)],
    ))
}

/// A revision that somebody asks for. Errors: `ROLLOUT_STATE` while a rollout is under way.
pub(super) async fn add_own_revision(
    tx: &mut Tx,
    write: &Write,
    new: &NewRevision,
) -> Result<EndpointRecord> {
    let lock = tx.engine().for_update();
    let sql = format!("SELECT 1 FROM endpoints WHERE endpoint_key = $1 AND deleted_ms IS NULL{lock}");
    tx.query_opt(&sql, &args![number(new.key)]).await?;
    check_no_rollout(tx, new.key).await?;
    add_revision(tx, write, new).await
}

pub(super) async fn delete(tx: &mut Tx, write: &Write, name: &EndpointName) -> Result<()> {
    let record = locked(tx, write, name).await?;
    let key = record.endpoint.uid.key();
    check_no_rollout(tx, key).await?;
    let sql = "UPDATE endpoints SET deleted_ms = $2 WHERE endpoint_key = $1";
    tx.execute(sql, &args![number(key), write.now.millis()]).await?;
    let event = GatewayEvent::Deleted {
        key,
        name: name.clone(),
    };
    tell(
        tx,
        write,
        record.endpoint.uid.as_str(),
        record.version + 1,
        &event,
    )
    .await
}

pub(super) async fn add_revision(tx: &mut Tx, write: &Write, new: &NewRevision) -> Result<EndpointRecord> {
    let lock = tx.engine().for_update();
    let sql =
        format!("SELECT body, version FROM endpoints WHERE endpoint_key = $1 AND deleted_ms IS NULL{lock}");
    let row = tx.query_opt(&sql, &args![number(new.key)]).await?;
    let row = row.ok_or_else(|| Error::not_found(ResourceKind::Endpoint, new.key.get()))?;
    let mut endpoint: Endpoint = read(row.str(0)?)?;
    if endpoint.revision.checked_add(1) != Some(new.revision.number) {
        return Err(Error::Conflict(Resource::new(
            ResourceKind::Endpoint,
            &endpoint.name,
        )));
    }
    endpoint.revision = new.revision.number;
    let mut record = EndpointRecord {
        endpoint,
        revision: new.revision.clone(),
        resolutions: new.resolutions.clone(),
        version: row.int(1)?,
    };
    keep_revision(tx, &record).await?;
    change(tx, write, &mut record).await?;
    Ok(record)
}

pub(super) async fn revision(conn: &mut Conn, key: EndpointKey, wanted: u32) -> Result<Revision> {
    let sql = "SELECT body FROM revisions WHERE endpoint_key = $1 AND number = $2";
    let row = conn
        .query_opt(sql, &args![number(key), i64::from(wanted)])
        .await?;
    let row = row.ok_or_else(|| Error::not_found(ResourceKind::Revision, wanted))?;
    read(row.str(0)?)
}

pub(super) async fn revisions(
    conn: &mut Conn,
    key: EndpointKey,
    page: &PageRequest,
) -> Result<Page<Revision>> {
    let before = match page.after.as_ref().map(|position| position.0.as_slice()) {
        Some([KeyValue::Int(number)]) => *number,
        _ => i64::MAX,
    };
    let limit = i64::try_from(page.size + 1).unwrap_or(i64::MAX);
    let sql =
        "SELECT body FROM revisions WHERE endpoint_key = $1 AND number < $2 ORDER BY number DESC LIMIT $3";
    let rows = conn.query(sql, &args![number(key), before, limit]).await?;
    let found = rows.iter().map(|row| {
        let revision: Revision = read(row.str(0)?)?;
        let place = Position(vec![KeyValue::Int(revision.number.into())]);
        Ok((revision, place))
    });
    Ok(Page::from_lookahead(found.collect::<Result<_>>()?, page.size))
}

pub(super) async fn revision_at(
    conn: &mut Conn,
    key: EndpointKey,
    at: Timestamp,
) -> Result<Option<Revision>> {
    let sql = "SELECT body FROM revisions WHERE endpoint_key = $1 AND created_ms <= $2 ORDER BY number DESC LIMIT 1";
    let row = conn.query_opt(sql, &args![number(key), at.millis()]).await?;
    row.map(|row| read(row.str(0)?)).transpose()
}

/// Only while the revision still serves: a gateway that is late must not write history.
pub(super) async fn resolve(
    tx: &mut Tx,
    write: &Write,
    key: EndpointKey,
    resolution: &Resolution,
) -> Result<()> {
    let lock = tx.engine().for_update();
    let sql =
        format!("SELECT body, version FROM endpoints WHERE endpoint_key = $1 AND deleted_ms IS NULL{lock}");
    let Some(row) = tx.query_opt(&sql, &args![number(key)]).await? else {
        return Ok(());
    };
    let endpoint: Endpoint = read(row.str(0)?)?;
    if endpoint.revision != resolution.revision {
        return Ok(());
    }
    let before = current(tx, number(key), resolution.revision).await?;
    let same = |old: &Resolution| {
        Resolution {
            from: resolution.from,
            ..old.clone()
        } == *resolution
    };
    if before
        .iter()
        .any(|old| old.target == resolution.target && same(old))
    {
        return Ok(());
    }
    keep_resolution(tx, number(key), resolution).await?;
    let mut record = EndpointRecord {
        revision: revision(tx, key, endpoint.revision).await?,
        resolutions: current(tx, number(key), endpoint.revision).await?,
        version: row.int(1)?,
        endpoint,
    };
    change(tx, write, &mut record).await
}

pub(super) async fn resolutions_at(
    conn: &mut Conn,
    key: EndpointKey,
    revision: u32,
    at: Timestamp,
) -> Result<Vec<Resolution>> {
    resolved(conn, number(key), revision, at.millis()).await
}

pub(super) async fn changes_after(
    conn: &mut Conn,
    workspace: Option<&Workspace>,
    cursor: i64,
    limit: usize,
) -> Result<Events> {
    let filter = ChangeFilter {
        workspace: workspace.map(Workspace::as_str),
        entity: Some(ENTITY),
        entity_id: None,
    };
    let found = changes::after(conn, cursor, filter, i64::try_from(limit).unwrap_or(i64::MAX)).await?;
    let event = |change: Change| {
        let event = serde_json::from_slice(&change.payload).map_err(Error::internal)?;
        Ok((change.seq, Workspace::parse(&change.workspace)?, event))
    };
    Ok(Events {
        events: found.changes.into_iter().map(event).collect::<Result<_>>()?,
        next: found.next,
    })
}
