//! Rollouts: traffic that moves by steps, and back.

use lodeway_domain::{Caller, caller::Workspace};
use lodeway_proto::gateway::v1::{RolloutState as State, rollout_guard::Guard};
use lodeway_rpc::CallContext;

use super::*;

/// One share after the other, each for a minute and ten calls.
pub fn steps(shares: &[f64]) -> wire::RolloutPlan {
    let step = |share: &f64| wire::RolloutStep {
        share: *share,
        min_duration: millis(60_000),
        max_duration: millis(3_600_000),
        min_samples: 10,
    };
    wire::RolloutPlan {
        steps: shares.iter().map(step).collect(),
        guards: vec![guard(Guard::ErrorRate(wire::ErrorRateGuard {
            max: Some(0.2),
            max_above_baseline: None,
        }))],
        completion: None,
    }
}

fn guard(of: Guard) -> wire::RolloutGuard {
    // Of few values, chance alone makes another distribution.
    let is_shift = matches!(of, Guard::PredictionShift(_));
    wire::RolloutGuard {
        guard: Some(of),
        min_samples: if is_shift { 300 } else { 10 },
    }
}

/// A plan with one more guard.
fn and(mut plan: wire::RolloutPlan, more: Guard) -> wire::RolloutPlan {
    plan.guards.push(guard(more));
    plan
}

struct Candidate {
    bench: Bench,
    old: Upstream,
    new: Upstream,
}

impl Candidate {
    async fn new() -> Self {
        let (bench, old, new) = (
            Bench::new().await,
            Upstream::start().unwrap(),
            Upstream::start().unwrap(),
        );
        let of = with(spec([target("old", &old, 1)]), no_retries());
        bench.create("a", of).await.unwrap();
        Self { bench, old, new }
    }

    async fn start(&self, plan: wire::RolloutPlan) -> Result<String, Status> {
        let request = wire::StartRolloutRequest {
            name: "a".to_owned(),
            target: Some(target("new", &self.new, 0)),
            plan: Some(plan),
            ..wire::StartRolloutRequest::default()
        };
        let begun = self.bench.api().start_rollout(request).await?.into_inner();
        Ok(begun.rollout.unwrap().rollout_id)
    }

    async fn rollout(&self, id: &str) -> wire::Rollout {
        rollout(&self.bench, id).await
    }

    /// Waits for a step whose traffic is set, and seen by calls of this gateway.
    async fn at_step(&self, id: &str, step: i32) {
        let is_there = |of: &wire::Rollout| {
            of.step == step
                && of.state() == State::Running
                && of.events.last().unwrap().message == "traffic is set"
        };
        let of = until(async || Some(self.rollout(id).await).filter(is_there)).await;
        until(async || {
            let answer = self.bench.call(Request::new(input("a", 0.0))).await.ok()?;
            let request = wire::ExplainPredictionRequest {
                prediction_id: prediction_id(&answer),
            };
            let explained = self
                .bench
                .monitor
                .clone()
                .explain_prediction(request)
                .await
                .unwrap();
            let number = explained.into_inner().revision.unwrap().number;
            (number == of.current_revision).then_some(())
        })
        .await;
    }

    /// Sends calls and turns the clock until the rollout ends.
    async fn end(&self, id: &str) -> wire::Rollout {
        until(async || {
            for value in 0..30 {
                // A candidate may fail its callers until it is taken back.
                drop(self.bench.score("a", f64::from(value % 10)).await);
            }
            self.bench.turn(Duration::from_secs(20));
            Some(self.rollout(id).await).filter(|of| of.end_time.is_some())
        })
        .await
    }

    /// Weights of the targets, by name, as they serve.
    async fn weights(&self) -> BTreeMap<String, u32> {
        let spec = self.bench.get("a").await.unwrap().revision.unwrap().spec.unwrap();
        spec.targets
            .into_iter()
            .map(|one| (one.name, one.weight))
            .collect()
    }

    async fn reasons(&self) -> Vec<String> {
        let request = wire::ListRevisionsRequest {
            name: "a".to_owned(),
            ..wire::ListRevisionsRequest::default()
        };
        let mut revisions = self
            .bench
            .api()
            .list_revisions(request)
            .await
            .unwrap()
            .into_inner()
            .revisions;
        revisions.reverse();
        // Without the id.
        let words = |reason: String| match reason.split_once(' ') {
            Some(("rollout", rest)) => rest.split_once(' ').unwrap().1.to_owned(),
            _ => reason,
        };
        revisions
            .into_iter()
            .map(|revision| words(revision.reason))
            .collect()
    }

