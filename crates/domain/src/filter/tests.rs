//! Grammar, meaning, and the laws that hold for every filter.

use std::collections::BTreeMap;

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::{Error, Reason};

fn parse(text: &str) -> Expr {
    Expr::parse(text, &RUNS).unwrap().unwrap()
}

fn refusal(text: &str) -> String {
    match Expr::parse(text, &RUNS) {
        Err(Error::Invalid(violations)) => {
            assert_eq!(violations.len(), 1);
            assert_eq!(
                (violations[0].field.as_str(), violations[0].reason),
                ("filter", Reason::InvalidFilter)
            );
            violations[0].description.clone()
        }
        other => panic!("`{text}` gave {other:?}"),
    }
}

#[test]
fn blank_is_no_filter() {
    assert_eq!(Expr::parse("", &RUNS).unwrap(), None);
    assert_eq!(Expr::parse(" \n\t", &RUNS).unwrap(), None);
}

#[test]
fn one_form_for_many_spellings() {
    for (text, rendered) in [
        (
            "metrics.loss<0.2 and tags.team = \"a\"",
            "metrics.loss < 0.2 AND tags.team = 'a'",
        ),
        ("metric.loss >= 1", "metrics.loss >= 1.0"),
        (
            "parameter.lr = '0.1' or parameters.lr = '1'",
            "params.lr = '0.1' OR params.lr = '1'",
        ),
        ("attr.status <> 'FAILED'", "status != 'FAILED'"),
        ("run.run_name like 'a%'", "name LIKE 'a%'"),
        ("attributes.`name` not ilike 'A_'", "name NOT ILIKE 'A_'"),
        ("created > 1.5e12", "start_time > 1500000000000"),
        ("start_time > '1970-01-01T00:00:01Z'", "start_time > 1000"),
        ("experiment_id in ('0', 7)", "experiment_id IN (0, 7)"),
        ("run_id NOT IN ('a','b')", "run_id NOT IN ('a', 'b')"),
        (
            "end_time is null and dataset.name is not null",
            "end_time IS NULL AND datasets.name IS NOT NULL",
        ),
        ("metrics.`a b``c` = -Infinity", "metrics.`a b``c` = -Infinity"),
        ("metrics.\"sys/cpu-0.x\" != nan", "metrics.sys/cpu-0.x != NaN"),
        (
            "tags.\"mlflow.source.type\" = 'it''s'",
            "tags.mlflow.source.type = 'it''s'",
        ),
        (
            "tags.a = 'x' and (tags.b = 'y' or not tags.c = 'z')",
            "tags.a = 'x' AND (tags.b = 'y' OR NOT tags.c = 'z')",
        ),
        ("((tags.a='x'))and(tags.b='y')", "tags.a = 'x' AND tags.b = 'y'"),
        (
            "not (tags.a='x' AND tags.b='y')",
            "NOT (tags.a = 'x' AND tags.b = 'y')",
        ),
    ] {
        assert_eq!(parse(text).to_string(), rendered, "{text}");
        assert_eq!(parse(rendered).to_string(), rendered, "{text}");
    }
}

#[test]
fn not_binds_closer_than_and_and_and_closer_than_or() {
    assert_eq!(
        parse("NOT tags.a='1' AND tags.b='2' OR tags.c='3'"),
        parse("((NOT tags.a='1') AND tags.b='2') OR tags.c='3'")
    );
    assert_ne!(
        parse("tags.a='1' AND (tags.b='2' OR tags.c='3')"),
        parse("tags.a='1' AND tags.b='2' OR tags.c='3'")
    );
}

#[test]
fn whole_numbers_stay_exact() {
    let Expr::Compare { value, .. } = parse("start_time = 9223372036854775807") else {
        panic!()
    };
    assert_eq!(value, Value::Int(i64::MAX));
}

