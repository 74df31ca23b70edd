//! Evaluations of traffic that are repeated: when one is due, and over which window.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    dataset::DatasetName,
    roles::ColumnRoles,
    scorer::Scorer,
    spec::{Task, Threshold},
    traffic::MAX_CAPTURED_ROWS,
};
use crate::{Error, Result, error::Violations, id::clip, time::Timestamp};

/// The most versions of a schedule's dataset that can be kept.
pub const MAX_KEPT_WINDOWS: u32 = 10_000;
/// The versions that are kept if nobody says.
pub const DEFAULT_KEPT_WINDOWS: u32 = 100;
/// The most schedules of a workspace.
pub const MAX_SCHEDULES: usize = 100;
/// The longest name of a schedule, in characters.
const MAX_SCHEDULE_NAME_CHARS: usize = 200;
/// The shortest interval.
const MIN_INTERVAL: Duration = Duration::from_secs(60);
/// The longest interval and the longest window.
const MAX_SPAN: Duration = Duration::from_secs(366 * 24 * 3_600);
/// The shortest window.
const MIN_WINDOW: Duration = Duration::from_secs(1);

/// The name of a schedule: 1 to 200 characters, otherwise as of a dataset, since `schedules/NAME` is one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScheduleName(String);

impl ScheduleName {
    /// Parses a name; `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        if text.chars().count() > MAX_SCHEDULE_NAME_CHARS {
            let why = format!(
                "`{}` is longer than {MAX_SCHEDULE_NAME_CHARS} characters",
                clip(text)
            );
            return Err(Error::invalid(field, why));
        }
        DatasetName::parse(field, text).map(|name| Self(name.as_str().to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The dataset of the schedule, a version a window.
    pub fn dataset(&self) -> Result<DatasetName> {
        DatasetName::parse("schedule.name", &format!("schedules/{}", self.0))
    }
}

impl std::fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What relative thresholds of a schedule compare with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleBaseline {
    /// A registered version, asked about the same rows.
    Model(String),
    /// The last evaluation of the schedule that succeeded.
    PreviousWindow,
}

const fn kept_windows() -> u32 {
    DEFAULT_KEPT_WINDOWS
}

/// An evaluation of traffic that is repeated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its own, also after the name was given to another one.
    pub uid: String,
    /// Unique in the workspace.
    pub name: ScheduleName,
    /// In which workspace.
    pub workspace: String,
    /// Whose traffic.
    pub endpoint: String,
    /// Only answers of this target; none: of each.
    pub target: Option<String>,
    /// How often.
    pub interval: Duration,
    /// Over how much time back.
    pub window: Duration,
    /// At most so many rows each time.
    pub max_rows: u64,
    /// What the labels are; none: told from the data.
    pub task: Option<Task>,
    /// What the columns are for, where it differs from what the captured version says.
    #[serde(default)]
    pub roles: ColumnRoles,
    /// With what; none: with the scorer of the task.
    pub scorers: Vec<Scorer>,
    /// What must hold.
    pub thresholds: Vec<Threshold>,
    /// What relative thresholds compare with.
    #[serde(default)]
    pub baseline: Option<ScheduleBaseline>,
    /// How many versions of its dataset are kept, the newest ones.
    #[serde(default = "kept_windows")]
    pub keep_windows: u32,
    /// Who asked; evaluations are made in this name.
    pub principal: String,
    /// Whether a credential proved who asked.
    pub verified: bool,
    /// When it was created.
    pub created: Timestamp,
    /// When the next window ends, or the one that is at work.
    pub next: Timestamp,
    /// When the window ended that was looked at last.
    pub last: Option<Timestamp>,
    /// The evaluation that ran last; empty: none yet.
    pub last_evaluation_id: String,
    /// Why the last one could not begin; empty if it did.
    pub error: String,
    /// Windows that were passed over.
    pub skipped: u64,
}

/// A window whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// When it ends.
    pub end: Timestamp,
    /// Windows before it that nobody evaluated in time.
    pub passed: u64,
}

