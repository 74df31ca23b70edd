//! Rollouts: the controller that carries out what the domain decides.
//!
//! One replica decides at a time: it holds a lease in the store, and every step is compare-and-set on the rollout and, in
//! the same transaction, on the endpoint's revision. So a controller that was cut off changes nothing, and the next one
//! goes on from the state that is written, whatever step that is.

mod complete;
mod observe;
mod record;

use std::time::Duration;

use lodeway_domain::{
    Error, Reason, Resource, ResourceKind, Result,
    caller::Workspace,
    page::{Page, PageRequest},
    registry::{AliasName, Stage},
    serving::{
        Decision, EndpointName, Observation, Revision, RevisionReason, Rollout, RolloutEvent, RolloutId,
        RolloutPlan, RolloutSpec, RolloutState, RolloutStatus, Stats, Target, decide, step_spec,
    },
    time::Timestamp,
};
use lodeway_rpc::{CallContext, Repeat};
use lodeway_store::{
    gateway::{EndpointRecord, NewRevision, Resolution, RolloutRecord, RolloutStep},
    ledger::Write,
};
use serde::{Deserialize, Serialize};

use self::{
    complete::{is_final, of_version},
    record::{author, describe},
};
use super::{Endpoints, manage::fits, table::Ready};

/// How long a candidate may take to get ready.
const CANDIDATE_WAIT: Duration = Duration::from_secs(60);
/// How long a target from before may take to get ready once more, so that traffic goes back to it.
const BASE_WAIT: Duration = Duration::from_secs(5);
/// How often a person's word is tried while others write.
const ATTEMPTS: usize = 20;
/// Events of a rollout that are kept.
const MAX_EVENTS: usize = 200;

/// What is asked of the registry at the end, before the version is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Completion {
    /// Move the version to this stage.
    Stage(Stage),
    /// Point this alias to the version.
    Alias(AliasName),
}

/// A rollout as it is stored: the domain's, and what happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) rollout: Rollout,
    pub(crate) endpoint_name: EndpointName,
    pub(crate) current_revision: u32,
    /// The last step in which the baseline had calls, before the one that gives the candidate everything if there is one.
    baseline: Option<Baseline>,
    /// What was seen last.
    pub(crate) observation: Observation,
    pub(crate) holds: String,
    pub(crate) events: Vec<(Timestamp, String)>,
}

/// What the candidate is compared with once it gets everything.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Baseline {
    /// The baseline's figures.
    stats: Stats,
    /// The revision in which it had them.
    revision: u32,
    /// When that began.
    since: Timestamp,
}

/// A stored rollout with what its next step must match.
pub(crate) struct Standing {
    pub(crate) stored: Stored,
    record: RolloutRecord,
}

impl Standing {
    fn read(record: RolloutRecord) -> Result<Self> {
        let stored = serde_json::from_str(&record.body).map_err(Error::internal)?;
        Ok(Self { stored, record })
    }
}

impl Endpoints {
    /// Begins a rollout once its candidate is ready.
    pub(crate) async fn start_rollout(
        &self,
        cx: &CallContext,
        name: &EndpointName,
        candidate: Target,
        (spec, completion): (RolloutSpec, Option<Completion>),
        comment: String,
        repeat: Repeat,
    ) -> Result<Stored> {
        let record = self.get(cx, name).await?;
        let now = self.0.clock.now();
        let ready = self
            .ready_or_known(cx, (&record, &record.revision), &candidate, CANDIDATE_WAIT)
            .await?;
        fits(&record, std::slice::from_ref(&ready))?;
        let on_success = completion
            .map(|completion| of_version(completion, &ready))
            .transpose()?;
        let plan = RolloutPlan::new(RolloutSpec { on_success, ..spec })?;
        // What cannot be done at some step is refused now.
        for step in plan.steps() {
            step_spec(&record.revision, &candidate, step.kind)?;
        }
        let rollout = Rollout {
            id: RolloutId::generate(),
            endpoint: record.endpoint.uid.clone(),
            base_revision: record.revision.number,
            candidate,
            plan,
            state: RolloutState::begin(now),
            created: now,
            principal: cx.caller.principal.clone(),
            principal_verified: cx.caller.verified,
            comment,
        };
        let stored = Stored {
            endpoint_name: name.clone(),
            current_revision: record.revision.number,
            baseline: None,
            observation: Observation::default(),
            holds: String::new(),
            events: vec![(now, format!("begun by `{}`", cx.caller.principal))],
            rollout,
        };
        let new = RolloutRecord {
            rollout_id: stored.rollout.id.to_string(),
            key: record.endpoint.uid.key(),
            workspace: cx.caller.workspace.as_str().to_owned(),
            body: serde_json::to_string(&stored).map_err(Error::internal)?,
            version: 0,
            is_open: true,
            created: now,
        };
        let kept = self
            .0
            .store
            .start_rollout(self.write(&cx.caller, repeat), new)
            .await?;
        Ok(Standing::read(kept)?.stored)
    }

