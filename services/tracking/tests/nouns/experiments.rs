use super::*;

fn create(name: &str) -> pb::CreateExperimentRequest {
    pb::CreateExperimentRequest {
        name: name.to_owned(),
        tags: map(&[("team", "a")]),
        ..Default::default()
    }
}

fn by_id(id: &str) -> pb::GetExperimentRequest {
    pb::GetExperimentRequest {
        by: Some(pb::get_experiment_request::By::ExperimentId(id.to_owned())),
    }
}

fn by_name(name: &str) -> pb::GetExperimentRequest {
    pb::GetExperimentRequest {
        by: Some(pb::get_experiment_request::By::Name(name.to_owned())),
    }
}

#[tokio::test]
async fn creating_gives_the_next_id_and_repeats_its_answer() {
    let mut bench = bench().await;
    let request = pb::CreateExperimentRequest {
        request_id: id(),
        ..create("one")
    };
    let first = bench
        .client
        .create_experiment(request.clone())
        .await
        .unwrap()
        .into_inner();
    let again = bench
        .client
        .create_experiment(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first, again);
    let made = first.experiment.unwrap();
    assert_eq!(
        (made.experiment_id.as_str(), made.artifact_location.as_str()),
        ("1", "s3://bucket/root/1")
    );
    assert_eq!(
        (made.create_time, made.tags["team"].as_str()),
        (time(NOW_MS), "a")
    );

    let other = pb::CreateExperimentRequest {
        name: "two".to_owned(),
        ..request
    };
    let reused = why(bench.client.create_experiment(other).await);
    assert_eq!(reused, (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned()));
    let taken = why(bench.client.create_experiment(create("one")).await);
    assert_eq!(taken, (Code::AlreadyExists, "RESOURCE_EXISTS".to_owned()));
    let location = pb::CreateExperimentRequest {
        artifact_location: "s3://b/x#y".to_owned(),
        ..create("two")
    };
    assert_eq!(
        fields(bench.client.create_experiment(location).await),
        ["artifact_location"]
    );
    for own in [
        "mlflow-artifacts:/datasets/u",
        "mlflow-artifacts:/workspaces/team-a/evaluations",
        "mlflow-artifacts:/here/../there",
        "MLFLOW-ARTIFACTS:/here/%2e%2e/there",
    ] {
        let location = pb::CreateExperimentRequest {
            artifact_location: own.to_owned(),
            ..create("two")
        };
        let refused = fields(bench.client.create_experiment(location).await);
        assert_eq!(refused, ["artifact_location"], "{own}");
    }
    let bad = pb::CreateExperimentRequest {
        tags: map(&[("a*", "b")]),
        ..create(" ")
    };
    assert_eq!(
        fields(bench.client.create_experiment(bad).await),
        ["name", "tags[a*]"]
    );
}

