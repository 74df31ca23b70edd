//! The generated trait: each method parses, calls the use case, and renders.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use lodeway_domain::{Error, evaluation::Dataset};
use lodeway_proto::evaluation::v1::{
    self as wire, dataset_service_server::DatasetService, upload_dataset_version_request::Part,
};
use lodeway_rpc::{context, status};
use lodeway_store::evaluation::DatasetStore as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{Datasets, convert, leftovers, versions};
use crate::evaluations::convert::write;

type Rows = Pin<Box<dyn Stream<Item = Result<wire::ReadDatasetResponse, Status>> + Send>>;

#[async_trait]
impl DatasetService for Datasets {
    type ReadDatasetStream = Rows;

    async fn create_dataset(
        &self,
        request: Request<wire::CreateDatasetRequest>,
    ) -> Result<Response<wire::CreateDatasetResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let now = self.site.clock.now();
        let write = write(&cx, &message, &message.request_id, now).map_err(fail)?;
        let new = convert::new_dataset(&cx, message, now).map_err(fail)?;
        let made = self.site.store.create_dataset(write, new).await.map_err(fail)?;
        Ok(Response::new(wire::CreateDatasetResponse {
            dataset: Some(convert::dataset(made)),
        }))
    }

    async fn get_dataset(
        &self,
        request: Request<wire::GetDatasetRequest>,
    ) -> Result<Response<wire::GetDatasetResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let name = convert::name(&message.name).map_err(fail)?;
        let found = self.site.store.dataset(&cx.caller.workspace, &name).await;
        Ok(Response::new(wire::GetDatasetResponse {
            dataset: Some(convert::dataset(found.map_err(fail)?)),
        }))
    }

    async fn list_datasets(
        &self,
        request: Request<wire::ListDatasetsRequest>,
    ) -> Result<Response<wire::ListDatasetsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let (size, token, prefix) = (message.page_size, &message.page_token, &message.name_prefix);
        let page = convert::page(&cx, size, token, "datasets", prefix).map_err(fail)?;
        let found = self
            .site
            .store
            .datasets(&cx.caller.workspace, prefix, &page)
            .await;
        let found = found.map_err(fail)?;
        Ok(Response::new(wire::ListDatasetsResponse {
            next_page_token: found.token(page.query),
            datasets: found.items.into_iter().map(convert::dataset).collect(),
        }))
    }

    async fn update_dataset(
        &self,
        request: Request<wire::UpdateDatasetRequest>,
    ) -> Result<Response<wire::UpdateDatasetResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let write = write(&cx, &message, &message.request_id, self.site.clock.now()).map_err(fail)?;
        let update = convert::update(message).map_err(fail)?;
        let changed = self
            .site
            .store
            .update_dataset(write, update)
            .await
            .map_err(fail)?;
        Ok(Response::new(wire::UpdateDatasetResponse {
            dataset: Some(convert::dataset(changed)),
        }))
    }

    async fn delete_dataset(
        &self,
        request: Request<wire::DeleteDatasetRequest>,
    ) -> Result<Response<wire::DeleteDatasetResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let write = write(&cx, &message, &message.request_id, self.site.clock.now()).map_err(fail)?;
        let name = convert::name(&message.name).map_err(fail)?;
        let root = versions::root(&cx.caller.workspace);
        let gone = self.site.store.delete_dataset(write, name, root).await;
        gone.map_err(fail)?;
        if self.site.peers.artifacts.is_some() {
            leftovers::sweep(&self.site).await;
        }
        Ok(Response::new(wire::DeleteDatasetResponse {}))
    }

    async fn upload_dataset_version(
        &self,
        request: Request<Streaming<wire::UploadDatasetVersionRequest>>,
    ) -> Result<Response<wire::UploadDatasetVersionResponse>, Status> {
        let (cx, mut parts) = context::split(request)?;
        let fail = |e| cx.status(e);
        let first = parts.message().await?.and_then(|message| message.part);
        let Some(Part::Header(message)) = first else {
            return Err(fail(Error::invalid("header", "must come first")));
        };
        let header = convert::header(message.clone()).map_err(fail)?;
        let parts = parts.map(|part| match part.map(|message| message.part) {
            Ok(Some(Part::Chunk(chunk))) => Ok(chunk),
            Ok(_) => Err(Error::invalid(
                "chunk",
                "must follow the header; nothing else may",
            )),
            Err(broken) => Err(status::of_request(&broken)),
        });
        let now = self.site.clock.now();
        let write = |sha256: &str| convert::upload_write(&cx, &message, sha256, now);
        let made = self.upload(&cx, header, parts, write).await.map_err(fail)?;
        Ok(Response::new(wire::UploadDatasetVersionResponse {
            dataset_version: Some(convert::version(made)),
        }))
    }

    async fn register_dataset_version(
        &self,
        request: Request<wire::RegisterDatasetVersionRequest>,
    ) -> Result<Response<wire::RegisterDatasetVersionResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let request_id = message.header.as_ref().map_or("", |header| &header.request_id);
        let write = write(&cx, &message, request_id, self.site.clock.now()).map_err(fail)?;
        let header = convert::header(message.header.unwrap_or_default()).map_err(fail)?;
        let made = self
            .register(&cx, header, message.uri, write)
            .await
            .map_err(fail)?;
        Ok(Response::new(wire::RegisterDatasetVersionResponse {
            dataset_version: Some(convert::version(made)),
        }))
    }

    async fn add_records(
        &self,
        request: Request<wire::AddRecordsRequest>,
    ) -> Result<Response<wire::AddRecordsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let now = self.site.clock.now();
        let write = write(&cx, &message, &message.request_id, now).map_err(fail)?;
        let name = convert::name(&message.name).map_err(fail)?;
        let records = convert::records(message.records).map_err(fail)?;
        let new = Dataset::new(name, &cx.caller.principal, now);
        let pending = self.site.store.add_records(write, new, records).await;
        Ok(Response::new(wire::AddRecordsResponse {
            pending_records: pending.map_err(fail)?,
        }))
    }

    async fn publish_records(
        &self,
        request: Request<wire::PublishRecordsRequest>,
    ) -> Result<Response<wire::PublishRecordsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let write = write(&cx, &message, &message.request_id, self.site.clock.now()).map_err(fail)?;
        let header = convert::publishing(message).map_err(fail)?;
        let made = self.publish(&cx, header, write).await.map_err(fail)?;
        Ok(Response::new(wire::PublishRecordsResponse {
            dataset_version: Some(convert::version(made)),
        }))
    }

    async fn capture_traffic(
        &self,
        request: Request<wire::CaptureTrafficRequest>,
    ) -> Result<Response<wire::CaptureTrafficResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let now = self.site.clock.now();
        let write = write(&cx, &message, &message.request_id, now).map_err(fail)?;
        let wanted = convert::capturing(message, now).map_err(fail)?;
        let made = self.capture(&cx, wanted, write).await.map_err(fail)?;
        Ok(Response::new(wire::CaptureTrafficResponse {
            dataset_version: Some(convert::version(made)),
        }))
    }

    async fn get_dataset_version(
        &self,
        request: Request<wire::GetDatasetVersionRequest>,
    ) -> Result<Response<wire::GetDatasetVersionResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let (name, version) = convert::name_and_version(&message.name, message.version).map_err(fail)?;
        let workspace = &cx.caller.workspace;
        let found = self.site.store.dataset_version(workspace, &name, version).await;
        Ok(Response::new(wire::GetDatasetVersionResponse {
            dataset_version: Some(convert::version(found.map_err(fail)?)),
        }))
    }

    async fn list_dataset_versions(
        &self,
        request: Request<wire::ListDatasetVersionsRequest>,
    ) -> Result<Response<wire::ListDatasetVersionsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let name = convert::name(&message.name).map_err(fail)?;
        let (size, token) = (message.page_size, &message.page_token);
        let page = convert::page(&cx, size, token, "dataset versions", name.as_str()).map_err(fail)?;
        let found = self
            .site
            .store
            .dataset_versions(&cx.caller.workspace, &name, &page)
            .await;
        let found = found.map_err(fail)?;
        Ok(Response::new(wire::ListDatasetVersionsResponse {
            next_page_token: found.token(page.query),
            dataset_versions: found.items.into_iter().map(convert::version).collect(),
        }))
    }

    async fn read_dataset(
        &self,
        request: Request<wire::ReadDatasetRequest>,
    ) -> Result<Response<Rows>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let wanted = convert::wanted(message).map_err(fail)?;
        let messages = self.read(&cx, wanted).await.map_err(fail)?;
        let messages = ReceiverStream::new(messages).map(move |message| message.map_err(|e| cx.status(e)));
        Ok(Response::new(Box::pin(messages)))
    }
}
