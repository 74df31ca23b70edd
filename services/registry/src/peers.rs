//! The services that the registry asks: tracking and artifacts, in their words out and in ours back.

use std::time::Duration;

use lodeway_domain::{
    Caller, Error, Reason, Resource, ResourceKind, Result,
    caller::Workspace,
    id::{ModelId, RunId},
    signature::{MAX_FILE_BYTES, ModelFile},
};
use lodeway_proto::{
    artifacts::v1::{
        Artifact, ArtifactHold, DownloadArtifactRequest, GetArtifactRequest, GetManifestRequest,
        HoldArtifactsRequest, ListBucketsRequest, ListHoldsRequest, ReleaseArtifactsRequest,
        artifact_service_client::ArtifactServiceClient, download_artifact_response::Kind,
    },
    tracking::v1::{
        GetExperimentRequest, GetLoggedModelRequest, GetRunRequest, RecordModelVersionRequest,
        RecordModelVersionsRequest, get_experiment_request, tracking_service_client::TrackingServiceClient,
    },
};
use lodeway_rpc::{CallContext, Transport, status};
use lodeway_store::registry::Reference;
use sha2::{Digest as _, Sha256};

/// The file that says what a model folder holds.
const MODEL_FILE: &str = "MLmodel";

/// A manifest of 100,000 files.
const MAX_MANIFEST_BYTES: usize = 64 << 20;
/// How long one message to tracking may take.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the artifact service is asked whose files these are.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long computing the digests of a model's files may take.
const MANIFEST_TIMEOUT: Duration = Duration::from_secs(1_800);

/// The services the registry works with; each may be absent.
#[derive(Clone, Default)]
pub struct Peers {
    /// Knows runs and logged models; without it, references to them are accepted unchecked.
    pub tracking: Option<TrackingServiceClient<Transport>>,
    /// Knows files; without it, no content digest is recorded.
    pub artifacts: Option<ArtifactServiceClient<Transport>>,
}

/// What tracking says of a logged model.
pub(crate) struct LoggedModel {
    pub(crate) artifact_uri: String,
    pub(crate) run_id: Option<RunId>,
}

/// The content of a folder.
pub(crate) struct Manifest {
    pub(crate) files: usize,
    pub(crate) content_digest: String,
    /// SHA-256 of the `MLmodel` file, if there is one.
    pub(crate) model_file: Option<String>,
}

/// What somebody holds, as the artifact service lists it.
pub(crate) struct Held {
    pub(crate) location: String,
    pub(crate) holder: String,
    pub(crate) reason: String,
}

/// The context of work that no caller waits for.
fn own_context(workspace: &Workspace) -> CallContext {
    CallContext::new(Caller::registry(workspace.clone()))
}

impl Peers {
    /// Holds the files in a folder for a holder, for this reason.
    pub(crate) async fn hold(
        &self,
        workspace: &Workspace,
        location: &str,
        (holder, reason): (&str, &str),
    ) -> Result<()> {
        let Some(mut client) = self.artifacts.clone() else {
            return Ok(());
        };
        let hold = ArtifactHold {
            location: location.to_owned(),
            holder: holder.to_owned(),
            reason: reason.to_owned(),
            create_time: None,
        };
        let message = HoldArtifactsRequest { hold: Some(hold) };
        let held = client
            .hold_artifacts(own_context(workspace).request(message))
            .await;
        held.map(drop).map_err(|s| status::into_error(&s))
    }

    /// Lets go of what a holder holds.
    pub(crate) async fn release(&self, workspace: &Workspace, location: &str, holder: &str) -> Result<()> {
        let Some(mut client) = self.artifacts.clone() else {
            return Ok(());
        };
        let message = ReleaseArtifactsRequest {
            location: location.to_owned(),
            holder: holder.to_owned(),
        };
        let released = client
            .release_artifacts(own_context(workspace).request(message))
            .await;
        released.map(drop).map_err(|s| status::into_error(&s))
    }

