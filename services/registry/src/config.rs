//! Settings of the registry.

use std::time::Duration;

/// How long things may take; the default suits a server.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// How long creating a version waits for tracking to know of it; afterwards the message goes on in the background.
    pub delivery_wait: Duration,
    /// How often messages that did not arrive are looked for while there are some.
    pub outbox_poll: Duration,
    /// How often messages of other, dead processes are looked for.
    pub outbox_idle_poll: Duration,
    /// How often the artifact service is asked in which buckets it opens files.
    pub bucket_poll: Duration,
    /// How long a promotion waits for the comparison of digests.
    pub digest_wait: Duration,
    /// How long changes are kept for watchers that come back.
    pub change_retention: Duration,
    /// How often watchers look for changes even if nothing wakes them.
    pub watch_poll: Duration,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            delivery_wait: Duration::from_secs(1),
            outbox_poll: Duration::from_secs(1),
            outbox_idle_poll: Duration::from_secs(30),
            bucket_poll: Duration::from_secs(5),
            digest_wait: Duration::from_secs(2),
            change_retention: Duration::from_secs(7 * 24 * 3600),
            watch_poll: Duration::from_secs(5),
        }
    }
}
