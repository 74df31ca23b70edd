//! The median of absolute errors, which needs all of them.

use lodeway_domain::{Error, Result};

use crate::{
    Estimate, Method, ScoredRow, Scores, SpillStore, check,
    classification::{Group, Totals, Walk},
    normal::normal_cdf,
};

/// What the median is where half of the weight lies exactly between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MedianRule {
    /// The lower value if there are weights, the mean of both if there are none: scikit-learn up to 1.7.
    LowerIfWeighted,
    /// Always the mean of both, so that weights of 1 change nothing: scikit-learn from 1.8 on.
    #[default]
    Mean,
}

/// Absolute errors with weights, in memory up to a bound, beyond it in the caller's store.
#[derive(Debug, Clone, PartialEq)]
pub struct Errors {
    values: Scores,
    has_weights: bool,
}

impl Errors {
    /// Holds at most `limit` rows.
    pub fn new(limit: usize) -> Self {
        Self {
            values: Scores::new(limit),
            has_weights: false,
        }
    }

    /// Adds |target − predicted| of a batch; with a `store`, what does not fit goes there.
    ///
    /// Errors: `INVALID_FIELD` as [`Scores::update`]; `LIMIT_EXCEEDED` without a store.
    pub fn update(
        &mut self,
        target: &[f64],
        predicted: &[f64],
        weights: Option<&[f64]>,
        store: Option<&mut dyn SpillStore>,
    ) -> Result<()> {
        check::same_length("prediction", predicted.len(), target.len())?;
        self.has_weights |= weights.is_some();
        let errors: Vec<f64> = target.iter().zip(predicted).map(|(t, p)| (t - p).abs()).collect();
        if weights.is_none() && self.values.fits(errors.len()) {
            return self.values.update_negatives(&errors);
        }
        let classes = vec![false; errors.len()];
        match store {
            None => self.values.update(&errors, &classes, weights),
            Some(store) => self.values.update_or_spill(&errors, &classes, weights, store),
        }
    }

    /// Adds the rows of another state. Errors: as [`Scores::merge`].
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        self.has_weights |= other.has_weights;
        self.values.merge(&other.values)
    }

    /// How many rows went to a store.
    pub fn spilled(&self) -> u64 {
        self.values.spilled()
    }

    /// Gives the rows held to `store`.
    pub fn spill(&mut self, store: &mut dyn SpillStore) -> Result<()> {
        self.values.spill(store)
    }

    /// Some batch had weights.
    pub fn has_weights(&self) -> bool {
        self.has_weights
    }

    /// The median of the rows held with an interval from the order statistics; NaN without rows. So few that
    /// the least and the greatest do not hold the median with confidence (5 of 0.95) leave no interval; that
    /// of many equal rows may have no width and still be right, for more than half of all rows have that
    /// value then.
    ///
    /// Source: `sklearn.metrics.median_absolute_error`.
    pub fn median(&self, rule: MedianRule, z: f64) -> Estimate {
        if !self.has_weights
            && let Some(rows) = self.values.unweighted_negatives()
        {
            return self.by_selection(rows, z);
        }
        let (mut weight, mut squared) = (0.0, 0.0);
        self.values.groups(|group| {
            weight += group.negatives;
            squared += group.negatives_squared;
        });
        let mut search = MedianSearch::new(weight, squared, self.has_weights, rule, z);
        self.values
            .groups(|group| search.add(group.score, group.negatives));
        search.finish()
    }

    /// As [`Errors::median`], of rows that all went to `store`. Only those near the median are read.
    ///
    /// Errors: those of the store; `INVALID_FIELD` if rows are held that were not spilled.
    pub fn median_of_spilled(
        &self,
        rule: MedianRule,
        z: f64,
        store: &mut dyn SpillStore,
    ) -> Result<Estimate> {
        let all = self.values.spilled_totals();
        let mut search = MedianSearch::new(all.weight, all.squared_weight, self.has_weights, rule, z);
        self.values.walk_spilled(store, &mut search)?;
        Ok(search.finish())
    }

    /// The median of so many rows without weights and the two order statistics around it, without sorting.
    fn by_selection(&self, rows: usize, z: f64) -> Estimate {
        let Some(last) = rows.checked_sub(1) else {
            return Estimate::point(f64::NAN);
        };
        let (lower, upper) = (last / 2, rows / 2);
        let is_enough = is_enough(rows as f64, z);
        let (low, high) = order_ranks(rows as f64, z);
        let (low, high) = ((low as usize).min(lower), (high as usize).clamp(upper, last));
        let (below, mut values) = self.values.negatives_around(low, high);
        let mut at = |place: usize| *values.select_nth_unstable_by(place - below, f64::total_cmp).1;
        let value = if lower == upper {
            at(upper)
        } else {
            0.5 * (at(lower) + at(upper))
        };
        if !is_enough {
            return Estimate::point(value);
        }
        let (low, high) = (at(low).min(value), at(high).max(value));
        Estimate::between(value, low, high, Method::OrderStatistics)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.values.encode();
        bytes.push(u8::from(self.has_weights));
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::DataLoss("the stored errors state is cut off".into());
        let (&last, bytes) = bytes.split_last().ok_or_else(damaged)?;
        Ok(Self {
            values: Scores::decode(bytes)?,
            has_weights: last == 1,
        })
    }
}

