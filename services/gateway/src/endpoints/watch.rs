//! Pushes a snapshot of endpoints, then every change, from the change log.

use std::time::Duration;

use lodeway_domain::{Result, caller::Workspace};
use lodeway_proto::gateway::v1::WatchEndpointsResponse;
use lodeway_rpc::CallContext;
use lodeway_store::gateway::GatewayEvent;
use tokio::sync::mpsc;

use super::Endpoints;
use crate::convert;

/// Messages made ahead of a slow watcher.
const AHEAD: usize = 64;
/// Changes read at a time.
const BATCH: usize = 256;
/// How often a watcher looks even if nothing wakes it.
const POLL: Duration = Duration::from_secs(5);

type Sender = mpsc::Sender<Result<WatchEndpointsResponse>>;

impl Endpoints {
    /// Opens a watch: from a cursor, or with a snapshot first. The first read happens before this returns, so that an
    /// expired cursor is the answer of the call.
    pub(crate) async fn watch(
        &self,
        cx: &CallContext,
        cursor: Option<i64>,
    ) -> Result<mpsc::Receiver<Result<WatchEndpointsResponse>>> {
        let workspace = cx.caller.workspace.clone();
        if let Some(cursor) = cursor {
            self.0.store.changes_after(Some(&workspace), cursor, 1).await?;
        }
        let (sender, receiver) = mpsc::channel(AHEAD);
        let this = self.clone();
        let draining = self.0.tasks.draining();
        self.0.tasks.spawn_until_stop(async move {
            tokio::select! {
                // The end: the watcher has gone, or was told of a failure.
                _ = this.push(&workspace, cursor, &sender) => {}
                () = draining => {}
            }
        });
        Ok(receiver)
    }

    /// Ends when nobody listens any more.
    async fn push(&self, workspace: &Workspace, cursor: Option<i64>, sender: &Sender) -> Option<()> {
        let mut wakeups = self.0.store.wakeups();
        let mut cursor = match cursor {
            Some(cursor) => cursor,
            None => self.snapshot(workspace, sender).await?,
        };
        loop {
            wakeups.mark_unchanged();
            let events = match self.0.store.changes_after(Some(workspace), cursor, BATCH).await {
                Ok(events) => events,
                Err(error) => {
                    sender.send(Err(error)).await.ok()?;
                    return None;
                }
            };
            let is_full = events.events.len() >= BATCH;
            for (seq, _, event) in events.events {
                sender.send(Ok(pushed(seq, event))).await.ok()?;
            }
            cursor = events.next;
            if is_full {
                continue;
            }
            tokio::select! {
                _ = tokio::time::timeout(POLL, wakeups.changed()) => {}
                () = sender.closed() => return None,
            }
        }
    }

    async fn snapshot(&self, workspace: &Workspace, sender: &Sender) -> Option<i64> {
        match self.0.store.all_endpoints().await {
            Ok((head, all)) => {
                for (_, record) in all.into_iter().filter(|(of, _)| of == workspace) {
                    sender
                        .send(Ok(pushed(head, GatewayEvent::Endpoint(Box::new(record)))))
                        .await
                        .ok()?;
                }
                let end = WatchEndpointsResponse {
                    cursor: head.to_string(),
                    snapshot_end: true,
                    ..WatchEndpointsResponse::default()
                };
                sender.send(Ok(end)).await.ok()?;
                Some(head)
            }
            Err(error) => {
                sender.send(Err(error)).await.ok()?;
                None
            }
        }
    }
}

fn pushed(seq: i64, event: GatewayEvent) -> WatchEndpointsResponse {
    let mut message = WatchEndpointsResponse {
        cursor: seq.to_string(),
        ..WatchEndpointsResponse::default()
    };
    match event {
        GatewayEvent::Endpoint(record) => message.endpoint = Some(convert::endpoint(&record, None)),
        GatewayEvent::Deleted { name, .. } => message.deleted_name = name.to_string(),
    }
    message
}
