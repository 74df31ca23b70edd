//! What an objective does to the sums of the trees.
//!
//! Source: `src/objective` of XGBoost 3.2 to 3.4; all arithmetic in 32 bits unless the comment says otherwise.

use std::cmp::Ordering;

/// Base scores of a logistic model are kept this far from 0 and 1. Source: `kRtEps` in XGBoost's `base.h`.
const EPSILON: f32 = 1e-6;

/// The transformation, which several objectives share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Objective {
    /// None: squared and absolute errors, ranking, raw logits.
    Identity,
    /// The quantiles of a row in rising order, which XGBoost promises from 3.4 on.
    Sorted,
    /// Log-odds to a probability.
    Logistic,
    /// A logarithm to its number.
    Exponential,
    /// 1 above 0, else 0.
    Hinge,
    /// The class with the highest sum, as a number.
    Class,
    /// A probability for each class.
    Softmax,
}

impl Objective {
    /// The transformation of an objective by name; `version` is the XGBoost that saved the model, as major and minor.
    pub(super) fn of(name: &str, version: (i64, i64)) -> Option<Self> {
        Some(match name {
            "reg:squarederror"
            | "reg:linear"
            | "reg:squaredlogerror"
            | "reg:pseudohubererror"
            | "reg:absoluteerror"
            | "binary:logitraw"
            | "rank:ndcg"
            | "rank:map"
            | "rank:pairwise" => Self::Identity,
            "reg:quantileerror" if version >= (3, 4) => Self::Sorted,
            "reg:quantileerror" => Self::Identity,
            "reg:logistic" | "binary:logistic" => Self::Logistic,
            "count:poisson" | "reg:gamma" | "reg:tweedie" => Self::Exponential,
            "binary:hinge" => Self::Hinge,
            "multi:softmax" => Self::Class,
            "multi:softprob" => Self::Softmax,
            _ => return None,
        })
    }

    /// How many predictions a row of `groups` sums gets.
    pub(super) fn outputs(self, groups: usize) -> usize {
        if self == Self::Class { 1 } else { groups }
    }

    /// A base score as it stands in the file, in the unit of the sums; `None` if it has no place there.
    pub(super) fn margin_of(self, base_score: f32) -> Option<f32> {
        match self {
            Self::Logistic if (0.0..=1.0).contains(&base_score) => {
                let bounded = base_score.clamp(EPSILON, 1.0 - EPSILON);
                Some(-(1.0 / bounded - 1.0).ln())
            }
            Self::Exponential if base_score >= 0.0 => Some(base_score.ln()),
            Self::Logistic | Self::Exponential => None,
            _ => Some(base_score),
        }
    }

    /// Transforms sums, `[rows, groups]`, into predictions.
    pub(super) fn transform(self, mut sums: Vec<f32>, groups: usize) -> Vec<f32> {
        let groups = groups.max(1);
        match self {
            Self::Identity => {}
            Self::Sorted => sums
                .chunks_exact_mut(groups)
                .for_each(|row| row.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal))),
            Self::Logistic => sums.iter_mut().for_each(|sum| *sum = logistic(*sum)),
            Self::Exponential => sums.iter_mut().for_each(|sum| *sum = sum.exp()),
            Self::Hinge => sums
                .iter_mut()
                .for_each(|sum| *sum = if *sum > 0.0 { 1.0 } else { 0.0 }),
            Self::Softmax => sums.chunks_exact_mut(groups).for_each(softmax),
            Self::Class => return sums.chunks_exact(groups).map(highest).collect(),
        }
        sums
    }
}

fn logistic(x: f32) -> f32 {
    // Above 88.7 the exponential would be infinite in 32 bits; `min` takes the bound for NaN too, as XGBoost's does.
    1.0 / ((-x).min(88.7).exp() + 1.0)
}

/// The weights are summed in 64 bits, as XGBoost does.
fn softmax(row: &mut [f32]) {
    let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0_f64;
    for value in row.iter_mut() {
        *value = (*value - highest).exp();
        total += f64::from(*value);
    }
    row.iter_mut().for_each(|value| *value /= total as f32);
}

/// The first of the highest.
fn highest(row: &[f32]) -> f32 {
    let (mut best, mut best_value) = (0, row.first().copied().unwrap_or(f32::NAN));
    for (index, value) in row.iter().enumerate() {
        if *value > best_value {
            (best, best_value) = (index, *value);
        }
    }
    best as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_scores_go_through_the_link() {
        let logistic = Objective::of("binary:logistic", (3, 2)).unwrap();
        assert_eq!(logistic.margin_of(0.5), Some(0.0));
        assert_eq!(logistic.margin_of(0.0), logistic.margin_of(EPSILON));
        assert_eq!(logistic.margin_of(1.5), None);
        let poisson = Objective::of("count:poisson", (3, 2)).unwrap();
        assert_eq!(poisson.margin_of(1.0), Some(0.0));
        assert_eq!(poisson.margin_of(-1.0), None);
        assert_eq!(Objective::Hinge.margin_of(-3.0), Some(-3.0));
    }

    #[test]
    fn classes_are_the_first_of_the_highest() {
        assert_eq!(
            Objective::Class.transform(vec![1.0, 3.0, 3.0, 2.0, 1.0, 0.0], 3),
            [1.0, 0.0]
        );
        let probabilities = Objective::Softmax.transform(vec![0.0, 0.0, 100.0, 0.0], 2);
        assert_eq!(probabilities, [0.5, 0.5, 1.0, (-100.0_f32).exp()]);
    }

    #[test]
    fn quantiles_are_sorted_only_by_the_versions_that_do() {
        let sums = vec![2.0, 1.0, 3.0];
        let old = Objective::of("reg:quantileerror", (3, 2)).unwrap();
        let new = Objective::of("reg:quantileerror", (3, 4)).unwrap();
        assert_eq!(old.transform(sums.clone(), 3), sums);
        assert_eq!(new.transform(sums, 3), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn extreme_logits_stay_finite() {
        assert_eq!(logistic(0.0), 0.5);
        assert_eq!(logistic(1000.0), 1.0);
        assert!(logistic(-1000.0) > 0.0);
    }
}
