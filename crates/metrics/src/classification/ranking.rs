//! ROC AUC and average precision, with their variances, in one pass over ordered scores and constant memory.

use lodeway_domain::{Error, Result};

use crate::{
    Estimate, Method, Sum,
    bounded::{END_ROWS, Smoothed},
};

/// One row of an order that somebody else keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoredRow {
    /// The predicted score, finite; for medians the value.
    pub score: f64,
    /// The row is of the positive class; false where there are no classes.
    pub is_positive: bool,
    /// Above 0: rows without weight change nothing and are left out.
    pub weight: f64,
}

/// Rows of one score: sums of weights and of their squares, per class.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Group {
    /// The score they share.
    pub score: f64,
    /// Weight of the positive rows.
    pub positives: f64,
    /// Squared weights of the positive rows.
    pub positives_squared: f64,
    /// Weight of the negative rows.
    pub negatives: f64,
    /// Squared weights of the negative rows.
    pub negatives_squared: f64,
}

/// Sums over rows in descending order of their score.
///
/// Feed it groups ([`Scores::groups`](crate::Scores::groups)) or single rows, in another's order.
#[derive(Debug, Clone, Default)]
pub struct Ranking {
    open: Option<Group>,
    positives: Sum,
    negatives: Sum,
    positives_squared: f64,
    negatives_squared: f64,
    /// Σ over positives of the negatives ranked above, ties half.
    inversions: Sum,
    precision: Sum,
    placed_positive: Placements,
    placed_negative: Placements,
    slopes: PrecisionSlopes,
}

/// Σ v·x and Σ v·x² of squared weights v and placements x.
#[derive(Debug, Clone, Copy, Default)]
struct Placements {
    first: Sum,
    second: Sum,
}

impl Placements {
    fn add(&mut self, placement: f64, squared_weight: f64) {
        self.first.add(placement * squared_weight);
        self.second.add(placement * placement * squared_weight);
    }

    /// Σ v·(x / scale − mean)².
    fn spread(&self, scale: f64, mean: f64, squared_weights: f64) -> f64 {
        let second = self.second.value() / (scale * scale);
        let first = self.first.value() / scale;
        (second - 2.0 * mean * first + mean * mean * squared_weights).max(0.0)
    }
}

/// What the linear part of average precision needs: how each positive row's precision changes with one more row above.
#[derive(Debug, Clone, Copy, Default)]
struct PrecisionSlopes {
    by_positive: f64,
    by_negative: f64,
    own: [f64; 2],
    above: [f64; 2],
}

impl Ranking {
    /// No rows yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one row. Errors: `INVALID_FIELD` if its score is above the one before.
    pub fn push(&mut self, row: ScoredRow) -> Result<()> {
        let squared = row.weight * row.weight;
        if self.open.is_none_or(|open| row.score < open.score) {
            self.close();
            self.open = Some(Group {
                score: row.score,
                ..Group::default()
            });
        }
        match &mut self.open {
            Some(open) if open.score == row.score => {
                if row.is_positive {
                    open.positives += row.weight;
                    open.positives_squared += squared;
                } else {
                    open.negatives += row.weight;
                    open.negatives_squared += squared;
                }
                Ok(())
            }
            _ => Err(Error::invalid("score", "is not in descending order")),
        }
    }

    /// Adds the rows of the next lower score.
    pub fn push_group(&mut self, group: &Group) {
        let (above_positives, above_negatives) = (self.positives.value(), self.negatives.value());
        self.positives.add(group.positives);
        self.negatives.add(group.negatives);
        self.positives_squared += group.positives_squared;
        self.negatives_squared += group.negatives_squared;

        // Most groups are single rows, which have one class.
        if group.negatives > 0.0 {
            let placement = above_positives + 0.5 * group.positives;
            self.placed_negative.add(placement, group.negatives_squared);
        }
        if group.positives > 0.0 {
            let placement = above_negatives + 0.5 * group.negatives;
            self.inversions.add_product(group.positives, placement);
            self.placed_positive.add(placement, group.positives_squared);
            let hits = self.positives.value();
            let taken = hits + self.negatives.value();
            let precision = hits / taken;
            self.precision.add_product(group.positives, precision);
            self.slopes.add(group, precision, taken);
        } else {
            self.slopes.add_negatives(group.negatives_squared);
        }
    }

