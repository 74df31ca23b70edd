//! Stages, aliases, the ledger.

use lodeway_domain::{
    Result,
    caller::Workspace,
    page::Page,
    registry::{DigestState, ModelName, Transition, promotion::Target},
};
use lodeway_rpc::CallContext;
use lodeway_store::registry::{AliasMove, Before, LedgerQuery, Move, Moved};

use crate::{Registry, Repeat, digests::differs, holds::Taken};

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
        let (before, taken) = self.prepare(cx, &request.name, request.version, &target).await?;
        let moved = self
            .store
            .transition(self.write(cx, repeat), request, before)
            .await;
        self.settle(cx, taken, moved.as_ref().map_or(&[], |moved| &moved.transitions));
        moved
    }

    pub(crate) async fn move_alias(
        &self,
        cx: &CallContext,
        request: AliasMove,
        repeat: Repeat,
    ) -> Result<Option<Transition>> {
        let mut taken = None;
        if let Some(version) = request.version {
            let target = Target::Alias(request.alias.clone());
            (_, taken) = self.prepare(cx, &request.name, version, &target).await?;
        }
        let moved = self.store.move_alias(self.write(cx, repeat), request).await;
        let entry = moved.as_ref().ok().and_then(Option::as_ref);
        self.settle(cx, taken, entry.map(std::slice::from_ref).unwrap_or_default());
        moved
    }

    /// What is done before a version gets a stage or an alias: its files are held, then compared.
    async fn prepare(
        &self,
        cx: &CallContext,
        name: &ModelName,
        version: i64,
        target: &Target,
    ) -> Result<(Option<Before>, Option<Taken>)> {
        let workspace = &cx.caller.workspace;
        let before = self.store.before_move(workspace, (name, version), target).await?;
        let promotes = match target {
            Target::Stage(stage) => stage.is_active(),
            Target::Alias(_) => true,
        };
        let Some(before) = before else {
            return Ok((None, None));
        };
        if !promotes {
            return Ok((Some(before), None));
        }
        let taken = self.holds.take(workspace, &before).await?;
        match self.look_through(workspace, before, &taken, target).await {
            Ok(before) => Ok((before, Some(taken))),
            Err(error) => {
                taken.end();
                Err(error)
            }
        }
    }

    /// Compares the files of a version that is being promoted with its digest; if that was still to be computed when they were
    /// held, it is put on record first, wherever the version goes. The version as it is then.
    async fn look_through(
        &self,
        workspace: &Workspace,
        before: Before,
        taken: &Taken,
        target: &Target,
    ) -> Result<Option<Before>> {
        let was_pending = before.version.digest_state == DigestState::Pending;
        if !taken.is_held || !was_pending {
            self.compare(workspace, &before, target).await?;
            return Ok(Some(before));
        }
        let wait = self.config.digest_wait;
        let held = self.digests.record_held(workspace, &before.version, wait).await?;
        let of = (&before.version.name, before.version.version);
        let Some(before) = self.store.before_move(workspace, of, target).await? else {
            return Ok(None);
        };
        let (version, is_gated) = (&before.version, before.is_gated);
        match held {
            Some(digest) if digest == version.content_digest => {}
            Some(_) => return Err(differs(version)),
            None => self.digests.verify(workspace, version, wait, is_gated).await?,
        }
        Ok(Some(before))
    }

    /// What is done after a move was tried: what was held for it, or is needed no more, is let go.
    fn settle(&self, cx: &CallContext, taken: Option<Taken>, moved: &[Transition]) {
        if let Some(taken) = taken {
            taken.end();
        }
        self.holds.look_at_moved(&cx.caller.workspace, moved);
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
                    Ok((_, taken)) => prepared.extend(taken),
                    Err(error) => {
                        prepared.into_iter().for_each(Taken::end);
                        return Err(error);
                    }
                }
            }
        }
        let moved = self
            .store
            .rollback(self.write(cx, repeat), transition_id, comment)
            .await;
        prepared.into_iter().for_each(Taken::end);
        self.settle(cx, None, moved.as_ref().map_or(&[], Vec::as_slice));
        moved
    }
}
