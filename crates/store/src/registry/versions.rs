//! Versions of registered models.

use lodeway_domain::{
    Error, Resource, ResourceKind, Result,
    id::{ModelId, ModelUid, RunId},
    registry::{
        AliasName, DigestState, ModelName, ModelVersion, ModelVersionStatus, NewVersion, Stage, Tags,
        TransitionKind,
    },
};

use super::{
    CreatedVersion, PendingDigest, RegistryEvent, VersionBy, VersionUpdate, alias_label, feed, find,
    ledger::{self, Entry},
    models, past,
    rows::{self, LABELS, VERSION, VersionRow, digest_code, unset},
};
use crate::{
    args,
    ledger::Write,
    sql::{Arg, Conn, Tx},
};

async fn labelled(conn: &mut Conn, row: VersionRow) -> Result<ModelVersion> {
    let mut rows = [row];
    rows::label_versions(conn, &mut rows).await?;
    let [row] = rows;
    Ok(row.version)
}

/// Completes a changed version and tells the watchers.
pub(super) async fn announce(tx: &mut Tx, write: &Write, row: VersionRow) -> Result<ModelVersion> {
    let version = labelled(tx, row).await?;
    let event = RegistryEvent::Version(Box::new(version));
    feed::announce(tx, write, &event).await?;
    match event {
        RegistryEvent::Version(version) => Ok(*version),
        _ => Err(Error::internal("an event changed its kind")),
    }
}

pub(super) async fn get(
    conn: &mut Conn,
    workspace: &str,
    name: &ModelName,
    by: &VersionBy,
) -> Result<ModelVersion> {
    let model = "model_key = (SELECT m.model_key FROM models m WHERE m.workspace = $1 AND m.name = $2)";
    let (which, arg) = match by {
        VersionBy::Number(number) => ("name = $2 AND version = $3".to_owned(), Arg::from(*number)),
        VersionBy::Alias(alias) => {
            let sql = format!(
                "version_key = (SELECT version_key FROM aliases WHERE workspace = $1 AND {model} AND alias = $3)"
            );
            (sql, Arg::from(alias.as_str()))
        }
        VersionBy::Stage(stage) => (
            format!("{model} AND stage = $3 ORDER BY version DESC LIMIT 1"),
            Arg::from(stage.as_str()),
        ),
        VersionBy::Latest => (
            "name = $2 AND version > $3 ORDER BY version DESC LIMIT 1".to_owned(),
            Arg::from(0_i64),
        ),
    };
    let sql = format!("SELECT {VERSION}, {LABELS} FROM versions v WHERE workspace = $1 AND {which}");
    if let Some(row) = conn
        .query_opt(&sql, &[Arg::from(workspace), Arg::from(name.as_str()), arg])
        .await?
    {
        return Ok(rows::labelled_version(&row)?.version);
    }
    // Which of the two is missing decides what the caller can do.
    find::model(conn, workspace, name).await?;
    Err(match by {
        VersionBy::Number(number) => find::no_version(name, number),
        VersionBy::Alias(alias) => Error::not_found(ResourceKind::Alias, alias_label(name, alias)),
        VersionBy::Stage(stage) => find::no_version(name, stage),
        VersionBy::Latest => find::no_version(name, "latest"),
    })
}

pub(super) async fn create(tx: &mut Tx, write: &Write, new: &NewVersion) -> Result<CreatedVersion> {
    // The counter's row is locked by its update until the commit, and a rollback takes the number back: no gaps.
    let sql = "UPDATE models SET next_version = next_version + 1, updated_ms = $3 WHERE workspace = $1 AND name = $2 \
               RETURNING model_key, uid, next_version - 1";
    let row = tx
        .query_opt(
            sql,
            &args![write.workspace(), new.name.as_str(), write.now.millis()],
        )
        .await?;
    let row = row.ok_or_else(|| find::no_model(&new.name))?;
    let (model_key, model_uid, number) = (row.int(0)?, rows::uid(row.str(1)?)?, row.int(2)?);
    let version = fresh(write, new, model_uid, number);
    let key = insert(tx, write, model_key, &version).await?;
    insert_tags(tx, write, key, &new.tags).await?;
    let entry = Entry::new(TransitionKind::VersionCreated, number);
    ledger::record(tx, write, &version.model_uid, &new.name, &[entry], "").await?;
    let event = feed::tell_at_once(tx, write, &version).await?;
    let digest = pending(write, new, key);
    let told = RegistryEvent::Version(Box::new(version));
    feed::announce(tx, write, &told).await?;
    match told {
        RegistryEvent::Version(version) => Ok(CreatedVersion {
            version: *version,
            event,
            digest,
        }),
        _ => Err(Error::internal("an event changed its kind")),
    }
}

