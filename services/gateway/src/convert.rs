//! Wire messages of `lodeway.gateway.v1` to domain words and back; the only file here that knows both.

use std::time::Duration;

use lodeway_domain::{
    Error, Result,
    error::Violations,
    monitor::{Distribution, Drift, ShadowSummary},
    page::{PageLimits, PageRequest, QueryHash},
    registry::{AliasName, ModelRef, Stage},
    serving::{
        Check, Condition, DeploymentSettings, EnvManager, ErrorLimit, Guard, HeaderName, LatencyLimit,
        MatchRule, MetricLimit, OnSuccess, OutlierEjection, RequestLog, Resilience, Revision, RevisionReason,
        RevisionSpec, RolloutPlan, RolloutSpec, RolloutStatus, RuntimeChoice, Shadow, Step, StepKind,
        StickyKey, Target, TargetName, TargetRef, Verdict, WHOLE_SHARE, WeightedTarget,
    },
    time::Timestamp,
};
use lodeway_proto::gateway::v1::{self as wire, match_rule, sticky_key};
use lodeway_rpc::CallContext;
use lodeway_store::gateway::{EndpointRecord, LiveMetric, Resolution};

use crate::endpoints::{
    events::Happened,
    monitor::Measured,
    records::{Counts, Record},
    rollouts::{Completion, Stored},
    table::Route,
};

const PAGES: PageLimits = PageLimits {
    default: 100,
    max: 1_000,
};

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

/// A page of the list that `parts` name.
pub(crate) fn page(cx: &CallContext, size: i32, token: &str, parts: &[&str]) -> Result<PageRequest> {
    let mut query = vec![cx.caller.workspace.as_str()];
    query.extend(parts);
    PageRequest::parse(size, token, PAGES, QueryHash::of(&query))
}

/// A duration; none if it is unset or zero. Errors: negative ones.
pub(crate) fn span(field: &str, value: Option<prost_types::Duration>) -> Result<Option<Duration>> {
    let span =
        value.map(|d| Duration::try_from(d).map_err(|_| Error::invalid(field, "must not be negative")));
    Ok(span.transpose()?.filter(|span| !span.is_zero()))
}

/// A duration in whole milliseconds; none if it is unset or zero.
pub(crate) fn millis(field: &str, value: Option<prost_types::Duration>) -> Result<Option<u32>> {
    let Some(span) = span(field, value)? else {
        return Ok(None);
    };
    let millis = u32::try_from(span.as_millis()).map_err(|_| Error::invalid(field, "is too long"))?;
    if millis == 0 {
        return Err(Error::invalid(field, "must be at least a millisecond"));
    }
    Ok(Some(millis))
}

pub(crate) fn span_out(span: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(span).ok()
}

pub(crate) fn millis_out(millis: u32) -> Option<prost_types::Duration> {
    span_out(Duration::from_millis(millis.into()))
}

/// A moment to the millisecond. Errors: one beyond all calendars.
pub(crate) fn time(field: &str, value: prost_types::Timestamp) -> Result<Timestamp> {
    let millis = value
        .seconds
        .checked_mul(1_000)
        .and_then(|s| s.checked_add(i64::from(value.nanos) / 1_000_000));
    millis
        .map(Timestamp::from_millis)
        .ok_or_else(|| Error::invalid(field, "is beyond all calendars"))
}

pub(crate) fn time_out(time: Timestamp) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: time.millis().div_euclid(1_000),
        nanos: i32::try_from(time.millis().rem_euclid(1_000)).unwrap_or(0) * 1_000_000,
    })
}

/// A revision's number. Errors: one below 1.
pub(crate) fn number(field: &str, value: i64) -> Result<u32> {
    u32::try_from(value)
        .ok()
        .filter(|&number| number > 0)
        .ok_or_else(|| Error::invalid(field, format!("`{value}` is no revision; they begin at 1")))
}

