//! Comparisons: nothing between equals, symmetric where the doc says so, and growing with the shift.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    tests::{SHAPES, SURELY, of, shape},
    *,
};

fn numbers(values: &[f64]) -> Quantiles {
    of(200, 0, values)
}

fn categories(counts: &[(&str, u64)]) -> Frequencies {
    let mut summary = Frequencies::default();
    counts
        .iter()
        .for_each(|(name, times)| summary.add_times(name, *times));
    summary
}

fn shifted(values: &[f64], by: f64) -> Quantiles {
    numbers(&values.iter().map(|value| value + by).collect::<Vec<_>>())
}

#[test]
fn figures_of_known_distributions() {
    let close = |found: Option<f64>, wanted: f64| {
        let found = found.unwrap();
        assert!((found - wanted).abs() < 1e-9, "{found} for {wanted}");
    };
    // Without smoothing: (0.5 − 0.25) ln 2 + (0.5 − 0.75) ln(2 / 3) = 0.27465.
    let smoothed = |p: f64| (p + 1e-4) / (1.0 + 2e-4);
    let term = |p: f64, q: f64| (smoothed(p) - smoothed(q)) * (smoothed(p) / smoothed(q)).ln();
    close(psi(&[1.0, 1.0], &[1.0, 3.0]), term(0.5, 0.25) + term(0.5, 0.75));
    assert!((psi(&[1.0, 1.0], &[1.0, 3.0]).unwrap() - 0.27465).abs() < 2e-4);
    close(jensen_shannon(&[1.0, 0.0], &[0.0, 7.0]), 1.0);
    // H(3/4, 1/4) − (H(1, 0) + H(1/2, 1/2)) / 2 in bits.
    close(
        jensen_shannon(&[1.0, 0.0], &[1.0, 1.0]),
        0.811_278_124_459_132_8 - 0.5,
    );
    close(
        kolmogorov_smirnov(&numbers(&[1.0, 2.0, 3.0, 4.0]), &numbers(&[3.0, 4.0, 5.0, 6.0])),
        0.5,
    );
    close(kolmogorov_smirnov(&numbers(&[1.0, 2.0]), &numbers(&[3.0])), 1.0);
}

#[test]
fn what_is_no_distribution_has_no_figure() {
    let sound = [1.0, 2.0];
    for other in [
        &[1.0][..],
        &[0.0, 0.0],
        &[-1.0, 2.0],
        &[f64::NAN, 1.0],
        &[f64::INFINITY, 1.0],
        &[],
    ] {
        assert_eq!([psi(&sound, other), psi(other, &sound)], [None; 2], "{other:?}");
        assert_eq!(
            [jensen_shannon(&sound, other), jensen_shannon(other, &sound)],
            [None; 2],
            "{other:?}"
        );
    }
    let (empty, some) = (Quantiles::default(), numbers(&[1.0]));
    assert_eq!(
        [compare_quantiles(&empty, &some), compare_quantiles(&some, &empty)],
        [None, None]
    );
    assert_eq!(kolmogorov_smirnov(&empty, &some), None);
    let (empty, some) = (Frequencies::default(), categories(&[("a", 1)]));
    assert_eq!(
        [
            compare_frequencies(&empty, &some),
            compare_frequencies(&some, &empty)
        ],
        [None, None]
    );
}

#[test]
fn a_shifted_constant_is_seen_both_ways() {
    let constant = numbers(&[5.0; 1_000]);
    let same = compare_quantiles(&constant, &numbers(&[5.0; 10])).unwrap();
    assert_eq!(
        (same.psi, same.jensen_shannon, same.kolmogorov_smirnov),
        (0.0, 0.0, Some(0.0))
    );
    for other in [3.0, 6.0, f64::INFINITY] {
        let drift = compare_quantiles(&constant, &numbers(&[other; 10])).unwrap();
        assert!(drift.psi > 5.0, "{drift:?}");
        assert_eq!((drift.jensen_shannon, drift.kolmogorov_smirnov), (1.0, Some(1.0)));
    }
}

