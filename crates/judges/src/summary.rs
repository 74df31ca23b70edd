//! A judge's results over all rows: mean with interval, outcomes by kind, spread, totals.

use std::collections::BTreeMap;

use lodeway_domain::{Error, Result};
use lodeway_metrics::{Estimate, mean_in_range, normal, wilson};
use serde::{Deserialize, Serialize};

use crate::{JudgeId, OutcomeKind, RowResult, Score, ScoreKind, Totals};

/// Gathers the results of one judge; 8 bytes a score.
#[derive(Debug, Clone)]
pub struct Summary {
    judge: JudgeId,
    kind: ScoreKind,
    values: Vec<f64>,
    unweighted: u64,
    categories: BTreeMap<String, u64>,
    outcomes: BTreeMap<OutcomeKind, u64>,
    repeated: u64,
    agreement: f64,
    deviation: f64,
    with_deviation: u64,
    totals: Totals,
}

/// A number with its interval, for reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// The value; finite.
    pub value: f64,
    /// The lower end, if there is an interval.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
    /// How rows count towards it.
    pub samples: u64,
    /// How the interval was found, [`Method::as_str`].
    pub method: String,
}

/// A judge's part of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// The judge.
    pub judge: JudgeId,
    /// Rows judged.
    pub rows: u64,
    /// Rows by outcome; every kind is there, with 0 too.
    pub outcomes: BTreeMap<OutcomeKind, u64>,
    /// The mean over rows with a score; none if there are none, or if a category without weight is among them.
    pub mean: Option<Mean>,
    /// The share of each category among rows with a score.
    pub categories: BTreeMap<String, Mean>,
    /// Rows with a score among those that should have one; none if none should.
    pub coverage: Option<f64>,
    /// Over rows with two or more scored repeats: the mean share of repeats that agree with the vote.
    pub agreement: Option<f64>,
    /// Over the same rows: the mean standard deviation of repeats.
    pub deviation: Option<f64>,
    /// What it cost.
    pub totals: Totals,
}

impl Summary {
    /// No results yet.
    pub fn new(judge: JudgeId, kind: ScoreKind) -> Self {
        let categories = match &kind {
            ScoreKind::Category { categories } => {
                categories.iter().map(|one| (one.name.clone(), 0)).collect()
            }
            _ => BTreeMap::new(),
        };
        Self {
            judge,
            kind,
            values: Vec::new(),
            unweighted: 0,
            categories,
            outcomes: OutcomeKind::ALL.into_iter().map(|kind| (kind, 0)).collect(),
            repeated: 0,
            agreement: 0.0,
            deviation: 0.0,
            with_deviation: 0,
            totals: Totals::default(),
        }
    }

    /// Adds a row, in the order of the rows: sums and resamples go by it.
    pub fn push(&mut self, result: &RowResult) {
        *self.outcomes.entry(result.outcome.kind()).or_default() += 1;
        self.totals.add(&result.totals);
        if let Some(judgement) = result.outcome.judgement() {
            if let Score::Category(category) = &judgement.score {
                *self.categories.entry(category.clone()).or_default() += 1;
            }
            match judgement.value {
                Some(value) => self.values.push(value),
                None => self.unweighted += 1,
            }
        }
        if let Some(spread) = result.spread.filter(|spread| spread.scored > 1) {
            self.repeated += 1;
            self.agreement += spread.agreement;
            if let Some(deviation) = spread.deviation {
                self.with_deviation += 1;
                self.deviation += deviation;
            }
        }
    }

    /// The report, with intervals of `confidence`, between 0 and 1. Errors: `INVALID_FIELD` for another one.
    pub fn finish(&self, confidence: f64) -> Result<Aggregate> {
        if !(confidence > 0.0 && confidence < 1.0) {
            return Err(Error::invalid("confidence", "is not between 0 and 1"));
        }
        let count = |kind| self.outcomes.get(&kind).copied().unwrap_or_default();
        let scored = count(OutcomeKind::Scored);
        let rows: u64 = self.outcomes.values().sum();
        let due = rows - count(OutcomeKind::NotApplicable);
        let z = normal::z_of(confidence);
        let share_of = |part: u64, all: u64| (all > 0).then(|| part as f64 / all as f64);
        let categories = self
            .categories
            .iter()
            .filter_map(|(name, &part)| {
                let share = share_of(part, scored)?;
                Some((name.clone(), mean(wilson(share, scored as f64, z), scored)))
            })
            .collect();
        Ok(Aggregate {
            judge: self.judge.clone(),
            rows,
            outcomes: self.outcomes.clone(),
            mean: self.mean(confidence),
            categories,
            coverage: share_of(scored, due),
            agreement: (self.repeated > 0).then(|| self.agreement / self.repeated as f64),
            deviation: (self.with_deviation > 0).then(|| self.deviation / self.with_deviation as f64),
            totals: self.totals,
        })
    }

    fn mean(&self, confidence: f64) -> Option<Mean> {
        if self.values.is_empty() || self.unweighted > 0 {
            return None;
        }
        let rows = self.values.len();
        let estimate = if self.kind == ScoreKind::Boolean {
            let value = self.values.iter().sum::<f64>() / rows as f64;
            wilson(value, rows as f64, normal::z_of(confidence))
        } else {
            mean_in_range(&self.values, self.range(), confidence)
        };
        Some(mean(estimate, rows as u64))
    }

    /// The least and the greatest value of a row.
    fn range(&self) -> (f64, f64) {
        match &self.kind {
            ScoreKind::Boolean => (0.0, 1.0),
            ScoreKind::Scale { min, max } => (*min as f64, *max as f64),
            ScoreKind::Number { min, max } => (*min, *max),
            ScoreKind::Category { categories } => {
                let weights = categories.iter().filter_map(|category| category.weight);
                weights.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), weight| {
                    (least.min(weight), most.max(weight))
                })
            }
        }
    }
}

fn mean(estimate: Estimate, samples: u64) -> Mean {
    let end = |end: f64| (!end.is_nan()).then_some(end);
    Mean {
        value: estimate.value,
        low: end(estimate.low),
        high: end(estimate.high),
        samples,
        method: estimate.method.to_string(),
    }
}
