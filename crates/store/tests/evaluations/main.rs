//! The contract of evaluations, on both engines.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod windows;

use std::{sync::Arc, time::Duration};

use lodeway_domain::{
    Caller, Error, Reason,
    caller::Workspace,
    evaluation::{
        ColumnRoles, EvaluatedModel, EvaluationOptions, EvaluationRecord, EvaluationSpec, EvaluationState,
        Part, PartOf, Progress, Target, Usage,
    },
    id::RequestId,
    page::{PageRequest, Position, QueryHash},
    time::Timestamp,
};
use lodeway_store::{
    evaluation::{EvaluationQuery, EvaluationStore, SqlEvaluation},
    ledger::Write,
    sql::DbOptions,
};

type Store = Arc<dyn EvaluationStore>;

/// How long a lease holds.
const LEASE: Duration = Duration::from_millis(100);

/// Runs one check on both engines.
async fn on_both(check: impl AsyncFn(Store)) {
    common::on_both("evaluation", DbOptions::default(), async |db| {
        check(Arc::new(SqlEvaluation::open(db, at(0)).await.unwrap())).await;
    })
    .await;
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + ms)
}

fn write(ms: i64) -> Write {
    let caller = Caller {
        principal: "ada".to_owned(),
        verified: true,
        workspace: Workspace::default(),
    };
    Write {
        caller,
        now: at(ms),
        request: None,
        body_hash: Vec::new(),
    }
}

fn record(id: &str, ms: i64) -> EvaluationRecord {
    EvaluationRecord {
        evaluation_id: id.to_owned(),
        workspace: "default".to_owned(),
        spec: EvaluationSpec {
            name: "holdout".to_owned(),
            dataset: "churn".to_owned(),
            dataset_version: None,
            roles: ColumnRoles::default(),
            target: Target::Data,
            task: None,
            scorers: Vec::new(),
            thresholds: Vec::new(),
            baseline: None,
            options: EvaluationOptions::default(),
            experiment: "evaluations".to_owned(),
        },
        state: EvaluationState::Pending,
        progress: Progress::default(),
        error: String::new(),
        dataset_version: 0,
        data_digest: String::new(),
        definition_digest: String::new(),
        rows_scored: 0,
        dataset_rows: 0,
        model: None,
        baseline_model: None,
        scorer_models: std::collections::BTreeMap::new(),
        run_id: String::new(),
        artifact_uri: String::new(),
        metrics: Vec::new(),
        verdict: None,
        principal: "ada".to_owned(),
        verified: true,
        created: at(ms),
        started: None,
        ended: None,
        usage: Usage::default(),
        cancel_requested: false,
        version: 0,
    }
}

fn part(start_row: u64) -> Part {
    Part {
        of: PartOf::Target,
        start_row,
        rows: 10,
        failed_rows: 1,
        failures: vec![("no answer".to_owned(), 1)],
        path: format!("target-{start_row}.parquet"),
        sha256: "00".to_owned(),
        usage: Usage::default(),
    }
}

fn all(size: usize) -> EvaluationQuery {
    EvaluationQuery {
        model_name: None,
        model_version: None,
        dataset: None,
        name: None,
        page: PageRequest::first(size, QueryHash::of(&["test"])),
    }
}

async fn add(store: &Store, id: &str, ms: i64) -> EvaluationRecord {
    store.create_evaluation(write(ms), record(id, ms)).await.unwrap()
}

fn is_conflict<T: std::fmt::Debug>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Conflict(_)))
}

