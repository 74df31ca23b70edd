//! What is done about outcomes in the background: one replica at a time, by a lease.
//!
//! Nothing is in memory only. What is to be done stands in the database, so that a replica that takes the lease goes on
//! where another one ended; each write is refused once the lease is somebody else's. Telling the gateway twice does no
//! harm: it keeps the metric whose window ended last.

use std::time::Duration;

use lodeway_domain::{Error, Result, id};
use lodeway_store::evaluation::LiveStore as _;

use super::Outcomes;

/// How long a replica has the work without a sign of life.
const LEASE: Duration = Duration::from_secs(30);
/// How often it is looked whether there is something to do: about as often as the gateway is told, between these.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

impl Outcomes {
    /// Works until shutdown; nothing without a gateway.
    pub(super) fn begin_keeping(&self) {
        if self.site.peers.gateway.is_none() {
            return;
        }
        let this = self.clone();
        self.site.tasks.spawn_until_stop(async move {
            let holder = id::new_hex();
            let (least, most) = LOOK_EVERY;
            let look_every = this.site.config.live_delay.clamp(least, most);
            loop {
                let pause = match this.work(&holder).await {
                    // There may be more.
                    Ok(true) => continue,
                    Ok(false) => look_every,
                    Err(Error::Conflict(_)) => {
                        tracing::info!("another replica works on outcomes now");
                        look_every
                    }
                    Err(error) => {
                        tracing::warn!(%error, "nothing can be done about outcomes now");
                        look_every.saturating_mul(10)
                    }
                };
                tokio::time::sleep(pause).await;
            }
        });
    }

    /// Does what is due, a bounded part at a time; whether there was something.
    async fn work(&self, holder: &str) -> Result<bool> {
        let (store, clock) = (&self.site.store, &self.site.clock);
        let now = clock.now();
        // Whoever has nothing to do needs no lease, and writes nothing.
        let is_idle = store.pending_outcomes(now, 1).await?.is_empty()
            && store.live_endpoints(now, 1).await?.is_empty();
        if is_idle {
            return Ok(false);
        }
        let Some(lease) = store.keep_live(holder, now, LEASE).await? else {
            return Ok(false);
        };
        // A gateway that finds nothing now does not keep others from being told.
        let joined = self.join_due(lease).await;
        let told = match store.keep_live(holder, clock.now(), LEASE).await? {
            Some(lease) => self.tell_due(lease).await?,
            None => false,
        };
        Ok(joined? || told)
    }
}
