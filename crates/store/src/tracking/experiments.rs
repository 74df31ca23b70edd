//! Experiments and their tags.

use async_trait::async_trait;
use futures::future::BoxFuture;
use lodeway_domain::{
    Error, Reason, Resource, ResourceKind, Result,
    caller::Workspace,
    filter::{EXPERIMENTS, Expr, Field, OrderBy, Schema, Source},
    id::ExperimentId,
    page::{Page, PageRequest},
    time::Timestamp,
    tracking::{Experiment, ExperimentName, Lifecycle, NewExperiment, Tags, View},
};

use super::{
    Outcome, SqlTracking, Write,
    labels::{in_ids, json_ids},
};
use crate::{
    args,
    ledger::changes::{self, NewChange},
    search::{self, Binding, Place, Query, Rows},
    sql::{Arg, Conn, Row, Tx},
};

/// Which experiments are wanted.
#[derive(Debug, Clone)]
pub struct ExperimentSearch {
    /// The filter.
    pub filter: Option<Expr>,
    /// The order; what it leaves equal is by creation, newest first, then by id.
    pub order: Vec<OrderBy>,
    /// Active ones, deleted ones or both.
    pub view: View,
    /// The page.
    pub page: PageRequest,
}

/// Keeps experiments. Unknown ids, and ids of other workspaces, are `NotFound`.
#[async_trait]
pub trait ExperimentStore: Send + Sync + 'static {
    /// Makes sure that the workspace has its experiment 0, `Default`, at this location if it has to be created.
    async fn ensure_default(&self, workspace: &Workspace, location: &str, now: Timestamp) -> Result<()>;

    /// Creates an experiment with the next id of the workspace; without a location of its own at `<root>/<id>`.
    ///
    /// Errors: `AlreadyExists` if the name is taken, also by a deleted experiment.
    async fn create_experiment(
        &self,
        write: Write<Experiment>,
        new: NewExperiment,
        root: &str,
    ) -> Result<Outcome<Experiment>>;

    /// An experiment, deleted ones included.
    async fn experiment(&self, workspace: &Workspace, id: ExperimentId) -> Result<Experiment>;

    /// An experiment by its exact name, deleted ones included.
    async fn experiment_by_name(&self, workspace: &Workspace, name: &str) -> Result<Experiment>;

    /// One page of experiments.
    async fn search_experiments(
        &self,
        workspace: &Workspace,
        search: &ExperimentSearch,
    ) -> Result<Page<Experiment>>;

    /// Gives an active experiment a new name; only at revision `if_revision`, if that is given.
    ///
    /// Errors: `EXPERIMENT_NOT_ACTIVE`; `AlreadyExists`; `Conflict` at another revision.
    async fn rename_experiment(
        &self,
        write: Write<Experiment>,
        id: ExperimentId,
        name: ExperimentName,
        if_revision: Option<i64>,
    ) -> Result<Outcome<Experiment>>;

    /// Moves an active experiment and its active runs to the bin. Errors: `EXPERIMENT_NOT_ACTIVE` if it is there already.
    async fn delete_experiment(&self, write: Write<()>, id: ExperimentId) -> Result<Outcome<()>>;

    /// Brings a deleted experiment and all its runs back. Errors: `NotFound` if it is not deleted.
    async fn restore_experiment(&self, write: Write<()>, id: ExperimentId) -> Result<Outcome<()>>;

    /// Sets tags of an active experiment. Errors: `EXPERIMENT_NOT_ACTIVE`.
    async fn set_experiment_tags(
        &self,
        write: Write<()>,
        id: ExperimentId,
        tags: Tags,
    ) -> Result<Outcome<()>>;

    /// Removes a tag of an active experiment. Errors: `EXPERIMENT_NOT_ACTIVE`; `NotFound` without that tag.
    async fn delete_experiment_tag(
        &self,
        write: Write<()>,
        id: ExperimentId,
        key: String,
    ) -> Result<Outcome<()>>;
}

const COLUMNS: &str = "e.id, e.experiment_id, e.name, e.artifact_location, e.created_ms, e.updated_ms, e.deleted_ms, e.revision";