    async fn taken_back(&self, id: &str) -> wire::Rollout {
        let ended = self.end(id).await;
        assert_eq!(ended.state(), State::RolledBack, "{ended:?}");
        assert_eq!(self.weights().await, BTreeMap::from([("old".to_owned(), 1)]));
        self.new.fail(Code::Internal);
        self.bench.scores("a", 50).await;
        ended
    }
}

pub async fn rollout(bench: &Bench, id: &str) -> wire::Rollout {
    let rollout_id = id.to_owned();
    let found = bench
        .api()
        .get_rollout(wire::GetRolloutRequest { rollout_id })
        .await;
    found.unwrap().into_inner().rollout.unwrap()
}

/// A live metric of the candidate over the ten seconds before.
fn accuracy(value: f64, sample_count: i64, end_ms: i64) -> wire::RecordLiveMetricsRequest {
    let metric = wire::LiveMetric {
        target: "new".to_owned(),
        metric: "accuracy".to_owned(),
        value,
        sample_count,
        start_time: Some(stamp(end_ms - 10_000)),
        end_time: Some(stamp(end_ms)),
        ..wire::LiveMetric::default()
    };
    wire::RecordLiveMetricsRequest {
        endpoint: "a".to_owned(),
        metrics: vec![metric],
        ..wire::RecordLiveMetricsRequest::default()
    }
}

impl Candidate {
    /// Reports as evaluation does, of the version that the candidate is.
    async fn report(&self, mut message: wire::RecordLiveMetricsRequest) -> Result<(), Status> {
        let statuses = self.bench.get("a").await.unwrap().target_statuses;
        let version = statuses.into_iter().find(|status| status.target == "new");
        message.metrics[0].model_version = version.unwrap().model_version;
        let evaluation = Caller::evaluation(Workspace::default());
        let request = CallContext::new(evaluation).request(message);
        self.bench
            .monitor
            .clone()
            .record_live_metrics(request)
            .await
            .map(drop)
    }

    /// Outcomes that the guard of the live metric has seen, once the one of errors has seen enough.
    async fn outcomes(&self, id: &str) -> i64 {
        let samples = |of: &wire::Rollout, name: &str| {
            let mut results = of.guard_results.iter();
            results.find(|one| one.guard == name).map_or(0, |one| one.samples)
        };
        let of =
            until(async || Some(self.rollout(id).await).filter(|of| samples(of, "error_rate") >= 10)).await;
        samples(&of, "accuracy")
    }
}

#[tokio::test]
async fn failures_that_another_target_makes_good_take_a_candidate_back() {
    let c = Candidate::new().await;
    let often = wire::Resilience {
        ejection_failures: 1_000,
        retry_min_per_second: Some(1_000),
        ..wire::Resilience::default()
    };
    let of = with(spec([target("old", &c.old, 1)]), often);
    c.bench.revise("a", of).await.unwrap();
    let id = c.start(steps(&[0.5, 1.0])).await.unwrap();
    c.at_step(&id, 0).await;
    c.new.fail(Code::Unavailable);
    // No caller sees it.
    c.bench.scores("a", 100).await;
    let ended = c.end(&id).await;
    assert_eq!(ended.state(), State::RolledBack, "{ended:?}");
    assert_eq!(c.bench.counted("a", "new", "UNAVAILABLE").await, 0);
}

