use proptest::prelude::*;

use super::{guard::*, interval::rate};

const STEP: Situation = Situation {
    is_shadow: false,
    is_whole: false,
};
const SHADOW: Situation = Situation {
    is_shadow: true,
    is_whole: false,
};
const WHOLE: Situation = Situation {
    is_shadow: false,
    is_whole: true,
};

fn guard(check: Check, min_samples: u64) -> Guard {
    Guard {
        check,
        min_samples,
        is_required: true,
    }
}

fn stats(errors: u64, calls: u64, p95_ms: f64) -> Stats {
    Stats {
        calls,
        errors,
        raised: 0,
        p95_ms: Some(p95_ms),
        ..Stats::default()
    }
}

fn seen(candidate: Stats, baseline: Stats) -> Observation {
    Observation {
        candidate,
        baseline,
        ..Observation::default()
    }
}

fn is_breach(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Breached(_))
}

#[test]
fn exceptions_count_beyond_those_of_the_baseline() {
    let absolute = guard(Check::ErrorRate(ErrorLimit::Absolute(0.05)), 20);
    let relative = guard(Check::ErrorRate(ErrorLimit::OverBaseline(0.05)), 20);
    let raising = |raised, calls| Stats {
        raised,
        ..stats(0, calls, 1.0)
    };
    for both in [&absolute, &relative] {
        // One caller's bad input, which either version refuses.
        let alike = seen(raising(20, 50), raising(180, 450));
        assert_eq!(both.judge(STEP, &alike), Verdict::Passes);
        // A version that raises where the other answers.
        let worse = seen(raising(20, 50), raising(0, 450));
        assert!(is_breach(&both.judge(STEP, &worse)) && is_breach(&both.judge(SHADOW, &worse)));
        // Before the baseline had a call there is nothing to compare with.
        let alone = seen(raising(20, 50), Stats::default());
        assert!(!is_breach(&both.judge(STEP, &alone)));
        assert!(!is_breach(
            &both.judge(STEP, &seen(raising(4, 4), raising(0, 450)))
        ));
    }
    // Where it never will have one, an exception is a failure.
    let alone = seen(raising(20, 50), Stats::default());
    assert!(is_breach(&absolute.judge(WHOLE, &alone)));
    // Exceptions excuse no failures.
    let broken = seen(
        Stats {
            errors: 20,
            ..raising(10, 50)
        },
        raising(180, 450),
    );
    assert!(is_breach(&absolute.judge(STEP, &broken)));
}

#[test]
fn few_failures_are_no_breach_and_many_are_one_soon() {
    let strict = guard(Check::ErrorRate(ErrorLimit::Absolute(0.01)), 100);
    let relative = guard(Check::ErrorRate(ErrorLimit::OverBaseline(0.01)), 100);
    let baseline = stats(2, 1_000, 10.0);
    let judged = |guard: &Guard, errors, calls| guard.judge(STEP, &seen(stats(errors, calls, 1.0), baseline));
    for both in [&strict, &relative] {
        assert!(!is_breach(&judged(both, 1, 3)) && !is_breach(&judged(both, 4, 4)));
        assert!(is_breach(&judged(both, 5, 5)));
        assert_eq!(
            judged(both, 0, 99),
            Verdict::Unknown {
                samples: 99,
                needed: 100
            }
        );
        assert_eq!(judged(both, 0, 100), Verdict::Passes);
    }
    // 1.5 % of 1,000 may still be 1 %, 1.5 % of 10,000 may not.
    assert_eq!(judged(&strict, 15, 1_000), Verdict::Passes);
    let Verdict::Breached(breach) = judged(&strict, 150, 10_000) else {
        panic!("no breach")
    };
    assert_eq!(
        (breach.measured, breach.limit, breach.samples),
        (0.015, 0.01, 10_000)
    );
    assert_eq!(
        breach.to_string(),
        "share of failed calls is 1.50 % of 10000 calls, above 1.31 % with 95 % confidence; limit 1.00 %"
    );
    let Verdict::Breached(breach) = judged(&relative, 30, 1_000) else {
        panic!("no breach")
    };
    assert!((breach.limit - 0.012).abs() < 1e-12 && breach.lower_bound > Some(0.012));
    // Five of five failures do not prove that more than 70 % fail, seven of seven do.
    let loose = guard(Check::ErrorRate(ErrorLimit::Absolute(0.7)), 1);
    assert!(!is_breach(&judged(&loose, 5, 5)) && is_breach(&judged(&loose, 7, 7)));
}

