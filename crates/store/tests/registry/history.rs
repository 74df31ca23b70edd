//! What a model URI meant at a past time.

use lodeway_domain::registry::ModelRef;

use super::*;

async fn meant(store: &Store, uri: &str, ms: i64) -> Result<i64, String> {
    let reference = ModelRef::parse("uri", uri).unwrap();
    store
        .resolve_at(&ws(), &reference, at(ms))
        .await
        .map(|meant| meant.version.version)
        .map_err(|e| not_found(&e))
}

#[tokio::test]
async fn stages_aliases_and_latest_are_computed_from_the_ledger() {
    on_both(|store| {
        Box::pin(async move {
            store.create_model(write(10), new_model("churn")).await.unwrap();
            add_version(&store, "churn", 20).await;
            add_version(&store, "churn", 30).await;
            go(&store, "churn", 1, Stage::Production, false, 40).await;
            store
                .move_alias(write(45), point("churn", "x", Some(1)))
                .await
                .unwrap();
            go(&store, "churn", 2, Stage::Production, true, 50).await;
            store
                .move_alias(write(55), point("churn", "x", Some(2)))
                .await
                .unwrap();
            store
                .move_alias(write(60), point("churn", "x", None))
                .await
                .unwrap();

            for (uri, ms, want) in [
                (
                    "models:/churn/Production",
                    39,
                    Err("model version churn/Production"),
                ),
                ("models:/churn/Production", 40, Ok(1)),
                ("models:/churn/Production", 49, Ok(1)),
                ("models:/churn/Production", 50, Ok(2)),
                ("models:/churn/Archived", 50, Ok(1)),
                ("models:/churn/None", 35, Ok(2)),
                ("models:/churn/None", 25, Ok(1)),
                ("models:/churn/latest", 25, Ok(1)),
                ("models:/churn/latest", 30, Ok(2)),
                ("models:/churn@x", 44, Err("alias churn@x")),
                ("models:/churn@x", 45, Ok(1)),
                ("models:/churn@x", 59, Ok(2)),
                ("models:/churn@x", 60, Err("alias churn@x")),
                ("models:/churn/2", 29, Err("model version churn/2")),
                ("models:/churn/2", 30, Ok(2)),
                ("models:/churn/1", 9, Err("registered model churn")),
            ] {
                assert_eq!(
                    meant(&store, uri, ms).await,
                    want.map_err(str::to_owned),
                    "{uri} at {ms}"
                );
            }
        })
    })
    .await;
}

#[tokio::test]
async fn names_are_those_of_the_time() {
    on_both(|store| {
        Box::pin(async move {
            store.create_model(write(10), new_model("a")).await.unwrap();
            add_version(&store, "a", 11).await;
            store.rename_model(write(20), name("a"), name("b")).await.unwrap();
            store.create_model(write(30), new_model("a")).await.unwrap();
            add_version(&store, "a", 31).await;
            add_version(&store, "a", 32).await;
            assert_eq!(meant(&store, "models:/a/latest", 15).await, Ok(1));
            assert_eq!(
                meant(&store, "models:/a/latest", 25).await,
                Err("registered model a".to_owned())
            );
            assert_eq!(meant(&store, "models:/a/latest", 40).await, Ok(2));
            assert_eq!(meant(&store, "models:/b/latest", 25).await, Ok(1));
            assert_eq!(
                meant(&store, "models:/b/latest", 15).await,
                Err("registered model b".to_owned())
            );
            store
                .delete_version(write(50), name("a"), 2, false)
                .await
                .unwrap();
            assert_eq!(meant(&store, "models:/a/latest", 50).await, Ok(1));
            assert_eq!(meant(&store, "models:/a/latest", 49).await, Ok(2));
            store.delete_model(write(60), name("b"), false).await.unwrap();
            assert_eq!(meant(&store, "models:/b/1", 59).await, Ok(1));
            assert_eq!(
                meant(&store, "models:/a/1", 15).await,
                Ok(1),
                "by its former name"
            );
            assert_eq!(
                meant(&store, "models:/b/1", 60).await,
                Err("registered model b".to_owned())
            );
        })
    })
    .await;
}

