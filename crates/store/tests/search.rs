//! Searches in SQL against the in-memory evaluator, on generated filters, orders and page sizes, on both engines.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{cmp::Ordering, collections::BTreeMap};

use lodeway_domain::{
    Error, Reason,
    filter::{Expr, Field, Lookup, Op, OrderBy, RUNS, Schema, Source, Value, matches},
    float,
    page::{PageLimits, PageRequest, QueryHash},
};
use lodeway_store::{
    args,
    search::{self, Binding, Place, Query, Rows},
    sql::{Arg, Db, DbOptions, StoreUrl},
};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::select,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};

const KEYS: [&str; 3] = ["a", "b", "c d"];
const TEXTS: [&str; 12] = [
    "", "a", "A", "ab", "aXb", "ä", "Ä", "a_b", "a%", "Z", "z\\", "it's",
];
const PATTERNS: [&str; 10] = ["", "%", "a%", "%B", "_", "a_b", "ä", "Ä%", "%\\", "[a-z]%"];
const NUMBERS: [f64; 10] = [
    f64::NEG_INFINITY,
    -1.5,
    -0.0,
    0.0,
    5e-324,
    1.0,
    1.5,
    f64::MAX,
    f64::INFINITY,
    f64::NAN,
];
const INTS: [i64; 5] = [i64::MIN, -1, 0, 1, i64::MAX];

const TABLES: &str = "
    CREATE TABLE runs (id BIGINT PRIMARY KEY, run_id TEXT NOT NULL, name TEXT, user_id TEXT NOT NULL,
                       experiment BIGINT NOT NULL, start_time BIGINT NOT NULL, end_time BIGINT);
    CREATE TABLE latest_metrics (experiment BIGINT NOT NULL, run BIGINT NOT NULL, key BIGINT NOT NULL,
                                 rank BIGINT NOT NULL, sort BIGINT NOT NULL, PRIMARY KEY (run, key));
    CREATE INDEX by_value ON latest_metrics (experiment, key, rank, sort, run);
    CREATE TABLE params (run BIGINT NOT NULL, key BIGINT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run, key));
    CREATE TABLE tags (run BIGINT NOT NULL, key BIGINT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run, key));
    CREATE TABLE inputs (run BIGINT NOT NULL, dataset BIGINT NOT NULL, context TEXT);
    CREATE TABLE datasets (id BIGINT PRIMARY KEY, name TEXT NOT NULL);
";

#[derive(Debug, Clone)]
struct Run {
    id: i64,
    experiment: i64,
    values: BTreeMap<Field, Vec<Value>>,
}

impl Lookup for Run {
    fn values(&self, field: &Field) -> Vec<Value> {
        self.values.get(field).cloned().unwrap_or_default()
    }
}

struct Runs;

impl Binding for Runs {
    fn schema(&self) -> &'static Schema {
        &RUNS
    }

    fn id(&self) -> &str {
        "r.id"
    }

    fn place(&self, field: &Field) -> Place<'_> {
        let (from, value, rank, scope) = match (field.source, field.key.as_str()) {
            (Source::Attribute, "run_id") => return Place::unique("r.run_id"),
            (Source::Attribute, "user_id") => return Place::column("r.user_id"),
            (Source::Attribute, "start_time") => return Place::column("r.start_time"),
            (Source::Attribute, "end_time") => return Place::nullable("r.end_time"),
            (Source::Attribute, "name") => return Place::nullable("r.name"),
            (Source::Attribute, other) => panic!("{other} is not generated"),
            (Source::Metric, _) => (
                "latest_metrics x",
                "x.sort",
                Some("x.rank".into()),
                "x.experiment = $1",
            ),
            (Source::Param, _) => ("params x", "x.value", None, ""),
            (Source::Tag, _) => ("tags x", "x.value", None, ""),
            (Source::Dataset, key) => {
                let value = if key == "name" { "d.name" } else { "x.context" };
                ("(inputs x JOIN datasets d ON d.id = x.dataset)", value, None, "")
            }
        };
        let key = match (field.source, KEYS.iter().position(|k| *k == field.key)) {
            (Source::Dataset, _) => None,
            (_, None) => return Place::Nowhere,
            (_, Some(id)) => Some(("x.key".into(), Arg::Int(i64::try_from(id).unwrap()))),
        };
        Place::Rows(Rows {
            from: from.into(),
            owner: "x.run".into(),
            key,
            value: value.into(),
            rank,
            scope: scope.into(),
            is_complete: false,
        })
    }
}

