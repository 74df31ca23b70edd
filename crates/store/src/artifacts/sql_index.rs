//! The digest index in a database of ours.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use lodeway_domain::{Error, Result, time::Timestamp};

use super::{
    digest::{FileDigest, Sha256Digest},
    index::{DigestIndex, DigestRow, Recorded, Summary},
};
use crate::{
    args,
    migrate::{Migrations, Step},
    sql::{Arg, Db, Row, Tx},
};

/// The tables of artifact digests and holds.
pub const MIGRATIONS: Migrations = Migrations {
    component: "artifacts",
    steps: &[
        Step {
            name: "digests",
            sql: include_str!("../../migrations/artifacts/0001_digests.sql"),
        },
        Step {
            name: "holds",
            sql: include_str!("../../migrations/artifacts/0002_holds.sql"),
        },
    ],
};

const COLUMNS: &str = "(location, write_id, is_current, begun_ms, size_bytes, sha256, blocks)";

/// How many locations one statement looks up.
const LOOKUP: usize = 500;

/// Digests in SQLite or PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub struct SqlDigestIndex {
    db: Db,
}

impl SqlDigestIndex {
    /// Over a database that has [`MIGRATIONS`].
    pub fn new(db: Db) -> Self {
        Self { db }
    }
}

fn sha256_of(bytes: &[u8]) -> Result<Sha256Digest> {
    let bytes = bytes
        .try_into()
        .map_err(|_| Error::DataLoss("a recorded digest has the wrong length".into()))?;
    Ok(Sha256Digest::from_bytes(bytes))
}

fn size_of(row: &Row, column: usize) -> Result<u64> {
    u64::try_from(row.int(column)?).map_err(Error::internal)
}

async fn insert(tx: &mut Tx, key: &str, write: &Recorded, is_current: bool) -> Result<()> {
    let sql = format!("INSERT INTO artifact_digests {COLUMNS} VALUES ($1, $2, $3, $4, $5, $6, $7)");
    let size = i64::try_from(write.digest.size_bytes).map_err(Error::internal)?;
    let args = args![
        key,
        &write.write_id,
        is_current,
        write.begun.millis(),
        size,
        write.digest.sha256.as_bytes(),
        write.digest.blocks(),
    ];
    tx.execute(&sql, &args).await.map(drop)
}

async fn promote(tx: &mut Tx, key: &str, write: &Recorded, expected: Option<&str>) -> Result<bool> {
    // one promotion of a location at a time, so that looking and changing are one step on PostgreSQL too
    tx.lock(&format!("artifact_digests {key}")).await?;
    let sql = "SELECT write_id FROM artifact_digests WHERE location = $1 AND is_current";
    let current = tx.query_opt(sql, &args![key]).await?;
    if current.as_ref().map(|row| row.str(0)).transpose()? != expected {
        return Ok(false);
    }
    let sql = "DELETE FROM artifact_digests WHERE location = $1 AND (is_current OR write_id = $2)";
    tx.execute(sql, &args![key, &write.write_id]).await?;
    insert(tx, key, write, true).await?;
    Ok(true)
}

#[async_trait]
impl DigestIndex for SqlDigestIndex {
    async fn load(&self, key: &str) -> Result<DigestRow> {
        let sql = "SELECT write_id, is_current, begun_ms, size_bytes, sha256, blocks FROM artifact_digests \
                   WHERE location = $1 ORDER BY begun_ms, write_id LIMIT 100";
        let mut found = DigestRow::default();
        for row in self.db.query(sql, &args![key]).await? {
            let digest = FileDigest::from_parts(size_of(&row, 3)?, sha256_of(row.blob(4)?)?, row.bytes(5)?)?;
            let write_id = row.text(0)?;
            let recorded = Recorded {
                write_id,
                begun: Timestamp::from_millis(row.int(2)?),
                digest: Arc::new(digest),
            };
            if row.bool(1)? {
                found.current = Some(recorded)
            } else {
                found.pending.push(recorded)
            }
        }
        Ok(found)
    }

    async fn settled(&self, keys: &[String]) -> Result<HashMap<String, Summary>> {
        let mut found = HashMap::with_capacity(keys.len());
        for keys in keys.chunks(LOOKUP) {
            let places: Vec<String> = (1..=keys.len()).map(|n| format!("${n}")).collect();
            let sql = format!(
                "SELECT d.location, d.size_bytes, d.sha256 FROM artifact_digests d WHERE d.is_current AND d.location IN ({}) \
                 AND NOT EXISTS (SELECT 1 FROM artifact_digests p WHERE p.location = d.location AND NOT p.is_current)",
                places.join(", ")
            );
            let args: Vec<Arg<'_>> = keys.iter().map(Arg::from).collect();
            for row in self.db.query(&sql, &args).await? {
                let summary = Summary {
                    size_bytes: size_of(&row, 1)?,
                    sha256: sha256_of(row.blob(2)?)?,
                };
                found.insert(row.text(0)?, summary);
            }
        }
        Ok(found)
    }

    async fn begin(&self, key: &str, write: &Recorded) -> Result<()> {
        let state = (key.to_owned(), write.clone());
        self.db
            .write_with(state, |tx, (key, write)| Box::pin(insert(tx, key, write, false)))
            .await
    }

    async fn promote(&self, key: &str, write: &Recorded, expected: Option<&str>) -> Result<bool> {
        let state = (key.to_owned(), write.clone(), expected.map(str::to_owned));
        let run = self.db.write_with(state, |tx, (key, write, expected)| {
            Box::pin(promote(tx, key, write, expected.as_deref()))
        });
        run.await
    }

    async fn discard(&self, key: &str, write_ids: &[String]) -> Result<()> {
        let state = (key.to_owned(), write_ids.to_vec());
        let run = self.db.write_with(state, |tx, (key, write_ids)| {
            Box::pin(async move {
                for write_id in write_ids {
                    let sql = "DELETE FROM artifact_digests WHERE location = $1 AND write_id = $2 AND NOT is_current";
                    tx.execute(sql, &args![key, write_id]).await?;
                }
                Ok(())
            })
        });
        run.await
    }

    async fn remove(&self, key: &str) -> Result<()> {
        let run = self.db.write_with(key.to_owned(), |tx, key| {
            Box::pin(async move {
                let sql = "DELETE FROM artifact_digests WHERE location = $1";
                tx.execute(sql, &args![key]).await.map(drop)
            })
        });
        run.await
    }

    async fn remove_below(&self, prefix: &str) -> Result<()> {
        // texts compare by bytes, and no location holds the highest character right after the prefix
        let state = (prefix.to_owned(), format!("{prefix}\u{10ffff}"));
        let run = self.db.write_with(state, |tx, (from, to)| {
            Box::pin(async move {
                let sql = "DELETE FROM artifact_digests WHERE location >= $1 AND location < $2";
                tx.execute(sql, &args![from, to]).await.map(drop)
            })
        });
        run.await
    }
}
