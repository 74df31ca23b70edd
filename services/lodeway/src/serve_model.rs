//! `lodeway serve-model`: one model behind one endpoint, in a process of its own.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use lodeway_proto::{
    gateway::v1::{
        CreateEndpointRequest, RevisionSpec, Target, TargetSettings,
        endpoint_service_client::EndpointServiceClient,
    },
    inference::{RepositoryModelLoadRequest, grpc_inference_service_client::GrpcInferenceServiceClient},
};
use lodeway_rpc::{config::Secret, telemetry::Telemetry};
use tonic::transport::Channel;

use crate::{
    address::Address,
    compose,
    config::{Config, Peer, ServiceName},
    credential::Token,
    say, settings, shutdown_signal,
};

/// How long the model may take to get ready.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Args)]
pub struct Arguments {
    /// `models:/NAME/3`, `models:/NAME/Production`, `models:/NAME@alias`, or a model's folder.
    model: String,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, short, default_value_t = 5001)]
    port: u16,
    /// The platform whose registry knows the model.
    #[arg(
        long,
        env = "LODEWAY_ADDRESS",
        hide_env_values = true,
        default_value = "http://127.0.0.1:5000"
    )]
    address: Address,
    /// A token of that platform, if it asks for one.
    #[arg(long, env = "LODEWAY_TOKEN", hide_env_values = true)]
    token: Option<Token>,
    /// The name of the endpoint, which is the `model_name` of the Open Inference Protocol.
    #[arg(long, default_value = "model")]
    name: String,
    /// `auto`, `native` or `python`.
    #[arg(long, default_value = "auto")]
    runtime: String,
    /// Python processes.
    #[arg(long, default_value_t = 1)]
    workers: i32,
    /// `local`, `uv` or `virtualenv`: where the packages of a Python model come from.
    #[arg(long, default_value = "local")]
    env_manager: String,
    /// Lets a Python model open network connections.
    #[arg(long)]
    allow_network: bool,
    /// Folder for fetched models and the runtime's files; a temporary one unless given.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Serves until it is told to stop.
pub async fn run(arguments: Arguments) -> Result<()> {
    let temporary = std::env::temp_dir().join(format!("lodeway-serve-model-{}", std::process::id()));
    let data_dir = arguments.data_dir.clone().unwrap_or_else(|| temporary.clone());
    let served = serve(&arguments, data_dir).await;
    if arguments.data_dir.is_none() {
        // Nothing in it is of use to anybody after the end.
        drop(std::fs::remove_dir_all(&temporary));
    }
    served
}

async fn serve(arguments: &Arguments, data_dir: PathBuf) -> Result<()> {
    let is_registered = arguments.model.starts_with("models:/");
    let services = vec![ServiceName::Serving, ServiceName::Gateway];
    let mut config: Config =
        settings::load_to_start(&settings::Flags::with_data_dir(&data_dir), Some(services))?;
    config.listen = format!("{}:{}", arguments.host, arguments.port);
    config.data_dir = data_dir;
    let peer = if is_registered {
        Peer::At(arguments.address.url().map_err(anyhow::Error::msg)?)
    } else {
        Peer::None
    };
    config.peers.registry = peer.clone();
    config.peers.artifacts = peer;
    config.peers.tracking = Peer::None;
    let token = arguments.token.as_ref().and_then(Token::reveal);
    if let Some(token) = token.filter(|_| is_registered) {
        config.peers.token = Secret::new(token.to_owned());
    }
    config.serving.allow_folders = !is_registered;
    config.endpoints.one_model = true;
    let reference = if is_registered {
        arguments.model.clone()
    } else {
        let folder = arguments
            .model
            .strip_prefix("file://")
            .unwrap_or(&arguments.model);
        let folder =
            std::fs::canonicalize(folder).with_context(|| format!("there is no folder `{folder}`"))?;
        format!("file://{}", folder.display())
    };

    let edge = settings::edge(&config)?;
    let telemetry = Telemetry::init(&config.telemetry, "lodeway")?;
    let house = compose::House::build(&config, &edge, telemetry.metrics()).await?;
    let address = house.address()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let signal = shutdown_signal()?;
    let shutdown = async move {
        tokio::select! {
            () = signal => {}
            _ = stopped => {}
        }
    };
    let serving = house.serve(shutdown, config.shutdown_grace.get());
    let making = async move {
        let made = make(arguments, reference, address).await;
        match &made {
            Ok(version) => {
                let of = if version.is_empty() {
                    String::new()
                } else {
                    format!(", version {version}")
                };
                say(&format!(
                    "serving {}{of} at http://{address}/invocations",
                    arguments.model
                ))?;
                // Until the signal: dropping the sender would end the server.
                std::future::pending::<()>().await;
            }
            Err(_) => drop(stop.send(())),
        }
        made.map(drop)
    };
    let outcome = tokio::select! {
        () = serving => Ok(()),
        made = making => made,
    };
    telemetry.shutdown().await;
    outcome
}

/// Makes the endpoint and gives the version behind it.
async fn make(arguments: &Arguments, reference: String, address: std::net::SocketAddr) -> Result<String> {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?
        .connect()
        .await?;
    let target = Target {
        name: "model".to_owned(),
        reference,
        weight: 1,
        settings: Some(TargetSettings {
            runtime: arguments.runtime.clone(),
            workers: arguments.workers,
            env_manager: arguments.env_manager.clone(),
            allow_network: arguments.allow_network,
            ..TargetSettings::default()
        }),
        timeout: None,
    };
    let request = CreateEndpointRequest {
        name: arguments.name.clone(),
        spec: Some(RevisionSpec {
            targets: vec![target],
            ..RevisionSpec::default()
        }),
        comment: "serve-model".to_owned(),
        wait: prost_types::Duration::try_from(PATIENCE).ok(),
        ..CreateEndpointRequest::default()
    };
    let mut client = EndpointServiceClient::new(channel.clone());
    let made = match client.create_endpoint(request).await {
        // A data folder that is kept knows the endpoint from before.
        Err(status) if status.code() == tonic::Code::AlreadyExists => {
            return load(arguments, GrpcInferenceServiceClient::new(channel)).await;
        }
        made => made,
    };
    match made {
        Ok(reply) => {
            let endpoint = reply.into_inner().endpoint.unwrap_or_default();
            Ok(endpoint
                .target_statuses
                .into_iter()
                .next()
                .unwrap_or_default()
                .model_version)
        }
        Err(status) => bail!("{}", status.message()),
    }
}

/// Loads the model of an endpoint that is there already and gives the version behind it.
async fn load(arguments: &Arguments, mut client: GrpcInferenceServiceClient<Channel>) -> Result<String> {
    let request = RepositoryModelLoadRequest {
        model_name: arguments.name.clone(),
        ..RepositoryModelLoadRequest::default()
    };
    if let Err(status) = client.repository_model_load(request).await {
        bail!("{}", status.message());
    }
    Ok(String::new())
}
