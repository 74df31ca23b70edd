//! All scores of a binary problem, because the metrics of an order need all of them.

mod buckets;
mod side;

use lodeway_domain::{Error, Result};

pub(crate) use self::buckets::Totals;
use self::{
    buckets::Buckets,
    side::{Side, score_of, walk},
};
use super::ranking::{Group, Ranking};
use crate::{
    SpillStore,
    bytes::{Reader, Writer},
    check,
};

/// A walk down rows in descending order of their score.
pub(crate) trait Walk {
    /// Takes rows that follow by their sums alone, if it need not see each.
    fn passes(&mut self, rows: &Totals) -> bool;

    /// Takes the rows of the next lower score.
    fn group(&mut self, group: &Group);

    /// Needs no more rows.
    fn is_done(&self) -> bool;
}

impl<F: FnMut(&Group)> Walk for F {
    fn passes(&mut self, _: &Totals) -> bool {
        false
    }

    fn group(&mut self, group: &Group) {
        self(group);
    }

    fn is_done(&self) -> bool {
        false
    }
}

/// Scores with their class and weight, in memory up to a bound, beyond it in the caller's store.
///
/// Both classes are kept apart, so that an unweighted row takes 8 bytes and sorting moves only those.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    positive: Side,
    negative: Side,
    limit: usize,
    spilled: Buckets,
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
            spilled: Buckets::default(),
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
                    "more than {} rows; exact ranking metrics of more need a store to spill them to",
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

    /// Adds a batch; what does not fit goes to `store`, at most `limit` rows at a time.
    ///
    /// Errors: those of [`Scores::update`] but the bound, and those of the store.
    pub fn update_or_spill(
        &mut self,
        scores: &[f64],
        is_positive: &[bool],
        weights: Option<&[f64]>,
        store: &mut dyn SpillStore,
    ) -> Result<()> {
        check::same_length("score", is_positive.len(), scores.len())?;
        check::weights(weights, scores.len())?;
        // Places in a block are 32 bits.
        let limit = self.limit.clamp(1, u32::MAX as usize);
        let mut from = 0;
        while from < scores.len() {
            if self.len() >= limit {
                self.spill(store)?;
            }
            let to = scores.len().min(from + limit - self.len());
            let weights = weights.map(|weights| &weights[from..to]);
            self.update(&scores[from..to], &is_positive[from..to], weights)?;
            from = to;
        }
        Ok(())
    }

    /// Gives all rows held to `store` and holds none then, also if the store fails.
    pub fn spill(&mut self, store: &mut dyn SpillStore) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let put = self.spilled.put([&self.positive, &self.negative], store);
        self.positive.clear();
        self.negative.clear();
        put
    }

    /// Adds the rows of another state. Errors: `LIMIT_EXCEEDED` if they do not fit; `INVALID_FIELD` if either spilled rows,
    /// which are in a store of its own.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.spilled() + other.spilled() > 0 {
            return Err(Error::invalid("state", "spilled rows and cannot be merged"));
        }
        if self.len() + other.len() > self.limit {
            return Err(Error::Exhausted {
                message: format!("more than {} rows after merging", self.limit),
                retry_after: None,
            });
        }
        for (own, other) in [
            (&mut self.positive, &other.positive),
            (&mut self.negative, &other.negative),
        ] {
            own.append(&other.keys, &other.weights);
        }
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

    /// How many rows went to a store; with any, [`Scores::ranking`] alone is not the whole.
    pub fn spilled(&self) -> u64 {
        self.spilled.totals().rows
    }

    pub(crate) fn spilled_totals(&self) -> Totals {
        self.spilled.totals()
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
    pub fn groups(&self, visit: impl FnMut(&Group)) {
        walk(&self.positive, &self.negative, visit);
    }

    /// As [`Scores::groups`], of the rows in `store` if any were spilled.
    ///
    /// Errors: those of the store; `INVALID_FIELD` if some rows were spilled and others are held.
    pub fn all_groups(&self, store: &mut dyn SpillStore, mut visit: impl FnMut(&Group)) -> Result<()> {
        if self.spilled() == 0 {
            self.groups(visit);
            return Ok(());
        }
        self.walk_spilled(store, &mut visit)
    }

    pub(crate) fn walk_spilled(&self, store: &mut dyn SpillStore, visit: &mut dyn Walk) -> Result<()> {
        if !self.is_empty() {
            return Err(Error::invalid("state", "holds rows that were not spilled"));
        }
        self.spilled.walk(self.limit, store, visit)
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

    /// The versioned byte form. Rows that were spilled are not in it, and bytes without them decode to an error.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Self::KIND);
        writer.length(self.limit);
        writer.u64(self.spilled());
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
        let spilled = reader.u64()?;
        reader.check(spilled == 0, "leaves out rows that were spilled")?;
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
