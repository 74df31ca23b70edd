//! Versions of registered models.

use lodeway_domain::uri;
use lodeway_proto::registry::v1 as pb;
use prost_types::FieldMask;
use serde::{Deserialize, Serialize};

use super::{
    Answer, Ask, Call, Route, artifacts,
    body::{Field, Kind, Message, blank},
    delete,
    dialect::{self, Entity, IS_PROMPT},
    done,
    error::{Code, RestError},
    experiments::blank_id,
    get, logged_models, paging, patch,
    paths::check_path,
    post,
    promotion::is_protected,
    reply, source, validate,
    wire::{IdText, Int, KeyValue, Label, filled, label_map, labels, millis, or_default},
};

pub(super) const ROUTES: &[Route] = &[
    post(
        "/2.0/mlflow/model-versions/create",
        "mlflow.CreateModelVersion",
        |c| Box::pin(create(c)),
    ),
    get("/2.0/mlflow/model-versions/get", "mlflow.GetModelVersion", |c| {
        Box::pin(get_version(c))
    }),
    patch(
        "/2.0/mlflow/model-versions/update",
        "mlflow.UpdateModelVersion",
        |c| Box::pin(update(c)),
    ),
    delete(
        "/2.0/mlflow/model-versions/delete",
        "mlflow.DeleteModelVersion",
        |c| Box::pin(delete_version(c)),
    ),
    get(
        "/2.0/mlflow/model-versions/search",
        "mlflow.SearchModelVersions",
        |c| Box::pin(search(c)),
    ),
    get(
        "/2.0/mlflow/model-versions/get-download-uri",
        "mlflow.GetModelVersionDownloadUri",
        |c| Box::pin(download_uri(c)),
    ),
    post(
        "/2.0/mlflow/model-versions/transition-stage",
        "mlflow.TransitionModelVersionStage",
        |c| Box::pin(transition(c)),
    ),
    post(
        "/2.0/mlflow/model-versions/set-tag",
        "mlflow.SetModelVersionTag",
        |c| Box::pin(set_tag(c)),
    ),
    delete(
        "/2.0/mlflow/model-versions/delete-tag",
        "mlflow.DeleteModelVersionTag",
        |c| Box::pin(delete_tag(c)),
    ),
    get(
        "/model-versions/get-artifact",
        "mlflow.GetModelVersionArtifact",
        |c| Box::pin(get_artifact(c)),
    )
    .bare(),
];

const STAGES: &[(&str, pb::Stage)] = &[
    ("None", pb::Stage::None),
    ("Staging", pb::Stage::Staging),
    ("Production", pb::Stage::Production),
    ("Archived", pb::Stage::Archived),
];

/// The stage of this name in any case.
pub(super) fn stage(name: &str) -> Result<pb::Stage, RestError> {
    let found = STAGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, stage)| *stage).ok_or_else(|| {
        RestError::invalid(format!(
            "Invalid Model Version stage: {name}. Value must be one of None, Staging, Production, Archived."
        ))
    })
}

/// A model version as MLflow shows it; description, run and link are there even if they are empty.
#[derive(Serialize)]
pub(super) struct ModelVersion {
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_updated_timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    current_stage: &'static str,
    description: String,
    source: String,
    run_id: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Label>,
    run_link: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_id: Option<String>,
}

impl From<pb::ModelVersion> for ModelVersion {
    fn from(v: pb::ModelVersion) -> Self {
        let stage = STAGES
            .iter()
            .find(|(_, stage)| *stage == v.stage())
            .map_or("None", |(name, _)| *name);
        let status = match v.status() {
            pb::ModelVersionStatus::Pending => "PENDING_REGISTRATION",
            pb::ModelVersionStatus::Failed => "FAILED_REGISTRATION",
            _ => "READY",
        };
        Self {
            name: v.name,
            version: v.version.to_string(),
            creation_timestamp: millis(v.create_time.as_ref()),
            last_updated_timestamp: millis(v.update_time.as_ref()),
            user_id: filled(v.user_id),
            current_stage: stage,
            description: v.description,
            source: v.source,
            run_id: v.run_id,
            status,
            status_message: filled(v.status_message),
            tags: labels(v.tags),
            run_link: v.run_link,
            aliases: v.aliases,
            model_id: filled(v.model_id),
        }
    }
}

#[derive(Serialize)]
pub(super) struct VersionReply {
    pub model_version: ModelVersion,
}

fn told(version: Option<pb::ModelVersion>) -> Answer {
    reply(&VersionReply {
        model_version: version.unwrap_or_default().into(),
    })
}

#[derive(Deserialize)]
struct Create {
    name: Option<String>,
    source: Option<String>,
    run_id: Option<String>,
    run_link: Option<String>,
    description: Option<String>,
    model_id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    tags: Vec<KeyValue>,
}

