//! Schedules: which window's turn it is, taken by lease and fence.

use std::time::Duration;

use async_trait::async_trait;
use lodeway_domain::{
    Error, Resource, ResourceKind, Result,
    caller::Workspace,
    evaluation::{DatasetName, EvaluationRecord, MAX_SCHEDULES, Schedule, ScheduleName},
    page::{KeyValue, Page, PageRequest, Position},
    time::Timestamp,
};

use super::{SqlEvaluation, datasets, datasets::Leftover, evaluations};
use crate::{
    args,
    ledger::Write,
    ledger::once::once,
    sql::{Engine, Row, Tx},
};

/// The right to look at a window of a schedule. Who holds an older one is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleLease {
    /// The schedule.
    pub uid: String,
    /// Grows with every lease of it.
    pub fence: i64,
}

/// A window whose dataset version is not kept any more.
#[derive(Debug, Clone)]
pub struct OldWindow {
    /// The workspace of the schedule.
    pub workspace: Workspace,
    /// The dataset of the schedule.
    pub name: DatasetName,
    /// The version that the window made.
    pub version: i64,
    /// The evaluation that the schedule made of it.
    pub evaluation_id: String,
    /// Where the parts of that evaluation are.
    pub parts: String,
}

/// The contract: one method is one atomic operation, durable when it returns.
///
/// A repeated write with the same request id gives the first answer. Every method that takes a [`ScheduleLease`] is refused
/// with `Conflict` once somebody else has the schedule, or once it is deleted.
#[async_trait]
pub trait ScheduleStore: Send + Sync + 'static {
    /// Keeps a new schedule. Errors: `AlreadyExists`; `Exhausted` beyond [`MAX_SCHEDULES`] of a workspace.
    async fn create_schedule(&self, write: Write, schedule: Schedule) -> Result<Schedule>;
    /// Gives one. Errors: `NotFound`.
    async fn schedule(&self, workspace: &Workspace, name: &ScheduleName) -> Result<Schedule>;
    /// A page by name; of one endpoint if it is named.
    async fn schedules(
        &self,
        workspace: &Workspace,
        endpoint: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<Schedule>>;
    /// Forgets one. Errors: `NotFound`.
    async fn delete_schedule(&self, write: Write, name: ScheduleName) -> Result<()>;
    /// Takes at most `limit` schedules of which a window has ended; nobody else gets them for `lease`.
    ///
    /// The window ends at `next` of the schedule that is given. It is the last one that has ended, and those before it count
    /// as skipped; but a window that somebody took and did not finish comes again, whatever has ended since.
    async fn take_schedules(
        &self,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<(ScheduleLease, Schedule)>>;
    /// Holds a schedule for longer.
    async fn renew_schedule(&self, lease: &ScheduleLease, until: Timestamp) -> Result<()>;
    /// Gives a schedule back until a moment: for its window nothing was done. Why, if that is to be seen.
    async fn postpone_schedule(
        &self,
        lease: &ScheduleLease,
        until: Timestamp,
        why: Option<String>,
    ) -> Result<()>;
    /// Ends the window that was taken, with the evaluation that began, or why none did; the next one follows.
    async fn finish_schedule(
        &self,
        lease: &ScheduleLease,
        begun: std::result::Result<String, String>,
    ) -> Result<Schedule>;
    /// Forgets the dataset version of a window with the report and the parts of its evaluation, whose files are left over from
    /// now on; whether it did. A version of which there is another evaluation, or one that is not done, stays as it is.
    async fn prune_window(&self, window: OldWindow, now: Timestamp) -> Result<bool>;
}

fn text(schedule: &Schedule) -> Result<String> {
    serde_json::to_string(schedule).map_err(Error::internal)
}

fn schedule(row: &Row) -> Result<Schedule> {
    serde_json::from_str(row.str(0)?).map_err(Error::internal)
}

fn missing(name: &ScheduleName) -> Error {
    Error::not_found(ResourceKind::Schedule, name)
}

fn lost(lease: &ScheduleLease) -> Error {
    Error::Conflict(Resource::new(ResourceKind::Schedule, &lease.uid))
}

async fn create(tx: &mut Tx, write: &Write, new: &Schedule) -> Result<Schedule> {
    let sql = "SELECT COUNT(*) FROM schedules WHERE workspace = $1";
    let count = tx.query_opt(sql, &args![write.workspace()]).await?;
    let count = count.map_or(Ok(0), |row| row.int(0))?;
    if usize::try_from(count).unwrap_or(usize::MAX) >= MAX_SCHEDULES {
        return Err(Error::Exhausted {
            message: format!("a workspace has at most {MAX_SCHEDULES} schedules; delete one first"),
            retry_after: None,
        });
    }
    let sql = "INSERT INTO schedules (uid, workspace, name, endpoint, next_ms, is_taken, lease_ms, fence, body) \
               VALUES ($1, $2, $3, $4, $5, FALSE, 0, 0, $6) ON CONFLICT DO NOTHING";
    let args = args![
        &new.uid,
        write.workspace(),
        new.name.as_str(),
        &new.endpoint,
        new.next.millis(),
        text(new)?
    ];
    if tx.execute(sql, &args).await? == 0 {
        return Err(Error::exists(ResourceKind::Schedule, &new.name));
    }
    Ok(new.clone())
}

async fn delete(tx: &mut Tx, write: &Write, name: &ScheduleName) -> Result<()> {
    let sql = "DELETE FROM schedules WHERE workspace = $1 AND name = $2";
    match tx.execute(sql, &args![write.workspace(), name.as_str()]).await? {
        0 => Err(missing(name)),
        _ => Ok(()),
    }
}

async fn take(
    tx: &mut Tx,
    now: Timestamp,
    lease: Duration,
    limit: usize,
) -> Result<Vec<(ScheduleLease, Schedule)>> {
    let skip = match tx.engine() {
        Engine::Sqlite => "",
        Engine::Postgres => " FOR UPDATE SKIP LOCKED",
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = format!(
        "SELECT body, is_taken, fence FROM schedules WHERE next_ms <= $1 AND lease_ms <= $1 \
         ORDER BY next_ms, uid LIMIT $2{skip}"
    );
    let rows = tx.query(&sql, &args![now.millis(), limit]).await?;
    let mut taken = Vec::new();
    for row in &rows {
        let (mut found, is_taken, fence) = (schedule(row)?, row.bool(1)?, row.int(2)? + 1);
        if !is_taken && let Some(due) = found.due(now) {
            found.next = due.end;
            found.skipped = found.skipped.saturating_add(due.passed);
        }
        let sql = "UPDATE schedules SET next_ms = $2, is_taken = TRUE, lease_ms = $3, fence = $4, body = $5 \
                   WHERE uid = $1";
        let until = now.plus(lease).millis();
        let args = args![&found.uid, found.next.millis(), until, fence, text(&found)?];
        tx.execute(sql, &args).await?;
        let uid = found.uid.clone();
        taken.push((ScheduleLease { uid, fence }, found));
    }
    Ok(taken)
}

/// The schedule if the lease still holds, its row locked.
async fn held(tx: &mut Tx, lease: &ScheduleLease) -> Result<Schedule> {
    let lock = tx.engine().for_update();
    let sql = format!("SELECT body FROM schedules WHERE uid = $1 AND fence = $2 AND is_taken{lock}");
    let row = tx.query_opt(&sql, &args![&lease.uid, lease.fence]).await?;
    schedule(&row.ok_or_else(|| lost(lease))?)
}

/// Writes a schedule that nobody holds any more.
async fn give_back(tx: &mut Tx, schedule: &Schedule, until: Timestamp) -> Result<()> {
    let sql = "UPDATE schedules SET next_ms = $2, is_taken = FALSE, lease_ms = $3, body = $4 WHERE uid = $1";
    let args = args![
        &schedule.uid,
        schedule.next.millis(),
        until.millis(),
        text(schedule)?
    ];
    tx.execute(sql, &args).await.map(drop)
}

/// Whether anybody needs the version: an evaluation of it is at work, or is not the window's own.
async fn is_needed(tx: &mut Tx, window: &OldWindow) -> Result<bool> {
    // Those without a number are read too: they were made before it stood in a column, or read the newest version.
    let sql =
        "SELECT body FROM evaluations WHERE workspace = $1 AND dataset = $2 AND dataset_version IN (0, $3)";
    let args = args![window.workspace.as_str(), window.name.as_str(), window.version];
    for row in &tx.query(sql, &args).await? {
        let found: EvaluationRecord = serde_json::from_str(row.str(0)?).map_err(Error::internal)?;
        let is_own = found.evaluation_id == window.evaluation_id && found.state.has_ended();
        if evaluations::version_read(&found) == window.version && !is_own {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn prune(tx: &mut Tx, window: &OldWindow, now: Timestamp) -> Result<bool> {
    let workspace = window.workspace.as_str();
    let uid = datasets::locked(tx, workspace, &window.name).await?.dataset.uid;
    if is_needed(tx, window).await? {
        return Ok(false);
    }
    let sql = "DELETE FROM dataset_versions WHERE uid = $1 AND version = $2 RETURNING body";
    let row = tx.query_opt(sql, &args![&uid, window.version]).await?;
    let Some(row) = row else { return Ok(false) };
    let version = datasets::version_of(&row)?;
    for table in ["evaluation_reports", "evaluation_parts"] {
        let sql = format!("DELETE FROM {table} WHERE evaluation_id = $1");
        tx.execute(&sql, &args![&window.evaluation_id]).await?;
    }
    for location in [version.location, window.parts.clone()] {
        let workspace = workspace.to_owned();
        datasets::note(tx, &Leftover { location, workspace }, now).await?;
    }
    Ok(true)
}

#[async_trait]
impl ScheduleStore for SqlEvaluation {
    async fn create_schedule(&self, write: Write, schedule: Schedule) -> Result<Schedule> {
        once(&self.db, write, "CreateSchedule", schedule, |tx, write, new| {
            Box::pin(create(tx, write, new))
        })
        .await
    }

    async fn schedule(&self, workspace: &Workspace, name: &ScheduleName) -> Result<Schedule> {
        let sql = "SELECT body FROM schedules WHERE workspace = $1 AND name = $2";
        let args = args![workspace.as_str(), name.as_str()];
        let row = self.db.query_opt(sql, &args).await?;
        schedule(&row.ok_or_else(|| missing(name))?)
    }

    async fn schedules(
        &self,
        workspace: &Workspace,
        endpoint: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<Schedule>> {
        let sql = "SELECT body FROM schedules WHERE workspace = $1 AND name > $2 \
                   AND (CAST($3 AS TEXT) IS NULL OR endpoint = $3) ORDER BY name LIMIT $4";
        let after = match page.after.as_ref().map(|position| position.0.as_slice()) {
            Some([KeyValue::Text(name)]) => name.as_str(),
            _ => "",
        };
        let limit = i64::try_from(page.size + 1).unwrap_or(i64::MAX);
        let args = args![workspace.as_str(), after, endpoint, limit];
        let rows = self.db.query(sql, &args).await?;
        let all = rows.iter().map(|row| {
            let found = schedule(row)?;
            let place = Position(vec![KeyValue::Text(found.name.as_str().to_owned())]);
            Ok((found, place))
        });
        Ok(Page::from_lookahead(all.collect::<Result<_>>()?, page.size))
    }

    async fn delete_schedule(&self, write: Write, name: ScheduleName) -> Result<()> {
        once(&self.db, write, "DeleteSchedule", name, |tx, write, name| {
            Box::pin(delete(tx, write, name))
        })
        .await
    }

    async fn take_schedules(
        &self,
        now: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<(ScheduleLease, Schedule)>> {
        // Most of the time there is nothing: no writer is held up for that.
        let sql = "SELECT 1 FROM schedules WHERE next_ms <= $1 AND lease_ms <= $1 LIMIT 1";
        if self.db.query_opt(sql, &args![now.millis()]).await?.is_none() {
            return Ok(Vec::new());
        }
        self.db
            .write(move |tx| Box::pin(take(tx, now, lease, limit)))
            .await
    }

    async fn renew_schedule(&self, lease: &ScheduleLease, until: Timestamp) -> Result<()> {
        let sql = "UPDATE schedules SET lease_ms = $3 WHERE uid = $1 AND fence = $2 AND is_taken \
                   RETURNING uid";
        let args = args![&lease.uid, lease.fence, until.millis()];
        match self.db.write_at_once(sql, &args).await?.is_empty() {
            true => Err(lost(lease)),
            false => Ok(()),
        }
    }

    async fn postpone_schedule(
        &self,
        lease: &ScheduleLease,
        until: Timestamp,
        why: Option<String>,
    ) -> Result<()> {
        self.db
            .write_with((lease.clone(), until, why), |tx, (lease, until, why)| {
                Box::pin(async move {
                    let mut found = held(tx, lease).await?;
                    if let Some(why) = why {
                        found.error.clone_from(why);
                    }
                    give_back(tx, &found, *until).await
                })
            })
            .await
    }

    async fn prune_window(&self, window: OldWindow, now: Timestamp) -> Result<bool> {
        self.db
            .write_with(window, move |tx, window| Box::pin(prune(tx, window, now)))
            .await
    }

    async fn finish_schedule(
        &self,
        lease: &ScheduleLease,
        begun: std::result::Result<String, String>,
    ) -> Result<Schedule> {
        self.db
            .write_with((lease.clone(), begun), |tx, (lease, begun)| {
                Box::pin(async move {
                    let mut found = held(tx, lease).await?;
                    match begun {
                        Ok(id) => {
                            found.last_evaluation_id.clone_from(id);
                            found.error.clear();
                        }
                        Err(why) => found.error.clone_from(why),
                    }
                    found.last = Some(found.next);
                    found.next = found.next.plus(found.interval);
                    give_back(tx, &found, Timestamp::from_millis(0)).await?;
                    Ok(found)
                })
            })
            .await
    }
}
