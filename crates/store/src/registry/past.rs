//! What a model URI meant at a past time, computed from the ledger.

use lodeway_domain::{
    Error, Result,
    registry::{ModelName, ModelRef, ModelVersion, Stage},
    time::Timestamp,
};

use super::{VersionBy, alias_label, models, rows, versions};
use crate::{
    args,
    sql::{Arg, Conn},
};
use lodeway_domain::ResourceKind;

// Kinds by their codes in the ledger: 1 stage, 2 alias, 3 model created, 4 renamed, 5 deleted, 6 version created, 7 deleted.

pub(super) async fn resolve(
    conn: &mut Conn,
    workspace: &str,
    reference: &ModelRef,
    at: Timestamp,
) -> Result<ModelVersion> {
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
    // By uid: the model may have another name now.
    let sql = "SELECT name FROM models WHERE workspace = $1 AND uid = $2";
    let row = conn
        .query_opt(sql, &args![workspace, &uid])
        .await?
        .ok_or_else(|| models::missing(name))?;
    let now_named = rows::name(row.str(0)?)?;
    versions::get(conn, workspace, &now_named, &VersionBy::Number(number)).await
}

fn missing(name: &ModelName, by: &VersionBy) -> Error {
    match by {
        VersionBy::Number(number) => versions::missing(name, number),
        VersionBy::Stage(stage) => versions::missing(name, stage),
        VersionBy::Latest => versions::missing(name, "latest"),
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
        _ => Err(models::missing(name)),
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
