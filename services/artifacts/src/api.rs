//! The generated trait: each method parses, calls the store, and renders.

use lodeway_domain::{Error, ResourceKind};
use lodeway_proto::artifacts::v1::{
    AbortMultipartUploadRequest, AbortMultipartUploadResponse, CompleteMultipartUploadRequest,
    CompleteMultipartUploadResponse, CreateMultipartUploadRequest, CreateMultipartUploadResponse,
    DeleteArtifactsRequest, DeleteArtifactsResponse, DownloadArtifactRequest, GetArtifactRequest,
    GetArtifactResponse, GetManifestRequest, GetManifestResponse, HoldArtifactsRequest,
    HoldArtifactsResponse, ListArtifactsRequest, ListArtifactsResponse, ListBucketsRequest,
    ListBucketsResponse, ListHoldsRequest, ListHoldsResponse, PresignArtifactRequest,
    PresignArtifactResponse, ReleaseArtifactsRequest, ReleaseArtifactsResponse, UploadArtifactRequest,
    UploadArtifactResponse, artifact_service_server::ArtifactService,
};
use lodeway_rpc::{context, time::to_wire};
use lodeway_store::artifacts::{PresignMethod, Range, Reach, Trust};
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::{
    Artifacts, convert,
    transfer::{self, DownloadStream},
};

/// How long the addresses of an upload in parts work.
const PART_EXPIRY: std::time::Duration = std::time::Duration::from_secs(3_600);
/// The most files of a manifest.
const MAX_MANIFEST: usize = 100_000;

#[async_trait]
impl ArtifactService for Artifacts {
    type DownloadArtifactStream = DownloadStream;

    async fn upload_artifact(
        &self,
        request: Request<Streaming<UploadArtifactRequest>>,
    ) -> Result<Response<UploadArtifactResponse>, Status> {
        let (cx, mut messages) = context::split(request)?;
        let opening = transfer::opening(&mut messages).await?;
        let fail = |e: Error| cx.status(e);
        let file = convert::file_to_change(&self.store, &cx, &opening.location, &opening.path)
            .await
            .map_err(fail)?;
        let expected = convert::expected(&opening).map_err(fail)?;
        let chunks = transfer::chunks(messages);
        let digest = self
            .store
            .put(&file.location, &file.path, chunks, expected)
            .await
            .map_err(fail)?;
        let artifact = convert::stored(&file.path, &digest, self.clock.now());
        Ok(Response::new(UploadArtifactResponse {
            artifact: Some(artifact),
        }))
    }

    async fn download_artifact(
        &self,
        request: Request<DownloadArtifactRequest>,
    ) -> Result<Response<DownloadStream>, Status> {
        let (cx, request) = context::split(request)?;
        let fail = |e: Error| cx.status(e);
        let file = convert::file(&self.store, &cx, &request.location, &request.path)
            .await
            .map_err(fail)?;
        let range = convert::range(&request).map_err(fail)?;
        let (meta, body) = self
            .store
            .get(&file.location, &file.path, range)
            .await
            .map_err(fail)?;
        let first = convert::opened(&file.path, &meta);
        Ok(Response::new(transfer::messages(cx, first, body)))
    }

    async fn get_artifact(
        &self,
        request: Request<GetArtifactRequest>,
    ) -> Result<Response<GetArtifactResponse>, Status> {
        let (cx, request) = context::split(request)?;
        let fail = |e: Error| cx.status(e);
        let named = convert::file_or_folder(&self.store, &cx, (&request.location, &request.path), Reach::One)
            .await
            .map_err(fail)?;
        let found = self
            .store
            .stat(&named.location, &named.path)
            .await
            .map_err(fail)?;
        let entry = found.ok_or_else(|| fail(Error::not_found(ResourceKind::Artifact, &request.path)))?;
        let mut artifact = convert::entry(entry, None);
        if !artifact.is_dir {
            // Opening tells which digest belongs to the file; no byte of it is read.
            let nothing = Some(Range {
                offset: 0,
                len: Some(0),
            });
            let (meta, _) = self
                .store
                .get(&named.location, &named.path, nothing)
                .await
                .map_err(fail)?;
            artifact = convert::opened(&named.path, &meta);
        }
        Ok(Response::new(GetArtifactResponse {
            artifact: Some(artifact),
        }))
    }

