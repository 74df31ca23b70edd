//! Bounds of proportions: what a few calls can and cannot say about a rate.
//!
//! All bounds are one-sided with 95 % confidence: below (or above) them the true rate lies in at most about 5 of 100
//! cases.

/// The 95 % quantile of the normal distribution.
const Z: f64 = 1.644_853_626_951_472_2;

/// The bounds of a proportion, both in [0, 1], lower first; (0, 1) if nothing was counted. More hits than calls count as
/// all.
///
/// Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference",
/// <https://doi.org/10.1080/01621459.1927.10502953>.
pub fn wilson(hits: u64, calls: u64) -> (f64, f64) {
    if calls == 0 {
        return (0.0, 1.0);
    }
    let n = calls as f64;
    let p = rate(hits, calls);
    let scale = 1.0 + Z * Z / n;
    let centre = (p + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    // At the ends the bound is the end itself; rounding must not take it away.
    let lower = if hits == 0 { 0.0 } else { (centre - half).max(0.0) };
    let upper = if hits >= calls {
        1.0
    } else {
        (centre + half).min(1.0)
    };
    (lower, upper)
}

/// The lower bound of how much the first proportion lies above the second, in [-1, 1]; −1 if either counted nothing.
///
/// Source: Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10,
/// <https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8%3C873::AID-SIM779%3E3.0.CO;2-I>.
pub fn excess_lower_bound(ours: (u64, u64), theirs: (u64, u64)) -> f64 {
    if ours.1 == 0 || theirs.1 == 0 {
        return -1.0;
    }
    let (p, q) = (rate(ours.0, ours.1), rate(theirs.0, theirs.1));
    let (lower, upper) = (wilson(ours.0, ours.1).0, wilson(theirs.0, theirs.1).1);
    p - q - ((p - lower).powi(2) + (upper - q).powi(2)).sqrt()
}

/// The share of hits, in [0, 1]; 0 if nothing was counted.
pub fn rate(hits: u64, calls: u64) -> f64 {
    if calls == 0 {
        return 0.0;
    }
    (hits.min(calls) as f64) / calls as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bounds_are_those_of_the_tables() {
        // What `scipy.stats.binomtest(hits, calls).proportion_ci(0.9, method="wilson")` says: two sides of 5 % each.
        for (hits, calls, lower, upper) in [
            (0, 3, 0.0, 0.474_195_574_157_512_8),
            (1, 3, 0.078_265_726_333_728_41, 0.746_466_131_718_677_5),
            (3, 3, 0.525_804_425_842_487_2, 1.0),
            (1, 100, 0.002_234_092_833_454_746, 0.043_581_773_534_056_08),
            (5, 100, 0.024_547_363_425_804_138, 0.099_161_085_279_052_74),
            (30, 1_000, 0.022_316_797_647_015_996, 0.040_219_550_998_358_9),
            (50, 100, 0.418_847_796_112_529_54, 0.581_152_203_887_470_5),
        ] {
            let (l, u) = wilson(hits, calls);
            assert!(
                (l - lower).abs() < 1e-9 && (u - upper).abs() < 1e-9,
                "{hits}/{calls}: {l} {u}"
            );
        }
        // The formula over scipy's bounds.
        for (ours, theirs, lower) in [
            ((10, 100), (2, 100), 0.024_893_562_103_063_357),
            ((3, 3), (1, 1_000), 0.524_791_731_907_128_1),
            ((56, 70), (48, 80), 0.076_564_191_544_071_99),
        ] {
            let l = excess_lower_bound(ours, theirs);
            assert!((l - lower).abs() < 1e-9, "{ours:?} {theirs:?}: {l}");
        }
        assert_eq!(wilson(0, 0), (0.0, 1.0));
        assert_eq!(wilson(9, 3), wilson(3, 3));
    }

    proptest! {
        #[test]
        fn bounds_hold_the_rate_and_close_in(hits in 0..1_000_u64, more in 0..1_000_u64) {
            let calls = hits + more;
            prop_assume!(calls > 0);
            let (lower, upper) = wilson(hits, calls);
            let p = rate(hits, calls);
            prop_assert!(0.0 <= lower && lower <= p && p <= upper && upper <= 1.0);
            let (closer_lower, closer_upper) = wilson(hits * 10, calls * 10);
            prop_assert!(closer_lower >= lower && closer_upper <= upper);
            let (mirrored, _) = wilson(more, calls);
            prop_assert!((mirrored - (1.0 - upper)).abs() < 1e-12);
        }

        #[test]
        fn an_excess_is_at_most_the_difference(a in 0..50_u64, b in 0..50_u64, more in 1..500_u64) {
            let (ours, theirs) = ((a, a + more), (b, b + more));
            let lower = excess_lower_bound(ours, theirs);
            prop_assert!((-1.0..=rate(ours.0, ours.1) - rate(theirs.0, theirs.1)).contains(&lower));
        }
    }

    #[test]
    fn what_was_not_counted_says_nothing() {
        assert!(excess_lower_bound((5, 5), (0, 0)) <= -1.0 && excess_lower_bound((0, 0), (5, 5)) <= -1.0);
        assert_eq!(rate(1, 0), 0.0);
    }
}
