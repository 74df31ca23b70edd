//! Registered models, their tags and aliases.

use lodeway_proto::registry::v1 as pb;
use prost_types::FieldMask;
use serde::{Deserialize, Serialize};
use tonic::Code as Grpc;

use super::{
    Answer, Ask, Call, Route,
    body::{Field, Kind, Message, blank},
    delete,
    dialect::{self, Entity, IS_PROMPT},
    done,
    error::{Code, RestError},
    get, look,
    model_versions::{self, ModelVersion, VersionReply},
    paging, patch, post,
    promotion::is_protected,
    reply, validate,
    wire::{IdText, Int, KeyValue, Label, filled, label_map, labels, millis, or_default},
};

pub(super) const ROUTES: &[Route] = &[
    post(
        "/2.0/mlflow/registered-models/create",
        "mlflow.CreateRegisteredModel",
        |c| Box::pin(create(c)),
    ),
    get(
        "/2.0/mlflow/registered-models/get",
        "mlflow.GetRegisteredModel",
        |c| Box::pin(get_model(c)),
    ),
    post(
        "/2.0/mlflow/registered-models/rename",
        "mlflow.RenameRegisteredModel",
        |c| Box::pin(rename(c)),
    ),
    patch(
        "/2.0/mlflow/registered-models/update",
        "mlflow.UpdateRegisteredModel",
        |c| Box::pin(update(c)),
    ),
    delete(
        "/2.0/mlflow/registered-models/delete",
        "mlflow.DeleteRegisteredModel",
        |c| Box::pin(delete_model(c)),
    ),
    get(
        "/2.0/mlflow/registered-models/search",
        "mlflow.SearchRegisteredModels",
        |c| Box::pin(search(c)),
    ),
    get(
        "/2.0/mlflow/registered-models/get-latest-versions",
        "mlflow.GetLatestVersions",
        |c| Box::pin(latest(c)),
    ),
    look(
        "/2.0/mlflow/registered-models/get-latest-versions",
        "mlflow.GetLatestVersions",
        |c| Box::pin(latest(c)),
    ),
    post(
        "/2.0/mlflow/registered-models/set-tag",
        "mlflow.SetRegisteredModelTag",
        |c| Box::pin(set_tag(c)),
    ),
    delete(
        "/2.0/mlflow/registered-models/delete-tag",
        "mlflow.DeleteRegisteredModelTag",
        |c| Box::pin(delete_tag(c)),
    ),
    post(
        "/2.0/mlflow/registered-models/alias",
        "mlflow.SetRegisteredModelAlias",
        |c| Box::pin(set_alias(c)),
    ),
    delete(
        "/2.0/mlflow/registered-models/alias",
        "mlflow.DeleteRegisteredModelAlias",
        |c| Box::pin(delete_alias(c)),
    ),
    get(
        "/2.0/mlflow/registered-models/alias",
        "mlflow.GetModelVersionByAlias",
        |c| Box::pin(by_alias(c)),
    ),
];

#[derive(Serialize)]
struct Alias {
    alias: String,
    version: String,
}

#[derive(Serialize)]
struct RegisteredModel {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_updated_timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    latest_versions: Vec<ModelVersion>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Label>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<Alias>,
}

impl From<pb::RegisteredModel> for RegisteredModel {
    fn from(m: pb::RegisteredModel) -> Self {
        let alias = |(alias, version): (String, i64)| Alias {
            alias,
            version: version.to_string(),
        };
        Self {
            name: m.name,
            creation_timestamp: millis(m.create_time.as_ref()),
            last_updated_timestamp: millis(m.update_time.as_ref()),
            description: filled(m.description),
            latest_versions: oldest_first(m.latest_versions),
            tags: labels(m.tags),
            aliases: m.aliases.into_iter().map(alias).collect(),
        }
    }
}

#[derive(Serialize)]
struct ModelReply {
    registered_model: RegisteredModel,
}

fn told(model: Option<pb::RegisteredModel>) -> Answer {
    reply(&ModelReply {
        registered_model: model.unwrap_or_default().into(),
    })
}

#[derive(Deserialize)]
struct Create {
    name: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    tags: Vec<KeyValue>,
    description: Option<String>,
}

impl Message for Create {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("name", Kind::Text).required(|m| m.name.as_ref().is_none_or(|n| n.trim().is_empty())),
        Field::new("tags", Kind::Array),
        Field::new("description", Kind::Text),
    ];
}

async fn create(mut call: Call) -> Answer {
    let m: Create = call.message().await?;
    let tags = label_map(m.tags);
    for (key, value) in &tags {
        validate::registry_tag(key, value)?;
    }
    let is_prompt = tags
        .get(IS_PROMPT)
        .is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let name = m.name.unwrap_or_default();
    let request = pb::CreateRegisteredModelRequest {
        name: name.clone(),
        description: m.description.unwrap_or_default(),
        tags,
        request_id: String::new(),
    };
    let ask = call.ask();
    match ask.registry().create_registered_model(ask.with(request)).await {
        Ok(made) => told(made.into_inner().model),
        Err(status) if status.code() == Grpc::AlreadyExists => Err(taken(&ask, &name, is_prompt).await),
        Err(status) => Err(ask.fail(&status)),
    }
}

