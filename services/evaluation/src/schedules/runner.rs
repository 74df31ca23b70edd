//! Takes schedules by lease when a window has ended, a few at a time.

use std::{sync::Arc, time::Duration};

use lodeway_domain::{Error, Result, evaluation::Schedule};
use lodeway_store::evaluation::{ScheduleLease, ScheduleStore as _};
use tokio::sync::Semaphore;

use super::{Schedules, window::Looked};

/// How long a replica has a schedule without a sign of life.
const LEASE: Duration = Duration::from_secs(10);
/// How often it gives one.
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// How often windows are looked for that have ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Windows at a time.
const AT_ONCE: usize = 2;
/// How long a schedule waits for its evaluation before.
const BUSY_PAUSE: Duration = Duration::from_secs(5);
/// How long it waits for a service that does not answer.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// Looks at windows until shutdown. What is at work then is done again by who takes the schedule next.
pub(super) fn start(schedules: Schedules) {
    let tasks = schedules.site.tasks.clone();
    tasks.spawn_until_stop(async move {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            let site = &schedules.site;
            match site.store.take_schedules(site.clock.now(), LEASE, 1).await {
                Ok(taken) => {
                    if let Some((lease, schedule)) = taken.into_iter().next() {
                        let schedules = schedules.clone();
                        site.tasks.spawn_until_stop(async move {
                            Box::pin(schedules.run(lease, schedule)).await;
                            drop(slot);
                        });
                        continue;
                    }
                }
                Err(error) => tracing::warn!(%error, "no schedule can be taken now"),
            }
            drop(slot);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
}

/// Whether trying again can help.
fn is_passing(error: &Error) -> bool {
    matches!(
        error,
        Error::Unavailable { .. }
            | Error::DeadlineExceeded
            | Error::Conflict(_)
            | Error::Exhausted {
                retry_after: Some(_),
                ..
            }
    )
}

impl Schedules {
    async fn run(&self, lease: ScheduleLease, schedule: Schedule) {
        let looked = tokio::select! {
            looked = self.look(&schedule) => looked,
            () = self.hold(&lease) => {
                tracing::info!(schedule.name = %schedule.name, "a schedule is left");
                return;
            }
        };
        match self.end(&lease, &schedule, looked).await {
            // It was deleted, or somebody else has it.
            Ok(()) | Err(Error::Conflict(_)) => {}
            Err(error) => {
                tracing::error!(schedule.name = %schedule.name, %error, "what came of a window cannot be written");
            }
        }
    }

    /// Renews the lease; ends when it is lost.
    async fn hold(&self, lease: &ScheduleLease) {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            let until = self.site.clock.now().plus(LEASE);
            match self.site.store.renew_schedule(lease, until).await {
                Ok(()) => {}
                Err(Error::Conflict(_)) => return,
                // It may yet be renewed.
                Err(error) => tracing::warn!(%error, "the lease of a schedule cannot be renewed now"),
            }
        }
    }

    async fn end(&self, lease: &ScheduleLease, schedule: &Schedule, looked: Result<Looked>) -> Result<()> {
        let (store, now) = (&self.site.store, self.site.clock.now());
        match looked {
            Ok(Looked::Begun(id)) => {
                tracing::info!(schedule.name = %schedule.name, evaluation.id = %id, "a window is evaluated");
                store.finish_schedule(lease, Ok(id)).await.map(drop)
            }
            Ok(Looked::Busy) => {
                let until = now.plus(BUSY_PAUSE);
                store.postpone_schedule(lease, until, None).await
            }
            Ok(Looked::Early(until)) => store.postpone_schedule(lease, until, None).await,
            Err(error) if is_passing(&error) => {
                tracing::warn!(schedule.name = %schedule.name, %error, "a window is tried again");
                let until = now.plus(RETRY_PAUSE);
                store
                    .postpone_schedule(lease, until, Some(error.to_string()))
                    .await
            }
            Err(error) => {
                if let Some(cause) = error.cause() {
                    tracing::error!(schedule.name = %schedule.name, %error, %cause, "a window cannot be evaluated");
                }
                let why = Err(error.to_string());
                store.finish_schedule(lease, why).await.map(drop)
            }
        }
    }
}
