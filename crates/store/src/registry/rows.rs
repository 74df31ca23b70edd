//! Rows of models and versions as nouns, and what hangs on them: tags, aliases, latest versions.

use std::{collections::BTreeMap, fmt::Write as _};

use lodeway_domain::{
    Error, Result,
    id::{ModelId, ModelUid, RunId},
    registry::{
        AliasName, DigestState, ModelName, ModelVersion, ModelVersionStatus, RegisteredModel, Stage, Tags,
    },
    time::Timestamp,
};

use crate::{
    packed,
    sql::{Arg, Conn, Row},
};

pub(super) const MODEL: &str = "model_key, name, uid, description, created_ms, updated_ms, revision";

pub(super) const VERSION: &str = "version_key, model_key, name, version, model_uid, stage, description, source, \
    artifact_uri, run_id, run_link, model_id, user_id, status, status_message, created_ms, updated_ms, content_digest, \
    digest_state, source_unchecked, revision";

/// How many columns [`VERSION`] is, and how many with [`LABELS`].
pub(super) const COLUMNS: usize = 21;
pub(super) const LABELLED: usize = COLUMNS + 2;

/// What hangs on a version `v`, for behind [`VERSION`], read by [`labelled_version`]: texts as `LENGTH:TEXT` one after the
/// other, the lengths in characters; of tags key and value, of aliases the name.
pub(super) const LABELS: &str = "(SELECT string_agg(length(t.key) || ':' || t.key || length(t.value) || ':' || t.value, \
    '') FROM version_tags t WHERE t.version_key = v.version_key), (SELECT string_agg(length(a.alias) || ':' || a.alias, '') \
    FROM aliases a WHERE a.version_key = v.version_key)";

/// A model without tags, aliases and versions.
pub(super) struct ModelRow {
    pub(super) key: i64,
    pub(super) model: RegisteredModel,
}

/// A version without tags and aliases.
pub(super) struct VersionRow {
    pub(super) key: i64,
    pub(super) model_key: i64,
    pub(super) version: ModelVersion,
}

fn damaged(error: &Error) -> Error {
    Error::internal(format!("a stored value is not valid: {error}"))
}

pub(super) fn name(text: &str) -> Result<ModelName> {
    ModelName::parse("name", text).map_err(|e| damaged(&e))
}

pub(super) fn alias(text: &str) -> Result<AliasName> {
    AliasName::parse_any(text).map_err(|e| damaged(&e))
}

pub(super) fn uid(text: &str) -> Result<ModelUid> {
    ModelUid::parse(text).map_err(|e| damaged(&e))
}

pub(super) fn stage(text: &str) -> Result<Stage> {
    Stage::parse(text).map_err(|e| damaged(&e))
}

/// NULL for a text that says nothing, so that `IS NULL` finds it.
pub(super) fn unset(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

pub(super) fn digest_code(state: DigestState) -> i64 {
    match state {
        DigestState::None => 0,
        DigestState::Pending => 1,
        DigestState::Recorded => 2,
        DigestState::Failed => 3,
    }
}

fn digest_state(code: i64) -> Result<DigestState> {
    DigestState::ALL
        .into_iter()
        .find(|state| digest_code(*state) == code)
        .ok_or_else(|| Error::internal(format!("`{code}` is no state of a digest")))
}

fn status(text: &str) -> Result<ModelVersionStatus> {
    ModelVersionStatus::ALL
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| Error::internal(format!("`{text}` is no status of a version")))
}

/// Reads a row of the columns [`MODEL`].
pub(super) fn model(row: &Row) -> Result<ModelRow> {
    let model = RegisteredModel {
        name: name(row.str(1)?)?,
        uid: uid(row.str(2)?)?,
        description: row.opt_text(3)?.unwrap_or_default(),
        created: Timestamp::from_millis(row.int(4)?),
        updated: Timestamp::from_millis(row.int(5)?),
        tags: Tags::new(),
        aliases: BTreeMap::new(),
        latest_versions: Vec::new(),
        revision: row.int(6)?,
    };
    Ok(ModelRow {
        key: row.int(0)?,
        model,
    })
}

