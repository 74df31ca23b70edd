//! Endpoints.

use lodeway_store::gateway::EndpointUpdate;

use super::*;

fn update(version: Option<i64>, text: &str) -> EndpointUpdate {
    EndpointUpdate {
        name: name("a"),
        version,
        description: Some(text.to_owned()),
        tags: None,
    }
}

#[tokio::test]
async fn an_endpoint_is_created_and_read() {
    on_both(async |store: Store| {
        let made = add(&store, "a", 5).await;
        assert_eq!(
            (made.version, made.revision.number, made.endpoint.created),
            (1, 1, at(5))
        );
        assert_eq!(made.resolutions, [meaning(1, "v", "1", 5)]);
        assert_eq!(store.endpoint(&ws(), &name("a")).await.unwrap(), made);
        let (endpoint, revision) = new_endpoint("a", 6);
        let again = store
            .create_endpoint(write(6), endpoint, revision, Vec::new())
            .await;
        failed(again, Reason::ResourceExists);
        failed(store.endpoint(&ws(), &name("b")).await, Reason::ResourceNotFound);
        // The same name in another workspace is another endpoint.
        failed(
            store.endpoint(&elsewhere(), &name("a")).await,
            Reason::ResourceNotFound,
        );
        let other = add_in(&store, elsewhere(), "a", 7).await;
        assert_ne!(other.endpoint.uid, made.endpoint.uid);
        assert_eq!(store.endpoint(&ws(), &name("a")).await.unwrap(), made);
        let (_, all) = store.all_endpoints().await.unwrap();
        assert_eq!(all, [(elsewhere(), other), (ws(), made)]);
        assert_eq!(store.workspaces().await.unwrap(), [elsewhere(), ws()]);
    })
    .await;
}

#[tokio::test]
async fn only_one_of_many_creates_a_name() {
    on_both(async |store: Store| {
        let create = |_| async {
            let (endpoint, revision) = new_endpoint("a", 1);
            let uid = endpoint.uid.clone();
            store
                .create_endpoint(write(1), endpoint, revision, Vec::new())
                .await
                .map(|_| uid)
        };
        let outcomes = futures::future::join_all((0..8).map(create)).await;
        let mut made = Vec::new();
        for outcome in outcomes {
            match outcome {
                Ok(uid) => made.push(uid),
                Err(error) => assert_eq!(error.reason(), Reason::ResourceExists, "{error:?}"),
            }
        }
        let there = store.endpoint(&ws(), &name("a")).await.unwrap();
        assert_eq!(made, [there.endpoint.uid]);
    })
    .await;
}

#[tokio::test]
async fn endpoints_are_listed_by_name() {
    on_both(async |store: Store| {
        for text in ["d", "b", "a-b", "a", "c", "ab"] {
            add(&store, text, 1).await;
        }
        add_in(&store, elsewhere(), "z", 1).await;
        store.delete_endpoint(write(2), name("c")).await.unwrap();
        let b = store.endpoint(&ws(), &name("b")).await.unwrap();
        revise(&store, &b, 3).await;
        let found = whole(async |page| store.list_endpoints(&ws(), &page).await.unwrap()).await;
        let names: Vec<_> = found
            .iter()
            .map(|one| (one.endpoint.name.as_str(), one.revision.number))
            .collect();
        assert_eq!(names, [("a", 1), ("a-b", 1), ("ab", 1), ("b", 2), ("d", 1)]);
        assert!(
            found
                .iter()
                .all(|one| one.resolutions.len() == one.revision.targets.len())
        );
    })
    .await;
}

#[tokio::test]
async fn descriptions_and_tags_change_with_versions() {
    on_both(async |store: Store| {
        let made = add(&store, "a", 1).await;
        let changed = store
            .update_endpoint(write(2), update(Some(1), "new"))
            .await
            .unwrap();
        assert_eq!((changed.version, &*changed.endpoint.description), (2, "new"));
        assert_eq!(
            (changed.endpoint.updated, &changed.revision),
            (at(2), &made.revision)
        );
        assert_eq!(changed.resolutions, made.resolutions);
        failed(
            store.update_endpoint(write(3), update(Some(1), "lost")).await,
            Reason::EtagMismatch,
        );
        let tagged = EndpointUpdate {
            tags: Some(Tags::from([("team".to_owned(), "a".to_owned())])),
            description: None,
            ..update(None, "")
        };
        let tagged = store.update_endpoint(write(4), tagged).await.unwrap();
        assert_eq!((tagged.version, &*tagged.endpoint.description), (3, "new"));
        assert_eq!(store.endpoint(&ws(), &name("a")).await.unwrap(), tagged);
        // A revision makes the version stale too.
        revise(&store, &tagged, 5).await;
        failed(
            store.update_endpoint(write(6), update(Some(3), "lost")).await,
            Reason::EtagMismatch,
        );
        let missing = EndpointUpdate {
            name: name("b"),
            ..update(None, "")
        };
        failed(
            store.update_endpoint(write(6), missing).await,
            Reason::ResourceNotFound,
        );
    })
    .await;
}

