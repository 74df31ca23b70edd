//! Reports judged by thresholds.

use crate::{
    report::{Metric, Report},
    thresholds::{Bound, Clause, ClauseVerdict, Limit, Op, Thresholds, Verdict},
};

impl Thresholds {
    /// Holds every demand against a report. What cannot be known does not hold: a metric that the report has not, or that
    /// is not defined on the rows, or a baseline that is missing.
    pub fn judge(&self, report: &Report, baseline: Option<&Report>) -> Verdict {
        let clauses: Vec<ClauseVerdict> = self
            .clauses
            .iter()
            .map(|clause| clause.judge(report, baseline))
            .collect();
        Verdict {
            passed: clauses.iter().all(|clause| clause.passed),
            clauses,
        }
    }
}

impl Clause {
    fn judge(&self, report: &Report, baseline: Option<&Report>) -> ClauseVerdict {
        let metric = report.metrics.get(&self.metric);
        let actual = metric.map_or(f64::NAN, |metric| self.bound.of(metric));
        let base = baseline.and_then(|baseline| baseline.metrics.get(&self.metric));
        let base = base.map_or(f64::NAN, |metric| metric.value);
        let limit = match self.limit {
            Limit::Number(number) => number,
            Limit::BaselinePlus(number) => base + number,
            Limit::BaselineTimes(number) => base * number,
        };
        let why = if metric.is_none() {
            Some("the report has no such metric".to_owned())
        } else if actual.is_nan() {
            Some(match self.bound {
                Bound::Value => "the metric is not defined on these rows".to_owned(),
                _ => "the metric has no interval".to_owned(),
            })
        } else if limit.is_nan() {
            Some("the baseline has no such number".to_owned())
        } else {
            None
        };
        ClauseVerdict {
            clause: self.clone(),
            actual,
            limit,
            // False for NaN on either side.
            passed: match self.op {
                Op::AtLeast => actual >= limit,
                Op::Above => actual > limit,
                Op::AtMost => actual <= limit,
                Op::Below => actual < limit,
            },
            why,
        }
    }
}

impl Bound {
    fn of(self, metric: &Metric) -> f64 {
        match self {
            Self::Value => metric.value,
            Self::Low => metric.low,
            Self::High => metric.high,
        }
    }
}
