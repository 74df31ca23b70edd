//! Rollouts: letting a new target in step by step, and out again as soon as a guard is breached.
//!
//! A tour: a [`RolloutPlan`] says which steps there are and what must hold; [`decide`] looks at a [`RolloutState`] and an
//! [`Observation`](super::Observation) and says what is to be done; [`RolloutState::apply`] is the only way from one
//! state to the next; [`step_spec`] gives the revision of a step.
//!
//! A controller that may be restarted at any moment works so: read the state; in [`RolloutStatus::Entering`],
//! [`RolloutStatus::RollingBack`] and [`RolloutStatus::Completing`] do what the state says (each can be done twice
//! without harm) and apply the event that it is done; else observe, decide, apply. Each state has a version, so that a
//! store writes it by compare-and-set and a controller that lost its lease changes nothing.

mod decide;
mod plan;
mod state;
mod traffic;

#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod plan_tests;

use serde::{Deserialize, Serialize};

pub use self::{
    decide::{Decision, HoldReason, decide},
    plan::{MAX_STEPS, OnSuccess, RolloutPlan, RolloutSpec, Step, StepKind},
    state::{IllegalMove, RollbackReason, RolloutEvent, RolloutState, RolloutStatus, by_whom},
    traffic::step_spec,
};
use super::{EndpointUid, RolloutId, Target};
use crate::time::Timestamp;

/// A rollout of a target at an endpoint, with everything that is needed to go on with it after a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its id.
    pub id: RolloutId,
    /// At which endpoint; each has at most one that has not ended.
    pub endpoint: EndpointUid,
    /// The number of the revision it began with, and goes back to.
    pub base_revision: u32,
    /// What is let in; no target of the base revision, or one of them that shall get more.
    pub candidate: Target,
    /// The steps and what must hold.
    pub plan: RolloutPlan,
    /// How far it is.
    pub state: RolloutState,
    /// When it was begun.
    pub created: Timestamp,
    /// Who began it.
    pub principal: String,
    /// True if a credential proved who it was.
    pub principal_verified: bool,
    /// Why, in their words.
    pub comment: String,
}
