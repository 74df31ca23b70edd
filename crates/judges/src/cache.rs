//! Answers kept by what was asked, so that a rerun is free and gives the same.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use lodeway_domain::Result;

use crate::Digest;

/// Answers by the digest of what was asked ([`crate::ChatRequest::key`]).
///
/// Bytes are opaque ([`crate::ChatAnswer::to_bytes`]); bytes that cannot be read count as not there. An error ends the
/// evaluation, for without its cache a rerun would cost again and could give something else.
#[async_trait]
pub trait AnswerCache: Send + Sync {
    /// The bytes under `key`.
    async fn get(&self, key: &Digest) -> Result<Option<Vec<u8>>>;

    /// Keeps `answer` under `key` unless there is one already; then that one stays and is given back, so that runs side by
    /// side go by the same answer. A cache with bounds may also keep nothing.
    async fn put(&self, key: &Digest, answer: &[u8]) -> Result<Option<Vec<u8>>>;
}

/// A cache in memory with a bound; the oldest answers go first.
#[derive(Debug)]
pub struct MemoryCache {
    max_bytes: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<Digest, Vec<u8>>,
    order: VecDeque<Digest>,
    bytes: usize,
}

impl MemoryCache {
    /// A cache that holds at most `max_bytes` of answers, keys not counted.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            kept: Mutex::default(),
        }
    }

    /// How many answers are held.
    pub fn len(&self) -> usize {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .answers
            .len()
    }

    /// None is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[async_trait]
impl AnswerCache for MemoryCache {
    async fn get(&self, key: &Digest) -> Result<Option<Vec<u8>>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.answers.get(key).cloned())
    }

    async fn put(&self, key: &Digest, answer: &[u8]) -> Result<Option<Vec<u8>>> {
        if answer.len() > self.max_bytes {
            return Ok(None);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = kept.answers.get(key) {
            return Ok(Some(earlier.clone()));
        }
        kept.answers.insert(*key, answer.to_vec());
        kept.order.push_back(*key);
        kept.bytes += answer.len();
        while kept.bytes > self.max_bytes {
            let Some(oldest) = kept.order.pop_front() else {
                break;
            };
            let freed = kept.answers.remove(&oldest).map_or(0, |answer| answer.len());
            kept.bytes -= freed;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_bound_holds_and_the_oldest_goes() {
        let cache = MemoryCache::new(10);
        let key = |n| Digest([n; 32]);
        for n in 0..4 {
            cache.put(&key(n), &[n; 4]).await.unwrap();
        }
        assert_eq!(cache.put(&key(9), &[9; 11]).await.unwrap(), None);
        assert_eq!(cache.put(&key(3), &[7; 4]).await.unwrap(), Some(vec![3; 4]));
        assert_eq!(cache.len(), 2);
        assert_eq!(cache.get(&key(1)).await.unwrap(), None);
        assert_eq!(cache.get(&key(3)).await.unwrap(), Some(vec![3; 4]));
        assert_eq!(cache.get(&key(9)).await.unwrap(), None);
    }
}
