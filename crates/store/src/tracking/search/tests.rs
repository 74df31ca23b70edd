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

async fn open(url: &StoreUrl) -> (Db, SqlTracking) {
    let db = Db::open(url, "tracking", DbOptions::default()).await.unwrap();
    let store = SqlTracking::open(db.clone(), Timestamp::from_millis(0))
        .await
        .unwrap();
    (db, store)
}

async fn check(url: &StoreUrl) {
    let (db, store) = open(url).await;
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
            labelled: None,
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

/// How many runs the fill gives more than [`few::FEW`] to a value of a tag with three.
const MANY: i64 = 7_000;
const EXPERIMENT: &str = "INSERT INTO experiments (id, workspace, experiment_id, name, artifact_location, created_ms, updated_ms) \
                          VALUES (1, 'default', 1, 'many', '', 0, 0)";
/// The fill's ids are shorter than a run's.
const REAL_IDS: &str = "UPDATE runs SET run_id = SUBSTR('00000000000000000000000000000000' || CAST(id AS TEXT), \
                        LENGTH(CAST(id AS TEXT)) + 1)";
const LABELLED: &str = "tags.t1 = '2' AND params.p2 != '3'";

/// All pages of a search for what many runs are labelled with find what the database finds by itself, each run once.
async fn check_labelled(url: &StoreUrl) {
    let (db, store) = open(url).await;
    db.write(|tx| Box::pin(async move { tx.execute(EXPERIMENT, &[]).await }))
        .await
        .unwrap();
    fill::fill(&db, 1, MANY).await.unwrap();
    db.write(|tx| Box::pin(async move { tx.execute(REAL_IDS, &[]).await }))
        .await
        .unwrap();
    let sql = "SELECT r.run_id FROM runs r JOIN run_tags t ON t.run = r.id JOIN keys tk ON tk.id = t.key \
               JOIN params p ON p.run = r.id JOIN keys pk ON pk.id = p.key \
               WHERE tk.key = 't1' AND t.value = '2' AND pk.key = 'p2' AND p.value <> '3'";
    let rows = db.query(sql, &[]).await.unwrap();
    let mut wanted: Vec<String> = rows.iter().map(|row| row.text(0).unwrap()).collect();
    wanted.sort();
    assert!(wanted.len() > 2_000, "{}", wanted.len());
    for order in ["", "metrics.m0 DESC", "params.p1 ASC", "tags.t0 DESC", "name ASC"] {
        let mut search = RunSearch {
            filter: Expr::parse(LABELLED, &RUNS).unwrap(),
            ..search(order)
        };
        let mut found = Vec::new();
        loop {
            let page = store.find_runs(&Workspace::default(), &search).await.unwrap();
            found.extend(page.items.iter().map(|run| run.id.as_str().to_owned()));
            let Some(next) = page.next else { break };
            search.page.after = Some(next);
        }
        found.sort();
        assert_eq!(found, wanted, "{order}");
    }
    db.close().await;
}

/// A new database on each engine.
async fn both() -> (tempfile::TempDir, [StoreUrl; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let text = tokio::task::spawn_blocking(lodeway_testkit::postgres::database)
        .await
        .unwrap()
        .unwrap();
    let sqlite = StoreUrl::Sqlite(folder.path().join("tracking.db"));
    (folder, [sqlite, StoreUrl::parse(&text).unwrap()])
}

#[tokio::test]
async fn searches_stay_on_their_indexes() {
    let (_folder, urls) = both().await;
    for url in &urls {
        check(url).await;
    }
}

#[tokio::test]
async fn runs_that_share_a_label_with_many_are_found_in_every_order() {
    let (_folder, urls) = both().await;
    for url in &urls {
        check_labelled(url).await;
    }
}
