//! How metrics of labels change with the margins of a confusion matrix.

use super::margins::{LabelMetric, Margins, Over, Part};

/// The derivatives of a metric: by the hits, the true and the predicted rows of each class, and by all rows.
pub(super) struct Slopes {
    pub(super) hits: Vec<f64>,
    pub(super) truth: Vec<f64>,
    pub(super) predicted: Vec<f64>,
    pub(super) total: f64,
}

impl Slopes {
    pub(super) fn of(metric: LabelMetric, margins: &Margins) -> Self {
        match metric {
            LabelMetric::BalancedAccuracy => Self::of_balanced_accuracy(margins),
            LabelMetric::CohenKappa => Self::of_kappa(margins),
            LabelMetric::Matthews => Self::of_matthews(margins),
            LabelMetric::Part(part, over) => Self::of_part(part, over, margins),
        }
    }

    /// `each` gives those by hits, true and predicted rows of a class.
    fn collect(margins: &Margins, total: f64, each: impl Fn(usize, [f64; 3]) -> [f64; 3]) -> Self {
        let classes = margins.hits.len();
        let mut slopes = Self {
            hits: Vec::with_capacity(classes),
            truth: Vec::with_capacity(classes),
            predicted: Vec::with_capacity(classes),
            total,
        };
        for (class, (hits, truth, predicted)) in margins.classes().enumerate() {
            let [by_hits, by_truth, by_predicted] = each(class, [hits, truth, predicted]);
            slopes.hits.push(by_hits);
            slopes.truth.push(by_truth);
            slopes.predicted.push(by_predicted);
        }
        slopes
    }

    fn of_balanced_accuracy(margins: &Margins) -> Self {
        let present = margins.truth.iter().filter(|truth| **truth > 0.0).count() as f64;
        Self::collect(margins, 0.0, |_, [hits, truth, _]| {
            if truth > 0.0 {
                let by_hits = 1.0 / (present * truth);
                [by_hits, -by_hits * hits / truth, 0.0]
            } else {
                [0.0; 3]
            }
        })
    }

    /// Of 1 − missed / expected.
    fn of_kappa(margins: &Margins) -> Self {
        let total = margins.total;
        let (mut missed, mut expected, mut both) = (0.0, 0.0, 0.0);
        for (hits, truth, predicted) in margins.classes() {
            missed += truth - hits;
            expected += truth * (total - predicted) / total;
            both += truth * predicted;
        }
        let by_missed = -1.0 / expected;
        let by_expected = missed / (expected * expected);
        Self::collect(
            margins,
            by_expected * both / (total * total),
            |_, [_, truth, predicted]| {
                [
                    -by_missed,
                    by_missed + by_expected * (total - predicted) / total,
                    -by_expected * truth / total,
                ]
            },
        )
    }

    /// Of both / √(truth · predicted), the three sums of [`Margins::matthews`].
    fn of_matthews(margins: &Margins) -> Self {
        let total = margins.total;
        let (mut both, mut spread_truth, mut spread_predicted) = (0.0, 0.0, 0.0);
        let (mut all_hits, mut all_truth, mut all_predicted) = (0.0, 0.0, 0.0);
        for (hits, truth, predicted) in margins.classes() {
            both += hits * total - truth * predicted;
            spread_truth += truth * (total - truth);
            spread_predicted += predicted * (total - predicted);
            all_hits += hits;
            all_truth += truth;
            all_predicted += predicted;
        }
        let scale = 1.0 / (spread_truth * spread_predicted).sqrt();
        let by_truth = -0.5 * both * scale / spread_truth;
        let by_predicted = -0.5 * both * scale / spread_predicted;
        let by_total = all_hits * scale + all_truth * by_truth + all_predicted * by_predicted;
        Self::collect(margins, by_total, |_, [_, truth, predicted]| {
            [
                total * scale,
                -predicted * scale + by_truth * (total - 2.0 * truth),
                -truth * scale + by_predicted * (total - 2.0 * predicted),
            ]
        })
    }

