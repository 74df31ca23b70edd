//! `lodeway model`.

use clap::Subcommand;
use lodeway_proto::registry::v1::{
    DeleteAliasRequest, DeleteModelVersionRequest, DeleteRegisteredModelRequest, GetModelVersionRequest,
    GetRegisteredModelRequest, ListTransitionsRequest, ModelVersion, RegisteredModel, ResolveModelRequest,
    RollbackTransitionRequest, SearchModelVersionsRequest, SearchRegisteredModelsRequest, SetAliasRequest,
    Stage, Transition, TransitionModelVersionRequest, get_model_version_request::By,
};
use serde_json::{Value, json};
use tonic::Code;

use super::{Done, connect::Client, output, paging, promotion};

/// What can be done with registered models.
#[derive(Subcommand)]
pub enum Verb {
    /// Lists registered models by name.
    List {
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Finds registered models, for example `name LIKE 'churn%' AND tags.team = 'a'`.
    Search {
        /// The filter.
        filter: String,
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Shows a registered model, or one version of it.
    Show {
        /// The model; NAME/VERSION and NAME@ALIAS are a version of it.
        name: String,
        /// The version.
        version: Option<i64>,
    },
    /// Lists the versions of a model, newest first.
    Versions {
        /// The model.
        name: String,
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Moves a version to another stage.
    Transition {
        /// The model.
        name: String,
        /// The version.
        version: i64,
        /// Where it goes.
        #[arg(ignore_case = true)]
        stage: promotion::StageName,
        /// Also archive what is there now.
        #[arg(long)]
        archive_existing: bool,
        /// Why.
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Shows who moved what, when, from where to where, and why; newest first.
    History {
        /// The model; left out: all of them.
        #[arg(default_value = "")]
        name: String,
        /// The model by its uid instead, which it keeps when it is renamed or deleted.
        #[arg(long, default_value = "", conflicts_with = "name")]
        uid: String,
        /// Only this version.
        #[arg(long, default_value_t = 0)]
        version: i64,
        /// At most this many entries; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Takes a change of a stage or an alias back.
    Rollback {
        /// The entry of `history`.
        transition_id: i64,
        /// Why.
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Points an alias to a version, or removes it.
    Alias {
        /// The model.
        name: String,
        /// The alias.
        alias: String,
        /// The version; leave out with `--delete`.
        #[arg(required_unless_present = "delete", conflicts_with = "delete")]
        version: Option<i64>,
        /// Removes the alias.
        #[arg(long)]
        delete: bool,
        /// Why.
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Promotion rules: set, list, show, delete.
    Rule {
        /// What to do.
        #[command(subcommand)]
        verb: promotion::RuleVerb,
    },
    /// Approves that a version gets a stage or an alias; needs a token, and not the author's.
    Approve {
        /// The version, NAME/VERSION.
        #[arg(value_parser = promotion::version)]
        version: (String, i64),
        /// For what.
        #[command(flatten)]
        target: promotion::TargetArgs,
        /// Why.
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Shows what the promotion rules find if a version were moved now, and changes nothing.
    Check {
        /// The version, NAME/VERSION.
        #[arg(value_parser = promotion::version)]
        version: (String, i64),
        /// To what.
        #[command(flatten)]
        target: promotion::TargetArgs,
    },
    /// Says which version and files a URI means, such as `models:/iris@champion`.
    Resolve {
        /// The URI.
        uri: String,
        /// As of this time, as `2026-01-31T12:00:00Z`; only for `models:/NAME` URIs.
        #[arg(long, value_parser = super::parse::moment)]
        as_of: Option<prost_types::Timestamp>,
    },
    /// Removes a version, or a model with all its versions.
    Delete {
        /// The model.
        name: String,
        /// Only this version.
        version: Option<i64>,
        /// Also what is in Production.
        #[arg(long)]
        force: bool,
    },
}

const LEDGER: &[&str] = &[
    "transition_id",
    "kind",
    "version",
    "change",
    "who",
    "time",
    "comment",
];

/// Does it.
pub async fn run(verb: Verb, client: &Client) -> Done {
    match verb {
        Verb::List { limit } => search(client, String::new(), limit).await,
        Verb::Search { filter, limit } => search(client, filter, limit).await,
        Verb::Show { name, version } => show(client, name, version).await,
        Verb::Versions { name, limit } => versions(client, &name, limit).await,
        Verb::Transition {
            name,
            version,
            stage,
            archive_existing,
            comment,
        } => {
            let request = TransitionModelVersionRequest {
                name: name.clone(),
                version,
                stage: Stage::from(stage).into(),
                archive_existing_versions: archive_existing,
                comment,
                request_id: String::new(),
            };
            let reply = client
                .registry
                .clone()
                .transition_model_version(request)
                .await?
                .into_inner();
            changed(client, &name, &reply.transitions)
        }
        Verb::Rule { verb } => promotion::rule(verb, client).await,
        Verb::Approve {
            version,
            target,
            comment,
        } => promotion::approve(client, version, target, comment).await,
        Verb::Check { version, target } => promotion::check(client, version, target).await,
        Verb::History {
            name,
            uid,
            version,
            limit,
        } => history(client, (name, uid), version, limit).await,
        Verb::Rollback {
            transition_id,
            comment,
        } => {
            let request = RollbackTransitionRequest {
                transition_id,
                comment,
                request_id: String::new(),
            };
            let reply = client
                .registry
                .clone()
                .rollback_transition(request)
                .await?
                .into_inner();
            let name = reply
                .transitions
                .first()
                .map(|t| t.name.clone())
                .unwrap_or_default();
            changed(client, &name, &reply.transitions)
        }
        Verb::Alias {
            name,
            alias,
            version: Some(version),
            comment,
            ..
        } => {
            let request = SetAliasRequest {
                name: name.clone(),
                alias,
                version,
                comment,
                request_id: String::new(),
            };
            let reply = client.registry.clone().set_alias(request).await?.into_inner();
            changed(client, &name, reply.transition.as_slice())
        }
        Verb::Alias {
            name,
            alias,
            version: None,
            comment,
            ..
        } => {
            let request = DeleteAliasRequest {
                name: name.clone(),
                alias,
                comment,
                request_id: String::new(),
            };
            let reply = client.registry.clone().delete_alias(request).await?.into_inner();
            changed(client, &name, reply.transition.as_slice())
        }
        Verb::Resolve { uri, as_of } => {
            let request = ResolveModelRequest {
                uri,
                as_of_time: as_of,
            };
            let reply = client.registry.clone().resolve_model(request).await?.into_inner();
            let version = reply.model_version.unwrap_or_default();
            let shown = output::object([
                ("artifact_uri", json!(reply.artifact_uri)),
                ("name", json!(version.name)),
                (
                    "version",
                    if version.version > 0 {
                        json!(version.version)
                    } else {
                        Value::Null
                    },
                ),
                ("stage", stage(version.stage())),
                ("content_digest", json!(version.content_digest)),
                ("delete_time", output::time(reply.deleted_time.as_ref())),
            ]);
            output::one(client.format, &shown)
        }
        Verb::Delete {
            name,
            version: Some(version),
            force,
        } => {
            let message = format!("deleted version {version} of `{name}`");
            let request = DeleteModelVersionRequest {
                name,
                version,
                force,
                request_id: String::new(),
            };
            client.registry.clone().delete_model_version(request).await?;
            output::done(client.format, &message, &json!({}))
        }
        Verb::Delete {
            name,
            version: None,
            force,
        } => {
            let message = format!("deleted model `{name}`");
            let request = DeleteRegisteredModelRequest {
                name,
                force,
                request_id: String::new(),
            };
            client.registry.clone().delete_registered_model(request).await?;
            output::done(client.format, &message, &json!({}))
        }
    }
}

async fn search(client: &Client, filter: String, limit: usize) -> Done {
    let page_size = paging::page_size(limit, 1_000);
    let request = SearchRegisteredModelsRequest {
        filter,
        page_size,
        ..Default::default()
    };
    let found = paging::collect(limit, |page_token| {
        let mut request = request.clone();
        request.page_token = page_token;
        async move {
            let page = client
                .registry
                .clone()
                .search_registered_models(request)
                .await?
                .into_inner();
            Ok((
                page.models.iter().map(render_model).collect(),
                page.next_page_token,
            ))
        }
    })
    .await?;
    output::list(
        client.format,
        &["name", "aliases", "description", "update_time", "tags"],
        &found,
    )
}

/// A model, or the version of it that `version` or the end of `name` says. No name of a model has a `/` in it; one with an
/// `@` is a model first.
async fn show(client: &Client, name: String, version: Option<i64>) -> Done {
    let (name, by) = match (version, promotion::version(&name)) {
        (Some(version), _) => (name, By::Version(version)),
        (None, Ok((model, version))) => (model, By::Version(version)),
        (None, Err(_)) => {
            let request = GetRegisteredModelRequest { name: name.clone() };
            match (
                client.registry.clone().get_registered_model(request).await,
                name.rsplit_once('@'),
            ) {
                (Err(status), Some((model, alias))) if status.code() == Code::NotFound => {
                    (model.to_owned(), By::Alias(alias.to_owned()))
                }
                (reply, _) => {
                    let model = reply?.into_inner().model.unwrap_or_default();
                    return output::one(client.format, &render_model(&model));
                }
            }
        }
    };
    let request = GetModelVersionRequest { name, by: Some(by) };
    let reply = client.registry.clone().get_model_version(request).await?;
    let version = reply.into_inner().model_version.unwrap_or_default();
    output::one(client.format, &render_version(&version))
}

async fn versions(client: &Client, name: &str, limit: usize) -> Done {
    let request = SearchModelVersionsRequest {
        filter: format!("name = '{}'", name.replace('\'', "''")),
        order_by: vec!["version DESC".to_owned()],
        page_size: paging::page_size(limit, 10_000),
        page_token: String::new(),
    };
    let found = paging::collect(limit, |page_token| {
        let mut request = request.clone();
        request.page_token = page_token;
        async move {
            let page = client
                .registry
                .clone()
                .search_model_versions(request)
                .await?
                .into_inner();
            Ok((
                page.model_versions.iter().map(render_version).collect(),
                page.next_page_token,
            ))
        }
    })
    .await?;
    if found.is_empty() {
        // No versions, or no such model: that is an error everywhere else.
        let name = name.to_owned();
        let request = GetRegisteredModelRequest { name };
        client.registry.clone().get_registered_model(request).await?;
    }
    output::list(
        client.format,
        &["version", "stage", "aliases", "status", "create_time", "source"],
        &found,
    )
}

async fn history(client: &Client, (name, model_uid): (String, String), version: i64, limit: usize) -> Done {
    let page_size = paging::page_size(limit, 1_000);
    // Of all models each entry says which it is about, and by what a deleted one is found.
    let is_of_all = name.is_empty() && model_uid.is_empty();
    let whose: &[&str] = if is_of_all { &["name", "model_uid"] } else { &[] };
    let request = ListTransitionsRequest {
        name,
        model_uid,
        version,
        page_size,
        ..Default::default()
    };
    let found = paging::collect(limit, |page_token| {
        let mut request = request.clone();
        request.page_token = page_token;
        async move {
            let page = client
                .registry
                .clone()
                .list_transitions(request)
                .await?
                .into_inner();
            Ok((
                page.transitions.iter().map(render_transition).collect(),
                page.next_page_token,
            ))
        }
    })
    .await?;
    output::list(client.format, &[LEDGER, whose].concat(), &found)
}

fn changed(client: &Client, name: &str, transitions: &[Transition]) -> Done {
    let entries: Vec<_> = transitions.iter().map(render_transition).collect();
    if client.format == output::Format::Table && entries.is_empty() {
        return output::done(client.format, &format!("`{name}` was so already"), &json!([]));
    }
    output::list(client.format, LEDGER, &entries)
}

fn render_model(model: &RegisteredModel) -> Value {
    let latest: Vec<_> = model.latest_versions.iter().map(render_latest).collect();
    output::object([
        ("name", json!(model.name)),
        ("uid", json!(model.uid)),
        ("description", json!(model.description)),
        ("create_time", output::time(model.create_time.as_ref())),
        ("update_time", output::time(model.update_time.as_ref())),
        ("aliases", json!(model.aliases)),
        ("tags", json!(model.tags)),
        ("latest_versions", Value::Array(latest)),
    ])
}

fn render_latest(version: &ModelVersion) -> Value {
    json!({ "version": version.version, "stage": stage(version.stage()) })
}

fn render_version(version: &ModelVersion) -> Value {
    output::object([
        ("name", json!(version.name)),
        ("version", json!(version.version)),
        ("stage", stage(version.stage())),
        ("aliases", json!(version.aliases)),
        (
            "status",
            output::constant(version.status().as_str_name(), "MODEL_VERSION_STATUS_"),
        ),
        ("description", json!(version.description)),
        ("source", json!(version.source)),
        ("artifact_uri", json!(version.artifact_uri)),
        ("run_id", json!(version.run_id)),
        ("model_id", json!(version.model_id)),
        ("user_id", json!(version.user_id)),
        ("create_time", output::time(version.create_time.as_ref())),
        ("update_time", output::time(version.update_time.as_ref())),
        ("content_digest", json!(version.content_digest)),
        ("tags", json!(version.tags)),
    ])
}

fn render_transition(entry: &Transition) -> Value {
    let number = |id: i64| if id == 0 { Value::Null } else { json!(id) };
    let who = match entry.principal_verified {
        true => entry.principal.clone(),
        false => format!("{} (unverified)", entry.principal),
    };
    let mut shown = output::object([
        ("transition_id", json!(entry.transition_id)),
        (
            "kind",
            output::word(entry.kind().as_str_name(), "TRANSITION_KIND_"),
        ),
        ("name", json!(entry.name)),
        ("model_uid", json!(entry.model_uid)),
        ("version", number(entry.version)),
        ("from_stage", stage(entry.from_stage())),
        ("to_stage", stage(entry.to_stage())),
        ("alias", json!(entry.alias)),
        ("from_version", number(entry.from_version)),
        ("from_name", json!(entry.from_name)),
        ("principal", json!(entry.principal)),
        ("principal_verified", json!(entry.principal_verified)),
        ("time", output::time(entry.create_time.as_ref())),
        ("comment", json!(entry.comment)),
        ("group_id", number(entry.group_id)),
        ("rollback_of", number(entry.rollback_of)),
        ("rolled_back_by", number(entry.rolled_back_by)),
        ("change", json!(change(entry))),
    ]);
    shown["who"] = json!(who);
    shown
}

/// What an entry changed, in words.
fn change(entry: &Transition) -> String {
    let text = |value: Value| value.as_str().unwrap_or("None").to_owned();
    let points = |version: i64| {
        if version == 0 {
            "nothing".to_owned()
        } else {
            version.to_string()
        }
    };
    let what = if !entry.alias.is_empty() {
        format!(
            "@{}: {} → {}",
            entry.alias,
            points(entry.from_version),
            points(entry.version)
        )
    } else if !entry.from_name.is_empty() {
        format!("{} → {}", entry.from_name, entry.name)
    } else if entry.to_stage() != Stage::Unspecified {
        format!(
            "{} → {}",
            text(stage(entry.from_stage())),
            text(stage(entry.to_stage()))
        )
    } else {
        String::new()
    };
    match entry.rollback_of {
        0 => what,
        id => format!("{what} (takes back {id})"),
    }
}

fn stage(stage: Stage) -> Value {
    output::word(stage.as_str_name(), "STAGE_")
}
