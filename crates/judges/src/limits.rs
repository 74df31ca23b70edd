//! How much, how long, how often.

use std::time::Duration;

use lodeway_domain::{Result, error::Violations};

/// Settings of a run of judges.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Where the seeds of repeats come from.
    pub seed: u64,
    /// 0 to 2.
    pub temperature: f64,
    /// How often each judge judges each row, 1 to 99.
    pub repeats: u32,
    /// Rows times judges under way at once, 1 to 1,024.
    pub concurrency: usize,
    /// How long one call may take.
    pub call_timeout: Duration,
    /// How often one question is put in all while calls are rate limited or the other side is unavailable, 1 to 20.
    ///
    /// A rate limit does not count while other rows get answers.
    pub attempts: u32,
    /// How often one question is put in all while calls time out, 1 to 20.
    ///
    /// A call that went out beside others may have waited for them: it counts towards `attempts` instead, and fewer go out at
    /// once from then on.
    pub timeout_attempts: u32,
    /// The first wait before asking again; it doubles with each attempt.
    pub backoff: Duration,
    /// The longest wait. A rate limit that asks for more gives up at once.
    pub max_wait: Duration,
    /// How often a model may mend an answer that is not what was asked for, 0 to 5.
    pub repairs: u32,
    /// The most tokens of an answer, 1 to 1,000,000.
    pub max_tokens: u32,
    /// The most bytes of all texts of a row; more is an error of the row.
    pub max_row_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            seed: 0,
            temperature: 0.0,
            repeats: 1,
            concurrency: 8,
            call_timeout: Duration::from_secs(60),
            attempts: 5,
            timeout_attempts: 2,
            backoff: Duration::from_millis(500),
            max_wait: Duration::from_secs(60),
            repairs: 1,
            max_tokens: 2048,
            max_row_bytes: 1 << 20,
        }
    }
}

impl Limits {
    /// Errors: `INVALID_FIELD` with every setting out of its bounds.
    pub fn check(&self) -> Result<()> {
        let mut violations = Violations::new();
        let mut within = |field: &str, holds: bool, bounds: &str| {
            if !holds {
                violations.add(field, format!("is not {bounds}"));
            }
        };
        within(
            "temperature",
            (0.0..=2.0).contains(&self.temperature),
            "between 0 and 2",
        );
        within("repeats", (1..=99).contains(&self.repeats), "between 1 and 99");
        within(
            "concurrency",
            (1..=1024).contains(&self.concurrency),
            "between 1 and 1024",
        );
        within("call_timeout", !self.call_timeout.is_zero(), "more than 0");
        within("attempts", (1..=20).contains(&self.attempts), "between 1 and 20");
        within(
            "timeout_attempts",
            (1..=20).contains(&self.timeout_attempts),
            "between 1 and 20",
        );
        within("repairs", self.repairs <= 5, "between 0 and 5");
        within(
            "max_tokens",
            (1..=1_000_000).contains(&self.max_tokens),
            "between 1 and 1000000",
        );
        within("max_row_bytes", self.max_row_bytes > 0, "more than 0");
        violations.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_out_of_bounds_is_named() {
        assert!(Limits::default().check().is_ok());
        let wrong = Limits {
            temperature: f64::NAN,
            repeats: 0,
            concurrency: 0,
            call_timeout: Duration::ZERO,
            attempts: 0,
            timeout_attempts: 21,
            repairs: 6,
            max_tokens: 0,
            max_row_bytes: 0,
            ..Limits::default()
        };
        let lodeway_domain::Error::Invalid(violations) = wrong.check().unwrap_err() else {
            panic!("not invalid");
        };
        assert_eq!(violations.len(), 9, "{violations:?}");
    }
}