fn experiment(row: &Row) -> Result<(i64, Experiment)> {
    let deleted = row.opt_int(6)?;
    let experiment = Experiment {
        id: ExperimentId::new(row.int(1)?),
        name: row.text(2)?,
        artifact_location: row.text(3)?,
        lifecycle: deleted.map_or(Lifecycle::Active, |ms| {
            Lifecycle::Deleted(Timestamp::from_millis(ms))
        }),
        created: Timestamp::from_millis(row.int(4)?),
        updated: Timestamp::from_millis(row.int(5)?),
        tags: std::collections::BTreeMap::new(),
        revision: row.int(7)?,
    };
    Ok((row.int(0)?, experiment))
}

fn not_found(name: impl std::fmt::Display) -> Error {
    Error::not_found(ResourceKind::Experiment, name)
}

/// Refuses a write to an experiment that is not active.
pub(super) fn ensure_active(id: ExperimentId, lifecycle: Lifecycle) -> Result<()> {
    if lifecycle.is_active() {
        return Ok(());
    }
    Err(Error::precondition(
        Reason::ExperimentNotActive,
        format!("experiment `{id}` is deleted; bring it back with RestoreExperiment"),
        vec![("experiment_id", id.to_string())],
    ))
}

/// The experiment's row, kept as it is until the commit (`lock` is the engine's word for how firmly).
async fn find(conn: &mut Conn, workspace: &str, id: ExperimentId, lock: &str) -> Result<(i64, Experiment)> {
    let sql =
        format!("SELECT {COLUMNS} FROM experiments e WHERE e.workspace = $1 AND e.experiment_id = $2{lock}");
    let row = conn.query_opt(&sql, &args![workspace, id.get()]).await?;
    experiment(&row.ok_or_else(|| not_found(id))?)
}

async fn find_for_update(tx: &mut Tx, workspace: &str, id: ExperimentId) -> Result<(i64, Experiment)> {
    let lock = tx.engine().for_update();
    find(tx, workspace, id, lock).await
}

/// The experiment's row for something that is added to it: it stays as it is until the commit, others may add too.
pub(super) async fn find_for_share(
    tx: &mut Tx,
    workspace: &str,
    id: ExperimentId,
) -> Result<(i64, Experiment)> {
    let lock = tx.engine().for_share();
    find(tx, workspace, id, lock).await
}

/// Fills in the tags of experiments, in one statement.
async fn load_tags(conn: &mut Conn, found: Vec<(i64, Experiment)>) -> Result<Vec<Experiment>> {
    let rows: Vec<i64> = found.iter().map(|(row, _)| *row).collect();
    let tags = match rows.is_empty() {
        true => Vec::new(),
        false => {
            let list = in_ids(conn.engine(), "$1");
            let sql = format!("SELECT experiment, key, value FROM experiment_tags WHERE experiment {list}");
            conn.query(&sql, &args![&json_ids(rows)?]).await?
        }
    };
    let mut by_row: std::collections::HashMap<i64, usize> =
        found.iter().enumerate().map(|(i, (row, _))| (*row, i)).collect();
    let mut experiments: Vec<Experiment> = found.into_iter().map(|(_, e)| e).collect();
    for tag in &tags {
        if let Some(i) = by_row.get_mut(&tag.int(0)?) {
            experiments[*i].tags.insert(tag.text(1)?, tag.text(2)?);
        }
    }
    Ok(experiments)
}

async fn with_tags(conn: &mut Conn, row: i64, mut experiment: Experiment) -> Result<Experiment> {
    let sql = "SELECT key, value FROM experiment_tags WHERE experiment = $1";
    for tag in conn.query(sql, &args![row]).await? {
        experiment.tags.insert(tag.text(0)?, tag.text(1)?);
    }
    Ok(experiment)
}

async fn put_tags(tx: &mut Tx, experiment: i64, tags: &Tags) -> Result<()> {
    let rows: Vec<Arg<'_>> = tags
        .iter()
        .flat_map(|(key, value)| [Arg::from(experiment), Arg::from(key), Arg::from(value)])
        .collect();
    let end = "ON CONFLICT (experiment, key) DO UPDATE SET value = excluded.value";
    tx.insert_many(
        "INSERT INTO experiment_tags (experiment, key, value)",
        3,
        end,
        &rows,
    )
    .await?;
    Ok(())
}

