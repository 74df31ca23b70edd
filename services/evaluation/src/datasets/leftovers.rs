//! Removes folders that no version needs.

use std::{sync::Arc, time::Duration};

use lodeway_domain::{Caller, Error, Result, caller::Workspace};
use lodeway_proto::artifacts::v1::DeleteArtifactsRequest;
use lodeway_rpc::{CallContext, status};
use lodeway_store::evaluation::{DatasetStore as _, Leftover};

use crate::{Site, evaluations::files};

/// How often what is left over is looked for.
const EVERY: Duration = Duration::from_secs(60);
/// How long one replica has a folder to itself.
const LEASE: Duration = Duration::from_secs(300);
/// Folders at a time.
const AT_ONCE: usize = 32;

/// An upload that has not become a version after this long never will.
pub(super) const UPLOAD_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Looks now and then, until shutdown.
pub(super) fn start(site: Arc<Site>) {
    if site.peers.artifacts.is_none() {
        return;
    }
    site.tasks.clone().spawn_until_stop(async move {
        loop {
            sweep(&site).await;
            tokio::time::sleep(EVERY).await;
        }
    });
}

/// Removes what is due; what cannot be removed now is due again later.
pub(super) async fn sweep(site: &Site) {
    loop {
        let due = match site.store.take_leftovers(site.clock.now(), LEASE, AT_ONCE).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "it is not known which files of datasets are left over");
                return;
            }
        };
        let is_last = due.len() < AT_ONCE;
        for leftover in due {
            if let Err(error) = remove(site, &leftover).await {
                tracing::warn!(%error, location = leftover.location, "files of a dataset cannot be removed now");
            }
        }
        if is_last {
            return;
        }
    }
}

async fn remove(site: &Site, leftover: &Leftover) -> Result<()> {
    let cx = CallContext::new(Caller::evaluation(Workspace::parse(&leftover.workspace)?));
    let request = DeleteArtifactsRequest {
        location: leftover.location.clone(),
        path: String::new(),
        dry_run: false,
    };
    let done = files::artifacts(site)?
        .delete_artifacts(cx.request(request))
        .await;
    match done.map_err(|s| status::into_error(&s)) {
        Ok(_) | Err(Error::NotFound(_)) => site.store.forget_leftover(&leftover.location).await,
        Err(error) => Err(error),
    }
}