#[tokio::test]
async fn a_version_is_answered_as_it_stood_even_if_it_is_gone() {
    on_both(|store| {
        Box::pin(async move {
            let then = async |uri: &str, ms: i64| {
                let reference = ModelRef::parse("uri", uri).unwrap();
                store.resolve_at(&ws(), &reference, at(ms)).await
            };
            store.create_model(write(10), new_model("churn")).await.unwrap();
            let first = NewVersion {
                artifact_uri: "s3://b/first".to_owned(),
                description: "said of it".to_owned(),
                tags: tags(&[("team", "a")]),
                ..new_version("churn")
            };
            store.create_version(write(20), first).await.unwrap();
            add_version(&store, "churn", 30).await;
            go(&store, "churn", 1, Stage::Staging, false, 35).await;
            go(&store, "churn", 1, Stage::Production, false, 40).await;
            for (to, ms) in [(1, 45), (2, 46), (1, 47)] {
                let pointed = point("churn", "x", Some(to));
                store.move_alias(write(ms), pointed).await.unwrap();
            }
            go(&store, "churn", 2, Stage::Production, true, 50).await;

            for (uri, ms, stage, aliases) in [
                ("models:/churn/1", 34, Stage::None, vec![]),
                ("models:/churn/Staging", 35, Stage::Staging, vec![]),
                (
                    "models:/churn/Production",
                    45,
                    Stage::Production,
                    vec![alias("x")],
                ),
                ("models:/churn/1", 46, Stage::Production, vec![]),
                ("models:/churn@x", 49, Stage::Production, vec![alias("x")]),
                ("models:/churn@x", 50, Stage::Archived, vec![alias("x")]),
            ] {
                let meant = then(uri, ms).await.unwrap();
                let version = meant.version;
                assert_eq!((version.version, meant.deleted), (1, None), "{uri} at {ms}");
                assert_eq!(
                    (version.stage, version.aliases),
                    (stage, aliases),
                    "{uri} at {ms}"
                );
                assert_eq!(version.description, "said of it");
            }

            store
                .delete_version(write(60), name("churn"), 1, false)
                .await
                .unwrap();
            let meant = then("models:/churn/Production", 49).await.unwrap();
            assert_eq!(meant.deleted, Some(at(60)));
            let gone = meant.version;
            assert_eq!((gone.version, gone.stage), (1, Stage::Production));
            assert_eq!(gone.aliases, [alias("x")]);
            assert_eq!(
                (&*gone.artifact_uri, &*gone.user_id, gone.created),
                ("s3://b/first", "ada", at(20))
            );
            assert!(gone.description.is_empty() && gone.tags.is_empty());
            assert_eq!(
                not_found(&then("models:/churn/1", 60).await.unwrap_err()),
                "model version churn/1"
            );

            // A model of the same name has versions of its own; those of the deleted one are found by when it was.
            store.delete_model(write(70), name("churn"), true).await.unwrap();
            store.create_model(write(80), new_model("churn")).await.unwrap();
            let second = NewVersion {
                artifact_uri: "s3://b/other".to_owned(),
                ..new_version("churn")
            };
            store.create_version(write(81), second).await.unwrap();
            for (uri, ms, place, deleted) in [
                ("models:/churn/1", 59, "s3://b/first", Some(at(60))),
                ("models:/churn/Production", 69, "s3://b/x", Some(at(70))),
                ("models:/churn/1", 81, "s3://b/other", None),
            ] {
                let meant = then(uri, ms).await.unwrap();
                assert_eq!(
                    (&*meant.version.artifact_uri, meant.deleted),
                    (place, deleted),
                    "{uri} at {ms}"
                );
            }
        })
    })
    .await;
}

#[tokio::test]
async fn of_what_an_older_release_deleted_is_said_that_nothing_is_left() {
    common::on_both("registry", options(), async |db| {
        let store = SqlRegistry::open(db.clone(), at(0)).await.unwrap();
        store.create_model(write(10), new_model("churn")).await.unwrap();
        store
            .create_version(write(20), new_version("churn"))
            .await
            .unwrap();
        store
            .delete_version(write(30), name("churn"), 1, false)
            .await
            .unwrap();
        db.write(|tx| Box::pin(async move { tx.execute("DELETE FROM deleted_versions", &[]).await }))
            .await
            .unwrap();
        let reference = ModelRef::parse("uri", "models:/churn/latest").unwrap();
        let refused = store.resolve_at(&ws(), &reference, at(25)).await.unwrap_err();
        assert!(matches!(refused, Error::Precondition { .. }), "{refused:?}");
        assert!(
            refused
                .to_string()
                .starts_with("it was version `1` of `churn` at that time")
        );
    })
    .await;
}
