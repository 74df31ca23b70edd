//! Points of metric curves.

use std::cmp::Ordering;

use super::names::EntityKey;
use crate::{
    float,
    id::{ModelId, RunId},
    time::Timestamp,
};

/// One point of a curve: 8 bytes of value bit for bit, time and step.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// The value; NaN payloads, infinities and −0.0 are kept.
    pub value: f64,
    /// When it was measured.
    pub time: Timestamp,
    /// Position along the training.
    pub step: i64,
}

impl Point {
    /// By (time, step, value), the order of MLflow's history. Total: NaN ranks after all numbers.
    pub fn cmp_by_time(&self, other: &Self) -> Ordering {
        self.time
            .cmp(&other.time)
            .then(self.step.cmp(&other.step))
            .then_with(|| self.cmp_value(other))
    }

    /// By (step, time, value); the greatest is the latest point of a metric.
    pub fn cmp_by_step(&self, other: &Self) -> Ordering {
        self.step
            .cmp(&other.step)
            .then(self.time.cmp(&other.time))
            .then_with(|| self.cmp_value(other))
    }

    fn cmp_value(&self, other: &Self) -> Ordering {
        let key = |v: f64| (v.is_nan(), float::sort_key(v), v.to_bits());
        key(self.value).cmp(&key(other.value))
    }
}

/// Equal bit for bit; equal points of one key are stored once.
impl PartialEq for Point {
    fn eq(&self, other: &Self) -> bool {
        self.value.to_bits() == other.value.to_bits() && self.time == other.time && self.step == other.step
    }
}

impl Eq for Point {}

/// The logged model and data set that a point measures.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricSource {
    /// The logged model.
    pub model: ModelId,
    /// The data set's name; empty: not said.
    pub dataset_name: String,
    /// The data set's digest; empty: not said.
    pub dataset_digest: String,
}

/// A point with the key it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// The metric.
    pub key: EntityKey,
    /// The point.
    pub point: Point,
    /// What it measures, if it measures a logged model.
    pub source: Option<MetricSource>,
}

/// A point as it is read back from a run's log.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredPoint {
    /// The run.
    pub run: RunId,
    /// The metric.
    pub key: String,
    /// The point.
    pub point: Point,
    /// Position of its batch in the run's log.
    pub append_seq: i64,
}

/// The order of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HistoryOrder {
    /// By (time, step, value).
    #[default]
    Time,
    /// By (step, time, value).
    Step,
}
