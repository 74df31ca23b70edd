//! Searches against the in-memory meaning of filters and orders.

use std::cmp::Ordering;

use lodeway_domain::{
    filter::{Field, Lookup, Source, Value, matches},
    tracking::{Dataset, DatasetInput, LoggedInputs, RunUpdate},
};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::select,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};

use super::*;

struct Seen<'r>(&'r Run);

impl Lookup for Seen<'_> {
    fn values(&self, field: &Field) -> Vec<Value> {
        let run = self.0;
        let text = |text: Option<&String>| text.map(|t| Value::Text(t.clone())).into_iter().collect();
        let one = |text: &str| vec![Value::Text(text.to_owned())];
        match (field.source, field.key.as_str()) {
            (Source::Metric, key) => {
                let of = run.metrics.iter().filter(|m| m.key.as_str() == key);
                of.map(|m| Value::Number(m.point.value)).collect()
            }
            (Source::Param, key) => text(run.params.get(key)),
            (Source::Tag, key) => text(run.tags.get(key)),
            (Source::Dataset, "name") => run
                .inputs
                .datasets
                .iter()
                .map(|d| Value::Text(d.dataset.name.clone()))
                .collect(),
            (Source::Dataset, _) => {
                let tags = run
                    .inputs
                    .datasets
                    .iter()
                    .filter_map(|d| d.tags.get("mlflow.data.context"));
                tags.map(|t| Value::Text(t.clone())).collect()
            }
            (_, "run_id") => one(run.id.as_str()),
            (_, "name") => one(&run.name),
            (_, "status") => one(run.status.as_str()),
            (_, "lifecycle_stage") => one(if run.lifecycle.is_active() {
                "active"
            } else {
                "deleted"
            }),
            (_, "user_id") => one(&run.user_id),
            (_, "artifact_uri") => one(&run.artifact_uri),
            (_, "experiment_id") => vec![Value::Int(run.experiment.get())],
            (_, "start_time") => vec![Value::Int(run.started.millis())],
            (_, "end_time") => run.ended.map(|t| Value::Int(t.millis())).into_iter().collect(),
            (_, "parent_run_id") => text(run.tags.get("mlflow.parentRunId")),
            (_, other) => unreachable!("{other}"),
        }
    }
}

/// What the store has to give: the runs that match, in order.
fn expected<'r>(runs: &'r [Run], search: &RunSearch) -> Vec<&'r Run> {
    let seen = |run: &Run| match search.view {
        View::All => true,
        View::Active => run.lifecycle.is_active(),
        View::Deleted => !run.lifecycle.is_active(),
    };
    let mut found: Vec<&Run> = runs
        .iter()
        .filter(|run| search.experiments.contains(&run.experiment) && seen(run))
        .filter(|run| {
            search
                .filter
                .as_ref()
                .is_none_or(|filter| matches(filter, &Seen(run)))
        })
        .collect();
    found.sort_by(|a, b| {
        OrderBy::compare(&search.order, &Seen(a), &Seen(b))
            .then_with(|| b.started.cmp(&a.started))
            .then_with(|| a.id.cmp(&b.id))
    });
    found
}

/// What a run of the test is made of.
#[derive(Debug, Clone)]
struct Draft {
    experiment: usize,
    started: i64,
    ended: Option<i64>,
    status: i64,
    name: String,
    user: String,
    metrics: Vec<Option<f64>>,
    params: Vec<Option<String>>,
    tags: Vec<Option<String>>,
    dataset: Option<bool>,
    deleted: bool,
}

const KEYS: [&str; 2] = ["a", "b c"];

fn text() -> impl Strategy<Value = String> {
    let long = |end: &str| format!("{}{end}", "ä".repeat(200));
    let texts = ["", "a", "A", "ab", "b%", "it's"].map(str::to_owned).to_vec();
    select([texts, vec![long(""), long("x"), long("y")]].concat())
}

fn number() -> impl Strategy<Value = f64> {
    select(vec![
        f64::NEG_INFINITY,
        -1.5,
        -0.0,
        0.0,
        1.0,
        2.5,
        f64::INFINITY,
        f64::NAN,
    ])
}

fn draft() -> impl Strategy<Value = Draft> {
    let attributes = (
        0..3_usize,
        0..4_i64,
        option::of(0..3_i64),
        1..6_i64,
        select(vec!["n", "m", "o"]),
        select(vec!["", "u"]),
    );
    let texts = || vec(option::weighted(0.7, text()), 2);
    let recorded = (
        vec(option::weighted(0.7, number()), 2),
        texts(),
        texts(),
        option::of(any::<bool>()),
    );
    (attributes, recorded, proptest::bool::weighted(0.2)).prop_map(|(a, r, deleted)| Draft {
        experiment: a.0,
        started: a.1,
        ended: a.2,
        status: a.3,
        name: a.4.to_owned(),
        user: a.5.to_owned(),
        metrics: r.0,
        params: r.1,
        tags: r.2,
        dataset: r.3,
        deleted,
    })
}

