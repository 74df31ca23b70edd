//! Runs, and the batches they log.

use std::collections::BTreeMap;

use lodeway_proto::tracking::v1 as pb;
use prost_types::FieldMask;
use serde::{Deserialize, Serialize};

use super::{
    Answer, Ask, Call, Route,
    body::{Field, Kind, Message, Source, blank, missing_value},
    dialect::{self, Entity},
    done,
    error::RestError,
    experiments::{stage_name, view},
    get, look, paging, post, reply, validate,
    wire::{
        Double, IdText, Int, KeyValue, Label, Num, Word, filled, label_map, labels, millis, or_default,
        timestamp,
    },
};

pub(super) const ROUTES: &[Route] = &[
    post("/2.0/mlflow/runs/create", "mlflow.CreateRun", |c| {
        Box::pin(create(c))
    }),
    get("/2.0/mlflow/runs/get", "mlflow.GetRun", |c| Box::pin(get_run(c))),
    look("/2.0/mlflow/runs/search", "mlflow.SearchRuns", |c| {
        Box::pin(search(c))
    }),
    post("/2.0/mlflow/runs/update", "mlflow.UpdateRun", |c| {
        Box::pin(update(c))
    }),
    post("/2.0/mlflow/runs/delete", "mlflow.DeleteRun", |c| {
        Box::pin(delete(c))
    }),
    post("/2.0/mlflow/runs/restore", "mlflow.RestoreRun", |c| {
        Box::pin(restore(c))
    }),
    post("/2.0/mlflow/runs/log-metric", "mlflow.LogMetric", |c| {
        Box::pin(log_metric(c))
    }),
    post("/2.0/mlflow/runs/log-parameter", "mlflow.LogParam", |c| {
        Box::pin(log_param(c))
    }),
    post("/2.0/mlflow/runs/log-batch", "mlflow.LogBatch", |c| {
        Box::pin(log_batch(c))
    }),
    post("/2.0/mlflow/runs/set-tag", "mlflow.SetTag", |c| {
        Box::pin(set_tag(c))
    }),
    post("/2.0/mlflow/runs/delete-tag", "mlflow.DeleteTag", |c| {
        Box::pin(delete_tag(c))
    }),
    post("/2.0/mlflow/runs/log-model", "mlflow.LogModel", |c| {
        Box::pin(log_model(c))
    }),
];

const RUN_NAME: &str = "mlflow.runName";
const MODEL_HISTORY: &str = "mlflow.log-model.history";

/// The statuses of a run.
const STATUSES: &[(&str, i64, pb::RunStatus)] = &[
    ("RUNNING", 1, pb::RunStatus::Running),
    ("SCHEDULED", 2, pb::RunStatus::Scheduled),
    ("FINISHED", 3, pb::RunStatus::Finished),
    ("FAILED", 4, pb::RunStatus::Failed),
    ("KILLED", 5, pb::RunStatus::Killed),
];

fn status_name(status: pb::RunStatus) -> &'static str {
    STATUSES
        .iter()
        .find(|(_, _, s)| *s == status)
        .map_or("RUNNING", |(name, _, _)| *name)
}

/// A metric point as MLflow shows it.
#[derive(Serialize)]
pub(super) struct Metric {
    pub key: String,
    pub value: Num,
    pub timestamp: i64,
    pub step: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
}

impl From<pb::Metric> for Metric {
    fn from(m: pb::Metric) -> Self {
        Self {
            value: Num(m.value),
            timestamp: millis(m.time.as_ref()).unwrap_or_default(),
            step: m.step,
            dataset_name: filled(m.dataset_name),
            dataset_digest: filled(m.dataset_digest),
            model_id: filled(m.model_id),
            run_id: None,
            key: m.key,
        }
    }
}

impl From<pb::MetricPoint> for Metric {
    fn from(point: pb::MetricPoint) -> Self {
        Self {
            run_id: filled(point.run_id),
            ..point.metric.unwrap_or_default().into()
        }
    }
}

