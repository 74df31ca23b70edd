//! The contract of schedules, on both engines.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

use std::{sync::Arc, time::Duration};

use lodeway_domain::{
    Caller, Error,
    caller::Workspace,
    evaluation::{ColumnRoles, MAX_SCHEDULES, Schedule, ScheduleName},
    id::RequestId,
    page::{PageRequest, Position, QueryHash},
    time::Timestamp,
};
use lodeway_store::{
    evaluation::{ScheduleLease, ScheduleStore, SqlEvaluation},
    ledger::Write,
    sql::DbOptions,
};

type Store = Arc<dyn ScheduleStore>;

const LEASE: Duration = Duration::from_secs(30);

/// Runs one check on both engines.
async fn on_both(check: impl AsyncFn(Store)) {
    common::on_both("evaluation", DbOptions::default(), async |db| {
        check(Arc::new(SqlEvaluation::open(db, at(0)).await.unwrap())).await;
    })
    .await;
}

/// So many seconds after the beginning.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1_000)
}

fn write() -> Write {
    Write {
        caller: Caller::anonymous(),
        now: at(0),
        request: None,
        body_hash: Vec::new(),
    }
}

fn name(text: &str) -> ScheduleName {
    ScheduleName::parse("name", text).unwrap()
}

/// Every minute, from the beginning on.
fn schedule(called: &str) -> Schedule {
    Schedule {
        uid: lodeway_domain::id::new_hex(),
        name: name(called),
        workspace: "default".to_owned(),
        endpoint: "churn".to_owned(),
        target: None,
        interval: Duration::from_secs(60),
        window: Duration::from_secs(60),
        max_rows: 1_000,
        task: None,
        roles: ColumnRoles::default(),
        scorers: Vec::new(),
        thresholds: Vec::new(),
        baseline: None,
        keep_windows: 100,
        principal: "ann".to_owned(),
        verified: false,
        created: at(0),
        next: at(0),
        last: None,
        last_evaluation_id: String::new(),
        error: String::new(),
        skipped: 0,
    }
}

async fn taken(store: &Store, now: i64) -> Option<(ScheduleLease, Schedule)> {
    let mut all = store.take_schedules(at(now), LEASE, 10).await.unwrap();
    assert!(all.len() < 2);
    all.pop()
}

fn is_lost<T: std::fmt::Debug>(outcome: Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Conflict(_)))
}

#[tokio::test]
async fn a_window_is_taken_once_and_the_next_one_follows() {
    on_both(async |store| {
        let home = Workspace::default();
        let new = schedule("nightly");
        assert_eq!(store.create_schedule(write(), new.clone()).await.unwrap(), new);
        assert!(taken(&store, -1).await.is_none());
        let (lease, found) = taken(&store, 0).await.unwrap();
        assert_eq!((found.next, found.skipped), (at(0), 0));
        // Nobody else gets it, also not with the next window, as long as the lease is renewed.
        assert!(taken(&store, 29).await.is_none());
        store.renew_schedule(&lease, at(70)).await.unwrap();
        assert!(taken(&store, 65).await.is_none());
        let begun = store.finish_schedule(&lease, Ok("e-1".to_owned())).await.unwrap();
        assert_eq!((begun.last, begun.next), (Some(at(0)), at(60)));
        assert_eq!((&*begun.last_evaluation_id, &*begun.error), ("e-1", ""));
        assert!(is_lost(store.finish_schedule(&lease, Ok(String::new())).await));
        assert!(is_lost(store.renew_schedule(&lease, at(100)).await));

        let (lease, found) = taken(&store, 65).await.unwrap();
        assert_eq!(found.next, at(60));
        store
            .finish_schedule(&lease, Err("no traffic".to_owned()))
            .await
            .unwrap();
        let found = store.schedule(&home, &name("nightly")).await.unwrap();
        assert_eq!((found.last, found.next), (Some(at(60)), at(120)));
        assert_eq!((&*found.last_evaluation_id, &*found.error), ("e-1", "no traffic"));
    })
    .await;
}

