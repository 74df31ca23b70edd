//! What a model URI meant at a past time, computed from the ledger.

use lodeway_domain::{
    Error, Reason, ResourceKind, Result,
    registry::{AliasName, ModelName, ModelRef, Stage},
    time::Timestamp,
};

use super::{
    PastVersion, VersionBy, alias_label, find,
    rows::{self, LABELS, VERSION},
};
use crate::{
    args,
    ledger::Write,
    sql::{Arg, Conn, Tx},
};

// Kinds by their codes in the ledger: 1 stage, 2 alias, 3 model created, 4 renamed, 5 deleted, 6 version created, 7 deleted.

pub(super) async fn resolve(
    conn: &mut Conn,
    workspace: &str,
    reference: &ModelRef,
    at: Timestamp,
) -> Result<PastVersion> {
    let (name, by) = match reference {
        ModelRef::Version { name, version } => (name, VersionBy::Number(*version)),
        ModelRef::Stage { name, stage } => (name, VersionBy::Stage(*stage)),
        ModelRef::Latest { name } => (name, VersionBy::Latest),
        ModelRef::Alias { name, alias } => (name, VersionBy::Alias(alias.clone())),
        ModelRef::LoggedModel(_) | ModelRef::Run { .. } => {
            return Err(Error::invalid(
                "as_of_time",
                "is only for `models:/NAME` references",
            ));
        }
    };
    let uid = uid_at(conn, workspace, name, at).await?;
    let number = number_at(conn, workspace, &uid, &by, at)
        .await?
        .ok_or_else(|| missing(name, &by))?;
    let mut found = match living(conn, workspace, &uid, number).await? {
        Some(version) => version,
        None => deleted(conn, workspace, &uid, number)
            .await?
            .ok_or_else(|| forgotten(name, number))?,
    };
    found.version.stage = stage_at(conn, workspace, &uid, number, at).await?;
    found.version.aliases = aliases_at(conn, workspace, &uid, number, at).await?;
    Ok(found)
}

/// The version if it is there still; by uid, for the model may have another name now.
async fn living(conn: &mut Conn, workspace: &str, uid: &str, number: i64) -> Result<Option<PastVersion>> {
    let sql = format!(
        "SELECT {VERSION}, {LABELS} FROM versions v WHERE workspace = $1 AND version = $3 \
         AND name = (SELECT m.name FROM models m WHERE m.workspace = $1 AND m.uid = $2)"
    );
    let row = conn.query_opt(&sql, &args![workspace, uid, number]).await?;
    row.map(|row| {
        Ok(PastVersion {
            version: rows::labelled_version(&row)?.version,
            deleted: None,
        })
    })
    .transpose()
}

/// What is left of a deleted version.
async fn deleted(conn: &mut Conn, workspace: &str, uid: &str, number: i64) -> Result<Option<PastVersion>> {
    let sql = format!(
        "SELECT {VERSION}, deleted_ms FROM (SELECT CAST(0 AS BIGINT) AS version_key, CAST(0 AS BIGINT) AS model_key, \
         'None' AS stage, CAST(NULL AS TEXT) AS description, d.* FROM deleted_versions d \
         WHERE d.workspace = $1 AND d.model_uid = $2 AND d.version = $3) AS gone"
    );
    let row = conn.query_opt(&sql, &args![workspace, uid, number]).await?;
    row.map(|row| {
        Ok(PastVersion {
            version: rows::version(&row)?.version,
            deleted: Some(Timestamp::from_millis(row.int(rows::COLUMNS)?)),
        })
    })
    .transpose()
}

/// Keeps what is left of versions that are about to be deleted: those whose `column` is `key`.
pub(super) async fn keep(tx: &mut Tx, write: &Write, column: &'static str, key: i64) -> Result<()> {
    let kept = "workspace, model_uid, version, name, source, artifact_uri, run_id, run_link, model_id, user_id, status, \
                status_message, content_digest, digest_state, source_unchecked, revision, created_ms, updated_ms";
    let sql = format!(
        "INSERT INTO deleted_versions ({kept}, deleted_ms) \
         SELECT {kept}, CAST($3 AS BIGINT) FROM versions WHERE workspace = $1 AND {column} = $2"
    );
    let args = args![write.workspace(), key, write.now.millis()];
    tx.execute(&sql, &args).await.map(|_| ())
}

fn forgotten(name: &ModelName, number: i64) -> Error {
    let message = format!(
        "it was version `{number}` of `{name}` at that time, which was deleted since by a release that kept nothing of a \
         version; its entries in the ledger are all that is left of it"
    );
    let metadata = vec![("name", name.to_string()), ("version", number.to_string())];
    Error::precondition(Reason::ResourceNotFound, message, metadata)
}

/// The stage of a version at that time.
async fn stage_at(conn: &mut Conn, workspace: &str, uid: &str, number: i64, at: Timestamp) -> Result<Stage> {
    let sql = "SELECT to_stage FROM transitions WHERE workspace = $1 AND model_uid = $2 AND version = $3 AND kind = 1 \
               AND created_ms <= $4 ORDER BY id DESC LIMIT 1";
    let args = args![workspace, uid, number, at.millis()];
    let row = conn.query_opt(sql, &args).await?;
    row.map_or(Ok(Stage::None), |row| rows::stage(row.str(0)?))
}

