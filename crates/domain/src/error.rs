//! How anything fails: one transport-free error whose variant says what the caller can do about it.
//!
//! The mapping to gRPC codes and details is in `lodeway-rpc::status`, the one to MLflow's REST codes in the gateway.

use std::{borrow::Cow, fmt, time::Duration};

/// The result of anything that can fail in the domain, a store or a service.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cause of a failure that the caller did not make; it goes to the log, never to the caller.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What happened, one word of a closed list (`ErrorReason` of the protobuf contract mirrors it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A field of the request has a value that is not allowed.
    InvalidField,
    /// A search filter does not parse or names something that does not exist.
    InvalidFilter,
    /// An `order_by` does not parse or names something that does not exist.
    InvalidOrder,
    /// A page token is damaged or belongs to another query.
    InvalidPageToken,
    /// The same request id came with another body.
    RequestIdReused,
    /// The entity does not exist in this workspace.
    ResourceNotFound,
    /// An entity of that name or id exists already.
    ResourceExists,
    /// The etag sent is not the current one.
    EtagMismatch,
    /// A write to an experiment that is deleted.
    ExperimentNotActive,
    /// A write to a run that is deleted.
    RunNotActive,
    /// A write to a logged model that is deleted.
    LoggedModelNotActive,
    /// The operation needs a deleted entity, and this one is active.
    NotDeleted,
    /// A param exists already with another value; params are write-once.
    ParamAlreadySet,
    /// The version is in Production and the deletion was not forced.
    VersionInProduction,
    /// A later change makes a rollback ambiguous; the metadata names it.
    SupersededTransition,
    /// The model or version is referenced and cannot be purged.
    StillReferenced,
    /// A URI points outside the artifact roots that this server may open.
    LocationNotAllowed,
    /// The artifact store cannot do what was asked (for example presign on a local folder).
    NotSupportedByStore,
    /// Stored bytes do not match the digest recorded when they were written.
    DigestMismatch,
    /// The cursor is older than what the server keeps; take a snapshot and go on from there.
    CursorExpired,
    /// A stream sequence number skips ahead of what the server has.
    SequenceGap,
    /// A quota, queue or size bound is reached.
    LimitExceeded,
    /// No valid credentials came with the call.
    CredentialsMissing,
    /// A part of the platform does not accept the peer token of another one.
    PeerTokenRefused,
    /// The caller is known but may not do this.
    AccessDenied,
    /// A database, bucket or peer does not answer now.
    BackendUnavailable,
    /// The deadline passed before the work was done.
    DeadlinePassed,
    /// The call exists in the contract of a peer but not here.
    NotImplemented,
    /// A model is not loaded, or cannot be; the message says why.
    ModelNotReady,
    /// The code of a model raised an exception at this input; the message has its class and text.
    ModelRaised,
    /// The model's process ended in this call and is started again; the call itself may be at fault.
    ModelProcessEnded,
    /// A target that would get traffic is not ready, so the change is refused.
    TargetNotReady,
    /// The host lacks what a model needs: a library, an interpreter, a fence.
    RuntimeMissing,
    /// A rollout is under way, or in a state that does not allow this.
    RolloutState,
    /// An evaluation is in a state that does not allow this.
    EvaluationState,
    /// No record was added to the dataset since its newest version.
    NoRecordsPending,
    /// An endpoint has no recorded call that could be taken.
    NoTraffic,
    /// A promotion rule is not fulfilled; every clause that failed is listed.
    PromotionRefused,
    /// The call needs a caller whose credential proved who it is.
    CallerNotVerified,
    /// The author of a version cannot approve it.
    OwnVersion,
    /// A route to a language model names a key that the server does not have.
    KeyMissing,
    /// A fault of the server itself.
    ServerFault,
}

