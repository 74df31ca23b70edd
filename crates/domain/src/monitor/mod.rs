//! What a gateway measures of one target of an endpoint in one window of time, in fixed memory and mergeable.
//!
//! A tour: [`TrafficSummary`] is the whole, with calls by [`Outcome`], their latencies in a [`LatencyHistogram`], the
//! values of inputs and outputs as [`Columns`] of [`Distribution`]s, and how a shadow's answers compare in a
//! [`ShadowSummary`]. A [`Profile`] holds the columns of training data; [`Drift`] says how far traffic is from it, and an
//! [`AlarmRule`] which [`Shift`] is worth an alarm.
//!
//! Everything merges: windows into hours, replicas of a gateway into one picture. Counts, extremes and sums are exact in
//! any order of merging; quantiles have the error of one summary of everything. Summaries and profiles have a versioned
//! byte form; damaged bytes are [`DataLoss`](crate::Error::DataLoss).
//!
//! Not here: how long a window is, which limit is right, where summaries are kept.
//!
//! ```
//! use std::time::Duration;
//! use lodeway_domain::monitor::{Outcome, Profile, TrafficSummary};
//!
//! let mut training = Profile::default();
//! for i in 0..1_000_i64 {
//!     training.add_row([("age", (i % 60).into())], [("label", "yes".into())]);
//! }
//! let mut window = TrafficSummary::with_seed(7);
//! for i in 0..1_000_i64 {
//!     window.record_call(Outcome::Ok, Duration::from_micros(800), 1);
//!     window.features_mut().add_row([("age", (i % 60 + 30).into())]);
//!     window.predictions_mut().add_row([("label", "no".into())]);
//! }
//! let drift = training.drift_of(&window);
//! assert!(drift.features.columns["age"].psi > 0.25);
//! assert_eq!(drift.predictions.columns["label"].unseen, ["no"]);
//! assert_eq!(TrafficSummary::decode(&window.encode())?, window);
//! # Ok::<(), lodeway_domain::Error>(())
//! ```

mod alarm;
mod bytes;
mod columns;
mod distribution;
mod drift;
mod latency;
mod outcome;
mod profile;
mod shadow;
mod summary;
mod value;
mod wholes;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_bytes;
#[cfg(test)]
mod tests_drift;
#[cfg(test)]
mod tests_merge;

pub use self::{
    alarm::{AlarmRule, MIN_REFERENCE, Shift},
    columns::{Columns, ColumnsDrift, MAX_COLUMN_NAME_BYTES, MAX_COLUMNS},
    distribution::{Distribution, DistributionSummary, QUANTILES},
    drift::{Drift, MAX_UNSEEN},
    latency::LatencyHistogram,
    outcome::Outcome,
    profile::{Profile, ProfileDrift},
    shadow::{AGREEMENT, Comparison, Difference, MAX_WORST, ShadowSummary},
    summary::TrafficSummary,
    value::Value,
    wholes::MAX_WHOLES,
};
