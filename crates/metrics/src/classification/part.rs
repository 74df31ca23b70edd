//! The part of a classifier's state that probabilities make.

use lodeway_domain::{Error, Result};

use super::{
    ClassScores, ClassificationBatch, ClassificationSpec, Ordered, Probabilities, ProbabilityClasses,
    ProbabilityShape, ProbabilityState, Scores, default_positive,
};
use crate::{Estimate, Label, SpillStore, check};

/// The probabilities of a classifier: sums, and what the metrics of the order need.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ProbabilityPart {
    pub(crate) labels: Vec<Label>,
    /// Which of two columns is the positive class.
    pub(crate) positive: usize,
    pub(super) sums: ProbabilityState,
    pub(super) order: Order,
    /// Scores are held; else the metrics of their order are left out.
    pub(super) holds_order: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Order {
    Binary(Scores),
    Multi(ClassScores),
}

/// The place of the most probable class of each row; of equals the first.
pub(crate) fn most_probable(
    values: &[f64],
    columns: usize,
    one_column: bool,
) -> Box<dyn Iterator<Item = usize> + '_> {
    if one_column {
        return Box::new(values.iter().map(|&p| usize::from(p > 1.0 - p)));
    }
    Box::new(values.chunks_exact(columns).map(|row| {
        let first = (0, f64::NEG_INFINITY);
        let best = row
            .iter()
            .enumerate()
            .fold(first, |best, (at, &p)| if p > best.1 { (at, p) } else { best });
        best.0
    }))
}

impl ProbabilityPart {
    pub(super) fn new(spec: &ClassificationSpec, classes: &ProbabilityClasses) -> Result<Self> {
        let labels = classes.labels();
        let shape = ProbabilityShape {
            classes: labels.len(),
            one_column: matches!(classes, ProbabilityClasses::Binary { .. }),
        };
        let positive = match (&spec.positive, shape) {
            (Some(positive), _) if labels.len() == 2 => labels.iter().position(|label| label == positive),
            (
                None,
                ProbabilityShape {
                    one_column: false, ..
                },
            ) if labels.len() == 2 => {
                let positive = default_positive(&labels);
                labels.iter().position(|label| Some(label) == positive.as_ref())
            }
            _ => Some(1),
        };
        let Some(positive) = positive.filter(|&place| place == 1 || !shape.one_column) else {
            return Err(Error::invalid(
                "positive",
                "is not the class that the probability is of",
            ));
        };
        Ok(Self {
            positive,
            sums: ProbabilityState::new(shape, spec.bins)?,
            order: if labels.len() == 2 {
                Order::Binary(Scores::new(spec.max_rows))
            } else {
                Order::Multi(ClassScores::new(labels.len(), spec.max_rows))
            },
            holds_order: spec.max_rows > 0,
            labels,
        })
    }

    pub(crate) fn is_one_column(&self) -> bool {
        self.sums.shape().one_column
    }

    pub(super) fn values<'a>(&self, batch: &ClassificationBatch<'a>, rows: usize) -> Result<&'a [f64]> {
        let values = batch.probability;
        let values =
            values.ok_or_else(|| Error::invalid("probability", "is missing, but its classes were given"))?;
        let columns = if self.is_one_column() {
            1
        } else {
            self.labels.len()
        };
        check::same_length("probability", values.len(), rows * columns)?;
        Ok(values)
    }

    /// The column of each row's class.
    pub(crate) fn places(&self, known: &[Label], truth: &[u32]) -> Result<Vec<u32>> {
        let place = |label| {
            self.labels
                .iter()
                .position(|own| own == label)
                .map(|at| at as u32)
        };
        let places: Vec<Option<u32>> = known.iter().map(place).collect();
        let rows = truth.iter().enumerate().map(|(row, &code)| {
            let place = places.get(code as usize).copied().flatten();
            place.ok_or_else(|| {
                let label = known
                    .get(code as usize)
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let problem = format!("is class `{label}`, which has no probability");
                Error::invalid(format!("target[{row}]"), problem)
            })
        });
        rows.collect()
    }

    pub(super) fn add(
        &mut self,
        places: &[u32],
        batch: &ClassificationBatch<'_>,
        store: Option<&mut dyn SpillStore>,
    ) -> Result<()> {
        let values = self.values(batch, places.len())?;
        let weights = batch.weights;
        match &mut self.order {
            Order::Multi(scores) => {
                self.sums
                    .update(places, Probabilities::PerClass(values), weights)?;
                match store {
                    _ if !self.holds_order => Ok(()),
                    None => scores.update(places, values, weights),
                    Some(store) => scores.update_or_spill(places, values, weights, store),
                }
            }
            Order::Binary(scores) => {
                let is_positive: Vec<bool> = places
                    .iter()
                    .map(|&place| place as usize == self.positive)
                    .collect();
                let column: Vec<f64>;
                let score = if self.sums.shape().one_column {
                    self.sums
                        .update(places, Probabilities::Positive(values), weights)?;
                    values
                } else {
                    if self.positive == 1 {
                        self.sums
                            .update(places, Probabilities::PerClass(values), weights)?;
                    } else {
                        // The sums take the second column for the positive one.
                        let swapped: Vec<f64> = values
                            .as_chunks::<2>()
                            .0
                            .iter()
                            .flat_map(|[a, b]| [*b, *a])
                            .collect();
                        let places: Vec<u32> = places.iter().map(|place| 1 - place).collect();
                        self.sums
                            .update(&places, Probabilities::PerClass(&swapped), weights)?;
                    }
                    column = values.iter().skip(self.positive).step_by(2).copied().collect();
                    &column
                };
                match store {
                    _ if !self.holds_order => Ok(()),
                    None => scores.update(score, &is_positive, weights),
                    Some(store) => scores.update_or_spill(score, &is_positive, weights, store),
                }
            }
        }
    }

    pub(super) fn put_metrics(
        &self,
        top_k: usize,
        z: f64,
        ordered: Option<Ordered>,
        put: &mut impl FnMut(&str, Estimate),
    ) -> Result<()> {
        put("log_loss", self.sums.log_loss_estimate(z));
        put("brier", self.sums.brier_estimate(z));
        put("calibration_error", self.sums.calibration_error_estimate(z));
        match &self.order {
            Order::Binary(scores) => {
                let ranked = match ordered {
                    Some(Ordered::Ranked(ranked)) => ranked,
                    _ if !self.holds_order => return Ok(()),
                    _ if scores.spilled() == 0 => scores.ranking().finish(),
                    _ => return Err(missing_order()),
                };
                put("roc_auc", ranked.roc_auc_estimate(z));
                put("average_precision", ranked.average_precision_estimate(z));
            }
            Order::Multi(scores) => {
                put(
                    &format!("top_{top_k}_accuracy"),
                    self.sums.top_k_estimate(top_k, z),
                );
                let areas = match ordered {
                    Some(Ordered::Classes(areas)) => areas,
                    _ if !self.holds_order => return Ok(()),
                    _ if scores.spilled() == 0 => scores.auc(z),
                    _ => return Err(missing_order()),
                };
                put("roc_auc", areas.ovr);
                put("roc_auc_ovr", areas.ovr);
                put("roc_auc_ovr_weighted", areas.ovr_weighted);
                put("roc_auc_ovo", areas.ovo);
                put("roc_auc_ovo_weighted", areas.ovo_weighted);
            }
        }
        Ok(())
    }
}

fn missing_order() -> Error {
    Error::invalid("ordered", "is needed, because scores were spilled")
}
