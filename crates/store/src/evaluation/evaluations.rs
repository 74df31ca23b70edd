//! Evaluations: jobs with a lease and a fence, their parts and reports, and answers of judges.

use std::time::Duration;

use async_trait::async_trait;
use lodeway_domain::{
    Error, Reason, Resource, ResourceKind, Result,
    caller::Workspace,
    evaluation::{EvaluationRecord, EvaluationState, Part, PartOf},
    page::{KeyValue, Page, PageRequest, Position},
    time::Timestamp,
};
use tokio::sync::watch;

use super::SqlEvaluation;
use crate::{
    args,
    ledger::Write,
    ledger::{
        changes::{self, NewChange},
        once::{made_before, once},
    },
    sql::{Row, Tx},
};

/// Which evaluations are wanted; `None` is any.
#[derive(Debug, Clone)]
pub struct EvaluationQuery {
    /// Of this registered model.
    pub model_name: Option<String>,
    /// Of this version of it.
    pub model_version: Option<i64>,
    /// On this dataset.
    pub dataset: Option<String>,
    /// Called so.
    pub name: Option<String>,
    /// The page.
    pub page: PageRequest,
}

/// The right to run an evaluation. Who holds an older one is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The evaluation.
    pub evaluation_id: String,
    /// Grows with every lease of it.
    pub fence: i64,
}

/// The contract: one method is one atomic operation, durable when it returns.
///
/// A repeated write with the same request id gives the first answer. Every method that takes a [`Lease`] is refused with
/// `Conflict` once somebody else has the evaluation, or once it has ended.
#[async_trait]
pub trait EvaluationStore: Send + Sync + 'static {
    /// Keeps a new evaluation, as given.
    async fn create_evaluation(&self, write: Write, record: EvaluationRecord) -> Result<EvaluationRecord>;
    /// The evaluation that this request made before, if it did: a repetition is not looked at anew.
    async fn evaluation_made_before(&self, write: &Write) -> Result<Option<EvaluationRecord>>;
    /// Gives one. Errors: `NotFound`.
    async fn evaluation(&self, workspace: &Workspace, id: &str) -> Result<EvaluationRecord>;
    /// A page, newest first.
    async fn evaluations(
        &self,
        workspace: &Workspace,
        query: &EvaluationQuery,
    ) -> Result<Page<EvaluationRecord>>;
    /// Ends one that waits, and asks one that runs to stop; one that has ended stays as it is.
    async fn cancel_evaluation(&self, write: Write, id: String) -> Result<EvaluationRecord>;
    /// Takes at most `limit` evaluations that wait or whose holder's lease ran out, the oldest first, and marks them
    /// running.
    async fn lease_evaluations(
        &self,
        holder: &str,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<(Lease, EvaluationRecord)>>;
    /// Holds an evaluation for longer; whether somebody asked it to stop.
    async fn renew_lease(&self, lease: &Lease, until: Timestamp) -> Result<bool>;
    /// Gives an evaluation back that this replica cannot go on with now: another one may take it at once.
    async fn release_lease(&self, lease: &Lease, now: Timestamp) -> Result<()>;
    /// Writes how an evaluation stands; with its report if it has one. Its version becomes one more than it was, and
    /// whether somebody asked it to stop stays as it was.
    async fn save_evaluation(
        &self,
        lease: &Lease,
        record: EvaluationRecord,
        report: Option<String>,
        now: Timestamp,
    ) -> Result<EvaluationRecord>;
    /// Keeps a part; one with the same first row is kept as it was.
    async fn add_part(&self, lease: &Lease, part: Part) -> Result<()>;
    /// The parts of an evaluation, by kind and row.
    async fn parts(&self, id: &str) -> Result<Vec<Part>>;
    /// The report, if the evaluation has one.
    async fn report(&self, id: &str) -> Result<Option<String>>;
    /// The answer kept under a key, if there is one.
    async fn judge_answer(&self, workspace: &Workspace, key: &str) -> Result<Option<Vec<u8>>>;
    /// Forgets the answers whose keys begin so; it ends in `/`.
    async fn forget_answers(&self, workspace: &Workspace, prefix: &str) -> Result<()>;
    /// Keeps an answer; one under the same key is kept as it was.
    async fn put_judge_answer(
        &self,
        workspace: &Workspace,
        key: &str,
        body: Vec<u8>,
        now: Timestamp,
    ) -> Result<()>;
    /// Changes whenever an evaluation may have changed; a wake-up may be missing, so look now and then.
    fn wakeups(&self) -> watch::Receiver<u64>;
    /// Takes old entries of the change log away.
    async fn prune_changes(&self, now: Timestamp, keep: Duration) -> Result<u64>;
}

