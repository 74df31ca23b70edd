//! How the platform is found and who says to call.

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
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

use super::{
    Common, Place,
    link::{Identity, Link, Patience},
    output::Format,
};
use crate::credential::Token;

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
    /// Where the platform is, with its scheme.
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
        let link = link(common, Patience::default())?;
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
            address: common.address.to_string(),
            format,
        })
    }
}

/// A connection to the platform for whoever the command line says.
pub fn link(common: &Place, patience: Patience) -> anyhow::Result<Link> {
    let identity = Identity {
        authorization: authorization(common)?,
        has_token: token(common).is_some(),
        workspace: workspace(common)?,
    };
    Link::new(&common.address, identity, patience)
}

fn token(common: &Place) -> Option<&str> {
    common.token.as_ref().and_then(Token::reveal)
}

fn authorization(common: &Place) -> anyhow::Result<Option<HeaderValue>> {
    let text = match token(common) {
        Some(token) => format!("Bearer {token}"),
        None => {
            let user = common.user.clone().or_else(crate::settings::user);
            let Some(user) = user else { return Ok(None) };
            format!("Basic {}", STANDARD.encode(format!("{user}:")))
        }
    };
    let mut value =
        HeaderValue::try_from(text).context("the token has characters that no header can carry")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn workspace(common: &Place) -> anyhow::Result<Option<HeaderValue>> {
    let parsed = common.workspace.as_ref().map(HeaderValue::try_from);
    parsed
        .transpose()
        .context("the workspace has characters that no header can carry")
}
