//! Registered models.

use lodeway_domain::{Error, Reason, caller::Workspace, id::RequestId, registry::Stage};
use lodeway_store::registry::{ModelUpdate, VersionBy};

use super::*;

#[tokio::test]
async fn a_model_is_created_read_and_found() {
    on_both(|store| {
        Box::pin(async move {
            let new = NewModel {
                description: "churn".to_owned(),
                tags: tags(&[("team", "a")]),
                ..new_model("churn")
            };
            let made = store.create_model(write(5), new).await.unwrap();
            assert_eq!((made.created, made.updated, made.revision), (at(5), at(5), 1));
            assert_eq!(store.model(&ws(), &name("churn")).await.unwrap(), made);
            let again = store
                .create_model(write(6), new_model("churn"))
                .await
                .unwrap_err();
            assert!(matches!(again, Error::AlreadyExists(_)), "{again:?}");
            let missing = store.model(&ws(), &name("other")).await.unwrap_err();
            assert_eq!(not_found(&missing), "registered model other");

            let elsewhere = Workspace::parse("b").unwrap();
            assert!(store.model(&elsewhere, &name("churn")).await.is_err());
            let mut other = write(7);
            other.caller.workspace = elsewhere;
            assert_ne!(
                store.create_model(other, new_model("churn")).await.unwrap().uid,
                made.uid
            );
        })
    })
    .await;
}

#[tokio::test]
async fn models_are_found_by_filter_order_and_page() {
    on_both(|store| {
        Box::pin(async move {
            for (i, text) in ["d", "a", "c", "b", "e"].iter().enumerate() {
                let new = NewModel {
                    tags: tags(&[("n", &i.to_string())]),
                    ..new_model(text)
                };
                store.create_model(write(i as i64), new).await.unwrap();
            }
            add_version(&store, "c", 100).await;
            assert_eq!(
                found_models(&store, "", &["name"]).await,
                ["a", "b", "c", "d", "e"]
            );
            assert_eq!(
                found_models(&store, "", &["update_time DESC"]).await,
                ["c", "e", "b", "a", "d"]
            );
            assert_eq!(
                found_models(&store, "tags.n IN ('0', '3') OR name LIKE 'a%'", &["name DESC"]).await,
                ["d", "b", "a"]
            );
            assert_eq!(
                found_models(&store, "", &["tags.n DESC"]).await,
                ["e", "b", "c", "a", "d"]
            );
            assert_eq!(
                found_models(&store, "description IS NULL AND NOT tags.n = '1'", &["name"])
                    .await
                    .len(),
                4
            );
        })
    })
    .await;
}

#[tokio::test]
async fn descriptions_and_tags_change_with_etags() {
    on_both(|store| {
        Box::pin(async move {
            let made = add_model(&store, "churn").await;
            let update = |etag: Option<String>, text: &str| ModelUpdate {
                name: name("churn"),
                etag,
                description: Some(text.to_owned()),
            };
            let changed = store
                .update_model(write(10), update(Some(made.etag()), "new"))
                .await
                .unwrap();
            assert_eq!((&*changed.description, changed.updated), ("new", at(10)));
            let stale = store
                .update_model(write(11), update(Some(made.etag()), "lost"))
                .await
                .unwrap_err();
            assert!(matches!(stale, Error::Conflict(_)), "{stale:?}");
            store
                .set_model_tags(write(12), name("churn"), tags(&[("b", "2"), ("a", "1")]))
                .await
                .unwrap();
            store
                .set_model_tags(write(12), name("churn"), tags(&[("a", "3")]))
                .await
                .unwrap();
            store
                .delete_model_tag(write(12), name("churn"), "b".to_owned())
                .await
                .unwrap();
            store
                .delete_model_tag(write(12), name("churn"), "b".to_owned())
                .await
                .unwrap();
            let now = store.model(&ws(), &name("churn")).await.unwrap();
            assert_eq!(
                (now.tags, now.updated, &*now.description),
                (tags(&[("a", "3")]), at(10), "new")
            );
            assert!(now.revision > changed.revision);
            assert!(
                store
                    .set_model_tags(write(13), name("x"), tags(&[("a", "1")]))
                    .await
                    .is_err()
            );
            assert!(
                store
                    .delete_model_tag(write(13), name("x"), "a".to_owned())
                    .await
                    .is_err()
            );
        })
    })
    .await;
}

