//! What a registry store does, as a trait.

use async_trait::async_trait;
use lodeway_domain::{
    Result,
    caller::Workspace,
    filter::{Expr, OrderBy},
    id::ModelUid,
    page::{Page, PageRequest},
    registry::{
        AliasName, DigestState, ModelName, ModelRef, ModelVersion, NewModel, NewVersion, RegisteredModel,
        Stage, Tags, Transition, TransitionKind, promotion::Target,
    },
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::watch;

use super::{Before, FileIntent, PromotionStore};
use crate::{ledger::Write, ledger::outbox::Event};

/// What is searched for, in which order, and which page.
#[derive(Debug, Clone)]
pub struct Search {
    /// The filter.
    pub filter: Option<Expr>,
    /// The order.
    pub order: Vec<OrderBy>,
    /// The page.
    pub page: PageRequest,
}

/// How one version of a model is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionBy {
    /// By number.
    Number(i64),
    /// By alias.
    Alias(AliasName),
    /// The highest in a stage.
    Stage(Stage),
    /// The highest of all.
    Latest,
}

/// Changes of a registered model's own fields.
#[derive(Debug, Clone)]
pub struct ModelUpdate {
    /// The model.
    pub name: ModelName,
    /// If given, the etag that the model must have.
    pub etag: Option<String>,
    /// The new description.
    pub description: Option<String>,
}

/// Changes of a version's own fields.
#[derive(Debug, Clone)]
pub struct VersionUpdate {
    /// The model.
    pub name: ModelName,
    /// The version.
    pub version: i64,
    /// If given, the etag that the version must have.
    pub etag: Option<String>,
    /// The new description.
    pub description: Option<String>,
}

/// What a reference meant at a past time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastVersion {
    /// The version as it is now or was when it was deleted, with the stage and the aliases of that time. One that was deleted
    /// has neither description nor tags.
    pub version: ModelVersion,
    /// When it was deleted, if it was since.
    pub deleted: Option<Timestamp>,
}

/// A new version and what remains to be done about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreatedVersion {
    /// The version as stored.
    pub version: ModelVersion,
    /// The message to tracking that was committed with it; none if it refers to nothing, or when answered again.
    #[serde(skip)]
    pub event: Option<Event>,
    /// The digest to compute; none if there is none, or when answered again.
    #[serde(skip)]
    pub digest: Option<PendingDigest>,
}

/// Where a version goes.
#[derive(Debug, Clone)]
pub struct Move {
    /// The model.
    pub name: ModelName,
    /// The version.
    pub version: i64,
    /// The stage it goes to.
    pub stage: Stage,
    /// Whether what is there now is archived.
    pub archives_existing: bool,
    /// Why.
    pub comment: String,
}

/// What a transition did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// The version as stored.
    pub version: ModelVersion,
    /// Its own entry, if its stage changed, then one for each archived version.
    pub transitions: Vec<Transition>,
}

/// Where an alias goes.
#[derive(Debug, Clone)]
pub struct AliasMove {
    /// The model.
    pub name: ModelName,
    /// The alias.
    pub alias: AliasName,
    /// The version; none removes the alias.
    pub version: Option<i64>,
    /// Why.
    pub comment: String,
}

/// Which entries of the ledger are wanted.
#[derive(Debug, Clone)]
pub struct LedgerQuery {
    /// Only of the model that has this name now.
    pub name: Option<ModelName>,
    /// Only of this model, deleted or not.
    pub uid: Option<ModelUid>,
    /// Only of this version.
    pub version: Option<i64>,
    /// Only of these kinds; empty: of all.
    pub kinds: Vec<TransitionKind>,
    /// The page.
    pub page: PageRequest,
}

/// A version whose digest is to be computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingDigest {
    /// The store's own key of the version; ascending in a sweep.
    pub key: i64,
    /// Its workspace.
    pub workspace: Workspace,
    /// Where its files are.
    pub artifact_uri: String,
}

