//! Routes as they are kept.

use super::*;

#[tokio::test]
async fn routes_are_kept_and_show_no_key() {
    let (bench, llm) = (Bench::new().await, ScriptedLlm::start().unwrap());
    let made = bench.create(route("a", [target(&llm)])).await.unwrap();
    assert!(!format!("{made:?}").contains(KEY));
    assert_eq!((&*made.etag, &*made.targets[0].key_name), ("1", "main"));
    assert_eq!(made.targets[0].timeout, span(60_000));
    let again = bench.create(route("a", [target(&llm)])).await.unwrap_err();
    refused(&again, Code::AlreadyExists, "RESOURCE_EXISTS");
    bench.create(route("b", [target(&llm)])).await.unwrap();

    let page = wire::ListRoutesRequest {
        page_size: 1,
        page_token: String::new(),
    };
    let first = bench.api().list_routes(page).await.unwrap().into_inner();
    let next = wire::ListRoutesRequest {
        page_size: 1,
        page_token: first.next_page_token,
    };
    let second = bench.api().list_routes(next).await.unwrap().into_inner();
    assert_eq!((&*first.routes[0].name, &*second.routes[0].name), ("a", "b"));
    assert_eq!(second.next_page_token, "");

    let change = |etag: &str| wire::UpdateRouteRequest {
        route: Some(wire::LlmRoute {
            description: "judges".to_owned(),
            etag: etag.to_owned(),
            ..route("a", [])
        }),
        ..wire::UpdateRouteRequest::default()
    };
    let changed = bench.api().update_route(change("1")).await.unwrap().into_inner();
    let changed = changed.route.unwrap();
    assert_eq!((&*changed.description, &*changed.etag), ("judges", "2"));
    assert_eq!(changed.targets, made.targets);
    let stale = bench.api().update_route(change("1")).await.unwrap_err();
    refused(&stale, Code::Aborted, "ETAG_MISMATCH");

    let gone = wire::DeleteRouteRequest {
        name: "a".to_owned(),
        request_id: String::new(),
    };
    bench.api().delete_route(gone).await.unwrap();
    let missing = bench.chat("a", "hi").await.unwrap_err();
    refused(&missing, Code::NotFound, "RESOURCE_NOT_FOUND");
}

#[tokio::test]
async fn a_creation_is_harmless_to_repeat() {
    let (bench, llm) = (Bench::new().await, ScriptedLlm::start().unwrap());
    let request = |description: &str| wire::CreateRouteRequest {
        route: Some(wire::LlmRoute {
            description: description.to_owned(),
            ..route("a", [target(&llm)])
        }),
        request_id: format!("{:032x}", 7),
    };
    let first = bench.api().create_route(request("x")).await.unwrap().into_inner();
    let second = bench.api().create_route(request("x")).await.unwrap().into_inner();
    assert_eq!(first, second);
    let other = bench.api().create_route(request("y")).await.unwrap_err();
    refused(&other, Code::InvalidArgument, "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn every_bad_field_is_named_and_no_key_is_invented() {
    let (bench, llm) = (Bench::new().await, ScriptedLlm::start().unwrap());
    let bad = wire::LlmRoute {
        kind: 0,
        limits: Some(wire::LlmLimits {
            requests_per_minute: -1,
            max_concurrency: 1 << 20,
            ..wire::LlmLimits::default()
        }),
        defaults: Some(wire::LlmDefaults {
            temperature: Some(9.0),
            ..wire::LlmDefaults::default()
        }),
        ..route("No", [wire::LlmTarget::default()])
    };
    let status = bench.create(bad).await.unwrap_err();
    let fields: Vec<_> = from_status(&status)
        .violations
        .into_iter()
        .map(|v| v.field)
        .collect();
    let expected = [
        "route.name",
        "route.kind",
        "route.targets[0].base_url",
        "route.limits.requests_per_minute",
        "route.limits.max_concurrency",
        "route.defaults.temperature",
    ];
    for field in expected {
        assert!(
            fields.iter().any(|found| found == field),
            "{field} is not in {fields:?}"
        );
    }
    let unknown = wire::LlmTarget {
        key_name: "other".to_owned(),
        ..target(&llm)
    };
    let status = bench.create(route("a", [unknown])).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "KEY_MISSING");
}

#[tokio::test]
async fn a_key_goes_only_to_the_origins_it_is_for() {
    let (bench, llm) = (Bench::new().await, ScriptedLlm::start().unwrap());
    let at = |base_url: &str| wire::LlmTarget {
        key_name: "bound".to_owned(),
        base_url: base_url.to_owned(),
        ..target(&llm)
    };
    let own = llm.base_url();
    let elsewhere = [
        own.as_str(),
        "http://api.example.com/v1",
        "https://api.example.com:8443/v1",
        "https://api.example.com.evil.test/v1",
        "https://evil.test/https://api.example.com",
    ];
    for address in elsewhere {
        let status = bench.create(route("a", [at(address)])).await.unwrap_err();
        refused(&status, Code::FailedPrecondition, "KEY_MISSING");
        assert!(status.message().contains("may not go to"), "{status:?}");
    }
    let fine = bench.create(route("a", [at("https://API.example.com:443/v1")]));
    fine.await.unwrap();
    let request = wire::UpdateRouteRequest {
        route: Some(route("a", [at(&own)])),
        ..wire::UpdateRouteRequest::default()
    };
    let status = bench.api().update_route(request).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "KEY_MISSING");
}
