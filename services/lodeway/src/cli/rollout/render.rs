//! How rollouts look.

use lodeway_proto::gateway::v1::{
    GuardResult, Rollout, RolloutGuard, RolloutPlan, RolloutStep, rollout_completion::Action,
    rollout_guard::Guard,
};
use serde_json::{Value, json};

use crate::cli::output::{self, Format};

/// The columns of [`rollout`] in a list.
pub const COLUMNS: &[&str] = &[
    "rollout_id",
    "endpoint",
    "reference",
    "state",
    "step",
    "reason",
    "create_time",
    "comment",
];

/// One rollout.
pub fn rollout(format: Format, of: &Rollout) -> Value {
    let plan = of.plan.clone().unwrap_or_default();
    let mut fields = vec![
        ("rollout_id", json!(of.rollout_id)),
        ("endpoint", json!(of.endpoint)),
        ("target", json!(of.target)),
        ("reference", json!(of.reference)),
        ("state", state(of)),
        ("reason", json!(of.reason)),
        ("base_revision", json!(of.base_revision)),
        ("current_revision", json!(of.current_revision)),
        ("principal", json!(of.principal)),
        ("comment", json!(of.comment)),
        ("create_time", output::time(of.create_time.as_ref())),
        ("step_time", output::time(of.step_time.as_ref())),
        ("end_time", output::time(of.end_time.as_ref())),
    ];
    match format {
        Format::Json => fields.extend([
            ("step", json!(of.step)),
            ("plan", self::plan(&plan)),
            ("guard_results", of.guard_results.iter().map(result).collect()),
            ("events", of.events.iter().map(|event| {
                json!({ "time": output::time(event.time.as_ref()), "message": event.message })
            }).collect()),
        ]),
        Format::Table => {
            let events = of.events.iter().map(|event| json!(super::line(event)));
            fields.extend([
                ("step", json!(step(of))),
                ("steps", plan.steps.iter().map(|step| json!(step_line(step))).collect()),
                ("guards", of.guard_results.iter().map(|one| json!(result_line(&plan, one))).collect()),
                ("then", plan.completion.and_then(|c| c.action).map_or(Value::Null, |action| json!(action_line(&action)))),
                ("events", events.collect()),
            ]);
        }
    }
    output::object(fields)
}

/// State and step in words.
pub fn standing(of: &Rollout) -> String {
    let state = state(of);
    format!("{}: step {}", state.as_str().unwrap_or("Unknown"), step(of))
}

fn state(of: &Rollout) -> Value {
    output::word(of.state().as_str_name(), "ROLLOUT_STATE_")
}

/// `2 of 5, 1%`.
fn step(of: &Rollout) -> String {
    let steps = of
        .plan
        .as_ref()
        .map(|plan| plan.steps.as_slice())
        .unwrap_or_default();
    let now = usize::try_from(of.step).ok().and_then(|at| steps.get(at));
    let share = now.map(|step| format!(", {}", share(step))).unwrap_or_default();
    format!("{} of {}{share}", of.step.saturating_add(1), steps.len())
}

fn share(of: &RolloutStep) -> String {
    if of.share == 0.0 {
        "shadow".to_owned()
    } else {
        output::percent(of.share)
    }
}

/// `1%: 10m and 100 samples, at most 24h`.
fn step_line(of: &RolloutStep) -> String {
    let most = match output::span_text(of.max_duration.as_ref()) {
        most if most.is_empty() => most,
        most => format!(", at most {most}"),
    };
    let least = output::span_text(of.min_duration.as_ref());
    format!("{}: {least} and {} samples{most}", share(of), of.min_samples)
}

/// `error_rate: 0.4%, at most 1%; 1200 samples`, or `error_rate by the old targets: …` of the limit that these set.
fn result_line(plan: &RolloutPlan, of: &GuardResult) -> String {
    // A metric can have a limit on each side.
    let is_floor = plan.guards.iter().any(|one| match &one.guard {
        Some(Guard::Metric(metric)) => metric.name == of.guard && metric.min == Some(of.limit),
        _ => false,
    });
    let number = |value: f64| match of.guard.as_str() {
        "error_rate" | "shadow_disagreement" => output::percent(value),
        "latency_p95" => format!("{} ms", output::short(value, 2)),
        _ => output::short(value, 4),
    };
    let side = if is_floor { "at least" } else { "at most" };
    let whose = match of.guard.as_str() {
        "error_rate" | "latency_p95" if of.is_relative => " by the old targets",
        _ => "",
    };
    let enough = match (of.is_broken, of.has_enough_samples) {
        (true, _) => ": broken",
        (false, true) => "",
        (false, false) => ", too few yet",
    };
    let samples = of.samples;
    if of.is_known {
        let (value, limit) = (number(of.value), number(of.limit));
        format!(
            "{}{whose}: {value}, {side} {limit}; {samples} samples{enough}",
            of.guard
        )
    } else {
        format!("{}{whose}: not known yet; {samples} samples", of.guard)
    }
}

fn action_line(of: &Action) -> String {
    match of {
        Action::Stage(stage) => format!("stage {stage}"),
        Action::Alias(alias) => format!("alias @{alias}"),
    }
}

