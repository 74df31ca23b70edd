//! The contract of outcomes, on both engines.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod live;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lodeway_domain::{
    Caller,
    caller::Workspace,
    evaluation::{EarlierOutcome, Join, Outcome, OutcomeValue},
    id::RequestId,
    time::Timestamp,
};
use lodeway_store::{
    evaluation::{Kept, NewOutcomes, OutcomeQuery, OutcomeStore, SqlEvaluation},
    ledger::Write,
    sql::DbOptions,
};

type Store = Arc<SqlEvaluation>;

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

fn write() -> Write {
    Write {
        caller: Caller::anonymous(),
        now: at(0),
        request: None,
        body_hash: Vec::new(),
    }
}

fn outcome(id: &str, predicted: i64, label: &str, known: i64) -> Outcome {
    Outcome {
        prediction_id: id.to_owned(),
        endpoint: "churn".to_owned(),
        target: "main".to_owned(),
        model_version: "3".to_owned(),
        predicted: at(predicted),
        labels: vec![OutcomeValue::Text(label.to_owned())],
        predictions: vec![OutcomeValue::Text("yes".to_owned())],
        slices: BTreeMap::new(),
        missing: BTreeSet::new(),
        known: at(known),
        join: Join::Joined,
        received: at(0),
        earlier: Vec::new(),
    }
}

/// The same after it said something else before.
fn corrected(outcome: Outcome, before: &[&str]) -> Outcome {
    let earlier = before.iter().map(|label| EarlierOutcome {
        labels: vec![OutcomeValue::Text((*label).to_owned())],
        slices: BTreeMap::new(),
        received: at(0),
    });
    Outcome {
        earlier: earlier.collect(),
        ..outcome
    }
}

/// The same before its prediction is known.
fn pending(id: &str, predicted: i64, label: &str, known: i64) -> Outcome {
    Outcome {
        predictions: Vec::new(),
        join: Join::Pending,
        ..outcome(id, predicted, label, known)
    }
}

fn new(outcomes: Vec<Outcome>) -> NewOutcomes {
    NewOutcomes {
        outcomes,
        join_at: at(1_000),
        tell_at: at(500),
    }
}

fn query(start: i64, end: i64) -> OutcomeQuery {
    OutcomeQuery {
        endpoint: "churn".to_owned(),
        target: None,
        start: at(start),
        end: at(end),
    }
}

#[tokio::test]
async fn the_latest_outcome_of_a_prediction_counts() {
    on_both(async |store| {
        let home = Workspace::default();
        let repeated = Write {
            request: Some(RequestId::generate()),
            ..write()
        };
        for _ in 0..2 {
            let given = vec![outcome("a", 10, "no", 50), outcome("b", 11, "no", 50)];
            let kept = store.report_outcomes(repeated.clone(), new(given)).await.unwrap();
            let wanted = Kept {
                accepted: 2,
                pending: 0,
            };
            assert_eq!(kept, wanted);
        }
        let later = vec![outcome("a", 10, "yes", 60), outcome("b", 11, "yes", 40)];
        store.report_outcomes(write(), new(later)).await.unwrap();
        let found = store.outcomes(&home, &query(0, 100), None, 9).await.unwrap();
        let a = corrected(outcome("a", 10, "yes", 60), &["no"]);
        assert_eq!(found, [a, outcome("b", 11, "no", 50)]);
        let other = Workspace::parse("other").unwrap();
        assert!(
            store
                .outcomes(&other, &query(0, 100), None, 9)
                .await
                .unwrap()
                .is_empty()
        );
    })
    .await;
}

#[tokio::test]
async fn outcomes_come_page_by_page_in_the_order_of_predictions() {
    on_both(async |store| {
        let home = Workspace::default();
        let given = vec![
            outcome("c", 10, "no", 50),
            outcome("a", 10, "no", 50),
            outcome("b", 5, "no", 50),
            outcome("d", 20, "no", 50),
        ];
        store.report_outcomes(write(), new(given)).await.unwrap();
        let all = query(0, 20);
        let one = store.outcomes(&home, &all, None, 2).await.unwrap();
        let ids = |found: &[Outcome]| {
            found
                .iter()
                .map(|one| one.prediction_id.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&one), ["b", "a"]);
        let after = Some((one[1].predicted, one[1].prediction_id.as_str()));
        assert_eq!(ids(&store.outcomes(&home, &all, after, 2).await.unwrap()), ["c"]);
        let target = OutcomeQuery {
            target: Some("other".to_owned()),
            ..all
        };
        assert!(store.outcomes(&home, &target, None, 2).await.unwrap().is_empty());
        let mut named = store.outcomes_of(&home, &["d", "x", "b"]).await.unwrap();
        named.sort_by(|one, other| one.prediction_id.cmp(&other.prediction_id));
        assert_eq!(ids(&named), ["b", "d"]);
        assert!(store.outcomes_of(&home, &[]).await.unwrap().is_empty());
    })
    .await;
}
