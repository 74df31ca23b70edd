//! Wire to domain and back, for the registry.

use lodeway_domain::{
    Error, FieldViolation, Reason, Result,
    error::Violations,
    filter::{Expr, MODEL_VERSIONS, OrderBy, REGISTERED_MODELS, Schema},
    id::{ModelId, ModelUid, RunId, clip},
    page::{PageLimits, PageRequest, QueryHash},
    registry::{
        AliasName, DigestState, ModelName, ModelRef, ModelVersion, ModelVersionStatus, NewModel, NewVersion,
        RegisteredModel, Stage, Tags, Transition, TransitionKind, check_comment, check_description,
        check_link, check_source, check_tags, is_latest,
    },
    time::Timestamp,
};
use lodeway_proto::registry::v1 as wire;
use lodeway_rpc::{
    CallContext,
    time::{bound_from_wire, to_wire},
};
use lodeway_store::registry::{
    AliasMove, LedgerQuery, ModelUpdate, Move, RegistryEvent, Search, VersionBy, VersionUpdate,
};

use crate::watch::Push;

const MODEL_PAGES: PageLimits = PageLimits {
    default: 100,
    max: 1_000,
};
const VERSION_PAGES: PageLimits = PageLimits {
    default: 10_000,
    max: 200_000,
};
const LEDGER_PAGES: PageLimits = PageLimits {
    default: 100,
    max: 1_000,
};

const MODEL_ORDER: &[&str] = &["name ASC"];
const VERSION_ORDER: &[&str] = &["update_time DESC", "name ASC", "version DESC"];

/// The value, if nothing was noted.
pub(crate) fn all<T>(violations: Violations, value: Option<T>) -> Result<T> {
    violations.finish()?;
    value.ok_or_else(|| Error::internal("a field was neither read nor refused"))
}

pub(crate) fn name(text: &str) -> Result<ModelName> {
    ModelName::parse("name", text)
}

fn number(version: i64) -> Result<i64> {
    if version < 1 {
        Err(Error::invalid("version", "must be at least 1"))
    } else {
        Ok(version)
    }
}

pub(crate) fn name_and_number(model: &str, version: i64) -> Result<(ModelName, i64)> {
    let mut bad = Violations::new();
    let (name, version) = (
        bad.take("name", name(model)),
        bad.take("version", number(version)),
    );
    all(bad, name.zip(version))
}

pub(crate) fn tag_key(key: String) -> Result<String> {
    if key.is_empty() || key.contains('\0') {
        return Err(Error::invalid("key", "must be given, without NUL"));
    }
    Ok(key)
}

pub(crate) fn new_model(message: wire::CreateRegisteredModelRequest) -> Result<NewModel> {
    let mut bad = Violations::new();
    let name = bad.take("name", name(&message.name));
    bad.take(
        "description",
        check_description("description", &message.description),
    );
    bad.take("tags", check_tags(&message.tags));
    let name = all(bad, name)?;
    Ok(NewModel {
        name,
        description: message.description,
        tags: message.tags,
    })
}

/// Reads the mask: whether the description is to be changed.
fn changes_description(mask: Option<&prost_types::FieldMask>, description: &str) -> Result<bool> {
    let Some(mask) = mask.filter(|mask| !mask.paths.is_empty()) else {
        return Ok(!description.is_empty());
    };
    let unknown = mask.paths.iter().filter(|path| *path != "description");
    let violations: Vec<FieldViolation> = unknown
        .map(|path| {
            FieldViolation::new(
                "update_mask",
                format!("`{}` cannot be updated; use `description`", clip(path)),
            )
        })
        .collect();
    if violations.is_empty() {
        Ok(true)
    } else {
        Err(Error::Invalid(violations))
    }
}

fn given(etag: String) -> Option<String> {
    Some(etag).filter(|etag| !etag.is_empty())
}

pub(crate) fn model_update(message: wire::UpdateRegisteredModelRequest) -> Result<ModelUpdate> {
    let model = message
        .model
        .ok_or_else(|| Error::invalid("model", "must be given"))?;
    let mut bad = Violations::new();
    let name = bad.take("model.name", ModelName::parse("model.name", &model.name));
    bad.take(
        "model",
        check_description("model.description", &model.description),
    );
    let changes = bad.take(
        "update_mask",
        changes_description(message.update_mask.as_ref(), &model.description),
    );
    let (name, changes) = all(bad, name.zip(changes))?;
    Ok(ModelUpdate {
        name,
        etag: given(model.etag),
        description: changes.then_some(model.description),
    })
}

