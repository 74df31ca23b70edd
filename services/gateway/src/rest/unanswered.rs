//! What stands in the headers of an answer of a model, and what is said where there is none.

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use lodeway_domain::{Error, Reason};
use lodeway_proto::inference::ModelInferRequest;
use lodeway_rpc::CallContext;
use prost::Message as _;

use super::mlflow::error::{self as mlflow_error, Code, RestError};
use crate::endpoints::MAX_INPUT_BYTES;

pub(super) const PREDICTION_ID: &str = "x-lodeway-prediction-id";

pub(super) const MODEL_VERSION: &str = "x-lodeway-model-version";

/// What goes round an input on its way to the model host: names and an id.
const ENVELOPE_BYTES: usize = 64 << 10;

/// Why a call is not answered.
pub(super) enum Unanswered {
    /// Its body is larger than is read.
    TooLarge,
    Failed(Error),
}

impl From<Error> for Unanswered {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A body within the limit may still make a message beyond it: what parts of the platform send each other has the same one.
pub(super) fn sendable(message: ModelInferRequest) -> Result<ModelInferRequest, Unanswered> {
    let is_larger = message.encoded_len() > MAX_INPUT_BYTES - ENVELOPE_BYTES;
    (!is_larger).then_some(message).ok_or(Unanswered::TooLarge)
}

/// What is said of a body that is larger than is read.
pub(super) fn too_large() -> String {
    format!(
        "the request is larger than {} MiB; send fewer rows at a time",
        MAX_INPUT_BYTES >> 20
    )
}

/// What MLflow's scoring server says, as plain text, of a call that took too long.
const TOO_LATE: &str = "Request processing time exceeded limit";

/// An error in MLflow's shape, as its scoring server answers.
pub(super) fn refused(cx: &CallContext, error: Error) -> Response {
    let is_late = matches!(error, Error::DeadlineExceeded);
    let is_raised = error.reason() == Reason::ModelRaised;
    let status = cx.status(error);
    if is_late {
        return (StatusCode::GATEWAY_TIMEOUT, TOO_LATE).into_response();
    }
    let failure = mlflow_error::of("scoring", &status);
    match is_raised {
        true => RestError::new(Code::BadRequest, failure.message).into_response(),
        false => failure.into_response(),
    }
}
