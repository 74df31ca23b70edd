//! What watchers and background work read: changes, snapshots, messages to tracking, digests to compute.

use std::time::Duration;

use lodeway_domain::{
    Error, Result,
    caller::Workspace,
    id::{ModelId, ModelUid, RunId, new_hex},
    registry::{ModelName, ModelVersion},
    time::Timestamp,
};
use sha2::{Digest as _, Sha256};

use super::{
    Feed, FoundDigest, Maker, PendingDigest, REFERENCE, Reference, RegistryEvent, SnapshotPart,
    rows::{self, VERSION, digest_code},
};
use crate::{
    args,
    ledger::{
        Write,
        changes::{self, ChangeFilter, NewChange},
        outbox::{self, Event},
    },
    sql::{Arg, Conn, Engine, Tx},
};

const ENTITY: &str = "model";

/// How long the writer has to deliver a message itself before others see it.
const OWN_DELIVERY: Duration = Duration::from_secs(2);

/// A version that refers to something of tracking, or whose files may lie in a folder of tracking's.
pub(super) struct Referrer {
    pub(super) version: i64,
    pub(super) run_id: String,
    pub(super) model_id: String,
    pub(super) artifact_uri: String,
}

/// Tells the watchers.
pub(super) async fn announce(tx: &mut Tx, write: &Write, event: &RegistryEvent) -> Result<()> {
    append(tx, write.workspace(), event, write.now).await
}

/// What the change log keeps of an event.
pub(super) fn payload(event: &RegistryEvent) -> Result<Vec<u8>> {
    serde_json::to_vec(event).map_err(Error::internal)
}

/// The entry of the change log for an event; `payload` is that of [`payload`].
pub(super) fn change<'a>(workspace: &'a str, event: &'a RegistryEvent, payload: &'a [u8]) -> NewChange<'a> {
    let (uid, version) = match event {
        RegistryEvent::Version(version) => (&version.model_uid, version.version),
        RegistryEvent::VersionDeleted { uid, version, .. } => (uid, *version),
        RegistryEvent::Model(model) => (&model.uid, 0),
        RegistryEvent::ModelDeleted { uid, .. } => (uid, 0),
    };
    NewChange {
        workspace,
        entity: ENTITY,
        entity_id: uid.as_str(),
        version,
        payload,
    }
}

async fn append(tx: &mut Tx, workspace: &str, event: &RegistryEvent, now: Timestamp) -> Result<()> {
    let payload = payload(event)?;
    changes::append(tx, change(workspace, event, &payload), now)
        .await
        .map(|_| ())
}

