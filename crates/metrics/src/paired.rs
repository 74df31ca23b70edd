//! Tests of two models on the same rows.

use lodeway_domain::Result;

use crate::{
    Estimate, Method, check,
    normal::{binomial_half_cdf, chi_squared_1_tail, normal_cdf},
};

/// McNemar's test: do two classifiers err equally often? Only the rows count that one gets right and the other wrong.
///
/// Source: McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages",
/// <https://doi.org/10.1007/BF02295996>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct McNemar {
    /// Rows that only the first got right.
    pub only_first: u64,
    /// Rows that only the second got right.
    pub only_second: u64,
    /// All rows.
    pub rows: u64,
}

impl McNemar {
    /// Counts rows; the iterator says for each whether the first and the second got it right.
    pub fn of(rows: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut test = Self {
            only_first: 0,
            only_second: 0,
            rows: 0,
        };
        for (first, second) in rows {
            test.rows += 1;
            test.only_first += u64::from(first && !second);
            test.only_second += u64::from(second && !first);
        }
        test
    }

    /// The two-sided p-value from the binomial distribution, right for any number of rows; 1 if both never differ.
    pub fn exact_p_value(&self) -> f64 {
        let fewer = self.only_first.min(self.only_second);
        (2.0 * binomial_half_cdf(fewer, self.only_first + self.only_second)).min(1.0)
    }

    /// χ² with the continuity correction of Edwards, and its p-value; 0 and 1 if both never differ.
    pub fn chi_squared(&self) -> (f64, f64) {
        let all = (self.only_first + self.only_second) as f64;
        if all == 0.0 {
            return (0.0, 1.0);
        }
        let distance = self.only_first.abs_diff(self.only_second) as f64;
        let statistic = (distance - 1.0).max(0.0).powi(2) / all;
        (statistic, chi_squared_1_tail(statistic))
    }

    /// Accuracy of the first minus that of the second, `z` standard errors to each side of one with two rows
    /// more, of which each model alone gets one right: it has a width where both never differ, too. NaN
    /// without rows.
    ///
    /// Source: Bonett and Price 2012, "Adjusted Wald Confidence Interval for a Difference of Binomial
    /// Proportions Based on Paired Data", <https://doi.org/10.3102/1076998611411915>.
    pub fn difference(&self, z: f64) -> Estimate {
        let (first, second) = (self.only_first as f64, self.only_second as f64);
        let value = (first - second) / self.rows as f64;
        let rows = self.rows as f64 + 2.0;
        let (first, second) = ((first + 1.0) / rows, (second + 1.0) / rows);
        let centre = first - second;
        let error = ((first + second - centre * centre) / rows).sqrt();
        let adjusted = Estimate::around(centre, error, z, (-1.0, 1.0), Method::BonettPrice);
        let (low, high) = (adjusted.low.min(value), adjusted.high.max(value));
        Estimate::between(value, low, high, Method::BonettPrice)
    }
}

/// Two ROC AUCs on the same rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paired {
    /// Of the first scores.
    pub first: f64,
    /// Of the second scores.
    pub second: f64,
    /// First minus second.
    pub difference: Estimate,
    /// Two-sided; 1 if both order the rows alike, NaN where the difference is not defined or has no interval.
    pub p_value: f64,
}

/// DeLong's test of two scores on the same rows: the areas under their ROC curves, the difference with an interval of `z`
/// standard errors to each side.
///
/// All NaN with fewer than two rows of a class. Where the difference is the same for every row (one score
/// orders all rows right and the other all wrong, say), neither interval nor p-value can be had from its
/// variance of 0. Errors: `INVALID_FIELD` for columns of different length, scores that are NaN or infinite.
/// Source: DeLong et al. 1988, <https://doi.org/10.2307/2531595>, by mid-ranks (Sun and Xu 2014,
/// <https://doi.org/10.1109/LSP.2014.2337313>).
pub fn delong_paired(first: &[f64], second: &[f64], is_positive: &[bool], z: f64) -> Result<Paired> {
    for (name, scores) in [("first", first), ("second", second)] {
        check::same_length(name, scores.len(), is_positive.len())?;
        check::finite(name, scores)?;
    }
    let (first, second) = (placements(first, is_positive), placements(second, is_positive));
    let mut variance = 0.0;
    let mut areas = [f64::NAN; 2];
    for class in [true, false] {
        let rows = is_positive.iter().zip(first.iter().zip(&second));
        let rows: Vec<(f64, f64)> = rows
            .filter(|(own, _)| **own == class)
            .map(|(_, (&a, &b))| (a, b))
            .collect();
        let count = rows.len() as f64;
        let mean = |side: fn(&(f64, f64)) -> f64| rows.iter().map(side).sum::<f64>() / count;
        let centre = mean(|row| row.0 - row.1);
        let squares: f64 = rows.iter().map(|(a, b)| (a - b - centre).powi(2)).sum();
        variance += squares / (count - 1.0) / count;
        areas = [mean(|row| row.0), mean(|row| row.1)];
    }
    let [first, second] = areas;
    let value = first - second;
    // Placements are shares of rows; a square of their differences below this is rounding.
    let error = if variance <= 1e-28 { 0.0 } else { variance.sqrt() };
    let p_value = if error > 0.0 {
        2.0 * normal_cdf(-(value / error).abs())
    } else if error == 0.0 && value.abs() <= 1e-14 {
        1.0
    } else {
        f64::NAN
    };
    Ok(Paired {
        first,
        second,
        difference: Estimate::around(value, error, z, (-1.0, 1.0), Method::DeLong),
        p_value,
    })
}

