//! From a status back to words: for the REST edge and for services that call a peer.

use std::{collections::HashMap, time::Duration};

use lodeway_domain::{Error, FieldViolation, Reason, Resource, ResourceKind, error::Unmet};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A status taken apart; what the REST edge maps to MLflow's codes and texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The canonical code.
    pub code: Code,
    /// `ErrorInfo.reason`; empty if the status carried none.
    pub reason: String,
    /// `ErrorInfo.domain`; empty if the status carried none.
    pub domain: String,
    /// The text for the caller.
    pub message: String,
    /// `ErrorInfo.metadata`: every value of the message by name.
    pub metadata: HashMap<String, String>,
    /// Bad fields, in the order the service found them.
    pub violations: Vec<Violation>,
    /// Kind and name of the thing meant, for example `("run", "4f1…")`.
    pub resource: Option<(String, String)>,
    /// How long to wait before repeating.
    pub retry_after: Option<Duration>,
    /// Under which id the server logged its fault.
    pub request_id: Option<String>,
}

/// One bad field of a request as it came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field in the protobuf message.
    pub field: String,
    /// What is wrong.
    pub description: String,
    /// Which kind of fault.
    pub reason: String,
}

impl Failure {
    /// The reason as one of ours, if it is.
    pub fn known_reason(&self) -> Option<Reason> {
        super::reason_named(&self.reason)
    }

    /// A metadata value, or nothing.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }
}

/// Takes a status apart; details that are missing or damaged are empty, never an error.
pub fn from_status(status: &Status) -> Failure {
    let details = status.get_error_details();
    let violation = |v: &tonic_types::FieldViolation| Violation {
        field: v.field.clone(),
        description: v.description.clone(),
        reason: v.reason.clone(),
    };
    let info = details.error_info();
    Failure {
        code: status.code(),
        reason: info.map(|i| i.reason.clone()).unwrap_or_default(),
        domain: info.map(|i| i.domain.clone()).unwrap_or_default(),
        message: status.message().to_owned(),
        metadata: info.map(|i| i.metadata.clone()).unwrap_or_default(),
        violations: details
            .bad_request()
            .map(|b| b.field_violations.iter().map(violation).collect())
            .unwrap_or_default(),
        resource: details
            .resource_info()
            .map(|r| (r.resource_type.clone(), r.resource_name.clone())),
        retry_after: details.retry_info().and_then(|r| r.retry_delay),
        request_id: details.request_info().map(|r| r.request_id.clone()),
    }
}

/// The error of a peer as one of ours, for a service that passes it on.
///
/// Metadata of a precondition keeps only `resource_type` and `resource_name` and the keys this build knows; an answer
/// that makes no sense here (INVALID_ARGUMENT without fields is still `Invalid`) becomes `Internal`.
pub fn into_error(status: &Status) -> Error {
    let failure = from_status(status);
    let reason = failure.known_reason();
    let message = failure.message.clone();
    match failure.code {
        Code::NotFound | Code::AlreadyExists | Code::Aborted => of_resource(&failure)
            .unwrap_or_else(|| Error::internal(format!("a peer answered {:?}: {message}", failure.code))),
        Code::InvalidArgument => Error::Invalid(violations_of(&failure)),
        Code::FailedPrecondition if reason == Some(Reason::PromotionRefused) => Error::Refused {
            reason: Reason::PromotionRefused,
            message,
            metadata: known_metadata(&failure),
            unmet: unmet_of(status),
        },
        Code::FailedPrecondition => Error::Precondition {
            reason: reason.unwrap_or(Reason::ServerFault),
            message,
            metadata: known_metadata(&failure),
        },
        Code::ResourceExhausted => Error::Exhausted {
            message,
            retry_after: failure.retry_after,
        },
        Code::OutOfRange => Error::OutOfRange {
            reason: reason.unwrap_or(Reason::CursorExpired),
            message,
        },
        Code::Unauthenticated if reason == Some(Reason::PeerTokenRefused) => Error::UntrustedPeer(message),
        Code::Unauthenticated => Error::Unauthenticated(message),
        Code::PermissionDenied if reason == Some(Reason::CallerNotVerified) => Error::Unverified(message),
        Code::PermissionDenied => Error::Denied(message),
        Code::Unimplemented => Error::Unimplemented {
            reason: reason.unwrap_or(Reason::NotImplemented),
            message,
        },
        Code::DeadlineExceeded => Error::DeadlineExceeded,
        Code::Cancelled if super::framework::is_late(status) => Error::DeadlineExceeded,
        Code::DataLoss => Error::DataLoss(message),
        Code::Unavailable => Error::Unavailable {
            reason: reason.unwrap_or(Reason::BackendUnavailable),
            retry_after: failure.retry_after.unwrap_or(Duration::from_secs(1)),
            cause: format!("a peer is unavailable: {message}").into(),
            message,
        },
        code => Error::internal(format!(
            "a peer answered {code:?}: {message} (request {:?})",
            failure.request_id
        )),
    }
}

