//! Intervals of metrics of labels, which are functions of a confusion matrix.

use super::{
    Confusion,
    margins::{LabelMetric, Margins},
    slopes::Slopes,
};
use crate::{Estimate, Method, bounded::Smoothed};

/// So many rows predicted right are added to each class, and as many predicted wrong. With one of each, as
/// Agresti and Caffo (2000, <https://doi.org/10.1080/00031305.2000.10474560>) add them to each of two
/// samples, simulated intervals of means over classes cover as they should; with a quarter, those of a class
/// of ten rows beside one of ninety do not.
const CLASS_ROWS: f64 = 1.0;

impl Confusion {
    /// A metric of labels with its interval: Wilson's formula with as many rows as the variance of the
    /// metric's linear part over the cells is worth (Agresti, "Categorical Data Analysis", 16.1), both of the
    /// smoothed matrix; see [`bounded`](crate::bounded).
    ///
    /// There is none for a class that is neither true nor predicted anywhere, nor for kappa and Matthews'
    /// coefficient where one column is constant: they are 0 there whatever the other one holds.
    pub(crate) fn estimate(&self, metric: LabelMetric, z: f64) -> Estimate {
        let value = metric.of(self.margins());
        if value.is_nan() || !self.tells(metric) {
            return Estimate::point(value);
        }
        if self.labels().len() == 1 {
            // All rows are right, and there is no class to take them for.
            return self.share(value, z);
        }
        let smoothed = Matrix::of(self, metric).evaluate(self, metric);
        smoothed.estimate(value, z, metric.range(), Method::WilsonDelta)
    }

    /// Whether the rows have a say in the metric.
    fn tells(&self, metric: LabelMetric) -> bool {
        let margins = self.margins();
        let varies = |column: &[f64]| column.iter().filter(|weight| **weight > 0.0).count() > 1;
        match metric {
            LabelMetric::CohenKappa | LabelMetric::Matthews => {
                varies(&margins.truth) && varies(&margins.predicted)
            }
            LabelMetric::Part(_, super::Over::One(class)) => class
                .and_then(|class| margins.classes().nth(class))
                .is_some_and(|(_, truth, predicted)| truth + predicted > 0.0),
            LabelMetric::BalancedAccuracy | LabelMetric::Part(..) => true,
        }
    }
}

/// The matrix with [`CLASS_ROWS`] more on the diagonal and, spread evenly, off it in the row of each class,
/// which then is scaled to the number of rows that it had: the shares of a rare class's predictions move, its
/// share of all rows does not.
///
/// Cells are effective rows. For metrics that count a class without true rows, which is one that others were
/// taken for, it has one, of which nothing is known but the rows added.
struct Matrix {
    margins: Margins,
    /// What the row of each class is multiplied with.
    scales: Vec<f64>,
    /// Effective rows for a weight of 1.
    unit: f64,
    /// What is added to each cell off the diagonal.
    beside: f64,
}

impl Matrix {
    /// Of at least two classes.
    fn of(confusion: &Confusion, metric: LabelMetric) -> Self {
        let sample = confusion.margins();
        let classes = sample.truth.len();
        let unit = confusion.effective_rows() / sample.total;
        let beside = CLASS_ROWS / (classes as f64 - 1.0);
        let fewest = match metric {
            LabelMetric::Part(..) => 1.0,
            _ => 0.0,
        };
        let mut margins = Margins::zero(classes);
        margins.truth = sample
            .truth
            .iter()
            .map(|truth| (unit * truth).max(fewest))
            .collect();
        margins.total = margins.truth.iter().sum();
        let rows = margins.truth.iter().zip(&sample.truth);
        let scales: Vec<f64> = rows
            .map(|(rows, truth)| rows / (unit * truth + 2.0 * CLASS_ROWS))
            .collect();
        let all: f64 = scales.iter().sum();
        for (class, &scale) in scales.iter().enumerate() {
            margins.hits[class] = scale * (unit * sample.hits[class] + CLASS_ROWS);
            margins.predicted[class] = scale * CLASS_ROWS + (all - scale) * beside;
        }
        for &(truth, predicted, weight) in confusion.cells() {
            margins.predicted[predicted] += scales[truth] * unit * weight;
        }
        Self {
            margins,
            scales,
            unit,
            beside,
        }
    }

