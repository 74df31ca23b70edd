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

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use lodeway_domain::{
    Error, Reason, Result,
    caller::Workspace,
    id::{ExperimentId, ModelId, RunId},
    time::Timestamp,
};

use super::{
    Outcome, SqlTracking, Write,
    labels::{in_ids, json_ids},
    places::{Places, held_by},
    references::lock_name,
};
use crate::{
    args,
    artifacts::Roots,
    ledger::requests::{self, Seen},
    sql::{Conn, Engine, Tx},
};

/// The most entities of one call.
pub const MAX_PURGE: usize = 10_000;

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

/// What turned out to be held back by its files, and its experiments with it.
#[derive(Default)]
struct Held {
    items: Vec<PurgeItem>,
    experiments: HashMap<i64, String>,
}

impl Held {
    fn add(&mut self, item: PurgeItem, by: &str) {
        self.experiments
            .entry(item.experiment)
            .or_insert_with(|| by.to_owned());
        // No answer has more, and they may be many.
        if self.items.len() < MAX_PURGE {
            self.items.push(PurgeItem {
                held_back_by: Some(by.to_owned()),
                ..item
            });
        }
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

/// Where marked entities are: no caller's workspace has a blank in its name.
fn limbo(workspace: &str) -> String {
    format!("{workspace} purged")
}

/// A table of entities with files, as a purge sees it.
struct Source {
    kind: PurgeKind,
    table: &'static str,
    id: &'static str,
    /// The column of version_references that names an entity of this kind.
    named_by: &'static str,
    /// URIs that name such an entity begin so.
    scheme: &'static str,
}

const MODELS: Source = Source {
    kind: PurgeKind::LoggedModel,
    table: "logged_models",
    id: "model_id",
    named_by: "model_id",
    scheme: "models:/",
};

const RUNS: Source = Source {
    kind: PurgeKind::Run,
    table: "runs",
    id: "run_id",
    named_by: "run_id",
    scheme: "runs:/",
};

impl Source {
    /// The version that names an entity of alias `x`, or NULL; `$1` is the workspace. Those that only refer to its files are
    /// found by [`Places`], for a folder has many names.
    fn holder(&self) -> String {
        let Self {
            id, named_by, scheme, ..
        } = self;
        let version = "SELECT v.name || '/' || CAST(v.version AS TEXT) FROM version_references v \
                       WHERE v.workspace = $1 AND NOT v.released AND";
        // `0` is the character after `/`, so the range is what begins with the URI and a slash.
        let within = |uri: &str| {
            format!(
                "({version} v.artifact_uri = {uri} LIMIT 1), \
                 ({version} v.artifact_uri >= {uri} || '/' AND v.artifact_uri < {uri} || '0' LIMIT 1)"
            )
        };
        format!(
            "COALESCE(({version} v.{named_by} = x.{id} LIMIT 1), {})",
            within(&format!("('{scheme}' || x.{id})"))
        )
    }

    /// Which rows the filter means: those it names, and those of experiments that go. `$2` is the time, `$3` the ids of
    /// experiments and `$4` those of the entities, as JSON.
    fn meant(&self, engine: Engine, filter: &PurgeFilter, named: bool) -> String {
        let Self { table, id, .. } = self;
        let own = match (filter.is_everything(), named) {
            (true, _) => "TRUE".to_owned(),
            (false, false) => "FALSE".to_owned(),
            (false, true) => format!("y.{id} {}", in_texts(engine, "$4")),
        };
        let of = match (filter.is_everything(), filter.experiments.is_empty()) {
            (true, _) => "TRUE".to_owned(),
            (false, true) => "FALSE".to_owned(),
            (false, false) => format!("e.experiment_id {}", in_ids(engine, "$3")),
        };
        // The arguments that a branch leaves out still need a type on PostgreSQL.
        format!(
            "x.id IN (SELECT y.id FROM {table} y WHERE y.workspace = $1 AND y.deleted_ms < $2 AND {own} UNION \
             SELECT y.id FROM experiments e JOIN {table} y ON y.experiment = e.id AND y.workspace = $1 \
             WHERE e.workspace = $1 AND e.deleted_ms < $2 AND {of}) \
             AND CAST($3 AS TEXT) IS NOT NULL AND CAST($4 AS TEXT) IS NOT NULL"
        )
    }

    /// At most `limit` entities of this kind that can go; adds those whose files must stay to `held`.
    async fn find_free(
        &self,
        conn: &mut Conn,
        (workspace, filter): (&str, &PurgeFilter),
        places: &Places<'_>,
        held: &mut Held,
        limit: usize,
    ) -> Result<Vec<PurgeItem>> {
        let (mut free, mut after) = (Vec::new(), i64::MIN);
        loop {
            let rows = self.find(conn, (workspace, filter), false, after, limit).await?;
            let is_last = rows.len() < limit;
            for item in rows {
                after = item.row;
                match places.keeper(&item.artifact_uri) {
                    Some(by) => held.add(item, by),
                    None => free.push(item),
                }
                if free.len() == limit {
                    return Ok(free);
                }
            }
            if is_last {
                return Ok(free);
            }
        }
    }

    /// Rows of this kind behind the row `after`, with the version that names them: those that none names (`held` false), or
    /// the others.
    async fn find(
        &self,
        conn: &mut Conn,
        (workspace, filter): (&str, &PurgeFilter),
        held: bool,
        after: i64,
        limit: usize,
    ) -> Result<Vec<PurgeItem>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = match self.kind {
            PurgeKind::LoggedModel => filter.models.iter().map(ModelId::as_str).collect(),
            _ => filter.runs.iter().map(RunId::as_str).collect(),
        };
        let meant = self.meant(conn.engine(), filter, !names.is_empty());
        let sql = format!(
            "SELECT z.id, z.name, z.artifact_uri, z.holder, z.experiment FROM (SELECT x.id, x.{} AS name, x.artifact_uri, \
             x.experiment, {} AS holder FROM {} x WHERE x.workspace = $1 AND x.id > $6 AND {meant}) z \
             WHERE z.holder IS {} NULL ORDER BY z.id LIMIT $5",
            self.id,
            self.holder(),
            self.table,
            if held { "NOT" } else { "" },
        );
        let experiments = json_ids(filter.experiments.iter().map(|id| id.get()))?;
        let names = json_texts(&names)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let arguments = args![workspace, filter.before(), &experiments, &names, limit, after];
        let mut found = Vec::new();
        for row in conn.query(&sql, &arguments).await? {
            found.push(PurgeItem {
                kind: self.kind,
                id: row.text(1)?,
                artifact_uri: row.text(2)?,
                held_back_by: row.opt_text(3)?.map(|version| held_by(&version)),
                row: row.int(0)?,
                experiment: row.int(4)?,
            });
        }
        Ok(found)
    }
}

fn in_texts(engine: Engine, placeholder: &str) -> String {
    match engine {
        Engine::Sqlite => format!("IN (SELECT value FROM json_each({placeholder}))"),
        Engine::Postgres => {
            format!("IN (SELECT v FROM json_array_elements_text(CAST({placeholder} AS JSON)) AS v)")
        }
    }
}

fn json_texts(texts: &[&str]) -> Result<String> {
    serde_json::to_string(texts).map_err(Error::internal)
}

/// Experiments that the filter means, with what holds them.
async fn find_experiments(
    conn: &mut Conn,
    workspace: &str,
    filter: &PurgeFilter,
    held_experiments: &HashMap<i64, String>,
) -> Result<Vec<PurgeItem>> {
    let named = match (filter.is_everything(), filter.experiments.is_empty()) {
        (true, _) => "TRUE".to_owned(),
        (false, true) => return Ok(Vec::new()),
        (false, false) => format!("e.experiment_id {}", in_ids(conn.engine(), "$3")),
    };
    let held = |source: &Source| {
        format!(
            "(SELECT w.holder FROM (SELECT {} AS holder FROM {} x WHERE x.experiment = e.id) w \
             WHERE w.holder IS NOT NULL LIMIT 1)",
            source.holder(),
            source.table
        )
    };
    let sql = format!(
        "SELECT e.id, e.experiment_id, COALESCE({}, {}) FROM experiments e WHERE e.workspace = $1 AND e.deleted_ms < $2 \
         AND CAST($3 AS TEXT) IS NOT NULL AND {named} ORDER BY e.id",
        held(&MODELS),
        held(&RUNS)
    );
    let ids = json_ids(filter.experiments.iter().map(|id| id.get()))?;
    let mut found = Vec::new();
    for row in conn.query(&sql, &args![workspace, filter.before(), &ids]).await? {
        let (id, key) = (ExperimentId::new(row.int(1)?), row.int(0)?);
        let by_name = row.opt_text(2)?.map(|version| held_by(&version));
        let held_back_by = match by_name.or_else(|| held_experiments.get(&key).cloned()) {
            Some(by) => Some(by),
            None if id == ExperimentId::DEFAULT => Some("every workspace keeps experiment `0`".to_owned()),
            None => None,
        };
        found.push(PurgeItem {
            kind: PurgeKind::Experiment,
            id: id.to_string(),
            artifact_uri: String::new(),
            held_back_by,
            row: key,
            experiment: key,
        });
    }
    Ok(found)
}

/// Chooses at most `limit` entities: those that can go before those held back, so that a repetition always gets on.
async fn plan(
    conn: &mut Conn,
    (workspace, filter): (&str, &PurgeFilter),
    places: &Places<'_>,
    mut held: Held,
    limit: usize,
) -> Result<PurgePlan> {
    let of = (workspace, filter);
    let mut items = Vec::new();
    for source in [&MODELS, &RUNS] {
        let room = limit - items.len();
        let free = source.find_free(conn, of, places, &mut held, room + 1).await?;
        items.extend(free);
        if items.len() > limit {
            items.truncate(limit);
            return Ok(PurgePlan { items, more: true });
        }
    }
    // All their runs and logged models that can go are chosen by now.
    let room = limit - items.len();
    let experiments = find_experiments(conn, workspace, filter, &held.experiments).await?;
    let (held_experiments, free): (Vec<_>, Vec<_>) =
        experiments.into_iter().partition(|e| e.held_back_by.is_some());
    let more = free.len() > room;
    items.extend(free.into_iter().take(room));
    for source in [&MODELS, &RUNS] {
        let room = limit - items.len();
        items.extend(source.find(conn, of, true, i64::MIN, room).await?);
    }
    for held in [held.items, held_experiments] {
        let room = limit - items.len();
        items.extend(held.into_iter().take(room));
    }
    items.sort_by_key(|item| (item.kind, item.row));
    Ok(PurgePlan { items, more })
}

/// What was marked and not finished, and the experiments that it holds back.
async fn left_over(
    conn: &mut Conn,
    workspace: &str,
    places: &Places<'_>,
    limit: usize,
) -> Result<(PurgePlan, Held)> {
    let limbo = limbo(workspace);
    let (mut items, mut held) = (Vec::new(), Held::default());
    let sources = [
        (
            PurgeKind::LoggedModel,
            "SELECT id, model_id, artifact_uri, experiment FROM logged_models",
        ),
        (
            PurgeKind::Run,
            "SELECT id, run_id, artifact_uri, experiment FROM runs",
        ),
        (
            PurgeKind::Experiment,
            "SELECT id, CAST(experiment_id AS TEXT), '', id FROM experiments",
        ),
    ];
    for (kind, select) in sources {
        // Not more than a few calls mark, for none marks anything while there is more than one call takes.
        let sql = format!("{select} WHERE workspace = $1 ORDER BY id");
        for row in conn.query(&sql, &args![&limbo]).await? {
            let item = PurgeItem {
                kind,
                id: row.text(1)?,
                artifact_uri: row.text(2)?,
                held_back_by: None,
                row: row.int(0)?,
                experiment: row.int(3)?,
            };
            let by = match kind {
                PurgeKind::Experiment => held.experiments.get(&item.experiment).cloned(),
                _ => places.keeper(&item.artifact_uri).map(str::to_owned),
            };
            match by {
                Some(by) => held.add(item, &by),
                None => items.push(item),
            }
        }
    }
    let more = items.len() > limit;
    items.truncate(limit);
    items.append(&mut held.items);
    Ok((PurgePlan { items, more }, held))
}

/// How many of these go.
fn going(items: &[PurgeItem]) -> usize {
    items.iter().filter(|item| item.held_back_by.is_none()).count()
}

/// Puts what was left over and what is new together, in the order of removal. Of more than fits, what is held back is left out.
fn together(mut plan: PurgePlan, fresh: PurgePlan, limit: usize) -> PurgePlan {
    let is_held = |item: &PurgeItem| item.held_back_by.is_some();
    plan.items.extend(fresh.items);
    plan.items.sort_by_key(is_held);
    plan.items.truncate(limit);
    plan.items.sort_by_key(|item| (item.kind, is_held(item)));
    plan.more |= fresh.more;
    plan
}

/// The folders that must stay, as versions and the filter say.
async fn kept_places<'a>(
    conn: &mut Conn,
    workspace: &str,
    filter: &PurgeFilter,
    roots: Option<&'a Roots>,
) -> Result<Places<'a>> {
    let mut places = Places::of_versions(conn, workspace, roots).await?;
    for folder in &filter.kept {
        places.keep(&folder.artifact_uri, || folder.by.clone());
    }
    Ok(places)
}