/// A name is taken: says whether by a model or by a prompt.
async fn taken(ask: &Ask, name: &str, is_prompt: bool) -> RestError {
    let old_is_prompt = fetch(ask, name.to_owned()).await.is_ok_and(|m| {
        m.tags
            .get(IS_PROMPT)
            .is_some_and(|v| v.eq_ignore_ascii_case("true"))
    });
    let word = |prompt| if prompt { "Prompt" } else { "Registered Model" };
    let message = if old_is_prompt == is_prompt {
        format!("{} (name={name}) already exists.", word(is_prompt))
    } else {
        format!(
            "Tried to create a {} with name '{name}', but the name is already taken by a {}. MLflow does not allow \
             creating a model and a prompt with the same name.",
            word(is_prompt).to_lowercase(),
            word(old_is_prompt).to_lowercase(),
        )
    };
    RestError::new(Code::ResourceAlreadyExists, message)
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
}

impl Message for Named {
    const FIELDS: &'static [Field<Self>] =
        &[Field::new("name", Kind::Text).required(|m| blank(m.name.as_ref()))];
}

async fn fetch(ask: &Ask, name: String) -> Result<pb::RegisteredModel, RestError> {
    let request = ask.with(pb::GetRegisteredModelRequest { name });
    let found = ask
        .registry()
        .get_registered_model(request)
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    Ok(found.model.unwrap_or_default())
}

async fn get_model(mut call: Call) -> Answer {
    let m: Named = call.message().await?;
    told(Some(fetch(&call.ask(), m.name.unwrap_or_default()).await?))
}

#[derive(Deserialize)]
struct Rename {
    name: Option<String>,
    new_name: Option<String>,
}

impl Message for Rename {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("name", Kind::Text).required(|m| blank(m.name.as_ref())),
        Field::new("new_name", Kind::Text)
            .required(|m| m.new_name.as_ref().is_none_or(|n| n.trim().is_empty())),
    ];
}

async fn rename(mut call: Call) -> Answer {
    let m: Rename = call.message().await?;
    let request = pb::RenameRegisteredModelRequest {
        name: m.name.unwrap_or_default(),
        new_name: m.new_name.unwrap_or_default(),
        request_id: String::new(),
    };
    let ask = call.ask();
    let made = ask
        .registry()
        .rename_registered_model(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    told(made.into_inner().model)
}

#[derive(Deserialize)]
struct Update {
    name: Option<String>,
    description: Option<String>,
}

impl Message for Update {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("name", Kind::Text).required(|m| blank(m.name.as_ref())),
        Field::new("description", Kind::Text),
    ];
}

