//! One window of a schedule: its traffic becomes a dataset version, and an evaluation of it begins.

use lodeway_domain::{
    Caller, Error, Result,
    caller::Workspace,
    evaluation::{EvaluationOptions, EvaluationRecord, EvaluationSpec, Schedule, ScorerKind, Target},
    id::RequestId,
    time::Timestamp,
};
use lodeway_rpc::CallContext;
use lodeway_store::{evaluation::EvaluationStore as _, registry::Write};
use sha2::{Digest as _, Sha256};

use super::Schedules;
use crate::{
    Site,
    datasets::capture::Wanted,
    evaluations::{convert::EXPERIMENT, record::request_id, render::time},
};

/// What came of a window.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// This evaluation began.
    Begun(String),
    /// The one before is at work: evaluations of a schedule do not pile up.
    Busy,
}

/// The evaluation that ran last, if it is there.
pub(super) async fn last_evaluation(site: &Site, schedule: &Schedule) -> Result<Option<EvaluationRecord>> {
    if schedule.last_evaluation_id.is_empty() {
        return Ok(None);
    }
    let workspace = Workspace::parse(&schedule.workspace)?;
    match site
        .store
        .evaluation(&workspace, &schedule.last_evaluation_id)
        .await
    {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether there are scorers that need what was asked, and look at calls without an outcome too.
fn needs_texts(schedule: &Schedule) -> bool {
    schedule
        .scorers
        .iter()
        .any(|scorer| !matches!(scorer.kind, ScorerKind::Task { .. }))
}

/// What is measured on a version of the schedule's dataset.
pub(super) fn spec(schedule: &Schedule, version: i64) -> EvaluationSpec {
    EvaluationSpec {
        name: schedule.name.as_str().to_owned(),
        dataset: format!("schedules/{}", schedule.name),
        dataset_version: Some(version).filter(|version| *version > 0),
        roles: schedule.roles.clone(),
        target: Target::Data,
        task: schedule.task,
        scorers: schedule.scorers.clone(),
        thresholds: schedule.thresholds.clone(),
        baseline: None,
        options: EvaluationOptions {
            // Calls without a label are left out, however many they are.
            max_failed_share: 1.0,
            record_verdict: false,
            ..EvaluationOptions::default()
        },
        experiment: EXPERIMENT.to_owned(),
    }
}

/// The id of the evaluation of a window: always the same one.
fn evaluation_id(schedule: &Schedule, end: Timestamp) -> String {
    let hash = Sha256::digest(format!("{} {}", schedule.uid, end.millis()));
    let hex = hex::encode(hash);
    format!("e-{}", hex.get(..32).unwrap_or_default())
}

impl Schedules {
    /// Looks at the window that ends at `next` of the schedule. What was done for it before is not done again.
    pub(super) async fn look(&self, schedule: &Schedule) -> Result<Looked> {
        let last = last_evaluation(&self.site, schedule).await?;
        if last.is_some_and(|last| !last.state.has_ended()) {
            return Ok(Looked::Busy);
        }
        let cx = CallContext::new(Caller {
            principal: schedule.principal.clone(),
            verified: schedule.verified,
            workspace: Workspace::parse(&schedule.workspace)?,
        });
        let (start, end) = (schedule.start_of(schedule.next), schedule.next);
        let id = evaluation_id(schedule, end);
        let write = |step: &str| -> Result<Write> {
            Ok(Write {
                caller: (*cx.caller).clone(),
                now: self.site.clock.now(),
                request: RequestId::parse(&request_id(&id, step))?,
                body_hash: Sha256::digest(&id).to_vec(),
            })
        };
        let needs_texts = needs_texts(schedule);
        let wanted = Wanted {
            name: schedule.name.dataset()?,
            description: format!("calls from {} to {}", time(start), time(end)),
            endpoint: schedule.endpoint.clone(),
            target: schedule.target.clone(),
            model_version: None,
            start,
            end,
            max_rows: schedule.max_rows,
            sample_share: 0.0,
            seed: 0,
            labelled_only: !needs_texts,
            with_unsampled: !needs_texts,
        };
        let version = self.datasets.capture(&cx, wanted, write("capture")?).await?;
        let spec = spec(schedule, version.version);
        let made = self
            .evaluations
            .create(&cx, spec, id.clone(), write("evaluation")?)
            .await;
        match made {
            Ok(_) | Err(Error::AlreadyExists(_)) => Ok(Looked::Begun(id)),
            Err(error) => Err(error),
        }
    }
}
