//! Measures how metric points are kept: packed blocks against a row a point, on SQLite at full durability.
//!
//! `cargo run --release -p lodeway-store --example metric_storage`. CPU is that of the whole process, the engine in it.
//! The figures are in `docs/metric-storage.md`.

use std::{io::Write as _, path::Path, sync::Arc, time::Instant};

use lodeway_domain::{
    Caller, Result,
    caller::Workspace,
    id::RunId,
    page::{PageRequest, QueryHash},
    time::Timestamp,
    tracking::{EntityKey, HistoryOrder, LogBatch, Metric, Point, Tags},
};
use lodeway_store::{
    args,
    sql::{Arg, Db, DbOptions, StoreUrl},
    tracking::{MetricStore, SqlTracking, StreamAppend, Write},
};

const BATCHES: i64 = 100;

/// Milliseconds of CPU that this process has used, in clock ticks of 10 ms.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |i: usize| {
        fields
            .get(i)
            .and_then(|v| v.parse::<f64>().ok())
            .unwrap_or_default()
    };
    (ticks(11) + ticks(12)) * 10.0
}

fn batch(keys: i64, steps: i64, round: i64) -> Result<LogBatch> {
    let mut metrics = Vec::new();
    for key in 0..keys {
        for step in round * steps..(round + 1) * steps {
            let key = EntityKey::parse("key", &format!("metric-{key:04}"))?;
            let value = 1.0 / (step + 1) as f64;
            let time = Timestamp::from_millis(1_700_000_000_000 + step * 250);
            metrics.push(Metric {
                key,
                point: Point { value, time, step },
                source: None,
            });
        }
    }
    LogBatch::new(metrics, vec![], Tags::default())
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}

fn write() -> Write<()> {
    Write::new(
        Arc::new(Caller::anonymous()),
        "LogBatch",
        None,
        Vec::new,
        now(),
        |()| Vec::new(),
    )
}

async fn new_run(db: &Db) -> Result<RunId> {
    let id = RunId::generate();
    db.write_with(id.to_string(), |tx, id| {
        Box::pin(async move {
            let sql = "INSERT INTO runs (workspace, run_id, experiment, name, status, user_id, started_ms, \
                       artifact_uri) VALUES ('default', $1, 1, 'n', 1, 'u', 7, 'file:///a')";
            tx.execute(sql, &args![id]).await
        })
    })
    .await?;
    Ok(id)
}

fn size(path: &Path) -> u64 {
    let of = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        std::fs::metadata(name).map_or(0, |m| m.len())
    };
    of("")
}

struct Report(std::io::Stdout);

impl Report {
    fn line(&mut self, what: &str, count: i64, per: &str, cpu: f64, wall: std::time::Duration) {
        // Nobody to tell if the terminal is gone.
        let _ = writeln!(
            self.0,
            "{what:<46} {:>9.3} ms CPU {per}, {:>9.3} ms wall",
            cpu / count as f64,
            wall.as_secs_f64() * 1000.0 / count as f64
        );
    }

    fn bytes(&mut self, what: &str, bytes: u64, points: i64) {
        let _ = writeln!(
            self.0,
            "{what:<46} {:>9.1} bytes a point",
            bytes as f64 / points as f64
        );
    }
}

