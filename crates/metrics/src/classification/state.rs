//! Everything about a classifier in one mergeable state.

use std::collections::BTreeMap;

use lodeway_domain::{Error, Result};

use super::{
    Average, ClassScores, ClassificationSpec, ConfusionState, LabelMetric, MulticlassAuc, Over, Part,
    ProbabilityState, Ranked, Scores, default_positive,
    part::{Order, ProbabilityPart, most_probable},
};
use crate::{
    Column, Estimate, Label, SpillStore,
    bytes::{Reader, Writer},
    check,
    normal::z_of,
};

/// One batch of rows of a classifier.
#[derive(Debug, Clone, Copy)]
pub struct ClassificationBatch<'a> {
    /// True classes.
    pub target: Column<'a>,
    /// Predicted classes; where there are none, the most probable class (of equals the first).
    pub prediction: Option<Column<'a>>,
    /// `[rows]` or `[rows, classes]` row-major, as the spec says; needed if it names classes.
    pub probability: Option<&'a [f64]>,
    /// Sample weights.
    pub weights: Option<&'a [f64]>,
}

/// What the order of scores comes to, where a state alone does not know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ordered {
    /// Of two classes, from a [`Ranking`](super::Ranking).
    Ranked(Ranked),
    /// Of more, from [`ClassScores::auc_of_spilled`].
    Classes(MulticlassAuc),
}

/// Sums and scores of all rows of a classifier. Parts merge, in any order, into the state of the whole.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassificationState {
    spec: ClassificationSpec,
    confusion: ConfusionState,
    probability: Option<ProbabilityPart>,
}

impl ClassificationState {
    pub(crate) const KIND: u8 = 5;
    const WHAT: &'static str = "classification";

    /// No rows yet. Errors: `INVALID_FIELD` if the spec contradicts itself.
    pub fn new(spec: ClassificationSpec) -> Result<Self> {
        let probability = match &spec.probabilities {
            None => None,
            Some(classes) => Some(ProbabilityPart::new(&spec, classes)?),
        };
        let mut confusion = ConfusionState::new();
        for label in probability.iter().flat_map(|p| &p.labels) {
            confusion.classes_mut().code("classes", label.clone())?;
        }
        if let Some(probability) = &probability
            && confusion.classes().len() != probability.labels.len()
        {
            return Err(Error::invalid("classes", "names a class twice"));
        }
        Ok(Self {
            spec,
            // Only labels that occur belong in the matrix; the codes given above were a check.
            confusion: ConfusionState::new(),
            probability,
        })
    }

    /// Adds a batch, all of it in memory.
    ///
    /// Errors: `INVALID_FIELD` for columns that do not fit together or bad values, naming column and row;
    /// `LIMIT_EXCEEDED` above [`ClassificationSpec::max_rows`]. After an error the state is not to be used.
    pub fn update(&mut self, batch: &ClassificationBatch<'_>) -> Result<()> {
        self.add(batch, None)
    }

    /// Adds a batch; scores that exceed the bound go to `store`.
    ///
    /// At the end the caller calls [`ClassificationState::spill`], walks down all scores and gives what they come to to
    /// [`ClassificationState::finish`]. Errors: as [`ClassificationState::update`], and those of the store.
    pub fn update_or_spill(
        &mut self,
        batch: &ClassificationBatch<'_>,
        store: &mut dyn SpillStore,
    ) -> Result<()> {
        self.add(batch, Some(store))
    }

