//! What a purge removes and what holds it back; nothing is changed here.

use std::collections::HashMap;

use lodeway_domain::{
    Error, Reason, Result,
    id::{ExperimentId, ModelId, RunId},
};

use super::{MAX_PURGE, PurgeFilter, PurgeItem, PurgeKind, PurgePlan, limbo};
use crate::{
    args,
    artifacts::Roots,
    sql::{Conn, Engine},
    tracking::{
        labels::{in_ids, json_ids},
        places::{Places, held_by},
    },
};

/// What turned out to be held back by its files, and its experiments with it.
#[derive(Default)]
pub(super) struct Held {
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
pub(super) async fn plan(
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
pub(super) async fn left_over(
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
pub(super) fn going(items: &[PurgeItem]) -> usize {
    items.iter().filter(|item| item.held_back_by.is_none()).count()
}

/// Puts what was left over and what is new together, in the order of removal. Of more than fits, what is held back is left out.
pub(super) fn together(mut plan: PurgePlan, fresh: PurgePlan, limit: usize) -> PurgePlan {
    let is_held = |item: &PurgeItem| item.held_back_by.is_some();
    plan.items.extend(fresh.items);
    plan.items.sort_by_key(is_held);
    plan.items.truncate(limit);
    plan.items.sort_by_key(|item| (item.kind, is_held(item)));
    plan.more |= fresh.more;
    plan
}

/// The folders that must stay, as versions and the filter say.
pub(super) async fn kept_places<'a>(
    conn: &mut Conn,
    workspace: &str,
    filter: &PurgeFilter,
    roots: Option<&'a Roots>,
) -> Result<Places<'a>> {
    let mut places = Places::of_versions(conn, workspace, roots).await?;
    places.add_experiments(conn, workspace).await?;
    for folder in &filter.kept {
        places.keep(&folder.artifact_uri, || folder.by.clone());
    }
    Ok(places)
}

/// Refuses a filter that names what is not deleted.
pub(super) async fn check_deleted(conn: &mut Conn, workspace: &str, filter: &PurgeFilter) -> Result<()> {
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
