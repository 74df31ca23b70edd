//! What the registry keeps: registered models, versions, stages, aliases and the ledger.
//!
//! [`RegistryStore`] is the contract, [`SqlRegistry`] keeps it on both engines. Every write takes its model's row first,
//! so that writes to one model follow each other, on PostgreSQL too.
//!
//! A tour: `models`, `versions` and `moves` (stages, aliases, rollback) are the writes, `ledger` writes and lists entries,
//! `promotion` keeps the rules that gate moves, `past` computes from them what a URI meant, `search` turns filters into SQL,
//! `feed` is what watchers and background work read, `rows` makes nouns of rows, `intents` keeps processes out of each
//! other's way, `before` reads what is about to move, `at_once` does the most frequent writes in one statement on PostgreSQL.

mod at_once;
mod before;
mod contract;
mod feed;
mod find;
mod intents;
mod ledger;
mod models;
mod moves;
mod past;
mod promotion;
mod rows;
mod search;
mod versions;

use std::time::Duration;

use async_trait::async_trait;
use lodeway_domain::{
    Error, Result,
    caller::Workspace,
    id::ModelUid,
    page::Page,
    registry::{
        AliasName, ModelName, ModelRef, ModelVersion, NewModel, NewVersion, RegisteredModel, Stage, Tags,
        Transition, promotion::Target,
    },
    time::Timestamp,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;

pub use self::before::Before;
pub use self::contract::{
    AliasMove, CreatedVersion, Feed, FoundDigest, LedgerQuery, Maker, ModelUpdate, Move, Moved, PastVersion,
    PendingDigest, REFERENCE, Reference, RegistryEvent, RegistryStore, Search, SnapshotPart, VersionBy,
    VersionUpdate,
};
pub use self::intents::FileIntent;
pub use self::promotion::{NewApproval, PromotionStore, RecordQuery, RuleQuery};
use crate::{
    args,
    ledger::Write,
    ledger::{
        changes,
        once::{Operation, once},
        outbox, requests,
    },
    migrate::{self, Migrations, Step},
    sql::{Db, Engine, OpenError},
};

const MIGRATIONS: Migrations = Migrations {
    component: "registry",
    steps: &[
        Step {
            name: "registry",
            sql: include_str!("../../migrations/registry/0001_registry.sql"),
        },
        Step {
            name: "promotion",
            sql: include_str!("../../migrations/registry/0002_promotion.sql"),
        },
        Step {
            name: "fewer_indexes",
            sql: include_str!("../../migrations/registry/0003_fewer_indexes.sql"),
        },
        Step {
            name: "verdict_rows",
            sql: include_str!("../../migrations/registry/0004_verdict_rows.sql"),
        },
        Step {
            name: "tell_places",
            sql: include_str!("../../migrations/registry/0005_tell_places.sql"),
        },
        Step {
            name: "deleted_versions",
            sql: include_str!("../../migrations/registry/0006_deleted_versions.sql"),
        },
        Step {
            name: "file_intents",
            sql: include_str!("../../migrations/registry/0007_file_intents.sql"),
        },
    ],
};

/// The registry store on SQLite or PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub struct SqlRegistry {
    db: Db,
    numbers: at_once::Numbers,
}

impl SqlRegistry {
    /// Brings the database to the newest schema and wraps it.
    pub async fn open(db: Db, now: Timestamp) -> Result<Self, OpenError> {
        migrate::apply(&db, MIGRATIONS, now).await?;
        let numbers = at_once::Numbers::default();
        Ok(Self { db, numbers })
    }

    /// Whether a write is worth trying in one statement.
    fn goes_at_once(&self, write: &Write) -> bool {
        self.db.engine() == Engine::Postgres && write.request.is_none()
    }

    /// Runs a write once for its request id, and keeps its answer.
    async fn once<S, T>(
        &self,
        write: Write,
        method: &'static str,
        input: S,
        operation: Operation<S, T>,
    ) -> Result<T>
    where
        S: Send + Sync + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        once(&self.db, write, method, input, operation).await
    }
}

const CREATE_VERSION: &str = "CreateModelVersion";

#[async_trait]
impl RegistryStore for SqlRegistry {
    async fn create_model(&self, write: Write, new: NewModel) -> Result<RegisteredModel> {
        self.once(write, "CreateRegisteredModel", new, |tx, w, new| {
            Box::pin(models::create(tx, w, new))
        })
        .await
    }

