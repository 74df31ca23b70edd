//! Many callers at once: no deadlock, no gap, no effect twice.

use std::collections::{BTreeMap, BTreeSet};

use lodeway_proto::{
    registry::v1::{CreateModelVersionRequest, CreateRegisteredModelRequest},
    tracking::v1::{
        CreateExperimentRequest, CreateRunRequest, GetRunRequest, LogBatchRequest, SearchRunsRequest,
    },
};
use lodeway_testkit::platform::{Platform, Settings, Shape};
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::{batch, history, new_run, point, points, postgres, request_id, started};

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_writers_share_eight_connections() {
    const RUNS: usize = 50;
    let settings = Settings::on(postgres().await).env("LODEWAY_STORE__POOL_SIZE", "8");
    let house = started(Shape::Embedded, settings).await;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(new_run(&house).await);
    }
    let clients: Vec<_> = (0..10).map(|_| house.tracking()).collect();
    let mut writers = JoinSet::new();
    for writer in 0..500 {
        let (mut client, run_id) = (clients[writer % 10].clone(), runs[writer % RUNS].clone());
        writers.spawn(async move {
            let key = format!("writer{writer}");
            for part in 0..3 {
                client
                    .log_batch(batch(&run_id, points(&key, part * 10, 10)))
                    .await
                    .unwrap();
            }
        });
    }
    writers.join_all().await;
    for (number, run_id) in runs.iter().enumerate() {
        let request = GetRunRequest {
            run_id: run_id.clone(),
            columns: Vec::new(),
        };
        let run = house
            .tracking()
            .get_run(request)
            .await
            .unwrap()
            .into_inner()
            .run
            .unwrap();
        assert_eq!(run.metrics.len(), 500 / RUNS);
        let found = history(&house, run_id, &format!("writer{number}")).await.unwrap();
        assert_eq!(found, points(&format!("writer{number}"), 0, 30));
    }
}

async fn opposite_orders(house: Platform) {
    let run_id = new_run(&house).await;
    let mut writers = JoinSet::new();
    for writer in 0..4_u32 {
        let (mut client, run_id) = (house.tracking(), run_id.clone());
        writers.spawn(async move {
            for round in 0..25_i64 {
                let mut keys: Vec<String> = (0..40).map(|n| format!("key{n:02}")).collect();
                if writer % 2 == 1 {
                    keys.reverse();
                }
                let step = round * 4 + i64::from(writer);
                let request = LogBatchRequest {
                    run_id: run_id.clone(),
                    metrics: keys.iter().map(|key| point(key, step, 1.0)).collect(),
                    tags: keys
                        .iter()
                        .map(|key| (key.clone(), step.to_string()))
                        .collect::<BTreeMap<_, _>>(),
                    ..LogBatchRequest::default()
                };
                client.log_batch(request).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    assert_eq!(history(&house, &run_id, "key07").await.unwrap().len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn opposite_key_orders_do_not_deadlock() {
    opposite_orders(started(Shape::Embedded, Settings::on(postgres().await)).await).await;
    opposite_orders(started(Shape::Embedded, Settings::default()).await).await;
}

async fn thousand_versions(house: Platform) {
    let model = CreateRegisteredModelRequest {
        name: "busy".to_owned(),
        ..CreateRegisteredModelRequest::default()
    };
    house.registry().create_registered_model(model).await.unwrap();
    let clients: Vec<_> = (0..8).map(|_| house.registry()).collect();
    let mut creators = JoinSet::new();
    for number in 0..1_000 {
        let mut client = clients[number % 8].clone();
        creators.spawn(async move {
            let request = CreateModelVersionRequest {
                name: "busy".to_owned(),
                source: "s3://bucket/model".to_owned(),
                ..CreateModelVersionRequest::default()
            };
            let answer = client.create_model_version(request).await.unwrap();
            answer.into_inner().model_version.unwrap().version
        });
    }
    let given: BTreeSet<i64> = creators.join_all().await.into_iter().collect();
    assert_eq!(given, (1..=1_000).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_parallel_versions_have_no_gap_on_sqlite() {
    thousand_versions(started(Shape::Split, Settings::default()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_parallel_versions_have_no_gap_on_postgres() {
    thousand_versions(started(Shape::Embedded, Settings::on(postgres().await)).await).await;
}

async fn one_effect(house: Platform) {
    let experiment = CreateExperimentRequest {
        name: "once".to_owned(),
        request_id: request_id(),
        ..CreateExperimentRequest::default()
    };
    let mut same = JoinSet::new();
    for _ in 0..20 {
        let (mut client, request) = (house.tracking(), experiment.clone());
        same.spawn(async move {
            let answer = client.create_experiment(request).await.unwrap();
            answer.into_inner().experiment.unwrap().experiment_id
        });
    }
    let ids: BTreeSet<String> = same.join_all().await.into_iter().collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let experiment_id = ids.into_iter().next().unwrap();

    let run = CreateRunRequest {
        experiment_id: experiment_id.clone(),
        request_id: request_id(),
        ..CreateRunRequest::default()
    };
    let mut same = JoinSet::new();
    for _ in 0..20 {
        let (mut client, request) = (house.tracking(), run.clone());
        same.spawn(async move {
            client
                .create_run(request)
                .await
                .unwrap()
                .into_inner()
                .run
                .unwrap()
                .run_id
        });
    }
    let ids: BTreeSet<String> = same.join_all().await.into_iter().collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let search = SearchRunsRequest {
        experiment_ids: vec![experiment_id],
        ..SearchRunsRequest::default()
    };
    let runs = house
        .tracking()
        .search_runs(search)
        .await
        .unwrap()
        .into_inner()
        .runs;
    assert_eq!(runs.len(), 1);

    let model = CreateRegisteredModelRequest {
        name: "once".to_owned(),
        request_id: request_id(),
        ..CreateRegisteredModelRequest::default()
    };
    for _ in 0..2 {
        house
            .registry()
            .create_registered_model(model.clone())
            .await
            .unwrap();
    }
    let version = CreateModelVersionRequest {
        name: "once".to_owned(),
        source: "s3://bucket/model".to_owned(),
        request_id: request_id(),
        ..CreateModelVersionRequest::default()
    };
    let mut same = JoinSet::new();
    for _ in 0..20 {
        let (mut client, request) = (house.registry(), version.clone());
        same.spawn(async move {
            let answer = client.create_model_version(request).await.unwrap();
            answer.into_inner().model_version.unwrap().version
        });
    }
    assert_eq!(same.join_all().await, [1; 20]);

    let other = CreateRunRequest {
        name: "another".to_owned(),
        ..run
    };
    let refused = house.tracking().create_run(other).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(crate::support::reason(&refused), "REQUEST_ID_REUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_has_one_effect() {
    crate::support::on_both(one_effect).await;
    one_effect(started(Shape::Embedded, Settings::on(postgres().await)).await).await;
}
