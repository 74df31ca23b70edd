//! Rows of weight 1, column by column: the same sums as row by row, several of them at a time.

use super::{MOMENTS, Range, RegressionSums, ape, poisson_deviance, smape};
use crate::{Sum, moments::Mean};

/// Rows at a time; columns of so many stay close to the processor.
pub(super) const BLOCK: usize = 256;

/// Rows that a loop takes side by side.
const LANES: usize = 4;

impl RegressionSums {
    /// Adds at most [`BLOCK`] rows of weight 1; their moments.
    pub(super) fn add_block(&mut self, target: &[f64], predicted: &[f64]) -> [f64; MOMENTS] {
        let (mut errors, mut values) = ([0.0; BLOCK], [0.0; BLOCK]);
        let errors = column(&mut errors, target, predicted, |t, p| t - p);
        let quantile = self.quantile;
        let pinball = |t: f64, p: f64| {
            let slope = if t - p >= 0.0 { quantile } else { 1.0 - quantile };
            slope * (t - p).abs()
        };
        let values = &mut values;
        self.absolute
            .add_all(column(values, target, predicted, |t, p| (t - p).abs()));
        self.squared
            .add_all_exact(column(values, target, predicted, |t, p| (t - p) * (t - p)));
        self.percentage
            .add_all(column(values, target, predicted, |t, p| ape(t, (t - p).abs())));
        self.symmetric.add_all(column(values, target, predicted, smape));
        self.pinball.add_all(column(values, target, predicted, pinball));
        let mut rows = target.iter().zip(predicted);
        self.has_poisson &= rows.all(|(target, predicted)| *target >= 0.0 && *predicted > 0.0);
        if self.has_poisson {
            self.poisson
                .add_all(column(values, target, predicted, poisson_deviance));
        } else {
            self.poisson = Mean::default();
        }
        self.error.merge(Sum::of(errors));
        self.target.merge(Sum::of(target));
        self.target_squared.merge(Sum::of_squares(target));
        self.error_range.add_all(errors);
        self.target_range.add_all(target);
        let farthest = self.error_range.greatest.max(-self.error_range.least);
        self.largest = self.largest.max(farthest);
        moments(errors, target, self.shift)
    }
}

impl Range {
    fn add_all(&mut self, values: &[f64]) {
        let (chunks, rest) = values.as_chunks::<LANES>();
        let mut lanes = ([self.least; LANES], [self.greatest; LANES]);
        for chunk in chunks {
            for (lane, &value) in chunk.iter().enumerate() {
                // Not `f64::min`: its care for NaN, which no value is, costs more than the comparison.
                lanes.0[lane] = if value < lanes.0[lane] {
                    value
                } else {
                    lanes.0[lane]
                };
                lanes.1[lane] = if value > lanes.1[lane] {
                    value
                } else {
                    lanes.1[lane]
                };
            }
        }
        self.least = lanes.0.into_iter().fold(self.least, f64::min);
        self.greatest = lanes.1.into_iter().fold(self.greatest, f64::max);
        rest.iter().for_each(|&value| self.add(value));
    }
}

/// A value of each row; as many as there are rows.
#[inline]
fn column<'a>(
    space: &'a mut [f64; BLOCK],
    target: &[f64],
    predicted: &[f64],
    value: impl Fn(f64, f64) -> f64,
) -> &'a [f64] {
    for ((slot, &target), &predicted) in space.iter_mut().zip(target).zip(predicted) {
        *slot = value(target, predicted);
    }
    &space[..target.len()]
}

/// Sums of eⁱ·uʲ in the order of their powers in `mixed`.
fn moments(errors: &[f64], target: &[f64], shift: f64) -> [f64; MOMENTS] {
    let terms = |e: f64, t: f64| {
        let u = t - shift;
        let (ee, uu) = (e * e, u * u);
        [
            ee * e,
            ee * ee,
            u,
            uu,
            uu * u,
            uu * uu,
            e * u,
            e * uu,
            ee * u,
            ee * uu,
            e,
        ]
    };
    // So many that all sums stay in registers.
    const PAIR: usize = 2;
    let mut lanes = [[0.0; PAIR]; MOMENTS];
    let (error_chunks, error_rest) = errors.as_chunks::<PAIR>();
    let (target_chunks, target_rest) = target.as_chunks::<PAIR>();
    for (errors, targets) in error_chunks.iter().zip(target_chunks) {
        for lane in 0..PAIR {
            let terms = terms(errors[lane], targets[lane]);
            for (sum, term) in lanes.iter_mut().zip(terms) {
                sum[lane] += term;
            }
        }
    }
    let mut sums = lanes.map(|lanes| lanes.iter().sum::<f64>());
    for (&error, &target) in error_rest.iter().zip(target_rest) {
        for (sum, term) in sums.iter_mut().zip(terms(error, target)) {
            *sum += term;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_weight_1_are_those_without_weights() {
        for rows in [1_u32, 3, 4, 255, 256, 1_001] {
            let target: Vec<f64> = (0..rows).map(|row| f64::from(row * 7 % 13)).collect();
            let predicted: Vec<f64> = (0..rows).map(|row| 0.5 + f64::from(row * 5 % 11)).collect();
            let sums = |weights: Option<&[f64]>| {
                let mut sums = RegressionSums::new(0.3).unwrap();
                sums.update(&target, &predicted, weights).unwrap();
                let mut found = Vec::new();
                sums.put_metrics(1.96, &mut |name, estimate| {
                    found.push((name.to_owned(), [estimate.value, estimate.low, estimate.high]));
                });
                found
            };
            let (plain, weighted) = (sums(None), sums(Some(&vec![1.0; target.len()])));
            assert_eq!(plain.len(), weighted.len());
            for ((name, plain), (_, weighted)) in plain.iter().zip(&weighted) {
                let is_same = |(a, b): (&f64, &f64)| {
                    a == b || (a - b).abs() < 1e-12 * a.abs().max(1.0) || (a.is_nan() && b.is_nan())
                };
                assert!(
                    plain.iter().zip(weighted).all(is_same),
                    "{name} of {rows}: {plain:?} {weighted:?}"
                );
            }
        }
    }
}