    fn close(&mut self) {
        if let Some(group) = self.open.take() {
            self.push_group(&group);
        }
    }

    /// The metrics of all rows.
    pub fn finish(mut self) -> Ranked {
        self.close();
        let (positives, negatives) = (self.positives.value(), self.negatives.value());
        let wrong = (self.inversions / (self.positives * self.negatives)).value();
        let (roc_auc_variance, smoothed_area) = self.area_variance(wrong);
        let average_precision = if positives > 0.0 {
            (self.precision / self.positives).value().max(0.0)
        } else {
            0.0
        };
        Ranked {
            positives,
            negatives,
            roc_auc: if positives > 0.0 && negatives > 0.0 {
                1.0 - wrong
            } else {
                f64::NAN
            },
            average_precision,
            roc_auc_variance,
            smoothed_area,
            smoothed_precision: self.slopes.smoothed(
                average_precision,
                [positives, negatives],
                [self.positives_squared, self.negatives_squared],
            ),
            effective_positives: positives * positives / self.positives_squared,
        }
    }

    /// DeLong's variance, from the distance of each row's placement to their mean; and the area with its
    /// variance of a sample with rows more of each class that are right against all of the other one, and
    /// against none.
    fn area_variance(&self, wrong: f64) -> (f64, Smoothed) {
        let (positives, negatives) = (self.positives.value(), self.negatives.value());
        let side = |placements: &Placements, mean: f64, own: f64, other: f64, squared: f64| {
            let effective = own * own / squared;
            let spread = placements.spread(other, mean, squared) / squared;
            let smoothed = Smoothed::of_mean(mean, spread, effective, (0.0, 1.0));
            let more = if effective > 1.0 {
                effective / (effective - 1.0)
            } else {
                f64::NAN
            };
            (
                spread / effective * more,
                smoothed.value - mean,
                smoothed.variance * more,
            )
        };
        // Negatives above a positive row are wrong, positives above a negative row are right.
        let of_positives = side(
            &self.placed_positive,
            wrong,
            positives,
            negatives,
            self.positives_squared,
        );
        let of_negatives = side(
            &self.placed_negative,
            1.0 - wrong,
            negatives,
            positives,
            self.negatives_squared,
        );
        let (by_positives, moved_wrong, smoothed_positives) = of_positives;
        let (by_negatives, moved_right, smoothed_negatives) = of_negatives;
        let smoothed = Smoothed {
            value: 1.0 - wrong - moved_wrong + moved_right,
            variance: smoothed_positives + smoothed_negatives,
        };
        (by_positives + by_negatives, smoothed)
    }
}

impl PrecisionSlopes {
    /// Rows of one score see each other, so their own group counts with them.
    fn add(&mut self, group: &Group, precision: f64, taken: f64) {
        let from_own = precision - self.by_positive;
        self.own[0] += group.positives_squared * from_own;
        self.own[1] += group.positives_squared * from_own * from_own;
        self.add_negatives(group.negatives_squared);
        self.by_positive += group.positives * (1.0 - precision) / taken;
        self.by_negative += group.positives * precision / taken;
    }

    fn add_negatives(&mut self, squared: f64) {
        self.above[0] += squared * self.by_negative;
        self.above[1] += squared * self.by_negative * self.by_negative;
    }

