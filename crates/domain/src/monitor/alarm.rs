//! When the shift of a column is worth an alarm.

use super::{Columns, Distribution, Drift};

/// Values of a reference below which its population stability index says nothing by itself, whatever is asked for: the ten
/// bins of fewer values are so uneven by chance that anything looks shifted.
pub const MIN_REFERENCE: u64 = 100;

/// What the Kolmogorov-Smirnov distance of two samples of one distribution exceeds, times √(1/n + 1/m), once in a thousand
/// pairs of samples: √(−ln(0.0005) / 2). On the safe side for few values. Source: Smirnov 1948, "Table for Estimating the
/// Goodness of Fit of Empirical Distributions", <https://doi.org/10.1214/aoms/1177730256>.
const KS_BY_CHANCE: f64 = 1.949_5;

/// What a shift must fall to, of what raised the alarm, before the alarm is over: a figure at the limit would come and go
/// with every look otherwise.
const HYSTERESIS: f64 = 0.8;

/// How far the values of one column are from those of a reference, and what that rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Shift {
    /// The column's name.
    pub column: String,
    /// The population stability index beyond what chance would give, at least 0.
    pub psi: f64,
    /// Values seen, missing ones included.
    pub samples: u64,
    /// Values of the reference, missing ones included.
    pub reference: u64,
    /// Whether numbers are farther apart, by Kolmogorov-Smirnov, than by chance: that holds also of few values.
    pub is_apart: bool,
}

/// From when on a shift is an alarm, and until when it stays one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlarmRule {
    /// The population stability index beyond chance that is good, at least 0.
    pub max_psi: f64,
    /// Values before anything is said: at least 1. The reference needs as many, but no more than [`MIN_REFERENCE`]; one that
    /// has fewer says something only of numbers that are [apart](Shift::is_apart).
    pub min_samples: u64,
}

impl Drift {
    /// The population stability index beyond what two samples of one distribution would show by chance, at least 0.
    pub fn beyond_chance(&self) -> f64 {
        (self.psi - self.psi_by_chance).max(0.0)
    }
}

impl Columns {
    /// How far each column that both have is from that of the reference, in the order of their names.
    pub fn shifts<'a>(reference: &'a Self, current: &'a Self) -> impl Iterator<Item = Shift> + 'a {
        current.iter().filter_map(|(name, own)| {
            let theirs = reference.get(name)?;
            let drift = Distribution::drift(theirs, own)?;
            Some(Shift {
                column: name.to_owned(),
                psi: drift.beyond_chance(),
                is_apart: drift
                    .kolmogorov_smirnov
                    .is_some_and(|apart| apart > apart_by_chance(theirs, own)),
                samples: own.count(),
                reference: theirs.count(),
            })
        })
    }
}

fn apart_by_chance(reference: &Distribution, current: &Distribution) -> f64 {
    let share = |of: &Distribution| 1.0 / of.numbers().count().max(1) as f64;
    KS_BY_CHANCE * (share(reference) + share(current)).sqrt()
}

impl AlarmRule {
    /// Values that a reference should have.
    pub fn min_reference(&self) -> u64 {
        self.min_samples.min(MIN_REFERENCE)
    }

    /// Whether there is an alarm after this; `None` if there are too few values to say.
    ///
    /// `stands` is whether there was one before: it ends only well below the limit.
    pub fn judge(&self, stands: bool, shift: &Shift) -> Option<bool> {
        let is_enough =
            shift.samples >= self.min_samples && (shift.reference >= self.min_reference() || shift.is_apart);
        let limit = if stands {
            self.max_psi * HYSTERESIS
        } else {
            self.max_psi
        };
        is_enough.then_some(shift.psi > limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Value;

    const RULE: AlarmRule = AlarmRule {
        max_psi: 0.25,
        min_samples: 500,
    };

    fn shift(psi: f64, samples: u64, reference: u64) -> Shift {
        Shift {
            column: "x".to_owned(),
            psi,
            samples,
            reference,
            is_apart: false,
        }
    }

    #[test]
    fn an_alarm_begins_above_the_limit_and_ends_well_below() {
        let judge = |stands, psi| RULE.judge(stands, &shift(psi, 500, 100));
        assert_eq!(judge(false, 0.25), Some(false));
        assert_eq!(judge(false, 0.26), Some(true));
        assert_eq!(judge(true, 0.24), Some(true));
        assert_eq!(judge(true, 0.2), Some(false));
    }

    #[test]
    fn too_few_values_on_either_side_say_nothing() {
        for stands in [false, true] {
            assert_eq!(RULE.judge(stands, &shift(9.0, 499, 10_000)), None);
            assert_eq!(RULE.judge(stands, &shift(9.0, 500, 99)), None);
        }
        let small = AlarmRule {
            min_samples: 20,
            ..RULE
        };
        assert_eq!(small.judge(false, &shift(9.0, 20, 20)), Some(true));
        assert_eq!(small.judge(false, &shift(9.0, 20, 19)), None);
    }

    #[test]
    fn a_reference_of_a_few_numbers_tells_only_what_is_far_away() {
        let numbers = |values: &mut dyn Iterator<Item = f64>| {
            let mut made = Columns::default();
            values.for_each(|value| made.add_row([("x", Value::Number(value))]));
            made
        };
        let spread = |i: u32| f64::from(i.wrapping_mul(2_654_435_761) >> 16) / 65_536.0;
        let judged = |rows: u32, by: f64| {
            let reference = numbers(&mut (1..=rows).map(spread));
            let current = numbers(&mut (1_000..1_600).map(|i| spread(i) + by));
            let shift = Columns::shifts(&reference, &current).next().unwrap();
            RULE.judge(false, &shift)
        };
        for rows in [5, 10, 20, 50] {
            assert_eq!(judged(rows, 0.0), None, "{rows}");
            assert_eq!(judged(rows, 1.5), Some(true), "{rows}");
        }
        assert_eq!(judged(3, 1.5), None);
        assert_eq!(judged(5, 0.3), None);
    }

    #[test]
    fn columns_that_both_have_are_compared() {
        let columns = |names: &[&str], from: i64| {
            let mut made = Columns::default();
            for value in from..from + 200 {
                made.add_row(names.iter().map(|name| (*name, Value::Whole(value))));
            }
            made
        };
        let (reference, current) = (columns(&["a", "b"], 0), columns(&["b", "c"], 100));
        let found: Vec<_> = Columns::shifts(&reference, &current).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&*found[0].column, found[0].samples, found[0].reference),
            ("b", 200, 200)
        );
        assert!(found[0].psi > 1.0, "{found:?}");
        let same = Columns::shifts(&reference, &reference).all(|shift| shift.psi == 0.0);
        assert!(same);
    }
}