/// What is to be behind an endpoint. Errors: every bad field.
pub(crate) fn spec(message: Option<wire::RevisionSpec>) -> Result<RevisionSpec> {
    let message = message.ok_or_else(|| Error::invalid("spec", "must be given"))?;
    let mut bad = Violations::new();
    let targets = message.targets.into_iter().enumerate();
    let targets: Vec<_> = targets
        .filter_map(|(at, target)| {
            let field = format!("spec.targets[{at}]");
            bad.take(&field, weighted(&field, target))
        })
        .collect();
    let rules = message.rules.into_iter().enumerate();
    let rules: Vec<_> = rules
        .filter_map(|(at, rule)| {
            let field = format!("spec.rules[{at}]");
            bad.take(&field, self::rule(&field, rule))
        })
        .collect();
    let sticky = bad.take("spec.sticky_key", sticky(message.sticky_key));
    let shadow = bad.take("spec.shadow", message.shadow.map(shadow).transpose());
    let resilience = bad.take(
        "spec.resilience",
        resilience(message.resilience.unwrap_or_default()),
    );
    let request_log = bad.take(
        "spec.request_log",
        request_log(message.request_log.unwrap_or_default()),
    );
    bad.finish()?;
    Ok(RevisionSpec {
        targets,
        rules,
        sticky: sticky.unwrap_or_default(),
        shadow: shadow.flatten(),
        resilience: resilience.unwrap_or_default(),
        request_log: request_log.unwrap_or_default(),
    })
}

fn request_log(m: wire::RequestLog) -> Result<RequestLog> {
    let default = RequestLog::default();
    let field = "spec.request_log.max_bytes_per_second";
    Ok(RequestLog {
        share: share("spec.request_log.sample_share", m.sample_share)?,
        max_bytes_per_second: match m.max_bytes_per_second {
            0 => default.max_bytes_per_second,
            n => u64::try_from(n).map_err(|_| Error::invalid(field, "must be at least 0"))?,
        },
        redacted: m.redacted_fields,
        slices: m.slice_fields,
    })
}

fn request_log_out(of: &RequestLog) -> Option<wire::RequestLog> {
    let default = RequestLog::default();
    (*of != default).then(|| wire::RequestLog {
        sample_share: share_out(of.share),
        redacted_fields: of.redacted.clone(),
        max_bytes_per_second: i64::try_from(of.max_bytes_per_second).unwrap_or(i64::MAX),
        slice_fields: of.slices.clone(),
    })
}

fn weighted(field: &str, message: wire::Target) -> Result<WeightedTarget> {
    let weight = message.weight;
    Ok(WeightedTarget {
        target: target(field, message)?,
        weight,
    })
}

/// A target, named after its reference if it has no name.
pub(crate) fn target(field: &str, message: wire::Target) -> Result<Target> {
    let at = |name: &str| format!("{field}.{name}");
    let reference = TargetRef::parse(&at("reference"), &message.reference)?;
    let name = match message.name.as_str() {
        "" => default_name(&reference),
        name => name.to_owned(),
    };
    Ok(Target {
        name: TargetName::parse(&at("name"), &name)?,
        reference,
        timeout_ms: millis(&at("timeout"), message.timeout)?,
        settings: settings(&at("settings"), message.settings.unwrap_or_default())?,
    })
}

fn default_name(reference: &TargetRef) -> String {
    match reference {
        TargetRef::Model(ModelRef::Version { version, .. }) => format!("v{version}"),
        TargetRef::Model(ModelRef::Stage { stage, .. }) => stage.to_string().to_ascii_lowercase(),
        TargetRef::Model(ModelRef::Alias { alias, .. }) => alias.to_string(),
        TargetRef::Model(_) => "model".to_owned(),
        TargetRef::External(external) => external.model().to_owned(),
        TargetRef::Folder(_) => "folder".to_owned(),
    }
}

