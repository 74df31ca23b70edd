//! Counts of whole numbers while there are few different ones.

use super::bytes::{Reader, Writer};
use crate::Result;

/// The most different whole numbers that are counted one by one; with more, they are only numbers.
pub const MAX_WHOLES: usize = 32;

/// How often each whole number occurred, as long as all numbers are whole and few differ.
///
/// What a class label or a flag is, and a measurement is not. Whether counting goes on depends on the set of the
/// numbers only, so the order of adding and merging does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wholes(
    /// By number; `None` once there were too many or one was not whole.
    Option<Vec<(i64, u64)>>,
);

impl Wholes {
    pub(super) fn add(&mut self, number: i64) {
        self.add_times(number, 1);
    }

    /// Adds a number that is not NaN, whole or not.
    pub(super) fn add_float(&mut self, number: f64) {
        if self.0.is_none() {
            return;
        }
        match whole(number) {
            Some(whole) => self.add(whole),
            None => self.0 = None,
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        match &other.0 {
            Some(counts) => counts
                .iter()
                .for_each(|&(number, times)| self.add_times(number, times)),
            None => self.0 = None,
        }
    }

    /// The counts by number, or `None` if these are not few whole numbers.
    pub(super) fn counts(&self) -> Option<&[(i64, u64)]> {
        self.0.as_deref()
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.flag(self.0.is_some());
        if let Some(counts) = &self.0 {
            out.length(counts.len());
            for &(number, times) in counts {
                out.signed(number);
                out.number(times);
            }
        }
    }

    /// Reads the counts of `count` numbers.
    pub(super) fn read(bytes: &mut Reader<'_>, count: u64) -> Result<Self> {
        if !bytes.flag()? {
            bytes.check(count > 0, "counts no numbers as too many")?;
            return Ok(Self(None));
        }
        let length = bytes.length(MAX_WHOLES)?;
        let mut counts: Vec<(i64, u64)> = Vec::with_capacity(length);
        for _ in 0..length {
            let (number, times) = (bytes.signed()?, bytes.number()?);
            let ascending = counts.last().is_none_or(|&(last, _)| last < number);
            bytes.check(ascending && times > 0, "has whole numbers that cannot be")?;
            counts.push((number, times));
        }
        let sum = counts
            .iter()
            .try_fold(0_u64, |sum, &(_, times)| sum.checked_add(times));
        bytes.check(sum == Some(count), "has whole numbers that do not add up")?;
        Ok(Self(Some(counts)))
    }

    fn add_times(&mut self, number: i64, times: u64) {
        let Some(counts) = &mut self.0 else { return };
        match counts.binary_search_by_key(&number, |&(number, _)| number) {
            Ok(at) => {
                if let Some((_, count)) = counts.get_mut(at) {
                    *count = count.saturating_add(times);
                }
            }
            Err(at) if counts.len() < MAX_WHOLES => counts.insert(at, (number, times)),
            Err(_) => self.0 = None,
        }
    }
}

impl Default for Wholes {
    fn default() -> Self {
        Self(Some(Vec::new()))
    }
}

/// The number as a whole one, if it is one and not so large that its neighbours are not floats.
fn whole(number: f64) -> Option<i64> {
    const EXACT: i64 = 1 << 53;
    let whole = number as i64;
    (whole as f64 == number && (-EXACT..=EXACT).contains(&whole)).then_some(whole)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn of(numbers: &[f64]) -> Wholes {
        let mut wholes = Wholes::default();
        numbers.iter().for_each(|&number| wholes.add_float(number));
        wholes
    }

    #[test]
    fn floats_count_as_whole_while_they_are() {
        assert_eq!(of(&[2.0, -0.0, 2.0, 0.0]).counts(), Some(&[(0, 2), (2, 2)][..]));
        for other in [0.5, f64::INFINITY, 1e300, 9_007_199_254_740_994.0] {
            assert_eq!(of(&[1.0, other, 1.0]).counts(), None, "{other}");
        }
    }

    #[test]
    fn too_many_are_only_numbers() {
        let mut wholes = Wholes::default();
        (0..MAX_WHOLES as i64).for_each(|number| wholes.add(number));
        wholes.add(0);
        assert_eq!(wholes.counts().map(<[_]>::len), Some(MAX_WHOLES));
        wholes.add(-1);
        assert_eq!(wholes.counts(), None);
    }

    proptest! {
        #[test]
        fn merging_is_adding(one in vec(-30_i32..10, 0..40), two in vec(0_i32..30, 0..40)) {
            let floats = |numbers: &[i32]| numbers.iter().copied().map(f64::from).collect::<Vec<_>>();
            let (one, two) = (floats(&one), floats(&two));
            let (mut forth, mut back) = (of(&one), of(&two));
            forth.merge(&of(&two));
            back.merge(&of(&one));
            prop_assert_eq!(&forth, &back);
            prop_assert_eq!(forth, of(&[one, two].concat()));
        }
    }
}
