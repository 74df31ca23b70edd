//! Endpoints, revisions and their targets.

use lodeway_domain::{
    Error, Result,
    error::Violations,
    registry::ModelRef,
    serving::{
        Condition, DeploymentSettings, EnvManager, HeaderName, MatchRule, OutlierEjection, RequestLog,
        Resilience, Revision, RevisionReason, RevisionSpec, RuntimeChoice, Shadow, StickyKey, Target,
        TargetName, TargetRef, WeightedTarget,
    },
};
use lodeway_proto::gateway::v1::{self as wire, match_rule, sticky_key};
use lodeway_store::gateway::{EndpointRecord, Resolution};

use crate::endpoints::table::Route;

use super::{millis, millis_out, share, share_out, span, span_out, time_out};

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
        check_parity: m.check_parity,
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
        check_parity: s.check_parity,
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
            RevisionReason::RolloutFollowed { rollout, to } => {
                format!("rollout {rollout} done, follows as {to}")
            }
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
        let live = standing.and_then(|standing| standing.known());
        let known = live.as_ref().map(|live| &live.resolution).or(known);
        let mut status = known.map(status).unwrap_or_default();
        status.target = target.name.to_string();
        if let Some(standing) = standing {
            let trouble = standing.trouble();
            status.state = standing.state().to_owned();
            status.reason = trouble;
            status.unresolved_reason = standing.unresolved();
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
        unresolved_reason: String::new(),
    }
}