fn text() -> impl Strategy<Value = Value> {
    select(&TEXTS[..]).prop_map(|t| Value::Text(t.to_owned()))
}

fn field_and_values() -> impl Strategy<Value = (Field, Vec<Value>)> {
    let key = || select(vec!["a", "b", "c d", "nowhere"]);
    let attribute = |names: Vec<&'static str>| select(names).prop_map(|k| Field::new(Source::Attribute, k));
    let keyed = (select(vec![Source::Param, Source::Tag]), key()).prop_map(|(s, k)| Field::new(s, k));
    let dataset = select(vec!["name", "context"]).prop_map(|k| Field::new(Source::Dataset, k));
    prop_oneof![
        (attribute(vec!["run_id", "name", "user_id"]), vec(text(), 1..4)),
        (keyed, vec(text(), 1..4)),
        (dataset, vec(text(), 1..4)),
        (
            attribute(vec!["start_time", "end_time"]),
            vec(select(&INTS[..]).prop_map(Value::Int), 1..4)
        ),
        (
            key().prop_map(|k| Field::new(Source::Metric, k)),
            vec(select(&NUMBERS[..]).prop_map(Value::Number), 1..4)
        ),
    ]
}

fn comparison() -> impl Strategy<Value = Expr> {
    let plain = select(vec![Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge]);
    let pattern = (
        select(vec![Op::Like, Op::NotLike, Op::ILike, Op::NotILike]),
        select(&PATTERNS[..]),
    );
    (field_and_values(), 0..5, plain, pattern, any::<bool>()).prop_map(
        |((field, values), form, op, like, negated)| {
            let value = values[0].clone();
            match form {
                0 => Expr::IsNull { field, negated },
                1 => Expr::In {
                    field,
                    values,
                    negated,
                },
                2 if matches!(value, Value::Text(_)) => Expr::Compare {
                    field,
                    op: like.0,
                    value: Value::Text(like.1.to_owned()),
                },
                _ if op.is_range() && matches!(value, Value::Number(n) if n.is_nan()) => Expr::Compare {
                    field,
                    op: Op::Ne,
                    value,
                },
                _ => Expr::Compare { field, op, value },
            }
        },
    )
}

fn filter() -> impl Strategy<Value = Expr> {
    comparison().prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(Expr::And),
            vec(inner.clone(), 2..4).prop_map(Expr::Or),
            inner.prop_map(|e| Expr::Not(Box::new(e))),
        ]
    })
}

fn order() -> impl Strategy<Value = Vec<OrderBy>> {
    let fields: Vec<Field> = [
        (
            Source::Attribute,
            vec!["run_id", "user_id", "start_time", "end_time", "name"],
        ),
        (Source::Metric, vec!["a", "b", "nowhere"]),
        (Source::Param, vec!["a"]),
        (Source::Tag, vec!["c d", "nowhere"]),
    ]
    .into_iter()
    .flat_map(|(source, keys)| keys.into_iter().map(move |key| Field::new(source, key)))
    .collect();
    vec((select(fields), any::<bool>()), 0..4).prop_map(|terms| {
        let mut order: Vec<OrderBy> = Vec::new();
        for (field, descending) in terms {
            if order.iter().all(|term| term.field != field) {
                order.push(OrderBy { field, descending });
            }
        }
        order
    })
}

fn run(id: i64) -> impl Strategy<Value = Run> {
    let numbers = vec(option::weighted(0.7, select(&NUMBERS[..])), 3);
    let texts = vec(option::weighted(0.6, text()), 8);
    let times = (select(&INTS[..]), option::of(select(&INTS[..])));
    (numbers, texts, times, 1..3_i64, vec(0..4_usize, 0..3)).prop_map(
        move |(numbers, texts, (start, end), experiment, inputs)| {
            let mut values: BTreeMap<Field, Vec<Value>> = BTreeMap::new();
            let mut add = |source, key: &str, value: Option<Value>| {
                if let Some(value) = value {
                    values.entry(Field::new(source, key)).or_default().push(value);
                }
            };
            let user = texts[7].clone().unwrap_or(Value::Text("a".to_owned()));
            add(
                Source::Attribute,
                "run_id",
                Some(Value::Text(format!("{:03}", (id * 37) % 101))),
            );
            add(Source::Attribute, "user_id", Some(user));
            add(Source::Attribute, "name", texts[6].clone());
            add(Source::Attribute, "start_time", Some(Value::Int(start)));
            add(Source::Attribute, "end_time", end.map(Value::Int));
            for (i, key) in KEYS.iter().enumerate() {
                add(Source::Metric, key, numbers[i].map(Value::Number));
                add(Source::Param, key, texts[i].clone());
                add(Source::Tag, key, texts[i + 3].clone());
            }
            for dataset in inputs {
                add(
                    Source::Dataset,
                    "name",
                    Some(Value::Text(TEXTS[dataset].to_owned())),
                );
                add(
                    Source::Dataset,
                    "context",
                    (dataset > 1).then(|| Value::Text(TEXTS[dataset + 3].to_owned())),
                );
            }
            Run {
                id,
                experiment,
                values,
            }
        },
    )
}

