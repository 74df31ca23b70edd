//! Runs on the wire.

use lodeway_domain::{
    Error, Result,
    caller::Workspace,
    error::Violations,
    filter::{Expr, Keys, OrderBy, Projection, RUNS},
    id::{ExperimentId, ModelId, RunId},
    page::{Page, PageLimits, PageRequest, QueryHash},
    time::Timestamp,
    tracking::{
        Dataset, DatasetInput, EntityKey, LoggedInputs, MAX_TAG_VALUE_CHARS, Metric, ModelOutput, NewRun,
        PARENT_RUN_TAG, RUN_NAME_TAG, Run, RunStatus, RunUpdate, Tags, check_run_name, check_text,
    },
};
use lodeway_proto::tracking::v1 as pb;
use lodeway_rpc::time::{from_either, to_either};
use lodeway_store::tracking::RunSearch;

use super::{experiment_id, experiment_ids, lifecycle, mask, revision, run_id, view, wire_point};
use crate::names;

const LIMITS: PageLimits = PageLimits {
    default: 1_000,
    max: 50_000,
};
const MAX_EXPERIMENTS: usize = 1_000;
const MAX_USER_CHARS: usize = 256;
const MAX_INPUTS: usize = 1_000;

pub fn new(message: pb::CreateRunRequest, now: Timestamp) -> Result<NewRun> {
    let mut violations = Violations::new();
    let experiment = match message.experiment_id.as_str() {
        "" => ExperimentId::DEFAULT,
        text => experiment_id(text)?,
    };
    violations.take("user_id", check_text("user_id", &message.user_id, MAX_USER_CHARS));
    let started = from_either("start_time", message.start_time.as_ref(), message.start_time_ms);
    let started = violations.take("start_time", started);
    let status = violations.take("status", status("status", message.status));
    let tags = violations.take("tags", Tags::parse("tags", message.tags, MAX_TAG_VALUE_CHARS));
    let mut tags = tags.unwrap_or_default();
    let name = agreed(&mut violations, "name", message.name, &tags, RUN_NAME_TAG);
    let parent = agreed(
        &mut violations,
        "parent_run_id",
        message.parent_run_id,
        &tags,
        PARENT_RUN_TAG,
    );
    violations.take(
        "name",
        check_run_name("name", name.as_deref().unwrap_or_default()),
    );
    let parent_text = parent.as_deref().unwrap_or_default();
    violations.take(
        "parent_run_id",
        check_text("parent_run_id", parent_text, MAX_TAG_VALUE_CHARS),
    );
    violations.finish()?;
    let name = name.unwrap_or_else(names::invent);
    tags.set(RUN_NAME_TAG, name.as_str());
    if let Some(parent) = parent {
        tags.set(PARENT_RUN_TAG, parent);
    }
    Ok(NewRun {
        experiment,
        name,
        user_id: message.user_id,
        started: started.flatten().unwrap_or(now),
        status: status.flatten().unwrap_or(RunStatus::Running),
        tags,
    })
}

/// The value of a field that is also a tag; none if neither is there. Both there have to be equal.
fn agreed(violations: &mut Violations, field: &str, value: String, tags: &Tags, tag: &str) -> Option<String> {
    let tagged = tags.get(tag).filter(|tagged| !tagged.is_empty());
    match (value.is_empty(), tagged) {
        (true, tagged) => tagged.map(str::to_owned),
        (false, Some(tagged)) if tagged != value => {
            violations.add(
                field,
                format!("differs from the tag `{tag}`; give one of them, or both alike"),
            );
            None
        }
        (false, _) => Some(value),
    }
}

/// A status of a request; unspecified is none.
fn status(field: &str, status: i32) -> Result<Option<RunStatus>> {
    match status {
        0 => Ok(None),
        other => RunStatus::from_number(i64::from(other))
            .map(Some)
            .map_err(|_| Error::invalid(field, format!("{other} is not a run status"))),
    }
}

