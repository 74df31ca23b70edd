//! Flags that make a plan: steps, guards, and what follows in the registry.
//!
//! What no flag says is the platform's default. Where a flag changes a part of the steps or guards, the contract takes
//! the others too, so they come from the domain's default plan and not from a second list here.

use clap::Args;
use lodeway_domain::serving::{
    Check, ErrorLimit, Guard, LatencyLimit as P95, RolloutSpec, Step, StepKind, WHOLE_SHARE,
};
use lodeway_proto::gateway::v1::{
    DisagreementGuard, ErrorRateGuard, LatencyGuard, MetricGuard, RolloutCompletion, RolloutGuard,
    RolloutPlan, RolloutStep, ShiftGuard, rollout_completion::Action, rollout_guard::Guard as Kind,
};

use crate::cli::parse::{self, LatencyLimit};

/// Steps and guards; none given means the platform's own plan.
#[derive(Args)]
pub struct Plan {
    /// Shadow and shares in order, the last 100%, for example `shadow,1%,5%,25%,100%`.
    #[arg(long, value_name = "STEPS", value_delimiter = ',', value_parser = parse::step)]
    steps: Vec<f64>,
    /// How long each step lasts at least.
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    step_duration: Option<prost_types::Duration>,
    /// How long each step may wait for its samples; then the rollout goes back.
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    max_step_duration: Option<prost_types::Duration>,
    /// Answers of the new target before a step can end and before a guard can pass.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    min_samples: Option<i64>,
    /// The share of failed calls at most, in place of the default limits on failed calls.
    #[arg(long, value_name = "SHARE", value_parser = parse::limit_share)]
    max_error_rate: Option<f64>,
    /// The 95th percentile of latency at most: a span, or a multiple of that of the old targets such as `1.5x`.
    #[arg(long, value_name = "SPAN|FACTOR", value_parser = parse::latency)]
    max_p95: Option<LatencyLimit>,
    /// How far predictions may be from those of the old targets (population stability index). Unless given, a plan that
    /// other flags change does not look at it.
    #[arg(long, value_name = "PSI", value_parser = parse::limit_psi)]
    max_psi: Option<f64>,
    /// The share of copies that may be answered otherwise.
    #[arg(long, value_name = "SHARE", value_parser = parse::limit_share)]
    max_disagreement: Option<f64>,
    /// What a metric of live outcomes must be, such as `accuracy>=0.9` or `mae<=2`; repeatable.
    #[arg(long = "metric", value_name = "METRIC>=VALUE|METRIC<=VALUE", value_parser = parse::metric_guard)]
    metrics: Vec<MetricGuard>,
    /// Moves the version to this stage at the end.
    #[arg(long, value_name = "STAGE", conflicts_with = "then_alias")]
    then_stage: Option<String>,
    /// Points this alias to the version at the end.
    #[arg(long, value_name = "ALIAS")]
    then_alias: Option<String>,
}

impl Plan {
    /// The plan; none if no flag was given.
    pub fn plan(&self) -> Option<RolloutPlan> {
        let stage = self.then_stage.clone().map(Action::Stage);
        let action = stage.or_else(|| self.then_alias.clone().map(Action::Alias));
        let plan = RolloutPlan {
            steps: self.steps(),
            guards: self.guards(),
            completion: action.map(|action| RolloutCompletion { action: Some(action) }),
        };
        (plan != RolloutPlan::default()).then_some(plan)
    }

    fn steps(&self) -> Vec<RolloutStep> {
        let spans = self.step_duration.or(self.max_step_duration);
        if self.steps.is_empty() && spans.is_none() && self.min_samples.is_none() {
            return Vec::new();
        }
        let mut steps: Vec<_> = match self.steps.as_slice() {
            [] => RolloutSpec::default().steps.iter().map(default_step).collect(),
            shares => shares
                .iter()
                .map(|&share| RolloutStep {
                    share,
                    ..RolloutStep::default()
                })
                .collect(),
        };
        for step in &mut steps {
            step.min_duration = self.step_duration.or(step.min_duration);
            step.max_duration = self.max_step_duration.or(step.max_duration);
            step.min_samples = self.min_samples.unwrap_or(step.min_samples);
        }
        steps
    }

