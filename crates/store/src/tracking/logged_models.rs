//! Logged models: what they are, their params, tags and the points measured of them.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use lodeway_domain::{
    Error, Reason, ResourceKind, Result,
    caller::Workspace,
    float,
    id::{ExperimentId, ModelId, RunId, clip},
    page::Page,
    time::Timestamp,
    tracking::{
        EntityKey, Lifecycle, LoggedModel, LoggedModelStatus, MetricSource, ModelPoint, ModelRegistration,
        NewLoggedModel, ParamValue, Point, Tags,
    },
};

use super::{
    Outcome, SqlTracking, Write,
    experiments::{ensure_active, find_for_share},
    labels::{in_ids, json_ids},
    location::below,
    logged_model_search::{COLUMNS, LoggedModelSearch, TABLES},
};
use crate::{
    args,
    sql::{Arg, Conn, Row, Tx},
};

/// The most points given of one logged model, the newest.
pub const MAX_MODEL_POINTS: usize = 10_000;

/// The most points given of all logged models on one page, in equal shares.
const MAX_PAGE_POINTS: usize = 100_000;

/// Keeps logged models. Unknown ids, and ids of other workspaces, are `NotFound`; a write to a deleted model is
/// `LOGGED_MODEL_NOT_ACTIVE`.
#[async_trait]
pub trait LoggedModelStore: Send + Sync + 'static {
    /// Creates a logged model with a new id in an active experiment, its files at `models/<id>/artifacts` below the
    /// experiment's location. Errors: `NotFound` without the experiment; `EXPERIMENT_NOT_ACTIVE`.
    async fn create_logged_model(
        &self,
        write: Write<LoggedModel>,
        new: NewLoggedModel,
    ) -> Result<Outcome<LoggedModel>>;

    /// A logged model with its newest [`MAX_MODEL_POINTS`] points. A deleted one is `NotFound` unless allowed.
    async fn logged_model(
        &self,
        workspace: &Workspace,
        id: &ModelId,
        allow_deleted: bool,
    ) -> Result<LoggedModel>;

    /// One page of the active logged models of some experiments, all parts filled in.
    async fn search_logged_models(
        &self,
        workspace: &Workspace,
        search: &LoggedModelSearch,
    ) -> Result<Page<LoggedModel>>;

    /// Says whether the files are complete.
    async fn finalize_logged_model(
        &self,
        write: Write<LoggedModel>,
        id: ModelId,
        status: LoggedModelStatus,
    ) -> Result<Outcome<LoggedModel>>;

    /// Moves a logged model to the bin; a deleted one stays there as it is.
    async fn delete_logged_model(&self, write: Write<()>, id: ModelId) -> Result<Outcome<()>>;

    /// Adds params, all or none; one that is set to the same value stays. Errors: `PARAM_ALREADY_SET`.
    async fn log_logged_model_params(
        &self,
        write: Write<()>,
        id: ModelId,
        params: BTreeMap<EntityKey, ParamValue>,
    ) -> Result<Outcome<()>>;

    /// Sets tags, replacing earlier values.
    async fn set_logged_model_tags(
        &self,
        write: Write<LoggedModel>,
        id: ModelId,
        tags: Tags,
    ) -> Result<Outcome<LoggedModel>>;

    /// Removes a tag. Errors: `NotFound` (a tag) if there is none of that key.
    async fn delete_logged_model_tag(
        &self,
        write: Write<()>,
        id: ModelId,
        key: String,
    ) -> Result<Outcome<()>>;
}

fn model(row: &Row) -> Result<(i64, LoggedModel)> {
    let deleted = row.opt_int(11)?;
    let source_run = row.opt_text(8)?;
    let model = LoggedModel {
        id: ModelId::parse(row.str(1)?)?,
        experiment: ExperimentId::new(row.int(2)?),
        name: row.text(3)?,
        artifact_uri: row.text(4)?,
        status: LoggedModelStatus::from_number(row.int(5)?)?,
        status_message: row.text(6)?,
        model_type: row.text(7)?,
        source_run: source_run.map(|run| RunId::parse(&run)).transpose()?,
        lifecycle: deleted.map_or(Lifecycle::Active, |ms| {
            Lifecycle::Deleted(Timestamp::from_millis(ms))
        }),
        created: Timestamp::from_millis(row.int(9)?),
        updated: Timestamp::from_millis(row.int(10)?),
        params: BTreeMap::new(),
        tags: BTreeMap::new(),
        metrics: Vec::new(),
        registrations: Vec::new(),
    };
    Ok((row.int(0)?, model))
}

