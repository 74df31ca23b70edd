//! Who has which of the 2^32 buckets.
//!
//! A map of buckets is derived from the one before it by moving as few as possible: each target that shrinks gives up just
//! what it has too much, each that grows takes of that just what it lacks. So between two maps exactly the share of
//! buckets changes hands that the weights require (their total variation distance), and there is nothing to keep per key.
//!
//! No fixed rule that looks at the new weights alone can do that for three targets or more, hence the map.

/// How many buckets there are.
pub(super) const BUCKETS: u64 = 1 << 32;

/// A run of buckets that belong to one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    start: u64,
    end: u64,
    owner: usize,
}

impl Run {
    fn len(&self) -> u64 {
        self.end - self.start
    }
}

/// Runs in order, without a gap, neighbours with different owners; owners are places in a list of targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BucketMap(Vec<Run>);

impl BucketMap {
    /// The map of an endpoint's first revision: a run for each target, in their order. `quotas` add up to [`BUCKETS`].
    pub(super) fn new(quotas: &[u64]) -> Self {
        let mut start = 0;
        let runs = quotas.iter().enumerate().map(|(owner, quota)| {
            let run = Run {
                start,
                end: start + quota,
                owner,
            };
            start = run.end;
            run
        });
        Self::joined(runs.filter(|run| run.len() > 0).collect())
    }

    /// The map that follows this one. `renamed` gives each owner's place in the new list, none if it has left.
    pub(super) fn followed_by(&self, quotas: &[u64], renamed: impl Fn(usize) -> Option<usize>) -> Self {
        let (mut kept, mut freed) = (Vec::new(), Vec::new());
        let mut owned = vec![Vec::new(); quotas.len()];
        for run in &self.0 {
            match renamed(run.owner) {
                Some(owner) => owned[owner].push(Run { owner, ..*run }),
                None => freed.push(*run),
            }
        }
        let mut wanted = vec![0; quotas.len()];
        for (owner, mut runs) in owned.into_iter().enumerate() {
            let have: u64 = runs.iter().map(Run::len).sum();
            wanted[owner] = quotas[owner].saturating_sub(have);
            let mut excess = have.saturating_sub(quotas[owner]);
            // The shortest runs go first, so that the map does not fall to pieces over many revisions.
            runs.sort_by_key(|run| (run.len(), run.start));
            for run in runs {
                let (gone, left) = cut(run, excess);
                excess -= gone.map_or(0, |run| run.len());
                freed.extend(gone);
                kept.extend(left);
            }
        }
        freed.sort_by_key(|run| run.start);
        let mut freed = freed.into_iter();
        let mut rest = None;
        for (owner, mut wanted) in wanted.into_iter().enumerate() {
            while wanted > 0 {
                let Some(run) = rest.take().or_else(|| freed.next()) else {
                    break;
                };
                let (taken, left) = cut(run, wanted);
                rest = left;
                wanted -= taken.map_or(0, |run| run.len());
                kept.extend(taken.map(|run| Run { owner, ..run }));
            }
        }
        Self::joined(kept)
    }

    /// Sorts runs and joins neighbours of one owner.
    fn joined(mut runs: Vec<Run>) -> Self {
        runs.sort_by_key(|run| run.start);
        runs.dedup_by(|next, run| {
            let is_same = run.owner == next.owner;
            if is_same {
                run.end = next.end;
            }
            is_same
        });
        Self(runs)
    }

    /// The owner of a bucket.
    pub(super) fn owner(&self, bucket: u32) -> usize {
        let behind = self.0.partition_point(|run| run.start <= u64::from(bucket));
        // The first run starts at 0, so there is one before.
        self.0.get(behind.saturating_sub(1)).map_or(0, |run| run.owner)
    }

    /// How many runs it has.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The first bucket of each run with its owner.
    pub(super) fn starts(&self) -> impl Iterator<Item = (u32, usize)> {
        self.0
            .iter()
            .filter_map(|run| Some((u32::try_from(run.start).ok()?, run.owner)))
    }

    /// The map with these runs; none unless they start at 0, ascend, and have as many buckets as `quotas` say.
    pub(super) fn of(starts: &[(u32, usize)], quotas: &[u64]) -> Option<Self> {
        let ends = starts.iter().skip(1).map(|(start, _)| u64::from(*start));
        let runs: Vec<Run> = starts
            .iter()
            .zip(ends.chain([BUCKETS]))
            .map(|((start, owner), end)| Run {
                start: u64::from(*start),
                end,
                owner: *owner,
            })
            .collect();
        let mut have = vec![0; quotas.len()];
        for run in &runs {
            if run.start >= run.end {
                return None;
            }
            *have.get_mut(run.owner)? += run.len();
        }
        let is_whole = runs.first()?.start == 0 && have == quotas;
        is_whole.then(|| Self::joined(runs))
    }

    /// How many buckets have another owner in `other`; `same` says which owners are the same.
    pub(super) fn moved(&self, other: &Self, same: impl Fn(usize, usize) -> bool) -> u64 {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let (mut at, mut moved) = (0, 0);
        while let (Some(a), Some(b)) = (ours.peek(), theirs.peek()) {
            let end = a.end.min(b.end);
            if !same(a.owner, b.owner) {
                moved += end - at;
            }
            at = end;
            if a.end == end {
                ours.next();
            }
            if theirs.peek().is_some_and(|b| b.end == end) {
                theirs.next();
            }
        }
        moved
    }
}

/// Up to `count` buckets from the end of a run, and what is left of it.
fn cut(run: Run, count: u64) -> (Option<Run>, Option<Run>) {
    let at = run.end - count.min(run.len());
    let part = |start, end| (start < end).then_some(Run { start, end, ..run });
    (part(at, run.end), part(run.start, at))
}

/// Divides the buckets by weights, exactly up to one bucket: what rounding leaves goes to the largest remainders.
/// At least one weight is not 0; a weight of 0 gets none.
pub(super) fn quotas(weights: &[u32]) -> Vec<u64> {
    let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
    let sum = sum.max(1);
    let mut quotas: Vec<u64> = weights.iter().map(|w| u64::from(*w) * BUCKETS / sum).collect();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|i| std::cmp::Reverse(u64::from(weights[*i]) * BUCKETS % sum));
    let left = BUCKETS - quotas.iter().sum::<u64>();
    for i in by_remainder.into_iter().take(usize::try_from(left).unwrap_or(0)) {
        quotas[i] += 1;
    }
    quotas
}