    async fn list_artifacts(
        &self,
        request: Request<ListArtifactsRequest>,
    ) -> Result<Response<ListArtifactsResponse>, Status> {
        let (cx, request) = context::split(request)?;
        let fail = |e: Error| cx.status(e);
        let folder = convert::file_or_folder(
            &self.store,
            &cx,
            (&request.location, &request.path),
            if request.recursive { Reach::All } else { Reach::One },
        )
        .await
        .map_err(fail)?;
        let page = convert::page(&request).map_err(fail)?;
        let found = self
            .store
            .list(&folder.location, &folder.path, request.recursive, &page)
            .await
            .map_err(fail)?;
        let digests = self.store.recorded(&folder.location, &found.items).await;
        let digests = digests.map_err(fail)?;
        Ok(Response::new(ListArtifactsResponse {
            next_page_token: found.token(page.query),
            artifacts: found
                .items
                .into_iter()
                .zip(digests)
                .map(|(entry, digest)| convert::entry(entry, digest))
                .collect(),
        }))
    }

    async fn delete_artifacts(
        &self,
        request: Request<DeleteArtifactsRequest>,
    ) -> Result<Response<DeleteArtifactsResponse>, Status> {
        let (cx, request) = context::split(request)?;
        let fail = |e: Error| cx.status(e);
        let named = convert::folder_to_change(&self.store, &cx, &request.location, &request.path)
            .await
            .map_err(fail)?;
        let below = named.location.join(&named.path).map_err(fail)?;
        let removed = self
            .store
            .delete_prefix(&below, request.dry_run)
            .await
            .map_err(fail)?;
        if request.path.is_empty() && !request.dry_run {
            self.store
                .remove_empty_above(&named.location)
                .await
                .map_err(fail)?;
        }
        Ok(Response::new(DeleteArtifactsResponse {
            artifact_count: convert::size(removed.files),
            artifact_bytes: convert::size(removed.size_bytes),
        }))
    }

