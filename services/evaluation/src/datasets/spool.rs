//! Files on their way in: kept in a folder of this machine until they are read to their end.

use std::path::PathBuf;

use futures::{Stream, StreamExt as _};
use lodeway_domain::{Error, Result};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt as _;

use crate::Site;
pub(super) use crate::evaluations::files::broken;

/// A file that came in whole; it goes with this value.
pub(super) struct Spooled {
    pub(super) file: NamedTempFile,
    pub(super) sha256: String,
    pub(super) size_bytes: u64,
}

fn folder(site: &Site) -> PathBuf {
    site.config.work_dir.join("datasets").join("incoming")
}

/// Makes the folder, and removes what a crash left there.
pub(super) fn prepare(site: &Site) -> Result<()> {
    let folder = folder(site);
    let fail =
        |error: std::io::Error| Error::internal(format!("`{}` cannot be used: {error}", folder.display()));
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    std::fs::create_dir_all(&folder).map_err(fail)
}

/// A new file in the folder.
pub(super) fn new_file(site: &Site) -> Result<NamedTempFile> {
    NamedTempFile::new_in(folder(site)).map_err(broken)
}

/// Takes a file in, part by part. Errors: `LIMIT_EXCEEDED` for one larger than this service takes; those of the stream.
pub(super) async fn take(
    site: &Site,
    mut parts: impl Stream<Item = Result<bytes::Bytes>> + Unpin,
) -> Result<Spooled> {
    let limit = site.config.max_upload_bytes;
    let file = new_file(site)?;
    let mut out = tokio::fs::File::from_std(file.reopen().map_err(broken)?);
    let (mut hash, mut size_bytes) = (Sha256::new(), 0_u64);
    while let Some(part) = parts.next().await {
        let part = part?;
        size_bytes += part.len() as u64;
        check_size(size_bytes, limit)?;
        hash.update(&part);
        out.write_all(&part).await.map_err(broken)?;
    }
    out.flush().await.map_err(broken)?;
    Ok(Spooled {
        file,
        sha256: hex::encode(hash.finalize()),
        size_bytes,
    })
}

/// Refuses a file that is larger than this service takes.
pub(super) fn check_size(size_bytes: u64, limit: u64) -> Result<()> {
    if size_bytes > limit {
        return Err(Error::Exhausted {
            message: format!("the file is larger than {limit} bytes, the most that this service takes"),
            retry_after: None,
        });
    }
    Ok(())
}
