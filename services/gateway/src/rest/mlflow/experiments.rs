//! Experiments.

use lodeway_proto::tracking::v1 as pb;
use prost_types::FieldMask;
use serde::{Deserialize, Serialize};

use super::{
    Answer, Ask, Call, Route,
    body::{Field, Kind, Message, blank},
    dialect::{self, Entity},
    done,
    error::RestError,
    get, look, paging, paths, post, reply, validate,
    wire::{IdText, Int, KeyValue, Label, Word, filled, label_map, labels, millis, or_default},
};

pub(super) const ROUTES: &[Route] = &[
    post("/2.0/mlflow/experiments/create", "mlflow.CreateExperiment", |c| {
        Box::pin(create(c))
    }),
    get("/2.0/mlflow/experiments/get", "mlflow.GetExperiment", |c| {
        Box::pin(get_by_id(c))
    }),
    get(
        "/2.0/mlflow/experiments/get-by-name",
        "mlflow.GetExperimentByName",
        |c| Box::pin(get_by_name(c)),
    ),
    get(
        "/2.0/mlflow/experiments/search",
        "mlflow.SearchExperiments",
        |c| Box::pin(search(c)),
    ),
    look(
        "/2.0/mlflow/experiments/search",
        "mlflow.SearchExperiments",
        |c| Box::pin(search(c)),
    ),
    post("/2.0/mlflow/experiments/update", "mlflow.UpdateExperiment", |c| {
        Box::pin(update(c))
    }),
    post("/2.0/mlflow/experiments/delete", "mlflow.DeleteExperiment", |c| {
        Box::pin(delete(c))
    }),
    post(
        "/2.0/mlflow/experiments/restore",
        "mlflow.RestoreExperiment",
        |c| Box::pin(restore(c)),
    ),
    post(
        "/2.0/mlflow/experiments/set-experiment-tag",
        "mlflow.SetExperimentTag",
        |c| Box::pin(set_tag(c)),
    ),
    post(
        "/2.0/mlflow/experiments/delete-experiment-tag",
        "mlflow.DeleteExperimentTag",
        |c| Box::pin(delete_tag(c)),
    ),
];

/// Which entities a search looks at.
const VIEWS: &[(&str, i64, pb::LifecycleStage)] = &[
    ("ACTIVE_ONLY", 1, pb::LifecycleStage::Active),
    ("DELETED_ONLY", 2, pb::LifecycleStage::Deleted),
    ("ALL", 3, pb::LifecycleStage::Unspecified),
];

/// The stage that a view means; active where none is given.
pub(super) fn view(word: Option<&Word>, field: &str) -> Result<i32, RestError> {
    match word {
        None => Ok(pb::LifecycleStage::Active.into()),
        Some(word) => match word.pick(VIEWS) {
            Some(stage) => Ok(stage.into()),
            None => Err(RestError::invalid(format!(
                "Invalid value {word} for parameter '{field}' supplied."
            ))),
        },
    }
}

pub(super) fn stage_name(stage: pb::LifecycleStage) -> &'static str {
    if stage == pb::LifecycleStage::Deleted {
        "deleted"
    } else {
        "active"
    }
}

/// An experiment as MLflow shows it.
#[derive(Serialize)]
pub(super) struct Experiment {
    pub experiment_id: String,
    name: String,
    artifact_location: String,
    lifecycle_stage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_update_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_time: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Label>,
}

impl From<pb::Experiment> for Experiment {
    fn from(e: pb::Experiment) -> Self {
        Self {
            lifecycle_stage: stage_name(e.lifecycle_stage()),
            experiment_id: e.experiment_id,
            name: e.name,
            artifact_location: e.artifact_location,
            last_update_time: millis(e.update_time.as_ref()),
            creation_time: millis(e.create_time.as_ref()),
            tags: labels(e.tags),
        }
    }
}

#[derive(Serialize)]
pub(super) struct ExperimentReply {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment: Option<Experiment>,
}

#[derive(Deserialize)]
struct Create {
    name: Option<String>,
    artifact_location: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    tags: Vec<KeyValue>,
}

impl Message for Create {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("name", Kind::Text).required(|m| blank(m.name.as_ref())),
        Field::new("artifact_location", Kind::Text),
        Field::new("tags", Kind::Array),
    ];
}

#[derive(Serialize)]
struct Created {
    experiment_id: String,
}