#[test]
fn refusals_point_at_the_place() {
    for (text, start) in [
        (
            "metrics.loss <",
            "at position 15: expected a value after `<`, found the end",
        ),
        (
            "metrics.loss < 'a'",
            "at position 16: expected a number for `metrics.loss`, found the text `a`",
        ),
        (
            "tags.ü = 1",
            "at position 10: expected a quoted text for `tags.ü`, found the number `1`",
        ),
        ("metrics.loss", "at position 13: expected an operator"),
        (
            "metrics.loss = 1 tags.a = 'b'",
            "at position 18: expected AND, OR or the end of the filter, found `tags.a`",
        ),
        (
            "metrics.loss = 1 AND",
            "at position 21: expected a field, found the end",
        ),
        (
            "(metrics.loss = 1",
            "at position 18: expected AND, OR or `)`, found the end",
        ),
        ("metrics.loss = 1)", "at position 17: expected AND, OR or the end"),
        (
            "banana = 1",
            "at position 1: unknown field `banana` of run; expected one of `metrics.…`",
        ),
        (
            "fruit.banana = 1",
            "at position 1: unknown field `fruit.banana` of run",
        ),
        ("metrics. = 1", "at position 1: expected a key after `metrics.`"),
        ("metrics.`` = 1", "at position 1: expected a key after `metrics.`"),
        (
            "datasets.size = 'a'",
            "at position 1: expected `datasets.name`, `datasets.digest` or `datasets.context`",
        ),
        (
            "metrics.a LIKE 'x'",
            "at position 11: `metrics.a` cannot be compared by LIKE",
        ),
        (
            "start_time > 'yesterday'",
            "at position 14: expected milliseconds since the epoch",
        ),
        (
            "start_time > 1.5",
            "at position 14: expected milliseconds since the epoch",
        ),
        (
            "experiment_id = 99999999999999999999",
            "at position 17: expected a whole number",
        ),
        (
            "metrics.a = 1e999",
            "at position 13: `1e999` does not fit a double",
        ),
        ("metrics.a = 12x", "at position 13: `12x` is not a number"),
        ("metrics.a < NaN", "at position 13: NaN has no order"),
        (
            "tags.a = 'x",
            "at position 10: the text that begins here is not closed",
        ),
        (
            "tags.a = 'x\0'",
            "at position 12: the character NUL is not allowed",
        ),
        (
            "tags.`\0` = 'x'",
            "at position 7: the character NUL is not allowed",
        ),
        ("tags.a ; drop", "at position 8: unexpected character ';'"),
        ("tags.a ! 'x'", "at position 8: unexpected character '!'"),
        (
            "tags.a NOT = 'x'",
            "at position 12: expected LIKE, ILIKE or IN after NOT",
        ),
        ("tags.a IN 'x'", "at position 11: expected `(` after IN"),
        (
            "tags.a IN ()",
            "at position 12: expected a value after `(`, found `)`",
        ),
        ("tags.a IN ('x',)", "at position 16: expected a value after `,`"),
        ("tags.a IN ('x' 'y')", "at position 16: expected `,` or `)`"),
        ("tags.a IS 'x'", "at position 11: expected NULL"),
        (
            "'a' = tags.a",
            "at position 1: expected a field, found the text `a`",
        ),
        (
            "status = TRUE",
            "at position 10: expected a quoted text for `status`",
        ),
    ] {
        let description = refusal(text);
        assert!(description.starts_with(start), "{text}: {description}");
    }
    let other = Expr::parse("metrics.a = 1", &EXPERIMENTS)
        .unwrap_err()
        .to_string();
    assert!(
        other.contains("unknown field `metrics.a` of experiment"),
        "{other}"
    );
}

#[test]
fn bounds_hold() {
    let clauses = |n| vec!["tags.a = 'x'"; n].join(" AND ");
    assert!(Expr::parse(&clauses(MAX_CLAUSES), &RUNS).is_ok());
    assert!(refusal(&clauses(MAX_CLAUSES + 1)).contains("more than 200 comparisons"));
    let nested = |n: usize| format!("{}tags.a = 'x'{}", "(".repeat(n), ")".repeat(n));
    assert!(Expr::parse(&nested(MAX_DEPTH), &RUNS).is_ok());
    assert!(refusal(&nested(MAX_DEPTH + 1)).starts_with("at position 34: nests deeper than 32"));
    assert!(refusal(&"(".repeat(60_000)).contains("nests deeper"));
    assert!(refusal(&"NOT ".repeat(16_000)).contains("nests deeper"));
    assert!(refusal(&" ".repeat(MAX_BYTES + 1)).contains("at most 65536 are allowed"));
    assert!(
        refusal(&format!("tags.a IN ('x'{})", ",'y'".repeat(MAX_VALUES))).contains("more than 2000 values")
    );
    assert!(refusal(&format!("tags.a LIKE '{}'", "%a".repeat(MAX_PATTERN_BYTES))).contains("4096 bytes"));
}