async fn note<T>(tx: &mut Tx, write: &Write<T>, id: ExperimentId, revision: i64) -> Result<()> {
    let id = id.to_string();
    let change = NewChange {
        workspace: write.workspace(),
        entity: "experiment",
        entity_id: &id,
        version: revision,
        payload: b"",
    };
    changes::append(tx, change, write.now).await?;
    Ok(())
}

async fn create(
    tx: &mut Tx,
    write: &Write<Experiment>,
    new: &NewExperiment,
    root: &str,
) -> Result<Experiment> {
    let workspace = write.workspace();
    let now = write.now.millis();
    // Holds off a renaming to the same name, see `rename`.
    tx.lock(&name_lock(workspace, &new.name)).await?;
    let next = "INSERT INTO counters (workspace, name, value) VALUES ($1, 'experiment', 1) \
                ON CONFLICT (workspace, name) DO UPDATE SET value = counters.value + 1 RETURNING value";
    let id = ExperimentId::new(tx.query_one(next, &args![workspace]).await?.int(0)?);
    let location = match &new.artifact_location {
        Some(location) => location.clone(),
        None => super::location::below(root, &[&id.to_string()]),
    };
    let insert = "INSERT INTO experiments (workspace, experiment_id, name, artifact_location, created_ms, updated_ms) \
                  VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (workspace, name) DO NOTHING RETURNING id";
    let row = tx
        .query_opt(
            insert,
            &args![workspace, id.get(), new.name.as_str(), &location, now],
        )
        .await?
        .ok_or_else(|| Error::exists(ResourceKind::Experiment, &new.name))?
        .int(0)?;
    put_tags(tx, row, &new.tags).await?;
    note(tx, write, id, 1).await?;
    Ok(Experiment {
        id,
        name: new.name.as_str().to_owned(),
        artifact_location: location,
        lifecycle: Lifecycle::Active,
        created: write.now,
        updated: write.now,
        tags: new.tags.clone().into_map(),
        revision: 1,
    })
}

fn name_lock(workspace: &str, name: &ExperimentName) -> String {
    format!("experiment-name {workspace} {name}")
}

async fn rename(
    tx: &mut Tx,
    write: &Write<Experiment>,
    id: ExperimentId,
    name: &ExperimentName,
    if_revision: Option<i64>,
) -> Result<Experiment> {
    let (row, mut experiment) = find_for_update(tx, write.workspace(), id).await?;
    ensure_active(id, experiment.lifecycle)?;
    if if_revision.is_some_and(|revision| revision != experiment.revision) {
        return Err(Error::Conflict(Resource::new(ResourceKind::Experiment, id)));
    }
    let taken = "SELECT id FROM experiments WHERE workspace = $1 AND name = $2 AND id <> $3";
    // Two writers that want one name: the check is under a lock of the name, so that neither fails on the unique key.
    tx.lock(&name_lock(write.workspace(), name)).await?;
    if tx
        .query_opt(taken, &args![write.workspace(), name.as_str(), row])
        .await?
        .is_some()
    {
        return Err(Error::exists(ResourceKind::Experiment, name));
    }
    let update = "UPDATE experiments SET name = $2, updated_ms = $3, revision = revision + 1 WHERE id = $1";
    tx.execute(update, &args![row, name.as_str(), write.now.millis()])
        .await?;
    experiment.name = name.as_str().to_owned();
    experiment.updated = write.now;
    experiment.revision += 1;
    note(tx, write, id, experiment.revision).await?;
    with_tags(tx, row, experiment).await
}

async fn set_deleted(tx: &mut Tx, write: &Write<()>, id: ExperimentId, deleted: bool) -> Result<()> {
    let (row, experiment) = find_for_update(tx, write.workspace(), id).await?;
    if deleted {
        ensure_active(id, experiment.lifecycle)?;
    } else if experiment.lifecycle.is_active() {
        return Err(not_found(id));
    }
    let now = write.now.millis();
    let at = deleted.then_some(now);
    let update =
        "UPDATE experiments SET deleted_ms = $2, updated_ms = $3, revision = revision + 1 WHERE id = $1";
    tx.execute(update, &args![row, at, now]).await?;
    // As in MLflow, a restored experiment brings back all its runs, those deleted one by one before it as well.
    let runs = match deleted {
        true => {
            "UPDATE runs SET deleted_ms = $2, revision = revision + 1 WHERE experiment = $1 AND deleted_ms IS NULL"
        }
        false => {
            "UPDATE runs SET deleted_ms = $2, revision = revision + 1 WHERE experiment = $1 AND deleted_ms IS NOT NULL"
        }
    };
    tx.execute(runs, &args![row, at]).await?;
    note(tx, write, id, experiment.revision + 1).await
}

