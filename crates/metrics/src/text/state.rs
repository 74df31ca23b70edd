//! Text metrics over many pairs, in constant memory.

use std::collections::BTreeMap;

use super::{
    BleuStats, ChrfStats, bleu::BleuScorer, chrf::ChrfScorer, edit::EditScorer, readability,
    rouge::RougeScorer, squad::SquadScorer,
};
use crate::{Estimate, Method, moments::Mean, normal::z_of, student::reach};

/// So many of [`MEANS`] come first that are in [0, 1]; the others have no range.
pub(super) const SHARES: usize = 7;

/// Means over pairs, in the order of [`PairScores::means`].
pub(super) const MEANS: [&str; 11] = [
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
    LENGTH,
];

/// A number of words, which is not negative.
const LENGTH: &str = "length";

/// Of one pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct PairScores {
    pub(super) means: [f64; MEANS.len()],
    pub(super) bleu: BleuStats,
    pub(super) chrf: ChrfStats,
}

/// Every text metric of the pairs that it was given, with analytic intervals.
///
/// Means have intervals from their variance, BLEU and chrF by the delta method: the variance of what each
/// pair adds to the first-order change of the score. Where all pairs have the same readability or length, or
/// add the same to BLEU or chrF (as perfect ones do), these have none.
#[derive(Debug, Default)]
pub struct TextState {
    scorers: Scorers,
    sums: [Mean; MEANS.len()],
    bleu: Moments<{ BleuStats::COUNTS }>,
    chrf: Moments<{ ChrfStats::COUNTS }>,
    rows: u64,
}

/// What computes scores, with memory to use again.
#[derive(Debug, Default)]
struct Scorers {
    squad: SquadScorer,
    rouge: RougeScorer,
    edit: EditScorer,
    bleu: BleuScorer,
    chrf: ChrfScorer,
}

impl TextState {
    /// No pair yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text and its reference.
    pub fn add(&mut self, text: &str, reference: &str) {
        self.scored(text, reference);
    }

    /// The same, with the scores of the pair.
    pub(super) fn scored(&mut self, text: &str, reference: &str) -> PairScores {
        let scores = self.scorers.score(text, reference);
        for (sum, value) in self.sums.iter_mut().zip(scores.means) {
            sum.add(value, 1.0);
        }
        self.bleu.add(scores.bleu.counts());
        self.chrf.add(scores.chrf.counts());
        self.rows += 1;
        scores
    }

    /// Pairs so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Every metric by its name as [`evaluate_text`](super::evaluate_text) names it; all undefined without pairs.
    pub fn finish(&self, confidence: f64) -> BTreeMap<String, Estimate> {
        let z = z_of(confidence);
        let means = MEANS.iter().zip(&self.sums).enumerate();
        let mut metrics: BTreeMap<String, Estimate> = means
            .map(|(at, (name, sum))| {
                let estimate = if at < SHARES {
                    sum.estimate_in_range(z, (0.0, 1.0))
                } else if *name == LENGTH {
                    sum.estimate(z, (0.0, f64::INFINITY))
                } else {
                    sum.estimate(z, (f64::NEG_INFINITY, f64::INFINITY))
                };
                ((*name).to_owned(), estimate)
            })
            .collect();
        let reach = reach(z, self.rows as f64);
        let of_corpus = |score: f64, error: f64| match self.rows {
            0 => Estimate::point(f64::NAN),
            _ => Estimate::around(score, error, reach, (0.0, 100.0), Method::Delta),
        };
        let bleu = BleuStats::of_counts(self.bleu.sums);
        let error = self.bleu.error(&bleu.gradient());
        metrics.insert("bleu".to_owned(), of_corpus(bleu.score(false), error));
        let chrf = ChrfStats::of_counts(self.chrf.sums);
        let error = self.chrf.error(&chrf.gradient());
        metrics.insert("chrf".to_owned(), of_corpus(chrf.score(), error));
        metrics
    }
}

impl Scorers {
    fn score(&mut self, text: &str, reference: &str) -> PairScores {
        let (exact, tokens) = self.squad.score(text, reference);
        let rouge = self.rouge.score(text, reference);
        let readability = readability(text);
        PairScores {
            means: [
                f64::from(u8::from(exact)),
                tokens.f1,
                rouge.rouge1.f1,
                rouge.rouge2.f1,
                rouge.rouge_l.f1,
                rouge.rouge_lsum.f1,
                self.edit.ratio(text, reference),
                readability.flesch,
                readability.flesch_kincaid,
                readability.automated,
                readability.words as f64,
            ],
            bleu: self.bleu.stats(text, &[reference]),
            chrf: self.chrf.stats(text, &[reference]),
        }
    }
}

