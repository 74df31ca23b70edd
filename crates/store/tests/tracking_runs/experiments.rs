use lodeway_domain::{filter::EXPERIMENTS, tracking::Lifecycle};
use lodeway_store::tracking::ExperimentSearch;

use super::*;

#[tokio::test]
async fn ids_count_up_in_each_workspace_and_names_are_unique_in_it() {
    on_both(|under| {
        Box::pin(async move {
            let first = under.experiment("a").await;
            let second = under.experiment("b").await;
            assert_eq!((first.id.get(), second.id.get()), (1, 2));
            assert_eq!(first.artifact_location, "s3://bucket/1?v=1");
            let taken = under
                .store
                .create_experiment(write("CreateExperiment"), new_experiment("a"), "r")
                .await;
            assert!(matches!(taken, Err(Error::AlreadyExists(_))));

            let other = Workspace::parse("other").unwrap();
            let caller = Arc::new(Caller {
                workspace: other.clone(),
                ..Caller::anonymous()
            });
            let write = Write::new(caller, "CreateExperiment", None, Vec::new, at(1), |_| Vec::new());
            let theirs = value(
                under
                    .store
                    .create_experiment(write, new_experiment("a"), "r")
                    .await
                    .unwrap(),
            );
            assert_eq!(theirs.id.get(), 1);
            assert!(matches!(
                under.store.experiment(&other, second.id).await,
                Err(Error::NotFound(_))
            ));
            assert!(matches!(
                under.store.experiment(&other, ExperimentId::DEFAULT).await,
                Err(Error::NotFound(_))
            ));
        })
    })
    .await;
}

#[tokio::test]
async fn the_default_experiment_appears_once_however_many_ask() {
    on_both(|under| {
        Box::pin(async move {
            let other = Workspace::parse("racing").unwrap();
            let asks = (0..8).map(|i| {
                under
                    .store
                    .ensure_default(&other, if i == 0 { "x/0" } else { "y/0" }, at(i))
            });
            for asked in futures::future::join_all(asks).await {
                asked.unwrap();
            }
            let found = under
                .store
                .experiment(&other, ExperimentId::DEFAULT)
                .await
                .unwrap();
            assert_eq!(
                (found.name.as_str(), found.lifecycle),
                ("Default", Lifecycle::Active)
            );
            assert_eq!(
                under.store.experiment_by_name(&other, "Default").await.unwrap(),
                found
            );
        })
    })
    .await;
}

#[tokio::test]
async fn deleting_and_restoring_takes_the_runs_along() {
    on_both(|under| {
        Box::pin(async move {
            let store = &under.store;
            let experiment = under.experiment("a").await;
            let kept = under.create(new_run(experiment.id, "kept", 0)).await;
            let gone = under.create(new_run(experiment.id, "gone", 1)).await;
            store
                .delete_run(write("DeleteRun"), gone.id.clone())
                .await
                .unwrap();

            store
                .delete_experiment(write("DeleteExperiment"), experiment.id)
                .await
                .unwrap();
            assert!(!under.get(&kept.id).await.lifecycle.is_active());
            let again = store
                .delete_experiment(write("DeleteExperiment"), experiment.id)
                .await;
            assert_eq!(again.unwrap_err().reason(), Reason::ExperimentNotActive);
            let refused = store
                .create_run(write("CreateRun"), new_run(experiment.id, "x", 0))
                .await
                .unwrap_err();
            assert_eq!(refused.reason(), Reason::ExperimentNotActive);
            let refused = store
                .set_experiment_tags(write("SetExperimentTags"), experiment.id, tags(&[("a", "b")]))
                .await;
            assert_eq!(refused.unwrap_err().reason(), Reason::ExperimentNotActive);
            let taken = store
                .create_experiment(write("CreateExperiment"), new_experiment("a"), "r")
                .await;
            assert!(
                matches!(taken, Err(Error::AlreadyExists(_))),
                "the name of a deleted experiment is taken"
            );

            store
                .restore_experiment(write("RestoreExperiment"), experiment.id)
                .await
                .unwrap();
            for run in [&kept, &gone] {
                assert!(
                    under.get(&run.id).await.lifecycle.is_active(),
                    "every run comes back"
                );
            }
            let again = store
                .restore_experiment(write("RestoreExperiment"), experiment.id)
                .await;
            assert!(matches!(again, Err(Error::NotFound(_))));
        })
    })
    .await;
}

