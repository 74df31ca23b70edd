//! Sum, mean and variance of a stream, in a form that merges.

use super::bytes::{Reader, Writer};
use crate::Result;

/// When a sum has more parts, they are packed; then 41 of 53 bits each are enough for all 2098 bits of a float's range.
const MAX_PARTS: usize = 64;

/// A sum without rounding error: floats that do not overlap, smallest first, whose total is the sum.
///
/// Source: Shewchuk 1997, "Adaptive Precision Floating-Point Arithmetic", section 2.4; the rounding of
/// [`ExactSum::value`] is that of Python's `math.fsum`. Hence the value does not depend on the order of adding or
/// merging. A sum that leaves the range of a float is infinite from then on.
#[derive(Debug, Clone, Default, PartialEq)]
struct ExactSum(Vec<f64>);

impl ExactSum {
    /// Adds a finite value.
    fn add(&mut self, value: f64) {
        if !self.is_finite() {
            return;
        }
        let mut carry = value;
        let mut kept = 0;
        for at in 0..self.0.len() {
            let (total, error) = two_sum(carry, self.0[at]);
            if error != 0.0 {
                self.0[kept] = error;
                kept += 1;
            }
            carry = total;
        }
        self.0.truncate(kept);
        if carry.is_infinite() {
            self.0.clear();
        }
        if carry != 0.0 {
            self.0.push(carry);
        }
        if self.0.len() > MAX_PARTS {
            self.pack();
        }
    }

    /// Fills the bits of every part, the largest first, so that as few as possible are needed.
    fn pack(&mut self) {
        let mut packed = Vec::new();
        let mut carry = 0.0;
        for &part in self.0.iter().rev() {
            let (total, error) = two_sum(carry, part);
            carry = if error == 0.0 {
                total
            } else {
                packed.push(total);
                error
            };
        }
        if carry != 0.0 {
            packed.push(carry);
        }
        packed.reverse();
        self.0 = packed;
    }

    fn merge(&mut self, other: &Self) {
        if other.is_finite() {
            other.0.iter().for_each(|&part| self.add(part));
        } else if self.is_finite() {
            self.clone_from(other);
        }
    }

    fn is_finite(&self) -> bool {
        self.0.last().is_none_or(|last| last.is_finite())
    }

    /// The float nearest to the sum, ties to even.
    fn value(&self) -> f64 {
        let mut parts = self.0.iter().rev().copied();
        let mut value = parts.next().unwrap_or(0.0);
        for part in parts.by_ref() {
            let (total, error) = two_sum(value, part);
            value = total;
            if error != 0.0 {
                // `value` was rounded to even at a tie although what is still to come lies beyond the tie.
                let beyond = parts.next().unwrap_or(0.0);
                let (pushed, doubled) = (value + error * 2.0, error * 2.0);
                let same_side = beyond != 0.0 && beyond.is_sign_negative() == error.is_sign_negative();
                if same_side && pushed - value == doubled {
                    value = pushed;
                }
                break;
            }
        }
        value
    }
}

/// `a + b` rounded, and what the rounding lost (Knuth); nothing if a step leaves the range of a float.
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let total = a + b;
    let seen = total - a;
    let error = (a - (total - seen)) + (b - seen);
    (total, if error.is_finite() { error } else { 0.0 })
}

/// Count, exact sum, mean and squared distance from the mean of finite values.
///
/// Source: Welford 1962 for adding, Chan, Golub and LeVeque 1979 for merging; neither subtracts large squares, so a
/// small variance beside a large mean survives.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Moments {
    count: u64,
    sum: ExactSum,
    mean: f64,
    /// The sum of the squared distances from the mean.
    m2: f64,
}