impl Message for Create {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("name", Kind::Text).required(|m| blank(m.name.as_ref())),
        Field::new("source", Kind::Text).required(|m| blank(m.source.as_ref())),
        Field::new("run_id", Kind::Text),
        Field::new("tags", Kind::Array),
        Field::new("run_link", Kind::Text),
        Field::new("description", Kind::Text),
        Field::new("model_id", Kind::Text),
    ];
}

async fn create(mut call: Call) -> Answer {
    let m: Create = call.message().await?;
    let ask = call.ask();
    let mut location = m.source.unwrap_or_default();
    if ask
        .edge
        .config
        .model_version_source_regex
        .as_ref()
        .is_some_and(|rule| !rule.is_match(&location))
    {
        return Err(RestError::invalid(format!(
            "Invalid model version source: '{location}'."
        )));
    }
    let tags = label_map(m.tags);
    let run_id = m.run_id.unwrap_or_default();
    let model_id = m.model_id.unwrap_or_default();
    if !tags.contains_key(IS_PROMPT) {
        location = uri::canonical(&location);
        source::check(&ask, &location, &run_id, &model_id).await?;
    }
    for (key, value) in &tags {
        validate::registry_tag(key, value)?;
    }
    if !model_id.is_empty() {
        known_model(&ask, &model_id).await?;
    }
    let request = pb::CreateModelVersionRequest {
        name: m.name.unwrap_or_default(),
        source: location,
        run_id,
        run_link: m.run_link.unwrap_or_default(),
        model_id,
        description: m.description.unwrap_or_default(),
        tags,
        request_id: String::new(),
        // MLflow never asks whether a run exists.
        allow_unknown_source: true,
    };
    let made = ask
        .registry()
        .create_model_version(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    told(made.model_version)
}

/// Refuses a logged model that does not exist; a registry without tracking cannot know.
async fn known_model(ask: &Ask, model_id: &str) -> Result<(), RestError> {
    match logged_models::fetch(ask, model_id.to_owned(), false).await {
        Err(error) if error.code == Code::ResourceDoesNotExist => Err(error),
        _ => Ok(()),
    }
}

/// A request that names one version, with what some calls say besides.
#[derive(Deserialize)]
struct Versioned {
    name: Option<String>,
    version: Option<IdText>,
    description: Option<String>,
}

impl Message for Versioned {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("name", Kind::Text).required(|m| blank(m.name.as_ref())),
        Field::new("version", Kind::Any).required(|m| blank_id(m.version.as_ref())),
        Field::new("description", Kind::Text),
    ];
}

fn number(version: Option<IdText>) -> Result<i64, RestError> {
    validate::version(&version.map(|v| v.0).unwrap_or_default())
}

/// One version as the service gives it.
pub(super) async fn fetch(
    ask: &Ask,
    name: String,
    by: pb::get_model_version_request::By,
) -> Result<pb::ModelVersion, RestError> {
    let request = ask.with(pb::GetModelVersionRequest { name, by: Some(by) });
    let found = ask
        .registry()
        .get_model_version(request)
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    Ok(found.model_version.unwrap_or_default())
}

async fn named(call: &mut Call) -> Result<pb::ModelVersion, RestError> {
    let m: Versioned = call.message().await?;
    let by = pb::get_model_version_request::By::Version(number(m.version)?);
    fetch(&call.ask(), m.name.unwrap_or_default(), by).await
}

async fn get_version(mut call: Call) -> Answer {
    told(Some(named(&mut call).await?))
}

#[derive(Serialize)]
struct DownloadUri {
    artifact_uri: String,
}

async fn download_uri(mut call: Call) -> Answer {
    let artifact_uri = files_of(named(&mut call).await?);
    reply(&DownloadUri { artifact_uri })
}

/// Where the files of a version are; prompts have no files, only a source that says so.
fn files_of(version: pb::ModelVersion) -> String {
    if version.artifact_uri.is_empty() {
        version.source
    } else {
        version.artifact_uri
    }
}