/// What the change log calls an evaluation.
const ENTITY: &str = "evaluation";

fn text(record: &EvaluationRecord) -> Result<String> {
    serde_json::to_string(record).map_err(Error::internal)
}

/// The record; what the columns say counts.
fn record(row: &Row) -> Result<EvaluationRecord> {
    let mut record: EvaluationRecord = serde_json::from_str(row.str(0)?).map_err(Error::internal)?;
    record.version = row.int(1)?;
    record.cancel_requested = row.bool(2)?;
    Ok(record)
}

const FIELDS: &str = "body, version, cancel_requested";

fn missing(id: &str) -> Error {
    Error::not_found(ResourceKind::Evaluation, id)
}

fn lost(id: &str) -> Error {
    Error::Conflict(Resource::new(ResourceKind::Evaluation, id))
}

/// The version of its dataset that an evaluation reads; 0: not known yet.
pub(super) fn version_read(record: &EvaluationRecord) -> i64 {
    match record.dataset_version {
        0 => record.spec.dataset_version.unwrap_or_default(),
        version => version,
    }
}

/// Writes the record with a new version; the caller has the row. Appends to the change log, so it comes last.
async fn put(tx: &mut Tx, record: &EvaluationRecord, now: Timestamp) -> Result<()> {
    let model = record.model.as_ref();
    let sql = "UPDATE evaluations SET body = $2, state = $3, model_name = $4, model_version = $5, version = $6, \
               cancel_requested = $7, dataset_version = $8 WHERE evaluation_id = $1";
    let args = args![
        &record.evaluation_id,
        text(record)?,
        record.state.as_str(),
        model.map_or("", |model| model.name.as_str()),
        model.map_or(0, |model| model.version),
        record.version,
        record.cancel_requested,
        version_read(record)
    ];
    tx.execute(sql, &args).await?;
    tell(tx, record, now).await
}

async fn tell(tx: &mut Tx, record: &EvaluationRecord, now: Timestamp) -> Result<()> {
    let change = NewChange {
        workspace: &record.workspace,
        entity: ENTITY,
        entity_id: &record.evaluation_id,
        version: record.version,
        payload: &[],
    };
    changes::append(tx, change, now).await.map(drop)
}

/// The evaluation if the lease still holds, its row locked.
async fn held(tx: &mut Tx, lease: &Lease) -> Result<EvaluationRecord> {
    let lock = tx.engine().for_update();
    let sql = format!(
        "SELECT {FIELDS} FROM evaluations WHERE evaluation_id = $1 AND fence = $2 AND state = 'running'{lock}"
    );
    let row = tx
        .query_opt(&sql, &args![&lease.evaluation_id, lease.fence])
        .await?;
    record(&row.ok_or_else(|| lost(&lease.evaluation_id))?)
}

