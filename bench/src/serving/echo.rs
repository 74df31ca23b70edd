//! A bare tonic server of the Open Inference Protocol that gives back what it gets: the least a call can cost.

use std::{net::SocketAddr, pin::Pin};

use anyhow::Result;
use lodeway_proto::inference::{
    self as wire,
    grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer},
    model_infer_response::InferOutputTensor,
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming, async_trait, transport::Server};

struct Echo;

/// Serves until the process is ended.
pub fn run(listen: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let server = Server::builder()
        .tcp_nodelay(true)
        .add_service(GrpcInferenceServiceServer::new(Echo));
    runtime.block_on(server.serve(listen))?;
    Ok(())
}

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("this server only echoes ModelInfer"))
}

#[async_trait]
impl GrpcInferenceService for Echo {
    type ModelStreamInferStream =
        Pin<Box<dyn Stream<Item = Result<wire::ModelStreamInferResponse, Status>> + Send>>;

    async fn model_infer(
        &self,
        request: Request<wire::ModelInferRequest>,
    ) -> Result<Response<wire::ModelInferResponse>, Status> {
        let asked = request.into_inner();
        let outputs = asked.inputs.into_iter().map(|input| InferOutputTensor {
            name: input.name,
            datatype: input.datatype,
            shape: input.shape,
            parameters: input.parameters,
            contents: input.contents,
        });
        Ok(Response::new(wire::ModelInferResponse {
            model_name: asked.model_name,
            model_version: asked.model_version,
            id: asked.id,
            parameters: asked.parameters,
            outputs: outputs.collect(),
            raw_output_contents: asked.raw_input_contents,
        }))
    }

    async fn server_live(
        &self,
        _: Request<wire::ServerLiveRequest>,
    ) -> Result<Response<wire::ServerLiveResponse>, Status> {
        Ok(Response::new(wire::ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<wire::ServerReadyRequest>,
    ) -> Result<Response<wire::ServerReadyResponse>, Status> {
        Ok(Response::new(wire::ServerReadyResponse { ready: true }))
    }

    async fn model_ready(
        &self,
        _: Request<wire::ModelReadyRequest>,
    ) -> Result<Response<wire::ModelReadyResponse>, Status> {
        Ok(Response::new(wire::ModelReadyResponse { ready: true }))
    }

    async fn server_metadata(
        &self,
        _: Request<wire::ServerMetadataRequest>,
    ) -> Result<Response<wire::ServerMetadataResponse>, Status> {
        not_here()
    }

    async fn model_metadata(
        &self,
        _: Request<wire::ModelMetadataRequest>,
    ) -> Result<Response<wire::ModelMetadataResponse>, Status> {
        not_here()
    }

    async fn model_stream_infer(
        &self,
        _: Request<Streaming<wire::ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        not_here()
    }

    async fn repository_index(
        &self,
        _: Request<wire::RepositoryIndexRequest>,
    ) -> Result<Response<wire::RepositoryIndexResponse>, Status> {
        not_here()
    }

    async fn repository_model_load(
        &self,
        _: Request<wire::RepositoryModelLoadRequest>,
    ) -> Result<Response<wire::RepositoryModelLoadResponse>, Status> {
        not_here()
    }

    async fn repository_model_unload(
        &self,
        _: Request<wire::RepositoryModelUnloadRequest>,
    ) -> Result<Response<wire::RepositoryModelUnloadResponse>, Status> {
        not_here()
    }
}
