//! Making and moving a version in one statement, where every statement is a round trip.
//!
//! The change log's entry is made here, out of what was read or remembered before; the statement does nothing unless that
//! still holds once it has the locks of the rows, and then an operation does the work. Locks are taken in the order in which
//! operations take them: the model's row, the version's, the change log's head.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use lodeway_domain::{
    Result,
    id::{ModelId, ModelUid, RunId},
    registry::{ModelVersion, NewVersion, TransitionKind},
};

use super::{
    Before, CreatedVersion, Move, Moved, RegistryEvent, feed,
    ledger::{self, Entry},
    rows::{digest_code, unset},
    versions,
};
use crate::{
    ledger::Write,
    ledger::changes,
    sql::{Arg, Db},
};

/// Models remembered; all are dropped at this number.
const MAX_KEPT: usize = 10_000;

/// Which number the next version of a model gets, as last seen. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    kept: Arc<Mutex<HashMap<Named, (ModelUid, i64)>>>,
}

/// Workspace and name of a model.
type Named = (String, String);

impl Numbers {
    fn get(&self, write: &Write, name: &str) -> Option<(ModelUid, i64)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&(write.workspace().to_owned(), name.to_owned()))
            .cloned()
    }

    /// Remembers that this version was made.
    pub fn keep(&self, write: &Write, version: &ModelVersion) {
        let place = (write.workspace().to_owned(), version.name.as_str().to_owned());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(place, (version.model_uid.clone(), version.version + 1));
    }
}

/// The condition on the part `l`, which writes the ledger, behind everything that takes locks.
const IS_RECORDED: &str = "(SELECT count(*) FROM l) > 0";

/// Makes a version of a model whose next number is remembered, with its message to tracking. None, and nothing done, if this
/// is another, or the model.
pub(super) async fn create(
    db: &Db,
    numbers: &Numbers,
    write: &Write,
    new: &NewVersion,
) -> Result<Option<CreatedVersion>> {
    let Some((uid, number)) = numbers.get(write, new.name.as_str()) else {
        return Ok(None);
    };
    let version = versions::fresh(write, new, uid, number);
    let message = feed::first_event(write, &version)?;
    let (message_id, message_kind, message_payload) = match &message {
        Some(message) => (&*message.event_id, &*message.kind, &*message.payload),
        None => ("", "", [].as_slice()),
    };
    let event = RegistryEvent::Version(Box::new(version.clone()));
    let payload = feed::payload(&event)?;
    let change = feed::change(write.workspace(), &event, &payload);
    let entry = changes::entry(IS_RECORDED, ["$1", "$23", "$4", "$5", "$24", "$3"]);
    let sql = format!(
        "WITH m AS (UPDATE models SET next_version = next_version + 1, updated_ms = $3 \
         WHERE workspace = $1 AND name = $2 AND uid = $4 AND next_version = $5 RETURNING model_key), \
         v AS (INSERT INTO versions (workspace, model_key, model_uid, name, version, stage, description, source, \
         artifact_uri, run_id, run_link, model_id, user_id, status, status_message, content_digest, digest_state, \
         source_unchecked, revision, created_ms, updated_ms) \
         SELECT $1, m.model_key, $4, $2, $5, $6, CAST($7 AS TEXT), $8, $9, CAST($10 AS TEXT), $11, CAST($12 AS TEXT), \
         $13, $14, $15, '', $16, $17, 1, $3, $3 FROM m RETURNING version_key), \
         t AS (INSERT INTO version_tags (workspace, version_key, key, value) \
         SELECT $1, v.version_key, g.key, g.value FROM v CROSS JOIN unnest($18, $19) AS g (key, value)), \
         l AS (INSERT INTO transitions (workspace, kind, model_uid, name, version, from_version, principal, \
         principal_verified, created_ms, comment) \
         SELECT $1, $20, $4, $2, $5, 0, $21, $22, $3, '' FROM v RETURNING 1), \
         o AS (INSERT INTO outbox (event_id, kind, payload, created_ms, attempts, next_ms) \
         SELECT CAST($25 AS TEXT), $26, $27, $3, 0, $28 FROM v WHERE $25 <> ''), {entry} \
         SELECT v.version_key, (SELECT seq FROM h) FROM v"
    );
    let args = [
        Arg::from(write.workspace()),
        Arg::from(new.name.as_str()),
        Arg::from(write.now.millis()),
        Arg::from(version.model_uid.as_str()),
        Arg::from(number),
        Arg::from(version.stage.as_str()),
        Arg::from(unset(&version.description)),
        Arg::from(&version.source),
        Arg::from(&version.artifact_uri),
        Arg::from(version.run_id.as_ref().map(RunId::as_str)),
        Arg::from(&version.run_link),
        Arg::from(version.model_id.as_ref().map(ModelId::as_str)),
        Arg::from(&version.user_id),
        Arg::from(version.status.as_str()),
        Arg::from(&version.status_message),
        Arg::from(digest_code(version.digest_state)),
        Arg::from(version.source_unchecked),
        Arg::Texts(new.tags.keys().map(Into::into).collect()),
        Arg::Texts(new.tags.values().map(Into::into).collect()),
        Arg::from(TransitionKind::VersionCreated.code()),
        Arg::from(&write.caller.principal),
        Arg::from(write.caller.verified),
        Arg::from(change.entity),
        Arg::from(change.payload),
        Arg::from(message_id),
        Arg::from(message_kind),
        Arg::from(message_payload),
        Arg::from(feed::due(write).millis()),
    ];
    let rows = db.change_at_once(&sql, &args, false).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    db.wake();
    Ok(Some(CreatedVersion {
        version,
        event: message,
        digest: versions::pending(write, new, row.int(0)?),
    }))
}

