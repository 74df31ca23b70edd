//! Tracking and artifact services that answer as a test says, over real gRPC messages.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use lodeway_domain::{Error, ResourceKind};
use lodeway_proto::{
    artifacts::v1 as artifacts, artifacts::v1::artifact_service_client::ArtifactServiceClient,
    tracking::v1 as tracking, tracking::v1::tracking_service_client::TrackingServiceClient,
};
use lodeway_registry::Peers;
use lodeway_rpc::{Transport, status::status_of};
use sha2::{Digest as _, Sha256};
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    codegen::BoxFuture,
    server::{Grpc, NamedService, ServerStreamingService, UnaryService},
    service::Routes,
};
use tonic_prost::ProstCodec;

/// What the peers know and what they were told.
#[derive(Default)]
pub struct Script {
    /// Run id to artifact URI.
    pub runs: BTreeMap<String, String>,
    /// Logged model id to artifact URI and run id.
    pub models: BTreeMap<String, (String, String)>,
    /// Location to content digest.
    pub manifests: BTreeMap<String, String>,
    /// Locations whose folders have no model file.
    pub plain: BTreeSet<String>,
    /// The buckets in which files are kept; none if nobody can say.
    pub buckets: Option<Vec<String>>,
    /// How often a manifest was asked for.
    pub manifest_reads: usize,
    /// How often holds were listed.
    pub listings: usize,
    /// How long a manifest takes; it is of the files as they were when it was asked for.
    pub manifest_takes: std::time::Duration,
    /// How long letting go takes, at the end of which it is done.
    pub release_takes: std::time::Duration,
    /// How often letting go began.
    pub releases: usize,
    /// Folders that are held, with their holders.
    pub held: BTreeSet<(String, String)>,
    /// For what reason, by holder.
    pub reasons: BTreeMap<String, String>,
    /// With what every call fails, if it does.
    pub failure: Option<Code>,
    /// With what every call to one of both fails besides.
    pub tracking_failure: Option<Code>,
    pub files_failure: Option<Code>,
    /// Whether recording never answers.
    pub hangs: bool,
    /// What was recorded, in order, repeats included.
    pub recorded: Vec<tracking::RecordModelVersionRequest>,
    /// Runs that a purge is removing.
    pub purged: BTreeSet<String>,
    /// How often many were recorded at once.
    pub batches: usize,
    /// How often recording was tried.
    pub attempts: usize,
    /// How often it was asked whether it answers.
    pub probes: usize,
}

#[derive(Clone, Default)]
pub struct Peer(Arc<Mutex<Script>>);

impl Peer {
    pub fn script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    pub fn recorded(&self) -> Vec<tracking::RecordModelVersionRequest> {
        self.script(|s| s.recorded.clone())
    }

    pub fn tracking(&self) -> Peers {
        let client = TrackingServiceClient::new(Transport::local(Routes::new(Tracking(self.clone()))));
        Peers {
            tracking: Some(client),
            artifacts: None,
        }
    }

    pub fn both(&self) -> Peers {
        let client = ArtifactServiceClient::new(Transport::local(Routes::new(Artifacts(self.clone()))));
        Peers {
            artifacts: Some(client),
            ..self.tracking()
        }
    }

    fn fail_tracking(&self) -> Result<(), Status> {
        self.fail(self.script(|s| s.tracking_failure))
    }

    fn fail_files(&self) -> Result<(), Status> {
        self.fail(self.script(|s| s.files_failure))
    }

    fn fail(&self, besides: Option<Code>) -> Result<(), Status> {
        match self.script(|s| s.failure).or(besides) {
            Some(code) => Err(Status::new(code, "as the script says")),
            None => Ok(()),
        }
    }

    fn get_run(&self, id: &str) -> Result<tracking::GetRunResponse, Status> {
        self.fail_tracking()?;
        let uri = self
            .script(|s| s.runs.get(id).cloned())
            .ok_or_else(|| unknown(ResourceKind::Run, id))?;
        let run = tracking::Run {
            run_id: id.into(),
            artifact_uri: uri,
            ..Default::default()
        };
        Ok(tracking::GetRunResponse { run: Some(run) })
    }

    fn get_model(&self, id: &str) -> Result<tracking::GetLoggedModelResponse, Status> {
        self.fail_tracking()?;
        let found = self.script(|s| s.models.get(id).cloned());
        let (artifact_uri, source_run_id) = found.ok_or_else(|| unknown(ResourceKind::LoggedModel, id))?;
        let model = tracking::LoggedModel {
            model_id: id.into(),
            artifact_uri,
            source_run_id,
            ..Default::default()
        };
        Ok(tracking::GetLoggedModelResponse { model: Some(model) })
    }

    fn get_experiment(&self) -> Result<tracking::GetExperimentResponse, Status> {
        self.script(|s| s.probes += 1);
        self.fail_tracking()?;
        Err(unknown(ResourceKind::Experiment, "0"))
    }

