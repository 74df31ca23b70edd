//! Creating and changing a run in one statement, where every statement is a round trip; as [`super::at_once`] does for
//! what is logged to it.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use lodeway_domain::{
    Result,
    id::{ExperimentId, RunId},
    time::Timestamp,
    tracking::{NewRun, PARENT_RUN_TAG, Run},
};

use super::{
    SqlTracking,
    labels::{Label, head},
    run_head::RUN_ENTITY,
    run_row::{COLUMN_COUNT, COLUMNS, Update, artifacts_of, run_of},
};
use crate::{
    args,
    ledger::changes,
    sql::{Arg, Db},
};

/// Locations kept; all are dropped at this number.
const MAX_KEPT: usize = 10_000;

/// Where the artifacts of experiments are, as last seen. Clones share it.
///
/// The statement that makes a run looks whether that still holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Locations {
    kept: Arc<RwLock<HashMap<Place, Arc<str>>>>,
}

/// Workspace and id of an experiment.
type Place = (String, ExperimentId);

impl Locations {
    async fn of(&self, db: &Db, workspace: &str, id: ExperimentId) -> Result<Option<Arc<str>>> {
        let place = (workspace.to_owned(), id);
        let known = self
            .kept
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&place)
            .cloned();
        if known.is_some() {
            return Ok(known);
        }
        let sql = "SELECT artifact_location FROM experiments WHERE workspace = $1 AND experiment_id = $2";
        let Some(row) = db.query_opt(sql, &args![workspace, id.get()]).await? else {
            return Ok(None);
        };
        let found: Arc<str> = row.str(0)?.into();
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(place, Arc::clone(&found));
        Ok(Some(found))
    }

    fn forget(&self, workspace: &str, id: ExperimentId) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        kept.remove(&(workspace.to_owned(), id));
    }
}

/// Creates a run in an active experiment; where its artifacts are. None, and nothing done, if there is no such experiment or
/// it is not active.
pub(super) async fn create(
    store: &SqlTracking,
    workspace: &str,
    id: &RunId,
    new: &NewRun,
    tags: &[Label],
    now: Timestamp,
) -> Result<Option<String>> {
    let (db, locations) = (&store.db, &store.locations);
    let Some(location) = locations.of(db, workspace, new.experiment).await? else {
        return Ok(None);
    };
    let artifact_uri = artifacts_of(&location, id);
    // The experiment is locked first: so the transaction has its number before the run has its row id, see
    // search/complete.rs.
    let entry = changes::entry(
        "(SELECT count(*) FROM r) > 0",
        ["$1", "$13", "$4", "1", "$14", "$15"],
    );
    let sql = format!(
        "WITH e AS (SELECT id FROM experiments WHERE workspace = $1 AND experiment_id = $2 AND deleted_ms IS NULL \
         AND artifact_location = $3 FOR SHARE), \
         r AS (INSERT INTO runs (workspace, run_id, experiment, name, status, user_id, started_ms, artifact_uri) \
         SELECT $1, $4, e.id, $5, $6, $7, $8, $9 FROM e RETURNING id, experiment, started_ms), \
         t AS (INSERT INTO run_tags (run, key, experiment, started_ms, head, value) \
         SELECT r.id, g.key, r.experiment, r.started_ms, g.head, g.value \
         FROM r CROSS JOIN unnest($10, $11, $12) AS g (key, head, value)), {entry} \
         SELECT r.id, (SELECT seq FROM h) FROM r"
    );
    let arguments = [
        Arg::from(workspace),
        Arg::from(new.experiment.get()),
        Arg::from(&*location),
        Arg::from(id.as_str()),
        Arg::from(&new.name),
        Arg::from(new.status as i64),
        Arg::from(&new.user_id),
        Arg::from(new.started.millis()),
        Arg::from(&artifact_uri),
        Arg::from(tags.iter().map(|tag| tag.id).collect::<Vec<_>>()),
        Arg::Texts(tags.iter().map(|tag| head(&tag.value).into()).collect()),
        Arg::Texts(tags.iter().map(|tag| tag.value.as_str().into()).collect()),
        Arg::from(RUN_ENTITY),
        Arg::from(&b""[..]),
        Arg::from(now.millis()),
    ];
    if db.change_at_once(&sql, &arguments, false).await?.is_empty() {
        locations.forget(workspace, new.experiment);
        return Ok(None);
    }
    db.wake();
    Ok(Some(artifact_uri))
}

/// Changes an active run; it as it is then. None, and nothing done, if there is no such run, it is not active or at another
/// revision.
pub(super) async fn update(db: &Db, workspace: &str, state: &Update, now: Timestamp) -> Result<Option<Run>> {
    let Update {
        id,
        update,
        name,
        parent_key,
    } = state;
    let entry = changes::entry(
        "(SELECT count(*) FROM n) > 0",
        ["$1", "$12", "$2", "(SELECT revision FROM n)", "$13", "$14"],
    );
    let sql = format!(
        "WITH n AS (UPDATE runs r SET status = COALESCE($3, r.status), \
         ended_ms = CASE WHEN $4 THEN $5 ELSE r.ended_ms END, name = COALESCE($6, r.name), revision = r.revision + 1 \
         WHERE r.workspace = $1 AND r.run_id = $2 AND r.deleted_ms IS NULL \
         AND r.revision = COALESCE($7, r.revision) RETURNING {COLUMNS}), \
         t AS (INSERT INTO run_tags (run, key, experiment, started_ms, head, value) \
         SELECT n.id, g.key, n.experiment, n.started_ms, g.head, g.value \
         FROM n CROSS JOIN unnest($8, $9, $10) AS g (key, head, value) \
         ON CONFLICT (run, key) DO UPDATE SET head = excluded.head, value = excluded.value \
         WHERE run_tags.value <> excluded.value), {entry} \
         SELECT n.*, (SELECT e.experiment_id FROM experiments e WHERE e.id = n.experiment), \
         (SELECT p.value FROM run_tags p WHERE p.run = n.id AND p.key = $11), (SELECT seq FROM h) FROM n"
    );
    let arguments = [
        Arg::from(workspace),
        Arg::from(id.as_str()),
        Arg::from(update.status.map(|status| status as i64)),
        Arg::from(update.ended.is_some()),
        Arg::from(update.ended.flatten().map(Timestamp::millis)),
        Arg::from(update.name.as_deref()),
        Arg::from(update.if_revision),
        Arg::from(name.iter().map(|tag| tag.id).collect::<Vec<_>>()),
        Arg::Texts(name.iter().map(|tag| head(&tag.value).into()).collect()),
        Arg::Texts(name.iter().map(|tag| tag.value.as_str().into()).collect()),
        Arg::from(*parent_key),
        Arg::from(RUN_ENTITY),
        Arg::from(&b""[..]),
        Arg::from(now.millis()),
    ];
    let rows = db.change_at_once(&sql, &arguments, false).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    db.wake();
    let (_, mut run) = run_of(row, ExperimentId::new(row.int(COLUMN_COUNT)?))?;
    if let Some(parent) = row.opt_text(COLUMN_COUNT + 1)? {
        run.tags.insert(PARENT_RUN_TAG.to_owned(), parent);
    }
    Ok(Some(run))
}
