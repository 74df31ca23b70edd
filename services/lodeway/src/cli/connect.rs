//! How the platform is found and who says to call.

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use lodeway_proto::{
    artifacts::v1::artifact_service_client::ArtifactServiceClient,
    evaluation::v1::{
        dataset_service_client::DatasetServiceClient, evaluation_service_client::EvaluationServiceClient,
        outcome_service_client::OutcomeServiceClient,
    },
    gateway::v1::{
        endpoint_service_client::EndpointServiceClient, llm_service_client::LlmServiceClient,
        monitor_service_client::MonitorServiceClient,
    },
    registry::v1::{
        promotion_service_client::PromotionServiceClient, registry_service_client::RegistryServiceClient,
    },
    serving::v1::deployment_service_client::DeploymentServiceClient,
    tracking::v1::tracking_service_client::TrackingServiceClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use super::{Common, Place, output::Format};

/// A connection that says with every call who makes it.
type Link = InterceptedService<Channel, Identity>;

/// Adds who calls and in which workspace.
#[derive(Clone)]
pub struct Identity {
    authorization: Option<MetadataValue<Ascii>>,
    workspace: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Identity {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        if let Some(value) = &self.authorization {
            metadata.insert("authorization", value.clone());
        }
        if let Some(value) = &self.workspace {
            metadata.insert("x-mlflow-workspace", value.clone());
        }
        Ok(request)
    }
}

/// The platform's services, and how results are to be shown.
pub struct Client {
    /// Tracking.
    pub tracking: TrackingServiceClient<Link>,
    /// The registry.
    pub registry: RegistryServiceClient<Link>,
    /// Promotion rules and what they look at.
    pub promotion: PromotionServiceClient<Link>,
    /// Files.
    pub artifacts: ArtifactServiceClient<Link>,
    /// Endpoints and rollouts.
    pub endpoints: EndpointServiceClient<Link>,
    /// What happened to traffic.
    pub monitor: MonitorServiceClient<Link>,
    /// Routes to language models.
    pub llm: LlmServiceClient<Link>,
    /// The model host.
    pub deployments: DeploymentServiceClient<Link>,
    /// Datasets.
    pub datasets: DatasetServiceClient<Link>,
    /// Evaluations.
    pub evaluations: EvaluationServiceClient<Link>,
    /// Outcomes of predictions, and schedules of evaluations.
    pub outcomes: OutcomeServiceClient<Link>,
    /// Where the platform is, as the user wrote it.
    pub address: String,
    /// How results look.
    pub format: Format,
}

/// The largest answer: a page of runs with all they recorded.
const MAX_MESSAGE_BYTES: usize = 512 << 20;

impl Client {
    /// Prepares the connection; it is made with the first call.
    pub fn connect(common: &Common) -> anyhow::Result<Self> {
        Self::at(&common.place, common.output)
    }

    /// As [`Client::connect`].
    pub fn at(common: &Place, format: Format) -> anyhow::Result<Self> {
        let address = match common.address.contains("://") {
            true => common.address.clone(),
            false => format!("http://{}", common.address),
        };
        let mut endpoint = Endpoint::from_shared(address.clone())
            .with_context(|| format!("`{}` is no address such as http://127.0.0.1:5000", common.address))?
            .connect_timeout(std::time::Duration::from_secs(5));
        if address.starts_with("https://") {
            endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots())?;
        }
        let identity = Identity {
            authorization: authorization(common)?,
            workspace: workspace(common)?,
        };
        let link = InterceptedService::new(endpoint.connect_lazy(), identity);
        Ok(Self {
            tracking: TrackingServiceClient::new(link.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
            registry: RegistryServiceClient::new(link.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
            promotion: PromotionServiceClient::new(link.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
            artifacts: ArtifactServiceClient::new(link.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
            endpoints: EndpointServiceClient::new(link.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
            monitor: MonitorServiceClient::new(link.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
            datasets: DatasetServiceClient::new(link.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
            evaluations: EvaluationServiceClient::new(link.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            outcomes: OutcomeServiceClient::new(link.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
            llm: LlmServiceClient::new(link.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
            deployments: DeploymentServiceClient::new(link).max_decoding_message_size(MAX_MESSAGE_BYTES),
            address,
            format,
        })
    }
}

fn authorization(common: &Place) -> anyhow::Result<Option<MetadataValue<Ascii>>> {
    let text = match &common.token {
        Some(token) => format!("Bearer {token}"),
        None => {
            let user = common.user.clone().or_else(crate::settings::user);
            let Some(user) = user else { return Ok(None) };
            format!("Basic {}", STANDARD.encode(format!("{user}:")))
        }
    };
    let mut value: MetadataValue<Ascii> = text
        .parse()
        .context("the token has characters that no header can carry")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn workspace(common: &Place) -> anyhow::Result<Option<MetadataValue<Ascii>>> {
    let parsed = common.workspace.as_ref().map(|name| name.parse());
    parsed
        .transpose()
        .context("the workspace has characters that no header can carry")
}
