//! Versions of registered models.

use lodeway_domain::{
    Error, ResourceKind, Result,
    id::RunId,
    page::Page,
    registry::{DigestState, ModelName, ModelRef, ModelVersion, NewVersion, Stage, Tags, is_prompt},
    uri,
};
use lodeway_rpc::CallContext;
use lodeway_store::{
    ledger::{Write, outbox::Event},
    registry::{Search, VersionBy, VersionUpdate},
};

use crate::{Registry, Repeat, outbox, resolve::Source};

/// A version is not made because tracking cannot be told of it.
fn untold(cause: Error) -> Error {
    let why =
        "tracking does not answer, and a purge would not know of the version's files; try again when it does";
    Error::unavailable(why, cause)
}

impl Registry {
    /// Finds the files of a new version, numbers and stores it, and lets tracking and the digests know.
    ///
    /// `said` has what the caller said; where its files are is found here. Errors: `NotFound` also if a purge is removing
    /// what the version is of, `Unavailable` also if tracking cannot be told of files of the platform, which a purge would
    /// take; then there is no version.
    pub(crate) async fn make_version(
        &self,
        cx: &CallContext,
        said: NewVersion,
        repeat: Repeat,
    ) -> Result<ModelVersion> {
        let write = self.write(cx, repeat);
        // A repetition gets its answer even if the run is gone since.
        let is_asked_about =
            ModelRef::is_meant(&said.source) || said.run_id.is_some() || said.model_id.is_some();
        if is_asked_about && let Some(before) = self.store.created_before(&write).await? {
            return self.made_before(cx, write, before.version).await;
        }
        let new = self.located(cx, said).await?;
        let is_of_tracking = new.run_id.is_some() || new.model_id.is_some();
        let is_elsewhere = !is_of_tracking && self.elsewhere.has(&new.artifact_uri);
        // Before it has a number, which would be lost.
        if !is_prompt(&new.tags)
            && !is_elsewhere
            && !self.outbox.is_answered()
            && self.is_ours(cx, &new.artifact_uri, is_of_tracking).await
            && let Err(error) = self.peers.check_tracking().await
        {
            return Err(untold(error));
        }
        let created = self.store.create_version(write.clone(), new).await?;
        if created.digest.is_some() {
            self.digests.wake();
        }
        let Some(event) = created.event else {
            return self.made_before(cx, write, created.version).await;
        };
        if is_elsewhere {
            // No purge takes its files: tracking need not know of it first, and hears of many at once.
            self.outbox.deliver_soon(event);
            return Ok(created.version);
        }
        match self.tell(cx, &created.version, event).await {
            Ok(()) => Ok(created.version),
            Err(refusal @ Error::NotFound(_)) => Err(refusal),
            Err(untold) => {
                let ModelVersion { name, version, .. } = created.version;
                self.outbox.take_back(write, name, version).await?;
                Err(untold)
            }
        }
    }

    /// The answer to a request that made its version before. Whoever made it may have died before tracking knew of it, or be
    /// at work on that still.
    async fn made_before(
        &self,
        cx: &CallContext,
        write: Write,
        version: ModelVersion,
    ) -> Result<ModelVersion> {
        if write.request.is_none() || self.peers.tracking.is_none() || self.is_elsewhere(&version) {
            return Ok(version);
        }
        let waiting = self.store.waiting_event(&version).await?;
        let Some(event) = waiting.filter(|event| !self.outbox.has_arrived(event)) else {
            return Ok(version);
        };
        self.tell(cx, &version, event).await?;
        Ok(version)
    }

    /// Tells tracking of a version.
    ///
    /// Errors: why the version cannot be answered. `NotFound`: its files are gone, and it is taken back already. `Unavailable`:
    /// a purge might not know of its files.
    async fn tell(&self, cx: &CallContext, version: &ModelVersion, event: Event) -> Result<()> {
        let outbox = self.outbox.clone();
        let delivery = self.tasks.spawn(async move { outbox.deliver_now(&event).await });
        let delivered = outbox::at_most(self.config.delivery_wait, delivery).await;
        match delivered.and_then(|delivered| delivered) {
            Ok(None) => Ok(()),
            Ok(Some(refusal @ Error::NotFound(_))) => Err(refusal),
            Ok(Some(_)) => {
                self.outbox.wake();
                Ok(())
            }
            Err(error) => {
                tracing::debug!(%error, "tracking was not told at once");
                self.outbox.note_silence();
                self.outbox.wake();
                let is_of_tracking = version.run_id.is_some() || version.model_id.is_some();
                match self.is_ours(cx, &version.artifact_uri, is_of_tracking).await {
                    true => Err(untold(error)),
                    false => Ok(()),
                }
            }
        }
    }

    /// Whether a version is of nothing in tracking, and of files that no purge can take.
    fn is_elsewhere(&self, version: &ModelVersion) -> bool {
        version.run_id.is_none() && version.model_id.is_none() && self.elsewhere.has(&version.artifact_uri)
    }

