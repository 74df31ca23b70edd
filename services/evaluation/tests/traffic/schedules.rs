//! Windows of schedules: each is evaluated once, and what came of it is seen.

use super::{gateway::ENDPOINT, *};

fn schedule(name: &str) -> wire::Schedule {
    wire::Schedule {
        name: name.to_owned(),
        endpoint: ENDPOINT.to_owned(),
        interval: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        ..wire::Schedule::default()
    }
}

impl Bench {
    async fn schedule(&self, schedule: wire::Schedule) -> Result<wire::Schedule, Status> {
        let request = wire::CreateScheduleRequest {
            schedule: Some(schedule),
            request_id: String::new(),
        };
        let reply = self.outcomes.clone().create_schedule(request).await?;
        Ok(reply.into_inner().schedule.unwrap())
    }

    async fn show(&self, name: &str) -> wire::Schedule {
        let name = name.to_owned();
        let request = wire::GetScheduleRequest { name };
        let reply = self.outcomes.clone().get_schedule(request).await.unwrap();
        reply.into_inner().schedule.unwrap()
    }

    /// Waits until the window that ends so many seconds after the start was looked at, and its evaluation has ended.
    async fn looked(&self, name: &str, seconds: i64) -> wire::Schedule {
        let end = gateway::time(START + seconds * 1_000);
        eventually("the window is looked at", async || {
            let found = self.show(name).await;
            let has_ended = !matches!(
                found.last_state(),
                wire::EvaluationState::Pending | wire::EvaluationState::Running
            );
            (found.last_time == Some(end) && has_ended).then_some(found)
        })
        .await
    }

    /// Labelled calls of which so many were predicted wrong.
    async fn calls(&self, at: i64, count: i64, wrong: i64) {
        for call in 0..count {
            // The request was not kept: metrics of the task do not need it.
            let said = if call < wrong { "[0]" } else { "[1]" };
            let id = self.gateway.call(START + at * 1_000 + call, "", said);
            self.report(&id, number(1.0), number(1.0)).await;
        }
    }
}

#[tokio::test]
async fn every_window_is_evaluated_once_by_one_of_two_replicas() {
    let bench = Bench::new().await;
    let other = bench.join("two").await;
    bench.calls(-10, 4, 1).await;
    let threshold = wire::Threshold {
        metric: "accuracy".to_owned(),
        min: Some(0.8),
        ..wire::Threshold::default()
    };
    let asked = wire::Schedule {
        thresholds: vec![threshold],
        ..schedule("quality")
    };
    let made = bench.schedule(asked).await.unwrap();
    assert_eq!((made.max_rows, made.window), (1_000, made.interval));
    // The first window is the one before.
    let found = bench.looked("quality", 0).await;
    assert_eq!(found.last_state(), wire::EvaluationState::Succeeded, "{found:?}");
    assert!((value(&found.last_metrics, "accuracy") - 0.75).abs() < 1e-12);
    assert!(!found.last_verdict.unwrap().passed);
    assert_eq!(found.next_time, Some(gateway::time(START + 60_000)));
    let all = bench.all().await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].evaluation_id, found.last_evaluation_id);
    let spec = all[0].spec.clone().unwrap();
    assert_eq!(
        (&*spec.name, &*spec.dataset.unwrap().name),
        ("quality", "schedules/quality")
    );
    assert!(!all[0].run_id.is_empty());

    // The next one has its own calls only.
    bench.calls(30, 5, 0).await;
    bench.turn(60);
    let found = bench.looked("quality", 60).await;
    assert!((value(&found.last_metrics, "accuracy") - 1.0).abs() < 1e-12);
    assert!(found.last_verdict.unwrap().passed);

    // One without calls is said to be so, and the evaluation before stays in sight.
    let last = found.last_evaluation_id;
    bench.turn(60);
    let found = bench.looked("quality", 120).await;
    assert!(found.error.contains("no traffic"), "{found:?}");
    assert_eq!((found.last_evaluation_id, found.skipped_windows), (last, 0));

    // Of windows that passed while nobody looked only the last one is caught up.
    bench.calls(140, 3, 3).await;
    bench.calls(290, 2, 1).await;
    bench.turn(190);
    let found = bench.looked("quality", 300).await;
    assert_eq!((found.skipped_windows, &*found.error), (2, ""));
    assert!((value(&found.last_metrics, "accuracy") - 0.5).abs() < 1e-12);
    assert_eq!(bench.all().await.len(), 3);
    assert!(other.shutdown(PATIENCE).await);
}

