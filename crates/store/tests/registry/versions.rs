//! Versions.

use lodeway_domain::{
    Error, Reason,
    id::{ModelId, RunId},
};
use lodeway_store::registry::{VersionBy, VersionUpdate};

use super::*;

#[tokio::test]
async fn a_thousand_parallel_creations_have_no_gap() {
    on_both(|store| {
        Box::pin(async move {
            add_model(&store, "churn").await;
            let tasks: Vec<_> = (0..1000)
                .map(|i| {
                    let store = store.clone();
                    #[expect(clippy::disallowed_methods, reason = "a test waits for its own tasks")]
                    tokio::spawn(async move { add_version(&store, "churn", i).await.version })
                })
                .collect();
            let mut numbers = Vec::new();
            for task in tasks {
                numbers.push(task.await.unwrap());
            }
            numbers.sort_unstable();
            assert_eq!(numbers, (1..=1000).collect::<Vec<i64>>());
            store
                .delete_version(write(2000), name("churn"), 1000, false)
                .await
                .unwrap();
            assert_eq!(add_version(&store, "churn", 2001).await.version, 1001);
        })
    })
    .await;
}

#[tokio::test]
async fn a_version_is_found_in_every_way() {
    on_both(|store| {
        Box::pin(async move {
            add_model(&store, "churn").await;
            let new = NewVersion {
                run_id: Some(RunId::parse("r1").unwrap()),
                model_id: Some(ModelId::parse("m-1").unwrap()),
                description: "first".to_owned(),
                tags: tags(&[("k", "v")]),
                ..new_version("churn")
            };
            let made = store.create_version(write(1), new).await.unwrap().version;
            assert_eq!(
                (made.user_id.as_str(), made.revision, made.created),
                ("ada", 1, at(1))
            );
            assert_eq!(store.model(&ws(), &name("churn")).await.unwrap().updated, at(1));
            add_version(&store, "churn", 2).await;
            add_version(&store, "churn", 3).await;
            go(&store, "churn", 2, Stage::Staging, false, 4).await;
            store
                .move_alias(write(5), point("churn", "champion", Some(1)))
                .await
                .unwrap();

            for (by, number) in [
                (VersionBy::Number(1), 1),
                (VersionBy::Alias(alias("champion")), 1),
                (VersionBy::Stage(Stage::Staging), 2),
                (VersionBy::Stage(Stage::None), 3),
                (VersionBy::Latest, 3),
            ] {
                assert_eq!(
                    store.version(&ws(), &name("churn"), &by).await.unwrap().version,
                    number,
                    "{by:?}"
                );
            }
            let read = store
                .version(&ws(), &name("churn"), &VersionBy::Number(1))
                .await
                .unwrap();
            assert_eq!(
                read,
                ModelVersion {
                    aliases: vec![alias("champion")],
                    ..made
                }
            );
            for (model, by, what) in [
                ("churn", VersionBy::Number(9), "model version churn/9"),
                ("churn", VersionBy::Alias(alias("x")), "alias churn@x"),
                (
                    "churn",
                    VersionBy::Stage(Stage::Production),
                    "model version churn/Production",
                ),
                ("other", VersionBy::Latest, "registered model other"),
            ] {
                let error = store.version(&ws(), &name(model), &by).await.unwrap_err();
                assert_eq!(not_found(&error), what);
            }

            let latest = store.latest_versions(&ws(), &name("churn"), &[]).await.unwrap();
            let numbers = |versions: &[ModelVersion]| versions.iter().map(|v| v.version).collect::<Vec<_>>();
            assert_eq!(numbers(&latest), [3, 2]);
            let staging = store
                .latest_versions(&ws(), &name("churn"), &[Stage::Staging])
                .await
                .unwrap();
            assert_eq!(numbers(&staging), [2]);
            assert_eq!(
                numbers(&store.model(&ws(), &name("churn")).await.unwrap().latest_versions),
                [3, 2]
            );
            assert!(store.latest_versions(&ws(), &name("x"), &[]).await.is_err());
        })
    })
    .await;
}