/// Sums of counts over rows, and of their products two by two.
#[derive(Debug)]
struct Moments<const N: usize> {
    rows: u64,
    sums: [u64; N],
    /// Whole numbers too, of which the interval needs a few digits.
    products: [[f64; N]; N],
}

impl<const N: usize> Default for Moments<N> {
    fn default() -> Self {
        Self {
            rows: 0,
            sums: [0; N],
            products: [[0.0; N]; N],
        }
    }
}

impl<const N: usize> Moments<N> {
    fn add(&mut self, counts: [u64; N]) {
        self.rows += 1;
        let values = counts.map(|count| count as f64);
        for ((sum, products), (count, value)) in self
            .sums
            .iter_mut()
            .zip(&mut self.products)
            .zip(counts.iter().zip(values))
        {
            *sum += count;
            products
                .iter_mut()
                .zip(values)
                .for_each(|(product, other)| *product += value * other);
        }
    }

    /// The standard error of a function of the sums, by its gradient at them; 0 where it is no more than
    /// rounding.
    fn error(&self, gradient: &[f64; N]) -> f64 {
        let dot = |values: &[f64; N], gradient: &[f64; N]| -> f64 {
            values
                .iter()
                .zip(gradient)
                .map(|(value, slope)| value * slope)
                .sum()
        };
        let second = |gradient: &[f64; N]| dot(&self.products.map(|row| dot(&row, gradient)), gradient);
        let first = dot(&self.sums.map(|sum| sum as f64), gradient);
        let variance = second(gradient) - first * first / self.rows as f64;
        if variance > 1e-12 * second(&gradient.map(f64::abs)) {
            variance.sqrt()
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gradient beside the differences of the score itself.
    fn check<const N: usize>(counts: [u64; N], gradient: [f64; N], score: impl Fn([u64; N]) -> f64) {
        for at in 0..N {
            let (mut more, mut less) = (counts, counts);
            more[at] += 1;
            less[at] -= u64::from(counts[at] > 0);
            let difference = (score(more) - score(less)) / (more[at] - less[at]) as f64;
            let near = (difference - gradient[at]).abs() < 1e-3 * gradient[at].abs().max(1e-6);
            assert!(near, "{at}: {difference} {}", gradient[at]);
        }
    }

    #[test]
    fn gradients_are_those_of_the_scores() {
        for reference_words in [90_000, 130_000] {
            let bleu = BleuStats {
                text_words: 100_000,
                reference_words,
                matches: [70_000, 50_000, 30_000, 10_000],
                totals: [100_000, 95_000, 90_000, 85_000],
            };
            check(bleu.counts(), bleu.gradient(), |counts| {
                BleuStats::of_counts(counts).score(false)
            });
        }
        let chrf = ChrfStats {
            orders: std::array::from_fn(|n| [90_000, 80_000, 60_000].map(|count| count - 7_000 * n as u64)),
        };
        check(chrf.counts(), chrf.gradient(), |counts| {
            ChrfStats::of_counts(counts).score()
        });
    }

    #[test]
    fn analytic_intervals_are_those_of_resamples() {
        let words = ["the", "cat", "sat", "on", "a", "mat", "dog", "ran"];
        let mut random = crate::Random::new(2, 2);
        let pairs: Vec<(String, String)> = (0..2000)
            .map(|_| {
                let reference: Vec<&str> = (0..5 + random.below(9))
                    .map(|_| words[random.below(8) as usize])
                    .collect();
                let kept: Vec<&str> = reference
                    .iter()
                    .copied()
                    .filter(|_| random.below(4) > 0)
                    .collect();
                (kept.join(" "), reference.join(" "))
            })
            .collect();
        let (texts, references): (Vec<&str>, Vec<&str>) = pairs
            .iter()
            .map(|(text, reference)| (text.as_str(), reference.as_str()))
            .unzip();
        let intervals = |analytic_above| {
            let options = crate::Options {
                analytic_above,
                ..crate::Options::default()
            };
            super::super::evaluate_text(&texts, &references, &options).unwrap()
        };
        let (analytic, resampled) = (intervals(0), intervals(2000));
        for (name, analytic) in &analytic {
            let resampled = resampled[name];
            assert_eq!(analytic.value, resampled.value, "{name}");
            if analytic.low < analytic.high {
                let ratio = (resampled.high - resampled.low) / (analytic.high - analytic.low);
                assert!((ratio - 1.0).abs() < 0.15, "{name} {analytic:?} {resampled:?}");
            }
        }
    }
}
