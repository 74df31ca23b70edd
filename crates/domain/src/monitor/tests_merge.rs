//! Merging: the parts in any order and grouping are the whole, counts exactly, ranks within the error of the sketch.

use std::time::Duration;

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    tests::id,
    tests_drift::{Owned, any_value, borrowed},
    *,
};

/// Something that happens to a target.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Call(Outcome, u64, u64),
    Feature(&'static str, Owned),
    Prediction(&'static str, Owned),
    Compared(f64, u64),
    OtherClass(u64),
    Failed,
    Dropped,
}

pub(super) fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let event = prop_oneof![
        (0..17_i32, any::<u64>(), 0..9_u64).prop_map(|(code, bits, rows)| Event::Call(
            Outcome::from_code(code),
            bits >> (bits % 64),
            rows
        )),
        (name(), any_value()).prop_map(|(name, value)| Event::Feature(name, value)),
        (name(), any_value()).prop_map(|(name, value)| Event::Prediction(name, value)),
        (-2.0..2.0_f64, 0..60_u64).prop_map(|(difference, number)| Event::Compared(difference, number)),
        (0..60_u64).prop_map(Event::OtherClass),
        Just(Event::Failed),
        Just(Event::Dropped),
    ];
    vec(event, 0..most)
}

pub(super) fn of(seed: u64, events: &[Event]) -> TrafficSummary {
    let mut summary = TrafficSummary::with_seed(seed);
    for event in events {
        match event {
            Event::Call(outcome, ns, rows) => {
                summary.record_call(*outcome, Duration::from_nanos(*ns), *rows);
            }
            Event::Feature(name, value) => {
                let values = borrowed(std::slice::from_ref(value));
                summary.features_mut().add_row(values.map(|value| (*name, value)));
            }
            Event::Prediction(name, value) => {
                let values = borrowed(std::slice::from_ref(value));
                summary
                    .predictions_mut()
                    .add_row(values.map(|value| (*name, value)));
            }
            Event::Compared(difference, number) => {
                let compared = Comparison::of_numbers(&[0.0], &[difference.max(0.0)]);
                summary.shadow_mut().record(compared, &id(*number));
            }
            Event::OtherClass(number) => {
                let compared = Comparison::of_texts(&["a"], &["b"]);
                summary.shadow_mut().record(compared, &id(*number));
            }
            Event::Failed => summary.shadow_mut().record_failed(),
            Event::Dropped => summary.shadow_mut().record_dropped(),
        }
    }
    summary
}

/// Cuts the events into parts, and merges the summaries of the parts in an order that `picks` says.
fn merged(events: &[Event], cuts: &[Index], picks: &[Index]) -> TrafficSummary {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(events.len() + 1)).collect();
    cuts.extend([0, events.len()]);
    cuts.sort_unstable();
    let parts = cuts.windows(2).zip(1..);
    let mut summaries: Vec<_> = parts
        .map(|(cut, seed)| of(seed, &events[cut[0]..cut[1]]))
        .collect();
    let mut picks = picks.iter().cycle();
    while summaries.len() > 1 {
        let mut pick = || picks.next().map_or(0, |pick| pick.index(summaries.len()));
        let (from, to) = (pick(), pick());
        let taken = summaries.swap_remove(from);
        let to = to % summaries.len();
        summaries[to].merge(&taken);
    }
    summaries.remove(0)
}

fn assert_same_columns(merged: &Columns, whole: &Columns) {
    assert!(
        merged
            .iter()
            .map(|(name, _)| name)
            .eq(whole.iter().map(|(name, _)| name))
    );
    assert_eq!(merged.left_out(), whole.left_out());
    for ((_, merged), (_, whole)) in merged.iter().zip(whole.iter()) {
        let (one, two) = (merged.summary(), whole.summary());
        assert_eq!((one.count, one.missing), (two.count, two.missing));
        assert_eq!((one.mean, one.min, one.max), (two.mean, two.min, two.max));
        assert_eq!(one.categories, two.categories);
        assert_eq!(merged.texts(), whole.texts());
        if let (Some(one), Some(two)) = (one.standard_deviation, two.standard_deviation) {
            assert!((one - two).abs() <= 1e-6 * (1.0 + two), "{one} {two}");
        }
    }
}