async fn update(mut call: Call) -> Answer {
    let m: Update = call.message().await?;
    let model = pb::RegisteredModel {
        name: m.name.unwrap_or_default(),
        description: m.description.unwrap_or_default(),
        ..Default::default()
    };
    let request = pb::UpdateRegisteredModelRequest {
        model: Some(model),
        update_mask: Some(FieldMask {
            paths: vec!["description".to_owned()],
        }),
        request_id: String::new(),
    };
    let ask = call.ask();
    let made = ask
        .registry()
        .update_registered_model(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    told(made.into_inner().model)
}

/// Deletes also while a version is in Production, which MLflow has no way to ask for, unless a promotion rule protects it.
async fn delete_model(mut call: Call) -> Answer {
    let name = call.message::<Named>().await?.name.unwrap_or_default();
    let ask = call.ask();
    let request = pb::DeleteRegisteredModelRequest {
        force: !is_protected(&ask, &name).await?,
        name,
        request_id: String::new(),
    };
    ask.registry()
        .delete_registered_model(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

#[derive(Deserialize)]
struct Search {
    filter: Option<String>,
    max_results: Option<Int>,
    #[serde(default, deserialize_with = "or_default")]
    order_by: Vec<String>,
    page_token: Option<String>,
}

impl Message for Search {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("filter", Kind::Text),
        Field::new("max_results", Kind::Int)
            .checked(|m, source| paging::at_most(m.max_results.map(|n| n.0), 1_000, source)),
        Field::new("order_by", Kind::Texts),
        Field::new("page_token", Kind::Text),
    ];
}

#[derive(Serialize)]
struct Found {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    registered_models: Vec<RegisteredModel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

async fn search(mut call: Call) -> Answer {
    let m: Search = call.message().await?;
    let request = pb::SearchRegisteredModelsRequest {
        page_size: paging::size(m.max_results.map_or(100, |n| n.0), 1_000)?,
        filter: dialect::filter(m.filter.as_deref().unwrap_or_default(), Entity::RegisteredModels)?,
        order_by: dialect::order_by(&m.order_by, Entity::RegisteredModels)?,
        page_token: m.page_token.unwrap_or_default(),
    };
    let ask = call.ask();
    let page = ask
        .registry()
        .search_registered_models(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    reply(&Found {
        registered_models: page.models.into_iter().map(RegisteredModel::from).collect(),
        next_page_token: filled(page.next_page_token),
    })
}

#[derive(Deserialize)]
struct Latest {
    name: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    stages: Vec<String>,
}

impl Message for Latest {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("name", Kind::Text).required(|m| blank(m.name.as_ref())),
        Field::new("stages", Kind::Texts),
    ];
}

#[derive(Serialize)]
struct Versions {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    model_versions: Vec<ModelVersion>,
}

async fn latest(mut call: Call) -> Answer {
    let m: Latest = call.message().await?;
    let stages = m
        .stages
        .iter()
        .map(|s| model_versions::stage(s).map(i32::from))
        .collect::<Result<_, _>>()?;
    let request = pb::GetLatestModelVersionsRequest {
        name: m.name.unwrap_or_default(),
        stages,
    };
    let ask = call.ask();
    let found = ask
        .registry()
        .get_latest_model_versions(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    reply(&Versions {
        model_versions: oldest_first(found.into_inner().model_versions),
    })
}

/// MLflow promises no order of the newest versions of stages, but gives the stage first that has been reached by an older
/// version, and much code reads the first one.
fn oldest_first(mut versions: Vec<pb::ModelVersion>) -> Vec<ModelVersion> {
    versions.sort_by_key(|version| version.version);
    versions.into_iter().map(ModelVersion::from).collect()
}

#[derive(Deserialize)]
struct Tag {
    name: Option<String>,
    key: Option<String>,
    value: Option<String>,
}

impl Message for Tag {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("name", Kind::Text).required(|m| blank(m.name.as_ref())),
        Field::new("key", Kind::Text).required(|m| blank(m.key.as_ref())),
        Field::new("value", Kind::Text),
    ];
}

async fn set_tag(mut call: Call) -> Answer {
    let m: Tag = call.message().await?;
    let (key, value) = (m.key.unwrap_or_default(), m.value.unwrap_or_default());
    validate::registry_tag(&key, &value)?;
    let request = pb::SetRegisteredModelTagsRequest {
        name: m.name.unwrap_or_default(),
        tags: [(key, value)].into(),
        request_id: String::new(),
    };
    let ask = call.ask();
    ask.registry()
        .set_registered_model_tags(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

async fn delete_tag(mut call: Call) -> Answer {
    let m: Tag = call.message().await?;
    let key = m.key.unwrap_or_default();
    validate::name(&key, "key")?;
    let request = pb::DeleteRegisteredModelTagRequest {
        name: m.name.unwrap_or_default(),
        key,
        request_id: String::new(),
    };
    let ask = call.ask();
    ask.registry()
        .delete_registered_model_tag(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

#[derive(Deserialize)]
struct SetAlias {
    name: Option<String>,
    alias: Option<String>,
    version: Option<IdText>,
}

impl Message for SetAlias {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("name", Kind::Text).required(|m| blank(m.name.as_ref())),
        Field::new("alias", Kind::Text).required(|m| blank(m.alias.as_ref())),
        Field::new("version", Kind::Any).required(|m| super::experiments::blank_id(m.version.as_ref())),
    ];
}

async fn set_alias(mut call: Call) -> Answer {
    let m: SetAlias = call.message().await?;
    let alias = m.alias.unwrap_or_default();
    validate::new_alias(&alias)?;
    let version = validate::version(&m.version.map(|v| v.0).unwrap_or_default())?;
    let request = pb::SetAliasRequest {
        name: m.name.unwrap_or_default(),
        alias,
        version,
        ..Default::default()
    };
    let ask = call.ask();
    ask.registry()
        .set_alias(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

#[derive(Deserialize)]
struct NamedAlias {
    name: Option<String>,
    alias: Option<String>,
}

impl Message for NamedAlias {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("name", Kind::Text).required(|m| blank(m.name.as_ref())),
        Field::new("alias", Kind::Text).required(|m| blank(m.alias.as_ref())),
    ];
}

async fn delete_alias(mut call: Call) -> Answer {
    let m: NamedAlias = call.message().await?;
    let alias = m.alias.unwrap_or_default();
    validate::alias(&alias)?;
    let request = pb::DeleteAliasRequest {
        name: m.name.unwrap_or_default(),
        alias,
        ..Default::default()
    };
    let ask = call.ask();
    ask.registry()
        .delete_alias(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

async fn by_alias(mut call: Call) -> Answer {
    let m: NamedAlias = call.message().await?;
    let (name, alias) = (m.name.unwrap_or_default(), m.alias.unwrap_or_default());
    validate::alias(&alias)?;
    let ask = call.ask();
    let version = if alias.eq_ignore_ascii_case("latest") {
        newest(&ask, name).await?
    } else {
        model_versions::fetch(&ask, name, pb::get_model_version_request::By::Alias(alias)).await?
    };
    reply(&VersionReply {
        model_version: version.into(),
    })
}

/// The version with the highest number; MLflow lets the word `latest` stand for it.
async fn newest(ask: &Ask, name: String) -> Result<pb::ModelVersion, RestError> {
    let model = fetch(ask, name).await?;
    let newest = model.latest_versions.into_iter().max_by_key(|v| v.version);
    newest.ok_or_else(|| RestError::missing(format!("Latest version not found for model {}.", model.name)))
}