fn not_found(id: &ModelId) -> Error {
    Error::not_found(ResourceKind::LoggedModel, id)
}

/// Models out of rows of [`COLUMNS`], with all their parts, a statement for each kind of part.
pub(super) async fn load(conn: &mut Conn, workspace: &str, rows: &[Row]) -> Result<Vec<LoggedModel>> {
    let mut places = HashMap::new();
    let mut models = Vec::with_capacity(rows.len());
    for (i, row) in rows.iter().enumerate() {
        let (id, model) = model(row)?;
        places.insert(id, i);
        models.push(model);
    }
    if models.is_empty() {
        return Ok(models);
    }
    let ids = json_ids(places.keys().copied())?;
    let list = in_ids(conn.engine(), "$1");
    let sql = format!("SELECT model, key, value FROM logged_model_params WHERE model {list}");
    for row in conn.query(&sql, &args![&ids]).await? {
        if let Some(i) = places.get(&row.int(0)?) {
            models[*i].params.insert(row.text(1)?, row.text(2)?);
        }
    }
    let sql = format!("SELECT model, key, value FROM logged_model_tags WHERE model {list}");
    for row in conn.query(&sql, &args![&ids]).await? {
        if let Some(i) = places.get(&row.int(0)?) {
            models[*i].tags.insert(row.text(1)?, row.text(2)?);
        }
    }
    let sql = format!(
        "SELECT m.id, v.name, v.version FROM logged_models m JOIN version_references v \
         ON v.workspace = $2 AND v.model_id = m.model_id AND NOT v.released WHERE m.id {list} \
         ORDER BY v.name, v.version"
    );
    for row in conn.query(&sql, &args![&ids, workspace]).await? {
        if let Some(i) = places.get(&row.int(0)?) {
            models[*i].registrations.push(ModelRegistration {
                name: row.text(1)?,
                version: row.int(2)?,
            });
        }
    }
    load_points(conn, &ids, &places, &mut models).await?;
    Ok(models)
}

async fn load_points(
    conn: &mut Conn,
    ids: &str,
    places: &HashMap<i64, usize>,
    models: &mut [LoggedModel],
) -> Result<()> {
    let share = (MAX_PAGE_POINTS / models.len()).min(MAX_MODEL_POINTS);
    let list = in_ids(conn.engine(), "$1");
    let sql = format!(
        "SELECT p.model, p.key, p.dataset_name, p.dataset_digest, p.run_id, p.step, p.ts_ms, p.bits FROM \
         (SELECT x.*, ROW_NUMBER() OVER (PARTITION BY x.model ORDER BY x.ts_ms DESC, x.step DESC, x.sort DESC) AS place \
         FROM logged_model_metrics x WHERE x.model {list}) p WHERE p.place <= $2"
    );
    let share = i64::try_from(share).unwrap_or(i64::MAX);
    for row in conn.query(&sql, &args![ids, share]).await? {
        let Some(i) = places.get(&row.int(0)?) else {
            continue;
        };
        let id = models[*i].id.clone();
        models[*i].metrics.push(ModelPoint {
            run: RunId::parse(row.str(4)?)?,
            key: row.text(1)?,
            point: Point {
                value: float::from_bits(row.int(7)?),
                time: Timestamp::from_millis(row.int(6)?),
                step: row.int(5)?,
            },
            source: MetricSource {
                model: id,
                dataset_name: row.text(2)?,
                dataset_digest: row.text(3)?,
            },
        });
    }
    for model in models {
        model.metrics.sort_by(|a, b| {
            let labels = (&a.key, &a.source, &a.run).cmp(&(&b.key, &b.source, &b.run));
            labels.then_with(|| a.point.cmp_by_step(&b.point))
        });
    }
    Ok(())
}

/// Row id of a model that is not deleted, kept as it is until the commit.
async fn lock_active(tx: &mut Tx, workspace: &str, id: &ModelId) -> Result<i64> {
    let lock = tx.engine().for_update();
    let sql =
        format!("SELECT id, deleted_ms FROM logged_models WHERE workspace = $1 AND model_id = $2{lock}");
    let row = tx.query_opt(&sql, &args![workspace, id.as_str()]).await?;
    let row = row.ok_or_else(|| not_found(id))?;
    if row.opt_int(1)?.is_some() {
        return Err(Error::precondition(
            Reason::LoggedModelNotActive,
            format!("logged model `{id}` is deleted; log another one"),
            vec![("model_id", id.to_string())],
        ));
    }
    row.int(0)
}

