//! How long calls took.

use std::{iter, time::Duration};

use super::bytes::{Reader, Writer};
use crate::Result;

/// Each doubling of the latency has this many bits of buckets: 32.
const BITS: u32 = 5;
const PER_DOUBLING: u64 = 1 << BITS;
/// The range in which buckets tell latencies apart, in nanoseconds: 1 µs to 10 min.
const FLOOR: u64 = 1_000;
const CEILING: u64 = 600_000_000_000;
const FIRST: usize = place(FLOOR);
const BUCKETS: usize = place(CEILING) - FIRST + 1;

/// How many calls took how long: counts in buckets that are equally wide within each doubling of the latency.
///
/// From 1 µs to 10 min a quantile is within 1/62 (1.6 %) of a latency that occurred; a shorter one counts as 1 µs, and
/// a longer one as 10 min, only [`LatencyHistogram::max`] is exact for any. Recording finds the bucket from the
/// position of the highest bit, with no search, division or allocation. Merging adds counts and so loses nothing.
/// Memory is 7.5 KB, the byte form about 3 bytes for each bucket that was hit. The idea of linear buckets in
/// logarithmic groups is that of the High Dynamic Range Histogram (Tene), <http://hdrhistogram.org>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatencyHistogram {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    max_ns: u64,
}

impl LatencyHistogram {
    /// Counts one call.
    pub fn record(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get_mut(bucket_of(ns)) {
            *bucket = bucket.saturating_add(1);
        }
        self.count = self.count.saturating_add(1);
        self.max_ns = self.max_ns.max(ns);
    }

    /// Adds every call that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for (ours, theirs) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *ours = ours.saturating_add(*theirs);
        }
        self.count = self.count.saturating_add(other.count);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// How many calls were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest latency, exact; `None` if there are no calls.
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then_some(Duration::from_nanos(self.max_ns))
    }

    /// The shortest latency that a share of at least `q` of the calls did not exceed, within 1.6 %; for 1 the longest.
    ///
    /// `None` if there are no calls or `q` is not in [0, 1].
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        if self.count == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = ((q * self.count as f64).ceil() as u64).max(1);
        if rank >= self.count {
            return self.max();
        }
        let mut seen = 0_u64;
        let at = self.buckets.iter().position(|&bucket| {
            seen = seen.saturating_add(bucket);
            seen >= rank
        })?;
        Some(Duration::from_nanos(middle_of(at).min(self.max_ns)))
    }

    /// Writes the buckets that were hit, each as its distance from the one before and its count.
    pub(super) fn write(&self, out: &mut Writer) {
        out.number(self.max_ns);
        out.length(self.hit().count());
        let mut next = 0;
        for (at, count) in self.hit() {
            out.length(at - next);
            out.number(count);
            next = at + 1;
        }
    }

    pub(super) fn read(bytes: &mut Reader<'_>) -> Result<Self> {
        let mut read = Self {
            max_ns: bytes.number()?,
            ..Self::default()
        };
        let length = bytes.length(BUCKETS)?;
        let mut next = 0;
        for _ in 0..length {
            let at = bytes.length(BUCKETS)?.saturating_add(next);
            let count = bytes.number()?;
            let Some(bucket) = read.buckets.get_mut(at).filter(|_| count > 0) else {
                return Err(bytes.damaged("has a latency that cannot be"));
            };
            *bucket = count;
            read.count = read
                .count
                .checked_add(count)
                .ok_or_else(|| bytes.damaged("has too many latencies"))?;
            next = at + 1;
        }
        let longest = if length == 0 {
            read.max_ns == 0
        } else {
            bucket_of(read.max_ns) + 1 == next
        };
        bytes.check(longest, "has a longest latency that cannot be")?;
        Ok(read)
    }

    fn hit(&self) -> impl Iterator<Item = (usize, u64)> {
        iter::zip(0.., self.buckets.iter().copied()).filter(|&(_, count)| count > 0)
    }
}

