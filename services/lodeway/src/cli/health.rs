//! Asks a running process whether it serves, for container health checks in images without a shell.

use tonic::transport::{ClientTlsConfig, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Common, Done, Failure};

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
    let request = HealthCheckRequest {
        service: service.unwrap_or_default(),
    };
    let answer = HealthClient::new(endpoint.connect_lazy()).check(request).await?;
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
