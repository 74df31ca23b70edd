//! Wire to domain and back, for schedules.

use std::time::Duration;

use lodeway_domain::{
    Error, Result,
    error::{FieldViolation, Violations},
    evaluation::{DEFAULT_KEPT_WINDOWS, EvaluationSpec, Schedule, ScheduleBaseline, ScheduleName},
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
    let baseline = message.baseline.map(baseline).transpose();
    let baseline = bad.take("schedule.baseline", baseline).flatten();
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
            baseline: baseline.as_ref().map(|baseline| wire::Baseline {
                baseline: Some(match baseline {
                    ScheduleBaseline::Model(uri) => wire::baseline::Baseline::ModelUri(uri.clone()),
                    // Which one is known when a window has ended.
                    ScheduleBaseline::PreviousWindow => {
                        wire::baseline::Baseline::EarlierEvaluationId("previous".to_owned())
                    }
                }),
            }),
            ..wire::EvaluationSpec::default()
        },
    )?;
    let keep = match message.keep_windows {
        0 => i64::from(DEFAULT_KEPT_WINDOWS),
        keep => i64::from(keep),
    };
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
        baseline,
        keep_windows: u32::try_from(keep).unwrap_or_default(),
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

fn baseline(message: wire::ScheduleBaseline) -> Result<ScheduleBaseline> {
    use wire::schedule_baseline::Baseline;
    match message.baseline {
        Some(Baseline::ModelUri(uri)) => Ok(ScheduleBaseline::Model(uri)),
        Some(Baseline::PreviousWindow(true)) => Ok(ScheduleBaseline::PreviousWindow),
        Some(Baseline::PreviousWindow(false)) | None => {
            let why = "must be `model_uri`, or `previous_window` with true";
            Err(Error::invalid("schedule.baseline", why))
        }
    }
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
    let description = fault.description.replace("`spec.", "`schedule.");
    FieldViolation {
        field,
        description,
        ..fault
    }
}

/// A schedule with what came of it.
pub(super) fn shown(shown: Shown) -> wire::Schedule {
    let Shown { schedule, last } = shown;
    let spec = render::wire_spec(window::spec(&schedule, 0, None));
    let thresholds = schedule.thresholds.into_iter().map(render::wire_threshold);
    let baseline = schedule.baseline.map(|baseline| match baseline {
        ScheduleBaseline::Model(uri) => wire::schedule_baseline::Baseline::ModelUri(uri),
        ScheduleBaseline::PreviousWindow => wire::schedule_baseline::Baseline::PreviousWindow(true),
    });
    let last = last.map(render::evaluation).unwrap_or_default();
    wire::Schedule {
        name: schedule.name.to_string(),
        endpoint: schedule.endpoint,
        interval: prost_types::Duration::try_from(schedule.interval).ok(),
        window: prost_types::Duration::try_from(schedule.window).ok(),
        max_rows: count(schedule.max_rows),
        scorers: spec.scorers,
        thresholds: thresholds.collect(),
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
        baseline: baseline.map(|baseline| wire::ScheduleBaseline {
            baseline: Some(baseline),
        }),
        keep_windows: i32::try_from(schedule.keep_windows).unwrap_or(i32::MAX),
    }
}