    fn of_part(part: Part, over: Over, margins: &Margins) -> Self {
        let classes = margins.hits.len() as f64;
        let weight: f64 = margins.truth.iter().sum();
        let value = margins.part(part, over);
        let sums = margins
            .classes()
            .fold([0.0; 3], |[h, t, p], (hits, truth, predicted)| {
                [h + hits, t + truth, p + predicted]
            });
        Self::collect(margins, 0.0, |class, counts| {
            let slopes = part.slopes(counts);
            match over {
                Over::One(one) if one == Some(class) => slopes,
                Over::One(_) => [0.0; 3],
                Over::Micro => part.slopes(sums),
                Over::Macro => slopes.map(|slope| slope / classes),
                Over::Weighted => {
                    let [hits, truth, predicted] = counts;
                    let [by_hits, by_truth, by_predicted] = slopes.map(|slope| slope * truth / weight);
                    let own = part.of(hits, truth, predicted);
                    [by_hits, by_truth + (own - value) / weight, by_predicted]
                }
            }
        })
    }
}

impl Part {
    /// The derivatives for one class by its hits, true and predicted rows; 0 where it is not defined.
    fn slopes(self, [hits, truth, predicted]: [f64; 3]) -> [f64; 3] {
        // Every part is above · hits / (of_truth · truth + of_predicted · predicted).
        let (above, of_truth, of_predicted) = match self {
            Self::Precision => (1.0, 0.0, 1.0),
            Self::Recall => (1.0, 1.0, 0.0),
            Self::FBeta(beta) if beta.is_infinite() => (1.0, 1.0, 0.0),
            Self::FBeta(beta) => (1.0 + beta * beta, beta * beta, 1.0),
        };
        let below = of_truth * truth + of_predicted * predicted;
        if below <= 0.0 {
            return [0.0; 3];
        }
        let by_hits = above / below;
        let by_below = -by_hits * hits / below;
        [by_hits, by_below * of_truth, by_below * of_predicted]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_small_differences() {
        let margins = Margins {
            hits: vec![30.0, 7.0, 2.0],
            truth: vec![36.0, 11.0, 5.0],
            predicted: vec![37.0, 12.0, 3.0],
            total: 52.0,
        };
        let parts = [
            Part::Precision,
            Part::Recall,
            Part::FBeta(1.0),
            Part::FBeta(2.0),
            Part::FBeta(f64::INFINITY),
        ];
        let overs = [
            Over::One(Some(1)),
            Over::One(None),
            Over::Micro,
            Over::Macro,
            Over::Weighted,
        ];
        let mut metrics = vec![
            LabelMetric::BalancedAccuracy,
            LabelMetric::CohenKappa,
            LabelMetric::Matthews,
        ];
        for part in parts {
            metrics.extend(overs.map(|over| LabelMetric::Part(part, over)));
        }
        for metric in metrics {
            let slopes = Slopes::of(metric, &margins);
            let difference = |change: &dyn Fn(&mut Margins, f64)| {
                let moved = |by: f64| {
                    let mut moved = margins.clone();
                    change(&mut moved, by);
                    metric.of(&moved)
                };
                (moved(1e-4) - moved(-1e-4)) / 2e-4
            };
            let near = |slope: f64, difference: f64| {
                assert!(
                    (slope - difference).abs() < 1e-7,
                    "{metric:?}: {slope} {difference}"
                );
            };
            for class in 0..3 {
                near(slopes.hits[class], difference(&|m, by| m.hits[class] += by));
                near(slopes.truth[class], difference(&|m, by| m.truth[class] += by));
                near(
                    slopes.predicted[class],
                    difference(&|m, by| m.predicted[class] += by),
                );
            }
            near(slopes.total, difference(&|m, by| m.total += by));
        }
    }
}
