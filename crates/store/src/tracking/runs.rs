//! Runs and their tags: created, found, changed, put into the bin and brought back.

use async_trait::async_trait;
use lodeway_domain::{
    Error, Resource, ResourceKind, Result,
    caller::Workspace,
    filter::Projection,
    id::{ExperimentId, RunId},
    page::Page,
    time::Timestamp,
    tracking::{
        LoggedInputs, ModelOutput, NewRun, PARENT_RUN_TAG, RUN_NAME_TAG, Run, RunUpdate, ensure_active,
    },
};

use super::{
    Outcome, SqlTracking, Write, experiments,
    labels::{self, Label},
    load, run_at_once,
    run_head::{RUN_ENTITY, RunHead},
    run_row::{COLUMN_COUNT, COLUMNS, Update, artifacts_of, created, run_of},
    search::{RunSearch, forget_tags},
};
use crate::{
    args,
    ledger::changes::{self, NewChange},
    sql::{Conn, Engine, Tx},
};

/// Keeps runs. Unknown ids, and ids of other workspaces, are `NotFound`.
#[async_trait]
pub trait RunStore: Send + Sync + 'static {
    /// Creates a run in an active experiment. Errors: `NotFound` for the experiment; `EXPERIMENT_NOT_ACTIVE`.
    async fn create_run(&self, write: Write<Run>, new: NewRun) -> Result<Outcome<Run>>;

    /// A run, deleted ones included.
    async fn run(&self, workspace: &Workspace, id: &RunId, projection: &Projection) -> Result<Run>;

    /// Changes an active run's own fields; gives it without what it recorded, but with its parent's tag.
    ///
    /// Errors: `RUN_NOT_ACTIVE`; `Conflict` at another revision.
    async fn update_run(&self, write: Write<Run>, id: RunId, update: RunUpdate) -> Result<Outcome<Run>>;

    /// Moves a run to the bin; a deleted one stays there as it is.
    async fn delete_run(&self, write: Write<()>, id: RunId) -> Result<Outcome<()>>;

    /// Brings a run back; an active one stays as it is.
    async fn restore_run(&self, write: Write<()>, id: RunId) -> Result<Outcome<()>>;

    /// Removes a tag of an active run. Errors: `RUN_NOT_ACTIVE`; `NotFound` without that tag.
    async fn delete_run_tag(&self, write: Write<()>, id: RunId, key: String) -> Result<Outcome<()>>;

    /// Records what an active run read; a data set recorded already keeps its tags. Errors: `RUN_NOT_ACTIVE`.
    async fn log_inputs(&self, write: Write<()>, id: RunId, inputs: LoggedInputs) -> Result<Outcome<()>>;

    /// Records logged models that an active run produced. Errors: `RUN_NOT_ACTIVE`.
    async fn log_outputs(
        &self,
        write: Write<()>,
        id: RunId,
        outputs: Vec<ModelOutput>,
    ) -> Result<Outcome<()>>;

    /// One page of runs. Missing values come last in an order and NaN just before them.
    async fn search_runs(&self, workspace: &Workspace, search: &RunSearch) -> Result<Page<Run>>;
}

async fn find(conn: &mut Conn, workspace: &str, id: &RunId, lock: &str) -> Result<(i64, i64, Run)> {
    let sql = format!(
        "SELECT {COLUMNS}, (SELECT e.experiment_id FROM experiments e WHERE e.id = r.experiment) FROM runs r \
         WHERE r.workspace = $1 AND r.run_id = $2{lock}"
    );
    let row = conn.query_opt(&sql, &args![workspace, id.as_str()]).await?;
    let row = row.ok_or_else(|| Error::not_found(ResourceKind::Run, id))?;
    let (key, run) = run_of(&row, ExperimentId::new(row.int(COLUMN_COUNT)?))?;
    Ok((key, row.int(2)?, run))
}

pub(super) async fn find_for_update(tx: &mut Tx, workspace: &str, id: &RunId) -> Result<(RunHead, Run)> {
    let lock = tx.engine().for_update();
    let (key, experiment, run) = find(tx, workspace, id, lock).await?;
    let head = RunHead {
        id: key,
        experiment,
        started_ms: run.started.millis(),
        append_seq: 0,
        revision: run.revision,
        noted_ms: None,
    };
    Ok((head, run))
}

