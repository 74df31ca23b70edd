//! Data sets that were used, on the wire.

use lodeway_domain::{
    Error, Result,
    caller::Workspace,
    id::ExperimentId,
    page::{Page, PageLimits, PageRequest, QueryHash},
    tracking::DatasetSummary,
};
use lodeway_proto::tracking::v1 as pb;

use super::experiment_ids;

const LIMITS: PageLimits = PageLimits {
    default: 1_000,
    max: 1_000,
};
const MAX_EXPERIMENTS: usize = 20;

pub fn search(
    workspace: &Workspace,
    message: &pb::SearchDatasetsRequest,
) -> Result<(Vec<ExperimentId>, PageRequest)> {
    if message.experiment_ids.is_empty() {
        return Err(Error::invalid("experiment_ids", "must be given"));
    }
    let ids = experiment_ids("experiment_ids", &message.experiment_ids, MAX_EXPERIMENTS)?;
    let mut parts = vec!["SearchDatasets", workspace.as_str()];
    parts.extend(message.experiment_ids.iter().map(String::as_str));
    let page = PageRequest::parse(
        message.page_size,
        &message.page_token,
        LIMITS,
        QueryHash::of(&parts),
    )?;
    Ok((ids, page))
}

pub fn found(page: Page<DatasetSummary>, query: QueryHash) -> pb::SearchDatasetsResponse {
    let next_page_token = page.token(query);
    let summary = |summary: DatasetSummary| pb::DatasetSummary {
        experiment_id: summary.experiment.to_string(),
        name: summary.name,
        digest: summary.digest,
        context: summary.context,
    };
    pb::SearchDatasetsResponse {
        datasets: page.items.into_iter().map(summary).collect(),
        next_page_token,
    }
}