fn settings(field: &str, m: wire::TargetSettings) -> Result<DeploymentSettings> {
    let default = DeploymentSettings::default();
    let at = |name: &str| format!("{field}.{name}");
    let count = |name: &str, value: i32, default: usize| match value {
        0 => Ok(default),
        n => usize::try_from(n).map_err(|_| Error::invalid(at(name), "must be at least 0")),
    };
    let bytes = u64::try_from(m.memory_limit_bytes)
        .map_err(|_| Error::invalid(at("memory_limit_bytes"), "must be at least 0"))?;
    DeploymentSettings {
        runtime: RuntimeChoice::parse(&at("runtime"), &m.runtime)?,
        workers: count("workers", m.workers, default.workers)?,
        env_manager: EnvManager::parse(&at("env_manager"), &m.env_manager)?,
        memory_limit_bytes: Some(bytes).filter(|&bytes| bytes > 0),
        allow_network: m.allow_network,
        row_independent: m.row_independent,
        max_batch_rows: count("max_batch_rows", m.max_batch_rows, default.max_batch_rows)?,
        max_batch_delay: span(&at("max_batch_delay"), m.max_batch_delay)?.unwrap_or(default.max_batch_delay),
        max_queued_calls: count("max_queued_calls", m.max_queued_calls, default.max_queued_calls)?,
        ..default
    }
    .checked(field)
}

fn settings_out(s: &DeploymentSettings) -> Option<wire::TargetSettings> {
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    (*s != DeploymentSettings::default()).then(|| wire::TargetSettings {
        runtime: s.runtime.to_string(),
        workers: count(s.workers),
        env_manager: s.env_manager.to_string(),
        memory_limit_bytes: s
            .memory_limit_bytes
            .and_then(|n| i64::try_from(n).ok())
            .unwrap_or_default(),
        allow_network: s.allow_network,
        row_independent: s.row_independent,
        max_batch_rows: count(s.max_batch_rows),
        max_batch_delay: span_out(s.max_batch_delay),
        max_queued_calls: count(s.max_queued_calls),
    })
}

fn rule(field: &str, message: wire::MatchRule) -> Result<MatchRule> {
    let condition = match message.condition {
        Some(match_rule::Condition::Equals(value)) => Condition::Equals(value),
        Some(match_rule::Condition::Prefix(value)) => Condition::Prefix(value),
        Some(match_rule::Condition::Present(true)) => Condition::Present,
        Some(match_rule::Condition::Present(false)) | None => {
            let why = "must say what the header's value must be: equals, prefix, or present = true";
            return Err(Error::invalid(format!("{field}.condition"), why));
        }
    };
    Ok(MatchRule {
        header: HeaderName::parse(&format!("{field}.header"), &message.header)?,
        condition,
        target: TargetName::parse(&format!("{field}.target"), &message.target)?,
    })
}

fn sticky(message: Option<wire::StickyKey>) -> Result<StickyKey> {
    match message.and_then(|key| key.source) {
        None => Ok(StickyKey::None),
        Some(sticky_key::Source::Header(name)) => {
            HeaderName::parse("spec.sticky_key.header", &name).map(StickyKey::Header)
        }
        Some(sticky_key::Source::Input(name)) => Ok(StickyKey::InputField(name)),
    }
}

fn shadow(message: wire::Shadow) -> Result<Shadow> {
    Ok(Shadow {
        target: TargetName::parse("spec.shadow.target", &message.target)?,
        share: share("spec.shadow.share", message.share)?,
        max_in_flight: match message.max_active_calls {
            0 => 64,
            n => n,
        },
    })
}

/// A share in ten-thousandths. Errors: one that is not from 0 to 1.
pub(crate) fn share(field: &str, share: f64) -> Result<u16> {
    if !(0.0..=1.0).contains(&share) {
        return Err(Error::invalid(field, format!("`{share}` is not from 0 to 1")));
    }
    Ok((share * f64::from(WHOLE_SHARE)).round() as u16)
}

pub(crate) fn share_out(share: u16) -> f64 {
    f64::from(share) / f64::from(WHOLE_SHARE)
}