async fn set_tags(tx: &mut Tx, write: &Write<()>, id: ExperimentId, tags: &Tags) -> Result<()> {
    let (row, experiment) = find_for_update(tx, write.workspace(), id).await?;
    ensure_active(id, experiment.lifecycle)?;
    put_tags(tx, row, tags).await?;
    touch(tx, write, id, row, experiment.revision + 1).await
}

async fn delete_tag(tx: &mut Tx, write: &Write<()>, id: ExperimentId, key: &str) -> Result<()> {
    let (row, experiment) = find_for_update(tx, write.workspace(), id).await?;
    ensure_active(id, experiment.lifecycle)?;
    let delete = "DELETE FROM experiment_tags WHERE experiment = $1 AND key = $2";
    if tx.execute(delete, &args![row, key]).await? == 0 {
        return Err(Error::not_found(ResourceKind::Tag, key));
    }
    touch(tx, write, id, row, experiment.revision + 1).await
}

async fn touch(tx: &mut Tx, write: &Write<()>, id: ExperimentId, row: i64, revision: i64) -> Result<()> {
    tx.execute(
        "UPDATE experiments SET revision = $2 WHERE id = $1",
        &args![row, revision],
    )
    .await?;
    note(tx, write, id, revision).await
}

struct Columns;

impl Binding for Columns {
    fn schema(&self) -> &'static Schema {
        &EXPERIMENTS
    }

    fn id(&self) -> &str {
        "e.id"
    }

    fn place(&self, field: &Field) -> Place<'_> {
        if field.source == Source::Tag {
            return Place::Rows(Rows {
                from: "experiment_tags x".into(),
                owner: "x.experiment".into(),
                key: Some(("x.key".into(), Arg::from(field.key.clone()))),
                value: "x.value".into(),
                rank: None,
                scope: "".into(),
                is_complete: false,
            });
        }
        match field.key.as_str() {
            "experiment_id" => Place::unique("e.experiment_id"),
            "name" => Place::unique("e.name"),
            "artifact_location" => Place::column("e.artifact_location"),
            "lifecycle_stage" => {
                Place::column("CASE WHEN e.deleted_ms IS NULL THEN 'active' ELSE 'deleted' END")
            }
            "create_time" => Place::column("e.created_ms"),
            "update_time" => Place::column("e.updated_ms"),
            _ => Place::Nowhere,
        }
    }
}

/// The order asked for, made total: then by creation, newest first, then by id.
fn total(order: &[OrderBy]) -> Vec<OrderBy> {
    let mut terms = order.to_vec();
    for (key, descending) in [("create_time", true), ("experiment_id", false)] {
        let field = Field::new(Source::Attribute, key);
        if !terms.iter().any(|term| term.field == field) {
            terms.push(OrderBy { field, descending });
        }
    }
    terms
}

impl SqlTracking {
    async fn one(&self, sql: String, arguments: Vec<Arg<'static>>, name: &str) -> Result<Experiment> {
        let mut reader = self.db.read().await?;
        let row = reader
            .query_opt(&sql, &arguments)
            .await?
            .ok_or_else(|| not_found(name))?;
        let (row, found) = experiment(&row)?;
        with_tags(&mut reader, row, found).await
    }
}

#[async_trait]
impl ExperimentStore for SqlTracking {
    async fn ensure_default(&self, workspace: &Workspace, location: &str, now: Timestamp) -> Result<()> {
        let known = "SELECT id FROM experiments WHERE workspace = $1 AND experiment_id = 0";
        if self
            .db
            .query_opt(known, &args![workspace.as_str()])
            .await?
            .is_some()
        {
            return Ok(());
        }
        let state = (workspace.as_str().to_owned(), location.to_owned(), now.millis());
        self.db
            .write_with(state, |tx, (workspace, location, now)| {
                Box::pin(async move {
                    let insert = "INSERT INTO experiments (workspace, experiment_id, name, artifact_location, created_ms, \
                                  updated_ms) VALUES ($1, 0, 'Default', $2, $3, $3) ON CONFLICT DO NOTHING";
                    tx.execute(insert, &args![workspace, location, *now]).await?;
                    Ok(())
                })
            })
            .await
    }