async fn one(conn: &mut Conn, workspace: &str, id: &ModelId) -> Result<LoggedModel> {
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE m.workspace = $1 AND m.model_id = $2");
    let rows = conn.query(&sql, &args![workspace, id.as_str()]).await?;
    let models = load(conn, workspace, &rows).await?;
    models.into_iter().next().ok_or_else(|| not_found(id))
}

async fn create(tx: &mut Tx, write: &Write<LoggedModel>, new: &NewLoggedModel) -> Result<LoggedModel> {
    let workspace = write.workspace();
    let (experiment_row, experiment) = find_for_share(tx, workspace, new.experiment).await?;
    ensure_active(new.experiment, experiment.lifecycle)?;
    let id = ModelId::generate();
    let model = LoggedModel {
        artifact_uri: below(
            &experiment.artifact_location,
            &["models", id.as_str(), "artifacts"],
        ),
        id,
        experiment: new.experiment,
        name: new.name.as_str().to_owned(),
        status: LoggedModelStatus::Pending,
        status_message: String::new(),
        model_type: new.model_type.clone(),
        source_run: new.source_run.clone(),
        lifecycle: Lifecycle::Active,
        created: write.now,
        updated: write.now,
        params: new.params.clone(),
        tags: new.tags.clone().into_map(),
        metrics: Vec::new(),
        registrations: Vec::new(),
    };
    let insert = "INSERT INTO logged_models (workspace, model_id, experiment, name, artifact_uri, status, \
                  status_message, model_type, source_run_id, created_ms, updated_ms) \
                  VALUES ($1, $2, $3, $4, $5, $6, '', $7, $8, $9, $9)";
    let arguments = args![
        workspace,
        model.id.as_str(),
        experiment_row,
        &model.name,
        &model.artifact_uri,
        model.status as i64,
        &model.model_type,
        model.source_run.as_ref().map(RunId::as_str),
        write.now.millis(),
    ];
    let row = tx.insert(insert, "id", &arguments).await?;
    let params: Vec<Arg<'_>> = model
        .params
        .iter()
        .flat_map(|(key, value)| args![row, key, value])
        .collect();
    tx.insert_many(
        "INSERT INTO logged_model_params (model, key, value)",
        3,
        "",
        &params,
    )
    .await?;
    put_tags(tx, row, &new.tags).await?;
    Ok(model)
}

async fn put_tags(tx: &mut Tx, model: i64, tags: &Tags) -> Result<()> {
    let rows: Vec<Arg<'_>> = tags
        .iter()
        .flat_map(|(key, value)| args![model, key, value])
        .collect();
    let end = "ON CONFLICT (model, key) DO UPDATE SET value = excluded.value";
    tx.insert_many("INSERT INTO logged_model_tags (model, key, value)", 3, end, &rows)
        .await?;
    Ok(())
}

async fn touch(tx: &mut Tx, model: i64, now: Timestamp) -> Result<()> {
    let sql = "UPDATE logged_models SET updated_ms = $2 WHERE id = $1";
    tx.execute(sql, &args![model, now.millis()]).await?;
    Ok(())
}

