//! The contract of the store of metrics, on both engines.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod appends;
mod model;

use std::sync::Arc;

use futures::future::LocalBoxFuture;
use lodeway_domain::{
    Caller, Error, Reason,
    caller::Workspace,
    id::{RequestId, RunId},
    page::{PageLimits, PageRequest, QueryHash},
    time::Timestamp,
    tracking::{EntityKey, HistoryOrder, LogBatch, MAX_TAG_VALUE_CHARS, Metric, ParamValue, Point, Tags},
};
use lodeway_store::{
    args,
    sql::{Db, DbOptions, StoreUrl},
    tracking::{MetricStore, SqlTracking, Write},
};

/// A store with the door to its tables.
#[derive(Clone)]
struct Under {
    store: SqlTracking,
    db: Db,
}

fn options() -> DbOptions {
    DbOptions {
        queue_timeout: std::time::Duration::from_secs(120),
        ..DbOptions::default()
    }
}

async fn on_both(check: impl Fn(Under) -> LocalBoxFuture<'static, ()>) {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("tracking.db"));
    let text = tokio::task::spawn_blocking(lodeway_testkit::postgres::database)
        .await
        .unwrap()
        .unwrap();
    for url in [url, StoreUrl::parse(&text).unwrap()] {
        let db = Db::open(&url, "tracking", options()).await.unwrap();
        let store = SqlTracking::open(db.clone(), at(0)).await.unwrap();
        check(Under {
            store,
            db: db.clone(),
        })
        .await;
        db.close().await;
    }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + ms)
}

fn ws() -> Workspace {
    Workspace::default()
}

fn key(text: &str) -> EntityKey {
    EntityKey::parse("key", text).unwrap()
}

fn metric(name: &str, value: f64, ms: i64, step: i64) -> Metric {
    Metric {
        key: key(name),
        point: Point {
            value,
            time: at(ms),
            step,
        },
        source: None,
    }
}

fn batch(metrics: Vec<Metric>) -> LogBatch {
    LogBatch::new(metrics, vec![], Tags::default()).unwrap()
}

fn labels(params: &[(&str, &str)], tags: &[(&str, &str)]) -> LogBatch {
    let params = params
        .iter()
        .map(|(k, v)| (key(k), ParamValue::parse("value", (*v).to_owned()).unwrap()));
    let tags = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    LogBatch::new(
        vec![],
        params.collect(),
        Tags::parse("tags", tags, MAX_TAG_VALUE_CHARS).unwrap(),
    )
    .unwrap()
}

fn write(now: Timestamp) -> Write<()> {
    once(now, None, b"")
}

fn once(now: Timestamp, request: Option<RequestId>, body: &[u8]) -> Write<()> {
    let body = body.to_vec();
    Write::new(
        Arc::new(Caller::anonymous()),
        "LogBatch",
        request,
        || body,
        now,
        |()| Vec::new(),
    )
}

fn page(size: usize, token: &str) -> PageRequest {
    let limits = PageLimits {
        default: size,
        max: size,
    };
    PageRequest::parse(0, token, limits, QueryHash::of(&["test"])).unwrap()
}

impl Under {
    /// A new run of the experiment with row 1.
    async fn run(&self) -> RunId {
        let id = RunId::generate();
        let text = id.to_string();
        self.db
            .write(move |tx| {
                let text = text.clone();
                Box::pin(async move {
                    let sql = "INSERT INTO runs (workspace, run_id, experiment, name, status, user_id, started_ms, \
                               artifact_uri) VALUES ('default', $1, 1, 'n', 1, 'u', 7, 'file:///a')";
                    tx.execute(sql, &args![&text]).await
                })
            })
            .await
            .unwrap();
        id
    }

    async fn log(&self, run: &RunId, batch: LogBatch, ms: i64) {
        self.store.log_batch(write(at(ms)), run, batch).await.unwrap();
    }

    async fn history(&self, run: &RunId, key: &str, order: HistoryOrder, size: usize) -> Vec<Point> {
        let (mut all, mut token) = (Vec::new(), String::new());
        loop {
            let request = page(size, &token);
            let found = self
                .store
                .metric_history(&ws(), run, key, order, &request)
                .await
                .unwrap();
            assert!(found.items.len() <= size);
            token = found.token(request.query);
            all.extend(found.items);
            if token.is_empty() {
                return all;
            }
        }
    }

    async fn count(&self, sql: &str, run: &RunId) -> i64 {
        let sql = sql.replace("RUN", "(SELECT id FROM runs WHERE run_id = $1)");
        self.db
            .query_opt(&sql, &args![run.as_str()])
            .await
            .unwrap()
            .unwrap()
            .int(0)
            .unwrap()
    }
}

fn reason(result: lodeway_domain::Result<()>) -> Reason {
    result.unwrap_err().reason()
}

fn metadata(error: &Error) -> Vec<(&'static str, String)> {
    match error {
        Error::Precondition { metadata, .. } => metadata.clone(),
        other => panic!("{other:?}"),
    }
}
