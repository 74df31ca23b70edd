//! Removing deleted entities for good, in steps that can be taken up again after a crash.
//!
//! First [`PurgeStore::mark_purge`] moves what is to go out of its workspace, in one transaction, so that nothing finds,
//! restores or refers to it any more; then the caller deletes the files; then [`PurgeStore::finish_purge`] deletes the rows.
//! What was marked and never finished comes up again with the next call of the workspace.
//!
//! An entity is held back while a version of a registered model refers to it: by the logged model's id, by the run's id,
//! or by an artifact URI at, below or above its own; and while a folder there is held otherwise, as [`PurgeFilter::kept`]
//! says. An experiment is held back while one of its runs or logged models is, and experiment 0 always. Of what was marked
//! before, only the files can hold something back: it stays marked, and the rest goes.
//! An experiment has no files of its own here: its location may be shared with others.
//!
//! `plan` says what goes and what is held back, and changes nothing; what is here does it.

mod plan;

use std::{collections::HashSet, time::Duration};

use async_trait::async_trait;
use lodeway_domain::{
    Error, ResourceKind, Result,
    caller::Workspace,
    id::{ExperimentId, ModelId, RunId},
    time::Timestamp,
    tracking::VersionReference,
};

use self::plan::{check_deleted, going, kept_places, left_over, plan, together};
use super::{
    Outcome, SqlTracking, Write,
    labels::{in_ids, json_ids},
    places::Places,
};
use crate::{
    args,
    artifacts::Roots,
    ledger::requests::{self, Seen},
    sql::{Arg, Row, Tx},
};

/// The most entities of one call.
pub const MAX_PURGE: usize = 10_000;

/// How long what was marked is refused, which is much longer than any version is on its way.
const LATELY: Duration = Duration::from_secs(600);
/// Runs whose rows go in one transaction; a run can have many.
const RUNS_AT_ONCE: usize = 20;
/// Logged models and experiments whose rows go in one transaction.
const ROWS_AT_ONCE: usize = 200;

/// A folder whose files must stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFolder {
    /// Where it is, in any spelling.
    pub artifact_uri: String,
    /// What keeps it, in words.
    pub by: String,
}

/// What is to be removed for good. All lists of ids empty: everything deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgeFilter {
    /// Deleted experiments, with all their runs and logged models.
    pub experiments: Vec<ExperimentId>,
    /// Deleted runs.
    pub runs: Vec<RunId>,
    /// Deleted logged models.
    pub models: Vec<ModelId>,
    /// Only what was deleted before this time.
    pub deleted_before: Option<Timestamp>,
    /// Folders that the artifact service would refuse to remove.
    pub kept: Vec<KeptFolder>,
}

impl PurgeFilter {
    fn is_everything(&self) -> bool {
        self.experiments.is_empty() && self.runs.is_empty() && self.models.is_empty()
    }

    fn before(&self) -> i64 {
        self.deleted_before.map_or(i64::MAX, Timestamp::millis)
    }
}

/// What kind of entity is removed, in the order of removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PurgeKind {
    /// A logged model.
    LoggedModel,
    /// A run.
    Run,
    /// An experiment.
    Experiment,
}

impl PurgeKind {
    /// The kind in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LoggedModel => "logged model",
            Self::Run => "run",
            Self::Experiment => "experiment",
        }
    }
}

/// One entity that is removed or held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeItem {
    /// What kind.
    pub kind: PurgeKind,
    /// Its id.
    pub id: String,
    /// Where its files are; empty for an experiment.
    pub artifact_uri: String,
    /// What keeps it; none if it goes.
    pub held_back_by: Option<String>,
    row: i64,
    experiment: i64,
}

impl PurgeItem {
    /// A number that an experiment and what is in it have in common.
    pub fn experiment(&self) -> i64 {
        self.experiment
    }
}

/// What goes and what is held back; logged models first, then runs, then experiments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgePlan {
    /// At most [`MAX_PURGE`] entities.
    pub items: Vec<PurgeItem>,
    /// True if there is more that could go.
    pub more: bool,
}