#[tokio::test]
async fn live_metrics_of_evaluation_decide_steps() {
    let c = Candidate::new().await;
    let guard = Guard::Metric(wire::MetricGuard {
        name: "accuracy".to_owned(),
        min: Some(0.9),
        max: None,
    });
    let id = c.start(and(steps(&[0.5, 1.0]), guard)).await.unwrap();
    c.at_step(&id, 0).await;
    let anybody = c
        .bench
        .monitor
        .clone()
        .record_live_metrics(accuracy(1.0, 99, 0))
        .await
        .unwrap_err();
    refused(&anybody, Code::PermissionDenied, "ACCESS_DENIED");
    let broken = c.report(accuracy(f64::NAN, 99, 0)).await.unwrap_err();
    refused(&broken, Code::InvalidArgument, "INVALID_FIELD");
    // From before the step, and of too few: neither lets it go on.
    c.report(accuracy(1.0, 99, -1)).await.unwrap();
    c.bench.turn(Duration::from_secs(120));
    c.bench.scores("a", 60).await;
    assert_eq!(c.outcomes(&id).await, 0);
    c.report(accuracy(0.1, 9, 100_000)).await.unwrap();
    until(async || (c.outcomes(&id).await == 9).then_some(())).await;
    assert_eq!(c.rollout(&id).await.state(), State::Running);

    c.report(accuracy(0.95, 99, 120_000)).await.unwrap();
    c.at_step(&id, 1).await;
    c.bench.turn(Duration::from_secs(1));
    c.report(accuracy(0.5, 99, 121_000)).await.unwrap();
    let ended = until(async || Some(c.rollout(&id).await).filter(|of| of.end_time.is_some())).await;
    assert_eq!(ended.state(), State::RolledBack, "{ended:?}");
    assert!(
        ended.reason.contains("metric `accuracy` is 0.5 over 99 outcomes"),
        "{}",
        ended.reason
    );
}

fn shift() -> Guard {
    Guard::PredictionShift(wire::ShiftGuard { max_psi: 0.3 })
}

fn slower() -> Guard {
    Guard::LatencyP95(wire::LatencyGuard {
        max: None,
        max_ratio: Some(20.0),
    })
}

#[tokio::test]
async fn a_good_candidate_gets_everything_step_by_step() {
    let c = Candidate::new().await;
    let plan = and(and(steps(&[0.0, 0.25, 0.5, 1.0]), shift()), slower());
    let id = c.start(plan).await.unwrap();
    c.at_step(&id, 0).await;
    // Copies only: nobody is answered by it.
    c.new.score(|value| value + 0.25);
    assert_eq!(c.bench.score("a", 3.0).await.unwrap(), 3.0);
    c.new.score(|value| value);
    c.new.arrived(2).await.unwrap();
    // Neither time alone nor calls alone are enough.
    c.bench.turn(Duration::from_secs(120));
    let few = until(async || {
        let of = c.rollout(&id).await;
        of.reason.contains("of 10 calls").then_some(of)
    });
    assert_eq!(few.await.step, 0);
    let ended = c.end(&id).await;
    assert_eq!(
        (ended.state(), &*ended.reason),
        (State::Completed, ""),
        "{ended:?}"
    );
    assert_eq!(
        c.reasons().await,
        ["create", "step 0", "step 1", "step 2", "step 3"]
    );
    assert_eq!(c.weights().await.into_iter().filter(|one| one.1 > 0).count(), 1);
    c.old.fail(Code::Internal);
    c.bench.scores("a", 50).await;
    // The way back goes past all of its steps.
    let back = wire::RollbackEndpointRequest {
        name: "a".to_owned(),
        ..wire::RollbackEndpointRequest::default()
    };
    c.old.heal();
    c.bench.api().rollback_endpoint(back).await.unwrap();
    assert_eq!(c.weights().await, BTreeMap::from([("old".to_owned(), 1)]));
    // An ended rollout makes room for another.
    let request = wire::ListRolloutsRequest {
        name: "a".to_owned(),
        ..wire::ListRolloutsRequest::default()
    };
    let listed = c
        .bench
        .api()
        .list_rollouts(request)
        .await
        .unwrap()
        .into_inner()
        .rollouts;
    assert_eq!((listed.len(), &listed[0].rollout_id), (1, &id));
}

#[tokio::test]
async fn shares_are_what_the_plan_says_and_keys_stay() {
    let c = Candidate::new().await;
    let of = sticky(with(spec([target("old", &c.old, 1)]), no_retries()));
    c.bench.revise("a", of).await.unwrap();
    c.new.score(|value| value + 1.0);
    let id = c.start(steps(&[0.1, 0.5, 1.0])).await.unwrap();
    let users: Vec<String> = (0..400).map(|n| format!("user-{n}")).collect();
    let mut before: Vec<bool> = vec![false; users.len()];
    for (step, share) in [(0, 40.0_f64), (1, 200.0), (2, 400.0)] {
        c.at_step(&id, step).await;
        let mut now = Vec::new();
        for user in &users {
            now.push(c.bench.score_for("a", user).await.unwrap() == 1.0);
        }
        let moved = now.iter().filter(|is_new| **is_new).count() as f64;
        assert!((moved - share).abs() <= 40.0, "step {step}: {moved}");
        assert!(
            before.iter().zip(&now).all(|(before, now)| !before || *now),
            "step {step}"
        );
        before = now;
        c.bench.turn(Duration::from_secs(61));
    }
    let ended = until(async || Some(c.rollout(&id).await).filter(|of| of.end_time.is_some())).await;
    assert_eq!(ended.state(), State::Completed);
}

