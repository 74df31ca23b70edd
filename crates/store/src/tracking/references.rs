//! Which versions of registered models refer to logged models and runs, as registries tell it.

use std::collections::BTreeSet;

use async_trait::async_trait;
use lodeway_domain::{Caller, Error, Result, time::Timestamp, tracking::VersionReference};

use super::{
    SqlTracking,
    purge::{check_not_among, marked, references_lock},
};
use crate::{args, artifacts::Roots, sql::Tx};

/// The tag of a logged model that lists the versions made from it, by the convention of MLflow's clients.
pub const MODEL_VERSIONS_TAG: &str = "mlflow.modelVersions";

/// Keeps references of model versions.
#[async_trait]
pub trait ReferenceStore: Send + Sync + 'static {
    /// Stores what a version refers to, and lists the versions of a logged model in its tag [`MODEL_VERSIONS_TAG`].
    ///
    /// An `event_seq` that is not greater than the stored one changes nothing. The logged model and the run may be
    /// unknown here. Errors: `NotFound` for a new reference to what a purge is removing, or removed lately, or to files of it.
    async fn record_version(
        &self,
        caller: &Caller,
        reference: VersionReference,
        now: Timestamp,
    ) -> Result<()>;

    /// Stores what new versions refer to, which is folders alone, in one commit; what is known of a version already stays.
    /// Gives the event ids of those whose folders a purge is removing, or removed lately: they are not stored.
    async fn record_new_versions(
        &self,
        caller: &Caller,
        references: Vec<VersionReference>,
        now: Timestamp,
    ) -> Result<Vec<String>>;
}

async fn record(
    tx: &mut Tx,
    workspace: &str,
    (reference, roots): (&VersionReference, Option<&Roots>),
    now: Timestamp,
) -> Result<()> {
    // Beside other references, which the rows keep apart: a version is told of by one event after the other.
    tx.lock_shared(&references_lock(workspace)).await?;
    let uid = reference.model_uid.as_str();
    let find = "SELECT model_id, event_seq FROM version_references \
                WHERE workspace = $1 AND model_uid = $2 AND version = $3";
    let known = tx
        .query_opt(find, &args![workspace, uid, reference.version])
        .await?;
    let mut models = BTreeSet::new();
    if let Some(row) = known {
        if row.int(1)? >= reference.event_seq {
            return Ok(());
        }
        models.insert(row.text(0)?);
    } else if !reference.released {
        check_not_among(&marked(tx, workspace, now).await?, (reference, roots))?;
    }
    let model = reference.model.as_ref().map_or("", |id| id.as_str());
    let run = reference.run.as_ref().map_or("", |id| id.as_str());
    let put = "INSERT INTO version_references (workspace, model_uid, version, name, model_id, run_id, artifact_uri, \
               event_seq, released) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
               ON CONFLICT (workspace, model_uid, version) DO UPDATE SET name = excluded.name, \
               model_id = excluded.model_id, run_id = excluded.run_id, artifact_uri = excluded.artifact_uri, \
               event_seq = excluded.event_seq, released = excluded.released \
               WHERE version_references.event_seq < excluded.event_seq";
    let arguments = args![
        workspace,
        uid,
        reference.version,
        &reference.name,
        model,
        run,
        &reference.artifact_uri,
        reference.event_seq,
        reference.released,
    ];
    tx.execute(put, &arguments).await?;
    models.insert(model.to_owned());
    for model in models.iter().filter(|model| !model.is_empty()) {
        list_versions(tx, workspace, model, now).await?;
    }
    Ok(())
}

async fn record_new(
    tx: &mut Tx,
    workspace: &str,
    (references, roots): (&[VersionReference], Option<&Roots>),
    now: Timestamp,
) -> Result<Vec<String>> {
    tx.lock_shared(&references_lock(workspace)).await?;
    let marked = marked(tx, workspace, now).await?;
    let (mut purged, mut rows) = (Vec::new(), Vec::new());
    for reference in references {
        if check_not_among(&marked, (reference, roots)).is_err() {
            purged.push(reference.event_id.clone());
            continue;
        }
        rows.extend(args![
            workspace,
            reference.model_uid.as_str(),
            reference.version,
            &reference.name,
            "",
            "",
            &reference.artifact_uri,
            reference.event_seq,
            false,
        ]);
    }
    let into = "INSERT INTO version_references (workspace, model_uid, version, name, model_id, run_id, artifact_uri, \
                event_seq, released)";
    let end = "ON CONFLICT (workspace, model_uid, version) DO NOTHING";
    if !rows.is_empty() {
        tx.insert_many(into, 9, end, &rows).await?;
    }
    Ok(purged)
}

async fn list_versions(tx: &mut Tx, workspace: &str, model: &str, now: Timestamp) -> Result<()> {
    let touch =
        "UPDATE logged_models SET updated_ms = $3 WHERE workspace = $1 AND model_id = $2 RETURNING id";
    let Some(row) = tx
        .query_opt(touch, &args![workspace, model, now.millis()])
        .await?
    else {
        return Ok(());
    };
    let id = row.int(0)?;
    let find = "SELECT name, version FROM version_references WHERE workspace = $1 AND model_id = $2 AND NOT released \
                ORDER BY name, version";
    let mut listed = Vec::new();
    for row in tx.query(find, &args![workspace, model]).await? {
        let name = serde_json::to_string(&row.text(0)?).map_err(Error::internal)?;
        // With the spaces that MLflow's own server writes, because clients compare this text.
        listed.push(format!("{{\"name\": {name}, \"version\": {}}}", row.int(1)?));
    }
    if listed.is_empty() {
        let sql = "DELETE FROM logged_model_tags WHERE model = $1 AND key = $2";
        tx.execute(sql, &args![id, MODEL_VERSIONS_TAG]).await?;
        return Ok(());
    }
    let value = format!("[{}]", listed.join(", "));
    let sql = "INSERT INTO logged_model_tags (model, key, value) VALUES ($1, $2, $3) \
               ON CONFLICT (model, key) DO UPDATE SET value = excluded.value";
    tx.execute(sql, &args![id, MODEL_VERSIONS_TAG, &value]).await?;
    Ok(())
}

#[async_trait]
impl ReferenceStore for SqlTracking {
    async fn record_version(
        &self,
        caller: &Caller,
        reference: VersionReference,
        now: Timestamp,
    ) -> Result<()> {
        let state = (
            caller.workspace.as_str().to_owned(),
            reference,
            self.roots.clone(),
        );
        self.db
            .write_with(state, move |tx, (workspace, reference, roots)| {
                Box::pin(record(tx, workspace, (reference, roots.as_ref()), now))
            })
            .await
    }

    async fn record_new_versions(
        &self,
        caller: &Caller,
        references: Vec<VersionReference>,
        now: Timestamp,
    ) -> Result<Vec<String>> {
        let state = (
            caller.workspace.as_str().to_owned(),
            references,
            self.roots.clone(),
        );
        self.db
            .write_with(state, move |tx, (workspace, references, roots)| {
                Box::pin(record_new(tx, workspace, (references, roots.as_ref()), now))
            })
            .await
    }
}
