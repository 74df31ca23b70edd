//! How far the expected calibration error of a sample may be from that of all such rows.

use crate::{Estimate, Method};

/// The mean gaps between confidence and hits in the bins, of which the calibration error is the sum without signs.
///
/// The error of a sample is biased: a bin that is right has a gap by chance, and no sign takes it away; resamples add
/// chance to chance, so that percentiles of their errors may all lie above the error itself. The interval is one for the
/// true error instead, from bounds on how far the sample's is from it: where the gaps move by h, the error grows by at least
/// Σ sign·h (it is convex) and by at most that over the gaps that are surely not 0, plus Σ |h| over the others. Both are
/// drawn from the normal limit of h; the sample's value always lies between the ends.
///
/// Source: Fang and Santos 2019, "Inference on Directionally Differentiable Functions", section 3,
/// <https://doi.org/10.1093/restud/rdy049>; "surely" is beyond √(ln n) standard errors, as in Andrews and Soares 2010,
/// <https://doi.org/10.3982/ECTA7502>.
#[derive(Debug, Clone)]
pub(crate) struct Gaps {
    gaps: Vec<f64>,
    errors: Vec<f64>,
    effective_rows: f64,
}

impl Gaps {
    /// `gaps` are means over all rows, 0 for a row of another bin; `errors` are their standard errors.
    pub(crate) fn new(gaps: Vec<f64>, errors: Vec<f64>, effective_rows: f64) -> Self {
        Self {
            gaps,
            errors,
            effective_rows,
        }
    }

    pub(crate) fn calibration_error(&self) -> f64 {
        self.gaps.iter().map(|gap| gap.abs()).sum()
    }

    /// The error less what its linear part gains on a resample with the gaps `moved`.
    pub(crate) fn reflected(&self, moved: impl Iterator<Item = f64>) -> f64 {
        let bins = moved.zip(&self.gaps).filter(|(_, gap)| **gap != 0.0);
        let change = bins.map(|(moved, gap)| gap.signum() * (moved - gap));
        self.calibration_error() - change.sum::<f64>()
    }

    /// `value` with the interval of the true error, `z` standard errors to each side.
    pub(crate) fn estimate(&self, value: f64, z: f64) -> Estimate {
        // The half-normal's mean and variance: √(2/π) and 1 − 2/π.
        let half = std::f64::consts::FRAC_2_PI;
        let sure = self.effective_rows.max(1.0).ln().sqrt();
        // Of sums with signs, over all gaps and over those that are sure; gaps of one sample depend on each other, for
        // their sum is a mean.
        let (mut all, mut sure_part) = (Linear::default(), Linear::default());
        let (mut bias, mut unsure_variance) = (0.0, 0.0);
        for (gap, error) in self.gaps.iter().zip(&self.errors) {
            all.add(*gap, *error, self.effective_rows);
            if gap.abs() > sure * error {
                sure_part.add(*gap, *error, self.effective_rows);
            } else {
                bias += half.sqrt() * error;
                unsure_variance += (1.0 - half) * error * error;
            }
        }
        let most = bias + z * (sure_part.variance(self.effective_rows) + unsure_variance).sqrt();
        let least = z * all.variance(self.effective_rows).sqrt();
        let (low, high) = ((value - most).max(0.0), (value + least).min(1.0));
        Estimate::between(value, low.min(value), high.max(value), Method::Delta)
    }
}

/// The variance of a sum of gaps with their signs.
#[derive(Default)]
struct Linear {
    second_moment: f64,
    mean: f64,
}

impl Linear {
    fn add(&mut self, gap: f64, error: f64, rows: f64) {
        self.second_moment += error * error + gap * gap / rows;
        self.mean += gap.abs();
    }

    fn variance(&self, rows: f64) -> f64 {
        (self.second_moment - self.mean * self.mean / rows).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Column, Columns, Options, Random, evaluate};

    /// Rows with confidences of five bins, each right in a share of them that is less by `gap`.
    fn sample(random: &mut Random, rows: usize, gap: f64) -> (Vec<bool>, Vec<f64>) {
        let one = |_| {
            let confidence = 0.55 + 0.1 * random.below(5) as f64;
            (random.unit() < confidence - gap, confidence)
        };
        (0..rows).map(one).unzip()
    }

    /// The share of samples whose interval holds the truth, and whether each holds its own value.
    fn coverage(rows: usize, gap: f64) -> f64 {
        let mut random = Random::new(17, rows as u64);
        let samples = 400;
        let mut covered = 0;
        for _ in 0..samples {
            let (truth, confidence) = sample(&mut random, rows, gap);
            let mut options = Options {
                bins: 10,
                ..Options::default()
            };
            options.bootstrap.replicates = 1;
            let columns = Columns {
                prediction: None,
                probability: Some(&confidence),
                ..Columns::new(Column::Bools(&truth), Column::Bools(&truth))
            };
            let metrics = evaluate(crate::Task::Classification, &columns, &options).unwrap();
            let found = metrics["calibration_error"];
            assert!(found.low <= found.value && found.value <= found.high, "{found:?}");
            assert!(found.low < found.high, "{found:?}");
            covered += u32::from(found.low <= gap + 1e-12 && gap <= found.high);
        }
        f64::from(covered) / f64::from(samples)
    }

    #[test]
    fn intervals_hold_their_value_and_cover_the_truth() {
        for (rows, gap) in [(400, 0.0), (400, 0.08), (2000, 0.02), (2000, 0.3)] {
            let share = coverage(rows, gap);
            assert!(share >= 0.925, "{share} of {rows} rows with a gap of {gap}");
        }
    }
}
