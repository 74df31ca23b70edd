//! How an endpoint copes with slow and failing targets.

use serde::{Deserialize, Serialize};

use crate::{FieldViolation, Result, error::Violations};

/// The longest time an attempt may take, in milliseconds: ten minutes.
pub const MAX_TIMEOUT_MS: u32 = 600_000;

/// When a failing target is left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutlierEjection {
    /// Failures in a row that eject a target: 1 to 1,000, by default 5.
    pub consecutive_failures: u32,
    /// How long the first ejection lasts, in milliseconds: 100 to 600,000, by default 10,000. Each that follows soon
    /// lasts twice as long as the one before.
    pub ejection_ms: u32,
    /// How long an ejection lasts at most, in milliseconds: from `ejection_ms` to 3,600,000, by default 300,000.
    pub max_ejection_ms: u32,
}

impl Default for OutlierEjection {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            ejection_ms: 10_000,
            max_ejection_ms: 300_000,
        }
    }
}

/// Timeouts, retries, hedging, ejection and load of an endpoint; `Default` fits a model that answers within seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resilience {
    /// How long one attempt on a target may take, in milliseconds: 1 to 600,000, by default 30,000. A target can have
    /// its own. The caller's deadline holds beside it.
    pub timeout_ms: u32,
    /// Retries per hundred calls: 0 to 100, by default 20.
    pub retry_percent: u32,
    /// Retries per second that are always allowed, so that few calls can be retried too: 0 to 1,000, by default 10.
    pub retry_min_per_second: u32,
    /// Retries of one call, hedged attempts included: 0 to 5, by default 1.
    pub max_retries: u32,
    /// After how long a second attempt runs beside the first, in milliseconds: 1 to below `timeout_ms`; by default
    /// none does. It costs the target one more call and draws on the retry budget.
    pub hedge_after_ms: Option<u32>,
    /// When a failing target is left alone.
    pub outlier: OutlierEjection,
    /// Calls under way on one target at once; more are refused: 1 to 65,536, by default 256.
    pub max_in_flight: u32,
}

impl Default for Resilience {
    fn default() -> Self {
        Self {
            timeout_ms: 30_000,
            retry_percent: 20,
            retry_min_per_second: 10,
            max_retries: 1,
            hedge_after_ms: None,
            outlier: OutlierEjection::default(),
            max_in_flight: 256,
        }
    }
}

impl Resilience {
    /// Checks every bound. Errors: `INVALID_FIELD` for each field that is out of it, below `resilience`.
    pub fn check(&self) -> Result<()> {
        let mut found = Violations::new();
        let outlier = &self.outlier;
        let bounds = [
            ("timeout_ms", self.timeout_ms, 1, MAX_TIMEOUT_MS),
            ("retry_percent", self.retry_percent, 0, 100),
            ("retry_min_per_second", self.retry_min_per_second, 0, 1_000),
            ("max_retries", self.max_retries, 0, 5),
            (
                "outlier.consecutive_failures",
                outlier.consecutive_failures,
                1,
                1_000,
            ),
            ("outlier.ejection_ms", outlier.ejection_ms, 100, 600_000),
            ("max_in_flight", self.max_in_flight, 1, 65_536),
        ];
        for (name, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                let text = format!("{value} is not from {least} to {most}");
                found.add(format!("resilience.{name}"), text);
            }
        }
        if let Some(after) = self.hedge_after_ms
            && (after == 0 || after >= self.timeout_ms)
        {
            let text = format!("{after} is not from 1 to below `timeout_ms`, {}", self.timeout_ms);
            found.add("resilience.hedge_after_ms", text);
        }
        if !(outlier.ejection_ms..=3_600_000).contains(&outlier.max_ejection_ms) {
            let text = format!(
                "{} is not from `ejection_ms`, {}, to 3600000",
                outlier.max_ejection_ms, outlier.ejection_ms
            );
            found.add("resilience.outlier.max_ejection_ms", text);
        }
        found.finish()
    }

    /// The settings that differ, as (name, value here, value there), in the order of the fields.
    pub(super) fn differences(&self, other: &Self) -> Vec<(&'static str, String, String)> {
        let hedge = |ms: Option<u32>| ms.map_or("none".to_owned(), |ms| ms.to_string());
        let rows = |r: &Self| {
            [
                ("timeout_ms", r.timeout_ms.to_string()),
                ("retry_percent", r.retry_percent.to_string()),
                ("retry_min_per_second", r.retry_min_per_second.to_string()),
                ("max_retries", r.max_retries.to_string()),
                ("hedge_after_ms", hedge(r.hedge_after_ms)),
                (
                    "outlier.consecutive_failures",
                    r.outlier.consecutive_failures.to_string(),
                ),
                ("outlier.ejection_ms", r.outlier.ejection_ms.to_string()),
                ("outlier.max_ejection_ms", r.outlier.max_ejection_ms.to_string()),
                ("max_in_flight", r.max_in_flight.to_string()),
            ]
        };
        rows(self)
            .into_iter()
            .zip(rows(other))
            .filter(|(ours, theirs)| ours != theirs)
            .map(|((name, ours), (_, theirs))| (name, ours, theirs))
            .collect()
    }
}

/// Checks a target's own timeout, in milliseconds.
pub(super) fn check_timeout(field: String, timeout_ms: Option<u32>) -> Option<FieldViolation> {
    let timeout = timeout_ms.filter(|ms| !(1..=MAX_TIMEOUT_MS).contains(ms))?;
    let text = format!("{timeout} is not from 1 to {MAX_TIMEOUT_MS}");
    Some(FieldViolation::new(field, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn the_defaults_are_within_the_bounds() {
        assert!(Resilience::default().check().is_ok());
        let read: Resilience =
            serde_json::from_str(r#"{"timeout_ms":5,"outlier":{"ejection_ms":200}}"#).unwrap();
        assert_eq!((read.timeout_ms, read.max_retries), (5, 1));
        assert_eq!(
            (read.outlier.ejection_ms, read.outlier.consecutive_failures),
            (200, 5)
        );
    }

    #[test]
    fn every_setting_out_of_bounds_is_named() {
        let bad = Resilience {
            timeout_ms: 0,
            retry_percent: 101,
            retry_min_per_second: 1_001,
            max_retries: 6,
            hedge_after_ms: Some(1),
            outlier: OutlierEjection {
                consecutive_failures: 0,
                ejection_ms: 99,
                max_ejection_ms: 98,
            },
            max_in_flight: 0,
        };
        let Err(Error::Invalid(found)) = bad.check() else {
            panic!("it was taken")
        };
        let fields: Vec<_> = found
            .iter()
            .map(|v| v.field.trim_start_matches("resilience."))
            .collect();
        assert_eq!(
            fields,
            [
                "timeout_ms",
                "retry_percent",
                "retry_min_per_second",
                "max_retries",
                "outlier.consecutive_failures",
                "outlier.ejection_ms",
                "max_in_flight",
                "hedge_after_ms",
                "outlier.max_ejection_ms",
            ]
        );
        assert_eq!(bad.differences(&Resilience::default()).len(), 9);
        assert!(bad.differences(&bad).is_empty());
    }
}
