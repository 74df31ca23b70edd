//! Pushes a snapshot of versions, then every change, from the change log.

use std::{sync::Arc, time::Duration};

use lodeway_domain::{
    Result,
    caller::Workspace,
    id::ModelUid,
    registry::{ModelName, ModelVersion},
    time::Clock,
};
use lodeway_rpc::{CallContext, Tasks};
use lodeway_store::registry::{RegistryEvent, RegistryStore};
use tokio::sync::mpsc;

use crate::Registry;

/// Messages made ahead of a slow watcher.
const AHEAD: usize = 64;
/// Versions or changes read at a time.
const BATCH: usize = 256;
/// How often old changes are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// One message to a watcher.
#[derive(Debug)]
pub(crate) enum Push {
    /// Part of the snapshot.
    Snapshot(Box<ModelVersion>),
    /// The snapshot is complete; go on after this cursor.
    Synced(i64),
    /// A change with its cursor.
    Event(i64, RegistryEvent),
}

type Sender = mpsc::Sender<Result<Push>>;

/// The watcher has gone.
struct Gone;

impl Registry {
    /// Opens a watch of one model or of all: from a cursor, or with a snapshot first.
    ///
    /// The first read happens before this returns, so that an expired cursor is the answer of the call.
    pub(crate) async fn watch(
        &self,
        cx: &CallContext,
        name: Option<ModelName>,
        cursor: Option<i64>,
    ) -> Result<mpsc::Receiver<Result<Push>>> {
        let workspace = cx.caller.workspace.clone();
        let uid = match name {
            Some(name) => Some(self.store.model(&workspace, &name).await?.uid),
            None => None,
        };
        if let Some(cursor) = cursor {
            self.store
                .changes_after(&workspace, uid.as_ref(), cursor, 1)
                .await?;
        }
        let (sender, receiver) = mpsc::channel(AHEAD);
        let watcher = Watcher {
            store: self.store.clone(),
            workspace,
            uid,
            poll: self.config.watch_poll,
            sender,
        };
        self.tasks.spawn_until_stop(async move {
            // The end: the watcher has gone, or was told of a failure.
            let _ = watcher.run(cursor).await;
        });
        Ok(receiver)
    }
}

struct Watcher {
    store: Arc<dyn RegistryStore>,
    workspace: Workspace,
    uid: Option<ModelUid>,
    poll: Duration,
    sender: Sender,
}

impl Watcher {
    async fn run(self, cursor: Option<i64>) -> Result<(), Gone> {
        // Subscribed before the first read: a change after it wakes.
        let mut wakeups = self.store.wakeups();
        let mut cursor = match cursor {
            Some(cursor) => cursor,
            None => self.snapshot().await?,
        };
        loop {
            wakeups.mark_unchanged();
            let feed = self
                .or_tell(
                    self.store
                        .changes_after(&self.workspace, self.uid.as_ref(), cursor, BATCH)
                        .await,
                )
                .await?;
            let is_full = feed.events.len() >= BATCH;
            for (seq, event) in feed.events {
                self.push(Push::Event(seq, event)).await?;
            }
            cursor = feed.next;
            if is_full {
                continue;
            }
            tokio::select! {
                _ = tokio::time::timeout(self.poll, wakeups.changed()) => {}
                () = self.sender.closed() => return Err(Gone),
            }
        }
    }

    /// Pushes all versions; the cursor from which changes are missing. Some of those may be in the snapshot already.
    async fn snapshot(&self) -> Result<i64, Gone> {
        let (mut after, mut start) = (0, None);
        loop {
            let read = self
                .store
                .snapshot(&self.workspace, self.uid.as_ref(), after, BATCH)
                .await;
            let part = self.or_tell(read).await?;
            let start = *start.get_or_insert(part.head);
            let Some((last, _)) = part.versions.last() else {
                self.push(Push::Synced(start)).await?;
                return Ok(start);
            };
            after = *last;
            for (_, version) in part.versions {
                self.push(Push::Snapshot(Box::new(version))).await?;
            }
        }
    }

    async fn push(&self, push: Push) -> Result<(), Gone> {
        self.sender.send(Ok(push)).await.map_err(|_| Gone)
    }

    async fn or_tell<T>(&self, outcome: Result<T>) -> Result<T, Gone> {
        match outcome {
            Ok(value) => Ok(value),
            Err(error) => {
                // If nobody listens any more, nobody need know.
                let _ = self.sender.send(Err(error)).await;
                Err(Gone)
            }
        }
    }
}

/// Forgets old changes now and then.
pub(crate) fn keep_log_short(
    store: Arc<dyn RegistryStore>,
    clock: Arc<dyn Clock>,
    tasks: &Tasks,
    keep: Duration,
) {
    tasks.spawn_until_stop(async move {
        loop {
            tokio::time::sleep(PRUNE_EVERY).await;
            loop {
                match store.prune_changes(clock.now(), keep).await {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(%error, "old changes cannot be forgotten now");
                        break;
                    }
                }
            }
        }
    });
}