fn resilience(m: wire::Resilience) -> Result<Resilience> {
    let default = Resilience::default();
    let at = |name: &str| format!("spec.resilience.{name}");
    let or = |value: u32, default: u32| if value == 0 { default } else { value };
    Ok(Resilience {
        timeout_ms: millis(&at("timeout"), m.timeout)?.unwrap_or(default.timeout_ms),
        retry_percent: m.retry_percent.unwrap_or(default.retry_percent),
        retry_min_per_second: m.retry_min_per_second.unwrap_or(default.retry_min_per_second),
        max_retries: m.max_retries.unwrap_or(default.max_retries),
        hedge_after_ms: millis(&at("hedge_after"), m.hedge_after)?,
        outlier: OutlierEjection {
            consecutive_failures: or(m.ejection_failures, default.outlier.consecutive_failures),
            ejection_ms: millis(&at("ejection_time"), m.ejection_time)?
                .unwrap_or(default.outlier.ejection_ms),
            max_ejection_ms: millis(&at("max_ejection_time"), m.max_ejection_time)?
                .unwrap_or(default.outlier.max_ejection_ms),
        },
        max_in_flight: or(m.max_active_calls, default.max_in_flight),
    })
}

/// A revision as it was made.
pub(crate) fn revision(of: &Revision, moved_share: f64) -> wire::Revision {
    wire::Revision {
        number: of.number.into(),
        spec: Some(spec_out(of)),
        principal: of.principal.clone(),
        verified: of.principal_verified,
        create_time: time_out(of.created),
        comment: of.comment.clone(),
        reason: match &of.reason {
            RevisionReason::Created => "create".to_owned(),
            RevisionReason::Updated => "update".to_owned(),
            RevisionReason::RolledBack { to } => format!("rollback to {to}"),
            RevisionReason::RolloutStep { rollout, step } => format!("rollout {rollout} step {step}"),
            RevisionReason::RolloutRestored { rollout, to } => format!("rollout {rollout} back to {to}"),
        },
        moved_share,
    }
}

fn spec_out(of: &Revision) -> wire::RevisionSpec {
    let r = &of.resilience;
    wire::RevisionSpec {
        targets: of
            .targets
            .iter()
            .map(|target| target_out(target, of.weight(&target.name).unwrap_or(0)))
            .collect(),
        rules: of.rules.iter().map(rule_out).collect(),
        sticky_key: match &of.sticky {
            StickyKey::None => None,
            StickyKey::Header(name) => Some(sticky_key::Source::Header(name.to_string())),
            StickyKey::InputField(name) => Some(sticky_key::Source::Input(name.clone())),
        }
        .map(|source| wire::StickyKey { source: Some(source) }),
        shadow: of.shadow.as_ref().map(|shadow| wire::Shadow {
            target: shadow.target.to_string(),
            share: share_out(shadow.share),
            max_active_calls: shadow.max_in_flight,
        }),
        resilience: Some(wire::Resilience {
            timeout: millis_out(r.timeout_ms),
            retry_percent: Some(r.retry_percent),
            retry_min_per_second: Some(r.retry_min_per_second),
            max_retries: Some(r.max_retries),
            hedge_after: r.hedge_after_ms.and_then(millis_out),
            ejection_failures: r.outlier.consecutive_failures,
            ejection_time: millis_out(r.outlier.ejection_ms),
            max_ejection_time: millis_out(r.outlier.max_ejection_ms),
            max_active_calls: r.max_in_flight,
        }),
        request_log: request_log_out(&of.request_log),
    }
}

pub(crate) fn target_out(target: &Target, weight: u32) -> wire::Target {
    wire::Target {
        name: target.name.to_string(),
        reference: target.reference.to_string(),
        weight,
        settings: settings_out(&target.settings),
        timeout: target.timeout_ms.and_then(millis_out),
    }
}

fn rule_out(rule: &MatchRule) -> wire::MatchRule {
    wire::MatchRule {
        header: rule.header.to_string(),
        condition: Some(match &rule.condition {
            Condition::Equals(value) => match_rule::Condition::Equals(value.clone()),
            Condition::Prefix(value) => match_rule::Condition::Prefix(value.clone()),
            Condition::Present => match_rule::Condition::Present(true),
        }),
        target: rule.target.to_string(),
    }
}