#[derive(Serialize)]
pub(super) struct RunInfo {
    run_uuid: String,
    pub run_id: String,
    run_name: String,
    pub experiment_id: String,
    user_id: String,
    status: &'static str,
    start_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<i64>,
    artifact_uri: String,
    lifecycle_stage: &'static str,
}

#[derive(Serialize)]
struct RunData {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<Metric>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    params: Vec<Label>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Label>,
}

#[derive(Serialize)]
struct Inputs {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    model_inputs: Vec<ModelInput>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dataset_inputs: Vec<super::datasets::DatasetInput>,
}

#[derive(Serialize)]
struct Outputs {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    model_outputs: Vec<ModelOutput>,
}

#[derive(Serialize)]
struct ModelInput {
    model_id: String,
}

#[derive(Serialize)]
struct ModelOutput {
    model_id: String,
    step: i64,
}

/// A run as MLflow shows it.
#[derive(Serialize)]
pub(super) struct Run {
    pub info: RunInfo,
    data: RunData,
    inputs: Inputs,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<Outputs>,
}

fn info(run: &mut pb::Run) -> RunInfo {
    let take = std::mem::take::<String>;
    RunInfo {
        status: status_name(run.status()),
        lifecycle_stage: stage_name(run.lifecycle_stage()),
        run_uuid: run.run_id.clone(),
        run_id: take(&mut run.run_id),
        run_name: take(&mut run.name),
        experiment_id: take(&mut run.experiment_id),
        user_id: take(&mut run.user_id),
        start_time: millis(run.start_time.as_ref()).unwrap_or_default(),
        end_time: millis(run.end_time.as_ref()),
        artifact_uri: take(&mut run.artifact_uri),
    }
}

impl From<pb::Run> for Run {
    fn from(mut run: pb::Run) -> Self {
        let outputs: Vec<_> = run
            .model_outputs
            .drain(..)
            .map(|o| ModelOutput {
                model_id: o.model_id,
                step: o.step,
            })
            .collect();
        Self {
            info: info(&mut run),
            data: RunData {
                metrics: run.metrics.into_iter().map(Metric::from).collect(),
                params: labels(run.params),
                tags: labels(run.tags),
            },
            inputs: Inputs {
                model_inputs: run
                    .model_inputs
                    .into_iter()
                    .map(|i| ModelInput { model_id: i.model_id })
                    .collect(),
                dataset_inputs: run.dataset_inputs.into_iter().map(Into::into).collect(),
            },
            outputs: if outputs.is_empty() {
                None
            } else {
                Some(Outputs {
                    model_outputs: outputs,
                })
            },
        }
    }
}

#[derive(Serialize)]
pub(super) struct RunReply {
    pub run: Run,
}

#[derive(Deserialize)]
struct Create {
    experiment_id: Option<IdText>,
    user_id: Option<String>,
    run_name: Option<String>,
    start_time: Option<Int>,
    #[serde(default, deserialize_with = "or_default")]
    tags: Vec<KeyValue>,
}

impl Message for Create {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("experiment_id", Kind::Text),
        Field::new("start_time", Kind::Int),
        Field::new("run_name", Kind::Text),
    ];
}

