//! Runs over many rows: order, bounds, cache, repeats, resuming, cancelling, and what is reported.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use lodeway_domain::{Error, Result};
use lodeway_judges::{
    AnswerCache, ChatAnswer, ChatRequest, Digest, FinishReason, Judge, JudgeId, Limits, MemoryCache, Models,
    OutcomeKind, Row, RowResult, Runner, Score, Summary, own,
};
use serde_json::json;

use crate::support::{Kept, Reply, Scripted, all, models, row, runner, say};

fn judges(names: &[&str]) -> Vec<Arc<dyn Judge>> {
    names.iter().map(|name| own(name).unwrap()).collect()
}

/// A grade that the question's digest decides, after a wait that it decides too.
fn by_question(request: &ChatRequest) -> Reply {
    let bits = request.key("", "").0;
    let grade = i64::from(bits[0]) % 6;
    let wait = Duration::from_millis(u64::from(bits[1]));
    match grade {
        0 => Reply::Late(wait, "who knows".to_owned()),
        grade => Reply::Late(wait, json!({"reason": "r", "score": grade}).to_string()),
    }
}

fn limits(concurrency: usize, repeats: u32) -> Limits {
    Limits {
        concurrency,
        repeats,
        ..Limits::default()
    }
}

#[tokio::test(start_paused = true)]
async fn results_are_the_same_at_any_concurrency() {
    let mut runs = Vec::new();
    for concurrency in [1, 3, 64] {
        let chat = Scripted::new(|request, _| by_question(request));
        let kept = Arc::new(Kept::default());
        let models = Models {
            sink: Some(kept.clone()),
            ..models(&chat)
        };
        let runner = runner(
            judges(&["relevance", "conciseness"]),
            models,
            limits(concurrency, 3),
        );
        let results = all(&runner, (0..40).map(row).collect()).await.unwrap();
        let order: Vec<(String, String)> = results
            .iter()
            .map(|result| (result.row.clone(), result.judge.name.clone()))
            .collect();
        let expected: Vec<(String, String)> = (0..40)
            .flat_map(|n: usize| ["relevance", "conciseness"].map(|judge| (n.to_string(), judge.to_owned())))
            .collect();
        assert_eq!(order, expected);
        assert!(chat.most_under_way.load(Ordering::SeqCst) <= concurrency);
        let kept: HashSet<Digest> = kept.0.lock().unwrap().iter().map(|(digest, _)| *digest).collect();
        let named: HashSet<Digest> = results
            .iter()
            .flat_map(|result| {
                result
                    .repeats
                    .iter()
                    .flat_map(|repeat| repeat.transcripts.clone())
            })
            .collect();
        assert_eq!(kept, named);
        runs.push(results);
    }
    assert_eq!(runs[0], runs[1]);
    assert_eq!(runs[0], runs[2]);
}

#[tokio::test(start_paused = true)]
async fn a_rerun_is_free_and_identical() {
    let cache = Arc::new(MemoryCache::new(1 << 20));
    let chat = Scripted::new(|request, _| by_question(request));
    let with_cache = Models {
        cache: Some(cache.clone()),
        ..models(&chat)
    };
    // Rows 0 to 9 come twice: what was asked already is not asked again.
    let rows = || (0..10).chain(0..10).map(row).collect::<Vec<_>>();
    let runner = runner(judges(&["relevance"]), with_cache, limits(20, 2));
    let first = all(&runner, rows()).await.unwrap();
    let asked = chat.calls();
    let again = all(&runner, rows()).await.unwrap();
    assert_eq!(chat.calls(), asked);
    let strip = |results: &[RowResult]| -> Vec<RowResult> {
        let mut results = results.to_vec();
        for result in &mut results {
            result.totals.cached = 0;
            result.totals.spent_usage = lodeway_judges::Usage::default();
            result.totals.spent_cost = 0.0;
        }
        results
    };
    assert_eq!(strip(&first), strip(&again));
    let spent = |results: &[RowResult]| results.iter().map(|result| result.totals.spent_cost).sum::<f64>();
    let cost = |results: &[RowResult]| results.iter().map(|result| result.totals.cost).sum::<f64>();
    assert_eq!(spent(&first), 0.25 * asked as f64);
    assert_eq!((spent(&again), cost(&again)), (0.0, cost(&first)));
    assert_eq!(cache.len(), asked);
}

