//! Text metrics over many pairs.

use std::collections::BTreeMap;

use lodeway_domain::{Error, Result};

use super::{BleuStats, ChrfStats, exact_match, levenshtein_ratio, readability, rouge, token_f1};
use crate::{Estimate, Options, check, evaluate::plan, moments::Mean, normal::z_of};

const MEANS: [&str; 11] = [
    "exact_match",
    "token_f1",
    "rouge1",
    "rouge2",
    "rougeL",
    "rougeLsum",
    "levenshtein_ratio",
    "flesch",
    "flesch_kincaid",
    "automated_readability",
    "length",
];

/// Every text metric by its name: means over pairs (F1 of each ROUGE; `length` in words), and `bleu` and `chrf` of the
/// corpus, in [0, 100].
///
/// Intervals are from the bootstrap over pairs up to [`Options::analytic_above`]; above, means have analytic ones, while
/// BLEU and chrF have fewer resamples. Errors: `INVALID_FIELD` for no pairs or columns of different length.
pub fn evaluate_text(
    texts: &[&str],
    references: &[&str],
    options: &Options,
) -> Result<BTreeMap<String, Estimate>> {
    check::same_length("reference", references.len(), texts.len())?;
    check::not_empty(texts.len() as u64, 1.0)?;
    options.check()?;
    let z = z_of(options.confidence);
    let mut rows = Vec::with_capacity(texts.len());
    let mut corpus = Vec::with_capacity(texts.len());
    let mut sums = [Mean::default(); MEANS.len()];
    for (text, reference) in texts.iter().zip(references) {
        let row = row_of(text, reference);
        sums.iter_mut()
            .zip(row)
            .for_each(|(sum, value)| sum.add(value, 1.0));
        rows.push(row);
        corpus.push((
            BleuStats::of(text, &[reference]),
            ChrfStats::of(text, &[reference]),
        ));
    }
    let (bleu, chrf) = total(corpus.iter().map(|pair| (pair, 1)));
    let mut metrics = BTreeMap::new();
    for (name, sum) in MEANS.iter().zip(&sums) {
        metrics.insert(
            (*name).to_owned(),
            sum.estimate(z, (f64::NEG_INFINITY, f64::INFINITY)),
        );
    }
    metrics.insert("bleu".to_owned(), Estimate::point(bleu));
    metrics.insert("chrf".to_owned(), Estimate::point(chrf));

    let is_resampled = texts.len() <= options.analytic_above;
    let replicates = plan(options, texts.len()).run(texts.len(), MEANS.len() + 2, |counts, values| {
        if is_resampled {
            let pairs: u32 = counts.iter().sum();
            let mut totals = [0.0; MEANS.len()];
            for (row, &count) in rows.iter().zip(counts) {
                totals
                    .iter_mut()
                    .zip(row)
                    .for_each(|(sum, value)| *sum += value * f64::from(count));
            }
            values
                .iter_mut()
                .zip(totals)
                .for_each(|(slot, sum)| *slot = sum / f64::from(pairs));
        }
        let (bleu, chrf) = total(corpus.iter().zip(counts.iter().copied()));
        if let [.., bleu_slot, chrf_slot] = values {
            (*bleu_slot, *chrf_slot) = (bleu, chrf);
        }
    })?;
    let names = MEANS.iter().chain(&["bleu", "chrf"]).enumerate();
    for (at, name) in names {
        let Some(estimate) = metrics.get_mut(*name) else {
            return Err(Error::internal("a text metric has no value"));
        };
        let resampled = replicates.estimate(at, estimate.value, options.confidence);
        *estimate = resampled.unwrap_or(*estimate);
    }
    Ok(metrics)
}

fn row_of(text: &str, reference: &str) -> [f64; MEANS.len()] {
    let rouge = rouge(text, reference);
    let readability = readability(text);
    [
        f64::from(u8::from(exact_match(text, reference))),
        token_f1(text, reference).f1,
        rouge.rouge1.f1,
        rouge.rouge2.f1,
        rouge.rouge_l.f1,
        rouge.rouge_lsum.f1,
        levenshtein_ratio(text, reference),
        readability.flesch,
        readability.flesch_kincaid,
        readability.automated,
        readability.words as f64,
    ]
}

fn total<'a>(pairs: impl Iterator<Item = (&'a (BleuStats, ChrfStats), u32)>) -> (f64, f64) {
    let (mut bleu, mut chrf) = (BleuStats::default(), ChrfStats::default());
    for ((one_bleu, one_chrf), count) in pairs {
        for _ in 0..count {
            bleu += *one_bleu;
            chrf += *one_chrf;
        }
    }
    (bleu.score(false), chrf.score())
}
