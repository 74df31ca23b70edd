//! Rollouts and their leases.

use lodeway_store::gateway::{RolloutRecord, RolloutStep};

use super::*;

const LEASE: Duration = Duration::from_millis(100);

fn new_rollout(of: &EndpointRecord, id: &str, ms: i64) -> RolloutRecord {
    RolloutRecord {
        rollout_id: id.to_owned(),
        key: of.endpoint.uid.key(),
        workspace: ws().as_str().to_owned(),
        body: "{\"step\":0}".to_owned(),
        version: 0,
        is_open: true,
        created: at(ms),
    }
}

async fn start(store: &Store, of: &EndpointRecord, id: &str, ms: i64) -> RolloutRecord {
    store
        .start_rollout(write(ms), new_rollout(of, id, ms))
        .await
        .unwrap()
}

fn step(
    record: &RolloutRecord,
    body: &str,
    holder: Option<&str>,
    revision: Option<NewRevision>,
) -> RolloutStep {
    RolloutStep {
        record: RolloutRecord {
            body: body.to_owned(),
            ..record.clone()
        },
        holder: holder.map(str::to_owned),
        revision,
    }
}

async fn leased(store: &Store, holder: &str, ms: i64) -> Vec<String> {
    let found = store.lease_rollouts(holder, at(ms), LEASE).await.unwrap();
    found.into_iter().map(|one| one.rollout_id).collect()
}

#[tokio::test]
async fn one_rollout_at_a_time_is_open() {
    on_both(async |store: Store| {
        let (a, b) = (add(&store, "a", 1).await, add(&store, "b", 1).await);
        let first = start(&store, &a, "r1", 2).await;
        assert_eq!((first.version, first.is_open), (1, true));
        assert_eq!(store.rollout(&ws(), "r1").await.unwrap(), first);
        failed(store.rollout(&elsewhere(), "r1").await, Reason::ResourceNotFound);
        let second = store
            .start_rollout(write(3), new_rollout(&a, "r2", 3))
            .await
            .unwrap_err();
        assert_eq!(second.reason(), Reason::RolloutState);
        assert!(second.to_string().contains("`r1`"), "{second}");
        start(&store, &b, "r3", 4).await;
        failed(
            store.delete_endpoint(write(5), name("a")).await,
            Reason::RolloutState,
        );
        let ended = RolloutStep {
            record: RolloutRecord {
                is_open: false,
                ..first
            },
            holder: None,
            revision: None,
        };
        let ended = store.step_rollout(write(6), ended).await.unwrap();
        assert_eq!((ended.version, ended.is_open), (2, false));
        // What has ended does not move any more.
        let late = store
            .step_rollout(write(7), step(&ended, "late", None, None))
            .await;
        failed(late, Reason::EtagMismatch);
        start(&store, &a, "r4", 8).await;
        let found = whole(async |page| store.rollouts(&ws(), None, &page).await.unwrap()).await;
        assert_eq!(
            found.iter().map(|one| &*one.rollout_id).collect::<Vec<_>>(),
            ["r4", "r3", "r1"]
        );
        let key = Some(a.endpoint.uid.key());
        let of_a = whole(async |page| store.rollouts(&ws(), key, &page).await.unwrap()).await;
        assert_eq!(
            of_a.iter().map(|one| &*one.rollout_id).collect::<Vec<_>>(),
            ["r4", "r1"]
        );
        assert!(
            store
                .rollouts(&elsewhere(), None, &page(9))
                .await
                .unwrap()
                .items
                .is_empty()
        );
        let gone = EndpointRecord {
            endpoint: new_endpoint("c", 1).0,
            ..a
        };
        failed(
            store.start_rollout(write(9), new_rollout(&gone, "r5", 9)).await,
            Reason::ResourceNotFound,
        );
    })
    .await;
}

#[tokio::test]
async fn a_repeated_start_is_one_rollout() {
    on_both(async |store: Store| {
        let a = add(&store, "a", 1).await;
        let id = RequestId::generate();
        let begun = store
            .start_rollout(once(2, id, "b"), new_rollout(&a, "r1", 2))
            .await
            .unwrap();
        let again = store
            .start_rollout(once(3, id, "b"), new_rollout(&a, "r2", 3))
            .await
            .unwrap();
        assert_eq!(again, begun);
        let reused = store
            .start_rollout(once(4, id, "c"), new_rollout(&a, "r3", 4))
            .await;
        failed(reused, Reason::RequestIdReused);
    })
    .await;
}

#[tokio::test]
async fn many_who_start_at_once_start_one() {
    on_both(async |store: Store| {
        let a = add(&store, "a", 1).await;
        let begin = |n: usize| store.start_rollout(write(2), new_rollout(&a, &format!("r{n}"), 2));
        let outcomes = futures::future::join_all((0..8).map(begin)).await;
        let begun = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let reasons = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        assert!(
            reasons
                .into_iter()
                .all(|error| error.reason() == Reason::RolloutState),
            "{outcomes:?}"
        );
        assert_eq!(begun, 1);
    })
    .await;
}

