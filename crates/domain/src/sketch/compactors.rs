//! The buffers of a KLL sketch: a tower of levels in which an item of level `h` stands for 2^h values.
//!
//! When the tower is full, the lowest full level is sorted and every second item moves one level up, the first or the
//! second of each pair by a fair coin. A pair that a value lies between is the only one whose rank moves, by ±2^h, and
//! by the coin 0 on average, whatever came before: the error is a sum of terms of known size, which
//! [`Compactors::rank_error`] bounds by the inequality of Hoeffding and Azuma. The sizes are added up as they occur, so
//! the bound is that of this very tower, however it was filled and merged, and 0 before the first compaction.
//!
//! The highest level holds up to `k` items and each lower one two thirds of the next, which keeps the tower small where
//! an error is cheap (Karnin, Lang and Liberty 2016, section 2; the lowest width of 8 and compacting only a full tower
//! are those of Apache DataSketches).

use super::bytes::{Reader, Writer};
use crate::Result;

/// No level is narrower, else compactions come too often for what they free.
const MIN_WIDTH: u16 = 8;

/// An item of a higher level would stand for more values than a count can count.
const MAX_LEVELS: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Compactors {
    k: u16,
    /// Level 0 in the order of arrival, the others ascending. Never empty.
    levels: Vec<Vec<f64>>,
    /// Items of all levels.
    len: usize,
    /// The number of items at which the tower is full; follows from `k` and the number of levels.
    capacity: usize,
    /// The state of the coin.
    coin: u64,
    /// The sum of (2^h)² over all compactions so far.
    squared_error: f64,
}

impl Compactors {
    pub(super) fn new(k: u16, seed: u64) -> Self {
        Self {
            k: k.max(MIN_WIDTH),
            levels: vec![Vec::new()],
            len: 0,
            capacity: capacity(k, 1),
            coin: mix(seed),
            squared_error: 0.0,
        }
    }

