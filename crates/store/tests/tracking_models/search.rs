//! Searches for logged models.

use super::*;

fn by(source: Source, key: &str, descending: bool, dataset: Option<(&str, &str)>) -> ModelOrder {
    ModelOrder {
        by: OrderBy {
            field: Field::new(source, key),
            descending,
        },
        dataset: dataset.map(filter),
    }
}

fn filter((name, digest): (&str, &str)) -> DatasetFilter {
    DatasetFilter {
        name: name.to_owned(),
        digest: (!digest.is_empty()).then(|| digest.to_owned()),
    }
}

async fn names(
    under: &Under,
    experiments: &[ExperimentId],
    text: &str,
    datasets: &[(&str, &str)],
    order: &[ModelOrder],
) -> Vec<String> {
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let search = LoggedModelSearch {
            experiments: experiments.to_vec(),
            filter: Expr::parse(text, &LOGGED_MODELS).unwrap(),
            datasets: datasets.iter().copied().map(filter).collect(),
            order: order.to_vec(),
            page: page(2, &token),
        };
        let next = under.store.search_logged_models(&ws(), &search).await.unwrap();
        token = next.token(search.page.query);
        found.extend(next.items.into_iter().map(|m| m.name));
        if token.is_empty() {
            return found;
        }
    }
}

/// A filter, its data sets and the models it finds.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

/// Models a to e: a 1 then 9 (older step), b 2, c NaN, d none, e 3 on another data set only.
async fn fill(under: &Under) -> (ExperimentId, ExperimentId) {
    let (first, second) = (under.experiment("first").await, under.experiment("second").await);
    let run = under.run(first).await;
    let mut points = Vec::new();
    for (i, name) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        let experiment = if name == "e" { second } else { first };
        let made = under
            .store
            .create_logged_model(write_at(i64::try_from(i).unwrap()), new_model(experiment, name))
            .await;
        let model = value(made.unwrap());
        match name {
            "a" => {
                points.push(measured(&model, "loss", ("data", "1"), 9.0, 5, 1));
                points.push(measured(&model, "loss", ("data", "1"), 1.0, 5, 2));
            }
            "b" => points.push(measured(&model, "loss", ("data", "1"), 2.0, 1, 1)),
            "c" => points.push(measured(&model, "loss", ("data", "2"), f64::NAN, 1, 1)),
            "e" => points.push(measured(&model, "loss", ("else", "1"), 3.0, 1, 1)),
            _ => {}
        }
    }
    under.log(&run, points).await;
    (first, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_rank_missing_values_last_and_page_through() {
    on_both(|under| {
        Box::pin(async move {
            let (first, second) = fill(&under).await;
            let all = [first, second];
            let order = |terms: Vec<ModelOrder>| {
                let under = under.clone();
                async move { names(&under, &all, "", &[], &terms).await }
            };
            assert_eq!(order(vec![]).await, ["e", "d", "c", "b", "a"]);
            let loss = |descending, dataset| by(Source::Metric, "loss", descending, dataset);
            let name = by(Source::Attribute, "name", false, None);
            assert_eq!(order(vec![loss(false, None)]).await, ["a", "b", "e", "c", "d"]);
            assert_eq!(order(vec![loss(true, None)]).await, ["e", "b", "a", "c", "d"]);
            let on_data = loss(true, Some(("data", "")));
            assert_eq!(
                order(vec![on_data, name.clone()]).await,
                ["b", "a", "c", "d", "e"]
            );
            let on_else = loss(false, Some(("else", "1")));
            assert_eq!(
                order(vec![on_else, loss(true, None)]).await,
                ["e", "b", "a", "c", "d"]
            );
            let kind = by(Source::Attribute, "model_type", false, None);
            assert_eq!(
                order(vec![kind, loss(false, None)]).await,
                ["a", "b", "e", "c", "d"]
            );
            let source = by(Source::Attribute, "source_run_id", false, None);
            assert_eq!(order(vec![source, name]).await, ["a", "b", "c", "d", "e"]);
            assert!(names(&under, &[], "", &[], &[]).await.is_empty());
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_see_attributes_labels_and_the_newest_point_of_each_data_set() {
    on_both(|under| {
        Box::pin(async move {
            let (first, second) = fill(&under).await;
            let all = [first, second];
            let order = [by(Source::Attribute, "name", false, None)];
            let cases: [Case; 11] = [
                ("metrics.loss < 3", &[], &["a", "b"]),
                ("metrics.loss > 5", &[], &[]),
                ("metrics.loss = NaN", &[], &["c"]),
                ("metrics.loss > 0", &[("else", "")], &["e"]),
                ("metrics.loss IS NULL", &[("data", "1")], &["c", "d", "e"]),
                ("", &[("data", "1"), ("else", "1")], &["a", "b", "e"]),
                ("", &[("nothing", "")], &[]),
                (
                    "params.depth = '3' AND tags.team != 'a'",
                    &[],
                    &["b", "c", "d", "e"],
                ),
                (
                    "name LIKE 'A%' OR model_type ILIKE 'agent' AND name = 'b'",
                    &[],
                    &["b"],
                ),
                (
                    "status = 'LOGGED_MODEL_PENDING' AND creation_timestamp >= 1700000000003",
                    &[],
                    &["d", "e"],
                ),
                ("name IN ('a', 'e') AND NOT metrics.loss < 3", &[], &["e"]),
            ];
            for (text, datasets, expected) in cases {
                assert_eq!(
                    names(&under, &all, text, datasets, &order).await,
                    expected,
                    "{text}"
                );
            }
            let text = format!("experiment_id = '{second}'");
            assert_eq!(names(&under, &all, &text, &[], &order).await, ["e"]);

            let search = |experiments: &[ExperimentId]| {
                let (under, experiments) = (under.clone(), experiments.to_vec());
                async move { names(&under, &experiments, "", &[], &[]).await }
            };
            let found = LoggedModelSearch {
                experiments: vec![second],
                filter: None,
                datasets: vec![],
                order: vec![],
                page: page(9, ""),
            };
            let found = under
                .store
                .search_logged_models(&ws(), &found)
                .await
                .unwrap()
                .items;
            assert_eq!(found, [under.get(&found[0].id).await]);
            under
                .store
                .delete_logged_model(write(), found[0].id.clone())
                .await
                .unwrap();
            assert!(search(&[second]).await.is_empty());
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_type_is_null() {
    on_both(|under| {
        Box::pin(async move {
            let experiment = under.experiment("types").await;
            for (name, kind) in [("typed", "agent"), ("untyped", "")] {
                let model = NewLoggedModel {
                    model_type: kind.to_owned(),
                    ..new_model(experiment, name)
                };
                under.store.create_logged_model(write(), model).await.unwrap();
            }
            for (filter, expected) in [
                ("model_type IS NULL", &["untyped"][..]),
                ("model_type IS NOT NULL", &["typed"]),
                ("NOT model_type IS NULL AND tags.team = 'typed'", &["typed"]),
                ("model_type IS NULL OR name = 'typed'", &["untyped", "typed"]),
                ("model_type = ''", &["untyped"]),
                ("model_type != 'agent'", &["untyped"]),
            ] {
                assert_eq!(
                    names(&under, &[experiment], filter, &[], &[]).await,
                    expected,
                    "{filter}"
                );
            }
        })
    })
    .await;
}
