//! Logged models on the wire.

use std::collections::BTreeMap;

use lodeway_domain::{
    Error, FieldViolation, Reason, Result,
    caller::Workspace,
    error::Violations,
    filter::{Expr, Field, LOGGED_MODELS, OrderBy, Source},
    id::{ExperimentId, ModelId, ModelUid, RequestId, RunId, clip},
    page::{Page, PageLimits, PageRequest, QueryHash},
    tracking::{
        EntityKey, LoggedModel, LoggedModelName, LoggedModelStatus, MAX_TAG_VALUE_CHARS, ModelPoint,
        NewLoggedModel, ParamValue, Tags, VersionReference, check_text,
    },
};
use lodeway_proto::tracking::v1 as pb;
use lodeway_rpc::time::to_wire;
use lodeway_store::tracking::{DatasetFilter, LoggedModelSearch, ModelOrder};

use super::{experiment_id, experiment_ids, wire_point};
use crate::names;

const LIMITS: PageLimits = PageLimits {
    default: 100,
    max: 1_000,
};
/// The most params or tags of one write.
const MAX_LABELS: usize = 100;
const MAX_TYPE_CHARS: usize = 500;
const MAX_EXPERIMENTS: usize = 1_000;
/// The most data sets or criteria of one search.
const MAX_TERMS: usize = 100;
/// References in one message.
const MAX_REFERENCES: usize = 1_000;
const MAX_URI_CHARS: usize = 8_000;

pub fn model_id(text: &str) -> Result<ModelId> {
    ModelId::parse(text)
}

pub fn new(message: pb::CreateLoggedModelRequest) -> Result<NewLoggedModel> {
    let experiment = match message.experiment_id.as_str() {
        "" => ExperimentId::DEFAULT,
        id => experiment_id(id)?,
    };
    let mut violations = Violations::new();
    let name = if message.name.is_empty() {
        names::invent()
    } else {
        message.name
    };
    let name = violations.take("name", LoggedModelName::parse("name", &name));
    let kind = check_text("model_type", &message.model_type, MAX_TYPE_CHARS);
    violations.take("model_type", kind);
    let source_run = match message.source_run_id.as_str() {
        "" => None,
        id => violations.take("source_run_id", RunId::parse(id)),
    };
    let mut params = BTreeMap::new();
    for (key, value) in message.params {
        let path = format!("params[{}]", clip(&key));
        violations.take(&path, EntityKey::parse(&path, &key));
        violations.take(&path, ParamValue::parse(&path, value.clone()));
        params.insert(key, value);
    }
    let tags = violations.take("tags", Tags::parse("tags", message.tags, MAX_TAG_VALUE_CHARS));
    violations.finish()?;
    let (Some(name), Some(tags)) = (name, tags) else {
        return Err(Error::internal("a field without a value has no violation"));
    };
    Ok(NewLoggedModel {
        experiment,
        name,
        model_type: message.model_type,
        source_run,
        params,
        tags,
    })
}

pub fn status(number: i32) -> Result<LoggedModelStatus> {
    match pb::LoggedModelStatus::try_from(number) {
        Ok(pb::LoggedModelStatus::Ready) => Ok(LoggedModelStatus::Ready),
        Ok(pb::LoggedModelStatus::UploadFailed) => Ok(LoggedModelStatus::UploadFailed),
        _ => Err(Error::invalid(
            "status",
            "must be LOGGED_MODEL_STATUS_READY or LOGGED_MODEL_STATUS_UPLOAD_FAILED",
        )),
    }
}

pub fn params(params: Vec<pb::Param>) -> Result<BTreeMap<EntityKey, ParamValue>> {
    let mut violations = Violations::new();
    if params.len() > MAX_LABELS {
        violations.add(
            "params",
            format!("has {} entries; at most {MAX_LABELS} fit one call", params.len()),
        );
    }
    let mut parsed: BTreeMap<EntityKey, ParamValue> = BTreeMap::new();
    for (i, param) in params.into_iter().enumerate() {
        let (key_path, value_path) = (format!("params[{i}].key"), format!("params[{i}].value"));
        let key = violations.take(&key_path, EntityKey::parse(&key_path, &param.key));
        let value = violations.take(&value_path, ParamValue::parse(&value_path, param.value));
        let (Some(key), Some(value)) = (key, value) else {
            continue;
        };
        if parsed.get(&key).is_some_and(|earlier| *earlier != value) {
            violations.add(
                key_path,
                format!("`{}` is given twice with different values", key.as_str()),
            );
        }
        parsed.insert(key, value);
    }
    violations.finish().map(|()| parsed)
}

pub fn tags(message: pb::SetLoggedModelTagsRequest) -> Result<(ModelId, Tags)> {
    let mut violations = Violations::new();
    if message.tags.len() > MAX_LABELS {
        violations.add(
            "tags",
            format!(
                "has {} entries; at most {MAX_LABELS} fit one call",
                message.tags.len()
            ),
        );
    }
    let id = violations.take("model_id", ModelId::parse(&message.model_id));
    let tags = violations.take("tags", Tags::parse("tags", message.tags, MAX_TAG_VALUE_CHARS));
    violations.finish()?;
    id.zip(tags)
        .ok_or_else(|| Error::internal("a field without a value has no violation"))
}