#[test]
fn like_follows_its_rule() {
    for (text, pattern, expected) in [
        ("", "", true),
        ("", "%", true),
        ("", "_", false),
        ("abc", "abc", true),
        ("abc", "ABC", false),
        ("abc", "a%", true),
        ("abc", "%c", true),
        ("abc", "%b%", true),
        ("abc", "_b_", true),
        ("abc", "__", false),
        ("aXbXc", "a%X%c", true),
        ("aab", "%ab", true),
        ("über", "_ber", true),
        ("a\\%", "a\\%", true),
        ("a[b]*?", "a[b]*?", true),
        ("abb", "a[b]*", false),
        ("a\nb", "a_b", true),
        ("mississippi", "%iss%ip_i", true),
    ] {
        assert_eq!(like(text, pattern), expected, "{text} LIKE {pattern}");
    }
    assert!(!like(
        &"a".repeat(5_000),
        &"%a".repeat(500).replace("%a", "%aa%b")
    ));
}

#[test]
fn orders_parse_and_refuse() {
    let terms = OrderBy::parse_list(&["metrics.`a b` desc", "start_time", "tags.x ASC"], &RUNS).unwrap();
    assert_eq!(
        terms[0],
        OrderBy {
            field: Field::new(Source::Metric, "a b"),
            descending: true
        }
    );
    assert_eq!(
        terms[1],
        OrderBy {
            field: Field::new(Source::Attribute, "start_time"),
            descending: false
        }
    );
    assert!(!terms[2].descending);
    for (items, field, start) in [
        (
            &["start_time", "run.created DESC"][..],
            "order_by[1]",
            "at position 1: `start_time` is already ordered by",
        ),
        (
            &["start_time DOWN"],
            "order_by[0]",
            "at position 12: expected ASC, DESC or the end, found `DOWN`",
        ),
        (
            &[""],
            "order_by[0]",
            "at position 1: expected a field, found the end",
        ),
        (
            &["datasets.name"],
            "order_by[0]",
            "at position 1: `datasets.name` can have several values",
        ),
        (
            &["banana"],
            "order_by[0]",
            "at position 1: unknown field `banana` of run",
        ),
    ] {
        let Err(Error::Invalid(violations)) = OrderBy::parse_list(items, &RUNS) else {
            panic!("{items:?}")
        };
        assert_eq!(
            (violations[0].field.as_str(), violations[0].reason),
            (field, Reason::InvalidOrder)
        );
        assert!(
            violations[0].description.starts_with(start),
            "{}",
            violations[0].description
        );
    }
    assert!(OrderBy::parse_list(&["alias"], &MODEL_VERSIONS).is_err());
}

#[test]
fn projections_parse() {
    let everything = Projection::parse::<&str>(&[], &RUNS).unwrap();
    assert_eq!(everything, Projection::everything());
    let some = Projection::parse(&["run.created", "metrics.loss", "params.*", "tags.`*`"], &RUNS).unwrap();
    assert!(some.attributes.contains("start_time") && !some.attributes.contains("status"));
    assert!(some.metrics.contains("loss") && !some.metrics.contains("acc"));
    assert_eq!(some.params, Keys::All);
    assert!(some.tags.contains("*") && !some.tags.contains("a") && !some.datasets);
    assert!(
        Projection::parse(&["metrics", "datasets.name"], &RUNS)
            .unwrap()
            .datasets
    );
    assert!(Projection::parse(&["metrics"], &EXPERIMENTS).is_err());
    assert!(
        Projection::parse(&["status x"], &RUNS)
            .unwrap_err()
            .to_string()
            .contains("columns[0]")
    );
}

/// An entity as a map; several values only for datasets.
#[derive(Debug, Clone, Default)]
struct Entity(BTreeMap<Field, Vec<Value>>);

impl Lookup for Entity {
    fn values(&self, field: &Field) -> Vec<Value> {
        self.0.get(field).cloned().unwrap_or_default()
    }
}

