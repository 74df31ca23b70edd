//! Registered models.

use lodeway_domain::{
    Result,
    page::Page,
    registry::{ModelName, NewModel, RegisteredModel, Tags},
};
use lodeway_rpc::CallContext;
use lodeway_store::registry::{ModelUpdate, Search};

use crate::{Registry, Repeat};

impl Registry {
    pub(crate) async fn make_model(
        &self,
        cx: &CallContext,
        new: NewModel,
        repeat: Repeat,
    ) -> Result<RegisteredModel> {
        self.store.create_model(self.write(cx, repeat), new).await
    }

    pub(crate) async fn model(&self, cx: &CallContext, name: &ModelName) -> Result<RegisteredModel> {
        self.store.model(&cx.caller.workspace, name).await
    }

    pub(crate) async fn find_models(
        &self,
        cx: &CallContext,
        search: &Search,
    ) -> Result<Page<RegisteredModel>> {
        self.store.search_models(&cx.caller.workspace, search).await
    }

    pub(crate) async fn change_model(
        &self,
        cx: &CallContext,
        update: ModelUpdate,
        repeat: Repeat,
    ) -> Result<RegisteredModel> {
        self.store.update_model(self.write(cx, repeat), update).await
    }

    /// Renames, and sees to it that tracking and who is kept from held files learn the new name.
    pub(crate) async fn rename_model(
        &self,
        cx: &CallContext,
        (name, new_name): (ModelName, ModelName),
        repeat: Repeat,
    ) -> Result<RegisteredModel> {
        let renamed = self
            .store
            .rename_model(self.write(cx, repeat), name, new_name)
            .await?;
        self.outbox.wake();
        // What is held says for which model.
        self.holds.look_at_all(&cx.caller.workspace);
        Ok(renamed)
    }

    /// Deletes, and sees to it that tracking lets go of what the versions referred to.
    pub(crate) async fn remove_model(
        &self,
        cx: &CallContext,
        (name, force): (ModelName, bool),
        repeat: Repeat,
    ) -> Result<()> {
        self.store
            .delete_model(self.write(cx, repeat), name, force)
            .await?;
        self.outbox.wake();
        self.holds.look_at_all(&cx.caller.workspace);
        Ok(())
    }

    pub(crate) async fn tag_model(
        &self,
        cx: &CallContext,
        (name, tags): (ModelName, Tags),
        repeat: Repeat,
    ) -> Result<()> {
        self.store
            .set_model_tags(self.write(cx, repeat), name, tags)
            .await
    }

    pub(crate) async fn untag_model(
        &self,
        cx: &CallContext,
        (name, key): (ModelName, String),
        repeat: Repeat,
    ) -> Result<()> {
        self.store
            .delete_model_tag(self.write(cx, repeat), name, key)
            .await
    }
}