async fn log_params(
    tx: &mut Tx,
    write: &Write<()>,
    id: &ModelId,
    params: &BTreeMap<EntityKey, ParamValue>,
) -> Result<()> {
    let model = lock_active(tx, write.workspace(), id).await?;
    let mut known = HashMap::new();
    let sql = "SELECT key, value FROM logged_model_params WHERE model = $1";
    for row in tx.query(sql, &args![model]).await? {
        known.insert(row.text(0)?, row.text(1)?);
    }
    let mut rows = Vec::new();
    for (key, value) in params {
        match known.get(key.as_str()) {
            None => rows.extend(args![model, key.as_str(), value.as_str()]),
            Some(old) if old == value.as_str() => {}
            Some(old) => return Err(already_set(id, key.as_str(), (old, value.as_str()))),
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    tx.insert_many(
        "INSERT INTO logged_model_params (model, key, value)",
        3,
        "",
        &rows,
    )
    .await?;
    touch(tx, model, write.now).await
}

fn already_set(id: &ModelId, key: &str, (old, new): (&str, &str)) -> Error {
    let text = format!(
        "param `{key}` is already set to `{}` and cannot become `{}`; params are write-once, log it under another key",
        clip(old),
        clip(new)
    );
    let metadata = vec![
        ("model_id", id.to_string()),
        ("key", key.to_owned()),
        ("old_value", old.to_owned()),
        ("new_value", new.to_owned()),
    ];
    Error::precondition(Reason::ParamAlreadySet, text, metadata)
}

async fn delete(tx: &mut Tx, write: &Write<()>, id: &ModelId) -> Result<()> {
    let sql = "UPDATE logged_models SET deleted_ms = COALESCE(deleted_ms, $3), \
               updated_ms = CASE WHEN deleted_ms IS NULL THEN $3 ELSE updated_ms END \
               WHERE workspace = $1 AND model_id = $2";
    let changed = tx
        .execute(sql, &args![write.workspace(), id.as_str(), write.now.millis()])
        .await?;
    if changed == 0 { Err(not_found(id)) } else { Ok(()) }
}

#[async_trait]
impl LoggedModelStore for SqlTracking {
    async fn create_logged_model(
        &self,
        write: Write<LoggedModel>,
        new: NewLoggedModel,
    ) -> Result<Outcome<LoggedModel>> {
        write
            .once(&self.db, new, |tx, write, new| Box::pin(create(tx, write, new)))
            .await
    }

    async fn logged_model(
        &self,
        workspace: &Workspace,
        id: &ModelId,
        allow_deleted: bool,
    ) -> Result<LoggedModel> {
        let mut snapshot = self.db.snapshot().await?;
        let model = one(&mut snapshot, workspace.as_str(), id).await?;
        if model.lifecycle.is_active() || allow_deleted {
            Ok(model)
        } else {
            Err(not_found(id))
        }
    }

    async fn search_logged_models(
        &self,
        workspace: &Workspace,
        search: &LoggedModelSearch,
    ) -> Result<Page<LoggedModel>> {
        let mut snapshot = self.db.snapshot().await?;
        let page = search.rows(&mut snapshot, workspace.as_str()).await?;
        Ok(Page {
            items: load(&mut snapshot, workspace.as_str(), &page.items).await?,
            next: page.next,
        })
    }

    async fn finalize_logged_model(
        &self,
        write: Write<LoggedModel>,
        id: ModelId,
        status: LoggedModelStatus,
    ) -> Result<Outcome<LoggedModel>> {
        write
            .once(&self.db, (id, status), |tx, write, (id, status)| {
                Box::pin(async move {
                    let model = lock_active(tx, write.workspace(), id).await?;
                    let sql = "UPDATE logged_models SET status = $2, updated_ms = $3 WHERE id = $1";
                    tx.execute(sql, &args![model, *status as i64, write.now.millis()])
                        .await?;
                    one(tx, write.workspace(), id).await
                })
            })
            .await
    }

    async fn delete_logged_model(&self, write: Write<()>, id: ModelId) -> Result<Outcome<()>> {
        write
            .once(&self.db, id, |tx, write, id| Box::pin(delete(tx, write, id)))
            .await
    }

    async fn log_logged_model_params(
        &self,
        write: Write<()>,
        id: ModelId,
        params: BTreeMap<EntityKey, ParamValue>,
    ) -> Result<Outcome<()>> {
        write
            .once(&self.db, (id, params), |tx, write, (id, params)| {
                Box::pin(log_params(tx, write, id, params))
            })
            .await
    }

    async fn set_logged_model_tags(
        &self,
        write: Write<LoggedModel>,
        id: ModelId,
        tags: Tags,
    ) -> Result<Outcome<LoggedModel>> {
        write
            .once(&self.db, (id, tags), |tx, write, (id, tags)| {
                Box::pin(async move {
                    let model = lock_active(tx, write.workspace(), id).await?;
                    put_tags(tx, model, tags).await?;
                    touch(tx, model, write.now).await?;
                    one(tx, write.workspace(), id).await
                })
            })
            .await
    }

    async fn delete_logged_model_tag(
        &self,
        write: Write<()>,
        id: ModelId,
        key: String,
    ) -> Result<Outcome<()>> {
        write
            .once(&self.db, (id, key), |tx, write, (id, key)| {
                Box::pin(async move {
                    let model = lock_active(tx, write.workspace(), id).await?;
                    let sql = "DELETE FROM logged_model_tags WHERE model = $1 AND key = $2";
                    if tx.execute(sql, &args![model, &*key]).await? == 0 {
                        return Err(Error::not_found(ResourceKind::Tag, key));
                    }
                    touch(tx, model, write.now).await
                })
            })
            .await
    }
}