fn dataset(path: &str, filter: &pb::DatasetFilter) -> Result<DatasetFilter> {
    if filter.dataset_name.is_empty() {
        return Err(Error::invalid(format!("{path}.dataset_name"), "must be given"));
    }
    check_text(&format!("{path}.dataset_name"), &filter.dataset_name, 500)?;
    check_text(&format!("{path}.dataset_digest"), &filter.dataset_digest, 36)?;
    Ok(DatasetFilter {
        name: filter.dataset_name.clone(),
        digest: (!filter.dataset_digest.is_empty()).then(|| filter.dataset_digest.clone()),
    })
}

/// What an order names: `metrics.KEY`, the key as it is or in quotes, or an attribute.
fn field(path: &str, text: &str) -> Result<Field> {
    let refuse = || {
        let why = format!(
            "`{}` is neither an attribute of logged models nor `metrics.KEY`",
            clip(text)
        );
        Error::Invalid(vec![FieldViolation::new(path, why).because(Reason::InvalidOrder)])
    };
    if let Some(key) = text
        .strip_prefix("metrics.")
        .or_else(|| text.strip_prefix("metric."))
    {
        let plain = ['`', '"']
            .iter()
            .find_map(|q| key.strip_prefix(*q)?.strip_suffix(*q))
            .unwrap_or(key);
        EntityKey::parse(path, plain).map_err(|_| refuse())?;
        return Ok(Field::new(Source::Metric, plain));
    }
    let name = ["attributes.", "attribute."]
        .iter()
        .find_map(|p| text.strip_prefix(p))
        .unwrap_or(text);
    let attribute = LOGGED_MODELS.attribute(name).ok_or_else(refuse)?;
    Ok(Field::new(Source::Attribute, attribute.name))
}

fn order(terms: &[pb::LoggedModelOrder]) -> Result<Vec<ModelOrder>> {
    let mut violations = Violations::new();
    if terms.len() > MAX_TERMS {
        violations.add(
            "order_by",
            format!("has {} entries; at most {MAX_TERMS} fit one search", terms.len()),
        );
    }
    let mut order: Vec<ModelOrder> = Vec::new();
    for (i, term) in terms.iter().enumerate() {
        let path = format!("order_by[{i}]");
        let field = violations.take(&path, field(&format!("{path}.field"), &term.field));
        let dataset = match &term.dataset {
            Some(filter) => violations.take(&path, dataset(&format!("{path}.dataset"), filter)),
            None => None,
        };
        let Some(field) = field else { continue };
        if dataset.is_some() && field.source != Source::Metric {
            violations.add(format!("{path}.dataset"), "is for metrics only");
        }
        let term = ModelOrder {
            by: OrderBy {
                field,
                descending: term.descending,
            },
            dataset,
        };
        // A criterion that comes again decides nothing.
        if !order
            .iter()
            .any(|known| known.by.field == term.by.field && known.dataset == term.dataset)
        {
            order.push(term);
        }
    }
    violations.finish().map(|()| order)
}

fn query(workspace: &Workspace, message: &pb::SearchLoggedModelsRequest) -> QueryHash {
    let mut parts = vec![
        "SearchLoggedModels",
        workspace.as_str(),
        &message.filter,
        "experiments",
    ];
    parts.extend(message.experiment_ids.iter().map(String::as_str));
    parts.push("datasets");
    parts.extend(
        message
            .datasets
            .iter()
            .flat_map(|d| [d.dataset_name.as_str(), d.dataset_digest.as_str()]),
    );
    parts.push("order");
    for term in &message.order_by {
        parts.extend([term.field.as_str(), if term.descending { "DESC" } else { "ASC" }]);
        match &term.dataset {
            Some(d) => parts.extend(["on", d.dataset_name.as_str(), d.dataset_digest.as_str()]),
            None => parts.push("any"),
        }
    }
    QueryHash::of(&parts)
}

pub fn search(workspace: &Workspace, message: &pb::SearchLoggedModelsRequest) -> Result<LoggedModelSearch> {
    let mut violations = Violations::new();
    let ids = experiment_ids("experiment_ids", &message.experiment_ids, MAX_EXPERIMENTS);
    let experiments = violations.take("experiment_ids", ids);
    let filter = violations.take("filter", Expr::parse(&message.filter, &LOGGED_MODELS));
    if message.datasets.len() > MAX_TERMS {
        let text = format!(
            "has {} entries; at most {MAX_TERMS} fit one search",
            message.datasets.len()
        );
        violations.add("datasets", text);
    }
    let mut datasets = Vec::new();
    for (i, filter) in message.datasets.iter().enumerate() {
        let path = format!("datasets[{i}]");
        datasets.extend(violations.take(&path, dataset(&path, filter)));
    }
    let order = violations.take("order_by", order(&message.order_by));
    let page = PageRequest::parse(
        message.page_size,
        &message.page_token,
        LIMITS,
        query(workspace, message),
    );
    let page = violations.take("page_token", page);
    violations.finish()?;
    match (experiments, filter, order, page) {
        (Some(experiments), Some(filter), Some(order), Some(page)) => Ok(LoggedModelSearch {
            experiments,
            filter,
            datasets,
            order,
            page,
        }),
        _ => Err(Error::internal("a field without a value has no violation")),
    }
}

