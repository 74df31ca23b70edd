//! Serving: what an endpoint is, how it divides its traffic, how a new version is let in, how failures are met.
//!
//! Everything here is decided from values: no clock is read, nothing is sent, nothing is random.
//!
//! A tour. **Endpoints:** [`Endpoint`] is a stable name with numbered [`Revision`]s, made from a [`RevisionSpec`] and
//! compared by [`diff`]. A [`Target`] is a [`TargetRef`]: a registered version, or a model on another server.
//! **Routing:** a [`MatchRule`], else the [`TrafficSplit`] over a [`StickyKey`], says which target serves a call, and a
//! [`Shadow`] gets copies; the answer's [`PredictionId`] says which it was. **Rollouts:** a [`RolloutPlan`] of [`Step`]s
//! and [`Guard`]s; [`decide`] looks at an [`Observation`] and says what is to be done, [`RolloutState::apply`] does it,
//! [`step_spec`] is the traffic of a step. **Failures:** [`Resilience`] are the settings, [`CircuitBreaker`] leaves a
//! failing target alone, [`RetryBudget`] bounds retries.
//!
//! [`DeploymentSettings`] say how the model host runs a version.

mod buckets;
mod deployment;
mod diff;
mod endpoint;
mod guard;
mod interval;
mod outlier;
mod prediction_id;
mod reference;
mod request_log;
mod resilience;
mod retry_budget;
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
        Observation, Reading, ShadowStats, Situation, Stats, Verdict, p95_ranks,
    },
    interval::{excess_lower_bound, wilson},
    outlier::{BreakerState, CallOutcome, CircuitBreaker, Pass},
    prediction_id::{PREDICTION_ID_CHARS, PredictionFields, PredictionId, PredictionKey, PredictionKeys},
    reference::{External, Scheme, TargetRef},
    request_log::RequestLog,
    resilience::{OutlierEjection, Resilience},
    retry_budget::{RETRY_WINDOW_SECONDS, RetryBudget},
    revision::{
        Authorship, MAX_RULES, Revision, RevisionReason, RevisionSpec, Shadow, Target, WHOLE_SHARE,
        WeightedTarget,
    },
    rollout::{
        Decision, HoldReason, IllegalMove, MAX_STEPS, OnSuccess, RollbackReason, Rollout, RolloutEvent,
        RolloutPlan, RolloutSpec, RolloutState, RolloutStatus, Step, StepKind, by_whom, decide, step_spec,
    },
    rule::{Condition, HeaderName, MatchRule, StickyKey},
    split::{MAX_TARGETS, MAX_WEIGHT, Salt, TargetName, TrafficSplit, Weight},
    uid::{EndpointUid, RolloutId},
};
