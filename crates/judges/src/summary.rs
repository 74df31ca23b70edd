//! A judge's results over all rows: mean with interval, outcomes by kind, spread, totals.

use std::collections::BTreeMap;

use lodeway_domain::{Error, Result};
use lodeway_metrics::{Bootstrap, Estimate, Method, normal, wilson};
use serde::{Deserialize, Serialize};

use crate::{JudgeId, OutcomeKind, RowResult, Score, ScoreKind, Totals};

/// How intervals are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Intervals {
    /// Between 0 and 1, for example 0.95.
    pub confidence: f64,
    /// Resamples for means of numbers.
    pub bootstrap: Bootstrap,
    /// From so many scores on, the interval of a mean is the normal one: resamples would take long and say the same.
    pub normal_from: usize,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            confidence: 0.95,
            bootstrap: Bootstrap::default(),
            normal_from: 100_000,
        }
    }
}

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

    /// The report. Errors: `INVALID_FIELD` with `confidence` or `replicates`.
    pub fn finish(&self, intervals: &Intervals) -> Result<Aggregate> {
        if !(intervals.confidence > 0.0 && intervals.confidence < 1.0) {
            return Err(Error::invalid("confidence", "is not between 0 and 1"));
        }
        let count = |kind| self.outcomes.get(&kind).copied().unwrap_or_default();
        let scored = count(OutcomeKind::Scored);
        let rows: u64 = self.outcomes.values().sum();
        let due = rows - count(OutcomeKind::NotApplicable);
        let z = normal::normal_quantile(0.5 + 0.5 * intervals.confidence);
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
            mean: self.mean(intervals, z)?,
            categories,
            coverage: share_of(scored, due),
            agreement: (self.repeated > 0).then(|| self.agreement / self.repeated as f64),
            deviation: (self.with_deviation > 0).then(|| self.deviation / self.with_deviation as f64),
            totals: self.totals,
        })
    }

    fn mean(&self, intervals: &Intervals, z: f64) -> Result<Option<Mean>> {
        if self.values.is_empty() || self.unweighted > 0 {
            return Ok(None);
        }
        let rows = self.values.len() as f64;
        let value = self.values.iter().sum::<f64>() / rows;
        let estimate = if self.kind == ScoreKind::Boolean {
            wilson(value, rows, z)
        } else if self.values.len() < intervals.normal_from {
            let replicates = intervals.bootstrap.run(self.values.len(), 1, |counts, means| {
                let drawn: f64 = counts.iter().map(|&count| f64::from(count)).sum();
                let sum: f64 = counts
                    .iter()
                    .zip(&self.values)
                    .map(|(&count, value)| f64::from(count) * value)
                    .sum();
                if let Some(mean) = means.first_mut().filter(|_| drawn > 0.0) {
                    *mean = sum / drawn;
                }
            })?;
            replicates
                .estimate(0, value, intervals.confidence)
                .unwrap_or(Estimate::point(value))
        } else {
            let variance = self.values.iter().map(|one| (one - value).powi(2)).sum::<f64>() / (rows - 1.0);
            let range = (f64::NEG_INFINITY, f64::INFINITY);
            Estimate::around(value, (variance / rows).sqrt(), z, range, Method::Delta)
        };
        Ok(Some(mean(estimate, self.values.len() as u64)))
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