pub fn update(message: pb::UpdateRunRequest) -> Result<(RunId, RunUpdate)> {
    let new = message
        .run
        .ok_or_else(|| Error::invalid("run", "must be given"))?;
    let id = run_id(&new.run_id)?;
    let populated = [
        ("status", new.status != 0),
        ("end_time", new.end_time.is_some() || new.end_time_ms != 0),
        ("name", !new.name.is_empty()),
    ];
    let populated = populated
        .into_iter()
        .filter(|(_, there)| *there)
        .map(|(field, _)| field)
        .collect();
    let fields = mask(
        message.update_mask.as_ref(),
        &["status", "end_time", "name"],
        populated,
    )?;
    let mut update = RunUpdate {
        if_revision: revision(&new.etag),
        ..RunUpdate::default()
    };
    let mut violations = Violations::new();
    for field in fields {
        match field {
            "status" => {
                update.status = violations
                    .take("run.status", status("run.status", new.status))
                    .flatten();
                if new.status == 0 {
                    violations.add("run.status", "must be given");
                }
            }
            "end_time" => {
                let ended = from_either("run.end_time", new.end_time.as_ref(), new.end_time_ms);
                update.ended = violations.take("run.end_time", ended);
            }
            _ => {
                violations.take("run.name", check_run_name("run.name", &new.name));
                if new.name.is_empty() {
                    violations.add("run.name", "must be given");
                }
                update.name = Some(new.name.clone());
            }
        }
    }
    violations.finish()?;
    Ok((id, update))
}

pub fn get(message: &pb::GetRunRequest) -> Result<(RunId, Projection)> {
    Ok((
        run_id(&message.run_id)?,
        Projection::parse(&message.columns, &RUNS)?,
    ))
}

pub fn search(workspace: &Workspace, message: &pb::SearchRunsRequest) -> Result<RunSearch> {
    let mut violations = Violations::new();
    let experiments = experiment_ids("experiment_ids", &message.experiment_ids, MAX_EXPERIMENTS);
    let experiments = violations.take("experiment_ids", experiments);
    let filter = violations.take("filter", Expr::parse(&message.filter, &RUNS));
    let order = violations.take("order_by", OrderBy::parse_list(&message.order_by, &RUNS));
    let view = violations.take("lifecycle_stage", view(message.lifecycle_stage));
    let projection = violations.take("columns", Projection::parse(&message.columns, &RUNS));
    let hash = hash(workspace, message, experiments.as_deref().unwrap_or_default());
    let page = PageRequest::parse(message.page_size, &message.page_token, LIMITS, hash);
    let page = violations.take("page_token", page);
    violations.finish()?;
    match (experiments, filter, order, view, page, projection) {
        (Some(experiments), Some(filter), Some(order), Some(view), Some(page), Some(projection)) => {
            Ok(RunSearch {
                experiments,
                filter,
                order,
                view,
                page,
                projection,
            })
        }
        _ => Err(Error::internal("a field without a value has no violation")),
    }
}

fn hash(workspace: &Workspace, message: &pb::SearchRunsRequest, experiments: &[ExperimentId]) -> QueryHash {
    let ids = experiments
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",");
    let stage = message.lifecycle_stage.to_string();
    let mut parts = vec!["SearchRuns", workspace.as_str(), &ids, &message.filter, &stage];
    parts.extend(message.order_by.iter().map(String::as_str));
    QueryHash::of(&parts)
}

pub fn found(page: Page<Run>, query: QueryHash, projection: &Projection) -> pb::SearchRunsResponse {
    let next_page_token = page.token(query);
    let runs = page
        .items
        .into_iter()
        .map(|run| projected(run, projection))
        .collect();
    pb::SearchRunsResponse {
        runs,
        next_page_token,
    }
}

pub fn delete_tag(message: &pb::DeleteRunTagRequest) -> Result<(RunId, String)> {
    Ok((
        run_id(&message.run_id)?,
        EntityKey::parse("key", &message.key)?.into_string(),
    ))
}

pub fn inputs(message: pb::LogInputsRequest) -> Result<(RunId, LoggedInputs)> {
    let id = run_id(&message.run_id)?;
    let mut violations = Violations::new();
    let mut inputs = LoggedInputs::default();
    for (field, count) in [
        ("datasets", message.datasets.len()),
        ("models", message.models.len()),
    ] {
        if count > MAX_INPUTS {
            violations.add(
                field,
                format!("has {count} entries; at most {MAX_INPUTS} fit one call"),
            );
        }
    }
    for (i, input) in message.datasets.into_iter().enumerate() {
        inputs
            .datasets
            .extend(dataset_input(&mut violations, &format!("datasets[{i}]"), input));
    }
    for (i, model) in message.models.iter().enumerate() {
        inputs.models.extend(model_id(
            &mut violations,
            &format!("models[{i}].model_id"),
            &model.model_id,
        ));
    }
    violations.finish()?;
    Ok((id, inputs))
}