#[tokio::test]
async fn windows_that_nobody_took_are_skipped_and_one_that_was_taken_is_not() {
    on_both(async |store| {
        store.create_schedule(write(), schedule("a")).await.unwrap();
        // Nobody was there for three minutes.
        let (old, found) = taken(&store, 200).await.unwrap();
        assert_eq!((found.next, found.skipped), (at(180), 3));
        // Who took it died; the same window comes again although another one has ended, and the dead one is refused.
        let (lease, found) = taken(&store, 290).await.unwrap();
        assert_eq!((found.next, found.skipped), (at(180), 3));
        assert!(is_lost(store.finish_schedule(&old, Ok("late".to_owned())).await));
        assert!(is_lost(store.postpone_schedule(&old, at(300), None).await));
        // Nothing was done for one that is given back: a later one takes its place.
        let why = "the gateway restarts".to_owned();
        store
            .postpone_schedule(&lease, at(295), Some(why.clone()))
            .await
            .unwrap();
        assert!(taken(&store, 294).await.is_none());
        let (lease, found) = taken(&store, 295).await.unwrap();
        assert_eq!((found.next, found.skipped), (at(240), 4));
        assert_eq!(found.error, why);
        store.postpone_schedule(&lease, at(296), None).await.unwrap();
        let (lease, found) = taken(&store, 296).await.unwrap();
        assert_eq!(
            (found.next, found.skipped, &*found.error),
            (at(240), 4, "the gateway restarts")
        );
        let done = store.finish_schedule(&lease, Ok("e-2".to_owned())).await.unwrap();
        assert_eq!((done.next, &*done.error), (at(300), ""));
    })
    .await;
}

#[tokio::test]
async fn schedules_are_created_once_listed_and_deleted() {
    on_both(async |store| {
        let home = Workspace::default();
        let repeated = Write {
            request: Some(RequestId::generate()),
            ..write()
        };
        let first = store
            .create_schedule(repeated.clone(), schedule("b"))
            .await
            .unwrap();
        let again = store.create_schedule(repeated, schedule("b")).await.unwrap();
        assert_eq!(first, again);
        let taken_name = store.create_schedule(write(), schedule("b")).await;
        assert!(matches!(taken_name, Err(Error::AlreadyExists(_))));
        let other = Schedule {
            endpoint: "prices".to_owned(),
            ..schedule("a")
        };
        store.create_schedule(write(), other).await.unwrap();
        let page = |after: Option<Position>| PageRequest {
            size: 1,
            after,
            query: QueryHash::of(&["test"]),
        };
        let one = store.schedules(&home, None, &page(None)).await.unwrap();
        let two = store
            .schedules(&home, None, &page(one.next.clone()))
            .await
            .unwrap();
        assert_eq!((one.items[0].name.as_str(), two.next), ("a", None));
        assert_eq!(two.items[0].name.as_str(), "b");
        let of_prices = store.schedules(&home, Some("prices"), &page(None)).await;
        assert_eq!(of_prices.unwrap().items, one.items);
        let elsewhere = Workspace::parse("elsewhere").unwrap();
        assert!(store.schedule(&elsewhere, &name("a")).await.is_err());

        // What is deleted while it is at work is lost for who works at it.
        let all = store.take_schedules(at(0), LEASE, 10).await.unwrap();
        assert_eq!(all.len(), 2);
        store.delete_schedule(write(), name("a")).await.unwrap();
        let (lease, _) = all.iter().find(|(_, found)| found.name == name("a")).unwrap();
        assert!(is_lost(store.finish_schedule(lease, Ok("e".to_owned())).await));
        let gone = store.delete_schedule(write(), name("a")).await;
        assert!(matches!(gone, Err(Error::NotFound(_))));
        store.create_schedule(write(), schedule("a")).await.unwrap();
        assert!(is_lost(store.renew_schedule(lease, at(100)).await));
    })
    .await;
}

#[tokio::test]
async fn schedules_of_a_workspace_are_bounded() {
    on_both(async |store| {
        for number in 0..MAX_SCHEDULES {
            let new = schedule(&format!("s{number}"));
            store.create_schedule(write(), new).await.unwrap();
        }
        let more = store.create_schedule(write(), schedule("more")).await;
        assert!(matches!(more, Err(Error::Exhausted { .. })));
        let elsewhere = Write {
            caller: Caller {
                workspace: Workspace::parse("elsewhere").unwrap(),
                ..Caller::anonymous()
            },
            ..write()
        };
        store.create_schedule(elsewhere, schedule("more")).await.unwrap();
        store.delete_schedule(write(), name("s7")).await.unwrap();
        store.create_schedule(write(), schedule("more")).await.unwrap();
    })
    .await;
}
