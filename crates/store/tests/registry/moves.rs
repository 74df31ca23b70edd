//! Stages, aliases, the ledger, rollback.

use lodeway_domain::{
    Error, Reason,
    registry::{Transition, TransitionKind},
};
use lodeway_store::registry::{RegistryEvent, VersionBy};

use super::*;

async fn stages(store: &Store, model: &str) -> Vec<Stage> {
    let mut request = search(&format!("name = '{model}'"), &["version"], 100, &MODEL_VERSIONS);
    request.page.size = 100;
    store
        .search_versions(&ws(), &request)
        .await
        .unwrap()
        .items
        .iter()
        .map(|v| v.stage)
        .collect()
}

async fn churn(store: &Store, versions: i64) {
    add_model(store, "churn").await;
    for i in 1..=versions {
        add_version(store, "churn", i).await;
    }
}

#[tokio::test]
async fn a_promotion_archives_and_is_recorded() {
    on_both(|store| {
        Box::pin(async move {
            churn(&store, 3).await;
            go(&store, "churn", 1, Stage::Production, false, 10).await;
            go(&store, "churn", 2, Stage::Production, false, 11).await;
            let moved = go(&store, "churn", 3, Stage::Production, true, 12).await;
            assert_eq!(
                (moved.version.stage, moved.version.updated),
                (Stage::Production, at(12))
            );
            assert_eq!(
                stages(&store, "churn").await,
                [Stage::Archived, Stage::Archived, Stage::Production]
            );
            let told: Vec<_> = moved
                .transitions
                .iter()
                .map(|t| (t.version, t.stages.unwrap()))
                .collect();
            assert_eq!(
                told,
                [
                    (3, (Stage::None, Stage::Production)),
                    (1, (Stage::Production, Stage::Archived)),
                    (2, (Stage::Production, Stage::Archived)),
                ]
            );
            let group = moved.transitions[0].id;
            assert!(
                moved
                    .transitions
                    .iter()
                    .all(|t| t.group_id == group && t.principal == "ada" && t.principal_verified)
            );
            assert_eq!(
                (&*moved.transitions[0].comment, moved.transitions[0].created),
                ("to Production", at(12))
            );
            assert_eq!(store.model(&ws(), &name("churn")).await.unwrap().updated, at(12));

            let again = go(&store, "churn", 3, Stage::Production, false, 13).await;
            assert_eq!((again.transitions.len(), again.version.updated), (0, at(13)));
            let listed = store.transitions(&ws(), &whole_ledger()).await.unwrap().items;
            assert_eq!(listed.len(), 1 + 3 + 2 + 3);
            assert!(listed.windows(2).all(|pair| pair[0].id > pair[1].id));
            let mut stored: Vec<Transition> = listed.into_iter().take(3).collect();
            stored.reverse();
            assert_eq!(stored, moved.transitions);
            let missing = Move {
                name: name("churn"),
                version: 9,
                stage: Stage::Staging,
                archives_existing: false,
                comment: String::new(),
            };
            assert_eq!(
                not_found(&store.transition(write(1), missing, None).await.unwrap_err()),
                "model version churn/9"
            );
        })
    })
    .await;
}

#[tokio::test]
async fn the_ledger_is_listed_by_model_version_kind_and_page() {
    on_both(|store| {
        Box::pin(async move {
            churn(&store, 2).await;
            add_model(&store, "fraud").await;
            go(&store, "churn", 2, Stage::Staging, false, 10).await;
            store
                .move_alias(write(11), point("churn", "x", Some(1)))
                .await
                .unwrap();
            store
                .move_alias(write(12), point("churn", "x", Some(2)))
                .await
                .unwrap();
            let count =
                async |query: LedgerQuery| store.transitions(&ws(), &query).await.unwrap().items.len();
            assert_eq!(
                count(LedgerQuery {
                    name: Some(name("churn")),
                    ..whole_ledger()
                })
                .await,
                6
            );
            let of_two = LedgerQuery {
                name: Some(name("churn")),
                version: Some(1),
                ..whole_ledger()
            };
            assert_eq!(count(of_two).await, 3);
            let kinds = vec![TransitionKind::Alias, TransitionKind::ModelCreated];
            assert_eq!(
                count(LedgerQuery {
                    kinds,
                    ..whole_ledger()
                })
                .await,
                4
            );
            assert!(
                store
                    .transitions(
                        &ws(),
                        &LedgerQuery {
                            name: Some(name("x")),
                            ..whole_ledger()
                        }
                    )
                    .await
                    .is_err()
            );

            let mut query = whole_ledger();
            query.page.size = 3;
            let mut ids = Vec::new();
            loop {
                let page = store.transitions(&ws(), &query).await.unwrap();
                ids.extend(page.items.iter().map(|t| t.id));
                match page.next {
                    Some(next) => query.page.after = Some(next),
                    None => break,
                }
            }
            assert_eq!(ids.len(), 7);
            assert!(ids.windows(2).all(|pair| pair[0] > pair[1]));
        })
    })
    .await;
}

