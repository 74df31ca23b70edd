//! Two predictions of more rows than are held: the same as of rows that are.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails it")]

use std::collections::BTreeMap;

use lodeway_metrics::Random;
use lodeway_scorers::{BadRows, Comparator, Compared, Plan, PlanOptions, Probability, Roles};
use lodeway_tables::{Batch, Column, Type, Values};

fn doubles(name: &str, values: Vec<f64>, nulls: Option<Vec<bool>>) -> Column {
    Column::new(name, Type::Float64, Values::Double(values), nulls).unwrap()
}

fn ints(name: &str, values: Vec<i64>) -> Column {
    Column::new(name, Type::Int64, Values::Int(values), None).unwrap()
}

/// Two classifiers and two regressions, the second a little worse; every 97th row has no second probability.
fn rows(from: u64, to: u64) -> Batch {
    let mut random = Random::new(11, from);
    let (mut y, mut a, mut b) = (Vec::new(), Vec::new(), Vec::new());
    let (mut p, mut q, mut t, mut u, mut v) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in from..to {
        let truth = random.unit();
        let noise = |random: &mut Random| random.unit() + random.unit() - 1.0;
        let label = i64::from(truth + 0.3 * noise(&mut random) > 0.5);
        let first = (truth + 0.2 * noise(&mut random)).clamp(0.01, 0.99);
        let second = (truth + 0.3 * noise(&mut random)).clamp(0.01, 0.99);
        y.push(label);
        a.push(i64::from(first > 0.5));
        b.push(i64::from(second > 0.5));
        t.push(10.0 * truth);
        u.push(10.0 * first);
        v.push(10.0 * second);
        p.push(first);
        q.push(second);
    }
    let nulls = (from..to).map(|row| row % 97 == 0).collect();
    Batch::new(vec![
        ints("y", y),
        ints("a", a),
        ints("b", b),
        doubles("p", p, None),
        doubles("q", q, Some(nulls)),
        doubles("t", t, None),
        doubles("u", u, None),
        doubles("v", v, None),
    ])
    .unwrap()
}

fn compare(target: &str, models: [(&str, Option<&str>); 2], held: usize) -> BTreeMap<String, Compared> {
    let probability = |column: Option<&str>| {
        let one = |column: &str| Probability {
            class: None,
            column: column.to_owned(),
        };
        column.map(one).into_iter().collect::<Vec<_>>()
    };
    let [(first, p), (second, q)] = models;
    let plan = Plan {
        roles: Roles {
            target: Some(target.to_owned()),
            prediction: Some(first.to_owned()),
            probabilities: probability(p),
            ..Roles::default()
        },
        options: PlanOptions {
            bad_rows: BadRows::Skip,
            replicates: 300,
            ..PlanOptions::default()
        },
        ..Plan::default()
    };
    let schema = rows(0, 1).schema();
    let comparator = Comparator::new(&plan, Some(second.to_owned()), probability(q), &schema);
    let mut comparator = comparator.unwrap().hold(held);
    for from in (0..40_000).step_by(5_000) {
        comparator.push(&rows(from, from + 5_000)).unwrap();
    }
    comparator.finish().unwrap()
}

#[test]
fn rows_beyond_those_held_are_compared_as_those() {
    let tasks = [
        ("y", [("a", Some("p")), ("b", Some("q"))]),
        ("t", [("u", None), ("v", None)]),
    ];
    for (target, models) in tasks {
        let held = compare(target, models, 1_000_000);
        let grouped = compare(target, models, 7_000);
        assert_eq!(
            held.keys().collect::<Vec<_>>(),
            grouped.keys().collect::<Vec<_>>()
        );
        assert!(held.len() > 8);
        for (name, one) in &held {
            let other = &grouped[name];
            assert!(
                (one.first - other.first).abs() < 1e-9,
                "{name}: {one:?} {other:?}"
            );
            assert!(
                (one.second - other.second).abs() < 1e-9,
                "{name}: {one:?} {other:?}"
            );
            if name == "max_error" {
                assert!(other.low.is_nan() && other.p_value.is_nan());
                continue;
            }
            // 64 groups and 300 resamples know the standard error to about a tenth each.
            let ratio = (other.high - other.low) / (one.high - one.low);
            assert!((0.65..1.5).contains(&ratio), "{name}: {ratio} {one:?} {other:?}");
            assert!(other.low < other.difference && other.difference < other.high);
        }
        if target == "y" {
            assert_eq!(held["accuracy"].p_value, grouped["accuracy"].p_value);
            assert_eq!(grouped["accuracy"].test, "mcnemar");
            assert_eq!(
                (
                    grouped["roc_auc"].test.as_str(),
                    grouped["roc_auc"].method.as_str()
                ),
                ("random_groups", "random_groups")
            );
            assert!(grouped["roc_auc"].p_value < 1e-6 && grouped["roc_auc"].low > 0.0);
        } else {
            assert!(grouped["rmse"].high < 0.0 && grouped["rmse"].p_value < 1e-6);
        }
    }
}

#[test]
fn a_model_beside_itself_does_not_differ() {
    let compared = compare("y", [("a", Some("p")), ("a", Some("p"))], 7_000);
    for (name, one) in &compared {
        assert_eq!((one.difference, one.first), (0.0, one.second), "{name}");
        assert!(one.p_value.is_nan() || one.p_value == 1.0, "{name}: {one:?}");
    }
}
