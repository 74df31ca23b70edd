//! The one mapping between [`lodeway_domain::Error`] and a gRPC status with `google.rpc` details, both ways.
//!
//! Each status carries exactly one `ErrorInfo`; every value of the message stands in its metadata as well, so that
//! nobody parses prose (AIP-193). A cause is logged here and never leaves the process.

use std::{collections::HashMap, time::Duration};

use lodeway_domain::{Error, Reason, Resource, id::clip};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};

mod back;
mod framework;
pub use back::{Failure, Violation, from_status, into_error};
pub(crate) use framework::of_framework;
pub use framework::{is_oversized, of_request};

/// The domain of errors that no service owns.
pub const DEFAULT_DOMAIN: &str = "lodeway.dev";

/// Characters of all descriptions of bad fields together, while each has 300 of them.
const MAX_DESCRIPTIONS: usize = 2_400;

/// Violations beyond this many are counted, not listed: details travel in a header of bounded size.
pub const MAX_VIOLATIONS: usize = 32;

const MAX_MESSAGE_CHARS: usize = 1_000;

/// The error domain of a service by its full name: `lodeway.tracking.v1.TrackingService` is `tracking.lodeway.dev`.
pub fn domain_of(service: &str) -> String {
    let mut parts = service.split('.');
    match (parts.next(), parts.next()) {
        (Some("lodeway"), Some(name)) => format!("{name}.{DEFAULT_DOMAIN}"),
        (Some("inference"), Some(_)) => format!("inference.{DEFAULT_DOMAIN}"),
        _ => DEFAULT_DOMAIN.to_owned(),
    }
}

/// The error as a status of `domain` (for example `tracking.lodeway.dev`).
///
/// Logs the error: server faults at error level with their causes, the caller's mistakes at debug. So call it once,
/// where the error stops travelling.
pub fn status_of(error: &Error, request_id: &str, domain: &str) -> Status {
    log(error, request_id, domain);
    let mut details = ErrorDetails::new();
    let mut metadata = HashMap::new();
    add_details(error, request_id, &mut details, &mut metadata);
    details.set_error_info(error.reason().as_str(), domain, metadata);
    Status::with_error_details(
        code_of(error),
        clip_to(&error.to_string(), MAX_MESSAGE_CHARS),
        details,
    )
}

/// The gRPC code of an error.
pub fn code_of(error: &Error) -> Code {
    match error {
        Error::NotFound(_) => Code::NotFound,
        Error::AlreadyExists(_) => Code::AlreadyExists,
        Error::Invalid(_) => Code::InvalidArgument,
        Error::Precondition { .. } | Error::Refused { .. } => Code::FailedPrecondition,
        Error::Conflict(_) => Code::Aborted,
        Error::Exhausted { .. } => Code::ResourceExhausted,
        Error::OutOfRange { .. } => Code::OutOfRange,
        Error::Unauthenticated(_) | Error::UntrustedPeer(_) => Code::Unauthenticated,
        Error::Denied(_) | Error::Unverified(_) => Code::PermissionDenied,
        Error::Unimplemented { .. } => Code::Unimplemented,
        Error::DeadlineExceeded | Error::Late(_) => Code::DeadlineExceeded,
        Error::DataLoss(_) => Code::DataLoss,
        Error::Unavailable { .. } => Code::Unavailable,
        _ => Code::Internal,
    }
}

