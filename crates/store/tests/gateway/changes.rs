//! The change log, which other gateways follow.

use lodeway_store::gateway::GatewayEvent;

use super::*;

/// An event in a few words.
fn told(event: &GatewayEvent) -> String {
    match event {
        GatewayEvent::Endpoint(record) => format!("{} {}", record.endpoint.name, record.version),
        GatewayEvent::Deleted { name, .. } => format!("{name} deleted"),
    }
}

#[tokio::test]
async fn every_change_is_told_in_order() {
    on_both(async |store: Store| {
        let (start, all) = store.all_endpoints().await.unwrap();
        assert!(all.is_empty());
        let mut wakeups = store.wakeups();
        wakeups.mark_unchanged();
        let a = add(&store, "a", 1).await;
        tokio::time::timeout(Duration::from_secs(10), wakeups.changed())
            .await
            .unwrap()
            .unwrap();
        add_in(&store, elsewhere(), "x", 2).await;
        let a = revise(&store, &a, 3).await;
        store
            .resolve(write(4), a.endpoint.uid.key(), meaning(2, "v", "9", 4))
            .await
            .unwrap();
        store.delete_endpoint(write(6), name("a")).await.unwrap();
        let events = store.changes_after(None, start, 100).await.unwrap();
        let words: Vec<_> = events.events.iter().map(|(_, _, event)| told(event)).collect();
        assert_eq!(words, ["a 1", "x 1", "a 2", "a 3", "a deleted"]);
        assert!(events.events.is_sorted_by(|one, other| one.0 < other.0));
        // Of one workspace, in small bites, the cursor going over what the others did.
        let (mut cursor, mut words) = (start, Vec::new());
        loop {
            let events = store.changes_after(Some(&ws()), cursor, 2).await.unwrap();
            if events.events.is_empty() {
                break;
            }
            assert!(events.events.len() <= 2 && events.next > cursor);
            cursor = events.next;
            words.extend(events.events.iter().map(|(_, _, event)| told(event)));
        }
        assert_eq!(words, ["a 1", "a 2", "a 3", "a deleted"]);
        assert_eq!(cursor, store.all_endpoints().await.unwrap().0);
        let foreign = store.changes_after(Some(&elsewhere()), start, 100).await.unwrap();
        assert_eq!(
            foreign.events.iter().map(|(_, of, _)| of).collect::<Vec<_>>(),
            [&elsewhere()]
        );
    })
    .await;
}

#[tokio::test]
async fn a_record_in_the_log_is_the_record() {
    on_both(async |store: Store| {
        let (start, _) = store.all_endpoints().await.unwrap();
        let made = add(&store, "a", 1).await;
        let now = revise(&store, &made, 2).await;
        store
            .resolve(write(3), now.endpoint.uid.key(), meaning(2, "v", "9", 3))
            .await
            .unwrap();
        let events = store.changes_after(None, start, 100).await.unwrap().events;
        let now = store.endpoint(&ws(), &name("a")).await.unwrap();
        assert_eq!(events.last().unwrap().2, GatewayEvent::Endpoint(Box::new(now)));
    })
    .await;
}

#[tokio::test]
async fn what_was_refused_or_repeated_is_not_told() {
    on_both(async |store: Store| {
        let made = add(&store, "a", 1).await;
        let id = RequestId::generate();
        let revise = || store.add_revision(once(2, id, "b"), "CreateRevision", next(&made, 2));
        revise().await.unwrap();
        let (start, _) = store.all_endpoints().await.unwrap();
        revise().await.unwrap();
        failed(
            store
                .add_revision(write(3), "CreateRevision", next(&made, 3))
                .await,
            Reason::EtagMismatch,
        );
        failed(
            store.delete_endpoint(write(3), name("b")).await,
            Reason::ResourceNotFound,
        );
        assert!(
            store
                .changes_after(None, start, 9)
                .await
                .unwrap()
                .events
                .is_empty()
        );
    })
    .await;
}

#[tokio::test]
async fn old_changes_are_forgotten_and_their_cursors_refused() {
    on_both(async |store: Store| {
        let (start, _) = store.all_endpoints().await.unwrap();
        let made = add(&store, "a", 1).await;
        revise(&store, &made, 100_000).await;
        let keep = Duration::from_secs(60);
        assert_eq!(store.prune_changes(at(110_000), keep).await.unwrap(), 1);
        failed(store.changes_after(None, start, 9).await, Reason::CursorExpired);
        let (head, all) = store.all_endpoints().await.unwrap();
        assert_eq!((all.len(), all[0].1.revision.number), (1, 2));
        assert!(
            store
                .changes_after(None, head, 9)
                .await
                .unwrap()
                .events
                .is_empty()
        );
        failed(
            store.changes_after(None, head + 1, 9).await,
            Reason::CursorExpired,
        );
    })
    .await;
}