fn known_metadata(failure: &Failure) -> Vec<(&'static str, String)> {
    let known = |key: &&'static str| failure.value(key).map(|value| (*key, value.to_owned()));
    KEYS.iter().filter_map(known).collect()
}

/// The demands that a peer listed as failed.
fn unmet_of(status: &Status) -> Vec<Unmet> {
    let details = status.get_error_details();
    let listed = details
        .precondition_failure()
        .map(|failure| &failure.violations[..]);
    let one = |violation: &tonic_types::PreconditionViolation| Unmet {
        subject: violation.subject.clone(),
        description: violation.description.clone(),
    };
    listed.unwrap_or_default().iter().map(one).collect()
}

fn of_resource(failure: &Failure) -> Option<Error> {
    let (kind, name) = failure.resource.as_ref()?;
    let kind = KINDS.iter().copied().find(|k| k.as_str() == kind)?;
    let resource = Resource::new(kind, name);
    Some(match failure.code {
        Code::NotFound => Error::NotFound(resource),
        Code::AlreadyExists => Error::AlreadyExists(resource),
        _ => Error::Conflict(resource),
    })
}

fn violations_of(failure: &Failure) -> Vec<FieldViolation> {
    if failure.violations.is_empty() {
        let reason = failure.known_reason().unwrap_or(Reason::InvalidField);
        return vec![FieldViolation::new("", failure.message.clone()).because(reason)];
    }
    let one = |v: &Violation| {
        let reason = super::reason_named(&v.reason).unwrap_or(Reason::InvalidField);
        FieldViolation::new(v.field.clone(), v.description.clone()).because(reason)
    };
    failure.violations.iter().map(one).collect()
}

/// Metadata keys that survive the way through a service.
const KEYS: &[&str] = &[
    "run_id",
    "experiment_id",
    "model_id",
    "name",
    "version",
    "key",
    "old_value",
    "new_value",
    "state",
    "stage",
    "status",
    "path",
    "alias",
    "transition_id",
    "superseded_by",
    "resource_type",
    "resource_name",
    "held_by",
    "count",
    "limit",
    "uri",
    "value",
    "exception",
];

const KINDS: &[ResourceKind] = &[
    ResourceKind::Experiment,
    ResourceKind::Run,
    ResourceKind::Tag,
    ResourceKind::LoggedModel,
    ResourceKind::RegisteredModel,
    ResourceKind::ModelVersion,
    ResourceKind::Alias,
    ResourceKind::Transition,
    ResourceKind::Artifact,
    ResourceKind::Deployment,
    ResourceKind::Endpoint,
    ResourceKind::Revision,
    ResourceKind::Rollout,
    ResourceKind::Prediction,
    ResourceKind::PromotionRule,
    ResourceKind::Approval,
    ResourceKind::Evaluation,
    ResourceKind::LlmRoute,
    ResourceKind::Schedule,
    ResourceKind::Dataset,
    ResourceKind::DatasetVersion,
];
