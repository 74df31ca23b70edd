//! Runs: their life, their search, how they look. What they log is in `logging.rs`.

use std::collections::BTreeMap;

use lodeway_proto::tracking::v1 as pb;
use prost_types::FieldMask;
use serde::{Deserialize, Serialize};

use super::{
    Answer, Ask, Call, Route,
    body::{Field, Kind, Message, Source},
    dialect::{self, Entity},
    done,
    error::RestError,
    experiments::{stage_name, view},
    get, look, paging, post, reply,
    run_id::{no_run, run_of},
    validate,
    wire::{
        IdText, Int, KeyValue, Label, Num, Word, either_millis, filled, label_map, labels, or_default,
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
];

const RUN_NAME: &str = "mlflow.runName";

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
            timestamp: either_millis(m.time.as_ref(), m.time_ms).unwrap_or_default(),
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
        start_time: either_millis(run.start_time.as_ref(), run.start_time_ms).unwrap_or_default(),
        end_time: either_millis(run.end_time.as_ref(), run.end_time_ms),
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
    let (start_time, start_time_ms) = m.start_time.map_or((None, 0), |t| timestamp(t.0));
    let request = pb::CreateRunRequest {
        experiment_id: m.experiment_id.map(|id| id.0).unwrap_or_default(),
        name: if name.is_empty() { tagged.to_owned() } else { name },
        user_id: m.user_id.unwrap_or_default(),
        start_time,
        start_time_ms,
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
    validate::known_run_id(&run_id)?;
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
        (run.end_time, run.end_time_ms) = timestamp(end);
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