    pub(crate) async fn get_rollout(&self, cx: &CallContext, id: &str) -> Result<Stored> {
        let record = self.0.store.rollout(&cx.caller.workspace, id).await?;
        Ok(Standing::read(record)?.stored)
    }

    pub(crate) async fn list_rollouts(
        &self,
        cx: &CallContext,
        of: Option<&EndpointName>,
        page: &PageRequest,
    ) -> Result<Page<Stored>> {
        let key = match of {
            Some(name) => Some(self.get(cx, name).await?.endpoint.uid.key()),
            None => None,
        };
        let found = self.0.store.rollouts(&cx.caller.workspace, key, page).await?;
        let items = found
            .items
            .into_iter()
            .map(|record| Ok(Standing::read(record)?.stored));
        Ok(Page {
            items: items.collect::<Result<_>>()?,
            next: found.next,
        })
    }

    pub(crate) async fn pause_rollout(&self, cx: &CallContext, id: &str, comment: String) -> Result<Stored> {
        let by = cx.caller.principal.clone();
        // A step whose traffic is not set yet cannot be held; so it is set now, as the controller would do next.
        let standing = Standing::read(self.0.store.rollout(&cx.caller.workspace, id).await?)?;
        if is_entering(&standing.stored) {
            match self.drive(standing, None).await {
                Ok(()) | Err(Error::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
            let stored = self.get_rollout(cx, id).await?;
            if is_entering(&stored) {
                let why = format!(
                    "a rollout whose step has no traffic yet cannot be paused: {}; abort it, or pause it later",
                    stored.holds
                );
                return Err(Error::precondition(Reason::RolloutState, why, Vec::new()));
            }
        }
        self.by_a_person(cx, id, RolloutEvent::Pause { by, comment })
            .await
    }

    pub(crate) async fn resume_rollout(&self, cx: &CallContext, id: &str, comment: String) -> Result<Stored> {
        let by = cx.caller.principal.clone();
        self.by_a_person(cx, id, RolloutEvent::Resume { by, comment })
            .await
    }

    /// Gives the traffic back at once.
    pub(crate) async fn abort_rollout(&self, cx: &CallContext, id: &str, comment: String) -> Result<Stored> {
        let by = cx.caller.principal.clone();
        let stored = self
            .by_a_person(cx, id, RolloutEvent::Abort { by, comment })
            .await?;
        // The controller would do it a moment later; a person who aborts is not kept waiting.
        let standing = Standing::read(self.0.store.rollout(&cx.caller.workspace, id).await?)?;
        match self.drive(standing, None).await {
            Ok(()) => self.get_rollout(cx, id).await,
            Err(error) => {
                tracing::warn!(%error, rollout.id = id, "an aborted rollout is restored by the controller");
                Ok(stored)
            }
        }
    }

    /// The controller writes again and again what it sees, so what a person wants is tried against each state it leaves.
    async fn by_a_person(&self, cx: &CallContext, id: &str, event: RolloutEvent) -> Result<Stored> {
        for _ in 0..ATTEMPTS {
            let standing = Standing::read(self.0.store.rollout(&cx.caller.workspace, id).await?)?;
            let now = self.0.clock.now();
            match self.step(standing, event.clone(), None, None, now).await {
                Err(Error::Conflict(_)) => {}
                done => return done.map(|standing| standing.stored),
            }
        }
        Err(Error::Conflict(Resource::new(ResourceKind::Rollout, id)))
    }

    /// Looks at rollouts again and again.
    pub(crate) fn begin_rollouts(&self) {
        let this = self.clone();
        self.0.tasks.spawn_until_stop(async move {
            loop {
                tokio::time::sleep(this.0.config.rollout_every).await;
                if let Err(error) = this.look_at_rollouts().await {
                    tracing::warn!(%error, "rollouts cannot be looked at");
                }
            }
        });
    }

    /// One look at every rollout that this replica may decide.
    pub(crate) async fn look_at_rollouts(&self) -> Result<()> {
        let lease = (self.0.config.rollout_every * 10).max(Duration::from_secs(10));
        let holder = self.0.config.replica.clone();
        let now = self.0.clock.now();
        for record in self.0.store.lease_rollouts(&holder, now, lease).await? {
            let id = record.rollout_id.clone();
            let outcome = match Standing::read(record) {
                Ok(standing) => self.drive(standing, Some(&holder)).await,
                Err(error) => Err(error),
            };
            match outcome {
                // Somebody else was faster; the next look sees what they did.
                Ok(()) | Err(Error::Conflict(_)) => {}
                Err(error) => {
                    tracing::warn!(rollout.id = id, %error, cause = ?error.cause(), "a rollout holds")
                }
            }
        }
        Ok(())
    }

    /// Does what the state of a rollout asks for, once.
    async fn drive(&self, mut standing: Standing, holder: Option<&str>) -> Result<()> {
        let now = self.0.clock.now();
        let plan = standing.stored.rollout.plan.clone();
        match standing.stored.rollout.state.status.clone() {
            RolloutStatus::Entering { step } => {
                let kind = plan.step(step).map(|step| step.kind);
                let kind = kind
                    .ok_or_else(|| Error::internal("a rollout is at a step that its plan does not have"))?;
                let (record, base) = self.revisions_of(&standing).await?;
                let reason = RevisionReason::RolloutStep {
                    rollout: standing.stored.rollout.id.clone(),
                    step,
                };
                if record.revision.reason == reason {
                    return self
                        .step(standing, RolloutEvent::Published, None, holder, now)
                        .await
                        .map(drop);
                }
                let spec = step_spec(&base, &standing.stored.rollout.candidate, kind)?;
                let next = spec.following(&record.revision, author(&standing.stored.rollout, now, reason))?;
                let ready = match self.step_targets(&standing, (&record, &next)).await {
                    Ok(ready) => (ready, Vec::new()),
                    Err(error) => {
                        tracing::warn!(rollout.id = %standing.stored.rollout.id, %error, "a rollout holds");
                        standing.stored.holds = error.to_string();
                        return self.note(standing, holder, now).await;
                    }
                };
                self.publish_step(standing, RolloutEvent::Published, next, ready, holder, now)
                    .await
            }
            RolloutStatus::RollingBack { .. } => {
                let (record, base) = self.revisions_of(&standing).await?;
                let reason = RevisionReason::RolloutRestored {
                    rollout: standing.stored.rollout.id.clone(),
                    to: base.number,
                };
                if record.revision.number == base.number || record.revision.reason == reason {
                    return self
                        .step(standing, RolloutEvent::Restored, None, holder, now)
                        .await
                        .map(drop);
                }
                let next = record
                    .revision
                    .restore(&base, author(&standing.stored.rollout, now, reason))?;
                let ready = self.base_targets(&standing, &record, &next).await?;
                self.publish_step(standing, RolloutEvent::Restored, next, ready, holder, now)
                    .await
            }
            RolloutStatus::Completing => match self.complete(&standing).await {
                Ok(()) => match self.following_again(&standing, now).await? {
                    Some((next, ready)) => {
                        let targets = (ready, Vec::new());
                        self.publish_step(standing, RolloutEvent::Finished, next, targets, holder, now)
                            .await
                    }
                    None => self
                        .step(standing, RolloutEvent::Finished, None, holder, now)
                        .await
                        .map(drop),
                },
                Err(error) if is_final(&error) => {
                    let why = error.to_string();
                    let event = RolloutEvent::CompletionRefused { why };
                    self.step(standing, event, None, holder, now).await.map(drop)
                }
                // Somebody else was faster.
                Err(error @ Error::Conflict(_)) => Err(error),
                Err(error) => {
                    tracing::warn!(rollout.id = %standing.stored.rollout.id, %error, "a rollout waits for the registry");
                    standing.stored.holds = error.to_string();
                    self.note(standing, holder, now).await
                }
            },
            RolloutStatus::Running { since, .. } | RolloutStatus::Paused { since, .. } => {
                let observation = self.observe(&mut standing, since, now).await?;
                standing.stored.observation = observation;
                match decide(
                    &plan,
                    &standing.stored.rollout.state,
                    now,
                    &standing.stored.observation,
                ) {
                    Decision::Hold { why } => {
                        standing.stored.holds = why.to_string();
                        self.note(standing, holder, now).await
                    }
                    decision => match decision.event() {
                        Some(event) => {
                            let next = self.step(standing, event, None, holder, now).await?;
                            // What follows is done at once: a broken guard must not wait for the next look.
                            Box::pin(self.drive(next, holder)).await
                        }
                        None => Ok(()),
                    },
                }
            }
            RolloutStatus::RolledBack { .. } | RolloutStatus::Completed | RolloutStatus::Aborted { .. } => {
                Ok(())
            }
        }
    }

    /// The endpoint as it stands, and the revision that the rollout began with.
    async fn revisions_of(&self, standing: &Standing) -> Result<(EndpointRecord, Revision)> {
        let workspace = Workspace::parse(&standing.record.workspace)?;
        let record = self
            .0
            .store
            .endpoint(&workspace, &standing.stored.endpoint_name)
            .await?;
        let base = self
            .0
            .store
            .revision(standing.record.key, standing.stored.rollout.base_revision)
            .await?;
        Ok((record, base))
    }

    /// The targets of a step. What answers calls now goes on as it is; what gets its first calls must be ready.
    async fn step_targets(
        &self,
        standing: &Standing,
        (record, revision): (&EndpointRecord, &Revision),
    ) -> Result<Vec<Ready>> {
        let workspace = Workspace::parse(&standing.record.workspace)?;
        let cx = super::own_context(&workspace);
        let each = revision.targets.iter().map(async |target| {
            if let Some(ready) = self.serving_now(&workspace, standing, revision, target) {
                return Ok(ready);
            }
            self.ready_or_known(&cx, (record, revision), target, CANDIDATE_WAIT)
                .await
        });
        futures::future::try_join_all(each).await
    }

    /// The targets of the way back, those that are ready: one that is not, perhaps without any traffic, must not keep
    /// calls at a candidate that failed.
    async fn base_targets(
        &self,
        standing: &Standing,
        record: &EndpointRecord,
        revision: &Revision,
    ) -> Result<(Vec<Ready>, Vec<Resolution>)> {
        let workspace = Workspace::parse(&standing.record.workspace)?;
        let cx = super::own_context(&workspace);
        let each = revision.targets.iter().map(async |target| {
            match self.serving_now(&workspace, standing, revision, target) {
                Some(ready) => Ok(ready),
                None => {
                    self.ready(&cx, revision.number, target, revision.created, BASE_WAIT)
                        .await
                }
            }
        });
        let mut found = (Vec::new(), Vec::new());
        for (target, outcome) in revision.targets.iter().zip(futures::future::join_all(each).await) {
            match outcome {
                Ok(ready) => found.0.push(ready),
                Err(error) => {
                    tracing::warn!(target = %target.name, %error, "a target is not ready that gets its traffic back");
                    // It means what it meant, so that it is found again when it is back.
                    let meant = record
                        .resolutions
                        .iter()
                        .find(|known| known.target == target.name);
                    found.1.extend(meant.map(|known| Resolution {
                        revision: revision.number,
                        from: revision.created,
                        ..known.clone()
                    }));
                }
            }
        }
        Ok(found)
    }

    /// A target that answers calls of this gateway now, as one of the next revision.
    fn serving_now(
        &self,
        workspace: &Workspace,
        standing: &Standing,
        revision: &Revision,
        target: &Target,
    ) -> Option<Ready> {
        let route = self
            .0
            .table
            .find(workspace, standing.stored.endpoint_name.as_str())
            .ok()?;
        let same = route.targets.iter().find(|route| route.target == *target);
        let ready = same.filter(|_| route.key == standing.record.key)?.callable()?;
        Some(Ready {
            of: target.clone(),
            resolution: Resolution {
                revision: revision.number,
                from: revision.created,
                ..ready.resolution.clone()
            },
            upstream: ready.upstream.clone(),
            signature: ready.signature.clone(),
            profile: ready.profile.clone(),
            standing: ready.standing.clone(),
        })
    }

    async fn publish_step(
        &self,
        standing: Standing,
        event: RolloutEvent,
        revision: Revision,
        (ready, others): (Vec<Ready>, Vec<Resolution>),
        holder: Option<&str>,
        now: Timestamp,
    ) -> Result<()> {
        let workspace = Workspace::parse(&standing.record.workspace)?;
        let resolutions = ready.iter().map(|one| one.resolution.clone());
        let new = NewRevision {
            key: standing.record.key,
            revision,
            resolutions: resolutions.chain(others).collect(),
        };
        let name = standing.stored.endpoint_name.clone();
        self.step(standing, event, Some(new), holder, now).await?;
        let record = self.0.store.endpoint(&workspace, &name).await?;
        self.publish(&workspace, record, ready).await;
        Ok(())
    }

    /// Applies an event and writes the new state, with the revision that goes with it.
    async fn step(
        &self,
        mut standing: Standing,
        event: RolloutEvent,
        revision: Option<NewRevision>,
        holder: Option<&str>,
        now: Timestamp,
    ) -> Result<Standing> {
        let stored = &mut standing.stored;
        let what = describe(&event);
        let next = stored
            .rollout
            .state
            .apply(&stored.rollout.plan, event, now)
            .map_err(|illegal| Error::precondition(Reason::RolloutState, illegal.to_string(), Vec::new()))?;
        stored.rollout.state = next;
        stored.holds.clear();
        if let Some(new) = &revision {
            stored.current_revision = new.revision.number;
        }
        stored.events.push((now, what.clone()));
        let surplus = stored.events.len().saturating_sub(MAX_EVENTS);
        stored.events.drain(..surplus);
        let message = format!("rollout {}: {what}", stored.rollout.id);
        self.tell(
            standing.record.key,
            &stored.rollout.candidate.name,
            "rollout",
            message,
        );
        let is_open = !stored.rollout.state.status.is_ended();
        self.keep(standing, is_open, revision, holder, now).await
    }

    /// Writes down what was seen, without a move.
    async fn note(&self, standing: Standing, holder: Option<&str>, now: Timestamp) -> Result<()> {
        self.keep(standing, true, None, holder, now).await.map(drop)
    }

    async fn keep(
        &self,
        standing: Standing,
        is_open: bool,
        revision: Option<NewRevision>,
        holder: Option<&str>,
        now: Timestamp,
    ) -> Result<Standing> {
        let workspace = Workspace::parse(&standing.record.workspace)?;
        let record = RolloutRecord {
            body: serde_json::to_string(&standing.stored).map_err(Error::internal)?,
            is_open,
            ..standing.record
        };
        let step = RolloutStep {
            record,
            holder: holder.map(str::to_owned),
            revision,
        };
        let write = Write {
            caller: (*super::own_context(&workspace).caller).clone(),
            now,
            request: None,
            body_hash: Vec::new(),
        };
        let record = self.0.store.step_rollout(write, step).await?;
        Ok(Standing {
            stored: standing.stored,
            record,
        })
    }
}

/// Whether a step is about to get its traffic.
fn is_entering(stored: &Stored) -> bool {
    matches!(stored.rollout.state.status, RolloutStatus::Entering { .. })
}
