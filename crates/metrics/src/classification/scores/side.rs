//! The rows of one class, in order or not.

use crate::classification::ranking::Group;

/// The rows of one class. Scores are kept as integers of the same order, which sort faster than floats.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Side {
    pub(super) keys: Vec<u64>,
    /// Empty while every weight is 1.
    pub(super) weights: Vec<f64>,
    pub(super) is_sorted: bool,
}

impl Side {
    #[inline]
    pub(super) fn push(&mut self, score: f64, weight: f64) {
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
    pub(super) fn extend(&mut self, scores: &[f64]) {
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

    /// Adds rows that another side had; no weights are weights of 1.
    pub(super) fn append(&mut self, keys: &[u64], weights: &[f64]) {
        // A side without rows has no weights either, so one list alone does not tell.
        if !self.weights.is_empty() || !weights.is_empty() {
            self.weights.resize(self.keys.len(), 1.0);
            self.weights.extend_from_slice(weights);
            self.weights.resize(self.keys.len() + keys.len(), 1.0);
        }
        self.keys.extend_from_slice(keys);
        self.is_sorted = false;
    }

    /// Forgets the rows and keeps their room.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.weights.clear();
    }

    #[inline]
    pub(super) fn weight(&self, at: usize) -> f64 {
        self.weights.get(at).copied().unwrap_or(1.0)
    }

    pub(super) fn sort(&mut self) {
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
    pub(super) fn sorted<'a>(&'a self, copy: &'a mut Option<Self>) -> &'a Self {
        if self.is_sorted {
            return self;
        }
        let side = copy.insert(self.clone());
        side.sort();
        side
    }
}

/// The bits of a finite number as an integer of the same order; −0 and 0 are one.
#[inline]
pub(super) fn key_of(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

#[inline]
pub(super) fn score_of(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

/// Walks the rows of both classes in descending order of the score, rows of equal score as one group.
pub(super) fn walk(positive: &Side, negative: &Side, mut visit: impl FnMut(&Group)) {
    let (mut sorted_positive, mut sorted_negative) = (None, None);
    let positive = positive.sorted(&mut sorted_positive);
    let negative = negative.sorted(&mut sorted_negative);
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
