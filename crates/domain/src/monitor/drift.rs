//! How far one distribution is from another.

use std::collections::BTreeMap;

use super::Distribution;
use crate::sketch::{compare_quantiles, jensen_shannon, kolmogorov_smirnov, psi};

/// The most categories that [`Drift::unseen`] names.
pub const MAX_UNSEEN: usize = 20;

/// The bins of numbers: those of [`compare_quantiles`].
const NUMBER_BINS: usize = 10;

/// How far current values are from those of a reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// Population stability index, at least 0; by custom 0.1 is a change to look at and 0.25 a large one.
    pub psi: f64,
    /// What `psi` would be on average if nothing had changed: with few values it is large by chance.
    ///
    /// (bins − 1) · (1/n + 1/m) for n and m values. Source: Yurdakul 2018, "Statistical Properties of Population
    /// Stability Index", Western Michigan University.
    pub psi_by_chance: f64,
    /// Jensen-Shannon divergence in bits, in [0, 1].
    pub jensen_shannon: f64,
    /// Kolmogorov-Smirnov distance of the numbers, in [0, 1]; `None` if one side has none.
    pub kolmogorov_smirnov: Option<f64>,
    /// Categories that the reference does not keep, the most frequent first, at most [`MAX_UNSEEN`].
    pub unseen: Vec<String>,
}

/// One bin of categories: how often it was met in the reference and now.
type Bins = BTreeMap<Bin, [u64; 2]>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Bin {
    /// A text, or a whole number as text.
    Category(String),
    /// Texts that are not kept one by one.
    Texts,
    /// Numbers that are not kept one by one.
    Numbers,
    Missing,
}

/// Compares current values with a reference; `None` if one of them is empty.
///
/// Compared are the shares of categories, of all numbers together if they are not categories on both sides, of all free
/// texts together, and of missing values; and if numbers are not categories, the shares of the ten parts of the
/// reference's numbers. The figures are the larger of the two: a few texts among numbers must not hide that the numbers
/// have moved.
pub(super) fn between(reference: &Distribution, current: &Distribution) -> Option<Drift> {
    if reference.is_empty() || current.is_empty() {
        return None;
    }
    let bins = bins(reference, current);
    let side = |side: usize| -> Vec<f64> {
        let count = |counts: &[u64; 2]| counts.get(side).map_or(0.0, |&count| count as f64);
        bins.values().map(count).collect()
    };
    let (expected, actual) = (side(0), side(1));
    let (numbers, now) = (reference.numbers(), current.numbers());
    let mut drift = Drift {
        psi: psi(&expected, &actual)?,
        psi_by_chance: by_chance(bins.len(), reference.count(), current.count()),
        jensen_shannon: jensen_shannon(&expected, &actual)?,
        kolmogorov_smirnov: kolmogorov_smirnov(numbers, now),
        unseen: unseen(&bins),
    };
    let are_categories = reference.whole_categories().is_some() && current.whole_categories().is_some();
    if !are_categories && let Some(moved) = compare_quantiles(numbers, now) {
        drift.jensen_shannon = drift.jensen_shannon.max(moved.jensen_shannon);
        if moved.psi >= drift.psi {
            let missing = usize::from(numbers.nan_count() + now.nan_count() > 0);
            let values = |side: &Distribution| side.numbers().count() + side.missing();
            drift.psi = moved.psi;
            drift.psi_by_chance = by_chance(NUMBER_BINS + missing, values(reference), values(current));
        }
    }
    Some(drift)
}

/// The bins that both sides can be divided into.
fn bins(reference: &Distribution, current: &Distribution) -> Bins {
    let sides = [reference, current];
    let by_text = sides.iter().all(|side| side.text_categories().is_some());
    let by_whole = sides.iter().all(|side| side.whole_categories().is_some());
    let mut bins = Bins::new();
    for (at, side) in sides.into_iter().enumerate() {
        let mut add = |bin, times: u64| {
            if times > 0
                && let Some(count) = bins.entry(bin).or_default().get_mut(at)
            {
                *count = count.saturating_add(times);
            }
        };
        add(Bin::Missing, side.missing());
        match side.text_categories().filter(|_| by_text) {
            Some(texts) => {
                texts.for_each(|(name, times)| add(Bin::Category(name), times));
                add(Bin::Texts, side.texts().other());
            }
            None => add(Bin::Texts, side.texts().total()),
        }
        match side.whole_categories().filter(|_| by_whole) {
            Some(wholes) => wholes.for_each(|(name, times)| add(Bin::Category(name), times)),
            None => add(Bin::Numbers, side.numbers().count()),
        }
    }
    bins
}

fn unseen(bins: &Bins) -> Vec<String> {
    let mut unseen: Vec<(u64, &String)> = bins
        .iter()
        .filter_map(|bin| match bin {
            (Bin::Category(name), &[0, times]) => Some((times, name)),
            _ => None,
        })
        .collect();
    unseen.sort_by(|one, two| two.0.cmp(&one.0).then_with(|| one.1.cmp(two.1)));
    unseen.truncate(MAX_UNSEEN);
    unseen.into_iter().map(|(_, name)| name.clone()).collect()
}

fn by_chance(bins: usize, reference: u64, current: u64) -> f64 {
    let share = |values: u64| 1.0 / values.max(1) as f64;
    bins.saturating_sub(1) as f64 * (share(reference) + share(current))
}
