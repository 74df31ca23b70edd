//! Targets on other servers: getting them ready, asking them whether they are, and what their models declare.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lodeway_domain::{
    Error, Result,
    caller::Workspace,
    serving::{External, Revision, RevisionReason, Target},
    signature::{DataType, ModelSignature, Schema, Tensor},
};
use lodeway_proto::inference::{ModelMetadataResponse, model_metadata_response::TensorMetadata};
use lodeway_rpc::CallContext;
use lodeway_store::gateway::{EndpointRecord, Resolution};

use super::{
    Endpoints,
    table::{Ready, Route, Standing, TargetRoute},
    upstream::{Upstream, untold},
};

/// How often a model on another server is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_secs(2);

impl Endpoints {
    /// Gets a target on another server ready. One whose server does not say what its model takes goes by what a target of
    /// the same workspace at the same address goes by. Errors: a server that does not answer, or a model that is not ready.
    pub(super) async fn ready_outside(
        &self,
        cx: &CallContext,
        external: &External,
        target: &Target,
        mut resolution: Resolution,
    ) -> Result<Ready> {
        let upstream = Upstream::external(external)?;
        upstream.is_ready_there().await?;
        let told = upstream.metadata().await;
        let (signature_json, platform) = told.and_then(|told| word_of(told.as_ref())).unwrap_or_else(
            |error| {
                tracing::warn!(
                    target = %target.name,
                    reference = %target.reference,
                    %error,
                    cause = ?error.cause(),
                    "a target goes on as it is known, or as one without metadata; its server is asked again"
                );
                Default::default()
            },
        );
        resolution.model_version = external.version().unwrap_or_default().to_owned();
        (resolution.signature_json, resolution.platform) = (signature_json, platform);
        if let Some(declared) = upstream.declaration() {
            declared.asking(self.0.clock.now());
            declared.hear(&resolution.signature_json);
        }
        let mut ready = outside(target, resolution, upstream);
        if let Some((signature_json, platform)) = self.running_word(&cx.caller.workspace, target) {
            recall(&mut ready, &signature_json, &platform);
        }
        Ok(ready)
    }

    /// A target on another server as it was written. Whether it answers is seen when it is called: nobody waits for one that
    /// does not. It may say until `ask_until` what its model takes, else calls go by what was written. Errors: an address that
    /// this gateway does not connect to.
    pub(super) async fn outside_again(
        &self,
        external: &External,
        target: &Target,
        known: &Resolution,
        ask_until: Instant,
    ) -> Result<Ready> {
        let upstream = Upstream::external(external)?;
        if let Some(declared) = upstream.declaration() {
            declared.set(&known.signature_json);
            let now = self.0.clock.now();
            let told = tokio::time::timeout_at(ask_until.into(), upstream.metadata()).await;
            if let Ok(Ok(metadata)) = told
                && let Ok((signature_json, _)) = word_of(metadata.as_ref())
            {
                declared.asking(now);
                declared.hear(&signature_json);
            }
        }
        Ok(outside(target, known.clone(), upstream))
    }

    /// What a running target at the same address goes by: its signature and its platform. None if there is nothing.
    fn running_word(&self, workspace: &Workspace, target: &Target) -> Option<(String, String)> {
        let routes = self.0.table.all().into_iter();
        let mine = routes.filter(|route| route.workspace == *workspace);
        let mut words = mine.flat_map(|route| {
            let same = route
                .targets
                .iter()
                .filter(|one| one.target.reference == target.reference);
            let each = same.filter_map(|one| {
                let known = one.known()?;
                let signature_json = known.upstream.declaration()?.signature_json();
                Some((signature_json, known.resolution.platform.clone()))
            });
            each.collect::<Vec<_>>()
        });
        words.find(|(signature_json, _)| !signature_json.is_empty())
    }

    /// A target that goes back to an earlier revision, and whose server does not say what its model takes, goes by what was
    /// written with that revision.
    pub(super) async fn recall_stored(
        &self,
        ready: &mut Ready,
        serving: Option<&EndpointRecord>,
        revision: &Revision,
    ) {
        let (Some(serving), RevisionReason::RolledBack { to }) = (serving, &revision.reason) else {
            return;
        };
        if ready.upstream.declaration().is_none() || !ready.resolution.signature_json.is_empty() {
            return;
        }
        let key = serving.endpoint.uid.key();
        match self.0.store.resolutions_at(key, *to, self.0.clock.now()).await {
            Ok(all) => {
                let mut all = all.iter();
                if let Some(known) = all.find(|known| known.target == ready.of.name) {
                    recall(ready, &known.signature_json, &known.platform);
                }
            }
            Err(error) => tracing::warn!(
                target = %ready.of.name,
                %error,
                "what a target declared cannot be read; its server is asked again"
            ),
        }
    }

