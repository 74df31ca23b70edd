//! A file of a local folder while it is read.

use std::{io, os::unix::fs::FileExt as _, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use lodeway_domain::{Error, Result};
use tokio::task::spawn_blocking;

use super::{
    backend::{ByteStream, Gate, OpenFile, damaged},
    digest::{BLOCK_BYTES, FileDigest},
};

/// Runs `work` on a thread that may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    spawn_blocking(work).await.map_err(Error::internal)?
}

/// An open file; its handle stays with the bytes it was opened on.
pub(super) struct LocalFile {
    pub file: Arc<std::fs::File>,
    pub size_bytes: u64,
    pub identity: String,
}

/// Where a download stands.
struct Reading {
    file: Arc<std::fs::File>,
    at: u64,
    end: u64,
    digest: Option<Arc<FileDigest>>,
    /// The block given out last; its memory is used again if the consumer is done with it.
    last: Bytes,
}

impl Reading {
    fn next_block(mut self) -> Result<(Bytes, Self)> {
        let want = usize::try_from((self.end - self.at).min(BLOCK_BYTES)).map_err(Error::internal)?;
        let mut buffer = std::mem::take(&mut self.last).try_into_mut().unwrap_or_default();
        if buffer.len() < want {
            buffer = BytesMut::zeroed(want);
        }
        buffer.truncate(want);
        self.file
            .read_exact_at(&mut buffer, self.at)
            .map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => damaged(),
                _ => Error::internal(e),
            })?;
        let block = buffer.freeze();
        if let Some(digest) = &self.digest {
            let mut gate = Gate::new(digest.clone(), self.at);
            gate.push(block.clone())?;
            if !gate.is_clear() {
                return Err(damaged());
            }
        }
        self.at += want as u64;
        self.last = block.clone();
        Ok((block, self))
    }
}

impl OpenFile for LocalFile {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn identity(&self) -> &str {
        &self.identity
    }

    fn read(&self, start: u64, end: u64, digest: Option<Arc<FileDigest>>) -> ByteStream {
        let reading = Reading {
            file: self.file.clone(),
            at: start,
            end,
            digest,
            last: Bytes::new(),
        };
        // one blocking task per block, so that a slow client holds no thread between blocks
        stream::try_unfold(reading, |reading| async move {
            if reading.at >= reading.end {
                return Ok(None);
            }
            blocking(move || reading.next_block()).await.map(Some)
        })
        .boxed()
    }
}
