//! A run's row, as far as operations on what belongs to a run need it.

use lodeway_domain::{Error, ResourceKind, Result, caller::Workspace, id::RunId};

use crate::{args, sql::Conn};

/// The kind of entity under which changes of runs stand in the change log.
pub const RUN_ENTITY: &str = "run";

/// A run's row as an operation needs it.
#[derive(Debug, Clone)]
pub(super) struct RunHead {
    pub id: i64,
    pub experiment: i64,
    /// Stands in params, tags and latest metrics too, for the order of equal values.
    pub started_ms: i64,
    pub append_seq: i64,
    pub revision: i64,
    /// When work in the background was last told of the run, where that is sure and known.
    pub noted_ms: Option<i64>,
}

/// A run's row as a reader needs it: its row id and whether it is deleted.
pub(super) async fn find_run(
    conn: &mut Conn,
    workspace: &Workspace,
    run: &RunId,
) -> Result<(i64, Option<i64>)> {
    let sql = "SELECT id, deleted_ms FROM runs WHERE workspace = $1 AND run_id = $2";
    let row = conn
        .query_opt(sql, &args![workspace.as_str(), run.as_str()])
        .await?;
    let row = row.ok_or_else(|| Error::not_found(ResourceKind::Run, run))?;
    Ok((row.int(0)?, row.opt_int(1)?))
}