    /// The buckets in which the artifact service opens files, each as `s3://NAME`.
    pub(crate) async fn buckets(&self) -> Result<Vec<String>> {
        let Some(mut client) = self.artifacts.clone() else {
            return Ok(Vec::new());
        };
        let request = own_context(&Workspace::default()).request(ListBucketsRequest {});
        match tokio::time::timeout(LOOK_TIMEOUT, client.list_buckets(request)).await {
            Ok(Ok(reply)) => Ok(reply.into_inner().buckets),
            Ok(Err(failed)) => Err(status::into_error(&failed)),
            Err(_) => Err(Error::DeadlineExceeded),
        }
    }

    /// A page of what is held, and the token of the next.
    pub(crate) async fn holds(
        &self,
        workspace: &Workspace,
        page_token: String,
    ) -> Result<(Vec<Held>, String)> {
        let Some(mut client) = self.artifacts.clone() else {
            return Ok((Vec::new(), String::new()));
        };
        let message = ListHoldsRequest {
            page_size: 0,
            page_token,
        };
        let page = client.list_holds(own_context(workspace).request(message)).await;
        let page = page.map_err(|s| status::into_error(&s))?.into_inner();
        let holds = page.holds.into_iter().map(|hold| Held {
            location: hold.location,
            holder: hold.holder,
            reason: hold.reason,
        });
        Ok((holds.collect(), page.next_page_token))
    }

    /// Whether there is a model file at the top of a folder now, whatever it says.
    ///
    /// Errors: those of the peer that may pass; where nobody may look there is no model.
    pub(crate) async fn has_model_file(&self, workspace: &Workspace, location: &str) -> Result<bool> {
        match self.model_file(workspace, location).await {
            Some(Ok(file)) => Ok(file.is_some_and(|file| !file.is_dir)),
            // It is there, though nobody can read it.
            Some(Err(Error::DataLoss(_))) => Ok(true),
            Some(Err(error)) if is_passing(&error) => Err(error),
            Some(Err(_)) | None => Ok(false),
        }
    }

    /// What the artifact service says of the model file at the top of a folder; none without one.
    async fn model_file(&self, workspace: &Workspace, location: &str) -> Option<Result<Option<Artifact>>> {
        let mut client = self.artifacts.clone()?;
        let message = GetArtifactRequest {
            location: location.to_owned(),
            path: MODEL_FILE.to_owned(),
        };
        let found = client.get_artifact(own_context(workspace).request(message)).await;
        let found = found.map(|reply| reply.into_inner().artifact);
        Some(found.map_err(|s| status::into_error(&s)))
    }

    pub(crate) fn with_limits(self) -> Self {
        let artifacts = self
            .artifacts
            .map(|client| client.max_decoding_message_size(MAX_MANIFEST_BYTES));
        Self { artifacts, ..self }
    }

    fn tracking(&self) -> Result<TrackingServiceClient<Transport>> {
        self.tracking.clone().ok_or_else(|| Error::Unimplemented {
            reason: Reason::NotImplemented,
            message: "this registry works without a tracking service; set `peers.tracking`".to_owned(),
        })
    }

    /// Where the artifacts of a run are.
    pub(crate) async fn run_artifacts(&self, cx: &CallContext, run_id: &RunId) -> Result<String> {
        let message = GetRunRequest {
            run_id: run_id.to_string(),
            columns: vec!["artifact_uri".to_owned()],
        };
        let reply = self
            .tracking()?
            .get_run(cx.request(message))
            .await
            .map_err(|s| status::into_error(&s))?;
        reply
            .into_inner()
            .run
            .map(|run| run.artifact_uri)
            .ok_or_else(|| Error::internal("a peer gave no run"))
    }

    /// Where the files of a logged model are, and which run made it.
    pub(crate) async fn logged_model(&self, cx: &CallContext, model_id: &ModelId) -> Result<LoggedModel> {
        let message = GetLoggedModelRequest {
            model_id: model_id.to_string(),
            allow_deleted: false,
        };
        let reply = self
            .tracking()?
            .get_logged_model(cx.request(message))
            .await
            .map_err(|s| status::into_error(&s))?;
        let model = reply
            .into_inner()
            .model
            .ok_or_else(|| Error::internal("a peer gave no logged model"))?;
        let run_id = Some(model.source_run_id)
            .filter(|id| !id.is_empty())
            .map(|id| RunId::parse(&id));
        Ok(LoggedModel {
            artifact_uri: model.artifact_uri,
            run_id: run_id.transpose()?,
        })
    }

