//! Calls over gRPC: endpoints and deployments made, load of the Open Inference Protocol.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lodeway_proto::{
    gateway::v1::{
        CreateEndpointRequest, RevisionSpec, Target as EndpointTarget, TargetSettings,
        endpoint_service_client::EndpointServiceClient,
    },
    inference::{ModelInferRequest, grpc_inference_service_client::GrpcInferenceServiceClient},
    serving::v1::{CreateDeploymentRequest, deployment_service_client::DeploymentServiceClient},
};
use tokio::{runtime::Runtime, task::JoinSet};
use tonic::{Code, transport::Channel};

use crate::load::{Round, Target};

/// How long a model may take to get ready.
const PATIENCE: prost_types::Duration = prost_types::Duration {
    seconds: 120,
    nanos: 0,
};

async fn channel(addr: SocketAddr) -> Result<Channel> {
    let endpoint = Channel::from_shared(format!("http://{addr}"))?.tcp_nodelay(true);
    Ok(endpoint.connect().await?)
}

/// Makes an endpoint of versions with their weights and waits until it is ready; one that is there stays as it is.
pub async fn endpoint(
    addr: SocketAddr,
    name: &str,
    targets: &[(&str, u32)],
    settings: &TargetSettings,
) -> Result<()> {
    let targets = targets.iter().map(|(reference, weight)| EndpointTarget {
        reference: (*reference).to_owned(),
        weight: *weight,
        settings: Some(settings.clone()),
        ..EndpointTarget::default()
    });
    let request = CreateEndpointRequest {
        name: name.to_owned(),
        spec: Some(RevisionSpec {
            targets: targets.collect(),
            ..RevisionSpec::default()
        }),
        wait: Some(PATIENCE),
        ..CreateEndpointRequest::default()
    };
    let mut client = EndpointServiceClient::new(channel(addr).await?);
    match client.create_endpoint(request).await {
        Err(status) if status.code() != Code::AlreadyExists => Err(status.into()),
        _ => Ok(()),
    }
}

/// Makes a deployment on a model host and waits until it is ready; its id.
pub async fn deployment(addr: SocketAddr, source: &str) -> Result<String> {
    let mut client = DeploymentServiceClient::new(channel(addr).await?);
    let request = CreateDeploymentRequest {
        source: source.to_owned(),
        wait: Some(PATIENCE),
        ..CreateDeploymentRequest::default()
    };
    let made = client.create_deployment(request).await?.into_inner();
    let made = made.deployment.unwrap_or_default();
    ensure!(
        made.ready_time.is_some(),
        "`{source}` did not get ready: {}",
        made.state_reason
    );
    Ok(made.deployment_id)
}

/// Scores one input, once.
pub async fn score(addr: SocketAddr, request: ModelInferRequest) -> Result<()> {
    scored(
        &mut GrpcInferenceServiceClient::new(channel(addr).await?),
        request,
    )
    .await
}

async fn scored(client: &mut GrpcInferenceServiceClient<Channel>, request: ModelInferRequest) -> Result<()> {
    let answer = client.model_infer(request).await?.into_inner();
    ensure!(!answer.outputs.is_empty(), "an answer without outputs");
    Ok(())
}

/// Scores `request` for `time` over so many connections, one call at a time on each; they are open before the round.
pub fn load(
    runtime: &Runtime,
    target: &Target,
    request: &ModelInferRequest,
    concurrency: usize,
    time: Duration,
) -> Result<Round> {
    let clients = runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..concurrency {
            let mut client = GrpcInferenceServiceClient::new(channel(target.addr).await?);
            scored(&mut client, request.clone()).await?;
            clients.push(client);
        }
        anyhow::Ok(clients)
    })?;
    target.measure(|| {
        runtime.block_on(async {
            let mut set = JoinSet::new();
            for client in clients {
                set.spawn(repeat(client, request.clone(), time));
            }
            let mut all = Vec::new();
            while let Some(done) = set.join_next().await {
                all.extend(done??);
            }
            Ok(all)
        })
    })
}

/// How long each call took, in ms.
async fn repeat(
    mut client: GrpcInferenceServiceClient<Channel>,
    request: ModelInferRequest,
    time: Duration,
) -> Result<Vec<f64>> {
    let (start, mut latencies) = (Instant::now(), Vec::new());
    while latencies.is_empty() || start.elapsed() < time {
        let sent = Instant::now();
        scored(&mut client, request.clone()).await?;
        latencies.push(sent.elapsed().as_secs_f64() * 1e3);
    }
    Ok(latencies)
}