fn entity(fields: &[(Source, &str, Value)]) -> Entity {
    let mut map: BTreeMap<Field, Vec<Value>> = BTreeMap::new();
    for (source, key, value) in fields {
        map.entry(Field::new(*source, *key))
            .or_default()
            .push(value.clone());
    }
    Entity(map)
}

#[test]
fn words_of_a_closed_list_are_known_or_refused() {
    let read = |text: &str, schema| Expr::parse(text, schema).unwrap().unwrap().to_string();
    for (text, schema, stored) in [
        ("status = 'RUNNING'", &RUNS, "status = 'RUNNING'"),
        ("status = 'Running'", &RUNS, "status = 'RUNNING'"),
        (
            "status NOT IN ('failed', 'KILLED')",
            &RUNS,
            "status NOT IN ('FAILED', 'KILLED')",
        ),
        (
            "lifecycle_stage != 'Deleted'",
            &RUNS,
            "lifecycle_stage != 'deleted'",
        ),
        (
            "lifecycle_stage = 'Active'",
            &EXPERIMENTS,
            "lifecycle_stage = 'active'",
        ),
        (
            "current_stage = 'production'",
            &MODEL_VERSIONS,
            "stage = 'Production'",
        ),
        (
            "status = 'PENDING'",
            &MODEL_VERSIONS,
            "status = 'PENDING_REGISTRATION'",
        ),
        (
            "status = 'ready'",
            &LOGGED_MODELS,
            "status = 'LOGGED_MODEL_READY'",
        ),
        // As a text it is like others.
        ("status LIKE 'run%'", &RUNS, "status LIKE 'run%'"),
        ("status < 'x'", &RUNS, "status < 'x'"),
        ("tags.status = 'Runing'", &RUNS, "tags.status = 'Runing'"),
    ] {
        assert_eq!(read(text, schema), stored);
        assert_eq!(read(stored, schema), stored, "what is printed reads the same");
    }
    let known = "expected one of `RUNNING`, `SCHEDULED`, `FINISHED`, `FAILED`, `KILLED`";
    assert_eq!(
        refusal("status = 'Runing'"),
        format!("at position 10: `Runing` is no `status` of runs; {known}")
    );
    assert_eq!(
        refusal("status IN ('RUNNING', '')"),
        format!("at position 23: `` is no `status` of runs; {known}")
    );
    assert_eq!(
        Expr::parse("stage != 'Prodction'", &MODEL_VERSIONS)
            .unwrap_err()
            .to_string(),
        "`filter`: at position 10: `Prodction` is no `stage` of model versions; expected one of `None`, `Staging`, \
         `Production`, `Archived`"
    );
}

#[test]
fn missing_and_nan_follow_their_rules() {
    let run = entity(&[
        (Source::Metric, "loss", Value::Number(f64::NAN)),
        (Source::Metric, "zero", Value::Number(-0.0)),
        (Source::Tag, "team", Value::Text("Ä b".into())),
        (Source::Dataset, "name", Value::Text("train".into())),
        (Source::Dataset, "name", Value::Text("eval".into())),
        (Source::Attribute, "start_time", Value::Int(5)),
    ]);
    for (text, expected) in [
        ("tags.none = 'x'", false),
        ("tags.none != 'x'", false),
        ("NOT tags.none = 'x'", true),
        ("tags.none NOT LIKE 'x'", false),
        ("tags.none NOT IN ('x')", false),
        ("tags.none IS NULL", true),
        ("tags.team IS NOT NULL", true),
        ("metrics.loss = NaN", true),
        ("metrics.loss != 1", true),
        ("metrics.loss < 1", false),
        ("metrics.loss >= 1", false),
        ("NOT metrics.loss < 1", true),
        ("metrics.loss IN (1, NaN)", true),
        ("metrics.zero = 0", true),
        ("metrics.zero < 0", false),
        ("metrics.zero >= 0.0", true),
        ("tags.team ILIKE 'Ä B'", true),
        ("tags.team ILIKE 'ä b'", false),
        ("tags.team LIKE 'Ä B'", false),
        ("datasets.name = 'eval'", true),
        ("datasets.name != 'eval'", true),
        ("NOT datasets.name = 'eval'", false),
        ("start_time <= 5 AND end_time IS NULL", true),
    ] {
        assert_eq!(matches(&parse(text), &run), expected, "{text}");
    }
}