/// What came of a pending digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundDigest {
    /// Of which version.
    pub of: PendingDigest,
    /// How it ended.
    pub state: DigestState,
    /// The digest; empty unless it is recorded.
    pub content_digest: String,
    /// The formats of the files, by name; empty where they are not known.
    pub formats: Vec<String>,
}

/// One thing that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RegistryEvent {
    /// A version was created or changed.
    Version(Box<ModelVersion>),
    /// A version was deleted.
    VersionDeleted {
        /// The model's name.
        name: ModelName,
        /// The model.
        uid: ModelUid,
        /// The version.
        version: i64,
    },
    /// A model was created, renamed, changed, or its aliases changed; without its latest versions.
    Model(Box<RegisteredModel>),
    /// A model was deleted with all its versions.
    ModelDeleted {
        /// The model's name.
        name: ModelName,
        /// The model.
        uid: ModelUid,
        /// Its versions, ascending.
        versions: Vec<i64>,
    },
}

/// What tracking is told of a version: the payload of an outbox [`Event`] of kind [`REFERENCE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The workspace.
    pub workspace: Workspace,
    /// Grows with every message about the same version.
    pub seq: i64,
    /// The model.
    pub uid: ModelUid,
    /// The model's name.
    pub name: ModelName,
    /// The version.
    pub version: i64,
    /// The logged model referred to.
    pub model_id: String,
    /// The run referred to.
    pub run_id: String,
    /// Where the version's files are.
    pub artifact_uri: String,
    /// True if the version is gone.
    pub released: bool,
    /// Who made the version; only in the first message about it, by which it can be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maker: Option<Maker>,
}

/// Who made a version, and by which request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maker {
    /// The user or service account.
    pub principal: String,
    /// Whether a credential proved that.
    pub verified: bool,
    /// The id of the request; empty if it had none.
    pub request: String,
}

/// The kind of an outbox event that carries a [`Reference`].
pub const REFERENCE: &str = "model_version_reference";

/// Some changes, and where to go on.
#[derive(Debug, Clone)]
pub struct Feed {
    /// The changes with their own cursors, oldest first.
    pub events: Vec<(i64, RegistryEvent)>,
    /// The cursor for the next call.
    pub next: i64,
}

/// Part of a snapshot of versions.
#[derive(Debug, Clone)]
pub struct SnapshotPart {
    /// The change log's head when this part was read.
    pub head: i64,
    /// The versions, each with the store's own key, ascending.
    pub versions: Vec<(i64, ModelVersion)>,
}

/// Keeps registered models, their versions and the ledger. One method is one atomic operation.
///
/// Everything is seen and changed within one workspace. Every write with a request id gives the answer of the first time
/// when repeated within 24 hours; errors: `REQUEST_ID_REUSED` with another body. A missing model is `NotFound` of kind
/// registered model, a missing version of kind model version as `NAME/NUMBER`, a missing alias of kind alias as
/// `NAME@ALIAS`. Every creation, renaming, deletion, change of a stage or an alias is an entry of the ledger, committed
/// with its effect; entries are never changed. A stage or an alias that promotion rules guard is asked for in the same
/// commit, whichever method would move it: `CALLER_NOT_VERIFIED`, `PROMOTION_REFUSED`.
#[async_trait]
pub trait RegistryStore: PromotionStore {
    /// Creates a model with a new uid. Errors: `AlreadyExists`.
    async fn create_model(&self, write: Write, new: NewModel) -> Result<RegisteredModel>;
    /// A model with aliases and the highest version of every stage.
    async fn model(&self, workspace: &Workspace, name: &ModelName) -> Result<RegisteredModel>;
    /// A page of models, each complete.
    async fn search_models(&self, workspace: &Workspace, search: &Search) -> Result<Page<RegisteredModel>>;
    /// Changes a model. Errors: `Conflict` if the etag is not the current one.
    async fn update_model(&self, write: Write, update: ModelUpdate) -> Result<RegisteredModel>;
    /// Renames a model and all its versions. Errors: `AlreadyExists` of the new name.
    async fn rename_model(
        &self,
        write: Write,
        name: ModelName,
        new_name: ModelName,
    ) -> Result<RegisteredModel>;
    /// Deletes a model with all its versions. Errors: `VERSION_IN_PRODUCTION` unless forced.
    async fn delete_model(&self, write: Write, name: ModelName, force: bool) -> Result<()>;
    /// Sets tags of a model.
    async fn set_model_tags(&self, write: Write, name: ModelName, tags: Tags) -> Result<()>;
    /// Removes a tag of a model, if it is there.
    async fn delete_model_tag(&self, write: Write, name: ModelName, key: String) -> Result<()>;

