//! The contract of the gateway's store, on both engines.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod changes;
#[path = "../common/mod.rs"]
mod common;
mod endpoints;
mod live;
mod llm;
mod revisions;
mod rollouts;
mod windows;

use std::{sync::Arc, time::Duration};

use lodeway_domain::{
    Caller, Error, Reason,
    caller::Workspace,
    id::RequestId,
    page::{Page, PageRequest, QueryHash},
    registry::Tags,
    serving::{
        Authorship, Endpoint, EndpointKey, EndpointName, EndpointUid, NewEndpoint, Revision, RevisionReason,
        RevisionSpec, Target, TargetName, TargetRef, WeightedTarget,
    },
    time::Timestamp,
};
use lodeway_store::{
    gateway::{EndpointRecord, GatewayStore, NewRevision, Resolution, SqlGateway},
    ledger::Write,
    sql::DbOptions,
};

type Store = Arc<dyn GatewayStore>;

fn options() -> DbOptions {
    DbOptions {
        queue_timeout: Duration::from_secs(120),
        queue_len: 4096,
        ..DbOptions::default()
    }
}

/// Runs one check on a new SQLite file and on a new PostgreSQL database.
async fn on_both(check: impl AsyncFn(Store)) {
    on_engines(async |store: Arc<SqlGateway>| check(store).await).await;
}

/// The same for a check of another of its contracts.
async fn on_engines(check: impl AsyncFn(Arc<SqlGateway>)) {
    common::on_both("gateway", options(), async |db| {
        check(Arc::new(SqlGateway::open(db, at(0)).await.unwrap())).await;
    })
    .await;
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + ms)
}

fn ws() -> Workspace {
    Workspace::default()
}

fn elsewhere() -> Workspace {
    Workspace::parse("b").unwrap()
}

/// A write of ada's at this time.
fn write(ms: i64) -> Write {
    write_in(ws(), ms)
}

fn write_in(workspace: Workspace, ms: i64) -> Write {
    let caller = Caller {
        principal: "ada".to_owned(),
        verified: true,
        workspace,
    };
    Write {
        caller,
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

fn name(text: &str) -> EndpointName {
    EndpointName::parse("name", text).unwrap()
}

fn target(text: &str) -> TargetName {
    TargetName::parse("target", text).unwrap()
}

fn page(size: usize) -> PageRequest {
    PageRequest::first(size, QueryHash::of(&[]))
}

/// Every item of a list, by pages of two.
async fn whole<T>(mut list: impl AsyncFnMut(PageRequest) -> Page<T>) -> Vec<T> {
    let (mut request, mut found) = (page(2), Vec::new());
    loop {
        let page = list(request.clone()).await;
        found.extend(page.items);
        match page.next {
            Some(next) => request.after = Some(next),
            None => return found,
        }
    }
}

fn author(ms: i64) -> Authorship {
    Authorship {
        principal: "ada".to_owned(),
        principal_verified: true,
        created: at(ms),
        comment: String::new(),
        reason: RevisionReason::Updated,
    }
}

/// Targets of this weight, on servers of the same name.
fn spec(targets: &[(&str, u32)]) -> RevisionSpec {
    let weighted = |(text, weight): &(&str, u32)| WeightedTarget {
        target: Target {
            name: target(text),
            reference: TargetRef::parse("reference", &format!("grpc://{text}:1/m")).unwrap(),
            timeout_ms: None,
            settings: lodeway_domain::serving::DeploymentSettings::default(),
        },
        weight: *weight,
    };
    RevisionSpec {
        targets: targets.iter().map(weighted).collect(),
        ..RevisionSpec::default()
    }
}

/// What a target means from a moment on.
fn meaning(revision: u32, of: &str, version: &str, ms: i64) -> Resolution {
    Resolution {
        revision,
        target: target(of),
        from: at(ms),
        model_name: "m".to_owned(),
        model_version: version.to_owned(),
        model_uid: "u".to_owned(),
        content_digest: String::new(),
        deployment_id: format!("d{version}"),
        platform: String::new(),
        signature_json: String::new(),
        reads_documents: false,
    }
}

/// An endpoint with one target `v`, and its first revision.
fn new_endpoint(text: &str, ms: i64) -> (Endpoint, Revision) {
    let new = NewEndpoint {
        name: text.to_owned(),
        ..NewEndpoint::default()
    };
    let uid = EndpointUid::generate();
    let revision = spec(&[("v", 1)]).first(&uid, author(ms)).unwrap();
    (new.create(uid, at(ms)).unwrap(), revision)
}

async fn add(store: &Store, text: &str, ms: i64) -> EndpointRecord {
    add_in(store, ws(), text, ms).await
}

async fn add_in(store: &Store, workspace: Workspace, text: &str, ms: i64) -> EndpointRecord {
    let (endpoint, revision) = new_endpoint(text, ms);
    let means = vec![meaning(1, "v", "1", ms)];
    let made = store.create_endpoint(write_in(workspace, ms), endpoint, revision, means);
    made.await.unwrap()
}

/// The revision after this one.
fn next(of: &EndpointRecord, ms: i64) -> NewRevision {
    following(of.endpoint.uid.key(), &of.revision, ms)
}

fn following(key: EndpointKey, before: &Revision, ms: i64) -> NewRevision {
    let number = before.number + 1;
    let revision = spec(&[("v", number), ("w", 1)])
        .following(before, author(ms))
        .unwrap();
    NewRevision {
        key,
        revision,
        resolutions: vec![meaning(number, "v", "2", ms), meaning(number, "w", "1", ms)],
    }
}

async fn revise(store: &Store, of: &EndpointRecord, ms: i64) -> EndpointRecord {
    store
        .add_revision(write(ms), "CreateRevision", next(of, ms))
        .await
        .unwrap()
}

#[track_caller]
fn failed<T: std::fmt::Debug>(outcome: Result<T, Error>, reason: Reason) {
    assert_eq!(outcome.unwrap_err().reason(), reason);
}