fn add_details(
    error: &Error,
    request_id: &str,
    details: &mut ErrorDetails,
    metadata: &mut HashMap<String, String>,
) {
    match error {
        Error::NotFound(resource) | Error::AlreadyExists(resource) | Error::Conflict(resource) => {
            name_resource(resource, details, metadata);
        }
        Error::Invalid(violations) => {
            // One may say more than many, of which headers hold only so much.
            let chars = (MAX_DESCRIPTIONS / violations.len().max(1)).clamp(300, 1_200);
            let listed = violations.iter().take(MAX_VIOLATIONS).map(|v| FieldViolation {
                field: clip(&v.field),
                description: ends_of(&v.description, chars),
                reason: v.reason.as_str().to_owned(),
                localized_message: None,
            });
            details.set_bad_request(listed.collect::<Vec<_>>());
            if let Some(first) = violations.first() {
                metadata.insert("field".to_owned(), clip(&first.field));
            }
            if violations.len() > MAX_VIOLATIONS {
                metadata.insert(
                    "violations_omitted".to_owned(),
                    (violations.len() - MAX_VIOLATIONS).to_string(),
                );
            }
        }
        Error::Precondition {
            reason,
            message,
            metadata: values,
        } => {
            let subject = values.first().map(|(_, value)| value.clone()).unwrap_or_default();
            let violation = PreconditionViolation::new(reason.as_str(), subject, clip_to(message, 300));
            details.set_precondition_failure(vec![violation]);
            metadata.extend(
                values
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), clip_to(value, 300))),
            );
        }
        Error::Refused {
            reason,
            metadata: values,
            unmet,
            ..
        } => {
            let listed = unmet.iter().take(MAX_VIOLATIONS).map(|one| {
                PreconditionViolation::new(
                    reason.as_str(),
                    clip(&one.subject),
                    clip_to(&one.description, 300),
                )
            });
            details.set_precondition_failure(listed.collect::<Vec<_>>());
            if unmet.len() > MAX_VIOLATIONS {
                let omitted = (unmet.len() - MAX_VIOLATIONS).to_string();
                metadata.insert("violations_omitted".to_owned(), omitted);
            }
            let values = values.iter();
            metadata.extend(values.map(|(key, value)| ((*key).to_owned(), clip_to(value, 300))));
        }
        Error::Exhausted {
            retry_after: Some(delay),
            ..
        } => retry_in(*delay, details, metadata),
        Error::Unavailable { retry_after, .. } => retry_in(*retry_after, details, metadata),
        Error::Internal(_) => {
            details.set_request_info(request_id, "");
        }
        _ => {}
    }
}

fn name_resource(resource: &Resource, details: &mut ErrorDetails, metadata: &mut HashMap<String, String>) {
    let (kind, name) = (resource.kind.as_str(), clip_to(&resource.name, 300));
    details.set_resource_info(kind, name.as_str(), "", "");
    metadata.insert("resource_type".to_owned(), kind.to_owned());
    metadata.insert("resource_name".to_owned(), name);
}

fn retry_in(delay: Duration, details: &mut ErrorDetails, metadata: &mut HashMap<String, String>) {
    details.set_retry_info(Some(delay));
    metadata.insert("retry_after_ms".to_owned(), delay.as_millis().to_string());
}

/// A text within a bound: a little of its start and most of its end, where texts of others say the cause after what they were
/// given.
fn ends_of(text: &str, chars: usize) -> String {
    let count = text.chars().count();
    if count <= chars {
        return text.to_owned();
    }
    let start: String = text.chars().take(chars / 3).collect();
    let end: String = text.chars().skip(count - (chars - chars / 3)).collect();
    format!("{start} … {end}")
}

fn clip_to(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn log(error: &Error, request_id: &str, domain: &str) {
    let reason = error.reason().as_str();
    match error {
        // The transport that met it says it, and not at every call.
        Error::Unavailable {
            reason: Reason::PeerTokenRefused,
            ..
        } => tracing::debug!(request.id = request_id, error.domain = domain, reason, "{error}"),
        Error::Internal(_) | Error::Unavailable { .. } | Error::DataLoss(_) => {
            let cause = error.cause().map(|c| chain(&**c)).unwrap_or_default();
            tracing::error!(
                request.id = request_id,
                error.domain = domain,
                reason,
                cause,
                "{error}"
            );
        }
        _ => tracing::debug!(request.id = request_id, error.domain = domain, reason, "{error}"),
    }
}

/// The HTTP status that a code goes out as, where a protocol over HTTP has no codes of its own.
pub fn http_code(code: Code) -> u16 {
    match code {
        Code::Ok => 200,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange | Code::AlreadyExists => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::Aborted => 409,
        Code::ResourceExhausted => 429,
        Code::Cancelled => 499,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
    }
}

/// An error and everything below it, joined by `: `.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let below = source.to_string();
        if !text.ends_with(&below) {
            text = format!("{text}: {below}");
        }
        next = source.source();
    }
    text
}

/// The reason that goes by a name on the wire.
pub fn reason_named(name: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|r| r.as_str() == name)
}

#[cfg(test)]
mod tests;