#[tokio::test]
async fn aliases_move_and_go() {
    on_both(|store| {
        Box::pin(async move {
            churn(&store, 2).await;
            let set = store
                .move_alias(write(10), point("churn", "x", Some(1)))
                .await
                .unwrap()
                .unwrap();
            assert_eq!((set.from_version, set.version, &*set.comment), (0, 1, "why not"));
            assert!(
                store
                    .move_alias(write(11), point("churn", "x", Some(1)))
                    .await
                    .unwrap()
                    .is_none()
            );
            let moved = store
                .move_alias(write(12), point("churn", "x", Some(2)))
                .await
                .unwrap()
                .unwrap();
            assert_eq!((moved.from_version, moved.version), (1, 2));
            let model = store.model(&ws(), &name("churn")).await.unwrap();
            assert_eq!((model.aliases, model.updated), ([(alias("x"), 2)].into(), at(12)));
            let gone = store
                .move_alias(write(13), point("churn", "x", None))
                .await
                .unwrap()
                .unwrap();
            assert_eq!((gone.from_version, gone.version), (2, 0));
            assert!(
                store
                    .move_alias(write(14), point("churn", "x", None))
                    .await
                    .unwrap()
                    .is_none()
            );
            let missing = store
                .move_alias(write(15), point("churn", "x", Some(3)))
                .await
                .unwrap_err();
            assert_eq!(not_found(&missing), "model version churn/3");
            assert_eq!(
                store.model(&ws(), &name("churn")).await.unwrap().updated,
                at(13),
                "nothing of it is kept"
            );
        })
    })
    .await;
}

#[tokio::test]
async fn a_rollback_takes_the_whole_group_back() {
    on_both(|store| {
        Box::pin(async move {
            churn(&store, 2).await;
            go(&store, "churn", 1, Stage::Production, false, 10).await;
            let promoted = go(&store, "churn", 2, Stage::Production, true, 11)
                .await
                .transitions;
            // Any member names the group.
            let back = store
                .rollback(write(12), promoted[1].id, "oops".to_owned())
                .await
                .unwrap();
            assert_eq!(stages(&store, "churn").await, [Stage::Production, Stage::None]);
            assert_eq!(
                back.iter()
                    .map(|t| (t.version, t.rollback_of))
                    .collect::<Vec<_>>(),
                [(1, promoted[1].id), (2, promoted[0].id)]
            );
            assert!(
                back.iter()
                    .all(|t| t.comment == "oops" && t.group_id == back[0].id)
            );
            let listed = store.transitions(&ws(), &whole_ledger()).await.unwrap().items;
            let original = listed.iter().find(|t| t.id == promoted[0].id).unwrap();
            assert_eq!(original.rolled_back_by, back[1].id);

            let twice = store
                .rollback(write(13), promoted[0].id, String::new())
                .await
                .unwrap_err();
            let Error::Precondition { reason, metadata, .. } = twice else {
                panic!()
            };
            assert_eq!(
                (reason, &*metadata[0].1),
                (Reason::SupersededTransition, &*back[0].id.to_string())
            );
            let forth = store
                .rollback(write(14), back[0].id, String::new())
                .await
                .unwrap();
            assert_eq!(
                (forth.len(), stages(&store, "churn").await),
                (2, vec![Stage::Archived, Stage::Production])
            );
        })
    })
    .await;
}

#[tokio::test]
async fn a_rollback_is_refused_after_later_changes() {
    on_both(|store| {
        Box::pin(async move {
            churn(&store, 3).await;
            let superseded = async |id: i64| match store.rollback(write(50), id, String::new()).await {
                Err(Error::Precondition {
                    reason: Reason::SupersededTransition,
                    metadata,
                    ..
                }) => metadata[0].1.parse::<i64>().unwrap(),
                other => panic!("{other:?}"),
            };
            let first = go(&store, "churn", 1, Stage::Staging, false, 10)
                .await
                .transitions[0]
                .id;
            let second = go(&store, "churn", 1, Stage::Production, false, 11)
                .await
                .transitions[0]
                .id;
            assert_eq!(superseded(first).await, second);
            store.rollback(write(12), second, String::new()).await.unwrap();

            let set = store
                .move_alias(write(13), point("churn", "x", Some(2)))
                .await
                .unwrap()
                .unwrap();
            let moved = store
                .move_alias(write(14), point("churn", "x", Some(3)))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(superseded(set.id).await, moved.id);
            store
                .delete_version(write(15), name("churn"), 2, false)
                .await
                .unwrap();
            let deletion = store.transitions(&ws(), &whole_ledger()).await.unwrap().items[0].id;
            assert_eq!(superseded(moved.id).await, deletion);

            let invalid = store
                .rollback(write(16), deletion, String::new())
                .await
                .unwrap_err();
            assert_eq!(invalid.reason(), Reason::InvalidField);
            assert!(store.rollback(write(16), 9999, String::new()).await.is_err());
            store.delete_model(write(17), name("churn"), true).await.unwrap();
            assert!(superseded(first).await > 0);
        })
    })
    .await;
}

