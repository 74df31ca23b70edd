//! ROC AUC and average precision of resamples, by plain sums over rows sorted once.

use crate::ClassScores;

/// Rows in descending order of their score: whether each is positive, and whether the next has another score.
pub(super) struct BinaryWalk(Vec<(bool, bool)>);

impl BinaryWalk {
    pub(super) fn new(rows: Vec<(bool, bool)>) -> Self {
        Self(rows)
    }

    /// ROC AUC and average precision, NaN without positive rows.
    pub(super) fn areas(&self, weights: &[f64]) -> [f64; 2] {
        let (mut positives, mut negatives) = (0.0, 0.0);
        let mut group = [0.0, 0.0];
        let (mut inversions, mut precision) = (0.0, 0.0);
        for (&(is_positive, ends), &weight) in self.0.iter().zip(weights) {
            group[usize::from(is_positive)] += weight;
            if ends {
                inversions += group[1] * (negatives + 0.5 * group[0]);
                positives += group[1];
                negatives += group[0];
                if group[1] > 0.0 {
                    precision += group[1] * positives / (positives + negatives);
                }
                group = [0.0, 0.0];
            }
        }
        [1.0 - inversions / (positives * negatives), precision / positives]
    }
}

/// For each class the rows in descending order of its probability.
pub(super) struct ClassWalks {
    /// A row, and whether the next has another score.
    orders: Vec<Vec<(u32, bool)>>,
    truth: Vec<u32>,
    has_weights: bool,
}

impl ClassWalks {
    pub(super) fn new(scores: &ClassScores, classes: usize, has_weights: bool) -> Self {
        Self {
            orders: (0..classes)
                .map(|class| with_ends(&scores.order(class)))
                .collect(),
            truth: scores.truth().to_vec(),
            has_weights,
        }
    }

    /// One against the rest twice (by both its names), weighted, one against one, weighted.
    pub(super) fn areas(&self, weights: &[f64]) -> [f64; 5] {
        let classes = self.orders.len();
        let mut sizes = vec![0.0; classes];
        for (&class, &weight) in self.truth.iter().zip(weights) {
            sizes[class as usize] += weight;
        }
        let total: f64 = sizes.iter().sum();
        let present = sizes.iter().filter(|&&size| size > 0.0).count() as f64;
        let (mut ovr, mut ovr_weighted, mut ovo, mut ovo_weighted) = (0.0, 0.0, 0.0, 0.0);
        for class in 0..classes {
            let inversions = self.inversions(class, weights);
            let own = sizes[class];
            let others = (0..classes).filter(|&other| other != class);
            let wrong: f64 = others.clone().map(|other| inversions[other]).sum();
            let area = 1.0 - wrong / (own * (total - own));
            ovr += area / classes as f64;
            if own > 0.0 {
                ovr_weighted += area * own / total;
            }
            for other in others.filter(|&other| own > 0.0 && sizes[other] > 0.0) {
                let area = 1.0 - inversions[other] / (own * sizes[other]);
                ovo += area / (present * (present - 1.0));
                ovo_weighted += area * 0.5 * (own + sizes[other]) / ((present - 1.0) * total);
            }
        }
        if self.has_weights {
            (ovo, ovo_weighted) = (f64::NAN, f64::NAN);
        }
        [ovr, ovr, ovr_weighted, ovo, ovo_weighted]
    }

    /// For each other class, the weight of pairs with a row of `class` in the wrong order, ties half.
    fn inversions(&self, class: usize, weights: &[f64]) -> Vec<f64> {
        let classes = self.orders.len();
        let (mut above, mut tied) = (vec![0.0; classes], vec![0.0; classes]);
        let mut inversions = vec![0.0; classes];
        let mut in_group = Vec::new();
        for &(row, ends) in self.orders.get(class).into_iter().flatten() {
            let truth = self.truth[row as usize] as usize;
            tied[truth] += weights[row as usize];
            in_group.push(truth);
            if !ends {
                continue;
            }
            let own = tied[class];
            if own > 0.0 {
                for ((sum, above), tied) in inversions.iter_mut().zip(&above).zip(&tied) {
                    *sum += own * (above + 0.5 * tied);
                }
            }
            for truth in in_group.drain(..) {
                above[truth] += tied[truth];
                tied[truth] = 0.0;
            }
        }
        inversions
    }
}

fn with_ends(order: &[(f64, u32)]) -> Vec<(u32, bool)> {
    let ends = |at: usize, score: f64| order.get(at + 1).is_none_or(|next| next.0 != score);
    let rows = order.iter().enumerate();
    rows.map(|(at, &(score, row))| (row, ends(at, score))).collect()
}
