//! How endpoints and revisions look: everything as JSON for scripts, lines in the words of the flags for people.

use lodeway_proto::gateway::v1::{
    Endpoint, MatchRule, RequestLog, Resilience, Revision, RevisionSpec, Target, TargetSettings,
    TargetStatus, match_rule::Condition, sticky_key::Source,
};
use serde_json::{Value, json};

use crate::cli::output::{self, Format};

/// Where an endpoint is called: addresses for REST; for gRPC an address, a service, and what to say as `model_name`.
fn addresses(platform: &str, name: &str) -> [(&'static str, Value); 2] {
    let platform = platform.trim_end_matches('/');
    let rest = [
        format!("{platform}/endpoints/{name}/invocations"),
        format!("{platform}/v2/models/{name}/infer"),
    ];
    let grpc = json!({
        "address": platform,
        "service": "inference.GRPCInferenceService",
        "model_name": name,
    });
    [("rest", json!(rest)), ("grpc", grpc)]
}

/// One endpoint of the platform at this address.
pub fn endpoint(format: Format, of: &Endpoint, platform: &str) -> Value {
    let revision = of.revision.clone().unwrap_or_default();
    let spec = revision.spec.clone().unwrap_or_default();
    let mut fields = vec![
        ("name", json!(of.name)),
        ("description", json!(of.description)),
        ("tags", json!(of.tags)),
    ];
    match format {
        Format::Table => {
            fields.push(("revision", json!(revision.number)));
            fields.extend(spec_lines(&spec, &of.target_statuses));
        }
        Format::Json => {
            fields.push(("endpoint_uid", json!(of.endpoint_uid)));
            fields.push(("revision", self::revision(format, &revision)));
            let statuses = of.target_statuses.iter().map(status);
            fields.push(("target_statuses", statuses.collect()));
            fields.push(("etag", json!(of.etag)));
        }
    }
    fields.extend([
        ("create_time", output::time(of.create_time.as_ref())),
        ("update_time", output::time(of.update_time.as_ref())),
    ]);
    fields.extend(addresses(platform, &of.name));
    output::object(fields)
}

/// The columns of [`endpoint`] in a list.
pub const ENDPOINTS: &[&str] = &["name", "revision", "targets", "update_time", "description"];

/// One endpoint in one line.
pub fn line(of: &Endpoint) -> String {
    let revision = of.revision.clone().unwrap_or_default();
    let targets = target_lines(&revision.spec.unwrap_or_default(), &of.target_statuses);
    format!(
        "{}: revision {}; {}",
        of.name,
        revision.number,
        targets.join("; ")
    )
}

/// The columns of [`revision`].
pub const REVISIONS: &[&str] = &["number", "reason", "who", "create_time", "targets", "comment"];

/// One revision.
pub fn revision(format: Format, of: &Revision) -> Value {
    let spec = of.spec.clone().unwrap_or_default();
    let mut fields = vec![
        ("number", json!(of.number)),
        ("reason", json!(of.reason)),
        ("create_time", output::time(of.create_time.as_ref())),
        ("comment", json!(of.comment)),
    ];
    match format {
        Format::Table => {
            let who = match of.verified {
                true => of.principal.clone(),
                false => format!("{} (unverified)", of.principal),
            };
            fields.push(("who", json!(who)));
            fields.extend(spec_lines(&spec, &[]));
        }
        Format::Json => {
            fields.push(("principal", json!(of.principal)));
            fields.push(("principal_verified", json!(of.verified)));
            fields.push(("moved_share", json!(of.moved_share)));
            fields.extend(spec_fields(&spec));
        }
    }
    output::object(fields)
}

/// What is behind an endpoint, each field of it.
fn spec_fields(spec: &RevisionSpec) -> Vec<(&'static str, Value)> {
    let sticky = match spec.sticky_key.as_ref().and_then(|key| key.source.as_ref()) {
        None => Value::Null,
        Some(Source::Header(name)) => json!({ "header": name }),
        Some(Source::Input(name)) => json!({ "input": name }),
    };
    let shadow = spec.shadow.as_ref().map(|shadow| {
        json!({
            "target": shadow.target,
            "share": shadow.share,
            "max_active_calls": shadow.max_active_calls,
        })
    });
    let log = spec.request_log.as_ref().map(|log| {
        json!({
            "sample_share": log.sample_share,
            "redacted_fields": log.redacted_fields,
            "slice_fields": log.slice_fields,
            "max_bytes_per_second": log.max_bytes_per_second,
        })
    });
    vec![
        ("targets", spec.targets.iter().map(target).collect()),
        ("rules", spec.rules.iter().map(rule).collect()),
        ("sticky_key", sticky),
        ("shadow", json!(shadow)),
        ("request_log", json!(log)),
        (
            "resilience",
            spec.resilience.as_ref().map_or(Value::Null, resilience),
        ),
    ]
}

fn target(of: &Target) -> Value {
    output::object([
        ("name", json!(of.name)),
        ("reference", json!(of.reference)),
        ("weight", json!(of.weight)),
        ("settings", of.settings.as_ref().map_or(Value::Null, settings)),
        ("timeout_ms", output::millis(of.timeout.as_ref())),
    ])
}

fn settings(of: &TargetSettings) -> Value {
    output::object([
        ("runtime", json!(of.runtime)),
        ("workers", json!(of.workers)),
        ("env_manager", json!(of.env_manager)),
        ("memory_limit_bytes", json!(of.memory_limit_bytes)),
        ("allow_network", json!(of.allow_network)),
        ("row_independent", json!(of.row_independent)),
        ("max_batch_rows", json!(of.max_batch_rows)),
        ("max_batch_delay_ms", output::millis(of.max_batch_delay.as_ref())),
        ("max_queued_calls", json!(of.max_queued_calls)),
        ("check_parity", json!(of.check_parity)),
    ])
}

fn rule(of: &MatchRule) -> Value {
    let (word, value) = match &of.condition {
        Some(Condition::Equals(value)) => ("equals", json!(value)),
        Some(Condition::Prefix(value)) => ("prefix", json!(value)),
        Some(Condition::Present(value)) => ("present", json!(value)),
        None => ("present", Value::Null),
    };
    output::object([
        ("header", json!(of.header)),
        (word, value),
        ("target", json!(of.target)),
    ])
}

fn resilience(of: &Resilience) -> Value {
    output::object([
        ("timeout_ms", output::millis(of.timeout.as_ref())),
        ("retry_percent", json!(of.retry_percent)),
        ("retry_min_per_second", json!(of.retry_min_per_second)),
        ("max_retries", json!(of.max_retries)),
        ("hedge_after_ms", output::millis(of.hedge_after.as_ref())),
        ("ejection_failures", json!(of.ejection_failures)),
        ("ejection_time_ms", output::millis(of.ejection_time.as_ref())),
        (
            "max_ejection_time_ms",
            output::millis(of.max_ejection_time.as_ref()),
        ),
        ("max_active_calls", json!(of.max_active_calls)),
    ])
}

/// How a target stands.
pub fn status(of: &TargetStatus) -> Value {
    output::object([
        ("target", json!(of.target)),
        ("state", json!(of.state)),
        ("reason", json!(of.reason)),
        ("model_name", json!(of.model_name)),
        ("model_version", json!(of.model_version)),
        ("content_digest", json!(of.content_digest)),
        ("platform", json!(of.platform)),
        ("deployment_id", json!(of.deployment_id)),
        ("active_calls", json!(of.active_calls)),
        ("unresolved_reason", json!(of.unresolved_reason)),
    ])
}

/// What is behind an endpoint, in the words of the flags that make it so.
fn spec_lines(spec: &RevisionSpec, statuses: &[TargetStatus]) -> Vec<(&'static str, Value)> {
    let sticky = match spec.sticky_key.as_ref().and_then(|key| key.source.as_ref()) {
        None => String::new(),
        Some(Source::Header(name)) => format!("header {name}"),
        Some(Source::Input(name)) => format!("input {name}"),
    };
    let shadow = spec.shadow.as_ref().map(|shadow| {
        let share = output::percent(shadow.share);
        format!("{}={share}", shadow.target)
    });
    vec![
        ("targets", json!(target_lines(spec, statuses))),
        (
            "rules",
            spec.rules.iter().map(|rule| json!(rule_line(rule))).collect(),
        ),
        ("sticky", json!(sticky)),
        ("shadow", json!(shadow)),
        ("log", json!(spec.request_log.as_ref().map(log_line))),
        (
            "resilience",
            json!(spec.resilience.as_ref().map(resilience_lines)),
        ),
    ]
}

/// `10% whole, at most 1048576 bytes a second; redacts age, name; slices by plan`.
fn log_line(of: &RequestLog) -> String {
    let mut line = format!("{} whole", output::percent(of.sample_share));
    if of.max_bytes_per_second > 0 {
        line.push_str(&format!(", at most {} bytes a second", of.max_bytes_per_second));
    }
    for (what, names) in [("redacts", &of.redacted_fields), ("slices by", &of.slice_fields)] {
        if !names.is_empty() {
            line.push_str(&format!("; {what} {}", names.join(", ")));
        }
    }
    line
}

/// A line each: timeout, retries, hedging, ejection, load. What is not said is the default of the platform.
fn resilience_lines(of: &Resilience) -> Vec<String> {
    let span = |span: &Option<prost_types::Duration>| match span {
        Some(span) => output::span_text(Some(span)),
        None => "default".to_owned(),
    };
    let count = |n: Option<u32>| n.map_or("default".to_owned(), |n| n.to_string());
    let hedge = match &of.hedge_after {
        Some(after) => format!("after {}", output::span_text(Some(after))),
        None => "never".to_owned(),
    };
    vec![
        format!("timeout: {}", span(&of.timeout)),
        format!(
            "retries: {} a call, {}% of calls, {} a second at least",
            count(of.max_retries),
            count(of.retry_percent),
            count(of.retry_min_per_second)
        ),
        format!("hedge: {hedge}"),
        format!(
            "ejection: after {} failures, for {}, at most {}",
            count(Some(of.ejection_failures).filter(|&n| n > 0)),
            span(&of.ejection_time),
            span(&of.max_ejection_time)
        ),
        format!(
            "active calls: at most {}",
            count(Some(of.max_active_calls).filter(|&n| n > 0))
        ),
    ]
}

fn target_lines(spec: &RevisionSpec, statuses: &[TargetStatus]) -> Vec<String> {
    let sum: u64 = spec.targets.iter().map(|target| u64::from(target.weight)).sum();
    let targets = spec.targets.iter().map(|target| {
        let status = statuses.iter().find(|status| status.target == target.name);
        target_line(target, status, sum)
    });
    targets.collect()
}

/// `champion = models:/iris@champion, version 2: 90%, ready`.
fn target_line(of: &Target, status: Option<&TargetStatus>, sum: u64) -> String {
    let share = match sum {
        0 => 0.0,
        sum => f64::from(of.weight) / sum as f64,
    };
    let mut line = format!("{} = {}", of.name, of.reference);
    if let Some(version) = status
        .map(|status| &status.model_version)
        .filter(|version| !version.is_empty())
    {
        line.push_str(&format!(", version {version}"));
    }
    line.push_str(&format!(": {}", output::percent(share)));
    if let Some(timeout) = &of.timeout {
        line.push_str(&format!(", timeout {}", output::span_text(Some(timeout))));
    }
    if let Some(status) = status.filter(|status| !status.state.is_empty()) {
        line.push_str(&format!(", {}", status.state));
        if status.state != "ready" && !["", status.state.as_str()].contains(&status.reason.as_str()) {
            line.push_str(&format!(" ({})", status.reason));
        }
        if !status.unresolved_reason.is_empty() {
            line.push_str(&format!(", unresolved ({})", status.unresolved_reason));
        }
    }
    line
}

fn rule_line(of: &MatchRule) -> String {
    let condition = match &of.condition {
        Some(Condition::Equals(value)) => format!("={value}"),
        Some(Condition::Prefix(value)) => format!("={value}*"),
        Some(Condition::Present(_)) | None => String::new(),
    };
    format!("{}{condition}->{}", of.header, of.target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse;

    #[test]
    fn rules_read_as_they_are_written() {
        for text in ["x-beta=yes->v7", "x-user=test-*->v7", "x-beta->v7"] {
            assert_eq!(rule_line(&parse::rule(text).unwrap()), text);
        }
    }

    #[test]
    fn a_target_says_what_it_is_and_how_it_stands() {
        let target = Target {
            name: "champion".to_owned(),
            reference: "models:/iris@champion".to_owned(),
            weight: 1,
            ..Target::default()
        };
        assert_eq!(
            target_line(&target, None, 8),
            "champion = models:/iris@champion: 12.5%"
        );
        let mut status = TargetStatus {
            model_version: "2".to_owned(),
            state: "ready".to_owned(),
            ..TargetStatus::default()
        };
        assert_eq!(
            target_line(&target, Some(&status), 1),
            "champion = models:/iris@champion, version 2: 100%, ready"
        );
        status.state = "loading".to_owned();
        status.reason = "is being made ready".to_owned();
        assert_eq!(
            target_line(&target, Some(&status), 0),
            "champion = models:/iris@champion, version 2: 0%, loading (is being made ready)"
        );
    }

    #[test]
    fn what_a_target_follows_may_be_gone() {
        let target = Target {
            name: "champion".to_owned(),
            reference: "models:/iris@champion".to_owned(),
            weight: 1,
            timeout: parse::span("1500ms").ok(),
            ..Target::default()
        };
        let status = TargetStatus {
            model_version: "2".to_owned(),
            state: "ready".to_owned(),
            unresolved_reason: "alias `iris@champion` not found".to_owned(),
            ..TargetStatus::default()
        };
        assert_eq!(
            target_line(&target, Some(&status), 1),
            "champion = models:/iris@champion, version 2: 100%, timeout 1.5s, ready, \
             unresolved (alias `iris@champion` not found)"
        );
    }

    #[test]
    fn what_is_kept_and_what_is_done_about_failures_is_shown() {
        let log = RequestLog {
            sample_share: 0.1,
            redacted_fields: vec!["age".to_owned(), "name".to_owned()],
            slice_fields: vec!["plan".to_owned()],
            max_bytes_per_second: 1_048_576,
        };
        assert_eq!(
            log_line(&log),
            "10% whole, at most 1048576 bytes a second; redacts age, name; slices by plan"
        );
        let resilience = Resilience {
            timeout: parse::span("30s").ok(),
            max_retries: Some(0),
            ejection_failures: 5,
            ..Resilience::default()
        };
        assert_eq!(
            resilience_lines(&resilience),
            [
                "timeout: 30s",
                "retries: 0 a call, default% of calls, default a second at least",
                "hedge: never",
                "ejection: after 5 failures, for default, at most default",
                "active calls: at most default",
            ]
        );
    }

    #[test]
    fn addresses_follow_the_platform() {
        let [(_, rest), (_, grpc)] = addresses("http://127.0.0.1:5000/", "iris");
        assert_eq!(rest[0], "http://127.0.0.1:5000/endpoints/iris/invocations");
        assert_eq!(rest[1], "http://127.0.0.1:5000/v2/models/iris/infer");
        assert_eq!(grpc["address"], "http://127.0.0.1:5000");
        assert_eq!(grpc["model_name"], "iris");
    }
}
