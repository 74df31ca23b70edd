//! Removing deleted entities for good.

use super::*;

const TABLES: [&str; 18] = [
    "experiment_tags",
    "runs",
    "params",
    "run_tags",
    "latest_metrics",
    "unindexed_runs",
    "metric_blocks",
    "metric_streams",
    "datasets",
    "dataset_inputs",
    "run_models",
    "logged_models",
    "logged_model_params",
    "logged_model_tags",
    "logged_model_metrics",
    "experiments WHERE experiment_id <> 0",
    "runs WHERE workspace <> 'default'",
    "experiments WHERE workspace <> 'default'",
];

fn begin(request: Option<RequestId>) -> Write<Vec<u8>> {
    Write::new(caller(), "Purge", request, Vec::new, at(100), Clone::clone)
}

fn ids(plan: &PurgePlan) -> Vec<(&'static str, &str, bool)> {
    plan.items
        .iter()
        .map(|i| (i.kind.as_str(), i.id.as_str(), i.held_back_by.is_some()))
        .collect()
}

impl Under {
    async fn planned(&self, filter: &PurgeFilter, limit: usize) -> PurgePlan {
        self.store.plan_purge(&ws(), filter, limit).await.unwrap()
    }

    async fn marked(&self, filter: PurgeFilter, limit: usize) -> PurgePlan {
        value(self.store.mark_purge(&begin(None), filter, limit).await.unwrap())
    }

    async fn purged(&self, filter: PurgeFilter) -> PurgePlan {
        let plan = self.marked(filter, 10_000).await;
        self.store.finish_purge(&ws(), &plan.items).await.unwrap();
        plan
    }

    async fn counts(&self) -> Vec<(&'static str, i64)> {
        let mut counts = Vec::new();
        for table in TABLES {
            counts.push((table, self.count(table).await));
        }
        counts
    }

