//! What the model host keeps: which deployments it was asked to make.
//!
//! Writing the same deployment again changes nothing, so there are no request ids here: its id is made of its content.

use async_trait::async_trait;
use lodeway_domain::{Error, Result, serving::DeploymentSettings, time::Timestamp};

use crate::{
    args,
    migrate::{self, Migrations, Step},
    sql::{Db, OpenError, Row},
};

const MIGRATIONS: Migrations = Migrations {
    component: "serving",
    steps: &[Step {
        name: "serving",
        sql: include_str!("../migrations/serving/0001_serving.sql"),
    }],
};

/// A deployment as it was asked for and resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentRecord {
    /// Of content, source and settings.
    pub deployment_id: String,
    /// On behalf of which workspace the files are fetched.
    pub workspace: String,
    /// As asked for.
    pub source: String,
    /// The registered model, or the folder's last part.
    pub model_name: String,
    /// The version; empty if there is none.
    pub model_version: String,
    /// The uid of the registered model; empty if there is none.
    pub model_uid: String,
    /// Where the files are.
    pub artifact_uri: String,
    /// The digest of all files; empty for a folder of this machine.
    pub content_digest: String,
    /// How it is run.
    pub settings: DeploymentSettings,
    /// When it was first asked for.
    pub created: Timestamp,
}

/// The contract: writes are durable when they return.
#[async_trait]
pub trait DeploymentStore: Send + Sync + 'static {
    /// Keeps a deployment; one with the same id is kept as it was.
    async fn put(&self, record: DeploymentRecord) -> Result<()>;
    /// Forgets a deployment; one that is not there is forgotten already.
    async fn delete(&self, deployment_id: &str) -> Result<()>;
    /// Every deployment, by id.
    async fn all(&self) -> Result<Vec<DeploymentRecord>>;
}

/// The store on SQLite or PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub struct SqlDeployments {
    db: Db,
}

impl SqlDeployments {
    /// Brings the database to the newest schema and wraps it.
    pub async fn open(db: Db, now: Timestamp) -> Result<Self, OpenError> {
        migrate::apply(&db, MIGRATIONS, now).await?;
        Ok(Self { db })
    }
}

#[async_trait]
impl DeploymentStore for SqlDeployments {
    async fn put(&self, record: DeploymentRecord) -> Result<()> {
        self.db
            .write_with(record, |tx, r| {
                Box::pin(async move {
                    let settings = serde_json::to_string(&r.settings).map_err(Error::internal)?;
                    let sql = "INSERT INTO deployments (deployment_id, workspace, source, model_name, model_version, \
                               model_uid, artifact_uri, content_digest, settings, created_ms) \
                               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (deployment_id) DO NOTHING";
                    let args = args![
                        &r.deployment_id,
                        &r.workspace,
                        &r.source,
                        &r.model_name,
                        &r.model_version,
                        &r.model_uid,
                        &r.artifact_uri,
                        &r.content_digest,
                        settings,
                        r.created.millis()
                    ];
                    tx.execute(sql, &args).await.map(|_| ())
                })
            })
            .await
    }

    async fn delete(&self, deployment_id: &str) -> Result<()> {
        self.db
            .write_with(deployment_id.to_owned(), |tx, id| {
                Box::pin(async move {
                    tx.execute("DELETE FROM deployments WHERE deployment_id = $1", &args![&*id])
                        .await
                        .map(|_| ())
                })
            })
            .await
    }

    async fn all(&self) -> Result<Vec<DeploymentRecord>> {
        let sql = "SELECT deployment_id, workspace, source, model_name, model_version, model_uid, artifact_uri, \
                   content_digest, settings, created_ms FROM deployments ORDER BY deployment_id";
        let rows = self.db.query(sql, &[]).await?;
        rows.iter().map(record).collect()
    }
}

fn record(row: &Row) -> Result<DeploymentRecord> {
    Ok(DeploymentRecord {
        deployment_id: row.text(0)?,
        workspace: row.text(1)?,
        source: row.text(2)?,
        model_name: row.text(3)?,
        model_version: row.text(4)?,
        model_uid: row.text(5)?,
        artifact_uri: row.text(6)?,
        content_digest: row.text(7)?,
        settings: serde_json::from_str(row.str(8)?).map_err(Error::internal)?,
        created: Timestamp::from_millis(row.int(9)?),
    })
}