/// An endpoint as it stands; `route` is how it stands in this process.
pub(crate) fn endpoint(record: &EndpointRecord, route: Option<&Route>) -> wire::Endpoint {
    let endpoint = &record.endpoint;
    let statuses = record.revision.targets.iter().map(|target| {
        let known = record
            .resolutions
            .iter()
            .find(|known| known.target == target.name);
        let standing = route.and_then(|route| Some(route.target(&target.name)?.1));
        let live = standing.and_then(|standing| standing.ready());
        let known = live.as_ref().map(|live| &live.resolution).or(known);
        let mut status = known.map(status).unwrap_or_default();
        status.target = target.name.to_string();
        if let Some(standing) = standing {
            let trouble = standing.trouble();
            status.state = standing.state().to_owned();
            status.reason = trouble;
            status.active_calls =
                i32::try_from(standing.active.load(std::sync::atomic::Ordering::Relaxed)).unwrap_or(i32::MAX);
        }
        status
    });
    wire::Endpoint {
        name: endpoint.name.to_string(),
        endpoint_uid: endpoint.uid.to_string(),
        description: endpoint.description.clone(),
        tags: endpoint.tags.clone().into_iter().collect(),
        revision: Some(revision(&record.revision, 0.0)),
        target_statuses: statuses.collect(),
        create_time: time_out(endpoint.created),
        update_time: time_out(endpoint.updated),
        etag: record.version.to_string(),
    }
}

/// What a target means, as it was resolved.
pub(crate) fn status(of: &Resolution) -> wire::TargetStatus {
    wire::TargetStatus {
        target: of.target.to_string(),
        state: String::new(),
        reason: String::new(),
        model_name: of.model_name.clone(),
        model_version: of.model_version.clone(),
        content_digest: of.content_digest.clone(),
        platform: of.platform.clone(),
        deployment_id: of.deployment_id.clone(),
        active_calls: 0,
    }
}

/// What was measured of a target over `seconds`.
pub(crate) fn measured(of: &Measured) -> wire::TargetMonitor {
    let summary = &of.summary;
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let latency = summary.latency();
    let quantile = |q: f64| latency.quantile(q).and_then(span_out);
    let seconds = (of.end.millis() - of.start.millis()).max(1) as f64 / 1e3;
    wire::TargetMonitor {
        target: of.target.to_string(),
        model_version: of.version.clone(),
        start_time: time_out(of.start),
        end_time: time_out(of.end),
        outcomes: summary
            .outcomes()
            .map(|(outcome, n)| (outcome.as_str().to_owned(), count(n)))
            .collect(),
        latency: Some(wire::LatencySummary {
            count: count(latency.count()),
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
            max: latency.max().and_then(span_out),
        }),
        predictions: summary
            .predictions()
            .iter()
            .map(|(name, d)| distribution(name, d))
            .collect(),
        features: summary
            .features()
            .iter()
            .map(|(name, d)| distribution(name, d))
            .collect(),
        shadow: (!summary.shadow().is_empty()).then(|| shadow_out(summary.shadow())),
        calls_per_second: summary.total() as f64 / seconds,
        rows: count(summary.rows()),
    }
}

fn distribution(name: &str, of: &Distribution) -> wire::Distribution {
    let s = of.summary();
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    wire::Distribution {
        name: name.to_owned(),
        count: count(s.count),
        missing: count(s.missing),
        mean: s.mean,
        standard_deviation: s.standard_deviation,
        min: s.min,
        max: s.max,
        quantiles: s.quantiles,
        categories: s
            .categories
            .into_iter()
            .map(|(name, n)| (name, count(n)))
            .collect(),
        drift: None,
    }
}

