//! Rollouts: plans, guards, where they stand.

use std::time::Duration;

use lodeway_domain::{
    Error, Result,
    error::Violations,
    registry::{AliasName, Stage},
    serving::{
        Check, ErrorLimit, Guard, LatencyLimit, MetricLimit, OnSuccess, RolloutPlan, RolloutSpec,
        RolloutStatus, Step, StepKind, Verdict, WHOLE_SHARE, by_whom,
    },
};
use lodeway_proto::gateway::v1::{self as wire};

use crate::endpoints::rollouts::{Completion, Stored};

use super::{share, share_out, span_out, time_out};

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
            (wire::RolloutState::Paused, by_whom("paused", by, comment))
        }
        RolloutStatus::RollingBack { reason, .. } => (wire::RolloutState::RollingBack, reason.to_string()),
        RolloutStatus::RolledBack { reason, .. } => (wire::RolloutState::RolledBack, reason.to_string()),
        RolloutStatus::Completing => (wire::RolloutState::Completing, of.holds.clone()),
        RolloutStatus::Completed => (wire::RolloutState::Completed, String::new()),
        RolloutStatus::Aborted { by, comment, .. } => {
            (wire::RolloutState::Aborted, by_whom("aborted", by, comment))
        }
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
        let mut read = guard.read(&of.observation);
        let is_broken = match guard.judge(kind.situation(), &of.observation) {
            Verdict::NotConcerned => return None,
            Verdict::Passes | Verdict::Unknown { .. } => false,
            Verdict::Breached(breach) => {
                // The numbers of its reason.
                (read.value, read.limit) = (Some(breach.measured), Some(breach.limit));
                read.samples = breach.samples;
                true
            }
        };
        let known = read.value.zip(read.limit);
        let (value, limit) = known.unwrap_or_default();
        Some(wire::GuardResult {
            guard: guard_name(&guard.check).to_owned(),
            value,
            limit,
            samples: count(read.samples),
            is_broken,
            is_known: known.is_some(),
            has_enough_samples: read.samples >= guard.min_samples,
            is_relative: guard.compares(),
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