impl Reason {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::InvalidField,
        Self::InvalidFilter,
        Self::InvalidOrder,
        Self::InvalidPageToken,
        Self::RequestIdReused,
        Self::ResourceNotFound,
        Self::ResourceExists,
        Self::EtagMismatch,
        Self::ExperimentNotActive,
        Self::RunNotActive,
        Self::LoggedModelNotActive,
        Self::NotDeleted,
        Self::ParamAlreadySet,
        Self::VersionInProduction,
        Self::SupersededTransition,
        Self::StillReferenced,
        Self::LocationNotAllowed,
        Self::NotSupportedByStore,
        Self::DigestMismatch,
        Self::CursorExpired,
        Self::SequenceGap,
        Self::LimitExceeded,
        Self::CredentialsMissing,
        Self::PeerTokenRefused,
        Self::AccessDenied,
        Self::BackendUnavailable,
        Self::DeadlinePassed,
        Self::NotImplemented,
        Self::ServerFault,
        Self::ModelNotReady,
        Self::ModelRaised,
        Self::ModelProcessEnded,
        Self::TargetNotReady,
        Self::RuntimeMissing,
        Self::RolloutState,
        Self::PromotionRefused,
        Self::CallerNotVerified,
        Self::OwnVersion,
        Self::EvaluationState,
        Self::KeyMissing,
        Self::NoRecordsPending,
        Self::NoTraffic,
    ];

    /// The reason as it stands in `ErrorInfo.reason`, in UPPER_SNAKE_CASE.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidField => "INVALID_FIELD",
            Self::InvalidFilter => "INVALID_FILTER",
            Self::InvalidOrder => "INVALID_ORDER",
            Self::InvalidPageToken => "INVALID_PAGE_TOKEN",
            Self::RequestIdReused => "REQUEST_ID_REUSED",
            Self::ResourceNotFound => "RESOURCE_NOT_FOUND",
            Self::ResourceExists => "RESOURCE_EXISTS",
            Self::EtagMismatch => "ETAG_MISMATCH",
            Self::ExperimentNotActive => "EXPERIMENT_NOT_ACTIVE",
            Self::RunNotActive => "RUN_NOT_ACTIVE",
            Self::LoggedModelNotActive => "LOGGED_MODEL_NOT_ACTIVE",
            Self::NotDeleted => "NOT_DELETED",
            Self::ParamAlreadySet => "PARAM_ALREADY_SET",
            Self::VersionInProduction => "VERSION_IN_PRODUCTION",
            Self::SupersededTransition => "SUPERSEDED_TRANSITION",
            Self::StillReferenced => "STILL_REFERENCED",
            Self::LocationNotAllowed => "LOCATION_NOT_ALLOWED",
            Self::NotSupportedByStore => "NOT_SUPPORTED_BY_STORE",
            Self::DigestMismatch => "DIGEST_MISMATCH",
            Self::CursorExpired => "CURSOR_EXPIRED",
            Self::SequenceGap => "SEQUENCE_GAP",
            Self::LimitExceeded => "LIMIT_EXCEEDED",
            Self::CredentialsMissing => "CREDENTIALS_MISSING",
            Self::PeerTokenRefused => "PEER_TOKEN_REFUSED",
            Self::AccessDenied => "ACCESS_DENIED",
            Self::BackendUnavailable => "BACKEND_UNAVAILABLE",
            Self::DeadlinePassed => "DEADLINE_PASSED",
            Self::NotImplemented => "NOT_IMPLEMENTED",
            Self::ModelNotReady => "MODEL_NOT_READY",
            Self::ModelRaised => "MODEL_RAISED",
            Self::ModelProcessEnded => "MODEL_PROCESS_ENDED",
            Self::TargetNotReady => "TARGET_NOT_READY",
            Self::RuntimeMissing => "RUNTIME_MISSING",
            Self::RolloutState => "ROLLOUT_STATE",
            Self::EvaluationState => "EVALUATION_STATE",
            Self::NoRecordsPending => "NO_RECORDS_PENDING",
            Self::NoTraffic => "NO_TRAFFIC",
            Self::PromotionRefused => "PROMOTION_REFUSED",
            Self::CallerNotVerified => "CALLER_NOT_VERIFIED",
            Self::OwnVersion => "OWN_VERSION",
            Self::KeyMissing => "KEY_MISSING",
            Self::ServerFault => "SERVER_FAULT",
        }
    }
}

/// The kinds of thing that can be named in an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResourceKind {
    /// An experiment, by id or name.
    Experiment,
    /// A run, by id.
    Run,
    /// A tag of any entity, by key.
    Tag,
    /// A logged model, by id.
    LoggedModel,
    /// A registered model, by name.
    RegisteredModel,
    /// A model version, by `name/version`.
    ModelVersion,
    /// An alias of a registered model, by `name@alias`.
    Alias,
    /// A ledger entry, by id.
    Transition,
    /// An artifact file or folder, by path.
    Artifact,
    /// A model version loaded somewhere, by id.
    Deployment,
    /// An endpoint, by name.
    Endpoint,
    /// A revision of an endpoint, by `name/number`.
    Revision,
    /// A rollout, by id.
    Rollout,
    /// A prediction, by id.
    Prediction,
    /// An evaluation, by id.
    Evaluation,
    /// A dataset, by name.
    Dataset,
    /// A version of a dataset, by `name@number`.
    DatasetVersion,
    /// A promotion rule, by `model:name`; of every model by `:name`.
    PromotionRule,
    /// An approval, by id.
    Approval,
    /// A route to language models, by name.
    LlmRoute,
    /// A repeated evaluation of traffic, by name.
    Schedule,
}

