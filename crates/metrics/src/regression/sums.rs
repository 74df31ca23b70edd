//! The metrics of regression that sums give, each with the variance of its linear part.

mod block;
mod codec;
mod mixed;

use lodeway_domain::{Error, Result};

use self::{block::BLOCK, mixed::MOMENTS};
use crate::{Estimate, Sum, check, moments::Mean};

/// Sums over rows with a target and a predicted number. Parts merge into the state of the whole.
///
/// Metrics are those of `sklearn.metrics` (1.7) with one output. NaN and infinite values are refused, as there. Squares
/// overflow to an infinite metric above 1e154.
#[derive(Debug, Clone, PartialEq)]
pub struct RegressionSums {
    quantile: f64,
    absolute: Mean,
    squared: Mean,
    percentage: Mean,
    symmetric: Mean,
    pinball: Mean,
    /// Only while every row so far had a deviance.
    poisson: Mean,
    has_poisson: bool,
    largest: f64,
    error: Sum,
    target: Sum,
    target_squared: Sum,
    error_range: Range,
    target_range: Range,
    shift: f64,
    moments: [Sum; MOMENTS],
}

/// Least and greatest value of rows with weight, to know a constant column for sure.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Range {
    least: f64,
    greatest: f64,
}

impl Range {
    const EMPTY: Self = Self {
        least: f64::INFINITY,
        greatest: f64::NEG_INFINITY,
    };

    fn add(&mut self, value: f64) {
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
    }

    fn is_constant(&self) -> bool {
        self.least >= self.greatest
    }
}

impl RegressionSums {
    pub(crate) const KIND: u8 = 6;
    const WHAT: &'static str = "regression";

