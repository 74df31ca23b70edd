//! How often categories occur.

use std::{borrow::Cow, cmp::Reverse, collections::BTreeMap};

use sha2::{Digest, Sha256};

use super::bytes::{Reader, Writer};
use crate::Result;

/// The kind byte of the byte form.
const KIND: u8 = b'F';

/// How often each category occurred, in bounded memory and mergeable.
///
/// Keeps the counts of at most `bound` categories. While no more have been seen, they are exact. Afterwards the count
/// of a category may be too low, never too high, by at most [`Frequencies::max_error`], which is at most `total /
/// (bound + 1)`; so every category with a larger count is kept. That holds in any order of adding and merging.
///
/// Total and missing are always exact. A category of more than [`Frequencies::MAX_NAME_BYTES`] is kept under its
/// beginning and its SHA-256, so that no text can use up the memory. Source: Misra and Gries 1982; for merging Agarwal
/// et al. 2013, "Mergeable Summaries", section 3, <https://doi.org/10.1145/2500128>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frequencies {
    bound: u16,
    /// Each above 0.
    kept: BTreeMap<String, u64>,
    total: u64,
    missing: u64,
    /// What was taken from the counts so far: the most that any category can lack.
    max_error: u64,
}

impl Frequencies {
    /// The bound of [`Frequencies::default`].
    pub const DEFAULT_BOUND: u16 = 100;

    /// Longer categories are kept under a shorter name.
    pub const MAX_NAME_BYTES: usize = 128;

    /// An empty summary that keeps at most `bound` categories, 1 if it is 0.
    pub fn new(bound: u16) -> Self {
        Self {
            bound: bound.max(1),
            kept: BTreeMap::new(),
            total: 0,
            missing: 0,
            max_error: 0,
        }
    }

    /// Counts one occurrence.
    pub fn add(&mut self, category: &str) {
        self.add_times(category, 1);
    }

    /// Counts `times` occurrences of one category.
    pub fn add_times(&mut self, category: &str, times: u64) {
        let name = name_of(category);
        self.total = self.total.saturating_add(times);
        if let Some(count) = self.kept.get_mut(&*name) {
            *count = count.saturating_add(times);
            return;
        }
        let mut left = times;
        if self.kept.len() >= usize::from(self.bound) {
            // Each pass takes from bound + 1 categories at once what came in one by one, so it costs little on average.
            let least = self.kept.values().min().copied().unwrap_or(0);
            let cut = left.min(least);
            self.cut(cut);
            left -= cut;
        }
        if left > 0 {
            self.kept.insert(name.into_owned(), left);
        }
    }

    /// Counts an occurrence without a category.
    pub fn add_missing(&mut self) {
        self.missing = self.missing.saturating_add(1);
    }

    /// Adds everything that `other` has seen; the bound becomes the lower of the two.
    pub fn merge(&mut self, other: &Self) {
        self.bound = self.bound.min(other.bound);
        self.total = self.total.saturating_add(other.total);
        self.missing = self.missing.saturating_add(other.missing);
        self.max_error = self.max_error.saturating_add(other.max_error);
        for (name, &times) in &other.kept {
            match self.kept.get_mut(name) {
                Some(count) => *count = count.saturating_add(times),
                None => {
                    self.kept.insert(name.clone(), times);
                }
            }
        }
        // The largest count that may not stay is taken from all: at least bound + 1 of them lose it.
        let mut counts: Vec<u64> = self.kept.values().copied().collect();
        let bound = usize::from(self.bound);
        if counts.len() > bound {
            let (_, &mut cut, _) = counts.select_nth_unstable_by_key(bound, |&count| Reverse(count));
            self.cut(cut);
        }
    }

    /// How many occurrences with a category there were.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many occurrences without a category there were.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// How many categories may be kept.
    pub fn bound(&self) -> u16 {
        self.bound
    }

