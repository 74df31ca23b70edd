//! What a version of a dataset has of the traffic of an endpoint.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The most rows that are captured at once.
pub const MAX_CAPTURED_ROWS: u64 = 1_000_000;

/// What was taken of the traffic of a span, and what was left out: each recorded call is counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CapturedTraffic {
    /// From this moment.
    pub start: Timestamp,
    /// Until this moment, which is not included.
    pub end: Timestamp,
    /// Calls that were answered, as monitoring counted them, to its windows.
    pub answered: u64,
    /// Calls that were recorded.
    pub recorded: u64,
    /// Calls that were taken.
    pub captured: u64,
    /// Of these, calls whose outcome is known.
    pub labelled: u64,
    /// Left out because the request was not kept.
    pub without_request: u64,
    /// Left out because no outcome was reported.
    pub unlabelled: u64,
    /// Left out by the share or the number of rows that was asked for.
    pub unsampled: u64,
    /// Left out because request or answer are no rows, or do not go together.
    pub unreadable: u64,
    /// Outcomes whose labels are not as many as the call has rows.
    pub unmatched: u64,
}
