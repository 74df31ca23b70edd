//! Outcomes of predictions.

use std::collections::BTreeSet;

use async_trait::async_trait;
use lodeway_domain::{
    Error, Result,
    caller::Workspace,
    evaluation::{Join, Outcome},
    page::{KeyValue, Page, PageRequest, Position},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::SqlEvaluation;
use crate::{
    args,
    ledger::Write,
    ledger::once::once,
    sql::{Arg, Row, Tx},
};

/// Which outcomes are wanted.
#[derive(Debug, Clone)]
pub struct OutcomeQuery {
    /// Of predictions of this endpoint.
    pub endpoint: String,
    /// Of this target; none: of each.
    pub target: Option<String>,
    /// Of predictions given from this moment on.
    pub start: Timestamp,
    /// Of predictions given before this moment.
    pub end: Timestamp,
}

/// Outcomes as they are reported.
#[derive(Debug, Clone)]
pub struct NewOutcomes {
    /// The outcomes.
    pub outcomes: Vec<Outcome>,
    /// When the predictions of those that are pending are looked for first.
    pub join_at: Timestamp,
    /// When the gateway is told of metrics at the earliest.
    pub tell_at: Timestamp,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Outcomes that were given.
    pub accepted: i64,
    /// Of these, those whose prediction is not known yet.
    pub pending: i64,
}

/// Which outcomes without a prediction are wanted.
#[derive(Debug, Clone)]
pub struct UnjoinedQuery {
    /// Of predictions of an endpoint of this name.
    pub endpoint: String,
    /// Of predictions given from this moment on.
    pub start: Timestamp,
    /// Of predictions given before this moment.
    pub end: Timestamp,
    /// Also those whose prediction is still looked for.
    pub with_pending: bool,
    /// The page.
    pub page: PageRequest,
}

/// An outcome whose prediction is not known.
#[derive(Debug, Clone, PartialEq)]
pub struct UnjoinedOutcome {
    /// The outcome.
    pub outcome: Outcome,
    /// How often its prediction was looked for in vain.
    pub tries: i64,
    /// When it is looked for again, if it is.
    pub next: Option<Timestamp>,
}

/// The contract: one method is one atomic operation, durable when it returns.
#[async_trait]
pub trait OutcomeStore: Send + Sync + 'static {
    /// Keeps outcomes; two of one prediction become one as [`Outcome::merged`] says, and one that changes nothing leaves
    /// everything as it was. A repeated write with the same request id gives the first answer.
    async fn report_outcomes(&self, write: Write, new: NewOutcomes) -> Result<Kept>;
    /// At most `limit` outcomes in the order of predictions, after the one of this time and id.
    async fn outcomes(
        &self,
        workspace: &Workspace,
        query: &OutcomeQuery,
        after: Option<(Timestamp, &str)>,
        limit: usize,
    ) -> Result<Vec<Outcome>>;
    /// A page of outcomes that are not joined, in the order of predictions.
    async fn unjoined_outcomes(
        &self,
        workspace: &Workspace,
        query: &UnjoinedQuery,
    ) -> Result<Page<UnjoinedOutcome>>;
    /// The outcomes of these predictions, as far as they are known, in any order.
    async fn outcomes_of(&self, workspace: &Workspace, prediction_ids: &[&str]) -> Result<Vec<Outcome>>;
}

/// Predictions of one statement.
const MAX_ASKED: usize = 500;

async fn report(tx: &mut Tx, write: &Write, new: &NewOutcomes) -> Result<Kept> {
    // In one order, so that two reports never wait for each other crosswise.
    let mut sorted: Vec<&Outcome> = new.outcomes.iter().collect();
    sorted.sort_by(|one, other| one.prediction_id.cmp(&other.prediction_id));
    let (mut pending, mut changed) = (0, BTreeSet::new());
    for outcome in sorted {
        let kept = keep(tx, write.workspace(), outcome, new.join_at, &mut changed).await?;
        pending += i64::from(kept == Join::Pending);
    }
    for endpoint in changed {
        note_change(tx, write.workspace(), endpoint, new.tell_at).await?;
    }
    Ok(Kept {
        accepted: i64::try_from(new.outcomes.len()).map_err(Error::internal)?,
        pending,
    })
}

/// Keeps one outcome beside what is known of its prediction; how its join stands then.
async fn keep<'a>(
    tx: &mut Tx,
    workspace: &str,
    new: &'a Outcome,
    join_at: Timestamp,
    changed: &mut BTreeSet<&'a str>,
) -> Result<Join> {
    let lock = tx.engine().for_update();
    let sql = format!("SELECT body FROM outcomes WHERE workspace = $1 AND prediction_id = $2{lock}");
    let row = tx.query_opt(&sql, &args![workspace, &new.prediction_id]).await?;
    let older = row.as_ref().map(outcome).transpose()?;
    let kept = match &older {
        Some(older) => Outcome::merged(older.clone(), new.clone()),
        None => new.clone(),
    };
    if older.as_ref() == Some(&kept) {
        return Ok(kept.join);
    }
    let sql = "INSERT INTO outcomes (workspace, prediction_id, endpoint, target, predicted_ms, known_ms, body, state, \
               next_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (workspace, prediction_id) \
               DO UPDATE SET known_ms = excluded.known_ms, body = excluded.body, state = excluded.state, \
               next_ms = excluded.next_ms, tries = 0, version = outcomes.version + 1";
    let args = args![
        workspace,
        &kept.prediction_id,
        &kept.endpoint,
        &kept.target,
        kept.predicted.millis(),
        kept.known.millis(),
        text(&kept)?,
        kept.join.as_str(),
        join_at.millis()
    ];
    tx.execute(sql, &args).await?;
    changed.insert(new.endpoint.as_str());
    Ok(kept.join)
}

