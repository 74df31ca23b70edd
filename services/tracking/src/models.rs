//! Logged models: the use cases.

use std::{collections::BTreeMap, sync::Arc};

use lodeway_domain::{
    Caller, Error, Result,
    caller::{REGISTRY, Workspace},
    id::ModelId,
    page::Page,
    time::Clock,
    tracking::{
        EntityKey, LoggedModel, LoggedModelStatus, NewLoggedModel, ParamValue, Tags, VersionReference,
    },
};
use lodeway_store::tracking::{LoggedModelSearch, LoggedModelStore, Outcome, ReferenceStore, Write};

use crate::experiments::Experiments;

pub struct Models {
    store: Arc<dyn LoggedModelStore>,
    references: Arc<dyn ReferenceStore>,
    experiments: Arc<Experiments>,
    clock: Arc<dyn Clock>,
}

impl Models {
    pub fn new(
        store: Arc<dyn LoggedModelStore>,
        references: Arc<dyn ReferenceStore>,
        experiments: Arc<Experiments>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            store,
            references,
            experiments,
            clock,
        }
    }

    pub async fn create(
        &self,
        write: Write<LoggedModel>,
        new: NewLoggedModel,
    ) -> Result<Outcome<LoggedModel>> {
        self.experiments.ensure_workspace(&write.caller.workspace).await?;
        self.store.create_logged_model(write, new).await
    }

    pub async fn get(&self, workspace: &Workspace, id: &ModelId, allow_deleted: bool) -> Result<LoggedModel> {
        self.store.logged_model(workspace, id, allow_deleted).await
    }

    pub async fn search(
        &self,
        workspace: &Workspace,
        search: &LoggedModelSearch,
    ) -> Result<Page<LoggedModel>> {
        self.store.search_logged_models(workspace, search).await
    }

    pub async fn finalize(
        &self,
        write: Write<LoggedModel>,
        id: ModelId,
        status: LoggedModelStatus,
    ) -> Result<Outcome<LoggedModel>> {
        self.store.finalize_logged_model(write, id, status).await
    }

    pub async fn delete(&self, write: Write<()>, id: ModelId) -> Result<Outcome<()>> {
        self.store.delete_logged_model(write, id).await
    }

    pub async fn log_params(
        &self,
        write: Write<()>,
        id: ModelId,
        params: BTreeMap<EntityKey, ParamValue>,
    ) -> Result<Outcome<()>> {
        self.store.log_logged_model_params(write, id, params).await
    }

    pub async fn set_tags(
        &self,
        write: Write<LoggedModel>,
        id: ModelId,
        tags: Tags,
    ) -> Result<Outcome<LoggedModel>> {
        self.store.set_logged_model_tags(write, id, tags).await
    }

    pub async fn delete_tag(&self, write: Write<()>, id: ModelId, key: String) -> Result<Outcome<()>> {
        self.store.delete_logged_model_tag(write, id, key).await
    }

    /// Records what a version refers to, on the word of nobody but the registry: a reference given back lets a purge remove the
    /// version's files.
    ///
    /// Its principal cannot come from outside, see [`Caller::is_registry`]. Where nobody has to prove who they are, a registry
    /// in another process cannot either, and everybody may purge anyway. Errors: `ACCESS_DENIED`.
    pub async fn record_version(&self, caller: &Caller, reference: VersionReference) -> Result<()> {
        check_registry(caller)?;
        self.references
            .record_version(caller, reference, self.clock.now())
            .await
    }

    /// Records new versions that refer to folders alone, as [`Self::record_version`] does; the event ids of those whose folders
    /// a purge is removing.
    pub async fn record_new_versions(
        &self,
        caller: &Caller,
        references: Vec<VersionReference>,
    ) -> Result<Vec<String>> {
        check_registry(caller)?;
        self.references
            .record_new_versions(caller, references, self.clock.now())
            .await
    }
}

fn check_registry(caller: &Caller) -> Result<()> {
    if caller.verified && !caller.is_registry() {
        let why = format!(
            "what versions refer to is taken from `{REGISTRY}` only; register or delete versions there"
        );
        return Err(Error::Denied(why));
    }
    Ok(())
}
