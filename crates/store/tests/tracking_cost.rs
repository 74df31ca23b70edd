//! What finding runs costs, on a small and a ten times larger experiment. A test binary of its own, so that nothing else
//! is counted.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking and tells what it measured"
)]

#[path = "tracking_runs/fill.rs"]
mod fill;

use std::{fs, sync::Arc, time::Instant};

use lodeway_domain::{
    Caller,
    caller::Workspace,
    filter::{Expr, OrderBy, Projection, RUNS},
    id::ExperimentId,
    page::{KeyValue, PageLimits, PageRequest, Position, QueryHash},
    time::Timestamp,
    tracking::{
        EntityKey, ExperimentName, LogBatch, Metric, NewExperiment, NewRun, ParamValue, Point, RunStatus,
        RunUpdate, Tags, View,
    },
};
use lodeway_store::{
    sql::{Db, DbOptions, Engine, StoreUrl},
    tracking::{ExperimentStore, MetricStore, Outcome, RunSearch, RunStore, SqlTracking, Write},
};

const PAGE: usize = 100;
const ORDERS: [&str; 10] = [
    "start_time DESC",
    "metrics.m0 ASC",
    "metrics.m9 DESC",
    "params.p5 ASC",
    "params.p5 DESC",
    "tags.t0 DESC",
    "name ASC",
    "status DESC",
    "end_time DESC",
    "run_id ASC",
];

/// Half of the runs have the metric (its values count up in the smallest steps that a double has), one in ten the param.
const FILTER: &str = "metrics.m1 < 2.47e-318 AND params.p3 = '1'";

/// Processor milliseconds of this process, from the clock ticks (1/100 s) that the kernel counts.
fn cpu_ms() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) * 10.0
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}

fn write<T>() -> Write<T> {
    Write::new(
        Arc::new(Caller::anonymous()),
        "Cost",
        None,
        Vec::new,
        now(),
        |_| Vec::new(),
    )
}

fn search(experiment: i64, order: &str, after: Option<Position>) -> RunSearch {
    let limits = PageLimits {
        default: PAGE,
        max: PAGE,
    };
    let mut page = PageRequest::parse(0, "", limits, QueryHash::of(&["cost"])).unwrap();
    page.after = after;
    RunSearch {
        experiments: vec![ExperimentId::new(experiment)],
        filter: Expr::parse(FILTER, &RUNS).unwrap(),
        order: OrderBy::parse_list(&[order], &RUNS).unwrap(),
        view: View::Active,
        page,
        projection: Projection::everything(),
    }
}

/// The position before the last page: found by asking for all runs at once.
async fn late(store: &SqlTracking, experiment: i64, order: &str) -> Position {
    let mut all = search(experiment, order, None);
    all.projection = Projection::parse(&["run_id"], &RUNS).unwrap();
    all.page.size = 1_000_000;
    let total = store
        .search_runs(&Workspace::default(), &all)
        .await
        .unwrap()
        .items
        .len();
    all.page.size = total - PAGE;
    store
        .search_runs(&Workspace::default(), &all)
        .await
        .unwrap()
        .next
        .unwrap()
}

/// Milliseconds of a page: of this process's processor and on the wall.
async fn cost(store: &SqlTracking, search: &RunSearch, rounds: u32) -> (f64, f64) {
    let page = store.search_runs(&Workspace::default(), search).await.unwrap();
    assert_eq!(page.items.len(), PAGE);
    let (cpu, wall) = (cpu_ms(), Instant::now());
    for _ in 0..rounds {
        store.search_runs(&Workspace::default(), search).await.unwrap();
    }
    let each = |total: f64| total / f64::from(rounds);
    (each(cpu_ms() - cpu), each(wall.elapsed().as_secs_f64() * 1_000.0))
}

