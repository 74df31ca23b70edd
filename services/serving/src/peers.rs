//! The services that the model host asks: the registry for what a reference means, artifacts for files.

use lodeway_domain::{Error, Reason, Result};
use lodeway_proto::{
    artifacts::v1::artifact_service_client::ArtifactServiceClient,
    registry::v1::{ResolveModelRequest, registry_service_client::RegistryServiceClient},
};
use lodeway_rpc::{CallContext, Transport, status};

/// The services the model host works with; each may be absent.
#[derive(Clone, Default)]
pub struct Peers {
    /// Knows what `models:/…` and `runs:/…` mean.
    pub registry: Option<RegistryServiceClient<Transport>>,
    /// Knows files.
    pub artifacts: Option<ArtifactServiceClient<Transport>>,
}

/// What a reference means.
pub(crate) struct Resolved {
    pub(crate) name: Option<String>,
    pub(crate) version: String,
    pub(crate) uid: String,
    pub(crate) artifact_uri: String,
    /// Empty if none is recorded.
    pub(crate) content_digest: String,
}

impl Peers {
    /// What `source` means now.
    pub(crate) async fn resolve(&self, cx: &CallContext, source: &str) -> Result<Resolved> {
        let mut registry = self.registry.clone().ok_or_else(|| Error::Unimplemented {
            reason: Reason::NotImplemented,
            message: "this host works without a registry; set `peers.registry`, or serve a folder".to_owned(),
        })?;
        let message = ResolveModelRequest {
            uri: source.to_owned(),
            as_of_time: None,
        };
        let reply = registry.resolve_model(cx.request(message)).await;
        let reply = reply.map_err(|s| status::into_error(&s))?.into_inner();
        let version = reply.model_version.unwrap_or_default();
        Ok(Resolved {
            name: Some(version.name).filter(|name| !name.is_empty()),
            version: Some(version.version)
                .filter(|&n| n > 0)
                .map(|n| n.to_string())
                .unwrap_or_default(),
            uid: version.model_uid,
            artifact_uri: reply.artifact_uri,
            content_digest: version.content_digest,
        })
    }
}
