//! The yardstick of `StreamMetrics`: the same points as plain rows, inserted by this process itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lodeway_store::{
    args,
    sql::{Arg, Db, DbOptions, StoreUrl},
};

use crate::{load::Round, report::count};

/// A database with one table `points (run, key, ts, step, value)` without any index.
pub struct Bare {
    db: Db,
}

impl Bare {
    /// Opens it anew; SQLite is in WAL with synchronous=FULL, as Lodeway's own databases are.
    pub async fn open(url: &str) -> Result<Self> {
        let db = Db::open(&StoreUrl::parse(url)?, "bare", DbOptions::default()).await?;
        let schema = match db.engine() {
            lodeway_store::sql::Engine::Postgres => "CREATE SCHEMA IF NOT EXISTS bare; ",
            lodeway_store::sql::Engine::Sqlite => "",
        };
        let script = format!(
            "{schema}CREATE TABLE IF NOT EXISTS points (run BIGINT NOT NULL, key BIGINT NOT NULL, ts BIGINT NOT NULL, \
             step BIGINT NOT NULL, value DOUBLE PRECISION NOT NULL)"
        );
        db.write_with(script, |tx, script| {
            Box::pin(async move { tx.execute_script(script).await })
        })
        .await
        .context("the table of plain rows")?;
        Ok(Self { db })
    }

    /// Inserts transactions of 1,000 rows for `time`, `writers` at once; an operation is a transaction.
    pub async fn insert(&self, writers: usize, keys: usize, time: Duration) -> Result<Round> {
        let start = Instant::now();
        let tasks = (0..writers).map(|writer| {
            let db = self.db.clone();
            async move {
                let mut latencies = Vec::new();
                while latencies.is_empty() || start.elapsed() < time {
                    let sent = Instant::now();
                    transaction(&db, writer, keys, latencies.len()).await?;
                    latencies.push(sent.elapsed().as_secs_f64() * 1e3);
                }
                anyhow::Ok(latencies)
            }
        });
        let mut set = tokio::task::JoinSet::new();
        for task in tasks {
            set.spawn(task);
        }
        let mut latencies_ms = Vec::new();
        while let Some(done) = set.join_next().await {
            latencies_ms.extend(done??);
        }
        let seconds = start.elapsed().as_secs_f64();
        latencies_ms.sort_by(f64::total_cmp);
        Ok(Round {
            ops: latencies_ms.len(),
            seconds,
            latencies_ms,
            ..Round::default()
        })
    }

    /// Closes its files.
    pub async fn close(&self) {
        self.db.close().await;
    }
}

async fn transaction(db: &Db, writer: usize, keys: usize, number: usize) -> Result<()> {
    let first = number * 1_000;
    let mut values: Vec<Arg<'static>> = Vec::with_capacity(5_000);
    for n in first..first + 1_000 {
        let (run, key, step) = (
            i64::try_from(writer)?,
            i64::try_from(n % keys)?,
            i64::try_from(n / keys)?,
        );
        values.extend(args![
            run,
            key,
            1_750_000_000_000_i64 + step,
            step,
            1.0 / count(n + 3)
        ]);
    }
    db.write_with(values, |tx, values| {
        Box::pin(async move {
            tx.insert_many("INSERT INTO points (run, key, ts, step, value)", 5, "", values)
                .await
        })
    })
    .await?;
    Ok(())
}
