//! How far a rollout is, and every move that it can make.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{super::GuardBreach, HoldReason, RolloutPlan};
use crate::{registry::model::MAX_COMMENT_CHARS, time::Timestamp};

/// Why a rollout goes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RollbackReason {
    /// A guard does not hold.
    Guard(GuardBreach),
    /// A step lasted as long as it may and could not end.
    TooSlow {
        /// How long it lasted, in milliseconds, pauses not counted.
        lasted_ms: u64,
        /// What it was waiting for.
        waiting_for: HoldReason,
    },
    /// The registry refused what was to be done at the end, for example because a gate does not hold.
    CompletionRefused {
        /// What it said.
        why: String,
    },
    /// A person stopped it.
    Aborted {
        /// Who.
        by: String,
        /// Why, in their words.
        comment: String,
    },
}

impl fmt::Display for RollbackReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guard(breach) => breach.fmt(f),
            Self::TooSlow {
                lasted_ms,
                waiting_for,
            } => write!(f, "the step could not end within {lasted_ms} ms: {waiting_for}"),
            Self::CompletionRefused { why } => write!(f, "the registry refused the completion: {why}"),
            Self::Aborted { by, comment } => f.write_str(&by_whom("aborted", by, comment)),
        }
    }
}

/// What a person did to a rollout: `paused by `ada`: looking at it`.
pub fn by_whom(done: &str, by: &str, comment: &str) -> String {
    let why = if comment.is_empty() {
        String::new()
    } else {
        format!(": {comment}")
    };
    format!("{done} by `{by}`{why}")
}

/// Where a rollout is. Steps count from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RolloutStatus {
    /// The revision with the step's traffic is being made.
    Entering {
        /// The step.
        step: u16,
    },
    /// A step has its traffic and is watched.
    Running {
        /// The step.
        step: u16,
        /// Since when it has its traffic; everything observed counts from here.
        since: Timestamp,
        /// How long it was paused since, in milliseconds.
        paused_ms: u64,
    },
    /// A person stopped the way up. Traffic stays as it is, guards are watched, and a breach still leads back.
    Paused {
        /// The step.
        step: u16,
        /// Since when it has its traffic.
        since: Timestamp,
        /// How long it was paused before, in milliseconds.
        paused_ms: u64,
        /// Since when it is paused.
        paused: Timestamp,
        /// Who stopped it.
        by: String,
        /// Why, in their words.
        comment: String,
    },
    /// The revision from before is being restored.
    RollingBack {
        /// The step it came to.
        step: u16,
        /// Why.
        reason: RollbackReason,
    },
    /// Ended: traffic is as it was before.
    RolledBack {
        /// The step it came to.
        step: u16,
        /// Why.
        reason: RollbackReason,
    },
    /// The candidate has all traffic; the registry is being told.
    Completing,
    /// Ended: the candidate has all traffic.
    Completed,
    /// Ended by a person: traffic is as it was before.
    Aborted {
        /// The step it came to.
        step: u16,
        /// Who.
        by: String,
        /// Why, in their words.
        comment: String,
    },
}

impl RolloutStatus {
    /// The status in one word, lower case.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Entering { .. } => "entering",
            Self::Running { .. } => "running",
            Self::Paused { .. } => "paused",
            Self::RollingBack { .. } => "rolling back",
            Self::RolledBack { .. } => "rolled back",
            Self::Completing => "completing",
            Self::Completed => "completed",
            Self::Aborted { .. } => "aborted",
        }
    }

    /// The step it is in or came to; none once the last one has ended.
    pub const fn step(&self) -> Option<u16> {
        match self {
            Self::Entering { step }
            | Self::Running { step, .. }
            | Self::Paused { step, .. }
            | Self::RollingBack { step, .. }
            | Self::RolledBack { step, .. }
            | Self::Aborted { step, .. } => Some(*step),
            Self::Completing | Self::Completed => None,
        }
    }

    /// Whether nothing can happen any more.
    pub const fn is_ended(&self) -> bool {
        matches!(
            self,
            Self::RolledBack { .. } | Self::Completed | Self::Aborted { .. }
        )
    }
}

/// What happens to a rollout.
#[derive(Debug, Clone, PartialEq)]
pub enum RolloutEvent {
    /// The revision with the step's traffic is in effect.
    Published,
    /// The step ended well, the next one begins.
    Advance {
        /// The next step.
        to_step: u16,
    },
    /// It must go back.
    RollBack {
        /// Why.
        reason: RollbackReason,
    },
    /// The revision from before is in effect again.
    Restored,
    /// The last step ended well.
    Complete,
    /// The registry did what it was told.
    Finished,
    /// The registry refused for good; one that does not answer is asked again instead.
    CompletionRefused {
        /// What it said.
        why: String,
    },
    /// A person stops the way up.
    Pause {
        /// Who.
        by: String,
        /// Why, in their words.
        comment: String,
    },
    /// A person lets it go on.
    Resume {
        /// Who.
        by: String,
        /// Why, in their words.
        comment: String,
    },
    /// A person gives the traffic back.
    Abort {
        /// Who.
        by: String,
        /// Why, in their words.
        comment: String,
    },
}

impl RolloutEvent {
    /// The event in one word, lower case.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Advance { .. } => "advance",
            Self::RollBack { .. } => "roll back",
            Self::Restored => "restored",
            Self::Complete => "complete",
            Self::Finished => "finished",
            Self::CompletionRefused { .. } => "completion refused",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::Abort { .. } => "abort",
        }
    }
}