async fn create(tx: &mut Tx, write: &Write, new: &EvaluationRecord) -> Result<EvaluationRecord> {
    let new = EvaluationRecord {
        version: 1,
        ..new.clone()
    };
    let sql = "INSERT INTO evaluations (evaluation_id, workspace, name, dataset, model_name, model_version, state, \
               cancel_requested, holder, lease_ms, fence, version, created_ms, body, dataset_version) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, FALSE, '', 0, 0, 1, $8, $9, $10) ON CONFLICT DO NOTHING";
    let model = new.model.as_ref();
    let args = args![
        &new.evaluation_id,
        write.workspace(),
        &new.spec.name,
        &new.spec.dataset,
        model.map_or("", |model| model.name.as_str()),
        model.map_or(0, |model| model.version),
        new.state.as_str(),
        new.created.millis(),
        text(&new)?,
        version_read(&new)
    ];
    if tx.execute(sql, &args).await? == 0 {
        return Err(Error::exists(ResourceKind::Evaluation, &new.evaluation_id));
    }
    tell(tx, &new, write.now).await?;
    Ok(new)
}

async fn cancel(tx: &mut Tx, write: &Write, id: &str) -> Result<EvaluationRecord> {
    let lock = tx.engine().for_update();
    let sql = format!("SELECT {FIELDS} FROM evaluations WHERE workspace = $1 AND evaluation_id = $2{lock}");
    let row = tx.query_opt(&sql, &args![write.workspace(), id]).await?;
    let mut found = record(&row.ok_or_else(|| missing(id))?)?;
    if found.state.has_ended() || found.cancel_requested {
        return Ok(found);
    }
    found.cancel_requested = true;
    found.version += 1;
    if found.state == EvaluationState::Pending {
        found.state = EvaluationState::Cancelled;
        found.ended = Some(write.now);
    }
    put(tx, &found, write.now).await?;
    Ok(found)
}

