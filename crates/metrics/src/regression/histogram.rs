//! Histograms of residuals.

use lodeway_domain::{Error, Result};

use crate::{Sum, check};

/// Weights in equal-width bins between two ends, and outside of them. Parts with the same bins merge.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    low: f64,
    high: f64,
    bins: Vec<Sum>,
    below: Sum,
    above: Sum,
}

impl Histogram {
    /// The most bins.
    pub const MAX_BINS: usize = 10_000;

    /// `bins` bins on [low, high). The last also holds `high`, as `numpy.histogram` has it.
    ///
    /// Errors: `INVALID_FIELD` unless both ends are finite, `low` is below `high`, and there are 1 to
    /// [`Histogram::MAX_BINS`] bins.
    pub fn new(low: f64, high: f64, bins: usize) -> Result<Self> {
        if !(low.is_finite() && high.is_finite() && low < high && (high - low).is_finite()) {
            return Err(Error::invalid(
                "range",
                "is not from a finite number to a greater one",
            ));
        }
        if bins == 0 || bins > Self::MAX_BINS {
            return Err(Error::invalid(
                "bins",
                format!("is not between 1 and {}", Self::MAX_BINS),
            ));
        }
        Ok(Self {
            low,
            high,
            bins: vec![Sum::default(); bins],
            below: Sum::default(),
            above: Sum::default(),
        })
    }

    /// Adds target − prediction of a batch. Errors: `INVALID_FIELD` for columns that do not fit or bad values.
    pub fn update(&mut self, target: &[f64], predicted: &[f64], weights: Option<&[f64]>) -> Result<()> {
        check::same_length("prediction", predicted.len(), target.len())?;
        check::finite("target", target)?;
        check::finite("prediction", predicted)?;
        check::weights(weights, target.len())?;
        let bins = self.bins.len();
        let width = (self.width(), 1.0 / self.width());
        let residuals = target.iter().zip(predicted).map(|(t, p)| t - p);
        match weights {
            None => {
                // Whole numbers sum without rounding in any order.
                let mut counts = vec![0_u64; bins + 2];
                residuals.for_each(|residual| counts[self.place(residual, width)] += 1);
                for (sum, count) in self.places_mut().zip(counts) {
                    sum.add(count as f64);
                }
            }
            Some(weights) => {
                for (residual, &weight) in residuals.zip(weights) {
                    let place = self.place(residual, width);
                    if let Some(sum) = self.places_mut().nth(place) {
                        sum.add(weight);
                    }
                }
            }
        }
        Ok(())
    }

    /// The sums of all bins, then those below and above.
    fn places_mut(&mut self) -> impl Iterator<Item = &mut Sum> {
        self.bins.iter_mut().chain([&mut self.below, &mut self.above])
    }

    /// Where in [`Histogram::places_mut`] a value belongs; `width` is that of a bin and one over it.
    #[inline]
    fn place(&self, value: f64, (width, per_width): (f64, f64)) -> usize {
        let bins = self.bins.len();
        if value < self.low {
            return bins;
        }
        if value > self.high {
            return bins + 1;
        }
        let last = bins - 1;
        let at = (((value - self.low) * per_width) as usize).min(last);
        // The product rounds, so look at the edges themselves.
        if at > 0 && value < self.low + at as f64 * width {
            at - 1
        } else if at < last && value >= self.low + (at + 1) as f64 * width {
            at + 1
        } else {
            at
        }
    }

    fn width(&self) -> f64 {
        (self.high - self.low) / self.bins.len() as f64
    }

    fn edge(&self, at: usize) -> f64 {
        if at == self.bins.len() {
            self.high
        } else {
            self.low + at as f64 * self.width()
        }
    }

    /// Adds the rows of another histogram. Errors: `INVALID_FIELD` if its bins are others.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if (self.low, self.high, self.bins.len()) != (other.low, other.high, other.bins.len()) {
            return Err(Error::invalid("histogram", "has other bins and cannot be merged"));
        }
        self.below.merge(other.below);
        self.above.merge(other.above);
        for (bin, other) in self.bins.iter_mut().zip(&other.bins) {
            bin.merge(*other);
        }
        Ok(())
    }

    /// The edges, one more than bins.
    pub fn edges(&self) -> Vec<f64> {
        (0..=self.bins.len()).map(|at| self.edge(at)).collect()
    }

    /// The weight in each bin.
    pub fn weights(&self) -> Vec<f64> {
        self.bins.iter().map(|bin| bin.value()).collect()
    }

    /// The weight below the first and above the last bin.
    pub fn outside(&self) -> (f64, f64) {
        (self.below.value(), self.above.value())
    }
}

/// A range of residuals to draw, from a sample: the 0.5 % and 99.5 % quantiles, widened by a tenth. None if the sample
/// has no two different residuals.
pub fn residual_range(target: &[f64], predicted: &[f64]) -> Option<(f64, f64)> {
    let mut residuals: Vec<f64> = target.iter().zip(predicted).map(|(t, p)| t - p).collect();
    residuals.retain(|residual| residual.is_finite());
    residuals.sort_unstable_by(f64::total_cmp);
    let last = residuals.len().checked_sub(1)?;
    let at = |share: f64| residuals.get((share * last as f64).round() as usize).copied();
    let (mut low, mut high) = (at(0.005)?, at(0.995)?);
    if low >= high {
        (low, high) = (at(0.0)?, at(1.0)?);
    }
    let margin = 0.1 * (high - low);
    (margin > 0.0).then_some((low - margin, high + margin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_those_of_numpy() {
        let mut histogram = Histogram::new(0.0, 1.0, 10).unwrap();
        let values = [-0.1, 0.0, 0.1, 0.3, 0.30000000000000004, 0.7, 0.9999, 1.0, 1.5];
        histogram.update(&values, &[0.0; 9], None).unwrap();
        assert_eq!(
            histogram.weights(),
            [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 2.0].map(|w| w)
        );
        assert_eq!(histogram.outside(), (1.0, 1.0));
        let half = histogram.clone();
        histogram.merge(&half).unwrap();
        assert_eq!(histogram.weights().iter().sum::<f64>(), 14.0);
        assert!(Histogram::new(1.0, 1.0, 3).is_err());
    }

    #[test]
    fn the_range_leaves_outliers_out() {
        let target: Vec<f64> = (0..1000)
            .map(|i| if i == 7 { 1e9 } else { f64::from(i % 10) })
            .collect();
        let (low, high) = residual_range(&target, &vec![0.0; 1000]).unwrap();
        assert!(low > -2.0 && high < 11.0);
        assert!(residual_range(&[1.0, 1.0], &[0.0, 0.0]).is_none());
    }
}
