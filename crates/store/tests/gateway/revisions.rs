//! Revisions, and what targets meant when.

use super::*;

#[tokio::test]
async fn a_revision_follows_the_one_that_serves() {
    on_both(async |store: Store| {
        let first = add(&store, "a", 1).await;
        let key = first.endpoint.uid.key();
        let second = revise(&store, &first, 2).await;
        assert_eq!((second.version, second.endpoint.revision), (2, 2));
        assert_eq!(store.endpoint(&ws(), &name("a")).await.unwrap(), second);
        // Both the same number again and one that leaves a gap.
        let stale = store
            .add_revision(write(3), "CreateRevision", next(&first, 3))
            .await;
        failed(stale, Reason::EtagMismatch);
        let mut ahead = next(&second, 3);
        ahead.revision.number = 4;
        failed(
            store.add_revision(write(3), "CreateRevision", ahead).await,
            Reason::EtagMismatch,
        );
        assert_eq!(store.endpoint(&ws(), &name("a")).await.unwrap(), second);
        failed(store.revision(key, 3).await, Reason::ResourceNotFound);
        assert_eq!(store.revision(key, 1).await.unwrap(), first.revision);
        let mut unknown = next(&second, 3);
        unknown.key = EndpointKey::new(7);
        failed(
            store.add_revision(write(3), "CreateRevision", unknown).await,
            Reason::ResourceNotFound,
        );
    })
    .await;
}

#[tokio::test]
async fn parallel_writers_leave_no_gap_and_lose_nothing() {
    on_both(async |store: Store| {
        let first = add(&store, "a", 1).await;
        let key = first.endpoint.uid.key();
        let writer = |_| async {
            let mut done = Vec::new();
            while done.len() < 5 {
                let now = store.endpoint(&ws(), &name("a")).await.unwrap();
                match store
                    .add_revision(write(2), "CreateRevision", next(&now, 2))
                    .await
                {
                    Ok(record) => done.push(record.revision),
                    Err(error) => assert_eq!(error.reason(), Reason::EtagMismatch, "{error:?}"),
                }
            }
            done
        };
        let mut made = futures::future::join_all((0..4).map(writer)).await.concat();
        made.sort_by_key(|revision| revision.number);
        assert_eq!(
            made.iter().map(|one| one.number).collect::<Vec<_>>(),
            (2..=21).collect::<Vec<_>>()
        );
        for revision in made {
            assert_eq!(store.revision(key, revision.number).await.unwrap(), revision);
        }
        let last = store.endpoint(&ws(), &name("a")).await.unwrap();
        assert_eq!((last.endpoint.revision, last.version), (21, 21));
    })
    .await;
}

#[tokio::test]
async fn revisions_are_listed_newest_first_and_found_by_time() {
    on_both(async |store: Store| {
        let mut record = add(&store, "a", 10).await;
        let key = record.endpoint.uid.key();
        for ms in [20, 30, 30, 40] {
            record = revise(&store, &record, ms).await;
        }
        let other = add(&store, "b", 15).await;
        let found = whole(async |page| store.revisions(key, &page).await.unwrap()).await;
        assert_eq!(
            found.iter().map(|one| one.number).collect::<Vec<_>>(),
            [5, 4, 3, 2, 1]
        );
        assert_eq!(found.first(), Some(&record.revision));
        for (ms, number) in [
            (9, None),
            (10, Some(1)),
            (29, Some(2)),
            (30, Some(4)),
            (99, Some(5)),
        ] {
            let served = store.revision_at(key, at(ms)).await.unwrap();
            assert_eq!(served.map(|revision| revision.number), number, "{ms}");
        }
        let alone = store.revisions(other.endpoint.uid.key(), &page(2)).await.unwrap();
        assert_eq!((alone.items.len(), alone.next), (1, None));
    })
    .await;
}

#[tokio::test]
async fn what_a_target_means_has_a_history() {
    on_both(async |store: Store| {
        let made = add(&store, "a", 10).await;
        let key = made.endpoint.uid.key();
        let versions = async |number: u32, ms: i64| {
            let found = store.resolutions_at(key, number, at(ms)).await.unwrap();
            found
                .into_iter()
                .map(|one| format!("{}={}", one.target, one.model_version))
                .collect::<Vec<_>>()
        };
        store
            .resolve(write(20), key, meaning(1, "v", "2", 20))
            .await
            .unwrap();
        let now = store.endpoint(&ws(), &name("a")).await.unwrap();
        assert_eq!((now.version, now.revision.number), (2, 1));
        assert_eq!(now.resolutions, [meaning(1, "v", "2", 20)]);
        // Another gateway sees the same a little later: nothing new.
        store
            .resolve(write(21), key, meaning(1, "v", "2", 21))
            .await
            .unwrap();
        assert_eq!(store.endpoint(&ws(), &name("a")).await.unwrap(), now);
        store
            .resolve(write(25), key, meaning(1, "v", "1", 25))
            .await
            .unwrap();
        let now = revise(&store, &now_of(&store).await, 30).await;
        for (number, ms, wanted) in [
            (1, 9, vec![]),
            (1, 10, vec!["v=1"]),
            (1, 19, vec!["v=1"]),
            (1, 20, vec!["v=2"]),
            (1, 25, vec!["v=1"]),
            (2, 29, vec![]),
            (2, 30, vec!["v=2", "w=1"]),
        ] {
            assert_eq!(versions(number, ms).await, wanted, "{number} {ms}");
        }
        // One of two targets moves, the other keeps its meaning.
        store
            .resolve(write(40), key, meaning(2, "w", "9", 40))
            .await
            .unwrap();
        assert_eq!(versions(2, 40).await, ["v=2", "w=9"]);
        assert_eq!(now_of(&store).await.version, now.version + 1);
    })
    .await;
}

#[tokio::test]
async fn who_is_late_writes_no_history() {
    on_both(async |store: Store| {
        let made = add(&store, "a", 10).await;
        let key = made.endpoint.uid.key();
        let second = revise(&store, &made, 20).await;
        store
            .resolve(write(30), key, meaning(1, "v", "7", 30))
            .await
            .unwrap();
        assert_eq!(now_of(&store).await, second);
        assert_eq!(
            store.resolutions_at(key, 1, at(99)).await.unwrap(),
            made.resolutions
        );
        // One that is late within the revision does not change what the target means now.
        store
            .resolve(write(40), key, meaning(2, "v", "4", 40))
            .await
            .unwrap();
        store
            .resolve(write(41), key, meaning(2, "v", "3", 35))
            .await
            .unwrap();
        let now = now_of(&store).await;
        let versions: Vec<_> = now.resolutions.iter().map(|one| &*one.model_version).collect();
        assert_eq!(versions, ["4", "1"]);
        store.delete_endpoint(write(50), name("a")).await.unwrap();
        store
            .resolve(write(60), key, meaning(2, "v", "8", 60))
            .await
            .unwrap();
        store
            .resolve(write(60), EndpointKey::new(3), meaning(1, "v", "8", 60))
            .await
            .unwrap();
        assert_eq!(
            store.resolutions_at(key, 2, at(99)).await.unwrap(),
            now.resolutions
        );
    })
    .await;
}

async fn now_of(store: &Store) -> EndpointRecord {
    store.endpoint(&ws(), &name("a")).await.unwrap()
}
