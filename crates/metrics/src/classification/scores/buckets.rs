//! More scores than memory holds: blocks in a store, each parted by the same ranges of the score.
//!
//! A distribution sort: what is spilled is not sorted but put into buckets, whose ends are quantiles of the first rows. A walk
//! reads one bucket of all blocks at a time, sorts it and goes on with the next lower one. Every row is written and read
//! once and sorted among few others, which takes less than merging sorted runs does; and who asks for a quantile alone
//! reads the bucket that has it. Where the first rows said little of those that follow, a bucket that memory does not
//! hold is parted again.
//!
//! Source: Knuth, "The Art of Computer Programming", volume 3, section 5.4.9 on distribution of external files.

use lodeway_domain::Result;

use super::side::{Side, key_of, score_of, walk};
use crate::{
    SpillStore,
    classification::{ranking::Group, scores::Walk},
    spill::damaged,
};

/// Rows that were spilled: where they are and what they sum to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Buckets {
    /// The least key of each bucket but the lowest, ascending.
    edges: Vec<u64>,
    blocks: Vec<[Part; 2]>,
    /// Of each bucket, the positive class first.
    totals: Vec<[Totals; 2]>,
}

/// The rows of one class in one block: keys in the order of their buckets, and as many weights unless all are 1.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    offset: u64,
    /// Where each bucket ends, in rows.
    ends: Vec<u32>,
    has_weights: bool,
}

/// What rows sum to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Totals {
    pub(crate) rows: u64,
    pub(crate) weight: f64,
    pub(crate) squared_weight: f64,
}

impl Totals {
    fn plus(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            weight: self.weight + other.weight,
            squared_weight: self.squared_weight + other.squared_weight,
        }
    }
}

impl Buckets {
    /// At most so many, so that one byte names each.
    const MOST: usize = 256;
    /// Rows that the ends of the buckets are settled by: with so many the largest bucket has a few percent more than most.
    const SAMPLE: usize = 1 << 16;
    const KEY_BYTES: u64 = size_of::<u64>() as u64;

    fn with_edges(edges: Vec<u64>) -> Self {
        Self {
            totals: vec![Default::default(); edges.len() + 1],
            edges,
            blocks: Vec::new(),
        }
    }

    /// What all rows sum to.
    pub(super) fn totals(&self) -> Totals {
        let all = self.totals.iter().flatten();
        all.fold(Totals::default(), |sum, totals| sum.plus(*totals))
    }

    /// Writes one block, the positive class first.
    pub(super) fn put(&mut self, sides: [&Side; 2], store: &mut dyn SpillStore) -> Result<()> {
        if self.totals.is_empty() {
            let rows: usize = sides.iter().map(|side| side.keys.len()).sum();
            let step = rows.div_ceil(Self::SAMPLE).max(1);
            let sample = sides.iter().flat_map(|side| side.keys.iter().step_by(step));
            *self = Self::with_edges(edges_of(sample.copied().collect()));
        }
        let [positive, negative] = sides;
        let block = [
            self.put_side(0, positive, store)?,
            self.put_side(1, negative, store)?,
        ];
        self.blocks.push(block);
        Ok(())
    }

    fn put_side(&mut self, class: usize, side: &Side, store: &mut dyn SpillStore) -> Result<Part> {
        let rows = side.keys.len();
        let has_weights = !side.weights.is_empty();
        let buckets: Vec<u8> = side.keys.iter().map(|key| self.bucket(*key)).collect();
        let mut counts = vec![0_u32; self.totals.len()];
        for &bucket in &buckets {
            counts[usize::from(bucket)] += 1;
        }
        let mut end = 0;
        let mut places = Vec::with_capacity(counts.len());
        let mut ends = Vec::with_capacity(counts.len());
        for (totals, &count) in self.totals.iter_mut().zip(&counts) {
            places.push(end as usize);
            end += count;
            ends.push(end);
            totals[class].rows += u64::from(count);
            if !has_weights {
                totals[class].weight += f64::from(count);
                totals[class].squared_weight += f64::from(count);
            }
        }
        let mut bytes = vec![0; rows * 8 * (1 + usize::from(has_weights))];
        let (words, _) = bytes.as_chunks_mut::<8>();
        let (keys, weights) = words.split_at_mut(rows);
        for (row, (&key, bucket)) in side.keys.iter().zip(buckets).enumerate() {
            let bucket = usize::from(bucket);
            let place = places[bucket];
            places[bucket] += 1;
            keys[place] = key.to_le_bytes();
            if has_weights {
                let weight = side.weight(row);
                weights[place] = weight.to_le_bytes();
                self.totals[bucket][class].weight += weight;
                self.totals[bucket][class].squared_weight += weight * weight;
            }
        }
        Ok(Part {
            offset: store.append(&bytes)?,
            ends,
            has_weights,
        })
    }

