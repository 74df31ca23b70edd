//! What processes are about to do with the files of a version, so that none lets go of what another is promoting.
//!
//! Who wants something writes it down first, and then looks for those who want the opposite. Of two at once, one at least sees
//! the other: both looks would have to come before the other's commit, and each comes after its own.
//!
//! Only on PostgreSQL: a SQLite file belongs to one process, which knows what it does itself.

use std::time::Duration;

use lodeway_domain::{Result, caller::Workspace, id::ModelUid};

use crate::{
    args,
    sql::{Db, Engine},
};

/// What a process is about to do with the files of a version.
#[derive(Debug, Clone)]
pub struct FileIntent {
    /// The workspace.
    pub workspace: Workspace,
    /// The model.
    pub uid: ModelUid,
    /// The version.
    pub version: i64,
    /// Unlike that of any other intent.
    pub mark: String,
    /// Whether the version is to be promoted, which its files are held for; otherwise they are to be let go.
    pub is_promotion: bool,
}

/// Milliseconds by the database's clock, which is one for all processes.
const NOW: &str = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";

pub(super) async fn declare(db: &Db, intent: &FileIntent, keep: Duration) -> Result<()> {
    if db.engine() == Engine::Sqlite {
        return Ok(());
    }
    let (intent, keep) = (
        intent.clone(),
        i64::try_from(keep.as_millis()).unwrap_or(i64::MAX / 2),
    );
    db.write_with((intent, keep), |tx, (intent, keep)| {
        Box::pin(async move {
            let (workspace, uid) = (intent.workspace.as_str(), intent.uid.as_str());
            let sql = format!(
                "DELETE FROM file_intents WHERE workspace = $1 AND model_uid = $2 AND version = $3 AND until_ms < {NOW}"
            );
            tx.execute(&sql, &args![workspace, uid, intent.version]).await?;
            let sql = format!(
                "INSERT INTO file_intents (workspace, model_uid, version, mark, is_promotion, until_ms) \
                 VALUES ($1, $2, $3, $4, $5, {NOW} + $6) ON CONFLICT DO NOTHING"
            );
            let args = args![
                workspace,
                uid,
                intent.version,
                &intent.mark,
                intent.is_promotion,
                *keep
            ];
            tx.execute(&sql, &args).await.map(drop)
        })
    })
    .await
}

pub(super) async fn is_opposed(db: &Db, intent: &FileIntent) -> Result<bool> {
    if db.engine() == Engine::Sqlite {
        return Ok(false);
    }
    let sql = format!(
        "SELECT 1 FROM file_intents WHERE workspace = $1 AND model_uid = $2 AND version = $3 AND is_promotion <> $4 \
         AND until_ms >= {NOW} LIMIT 1"
    );
    let args = args![
        intent.workspace.as_str(),
        intent.uid.as_str(),
        intent.version,
        intent.is_promotion
    ];
    Ok(db.query_opt(&sql, &args).await?.is_some())
}

pub(super) async fn withdraw(db: &Db, intent: &FileIntent) -> Result<()> {
    if db.engine() == Engine::Sqlite {
        return Ok(());
    }
    db.write_with(intent.clone(), |tx, intent| {
        Box::pin(async move {
            let sql = "DELETE FROM file_intents WHERE workspace = $1 AND model_uid = $2 AND version = $3 AND mark = $4";
            let (workspace, uid) = (intent.workspace.as_str(), intent.uid.as_str());
            tx.execute(sql, &args![workspace, uid, intent.version, &intent.mark])
                .await
                .map(drop)
        })
    })
    .await
}
