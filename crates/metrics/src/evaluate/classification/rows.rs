//! Rows laid out so that one resample is a few walks over them.

use std::collections::HashMap;

use lodeway_domain::Result;

use super::{
    super::{Options, Resample},
    areas::{BinaryWalk, ClassWalks},
    losses::Losses,
};
use crate::{
    Average, ClassificationBatch, ClassificationState, Label, check,
    classification::{AVERAGES, MARGIN_METRICS, Margins, Over, Part, ProbabilityPart, most_probable, parts},
};

/// Above so many steps ROC AUC over classes is not resampled.
const MULTICLASS_STEPS: f64 = 1e9;

pub(super) struct Rows {
    /// The rows in the order of their scores, with their weights.
    order: Vec<u32>,
    weights: Vec<f64>,
    /// The pair (true class, predicted class) of each row, as a place in `pairs`.
    cells: Vec<u32>,
    pairs: Vec<(usize, usize)>,
    classes: usize,
    /// The positive class, or else the average that the plain names stand for.
    over: Over,
    /// The metrics of single classes.
    parts: Vec<(Part, String)>,
    is_multi: bool,
    losses: Option<Losses>,
    walks: Walks,
    names: Vec<String>,
}

enum Walks {
    None,
    /// The rows themselves are in the order of the walk.
    Binary(BinaryWalk),
    Multi(ClassWalks),
}

const BINARY_NAMES: [&str; 2] = ["roc_auc", "average_precision"];
const MULTI_NAMES: [&str; 5] = [
    "roc_auc",
    "roc_auc_ovr",
    "roc_auc_ovr_weighted",
    "roc_auc_ovo",
    "roc_auc_ovo_weighted",
];

impl Rows {
    pub(super) fn new(
        state: &ClassificationState,
        batch: &ClassificationBatch<'_>,
        options: &Options,
    ) -> Result<Self> {
        let confusion = state.confusion().finish()?;
        let rows = batch.target.len();
        let mut classes = state.confusion().classes().clone();
        let truth = classes.encode("target", batch.target)?;
        let probabilities = state.part().zip(batch.probability);
        let predicted = match (batch.prediction, probabilities) {
            (Some(column), _) => classes.encode("prediction", column)?,
            (None, Some((part, values))) => {
                let code = |label| classes.find(label).unwrap_or_default();
                let codes: Vec<u32> = part.labels.iter().map(code).collect();
                let places = most_probable(values, part.labels.len(), part.is_one_column());
                places
                    .map(|place| codes.get(place).copied().unwrap_or_default())
                    .collect()
            }
            (None, None) => Vec::new(),
        };
        let places = match probabilities {
            Some((part, _)) => part.places(classes.labels(), &truth)?,
            None => Vec::new(),
        };

        let mut order: Vec<u32> = (0..rows as u32).collect();
        let steps = rows as f64 * f64::from(options.bootstrap.replicates);
        let walks = match (probabilities, state.class_scores()) {
            (Some((part, values)), None) => Walks::Binary(sort_by_score(&mut order, part, values, &places)),
            (Some((part, _)), Some(scores)) if steps * part.labels.len() as f64 <= MULTICLASS_STEPS => {
                Walks::Multi(ClassWalks::new(
                    scores,
                    part.labels.len(),
                    batch.weights.is_some(),
                ))
            }
            _ => Walks::None,
        };

        let place = |label: &Label| confusion.labels().binary_search(label).unwrap_or_default();
        let ranks: Vec<usize> = classes.labels().iter().map(place).collect();
        let mut pairs = Vec::new();
        let mut known: HashMap<(u32, u32), u32> = HashMap::new();
        let cells = order.iter().map(|&row| {
            let (t, p) = (truth[row as usize], predicted[row as usize]);
            *known.entry((t, p)).or_insert_with(|| {
                pairs.push((ranks[t as usize], ranks[p as usize]));
                pairs.len() as u32 - 1
            })
        });
        let cells = cells.collect();
        let positive = state.positive(confusion.labels());
        let weight = |&row: &u32| check::weight_of(batch.weights, row as usize);
        let weights: Vec<f64> = order.iter().map(weight).collect();
        let losses = probabilities.map(|(part, values)| {
            let classes = part.labels.len();
            Losses::new(&places, values, &order, &weights, classes, options)
        });
        let mut laid_out = Self {
            weights,
            cells,
            pairs,
            classes: confusion.labels().len(),
            is_multi: positive.is_none(),
            parts: parts(&options.betas),
            over: match positive {
                Some(label) => confusion.over(&Average::Binary(label))?,
                None => options.average.over(),
            },
            losses,
            order,
            walks,
            names: Vec::new(),
        };
        laid_out.names = laid_out.all_names(options.top_k);
        Ok(laid_out)
    }

