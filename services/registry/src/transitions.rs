//! Stages, aliases, the ledger.

use lodeway_domain::{
    Result,
    page::Page,
    registry::{ModelName, ModelVersion, Transition, promotion::Target},
};
use lodeway_rpc::CallContext;
use lodeway_store::registry::{AliasMove, Before, LedgerQuery, Move, Moved};

use crate::{Registry, Repeat};

impl Registry {
    /// Moves a version; before it is promoted its files are held, and compared with the digest on record where it goes to
    /// Production or a promotion rule stands.
    pub(crate) async fn transition_version(
        &self,
        cx: &CallContext,
        request: Move,
        repeat: Repeat,
    ) -> Result<Moved> {
        let target = Target::Stage(request.stage);
        let before = self.prepare(cx, &request.name, request.version, &target).await?;
        let looked_at = before.as_ref().map(|before| before.version.clone());
        let moved = self
            .store
            .transition(self.write(cx, repeat), request, before)
            .await;
        self.settle(
            cx,
            looked_at,
            moved.as_ref().map_or(&[], |moved| &moved.transitions),
        );
        moved
    }

    pub(crate) async fn move_alias(
        &self,
        cx: &CallContext,
        request: AliasMove,
        repeat: Repeat,
    ) -> Result<Option<Transition>> {
        let mut looked_at = None;
        if let Some(version) = request.version {
            let target = Target::Alias(request.alias.clone());
            let before = self.prepare(cx, &request.name, version, &target).await?;
            looked_at = before.map(|before| before.version);
        }
        let moved = self.store.move_alias(self.write(cx, repeat), request).await;
        let entry = moved.as_ref().ok().and_then(Option::as_ref);
        self.settle(cx, looked_at, entry.map(std::slice::from_ref).unwrap_or_default());
        moved
    }

    /// What is done before a version gets a stage or an alias: its files are held, then compared.
    async fn prepare(
        &self,
        cx: &CallContext,
        name: &ModelName,
        version: i64,
        target: &Target,
    ) -> Result<Option<Before>> {
        let workspace = &cx.caller.workspace;
        let before = self.store.before_move(workspace, (name, version), target).await?;
        let promotes = match target {
            Target::Stage(stage) => stage.is_active(),
            Target::Alias(_) => true,
        };
        if let Some(before) = before.as_ref().filter(|_| promotes) {
            self.holds
                .take(workspace, &before.version, before.is_gated)
                .await?;
            if let Err(error) = self.compare(workspace, before, target).await {
                self.holds.look_at(workspace, &before.version);
                return Err(error);
            }
        }
        Ok(before)
    }

    /// What is done after a move was tried: what was held for it, or is needed no more, is let go.
    fn settle(&self, cx: &CallContext, looked_at: Option<ModelVersion>, moved: &[Transition]) {
        let workspace = &cx.caller.workspace;
        if let Some(version) = looked_at {
            self.holds.look_at(workspace, &version);
        }
        self.holds.look_at_moved(workspace, moved);
    }

    pub(crate) async fn transitions(
        &self,
        cx: &CallContext,
        query: &LedgerQuery,
    ) -> Result<Page<Transition>> {
        self.store.transitions(&cx.caller.workspace, query).await
    }

    /// Takes a step back; a version that this brings there again is looked at as on its first way there.
    pub(crate) async fn take_back(
        &self,
        cx: &CallContext,
        (transition_id, comment): (i64, String),
        repeat: Repeat,
    ) -> Result<Vec<Transition>> {
        let workspace = &cx.caller.workspace;
        let mut prepared = Vec::new();
        if self.peers.artifacts.is_some() {
            for (version, target) in self.store.brought_back(workspace, transition_id).await? {
                match self.prepare(cx, &version.name, version.version, &target).await {
                    Ok(_) => prepared.push(version),
                    Err(error) => {
                        prepared
                            .iter()
                            .for_each(|version| self.holds.look_at(workspace, version));
                        return Err(error);
                    }
                }
            }
        }
        let moved = self
            .store
            .rollback(self.write(cx, repeat), transition_id, comment)
            .await;
        prepared
            .iter()
            .for_each(|version| self.holds.look_at(workspace, version));
        self.settle(cx, None, moved.as_ref().map_or(&[], Vec::as_slice));
        moved
    }
}
