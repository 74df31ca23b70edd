//! Text metrics of pairs that are in memory.

use std::collections::BTreeMap;

use lodeway_domain::{Error, Result};

use super::{
    BleuStats, ChrfStats,
    state::{MEANS, SHARES, TextState},
};
use crate::{Estimate, Options, check};

/// Every text metric by its name: means over pairs (F1 of each ROUGE; `length` in words), and `bleu` and `chrf` of the
/// corpus, in [0, 100].
///
/// Intervals are those of [`TextState`], but for readability, length, BLEU and chrF, which have no range or
/// no share in it for each pair: theirs are from the bootstrap over pairs where [`Options::resamples`] says
/// so. Errors: `INVALID_FIELD` for no pairs or columns of different length.
pub fn evaluate_text(
    texts: &[&str],
    references: &[&str],
    options: &Options,
) -> Result<BTreeMap<String, Estimate>> {
    check::same_length("reference", references.len(), texts.len())?;
    check::not_empty(texts.len() as u64, 1.0)?;
    options.check()?;
    let pairs = texts.iter().zip(references);
    let mut state = TextState::new();
    if !options.resamples(texts.len(), texts.len() as f64) {
        pairs.for_each(|(text, reference)| state.add(text, reference));
        return Ok(state.finish(options.confidence));
    }
    const FREE: usize = MEANS.len() - SHARES;
    let column = |_| Vec::with_capacity(texts.len());
    let columns = 0..FREE + BleuStats::COUNTS + ChrfStats::COUNTS;
    let mut columns: Vec<Vec<f64>> = columns.map(column).collect();
    for (text, reference) in pairs {
        let scores = state.scored(text, reference);
        let counts = scores.bleu.counts().into_iter().chain(scores.chrf.counts());
        let means = scores.means.into_iter().skip(SHARES);
        let values = means.chain(counts.map(|count| count as f64));
        columns
            .iter_mut()
            .zip(values)
            .for_each(|(column, value)| column.push(value));
    }
    let mut metrics = state.finish(options.confidence);
    let replicates = options
        .bootstrap
        .run_sums(&columns, FREE + 2, |rows, sums, values| {
            let (means, counts) = sums.split_at(FREE);
            let (bleu, chrf) = counts.split_at(BleuStats::COUNTS);
            let whole = |sums: &[f64], at: usize| sums.get(at).map_or(0, |sum| *sum as u64);
            let bleu = BleuStats::of_counts(std::array::from_fn(|at| whole(bleu, at)));
            let chrf = ChrfStats::of_counts(std::array::from_fn(|at| whole(chrf, at)));
            let of_corpus = [bleu.score(false), chrf.score()];
            let all = means.iter().map(|sum| sum / rows).chain(of_corpus);
            values.iter_mut().zip(all).for_each(|(slot, value)| *slot = value);
        })?;
    let names = MEANS.iter().skip(SHARES).chain(&["bleu", "chrf"]);
    for (at, name) in names.enumerate() {
        let Some(estimate) = metrics.get_mut(*name) else {
            return Err(Error::internal("a text metric has no value"));
        };
        let resampled = replicates.estimate(at, estimate.value, options.confidence);
        *estimate = resampled.unwrap_or(Estimate::point(estimate.value));
    }
    Ok(metrics)
}