/// Removes deleted entities.
#[async_trait]
pub trait PurgeStore: Send + Sync + 'static {
    /// What [`PurgeStore::mark_purge`] would give; changes nothing.
    async fn plan_purge(
        &self,
        workspace: &Workspace,
        filter: &PurgeFilter,
        limit: usize,
    ) -> Result<PurgePlan>;

    /// Marks what goes, together with what was marked earlier and not finished. Unknown ids are gone already.
    ///
    /// Errors: `NOT_DELETED` if an entity named in the filter is active. A request that was finished before is replayed.
    async fn mark_purge(
        &self,
        write: &Write<Vec<u8>>,
        filter: PurgeFilter,
        limit: usize,
    ) -> Result<Outcome<PurgePlan>>;

    /// Deletes the rows of marked entities, whose files are gone by now. Repeating it changes nothing.
    async fn finish_purge(&self, workspace: &Workspace, items: &[PurgeItem]) -> Result<()>;

    /// Keeps the answer of a purge whose work is all done, for a repetition of its request.
    async fn record_purge(&self, write: &Write<Vec<u8>>, answer: Vec<u8>) -> Result<()>;
}

/// The lock that keeps references of versions from being added while a purge looks at them: it holds it alone, and who adds
/// one shares it.
pub(super) fn references_lock(workspace: &str) -> String {
    format!("references {workspace}")
}

/// What a purge is removing, or removed lately.
pub(super) struct Marked {
    is_run: bool,
    id: String,
    artifact_uri: String,
}

/// What is marked for removal in a workspace, and what was lately. The caller has the [`references_lock`].
pub(super) async fn marked(tx: &mut Tx, workspace: &str, now: Timestamp) -> Result<Vec<Marked>> {
    let sql = "SELECT is_run, id, artifact_uri FROM purged WHERE workspace = $1 AND marked_ms >= $2 \
               UNION ALL SELECT TRUE, run_id, artifact_uri FROM runs WHERE workspace = $3 \
               UNION ALL SELECT FALSE, model_id, artifact_uri FROM logged_models WHERE workspace = $3";
    let (lately, limbo) = (now.minus(LATELY).millis(), limbo(workspace));
    let rows = tx.query(sql, &args![workspace, lately, &limbo]).await?;
    let mark = |row: &Row| {
        Ok(Marked {
            is_run: row.bool(0)?,
            id: row.text(1)?,
            artifact_uri: row.text(2)?,
        })
    };
    rows.iter().map(mark).collect()
}

/// Refuses a reference to something marked: by its id, or by a folder that is its own, below its own, or above its own.
///
/// Errors: `NotFound`, as everywhere for what is marked.
pub(super) fn check_not_among(
    marked: &[Marked],
    (reference, roots): (&VersionReference, Option<&Roots>),
) -> Result<()> {
    if marked.is_empty() {
        return Ok(());
    }
    let (run, model) = (
        reference.run.as_ref().map(RunId::as_str),
        reference.model.as_ref().map(ModelId::as_str),
    );
    let mut places = Places::none(roots);
    places.keep(&reference.artifact_uri, String::new);
    for mark in marked {
        let (kind, named) = match mark.is_run {
            true => (ResourceKind::Run, run),
            false => (ResourceKind::LoggedModel, model),
        };
        if named == Some(mark.id.as_str()) || places.keeper(&mark.artifact_uri).is_some() {
            return Err(Error::not_found(kind, &mark.id));
        }
    }
    Ok(())
}