    fn all_names(&self, top_k: usize) -> Vec<String> {
        let mut names = vec!["accuracy".to_owned()];
        names.extend(MARGIN_METRICS.iter().map(|(name, ..)| (*name).to_owned()));
        names.extend(self.parts.iter().map(|(_, name)| name.clone()));
        if self.is_multi {
            for (_, part) in &self.parts {
                names.extend(AVERAGES.iter().map(|(_, average)| format!("{part}_{average}")));
            }
        }
        if let Some(losses) = &self.losses {
            names.extend(["log_loss", "brier", "calibration_error"].map(str::to_owned));
            if losses.has_top_k() {
                names.push(format!("top_{top_k}_accuracy"));
            }
        }
        let of_order: &[&str] = match &self.walks {
            Walks::None => &[],
            Walks::Binary(_) => &BINARY_NAMES,
            Walks::Multi(_) => &MULTI_NAMES,
        };
        names.extend(of_order.iter().map(|name| (*name).to_owned()));
        names
    }

    fn margins(&self, weights: &[f64]) -> Margins {
        let mut cells = vec![0.0; self.pairs.len()];
        for (&cell, &weight) in self.cells.iter().zip(weights) {
            cells[cell as usize] += weight;
        }
        let mut margins = Margins::zero(self.classes);
        for (&(truth, predicted), weight) in self.pairs.iter().zip(cells) {
            if truth == predicted {
                margins.hits[truth] += weight;
            }
            margins.truth[truth] += weight;
            margins.predicted[predicted] += weight;
            margins.total += weight;
        }
        margins
    }
}

impl Resample for Rows {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn resample(&self, counts: &[u32], values: &mut [f64]) {
        let mut values = values.iter_mut();
        let mut put = |value| {
            if let Some(slot) = values.next() {
                *slot = value;
            }
        };
        // Counts are of rows as they came, so that two models can be compared on the same resample.
        let rows = self.order.iter().zip(&self.weights);
        let weights: Vec<f64> = rows
            .map(|(&row, weight)| weight * f64::from(counts[row as usize]))
            .collect();
        let margins = self.margins(&weights);
        put(margins.accuracy());
        MARGIN_METRICS
            .iter()
            .for_each(|(_, metric)| put(metric.of(&margins)));
        self.parts
            .iter()
            .for_each(|(part, _)| put(margins.part(*part, self.over)));
        if self.is_multi {
            for (part, _) in &self.parts {
                AVERAGES
                    .iter()
                    .for_each(|(over, _)| put(margins.part(*part, *over)));
            }
        }
        if let Some(losses) = &self.losses {
            losses.resample(&weights, margins.total, &mut put);
        }
        match &self.walks {
            Walks::None => {}
            Walks::Binary(walk) => walk.areas(&weights).into_iter().for_each(put),
            Walks::Multi(walks) => walks.areas(&weights).into_iter().for_each(put),
        }
    }
}

/// Sorts the rows by descending score, so that a walk in memory is a walk down the ranking.
fn sort_by_score(order: &mut [u32], part: &ProbabilityPart, values: &[f64], places: &[u32]) -> BinaryWalk {
    let (width, column) = if part.is_one_column() {
        (1, 0)
    } else {
        (2, part.positive)
    };
    let score = |row: u32| values[row as usize * width + column];
    order.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
    let walk = order.iter().enumerate().map(|(at, &row)| {
        let ends = order.get(at + 1).is_none_or(|&next| score(next) != score(row));
        (places[row as usize] as usize == part.positive, ends)
    });
    BinaryWalk::new(walk.collect())
}