/// Refuses a filter that names what is not deleted.
async fn check_deleted(conn: &mut Conn, workspace: &str, filter: &PurgeFilter) -> Result<()> {
    let engine = conn.engine();
    let experiments = json_ids(filter.experiments.iter().map(|id| id.get()))?;
    let runs = json_texts(&filter.runs.iter().map(RunId::as_str).collect::<Vec<_>>())?;
    let models = json_texts(&filter.models.iter().map(ModelId::as_str).collect::<Vec<_>>())?;
    let checks = [
        (
            "experiment",
            "experiments",
            "experiment_id",
            in_ids(engine, "$2"),
            experiments,
        ),
        ("run", "runs", "run_id", in_texts(engine, "$2"), runs),
        (
            "logged model",
            "logged_models",
            "model_id",
            in_texts(engine, "$2"),
            models,
        ),
    ];
    for (kind, table, column, list, ids) in checks {
        let sql = format!(
            "SELECT CAST({column} AS TEXT) FROM {table} WHERE workspace = $1 AND deleted_ms IS NULL AND {column} {list} \
             ORDER BY {column} LIMIT 1"
        );
        if let Some(row) = conn.query_opt(&sql, &args![workspace, &ids]).await? {
            let id = row.text(0)?;
            return Err(Error::precondition(
                Reason::NotDeleted,
                format!("{kind} `{id}` is not deleted; delete it before it can be purged"),
                vec![("kind", kind.to_owned()), ("id", id)],
            ));
        }
    }
    Ok(())
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
) -> Result<PurgePlan> {
    // A reference that comes later finds nothing to hold.
    tx.lock(&lock_name(workspace)).await?;
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
                        _ => mark(tx, (write.workspace(), filter), roots.as_ref(), limit)
                            .await
                            .map(Outcome::Done),
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
