//! The contract of the stores of experiments and runs, on both engines.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod experiments;
mod runs;
mod search;

use std::sync::Arc;

use futures::future::LocalBoxFuture;
use lodeway_domain::{
    Caller, Error, Reason,
    caller::Workspace,
    filter::{Expr, OrderBy, Projection, RUNS},
    id::{ExperimentId, RequestId, RunId},
    page::{PageLimits, PageRequest, QueryHash},
    time::Timestamp,
    tracking::{
        EntityKey, Experiment, ExperimentName, LogBatch, MAX_TAG_VALUE_CHARS, Metric, NewExperiment, NewRun,
        ParamValue, Point, Run, RunStatus, Tags, View,
    },
};
use lodeway_store::{
    sql::{Db, DbOptions, StoreUrl},
    tracking::{ExperimentStore, MetricStore, Outcome, RunSearch, RunStore, SqlTracking, Write},
};

/// A store with the door to its tables.
#[derive(Clone)]
struct Under {
    store: SqlTracking,
    db: Db,
}

async fn on_both(check: impl Fn(Under) -> LocalBoxFuture<'static, ()>) {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("tracking.db"));
    let text = tokio::task::spawn_blocking(lodeway_testkit::postgres::database)
        .await
        .unwrap()
        .unwrap();
    let options = DbOptions {
        queue_timeout: std::time::Duration::from_secs(120),
        ..DbOptions::default()
    };
    for url in [url, StoreUrl::parse(&text).unwrap()] {
        let db = Db::open(&url, "tracking", options.clone()).await.unwrap();
        let store = SqlTracking::open(db.clone(), at(0)).await.unwrap();
        store.ensure_default(&ws(), "s3://bucket/0", at(0)).await.unwrap();
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

fn caller() -> Arc<Caller> {
    Arc::new(Caller::anonymous())
}

fn write<T>(method: &'static str) -> Write<T> {
    Write::new(caller(), method, None, Vec::new, at(1), |_| Vec::new())
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Tags::parse("tags", pairs, MAX_TAG_VALUE_CHARS).unwrap()
}

fn new_experiment(name: &str) -> NewExperiment {
    let name = ExperimentName::parse("name", name).unwrap();
    NewExperiment {
        name,
        artifact_location: None,
        tags: Tags::default(),
    }
}

fn new_run(experiment: ExperimentId, name: &str, started: i64) -> NewRun {
    NewRun {
        experiment,
        name: name.to_owned(),
        user_id: String::new(),
        started: at(started),
        status: RunStatus::Running,
        tags: tags(&[("mlflow.runName", name)]),
    }
}

fn metric(name: &str, value: f64, step: i64) -> Metric {
    let key = EntityKey::parse("key", name).unwrap();
    Metric {
        key,
        point: Point {
            value,
            time: at(0),
            step,
        },
        source: None,
    }
}

fn batch(metrics: Vec<Metric>, params: &[(&str, &str)], labels: &[(&str, &str)]) -> LogBatch {
    let param = |(k, v): &(&str, &str)| {
        (
            EntityKey::parse("key", k).unwrap(),
            ParamValue::parse("value", (*v).to_owned()).unwrap(),
        )
    };
    LogBatch::new(metrics, params.iter().map(param).collect(), tags(labels)).unwrap()
}

fn page(size: usize, token: &str) -> PageRequest {
    let limits = PageLimits {
        default: size,
        max: size,
    };
    PageRequest::parse(0, token, limits, QueryHash::of(&["test"])).unwrap()
}

fn value<T>(outcome: Outcome<T>) -> T {
    match outcome {
        Outcome::Done(value) => value,
        Outcome::Replay(_) => unreachable!("nothing was repeated"),
    }
}

impl Under {
    async fn experiment(&self, name: &str) -> Experiment {
        let made = self
            .store
            .create_experiment(write("CreateExperiment"), new_experiment(name), "s3://bucket?v=1")
            .await;
        value(made.unwrap())
    }

    async fn create(&self, new: NewRun) -> Run {
        value(self.store.create_run(write("CreateRun"), new).await.unwrap())
    }

    async fn log(&self, run: &RunId, batch: LogBatch) {
        self.store.log_batch(write("LogBatch"), run, batch).await.unwrap();
    }

    async fn get(&self, run: &RunId) -> Run {
        self.store
            .run(&ws(), run, &Projection::everything())
            .await
            .unwrap()
    }

    /// Puts every metric into the index.
    async fn settle(&self) {
        while self.store.maintain_metrics(at(1_000_000)).await.unwrap() {}
    }
}

fn query(experiments: &[ExperimentId], filter: &str, order: &[&str], size: usize) -> RunSearch {
    RunSearch {
        experiments: experiments.to_vec(),
        filter: Expr::parse(filter, &RUNS).unwrap(),
        order: OrderBy::parse_list(order, &RUNS).unwrap(),
        view: View::Active,
        page: page(size, ""),
        projection: Projection::everything(),
    }
}
