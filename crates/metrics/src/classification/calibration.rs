//! How far the expected calibration error of a sample may be from that of all such rows.

use crate::{Estimate, Method};

/// The mean gaps between confidence and hits in the bins, of which the calibration error is the sum without signs.
#[derive(Debug, Clone)]
pub(crate) struct Gaps(Vec<f64>);

impl Gaps {
    /// Means over all rows, 0 for a row of another bin.
    pub(crate) fn new(gaps: Vec<f64>) -> Self {
        Self(gaps)
    }

    fn calibration_error(&self) -> f64 {
        self.0.iter().map(|gap| gap.abs()).sum()
    }

    /// The error less what its linear part gains on a resample with the gaps `moved`: resamples add chance to
    /// the chance that biases the error of the sample.
    pub(crate) fn reflected(&self, moved: impl Iterator<Item = f64>) -> f64 {
        let bins = moved.zip(&self.0).filter(|(_, gap)| **gap != 0.0);
        let change = bins.map(|(moved, gap)| gap.signum() * (moved - gap));
        self.calibration_error() - change.sum::<f64>()
    }
}

/// A bin of confidences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GapBin {
    /// Its rows, an effective number; above 0.
    pub(crate) rows: f64,
    /// Their mean confidence.
    pub(crate) confidence: f64,
    /// The mean of hit − confidence over all rows, 0 for a row of another bin.
    pub(crate) gap: f64,
    /// The sum of the squares of w · (hit − confidence) over the square of the sum of all weights.
    pub(crate) square: f64,
}

/// `value`, the calibration error of `rows` effective rows, with the interval of the true error, `z` standard
/// errors to each side.
///
/// The error of a sample is biased: a bin that is right has a gap by chance, and no sign takes it away. The
/// interval is one for the true error, from bounds on how far the sample's is from it: where the gaps move by
/// h, the error grows by at least Σ sign·h (it is convex) and by at most that over the gaps that are surely
/// not 0, plus Σ |h| over the others. Both are drawn from the normal limit of h; the sample's value always
/// lies between the ends.
///
/// In bins where every row is a hit, or none is, h would not vary. So to each bin z² / 2 hits and as many
/// misses are added, as Agresti and Coull (1998, <https://doi.org/10.1080/00031305.1998.10480550>) do for a
/// proportion, before its standard error is taken; and the interval holds that around the gaps of such bins
/// too.
///
/// Source: Fang and Santos 2019, "Inference on Directionally Differentiable Functions", section 3,
/// <https://doi.org/10.1093/restud/rdy049>; "surely" is beyond √(ln n) standard errors, as in Andrews and
/// Soares 2010, <https://doi.org/10.3982/ECTA7502>.
pub(crate) fn calibration_interval(value: f64, bins: &[GapBin], rows: f64, z: f64) -> Estimate {
    let added = 0.5 * z * z;
    let smooth = |bin: &GapBin| {
        let (hit, miss) = (1.0 - bin.confidence, -bin.confidence);
        let scale = bin.rows / (bin.rows + 2.0 * added);
        let gap = scale * (bin.gap + added * (hit + miss) / rows);
        let square = scale * (bin.square + added * (hit * hit + miss * miss) / (rows * rows));
        (gap, (square - gap * gap / rows).max(0.0).sqrt())
    };
    let (smoothed, errors): (Vec<f64>, Vec<f64>) = bins.iter().map(smooth).unzip();
    let gaps: Vec<f64> = bins.iter().map(|bin| bin.gap).collect();
    let moved = smoothed.iter().map(|gap| gap.abs()).sum::<f64>();
    let (mut low, mut high) = (value, value);
    for (centre, gaps) in [(value, &gaps), (moved, &smoothed)] {
        let (less, more) = distances(gaps, &errors, rows, z);
        low = low.min(centre - less);
        high = high.max(centre + more);
    }
    Estimate::between(value, low.max(0.0), high.min(1.0), Method::Delta)
}

/// How far the true error may lie below and above that of these gaps with their standard errors.
fn distances(gaps: &[f64], errors: &[f64], rows: f64, z: f64) -> (f64, f64) {
    // The half-normal's mean and variance: √(2/π) and 1 − 2/π.
    let half = std::f64::consts::FRAC_2_PI;
    let sure = rows.max(1.0).ln().sqrt();
    // Of sums with signs, over all gaps and over those that are sure; gaps of one sample depend on each
    // other, for their sum is a mean.
    let (mut all, mut sure_part) = (Linear::default(), Linear::default());
    let (mut bias, mut unsure_variance) = (0.0, 0.0);
    for (gap, error) in gaps.iter().zip(errors) {
        all.add(*gap, *error, rows);
        if gap.abs() > sure * error {
            sure_part.add(*gap, *error, rows);
        } else {
            bias += half.sqrt() * error;
            unsure_variance += (1.0 - half) * error * error;
        }
    }
    let most = bias + z * (sure_part.variance(rows) + unsure_variance).sqrt();
    (most, z * all.variance(rows).sqrt())
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
    fn rows_without_misses_leave_doubt() {
        for (confidence, rows) in [(1.0, 2), (1.0, 50), (0.9, 2), (0.9, 50)] {
            let (truth, probability) = (vec![true; rows], vec![confidence; rows]);
            let columns = Columns {
                prediction: None,
                probability: Some(&probability),
                ..Columns::new(Column::Bools(&truth), Column::Bools(&truth))
            };
            let metrics = evaluate(crate::Task::Classification, &columns, &Options::default()).unwrap();
            let found = metrics["calibration_error"];
            assert!((found.value - (1.0 - confidence)).abs() < 1e-12);
            // Of rows that are all hits, as many may be misses as Wilson's interval says.
            let misses = 1.0 - crate::wilson(1.0, rows as f64, 1.96).low;
            assert!(
                found.low <= (1.0 - confidence - misses).max(0.0) + 0.01,
                "{found:?}"
            );
            assert!(found.high >= misses - (1.0 - confidence), "{found:?}");
        }
    }

    #[test]
    fn intervals_hold_their_value_and_cover_the_truth() {
        for (rows, gap) in [(400, 0.0), (400, 0.08), (2000, 0.02), (2000, 0.3)] {
            let share = coverage(rows, gap);
            assert!(share >= 0.925, "{share} of {rows} rows with a gap of {gap}");
        }
    }
}