pub(super) async fn changes_after(
    conn: &mut Conn,
    workspace: &str,
    uid: Option<&ModelUid>,
    cursor: i64,
    limit: usize,
) -> Result<Feed> {
    let filter = ChangeFilter {
        workspace: Some(workspace),
        entity: Some(ENTITY),
        entity_id: uid.map(ModelUid::as_str),
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = changes::after(conn, cursor, filter, limit).await?;
    let event = |change: changes::Change| {
        serde_json::from_slice(&change.payload)
            .map(|event| (change.seq, event))
            .map_err(Error::internal)
    };
    let events = found.changes.into_iter().map(event).collect::<Result<Vec<_>>>()?;
    Ok(Feed {
        events,
        next: found.next,
    })
}

pub(super) async fn snapshot(
    conn: &mut Conn,
    workspace: &str,
    uid: Option<&ModelUid>,
    after: i64,
    limit: usize,
) -> Result<SnapshotPart> {
    let head = changes::head(conn).await?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = match uid {
        Some(uid) => {
            let sql = format!(
                "SELECT {VERSION} FROM versions WHERE workspace = $1 AND version_key > $2 AND model_key = \
                 (SELECT m.model_key FROM models m WHERE m.workspace = $1 AND m.uid = $4) ORDER BY version_key LIMIT $3"
            );
            conn.query(&sql, &args![workspace, after, limit, uid.as_str()])
                .await?
        }
        None => {
            let sql = format!(
                "SELECT {VERSION} FROM versions WHERE workspace = $1 AND version_key > $2 ORDER BY version_key LIMIT $3"
            );
            conn.query(&sql, &args![workspace, after, limit]).await?
        }
    };
    let mut rows = found.iter().map(rows::version).collect::<Result<Vec<_>>>()?;
    rows::label_versions(conn, &mut rows).await?;
    Ok(SnapshotPart {
        head,
        versions: rows.into_iter().map(|row| (row.key, row.version)).collect(),
    })
}

/// The versions of a model that tracking knows of.
pub(super) async fn referrers(conn: &mut Conn, workspace: &str, model_key: i64) -> Result<Vec<Referrer>> {
    let sql = "SELECT version, run_id, model_id, artifact_uri FROM versions WHERE workspace = $1 AND model_key = $2 \
               AND NOT source_unchecked ORDER BY version";
    let found = conn.query(sql, &args![workspace, model_key]).await?;
    let referrer = |row: &crate::sql::Row| {
        let (run_id, model_id) = (row.opt_text(1)?, row.opt_text(2)?);
        let uri = row.str(3)?;
        Ok(Referrer::of(
            row.int(0)?,
            run_id.as_deref(),
            model_id.as_deref(),
            uri,
            false,
        ))
    };
    found.iter().filter_map(|row| referrer(row).transpose()).collect()
}

/// The first message about a version. It goes before all others: those carry the number of their ledger's entry.
const FIRST: i64 = 0;

/// When others may deliver a message that its writer delivers itself if it can.
pub(super) fn due(write: &Write) -> Timestamp {
    write.now.plus(OWN_DELIVERY)
}

/// The message about a version that has just been made.
pub(super) fn first_event(write: &Write, version: &ModelVersion) -> Result<Option<Event>> {
    let Some(referrer) = referrer(version) else {
        return Ok(None);
    };
    let event = event_of(write, &version.model_uid, &version.name, &referrer, FIRST, false)?;
    Ok(Some(Event {
        event_id: first_id(version),
        ..event
    }))
}

/// The id of the first message about a version, by which it is found again: no other version gets its number.
fn first_id(version: &ModelVersion) -> String {
    let text = format!("version/{}/{}", version.model_uid, version.version);
    hex::encode(Sha256::digest(text.as_bytes()).get(..16).unwrap_or_default())
}

/// The first message about a version, if tracking does not have it yet as far as is known.
pub(super) async fn waiting_event(conn: &mut Conn, version: &ModelVersion) -> Result<Option<Event>> {
    outbox::find(conn, &first_id(version)).await
}

fn event_of(
    write: &Write,
    uid: &ModelUid,
    name: &ModelName,
    referrer: &Referrer,
    seq: i64,
    released: bool,
) -> Result<Event> {
    let reference = Reference {
        workspace: write.caller.workspace.clone(),
        seq,
        uid: uid.clone(),
        name: name.clone(),
        version: referrer.version,
        model_id: referrer.model_id.clone(),
        run_id: referrer.run_id.clone(),
        artifact_uri: referrer.artifact_uri.clone(),
        released,
        maker: (seq == FIRST).then(|| Maker {
            principal: write.caller.principal.clone(),
            verified: write.caller.verified,
            request: write.request.map(|id| id.to_string()).unwrap_or_default(),
        }),
    };
    Ok(Event {
        event_id: new_hex(),
        kind: REFERENCE.to_owned(),
        payload: serde_json::to_vec(&reference).map_err(Error::internal)?,
        created: write.now,
        attempts: 1,
    })
}

pub(super) fn referrer(version: &ModelVersion) -> Option<Referrer> {
    let run_id = version.run_id.as_ref().map(RunId::as_str);
    let model_id = version.model_id.as_ref().map(ModelId::as_str);
    Referrer::of(
        version.version,
        run_id,
        model_id,
        &version.artifact_uri,
        version.source_unchecked,
    )
}

/// Writes messages to tracking about versions of one model, due now.
pub(super) async fn tell_tracking(
    tx: &mut Tx,
    write: &Write,
    uid: &ModelUid,
    name: &ModelName,
    referrers: &[Referrer],
    seq: i64,
    released: bool,
) -> Result<()> {
    for referrer in referrers {
        let event = event_of(write, uid, name, referrer, seq, released)?;
        write_event(tx, &event, Duration::ZERO).await?;
    }
    Ok(())
}

/// Writes the first message about a version, which the writer delivers itself if it can.
pub(super) async fn tell_at_once(
    tx: &mut Tx,
    write: &Write,
    version: &ModelVersion,
) -> Result<Option<Event>> {
    let event = first_event(write, version)?;
    if let Some(event) = &event {
        write_event(tx, event, OWN_DELIVERY).await?;
    }
    Ok(event)
}

/// Writes a message that others may deliver after `delay`.
async fn write_event(tx: &mut Tx, event: &Event, delay: Duration) -> Result<()> {
    let Event {
        event_id,
        kind,
        payload,
        created,
        ..
    } = event;
    outbox::append(tx, event_id, kind, payload, *created, delay).await
}

pub(super) async fn pending_digests(conn: &mut Conn, after: i64, limit: i64) -> Result<Vec<PendingDigest>> {
    let sql = "SELECT version_key, workspace, artifact_uri FROM versions \
               WHERE digest_state = 1 AND version_key > $1 ORDER BY version_key LIMIT $2";
    conn.query(sql, &args![after, limit])
        .await?
        .iter()
        .map(pending)
        .collect()
}

fn pending(row: &crate::sql::Row) -> Result<PendingDigest> {
    let workspace = Workspace::parse(row.str(1)?).map_err(|e| Error::internal(e.to_string()))?;
    Ok(PendingDigest {
        key: row.int(0)?,
        workspace,
        artifact_uri: row.text(2)?,
    })
}

/// Versions of whose files nothing is known, though their sources were checked.
pub(super) async fn unread_versions(conn: &mut Conn, after: i64, limit: i64) -> Result<Vec<PendingDigest>> {
    let sql = "SELECT version_key, workspace, artifact_uri FROM versions \
               WHERE digest_state = 0 AND NOT source_unchecked AND version_key > $1 ORDER BY version_key LIMIT $2";
    let found = conn.query(sql, &args![after, limit]).await?;
    found.iter().map(pending).collect()
}

/// Has digests computed of versions of whose files nothing is known. Nobody changed them, so neither time nor revision change.
pub(super) async fn await_digests(tx: &mut Tx, keys: &[i64]) -> Result<()> {
    for key in keys {
        let sql = "UPDATE versions SET digest_state = 1 WHERE version_key = $1 AND digest_state = 0";
        tx.execute(sql, &args![*key]).await?;
    }
    Ok(())
}

/// One version, if its digest is to be computed.
pub(super) async fn pending_digest(
    conn: &mut Conn,
    workspace: &str,
    uid: &ModelUid,
    version: i64,
) -> Result<Option<PendingDigest>> {
    let sql = "SELECT version_key, workspace, artifact_uri FROM versions \
               WHERE digest_state = 1 AND workspace = $1 AND version = $3 AND model_key = \
               (SELECT m.model_key FROM models m WHERE m.workspace = $1 AND m.uid = $2)";
    let row = conn
        .query_opt(sql, &args![workspace, uid.as_str(), version])
        .await?;
    row.as_ref().map(pending).transpose()
}

pub(super) async fn record_digests(tx: &mut Tx, found: &[FoundDigest], now: Timestamp) -> Result<()> {
    // In the order of keys, in which everybody takes the locks of rows.
    let mut found: Vec<&FoundDigest> = found.iter().collect();
    found.sort_by_key(|one| (one.of.workspace.as_str(), one.of.key));
    for of_workspace in found.chunk_by(|a, b| a.of.workspace == b.of.workspace) {
        let changed = put_digests(tx, of_workspace).await?;
        let workspace = of_workspace[0].of.workspace.as_str();
        put_formats(tx, of_workspace, &changed).await?;
        let mut events = Vec::with_capacity(changed.len());
        for row in rows::versions(tx, &changed).await? {
            let event = RegistryEvent::Version(Box::new(row.version));
            let payload = payload(&event)?;
            events.push((event, payload));
        }
        let told: Vec<_> = events
            .iter()
            .map(|(event, payload)| change(workspace, event, payload))
            .collect();
        changes::append_many(tx, &told, now).await?;
    }
    Ok(())
}

/// Writes the formats of versions whose digest was written.
async fn put_formats(tx: &mut Tx, found: &[&FoundDigest], changed: &[i64]) -> Result<()> {
    let known = |one: &&&FoundDigest| !one.formats.is_empty() && changed.contains(&one.of.key);
    let mut rows: Vec<Arg<'_>> = Vec::new();
    for one in found.iter().filter(known) {
        let formats = serde_json::to_string(&one.formats).map_err(Error::internal)?;
        rows.extend(args![one.of.workspace.as_str(), one.of.key, formats]);
    }
    if rows.is_empty() {
        return Ok(());
    }
    let into = "INSERT INTO version_formats (workspace, version_key, formats)";
    let end = "ON CONFLICT (version_key) DO UPDATE SET formats = excluded.formats";
    tx.insert_many(into, 3, end, &rows).await.map(|_| ())
}

/// Writes digests of versions that wait for one, sorted by key; the keys of those that did.
async fn put_digests(tx: &mut Tx, found: &[&FoundDigest]) -> Result<Vec<i64>> {
    // Neither time nor revision change: nobody changed the version, and an etag read before stays good.
    let set = "UPDATE versions SET digest_state = $2, content_digest = $3 WHERE version_key = $1 AND digest_state = 1";
    if tx.engine() == Engine::Sqlite || found.len() == 1 {
        let mut changed = Vec::with_capacity(found.len());
        for one in found {
            let args = args![one.of.key, digest_code(one.state), &one.content_digest];
            if tx.execute(set, &args).await? > 0 {
                changed.push(one.of.key);
            }
        }
        return Ok(changed);
    }
    // Locked in order before they are changed, in which an UPDATE with a join goes as it likes.
    let sql = "WITH held AS (SELECT v.version_key FROM versions v WHERE v.version_key = ANY($1) AND v.digest_state = 1 \
               ORDER BY v.version_key FOR UPDATE) \
               UPDATE versions v SET digest_state = g.state, content_digest = g.digest \
               FROM held JOIN unnest($1, $2, $3) AS g (key, state, digest) ON g.key = held.version_key \
               WHERE v.version_key = held.version_key RETURNING v.version_key";
    let column = |of: fn(&FoundDigest) -> i64| Arg::from(found.iter().map(|one| of(one)).collect::<Vec<_>>());
    let args = [
        column(|one| one.of.key),
        column(|one| digest_code(one.state)),
        Arg::Texts(
            found
                .iter()
                .map(|one| one.content_digest.as_str().into())
                .collect(),
        ),
    ];
    let rows = tx.query(sql, &args).await?;
    rows.iter().map(|row| row.int(0)).collect()
}
