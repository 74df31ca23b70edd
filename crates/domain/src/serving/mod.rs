//! Serving: how an endpoint divides its traffic.
//!
//! A tour: [`TrafficSplit`] says which target serves a caller's key, [`Weight`] is a target with its part of the whole.

mod buckets;
mod deployment;
mod split;
#[cfg(test)]
mod tests;

pub use self::deployment::{
    DeploymentSettings, DeploymentState, EnvManager, RuntimeChoice, deployment_id,
};
pub use self::split::{MAX_TARGETS, MAX_WEIGHT, Salt, TargetName, TrafficSplit, Weight};