#[tokio::test]
async fn every_workspace_has_its_default_experiment_and_sees_only_its_own() {
    let mut bench = bench().await;
    bench.experiment("one").await;
    for (workspace, folder) in [
        ("default", "s3://bucket/root/0"),
        ("other", "s3://bucket/root/workspaces/other/0"),
    ] {
        let found = bench
            .client
            .get_experiment(in_workspace(by_id("0"), workspace))
            .await
            .unwrap()
            .into_inner();
        let found = found.experiment.unwrap();
        assert_eq!(
            (found.name.as_str(), found.artifact_location.as_str()),
            ("Default", folder)
        );
    }
    let foreign = why(bench
        .client
        .get_experiment(in_workspace(by_id("1"), "other"))
        .await);
    assert_eq!(foreign, (Code::NotFound, "RESOURCE_NOT_FOUND".to_owned()));
    let request = pb::CreateExperimentRequest {
        name: "theirs".to_owned(),
        ..Default::default()
    };
    let made = bench
        .client
        .create_experiment(in_workspace(request, "other"))
        .await
        .unwrap()
        .into_inner();
    let made = made.experiment.unwrap();
    assert_eq!(
        made.artifact_location,
        format!("s3://bucket/root/workspaces/other/{}", made.experiment_id)
    );
    for unknown in [by_id("77"), by_id("abc"), by_name("nope")] {
        assert_eq!(why(bench.client.get_experiment(unknown).await).0, Code::NotFound);
    }
    let unnamed = bench
        .client
        .get_experiment(pb::GetExperimentRequest { by: None })
        .await;
    assert_eq!(fields(unnamed), ["by"]);
    let found = bench
        .client
        .get_experiment(by_name("one"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found.experiment.unwrap().experiment_id, "1");
}

#[tokio::test]
async fn updating_follows_the_mask_and_the_etag() {
    let mut bench = bench().await;
    let made = bench.experiment("one").await;
    let update = |name: &str, etag: &str, paths: &[&str]| pb::UpdateExperimentRequest {
        experiment: Some(pb::Experiment {
            experiment_id: made.experiment_id.clone(),
            name: name.to_owned(),
            etag: etag.to_owned(),
            ..Default::default()
        }),
        update_mask: if paths.is_empty() { None } else { mask(paths) },
        request_id: String::new(),
    };
    let stray = bench
        .client
        .update_experiment(update("two", "", &["name", "tags"]))
        .await;
    assert_eq!(fields(stray), ["update_mask.paths[1]"]);
    let stale = why(bench.client.update_experiment(update("two", "99", &[])).await);
    assert_eq!(stale, (Code::Aborted, "ETAG_MISMATCH".to_owned()));
    assert_eq!(
        why(bench.client.update_experiment(update("", "", &[])).await).0,
        Code::InvalidArgument
    );
    let request = pb::UpdateExperimentRequest {
        request_id: id(),
        ..update("two", &made.etag, &["name"])
    };
    let changed = bench
        .client
        .update_experiment(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(changed.experiment.as_ref().unwrap().name, "two");
    // Its etag is stale by now, but a repetition is answered as before.
    assert_eq!(
        bench
            .client
            .update_experiment(request)
            .await
            .unwrap()
            .into_inner(),
        changed
    );
}

#[tokio::test]
async fn deleting_and_restoring_refuse_to_be_done_twice_unless_repeated() {
    let mut bench = bench().await;
    let made = bench.experiment("one").await;
    let run = bench.run(&made.experiment_id, "r").await;
    let delete = |request_id: String| pb::DeleteExperimentRequest {
        experiment_id: made.experiment_id.clone(),
        request_id,
    };
    let once = delete(id());
    bench.client.delete_experiment(once.clone()).await.unwrap();
    bench.client.delete_experiment(once).await.unwrap();
    assert_eq!(
        why(bench.client.delete_experiment(delete(id())).await),
        (Code::FailedPrecondition, "EXPERIMENT_NOT_ACTIVE".to_owned())
    );
    assert_eq!(
        bench.get(&run.run_id).await.lifecycle_stage(),
        pb::LifecycleStage::Deleted
    );
    let tags = pb::SetExperimentTagsRequest {
        experiment_id: made.experiment_id.clone(),
        tags: map(&[("k", "v")]),
        request_id: String::new(),
    };
    let refused = why(bench.client.set_experiment_tags(tags).await);
    assert_eq!(
        refused,
        (Code::FailedPrecondition, "EXPERIMENT_NOT_ACTIVE".to_owned())
    );
    let restore = pb::RestoreExperimentRequest {
        experiment_id: made.experiment_id.clone(),
        request_id: String::new(),
    };
    bench.client.restore_experiment(restore.clone()).await.unwrap();
    assert_eq!(
        why(bench.client.restore_experiment(restore).await).0,
        Code::NotFound
    );
    assert_eq!(
        bench.get(&run.run_id).await.lifecycle_stage(),
        pb::LifecycleStage::Active
    );
}

#[tokio::test]
async fn tags_are_set_and_removed() {
    let mut bench = bench().await;
    let made = bench.experiment("one").await;
    let set = pb::SetExperimentTagsRequest {
        experiment_id: made.experiment_id.clone(),
        tags: map(&[("a", "1"), ("b", "2")]),
        request_id: id(),
    };
    bench.client.set_experiment_tags(set.clone()).await.unwrap();
    bench.client.set_experiment_tags(set).await.unwrap();
    let delete = pb::DeleteExperimentTagRequest {
        experiment_id: made.experiment_id.clone(),
        key: "a".to_owned(),
        request_id: String::new(),
    };
    bench.client.delete_experiment_tag(delete.clone()).await.unwrap();
    assert_eq!(
        why(bench.client.delete_experiment_tag(delete).await).0,
        Code::NotFound
    );
    let found = bench
        .client
        .get_experiment(by_id("1"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found.experiment.unwrap().tags, map(&[("b", "2")]));
}

#[tokio::test]
async fn searching_pages_and_refuses_foreign_tokens() {
    let mut bench = bench().await;
    for name in ["a", "b", "c"] {
        bench.experiment(name).await;
    }
    let search = |filter: &str, token: &str| pb::SearchExperimentsRequest {
        filter: filter.to_owned(),
        order_by: vec!["name ASC".to_owned()],
        page_size: 3,
        page_token: token.to_owned(),
        lifecycle_stage: pb::LifecycleStage::Active.into(),
    };
    let first = bench
        .client
        .search_experiments(search("", ""))
        .await
        .unwrap()
        .into_inner();
    let names = |page: &pb::SearchExperimentsResponse| {
        page.experiments
            .iter()
            .map(|e| e.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&first), ["Default", "a", "b"]);
    let last = bench
        .client
        .search_experiments(search("", &first.next_page_token))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (names(&last), last.next_page_token.as_str()),
        (vec!["c".to_owned()], "")
    );
    let foreign = why(bench
        .client
        .search_experiments(search("name != 'a'", &first.next_page_token))
        .await);
    assert_eq!(foreign, (Code::InvalidArgument, "INVALID_PAGE_TOKEN".to_owned()));
    let bad = why(bench.client.search_experiments(search("colour = 'a'", "")).await);
    assert_eq!(bad, (Code::InvalidArgument, "INVALID_FILTER".to_owned()));
}
