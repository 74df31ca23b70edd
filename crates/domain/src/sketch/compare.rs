//! How far two distributions are apart.

use super::{Frequencies, Quantiles, compactors::Steps};

/// What [`psi`] adds to the share of every bin, so that an empty one gives a finite number: one in ten thousand.
///
/// It is added to shares and not to counts, so that two samples of different size but equal shares differ by 0.
pub const PSI_SMOOTHING: f64 = 1e-4;

/// Into how many parts [`compare_quantiles`] divides the reference.
const BINS: u32 = 10;

/// How far current numbers are from those of a reference.
#[derive(Debug, Clone, PartialEq)]
pub struct NumericDrift {
    /// Population stability index over the bins, at least 0; by custom 0.1 is a change to look at and 0.25 a large one.
    pub psi: f64,
    /// Jensen-Shannon divergence over the bins, in [0, 1].
    pub jensen_shannon: f64,
    /// Largest difference of the distribution functions, in [0, 1]; `None` if one side has nothing but NaN.
    pub kolmogorov_smirnov: Option<f64>,
}

/// How far current categories are from those of a reference.
#[derive(Debug, Clone, PartialEq)]
pub struct CategoryDrift {
    /// Population stability index over the categories, at least 0; read as in [`NumericDrift::psi`].
    pub psi: f64,
    /// Jensen-Shannon divergence over the categories, in [0, 1].
    pub jensen_shannon: f64,
    /// Categories of the current values that the reference does not keep, the most frequent first.
    pub unseen: Vec<String>,
    /// The share of those among all current values, in [0, 1].
    pub unseen_share: f64,
    /// Whether they cannot have been in the reference at all. If not, each may have been there as often as the
    /// [`Frequencies::max_error`] of the reference says.
    pub unseen_is_certain: bool,
}

/// Compares current numbers with a reference; `None` if one of them is empty.
///
/// The bins are the ten parts between the quantiles 0.1 to 0.9 of the reference, the outer ones open to infinity, and
/// one bin for NaN. Where quantiles coincide there is one bin for exactly that value between the bin below and the bin
/// above: a constant, or the zeros of a feature that is mostly zero, would hide a shift otherwise. As the bins are
/// those of the reference, exchanging the two gives other figures, except for Kolmogorov-Smirnov.
pub fn compare_quantiles(reference: &Quantiles, current: &Quantiles) -> Option<NumericDrift> {
    let (ours, theirs) = (reference.steps(), current.steps());
    let cuts = cuts(&ours, reference.count());
    let expected = shares(&ours, &cuts, reference);
    let actual = shares(&theirs, &cuts, current);
    Some(NumericDrift {
        psi: psi(&expected, &actual)?,
        jensen_shannon: jensen_shannon(&expected, &actual)?,
        kolmogorov_smirnov: kolmogorov_smirnov(reference, current),
    })
}

/// Compares current categories with a reference; `None` if one of them is empty.
///
/// The bins are the categories that either side keeps, one for all others, and one for missing. Exact as long as both
/// sides are; else a category that one side does not keep counts as absent there, and its occurrences as others.
pub fn compare_frequencies(reference: &Frequencies, current: &Frequencies) -> Option<CategoryDrift> {
    let mut unseen: Vec<_> = current
        .kept()
        .filter(|(name, _)| reference.count_of(name) == 0)
        .collect();
    unseen.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let names = || {
        reference
            .kept()
            .map(|(name, _)| name)
            .chain(unseen.iter().map(|(name, _)| *name))
    };
    let bins = |side: &Frequencies| -> Vec<f64> {
        let rest = [side.other(), side.missing()];
        names()
            .map(|name| side.count_of(name))
            .chain(rest)
            .map(|count| count as f64)
            .collect()
    };
    let (expected, actual) = (bins(reference), bins(current));
    let new: f64 = unseen.iter().map(|(_, count)| *count as f64).sum();
    Some(CategoryDrift {
        psi: psi(&expected, &actual)?,
        jensen_shannon: jensen_shannon(&expected, &actual)?,
        unseen_share: new / actual.iter().sum::<f64>(),
        unseen: unseen.into_iter().map(|(name, _)| name.to_owned()).collect(),
        unseen_is_certain: reference.is_exact(),
    })
}

