//! Versions: happy, refused, repeated.

use wire::get_model_version_request::By;

use super::*;

#[tokio::test]
async fn versions_count_up_and_repeat_harmlessly() {
    let bench = Bench::alone().await;
    bench.model("churn").await;
    let request = wire::CreateModelVersionRequest {
        run_link: "http://x".into(),
        description: "first".into(),
        tags: [("k".to_owned(), "v".to_owned())].into(),
        request_id: request_id(1),
        ..plain("churn")
    };
    let made = bench.create(request.clone()).await.unwrap();
    assert_eq!(
        (made.version, made.stage(), made.status()),
        (1, wire::Stage::None, wire::ModelVersionStatus::Ready)
    );
    assert_eq!(
        (&*made.artifact_uri, &*made.user_id, made.source_unchecked),
        ("s3://b/x", "anonymous", false)
    );
    assert_eq!(bench.create(request.clone()).await.unwrap(), made);
    let other = wire::CreateModelVersionRequest {
        description: "x".into(),
        ..request
    };
    refused(
        &bench.create(other).await.unwrap_err(),
        Code::InvalidArgument,
        "REQUEST_ID_REUSED",
    );
    assert_eq!(bench.version("churn").await.version, 2);
    assert_eq!(bench.get("churn", 1).await.unwrap(), made);
    refused(
        &bench.create(plain("x")).await.unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
    let bad = wire::CreateModelVersionRequest {
        name: "a:b".into(),
        run_id: "a b".into(),
        model_id: "/".into(),
        ..Default::default()
    };
    assert_eq!(
        fields(&bench.create(bad).await.unwrap_err()),
        ["name", "run_id", "model_id", "source"]
    );
    let bad = wire::CreateModelVersionRequest {
        source: "models:/churn/Prod".into(),
        ..plain("churn")
    };
    assert_eq!(fields(&bench.create(bad).await.unwrap_err()), ["source"]);
}

#[tokio::test]
async fn a_version_is_got_by_number_and_alias() {
    let bench = Bench::alone().await;
    bench.model("churn").await;
    bench.version("churn").await;
    bench.version("churn").await;
    bench.point("churn", "champion", 1).await;
    let get = async |by: Option<By>| {
        let request = wire::GetModelVersionRequest {
            name: "churn".into(),
            by,
        };
        bench
            .api()
            .get_model_version(request)
            .await
            .map(|r| r.into_inner().model_version.unwrap())
    };
    let champion = get(Some(By::Alias("champion".into()))).await.unwrap();
    assert_eq!(
        (champion.version, champion.aliases),
        (1, vec!["champion".to_owned()])
    );
    assert_eq!(get(Some(By::Alias("Latest".into()))).await.unwrap().version, 2);
    let status = get(Some(By::Alias("x".into()))).await.unwrap_err();
    refused(&status, Code::NotFound, "RESOURCE_NOT_FOUND");
    assert_eq!(
        from_status(&status).resource,
        Some(("alias".into(), "churn@x".into()))
    );
    refused(
        &get(Some(By::Version(3))).await.unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
    assert_eq!(fields(&get(Some(By::Version(0))).await.unwrap_err()), ["version"]);
    assert_eq!(fields(&get(None).await.unwrap_err()), ["version"]);
}

#[tokio::test]
async fn versions_are_searched_newest_change_first() {
    let bench = Bench::alone().await;
    bench.model("a").await;
    for _ in 0..3 {
        bench.turn(1);
        bench.version("a").await;
    }
    bench.turn(1);
    bench.go("a", 1, wire::Stage::Staging).await.unwrap();
    let search = async |filter: &str, page_size: i32, page_token: String| {
        let request = wire::SearchModelVersionsRequest {
            filter: filter.into(),
            page_size,
            page_token,
            order_by: Vec::new(),
        };
        bench
            .api()
            .search_model_versions(request)
            .await
            .map(tonic::Response::into_inner)
    };
    let numbers = |page: &wire::SearchModelVersionsResponse| {
        page.model_versions.iter().map(|v| v.version).collect::<Vec<_>>()
    };
    let page = search("", 2, String::new()).await.unwrap();
    assert_eq!(numbers(&page), [1, 3]);
    let rest = search("", 2, page.next_page_token).await.unwrap();
    assert_eq!((numbers(&rest), &*rest.next_page_token), (vec![2], ""));
    assert_eq!(
        numbers(&search("stage = 'Staging'", 0, String::new()).await.unwrap()),
        [1]
    );
    // In any case, and as clients show it.
    for same in ["stage = 'staging'", "stage = 'Staging' AND status = 'Ready'"] {
        assert_eq!(numbers(&search(same, 0, String::new()).await.unwrap()), [1]);
    }
    for wrong in ["stage ~ 'x'", "stage = 'Stagin'", "status IN ('READY', 'DONE')"] {
        let status = search(wrong, 0, String::new()).await.unwrap_err();
        refused(&status, Code::InvalidArgument, "INVALID_FILTER");
    }

    let latest = |stages: Vec<i32>| wire::GetLatestModelVersionsRequest {
        name: "a".into(),
        stages,
    };
    let got = bench
        .api()
        .get_latest_model_versions(latest(vec![]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        got.model_versions.iter().map(|v| v.version).collect::<Vec<_>>(),
        [3, 1]
    );
    let got = bench
        .api()
        .get_latest_model_versions(latest(vec![3]))
        .await
        .unwrap()
        .into_inner();
    assert!(got.model_versions.is_empty());
    let status = bench
        .api()
        .get_latest_model_versions(latest(vec![2, 0]))
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["stages[1]"]);
}

#[tokio::test]
async fn versions_are_updated_tagged_and_deleted() {
    let bench = Bench::alone().await;
    bench.model("churn").await;
    let made = bench.version("churn").await;
    let update = |etag: &str| wire::UpdateModelVersionRequest {
        model_version: Some(wire::ModelVersion {
            name: "churn".into(),
            version: 1,
            description: "new".into(),
            etag: etag.into(),
            ..Default::default()
        }),
        update_mask: None,
        request_id: request_id(3),
    };
    let changed = bench
        .api()
        .update_model_version(update(&made.etag))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(changed.model_version.clone().unwrap().description, "new");
    let again = bench
        .api()
        .update_model_version(update(&made.etag))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again, changed, "repeated, though the etag is stale now");
    let stale = wire::UpdateModelVersionRequest {
        request_id: String::new(),
        ..update(&made.etag)
    };
    refused(
        &bench.api().update_model_version(stale).await.unwrap_err(),
        Code::Aborted,
        "ETAG_MISMATCH",
    );
    let none = wire::UpdateModelVersionRequest::default();
    assert_eq!(
        fields(&bench.api().update_model_version(none).await.unwrap_err()),
        ["model_version"]
    );

    let tag = |version| wire::SetModelVersionTagsRequest {
        name: "churn".into(),
        version,
        tags: [("k".to_owned(), "v".to_owned())].into(),
        request_id: String::new(),
    };
    bench.api().set_model_version_tags(tag(1)).await.unwrap();
    assert_eq!(bench.get("churn", 1).await.unwrap().tags.len(), 1);
    refused(
        &bench.api().set_model_version_tags(tag(2)).await.unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
    let untag = |version| wire::DeleteModelVersionTagRequest {
        name: "churn".into(),
        version,
        key: "k".into(),
        request_id: String::new(),
    };
    bench.api().delete_model_version_tag(untag(1)).await.unwrap();
    bench.api().delete_model_version_tag(untag(1)).await.unwrap();
    assert_eq!(bench.get("churn", 1).await.unwrap().tags.len(), 0);
    assert_eq!(
        fields(&bench.api().delete_model_version_tag(untag(0)).await.unwrap_err()),
        ["version"]
    );

    bench.go("churn", 1, wire::Stage::Production).await.unwrap();
    let delete = |force| wire::DeleteModelVersionRequest {
        name: "churn".into(),
        version: 1,
        force,
        request_id: request_id(if force { 5 } else { 4 }),
    };
    let status = bench.api().delete_model_version(delete(false)).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "VERSION_IN_PRODUCTION");
    bench.api().delete_model_version(delete(true)).await.unwrap();
    bench.api().delete_model_version(delete(true)).await.unwrap();
    refused(
        &bench.get("churn", 1).await.unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
    assert_eq!(
        bench.version("churn").await.version,
        2,
        "numbers are never used again"
    );
}
