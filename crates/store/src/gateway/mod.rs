//! What the gateway keeps: endpoints and their revisions, what targets meant when, rollouts, windows of measurements.
//!
//! [`GatewayStore`] is the contract, [`SqlGateway`] keeps it on both engines. A deleted endpoint stays as a record, so
//! that the id of an old answer still explains itself; its name is free at once.
//!
//! A tour: `contract` is the trait and what it speaks of, `endpoints` and `rollouts` are the writes, `windows` the
//! measurements, `live` the metrics that others report, `llm` routes to language models.

mod contract;
mod endpoints;
mod live;
mod llm;
mod rollouts;
mod windows;

use async_trait::async_trait;
use lodeway_domain::{
    Result,
    caller::Workspace,
    page::{Page, PageRequest},
    serving::{Endpoint, EndpointKey, EndpointName, Revision},
    time::Timestamp,
};
use tokio::sync::watch;

pub use self::contract::{
    EndpointRecord, EndpointUpdate, Events, GatewayEvent, GatewayStore, LiveMetric, NewRevision, Resolution,
    RolloutRecord, RolloutStep, Window, WindowKey, WindowQuery,
};
pub use self::llm::{LlmRouteRecord, LlmRouteUpdate, LlmStore};
use crate::{
    ledger::Write,
    ledger::{changes, once::once},
    migrate::{self, Migrations, Step},
    sql::{Db, OpenError},
};

const MIGRATIONS: Migrations = Migrations {
    component: "gateway",
    steps: &[
        Step {
            name: "gateway",
            sql: include_str!("../../migrations/gateway/0001_gateway.sql"),
        },
        Step {
            name: "llm",
            sql: include_str!("../../migrations/gateway/0002_llm.sql"),
        },
        Step {
            name: "live_metrics",
            sql: include_str!("../../migrations/gateway/0003_live_metrics.sql"),
        },
    ],
};

/// The gateway's store on SQLite or PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub struct SqlGateway {
    db: Db,
}

impl SqlGateway {
    /// Brings the database to the newest schema and wraps it.
    pub async fn open(db: Db, now: Timestamp) -> Result<Self, OpenError> {
        migrate::apply(&db, MIGRATIONS, now).await?;
        Ok(Self { db })
    }
}

#[async_trait]
impl GatewayStore for SqlGateway {
    async fn create_endpoint(
        &self,
        write: Write,
        endpoint: Endpoint,
        revision: Revision,
        resolutions: Vec<Resolution>,
    ) -> Result<EndpointRecord> {
        let input = (endpoint, revision, resolutions);
        once(
            &self.db,
            write,
            "CreateEndpoint",
            input,
            |tx, w, (endpoint, revision, found)| {
                Box::pin(endpoints::create(tx, w, endpoint, revision, found))
            },
        )
        .await
    }

    async fn endpoint(&self, workspace: &Workspace, name: &EndpointName) -> Result<EndpointRecord> {
        endpoints::get(&mut *self.db.snapshot().await?, workspace.as_str(), name).await
    }

    async fn endpoint_by_key(&self, workspace: &Workspace, key: EndpointKey) -> Result<Option<Endpoint>> {
        endpoints::by_key(&mut *self.db.read().await?, workspace.as_str(), key).await
    }

    async fn list_endpoints(
        &self,
        workspace: &Workspace,
        page: &PageRequest,
    ) -> Result<Page<EndpointRecord>> {
        endpoints::list(&mut *self.db.snapshot().await?, workspace.as_str(), page).await
    }

    async fn all_endpoints(&self) -> Result<(i64, Vec<(Workspace, EndpointRecord)>)> {
        endpoints::all(&mut *self.db.snapshot().await?).await
    }

    async fn workspaces(&self) -> Result<Vec<Workspace>> {
        endpoints::workspaces(&mut *self.db.read().await?).await
    }

    async fn update_endpoint(&self, write: Write, update: EndpointUpdate) -> Result<EndpointRecord> {
        once(&self.db, write, "UpdateEndpoint", update, |tx, w, update| {
            Box::pin(endpoints::update(tx, w, update))
        })
        .await
    }

    async fn delete_endpoint(&self, write: Write, name: EndpointName) -> Result<()> {
        once(&self.db, write, "DeleteEndpoint", name, |tx, w, name| {
            Box::pin(endpoints::delete(tx, w, name))
        })
        .await
    }

    async fn add_revision(
        &self,
        write: Write,
        method: &'static str,
        new: NewRevision,
    ) -> Result<EndpointRecord> {
        once(&self.db, write, method, new, |tx, w, new| {
            Box::pin(endpoints::add_own_revision(tx, w, new))
        })
        .await
    }

