//! What a user does on a good day, over gRPC and seen again over REST.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use lodeway_proto::{
    artifacts::v1::{GetManifestRequest, ListArtifactsRequest},
    registry::v1::{
        CreateModelVersionRequest, CreateRegisteredModelRequest, DigestState, GetModelVersionRequest,
        ListTransitionsRequest, ResolveModelRequest, RollbackTransitionRequest, SetAliasRequest, Stage,
        TransitionKind, TransitionModelVersionRequest, WatchEventKind, WatchModelVersionsRequest,
        get_model_version_request::By,
    },
    tracking::v1::{
        CreateExperimentRequest, CreateLoggedModelRequest, CreateRunRequest, DeleteLoggedModelRequest,
        FinalizeLoggedModelRequest, GetLoggedModelRequest, GetRunRequest, LogBatchRequest, LogOutputsRequest,
        LoggedModel, LoggedModelStatus, ModelOutput, Param, PurgeRequest, Run, RunStatus, SearchRunsRequest,
        StreamBatch, StreamMetricsRequest, StreamOpening, UpdateRunRequest, WatchRunRequest,
        stream_metrics_request::Kind,
    },
};
use lodeway_testkit::platform::Platform;
use prost::Message as _;
use serde_json::json;

use crate::support::{EPOCH_S, download, eventually, history, http, new_run, on_both, point, points, upload};

const MLMODEL: &[u8] = b"flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n";

/// A run with a batch, as the tests below need it.
async fn trained(house: &Platform) -> (String, Run) {
    let mut tracking = house.tracking();
    let experiment = CreateExperimentRequest {
        name: "team/iris/forest".to_owned(),
        ..CreateExperimentRequest::default()
    };
    let experiment = tracking.create_experiment(experiment).await.unwrap().into_inner();
    let experiment_id = experiment.experiment.unwrap().experiment_id;
    let run = CreateRunRequest {
        experiment_id: experiment_id.clone(),
        name: "first".to_owned(),
        user_id: "ada".to_owned(),
        ..CreateRunRequest::default()
    };
    let run = tracking.create_run(run).await.unwrap().into_inner().run.unwrap();
    let batch = LogBatchRequest {
        run_id: run.run_id.clone(),
        metrics: points("loss", 0, 100),
        params: vec![Param {
            key: "depth".to_owned(),
            value: "7".to_owned(),
        }],
        tags: BTreeMap::from([("team".to_owned(), "iris".to_owned())]),
        ..LogBatchRequest::default()
    };
    tracking.log_batch(batch).await.unwrap();
    (experiment_id, run)
}

/// A logged model of the run, its files written and complete.
async fn logged(house: &Platform, experiment_id: &str, run: &Run) -> LoggedModel {
    let mut tracking = house.tracking();
    let model = CreateLoggedModelRequest {
        experiment_id: experiment_id.to_owned(),
        name: "forest".to_owned(),
        source_run_id: run.run_id.clone(),
        ..CreateLoggedModelRequest::default()
    };
    let model = tracking
        .create_logged_model(model)
        .await
        .unwrap()
        .into_inner()
        .model
        .unwrap();
    assert_eq!(model.status(), LoggedModelStatus::Pending);
    upload(house, &model.artifact_uri, "MLmodel", MLMODEL)
        .await
        .unwrap();
    upload(house, &model.artifact_uri, "data/weights.bin", &vec![7; 5 << 20])
        .await
        .unwrap();
    let outputs = LogOutputsRequest {
        run_id: run.run_id.clone(),
        models: vec![ModelOutput {
            model_id: model.model_id.clone(),
            step: 99,
        }],
        ..LogOutputsRequest::default()
    };
    tracking.log_outputs(outputs).await.unwrap();
    let done = FinalizeLoggedModelRequest {
        model_id: model.model_id.clone(),
        status: LoggedModelStatus::Ready.into(),
        ..FinalizeLoggedModelRequest::default()
    };
    tracking
        .finalize_logged_model(done)
        .await
        .unwrap()
        .into_inner()
        .model
        .unwrap()
}

