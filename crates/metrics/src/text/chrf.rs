//! chrF, as sacrebleu computes it.

use std::ops::AddAssign;

use super::{grams::Grams, is_space};

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
        let text = grams(text);
        let mut best: Option<(f64, Self)> = None;
        for reference in references {
            let reference = grams(reference);
            let stats = Self {
                orders: std::array::from_fn(|at| {
                    let n = at as u32 + 1;
                    let of_reference = reference.count(n);
                    let of_text = if of_reference > 0 { text.count(n) } else { 0 };
                    [of_text, of_reference, text.matches(&reference, n)]
                }),
            };
            let score = stats.score();
            if best.is_none_or(|(best, _)| score > best) {
                best = Some((score, stats));
            }
        }
        best.map(|(_, stats)| stats).unwrap_or_default()
    }

    /// The score in [0, 100]: F over mean precision and mean recall of the orders that both texts are long enough for.
    pub fn score(&self) -> f64 {
        let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
        for [text, reference, both] in self.orders {
            if text > 0 && reference > 0 {
                precision += both as f64 / text as f64;
                recall += both as f64 / reference as f64;
                orders += 1.0;
            }
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / orders, recall / orders);
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

/// Characters are numbers below 2²¹; one more, because 0 is none.
fn grams(text: &str) -> Grams {
    let symbols: Vec<u32> = text
        .chars()
        .filter(|c| !is_space(*c))
        .map(|c| u32::from(c) + 1)
        .collect();
    Grams::new(&symbols, 21, ORDER as u32)
}