#[tokio::test]
async fn a_window_is_compared_with_the_one_before() {
    let bench = Bench::new().await;
    bench.calls(-10, 4, 1).await;
    let not_worse = wire::Threshold {
        metric: "accuracy".to_owned(),
        max_loss: Some(0.1),
        ..wire::Threshold::default()
    };
    let asked = wire::Schedule {
        thresholds: vec![not_worse.clone()],
        baseline: Some(wire::ScheduleBaseline {
            baseline: Some(wire::schedule_baseline::Baseline::PreviousWindow(true)),
        }),
        ..schedule("quality")
    };
    let made = bench.schedule(asked.clone()).await.unwrap();
    assert_eq!(
        (&made.thresholds, &made.baseline),
        (&asked.thresholds, &asked.baseline)
    );
    // The first one has none before it.
    let first = bench.looked("quality", 0).await;
    assert_eq!(first.last_state(), wire::EvaluationState::Succeeded, "{first:?}");
    assert_eq!(first.last_verdict, None);

    bench.calls(30, 5, 0).await;
    bench.turn(60);
    let second = bench.looked("quality", 60).await;
    let clause = second.last_verdict.unwrap().clauses.remove(0);
    assert!(clause.passed, "{clause:?}");
    assert_eq!((clause.value, clause.baseline), (Some(1.0), Some(0.75)));

    // An empty window is none to compare with.
    bench.turn(60);
    bench.looked("quality", 120).await;
    bench.calls(140, 2, 1).await;
    bench.turn(60);
    let third = bench.looked("quality", 180).await;
    let clause = third.last_verdict.unwrap().clauses.remove(0);
    assert!(
        !clause.passed && clause.message.contains("the baseline has 1"),
        "{clause:?}"
    );
    let all = bench.all().await;
    let baseline = all[0].spec.clone().unwrap().baseline.unwrap().baseline;
    let before = wire::baseline::Baseline::EarlierEvaluationId(second.last_evaluation_id);
    assert_eq!(baseline, Some(before));

    // Slices are not compared, and a baseline is one or the other.
    let of_slice = wire::Schedule {
        thresholds: vec![wire::Threshold {
            slice: "plan=gold".to_owned(),
            ..not_worse
        }],
        name: "sliced".to_owned(),
        ..asked.clone()
    };
    let refused = bench.schedule(of_slice).await.unwrap_err();
    assert!(
        refused.message().contains("schedule.thresholds[0].slice"),
        "{refused:?}"
    );
    for (baseline, field) in [
        (
            wire::schedule_baseline::Baseline::PreviousWindow(false),
            "schedule.baseline",
        ),
        (
            wire::schedule_baseline::Baseline::ModelUri("runs:/1/model".to_owned()),
            "schedule.baseline.model_uri",
        ),
        (
            // The version is looked up, and there is nothing here that knows versions.
            wire::schedule_baseline::Baseline::ModelUri("models:/nobody/1".to_owned()),
            "a registry",
        ),
    ] {
        let wrong = wire::Schedule {
            name: "wrong".to_owned(),
            baseline: Some(wire::ScheduleBaseline {
                baseline: Some(baseline),
            }),
            ..asked.clone()
        };
        let refused = bench.schedule(wrong).await.unwrap_err();
        assert!(refused.message().contains(field), "{refused:?}");
    }
}

