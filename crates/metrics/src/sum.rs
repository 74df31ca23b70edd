//! Sums that do not depend on the order of their terms, in the digits anybody looks at.
//!
//! A [`Sum`] carries 106 bits in two `f64` (Dekker 1971, "A floating-point technique for extending the available
//! precision", <https://doi.org/10.1007/BF01397083>). The error of a sum of n terms is below n · 2⁻¹⁰⁴ of the sum of
//! their magnitudes, so splitting rows in another way cannot move a metric by a relative 1e-12, and a variance whose
//! mean is ten million times its deviation still has nine digits.

use std::ops::{Div, Mul, Sub};

/// A number, or a running sum, as the unevaluated sum of two `f64`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sum {
    high: f64,
    low: f64,
}

impl Sum {
    /// Adds one term.
    #[inline]
    pub fn add(&mut self, term: f64) {
        let (high, error) = two_sum(self.high, term);
        *self = renormalize(high, self.low + error);
    }

    /// Adds `a · b`, with all bits of the product.
    #[inline]
    pub fn add_product(&mut self, a: f64, b: f64) {
        let (product, rest) = two_product(a, b);
        let (high, error) = two_sum(self.high, product);
        *self = renormalize(high, self.low + (error + rest));
    }

    /// The sum of all terms.
    pub(crate) fn of(terms: &[f64]) -> Self {
        Self::of_each(terms, |term| (term, 0.0))
    }

    /// The sum of the squares of all terms, with all bits of each.
    pub(crate) fn of_squares(terms: &[f64]) -> Self {
        Self::of_each(terms, |term| two_product(term, term))
    }

    /// The sum of what `part` makes of each term: a number and its rest. Eight sums run side by side, because the steps of
    /// one wait for each other; what rounding takes is kept apart until the end.
    #[inline]
    pub(crate) fn of_each(terms: &[f64], part: impl Fn(f64) -> (f64, f64)) -> Self {
        const LANES: usize = 8;
        let (mut high, mut low) = ([0.0; LANES], [0.0; LANES]);
        let (chunks, last) = terms.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                let (term, rest) = part(chunk[lane]);
                let (sum, error) = two_sum(high[lane], term);
                high[lane] = sum;
                low[lane] += error + rest;
            }
        }
        let mut sum = Self::default();
        for (high, low) in high.into_iter().zip(low) {
            sum.merge(renormalize(high, low));
        }
        for &term in last {
            let (high, low) = part(term);
            sum.merge(renormalize(high, low));
        }
        sum
    }

    /// Adds another sum.
    #[inline]
    pub fn merge(&mut self, other: Self) {
        let (high, error) = two_sum(self.high, other.high);
        *self = renormalize(high, self.low + (error + other.low));
    }

    /// The sum as one number; infinite if it overflowed.
    #[inline]
    pub fn value(self) -> f64 {
        if self.high.is_finite() {
            self.high + self.low
        } else {
            self.high
        }
    }

    /// Both parts, for the byte form.
    pub(crate) fn parts(self) -> (f64, f64) {
        (self.high, self.low)
    }

    /// From both parts.
    pub(crate) fn from_parts(high: f64, low: f64) -> Self {
        Self { high, low }
    }
}

/// A sum of which what rounding takes is kept apart: cheaper to add to than a [`Sum`], for some thousand terms.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Running {
    high: f64,
    low: f64,
}

impl Running {
    /// Adds one term.
    #[inline]
    pub(crate) fn add(&mut self, term: f64) {
        let (high, error) = two_sum(self.high, term);
        self.high = high;
        self.low += error;
    }

    /// The sum of all terms.
    pub(crate) fn sum(self) -> Sum {
        renormalize(self.high, self.low)
    }
}

impl From<f64> for Sum {
    fn from(value: f64) -> Self {
        Self {
            high: value,
            low: 0.0,
        }
    }
}

impl FromIterator<f64> for Sum {
    fn from_iter<I: IntoIterator<Item = f64>>(terms: I) -> Self {
        let mut sum = Self::default();
        terms.into_iter().for_each(|term| sum.add(term));
        sum
    }
}