/// Population stability index of two distributions over the same bins: Σ (p − q) ln(p / q), at least 0, symmetric.
///
/// Each slice is `[bins]` of counts or shares, not negative, in any unit. Shares are smoothed by [`PSI_SMOOTHING`] in
/// every bin. `None` if the lengths differ, or one side has a value that is negative or not finite, or is all 0.
/// Source: Siddiqi 2006, "Credit Risk Scorecards"; it is the symmetric divergence of Jeffreys 1946.
pub fn psi(reference: &[f64], current: &[f64]) -> Option<f64> {
    let smooth = 1.0 + PSI_SMOOTHING * reference.len() as f64;
    let term = |(p, q): (f64, f64)| {
        let (p, q) = ((p + PSI_SMOOTHING) / smooth, (q + PSI_SMOOTHING) / smooth);
        (p - q) * (p / q).ln()
    };
    Some(paired(reference, current)?.map(term).sum())
}

/// Jensen-Shannon divergence of two distributions over the same bins, to base 2: in [0, 1], symmetric.
///
/// 0 for equal shares, 1 if no bin is filled on both sides. It is the divergence, the square of the distance. Takes and
/// refuses what [`psi`] does. Source: Lin 1991, "Divergence Measures Based on the Shannon Entropy",
/// <https://doi.org/10.1109/18.61115>.
pub fn jensen_shannon(reference: &[f64], current: &[f64]) -> Option<f64> {
    let part = |p: f64, middle: f64| if p > 0.0 { p * (p / middle).log2() } else { 0.0 };
    let term = |(p, q): (f64, f64)| {
        let middle = (p + q) / 2.0;
        // Half of the smallest share is 0.
        if middle > 0.0 {
            (part(p, middle) + part(q, middle)) / 2.0
        } else {
            0.0
        }
    };
    let sum: f64 = paired(reference, current)?.map(term).sum();
    Some(sum.clamp(0.0, 1.0))
}

/// Kolmogorov-Smirnov statistic: the largest difference of two distribution functions, in [0, 1], symmetric.
///
/// NaN are left out. At any one value the difference is off by at most the rank errors of the two sketches together.
/// `None` if one of them has no values.
pub fn kolmogorov_smirnov(reference: &Quantiles, current: &Quantiles) -> Option<f64> {
    if reference.count() == 0 || current.count() == 0 {
        return None;
    }
    let (ours, theirs) = (reference.steps(), current.steps());
    let apart = |value| {
        let (p, q) = (ours.at_most(value) as f64, theirs.at_most(value) as f64);
        (p / reference.count() as f64 - q / current.count() as f64).abs()
    };
    // Between two steps neither function moves, so the largest difference is at a step of one of them.
    Some(
        ours.values()
            .chain(theirs.values())
            .map(apart)
            .fold(0.0, f64::max),
    )
}

/// Where one bin ends and the next begins.
enum Cut {
    /// The value belongs to the bin above.
    Below(f64),
    /// The value belongs to the bin below.
    After(f64),
}

/// The cuts between the bins of a reference, ascending.
fn cuts(steps: &Steps, count: u64) -> Vec<Cut> {
    let quantile = |part| steps.value_at(f64::from(part) / f64::from(BINS) * count as f64);
    let quantiles: Vec<f64> = (1..BINS).filter_map(quantile).collect();
    let cuts_of = |tied: &[f64]| match *tied {
        [value] => vec![Cut::After(value)],
        [value, ..] => vec![Cut::Below(value), Cut::After(value)],
        [] => Vec::new(),
    };
    quantiles.chunk_by(|a, b| a == b).flat_map(cuts_of).collect()
}

/// How many values of a sketch fall between the cuts, and last how many are NaN.
fn shares(steps: &Steps, cuts: &[Cut], sketch: &Quantiles) -> Vec<f64> {
    let up_to = |cut: &Cut| match *cut {
        Cut::Below(value) => steps.below(value),
        Cut::After(value) => steps.at_most(value),
    };
    let ends: Vec<u64> = cuts.iter().map(up_to).chain([sketch.count()]).collect();
    let starts = std::iter::once(&0).chain(&ends);
    let counts = ends
        .iter()
        .zip(starts)
        .map(|(end, start)| end.saturating_sub(*start) as f64);
    counts.chain([sketch.nan_count() as f64]).collect()
}

/// The shares of both sides bin by bin, or `None` if they are not two distributions over the same bins.
fn paired<'a>(reference: &'a [f64], current: &'a [f64]) -> Option<impl Iterator<Item = (f64, f64)> + 'a> {
    let total = |bins: &[f64]| {
        let sound = bins.iter().all(|&bin| bin >= 0.0);
        let sum: f64 = bins.iter().sum();
        (sound && sum > 0.0 && sum.is_finite()).then_some(sum)
    };
    let (ours, theirs) = (total(reference)?, total(current)?);
    let shares = move |(p, q): (&f64, &f64)| (p / ours, q / theirs);
    (reference.len() == current.len()).then(|| reference.iter().zip(current).map(shares))
}
