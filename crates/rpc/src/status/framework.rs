//! Statuses that tonic answers by itself, before a handler has a message or instead of one.
//!
//! They have no details, and what the caller did wrong comes as INTERNAL or OUT_OF_RANGE.

use lodeway_domain::{Error, Reason};
use tonic::{Code, Status};

/// How the texts begin that tonic 0.14 has for messages which are none.
const NO_MESSAGE: [&str; 5] = [
    "failed to decode Protobuf message",
    "Unexpected EOF decoding stream",
    "Missing request message",
    "protocol error: received message with",
    "Error decompressing: ",
];

/// How tonic 0.14 words that the time of a call is over, as CANCELLED, in its servers and its channels alike.
const LATE: &str = "Timeout expired";

/// Whether the framework ended the call because its time was over.
pub(super) fn is_late(status: &Status) -> bool {
    status.code() == Code::Cancelled && status.message() == LATE
}

/// Whether the framework refused a message, of whoever sent it, because it is larger than its reader takes.
pub fn is_oversized(status: &Status) -> bool {
    status.details().is_empty()
        && status.code() == Code::OutOfRange
        && status.message().contains("message length too large")
}

/// Why a stream of requests ended before its end, in words for its caller.
pub fn of_request(broken: &Status) -> Error {
    of_framework(broken).unwrap_or_else(|| super::into_error(broken))
}

/// What a status of the framework's own says, in our words; none for any other.
pub(crate) fn of_framework(status: &Status) -> Option<Error> {
    if !status.details().is_empty() {
        return None;
    }
    let text = status.message();
    match status.code() {
        Code::Internal if NO_MESSAGE.iter().any(|begin| text.starts_with(begin)) => Some(Error::invalid(
            "request",
            format!("is not a message of this method: {text}"),
        )),
        Code::OutOfRange if is_oversized(status) => Some(Error::Exhausted {
            message: format!("a message is too large: {}", text.trim_start_matches("Error, ")),
            retry_after: None,
        }),
        Code::Cancelled if is_late(status) => Some(Error::DeadlineExceeded),
        Code::ResourceExhausted if text.starts_with("Error decompressing: ") => Some(Error::Exhausted {
            message: format!("a message is too large: {text}"),
            retry_after: None,
        }),
        Code::Unimplemented => Some(Error::Unimplemented {
            reason: Reason::NotImplemented,
            message: match text {
                "" => "there is no such method here".to_owned(),
                text => text.to_owned(),
            },
        }),
        _ => None,
    }
}