#[test]
fn missing_is_last_and_nan_before_it_in_both_directions() {
    let metric = |v| entity(&[(Source::Metric, "m", Value::Number(v))]);
    for (term, ascending) in [("metrics.m", true), ("metrics.m DESC", false)] {
        let terms = OrderBy::parse_list(&[term], &RUNS).unwrap();
        let mut runs = [
            Entity::default(),
            metric(f64::NAN),
            metric(1.0),
            metric(f64::INFINITY),
            metric(-2.0),
        ];
        runs.sort_by(|a, b| OrderBy::compare(&terms, a, b));
        let shown = runs.iter().map(|r| {
            r.values(&Field::new(Source::Metric, "m"))
                .first()
                .map(ToString::to_string)
        });
        let numbers = if ascending {
            ["-2.0", "1.0", "Infinity"]
        } else {
            ["Infinity", "1.0", "-2.0"]
        };
        let expected: Vec<_> = numbers
            .into_iter()
            .chain(["NaN"])
            .map(|s| Some(s.to_owned()))
            .chain([None])
            .collect();
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec!["a", "b", "AND", "x.y/z-0"]).prop_map(str::to_owned),
        "[^\0]{1,6}"
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec!["", "a", "A", "ab", "%", "a_", "it's"]).prop_map(str::to_owned),
        "[^\0]{0,6}"
    ]
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        select(vec![0.0, -0.0, 1.0, -1.5, f64::INFINITY, f64::NEG_INFINITY]),
        any::<f64>()
    ]
}

fn comparison() -> impl Strategy<Value = Expr> {
    let texts = (select(vec![Source::Param, Source::Tag]), key()).prop_map(|(s, k)| Field::new(s, k));
    let names = select(vec!["artifact_uri", "run_id"]).prop_map(|k| Field::new(Source::Attribute, k));
    let times = select(vec!["start_time", "end_time"]).prop_map(|k| Field::new(Source::Attribute, k));
    let datasets = select(vec!["name", "context"]).prop_map(|k| Field::new(Source::Dataset, k));
    let metrics = key().prop_map(|k| Field::new(Source::Metric, k));
    let field = prop_oneof![
        (
            prop_oneof![texts, names, datasets],
            vec(text().prop_map(Value::Text), 1..4)
        ),
        (times, vec((-3..3_i64).prop_map(Value::Int), 1..4)),
        (metrics, vec(number().prop_map(Value::Number), 1..4)),
    ];
    let op = select(vec![
        Op::Eq,
        Op::Ne,
        Op::Lt,
        Op::Le,
        Op::Gt,
        Op::Ge,
        Op::Like,
        Op::NotLike,
        Op::ILike,
        Op::NotILike,
    ]);
    (field, option::of(op), any::<(bool, bool)>()).prop_map(|((field, values), op, (negated, null))| match op
    {
        None if null => Expr::IsNull { field, negated },
        None => Expr::In {
            field,
            values,
            negated,
        },
        Some(op) => {
            let value = values[0].clone();
            let nan = matches!(value, Value::Number(n) if n.is_nan());
            let fits = matches!(value, Value::Text(_)) || !(op.is_pattern() || nan && op.is_range());
            Expr::Compare {
                field,
                op: if fits { op } else { Op::Eq },
                value,
            }
        }
    })
}

fn expr() -> impl Strategy<Value = Expr> {
    comparison().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(Expr::And),
            vec(inner.clone(), 2..4).prop_map(Expr::Or),
            inner.prop_map(|e| Expr::Not(Box::new(e))),
        ]
    })
}

/// An entity that has some of the fields the expression names, often with the value named.
fn entity_for(expr: &Expr, seed: u64) -> Entity {
    let (mut map, mut state) = (BTreeMap::new(), seed);
    expr.for_each_field(&mut |field| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let pick = usize::try_from(state >> 40).unwrap();
        let value = match (field.source, field.key.as_str()) {
            (Source::Metric, _) => Value::Number([0.0, -0.0, 1.0, f64::NAN, f64::NEG_INFINITY][pick % 5]),
            (Source::Attribute, "start_time" | "end_time") => Value::Int([-1, 0, 1, 2][pick % 4]),
            _ => Value::Text(["", "a", "A", "ab", "it's"][pick % 5].to_owned()),
        };
        if pick % 7 > 1 {
            map.insert(field.clone(), vec![value]);
        }
    });
    Entity(map)
}

