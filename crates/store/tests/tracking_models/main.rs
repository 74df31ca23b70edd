//! The contract of the stores of logged models, used data sets, references and purging, on both engines.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod models;
mod purge;
mod references;
mod search;

use std::{collections::BTreeMap, sync::Arc};

use futures::future::LocalBoxFuture;
use lodeway_domain::{
    Caller, Error, Reason,
    caller::Workspace,
    filter::{Expr, Field, LOGGED_MODELS, OrderBy, Source},
    id::{ExperimentId, ModelId, ModelUid, RequestId, RunId},
    page::{PageLimits, PageRequest, QueryHash},
    time::Timestamp,
    tracking::{
        Dataset, DatasetInput, EntityKey, ExperimentName, LogBatch, LoggedInputs, LoggedModel,
        LoggedModelName, LoggedModelStatus, MAX_TAG_VALUE_CHARS, Metric, MetricSource, NewExperiment,
        NewLoggedModel, NewRun, ParamValue, Point, Run, RunStatus, Tags, VersionReference,
    },
};
use lodeway_store::{
    args,
    sql::{Db, DbOptions, StoreUrl},
    tracking::{
        DatasetFilter, DatasetStore, ExperimentStore, KeptFolder, LoggedModelSearch, LoggedModelStore,
        MODEL_VERSIONS_TAG, MetricStore, ModelOrder, Outcome, PurgeFilter, PurgeKind, PurgePlan, PurgeStore,
        ReferenceStore, RunStore, SqlTracking, Write,
    },
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

fn write_at<T>(ms: i64) -> Write<T> {
    Write::new(caller(), "Test", None, Vec::new, at(ms), |_| Vec::new())
}

fn write<T>() -> Write<T> {
    write_at(1)
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Tags::parse("tags", pairs, MAX_TAG_VALUE_CHARS).unwrap()
}

fn key(text: &str) -> EntityKey {
    EntityKey::parse("key", text).unwrap()
}

fn params(pairs: &[(&str, &str)]) -> BTreeMap<EntityKey, ParamValue> {
    let value = |v: &str| ParamValue::parse("value", v.to_owned()).unwrap();
    pairs.iter().map(|(k, v)| (key(k), value(v))).collect()
}

fn new_model(experiment: ExperimentId, name: &str) -> NewLoggedModel {
    NewLoggedModel {
        experiment,
        name: LoggedModelName::parse("name", name).unwrap(),
        model_type: "Agent".to_owned(),
        source_run: None,
        params: BTreeMap::from([("depth".to_owned(), "3".to_owned())]),
        tags: tags(&[("team", name)]),
    }
}

fn measured(
    model: &LoggedModel,
    name: &str,
    dataset: (&str, &str),
    value: f64,
    ms: i64,
    step: i64,
) -> Metric {
    Metric {
        key: key(name),
        point: Point {
            value,
            time: at(ms),
            step,
        },
        source: Some(MetricSource {
            model: model.id.clone(),
            dataset_name: dataset.0.to_owned(),
            dataset_digest: dataset.1.to_owned(),
        }),
    }
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
        Outcome::Replay(_) => panic!("nothing was repeated"),
    }
}

fn reason<T: std::fmt::Debug>(result: lodeway_domain::Result<T>) -> Reason {
    result.unwrap_err().reason()
}

fn reference(uid: &str, version: i64, seq: i64, name: &str) -> VersionReference {
    VersionReference {
        event_id: RequestId::generate().to_string(),
        event_seq: seq,
        model_uid: ModelUid::parse(uid).unwrap(),
        name: name.to_owned(),
        version,
        model: None,
        run: None,
        artifact_uri: String::new(),
        released: false,
    }
}

impl Under {
    async fn experiment(&self, name: &str) -> ExperimentId {
        let new = NewExperiment {
            name: ExperimentName::parse("name", name).unwrap(),
            artifact_location: None,
            tags: tags(&[("a", "b")]),
        };
        value(
            self.store
                .create_experiment(write(), new, "s3://bucket")
                .await
                .unwrap(),
        )
        .id
    }

    async fn run(&self, experiment: ExperimentId) -> Run {
        let new = NewRun {
            experiment,
            name: "run".to_owned(),
            user_id: String::new(),
            started: at(0),
            status: RunStatus::Running,
            tags: tags(&[("k", "v")]),
        };
        value(self.store.create_run(write(), new).await.unwrap())
    }

    async fn model(&self, experiment: ExperimentId, name: &str) -> LoggedModel {
        let made = self
            .store
            .create_logged_model(write(), new_model(experiment, name))
            .await;
        value(made.unwrap())
    }

    async fn get(&self, id: &ModelId) -> LoggedModel {
        self.store.logged_model(&ws(), id, true).await.unwrap()
    }

    async fn log(&self, run: &Run, metrics: Vec<Metric>) {
        let batch = LogBatch::new(metrics, vec![], Tags::default()).unwrap();
        self.store.log_batch(write(), &run.id, batch).await.unwrap();
    }

    async fn record(&self, reference: VersionReference) {
        self.store
            .record_version(&caller(), reference, at(5))
            .await
            .unwrap();
    }

    async fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT COUNT(*) FROM {table}");
        self.db
            .query_opt(&sql, &args![])
            .await
            .unwrap()
            .unwrap()
            .int(0)
            .unwrap()
    }
}
