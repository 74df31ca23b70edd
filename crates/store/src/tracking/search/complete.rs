//! Where every run is known to have a key, so that no search looks for runs without it.
//!
//! Params and latest metrics are never taken away from a run, so what holds for runs up to some row id holds for good, and
//! only newer runs are looked at again. Tags can be taken away: [`forget_tags`] says so. Row ids are never given twice.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use lodeway_domain::Result;

use super::plan::Missing;
use crate::{
    args,
    sql::{Engine, Reader, Tx},
};

/// Entries kept; all are dropped at this size.
const MAX_KEPT: usize = 10_000;
const EPOCH: &str = "run_tags_deleted";

/// What is known, by experiment and key. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Complete {
    kept: Arc<RwLock<HashMap<(i64, Missing), Known>>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Every run of the experiment up to this row id has the key.
    up_to: i64,
    /// A run that had not, when last seen.
    without: Option<i64>,
    /// How many tags had been taken away by then.
    epoch: i64,
}

/// Says that a run has lost a tag.
pub(in crate::tracking) async fn forget_tags(tx: &mut Tx) -> Result<()> {
    let sql = "INSERT INTO counters (workspace, name, value) VALUES ('', $1, 1) \
               ON CONFLICT (workspace, name) DO UPDATE SET value = counters.value + 1";
    tx.execute(sql, &args![EPOCH]).await?;
    Ok(())
}

impl Complete {
    /// Whether every run of the experiment has the key, in the state that `reader`, a snapshot, sees.
    pub(super) async fn is_complete(
        &self,
        reader: &mut Reader,
        experiment: i64,
        missing: Missing,
    ) -> Result<bool> {
        let epoch = if missing.table == "run_tags" {
            epoch(reader).await?
        } else {
            0
        };
        let place = (experiment, missing);
        let known = self
            .kept
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&place)
            .copied();
        let mut known = known.filter(|known| known.epoch == epoch).unwrap_or(Known {
            epoch,
            ..Known::default()
        });
        if let Some(run) = known.without {
            if is_without(reader, run, missing).await? {
                return Ok(false);
            }
            known.without = None;
        }
        // Asked before the scan: both see one snapshot.
        let (newest, is_final) = newest(reader).await?;
        if newest <= known.up_to {
            return Ok(true);
        }
        known.without = find_without(reader, experiment, missing, known.up_to).await?;
        if known.without.is_none() && is_final {
            known.up_to = newest;
        }
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(place, known);
        Ok(known.without.is_none())
    }
}

async fn epoch(reader: &mut Reader) -> Result<i64> {
    let sql = "SELECT value FROM counters WHERE workspace = '' AND name = $1";
    reader
        .query_opt(sql, &args![EPOCH])
        .await?
        .map_or(Ok(0), |row| row.int(0))
}

/// The greatest row id of all runs, and whether no runs with smaller ids can be committed any more.
///
/// On PostgreSQL a run gets its row id after its transaction got its number, so nothing comes late if no numbered
/// transaction is under way.
async fn newest(reader: &mut Reader) -> Result<(i64, bool)> {
    let sql = match reader.engine() {
        Engine::Sqlite => "SELECT COALESCE(MAX(id), 0), TRUE FROM runs",
        Engine::Postgres => {
            "SELECT COALESCE((SELECT MAX(id) FROM runs), 0), pg_snapshot_xmin(s) = pg_snapshot_xmax(s) \
             FROM (SELECT pg_current_snapshot() AS s) AS now"
        }
    };
    let row = reader.query_one(sql, &[]).await?;
    Ok((row.int(0)?, row.bool(1)?))
}

async fn is_without(reader: &mut Reader, run: i64, missing: Missing) -> Result<bool> {
    let sql = format!(
        "SELECT 1 FROM runs r WHERE r.id = $1 AND NOT EXISTS \
         (SELECT 1 FROM {} m WHERE m.run = r.id AND m.key = $2)",
        missing.table
    );
    Ok(reader.query_opt(&sql, &args![run, missing.key]).await?.is_some())
}

async fn find_without(
    reader: &mut Reader,
    experiment: i64,
    missing: Missing,
    up_to: i64,
) -> Result<Option<i64>> {
    // The plus keeps SQLite at the row ids, of which few are new, once most runs are known.
    let of = if up_to > 0 {
        "r.id > $3 AND +r.experiment = $1"
    } else {
        "r.experiment = $1 AND r.id > $3"
    };
    let sql = format!(
        "SELECT r.id FROM runs r WHERE {of} AND NOT EXISTS \
         (SELECT 1 FROM {} m WHERE m.run = r.id AND m.key = $2) LIMIT 1",
        missing.table
    );
    let row = reader
        .query_opt(&sql, &args![experiment, missing.key, up_to])
        .await?;
    row.map(|row| row.int(0)).transpose()
}