async fn create(mut call: Call) -> Answer {
    let m: Create = call.message().await?;
    let ask = call.ask();
    let cut = ask.edge.config.truncate_long_values;
    let mut tags = BTreeMap::new();
    for (key, value) in label_map(m.tags) {
        let value = validate::run_tag(&key, value, "", cut)?;
        tags.insert(key, value);
    }
    let name = m.run_name.unwrap_or_default();
    let tagged = tags.get(RUN_NAME).map(String::as_str).unwrap_or_default();
    if !name.is_empty() && !tagged.is_empty() && name != tagged {
        return Err(RestError::invalid(format!(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values \
             (run_name='{name}', mlflow.runName='{tagged}')."
        )));
    }
    let request = pb::CreateRunRequest {
        experiment_id: m.experiment_id.map(|id| id.0).unwrap_or_default(),
        name: if name.is_empty() { tagged.to_owned() } else { name },
        user_id: m.user_id.unwrap_or_default(),
        start_time: m.start_time.map(|t| timestamp(t.0)),
        tags,
        ..Default::default()
    };
    let made = ask
        .tracking()
        .create_run(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    reply(&RunReply {
        run: made.run.unwrap_or_default().into(),
    })
}

/// A request that names one run; older clients call the id `run_uuid`.
#[derive(Deserialize)]
struct ById {
    run_id: Option<String>,
    run_uuid: Option<String>,
}

/// The run that a request names.
pub(super) fn run_of(run_id: Option<String>, run_uuid: Option<String>) -> String {
    run_id
        .filter(|id| !id.is_empty())
        .or(run_uuid)
        .unwrap_or_default()
}

/// Whether a request names no run.
pub(super) fn no_run(run_id: Option<&String>, run_uuid: Option<&String>) -> bool {
    match run_id {
        Some(id) => id.is_empty(),
        None => blank(run_uuid),
    }
}

impl Message for ById {
    const FIELDS: &'static [Field<Self>] =
        &[Field::new("run_id", Kind::Text).required(|m| no_run(m.run_id.as_ref(), m.run_uuid.as_ref()))];
}

async fn get_run(mut call: Call) -> Answer {
    let m: ById = call.message().await?;
    reply(&find(&call.ask(), run_of(m.run_id, m.run_uuid), &[]).await?)
}

/// One run, deleted ones included; `columns` as in `GetRun`.
pub(super) async fn find(ask: &Ask, run_id: String, columns: &[&str]) -> Result<RunReply, RestError> {
    Ok(RunReply {
        run: fetch(ask, run_id, columns).await?.into(),
    })
}

/// One run as the service gives it.
pub(super) async fn fetch(ask: &Ask, run_id: String, columns: &[&str]) -> Result<pb::Run, RestError> {
    let columns = columns.iter().map(|c| (*c).to_owned()).collect();
    let request = ask.with(pb::GetRunRequest { run_id, columns });
    let found = ask
        .tracking()
        .get_run(request)
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    Ok(found.run.unwrap_or_default())
}

#[derive(Deserialize, Default)]
pub(super) struct Search {
    #[serde(default, deserialize_with = "or_default")]
    pub experiment_ids: Vec<IdText>,
    pub filter: Option<String>,
    pub run_view_type: Option<Word>,
    pub max_results: Option<Int>,
    #[serde(default, deserialize_with = "or_default")]
    pub order_by: Vec<String>,
    pub page_token: Option<String>,
}

impl Message for Search {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("experiment_ids", Kind::Array),
        Field::new("filter", Kind::Text),
        Field::new("max_results", Kind::Int)
            .checked(|m, source: Source| paging::at_most(m.max_results.map(|n| n.0), 50_000, source)),
        Field::new("order_by", Kind::Texts),
    ];
}