async fn create(mut call: Call) -> Answer {
    let m: Create = call.message().await?;
    let location = m.artifact_location.unwrap_or_default();
    paths::check_experiment_location(&location)?;
    let name = m.name.unwrap_or_default();
    validate::experiment_name(&name)?;
    let tags = label_map(m.tags);
    for (key, value) in &tags {
        validate::experiment_tag(key, value)?;
    }
    let ask = call.ask();
    let request = pb::CreateExperimentRequest {
        artifact_location: paths::resolved_location(&location, &ask.edge.config.working_dir)?,
        name: name.clone(),
        tags,
        request_id: String::new(),
    };
    let made = ask
        .tracking()
        .create_experiment(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    reply(&Created {
        experiment_id: made.experiment.unwrap_or_default().experiment_id,
    })
}

/// A request that names one experiment.
#[derive(Deserialize)]
struct ById {
    experiment_id: Option<IdText>,
}

pub(super) fn blank_id(id: Option<&IdText>) -> bool {
    id.is_none_or(|id| id.0.is_empty())
}

impl Message for ById {
    const FIELDS: &'static [Field<Self>] =
        &[Field::new("experiment_id", Kind::Text).required(|m| blank_id(m.experiment_id.as_ref()))];
}

impl ById {
    fn id(self) -> String {
        self.experiment_id.map(|id| id.0).unwrap_or_default()
    }
}

async fn get_by_id(mut call: Call) -> Answer {
    let id = call.message::<ById>().await?.id();
    reply(&find(&call.ask(), pb::get_experiment_request::By::ExperimentId(id)).await?)
}

#[derive(Deserialize)]
struct ByName {
    experiment_name: Option<String>,
}

impl Message for ByName {
    const FIELDS: &'static [Field<Self>] =
        &[Field::new("experiment_name", Kind::Text).required(|m| blank(m.experiment_name.as_ref()))];
}

async fn get_by_name(mut call: Call) -> Answer {
    let name = call
        .message::<ByName>()
        .await?
        .experiment_name
        .unwrap_or_default();
    reply(&find(&call.ask(), pb::get_experiment_request::By::Name(name)).await?)
}

/// One experiment, deleted ones included.
pub(super) async fn find(
    ask: &Ask,
    by: pb::get_experiment_request::By,
) -> Result<ExperimentReply, RestError> {
    let request = ask.with(pb::GetExperimentRequest { by: Some(by) });
    let found = ask
        .tracking()
        .get_experiment(request)
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    Ok(ExperimentReply {
        experiment: found.experiment.map(Experiment::from),
    })
}

#[derive(Deserialize)]
struct Search {
    view_type: Option<Word>,
    max_results: Option<Int>,
    #[serde(default, deserialize_with = "or_default")]
    order_by: Vec<String>,
    filter: Option<String>,
    page_token: Option<String>,
}

impl Message for Search {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("view_type", Kind::Any),
        Field::new("max_results", Kind::Int),
        Field::new("order_by", Kind::Array),
        Field::new("filter", Kind::Text),
        Field::new("page_token", Kind::Text),
    ];
}

#[derive(Serialize)]
struct Found {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    experiments: Vec<Experiment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

async fn search(mut call: Call) -> Answer {
    let m: Search = call.message().await?;
    let request = pb::SearchExperimentsRequest {
        page_size: paging::size(m.max_results.map_or(0, |n| n.0), 50_000)?,
        filter: dialect::filter(m.filter.as_deref().unwrap_or_default(), Entity::Experiments)?,
        order_by: dialect::order_by(&m.order_by, Entity::Experiments)?,
        page_token: m.page_token.unwrap_or_default(),
        lifecycle_stage: view(m.view_type.as_ref(), "view_type")?,
    };
    let ask = call.ask();
    let page = ask
        .tracking()
        .search_experiments(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    reply(&Found {
        experiments: page.experiments.into_iter().map(Experiment::from).collect(),
        next_page_token: filled(page.next_page_token),
    })
}

#[derive(Deserialize)]
struct Update {
    experiment_id: Option<IdText>,
    new_name: Option<String>,
}

impl Message for Update {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("experiment_id", Kind::Text).required(|m| blank_id(m.experiment_id.as_ref())),
        Field::new("new_name", Kind::Text).required(|m| blank(m.new_name.as_ref())),
    ];
}

async fn update(mut call: Call) -> Answer {
    let m: Update = call.message().await?;
    let name = m.new_name.unwrap_or_default();
    validate::experiment_name(&name)?;
    let experiment = pb::Experiment {
        experiment_id: m.experiment_id.map(|id| id.0).unwrap_or_default(),
        name,
        ..Default::default()
    };
    let request = pb::UpdateExperimentRequest {
        experiment: Some(experiment),
        update_mask: Some(FieldMask {
            paths: vec!["name".to_owned()],
        }),
        request_id: String::new(),
    };
    let ask = call.ask();
    ask.tracking()
        .update_experiment(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

async fn delete(mut call: Call) -> Answer {
    let experiment_id = call.message::<ById>().await?.id();
    let ask = call.ask();
    let request = pb::DeleteExperimentRequest {
        experiment_id,
        request_id: String::new(),
    };
    ask.tracking()
        .delete_experiment(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

async fn restore(mut call: Call) -> Answer {
    let experiment_id = call.message::<ById>().await?.id();
    let ask = call.ask();
    let request = pb::RestoreExperimentRequest {
        experiment_id,
        request_id: String::new(),
    };
    ask.tracking()
        .restore_experiment(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

#[derive(Deserialize)]
struct SetTag {
    experiment_id: Option<IdText>,
    key: Option<String>,
    value: Option<String>,
}

impl Message for SetTag {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("experiment_id", Kind::Text).required(|m| blank_id(m.experiment_id.as_ref())),
        Field::new("key", Kind::Text).required(|m| blank(m.key.as_ref())),
        Field::new("value", Kind::Text),
    ];
}

async fn set_tag(mut call: Call) -> Answer {
    let m: SetTag = call.message().await?;
    let (key, value) = (m.key.unwrap_or_default(), m.value.unwrap_or_default());
    validate::experiment_tag(&key, &value)?;
    let request = pb::SetExperimentTagsRequest {
        experiment_id: m.experiment_id.map(|id| id.0).unwrap_or_default(),
        tags: [(key, value)].into(),
        request_id: String::new(),
    };
    let ask = call.ask();
    ask.tracking()
        .set_experiment_tags(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

async fn delete_tag(mut call: Call) -> Answer {
    let m: SetTag = call.message().await?;
    let request = pb::DeleteExperimentTagRequest {
        experiment_id: m.experiment_id.map(|id| id.0).unwrap_or_default(),
        key: m.key.unwrap_or_default(),
        request_id: String::new(),
    };
    let ask = call.ask();
    ask.tracking()
        .delete_experiment_tag(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}
