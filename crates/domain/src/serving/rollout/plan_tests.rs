use proptest::prelude::*;

use super::{
    super::*,
    plan::{MAX_STEP_MS, MAX_STEPS},
};
use crate::{
    Error,
    registry::{ModelName, Stage},
    time::Timestamp,
};

fn share(share: u16) -> Step {
    Step {
        kind: StepKind::Share(share),
        min_duration_ms: 10,
        max_duration_ms: 100,
        min_samples: 5,
    }
}

fn shadow() -> Step {
    Step {
        kind: StepKind::Shadow {
            share: 10_000,
            max_in_flight: 1,
        },
        ..share(0)
    }
}

fn refused(spec: RolloutSpec) -> Vec<String> {
    match RolloutPlan::new(spec) {
        Err(Error::Invalid(found)) => found.into_iter().map(|v| v.field).collect(),
        other => panic!("{other:?}"),
    }
}

fn with_steps(steps: Vec<Step>) -> RolloutSpec {
    RolloutSpec {
        steps,
        guards: Vec::new(),
        on_success: None,
    }
}

#[test]
fn the_default_is_a_plan_and_is_kept_as_it_is() {
    let plan = RolloutPlan::default();
    assert_eq!(RolloutPlan::new(plan.clone().into()).unwrap(), plan);
    let shares: Vec<_> = plan.steps().iter().map(|step| step.kind).collect();
    assert!(matches!(shares[0], StepKind::Shadow { .. }));
    assert_eq!(shares[1..], [100, 500, 2_500, 10_000].map(StepKind::Share));
    assert!(plan.is_last(4) && !plan.is_last(3) && plan.step(5).is_none());
    let mut spec = RolloutSpec::from(plan);
    spec.on_success = Some(OnSuccess::TransitionStage {
        model: ModelName::parse("m", "churn").unwrap(),
        version: 3,
        stage: Stage::Production,
        archive_existing: true,
    });
    let plan = RolloutPlan::new(spec).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<RolloutPlan>(&text).unwrap(), plan);
    assert!(serde_json::from_str::<RolloutPlan>(r#"{"steps":[],"guards":[],"on_success":null}"#).is_err());
}

#[test]
fn bad_plans_are_refused_by_field() {
    assert_eq!(refused(with_steps(vec![])), ["steps"]);
    assert_eq!(refused(with_steps(vec![share(1); MAX_STEPS + 1])), ["steps"]);
    assert_eq!(refused(with_steps(vec![shadow(), share(500)])), ["steps"]);
    let wrong = vec![share(500), shadow(), share(500), share(0), share(10_001)];
    let fields = [
        "steps[1].kind",
        "steps[2].kind",
        "steps[3].kind",
        "steps[4].kind",
        "steps",
    ];
    assert_eq!(refused(with_steps(wrong)), fields);
    let mut odd = shadow();
    odd.kind = StepKind::Shadow {
        share: 0,
        max_in_flight: 0,
    };
    odd.min_samples = u64::MAX;
    let (mut hasty, mut long) = (share(1), share(10_000));
    hasty.max_duration_ms = 9;
    long.max_duration_ms = MAX_STEP_MS + 1;
    let fields = [
        "steps[0].kind.share",
        "steps[0].kind.max_in_flight",
        "steps[0].min_samples",
        "steps[1].max_duration_ms",
        "steps[2].max_duration_ms",
    ];
    assert_eq!(refused(with_steps(vec![odd, hasty, long])), fields);
}

#[test]
fn bad_guards_are_refused_by_field() {
    let guard = |check| Guard {
        check,
        min_samples: 1,
        is_required: true,
    };
    let metric = |name: &str, limit| Check::Metric {
        name: name.to_owned(),
        limit,
    };
    let mut spec = with_steps(vec![share(10_000)]);
    spec.guards = [
        Check::ErrorRate(ErrorLimit::Absolute(1.0)),
        Check::ErrorRate(ErrorLimit::OverBaseline(-0.1)),
        Check::LatencyP95(LatencyLimit::AbsoluteMs(0.0)),
        Check::LatencyP95(LatencyLimit::TimesBaseline(0.9)),
        Check::PredictionShift { max_psi: f64::NAN },
        Check::Disagreement {
            max_share: f64::INFINITY,
        },
        metric("", MetricLimit::AtLeast(f64::NAN)),
    ]
    .map(guard)
    .to_vec();
    spec.guards[0].min_samples = 0;
    spec.on_success = Some(OnSuccess::MoveAlias {
        model: ModelName::parse("m", "churn").unwrap(),
        alias: crate::registry::AliasName::parse("champion").unwrap(),
        version: 0,
    });
    let fields = [
        "guards[0].min_samples",
        "guards[0].limit",
        "guards[1].limit",
        "guards[2].limit",
        "guards[3].limit",
        "guards[4].limit",
        "guards[5].limit",
        "guards[6].name",
        "guards[6].limit",
        "on_success.version",
    ];
    assert_eq!(refused(spec.clone()), fields);
    spec.guards = vec![guard(Check::PredictionShift { max_psi: 0.1 }); 33];
    spec.on_success = None;
    assert_eq!(refused(spec), ["guards"]);
}

fn named(name: &str) -> Target {
    Target {
        settings: DeploymentSettings::default(),
        name: TargetName::parse("name", name).unwrap(),
        reference: TargetRef::parse("r", &format!("models:/churn@{name}")).unwrap(),
        timeout_ms: None,
    }
}

fn author() -> Authorship {
    Authorship {
        principal: "ann".to_owned(),
        principal_verified: true,
        created: Timestamp::from_millis(1),
        comment: String::new(),
        reason: RevisionReason::Updated,
    }
}

fn base(weights: &[u32]) -> Revision {
    let targets = weights.iter().enumerate().map(|(i, weight)| WeightedTarget {
        target: named(&format!("t{i}")),
        weight: *weight,
    });
    let spec = RevisionSpec {
        targets: targets.collect(),
        ..RevisionSpec::default()
    };
    spec.first(&EndpointUid::parse("e").unwrap(), author()).unwrap()
}

fn weights_at(base: &Revision, candidate: &Target, share: u16) -> Vec<u32> {
    let spec = step_spec(base, candidate, StepKind::Share(share)).unwrap();
    spec.targets.iter().map(|t| t.weight).collect()
}

#[test]
fn shares_of_steps_are_exact() {
    let (old, new) = (base(&[90, 10]), named("new"));
    assert_eq!(weights_at(&old, &new, 100), [891, 99, 10]);
    assert_eq!(weights_at(&old, &new, 5_000), [9, 1, 10]);
    assert_eq!(weights_at(&old, &new, 10_000), [0, 0, 1]);
    // A target that is there already gets the share asked for, with its new reference.
    let mut there = named("t1");
    there.timeout_ms = Some(5);
    assert_eq!(weights_at(&old, &there, 2_500), [3, 1]);
    let spec = step_spec(&old, &there, StepKind::Share(1)).unwrap();
    assert_eq!(spec.targets[1].target, there);
    let copies = StepKind::Shadow {
        share: 10,
        max_in_flight: 2,
    };
    let spec = step_spec(&old, &new, copies).unwrap();
    assert_eq!((spec.targets[2].weight, spec.targets[0].weight), (0, 90));
    let shadow = spec.shadow.unwrap();
    assert_eq!(
        (shadow.target, shadow.share, shadow.max_in_flight),
        (new.name, 10, 2)
    );
    let alone = step_spec(&base(&[0, 5]), &there, StepKind::Share(100));
    assert!(matches!(alone, Err(Error::Invalid(_))));
}

proptest! {
    #[test]
    fn keys_only_come_to_the_candidate_and_all_go_back(
        weights in prop::collection::vec(prop_oneof![0..=100_u32, 1..=MAX_WEIGHT], 1..8),
        mut shares in prop::collection::btree_set(1..10_000_u16, 1..5),
    ) {
        prop_assume!(weights.iter().any(|w| *w > 0));
        shares.insert(10_000);
        let (first, candidate) = (base(&weights), named("new"));
        let mut before = first.clone();
        for share in shares {
            let step = step_spec(&first, &candidate, StepKind::Share(share)).unwrap();
            let now = step.following(&before, author()).unwrap();
            let sum: f64 = now.split.weights().iter().map(|w| f64::from(w.weight)).sum();
            let got = f64::from(now.weight(&candidate.name).unwrap()) / sum;
            prop_assert!((got - f64::from(share) / 1e4).abs() < 1e-4, "{} {}", got, share);
            for key in 0..200_u32 {
                let key = key.to_le_bytes();
                let (then, now) = (before.split.choose(&key), now.split.choose(&key));
                prop_assert!(*then != candidate.name || *now == candidate.name);
            }
            before = now;
        }
        let back = before.restore(&first, author()).unwrap();
        prop_assert!(diff(&first, &back).is_empty());
    }
}