/// As [`find_for_update`]. Errors: `RUN_NOT_ACTIVE`.
pub(super) async fn find_active(tx: &mut Tx, workspace: &str, id: &RunId) -> Result<(RunHead, Run)> {
    let (head, run) = find_for_update(tx, workspace, id).await?;
    ensure_active(id, run.lifecycle)?;
    Ok((head, run))
}

pub(super) async fn note<T>(tx: &mut Tx, write: &Write<T>, id: &RunId, revision: i64) -> Result<()> {
    let change = NewChange {
        workspace: write.workspace(),
        entity: RUN_ENTITY,
        entity_id: id.as_str(),
        version: revision,
        payload: b"",
    };
    changes::append(tx, change, write.now).await?;
    Ok(())
}

async fn create(tx: &mut Tx, write: &Write<Run>, id: &RunId, new: &NewRun, tags: &[Label]) -> Result<Run> {
    let (experiment, parent) = experiments::find_for_share(tx, write.workspace(), new.experiment).await?;
    experiments::ensure_active(new.experiment, parent.lifecycle)?;
    let artifact_uri = artifacts_of(&parent.artifact_location, id);
    let insert = "INSERT INTO runs (workspace, run_id, experiment, name, status, user_id, started_ms, artifact_uri) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let arguments = args![
        write.workspace(),
        id.as_str(),
        experiment,
        &new.name,
        new.status as i64,
        &new.user_id,
        new.started.millis(),
        &artifact_uri
    ];
    let row = tx.insert(insert, "id", &arguments).await?;
    let head = RunHead {
        id: row,
        experiment,
        started_ms: new.started.millis(),
        append_seq: 0,
        revision: 1,
        noted_ms: None,
    };
    labels::set_tags(tx, &head, tags).await?;
    note(tx, write, id, 1).await?;
    Ok(created(id, new, artifact_uri))
}

async fn update(tx: &mut Tx, write: &Write<Run>, state: &Update) -> Result<Run> {
    let Update {
        id,
        update,
        name,
        parent_key,
    } = state;
    let (head, mut run) = find_active(tx, write.workspace(), id).await?;
    if update
        .if_revision
        .is_some_and(|revision| revision != run.revision)
    {
        return Err(Error::Conflict(Resource::new(ResourceKind::Run, id)));
    }
    run.status = update.status.unwrap_or(run.status);
    run.ended = update.ended.unwrap_or(run.ended);
    if let Some(name) = &update.name {
        run.name.clone_from(name);
    }
    run.revision += 1;
    let sql = "UPDATE runs SET status = $2, ended_ms = $3, name = $4, revision = $5 WHERE id = $1";
    let arguments = args![
        head.id,
        run.status as i64,
        run.ended.map(Timestamp::millis),
        &run.name,
        run.revision
    ];
    tx.execute(sql, &arguments).await?;
    if let Some(tag) = name {
        labels::set_tags(tx, &head, std::slice::from_ref(tag)).await?;
    }
    let parent = "SELECT value FROM run_tags WHERE run = $1 AND key = $2";
    if let Some(row) = tx.query_opt(parent, &args![head.id, *parent_key]).await? {
        run.tags.insert(PARENT_RUN_TAG.to_owned(), row.text(0)?);
    }
    note(tx, write, id, run.revision).await?;
    Ok(run)
}

async fn set_deleted(tx: &mut Tx, write: &Write<()>, id: &RunId, deleted: bool) -> Result<()> {
    let (head, run) = find_for_update(tx, write.workspace(), id).await?;
    if run.lifecycle.is_active() != deleted {
        return Ok(());
    }
    let at = deleted.then_some(write.now.millis());
    let sql = "UPDATE runs SET deleted_ms = $2, revision = revision + 1 WHERE id = $1";
    tx.execute(sql, &args![head.id, at]).await?;
    note(tx, write, id, head.revision + 1).await
}