pub(crate) fn renaming(message: &wire::RenameRegisteredModelRequest) -> Result<(ModelName, ModelName)> {
    let mut bad = Violations::new();
    let from = bad.take("name", name(&message.name));
    let to = bad.take("new_name", ModelName::parse("new_name", &message.new_name));
    all(bad, from.zip(to))
}

pub(crate) fn model_tags(model: &str, tags: Tags) -> Result<(ModelName, Tags)> {
    let mut bad = Violations::new();
    let name = bad.take("name", name(model));
    bad.take("tags", check_tags(&tags));
    Ok((all(bad, name)?, tags))
}

pub(crate) fn version_tags(model: &str, version: i64, tags: Tags) -> Result<(ModelName, i64, Tags)> {
    let mut bad = Violations::new();
    let which = bad.take("name", name_and_number(model, version));
    bad.take("tags", check_tags(&tags));
    let (name, version) = all(bad, which)?;
    Ok((name, version, tags))
}

pub(crate) fn optional<T>(text: &str, parse: impl FnOnce(&str) -> Result<T>) -> Result<Option<T>> {
    if text.is_empty() {
        Ok(None)
    } else {
        parse(text).map(Some)
    }
}

pub(crate) fn new_version(message: wire::CreateModelVersionRequest) -> Result<NewVersion> {
    let mut bad = Violations::new();
    let name = bad.take("name", name(&message.name));
    let run_id = bad.take("run_id", optional(&message.run_id, RunId::parse));
    let model_id = bad.take("model_id", optional(&message.model_id, ModelId::parse));
    if message.source.is_empty() {
        bad.add("source", "must be given");
    }
    bad.take("source", check_source("source", &message.source));
    bad.take("run_link", check_link("run_link", &message.run_link));
    bad.take(
        "description",
        check_description("description", &message.description),
    );
    bad.take("tags", check_tags(&message.tags));
    let (name, (run_id, model_id)) = all(bad, name.zip(run_id.zip(model_id)))?;
    Ok(NewVersion {
        name,
        source: message.source,
        artifact_uri: String::new(),
        run_id,
        run_link: message.run_link,
        model_id,
        description: message.description,
        tags: message.tags,
        digest_state: DigestState::None,
        // What is unknown may stay so; whether it is, is found when the source is looked up.
        source_unchecked: message.allow_unknown_source,
    })
}

pub(crate) fn version_by(message: &wire::GetModelVersionRequest) -> Result<(ModelName, VersionBy)> {
    use wire::get_model_version_request::By;
    let mut bad = Violations::new();
    let name = bad.take("name", name(&message.name));
    let by = match &message.by {
        Some(By::Version(version)) => bad.take("version", number(*version)).map(VersionBy::Number),
        Some(By::Alias(alias)) if is_latest(alias) => Some(VersionBy::Latest),
        Some(By::Alias(alias)) => bad
            .take("alias", AliasName::parse_any(alias))
            .map(VersionBy::Alias),
        None => {
            bad.add("version", "must be given, or `alias`");
            None
        }
    };
    all(bad, name.zip(by))
}

pub(crate) fn version_update(message: wire::UpdateModelVersionRequest) -> Result<VersionUpdate> {
    let version = message
        .model_version
        .ok_or_else(|| Error::invalid("model_version", "must be given"))?;
    let mut bad = Violations::new();
    let name = bad.take(
        "model_version.name",
        ModelName::parse("model_version.name", &version.name),
    );
    if version.version < 1 {
        bad.add("model_version.version", "must be at least 1");
    }
    bad.take(
        "model_version",
        check_description("model_version.description", &version.description),
    );
    let changes = bad.take(
        "update_mask",
        changes_description(message.update_mask.as_ref(), &version.description),
    );
    let (name, changes) = all(bad, name.zip(changes))?;
    Ok(VersionUpdate {
        name,
        version: version.version,
        etag: given(version.etag),
        description: changes.then_some(version.description),
    })
}

pub(crate) fn stage_in(code: i32, field: &str) -> Result<Stage> {
    match wire::Stage::try_from(code) {
        Ok(wire::Stage::None) => Ok(Stage::None),
        Ok(wire::Stage::Staging) => Ok(Stage::Staging),
        Ok(wire::Stage::Production) => Ok(Stage::Production),
        Ok(wire::Stage::Archived) => Ok(Stage::Archived),
        Ok(wire::Stage::Unspecified) => Err(Error::invalid(field, "must be given")),
        Err(_) => Err(Error::invalid(field, format!("`{code}` is not a stage"))),
    }
}