    fn bucket(&self, key: u64) -> u8 {
        self.edges.partition_point(|edge| *edge <= key) as u8
    }

    /// The keys that a bucket may have.
    fn range(&self, bucket: usize) -> std::ops::RangeInclusive<u64> {
        let first = bucket.checked_sub(1).and_then(|below| self.edges.get(below));
        let next = self.edges.get(bucket).map(|edge| edge - 1);
        *first.unwrap_or(&key_of(f64::MIN))..=next.unwrap_or(key_of(f64::MAX))
    }

    /// Walks down all rows with at most `limit` of them in memory.
    pub(super) fn walk(&self, limit: usize, store: &mut dyn SpillStore, visit: &mut dyn Walk) -> Result<()> {
        for (bucket, totals) in self.totals.iter().enumerate().rev() {
            let [positive, negative] = *totals;
            let both = positive.plus(negative);
            if both.rows == 0 || visit.passes(&both) {
                continue;
            }
            let range = self.range(bucket);
            if range.start() == range.end() {
                visit.group(&Group {
                    score: score_of(*range.start()),
                    positives: positive.weight,
                    positives_squared: positive.squared_weight,
                    negatives: negative.weight,
                    negatives_squared: negative.squared_weight,
                });
            } else if both.rows <= limit.max(1) as u64 {
                let mut sides = [Side::default(), Side::default()];
                for block in &self.blocks {
                    for (side, part) in sides.iter_mut().zip(block) {
                        part.read(bucket, &range, store, side)?;
                    }
                }
                let [mut positive, mut negative] = sides;
                positive.sort();
                negative.sort();
                walk(&positive, &negative, |group| visit.group(group));
            } else {
                self.parted(bucket, limit, store)?.walk(limit, store, visit)?;
            }
            if visit.is_done() {
                break;
            }
        }
        Ok(())
    }

    /// The rows of one bucket in buckets of their own.
    fn parted(&self, bucket: usize, limit: usize, store: &mut dyn SpillStore) -> Result<Self> {
        let mut inner = Self::with_edges(edges_of(self.sample(bucket, store)?));
        let range = self.range(bucket);
        let mut sides = [Side::default(), Side::default()];
        for block in &self.blocks {
            let more: usize = block.iter().map(|part| part.rows(bucket).len()).sum();
            let held: usize = sides.iter().map(|side| side.keys.len()).sum();
            if held > 0 && held + more > limit {
                inner.put(sides.each_ref(), store)?;
                sides.iter_mut().for_each(Side::clear);
            }
            for (side, part) in sides.iter_mut().zip(block) {
                part.read(bucket, &range, store, side)?;
            }
        }
        inner.put(sides.each_ref(), store)?;
        Ok(inner)
    }

    /// Some keys of a bucket, from all of its blocks.
    fn sample(&self, bucket: usize, store: &dyn SpillStore) -> Result<Vec<u64>> {
        let parts = self.blocks.iter().flatten();
        let each = (Self::SAMPLE / 4 / parts.clone().count().max(1)).clamp(16, 1 << 10);
        let mut keys = Vec::new();
        for part in parts {
            let rows = part.rows(bucket);
            let step = rows.len().div_ceil(each).max(1);
            for row in rows.step_by(step) {
                let mut key = [0; 8];
                store.read(part.offset + row as u64 * Self::KEY_BYTES, &mut key)?;
                keys.push(u64::from_le_bytes(key));
            }
        }
        Ok(keys)
    }
}

impl Part {
    /// The places of a bucket's rows.
    fn rows(&self, bucket: usize) -> std::ops::Range<usize> {
        let end = |bucket: usize| self.ends.get(bucket).map_or(0, |end| *end as usize);
        bucket.checked_sub(1).map_or(0, end)..end(bucket)
    }

