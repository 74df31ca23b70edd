//! What each part counts, says and refuses.

use std::time::Duration;

use super::*;
use crate::{
    serving::{EndpointKey, PredictionFields, PredictionId, PredictionKey},
    time::Timestamp,
};

/// The id of some answer; ids are in the order of their numbers.
pub(super) fn id(number: u64) -> PredictionId {
    let fields = PredictionFields {
        endpoint: EndpointKey::new(1),
        revision: 1,
        target: 0,
        time: Timestamp::from_millis(1_000),
        sequence: number,
    };
    PredictionId::mint(&PredictionKey::new(1, &[7; 32]), &fields)
}

pub(super) fn distribution<'a, T: Into<Value<'a>>>(values: impl IntoIterator<Item = T>) -> Distribution {
    let mut distribution = Distribution::default();
    values
        .into_iter()
        .for_each(|value| distribution.add(value.into()));
    distribution
}

fn categories(distribution: &Distribution) -> Vec<(String, u64)> {
    distribution.summary().categories.into_iter().collect()
}

fn named<const N: usize>(categories: [(&str, u64); N]) -> Vec<(String, u64)> {
    categories.map(|(name, count)| (name.to_owned(), count)).to_vec()
}

#[test]
fn numbers_have_figures() {
    let mut numbers = distribution([1.5, 2.5, 3.5, 4.5]);
    numbers.add_missing();
    numbers.add_number(f64::NAN);
    let summary = numbers.summary();
    assert_eq!((summary.count, summary.missing), (6, 2));
    assert_eq!(
        (summary.mean, summary.min, summary.max),
        (Some(3.0), Some(1.5), Some(4.5))
    );
    assert_eq!(summary.standard_deviation, Some(1.25_f64.sqrt()));
    assert_eq!(summary.quantiles, [1.5, 1.5, 1.5, 2.5, 3.5, 4.5, 4.5]);
    assert!(summary.categories.is_empty());
}

#[test]
fn nothing_has_no_figures() {
    let empty = Distribution::default();
    let summary = empty.summary();
    assert!(empty.is_empty() && summary.quantiles.is_empty() && summary.categories.is_empty());
    assert_eq!(
        (summary.count, summary.mean, summary.standard_deviation),
        (0, None, None)
    );
    let missing = distribution([None::<f64>]);
    assert_eq!(
        (missing.is_empty(), missing.missing(), missing.count()),
        (false, 1, 1)
    );
}

#[test]
fn classes_are_categories_as_texts_flags_or_whole_numbers() {
    assert_eq!(
        categories(&distribution(["b", "a", "b"])),
        named([("a", 1), ("b", 2)])
    );
    assert_eq!(
        categories(&distribution([true, false, true])),
        named([("false", 1), ("true", 2)])
    );
    assert_eq!(
        categories(&distribution([2_i64, -1, 2])),
        named([("-1", 1), ("2", 2)])
    );
    assert_eq!(
        categories(&distribution([0.0, 1.0, 0.0])),
        named([("0", 2), ("1", 1)])
    );
    let mixed = [Value::Text("1"), Value::Whole(1), Value::Missing];
    assert_eq!(categories(&distribution(mixed)), named([("1", 2)]));
}

#[test]
fn measurements_are_no_categories() {
    assert!(categories(&distribution([1.0, 0.5, 1.0])).is_empty());
    assert!(categories(&distribution(0..1_000_i64)).is_empty());
    let large = distribution([i64::MAX, i64::MIN]);
    assert_eq!(large.summary().categories[&i64::MAX.to_string()], 1);
}

#[test]
fn free_text_is_not_shown() {
    let sentences: Vec<String> = (0..2_000).map(|i| format!("sentence {i}")).collect();
    let free = distribution(sentences.iter().map(String::as_str));
    assert_eq!((free.count(), categories(&free).len()), (2_000, 0));
    let mut mostly_one = free.clone();
    (0..6_000).for_each(|_| mostly_one.add_text("yes"));
    assert!(mostly_one.summary().categories["yes"] > 5_900);
}

#[test]
fn calls_are_told_apart_by_whose_fault_they_are() {
    let mut summary = TrafficSummary::default();
    assert!(summary.is_empty());
    for (times, outcome) in [
        (5, Outcome::Ok),
        (3, Outcome::InvalidArgument),
        (2, Outcome::Unavailable),
        (1, Outcome::Internal),
    ] {
        (0..times).for_each(|_| summary.record_call(outcome, Duration::from_millis(20), 2));
    }
    assert_eq!((summary.total(), summary.errors(), summary.rows()), (11, 3, 22));
    assert_eq!(summary.count_of(Outcome::InvalidArgument), 3);
    let outcomes: Vec<_> = summary
        .outcomes()
        .map(|(outcome, count)| (outcome.as_str(), count))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("ok", 5),
            ("INVALID_ARGUMENT", 3),
            ("INTERNAL", 1),
            ("UNAVAILABLE", 2)
        ]
    );
    assert_eq!(summary.latency().count(), 11);
    assert!(!summary.is_empty());
}

