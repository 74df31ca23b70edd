//! Intervals from resamples, the same for a seed on every machine.

use lodeway_domain::{Error, Result};

use crate::{Estimate, Method, Random};

/// How often a row occurs in a resample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resampling {
    /// As many draws with replacement as there are rows: Efron's bootstrap.
    Multinomial,
    /// Each row by itself, with mean 1: needs no total, and is the same in the limit. Below 100 rows draws are multinomial
    /// all the same, for there the number of rows would vary too much.
    ///
    /// Source: Chamandy et al. 2012, "Estimating Uncertainty for Massive Data Streams".
    #[default]
    Poisson,
}

/// A plan of resamples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// Same seed, same rows in the same order: same interval.
    pub seed: u64,
    /// How many resamples, 1 to [`Bootstrap::MAX_REPLICATES`].
    pub replicates: u32,
    /// How rows are drawn.
    pub resampling: Resampling,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self {
            seed: 0,
            replicates: 1000,
            resampling: Resampling::default(),
        }
    }
}

impl Bootstrap {
    /// The most resamples of one plan.
    pub const MAX_REPLICATES: u32 = 100_000;

    /// Of fewer rows (an effective number) percentiles of resamples are no interval: they cannot leave the
    /// range of the rows, and are narrower than Student's t has it.
    ///
    /// Source: Hesterberg 2015, "What Teachers Should Know About the Bootstrap", section 4,
    /// <https://doi.org/10.1080/00031305.2015.1089789>.
    pub const FEWEST_ROWS: usize = 20;

    /// Fills `counts` with how often each row occurs in resample number `replicate`.
    pub fn draw(&self, replicate: u32, counts: &mut [u32]) {
        let mut random = self.stream(replicate);
        if self.is_poisson(counts.len()) {
            random.fill_poisson(counts);
            return;
        }
        counts.fill(0);
        let rows = counts.len() as u64;
        for _ in 0..rows {
            if let Some(count) = counts.get_mut(random.below(rows) as usize) {
                *count += 1;
            }
        }
    }

    fn stream(&self, replicate: u32) -> Random {
        Random::new(self.seed, u64::from(replicate))
    }

    fn is_poisson(&self, rows: usize) -> bool {
        self.resampling == Resampling::Poisson && rows >= 100
    }

    /// Computes `metrics` numbers on every resample: `compute` gets the counts of the rows and fills in the numbers, NaN
    /// where one is not defined.
    ///
    /// Errors: `INVALID_FIELD` for no or too many replicates.
    pub fn run(
        &self,
        rows: usize,
        metrics: usize,
        mut compute: impl FnMut(&[u32], &mut [f64]),
    ) -> Result<Replicates> {
        self.check()?;
        let mut counts = vec![0; rows];
        let mut values = vec![f64::NAN; metrics];
        let mut columns = vec![Vec::with_capacity(self.replicates as usize); metrics];
        for replicate in 0..self.replicates {
            self.draw(replicate, &mut counts);
            values.fill(f64::NAN);
            compute(&counts, &mut values);
            keep(&mut columns, &values);
        }
        Ok(self.sorted(columns))
    }

