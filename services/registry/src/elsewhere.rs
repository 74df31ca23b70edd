//! Which files lie where the artifact service has no business, so that nobody need be asked about them.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use lodeway_rpc::Tasks;
use lodeway_store::artifacts::bucket_of;

use crate::Peers;

/// How often the artifact service is asked; its buckets change with its settings.
const REFRESH: Duration = Duration::from_secs(60);
const RETRY_MIN: Duration = Duration::from_millis(250);
/// The most buckets that are kept; of a service with more, none counts as known.
const MAX_BUCKETS: usize = 10_000;

/// The buckets of the artifact service, as it last said. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Elsewhere(Arc<RwLock<Option<BTreeSet<String>>>>);

impl Elsewhere {
    /// Asks at once and keeps asking; nothing is known to be elsewhere without an artifact service, or before it answers.
    pub(crate) fn start(peers: &Peers, tasks: &Tasks) -> Self {
        let elsewhere = Self::default();
        if peers.artifacts.is_some() {
            let (learner, peers) = (elsewhere.clone(), peers.clone());
            tasks.spawn_until_stop(async move { learner.learn(peers).await });
        }
        elsewhere
    }

    async fn learn(&self, peers: Peers) {
        let mut retry = RETRY_MIN;
        loop {
            let pause = match peers.buckets().await {
                Ok(buckets) => {
                    let known = (buckets.len() <= MAX_BUCKETS).then(|| buckets.into_iter().collect());
                    *self.0.write().unwrap_or_else(PoisonError::into_inner) = known;
                    retry = RETRY_MIN;
                    REFRESH
                }
                // What was said before still holds: a service that is away opens no new bucket.
                Err(error) => {
                    tracing::debug!(%error, "the buckets of the artifact service are asked for again");
                    retry = (retry * 2).min(REFRESH);
                    retry
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Whether these files are in a bucket in which the artifact service opens none: it neither reads nor removes them. False
    /// also if that is not known.
    pub(crate) fn has(&self, location: &str) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (Some(known), Some(bucket)) = (known.as_ref(), bucket_of(location)) else {
            return false;
        };
        !known.contains(&bucket)
    }
}
