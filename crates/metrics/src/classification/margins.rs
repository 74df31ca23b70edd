//! Metrics that need only the margins and the diagonal of a confusion matrix, which is all metrics of labels.
//!
//! They are plain functions of sums of weights, so that a matrix, a resample of it and a smoothed copy (for
//! intervals) share them.

use crate::Sum;

/// Per class: weight of rows predicted right, of rows that are of the class, of rows predicted so.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Margins {
    pub(crate) hits: Vec<f64>,
    pub(crate) truth: Vec<f64>,
    pub(crate) predicted: Vec<f64>,
    pub(crate) total: f64,
}

/// Over which classes a metric of one class is taken; see [`Average`](super::Average).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// One class by its place; none if the positive class does not occur, and then the metric is 0.
    One(Option<usize>),
    Micro,
    Macro,
    Weighted,
}

/// Which of the three families.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Part {
    Precision,
    Recall,
    FBeta(f64),
}

impl Part {
    /// For one class. 0 where it is not defined, as scikit-learn's `zero_division="warn"`.
    pub(super) fn of(self, hits: f64, truth: f64, predicted: f64) -> f64 {
        match self {
            Self::Precision => ratio(hits, predicted),
            Self::Recall => ratio(hits, truth),
            Self::FBeta(beta) if beta.is_infinite() => ratio(hits, truth),
            Self::FBeta(beta) => {
                let square = beta * beta;
                ratio((1.0 + square) * hits, square * truth + predicted)
            }
        }
    }
}

/// A metric of labels that has slopes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum LabelMetric {
    BalancedAccuracy,
    CohenKappa,
    Matthews,
    Part(Part, Over),
}

impl LabelMetric {
    pub(crate) fn of(self, margins: &Margins) -> f64 {
        match self {
            Self::BalancedAccuracy => margins.balanced_accuracy(),
            Self::CohenKappa => margins.cohen_kappa(),
            Self::Matthews => margins.matthews(),
            Self::Part(part, over) => margins.part(part, over),
        }
    }

    pub(crate) fn range(self) -> (f64, f64) {
        match self {
            Self::CohenKappa | Self::Matthews => (-1.0, 1.0),
            Self::BalancedAccuracy | Self::Part(..) => (0.0, 1.0),
        }
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

impl Margins {
    /// For `classes` classes, all 0.
    pub(crate) fn zero(classes: usize) -> Self {
        Self {
            hits: vec![0.0; classes],
            truth: vec![0.0; classes],
            predicted: vec![0.0; classes],
            total: 0.0,
        }
    }

    /// (hits, truth, predicted) of each class.
    pub(crate) fn classes(&self) -> impl Iterator<Item = (f64, f64, f64)> {
        let columns = self.hits.iter().zip(&self.truth).zip(&self.predicted);
        columns.map(|((&hits, &truth), &predicted)| (hits, truth, predicted))
    }

    fn all_hits(&self) -> f64 {
        self.hits.iter().copied().collect::<Sum>().value()
    }

    pub(crate) fn accuracy(&self) -> f64 {
        self.all_hits() / self.total
    }

    pub(crate) fn balanced_accuracy(&self) -> f64 {
        let present = self.classes().filter(|&(_, truth, _)| truth > 0.0);
        mean(present.map(|(hits, truth, _)| hits / truth))
    }

    pub(crate) fn cohen_kappa(&self) -> f64 {
        let missed: Sum = self.classes().map(|(hits, truth, _)| truth - hits).collect();
        // Off the diagonal term by term: a difference of two totals would lose the digits of a rare class.
        let expected: Sum = self
            .classes()
            .map(|(_, truth, predicted)| truth * ((self.total - predicted) / self.total))
            .collect();
        1.0 - missed.value() / expected.value()
    }

    pub(crate) fn matthews(&self) -> f64 {
        let (mut both, mut truth, mut predicted) = (Sum::default(), Sum::default(), Sum::default());
        for (hits, t, p) in self.classes() {
            both.add_product(hits, self.total);
            both.add_product(-t, p);
            truth.add_product(t, self.total - t);
            predicted.add_product(p, self.total - p);
        }
        let scale = truth.value() * predicted.value();
        if scale > 0.0 {
            both.value() / scale.sqrt()
        } else {
            0.0
        }
    }

    pub(crate) fn part(&self, part: Part, over: Over) -> f64 {
        let each = || {
            self.classes()
                .map(|(hits, truth, predicted)| part.of(hits, truth, predicted))
        };
        match over {
            Over::One(class) => class.and_then(|class| each().nth(class)).unwrap_or(0.0),
            Over::Micro => {
                let sum = |values: &[f64]| values.iter().copied().collect::<Sum>().value();
                part.of(sum(&self.hits), sum(&self.truth), sum(&self.predicted))
            }
            Over::Macro => mean(each()),
            Over::Weighted => {
                let mut sum = Sum::default();
                each()
                    .zip(&self.truth)
                    .for_each(|(value, &truth)| sum.add_product(value, truth));
                let weight: Sum = self.truth.iter().copied().collect();
                sum.value() / weight.value()
            }
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (Sum::default(), 0.0);
    for value in values {
        sum.add(value);
        count += 1.0;
    }
    sum.value() / count
}