#[tokio::test]
async fn a_damaged_answer_in_the_cache_is_asked_again() {
    struct Damaged(AtomicUsize);
    #[async_trait]
    impl AnswerCache for Damaged {
        async fn get(&self, _: &Digest) -> Result<Option<Vec<u8>>> {
            Ok(Some(b"\x01{\"text\":".to_vec()))
        }
        async fn put(&self, _: &Digest, answer: &[u8]) -> Result<Option<Vec<u8>>> {
            assert!(ChatAnswer::from_bytes(answer).is_some_and(|answer| answer.finish == FinishReason::Stop));
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(None)
        }
    }
    let chat = Scripted::turns(vec![say(json!({"reason": "", "score": 2}))]);
    let cache = Arc::new(Damaged(AtomicUsize::new(0)));
    let models = Models {
        cache: Some(cache.clone()),
        ..models(&chat)
    };
    let results = all(
        &runner(judges(&["relevance"]), models, Limits::default()),
        vec![row(1)],
    )
    .await;
    assert_eq!(results.unwrap()[0].outcome.kind(), OutcomeKind::Scored);
    assert_eq!(cache.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_cache_that_fails_ends_the_run_and_it_can_be_resumed() {
    struct Failing(AtomicUsize);
    #[async_trait]
    impl AnswerCache for Failing {
        async fn get(&self, _: &Digest) -> Result<Option<Vec<u8>>> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                5 => Err(Error::unavailable("the database is away", "closed")),
                _ => Ok(None),
            }
        }
        async fn put(&self, _: &Digest, _: &[u8]) -> Result<Option<Vec<u8>>> {
            Ok(None)
        }
    }
    let chat = Scripted::turns(vec![say(json!({"reason": "", "score": 2}))]);
    let models = Models {
        cache: Some(Arc::new(Failing(AtomicUsize::new(0)))),
        ..models(&chat)
    };
    let runner = runner(judges(&["relevance"]), models, limits(1, 1));
    let mut done: HashSet<String> = HashSet::new();
    let mut results = Box::pin(runner.judge_rows(stream::iter((0..10).map(row).map(Ok)), |_, _| false));
    while let Some(Ok(result)) = results.next().await {
        done.insert(result.row);
    }
    assert_eq!(done.len(), 5);
    let before = done.clone();
    let is_done = move |row: &str, _: &JudgeId| before.contains(row);
    let rest: Vec<RowResult> = runner
        .judge_rows(stream::iter((0..10).map(row).map(Ok)), is_done)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(
        rest.iter().map(|result| result.row.as_str()).collect::<Vec<_>>(),
        ["5", "6", "7", "8", "9"]
    );
    assert_eq!(chat.calls(), 10, "no row was judged twice");
}

#[tokio::test]
async fn an_error_of_the_rows_comes_after_the_results_before_it() {
    let chat = Scripted::turns(vec![say(json!({"reason": "", "score": 2}))]);
    let rows = stream::iter([Ok(row(0)), Err(Error::invalid("row", "is damaged")), Ok(row(2))]);
    let runner = runner(judges(&["relevance"]), models(&chat), Limits::default());
    let results: Vec<Result<RowResult>> = runner.judge_rows(rows, |_, _| false).collect().await;
    assert!(results[0].is_ok() && results[1].is_err(), "{results:?}");
}

