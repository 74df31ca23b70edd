//! Registered models.

use lodeway_domain::{
    Error, Reason, Resource, ResourceKind, Result,
    id::ModelUid,
    registry::{ModelName, NewModel, RegisteredModel, Stage, Tags, TransitionKind},
};

use super::{
    ModelUpdate, RegistryEvent,
    feed::{self, Referrer},
    find,
    ledger::{self, Entry},
    past,
    promotion::gate,
    rows::{self, MODEL, ModelRow, unset},
};
use crate::{
    args,
    ledger::Write,
    sql::{Arg, Conn, Tx},
};

fn taken(name: &ModelName) -> Error {
    Error::exists(ResourceKind::RegisteredModel, name)
}

async fn labelled(conn: &mut Conn, workspace: &str, row: ModelRow) -> Result<ModelRow> {
    let mut rows = [row];
    rows::label_models(conn, workspace, &mut rows).await?;
    let [row] = rows;
    Ok(row)
}

async fn complete(conn: &mut Conn, workspace: &str, row: ModelRow) -> Result<RegisteredModel> {
    let mut rows = [labelled(conn, workspace, row).await?];
    rows::add_latest(conn, workspace, &mut rows).await?;
    let [row] = rows;
    Ok(row.model)
}

/// Tells the watchers of a model as it is now, with its labels and without its versions.
pub(super) async fn announce(tx: &mut Tx, write: &Write, row: ModelRow) -> Result<()> {
    let row = labelled(tx, write.workspace(), row).await?;
    feed::announce(tx, write, &RegistryEvent::Model(Box::new(row.model))).await
}

pub(super) async fn get(conn: &mut Conn, workspace: &str, name: &ModelName) -> Result<RegisteredModel> {
    let row = find::model(conn, workspace, name).await?;
    complete(conn, workspace, row).await
}

pub(super) async fn create(tx: &mut Tx, write: &Write, new: &NewModel) -> Result<RegisteredModel> {
    let sql = format!(
        "INSERT INTO models (workspace, uid, name, description, next_version, revision, created_ms, updated_ms) \
         VALUES ($1, $2, $3, $4, 1, 1, $5, $5) ON CONFLICT (workspace, name) DO NOTHING RETURNING {MODEL}"
    );
    let uid = ModelUid::generate();
    let args = args![
        write.workspace(),
        uid.as_str(),
        new.name.as_str(),
        unset(&new.description),
        write.now.millis()
    ];
    let row = tx.query_opt(&sql, &args).await?.ok_or_else(|| taken(&new.name))?;
    let mut row = rows::model(&row)?;
    insert_tags(tx, write, row.key, &new.tags).await?;
    row.model.tags.clone_from(&new.tags);
    let entry = Entry::new(TransitionKind::ModelCreated, 0);
    ledger::record(tx, write, &uid, &new.name, &[entry], "").await?;
    feed::announce(tx, write, &RegistryEvent::Model(Box::new(row.model.clone()))).await?;
    Ok(row.model)
}

pub(super) async fn update(tx: &mut Tx, write: &Write, update: &ModelUpdate) -> Result<RegisteredModel> {
    let found = find::hold_model(tx, write, &update.name).await?;
    if update
        .etag
        .as_ref()
        .is_some_and(|etag| *etag != found.model.etag())
    {
        return Err(Error::Conflict(Resource::new(
            ResourceKind::RegisteredModel,
            &update.name,
        )));
    }
    let Some(description) = &update.description else {
        return complete(tx, write.workspace(), found).await;
    };
    let sql = format!(
        "UPDATE models SET description = $3, updated_ms = $4, revision = revision + 1 \
         WHERE workspace = $1 AND model_key = $2 RETURNING {MODEL}"
    );
    let args = args![
        write.workspace(),
        found.key,
        unset(description),
        write.now.millis()
    ];
    let row = rows::model(&tx.query_one(&sql, &args).await?)?;
    let model = complete(tx, write.workspace(), row).await?;
    let told = RegisteredModel {
        latest_versions: Vec::new(),
        ..model.clone()
    };
    feed::announce(tx, write, &RegistryEvent::Model(Box::new(told))).await?;
    Ok(model)
}

pub(super) async fn rename(
    tx: &mut Tx,
    write: &Write,
    from: &ModelName,
    to: &ModelName,
) -> Result<RegisteredModel> {
    let workspace = write.workspace();
    let found = find::hold_model(tx, write, from).await?;
    gate::rename(tx, write, &found, to).await?;
    let sql = format!(
        "UPDATE models SET name = $3, updated_ms = $4, revision = revision + 1 \
         WHERE workspace = $1 AND model_key = $2 RETURNING {MODEL}"
    );
    let renamed = tx
        .query_one(
            &sql,
            &args![workspace, found.key, to.as_str(), write.now.millis()],
        )
        .await;
    let row = match renamed {
        Err(e) if crate::sql::is_unique(&e) => return Err(taken(to)),
        other => rows::model(&other?)?,
    };
    let sql = "UPDATE versions SET name = $3 WHERE workspace = $1 AND model_key = $2";
    tx.execute(sql, &args![workspace, found.key, to.as_str()]).await?;
    if from != to {
        let entry = Entry {
            from_name: Some(from),
            ..Entry::new(TransitionKind::ModelRenamed, 0)
        };
        let entries = ledger::record(tx, write, &row.model.uid, to, &[entry], "").await?;
        let seq = entries.first().map_or(0, |entry| entry.id);
        let referrers = feed::referrers(tx, workspace, found.key).await?;
        feed::tell_tracking(tx, write, &row.model.uid, to, &referrers, seq, false).await?;
    }
    let model = complete(tx, workspace, row).await?;
    let told = RegisteredModel {
        latest_versions: Vec::new(),
        ..model.clone()
    };
    feed::announce(tx, write, &RegistryEvent::Model(Box::new(told))).await?;
    Ok(model)
}

