//! Recorded predictions and live metrics.

use std::time::Duration;

use lodeway_domain::{
    Error, Result,
    error::Violations,
    page::{PageLimits, PageRequest, QueryHash},
    serving::TargetName,
};
use lodeway_proto::gateway::v1::{self as wire};
use lodeway_rpc::CallContext;
use lodeway_store::gateway::LiveMetric;

use crate::endpoints::records::{Counts, Found, FoundPrediction, Record};

use super::{span_out, time, time_out};

/// Live metrics of one report.
const MAX_LIVE_METRICS: usize = 1_000;
/// Predictions on a page; evaluation reads many.
const PREDICTION_PAGES: PageLimits = PageLimits {
    default: 1_000,
    max: 10_000,
};

/// A page of recorded predictions.
pub(crate) fn predictions_page(
    cx: &CallContext,
    size: i32,
    token: &str,
    parts: &[&str],
) -> Result<PageRequest> {
    let mut query = vec![cx.caller.workspace.as_str(), "predictions"];
    query.extend(parts);
    PageRequest::parse(size, token, PREDICTION_PAGES, QueryHash::of(&query))
}

/// One recorded prediction.
pub(crate) fn record(of: Record) -> wire::PredictionRecord {
    wire::PredictionRecord {
        prediction_id: of.id,
        trace_id: of.trace_id,
        time: time_out(of.time),
        revision: of.revision.into(),
        target: of.target,
        model_version: of.model_version,
        latency: Duration::try_from_secs_f64(of.latency_ms / 1e3)
            .ok()
            .and_then(span_out),
        rows: of.rows,
        value: of.value,
        class: of.class,
        prediction_json: of.prediction.unwrap_or_default(),
        slices: of.slices.into_iter().collect(),
        request_json: of.request.unwrap_or_default(),
        response_json: of.response.unwrap_or_default(),
        outcome: of.outcome,
        is_shadow: of.is_shadow,
    }
}

/// What was found of a single answer.
pub(crate) fn found(of: FoundPrediction) -> wire::FoundPrediction {
    use wire::FoundPredictionState as State;
    let (state, record) = match of.found {
        Found::Refused => (State::Refused, None),
        Found::Recorded(found) => (State::Recorded, Some(record(*found))),
        Found::Missing => (State::Missing, None),
        Found::Unread => (State::Unread, None),
    };
    wire::FoundPrediction {
        prediction_id: of.id,
        state: state.into(),
        endpoint: of.endpoint,
        target: of.target,
        model_version: of.model_version,
        time: of.time.and_then(time_out),
        record,
    }
}

/// Live metrics as they are reported. Errors: every bad field.
pub(crate) fn live_metrics(messages: Vec<wire::LiveMetric>) -> Result<Vec<LiveMetric>> {
    if !(1..=MAX_LIVE_METRICS).contains(&messages.len()) {
        let why = format!("has {} metrics; give 1 to {MAX_LIVE_METRICS}", messages.len());
        return Err(Error::invalid("metrics", why));
    }
    let mut bad = Violations::new();
    let each = messages.into_iter().enumerate().filter_map(|(at, message)| {
        let field = format!("metrics[{at}]");
        bad.take(&field, live_metric(&field, message))
    });
    let each: Vec<_> = each.collect();
    bad.finish()?;
    Ok(each)
}

fn live_metric(field: &str, m: wire::LiveMetric) -> Result<LiveMetric> {
    let at = |name: &str| format!("{field}.{name}");
    let moment = |name: &str, value: Option<prost_types::Timestamp>| {
        let value = value.ok_or_else(|| Error::invalid(at(name), "must be given"))?;
        time(&at(name), value)
    };
    if m.metric.is_empty() || m.metric.chars().count() > 250 || m.metric.chars().any(char::is_control) {
        let why = "must be 1 to 250 characters without control characters";
        return Err(Error::invalid(at("metric"), why));
    }
    let interval = m.low.zip(m.high);
    let ends = interval.into_iter().flat_map(|(low, high)| [low, high]);
    if !ends.chain([m.value]).all(f64::is_finite) || m.low.is_some() != m.high.is_some() {
        return Err(Error::invalid(
            at("value"),
            "must be finite, and `low` and `high` both or neither given",
        ));
    }
    if !(0.0..=1.0).contains(&m.unlabelled_share) {
        return Err(Error::invalid(at("unlabelled_share"), "must be from 0 to 1"));
    }
    let (start, end) = (
        moment("start_time", m.start_time)?,
        moment("end_time", m.end_time)?,
    );
    if start >= end {
        return Err(Error::invalid(at("start_time"), "must be before `end_time`"));
    }
    Ok(LiveMetric {
        target: TargetName::parse(&at("target"), &m.target)?,
        model_version: m.model_version,
        metric: m.metric,
        value: m.value,
        interval,
        samples: u64::try_from(m.sample_count)
            .map_err(|_| Error::invalid(at("sample_count"), "must be at least 0"))?,
        unlabelled_share: m.unlabelled_share,
        start,
        end,
    })
}

/// What became of records.
pub(crate) fn counts(of: Counts) -> wire::PredictionRecords {
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    wire::PredictionRecords {
        recorded: count(of.recorded),
        kept_whole: count(of.kept_whole),
        over_budget: count(of.over_budget),
        payloads_over_budget: count(of.payloads_over_budget),
        lost: count(of.lost),
    }
}
