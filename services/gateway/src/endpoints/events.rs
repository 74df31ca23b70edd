//! What happens to targets, for whoever watches now: ejections, new versions, references that are gone, drift, moves of
//! rollouts.
//!
//! Events are news, not records: a watcher that is slow or late misses some, and what they are about can be read
//! (states of targets, revisions, rollouts, measurements).

use lodeway_domain::{
    serving::{EndpointKey, TargetName},
    time::Timestamp,
};
use tokio::sync::broadcast;

use super::Endpoints;

/// Events that a slow watcher may be behind.
const KEPT: usize = 256;

/// Something that happened.
#[derive(Debug, Clone)]
pub(crate) struct Happened {
    pub(crate) endpoint: EndpointKey,
    pub(crate) time: Timestamp,
    pub(crate) target: TargetName,
    /// `ejected`, `readmitted`, `resolved`, `unresolved`, `drift`, `rollout`.
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

/// Where events are told. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Events(broadcast::Sender<Happened>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(KEPT))
    }
}

impl Events {
    /// Tells whoever watches; nobody may.
    fn tell(&self, event: Happened) {
        tracing::info!(
            endpoint.key = event.endpoint.get(),
            target = event.target.as_str(),
            kind = event.kind,
            message = event.message,
            "an endpoint event"
        );
        drop(self.0.send(event));
    }

    /// What happens from now on.
    pub(crate) fn watch(&self) -> Watcher {
        Watcher(self.0.subscribe())
    }
}

impl Endpoints {
    /// Tells what has just happened to a target.
    pub(crate) fn tell(
        &self,
        endpoint: EndpointKey,
        target: &TargetName,
        kind: &'static str,
        message: String,
    ) {
        self.0.events.tell(Happened {
            endpoint,
            time: self.0.clock.now(),
            target: target.clone(),
            kind,
            message,
        });
    }
}

/// One who watches.
pub(crate) struct Watcher(broadcast::Receiver<Happened>);

impl Watcher {
    /// The next event; none for some that were missed.
    pub(crate) async fn next(&mut self) -> Option<Happened> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => None,
            // The sender lives as long as the endpoints; then nothing happens any more.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