async fn delete_tag(
    tx: &mut Tx,
    write: &Write<()>,
    id: &RunId,
    key: &str,
    key_id: Option<i64>,
) -> Result<()> {
    let (head, _) = find_active(tx, write.workspace(), id).await?;
    let sql = "DELETE FROM run_tags WHERE run = $1 AND key = $2";
    let gone = match key_id {
        Some(key_id) => tx.execute(sql, &args![head.id, key_id]).await?,
        None => 0,
    };
    if gone == 0 {
        return Err(Error::not_found(ResourceKind::Tag, key));
    }
    forget_tags(tx).await?;
    note(tx, write, id, head.revision).await
}

#[async_trait]
impl RunStore for SqlTracking {
    async fn create_run(&self, write: Write<Run>, new: NewRun) -> Result<Outcome<Run>> {
        let tags = self.labels(new.tags.iter()).await?;
        let id = RunId::generate();
        if self.db.engine() == Engine::Postgres && write.request.is_none() {
            let made = run_at_once::create(self, write.workspace(), &id, &new, &tags, write.now).await?;
            if let Some(artifact_uri) = made {
                return Ok(Outcome::Done(created(&id, &new, artifact_uri)));
            }
            // Why not, is for the operation to say.
        }
        let state = (id, new, tags);
        write
            .once(&self.db, state, |tx, write, (id, new, tags)| {
                Box::pin(create(tx, write, id, new, tags))
            })
            .await
    }

    async fn run(&self, workspace: &Workspace, id: &RunId, projection: &Projection) -> Result<Run> {
        let mut reader = self.db.snapshot().await?;
        let (row, _, run) = find(&mut reader, workspace.as_str(), id, "").await?;
        let filled = load::fill(&mut reader, &self.keys, vec![(row, run)], projection).await?;
        filled
            .into_iter()
            .next()
            .ok_or_else(|| Error::internal("a run got lost while it was loaded"))
    }

    async fn update_run(&self, write: Write<Run>, id: RunId, update: RunUpdate) -> Result<Outcome<Run>> {
        let name = update.name.as_deref().map(|name| (RUN_NAME_TAG, name));
        let mut tags = self
            .labels(name.into_iter().chain([(PARENT_RUN_TAG, "")]))
            .await?;
        let parent_key = tags.pop().map_or(0, |tag| tag.id);
        let state = Update {
            id,
            update,
            name: tags.pop(),
            parent_key,
        };
        if self.db.engine() == Engine::Postgres && write.request.is_none() {
            let done = run_at_once::update(&self.db, write.workspace(), &state, write.now).await?;
            if let Some(run) = done {
                return Ok(Outcome::Done(run));
            }
        }
        write
            .once(&self.db, state, |tx, write, state| {
                Box::pin(self::update(tx, write, state))
            })
            .await
    }

    async fn delete_run(&self, write: Write<()>, id: RunId) -> Result<Outcome<()>> {
        write
            .once(&self.db, id, |tx, write, id| {
                Box::pin(set_deleted(tx, write, id, true))
            })
            .await
    }

    async fn restore_run(&self, write: Write<()>, id: RunId) -> Result<Outcome<()>> {
        write
            .once(&self.db, id, |tx, write, id| {
                Box::pin(set_deleted(tx, write, id, false))
            })
            .await
    }

    async fn delete_run_tag(&self, write: Write<()>, id: RunId, key: String) -> Result<Outcome<()>> {
        let key_id = self.keys.find(&mut self.db.read().await?, &[&key]).await?[0];
        write
            .once(&self.db, (id, key, key_id), |tx, write, (id, key, key_id)| {
                Box::pin(delete_tag(tx, write, id, key, *key_id))
            })
            .await
    }

    async fn log_inputs(&self, write: Write<()>, id: RunId, inputs: LoggedInputs) -> Result<Outcome<()>> {
        self.write_inputs(write, id, inputs).await
    }

    async fn log_outputs(
        &self,
        write: Write<()>,
        id: RunId,
        outputs: Vec<ModelOutput>,
    ) -> Result<Outcome<()>> {
        self.write_outputs(write, id, outputs).await
    }

    async fn search_runs(&self, workspace: &Workspace, search: &RunSearch) -> Result<Page<Run>> {
        self.find_runs(workspace, search).await
    }
}
