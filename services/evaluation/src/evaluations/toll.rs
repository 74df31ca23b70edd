//! What the parts of a job together tell of a target.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use lodeway_domain::{Result, evaluation::Part};

use super::answered::{has_died, is_passing};

/// What all parts together tell of a target.
#[derive(Default)]
pub(super) struct Toll {
    known: Mutex<Known>,
    /// Held by the only call at a time while it is in doubt whether the target answers at all.
    pub(super) first: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(super) struct Known {
    /// Of the dataset.
    pub(super) rows: u64,
    /// Whether it has answered or refused anything in this job, and not only died.
    pub(super) works: bool,
    /// Whether a call has come back, in whatever way.
    was_asked: bool,
    /// Calls that ended its process.
    pub(super) deaths: u32,
    /// Rows of parts that are kept, and those found in parts under way.
    pub(super) tally: Tally,
}

impl Known {
    /// Whether more calls may only end more processes: none has come back, or none but such as ended one.
    fn is_in_doubt(&self) -> bool {
        !self.works && (!self.was_asked || self.deaths > 0)
    }
}

impl Toll {
    /// Waits for the turn of a call as long as it is in doubt whether the target answers: the calls of all parts at once would
    /// end a process each, and every restart takes longer.
    pub(super) async fn turn(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if !self.known().is_in_doubt() {
            return None;
        }
        let turn = self.first.lock().await;
        self.known().is_in_doubt().then_some(turn)
    }

    /// Notes how a call came back.
    pub(super) fn note<T>(&self, outcome: &Result<T>) {
        let mut known = self.known();
        known.was_asked = true;
        match outcome {
            Err(error) if has_died(error) => known.deaths += 1,
            Err(error) if is_passing(error) => {}
            _ => known.works = true,
        }
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what kept parts tell.
    pub(super) fn begin(&self, rows: u64, kept: &[&Part]) {
        let mut known = self.known();
        known.rows = rows;
        known.works = kept.iter().any(|part| part.failed_rows < part.rows);
        kept.iter().for_each(|part| known.tally.add(part));
    }
}

/// What failed so far.
#[derive(Clone, Default)]
pub(super) struct Tally {
    pub(super) failed: u64,
    reasons: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, part: &Part) {
        self.failed += part.failed_rows;
        for (why, count) in &part.failures {
            *self.reasons.entry(why.clone()).or_default() += count;
        }
    }

    pub(super) fn count(&mut self, why: &str, rows: u64) {
        self.failed += rows;
        *self.reasons.entry(why.to_owned()).or_default() += rows;
    }

    pub(super) fn most_frequent(&self, most: usize) -> impl Iterator<Item = (&String, u64)> {
        let mut all: Vec<_> = self.reasons.iter().map(|(why, count)| (why, *count)).collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all.into_iter().take(most)
    }
}
