//! Metrics of ranked answers: documents for a query, items for a user.

use std::collections::BTreeMap;

use lodeway_domain::{Error, Result};

use crate::{
    Estimate, Scores,
    bytes::{Reader, Writer},
    check,
    moments::Mean,
    normal::z_of,
};

/// Means over queries. Parts merge into the state of the whole; the rows of a query must come in one call.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrievalState {
    k: usize,
    means: [Mean; NAMES.len()],
}

const NAMES: [&str; 5] = ["ndcg", "precision", "recall", "mrr", "map"];

impl RetrievalState {
    const KIND: u8 = 8;
    const WHAT: &'static str = "retrieval";

    /// No queries yet; NDCG, precision and recall look at the first `k` answers. Errors: `INVALID_FIELD` for `k` = 0.
    pub fn new(k: usize) -> Result<Self> {
        if k == 0 {
            return Err(Error::invalid("k", "is 0"));
        }
        Ok(Self {
            k,
            means: Default::default(),
        })
    }

    /// Adds one query: how relevant each answer is (≥ 0; above 0 counts as relevant) and its predicted score.
    ///
    /// Errors: `INVALID_FIELD` for no answers, columns of different length, relevance below 0 (scikit-learn raises too),
    /// NaN or infinite values, or a weight that is not a finite number of at least 0.
    pub fn update(&mut self, relevance: &[f64], scores: &[f64], weight: f64) -> Result<()> {
        let query = Query::new(relevance, scores)?;
        check::weights(Some(&[weight]), 1)?;
        let values = [
            query.ndcg(Some(self.k)),
            query.precision(self.k),
            query.recall(self.k),
            query.reciprocal_rank(),
            query.average_precision(),
        ];
        self.means
            .iter_mut()
            .zip(values)
            .for_each(|(mean, value)| mean.add(value, weight));
        Ok(())
    }

    /// Adds the queries of another state. Errors: `INVALID_FIELD` if its `k` is another.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.k != other.k {
            return Err(Error::invalid("state", "has another k and cannot be merged"));
        }
        self.means
            .iter_mut()
            .zip(&other.means)
            .for_each(|(own, other)| own.merge(other));
        Ok(())
    }

    /// `ndcg_at_K`, `precision_at_K`, `recall_at_K`, `mrr` and `map`, with intervals over queries.
    ///
    /// Errors: `INVALID_FIELD` for no queries or no weight.
    pub fn finish(&self, confidence: f64) -> Result<BTreeMap<String, Estimate>> {
        let z = z_of(confidence);
        let [first, ..] = &self.means;
        check::not_empty(first.rows(), first.weight())?;
        let named = NAMES
            .iter()
            .zip(&self.means)
            .enumerate()
            .map(|(at, (name, mean))| {
                let name = if at < 3 {
                    format!("{name}_at_{}", self.k)
                } else {
                    (*name).to_owned()
                };
                (name, mean.estimate_in_range(z, (0.0, 1.0)))
            });
        Ok(named.collect())
    }

    /// The versioned byte form.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Self::KIND);
        writer.length(self.k);
        self.means.iter().for_each(|mean| mean.write(&mut writer));
        writer.finish()
    }

    /// From the byte form. Errors: [`Error::DataLoss`] for bytes that are damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, Self::KIND, Self::WHAT)?;
        let Ok(mut state) = Self::new(usize::try_from(reader.u64()?).unwrap_or(usize::MAX)) else {
            return Err(reader.damaged("has a k of 0"));
        };
        for mean in &mut state.means {
            *mean = Mean::read(&mut reader)?;
        }
        reader.finish()?;
        Ok(state)
    }
}

/// The answers to one query, in the predicted order.
#[derive(Debug, Clone)]
pub struct Query {
    /// Score and relevance, by descending score; equal scores in the order given.
    answers: Vec<(f64, f64)>,
}

impl Query {
    /// Errors: as [`RetrievalState::update`].
    pub fn new(relevance: &[f64], scores: &[f64]) -> Result<Self> {
        check::same_length("score", scores.len(), relevance.len())?;
        check::finite("score", scores)?;
        check::finite("relevance", relevance)?;
        if relevance.is_empty() {
            return Err(Error::invalid("relevance", "has no answers"));
        }
        if let Some(row) = relevance.iter().position(|value| *value < 0.0) {
            return Err(Error::invalid(format!("relevance[{row}]"), "is below 0"));
        }
        let mut answers: Vec<(f64, f64)> = scores.iter().copied().zip(relevance.iter().copied()).collect();
        answers.sort_by(|a, b| (b.0 + 0.0).total_cmp(&(a.0 + 0.0)));
        Ok(Self { answers })
    }