impl Moments {
    /// Adds a finite value.
    pub(super) fn add(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        self.sum.add(value);
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.m2 += before * (value - self.mean);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (ours, theirs) = (self.count as f64, other.count as f64);
        let apart = other.mean - self.mean;
        self.mean += apart * (theirs / (ours + theirs));
        self.m2 += other.m2 + apart * apart * (ours * theirs / (ours + theirs));
        self.count = self.count.saturating_add(other.count);
        self.sum.merge(&other.sum);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn sum(&self) -> f64 {
        self.sum.value()
    }

    pub(super) fn mean(&self) -> Option<f64> {
        let mean = self.sum() / self.count as f64;
        mean.is_finite().then_some(mean)
    }

    pub(super) fn variance(&self) -> Option<f64> {
        let variance = self.m2 / self.count as f64;
        variance.is_finite().then_some(variance)
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.u64(self.count);
        out.f64s(&self.sum.0);
        out.f64(self.mean);
        out.f64(self.m2);
    }

    pub(super) fn read(bytes: &mut Reader<'_>) -> Result<Self> {
        let (count, parts) = (bytes.u64()?, bytes.f64s()?);
        let numbers = parts.iter().all(|part| part.is_finite() && *part != 0.0);
        let overflown = matches!(parts[..], [only] if only.is_infinite());
        let sound = (numbers && parts.len() <= MAX_PARTS) || overflown;
        bytes.check(sound, "has a sum that cannot be")?;
        let (sum, mean, m2) = (ExactSum(parts), bytes.f64()?, bytes.f64()?);
        bytes.check(!m2.is_finite() || m2 >= 0.0, "has a negative variance")?;
        Ok(Self { count, sum, mean, m2 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn of(values: &[f64]) -> Moments {
        let mut moments = Moments::default();
        values.iter().for_each(|&value| moments.add(value));
        moments
    }

    #[test]
    fn a_sum_loses_nothing() {
        assert_eq!(of(&[1e100, 1.0, -1e100]).sum(), 1.0);
        assert_eq!(of(&[0.1; 10]).sum(), 1.0);
        // A tie to even that the last part breaks.
        assert_eq!(
            of(&[1.0, 2_f64.powi(-53), 2_f64.powi(-106)]).sum(),
            1.0 + f64::EPSILON
        );
        assert_eq!(of(&[1.0, 2_f64.powi(-53)]).sum(), 1.0);
        assert_eq!(of(&[-0.0, 5e-324, -5e-324]).sum(), 0.0);
    }

    #[test]
    fn beyond_the_range_the_sum_is_infinite_and_the_mean_unknown() {
        let high = of(&[f64::MAX, f64::MAX, -1.0]);
        assert_eq!((high.sum(), high.mean()), (f64::INFINITY, None));
        let mut merged = of(&[2.0]);
        merged.merge(&high);
        assert_eq!((merged.sum(), merged.count()), (f64::INFINITY, 4));
        assert_eq!(of(&[f64::MAX, -f64::MAX]).variance(), None);
    }

    #[test]
    fn a_small_variance_beside_a_large_mean() {
        let moments = of(&[1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0]);
        assert_eq!(
            (moments.mean(), moments.variance()),
            (Some(1e9 + 10.0), Some(22.5))
        );
        assert_eq!((of(&[]).mean(), of(&[]).variance()), (None, None));
    }

    proptest! {
        #[test]
        fn the_sum_does_not_depend_on_the_order(
            values in vec(any::<f64>().prop_filter("finite", |v| v.is_finite() && v.abs() < 1e300), 0..60),
            cut in 0_usize..60,
        ) {
            let (left, right) = values.split_at(cut.min(values.len()));
            let mut merged = of(right);
            merged.merge(&of(left));
            let mut reversed = values.clone();
            reversed.reverse();
            prop_assert_eq!(merged.sum().to_bits(), of(&values).sum().to_bits());
            prop_assert_eq!(merged.sum().to_bits(), of(&reversed).sum().to_bits());
            prop_assert!(of(&values).sum.0.len() <= MAX_PARTS);
        }

        #[test]
        fn merged_moments_are_those_of_the_whole(values in vec(-1e3..1e3_f64, 1..200), cut in 0_usize..200) {
            let (left, right) = values.split_at(cut.min(values.len()));
            let mut merged = of(left);
            merged.merge(&of(right));
            let whole = of(&values);
            prop_assert_eq!(merged.mean(), whole.mean());
            let (one, two) = (merged.variance().unwrap(), whole.variance().unwrap());
            prop_assert!((one - two).abs() <= 1e-9 * (1.0 + two), "{} {}", one, two);
        }
    }
}
