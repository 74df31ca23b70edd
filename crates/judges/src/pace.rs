//! What the rows under way know of each other: when the other side wants to be left alone, and who asks the same already.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, sleep_until},
};

use crate::Digest;

/// Shared by all rows of a run.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    quiet_until: Mutex<Option<Instant>>,
    asking: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

impl Pace {
    /// Waits as long as the other side wants to be left alone.
    pub(crate) async fn wait(&self) {
        loop {
            let until = *lock(&self.quiet_until);
            match until {
                Some(until) if until > Instant::now() => sleep_until(until).await,
                _ => return,
            }
        }
    }

    /// The other side wants to be left alone for `span`.
    pub(crate) fn quiet(&self, span: Duration) {
        let until = Instant::now() + span;
        let mut quiet = lock(&self.quiet_until);
        if quiet.is_none_or(|now| now < until) {
            *quiet = Some(until);
        }
    }

    /// Waits until nobody else asks the same; then the answer may be in the cache.
    pub(crate) async fn alone(self: &Arc<Self>, key: Digest) -> Alone {
        let turn = Arc::clone(lock(&self.asking).entry(key).or_default());
        Alone {
            pace: Arc::clone(self),
            key,
            turn: Some(turn.lock_owned().await),
        }
    }
}

/// Nobody else asks the same while this lives.
#[derive(Debug)]
pub(crate) struct Alone {
    pace: Arc<Pace>,
    key: Digest,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.turn = None;
        let mut asking = lock(&self.pace.asking);
        // The map holds one; who waits holds another, and takes it away later.
        if asking
            .get(&self.key)
            .is_some_and(|turn| Arc::strong_count(turn) == 1)
        {
            asking.remove(&self.key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