    /// Discounted gain of the first `k` answers (all by default), relative to the best order; in [0, 1], 0 if nothing is
    /// relevant. Answers of equal score share the gain of their places.
    ///
    /// Source: `sklearn.metrics.ndcg_score`, which raises for a single answer; here it is 1 if relevant. Ties: McSherry and
    /// Najork 2008, <https://doi.org/10.1007/978-3-540-78646-7_38>.
    pub fn ndcg(&self, k: Option<usize>) -> f64 {
        let k = k.unwrap_or(usize::MAX);
        let discount = |place: usize| {
            if place < k {
                1.0 / (place as f64 + 2.0).log2()
            } else {
                0.0
            }
        };
        let mut gain = 0.0;
        let mut place = 0;
        for group in self.answers.chunk_by(|a, b| a.0 == b.0) {
            let discounts: f64 = (place..place + group.len()).map(discount).sum();
            let relevance: f64 = group.iter().map(|answer| answer.1).sum();
            gain += relevance / group.len() as f64 * discounts;
            place += group.len();
        }
        let mut best: Vec<f64> = self.answers.iter().map(|answer| answer.1).collect();
        best.sort_by(|a, b| b.total_cmp(a));
        let best: f64 = best
            .iter()
            .enumerate()
            .map(|(place, value)| value * discount(place))
            .sum();
        if best > 0.0 { gain / best } else { 0.0 }
    }

    fn found(&self, k: usize) -> f64 {
        self.answers
            .iter()
            .take(k)
            .filter(|answer| answer.1 > 0.0)
            .count() as f64
    }

    /// The share of the first `k` places with a relevant answer; places without an answer count as not relevant.
    ///
    /// Source: Manning et al., "Introduction to Information Retrieval", section 8.4.
    pub fn precision(&self, k: usize) -> f64 {
        self.found(k) / k as f64
    }

    /// The share of relevant answers among the first `k`; 0 if nothing is relevant.
    pub fn recall(&self, k: usize) -> f64 {
        let all = self.found(usize::MAX);
        if all > 0.0 { self.found(k) / all } else { 0.0 }
    }

    /// 1 / place of the first relevant answer, from 1; 0 if nothing is relevant.
    pub fn reciprocal_rank(&self) -> f64 {
        let first = self.answers.iter().position(|answer| answer.1 > 0.0);
        first.map_or(0.0, |place| 1.0 / (place + 1) as f64)
    }

    /// Average precision of the answers; 0 if nothing is relevant. Equal scores are one threshold, as in
    /// `sklearn.metrics.average_precision_score`.
    pub fn average_precision(&self) -> f64 {
        let (scores, relevant): (Vec<f64>, Vec<bool>) = self
            .answers
            .iter()
            .map(|answer| (answer.0, answer.1 > 0.0))
            .unzip();
        let scores = Scores::of(&scores, &relevant, None);
        scores.map_or(0.0, |scores| scores.ranking().finish().average_precision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_by_hand() {
        let query = Query::new(&[0.0, 2.0, 1.0, 0.0], &[0.9, 0.8, 0.7, 0.1]).unwrap();
        assert_eq!(
            (query.precision(2), query.recall(2), query.reciprocal_rank()),
            (0.5, 0.5, 0.5)
        );
        assert!((query.average_precision() - (0.5 + 2.0 / 3.0) / 2.0).abs() < 1e-15);
        assert_eq!(query.precision(8), 0.25);
        let nothing = Query::new(&[0.0], &[1.0]).unwrap();
        assert_eq!(
            (nothing.ndcg(None), nothing.recall(1), nothing.average_precision()),
            (0.0, 0.0, 0.0)
        );
        assert!(Query::new(&[-1.0], &[1.0]).is_err() && Query::new(&[], &[]).is_err());
    }

    #[test]
    fn parts_merge_and_travel_as_bytes() {
        let mut whole = RetrievalState::new(3).unwrap();
        let mut parts = [whole.clone(), whole.clone()];
        for i in 0..10_u8 {
            let relevance = [f64::from(i % 3), 1.0, f64::from(i % 2), 0.0];
            let scores = [0.5, f64::from(i), 4.0, 4.0];
            whole.update(&relevance, &scores, 1.0).unwrap();
            parts[usize::from(i % 2)]
                .update(&relevance, &scores, 1.0)
                .unwrap();
        }
        let [mut first, second] = parts;
        let bytes = second.encode();
        first.merge(&RetrievalState::decode(&bytes).unwrap()).unwrap();
        let (merged, whole) = (first.finish(0.95).unwrap(), whole.finish(0.95).unwrap());
        assert_eq!(merged.len(), 5);
        for (name, estimate) in whole {
            assert!((merged[&name].value - estimate.value).abs() < 1e-15, "{name}");
        }
        assert!(RetrievalState::decode(&bytes[1..]).is_err());
        assert!(RetrievalState::new(3).unwrap().finish(0.95).is_err());
    }
}
