//! The contract of the registry store, on both engines.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod feeds;
mod history;
mod intents;
mod models;
mod moves;
mod promotion;
mod rollbacks;
mod versions;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use lodeway_domain::{
    Caller, Error,
    caller::Workspace,
    filter::{Expr, MODEL_VERSIONS, OrderBy, REGISTERED_MODELS, Schema},
    id::RequestId,
    page::{PageRequest, QueryHash},
    registry::{
        AliasName, DigestState, ModelName, ModelVersion, NewModel, NewVersion, RegisteredModel, Stage, Tags,
        promotion::Target,
    },
    time::Timestamp,
};
use lodeway_store::{
    ledger::Write,
    registry::{AliasMove, FoundDigest, LedgerQuery, Move, Moved, RegistryStore, Search, SqlRegistry},
    sql::DbOptions,
};

type Store = Arc<dyn RegistryStore>;

fn options() -> DbOptions {
    DbOptions {
        queue_timeout: Duration::from_secs(120),
        queue_len: 4096,
        ..DbOptions::default()
    }
}

/// Runs one check on a new SQLite file and on a new PostgreSQL database.
async fn on_both(check: impl Fn(Store) -> BoxFuture<'static, ()>) {
    common::on_both("registry", options(), async |db| {
        check(Arc::new(SqlRegistry::open(db, at(0)).await.unwrap())).await;
    })
    .await;
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + ms)
}

fn ws() -> Workspace {
    Workspace::default()
}

fn ada() -> Caller {
    Caller {
        principal: "ada".to_owned(),
        verified: true,
        workspace: ws(),
    }
}

/// A write of ada's at this time.
fn write(ms: i64) -> Write {
    Write {
        caller: ada(),
        now: at(ms),
        request: None,
        body_hash: Vec::new(),
    }
}

fn once(ms: i64, request: RequestId, body: &str) -> Write {
    Write {
        request: Some(request),
        body_hash: body.as_bytes().to_vec(),
        ..write(ms)
    }
}

fn name(text: &str) -> ModelName {
    ModelName::parse("name", text).unwrap()
}

fn alias(text: &str) -> AliasName {
    AliasName::parse(text).unwrap()
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn new_model(text: &str) -> NewModel {
    NewModel {
        name: name(text),
        description: String::new(),
        tags: Tags::new(),
    }
}

fn new_version(model: &str) -> NewVersion {
    NewVersion {
        name: name(model),
        source: "s3://b/x".to_owned(),
        artifact_uri: "s3://b/x".to_owned(),
        run_id: None,
        run_link: String::new(),
        model_id: None,
        description: String::new(),
        tags: Tags::new(),
        digest_state: DigestState::None,
        source_unchecked: false,
    }
}

async fn add_model(store: &Store, text: &str) -> RegisteredModel {
    store.create_model(write(0), new_model(text)).await.unwrap()
}

async fn add_version(store: &Store, model: &str, ms: i64) -> ModelVersion {
    store
        .create_version(write(ms), new_version(model))
        .await
        .unwrap()
        .version
}

async fn go(
    store: &Store,
    model: &str,
    version: i64,
    stage: Stage,
    archives_existing: bool,
    ms: i64,
) -> Moved {
    let comment = format!("to {stage}");
    let request = Move {
        name: name(model),
        version,
        stage,
        archives_existing,
        comment,
    };
    transition(store, write(ms), request).await.unwrap()
}

/// Moves a version as the service does: with what was read before.
async fn transition(store: &Store, write: Write, request: Move) -> Result<Moved, Error> {
    let target = Target::Stage(request.stage);
    let before = store
        .before_move(&ws(), (&request.name, request.version), &target)
        .await?;
    store.transition(write, request, before).await
}

fn point(model: &str, to: &str, version: Option<i64>) -> AliasMove {
    AliasMove {
        name: name(model),
        alias: alias(to),
        version,
        comment: "why not".to_owned(),
    }
}

fn whole_ledger() -> LedgerQuery {
    let page = PageRequest::first(1000, QueryHash::of(&[]));
    LedgerQuery {
        name: None,
        uid: None,
        version: None,
        kinds: Vec::new(),
        page,
    }
}

fn search(filter: &str, order: &[&str], size: usize, schema: &Schema) -> Search {
    Search {
        filter: Expr::parse(filter, schema).unwrap(),
        order: OrderBy::parse_list(order, schema).unwrap(),
        page: PageRequest::first(size, QueryHash::of(&[])),
    }
}

async fn found_models(store: &Store, filter: &str, order: &[&str]) -> Vec<String> {
    let mut request = search(filter, order, 2, &REGISTERED_MODELS);
    let mut found = Vec::new();
    loop {
        let page = store.search_models(&ws(), &request).await.unwrap();
        found.extend(page.items.iter().map(|m| m.name.to_string()));
        match page.next {
            Some(next) => request.page.after = Some(next),
            None => return found,
        }
    }
}

async fn found_versions(store: &Store, filter: &str, order: &[&str]) -> Vec<String> {
    let mut request = search(filter, order, 2, &MODEL_VERSIONS);
    let mut found = Vec::new();
    loop {
        let page = store.search_versions(&ws(), &request).await.unwrap();
        found.extend(page.items.iter().map(ModelVersion::label));
        match page.next {
            Some(next) => request.page.after = Some(next),
            None => return found,
        }
    }
}

fn not_found(error: &Error) -> String {
    match error {
        Error::NotFound(resource) => format!("{} {}", resource.kind.as_str(), resource.name),
        other => panic!("{other:?}"),
    }
}
