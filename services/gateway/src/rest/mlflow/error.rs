//! Failures in MLflow's shape: from our own checks, and from what a service answered.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use lodeway_domain::Reason;
use lodeway_rpc::status::{Failure, from_status};
use serde::Serialize;
use tonic::{Code as Grpc, Status};

/// MLflow's error codes, as far as this edge sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidParameterValue,
    BadRequest,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
    ResourceConflict,
    PermissionDenied,
    Unauthenticated,
    RequestLimitExceeded,
    InternalError,
    InvalidState,
    NotImplemented,
    TemporarilyUnavailable,
}

impl Code {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InvalidParameterValue => "INVALID_PARAMETER_VALUE",
            Self::BadRequest => "BAD_REQUEST",
            Self::ResourceAlreadyExists => "RESOURCE_ALREADY_EXISTS",
            Self::ResourceDoesNotExist => "RESOURCE_DOES_NOT_EXIST",
            Self::ResourceConflict => "RESOURCE_CONFLICT",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::RequestLimitExceeded => "REQUEST_LIMIT_EXCEEDED",
            Self::InternalError => "INTERNAL_ERROR",
            Self::InvalidState => "INVALID_STATE",
            Self::NotImplemented => "NOT_IMPLEMENTED",
            Self::TemporarilyUnavailable => "TEMPORARILY_UNAVAILABLE",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::InvalidParameterValue | Self::BadRequest | Self::ResourceAlreadyExists => {
                StatusCode::BAD_REQUEST
            }
            Self::ResourceDoesNotExist => StatusCode::NOT_FOUND,
            Self::ResourceConflict => StatusCode::CONFLICT,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::RequestLimitExceeded => StatusCode::TOO_MANY_REQUESTS,
            Self::InternalError | Self::InvalidState => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What is said of a body that did not come whole.
pub(crate) const INCOMPLETE: &str = "the request body ended before it was complete";

/// A failure as it goes to a REST client.
#[derive(Debug, Clone)]
pub(crate) struct RestError {
    pub(crate) code: Code,
    pub(crate) message: String,
    status: StatusCode,
    retry_after_s: Option<u64>,
}

impl RestError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            status: code.status(),
            retry_after_s: None,
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameterValue, message)
    }

    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self::new(Code::ResourceDoesNotExist, message)
    }

    /// For a body that stopped coming, or whose connection broke off.
    pub(crate) fn incomplete() -> Self {
        Self::new(Code::BadRequest, INCOMPLETE)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::larger(format!(
            "the request body is larger than {} MiB; send less at a time",
            limit >> 20
        ))
    }

    /// For a body that is larger than is read, in these words.
    pub(crate) fn larger(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            ..Self::invalid(message)
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error_code: &'static str,
    message: &'a str,
}