#[tokio::test]
async fn versions_are_found_by_filter_order_and_page() {
    on_both(|store| {
        Box::pin(async move {
            for model in ["b", "a"] {
                add_model(&store, model).await;
                for i in 1..=3 {
                    let run_id = (i == 2).then(|| RunId::parse("r2").unwrap());
                    let new = NewVersion {
                        run_id,
                        tags: tags(&[("i", &i.to_string())]),
                        ..new_version(model)
                    };
                    store.create_version(write(i), new).await.unwrap();
                }
            }
            go(&store, "a", 1, Stage::Production, false, 9).await;
            store
                .move_alias(write(10), point("b", "champion", Some(3)))
                .await
                .unwrap();
            let default = ["update_time DESC", "name ASC", "version DESC"];
            assert_eq!(
                found_versions(&store, "", &default).await,
                ["a/1", "a/3", "b/3", "a/2", "b/2", "b/1"]
            );
            assert_eq!(
                found_versions(&store, "name = 'a'", &["version"]).await,
                ["a/1", "a/2", "a/3"]
            );
            assert_eq!(found_versions(&store, "stage = 'Production'", &[]).await, ["a/1"]);
            assert_eq!(
                found_versions(&store, "run_id = 'r2'", &["name"]).await,
                ["a/2", "b/2"]
            );
            assert_eq!(
                found_versions(&store, "run_id IN ('r1', 'r2') AND version > 1", &["name"])
                    .await
                    .len(),
                2
            );
            assert_eq!(found_versions(&store, "alias = 'champion'", &[]).await, ["b/3"]);
            assert_eq!(
                found_versions(&store, "tags.i = '3' AND alias IS NULL", &[]).await,
                ["a/3"]
            );
            assert_eq!(
                found_versions(
                    &store,
                    "source ILIKE 'S3:%' AND run_id IS NULL",
                    &["name", "version"]
                )
                .await
                .len(),
                4
            );
        })
    })
    .await;
}

#[tokio::test]
async fn descriptions_and_tags_of_versions_change() {
    on_both(|store| {
        Box::pin(async move {
            add_model(&store, "churn").await;
            let made = add_version(&store, "churn", 1).await;
            let update = |etag: String| VersionUpdate {
                name: name("churn"),
                version: 1,
                etag: Some(etag),
                description: Some("new".to_owned()),
            };
            let changed = store.update_version(write(2), update(made.etag())).await.unwrap();
            assert_eq!((&*changed.description, changed.updated), ("new", at(2)));
            assert_eq!(store.model(&ws(), &name("churn")).await.unwrap().updated, at(2));
            let stale = store
                .update_version(write(3), update(made.etag()))
                .await
                .unwrap_err();
            assert!(matches!(stale, Error::Conflict(_)));

            store
                .set_version_tags(write(4), name("churn"), 1, tags(&[("a", "1"), ("b", "2")]))
                .await
                .unwrap();
            store
                .delete_version_tag(write(5), name("churn"), 1, "a".to_owned())
                .await
                .unwrap();
            store
                .delete_version_tag(write(5), name("churn"), 1, "a".to_owned())
                .await
                .unwrap();
            let now = store
                .version(&ws(), &name("churn"), &VersionBy::Number(1))
                .await
                .unwrap();
            assert_eq!((now.tags.clone(), now.updated), (tags(&[("b", "2")]), at(2)));
            assert_ne!(now.etag(), changed.etag());
            let missing = store
                .set_version_tags(write(6), name("churn"), 2, tags(&[("a", "1")]))
                .await
                .unwrap_err();
            assert_eq!(not_found(&missing), "model version churn/2");
            let missing = store
                .delete_version_tag(write(6), name("x"), 1, "a".to_owned())
                .await
                .unwrap_err();
            assert_eq!(not_found(&missing), "registered model x");
            assert!(store.create_version(write(7), new_version("x")).await.is_err());
        })
    })
    .await;
}

#[tokio::test]
async fn a_version_in_production_is_deleted_only_by_force() {
    on_both(|store| {
        Box::pin(async move {
            add_model(&store, "churn").await;
            add_version(&store, "churn", 1).await;
            add_version(&store, "churn", 2).await;
            go(&store, "churn", 2, Stage::Production, false, 3).await;
            store
                .move_alias(write(4), point("churn", "champion", Some(2)))
                .await
                .unwrap();
            let refused = store
                .delete_version(write(5), name("churn"), 2, false)
                .await
                .unwrap_err();
            assert_eq!(refused.reason(), Reason::VersionInProduction);
            store
                .delete_version(write(6), name("churn"), 2, true)
                .await
                .unwrap();
            let model = store.model(&ws(), &name("churn")).await.unwrap();
            assert_eq!(
                (model.aliases.len(), model.latest_versions.len(), model.updated),
                (0, 1, at(6))
            );
            assert!(
                store
                    .delete_version(write(7), name("churn"), 2, true)
                    .await
                    .is_err()
            );
        })
    })
    .await;
}