impl ResourceKind {
    /// The kind in words, lower case, as it stands in messages and `ResourceInfo.resource_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Experiment => "experiment",
            Self::Run => "run",
            Self::Tag => "tag",
            Self::LoggedModel => "logged model",
            Self::RegisteredModel => "registered model",
            Self::ModelVersion => "model version",
            Self::Alias => "alias",
            Self::Transition => "transition",
            Self::Artifact => "artifact",
            Self::Deployment => "deployment",
            Self::Endpoint => "endpoint",
            Self::Revision => "revision",
            Self::Rollout => "rollout",
            Self::Prediction => "prediction",
            Self::Evaluation => "evaluation",
            Self::Dataset => "dataset",
            Self::DatasetVersion => "dataset version",
            Self::PromotionRule => "promotion rule",
            Self::Approval => "approval",
            Self::LlmRoute => "llm route",
            Self::Schedule => "schedule",
        }
    }
}

/// A thing named in an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// What kind of thing.
    pub kind: ResourceKind,
    /// Its id or name as the caller gave it.
    pub name: String,
}

impl Resource {
    /// Names a resource.
    pub fn new(kind: ResourceKind, name: impl fmt::Display) -> Self {
        Self {
            kind,
            name: name.to_string(),
        }
    }
}

/// One field of a request that is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field in the protobuf message, for example `metrics[3].key`.
    pub field: String,
    /// What is wrong and what would be right, lower case, no full stop.
    pub description: String,
    /// Which kind of fault; `InvalidField` unless something more exact is known.
    pub reason: Reason,
}

impl FieldViolation {
    /// A violation of kind [`Reason::InvalidField`].
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            description: description.into(),
            reason: Reason::InvalidField,
        }
    }

    /// The same violation with a more exact reason.
    pub fn because(mut self, reason: Reason) -> Self {
        self.reason = reason;
        self
    }
}

/// One demand that a state does not fulfil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// What is concerned, for example `churn/7`.
    pub subject: String,
    /// What was demanded and what was found, lower case, no full stop.
    pub description: String,
}

/// Why a request failed; the variant is what the caller can do, [`Error::reason`] what happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The named thing does not exist; create it or name another.
    NotFound(Resource),
    /// The named thing exists; use it or choose another name.
    AlreadyExists(Resource),
    /// The request can never succeed as it is; every bad field is listed.
    Invalid(Vec<FieldViolation>),
    /// The request is well formed but the state forbids it; change the state first.
    Precondition {
        /// What state stands in the way.
        reason: Reason,
        /// The thing whose state it is, and what to do.
        message: String,
        /// Every value in the message, by name.
        metadata: Vec<(&'static str, String)>,
    },
    /// As [`Error::Precondition`], where several demands of a state are judged at once.
    Refused {
        /// What judged.
        reason: Reason,
        /// The thing whose state it is, and the first demands that failed.
        message: String,
        /// Every value in the message, by name.
        metadata: Vec<(&'static str, String)>,
        /// Every demand that failed.
        unmet: Vec<Unmet>,
    },
    /// Somebody else changed it meanwhile; read it again and repeat.
    Conflict(Resource),
    /// A bound is reached; wait and repeat, or send less.
    Exhausted {
        /// Which bound.
        message: String,
        /// How long to wait, if waiting helps.
        retry_after: Option<Duration>,
    },
    /// The position asked for is outside what exists or is kept.
    OutOfRange {
        /// Why it is outside.
        reason: Reason,
        /// What exists.
        message: String,
    },
    /// No valid credentials.
    Unauthenticated(String),
    /// No valid credentials, and a peer token that is not the one of this process.
    UntrustedPeer(String),
    /// The caller may not do this.
    Denied(String),
    /// No credential proved who the caller is, and this needs to be known.
    Unverified(String),
    /// Not possible with this server or store.
    Unimplemented {
        /// Why not.
        reason: Reason,
        /// What would make it possible.
        message: String,
    },
    /// The deadline passed.
    DeadlineExceeded,
    /// Something that the platform asks took longer than it may; what, for the caller.
    Late(String),
    /// Stored data is damaged; repeating does not help.
    DataLoss(String),
    /// A part of the platform does not answer; repeat after the delay.
    Unavailable {
        /// What happened: a backend is unavailable, a model's process ended, or parts of the platform do not trust each other.
        reason: Reason,
        /// What does not answer, for the caller.
        message: String,
        /// How long to wait.
        retry_after: Duration,
        /// The cause, for the log.
        cause: Cause,
    },
    /// A fault of the server; the cause goes to the log.
    Internal(Cause),
}

impl Error {
    /// One bad field.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldViolation::new(field, description)])
    }

    /// A missing thing.
    pub fn not_found(kind: ResourceKind, name: impl fmt::Display) -> Self {
        Self::NotFound(Resource::new(kind, name))
    }

    /// A thing that exists already.
    pub fn exists(kind: ResourceKind, name: impl fmt::Display) -> Self {
        Self::AlreadyExists(Resource::new(kind, name))
    }

    /// A state that forbids the request.
    pub fn precondition(
        reason: Reason,
        message: impl Into<String>,
        metadata: Vec<(&'static str, String)>,
    ) -> Self {
        Self::Precondition {
            reason,
            message: message.into(),
            metadata,
        }
    }

    /// A fault of the server with its cause.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self::Internal(cause.into())
    }

    /// A backend that does not answer, to be tried again in a second.
    pub fn unavailable(message: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self::Unavailable {
            reason: Reason::BackendUnavailable,
            message: message.into(),
            retry_after: Duration::from_secs(1),
            cause: cause.into(),
        }
    }

    /// What happened, one word of a closed list.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotFound(_) => Reason::ResourceNotFound,
            Self::AlreadyExists(_) => Reason::ResourceExists,
            Self::Invalid(violations) => violations.first().map_or(Reason::InvalidField, |v| v.reason),
            Self::Precondition { reason, .. }
            | Self::Refused { reason, .. }
            | Self::OutOfRange { reason, .. }
            | Self::Unimplemented { reason, .. }
            | Self::Unavailable { reason, .. } => *reason,
            Self::Conflict(_) => Reason::EtagMismatch,
            Self::Exhausted { .. } => Reason::LimitExceeded,
            Self::Unauthenticated(_) => Reason::CredentialsMissing,
            Self::UntrustedPeer(_) => Reason::PeerTokenRefused,
            Self::Denied(_) => Reason::AccessDenied,
            Self::Unverified(_) => Reason::CallerNotVerified,
            Self::DeadlineExceeded | Self::Late(_) => Reason::DeadlinePassed,
            Self::DataLoss(_) => Reason::DigestMismatch,
            Self::Internal(_) => Reason::ServerFault,
        }
    }

    /// The cause that belongs in the log, if this is the server's or a backend's fault.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Unavailable { cause, .. } | Self::Internal(cause) => Some(cause),
            _ => None,
        }
    }
}

