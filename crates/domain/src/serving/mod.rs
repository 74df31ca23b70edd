//! Serving: what an endpoint is, how it divides its traffic, how a new version is let in, how failures are met.
//!
//! Everything here is decided from values: no clock is read, nothing is sent. A tour: [`Endpoint`] is a stable name
//! with numbered [`Revision`]s, made from a [`RevisionSpec`] and compared by [`diff`]; a [`Target`] is a
//! [`TargetRef`] (a registered version, or a model on another server); a [`MatchRule`] or the [`TrafficSplit`] says
//! which target serves a call. [`DeploymentSettings`] say how the model host runs a version.

mod buckets;
mod deployment;
mod diff;
mod endpoint;
mod guard;
mod interval;
mod prediction_id;
mod reference;
mod resilience;
mod revision;
mod rollout;
mod rule;
mod split;
mod uid;

#[cfg(test)]
mod guard_tests;
#[cfg(test)]
mod revision_tests;
#[cfg(test)]
mod tests;

pub use self::{
    deployment::{DeploymentSettings, DeploymentState, EnvManager, RuntimeChoice, deployment_id},
    diff::{RevisionChange, diff},
    endpoint::{Endpoint, EndpointKey, EndpointName, NewEndpoint},
    guard::{
        Check, ErrorLimit, Guard, GuardBreach, LatencyLimit, MAX_GUARDS, MIN_HITS, Measured, MetricLimit,
        Observation, ShadowStats, Situation, Stats, Verdict,
    },
    interval::{excess_lower_bound, rate, wilson},
    prediction_id::{PREDICTION_ID_CHARS, PredictionFields, PredictionId, PredictionKey, PredictionKeys},
    reference::{External, Scheme, TargetRef},
    resilience::{OutlierEjection, Resilience},
    revision::{
        Authorship, MAX_RULES, Revision, RevisionReason, RevisionSpec, Shadow, Target, WHOLE_SHARE,
        WeightedTarget,
    },
    rollout::{
        Decision, HoldReason, IllegalMove, MAX_STEPS, OnSuccess, RollbackReason, Rollout, RolloutEvent,
        RolloutPlan, RolloutSpec, RolloutState, RolloutStatus, Step, StepKind, decide, step_spec,
    },
    rule::{Condition, HeaderName, MatchRule, StickyKey},
    split::{MAX_TARGETS, MAX_WEIGHT, Salt, TargetName, TrafficSplit, Weight},
    uid::{EndpointUid, RolloutId},
};