fn owned(value: Option<&Value>) -> Arg<'static> {
    match value {
        Some(Value::Text(text)) => Arg::from(text.clone()),
        Some(Value::Int(whole)) => Arg::Int(*whole),
        _ => Arg::Null,
    }
}

/// The rows of a run: statements with their arguments.
fn inserts(run: &Run) -> Vec<(&'static str, Vec<Arg<'static>>)> {
    let one = |source, key: &str| run.values(&Field::new(source, key)).first().cloned();
    let attribute = |key: &str| owned(one(Source::Attribute, key).as_ref());
    let mut rows = vec![(
        "INSERT INTO runs (id, experiment, run_id, name, user_id, start_time, end_time) VALUES ($1,$2,$3,$4,$5,$6,$7)",
        vec![
            Arg::Int(run.id),
            Arg::Int(run.experiment),
            attribute("run_id"),
            attribute("name"),
            attribute("user_id"),
            attribute("start_time"),
            attribute("end_time"),
        ],
    )];
    for (key, id) in KEYS.iter().zip(0_i64..) {
        if let Some(Value::Number(v)) = one(Source::Metric, key) {
            let sql = "INSERT INTO latest_metrics (experiment, run, key, rank, sort) VALUES ($1,$2,$3,$4,$5)";
            let place = args![run.experiment, run.id, id, float::rank(v), float::sort_key(v)];
            rows.push((sql, place.to_vec()));
        }
        for (source, sql) in [
            (
                Source::Param,
                "INSERT INTO params (run, key, value) VALUES ($1,$2,$3)",
            ),
            (
                Source::Tag,
                "INSERT INTO tags (run, key, value) VALUES ($1,$2,$3)",
            ),
        ] {
            if let Some(value) = one(source, key) {
                rows.push((sql, vec![Arg::Int(run.id), Arg::Int(id), owned(Some(&value))]));
            }
        }
    }
    for name in run.values(&Field::new(Source::Dataset, "name")) {
        let dataset = TEXTS
            .iter()
            .position(|t| Value::Text((*t).to_owned()) == name)
            .unwrap();
        let context = (dataset > 1).then(|| TEXTS[dataset + 3]);
        let sql = "INSERT INTO inputs (run, dataset, context) VALUES ($1,$2,$3)";
        rows.push((
            sql,
            args![run.id, i64::try_from(dataset).unwrap(), context].to_vec(),
        ));
    }
    rows
}

async fn fill(db: &Db, runs: &[Run]) {
    let mut rows: Vec<_> = runs.iter().flat_map(inserts).collect();
    for (text, id) in TEXTS.iter().zip(0_i64..) {
        rows.push((
            "INSERT INTO datasets (id, name) VALUES ($1,$2)",
            args![id, *text].to_vec(),
        ));
    }
    db.write_with(rows, |tx, rows| {
        Box::pin(async move {
            tx.execute_script(TABLES).await?;
            for (sql, args) in rows {
                tx.execute(sql, args).await?;
            }
            Ok(())
        })
    })
    .await
    .unwrap();
}

const LIMITS: PageLimits = PageLimits {
    default: 10,
    max: 100,
};