    fn add(&mut self, batch: &ClassificationBatch<'_>, store: Option<&mut dyn SpillStore>) -> Result<()> {
        let classes = self.confusion.classes_mut();
        let truth = classes.encode("target", batch.target)?;
        check::weights(batch.weights, truth.len())?;
        let predicted = match (batch.prediction, &self.probability) {
            (Some(column), _) => {
                let codes = classes.encode("prediction", column)?;
                check::same_length("prediction", codes.len(), truth.len())?;
                codes
            }
            (None, Some(probability)) => {
                let values = probability.values(batch, truth.len())?;
                let columns = probability.labels.len();
                let codes = probability.labels.iter();
                let codes: Vec<u32> = codes
                    .map(|label| classes.code("classes", label.clone()))
                    .collect::<Result<_>>()?;
                let predicted = most_probable(values, columns, probability.is_one_column());
                predicted
                    .map(|place| codes.get(place).copied().unwrap_or_default())
                    .collect()
            }
            (None, None) => {
                return Err(Error::invalid(
                    "prediction",
                    "is missing, and so are probabilities",
                ));
            }
        };
        if let Some(probability) = &mut self.probability {
            let places = probability.places(self.confusion.classes().labels(), &truth)?;
            probability.add(&places, batch, store)?;
        }
        self.confusion.update_codes(&truth, &predicted, batch.weights)
    }

