//! Interned keys: each text of a metric's, param's or tag's key once, everywhere else its BIGINT.
//!
//! A key is never taken away, so what is committed stays true and may be kept in the process. What a transaction learns
//! may still roll back (on SQLite together with others that share its commit), hence the two ways: [`KeyCache::intern`]
//! before the operation, in a commit of its own and kept, or [`KeyCache::ids`] inside it, not kept.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use lodeway_domain::{Error, Result};

use crate::{
    args,
    sql::{Conn, Db, Engine, Reader, Tx},
};

/// Entries kept; the whole cache is dropped at this size, which is simpler than ageing and rare.
const MAX_KEPT: usize = 100_000;

/// Committed keys and their ids, both ways. Clones share one cache.
#[derive(Debug, Clone, Default)]
pub struct KeyCache {
    kept: Arc<RwLock<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    ids: HashMap<Arc<str>, i64>,
    texts: HashMap<i64, Arc<str>>,
}

impl KeyCache {
    /// The ids of `keys`, in their order, interned where they are new; committed and kept when this returns.
    ///
    /// Call it before the operation that uses them. A key whose operation then fails stays behind, unused and unseen.
    pub async fn intern(&self, db: &Db, keys: &[&str]) -> Result<Vec<i64>> {
        let known = self.known(keys);
        let missing = missing(keys, &known);
        if missing.is_empty() {
            return complete(keys, known, &[]);
        }
        let mut found = select(&mut *db.read().await?, &missing).await?;
        if found.len() < missing.len() {
            let wanted: Vec<String> = missing.into_iter().map(str::to_owned).collect();
            found = db
                .write_with(wanted, |tx, wanted| {
                    Box::pin(async move {
                        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
                        insert(tx, &wanted).await?;
                        select(tx, &wanted).await
                    })
                })
                .await?;
        }
        self.keep(&found);
        complete(keys, known, &found)
    }

    /// The ids of `keys`, in their order, interned where they are new, inside an operation.
    ///
    /// Call it at most once an operation, with all its keys: new ones are inserted in sorted order, so that operations
    /// never wait for each other crosswise.
    pub async fn ids(&self, tx: &mut Tx, keys: &[&str]) -> Result<Vec<i64>> {
        let known = self.known(keys);
        let missing = missing(keys, &known);
        if missing.is_empty() {
            return complete(keys, known, &[]);
        }
        let mut found = select(tx, &missing).await?;
        if found.len() < missing.len() {
            insert(tx, &missing).await?;
            found = select(tx, &missing).await?;
        }
        complete(keys, known, &found)
    }

    /// The ids of `keys`, in their order; none for a key that nothing uses.
    pub async fn find(&self, conn: &mut Reader, keys: &[&str]) -> Result<Vec<Option<i64>>> {
        let known = self.known(keys);
        let missing = missing(keys, &known);
        if missing.is_empty() {
            return Ok(known);
        }
        let found = select(conn, &missing).await?;
        self.keep(&found);
        Ok(merge(keys, known, &found))
    }

    /// The texts of `ids`, in their order. Errors: `Internal` if there is no such id.
    pub async fn texts(&self, conn: &mut Reader, ids: &[i64]) -> Result<Vec<Arc<str>>> {
        let missing: BTreeSet<i64> = {
            let kept = self.read();
            ids.iter()
                .copied()
                .filter(|id| !kept.texts.contains_key(id))
                .collect()
        };
        let mut found = HashMap::new();
        if !missing.is_empty() {
            let sql = match conn.engine() {
                Engine::Sqlite => "SELECT id, key FROM keys WHERE id IN (SELECT value FROM json_each($1))",
                Engine::Postgres => {
                    "SELECT id, key FROM keys WHERE id IN \
                     (SELECT CAST(v AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS v)"
                }
            };
            let wanted = serde_json::to_string(&missing).map_err(Error::internal)?;
            for row in conn.query(sql, &args![&wanted]).await? {
                found.insert(row.int(0)?, Arc::<str>::from(row.str(1)?));
            }
            self.keep(
                &found
                    .iter()
                    .map(|(id, key)| (Arc::clone(key), *id))
                    .collect::<Vec<_>>(),
            );
        }
        let kept = self.read();
        ids.iter()
            .map(|id| {
                let text = kept.texts.get(id).or_else(|| found.get(id));
                text.cloned()
                    .ok_or_else(|| Error::internal(format!("key {id} is not interned")))
            })
            .collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Kept> {
        // Entries are only ever added or all dropped, so a panic elsewhere leaves nothing half done.
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, keys: &[&str]) -> Vec<Option<i64>> {
        let kept = self.read();
        keys.iter().map(|key| kept.ids.get(*key).copied()).collect()
    }

    fn keep(&self, found: &[(Arc<str>, i64)]) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.ids.len() + found.len() > MAX_KEPT {
            *kept = Kept::default();
        }
        for (key, id) in found {
            kept.texts.insert(*id, Arc::clone(key));
            kept.ids.insert(Arc::clone(key), *id);
        }
    }
}

/// Those without an id, sorted and distinct.
fn missing<'k>(keys: &[&'k str], known: &[Option<i64>]) -> Vec<&'k str> {
    let missing: BTreeSet<&str> = keys
        .iter()
        .zip(known)
        .filter(|(_, id)| id.is_none())
        .map(|(key, _)| *key)
        .collect();
    missing.into_iter().collect()
}

fn merge(keys: &[&str], known: Vec<Option<i64>>, found: &[(Arc<str>, i64)]) -> Vec<Option<i64>> {
    let found: HashMap<&str, i64> = found.iter().map(|(key, id)| (&**key, *id)).collect();
    keys.iter()
        .zip(known)
        .map(|(key, id)| id.or_else(|| found.get(key).copied()))
        .collect()
}

fn complete(keys: &[&str], known: Vec<Option<i64>>, found: &[(Arc<str>, i64)]) -> Result<Vec<i64>> {
    merge(keys, known, found)
        .into_iter()
        .map(|id| id.ok_or_else(|| Error::internal("an interned key is gone")))
        .collect()
}

async fn select(conn: &mut Conn, keys: &[&str]) -> Result<Vec<(Arc<str>, i64)>> {
    let sql = match conn.engine() {
        Engine::Sqlite => "SELECT id, key FROM keys WHERE key IN (SELECT value FROM json_each($1))",
        Engine::Postgres => {
            "SELECT id, key FROM keys WHERE key IN (SELECT v FROM json_array_elements_text(CAST($1 AS JSON)) AS v)"
        }
    };
    let wanted = serde_json::to_string(keys).map_err(Error::internal)?;
    let rows = conn.query(sql, &args![&wanted]).await?;
    rows.iter()
        .map(|row| Ok((Arc::from(row.str(1)?), row.int(0)?)))
        .collect()
}

/// `keys` are sorted and distinct.
async fn insert(tx: &mut Tx, keys: &[&str]) -> Result<()> {
    let rows: Vec<_> = keys.iter().map(|key| (*key).into()).collect();
    tx.insert_many("INSERT INTO keys (key)", 1, "ON CONFLICT (key) DO NOTHING", &rows)
        .await?;
    Ok(())
}