/// The ranks, from 0, between which the median of a population lies: the binomial distribution by its normal limit.
///
/// Source: Conover, "Practical Nonparametric Statistics", section 3.2.
fn order_ranks(rows: f64, z: f64) -> (f64, f64) {
    let half = 0.5 * z * rows.sqrt();
    (
        ((0.5 * rows - half).floor() - 1.0).max(0.0),
        (0.5 * rows + half).ceil(),
    )
}

/// Whether the median lies between the least and the greatest row as surely as `z` asks: all lie on one side
/// of it with a chance of 2 / 2ⁿ.
fn is_enough(rows: f64, z: f64) -> bool {
    (1.0 - rows).exp2() <= 2.0 * normal_cdf(-z)
}

/// Finds the weighted median in one pass over values in descending order.
#[derive(Debug, Clone)]
pub struct MedianSearch {
    half: f64,
    averaged: bool,
    ranks: (f64, f64),
    is_enough: bool,
    above: f64,
    current: Option<f64>,
    value: Option<f64>,
    high: Option<f64>,
    low: Option<f64>,
}

impl MedianSearch {
    /// `weight` and `squared_weight` are the sums over all rows of w and w².
    pub fn new(weight: f64, squared_weight: f64, has_weights: bool, rule: MedianRule, z: f64) -> Self {
        let effective = weight * weight / squared_weight;
        // Ranks from the top, as shares of the weight.
        let half = 0.5 * z / effective.sqrt();
        Self {
            half: 0.5 * weight,
            averaged: !has_weights || rule == MedianRule::Mean,
            ranks: ((0.5 - half) * weight, (0.5 + half) * weight),
            is_enough: is_enough(effective, z),
            above: 0.0,
            current: None,
            value: None,
            high: None,
            low: None,
        }
    }

    /// Adds one row. Errors: `INVALID_FIELD` if it is above the one before.
    pub fn push(&mut self, row: ScoredRow) -> Result<()> {
        if self.current.is_some_and(|before| row.score > before) {
            return Err(Error::invalid("score", "is not in descending order"));
        }
        self.add(row.score, row.weight);
        Ok(())
    }

    /// The median is the last value, going down, that has at most half of the weight above it.
    fn add(&mut self, value: f64, weight: f64) {
        let reached = |share: f64| self.above + weight > share;
        if self.high.is_none() && reached(self.ranks.0) {
            self.high = Some(value);
        }
        if self.low.is_none() && reached(self.ranks.1) {
            self.low = Some(value);
        }
        if (self.above - self.half).abs() <= self.tolerance() {
            self.value = match self.current {
                Some(upper) if self.averaged => Some(0.5 * (upper + value)),
                _ => Some(value),
            };
        } else if self.above < self.half {
            self.value = Some(value);
        }
        self.above += weight;
        self.current = Some(value);
    }

    /// Rounding in the sum must not hide that half is met exactly.
    fn tolerance(&self) -> f64 {
        4.0 * f64::EPSILON * self.half
    }

    /// The median with its interval; NaN without rows.
    pub fn finish(self) -> Estimate {
        let value = self.value.unwrap_or(f64::NAN);
        if !self.is_enough {
            return Estimate::point(value);
        }
        let high = self.high.or(self.current).unwrap_or(f64::NAN);
        let low = self.low.or(self.current).unwrap_or(f64::NAN);
        Estimate::between(value, low.min(value), high.max(value), Method::OrderStatistics)
    }
}

impl Walk for MedianSearch {
    fn passes(&mut self, rows: &Totals) -> bool {
        let above = self.above + rows.weight;
        // Sums are of many weights in another order than that of the values.
        let is_far = above < (1.0 - 1e-9) * self.ranks.0.min(self.half);
        if is_far {
            self.above = above;
        }
        is_far
    }

    fn group(&mut self, group: &Group) {
        self.add(group.score, group.negatives);
    }

    fn is_done(&self) -> bool {
        self.low.is_some() && self.above > self.half + self.tolerance()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selection_finds_what_sorting_does() {
        let mut random = crate::Random::new(3, 3);
        let mut unit = || random.below(1 << 53) as f64 / (1_u64 << 53) as f64;
        let even: Vec<f64> = (0..70_000).map(|_| unit()).collect();
        let wide: Vec<f64> = even.iter().map(|x| (300.0 * (x - 0.5)).exp()).collect();
        let few: Vec<f64> = even.iter().map(|x| (x * 3.0).floor()).collect();
        let halves: Vec<f64> = (0..70_000)
            .map(|n| if n < 35_000 { 1.0 } else { 1e300 })
            .collect();
        for mut values in [even, wide, few, halves, vec![f64::MAX; 70_001]] {
            for rows in [1, 2, 3, 65_535, 65_536, 69_999, values.len()] {
                let values = &mut values[..rows];
                let mut errors = Errors::new(rows);
                errors.update(values, &vec![0.0; rows], None, None).unwrap();
                let found = errors.median(MedianRule::default(), 1.96);
                values.sort_by(f64::total_cmp);
                let (lower, upper) = (values[(rows - 1) / 2], values[rows / 2]);
                let value = if rows % 2 == 1 {
                    upper
                } else {
                    0.5 * (lower + upper)
                };
                let (low, high) = order_ranks(rows as f64, 1.96);
                assert_eq!(found.value, value, "{rows}");
                if rows < 6 {
                    assert_eq!(found.method, Method::NoInterval, "{rows}");
                    continue;
                }
                assert_eq!(
                    found.low,
                    values[(low as usize).min(rows - 1)].min(value),
                    "{rows}"
                );
                assert_eq!(
                    found.high,
                    values[(high as usize).min(rows - 1)].max(value),
                    "{rows}"
                );
            }
        }
    }
}