/// Something that happened.
pub(crate) fn happened(of: Happened) -> wire::MonitorEvent {
    wire::MonitorEvent {
        time: time_out(of.time),
        target: of.target.map(|target| target.to_string()).unwrap_or_default(),
        kind: of.kind.to_owned(),
        message: of.message,
    }
}

/// How far a distribution is from another.
pub(crate) fn drift(of: Drift, reference: &str) -> wire::Drift {
    wire::Drift {
        psi: of.psi,
        jensen_shannon: of.jensen_shannon,
        kolmogorov_smirnov: of.kolmogorov_smirnov,
        unseen_categories: of.unseen,
        reference: reference.to_owned(),
    }
}

fn shadow_out(of: &ShadowSummary) -> wire::ShadowSummary {
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    wire::ShadowSummary {
        compared: count(of.compared()),
        agreed: count(of.agreed()),
        failed: count(of.failed()),
        dropped: count(of.dropped()),
        max_abs_difference: of.largest_difference().unwrap_or_default(),
        median_abs_difference: of.median_difference().unwrap_or_default(),
        worst_prediction_ids: of.worst().iter().map(|one| one.id.to_string()).collect(),
    }
}

/// A plan and what is asked of the registry at its end; unset is the default plan. Errors: every bad field.
pub(crate) fn plan(message: Option<wire::RolloutPlan>) -> Result<(RolloutSpec, Option<Completion>)> {
    let default = RolloutSpec::default();
    let Some(message) = message else {
        return Ok((default, None));
    };
    let mut bad = Violations::new();
    let steps: Vec<_> = message
        .steps
        .into_iter()
        .enumerate()
        .filter_map(|(at, step)| {
            let field = format!("plan.steps[{at}]");
            bad.take(&field, self::step(&field, step))
        })
        .collect();
    let has_guards = !message.guards.is_empty();
    let guards: Vec<_> = message
        .guards
        .into_iter()
        .enumerate()
        .filter_map(|(at, guard)| {
            let field = format!("plan.guards[{at}]");
            bad.take(&field, self::guard(&field, guard))
        })
        .collect();
    let completion = bad.take("plan.completion", completion(message.completion));
    bad.finish()?;
    let spec = RolloutSpec {
        steps: if steps.is_empty() { default.steps } else { steps },
        guards: if has_guards { guards } else { default.guards },
        on_success: None,
    };
    Ok((spec, completion.flatten()))
}

fn step(field: &str, m: wire::RolloutStep) -> Result<Step> {
    let at = |name: &str| format!("{field}.{name}");
    let share = share(&at("share"), m.share)?;
    let long = |name: &str, value: Option<prost_types::Duration>, default: u64| -> Result<u64> {
        let span = value
            .map(|d| Duration::try_from(d).map_err(|_| Error::invalid(at(name), "must not be negative")));
        Ok(span.transpose()?.map_or(default, |span| {
            u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
        }))
    };
    Ok(Step {
        kind: match share {
            0 => StepKind::Shadow {
                share: WHOLE_SHARE,
                max_in_flight: 16,
            },
            share => StepKind::Share(share),
        },
        min_duration_ms: long("min_duration", m.min_duration, 60_000)?,
        max_duration_ms: long("max_duration", m.max_duration, 24 * 3_600_000)?,
        min_samples: match m.min_samples {
            0 => 50,
            n => u64::try_from(n).map_err(|_| Error::invalid(at("min_samples"), "must be at least 0"))?,
        },
    })
}

