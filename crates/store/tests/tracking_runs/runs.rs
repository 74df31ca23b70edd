use lodeway_domain::{
    id::ModelId,
    tracking::{Dataset, DatasetInput, LoggedInputs, ModelOutput, PARENT_RUN_TAG, RUN_NAME_TAG, RunUpdate},
};
use lodeway_store::ledger::changes::{self, ChangeFilter};

use super::*;

#[tokio::test]
async fn a_run_comes_back_as_it_was_recorded() {
    on_both(|under| {
        Box::pin(async move {
            let experiment = under.experiment("a").await;
            let made = under.create(new_run(experiment.id, "first", 5)).await;
            assert_eq!(
                made.artifact_uri,
                format!("s3://bucket/1/{}/artifacts?v=1", made.id)
            );
            assert_eq!(
                (made.id.as_str().len(), made.status, made.ended),
                (32, RunStatus::Running, None)
            );
            let points = vec![
                metric("loss", 0.5, 1),
                metric("loss", f64::NAN, 2),
                metric("acc", 0.1, 0),
            ];
            under
                .log(&made.id, batch(points, &[("lr", "0.1")], &[("team", "x")]))
                .await;
            let found = under.get(&made.id).await;
            let metrics: Vec<_> = found
                .metrics
                .iter()
                .map(|m| (m.key.as_str(), m.point.step))
                .collect();
            assert_eq!(metrics, [("acc", 0), ("loss", 2)]);
            assert_eq!(found.params["lr"], "0.1");
            assert_eq!(
                found.tags,
                tags(&[("mlflow.runName", "first"), ("team", "x")]).into_map()
            );

            let columns = Projection::parse(&["metrics.acc", "tags.team", "tags.nowhere"], &RUNS).unwrap();
            let part = under.store.run(&ws(), &made.id, &columns).await.unwrap();
            assert_eq!(
                (part.metrics.len(), part.params.len(), part.tags.len()),
                (1, 0, 1)
            );
            let other = Workspace::parse("other").unwrap();
            assert!(matches!(
                under.store.run(&other, &made.id, &columns).await,
                Err(Error::NotFound(_))
            ));
            let unknown = under
                .store
                .create_run(write("C"), new_run(ExperimentId::new(99), "x", 0))
                .await;
            assert!(matches!(unknown, Err(Error::NotFound(_))));
        })
    })
    .await;
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_the_tag_follows_the_name() {
    on_both(|under| {
        Box::pin(async move {
            let store = &under.store;
            let mut new = new_run(ExperimentId::DEFAULT, "first", 0);
            new.tags.set(PARENT_RUN_TAG, "p");
            let made = under.create(new).await;
            let update = |update| store.update_run(write("UpdateRun"), made.id.clone(), update);
            let ended = RunUpdate {
                status: Some(RunStatus::Finished),
                ended: Some(Some(at(9))),
                ..RunUpdate::default()
            };
            let run = value(update(ended).await.unwrap());
            assert_eq!(
                (run.status, run.ended, run.name.as_str()),
                (RunStatus::Finished, Some(at(9)), "first")
            );
            assert_eq!(run.parent(), Some("p"));
            let stale = RunUpdate {
                if_revision: Some(made.revision),
                ..RunUpdate::default()
            };
            assert!(matches!(update(stale).await, Err(Error::Conflict(_))));
            update(RunUpdate {
                name: Some("second".to_owned()),
                ended: Some(None),
                ..RunUpdate::default()
            })
            .await
            .unwrap();
            let run = under.get(&made.id).await;
            assert_eq!(
                (run.name.as_str(), run.tags[RUN_NAME_TAG].as_str(), run.ended),
                ("second", "second", None)
            );
            under
                .log(&made.id, batch(vec![], &[], &[(RUN_NAME_TAG, "third")]))
                .await;
            assert_eq!(under.get(&made.id).await.name, "third");
        })
    })
    .await;
}

#[tokio::test]
async fn deleting_is_repeatable_and_deleted_runs_refuse_writes() {
    on_both(|under| {
        Box::pin(async move {
            let store = &under.store;
            let made = under.create(new_run(ExperimentId::DEFAULT, "a", 0)).await;
            for _ in 0..2 {
                store
                    .delete_run(write("DeleteRun"), made.id.clone())
                    .await
                    .unwrap();
            }
            let update = RunUpdate {
                status: Some(RunStatus::Killed),
                ..RunUpdate::default()
            };
            let refusals = [
                store
                    .update_run(write("U"), made.id.clone(), update)
                    .await
                    .map(|_| ()),
                store
                    .delete_run_tag(write("D"), made.id.clone(), RUN_NAME_TAG.to_owned())
                    .await
                    .map(|_| ()),
                store
                    .log_inputs(write("I"), made.id.clone(), LoggedInputs::default())
                    .await
                    .map(|_| ()),
                store
                    .log_outputs(write("O"), made.id.clone(), vec![])
                    .await
                    .map(|_| ()),
            ];
            for refusal in refusals {
                assert_eq!(refusal.unwrap_err().reason(), Reason::RunNotActive);
            }
            for _ in 0..2 {
                store
                    .restore_run(write("RestoreRun"), made.id.clone())
                    .await
                    .unwrap();
            }
            assert!(under.get(&made.id).await.lifecycle.is_active());
            store
                .delete_run_tag(write("D"), made.id.clone(), RUN_NAME_TAG.to_owned())
                .await
                .unwrap();
            let missing = store
                .delete_run_tag(write("D"), made.id.clone(), "never".to_owned())
                .await;
            assert!(matches!(missing, Err(Error::NotFound(_))));
            let unknown = store
                .delete_run(write("D"), RunId::parse("unknown").unwrap())
                .await;
            assert!(matches!(unknown, Err(Error::NotFound(_))));
        })
    })
    .await;
}

fn input(name: &str, context: &str) -> DatasetInput {
    let dataset = Dataset {
        name: name.to_owned(),
        digest: "d".to_owned(),
        source_type: "local".to_owned(),
        source: "{}".to_owned(),
        schema: String::new(),
        profile: String::new(),
    };
    DatasetInput {
        dataset,
        tags: tags(&[("mlflow.data.context", context)]).into_map(),
    }
}

#[tokio::test]
async fn inputs_keep_their_first_tags_and_their_order() {
    on_both(|under| {
        Box::pin(async move {
            let store = &under.store;
            let made = under.create(new_run(ExperimentId::DEFAULT, "a", 0)).await;
            let inputs = |names: &[&str], context| LoggedInputs {
                datasets: names.iter().map(|name| input(name, context)).collect(),
                models: vec![ModelId::parse("m-1").unwrap()],
            };
            store
                .log_inputs(write("I"), made.id.clone(), inputs(&["z", "a", "z"], "train"))
                .await
                .unwrap();
            store
                .log_inputs(write("I"), made.id.clone(), inputs(&["a", "m"], "test"))
                .await
                .unwrap();
            let output = |id: &str, step| ModelOutput {
                model: ModelId::parse(id).unwrap(),
                step,
            };
            store
                .log_outputs(
                    write("O"),
                    made.id.clone(),
                    vec![output("m-2", 7), output("m-1", 3)],
                )
                .await
                .unwrap();
            let run = under.get(&made.id).await;
            let seen: Vec<_> = run
                .inputs
                .datasets
                .iter()
                .map(|i| (i.dataset.name.as_str(), i.tags["mlflow.data.context"].as_str()))
                .collect();
            assert_eq!(seen, [("z", "train"), ("a", "train"), ("m", "test")]);
            assert_eq!(run.inputs.models.len(), 1);
            assert_eq!(run.outputs, [output("m-2", 7), output("m-1", 3)]);
        })
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_has_one_effect_and_each_change_is_noted() {
    on_both(|under| {
        Box::pin(async move {
            let id = RequestId::generate();
            let create = |body: &'static [u8]| {
                let encode = |run: &Run| run.id.as_str().as_bytes().to_vec();
                Write::new(caller(), "CreateRun", Some(id), || body.to_vec(), at(1), encode)
            };
            let new = || new_run(ExperimentId::DEFAULT, "a", 0);
            let first = value(under.store.create_run(create(b"x"), new()).await.unwrap());
            let again = under.store.create_run(create(b"x"), new()).await.unwrap();
            assert_eq!(again, Outcome::Replay(first.id.as_str().as_bytes().to_vec()));
            let reused = under.store.create_run(create(b"y"), new()).await.unwrap_err();
            assert_eq!(reused.reason(), Reason::RequestIdReused);
            let all = under
                .store
                .search_runs(&ws(), &query(&[ExperimentId::DEFAULT], "", &[], 10))
                .await
                .unwrap();
            assert_eq!(all.items.len(), 1);

            under
                .store
                .delete_run(write("D"), first.id.clone())
                .await
                .unwrap();
            let mut reader = under.db.read().await.unwrap();
            let filter = ChangeFilter {
                entity: Some("run"),
                entity_id: Some(first.id.as_str()),
                workspace: None,
            };
            let noted = changes::after(&mut reader, 0, filter, 10).await.unwrap();
            assert_eq!(
                noted.changes.iter().map(|c| c.version).collect::<Vec<_>>(),
                [1, 2]
            );
        })
    })
    .await;
}