    /// Refuses a run that tracking does not know. One that cannot be asked about is taken: tracking hears of it later.
    pub(crate) async fn check_run(&self, cx: &CallContext, run_id: &RunId) -> Result<()> {
        match tokio::time::timeout(RECORD_TIMEOUT, self.run_artifacts(cx, run_id)).await {
            Ok(Err(error)) if !is_passing(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the artifact service opens this location for the workspace, whatever is there; without one nobody knows.
    ///
    /// Errors: those of the peer that may pass.
    async fn is_kept_here(&self, workspace: &Workspace, location: &str) -> Result<Option<bool>> {
        match self.model_file(workspace, location).await {
            None => Ok(None),
            Some(Ok(_) | Err(Error::DataLoss(_) | Error::NotFound(_))) => Ok(Some(true)),
            Some(Err(error)) if is_passing(&error) => Err(error),
            Some(Err(_)) => Ok(Some(false)),
        }
    }

    /// Whether these may be files that the platform keeps, and so would purge. Without an artifact service, or while it does
    /// not answer, nobody knows its buckets: files there are taken for the platform's if they are of something in tracking.
    pub(crate) async fn is_ours(&self, workspace: &Workspace, location: &str, is_of_tracking: bool) -> bool {
        let found = self.is_kept_here(workspace, location);
        match tokio::time::timeout(LOOK_TIMEOUT, found).await {
            Ok(Ok(Some(is_kept))) => is_kept,
            Ok(Ok(None) | Err(_)) | Err(_) => is_of_tracking || !is_in_a_bucket(location),
        }
    }

    /// Asks tracking for anything, to see whether it answers.
    ///
    /// Errors: those that may pass.
    pub(crate) async fn check_tracking(&self) -> Result<()> {
        let Some(mut client) = self.tracking.clone() else {
            return Ok(());
        };
        let message = GetExperimentRequest {
            by: Some(get_experiment_request::By::ExperimentId("0".to_owned())),
        };
        let request = own_context(&Workspace::default()).request(message);
        match tokio::time::timeout(PROBE_TIMEOUT, client.get_experiment(request)).await {
            Ok(Err(failed)) => match status::into_error(&failed) {
                error if is_passing(&error) => Err(error),
                _ => Ok(()),
            },
            Ok(Ok(_)) => Ok(()),
            Err(_) => Err(Error::DeadlineExceeded),
        }
    }

    /// Tells tracking of a reference; the same event twice changes nothing.
    pub(crate) async fn record(&self, event_id: &str, reference: &Reference) -> Result<()> {
        let cx = own_context(&reference.workspace);
        let message = reference_out(event_id, reference);
        let mut client = self.tracking()?;
        match tokio::time::timeout(RECORD_TIMEOUT, client.record_model_version(cx.request(message))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(failed)) => Err(status::into_error(&failed)),
            Err(_) => Err(Error::DeadlineExceeded),
        }
    }

    /// Tells tracking of new versions of a workspace that refer to folders alone; the same events twice change nothing. The ids
    /// of those whose folders a purge is removing, of which it takes no note.
    pub(crate) async fn record_new(
        &self,
        workspace: &Workspace,
        references: &[(&str, &Reference)],
    ) -> Result<Vec<String>> {
        let versions = references
            .iter()
            .map(|(id, reference)| reference_out(id, reference));
        let message = RecordModelVersionsRequest {
            versions: versions.collect(),
        };
        let request = own_context(workspace).request(message);
        let mut client = self.tracking()?;
        match tokio::time::timeout(RECORD_TIMEOUT, client.record_model_versions(request)).await {
            Ok(Ok(reply)) => Ok(reply.into_inner().purged_event_ids),
            Ok(Err(failed)) => Err(status::into_error(&failed)),
            Err(_) => Err(Error::DeadlineExceeded),
        }
    }

    /// The manifest of a location; none without an artifact service.
    pub(crate) async fn manifest(&self, workspace: &Workspace, location: &str) -> Result<Option<Manifest>> {
        let Some(mut client) = self.artifacts.clone() else {
            return Ok(None);
        };
        let message = GetManifestRequest {
            location: location.to_owned(),
            path: String::new(),
        };
        let cx = own_context(workspace);
        match tokio::time::timeout(MANIFEST_TIMEOUT, client.get_manifest(cx.request(message))).await {
            Ok(Ok(reply)) => {
                let reply = reply.into_inner();
                let is_model_file = |file: &&Artifact| file.path == MODEL_FILE && !file.sha256.is_empty();
                let model_file = reply.artifacts.iter().find(is_model_file);
                Ok(Some(Manifest {
                    model_file: model_file.map(|file| file.sha256.clone()),
                    files: reply.artifacts.len(),
                    content_digest: reply.content_digest,
                }))
            }
            Ok(Err(failed)) => Err(status::into_error(&failed)),
            Err(_) => Err(Error::DeadlineExceeded),
        }
    }
}

impl Peers {
    /// The flavors of the model whose manifest this is, sorted; empty without a model file.
    ///
    /// Errors: those of the peer, `INVALID_FIELD` for a file that is no model file, `Conflict` if it is not the file of the
    /// manifest any more.
    pub(crate) async fn formats(
        &self,
        workspace: &Workspace,
        location: &str,
        manifest: &Manifest,
    ) -> Result<Vec<String>> {
        let (Some(mut client), Some(sha256)) = (self.artifacts.clone(), &manifest.model_file) else {
            return Ok(Vec::new());
        };
        let message = DownloadArtifactRequest {
            location: location.to_owned(),
            path: MODEL_FILE.to_owned(),
            ..DownloadArtifactRequest::default()
        };
        let failed = |s: tonic::Status| status::into_error(&s);
        let request = own_context(workspace).request(message);
        let mut chunks = client
            .download_artifact(request)
            .await
            .map_err(failed)?
            .into_inner();
        let mut bytes = Vec::new();
        while let Some(part) = chunks.message().await.map_err(failed)? {
            if let Some(Kind::Chunk(chunk)) = part.kind {
                bytes.extend_from_slice(&chunk);
            }
            if bytes.len() > MAX_FILE_BYTES {
                return Err(Error::invalid(MODEL_FILE, "is too long to be read"));
            }
        }
        if hex(&Sha256::digest(&bytes)) != *sha256 {
            let file = format!("{location}/{MODEL_FILE}");
            return Err(Error::Conflict(Resource::new(ResourceKind::Artifact, file)));
        }
        let text = String::from_utf8(bytes).map_err(|_| Error::invalid(MODEL_FILE, "is not UTF-8"))?;
        Ok(ModelFile::parse(&text)?.flavors.into_keys().collect())
    }
}

fn reference_out(event_id: &str, reference: &Reference) -> RecordModelVersionRequest {
    RecordModelVersionRequest {
        event_id: event_id.to_owned(),
        event_seq: reference.seq,
        model_uid: reference.uid.to_string(),
        name: reference.name.to_string(),
        version: reference.version,
        model_id: reference.model_id.clone(),
        run_id: reference.run_id.clone(),
        artifact_uri: reference.artifact_uri.clone(),
        released: reference.released,
    }
}

/// Whether a URI is of a store that others have too: not of the platform's proxied store, not a local path.
fn is_in_a_bucket(location: &str) -> bool {
    let scheme = location.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| !matches!(scheme, "mlflow-artifacts" | "file" | "http" | "https"))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether repeating a call to a peer can help.
pub(crate) fn is_passing(error: &Error) -> bool {
    matches!(
        error,
        Error::Unavailable { .. }
            | Error::DeadlineExceeded
            | Error::Exhausted { .. }
            | Error::Internal(_)
            | Error::Conflict(_)
    )
}
