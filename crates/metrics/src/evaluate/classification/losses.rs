//! Means over rows with probabilities, row by row, for resamples.

use super::super::Options;
use crate::classification::{Gaps, RowScore, bin_of, row_log_loss};

pub(super) struct Losses {
    rows: Vec<Loss>,
    gaps: Gaps,
    bins: usize,
    has_top_k: bool,
}

struct Loss {
    log_loss: f64,
    brier: f64,
    /// Hit − confidence, and its bin.
    gap: f64,
    bin: u32,
    /// 1 if the true class is among the k most probable.
    top_k: f32,
}

impl Losses {
    /// `places` and `values` by row, laid out in `order`; `weights` stand in that order.
    pub(super) fn new(
        places: &[u32],
        values: &[f64],
        order: &[u32],
        weights: &[f64],
        classes: usize,
        options: &Options,
    ) -> Self {
        let width = values.len() / places.len().max(1);
        let loss = |&row: &u32| {
            let class = places[row as usize] as usize;
            let from = row as usize * width;
            let pair;
            let values = match &values[from..from + width] {
                [positive] => {
                    pair = [1.0 - positive, *positive];
                    &pair
                }
                all => all,
            };
            let score = RowScore::of(class, values);
            Loss {
                log_loss: row_log_loss(values[class]),
                brier: if classes == 2 {
                    0.5 * score.brier
                } else {
                    score.brier
                },
                gap: f64::from(u8::from(score.is_hit)) - score.confidence,
                bin: bin_of(score.confidence, options.bins) as u32,
                top_k: f32::from(u8::from(score.place < options.top_k)),
            }
        };
        let rows: Vec<Loss> = order.iter().map(loss).collect();
        Self {
            gaps: gaps(&rows, weights, options.bins),
            rows,
            bins: options.bins,
            has_top_k: classes > 2,
        }
    }

    pub(super) fn has_top_k(&self) -> bool {
        self.has_top_k
    }

    /// Log loss, Brier score, calibration error (reflected, see [`Gaps`]), and top-k accuracy where there is one.
    pub(super) fn resample(&self, weights: &[f64], total: f64, put: &mut impl FnMut(f64)) {
        let (mut log_loss, mut brier, mut hits) = (0.0, 0.0, 0.0);
        let mut bins = vec![0.0_f64; self.bins];
        for (row, &weight) in self.rows.iter().zip(weights) {
            log_loss += weight * row.log_loss;
            brier += weight * row.brier;
            hits += weight * f64::from(row.top_k);
            bins[row.bin as usize] += weight * row.gap;
        }
        put(log_loss / total);
        put(brier / total);
        put(self.gaps.reflected(bins.iter().map(|bin| bin / total)));
        if self.has_top_k {
            put(hits / total);
        }
    }
}

/// The mean gaps of the rows.
fn gaps(rows: &[Loss], weights: &[f64], bins: usize) -> Gaps {
    let mut sums = vec![0.0; bins];
    let mut total = 0.0;
    for (row, &weight) in rows.iter().zip(weights) {
        sums[row.bin as usize] += weight * row.gap;
        total += weight;
    }
    Gaps::new(sums.iter().map(|sum| sum / total).collect())
}
