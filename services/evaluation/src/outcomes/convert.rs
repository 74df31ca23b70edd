//! Wire to domain and back, for outcomes.

use std::{collections::BTreeMap, time::Duration};

use lodeway_domain::{
    Error, Result,
    error::Violations,
    evaluation::{Join, MAX_OUTCOME_ROWS, MAX_OUTCOME_SLICES, MAX_OUTCOME_TEXT, MAX_OUTCOMES, OutcomeValue},
    page::{PageLimits, PageRequest, QueryHash},
    time::Timestamp,
};
use lodeway_metrics::Task;
use lodeway_proto::evaluation::v1 as wire;
use lodeway_rpc::CallContext;
use lodeway_store::evaluation::{OutcomeQuery, UnjoinedOutcome, UnjoinedQuery};
use prost_types::{Value, value::Kind};

use super::{
    join::of_kind,
    live::{Live, Wanted},
};
use crate::evaluations::{
    convert::moment,
    render::{count, time},
};

const PAGES: PageLimits = PageLimits {
    default: 100,
    max: 1_000,
};
/// How far the clock of whoever reports may be ahead.
const AHEAD: Duration = Duration::from_secs(300);
/// How far back is looked if nobody says.
const SPAN: Duration = Duration::from_secs(30 * 24 * 3_600);

/// An outcome as it was reported; what its prediction was is not known yet.
pub(super) struct Reported {
    pub(super) prediction_id: String,
    pub(super) labels: Vec<OutcomeValue>,
    /// None if the gateway's record is to say it.
    pub(super) predictions: Vec<OutcomeValue>,
    pub(super) slices: BTreeMap<String, String>,
    pub(super) known: Timestamp,
}

/// An outcome that was not kept: its place in the request, and why.
pub(super) struct Refusal {
    pub(super) index: usize,
    pub(super) message: String,
}

/// The outcomes one by one: a bad one does not take the others along.
pub(super) fn reported(outcomes: Vec<wire::Outcome>, now: Timestamp) -> Result<Vec<Result<Reported>>> {
    if outcomes.is_empty() || outcomes.len() > MAX_OUTCOMES {
        let why = format!("must be 1 to {MAX_OUTCOMES}, not {}", outcomes.len());
        return Err(Error::invalid("outcomes", why));
    }
    Ok(outcomes.into_iter().map(|one| outcome(one, now)).collect())
}

fn outcome(message: wire::Outcome, now: Timestamp) -> Result<Reported> {
    let mut bad = Violations::new();
    if message.prediction_id.is_empty() {
        bad.add("prediction_id", "must be given");
    }
    let labels = bad.take("label", values("label", message.label));
    let predictions = match message.prediction {
        None => Some(Vec::new()),
        given => bad.take("prediction", values("prediction", given)),
    };
    if let Some((labels, predictions)) = labels.as_ref().zip(predictions.as_ref())
        && !predictions.is_empty()
        && labels.len() != predictions.len()
    {
        let why = format!("has {} values beside {} labels", predictions.len(), labels.len());
        bad.add("prediction", why);
    }
    let known = message.time.map_or(now, moment);
    if known > now.plus(AHEAD) {
        bad.add(
            "time",
            "lies in the future; a label is known when it is reported, or before",
        );
    }
    let labels = match labels.zip(predictions.as_ref()) {
        Some((labels, predictions)) if labels.len() == predictions.len() => {
            let fitted = of_kind(labels, predictions).map_err(|why| Error::invalid("label", why));
            bad.take("label", fitted)
        }
        labels => labels.map(|(labels, _)| labels),
    };
    let is_long = |text: &String| text.len() > MAX_OUTCOME_TEXT;
    if message.slices.len() > MAX_OUTCOME_SLICES
        || message
            .slices
            .iter()
            .any(|(name, value)| is_long(name) || is_long(value))
    {
        let why = format!("must be at most {MAX_OUTCOME_SLICES}, each text at most {MAX_OUTCOME_TEXT} bytes");
        bad.add("slices", why);
    }
    bad.finish()?;
    Ok(Reported {
        prediction_id: message.prediction_id,
        labels: labels.unwrap_or_default(),
        predictions: predictions.unwrap_or_default(),
        slices: message.slices,
        known,
    })
}

/// One value, or one a row.
fn values(field: &str, value: Option<Value>) -> Result<Vec<OutcomeValue>> {
    match value.and_then(|value| value.kind) {
        Some(Kind::ListValue(list)) => {
            if list.values.is_empty() || list.values.len() > MAX_OUTCOME_ROWS {
                let why = format!("must have 1 to {MAX_OUTCOME_ROWS} values");
                return Err(Error::invalid(field, why));
            }
            list.values
                .into_iter()
                .map(|one| single(field, one.kind))
                .collect()
        }
        kind => Ok(vec![single(field, kind)?]),
    }
}