#[tokio::test]
async fn names_and_tags_change_under_a_revision() {
    on_both(|under| {
        Box::pin(async move {
            let store = &under.store;
            let made = under.experiment("a").await;
            under.experiment("b").await;
            let name = |name| ExperimentName::parse("name", name).unwrap();
            let rename = |to, at| store.rename_experiment(write("UpdateExperiment"), made.id, name(to), at);
            assert!(matches!(rename("b", None).await, Err(Error::AlreadyExists(_))));
            assert!(matches!(
                rename("c", Some(made.revision + 1)).await,
                Err(Error::Conflict(_))
            ));
            let renamed = value(rename("c", Some(made.revision)).await.unwrap());
            assert_eq!(
                (renamed.name.as_str(), renamed.revision),
                ("c", made.revision + 1)
            );

            store
                .set_experiment_tags(write("S"), made.id, tags(&[("k", "1"), ("l", "2")]))
                .await
                .unwrap();
            store
                .set_experiment_tags(write("S"), made.id, tags(&[("k", "3")]))
                .await
                .unwrap();
            store
                .delete_experiment_tag(write("D"), made.id, "l".to_owned())
                .await
                .unwrap();
            let missing = store
                .delete_experiment_tag(write("D"), made.id, "l".to_owned())
                .await;
            assert!(matches!(missing, Err(Error::NotFound(_))));
            let found = store.experiment(&ws(), made.id).await.unwrap();
            assert_eq!(found.tags, tags(&[("k", "3")]).into_map());
        })
    })
    .await;
}

#[tokio::test]
async fn searching_filters_orders_and_pages() {
    on_both(|under| {
        Box::pin(async move {
            for name in ["team/a", "team/b", "other", "team/c"] {
                under.experiment(name).await;
            }
            let search = |filter: &str, order: &[&str], view, token: &str| ExperimentSearch {
                filter: Expr::parse(filter, &EXPERIMENTS).unwrap(),
                order: OrderBy::parse_list(order, &EXPERIMENTS).unwrap(),
                view,
                page: page(2, token),
            };
            let mut names = Vec::new();
            let mut token = String::new();
            loop {
                let wanted = search("name LIKE 'team/%'", &["name DESC"], View::Active, &token);
                let found = under.store.search_experiments(&ws(), &wanted).await.unwrap();
                token = found.token(wanted.page.query);
                names.extend(found.items.into_iter().map(|e| e.name));
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(names, ["team/c", "team/b", "team/a"]);
            let newest = under
                .store
                .search_experiments(&ws(), &search("", &[], View::All, ""))
                .await
                .unwrap();
            assert_eq!(
                newest.items.iter().map(|e| e.id.get()).collect::<Vec<_>>(),
                [1, 2]
            );
            let none = under
                .store
                .search_experiments(&ws(), &search("", &[], View::Deleted, ""))
                .await
                .unwrap();
            assert!(none.items.is_empty());
        })
    })
    .await;
}

#[tokio::test]
async fn racing_creations_of_one_name_give_one_experiment() {
    on_both(|under| {
        Box::pin(async move {
            let racers = (0..6).map(|_| {
                under
                    .store
                    .create_experiment(write("C"), new_experiment("one"), "r")
            });
            let made = futures::future::join_all(racers).await;
            assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
            let refused = made.into_iter().filter_map(Result::err);
            assert!(refused.into_iter().all(|e| matches!(e, Error::AlreadyExists(_))));
        })
    })
    .await;
}