    async fn model(&self, workspace: &Workspace, name: &ModelName) -> Result<RegisteredModel> {
        models::get(&mut *self.db.read().await?, workspace.as_str(), name).await
    }

    async fn search_models(&self, workspace: &Workspace, search: &Search) -> Result<Page<RegisteredModel>> {
        search::models(&mut *self.db.read().await?, workspace.as_str(), search).await
    }

    async fn update_model(&self, write: Write, update: ModelUpdate) -> Result<RegisteredModel> {
        self.once(write, "UpdateRegisteredModel", update, |tx, w, update| {
            Box::pin(models::update(tx, w, update))
        })
        .await
    }

    async fn rename_model(
        &self,
        write: Write,
        name: ModelName,
        new_name: ModelName,
    ) -> Result<RegisteredModel> {
        let names = (name, new_name);
        self.once(write, "RenameRegisteredModel", names, |tx, w, (from, to)| {
            Box::pin(models::rename(tx, w, from, to))
        })
        .await
    }

    async fn delete_model(&self, write: Write, name: ModelName, force: bool) -> Result<()> {
        let input = (name, force);
        self.once(write, "DeleteRegisteredModel", input, |tx, w, (name, force)| {
            Box::pin(models::delete(tx, w, name, *force))
        })
        .await
    }

    async fn set_model_tags(&self, write: Write, name: ModelName, tags: Tags) -> Result<()> {
        let input = (name, tags);
        self.once(write, "SetRegisteredModelTags", input, |tx, w, (name, tags)| {
            Box::pin(models::set_tags(tx, w, name, tags))
        })
        .await
    }

    async fn delete_model_tag(&self, write: Write, name: ModelName, key: String) -> Result<()> {
        let input = (name, key);
        self.once(write, "DeleteRegisteredModelTag", input, |tx, w, (name, key)| {
            Box::pin(models::delete_tag(tx, w, name, key))
        })
        .await
    }

    async fn create_version(&self, write: Write, new: NewVersion) -> Result<CreatedVersion> {
        let (at_once, numbers) = (self.goes_at_once(&write), &self.numbers);
        if at_once && let Some(created) = at_once::create(&self.db, numbers, &write, &new).await? {
            numbers.keep(&write, &created.version);
            return Ok(created);
        }
        let again = write.clone();
        let created = self
            .once(write, CREATE_VERSION, new, |tx, w, new| {
                Box::pin(versions::create(tx, w, new))
            })
            .await?;
        if at_once {
            numbers.keep(&again, &created.version);
        }
        Ok(created)
    }

    async fn created_before(&self, write: &Write) -> Result<Option<CreatedVersion>> {
        let Some(request) = write.request else {
            return Ok(None);
        };
        // Another body, or one still at work, is for `once` to judge.
        let sql = "SELECT response FROM requests WHERE workspace = $1 AND principal = $2 AND method = $3 \
                   AND request_id = $4 AND body_hash = $5 AND created_ms >= $6 AND response IS NOT NULL";
        let (principal, id) = (&write.caller.principal, request.to_string());
        let since = write.now.minus(requests::RETENTION).millis();
        let args = args![
            write.workspace(),
            principal,
            CREATE_VERSION,
            id,
            &write.body_hash,
            since
        ];
        let row = self.db.query_opt(sql, &args).await?;
        row.map(|row| serde_json::from_slice(row.blob(0)?).map_err(Error::internal))
            .transpose()
    }

    async fn version(&self, workspace: &Workspace, name: &ModelName, by: &VersionBy) -> Result<ModelVersion> {
        versions::get(&mut *self.db.read().await?, workspace.as_str(), name, by).await
    }

    async fn search_versions(&self, workspace: &Workspace, search: &Search) -> Result<Page<ModelVersion>> {
        search::versions(&mut *self.db.read().await?, workspace.as_str(), search).await
    }

    async fn latest_versions(
        &self,
        workspace: &Workspace,
        name: &ModelName,
        stages: &[Stage],
    ) -> Result<Vec<ModelVersion>> {
        let reader = &mut *self.db.read().await?;
        let key = find::model(reader, workspace.as_str(), name).await?.key;
        let latest = rows::latest(reader, workspace.as_str(), &[key]).await?;
        let wanted = |version: &ModelVersion| stages.is_empty() || stages.contains(&version.stage);
        Ok(latest.into_iter().map(|row| row.version).filter(wanted).collect())
    }

