//! What connections to peers have in common, with TLS and without: their bounds, and how they fail.

use std::time::Duration;

use tonic::{Status, TimeoutExpired};

pub(super) const STREAM_WINDOW: u32 = 2 << 20;
pub(super) const CONNECTION_WINDOW: u32 = 8 << 20;
pub(super) const MAX_HEADER_BYTES: u32 = 128 << 10;
pub(super) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
pub(super) const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The time that the caller gave is over.
    #[error("no answer in time")]
    TimedOut,
    /// The request could not be made; the status says why.
    #[error(transparent)]
    Own(Box<Status>),
    /// The peer cannot be reached, or the connection broke.
    #[error(transparent)]
    Lost(tower::BoxError),
}

impl From<h2::Error> for Failure {
    fn from(error: h2::Error) -> Self {
        Self::Lost(error.into())
    }
}

impl From<tonic::transport::Error> for Failure {
    fn from(error: tonic::transport::Error) -> Self {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        let mut chain = std::iter::from_fn(|| {
            let this = source?;
            source = this.source();
            Some(this)
        });
        if chain.any(|error| error.is::<TimeoutExpired>()) {
            return Self::TimedOut;
        }
        Self::Lost(error.into())
    }
}
