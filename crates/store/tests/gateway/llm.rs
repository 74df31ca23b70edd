//! Routes to language models.

use lodeway_domain::llm::{
    LlmDefaults, LlmKeyName, LlmKind, LlmLimits, LlmRoute, LlmRouteName, LlmTarget, LlmUrl,
};
use lodeway_store::gateway::{LlmRouteUpdate, LlmStore};

use super::*;

fn named(text: &str) -> LlmRouteName {
    LlmRouteName::parse("name", text).unwrap()
}

fn route(text: &str) -> LlmRoute {
    let target = LlmTarget {
        base_url: LlmUrl::parse("base_url", "http://localhost:1/v1").unwrap(),
        model: "m".to_owned(),
        key_name: Some(LlmKeyName::parse("key_name", "main").unwrap()),
        timeout_ms: 1_000,
        idle_timeout_ms: 1_000,
        max_retries: 2,
        input_price: 0.1,
        output_price: 0.7,
    };
    LlmRoute {
        name: named(text),
        kind: LlmKind::Chat,
        description: String::new(),
        targets: vec![target],
        limits: LlmLimits::default(),
        defaults: LlmDefaults {
            temperature: Some(0.3),
            ..LlmDefaults::default()
        },
        created: at(1),
        updated: at(1),
    }
}

fn update(text: &str, version: Option<i64>) -> LlmRouteUpdate {
    LlmRouteUpdate {
        name: named(text),
        version,
        description: Some("new".to_owned()),
        targets: None,
        limits: None,
        defaults: None,
    }
}

#[tokio::test]
async fn routes_are_kept_changed_and_removed() {
    on_engines(async |store: Arc<SqlGateway>| {
        let id = RequestId::parse(&format!("{:032x}", 7)).unwrap().unwrap();
        let made = store
            .create_llm_route(once(1, id, "a"), route("a"))
            .await
            .unwrap();
        let again = store
            .create_llm_route(once(2, id, "a"), route("a"))
            .await
            .unwrap();
        assert_eq!((&made.route, made.version, &again), (&route("a"), 1, &made));
        let taken = store.create_llm_route(write(3), route("a")).await.unwrap_err();
        assert_eq!(taken.reason(), Reason::ResourceExists);
        // A name is taken in its workspace alone.
        let there = write_in(elsewhere(), 3);
        store.create_llm_route(there, route("a")).await.unwrap();
        for text in ["c", "b"] {
            store.create_llm_route(write(4), route(text)).await.unwrap();
        }

        let first = store.list_llm_routes(&ws(), &page(2)).await.unwrap();
        let names: Vec<_> = first.items.iter().map(|one| one.route.name.as_str()).collect();
        assert_eq!((names, first.next.is_some()), (vec!["a", "b"], true));

        let changed = store
            .update_llm_route(write(5), update("a", Some(1)))
            .await
            .unwrap();
        let expected = LlmRoute {
            description: "new".to_owned(),
            updated: at(5),
            ..route("a")
        };
        assert_eq!((&changed.route, changed.version), (&expected, 2));
        assert_eq!(store.llm_route(&ws(), &named("a")).await.unwrap(), changed);
        let stale = store
            .update_llm_route(write(6), update("a", Some(1)))
            .await
            .unwrap_err();
        assert_eq!(stale.reason(), Reason::EtagMismatch);

        store.delete_llm_route(write(7), named("a")).await.unwrap();
        let gone = store.llm_route(&ws(), &named("a")).await.unwrap_err();
        assert_eq!(gone.reason(), Reason::ResourceNotFound);
        store.llm_route(&elsewhere(), &named("a")).await.unwrap();
        let gone = store.delete_llm_route(write(8), named("a")).await.unwrap_err();
        assert_eq!(gone.reason(), Reason::ResourceNotFound);
    })
    .await;
}
