//! All scores of a binary problem, because the metrics of an order need all of them.

use lodeway_domain::{Error, Result};

use super::ranking::{Group, Ranking};
use crate::{
    ScoreSink, ScoredRow,
    bytes::{Reader, Writer},
    check,
};

/// Scores with their class and weight, in memory up to a bound, beyond it in the caller's sorted runs.
///
/// Both classes are kept apart, so that an unweighted row takes 8 bytes and sorting moves only those.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    positive: Side,
    negative: Side,
    limit: usize,
    spilled: u64,
}

impl Scores {
    pub(crate) const KIND: u8 = 3;
    const WHAT: &'static str = "scores";

    /// Holds at most `limit` rows.
    pub fn new(limit: usize) -> Self {
        Self {
            positive: Side::default(),
            negative: Side::default(),
            limit,
            spilled: 0,
        }
    }

    /// From columns at once, as many rows as there are. Errors: as [`Scores::update`].
    pub fn of(scores: &[f64], is_positive: &[bool], weights: Option<&[f64]>) -> Result<Self> {
        let mut all = Self::new(scores.len());
        all.update(scores, is_positive, weights)?;
        Ok(all)
    }

    /// Adds a batch. Rows without weight are left out, as scikit-learn does.
    ///
    /// Errors: `INVALID_FIELD` for columns of different length, a score that is NaN or infinite (scikit-learn raises
    /// `ValueError`), bad weights; `LIMIT_EXCEEDED` if the rows do not fit. After an error nothing was added.
    pub fn update(&mut self, scores: &[f64], is_positive: &[bool], weights: Option<&[f64]>) -> Result<()> {
        check::same_length("score", scores.len(), is_positive.len())?;
        check::finite("score", scores)?;
        check::weights(weights, scores.len())?;
        if self.len() + scores.len() > self.limit {
            return Err(Error::Exhausted {
                message: format!(
                    "more than {} rows; exact ranking metrics of more need sorted runs on disk",
                    self.limit
                ),
                retry_after: None,
            });
        }
        let rows = scores.iter().zip(is_positive);
        match weights {
            None => {
                let of = |wanted: bool| {
                    let rows = rows
                        .clone()
                        .filter(move |(_, is_positive)| **is_positive == wanted);
                    rows.map(|(score, _)| *score).collect::<Vec<_>>()
                };
                let (positive, negative) = (of(true), of(false));
                self.positive.extend(&positive);
                self.negative.extend(&negative);
            }
            Some(weights) => {
                for ((&score, &is_positive), &weight) in rows.zip(weights) {
                    if weight > 0.0 {
                        self.side(is_positive).push(score, weight);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether so many rows more are held without a sink.
    pub(crate) fn fits(&self, rows: usize) -> bool {
        self.len() + rows <= self.limit
    }

    /// Adds rows of weight 1 and the negative class that fit. Errors: as [`Scores::update`].
    pub(crate) fn update_negatives(&mut self, scores: &[f64]) -> Result<()> {
        check::finite("score", scores)?;
        self.negative.extend(scores);
        Ok(())
    }

    /// Adds a batch; what does not fit goes to `sink` in sorted runs of at most `limit` rows.
    ///
    /// Errors: those of [`Scores::update`] but the bound, and those of the sink.
    pub fn update_or_spill(
        &mut self,
        scores: &[f64],
        is_positive: &[bool],
        weights: Option<&[f64]>,
        sink: &mut dyn ScoreSink,
    ) -> Result<()> {
        check::same_length("score", is_positive.len(), scores.len())?;
        check::weights(weights, scores.len())?;
        let mut from = 0;
        while from < scores.len() {
            if self.len() >= self.limit.max(1) {
                self.spill(sink)?;
            }
            let to = scores.len().min(from + self.limit.max(1) - self.len());
            let weights = weights.map(|weights| &weights[from..to]);
            self.update(&scores[from..to], &is_positive[from..to], weights)?;
            from = to;
        }
        Ok(())
    }

    /// Gives all rows held to `sink` as one sorted run, and is empty then, also if the sink fails. No rows, no run.
    pub fn spill(&mut self, sink: &mut dyn ScoreSink) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        self.sort();
        let rows = self.len() as u64;
        let (positive, negative) = (
            std::mem::take(&mut self.positive),
            std::mem::take(&mut self.negative),
        );
        let (mut positive, mut negative) = (positive.rows(true), negative.rows(false));
        let (mut p, mut n) = (positive.next(), negative.next());
        let mut run = std::iter::from_fn(|| match (p, n) {
            (Some(first), other) if other.is_none_or(|other| first.score >= other.score) => {
                p = positive.next();
                Some(first)
            }
            (_, other) => {
                n = negative.next();
                other
            }
        });
        sink.spill(&mut run)?;
        self.spilled += rows;
        Ok(())
    }

    /// Adds the rows of another state. Errors: `LIMIT_EXCEEDED` if they do not fit.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.len() + other.len() > self.limit {
            return Err(Error::Exhausted {
                message: format!("more than {} rows after merging; spill first", self.limit),
                retry_after: None,
            });
        }
        self.positive.merge(&other.positive);
        self.negative.merge(&other.negative);
        self.spilled += other.spilled;
        Ok(())
    }

    /// How many rows are held.
    pub fn len(&self) -> usize {
        self.positive.keys.len() + self.negative.keys.len()
    }

    /// No row is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many rows went to a sink; with any, [`Scores::ranking`] alone is not the whole.
    pub fn spilled(&self) -> u64 {
        self.spilled
    }

    fn side(&mut self, is_positive: bool) -> &mut Side {
        if is_positive {
            &mut self.positive
        } else {
            &mut self.negative
        }
    }

    /// Sorts the rows held; later calls and [`Scores::ranking`] are then cheap.
    pub fn sort(&mut self) {
        self.positive.sort();
        self.negative.sort();
    }

    /// Walks the rows held in descending order of the score, rows of equal score as one group.
    pub fn groups(&self, mut visit: impl FnMut(&Group)) {
        let (mut sorted_positive, mut sorted_negative) = (None, None);
        let positive = self.positive.sorted(&mut sorted_positive);
        let negative = self.negative.sorted(&mut sorted_negative);
        let (mut p, mut n) = (positive.keys.len(), negative.keys.len());
        let key = |side: &Side, at: usize| at.checked_sub(1).and_then(|at| side.keys.get(at)).copied();
        while let Some(top) = key(positive, p).max(key(negative, n)) {
            let mut group = Group {
                score: score_of(top),
                ..Group::default()
            };
            while key(positive, p) == Some(top) {
                p -= 1;
                let weight = positive.weight(p);
                group.positives += weight;
                group.positives_squared += weight * weight;
            }
            while key(negative, n) == Some(top) {
                n -= 1;
                let weight = negative.weight(n);
                group.negatives += weight;
                group.negatives_squared += weight * weight;
            }
            visit(&group);
        }
    }

    /// How many rows the negative class has, if none of them has a weight.
    pub(crate) fn unweighted_negatives(&self) -> Option<usize> {
        let side = &self.negative;
        side.weights.is_empty().then_some(side.keys.len())
    }

    /// Of the scores of the negative class, in ascending order, those at the places `from` to `to`, and all that are close to
    /// them; in no order, after the number of scores that are below them.
    pub(crate) fn negatives_around(&self, from: usize, to: usize) -> (usize, Vec<f64>) {
        // Sign, exponent and the first four bits behind the point: the middle of many scores is a few of their classes.
        const SHIFT: u32 = 48;
        const CLASSES: usize = 1 << (u64::BITS - SHIFT);
        let keys = &self.negative.keys;
        if keys.len() < CLASSES {
            return (0, keys.iter().map(|&key| score_of(key)).collect());
        }
        let class = |key: u64| (key >> SHIFT) as usize;
        let mut counts = vec![0_usize; CLASSES];
        for &key in keys {
            if let Some(count) = counts.get_mut(class(key)) {
                *count += 1;
            }
        }
        let (mut passed, mut below, mut first, mut last) = (0, 0, 0, 0);
        for (at, count) in counts.iter().enumerate() {
            if passed <= from {
                (first, below) = (at, passed);
            }
            if passed <= to {
                last = at;
            }
            passed += count;
        }
        let close = keys.iter().filter(|&&key| (first..=last).contains(&class(key)));
        (below, close.map(|&key| score_of(key)).collect())
    }

    /// The sums of the rows held.
    pub fn ranking(&self) -> Ranking {
        let mut ranking = Ranking::new();
        self.groups(|group| ranking.push_group(group));
        ranking
    }

    /// The versioned byte form.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Self::KIND);
        writer.length(self.limit);
        writer.u64(self.spilled);
        for side in [&self.positive, &self.negative] {
            writer.length(side.keys.len());
            side.keys.iter().for_each(|&key| writer.u64(key));
            writer.f64s(&side.weights);
        }
        writer.finish()
    }

    /// From the byte form. Errors: [`Error::DataLoss`] for bytes that are damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, Self::KIND, Self::WHAT)?;
        let limit = usize::try_from(reader.u64()?).unwrap_or(usize::MAX);
        let mut scores = Self::new(limit);
        scores.spilled = reader.u64()?;
        for is_positive in [true, false] {
            let length = reader.length(8)?;
            let keys: Vec<u64> = (0..length).map(|_| reader.u64()).collect::<Result<_>>()?;
            let weights = reader.f64s()?;
            let sound = (weights.is_empty() || weights.len() == keys.len())
                && keys.iter().all(|&key| score_of(key).is_finite())
                && weights.iter().all(|w| w.is_finite() && *w > 0.0);
            reader.check(sound, "has a score or weight that no row has")?;
            *scores.side(is_positive) = Side {
                is_sorted: keys.is_sorted(),
                keys,
                weights,
            };
        }
        reader.finish()?;
        Ok(scores)
    }
}

