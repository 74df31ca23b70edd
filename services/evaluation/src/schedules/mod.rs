//! Schedules: evaluations of an endpoint's traffic again and again.
//!
//! A tour: `api` are the four calls, which the outcome service passes on; `convert` is wire and domain; `runner` takes
//! schedules by lease when a window has ended, and `window` turns the traffic of one into a dataset version and an
//! evaluation of it, which is an ordinary job.
//!
//! Once per window: who takes a schedule is told one window, and whoever takes it after a crash is told the same one. Its
//! dataset version and its evaluation have ids made of schedule and window, so that what was made is not made again.

mod api;
mod convert;
mod runner;
mod window;

use std::sync::Arc;

use lodeway_domain::{
    Result,
    error::Violations,
    evaluation::{EvaluationRecord, Schedule, ScheduleBaseline, ScheduleName},
    page::{Page, PageRequest},
};
use lodeway_proto::gateway::v1::QueryMonitorRequest;
use lodeway_rpc::{CallContext, status};
use lodeway_store::{evaluation::ScheduleStore as _, ledger::Write};

use crate::{
    Site,
    datasets::{Datasets, capture},
    evaluations::{self, Evaluations, files, present},
};

/// The use cases. Clones share them.
#[derive(Clone)]
pub(crate) struct Schedules {
    site: Arc<Site>,
    datasets: Datasets,
    evaluations: Evaluations,
}

/// A schedule beside the evaluation that ran last, as far as there is one.
struct Shown {
    schedule: Schedule,
    last: Option<EvaluationRecord>,
}

impl Schedules {
    /// Goes on with the schedules that there are.
    pub(crate) fn start(site: Arc<Site>, datasets: Datasets, evaluations: Evaluations) -> Self {
        let this = Self {
            site,
            datasets,
            evaluations,
        };
        runner::start(this.clone());
        this
    }

    /// Keeps a new schedule. Errors: `NOT_FOUND` for an endpoint or a baseline that there is not; `INVALID_FIELD` for a target of
    /// the endpoint and for each route, model or endpoint of a scorer that there is not, which nobody would see before the
    /// first window fails.
    async fn create(&self, cx: &CallContext, schedule: Schedule, write: Write) -> Result<Shown> {
        files::artifacts(&self.site)?;
        let request = QueryMonitorRequest {
            endpoint: schedule.endpoint.clone(),
            ..QueryMonitorRequest::default()
        };
        let known = capture::monitor(&self.site)?
            .query_monitor(cx.request(request))
            .await;
        let known = known.map_err(|s| status::into_error(&s))?.into_inner();
        let mut bad = Violations::new();
        if let Some(target) = &schedule.target
            // One that answered before may be gone from the revision and still have traffic.
            && !known.targets.iter().any(|one| one.target == *target)
        {
            let revision = present::revision(&self.site, cx, &schedule.endpoint).await?;
            if let Some(why) = present::unknown(target, &revision) {
                bad.add("schedule.target", why);
            }
        }
        present::scorers(&self.site, cx, &schedule.scorers, "schedule.scorers", &mut bad).await?;
        bad.finish()?;
        if let Some(ScheduleBaseline::Model(uri)) = &schedule.baseline {
            evaluations::resolve(&self.site, cx, uri).await?;
        }
        let schedule = self.site.store.create_schedule(write, schedule).await?;
        self.shown(schedule).await
    }

    async fn get(&self, cx: &CallContext, name: &ScheduleName) -> Result<Shown> {
        let schedule = self.site.store.schedule(&cx.caller.workspace, name).await?;
        self.shown(schedule).await
    }

    async fn list(
        &self,
        cx: &CallContext,
        endpoint: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<Shown>> {
        let workspace = &cx.caller.workspace;
        let Page { items, next } = self.site.store.schedules(workspace, endpoint, page).await?;
        let mut shown = Vec::with_capacity(items.len());
        for schedule in items {
            shown.push(self.shown(schedule).await?);
        }
        Ok(Page { items: shown, next })
    }

    async fn shown(&self, schedule: Schedule) -> Result<Shown> {
        let last = window::last_evaluation(&self.site, &schedule).await?;
        Ok(Shown { schedule, last })
    }
}
