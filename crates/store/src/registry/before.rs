//! A version as it is read before it moves: for those who look at its files, and for the move itself.

use lodeway_domain::{
    Result,
    id::ModelUid,
    registry::{ModelName, ModelVersion, Stage, promotion::Target},
};

use super::rows::{self, LABELS, VERSION};
use crate::{
    args,
    sql::{Conn, Engine, Row},
};

/// A version before a move, and whether a rule guards where it goes.
#[derive(Debug, Clone)]
pub struct Before {
    /// The version, with tags and aliases.
    pub version: ModelVersion,
    /// Whether a promotion rule stands there.
    pub is_gated: bool,
    /// Whether its folder has a model file that was understood.
    pub is_model: bool,
    pub(super) seen: Option<Seen>,
}

/// Which state of the rows was read; on PostgreSQL, where a move that finds the same can be one statement.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) key: i64,
    /// A row's xmin is the transaction that wrote it: the same only as long as nobody writes it again.
    pub(super) version_by: String,
    /// The same of the model's row.
    pub(super) model_by: String,
}

/// How many formats of a version `v` are known.
const FORMATS: &str = "(SELECT count(*) FROM version_formats f WHERE f.version_key = v.version_key)";

/// Reads it in one statement; none if there is no such version.
pub(super) async fn read(
    conn: &mut Conn,
    workspace: &str,
    (name, version): (&ModelName, i64),
    target: &Target,
) -> Result<Option<Before>> {
    let (is_seen, writers) = match conn.engine() {
        Engine::Postgres => (
            true,
            ", CAST(v.xmin AS TEXT), (SELECT CAST(m.xmin AS TEXT) FROM models m WHERE m.model_key = v.model_key)",
        ),
        Engine::Sqlite => (false, ""),
    };
    let sql = format!(
        "SELECT {VERSION}, {LABELS}, (SELECT count(*) FROM promotion_rules r WHERE r.workspace = $1 \
         AND r.target_kind = $4 AND r.target = $5 AND r.model IN ('', $2)), {FORMATS}{writers} \
         FROM versions v WHERE workspace = $1 AND name = $2 AND version = $3"
    );
    let args = args![workspace, name.as_str(), version, target.kind(), target.name()];
    let Some(row) = conn.query_opt(&sql, &args).await? else {
        return Ok(None);
    };
    let found = rows::labelled_version(&row)?;
    let seen = match is_seen {
        true => Some(Seen {
            key: found.key,
            version_by: row.text(rows::LABELLED + 2)?,
            model_by: row.opt_text(rows::LABELLED + 3)?.unwrap_or_default(),
        }),
        false => None,
    };
    Ok(Some(Before {
        version: found.version,
        is_gated: row.int(rows::LABELLED)? > 0,
        is_model: row.int(rows::LABELLED + 1)? > 0,
        seen,
    }))
}

/// Reads a version by its model's immutable id, and whether its formats are known; none if it is not there.
pub(super) async fn of_model(
    conn: &mut Conn,
    workspace: &str,
    uid: &ModelUid,
    version: i64,
) -> Result<Option<(ModelVersion, bool)>> {
    let sql = format!(
        "SELECT {VERSION}, {LABELS}, {FORMATS} FROM versions v WHERE workspace = $1 AND version = $3 AND model_key = \
         (SELECT m.model_key FROM models m WHERE m.workspace = $1 AND m.uid = $2)"
    );
    let row = conn
        .query_opt(&sql, &args![workspace, uid.as_str(), version])
        .await?;
    let found = |row: &Row| Ok((rows::labelled_version(row)?.version, row.int(rows::LABELLED)? > 0));
    row.as_ref().map(found).transpose()
}

/// Versions in an active stage or with an alias, by key.
pub(super) async fn promoted(
    conn: &mut Conn,
    workspace: &str,
    after: i64,
    limit: i64,
) -> Result<Vec<(i64, ModelUid, i64)>> {
    let sql = "SELECT v.version_key, m.uid, v.version FROM versions v JOIN models m ON m.model_key = v.model_key \
               WHERE v.workspace = $1 AND v.version_key > $2 AND (v.stage IN ($4, $5) OR EXISTS \
               (SELECT 1 FROM aliases a WHERE a.version_key = v.version_key)) ORDER BY v.version_key LIMIT $3";
    let stages = [Stage::Staging, Stage::Production].map(Stage::as_str);
    let args = args![workspace, after, limit, stages[0], stages[1]];
    let found = conn.query(sql, &args).await?;
    let one = |row: &Row| Ok((row.int(0)?, rows::uid(row.str(1)?)?, row.int(2)?));
    found.iter().map(one).collect()
}
