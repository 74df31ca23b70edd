//! Texts beside expected texts, in constant memory.

use lodeway_metrics::{
    Estimate, Method, Random, Sum,
    normal::z_of,
    text::{BleuStats, ChrfStats, exact_match, levenshtein_ratio, readability, rouge, token_f1},
};

use super::Scored;
use crate::{curves::Curves, plan::PlanOptions, rows::View};

const NAMES: [&str; 11] = [
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

/// Means have intervals from their variance, BLEU and chrF from resamples that run along.
pub(crate) struct Text {
    seed: u64,
    sums: [[Sum; 2]; NAMES.len()],
    corpus: (BleuStats, ChrfStats),
    resamples: Vec<(BleuStats, ChrfStats)>,
    rows: u64,
}

impl Text {
    const RESAMPLES: usize = 100;

    pub(crate) fn new(options: &PlanOptions) -> Self {
        Self {
            seed: options.seed,
            sums: [[Sum::default(); 2]; NAMES.len()],
            corpus: Default::default(),
            resamples: vec![Default::default(); Self::RESAMPLES],
            rows: 0,
        }
    }

    pub(crate) fn add(&mut self, rows: View<'_>) {
        let (answers, expected) = (rows.texts(|rows| &rows.answer), rows.texts(|rows| &rows.expected));
        for (answer, expected) in answers.into_iter().zip(expected) {
            for (sums, value) in self.sums.iter_mut().zip(scores(answer, expected)) {
                let [sum, squares] = sums;
                sum.add(value);
                squares.add_product(value, value);
            }
            let one = (
                BleuStats::of(answer, &[expected]),
                ChrfStats::of(answer, &[expected]),
            );
            self.corpus.0 += one.0;
            self.corpus.1 += one.1;
            let mut random = Random::new(self.seed, self.rows);
            for pair in self.resamples.chunks_mut(2) {
                for (resample, count) in pair.iter_mut().zip(random.poisson_pair()) {
                    for _ in 0..count {
                        resample.0 += one.0;
                        resample.1 += one.1;
                    }
                }
            }
            self.rows += 1;
        }
    }

    pub(crate) fn finish(self, confidence: f64) -> Scored {
        let z = z_of(confidence);
        let rows = self.rows as f64;
        let mean = |[sum, squares]: &[Sum; 2]| {
            let mean = sum.value() / rows;
            let variance = (squares.value() / rows - mean * mean).max(0.0);
            let whole = (f64::NEG_INFINITY, f64::INFINITY);
            Estimate::around(mean, (variance / rows).sqrt(), z, whole, Method::Delta)
        };
        let mut scored = Scored {
            samples: self.rows,
            curves: Curves::default(),
            ..Scored::default()
        };
        for (name, sums) in NAMES.iter().zip(&self.sums) {
            scored.metrics.insert((*name).to_owned(), mean(sums));
        }
        let bleu = self
            .resamples
            .iter()
            .map(|resample| resample.0.score(false))
            .collect();
        let chrf = self.resamples.iter().map(|resample| resample.1.score()).collect();
        let bleu = between(self.corpus.0.score(false), bleu, confidence);
        let chrf = between(self.corpus.1.score(), chrf, confidence);
        scored.metrics.insert("bleu".to_owned(), bleu);
        scored.metrics.insert("chrf".to_owned(), chrf);
        scored
    }
}

/// Percentiles of resamples.
fn between(value: f64, mut resamples: Vec<f64>, confidence: f64) -> Estimate {
    resamples.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = share * (resamples.len() - 1) as f64;
        let (low, high) = (place.floor() as usize, place.ceil() as usize);
        let value = |at: usize| resamples.get(at).copied().unwrap_or(f64::NAN);
        value(low) + (value(high) - value(low)) * place.fract()
    };
    let tail = 0.5 * (1.0 - confidence);
    Estimate::between(value, at(tail), at(1.0 - tail), Method::Bootstrap)
}

/// The metrics of one pair, in the order of their names.
fn scores(answer: &str, expected: &str) -> [f64; NAMES.len()] {
    let rouge = rouge(answer, expected);
    let readability = readability(answer);
    [
        f64::from(u8::from(exact_match(answer, expected))),
        token_f1(answer, expected).f1,
        rouge.rouge1.f1,
        rouge.rouge2.f1,
        rouge.rouge_l.f1,
        rouge.rouge_lsum.f1,
        levenshtein_ratio(answer, expected),
        readability.flesch,
        readability.flesch_kincaid,
        readability.automated,
        readability.words as f64,
    ]
}
