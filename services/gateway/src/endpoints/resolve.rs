//! What a target means now, and getting it ready.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lodeway_domain::{
    Error, Reason, Result,
    caller::Workspace,
    serving::{DeploymentSettings, Revision, Target, TargetRef},
    time::Timestamp,
};
use lodeway_proto::{
    inference::{ModelMetadataRequest, ModelMetadataResponse},
    serving::v1::{self as wire, CreateDeploymentRequest, DeploymentState, GetDeploymentRequest},
};
use lodeway_rpc::{CallContext, status};
use lodeway_store::gateway::{EndpointRecord, Resolution};

use super::{
    Endpoints, ServingClients,
    host::{is_unloadable, profile, signature},
    table::{Ready, Route, Standing, TargetRoute},
    upstream::Upstream,
};

/// The targets of a revision.
pub(crate) struct Readied {
    /// Those that are ready.
    pub(crate) ready: Vec<Ready>,
    /// What each of them means.
    pub(crate) resolutions: Vec<Resolution>,
}

/// How long a model host may take to say how a deployment stands.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(5);

impl Endpoints {
    /// Gets every target of a revision ready. One that cannot be called stays as it is if the endpoint has it already, in
    /// `serving`, and it gets no calls that it does not get now: else a target that dies could not be taken out of use. One
    /// that this or an earlier revision of the endpoint resolved needs no registry: it is what it was last.
    ///
    /// Errors: `TARGET_NOT_READY` naming the first other one that is not ready within `wait`, `BACKEND_UNAVAILABLE` naming
    /// the first one that cannot be resolved.
    pub(crate) async fn ready_targets(
        &self,
        cx: &CallContext,
        revision: &Revision,
        serving: Option<&EndpointRecord>,
        wait: Duration,
    ) -> Result<Readied> {
        let now = revision.created;
        let number = revision.number;
        let one = |target: &Target| {
            let target = target.clone();
            async move {
                let error = match self.ready(cx, number, &target, now, wait).await {
                    Ok(mut ready) => {
                        self.recall_stored(&mut ready, serving, revision).await;
                        return Ok::<_, Error>((ready.resolution.clone(), Some(ready)));
                    }
                    Err(error) => error,
                };
                let Some(serving) = serving else {
                    return Err(not_ready(&target, error));
                };
                if let Some(known) = goes_on(serving, revision, &target) {
                    return Ok((known, None));
                }
                if !matches!(error, Error::Unavailable { .. }) {
                    return Err(not_ready(&target, error));
                }
                let ready = self.ready_as_known(cx, (serving, revision), &target, wait).await;
                let ready = ready.map_err(|error| not_ready(&target, error))?;
                let ready = ready.ok_or_else(|| not_ready(&target, error))?;
                Ok((ready.resolution.clone(), Some(ready)))
            }
        };
        let all = futures::future::try_join_all(revision.targets.iter().map(one)).await?;
        let (resolutions, ready): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        Ok(Readied {
            ready: ready.into_iter().flatten().collect(),
            resolutions,
        })
    }

    /// Gets one target ready.
    pub(crate) async fn ready(
        &self,
        cx: &CallContext,
        revision: u32,
        target: &Target,
        now: Timestamp,
        wait: Duration,
    ) -> Result<Ready> {
        let resolution = Resolution {
            revision,
            target: target.name.clone(),
            from: now,
            model_name: String::new(),
            model_version: String::new(),
            model_uid: String::new(),
            content_digest: String::new(),
            deployment_id: String::new(),
            platform: String::new(),
            signature_json: String::new(),
            reads_documents: false,
        };
        match &target.reference {
            TargetRef::External(external) => self.ready_outside(cx, external, target, resolution).await,
            TargetRef::Model(_) | TargetRef::Folder(_) => {
                let clients = self.serving()?;
                let message = CreateDeploymentRequest {
                    source: target.reference.to_string(),
                    settings: Some(settings(&target.settings)),
                    wait: prost_types::Duration::try_from(wait).ok(),
                };
                let reply = clients
                    .deployments
                    .clone()
                    .create_deployment(cx.request(message))
                    .await;
                let deployment = reply.map_err(|s| status::into_error(&s))?.into_inner().deployment;
                let deployment = deployment.ok_or_else(|| Error::internal("a peer gave no deployment"))?;
                of_deployment(clients, target, resolution, deployment)
            }
        }
    }

    /// A target as it was before a restart, without asking the registry; another server may say until `ask_until` what its
    /// model takes. Errors: a host that does not know it any more.
    pub(crate) async fn ready_again(
        &self,
        workspace: &Workspace,
        target: &Target,
        known: &Resolution,
        ask_until: Instant,
    ) -> Result<Ready> {
        let cx = super::own_context(workspace);
        if let TargetRef::External(external) = &target.reference {
            return self.outside_again(external, target, known, ask_until).await;
        }
        let clients = self.serving()?;
        let deployment = deployment(&cx, &clients, &known.deployment_id).await?;
        // In memory or not: it is loaded when it is asked for.
        Ok(Ready {
            standing: self.standing(&deployment).unwrap_or(Standing::Up),
            of: target.clone(),
            signature: signature(&known.signature_json),
            profile: profile(&deployment.profile),
            resolution: known.clone(),
            upstream: Upstream::Deployment {
                clients,
                id: known.deployment_id.clone(),
            },
        })
    }