pub(super) fn text(outcome: &Outcome) -> Result<String> {
    serde_json::to_string(outcome).map_err(Error::internal)
}

pub(super) fn outcome(row: &Row) -> Result<Outcome> {
    serde_json::from_str(row.str(0)?).map_err(Error::internal)
}

/// Something changed in what is known of an endpoint, of which the gateway is to be told.
pub(super) async fn note_change(
    tx: &mut Tx,
    workspace: &str,
    endpoint: &str,
    tell_at: Timestamp,
) -> Result<()> {
    // What waits already waits no longer for it, and what was told lately waits as long as was said then.
    let sql = "INSERT INTO live_endpoints (workspace, endpoint, change, told, due_ms) VALUES ($1, $2, 1, 0, $3) \
               ON CONFLICT (workspace, endpoint) DO UPDATE SET change = live_endpoints.change + 1, \
               due_ms = CASE WHEN live_endpoints.change > live_endpoints.told OR live_endpoints.due_ms > excluded.due_ms \
               THEN live_endpoints.due_ms ELSE excluded.due_ms END";
    let args = args![workspace, endpoint, tell_at.millis()];
    tx.execute(sql, &args).await.map(drop)
}

#[async_trait]
impl OutcomeStore for SqlEvaluation {
    async fn report_outcomes(&self, write: Write, new: NewOutcomes) -> Result<Kept> {
        once(&self.db, write, "ReportOutcomes", new, |tx, write, new| {
            Box::pin(report(tx, write, new))
        })
        .await
    }

    async fn outcomes(
        &self,
        workspace: &Workspace,
        query: &OutcomeQuery,
        after: Option<(Timestamp, &str)>,
        limit: usize,
    ) -> Result<Vec<Outcome>> {
        let sql = "SELECT body FROM outcomes WHERE workspace = $1 AND endpoint = $2 AND predicted_ms >= $3 \
                   AND predicted_ms < $4 AND (CAST($5 AS TEXT) IS NULL OR target = $5) \
                   AND (predicted_ms > $6 OR (predicted_ms = $6 AND prediction_id > $7)) \
                   ORDER BY predicted_ms, prediction_id LIMIT $8";
        let (after_ms, after_id) = after.map_or((i64::MIN, ""), |(at, id)| (at.millis(), id));
        let args = args![
            workspace.as_str(),
            &query.endpoint,
            query.start.millis(),
            query.end.millis(),
            query.target.as_deref(),
            after_ms,
            after_id,
            i64::try_from(limit).unwrap_or(i64::MAX)
        ];
        self.db.query(sql, &args).await?.iter().map(outcome).collect()
    }

    async fn unjoined_outcomes(
        &self,
        workspace: &Workspace,
        query: &UnjoinedQuery,
    ) -> Result<Page<UnjoinedOutcome>> {
        let sql = "SELECT body, tries, next_ms FROM outcomes WHERE workspace = $1 AND endpoint = $2 \
                   AND state <> 'joined' AND (state = 'unjoined' OR $3) AND predicted_ms >= $4 AND predicted_ms < $5 \
                   AND (predicted_ms > $6 OR (predicted_ms = $6 AND prediction_id > $7)) \
                   ORDER BY predicted_ms, prediction_id LIMIT $8";
        let (after_ms, after_id) = match query.page.after.as_ref().map(|position| position.0.as_slice()) {
            Some([KeyValue::Int(ms), KeyValue::Text(id)]) => (*ms, id.as_str()),
            _ => (i64::MIN, ""),
        };
        let args = args![
            workspace.as_str(),
            &query.endpoint,
            query.with_pending,
            query.start.millis(),
            query.end.millis(),
            after_ms,
            after_id,
            i64::try_from(query.page.size + 1).unwrap_or(i64::MAX)
        ];
        let rows = self.db.query(sql, &args).await?;
        let all = rows.iter().map(|row| {
            let (outcome, tries, next_ms) = (outcome(row)?, row.int(1)?, row.int(2)?);
            let place = vec![
                KeyValue::Int(outcome.predicted.millis()),
                KeyValue::Text(outcome.prediction_id.clone()),
            ];
            let next = (outcome.join == Join::Pending).then(|| Timestamp::from_millis(next_ms));
            let found = UnjoinedOutcome { outcome, tries, next };
            Ok((found, Position(place)))
        });
        Ok(Page::from_lookahead(all.collect::<Result<_>>()?, query.page.size))
    }

    async fn outcomes_of(&self, workspace: &Workspace, prediction_ids: &[&str]) -> Result<Vec<Outcome>> {
        let mut conn = self.db.read().await?;
        let mut found = Vec::new();
        for some in prediction_ids.chunks(MAX_ASKED) {
            let places: Vec<_> = (2..some.len() + 2).map(|place| format!("${place}")).collect();
            let sql = format!(
                "SELECT body FROM outcomes WHERE workspace = $1 AND prediction_id IN ({})",
                places.join(", ")
            );
            let ids = some.iter().map(|id| Arg::from(*id));
            let args: Vec<_> = args![workspace.as_str()].into_iter().chain(ids).collect();
            for row in &conn.query(&sql, &args).await? {
                found.push(outcome(row)?);
            }
        }
        Ok(found)
    }
}
