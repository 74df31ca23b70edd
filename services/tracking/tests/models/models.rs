//! Logged models and data sets: done, refused, repeated.

use super::*;

#[tokio::test]
async fn a_model_is_made_finished_and_deleted() {
    let bench = bench().await;
    let request = pb::CreateLoggedModelRequest {
        model_type: "Agent".to_owned(),
        params: labels(&[("depth", "3")]),
        tags: labels(&[("team", "a")]),
        request_id: request_id(),
        ..Default::default()
    };
    let made = bench
        .client()
        .create_logged_model(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        bench
            .client()
            .create_logged_model(request)
            .await
            .unwrap()
            .into_inner(),
        made
    );
    let model = made.model.unwrap();
    assert!(!model.name.is_empty() && model.experiment_id == "0");
    assert_eq!(
        model.artifact_uri,
        format!("mlflow-artifacts:/0/models/{}/artifacts", model.model_id)
    );
    assert_eq!(bench.get(&model.model_id, false).await.unwrap(), model);

    let finalize = |status: pb::LoggedModelStatus| {
        let request = pb::FinalizeLoggedModelRequest {
            model_id: model.model_id.clone(),
            status: status.into(),
            request_id: String::new(),
        };
        let mut client = bench.client();
        async move { client.finalize_logged_model(request).await }
    };
    let refused = finalize(pb::LoggedModelStatus::Pending).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::InvalidField);
    let ready = finalize(pb::LoggedModelStatus::Ready)
        .await
        .unwrap()
        .into_inner()
        .model
        .unwrap();
    assert_eq!(ready.status(), pb::LoggedModelStatus::Ready);

    let delete = pb::DeleteLoggedModelRequest {
        model_id: model.model_id.clone(),
        request_id: request_id(),
    };
    for _ in 0..2 {
        bench.client().delete_logged_model(delete.clone()).await.unwrap();
    }
    assert_eq!(
        reason(&bench.get(&model.model_id, false).await.unwrap_err()),
        Reason::ResourceNotFound
    );
    assert!(bench.get(&model.model_id, true).await.unwrap().deleted);
    let late = finalize(pb::LoggedModelStatus::Ready).await.unwrap_err();
    assert_eq!(reason(&late), Reason::LoggedModelNotActive);
}