    /// The count of a category, 0 if it is not kept; too low by at most [`Frequencies::max_error`].
    pub fn count_of(&self, category: &str) -> u64 {
        self.kept.get(&*name_of(category)).copied().unwrap_or(0)
    }

    /// The categories kept with their counts, in the order of their names.
    pub fn kept(&self) -> impl ExactSizeIterator<Item = (&str, u64)> {
        self.kept.iter().map(|(name, &count)| (name.as_str(), count))
    }

    /// The occurrences that are in the total and in no count.
    pub fn other(&self) -> u64 {
        self.total.saturating_sub(
            self.kept
                .values()
                .fold(0, |sum, &count| sum.saturating_add(count)),
        )
    }

    /// The most that any count, that of a category not kept included, can be too low.
    pub fn max_error(&self) -> u64 {
        self.max_error
    }

    /// Whether every category seen is kept with its exact count.
    pub fn is_exact(&self) -> bool {
        self.max_error == 0
    }

    /// Whether nothing was added, not even missing.
    pub fn is_empty(&self) -> bool {
        self.total == 0 && self.missing == 0
    }

    /// The byte form: version, kind, then the state.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(KIND);
        out.u16(self.bound);
        out.u64(self.total);
        out.u64(self.missing);
        out.u64(self.max_error);
        out.length(self.kept.len());
        for (name, &count) in &self.kept {
            out.text(name);
            out.u64(count);
        }
        out.finish()
    }

    /// The summary that [`Frequencies::encode`] wrote; encoding it again gives the same bytes.
    ///
    /// Errors: [`DataLoss`](crate::Error::DataLoss) if the bytes are of another version or kind, cut short, too long,
    /// or contradict themselves.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, KIND, "frequency")?;
        let bound = reader.u16()?;
        let (total, missing, max_error) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let length = reader.length(size_of::<u32>() + size_of::<u64>())?;
        reader.check(
            bound > 0 && length <= usize::from(bound),
            "has more categories than it can keep",
        )?;
        let mut kept = BTreeMap::new();
        let mut counted = Some(0_u64);
        for _ in 0..length {
            let (name, count) = (reader.text()?, reader.u64()?);
            reader.check(
                name.len() <= Self::MAX_NAME_BYTES && count > 0,
                "has a category that cannot be",
            )?;
            let ascending = kept
                .last_key_value()
                .is_none_or(|(last, _): (&String, _)| last.as_str() < name);
            reader.check(ascending, "has categories out of order")?;
            counted = counted.and_then(|sum| sum.checked_add(count));
            kept.insert(name.to_owned(), count);
        }
        let other = counted.and_then(|sum| total.checked_sub(sum));
        // Each unit of the error was taken from bound + 1 occurrences at once.
        let taken = max_error.checked_mul(u64::from(bound) + 1);
        let sound = matches!((taken, other), (Some(taken), Some(other)) if taken <= other);
        reader.check(sound, "has counts that do not add up")?;
        reader.finish()?;
        Ok(Self {
            bound,
            kept,
            total,
            missing,
            max_error,
        })
    }

    /// Takes `cut` from every count and drops what is left with nothing.
    fn cut(&mut self, cut: u64) {
        self.max_error = self.max_error.saturating_add(cut);
        self.kept.retain(|_, count| {
            *count = count.saturating_sub(cut);
            *count > 0
        });
    }
}

/// Bound [`Frequencies::DEFAULT_BOUND`].
impl Default for Frequencies {
    fn default() -> Self {
        Self::new(Self::DEFAULT_BOUND)
    }
}

/// The name under which a category is kept: its text, or if that is long, its beginning and digest.
fn name_of(category: &str) -> Cow<'_, str> {
    if category.len() <= Frequencies::MAX_NAME_BYTES {
        return Cow::Borrowed(category);
    }
    let digest = hex::encode(Sha256::digest(category));
    let room = Frequencies::MAX_NAME_BYTES - digest.len() - '…'.len_utf8();
    Cow::Owned(format!(
        "{}…{digest}",
        &category[..category.floor_char_boundary(room)]
    ))
}