async fn packed(report: &mut Report, folder: &Path, keys: i64, steps: i64) -> Result<()> {
    let path = folder.join(format!("packed-{keys}.db"));
    let db = open(&path).await?;
    let store = SqlTracking::open(db.clone(), now())
        .await
        .map_err(lodeway_domain::Error::internal)?;
    let run = new_run(&db).await?;
    let batches = (0..=BATCHES)
        .map(|round| batch(keys, steps, round))
        .collect::<Result<Vec<_>>>()?;
    let mut batches = batches.into_iter();
    if let Some(first) = batches.next() {
        store.log_batch(write(), &run, first).await?;
    }
    let (cpu, start) = (cpu_ms(), Instant::now());
    for batch in batches {
        store.log_batch(write(), &run, batch).await?;
    }
    report.line(
        &format!("packed blocks, {keys} keys x {steps} steps"),
        BATCHES,
        "a batch",
        cpu_ms() - cpu,
        start.elapsed(),
    );
    let ws = Workspace::default();
    history(
        report,
        "  history before compaction, a key",
        &store,
        &ws,
        &run,
        20,
    )
    .await?;
    let (cpu, start, mut rounds) = (cpu_ms(), Instant::now(), 0);
    while store
        .maintain_metrics(Timestamp::from_millis(now().millis() + 60_000))
        .await?
    {
        rounds += 1;
    }
    report.line(
        &format!("  compaction and index, {rounds} slices"),
        BATCHES,
        "a batch",
        cpu_ms() - cpu,
        start.elapsed(),
    );
    history(report, "  history after compaction, a key", &store, &ws, &run, 20).await?;
    db.close().await;
    report.bytes(
        "  size with all tables",
        size(&path),
        (BATCHES + 1) * keys * steps,
    );
    Ok(())
}

async fn history(
    report: &mut Report,
    what: &str,
    store: &SqlTracking,
    ws: &Workspace,
    run: &RunId,
    times: i64,
) -> Result<()> {
    let page = PageRequest::first(100_000, QueryHash::of(&["bench"]));
    let (cpu, start) = (cpu_ms(), Instant::now());
    let mut points = 0;
    for _ in 0..times {
        points = store
            .metric_history(ws, run, "metric-0007", HistoryOrder::Time, &page)
            .await?
            .items
            .len();
    }
    report.line(
        &format!("{what} ({points} points)"),
        times,
        "a read",
        cpu_ms() - cpu,
        start.elapsed(),
    );
    Ok(())
}

/// The same with a row a point and the same table of latest values, for comparison.
async fn rows(report: &mut Report, folder: &Path, keys: i64, steps: i64) -> Result<()> {
    let path = folder.join(format!("rows-{keys}.db"));
    let db = open(&path).await?;
    db.write(|tx| {
        Box::pin(async move {
            tx.execute_script(
                "CREATE TABLE points (run BIGINT NOT NULL, key BIGINT NOT NULL, ts_ms BIGINT NOT NULL, step BIGINT NOT NULL, \
                 bits BIGINT NOT NULL, PRIMARY KEY (run, key, ts_ms, step, bits)) WITHOUT ROWID; \
                 CREATE TABLE latest (run BIGINT NOT NULL, key BIGINT NOT NULL, step BIGINT NOT NULL, ts_ms BIGINT NOT NULL, \
                 bits BIGINT NOT NULL, PRIMARY KEY (run, key)) WITHOUT ROWID;",
            )
            .await
        })
    })
    .await?;
    let mut rounds = Vec::new();
    for round in 0..BATCHES {
        let (mut points, mut latest) = (Vec::new(), Vec::new());
        for (key, group) in (1_i64..).zip(
            batch(keys, steps, round)?
                .metrics()
                .chunk_by(|a, b| a.key == b.key),
        ) {
            let row = |m: &Metric| {
                (
                    m.point.time.millis(),
                    m.point.step,
                    lodeway_domain::float::to_bits(m.point.value),
                )
            };
            for (ts, step, bits) in group.iter().map(row) {
                points.extend(args![1_i64, key, ts, step, bits]);
            }
            if let Some((ts, step, bits)) = group.last().map(row) {
                latest.extend(args![1_i64, key, step, ts, bits]);
            }
        }
        rounds.push((points, latest));
    }
    let (cpu, start) = (cpu_ms(), Instant::now());
    for state in rounds {
        db.write_with(state, |tx, (points, latest): &(Vec<Arg<'static>>, Vec<Arg<'static>>)| {
            Box::pin(async move {
                let into = "INSERT INTO points (run, key, ts_ms, step, bits)";
                tx.insert_many(into, 5, "ON CONFLICT DO NOTHING", points).await?;
                let end = "ON CONFLICT (run, key) DO UPDATE SET step = excluded.step, ts_ms = excluded.ts_ms, \
                           bits = excluded.bits WHERE (excluded.step, excluded.ts_ms, excluded.bits) > \
                           (latest.step, latest.ts_ms, latest.bits)";
                tx.insert_many("INSERT INTO latest (run, key, step, ts_ms, bits)", 5, end, latest).await
            })
        })
        .await?;
    }
    report.line(
        &format!("a row a point, {keys} keys x {steps} steps"),
        BATCHES,
        "a batch",
        cpu_ms() - cpu,
        start.elapsed(),
    );
    db.close().await;
    report.bytes("  size with all tables", size(&path), BATCHES * keys * steps);
    Ok(())
}