    async fn record(
        &self,
        message: tracking::RecordModelVersionRequest,
    ) -> Result<tracking::RecordModelVersionResponse, Status> {
        self.script(|s| s.attempts += 1);
        if self.script(|s| s.hangs) {
            std::future::pending::<()>().await;
        }
        self.fail_tracking()?;
        if !message.released && self.script(|s| s.purged.contains(&message.run_id)) {
            return Err(unknown(ResourceKind::Run, &message.run_id));
        }
        self.script(|s| s.recorded.push(message));
        Ok(tracking::RecordModelVersionResponse {})
    }

    async fn record_new(
        &self,
        message: tracking::RecordModelVersionsRequest,
    ) -> Result<tracking::RecordModelVersionsResponse, Status> {
        self.script(|s| s.batches += 1);
        let mut purged_event_ids = Vec::new();
        for version in message.versions {
            let id = version.event_id.clone();
            match self.record(version).await {
                Ok(_) => {}
                Err(status) if status.code() == Code::NotFound => purged_event_ids.push(id),
                Err(status) => return Err(status),
            }
        }
        Ok(tracking::RecordModelVersionsResponse { purged_event_ids })
    }

    fn hold(&self, hold: artifacts::ArtifactHold) -> Result<artifacts::HoldArtifactsResponse, Status> {
        self.fail_files()?;
        self.script(|s| {
            s.reasons.insert(hold.holder.clone(), hold.reason);
            s.held.insert((hold.location, hold.holder))
        });
        Ok(artifacts::HoldArtifactsResponse {})
    }

    fn release(
        &self,
        message: artifacts::ReleaseArtifactsRequest,
    ) -> Result<artifacts::ReleaseArtifactsResponse, Status> {
        self.fail_files()?;
        self.script(|s| s.held.remove(&(message.location, message.holder)));
        Ok(artifacts::ReleaseArtifactsResponse {})
    }

    fn buckets(&self) -> Result<artifacts::ListBucketsResponse, Status> {
        let buckets = self.script(|s| s.buckets.clone());
        let buckets = buckets.ok_or_else(|| Status::unimplemented("of an older version"))?;
        Ok(artifacts::ListBucketsResponse { buckets })
    }

    fn holds(&self) -> Result<artifacts::ListHoldsResponse, Status> {
        self.fail_files()?;
        self.script(|s| s.listings += 1);
        let (held, reasons) = self.script(|s| (s.held.clone(), s.reasons.clone()));
        let hold = |(location, holder): (String, String)| artifacts::ArtifactHold {
            reason: reasons.get(&holder).cloned().unwrap_or_default(),
            location,
            holder,
            create_time: None,
        };
        Ok(artifacts::ListHoldsResponse {
            holds: held.into_iter().map(hold).collect(),
            ..Default::default()
        })
    }

    /// Who holds a folder.
    pub fn holders(&self, folder: &str) -> Vec<String> {
        let all = self.script(|s| s.held.clone());
        let of_it = all.into_iter().filter(|(location, _)| location == folder);
        of_it.map(|(_, holder)| holder).collect()
    }

    fn file(&self, location: &str) -> Result<artifacts::GetArtifactResponse, Status> {
        self.fail_files()?;
        let is_there = self.script(|s| s.manifests.contains_key(location) && !s.plain.contains(location));
        if !is_there {
            return Err(unknown(ResourceKind::Artifact, location));
        }
        Ok(artifacts::GetArtifactResponse {
            artifact: Some(artifacts::Artifact::default()),
        })
    }

    fn manifest(&self, location: &str) -> Result<artifacts::GetManifestResponse, Status> {
        self.fail_files()?;
        let digest = self.script(|s| {
            s.manifest_reads += 1;
            s.manifests.get(location).cloned()
        });
        let content_digest = digest.ok_or_else(|| unknown(ResourceKind::Artifact, location))?;
        let is_plain = self.script(|s| s.plain.contains(location));
        let file = artifacts::Artifact {
            path: if is_plain { "model.pkl" } else { "MLmodel" }.into(),
            sha256: Sha256::digest(MODEL_FILE)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            ..Default::default()
        };
        Ok(artifacts::GetManifestResponse {
            artifacts: vec![file],
            content_digest,
        })
    }
}

fn unknown(kind: ResourceKind, name: &str) -> Status {
    status_of(&Error::not_found(kind, name), "peer", "tracking.lodeway.dev")
}

#[derive(Clone)]
struct Tracking(Peer);

#[derive(Clone)]
struct Artifacts(Peer);

impl NamedService for Tracking {
    const NAME: &'static str = "lodeway.tracking.v1.TrackingService";
}

impl NamedService for Artifacts {
    const NAME: &'static str = "lodeway.artifacts.v1.ArtifactService";
}

/// What every folder's model file holds.
const MODEL_FILE: &[u8] = b"flavors:\n  onnx:\n    data: model.onnx\n";

/// Gives the model file, whichever file is asked for.
struct Download(Peer);