/// Reads a row of the columns [`VERSION`].
pub(super) fn version(row: &Row) -> Result<VersionRow> {
    let run_id = row
        .opt_text(9)?
        .map(|id| RunId::parse(&id))
        .transpose()
        .map_err(|e| damaged(&e))?;
    let model_id = row
        .opt_text(11)?
        .map(|id| ModelId::parse(&id))
        .transpose()
        .map_err(|e| damaged(&e))?;
    let version = ModelVersion {
        name: name(row.str(2)?)?,
        version: row.int(3)?,
        model_uid: uid(row.str(4)?)?,
        stage: stage(row.str(5)?)?,
        description: row.opt_text(6)?.unwrap_or_default(),
        source: row.text(7)?,
        artifact_uri: row.text(8)?,
        run_id,
        run_link: row.text(10)?,
        model_id,
        user_id: row.text(12)?,
        status: status(row.str(13)?)?,
        status_message: row.text(14)?,
        created: Timestamp::from_millis(row.int(15)?),
        updated: Timestamp::from_millis(row.int(16)?),
        tags: Tags::new(),
        aliases: Vec::new(),
        content_digest: row.text(17)?,
        digest_state: digest_state(row.int(18)?)?,
        source_unchecked: row.bool(19)?,
        revision: row.int(20)?,
    };
    Ok(VersionRow {
        key: row.int(0)?,
        model_key: row.int(1)?,
        version,
    })
}

/// Reads a row of the columns [`VERSION`] and [`LABELS`].
pub(super) fn labelled_version(row: &Row) -> Result<VersionRow> {
    let mut found = version(row)?;
    let tags = row.opt_text(COLUMNS)?.unwrap_or_default();
    let mut texts = packed::texts(&tags);
    while let Some(key) = texts.next() {
        let value = texts
            .next()
            .ok_or_else(|| Error::internal("a tag has no value"))?;
        found.version.tags.insert(key?.to_owned(), value?.to_owned());
    }
    let aliases = row.opt_text(COLUMNS + 1)?.unwrap_or_default();
    for name in packed::texts(&aliases) {
        found.version.aliases.push(alias(name?)?);
    }
    found.version.aliases.sort();
    Ok(found)
}

/// How many keys one statement looks up.
const CHUNK: usize = 256;

/// `IN ($first, …)` for the keys and their arguments; of few shapes, so that statements stay prepared.
fn in_keys(first: usize, keys: &[i64]) -> (String, Vec<Arg<'static>>) {
    let shape = [1, 4, 16, 64, CHUNK]
        .into_iter()
        .find(|n| *n >= keys.len())
        .unwrap_or(keys.len());
    let mut list = String::from("IN (");
    let mut args = Vec::with_capacity(shape + first);
    for i in 0..shape {
        // Writing to a String cannot fail.
        let _ = write!(list, "{}${}", if i == 0 { "" } else { "," }, i + first);
        // What is missing is filled up with a key that no row has.
        args.push(Arg::Int(keys.get(i).copied().unwrap_or(-1)));
    }
    list.push(')');
    (list, args)
}

/// The same after `$1`, the workspace.
fn in_keys_of<'a>(workspace: &'a str, keys: &[i64]) -> (String, Vec<Arg<'a>>) {
    let (list, mut args) = in_keys(2, keys);
    args.insert(0, Arg::from(workspace));
    (list, args)
}

/// Fills tags and aliases of versions: one statement for every 256 of them.
///
/// By their keys alone: asked for by workspace as well, they would be found by walking through all that it has.
pub(super) async fn label_versions(conn: &mut Conn, rows: &mut [VersionRow]) -> Result<()> {
    for chunk in rows.chunks_mut(CHUNK) {
        let keys: Vec<i64> = chunk.iter().map(|row| row.key).collect();
        let (list, args) = in_keys(1, &keys);
        let sql = format!(
            "SELECT version_key, key, value FROM version_tags WHERE version_key {list} UNION ALL \
             SELECT version_key, NULL, alias FROM aliases WHERE version_key {list}"
        );
        let place: BTreeMap<i64, usize> = keys.iter().enumerate().map(|(i, key)| (*key, i)).collect();
        for row in conn.query(&sql, &args).await? {
            let Some(owner) = place.get(&row.int(0)?).and_then(|i| chunk.get_mut(*i)) else {
                continue;
            };
            match row.opt_text(1)? {
                Some(key) => drop(owner.version.tags.insert(key, row.text(2)?)),
                None => owner.version.aliases.push(alias(row.str(2)?)?),
            }
        }
        chunk.iter_mut().for_each(|row| row.version.aliases.sort());
    }
    Ok(())
}

