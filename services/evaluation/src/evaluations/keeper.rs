//! The record of a job at work: one writer at a time, each write under the lease.

use std::sync::Arc;

use lodeway_domain::{Result, evaluation::EvaluationRecord};
use lodeway_store::evaluation::{EvaluationStore as _, Lease};
use tokio::sync::Mutex;

use crate::Site;

/// Keeps a record as the job changes it.
pub(super) struct Keeper {
    site: Arc<Site>,
    lease: Lease,
    kept: Mutex<EvaluationRecord>,
    /// What changes often, to be written now and then.
    progress: std::sync::Mutex<EvaluationRecord>,
}

impl Keeper {
    pub(super) fn new(site: Arc<Site>, lease: Lease, record: EvaluationRecord) -> Self {
        Self {
            site,
            lease,
            progress: std::sync::Mutex::new(record.clone()),
            kept: Mutex::new(record),
        }
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The record as it is stored.
    pub(super) async fn record(&self) -> EvaluationRecord {
        self.kept.lock().await.clone()
    }

    /// Changes progress and usage; they are written with the next [`Keeper::save`] or [`Keeper::flush`].
    pub(super) fn note(&self, change: impl FnOnce(&mut EvaluationRecord)) {
        let mut progress = self
            .progress
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut progress);
    }

    fn noted(&self, record: &mut EvaluationRecord) {
        let progress = self
            .progress
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        record.progress = progress.progress;
        record.usage = progress.usage;
    }

    /// Changes the record and writes it. Errors: `Conflict` if the lease is lost.
    pub(super) async fn save(
        &self,
        report: Option<String>,
        change: impl FnOnce(&mut EvaluationRecord),
    ) -> Result<EvaluationRecord> {
        let mut kept = self.kept.lock().await;
        let mut next = kept.clone();
        self.noted(&mut next);
        change(&mut next);
        let now = self.site.clock.now();
        *kept = self
            .site
            .store
            .save_evaluation(&self.lease, next, report, now)
            .await?;
        Ok(kept.clone())
    }

    /// Writes progress if there is any. Errors: as [`Keeper::save`].
    pub(super) async fn flush(&self) -> Result<()> {
        let mut kept = self.kept.lock().await;
        let mut next = kept.clone();
        self.noted(&mut next);
        if next == *kept {
            return Ok(());
        }
        let now = self.site.clock.now();
        *kept = self
            .site
            .store
            .save_evaluation(&self.lease, next, None, now)
            .await?;
        Ok(())
    }
}