impl Under {
    async fn build(&self, experiments: &[ExperimentId], draft: &Draft) -> Run {
        let mut new = new_run(experiments[draft.experiment], &draft.name, draft.started);
        new.user_id.clone_from(&draft.user);
        new.status = RunStatus::from_number(draft.status).unwrap();
        let made = self.create(new).await;
        if let Some(ended) = draft.ended {
            let update = RunUpdate {
                ended: Some(Some(at(ended))),
                ..RunUpdate::default()
            };
            self.store
                .update_run(write("U"), made.id.clone(), update)
                .await
                .unwrap();
        }
        let keyed = |texts: &[Option<String>]| -> Vec<(&str, String)> {
            KEYS.into_iter()
                .zip(texts)
                .filter_map(|(k, v)| Some((k, v.clone()?)))
                .collect()
        };
        let (params, labels) = (keyed(&draft.params), keyed(&draft.tags));
        let borrow = |pairs: &[(&'static str, String)]| -> Vec<(&'static str, String)> { pairs.to_vec() };
        let (params, labels) = (borrow(&params), borrow(&labels));
        let params: Vec<(&str, &str)> = params.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let points = KEYS
            .iter()
            .zip(&draft.metrics)
            .filter_map(|(k, v)| Some(metric(k, (*v)?, 0)));
        self.log(&made.id, batch(points.collect(), &params, &labels))
            .await;
        if let Some(named) = draft.dataset {
            let dataset = Dataset {
                name: if named { "train" } else { "test" }.to_owned(),
                digest: "d".to_owned(),
                source_type: "local".to_owned(),
                source: "s".to_owned(),
                schema: String::new(),
                profile: String::new(),
            };
            let context = if named {
                tags(&[("mlflow.data.context", "a")])
            } else {
                Tags::default()
            };
            let inputs = LoggedInputs {
                datasets: vec![DatasetInput {
                    dataset,
                    tags: context.into_map(),
                }],
                models: vec![],
            };
            self.store
                .log_inputs(write("I"), made.id.clone(), inputs)
                .await
                .unwrap();
        }
        if draft.deleted {
            self.store.delete_run(write("D"), made.id.clone()).await.unwrap();
        }
        self.get(&made.id).await
    }

    /// Every page of a search.
    async fn all(&self, search: &RunSearch) -> Vec<Run> {
        let mut search = search.clone();
        let mut found = Vec::new();
        loop {
            let got = self.store.search_runs(&ws(), &search).await.unwrap();
            assert!(got.items.len() <= search.page.size);
            found.extend(got.items);
            let Some(next) = got.next else { return found };
            search.page = page(search.page.size, &next.encode(search.page.query));
        }
    }
}

const FILTERS: [&str; 22] = [
    "",
    "metrics.a < 1 AND params.a = 'a'",
    "status != 'FAILED' AND tags.a = 'a' AND NOT metrics.a = NaN AND params.a = 'a'",
    "metrics.a < 1",
    "metrics.a >= -1.5 AND metrics.`b c` != 0",
    "metrics.a = NaN OR metrics.a = Infinity",
    "NOT metrics.a > 0",
    "params.a = 'a'",
    "params.a LIKE 'a%' OR tags.`b c` ILIKE 'A%'",
    "tags.a != 'a'",
    "tags.nowhere = 'a'",
    "NOT tags.a IS NULL",
    "status IN ('FINISHED', 'RUNNING')",
    "status = 'Running' OR lifecycle_stage = 'Deleted'",
    "status >= 'FINISHED' AND status <= 'FINISHED'",
    "end_time IS NULL",
    "start_time > 1700000000001",
    "datasets.name = 'train'",
    "datasets.context = 'a'",
    "datasets.context LIKE '%'",
    "user_id = 'u' AND name != 'n'",
    "parent_run_id IS NULL AND experiment_id != 1",
];

fn orders() -> impl Strategy<Value = Vec<String>> {
    let fields = vec![
        "metrics.a",
        "metrics.`b c`",
        "params.a",
        "params.`b c`",
        "tags.a",
        "tags.nowhere",
        "metrics.nowhere",
        "status",
        "name",
        "user_id",
        "start_time",
        "end_time",
        "run_id",
        "artifact_uri",
        "experiment_id",
        "parent_run_id",
        "lifecycle_stage",
    ];
    // One field most of the time: that is what has a way of its own.
    let count = select(vec![0, 1, 1, 1, 1, 2, 3]);
    (
        count,
        proptest::sample::subsequence(fields.clone(), fields.len()).prop_shuffle(),
        vec(any::<bool>(), 3),
    )
        .prop_map(|(count, fields, down)| {
            let term =
                |(field, down): (&&str, bool)| format!("{field} {}", if down { "DESC" } else { "ASC" });
            fields.iter().take(count).zip(down).map(term).collect()
        })
}

/// Filter, order, page size, view, and which experiments, a bit each.
type Wanted = (String, Vec<String>, usize, u8, usize);

fn agrees(runner: &mut TestRunner, searches: usize) -> Vec<(Vec<Draft>, Vec<Wanted>)> {
    let search = (
        select(FILTERS.to_vec()),
        orders(),
        1..9_usize,
        0..3_u8,
        1..8_usize,
    );
    let search = search.prop_map(|(filter, order, size, view, experiments)| {
        (filter.to_owned(), order, size, view, experiments)
    });
    let case = (vec(draft(), 0..22), vec(search, searches));
    (0..6).map(|_| case.new_tree(runner).unwrap().current()).collect()
}

#[tokio::test]
async fn searches_agree_with_memory_and_pages_neither_repeat_nor_lose() {
    on_both(|under| {
        Box::pin(async move {
            let mut runner = TestRunner::new(Config::default());
            for (round, (drafts, searches)) in agrees(&mut runner, 80).into_iter().enumerate() {
                let mut experiments = Vec::new();
                for name in ["x", "y", "z"] {
                    experiments.push(under.experiment(&format!("{name}{round}")).await.id);
                }
                let mut runs = Vec::new();
                for (i, draft) in drafts.iter().enumerate() {
                    // Some metrics are in the index, others not yet.
                    if i == drafts.len() / 2 {
                        under.settle().await;
                    }
                    runs.push(under.build(&experiments, draft).await);
                }
                for (filter, order, size, view, chosen) in &searches {
                    let order: Vec<&str> = order.iter().map(String::as_str).collect();
                    let among: Vec<ExperimentId> = experiments
                        .iter()
                        .enumerate()
                        .filter(|(i, _)| chosen & (1 << i) != 0)
                        .map(|(_, id)| *id)
                        .collect();
                    let mut wanted = query(&among, filter, &order, *size);
                    wanted.view = [View::Active, View::Deleted, View::All][usize::from(*view)];
                    let found = under.all(&wanted).await;
                    let right = expected(&runs, &wanted);
                    let ids = |runs: &[&Run]| runs.iter().map(|run| run.id.to_string()).collect::<Vec<_>>();
                    let shown = ids(&found.iter().collect::<Vec<_>>());
                    assert_eq!(
                        shown,
                        ids(&right),
                        "{filter} by {order:?}, pages of {size}, {view}"
                    );
                    for (found, right) in found.iter().zip(right) {
                        assert_eq!(format!("{found:?}"), format!("{right:?}"));
                    }
                }
            }
        })
    })
    .await;
}

#[tokio::test]
async fn a_tag_that_is_taken_away_is_missing_again() {
    on_both(|under| {
        Box::pin(async move {
            let mut runs = Vec::new();
            for i in 0..4 {
                let made = under.create(new_run(ExperimentId::DEFAULT, "n", i)).await;
                under
                    .log(&made.id, batch(vec![], &[], &[("t", &i.to_string())]))
                    .await;
                runs.push(made.id);
            }
            let by_tag = query(&[ExperimentId::DEFAULT], "", &["tags.t"], 3);
            let order = |found: Vec<Run>| found.into_iter().map(|run| run.id).collect::<Vec<_>>();
            assert_eq!(order(under.all(&by_tag).await), runs);
            under
                .store
                .delete_run_tag(write("D"), runs[0].clone(), "t".to_owned())
                .await
                .unwrap();
            runs.rotate_left(1);
            assert_eq!(order(under.all(&by_tag).await), runs);
            let late = under.create(new_run(ExperimentId::DEFAULT, "n", -1)).await;
            runs.push(late.id);
            assert_eq!(order(under.all(&by_tag).await), runs);
        })
    })
    .await;
}

#[tokio::test]
async fn a_position_of_another_shape_is_refused() {
    on_both(|under| {
        Box::pin(async move {
            use lodeway_domain::page::{KeyValue, Position};
            let mut search = query(&[ExperimentId::DEFAULT], "", &["metrics.a"], 3);
            let shapes: [Vec<KeyValue>; 4] = [
                vec![],
                vec![
                    KeyValue::Int(99),
                    KeyValue::Null,
                    KeyValue::Int(0),
                    KeyValue::Text("x".to_owned()),
                ],
                vec![
                    KeyValue::Int(0),
                    KeyValue::Text("x".to_owned()),
                    KeyValue::Int(0),
                    KeyValue::Text("x".to_owned()),
                ],
                vec![
                    KeyValue::Int(0),
                    KeyValue::Null,
                    KeyValue::Int(0),
                    KeyValue::Text("\0".to_owned()),
                ],
            ];
            for shape in shapes {
                search.page.after = Some(Position(shape));
                let refused = under.store.search_runs(&ws(), &search).await.unwrap_err();
                assert_eq!(refused.reason(), Reason::InvalidPageToken);
            }
            assert_eq!(Ordering::Less, 0.cmp(&1));
        })
    })
    .await;
}