    async fn revision(&self, key: EndpointKey, number: u32) -> Result<Revision> {
        endpoints::revision(&mut *self.db.read().await?, key, number).await
    }

    async fn revisions(&self, key: EndpointKey, page: &PageRequest) -> Result<Page<Revision>> {
        endpoints::revisions(&mut *self.db.read().await?, key, page).await
    }

    async fn revision_at(&self, key: EndpointKey, at: Timestamp) -> Result<Option<Revision>> {
        endpoints::revision_at(&mut *self.db.read().await?, key, at).await
    }

    async fn resolve(&self, write: Write, key: EndpointKey, resolution: Resolution) -> Result<()> {
        self.db
            .write_with((write, key, resolution), |tx, (write, key, resolution)| {
                Box::pin(endpoints::resolve(tx, write, *key, resolution))
            })
            .await
    }

    async fn resolutions_at(
        &self,
        key: EndpointKey,
        revision: u32,
        at: Timestamp,
    ) -> Result<Vec<Resolution>> {
        endpoints::resolutions_at(&mut *self.db.read().await?, key, revision, at).await
    }

    async fn changes_after(
        &self,
        workspace: Option<&Workspace>,
        cursor: i64,
        limit: usize,
    ) -> Result<Events> {
        endpoints::changes_after(&mut *self.db.read().await?, workspace, cursor, limit).await
    }

    fn wakeups(&self) -> watch::Receiver<u64> {
        self.db.wakeups()
    }

    async fn prune_changes(&self, now: Timestamp, keep: std::time::Duration) -> Result<u64> {
        changes::prune(&self.db, now, keep).await
    }

    async fn start_rollout(&self, write: Write, record: RolloutRecord) -> Result<RolloutRecord> {
        once(&self.db, write, "StartRollout", record, |tx, w, record| {
            Box::pin(rollouts::start(tx, w, record))
        })
        .await
    }

    async fn rollout(&self, workspace: &Workspace, id: &str) -> Result<RolloutRecord> {
        rollouts::get(&mut *self.db.read().await?, workspace.as_str(), id).await
    }

    async fn rollouts(
        &self,
        workspace: &Workspace,
        endpoint: Option<EndpointKey>,
        page: &PageRequest,
    ) -> Result<Page<RolloutRecord>> {
        rollouts::list(&mut *self.db.read().await?, workspace.as_str(), endpoint, page).await
    }

    async fn lease_rollouts(
        &self,
        holder: &str,
        now: Timestamp,
        lease: std::time::Duration,
    ) -> Result<Vec<RolloutRecord>> {
        let input = (holder.to_owned(), now, lease);
        self.db
            .write_with(input, |tx, (holder, now, lease)| {
                Box::pin(rollouts::lease(tx, holder, *now, *lease))
            })
            .await
    }

    async fn step_rollout(&self, write: Write, step: RolloutStep) -> Result<RolloutRecord> {
        self.db
            .write_with((write, step), |tx, (write, step)| {
                Box::pin(rollouts::step(tx, write, step))
            })
            .await
    }

    async fn put_windows(&self, windows: Vec<Window>) -> Result<()> {
        self.db
            .write_with(windows, |tx, windows| Box::pin(windows::put(tx, windows)))
            .await
    }

    async fn windows(&self, query: &WindowQuery) -> Result<Vec<Window>> {
        windows::find(&mut *self.db.read().await?, query).await
    }

    async fn prune_windows(&self, before: Timestamp) -> Result<()> {
        self.db
            .write_with(before, |tx, before| Box::pin(windows::prune(tx, *before)))
            .await
    }

    async fn record_live_metrics(
        &self,
        write: Write,
        key: EndpointKey,
        metrics: Vec<LiveMetric>,
    ) -> Result<()> {
        let input = (key, metrics);
        once(
            &self.db,
            write,
            "RecordLiveMetrics",
            input,
            |tx, _, (key, metrics)| Box::pin(live::record(tx, *key, metrics)),
        )
        .await
    }

    async fn live_metrics(&self, key: EndpointKey) -> Result<Vec<LiveMetric>> {
        live::find(&mut *self.db.read().await?, key).await
    }

    async fn secret(&self, name: &str, fresh: [u8; 32]) -> Result<[u8; 32]> {
        let input = (name.to_owned(), fresh);
        self.db
            .write_with(input, |tx, (name, fresh)| {
                Box::pin(windows::secret(tx, name, fresh))
            })
            .await
    }
}