fn single(field: &str, kind: Option<Kind>) -> Result<OutcomeValue> {
    match kind {
        Some(Kind::BoolValue(flag)) => Ok(OutcomeValue::Flag(flag)),
        Some(Kind::NumberValue(number)) if number.is_finite() => Ok(OutcomeValue::Number(number)),
        Some(Kind::StringValue(text)) if text.len() <= MAX_OUTCOME_TEXT => Ok(OutcomeValue::Text(text)),
        _ => {
            let why =
                format!("must be a finite number, a boolean or a text of at most {MAX_OUTCOME_TEXT} bytes");
            Err(Error::invalid(field, why))
        }
    }
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// From when to when predictions are looked at. Errors: a span that is none.
fn span(
    bad: &mut Violations,
    (start, end): (Option<prost_types::Timestamp>, Option<prost_types::Timestamp>),
    now: Timestamp,
) -> (Timestamp, Timestamp) {
    let end = end.map_or(now, moment);
    let start = start.map_or(end.minus(SPAN), moment);
    if start >= end {
        bad.add("start_time", "must be before `end_time`");
    }
    (start, end)
}

/// Which outcomes without a prediction are wanted.
pub(super) fn unjoined_query(
    cx: &CallContext,
    message: wire::ListUnjoinedOutcomesRequest,
    now: Timestamp,
) -> Result<UnjoinedQuery> {
    let mut bad = Violations::new();
    if message.endpoint.is_empty() {
        bad.add("endpoint", "must be given");
    }
    // Without a start or an end the span moves from page to page; the token keeps the place.
    let words = format!(
        "{:?} {:?} {}",
        message.start_time, message.end_time, message.with_pending
    );
    let (start, end) = span(&mut bad, (message.start_time, message.end_time), now);
    bad.finish()?;
    let parts = [
        cx.caller.workspace.as_str(),
        "unjoined",
        &message.endpoint,
        &words,
    ];
    let query = QueryHash::of(&parts);
    Ok(UnjoinedQuery {
        page: PageRequest::parse(message.page_size, &message.page_token, PAGES, query)?,
        endpoint: message.endpoint,
        start,
        end,
        with_pending: message.with_pending,
    })
}

/// An outcome without a prediction, and why.
pub(super) fn unjoined(found: UnjoinedOutcome) -> wire::UnjoinedOutcome {
    let outcome = found.outcome;
    wire::UnjoinedOutcome {
        prediction_id: outcome.prediction_id,
        target: outcome.target,
        model_version: outcome.model_version,
        prediction_time: Some(time(outcome.predicted)),
        time: Some(time(outcome.known)),
        label_count: i64::try_from(outcome.labels.len()).unwrap_or(i64::MAX),
        reason: match outcome.join {
            Join::Unjoined { reason } => reason,
            Join::Pending => "the gateway has no record of the prediction yet".to_owned(),
            Join::Joined => String::new(),
        },
        next_time: found.next.map(time),
        try_count: i32::try_from(found.tries).unwrap_or(i32::MAX),
    }
}

pub(super) fn wanted(message: wire::QueryLiveMetricsRequest, now: Timestamp) -> Result<Wanted> {
    let mut bad = Violations::new();
    if message.endpoint.is_empty() {
        bad.add("endpoint", "must be given");
    }
    let (start, end) = span(&mut bad, (message.start_time, message.end_time), now);
    let task = match wire::Task::try_from(message.task) {
        Ok(wire::Task::Unspecified) => None,
        Ok(wire::Task::Classification) => Some(Task::Classification),
        Ok(wire::Task::Regression) => Some(Task::Regression),
        _ => {
            bad.add("task", "must be classification or regression");
            None
        }
    };
    bad.finish()?;
    Ok(Wanted {
        outcomes: OutcomeQuery {
            endpoint: message.endpoint,
            target: given(message.target),
            start,
            end,
        },
        slice: given(message.slice),
        daily: message.daily,
        task,
    })
}

pub(super) fn refusal(refusal: Refusal) -> wire::OutcomeRefusal {
    wire::OutcomeRefusal {
        index: i32::try_from(refusal.index).unwrap_or(i32::MAX),
        message: refusal.message,
    }
}

/// Errors: outcomes that cannot be measured.
pub(super) fn live(live: Live) -> Result<wire::LiveMetrics> {
    let unlabelled_share = live.unlabelled_share();
    let slice = live.group.slice.unwrap_or_default();
    let metrics = live
        .metrics?
        .into_iter()
        .map(|(metric, estimate)| wire::MetricValue {
            metric,
            slice: slice.clone(),
            value: estimate.value,
            low: estimate.low,
            high: estimate.high,
            samples: count(live.rows),
            method: estimate.method.as_str().to_owned(),
        });
    Ok(wire::LiveMetrics {
        target: live.group.target,
        model_version: live.group.model_version,
        day: live.group.day_ms.map(|day| time(Timestamp::from_millis(day))),
        predictions: count(live.predictions),
        labelled: count(live.labelled),
        unlabelled_share: if slice.is_empty() {
            unlabelled_share
        } else {
            f64::NAN
        },
        metrics: metrics.collect(),
        slice,
        pending: count(live.pending),
        unjoined: count(live.unjoined),
    })
}