#[tokio::test]
async fn a_name_made_again_is_another_endpoint_and_the_old_history_stays() {
    on_both(async |store: Store| {
        let old = add(&store, "a", 1).await;
        let key = old.endpoint.uid.key();
        let old = revise(&store, &old, 2).await;
        store.delete_endpoint(write(3), name("a")).await.unwrap();
        failed(store.endpoint(&ws(), &name("a")).await, Reason::ResourceNotFound);
        failed(
            store.delete_endpoint(write(3), name("a")).await,
            Reason::ResourceNotFound,
        );
        failed(
            store
                .add_revision(write(3), "CreateRevision", next(&old, 3))
                .await,
            Reason::ResourceNotFound,
        );
        let new = add(&store, "a", 4).await;
        assert_ne!(new.endpoint.uid, old.endpoint.uid);
        assert_eq!((new.version, new.revision.number), (1, 1));
        // By its key the old one explains the answers that it gave.
        let here = ws();
        assert_eq!(
            store.endpoint_by_key(&here, key).await.unwrap().unwrap(),
            old.endpoint
        );
        let elsewhere = Workspace::parse("elsewhere").unwrap();
        assert_eq!(store.endpoint_by_key(&elsewhere, key).await.unwrap(), None);
        assert_eq!(store.revision(key, 2).await.unwrap(), old.revision);
        assert_eq!(store.revision_at(key, at(1)).await.unwrap().unwrap().number, 1);
        assert_eq!(
            store.resolutions_at(key, 2, at(2)).await.unwrap(),
            old.resolutions
        );
        assert_eq!(
            store.endpoint_by_key(&here, EndpointKey::new(1)).await.unwrap(),
            None
        );
        // Keys use all 64 bits.
        let mut high = add(&store, "b", 5).await;
        for round in 0..64 {
            if high.endpoint.uid.key().get() > u64::MAX / 2 {
                break;
            }
            high = add(&store, &format!("b-{round}"), 5).await;
        }
        let key = high.endpoint.uid.key();
        assert!(key.get() > u64::MAX / 2);
        assert_eq!(
            store.endpoint_by_key(&here, key).await.unwrap().unwrap().uid,
            high.endpoint.uid
        );
    })
    .await;
}

#[tokio::test]
async fn repeated_requests_have_one_effect() {
    on_both(async |store: Store| {
        let ids: Vec<_> = (0..4).map(|_| RequestId::generate()).collect();
        let create = |ms| {
            let (endpoint, revision) = new_endpoint("a", ms);
            store.create_endpoint(once(ms, ids[0], "create"), endpoint, revision, Vec::new())
        };
        let made = create(1).await.unwrap();
        assert_eq!(create(2).await.unwrap(), made);
        let (endpoint, revision) = new_endpoint("a", 3);
        let reused = store.create_endpoint(once(3, ids[0], "other"), endpoint, revision, Vec::new());
        failed(reused.await, Reason::RequestIdReused);

        let revise = |ms| store.add_revision(once(ms, ids[1], "revise"), "CreateRevision", next(&made, ms));
        let revised = revise(4).await.unwrap();
        assert_eq!(revise(5).await.unwrap(), revised);
        assert_eq!(revised.revision.number, 2);
        // Another method under the same id is another request.
        let rolled = store.add_revision(once(5, ids[1], "revise"), "RollbackEndpoint", next(&revised, 5));
        assert_eq!(rolled.await.unwrap().revision.number, 3);

        let change = |ms| store.update_endpoint(once(ms, ids[2], "update"), update(Some(3), "new"));
        let changed = change(6).await.unwrap();
        assert_eq!(change(7).await.unwrap(), changed);
        let delete = |ms| store.delete_endpoint(once(ms, ids[3], "delete"), name("a"));
        delete(8).await.unwrap();
        let new = add(&store, "a", 9).await;
        // The repetition of a delete does not reach the endpoint that has the name now.
        delete(10).await.unwrap();
        assert_eq!(store.endpoint(&ws(), &name("a")).await.unwrap(), new);
        assert_eq!(create(11).await.unwrap(), made);
    })
    .await;
}

#[tokio::test]
async fn a_refused_request_may_be_tried_again_under_its_id() {
    on_both(async |store: Store| {
        let id = RequestId::generate();
        failed(
            store.delete_endpoint(once(1, id, "delete"), name("a")).await,
            Reason::ResourceNotFound,
        );
        add(&store, "a", 2).await;
        store
            .delete_endpoint(once(3, id, "delete"), name("a"))
            .await
            .unwrap();
        failed(store.endpoint(&ws(), &name("a")).await, Reason::ResourceNotFound);
    })
    .await;
}
