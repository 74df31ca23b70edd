//! The files of what is purged, over the artifact service.

use lodeway_domain::{Error, Reason, Result};
use lodeway_proto::artifacts::v1::{
    DeleteArtifactsRequest, ListHoldsRequest, artifact_service_client::ArtifactServiceClient,
};
use lodeway_rpc::{
    CallContext, Transport,
    status::{from_status, into_error},
};
use lodeway_store::tracking::KeptFolder;
use tonic::Code;

/// How many files, and their size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    pub count: i64,
    pub bytes: i64,
}

/// What became of the files at a location.
pub enum Deletion {
    /// They are gone, or were only counted.
    Done(Counted),
    /// Some of them are held, so all are there still; why.
    Refused(String),
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

    /// The folders that are held in the caller's workspace, of which nothing can be deleted. None where files cannot be held.
    pub async fn held(&self, cx: &CallContext) -> Result<Vec<KeptFolder>> {
        let mut held = Vec::new();
        let Some(client) = &self.client else {
            return Ok(held);
        };
        let mut request = ListHoldsRequest::default();
        loop {
            let page = match client.clone().list_holds(cx.request(request)).await {
                Ok(page) => page.into_inner(),
                Err(status) if status.code() == Code::Unimplemented => return Ok(held),
                Err(status) => return Err(into_error(&status)),
            };
            held.extend(page.holds.into_iter().map(|hold| KeptFolder {
                artifact_uri: hold.location,
                by: format!("files that are held for {}", hold.reason),
            }));
            if page.next_page_token.is_empty() {
                return Ok(held);
            }
            request = ListHoldsRequest {
                page_token: page.next_page_token,
                ..ListHoldsRequest::default()
            };
        }
    }

    /// Deletes everything at a location, or only counts it. Files where the platform may not go are not its own: they stay
    /// and count nothing. Without an artifact service nothing is there.
    pub async fn delete(&self, cx: &CallContext, location: &str, dry_run: bool) -> Result<Deletion> {
        let Some(client) = self.client.as_ref().filter(|_| !location.is_empty()) else {
            return Ok(Deletion::Done(Counted::default()));
        };
        let request = DeleteArtifactsRequest {
            location: location.to_owned(),
            path: String::new(),
            dry_run,
        };
        match client.clone().delete_artifacts(cx.request(request)).await {
            Ok(reply) => {
                let reply = reply.into_inner();
                Ok(Deletion::Done(Counted {
                    count: reply.artifact_count,
                    bytes: reply.artifact_bytes,
                }))
            }
            Err(status) => match from_status(&status).known_reason() {
                Some(Reason::LocationNotAllowed) => Ok(Deletion::Done(Counted::default())),
                Some(Reason::StillReferenced) => Ok(Deletion::Refused(status.message().to_owned())),
                _ => Err(into_error(&status)),
            },
        }
    }
}
