//! Calls to other services: how long they take, how large their messages are, and what is said where a service is missing.

use std::time::Duration;

use lodeway_domain::{Error, Reason};

/// How long one call may take.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(300);
/// The largest message to or from a target.
pub(super) const MAX_MESSAGE_BYTES: usize = 512 << 20;

/// The error of an evaluation that needs a service which has no address here.
pub(super) fn absent(what: &str) -> Error {
    Error::Unimplemented {
        reason: Reason::NotImplemented,
        message: format!("evaluation works without {what} here; set its address under `peers`"),
    }
}