    async fn is_ours(&self, cx: &CallContext, location: &str, is_of_tracking: bool) -> bool {
        let workspace = &cx.caller.workspace;
        !self.elsewhere.has(location) && self.peers.is_ours(workspace, location, is_of_tracking).await
    }

    async fn located(&self, cx: &CallContext, said: NewVersion) -> Result<NewVersion> {
        if is_prompt(&said.tags) {
            // A prompt's source is a dummy: there are no files.
            return Ok(NewVersion {
                artifact_uri: said.source.clone(),
                ..said
            });
        }
        let made_by = self.vouched(cx, &said).await?;
        let Source {
            source,
            artifact_uri,
            run_id,
            model_id,
            is_unchecked,
        } = self.source_of(cx, &said).await?;
        if let Some(why) = uri::ambiguity(&artifact_uri) {
            return Err(Error::invalid("source", why));
        }
        if uri::is_whole_store(&artifact_uri) {
            return Err(Error::invalid(
                "source",
                "names the whole store; name the folder of a model",
            ));
        }
        let is_readable = self.peers.artifacts.is_some()
            && !ModelRef::is_meant(&artifact_uri)
            && !self.elsewhere.has(&artifact_uri);
        let digest_state = if is_readable {
            DigestState::Pending
        } else {
            DigestState::None
        };
        Ok(NewVersion {
            source,
            artifact_uri,
            run_id: run_id.or(made_by),
            model_id,
            digest_state,
            source_unchecked: is_unchecked,
            ..said
        })
    }

    /// Has tracking, if there is one, vouch for the model and the run that the caller named besides the source; gives the
    /// run that made the model. A run that tracking does not know is taken if the caller allows for that.
    async fn vouched(&self, cx: &CallContext, said: &NewVersion) -> Result<Option<RunId>> {
        if self.peers.tracking.is_none() {
            return Ok(None);
        }
        let made_by = match &said.model_id {
            Some(model_id) => self.peers.logged_model(cx, model_id).await?.run_id,
            None => None,
        };
        if let Some(run_id) = &said.run_id
            && !said.source_unchecked
        {
            self.peers.check_run(cx, run_id).await?;
        }
        Ok(made_by)
    }

    /// Where the files of a version are. A source that tracking does not know stands for itself if that is allowed.
    async fn source_of(&self, cx: &CallContext, said: &NewVersion) -> Result<Source> {
        let found = self
            .source(cx, &said.source, said.run_id.clone(), said.model_id.clone())
            .await;
        match found {
            Err(Error::NotFound(missing)) if said.source_unchecked && is_reference(missing.kind) => {
                Ok(Source {
                    source: said.source.clone(),
                    artifact_uri: uri::canonical(&said.source),
                    run_id: said.run_id.clone(),
                    model_id: said.model_id.clone(),
                    is_unchecked: true,
                })
            }
            found => found,
        }
    }

    pub(crate) async fn version(
        &self,
        cx: &CallContext,
        (name, by): (ModelName, VersionBy),
    ) -> Result<ModelVersion> {
        self.store.version(&cx.caller.workspace, &name, &by).await
    }

    pub(crate) async fn find_versions(
        &self,
        cx: &CallContext,
        search: &Search,
    ) -> Result<Page<ModelVersion>> {
        self.store.search_versions(&cx.caller.workspace, search).await
    }

    pub(crate) async fn latest_versions(
        &self,
        cx: &CallContext,
        (name, stages): (ModelName, Vec<Stage>),
    ) -> Result<Vec<ModelVersion>> {
        self.store
            .latest_versions(&cx.caller.workspace, &name, &stages)
            .await
    }

    pub(crate) async fn change_version(
        &self,
        cx: &CallContext,
        update: VersionUpdate,
        repeat: Repeat,
    ) -> Result<ModelVersion> {
        self.store.update_version(self.write(cx, repeat), update).await
    }

    /// Deletes, and sees to it that tracking lets go of what the version referred to.
    pub(crate) async fn remove_version(
        &self,
        cx: &CallContext,
        (name, version, force): (ModelName, i64, bool),
        repeat: Repeat,
    ) -> Result<()> {
        self.store
            .delete_version(self.write(cx, repeat), name, version, force)
            .await?;
        self.outbox.wake();
        self.holds.look_at_all(&cx.caller.workspace);
        Ok(())
    }

    pub(crate) async fn tag_version(
        &self,
        cx: &CallContext,
        (name, version, tags): (ModelName, i64, Tags),
        repeat: Repeat,
    ) -> Result<()> {
        self.store
            .set_version_tags(self.write(cx, repeat), name, version, tags)
            .await
    }

    pub(crate) async fn untag_version(
        &self,
        cx: &CallContext,
        (name, version, key): (ModelName, i64, String),
        repeat: Repeat,
    ) -> Result<()> {
        self.store
            .delete_version_tag(self.write(cx, repeat), name, version, key)
            .await
    }
}

/// Whether it is something of tracking's that a version can refer to.
fn is_reference(kind: ResourceKind) -> bool {
    matches!(kind, ResourceKind::Run | ResourceKind::LoggedModel)
}
