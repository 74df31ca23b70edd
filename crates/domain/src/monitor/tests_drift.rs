//! Drift: nothing where nothing moved, something where anything did, whatever the kind of column.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};

use super::{tests::distribution, *};

fn drift(reference: &Distribution, current: &Distribution) -> Drift {
    Distribution::drift(reference, current).unwrap()
}

fn normal(count: u32, shift: f64) -> Distribution {
    // The sum of three dice that are not correlated, far from whole numbers.
    let die = |i: u32, by: u32| f64::from(i.wrapping_mul(by) >> 16) / 65_536.0;
    let value = |i| die(i, 2_654_435_761) + die(i, 2_246_822_519) + die(i, 3_266_489_917) + shift;
    distribution((1..=count).map(value))
}

#[test]
fn nothing_to_compare_is_no_drift() {
    let (empty, some) = (Distribution::default(), distribution([1.0]));
    assert_eq!(Distribution::drift(&empty, &some), None);
    assert_eq!(Distribution::drift(&some, &empty), None);
}

#[test]
fn a_shift_of_numbers_is_seen() {
    let reference = normal(5_000, 0.0);
    let moved = drift(&reference, &normal(5_000, 0.5));
    assert!(moved.psi > 0.25 && moved.jensen_shannon > 0.05, "{moved:?}");
    assert!(
        moved.kolmogorov_smirnov > Some(0.2) && moved.unseen.is_empty(),
        "{moved:?}"
    );
    let stayed = drift(&reference, &normal(3_000, 0.0));
    assert!(stayed.psi < 0.05, "{stayed:?}");
    assert!((stayed.psi_by_chance - 9.0 * (1.0 / 5_000.0 + 1.0 / 3_000.0)).abs() < 1e-12);
}

#[test]
fn a_small_sample_says_that_it_is_small() {
    let found = drift(&normal(5_000, 0.0), &normal(20, 0.0));
    assert!(found.psi_by_chance > 0.4, "{found:?}");
}

#[test]
fn what_is_expected_by_chance_is_what_chance_gives() {
    let mut state = 1_u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1_u64 << 31) as f64
    };
    let mut sample = |count: u32, scale: f64, whole: bool| {
        let values = (0..count).map(|_| random() * scale);
        if whole {
            distribution(values.map(f64::floor))
        } else {
            distribution(values)
        }
    };
    for (scale, whole) in [(1e3, false), (5.0, true)] {
        let reference = sample(20_000, scale, whole);
        let found: Vec<_> = (0..60)
            .map(|_| drift(&reference, &sample(400, scale, whole)))
            .collect();
        let mean = found.iter().map(|drift| drift.psi).sum::<f64>() / 60.0;
        let expected = found[0].psi_by_chance;
        assert!((mean / expected - 1.0).abs() < 0.3, "{mean} beside {expected}");
    }
}

#[test]
fn categories_that_training_did_not_have_are_named() {
    let reference = distribution(["a", "b"].repeat(50));
    let current = distribution([&["a", "b"].repeat(40)[..], &["d"; 5], &["c"; 10]].concat());
    let found = drift(&reference, &current);
    assert_eq!(found.unseen, ["c", "d"]);
    assert!(
        found.psi > 0.25 && found.kolmogorov_smirnov.is_none(),
        "{found:?}"
    );
    assert_eq!(drift(&reference, &distribution(["b", "a"])).psi, 0.0);
    let names: Vec<String> = (0..60).map(|i| i.to_string()).collect();
    let many = drift(&reference, &distribution(names.iter().map(String::as_str)));
    assert_eq!(many.unseen.len(), MAX_UNSEEN);
}

#[test]
fn classes_are_compared_one_by_one_and_need_not_be_of_one_type() {
    let reference = distribution([0.0, 1.0, 2.0].repeat(100));
    assert_eq!(drift(&reference, &distribution([0_i64, 1, 2].repeat(7))).psi, 0.0);
    // One class is never predicted any more, its neighbours are instead: mean and range are the same.
    let current = distribution([0_i64, 2].repeat(100));
    let found = drift(&reference, &current);
    assert!(found.psi > 0.25 && found.unseen.is_empty(), "{found:?}");
    assert_eq!(drift(&reference, &distribution([0_i64, 3])).unseen, ["3"]);
}

#[test]
fn missing_values_are_drift() {
    let reference = normal(1_000, 0.0);
    let mut current = normal(1_000, 0.0);
    (0..500).for_each(|_| current.add_missing());
    assert!(drift(&reference, &current).psi > 0.25);
    let nothing_left = distribution(vec![None::<f64>; 100]);
    let found = drift(&reference, &nothing_left);
    assert!(found.psi > 1.0 && found.kolmogorov_smirnov.is_none(), "{found:?}");
    let of_texts = drift(&distribution(["a"; 100]), &nothing_left);
    assert!(of_texts.psi > 1.0, "{of_texts:?}");
}