    /// Average precision and the variance of its linear part, of a sample with rows more of each class above
    /// and below all others. `weights` and `squares` are the sums of weights and of their squares, positive
    /// rows first.
    fn smoothed(&self, value: f64, weights: [f64; 2], squares: [f64; 2]) -> Smoothed {
        let ([positives, negatives], [positives_squared, negatives_squared]) = (weights, squares);
        let rows = [
            positives * positives / positives_squared,
            negatives * negatives / negatives_squared,
        ];
        let [with_positives, with_negatives] = rows.map(|rows| rows / (rows + 2.0 * END_ROWS));

        // What a positive row adds: its own precision and what it does to that of the rows below.
        let shift = self.by_positive - value;
        let own = self.own[1] + 2.0 * shift * self.own[0] + shift * shift * positives_squared;
        let mean = self.own[0] / positives_squared + shift;
        let [first, last] = [1.0 + shift, positives / (positives + negatives) - value];
        let own = own.max(0.0) / positives_squared + END_ROWS * (first * first + last * last) / rows[0];
        let by_positives = END_ROWS * (first + last - 2.0 * mean) / rows[0];

        // What a negative row takes: from the precision of the rows below.
        let total = self.by_negative;
        let above = self.above[1] - 2.0 * total * self.above[0] + total * total * negatives_squared;
        let mean = total - self.above[0] / negatives_squared;
        let above = above.max(0.0) / negatives_squared + END_ROWS * total * total / rows[1];
        let by_negatives = END_ROWS * (total - 2.0 * mean) / rows[1];

        let odds = negatives / positives;
        Smoothed {
            value: value + with_positives * by_positives - odds * with_negatives * by_negatives,
            variance: with_positives * own / rows[0] + with_negatives * above * odds * odds / rows[1],
        }
    }
}

/// The metrics of an order of scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// Weight of the positive rows.
    pub positives: f64,
    /// Weight of the negative rows.
    pub negatives: f64,
    /// Area under the ROC curve in [0, 1]: the chance that a positive row has a higher score than a negative one, ties
    /// half. NaN if one class has no rows or no weight; scikit-learn warns there and returns NaN too.
    ///
    /// Source: `sklearn.metrics.roc_auc_score`.
    pub roc_auc: f64,
    /// Average precision in [0, 1]: the sum of precisions at each threshold, weighted by the step in recall, without
    /// interpolation. 0 if there are no positive rows, as scikit-learn (which warns). Source:
    /// `sklearn.metrics.average_precision_score`.
    pub average_precision: f64,
    /// The variance of `roc_auc`; NaN with fewer than two rows of a class. Source: DeLong et al. 1988, "Comparing the Areas
    /// under Two or More Correlated Receiver Operating Characteristic Curves", <https://doi.org/10.2307/2531595>; rows
    /// with weights by their squares.
    pub roc_auc_variance: f64,
    /// (Σw)² / Σw² of the positive rows.
    pub effective_positives: f64,
    smoothed_area: Smoothed,
    smoothed_precision: Smoothed,
}

impl Ranked {
    /// ROC AUC with Wilson's interval for as many rows as DeLong's variance is worth, about the rows of the
    /// rarer class where all are in order; none with fewer than two rows of a class.
    ///
    /// DeLong's own interval has no width there, and holds the truth in less than half of small samples of a
    /// good model; see Newcombe 2006, "Confidence intervals for an effect size measure based on the
    /// Mann-Whitney statistic. Part 2: asymptotic methods and evaluation",
    /// <https://doi.org/10.1002/sim.2324>.
    pub fn roc_auc_estimate(&self, z: f64) -> Estimate {
        self.smoothed_area
            .estimate(self.roc_auc, z, (0.0, 1.0), Method::WilsonDeLong)
    }

    /// Average precision with Wilson's interval for as many rows as the variance of its linear part is worth;
    /// none where a class has no rows.
    pub fn average_precision_estimate(&self, z: f64) -> Estimate {
        self.smoothed_precision
            .estimate(self.average_precision, z, (0.0, 1.0), Method::WilsonDelta)
    }
}