/// The aliases that pointed to a version at that time, in order.
async fn aliases_at(
    conn: &mut Conn,
    workspace: &str,
    uid: &str,
    number: i64,
    at: Timestamp,
) -> Result<Vec<AliasName>> {
    // Of every alias that ever pointed to it, the last entry until then says whether it still did.
    let sql = "SELECT a.alias FROM (SELECT DISTINCT alias FROM transitions WHERE workspace = $1 AND model_uid = $2 \
               AND version = $3 AND kind = 2 AND created_ms <= $4) AS a \
               WHERE (SELECT t.version FROM transitions t WHERE t.workspace = $1 AND t.model_uid = $2 AND t.kind = 2 \
               AND t.alias = a.alias AND t.created_ms <= $4 ORDER BY t.id DESC LIMIT 1) = $3";
    let args = args![workspace, uid, number, at.millis()];
    let rows = conn.query(sql, &args).await?;
    let mut aliases = rows
        .iter()
        .map(|row| rows::alias(row.str(0)?))
        .collect::<Result<Vec<_>>>()?;
    aliases.sort();
    Ok(aliases)
}

fn missing(name: &ModelName, by: &VersionBy) -> Error {
    match by {
        VersionBy::Number(number) => find::no_version(name, number),
        VersionBy::Stage(stage) => find::no_version(name, stage),
        VersionBy::Latest => find::no_version(name, "latest"),
        VersionBy::Alias(alias) => Error::not_found(ResourceKind::Alias, alias_label(name, alias)),
    }
}

/// The model that had this name at that time: the newest entry about the name says so, unless it took the name away.
async fn uid_at(conn: &mut Conn, workspace: &str, name: &ModelName, at: Timestamp) -> Result<String> {
    let sql = "SELECT uid, holds FROM (\
               SELECT * FROM (SELECT id, model_uid AS uid, CASE WHEN kind = 5 THEN 0 ELSE 1 END AS holds \
               FROM transitions WHERE workspace = $1 AND name = $2 AND kind IN (3, 4, 5) AND created_ms <= $3 \
               ORDER BY id DESC LIMIT 1) AS named UNION ALL \
               SELECT * FROM (SELECT id, model_uid AS uid, 0 AS holds \
               FROM transitions WHERE workspace = $1 AND from_name = $2 AND created_ms <= $3 \
               ORDER BY id DESC LIMIT 1) AS renamed) AS found ORDER BY id DESC LIMIT 1";
    match conn
        .query_opt(sql, &args![workspace, name.as_str(), at.millis()])
        .await?
    {
        Some(row) if row.int(1)? == 1 => row.text(0),
        _ => Err(find::no_model(name)),
    }
}

async fn number_at(
    conn: &mut Conn,
    workspace: &str,
    uid: &str,
    by: &VersionBy,
    at: Timestamp,
) -> Result<Option<i64>> {
    // The last entry about each version until then says whether it existed, and the last about its stage which it had.
    let existed = "t.kind = 6 AND NOT EXISTS (SELECT 1 FROM transitions d WHERE d.workspace = $1 AND d.model_uid = $2 \
                   AND d.version = t.version AND d.kind = 7 AND d.created_ms <= $3)";
    let head = "SELECT t.version FROM transitions t WHERE t.workspace = $1 AND t.model_uid = $2 AND t.created_ms <= $3";
    let (sql, arg) = match by {
        VersionBy::Number(number) => (
            format!("{head} AND t.version = $4 AND {existed} LIMIT 1"),
            Arg::from(*number),
        ),
        VersionBy::Latest => (
            format!("{head} AND t.version > $4 AND {existed} ORDER BY t.version DESC LIMIT 1"),
            Arg::from(0_i64),
        ),
        VersionBy::Alias(alias) => (
            format!("{head} AND t.kind = 2 AND t.alias = $4 ORDER BY t.id DESC LIMIT 1"),
            Arg::from(alias.as_str()),
        ),
        VersionBy::Stage(stage) => {
            let first = if *stage == Stage::None {
                "t.kind = 6 OR "
            } else {
                ""
            };
            let sql = format!(
                "{head} AND ({first}(t.kind = 1 AND t.to_stage = $4)) AND CAST($4 AS TEXT) IS NOT NULL \
                 AND NOT EXISTS (SELECT 1 FROM transitions n \
                 WHERE n.workspace = $1 AND n.model_uid = $2 AND n.version = t.version AND n.id > t.id \
                 AND n.kind IN (1, 7) AND n.created_ms <= $3) ORDER BY t.version DESC LIMIT 1"
            );
            (sql, Arg::from(stage.as_str()))
        }
    };
    let args = [Arg::from(workspace), Arg::from(uid), Arg::from(at.millis()), arg];
    let row = conn.query_opt(&sql, &args).await?;
    // An alias that was taken away points to version 0.
    Ok(row
        .map(|row| row.int(0))
        .transpose()?
        .filter(|number| *number > 0))
}
