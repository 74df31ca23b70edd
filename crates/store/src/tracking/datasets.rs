//! Which data sets the runs of some experiments used.

use async_trait::async_trait;
use lodeway_domain::{
    Error, FieldViolation, Reason, Result,
    caller::Workspace,
    id::ExperimentId,
    page::{KeyValue, Page, PageRequest, Position},
    tracking::DatasetSummary,
};

use super::{
    SqlTracking,
    labels::{in_ids, json_ids},
};
use crate::args;

/// Finds data sets.
#[async_trait]
pub trait DatasetStore: Send + Sync + 'static {
    /// One page of the data sets that runs of these experiments used, by experiment, name, digest and context, each once.
    async fn search_datasets(
        &self,
        workspace: &Workspace,
        experiments: &[ExperimentId],
        page: &PageRequest,
    ) -> Result<Page<DatasetSummary>>;
}

fn refusal() -> Error {
    let why = "does not fit this search; start again without a token";
    Error::Invalid(vec![
        FieldViolation::new("page_token", why).because(Reason::InvalidPageToken),
    ])
}

fn position(summary: &DatasetSummary) -> Position {
    Position(vec![
        KeyValue::Int(summary.experiment.get()),
        KeyValue::Text(summary.name.clone()),
        KeyValue::Text(summary.digest.clone()),
        KeyValue::Text(summary.context.clone()),
    ])
}

#[async_trait]
impl DatasetStore for SqlTracking {
    async fn search_datasets(
        &self,
        workspace: &Workspace,
        experiments: &[ExperimentId],
        page: &PageRequest,
    ) -> Result<Page<DatasetSummary>> {
        // Nothing sorts before an experiment −1.
        let (experiment, name, digest, context) = match &page.after {
            None => (-1, "", "", ""),
            Some(Position(values)) => match &values[..] {
                [
                    KeyValue::Int(experiment),
                    KeyValue::Text(name),
                    KeyValue::Text(digest),
                    KeyValue::Text(context),
                ] => (*experiment, name.as_str(), digest.as_str(), context.as_str()),
                _ => return Err(refusal()),
            },
        };
        if [name, digest, context].iter().any(|text| text.contains('\0')) {
            return Err(refusal());
        }
        let wanted = json_ids(experiments.iter().map(|id| id.get()))?;
        let list = in_ids(self.db.engine(), "$2");
        let sql = format!(
            "SELECT DISTINCT e.experiment_id, d.name, d.digest, i.context FROM experiments e \
             JOIN dataset_inputs i ON i.experiment = e.id JOIN datasets d ON d.id = i.dataset \
             WHERE e.workspace = $1 AND e.experiment_id {list} AND e.experiment_id >= $3 \
             AND (e.experiment_id, d.name, d.digest, i.context) > ($3, $4, $5, $6) \
             ORDER BY e.experiment_id, d.name, d.digest, i.context LIMIT $7"
        );
        let limit = i64::try_from(page.size).unwrap_or(i64::MAX).saturating_add(1);
        let arguments = args![
            workspace.as_str(),
            &wanted,
            experiment,
            name,
            digest,
            context,
            limit
        ];
        let mut rows = Vec::new();
        for row in self.db.query(&sql, &arguments).await? {
            let summary = DatasetSummary {
                experiment: ExperimentId::new(row.int(0)?),
                name: row.text(1)?,
                digest: row.text(2)?,
                context: row.text(3)?,
            };
            let position = position(&summary);
            rows.push((summary, position));
        }
        Ok(Page::from_lookahead(rows, page.size))
    }
}
