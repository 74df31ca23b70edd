//! What a gateway's store does, as a trait.

use std::time::Duration;

use async_trait::async_trait;
use lodeway_domain::{
    Result,
    caller::Workspace,
    page::{Page, PageRequest},
    registry::Tags,
    serving::{Endpoint, EndpointKey, EndpointName, Revision, TargetName},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::ledger::Write;

/// An endpoint as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The revision that serves.
    pub revision: Revision,
    /// What its targets mean now.
    pub resolutions: Vec<Resolution>,
    /// Grows with every change.
    pub version: i64,
}

/// What a target means from a moment on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// The revision.
    pub revision: u32,
    /// The target.
    pub target: TargetName,
    /// From this moment on.
    pub from: Timestamp,
    /// The registered model; empty for an address.
    pub model_name: String,
    /// The version; for an address what was written there, if anything was.
    pub model_version: String,
    /// The uid of the registered model; empty for an address.
    pub model_uid: String,
    /// The digest of the version's files; empty if none is known.
    pub content_digest: String,
    /// The deployment at the model host; empty for an address.
    pub deployment_id: String,
    /// What scores it.
    pub platform: String,
    /// The signature of the model file as JSON; empty if it has none.
    pub signature_json: String,
    /// Whether documents are to be passed on as they came.
    #[serde(default)]
    pub reads_documents: bool,
}

/// Changes of an endpoint's own fields.
#[derive(Debug, Clone)]
pub struct EndpointUpdate {
    /// The endpoint.
    pub name: EndpointName,
    /// If given, the version that the endpoint must have.
    pub version: Option<i64>,
    /// The new description.
    pub description: Option<String>,
    /// The new labels.
    pub tags: Option<Tags>,
}

/// A revision that is to serve from now on.
#[derive(Debug, Clone)]
pub struct NewRevision {
    /// The endpoint.
    pub key: EndpointKey,
    /// The revision; its number is one more than that of the one that serves.
    pub revision: Revision,
    /// What its targets mean.
    pub resolutions: Vec<Resolution>,
}

/// Something that happened to an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum GatewayEvent {
    /// It is now as it says.
    Endpoint(Box<EndpointRecord>),
    /// It was deleted.
    Deleted {
        /// Which.
        key: EndpointKey,
        /// Under this name.
        name: EndpointName,
    },
}

/// Events in the order of their commits, and where to go on.
#[derive(Debug, Clone, PartialEq)]
pub struct Events {
    /// The events, each with its cursor and workspace.
    pub events: Vec<(i64, Workspace, GatewayEvent)>,
    /// The cursor for the next call.
    pub next: i64,
}

/// A rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutRecord {
    /// Of this rollout.
    pub rollout_id: String,
    /// The endpoint.
    pub key: EndpointKey,
    /// In which workspace.
    pub workspace: String,
    /// Plan and state as JSON.
    pub body: String,
    /// Grows with every step.
    pub version: i64,
    /// False once it has ended.
    pub is_open: bool,
    /// When it began.
    pub created: Timestamp,
}

/// One step of a rollout: its new state, and the revision that goes with it.
#[derive(Debug, Clone)]
pub struct RolloutStep {
    /// The rollout as it is to be; its version is the one that it has now.
    pub record: RolloutRecord,
    /// The replica that decides, whose lease must stand; none for a person.
    pub holder: Option<String>,
    /// The revision to serve from now on.
    pub revision: Option<NewRevision>,
}

/// Which measurements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowKey {
    /// The endpoint.
    pub key: EndpointKey,
    /// The beginning.
    pub start: Timestamp,
    /// The revision.
    pub revision: u32,
    /// The target.
    pub target: TargetName,
    /// What the target was then.
    pub model_version: String,
    /// Who measured.
    pub replica: String,
}

/// What one replica measured of one target in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Which.
    pub key: WindowKey,
    /// The end.
    pub end: Timestamp,
    /// A mergeable summary in its own byte form.
    pub body: Vec<u8>,
}

/// A metric of live outcomes over a window, as evaluation reports it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveMetric {
    /// The target whose answers are meant.
    pub target: TargetName,
    /// The version that gave them.
    pub model_version: String,
    /// The metric's name.
    pub metric: String,
    /// Its value.
    pub value: f64,
    /// The ends of its interval, where there is one.
    pub interval: Option<(f64, f64)>,
    /// Labelled answers that it is made of.
    pub samples: u64,
    /// The share of the window's answers that have no label yet, from 0 to 1.
    pub unlabelled_share: f64,
    /// When the window began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
}

/// Which windows are wanted: those that overlap the span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowQuery {
    /// The endpoint.
    pub key: EndpointKey,
    /// From.
    pub start: Timestamp,
    /// Until.
    pub end: Timestamp,
    /// At most this many.
    pub limit: i64,
}