#[tokio::test]
async fn a_failing_candidate_is_taken_back() {
    let c = Candidate::new().await;
    let id = c.start(steps(&[0.5, 1.0])).await.unwrap();
    c.at_step(&id, 0).await;
    c.new.fail(Code::Internal);
    let ended = c.taken_back(&id).await;
    assert!(ended.reason.contains("share of failed calls"), "{}", ended.reason);
    let broken = ended
        .guard_results
        .iter()
        .find(|one| one.guard == "error_rate")
        .unwrap();
    assert!(broken.is_broken && broken.value > 0.2, "{broken:?}");
    assert_eq!(c.reasons().await, ["create", "step 0", "back to 1"]);
}

#[tokio::test]
async fn a_candidate_that_raises_where_the_old_one_answers_is_taken_back() {
    let c = Candidate::new().await;
    let id = c.start(steps(&[0.5, 1.0])).await.unwrap();
    c.at_step(&id, 0).await;
    c.new.fail(Code::FailedPrecondition);
    let ended = c.taken_back(&id).await;
    assert!(ended.reason.contains("share of failed calls"), "{}", ended.reason);
}

#[tokio::test]
async fn inputs_at_which_either_version_raises_take_no_rollout_back() {
    let c = Candidate::new().await;
    let id = c.start(steps(&[0.5, 1.0])).await.unwrap();
    c.at_step(&id, 0).await;
    c.old.fail(Code::FailedPrecondition);
    c.new.fail(Code::FailedPrecondition);
    let ended = c.end(&id).await;
    assert_eq!(ended.state(), State::Completed, "{ended:?}");
}

#[tokio::test]
async fn a_slow_candidate_is_taken_back() {
    let c = Candidate::new().await;
    let slow = Guard::LatencyP95(wire::LatencyGuard {
        max: millis(100),
        max_ratio: None,
    });
    let id = c.start(and(steps(&[0.3, 1.0]), slow)).await.unwrap();
    c.at_step(&id, 0).await;
    c.new.delay(Duration::from_millis(150));
    let ended = c.taken_back(&id).await;
    assert!(ended.reason.contains("latency"), "{}", ended.reason);
}

#[tokio::test]
async fn a_caller_who_names_the_old_version_is_no_baseline() {
    let c = Candidate::new().await;
    let never = Guard::LatencyP95(wire::LatencyGuard {
        max: None,
        max_ratio: Some(1_000.0),
    });
    let id = c.start(and(steps(&[0.5, 1.0]), never)).await.unwrap();
    c.at_step(&id, 0).await;
    until(async || {
        c.bench.scores("a", 30).await;
        c.bench.turn(Duration::from_secs(20));
        (c.rollout(&id).await.step == 1).then_some(())
    })
    .await;
    c.at_step(&id, 1).await;
    let mut pinned = input("a", 0.0);
    pinned.model_version = "old".to_owned();
    c.bench.call(Request::new(pinned)).await.unwrap();
    // The guard has what it needs of the step before, so that nothing holds.
    let ended = c.end(&id).await;
    assert_eq!(ended.state(), State::Completed, "{ended:?}");
}

#[tokio::test]
async fn a_candidate_that_predicts_otherwise_is_taken_back() {
    let c = Candidate::new().await;
    c.new.score(|value| value * 7.0 + 50.0);
    let id = c.start(and(steps(&[0.5, 1.0]), shift())).await.unwrap();
    c.at_step(&id, 0).await;
    let ended = c.taken_back(&id).await;
    assert!(ended.reason.contains("shift of predictions"), "{}", ended.reason);
}