    /// Adds the rows of another state. Errors: `INVALID_FIELD` for another spec; `LIMIT_EXCEEDED`.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.spec != other.spec {
            return Err(Error::invalid(
                "state",
                "was told other classes or settings and cannot be merged",
            ));
        }
        self.confusion.merge(&other.confusion)?;
        match (&mut self.probability, &other.probability) {
            (Some(own), Some(other)) => {
                own.sums.merge(&other.sums)?;
                match (&mut own.order, &other.order) {
                    (Order::Binary(own), Order::Binary(other)) => own.merge(other),
                    (Order::Multi(own), Order::Multi(other)) => own.merge(other),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Gives the scores still held to `store`, if any went there before.
    pub fn spill(&mut self, store: &mut dyn SpillStore) -> Result<()> {
        match self.probability.as_mut().map(|p| &mut p.order) {
            Some(Order::Binary(scores)) if scores.spilled() > 0 => scores.spill(store),
            Some(Order::Multi(scores)) if scores.spilled() > 0 => scores.spill(store),
            _ => Ok(()),
        }
    }

    /// The confusion matrix so far.
    pub fn confusion(&self) -> &ConfusionState {
        &self.confusion
    }

    /// The sums over probabilities so far.
    pub fn probability(&self) -> Option<&ProbabilityState> {
        self.probability.as_ref().map(|p| &p.sums)
    }

    /// The scores of a binary problem so far, for its curves.
    pub fn scores(&self) -> Option<&Scores> {
        match &self.probability.as_ref()?.order {
            Order::Binary(scores) => Some(scores),
            Order::Multi(_) => None,
        }
    }

    /// The probabilities of a problem with more classes so far, for its areas.
    pub fn class_scores(&self) -> Option<&ClassScores> {
        match &self.probability.as_ref()?.order {
            Order::Binary(_) => None,
            Order::Multi(scores) => Some(scores),
        }
    }

    /// Every metric by its short name, with analytic intervals of `confidence` (0.95, say).
    ///
    /// `ordered` is what the walk gave, if scores were spilled or not held. Errors: `INVALID_FIELD` for no rows or no weight, a
    /// positive class that is neither of two, or spilled scores without `ordered`.
    pub fn finish(&self, confidence: f64, ordered: Option<Ordered>) -> Result<BTreeMap<String, Estimate>> {
        let z = z_of(confidence);
        let confusion = self.confusion.finish()?;
        let mut metrics = BTreeMap::new();
        let mut put = |name: &str, estimate| {
            metrics.insert(name.to_owned(), estimate);
        };
        put("accuracy", confusion.share(confusion.accuracy(), z));
        for (name, metric) in MARGIN_METRICS {
            put(name, confusion.estimate(*metric, z));
        }
        if let Some(positive) = self.positive(confusion.labels()) {
            let over = confusion.over(&Average::Binary(positive))?;
            let Over::One(class) = over else {
                return Err(Error::internal("a binary average is over one class"));
            };
            put("precision", confusion.share_of_class(Part::Precision, class, z));
            put("recall", confusion.share_of_class(Part::Recall, class, z));
            for (part, name) in parts(&self.spec.betas) {
                if let Part::FBeta(_) = part {
                    put(&name, confusion.estimate(LabelMetric::Part(part, over), z));
                }
            }
        } else {
            for (part, part_name) in parts(&self.spec.betas) {
                for (over, over_name) in AVERAGES {
                    let estimate = match over {
                        Over::Micro => confusion.share(confusion.accuracy(), z),
                        _ => confusion.estimate(LabelMetric::Part(part, *over), z),
                    };
                    put(&format!("{part_name}_{over_name}"), estimate);
                    if *over == self.spec.average.over() {
                        put(&part_name, estimate);
                    }
                }
            }
        }
        if let Some(probability) = &self.probability {
            probability.put_metrics(self.spec.top_k, z, ordered, &mut put)?;
        }
        Ok(metrics)
    }

    /// The positive class, if there are at most two classes.
    pub(crate) fn positive(&self, labels: &[Label]) -> Option<Label> {
        let is_multi = labels.len() > 2 || self.probability.as_ref().is_some_and(|p| p.labels.len() > 2);
        match (&self.spec.positive, &self.probability) {
            _ if is_multi => None,
            (Some(positive), _) => Some(positive.clone()),
            (None, Some(probability)) => probability.labels.get(probability.positive).cloned(),
            (None, None) => default_positive(labels),
        }
    }

    pub(crate) fn part(&self) -> Option<&ProbabilityPart> {
        self.probability.as_ref()
    }

    /// The versioned byte form; the spec is part of it.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Self::KIND);
        self.spec.write(&mut writer);
        writer.bytes(&self.confusion.encode());
        if let Some(probability) = &self.probability {
            writer.bytes(&probability.sums.encode());
            writer.bytes(&match &probability.order {
                Order::Binary(scores) => scores.encode(),
                Order::Multi(scores) => scores.encode(),
            });
        }
        writer.finish()
    }

    /// From the byte form. Errors: [`Error::DataLoss`] for bytes that are damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, Self::KIND, Self::WHAT)?;
        let spec = ClassificationSpec::read(&mut reader)?;
        let Ok(mut state) = Self::new(spec) else {
            return Err(reader.damaged("has an impossible spec"));
        };
        state.confusion = ConfusionState::decode(reader.bytes()?)?;
        if let Some(probability) = &mut state.probability {
            let sums = ProbabilityState::decode(reader.bytes()?)?;
            reader.check(
                sums.shape() == probability.sums.shape(),
                "has sums of other classes",
            )?;
            probability.sums = sums;
            let order = reader.bytes()?;
            match &mut probability.order {
                Order::Binary(scores) => *scores = Scores::decode(order)?,
                Order::Multi(scores) => {
                    *scores = ClassScores::decode(order)?;
                    reader.check(
                        scores.classes() == probability.labels.len(),
                        "has rows of other classes",
                    )?;
                }
            }
        }
        reader.finish()?;
        Ok(state)
    }
}

/// The metrics of all classes together, by their names.
pub(crate) const MARGIN_METRICS: &[(&str, LabelMetric)] = &[
    ("balanced_accuracy", LabelMetric::BalancedAccuracy),
    ("cohen_kappa", LabelMetric::CohenKappa),
    ("matthews", LabelMetric::Matthews),
];
/// The metrics of single classes, with those of further betas, by their names.
pub(crate) fn parts(betas: &[f64]) -> Vec<(Part, String)> {
    let known = [
        (Part::Precision, "precision"),
        (Part::Recall, "recall"),
        (Part::FBeta(1.0), "f1"),
    ];
    let known = known.into_iter().map(|(part, name)| (part, name.to_owned()));
    let further = betas
        .iter()
        .map(|beta| (Part::FBeta(*beta), format!("fbeta_{beta}")));
    known.chain(further).collect()
}

pub(crate) const AVERAGES: &[(Over, &str)] = &[
    (Over::Micro, "micro"),
    (Over::Macro, "macro"),
    (Over::Weighted, "weighted"),
];