/// The rows of one class. Scores are kept as integers of the same order, which sort faster than floats.
#[derive(Debug, Clone, Default, PartialEq)]
struct Side {
    keys: Vec<u64>,
    /// Empty while every weight is 1.
    weights: Vec<f64>,
    is_sorted: bool,
}

impl Side {
    #[inline]
    fn push(&mut self, score: f64, weight: f64) {
        if weight != 1.0 && self.weights.is_empty() {
            self.weights = vec![1.0; self.keys.len()];
        }
        if weight != 1.0 || !self.weights.is_empty() {
            self.weights.push(weight);
        }
        self.keys.push(key_of(score));
        self.is_sorted = false;
    }

    /// Adds rows of weight 1.
    fn extend(&mut self, scores: &[f64]) {
        // Growing by twice would copy every row once more and touch twice the memory; what is reserved and not used costs
        // nothing but addresses.
        const GROWTH: usize = 8;
        if self.keys.capacity() < self.keys.len() + scores.len() {
            self.keys.reserve(scores.len().max(GROWTH * self.keys.len()));
        }
        self.keys.extend(scores.iter().map(|score| key_of(*score)));
        if !self.weights.is_empty() {
            self.weights.resize(self.keys.len(), 1.0);
        }
        self.is_sorted = false;
    }

