//! Runs: the use cases.

use std::sync::Arc;

use lodeway_domain::{
    Result,
    caller::Workspace,
    filter::Projection,
    id::RunId,
    page::Page,
    tracking::{LoggedInputs, ModelOutput, NewRun, Run, RunUpdate},
};
use lodeway_store::tracking::{Outcome, RunSearch, RunStore, Write};

use crate::experiments::Experiments;

pub struct Runs {
    store: Arc<dyn RunStore>,
    experiments: Arc<Experiments>,
}

impl Runs {
    pub fn new(store: Arc<dyn RunStore>, experiments: Arc<Experiments>) -> Self {
        Self { store, experiments }
    }

    pub async fn create(&self, write: Write<Run>, new: NewRun) -> Result<Outcome<Run>> {
        self.experiments.ensure_workspace(&write.caller.workspace).await?;
        self.store.create_run(write, new).await
    }

    pub async fn get(&self, workspace: &Workspace, id: &RunId, projection: &Projection) -> Result<Run> {
        self.store.run(workspace, id, projection).await
    }

    pub async fn update(&self, write: Write<Run>, id: RunId, update: RunUpdate) -> Result<Outcome<Run>> {
        self.store.update_run(write, id, update).await
    }

    pub async fn delete(&self, write: Write<()>, id: RunId) -> Result<Outcome<()>> {
        self.store.delete_run(write, id).await
    }

    pub async fn restore(&self, write: Write<()>, id: RunId) -> Result<Outcome<()>> {
        self.store.restore_run(write, id).await
    }

    pub async fn search(&self, workspace: &Workspace, search: &RunSearch) -> Result<Page<Run>> {
        self.store.search_runs(workspace, search).await
    }

    pub async fn delete_tag(&self, write: Write<()>, id: RunId, key: String) -> Result<Outcome<()>> {
        self.store.delete_run_tag(write, id, key).await
    }

    pub async fn log_inputs(&self, write: Write<()>, id: RunId, inputs: LoggedInputs) -> Result<Outcome<()>> {
        self.store.log_inputs(write, id, inputs).await
    }

    pub async fn log_outputs(
        &self,
        write: Write<()>,
        id: RunId,
        outputs: Vec<ModelOutput>,
    ) -> Result<Outcome<()>> {
        self.store.log_outputs(write, id, outputs).await
    }
}