pub(crate) fn stages(message: &wire::GetLatestModelVersionsRequest) -> Result<(ModelName, Vec<Stage>)> {
    let mut bad = Violations::new();
    let name = bad.take("name", name(&message.name));
    let stage = |(i, code): (usize, &i32)| {
        let field = format!("stages[{i}]");
        bad.take(&field, stage_in(*code, &field))
    };
    let stages: Vec<Stage> = message.stages.iter().enumerate().filter_map(stage).collect();
    Ok((all(bad, name)?, stages))
}

pub(crate) fn transition(message: wire::TransitionModelVersionRequest) -> Result<Move> {
    let mut bad = Violations::new();
    let which = bad.take("name", name_and_number(&message.name, message.version));
    let stage = bad.take("stage", stage_in(message.stage, "stage"));
    if message.archive_existing_versions && stage.is_some_and(|stage| !stage.is_active()) {
        bad.add(
            "archive_existing_versions",
            "is only for the stages Staging and Production",
        );
    }
    bad.take("comment", check_comment(&message.comment));
    let ((name, version), stage) = all(bad, which.zip(stage))?;
    Ok(Move {
        name,
        version,
        stage,
        archives_existing: message.archive_existing_versions,
        comment: message.comment,
    })
}

pub(crate) fn set_alias(message: wire::SetAliasRequest) -> Result<AliasMove> {
    let mut bad = Violations::new();
    let which = bad.take("name", name_and_number(&message.name, message.version));
    let alias = bad.take("alias", AliasName::parse(&message.alias));
    bad.take("comment", check_comment(&message.comment));
    let ((name, version), alias) = all(bad, which.zip(alias))?;
    Ok(AliasMove {
        name,
        alias,
        version: Some(version),
        comment: message.comment,
    })
}

pub(crate) fn delete_alias(message: wire::DeleteAliasRequest) -> Result<AliasMove> {
    let mut bad = Violations::new();
    let name = bad.take("name", name(&message.name));
    let alias = bad.take("alias", AliasName::parse_any(&message.alias));
    bad.take("comment", check_comment(&message.comment));
    let (name, alias) = all(bad, name.zip(alias))?;
    Ok(AliasMove {
        name,
        alias,
        version: None,
        comment: message.comment,
    })
}

pub(crate) fn rollback(message: wire::RollbackTransitionRequest) -> Result<(i64, String)> {
    check_comment(&message.comment)?;
    if message.transition_id < 1 {
        return Err(Error::invalid("transition_id", "must be given"));
    }
    Ok((message.transition_id, message.comment))
}

/// The order in words: the caller's, or the default with what it needs to tell any two entities apart.
fn search(
    cx: &CallContext,
    list: (&str, &Schema, &[&str], PageLimits),
    (filter, order_by): (&str, &[String]),
    (page_size, page_token): (i32, &str),
) -> Result<Search> {
    let (kind, schema, default_order, limits) = list;
    let words: Vec<&str> = if order_by.is_empty() {
        default_order.to_vec()
    } else {
        order_by.iter().map(String::as_str).collect()
    };
    let joined = words.join("\u{1f}");
    let query = QueryHash::of(&[kind, cx.caller.workspace.as_str(), filter, &joined]);
    let mut bad = Violations::new();
    let parsed = bad.take("filter", Expr::parse(filter, schema));
    let order = bad.take("order_by", OrderBy::parse_list(&words, schema));
    let page = bad.take(
        "page_token",
        PageRequest::parse(page_size, page_token, limits, query),
    );
    let ((filter, order), page) = all(bad, parsed.zip(order).zip(page))?;
    Ok(Search { filter, order, page })
}

pub(crate) fn search_models(
    cx: &CallContext,
    message: &wire::SearchRegisteredModelsRequest,
) -> Result<Search> {
    search(
        cx,
        ("models", &REGISTERED_MODELS, MODEL_ORDER, MODEL_PAGES),
        (&message.filter, &message.order_by),
        (message.page_size, &message.page_token),
    )
}

pub(crate) fn search_versions(
    cx: &CallContext,
    message: &wire::SearchModelVersionsRequest,
) -> Result<Search> {
    search(
        cx,
        ("versions", &MODEL_VERSIONS, VERSION_ORDER, VERSION_PAGES),
        (&message.filter, &message.order_by),
        (message.page_size, &message.page_token),
    )
}

fn kind_in(code: i32, field: &str) -> Result<TransitionKind> {
    let unknown = || Error::invalid(field, format!("`{code}` is not a kind of transition"));
    TransitionKind::ALL
        .into_iter()
        .find(|kind| kind_out(*kind) as i32 == code)
        .ok_or_else(unknown)
}