#[test]
fn a_mostly_zero_feature_that_goes_negative_is_seen() {
    let zeros = numbers(&shape("mostly zero", 5_000, 1));
    let negative: Vec<f64> = shape("mostly zero", 5_000, 2)
        .into_iter()
        .map(|v| if v == 0.0 { -1.0 } else { v })
        .collect();
    assert!(compare_quantiles(&zeros, &numbers(&negative)).unwrap().psi > 5.0);
    assert!(
        compare_quantiles(&zeros, &numbers(&shape("mostly zero", 5_000, 3)))
            .unwrap()
            .psi
            < 0.02
    );
}

#[test]
fn nan_have_a_bin_of_their_own() {
    let values = shape("random", 1_000, 1);
    let with_nan: Vec<f64> = values
        .iter()
        .enumerate()
        .map(|(i, &v)| if i % 4 == 0 { f64::NAN } else { v })
        .collect();
    let drift = compare_quantiles(&numbers(&values), &numbers(&with_nan)).unwrap();
    assert!(drift.psi > 0.25 && drift.jensen_shannon > 0.1, "{drift:?}");
    assert!(drift.kolmogorov_smirnov.unwrap() < 0.05);
    let only = numbers(&[f64::NAN; 3]);
    let drift = compare_quantiles(&only, &only).unwrap();
    assert_eq!((drift.psi, drift.kolmogorov_smirnov), (0.0, None));
    assert_eq!(
        compare_quantiles(&numbers(&values), &only)
            .unwrap()
            .jensen_shannon,
        1.0
    );
}

#[test]
fn sketches_compare_as_the_values_themselves_do() {
    let (one, two) = (shape("random", 20_000, 1), shape("random", 20_000, 2));
    let two: Vec<f64> = two.iter().map(|value| value * value).collect();
    // The distribution functions x and √x are a quarter apart, at x = 1/4.
    let (one, two) = (numbers(&one), numbers(&two));
    let found = kolmogorov_smirnov(&one, &two).unwrap();
    let error = one.rank_error(SURELY) + two.rank_error(SURELY);
    assert!((found - 0.25).abs() < error.min(0.04), "{found}");
}

#[test]
fn unseen_categories_are_named_with_their_share() {
    let reference = categories(&[("a", 60), ("b", 40)]);
    let mut current = categories(&[("a", 4), ("x", 1), ("z", 2), ("y", 2)]);
    current.add_missing();
    let drift = compare_frequencies(&reference, &current).unwrap();
    assert_eq!(drift.unseen, ["y", "z", "x"]);
    assert_eq!((drift.unseen_share, drift.unseen_is_certain), (0.5, true));
    assert!(drift.psi > 1.0 && drift.jensen_shannon > 0.3);
    let mut crowded = Frequencies::new(2);
    ["a", "b", "c", "a"]
        .into_iter()
        .for_each(|name| crowded.add(name));
    assert!(!compare_frequencies(&crowded, &current).unwrap().unseen_is_certain);
}

#[test]
fn missing_and_other_count_as_categories() {
    let reference = categories(&[("a", 10)]);
    let mut current = categories(&[("a", 10)]);
    (0..10).for_each(|_| current.add_missing());
    assert!(compare_frequencies(&reference, &current).unwrap().psi > 0.25);
    let mut crowded = Frequencies::new(1);
    ["a", "a", "a", "b"]
        .into_iter()
        .for_each(|name| crowded.add(name));
    let drift = compare_frequencies(&reference, &crowded).unwrap();
    assert!(drift.unseen.is_empty() && drift.psi > 0.25, "{drift:?}");
}