impl Schedule {
    /// The same if interval, windows and rows are in their bounds, and relative thresholds are of all rows. Errors: `INVALID_FIELD` below `schedule`.
    pub fn checked(self) -> Result<Self> {
        let mut bad = Violations::new();
        if !(MIN_INTERVAL..=MAX_SPAN).contains(&self.interval) {
            bad.add("schedule.interval", "must be from a minute to 366 days");
        }
        if !(MIN_WINDOW..=MAX_SPAN).contains(&self.window) {
            bad.add("schedule.window", "must be from a second to 366 days");
        }
        if !(1..=MAX_CAPTURED_ROWS).contains(&self.max_rows) {
            bad.add(
                "schedule.max_rows",
                format!("must be from 1 to {MAX_CAPTURED_ROWS}"),
            );
        }
        if !(1..=MAX_KEPT_WINDOWS).contains(&self.keep_windows) {
            let why = format!("must be from 1 to {MAX_KEPT_WINDOWS}");
            bad.add("schedule.keep_windows", why);
        }
        for (at, threshold) in self.thresholds.iter().enumerate() {
            if threshold.is_relative() && !threshold.slice.is_empty() {
                let why = "is of all rows where it compares with a baseline; leave it out, or set `min` or `max` only";
                bad.add(format!("schedule.thresholds[{at}].slice"), why);
            }
        }
        bad.finish()?;
        Ok(self)
    }

    /// The window whose turn it is: of those that have ended and were not looked at the last one.
    pub fn due(&self, now: Timestamp) -> Option<Due> {
        let late = now.millis().checked_sub(self.next.millis())?;
        let interval = i64::try_from(self.interval.as_millis())
            .ok()
            .filter(|ms| *ms > 0)?;
        let passed = u64::try_from(late).ok()? / interval.unsigned_abs();
        let later = i64::try_from(passed).ok()?.checked_mul(interval)?;
        Some(Due {
            end: Timestamp::from_millis(self.next.millis().checked_add(later)?),
            passed,
        })
    }

    /// When the window of this end begins.
    pub fn start_of(&self, end: Timestamp) -> Timestamp {
        end.minus(self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::spec::Bound;

    fn schedule() -> Schedule {
        Schedule {
            uid: "1".to_owned(),
            name: ScheduleName::parse("name", "nightly").unwrap(),
            workspace: "default".to_owned(),
            endpoint: "churn".to_owned(),
            target: None,
            interval: Duration::from_secs(60),
            window: Duration::from_secs(90),
            max_rows: 10,
            task: None,
            roles: ColumnRoles::default(),
            scorers: Vec::new(),
            thresholds: Vec::new(),
            baseline: None,
            keep_windows: DEFAULT_KEPT_WINDOWS,
            principal: "ann".to_owned(),
            verified: false,
            created: Timestamp::from_millis(1_000),
            next: Timestamp::from_millis(1_000),
            last: None,
            last_evaluation_id: String::new(),
            error: String::new(),
            skipped: 0,
        }
    }

    #[test]
    fn the_last_window_that_ended_is_due_and_those_before_are_passed_over() {
        let schedule = schedule();
        let due = |ms| {
            schedule
                .due(Timestamp::from_millis(ms))
                .map(|due| (due.end.millis(), due.passed))
        };
        assert_eq!(due(999), None);
        assert_eq!(due(1_000), Some((1_000, 0)));
        assert_eq!(due(60_999), Some((1_000, 0)));
        assert_eq!(due(61_000), Some((61_000, 1)));
        assert_eq!(due(200_000), Some((181_000, 3)));
        assert_eq!(due(i64::MAX).map(|(_, passed)| passed), Some(153_722_867_280_912));
        let start = schedule.start_of(Timestamp::from_millis(100_000));
        assert_eq!(start.millis(), 10_000);
    }

    #[test]
    fn values_out_of_bounds_are_named() {
        assert!(schedule().checked().is_ok());
        let wrong = Schedule {
            interval: Duration::from_secs(59),
            window: Duration::ZERO,
            max_rows: 0,
            keep_windows: 0,
            thresholds: vec![Threshold {
                metric: "f1".to_owned(),
                slice: "plan=a".to_owned(),
                bound: Bound::Value,
                min: None,
                max: None,
                max_loss: Some(0.1),
                max_relative_loss: None,
            }],
            ..schedule()
        };
        let Err(Error::Invalid(faults)) = wrong.checked() else {
            unreachable!("a wrong schedule was taken");
        };
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "schedule.interval",
                "schedule.window",
                "schedule.max_rows",
                "schedule.keep_windows",
                "schedule.thresholds[0].slice"
            ]
        );
        for wrong in ["", "a@1", "a:b", &"x".repeat(201)] {
            assert!(ScheduleName::parse("name", wrong).is_err(), "{wrong}");
        }
        let longest = ScheduleName::parse("name", &"x".repeat(200)).unwrap();
        assert_eq!(longest.dataset().unwrap().as_str().len(), 210);
    }
}