pub(super) fn in_production(name: &ModelName, version: i64) -> Error {
    let message =
        format!("version `{version}` of `{name}` is in Production; move it to another stage, or set `force`");
    let metadata = vec![("name", name.to_string()), ("version", version.to_string())];
    Error::precondition(Reason::VersionInProduction, message, metadata)
}

pub(super) async fn delete(tx: &mut Tx, write: &Write, name: &ModelName, force: bool) -> Result<()> {
    let workspace = write.workspace();
    let found = find::hold_model(tx, write, name).await?;
    let key = found.key;
    if !force {
        let sql = "SELECT version FROM versions WHERE workspace = $1 AND model_key = $2 AND stage = $3 \
                   ORDER BY version DESC LIMIT 1";
        let args = args![workspace, key, Stage::Production.as_str()];
        if let Some(row) = tx.query_opt(sql, &args).await? {
            return Err(in_production(name, row.int(0)?));
        }
    }
    let referrers = feed::referrers(tx, workspace, key).await?;
    past::keep(tx, write, "model_key", key).await?;
    for sql in [
        "DELETE FROM version_formats WHERE workspace = $1 AND version_key IN \
         (SELECT version_key FROM versions WHERE workspace = $1 AND model_key = $2)",
        "DELETE FROM aliases WHERE workspace = $1 AND model_key = $2",
        "DELETE FROM model_tags WHERE workspace = $1 AND model_key = $2",
        "DELETE FROM version_tags WHERE workspace = $1 AND version_key IN \
         (SELECT version_key FROM versions WHERE workspace = $1 AND model_key = $2)",
    ] {
        tx.execute(sql, &args![workspace, key]).await?;
    }
    let sql = "DELETE FROM versions WHERE workspace = $1 AND model_key = $2 RETURNING version";
    let deleted = tx.query(sql, &args![workspace, key]).await?;
    let mut versions = deleted.iter().map(|row| row.int(0)).collect::<Result<Vec<_>>>()?;
    versions.sort_unstable();
    tx.execute(
        "DELETE FROM models WHERE workspace = $1 AND model_key = $2",
        &args![workspace, key],
    )
    .await?;
    let uid = found.model.uid;
    let entries = ledger::record(
        tx,
        write,
        &uid,
        name,
        &[Entry::new(TransitionKind::ModelDeleted, 0)],
        "",
    )
    .await?;
    let seq = entries.first().map_or(0, |entry| entry.id);
    feed::tell_tracking(tx, write, &uid, name, &referrers, seq, true).await?;
    feed::announce(
        tx,
        write,
        &RegistryEvent::ModelDeleted {
            name: name.clone(),
            uid,
            versions,
        },
    )
    .await
}

async fn insert_tags(tx: &mut Tx, write: &Write, key: i64, tags: &Tags) -> Result<()> {
    if tags.is_empty() {
        return Ok(());
    }
    let rows: Vec<Arg<'_>> = tags
        .iter()
        .flat_map(|(tag, value)| args![write.workspace(), key, tag, value])
        .collect();
    let into = "INSERT INTO model_tags (workspace, model_key, key, value)";
    let end = "ON CONFLICT (model_key, key) DO UPDATE SET value = excluded.value";
    tx.insert_many(into, 4, end, &rows).await.map(|_| ())
}

/// Changes the revision only: a tag is no news of the model to those who read its times.
async fn revise(tx: &mut Tx, write: &Write, name: &ModelName) -> Result<ModelRow> {
    let sql = format!(
        "UPDATE models SET revision = revision + 1 WHERE workspace = $1 AND name = $2 RETURNING {MODEL}"
    );
    let row = tx
        .query_opt(&sql, &args![write.workspace(), name.as_str()])
        .await?;
    rows::model(&row.ok_or_else(|| find::no_model(name))?)
}

pub(super) async fn set_tags(tx: &mut Tx, write: &Write, name: &ModelName, tags: &Tags) -> Result<()> {
    let row = revise(tx, write, name).await?;
    insert_tags(tx, write, row.key, tags).await?;
    announce(tx, write, row).await
}

pub(super) async fn delete_tag(tx: &mut Tx, write: &Write, name: &ModelName, key: &str) -> Result<()> {
    let found = find::hold_model(tx, write, name).await?;
    let sql = "DELETE FROM model_tags WHERE workspace = $1 AND model_key = $2 AND key = $3";
    if tx.execute(sql, &args![write.workspace(), found.key, key]).await? == 0 {
        return Ok(());
    }
    let row = revise(tx, write, name).await?;
    announce(tx, write, row).await
}

impl Referrer {
    /// The version as one that refers to something of tracking, or whose files may lie in a folder of a run or a logged
    /// model; none if neither, or if it was not checked. Which folders those are, only tracking knows.
    pub(super) fn of(
        version: i64,
        run_id: Option<&str>,
        model_id: Option<&str>,
        artifact_uri: &str,
        source_unchecked: bool,
    ) -> Option<Self> {
        let has_place = artifact_uri.starts_with('/') || artifact_uri.contains(':');
        if source_unchecked || (run_id.is_none() && model_id.is_none() && !has_place) {
            return None;
        }
        Some(Self {
            version,
            run_id: run_id.unwrap_or_default().to_owned(),
            model_id: model_id.unwrap_or_default().to_owned(),
            artifact_uri: artifact_uri.to_owned(),
        })
    }
}