proptest! {
    #[test]
    fn rendered_text_parses_to_the_same(expr in expr()) {
        let text = expr.to_string();
        let again = Expr::parse(&text, &RUNS).unwrap().unwrap();
        // Debug, because NaN differs from itself.
        prop_assert_eq!(format!("{again:?}"), format!("{expr:?}"), "{}", text);
    }

    #[test]
    fn nothing_panics(text in "\\PC{0,80}") {
        for schema in [&RUNS, &EXPERIMENTS, &MODEL_VERSIONS] {
            if let Ok(Some(expr)) = Expr::parse(&text, schema) {
                prop_assert!(Expr::parse(&expr.to_string(), schema).is_ok());
            }
            if let Ok(terms) = OrderBy::parse_list(&[&text], schema) {
                prop_assert_eq!(terms.len(), 1);
            }
            if let Ok(wanted) = Projection::parse(&[&text], schema) {
                // A star asks for everything; nothing else can ask for a column without a name.
                prop_assert!(wanted.attributes == Keys::All || !wanted.attributes.contains(""));
            }
        }
    }

    #[test]
    fn token_soup_parses_or_points(words in vec(select(vec![
        "metrics.a", "tags.`b c`", "status", "start_time", "(", ")", "NOT", "AND", "or", "=", "!=", "<=", "LIKE", "IN", ",",
        "IS", "NULL", "'x'", "\"y\"", "1", "-2.5e3", "NaN", "'", "`", "true",
    ]), 0..12)) {
        let text = words.join(" ");
        match Expr::parse(&text, &RUNS) {
            Ok(Some(expr)) => {
                let rendered = expr.to_string();
                prop_assert_eq!(Expr::parse(&rendered, &RUNS).unwrap().unwrap().to_string(), rendered);
            }
            Ok(None) => prop_assert!(text.is_empty()),
            Err(error) => prop_assert!(error.to_string().contains("at position "), "{}", error),
        }
    }

    #[test]
    fn laws_of_logic_hold(a in expr(), b in expr(), seed: u64) {
        let both = Expr::And(vec![a.clone(), b.clone()]);
        let run = entity_for(&both, seed);
        let not = |e: Expr| Expr::Not(Box::new(e));
        prop_assert_eq!(matches(&not(a.clone()), &run), !matches(&a, &run));
        let either = Expr::Or(vec![not(a.clone()), not(b.clone())]);
        prop_assert_eq!(matches(&not(both), &run), matches(&either, &run));
        prop_assert_eq!(matches(&a.clone().and(b.clone()), &run), matches(&a, &run) && matches(&b, &run));
    }

    #[test]
    fn a_comparison_and_its_opposite_cover_what_is_there(c in comparison(), seed: u64) {
        let run = entity_for(&c, seed);
        let opposite = match c.clone() {
            Expr::In { field, values, negated } => Expr::In { field, values, negated: !negated },
            Expr::IsNull { field, negated } => Expr::IsNull { field, negated: !negated },
            Expr::Compare { field, op, value } => {
                let op = match op {
                    Op::Eq => Op::Ne,
                    Op::Ne => Op::Eq,
                    Op::Like => Op::NotLike,
                    Op::NotLike => Op::Like,
                    Op::ILike => Op::NotILike,
                    Op::NotILike => Op::ILike,
                    _ => return Ok(()),
                };
                Expr::Compare { field, op, value }
            }
            other => other,
        };
        let mut missing = false;
        c.for_each_field(&mut |field| missing = run.values(field).is_empty());
        let (left, right) = (matches(&c, &run), matches(&opposite, &run));
        if missing && !matches!(c, Expr::IsNull { .. }) {
            prop_assert!(!left && !right);
        } else {
            prop_assert_ne!(left, right);
        }
    }

    #[test]
    fn like_agrees_with_plain_string_search(text in "[ab]{0,8}", part in "[ab]{0,3}") {
        prop_assert_eq!(like(&text, &format!("%{part}%")), text.contains(&part));
        prop_assert_eq!(like(&text, &format!("{part}%")), text.starts_with(&part));
        prop_assert_eq!(like(&text, &format!("%{part}")), text.ends_with(&part));
        prop_assert_eq!(like(&text, &part), text == part);
    }
}