/// The digest to compute of a new version, if there is one.
pub(super) fn pending(write: &Write, new: &NewVersion, key: i64) -> Option<PendingDigest> {
    (new.digest_state == DigestState::Pending).then(|| PendingDigest {
        key,
        workspace: write.caller.workspace.clone(),
        artifact_uri: new.artifact_uri.clone(),
    })
}

/// A version as it is when it has just been made.
pub(super) fn fresh(write: &Write, new: &NewVersion, uid: ModelUid, number: i64) -> ModelVersion {
    ModelVersion {
        name: new.name.clone(),
        version: number,
        model_uid: uid,
        stage: Stage::None,
        description: new.description.clone(),
        source: new.source.clone(),
        artifact_uri: new.artifact_uri.clone(),
        run_id: new.run_id.clone(),
        run_link: new.run_link.clone(),
        model_id: new.model_id.clone(),
        user_id: write.caller.principal.clone(),
        status: ModelVersionStatus::Ready,
        status_message: String::new(),
        created: write.now,
        updated: write.now,
        tags: new.tags.clone(),
        aliases: Vec::new(),
        content_digest: String::new(),
        digest_state: new.digest_state,
        source_unchecked: new.source_unchecked,
        revision: 1,
    }
}

async fn insert(tx: &mut Tx, write: &Write, model_key: i64, new: &ModelVersion) -> Result<i64> {
    let sql = "INSERT INTO versions (workspace, model_key, model_uid, name, version, stage, description, source, \
               artifact_uri, run_id, run_link, model_id, user_id, status, status_message, content_digest, digest_state, \
               source_unchecked, revision, created_ms, updated_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, \
               $11, $12, $13, $14, $15, '', $16, $17, 1, $18, $18)";
    let args = args![
        write.workspace(),
        model_key,
        new.model_uid.as_str(),
        new.name.as_str(),
        new.version,
        new.stage.as_str(),
        unset(&new.description),
        &new.source,
        &new.artifact_uri,
        new.run_id.as_ref().map(RunId::as_str),
        &new.run_link,
        new.model_id.as_ref().map(ModelId::as_str),
        &new.user_id,
        new.status.as_str(),
        &new.status_message,
        digest_code(new.digest_state),
        new.source_unchecked,
        write.now.millis(),
    ];
    tx.insert(sql, "version_key", &args).await
}

async fn insert_tags(tx: &mut Tx, write: &Write, key: i64, tags: &Tags) -> Result<()> {
    if tags.is_empty() {
        return Ok(());
    }
    let rows: Vec<Arg<'_>> = tags
        .iter()
        .flat_map(|(tag, value)| args![write.workspace(), key, tag, value])
        .collect();
    let into = "INSERT INTO version_tags (workspace, version_key, key, value)";
    let end = "ON CONFLICT (version_key, key) DO UPDATE SET value = excluded.value";
    tx.insert_many(into, 4, end, &rows).await.map(|_| ())
}

pub(super) async fn update(tx: &mut Tx, write: &Write, update: &VersionUpdate) -> Result<ModelVersion> {
    if update.description.is_some() {
        find::touch_model(tx, write, &update.name).await?;
    } else {
        find::hold_model(tx, write, &update.name).await?;
    }
    let found = find::version(tx, write.workspace(), &update.name, update.version).await?;
    if update
        .etag
        .as_ref()
        .is_some_and(|etag| *etag != found.version.etag())
    {
        return Err(Error::Conflict(Resource::new(
            ResourceKind::ModelVersion,
            found.version.label(),
        )));
    }
    let Some(description) = &update.description else {
        return labelled(tx, found).await;
    };
    let sql = format!(
        "UPDATE versions SET description = $3, updated_ms = $4, revision = revision + 1 \
         WHERE workspace = $1 AND version_key = $2 RETURNING {VERSION}"
    );
    let args = args![
        write.workspace(),
        found.key,
        unset(description),
        write.now.millis()
    ];
    let row = rows::version(&tx.query_one(&sql, &args).await?)?;
    announce(tx, write, row).await
}

