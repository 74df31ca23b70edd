//! From a caller's row to the values that the trees look at.

use crate::matrix::{Cells, Matrix};

/// Values this close to zero are zero for LightGBM: `1e-35` in 32 bits.
/// Source: `kZeroThreshold` in LightGBM's `meta.h`.
const ALMOST_ZERO: f64 = 1e-35_f32 as f64;

/// How a value is read before it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reading {
    /// As it is.
    Plain,
    /// Values next to zero are zero.
    Snapped,
    /// Values next to zero are missing.
    ZeroMissing,
    /// The fraction is cut off, since categories are whole.
    Whole,
}

/// One value of a gathered row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    pub(crate) feature: u32,
    pub(crate) reading: Reading,
}

/// The float that a library computes with.
pub(crate) trait Cell: Copy + PartialOrd + std::ops::AddAssign {
    const NAN: Self;
    const ZERO: Self;
    fn from_single(value: f32) -> Self;
    fn from_double(value: f64) -> Self;
    fn to_double(self) -> f64;
    fn is_nan(self) -> bool;

    /// The value as a split compares it.
    fn read(self, reading: Reading) -> Self {
        let is_zero = || self.to_double().abs() <= ALMOST_ZERO;
        match reading {
            Reading::Plain => self,
            Reading::Snapped if is_zero() => Self::ZERO,
            Reading::ZeroMissing if is_zero() => Self::NAN,
            Reading::Snapped | Reading::ZeroMissing => self,
            Reading::Whole => Self::from_double(self.to_double().trunc()),
        }
    }

    /// The category that a value names, if it can be one. No library has categories beyond 2^31.
    fn category(self) -> Option<u32> {
        let value = self.to_double();
        (0.0..2_147_483_648.0).contains(&value).then_some(value as u32)
    }
}

impl Cell for f32 {
    const NAN: Self = Self::NAN;
    const ZERO: Self = 0.0;

    fn from_single(value: f32) -> Self {
        value
    }

    fn from_double(value: f64) -> Self {
        value as Self
    }

    fn to_double(self) -> f64 {
        f64::from(self)
    }

    fn is_nan(self) -> bool {
        self.is_nan()
    }
}

impl Cell for f64 {
    const NAN: Self = Self::NAN;
    const ZERO: Self = 0.0;

    fn from_single(value: f32) -> Self {
        Self::from(value)
    }

    fn from_double(value: f64) -> Self {
        value
    }

    fn to_double(self) -> f64 {
        self
    }

    fn is_nan(self) -> bool {
        self.is_nan()
    }
}

/// Copies what `slots` name of the rows `first..`, as many as fit into `block`, one row after the other.
pub(crate) fn gather<T: Cell>(rows: &Matrix<'_>, first: usize, slots: &[Slot], block: &mut [T]) {
    match rows.cells {
        Cells::Single(cells) => gather_from(cells, rows.columns(), first, slots, block, T::from_single),
        Cells::Double(cells) => gather_from(cells, rows.columns(), first, slots, block, T::from_double),
    }
}

fn gather_from<S: Copy, T: Cell>(
    cells: &[S],
    columns: usize,
    first: usize,
    slots: &[Slot],
    block: &mut [T],
    convert: impl Fn(S) -> T,
) {
    let rows = cells.chunks_exact(columns).skip(first);
    for (row, gathered) in rows.zip(block.chunks_exact_mut(slots.len().max(1))) {
        for (slot, value) in slots.iter().zip(gathered) {
            *value = row
                .get(slot.feature as usize)
                .map_or(T::NAN, |cell| convert(*cell).read(slot.reading));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_snapped_or_missing_as_asked() {
        assert_eq!((-1e-36_f64).read(Reading::Snapped).to_bits(), 0);
        assert_eq!(ALMOST_ZERO.read(Reading::Snapped), 0.0);
        assert_eq!(2e-35_f64.read(Reading::Snapped), 2e-35);
        assert_eq!((-1e-36_f64).read(Reading::Plain), -1e-36);
        assert!(0.0_f64.read(Reading::ZeroMissing).is_nan());
        assert_eq!(1.0_f64.read(Reading::ZeroMissing), 1.0);
        assert!(f64::NAN.read(Reading::Snapped).is_nan());
    }

    #[test]
    fn only_whole_parts_at_or_above_zero_are_categories() {
        assert_eq!(2.7_f32.category(), Some(2));
        assert_eq!((-0.0_f32).category(), Some(0));
        assert_eq!((-0.5_f32).category(), None);
        assert_eq!((-0.5_f64).read(Reading::Whole).category(), Some(0));
        assert_eq!(f64::NAN.category(), None);
        assert_eq!(f64::INFINITY.category(), None);
    }
}