fn guard(field: &str, m: wire::RolloutGuard) -> Result<Guard> {
    use wire::rollout_guard::Guard as G;
    let at = |name: &str| format!("{field}.{name}");
    let one = |name: &str| Error::invalid(at(name), "must have exactly one limit");
    let check = match m.guard {
        None => return Err(Error::invalid(field, "says nothing to measure")),
        Some(G::ErrorRate(g)) => Check::ErrorRate(match (g.max, g.max_above_baseline) {
            (Some(max), None) => ErrorLimit::Absolute(max),
            (None, Some(margin)) => ErrorLimit::OverBaseline(margin),
            _ => return Err(one("error_rate")),
        }),
        Some(G::LatencyP95(g)) => {
            let max = g
                .max
                .map(|max| Duration::try_from(max).map_err(|_| one("latency_p95.max")))
                .transpose()?;
            Check::LatencyP95(match (max, g.max_ratio) {
                (Some(max), None) => LatencyLimit::AbsoluteMs(max.as_secs_f64() * 1e3),
                (None, Some(ratio)) => LatencyLimit::TimesBaseline(ratio),
                _ => return Err(one("latency_p95")),
            })
        }
        Some(G::PredictionShift(g)) => Check::PredictionShift { max_psi: g.max_psi },
        Some(G::ShadowDisagreement(g)) => Check::Disagreement { max_share: g.max },
        Some(G::Metric(g)) => Check::Metric {
            name: g.name,
            limit: match (g.min, g.max) {
                (Some(min), None) => MetricLimit::AtLeast(min),
                (None, Some(max)) => MetricLimit::AtMost(max),
                _ => return Err(one("metric")),
            },
        },
    };
    Ok(Guard {
        check,
        min_samples: match m.min_samples {
            0 => 20,
            n => u64::try_from(n).map_err(|_| Error::invalid(at("min_samples"), "must be at least 0"))?,
        },
        is_required: true,
    })
}

fn completion(message: Option<wire::RolloutCompletion>) -> Result<Option<Completion>> {
    use wire::rollout_completion::Action;
    Ok(match message.and_then(|completion| completion.action) {
        None => None,
        Some(Action::Stage(stage)) => Some(Completion::Stage(Stage::parse(&stage)?)),
        Some(Action::Alias(alias)) => Some(Completion::Alias(AliasName::parse(&alias)?)),
    })
}

/// A rollout as it stands.
pub(crate) fn rollout(of: &Stored) -> wire::Rollout {
    let rollout = &of.rollout;
    let status = &rollout.state.status;
    let (state, reason) = match status {
        RolloutStatus::Entering { .. } | RolloutStatus::Running { .. } => {
            (wire::RolloutState::Running, of.holds.clone())
        }
        RolloutStatus::Paused { by, comment, .. } => {
            (wire::RolloutState::Paused, format!("paused by `{by}`: {comment}"))
        }
        RolloutStatus::RollingBack { reason, .. } => (wire::RolloutState::RollingBack, reason.to_string()),
        RolloutStatus::RolledBack { reason, .. } => (wire::RolloutState::RolledBack, reason.to_string()),
        RolloutStatus::Completing => (wire::RolloutState::Completing, of.holds.clone()),
        RolloutStatus::Completed => (wire::RolloutState::Completed, String::new()),
        RolloutStatus::Aborted { by, comment, .. } => (
            wire::RolloutState::Aborted,
            format!("aborted by `{by}`: {comment}"),
        ),
    };
    let step_time = match status {
        RolloutStatus::Running { since, .. } | RolloutStatus::Paused { since, .. } => *since,
        _ => rollout.state.changed,
    };
    let last = u16::try_from(rollout.plan.steps().len().saturating_sub(1)).unwrap_or(u16::MAX);
    let step = status.step().unwrap_or(last);
    wire::Rollout {
        rollout_id: rollout.id.to_string(),
        endpoint: of.endpoint_name.to_string(),
        target: rollout.candidate.name.to_string(),
        reference: rollout.candidate.reference.to_string(),
        base_revision: rollout.base_revision.into(),
        current_revision: of.current_revision.into(),
        plan: Some(plan_out(&rollout.plan)),
        state: state.into(),
        step: step.into(),
        reason,
        guard_results: guard_results(of, step),
        principal: rollout.principal.clone(),
        comment: rollout.comment.clone(),
        create_time: time_out(rollout.created),
        step_time: time_out(step_time),
        end_time: status
            .is_ended()
            .then_some(rollout.state.changed)
            .and_then(time_out),
        events: of
            .events
            .iter()
            .map(|(time, message)| wire::RolloutEvent {
                time: time_out(*time),
                message: message.clone(),
            })
            .collect(),
    }
}