#[tokio::test]
async fn bad_fields_are_all_named() {
    let bench = bench().await;
    let request = pb::CreateLoggedModelRequest {
        name: "a/b".to_owned(),
        source_run_id: "../x".to_owned(),
        params: labels(&[("a*", "1")]),
        ..Default::default()
    };
    let status = bench.client().create_logged_model(request).await.unwrap_err();
    let fields: Vec<_> = from_status(&status)
        .violations
        .into_iter()
        .map(|v| v.field)
        .collect();
    assert_eq!(fields.len(), 3, "{fields:?}");
    let nowhere = pb::CreateLoggedModelRequest {
        experiment_id: "77".to_owned(),
        ..Default::default()
    };
    let status = bench.client().create_logged_model(nowhere).await.unwrap_err();
    assert_eq!(reason(&status), Reason::ResourceNotFound);

    let search = pb::SearchLoggedModelsRequest {
        experiment_ids: vec!["0".to_owned()],
        filter: "nothing = 1".to_owned(),
        order_by: vec![pb::LoggedModelOrder {
            field: "params.depth".to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let status = bench.client().search_logged_models(search).await.unwrap_err();
    let reasons: Vec<_> = from_status(&status)
        .violations
        .into_iter()
        .map(|v| v.reason)
        .collect();
    assert_eq!(reasons, ["INVALID_FILTER", "INVALID_ORDER"]);
}

#[tokio::test]
async fn params_and_tags_are_kept_by_their_rules() {
    let bench = bench().await;
    let id = bench.model("0", "m").await.model_id;
    let log = |pairs: Vec<(String, &str)>| {
        let params = pairs.into_iter().map(|(key, value)| pb::Param {
            key,
            value: value.to_owned(),
        });
        let request = pb::LogLoggedModelParamsRequest {
            model_id: id.clone(),
            params: params.collect(),
            request_id: String::new(),
        };
        let mut client = bench.client();
        async move { client.log_logged_model_params(request).await.map(|_| ()) }
    };
    log((0..100).map(|i| (format!("p{i}"), "1")).collect())
        .await
        .unwrap();
    log(vec![("p1".to_owned(), "1")]).await.unwrap();
    assert_eq!(
        reason(&log(vec![("p1".to_owned(), "2")]).await.unwrap_err()),
        Reason::ParamAlreadySet
    );
    let many = log((0..101).map(|i| (format!("q{i}"), "1")).collect()).await;
    assert_eq!(reason(&many.unwrap_err()), Reason::InvalidField);
    let twice = log(vec![("q".to_owned(), "1"), ("q".to_owned(), "2")]).await;
    assert_eq!(reason(&twice.unwrap_err()), Reason::InvalidField);
    assert_eq!(bench.get(&id, false).await.unwrap().params.len(), 100);

    let set = pb::SetLoggedModelTagsRequest {
        model_id: id.clone(),
        tags: labels(&[("a", "1")]),
        request_id: String::new(),
    };
    let tagged = bench
        .client()
        .set_logged_model_tags(set)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(tagged.model.unwrap().tags, labels(&[("a", "1")]));
    let delete = pb::DeleteLoggedModelTagRequest {
        model_id: id.clone(),
        key: "a".to_owned(),
        request_id: String::new(),
    };
    bench
        .client()
        .delete_logged_model_tag(delete.clone())
        .await
        .unwrap();
    let missing = bench.client().delete_logged_model_tag(delete).await.unwrap_err();
    assert_eq!(reason(&missing), Reason::ResourceNotFound);
}

#[tokio::test]
async fn a_search_pages_by_a_metric_on_a_data_set() {
    let bench = bench().await;
    let run = bench.run("0").await;
    for (name, value) in [("a", Some(1.0)), ("b", Some(3.0)), ("c", None), ("d", Some(2.0))] {
        let model = bench.model("0", name).await;
        let Some(value) = value else { continue };
        let request = pb::LogBatchRequest {
            run_id: run.run_id.clone(),
            metrics: vec![pb::Metric {
                key: "val loss".to_owned(),
                value,
                model_id: model.model_id,
                dataset_name: "data".to_owned(),
                dataset_digest: "1".to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        };
        bench.client().log_batch(request).await.unwrap();
    }
    let mut request = pb::SearchLoggedModelsRequest {
        experiment_ids: vec!["0".to_owned(), "99".to_owned()],
        order_by: vec![pb::LoggedModelOrder {
            field: "metrics.val loss".to_owned(),
            descending: true,
            dataset: Some(pb::DatasetFilter {
                dataset_name: "data".to_owned(),
                dataset_digest: String::new(),
            }),
        }],
        page_size: 1,
        ..Default::default()
    };
    let mut names = Vec::new();
    loop {
        let page = bench
            .client()
            .search_logged_models(request.clone())
            .await
            .unwrap()
            .into_inner();
        names.extend(page.models.iter().map(|m| m.name.clone()));
        assert!(
            page.models
                .iter()
                .all(|m| m.metrics.len() == usize::from(m.name != "c"))
        );
        request.page_token = page.next_page_token;
        if names.len() == 2 {
            let mut other = request.clone();
            other.order_by[0].dataset = None;
            let refused = bench.client().search_logged_models(other).await.unwrap_err();
            assert_eq!(reason(&refused), Reason::InvalidPageToken);
        }
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["b", "d", "a", "c"]);
    request.filter = "metrics.\"val loss\" < 2.5".to_owned();
    request.page_size = 0;
    let page = bench
        .client()
        .search_logged_models(request)
        .await
        .unwrap()
        .into_inner();
    let names: Vec<_> = page.models.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["d", "a"]);
}

#[tokio::test]
async fn only_the_registry_says_what_versions_refer_to() {
    let bench = bench().await;
    let model = bench.model("0", "m").await;
    let reference = pb::RecordModelVersionRequest {
        event_id: request_id(),
        event_seq: 1,
        model_uid: "u1".to_owned(),
        name: "registered".to_owned(),
        version: 2,
        model_id: model.model_id.clone(),
        ..Default::default()
    };
    let cx = CallContext::new(Caller::registry(Workspace::default()));
    bench
        .client()
        .record_model_version(cx.request(reference.clone()))
        .await
        .unwrap();
    for principal in ["ci", "lodeway-registry", "service:evaluation"] {
        let cx = CallContext::new(Caller {
            principal: principal.to_owned(),
            verified: true,
            workspace: Workspace::default(),
        });
        let released = pb::RecordModelVersionRequest {
            event_seq: i64::MAX,
            released: true,
            ..reference.clone()
        };
        let refused = bench
            .client()
            .record_model_version(cx.request(released))
            .await
            .unwrap_err();
        assert_eq!(reason(&refused), Reason::AccessDenied);
        let none = cx.request(pb::RecordModelVersionsRequest::default());
        let refused = bench.client().record_model_versions(none).await.unwrap_err();
        assert_eq!(reason(&refused), Reason::AccessDenied);
    }
    let shown = bench.get(&model.model_id, false).await.unwrap();
    assert_eq!(shown.registrations.len(), 1);
}

#[tokio::test]
async fn new_versions_told_at_once_are_of_folders_alone() {
    let bench = bench().await;
    let cx = CallContext::new(Caller::registry(Workspace::default()));
    let version = pb::RecordModelVersionRequest {
        event_id: request_id(),
        model_uid: "u1".to_owned(),
        name: "registered".to_owned(),
        version: 1,
        artifact_uri: "s3://elsewhere/model".to_owned(),
        ..Default::default()
    };
    let told = async |version: pb::RecordModelVersionRequest, count: usize| {
        let versions = vec![version; count];
        let request = cx.request(pb::RecordModelVersionsRequest { versions });
        bench.client().record_model_versions(request).await
    };
    let answer = told(version.clone(), 2).await.unwrap().into_inner();
    assert_eq!(answer.purged_event_ids, Vec::<String>::new());
    let of_a_run = pb::RecordModelVersionRequest {
        run_id: "r1".to_owned(),
        ..version.clone()
    };
    let of_a_model = pb::RecordModelVersionRequest {
        model_id: "m-1".to_owned(),
        ..version.clone()
    };
    let released = pb::RecordModelVersionRequest {
        released: true,
        ..version.clone()
    };
    for (version, count) in [(of_a_run, 1), (of_a_model, 1), (released, 1), (version, 1_001)] {
        let status = told(version, count).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    }
}

#[tokio::test]
async fn versions_and_data_sets_are_recorded_and_shown() {
    let bench = bench().await;
    let model = bench.model("0", "m").await;
    let reference = pb::RecordModelVersionRequest {
        event_id: request_id(),
        event_seq: 1,
        model_uid: "u1".to_owned(),
        name: "registered".to_owned(),
        version: 2,
        model_id: model.model_id.clone(),
        ..Default::default()
    };
    for _ in 0..2 {
        bench
            .client()
            .record_model_version(reference.clone())
            .await
            .unwrap();
    }
    let shown = bench.get(&model.model_id, false).await.unwrap();
    assert_eq!(
        shown.tags["mlflow.modelVersions"],
        r#"[{"name": "registered", "version": 2}]"#
    );
    assert_eq!(shown.registrations.len(), 1);
    let bad = pb::RecordModelVersionRequest::default();
    let refused = bench.client().record_model_version(bad).await.unwrap_err();
    assert_eq!(from_status(&refused).violations.len(), 4);

    let run = bench.run("0").await;
    let dataset = pb::Dataset {
        name: "d".to_owned(),
        digest: "1".to_owned(),
        source_type: "local".to_owned(),
        source: "{}".to_owned(),
        ..Default::default()
    };
    let inputs = pb::LogInputsRequest {
        run_id: run.run_id,
        datasets: vec![pb::DatasetInput {
            dataset: Some(dataset),
            tags: labels(&[("mlflow.data.context", "train")]),
        }],
        ..Default::default()
    };
    bench.client().log_inputs(inputs).await.unwrap();
    let search = |ids: &[&str]| {
        let request = pb::SearchDatasetsRequest {
            experiment_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            ..Default::default()
        };
        let mut client = bench.client();
        async move {
            client
                .search_datasets(request)
                .await
                .map(tonic::Response::into_inner)
        }
    };
    let expected = pb::DatasetSummary {
        experiment_id: "0".to_owned(),
        name: "d".to_owned(),
        digest: "1".to_owned(),
        context: "train".to_owned(),
    };
    assert_eq!(search(&["0", "5"]).await.unwrap().datasets, [expected]);
    assert_eq!(reason(&search(&[]).await.unwrap_err()), Reason::InvalidField);
    assert_eq!(
        reason(&search(&["1"; 21]).await.unwrap_err()),
        Reason::InvalidField
    );
}