impl IntoResponse for RestError {
    fn into_response(self) -> Response {
        let body = Body {
            error_code: self.code.name(),
            message: &self.message,
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Basic realm=\"lodeway\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// The failure that a REST client of `route` (an access name) sees for a service's answer.
pub(crate) fn of(route: &str, status: &Status) -> RestError {
    let failure = from_status(status);
    let reason = failure.known_reason();
    match (reason, failure.code) {
        (Some(Reason::ResourceNotFound), _) => not_found(route, &failure),
        (Some(Reason::ResourceExists), _) => exists(&failure),
        (Some(Reason::ExperimentNotActive), _) => experiment_not_active(route, &failure),
        (Some(Reason::RunNotActive), _) => not_active("run", "run_id", &failure),
        (Some(Reason::LoggedModelNotActive), _) => RestError::missing(format!(
            "Logged model with ID '{}' not found.",
            named(&failure, "model_id")
        )),
        (Some(Reason::NotDeleted), _) => RestError::missing(sentence(&failure.message)),
        (Some(Reason::ParamAlreadySet), _) => param_set(&failure),
        (Some(Reason::InvalidPageToken), _) => {
            RestError::invalid(format!("Invalid page token: {}", failure.message))
        }
        (Some(Reason::NotSupportedByStore), _) => RestError::new(
            Code::NotImplemented,
            "Multipart upload is not supported for the current artifact repository",
        ),
        (Some(Reason::NotImplemented), _) | (_, Grpc::Unimplemented) => {
            RestError::new(Code::NotImplemented, failure.message)
        }
        (Some(Reason::LocationNotAllowed), _) => RestError::invalid(sentence(&failure.message)),
        // A stored file that is damaged; a version whose files were changed is a refusal like others.
        (_, Grpc::DataLoss) => RestError::new(Code::InternalError, failure.message),
        (Some(Reason::VersionInProduction | Reason::StillReferenced | Reason::SupersededTransition), _) => {
            RestError::invalid(sentence(&failure.message))
        }
        (_, Grpc::Aborted) => RestError::new(Code::ResourceConflict, failure.message),
        (_, Grpc::InvalidArgument | Grpc::OutOfRange) => invalid(&failure),
        (_, Grpc::FailedPrecondition) => RestError::invalid(sentence(&failure.message)),
        (_, Grpc::NotFound) => RestError::missing(sentence(&failure.message)),
        (_, Grpc::AlreadyExists) => RestError::new(Code::ResourceAlreadyExists, failure.message),
        (_, Grpc::Unauthenticated) => RestError::new(Code::Unauthenticated, failure.message),
        (_, Grpc::PermissionDenied) => RestError::new(Code::PermissionDenied, failure.message),
        (_, Grpc::ResourceExhausted) => later(Code::RequestLimitExceeded, &failure),
        (_, Grpc::Unavailable | Grpc::DeadlineExceeded | Grpc::Cancelled) => {
            later(Code::TemporarilyUnavailable, &failure)
        }
        _ => internal(&failure),
    }
}

fn later(code: Code, failure: &Failure) -> RestError {
    let retry_after_s = failure.retry_after.map(|d| d.as_secs().max(1));
    RestError {
        retry_after_s,
        ..RestError::new(code, failure.message.clone())
    }
}

fn internal(failure: &Failure) -> RestError {
    let message = match &failure.request_id {
        Some(id) => format!("internal error; the log of the server has it under request `{id}`"),
        None => "internal error".to_owned(),
    };
    RestError::new(Code::InternalError, message)
}

fn named(failure: &Failure, key: &str) -> String {
    let resource = failure.resource.as_ref().map(|(_, name)| name.as_str());
    failure.value(key).or(resource).unwrap_or_default().to_owned()
}

fn not_found(route: &str, failure: &Failure) -> RestError {
    let (kind, name) = match &failure.resource {
        Some((kind, name)) => (kind.as_str(), name.as_str()),
        None => ("", ""),
    };
    let message = match kind {
        "alias" => {
            let alias = name.rsplit('@').next().unwrap_or(name);
            return RestError::invalid(format!("Registered model alias {alias} not found."));
        }
        "experiment" if route.ends_with("GetExperimentByName") => {
            format!("Could not find experiment with name '{name}'")
        }
        "experiment" => format!("No Experiment with id={name} exists"),
        "run" => format!("Run with id={name} not found"),
        "registered model" => format!("Registered Model with name={name} not found"),
        "model version" => {
            let (model, version) = name.rsplit_once('/').unwrap_or((name, ""));
            format!("Model Version (name={model}, version={version}) not found")
        }
        "logged model" => format!("Logged model with ID '{name}' not found."),
        "tag" => format!("No tag with name: {name}"),
        "artifact" => format!("No such artifact: '{name}'"),
        _ => sentence(&failure.message),
    };
    RestError::missing(message)
}

fn exists(failure: &Failure) -> RestError {
    let message = match &failure.resource {
        Some((kind, name)) if kind == "experiment" => format!("Experiment(name={name}) already exists."),
        Some((kind, name)) if kind == "registered model" => {
            format!("Registered Model (name={name}) already exists.")
        }
        _ => format!("{} (already exists)", failure.message),
    };
    RestError::new(Code::ResourceAlreadyExists, message)
}

fn experiment_not_active(route: &str, failure: &Failure) -> RestError {
    if route.ends_with("UpdateExperiment") {
        return RestError::new(Code::InvalidState, "Cannot rename a non-active experiment.");
    }
    if route.ends_with("DeleteExperiment") {
        return RestError::missing(format!(
            "No Experiment with id={} exists",
            named(failure, "experiment_id")
        ));
    }
    not_active("experiment", "experiment_id", failure)
}

fn not_active(kind: &str, key: &str, failure: &Failure) -> RestError {
    let id = named(failure, key);
    RestError::invalid(format!(
        "The {kind} {id} must be in the 'active' state. Current state is deleted."
    ))
}

fn param_set(failure: &Failure) -> RestError {
    let value = |key: &str| failure.value(key).unwrap_or_default();
    let of = match failure.value("model_id") {
        Some(model_id) => format!("model ID='{model_id}'"),
        None => format!("run ID='{}'", value("run_id")),
    };
    RestError::invalid(format!(
        "Changing param values is not allowed. Param with key='{}' was already logged with value='{}' for {of}. \
         Attempted logging new value '{}'.",
        value("key"),
        value("old_value"),
        value("new_value"),
    ))
}

fn invalid(failure: &Failure) -> RestError {
    match failure.violations.first() {
        Some(v) if v.field.is_empty() => RestError::invalid(sentence(&v.description)),
        Some(v) => RestError::invalid(format!(
            "Invalid value for parameter '{}' supplied: {}",
            v.field, v.description
        )),
        None => RestError::invalid(sentence(&failure.message)),
    }
}

/// First letter in upper case, as MLflow's own messages begin.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use lodeway_domain::{Error, ResourceKind};
    use lodeway_rpc::status::status_of;

    use super::*;

    fn seen(route: &str, error: &Error) -> (StatusCode, &'static str, String) {
        let error = of(route, &status_of(error, "r1", "tracking.lodeway.dev"));
        (error.status, error.code.name(), error.message)
    }

    #[test]
    fn reasons_and_routes_decide() {
        let missing = |kind, name: &str| Error::not_found(kind, name);
        assert_eq!(
            seen("mlflow.GetRun", &missing(ResourceKind::Run, "abc")),
            (
                StatusCode::NOT_FOUND,
                "RESOURCE_DOES_NOT_EXIST",
                "Run with id=abc not found".into()
            )
        );
        assert_eq!(
            seen(
                "mlflow.GetModelVersionByAlias",
                &missing(ResourceKind::Alias, "m@champion")
            ),
            (
                StatusCode::BAD_REQUEST,
                "INVALID_PARAMETER_VALUE",
                "Registered model alias champion not found.".into()
            )
        );
        assert_eq!(
            seen(
                "mlflow.CreateExperiment",
                &Error::exists(ResourceKind::Experiment, "e")
            )
            .1,
            "RESOURCE_ALREADY_EXISTS"
        );
        let deleted = Error::precondition(
            Reason::ExperimentNotActive,
            "x",
            vec![("experiment_id", "7".into())],
        );
        assert_eq!(
            seen("mlflow.UpdateExperiment", &deleted).0,
            StatusCode::INTERNAL_SERVER_ERROR
        );
        assert_eq!(seen("mlflow.CreateRun", &deleted).0, StatusCode::BAD_REQUEST);
        let gone = Error::unavailable("tracking does not answer", "refused");
        assert_eq!(seen("mlflow.GetRun", &gone).1, "TEMPORARILY_UNAVAILABLE");
        assert!(
            !seen("mlflow.GetRun", &Error::internal("secret"))
                .2
                .contains("secret")
        );
    }
}