impl ServerStreamingService<artifacts::DownloadArtifactRequest> for Download {
    type Response = artifacts::DownloadArtifactResponse;
    type ResponseStream = tokio_stream::Once<Result<Self::Response, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, _: Request<artifacts::DownloadArtifactRequest>) -> Self::Future {
        let failed = self.0.fail_files();
        Box::pin(async move {
            failed?;
            let kind = artifacts::download_artifact_response::Kind::Chunk(MODEL_FILE.into());
            let chunk = artifacts::DownloadArtifactResponse { kind: Some(kind) };
            Ok(Response::new(tokio_stream::once(Ok(chunk))))
        })
    }
}

/// One unary method.
struct Method<F>(F);

impl<I, O, F, Fut> UnaryService<I> for Method<F>
where
    F: FnMut(I) -> Fut,
    Fut: Future<Output = Result<O, Status>> + Send + 'static,
{
    type Response = O;
    type Future = BoxFuture<Response<O>, Status>;

    fn call(&mut self, request: Request<I>) -> Self::Future {
        let answer = (self.0)(request.into_inner());
        Box::pin(async move { answer.await.map(Response::new) })
    }
}

type Answer = BoxFuture<http::Response<Body>, Infallible>;

impl tower::Service<http::Request<Body>> for Tracking {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let peer = self.0.clone();
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            Ok(match path.rsplit('/').next() {
                Some("GetRun") => {
                    let method = Method(move |m: tracking::GetRunRequest| {
                        let peer = peer.clone();
                        async move { peer.get_run(&m.run_id) }
                    });
                    Grpc::new(ProstCodec::default()).unary(method, request).await
                }
                Some("GetLoggedModel") => {
                    let method = Method(move |m: tracking::GetLoggedModelRequest| {
                        let peer = peer.clone();
                        async move { peer.get_model(&m.model_id) }
                    });
                    Grpc::new(ProstCodec::default()).unary(method, request).await
                }
                Some("GetExperiment") => {
                    let method = Method(move |_: tracking::GetExperimentRequest| {
                        let peer = peer.clone();
                        async move { peer.get_experiment() }
                    });
                    Grpc::new(ProstCodec::default()).unary(method, request).await
                }
                Some("RecordModelVersions") => {
                    let method = Method(move |m: tracking::RecordModelVersionsRequest| {
                        let peer = peer.clone();
                        async move { peer.record_new(m).await }
                    });
                    Grpc::new(ProstCodec::default()).unary(method, request).await
                }
                _ => {
                    let method = Method(move |m: tracking::RecordModelVersionRequest| {
                        let peer = peer.clone();
                        async move { peer.record(m).await }
                    });
                    Grpc::new(ProstCodec::default()).unary(method, request).await
                }
            })
        })
    }
}

impl tower::Service<http::Request<Body>> for Artifacts {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let peer = self.0.clone();
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            Ok(match path.rsplit('/').next() {
                Some("HoldArtifacts") => {
                    let method = Method(move |m: artifacts::HoldArtifactsRequest| {
                        let peer = peer.clone();
                        async move { peer.hold(m.hold.unwrap()) }
                    });
                    Grpc::new(ProstCodec::default()).unary(method, request).await
                }
                Some("ReleaseArtifacts") => {
                    let method = Method(move |m: artifacts::ReleaseArtifactsRequest| {
                        let peer = peer.clone();
                        async move {
                            let takes = peer.script(|s| {
                                s.releases += 1;
                                s.release_takes
                            });
                            tokio::time::sleep(takes).await;
                            peer.release(m)
                        }
                    });
                    Grpc::new(ProstCodec::default()).unary(method, request).await
                }
                Some("DownloadArtifact") => {
                    let method = Download(peer.clone());
                    Grpc::new(ProstCodec::default())
                        .server_streaming(method, request)
                        .await
                }
                Some("GetArtifact") => {
                    let method = Method(move |m: artifacts::GetArtifactRequest| {
                        let peer = peer.clone();
                        async move { peer.file(&m.location) }
                    });
                    Grpc::new(ProstCodec::default()).unary(method, request).await
                }
                Some("ListHolds") => {
                    let method = Method(move |_: artifacts::ListHoldsRequest| {
                        let peer = peer.clone();
                        async move { peer.holds() }
                    });
                    Grpc::new(ProstCodec::default()).unary(method, request).await
                }
                Some("ListBuckets") => {
                    let method = Method(move |_: artifacts::ListBucketsRequest| {
                        let peer = peer.clone();
                        async move { peer.buckets() }
                    });
                    Grpc::new(ProstCodec::default()).unary(method, request).await
                }
                _ => {
                    let method = Method(move |m: artifacts::GetManifestRequest| {
                        let peer = peer.clone();
                        async move {
                            let found = peer.manifest(&m.location);
                            tokio::time::sleep(peer.script(|s| s.manifest_takes)).await;
                            found
                        }
                    });
                    Grpc::new(ProstCodec::default()).unary(method, request).await
                }
            })
        })
    }
}