    async fn update_version(&self, write: Write, update: VersionUpdate) -> Result<ModelVersion> {
        self.once(write, "UpdateModelVersion", update, |tx, w, update| {
            Box::pin(versions::update(tx, w, update))
        })
        .await
    }

    async fn delete_version(&self, write: Write, name: ModelName, version: i64, force: bool) -> Result<()> {
        let input = (name, version, force);
        self.once(
            write,
            "DeleteModelVersion",
            input,
            |tx, w, (name, version, force)| Box::pin(versions::delete(tx, w, name, *version, (*force, ""))),
        )
        .await
    }

    async fn waiting_event(&self, version: &ModelVersion) -> Result<Option<outbox::Event>> {
        feed::waiting_event(&mut *self.db.read().await?, version).await
    }

    async fn take_back_version(
        &self,
        write: Write,
        name: ModelName,
        version: i64,
        why: &'static str,
    ) -> Result<()> {
        self.db
            .write_with((write, name), move |tx, (write, name)| {
                Box::pin(async move {
                    versions::delete(tx, write, name, version, (true, why)).await?;
                    requests::forget(tx, &write.caller, CREATE_VERSION, write.request).await
                })
            })
            .await
    }

    async fn set_version_tags(&self, write: Write, name: ModelName, version: i64, tags: Tags) -> Result<()> {
        let input = (name, version, tags);
        self.once(
            write,
            "SetModelVersionTags",
            input,
            |tx, w, (name, version, tags)| Box::pin(versions::set_tags(tx, w, name, *version, tags)),
        )
        .await
    }

    async fn delete_version_tag(
        &self,
        write: Write,
        name: ModelName,
        version: i64,
        key: String,
    ) -> Result<()> {
        let input = (name, version, key);
        self.once(
            write,
            "DeleteModelVersionTag",
            input,
            |tx, w, (name, version, key)| Box::pin(versions::delete_tag(tx, w, name, *version, key)),
        )
        .await
    }

    async fn version_of(
        &self,
        workspace: &Workspace,
        uid: &ModelUid,
        version: i64,
    ) -> Result<Option<(ModelVersion, bool)>> {
        let conn = &mut *self.db.read().await?;
        before::of_model(conn, workspace.as_str(), uid, version).await
    }

    async fn promoted_versions(
        &self,
        workspace: &Workspace,
        after: i64,
        limit: i64,
    ) -> Result<Vec<(i64, ModelUid, i64)>> {
        let conn = &mut *self.db.read().await?;
        before::promoted(conn, workspace.as_str(), after, limit).await
    }

    async fn declare_intent(&self, intent: &FileIntent, keep: Duration) -> Result<()> {
        intents::declare(&self.db, intent, keep).await
    }

    async fn is_opposed(&self, intent: &FileIntent) -> Result<bool> {
        intents::is_opposed(&self.db, intent).await
    }

    async fn withdraw_intent(&self, intent: &FileIntent) -> Result<()> {
        intents::withdraw(&self.db, intent).await
    }

    async fn workspaces(&self) -> Result<Vec<Workspace>> {
        let rows = self
            .db
            .query("SELECT DISTINCT workspace FROM models ORDER BY workspace", &[])
            .await?;
        rows.iter().map(|row| Workspace::parse(row.str(0)?)).collect()
    }

    async fn before_move(
        &self,
        workspace: &Workspace,
        (name, version): (&ModelName, i64),
        target: &Target,
    ) -> Result<Option<Before>> {
        let conn = &mut *self.db.read().await?;
        before::read(conn, workspace.as_str(), (name, version), target).await
    }

    async fn transition(&self, write: Write, request: Move, before: Option<Before>) -> Result<Moved> {
        if self.goes_at_once(&write)
            && let Some(before) = before
            && let Some(moved) = at_once::stage(&self.db, &write, &request, before).await?
        {
            return Ok(moved);
        }
        self.once(write, "TransitionModelVersion", request, |tx, w, request| {
            Box::pin(moves::stage(tx, w, request))
        })
        .await
    }