    fn evaluate(&self, confusion: &Confusion, metric: LabelMetric) -> Smoothed {
        let slopes = Slopes::of(metric, &self.margins);
        let (mut first, mut second) = (0.0, 0.0);
        let mut add = |rows: f64, slope: f64| {
            first += rows * slope;
            second += rows * slope * slope;
        };
        let slope_of_row = |truth: usize| slopes.truth[truth] + slopes.total;
        let on_diagonal = |class: usize| slope_of_row(class) + slopes.predicted[class] + slopes.hits[class];
        for &(truth, predicted, weight) in confusion.cells() {
            let slope = if truth == predicted {
                on_diagonal(truth)
            } else {
                slope_of_row(truth) + slopes.predicted[predicted]
            };
            add(self.scales[truth] * self.unit * weight, slope);
        }
        for (class, scale) in self.scales.iter().enumerate() {
            add(scale * CLASS_ROWS, on_diagonal(class));
        }
        // The same rows off the diagonal of a class, all columns at once.
        let sum: f64 = slopes.predicted.iter().sum();
        let squares: f64 = slopes.predicted.iter().map(|slope| slope * slope).sum();
        let others = slopes.predicted.len() as f64 - 1.0;
        for (class, scale) in self.scales.iter().enumerate() {
            let (own, row) = (slopes.predicted[class], slope_of_row(class));
            let (sum, squares) = (sum - own, squares - own * own);
            first += scale * self.beside * (others * row + sum);
            second += scale * self.beside * (others * row * row + 2.0 * row * sum + squares);
        }
        let rows = self.margins.total;
        let variance = (rows * second - first * first).max(0.0);
        Smoothed {
            value: metric.of(&self.margins),
            variance: variance / confusion.effective_rows(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Column, Random,
        classification::margins::{Over, Part},
        normal::z_of,
    };

    const F1: Part = Part::FBeta(1.0);
    const METRICS: [LabelMetric; 6] = [
        LabelMetric::BalancedAccuracy,
        LabelMetric::CohenKappa,
        LabelMetric::Matthews,
        LabelMetric::Part(F1, Over::One(Some(1))),
        LabelMetric::Part(F1, Over::Macro),
        LabelMetric::Part(F1, Over::Weighted),
    ];

    fn confusion(truth: &[i64], predicted: &[i64], weights: Option<&[f64]>) -> Confusion {
        Confusion::of(Column::Ints(truth), Column::Ints(predicted), weights).unwrap()
    }

    /// The interval of a share with two classes, one of a rare class's recall and precision and one of plain
    /// sums.
    #[test]
    fn rows_without_errors_leave_doubt_that_rows_take_away() {
        for classes in [2, 4] {
            let mut before = [f64::INFINITY; METRICS.len()];
            for rows in [1, 2, 5, 20, 50, 200, 1000, 100_000] {
                let truth: Vec<i64> = (0..rows * classes).map(|row| row % classes).collect();
                let confusion = confusion(&truth, &truth, None);
                for (metric, before) in METRICS.into_iter().zip(&mut before) {
                    let found = confusion.estimate(metric, 1.96);
                    assert_eq!(
                        (found.value, found.high, found.method),
                        (1.0, 1.0, Method::WilsonDelta)
                    );
                    let width = found.high - found.low;
                    assert!(width > 0.0 && width < *before, "{metric:?} of {rows}: {found:?}");
                    *before = width;
                }
            }
            assert!(before.iter().all(|width| *width < 2e-4), "{before:?}");
        }
        // All wrong is no more certain.
        let wrong = confusion(&[0, 1, 0, 1], &[1, 0, 1, 0], None);
        for metric in METRICS {
            let found = wrong.estimate(metric, 1.96);
            let (least, _) = metric.range();
            assert!(
                found.low == least && found.high > least + 0.2,
                "{metric:?}: {found:?}"
            );
        }
    }

    #[test]
    fn accuracy_and_jaccard_have_wilsons_interval() {
        // With one class in all rows right or wrong, recall over it is a share of the rows.
        let truth = vec![0; 40];
        let predicted: Vec<i64> = (0..40).map(|row| i64::from(row % 8 == 0)).collect();
        let found = confusion(&truth, &predicted, None).estimate(LabelMetric::BalancedAccuracy, 1.96);
        let expected = crate::wilson(0.875, 40.0, 1.96);
        assert!((found.low - expected.low).abs() < 1e-9 && (found.high - expected.high).abs() < 1e-9);
        // F1 is 2·j / (1 + j) of the share j of hits among the rows that are of a class or taken for it.
        let truth: Vec<i64> = (0..2000).map(|row| i64::from(row % 4 == 0)).collect();
        let predicted: Vec<i64> = (0..2000)
            .map(|row| i64::from(row % 4 == 0 && row % 5 > 0))
            .collect();
        let found =
            confusion(&truth, &predicted, None).estimate(LabelMetric::Part(F1, Over::One(Some(1))), 1.96);
        let share = crate::wilson(0.8, 500.0, 1.96).map(|j| 2.0 * j / (1.0 + j));
        assert!((found.value - share.value).abs() < 1e-12);
        assert!((found.low - share.low).abs() < 2e-3 && (found.high - share.high).abs() < 2e-3);
    }

    #[test]
    fn weights_count_as_the_rows_that_they_are_worth() {
        let truth: Vec<i64> = (0..80).map(|row| row % 3).collect();
        let predicted: Vec<i64> = (0..80)
            .map(|row| if row % 9 == 4 { (row + 1) % 3 } else { row % 3 })
            .collect();
        let (plain, same, few): (_, Vec<f64>, Vec<f64>) = (
            confusion(&truth, &predicted, None),
            vec![7.5; 80],
            (0..80).map(|row| if row < 20 { 1.0 } else { 1e-9 }).collect(),
        );
        let same = confusion(&truth, &predicted, Some(&same));
        let few = confusion(&truth, &predicted, Some(&few));
        let first = confusion(&truth[..20], &predicted[..20], None);
        for metric in METRICS {
            let near = |one: &Confusion, other: &Confusion| {
                let (one, other) = (one.estimate(metric, 1.96), other.estimate(metric, 1.96));
                let near = (one.low - other.low).abs() < 1e-6 && (one.high - other.high).abs() < 1e-6;
                assert!(near, "{metric:?}: {one:?} {other:?}");
            };
            near(&plain, &same);
            near(&few, &first);
        }
    }

    #[test]
    fn what_no_row_tells_has_no_interval() {
        let constant = confusion(&[0, 0, 0], &[0, 1, 0], None);
        assert_eq!(
            constant.estimate(LabelMetric::CohenKappa, 1.96).method,
            Method::NoInterval
        );
        assert_eq!(
            constant.estimate(LabelMetric::Matthews, 1.96).method,
            Method::NoInterval
        );
        let absent = LabelMetric::Part(F1, Over::One(None));
        assert_eq!(constant.estimate(absent, 1.96).method, Method::NoInterval);
        let single = confusion(&[3; 9], &[3; 9], None);
        assert_eq!(
            single.estimate(LabelMetric::CohenKappa, 1.96).method,
            Method::Undefined
        );
        assert_eq!(
            single.estimate(LabelMetric::Matthews, 1.96).method,
            Method::NoInterval
        );
        let f1 = single.estimate(LabelMetric::Part(F1, Over::One(Some(0))), 1.96);
        assert!(f1.high == 1.0 && f1.low < 0.8, "{f1:?}");
        // A class that is only predicted is counted, with all that is not known of it.
        let predicted_only = confusion(&[0, 0, 0, 0], &[0, 0, 0, 1], None);
        let f1 = predicted_only.estimate(LabelMetric::Part(F1, Over::One(Some(1))), 1.96);
        assert!(f1.value == 0.0 && f1.low == 0.0 && f1.high > 0.6, "{f1:?}");
    }

    #[test]
    fn very_many_classes_take_no_time() {
        let truth: Vec<i64> = (0..60_000).collect();
        let predicted: Vec<i64> = truth.iter().map(|row| row - i64::from(row % 10 == 3)).collect();
        let confusion = confusion(&truth, &predicted, None);
        for metric in METRICS {
            let found = confusion.estimate(metric, 1.96);
            assert!(
                found.low <= found.value && found.value <= found.high,
                "{metric:?}: {found:?}"
            );
        }
    }

    /// Draws a matrix: classes as likely as `shares`, each predicted right with `accuracy`, else any other
    /// one.
    fn draw(random: &mut Random, rows: usize, shares: &[f64], accuracy: f64) -> Confusion {
        let classes = shares.len();
        let (mut truth, mut predicted) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let mut place = random.unit();
            let class = shares
                .iter()
                .position(|share| {
                    place -= share;
                    place < 0.0
                })
                .unwrap_or(0);
            let other = (class + 1 + random.below(classes as u64 - 1) as usize) % classes;
            truth.push(class as i64);
            predicted.push((if random.unit() < accuracy { class } else { other }) as i64);
        }
        confusion(&truth, &predicted, None)
    }

    /// The metric of all rows there could be.
    fn expected(metric: LabelMetric, shares: &[f64], accuracy: f64) -> f64 {
        let others = shares.len() as f64 - 1.0;
        let all: f64 = shares.iter().sum();
        metric.of(&Margins {
            hits: shares.iter().map(|share| share * accuracy).collect(),
            truth: shares.to_vec(),
            predicted: shares
                .iter()
                .map(|share| share * accuracy + (all - share) * (1.0 - accuracy) / others)
                .collect(),
            total: all,
        })
    }

    /// Shares of samples whose interval holds the truth, and of those whose lower end is not above it: the
    /// least and the mean over all that is simulated. Samples have true rows of every class, for else another
    /// metric is measured.
    #[test]
    fn intervals_cover() {
        let z = z_of(0.95);
        let mut found = [Vec::new(), Vec::new()];
        for shares in [&[0.5; 2][..], &[0.9, 0.1], &[0.25; 4], &[0.7, 0.1, 0.1, 0.1]] {
            for (accuracy, rows) in [0.5, 0.8, 0.9, 0.98, 0.999]
                .into_iter()
                .flat_map(|accuracy| [5, 10, 20, 50, 200].map(|rows| (accuracy, rows)))
            {
                let mut random = Random::new(rows as u64, (1000.0 * accuracy) as u64);
                let mut counts = [[0_u32; METRICS.len()]; 2];
                let samples: Vec<Confusion> = (0..if rows < 200 { 250 } else { 100 })
                    .map(|_| draw(&mut random, rows, shares, accuracy))
                    .filter(|sample| {
                        let truth = &sample.margins().truth;
                        truth.len() == shares.len() && truth.iter().all(|rows| *rows > 0.0)
                    })
                    .collect();
                if samples.len() < 80 {
                    continue;
                }
                for (at, metric) in METRICS.into_iter().enumerate() {
                    let expected = expected(metric, shares, accuracy);
                    for sample in &samples {
                        let estimate = sample.estimate(metric, z);
                        // What has no interval fails every threshold.
                        let is_below = estimate.low.is_nan() || estimate.low <= expected + 1e-12;
                        let is_above = estimate.high.is_nan() || expected <= estimate.high + 1e-12;
                        counts[0][at] += u32::from(is_below && is_above);
                        counts[1][at] += u32::from(is_below);
                    }
                }
                for (found, counts) in found.iter_mut().zip(counts) {
                    for (metric, count) in METRICS.into_iter().zip(counts) {
                        let what = format!("{metric:?} of {rows} rows, {accuracy} of {shares:?} right");
                        found.push((f64::from(count) / samples.len() as f64, what));
                    }
                }
            }
        }
        // Few rows take few values, and where one of them just leaves out the truth much is lost: of five,
        // Wilson's own interval of a share of 0.98 covers 0.90.
        for (found, (least, mean)) in found.into_iter().zip([(0.80, 0.95), (0.88, 0.98)]) {
            let all: f64 = found.iter().map(|(share, _)| share).sum();
            let average = all / found.len() as f64;
            let lowest = found.into_iter().min_by(|a, b| a.0.total_cmp(&b.0));
            assert!(average > mean, "{average}");
            assert!(
                lowest.as_ref().is_some_and(|(share, _)| *share > least),
                "{lowest:?}"
            );
        }
    }
}
