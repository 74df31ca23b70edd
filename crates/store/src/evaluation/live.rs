//! What is done about outcomes in the background, by one replica at a time: predictions that are looked for, and endpoints
//! whose live metrics the gateway is told.

use std::time::Duration;

use async_trait::async_trait;
use lodeway_domain::{
    Error, Resource, ResourceKind, Result,
    caller::Workspace,
    evaluation::{Join, Outcome},
    time::Timestamp,
};

use super::{
    SqlEvaluation,
    outcomes::{note_change, outcome, text},
};
use crate::{args, sql::Tx};

/// The right to do this work. Who holds an older one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeeperLease {
    /// Grows with every change of the holder.
    pub fence: i64,
}

/// An outcome whose prediction is looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingOutcome {
    /// Where it was reported.
    pub workspace: Workspace,
    /// The outcome.
    pub outcome: Outcome,
    /// Grows with every change of it.
    pub version: i64,
    /// How often the prediction was looked for in vain.
    pub tries: i64,
}

/// An endpoint of whose outcomes the gateway is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveEndpoint {
    /// Its workspace.
    pub workspace: Workspace,
    /// Its name.
    pub endpoint: String,
    /// The change up to which outcomes are measured.
    pub change: i64,
}

/// The contract: one method is one atomic operation, durable when it returns.
///
/// Every method that takes a [`KeeperLease`] is refused with `Conflict` once somebody else has the work.
#[async_trait]
pub trait LiveStore: Send + Sync + 'static {
    /// Takes the work, or holds it for longer; none if somebody else has it.
    async fn keep_live(&self, holder: &str, now: Timestamp, lease: Duration) -> Result<Option<KeeperLease>>;
    /// At most `limit` outcomes whose predictions are to be looked for by now, the longest due first.
    async fn pending_outcomes(&self, now: Timestamp, limit: usize) -> Result<Vec<PendingOutcome>>;
    /// Writes what became of pending outcomes. One that stays pending is looked for again at `again`; one that was
    /// reported again in between stays as it is.
    async fn settle_outcomes(
        &self,
        lease: KeeperLease,
        settled: Vec<(PendingOutcome, Timestamp)>,
        tell_at: Timestamp,
    ) -> Result<()>;
    /// At most `limit` endpoints of which the gateway is to be told by now, the longest due first.
    async fn live_endpoints(&self, now: Timestamp, limit: usize) -> Result<Vec<LiveEndpoint>>;
    /// Writes that the gateway was told up to this change, or that it was not; it is told again at `again` at the
    /// earliest.
    async fn told(
        &self,
        lease: KeeperLease,
        endpoint: LiveEndpoint,
        is_told: bool,
        again: Timestamp,
    ) -> Result<()>;
}

/// What the work is called.
const WORK: &str = "outcomes";

/// Refuses who does not have the work.
async fn held(tx: &mut Tx, lease: KeeperLease) -> Result<()> {
    let lock = tx.engine().for_share();
    let sql = format!("SELECT fence FROM keepers WHERE name = $1 AND fence = $2{lock}");
    let row = tx.query_opt(&sql, &args![WORK, lease.fence]).await?;
    let lost = || Error::Conflict(Resource::new(ResourceKind::Evaluation, WORK));
    row.map(drop).ok_or_else(lost)
}

async fn settle(
    tx: &mut Tx,
    lease: KeeperLease,
    settled: &[(PendingOutcome, Timestamp)],
    tell_at: Timestamp,
) -> Result<()> {
    held(tx, lease).await?;
    let mut sorted: Vec<_> = settled.iter().collect();
    sorted.sort_by(|(one, _), (other, _)| one.outcome.prediction_id.cmp(&other.outcome.prediction_id));
    let mut changed = std::collections::BTreeSet::new();
    for (pending, again) in sorted {
        let sql = "UPDATE outcomes SET body = $4, state = $5, tries = $6, next_ms = $7, version = version + 1 \
                   WHERE workspace = $1 AND prediction_id = $2 AND version = $3 AND state = 'pending'";
        let workspace = pending.workspace.as_str();
        let args = args![
            workspace,
            &pending.outcome.prediction_id,
            pending.version,
            text(&pending.outcome)?,
            pending.outcome.join.as_str(),
            pending.tries,
            again.millis()
        ];
        if tx.execute(sql, &args).await? > 0 && pending.outcome.join != Join::Pending {
            changed.insert((workspace, pending.outcome.endpoint.as_str()));
        }
    }
    for (workspace, endpoint) in changed {
        note_change(tx, workspace, endpoint, tell_at).await?;
    }
    Ok(())
}