#[derive(Serialize)]
pub(super) struct Found {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    runs: Vec<Run>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

async fn search(mut call: Call) -> Answer {
    let m: Search = call.message().await?;
    reply(&find_all(&call.ask(), m).await?)
}

pub(super) async fn find_all(ask: &Ask, m: Search) -> Result<Found, RestError> {
    let wanted = m.max_results.map_or(1_000, |n| n.0);
    let request = pb::SearchRunsRequest {
        page_size: paging::size(wanted, 50_000)?,
        filter: dialect::filter(m.filter.as_deref().unwrap_or_default(), Entity::Runs)?,
        order_by: dialect::order_by(&m.order_by, Entity::Runs)?,
        page_token: m.page_token.unwrap_or_default(),
        lifecycle_stage: view(m.run_view_type.as_ref(), "run_view_type")?,
        experiment_ids: m.experiment_ids.into_iter().map(|id| id.0).collect(),
        columns: Vec::new(),
    };
    if request.page_token == paging::END {
        return Ok(Found {
            runs: Vec::new(),
            next_page_token: None,
        });
    }
    let page = ask
        .tracking()
        .search_runs(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    let next_page_token = paging::token_after(page.next_page_token, page.runs.len(), wanted);
    Ok(Found {
        runs: page.runs.into_iter().map(Run::from).collect(),
        next_page_token,
    })
}

#[derive(Deserialize)]
struct Update {
    run_id: Option<String>,
    run_uuid: Option<String>,
    status: Option<Word>,
    end_time: Option<Int>,
    run_name: Option<String>,
}

impl Message for Update {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("run_id", Kind::Text).required(|m| no_run(m.run_id.as_ref(), m.run_uuid.as_ref())),
        Field::new("end_time", Kind::Int),
        Field::new("status", Kind::Text),
        Field::new("run_name", Kind::Text),
    ];
}

#[derive(Serialize)]
struct Updated {
    run_info: RunInfo,
}

async fn update(mut call: Call) -> Answer {
    let m: Update = call.message().await?;
    let mut run = pb::Run {
        run_id: run_of(m.run_id, m.run_uuid),
        ..Default::default()
    };
    let mut paths = Vec::new();
    if let Some(word) = &m.status {
        let wrong = || RestError::invalid(format!("Invalid value {word} for parameter 'status' supplied."));
        run.set_status(word.pick(STATUSES).ok_or_else(wrong)?);
        paths.push("status".to_owned());
    }
    if let Some(Int(end)) = m.end_time {
        run.end_time = Some(timestamp(end));
        paths.push("end_time".to_owned());
    }
    if let Some(name) = m.run_name.filter(|name| !name.is_empty()) {
        run.name = name;
        paths.push("name".to_owned());
    }
    let ask = call.ask();
    let mut run = if paths.is_empty() {
        fetch(&ask, run.run_id, &["attributes.*"]).await?
    } else {
        let update_mask = Some(FieldMask { paths });
        let request = pb::UpdateRunRequest {
            run: Some(run),
            update_mask,
            request_id: String::new(),
        };
        let updated = ask
            .tracking()
            .update_run(ask.with(request))
            .await
            .map_err(|s| ask.fail(&s))?
            .into_inner();
        updated.run.unwrap_or_default()
    };
    reply(&Updated {
        run_info: info(&mut run),
    })
}

async fn delete(mut call: Call) -> Answer {
    let m: ById = call.message().await?;
    let request = pb::DeleteRunRequest {
        run_id: run_of(m.run_id, m.run_uuid),
        request_id: String::new(),
    };
    let ask = call.ask();
    ask.tracking()
        .delete_run(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

async fn restore(mut call: Call) -> Answer {
    let m: ById = call.message().await?;
    let request = pb::RestoreRunRequest {
        run_id: run_of(m.run_id, m.run_uuid),
        request_id: String::new(),
    };
    let ask = call.ask();
    ask.tracking()
        .restore_run(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

async fn log(ask: &Ask, request: pb::LogBatchRequest) -> Answer {
    validate::run_id(&request.run_id)?;
    ask.tracking()
        .log_batch(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

#[derive(Deserialize)]
struct LogMetric {
    run_id: Option<String>,
    run_uuid: Option<String>,
    key: Option<String>,
    value: Option<Double>,
    timestamp: Option<Int>,
    step: Option<Int>,
    model_id: Option<String>,
    dataset_name: Option<String>,
    dataset_digest: Option<String>,
}

impl Message for LogMetric {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("run_id", Kind::Text).required(|m| no_run(m.run_id.as_ref(), m.run_uuid.as_ref())),
        Field::new("key", Kind::Text).required(|m| blank(m.key.as_ref())),
        Field::new("value", Kind::Float).required(|m| m.value.is_none()),
        Field::new("timestamp", Kind::Int).required(|m| m.timestamp.is_none()),
        Field::new("step", Kind::Int),
        Field::new("model_id", Kind::Text),
        Field::new("dataset_name", Kind::Text),
        Field::new("dataset_digest", Kind::Text),
    ];
}

async fn log_metric(mut call: Call) -> Answer {
    let m: LogMetric = call.message().await?;
    let point = MetricIn {
        key: m.key,
        value: m.value,
        timestamp: m.timestamp,
        step: m.step,
        model_id: m.model_id,
        dataset_name: m.dataset_name,
        dataset_digest: m.dataset_digest,
    };
    let run_id = run_of(m.run_id, m.run_uuid);
    let metrics = vec![point.checked(None)?];
    log(
        &call.ask(),
        pb::LogBatchRequest {
            run_id,
            metrics,
            ..Default::default()
        },
    )
    .await
}

#[derive(Deserialize)]
struct KeyedValue {
    run_id: Option<String>,
    run_uuid: Option<String>,
    key: Option<String>,
    value: Option<String>,
}

impl Message for KeyedValue {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("run_id", Kind::Text).required(|m| no_run(m.run_id.as_ref(), m.run_uuid.as_ref())),
        Field::new("key", Kind::Text).required(|m| blank(m.key.as_ref())),
        Field::new("value", Kind::Text),
    ];
}

async fn log_param(mut call: Call) -> Answer {
    let m: KeyedValue = call.message().await?;
    let ask = call.ask();
    let key = m.key.unwrap_or_default();
    let cut = ask.edge.config.truncate_long_values;
    let value = validate::param(&key, m.value.unwrap_or_default(), "key", cut)?;
    let run_id = run_of(m.run_id, m.run_uuid);
    log(
        &ask,
        pb::LogBatchRequest {
            run_id,
            params: vec![pb::Param { key, value }],
            ..Default::default()
        },
    )
    .await
}

async fn set_tag(mut call: Call) -> Answer {
    let m: KeyedValue = call.message().await?;
    let ask = call.ask();
    let key = m.key.unwrap_or_default();
    let value = validate::run_tag(
        &key,
        m.value.unwrap_or_default(),
        "",
        ask.edge.config.truncate_long_values,
    )?;
    let run_id = run_of(m.run_id, m.run_uuid);
    log(
        &ask,
        pb::LogBatchRequest {
            run_id,
            tags: [(key, value)].into(),
            ..Default::default()
        },
    )
    .await
}

async fn delete_tag(mut call: Call) -> Answer {
    let m: KeyedValue = call.message().await?;
    let run_id = run_of(m.run_id, m.run_uuid);
    validate::run_id(&run_id)?;
    let request = pb::DeleteRunTagRequest {
        run_id,
        key: m.key.unwrap_or_default(),
        request_id: String::new(),
    };
    let ask = call.ask();
    ask.tracking()
        .delete_run_tag(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

#[derive(Deserialize)]
struct MetricIn {
    key: Option<String>,
    value: Option<Double>,
    timestamp: Option<Int>,
    step: Option<Int>,
    model_id: Option<String>,
    dataset_name: Option<String>,
    dataset_digest: Option<String>,
}

impl MetricIn {
    /// The first required field that is not there.
    fn missing(&self) -> Option<&'static str> {
        if blank(self.key.as_ref()) {
            Some("key")
        } else if self.value.is_none() {
            Some("value")
        } else if self.timestamp.is_none() {
            Some("timestamp")
        } else {
            None
        }
    }

    /// The point for the service; `index` is its place in a batch, for messages.
    fn checked(self, index: Option<usize>) -> Result<pb::Metric, RestError> {
        let key = self.key.unwrap_or_default();
        let value = self.value.map_or(f64::NAN, |v| v.0);
        let at = self.timestamp.map_or(0, |t| t.0);
        // Only a faulty point pays for the path in its message.
        if validate::metric(&key, at, value, "").is_err() {
            let path = index.map(|i| format!("metrics[{i}]")).unwrap_or_default();
            validate::metric(&key, at, value, &path)?;
        }
        Ok(pb::Metric {
            key,
            value,
            time: Some(timestamp(at)),
            step: self.step.map_or(0, |s| s.0),
            model_id: self.model_id.unwrap_or_default(),
            dataset_name: self.dataset_name.unwrap_or_default(),
            dataset_digest: self.dataset_digest.unwrap_or_default(),
        })
    }
}

#[derive(Deserialize)]
struct LogBatch {
    run_id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    metrics: Vec<MetricIn>,
    #[serde(default, deserialize_with = "or_default")]
    params: Vec<KeyValue>,
    #[serde(default, deserialize_with = "or_default")]
    tags: Vec<KeyValue>,
}

impl Message for LogBatch {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("run_id", Kind::Text).required(|m| blank(m.run_id.as_ref())),
        Field::new("metrics", Kind::Array).entries(&["key", "value", "timestamp"]),
        Field::new("params", Kind::Array).entries(&["key"]),
        Field::new("tags", Kind::Array).entries(&["key"]),
    ];
}

fn keyless(entries: &[KeyValue], name: &str) -> Option<String> {
    entries
        .iter()
        .position(|e| blank(e.key.as_ref()))
        .map(|i| format!("{name}[{i}].key"))
}

/// A batch for the service, checked in MLflow's order.
fn batch(m: LogBatch, cut: bool) -> Result<pb::LogBatchRequest, RestError> {
    let point = m
        .metrics
        .iter()
        .enumerate()
        .find_map(|(i, p)| p.missing().map(|f| format!("metrics[{i}].{f}")));
    let missing = point
        .or_else(|| keyless(&m.params, "params"))
        .or_else(|| keyless(&m.tags, "tags"));
    if let Some(path) = missing {
        return Err(missing_value(&path));
    }
    let run_id = m.run_id.unwrap_or_default();
    validate::run_id(&run_id)?;
    let (metric_count, param_count, tag_count) = (m.metrics.len(), m.params.len(), m.tags.len());
    let metrics = m
        .metrics
        .into_iter()
        .enumerate()
        .map(|(i, p)| p.checked(Some(i)))
        .collect::<Result<_, _>>()?;
    let mut params = Vec::with_capacity(param_count);
    for (i, KeyValue { key, value }) in m.params.into_iter().enumerate() {
        let key = key.unwrap_or_default();
        let value = validate::param(&key, value.unwrap_or_default(), &format!("params[{i}].key"), cut)?;
        params.push(pb::Param { key, value });
    }
    let mut tags = BTreeMap::new();
    for (i, KeyValue { key, value }) in m.tags.into_iter().enumerate() {
        let key = key.unwrap_or_default();
        let value = validate::run_tag(&key, value.unwrap_or_default(), &format!("tags[{i}]"), cut)?;
        tags.insert(key, value);
    }
    validate::batch_sizes(metric_count, param_count, tag_count)?;
    validate::unique_params(params.iter().map(|p| p.key.as_str()))?;
    Ok(pb::LogBatchRequest {
        run_id,
        metrics,
        params,
        tags,
        request_id: String::new(),
    })
}

async fn log_batch(mut call: Call) -> Answer {
    let m: LogBatch = call.message().await?;
    let ask = call.ask();
    let request = batch(m, ask.edge.config.truncate_long_values)?;
    log(&ask, request).await
}

#[derive(Deserialize)]
struct LogModel {
    run_id: Option<String>,
    model_json: Option<String>,
}

impl Message for LogModel {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("run_id", Kind::Text).required(|m| blank(m.run_id.as_ref())),
        Field::new("model_json", Kind::Text).required(|m| blank(m.model_json.as_ref())),
    ];
}

/// Appends to the run's history of models, a tag that holds a JSON list.
async fn log_model(mut call: Call) -> Answer {
    let m: LogModel = call.message().await?;
    let text = m.model_json.unwrap_or_default();
    let Ok(serde_json::Value::Object(model)) = serde_json::from_str(&text) else {
        return Err(RestError::invalid(format!(
            "Malformed model info. \n {text} \n is not a valid JSON."
        )));
    };
    let mandatory = ["artifact_path", "flavors", "utc_time_created", "run_id"];
    let missing: Vec<_> = mandatory
        .iter()
        .filter(|key| !model.contains_key(**key))
        .collect();
    if !missing.is_empty() {
        return Err(RestError::invalid(format!(
            "Model json is missing mandatory fields: {missing:?}"
        )));
    }
    let ask = call.ask();
    let run_id = m.run_id.unwrap_or_default();
    let run = fetch(&ask, run_id.clone(), &["tags"]).await?;
    let earlier = run
        .tags
        .get(MODEL_HISTORY)
        .and_then(|t| serde_json::from_str(t).ok());
    let mut history: Vec<serde_json::Value> = earlier.unwrap_or_default();
    history.push(model.into());
    let value = serde_json::Value::Array(history).to_string();
    log(
        &ask,
        pb::LogBatchRequest {
            run_id,
            tags: [(MODEL_HISTORY.to_owned(), value)].into(),
            ..Default::default()
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn refused(json: &str) -> String {
        batch(serde_json::from_str(json).unwrap(), true)
            .unwrap_err()
            .message
    }

    #[test]
    fn a_batch_is_checked_before_it_goes() {
        for (json, message) in [
            (
                r#"{"run_id":"a","metrics":[{"key":"m","value":1}]}"#,
                "required parameter 'metrics[0].timestamp'",
            ),
            (
                r#"{"run_id":"a","metrics":[{"value":1,"timestamp":1}]}"#,
                "required parameter 'metrics[0].key'",
            ),
            (
                r#"{"run_id":"a","params":[{"key":""}]}"#,
                "required parameter 'params[0].key'",
            ),
            (
                r#"{"run_id":"a","tags":[{"value":"x"}]}"#,
                "required parameter 'tags[0].key'",
            ),
            (r#"{"run_id":"../a"}"#, "for parameter 'run_id' supplied"),
            (
                r#"{"run_id":"a","metrics":[{"key":"/m","value":1,"timestamp":1}]}"#,
                "for parameter 'metrics[0].name'",
            ),
            (
                r#"{"run_id":"a","metrics":[{"key":"m","value":1,"timestamp":-1}]}"#,
                "for parameter 'metrics[0].timestamp'",
            ),
            (
                r#"{"run_id":"a","params":[{"key":"a,b"}]}"#,
                "Invalid value \"a,b\" for parameter 'params[0].key'",
            ),
            (
                r#"{"run_id":"a","tags":[{"key":"a//b"}]}"#,
                "for parameter 'tags[0].key'",
            ),
            (
                r#"{"run_id":"a","params":[{"key":"p"},{"key":"p"}]}"#,
                "Duplicate parameter keys",
            ),
        ] {
            let told = refused(json);
            assert!(told.contains(message), "{json}: {told}");
        }
        let good = r#"{"run_id":"a","metrics":[{"key":"m","value":"NaN","timestamp":"5","step":null}],
            "tags":[{"key":"t","value":"1"},{"key":"t","value":"2"}],"params":[{"key":"p","value":""}]}"#;
        let request = batch(serde_json::from_str(good).unwrap(), true).unwrap();
        assert!(request.metrics[0].value.is_nan());
        assert_eq!(
            (request.tags["t"].as_str(), request.params[0].value.as_str()),
            ("2", "")
        );
    }

    #[test]
    fn a_thousand_metrics_are_read_fast() {
        let points: Vec<String> = (0..1_000)
            .map(|i| {
                format!(
                    r#"{{"key":"metric_{i}","value":{}.25,"timestamp":1700000000{i:03},"step":{i}}}"#,
                    i * 3
                )
            })
            .collect();
        let json = format!(r#"{{"run_id":"abc","metrics":[{}]}}"#, points.join(","));
        let started = Instant::now();
        let mut count = 0;
        for _ in 0..10 {
            count += batch(serde_json::from_slice(json.as_bytes()).unwrap(), true)
                .unwrap()
                .metrics
                .len();
        }
        let each = started.elapsed() / 10;
        assert_eq!(count, 10_000);
        // An unoptimised build takes some 3 ms; a release build a tenth of that.
        assert!(each.as_millis() < 200, "{each:?}");
    }
}