impl Bench {
    /// The versions of a schedule's dataset, newest first.
    async fn versions(&self, name: &str) -> Vec<wire::DatasetVersion> {
        let request = wire::ListDatasetVersionsRequest {
            name: format!("schedules/{name}"),
            ..wire::ListDatasetVersionsRequest::default()
        };
        let reply = self.datasets.clone().list_dataset_versions(request).await;
        reply.unwrap().into_inner().dataset_versions
    }

    /// Whether there are files of a dataset version.
    fn has_files(&self, version: &wire::DatasetVersion) -> bool {
        let place = version.artifact_uri.strip_prefix("mlflow-artifacts:/").unwrap();
        self.folder.path().join("artifacts").join(place).exists()
    }
}

#[tokio::test]
async fn old_windows_go_unless_somebody_needs_them() {
    let bench = Bench::new().await;
    bench.calls(-10, 2, 0).await;
    let asked = wire::Schedule {
        keep_windows: 2,
        ..schedule("quality")
    };
    assert_eq!(bench.schedule(asked).await.unwrap().keep_windows, 2);
    let mut evaluations = vec![bench.looked("quality", 0).await.last_evaluation_id];
    let first = bench.versions("quality").await.remove(0);
    assert!(bench.has_files(&first), "{first:?}");
    for window in 1..5 {
        bench.calls(window * 60 - 30, 2, 0).await;
        bench.turn(60);
        evaluations.push(bench.looked("quality", window * 60).await.last_evaluation_id);
        if window == 1 {
            // Somebody evaluates the second version on their own.
            let spec = wire::EvaluationSpec {
                name: "mine".to_owned(),
                dataset: Some(wire::DatasetRef {
                    name: "schedules/quality".to_owned(),
                    version: 2,
                }),
                ..wire::EvaluationSpec::default()
            };
            bench.evaluate(spec).await;
        }
    }
    let kept: Vec<_> = bench
        .versions("quality")
        .await
        .iter()
        .map(|v| v.version)
        .collect();
    assert_eq!(kept, [5, 4, 2]);
    assert!(!bench.has_files(&first));

    // With the rows went the report; what was measured stays.
    let mut api = bench.evaluations.clone();
    for (evaluation_id, is_kept) in evaluations.into_iter().zip([false, true, false, true, true]) {
        let request = wire::GetEvaluationRequest {
            evaluation_id: evaluation_id.clone(),
        };
        let found = api.get_evaluation(request).await.unwrap().into_inner();
        let found = found.evaluation.unwrap();
        assert!((value(&found.metrics, "accuracy") - 1.0).abs() < 1e-12);
        let request = wire::GetReportRequest {
            evaluation_id: evaluation_id.clone(),
        };
        let report = api.get_report(request).await;
        let request = wire::VerifyEvaluationRequest {
            evaluation_id,
            ..wire::VerifyEvaluationRequest::default()
        };
        let verified = api.verify_evaluation(request).await;
        if is_kept {
            report.unwrap();
            assert!(verified.unwrap().get_ref().reproduced);
        } else {
            refused(&report.unwrap_err(), Code::FailedPrecondition, "EVALUATION_STATE");
            refused(
                &verified.unwrap_err(),
                Code::FailedPrecondition,
                "EVALUATION_STATE",
            );
        }
    }
}

#[tokio::test]
async fn what_was_begun_before_a_crash_is_not_done_again() {
    let bench = Bench::new().await;
    bench.calls(-10, 4, 1).await;
    // A replica takes the window, does everything for it, and dies before it says so.
    assert!(bench.tasks.shutdown(PATIENCE).await);
    let one = bench.join("one-again").await;
    let made = bench.schedule(schedule("quality")).await.unwrap();
    bench.looked("quality", 0).await;
    assert!(one.shutdown(PATIENCE).await);
    let db = bench.store.clone();
    forget(&db, &made.name).await;
    assert_eq!(bench.show("quality").await.last_time, None);
    let next = bench.join("two").await;
    let found = bench.looked("quality", 0).await;
    assert_eq!(found.last_state(), wire::EvaluationState::Succeeded);
    assert_eq!(bench.all().await.len(), 1);
    let name = "schedules/quality".to_owned();
    let mut datasets = bench.datasets.clone();
    let dataset = datasets.get_dataset(wire::GetDatasetRequest { name }).await;
    let dataset = dataset.unwrap().into_inner().dataset.unwrap();
    assert_eq!(dataset.latest_version, 1);
    assert!(next.shutdown(PATIENCE).await);
}