fn guard_results(of: &Stored, step: u16) -> Vec<wire::GuardResult> {
    let Some(kind) = of.rollout.plan.step(step).map(|step| step.kind) else {
        return Vec::new();
    };
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let result = |guard: &Guard| {
        let (value, limit, samples, is_broken) = match guard.judge(kind.situation(), &of.observation) {
            Verdict::NotConcerned => return None,
            Verdict::Passes => (0.0, 0.0, guard.min_samples, false),
            Verdict::Unknown { samples, .. } => (0.0, 0.0, samples, false),
            Verdict::Breached(breach) => (breach.measured, breach.limit, breach.samples, true),
        };
        Some(wire::GuardResult {
            guard: guard_name(&guard.check).to_owned(),
            value,
            limit,
            samples: count(samples),
            is_broken,
        })
    };
    of.rollout.plan.guards().iter().filter_map(result).collect()
}

fn guard_name(check: &Check) -> &str {
    match check {
        Check::ErrorRate(_) => "error_rate",
        Check::LatencyP95(_) => "latency_p95",
        Check::PredictionShift { .. } => "prediction_shift",
        Check::Disagreement { .. } => "shadow_disagreement",
        Check::Metric { name, .. } => name,
    }
}

fn plan_out(of: &RolloutPlan) -> wire::RolloutPlan {
    use wire::rollout_guard::Guard as G;
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let guard = |guard: &Guard| wire::RolloutGuard {
        min_samples: count(guard.min_samples),
        guard: Some(match &guard.check {
            Check::ErrorRate(ErrorLimit::Absolute(max)) => G::ErrorRate(wire::ErrorRateGuard {
                max: Some(*max),
                max_above_baseline: None,
            }),
            Check::ErrorRate(ErrorLimit::OverBaseline(margin)) => G::ErrorRate(wire::ErrorRateGuard {
                max: None,
                max_above_baseline: Some(*margin),
            }),
            Check::LatencyP95(LatencyLimit::AbsoluteMs(ms)) => G::LatencyP95(wire::LatencyGuard {
                max: Duration::try_from_secs_f64(ms / 1e3).ok().and_then(span_out),
                max_ratio: None,
            }),
            Check::LatencyP95(LatencyLimit::TimesBaseline(ratio)) => G::LatencyP95(wire::LatencyGuard {
                max: None,
                max_ratio: Some(*ratio),
            }),
            Check::PredictionShift { max_psi } => G::PredictionShift(wire::ShiftGuard { max_psi: *max_psi }),
            Check::Disagreement { max_share } => {
                G::ShadowDisagreement(wire::DisagreementGuard { max: *max_share })
            }
            Check::Metric { name, limit } => {
                let (min, max) = match limit {
                    MetricLimit::AtLeast(min) => (Some(*min), None),
                    MetricLimit::AtMost(max) => (None, Some(*max)),
                };
                let name = name.clone();
                G::Metric(wire::MetricGuard { name, min, max })
            }
        }),
    };
    let step = |step: &Step| wire::RolloutStep {
        share: match step.kind {
            StepKind::Shadow { .. } => 0.0,
            StepKind::Share(share) => share_out(share),
        },
        min_duration: span_out(Duration::from_millis(step.min_duration_ms)),
        min_samples: count(step.min_samples),
        max_duration: span_out(Duration::from_millis(step.max_duration_ms)),
    };
    use wire::rollout_completion::Action;
    let action = of.on_success().map(|wanted| match wanted {
        OnSuccess::TransitionStage { stage, .. } => Action::Stage(stage.to_string()),
        OnSuccess::MoveAlias { alias, .. } => Action::Alias(alias.to_string()),
    });
    wire::RolloutPlan {
        steps: of.steps().iter().map(step).collect(),
        guards: of.guards().iter().map(guard).collect(),
        completion: action.map(|action| wire::RolloutCompletion { action: Some(action) }),
    }
}
