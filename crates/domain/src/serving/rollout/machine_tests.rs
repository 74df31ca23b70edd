use proptest::prelude::*;

use super::{
    super::{guard::*, *},
    state::elapsed_ms,
};
use crate::time::Timestamp;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms as i64)
}

fn step(kind: StepKind) -> Step {
    Step {
        kind,
        min_duration_ms: 100,
        max_duration_ms: 1_000,
        min_samples: 10,
    }
}

fn plan(on_success: bool) -> RolloutPlan {
    let copies = StepKind::Shadow {
        share: 10_000,
        max_in_flight: 4,
    };
    let guards = vec![
        Guard {
            check: Check::ErrorRate(ErrorLimit::Absolute(0.05)),
            min_samples: 20,
            is_required: true,
        },
        Guard {
            check: Check::LatencyP95(LatencyLimit::TimesBaseline(2.0)),
            min_samples: 20,
            is_required: true,
        },
        Guard {
            check: Check::PredictionShift { max_psi: 0.2 },
            min_samples: 50,
            is_required: false,
        },
    ];
    let move_alias = OnSuccess::MoveAlias {
        model: crate::registry::ModelName::parse("m", "churn").unwrap(),
        alias: crate::registry::AliasName::parse("champion").unwrap(),
        version: 3,
    };
    RolloutPlan::new(RolloutSpec {
        steps: vec![
            step(copies),
            step(StepKind::Share(100)),
            step(StepKind::Share(10_000)),
        ],
        guards,
        on_success: on_success.then_some(move_alias),
    })
    .unwrap()
}

fn good() -> Observation {
    let stats = Stats {
        calls: 100,
        errors: 0,
        raised: 0,
        p95_ms: Some(10.0),
        ..Stats::default()
    };
    Observation {
        candidate: stats,
        baseline: stats,
        ..Observation::default()
    }
}

fn bad() -> Observation {
    let mut seen = good();
    seen.candidate.errors = 50;
    seen
}

fn running(plan: &RolloutPlan) -> RolloutState {
    let begun = RolloutState::begin(at(0));
    begun.apply(plan, RolloutEvent::Published, at(0)).unwrap()
}