#[test]
fn latencies_are_compared_once_there_are_enough() {
    let absolute = guard(Check::LatencyP95(LatencyLimit::AbsoluteMs(50.0)), 10);
    let relative = guard(Check::LatencyP95(LatencyLimit::TimesBaseline(2.0)), 10);
    let judged = |guard: &Guard, calls, ms| guard.judge(STEP, &seen(stats(0, calls, ms), stats(0, 20, 25.0)));
    for both in [&absolute, &relative] {
        assert_eq!(judged(both, 10, 50.0), Verdict::Passes);
        let Verdict::Breached(breach) = judged(both, 10, 50.1) else {
            panic!("no breach")
        };
        assert_eq!((breach.measured, breach.limit), (50.1, 50.0));
        assert!(matches!(
            judged(both, 9, 500.0),
            Verdict::Unknown { samples: 9, .. }
        ));
        assert!(matches!(
            judged(both, 10, f64::NAN),
            Verdict::Unknown { samples: 0, .. }
        ));
    }
    // What a busy machine does to a few calls proves nothing; the ends of the interval decide where they are known.
    let within = |ms, low, high| Stats {
        p95_bounds_ms: Some((low, high)),
        ..stats(0, 40, ms)
    };
    for (ours, theirs, is_bad) in [
        (within(91.0, 9.0, 91.0), within(7.0, 6.0, 20.0), false),
        (within(91.0, 41.0, 91.0), within(7.0, 6.0, 20.0), true),
        (within(91.0, 41.0, 91.0), within(7.0, 6.0, 21.0), false),
    ] {
        let verdict = relative.judge(STEP, &seen(ours, theirs));
        assert_eq!(is_breach(&verdict), is_bad, "{verdict:?}");
    }
    let (low, high) = p95_ranks(37);
    assert!((low - 0.867).abs() < 1e-3 && high == 1.0, "{low} {high}");
    let (low, high) = p95_ranks(10_000);
    assert!(
        (low - 0.9449).abs() < 1e-4 && (high - 0.9551).abs() < 1e-4,
        "{low} {high}"
    );
    let few = seen(stats(0, 99, 1.0), stats(0, 9, 1.0));
    assert!(matches!(
        relative.judge(STEP, &few),
        Verdict::Unknown { samples: 9, .. }
    ));
}

#[test]
fn comparisons_are_left_out_where_there_is_no_baseline_at_all() {
    let alone = seen(stats(0, 500, 9.0), Stats::default());
    for check in [
        Check::ErrorRate(ErrorLimit::OverBaseline(0.01)),
        Check::LatencyP95(LatencyLimit::TimesBaseline(2.0)),
        Check::PredictionShift { max_psi: 0.2 },
    ] {
        let guard = guard(check, 10);
        assert_eq!(guard.judge(WHOLE, &alone), Verdict::NotConcerned);
        assert!(matches!(guard.judge(STEP, &alone), Verdict::Unknown { .. }));
    }
    let absolute = guard(Check::ErrorRate(ErrorLimit::Absolute(0.01)), 501);
    assert!(matches!(absolute.judge(WHOLE, &alone), Verdict::Unknown { .. }));
    // What the last step with a baseline said still counts.
    let kept = seen(stats(100, 500, 9.0), stats(1, 500, 9.0));
    let relative = guard(Check::ErrorRate(ErrorLimit::OverBaseline(0.01)), 10);
    assert!(is_breach(&relative.judge(WHOLE, &kept)));
}

#[test]
fn shifts_disagreements_and_metrics_have_their_sides() {
    let mut all = Observation::default();
    let shift = guard(Check::PredictionShift { max_psi: 0.2 }, 10);
    let share = guard(Check::Disagreement { max_share: 0.1 }, 10);
    let metric = |limit| {
        let name = "auc".to_owned();
        guard(Check::Metric { name, limit }, 10)
    };
    let (most, least) = (
        metric(MetricLimit::AtMost(0.8)),
        metric(MetricLimit::AtLeast(0.8)),
    );
    for unknown in [&shift, &share, &most, &least] {
        assert!(matches!(
            unknown.judge(SHADOW, &all),
            Verdict::Unknown { samples: 0, .. }
        ));
    }
    assert_eq!(share.judge(STEP, &all), Verdict::NotConcerned);
    let measured = |value| Measured { value, samples: 10 };
    for (value, breaches) in [(0.8, [false, false]), (0.7, [false, true]), (0.9, [true, false])] {
        all.metrics.insert("auc".to_owned(), measured(value));
        let found = [&most, &least].map(|guard| is_breach(&guard.judge(STEP, &all)));
        assert_eq!(found, breaches, "{value}");
    }
    all.metrics.insert("auc".to_owned(), measured(f64::INFINITY));
    assert!(matches!(most.judge(STEP, &all), Verdict::Unknown { .. }));
    all.psi = Some(measured(0.21));
    assert!(is_breach(&shift.judge(STEP, &all)));
    all.shadow = ShadowStats {
        compared: 40,
        disagreed: 10,
    };
    assert!(is_breach(&share.judge(SHADOW, &all)) && is_breach(&share.judge(STEP, &all)));
}

