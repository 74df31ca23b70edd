//! What a model URI means, and where the files of a source are.

use lodeway_domain::{
    Error, Result,
    id::{ModelId, RunId},
    registry::{ModelRef, ModelVersion, is_prompt, join_uri},
    time::{CLOCK_SKEW, Timestamp},
    uri,
};
use lodeway_rpc::CallContext;
use lodeway_store::registry::{PastVersion, VersionBy};

use crate::Registry;

/// What a model URI means.
pub(crate) struct Resolved {
    /// The version; none for runs and logged models.
    pub(crate) version: Option<ModelVersion>,
    /// Where the files are, or were.
    pub(crate) artifact_uri: String,
    /// When the version was deleted, if it was.
    pub(crate) deleted: Option<Timestamp>,
}

/// Where the files of a new version are.
pub(crate) struct Source {
    /// Where they came from: as the caller said, but a version by its number, which names the same one for good.
    pub(crate) source: String,
    pub(crate) artifact_uri: String,
    pub(crate) run_id: Option<RunId>,
    pub(crate) model_id: Option<ModelId>,
    /// True if it names a run or a logged model that nobody could be asked about.
    pub(crate) is_unchecked: bool,
}

impl Registry {
    /// Resolves a URI now, or at a past time. Errors: `Invalid` also for a time in the future.
    pub(crate) async fn resolve(
        &self,
        cx: &CallContext,
        reference: &ModelRef,
        at: Option<Timestamp>,
    ) -> Result<Resolved> {
        let meant = match (reference, at) {
            (ModelRef::LoggedModel(_) | ModelRef::Run { .. }, Some(_)) => {
                return Err(Error::invalid(
                    "as_of_time",
                    "is only for `models:/NAME` URIs; leave it out",
                ));
            }
            (ModelRef::LoggedModel(id), None) => {
                let artifact_uri = self.peers.logged_model(cx, id).await?.artifact_uri;
                return Ok(Resolved {
                    version: None,
                    artifact_uri,
                    deleted: None,
                });
            }
            (ModelRef::Run { run_id, path }, None) => {
                let artifact_uri = join_uri(&self.peers.run_artifacts(cx, run_id).await?, path);
                return Ok(Resolved {
                    version: None,
                    artifact_uri,
                    deleted: None,
                });
            }
            (_, Some(at)) if at > self.clock.now().plus(CLOCK_SKEW) => {
                return Err(Error::invalid(
                    "as_of_time",
                    "is in the future; what the reference will mean then is not known",
                ));
            }
            (named, Some(at)) => self.store.resolve_at(&cx.caller.workspace, named, at).await?,
            (named, None) => PastVersion {
                version: self.named(cx, named).await?,
                deleted: None,
            },
        };
        Ok(Resolved {
            artifact_uri: meant.version.artifact_uri.clone(),
            version: Some(meant.version),
            deleted: meant.deleted,
        })
    }

    /// The version that a `models:/NAME` reference means now.
    async fn named(&self, cx: &CallContext, reference: &ModelRef) -> Result<ModelVersion> {
        let (name, by) = match reference {
            ModelRef::Version { name, version } => (name, VersionBy::Number(*version)),
            ModelRef::Stage { name, stage } => (name, VersionBy::Stage(*stage)),
            ModelRef::Latest { name } => (name, VersionBy::Latest),
            ModelRef::Alias { name, alias } => (name, VersionBy::Alias(alias.clone())),
            ModelRef::LoggedModel(_) | ModelRef::Run { .. } => {
                return Err(Error::internal("a run or logged model is no version"));
            }
        };
        self.store.version(&cx.caller.workspace, name, &by).await
    }

    /// Finds the files of a source; `run_id` and `model_id` are what the caller said. A version that is made of another one has
    /// its run and its logged model.
    ///
    /// Errors: `Invalid` also for a source that is a prompt, and for a run or logged model that is not the source's.
    pub(crate) async fn source(
        &self,
        cx: &CallContext,
        source: &str,
        run_id: Option<RunId>,
        model_id: Option<ModelId>,
    ) -> Result<Source> {
        let is_alone = self.peers.tracking.is_none();
        if !ModelRef::is_meant(source) {
            let is_unchecked = is_alone && (run_id.is_some() || model_id.is_some());
            return Ok(Source {
                source: source.to_owned(),
                artifact_uri: uri::canonical(source),
                run_id,
                model_id,
                is_unchecked,
            });
        }
        let reference = ModelRef::parse("source", source)?;
        let (artifact_uri, run_id, model_id) = match &reference {
            ModelRef::Run { run_id: id, path } => {
                let uri = match is_alone {
                    true => source.to_owned(),
                    false => join_uri(&self.peers.run_artifacts(cx, id).await?, path),
                };
                (uri, run_id.or_else(|| Some(id.clone())), model_id)
            }
            ModelRef::LoggedModel(id) => {
                let (uri, made_by) = match is_alone {
                    true => (source.to_owned(), None),
                    false => {
                        let model = self.peers.logged_model(cx, id).await?;
                        (model.artifact_uri, model.run_id)
                    }
                };
                (uri, run_id.or(made_by), model_id.or_else(|| Some(id.clone())))
            }
            named => return copied(self.named(cx, named).await?, run_id, model_id),
        };
        let is_unchecked = is_alone && (run_id.is_some() || model_id.is_some());
        Ok(Source {
            source: source.to_owned(),
            artifact_uri,
            run_id,
            model_id,
            is_unchecked,
        })
    }
}

/// What a version is made of that is made of another one.
fn copied(from: ModelVersion, run_id: Option<RunId>, model_id: Option<ModelId>) -> Result<Source> {
    if is_prompt(&from.tags) {
        return Err(Error::invalid(
            "source",
            "is a version of a prompt, which has no files",
        ));
    }
    let other =
        |field, what| Error::invalid(field, format!("is not {what} of the version that `source` names"));
    if run_id.is_some() && run_id != from.run_id {
        return Err(other("run_id", "the run"));
    }
    if model_id.is_some() && model_id != from.model_id {
        return Err(other("model_id", "the logged model"));
    }
    Ok(Source {
        source: format!("models:/{}/{}", from.name, from.version),
        artifact_uri: from.artifact_uri,
        run_id: from.run_id,
        model_id: from.model_id,
        is_unchecked: from.source_unchecked,
    })
}