    /// Computes `metrics` numbers on every resample out of sums over its rows: `compute` gets how many rows it has, the sum
    /// of each column, and the slots to fill in. The resamples are those of [`Bootstrap::run`].
    ///
    /// Takes many rows for all resamples before the next ones, so that they are read from memory once.
    pub(crate) fn run_sums(
        &self,
        data: &[Vec<f64>],
        metrics: usize,
        mut compute: impl FnMut(f64, &[f64], &mut [f64]),
    ) -> Result<Replicates> {
        const BLOCK: usize = 128;
        self.check()?;
        let rows = data.first().map_or(0, Vec::len);
        let data: Vec<Terms<'_>> = data.iter().map(|column| Terms::of(column)).collect();
        let mut sums = vec![0.0; (data.len() + 1) * self.replicates as usize];
        let add = |sums: &mut [f64], counts: &[u32], from: usize| {
            let [sum, sums @ ..] = sums else { return };
            let (mut weights, mut whole) = ([0.0; BLOCK], [0; BLOCK]);
            for ((weight, whole), count) in weights.iter_mut().zip(&mut whole).zip(counts) {
                // A row is in no resample 32,767 times.
                (*weight, *whole) = (f64::from(*count), *count as i16);
            }
            let weights = &weights[..counts.len().min(BLOCK)];
            let whole = &whole[..weights.len()];
            *sum += weights.iter().sum::<f64>();
            for (sum, terms) in sums.iter_mut().zip(&data) {
                *sum += match terms {
                    Terms::Whole(terms) => dot_whole(whole, &terms[from..from + whole.len()]),
                    Terms::Floats(terms) => dot(weights, &terms[from..from + weights.len()]),
                };
            }
        };
        if self.is_poisson(rows) {
            let mut streams: Vec<Random> = (0..self.replicates)
                .map(|replicate| self.stream(replicate))
                .collect();
            let mut counts = [0; BLOCK];
            for from in (0..rows).step_by(BLOCK) {
                let counts = &mut counts[..BLOCK.min(rows - from)];
                for (random, sums) in streams.iter_mut().zip(sums.chunks_exact_mut(data.len() + 1)) {
                    random.fill_poisson(counts);
                    add(sums, counts, from);
                }
            }
        } else {
            let mut counts = vec![0; rows];
            for (replicate, sums) in (0..).zip(sums.chunks_exact_mut(data.len() + 1)) {
                self.draw(replicate, &mut counts);
                for (at, counts) in counts.chunks(BLOCK).enumerate() {
                    add(sums, counts, at * BLOCK);
                }
            }
        }
        let mut values = vec![f64::NAN; metrics];
        let mut columns = vec![Vec::with_capacity(self.replicates as usize); metrics];
        for sums in sums.chunks_exact(data.len() + 1) {
            values.fill(f64::NAN);
            if let [rows, sums @ ..] = sums {
                compute(*rows, sums, &mut values);
            }
            keep(&mut columns, &values);
        }
        Ok(self.sorted(columns))
    }

    fn check(&self) -> Result<()> {
        if self.replicates == 0 || self.replicates > Self::MAX_REPLICATES {
            return Err(Error::invalid(
                "replicates",
                format!("is not between 1 and {}", Self::MAX_REPLICATES),
            ));
        }
        Ok(())
    }

    fn sorted(&self, mut columns: Vec<Vec<f64>>) -> Replicates {
        columns
            .iter_mut()
            .for_each(|column| column.sort_unstable_by(f64::total_cmp));
        Replicates {
            replicates: self.replicates as usize,
            columns,
        }
    }
}

/// Adds what is defined.
fn keep(columns: &mut [Vec<f64>], values: &[f64]) {
    for (column, &value) in columns.iter_mut().zip(values) {
        if !value.is_nan() {
            column.push(value);
        }
    }
}

/// A column of terms.
enum Terms<'a> {
    /// Whole numbers of 15 bits, as counts in texts are: eight are multiplied and added at once.
    Whole(Vec<i16>),
    Floats(&'a [f64]),
}

impl<'a> Terms<'a> {
    fn of(column: &'a [f64]) -> Self {
        let whole = |term: &f64| Some(*term as i16).filter(|whole| *whole >= 0 && f64::from(*whole) == *term);
        let whole: Option<Vec<i16>> = column.iter().map(whole).collect();
        whole.map_or(Self::Floats(column), Self::Whole)
    }
}

/// Σ a·b of at most some hundred numbers, of which those of `a` are small.
fn dot_whole(a: &[i16], b: &[i16]) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b));
    f64::from(products.sum::<i32>())
}

/// Σ a·b, in eight sums side by side.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let ((a, a_last), (b, b_last)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let last: f64 = a_last.iter().zip(b_last).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + last
}

/// The sorted values of each metric on all resamples.
#[derive(Debug, Clone)]
pub struct Replicates {
    replicates: usize,
    columns: Vec<Vec<f64>>,
}

impl Replicates {
    /// `value` with the percentile interval of a metric. None if the metric was not defined on half of the resamples, or
    /// was the same on all (as a share of 0 or 1 is), which says nothing about its uncertainty. An interval that leaves
    /// out the value, as that of a statistic that is biased on resamples may, is extended to it.
    ///
    /// Source: Efron and Tibshirani, "An Introduction to the Bootstrap", chapter 13.
    pub fn estimate(&self, metric: usize, value: f64, confidence: f64) -> Option<Estimate> {
        let values = self.columns.get(metric)?;
        let (least, most) = (*values.first()?, *values.last()?);
        // Sums in another order round differently.
        let is_constant = most - least <= 1e-12 * most.abs().max(least.abs());
        if value.is_nan() || values.len() * 2 <= self.replicates || is_constant {
            return None;
        }
        let tail = 0.5 * (1.0 - confidence);
        let (low, high) = (quantile(values, tail)?, quantile(values, 1.0 - tail)?);
        Some(Estimate::between(
            value,
            low.min(value),
            high.max(value),
            Method::Bootstrap,
        ))
    }