/// The versions with these keys, complete, by key.
pub(super) async fn versions(conn: &mut Conn, keys: &[i64]) -> Result<Vec<VersionRow>> {
    let mut found = Vec::with_capacity(keys.len());
    for keys in keys.chunks(CHUNK) {
        let (list, args) = in_keys(1, keys);
        let sql = format!("SELECT {VERSION} FROM versions WHERE version_key {list} ORDER BY version_key");
        for row in conn.query(&sql, &args).await? {
            found.push(version(&row)?);
        }
    }
    label_versions(conn, &mut found).await?;
    Ok(found)
}

/// Fills tags and aliases of models.
pub(super) async fn label_models(conn: &mut Conn, workspace: &str, rows: &mut [ModelRow]) -> Result<()> {
    for chunk in rows.chunks_mut(CHUNK) {
        let keys: Vec<i64> = chunk.iter().map(|row| row.key).collect();
        let (list, args) = in_keys_of(workspace, &keys);
        let sql = format!(
            "SELECT model_key, key, value, CAST(0 AS BIGINT) FROM model_tags WHERE model_key {list} \
             UNION ALL SELECT model_key, NULL, alias, version FROM aliases WHERE workspace = $1 AND model_key {list}"
        );
        let place: BTreeMap<i64, usize> = keys.iter().enumerate().map(|(i, key)| (*key, i)).collect();
        for row in conn.query(&sql, &args).await? {
            let Some(owner) = place.get(&row.int(0)?).and_then(|i| chunk.get_mut(*i)) else {
                continue;
            };
            match row.opt_text(1)? {
                Some(key) => drop(owner.model.tags.insert(key, row.text(2)?)),
                None => drop(owner.model.aliases.insert(alias(row.str(2)?)?, row.int(3)?)),
            }
        }
    }
    Ok(())
}

/// Fills the highest version of every stage into models.
pub(super) async fn add_latest(conn: &mut Conn, workspace: &str, rows: &mut [ModelRow]) -> Result<()> {
    for chunk in rows.chunks_mut(CHUNK) {
        let keys: Vec<i64> = chunk.iter().map(|row| row.key).collect();
        let place: BTreeMap<i64, usize> = keys.iter().enumerate().map(|(i, key)| (*key, i)).collect();
        for found in latest(conn, workspace, &keys).await? {
            if let Some(owner) = place.get(&found.model_key).and_then(|i| chunk.get_mut(*i)) {
                owner.model.latest_versions.push(found.version);
            }
        }
    }
    Ok(())
}

/// The highest version of every stage of at most 256 models, complete, by model and stage.
pub(super) async fn latest(conn: &mut Conn, workspace: &str, model_keys: &[i64]) -> Result<Vec<VersionRow>> {
    let (list, args) = in_keys_of(workspace, model_keys);
    let sql = format!(
        "SELECT {VERSION} FROM versions WHERE version_key IN (SELECT (SELECT x.version_key FROM versions x \
         WHERE x.workspace = $1 AND x.model_key = m.model_key AND x.stage = s.stage ORDER BY x.version DESC LIMIT 1) \
         FROM models m CROSS JOIN (SELECT 'None' AS stage UNION ALL SELECT 'Staging' UNION ALL SELECT 'Production' \
         UNION ALL SELECT 'Archived') s WHERE m.workspace = $1 AND m.model_key {list})"
    );
    let rows = conn.query(&sql, &args).await?;
    let mut found = rows.iter().map(version).collect::<Result<Vec<_>>>()?;
    label_versions(conn, &mut found).await?;
    found.sort_by_key(|row| (row.model_key, row.version.stage));
    Ok(found)
}
