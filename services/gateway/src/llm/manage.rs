//! Keeping routes.

use lodeway_domain::{
    Result,
    llm::{LlmRoute, LlmRouteName},
    page::{Page, PageRequest},
};
use lodeway_rpc::CallContext;
use lodeway_store::{
    gateway::{LlmRouteRecord, LlmRouteUpdate},
    ledger::Write,
};

use super::Llm;
use lodeway_rpc::Repeat;

impl Llm {
    fn write(&self, cx: &CallContext, repeat: Repeat) -> Write {
        Write {
            caller: (*cx.caller).clone(),
            now: self.0.clock.now(),
            request: repeat.id,
            body_hash: repeat.body_hash,
        }
    }

    /// Creates a route. Errors: `INVALID_FIELD`, `KEY_MISSING`, `RESOURCE_EXISTS`.
    pub(crate) async fn create(
        &self,
        cx: &CallContext,
        mut route: LlmRoute,
        repeat: Repeat,
    ) -> Result<LlmRouteRecord> {
        route.check()?;
        for target in &route.targets {
            self.key(target)?;
        }
        let write = self.write(cx, repeat);
        (route.created, route.updated) = (write.now, write.now);
        self.0.store.create_llm_route(write, route).await
    }

    pub(crate) async fn get(&self, cx: &CallContext, name: &LlmRouteName) -> Result<LlmRouteRecord> {
        self.0.store.llm_route(&cx.caller.workspace, name).await
    }

    pub(crate) async fn list(&self, cx: &CallContext, page: &PageRequest) -> Result<Page<LlmRouteRecord>> {
        self.0.store.list_llm_routes(&cx.caller.workspace, page).await
    }

    /// Changes a route. Errors: `KEY_MISSING`, `RESOURCE_NOT_FOUND`, `ETAG_MISMATCH`.
    pub(crate) async fn change(
        &self,
        cx: &CallContext,
        update: LlmRouteUpdate,
        repeat: Repeat,
    ) -> Result<LlmRouteRecord> {
        for target in update.targets.iter().flatten() {
            self.key(target)?;
        }
        let write = self.write(cx, repeat);
        self.0.store.update_llm_route(write, update).await
    }

    /// Removes a route. Errors: `RESOURCE_NOT_FOUND`.
    pub(crate) async fn delete(&self, cx: &CallContext, name: LlmRouteName, repeat: Repeat) -> Result<()> {
        let write = self.write(cx, repeat);
        self.0.store.delete_llm_route(write, name.clone()).await?;
        self.0.limiters.forget(&(cx.caller.workspace.clone(), name));
        Ok(())
    }
}