    /// Creates the model's next version: 1, 2, 3, … without gaps and without using a number twice.
    ///
    /// A version that refers to a run or a logged model, and was checked, comes with a message to tracking, due two
    /// seconds later so that the caller can deliver it itself.
    async fn create_version(&self, write: Write, new: NewVersion) -> Result<CreatedVersion>;
    /// The answer that [`RegistryStore::create_version`] gave to this request before, if it did.
    async fn created_before(&self, write: &Write) -> Result<Option<CreatedVersion>>;
    /// One version.
    async fn version(&self, workspace: &Workspace, name: &ModelName, by: &VersionBy) -> Result<ModelVersion>;
    /// A version by its model's immutable id, and whether its folder has a model file that was understood; none if it is not
    /// there.
    async fn version_of(
        &self,
        workspace: &Workspace,
        uid: &ModelUid,
        version: i64,
    ) -> Result<Option<(ModelVersion, bool)>>;
    /// Versions in an active stage or with an alias: their keys, from behind `after` on, models and numbers.
    async fn promoted_versions(
        &self,
        workspace: &Workspace,
        after: i64,
        limit: i64,
    ) -> Result<Vec<(i64, ModelUid, i64)>>;
    /// Every workspace that has a model.
    async fn workspaces(&self) -> Result<Vec<Workspace>>;
    /// A page of versions.
    async fn search_versions(&self, workspace: &Workspace, search: &Search) -> Result<Page<ModelVersion>>;
    /// The highest version of each of these stages, by stage; of every stage if there are none.
    async fn latest_versions(
        &self,
        workspace: &Workspace,
        name: &ModelName,
        stages: &[Stage],
    ) -> Result<Vec<ModelVersion>>;
    /// The message to tracking about a version that was made, if tracking does not have it yet as far as is known.
    async fn waiting_event(&self, version: &ModelVersion) -> Result<Option<Event>>;
    /// Deletes a version that was created just now, with the answer of the request that created it (`write`): to its caller it
    /// never was. Its number is not given again; `why` stands in the ledger.
    async fn take_back_version(
        &self,
        write: Write,
        name: ModelName,
        version: i64,
        why: &'static str,
    ) -> Result<()>;
    /// Changes a version. Errors: `Conflict` if the etag is not the current one.
    async fn update_version(&self, write: Write, update: VersionUpdate) -> Result<ModelVersion>;
    /// Deletes a version and its aliases. Errors: `VERSION_IN_PRODUCTION` unless forced.
    async fn delete_version(&self, write: Write, name: ModelName, version: i64, force: bool) -> Result<()>;
    /// Sets tags of a version.
    async fn set_version_tags(&self, write: Write, name: ModelName, version: i64, tags: Tags) -> Result<()>;
    /// Removes a tag of a version, if it is there.
    async fn delete_version_tag(
        &self,
        write: Write,
        name: ModelName,
        version: i64,
        key: String,
    ) -> Result<()>;

    /// Says what this process is about to do with the files of a version, for at most so long. Whoever does it asks
    /// [`is_opposed`](Self::is_opposed) after that and before he does it.
    async fn declare_intent(&self, intent: &FileIntent, keep: Duration) -> Result<()>;
    /// Whether another process said that it is about to do the opposite. Who lets files go yields, and who promotes waits. Never
    /// on SQLite, whose file belongs to one process.
    async fn is_opposed(&self, intent: &FileIntent) -> Result<bool>;
    /// Takes back what was declared: it is done, or will not be.
    async fn withdraw_intent(&self, intent: &FileIntent) -> Result<()>;

