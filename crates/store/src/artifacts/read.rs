//! Reading: which digest belongs to the bytes at hand, and the bytes of a range.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use lodeway_domain::{Error, Reason, Result};

use super::{
    ATTEMPTS, ArtifactPath, ArtifactStore, Location,
    backend::{ByteStream, OpenFile, damaged},
    digest::{BLOCK_BYTES, FileDigest, Hasher, Sha256Digest},
    index::{DigestRow, Recorded},
};

/// A pending record this old belongs to a write that will not go on.
const PENDING_FOR: Duration = Duration::from_secs(600);

/// Part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub offset: u64,
    /// How many bytes; fewer come if the file ends before; none means to the end.
    pub len: Option<u64>,
}

/// What is known of a file that is being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Length of the whole file.
    pub size_bytes: u64,
    /// Digest of the whole file; none if it was not written through the server.
    pub sha256: Option<Sha256Digest>,
    /// Whether every byte is checked before it comes out.
    pub verified: bool,
    /// The first byte that comes, and the one after the last.
    pub range: std::ops::Range<u64>,
}

impl ArtifactStore {
    /// Opens a file and streams it or a part of it.
    ///
    /// Every block of 4 MiB is checked against its recorded digest before any of its bytes come out; the stream ends with
    /// `DataLoss` at the first that fails. The bytes are all of one file even if it is replaced meanwhile. Errors:
    /// `NotFound`, also for a folder; `OutOfRange` for an offset behind the end; `DataLoss`; `Unavailable`.
    pub async fn get(
        &self,
        location: &Location,
        path: &ArtifactPath,
        range: Option<Range>,
    ) -> Result<(Meta, ByteStream)> {
        let (file, digest) = self.open(location, path).await?;
        let size_bytes = file.size_bytes();
        let wanted = cut_range(range, size_bytes)?;
        let start = wanted.start / BLOCK_BYTES * BLOCK_BYTES;
        let end = if wanted.is_empty() {
            start
        } else {
            wanted.end.next_multiple_of(BLOCK_BYTES).min(size_bytes)
        };
        let meta = Meta {
            size_bytes,
            sha256: digest.as_ref().map(|d| d.sha256),
            verified: digest.is_some(),
            range: wanted.clone(),
        };
        // without a digest there is nothing to check, so nothing needs to be read beyond what was asked for
        let (start, end) = if digest.is_some() {
            (start, end)
        } else {
            (wanted.start, wanted.end)
        };
        let blocks = file.read(start, end, digest);
        Ok((meta, cut(blocks, wanted.start - start, wanted.end - wanted.start)))
    }

    /// Opens a file and finds the digest that was recorded for just these bytes.
    pub(super) async fn open(
        &self,
        location: &Location,
        path: &ArtifactPath,
    ) -> Result<(Box<dyn OpenFile>, Option<Arc<FileDigest>>)> {
        let full = location.full(path)?;
        let key = location.index_key(&full);
        let mut before = self.index.load(&key).await?;
        for _ in 0..ATTEMPTS {
            let file = location.root.backend.open(&full).await?;
            // a write records itself before it names its file and again after; if neither happened while the file was
            // opened and none is under way, the current record is that of this file
            let after = self.index.load(&key).await?;
            if after != before {
                before = after;
                continue;
            }
            if after.pending.is_empty() {
                let digest = after.current.map(|current| current.digest);
                if digest
                    .as_ref()
                    .is_some_and(|digest| digest.size_bytes != file.size_bytes())
                {
                    return Err(damaged());
                }
                return Ok((file, digest));
            }
            let found = hash(file.as_ref()).await?;
            if let Some(digest) = self
                .heal(location, &full, &after, file.identity(), &found)
                .await?
            {
                return Ok((file, Some(digest)));
            }
            let again = self.index.load(&key).await?;
            if again == after {
                // neither an old nor a new file of ours: foreign if we never wrote here, else damaged
                return if after.current.is_none() {
                    Ok((file, None))
                } else {
                    Err(damaged())
                };
            }
            before = again;
        }
        Err(Error::unavailable(
            "the artifact is being replaced again and again; try again",
            "too many concurrent writes",
        ))
    }

    /// Finds which of the recorded writes a file is; if it is a pending one, makes it current.
    async fn heal(
        &self,
        location: &Location,
        full: &ArtifactPath,
        row: &DigestRow,
        identity: &str,
        found: &FileDigest,
    ) -> Result<Option<Arc<FileDigest>>> {
        let same = |write: &&Recorded| write.digest.sha256 == found.sha256;
        let Some(chosen) = row
            .current
            .iter()
            .find(same)
            .or_else(|| row.pending.iter().rev().find(same))
        else {
            return Ok(None);
        };
        // a failure to tidy up must not fail the read
        if row.current.as_ref() != Some(chosen)
            && let Err(error) = self.settle(location, full, chosen, identity).await
        {
            tracing::debug!(%error, "a pending digest was not promoted; the next read tries again");
        }
        let limit = self.clock.now().minus(PENDING_FOR);
        let stale = row
            .pending
            .iter()
            .filter(|write| *write != chosen && write.begun < limit);
        let stale: Vec<String> = stale.map(|write| write.write_id.clone()).collect();
        if !stale.is_empty()
            && let Err(error) = self.index.discard(&location.index_key(full), &stale).await
        {
            tracing::debug!(%error, "stale pending digests were not removed; the next read tries again");
        }
        Ok(Some(chosen.digest.clone()))
    }
}

/// Hashes a whole file.
pub(super) async fn hash(file: &dyn OpenFile) -> Result<FileDigest> {
    let bytes = file.read(0, file.size_bytes(), None);
    let hasher = bytes.try_fold(Hasher::new(), |mut hasher, piece: Bytes| async move {
        for part in piece.chunks(1 << 20) {
            hasher.update(part);
            tokio::task::yield_now().await;
        }
        Ok(hasher)
    });
    Ok(hasher.await?.finish())
}

fn cut_range(range: Option<Range>, size_bytes: u64) -> Result<std::ops::Range<u64>> {
    let Some(Range { offset, len }) = range else {
        return Ok(0..size_bytes);
    };
    // At the end there is nothing left, which whoever goes on after a broken connection may well ask for.
    if offset > size_bytes {
        let message =
            format!("offset {offset} is behind the end of the artifact, which has {size_bytes} bytes");
        return Err(Error::OutOfRange {
            reason: Reason::InvalidField,
            message,
        });
    }
    let end = len.map_or(size_bytes, |len| offset.saturating_add(len).min(size_bytes));
    Ok(offset..end)
}

/// Drops the first `skip` bytes of a stream and ends it after `take` more.
fn cut(bytes: ByteStream, skip: u64, take: u64) -> ByteStream {
    if take == 0 {
        return stream::empty().boxed();
    }
    stream::try_unfold((bytes, skip, take), |(mut bytes, mut skip, take)| async move {
        if take == 0 {
            return Ok(None);
        }
        while let Some(mut piece) = bytes.try_next().await? {
            let dropped = skip.min(piece.len() as u64);
            skip -= dropped;
            // both are at most the length of a piece in memory
            let _ = piece.split_to(usize::try_from(dropped).unwrap_or(piece.len()));
            piece.truncate(usize::try_from(take).unwrap_or(usize::MAX));
            if !piece.is_empty() {
                let left = take - piece.len() as u64;
                return Ok(Some((piece, (bytes, skip, left))));
            }
        }
        Err(damaged())
    })
    .boxed()
}