impl Sub for Sum {
    type Output = Self;

    fn sub(mut self, other: Self) -> Self {
        self.merge(Self {
            high: -other.high,
            low: -other.low,
        });
        self
    }
}

impl Mul for Sum {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let (product, rest) = two_product(self.high, other.high);
        renormalize(product, rest + (self.high * other.low + self.low * other.high))
    }
}

impl Div for Sum {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let first = self.high / other.high;
        let rest = self - other * Self::from(first);
        renormalize(first, rest.value() / other.high)
    }
}

/// `a + b` and what rounding took from it (Knuth, TAOCP 2, section 4.2.2, theorem B).
#[inline]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    (sum, (a - (sum - b_part)) + (b - b_part))
}

/// `high + low` for parts that overlap little.
#[inline]
fn renormalize(high: f64, low: f64) -> Sum {
    if !high.is_finite() {
        return Sum { high, low: 0.0 };
    }
    let sum = high + low;
    Sum {
        high: sum,
        low: low - (sum - high),
    }
}

/// `a · b` and what rounding took from it. Splits by hand: a fused multiply-add is a slow library call on the baseline
/// x86-64 that the binary is built for. Above 2⁹⁹⁶ the split overflows and the rest is taken as 0.
#[inline]
fn two_product(a: f64, b: f64) -> (f64, f64) {
    let product = a * b;
    let ((a_high, a_low), (b_high, b_low)) = (split(a), split(b));
    let rest = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
    (product, if rest.is_finite() { rest } else { 0.0 })
}

/// Two halves of 26 bits.
#[inline]
fn split(a: f64) -> (f64, f64) {
    const FACTOR: f64 = 134_217_729.0; // 2^27 + 1
    let scaled = FACTOR * a;
    let high = scaled - (scaled - a);
    (high, a - high)
}

#[cfg(test)]
mod tests {
    use super::Sum;

    #[test]
    fn keeps_what_cancels() {
        let sum: Sum = [1e16, 1.0, -1e16, 1e-3].into_iter().collect();
        assert!((sum.value() - 1.001).abs() < 1e-15);
    }

    #[test]
    fn parts_merge_into_the_whole() {
        let terms: Vec<f64> = (1..1000).map(|i| 1.0 / f64::from(i)).collect();
        let whole: Sum = terms.iter().copied().collect();
        for cut in [1, 17, 500, 998] {
            let (left, right) = terms.split_at(cut);
            let mut sum: Sum = right.iter().copied().collect();
            sum.merge(left.iter().copied().collect());
            assert!((sum - whole).value().abs() < 1e-28);
        }
    }

    #[test]
    fn sums_of_slices_are_those_of_their_terms() {
        let terms: Vec<f64> = (1..1004_u32)
            .map(|i| (-1.0_f64).powi(i as i32) * 1e9 / f64::from(i))
            .collect();
        let (mut sum, mut squares) = (Sum::default(), Sum::default());
        for &term in &terms {
            sum.add(term);
            squares.add_product(term, term);
        }
        assert!((Sum::of(&terms) - sum).value().abs() < 1e-18);
        assert!((Sum::of_squares(&terms) - squares).value().abs() < 1e-9);
        assert_eq!(Sum::of(&[1e16, 1.0, -1e16]).value(), 1.0);
        assert_eq!(Sum::of_squares(&[1e200; 20]).value(), f64::INFINITY);
    }

    #[test]
    fn multiplies_and_divides_with_twice_the_digits() {
        let mut third = Sum::from(1.0) / Sum::from(3.0);
        third = third * Sum::from(3.0) - Sum::from(1.0);
        assert!(third.value().abs() < 1e-31);
        let mut square = Sum::default();
        square.add_product(1e8 + 1.0, 1e8 + 1.0);
        assert_eq!((square - Sum::from(1e16)).value(), 200_000_001.0);
    }

    #[test]
    fn overflow_is_infinite_and_not_nan() {
        let mut sum = Sum::default();
        sum.add_product(1e200, 1e200);
        sum.add(1.0);
        assert_eq!(sum.value(), f64::INFINITY);
    }
}
