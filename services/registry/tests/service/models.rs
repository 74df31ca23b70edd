//! Registered models: happy, refused, repeated.

use super::*;

#[tokio::test]
async fn models_are_created_once() {
    let bench = Bench::alone().await;
    let request = wire::CreateRegisteredModelRequest {
        name: "churn".into(),
        description: "who leaves".into(),
        tags: [("team".to_owned(), "a".to_owned())].into(),
        request_id: request_id(1),
    };
    let made = bench
        .api()
        .create_registered_model(request.clone())
        .await
        .unwrap()
        .into_inner();
    let model = made.model.clone().unwrap();
    assert_eq!(
        (&*model.name, &*model.description, model.tags.len()),
        ("churn", "who leaves", 1)
    );
    assert_eq!(
        (model.create_time, model.update_time),
        (Some(stamp(0)), Some(stamp(0)))
    );
    bench.turn(5);
    assert_eq!(
        bench
            .api()
            .create_registered_model(request.clone())
            .await
            .unwrap()
            .into_inner(),
        made
    );
    let other = wire::CreateRegisteredModelRequest {
        description: "x".into(),
        ..request.clone()
    };
    let status = bench.api().create_registered_model(other).await.unwrap_err();
    refused(&status, Code::InvalidArgument, "REQUEST_ID_REUSED");
    let again = wire::CreateRegisteredModelRequest {
        request_id: String::new(),
        ..request
    };
    let status = bench.api().create_registered_model(again).await.unwrap_err();
    refused(&status, Code::AlreadyExists, "RESOURCE_EXISTS");
    assert_eq!(
        from_status(&status).resource,
        Some(("registered model".into(), "churn".into()))
    );

    let got = wire::GetRegisteredModelRequest { name: "churn".into() };
    assert_eq!(
        bench
            .api()
            .get_registered_model(got)
            .await
            .unwrap()
            .into_inner()
            .model,
        made.model
    );
    let status = bench
        .api()
        .get_registered_model(wire::GetRegisteredModelRequest { name: "x".into() })
        .await;
    refused(&status.unwrap_err(), Code::NotFound, "RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn every_bad_field_is_named() {
    let bench = Bench::alone().await;
    let request = wire::CreateRegisteredModelRequest {
        name: "a/b".into(),
        description: "\0".into(),
        tags: [(String::new(), "x".to_owned())].into(),
        request_id: String::new(),
    };
    let status = bench.api().create_registered_model(request).await.unwrap_err();
    refused(&status, Code::InvalidArgument, "INVALID_FIELD");
    assert_eq!(fields(&status), ["name", "description", "tags"]);
    let request = wire::CreateRegisteredModelRequest {
        name: "a".into(),
        request_id: "7".into(),
        ..Default::default()
    };
    assert_eq!(
        fields(&bench.api().create_registered_model(request).await.unwrap_err()),
        ["request_id"]
    );
}

#[tokio::test]
async fn models_are_searched_page_by_page() {
    let bench = Bench::alone().await;
    for name in ["c", "a", "b"] {
        bench.model(name).await;
    }
    let mut request = wire::SearchRegisteredModelsRequest {
        page_size: 2,
        ..Default::default()
    };
    let page = bench
        .api()
        .search_registered_models(request.clone())
        .await
        .unwrap()
        .into_inner();
    let names = |page: &wire::SearchRegisteredModelsResponse| {
        page.models.iter().map(|m| m.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&page), ["a", "b"]);
    request.page_token = page.next_page_token;
    let page = bench
        .api()
        .search_registered_models(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!((names(&page), &*page.next_page_token), (vec!["c".to_owned()], ""));
    request.filter = "name = 'a'".into();
    let status = bench
        .api()
        .search_registered_models(request.clone())
        .await
        .unwrap_err();
    refused(&status, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
    request.page_token = String::new();
    assert_eq!(
        names(
            &bench
                .api()
                .search_registered_models(request.clone())
                .await
                .unwrap()
                .into_inner()
        ),
        ["a"]
    );
    request.filter = "nme = 'a'".into();
    let status = bench.api().search_registered_models(request).await.unwrap_err();
    refused(&status, Code::InvalidArgument, "INVALID_FILTER");
    let request = wire::SearchRegisteredModelsRequest {
        order_by: vec!["nope".into()],
        ..Default::default()
    };
    let status = bench.api().search_registered_models(request).await.unwrap_err();
    refused(&status, Code::InvalidArgument, "INVALID_ORDER");
    let request = wire::SearchRegisteredModelsRequest {
        page_size: -1,
        ..Default::default()
    };
    assert_eq!(
        fields(&bench.api().search_registered_models(request).await.unwrap_err()),
        ["page_size"]
    );
}

#[tokio::test]
async fn models_are_updated_by_mask_and_etag() {
    let bench = Bench::alone().await;
    let made = bench.model("churn").await;
    bench.turn(1);
    let request =
        |description: &str, etag: &str, mask: Option<Vec<&str>>| wire::UpdateRegisteredModelRequest {
            model: Some(wire::RegisteredModel {
                name: "churn".into(),
                description: description.into(),
                etag: etag.into(),
                ..Default::default()
            }),
            update_mask: mask.map(|m| prost_types::FieldMask {
                paths: m.into_iter().map(Into::into).collect(),
            }),
            request_id: String::new(),
        };
    let update = async |request| {
        bench
            .api()
            .update_registered_model(request)
            .await
            .map(|r| r.into_inner().model.unwrap())
    };
    let changed = update(request("new", &made.etag, None)).await.unwrap();
    assert_eq!(
        (&*changed.description, changed.update_time),
        ("new", Some(stamp(1)))
    );
    let status = update(request("lost", &made.etag, None)).await.unwrap_err();
    refused(&status, Code::Aborted, "ETAG_MISMATCH");
    assert_eq!(
        update(request("", "", None)).await.unwrap(),
        changed,
        "nothing is populated"
    );
    assert_eq!(
        update(request("", "", Some(vec!["description"])))
            .await
            .unwrap()
            .description,
        ""
    );
    let status = update(request("x", "", Some(vec!["name"]))).await.unwrap_err();
    assert_eq!(fields(&status), ["update_mask"]);
    let none = wire::UpdateRegisteredModelRequest::default();
    assert_eq!(fields(&update(none).await.unwrap_err()), ["model"]);
}

#[tokio::test]
async fn models_are_renamed_tagged_and_deleted() {
    let bench = Bench::alone().await;
    let made = bench.model("old").await;
    bench.model("taken").await;
    let rename = |to: &str| wire::RenameRegisteredModelRequest {
        name: "old".into(),
        new_name: to.into(),
        request_id: request_id(9),
    };
    let status = bench
        .api()
        .rename_registered_model(rename("taken"))
        .await
        .unwrap_err();
    refused(&status, Code::AlreadyExists, "RESOURCE_EXISTS");
    let renamed = bench
        .api()
        .rename_registered_model(rename("new"))
        .await
        .unwrap()
        .into_inner()
        .model
        .unwrap();
    assert_eq!((&*renamed.name, &renamed.uid), ("new", &made.uid));
    let again = bench
        .api()
        .rename_registered_model(rename("new"))
        .await
        .unwrap()
        .into_inner()
        .model
        .unwrap();
    assert_eq!(again, renamed, "repeated, though `old` is gone");
    let status = bench
        .api()
        .rename_registered_model(rename("a:b"))
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["new_name"]);

    let tags = wire::SetRegisteredModelTagsRequest {
        name: "new".into(),
        tags: [("k".to_owned(), "v".to_owned())].into(),
        request_id: String::new(),
    };
    bench.api().set_registered_model_tags(tags).await.unwrap();
    let got = || wire::GetRegisteredModelRequest { name: "new".into() };
    let tagged = bench
        .api()
        .get_registered_model(got())
        .await
        .unwrap()
        .into_inner()
        .model
        .unwrap();
    assert_eq!(tagged.tags.get("k").map(String::as_str), Some("v"));
    let untag = |name: &str, key: &str| wire::DeleteRegisteredModelTagRequest {
        name: name.into(),
        key: key.into(),
        request_id: String::new(),
    };
    bench
        .api()
        .delete_registered_model_tag(untag("new", "k"))
        .await
        .unwrap();
    bench
        .api()
        .delete_registered_model_tag(untag("new", "k"))
        .await
        .unwrap();
    refused(
        &bench
            .api()
            .delete_registered_model_tag(untag("x", "k"))
            .await
            .unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
    assert_eq!(
        fields(
            &bench
                .api()
                .delete_registered_model_tag(untag("new", ""))
                .await
                .unwrap_err()
        ),
        ["key"]
    );

    bench.version("new").await;
    bench.go("new", 1, wire::Stage::Production).await.unwrap();
    let delete = |force| wire::DeleteRegisteredModelRequest {
        name: "new".into(),
        force,
        request_id: String::new(),
    };
    let status = bench
        .api()
        .delete_registered_model(delete(false))
        .await
        .unwrap_err();
    refused(&status, Code::FailedPrecondition, "VERSION_IN_PRODUCTION");
    assert_eq!(from_status(&status).value("version"), Some("1"));
    bench.api().delete_registered_model(delete(true)).await.unwrap();
    refused(
        &bench
            .api()
            .delete_registered_model(delete(true))
            .await
            .unwrap_err(),
        Code::NotFound,
        "RESOURCE_NOT_FOUND",
    );
    assert_ne!(bench.model("new").await.uid, made.uid);
}
