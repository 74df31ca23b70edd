//! Taking back what was done, what was taken back, and what is in the way.

use lodeway_domain::{
    Error, Reason,
    registry::{self, Transition},
};
use lodeway_store::registry::VersionBy;

use super::*;

/// Takes a step back; the entry in the way if there is one.
async fn undo(store: &Store, id: i64, ms: i64) -> Result<Vec<Transition>, i64> {
    match store.rollback(write(ms), id, String::new()).await {
        Ok(entries) => Ok(entries),
        Err(Error::Precondition {
            reason: Reason::SupersededTransition,
            message,
            metadata,
        }) => {
            let by = metadata[0].1.parse().unwrap();
            assert!(message.contains(&format!("`{by}`")), "{message}");
            Err(by)
        }
        other => panic!("{other:?}"),
    }
}

async fn stage_of(store: &Store, version: i64) -> Stage {
    let by = VersionBy::Number(version);
    store.version(&ws(), &name("churn"), &by).await.unwrap().stage
}

async fn pointed(store: &Store) -> Option<i64> {
    let by = VersionBy::Alias(alias("x"));
    store
        .version(&ws(), &name("churn"), &by)
        .await
        .ok()
        .map(|v| v.version)
}

async fn set(store: &Store, version: Option<i64>, ms: i64) -> i64 {
    let moved = store.move_alias(write(ms), point("churn", "x", version)).await;
    moved.unwrap().unwrap().id
}

async fn churn(store: &Store, versions: i64) {
    add_model(store, "churn").await;
    for i in 1..=versions {
        add_version(store, "churn", i).await;
    }
}

#[tokio::test]
async fn stages_are_taken_back_step_by_step_and_done_again() {
    on_both(|store| {
        Box::pin(async move {
            churn(&store, 1).await;
            let mut ids = Vec::new();
            for (stage, ms) in [
                (Stage::Staging, 10),
                (Stage::Production, 11),
                (Stage::Archived, 12),
            ] {
                ids.push(go(&store, "churn", 1, stage, false, ms).await.transitions[0].id);
            }
            let [one, two, three] = ids[..] else { panic!() };
            assert_eq!(undo(&store, one, 13).await, Err(three));
            let undo_three = undo(&store, three, 14).await.unwrap()[0].id;
            assert_eq!(undo(&store, one, 15).await, Err(two));
            assert_eq!(undo(&store, three, 15).await, Err(undo_three));
            let undo_two = undo(&store, two, 16).await.unwrap()[0].id;
            assert_eq!(stage_of(&store, 1).await, Stage::Staging);

            // Done again, it is in the way again.
            let redo_two = undo(&store, undo_two, 17).await.unwrap()[0].id;
            assert_eq!(stage_of(&store, 1).await, Stage::Production);
            assert_eq!(undo(&store, one, 18).await, Err(two));
            assert_eq!(undo(&store, undo_two, 18).await, Err(redo_two));
            // Either the redoing or what was done again can be taken back.
            let last = undo(&store, two, 19).await.unwrap()[0].id;
            let listed = store.transitions(&ws(), &whole_ledger()).await.unwrap().items;
            let back = listed.iter().find(|entry| entry.id == two).unwrap();
            assert_eq!(back.rolled_back_by, last);
            undo(&store, one, 20).await.unwrap();
            assert_eq!(stage_of(&store, 1).await, Stage::None);
        })
    })
    .await;
}

#[tokio::test]
async fn promotions_that_archive_are_taken_back_step_by_step() {
    on_both(|store| {
        Box::pin(async move {
            churn(&store, 3).await;
            let mut ids = Vec::new();
            for version in 1..=3 {
                let moved = go(&store, "churn", version, Stage::Production, true, 10 + version).await;
                ids.extend(moved.transitions.iter().map(|entry| entry.id));
            }
            let [one, two, archived_one, _, archived_two] = ids[..] else {
                panic!()
            };
            assert_eq!(undo(&store, one, 20).await, Err(archived_one));
            // Any entry of a step stands for it.
            assert_eq!(undo(&store, archived_two, 21).await.unwrap().len(), 2);
            assert_eq!(undo(&store, two, 22).await.unwrap().len(), 2);
            assert_eq!(stage_of(&store, 1).await, Stage::Production);
            undo(&store, one, 23).await.unwrap();
            for version in 1..=3 {
                assert_eq!(stage_of(&store, version).await, Stage::None);
            }
        })
    })
    .await;
}

