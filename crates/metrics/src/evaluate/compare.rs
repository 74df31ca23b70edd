//! Two models on the same rows.

use std::collections::BTreeMap;

use lodeway_domain::{Error, Result};

use super::{Columns, Options, Task, prepare};
use crate::{Bootstrap, Classes, Estimate, McNemar, Replicates, normal::z_of};

/// A metric of two models on the same rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// The first model's value.
    pub first: f64,
    /// The second model's value.
    pub second: f64,
    /// First minus second; whether more is better depends on the metric.
    pub difference: Estimate,
    /// Two-sided, for "no difference": McNemar's exact test for the accuracy of rows without weights, else
    /// from the resamples, of which n tell no p-value below 2 / (n + 1). 1 if no resample makes a difference;
    /// NaN if all make the same one, or half of them none that is defined.
    pub p_value: f64,
}

/// The fewest resamples of very many rows.
const FEWEST: u32 = 100;

/// Every metric of both models, with their difference on the same resamples.
///
/// Both columns must have the same target, in the same order, and the same weights. Above
/// [`Options::analytic_above`] rows there are fewer resamples, down to 100, so that the work stays near a
/// bound. The difference of accuracies of rows without weights has the interval of [`McNemar::difference`].
///
/// Errors: those of [`evaluate`](super::evaluate) for either; `INVALID_FIELD` for another number of rows.
pub fn compare(
    task: Task,
    first: &Columns<'_>,
    second: &Columns<'_>,
    options: &Options,
) -> Result<BTreeMap<String, Comparison>> {
    options.check()?;
    let rows = first.target.len();
    if second.target.len() != rows {
        return Err(Error::invalid(
            "target",
            "has another number of rows for the second model",
        ));
    }
    let (first_metrics, a) = prepare(task, first, options)?;
    let (second_metrics, b) = prepare(task, second, options)?;
    let shared: Vec<(usize, usize, &String)> = a
        .names()
        .iter()
        .enumerate()
        .filter_map(|(at, name)| Some((at, b.names().iter().position(|other| other == name)?, name)))
        .collect();
    let mut of_a = vec![f64::NAN; a.names().len()];
    let mut of_b = vec![f64::NAN; b.names().len()];
    let plan = plan(options, rows);
    let replicates = plan.run(rows, shared.len(), |counts, values| {
        of_a.fill(f64::NAN);
        of_b.fill(f64::NAN);
        a.resample(counts, &mut of_a);
        b.resample(counts, &mut of_b);
        for (value, (at_a, at_b, _)) in values.iter_mut().zip(&shared) {
            *value = difference(of_a[*at_a], of_b[*at_b]);
        }
    })?;
    let mut comparisons = BTreeMap::new();
    for (name, one) in &first_metrics {
        let Some(other) = second_metrics.get(name) else {
            continue;
        };
        let value = difference(one.value, other.value);
        let at = shared.iter().position(|(.., shared)| *shared == name);
        let estimate = at.and_then(|at| replicates.estimate(at, value, options.confidence));
        let p_value = match at {
            Some(at) if estimate.is_some() || value == 0.0 && never_differ(&replicates, at) => {
                p_value(&replicates, at)
            }
            _ => f64::NAN,
        };
        let comparison = Comparison {
            first: one.value,
            second: other.value,
            difference: estimate.unwrap_or_else(|| Estimate::point(value)),
            p_value,
        };
        comparisons.insert(name.clone(), comparison);
    }
    if let (Task::Classification, None) = (task, first.weights)
        && let Some(test) = mcnemar(first, second)?
        && let Some(accuracy) = comparisons.get_mut("accuracy")
    {
        accuracy.p_value = test.exact_p_value();
        accuracy.difference = test.difference(z_of(options.confidence));
    }
    Ok(comparisons)
}

/// The bootstrap's plan; of very many rows there are fewer resamples, so that the work stays near a bound.
fn plan(options: &Options, rows: usize) -> Bootstrap {
    let full = options.bootstrap.replicates;
    if rows <= options.analytic_above {
        return options.bootstrap;
    }
    let share = options.analytic_above as f64 / rows as f64;
    Bootstrap {
        replicates: ((f64::from(full) * share) as u32).max(FEWEST.min(full)),
        ..options.bootstrap
    }
}

/// First minus second; what is no more than rounding is none.
fn difference(first: f64, second: f64) -> f64 {
    let difference = first - second;
    if difference.abs() <= 1e-14 * first.abs().max(second.abs()) {
        0.0
    } else {
        difference
    }
}

/// Whether the metric was defined on some resample, and both models had the same value on all where it was.
fn never_differ(replicates: &Replicates, metric: usize) -> bool {
    let values = replicates.values(metric);
    !values.is_empty() && values.iter().all(|value| *value == 0.0)
}

/// Twice the smaller share of resamples on one side of 0, never quite 0 (Davison and Hinkley, section 4.2).
fn p_value(replicates: &Replicates, metric: usize) -> f64 {
    let values = replicates.values(metric);
    let below = values.iter().filter(|value| **value <= 0.0).count();
    let above = values.iter().filter(|value| **value >= 0.0).count();
    (2.0 * (below.min(above) + 1) as f64 / (values.len() + 1) as f64).min(1.0)
}

/// None if either model has no predicted labels.
fn mcnemar(first: &Columns<'_>, second: &Columns<'_>) -> Result<Option<McNemar>> {
    let (Some(a), Some(b)) = (first.prediction, second.prediction) else {
        return Ok(None);
    };
    let hits = |columns: &Columns<'_>, prediction| -> Result<Vec<bool>> {
        let mut classes = Classes::default();
        let truth = classes.encode("target", columns.target)?;
        let predicted = classes.encode("prediction", prediction)?;
        Ok(truth.iter().zip(&predicted).map(|(t, p)| t == p).collect())
    };
    // Columns of truth values beside numbers are compared by resamples alone.
    let (Ok(a), Ok(b)) = (hits(first, a), hits(second, b)) else {
        return Ok(None);
    };
    Ok(Some(McNemar::of(a.into_iter().zip(b))))
}