/// For each row the share of rows of the other class that it is ranked right against, ties half.
fn placements(scores: &[f64], is_positive: &[bool]) -> Vec<f64> {
    let positives = is_positive.iter().filter(|own| **own).count() as f64;
    let negatives = is_positive.len() as f64 - positives;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let mut placements = vec![0.0; scores.len()];
    let (mut positives_below, mut negatives_below) = (0.0, 0.0);
    for group in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let positives_here = group.iter().filter(|&&row| is_positive[row]).count() as f64;
        let negatives_here = group.len() as f64 - positives_here;
        for &row in group {
            placements[row] = if is_positive[row] {
                (negatives_below + 0.5 * negatives_here) / negatives
            } else {
                1.0 - (positives_below + 0.5 * positives_here) / positives
            };
        }
        positives_below += positives_here;
        negatives_below += negatives_here;
    }
    placements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scores;

    #[test]
    fn mcnemar_matches_the_textbook() {
        // Agresti, "Categorical Data Analysis", table 10.1: 150 and 86 of 1600.
        let test = McNemar {
            only_first: 150,
            only_second: 86,
            rows: 1600,
        };
        let (statistic, p_value) = test.chi_squared();
        assert!((statistic - 63.0 * 63.0 / 236.0).abs() < 1e-12);
        assert!((p_value - 4.115e-5).abs() < 1e-7 && (test.exact_p_value() - 3.716e-5).abs() < 1e-7);
        let difference = test.difference(1.959_964);
        assert!((difference.low - 0.0213).abs() < 2e-4 && (difference.high - 0.0587).abs() < 2e-4);
        assert_eq!(McNemar::of([(true, true), (false, false)]).exact_p_value(), 1.0);
        // `statpsych::ci.prop.ps(.05, 12, 4, 26, 6)` in R.
        let few = McNemar {
            only_first: 26,
            only_second: 4,
            rows: 48,
        };
        let difference = few.difference(1.959_963_985);
        assert!((difference.low - 0.254_806_7).abs() < 1e-7 && (difference.high - 0.625_193_3).abs() < 1e-7);
        assert_eq!(
            McNemar::of([(true, false), (false, true)]).chi_squared(),
            (0.0, 1.0)
        );
    }

    #[test]
    fn paired_areas_are_those_of_each_alone() {
        let is_positive: Vec<bool> = (0..60).map(|i| i % 3 == 0).collect();
        let first: Vec<f64> = (0..60)
            .map(|i| f64::from(i * 7 % 11) + f64::from(u8::from(i % 3 == 0)) * 4.0)
            .collect();
        let second: Vec<f64> = (0..60).map(|i| f64::from(i * 5 % 13)).collect();
        let paired = delong_paired(&first, &second, &is_positive, 2.0).unwrap();
        for (scores, area) in [(&first, paired.first), (&second, paired.second)] {
            let alone = Scores::of(scores, &is_positive, None).unwrap().ranking().finish();
            assert!((alone.roc_auc - area).abs() < 1e-12);
        }
        // Against a constant score, whose area does not vary, the variance is that of one area.
        let constant = delong_paired(&first, &[1.0; 60], &is_positive, 1.0).unwrap();
        let alone = Scores::of(&first, &is_positive, None).unwrap().ranking().finish();
        let error = constant.difference.high - constant.difference.value;
        assert!((error - alone.roc_auc_variance.sqrt()).abs() < 1e-12);
        assert_eq!(
            delong_paired(&first, &first, &is_positive, 1.0).unwrap().p_value,
            1.0
        );
        assert!(
            delong_paired(&[1.0], &[2.0], &[true], 1.0)
                .unwrap()
                .p_value
                .is_nan()
        );
    }

    #[test]
    fn models_that_never_differ_prove_nothing() {
        let mut before = 2.0;
        for rows in [1, 2, 10, 100, 10_000] {
            let same = McNemar::of((0..rows).map(|row| (row % 2 == 0, row % 2 == 0)));
            let difference = same.difference(1.96);
            assert_eq!((difference.value, same.exact_p_value()), (0.0, 1.0));
            assert!(0.0 < difference.high && difference.high < before && difference.low == -difference.high);
            before = difference.high;
        }
        assert!(!McNemar::of([]).difference(1.96).is_defined());

        let truth = [true, false, true, false, true];
        let right = truth.map(f64::from);
        let wrong = right.map(|score| -score);
        let both_right = delong_paired(&right, &right, &truth, 1.96).unwrap();
        assert_eq!((both_right.difference.value, both_right.p_value), (0.0, 1.0));
        assert_eq!(both_right.difference.method, Method::NoInterval);
        let opposite = delong_paired(&right, &wrong, &truth, 1.96).unwrap();
        assert_eq!(
            (opposite.difference.value, opposite.difference.method),
            (1.0, Method::NoInterval)
        );
        assert!(opposite.p_value.is_nan());
    }
}
