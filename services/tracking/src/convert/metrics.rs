//! Metrics on the wire.

use std::sync::Arc;

use futures::future::BoxFuture;
use lodeway_domain::{
    Error, Result,
    caller::Workspace,
    error::Violations,
    id::{ModelId, RunId},
    page::{Page, PageLimits, PageRequest, QueryHash},
    time::{Clock, Timestamp},
    tracking::{
        EntityKey, HistoryOrder, LogBatch, MAX_BATCH_METRICS, MAX_BATCH_PARAMS, MAX_TAG_VALUE_CHARS, Metric,
        MetricSource, ParamValue, Point, RUN_NAME_TAG, StoredPoint, Tags, check_run_name, check_text,
    },
};
use lodeway_proto::tracking::v1 as pb;
use lodeway_rpc::{status::of_request, time::from_either};
use lodeway_store::tracking::{RunCursor, Sample, Tail};
use tonic::Streaming;

use super::{run_id, runs, wire_point};
use crate::stream::{Incoming, Numbered};

/// Bad fields that are listed of one batch; the rest is cut off.
const MAX_VIOLATIONS: usize = 100;
const HISTORY_PAGES: PageLimits = PageLimits {
    default: 10_000,
    max: 100_000,
};
const MAX_SAMPLED_RUNS: usize = 100;
const MAX_SAMPLED_STEPS: i32 = 2_500;
const DEFAULT_SAMPLED_STEPS: usize = 320;
const MAX_WATCHED_KEYS: usize = 1_000;

/// The run and the batch; points without a time get `now`.
pub fn log_batch(mut message: pb::LogBatchRequest, now: Timestamp) -> Result<(RunId, LogBatch)> {
    let mut violations = Violations::new();
    // As in MLflow a run keeps its name where the tag for it is empty.
    message
        .tags
        .retain(|key, value| key != RUN_NAME_TAG || !value.is_empty());
    let run = violations.take("run_id", run_id(&message.run_id));
    let points = metrics("metrics", message.metrics, now, &mut violations);
    let params = params(message.params, &mut violations);
    let tags = violations.take("tags", Tags::parse("tags", message.tags, MAX_TAG_VALUE_CHARS));
    // This tag becomes the run's name, which is in an index.
    if let Some(name) = tags.as_ref().and_then(|tags| tags.get(RUN_NAME_TAG)) {
        let field = format!("tags[{RUN_NAME_TAG}]");
        violations.take(&field, check_run_name(&field, name));
    }
    finish(violations)?;
    match (run, tags) {
        (Some(run), Some(tags)) => Ok((run, LogBatch::new(points, params, tags)?)),
        _ => Err(Error::internal("a bad field was not noted")),
    }
}

/// The points of one batch of a stream.
pub fn stream_batch(metrics_of: Vec<pb::Metric>, now: Timestamp) -> Result<LogBatch> {
    let mut violations = Violations::new();
    let points = metrics("batch.metrics", metrics_of, now, &mut violations);
    finish(violations)?;
    LogBatch::new(points, Vec::new(), Tags::default())
}

fn finish(violations: Violations) -> Result<()> {
    match violations.finish() {
        Err(Error::Invalid(mut all)) => {
            all.truncate(MAX_VIOLATIONS);
            Err(Error::Invalid(all))
        }
        other => other,
    }
}

/// All points that are good; the faults of the others are noted. Too many are refused before any is looked at.
fn metrics(
    field: &str,
    metrics: Vec<pb::Metric>,
    now: Timestamp,
    violations: &mut Violations,
) -> Vec<Metric> {
    if metrics.len() > MAX_BATCH_METRICS {
        violations.add(
            field,
            format!(
                "has {} entries; at most {MAX_BATCH_METRICS} fit one batch",
                metrics.len()
            ),
        );
        return Vec::new();
    }
    let mut good = Vec::with_capacity(metrics.len());
    for (i, metric) in metrics.into_iter().enumerate() {
        match domain_metric(metric, now) {
            Ok(metric) => good.push(metric),
            Err(Error::Invalid(faults)) => {
                for fault in faults {
                    violations.add(format!("{field}[{i}].{}", fault.field), fault.description);
                }
            }
            Err(other) => violations.add(format!("{field}[{i}]"), other.to_string()),
        }
    }
    good
}

