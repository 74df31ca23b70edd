//! A turn per path among the tasks of this process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Locks that exist as long as somebody holds or awaits them.
#[derive(Clone, Default)]
pub(crate) struct PathLocks(Arc<Mutex<HashMap<String, Weak<AsyncMutex<()>>>>>);

impl PathLocks {
    /// Waits for the turn on a path; it ends when the guard is dropped.
    pub async fn lock(&self, key: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let known = locks.get(key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                if locks.len() >= 256 {
                    locks.retain(|_, lock| lock.strong_count() > 0);
                }
                let fresh = Arc::new(AsyncMutex::new(()));
                locks.insert(key.to_owned(), Arc::downgrade(&fresh));
                fresh
            })
        };
        lock.lock_owned().await
    }
}
