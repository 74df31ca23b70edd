//! Asks a running process whether it serves, for container health checks in images without a shell.

use std::time::Duration;

use serde_json::json;
use tonic::{Code, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Common, Done, Failure, connect, link::Patience, output};

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
    let patience = Patience {
        answer: Duration::from_secs(5),
        ..Patience::default()
    };
    let link = connect::link(&common.place, patience)?;
    let address = &common.place.address;
    let asked = service.unwrap_or_default();
    let long = SHORT.iter().find(|(short, _)| *short == asked);
    let service = long.map_or(asked.as_str(), |(_, long)| long).to_owned();
    let request = HealthCheckRequest {
        service: service.clone(),
    };
    let answer = match HealthClient::new(link).check(request).await {
        Err(status) if status.code() == Code::NotFound => {
            return Err(Status::not_found(format!("{address} has no service `{asked}`")).into());
        }
        answer => answer?,
    };
    let status = answer.into_inner().status();
    let item = json!({ "service": service, "status": status.as_str_name() });
    if status != ServingStatus::Serving {
        if common.output == output::Format::Json {
            output::one(common.output, &item)?;
        }
        return Err(Failure::Here(anyhow::anyhow!(
            "{address}: {}",
            status.as_str_name()
        )));
    }
    output::done(common.output, status.as_str_name(), &item)
}