    fn guards(&self) -> Vec<RolloutGuard> {
        let own = self.own_guards();
        if own.is_empty() && self.min_samples.is_none() {
            return Vec::new();
        }
        // A limit on one thing is no leave to fail in another: failed calls and latency are always looked at.
        let defaults = RolloutSpec::default().guards;
        let kept = defaults.iter().filter_map(|guard| match guard.check {
            Check::ErrorRate(_) if self.max_error_rate.is_none() => default_guard(guard),
            Check::LatencyP95(_) if self.max_p95.is_none() => default_guard(guard),
            _ => None,
        });
        let mut guards: Vec<_> = own.into_iter().map(|kind| (kind, 0)).chain(kept).collect();
        if let Some(samples) = self.min_samples {
            guards
                .iter_mut()
                .for_each(|(_, min_samples)| *min_samples = samples);
        }
        let guards = guards.into_iter().map(|(kind, min_samples)| RolloutGuard {
            guard: Some(kind),
            min_samples,
        });
        guards.collect()
    }

    fn own_guards(&self) -> Vec<Kind> {
        let errors = self.max_error_rate.map(|max| {
            Kind::ErrorRate(ErrorRateGuard {
                max: Some(max),
                max_above_baseline: None,
            })
        });
        let latency = self.max_p95.map(|limit| {
            let (max, max_ratio) = match limit {
                LatencyLimit::Span(max) => (Some(max), None),
                LatencyLimit::Ratio(ratio) => (None, Some(ratio)),
            };
            Kind::LatencyP95(LatencyGuard { max, max_ratio })
        });
        let shift = self
            .max_psi
            .map(|max_psi| Kind::PredictionShift(ShiftGuard { max_psi }));
        let disagreement = self
            .max_disagreement
            .map(|max| Kind::ShadowDisagreement(DisagreementGuard { max }));
        let metrics = self.metrics.iter().cloned().map(Kind::Metric);
        [errors, latency, shift, disagreement]
            .into_iter()
            .flatten()
            .chain(metrics)
            .collect()
    }
}

fn default_step(step: &Step) -> RolloutStep {
    let span = |millis| prost_types::Duration::try_from(std::time::Duration::from_millis(millis)).ok();
    RolloutStep {
        share: match step.kind {
            StepKind::Shadow { .. } => 0.0,
            StepKind::Share(share) => f64::from(share) / f64::from(WHOLE_SHARE),
        },
        min_duration: span(step.min_duration_ms),
        min_samples: i64::try_from(step.min_samples).unwrap_or(i64::MAX),
        max_duration: span(step.max_duration_ms),
    }
}