/// References of new versions, to folders alone.
pub fn new_references(message: pb::RecordModelVersionsRequest) -> Result<Vec<VersionReference>> {
    if message.versions.len() > MAX_REFERENCES {
        return Err(Error::invalid("versions", format!("more than {MAX_REFERENCES}")));
    }
    let each = message.versions.into_iter().map(|version| {
        let reference = reference(version)?;
        if reference.run.is_some() || reference.model.is_some() || reference.released {
            return Err(Error::invalid(
                "versions",
                "has one that is not of a folder alone, or is released",
            ));
        }
        Ok(reference)
    });
    each.collect()
}

pub fn reference(message: pb::RecordModelVersionRequest) -> Result<VersionReference> {
    let mut violations = Violations::new();
    let event = violations.take("event_id", RequestId::parse(&message.event_id));
    if event == Some(None) {
        violations.add("event_id", "must be given");
    }
    if message.event_seq < 0 {
        violations.add("event_seq", "is negative");
    }
    if message.version < 1 {
        violations.add("version", "must be 1 or more");
    }
    if message.name.is_empty() {
        violations.add("name", "must be given");
    }
    violations.take("name", check_text("name", &message.name, 1_000));
    violations.take(
        "artifact_uri",
        check_text("artifact_uri", &message.artifact_uri, MAX_URI_CHARS),
    );
    let uid = violations.take("model_uid", ModelUid::parse(&message.model_uid));
    let model = match message.model_id.as_str() {
        "" => None,
        id => violations.take("model_id", ModelId::parse(id)),
    };
    let run = match message.run_id.as_str() {
        "" => None,
        id => violations.take("run_id", RunId::parse(id)),
    };
    violations.finish()?;
    let model_uid = uid.ok_or_else(|| Error::internal("a field without a value has no violation"))?;
    Ok(VersionReference {
        event_id: message.event_id,
        event_seq: message.event_seq,
        model_uid,
        name: message.name,
        version: message.version,
        model,
        run,
        artifact_uri: message.artifact_uri,
        released: message.released,
    })
}

fn point(point: ModelPoint) -> pb::MetricPoint {
    pb::MetricPoint {
        metric: Some(pb::Metric {
            model_id: point.source.model.to_string(),
            dataset_name: point.source.dataset_name,
            dataset_digest: point.source.dataset_digest,
            ..wire_point(point.key, point.point)
        }),
        run_id: point.run.to_string(),
        append_seq: 0,
    }
}

pub fn model(model: LoggedModel) -> pb::LoggedModel {
    let status = match model.status {
        LoggedModelStatus::Pending => pb::LoggedModelStatus::Pending,
        LoggedModelStatus::Ready => pb::LoggedModelStatus::Ready,
        LoggedModelStatus::UploadFailed => pb::LoggedModelStatus::UploadFailed,
    };
    let registrations = model.registrations.into_iter();
    pb::LoggedModel {
        model_id: model.id.to_string(),
        experiment_id: model.experiment.to_string(),
        name: model.name,
        artifact_uri: model.artifact_uri,
        status: status.into(),
        model_type: model.model_type,
        source_run_id: model.source_run.map(|run| run.to_string()).unwrap_or_default(),
        status_message: model.status_message,
        create_time: to_wire(model.created),
        update_time: to_wire(model.updated),
        params: model.params.into_iter().collect(),
        tags: model.tags.into_iter().collect(),
        metrics: model.metrics.into_iter().map(point).collect(),
        registrations: registrations
            .map(|r| pb::ModelRegistration {
                name: r.name,
                version: r.version,
            })
            .collect(),
        deleted: !model.lifecycle.is_active(),
    }
}

pub fn created(created: LoggedModel) -> pb::CreateLoggedModelResponse {
    pb::CreateLoggedModelResponse {
        model: Some(model(created)),
    }
}

pub fn finalized(finalized: LoggedModel) -> pb::FinalizeLoggedModelResponse {
    pb::FinalizeLoggedModelResponse {
        model: Some(model(finalized)),
    }
}

pub fn tagged(tagged: LoggedModel) -> pb::SetLoggedModelTagsResponse {
    pb::SetLoggedModelTagsResponse {
        model: Some(model(tagged)),
    }
}

pub fn found(page: Page<LoggedModel>, query: QueryHash) -> pb::SearchLoggedModelsResponse {
    let next_page_token = page.token(query);
    pb::SearchLoggedModelsResponse {
        models: page.items.into_iter().map(model).collect(),
        next_page_token,
    }
}