#[tokio::test]
async fn what_is_created_is_found_and_a_repetition_changes_nothing() {
    on_both(async |store: Store| {
        let again = Write {
            request: Some(RequestId::generate()),
            body_hash: vec![1],
            ..write(1)
        };
        let made = store
            .create_evaluation(again.clone(), record("a", 1))
            .await
            .unwrap();
        let same = store.create_evaluation(again, record("b", 2)).await.unwrap();
        assert_eq!((made.version, &made), (1, &same));
        assert_eq!(store.evaluation(&Workspace::default(), "a").await.unwrap(), made);
        let elsewhere = Workspace::parse("b").unwrap();
        for (workspace, id) in [(&elsewhere, "a"), (&Workspace::default(), "b")] {
            let missing = store.evaluation(workspace, id).await;
            assert!(matches!(missing, Err(Error::NotFound(_))), "{missing:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn pages_go_from_the_newest_to_the_oldest_and_are_filtered() {
    on_both(async |store: Store| {
        for (id, ms) in [("a", 1), ("b", 2), ("c", 2), ("d", 3)] {
            add(&store, id, ms).await;
        }
        let leased = store.lease_evaluations("one", at(4), LEASE, 1).await.unwrap();
        let (lease, mut found) = leased.into_iter().next().unwrap();
        found.model = Some(EvaluatedModel {
            name: "churn".to_owned(),
            uid: "u".to_owned(),
            version: 7,
            content_digest: "d".to_owned(),
            model_id: String::new(),
        });
        store.save_evaluation(&lease, found, None, at(5)).await.unwrap();
        let (mut ids, mut query) = (Vec::new(), all(3));
        loop {
            let page = store.evaluations(&Workspace::default(), &query).await.unwrap();
            ids.extend(page.items.into_iter().map(|found| found.evaluation_id));
            let Some(Position(place)) = page.next else { break };
            query.page.after = Some(Position(place));
        }
        assert_eq!(ids, ["d", "c", "b", "a"]);
        let of_model = |version| EvaluationQuery {
            model_name: Some("churn".to_owned()),
            model_version: Some(version),
            dataset: Some("churn".to_owned()),
            name: Some("holdout".to_owned()),
            ..all(10)
        };
        let page = store
            .evaluations(&Workspace::default(), &of_model(7))
            .await
            .unwrap();
        assert_eq!(page.items.len(), 1);
        let page = store
            .evaluations(&Workspace::default(), &of_model(6))
            .await
            .unwrap();
        assert!(page.items.is_empty());
    })
    .await;
}

#[tokio::test]
async fn one_holder_at_a_time_and_an_old_lease_is_worth_nothing() {
    on_both(async |store: Store| {
        add(&store, "a", 1).await;
        add(&store, "b", 2).await;
        let first = store.lease_evaluations("one", at(10), LEASE, 1).await.unwrap();
        assert_eq!(first[0].1.evaluation_id, "a");
        assert_eq!(first[0].1.state, EvaluationState::Running);
        assert_eq!(first[0].1.started, Some(at(10)));
        let second = store.lease_evaluations("two", at(20), LEASE, 5).await.unwrap();
        assert_eq!(second.len(), 1);
        assert_eq!(second[0].1.evaluation_id, "b");
        // The first one renews, the second one is cut off.
        assert!(!store.renew_lease(&first[0].0, at(500)).await.unwrap());
        let taken = store.lease_evaluations("one", at(200), LEASE, 5).await.unwrap();
        assert_eq!(taken.len(), 1);
        let (lease, record) = taken.into_iter().next().unwrap();
        assert_eq!(
            (record.evaluation_id.as_str(), record.started),
            ("b", Some(at(20)))
        );
        let old = &second[0].0;
        assert!(is_conflict(&store.renew_lease(old, at(999)).await));
        assert!(is_conflict(&store.add_part(old, part(0)).await));
        assert!(is_conflict(
            &store.save_evaluation(old, record.clone(), None, at(210)).await
        ));
        // What is given back can be taken at once.
        store.release_lease(&lease, at(210)).await.unwrap();
        assert_eq!(
            store
                .lease_evaluations("two", at(210), LEASE, 5)
                .await
                .unwrap()
                .len(),
            1
        );
    })
    .await;
}

#[tokio::test]
async fn parts_are_kept_once_and_reports_with_the_end() {
    on_both(async |store: Store| {
        add(&store, "a", 1).await;
        let (lease, mut record) = store
            .lease_evaluations("one", at(10), LEASE, 1)
            .await
            .unwrap()
            .remove(0);
        store.add_part(&lease, part(10)).await.unwrap();
        store.add_part(&lease, part(0)).await.unwrap();
        let other = Part {
            failed_rows: 5,
            ..part(0)
        };
        store.add_part(&lease, other).await.unwrap();
        assert_eq!(store.parts("a").await.unwrap(), [part(0), part(10)]);
        assert_eq!(store.report("a").await.unwrap(), None);
        record.state = EvaluationState::Succeeded;
        let mut wakeups = store.wakeups();
        wakeups.mark_unchanged();
        let saved = store
            .save_evaluation(&lease, record.clone(), Some("{}".to_owned()), at(20))
            .await
            .unwrap();
        assert_eq!(saved.version, record.version + 1);
        tokio::time::timeout(Duration::from_secs(10), wakeups.changed())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(store.report("a").await.unwrap().as_deref(), Some("{}"));
        // After its end nobody writes to it, and nobody takes it.
        assert!(is_conflict(&store.add_part(&lease, part(20)).await));
        assert!(
            store
                .lease_evaluations("two", at(9_999), LEASE, 5)
                .await
                .unwrap()
                .is_empty()
        );
    })
    .await;
}

#[tokio::test]
async fn cancelling_ends_what_waits_and_asks_what_runs() {
    on_both(async |store: Store| {
        add(&store, "a", 1).await;
        let ended = store.cancel_evaluation(write(5), "a".to_owned()).await.unwrap();
        assert_eq!(
            (ended.state, ended.ended),
            (EvaluationState::Cancelled, Some(at(5)))
        );
        add(&store, "b", 2).await;
        let (lease, record) = store
            .lease_evaluations("one", at(10), LEASE, 1)
            .await
            .unwrap()
            .remove(0);
        let asked = store.cancel_evaluation(write(11), "b".to_owned()).await.unwrap();
        assert_eq!(
            (asked.state, asked.cancel_requested),
            (EvaluationState::Running, true)
        );
        assert!(store.renew_lease(&lease, at(500)).await.unwrap());
        // What the runner writes meanwhile does not take it back.
        let saved = store.save_evaluation(&lease, record, None, at(12)).await.unwrap();
        assert!(saved.cancel_requested);
        let mut back = saved.clone();
        back.state = EvaluationState::Pending;
        let refused = store
            .save_evaluation(&lease, back, None, at(13))
            .await
            .unwrap_err();
        assert_eq!(refused.reason(), Reason::EvaluationState);
        let missing = store.cancel_evaluation(write(14), "x".to_owned()).await;
        assert!(matches!(missing, Err(Error::NotFound(_))));
    })
    .await;
}

#[tokio::test]
async fn answers_of_judges_are_kept_in_their_workspace() {
    on_both(async |store: Store| {
        let (here, there) = (Workspace::default(), Workspace::parse("b").unwrap());
        store.put_judge_answer(&here, "k", vec![1], at(1)).await.unwrap();
        store.put_judge_answer(&here, "k", vec![2], at(2)).await.unwrap();
        assert_eq!(store.judge_answer(&here, "k").await.unwrap(), Some(vec![1]));
        assert_eq!(store.judge_answer(&there, "k").await.unwrap(), None);
        for key in ["e-1/1", "e-1/2", "e-10/1", "e-1"] {
            store.put_judge_answer(&here, key, vec![1], at(1)).await.unwrap();
        }
        store.forget_answers(&here, "e-1/").await.unwrap();
        let mut left = Vec::new();
        for key in ["e-1/1", "e-1/2", "e-10/1", "e-1", "k"] {
            left.push(store.judge_answer(&here, key).await.unwrap().is_some());
        }
        assert_eq!(left, [false, false, true, true, true]);
    })
    .await;
}