    /// Asks another server whether its model is ready, in the background: it may take its time to say so.
    pub(super) fn ask_outside(&self, route: &Arc<Route>, target: &Arc<TargetRoute>, known: Arc<Ready>) {
        let Some(tending) = target.tend() else { return };
        let (this, route, target) = (self.clone(), route.clone(), target.clone());
        self.0.tasks.spawn_until_stop(async move {
            let _tending = tending;
            let asked = Instant::now();
            let before = target.standing();
            let standing = match known.upstream.is_ready_there().await {
                Ok(()) => {
                    let was_away = matches!(*before, Standing::Failed(_));
                    this.ask_declaration(&route, &target, &known.upstream, was_away)
                        .await;
                    Standing::Up
                }
                Err(error) => Standing::Failed(error.to_string()),
            };
            this.stands(&route, &target, Some(&before), standing);
            // Nobody asks it meanwhile, however often targets are looked at: it is somebody else's server.
            tokio::time::sleep_until((asked + rest(this.0.config.follow_every)).into()).await;
        });
    }

    /// Asks another server again what its model declares of its inputs, if that is due or the server was away: there may be
    /// another one behind the same address. One that does not say it is taken at its last word.
    async fn ask_declaration(
        &self,
        route: &Route,
        target: &TargetRoute,
        upstream: &Upstream,
        was_away: bool,
    ) {
        let Some(declared) = upstream.declaration() else {
            return;
        };
        let now = self.0.clock.now();
        if !was_away && !declared.is_due(now) {
            return;
        }
        declared.asking(now);
        let told = upstream.metadata().await;
        match told.and_then(|metadata| word_of(metadata.as_ref())) {
            Ok((signature_json, _)) if declared.hear(&signature_json) => tracing::info!(
                endpoint.name = %route.record.endpoint.name,
                target = %target.target.name,
                "the server of a target declares other inputs than it did"
            ),
            Ok(_) => {}
            Err(error) => {
                declared.unheard();
                tracing::debug!(
                    endpoint.name = %route.record.endpoint.name,
                    target = %target.target.name,
                    %error,
                    cause = ?error.cause(),
                    "the server of a target does not say what its model takes"
                );
            }
        }
    }
}

fn outside(target: &Target, resolution: Resolution, upstream: Upstream) -> Ready {
    Ready {
        of: target.clone(),
        resolution,
        upstream,
        signature: None,
        profile: None,
        standing: Standing::Up,
    }
}

/// This is what a model declares whose server says nothing of it; one that says something is taken at its word.
fn recall(ready: &mut Ready, signature_json: &str, platform: &str) {
    let Some(declared) = ready.upstream.declaration() else {
        return;
    };
    if signature_json.is_empty() || !ready.resolution.signature_json.is_empty() {
        return;
    }
    declared.set(signature_json);
    declared.doubt();
    signature_json.clone_into(&mut ready.resolution.signature_json);
    if ready.resolution.platform.is_empty() {
        platform.clone_into(&mut ready.resolution.platform);
    }
}

/// How long a server is left alone after it was asked, where targets are looked at so often. The look nearest to
/// [`ASK_EVERY`] finds it free, also if it comes a little early.
fn rest(follow_every: Duration) -> Duration {
    ASK_EVERY.saturating_sub(follow_every / 2)
}

/// What a server says: the signature of its model, empty if it says that there is nothing, and the platform.
///
/// Errors: `Unavailable` for tensors that cannot be read; what they are, nobody knows.
fn word_of(metadata: Option<&ModelMetadataResponse>) -> Result<(String, String)> {
    let Some(metadata) = metadata else {
        return Ok(Default::default());
    };
    Ok((declared_signature(metadata)?, metadata.platform.clone()))
}

/// What another server says of its model's tensors, as a signature; empty if it names no inputs.
///
/// The typed service is made of it, and documents without datatypes take those of its inputs. Such servers are often inexact,
/// so no input is checked by it. Errors: as of [`word_of`], for inputs.
fn declared_signature(metadata: &ModelMetadataResponse) -> Result<String> {
    if metadata.inputs.is_empty() {
        return Ok(String::new());
    }
    let signature = ModelSignature {
        inputs: Some(schema(&metadata.inputs)?),
        // Calls need no more than the inputs.
        outputs: schema(&metadata.outputs).ok(),
        params: Vec::new(),
    };
    Ok(signature.to_json().to_string())
}

fn schema(tensors: &[TensorMetadata]) -> Result<Schema> {
    let tensor = |of: &TensorMetadata| {
        let dtype = DataType::parse("datatype", &of.datatype)?.dtype();
        let dtype = dtype.ok_or_else(|| Error::invalid("datatype", "is not one of a signature"))?;
        Ok(Tensor {
            name: Some(of.name.clone()),
            dtype,
            shape: of.shape.iter().map(|&size| size.max(-1)).collect(),
        })
    };
    let tensors: Result<Vec<_>> = tensors.iter().map(tensor).collect();
    tensors
        .and_then(Schema::of_tensors)
        .map_err(|error| untold(format!("its metadata cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_by_the_look_nearest_to_every_two_seconds() {
        for (look_ms, between_ms) in [(20, 2_000), (500, 2_000), (2_000, 2_000), (3_000, 3_000)] {
            let rest = rest(Duration::from_millis(look_ms));
            // Its question began some milliseconds after the look.
            let free = rest + Duration::from_millis(5);
            let looks = (1..).map(|nth| Duration::from_millis(look_ms) * nth);
            let next = looks.into_iter().find(|look| *look >= free).unwrap();
            assert!(
                next.abs_diff(Duration::from_millis(between_ms)) <= Duration::from_millis(20),
                "{look_ms}: {next:?}"
            );
        }
    }
}