#[tokio::test]
async fn a_candidate_that_starts_to_predict_otherwise_with_all_traffic_is_taken_back() {
    let c = Candidate::new().await;
    let id = c.start(and(steps(&[0.5, 1.0]), shift())).await.unwrap();
    c.at_step(&id, 0).await;
    until(async || {
        for value in 0..30 {
            c.bench.score("a", f64::from(value % 10)).await.unwrap();
        }
        c.bench.turn(Duration::from_secs(20));
        (c.rollout(&id).await.step == 1).then_some(())
    })
    .await;
    c.at_step(&id, 1).await;
    c.new.score(|value| value * 7.0 + 50.0);
    let ended = c.taken_back(&id).await;
    assert!(ended.reason.contains("shift of predictions"), "{}", ended.reason);
}

#[tokio::test]
async fn a_shadow_that_disagrees_never_gets_a_call() {
    let c = Candidate::new().await;
    c.new.score(|value| value + 1.0);
    let disagreement = Guard::ShadowDisagreement(wire::DisagreementGuard { max: 0.1 });
    let id = c.start(and(steps(&[0.0, 1.0]), disagreement)).await.unwrap();
    c.at_step(&id, 0).await;
    let ended = c.taken_back(&id).await;
    assert!(ended.reason.contains("disagreeing"), "{}", ended.reason);
    assert_eq!(c.reasons().await, ["create", "step 0", "back to 1"]);
}

#[tokio::test]
async fn a_candidate_without_calls_is_taken_back_in_the_end() {
    let c = Candidate::new().await;
    let id = c.start(steps(&[0.5, 1.0])).await.unwrap();
    c.at_step(&id, 0).await;
    c.bench.turn(Duration::from_secs(3_601));
    let ended = until(async || Some(c.rollout(&id).await).filter(|of| of.end_time.is_some())).await;
    assert_eq!(ended.state(), State::RolledBack);
    assert!(ended.reason.contains("could not end within"), "{}", ended.reason);
}

#[tokio::test]
async fn a_rollout_goes_on_in_another_gateway_at_every_step() {
    let mut c = Candidate::new().await;
    let id = c.start(steps(&[0.0, 0.25, 0.5, 1.0])).await.unwrap();
    let mut restarts = 0;
    let ended = loop {
        assert!(restarts < 60, "{:?}", c.rollout(&id).await);
        restarts += 1;
        c.bench = c.bench.restart(&format!("gw-{restarts}")).await;
        let of = c.rollout(&id).await;
        if of.end_time.is_some() {
            break of;
        }
        c.bench.scores("a", 20).await;
        // Longer than a lease.
        c.bench.turn(Duration::from_secs(31));
        let seen = (of.step, of.state, of.reason.clone(), of.events.len());
        until(async || {
            let now = c.rollout(&id).await;
            ((now.step, now.state, now.reason, now.events.len()) != seen).then_some(())
        })
        .await;
    };
    assert_eq!(ended.state(), State::Completed, "{ended:?}");
    assert!(restarts > 4, "{restarts}");
    assert_eq!(
        c.reasons().await,
        ["create", "step 0", "step 1", "step 2", "step 3"]
    );
}