    /// A run and a logged model that have a row in each table.
    async fn full(&self, experiment: ExperimentId) -> (Run, LoggedModel) {
        let (run, model) = (self.run(experiment).await, self.model(experiment, "m").await);
        self.log(&run, vec![measured(&model, "loss", ("d", "1"), 1.0, 1, 1)])
            .await;
        let batch = LogBatch::new(
            vec![],
            vec![(key("p"), params(&[("p", "1")]).remove(&key("p")).unwrap())],
            tags(&[]),
        );
        self.store
            .log_batch(write(), &run.id, batch.unwrap())
            .await
            .unwrap();
        let dataset = Dataset {
            name: "d".to_owned(),
            digest: "1".to_owned(),
            source_type: "local".to_owned(),
            source: "{}".to_owned(),
            schema: String::new(),
            profile: String::new(),
        };
        let inputs = LoggedInputs {
            datasets: vec![DatasetInput {
                dataset,
                tags: BTreeMap::new(),
            }],
            models: vec![model.id.clone()],
        };
        self.store
            .log_inputs(write(), run.id.clone(), inputs)
            .await
            .unwrap();
        (run, model)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_goes_with_all_that_is_in_it_and_nothing_else() {
    on_both(|under| {
        Box::pin(async move {
            let f = under.experiment("f").await;
            let (kept_run, kept_model) = under.full(f).await;
            let before = under.counts().await;
            let e = under.experiment("e").await;
            let (run, model) = under.full(e).await;
            let only = PurgeFilter {
                experiments: vec![e],
                ..PurgeFilter::default()
            };
            assert_eq!(
                reason(under.store.plan_purge(&ws(), &only, 9).await),
                Reason::NotDeleted
            );
            under.store.delete_experiment(write_at(50), e).await.unwrap();

            let early = PurgeFilter {
                deleted_before: Some(at(50)),
                ..PurgeFilter::default()
            };
            assert!(under.planned(&early, 9).await.items.is_empty());
            let plan = under.planned(&PurgeFilter::default(), 9).await;
            let id = e.to_string();
            let expected = [
                ("logged model", model.id.as_str(), false),
                ("run", run.id.as_str(), false),
                ("experiment", id.as_str(), false),
            ];
            assert_eq!(ids(&plan), expected);
            assert_eq!(under.purged(only.clone()).await, plan);
            assert_eq!(under.purged(only).await, PurgePlan::default());

            assert_eq!(under.counts().await, before);

            under.store.delete_run(write(), kept_run.id).await.unwrap();
            under
                .store
                .delete_logged_model(write(), kept_model.id)
                .await
                .unwrap();
            under.store.delete_experiment(write(), f).await.unwrap();
            under.purged(PurgeFilter::default()).await;
            assert_eq!(under.counts().await, TABLES.map(|table| (table, 0)));
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_version_refers_to_is_held_back() {
    on_both(|under| {
        Box::pin(async move {
            let e = under.experiment("e").await;
            let (by_id, by_uri, free) = (under.run(e).await, under.run(e).await, under.run(e).await);
            let (held, by_name, gone) = (
                under.model(e, "a").await,
                under.model(e, "b").await,
                under.model(e, "c").await,
            );
            let mut references = vec![
                VersionReference {
                    run: Some(by_id.id.clone()),
                    ..reference("u", 1, 1, "n")
                },
                VersionReference {
                    artifact_uri: format!("{}/model", by_uri.artifact_uri),
                    ..reference("u", 2, 1, "n")
                },
                VersionReference {
                    artifact_uri: held.artifact_uri.clone(),
                    ..reference("u", 3, 1, "n")
                },
                VersionReference {
                    artifact_uri: format!("models:/{}", by_name.id),
                    ..reference("u", 4, 1, "n")
                },
                // Not below it, only alike.
                VersionReference {
                    artifact_uri: format!("{}x", free.artifact_uri),
                    ..reference("u", 5, 1, "n")
                },
                VersionReference {
                    model: Some(gone.id.clone()),
                    released: true,
                    ..reference("u", 6, 1, "n")
                },
            ];
            for reference in &references {
                under.record(reference.clone()).await;
            }
            under.store.delete_experiment(write(), e).await.unwrap();
            let plan = under.purged(PurgeFilter::default()).await;
            let holders: BTreeMap<_, _> = plan
                .items
                .iter()
                .map(|i| (i.id.as_str(), i.held_back_by.as_deref()))
                .collect();
            let id = e.to_string();
            let experiment = holders[id.as_str()];
            let version = |n: i64| Some(format!("model version `n/{n}`"));
            assert!(experiment.is_some_and(|text| text.starts_with("model version `n/")));
            for (id, holder) in [
                (by_id.id.as_str(), version(1)),
                (by_uri.id.as_str(), version(2)),
                (held.id.as_str(), version(3)),
                (by_name.id.as_str(), version(4)),
                (free.id.as_str(), None),
                (gone.id.as_str(), None),
            ] {
                assert_eq!(holders[id], holder.as_deref(), "{id}");
            }
            assert_eq!(
                (under.count("runs").await, under.count("logged_models").await),
                (2, 2)
            );

            for reference in &mut references {
                reference.released = true;
                reference.event_seq = 2;
                under.record(reference.clone()).await;
            }
            under.purged(PurgeFilter::default()).await;
            assert_eq!(
                (under.count("runs").await, under.count("experiments").await),
                (0, 1)
            );
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_was_cut_short_goes_on() {
    on_both(|under| {
        Box::pin(async move {
            let e = under.experiment("e").await;
            let run = under.run(e).await;
            let model = under.model(e, "m").await;
            under.store.delete_run(write(), run.id.clone()).await.unwrap();
            under
                .store
                .delete_logged_model(write(), model.id.clone())
                .await
                .unwrap();
            let request = Some(RequestId::generate());
            let begun = under
                .store
                .mark_purge(&begin(request), PurgeFilter::default(), 9)
                .await
                .unwrap();
            let begun = value(begun);
            assert_eq!(begun.items.len(), 2);
            // Nothing finds or restores what is marked.
            let restored = under.store.restore_run(write(), run.id.clone()).await;
            assert_eq!(reason(restored), Reason::ResourceNotFound);
            let found = under.store.logged_model(&ws(), &model.id, true).await;
            assert_eq!(reason(found), Reason::ResourceNotFound);

            // Again, as after a crash: under the same request and in a dry run.
            assert_eq!(under.planned(&PurgeFilter::default(), 9).await, begun);
            let again = under
                .store
                .mark_purge(&begin(request), PurgeFilter::default(), 9)
                .await
                .unwrap();
            assert_eq!(again, Outcome::Done(begun.clone()));
            under.store.finish_purge(&ws(), &begun.items).await.unwrap();
            under.store.finish_purge(&ws(), &begun.items).await.unwrap();
            under.store.record_purge(&begin(request), vec![]).await.unwrap();
            let late = under
                .store
                .mark_purge(&begin(request), PurgeFilter::default(), 9)
                .await
                .unwrap();
            assert_eq!(late, Outcome::Replay(vec![]));
            assert_eq!(
                (under.count("runs").await, under.count("logged_models").await),
                (0, 0)
            );
            assert_eq!(under.count("experiments").await, 2);
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_call_takes_goes_in_several_whatever_is_held_back() {
    on_both(|under| {
        Box::pin(async move {
            let e = under.experiment("e").await;
            let held = under.run(e).await;
            under
                .record(VersionReference {
                    run: Some(held.id.clone()),
                    ..reference("u", 1, 1, "n")
                })
                .await;
            for _ in 0..5 {
                under.run(e).await;
            }
            let empty = under.experiment("empty").await;
            under.store.delete_experiment(write(), empty).await.unwrap();
            under.store.delete_experiment(write(), e).await.unwrap();
            under
                .store
                .delete_experiment(write(), ExperimentId::DEFAULT)
                .await
                .unwrap();
            let (mut calls, mut gone) = (0, 0);
            loop {
                let plan = under.marked(PurgeFilter::default(), 2).await;
                assert!(plan.items.len() <= 2);
                under.store.finish_purge(&ws(), &plan.items).await.unwrap();
                gone += plan.items.iter().filter(|i| i.held_back_by.is_none()).count();
                calls += 1;
                if !plan.more {
                    break;
                }
                assert!(calls < 10);
            }
            assert_eq!(gone, 6);
            assert_eq!(
                (under.count("runs").await, under.count("experiments").await),
                (1, 2)
            );
            let plan = under.planned(&PurgeFilter::default(), 10).await;
            let kinds: Vec<_> = plan.items.iter().map(|i| i.kind).collect();
            assert_eq!(
                kinds,
                [PurgeKind::Run, PurgeKind::Experiment, PurgeKind::Experiment]
            );
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_refers_to_what_is_going() {
    on_both(|under| {
        Box::pin(async move {
            let e = under.experiment("e").await;
            let (run, model) = (under.run(e).await, under.model(e, "m").await);
            under.store.delete_experiment(write(), e).await.unwrap();
            let plan = under.marked(PurgeFilter::default(), 10).await;
            let (around, _) = run.artifact_uri.rsplit_once('/').unwrap();
            let named = VersionReference {
                artifact_uri: String::new(),
                ..reference("u", 1, 1, "n")
            };
            let by_folder = |artifact_uri: String| VersionReference {
                artifact_uri,
                ..named.clone()
            };
            let refused = [
                VersionReference {
                    run: Some(run.id.clone()),
                    ..named.clone()
                },
                VersionReference {
                    model: Some(model.id.clone()),
                    ..named.clone()
                },
                by_folder(format!("{}//model/", run.artifact_uri)),
                by_folder(model.artifact_uri.clone()),
                by_folder(around.to_owned()),
            ];
            for reference in &refused {
                let recorded = under
                    .store
                    .record_version(&caller(), reference.clone(), at(9))
                    .await;
                assert!(matches!(recorded, Err(Error::NotFound(_))), "{reference:?}");
            }
            // Of new versions those whose folders go are told, and the others kept.
            let new: Vec<_> = (20..)
                .zip([
                    &refused[2],
                    &by_folder("s3://elsewhere/other".to_owned()),
                    &refused[4],
                ])
                .map(|(version, reference)| VersionReference {
                    version,
                    event_id: format!("of version {version}"),
                    ..reference.clone()
                })
                .collect();
            let purged = under.store.record_new_versions(&caller(), new, at(9)).await;
            assert_eq!(purged.unwrap(), ["of version 20", "of version 22"]);
            // What is told of anything else, and that something is no reference any more, is taken.
            under.record(by_folder("s3://elsewhere/model".to_owned())).await;
            for (version, reference) in (2..).zip(&refused) {
                let reference = VersionReference {
                    version,
                    released: true,
                    ..reference.clone()
                };
                under.record(reference).await;
            }
            under.store.finish_purge(&ws(), &plan.items).await.unwrap();
            for reference in refused {
                // A version may have been on its way all the time.
                let late = |version| VersionReference {
                    version,
                    ..reference.clone()
                };
                let soon = at(100 + 599_000);
                let recorded = under.store.record_version(&caller(), late(9), soon).await;
                assert!(matches!(recorded, Err(Error::NotFound(_))), "{reference:?}");
                let later = at(101 + 600_000);
                under
                    .store
                    .record_version(&caller(), late(10), later)
                    .await
                    .unwrap();
            }
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_restrict_what_goes() {
    on_both(|under| {
        Box::pin(async move {
            let e = under.experiment("e").await;
            let (a, b) = (under.run(e).await, under.run(e).await);
            let model = under.model(e, "m").await;
            for id in [&a.id, &b.id] {
                under.store.delete_run(write(), id.clone()).await.unwrap();
            }
            under
                .store
                .delete_logged_model(write(), model.id.clone())
                .await
                .unwrap();
            let runs = |ids: &[&RunId]| PurgeFilter {
                runs: ids.iter().map(|id| (*id).clone()).collect(),
                ..PurgeFilter::default()
            };
            let unknown = under.purged(runs(&[&RunId::generate()])).await;
            assert!(unknown.items.is_empty());
            assert_eq!(
                ids(&under.purged(runs(&[&a.id])).await),
                [("run", a.id.as_str(), false)]
            );
            let models = PurgeFilter {
                models: vec![model.id.clone()],
                ..PurgeFilter::default()
            };
            assert_eq!(
                ids(&under.purged(models).await),
                [("logged model", model.id.as_str(), false)]
            );
            under.store.restore_run(write(), b.id.clone()).await.unwrap();
            assert_eq!(
                reason(under.store.mark_purge(&begin(None), runs(&[&b.id]), 9).await),
                Reason::NotDeleted
            );
            assert_eq!(under.count("runs").await, 1);
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_must_stay_hold_back_whatever_they_are_called() {
    on_both(|under| {
        Box::pin(async move {
            let (e, f) = (under.experiment("e").await, under.experiment("f").await);
            let (below, inside, kept) = (under.run(e).await, under.run(e).await, under.run(e).await);
            let (free, model) = (under.run(f).await, under.model(f, "m").await);
            let (around, _) = inside.artifact_uri.rsplit_once('/').unwrap();
            let named = [
                format!("{}//model/", below.artifact_uri.replace("s3:", "s3a:")),
                format!("{around}/?region=x"),
            ];
            for (number, artifact_uri) in (1..).zip(named) {
                let reference = VersionReference {
                    artifact_uri,
                    ..reference("u", number, 1, "n")
                };
                under.record(reference).await;
            }
            for id in [e, f] {
                under.store.delete_experiment(write(), id).await.unwrap();
            }
            let filter = PurgeFilter {
                kept: vec![KeptFolder {
                    artifact_uri: format!("{}/x", kept.artifact_uri),
                    by: "a hold".to_owned(),
                }],
                ..PurgeFilter::default()
            };
            // However few fit one call, all that can go does.
            let mut gone = Vec::new();
            loop {
                let plan = under.marked(filter.clone(), 2).await;
                under.store.finish_purge(&ws(), &plan.items).await.unwrap();
                let going = plan.items.iter().filter(|i| i.held_back_by.is_none());
                gone.extend(going.map(|i| i.id.clone()));
                assert!(gone.len() <= 3, "{gone:?}");
                if !plan.more {
                    break;
                }
            }
            assert_eq!(gone, [model.id.to_string(), free.id.to_string(), f.to_string()]);
            let plan = under.planned(&filter, 9).await;
            let id = e.to_string();
            let held: BTreeMap<_, _> = plan
                .items
                .iter()
                .map(|i| (i.id.as_str(), i.held_back_by.as_deref()))
                .collect();
            let expected = [
                (below.id.as_str(), Some("model version `n/1`")),
                (inside.id.as_str(), Some("model version `n/2`")),
                (kept.id.as_str(), Some("a hold")),
                (id.as_str(), Some("model version `n/1`")),
            ];
            assert_eq!(held, expected.into());
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_marked_and_held_since_keeps_nothing_else_from_going() {
    on_both(|under| {
        Box::pin(async move {
            let e = under.experiment("e").await;
            let (held, other) = (under.run(e).await, under.run(e).await);
            under.store.delete_experiment(write(), e).await.unwrap();
            assert_eq!(under.marked(PurgeFilter::default(), 9).await.items.len(), 3);
            let late = under.run(ExperimentId::DEFAULT).await;
            under.store.delete_run(write(), late.id.clone()).await.unwrap();
            let filter = PurgeFilter {
                kept: vec![KeptFolder {
                    artifact_uri: held.artifact_uri.clone(),
                    by: "a hold".to_owned(),
                }],
                ..PurgeFilter::default()
            };
            let plan = under.purged(filter.clone()).await;
            let id = e.to_string();
            let expected = [
                ("run", other.id.as_str(), false),
                ("run", late.id.as_str(), false),
                ("run", held.id.as_str(), true),
                ("experiment", id.as_str(), true),
            ];
            assert_eq!(ids(&plan), expected);
            let expected = [("run", held.id.as_str(), true), ("experiment", id.as_str(), true)];
            assert_eq!(ids(&under.planned(&filter, 9).await), expected);
            under.purged(PurgeFilter::default()).await;
            assert_eq!(
                (under.count("runs").await, under.count("experiments").await),
                (0, 1)
            );
        })
    })
    .await;
}