async fn lease_some(
    tx: &mut Tx,
    holder: &str,
    now: Timestamp,
    lease: Duration,
    limit: usize,
) -> Result<Vec<(Lease, EvaluationRecord)>> {
    let skip = match tx.engine() {
        crate::sql::Engine::Sqlite => "",
        crate::sql::Engine::Postgres => " FOR UPDATE SKIP LOCKED",
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = format!(
        "SELECT {FIELDS}, fence FROM evaluations WHERE state IN ('pending', 'running') AND lease_ms <= $1 \
         ORDER BY created_ms, evaluation_id LIMIT $2{skip}"
    );
    let rows = tx.query(&sql, &args![now.millis(), limit]).await?;
    let mut leased = Vec::new();
    for row in &rows {
        let mut found = record(row)?;
        let fence = row.int(3)? + 1;
        found.version += 1;
        found.state = EvaluationState::Running;
        found.started = found.started.or(Some(now));
        let sql = "UPDATE evaluations SET holder = $2, lease_ms = $3, fence = $4 WHERE evaluation_id = $1";
        let args = args![&found.evaluation_id, holder, now.plus(lease).millis(), fence];
        tx.execute(sql, &args).await?;
        put(tx, &found, now).await?;
        let lease = Lease {
            evaluation_id: found.evaluation_id.clone(),
            fence,
        };
        leased.push((lease, found));
    }
    Ok(leased)
}

/// The method of requests that make evaluations.
const CREATE: &str = "CreateEvaluation";

#[async_trait]
impl EvaluationStore for SqlEvaluation {
    async fn create_evaluation(&self, write: Write, record: EvaluationRecord) -> Result<EvaluationRecord> {
        once(&self.db, write, CREATE, record, |tx, write, record| {
            Box::pin(create(tx, write, record))
        })
        .await
    }

    async fn evaluation_made_before(&self, write: &Write) -> Result<Option<EvaluationRecord>> {
        made_before(&self.db, write, CREATE).await
    }

    async fn evaluation(&self, workspace: &Workspace, id: &str) -> Result<EvaluationRecord> {
        let sql = format!("SELECT {FIELDS} FROM evaluations WHERE workspace = $1 AND evaluation_id = $2");
        let row = self.db.query_opt(&sql, &args![workspace.as_str(), id]).await?;
        record(&row.ok_or_else(|| missing(id))?)
    }

    async fn evaluations(
        &self,
        workspace: &Workspace,
        query: &EvaluationQuery,
    ) -> Result<Page<EvaluationRecord>> {
        let (before_ms, before_id) = match query.page.after.as_ref().map(|position| position.0.as_slice()) {
            Some([KeyValue::Int(ms), KeyValue::Text(id)]) => (*ms, id.as_str()),
            _ => (i64::MAX, ""),
        };
        let sql = format!(
            "SELECT {FIELDS} FROM evaluations WHERE workspace = $1 \
             AND (created_ms < $2 OR (created_ms = $2 AND evaluation_id < $3)) \
             AND (CAST($4 AS TEXT) IS NULL OR model_name = $4) AND (CAST($5 AS BIGINT) IS NULL OR model_version = $5) \
             AND (CAST($6 AS TEXT) IS NULL OR dataset = $6) AND (CAST($7 AS TEXT) IS NULL OR name = $7) \
             ORDER BY created_ms DESC, evaluation_id DESC LIMIT $8"
        );
        let limit = i64::try_from(query.page.size + 1).unwrap_or(i64::MAX);
        let args = args![
            workspace.as_str(),
            before_ms,
            before_id,
            query.model_name.as_deref(),
            query.model_version,
            query.dataset.as_deref(),
            query.name.as_deref(),
            limit
        ];
        let rows = self.db.query(&sql, &args).await?;
        let found = rows.iter().map(|row| {
            let found = record(row)?;
            let place = vec![
                KeyValue::Int(found.created.millis()),
                KeyValue::Text(found.evaluation_id.clone()),
            ];
            Ok((found, Position(place)))
        });
        Ok(Page::from_lookahead(
            found.collect::<Result<_>>()?,
            query.page.size,
        ))
    }

    async fn cancel_evaluation(&self, write: Write, id: String) -> Result<EvaluationRecord> {
        once(&self.db, write, "CancelEvaluation", id, |tx, write, id| {
            Box::pin(cancel(tx, write, id))
        })
        .await
    }

    async fn lease_evaluations(
        &self,
        holder: &str,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<(Lease, EvaluationRecord)>> {
        let input = (holder.to_owned(), now, lease, limit);
        self.db
            .write_with(input, |tx, (holder, now, lease, limit)| {
                Box::pin(lease_some(tx, holder, *now, *lease, *limit))
            })
            .await
    }

    async fn renew_lease(&self, lease: &Lease, until: Timestamp) -> Result<bool> {
        self.db
            .write_with((lease.clone(), until), |tx, (lease, until)| {
                Box::pin(async move {
                    let sql = "UPDATE evaluations SET lease_ms = $3 WHERE evaluation_id = $1 AND fence = $2 \
                               AND state = 'running' RETURNING cancel_requested";
                    let args = args![&lease.evaluation_id, lease.fence, until.millis()];
                    let row = tx.query_opt(sql, &args).await?;
                    row.ok_or_else(|| lost(&lease.evaluation_id))?.bool(0)
                })
            })
            .await
    }

    async fn release_lease(&self, lease: &Lease, now: Timestamp) -> Result<()> {
        self.renew_lease(lease, now).await.map(drop)
    }

    async fn save_evaluation(
        &self,
        lease: &Lease,
        record: EvaluationRecord,
        report: Option<String>,
        now: Timestamp,
    ) -> Result<EvaluationRecord> {
        let input = (lease.clone(), record, report, now);
        self.db
            .write_with(input, |tx, (lease, wanted, report, now)| {
                Box::pin(async move {
                    let before = held(tx, lease).await?;
                    if !before.state.may_become(wanted.state) {
                        return Err(Error::precondition(
                            Reason::EvaluationState,
                            format!(
                                "evaluation `{}` cannot become {}",
                                lease.evaluation_id,
                                wanted.state.as_str()
                            ),
                            vec![("resource_name", lease.evaluation_id.clone())],
                        ));
                    }
                    let next = EvaluationRecord {
                        version: before.version + 1,
                        cancel_requested: before.cancel_requested,
                        ..wanted.clone()
                    };
                    if let Some(report) = report {
                        let sql = "INSERT INTO evaluation_reports (evaluation_id, body) VALUES ($1, $2) \
                                   ON CONFLICT (evaluation_id) DO UPDATE SET body = excluded.body";
                        tx.execute(sql, &args![&lease.evaluation_id, report]).await?;
                    }
                    put(tx, &next, *now).await?;
                    Ok(next)
                })
            })
            .await
    }

    async fn add_part(&self, lease: &Lease, part: Part) -> Result<()> {
        self.db
            .write_with((lease.clone(), part), |tx, (lease, part)| {
                Box::pin(async move {
                    held(tx, lease).await?;
                    let sql = "INSERT INTO evaluation_parts (evaluation_id, part_of, start_row, body) \
                               VALUES ($1, $2, $3, $4) ON CONFLICT (evaluation_id, part_of, start_row) DO NOTHING";
                    let body = serde_json::to_string(part).map_err(Error::internal)?;
                    let start = i64::try_from(part.start_row).map_err(Error::internal)?;
                    let args = args![&lease.evaluation_id, part.of.as_str(), start, body];
                    tx.execute(sql, &args).await.map(drop)
                })
            })
            .await
    }

    async fn parts(&self, id: &str) -> Result<Vec<Part>> {
        let mut all = Vec::new();
        for of in PartOf::ALL {
            let sql = "SELECT body FROM evaluation_parts WHERE evaluation_id = $1 AND part_of = $2 ORDER BY start_row";
            for row in self.db.query(sql, &args![id, of.as_str()]).await? {
                all.push(serde_json::from_str(row.str(0)?).map_err(Error::internal)?);
            }
        }
        Ok(all)
    }

    async fn report(&self, id: &str) -> Result<Option<String>> {
        let sql = "SELECT body FROM evaluation_reports WHERE evaluation_id = $1";
        let row = self.db.query_opt(sql, &args![id]).await?;
        row.map(|row| row.text(0)).transpose()
    }

    async fn judge_answer(&self, workspace: &Workspace, key: &str) -> Result<Option<Vec<u8>>> {
        let sql = "SELECT body FROM judge_answers WHERE workspace = $1 AND answer_key = $2";
        let row = self.db.query_opt(sql, &args![workspace.as_str(), key]).await?;
        row.map(|row| row.bytes(0)).transpose()
    }

    async fn forget_answers(&self, workspace: &Workspace, prefix: &str) -> Result<()> {
        // The character after `/`: texts are compared byte by byte.
        let end = format!("{}0", prefix.trim_end_matches('/'));
        let sql = "DELETE FROM judge_answers WHERE workspace = $1 AND answer_key >= $2 AND answer_key < $3";
        let args = args![workspace.as_str(), prefix, &end];
        self.db.write_at_once(sql, &args).await.map(drop)
    }

    async fn put_judge_answer(
        &self,
        workspace: &Workspace,
        key: &str,
        body: Vec<u8>,
        now: Timestamp,
    ) -> Result<()> {
        let sql = "INSERT INTO judge_answers (workspace, answer_key, body, created_ms) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (workspace, answer_key) DO NOTHING";
        let args = args![workspace.as_str(), key, &body[..], now.millis()];
        self.db.write_at_once(sql, &args).await.map(drop)
    }

    fn wakeups(&self) -> watch::Receiver<u64> {
        self.db.wakeups()
    }

    async fn prune_changes(&self, now: Timestamp, keep: Duration) -> Result<u64> {
        changes::prune(&self.db, now, keep).await
    }
}