#[test]
fn a_guard_tells_what_it_reads_before_it_can_judge() {
    let reading = |value: f64, limit: f64, samples| Reading {
        value: Some(value),
        limit: Some(limit),
        samples,
    };
    let raising = Observation {
        candidate: Stats {
            raised: 4,
            ..stats(2, 100, 12.0)
        },
        baseline: Stats {
            raised: 1,
            ..stats(0, 50, 8.0)
        },
        shadow: ShadowStats {
            compared: 8,
            disagreed: 2,
        },
        psi: Some(Measured {
            value: 0.125,
            samples: 7,
        }),
        ..Observation::default()
    };
    let absolute = Check::ErrorRate(ErrorLimit::Absolute(0.05));
    let margin = Check::ErrorRate(ErrorLimit::OverBaseline(0.5));
    let ratio = Check::LatencyP95(LatencyLimit::TimesBaseline(1.5));
    for (check, wanted) in [
        // Of six failed calls, the share of exceptions that the others have too is excused.
        (absolute.clone(), reading(0.06 - 0.02, 0.05, 100)),
        (margin.clone(), reading(0.06, 0.52, 50)),
        (ratio.clone(), reading(12.0, 12.0, 50)),
        (Check::PredictionShift { max_psi: 0.25 }, reading(0.125, 0.25, 7)),
        (Check::Disagreement { max_share: 0.5 }, reading(0.25, 0.5, 8)),
    ] {
        let read = guard(check, 1_000).read(&raising);
        let near = |a: Option<f64>, b: Option<f64>| a.zip(b).is_some_and(|(a, b)| (a - b).abs() < 1e-12);
        assert!(
            near(read.value, wanted.value) && near(read.limit, wanted.limit),
            "{read:?}"
        );
        assert_eq!(read.samples, wanted.samples);
    }
    // Nothing was seen, and nobody is there to be held against.
    let nothing = Observation::default();
    for (check, limit) in [(absolute, Some(0.05)), (margin, None), (ratio, None)] {
        let wanted = Reading {
            value: None,
            limit,
            samples: 0,
        };
        assert_eq!(guard(check, 10).read(&nothing), wanted);
    }
}

/// Counts in how many of 1,000 rollouts a candidate is taken back: 2,000 calls, looked at after each 10, against a
/// baseline of nine times as many with 2 % errors and a margin of 1 %.
fn taken_back(error_rate: f64) -> u32 {
    let guard = guard(Check::ErrorRate(ErrorLimit::OverBaseline(0.01)), 100);
    let mut state = 11_u64;
    let mut fails = move |rate: f64| {
        // Knuth's linear congruential generator: the same calls in every run.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((state >> 11) as f64 / (1_u64 << 53) as f64) < rate
    };
    let mut taken = 0;
    for _ in 0..1_000 {
        let (mut ours, mut theirs) = (stats(0, 0, 1.0), stats(0, 0, 1.0));
        for _ in 0..200 {
            ours.calls += 10;
            ours.errors += (0..10).filter(|_| fails(error_rate)).count() as u64;
            theirs.calls += 90;
            theirs.errors += (0..90).filter(|_| fails(0.02)).count() as u64;
            if is_breach(&guard.judge(STEP, &seen(ours, theirs))) {
                taken += 1;
                break;
            }
        }
    }
    taken
}

#[test]
fn good_candidates_stay_and_bad_ones_go() {
    let (good, at_limit, bad) = (taken_back(0.02), taken_back(0.03), taken_back(0.06));
    // The figures that the module's documentation gives.
    assert_eq!((good, at_limit, bad), (29, 309, 1_000));
}

proptest! {
    #[test]
    fn a_breach_is_always_above_its_limit(
        (errors, calls) in (0..200_u64, 0..200_u64), (base, base_calls) in (0..200_u64, 0..2_000_u64),
        limit in 0.0..1.0_f64, is_relative in any::<bool>(), min_samples in 1..300_u64,
    ) {
        let check = if is_relative { ErrorLimit::OverBaseline(limit) } else { ErrorLimit::Absolute(limit) };
        let guard = guard(Check::ErrorRate(check), min_samples);
        let observation = seen(stats(errors, calls, 1.0), stats(base, base_calls, 1.0));
        match guard.judge(STEP, &observation) {
            Verdict::Breached(breach) => {
                prop_assert!(errors >= MIN_HITS && breach.measured > breach.limit);
                prop_assert!(breach.lower_bound > Some(breach.limit) && breach.lower_bound <= Some(breach.measured));
                prop_assert_eq!(breach.measured, rate(errors, calls));
            }
            Verdict::Passes => prop_assert!(calls >= min_samples && (!is_relative || base_calls >= min_samples)),
            Verdict::Unknown { samples, needed } => prop_assert!(samples < needed),
            Verdict::NotConcerned => prop_assert!(false, "an error rate always concerns"),
        }
    }

    #[test]
    fn a_candidate_that_always_fails_is_caught_within_seven_calls(limit in 0.0..0.7_f64, min_samples in 1..10_000_u64) {
        let guard = guard(Check::ErrorRate(ErrorLimit::Absolute(limit)), min_samples);
        let caught = (1..=7).find(|calls| {
            let observation = seen(stats(*calls, *calls, 1.0), Stats::default());
            is_breach(&guard.judge(STEP, &observation))
        });
        prop_assert!(caught.is_some_and(|calls| calls >= MIN_HITS), "{:?}", caught);
    }
}