#[tokio::test]
async fn a_renamed_model_takes_its_versions_along() {
    on_both(|store| {
        Box::pin(async move {
            let made = add_model(&store, "old").await;
            add_model(&store, "taken").await;
            add_version(&store, "old", 1).await;
            store
                .move_alias(write(2), point("old", "champion", Some(1)))
                .await
                .unwrap();
            let clash = store
                .rename_model(write(3), name("old"), name("taken"))
                .await
                .unwrap_err();
            assert!(matches!(clash, Error::AlreadyExists(_)), "{clash:?}");
            let renamed = store
                .rename_model(write(4), name("old"), name("new"))
                .await
                .unwrap();
            assert_eq!(
                (&renamed.uid, renamed.name.as_str(), renamed.updated),
                (&made.uid, "new", at(4))
            );
            let by_alias = VersionBy::Alias(alias("champion"));
            assert_eq!(
                store
                    .version(&ws(), &name("new"), &by_alias)
                    .await
                    .unwrap()
                    .label(),
                "new/1"
            );
            assert!(store.model(&ws(), &name("old")).await.is_err());
            assert_eq!(
                store
                    .rename_model(write(5), name("new"), name("new"))
                    .await
                    .unwrap()
                    .uid,
                made.uid
            );
        })
    })
    .await;
}

#[tokio::test]
async fn a_deleted_model_leaves_only_its_ledger() {
    on_both(|store| {
        Box::pin(async move {
            let made = add_model(&store, "churn").await;
            add_version(&store, "churn", 1).await;
            store
                .set_version_tags(write(2), name("churn"), 1, tags(&[("a", "1")]))
                .await
                .unwrap();
            store
                .move_alias(write(2), point("churn", "champion", Some(1)))
                .await
                .unwrap();
            go(&store, "churn", 1, Stage::Production, false, 3).await;
            let refused = store
                .delete_model(write(4), name("churn"), false)
                .await
                .unwrap_err();
            assert_eq!(refused.reason(), Reason::VersionInProduction);
            store.delete_model(write(5), name("churn"), true).await.unwrap();
            assert!(store.delete_model(write(5), name("churn"), true).await.is_err());

            let reborn = add_model(&store, "churn").await;
            assert_ne!(reborn.uid, made.uid);
            let version = add_version(&store, "churn", 7).await;
            assert_eq!(
                (
                    version.version,
                    version.stage,
                    version.tags.len(),
                    version.aliases.len()
                ),
                (1, Stage::None, 0, 0)
            );
            let old = LedgerQuery {
                uid: Some(made.uid.clone()),
                ..whole_ledger()
            };
            assert_eq!(store.transitions(&ws(), &old).await.unwrap().items.len(), 5);
            let new = LedgerQuery {
                name: Some(name("churn")),
                ..whole_ledger()
            };
            assert_eq!(store.transitions(&ws(), &new).await.unwrap().items.len(), 2);
        })
    })
    .await;
}

#[tokio::test]
async fn a_request_id_makes_a_repetition_harmless() {
    on_both(|store| {
        Box::pin(async move {
            let id = RequestId::generate();
            let first = store
                .create_model(once(0, id, "a"), new_model("churn"))
                .await
                .unwrap();
            let second = store
                .create_model(once(9, id, "a"), new_model("churn"))
                .await
                .unwrap();
            assert_eq!(first, second);
            let other = store
                .create_model(once(9, id, "b"), new_model("fraud"))
                .await
                .unwrap_err();
            assert_eq!(other.reason(), Reason::RequestIdReused);

            let id = RequestId::generate();
            assert!(store.created_before(&once(1, id, "v")).await.unwrap().is_none());
            let one = store
                .create_version(once(1, id, "v"), new_version("churn"))
                .await
                .unwrap();
            let two = store
                .create_version(once(2, id, "v"), new_version("churn"))
                .await
                .unwrap();
            assert_eq!((one.version.version, &one.version), (1, &two.version));
            assert_eq!(
                store
                    .created_before(&once(3, id, "v"))
                    .await
                    .unwrap()
                    .unwrap()
                    .version,
                one.version
            );
            assert!(store.created_before(&once(3, id, "w")).await.unwrap().is_none());
            let deleted = RequestId::generate();
            store
                .delete_version(once(4, deleted, "d"), name("churn"), 1, false)
                .await
                .unwrap();
            store
                .delete_version(once(5, deleted, "d"), name("churn"), 1, false)
                .await
                .unwrap();
        })
    })
    .await;
}
