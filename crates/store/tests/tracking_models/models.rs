//! Logged models one by one, and the data sets that were used.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_model_lives_from_its_creation_to_the_bin() {
    on_both(|under| {
        Box::pin(async move {
            let experiment = under.experiment("e").await;
            let model = under.model(experiment, "m").await;
            assert!(model.id.as_str().starts_with("m-"));
            let uri = format!("s3://bucket/{experiment}/models/{}/artifacts", model.id);
            assert_eq!(
                (model.artifact_uri.as_str(), model.status),
                (uri.as_str(), LoggedModelStatus::Pending)
            );
            assert_eq!(under.get(&model.id).await, model);
            let other = Workspace::parse("other").unwrap();
            assert_eq!(
                reason(under.store.logged_model(&other, &model.id, true).await),
                Reason::ResourceNotFound
            );

            let ready = under
                .store
                .finalize_logged_model(write_at(9), model.id.clone(), LoggedModelStatus::Ready)
                .await;
            let ready = value(ready.unwrap());
            assert_eq!((ready.status, ready.updated), (LoggedModelStatus::Ready, at(9)));

            for _ in 0..2 {
                under
                    .store
                    .delete_logged_model(write(), model.id.clone())
                    .await
                    .unwrap();
            }
            let gone = under.store.logged_model(&ws(), &model.id, false).await;
            assert_eq!(reason(gone), Reason::ResourceNotFound);
            assert!(!under.get(&model.id).await.lifecycle.is_active());
            let late = under
                .store
                .set_logged_model_tags(write(), model.id.clone(), tags(&[]))
                .await;
            assert_eq!(reason(late), Reason::LoggedModelNotActive);
            let unknown = under
                .store
                .delete_logged_model(write(), ModelId::generate())
                .await;
            assert_eq!(reason(unknown), Reason::ResourceNotFound);
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn params_are_write_once_and_tags_are_not() {
    on_both(|under| {
        Box::pin(async move {
            let id = under.model(ExperimentId::DEFAULT, "m").await.id;
            let log = |pairs: &[(&str, &str)]| {
                under
                    .store
                    .log_logged_model_params(write(), id.clone(), params(pairs))
            };
            log(&[("depth", "3"), ("rate", "0.1")]).await.unwrap();
            assert_eq!(
                reason(log(&[("new", "1"), ("depth", "4")]).await),
                Reason::ParamAlreadySet
            );
            let now = under.get(&id).await;
            assert_eq!(now.params.keys().collect::<Vec<_>>(), ["depth", "rate"]);

            let tagged = under
                .store
                .set_logged_model_tags(write(), id.clone(), tags(&[("team", "x"), ("b", "")]))
                .await;
            assert_eq!(value(tagged.unwrap()).tags.len(), 2);
            let remove = |key: &str| {
                under
                    .store
                    .delete_logged_model_tag(write(), id.clone(), key.to_owned())
            };
            remove("b").await.unwrap();
            let missing = remove("b").await.unwrap_err();
            assert!(matches!(missing, Error::NotFound(r) if r.name == "b"));
            assert_eq!(under.get(&id).await.tags, tags(&[("team", "x")]).into_map());
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_makes_one_model_and_a_deleted_experiment_none() {
    on_both(|under| {
        Box::pin(async move {
            let request = Some(RequestId::generate());
            let create = |body: &'static [u8]| {
                let write = Write::new(
                    caller(),
                    "Create",
                    request,
                    || body.to_vec(),
                    at(1),
                    |m: &LoggedModel| m.id.as_str().as_bytes().to_vec(),
                );
                under
                    .store
                    .create_logged_model(write, new_model(ExperimentId::DEFAULT, "m"))
            };
            let first = value(create(b"a").await.unwrap());
            let again = create(b"a").await.unwrap();
            assert_eq!(again, Outcome::Replay(first.id.as_str().as_bytes().to_vec()));
            assert_eq!(reason(create(b"b").await), Reason::RequestIdReused);
            assert_eq!(under.count("logged_models").await, 1);

            let experiment = under.experiment("e").await;
            under.store.delete_experiment(write(), experiment).await.unwrap();
            let late = under
                .store
                .create_logged_model(write(), new_model(experiment, "m"))
                .await;
            assert_eq!(reason(late), Reason::ExperimentNotActive);
            let nowhere = under
                .store
                .create_logged_model(write(), new_model(ExperimentId::new(99), "m"))
                .await;
            assert_eq!(reason(nowhere), Reason::ResourceNotFound);
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_point_of_a_model_is_shown_in_its_order() {
    on_both(|under| {
        Box::pin(async move {
            let model = under.model(ExperimentId::DEFAULT, "m").await;
            let run = under.run(ExperimentId::DEFAULT).await;
            let points = vec![
                measured(&model, "loss", ("b", "1"), f64::NAN, 3, 3),
                measured(&model, "loss", ("a", "1"), 2.0, 2, 2),
                measured(&model, "loss", ("a", "1"), 1.0, 1, 1),
                measured(&model, "acc", ("", ""), -0.0, 9, 0),
            ];
            under.log(&run, points.clone()).await;
            under.log(&run, points).await;
            let shown: Vec<_> = under
                .get(&model.id)
                .await
                .metrics
                .into_iter()
                .map(|p| {
                    (
                        p.key,
                        p.source.dataset_name,
                        p.point.step,
                        p.point.value.to_bits(),
                        p.run,
                    )
                })
                .collect();
            let expected = [
                ("acc", "", 0, -0.0),
                ("loss", "a", 1, 1.0),
                ("loss", "a", 2, 2.0),
                ("loss", "b", 3, f64::NAN),
            ];
            let expected: Vec<_> = expected
                .map(|(k, d, s, v): (_, _, i64, f64)| {
                    (k.to_owned(), d.to_owned(), s, v.to_bits(), run.id.clone())
                })
                .into();
            assert_eq!(shown, expected);
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn used_data_sets_are_listed_once_per_context_page_by_page() {
    on_both(|under| {
        Box::pin(async move {
            let (e, f) = (under.experiment("e").await, under.experiment("f").await);
            for (experiment, name, context) in [
                (e, "b", "train"),
                (e, "b", "train"),
                (e, "b", "eval"),
                (e, "a", ""),
                (f, "a", "train"),
            ] {
                let run = under.run(experiment).await;
                let dataset = Dataset {
                    name: name.to_owned(),
                    digest: "1".to_owned(),
                    source_type: "local".to_owned(),
                    source: "{}".to_owned(),
                    schema: String::new(),
                    profile: String::new(),
                };
                let labels = [("mlflow.data.context".to_owned(), context.to_owned())];
                let tags = labels.into_iter().filter(|(_, v)| !v.is_empty()).collect();
                let inputs = LoggedInputs {
                    datasets: vec![DatasetInput { dataset, tags }],
                    models: vec![],
                };
                under.store.log_inputs(write(), run.id, inputs).await.unwrap();
            }
            let (mut found, mut token) = (Vec::new(), String::new());
            loop {
                let request = page(1, &token);
                let next = under
                    .store
                    .search_datasets(&ws(), &[e, f], &request)
                    .await
                    .unwrap();
                token = next.token(request.query);
                found.extend(next.items);
                if token.is_empty() {
                    break;
                }
            }
            let found: Vec<_> = found
                .iter()
                .map(|d| (d.experiment, d.name.as_str(), d.context.as_str()))
                .collect();
            assert_eq!(
                found,
                [
                    (e, "a", ""),
                    (e, "b", "eval"),
                    (e, "b", "train"),
                    (f, "a", "train")
                ]
            );
            let other = Workspace::parse("other").unwrap();
            let none = under
                .store
                .search_datasets(&other, &[e], &page(9, ""))
                .await
                .unwrap();
            assert!(none.items.is_empty());
        })
    })
    .await;
}
