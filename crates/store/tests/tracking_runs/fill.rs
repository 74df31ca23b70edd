//! Many runs at once, written by the database itself.

use lodeway_domain::Result;
use lodeway_store::{
    args,
    sql::{Db, Engine},
};

/// Adds `count` runs of the experiment with this row id, with 10 metrics (`m0` to `m9`, the last one missing in every
/// tenth), 10 params of ten values each and 5 tags of three; every value in its index.
pub async fn fill(db: &Db, experiment: i64, count: i64) -> Result<()> {
    let names = ["m", "p", "t"]
        .into_iter()
        .flat_map(|kind| (0..10).map(move |i| format!("{kind}{i}")));
    let names: Vec<String> = names
        .filter(|name| !name.starts_with('t') || name < &"t5".to_owned())
        .collect();
    db.write_with(names, move |tx, names| {
        Box::pin(async move {
            let rows: Vec<_> = names.iter().map(Into::into).collect();
            tx.insert_many("INSERT INTO keys (key)", 1, "ON CONFLICT DO NOTHING", &rows)
                .await?;
            tx.execute(RUNS, &args![experiment, count]).await?;
            for (table, columns, values, keys) in TABLES {
                let sql = format!(
                    "INSERT INTO {table} (run, key, experiment, started_ms, {columns}) \
                     SELECT r.id, k.id, r.experiment, r.started_ms, {values} FROM runs r CROSS JOIN keys k \
                     WHERE r.experiment = $1 AND {keys}"
                );
                tx.execute(&sql, &args![experiment]).await?;
            }
            Ok(())
        })
    })
    .await?;
    if db.engine() == Engine::Postgres {
        db.write(|tx| Box::pin(async move { tx.execute_script("ANALYZE").await }))
            .await?;
    }
    Ok(())
}

const RUNS: &str = "INSERT INTO runs (workspace, run_id, experiment, name, status, user_id, started_ms, ended_ms, artifact_uri) \
    WITH RECURSIVE n(i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < $2) \
    SELECT 'default', 'e' || CAST($1 AS BIGINT) || 'r' || i, CAST($1 AS BIGINT), 'run-' || ((i * 7919) % 100003), \
    CASE WHEN i % 10 = 0 THEN 4 ELSE 3 END, 'user-' || (i % 7), 1700000000000 + i * 7, \
    CASE WHEN i % 10 = 0 THEN NULL ELSE 1700000000000 + i * 11 END, 's3://bucket/' || i FROM n";

const TABLES: [(&str, &str, &str, &str); 3] = [
    (
        "params",
        "head, value",
        "CAST((r.id / (k.id + 3)) % 10 AS TEXT), CAST((r.id / (k.id + 3)) % 10 AS TEXT)",
        "k.key LIKE 'p_'",
    ),
    (
        "run_tags",
        "head, value",
        "CAST((r.id / (k.id + 3)) % 3 AS TEXT), CAST((r.id / (k.id + 3)) % 3 AS TEXT)",
        "k.key LIKE 't_'",
    ),
    (
        "latest_metrics",
        "rank, sort, bits, step, ts_ms, indexed",
        "0, (r.id * (48271 + 4001 * k.id)) % 1000003, (r.id * (48271 + 4001 * k.id)) % 1000003, 10, r.started_ms, TRUE",
        "k.key LIKE 'm_' AND (k.key <> 'm9' OR r.id % 10 <> 0)",
    ),
];
