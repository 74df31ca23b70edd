//! Changes, snapshots, messages to tracking, digests.

use lodeway_domain::{Reason, id::RunId};
use lodeway_store::{
    ledger::outbox::Event,
    registry::{REFERENCE, Reference, RegistryEvent, VersionBy},
};

use super::*;

fn kind(event: &RegistryEvent) -> String {
    match event {
        RegistryEvent::Version(v) => format!("{} {}", v.label(), v.stage),
        RegistryEvent::VersionDeleted { name, version, .. } => format!("-{name}/{version}"),
        RegistryEvent::Model(m) => format!("{} {:?}", m.name, m.aliases.len()),
        RegistryEvent::ModelDeleted { name, versions, .. } => format!("-{name} {versions:?}"),
    }
}

#[tokio::test]
async fn every_change_is_fed_in_order() {
    on_both(|store| {
        Box::pin(async move {
            let model = add_model(&store, "churn").await;
            let mut wakeups = store.wakeups();
            add_version(&store, "churn", 1).await;
            tokio::time::timeout(Duration::from_secs(10), wakeups.changed())
                .await
                .unwrap()
                .unwrap();
            add_model(&store, "fraud").await;
            go(&store, "churn", 1, Stage::Staging, false, 2).await;
            store
                .move_alias(write(3), point("churn", "x", Some(1)))
                .await
                .unwrap();
            let part = store.snapshot(&ws(), None, 0, 10).await.unwrap();
            assert_eq!((part.versions.len(), part.versions[0].1.aliases.len()), (1, 1));
            store
                .rename_model(write(4), name("churn"), name("leave"))
                .await
                .unwrap();
            add_version(&store, "leave", 5).await;
            store
                .delete_version(write(6), name("leave"), 1, false)
                .await
                .unwrap();
            store.delete_model(write(7), name("leave"), false).await.unwrap();

            let of = async |uid, cursor| {
                let feed = store.changes_after(&ws(), uid, cursor, 100).await.unwrap();
                feed.events
                    .iter()
                    .map(|(_, event)| kind(event))
                    .collect::<Vec<_>>()
            };
            let ours = of(Some(&model.uid), 0).await;
            assert_eq!(
                ours,
                [
                    "churn 0",
                    "churn/1 None",
                    "churn/1 Staging",
                    "churn 1",
                    "leave 1",
                    "leave/2 None",
                    "leave 0",
                    "-leave/1",
                    "-leave [2]"
                ]
            );
            assert_eq!(of(None, 0).await.len(), ours.len() + 1);
            assert_eq!(of(None, part.head).await, ours[4..]);
            let feed = store.changes_after(&ws(), None, part.head, 100).await.unwrap();
            assert!(
                store
                    .changes_after(&ws(), None, feed.next, 100)
                    .await
                    .unwrap()
                    .events
                    .is_empty()
            );
            let ahead = store
                .changes_after(&ws(), None, feed.next + 99, 10)
                .await
                .unwrap_err();
            assert_eq!(ahead.reason(), Reason::CursorExpired);
            store
                .prune_changes(at(1_000_000), Duration::from_secs(1))
                .await
                .unwrap();
            let expired = store.changes_after(&ws(), None, 1, 10).await.unwrap_err();
            assert_eq!(expired.reason(), Reason::CursorExpired);
            assert!(store.changes_after(&ws(), None, feed.next, 10).await.is_ok());
        })
    })
    .await;
}

#[tokio::test]
async fn snapshots_come_in_parts() {
    on_both(|store| {
        Box::pin(async move {
            let churn = add_model(&store, "churn").await;
            add_model(&store, "fraud").await;
            for i in 1..=3 {
                add_version(&store, "churn", i).await;
                add_version(&store, "fraud", i).await;
            }
            let mut labels = Vec::new();
            let mut after = 0;
            loop {
                let part = store.snapshot(&ws(), Some(&churn.uid), after, 2).await.unwrap();
                let Some((last, _)) = part.versions.last() else {
                    break;
                };
                after = *last;
                labels.extend(part.versions.iter().map(|(_, v)| v.label()));
            }
            assert_eq!(labels, ["churn/1", "churn/2", "churn/3"]);
            assert_eq!(
                store.snapshot(&ws(), None, 0, 100).await.unwrap().versions.len(),
                6
            );
        })
    })
    .await;
}

