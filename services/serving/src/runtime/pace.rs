//! How long a model's runs take, which tells whether the next one may hold up others.

use std::{
    sync::atomic::{AtomicI32, Ordering},
    time::Duration,
};

/// A run that is not longer may be done on the thread that takes calls.
const QUICK: Duration = Duration::from_millis(1);
/// So many quick runs one after the other make a model quick.
const QUICK_AFTER: i32 = 3;
/// How many more it takes after a run that had to be stopped.
const DOUBT: i32 = 1_000;

/// What is known of a model's runs.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicI32);

impl Pace {
    /// Whether the next run will probably be quick.
    pub(super) fn is_quick(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= QUICK_AFTER
    }

    /// A run took so long.
    pub(super) fn note(&self, took: Duration) {
        let count = self.0.load(Ordering::Relaxed);
        // Of several at once one may be lost, which only delays what follows from it.
        if took > QUICK {
            self.0.store(count.min(0), Ordering::Relaxed);
        } else if count < QUICK_AFTER {
            self.0.store(count + 1, Ordering::Relaxed);
        }
    }

    /// A run that was thought to be quick was stopped.
    pub(super) fn note_stopped(&self) {
        self.0.store(-DOUBT, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_quick_after_a_few_quick_runs_and_until_a_slow_one() {
        let pace = Pace::default();
        let quick = Duration::from_micros(50);
        for _ in 0..QUICK_AFTER {
            assert!(!pace.is_quick());
            pace.note(quick);
        }
        assert!(pace.is_quick());
        pace.note(Duration::from_millis(2));
        assert!(!pace.is_quick());
        pace.note_stopped();
        for _ in 0..DOUBT + QUICK_AFTER {
            assert!(!pace.is_quick());
            pace.note(quick);
        }
        assert!(pace.is_quick());
    }
}