fn dataset_input(violations: &mut Violations, field: &str, input: pb::DatasetInput) -> Option<DatasetInput> {
    let Some(data) = input.dataset else {
        violations.add(format!("{field}.dataset"), "must be given");
        return None;
    };
    let dataset = Dataset {
        name: data.name,
        digest: data.digest,
        source_type: data.source_type,
        source: data.source,
        schema: data.schema,
        profile: data.profile,
    };
    violations.take(field, dataset.check(&format!("{field}.dataset")));
    for (key, value) in &input.tags {
        let path = format!("{field}.tags[{}]", lodeway_domain::id::clip(key));
        if key.is_empty() {
            violations.add(&path, "needs a key");
        }
        violations.take(&path, check_text(&path, key, 255));
        violations.take(&path, check_text(&path, value, 500));
    }
    Some(DatasetInput {
        dataset,
        tags: input.tags,
    })
}

fn model_id(violations: &mut Violations, field: &str, text: &str) -> Option<ModelId> {
    let parsed = ModelId::parse(text).map_err(|_| Error::invalid(field, "is not the id of a logged model"));
    violations.take(field, parsed)
}

pub fn outputs(message: &pb::LogOutputsRequest) -> Result<(RunId, Vec<ModelOutput>)> {
    let id = run_id(&message.run_id)?;
    let mut violations = Violations::new();
    if message.models.len() > MAX_INPUTS {
        let text = format!(
            "has {} entries; at most {MAX_INPUTS} fit one call",
            message.models.len()
        );
        violations.add("models", text);
    }
    let mut outputs = Vec::new();
    for (i, output) in message.models.iter().enumerate() {
        let model = model_id(
            &mut violations,
            &format!("models[{i}].model_id"),
            &output.model_id,
        );
        outputs.extend(model.map(|model| ModelOutput {
            model,
            step: output.step,
        }));
    }
    violations.finish()?;
    Ok((id, outputs))
}

pub fn created(new: Run) -> pb::CreateRunResponse {
    pb::CreateRunResponse { run: Some(run(new)) }
}

/// The run's own fields; the parent's tag serves `parent_run_id` only.
pub fn updated(changed: Run) -> pb::UpdateRunResponse {
    let changed = pb::Run {
        tags: Default::default(),
        ..run(changed)
    };
    pb::UpdateRunResponse { run: Some(changed) }
}

/// A run with the attributes asked for; ids always come along.
pub fn projected(found: Run, projection: &Projection) -> pb::Run {
    let mut run = run(found);
    let Keys::Only(wanted) = &projection.attributes else {
        return run;
    };
    let blank = pb::Run::default();
    let has = |name: &str| wanted.contains(name);
    macro_rules! keep {
        ($($name:literal => $field:ident),*) => { $(if !has($name) { run.$field = blank.$field; })* };
    }
    keep!(
        "name" => name, "status" => status, "lifecycle_stage" => lifecycle_stage, "user_id" => user_id,
        "artifact_uri" => artifact_uri, "start_time" => start_time, "start_time" => start_time_ms,
        "end_time" => end_time, "end_time" => end_time_ms
    );
    run
}

pub fn run(run: Run) -> pb::Run {
    let (start_time, start_time_ms) = to_either(run.started);
    let (end_time, end_time_ms) = run.ended.map_or((None, 0), to_either);
    pb::Run {
        run_id: run.id.to_string(),
        experiment_id: run.experiment.to_string(),
        parent_run_id: run.parent().unwrap_or_default().to_owned(),
        name: run.name,
        status: run.status as i32,
        lifecycle_stage: lifecycle(run.lifecycle),
        user_id: run.user_id,
        start_time,
        start_time_ms,
        end_time,
        end_time_ms,
        artifact_uri: run.artifact_uri,
        metrics: run.metrics.into_iter().map(metric).collect(),
        params: run.params,
        tags: run.tags,
        dataset_inputs: run.inputs.datasets.into_iter().map(wire_input).collect(),
        model_inputs: run
            .inputs
            .models
            .iter()
            .map(|m| pb::ModelInput {
                model_id: m.to_string(),
            })
            .collect(),
        model_outputs: run
            .outputs
            .iter()
            .map(|o| pb::ModelOutput {
                model_id: o.model.to_string(),
                step: o.step,
            })
            .collect(),
        etag: run.revision.to_string(),
    }
}

fn metric(metric: Metric) -> pb::Metric {
    wire_point(metric.key.into_string(), metric.point)
}

fn wire_input(input: DatasetInput) -> pb::DatasetInput {
    let data = input.dataset;
    let dataset = pb::Dataset {
        name: data.name,
        digest: data.digest,
        source_type: data.source_type,
        source: data.source,
        schema: data.schema,
        profile: data.profile,
    };
    pb::DatasetInput {
        dataset: Some(dataset),
        tags: input.tags,
    }
}