#[tokio::test]
async fn a_window_is_the_same_however_late_it_is_looked_at() {
    let bench = Bench::new().await;
    assert!(bench.tasks.shutdown(PATIENCE).await);
    let mut ids = Vec::new();
    for call in 0..4 {
        let said = if call == 0 { "[0]" } else { "[1]" };
        let id = bench.gateway.call(START - 10_000 + call, "", said);
        bench.report(&id, number(1.0), number(1.0)).await;
        ids.push(id);
    }
    let unlabelled = bench.gateway.call(START - 5_000, "", "[0]");
    bench.schedule(schedule("quality")).await.unwrap();
    // Before anybody looks, labels come and are corrected, also by somebody who says that he knew it long ago.
    bench.turn(30);
    bench.report(&unlabelled, number(1.0), number(0.0)).await;
    bench.report(&ids[1], number(0.0), number(1.0)).await;
    let backdated = wire::Outcome {
        prediction_id: bench.gateway.call(START - 4_000, "", "[0]"),
        label: Some(number(1.0)),
        time: Some(gateway::time(START - 3_000)),
        ..wire::Outcome::default()
    };
    let request = wire::ReportOutcomesRequest {
        outcomes: vec![backdated],
        request_id: String::new(),
    };
    bench.outcomes.clone().report_outcomes(request).await.unwrap();
    let late = bench.join("late").await;
    let found = bench.looked("quality", 0).await;
    assert_eq!(found.last_state(), wire::EvaluationState::Succeeded, "{found:?}");
    let accuracy = found
        .last_metrics
        .iter()
        .find(|one| one.metric == "accuracy")
        .unwrap();
    assert_eq!((accuracy.value, accuracy.samples), (0.75, 4), "{accuracy:?}");
    assert!(late.shutdown(PATIENCE).await);
}

