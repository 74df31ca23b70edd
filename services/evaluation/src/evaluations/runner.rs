//! Takes jobs by lease and runs them, so many at a time as are allowed.

use std::{sync::Arc, time::Duration};

use lodeway_domain::{
    Error, Result,
    evaluation::{EvaluationRecord, EvaluationState},
    id,
};
use lodeway_store::evaluation::{EvaluationStore as _, Lease};
use tokio::sync::Semaphore;

use super::{job::Job, keeper::Keeper, record};
use crate::Site;

/// How long a replica has a job without a sign of life.
const LEASE: Duration = Duration::from_secs(10);
/// How often it gives one.
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// How often progress is written.
const FLUSH_EVERY: Duration = Duration::from_millis(300);
/// How often jobs are looked for that nobody tells of: those of a replica that died.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Attempts of a job on services that do not answer now.
const ATTEMPTS: u32 = 5;
/// How often, and for how long back, the log of changes is cut.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
const KEEP_CHANGES: Duration = Duration::from_secs(24 * 3_600);

/// Runs jobs until shutdown.
pub(super) fn start(site: Arc<Site>) {
    let tasks = site.tasks.clone();
    let pruned = site.clone();
    tasks.spawn_until_stop(async move {
        loop {
            tokio::time::sleep(PRUNE_EVERY).await;
            if let Err(error) = pruned.store.prune_changes(pruned.clock.now(), KEEP_CHANGES).await {
                tracing::warn!(%error, "old changes cannot be forgotten now");
            }
        }
    });
    tasks.spawn_until_stop(async move {
        let holder = id::new_hex();
        let slots = Arc::new(Semaphore::new(site.config.max_running.max(1)));
        let mut wakeups = site.store.wakeups();
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            wakeups.mark_unchanged();
            match site
                .store
                .lease_evaluations(&holder, site.clock.now(), LEASE, 1)
                .await
            {
                Ok(leased) => {
                    if let Some((lease, record)) = leased.into_iter().next() {
                        let site = site.clone();
                        site.tasks.clone().spawn(async move {
                            Box::pin(run(site, lease, record)).await;
                            drop(slot);
                        });
                        continue;
                    }
                }
                Err(error) => tracing::warn!(%error, "no evaluation can be taken now"),
            }
            drop(slot);
            // Whether it was woken or not: it looks.
            let _ = tokio::time::timeout(LOOK_EVERY, wakeups.changed()).await;
        }
    });
}

/// How a run of a job ended.
enum Ended {
    Done(Result<()>),
    /// Somebody asked it to stop.
    Cancelled,
    /// Another replica has it, or the process ends: nothing is to be written.
    Left,
}

async fn run(site: Arc<Site>, lease: Lease, record: EvaluationRecord) {
    let id = record.evaluation_id.clone();
    tracing::info!(evaluation.id = %id, "an evaluation begins");
    let keeper = Arc::new(Keeper::new(site.clone(), lease, record));
    let job = Job::new(site.clone(), keeper.clone());
    let ended = tokio::select! {
        done = patiently(&job) => Ended::Done(done),
        ended = watch(&site, &keeper) => ended,
        () = site.tasks.stopping() => Ended::Left,
    };
    job.stop();
    let goes_on = matches!(ended, Ended::Left | Ended::Done(Err(Error::Conflict(_))));
    let outcome = match ended {
        Ended::Done(Ok(())) => Ok(()),
        Ended::Done(Err(Error::Conflict(_))) => Ok(()),
        Ended::Done(Err(error)) => {
            if let Some(cause) = error.cause() {
                tracing::error!(evaluation.id = %id, %error, %cause, "an evaluation failed");
            }
            end(&site, &keeper, EvaluationState::Failed, error.to_string()).await
        }
        Ended::Cancelled => end(&site, &keeper, EvaluationState::Cancelled, String::new()).await,
        Ended::Left => site.store.release_lease(keeper.lease(), site.clock.now()).await,
    };
    job.clean().await;
    if !goes_on
        && outcome.is_ok()
        && let Err(error) = job.forget().await
    {
        tracing::warn!(evaluation.id = %id, %error, "answers that nobody needs any more stay");
    }
    match outcome {
        Ok(()) | Err(Error::Conflict(_)) => tracing::info!(evaluation.id = %id, "an evaluation is left"),
        Err(error) => {
            tracing::error!(evaluation.id = %id, %error, "how an evaluation ended cannot be written")
        }
    }
}

/// Runs the job, and again after a while where another service does not answer: what is kept is not done again.
async fn patiently(job: &Job) -> Result<()> {
    let mut pause = Duration::from_millis(500);
    for _ in 1..ATTEMPTS {
        match job.run().await {
            Err(error @ (Error::Unavailable { .. } | Error::DeadlineExceeded | Error::Exhausted { .. })) => {
                tracing::warn!(%error, "an evaluation is tried again");
                tokio::time::sleep(pause).await;
                pause *= 3;
            }
            other => return other,
        }
    }
    job.run().await
}

/// Renews the lease and writes progress; ends when the job is to end.
async fn watch(site: &Site, keeper: &Keeper) -> Ended {
    let mut wakeups = site.store.wakeups();
    let mut renew = tokio::time::interval(RENEW_EVERY);
    let mut flush = tokio::time::interval(FLUSH_EVERY);
    loop {
        let outcome = tokio::select! {
            _ = renew.tick() => renewed(site, keeper).await,
            _ = flush.tick() => {
                let woken = wakeups.has_changed().unwrap_or(false);
                wakeups.mark_unchanged();
                match keeper.flush().await {
                    // Somebody wrote something: perhaps a wish to stop.
                    Ok(()) if woken => renewed(site, keeper).await,
                    Ok(()) => Ok(false),
                    Err(error) => Err(error),
                }
            }
        };
        match outcome {
            Ok(true) => return Ended::Cancelled,
            Ok(false) => {}
            Err(Error::Conflict(_)) => return Ended::Left,
            // The lease may yet be renewed.
            Err(error) => tracing::warn!(%error, "a lease cannot be renewed now"),
        }
    }
}

async fn renewed(site: &Site, keeper: &Keeper) -> Result<bool> {
    let until = site.clock.now().plus(LEASE);
    site.store.renew_lease(keeper.lease(), until).await
}

/// Writes the end of a job that did not succeed, its run first.
async fn end(site: &Site, keeper: &Keeper, state: EvaluationState, error: String) -> Result<()> {
    let record = keeper.record().await;
    if let Err(error) = record::close_run(site, &record, state).await {
        tracing::warn!(%error, "the run of an evaluation cannot be closed");
    }
    let ended = site.clock.now();
    keeper
        .save(None, |record| {
            record.state = state;
            record.error = error;
            record.ended = Some(ended);
        })
        .await
        .map(drop)
}
