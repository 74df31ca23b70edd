//! What the rows under way know of each other: when the other side wants to be left alone, how many it bears at once, and
//! who asks the same already.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedMutexGuard},
    time::{Instant, sleep_until},
};

use crate::Digest;

/// The pace of each model: one that turns calls away does not hold back the others.
#[derive(Debug)]
pub(crate) struct Paces {
    pub(crate) chat: Arc<Pace>,
    pub(crate) embed: Pace,
    pub(crate) classify: Pace,
}

impl Paces {
    /// Windows of `most` calls.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            chat: Arc::new(Pace::new(most)),
            embed: Pace::new(most),
            classify: Pace::new(most),
        }
    }
}

/// The pace of one model, shared by all rows of a run.
#[derive(Debug)]
pub(crate) struct Pace {
    window: Mutex<Window>,
    changed: Notify,
    asking: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

/// Halved by a rate limit or calls that took too long, and widened by one for each windowful of answers, as TCP's congestion
/// window is (RFC 5681).
#[derive(Debug)]
struct Window {
    size: f64,
    most: f64,
    under_way: usize,
    answers: u64,
    quiet_until: Option<Instant>,
    /// When calls that took too long halved it last.
    narrowed: Option<Instant>,
}

impl Window {
    fn halve(&mut self) {
        self.size = (self.size / 2.0).max(1.0);
    }
}

impl Pace {
    /// A window of `most` calls at once to begin with, and never more.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        Self {
            window: Mutex::new(Window {
                size: most,
                most,
                under_way: 0,
                answers: 0,
                quiet_until: None,
                narrowed: None,
            }),
            changed: Notify::new(),
            asking: Mutex::default(),
        }
    }

    /// Waits as long as the other side wants to be left alone, and for room in the window.
    pub(crate) async fn slot(&self) -> Slot<'_> {
        loop {
            let changed = self.changed.notified();
            let until = {
                let mut window = lock(&self.window);
                let quiet_until = window.quiet_until.filter(|until| *until > Instant::now());
                if quiet_until.is_none() && window.under_way < window.size as usize {
                    window.under_way += 1;
                    return Slot {
                        pace: self,
                        begun: Instant::now(),
                        has_company: window.under_way > 1,
                    };
                }
                quiet_until
            };
            match until {
                Some(until) => sleep_until(until).await,
                None => changed.await,
            }
        }
    }

    /// The other side answered.
    pub(crate) fn answered(&self) {
        let mut window = lock(&self.window);
        window.answers += 1;
        window.size = (window.size + 1.0 / window.size).min(window.most);
    }

    /// How many answers there were so far: more than before means that asking again is of use.
    pub(crate) fn answers(&self) -> u64 {
        lock(&self.window).answers
    }

    /// The other side wants to be left alone for `span`. Calls that it turned away together halve the window once.
    pub(crate) fn quiet(&self, span: Duration) {
        let now = Instant::now();
        let mut window = lock(&self.window);
        if window.quiet_until.is_none_or(|until| until <= now) {
            window.halve();
        }
        window.quiet_until = window.quiet_until.max(Some(now + span));
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

/// Room in the window for one call.
#[derive(Debug)]
pub(crate) struct Slot<'a> {
    pace: &'a Pace,
    begun: Instant,
    /// Whether others were under way when it began.
    has_company: bool,
}

impl Slot<'_> {
    /// The call took too long. True if it may have waited for others of ours: the other side may work on one at a time.
    /// Calls that began together halve the window once.
    pub(crate) fn late(&self) -> bool {
        let mut window = lock(&self.pace.window);
        let has_company = self.has_company || window.under_way > 1;
        if has_company && window.narrowed.is_none_or(|at| at <= self.begun) {
            window.halve();
            window.narrowed = Some(Instant::now());
        }
        has_company
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        lock(&self.pace.window).under_way -= 1;
        self.pace.changed.notify_waiters();
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
