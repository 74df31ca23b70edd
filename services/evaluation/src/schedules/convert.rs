//! Wire to domain and back, for schedules.

use std::time::Duration;

use lodeway_domain::{
    Error, Result,
    error::{FieldViolation, Violations},
    evaluation::{EvaluationSpec, Schedule, ScheduleName},
    id,
    page::{PageLimits, PageRequest, QueryHash},
    time::Timestamp,
};
use lodeway_proto::evaluation::v1 as wire;
use lodeway_rpc::CallContext;

use super::{Shown, window};
use crate::evaluations::{
    self, convert,
    render::{self, count, time},
};

const PAGES: PageLimits = PageLimits {
    default: 100,
    max: 1_000,
};
/// Rows of a window if nobody says.
const DEFAULT_ROWS: i64 = 1_000;

pub(super) fn name(text: &str) -> Result<ScheduleName> {
    ScheduleName::parse("name", text)
}

pub(super) fn page(cx: &CallContext, message: &wire::ListSchedulesRequest) -> Result<PageRequest> {
    let parts = [cx.caller.workspace.as_str(), "schedules", &message.endpoint];
    PageRequest::parse(
        message.page_size,
        &message.page_token,
        PAGES,
        QueryHash::of(&parts),
    )
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// A new schedule, every fault named by its field.
pub(super) fn schedule(
    cx: &CallContext,
    message: Option<wire::Schedule>,
    now: Timestamp,
) -> Result<Schedule> {
    let message = message.ok_or_else(|| Error::invalid("schedule", "must be given"))?;
    let mut bad = Violations::new();
    let field = "schedule.name";
    let name = bad.take(field, ScheduleName::parse(field, &message.name));
    if message.endpoint.is_empty() {
        bad.add("schedule.endpoint", "must be given");
    }
    let interval = bad.take("schedule.interval", span("schedule.interval", message.interval));
    let window = match message.window {
        None => interval,
        window => bad.take("schedule.window", span("schedule.window", window)),
    };
    for (at, threshold) in message.thresholds.iter().enumerate() {
        if threshold.max_loss.is_some() || threshold.max_relative_loss.is_some() {
            let why = "compares with a baseline, which a schedule has not; set `min` or `max`";
            bad.add(format!("schedule.thresholds[{at}].max_loss"), why);
        }
    }
    bad.finish()?;
    let unread = || Error::internal("a field was neither read nor refused");
    let (name, interval, window) = (
        name.ok_or_else(unread)?,
        interval.ok_or_else(unread)?,
        window.ok_or_else(unread)?,
    );
    let how = measured(
        &name,
        wire::EvaluationSpec {
            task: message.task,
            roles: message.roles,
            scorers: message.scorers,
            thresholds: message.thresholds,
            ..wire::EvaluationSpec::default()
        },
    )?;
    let rows = match message.max_rows {
        0 => DEFAULT_ROWS,
        rows => rows,
    };
    let new = Schedule {
        uid: id::new_hex(),
        workspace: cx.caller.workspace.as_str().to_owned(),
        endpoint: message.endpoint,
        target: given(message.target),
        interval,
        window,
        max_rows: u64::try_from(rows).unwrap_or_default(),
        task: how.task,
        roles: how.roles,
        scorers: how.scorers,
        thresholds: how.thresholds,
        principal: cx.caller.principal.clone(),
        verified: cx.caller.verified,
        created: now,
        next: now,
        last: None,
        last_evaluation_id: String::new(),
        error: String::new(),
        skipped: 0,
        name,
    };
    new.checked()
}

fn span(field: &str, span: Option<prost_types::Duration>) -> Result<Duration> {
    let span = span.ok_or_else(|| Error::invalid(field, "must be given"))?;
    Duration::try_from(span).map_err(|_| Error::invalid(field, "must not be negative"))
}

/// Task, roles, scorers and thresholds, read and checked as those of an evaluation.
fn measured(name: &ScheduleName, wanted: wire::EvaluationSpec) -> Result<EvaluationSpec> {
    let spec = wire::EvaluationSpec {
        name: name.as_str().to_owned(),
        dataset: Some(wire::DatasetRef {
            name: name.dataset()?.as_str().to_owned(),
            version: 0,
        }),
        ..wanted
    };
    let read = convert::spec(Some(spec)).and_then(|spec| {
        evaluations::check(&spec)?;
        Ok(spec)
    });
    read.map_err(|error| match error {
        Error::Invalid(faults) => Error::Invalid(faults.into_iter().map(renamed).collect()),
        other => other,
    })
}

/// A fault of the evaluation as one of the schedule.
fn renamed(fault: FieldViolation) -> FieldViolation {
    let field = match fault.field.strip_prefix("spec.") {
        Some(rest) => format!("schedule.{rest}"),
        None => fault.field,
    };
    FieldViolation { field, ..fault }
}

/// A schedule with what came of it.
pub(super) fn shown(shown: Shown) -> wire::Schedule {
    let Shown { schedule, last } = shown;
    let spec = render::wire_spec(window::spec(&schedule, 0));
    let last = last.map(render::evaluation).unwrap_or_default();
    wire::Schedule {
        name: schedule.name.to_string(),
        endpoint: schedule.endpoint,
        interval: prost_types::Duration::try_from(schedule.interval).ok(),
        window: prost_types::Duration::try_from(schedule.window).ok(),
        max_rows: count(schedule.max_rows),
        scorers: spec.scorers,
        thresholds: spec.thresholds,
        last_evaluation_id: schedule.last_evaluation_id,
        next_time: Some(time(schedule.next)),
        error: schedule.error,
        principal: schedule.principal,
        create_time: Some(time(schedule.created)),
        target: schedule.target.unwrap_or_default(),
        task: spec.task,
        last_time: schedule.last.map(time),
        last_state: last.state,
        last_metrics: last.metrics,
        last_verdict: last.verdict,
        last_error: last.error,
        skipped_windows: count(schedule.skipped),
        roles: spec.roles,
    }
}