async fn singles(report: &mut Report, folder: &Path) -> Result<()> {
    let db = open(&folder.join("singles.db")).await?;
    let store = SqlTracking::open(db.clone(), now())
        .await
        .map_err(lodeway_domain::Error::internal)?;
    let run = new_run(&db).await?;
    let (cpu, start) = (cpu_ms(), Instant::now());
    for round in 0..2000 {
        store.log_batch(write(), &run, batch(1, 1, round)?).await?;
    }
    report.line(
        "one point a batch",
        2000,
        "a batch",
        cpu_ms() - cpu,
        start.elapsed(),
    );
    db.close().await;
    Ok(())
}

async fn streams(report: &mut Report, folder: &Path, keys: i64, steps: i64) -> Result<()> {
    let db = open(&folder.join(format!("streams-{keys}.db"))).await?;
    let store = SqlTracking::open(db.clone(), now())
        .await
        .map_err(lodeway_domain::Error::internal)?;
    let run = new_run(&db).await?;
    let batches = (0..500)
        .map(|round| batch(keys, steps, round).map(Arc::new))
        .collect::<Result<Vec<_>>>()?;
    let (cpu, start, mut after) = (cpu_ms(), Instant::now(), 0);
    for group in batches.chunks(10) {
        let append = StreamAppend {
            stream_id: "s".to_owned(),
            after,
            batches: group.to_vec(),
        };
        store
            .append_stream(&Workspace::default(), &run, append, now())
            .await?;
        after += 10;
    }
    report.line(
        &format!("stream of {keys} keys x {steps}, 10 batches a commit"),
        500,
        "a 1,000",
        cpu_ms() - cpu,
        start.elapsed(),
    );
    db.close().await;
    Ok(())
}

async fn long_history(report: &mut Report, folder: &Path) -> Result<()> {
    let db = open(&folder.join("long.db")).await?;
    let store = SqlTracking::open(db.clone(), now())
        .await
        .map_err(lodeway_domain::Error::internal)?;
    let run = new_run(&db).await?;
    for round in 0..1000 {
        store.log_batch(write(), &run, batch(8, 100, round)?).await?;
    }
    let ws = Workspace::default();
    history(report, "history of one key, a page", &store, &ws, &run, 10).await?;
    while store
        .maintain_metrics(Timestamp::from_millis(now().millis() + 60_000))
        .await?
    {}
    history(report, "the same after compaction", &store, &ws, &run, 10).await?;
    let (cpu, start) = (cpu_ms(), Instant::now());
    for _ in 0..10 {
        let mut page = PageRequest::first(25_000, QueryHash::of(&["bench"]));
        loop {
            let found = store
                .metric_history(&ws, &run, "metric-0007", HistoryOrder::Step, &page)
                .await?;
            if found.next.is_none() {
                break;
            }
            page.after = found.next;
        }
    }
    report.line(
        "the same in four pages by step",
        10,
        "in all",
        cpu_ms() - cpu,
        start.elapsed(),
    );
    db.close().await;
    Ok(())
}

async fn open(path: &Path) -> Result<Db> {
    let url = StoreUrl::Sqlite(path.to_owned());
    Db::open(&url, "tracking", DbOptions::default())
        .await
        .map_err(lodeway_domain::Error::internal)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let mut report = Report(std::io::stdout());
    for (keys, steps) in [(10, 100), (1000, 1)] {
        packed(&mut report, folder.path(), keys, steps).await?;
        rows(&mut report, folder.path(), keys, steps).await?;
        streams(&mut report, folder.path(), keys, steps).await?;
    }
    singles(&mut report, folder.path()).await?;
    long_history(&mut report, folder.path()).await?;
    Ok(())
}
