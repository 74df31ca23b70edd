//! Answers ranked for queries.

use std::collections::{BTreeMap, HashSet};

use lodeway_domain::{Error, Result};
use lodeway_metrics::RetrievalState;

use super::Scored;
use crate::{curves::Curves, plan::PlanOptions, rows::View};

pub(crate) struct Ranking {
    states: Vec<RetrievalState>,
    /// The query whose rows are coming, and its answers.
    open: Option<Open>,
    /// Hashes of the queries that were closed: one that comes again would be counted twice.
    closed: HashSet<u64>,
    queries: u64,
}

struct Open {
    query: String,
    relevance: Vec<f64>,
    scores: Vec<f64>,
    weight: f64,
}

impl Ranking {
    /// The most answers to one query.
    const ANSWERS: usize = 1 << 20;

    pub(crate) fn new(options: &PlanOptions) -> Result<Self> {
        Ok(Self {
            states: options
                .ks
                .iter()
                .map(|&k| RetrievalState::new(k))
                .collect::<Result<_>>()?,
            open: None,
            closed: HashSet::new(),
            queries: 0,
        })
    }

    pub(crate) fn add(&mut self, rows: View<'_>) -> Result<()> {
        let (target, prediction) = (rows.target(), rows.prediction());
        let prediction = prediction.ok_or_else(|| Error::invalid("prediction", "is needed for ranking"))?;
        let (relevance, scores) = (target.column(), prediction.column());
        let (relevance, scores) = (relevance.numbers("target")?, scores.numbers("prediction")?);
        let weights = rows.weights();
        let queries = rows.texts(|rows| &rows.query);
        for (row, query) in queries.into_iter().enumerate() {
            if self.open.as_ref().is_none_or(|open| open.query != query) {
                self.close()?;
                if self.closed.contains(&hash(query)) {
                    let why = format!(
                        "row {}: query `{query}` comes again; rows of a query must be adjacent",
                        rows.number(row)
                    );
                    return Err(Error::invalid("query", why));
                }
                self.open = Some(Open {
                    query: query.to_owned(),
                    relevance: Vec::new(),
                    scores: Vec::new(),
                    weight: weights
                        .and_then(|weights| weights.get(row))
                        .copied()
                        .unwrap_or(1.0),
                });
            }
            if let Some(open) = &mut self.open {
                if open.relevance.len() == Self::ANSWERS {
                    return Err(Error::invalid(
                        "query",
                        format!("`{query}` has more than {} answers", Self::ANSWERS),
                    ));
                }
                open.relevance.extend(relevance.get(row));
                open.scores.extend(scores.get(row));
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if let Some(open) = self.open.take() {
            for state in &mut self.states {
                state.update(&open.relevance, &open.scores, open.weight)?;
            }
            self.closed.insert(hash(&open.query));
            self.queries += 1;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self, confidence: f64) -> Result<Scored> {
        self.close()?;
        let mut metrics = BTreeMap::new();
        for state in &self.states {
            metrics.extend(state.finish(confidence)?);
        }
        Ok(Scored {
            metrics,
            curves: Curves::default(),
            confusion: None,
            per_class: Vec::new(),
            labels: Vec::new(),
            samples: self.queries,
        })
    }
}

/// FNV-1a, then mixed: the same on every machine.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    text.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step)
}
