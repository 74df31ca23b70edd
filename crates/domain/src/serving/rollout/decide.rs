//! What is to be done with a rollout now.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    super::{Observation, Verdict},
    RollbackReason, RolloutEvent, RolloutPlan, RolloutState, RolloutStatus, Step,
    state::elapsed_ms,
};
use crate::time::Timestamp;

/// Why a rollout stays where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HoldReason {
    /// The revision with the step's traffic is being made.
    Entering,
    /// The step has not lasted as long as it must.
    TooEarly {
        /// How long it must still last, in milliseconds.
        left_ms: u64,
    },
    /// The candidate has not had as many calls as the step asks for.
    TooFewSamples {
        /// What there is.
        samples: u64,
        /// What there must be.
        needed: u64,
    },
    /// A required guard cannot say yet.
    GuardUnknown {
        /// The guard's place in the plan.
        guard: u16,
        /// Calls or outcomes that it has.
        samples: u64,
        /// What it must have.
        needed: u64,
    },
    /// A person stopped the way up.
    Paused,
    /// The traffic from before is being restored.
    RollingBack,
    /// The registry is being told.
    Completing,
    /// The rollout has ended.
    Ended,
    /// The state names a step that the plan does not have: they do not belong together.
    ForeignPlan,
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entering => f.write_str("the step's traffic is being set"),
            Self::TooEarly { left_ms } => write!(f, "the step must last another {left_ms} ms"),
            Self::TooFewSamples { samples, needed } => {
                write!(f, "the candidate has had {samples} of {needed} calls")
            }
            Self::GuardUnknown {
                guard,
                samples,
                needed,
            } => write!(f, "guard {guard} has {samples} of {needed} samples"),
            Self::Paused => f.write_str("a person paused it"),
            Self::RollingBack => f.write_str("the traffic from before is being restored"),
            Self::Completing => f.write_str("the registry is being told"),
            Self::Ended => f.write_str("it has ended"),
            Self::ForeignPlan => f.write_str("state and plan do not belong together"),
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Nothing.
    Hold {
        /// Why.
        why: HoldReason,
    },
    /// Enter the next step.
    Advance {
        /// The next step.
        to_step: u16,
    },
    /// Give the traffic back.
    RollBack {
        /// Why.
        reason: RollbackReason,
    },
    /// The last step ended well.
    Complete,
}

impl Decision {
    /// The event that carries the decision out; none to hold.
    pub fn event(self) -> Option<RolloutEvent> {
        match self {
            Self::Hold { .. } => None,
            Self::Advance { to_step } => Some(RolloutEvent::Advance { to_step }),
            Self::RollBack { reason } => Some(RolloutEvent::RollBack { reason }),
            Self::Complete => Some(RolloutEvent::Complete),
        }
    }
}

/// What is to be done with a rollout, seen what was observed since its step began.
///
/// Breaches come first and lead back at once, in a pause too; then time, samples and required guards must all allow the
/// step to end. A step that may not last longer and cannot end leads back as well. The same arguments give the same
/// decision, so that it can be asked again after a restart.
pub fn decide(
    plan: &RolloutPlan,
    state: &RolloutState,
    now: Timestamp,
    observation: &Observation,
) -> Decision {
    let (number, since, paused_ms, is_paused) = match &state.status {
        RolloutStatus::Running {
            step,
            since,
            paused_ms,
        } => (*step, *since, *paused_ms, false),
        RolloutStatus::Paused { step, since, .. } => (*step, *since, 0, true),
        RolloutStatus::Entering { .. } => return hold(HoldReason::Entering),
        RolloutStatus::RollingBack { .. } => return hold(HoldReason::RollingBack),
        RolloutStatus::Completing => return hold(HoldReason::Completing),
        RolloutStatus::RolledBack { .. } | RolloutStatus::Completed | RolloutStatus::Aborted { .. } => {
            return hold(HoldReason::Ended);
        }
    };
    let Some(step) = plan.step(number) else {
        return hold(HoldReason::ForeignPlan);
    };
    let unknown = match judge(plan, step, observation) {
        Ok(unknown) => unknown,
        Err(reason) => return Decision::RollBack { reason },
    };
    if is_paused {
        return hold(HoldReason::Paused);
    }
    let lasted_ms = elapsed_ms(since, now);
    if lasted_ms < step.min_duration_ms {
        return hold(HoldReason::TooEarly {
            left_ms: step.min_duration_ms - lasted_ms,
        });
    }
    let samples = observation.candidate.calls;
    let few = (samples < step.min_samples).then_some(HoldReason::TooFewSamples {
        samples,
        needed: step.min_samples,
    });
    match few.or(unknown) {
        Some(why) => hold_or_give_up(step, lasted_ms.saturating_sub(paused_ms), why),
        None if plan.is_last(number) => Decision::Complete,
        None => Decision::Advance {
            to_step: number.saturating_add(1),
        },
    }
}

fn hold(why: HoldReason) -> Decision {
    Decision::Hold { why }
}

fn hold_or_give_up(step: &Step, lasted_ms: u64, why: HoldReason) -> Decision {
    if lasted_ms < step.max_duration_ms {
        return hold(why);
    }
    Decision::RollBack {
        reason: RollbackReason::TooSlow {
            lasted_ms,
            waiting_for: why,
        },
    }
}

/// The first breach, or else the first required guard that cannot say yet.
fn judge(plan: &RolloutPlan, step: &Step, seen: &Observation) -> Result<Option<HoldReason>, RollbackReason> {
    let mut unknown = None;
    for (place, guard) in (0_u16..).zip(plan.guards()) {
        match guard.judge(step.kind.situation(), seen) {
            Verdict::Breached(breach) => return Err(RollbackReason::Guard(breach)),
            Verdict::Unknown { samples, needed } if guard.is_required && unknown.is_none() => {
                unknown = Some(HoldReason::GuardUnknown {
                    guard: place,
                    samples,
                    needed,
                });
            }
            Verdict::Unknown { .. } | Verdict::Passes | Verdict::NotConcerned => {}
        }
    }
    Ok(unknown)
}