#[tokio::test]
async fn dropping_the_results_cancels_all_calls() {
    let chat = Scripted::new(|_, call| match call {
        0..5 => Reply::Never,
        _ => say(json!({"reason": "", "score": 2})),
    });
    let with_cache = Models {
        cache: Some(Arc::new(MemoryCache::new(1 << 20))),
        ..models(&chat)
    };
    let read = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&read);
    let rows = stream::iter(0..1000).map(move |n| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(row(n))
    });
    let runner = runner(judges(&["relevance"]), with_cache, limits(5, 1));
    let mut results = Box::pin(runner.judge_rows(rows, |_, _| false));
    assert!(futures::poll!(results.next()).is_pending());
    assert_eq!(
        (chat.under_way(), read.load(Ordering::SeqCst)),
        (5, 5),
        "rows are read as needed"
    );
    drop(results);
    assert_eq!(chat.under_way(), 0);
    let again = all(&runner, (0..20).map(row).collect()).await.unwrap();
    assert!(
        again
            .iter()
            .all(|result| result.outcome.kind() == OutcomeKind::Scored),
        "nothing stays locked"
    );
}

#[tokio::test]
async fn repeats_have_seeds_of_their_own_and_vote() {
    let chat = Scripted::new(|_, call| match call {
        0 => say(json!({"reason": "first", "score": 5})),
        1 => say(json!({"reason": "second", "score": 2})),
        _ => say(json!({"reason": "third", "score": 3})),
    });
    let runner = runner(judges(&["relevance"]), models(&chat), limits(1, 3));
    let results = all(&runner, vec![row(1)]).await.unwrap();
    let seeds: Vec<u32> = chat
        .requests
        .lock()
        .unwrap()
        .iter()
        .map(|request| request.seed)
        .collect();
    assert_eq!(
        seeds,
        results[0]
            .repeats
            .iter()
            .map(|repeat| repeat.seed)
            .collect::<Vec<_>>()
    );
    assert_eq!(seeds.iter().collect::<HashSet<_>>().len(), 3);
    assert!(seeds.iter().all(|&seed| i32::try_from(seed).is_ok()));
    let judgement = results[0].outcome.judgement().unwrap();
    assert_eq!(
        (&judgement.score, judgement.reason.as_str()),
        (&Score::Scale(3), "third")
    );
    let spread = results[0].spread.unwrap();
    assert_eq!((spread.scored, spread.min, spread.max), (3, Some(2.0), Some(5.0)));
}

#[tokio::test(start_paused = true)]
async fn failures_are_counted_and_never_part_of_the_mean() {
    let chat = Scripted::new(|request, _| {
        let question = &request.messages[1].content;
        let number: usize = question
            .split("It has ")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        match number % 8 {
            0 => Reply::Say("prose".to_owned()),
            1 => Reply::Refuse("no".to_owned()),
            2 => Reply::Never,
            3 => Reply::Limit(Some(Duration::from_secs(3600))),
            4 => Reply::Broken,
            other => say(json!({"reason": "", "score": other - 4})),
        }
    });
    let runner = runner(judges(&["relevance"]), models(&chat), limits(8, 1));
    let mut rows: Vec<Row> = (0..80).map(row).collect();
    rows.push(Row::default());
    let results = all(&runner, rows).await.unwrap();
    let judge = runner.judges()[0];
    let mut summary = Summary::new(judge.id().clone(), judge.kind());
    results.iter().for_each(|result| summary.push(result));
    let report = summary.finish(0.95).unwrap();
    let counts: Vec<u64> = OutcomeKind::ALL
        .iter()
        .map(|kind| report.outcomes[kind])
        .collect();
    assert_eq!(counts, [30, 1, 10, 10, 10, 10, 10]);
    assert_eq!(report.coverage, Some(30.0 / 80.0));
    let mean = report.mean.clone().unwrap();
    assert_eq!(
        (mean.value, mean.samples, mean.method.as_str()),
        (2.0, 30, "wilson_delta")
    );
    assert!(mean.low.unwrap() < 2.0 && mean.high.unwrap() > 2.0);
    let json = serde_json::to_string(&report).unwrap();
    assert!(
        !json.contains("null,\"samples\"") && json.contains("\"rate_limited\":10"),
        "{json}"
    );
    assert_eq!(
        serde_json::from_str::<lodeway_judges::Aggregate>(&json).unwrap(),
        report
    );

    let nothing = Summary::new(judge.id().clone(), judge.kind())
        .finish(0.95)
        .unwrap();
    assert_eq!((nothing.mean, nothing.coverage), (None, None));
}