#[test]
fn another_kind_of_value_is_drift() {
    let (numbers, texts) = (normal(1_000, 0.0), distribution(["a", "b"].repeat(500)));
    for (reference, current) in [(&numbers, &texts), (&texts, &numbers)] {
        let found = drift(reference, current);
        assert!(found.psi > 1.0 && found.jensen_shannon > 0.9, "{found:?}");
    }
}

#[test]
fn one_text_does_not_hide_that_the_numbers_moved() {
    let reference = normal(5_000, 0.0);
    let mut current = normal(5_000, 0.5);
    current.add_text("n/a");
    let found = drift(&reference, &current);
    assert!(found.psi > 0.25 && found.jensen_shannon > 0.05, "{found:?}");
    assert_eq!(found.unseen, ["n/a"]);
}

#[test]
fn free_text_does_not_drift_and_is_not_named() {
    let free = |from: u32| {
        let texts: Vec<String> = (from..from + 2_000).map(|i| format!("sentence {i}")).collect();
        distribution(texts.iter().map(String::as_str))
    };
    let found = drift(&free(0), &free(10_000));
    assert_eq!((found.psi, found.unseen), (0.0, vec![]));
    let became_free = drift(&distribution(["a", "b"].repeat(500)), &free(0));
    assert_eq!(became_free.unseen.len(), 0);
}

#[test]
fn a_profile_says_which_columns_moved_came_and_went() {
    let mut training = Profile::with_seed(1);
    let mut window = TrafficSummary::with_seed(2);
    for i in 0..1_000_i64 {
        let (x, label) = (i as f64 / 7.0, if i % 3 == 0 { "yes" } else { "no" });
        training.add_row([("x", x.into()), ("gone", 1.5.into())], [("label", label.into())]);
        window.record_call(Outcome::Ok, Duration::from_millis(1), 1);
        window
            .features_mut()
            .add_row([("x", (x + 60.0).into()), ("new", 1.5.into())]);
        window.predictions_mut().add_row([("label", label.into())]);
    }
    let found = training.drift_of(&window);
    assert_eq!(found.features.absent, ["gone"]);
    assert_eq!(found.features.added, ["new"]);
    let (name, worst) = found.features.worst().unwrap();
    assert!(name == "x" && worst.psi > 0.25, "{worst:?}");
    assert_eq!(found.predictions.columns["label"].psi, 0.0);
    assert_eq!(ColumnsDrift::default().worst(), None);
    let itself = Profile::of_traffic(&window).drift_of(&window);
    assert_eq!(
        (training.rows(), itself.features.worst().unwrap().1.psi),
        (1_000, 0.0)
    );
}

#[test]
fn an_asked_for_column_without_values_is_neither_absent_nor_drifting() {
    let (mut reference, mut current) = (Columns::default(), Columns::default());
    assert!(reference.column("x").is_some());
    current.add_row([("x", 1.0.into())]);
    assert_eq!(Columns::drift(&reference, &current), ColumnsDrift::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn figures_are_in_their_range(one in vec(any_value(), 1..200), two in vec(any_value(), 1..200)) {
        let (one, two) = (distribution(borrowed(&one)), distribution(borrowed(&two)));
        let found = drift(&one, &two);
        prop_assert!(found.psi >= 0.0 && found.psi.is_finite(), "{:?}", found);
        prop_assert!((0.0..=1.0).contains(&found.jensen_shannon), "{:?}", found);
        prop_assert!(found.kolmogorov_smirnov.is_none_or(|ks| (0.0..=1.0).contains(&ks)), "{:?}", found);
        prop_assert!(found.psi_by_chance >= 0.0 && found.unseen.len() <= MAX_UNSEEN, "{:?}", found);
        let itself = drift(&one, &one);
        prop_assert!(itself.psi == 0.0 && itself.jensen_shannon == 0.0 && itself.unseen.is_empty());
    }
}

/// A value that owns its text.
#[derive(Debug, Clone)]
pub(super) enum Owned {
    Missing,
    Number(f64),
    Whole(i64),
    Bool(bool),
    Text(String),
}

pub(super) fn borrowed(values: &[Owned]) -> impl Iterator<Item = Value<'_>> {
    values.iter().map(|value| match value {
        Owned::Missing => Value::Missing,
        Owned::Number(number) => Value::Number(*number),
        Owned::Whole(number) => Value::Whole(*number),
        Owned::Bool(flag) => Value::Bool(*flag),
        Owned::Text(text) => Value::Text(text),
    })
}

pub(super) fn any_value() -> impl Strategy<Value = Owned> {
    prop_oneof![
        Just(Owned::Missing),
        (-1e3..1e3_f64).prop_map(Owned::Number),
        prop::sample::select(vec![0.0, -0.0, 1.0, f64::NAN, f64::INFINITY, f64::MIN]).prop_map(Owned::Number),
        (-20_i64..20).prop_map(Owned::Whole),
        any::<i64>().prop_map(Owned::Whole),
        any::<bool>().prop_map(Owned::Bool),
        "[a-d]{0,2}".prop_map(Owned::Text),
    ]
}