/// The text for the caller: lower case, no full stop, names in backticks; never a cause.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(r) => write!(f, "{} `{}` does not exist", r.kind.as_str(), r.name),
            Self::AlreadyExists(r) => write!(f, "{} `{}` exists already", r.kind.as_str(), r.name),
            Self::Invalid(violations) => {
                let texts = violations.iter().map(|v| match v.field.as_str() {
                    "" => Cow::Borrowed(v.description.as_str()),
                    field => Cow::Owned(format!("`{field}`: {}", v.description)),
                });
                f.write_str(&texts.collect::<Vec<_>>().join("; "))
            }
            Self::Precondition { message, .. }
            | Self::Refused { message, .. }
            | Self::Exhausted { message, .. }
            | Self::OutOfRange { message, .. }
            | Self::Unimplemented { message, .. }
            | Self::Unavailable { message, .. }
            | Self::Unauthenticated(message)
            | Self::UntrustedPeer(message)
            | Self::Denied(message)
            | Self::Unverified(message)
            | Self::Late(message)
            | Self::DataLoss(message) => f.write_str(message),
            Self::Conflict(r) => write!(
                f,
                "{} `{}` was changed meanwhile; read it again",
                r.kind.as_str(),
                r.name
            ),
            Self::DeadlineExceeded => f.write_str("the deadline of the call passed before its work was done"),
            Self::Internal(_) => f.write_str("internal error"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause().map(|c| &**c as &(dyn std::error::Error + 'static))
    }
}

/// The most bad fields of one request that are listed: a large one may have a fault in every row.
const MAX_VIOLATIONS: usize = 1_000;

/// Collects the bad fields of a request, so that the caller sees all of them at once; of very many the first ones.
#[derive(Debug, Default)]
pub struct Violations(Vec<FieldViolation>);

impl Violations {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a bad field.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        if self.0.len() < MAX_VIOLATIONS {
            self.0.push(FieldViolation::new(field, description));
        }
    }

    /// Keeps the value of `result`, or notes its violations; an error of another kind is noted under `field`.
    pub fn take<T>(&mut self, field: &str, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(Error::Invalid(violations)) => {
                let left = MAX_VIOLATIONS.saturating_sub(self.0.len());
                self.0.extend(violations.into_iter().take(left));
                None
            }
            Err(other) => {
                self.add(field, other.to_string());
                None
            }
        }
    }

    /// Ok if nothing was noted.
    pub fn finish(self) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(self.0))
        }
    }
}
