//! Data sets that were used: the use case.

use std::sync::Arc;

use lodeway_domain::{
    Result,
    caller::Workspace,
    id::ExperimentId,
    page::{Page, PageRequest},
    tracking::DatasetSummary,
};
use lodeway_store::tracking::DatasetStore;

pub struct Datasets {
    store: Arc<dyn DatasetStore>,
}

impl Datasets {
    pub fn new(store: Arc<dyn DatasetStore>) -> Self {
        Self { store }
    }

    pub async fn search(
        &self,
        workspace: &Workspace,
        experiments: &[ExperimentId],
        page: &PageRequest,
    ) -> Result<Page<DatasetSummary>> {
        self.store.search_datasets(workspace, experiments, page).await
    }
}
