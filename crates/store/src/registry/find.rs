//! The row of one model or version: found, held until the commit, or missing.

use lodeway_domain::{Error, ResourceKind, Result, id::ModelUid, registry::ModelName};

use super::rows::{self, MODEL, ModelRow, VERSION, VersionRow};
use crate::{
    args,
    ledger::Write,
    sql::{Conn, Tx},
};

pub(super) fn no_model(name: &ModelName) -> Error {
    Error::not_found(ResourceKind::RegisteredModel, name)
}

/// The model's own row.
pub(super) async fn model(conn: &mut Conn, workspace: &str, name: &ModelName) -> Result<ModelRow> {
    let sql = format!("SELECT {MODEL} FROM models WHERE workspace = $1 AND name = $2");
    let row = conn.query_opt(&sql, &args![workspace, name.as_str()]).await?;
    rows::model(&row.ok_or_else(|| no_model(name))?)
}

/// Takes the model's row until the commit and notes that something of it changed.
pub(super) async fn touch_model(tx: &mut Tx, write: &Write, name: &ModelName) -> Result<ModelRow> {
    let sql =
        format!("UPDATE models SET updated_ms = $3 WHERE workspace = $1 AND name = $2 RETURNING {MODEL}");
    let row = tx
        .query_opt(&sql, &args![write.workspace(), name.as_str(), write.now.millis()])
        .await?;
    rows::model(&row.ok_or_else(|| no_model(name))?)
}

/// Takes the model's row until the commit, changing nothing.
pub(super) async fn hold_model(tx: &mut Tx, write: &Write, name: &ModelName) -> Result<ModelRow> {
    let end = tx.engine().for_update();
    let sql = format!("SELECT {MODEL} FROM models WHERE workspace = $1 AND name = $2{end}");
    let row = tx
        .query_opt(&sql, &args![write.workspace(), name.as_str()])
        .await?;
    rows::model(&row.ok_or_else(|| no_model(name))?)
}

/// As [`touch_model`], by uid; none if the model is deleted.
pub(super) async fn touch_model_of(tx: &mut Tx, write: &Write, uid: &ModelUid) -> Result<Option<ModelRow>> {
    let sql =
        format!("UPDATE models SET updated_ms = $3 WHERE workspace = $1 AND uid = $2 RETURNING {MODEL}");
    let row = tx
        .query_opt(&sql, &args![write.workspace(), uid.as_str(), write.now.millis()])
        .await?;
    row.as_ref().map(rows::model).transpose()
}

pub(super) fn no_version(name: &ModelName, version: impl std::fmt::Display) -> Error {
    Error::not_found(ResourceKind::ModelVersion, format_args!("{name}/{version}"))
}

/// The version's own row.
pub(super) async fn version(
    conn: &mut Conn,
    workspace: &str,
    name: &ModelName,
    version: i64,
) -> Result<VersionRow> {
    let sql = format!("SELECT {VERSION} FROM versions WHERE workspace = $1 AND name = $2 AND version = $3");
    let row = conn
        .query_opt(&sql, &args![workspace, name.as_str(), version])
        .await?;
    rows::version(&row.ok_or_else(|| no_version(name, version))?)
}