    /// The sorted values of a metric where it was defined.
    pub fn values(&self, metric: usize) -> &[f64] {
        self.columns.get(metric).map_or(&[], Vec::as_slice)
    }
}

/// Between order statistics, as `numpy.quantile`.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let low = *sorted.get(place.floor() as usize)?;
    let high = *sorted.get(place.ceil() as usize)?;
    // Equal ends first: infinite ones would give NaN.
    Some(if low == high {
        low
    } else {
        low + place.fract() * (high - low)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_mean_is_that_of_theory() {
        let rows: Vec<f64> = (0..400).map(|i| f64::from(i % 20)).collect();
        let mean = rows.iter().sum::<f64>() / 400.0;
        let theory =
            1.959_964 * (rows.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / 400.0 / 400.0).sqrt();
        for resampling in [Resampling::Poisson, Resampling::Multinomial] {
            let plan = Bootstrap {
                seed: 3,
                replicates: 4000,
                resampling,
            };
            let replicates = plan.run(400, 1, |counts, values| {
                let total: u32 = counts.iter().sum();
                let sum: f64 = rows.iter().zip(counts).map(|(r, &c)| r * f64::from(c)).sum();
                values[0] = sum / f64::from(total);
            });
            let replicates = replicates.unwrap();
            let estimate = replicates.estimate(0, mean, 0.95).unwrap();
            assert!(
                ((estimate.high - estimate.low) / 2.0 / theory - 1.0).abs() < 0.05,
                "{estimate:?}"
            );
        }
    }

    #[test]
    fn sums_are_those_of_the_rows_drawn() {
        for rows in [1_usize, 40, 99, 100, 127, 128, 1_001] {
            let whole: Vec<f64> = (0..rows).map(|row| (row * 7 % 301) as f64).collect();
            let large: Vec<f64> = whole.iter().map(|term| term * 32_768.0).collect();
            let broken: Vec<f64> = whole.iter().map(|term| term / 7.0 - 3.0).collect();
            let data = [whole, large, broken];
            let plan = Bootstrap {
                seed: 5,
                replicates: 50,
                ..Bootstrap::default()
            };
            let of_rows = plan.run(rows, 3, |counts, values| {
                for (value, column) in values.iter_mut().zip(&data) {
                    *value = column
                        .iter()
                        .zip(counts)
                        .map(|(term, &count)| term * f64::from(count))
                        .sum();
                }
            });
            let of_sums = plan.run_sums(&data, 3, |_, sums, values| values.copy_from_slice(sums));
            let (of_rows, of_sums) = (of_rows.unwrap(), of_sums.unwrap());
            for metric in 0..3 {
                let pairs = of_rows.values(metric).iter().zip(of_sums.values(metric));
                assert_eq!(of_sums.values(metric).len(), 50);
                pairs.for_each(|(a, b)| assert!((a - b).abs() <= 1e-12 * a.abs().max(1.0), "{a} {b}"));
            }
        }
    }

    #[test]
    fn a_seed_repeats_and_another_does_not() {
        let draw = |seed, replicate| {
            let mut counts = vec![0; 501];
            let plan = Bootstrap {
                seed,
                ..Bootstrap::default()
            };
            plan.draw(replicate, &mut counts);
            counts
        };
        assert_eq!(draw(1, 5), draw(1, 5));
        assert_ne!(draw(1, 5), draw(2, 5));
        assert_ne!(draw(1, 5), draw(1, 6));
    }

    #[test]
    fn what_never_varies_has_no_interval() {
        let plan = Bootstrap::default();
        let replicates = plan.run(10, 3, |counts, values| {
            let rows: u32 = counts.iter().sum();
            let sum: f64 = counts.iter().map(|&count| f64::from(count) * 0.1).sum();
            values[..2].copy_from_slice(&[1.0, sum / f64::from(rows)]);
        });
        let replicates = replicates.unwrap();
        assert!(replicates.estimate(0, 1.0, 0.95).is_none());
        assert!(replicates.estimate(1, 0.1, 0.95).is_none());
        assert!(replicates.estimate(2, 1.0, 0.95).is_none());
        let none = Bootstrap {
            replicates: 0,
            ..plan
        };
        assert!(none.run(1, 1, |_, _| ()).is_err());
    }
}