#[tokio::test]
async fn aliases_are_taken_back_step_by_step_unless_their_version_is_gone() {
    on_both(|store| {
        Box::pin(async move {
            churn(&store, 3).await;
            let one = set(&store, Some(1), 10).await;
            let two = set(&store, Some(2), 11).await;
            let gone = set(&store, None, 12).await;
            assert_eq!(undo(&store, one, 13).await, Err(gone));
            undo(&store, gone, 14).await.unwrap();
            assert_eq!(undo(&store, one, 15).await, Err(two));
            let back = undo(&store, two, 16).await.unwrap()[0].id;
            undo(&store, one, 17).await.unwrap();
            assert_eq!(pointed(&store).await, None);
            assert!(undo(&store, back, 18).await.is_err());

            // A deletion between a change and its rollback is not passed over with them.
            set(&store, Some(1), 20).await;
            let moved = set(&store, Some(2), 21).await;
            let further = set(&store, Some(3), 22).await;
            store
                .delete_version(write(23), name("churn"), 1, false)
                .await
                .unwrap();
            let deletion = store.transitions(&ws(), &whole_ledger()).await.unwrap().items[0].id;
            undo(&store, further, 24).await.unwrap();
            assert_eq!(undo(&store, moved, 25).await, Err(deletion));
            assert_eq!(pointed(&store).await, Some(2));
        })
    })
    .await;
}

/// The search of the database and the rule over the whole ledger agree, whatever was done and taken back.
#[tokio::test]
async fn what_is_found_in_the_way_is_what_the_rule_finds() {
    on_both(|store| {
        Box::pin(async move {
            churn(&store, 3).await;
            let stages = [Stage::None, Stage::Staging, Stage::Production, Stage::Archived];
            let mut state = 7_u64;
            let mut below = |n: u64| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % n
            };
            let mut taken_back = 0;
            for ms in 100..260 {
                // The third is deleted on the way.
                let versions = if ms < 220 { 3 } else { 2 };
                let version = i64::try_from(below(versions)).unwrap() + 1;
                match below(10) {
                    _ if ms == 220 => {
                        let third = store.delete_version(write(ms), name("churn"), 3, true).await;
                        third.unwrap();
                    }
                    0..3 => {
                        let stage = stages[usize::try_from(below(4)).unwrap()];
                        let archives = stage != Stage::Archived && stage != Stage::None && below(2) == 0;
                        go(&store, "churn", version, stage, archives, ms).await;
                    }
                    3 => {
                        let to = Some(version).filter(|_| below(3) > 0);
                        store
                            .move_alias(write(ms), point("churn", "x", to))
                            .await
                            .unwrap();
                    }
                    _ => {
                        let mut ledger = store.transitions(&ws(), &whole_ledger()).await.unwrap().items;
                        ledger.reverse();
                        let is_move =
                            |t: &&Transition| t.id == t.group_id && (t.stages.is_some() || t.alias.is_some());
                        let moves: Vec<i64> = ledger.iter().filter(is_move).map(|t| t.id).collect();
                        let movable: Vec<&Transition> =
                            ledger.iter().filter(|t| moves.contains(&t.group_id)).collect();
                        let Some(count) = u64::try_from(movable.len()).ok().filter(|n| *n > 0) else {
                            continue;
                        };
                        // One of the newest, where there is most to take back.
                        let index = count - 1 - below(count.min(16));
                        let id = movable[usize::try_from(index).unwrap()].id;
                        let chosen = ledger.iter().find(|t| t.id == id).unwrap().group_id;
                        let (group, others): (Vec<Transition>, Vec<Transition>) =
                            ledger.into_iter().partition(|t| t.group_id == chosen);
                        let rule = match registry::rollback(id, &group, &others) {
                            Ok(changes) => Ok(changes.len()),
                            Err(Error::Precondition { metadata, .. }) => Err(metadata[0].1.parse().unwrap()),
                            other => panic!("{other:?}"),
                        };
                        let found = undo(&store, id, ms).await.map(|entries| entries.len());
                        assert_eq!(found, rule, "entry {id} at {ms}");
                        taken_back += usize::from(found.is_ok());
                    }
                }
            }
            assert!(taken_back > 20, "{taken_back}");
        })
    })
    .await;
}