    /// A version before it goes to a target; none if there is no such version.
    async fn before_move(
        &self,
        workspace: &Workspace,
        version: (&ModelName, i64),
        target: &Target,
    ) -> Result<Option<Before>>;
    /// Moves a version, and archives what is there if asked to, as one group of entries.
    ///
    /// What was read `before`, if it still holds, saves reading it again.
    async fn transition(&self, write: Write, request: Move, before: Option<Before>) -> Result<Moved>;
    /// Sets, moves or removes an alias; the entry, or none if nothing changed.
    async fn move_alias(&self, write: Write, request: AliasMove) -> Result<Option<Transition>>;
    /// A page of the ledger, newest first.
    async fn transitions(&self, workspace: &Workspace, query: &LedgerQuery) -> Result<Page<Transition>>;
    /// Takes back the whole group of an entry; the new entries. Where a rule guards what something goes back to, it must
    /// fulfil the rule or have been let in there before with the same content. Errors: as [`lodeway_domain::registry::rollback`].
    async fn rollback(&self, write: Write, transition_id: i64, comment: String) -> Result<Vec<Transition>>;
    /// The versions that taking an entry's group back would bring to a stage or an alias again, as they are now; those
    /// deleted since are left out. Errors: `NotFound` for the entry.
    async fn brought_back(
        &self,
        workspace: &Workspace,
        transition_id: i64,
    ) -> Result<Vec<(ModelVersion, Target)>>;
    /// The version that a reference meant at a past time, with the stage and the aliases that it had then. Computed from the
    /// ledger, the name of that time included. Errors: `NotFound` if it meant nothing then; a precondition of `RESOURCE_NOT_FOUND` if
    /// it meant a version that an older program deleted, which kept nothing of it.
    async fn resolve_at(
        &self,
        workspace: &Workspace,
        reference: &ModelRef,
        at: Timestamp,
    ) -> Result<PastVersion>;

    /// Some versions of one model, or of all, by key after `after`, with the head of the log of that moment.
    async fn snapshot(
        &self,
        workspace: &Workspace,
        uid: Option<&ModelUid>,
        after: i64,
        limit: usize,
    ) -> Result<SnapshotPart>;
    /// At most `limit` changes after a cursor. Errors: `CURSOR_EXPIRED`.
    async fn changes_after(
        &self,
        workspace: &Workspace,
        uid: Option<&ModelUid>,
        cursor: i64,
        limit: usize,
    ) -> Result<Feed>;
    /// Changes its value whenever there may be new changes.
    fn wakeups(&self) -> watch::Receiver<u64>;
    /// Forgets changes older than `keep`, some of them a call; how many.
    async fn prune_changes(&self, now: Timestamp, keep: Duration) -> Result<u64>;

    /// Messages to tracking that are due, leased to the caller.
    async fn claim_events(&self, now: Timestamp, lease: Duration, limit: i64) -> Result<Vec<Event>>;
    /// Messages have arrived.
    async fn events_done(&self, event_ids: Vec<String>) -> Result<()>;
    /// A message has not arrived; it is due again later.
    async fn event_failed(&self, event: &Event, now: Timestamp) -> Result<()>;

    /// Versions of all workspaces whose digest is to be computed, by key after `after`.
    async fn pending_digests(&self, after: i64, limit: i64) -> Result<Vec<PendingDigest>>;
    /// One version, if its digest is to be computed.
    async fn pending_digest(
        &self,
        workspace: &Workspace,
        uid: &ModelUid,
        version: i64,
    ) -> Result<Option<PendingDigest>>;
    /// Versions of all workspaces of whose files nothing is known, by key after `after`: there was nobody to read them.
    async fn unread_versions(&self, after: i64, limit: i64) -> Result<Vec<PendingDigest>>;
    /// Has digests computed of versions, by their keys, of whose files nothing is known.
    async fn await_digests(&self, keys: Vec<i64>) -> Result<()>;
    /// Ends pending digests, all in one commit; nothing happens to those that are pending no more.
    async fn record_digests(&self, found: Vec<FoundDigest>, now: Timestamp) -> Result<()>;
}