/// The contract. Writes are durable when they return; those with a request id have no further effect when repeated.
#[async_trait]
pub trait GatewayStore: Send + Sync + 'static {
    /// Creates an endpoint with its first revision. Errors: `RESOURCE_EXISTS`.
    async fn create_endpoint(
        &self,
        write: Write,
        endpoint: Endpoint,
        revision: Revision,
        resolutions: Vec<Resolution>,
    ) -> Result<EndpointRecord>;
    /// An endpoint by name. Errors: `RESOURCE_NOT_FOUND`.
    async fn endpoint(&self, workspace: &Workspace, name: &EndpointName) -> Result<EndpointRecord>;
    /// An endpoint of this workspace by its key, a deleted one too.
    async fn endpoint_by_key(&self, workspace: &Workspace, key: EndpointKey) -> Result<Option<Endpoint>>;
    /// Endpoints by name.
    async fn list_endpoints(&self, workspace: &Workspace, page: &PageRequest)
    -> Result<Page<EndpointRecord>>;
    /// Every endpoint of every workspace, and the cursor from which changes are missing.
    async fn all_endpoints(&self) -> Result<(i64, Vec<(Workspace, EndpointRecord)>)>;
    /// Every workspace that has or had endpoints.
    async fn workspaces(&self) -> Result<Vec<Workspace>>;
    /// Changes description and labels. Errors: `RESOURCE_NOT_FOUND`, `ETAG_MISMATCH`.
    async fn update_endpoint(&self, write: Write, update: EndpointUpdate) -> Result<EndpointRecord>;
    /// Deletes an endpoint; its name is free, its history stays. Errors: `RESOURCE_NOT_FOUND`.
    async fn delete_endpoint(&self, write: Write, name: EndpointName) -> Result<()>;
    /// Makes a revision the one that serves. Errors: `ETAG_MISMATCH` unless the one before it serves.
    async fn add_revision(
        &self,
        write: Write,
        method: &'static str,
        new: NewRevision,
    ) -> Result<EndpointRecord>;
    /// A revision. Errors: `RESOURCE_NOT_FOUND`.
    async fn revision(&self, key: EndpointKey, number: u32) -> Result<Revision>;
    /// Revisions, newest first.
    async fn revisions(&self, key: EndpointKey, page: &PageRequest) -> Result<Page<Revision>>;
    /// The revision that served at a moment.
    async fn revision_at(&self, key: EndpointKey, at: Timestamp) -> Result<Option<Revision>>;
    /// Writes down what a followed target means from now on.
    async fn resolve(&self, write: Write, key: EndpointKey, resolution: Resolution) -> Result<()>;
    /// What the targets of a revision meant at a moment.
    async fn resolutions_at(&self, key: EndpointKey, revision: u32, at: Timestamp)
    -> Result<Vec<Resolution>>;
    /// What happened after a cursor. Errors: `CURSOR_EXPIRED`.
    async fn changes_after(&self, workspace: Option<&Workspace>, cursor: i64, limit: usize)
    -> Result<Events>;
    /// Changes after a commit that somebody may watch.
    fn wakeups(&self) -> watch::Receiver<u64>;
    /// Forgets old changes, some at a time; how many.
    async fn prune_changes(&self, now: Timestamp, keep: Duration) -> Result<u64>;
    /// Begins a rollout. Errors: `ROLLOUT_STATE` while another is open for the endpoint.
    async fn start_rollout(&self, write: Write, record: RolloutRecord) -> Result<RolloutRecord>;
    /// A rollout. Errors: `RESOURCE_NOT_FOUND`.
    async fn rollout(&self, workspace: &Workspace, id: &str) -> Result<RolloutRecord>;
    /// Rollouts, newest first.
    async fn rollouts(
        &self,
        workspace: &Workspace,
        endpoint: Option<EndpointKey>,
        page: &PageRequest,
    ) -> Result<Page<RolloutRecord>>;
    /// The open rollouts that `holder` may decide until `now + lease`: those it held and those nobody holds.
    async fn lease_rollouts(
        &self,
        holder: &str,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<RolloutRecord>>;
    /// One step, compare-and-set, with its revision in the same transaction. Errors: `ETAG_MISMATCH` if somebody was
    /// faster or the lease is another's.
    async fn step_rollout(&self, write: Write, step: RolloutStep) -> Result<RolloutRecord>;
    /// Keeps windows, replacing those that are there.
    async fn put_windows(&self, windows: Vec<Window>) -> Result<()>;
    /// Windows by their beginning.
    async fn windows(&self, query: &WindowQuery) -> Result<Vec<Window>>;
    /// Forgets windows that ended before.
    async fn prune_windows(&self, before: Timestamp) -> Result<()>;
    /// Keeps live metrics; of each target, version and metric the one whose window ended last.
    async fn record_live_metrics(
        &self,
        write: Write,
        key: EndpointKey,
        metrics: Vec<LiveMetric>,
    ) -> Result<()>;
    /// The live metrics of an endpoint.
    async fn live_metrics(&self, key: EndpointKey) -> Result<Vec<LiveMetric>>;
    /// A secret of this installation; `fresh` becomes it if there is none.
    async fn secret(&self, name: &str, fresh: [u8; 32]) -> Result<[u8; 32]>;
}