async fn update(mut call: Call) -> Answer {
    let m: Versioned = call.message().await?;
    let (name, version) = (m.name.unwrap_or_default(), number(m.version)?);
    let ask = call.ask();
    let Some(description) = m.description else {
        return told(Some(
            fetch(&ask, name, pb::get_model_version_request::By::Version(version)).await?,
        ));
    };
    let request = pb::UpdateModelVersionRequest {
        model_version: Some(pb::ModelVersion {
            name,
            version,
            description,
            ..Default::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["description".to_owned()],
        }),
        request_id: String::new(),
    };
    let made = ask
        .registry()
        .update_model_version(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    told(made.model_version)
}

/// Deletes also a version in Production, which MLflow has no way to ask for, unless a promotion rule protects it.
async fn delete_version(mut call: Call) -> Answer {
    let m: Versioned = call.message().await?;
    let (name, version) = (m.name.unwrap_or_default(), number(m.version)?);
    let ask = call.ask();
    let request = pb::DeleteModelVersionRequest {
        force: !is_protected(&ask, &name).await?,
        name,
        version,
        request_id: String::new(),
    };
    ask.registry()
        .delete_model_version(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

#[derive(Deserialize, Default)]
pub(super) struct Search {
    pub filter: Option<String>,
    pub max_results: Option<Int>,
    #[serde(default, deserialize_with = "or_default")]
    pub order_by: Vec<String>,
    pub page_token: Option<String>,
}

impl Message for Search {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("filter", Kind::Text),
        Field::new("max_results", Kind::Int)
            .checked(|m, source| paging::at_most(m.max_results.map(|n| n.0), 200_000, source)),
        Field::new("order_by", Kind::Texts),
        Field::new("page_token", Kind::Text),
    ];
}

#[derive(Serialize)]
pub(super) struct Found {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    model_versions: Vec<ModelVersion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

async fn search(mut call: Call) -> Answer {
    let m: Search = call.message().await?;
    reply(&find_all(&call.ask(), m).await?)
}

pub(super) async fn find_all(ask: &Ask, m: Search) -> Result<Found, RestError> {
    let request = pb::SearchModelVersionsRequest {
        page_size: paging::size(m.max_results.map_or(10_000, |n| n.0), 200_000)?,
        filter: dialect::filter(m.filter.as_deref().unwrap_or_default(), Entity::ModelVersions)?,
        order_by: dialect::order_by(&m.order_by, Entity::ModelVersions)?,
        page_token: m.page_token.unwrap_or_default(),
    };
    let page = ask
        .registry()
        .search_model_versions(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    Ok(Found {
        model_versions: page.model_versions.into_iter().map(ModelVersion::from).collect(),
        next_page_token: filled(page.next_page_token),
    })
}

#[derive(Deserialize)]
struct Transition {
    name: Option<String>,
    version: Option<IdText>,
    stage: Option<String>,
    archive_existing_versions: Option<bool>,
    comment: Option<String>,
}

impl Message for Transition {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("name", Kind::Text).required(|m| blank(m.name.as_ref())),
        Field::new("version", Kind::Any).required(|m| blank_id(m.version.as_ref())),
        Field::new("stage", Kind::Text).required(|m| blank(m.stage.as_ref())),
        Field::new("archive_existing_versions", Kind::Bool),
        Field::new("comment", Kind::Text),
    ];
}

async fn transition(mut call: Call) -> Answer {
    let m: Transition = call.message().await?;
    let target = stage(m.stage.as_deref().unwrap_or_default())?;
    let archive = m.archive_existing_versions.unwrap_or(false);
    if archive && !matches!(target, pb::Stage::Staging | pb::Stage::Production) {
        return Err(RestError::invalid(
            "Model version transition cannot archive existing model versions because the target stage is not an Active \
             stage. Valid stages are Staging, Production",
        ));
    }
    let request = pb::TransitionModelVersionRequest {
        name: m.name.unwrap_or_default(),
        version: number(m.version)?,
        stage: target.into(),
        archive_existing_versions: archive,
        comment: m.comment.unwrap_or_default(),
        request_id: String::new(),
    };
    let ask = call.ask();
    let made = ask
        .registry()
        .transition_model_version(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    told(made.into_inner().model_version)
}

#[derive(Deserialize)]
struct Tag {
    name: Option<String>,
    version: Option<IdText>,
    key: Option<String>,
    value: Option<String>,
}

impl Message for Tag {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("name", Kind::Text).required(|m| blank(m.name.as_ref())),
        Field::new("version", Kind::Any).required(|m| blank_id(m.version.as_ref())),
        Field::new("key", Kind::Text).required(|m| blank(m.key.as_ref())),
        Field::new("value", Kind::Text),
    ];
}

async fn set_tag(mut call: Call) -> Answer {
    let m: Tag = call.message().await?;
    let version = number(m.version)?;
    let (key, value) = (m.key.unwrap_or_default(), m.value.unwrap_or_default());
    validate::registry_tag(&key, &value)?;
    let request = pb::SetModelVersionTagsRequest {
        name: m.name.unwrap_or_default(),
        version,
        tags: [(key, value)].into(),
        request_id: String::new(),
    };
    let ask = call.ask();
    ask.registry()
        .set_model_version_tags(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

async fn delete_tag(mut call: Call) -> Answer {
    let m: Tag = call.message().await?;
    let version = number(m.version)?;
    let key = m.key.unwrap_or_default();
    validate::name(&key, "key")?;
    let name = m.name.unwrap_or_default();
    let request = pb::DeleteModelVersionTagRequest {
        name,
        version,
        key,
        request_id: String::new(),
    };
    let ask = call.ask();
    ask.registry()
        .delete_model_version_tag(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

async fn get_artifact(call: Call) -> Answer {
    let Some(path) = call.query.get("path") else {
        return Err(RestError::invalid("Request must specify path."));
    };
    check_path(path)?;
    let ask = call.ask();
    let name = call.query.get("name").unwrap_or_default().to_owned();
    let version = validate::version(call.query.get("version").unwrap_or_default())?;
    let version = fetch(&ask, name, pb::get_model_version_request::By::Version(version)).await?;
    artifacts::send(&ask, &files_of(version), path).await
}
