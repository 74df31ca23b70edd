//! chrF, as sacrebleu computes it.

use std::{collections::HashMap, ops::AddAssign};

use super::{
    grams::{Grams, count},
    is_space,
};

const ORDER: usize = 6;
/// Recall is as heavy as precision four times, β = 2.
const SQUARED_BETA: f64 = 4.0;

/// What chrF2 needs of a text beside its references; stats of a corpus are the sum over its texts.
///
/// Source: Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation",
/// <https://aclanthology.org/W15-3049>: `sacrebleu.metrics.CHRF` with its defaults (n to 6, no word n-grams, β = 2, white
/// space left out, case kept).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChrfStats {
    /// For n = 1 to 6: n-grams of the text (0 if the reference has none), of the reference, in both.
    pub orders: [[u64; 3]; ORDER],
}

impl ChrfStats {
    /// Of one text beside the reference that gives the best score; all 0 without references.
    pub fn of(text: &str, references: &[&str]) -> Self {
        ChrfScorer::default().stats(text, references)
    }

    /// How many numbers these are.
    pub(super) const COUNTS: usize = 3 * ORDER;

    /// All numbers, order by order.
    pub(super) fn counts(&self) -> [u64; Self::COUNTS] {
        std::array::from_fn(|at| self.orders[at / 3][at % 3])
    }

    /// From all numbers.
    pub(super) fn of_counts(counts: [u64; Self::COUNTS]) -> Self {
        Self {
            orders: std::array::from_fn(|n| [counts[3 * n], counts[3 * n + 1], counts[3 * n + 2]]),
        }
    }

    /// Mean precision, mean recall, and of how many orders.
    fn means(&self) -> (f64, f64, f64) {
        let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
        for [text, reference, both] in self.orders {
            if text > 0 && reference > 0 {
                precision += both as f64 / text as f64;
                recall += both as f64 / reference as f64;
                orders += 1.0;
            }
        }
        if orders == 0.0 {
            return (0.0, 0.0, 0.0);
        }
        (precision / orders, recall / orders, orders)
    }

    /// How the score changes with each of [`ChrfStats::counts`].
    pub(super) fn gradient(&self) -> [f64; Self::COUNTS] {
        let (precision, recall, orders) = self.means();
        let mut gradient = [0.0; Self::COUNTS];
        let below = SQUARED_BETA * precision + recall;
        if below == 0.0 {
            return gradient;
        }
        let scale = 100.0 * (1.0 + SQUARED_BETA) / (below * below * orders);
        let (by_precision, by_recall) = (
            scale * recall * recall,
            scale * SQUARED_BETA * precision * precision,
        );
        for (n, counts) in self.orders.iter().enumerate() {
            let [text, reference, both] = counts.map(|count| count as f64);
            if text > 0.0 && reference > 0.0 {
                gradient[3 * n] = -by_precision * both / (text * text);
                gradient[3 * n + 1] = -by_recall * both / (reference * reference);
                gradient[3 * n + 2] = by_precision / text + by_recall / reference;
            }
        }
        gradient
    }

    /// The score in [0, 100]: F over mean precision and mean recall of the orders that both texts are long enough for.
    pub fn score(&self) -> f64 {
        let (precision, recall, _) = self.means();
        if precision + recall == 0.0 {
            return 0.0;
        }
        100.0 * (1.0 + SQUARED_BETA) * precision * recall / (SQUARED_BETA * precision + recall)
    }
}

impl AddAssign for ChrfStats {
    fn add_assign(&mut self, other: Self) {
        for (own, other) in self
            .orders
            .iter_mut()
            .flatten()
            .zip(other.orders.into_iter().flatten())
        {
            *own += other;
        }
    }
}

/// Computes stats; made to be used again for the next texts.
#[derive(Debug, Default)]
pub(super) struct ChrfScorer {
    grams: Grams,
    characters: Characters,
    text: Vec<u32>,
    reference: Vec<u32>,
}

impl ChrfScorer {
    pub(super) fn stats(&mut self, text: &str, references: &[&str]) -> ChrfStats {
        let mut best: Option<(f64, ChrfStats)> = None;
        for reference in references {
            let stats = self.beside(text, reference);
            let score = stats.score();
            if best.is_none_or(|(best, _)| score > best) {
                best = Some((score, stats));
            }
        }
        best.map(|(_, stats)| stats).unwrap_or_default()
    }

    fn beside(&mut self, text: &str, reference: &str) -> ChrfStats {
        self.characters.clear();
        let Self {
            characters,
            text: of_text,
            reference: of_reference,
            ..
        } = self;
        of_reference.clear();
        of_reference.extend(visible(reference).map(|c| characters.number(c)));
        of_text.clear();
        of_text.extend(visible(text).map(|c| characters.find(c)));
        let matches = self
            .grams
            .matches::<ORDER>(of_text, &[of_reference], characters.seen as usize);
        ChrfStats {
            orders: std::array::from_fn(|at| {
                let reference = count(of_reference.len(), at + 1);
                let text = if reference > 0 {
                    count(of_text.len(), at + 1)
                } else {
                    0
                };
                [text, reference, matches[at]]
            }),
        }
    }
}

fn visible(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|c| !is_space(*c))
}

/// Numbers characters in the order of appearance, from 1.
#[derive(Debug)]
struct Characters {
    seen: u32,
    ascii: [u32; 128],
    others: HashMap<char, u32>,
}

impl Default for Characters {
    fn default() -> Self {
        Self {
            seen: 0,
            ascii: [0; 128],
            others: HashMap::new(),
        }
    }
}

impl Characters {
    fn clear(&mut self) {
        self.seen = 0;
        self.ascii = [0; 128];
        self.others.clear();
    }

    #[inline]
    fn number(&mut self, c: char) -> u32 {
        let number = match self.ascii.get_mut(c as usize) {
            Some(number) => number,
            None => self.others.entry(c).or_default(),
        };
        if *number == 0 {
            self.seen += 1;
            *number = self.seen;
        }
        *number
    }

    /// 0 for a character without a number.
    #[inline]
    fn find(&self, c: char) -> u32 {
        let other = || self.others.get(&c).copied().unwrap_or(0);
        self.ascii.get(c as usize).copied().unwrap_or_else(other)
    }
}