#[tokio::test]
async fn shares_have_wilsons_interval() {
    let chat = Scripted::new(|_, call| match call % 4 {
        0 => say(json!({"kinds": [{"kind": "threat", "reason": ""}]})),
        _ => say(json!({"kinds": []})),
    });
    let runner = runner(judges(&["toxicity"]), models(&chat), limits(1, 1));
    let results = all(&runner, (0..20).map(row).collect()).await.unwrap();
    let judge = runner.judges()[0];
    let mut summary = Summary::new(judge.id().clone(), judge.kind());
    results.iter().for_each(|result| summary.push(result));
    let mean = summary.finish(0.95).unwrap().mean.unwrap();
    assert_eq!((mean.value, mean.method.as_str()), (0.25, "wilson"));
    // 5 of 20: Wilson's interval by hand, (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n) with z = 1.959964.
    assert!(
        (mean.low.unwrap() - 0.111_86).abs() < 1e-4 && (mean.high.unwrap() - 0.468_70).abs() < 1e-4,
        "{mean:?}"
    );
}

#[tokio::test]
async fn an_answer_that_was_there_first_wins() {
    /// Another process puts its answer between our look and our own.
    struct Raced;
    #[async_trait]
    impl AnswerCache for Raced {
        async fn get(&self, _: &Digest) -> Result<Option<Vec<u8>>> {
            Ok(None)
        }
        async fn put(&self, _: &Digest, answer: &[u8]) -> Result<Option<Vec<u8>>> {
            let mut theirs = ChatAnswer::from_bytes(answer).unwrap();
            theirs.text = json!({"reason": "theirs", "score": 1}).to_string();
            Ok(Some(theirs.to_bytes()))
        }
    }
    let chat = Scripted::turns(vec![say(json!({"reason": "ours", "score": 5}))]);
    let models = Models {
        cache: Some(Arc::new(Raced)),
        ..models(&chat)
    };
    let results = all(
        &runner(judges(&["relevance"]), models, Limits::default()),
        vec![row(1)],
    )
    .await;
    assert_eq!(results.unwrap()[0].outcome.judgement().unwrap().reason, "theirs");
}

