//! Student's t distribution with whole degrees of freedom.

use std::f64::consts::FRAC_2_PI;

use crate::normal::normal_cdf;

/// P(|T| > t) with `freedom` ≥ 1 degrees of freedom, to about 13 digits; NaN for NaN.
///
/// Source: Abramowitz and Stegun, 26.7.3 and 26.7.4, finite sums for odd and for even degrees of freedom; where those come close
/// to one, the incomplete beta function by its power series, <https://dlmf.nist.gov/8.17#E7>.
pub fn student_two_sided(t: f64, freedom: u32) -> f64 {
    let share = f64::from(freedom) / t.mul_add(t, f64::from(freedom));
    if share < 0.9 {
        return tail(share, freedom);
    }
    let angle = (t.abs() / f64::from(freedom).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let is_odd = freedom % 2 == 1;
    // The terms go by powers of the cosine: 1, 3, 5, … for odd degrees of freedom, 0, 2, 4, … for even ones.
    let (mut term, mut power) = if is_odd { (cosine, 1) } else { (1.0, 0) };
    let mut sum = 0.0;
    while power + 2 <= freedom {
        sum += term;
        term *= cosine * cosine * f64::from(power + 1) / f64::from(power + 2);
        power += 2;
    }
    let inside = if is_odd {
        FRAC_2_PI * (angle + sine * sum)
    } else {
        sine * sum
    };
    if inside.is_nan() {
        inside
    } else {
        (1.0 - inside).max(0.0)
    }
}

/// I(x; n/2, 1/2), the regularized incomplete beta function, for x well below 1.
fn tail(x: f64, freedom: u32) -> f64 {
    // Γ(a + 1/2) / (Γ(a) Γ(1/2)) of a = n/2, from a = 1/2 or 1 on.
    let mut a = if freedom % 2 == 1 { 0.5 } else { 1.0 };
    let mut factor = if freedom % 2 == 1 {
        std::f64::consts::FRAC_1_PI
    } else {
        0.5
    };
    while a + 0.5 < f64::from(freedom) / 2.0 {
        factor *= (a + 0.5) / a;
        a += 1.0;
    }
    let (mut term, mut sum, mut place) = (1.0, 0.0, 0.0);
    while term > f64::EPSILON * sum {
        sum += term / (a + place);
        term *= x * (place + 0.5) / (place + 1.0);
        place += 1.0;
    }
    // In logarithms, because the power alone may be too small for a number.
    (a * x.ln() + factor.ln() + sum.ln()).exp().min(1.0)
}

/// The t with P(|T| ≤ t) = `confidence`, which lies between 0 and 1.
pub fn student_of(confidence: f64, freedom: u32) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1e6_f64);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if student_two_sided(middle, freedom) > 1.0 - confidence {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// Beyond so many rows Student's t is the normal distribution to three digits.
const NORMAL_FROM: f64 = 1000.0;

/// How many standard errors to each side an interval has that would have `z` if the error were known, where
/// it is that of `rows` rows, the root of their mean squared distance over the root of their number; NaN for
/// fewer than two rows.
pub(crate) fn reach(z: f64, rows: f64) -> f64 {
    // Effective numbers of whole rows may round down.
    let freedom = (rows + 1e-9).floor() - 1.0;
    if rows > NORMAL_FROM {
        z
    } else if freedom >= 1.0 {
        student_of(1.0 - 2.0 * normal_cdf(-z), freedom as u32) * (rows / (rows - 1.0)).sqrt()
    } else {
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_met() {
        // Abramowitz and Stegun, table 26.10, and scipy.stats.t.
        for (confidence, freedom, t) in [
            (0.95, 1, 12.706_204_736),
            (0.95, 2, 4.302_652_730),
            (0.95, 10, 2.228_138_852),
            (0.99, 63, 2.656_145_025),
            (0.95, 63, 1.998_340_543),
            (0.5, 30, 0.682_755_693),
        ] {
            let found = student_of(confidence, freedom);
            assert!((found - t).abs() < 1e-8, "{found} of {freedom}, not {t}");
            assert!((student_two_sided(t, freedom) - (1.0 - confidence)).abs() < 1e-9);
        }
        assert!((student_two_sided(2.0, 1_000_000) - 0.045_500_263_9).abs() < 1e-6);
        // scipy.stats.t.sf, twice: what is far out is small and not zero.
        for (t, freedom, p) in [
            (176.0, 63, 1.531_468_865_092_18e-86),
            (10.0, 5, 1.709_475_757_429_64e-4),
            (40.0, 10, 2.280_857_743_085_75e-12),
            (3.0, 1, 2.048_327_646_991_33e-1),
        ] {
            let found = student_two_sided(t, freedom);
            assert!(
                (found / p - 1.0).abs() < 1e-9,
                "{found} of {t}, {freedom}, not {p}"
            );
        }
        assert!(student_two_sided(f64::NAN, 3).is_nan());
        assert_eq!(student_two_sided(0.0, 4), 1.0);
    }

    #[test]
    fn few_rows_reach_further() {
        let z = 1.959_963_985;
        assert!((reach(z, 2.0) / (12.706_204_736 * 2.0_f64.sqrt()) - 1.0).abs() < 1e-6);
        assert!((reach(z, 11.0 - 1e-12) / (2.228_138_852 * 1.1_f64.sqrt()) - 1.0).abs() < 1e-6);
        assert!(reach(z, 1000.0) > z && reach(z, 1000.0) < 1.002 * z);
        assert!(reach(z, 1e6) == z && reach(z, 1.0).is_nan() && reach(z, f64::NAN).is_nan());
    }
}