#[test]
fn columns_are_bounded() {
    let mut columns = Columns::default();
    let names: Vec<String> = (0..100).map(|i| format!("column {i:03}")).collect();
    for name in names.iter().rev() {
        columns.add_row([(name.as_str(), 1.5.into())]);
    }
    assert_eq!((columns.len(), columns.left_out()), (MAX_COLUMNS, 36));
    assert!(columns.get("column 099").is_some() && columns.get("column 035").is_none());
    columns.add_row([("column 035", 1.5.into()), ("column 099", 1.5.into())]);
    assert_eq!(columns.get("column 099").map(Distribution::count), Some(2));
    assert_eq!(columns.left_out(), 37);
    let mut others = Columns::default();
    let long = "n".repeat(MAX_COLUMN_NAME_BYTES + 1);
    assert!(others.column(&long).is_none() && others.is_empty());
    others.add_row([("a", 1.5.into())]);
    others.merge(&columns);
    assert_eq!((others.len(), others.left_out()), (MAX_COLUMNS, 39));
    assert!(others.get("a").is_some() && others.get("column 099").is_none());
}

#[test]
fn answers_are_compared() {
    let of = Comparison::of_numbers;
    let same = of(
        &[1.0, f64::NAN, f64::INFINITY],
        &[1.0 + 5e-7, f64::NAN, f64::INFINITY],
    );
    assert!(same.agreed && same.difference < Some(1e-6));
    assert_eq!(
        of(&[1.0, 2.0], &[1.5, 1.0]),
        Comparison {
            agreed: false,
            difference: Some(1.0)
        }
    );
    for (one, two) in [
        (&[1.0][..], &[f64::NAN][..]),
        (&[1.0], &[]),
        (&[f64::INFINITY], &[f64::NEG_INFINITY]),
    ] {
        let infinite = Comparison {
            agreed: false,
            difference: Some(f64::INFINITY),
        };
        assert_eq!((of(one, two), of(two, one)), (infinite, infinite));
    }
    assert!(of(&[], &[]).agreed);
    assert!(Comparison::of_texts(&["a", "b"], &["a".to_owned(), "b".to_owned()]).agreed);
    let other = Comparison {
        agreed: false,
        difference: None,
    };
    assert_eq!(Comparison::of_texts(&["a"], &["b"]), other);
    assert_eq!(Comparison::of_texts(&["a"], &["a", "a"]), other);
}

#[test]
fn the_worst_answers_are_named() {
    let mut shadow = ShadowSummary::default();
    assert!(shadow.is_empty() && shadow.median_difference().is_none());
    for number in 0..20_u32 {
        shadow.record(
            Comparison::of_numbers(&[0.0], &[f64::from(number % 10)]),
            &id(u64::from(number)),
        );
    }
    shadow.record_failed();
    shadow.record_dropped();
    assert_eq!((shadow.compared(), shadow.agreed()), (20, 2));
    assert_eq!((shadow.failed(), shadow.dropped()), (1, 1));
    assert_eq!(
        (shadow.largest_difference(), shadow.median_difference()),
        (Some(9.0), Some(4.0))
    );
    let worst: Vec<_> = shadow.worst().iter().map(|worst| worst.id.clone()).collect();
    assert_eq!(worst, [9, 19, 8, 18, 7, 17, 6, 16].map(id));
    shadow.record(Comparison::of_texts(&["a"], &["b"]), &id(30));
    assert_eq!(
        shadow.worst()[0],
        Difference {
            difference: f64::INFINITY,
            id: id(30)
        }
    );
    assert_eq!(
        (shadow.worst().len(), shadow.largest_difference()),
        (MAX_WORST, Some(9.0))
    );
}

#[test]
fn agreeing_answers_are_never_among_the_worst() {
    let mut shadow = ShadowSummary::default();
    shadow.record(Comparison::of_numbers(&[1.0], &[1.0]), &id(1));
    shadow.record(
        Comparison {
            agreed: false,
            difference: Some(f64::NAN),
        },
        &id(2),
    );
    assert_eq!(
        shadow.worst(),
        [Difference {
            difference: f64::INFINITY,
            id: id(2)
        }]
    );
    assert_eq!(shadow.largest_difference(), Some(f64::INFINITY));
}
