//! Intervals of metrics that have a range, safe at its ends.
//!
//! Where all rows agree (no error, every score 1) the variance of a sample is 0, and so are the widths of
//! normal intervals and of percentiles of resamples: two right rows would prove a perfect model. Wilson's
//! interval of a proportion does not collapse, so it is used for all metrics with a range: the metric takes
//! the part of the proportion, and its variance that of the rows, n = (value − least) · (most − value) /
//! variance. That is the effective sample size of surveys (Kott and Carr 1997, "Developing an Estimation
//! Strategy for a Pesticide Data Program"; Franco et al. 2019, "Comparative Study of Confidence Intervals for
//! Proportions in Complex Sample Surveys", <https://doi.org/10.1093/jssam/smy019>, who recommend Wilson's).
//! For a proportion it is the number of rows itself.
//!
//! Value and variance for that number are those of a sample with some rows more, which are at the ends of the
//! range, as Agresti and Caffo (2000, <https://doi.org/10.1080/00031305.2000.10474560>) add successes and
//! failures: else both would be 0 where all rows agree. How many are added cancels there, and hardly matters
//! elsewhere from some hundred rows on; the interval lies around the value of the sample as it is.

use crate::{Estimate, Method, estimate::wilson, moments::Mean, normal::z_of};

/// So much of a row is added at either end of the range. A simulation of scores, areas and losses chose it:
/// less leaves intervals of ten rows too narrow, more makes those of a thousand needlessly wide.
pub(crate) const END_ROWS: f64 = 0.25;

/// A metric of a sample with rows more at the ends of its range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Smoothed {
    pub(crate) value: f64,
    /// The square of the standard error.
    pub(crate) variance: f64,
}

impl Smoothed {
    /// Of a mean of `rows` rows (an effective number) with the mean square `spread` of their distances to it.
    pub(crate) fn of_mean(mean: f64, spread: f64, rows: f64, range: (f64, f64)) -> Self {
        let (least, most) = range;
        let all = rows + 2.0 * END_ROWS;
        let value = (rows * mean + END_ROWS * (least + most)) / all;
        let ends = END_ROWS * ((value - least).powi(2) + (most - value).powi(2));
        let spread = (rows * (spread + (mean - value).powi(2)) + ends) / all;
        Self {
            value,
            variance: spread / rows,
        }
    }

    /// The interval of the metric, `value` on the sample as it is. None without a variance or a range.
    pub(crate) fn estimate(self, value: f64, z: f64, range: (f64, f64), method: Method) -> Estimate {
        let (least, most) = range;
        let width = most - least;
        let rows = (self.value - least) * (most - self.value) / self.variance;
        if !(self.variance > 0.0 && rows > 0.0 && width > 0.0) {
            return Estimate::point(value);
        }
        let share = wilson((value - least) / width, rows, z);
        // Rounding must not put an end on the wrong side of the value.
        let low = (least + width * share.low).min(value);
        let high = (least + width * share.high).max(value);
        Estimate::between(value, low, high, method)
    }
}

/// The mean of values in `[least, most]` with its interval, also where all are equal; none without a range,
/// NaN without values.
pub fn mean_in_range(values: &[f64], range: (f64, f64), confidence: f64) -> Estimate {
    let mut mean = Mean::default();
    values.iter().for_each(|&value| mean.add(value, 1.0));
    mean.estimate_in_range(z_of(confidence), range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    const Z: f64 = 1.959_963_985;

    #[test]
    fn zeros_and_ones_have_wilsons_interval() {
        for (ones, rows) in [(0, 3), (3, 3), (5, 20), (999, 1000)] {
            let values: Vec<f64> = (0..rows).map(|row| f64::from(u8::from(row < ones))).collect();
            let found = mean_in_range(&values, (0.0, 1.0), 0.95);
            let expected = wilson(f64::from(ones) / f64::from(rows), f64::from(rows), Z);
            assert!((found.low - expected.low).abs() < 1e-9 && (found.high - expected.high).abs() < 1e-9);
            assert_eq!(found.method, Method::WilsonDelta);
        }
    }

    #[test]
    fn equal_values_leave_doubt_that_rows_take_away() {
        for value in [1.0, 1.7, 5.0] {
            let mut before = f64::INFINITY;
            for rows in [1, 2, 3, 10, 100, 1000, 10_000] {
                let found = mean_in_range(&vec![value; rows], (1.0, 5.0), 0.95);
                let width = found.high - found.low;
                assert!(width > 0.0 && width < before, "{rows} times {value}: {found:?}");
                assert!(1.0 <= found.low && found.low <= value && value <= found.high && found.high <= 5.0);
                before = width;
            }
            assert!(before < 0.01, "{before}");
        }
        assert_eq!(mean_in_range(&[1.0], (1.0, 1.0), 0.95).method, Method::NoInterval);
        assert!(!mean_in_range(&[], (0.0, 1.0), 0.95).is_defined());
    }

    #[test]
    fn intervals_of_means_cover() {
        type Draw = fn(&mut Random) -> f64;
        // With their means.
        let kinds: [(Draw, f64); 4] = [
            (|random| f64::from(u8::from(random.unit() < 0.98)), 0.98),
            (
                |random| if random.unit() < 0.9 { 1.0 } else { random.unit() },
                0.95,
            ),
            (|random| random.unit().powi(8), 1.0 / 9.0),
            (|random| 0.25 * random.below(5) as f64, 0.5),
        ];
        for (kind, (draw, mean)) in kinds.into_iter().enumerate() {
            for rows in [2, 5, 10, 20, 50, 200] {
                let mut random = Random::new(kind as u64, rows);
                let samples = 2000;
                let covered = (0..samples)
                    .filter(|_| {
                        let values: Vec<f64> = (0..rows).map(|_| draw(&mut random)).collect();
                        let found = mean_in_range(&values, (0.0, 1.0), 0.95);
                        found.low <= mean && mean <= found.high
                    })
                    .count();
                let share = covered as f64 / f64::from(samples);
                // Wilson's own interval covers 0.90 of 5 rows that are right with 0.98.
                assert!(share > 0.89, "{share} of {rows} rows of kind {kind}");
            }
        }
    }
}
