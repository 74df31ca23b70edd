//! Getting a target ready by what it meant before, while the registry does not answer.

use std::time::Duration;

use lodeway_domain::{
    Error, Result,
    page::{PageRequest, QueryHash},
    serving::{Revision, Target, TargetRef},
};
use lodeway_proto::serving::v1::LoadDeploymentRequest;
use lodeway_rpc::{CallContext, status};
use lodeway_store::gateway::{EndpointRecord, Resolution};

use super::{
    Endpoints,
    resolve::{ANSWER_WAIT, not_ready, of_deployment},
    table::Ready,
};

/// Revisions that are searched for what a target meant, newest first.
const MAX_SEARCHED: usize = 1_000;
/// Revisions read at a time.
const PAGE: usize = 100;

impl Endpoints {
    /// Gets a target ready that is to get its first calls. A fixed version that the endpoint resolved before needs no
    /// registry; what a stage or an alias means now is not known without one, and nobody rolls out what it meant once.
    ///
    /// Errors: `TARGET_NOT_READY` for one that is not ready within `wait`, `BACKEND_UNAVAILABLE` for one that cannot be
    /// resolved, each naming the target.
    pub(super) async fn ready_or_known(
        &self,
        cx: &CallContext,
        (serving, revision): (&EndpointRecord, &Revision),
        target: &Target,
        wait: Duration,
    ) -> Result<Ready> {
        let asked = self
            .ready(cx, revision.number, target, revision.created, wait)
            .await;
        let error = match asked {
            Err(error @ Error::Unavailable { .. }) if !target.reference.is_moving() => error,
            done => return done.map_err(|error| not_ready(target, error)),
        };
        let known = self.ready_as_known(cx, (serving, revision), target, wait).await;
        let known = known.map_err(|error| not_ready(target, error))?;
        known.ok_or_else(|| not_ready(target, error))
    }

    /// Gets a target ready as the version that its reference meant for this endpoint when it was resolved last: a fixed
    /// version means the same for ever, a stage or an alias goes on as what it meant. Only the model host is asked, which
    /// loads the model if it is not in memory. None if the endpoint never resolved this reference with these settings, or
    /// the host does not know the deployment any more.
    ///
    /// Errors: `MODEL_NOT_READY` and the like for one that cannot be loaded within `wait`.
    pub(super) async fn ready_as_known(
        &self,
        cx: &CallContext,
        (serving, revision): (&EndpointRecord, &Revision),
        target: &Target,
        wait: Duration,
    ) -> Result<Option<Ready>> {
        if !matches!(target.reference, TargetRef::Model(_)) {
            return Ok(None);
        }
        let Some(known) = self.meant_last(serving, target).await? else {
            return Ok(None);
        };
        let clients = self.serving()?;
        let message = LoadDeploymentRequest {
            deployment_id: known.deployment_id.clone(),
        };
        let mut client = clients.deployments.clone();
        let load = client.load_deployment(cx.request(message));
        let loaded = tokio::time::timeout(wait.max(ANSWER_WAIT), load).await;
        let loaded = loaded.map_err(|_| Error::DeadlineExceeded)?;
        let deployment = match loaded.map_err(|s| status::into_error(&s)) {
            Ok(reply) => reply.into_inner().deployment,
            Err(Error::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let deployment = deployment.ok_or_else(|| Error::internal("a peer gave no deployment"))?;
        let resolution = Resolution {
            revision: revision.number,
            target: target.name.clone(),
            from: revision.created,
            ..known
        };
        of_deployment(clients, target, resolution, deployment).map(Some)
    }

    /// What the newest revision with this reference and these settings made of it at last; the target's name does not
    /// matter.
    async fn meant_last(&self, serving: &EndpointRecord, target: &Target) -> Result<Option<Resolution>> {
        if let Some(known) = of_like(&serving.revision, &serving.resolutions, target) {
            return Ok(Some(known));
        }
        let key = serving.endpoint.uid.key();
        let mut after = None;
        for _ in 0..MAX_SEARCHED / PAGE {
            let page = PageRequest {
                size: PAGE,
                after,
                query: QueryHash::of(&[]),
            };
            let found = self.0.store.revisions(key, &page).await?;
            for earlier in found.items.iter().filter(|one| has_like(one, target)) {
                let now = self.0.clock.now();
                let all = self.0.store.resolutions_at(key, earlier.number, now).await?;
                if let Some(known) = of_like(earlier, &all, target) {
                    return Ok(Some(known));
                }
            }
            after = found.next;
            if after.is_none() {
                break;
            }
        }
        Ok(None)
    }
}

/// Whether two targets mean the same deployment as long as what they refer to does not move.
fn is_like(one: &Target, other: &Target) -> bool {
    one.reference == other.reference && one.settings == other.settings
}

fn has_like(revision: &Revision, target: &Target) -> bool {
    revision.targets.iter().any(|one| is_like(one, target))
}

/// What a revision's target with the same reference and settings means, if it was ready once.
fn of_like(revision: &Revision, resolutions: &[Resolution], target: &Target) -> Option<Resolution> {
    let mut like = revision.targets.iter().filter(|one| is_like(one, target));
    like.find_map(|one| {
        let mut known = resolutions.iter();
        let known = known.find(|known| known.target == one.name && !known.deployment_id.is_empty());
        known.cloned()
    })
}