/// The fields of faults are those of the message itself.
fn domain_metric(metric: pb::Metric, now: Timestamp) -> Result<Metric> {
    let key = EntityKey::parse("key", &metric.key);
    let at = from_either("time", metric.time.as_ref(), metric.time_ms);
    if let (Ok(_), Ok(_), true) = (&key, &at, metric.model_id.is_empty()) {
        let point = Point {
            value: metric.value,
            time: at?.unwrap_or(now),
            step: metric.step,
        };
        return Ok(Metric {
            key: key?,
            point,
            source: None,
        });
    }
    let mut violations = Violations::new();
    let key = violations.take("key", key);
    let at = violations.take("time", at);
    let source = violations.take("model_id", source(&metric));
    violations.finish()?;
    match (key, at, source) {
        (Some(key), Some(at), Some(source)) => {
            let point = Point {
                value: metric.value,
                time: at.unwrap_or(now),
                step: metric.step,
            };
            Ok(Metric { key, point, source })
        }
        _ => Err(Error::internal("a bad field was not noted")),
    }
}

fn source(metric: &pb::Metric) -> Result<Option<MetricSource>> {
    if metric.model_id.is_empty() {
        return Ok(None);
    }
    check_text("dataset_name", &metric.dataset_name, 500)?;
    check_text("dataset_digest", &metric.dataset_digest, 36)?;
    Ok(Some(MetricSource {
        model: ModelId::parse(&metric.model_id)?,
        dataset_name: metric.dataset_name.clone(),
        dataset_digest: metric.dataset_digest.clone(),
    }))
}

fn params(params: Vec<pb::Param>, violations: &mut Violations) -> Vec<(EntityKey, ParamValue)> {
    if params.len() > MAX_BATCH_PARAMS {
        violations.add(
            "params",
            format!(
                "has {} entries; at most {MAX_BATCH_PARAMS} fit one batch",
                params.len()
            ),
        );
        return Vec::new();
    }
    let mut good = Vec::with_capacity(params.len());
    for (i, param) in params.into_iter().enumerate() {
        let (key_path, value_path) = (format!("params[{i}].key"), format!("params[{i}].value"));
        let key = violations.take(&key_path, EntityKey::parse(&key_path, &param.key));
        let value = violations.take(&value_path, ParamValue::parse(&value_path, param.value));
        good.extend(key.zip(value));
    }
    good
}

/// What history is asked for.
pub struct HistoryQuery {
    pub run: RunId,
    pub key: String,
    pub order: HistoryOrder,
    pub page: PageRequest,
    pub as_columns: bool,
}

pub fn history(workspace: &Workspace, message: &pb::ListMetricHistoryRequest) -> Result<HistoryQuery> {
    let mut violations = Violations::new();
    let run = violations.take("run_id", run_id(&message.run_id));
    let key = violations.take("metric_key", EntityKey::parse("metric_key", &message.metric_key));
    let order = violations.take("order", history_order(message.order));
    let name = if order == Some(HistoryOrder::Step) {
        "step"
    } else {
        "time"
    };
    let parts = [
        "metric_history",
        workspace.as_str(),
        &message.run_id,
        &message.metric_key,
        name,
    ];
    let page = PageRequest::parse(
        message.page_size,
        &message.page_token,
        HISTORY_PAGES,
        QueryHash::of(&parts),
    );
    let page = violations.take("page_token", page);
    violations.finish()?;
    match (run, key, order, page) {
        (Some(run), Some(key), Some(order), Some(page)) => Ok(HistoryQuery {
            run,
            key: key.into_string(),
            order,
            page,
            as_columns: message.as_columns,
        }),
        _ => Err(Error::internal("a bad field was not noted")),
    }
}

fn history_order(order: i32) -> Result<HistoryOrder> {
    match pb::MetricOrder::try_from(order) {
        Ok(pb::MetricOrder::Unspecified | pb::MetricOrder::Time) => Ok(HistoryOrder::Time),
        Ok(pb::MetricOrder::Step) => Ok(HistoryOrder::Step),
        Err(_) => Err(Error::invalid("order", format!("{order} is not an order"))),
    }
}

pub fn history_page(asked: &HistoryQuery, page: Page<Point>) -> pb::ListMetricHistoryResponse {
    let mut answer = pb::ListMetricHistoryResponse {
        next_page_token: page.token(asked.page.query),
        ..Default::default()
    };
    if asked.as_columns {
        answer.columns = Some(columns(&page.items));
    } else {
        let point = |point| wire_point(asked.key.clone(), point);
        answer.metrics = page.items.into_iter().map(point).collect();
    }
    answer
}

fn columns(points: &[Point]) -> pb::MetricColumns {
    pb::MetricColumns {
        times_ms: points.iter().map(|point| point.time.millis()).collect(),
        steps: points.iter().map(|point| point.step).collect(),
        values: points.iter().map(|point| point.value).collect(),
    }
}