/// Notes what was marked, for [`LATELY`].
async fn note(tx: &mut Tx, workspace: &str, items: &[PurgeItem], now: Timestamp) -> Result<()> {
    let old = "DELETE FROM purged WHERE workspace = $1 AND marked_ms < $2";
    tx.execute(old, &args![workspace, now.minus(LATELY).millis()])
        .await?;
    let marked = items.iter().filter(|item| {
        item.held_back_by.is_none() && matches!(item.kind, PurgeKind::Run | PurgeKind::LoggedModel)
    });
    let rows: Vec<Arg<'_>> = marked
        .flat_map(|item| {
            let is_run = item.kind == PurgeKind::Run;
            args![workspace, &item.id, is_run, &item.artifact_uri, now.millis()]
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let into = "INSERT INTO purged (workspace, id, is_run, artifact_uri, marked_ms)";
    let end = "ON CONFLICT (workspace, id) DO UPDATE SET marked_ms = excluded.marked_ms";
    tx.insert_many(into, 5, end, &rows).await.map(drop)
}

/// Where marked entities are: no caller's workspace has a blank in its name.
fn limbo(workspace: &str) -> String {
    format!("{workspace} purged")
}

/// Moves what is not held back out of the workspace, unless it was restored meanwhile; what was moved.
async fn move_out(tx: &mut Tx, workspace: &str, items: &[PurgeItem]) -> Result<HashSet<(PurgeKind, i64)>> {
    let limbo = limbo(workspace);
    let list = in_ids(tx.engine(), "$2");
    let of_deleted =
        "(deleted_ms IS NOT NULL OR experiment IN (SELECT id FROM experiments WHERE deleted_ms IS NOT NULL))";
    let moves = [
        (
            PurgeKind::Experiment,
            "experiments SET name = CAST(id AS TEXT), workspace = $1",
            "deleted_ms IS NOT NULL",
        ),
        (PurgeKind::Run, "runs SET workspace = $1", of_deleted),
        (
            PurgeKind::LoggedModel,
            "logged_models SET workspace = $1",
            of_deleted,
        ),
    ];
    let mut moved = HashSet::new();
    for (kind, set, test) in moves {
        let going = items
            .iter()
            .filter(|item| item.kind == kind && item.held_back_by.is_none());
        let going = json_ids(going.map(|item| item.row))?;
        let sql = format!("UPDATE {set} WHERE id {list} AND workspace = $3 AND {test} RETURNING id");
        for row in tx.query(&sql, &args![&limbo, &going, workspace]).await? {
            moved.insert((kind, row.int(0)?));
        }
    }
    Ok(moved)
}

async fn mark(
    tx: &mut Tx,
    (workspace, filter): (&str, &PurgeFilter),
    roots: Option<&Roots>,
    limit: usize,
    now: Timestamp,
) -> Result<PurgePlan> {
    // A reference that comes later is refused.
    tx.lock(&references_lock(workspace)).await?;
    check_deleted(tx, workspace, filter).await?;
    let places = kept_places(tx, workspace, filter, roots).await?;
    let (all, held) = left_over(tx, workspace, &places, limit).await?;
    if all.more {
        return Ok(together(all, PurgePlan::default(), limit));
    }
    // Nothing is added to these experiments, or restored with them, until the commit.
    let lock = tx.engine().for_update();
    let hold =
        format!("SELECT id FROM experiments WHERE workspace = $1 AND deleted_ms < $2 ORDER BY id{lock}");
    tx.query(&hold, &args![workspace, filter.before()]).await?;
    let room = limit - going(&all.items);
    let mut fresh = plan(tx, (workspace, filter), &places, held, room).await?;
    let moved = move_out(tx, workspace, &fresh.items).await?;
    fresh
        .items
        .retain(|item| item.held_back_by.is_some() || moved.contains(&(item.kind, item.row)));
    note(tx, workspace, &fresh.items, now).await?;
    Ok(together(all, fresh, limit))
}

/// Deletes the rows of marked entities of one kind.
async fn delete_rows(tx: &mut Tx, limbo: &str, kind: PurgeKind, ids: &str) -> Result<()> {
    let list = in_ids(tx.engine(), "$1");
    let (table, parts): (_, &[(&str, &str)]) = match kind {
        PurgeKind::LoggedModel => (
            "logged_models",
            &[
                ("logged_model_params", "model"),
                ("logged_model_tags", "model"),
                ("logged_model_metrics", "model"),
            ],
        ),
        PurgeKind::Run => (
            "runs",
            &[
                ("params", "run"),
                ("run_tags", "run"),
                ("latest_metrics", "run"),
                ("unindexed_runs", "run"),
                ("metric_blocks", "run"),
                ("metric_streams", "run"),
                ("dataset_inputs", "run"),
                ("run_models", "run"),
            ],
        ),
        PurgeKind::Experiment => (
            "experiments",
            &[("experiment_tags", "experiment"), ("datasets", "experiment")],
        ),
    };
    // The entity's row first: whoever adds parts holds it, and finds it gone afterwards.
    let lock = tx.engine().for_update();
    let find = format!("SELECT id FROM {table} WHERE id {list} AND workspace = $2 ORDER BY id{lock}");
    let mut found = Vec::new();
    for row in tx.query(&find, &args![ids, limbo]).await? {
        found.push(row.int(0)?);
    }
    let ids = json_ids(found)?;
    for (part, owner) in parts {
        let sql = format!("DELETE FROM {part} WHERE {owner} {list}");
        tx.execute(&sql, &args![&ids]).await?;
    }
    let sql = format!("DELETE FROM {table} WHERE id {list}");
    tx.execute(&sql, &args![&ids]).await?;
    Ok(())
}

#[async_trait]
impl PurgeStore for SqlTracking {
    async fn plan_purge(
        &self,
        workspace: &Workspace,
        filter: &PurgeFilter,
        limit: usize,
    ) -> Result<PurgePlan> {
        let mut snapshot = self.db.snapshot().await?;
        let workspace = workspace.as_str();
        check_deleted(&mut snapshot, workspace, filter).await?;
        let places = kept_places(&mut snapshot, workspace, filter, self.roots.as_ref()).await?;
        let (all, held) = left_over(&mut snapshot, workspace, &places, limit).await?;
        let fresh = match all.more {
            true => PurgePlan::default(),
            false => {
                let room = limit - going(&all.items);
                plan(&mut snapshot, (workspace, filter), &places, held, room).await?
            }
        };
        Ok(together(all, fresh, limit))
    }

    async fn mark_purge(
        &self,
        write: &Write<Vec<u8>>,
        filter: PurgeFilter,
        limit: usize,
    ) -> Result<Outcome<PurgePlan>> {
        let state = (write.clone(), filter, self.roots.clone());
        self.db
            .write_with(state, move |tx, (write, filter, roots)| {
                Box::pin(async move {
                    let (caller, hash) = (&*write.caller, &write.body_hash);
                    let seen =
                        requests::once(tx, caller, write.method, write.request, hash, write.now).await?;
                    // An empty answer is that of a request that was begun and never finished: it goes on.
                    match seen {
                        Seen::Replay(mut kept) if !kept.is_empty() => Ok(Outcome::Replay(kept.split_off(1))),
                        _ => {
                            let of = (write.workspace(), &*filter);
                            let plan = mark(tx, of, roots.as_ref(), limit, write.now).await?;
                            Ok(Outcome::Done(plan))
                        }
                    }
                })
            })
            .await
    }

    async fn finish_purge(&self, workspace: &Workspace, items: &[PurgeItem]) -> Result<()> {
        let limbo = limbo(workspace.as_str());
        for kind in [PurgeKind::LoggedModel, PurgeKind::Run, PurgeKind::Experiment] {
            let going = items.iter().filter(|item| item.held_back_by.is_none());
            let rows: Vec<i64> = going
                .filter(|item| item.kind == kind)
                .map(|item| item.row)
                .collect();
            let at_once = if kind == PurgeKind::Run {
                RUNS_AT_ONCE
            } else {
                ROWS_AT_ONCE
            };
            for chunk in rows.chunks(at_once) {
                let state = (limbo.clone(), json_ids(chunk.iter().copied())?);
                self.db
                    .write_with(state, move |tx, (limbo, ids)| {
                        Box::pin(delete_rows(tx, limbo, kind, ids))
                    })
                    .await?;
            }
        }
        Ok(())
    }

    async fn record_purge(&self, write: &Write<Vec<u8>>, answer: Vec<u8>) -> Result<()> {
        if write.request.is_none() {
            return Ok(());
        }
        self.db
            .write_with((write.clone(), answer), |tx, (write, answer)| {
                Box::pin(async move {
                    // Even an empty answer is kept as something, see `mark_purge`.
                    let kept = [b"1".as_slice(), &(write.encode)(answer)].concat();
                    requests::record(tx, &write.caller, write.method, write.request, &kept, write.now).await
                })
            })
            .await
    }
}
