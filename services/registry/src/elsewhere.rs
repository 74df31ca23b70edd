//! Which files lie where the artifact service has no business, so that nobody need be asked about them.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use lodeway_rpc::Tasks;
use lodeway_store::artifacts::bucket_of;

use crate::{Peers, digests::Digests};

const RETRY_MIN: Duration = Duration::from_millis(250);
/// The most buckets that are kept; of a service with more, none counts as known.
const MAX_BUCKETS: usize = 10_000;

/// The buckets of the artifact service, as it last said. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Elsewhere(Arc<RwLock<Option<BTreeSet<String>>>>);

impl Elsewhere {
    /// Asks at once and keeps asking; nothing is known to be elsewhere without an artifact service, or before it answers.
    ///
    /// `refresh` is how often: the buckets change with the settings of the artifact service. Versions that were taken to be
    /// elsewhere, and are in one of its buckets by its next word, have their digests computed.
    pub(crate) fn start(peers: &Peers, digests: Digests, tasks: &Tasks, refresh: Duration) -> Self {
        let elsewhere = Self::default();
        if peers.artifacts.is_some() {
            let (learner, peers) = (elsewhere.clone(), peers.clone());
            tasks.spawn_until_stop(async move { learner.learn(peers, digests, refresh).await });
        }
        elsewhere
    }

    async fn learn(&self, peers: Peers, digests: Digests, refresh: Duration) {
        let mut retry = RETRY_MIN.min(refresh);
        // Once more after the first time: a version may have been on its way by the word before.
        let mut looks = 0;
        loop {
            let pause = match peers.buckets().await {
                Ok(buckets) => {
                    let buckets: BTreeSet<String> = buckets.into_iter().collect();
                    if self.set(&buckets) {
                        looks = 2;
                    }
                    if looks > 0 {
                        match digests.await_those_in(&buckets).await {
                            Ok(()) => looks -= 1,
                            Err(error) => {
                                tracing::warn!(%error, "versions without digests cannot be looked through")
                            }
                        }
                    }
                    retry = RETRY_MIN.min(refresh);
                    refresh
                }
                // What was said before still holds: a service that is away opens no new bucket.
                Err(error) => {
                    tracing::debug!(%error, "the buckets of the artifact service are asked for again");
                    retry = (retry * 2).min(refresh);
                    retry
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// These are the buckets. True if they were not before.
    fn set(&self, buckets: &BTreeSet<String>) -> bool {
        let now = (buckets.len() <= MAX_BUCKETS).then(|| buckets.clone());
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *known, now.clone()) != now
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
