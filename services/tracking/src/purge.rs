//! Removing deleted entities for good: mark, delete files, delete rows.
//!
//! The order makes a crash harmless: what is marked can no longer be found or restored, and the next purge of the
//! workspace goes on with it. Deleting files twice is deleting them once.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use lodeway_domain::{Result, caller::Workspace};
use lodeway_rpc::CallContext;
use lodeway_store::tracking::{MAX_PURGE, Outcome, PurgeFilter, PurgeItem, PurgeStore, Write};

use crate::files::{Counted, Files};

/// Entities whose files are deleted before their rows go.
const AT_ONCE: usize = 100;
/// Calls to the artifact service side by side.
const CALLS: usize = 8;

/// What went, or would go.
#[derive(Debug, Clone, Default)]
pub struct Purged {
    /// Every entity looked at, with its files.
    pub entities: Vec<(PurgeItem, Counted)>,
    /// True if there is more to remove.
    pub more: bool,
}

pub struct Purge {
    store: Arc<dyn PurgeStore>,
    files: Files,
}

impl Purge {
    pub fn new(store: Arc<dyn PurgeStore>, files: Files) -> Self {
        Self { store, files }
    }

    /// What would go now.
    pub async fn dry_run(&self, cx: &CallContext, filter: &PurgeFilter) -> Result<Purged> {
        let workspace = &cx.caller.workspace;
        let plan = self.store.plan_purge(workspace, filter, MAX_PURGE).await?;
        let entities = self.delete_files(cx, &plan.items, true).await?;
        Ok(Purged {
            entities,
            more: plan.more,
        })
    }

    /// Removes it; `encode` makes the answer that is kept for a repetition.
    pub async fn purge(
        &self,
        cx: &CallContext,
        write: &Write<Vec<u8>>,
        filter: PurgeFilter,
        encode: fn(&Purged) -> Vec<u8>,
    ) -> Result<Outcome<Purged>> {
        self.files.ensure_present()?;
        let plan = match self.store.mark_purge(write, filter, MAX_PURGE).await? {
            Outcome::Done(plan) => plan,
            Outcome::Replay(answer) => return Ok(Outcome::Replay(answer)),
        };
        let workspace: &Workspace = &cx.caller.workspace;
        let mut entities = Vec::with_capacity(plan.items.len());
        for chunk in plan.items.chunks(AT_ONCE) {
            entities.extend(self.delete_files(cx, chunk, false).await?);
            self.store.finish_purge(workspace, chunk).await?;
        }
        let purged = Purged {
            entities,
            more: plan.more,
        };
        self.store.record_purge(write, encode(&purged)).await?;
        Ok(Outcome::Done(purged))
    }

    async fn delete_files(
        &self,
        cx: &CallContext,
        items: &[PurgeItem],
        dry_run: bool,
    ) -> Result<Vec<(PurgeItem, Counted)>> {
        // Boxed: the compiler cannot see that a stream of these borrowing futures may be sent.
        let counted = items.iter().map(|item| -> BoxFuture<'_, Result<_>> {
            Box::pin(async move {
                let counted = match item.held_back_by {
                    Some(_) => Counted::default(),
                    None => self.files.delete(cx, &item.artifact_uri, dry_run).await?,
                };
                Ok((item.clone(), counted))
            })
        });
        let counted: Vec<_> = counted.collect();
        stream::iter(counted).buffered(CALLS).try_collect().await
    }
}
