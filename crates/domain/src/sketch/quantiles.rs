//! The distribution of numbers.

use super::{
    bytes::{Reader, Writer},
    compactors::{Compactors, Steps},
    moments::Moments,
};
use crate::Result;

/// The kind byte of the byte form.
const KIND: u8 = b'Q';

/// The largest count that a stored sketch may have: more would not be exact as a float.
const MAX_COUNT: u64 = 1 << 53;

/// A mergeable summary of the distribution of numbers in bounded memory.
///
/// Count, minimum, maximum and sum are exact, ranks and quantiles estimates whose error [`Quantiles::rank_error`]
/// bounds; of fewer than `k` values they are exact too. A NaN is counted apart and is in nothing else. Infinities are
/// ordinary values at the ends of the order, but no part of sum, mean and variance, which one of them would make
/// useless. −0.0 is 0.0.
///
/// The coin of the sketch is kept in its state: the same seed and the same calls give the same bytes. Source: Karnin,
/// Lang and Liberty 2016, "Optimal Quantile Approximation in Streams", <https://arxiv.org/abs/1603.05346>.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantiles {
    count: u64,
    nan_count: u64,
    /// +∞ and −∞ while there are no values.
    min: f64,
    max: f64,
    moments: Moments,
    items: Compactors,
}

impl Quantiles {
    /// The accuracy of [`Quantiles::default`]: at most about 600 values kept.
    pub const DEFAULT_K: u16 = 200;

    /// An empty sketch of accuracy `k`, raised to 8 if it is less.
    ///
    /// The error in rank falls as 1/k, the memory grows as 3k values: see [`Quantiles::max_kept`].
    pub fn new(k: u16) -> Self {
        Self::with_seed(k, 0)
    }

    /// An empty sketch of accuracy `k` with a coin of its own.
    ///
    /// Sketches that will be merged should have different seeds, for instance a hash of gateway and window: with equal
    /// seeds their errors may all point in one direction, and then the error of the merged sketch in rank is that of
    /// its parts instead of less.
    pub fn with_seed(k: u16, seed: u64) -> Self {
        Self {
            count: 0,
            nan_count: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            moments: Moments::default(),
            items: Compactors::new(k, seed),
        }
    }

    /// Adds one value.
    pub fn add(&mut self, value: f64) {
        if value.is_nan() {
            self.nan_count = self.nan_count.saturating_add(1);
            return;
        }
        // Makes −0.0 to 0.0, so that equal values have equal bits.
        let value = value + 0.0;
        self.count = self.count.saturating_add(1);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if value.is_finite() {
            self.moments.add(value);
        }
        self.items.add(value);
    }

    /// Adds everything that `other` has seen; the accuracy becomes the lower of the two.
    ///
    /// In any order and grouping of merges the exact figures are those of one sketch of all values, and the bound on
    /// the error in rank holds.
    pub fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.nan_count = self.nan_count.saturating_add(other.nan_count);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.moments.merge(&other.moments);
        self.items.merge(&other.items);
    }

    /// How many values there were, infinities included and NaN not.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many NaN there were.
    pub fn nan_count(&self) -> u64 {
        self.nan_count
    }

    /// How many of the values were infinite.
    pub fn infinite_count(&self) -> u64 {
        self.count.saturating_sub(self.moments.count())
    }

    /// The smallest value, exact; `None` if there are none.
    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then_some(self.min)
    }

    /// The largest value, exact; `None` if there are none.
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }

    /// The sum of the finite values, rounded once and so the same in any order; infinite if it leaves the range.
    pub fn sum(&self) -> f64 {
        self.moments.sum()
    }

    /// The mean of the finite values; `None` if there are none or their sum leaves the range of a float.
    pub fn mean(&self) -> Option<f64> {
        self.moments.mean()
    }

    /// The variance of the finite values, divided by their number (not one less), to about 12 digits.
    ///
    /// `None` if there are none or a square leaves the range of a float.
    pub fn variance(&self) -> Option<f64> {
        self.moments.variance()
    }

    /// The smallest value that a share of at least `q` of all values does not exceed, as far as the sketch can tell.
    ///
    /// `q` is in [0, 1]; 0 gives the minimum and 1 the maximum, both exact. `None` if there are no values or `q` is not
    /// in the range.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if self.count == 0 || !(0.0..=1.0).contains(&q) {
            None
        } else if q == 0.0 {
            Some(self.min)
        } else if q == 1.0 {
            Some(self.max)
        } else {
            self.steps().value_at(q * self.count as f64)
        }
    }

    /// The estimated share of values that are at most `value`, in [0, 1]; 0 if there are no values or it is NaN.
    pub fn rank(&self, value: f64) -> f64 {
        self.steps().at_most(value) as f64 / self.count.max(1) as f64
    }

    /// How far a rank may be off, as a share in [0, 1], with probability `confidence` (for instance 0.99).
    ///
    /// Holds for the rank of any one value; for the quantile, whose rank is off by no more, too. It is computed from
    /// the compactions this sketch went through (inequality of Hoeffding and Azuma), so it holds for any data and
    /// merging, and is 0 while the sketch is exact. For k = 200 and a million values it is about 0.013 at 0.99
    /// (measured; 99 % of the errors met were below 0.007), and after merging no more.
    pub fn rank_error(&self, confidence: f64) -> f64 {
        self.items.rank_error(self.count, confidence)
    }

    /// The accuracy parameter.
    pub fn k(&self) -> u16 {
        self.items.k()
    }

    /// How many values the sketch keeps now.
    pub fn kept(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing was added, not even NaN.
    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.nan_count == 0
    }

    /// The bound on the values that a sketch of accuracy `k` keeps, whatever is added: 3k + 8 · 64, of 8 bytes each.
    pub const fn max_kept(k: u16) -> usize {
        let k = if k < 8 { 8 } else { k as usize };
        3 * k + 8 * 64
    }

    /// The byte form: version, kind, then the state; about 8 bytes for each value kept.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(KIND);
        out.u64(self.count);
        out.u64(self.nan_count);
        out.f64(self.min);
        out.f64(self.max);
        self.moments.write(&mut out);
        self.items.write(&mut out);
        out.finish()
    }

    /// The sketch that [`Quantiles::encode`] wrote; encoding it again gives the same bytes.
    ///
    /// Errors: [`DataLoss`](crate::Error::DataLoss) if the bytes are of another version or kind, cut short, too long,
    /// or contradict themselves.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, KIND, "quantile")?;
        let (count, nan_count) = (reader.u64()?, reader.u64()?);
        reader.check(
            count <= MAX_COUNT && nan_count <= MAX_COUNT,
            "has a count that cannot be",
        )?;
        let (min, max) = (reader.f64()?, reader.f64()?);
        let range_is_sound = if count == 0 {
            (min, max) == (f64::INFINITY, f64::NEG_INFINITY)
        } else {
            min <= max
        };
        reader.check(range_is_sound, "has a range that cannot be")?;
        let moments = Moments::read(&mut reader)?;
        reader.check(
            moments.count() <= count,
            "has a sum of more values than its count",
        )?;
        let items = Compactors::read(&mut reader, count, min, max)?;
        reader.finish()?;
        Ok(Self {
            count,
            nan_count,
            min,
            max,
            moments,
            items,
        })
    }

    /// The estimated distribution function, for many questions at once.
    pub(super) fn steps(&self) -> Steps {
        self.items.steps()
    }
}

/// Accuracy [`Quantiles::DEFAULT_K`].
impl Default for Quantiles {
    fn default() -> Self {
        Self::new(Self::DEFAULT_K)
    }
}