/// A move that a rollout cannot make from where it is; the state stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a rollout that is {status} cannot take `{event}`: {why}")]
pub struct IllegalMove {
    /// Where it is.
    pub status: &'static str,
    /// What was to happen.
    pub event: &'static str,
    /// Why not, or what to do.
    pub why: &'static str,
}

/// How far a rollout is; all that must be kept to go on with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutState {
    /// Grows by 1 with each event; what a compare-and-set compares.
    pub version: u64,
    /// When the last event happened.
    pub changed: Timestamp,
    /// Where it is.
    pub status: RolloutStatus,
}

impl RolloutState {
    /// A rollout that enters its first step.
    pub const fn begin(now: Timestamp) -> Self {
        Self {
            version: 0,
            changed: now,
            status: RolloutStatus::Entering { step: 0 },
        }
    }

    /// The state after an event. Steps follow each other without a gap, and none ends before its shortest time; whether
    /// samples and guards allow it is for [`super::decide`] to say. Texts are cut to 5,000 characters.
    ///
    /// Errors: [`IllegalMove`], which changes nothing.
    pub fn apply(
        &self,
        plan: &RolloutPlan,
        event: RolloutEvent,
        now: Timestamp,
    ) -> Result<Self, IllegalMove> {
        let illegal = |why| IllegalMove {
            status: self.status.as_str(),
            event: event.as_str(),
            why,
        };
        let status = next(&self.status, plan, &event, now).map_err(illegal)?;
        Ok(Self {
            version: self.version.saturating_add(1),
            changed: now,
            status,
        })
    }
}

fn next(
    status: &RolloutStatus,
    plan: &RolloutPlan,
    event: &RolloutEvent,
    now: Timestamp,
) -> Result<RolloutStatus, &'static str> {
    use RolloutEvent as E;
    use RolloutStatus as S;
    match (status, event) {
        (S::Entering { step }, E::Published) => Ok(S::Running {
            step: *step,
            since: now,
            paused_ms: 0,
        }),
        (S::Running { step, since, .. }, E::Advance { to_step }) => {
            let is_next = step.checked_add(1) == Some(*to_step);
            if !is_next || plan.step(*to_step).is_none() {
                return Err("steps follow each other one by one");
            }
            ended(plan, *step, *since, now)?;
            Ok(S::Entering { step: *to_step })
        }
        (S::Running { step, since, .. }, E::Complete) => {
            if !plan.is_last(*step) {
                return Err("there are steps to come");
            }
            ended(plan, *step, *since, now)?;
            Ok(match plan.on_success() {
                Some(_) => S::Completing,
                None => S::Completed,
            })
        }
        (S::Running { step, .. } | S::Paused { step, .. }, E::RollBack { reason }) => Ok(S::RollingBack {
            step: *step,
            reason: cut_reason(reason),
        }),
        (
            S::Running {
                step,
                since,
                paused_ms,
            },
            E::Pause { by, comment },
        ) => Ok(S::Paused {
            step: *step,
            since: *since,
            paused_ms: *paused_ms,
            paused: now,
            by: cut(by),
            comment: cut(comment),
        }),
        (
            S::Paused {
                step,
                since,
                paused_ms,
                paused,
                ..
            },
            E::Resume { .. },
        ) => Ok(S::Running {
            step: *step,
            since: *since,
            paused_ms: paused_ms.saturating_add(elapsed_ms(*paused, now)),
        }),
        (
            S::Entering { step } | S::Running { step, .. } | S::Paused { step, .. },
            E::Abort { by, comment },
        ) => Ok(S::RollingBack {
            step: *step,
            reason: RollbackReason::Aborted {
                by: cut(by),
                comment: cut(comment),
            },
        }),
        (S::RollingBack { step, reason }, E::Restored) => Ok(match reason.clone() {
            RollbackReason::Aborted { by, comment } => S::Aborted {
                step: *step,
                by,
                comment,
            },
            reason => S::RolledBack { step: *step, reason },
        }),
        (S::Completing, E::Finished) => Ok(S::Completed),
        (S::Completing, E::CompletionRefused { why }) => Ok(S::RollingBack {
            step: u16::try_from(plan.steps().len().saturating_sub(1)).unwrap_or(u16::MAX),
            reason: RollbackReason::CompletionRefused { why: cut(why) },
        }),
        (S::Completing, E::Abort { .. }) => {
            Err("the registry is being told and may have done it; roll the endpoint back when it has ended")
        }
        (S::RollingBack { .. }, E::Abort { .. }) => Err("it is on its way back already"),
        (status, _) if status.is_ended() => Err("it has ended"),
        _ => Err("this happens in another state only"),
    }
}

fn ended(plan: &RolloutPlan, step: u16, since: Timestamp, now: Timestamp) -> Result<(), &'static str> {
    let shortest = plan.step(step).map_or(0, |step| step.min_duration_ms);
    if elapsed_ms(since, now) < shortest {
        return Err("the step has not lasted as long as it must");
    }
    Ok(())
}

/// Milliseconds from one time to another; 0 if a clock went back.
pub(super) fn elapsed_ms(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.millis().saturating_sub(from.millis())).unwrap_or(0)
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_COMMENT_CHARS).collect()
}

fn cut_reason(reason: &RollbackReason) -> RollbackReason {
    match reason {
        RollbackReason::CompletionRefused { why } => RollbackReason::CompletionRefused { why: cut(why) },
        RollbackReason::Aborted { by, comment } => RollbackReason::Aborted {
            by: cut(by),
            comment: cut(comment),
        },
        RollbackReason::Guard(_) | RollbackReason::TooSlow { .. } => reason.clone(),
    }
}