#[tokio::test]
async fn a_rollout_that_goes_back_goes_back_in_another_gateway_too() {
    let mut c = Candidate::new().await;
    let id = c.start(steps(&[0.5, 1.0])).await.unwrap();
    c.at_step(&id, 0).await;
    c.new.fail(Code::Internal);
    for _ in 0..60 {
        drop(c.bench.score("a", 1.0).await);
    }
    // Nobody looks any more when it breaks its guard; the next one has only what was written.
    c.bench = c.bench.restart("gw-1").await;
    c.bench.turn(Duration::from_secs(31));
    let ended = until(async || Some(c.rollout(&id).await).filter(|of| of.end_time.is_some())).await;
    assert_eq!(ended.state(), State::RolledBack);
    assert_eq!(c.weights().await, BTreeMap::from([("old".to_owned(), 1)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_make_every_step_once() {
    let c = Candidate::new().await;
    let twin = c.bench.twin("gw-1").await;
    let id = c.start(steps(&[0.1, 0.2, 0.4, 0.8, 1.0])).await.unwrap();
    let ended = until(async || {
        c.bench.scores("a", 60).await;
        twin.scores("a", 60).await;
        c.bench.turn(Duration::from_secs(20));
        Some(rollout(&twin, &id).await).filter(|of| of.end_time.is_some())
    })
    .await;
    assert_eq!(ended.state(), State::Completed, "{ended:?}");
    let wanted = ["create", "step 0", "step 1", "step 2", "step 3", "step 4"];
    assert_eq!(c.reasons().await, wanted);
}

#[tokio::test]
async fn a_rollout_can_be_paused_as_soon_as_it_has_begun() {
    let c = Candidate::new().await;
    let rollout_id = c.start(steps(&[0.5, 1.0])).await.unwrap();
    let request = wire::PauseRolloutRequest {
        rollout_id,
        comment: "wait".to_owned(),
    };
    let paused = c.bench.api().pause_rollout(request).await.unwrap().into_inner();
    let paused = paused.rollout.unwrap();
    assert_eq!((paused.state(), paused.step), (State::Paused, 0));
    assert_eq!(c.reasons().await, ["create", "step 0"]);
}

#[tokio::test]
async fn a_person_pauses_resumes_and_aborts() {
    let c = Candidate::new().await;
    let id = c.start(steps(&[0.5, 1.0])).await.unwrap();
    c.at_step(&id, 0).await;
    let rollout_id = || id.clone();
    // The controller writes what it sees all the time; that is nothing a person should notice.
    for round in 0..30 {
        // A comment is none of what must be said.
        let comment = if round == 1 {
            String::new()
        } else {
            format!("round {round}")
        };
        let why = if round == 1 {
            String::new()
        } else {
            format!(": {comment}")
        };
        let request = wire::PauseRolloutRequest {
            rollout_id: rollout_id(),
            comment,
        };
        let paused = c
            .bench
            .api()
            .pause_rollout(request)
            .await
            .unwrap()
            .into_inner()
            .rollout
            .unwrap();
        assert_eq!(paused.state(), State::Paused);
        let reason = &paused.reason;
        assert!(
            reason.starts_with("paused by `") && reason.ends_with(&format!("`{why}")),
            "{reason}"
        );
        assert_eq!(&paused.events.last().unwrap().message, reason);
        if round == 0 {
            c.bench.scores("a", 60).await;
            c.bench.turn(Duration::from_secs(600));
            let is_seen = |of: &wire::Rollout| of.guard_results.iter().any(|one| one.samples >= 10);
            let held = until(async || Some(c.rollout(&id).await).filter(is_seen)).await;
            assert_eq!((held.state(), held.step), (State::Paused, 0));
            // What holds is told as well as what does not.
            let mut errors = held.guard_results.iter().filter(|one| one.guard == "error_rate");
            let told = errors.find(|one| one.samples >= 10).unwrap();
            assert!(
                told.is_known && told.has_enough_samples && !told.is_broken,
                "{told:?}"
            );
            assert!(told.value == 0.0 && told.limit > 0.0, "{told:?}");
        }
        let request = wire::ResumeRolloutRequest {
            rollout_id: rollout_id(),
            comment: "all is well".to_owned(),
        };
        if round == 0 {
            let again = wire::PauseRolloutRequest {
                rollout_id: rollout_id(),
                comment: String::new(),
            };
            let again = c.bench.api().pause_rollout(again).await.unwrap_err();
            refused(&again, Code::FailedPrecondition, "ROLLOUT_STATE");
        }
        c.bench.api().resume_rollout(request).await.unwrap();
        if round == 0 {
            c.at_step(&id, 1).await;
            // The second of two, as people count.
            let events = c.rollout(&id).await.events;
            let said = |words: &str| events.iter().any(|event| event.message == words);
            assert!(said("goes on to step 2"), "{events:?}");
            assert!(said("resumed by `anonymous`: all is well"), "{events:?}");
        }
    }
    let request = wire::AbortRolloutRequest {
        rollout_id: rollout_id(),
        comment: "wrong model".to_owned(),
    };
    let aborted = c
        .bench
        .api()
        .abort_rollout(request.clone())
        .await
        .unwrap()
        .into_inner()
        .rollout
        .unwrap();
    assert!(
        [State::Aborted, State::RollingBack].contains(&aborted.state()),
        "{aborted:?}"
    );
    let ended = until(async || Some(c.rollout(&id).await).filter(|of| of.end_time.is_some())).await;
    assert_eq!(ended.state(), State::Aborted);
    assert!(ended.reason.contains("wrong model"), "{}", ended.reason);
    assert_eq!(c.weights().await, BTreeMap::from([("old".to_owned(), 1)]));
    let again = c.bench.api().abort_rollout(request).await.unwrap_err();
    refused(&again, Code::FailedPrecondition, "ROLLOUT_STATE");
}

#[tokio::test]
async fn what_cannot_begin_is_refused_at_once() {
    let c = Candidate::new().await;
    c.new.set_ready(false);
    let early = c.start(steps(&[1.0])).await.unwrap_err();
    refused(&early, Code::FailedPrecondition, "TARGET_NOT_READY");
    c.new.set_ready(true);
    let falling = c.start(steps(&[0.5, 0.25, 1.0])).await.unwrap_err();
    refused(&falling, Code::InvalidArgument, "INVALID_FIELD");
    let mut plan = steps(&[1.0]);
    let action = wire::rollout_completion::Action::Stage("Production".to_owned());
    plan.completion = Some(wire::RolloutCompletion { action: Some(action) });
    refused(
        &c.start(plan).await.unwrap_err(),
        Code::InvalidArgument,
        "INVALID_FIELD",
    );
    assert_eq!(c.reasons().await, ["create"]);

    let request = wire::StartRolloutRequest {
        name: "a".to_owned(),
        target: Some(target("new", &c.new, 0)),
        plan: Some(steps(&[0.5, 1.0])),
        request_id: request_id(1),
        ..wire::StartRolloutRequest::default()
    };
    let begin = async |request| {
        let begun = c.bench.api().start_rollout(request).await?;
        Ok::<_, Status>(begun.into_inner().rollout.unwrap().rollout_id)
    };
    let id = begin(request.clone()).await.unwrap();
    assert_eq!(begin(request).await.unwrap(), id);
    let second = c.start(steps(&[1.0])).await.unwrap_err();
    refused(&second, Code::FailedPrecondition, "ROLLOUT_STATE");
    assert!(second.message().contains(&id), "{second:?}");
    let request = wire::DeleteEndpointRequest {
        name: "a".to_owned(),
        ..wire::DeleteEndpointRequest::default()
    };
    let busy = c.bench.api().delete_endpoint(request).await.unwrap_err();
    refused(&busy, Code::FailedPrecondition, "ROLLOUT_STATE");
}

#[tokio::test]
async fn a_dead_spare_target_does_not_keep_traffic_at_a_failing_candidate() {
    let mut c = Candidate::new().await;
    let mut spare = Upstream::start().unwrap();
    let of = spec([target("old", &c.old, 1), target("new", &spare, 0)]);
    c.bench.revise("a", with(of, no_retries())).await.unwrap();
    // The candidate takes the name, so that the way back needs the spare again.
    let id = c.start(steps(&[0.5, 1.0])).await.unwrap();
    c.at_step(&id, 0).await;
    spare.die();
    c.new.die();
    let ended = c.end(&id).await;
    assert_eq!(ended.state(), State::RolledBack, "{ended:?}");
    assert_eq!(
        c.weights().await,
        BTreeMap::from([("new".to_owned(), 0), ("old".to_owned(), 1)])
    );
    c.bench.scores("a", 50).await;
    // It is found again when it is back.
    spare.revive().unwrap();
    until(async || (c.bench.state("a", "new").await == "ready").then_some(())).await;
}

#[tokio::test]
async fn nobody_else_moves_the_traffic_during_a_rollout() {
    let c = Candidate::new().await;
    let id = c.start(steps(&[0.25, 1.0])).await.unwrap();
    c.at_step(&id, 0).await;
    let back = wire::RollbackEndpointRequest {
        name: "a".to_owned(),
        number: 1,
        ..wire::RollbackEndpointRequest::default()
    };
    let status = c.bench.api().rollback_endpoint(back.clone()).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "ROLLOUT_STATE");
    assert!(
        status.message().contains(&id) && status.message().contains("abort it first"),
        "{status:?}"
    );
    let request = wire::AbortRolloutRequest {
        rollout_id: id.clone(),
        ..wire::AbortRolloutRequest::default()
    };
    c.bench.api().abort_rollout(request).await.unwrap();
    c.end(&id).await;
    c.bench.api().rollback_endpoint(back).await.unwrap();
}