fn plan(of: &RolloutPlan) -> Value {
    let step = |step: &RolloutStep| {
        output::object([
            ("share", json!(step.share)),
            ("min_duration_ms", output::millis(step.min_duration.as_ref())),
            ("min_samples", json!(step.min_samples)),
            ("max_duration_ms", output::millis(step.max_duration.as_ref())),
        ])
    };
    let completion = match of
        .completion
        .as_ref()
        .and_then(|completion| completion.action.as_ref())
    {
        None => Value::Null,
        Some(Action::Stage(stage)) => json!({ "stage": stage }),
        Some(Action::Alias(alias)) => json!({ "alias": alias }),
    };
    output::object([
        ("steps", of.steps.iter().map(step).collect()),
        ("guards", of.guards.iter().map(guard).collect()),
        ("completion", completion),
    ])
}

fn guard(of: &RolloutGuard) -> Value {
    let (name, limits) = match &of.guard {
        None => return Value::Null,
        Some(Guard::ErrorRate(g)) => (
            "error_rate",
            output::object([
                ("max", json!(g.max)),
                ("max_above_baseline", json!(g.max_above_baseline)),
            ]),
        ),
        Some(Guard::LatencyP95(g)) => (
            "latency_p95",
            output::object([
                ("max_ms", output::millis(g.max.as_ref())),
                ("max_ratio", json!(g.max_ratio)),
            ]),
        ),
        Some(Guard::PredictionShift(g)) => ("prediction_shift", json!({ "max_psi": g.max_psi })),
        Some(Guard::ShadowDisagreement(g)) => ("shadow_disagreement", json!({ "max": g.max })),
        Some(Guard::Metric(g)) => (
            "metric",
            output::object([
                ("name", json!(g.name)),
                ("min", json!(g.min)),
                ("max", json!(g.max)),
            ]),
        ),
    };
    output::object([(name, limits), ("min_samples", json!(of.min_samples))])
}

fn result(of: &GuardResult) -> Value {
    json!({
        "guard": of.guard,
        "value": of.is_known.then(|| output::number(of.value)),
        "limit": of.is_known.then(|| output::number(of.limit)),
        "samples": of.samples,
        "is_broken": of.is_broken,
        "is_known": of.is_known,
        "has_enough_samples": of.has_enough_samples,
        "is_relative": of.is_relative,
    })
}

#[cfg(test)]
mod tests {
    use lodeway_proto::gateway::v1::MetricGuard;

    use super::*;

    #[test]
    fn guards_read_as_words() {
        let metric = |min, max| RolloutGuard {
            guard: Some(Guard::Metric(MetricGuard {
                name: "accuracy".to_owned(),
                min,
                max,
            })),
            min_samples: 100,
        };
        let plan = RolloutPlan {
            guards: vec![metric(Some(0.9), None), metric(None, Some(0.99))],
            ..RolloutPlan::default()
        };
        let result = |guard: &str, value: f64, limit: f64, samples: i64| GuardResult {
            guard: guard.to_owned(),
            value,
            limit,
            samples,
            is_known: true,
            has_enough_samples: samples >= 100,
            ..GuardResult::default()
        };
        let relative = GuardResult {
            is_relative: true,
            ..result("latency_p95", 12.346, 10.0, 40)
        };
        let broken = GuardResult {
            is_broken: true,
            ..result("shadow_disagreement", 0.5, 0.1, 40)
        };
        let unknown = GuardResult {
            is_known: false,
            is_relative: true,
            ..result("error_rate", 0.0, 0.0, 0)
        };
        for (of, line) in [
            (
                result("error_rate", 0.004, 0.01, 1200),
                "error_rate: 0.4%, at most 1%; 1200 samples",
            ),
            (
                result("accuracy", 0.93, 0.9, 100),
                "accuracy: 0.93, at least 0.9; 100 samples",
            ),
            (
                result("accuracy", 0.93, 0.99, 100),
                "accuracy: 0.93, at most 0.99; 100 samples",
            ),
            (
                relative,
                "latency_p95 by the old targets: 12.35 ms, at most 10 ms; 40 samples, too few yet",
            ),
            (
                broken,
                "shadow_disagreement: 50%, at most 10%; 40 samples: broken",
            ),
            (unknown, "error_rate by the old targets: not known yet; 0 samples"),
        ] {
            assert_eq!(result_line(&plan, &of), line);
        }
    }

    #[test]
    fn steps_read_as_words() {
        let minutes = |n: i64| {
            Some(prost_types::Duration {
                seconds: n * 60,
                nanos: 0,
            })
        };
        let step = RolloutStep {
            share: 0.01,
            min_duration: minutes(10),
            min_samples: 100,
            max_duration: minutes(24 * 60),
        };
        assert_eq!(step_line(&step), "1%: 10m and 100 samples, at most 24h");
        let shadow = RolloutStep {
            share: 0.0,
            max_duration: None,
            ..step
        };
        assert_eq!(step_line(&shadow), "shadow: 10m and 100 samples");
        let rollout = Rollout {
            step: 1,
            plan: Some(RolloutPlan {
                steps: vec![shadow, step],
                ..RolloutPlan::default()
            }),
            ..Rollout::default()
        };
        assert_eq!(super::step(&rollout), "2 of 2, 1%");
    }
}
