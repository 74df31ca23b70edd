//! The end of a rollout: what it asks of the registry, and the targets that follow what the registry moved.

use lodeway_domain::{
    Caller, Error, Result,
    caller::Workspace,
    registry::{ModelName, Stage},
    serving::{OnSuccess, Revision, RevisionReason, Target},
    time::Timestamp,
};
use lodeway_proto::registry::v1 as registry;
use lodeway_rpc::{CallContext, status};

use super::{BASE_WAIT, Completion, Standing, author};
use crate::endpoints::{Endpoints, own_context, table::Ready};

impl Endpoints {
    /// Tells the registry what the plan asks for at the end. Repeating it changes nothing.
    pub(super) async fn complete(&self, standing: &Standing) -> Result<()> {
        let Some(wanted) = standing.stored.rollout.plan.on_success() else {
            return Ok(());
        };
        let workspace = Workspace::parse(&standing.record.workspace)?;
        // As whoever began the rollout: nobody gets past a promotion rule by letting the gateway ask.
        let cx = CallContext::new(Caller {
            principal: standing.stored.rollout.principal.clone(),
            verified: standing.stored.rollout.principal_verified,
            workspace,
        });
        let client = self.0.registry.clone();
        let mut client =
            client.ok_or_else(|| Error::unavailable("there is no registry", "not configured"))?;
        let id = &standing.stored.rollout.id;
        let comment = format!(
            "rollout {id} of endpoint `{}` is complete",
            standing.stored.endpoint_name
        );
        let done = match wanted {
            OnSuccess::TransitionStage {
                model,
                version,
                stage,
                archive_existing,
            } => {
                let message = registry::TransitionModelVersionRequest {
                    name: model.to_string(),
                    version: *version,
                    stage: stage_out(*stage).into(),
                    archive_existing_versions: *archive_existing,
                    comment,
                    ..registry::TransitionModelVersionRequest::default()
                };
                client
                    .transition_model_version(cx.request(message))
                    .await
                    .map(drop)
            }
            OnSuccess::MoveAlias {
                model,
                alias,
                version,
            } => {
                let message = registry::SetAliasRequest {
                    name: model.to_string(),
                    alias: alias.to_string(),
                    version: *version,
                    comment,
                    ..registry::SetAliasRequest::default()
                };
                client.set_alias(cx.request(message)).await.map(drop)
            }
        };
        done.map_err(|s| status::into_error(&s))
    }

    /// Where all traffic went to targets that follow the stage or alias that the rollout has moved: the revision in which
    /// it does so again, with its targets. They mean the candidate's version now, and the next move is followed too. None
    /// also where such a target does not mean that version or cannot be had: the candidate then stays as it is.
    pub(super) async fn following_again(
        &self,
        standing: &Standing,
        now: Timestamp,
    ) -> Result<Option<(Revision, Vec<Ready>)>> {
        let rollout = &standing.stored.rollout;
        let (record, base) = self.revisions_of(standing).await?;
        let is_own = matches!(&record.revision.reason, RevisionReason::RolloutStep { rollout: id, .. } if *id == rollout.id);
        let Some(moved) = rollout.plan.on_success().filter(|_| is_own) else {
            return Ok(None);
        };
        let follows = |target: &Target| moved.moves(&target.reference);
        let mut weighted = base
            .targets
            .iter()
            .filter(|target| base.weight(&target.name) > Some(0));
        if !weighted.all(follows) {
            return Ok(None);
        }
        let reason = RevisionReason::RolloutFollowed {
            rollout: rollout.id.clone(),
            to: base.number,
        };
        let next = record.revision.restore(&base, author(rollout, now, reason))?;
        let workspace = Workspace::parse(&standing.record.workspace)?;
        let cx = own_context(&workspace);
        let each = next
            .targets
            .iter()
            .map(|target| self.ready(&cx, next.number, target, now, BASE_WAIT));
        let version = moved.version().to_string();
        match futures::future::try_join_all(each).await {
            Ok(ready) => {
                let is_moved = |one: &Ready| !follows(&one.of) || one.resolution.model_version == version;
                Ok(ready.iter().all(is_moved).then_some((next, ready)))
            }
            Err(error) => {
                tracing::warn!(rollout.id = %rollout.id, %error, "the candidate of a rollout stays a target of its own");
                Ok(None)
            }
        }
    }
}

/// A registry that said no, and not one that did not answer.
pub(super) fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::Invalid(_)
            | Error::NotFound(_)
            | Error::Precondition { .. }
            | Error::Refused { .. }
            | Error::Unverified(_)
            | Error::Denied(_)
            | Error::Unauthenticated(_)
    )
}

/// What is to be done in the registry, for the version that the candidate means.
pub(super) fn of_version(completion: Completion, ready: &Ready) -> Result<OnSuccess> {
    let (name, version) = (&ready.resolution.model_name, &ready.resolution.model_version);
    let why = "needs a candidate that is a registered version";
    let version: i64 = version
        .parse()
        .map_err(|_| Error::invalid("plan.completion", why))?;
    let model = ModelName::parse("plan.completion", name)?;
    Ok(match completion {
        Completion::Stage(stage) => OnSuccess::TransitionStage {
            model,
            version,
            stage,
            archive_existing: true,
        },
        Completion::Alias(alias) => OnSuccess::MoveAlias {
            model,
            alias,
            version,
        },
    })
}

fn stage_out(stage: Stage) -> registry::Stage {
    match stage {
        Stage::None => registry::Stage::None,
        Stage::Staging => registry::Stage::Staging,
        Stage::Production => registry::Stage::Production,
        Stage::Archived => registry::Stage::Archived,
    }
}
