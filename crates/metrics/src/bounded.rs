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

use crate::{Estimate, Method, estimate::wilson};

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