fn held(decision: &Decision) -> &HoldReason {
    match decision {
        Decision::Hold { why } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_candidate_goes_all_the_way() {
    for on_success in [false, true] {
        let plan = plan(on_success);
        let (mut state, mut now, mut steps) = (RolloutState::begin(at(0)), 0, Vec::new());
        loop {
            // A controller that is restarted each time has only what was kept.
            state = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
            let event = match &state.status {
                RolloutStatus::Entering { step } => {
                    steps.push(*step);
                    RolloutEvent::Published
                }
                RolloutStatus::Completing => RolloutEvent::Finished,
                status if status.is_ended() => break,
                _ => match decide(&plan, &state, at(now), &good()).event() {
                    Some(event) => event,
                    None => {
                        now += 30;
                        continue;
                    }
                },
            };
            state = state.apply(&plan, event, at(now)).unwrap();
        }
        assert_eq!((steps, state.status), (vec![0, 1, 2], RolloutStatus::Completed));
        // Every step lasted 100 ms or more, and was looked at every 30.
        assert_eq!((now, state.version), (360, if on_success { 7 } else { 6 }));
    }
}

#[test]
fn waiting_is_explained() {
    let (plan, mut seen) = (plan(false), good());
    let state = running(&plan);
    assert_eq!(
        held(&decide(&plan, &state, at(40), &seen)),
        &HoldReason::TooEarly { left_ms: 60 }
    );
    seen.candidate.calls = 9;
    let few = HoldReason::TooFewSamples {
        samples: 9,
        needed: 10,
    };
    assert_eq!(held(&decide(&plan, &state, at(100), &seen)), &few);
    seen.candidate.calls = 19;
    let unknown = HoldReason::GuardUnknown {
        guard: 0,
        samples: 19,
        needed: 20,
    };
    assert_eq!(held(&decide(&plan, &state, at(100), &seen)), &unknown);
    assert_eq!(held(&decide(&plan, &state, at(999), &seen)), &unknown);
    let slow = decide(&plan, &state, at(1_000), &seen);
    let Decision::RollBack { reason } = slow else {
        panic!("{slow:?}")
    };
    assert_eq!(
        reason.to_string(),
        "the step could not end within 1000 ms: guard 0 has 19 of 20 samples"
    );
    // A clock that went back only makes it wait.
    let early = decide(&plan, &state, Timestamp::from_millis(i64::MIN), &good());
    assert_eq!(held(&early), &HoldReason::TooEarly { left_ms: 100 });
    let begun = RolloutState::begin(at(0));
    assert_eq!(
        held(&decide(&plan, &begun, at(500), &bad())),
        &HoldReason::Entering
    );
    let foreign = RolloutState {
        status: RolloutStatus::Running {
            step: 9,
            since: at(0),
            paused_ms: 0,
        },
        ..begun
    };
    assert_eq!(
        held(&decide(&plan, &foreign, at(500), &good())),
        &HoldReason::ForeignPlan
    );
}

#[test]
fn a_breach_leads_back_at_once_and_in_a_pause() {
    let plan = plan(false);
    let state = running(&plan);
    let pause = RolloutEvent::Pause {
        by: "ann".to_owned(),
        comment: "c".repeat(6_000),
    };
    let paused = state.apply(&plan, pause, at(10)).unwrap();
    assert_eq!(
        held(&decide(&plan, &paused, at(5_000), &good())),
        &HoldReason::Paused
    );
    for state in [&state, &paused] {
        let decision = decide(&plan, state, at(10), &bad());
        assert!(matches!(
            decision,
            Decision::RollBack {
                reason: RollbackReason::Guard(_)
            }
        ));
        let back = state.apply(&plan, decision.event().unwrap(), at(11)).unwrap();
        assert_eq!(
            held(&decide(&plan, &back, at(12), &good())),
            &HoldReason::RollingBack
        );
        let ended = back.apply(&plan, RolloutEvent::Restored, at(13)).unwrap();
        let RolloutStatus::RolledBack {
            step: 0,
            reason: RollbackReason::Guard(breach),
        } = &ended.status
        else {
            panic!("{ended:?}")
        };
        assert_eq!((breach.measured, breach.limit), (0.5, 0.05));
        assert_eq!(held(&decide(&plan, &ended, at(14), &good())), &HoldReason::Ended);
    }
    let RolloutStatus::Paused { comment, .. } = &paused.status else {
        panic!("{paused:?}")
    };
    assert_eq!(comment.len(), 5_000);
}

#[test]
fn a_pause_does_not_use_up_the_longest_time() {
    let (plan, mut seen) = (plan(false), good());
    seen.candidate.calls = 1;
    let pause = RolloutEvent::Pause {
        by: String::new(),
        comment: String::new(),
    };
    let paused = running(&plan).apply(&plan, pause, at(500)).unwrap();
    let resume = RolloutEvent::Resume {
        by: String::new(),
        comment: String::new(),
    };
    let resumed = paused.apply(&plan, resume, at(100_000)).unwrap();
    assert!(matches!(
        held(&decide(&plan, &resumed, at(100_499), &seen)),
        HoldReason::TooFewSamples { .. }
    ));
    let late = decide(&plan, &resumed, at(100_500), &seen);
    assert!(matches!(late, Decision::RollBack { .. }), "{late:?}");
    assert_eq!(
        decide(&plan, &resumed, at(100_500), &good()),
        Decision::Advance { to_step: 1 }
    );
}

#[test]
fn people_and_the_registry_can_end_it() {
    let plan = plan(true);
    let abort = || RolloutEvent::Abort {
        by: "ann".to_owned(),
        comment: "wrong model".to_owned(),
    };
    for state in [RolloutState::begin(at(0)), running(&plan)] {
        let back = state.apply(&plan, abort(), at(5)).unwrap();
        let again = back.apply(&plan, abort(), at(6)).unwrap_err();
        assert_eq!(
            again.to_string(),
            "a rollout that is rolling back cannot take `abort`: it is on its way back already"
        );
        let ended = back.apply(&plan, RolloutEvent::Restored, at(7)).unwrap();
        let RolloutStatus::Aborted { by, step: 0, .. } = &ended.status else {
            panic!("{ended:?}")
        };
        assert_eq!(by, "ann");
    }
    let completing = RolloutState {
        version: 8,
        changed: at(0),
        status: RolloutStatus::Completing,
    };
    assert!(completing.apply(&plan, abort(), at(1)).is_err());
    assert_eq!(
        held(&decide(&plan, &completing, at(1), &bad())),
        &HoldReason::Completing
    );
    let refused = RolloutEvent::CompletionRefused {
        why: "gate `auc` does not hold".to_owned(),
    };
    let back = completing.apply(&plan, refused, at(1)).unwrap();
    let ended = back.apply(&plan, RolloutEvent::Restored, at(2)).unwrap();
    assert_eq!((ended.status.step(), ended.version), (Some(2), 10));
    assert!(
        matches!(&ended.status, RolloutStatus::RolledBack { reason, .. } if reason.to_string().contains("gate"))
    );
}

fn any_event() -> impl Strategy<Value = RolloutEvent> {
    let text = || (String::new(), String::new());
    prop_oneof![
        4 => Just(RolloutEvent::Published),
        3 => (0..5_u16).prop_map(|to_step| RolloutEvent::Advance { to_step }),
        1 => Just(RolloutEvent::RollBack { reason: RollbackReason::CompletionRefused { why: String::new() } }),
        1 => Just(RolloutEvent::Restored),
        2 => Just(RolloutEvent::Complete),
        1 => Just(RolloutEvent::Finished),
        1 => Just(RolloutEvent::CompletionRefused { why: String::new() }),
        1 => Just(text()).prop_map(|(by, comment)| RolloutEvent::Pause { by, comment }),
        2 => Just(text()).prop_map(|(by, comment)| RolloutEvent::Resume { by, comment }),
        1 => Just(text()).prop_map(|(by, comment)| RolloutEvent::Abort { by, comment }),
    ]
}

/// Mostly good, so that rollouts get far; now and then something is missing, bad or no number.
fn any_observation() -> impl Strategy<Value = Observation> {
    let stats = || {
        let p95 = prop_oneof![8 => Just(Some(10.0)), 1 => Just(Some(25.0)), 1 => Just(None), 1 => Just(Some(f64::NAN))];
        (
            prop_oneof![3 => 20..500_u64, 1 => 0..20_u64],
            prop_oneof![12 => Just(0_u64), 1 => 0..6_u64],
            p95,
        )
            .prop_map(|(calls, errors, p95_ms)| Stats {
                calls,
                errors,
                raised: 0,
                p95_ms,
                ..Stats::default()
            })
    };
    let psi = prop_oneof![8 => Just(None), 4 => Just(Some(0.1)), 1 => Just(Some(0.3))];
    (stats(), stats(), psi).prop_map(|(candidate, baseline, psi)| Observation {
        candidate,
        baseline,
        psi: psi.map(|value| Measured { value, samples: 60 }),
        ..Observation::default()
    })
}

/// What the rules say, told anew: is there a breach, and may the step end?
fn expected(plan: &RolloutPlan, step: u16, lasted_ms: u64, seen: &Observation) -> (bool, bool) {
    let of_plan = plan.step(step).unwrap();
    let verdicts = plan
        .guards()
        .iter()
        .map(|guard| (guard.is_required, guard.judge(of_plan.kind.situation(), seen)));
    let (mut is_breached, mut is_known) = (false, true);
    for (is_required, verdict) in verdicts {
        is_breached |= matches!(verdict, Verdict::Breached(_));
        is_known &= !(is_required && matches!(verdict, Verdict::Unknown { .. }));
    }
    let is_due = lasted_ms >= of_plan.min_duration_ms && seen.candidate.calls >= of_plan.min_samples;
    (is_breached, is_due && is_known)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_is_observed_no_step_is_skipped_or_ended_early(
        on_success in any::<bool>(),
        looks in prop::collection::vec((0..120_u64, any_observation()), 1..80),
    ) {
        let plan = plan(on_success);
        let (mut state, mut now) = (RolloutState::begin(at(0)), 0);
        for (ms, seen) in looks {
            now += ms;
            // Restarted at every look: what was kept is all that is known.
            state = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
            let decision = decide(&plan, &state, at(now), &seen);
            prop_assert_eq!(&decision, &decide(&plan, &state, at(now), &seen));
            let event = match (&state.status, decision.event()) {
                (RolloutStatus::Entering { .. }, None) => RolloutEvent::Published,
                (RolloutStatus::RollingBack { .. }, None) => RolloutEvent::Restored,
                (RolloutStatus::Completing, None) => RolloutEvent::Finished,
                (RolloutStatus::Running { step, since, .. }, decided) => {
                    let lasted = elapsed_ms(*since, at(now));
                    let (is_breached, may_end) = expected(&plan, *step, lasted, &seen);
                    match &decided {
                        Some(RolloutEvent::Advance { to_step }) => {
                            prop_assert!(!is_breached && may_end && *to_step == step + 1 && !plan.is_last(*step));
                        }
                        Some(RolloutEvent::Complete) => {
                            prop_assert!(!is_breached && may_end && plan.is_last(*step));
                        }
                        Some(RolloutEvent::RollBack { .. }) => {
                            prop_assert!(is_breached || (!may_end && lasted >= 1_000));
                        }
                        _ => prop_assert!(!is_breached && !may_end && lasted < 1_000),
                    }
                    let Some(event) = decided else { continue };
                    event
                }
                (status, decided) => {
                    prop_assert!(status.is_ended() && decided.is_none(), "{:?} {:?}", status, decided);
                    continue;
                }
            };
            let next = state.apply(&plan, event, at(now));
            prop_assert!(next.is_ok(), "{:?}", next);
            let next = next.unwrap();
            prop_assert_eq!(next.version, state.version + 1);
            state = next;
        }
    }

    #[test]
    fn whatever_happens_states_follow_the_rules(
        on_success in any::<bool>(), events in prop::collection::vec((0..150_u64, any_event()), 1..60),
    ) {
        let plan = plan(on_success);
        let (mut state, mut now) = (RolloutState::begin(at(0)), 0);
        for (ms, event) in events {
            now += ms;
            let Ok(next) = state.apply(&plan, event.clone(), at(now)) else {
                continue;
            };
            prop_assert!(!state.status.is_ended(), "{:?} after the end", event);
            if let (Some(before), Some(after)) = (state.status.step(), next.status.step()) {
                prop_assert!(after == before || after == before + 1);
                prop_assert!(plan.step(after).is_some());
            }
            if let RolloutStatus::Running { since, step, .. } = state.status {
                let is_on = matches!(next.status, RolloutStatus::Entering { .. } | RolloutStatus::Completing | RolloutStatus::Completed);
                prop_assert!(!is_on || elapsed_ms(since, at(now)) >= 100);
                prop_assert!(next.status.step().is_some() || plan.is_last(step));
            }
            let text = serde_json::to_string(&next).unwrap();
            prop_assert_eq!(&serde_json::from_str::<RolloutState>(&text).unwrap(), &next);
            state = next;
        }
    }
}
