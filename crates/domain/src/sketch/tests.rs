//! The laws of [`Quantiles`]: exact figures, bounded error in rank, any order of merging, bounded memory.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// Failing once in a billion: what is random here must not fail a test run.
pub(super) const SURELY: f64 = 1.0 - 1e-9;

/// The shapes of data that sketches get wrong, `len` values each.
pub(super) fn shape(name: &str, len: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1_u64 << 31) as f64
    };
    let at = |i: usize| i as f64;
    match name {
        "random" => (0..len).map(|_| random()).collect(),
        "heavy tail" => (0..len).map(|_| 1.0 / (random() + 1e-9)).collect(),
        "sorted" => (0..len).map(at).collect(),
        "reversed" => (0..len).rev().map(at).collect(),
        "zoomed in" => (0..len)
            .map(|i| if i % 2 == 0 { at(i) } else { -at(i) })
            .rev()
            .collect(),
        "constant" => vec![7.5; len],
        "tied" => (0..len).map(|_| (random() * random() * 6.0).floor()).collect(),
        "mostly zero" => (0..len).map(|_| (random() - 0.9).max(0.0)).collect(),
        other => panic!("no shape `{other}`"),
    }
}

pub(super) const SHAPES: [&str; 8] = [
    "random",
    "heavy tail",
    "sorted",
    "reversed",
    "zoomed in",
    "constant",
    "tied",
    "mostly zero",
];

pub(super) fn of(k: u16, seed: u64, values: &[f64]) -> Quantiles {
    let mut sketch = Quantiles::with_seed(k, seed);
    values.iter().for_each(|&value| sketch.add(value));
    sketch
}

/// Checks ranks and quantiles against the values themselves.
fn close(sketch: &Quantiles, values: &[f64], error: f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let at_most = |value: f64| sorted.partition_point(|&v| v <= value) as f64 / count;
    let below = |value: f64| sorted.partition_point(|&v| v < value) as f64 / count;
    for part in 0..=20 {
        let q = f64::from(part) / 20.0;
        let value = sorted[((q * count) as usize).min(sorted.len() - 1)];
        let off = (sketch.rank(value) - at_most(value)).abs();
        assert!(off <= error, "rank of {value} is off by {off}, allowed {error}");
        let found = sketch.quantile(q).unwrap();
        // The quantile is right if its own rank, an interval when values are tied, holds `q`.
        let (low, high) = (below(found) - error, at_most(found) + error);
        assert!(
            low - 1e-9 <= q && q <= high + 1e-9,
            "{found} for {q}, but its rank is {low}..{high}"
        );
    }
    assert_eq!(sketch.quantile(0.0), sorted.first().copied());
    assert_eq!(sketch.quantile(1.0), sorted.last().copied());
}

/// What must not depend on how the values came together.
fn exact(sketch: &Quantiles) -> (u64, Option<f64>, Option<f64>, u64, u64, u64) {
    let (nans, infinities) = (sketch.nan_count(), sketch.infinite_count());
    (
        sketch.count(),
        sketch.min(),
        sketch.max(),
        sketch.sum().to_bits(),
        nans,
        infinities,
    )
}

#[test]
fn nothing_added_is_nothing_known() {
    let empty = Quantiles::default();
    assert!(empty.is_empty());
    assert_eq!(
        (empty.min(), empty.max(), empty.quantile(0.5)),
        (None, None, None)
    );
    assert_eq!(
        (empty.rank(1.0), empty.sum(), empty.rank_error(0.99)),
        (0.0, 0.0, 0.0)
    );
    let mut merged = Quantiles::default();
    merged.merge(&empty);
    assert_eq!(exact(&merged), exact(&empty));
}