#[tokio::test(start_paused = true)]
async fn a_judge_may_ask_models_of_its_own() {
    let (one, other) = (
        Scripted::turns(vec![
            Reply::Limit(Some(Duration::from_secs(30))),
            say(json!({"reason": "", "score": 1})),
        ]),
        Scripted::turns(vec![say(json!({"reason": "", "score": 2}))]),
    );
    let runner = runner(judges(&["relevance", "conciseness"]), models(&one), limits(4, 1));
    assert!(runner.clone().with_models("toxicity", Models::default()).is_err());
    let runner = runner.with_models("conciseness", models(&other)).unwrap();
    let results = all(&runner, (0..3).map(row).collect()).await.unwrap();
    let values: Vec<f64> = results
        .iter()
        .map(|one| one.outcome.judgement().unwrap().value.unwrap())
        .collect();
    assert_eq!(values, [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
    assert_eq!((one.calls(), other.calls()), (4, 3));
}

/// What `summary` says of rows with these scores of a category judge.
#[test]
fn categories_have_shares_and_a_mean_where_all_have_weights() {
    use lodeway_judges::{Category, Judgement, Outcome, RowResult, ScoreKind, Totals};
    let category = |name: &str, weight| Category {
        name: name.to_owned(),
        weight,
    };
    let report = |weight: Option<f64>, confidence: f64| {
        let id = JudgeId::new("tone", 1).unwrap();
        let categories = vec![
            category("warm", Some(1.0)),
            category("cold", weight),
            category("none", Some(0.5)),
        ];
        let mut summary = Summary::new(id.clone(), ScoreKind::Category { categories });
        for place in 0..40 {
            let (name, value) = if place % 4 == 0 {
                ("cold", weight)
            } else {
                ("warm", Some(1.0))
            };
            let judgement = Judgement {
                score: Score::Category(name.to_owned()),
                value,
                reason: String::new(),
                findings: Vec::new(),
            };
            summary.push(&RowResult {
                row: place.to_string(),
                judge: id.clone(),
                outcome: Outcome::Scored(judgement),
                spread: None,
                repeats: Vec::new(),
                totals: Totals::default(),
            });
        }
        summary.finish(confidence)
    };
    let weighted = report(Some(0.0), 0.95).unwrap();
    assert_eq!(weighted.categories["warm"].value, 0.75);
    assert_eq!(
        (weighted.categories["none"].value, weighted.categories["none"].low),
        (0.0, Some(0.0))
    );
    let mean = weighted.mean.unwrap();
    assert_eq!((mean.value, mean.method.as_str()), (0.75, "wilson_delta"));
    // Weights of 0 and 1 make it the share of `warm`, 30 of 40.
    let warm = &weighted.categories["warm"];
    for (end, other) in [(mean.low, warm.low), (mean.high, warm.high)] {
        assert!((end.unwrap() - other.unwrap()).abs() < 1e-9, "{mean:?} {warm:?}");
    }

    let unweighted = report(None, 0.95).unwrap();
    assert_eq!(
        (unweighted.mean, unweighted.categories["cold"].value),
        (None, 0.25)
    );
    for confidence in [0.0, 1.0, f64::NAN] {
        assert!(report(None, confidence).is_err());
    }
}

/// Three perfect scores do not prove that the next will be.
#[test]
fn equal_scores_leave_doubt() {
    use lodeway_judges::{Judgement, Outcome, RowResult, ScoreKind, Totals};
    let kinds = [
        ScoreKind::Boolean,
        ScoreKind::Scale { min: 1, max: 5 },
        ScoreKind::Number { min: 0.0, max: 1.0 },
    ];
    for kind in kinds {
        let id = JudgeId::new("tone", 1).unwrap();
        let most = if matches!(kind, ScoreKind::Scale { .. }) {
            5.0
        } else {
            1.0
        };
        let mut before = 0.0;
        for rows in [3, 30, 300] {
            let mut summary = Summary::new(id.clone(), kind.clone());
            for row in 0..rows {
                let judgement = Judgement {
                    score: Score::Number(most),
                    value: Some(most),
                    reason: String::new(),
                    findings: Vec::new(),
                };
                summary.push(&RowResult {
                    row: row.to_string(),
                    judge: id.clone(),
                    outcome: Outcome::Scored(judgement),
                    spread: None,
                    repeats: Vec::new(),
                    totals: Totals::default(),
                });
            }
            let mean = summary.finish(0.95).unwrap().mean.unwrap();
            let low = mean.low.unwrap();
            assert!(mean.value == most && mean.high == Some(most), "{mean:?}");
            assert!(before < low && low < most, "{mean:?}");
            assert!(rows > 3 || low < 0.8 * most, "{mean:?}");
            before = low;
        }
    }
}

#[test]
fn a_runner_that_cannot_work_is_refused() {
    let new = |names: &[&str], limits| Runner::new(judges(names), Models::default(), limits).err();
    assert!(new(&[], Limits::default()).is_some());
    assert!(new(&["relevance", "relevance"], Limits::default()).is_some());
    assert!(new(&["relevance"], limits(0, 1)).is_some());
    assert!(new(&["relevance"], Limits::default()).is_none());
}
