//! The files of what is purged, over the artifact service.

use lodeway_domain::{Error, Reason, Result};
use lodeway_proto::artifacts::v1::{DeleteArtifactsRequest, artifact_service_client::ArtifactServiceClient};
use lodeway_rpc::{
    CallContext, Transport,
    status::{from_status, into_error},
};

/// How many files, and their size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    pub count: i64,
    pub bytes: i64,
}

/// The artifact service, if there is one.
pub struct Files {
    client: Option<ArtifactServiceClient<Transport>>,
}

impl Files {
    pub fn new(client: Option<ArtifactServiceClient<Transport>>) -> Self {
        Self { client }
    }

    /// Refuses what cannot be done without the artifact service.
    pub fn ensure_present(&self) -> Result<()> {
        if self.client.is_some() {
            return Ok(());
        }
        Err(Error::precondition(
            Reason::BackendUnavailable,
            "purging needs the artifact service and this server has none; configure the peer `artifacts`",
            vec![("peer", "artifacts".to_owned())],
        ))
    }

    /// Deletes everything at a location, or only counts it. Files where the platform may not go are not its own: they stay
    /// and count nothing. Without an artifact service nothing is there.
    pub async fn delete(&self, cx: &CallContext, location: &str, dry_run: bool) -> Result<Counted> {
        let Some(client) = self.client.as_ref().filter(|_| !location.is_empty()) else {
            return Ok(Counted::default());
        };
        let request = DeleteArtifactsRequest {
            location: location.to_owned(),
            path: String::new(),
            dry_run,
        };
        match client.clone().delete_artifacts(cx.request(request)).await {
            Ok(reply) => {
                let reply = reply.into_inner();
                Ok(Counted {
                    count: reply.artifact_count,
                    bytes: reply.artifact_bytes,
                })
            }
            Err(status) => match from_status(&status).known_reason() {
                Some(Reason::LocationNotAllowed) => Ok(Counted::default()),
                _ => Err(into_error(&status)),
            },
        }
    }
}
