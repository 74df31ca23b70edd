//! A registry and an artifact service that know the folders that a test tells them, over real gRPC messages.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use lodeway_domain::{Error, ResourceKind};
use lodeway_proto::{
    artifacts::v1 as artifacts, artifacts::v1::artifact_service_client::ArtifactServiceClient,
    registry::v1 as registry, registry::v1::registry_service_client::RegistryServiceClient,
};
use lodeway_rpc::{Transport, status::status_of};
use lodeway_serving::Peers;
use tokio::sync::watch;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::BoxFuture,
    server::{Grpc, NamedService, ServerStreamingService, UnaryService},
    service::Routes,
};
use tonic_prost::ProstCodec;

/// A version as the registry knows it.
#[derive(Debug, Clone)]
pub struct Version {
    pub folder: PathBuf,
    pub uid: String,
    /// The digest of its files when it was registered.
    pub digest: String,
}

#[derive(Default)]
struct Script {
    /// By `models:/NAME/VERSION`.
    versions: BTreeMap<String, Version>,
    /// The digests of all files, by folder.
    manifests: BTreeMap<PathBuf, artifacts::GetManifestResponse>,
    downloads: usize,
}

#[derive(Clone)]
pub struct Peer {
    script: Arc<Mutex<Script>>,
    held: watch::Sender<bool>,
}

impl Peer {
    pub fn new() -> Self {
        Self {
            script: Arc::default(),
            held: watch::Sender::new(false),
        }
    }

    fn script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.script.lock().unwrap())
    }

    /// Registers a folder as a version; its digests are those of its files now.
    pub fn register(&self, uri: &str, folder: &Path) {
        let manifest = manifest(folder);
        let version = Version {
            folder: folder.to_owned(),
            uid: "u1".to_owned(),
            digest: manifest.content_digest.clone(),
        };
        self.script(|s| {
            s.versions.insert(uri.to_owned(), version);
            s.manifests.insert(folder.to_owned(), manifest);
        });
    }

    /// The artifact service has seen the files change.
    pub fn rescan(&self, folder: &Path) {
        self.script(|s| s.manifests.insert(folder.to_owned(), manifest(folder)));
    }

    /// How many files were fetched.
    pub fn downloads(&self) -> usize {
        self.script(|s| s.downloads)
    }

    /// From now on files are not handed out until [`Peer::release`].
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    pub fn release(&self) {
        self.held.send_replace(false);
    }

    pub fn peers(&self) -> Peers {
        let registry = Transport::local(Routes::new(Registry(self.clone())));
        let artifacts = Transport::local(Routes::new(Artifacts(self.clone())));
        Peers {
            registry: Some(RegistryServiceClient::new(registry)),
            artifacts: Some(ArtifactServiceClient::new(artifacts)),
        }
    }

    fn resolve(&self, uri: &str) -> Result<registry::ResolveModelResponse, Status> {
        let found = self.script(|s| s.versions.get(uri).cloned());
        let found = found.ok_or_else(|| unknown(ResourceKind::ModelVersion, uri))?;
        let (name, version) = uri.trim_start_matches("models:/").split_once('/').unwrap();
        let artifact_uri = found.folder.display().to_string();
        let version = registry::ModelVersion {
            name: name.to_owned(),
            version: version.parse().unwrap(),
            model_uid: found.uid,
            content_digest: found.digest,
            ..Default::default()
        };
        Ok(registry::ResolveModelResponse {
            model_version: Some(version),
            artifact_uri,
            ..Default::default()
        })
    }

    fn manifest(&self, location: &str) -> Result<artifacts::GetManifestResponse, Status> {
        let found = self.script(|s| s.manifests.get(Path::new(location)).cloned());
        found.ok_or_else(|| unknown(ResourceKind::Artifact, location))
    }

    async fn download(&self, message: artifacts::DownloadArtifactRequest) -> Result<Vec<u8>, Status> {
        self.script(|s| s.downloads += 1);
        let mut held = self.held.subscribe();
        held.wait_for(|is_held| !is_held).await.unwrap();
        fs::read(Path::new(&message.location).join(&message.path))
            .map_err(|_| unknown(ResourceKind::Artifact, &message.path))
    }
}

fn unknown(kind: ResourceKind, name: &str) -> Status {
    status_of(&Error::not_found(kind, name), "peer", "registry.lodeway.dev")
}

fn manifest(folder: &Path) -> artifacts::GetManifestResponse {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let artifacts: Vec<_> = files
        .iter()
        .map(|path| artifacts::Artifact {
            path: path.file_name().unwrap().to_str().unwrap().to_owned(),
            size_bytes: fs::metadata(path).unwrap().len() as i64,
            sha256: sha256(&fs::read(path).unwrap()),
            ..Default::default()
        })
        .collect();
    let listed: String = artifacts
        .iter()
        .map(|one| format!("{} {}\n", one.path, one.sha256))
        .collect();
    artifacts::GetManifestResponse {
        content_digest: sha256(listed.as_bytes()),
        artifacts,
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}

#[derive(Clone)]
struct Registry(Peer);

#[derive(Clone)]
struct Artifacts(Peer);

impl NamedService for Registry {
    const NAME: &'static str = "lodeway.registry.v1.RegistryService";
}

impl NamedService for Artifacts {
    const NAME: &'static str = "lodeway.artifacts.v1.ArtifactService";
}

struct Resolve(Peer);

impl UnaryService<registry::ResolveModelRequest> for Resolve {
    type Response = registry::ResolveModelResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<registry::ResolveModelRequest>) -> Self::Future {
        let answer = self.0.resolve(&request.into_inner().uri);
        Box::pin(async move { answer.map(Response::new) })
    }
}

struct Manifest(Peer);

impl UnaryService<artifacts::GetManifestRequest> for Manifest {
    type Response = artifacts::GetManifestResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<artifacts::GetManifestRequest>) -> Self::Future {
        let answer = self.0.manifest(&request.into_inner().location);
        Box::pin(async move { answer.map(Response::new) })
    }
}

struct Download(Peer);

impl ServerStreamingService<artifacts::DownloadArtifactRequest> for Download {
    type Response = artifacts::DownloadArtifactResponse;
    type ResponseStream =
        futures::stream::Iter<std::vec::IntoIter<Result<artifacts::DownloadArtifactResponse, Status>>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<artifacts::DownloadArtifactRequest>) -> Self::Future {
        use artifacts::download_artifact_response::Kind;
        let peer = self.0.clone();
        Box::pin(async move {
            let bytes = peer.download(request.into_inner()).await?;
            let chunk = |chunk: &[u8]| artifacts::DownloadArtifactResponse {
                kind: Some(Kind::Chunk(chunk.to_vec().into())),
            };
            let chunks: Vec<_> = bytes.chunks(1_000).map(|bytes| Ok(chunk(bytes))).collect();
            Ok(Response::new(futures::stream::iter(chunks)))
        })
    }
}

type Answer = BoxFuture<http::Response<Body>, Infallible>;

impl tower::Service<http::Request<Body>> for Registry {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let method = Resolve(self.0.clone());
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(method, request).await) })
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
            let is_manifest = request.uri().path().ends_with("/GetManifest");
            Ok(if is_manifest {
                Grpc::new(ProstCodec::default())
                    .unary(Manifest(peer), request)
                    .await
            } else {
                Grpc::new(ProstCodec::default())
                    .server_streaming(Download(peer), request)
                    .await
            })
        })
    }
}