#[test]
fn few_values_are_exact() {
    let sketch = of(200, 0, &[3.0, 1.0, 2.0, 2.0]);
    assert_eq!(sketch.rank_error(0.99), 0.0);
    assert_eq!(of(200, 0, &shape("random", 199, 1)).rank_error(0.99), 0.0);
    assert!(of(200, 0, &shape("random", 200, 1)).rank_error(0.99) > 0.0);
    assert_eq!(
        [0.5, 1.0, 1.5, 2.0, 3.0].map(|v| sketch.rank(v)),
        [0.0, 0.25, 0.25, 0.75, 1.0]
    );
    assert_eq!(
        [0.0, 0.25, 0.26, 0.75, 0.76, 1.0].map(|q| sketch.quantile(q).unwrap()),
        [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    );
    assert_eq!([-0.1, 1.1, f64::NAN].map(|q| sketch.quantile(q)), [None; 3]);
    assert_eq!(sketch.rank(f64::NAN), 0.0);
    assert_eq!((sketch.mean(), sketch.variance()), (Some(2.0), Some(0.5)));
}

#[test]
fn nan_is_counted_apart_and_infinities_are_values() {
    let sketch = of(
        8,
        0,
        &[f64::NAN, f64::INFINITY, 1.0, f64::NEG_INFINITY, 3.0, -f64::NAN],
    );
    assert_eq!(
        (sketch.count(), sketch.nan_count(), sketch.infinite_count()),
        (4, 2, 2)
    );
    assert_eq!(
        (sketch.min(), sketch.max()),
        (Some(f64::NEG_INFINITY), Some(f64::INFINITY))
    );
    assert_eq!(
        [f64::NEG_INFINITY, 1.0, f64::MAX, f64::INFINITY].map(|v| sketch.rank(v)),
        [0.25, 0.5, 0.75, 1.0]
    );
    assert_eq!(
        (sketch.sum(), sketch.mean(), sketch.variance()),
        (4.0, Some(2.0), Some(1.0))
    );
    let only_nan = of(8, 0, &[f64::NAN]);
    assert!(!only_nan.is_empty() && only_nan.quantile(0.5).is_none());
}

#[test]
fn zero_has_no_sign() {
    let sketch = of(8, 0, &[-0.0, 0.0]);
    assert_eq!(sketch.min().map(f64::to_bits), Some(0));
    assert_eq!(sketch.rank(-0.0), 1.0);
}

#[test]
fn memory_stays_bounded_and_the_error_below_what_the_doc_says() {
    for k in [8, 50, Quantiles::DEFAULT_K] {
        let (mut sketch, limit) = (Quantiles::new(k), Quantiles::max_kept(k));
        let mut most = 0;
        for value in shape("random", 1_000_000, 1) {
            sketch.add(value);
            most = most.max(sketch.kept());
        }
        assert!(most <= limit, "{most} values kept for k = {k}, allowed {limit}");
        assert!(sketch.encode().len() <= 8 * limit + 512);
        if k == Quantiles::DEFAULT_K {
            let stated = sketch.rank_error(0.99);
            assert!(most <= 700 && stated < 0.015, "{most} kept, error {stated}");
            let off = (1..100).map(|i| (sketch.rank(f64::from(i) / 100.0) - f64::from(i) / 100.0).abs());
            let off = off.fold(0.0, f64::max);
            assert!(off < 0.02, "off by {off}, stated {stated}");
        }
    }
}

#[test]
fn a_tiny_accuracy_is_raised() {
    assert_eq!(Quantiles::new(0), Quantiles::new(8));
    assert!(of(0, 1, &shape("random", 5_000, 2)).kept() <= Quantiles::max_kept(0));
}

#[test]
fn the_same_seed_gives_the_same_sketch_and_another_one_another() {
    let values = shape("random", 5_000, 3);
    assert_eq!(of(50, 4, &values), of(50, 4, &values));
    assert_ne!(of(50, 4, &values).quantile(0.5), of(50, 5, &values).quantile(0.5));
}

#[test]
fn a_thousand_windows_merge_into_one() {
    let values = shape("heavy tail", 20_000, 6);
    let mut whole = Quantiles::with_seed(100, 0);
    for (window, part) in values.chunks(20).enumerate() {
        whole.merge(&of(100, window as u64, part));
        assert!(whole.kept() <= Quantiles::max_kept(100));
    }
    assert_eq!(exact(&whole), exact(&of(100, 0, &values)));
    close(&whole, &values, whole.rank_error(SURELY));
}

/// Over many seeds the errors keep to the bound at its own confidence, and point both ways.
#[test]
fn the_stated_error_holds_at_its_confidence() {
    let values = shape("sorted", 4_000, 0);
    let errors = (0..200).map(|seed| {
        let sketch = of(40, seed, &values);
        (sketch.rank(1_999.0) - 0.5, sketch.rank_error(0.9))
    });
    let errors: Vec<_> = errors.collect();
    let beyond = errors.iter().filter(|(off, stated)| off.abs() > *stated).count();
    assert!(beyond <= 20, "{beyond} of 200 beyond a bound that allows 20");
    let bias = errors.iter().map(|(off, _)| off).sum::<f64>() / 200.0;
    assert!(bias.abs() < errors[0].1 / 5.0, "biased by {bias}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn ranks_are_within_the_bound(
        name in select(&SHAPES[..]), len in 1_usize..20_000, seed: u64, k in select(vec![8_u16, 30, 200]),
    ) {
        let values = shape(name, len, seed);
        let sketch = of(k, seed, &values);
        close(&sketch, &values, sketch.rank_error(SURELY));
        prop_assert!(sketch.kept() <= Quantiles::max_kept(k));
    }

    #[test]
    fn merged_parts_are_the_whole(
        name in select(&SHAPES[..]),
        len in 1_usize..8_000,
        seed: u64,
        cuts in vec(0_usize..8_000, 0..6),
        picks in vec(any::<prop::sample::Index>(), 6),
    ) {
        let mut values = shape(name, len, seed);
        values[0] = f64::INFINITY;
        let mut ends: Vec<_> = cuts.into_iter().map(|cut| cut.min(len)).chain([0, len]).collect();
        ends.sort_unstable();
        let part = |(i, ends): (usize, &[usize])| of(30, seed ^ i as u64, &values[ends[0]..ends[1]]);
        let mut parts: Vec<_> = ends.windows(2).enumerate().map(part).collect();
        // Any two merge, in either direction, until one is left: every order and grouping can come.
        for pick in picks {
            if parts.len() > 1 {
                let taken = parts.swap_remove(pick.index(parts.len()));
                let at = pick.index(parts.len());
                parts[at].merge(&taken);
            }
        }
        let mut merged = parts.swap_remove(0);
        parts.iter().for_each(|part| merged.merge(part));
        prop_assert_eq!(exact(&merged), exact(&of(30, seed, &values)));
        close(&merged, &values, merged.rank_error(SURELY));
        prop_assert!(merged.kept() <= Quantiles::max_kept(30));
        prop_assert!(merged.rank_error(0.99) < 0.2, "{}", merged.rank_error(0.99));
    }

    #[test]
    fn different_accuracies_merge_to_the_lower(seed: u64, len in 1_usize..5_000) {
        let (fine, coarse) = (shape("random", len, seed), shape("tied", len, seed));
        let (mut one, mut two) = (of(200, seed, &fine), of(20, !seed, &coarse));
        let before = two.clone();
        two.merge(&one);
        one.merge(&before);
        let all = [fine, coarse].concat();
        for merged in [one, two] {
            prop_assert_eq!(merged.k(), 20);
            prop_assert!(merged.kept() <= Quantiles::max_kept(20));
            close(&merged, &all, merged.rank_error(SURELY));
        }
    }
}
