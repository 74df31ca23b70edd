//! Experiments on the wire.

use lodeway_domain::{
    Error, Result,
    caller::Workspace,
    error::Violations,
    filter::{EXPERIMENTS, Expr, OrderBy},
    id::ExperimentId,
    page::{Page, PageLimits, PageRequest, QueryHash},
    tracking::{
        EntityKey, Experiment, ExperimentName, MAX_EXPERIMENT_TAG_VALUE_CHARS, NewExperiment, Tags,
        check_text,
    },
    uri,
};
use lodeway_proto::tracking::v1 as pb;
use lodeway_rpc::time::to_wire;
use lodeway_store::tracking::ExperimentSearch;

use super::{experiment_id, lifecycle, mask, revision, view};
use crate::experiments::ExperimentBy;

const LIMITS: PageLimits = PageLimits {
    default: 1_000,
    max: 50_000,
};
const MAX_LOCATION_CHARS: usize = 2_000;

pub fn new(message: pb::CreateExperimentRequest) -> Result<NewExperiment> {
    let mut violations = Violations::new();
    let name = violations.take("name", ExperimentName::parse("name", &message.name));
    let tags = violations.take(
        "tags",
        Tags::parse("tags", message.tags, MAX_EXPERIMENT_TAG_VALUE_CHARS),
    );
    let location = &message.artifact_location;
    violations.take(
        "artifact_location",
        check_text("artifact_location", location, MAX_LOCATION_CHARS).and_then(|()| check_straight(location)),
    );
    violations.finish()?;
    let (Some(name), Some(tags)) = (name, tags) else {
        return Err(Error::internal("a field without a value has no violation"));
    };
    let location = uri::canonical(&message.artifact_location);
    let artifact_location = (!location.is_empty()).then_some(location);
    Ok(NewExperiment {
        name,
        artifact_location,
        tags,
    })
}

/// Refuses a location of our own that leads upwards, which the artifact store takes for no file, or that clients read as
/// another one. What clients write by themselves is theirs to name.
fn check_straight(location: &str) -> Result<()> {
    let is_ours = uri::split_store(location).is_some();
    let why = match is_ours && uri::leads_upwards(location) {
        true => Some("has a `..` in its path; name the folder itself"),
        false => uri::stray_characters(location).filter(|_| is_ours),
    };
    why.map_or(Ok(()), |why| Err(Error::invalid("artifact_location", why)))
}

pub fn by(message: pb::GetExperimentRequest) -> Result<ExperimentBy> {
    use pb::get_experiment_request::By;
    match message.by {
        Some(By::ExperimentId(id)) => Ok(ExperimentBy::Id(experiment_id(&id)?)),
        Some(By::Name(name)) => {
            lodeway_domain::tracking::check_no_nul("name", &name)?;
            if name.is_empty() {
                return Err(Error::invalid("name", "must be given"));
            }
            Ok(ExperimentBy::Name(name))
        }
        None => Err(Error::invalid("by", "give `experiment_id` or `name`")),
    }
}

pub fn search(workspace: &Workspace, message: &pb::SearchExperimentsRequest) -> Result<ExperimentSearch> {
    let mut parts = vec!["SearchExperiments", workspace.as_str(), &message.filter];
    let stage = message.lifecycle_stage.to_string();
    parts.push(&stage);
    parts.extend(message.order_by.iter().map(String::as_str));
    let hash = QueryHash::of(&parts);
    let mut violations = Violations::new();
    let filter = violations.take("filter", Expr::parse(&message.filter, &EXPERIMENTS));
    let order = violations.take("order_by", OrderBy::parse_list(&message.order_by, &EXPERIMENTS));
    let view = violations.take("lifecycle_stage", view(message.lifecycle_stage));
    let page = PageRequest::parse(message.page_size, &message.page_token, LIMITS, hash);
    let page = violations.take("page_token", page);
    violations.finish()?;
    match (filter, order, view, page) {
        (Some(filter), Some(order), Some(view), Some(page)) => Ok(ExperimentSearch {
            filter,
            order,
            view,
            page,
        }),
        _ => Err(Error::internal("a field without a value has no violation")),
    }
}

pub fn found(page: Page<Experiment>, query: QueryHash) -> pb::SearchExperimentsResponse {
    let next_page_token = page.token(query);
    pb::SearchExperimentsResponse {
        experiments: page.items.into_iter().map(experiment).collect(),
        next_page_token,
    }
}

/// The id, the new name and the revision it has to be at.
pub fn update(message: pb::UpdateExperimentRequest) -> Result<(ExperimentId, ExperimentName, Option<i64>)> {
    let new = message
        .experiment
        .ok_or_else(|| Error::invalid("experiment", "must be given"))?;
    let populated = if new.name.is_empty() { vec![] } else { vec!["name"] };
    let fields = mask(message.update_mask.as_ref(), &["name"], populated)?;
    if fields.is_empty() {
        return Err(Error::invalid(
            "experiment.name",
            "must be given; nothing else can be updated",
        ));
    }
    let name = ExperimentName::parse("experiment.name", &new.name)?;
    Ok((experiment_id(&new.experiment_id)?, name, revision(&new.etag)))
}

pub fn set_tags(message: pb::SetExperimentTagsRequest) -> Result<(ExperimentId, Tags)> {
    let tags = Tags::parse("tags", message.tags, MAX_EXPERIMENT_TAG_VALUE_CHARS)?;
    Ok((experiment_id(&message.experiment_id)?, tags))
}

pub fn delete_tag(message: pb::DeleteExperimentTagRequest) -> Result<(ExperimentId, String)> {
    let key = EntityKey::parse("key", &message.key)?.into_string();
    Ok((experiment_id(&message.experiment_id)?, key))
}

pub fn created(new: Experiment) -> pb::CreateExperimentResponse {
    pb::CreateExperimentResponse {
        experiment: Some(experiment(new)),
    }
}

pub fn updated(changed: Experiment) -> pb::UpdateExperimentResponse {
    pb::UpdateExperimentResponse {
        experiment: Some(experiment(changed)),
    }
}

pub fn experiment(experiment: Experiment) -> pb::Experiment {
    pb::Experiment {
        experiment_id: experiment.id.to_string(),
        name: experiment.name,
        artifact_location: experiment.artifact_location,
        lifecycle_stage: lifecycle(experiment.lifecycle),
        create_time: to_wire(experiment.created),
        update_time: to_wire(experiment.updated),
        tags: experiment.tags,
        etag: experiment.revision.to_string(),
    }
}
