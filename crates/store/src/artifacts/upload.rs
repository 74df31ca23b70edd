//! Large uploads to a bucket, part by part with bounded memory.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use lodeway_domain::Error;
use object_store::{MultipartUpload, PutPayload};

use super::{backend::ByteStream, digest::Hasher};

/// Length of the parts of a large upload; a smaller body goes up in one request.
pub(super) const PART_BYTES: usize = 8 << 20;

/// How many parts are on their way at a time; a third is being gathered.
const PARTS_IN_FLIGHT: usize = 2;

/// Which side broke an upload off.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The body.
    #[error(transparent)]
    Body(#[from] Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] object_store::Error),
}

/// An upload that is aborted unless it is completed; parts of a forgotten upload cost money without being seen.
pub(super) struct Upload {
    parts: Option<Box<dyn MultipartUpload>>,
}

impl Upload {
    /// Of an upload that the store has begun.
    pub fn new(parts: Box<dyn MultipartUpload>) -> Self {
        Self { parts: Some(parts) }
    }

    pub async fn complete(mut self) -> object_store::Result<()> {
        let Some(parts) = self.parts.as_mut() else {
            return Ok(());
        };
        parts.complete().await?;
        self.parts = None;
        Ok(())
    }

    pub async fn abort(mut self) {
        if let Some(mut parts) = self.parts.take()
            && let Err(error) = parts.abort().await
        {
            tracing::warn!(%error, "a multipart upload could not be aborted; let the bucket's lifecycle rule remove it");
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // reached when the caller went away in the middle: nobody is left to wait for the abort
        if let Some(mut parts) = self.parts.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { parts.abort().await.unwrap_or_default() });
        }
    }
}

type PartUpload = BoxFuture<'static, object_store::Result<()>>;

/// Sends a body part by part, at most [`PARTS_IN_FLIGHT`] at a time.
pub(super) async fn send_parts(
    upload: &mut Upload,
    mut gathered: Vec<Bytes>,
    body: &mut ByteStream,
    hasher: &mut Hasher,
) -> Result<(), Failed> {
    let mut sending: FuturesUnordered<PartUpload> = FuturesUnordered::new();
    let mut size: usize = gathered.iter().map(Bytes::len).sum();
    let mut open = true;
    while open || size > 0 || !sending.is_empty() {
        let full = size >= PART_BYTES || (!open && size > 0);
        if full && sending.len() < PARTS_IN_FLIGHT {
            let part = cut_part(&mut gathered);
            size -= part.content_length();
            if let Some(parts) = upload.parts.as_mut() {
                sending.push(parts.put_part(part));
            }
            continue;
        }
        tokio::select! {
            Some(sent) = sending.next(), if !sending.is_empty() => sent?,
            piece = body.next(), if open && !full => match piece.transpose()? {
                Some(piece) => {
                    hasher.update(&piece);
                    size += piece.len();
                    gathered.push(piece);
                }
                None => open = false,
            },
        }
    }
    Ok(())
}

/// Takes exactly one part (or all that is left) off the front: some services want parts of equal length.
fn cut_part(gathered: &mut Vec<Bytes>) -> PutPayload {
    let mut queue: VecDeque<Bytes> = std::mem::take(gathered).into();
    let mut part = Vec::new();
    let mut room = PART_BYTES;
    while room > 0
        && let Some(mut piece) = queue.pop_front()
    {
        let now = piece.split_to(piece.len().min(room));
        room -= now.len();
        part.push(now);
        if !piece.is_empty() {
            queue.push_front(piece);
        }
    }
    gathered.extend(queue);
    part.into_iter().collect()
}
