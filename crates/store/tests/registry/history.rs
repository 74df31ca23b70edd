//! What a model URI meant at a past time.

use lodeway_domain::registry::ModelRef;

use super::*;

async fn meant(store: &Store, uri: &str, ms: i64) -> Result<i64, String> {
    let reference = ModelRef::parse("uri", uri).unwrap();
    store
        .resolve_at(&ws(), &reference, at(ms))
        .await
        .map(|v| v.version)
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
            assert_eq!(
                meant(&store, "models:/a/2", 49).await,
                Err("model version a/2".to_owned()),
                "gone since"
            );
            store.delete_model(write(60), name("b"), false).await.unwrap();
            assert!(meant(&store, "models:/b/1", 59).await.is_err());
        })
    })
    .await;
}
