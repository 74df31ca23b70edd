//! Which calls are taken where not all are: those whose hashes are the least, so that neither order nor replica matters.

use std::collections::BinaryHeap;

use sha2::{Digest as _, Sha256};

/// Takes calls until they have as many rows as are wanted; then a call takes the place of those with greater hashes.
pub(super) struct Sample {
    seed: i64,
    /// Hashes above are not taken.
    share: u64,
    max_rows: u64,
    /// Hashes from here on are not taken any more.
    cutoff: u64,
    /// Hash and rows of the calls that are taken.
    taken: BinaryHeap<(u64, u64)>,
    rows: u64,
}

impl Sample {
    /// Of a share of all calls, from 0 to 1.
    pub(super) fn new(seed: i64, share: f64, max_rows: u64) -> Self {
        Self {
            seed,
            // A float as great as the greatest number saturates.
            share: (share * u64::MAX as f64) as u64,
            max_rows,
            cutoff: u64::MAX,
            taken: BinaryHeap::new(),
            rows: 0,
        }
    }

    /// Whether a call is taken for now, and its hash. What [`Sample::has`] says in the end counts.
    pub(super) fn take(&mut self, prediction_id: &str, rows: u64) -> Option<u64> {
        let hash = hash(self.seed, prediction_id);
        if hash > self.share || hash >= self.cutoff || rows > self.max_rows {
            return None;
        }
        self.taken.push((hash, rows));
        self.rows += rows;
        while self.rows > self.max_rows {
            let (last, rows) = self.taken.pop()?;
            self.rows -= rows;
            self.cutoff = last;
        }
        self.has(hash).then_some(hash)
    }

    /// Whether the call of a hash is taken.
    pub(super) fn has(&self, hash: u64) -> bool {
        hash < self.cutoff
    }

    /// Calls that are taken.
    pub(super) fn calls(&self) -> u64 {
        self.taken.len() as u64
    }
}

fn hash(seed: i64, prediction_id: &str) -> u64 {
    let digest = Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(prediction_id)
        .finalize();
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(digest) {
        *to = from;
    }
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(sample: &mut Sample, ids: impl Iterator<Item = usize>) -> Vec<usize> {
        let mut all: Vec<_> = ids
            .filter_map(|id| Some((id, sample.take(&format!("p{id}"), 1 + id as u64 % 3)?)))
            .collect();
        all.retain(|(_, hash)| sample.has(*hash));
        let mut ids: Vec<_> = all.into_iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn the_order_of_calls_does_not_matter() {
        let (mut one, mut other) = (Sample::new(7, 1.0, 200), Sample::new(7, 1.0, 200));
        let first = taken(&mut one, 0..5_000);
        assert_eq!(first, taken(&mut other, (0..5_000).rev()));
        assert_eq!(one.calls(), first.len() as u64);
        let rows: usize = first.iter().map(|id| 1 + id % 3).sum();
        assert!((198..=200).contains(&rows), "{rows}");
        assert_ne!(first, taken(&mut Sample::new(8, 1.0, 200), 0..5_000));
    }

    #[test]
    fn a_share_is_taken() {
        let mut tenth = Sample::new(0, 0.1, u64::MAX);
        let found = taken(&mut tenth, 0..20_000).len();
        assert!((1_850..2_150).contains(&found), "{found}");
        assert_eq!(taken(&mut Sample::new(0, 1.0, u64::MAX), 0..100).len(), 100);
        // A call of more rows than are wanted is left out, and takes no other one's place.
        let mut few = Sample::new(0, 1.0, 2);
        assert_eq!(few.take("big", 3), None);
        assert!(few.take("small", 2).is_some());
    }
}