pub(super) async fn delete(
    tx: &mut Tx,
    write: &Write,
    name: &ModelName,
    version: i64,
    (force, why): (bool, &str),
) -> Result<()> {
    let workspace = write.workspace();
    let model = find::touch_model(tx, write, name).await?;
    let found = find::version(tx, workspace, name, version).await?;
    if found.version.stage == Stage::Production && !force {
        return Err(models::in_production(name, version));
    }
    let sql = "DELETE FROM aliases WHERE workspace = $1 AND version_key = $2 RETURNING alias";
    let removed = tx.query(sql, &args![workspace, found.key]).await?;
    let mut aliases = removed
        .iter()
        .map(|row| rows::alias(row.str(0)?))
        .collect::<Result<Vec<AliasName>>>()?;
    aliases.sort();
    past::keep(tx, write, "version_key", found.key).await?;
    for sql in [
        "DELETE FROM version_formats WHERE workspace = $1 AND version_key = $2",
        "DELETE FROM version_tags WHERE workspace = $1 AND version_key = $2",
        "DELETE FROM versions WHERE workspace = $1 AND version_key = $2",
    ] {
        tx.execute(sql, &args![workspace, found.key]).await?;
    }
    let uid = &found.version.model_uid;
    let mut entries = vec![Entry::new(TransitionKind::VersionDeleted, version)];
    entries.extend(aliases.iter().map(|alias| Entry::alias(alias, version, 0)));
    let written = ledger::record(tx, write, uid, name, &entries, why).await?;
    let seq = written.first().map_or(0, |entry| entry.id);
    if let Some(referrer) = feed::referrer(&found.version) {
        feed::tell_tracking(tx, write, uid, name, &[referrer], seq, true).await?;
    }
    if !aliases.is_empty() {
        models::announce(tx, write, model).await?;
    }
    let event = RegistryEvent::VersionDeleted {
        name: name.clone(),
        uid: uid.clone(),
        version,
    };
    feed::announce(tx, write, &event).await
}

/// Changes the revision only: a tag is no news of the version to those who read its times.
async fn revise(tx: &mut Tx, write: &Write, name: &ModelName, version: i64) -> Result<VersionRow> {
    let sql = format!(
        "UPDATE versions SET revision = revision + 1 WHERE workspace = $1 AND name = $2 AND version = $3 \
         RETURNING {VERSION}"
    );
    let row = tx
        .query_opt(&sql, &args![write.workspace(), name.as_str(), version])
        .await?;
    match row {
        Some(row) => rows::version(&row),
        None => {
            find::model(tx, write.workspace(), name).await?;
            Err(find::no_version(name, version))
        }
    }
}

pub(super) async fn set_tags(
    tx: &mut Tx,
    write: &Write,
    name: &ModelName,
    version: i64,
    tags: &Tags,
) -> Result<()> {
    let row = revise(tx, write, name, version).await?;
    insert_tags(tx, write, row.key, tags).await?;
    announce(tx, write, row).await.map(|_| ())
}

pub(super) async fn delete_tag(
    tx: &mut Tx,
    write: &Write,
    name: &ModelName,
    version: i64,
    key: &str,
) -> Result<()> {
    find::hold_model(tx, write, name).await?;
    let found = find::version(tx, write.workspace(), name, version).await?;
    let sql = "DELETE FROM version_tags WHERE workspace = $1 AND version_key = $2 AND key = $3";
    if tx.execute(sql, &args![write.workspace(), found.key, key]).await? == 0 {
        return Ok(());
    }
    let row = revise(tx, write, name, version).await?;
    announce(tx, write, row).await.map(|_| ())
}
