//! Logged models.

use lodeway_proto::tracking::v1 as pb;
use serde::{Deserialize, Serialize};

use super::{
    Answer, Ask, Call, Route,
    artifacts::{self, File},
    body::{Field, Kind, Message},
    delete,
    dialect::{self, Entity},
    done,
    error::{Code, RestError},
    experiments::blank_id,
    get, look, paging, patch,
    paths::check_path,
    post, reply,
    runs::Metric,
    validate,
    wire::{IdText, Int, KeyValue, Label, Word, filled, label_map, labels, millis, or_default},
};

pub(super) const ROUTES: &[Route] = &[
    post("/2.0/mlflow/logged-models", "mlflow.CreateLoggedModel", |c| {
        Box::pin(create(c))
    }),
    look(
        "/2.0/mlflow/logged-models/search",
        "mlflow.SearchLoggedModels",
        |c| Box::pin(search(c)),
    ),
    get(
        "/2.0/mlflow/logged-models/{model_id}",
        "mlflow.GetLoggedModel",
        |c| Box::pin(get_model(c)),
    ),
    patch(
        "/2.0/mlflow/logged-models/{model_id}",
        "mlflow.FinalizeLoggedModel",
        |c| Box::pin(finalize(c)),
    ),
    delete(
        "/2.0/mlflow/logged-models/{model_id}",
        "mlflow.DeleteLoggedModel",
        |c| Box::pin(delete_model(c)),
    ),
    post(
        "/2.0/mlflow/logged-models/{model_id}/params",
        "mlflow.LogLoggedModelParams",
        |c| Box::pin(log_params(c)),
    ),
    patch(
        "/2.0/mlflow/logged-models/{model_id}/tags",
        "mlflow.SetLoggedModelTags",
        |c| Box::pin(set_tags(c)),
    ),
    delete(
        "/2.0/mlflow/logged-models/{model_id}/tags/{key}",
        "mlflow.DeleteLoggedModelTag",
        |c| Box::pin(delete_tag(c)),
    ),
    get(
        "/2.0/mlflow/logged-models/{model_id}/artifacts/directories",
        "mlflow.ListLoggedModelArtifacts",
        |c| Box::pin(list_artifacts(c)),
    ),
    get(
        "/2.0/mlflow/logged-models/{model_id}/artifacts/files",
        "mlflow.GetLoggedModelArtifact",
        |c| Box::pin(get_artifact(c)),
    )
    .ajax(),
];

const STATUSES: &[(&str, i64, pb::LoggedModelStatus)] = &[
    ("LOGGED_MODEL_PENDING", 1, pb::LoggedModelStatus::Pending),
    ("LOGGED_MODEL_READY", 2, pb::LoggedModelStatus::Ready),
    (
        "LOGGED_MODEL_UPLOAD_FAILED",
        3,
        pb::LoggedModelStatus::UploadFailed,
    ),
];

#[derive(Serialize)]
struct Registration {
    name: String,
    version: String,
}

#[derive(Serialize)]
struct Info {
    model_id: String,
    experiment_id: String,
    name: String,
    creation_timestamp_ms: i64,
    last_updated_timestamp_ms: i64,
    artifact_uri: String,
    status: &'static str,
    model_type: String,
    source_run_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Label>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    registrations: Vec<Registration>,
}

#[derive(Serialize)]
struct Data {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    params: Vec<Label>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<Metric>,
}

#[derive(Serialize)]
struct LoggedModel {
    info: Info,
    data: Data,
}

impl From<pb::LoggedModel> for LoggedModel {
    fn from(m: pb::LoggedModel) -> Self {
        let status = STATUSES
            .iter()
            .find(|(_, _, s)| *s == m.status())
            .map_or("LOGGED_MODEL_PENDING", |s| s.0);
        let registration = |r: pb::ModelRegistration| Registration {
            name: r.name,
            version: r.version.to_string(),
        };
        Self {
            info: Info {
                status,
                model_id: m.model_id,
                experiment_id: m.experiment_id,
                name: m.name,
                creation_timestamp_ms: millis(m.create_time.as_ref()).unwrap_or_default(),
                last_updated_timestamp_ms: millis(m.update_time.as_ref()).unwrap_or_default(),
                artifact_uri: m.artifact_uri,
                model_type: m.model_type,
                source_run_id: m.source_run_id,
                status_message: filled(m.status_message),
                tags: labels(m.tags),
                registrations: m.registrations.into_iter().map(registration).collect(),
            },
            data: Data {
                params: labels(m.params),
                metrics: m.metrics.into_iter().map(Metric::from).collect(),
            },
        }
    }
}

#[derive(Serialize)]
struct ModelReply {
    model: LoggedModel,
}

fn told(model: Option<pb::LoggedModel>) -> Answer {
    reply(&ModelReply {
        model: model.unwrap_or_default().into(),
    })
}