pub(crate) fn ledger(cx: &CallContext, message: &wire::ListTransitionsRequest) -> Result<LedgerQuery> {
    let mut bad = Violations::new();
    let name = bad.take("name", optional(&message.name, name));
    let uid = bad.take("model_uid", optional(&message.model_uid, ModelUid::parse));
    if message.version < 0 {
        bad.add("version", "must not be negative");
    }
    let kind = |(i, code): (usize, &i32)| {
        let field = format!("kinds[{i}]");
        bad.take(&field, kind_in(*code, &field))
    };
    let mut kinds: Vec<TransitionKind> = message.kinds.iter().enumerate().filter_map(kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let (version, codes) = (message.version.to_string(), format!("{kinds:?}"));
    let workspace = cx.caller.workspace.as_str();
    let query = QueryHash::of(&[
        "transitions",
        workspace,
        &message.name,
        &message.model_uid,
        &version,
        &codes,
    ]);
    let page = bad.take(
        "page_token",
        PageRequest::parse(message.page_size, &message.page_token, LEDGER_PAGES, query),
    );
    let ((name, uid), page) = all(bad, name.zip(uid).zip(page))?;
    Ok(LedgerQuery {
        name,
        uid,
        version: Some(message.version).filter(|v| *v > 0),
        kinds,
        page,
    })
}

pub(crate) fn resolve(message: &wire::ResolveModelRequest) -> Result<(ModelRef, Option<Timestamp>)> {
    let mut bad = Violations::new();
    let reference = bad.take("uri", ModelRef::parse("uri", &message.uri));
    let at = message.as_of_time.as_ref();
    let at = at.map(|time| bound_from_wire("as_of_time", time)).transpose();
    let at = bad.take("as_of_time", at);
    all(bad, reference.zip(at))
}

pub(crate) fn watch(message: &wire::WatchModelVersionsRequest) -> Result<(Option<ModelName>, Option<i64>)> {
    let mut bad = Violations::new();
    let name = bad.take("name", optional(&message.name, name));
    let cursor = bad.take(
        "cursor",
        optional(&message.cursor, |text| match text.parse::<i64>() {
            Ok(cursor) if cursor >= 0 => Ok(cursor),
            _ => Err(Error::Invalid(vec![
                FieldViolation::new("cursor", "is not a cursor that this server made")
                    .because(Reason::InvalidField),
            ])),
        }),
    );
    all(bad, name.zip(cursor))
}

pub(crate) const fn stage_out(stage: Stage) -> wire::Stage {
    match stage {
        Stage::None => wire::Stage::None,
        Stage::Staging => wire::Stage::Staging,
        Stage::Production => wire::Stage::Production,
        Stage::Archived => wire::Stage::Archived,
    }
}

const fn kind_out(kind: TransitionKind) -> wire::TransitionKind {
    match kind {
        TransitionKind::Stage => wire::TransitionKind::Stage,
        TransitionKind::Alias => wire::TransitionKind::Alias,
        TransitionKind::ModelCreated => wire::TransitionKind::ModelCreated,
        TransitionKind::ModelRenamed => wire::TransitionKind::ModelRenamed,
        TransitionKind::ModelDeleted => wire::TransitionKind::ModelDeleted,
        TransitionKind::VersionCreated => wire::TransitionKind::VersionCreated,
        TransitionKind::VersionDeleted => wire::TransitionKind::VersionDeleted,
    }
}

pub(crate) fn version(version: ModelVersion) -> wire::ModelVersion {
    let status = match version.status {
        ModelVersionStatus::Pending => wire::ModelVersionStatus::Pending,
        ModelVersionStatus::Ready => wire::ModelVersionStatus::Ready,
        ModelVersionStatus::Failed => wire::ModelVersionStatus::Failed,
    };
    let digest_state = match version.digest_state {
        DigestState::None => wire::DigestState::Unspecified,
        DigestState::Pending => wire::DigestState::Pending,
        DigestState::Recorded => wire::DigestState::Recorded,
        DigestState::Failed => wire::DigestState::Failed,
    };
    wire::ModelVersion {
        etag: version.etag(),
        name: version.name.to_string(),
        version: version.version,
        model_uid: version.model_uid.to_string(),
        stage: stage_out(version.stage).into(),
        description: version.description,
        source: version.source,
        artifact_uri: version.artifact_uri,
        run_id: version.run_id.map(|id| id.to_string()).unwrap_or_default(),
        run_link: version.run_link,
        model_id: version.model_id.map(|id| id.to_string()).unwrap_or_default(),
        user_id: version.user_id,
        status: status.into(),
        status_message: version.status_message,
        create_time: to_wire(version.created),
        update_time: to_wire(version.updated),
        tags: version.tags,
        aliases: version.aliases.iter().map(ToString::to_string).collect(),
        content_digest: version.content_digest,
        digest_state: digest_state.into(),
        source_unchecked: version.source_unchecked,
    }
}

pub(crate) fn model(model: RegisteredModel) -> wire::RegisteredModel {
    wire::RegisteredModel {
        etag: model.etag(),
        name: model.name.to_string(),
        uid: model.uid.to_string(),
        description: model.description,
        create_time: to_wire(model.created),
        update_time: to_wire(model.updated),
        tags: model.tags,
        aliases: model
            .aliases
            .into_iter()
            .map(|(alias, version)| (alias.to_string(), version))
            .collect(),
        latest_versions: model.latest_versions.into_iter().map(version).collect(),
    }
}

pub(crate) fn entry(entry: Transition) -> wire::Transition {
    let unspecified = (wire::Stage::Unspecified, wire::Stage::Unspecified);
    let (from_stage, to_stage) = entry
        .stages
        .map_or(unspecified, |(from, to)| (stage_out(from), stage_out(to)));
    wire::Transition {
        transition_id: entry.id,
        kind: kind_out(entry.kind).into(),
        name: entry.name.to_string(),
        model_uid: entry.model_uid.to_string(),
        version: entry.version,
        from_stage: from_stage.into(),
        to_stage: to_stage.into(),
        alias: entry.alias.map(|alias| alias.to_string()).unwrap_or_default(),
        from_version: entry.from_version,
        from_name: entry.from_name.map(|name| name.to_string()).unwrap_or_default(),
        principal: entry.principal,
        principal_verified: entry.principal_verified,
        create_time: to_wire(entry.created),
        comment: entry.comment,
        group_id: entry.group_id,
        rollback_of: entry.rollback_of,
        rolled_back_by: entry.rolled_back_by,
    }
}

pub(crate) fn entries(entries: Vec<Transition>) -> Vec<wire::Transition> {
    entries.into_iter().map(entry).collect()
}

fn message(cursor: String, kind: wire::WatchEventKind) -> wire::WatchModelVersionsResponse {
    wire::WatchModelVersionsResponse {
        cursor,
        kind: kind.into(),
        model_version: None,
        model: None,
    }
}

fn deleted(cursor: i64, name: &ModelName, uid: &ModelUid, number: i64) -> wire::WatchModelVersionsResponse {
    let gone = wire::ModelVersion {
        name: name.to_string(),
        version: number,
        model_uid: uid.to_string(),
        ..wire::ModelVersion::default()
    };
    let kind = wire::WatchEventKind::Deleted;
    wire::WatchModelVersionsResponse {
        model_version: Some(gone),
        ..message(cursor.to_string(), kind)
    }
}

/// The messages of one push, in order.
pub(crate) fn pushed(push: Push) -> Vec<wire::WatchModelVersionsResponse> {
    use wire::WatchEventKind as Kind;
    let with = |cursor, kind, found: ModelVersion| wire::WatchModelVersionsResponse {
        model_version: Some(version(found)),
        ..message(cursor, kind)
    };
    match push {
        // Without a cursor: a watch that breaks off here begins again.
        Push::Snapshot(found) => vec![with(String::new(), Kind::Snapshot, *found)],
        Push::Synced(seq) => vec![message(seq.to_string(), Kind::Synced)],
        Push::Event(seq, RegistryEvent::Version(found)) => vec![with(seq.to_string(), Kind::Changed, *found)],
        Push::Event(seq, RegistryEvent::VersionDeleted { name, uid, version }) => {
            vec![deleted(seq, &name, &uid, version)]
        }
        Push::Event(seq, RegistryEvent::Model(changed)) => vec![wire::WatchModelVersionsResponse {
            model: Some(model(*changed)),
            ..message(seq.to_string(), Kind::Model)
        }],
        Push::Event(seq, RegistryEvent::ModelDeleted { name, uid, versions }) => {
            // Who stops between these gets all of them again.
            let gone = versions
                .into_iter()
                .map(|number| deleted(seq - 1, &name, &uid, number));
            let model = wire::RegisteredModel {
                name: name.to_string(),
                uid: uid.to_string(),
                ..wire::RegisteredModel::default()
            };
            let last = wire::WatchModelVersionsResponse {
                model: Some(model),
                ..message(seq.to_string(), Kind::Model)
            };
            gone.chain([last]).collect()
        }
    }
}
