//! One window of a schedule: its traffic becomes a dataset version, and an evaluation of it begins.

use lodeway_domain::{
    Caller, Error, Result,
    caller::Workspace,
    evaluation::{
        Baseline, EvaluationOptions, EvaluationRecord, EvaluationSpec, EvaluationState, Schedule,
        ScheduleBaseline, ScorerKind, Target, Threshold,
    },
    id::RequestId,
    time::Timestamp,
};
use lodeway_rpc::CallContext;
use lodeway_store::{
    evaluation::{DatasetStore as _, EvaluationStore as _, OldWindow, ScheduleStore as _},
    ledger::Write,
};
use sha2::{Digest as _, Sha256};

use super::Schedules;
use crate::{
    Site,
    datasets::capture::Wanted,
    evaluations::{convert::EXPERIMENT, files, record::request_id, render::time},
};

/// Windows that are removed at a time.
const MAX_PRUNED: usize = 100;

/// What came of a window.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// This evaluation began.
    Begun(String),
    /// The one before is at work: evaluations of a schedule do not pile up.
    Busy,
    /// It ended only just now: what belongs to it may still be on its way until then.
    Early(Timestamp),
}

/// Whether a model is asked, which needs the inputs of calls.
fn asks_model(schedule: &Schedule) -> bool {
    matches!(schedule.baseline, Some(ScheduleBaseline::Model(_)))
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

/// What the baseline of the next window is called: the last evaluation that succeeded, which one that did not succeed names.
fn before(last: Option<EvaluationRecord>) -> Option<String> {
    let last = last?;
    match (last.state, last.spec.baseline) {
        (EvaluationState::Succeeded, _) => Some(last.evaluation_id),
        (_, Some(Baseline::Earlier(id))) => Some(id),
        _ => None,
    }
}

/// What is demanded where there is nothing to compare with.
fn without_relative(threshold: &Threshold) -> Option<Threshold> {
    let absolute = Threshold {
        max_loss: None,
        max_relative_loss: None,
        ..threshold.clone()
    };
    (absolute.min.is_some() || absolute.max.is_some()).then_some(absolute)
}

/// What is measured on a version of the schedule's dataset; `before` is the evaluation of the window before.
pub(super) fn spec(schedule: &Schedule, version: i64, before: Option<String>) -> EvaluationSpec {
    let baseline = match &schedule.baseline {
        Some(ScheduleBaseline::Model(uri)) => Some(Baseline::Model(uri.clone())),
        Some(ScheduleBaseline::PreviousWindow) => before.map(Baseline::Earlier),
        None => None,
    };
    let thresholds = match &baseline {
        Some(_) => schedule.thresholds.clone(),
        None => schedule.thresholds.iter().filter_map(without_relative).collect(),
    };
    EvaluationSpec {
        name: schedule.name.as_str().to_owned(),
        dataset: format!("schedules/{}", schedule.name),
        dataset_version: Some(version).filter(|version| *version > 0),
        roles: schedule.roles.clone(),
        target: Target::Data,
        task: schedule.task,
        scorers: schedule.scorers.clone(),
        thresholds,
        baseline,
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
        // Never as long as an interval, or there would always be a window that ended only just now.
        let delay = self.site.config.window_delay.min(schedule.interval / 2);
        let settled = schedule.next.plus(delay);
        if self.site.clock.now() < settled {
            return Ok(Looked::Early(settled));
        }
        let last = last_evaluation(&self.site, schedule).await?;
        if last.as_ref().is_some_and(|last| !last.state.has_ended()) {
            return Ok(Looked::Busy);
        }
        let before = before(last);
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
        let needs_inputs = needs_texts(schedule) || asks_model(schedule);
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
            labelled_only: !needs_texts(schedule),
            with_unsampled: !needs_inputs,
            // So that it does not matter how late this is looked at.
            as_of: Some(end),
        };
        let version = self.datasets.capture(&cx, wanted, write("capture")?).await?;
        let spec = spec(schedule, version.version, before);
        let made = self
            .evaluations
            .create(&cx, spec, id.clone(), write("evaluation")?)
            .await;
        match made {
            Ok(_) | Err(Error::AlreadyExists(_)) => {}
            Err(error) => return Err(error),
        }
        // Best effort: the next window does it otherwise.
        if let Err(error) = self.prune(schedule, version.version).await {
            tracing::warn!(schedule.name = %schedule.name, %error, "old windows cannot be removed now");
        }
        Ok(Looked::Begun(id))
    }

    /// Removes what windows left before the newest ones that are kept.
    async fn prune(&self, schedule: &Schedule, newest: i64) -> Result<()> {
        let (store, workspace) = (&self.site.store, Workspace::parse(&schedule.workspace)?);
        let name = schedule.name.dataset()?;
        let below = newest - i64::from(schedule.keep_windows) + 1;
        let (mut after, mut pruned) = (0, 0);
        while pruned < MAX_PRUNED {
            let old = store
                .old_versions(&workspace, &name, after..below, MAX_PRUNED)
                .await?;
            let Some(last) = old.last() else { break };
            after = last.version;
            for version in old {
                // A version that somebody added is theirs.
                let Some(traffic) = &version.traffic else { continue };
                let evaluation_id = evaluation_id(schedule, traffic.end);
                let window = OldWindow {
                    workspace: workspace.clone(),
                    parts: files::location(&workspace, &evaluation_id),
                    evaluation_id,
                    name: name.clone(),
                    version: version.version,
                };
                pruned += usize::from(store.prune_window(window, self.site.clock.now()).await?);
            }
        }
        if pruned > 0 {
            self.datasets.sweep().await;
        }
        Ok(())
    }
}