    async fn presign_artifact(
        &self,
        request: Request<PresignArtifactRequest>,
    ) -> Result<Response<PresignArtifactResponse>, Status> {
        let (cx, request) = context::split(request)?;
        let fail = |e: Error| cx.status(e);
        let (method, expires) = convert::presign(&request).map_err(fail)?;
        let (location, path) = (&request.location, &request.path);
        let file = match method {
            PresignMethod::Put => convert::file_to_change(&self.store, &cx, location, path).await,
            _ => convert::file(&self.store, &cx, location, path).await,
        };
        let file = file.map_err(fail)?;
        let until = self.clock.now().plus(expires);
        let signed = self
            .store
            .presign(&file.location, &file.path, method, expires)
            .await
            .map_err(fail)?;
        Ok(Response::new(PresignArtifactResponse {
            url: signed.url,
            headers: signed.headers.into_iter().collect(),
            expire_time: to_wire(until),
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: Request<CreateMultipartUploadRequest>,
    ) -> Result<Response<CreateMultipartUploadResponse>, Status> {
        let (cx, request) = context::split(request)?;
        let fail = |e: Error| cx.status(e);
        let file = convert::file_to_change(&self.store, &cx, &request.location, &request.path)
            .await
            .map_err(fail)?;
        let count = convert::part_count(request.part_count).map_err(fail)?;
        let upload = self
            .store
            .create_multipart(&file.location, &file.path, count, PART_EXPIRY)
            .await
            .map_err(fail)?;
        Ok(Response::new(convert::multipart(upload)))
    }

    async fn complete_multipart_upload(
        &self,
        request: Request<CompleteMultipartUploadRequest>,
    ) -> Result<Response<CompleteMultipartUploadResponse>, Status> {
        let (cx, request) = context::split(request)?;
        let fail = |e: Error| cx.status(e);
        let file = convert::file_to_change(&self.store, &cx, &request.location, &request.path)
            .await
            .map_err(fail)?;
        let parts = convert::parts(request.parts).map_err(fail)?;
        let done = self
            .store
            .complete_multipart(&file.location, &file.path, &request.upload_id, parts);
        done.await.map_err(fail)?;
        Ok(Response::new(CompleteMultipartUploadResponse {}))
    }

    async fn abort_multipart_upload(
        &self,
        request: Request<AbortMultipartUploadRequest>,
    ) -> Result<Response<AbortMultipartUploadResponse>, Status> {
        let (cx, request) = context::split(request)?;
        let fail = |e: Error| cx.status(e);
        let file = convert::file_to_change(&self.store, &cx, &request.location, &request.path)
            .await
            .map_err(fail)?;
        self.store
            .abort_multipart(&file.location, &file.path, &request.upload_id)
            .await
            .map_err(fail)?;
        Ok(Response::new(AbortMultipartUploadResponse {}))
    }

    async fn get_manifest(
        &self,
        request: Request<GetManifestRequest>,
    ) -> Result<Response<GetManifestResponse>, Status> {
        let (cx, request) = context::split(request)?;
        let fail = |e: Error| cx.status(e);
        let folder =
            convert::file_or_folder(&self.store, &cx, (&request.location, &request.path), Reach::All)
                .await
                .map_err(fail)?;
        let location = folder.location.join(&folder.path).map_err(fail)?;
        let manifest = self
            .store
            .manifest(&location, Trust::Recorded)
            .await
            .map_err(fail)?;
        if manifest.entries.len() > MAX_MANIFEST {
            let message = format!("`{}` holds more than {MAX_MANIFEST} files", request.location);
            return Err(fail(Error::Exhausted {
                message,
                retry_after: None,
            }));
        }
        Ok(Response::new(GetManifestResponse {
            content_digest: manifest.digest.to_string(),
            artifacts: manifest
                .entries
                .into_iter()
                .map(convert::manifest_entry)
                .collect(),
        }))
    }

    async fn hold_artifacts(
        &self,
        request: Request<HoldArtifactsRequest>,
    ) -> Result<Response<HoldArtifactsResponse>, Status> {
        let (cx, request) = context::split(request)?;
        let fail = |e: Error| cx.status(e);
        let hold = convert::hold(request.hold, self.clock.now()).map_err(fail)?;
        let folder = convert::file_or_folder(&self.store, &cx, (&hold.uri, ""), Reach::All)
            .await
            .map_err(fail)?;
        self.store
            .hold(&folder.location, &cx.caller.workspace, hold)
            .await
            .map_err(fail)?;
        Ok(Response::new(HoldArtifactsResponse {}))
    }

    async fn release_artifacts(
        &self,
        request: Request<ReleaseArtifactsRequest>,
    ) -> Result<Response<ReleaseArtifactsResponse>, Status> {
        let (cx, request) = context::split(request)?;
        let fail = |e: Error| cx.status(e);
        let folder = convert::file_or_folder(&self.store, &cx, (&request.location, ""), Reach::All)
            .await
            .map_err(fail)?;
        self.store
            .release(&folder.location, &request.holder)
            .await
            .map_err(fail)?;
        Ok(Response::new(ReleaseArtifactsResponse {}))
    }

    async fn list_holds(
        &self,
        request: Request<ListHoldsRequest>,
    ) -> Result<Response<ListHoldsResponse>, Status> {
        let (cx, request) = context::split(request)?;
        let fail = |e: Error| cx.status(e);
        let page = convert::holds_page(&cx, &request).map_err(fail)?;
        let found = self
            .store
            .holds(&cx.caller.workspace, &page)
            .await
            .map_err(fail)?;
        Ok(Response::new(ListHoldsResponse {
            next_page_token: found.token(page.query),
            holds: found.items.into_iter().map(convert::hold_out).collect(),
        }))
    }

    async fn list_buckets(
        &self,
        request: Request<ListBucketsRequest>,
    ) -> Result<Response<ListBucketsResponse>, Status> {
        context::split(request)?;
        let buckets = self.store.roots().buckets();
        Ok(Response::new(ListBucketsResponse { buckets }))
    }
}
