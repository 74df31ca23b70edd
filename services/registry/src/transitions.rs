//! Stages, aliases, the ledger.

use lodeway_domain::{
    Result,
    page::Page,
    registry::{Transition, promotion::Target},
};
use lodeway_rpc::CallContext;
use lodeway_store::registry::{AliasMove, LedgerQuery, Move, Moved};

use crate::{Registry, Repeat};

impl Registry {
    /// Moves a version; before it goes to Production, or where a promotion rule stands, its files are compared with the digest on record.
    pub(crate) async fn transition_version(
        &self,
        cx: &CallContext,
        request: Move,
        repeat: Repeat,
    ) -> Result<Moved> {
        let target = Target::Stage(request.stage);
        let before = self
            .check_files(cx, &request.name, request.version, &target)
            .await?;
        self.store
            .transition(self.write(cx, repeat), request, before)
            .await
    }

    pub(crate) async fn move_alias(
        &self,
        cx: &CallContext,
        request: AliasMove,
        repeat: Repeat,
    ) -> Result<Option<Transition>> {
        if let Some(version) = request.version {
            let target = Target::Alias(request.alias.clone());
            self.check_files(cx, &request.name, version, &target).await?;
        }
        self.store.move_alias(self.write(cx, repeat), request).await
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
        if self.peers.artifacts.is_some() {
            let workspace = &cx.caller.workspace;
            for (version, target) in self.store.brought_back(workspace, transition_id).await? {
                self.check_files(cx, &version.name, version.version, &target)
                    .await?;
            }
        }
        self.store
            .rollback(self.write(cx, repeat), transition_id, comment)
            .await
    }
}