/// All pages, by tokens, as ids.
async fn walk(db: &Db, filter: Option<&Expr>, order: &[OrderBy], size: i32) -> Vec<i64> {
    let query = Query {
        binding: &Runs,
        select: "r.id",
        from: "runs r",
        scope: "r.experiment = $1",
        scope_args: args![1].to_vec(),
        filter,
        order,
    };
    let hash = QueryHash::of(&["test"]);
    let (mut ids, mut token) = (Vec::new(), String::new());
    loop {
        let request = PageRequest::parse(size, &token, LIMITS, hash).unwrap();
        let mut reader = db.read().await.unwrap();
        let page = search::page(&mut reader, &query, &request).await.unwrap();
        assert!(
            page.items.len() == usize::try_from(size).unwrap() || page.next.is_none(),
            "a short page in the middle"
        );
        ids.extend(page.items.iter().map(|row| row.int(0).unwrap()));
        token = page.token(hash);
        if token.is_empty() {
            return ids;
        }
    }
}

fn expected(runs: &[Run], filter: Option<&Expr>, order: &[OrderBy]) -> Vec<i64> {
    let wanted = |run: &&Run| run.experiment == 1 && filter.is_none_or(|f| matches(f, *run));
    let mut found: Vec<&Run> = runs.iter().filter(wanted).collect();
    let descending = order.last().is_some_and(|term| term.descending);
    found.sort_by(|a, b| {
        let tie = if descending {
            b.id.cmp(&a.id)
        } else {
            a.id.cmp(&b.id)
        };
        OrderBy::compare(order, *a, *b).then(tie)
    });
    debug_assert!(found.windows(2).all(|w| w[0].id.cmp(&w[1].id) != Ordering::Equal));
    found.iter().map(|run| run.id).collect()
}

fn agrees_with_memory(url: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let mut runner = TestRunner::deterministic();
    let runs: Vec<Run> = (1..60)
        .map(|id| run(id).new_tree(&mut runner).unwrap().current())
        .collect();
    let db = runtime.block_on(async {
        let db = Db::open(&StoreUrl::parse(url).unwrap(), "public", DbOptions::default())
            .await
            .unwrap();
        fill(&db, &runs).await;
        db
    });
    let mut runner = TestRunner::new(Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    });
    let case = (option::weighted(0.8, filter()), order(), 1..9_i32);
    runner
        .run(&case, |(filter, order, size)| {
            // The text is what callers send, so the compiled form is that of the parsed text.
            let parsed = filter
                .as_ref()
                .map(|f| Expr::parse(&f.to_string(), &RUNS).unwrap().unwrap());
            let found = runtime.block_on(walk(&db, parsed.as_ref(), &order, size));
            prop_assert_eq!(
                found,
                expected(&runs, filter.as_ref(), &order),
                "{:?}",
                filter.map(|f| f.to_string())
            );
            Ok(())
        })
        .unwrap();
    runtime.block_on(db.close());
}

#[test]
fn sqlite_agrees_with_memory() {
    let folder = tempfile::tempdir().unwrap();
    agrees_with_memory(&format!("sqlite://{}", folder.path().join("search.db").display()));
}

#[test]
fn postgres_agrees_with_memory() {
    agrees_with_memory(&lodeway_testkit::postgres::database().unwrap());
}

#[tokio::test]
async fn a_forged_position_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("search.db").display());
    let db = Db::open(&StoreUrl::parse(&url).unwrap(), "tracking", DbOptions::default())
        .await
        .unwrap();
    fill(&db, &[]).await;
    let order = OrderBy::parse_list(&["name", "metrics.a"], &RUNS).unwrap();
    let query = Query {
        binding: &Runs,
        select: "r.id",
        from: "runs r",
        scope: "TRUE",
        scope_args: Vec::new(),
        filter: None,
        order: &order,
    };
    use lodeway_domain::page::{KeyValue, Position};
    for keys in [
        vec![],
        vec![KeyValue::Int(77)],
        vec![KeyValue::Int(0)],
        vec![KeyValue::Text("0".into()), KeyValue::Int(1)],
        vec![
            KeyValue::Int(0),
            KeyValue::Int(1),
            KeyValue::Int(0),
            KeyValue::Int(0),
            KeyValue::Int(0),
        ],
        vec![KeyValue::Int(4), KeyValue::Null],
    ] {
        let hash = QueryHash::of(&[]);
        let request = PageRequest {
            after: Some(Position(keys.clone())),
            ..PageRequest::first(5, hash)
        };
        let mut reader = db.read().await.unwrap();
        let outcome: Result<_, Error> = search::page(&mut reader, &query, &request).await;
        assert_eq!(
            outcome.err().map(|e| e.reason()),
            Some(Reason::InvalidPageToken),
            "{keys:?}"
        );
    }
    db.close().await;
}