#[derive(Deserialize)]
struct Create {
    experiment_id: Option<IdText>,
    name: Option<String>,
    model_type: Option<String>,
    source_run_id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    params: Vec<KeyValue>,
    #[serde(default, deserialize_with = "or_default")]
    tags: Vec<KeyValue>,
}

impl Message for Create {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("experiment_id", Kind::Text).required(|m| blank_id(m.experiment_id.as_ref())),
        Field::new("name", Kind::Text),
        Field::new("model_type", Kind::Text),
        Field::new("source_run_id", Kind::Text),
        Field::new("params", Kind::Array),
        Field::new("tags", Kind::Array),
    ];
}

async fn create(mut call: Call) -> Answer {
    let m: Create = call.message().await?;
    let name = m.name.unwrap_or_default();
    if !name.is_empty() {
        validate::logged_model_name(&name)?;
    }
    let request = pb::CreateLoggedModelRequest {
        experiment_id: m.experiment_id.map(|id| id.0).unwrap_or_default(),
        name,
        model_type: m.model_type.unwrap_or_default(),
        source_run_id: m.source_run_id.unwrap_or_default(),
        params: label_map(m.params),
        tags: label_map(m.tags),
        request_id: String::new(),
    };
    let ask = call.ask();
    let made = ask
        .tracking()
        .create_logged_model(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    told(made.model)
}

/// One logged model as the service gives it.
pub(super) async fn fetch(
    ask: &Ask,
    model_id: String,
    allow_deleted: bool,
) -> Result<pb::LoggedModel, RestError> {
    let request = ask.with(pb::GetLoggedModelRequest {
        model_id,
        allow_deleted,
    });
    let found = ask
        .tracking()
        .get_logged_model(request)
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    Ok(found.model.unwrap_or_default())
}

async fn get_model(call: Call) -> Answer {
    let deleted_too = call
        .query
        .get("allow_deleted")
        .is_some_and(|v| v.eq_ignore_ascii_case("true"));
    told(Some(
        fetch(&call.ask(), call.param("model_id").to_owned(), deleted_too).await?,
    ))
}

#[derive(Deserialize)]
struct Finalize {
    status: Option<Word>,
}

impl Message for Finalize {
    const FIELDS: &'static [Field<Self>] =
        &[Field::new("status", Kind::Any).required(|m| m.status.is_none())];
}

async fn finalize(mut call: Call) -> Answer {
    let m: Finalize = call.message().await?;
    let status = m.status.as_ref().and_then(|word| word.pick(STATUSES));
    let Some(status) = status else {
        let shown = m.status.map(|w| w.to_string()).unwrap_or_default();
        return Err(RestError::invalid(format!(
            "Invalid value {shown} for parameter 'status' supplied."
        )));
    };
    let request = pb::FinalizeLoggedModelRequest {
        model_id: call.param("model_id").to_owned(),
        status: status.into(),
        request_id: String::new(),
    };
    let ask = call.ask();
    let made = ask
        .tracking()
        .finalize_logged_model(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    told(made.model)
}

async fn delete_model(call: Call) -> Answer {
    let ask = call.ask();
    let request = pb::DeleteLoggedModelRequest {
        model_id: call.param("model_id").to_owned(),
        request_id: String::new(),
    };
    ask.tracking()
        .delete_logged_model(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

#[derive(Deserialize)]
struct LogParams {
    #[serde(default, deserialize_with = "or_default")]
    params: Vec<KeyValue>,
}

impl Message for LogParams {
    const FIELDS: &'static [Field<Self>] = &[Field::new("params", Kind::Array)];
}

async fn log_params(mut call: Call) -> Answer {
    let m: LogParams = call.message().await?;
    let param = |kv: KeyValue| pb::Param {
        key: kv.key.unwrap_or_default(),
        value: kv.value.unwrap_or_default(),
    };
    let request = pb::LogLoggedModelParamsRequest {
        model_id: call.param("model_id").to_owned(),
        params: m.params.into_iter().map(param).collect(),
        request_id: String::new(),
    };
    let ask = call.ask();
    ask.tracking()
        .log_logged_model_params(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

#[derive(Deserialize)]
struct SetTags {
    #[serde(default, deserialize_with = "or_default")]
    tags: Vec<KeyValue>,
}

impl Message for SetTags {
    const FIELDS: &'static [Field<Self>] = &[Field::new("tags", Kind::Array)];
}

async fn set_tags(mut call: Call) -> Answer {
    let m: SetTags = call.message().await?;
    let request = pb::SetLoggedModelTagsRequest {
        model_id: call.param("model_id").to_owned(),
        tags: label_map(m.tags),
        request_id: String::new(),
    };
    let ask = call.ask();
    ask.tracking()
        .set_logged_model_tags(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

async fn delete_tag(call: Call) -> Answer {
    let ask = call.ask();
    let (model_id, key) = (call.param("model_id").to_owned(), call.param("key").to_owned());
    let request = pb::DeleteLoggedModelTagRequest {
        model_id,
        key,
        request_id: String::new(),
    };
    ask.tracking()
        .delete_logged_model_tag(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

#[derive(Deserialize)]
struct DatasetIn {
    dataset_name: Option<String>,
    dataset_digest: Option<String>,
}

#[derive(Deserialize)]
struct OrderIn {
    field_name: Option<String>,
    ascending: Option<bool>,
    dataset_name: Option<String>,
    dataset_digest: Option<String>,
}

#[derive(Deserialize)]
struct Search {
    #[serde(default, deserialize_with = "or_default")]
    experiment_ids: Vec<IdText>,
    filter: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    datasets: Vec<DatasetIn>,
    max_results: Option<Int>,
    #[serde(default, deserialize_with = "or_default")]
    order_by: Vec<OrderIn>,
    page_token: Option<String>,
}

impl Message for Search {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("experiment_ids", Kind::Texts),
        Field::new("filter", Kind::Text),
        Field::new("datasets", Kind::Array),
        Field::new("max_results", Kind::Int),
        Field::new("order_by", Kind::Array),
        Field::new("page_token", Kind::Text),
    ];
}

#[derive(Serialize)]
struct Found {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    models: Vec<LoggedModel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

fn dataset(name: Option<String>, digest: Option<String>) -> Option<pb::DatasetFilter> {
    let dataset_name = name.filter(|n| !n.is_empty())?;
    Some(pb::DatasetFilter {
        dataset_name,
        dataset_digest: digest.unwrap_or_default(),
    })
}

fn order(entry: OrderIn) -> Result<pb::LoggedModelOrder, RestError> {
    let Some(name) = entry.field_name else {
        return Err(RestError::invalid(
            "`field_name` in the `order_by` clause must be specified.",
        ));
    };
    let field = dialect::logged_model_field(&name)?;
    let named = entry.dataset_name.as_ref().is_some_and(|n| !n.is_empty());
    if entry.dataset_digest.as_ref().is_some_and(|d| !d.is_empty()) && !named {
        return Err(RestError::invalid(
            "`dataset_digest` can only be specified if `dataset_name` is also specified.",
        ));
    }
    let descending = !entry.ascending.unwrap_or(true);
    Ok(pb::LoggedModelOrder {
        field,
        descending,
        dataset: dataset(entry.dataset_name, entry.dataset_digest),
    })
}

async fn search(mut call: Call) -> Answer {
    let m: Search = call.message().await?;
    let wanted = m.max_results.map(|n| n.0).filter(|n| *n != 0);
    let clause = |d: DatasetIn| {
        let missing = || RestError::invalid("`dataset_name` in the `datasets` clause must be specified.");
        dataset(d.dataset_name, d.dataset_digest).ok_or_else(missing)
    };
    let request = pb::SearchLoggedModelsRequest {
        filter: dialect::filter(m.filter.as_deref().unwrap_or_default(), Entity::LoggedModels)?,
        datasets: m.datasets.into_iter().map(clause).collect::<Result<_, _>>()?,
        order_by: m.order_by.into_iter().map(order).collect::<Result<_, _>>()?,
        page_size: wanted.map_or(Ok(0), |n| paging::size(n, i64::MAX))?,
        page_token: m.page_token.unwrap_or_default(),
        experiment_ids: m.experiment_ids.into_iter().map(|id| id.0).collect(),
    };
    let ask = call.ask();
    let page = ask
        .tracking()
        .search_logged_models(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    reply(&Found {
        models: page.models.into_iter().map(LoggedModel::from).collect(),
        next_page_token: filled(page.next_page_token),
    })
}

#[derive(Serialize)]
struct Files {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<File>,
    root_uri: String,
}

async fn list_artifacts(call: Call) -> Answer {
    let path = call.query.get("artifact_directory_path").unwrap_or_default();
    check_path(path)?;
    let ask = call.ask();
    let model = fetch(&ask, call.param("model_id").to_owned(), false).await?;
    let files = artifacts::list(&ask, &model.artifact_uri, path).await?;
    reply(&Files {
        files,
        root_uri: model.artifact_uri,
    })
}

async fn get_artifact(call: Call) -> Answer {
    let Some(path) = call.query.filled("artifact_file_path") else {
        let message = "Request must include the \"artifact_file_path\" query parameter.";
        return Err(RestError::new(Code::BadRequest, message));
    };
    check_path(path)?;
    let ask = call.ask();
    let model = fetch(&ask, call.param("model_id").to_owned(), false).await?;
    artifacts::send(&ask, &model.artifact_uri, path).await
}