#[tokio::test]
async fn tracking_is_told_of_references() {
    on_both(|store| {
        Box::pin(async move {
            add_model(&store, "churn").await;
            let nowhere = NewVersion {
                artifact_uri: "prompt-template".to_owned(),
                ..new_version("churn")
            };
            let made = store.create_version(write(1), nowhere).await.unwrap();
            assert!(made.event.is_none());
            let unchecked = NewVersion {
                run_id: Some(RunId::parse("r0").unwrap()),
                source_unchecked: true,
                ..new_version("churn")
            };
            assert!(
                store
                    .create_version(write(1), unchecked)
                    .await
                    .unwrap()
                    .event
                    .is_none()
            );
            let new = NewVersion {
                run_id: Some(RunId::parse("r1").unwrap()),
                ..new_version("churn")
            };
            let event = store.create_version(write(2), new).await.unwrap().event.unwrap();
            let lease = Duration::from_secs(10);
            assert!(
                store.claim_events(at(3), lease, 10).await.unwrap().is_empty(),
                "the writer has its time"
            );
            let due = store.claim_events(at(2_002), lease, 10).await.unwrap();
            assert_eq!(
                (due.len(), &due[0].event_id, &due[0].payload),
                (1, &event.event_id, &event.payload)
            );
            assert!(
                store.claim_events(at(2_003), lease, 10).await.unwrap().is_empty(),
                "leased"
            );
            store.event_failed(&due[0], at(2_003)).await.unwrap();
            assert_eq!(
                store.claim_events(at(3_100), lease, 10).await.unwrap().len(),
                1,
                "due again after a second"
            );
            store.events_done(vec![event.event_id.clone()]).await.unwrap();

            store
                .rename_model(write(4_000), name("churn"), name("leave"))
                .await
                .unwrap();
            let renamed = store.claim_events(at(4_000), lease, 10).await.unwrap();
            store
                .delete_version(write(5_000), name("leave"), 3, false)
                .await
                .unwrap();
            let released = store.claim_events(at(5_000), lease, 10).await.unwrap();
            let told: Vec<Reference> = [&due, &renamed, &released]
                .into_iter()
                .map(|events| serde_json::from_slice(&events[0].payload).unwrap())
                .collect();
            let seen: Vec<_> = told
                .iter()
                .map(|r| (r.name.as_str(), r.version, &*r.run_id, r.released))
                .collect();
            assert_eq!(
                seen,
                [
                    ("churn", 3, "r1", false),
                    ("leave", 3, "r1", false),
                    ("leave", 3, "r1", true)
                ]
            );
            assert!(told.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        })
    })
    .await;
}

#[tokio::test]
async fn digests_are_pending_until_recorded() {
    on_both(|store| {
        Box::pin(async move {
            add_model(&store, "churn").await;
            let new = NewVersion {
                digest_state: DigestState::Pending,
                ..new_version("churn")
            };
            let made = store.create_version(write(1), new).await.unwrap();
            let pending = store.pending_digests(0, 10).await.unwrap();
            let uid = &made.version.model_uid;
            let this = async |version| store.pending_digest(&ws(), uid, version).await.unwrap();
            assert_eq!(this(1).await.as_ref(), pending.first());
            assert_eq!(this(2).await, None);
            assert_eq!(pending, [made.digest.clone().unwrap()]);
            let found = |state, digest: &str| FoundDigest {
                of: pending[0].clone(),
                state,
                content_digest: digest.to_owned(),
                formats: vec!["onnx".to_owned()],
            };
            let head = store.snapshot(&ws(), None, 0, 10).await.unwrap().head;
            let first = vec![found(DigestState::Recorded, "abc")];
            store.record_digests(first, at(2)).await.unwrap();
            let second = vec![found(DigestState::Failed, "")];
            store.record_digests(second, at(3)).await.unwrap();
            assert!(store.pending_digests(0, 10).await.unwrap().is_empty());
            assert_eq!(this(1).await, None);
            let now = store
                .version(&ws(), &name("churn"), &VersionBy::Number(1))
                .await
                .unwrap();
            assert_eq!(
                (now.digest_state, &*now.content_digest),
                (DigestState::Recorded, "abc")
            );
            assert_eq!((now.etag(), now.updated), (made.version.etag(), at(1)));
            let told = store.changes_after(&ws(), None, head, 10).await.unwrap();
            let told: Vec<_> = told.events.into_iter().map(|(_, event)| event).collect();
            assert_eq!(told, [RegistryEvent::Version(Box::new(now))]);
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tracking_is_told_where_a_version_is_that_names_no_run() {
    on_both(|store| {
        Box::pin(async move {
            add_model(&store, "churn").await;
            // The second one goes in one statement where that is done.
            for (ms, uri) in [(1, "s3://b/one"), (2, "/data/two")] {
                let new = NewVersion {
                    artifact_uri: uri.to_owned(),
                    ..new_version("churn")
                };
                let event = store.create_version(write(ms), new).await.unwrap().event.unwrap();
                let told: Reference = serde_json::from_slice(&event.payload).unwrap();
                assert_eq!(
                    (&*told.artifact_uri, &*told.run_id, &*told.model_id),
                    (uri, "", "")
                );
                assert_eq!((told.version, told.released), (ms, false));
            }
            let lease = Duration::from_secs(10);
            assert!(
                store.claim_events(at(100), lease, 10).await.unwrap().is_empty(),
                "the writer has its time"
            );
            let first = store.claim_events(at(2_010), lease, 10).await.unwrap();
            store
                .delete_version(write(3_000), name("churn"), 1, false)
                .await
                .unwrap();
            store
                .delete_model(write(3_000), name("churn"), false)
                .await
                .unwrap();
            let later = store.claim_events(at(3_000), lease, 10).await.unwrap();
            let seen = |events: &[Event]| {
                let told = events
                    .iter()
                    .map(|event| serde_json::from_slice::<Reference>(&event.payload).unwrap());
                let mut seen: Vec<_> = told
                    .map(|told| (told.version, told.released, told.seq > 0))
                    .collect();
                seen.sort_unstable();
                seen
            };
            assert_eq!(seen(&first), [(1, false, false), (2, false, false)]);
            assert_eq!(seen(&later), [(1, true, true), (2, true, true)]);
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_before_are_told_when_the_schema_is_brought_up() {
    common::on_both("registry", options(), async |db| {
        let store: Store = Arc::new(SqlRegistry::open(db.clone(), at(0)).await.unwrap());
        add_model(&store, "a \"b\"").await;
        let of = |uri: &str, run: Option<&str>| NewVersion {
            artifact_uri: uri.to_owned(),
            run_id: run.map(|id| RunId::parse(id).unwrap()),
            ..new_version("a \"b\"")
        };
        for new in [
            of("s3://b/x", None),
            of("s3://b/y", Some("r1")),
            of("template", None),
        ] {
            store.create_version(write(1), new).await.unwrap();
        }
        for sql in [
            "DELETE FROM outbox",
            "DROP TABLE deleted_versions",
            "DROP TABLE file_intents",
            "DELETE FROM schema_versions WHERE component = 'registry' AND version >= 5",
        ] {
            db.write(move |tx| Box::pin(async move { tx.execute(sql, &[]).await }))
                .await
                .unwrap();
        }
        let store = SqlRegistry::open(db, at(0)).await.unwrap();
        let due = store
            .claim_events(at(1), Duration::from_secs(10), 10)
            .await
            .unwrap();
        assert_eq!(due.len(), 1);
        assert!(RequestId::parse(&due[0].event_id).unwrap().is_some());
        assert_eq!(due[0].kind, REFERENCE);
        let told: Reference = serde_json::from_slice(&due[0].payload).unwrap();
        let expected = Reference {
            workspace: ws(),
            seq: 0,
            uid: store.model(&ws(), &name("a \"b\"")).await.unwrap().uid,
            name: name("a \"b\""),
            version: 1,
            model_id: String::new(),
            run_id: String::new(),
            artifact_uri: "s3://b/x".to_owned(),
            released: false,
            maker: None,
        };
        assert_eq!(told, expected);
    })
    .await;
}
