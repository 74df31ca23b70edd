//! Asks a running process whether it serves, for container health checks in images without a shell.

use tonic::{
    Code,
    transport::{ClientTlsConfig, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Common, Done, Failure};

/// What the parts of the platform are called in short, and what they answer for.
const SHORT: [(&str, &str); 6] = [
    ("artifacts", "lodeway.artifacts.v1.ArtifactService"),
    ("tracking", "lodeway.tracking.v1.TrackingService"),
    ("registry", "lodeway.registry.v1.RegistryService"),
    ("serving", "lodeway.serving.v1.DeploymentService"),
    ("gateway", "lodeway.gateway.v1.EndpointService"),
    ("evaluation", "lodeway.evaluation.v1.EvaluationService"),
];

/// Ends well only if `service` (none: the process) answers SERVING within five seconds.
pub async fn run(service: Option<String>, common: &Common) -> Done {
    let wait = std::time::Duration::from_secs(5);
    let mut endpoint = Endpoint::from_shared(common.place.address.clone())
        .map_err(anyhow::Error::from)?
        .connect_timeout(wait)
        .timeout(wait);
    if common.place.address.starts_with("https://") {
        endpoint = endpoint
            .tls_config(ClientTlsConfig::new().with_native_roots())
            .map_err(anyhow::Error::from)?;
    }
    let asked = service.unwrap_or_default();
    let long = SHORT.iter().find(|(short, _)| *short == asked);
    let request = HealthCheckRequest {
        service: long.map_or(asked.as_str(), |(_, long)| long).to_owned(),
    };
    let answer = match HealthClient::new(endpoint.connect_lazy()).check(request).await {
        Err(status) if status.code() == Code::NotFound => {
            return Err(Failure::Here(anyhow::anyhow!(
                "{} has no service `{asked}`",
                common.place.address
            )));
        }
        answer => answer?,
    };
    let status = answer.into_inner().status();
    if status != ServingStatus::Serving {
        return Err(Failure::Here(anyhow::anyhow!(
            "{}: {}",
            common.place.address,
            status.as_str_name()
        )));
    }
    crate::say(status.as_str_name())?;
    Ok(())
}
