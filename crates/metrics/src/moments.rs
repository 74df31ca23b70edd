//! A weighted mean with what its interval needs.

use lodeway_domain::Result;

use crate::{
    Estimate, Method, Sum,
    bounded::Smoothed,
    bytes::{Reader, Writer},
    normal::z_of,
    student::reach,
};

/// Sums of w, w², w·x and w·x² over rows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Mean {
    rows: u64,
    weight: Sum,
    squared_weight: Sum,
    first: Sum,
    second: Sum,
}

impl Mean {
    #[inline]
    pub(crate) fn add(&mut self, value: f64, weight: f64) {
        self.rows += 1;
        self.weight.add(weight);
        self.squared_weight.add(weight * weight);
        self.first.add_product(value, weight);
        // Only the interval looks at it, so the product's last bit does not matter.
        self.second.add(value * value * weight);
    }

    /// Adds a few hundred rows of weight 1 whose values do not cancel: their sum is a plain one, and so right to 14 digits.
    pub(crate) fn add_all(&mut self, values: &[f64]) {
        const LANES: usize = 8;
        let (mut first, mut second) = ([0.0; LANES], [0.0; LANES]);
        let (chunks, last) = values.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                first[lane] += chunk[lane];
                second[lane] += chunk[lane] * chunk[lane];
            }
        }
        for (lane, value) in last.iter().enumerate() {
            first[lane] += value;
            second[lane] += value * value;
        }
        self.add_sums(
            values.len(),
            first.iter().sum::<f64>().into(),
            second.iter().sum(),
        );
    }

    /// Adds rows of weight 1 whose sum other sums are taken from.
    pub(crate) fn add_all_exact(&mut self, values: &[f64]) {
        let second = values.iter().map(|value| value * value).sum();
        self.add_sums(values.len(), Sum::of(values), second);
    }

    fn add_sums(&mut self, rows: usize, first: Sum, second: f64) {
        self.rows += rows as u64;
        self.weight.add(rows as f64);
        self.squared_weight.add(rows as f64);
        self.first.merge(first);
        self.second.add(second);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.weight.merge(other.weight);
        self.squared_weight.merge(other.squared_weight);
        self.first.merge(other.first);
        self.second.merge(other.second);
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn weight(&self) -> f64 {
        self.weight.value()
    }

    pub(crate) fn weight_sum(&self) -> Sum {
        self.weight
    }

    /// Σ w·x.
    pub(crate) fn first_sum(&self) -> Sum {
        self.first
    }

    /// (Σw)² / Σw², 0 without rows.
    pub(crate) fn effective_rows(&self) -> f64 {
        let weight = self.weight();
        let squared = self.squared_weight.value();
        if squared > 0.0 {
            weight * weight / squared
        } else {
            0.0
        }
    }

    pub(crate) fn value(&self) -> f64 {
        self.first.value() / self.weight()
    }

    pub(crate) fn second_moment(&self) -> f64 {
        self.second.value() / self.weight()
    }

    /// The mean of the squared distances to the mean; 0 where it is no more than rounding.
    fn spread(&self) -> f64 {
        let (value, second) = (self.value(), self.second_moment());
        let spread = second - value * value;
        if spread > 1e-14 * second { spread } else { 0.0 }
    }

    /// With Student's interval, cut to `range`; none if all values are equal.
    pub(crate) fn estimate(&self, z: f64, range: (f64, f64)) -> Estimate {
        let rows = self.effective_rows();
        let error = (self.spread() / rows).sqrt();
        Estimate::around(self.value(), error, reach(z, rows), range, Method::Delta)
    }

    /// The mean of values in `range` that come near its ends, with an interval that has a width if all are
    /// equal, too.
    pub(crate) fn estimate_in_range(&self, z: f64, range: (f64, f64)) -> Estimate {
        let value = self.value();
        let smoothed = Smoothed::of_mean(value, self.spread(), self.effective_rows(), range);
        smoothed.estimate(value, z, range, Method::WilsonDelta)
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.u64(self.rows);
        for sum in [self.weight, self.squared_weight, self.first, self.second] {
            writer.sum(sum);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let mean = Self {
            rows: reader.u64()?,
            weight: reader.sum()?,
            squared_weight: reader.sum()?,
            first: reader.sum()?,
            second: reader.sum()?,
        };
        let sound = mean.weight.value() >= 0.0 && mean.squared_weight.value() >= 0.0;
        reader.check(sound, "has a weight that is not a number of at least 0")?;
        Ok(mean)
    }
}

/// The mean of values in `[least, most]` with its interval, also where all are equal; none without a range,
/// NaN without values.
pub fn mean_in_range(values: &[f64], range: (f64, f64), confidence: f64) -> Estimate {
    let mut mean = Mean::default();
    values.iter().for_each(|&value| mean.add(value, 1.0));
    mean.estimate_in_range(z_of(confidence), range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Random, estimate::wilson};

    const Z: f64 = 1.959_963_985;

    #[test]
    fn zeros_and_ones_have_wilsons_interval() {
        for (ones, rows) in [(0, 3), (3, 3), (5, 20), (999, 1000)] {
            let values: Vec<f64> = (0..rows).map(|row| f64::from(u8::from(row < ones))).collect();
            let found = mean_in_range(&values, (0.0, 1.0), 0.95);
            let expected = wilson(f64::from(ones) / f64::from(rows), f64::from(rows), Z);
            assert!((found.low - expected.low).abs() < 1e-9 && (found.high - expected.high).abs() < 1e-9);
            assert_eq!(found.method, Method::WilsonDelta);
        }
    }

    #[test]
    fn equal_values_leave_doubt_that_rows_take_away() {
        for value in [1.0, 1.7, 5.0] {
            let mut before = f64::INFINITY;
            for rows in [1, 2, 3, 10, 100, 1000, 10_000] {
                let found = mean_in_range(&vec![value; rows], (1.0, 5.0), 0.95);
                let width = found.high - found.low;
                assert!(width > 0.0 && width < before, "{rows} times {value}: {found:?}");
                assert!(1.0 <= found.low && found.low <= value && value <= found.high && found.high <= 5.0);
                before = width;
            }
            assert!(before < 0.01, "{before}");
        }
        assert_eq!(mean_in_range(&[1.0], (1.0, 1.0), 0.95).method, Method::NoInterval);
        assert!(!mean_in_range(&[], (0.0, 1.0), 0.95).is_defined());
    }

    #[test]
    fn intervals_of_means_cover() {
        type Draw = fn(&mut Random) -> f64;
        // With their means.
        let kinds: [(Draw, f64); 4] = [
            (|random| f64::from(u8::from(random.unit() < 0.98)), 0.98),
            (
                |random| if random.unit() < 0.9 { 1.0 } else { random.unit() },
                0.95,
            ),
            (|random| random.unit().powi(8), 1.0 / 9.0),
            (|random| 0.25 * random.below(5) as f64, 0.5),
        ];
        for (kind, (draw, mean)) in kinds.into_iter().enumerate() {
            for rows in [2, 5, 10, 20, 50, 200] {
                let mut random = Random::new(kind as u64, rows);
                let samples = 2000;
                let covered = (0..samples)
                    .filter(|_| {
                        let values: Vec<f64> = (0..rows).map(|_| draw(&mut random)).collect();
                        let found = mean_in_range(&values, (0.0, 1.0), 0.95);
                        found.low <= mean && mean <= found.high
                    })
                    .count();
                let share = covered as f64 / f64::from(samples);
                // Wilson's own interval covers 0.90 of 5 rows that are right with 0.98.
                assert!(share > 0.89, "{share} of {rows} rows of kind {kind}");
            }
        }
    }
}
