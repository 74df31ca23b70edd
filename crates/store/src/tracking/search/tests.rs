//! Whether the main shapes of a search stay on their index, by what the engines say of their plans.

use lodeway_domain::{
    filter::{Expr, OrderBy, Projection, RUNS},
    page::{PageRequest, QueryHash},
    time::Timestamp,
};

use super::{lead::tests::statements, *};
use crate::sql::{Db, DbOptions, Engine, StoreUrl};

#[path = "../../../tests/tracking_runs/fill.rs"]
mod fill;

/// An order and the index that gives it.
const SHAPES: [(&str, &str); 16] = [
    ("", "runs_by_start"),
    ("start_time ASC", "runs_by_start"),
    ("metrics.m0 ASC", "latest_metrics_by_value"),
    ("metrics.m0 DESC", "latest_metrics_by_value"),
    ("params.p1 ASC", "params_by_value"),
    ("params.p1 DESC", "params_by_value"),
    ("tags.t0 ASC", "run_tags_by_value"),
    ("tags.t0 DESC", "run_tags_by_value"),
    ("name ASC", "runs_by_name"),
    ("name DESC", "runs_by_name"),
    ("user_id DESC", "runs_by_user"),
    ("status ASC", "runs_by_status"),
    ("end_time ASC", "runs_by_end"),
    ("end_time DESC", "runs_by_end"),
    ("run_id ASC", "runs_by_experiment"),
    ("run_id DESC", "runs_by_experiment"),
];

fn search(order: &str) -> RunSearch {
    let order: Vec<&str> = Some(order)
        .filter(|order| !order.is_empty())
        .into_iter()
        .collect();
    RunSearch {
        experiments: vec![ExperimentId::new(1)],
        filter: Expr::parse("metrics.m1 >= 0", &RUNS).unwrap(),
        order: OrderBy::parse_list(&order, &RUNS).unwrap(),
        view: View::Active,
        page: PageRequest::first(100, QueryHash::of(&[])),
        projection: Projection::everything(),
    }
}

async fn check(url: &StoreUrl) {
    let db = Db::open(url, "tracking", DbOptions::default()).await.unwrap();
    let store = SqlTracking::open(db.clone(), Timestamp::from_millis(0))
        .await
        .unwrap();
    fill::fill(&db, 1, 4_000).await.unwrap();
    for (order, index) in SHAPES {
        let search = search(order);
        let mut reader = db.snapshot().await.unwrap();
        let places = store.places(&mut reader, &search).await.unwrap();
        let plan = Plan::of(&search.order, &places).unwrap();
        let scan = Scan {
            reader: &mut reader,
            places: &places,
            plan: &plan,
            search: &search,
            complete: &store.complete,
            hints: &store.hints,
            filter: None,
            few: None,
            rest: search.filter.clone(),
        };
        for (sql, arguments) in statements(&scan) {
            explain(&db, &sql, &arguments, order, index).await;
        }
    }
    db.close().await;
}

async fn explain(db: &Db, sql: &str, arguments: &[Arg<'static>], order: &str, index: &str) {
    let (word, column) = match db.engine() {
        Engine::Sqlite => ("EXPLAIN QUERY PLAN", 3),
        Engine::Postgres => ("EXPLAIN", 0),
    };
    let rows = db.query(&format!("{word} {sql}"), arguments).await.unwrap();
    let plan = rows
        .iter()
        .map(|row| row.text(column).unwrap())
        .collect::<Vec<_>>()
        .join("\n");
    // PostgreSQL takes the index by start where it finds that many runs fit.
    let by_start = db.engine() == Engine::Postgres && plan.contains("runs_by_start");
    assert!(plan.contains(index) || by_start, "{order}: {sql}\n{plan}");
    let sorts = match db.engine() {
        Engine::Sqlite => plan
            .lines()
            .any(|line| line.trim() == "USE TEMP B-TREE FOR ORDER BY"),
        Engine::Postgres => plan.lines().any(sorts_many),
    };
    assert!(!sorts, "{order} sorts: {sql}\n{plan}");
}

/// Whether a line of PostgreSQL's plan sorts more than what may be equal to one value; an incremental sort never does.
fn sorts_many(line: &str) -> bool {
    let line = line.trim().trim_start_matches("-> ").trim();
    let rows = line
        .split("rows=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse::<i64>().ok());
    line.starts_with("Sort  (") && rows.is_none_or(|rows| rows > 200)
}

#[tokio::test]
async fn sqlite_stays_on_its_indexes() {
    let folder = tempfile::tempdir().unwrap();
    check(&StoreUrl::Sqlite(folder.path().join("tracking.db"))).await;
}

#[tokio::test]
async fn postgres_stays_on_its_indexes() {
    let text = tokio::task::spawn_blocking(lodeway_testkit::postgres::database)
        .await
        .unwrap()
        .unwrap();
    check(&StoreUrl::parse(&text).unwrap()).await;
}
