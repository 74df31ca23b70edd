//! Outcomes of predictions.

use async_trait::async_trait;
use lodeway_domain::{Error, Result, caller::Workspace, evaluation::Outcome, time::Timestamp};

use super::SqlEvaluation;
use crate::{
    args,
    ledger::once::once,
    registry::Write,
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

/// The contract: one method is one atomic operation, durable when it returns.
#[async_trait]
pub trait OutcomeStore: Send + Sync + 'static {
    /// Keeps outcomes; of two of one prediction the one that became known later counts, of equals the one that came
    /// later. How many were given; a repeated write with the same request id gives the first answer.
    async fn report_outcomes(&self, write: Write, outcomes: Vec<Outcome>) -> Result<i64>;
    /// At most `limit` outcomes in the order of predictions, after the one of this time and id.
    async fn outcomes(
        &self,
        workspace: &Workspace,
        query: &OutcomeQuery,
        after: Option<(Timestamp, &str)>,
        limit: usize,
    ) -> Result<Vec<Outcome>>;
    /// The outcomes of these predictions, as far as they are known, in any order.
    async fn outcomes_of(&self, workspace: &Workspace, prediction_ids: &[&str]) -> Result<Vec<Outcome>>;
}

/// Predictions of one statement.
const MAX_ASKED: usize = 500;

async fn report(tx: &mut Tx, write: &Write, outcomes: &[Outcome]) -> Result<i64> {
    // In one order, so that two reports never wait for each other crosswise.
    let mut sorted: Vec<&Outcome> = outcomes.iter().collect();
    sorted.sort_by(|one, other| one.prediction_id.cmp(&other.prediction_id));
    let sql = "INSERT INTO outcomes (workspace, prediction_id, endpoint, target, predicted_ms, known_ms, body) \
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (workspace, prediction_id) \
               DO UPDATE SET known_ms = excluded.known_ms, body = excluded.body \
               WHERE excluded.known_ms >= outcomes.known_ms";
    for outcome in sorted {
        let args = args![
            write.workspace(),
            &outcome.prediction_id,
            &outcome.endpoint,
            &outcome.target,
            outcome.predicted.millis(),
            outcome.known.millis(),
            serde_json::to_string(outcome).map_err(Error::internal)?
        ];
        tx.execute(sql, &args).await?;
    }
    i64::try_from(outcomes.len()).map_err(Error::internal)
}

fn outcome(row: &Row) -> Result<Outcome> {
    serde_json::from_str(row.str(0)?).map_err(Error::internal)
}

#[async_trait]
impl OutcomeStore for SqlEvaluation {
    async fn report_outcomes(&self, write: Write, outcomes: Vec<Outcome>) -> Result<i64> {
        once(
            &self.db,
            write,
            "ReportOutcomes",
            outcomes,
            |tx, write, outcomes| Box::pin(report(tx, write, outcomes)),
        )
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
