//! A batch for one run: checked once, then all or nothing.

use super::{
    metric::Metric,
    names::{EntityKey, ParamValue, Tags},
};
use crate::{Error, Result};

/// The most points in a batch.
pub const MAX_BATCH_METRICS: usize = 1_000;
/// The most params in a batch.
pub const MAX_BATCH_PARAMS: usize = 100;
/// The most tags in a batch.
pub const MAX_BATCH_TAGS: usize = 100;
/// The most entries of all kinds in a batch.
pub const MAX_BATCH_ENTRIES: usize = 1_000;

/// Metrics, params and tags to append to a run.
///
/// Points are sorted by key, then (step, time, value), and equal ones are collapsed; params are sorted by key and
/// distinct. That order is also the lock order of the store, so two batches never wait for each other crosswise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogBatch {
    metrics: Vec<Metric>,
    params: Vec<(EntityKey, ParamValue)>,
    tags: Tags,
}

impl LogBatch {
    /// Checks the counts, refuses a param key that comes twice, sorts and collapses.
    pub fn new(
        mut metrics: Vec<Metric>,
        mut params: Vec<(EntityKey, ParamValue)>,
        tags: Tags,
    ) -> Result<Self> {
        let bound = |field: &str, count: usize, max: usize| match count > max {
            true => Err(Error::invalid(
                field,
                format!("has {count} entries; at most {max} fit one batch"),
            )),
            false => Ok(()),
        };
        bound("metrics", metrics.len(), MAX_BATCH_METRICS)?;
        bound("params", params.len(), MAX_BATCH_PARAMS)?;
        bound("tags", tags.len(), MAX_BATCH_TAGS)?;
        bound("", metrics.len() + params.len() + tags.len(), MAX_BATCH_ENTRIES)?;
        params.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(pair) = params.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::invalid(
                "params",
                format!("the key `{}` comes twice", pair[0].0),
            ));
        }
        metrics.sort_by(|a, b| {
            a.key
                .cmp(&b.key)
                .then_with(|| a.point.cmp_by_step(&b.point))
                .then_with(|| a.source.cmp(&b.source))
        });
        metrics.dedup();
        Ok(Self {
            metrics,
            params,
            tags,
        })
    }

    /// The points by key, then (step, time, value).
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// The params by key.
    pub fn params(&self) -> &[(EntityKey, ParamValue)] {
        &self.params
    }

    /// The tags by key.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// True if there is nothing to append.
    pub fn is_empty(&self) -> bool {
        self.metrics.is_empty() && self.params.is_empty() && self.tags.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{time::Timestamp, tracking::Point};

    fn metric(key: &str, value: f64, step: i64) -> Metric {
        let point = Point {
            value,
            time: Timestamp::from_millis(0),
            step,
        };
        Metric {
            key: EntityKey::parse("key", key).unwrap(),
            point,
            source: None,
        }
    }

    fn param(key: &str) -> (EntityKey, ParamValue) {
        (
            EntityKey::parse("key", key).unwrap(),
            ParamValue::parse("value", "1".into()).unwrap(),
        )
    }

    #[test]
    fn points_are_sorted_and_equal_ones_collapse() {
        let nan = f64::NAN;
        let points = vec![
            metric("b", 1.0, 0),
            metric("a", nan, 2),
            metric("a", nan, 2),
            metric("a", 0.5, 1),
        ];
        let batch = LogBatch::new(points, vec![], Tags::default()).unwrap();
        let seen: Vec<_> = batch
            .metrics()
            .iter()
            .map(|m| (m.key.as_str(), m.point.step))
            .collect();
        assert_eq!(seen, [("a", 1), ("a", 2), ("b", 0)]);
    }

    #[test]
    fn a_zero_and_a_negative_zero_are_two_points() {
        let batch = LogBatch::new(
            vec![metric("a", 0.0, 0), metric("a", -0.0, 0)],
            vec![],
            Tags::default(),
        )
        .unwrap();
        assert_eq!(batch.metrics().len(), 2);
    }

    #[test]
    fn counts_and_repeated_params_are_refused() {
        let many = |n: usize| (0..n).map(|i| metric("m", 0.0, i as i64)).collect::<Vec<_>>();
        assert!(LogBatch::new(many(1_000), vec![], Tags::default()).is_ok());
        assert!(LogBatch::new(many(1_001), vec![], Tags::default()).is_err());
        assert!(LogBatch::new(many(1_000), vec![param("p")], Tags::default()).is_err());
        assert!(LogBatch::new(vec![], vec![param("p"), param("p")], Tags::default()).is_err());
    }
}