    /// What a target takes and gives.
    pub(crate) async fn upstream_metadata(
        &self,
        cx: &CallContext,
        ready: &Ready,
    ) -> Result<ModelMetadataResponse> {
        let Upstream::Deployment { clients, id } = &ready.upstream else {
            ready.upstream.is_ready_there().await?;
            return Ok(ready.upstream.metadata().await?.unwrap_or_default());
        };
        let message = ModelMetadataRequest {
            name: id.clone(),
            version: String::new(),
        };
        let reply = clients
            .inference
            .clone()
            .model_metadata(cx.request(message))
            .await;
        reply
            .map(tonic::Response::into_inner)
            .map_err(|s| status::into_error(&s))
    }

    /// Loads every deployment behind an endpoint.
    pub(crate) async fn load(&self, cx: &CallContext, name: &str) -> Result<()> {
        let route = self.route(cx, name)?;
        for (target, clients, deployment_id) in deployments(&route) {
            let message = wire::LoadDeploymentRequest { deployment_id };
            let reply = clients
                .deployments
                .clone()
                .load_deployment(cx.request(message))
                .await;
            match reply.map_err(|s| status::into_error(&s)) {
                Ok(_) => self.stands(&route, target, None, Standing::Up),
                Err(error) => {
                    if is_unloadable(&error) {
                        self.stands(&route, target, None, Standing::Failed(error.to_string()));
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Takes every deployment behind an endpoint out of memory. It is not ready then, until it is loaded again; its next
    /// call does that too.
    pub(crate) async fn unload(&self, cx: &CallContext, name: &str) -> Result<()> {
        let route = self.route(cx, name)?;
        for (target, clients, deployment_id) in deployments(&route) {
            let message = wire::UnloadDeploymentRequest { deployment_id };
            let reply = clients
                .deployments
                .clone()
                .unload_deployment(cx.request(message))
                .await;
            let reply = reply.map_err(|s| status::into_error(&s))?.into_inner();
            if let Some(standing) = reply.deployment.as_ref().and_then(|found| self.standing(found)) {
                self.stands(&route, target, None, standing);
            }
        }
        Ok(())
    }

    /// Asks the model host how the deployment behind a target stands. A host that does not answer says nothing.
    pub(crate) async fn ask_standing(&self, route: &Route, target: &TargetRoute) {
        let Some(known) = target.known() else { return };
        let Upstream::Deployment { clients, id } = &known.upstream else {
            return;
        };
        let before = target.standing();
        let found = match deployment(&super::own_context(&route.workspace), clients, id).await {
            Ok(found) => self.standing(&found),
            Err(Error::NotFound(_)) => Some(Standing::Failed(
                "its model host does not know it any more".to_owned(),
            )),
            Err(_) => None,
        };
        if let Some(found) = found {
            self.stands(route, target, Some(&before), found);
        }
    }

    /// What the host says of a deployment; none while it is being loaded, which changes nothing yet.
    fn standing(&self, of: &wire::Deployment) -> Option<Standing> {
        match of.state() {
            DeploymentState::Ready => Some(Standing::Up),
            // Without a reason it made room for others or the host began anew, and it is there again when it is called.
            DeploymentState::Unloaded if of.state_reason.is_empty() && !self.0.config.one_model => {
                Some(Standing::Up)
            }
            DeploymentState::Unloaded if of.state_reason.is_empty() => {
                Some(Standing::Unloaded("is not loaded yet".to_owned()))
            }
            DeploymentState::Unloaded => Some(Standing::Unloaded(of.state_reason.clone())),
            DeploymentState::Failed => Some(Standing::Failed(of.state_reason.clone())),
            DeploymentState::Loading | DeploymentState::Unspecified => None,
        }
    }

    /// Notes how the deployment behind a target stands, unless something else was heard since it stood as in `before`.
    pub(crate) fn stands(
        &self,
        route: &Route,
        target: &TargetRoute,
        before: Option<&Arc<Standing>>,
        standing: Standing,
    ) {
        let why = match &standing {
            Standing::Failed(why) => Some(why.clone()),
            Standing::Up | Standing::Unloaded(_) => None,
        };
        let is_news = match before {
            Some(before) => target.change_standing(before, standing),
            None => target.set_standing(standing),
        };
        if let Some(why) = why.filter(|_| is_news) {
            tracing::warn!(
                endpoint.name = %route.record.endpoint.name,
                target = %target.target.name,
                reason = why,
                "a target cannot be called; calls go to others"
            );
        }
    }

    pub(super) fn serving(&self) -> Result<Arc<ServingClients>> {
        self.0.serving.clone().ok_or_else(|| Error::Unimplemented {
            reason: Reason::NotImplemented,
            message: "this gateway works without a model host; set `peers.serving`".to_owned(),
        })
    }
}

/// What a target meant at last, if a new revision asks nothing of it that the serving one does not.
fn goes_on(serving: &EndpointRecord, revision: &Revision, target: &Target) -> Option<Resolution> {
    let before = &serving.revision;
    let is_asked_more = gets_calls(revision, target) && !gets_calls(before, target);
    if is_asked_more || !before.targets.contains(target) {
        return None;
    }
    let mut known = serving.resolutions.iter();
    let known = known.find(|known| known.target == target.name)?;
    Some(Resolution {
        revision: revision.number,
        from: revision.created,
        ..known.clone()
    })
}

/// Whether a revision sends calls or copies of them to a target.
fn gets_calls(revision: &Revision, target: &Target) -> bool {
    let name = &target.name;
    let mut weights = revision.split.weights().iter();
    weights.any(|one| one.weight > 0 && one.target == *name)
        || revision.rules.iter().any(|rule| rule.target == *name)
        || revision
            .shadow
            .as_ref()
            .is_some_and(|shadow| shadow.target == *name)
}

/// The deployments behind the targets of an endpoint.
fn deployments(route: &Route) -> Vec<(&Arc<TargetRoute>, Arc<ServingClients>, String)> {
    let each = route
        .targets
        .iter()
        .filter_map(|target| match &target.known()?.upstream {
            Upstream::Deployment { clients, id } => Some((target, clients.clone(), id.clone())),
            Upstream::Grpc { .. } | Upstream::Http { .. } => None,
        });
    each.collect()
}

async fn deployment(cx: &CallContext, clients: &ServingClients, id: &str) -> Result<wire::Deployment> {
    let message = GetDeploymentRequest {
        deployment_id: id.to_owned(),
    };
    let mut client = clients.deployments.clone();
    let reply = tokio::time::timeout(ANSWER_WAIT, client.get_deployment(cx.request(message))).await;
    let reply = reply.map_err(|_| Error::DeadlineExceeded)?;
    let found = reply.map_err(|s| status::into_error(&s))?.into_inner().deployment;
    found.ok_or_else(|| Error::internal("a peer gave no deployment"))
}

pub(super) fn of_deployment(
    clients: Arc<ServingClients>,
    target: &Target,
    resolution: Resolution,
    deployment: wire::Deployment,
) -> Result<Ready> {
    if deployment.state() != DeploymentState::Ready {
        let why = match deployment.state_reason.as_str() {
            "" => "is still being loaded".to_owned(),
            why => why.to_owned(),
        };
        return Err(Error::precondition(Reason::ModelNotReady, why, Vec::new()));
    }
    let profile = profile(&deployment.profile);
    let resolution = Resolution {
        model_name: deployment.model_name,
        model_version: deployment.model_version,
        model_uid: deployment.model_uid,
        content_digest: deployment.content_digest,
        deployment_id: deployment.deployment_id.clone(),
        platform: deployment.platform,
        signature_json: deployment.signature_json,
        reads_documents: deployment.reads_documents,
        ..resolution
    };
    Ok(Ready {
        of: target.clone(),
        signature: signature(&resolution.signature_json),
        profile,
        standing: Standing::Up,
        resolution,
        upstream: Upstream::Deployment {
            clients,
            id: deployment.deployment_id,
        },
    })
}

fn settings(of: &DeploymentSettings) -> wire::DeploymentSettings {
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    wire::DeploymentSettings {
        runtime: of.runtime.to_string(),
        workers: count(of.workers),
        env_manager: of.env_manager.to_string(),
        memory_limit_bytes: of
            .memory_limit_bytes
            .and_then(|n| i64::try_from(n).ok())
            .unwrap_or_default(),
        allow_network: of.allow_network,
        row_independent: of.row_independent,
        max_batch_rows: count(of.max_batch_rows),
        max_batch_delay: prost_types::Duration::try_from(of.max_batch_delay).ok(),
        max_queued_calls: count(of.max_queued_calls),
        call_timeout: prost_types::Duration::try_from(of.call_timeout).ok(),
        max_active_batches: of.max_active_batches.map(count).unwrap_or_default(),
        check_parity: of.check_parity,
    }
}

/// The error of a change that would send traffic to a target that is not ready.
///
/// A registry or a model host that does not answer is asked again and says nothing of the target; another server is the
/// target.
pub(crate) fn not_ready(target: &Target, error: Error) -> Error {
    let is_elsewhere = matches!(target.reference, TargetRef::External(_));
    match error {
        Error::Unavailable {
            reason,
            message,
            retry_after,
            cause,
        } if !is_elsewhere => Error::Unavailable {
            reason,
            message: format!(
                "target `{}` ({}) cannot be made ready: {message}; nothing was changed",
                target.name, target.reference
            ),
            retry_after,
            cause,
        },
        Error::Internal(_) | Error::Invalid(_) | Error::Denied(_) => error,
        other => Error::precondition(
            Reason::TargetNotReady,
            format!(
                "target `{}` ({}) is not ready: {other}",
                target.name, target.reference
            ),
            vec![("resource_name", target.name.to_string())],
        ),
    }
}