#[tokio::test]
async fn an_alias_rollback_restores_or_removes_it() {
    on_both(|store| {
        Box::pin(async move {
            churn(&store, 2).await;
            store
                .move_alias(write(10), point("churn", "x", Some(1)))
                .await
                .unwrap();
            let moved = store
                .move_alias(write(11), point("churn", "x", Some(2)))
                .await
                .unwrap()
                .unwrap();
            let by = VersionBy::Alias(alias("x"));
            let back = store.rollback(write(12), moved.id, String::new()).await.unwrap();
            assert_eq!(
                store.version(&ws(), &name("churn"), &by).await.unwrap().version,
                1
            );
            store
                .rollback(write(14), back[0].id, String::new())
                .await
                .unwrap();
            assert_eq!(
                store.version(&ws(), &name("churn"), &by).await.unwrap().version,
                2
            );
            let gone = store
                .move_alias(write(15), point("churn", "x", None))
                .await
                .unwrap()
                .unwrap();
            store.rollback(write(16), gone.id, String::new()).await.unwrap();
            assert_eq!(
                store.version(&ws(), &name("churn"), &by).await.unwrap().version,
                2
            );
        })
    })
    .await;
}

#[tokio::test]
async fn changes_of_one_version_side_by_side_follow_each_other() {
    on_both(|store| {
        Box::pin(async move {
            add_model(&store, "churn").await;
            add_version(&store, "churn", 1).await;
            let stages = [Stage::Staging, Stage::Production, Stage::Archived];
            let tasks: Vec<_> = (0..60)
                .map(|i| {
                    let store = store.clone();
                    #[expect(clippy::disallowed_methods, reason = "a test waits for its own tasks")]
                    tokio::spawn(async move {
                        let (number, label) = (i64::try_from(i).unwrap(), i.to_string());
                        if i % 3 == 0 {
                            let tags = tags(&[(&label, "v")]);
                            let write = write(2 + number);
                            store
                                .set_version_tags(write, name("churn"), 1, tags)
                                .await
                                .unwrap();
                        } else {
                            go(&store, "churn", 1, stages[i % 7 % 3], false, 2 + number).await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let found = store
                .version(&ws(), &name("churn"), &VersionBy::Number(1))
                .await
                .unwrap();
            assert_eq!((found.revision, found.tags.len()), (61, 20));
            let events = store.changes_after(&ws(), None, 0, 1000).await.unwrap().events;
            let told: Vec<ModelVersion> = events
                .into_iter()
                .filter_map(|(_, event)| match event {
                    RegistryEvent::Version(version) => Some(*version),
                    _ => None,
                })
                .collect();
            let revisions: Vec<i64> = told.iter().map(|version| version.revision).collect();
            assert_eq!(revisions, (1..=61).collect::<Vec<_>>());
            assert_eq!(told.last(), Some(&found));
            // Each step of the ledger begins where the one before it ended.
            let mut steps = store.transitions(&ws(), &whole_ledger()).await.unwrap().items;
            steps.retain(|step| step.stages.is_some());
            steps.sort_by_key(|step| step.id);
            let mut at = Stage::None;
            for (from, to) in steps.iter().filter_map(|step| step.stages) {
                assert_eq!(from, at);
                at = to;
            }
            assert_eq!(at, found.stage);
        })
    })
    .await;
}

#[tokio::test]
async fn a_move_after_an_old_look_moves_what_is_there_now() {
    on_both(|store| {
        Box::pin(async move {
            churn(&store, 2).await;
            let (target, request) = (
                Target::Stage(Stage::Staging),
                Move {
                    name: name("churn"),
                    version: 1,
                    stage: Stage::Staging,
                    archives_existing: false,
                    comment: String::new(),
                },
            );
            let look = || async {
                let found = store.before_move(&ws(), (&name("churn"), 1), &target).await;
                found.unwrap().unwrap()
            };
            let old = look().await;
            assert_eq!((old.version.stage, old.is_gated), (Stage::None, false));
            // Changed by somebody else meanwhile.
            go(&store, "churn", 1, Stage::Production, false, 10).await;
            let tags = Tags::from([("by".to_owned(), "eve".to_owned())]);
            store
                .set_version_tags(write(11), name("churn"), 1, tags)
                .await
                .unwrap();
            let now = look().await.version;
            let moved = store
                .transition(write(12), request.clone(), Some(old))
                .await
                .unwrap();
            let entry = moved.transitions.first().unwrap();
            assert_eq!(entry.stages, Some((Stage::Production, Stage::Staging)));
            assert_eq!(moved.version.tags, now.tags);
            assert_eq!(moved.version.revision, now.revision + 1);
            assert_eq!(moved.version, look().await.version);
            // Of the model only: its other version moved.
            let old = look().await;
            go(&store, "churn", 2, Stage::Staging, false, 13).await;
            let back = Move {
                stage: Stage::None,
                ..request
            };
            let moved = store.transition(write(14), back, Some(old)).await.unwrap();
            assert_eq!(moved.version, look().await.version);
            assert_eq!(stages(&store, "churn").await, [Stage::None, Stage::Staging]);
            assert!(
                store
                    .before_move(&ws(), (&name("churn"), 9), &target)
                    .await
                    .unwrap()
                    .is_none()
            );
        })
    })
    .await;
}
