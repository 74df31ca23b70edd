use super::*;

#[tokio::test]
async fn creating_names_the_run_and_repeats_its_answer() {
    let mut bench = bench().await;
    let request = pb::CreateRunRequest {
        user_id: "me".to_owned(),
        start_time: time(5),
        tags: map(&[("k", "v")]),
        parent_run_id: "p".to_owned(),
        request_id: id(),
        ..Default::default()
    };
    let first = bench
        .client
        .create_run(request.clone())
        .await
        .unwrap()
        .into_inner();
    let again = bench
        .client
        .create_run(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first, again);
    let run = first.run.unwrap();
    assert_eq!(bench.get(&run.run_id).await, run);
    assert_eq!(run.name, run.tags["mlflow.runName"]);
    assert_eq!(
        run.name.split('-').count(),
        3,
        "an adjective, a noun and a number"
    );
    assert_eq!(
        (
            run.parent_run_id.as_str(),
            run.tags["mlflow.parentRunId"].as_str()
        ),
        ("p", "p")
    );
    assert_eq!(
        (run.experiment_id.as_str(), run.status(), run.start_time),
        ("0", pb::RunStatus::Running, time(5))
    );
    assert_eq!(
        run.artifact_uri,
        format!("s3://bucket/root/0/{}/artifacts", run.run_id)
    );
    let unset = bench.run("", "given").await;
    assert_eq!(
        (unset.start_time, unset.tags["mlflow.runName"].as_str()),
        (time(NOW_MS), "given")
    );
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_every_field() {
    let mut bench = bench().await;
    let request = pb::CreateRunRequest {
        name: "a".to_owned(),
        user_id: "u".repeat(300),
        start_time: Some(prost_types::Timestamp { seconds: 1, nanos: 1 }),
        status: 99,
        tags: map(&[("mlflow.runName", "b"), ("mlflow.parentRunId", "q")]),
        parent_run_id: "p".to_owned(),
        ..Default::default()
    };
    let named = fields(bench.client.create_run(request).await);
    assert_eq!(
        named,
        ["user_id", "start_time", "status", "name", "parent_run_id"]
    );
    let unknown = pb::CreateRunRequest {
        experiment_id: "55".to_owned(),
        ..Default::default()
    };
    assert_eq!(why(bench.client.create_run(unknown).await).0, Code::NotFound);
}

#[tokio::test]
async fn updating_follows_the_mask_and_keeps_the_name_tag() {
    let mut bench = bench().await;
    let made = bench.run("", "first").await;
    let update = |run: pb::Run, paths: &[&str]| pb::UpdateRunRequest {
        run: Some(pb::Run {
            run_id: made.run_id.clone(),
            ..run
        }),
        update_mask: if paths.is_empty() { None } else { mask(paths) },
        request_id: String::new(),
    };
    let new = pb::Run {
        name: "second".to_owned(),
        status: pb::RunStatus::Finished.into(),
        end_time: time(9),
        ..Default::default()
    };
    let status_only = bench
        .client
        .update_run(update(new.clone(), &["status"]))
        .await
        .unwrap()
        .into_inner();
    let run = status_only.run.unwrap();
    assert_eq!(
        (run.name.as_str(), run.status(), run.end_time),
        ("first", pb::RunStatus::Finished, None)
    );
    assert!(run.tags.is_empty());
    let stale = pb::Run {
        etag: made.etag.clone(),
        ..new.clone()
    };
    assert_eq!(
        why(bench.client.update_run(update(stale, &[])).await).0,
        Code::Aborted
    );
    bench.client.update_run(update(new, &[])).await.unwrap();
    let run = bench.get(&made.run_id).await;
    assert_eq!(
        (
            run.name.as_str(),
            run.tags["mlflow.runName"].as_str(),
            run.end_time
        ),
        ("second", "second", time(9))
    );
    bench
        .client
        .update_run(update(pb::Run::default(), &["end_time"]))
        .await
        .unwrap();
    assert_eq!(bench.get(&made.run_id).await.end_time, None);

    let stray = bench
        .client
        .update_run(update(pb::Run::default(), &["user_id"]))
        .await;
    assert_eq!(fields(stray), ["update_mask.paths[0]"]);
    let blank = bench
        .client
        .update_run(update(pb::Run::default(), &["name", "status"]))
        .await;
    assert_eq!(fields(blank), ["run.name", "run.status"]);
    let unknown = pb::UpdateRunRequest {
        run: Some(pb::Run {
            run_id: "nope".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(why(bench.client.update_run(unknown).await).0, Code::NotFound);
}

#[tokio::test]
async fn deleted_runs_stay_readable_and_refuse_writes() {
    let mut bench = bench().await;
    let run_id = bench.run("", "a").await.run_id;
    let delete = pb::DeleteRunRequest {
        run_id: run_id.clone(),
        request_id: String::new(),
    };
    bench.client.delete_run(delete.clone()).await.unwrap();
    bench.client.delete_run(delete).await.unwrap();
    assert_eq!(
        bench.get(&run_id).await.lifecycle_stage(),
        pb::LifecycleStage::Deleted
    );
    let tag = pb::DeleteRunTagRequest {
        run_id: run_id.clone(),
        key: "mlflow.runName".to_owned(),
        request_id: String::new(),
    };
    let refused = why(bench.client.delete_run_tag(tag.clone()).await);
    assert_eq!(refused, (Code::FailedPrecondition, "RUN_NOT_ACTIVE".to_owned()));
    let restore = pb::RestoreRunRequest {
        run_id: run_id.clone(),
        request_id: id(),
    };
    bench.client.restore_run(restore.clone()).await.unwrap();
    bench.client.restore_run(restore).await.unwrap();
    bench.client.delete_run_tag(tag.clone()).await.unwrap();
    assert_eq!(why(bench.client.delete_run_tag(tag).await).0, Code::NotFound);
    let unknown = pb::GetRunRequest {
        run_id: "nope".to_owned(),
        columns: vec![],
    };
    assert_eq!(why(bench.client.get_run(unknown).await).0, Code::NotFound);
}

#[tokio::test]
async fn inputs_and_outputs_are_recorded_once() {
    let mut bench = bench().await;
    let run_id = bench.run("", "a").await.run_id;
    let input = |tag: &str| pb::DatasetInput {
        dataset: Some(pb::Dataset {
            name: "d".to_owned(),
            digest: "1".to_owned(),
            source_type: "local".to_owned(),
            source: "{}".to_owned(),
            ..Default::default()
        }),
        tags: map(&[("mlflow.data.context", tag)]),
    };
    let log = |datasets: Vec<pb::DatasetInput>, models: Vec<&str>| pb::LogInputsRequest {
        run_id: run_id.clone(),
        datasets,
        models: models
            .iter()
            .map(|id| pb::ModelInput {
                model_id: (*id).to_owned(),
            })
            .collect(),
        request_id: id(),
    };
    let first = log(vec![input("train")], vec!["m-1"]);
    bench.client.log_inputs(first.clone()).await.unwrap();
    bench.client.log_inputs(first).await.unwrap();
    bench
        .client
        .log_inputs(log(vec![input("test")], vec!["m-1"]))
        .await
        .unwrap();
    let outputs = pb::LogOutputsRequest {
        run_id: run_id.clone(),
        models: vec![pb::ModelOutput {
            model_id: "m-2".to_owned(),
            step: 4,
        }],
        request_id: id(),
    };
    bench.client.log_outputs(outputs.clone()).await.unwrap();
    bench.client.log_outputs(outputs).await.unwrap();
    let run = bench.get(&run_id).await;
    assert_eq!(run.dataset_inputs, [input("train")]);
    assert_eq!(
        (
            run.model_inputs.len(),
            run.model_outputs.len(),
            run.model_outputs[0].step
        ),
        (1, 1, 4)
    );
    let bad = pb::DatasetInput {
        dataset: None,
        tags: map(&[]),
    };
    let named = fields(bench.client.log_inputs(log(vec![bad], vec![""])).await);
    assert_eq!(named, ["datasets[0].dataset", "models[0].model_id"]);
}

#[tokio::test]
async fn searching_runs_pages_in_order_and_projects() {
    let mut bench = bench().await;
    let experiment = bench.experiment("e").await.experiment_id;
    let mut ids = Vec::new();
    for (i, loss) in [0.3, f64::NAN, 0.1, 0.2].into_iter().enumerate() {
        let run = bench.run(&experiment, &format!("r{i}")).await;
        bench
            .log(&run.run_id, &[("loss", loss), ("acc", 1.0)], &[("lr", "0.1")])
            .await;
        ids.push(run.run_id);
    }
    ids.push(bench.run(&experiment, "none").await.run_id);
    let search = |token: &str| pb::SearchRunsRequest {
        experiment_ids: vec![experiment.clone(), "99".to_owned()],
        filter: "params.lr = '0.1' OR name = 'none'".to_owned(),
        order_by: vec!["metrics.loss".to_owned()],
        page_size: 2,
        page_token: token.to_owned(),
        lifecycle_stage: pb::LifecycleStage::Active.into(),
        columns: vec!["metrics.loss".to_owned(), "status".to_owned()],
    };
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let page = bench
            .client
            .search_runs(search(&token))
            .await
            .unwrap()
            .into_inner();
        found.extend(page.runs);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let seen: Vec<&str> = found.iter().map(|run| run.run_id.as_str()).collect();
    assert_eq!(seen, [&ids[2], &ids[3], &ids[0], &ids[1], &ids[4]]);
    assert_eq!(
        (
            found[0].metrics.len(),
            found[0].params.len(),
            found[0].name.as_str()
        ),
        (1, 0, "")
    );
    assert_eq!(found[0].status(), pb::RunStatus::Running);

    let nowhere = pb::SearchRunsRequest {
        experiment_ids: vec![],
        ..search("")
    };
    assert!(
        bench
            .client
            .search_runs(nowhere)
            .await
            .unwrap()
            .into_inner()
            .runs
            .is_empty()
    );
    let foreign = bench
        .client
        .search_runs(in_workspace(search(""), "other"))
        .await
        .unwrap()
        .into_inner();
    assert!(foreign.runs.is_empty());
    for (request, reason) in [
        (
            pb::SearchRunsRequest {
                filter: "x".to_owned(),
                ..search("")
            },
            "INVALID_FILTER",
        ),
        (
            pb::SearchRunsRequest {
                order_by: vec!["x".to_owned()],
                ..search("")
            },
            "INVALID_ORDER",
        ),
        (
            pb::SearchRunsRequest {
                page_token: "x".to_owned(),
                ..search("")
            },
            "INVALID_PAGE_TOKEN",
        ),
        (
            pb::SearchRunsRequest {
                page_size: -1,
                ..search("")
            },
            "INVALID_FIELD",
        ),
        (
            pb::SearchRunsRequest {
                columns: vec!["x".to_owned()],
                ..search("")
            },
            "INVALID_FIELD",
        ),
    ] {
        let refused = why(bench.client.search_runs(request).await);
        assert_eq!(refused, (Code::InvalidArgument, reason.to_owned()));
    }
    let many = pb::SearchRunsRequest {
        experiment_ids: (0..1_001).map(|i| i.to_string()).collect(),
        ..search("")
    };
    assert_eq!(fields(bench.client.search_runs(many).await), ["experiment_ids"]);
}