    /// No rows yet; `quantile` in [0, 1] is that of the pinball loss. Errors: `INVALID_FIELD` if it is not.
    pub fn new(quantile: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&quantile) {
            return Err(Error::invalid("quantile", "is not between 0 and 1"));
        }
        Ok(Self {
            quantile,
            absolute: Mean::default(),
            squared: Mean::default(),
            percentage: Mean::default(),
            symmetric: Mean::default(),
            pinball: Mean::default(),
            poisson: Mean::default(),
            has_poisson: true,
            largest: 0.0,
            error: Sum::default(),
            target: Sum::default(),
            target_squared: Sum::default(),
            error_range: Range::EMPTY,
            target_range: Range::EMPTY,
            shift: 0.0,
            moments: [Sum::default(); MOMENTS],
        })
    }

    /// Adds a batch.
    ///
    /// Errors: `INVALID_FIELD` for columns of different length, values that are NaN or infinite, bad weights; nothing was
    /// added then.
    pub fn update(&mut self, target: &[f64], predicted: &[f64], weights: Option<&[f64]>) -> Result<()> {
        check::same_length("prediction", predicted.len(), target.len())?;
        check::finite("target", target)?;
        check::finite("prediction", predicted)?;
        check::weights(weights, target.len())?;
        if self.rows() == 0 {
            self.shift = target.first().copied().unwrap_or(0.0);
        }
        // Blocks of plain sums for the moments: only intervals read them.
        for from in (0..target.len()).step_by(BLOCK) {
            let to = target.len().min(from + BLOCK);
            let mut moments = [0.0; MOMENTS];
            match weights {
                None => moments = self.add_block(&target[from..to], &predicted[from..to]),
                Some(weights) => {
                    for row in from..to {
                        self.add(target[row], predicted[row], weights[row], &mut moments);
                    }
                }
            }
            for (sum, block) in self.moments.iter_mut().zip(moments) {
                sum.add(block);
            }
        }
        Ok(())
    }

    #[inline]
    fn add(&mut self, target: f64, predicted: f64, weight: f64, moments: &mut [f64; MOMENTS]) {
        let error = target - predicted;
        let distance = error.abs();
        // scikit-learn's largest error knows no weights.
        self.largest = self.largest.max(distance);
        self.absolute.add(distance, weight);
        self.squared.add(error * error, weight);
        self.percentage.add(ape(target, distance), weight);
        self.symmetric.add(smape(target, predicted), weight);
        let slope = if error >= 0.0 {
            self.quantile
        } else {
            1.0 - self.quantile
        };
        self.pinball.add(slope * distance, weight);
        if self.has_poisson {
            if target >= 0.0 && predicted > 0.0 {
                self.poisson.add(poisson_deviance(target, predicted), weight);
            } else {
                self.has_poisson = false;
                self.poisson = Mean::default();
            }
        }
        self.error.add_product(error, weight);
        let weighted = weight * target;
        self.target.add_product(target, weight);
        // w·t² with all bits: the rest of w·t times t is below the last digit of the sum.
        let mut exact = Sum::default();
        exact.add_product(weight, target);
        self.target_squared.add_product(weighted, target);
        self.target_squared
            .add((exact - Sum::from(weighted)).value() * target);
        if weight > 0.0 {
            self.error_range.add(error);
            self.target_range.add(target);
        }
        let u = target - self.shift;
        let (we, wu) = (weight * error, weight * u);
        let (wee, wuu) = (we * error, wu * u);
        let terms = [
            wee * error,
            wee * error * error,
            wu,
            wuu,
            wuu * u,
            wuu * u * u,
            we * u,
            we * u * u,
            wee * u,
            wee * u * u,
            we,
        ];
        moments.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
    }

    /// Adds the rows of another state. Errors: `INVALID_FIELD` if its quantile is another.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.quantile != other.quantile {
            return Err(Error::invalid(
                "state",
                "has another quantile and cannot be merged",
            ));
        }
        if other.rows() == 0 {
            return Ok(());
        }
        if self.rows() == 0 {
            *self = other.clone();
            return Ok(());
        }
        let moved = other.moments_around(self.shift);
        for (own, other) in self.moments.iter_mut().zip(moved) {
            own.add(other);
        }
        for (own, other) in self.means_mut().into_iter().zip(other.means()) {
            own.merge(other);
        }
        self.has_poisson &= other.has_poisson;
        if !self.has_poisson {
            self.poisson = Mean::default();
        }
        self.largest = self.largest.max(other.largest);
        self.error.merge(other.error);
        self.target.merge(other.target);
        self.target_squared.merge(other.target_squared);
        for (own, other) in [
            (&mut self.error_range, other.error_range),
            (&mut self.target_range, other.target_range),
        ] {
            own.least = own.least.min(other.least);
            own.greatest = own.greatest.max(other.greatest);
        }
        Ok(())
    }

    /// How many rows were added.
    pub fn rows(&self) -> u64 {
        self.absolute.rows()
    }

    /// The sum of weights.
    pub fn weight(&self) -> f64 {
        self.absolute.weight()
    }

    /// Ok if there are rows with weight. Errors: `INVALID_FIELD`, where scikit-learn raises `ValueError` or
    /// `ZeroDivisionError`; the metrics are NaN then.
    pub fn check(&self) -> Result<()> {
        check::not_empty(self.rows(), self.weight())
    }

    /// Mean absolute error, ≥ 0, in units of the target. Source: `mean_absolute_error`.
    pub fn mae(&self) -> f64 {
        self.absolute.value()
    }

    /// Mean squared error, ≥ 0. Source: `mean_squared_error`.
    pub fn mse(&self) -> f64 {
        self.squared.value()
    }

    /// The root of the mean squared error, in units of the target. Source: `root_mean_squared_error`.
    pub fn rmse(&self) -> f64 {
        self.mse().sqrt()
    }

    /// Mean of |t − p| / max(|t|, 2⁻⁵²): a fraction, not percent, and huge where a target is 0. Source:
    /// `mean_absolute_percentage_error`.
    pub fn mape(&self) -> f64 {
        self.percentage.value()
    }

    /// Mean of 2·|t − p| / (|t| + |p|), in [0, 2]; 0 where both are 0. Not in scikit-learn.
    ///
    /// Source: Makridakis 1993, "Accuracy measures: theoretical and practical concerns",
    /// <https://doi.org/10.1016/0169-2070(93)90079-3>.
    pub fn smape(&self) -> f64 {
        self.symmetric.value()
    }

    /// Mean pinball loss of the state's quantile, ≥ 0. Source: `mean_pinball_loss`.
    pub fn pinball(&self) -> f64 {
        self.pinball.value()
    }

    /// The largest |t − p|, without regard to weights. Source: `max_error`.
    pub fn max_error(&self) -> f64 {
        if self.rows() == 0 { f64::NAN } else { self.largest }
    }

    /// Mean Poisson deviance, ≥ 0. Errors: `INVALID_FIELD` if a target was negative or a prediction not positive, where
    /// scikit-learn raises `ValueError`. Source: `mean_poisson_deviance`.
    pub fn mean_poisson_deviance(&self) -> Result<f64> {
        if self.has_poisson {
            Ok(self.poisson.value())
        } else {
            Err(Error::invalid(
                "prediction",
                "must be above 0, and the target at least 0, for the Poisson deviance",
            ))
        }
    }

    /// Coefficient of determination, at most 1. NaN for fewer than two rows, as scikit-learn (which warns). For a constant
    /// target 1 if every prediction is right, else 0: its `force_finite=True`. There a constant whose mean rounds, such as
    /// 0.1, may miss that case; here it does not. Source: `r2_score`.
    pub fn r2(&self) -> f64 {
        if self.rows() < 2 {
            return f64::NAN;
        }
        self.one_minus(self.squared_sum(), self.squared.value() == 0.0)
    }

    /// Like [`RegressionSums::r2`], but a constant bias of the predictions costs nothing; 1 for one row.
    ///
    /// Source: `explained_variance_score`.
    pub fn explained_variance(&self) -> f64 {
        if self.rows() == 0 {
            return f64::NAN;
        }
        let weight = self.absolute.weight_sum();
        let spread = self.squared_sum() - self.error * self.error / weight;
        self.one_minus(spread, self.error_range.is_constant())
    }

    fn squared_sum(&self) -> Sum {
        self.squared.first_sum()
    }

    fn one_minus(&self, residual: Sum, is_perfect: bool) -> f64 {
        if is_perfect {
            return 1.0;
        }
        if self.target_range.is_constant() {
            return 0.0;
        }
        let weight = self.absolute.weight_sum();
        let spread = self.target_squared - self.target * self.target / weight;
        (Sum::from(1.0) - residual / spread).value()
    }

    /// Mean of the target.
    pub fn target_mean(&self) -> f64 {
        (self.target / self.absolute.weight_sum()).value()
    }

    /// Mean of target − prediction: how far the predictions are too low on average.
    pub fn bias(&self) -> f64 {
        (self.error / self.absolute.weight_sum()).value()
    }

    /// How many rows without weights would know as much.
    pub(crate) fn effective_rows(&self) -> f64 {
        self.absolute.effective_rows()
    }

    /// Every metric of these sums by its short name, with intervals of `z` standard errors to each side.
    pub(crate) fn put_metrics(&self, z: f64, put: &mut impl FnMut(&str, Estimate)) {
        let positive = (0.0, f64::INFINITY);
        let mse = self.squared.estimate(z, positive);
        put("mse", mse);
        put("rmse", mse.map(f64::sqrt));
        put("mae", self.absolute.estimate(z, positive));
        put("mape", self.percentage.estimate(z, positive));
        put("smape", self.symmetric.estimate(z, (0.0, 2.0)));
        put("mean_pinball_loss", self.pinball.estimate(z, positive));
        if self.has_poisson {
            put("mean_poisson_deviance", self.poisson.estimate(z, positive));
        }
        put("max_error", Estimate::point(self.max_error()));
        put("r2", self.ratio_estimate(self.r2(), 0.0, z));
        put(
            "explained_variance",
            self.ratio_estimate(self.explained_variance(), self.bias(), z),
        );
    }

    fn means(&self) -> [&Mean; 6] {
        [
            &self.absolute,
            &self.squared,
            &self.percentage,
            &self.symmetric,
            &self.pinball,
            &self.poisson,
        ]
    }

    fn means_mut(&mut self) -> [&mut Mean; 6] {
        [
            &mut self.absolute,
            &mut self.squared,
            &mut self.percentage,
            &mut self.symmetric,
            &mut self.pinball,
            &mut self.poisson,
        ]
    }
}

/// |t − p| relative to |t|, which is at least 2⁻⁵².
#[inline]
pub(crate) fn ape(target: f64, distance: f64) -> f64 {
    distance / target.abs().max(f64::EPSILON)
}

#[inline]
pub(crate) fn smape(target: f64, predicted: f64) -> f64 {
    let scale = target.abs() + predicted.abs();
    if scale > 0.0 {
        2.0 * (target - predicted).abs() / scale
    } else {
        0.0
    }
}

/// 2·(t·ln(t / p) − t + p).
#[inline]
pub(crate) fn poisson_deviance(target: f64, predicted: f64) -> f64 {
    let log = if target > 0.0 {
        target * (target / predicted).ln()
    } else {
        0.0
    };
    2.0 * (log - target + predicted)
}
