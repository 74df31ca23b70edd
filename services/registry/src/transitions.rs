//! Stages, aliases, the ledger.

use lodeway_domain::{
    Result,
    page::Page,
    registry::{Stage, Transition},
};
use lodeway_rpc::CallContext;
use lodeway_store::registry::{AliasMove, LedgerQuery, Move, Moved, VersionBy};

use crate::{Registry, Repeat};

impl Registry {
    /// Moves a version; before it goes to Production, its files are compared with the digest on record.
    pub(crate) async fn transition_version(
        &self,
        cx: &CallContext,
        request: Move,
        repeat: Repeat,
    ) -> Result<Moved> {
        if request.stage == Stage::Production && self.peers.artifacts.is_some() {
            let workspace = &cx.caller.workspace;
            let by = VersionBy::Number(request.version);
            let version = self.store.version(workspace, &request.name, &by).await?;
            self.digests
                .verify(workspace, &version, self.config.digest_wait)
                .await?;
        }
        self.store.transition(self.write(cx, repeat), request).await
    }

    pub(crate) async fn move_alias(
        &self,
        cx: &CallContext,
        request: AliasMove,
        repeat: Repeat,
    ) -> Result<Option<Transition>> {
        self.store.move_alias(self.write(cx, repeat), request).await
    }

    pub(crate) async fn transitions(
        &self,
        cx: &CallContext,
        query: &LedgerQuery,
    ) -> Result<Page<Transition>> {
        self.store.transitions(&cx.caller.workspace, query).await
    }

    /// Takes a step back; a version that this brings to Production again is looked at as on its first way there.
    pub(crate) async fn take_back(
        &self,
        cx: &CallContext,
        (transition_id, comment): (i64, String),
        repeat: Repeat,
    ) -> Result<Vec<Transition>> {
        if self.peers.artifacts.is_some() {
            let workspace = &cx.caller.workspace;
            for version in self.store.back_to_production(workspace, transition_id).await? {
                self.digests
                    .verify(workspace, &version, self.config.digest_wait)
                    .await?;
            }
        }
        self.store
            .rollback(self.write(cx, repeat), transition_id, comment)
            .await
    }
}