    async fn move_alias(&self, write: Write, request: AliasMove) -> Result<Option<Transition>> {
        let method = if request.version.is_some() {
            "SetAlias"
        } else {
            "DeleteAlias"
        };
        self.once(write, method, request, |tx, w, request| {
            Box::pin(moves::alias(tx, w, request))
        })
        .await
    }

    async fn transitions(&self, workspace: &Workspace, query: &LedgerQuery) -> Result<Page<Transition>> {
        ledger::list(&mut *self.db.read().await?, workspace.as_str(), query).await
    }

    async fn rollback(&self, write: Write, transition_id: i64, comment: String) -> Result<Vec<Transition>> {
        let input = (transition_id, comment);
        self.once(write, "RollbackTransition", input, |tx, w, (id, comment)| {
            Box::pin(moves::rollback(tx, w, *id, comment))
        })
        .await
    }

    async fn brought_back(
        &self,
        workspace: &Workspace,
        transition_id: i64,
    ) -> Result<Vec<(ModelVersion, Target)>> {
        moves::brought_back(&mut *self.db.snapshot().await?, workspace.as_str(), transition_id).await
    }

    async fn resolve_at(
        &self,
        workspace: &Workspace,
        reference: &ModelRef,
        at: Timestamp,
    ) -> Result<PastVersion> {
        past::resolve(&mut *self.db.snapshot().await?, workspace.as_str(), reference, at).await
    }

    async fn snapshot(
        &self,
        workspace: &Workspace,
        uid: Option<&ModelUid>,
        after: i64,
        limit: usize,
    ) -> Result<SnapshotPart> {
        feed::snapshot(
            &mut *self.db.snapshot().await?,
            workspace.as_str(),
            uid,
            after,
            limit,
        )
        .await
    }

    async fn changes_after(
        &self,
        workspace: &Workspace,
        uid: Option<&ModelUid>,
        cursor: i64,
        limit: usize,
    ) -> Result<Feed> {
        feed::changes_after(
            &mut *self.db.read().await?,
            workspace.as_str(),
            uid,
            cursor,
            limit,
        )
        .await
    }

    fn wakeups(&self) -> watch::Receiver<u64> {
        self.db.wakeups()
    }

    async fn prune_changes(&self, now: Timestamp, keep: Duration) -> Result<u64> {
        changes::prune(&self.db, now, keep).await
    }

    async fn claim_events(&self, now: Timestamp, lease: Duration, limit: i64) -> Result<Vec<outbox::Event>> {
        outbox::claim(&self.db, now, lease, limit).await
    }

    async fn events_done(&self, event_ids: Vec<String>) -> Result<()> {
        self.db
            .write_with(event_ids, |tx, ids| Box::pin(outbox::done(tx, ids)))
            .await
    }

    async fn event_failed(&self, event: &outbox::Event, now: Timestamp) -> Result<()> {
        let input = (event.clone(), now);
        self.db
            .write_with(input, |tx, (event, now)| {
                Box::pin(outbox::retry_later(tx, event, *now))
            })
            .await
    }

    async fn pending_digests(&self, after: i64, limit: i64) -> Result<Vec<PendingDigest>> {
        feed::pending_digests(&mut *self.db.read().await?, after, limit).await
    }

    async fn pending_digest(
        &self,
        workspace: &Workspace,
        uid: &ModelUid,
        version: i64,
    ) -> Result<Option<PendingDigest>> {
        let conn = &mut *self.db.read().await?;
        feed::pending_digest(conn, workspace.as_str(), uid, version).await
    }

    async fn unread_versions(&self, after: i64, limit: i64) -> Result<Vec<PendingDigest>> {
        feed::unread_versions(&mut *self.db.read().await?, after, limit).await
    }

    async fn await_digests(&self, keys: Vec<i64>) -> Result<()> {
        self.db
            .write_with(keys, |tx, keys| Box::pin(feed::await_digests(tx, keys)))
            .await
    }

    async fn record_digests(&self, found: Vec<FoundDigest>, now: Timestamp) -> Result<()> {
        self.db
            .write_with((found, now), |tx, (found, now)| {
                Box::pin(feed::record_digests(tx, found, *now))
            })
            .await
    }
}

fn alias_label(name: &ModelName, alias: &AliasName) -> String {
    format!("{name}@{alias}")
}