#[tokio::test]
async fn a_lease_has_one_holder_until_it_ends() {
    on_both(async |store: Store| {
        let (a, b) = (add(&store, "a", 1).await, add(&store, "b", 1).await);
        start(&store, &a, "r1", 2).await;
        assert_eq!(leased(&store, "one", 10).await, ["r1"]);
        assert!(leased(&store, "two", 10).await.is_empty());
        // What begins later goes to whoever looks first.
        start(&store, &b, "r2", 20).await;
        assert_eq!(leased(&store, "two", 30).await, ["r2"]);
        assert_eq!(leased(&store, "one", 50).await, ["r1"]);
        // Looking again made the lease longer.
        assert!(leased(&store, "two", 149).await.contains(&"r2".to_owned()));
        assert_eq!(leased(&store, "two", 149).await, ["r2"]);
        assert_eq!(leased(&store, "two", 150).await, ["r1", "r2"]);
        assert!(leased(&store, "one", 150).await.is_empty());
        let ended = store.rollout(&ws(), "r1").await.unwrap();
        let ended = RolloutStep {
            record: RolloutRecord {
                is_open: false,
                ..ended
            },
            holder: Some("two".to_owned()),
            revision: None,
        };
        store.step_rollout(write(151), ended).await.unwrap();
        assert_eq!(leased(&store, "two", 152).await, ["r2"]);
    })
    .await;
}

#[tokio::test]
async fn many_who_want_a_lease_get_it_once() {
    on_both(async |store: Store| {
        let a = add(&store, "a", 1).await;
        start(&store, &a, "r1", 2).await;
        for round in 0..5 {
            let holders: Vec<_> = (0..6).map(|n| format!("{round}-{n}")).collect();
            let now = 1_000 * (round + 1);
            let wanted = holders.iter().map(|holder| leased(&store, holder, now));
            let got = futures::future::join_all(wanted).await;
            assert_eq!(got.iter().filter(|got| !got.is_empty()).count(), 1, "{got:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_step_and_its_revision_happen_together_or_not_at_all() {
    on_both(async |store: Store| {
        let a = add(&store, "a", 1).await;
        let key = a.endpoint.uid.key();
        let begun = start(&store, &a, "r1", 2).await;
        leased(&store, "one", 10).await;
        let one = Some("one");
        let first = store
            .step_rollout(write(20), step(&begun, "first", one, Some(next(&a, 20))))
            .await
            .unwrap();
        assert_eq!((first.version, &*first.body), (2, "first"));
        let now = store.endpoint(&ws(), &name("a")).await.unwrap();
        assert_eq!((now.revision.number, now.resolutions.len()), (2, 2));
        let (head, _) = store.all_endpoints().await.unwrap();

        // Stale, another's lease, one's own that is over, and a revision that is not the next.
        let gap = following(key, &now.revision, 30);
        let gap = following(key, &gap.revision, 30);
        for (ms, refused) in [
            (30, step(&begun, "stale", one, Some(next(&now, 30)))),
            (30, step(&begun, "stale", None, Some(next(&now, 30)))),
            (30, step(&first, "foreign", Some("two"), Some(next(&now, 30)))),
            (110, step(&first, "over", one, Some(next(&now, 110)))),
            (30, step(&first, "gap", one, Some(gap))),
        ] {
            let body = refused.record.body.clone();
            let outcome = store.step_rollout(write(ms), refused).await;
            assert_eq!(outcome.unwrap_err().reason(), Reason::EtagMismatch, "{body}");
            assert_eq!(store.endpoint(&ws(), &name("a")).await.unwrap(), now, "{body}");
            assert_eq!(store.rollout(&ws(), "r1").await.unwrap(), first, "{body}");
            failed(store.revision(key, 3).await, Reason::ResourceNotFound);
            assert!(store.resolutions_at(key, 3, at(999)).await.unwrap().is_empty());
        }
        assert!(
            store
                .changes_after(None, head, 9)
                .await
                .unwrap()
                .events
                .is_empty()
        );

        // A person needs no lease, and the holder notices.
        let paused = store
            .step_rollout(write(40), step(&first, "paused", None, None))
            .await
            .unwrap();
        failed(
            store
                .step_rollout(write(41), step(&first, "late", one, None))
                .await,
            Reason::EtagMismatch,
        );
        let last = store
            .step_rollout(write(50), step(&paused, "last", one, Some(next(&now, 50))))
            .await
            .unwrap();
        assert_eq!(
            (last.version, store.revision(key, 3).await.unwrap().number),
            (4, 3)
        );
        // The lease goes on to another after its end, and the first one is out.
        assert_eq!(leased(&store, "two", 110).await, ["r1"]);
        failed(
            store
                .step_rollout(write(111), step(&last, "late", one, None))
                .await,
            Reason::EtagMismatch,
        );
        store
            .step_rollout(write(111), step(&last, "two", Some("two"), None))
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn of_many_who_step_at_once_one_does() {
    on_both(async |store: Store| {
        let a = add(&store, "a", 1).await;
        let begun = start(&store, &a, "r1", 2).await;
        leased(&store, "one", 10).await;
        let attempt = |n: usize| {
            let holder = n.is_multiple_of(2).then_some("one");
            let body = format!("{n}");
            store.step_rollout(write(20), step(&begun, &body, holder, Some(next(&a, 20))))
        };
        let outcomes = futures::future::join_all((0..8).map(attempt)).await;
        let done: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| outcome.as_ref().ok())
            .collect();
        assert_eq!(done.len(), 1, "{outcomes:?}");
        assert_eq!(store.rollout(&ws(), "r1").await.unwrap(), *done[0]);
        let now = store.endpoint(&ws(), &name("a")).await.unwrap();
        assert_eq!((now.revision.number, now.version), (2, 2));
    })
    .await;
}