#[test]
fn every_figure_grows_with_the_shift() {
    let values = shape("random", 5_000, 1);
    let reference = numbers(&values);
    let drifts =
        [0.0, 0.05, 0.1, 0.2, 0.4].map(|by| compare_quantiles(&reference, &shifted(&values, by)).unwrap());
    for pair in drifts.windows(2) {
        assert!(pair[0].psi < pair[1].psi, "{pair:?}");
        assert!(pair[0].jensen_shannon < pair[1].jensen_shannon, "{pair:?}");
        assert!(
            pair[0].kolmogorov_smirnov < pair[1].kolmogorov_smirnov,
            "{pair:?}"
        );
    }
    let drifts = [0, 10, 20, 50].map(|moved| {
        let (reference, current) = (
            categories(&[("a", 50), ("b", 50)]),
            categories(&[("a", 50 - moved), ("b", 50 + moved)]),
        );
        compare_frequencies(&reference, &current).unwrap()
    });
    for pair in drifts.windows(2) {
        assert!(
            pair[0].psi < pair[1].psi && pair[0].jensen_shannon < pair[1].jensen_shannon,
            "{pair:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn equal_numbers_do_not_drift(name in select(&SHAPES[..]), len in 1_usize..3_000, seed: u64) {
        let values = shape(name, len, seed);
        let drift = compare_quantiles(&numbers(&values), &numbers(&values)).unwrap();
        prop_assert_eq!(drift, NumericDrift { psi: 0.0, jensen_shannon: 0.0, kolmogorov_smirnov: Some(0.0) });
    }

    #[test]
    fn samples_of_one_distribution_hardly_drift(name in select(&SHAPES[..]), seed: u64) {
        let sample = |seed| numbers(&shape(name, 4_000, seed));
        let drift = compare_quantiles(&sample(seed), &sample(!seed)).unwrap();
        prop_assert!(drift.psi < 0.05 && drift.jensen_shannon < 0.01, "{:?}", drift);
        prop_assert!(drift.kolmogorov_smirnov < Some(0.1), "{:?}", drift);
    }

    #[test]
    fn figures_are_symmetric_and_in_their_range(pairs in vec((0.0..1e6_f64, 0_u8..3, 0.0..1e6_f64), 1..20)) {
        let (p, q): (Vec<f64>, Vec<f64>) = pairs.into_iter().map(|(p, zero, q)| match zero {
            0 => (p + 1.0, 0.0),
            1 => (0.0, q + 1.0),
            _ => (p + 1.0, q + 1.0),
        }).unzip();
        prop_assume!(p.iter().sum::<f64>() > 0.0 && q.iter().sum::<f64>() > 0.0);
        let (index, divergence) = (psi(&p, &q).unwrap(), jensen_shannon(&p, &q).unwrap());
        prop_assert!((index - psi(&q, &p).unwrap()).abs() <= 1e-9 * (1.0 + index));
        prop_assert!((divergence - jensen_shannon(&q, &p).unwrap()).abs() < 1e-12);
        prop_assert!(index >= 0.0 && (0.0..=1.0).contains(&divergence));
        prop_assert_eq!((psi(&p, &p), jensen_shannon(&p, &p)), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn kolmogorov_smirnov_is_symmetric(one in vec(-5.0..5.0_f64, 1..300), two in vec(-5.0..9.0_f64, 1..300)) {
        let (one, two) = (numbers(&one), numbers(&two));
        let found = kolmogorov_smirnov(&one, &two);
        prop_assert_eq!(found, kolmogorov_smirnov(&two, &one));
        prop_assert!(found <= Some(1.0));
    }

    #[test]
    fn equal_categories_do_not_drift(counts in vec(("[a-z]{1,3}", 1_u64..100), 1..50), times in 1_u64..50) {
        let counted = |times| {
            let mut summary = Frequencies::default();
            counts.iter().for_each(|(name, count)| summary.add_times(name, count * times));
            summary
        };
        let drift = compare_frequencies(&counted(1), &counted(times)).unwrap();
        prop_assert!(drift.psi < 1e-12 && drift.jensen_shannon < 1e-12 && drift.unseen.is_empty(), "{:?}", drift);
    }
}