    /// Adds a bucket's rows to `side`. Errors: [`lodeway_domain::Error::DataLoss`] for rows that it cannot have.
    fn read(
        &self,
        bucket: usize,
        range: &std::ops::RangeInclusive<u64>,
        store: &dyn SpillStore,
        side: &mut Side,
    ) -> Result<()> {
        let rows = self.rows(bucket);
        if rows.is_empty() {
            return Ok(());
        }
        let mut bytes = vec![0; rows.len() * 8];
        let mut words = |place: usize| {
            store.read(self.offset + place as u64 * Buckets::KEY_BYTES, &mut bytes)?;
            let (words, _) = bytes.as_chunks::<8>();
            Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
        };
        let keys: Vec<u64> = words(rows.start)?;
        let weights: Vec<f64> = if self.has_weights {
            let all = self.ends.last().map_or(0, |end| *end as usize);
            words(all + rows.start)?.into_iter().map(f64::from_bits).collect()
        } else {
            Vec::new()
        };
        let is_sound = keys.iter().all(|key| range.contains(key))
            && weights.iter().all(|weight| weight.is_finite() && *weight > 0.0);
        if !is_sound {
            return Err(damaged());
        }
        side.append(&keys, &weights);
        Ok(())
    }
}

/// Keys that part `sample` into about equal shares. One that is a share by itself gets a bucket of its own, and so does the
/// only one there is; so what is parted again is parted further.
fn edges_of(mut sample: Vec<u64>) -> Vec<u64> {
    sample.sort_unstable();
    let at = |share: usize| sample.get(share * sample.len() / Buckets::MOST).copied();
    let mut edges: Vec<u64> = Vec::with_capacity(Buckets::MOST - 1);
    for edge in (1..Buckets::MOST).filter_map(at) {
        match edges.last() {
            Some(last) if *last > edge => {}
            Some(last) if *last == edge => edges.push(edge + 1),
            _ => edges.push(edge),
        }
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(scores: &[f64]) -> Side {
        let mut side = Side::default();
        side.extend(scores);
        side
    }

    #[test]
    fn frequent_scores_have_a_bucket_of_their_own() {
        let few: Vec<f64> = (0..1000).map(|n| f64::from(n % 3)).collect();
        let edges = edges_of(side(&few).keys);
        let wanted = [0.0, 1.0, 2.0].map(key_of);
        assert_eq!(
            edges,
            wanted.iter().flat_map(|key| [*key, key + 1]).collect::<Vec<_>>()
        );
        assert_eq!(
            edges_of(side(&[0.5]).keys),
            [0.5, 0.5]
                .map(key_of)
                .iter()
                .zip([0, 1])
                .map(|(key, more)| key + more)
                .collect::<Vec<_>>()
        );
        assert!(edges_of(Vec::new()).is_empty());
    }

    /// Scores that come in order: what the first buffer says of the rest is wrong.
    #[test]
    fn what_the_first_rows_do_not_tell_is_parted_again() {
        let scores: Vec<f64> = (0..40_000).map(|n| 1.0 - f64::from(n) / 50_000.0).collect();
        for limit in [64, 1_000] {
            let (mut buckets, mut store) = (Buckets::default(), Vec::new());
            for (at, rows) in scores.chunks(limit).enumerate() {
                let (rows, none) = (side(rows), Side::default());
                let sides = if at % 2 == 0 {
                    [&rows, &none]
                } else {
                    [&none, &rows]
                };
                buckets.put(sides, &mut store).unwrap();
            }
            let mut seen = Vec::new();
            let mut visit = |group: &Group| {
                assert_eq!(group.positives + group.negatives, 1.0);
                seen.push(group.score);
            };
            buckets.walk(limit, &mut store, &mut visit).unwrap();
            assert_eq!(seen, scores);
            // Linear: each row a few times, not once for every block.
            assert!(store.len() <= 4 * 8 * scores.len(), "{}", store.len());
        }
    }

    #[test]
    fn damaged_rows_are_an_error() {
        let (mut buckets, mut store) = (Buckets::default(), Vec::new());
        let scores: Vec<f64> = (0..1000).map(|n| f64::from(n) / 1000.0).collect();
        let (plain, mut weighted) = (side(&scores), Side::default());
        scores.iter().for_each(|score| weighted.push(*score, 2.0));
        buckets.put([&plain, &weighted], &mut store).unwrap();
        let walk = |mut store: Vec<u8>| buckets.walk(100, &mut store, &mut |_: &Group| {});
        walk(store.clone()).unwrap();
        for row in [0, 500, 999, 1000, 1500, 1999, 2000, 2500, 2999] {
            let mut damaged = store.clone();
            damaged[8 * row + 6..8 * row + 8].fill(0xff);
            assert!(walk(damaged).is_err(), "{row}");
        }
        store.truncate(store.len() - 1);
        assert!(walk(store).is_err());
    }
}