/// Moves a version that was read before to another stage. None, and nothing done, if others are to be archived, it is there
/// already, a promotion rule guards the stage, or somebody changed it or its model meanwhile.
pub(super) async fn stage(db: &Db, write: &Write, request: &Move, before: Before) -> Result<Option<Moved>> {
    let (name, number) = (&request.name, request.version);
    let Some(seen) = before.seen else { return Ok(None) };
    if request.archives_existing || before.is_gated {
        return Ok(None);
    }
    let before = before.version;
    let from = before.stage;
    if from == request.stage {
        return Ok(None);
    }
    let version = ModelVersion {
        stage: request.stage,
        updated: write.now,
        revision: before.revision + 1,
        ..before
    };
    let event = RegistryEvent::Version(Box::new(version.clone()));
    let payload = feed::payload(&event)?;
    let change = feed::change(write.workspace(), &event, &payload);
    let entry = changes::entry(IS_RECORDED, ["$1", "$15", "$9", "$10", "$16", "$3"]);
    let sql = format!(
        "WITH m AS (UPDATE models SET updated_ms = $3 WHERE workspace = $1 AND name = $2 \
         AND CAST(xmin AS TEXT) = $4 AND NOT EXISTS (SELECT 1 FROM promotion_rules r WHERE r.workspace = $1 \
         AND r.target_kind = 'stage' AND r.target = $5 AND r.model IN ('', $2)) RETURNING model_key), \
         v AS (UPDATE versions v SET stage = $5, updated_ms = $3, revision = v.revision + 1 FROM m \
         WHERE v.version_key = $6 AND v.model_key = m.model_key AND CAST(v.xmin AS TEXT) = $7 RETURNING v.version_key), \
         l AS (INSERT INTO transitions (workspace, kind, model_uid, name, version, from_stage, to_stage, from_version, \
         principal, principal_verified, created_ms, comment) \
         SELECT $1, $8, $9, $2, $10, $11, $5, 0, $12, $13, $3, $14 FROM v RETURNING id), {entry} \
         SELECT id, (SELECT seq FROM h) FROM l"
    );
    let entry = Entry::stage(number, from, request.stage);
    let args = [
        Arg::from(write.workspace()),
        Arg::from(name.as_str()),
        Arg::from(write.now.millis()),
        Arg::from(seen.model_by),
        Arg::from(request.stage.as_str()),
        Arg::from(seen.key),
        Arg::from(seen.version_by),
        Arg::from(entry.kind.code()),
        Arg::from(version.model_uid.as_str()),
        Arg::from(number),
        Arg::from(from.as_str()),
        Arg::from(&write.caller.principal),
        Arg::from(write.caller.verified),
        Arg::from(&request.comment),
        Arg::from(change.entity),
        Arg::from(change.payload),
    ];
    let rows = db.change_at_once(&sql, &args, false).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    db.wake();
    let id = row.int(0)?;
    let comment = &request.comment;
    let transition = ledger::transition(write, &version.model_uid, name, &entry, comment, (id, id));
    Ok(Some(Moved {
        version,
        transitions: vec![transition],
    }))
}