/// Version 1 of `forest`, made from the logged model.
async fn registered(house: &Platform, run: &Run, model: &LoggedModel) {
    let mut registry = house.registry();
    let name = "forest".to_owned();
    let request = CreateRegisteredModelRequest {
        name: name.clone(),
        ..CreateRegisteredModelRequest::default()
    };
    registry.create_registered_model(request).await.unwrap();
    let version = CreateModelVersionRequest {
        name,
        source: format!("models:/{}", model.model_id),
        run_id: run.run_id.clone(),
        model_id: model.model_id.clone(),
        ..CreateModelVersionRequest::default()
    };
    let version = registry.create_model_version(version).await.unwrap().into_inner();
    let version = version.model_version.unwrap();
    assert_eq!((version.version, version.stage()), (1, Stage::None));
    assert_eq!(version.artifact_uri, model.artifact_uri);
    assert!(!version.source_unchecked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_goes_from_training_to_production() {
    on_both(async |house| {
        let (experiment_id, run) = trained(&house).await;
        let model = logged(&house, &experiment_id, &run).await;
        registered(&house, &run, &model).await;
        finished(&house, &run).await;
        reference_arrives(&house, &model).await;
        digest_arrives(&house, &model).await;
        promoted_and_back(&house).await;
        found_by_search(&house, &experiment_id, &run).await;
        files_come_back(&house, &model).await;
        purge_keeps_what_a_version_holds(&house, &model).await;
    })
    .await;
}

async fn finished(house: &Platform, run: &Run) {
    let request = UpdateRunRequest {
        run: Some(Run {
            run_id: run.run_id.clone(),
            status: RunStatus::Finished.into(),
            ..Run::default()
        }),
        ..UpdateRunRequest::default()
    };
    house.tracking().update_run(request).await.unwrap();
    let request = GetRunRequest {
        run_id: run.run_id.clone(),
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
    assert_eq!(run.status(), RunStatus::Finished);
    assert_eq!(run.metrics.len(), 1);
    assert_eq!((run.metrics[0].step, run.metrics[0].value), (99, 99.0));
    assert_eq!(run.params["depth"], "7");
    assert_eq!(run.tags["team"], "iris");
    assert_eq!(run.model_outputs.len(), 1);
    let curve = history(house, &run.run_id, "loss").await.unwrap();
    assert_eq!(curve, points("loss", 0, 100));
}

/// The registry's outbox tells tracking about the version.
async fn reference_arrives(house: &Platform, model: &LoggedModel) {
    let request = GetLoggedModelRequest {
        model_id: model.model_id.clone(),
        allow_deleted: false,
    };
    let registrations = eventually("the reference is recorded", async || {
        let model = house
            .tracking()
            .get_logged_model(request.clone())
            .await
            .unwrap()
            .into_inner()
            .model?;
        (!model.registrations.is_empty()).then_some(model.registrations)
    })
    .await;
    assert_eq!(registrations.len(), 1);
    assert_eq!(
        (registrations[0].name.as_str(), registrations[0].version),
        ("forest", 1)
    );
}

/// The version's manifest is frozen in the background.
async fn digest_arrives(house: &Platform, model: &LoggedModel) {
    let request = GetModelVersionRequest {
        name: "forest".to_owned(),
        by: Some(By::Version(1)),
    };
    let digest = eventually("the content digest is recorded", async || {
        let answer = house.registry().get_model_version(request.clone()).await.unwrap();
        let version = answer.into_inner().model_version?;
        (version.digest_state() == DigestState::Recorded).then_some(version.content_digest)
    })
    .await;
    let request = GetManifestRequest {
        location: model.artifact_uri.clone(),
        path: String::new(),
    };
    let manifest = house
        .artifacts()
        .get_manifest(request)
        .await
        .unwrap()
        .into_inner();
    let paths: Vec<_> = manifest.artifacts.iter().map(|a| a.path.as_str()).collect();
    assert_eq!(paths, ["MLmodel", "data/weights.bin"]);
    assert_eq!(manifest.content_digest, digest);
}

async fn promoted_and_back(house: &Platform) {
    let mut registry = house.registry();
    let request = TransitionModelVersionRequest {
        name: "forest".to_owned(),
        version: 1,
        stage: Stage::Production.into(),
        comment: "good enough".to_owned(),
        ..TransitionModelVersionRequest::default()
    };
    let moved = registry
        .transition_model_version(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(moved.model_version.unwrap().stage(), Stage::Production);
    let alias = SetAliasRequest {
        name: "forest".to_owned(),
        alias: "champion".to_owned(),
        version: 1,
        ..SetAliasRequest::default()
    };
    registry.set_alias(alias).await.unwrap();
    for uri in [
        "models:/forest/1",
        "models:/forest/Production",
        "models:/forest@champion",
    ] {
        assert_eq!(resolved(house, uri).await, Ok(1), "{uri}");
    }
    let undo = RollbackTransitionRequest {
        transition_id: moved.transitions[0].transition_id,
        comment: "not yet".to_owned(),
        ..RollbackTransitionRequest::default()
    };
    registry.rollback_transition(undo).await.unwrap();
    assert_eq!(
        resolved(house, "models:/forest/Production").await,
        Err(tonic::Code::NotFound)
    );
    registry.transition_model_version(request).await.unwrap();
    let ledger = ListTransitionsRequest {
        name: "forest".to_owned(),
        kinds: vec![TransitionKind::Stage.into()],
        ..ListTransitionsRequest::default()
    };
    let ledger = registry
        .list_transitions(ledger)
        .await
        .unwrap()
        .into_inner()
        .transitions;
    let steps: Vec<_> = ledger
        .iter()
        .map(|t| (t.from_stage(), t.to_stage(), t.comment.as_str()))
        .collect();
    let (none, production) = (Stage::None, Stage::Production);
    assert_eq!(
        steps,
        [
            (none, production, "good enough"),
            (production, none, "not yet"),
            (none, production, "good enough")
        ]
    );
    assert!(
        ledger
            .iter()
            .all(|t| !t.principal.is_empty() && !t.principal_verified)
    );
}

async fn resolved(house: &Platform, uri: &str) -> Result<i64, tonic::Code> {
    let request = ResolveModelRequest {
        uri: uri.to_owned(),
        as_of_time: None,
    };
    match house.registry().resolve_model(request).await {
        Ok(answer) => Ok(answer.into_inner().model_version.unwrap().version),
        Err(status) => Err(status.code()),
    }
}

async fn found_by_search(house: &Platform, experiment_id: &str, run: &Run) {
    let request = SearchRunsRequest {
        experiment_ids: vec![experiment_id.to_owned()],
        filter: "metrics.loss > 98 AND (params.depth = '7' OR tags.team = 'roses')".to_owned(),
        ..SearchRunsRequest::default()
    };
    let found = house
        .tracking()
        .search_runs(request)
        .await
        .unwrap()
        .into_inner()
        .runs;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].run_id, run.run_id);
}

async fn files_come_back(house: &Platform, model: &LoggedModel) {
    let uri = &model.artifact_uri;
    assert_eq!(download(house, uri, "MLmodel", 0).await.unwrap(), MLMODEL);
    let tail = download(house, uri, "data/weights.bin", (5 << 20) - 10)
        .await
        .unwrap();
    assert_eq!(tail, [7; 10]);
    let list = ListArtifactsRequest {
        location: uri.clone(),
        ..ListArtifactsRequest::default()
    };
    let files = house
        .artifacts()
        .list_artifacts(list)
        .await
        .unwrap()
        .into_inner()
        .artifacts;
    let names: Vec<_> = files.iter().map(|a| (a.path.as_str(), a.is_dir)).collect();
    assert_eq!(names, [("MLmodel", false), ("data", true)]);
}

async fn purge_keeps_what_a_version_holds(house: &Platform, model: &LoggedModel) {
    let request = DeleteLoggedModelRequest {
        model_id: model.model_id.clone(),
        ..DeleteLoggedModelRequest::default()
    };
    house.tracking().delete_logged_model(request).await.unwrap();
    let request = PurgeRequest {
        model_ids: vec![model.model_id.clone()],
        ..PurgeRequest::default()
    };
    let purged = house.tracking().purge(request).await.unwrap().into_inner();
    assert_eq!(purged.entities.len(), 1, "{purged:?}");
    assert!(!purged.entities[0].held_back_by.is_empty(), "{purged:?}");
    assert_eq!(
        download(house, &model.artifact_uri, "MLmodel", 0).await.unwrap(),
        MLMODEL
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_shows_the_same_entities() {
    on_both(async |house| {
        let (experiment_id, run) = trained(&house).await;
        let model = logged(&house, &experiment_id, &run).await;
        registered(&house, &run, &model).await;
        let to = house.address();
        let get = |target: &str| http::get(to, &format!("/api/2.0/mlflow/{target}")).json();

        let found = get("experiments/get-by-name?experiment_name=team/iris/forest");
        assert_eq!(found["experiment"]["experiment_id"], experiment_id.as_str());
        let found = get(&format!("runs/get?run_id={}", run.run_id));
        assert_eq!(found["run"]["info"]["run_name"], "first");
        assert_eq!(found["run"]["info"]["artifact_uri"], run.artifact_uri.as_str());
        let latest = &found["run"]["data"]["metrics"][0];
        assert_eq!((&latest["key"], &latest["step"]), (&json!("loss"), &json!(99)));
        let found = get(&format!(
            "metrics/get-history?run_id={}&metric_key=loss",
            run.run_id
        ));
        assert_eq!(found["metrics"].as_array().unwrap().len(), 100);
        let found = get(&format!("logged-models/{}", model.model_id));
        assert_eq!(found["model"]["info"]["status"], "LOGGED_MODEL_READY");
        assert_eq!(found["model"]["info"]["source_run_id"], run.run_id.as_str());
        let found = get("registered-models/get?name=forest");
        assert_eq!(found["registered_model"]["latest_versions"][0]["version"], "1");
        let found = get("model-versions/get-download-uri?name=forest&version=1");
        assert_eq!(found["artifact_uri"], model.artifact_uri.as_str());

        let moved =
            json!({"name": "forest", "version": "1", "stage": "staging", "archive_existing_versions": false});
        let moved = http::post(to, "model-versions/transition-stage", &moved).json();
        assert_eq!(moved["model_version"]["current_stage"], "Staging");
        assert_eq!(resolved(&house, "models:/forest/Staging").await, Ok(1));
        let file = http::get(
            to,
            "/model-versions/get-artifact?name=forest&version=1&path=MLmodel",
        );
        assert_eq!((file.status, file.body.as_slice()), (200, MLMODEL));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rest_writes_grpc_reads() {
    on_both(async |house| {
        let to = house.address();
        let experiment = http::post(to, "experiments/create", &json!({"name": "by-rest"})).json();
        let experiment = experiment["experiment_id"].as_str().unwrap().to_owned();
        let run = json!({"experiment_id": experiment, "run_name": "r", "start_time": 1_700_000_000_000_i64});
        let run = http::post(to, "runs/create", &run).json();
        let run_id = run["run"]["info"]["run_id"].as_str().unwrap().to_owned();
        let batch = json!({
            "run_id": run_id,
            "metrics": [{"key": "acc", "value": 0.5, "timestamp": EPOCH_S * 1000, "step": 0}],
            "params": [{"key": "lr", "value": "0.1"}],
            "tags": [{"key": "k", "value": "v"}],
        });
        assert_eq!(http::post(to, "runs/log-batch", &batch).json(), json!({}));
        assert_eq!(
            history(&house, &run_id, "acc").await.unwrap(),
            [point("acc", 0, 0.5)]
        );

        let target =
            format!("/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run_id}/artifacts/plots/a.txt");
        assert_eq!(http::send(to, "PUT", &target, &[], b"hello").status, 200);
        let listed = http::get(
            to,
            &format!("/api/2.0/mlflow/artifacts/list?run_id={run_id}&path=plots"),
        )
        .json();
        assert_eq!(listed["files"][0]["path"], "plots/a.txt");
        let uri = run["run"]["info"]["artifact_uri"].as_str().unwrap();
        assert_eq!(download(&house, uri, "plots/a.txt", 0).await.unwrap(), b"hello");
        let gone = http::send(to, "DELETE", &target, &[], b"");
        assert_eq!(gone.status, 200);
        assert_eq!(
            download(&house, uri, "plots/a.txt", 0).await.unwrap_err().code(),
            tonic::Code::NotFound
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_come_back_bit_for_bit() {
    on_both(async |house| {
        let run_id = new_run(&house).await;
        let payload = f64::from_bits(0x7ff8_0000_dead_beef);
        let values = [
            payload,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            f64::MIN_POSITIVE,
            f64::from_bits(1),
        ];
        let metrics = values
            .iter()
            .zip(0..)
            .map(|(value, step)| point("odd", step, *value))
            .collect();
        house
            .tracking()
            .log_batch(crate::support::batch(&run_id, metrics))
            .await
            .unwrap();
        let found = history(&house, &run_id, "odd").await.unwrap();
        let bits = |values: &mut dyn Iterator<Item = f64>| values.map(f64::to_bits).collect::<Vec<_>>();
        assert_eq!(
            bits(&mut found.iter().map(|m| m.value)),
            bits(&mut values.into_iter())
        );
    })
    .await;
}

fn opening(run_id: &str, stream_id: &str) -> StreamMetricsRequest {
    let open = StreamOpening {
        run_id: run_id.to_owned(),
        stream_id: stream_id.to_owned(),
    };
    StreamMetricsRequest {
        kind: Some(Kind::Open(open)),
    }
}

fn numbered(sequence: i64) -> StreamMetricsRequest {
    let batch = StreamBatch {
        sequence,
        metrics: points("loss", (sequence - 1) * 10, 10),
    };
    StreamMetricsRequest {
        kind: Some(Kind::Batch(batch)),
    }
}

/// Sends and gives the first and the last acknowledgement.
async fn stream(house: &Platform, messages: Vec<StreamMetricsRequest>) -> (i64, i64) {
    let answers = house
        .tracking()
        .stream_metrics(tokio_stream::iter(messages))
        .await
        .unwrap()
        .into_inner();
    let acks: Vec<_> = answers
        .map(|answer| answer.unwrap().durable_sequence)
        .collect()
        .await;
    assert!(acks.is_sorted(), "{acks:?}");
    (acks[0], acks[acks.len() - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_resumes_where_it_was() {
    on_both(async |house| {
        let run_id = new_run(&house).await;
        let id = crate::support::request_id();
        let first = std::iter::once(opening(&run_id, &id)).chain((1..=50).map(numbered));
        assert_eq!(stream(&house, first.collect()).await, (0, 50));
        // It sends again what it does not know to be durable; nothing is doubled.
        let second = std::iter::once(opening(&run_id, &id)).chain((41..=80).map(numbered));
        assert_eq!(stream(&house, second.collect()).await, (50, 80));
        assert_eq!(
            history(&house, &run_id, "loss").await.unwrap(),
            points("loss", 0, 800)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_an_error_at_what_is_no_message() {
    on_both(async |house| {
        let run_id = new_run(&house).await;
        let open = opening(&run_id, &crate::support::request_id()).encode_to_vec();
        // A batch that says it is longer than the message.
        let torn = vec![0x12, 0x7f, 0x08];
        let messages = [open, numbered(1).encode_to_vec(), torn];
        let framed = messages.iter().flat_map(|message| {
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            [&[0], length.as_slice(), message].concat()
        });
        let body: Vec<u8> = framed.collect();
        let headers = [
            ("content-type", "application/grpc-web+proto"),
            ("x-grpc-web", "1"),
        ];
        let target = "/lodeway.tracking.v1.TrackingService/StreamMetrics";
        let answer = http::send(house.address(), "POST", target, &headers, &body);
        assert!(answer.text().contains("grpc-status:3"), "{}", answer.text());
        // What came before it counts.
        assert_eq!(
            history(&house, &run_id, "loss").await.unwrap(),
            points("loss", 0, 10)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_see_what_others_write() {
    on_both(async |house| {
        let run_id = new_run(&house).await;
        let request = WatchRunRequest {
            run_id: run_id.clone(),
            ..WatchRunRequest::default()
        };
        let mut watch = house.tracking().watch_run(request).await.unwrap().into_inner();
        house
            .tracking()
            .log_batch(crate::support::batch(&run_id, points("loss", 0, 3)))
            .await
            .unwrap();
        let mut seen = Vec::new();
        while seen.len() < 3 {
            let message = watch.message().await.unwrap().unwrap();
            seen.extend(message.points.into_iter().filter_map(|p| p.metric));
        }
        assert_eq!(seen, points("loss", 0, 3));

        let watch = house
            .registry()
            .watch_model_versions(WatchModelVersionsRequest::default())
            .await;
        let mut watch = watch.unwrap().into_inner();
        let synced = watch.message().await.unwrap().unwrap();
        assert_eq!(synced.kind(), WatchEventKind::Synced);
        let name = "watched".to_owned();
        let model = CreateRegisteredModelRequest {
            name: name.clone(),
            ..CreateRegisteredModelRequest::default()
        };
        house.registry().create_registered_model(model).await.unwrap();
        let version = CreateModelVersionRequest {
            name,
            source: format!("runs:/{run_id}/model"),
            run_id,
            ..CreateModelVersionRequest::default()
        };
        house.registry().create_model_version(version).await.unwrap();
        loop {
            let event = watch.message().await.unwrap().unwrap();
            if event.kind() == WatchEventKind::Changed {
                assert_eq!(event.model_version.unwrap().version, 1);
                break;
            }
        }
    })
    .await;
}
