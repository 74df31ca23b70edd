//! From what was measured and what must hold to a verdict.

use super::{
    job::{Clause, MetricValue, Verdict},
    slice::is_same_slice,
    spec::{Bound, Threshold},
};

impl Verdict {
    /// Checks every threshold; none without thresholds. A metric that was not measured fails its clause;
    /// `more_is_better` says of which side of the baseline worse is.
    pub fn of(
        thresholds: &[Threshold],
        metrics: &[MetricValue],
        baseline: &[MetricValue],
        more_is_better: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        if thresholds.is_empty() {
            return None;
        }
        let clauses: Vec<_> = thresholds
            .iter()
            .map(|t| clause(t, metrics, baseline, more_is_better(&t.metric)))
            .collect();
        Some(Self {
            passed: clauses.iter().all(|clause| clause.passed),
            clauses,
            recorded: false,
        })
    }
}

fn find<'a>(threshold: &Threshold, metrics: &'a [MetricValue]) -> Option<&'a MetricValue> {
    let of_name = || metrics.iter().filter(|metric| metric.metric == threshold.metric);
    of_name()
        .find(|metric| metric.slice == threshold.slice)
        .or_else(|| of_name().find(|metric| is_same_slice(&metric.slice, &threshold.slice)))
}

fn clause(
    threshold: &Threshold,
    metrics: &[MetricValue],
    baseline: &[MetricValue],
    more_is_better: bool,
) -> Clause {
    let made = |value, baseline, passed, message| Clause {
        threshold: threshold.clone(),
        value,
        baseline,
        passed,
        message,
    };
    let name = match threshold.slice.as_str() {
        "" => format!("`{}`", threshold.metric),
        slice => format!("`{}` of `{slice}`", threshold.metric),
    };
    let Some(metric) = find(threshold, metrics) else {
        return made(None, None, false, format!("{name} was not measured"));
    };
    let (end, value) = match threshold.bound {
        Bound::Value => ("", Some(metric.value)),
        Bound::Low => ("lower end of ", metric.low),
        Bound::High => ("upper end of ", metric.high),
    };
    let Some(value) = value else {
        return made(None, None, false, format!("{name} has no interval"));
    };
    let mut faults = Vec::new();
    let mut demands = Vec::new();
    if let Some(min) = threshold.min {
        demands.push(format!("at least {min}"));
        if value < min {
            faults.push(format!("less than {min}"));
        }
    }
    if let Some(max) = threshold.max {
        demands.push(format!("at most {max}"));
        if value > max {
            faults.push(format!("more than {max}"));
        }
    }
    let before = find(threshold, baseline).map(|metric| metric.value);
    if threshold.is_relative() {
        let Some(before) = before else {
            return made(
                Some(value),
                None,
                false,
                format!("{name} of the baseline was not measured"),
            );
        };
        let losses = [
            threshold.max_loss,
            threshold.max_relative_loss.map(|share| share * before.abs()),
        ];
        for loss in losses.into_iter().flatten() {
            // A sum in binary is not exact: what is equal in decimal passes.
            let slack = 1e-12 * (value.abs() + before.abs());
            let (limit, fits) = if more_is_better {
                (before - loss, value >= before - loss - slack)
            } else {
                (before + loss, value <= before + loss + slack)
            };
            let word = if more_is_better { "at least" } else { "at most" };
            demands.push(format!("{word} {limit} (the baseline has {before})"));
            if !fits {
                faults.push(format!("worse than {limit} (the baseline has {before})"));
            }
        }
    }
    let passed = faults.is_empty();
    let words = if passed {
        demands.join(", ")
    } else {
        faults.join(", ")
    };
    made(
        Some(value),
        before,
        passed,
        format!("{end}{name} is {value}: {words}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::more_is_better;

    fn metric(name: &str, value: f64, low: Option<f64>) -> MetricValue {
        MetricValue {
            metric: name.to_owned(),
            slice: String::new(),
            value,
            low,
            high: low.map(|_| 1.0),
            samples: 100,
            method: "wilson".to_owned(),
        }
    }

    fn threshold(name: &str) -> Threshold {
        Threshold {
            metric: name.to_owned(),
            slice: String::new(),
            bound: Bound::Value,
            min: None,
            max: None,
            max_loss: None,
            max_relative_loss: None,
        }
    }

    fn passes(threshold: Threshold, metrics: &[MetricValue], baseline: &[MetricValue]) -> bool {
        Verdict::of(&[threshold], metrics, baseline, more_is_better)
            .unwrap()
            .passed
    }

    #[test]
    fn a_slice_is_found_by_either_spelling_of_its_number() {
        let mut measured = metric("accuracy", 0.9, None);
        measured.slice = "age=25".to_owned();
        let mut wanted = threshold("accuracy");
        wanted.slice = "age=25.0".to_owned();
        wanted.min = Some(0.8);
        let verdict = Verdict::of(&[wanted], &[measured], &[], more_is_better).unwrap();
        assert!(verdict.passed, "{verdict:?}");
    }

    #[test]
    fn absolute_limits_hold_at_their_ends() {
        let found = [metric("accuracy", 0.9, Some(0.85))];
        let at_least = |min, bound| Threshold {
            min: Some(min),
            bound,
            ..threshold("accuracy")
        };
        assert!(passes(at_least(0.9, Bound::Value), &found, &[]));
        assert!(!passes(at_least(0.9, Bound::Low), &found, &[]));
        assert!(passes(at_least(1.0, Bound::High), &found, &[]));
        assert!(!passes(
            at_least(0.0, Bound::Low),
            &[metric("accuracy", 0.9, None)],
            &[]
        ));
        assert!(!passes(at_least(0.0, Bound::Value), &[], &[]));
        assert!(Verdict::of(&[], &found, &[], more_is_better).is_none());
    }

    #[test]
    fn losses_look_in_the_direction_of_the_metric() {
        let of = |name: &str, loss: f64| Threshold {
            max_loss: Some(loss),
            ..threshold(name)
        };
        let before = [metric("f1", 0.8, None), metric("rmse", 2.0, None)];
        let now = [metric("f1", 0.79, None), metric("rmse", 2.1, None)];
        assert!(passes(of("f1", 0.01), &now, &before));
        assert!(!passes(of("f1", 0.005), &now, &before));
        assert!(!passes(of("rmse", 0.05), &now, &before));
        assert!(passes(of("rmse", 0.1), &now, &before));
        // A negative loss is a gain that is demanded.
        assert!(!passes(of("f1", -0.01), &before, &before));
        let share = Threshold {
            max_relative_loss: Some(0.05),
            ..threshold("rmse")
        };
        assert!(passes(share.clone(), &now, &before));
        assert!(!passes(share, &now, &[]));
    }
}