pub fn sample(message: &pb::SampleMetricHistoryRequest) -> Result<Sample> {
    let mut violations = Violations::new();
    let key = violations.take("metric_key", EntityKey::parse("metric_key", &message.metric_key));
    if message.run_ids.len() > MAX_SAMPLED_RUNS {
        let text = format!(
            "has {} entries; at most {MAX_SAMPLED_RUNS} are sampled together",
            message.run_ids.len()
        );
        violations.add("run_ids", text);
    }
    let mut runs = Vec::new();
    for (i, run) in message.run_ids.iter().take(MAX_SAMPLED_RUNS).enumerate() {
        match RunId::parse(run) {
            Ok(run) => runs.push(run),
            Err(_) => violations.add(format!("run_ids[{i}]"), "is not a run id"),
        }
    }
    let range = match (message.start_step, message.end_step) {
        (None, None) => None,
        (Some(start), Some(end)) if start <= end => Some((start, end)),
        (Some(_), Some(_)) => {
            violations.add("end_step", "is less than `start_step`");
            None
        }
        _ => {
            violations.add("end_step", "must be given together with `start_step`, or neither");
            None
        }
    };
    let max_steps = match message.max_steps {
        0 => DEFAULT_SAMPLED_STEPS,
        n if (1..=MAX_SAMPLED_STEPS).contains(&n) => usize::try_from(n).unwrap_or(DEFAULT_SAMPLED_STEPS),
        n => {
            violations.add("max_steps", format!("{n} is not from 1 to {MAX_SAMPLED_STEPS}"));
            DEFAULT_SAMPLED_STEPS
        }
    };
    violations.finish()?;
    Ok(Sample {
        runs,
        key: key.map(EntityKey::into_string).unwrap_or_default(),
        range,
        max_steps,
    })
}

pub fn sampled(points: Vec<StoredPoint>) -> pb::SampleMetricHistoryResponse {
    pb::SampleMetricHistoryResponse {
        points: points.into_iter().map(stored).collect(),
    }
}

fn stored(point: StoredPoint) -> pb::MetricPoint {
    pb::MetricPoint {
        run_id: point.run.to_string(),
        append_seq: point.append_seq,
        metric: Some(wire_point(point.key, point.point)),
    }
}

/// Which run to watch, from where, which metrics.
pub fn watch(message: &pb::WatchRunRequest) -> Result<(RunId, RunCursor, Vec<String>)> {
    let mut violations = Violations::new();
    let run = violations.take("run_id", run_id(&message.run_id));
    let cursor = violations.take("cursor", RunCursor::parse(&message.cursor));
    if message.metric_keys.len() > MAX_WATCHED_KEYS {
        let text = format!(
            "has {} entries; at most {MAX_WATCHED_KEYS}, or none for all",
            message.metric_keys.len()
        );
        violations.add("metric_keys", text);
    }
    let keys: Vec<String> = message
        .metric_keys
        .iter()
        .take(MAX_WATCHED_KEYS)
        .enumerate()
        .filter_map(|(i, key)| {
            let path = format!("metric_keys[{i}]");
            violations
                .take(&path, EntityKey::parse(&path, key))
                .map(EntityKey::into_string)
        })
        .collect();
    violations.finish()?;
    Ok((
        run.ok_or_else(|| Error::internal("a bad field was not noted"))?,
        cursor.unwrap_or_default(),
        keys,
    ))
}

pub fn watched(tail: Tail, run: Option<lodeway_domain::tracking::Run>) -> pb::WatchRunResponse {
    pb::WatchRunResponse {
        cursor: tail.cursor.to_string(),
        points: tail.points.into_iter().map(stored).collect(),
        run: run.map(runs::run),
    }
}

/// What opens a stream: the run and the writer's stream.
pub fn opening(message: Option<pb::StreamMetricsRequest>) -> Result<(RunId, String)> {
    let Some(pb::stream_metrics_request::Kind::Open(open)) = message.and_then(|m| m.kind) else {
        return Err(Error::invalid("open", "must be the first message of a stream"));
    };
    let mut violations = Violations::new();
    let run = violations.take("open.run_id", run_id(&open.run_id));
    let stream = lodeway_domain::id::RequestId::parse(&open.stream_id)
        .ok()
        .flatten();
    if stream.is_none() {
        violations.add(
            "open.stream_id",
            "must be a UUID that the writer keeps over reconnections",
        );
    }
    violations.finish()?;
    match (run, stream) {
        (Some(run), Some(stream)) => Ok((run, stream.to_string())),
        _ => Err(Error::internal("a bad field was not noted")),
    }
}