    /// Items kept now.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn k(&self) -> u16 {
        self.k
    }

    /// Adds a value that is not NaN.
    pub(super) fn add(&mut self, value: f64) {
        self.levels[0].push(value);
        self.len += 1;
        self.compress();
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.k = self.k.min(other.k);
        self.levels
            .resize_with(self.levels.len().max(other.levels.len()), Vec::new);
        for (level, (ours, theirs)) in self.levels.iter_mut().zip(&other.levels).enumerate() {
            ours.extend_from_slice(theirs);
            if level > 0 {
                ours.sort_by(f64::total_cmp);
            }
        }
        self.len += other.len;
        self.squared_error += other.squared_error;
        // Not our coin alone: the next tosses must not repeat those that `other`, perhaps of the same seed, has made.
        self.coin = mix(self.coin.wrapping_add(mix(other.coin)));
        self.capacity = capacity(self.k, self.levels.len());
        self.compress();
    }

    /// The rank of one value, as a share of `count`, is off by at most this with probability `confidence`.
    pub(super) fn rank_error(&self, count: u64, confidence: f64) -> f64 {
        if self.squared_error == 0.0 {
            return 0.0;
        }
        let failure = (1.0 - confidence).clamp(f64::MIN_POSITIVE, 1.0);
        let error = (2.0 * (2.0 / failure).ln() * self.squared_error).sqrt() / count as f64;
        error.min(1.0)
    }

    /// The estimated distribution function.
    pub(super) fn steps(&self) -> Steps {
        let weighted = |(level, items): (usize, &Vec<f64>)| {
            let weight = weight(level);
            items.iter().map(move |&item| (item, weight)).collect::<Vec<_>>()
        };
        let mut items: Vec<_> = self.levels.iter().enumerate().flat_map(weighted).collect();
        items.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut steps = Steps(Vec::with_capacity(items.len()));
        let mut total = 0_u64;
        for (value, weight) in items {
            total = total.saturating_add(weight);
            match steps.0.last_mut() {
                Some(last) if last.0 == value => last.1 = total,
                _ => steps.0.push((value, total)),
            }
        }
        steps
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.u16(self.k);
        out.u64(self.coin);
        out.f64(self.squared_error);
        out.length(self.levels.len());
        self.levels.iter().for_each(|items| out.f64s(items));
    }

    /// Reads a tower whose items stand for `count` values between `min` and `max`.
    pub(super) fn read(bytes: &mut Reader<'_>, count: u64, min: f64, max: f64) -> Result<Self> {
        let (k, coin, squared_error) = (bytes.u16()?, bytes.u64()?, bytes.f64()?);
        bytes.check(k >= MIN_WIDTH, "has an accuracy that cannot be")?;
        bytes.check(
            squared_error.is_finite() && squared_error.is_sign_positive(),
            "has an error that cannot be",
        )?;
        let height = bytes.length(size_of::<u32>())?;
        bytes.check((1..=MAX_LEVELS).contains(&height), "has too many levels or none")?;
        let levels = (0..height).map(|_| bytes.f64s()).collect::<Result<Vec<_>>>()?;
        let stands_for = levels.iter().enumerate().try_fold(0_u64, |sum, (level, items)| {
            sum.checked_add(weight(level).checked_mul(items.len() as u64)?)
        });
        bytes.check(stands_for == Some(count), "has items for another count")?;
        let top_is_used = height == 1 || levels.last().is_some_and(|top| !top.is_empty());
        bytes.check(top_is_used, "has an empty level at its top")?;
        let items = || levels.iter().flatten();
        // Written so that a NaN fails.
        bytes.check(
            items().all(|&item| min <= item && item <= max),
            "has items out of its range",
        )?;
        bytes.check(
            levels.iter().skip(1).all(|items| items.is_sorted()),
            "has items out of order",
        )?;
        let (len, capacity) = (items().count(), capacity(k, height));
        bytes.check(len < capacity, "has more items than it can keep")?;
        Ok(Self {
            k,
            levels,
            len,
            capacity,
            coin,
            squared_error,
        })
    }

    /// Compacts until there is room for another item.
    fn compress(&mut self) {
        while self.len >= self.capacity {
            let height = self.levels.len();
            // There is one: if every level were below its width, the tower would not be full.
            let full =
                (0..height).find(|&level| self.levels[level].len() >= width(self.k, height - 1 - level));
            self.compact(full.unwrap_or(0));
        }
    }

    /// Moves half of a level one level up.
    fn compact(&mut self, level: usize) {
        if level + 1 == self.levels.len() {
            self.levels.push(Vec::new());
            self.capacity = capacity(self.k, self.levels.len());
        }
        let second = self.toss();
        let (below, above) = self.levels.split_at_mut(level + 1);
        let (items, above) = (&mut below[level], &mut above[0]);
        if level == 0 {
            items.sort_unstable_by(f64::total_cmp);
        }
        // An item without a partner stays where it is, with its weight.
        let odd = if items.len() % 2 == 1 { items.pop() } else { None };
        above.extend(items.iter().skip(usize::from(second)).step_by(2));
        above.sort_by(f64::total_cmp);
        self.len -= items.len() / 2;
        items.clear();
        items.extend(odd);
        self.squared_error += (weight(level) as f64).powi(2);
    }

    /// A fair coin that the state determines (SplitMix64, Steele, Lea and Flood 2014).
    fn toss(&mut self) -> bool {
        self.coin = self.coin.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.coin) >> 63 == 1
    }
}

/// The width of the level `depth` levels below the top.
fn width(k: u16, depth: usize) -> usize {
    let narrower = |width: usize, _| (2 * width).div_ceil(3);
    (0..depth)
        .fold(usize::from(k), narrower)
        .max(usize::from(MIN_WIDTH))
}

/// The widths of all levels of a tower.
fn capacity(k: u16, height: usize) -> usize {
    (0..height).map(|depth| width(k, depth)).sum()
}

/// How many values an item of the level stands for.
fn weight(level: usize) -> u64 {
    u32::try_from(level)
        .ok()
        .and_then(|level| 1_u64.checked_shl(level))
        .unwrap_or(u64::MAX)
}

/// The finishing function of SplitMix64, a bijection that leaves no bit as it was.
fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// A distribution function as its steps: distinct values ascending, each with the number of values up to it.
pub(super) struct Steps(Vec<(f64, u64)>);

impl Steps {
    /// How many values are at most `value`; none if it is NaN.
    pub(super) fn at_most(&self, value: f64) -> u64 {
        self.before(self.0.partition_point(|step| step.0 <= value))
    }

    /// How many values are less than `value`; none if it is NaN.
    pub(super) fn below(&self, value: f64) -> u64 {
        self.before(self.0.partition_point(|step| step.0 < value))
    }

    /// The smallest value that at least `rank` values are at most.
    pub(super) fn value_at(&self, rank: f64) -> Option<f64> {
        let at = self.0.partition_point(|step| (step.1 as f64) < rank);
        self.0.get(at).or(self.0.last()).map(|step| step.0)
    }

    /// The values at which the function steps up.
    pub(super) fn values(&self) -> impl Iterator<Item = f64> {
        self.0.iter().map(|step| step.0)
    }

    fn before(&self, at: usize) -> u64 {
        at.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}