/// Puts a schedule back to where it was before its first window.
async fn forget(store: &SqlEvaluation, name: &str) {
    use lodeway_domain::{
        Caller,
        evaluation::{Schedule, ScheduleName},
    };
    use lodeway_store::{evaluation::ScheduleStore as _, ledger::Write};
    let write = || Write {
        caller: Caller::anonymous(),
        now: Timestamp::from_millis(START),
        request: None,
        body_hash: Vec::new(),
    };
    let name = ScheduleName::parse("name", name).unwrap();
    let found = store.schedule(&write().caller.workspace, &name).await.unwrap();
    store.delete_schedule(write(), name).await.unwrap();
    let before = Schedule {
        next: found.created,
        last: None,
        last_evaluation_id: String::new(),
        ..found
    };
    store.create_schedule(write(), before).await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_is_away_is_waited_for() {
    let bench = Bench::new().await;
    bench.calls(-10, 4, 0).await;
    bench.schedule(schedule("quality")).await.unwrap();
    bench.looked("quality", 0).await;
    bench.calls(30, 2, 1).await;
    bench.gateway.set_down(true);
    bench.turn(60);
    eventually("the fault is seen", async || {
        let found = bench.show("quality").await;
        found.error.contains("restarts").then_some(())
    })
    .await;
    bench.gateway.set_down(false);
    bench.turn(11);
    let found = bench.looked("quality", 60).await;
    assert_eq!((&*found.error, found.skipped_windows), ("", 0));
    assert!((value(&found.last_metrics, "accuracy") - 0.5).abs() < 1e-12);
}

#[tokio::test]
async fn texts_are_scored_on_calls_whose_request_was_kept() {
    let bench = Bench::new().await;
    let request = r#"{"messages": [{"role": "user", "content": "Which city?"}]}"#;
    let answer = |city: &str| format!(r#"{{"choices": [{{"message": {{"content": "{city}"}}}}]}}"#);
    for city in ["Paris", "Rome", "Oslo"] {
        let id = bench.gateway.call(START - 1_000, request, &answer(city));
        if city != "Oslo" {
            bench.report(&id, text("Paris"), text(city)).await;
        }
    }
    let scorer = wire::Scorer {
        name: String::new(),
        scorer: Some(wire::scorer::Scorer::Text(wire::TextScorer::default())),
    };
    let asked = wire::Schedule {
        scorers: vec![scorer],
        ..schedule("chat")
    };
    bench.schedule(asked).await.unwrap();
    let found = bench.looked("chat", 0).await;
    assert_eq!(found.last_state(), wire::EvaluationState::Succeeded, "{found:?}");
    assert!((value(&found.last_metrics, "exact_match") - 0.5).abs() < 1e-12);
}

#[tokio::test]
async fn roles_say_which_inputs_are_texts_and_slices() {
    let bench = Bench::new().await;
    for (city, question) in [("Paris", "capital of France"), ("Rome", "capital of Spain")] {
        let request = format!(
            r#"{{"dataframe_records": [{{"question": "{question}", "tone": "short", "plan": "{city}"}}]}}"#
        );
        let id = bench
            .gateway
            .call(START - 1_000, &request, &format!(r#"["{city}"]"#));
        bench.report(&id, text("Paris"), text(city)).await;
    }
    let scorer = wire::Scorer {
        name: "words".to_owned(),
        scorer: Some(wire::scorer::Scorer::Text(wire::TextScorer::default())),
    };
    let asked = wire::Schedule {
        scorers: vec![scorer],
        task: wire::Task::Classification.into(),
        roles: Some(wire::ColumnRoles {
            prompt: "question".to_owned(),
            answer: "prediction".to_owned(),
            expected_answer: "label".to_owned(),
            slices: vec!["plan".to_owned()],
            ..wire::ColumnRoles::default()
        }),
        ..schedule("texts")
    };
    let made = bench.schedule(asked.clone()).await.unwrap();
    assert_eq!(made.roles.unwrap().prompt, "question");
    let found = bench.looked("texts", 0).await;
    assert_eq!(found.last_state(), wire::EvaluationState::Succeeded, "{found:?}");
    assert!((value(&found.last_metrics, "accuracy") - 0.5).abs() < 1e-12);
    assert!((value(&found.last_metrics, "words/exact_match") - 0.5).abs() < 1e-12);

    let wrong = wire::Schedule {
        name: "wrong".to_owned(),
        roles: Some(wire::ColumnRoles {
            prompt: "nothing".to_owned(),
            ..wire::ColumnRoles::default()
        }),
        ..asked
    };
    bench.schedule(wrong).await.unwrap();
    let found = bench.looked("wrong", 0).await;
    assert!(found.error.contains("`nothing`"), "{found:?}");
    assert_eq!(found.last_evaluation_id, "");
}

#[tokio::test]
async fn what_scorers_ask_must_be_there_when_a_schedule_is_made() {
    use lodeway_proto::gateway::v1::{self as gateway, llm_service_client::LlmServiceClient};
    let bench = Bench::new().await;
    let judge = |route: &str| wire::Scorer {
        name: format!("by {route}"),
        scorer: Some(wire::scorer::Scorer::Judge(wire::JudgeScorer {
            kind: wire::JudgeKind::Conciseness.into(),
            route: route.to_owned(),
            ..wire::JudgeScorer::default()
        })),
    };
    let similarity = |route: &str| wire::Scorer {
        name: format!("like {route}"),
        scorer: Some(wire::scorer::Scorer::Similarity(wire::SimilarityScorer {
            embedder: Some(wire::similarity_scorer::Embedder::Route(route.to_owned())),
        })),
    };
    let route = gateway::LlmRoute {
        name: "chat".to_owned(),
        kind: gateway::LlmKind::Chat.into(),
        targets: vec![gateway::LlmTarget {
            base_url: "http://127.0.0.1:9/v1".to_owned(),
            model: "small-1".to_owned(),
            ..gateway::LlmTarget::default()
        }],
        ..gateway::LlmRoute::default()
    };
    let request = gateway::CreateRouteRequest {
        route: Some(route),
        request_id: String::new(),
    };
    let mut routes = LlmServiceClient::new(bench.peers.gateway.clone().unwrap());
    routes.create_route(request).await.unwrap();
    let asked = wire::Schedule {
        scorers: vec![judge("chat"), judge("nobody"), similarity("chat")],
        ..schedule("tone")
    };
    let wrong = bench.schedule(asked.clone()).await.unwrap_err();
    refused(&wrong, Code::InvalidArgument, "INVALID_FIELD");
    let told = lodeway_rpc::status::from_status(&wrong);
    let fields: Vec<_> = told.violations.iter().map(|one| one.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "schedule.scorers[1].judge.route",
            "schedule.scorers[2].similarity.route"
        ],
        "{wrong:?}"
    );
    let right = wire::Schedule {
        scorers: vec![judge("chat")],
        ..asked
    };
    bench.schedule(right).await.unwrap();
}

#[tokio::test]
async fn schedules_are_checked_listed_and_deleted() {
    let bench = Bench::new().await;
    let wrong = wire::Schedule {
        interval: Some(prost_types::Duration {
            seconds: 59,
            nanos: 0,
        }),
        ..schedule("a")
    };
    let wrong = bench.schedule(wrong).await.unwrap_err();
    refused(&wrong, Code::InvalidArgument, "INVALID_FIELD");
    assert!(wrong.message().contains("schedule.interval"), "{wrong:?}");
    let nowhere = wire::Schedule {
        endpoint: "nowhere".to_owned(),
        ..schedule("a")
    };
    let nowhere = bench.schedule(nowhere).await.unwrap_err();
    refused(&nowhere, Code::NotFound, "RESOURCE_NOT_FOUND");
    let relative = wire::Schedule {
        thresholds: vec![wire::Threshold {
            metric: "f1".to_owned(),
            max_loss: Some(0.1),
            ..wire::Threshold::default()
        }],
        ..schedule("a")
    };
    let relative = bench.schedule(relative).await.unwrap_err();
    assert!(relative.message().contains("baseline"), "{relative:?}");
    let nameless = wire::Schedule {
        scorers: vec![wire::Scorer::default()],
        ..schedule("a")
    };
    let nameless = bench.schedule(nameless).await.unwrap_err();
    assert!(nameless.message().contains("schedule.scorers[0]"), "{nameless:?}");

    for name in ["b", "a"] {
        bench.schedule(schedule(name)).await.unwrap();
    }
    let taken = bench.schedule(schedule("a")).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    let list = |page_token: String| wire::ListSchedulesRequest {
        endpoint: ENDPOINT.to_owned(),
        page_size: 1,
        page_token,
    };
    let mut api = bench.outcomes.clone();
    let one = api
        .list_schedules(list(String::new()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(one.schedules[0].name, "a");
    let two = api
        .list_schedules(list(one.next_page_token))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((&*two.schedules[0].name, &*two.next_page_token), ("b", ""));
    let delete = wire::DeleteScheduleRequest {
        name: "a".to_owned(),
        request_id: String::new(),
    };
    api.delete_schedule(delete.clone()).await.unwrap();
    let gone = api.delete_schedule(delete).await.unwrap_err();
    refused(&gone, Code::NotFound, "RESOURCE_NOT_FOUND");
}