/// A later message of a stream.
pub fn batch(message: pb::StreamMetricsRequest) -> Result<pb::StreamBatch> {
    match message.kind {
        Some(pb::stream_metrics_request::Kind::Batch(batch)) if batch.sequence >= 1 => Ok(batch),
        Some(pb::stream_metrics_request::Kind::Batch(_)) => {
            Err(Error::invalid("batch.sequence", "must be 1 or more"))
        }
        _ => Err(Error::invalid(
            "batch",
            "must be in every message after the first",
        )),
    }
}

/// The messages of a stream of metrics as they come off the wire.
pub struct Messages {
    pub messages: Streaming<pb::StreamMetricsRequest>,
    pub clock: Arc<dyn Clock>,
}

impl Messages {
    /// The next message, none at the end. A connection that breaks is the end too: what came before it counts.
    ///
    /// Errors: what came is no message, or too large.
    async fn read(&mut self) -> Result<Option<pb::StreamMetricsRequest>> {
        match self
            .messages
            .message()
            .await
            .map_err(|broken| of_request(&broken))
        {
            Err(error @ (Error::Invalid(_) | Error::Exhausted { .. })) => Err(error),
            Err(_) => Ok(None),
            read => read,
        }
    }
}

impl Incoming for Messages {
    fn open(&mut self) -> BoxFuture<'_, Result<(RunId, String)>> {
        Box::pin(async { opening(self.read().await?) })
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Numbered>>> {
        Box::pin(async {
            let Some(message) = self.read().await? else {
                return Ok(None);
            };
            let batch = batch(message)?;
            let sequence = batch.sequence;
            Ok(Some(Numbered {
                sequence,
                batch: stream_batch(batch.metrics, self.clock.now())?,
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_millis(77)
    }

    fn point(key: &str) -> pb::Metric {
        pb::Metric {
            key: key.to_owned(),
            value: f64::NAN,
            ..pb::Metric::default()
        }
    }

    fn fields(result: Result<(RunId, LogBatch)>) -> Vec<String> {
        match result {
            Err(Error::Invalid(all)) => all.into_iter().map(|v| v.field).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_bad_field_is_named() {
        let fine = Some(prost_types::Timestamp { seconds: 1, nanos: 1 });
        let message = pb::LogBatchRequest {
            run_id: String::new(),
            metrics: vec![
                point("a"),
                pb::Metric {
                    time: fine,
                    ..point("b*")
                },
                pb::Metric {
                    model_id: "/".into(),
                    ..point("c")
                },
            ],
            params: vec![pb::Param {
                key: "a//b".into(),
                value: "\0".into(),
            }],
            tags: [("t*".to_owned(), String::new())].into(),
            request_id: String::new(),
        };
        let expected = [
            "run_id",
            "metrics[1].key",
            "metrics[1].time",
            "metrics[2].model_id",
            "params[0].key",
            "params[0].value",
            "tags[t*]",
        ];
        let mut found = fields(log_batch(message, now()));
        if let Some(model) = found.iter_mut().find(|f| f.starts_with("metrics[2]")) {
            *model = "metrics[2].model_id".to_owned();
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn lists_of_faults_are_bounded_and_points_without_a_time_get_one() {
        let bad = pb::LogBatchRequest {
            run_id: "r".into(),
            metrics: vec![point(""); 1000],
            ..Default::default()
        };
        assert_eq!(fields(log_batch(bad, now())).len(), MAX_VIOLATIONS);
        let many = pb::LogBatchRequest {
            run_id: "r".into(),
            metrics: vec![point("a"); 1001],
            ..Default::default()
        };
        assert_eq!(fields(log_batch(many, now())), ["metrics"]);
        let good = pb::LogBatchRequest {
            run_id: "r".into(),
            metrics: vec![point("a")],
            ..Default::default()
        };
        assert_eq!(log_batch(good, now()).unwrap().1.metrics()[0].point.time, now());
    }

    #[test]
    fn ranges_and_counts_of_samples_are_checked() {
        let ask = |start, end, max| {
            let message = pb::SampleMetricHistoryRequest {
                run_ids: vec!["r".into()],
                metric_key: "a".into(),
                start_step: start,
                end_step: end,
                max_steps: max,
            };
            sample(&message)
        };
        assert_eq!(ask(None, None, 0).unwrap().max_steps, 320);
        assert_eq!(ask(Some(1), Some(1), 2_500).unwrap().range, Some((1, 1)));
        for (start, end, max) in [
            (Some(1), None, 0),
            (None, Some(1), 0),
            (Some(2), Some(1), 0),
            (None, None, -1),
            (None, None, 2_501),
        ] {
            assert!(ask(start, end, max).is_err());
        }
    }
}