    async fn create_experiment(
        &self,
        write: Write<Experiment>,
        new: NewExperiment,
        root: &str,
    ) -> Result<Outcome<Experiment>> {
        write
            .once(
                &self.db,
                (new, root.to_owned()),
                |tx, write, (new, root)| -> BoxFuture<'_, _> { Box::pin(create(tx, write, new, root)) },
            )
            .await
    }

    async fn experiment(&self, workspace: &Workspace, id: ExperimentId) -> Result<Experiment> {
        let sql =
            format!("SELECT {COLUMNS} FROM experiments e WHERE e.workspace = $1 AND e.experiment_id = $2");
        let arguments = args![workspace.as_str().to_owned(), id.get()].to_vec();
        self.one(sql, arguments, &id.to_string()).await
    }

    async fn experiment_by_name(&self, workspace: &Workspace, name: &str) -> Result<Experiment> {
        let sql = format!("SELECT {COLUMNS} FROM experiments e WHERE e.workspace = $1 AND e.name = $2");
        let arguments = args![workspace.as_str().to_owned(), name.to_owned()].to_vec();
        self.one(sql, arguments, name).await
    }

    async fn search_experiments(
        &self,
        workspace: &Workspace,
        search: &ExperimentSearch,
    ) -> Result<Page<Experiment>> {
        let scope = match search.view {
            View::Active => "e.workspace = $1 AND e.deleted_ms IS NULL",
            View::Deleted => "e.workspace = $1 AND e.deleted_ms IS NOT NULL",
            View::All => "e.workspace = $1",
        };
        let order = total(&search.order);
        let query = Query {
            binding: &Columns,
            select: COLUMNS,
            from: "experiments e",
            scope,
            scope_args: vec![Arg::from(workspace.as_str().to_owned())],
            filter: search.filter.as_ref(),
            order: &order,
        };
        let mut reader = self.db.snapshot().await?;
        let page = search::page(&mut reader, &query, &search.page).await?;
        let found = page.items.iter().map(experiment).collect::<Result<Vec<_>>>()?;
        Ok(Page {
            items: load_tags(&mut reader, found).await?,
            next: page.next,
        })
    }

    async fn rename_experiment(
        &self,
        write: Write<Experiment>,
        id: ExperimentId,
        name: ExperimentName,
        if_revision: Option<i64>,
    ) -> Result<Outcome<Experiment>> {
        write
            .once(
                &self.db,
                (id, name, if_revision),
                |tx, write, (id, name, if_revision)| -> BoxFuture<'_, _> {
                    Box::pin(rename(tx, write, *id, name, *if_revision))
                },
            )
            .await
    }

    async fn delete_experiment(&self, write: Write<()>, id: ExperimentId) -> Result<Outcome<()>> {
        write
            .once(&self.db, id, |tx, write, id| {
                Box::pin(set_deleted(tx, write, *id, true))
            })
            .await
    }

    async fn restore_experiment(&self, write: Write<()>, id: ExperimentId) -> Result<Outcome<()>> {
        write
            .once(&self.db, id, |tx, write, id| {
                Box::pin(set_deleted(tx, write, *id, false))
            })
            .await
    }

    async fn set_experiment_tags(
        &self,
        write: Write<()>,
        id: ExperimentId,
        tags: Tags,
    ) -> Result<Outcome<()>> {
        write
            .once(&self.db, (id, tags), |tx, write, (id, tags)| {
                Box::pin(set_tags(tx, write, *id, tags))
            })
            .await
    }

    async fn delete_experiment_tag(
        &self,
        write: Write<()>,
        id: ExperimentId,
        key: String,
    ) -> Result<Outcome<()>> {
        write
            .once(&self.db, (id, key), |tx, write, (id, key)| {
                Box::pin(delete_tag(tx, write, *id, key))
            })
            .await
    }
}
