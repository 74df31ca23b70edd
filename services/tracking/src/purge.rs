//! Removing deleted entities for good: mark, delete files, delete rows.
//!
//! The order makes a crash harmless: what is marked can no longer be found or restored, and the next purge of the
//! workspace goes on with it. Deleting files twice is deleting them once.
//!
//! Nothing is marked whose files are held. Of what is held in between, the files stay, and with them the rows and the
//! experiment; a later purge tries again, and until then they keep nothing else from going.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use lodeway_domain::{Result, caller::Workspace};
use lodeway_rpc::CallContext;
use lodeway_store::tracking::{MAX_PURGE, Outcome, PurgeFilter, PurgeItem, PurgeKind, PurgeStore, Write};

use crate::files::{Counted, Deletion, Files};

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
    pub async fn dry_run(&self, cx: &CallContext, mut filter: PurgeFilter) -> Result<Purged> {
        let workspace = &cx.caller.workspace;
        filter.kept = self.files.held(cx).await?;
        let plan = self.store.plan_purge(workspace, &filter, MAX_PURGE).await?;
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
        mut filter: PurgeFilter,
        encode: fn(&Purged) -> Vec<u8>,
    ) -> Result<Outcome<Purged>> {
        self.files.ensure_present()?;
        filter.kept = self.files.held(cx).await?;
        let plan = match self.store.mark_purge(write, filter, MAX_PURGE).await? {
            Outcome::Done(plan) => plan,
            Outcome::Replay(answer) => return Ok(Outcome::Replay(answer)),
        };
        let workspace: &Workspace = &cx.caller.workspace;
        let mut entities = Vec::with_capacity(plan.items.len());
        let mut refused = HashMap::new();
        for chunk in plan.items.chunks(AT_ONCE) {
            let mut done = self.delete_files(cx, chunk, false).await?;
            hold_experiments(chunk, &mut done, &mut refused);
            let items: Vec<PurgeItem> = done.iter().map(|(item, _)| item.clone()).collect();
            self.store.finish_purge(workspace, &items).await?;
            entities.extend(done);
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
                let mut item = item.clone();
                if item.held_back_by.is_some() {
                    return Ok((item, Counted::default()));
                }
                let counted = match self.files.delete(cx, &item.artifact_uri, dry_run).await? {
                    Deletion::Done(counted) => counted,
                    Deletion::Refused(why) => {
                        item.held_back_by = Some(why);
                        Counted::default()
                    }
                };
                Ok((item, counted))
            })
        });
        let counted: Vec<_> = counted.collect();
        stream::iter(counted).buffered(CALLS).try_collect().await
    }
}

/// Holds back the experiments of what was planned to go and had its files refused; `refused` has those of earlier chunks. An
/// experiment comes after everything in it.
fn hold_experiments(
    planned: &[PurgeItem],
    done: &mut [(PurgeItem, Counted)],
    refused: &mut HashMap<i64, String>,
) {
    for (planned, (item, _)) in planned.iter().zip(done) {
        match &item.held_back_by {
            Some(why) if planned.held_back_by.is_none() => {
                refused.entry(item.experiment()).or_insert_with(|| why.clone());
            }
            None if item.kind == PurgeKind::Experiment => {
                item.held_back_by = refused.get(&item.experiment()).cloned();
            }
            _ => {}
        }
    }
}