#[async_trait]
impl LiveStore for SqlEvaluation {
    async fn keep_live(&self, holder: &str, now: Timestamp, lease: Duration) -> Result<Option<KeeperLease>> {
        let input = (holder.to_owned(), now, now.plus(lease));
        let taken = self.db.write_with(input, |tx, (holder, now, until)| {
            Box::pin(async move {
                let sql = "INSERT INTO keepers (name, holder, lease_ms, fence) VALUES ($1, $2, $3, 1) \
                           ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, lease_ms = excluded.lease_ms, \
                           fence = CASE WHEN keepers.holder = excluded.holder THEN keepers.fence \
                           ELSE keepers.fence + 1 END \
                           WHERE keepers.holder = excluded.holder OR keepers.lease_ms <= $4 RETURNING fence";
                let args = args![WORK, holder, until.millis(), now.millis()];
                let row = tx.query_opt(sql, &args).await?;
                let fence = row.map(|row| row.int(0)).transpose()?;
                Ok(fence.map(|fence| KeeperLease { fence }))
            })
        });
        taken.await
    }

    async fn pending_outcomes(&self, now: Timestamp, limit: usize) -> Result<Vec<PendingOutcome>> {
        let sql = "SELECT body, workspace, version, tries FROM outcomes WHERE state = 'pending' AND next_ms <= $1 \
                   ORDER BY next_ms LIMIT $2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.db.query(sql, &args![now.millis(), limit]).await?;
        let each = rows.iter().map(|row| {
            Ok(PendingOutcome {
                outcome: outcome(row)?,
                workspace: Workspace::parse(row.str(1)?)?,
                version: row.int(2)?,
                tries: row.int(3)?,
            })
        });
        each.collect()
    }

    async fn settle_outcomes(
        &self,
        lease: KeeperLease,
        settled: Vec<(PendingOutcome, Timestamp)>,
        tell_at: Timestamp,
    ) -> Result<()> {
        self.db
            .write_with((lease, settled, tell_at), |tx, (lease, settled, tell_at)| {
                Box::pin(settle(tx, *lease, settled, *tell_at))
            })
            .await
    }

    async fn live_endpoints(&self, now: Timestamp, limit: usize) -> Result<Vec<LiveEndpoint>> {
        let sql = "SELECT workspace, endpoint, change FROM live_endpoints WHERE change > told AND due_ms <= $1 \
                   ORDER BY due_ms LIMIT $2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.db.query(sql, &args![now.millis(), limit]).await?;
        let each = rows.iter().map(|row| {
            Ok(LiveEndpoint {
                workspace: Workspace::parse(row.str(0)?)?,
                endpoint: row.text(1)?,
                change: row.int(2)?,
            })
        });
        each.collect()
    }

    async fn told(
        &self,
        lease: KeeperLease,
        endpoint: LiveEndpoint,
        is_told: bool,
        again: Timestamp,
    ) -> Result<()> {
        let input = (lease, endpoint, is_told, again);
        self.db
            .write_with(input, |tx, (lease, of, is_told, again)| {
                Box::pin(async move {
                    held(tx, *lease).await?;
                    let sql = "UPDATE live_endpoints SET told = CASE WHEN $4 THEN $3 ELSE told END, due_ms = $5 \
                               WHERE workspace = $1 AND endpoint = $2";
                    let args = args![
                        of.workspace.as_str(),
                        &of.endpoint,
                        of.change,
                        *is_told,
                        again.millis()
                    ];
                    tx.execute(sql, &args).await.map(drop)
                })
            })
            .await
    }
}