/// No calls.
impl Default for LatencyHistogram {
    fn default() -> Self {
        Self {
            buckets: Box::new([0; BUCKETS]),
            count: 0,
            max_ns: 0,
        }
    }
}

/// Where a latency stands among the buckets of all doublings, from 1 ns on.
const fn place(ns: u64) -> usize {
    let doubling = ns.ilog2();
    let within = (ns >> (doubling - BITS)) - PER_DOUBLING;
    (doubling as u64 * PER_DOUBLING + within) as usize
}

fn bucket_of(ns: u64) -> usize {
    place(ns.clamp(FLOOR, CEILING)) - FIRST
}

/// The middle of a bucket, in nanoseconds.
fn middle_of(bucket: usize) -> u64 {
    let place = (bucket + FIRST) as u64;
    let (doubling, within) = (place / PER_DOUBLING, place % PER_DOUBLING);
    let width = 1 << (doubling - u64::from(BITS));
    (PER_DOUBLING + within) * width + width / 2
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn of(latencies: &[u64]) -> LatencyHistogram {
        let mut histogram = LatencyHistogram::default();
        latencies
            .iter()
            .for_each(|&ns| histogram.record(Duration::from_nanos(ns)));
        histogram
    }

    /// Latencies evenly over all orders of magnitude in the range.
    fn latency() -> impl Strategy<Value = u64> {
        (3.0..11.778_f64).prop_map(|log| 10_f64.powf(log) as u64)
    }

    #[test]
    fn nothing_has_no_latency() {
        let none = LatencyHistogram::default();
        assert_eq!((none.count(), none.max(), none.quantile(0.5)), (0, None, None));
        let one = of(&[5_000]);
        assert_eq!((one.quantile(-0.1), one.quantile(f64::NAN)), (None, None));
        assert_eq!(one.quantile(0.0), Some(Duration::from_nanos(5_000)));
    }

    #[test]
    fn the_range_has_ends_and_the_longest_is_exact() {
        let histogram = of(&[0, 1, 999, 1_000, u64::MAX, CEILING, 2 * CEILING]);
        assert_eq!(histogram.quantile(0.5), Some(Duration::from_nanos(1_000)));
        assert!(histogram.quantile(0.7) > Some(Duration::from_secs(590)));
        assert_eq!(histogram.max(), Some(Duration::from_nanos(u64::MAX)));
        assert_eq!(histogram.quantile(1.0), histogram.max());
        let mut longer = of(&[]);
        longer.record(Duration::MAX);
        assert_eq!(longer.max(), Some(Duration::from_nanos(u64::MAX)));
    }

    #[test]
    fn memory_is_what_is_promised() {
        assert_eq!(size_of::<[u64; BUCKETS]>(), 7_464);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_the_error(latencies in vec(latency(), 1..300), q in 0.0..=1.0_f64) {
            let histogram = of(&latencies);
            let mut sorted = latencies;
            sorted.sort_unstable();
            let rank = ((q * sorted.len() as f64).ceil() as usize).max(1);
            let (truth, found) = (sorted[rank - 1] as f64, histogram.quantile(q).unwrap().as_nanos() as f64);
            prop_assert!((found - truth).abs() / truth <= 1.0 / 62.0, "{} for {}", found, truth);
            prop_assert_eq!(histogram.count(), sorted.len() as u64);
            prop_assert_eq!(histogram.max().map(|max| max.as_nanos() as u64), sorted.last().copied());
        }

        #[test]
        fn merging_loses_nothing(one in vec(latency(), 0..100), two in vec(any::<u64>(), 0..100)) {
            let mut merged = of(&one);
            merged.merge(&of(&two));
            prop_assert_eq!(merged, of(&[one, two].concat()));
        }

        #[test]
        fn buckets_are_in_order_and_hold_their_middle(ns in latency(), more in 0_u64..1 << 40) {
            prop_assert!(bucket_of(ns) <= bucket_of(ns.saturating_add(more)));
            prop_assert_eq!(bucket_of(middle_of(bucket_of(ns)).min(CEILING)), bucket_of(ns));
        }
    }
}