    #[inline]
    fn weight(&self, at: usize) -> f64 {
        self.weights.get(at).copied().unwrap_or(1.0)
    }

    fn merge(&mut self, other: &Self) {
        // A side without rows has no weights either, so one list alone does not tell.
        if !self.weights.is_empty() || !other.weights.is_empty() {
            self.weights.resize(self.keys.len(), 1.0);
            self.weights
                .extend((0..other.keys.len()).map(|at| other.weight(at)));
        }
        self.keys.extend_from_slice(&other.keys);
        self.is_sorted = false;
    }

    fn sort(&mut self) {
        if self.is_sorted {
            return;
        }
        if self.weights.is_empty() {
            self.keys.sort_unstable();
        } else {
            let rows = self
                .keys
                .iter()
                .copied()
                .zip(self.weights.iter().map(|w| w.to_bits()));
            let mut rows: Vec<(u64, u64)> = rows.collect();
            // Weights join the key, so that the order of the rows cannot matter.
            rows.sort_unstable();
            (self.keys, self.weights) = rows.into_iter().map(|(k, w)| (k, f64::from_bits(w))).unzip();
        }
        self.is_sorted = true;
    }

    /// This side if it is sorted, else a sorted copy, kept in `copy`.
    fn sorted<'a>(&'a self, copy: &'a mut Option<Self>) -> &'a Self {
        if self.is_sorted {
            return self;
        }
        let side = copy.insert(self.clone());
        side.sort();
        side
    }

    fn rows(&self, is_positive: bool) -> impl Iterator<Item = ScoredRow> {
        (0..self.keys.len()).rev().filter_map(move |at| {
            let score = score_of(*self.keys.get(at)?);
            Some(ScoredRow {
                score,
                is_positive,
                weight: self.weight(at),
            })
        })
    }
}

/// The bits of a finite number as an integer of the same order; −0 and 0 are one.
#[inline]
fn key_of(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

#[inline]
fn score_of(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}
