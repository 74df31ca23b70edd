//! Pushes an evaluation at every change until it has ended.

use std::time::Duration;

use lodeway_domain::{Result, evaluation::EvaluationRecord};
use lodeway_rpc::CallContext;
use lodeway_store::evaluation::EvaluationStore as _;
use tokio::sync::mpsc;

use super::Evaluations;

/// Messages made ahead of a slow watcher.
const AHEAD: usize = 4;
/// How often it looks where nobody tells of a change.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Evaluations {
    /// Opens a watch. Errors: `NOT_FOUND`.
    pub(super) async fn watch(
        &self,
        cx: &CallContext,
        id: String,
    ) -> Result<mpsc::Receiver<Result<EvaluationRecord>>> {
        // Subscribed before the first read: a change after it wakes.
        let mut wakeups = self.site.store.wakeups();
        let workspace = cx.caller.workspace.clone();
        let mut current = self.site.store.evaluation(&workspace, &id).await?;
        let (sender, receiver) = mpsc::channel(AHEAD);
        let site = self.site.clone();
        let draining = self.site.tasks.draining();
        let push = async move {
            let mut pushed = None;
            loop {
                let has_ended = current.state.has_ended();
                if pushed != Some(current.version) {
                    pushed = Some(current.version);
                    if sender.send(Ok(current)).await.is_err() || has_ended {
                        return;
                    }
                }
                tokio::select! {
                    _ = tokio::time::timeout(LOOK_EVERY, wakeups.changed()) => {}
                    () = sender.closed() => return,
                }
                wakeups.mark_unchanged();
                current = match site.store.evaluation(&workspace, &id).await {
                    Ok(found) => found,
                    Err(error) => {
                        // If nobody listens any more, nobody need know.
                        let _ = sender.send(Err(error)).await;
                        return;
                    }
                };
            }
        };
        self.site.tasks.spawn(async move {
            tokio::select! {
                () = push => {}
                () = draining => {}
            }
        });
        Ok(receiver)
    }
}
