//! A version of a dataset on this machine.

use std::path::PathBuf;

use lodeway_domain::{
    Error, Reason, Result,
    evaluation::{DatasetName, DatasetVersion},
};
use lodeway_proto::tracking::v1::{GetRunRequest, tracking_service_client::TrackingServiceClient};
use lodeway_rpc::{CallContext, status};
use lodeway_store::evaluation::DatasetStore as _;
use lodeway_tables::{Format, Options, Reader, Source, TableError};

use super::{cache::Pin, inspect::table_format, spool::broken};
use crate::{Site, evaluations::files};

/// A version whose file is on this machine, as it was when the version was made.
#[derive(Debug, Clone)]
pub(crate) struct OpenDataset {
    /// What is known of it.
    pub(crate) version: DatasetVersion,
    /// The file; it stays as long as this value.
    pub(crate) path: PathBuf,
    /// How it holds the table.
    pub(crate) format: Format,
    _pin: Pin,
}

/// Opens a version, the newest for 0; its file is fetched if it is not here, and its digest verified.
///
/// Errors: `NOT_FOUND`; `DIGEST_MISMATCH` if the file is not what it was; those of the artifact service.
pub(crate) async fn open(
    site: &Site,
    cx: &CallContext,
    name: &DatasetName,
    version: i64,
) -> Result<OpenDataset> {
    let version = site
        .store
        .dataset_version(&cx.caller.workspace, name, version)
        .await?;
    let fetch = async |to: &std::path::Path| {
        let sha256 = &version.file_digest;
        files::fetch(site, cx, &version.location, &version.file, sha256, to).await
    };
    let (path, pin) = site.datasets.get(&version.file_digest, fetch).await?;
    Ok(OpenDataset {
        format: table_format(version.format),
        version,
        path,
        _pin: pin,
    })
}

impl OpenDataset {
    /// Reads it from its first row. It blocks.
    pub(crate) fn reader(&self, options: &Options) -> Result<Reader> {
        let file = std::fs::File::open(&self.path).map_err(broken)?;
        let source = Source::new(file).map_err(broken)?;
        Ok(Reader::open(source, self.format, options)?)
    }
}

/// A file that was sound when its version was made.
pub(super) fn damaged(error: TableError) -> Error {
    Error::DataLoss(format!("the file of the dataset cannot be read: {error}"))
}

/// Where a URI leads: a location of the artifact service and a path in it.
///
/// Errors: `INVALID_FIELD` at `field`; `NOT_FOUND` for a run that there is not.
pub(crate) async fn locate(
    site: &Site,
    cx: &CallContext,
    field: &str,
    uri: &str,
) -> Result<(String, String)> {
    let wrong = || {
        Error::invalid(
            field,
            "must be the URI of a file, such as `runs:/ID/data.parquet`",
        )
    };
    if let Some(rest) = uri.strip_prefix("runs:/") {
        let (run_id, path) = rest.trim_start_matches('/').split_once('/').ok_or_else(wrong)?;
        if run_id.is_empty() || path.is_empty() {
            return Err(wrong());
        }
        let peer = site.peers.tracking.clone().ok_or_else(|| Error::Unimplemented {
            reason: Reason::NotImplemented,
            message: "evaluation works without a tracking service here; set `peers.tracking`".to_owned(),
        })?;
        let request = GetRunRequest {
            run_id: run_id.to_owned(),
            columns: Vec::new(),
        };
        let reply = TrackingServiceClient::new(peer)
            .get_run(cx.request(request))
            .await;
        let run = reply.map_err(|s| status::into_error(&s))?.into_inner().run;
        let location = run.unwrap_or_default().artifact_uri;
        return Ok((location, path.to_owned()));
    }
    let (location, path) = uri.rsplit_once('/').ok_or_else(wrong)?;
    if path.is_empty() || !location.contains(':') {
        return Err(wrong());
    }
    Ok((location.to_owned(), path.to_owned()))
}
