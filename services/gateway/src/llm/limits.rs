//! How much of a route may be used in this process: a place among the calls at work, a bounded queue before it, and
//! token buckets for calls and tokens a minute.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lodeway_domain::{
    Error, Result,
    llm::{Bucket, LlmLimits},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::RouteKey;

/// The limits of every route that was called. As many entries as routes: a deleted route's is forgotten with it, or with
/// this process if another one deleted it.
#[derive(Default)]
pub(super) struct Limiters(Mutex<HashMap<RouteKey, Arc<Limiter>>>);

impl Limiters {
    /// The limiter of a route; a fresh one if its limits were changed.
    pub(super) fn of(&self, key: RouteKey, limits: LlmLimits) -> Arc<Limiter> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(&key).filter(|known| known.limits == limits);
        if let Some(known) = known {
            return known.clone();
        }
        let fresh = Arc::new(Limiter::new(limits));
        all.insert(key, fresh.clone());
        fresh
    }

    pub(super) fn forget(&self, key: &RouteKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// The limits of one route.
pub(super) struct Limiter {
    limits: LlmLimits,
    begun: Instant,
    places: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    rates: Mutex<Rates>,
}

struct Rates {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

/// A place among the calls at work, given back when dropped.
pub(super) struct Place {
    limiter: Arc<Limiter>,
    _permit: OwnedSemaphorePermit,
}

impl Limiter {
    fn new(limits: LlmLimits) -> Self {
        let size = |n: u32| Arc::new(Semaphore::new(usize::try_from(n).unwrap_or(usize::MAX >> 4)));
        let bucket = |per_minute: Option<u32>| per_minute.map(|n| Bucket::full(n, Duration::ZERO));
        Self {
            limits,
            begun: Instant::now(),
            places: size(limits.max_concurrency),
            queue: size(limits.max_queued),
            rates: Mutex::new(Rates {
                requests: bucket(limits.requests_per_minute),
                tokens: bucket(limits.tokens_per_minute),
            }),
        }
    }

    /// A place, once there is one. Errors: `LIMIT_EXCEEDED` with a delay; `DEADLINE_PASSED` in the queue.
    pub(super) async fn enter(self: &Arc<Self>, name: &str, deadline: Instant) -> Result<Place> {
        // The rate comes first: a call that is refused must not have waited.
        self.take_rate(name)?;
        let permit = match self.places.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let Ok(_waiting) = self.queue.clone().try_acquire_owned() else {
                    return Err(Error::Exhausted {
                        message: format!(
                            "route `{name}` has {} calls at work and {} waiting",
                            self.limits.max_concurrency, self.limits.max_queued
                        ),
                        retry_after: Some(Duration::from_secs(1)),
                    });
                };
                let place = timeout_at(deadline, self.places.clone().acquire_owned()).await;
                place
                    .map_err(|_| Error::DeadlineExceeded)?
                    .map_err(Error::internal)?
            }
        };
        Ok(Place {
            limiter: self.clone(),
            _permit: permit,
        })
    }

    fn take_rate(&self, name: &str) -> Result<()> {
        let now = self.begun.elapsed();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |what: &str, limit: Option<u32>, wait: Duration| Error::Exhausted {
            message: format!(
                "route `{name}` allows {} {what} a minute; try again in {:.1} s",
                limit.unwrap_or_default(),
                wait.as_secs_f64()
            ),
            retry_after: Some(wait),
        };
        // Tokens are known afterwards; a call may begin while any are left.
        if let Some(tokens) = &mut rates.tokens {
            let wait = tokens.wait_for(1.0, now);
            if !wait.is_zero() {
                return Err(over("tokens", self.limits.tokens_per_minute, wait));
            }
        }
        if let Some(requests) = &mut rates.requests {
            let wait = requests.wait_for(1.0, now);
            if !wait.is_zero() {
                return Err(over("calls", self.limits.requests_per_minute, wait));
            }
            requests.take(1.0, now);
        }
        Ok(())
    }
}

impl Place {
    /// Counts the tokens of an answer.
    pub(super) fn used(&self, tokens: u64) {
        let now = self.limiter.begun.elapsed();
        let mut rates = self.limiter.rates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = &mut rates.tokens {
            bucket.take(tokens as f64, now);
        }
    }
}
