//! Rows of two classes and weight 1: the same sums as row by row, several of them at a time.

use super::{Bin, ProbabilityState, bin_at, row_log_loss};
use crate::sum::Running;

/// Rows at a time; columns of so many stay close to the processor.
const BLOCK: usize = 256;

/// Rows of one bin: how many, how many were observed, and the sum of what was predicted.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    rows: u32,
    observed: u32,
    predicted: Running,
    /// Of the squared distances of both, for intervals.
    squares: f64,
}

impl Tally {
    #[inline]
    fn add(&mut self, predicted: f64, observed: bool) {
        self.rows += 1;
        self.observed += u32::from(observed);
        self.predicted.add(predicted);
    }

    fn put(&self, bin: &mut Bin) {
        bin.weight.add(f64::from(self.rows));
        bin.observed.add(f64::from(self.observed));
        bin.predicted.merge(self.predicted.sum());
    }
}

impl ProbabilityState {
    /// Adds rows of weight 1, their probabilities in the shape of the state.
    pub(super) fn add_binaries(&mut self, truth: &[u32], values: &[f64]) {
        let bins = self.confidence.len();
        let mut tallies = vec![[Tally::default(); 2]; bins];
        // A tally counts to 2³².
        const MANY: usize = 1 << 20;
        let width = if self.shape.one_column { 1 } else { 2 };
        for (truth, values) in truth.chunks(MANY).zip(values.chunks(MANY * width)) {
            for (truth, values) in truth.chunks(BLOCK).zip(values.chunks(BLOCK * width)) {
                match values.as_chunks::<2>() {
                    (pairs, []) if width == 2 => self.add_block(truth, pairs.iter().copied(), &mut tallies),
                    _ => self.add_block(truth, values.iter().map(|p| [1.0 - p, *p]), &mut tallies),
                }
            }
            let places = self
                .confidence
                .iter_mut()
                .zip(&mut self.positive)
                .zip(&mut self.squares);
            for (((confidence, positive), square), tally) in places.zip(&mut tallies) {
                let [of_confidence, of_positive] = std::mem::take(tally);
                of_confidence.put(confidence);
                of_positive.put(positive);
                square.add(of_confidence.squares);
            }
        }
    }

    fn add_block(&mut self, truth: &[u32], rows: impl Iterator<Item = [f64; 2]>, tallies: &mut [[Tally; 2]]) {
        let (mut losses, mut misses, mut gaps) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
        let (bins, width) = (tallies.len(), 1.0 / tallies.len() as f64);
        let slots = losses.iter_mut().zip(&mut misses).zip(&mut gaps);
        for ((((loss, miss), gap), &class), [negative, positive]) in slots.zip(truth).zip(rows) {
            let is_positive = class == 1;
            *loss = if is_positive { positive } else { negative };
            let observed = f64::from(u8::from(is_positive));
            *miss = 0.5 * ((1.0 - observed - negative).powi(2) + (observed - positive).powi(2));
            let predicted = positive > negative;
            let confidence = if predicted { positive } else { negative };
            let is_hit = predicted == is_positive;
            *gap = f64::from(u8::from(is_hit)) - confidence;
            let [of_confidence, _] = &mut tallies[bin_at(confidence, bins, width)];
            of_confidence.add(confidence, is_hit);
            of_confidence.squares += *gap * *gap;
            let [_, of_positive] = &mut tallies[bin_at(positive, bins, width)];
            of_positive.add(positive, is_positive);
        }
        let losses = &mut losses[..truth.len()];
        losses.iter_mut().for_each(|own| *own = row_log_loss(*own));
        self.log_loss.add_all(losses);
        self.brier.add_all(&misses[..truth.len()]);
        self.gap.add_all(&gaps[..truth.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Probabilities, ProbabilityShape},
        *,
    };
    use crate::Random;

    #[test]
    fn rows_of_weight_1_are_those_without_weights() {
        let mut random = Random::new(6, 6);
        for (rows, one_column) in [
            (1_usize, true),
            (255, false),
            (256, true),
            (257, false),
            (5000, true),
        ] {
            let positive: Vec<f64> = (0..rows).map(|_| random.below(31) as f64 / 30.0).collect();
            let both: Vec<f64> = positive.iter().flat_map(|p| [1.0 - p, *p]).collect();
            let truth: Vec<u32> = positive.iter().map(|p| u32::from(random.unit() < *p)).collect();
            let state = |weights: Option<&[f64]>| {
                let shape = ProbabilityShape {
                    classes: 2,
                    one_column,
                };
                let mut state = ProbabilityState::new(shape, 15).unwrap();
                let probabilities = if one_column {
                    Probabilities::Positive(&positive)
                } else {
                    Probabilities::PerClass(&both)
                };
                state.update(&truth, probabilities, weights).unwrap();
                state
            };
            let (plain, weighted) = (state(None), state(Some(&vec![1.0; rows])));
            assert_eq!(plain.rows(), weighted.rows());
            let numbers = |state: &ProbabilityState| {
                let mut numbers = vec![
                    state.log_loss(),
                    state.brier(),
                    state.calibration_error(),
                    state.gap.value(),
                ];
                for bin in state.calibration_curve() {
                    numbers.extend([bin.predicted, bin.observed, bin.weight]);
                }
                for estimate in [
                    state.log_loss_estimate(2.0),
                    state.brier_estimate(2.0),
                    state.calibration_error_estimate(2.0),
                ] {
                    numbers.extend([estimate.low, estimate.high]);
                }
                numbers
            };
            let (plain, weighted) = (numbers(&plain), numbers(&weighted));
            assert_eq!(plain.len(), weighted.len());
            let is_same =
                |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12 || a == b || (a.is_nan() && b.is_nan());
            assert!(
                plain.iter().zip(&weighted).all(is_same),
                "{rows}: {plain:?} {weighted:?}"
            );
        }
    }
}