/// What must not depend on how events came together.
fn assert_same(merged: &TrafficSummary, whole: &TrafficSummary) {
    assert!(merged.outcomes().eq(whole.outcomes()));
    assert_eq!((merged.rows(), merged.errors()), (whole.rows(), whole.errors()));
    assert_eq!(merged.latency(), whole.latency());
    assert_same_columns(merged.features(), whole.features());
    assert_same_columns(merged.predictions(), whole.predictions());
    let (one, two) = (merged.shadow(), whole.shadow());
    assert_eq!((one.compared(), one.agreed()), (two.compared(), two.agreed()));
    assert_eq!((one.failed(), one.dropped()), (two.failed(), two.dropped()));
    assert_eq!(one.largest_difference(), two.largest_difference());
    assert_eq!(one.worst(), two.worst());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn parts_merged_in_any_order_are_the_whole(
        events in events(400), cuts in vec(any::<Index>(), 0..6), picks in vec(any::<Index>(), 2..12),
    ) {
        let merged = merged(&events, &cuts, &picks);
        assert_same(&merged, &of(0, &events));
        // By bytes: a variance beyond the range of a float may be NaN inside, which equals nothing.
        let bytes = merged.encode();
        prop_assert_eq!(TrafficSummary::decode(&bytes).unwrap().encode(), bytes);
    }

    #[test]
    fn quantiles_of_parts_are_within_the_error_of_the_sketch(
        values in vec(-1e3..1e3_f64, 500..3_000), parts in 1_usize..12, q in 0.0..=1.0_f64,
    ) {
        let mut merged = Distribution::with_seed(0);
        for (part, seed) in values.chunks(values.len().div_ceil(parts)).zip(1..) {
            let mut distribution = Distribution::with_seed(seed);
            part.iter().for_each(|&value| distribution.add_number(value));
            merged.merge(&distribution);
        }
        let error = merged.numbers().rank_error(1.0 - 1e-9);
        prop_assert!(error < 0.05, "{}", error);
        let found = merged.numbers().quantile(q).unwrap();
        let share = |count: usize| count as f64 / values.len() as f64;
        let below = share(values.iter().filter(|&&value| value < found).count());
        let at_most = share(values.iter().filter(|&&value| value <= found).count());
        prop_assert!(below - error <= q + 1e-9 && q <= at_most + error + 1e-9, "{} {}", below, at_most);
    }

    #[test]
    fn too_many_columns_are_the_same_in_any_order(parts in vec(vec(0_u8..200, 0..60), 3)) {
        let of = |names: &[u8]| {
            let mut columns = Columns::default();
            for name in names {
                columns.add_row([(format!("{name:03}").as_str(), Value::Whole(1))]);
            }
            columns
        };
        let [one, two, three] = [0, 1, 2].map(|at| of(&parts[at]));
        let (mut left, mut right, mut back, mut tail) = (one.clone(), one.clone(), three.clone(), two.clone());
        left.merge(&two);
        left.merge(&three);
        tail.merge(&three);
        right.merge(&tail);
        back.merge(&one);
        back.merge(&two);
        let counts = |columns: &Columns| -> Vec<(String, u64)> {
            columns.iter().map(|(name, column)| (name.to_owned(), column.count())).collect()
        };
        prop_assert_eq!(counts(&left), counts(&right));
        prop_assert_eq!(counts(&left), counts(&back));
        prop_assert!(left.len() <= MAX_COLUMNS);
        prop_assert_eq!(left.left_out() > 0, back.left_out() > 0);
    }
}