async fn open(url: &StoreUrl, scale: i64) -> (Db, SqlTracking) {
    let db = Db::open(url, "tracking", DbOptions::default()).await.unwrap();
    let store = SqlTracking::open(db.clone(), now()).await.unwrap();
    for (i, count) in [(1, scale), (2, scale * 10)] {
        let name = ExperimentName::parse("name", &format!("e{i}")).unwrap();
        let new = NewExperiment {
            name,
            artifact_location: None,
            tags: Tags::default(),
        };
        store
            .create_experiment(write(), new, "s3://bucket")
            .await
            .unwrap();
        fill::fill(&db, i, count).await.unwrap();
    }
    (db, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_cost_the_same_early_and_late_in_small_and_large_experiments() {
    let (scale, rounds) = if cfg!(debug_assertions) {
        (3_000, 2)
    } else {
        (10_000, 50)
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let sqlite = StoreUrl::Sqlite(folder.path().join("tracking.db"));
    let text = tokio::task::spawn_blocking(lodeway_testkit::postgres::database)
        .await
        .unwrap()
        .unwrap();
    for url in [sqlite, StoreUrl::parse(&text).unwrap()] {
        let (db, store) = open(&url, scale).await;
        let mut worst = 0.0_f64;
        for order in ORDERS {
            let mut line = format!("{:?} {order:16}", db.engine());
            for (experiment, count) in [(1, scale), (2, scale * 10)] {
                let early = cost(&store, &search(experiment, order, None), rounds).await;
                let position = late(&store, experiment, order).await;
                assert!(matches!(position.0[0], KeyValue::Int(_)));
                let late = cost(&store, &search(experiment, order, Some(position)), rounds).await;
                line.push_str(&format!(
                    " | {count} runs: first {:.2} ms CPU {:.2} wall, last {:.2} CPU {:.2} wall",
                    early.0, early.1, late.0, late.1
                ));
                worst = worst.max(early.1).max(late.1);
            }
            println!("{line}");
        }
        // Without optimisation the figure says nothing; with it, there is room for a busy machine.
        let bound = if cfg!(debug_assertions) { 5_000.0 } else { 300.0 };
        assert!(worst < bound, "{:?}: a page took {worst:.1} ms", db.engine());
        db.close().await;
    }
}

fn batch() -> LogBatch {
    let key = |kind: &str, i: usize| EntityKey::parse("key", &format!("{kind}{i}")).unwrap();
    let point = |value| Point {
        value,
        time: now(),
        step: 0,
    };
    let metrics = (0..10).map(|i| Metric {
        key: key("m", i),
        point: point(0.5),
        source: None,
    });
    let params = (0..10).map(|i| (key("p", i), ParamValue::parse("value", "0.1".to_owned()).unwrap()));
    LogBatch::new(metrics.collect(), params.collect(), Tags::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_run_costs_little() {
    let rounds = if cfg!(debug_assertions) { 5 } else { 500 };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let sqlite = StoreUrl::Sqlite(folder.path().join("runs.db"));
    let text = tokio::task::spawn_blocking(lodeway_testkit::postgres::database)
        .await
        .unwrap()
        .unwrap();
    for url in [sqlite, StoreUrl::parse(&text).unwrap()] {
        let db = Db::open(&url, "tracking", DbOptions::default()).await.unwrap();
        let store = SqlTracking::open(db.clone(), now()).await.unwrap();
        store
            .ensure_default(&Workspace::default(), "s3://bucket/0", now())
            .await
            .unwrap();
        let (cpu, wall) = (cpu_ms(), Instant::now());
        for i in 0..rounds {
            let pairs = (0..5).map(|t| (format!("t{t}"), "value".to_owned()));
            let new = NewRun {
                experiment: ExperimentId::DEFAULT,
                name: "n".to_owned(),
                user_id: "u".to_owned(),
                started: Timestamp::from_millis(i64::from(i)),
                status: RunStatus::Running,
                tags: Tags::parse("tags", pairs, 100).unwrap(),
            };
            let Outcome::Done(run) = store.create_run(write(), new).await.unwrap() else {
                unreachable!("no request id")
            };
            store.log_batch(write(), &run.id, batch()).await.unwrap();
            let update = RunUpdate {
                status: Some(RunStatus::Finished),
                ended: Some(Some(now())),
                ..RunUpdate::default()
            };
            store.update_run(write(), run.id, update).await.unwrap();
        }
        let each = |total: f64| total / f64::from(rounds);
        let (cpu, wall) = (each(cpu_ms() - cpu), each(wall.elapsed().as_secs_f64() * 1_000.0));
        println!(
            "{:?}: a run with 10 params, 10 metrics, 5 tags: {cpu:.2} ms CPU, {wall:.2} ms wall",
            db.engine()
        );
        let bound = if cfg!(debug_assertions) { 500.0 } else { 6.0 };
        assert!(cpu < bound && (db.engine() == Engine::Sqlite || wall < bound * 20.0));
        db.close().await;
    }
}