fn default_guard(guard: &Guard) -> Option<(Kind, i64)> {
    let kind = match guard.check {
        Check::ErrorRate(limit) => {
            let (max, max_above_baseline) = match limit {
                ErrorLimit::Absolute(max) => (Some(max), None),
                ErrorLimit::OverBaseline(margin) => (None, Some(margin)),
            };
            Kind::ErrorRate(ErrorRateGuard {
                max,
                max_above_baseline,
            })
        }
        Check::LatencyP95(limit) => {
            let span = |ms: f64| {
                std::time::Duration::try_from_secs_f64(ms / 1e3)
                    .ok()?
                    .try_into()
                    .ok()
            };
            let (max, max_ratio) = match limit {
                P95::AbsoluteMs(ms) => (span(ms), None),
                P95::TimesBaseline(ratio) => (None, Some(ratio)),
            };
            Kind::LatencyP95(LatencyGuard { max, max_ratio })
        }
        Check::PredictionShift { .. } | Check::Disagreement { .. } | Check::Metric { .. } => return None,
    };
    Some((kind, i64::try_from(guard.min_samples).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        plan: Plan,
    }

    fn plan(line: &str) -> Option<RolloutPlan> {
        let words = std::iter::once("start").chain(line.split_whitespace());
        Line::try_parse_from(words).unwrap().plan.plan()
    }

    fn shares(plan: &RolloutPlan) -> Vec<f64> {
        plan.steps.iter().map(|step| step.share).collect()
    }

    #[test]
    fn without_flags_the_platform_plans() {
        assert_eq!(plan(""), None);
        let plan = plan("--then-alias champion").unwrap();
        assert!(plan.steps.is_empty() && plan.guards.is_empty());
        let action = Some(Action::Alias("champion".to_owned()));
        assert_eq!(plan.completion, Some(RolloutCompletion { action }));
    }

    #[test]
    fn steps_are_read_in_order() {
        let plan = plan("--steps shadow,1%,0.25,100% --step-duration 10m --min-samples 7").unwrap();
        assert_eq!(shares(&plan), [0.0, 0.01, 0.25, 1.0]);
        let ten_minutes = Some(prost_types::Duration {
            seconds: 600,
            nanos: 0,
        });
        assert!(
            plan.steps
                .iter()
                .all(|s| s.min_duration == ten_minutes && s.min_samples == 7)
        );
    }

    #[test]
    fn a_part_of_the_default_steps_can_be_changed() {
        let plan = plan("--step-duration 1s").unwrap();
        assert_eq!(shares(&plan), [0.0, 0.01, 0.05, 0.25, 1.0]);
        assert!(plan.steps.iter().all(|step| step.min_samples >= 100));
        assert!(plan.guards.is_empty());
    }

    #[test]
    fn a_limit_replaces_the_defaults_of_its_measure_only() {
        let plan = plan("--max-p95 200ms --max-psi 0.2").unwrap();
        let is = |wanted: fn(&Kind) -> bool| {
            plan.guards
                .iter()
                .flat_map(|g| &g.guard)
                .filter(|k| wanted(k))
                .count()
        };
        assert_eq!(is(|kind| matches!(kind, Kind::ErrorRate(_))), 2);
        assert_eq!(
            is(|kind| matches!(kind, Kind::LatencyP95(g) if g.max.is_some())),
            1
        );
        assert_eq!(is(|kind| matches!(kind, Kind::PredictionShift(_))), 1);
        assert_eq!(plan.guards.len(), 4);
        assert!(plan.steps.is_empty());
    }

    #[test]
    fn samples_are_for_steps_and_guards() {
        let plan = plan("--min-samples 10 --max-error-rate 5% --max-disagreement 2%").unwrap();
        assert!(plan.steps.iter().all(|step| step.min_samples == 10));
        assert!(plan.guards.iter().all(|guard| guard.min_samples == 10));
        let first = plan.guards.first().and_then(|guard| guard.guard.as_ref());
        assert!(matches!(first, Some(Kind::ErrorRate(g)) if g.max == Some(0.05)));
    }

    #[test]
    fn metrics_of_outcomes_are_guards() {
        let plan = plan("--metric accuracy>=0.9 --metric mae<=2").unwrap();
        let metrics: Vec<_> = plan
            .guards
            .iter()
            .filter_map(|guard| match guard.guard.as_ref()? {
                Kind::Metric(metric) => Some((metric.name.as_str(), metric.min, metric.max)),
                _ => None,
            })
            .collect();
        assert_eq!(metrics, [("accuracy", Some(0.9), None), ("mae", None, Some(2.0))]);
        // Failed calls and latency are looked at as ever.
        assert_eq!(plan.guards.len(), 5);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "--steps 0%,100%",
            "--steps shadow,",
            "--max-p95 fast",
            "--max-p95 0ms",
            "--max-p95 11m",
            "--max-p95 0.5x",
            "--max-psi 0",
            "--max-psi NaN",
            "--min-samples 0",
            "--max-disagreement 1",
            "--max-error-rate 100%",
            "--metric accuracy",
            "--metric >=0.9",
            "--metric accuracy>=much",
        ] {
            let words = std::iter::once("start").chain(line.split_whitespace());
            assert!(Line::try_parse_from(words).is_err(), "{line}");
        }
    }
}
