//! The answers of a server of one model alone while that model is not ready.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::mlflow::error::{Code, RestError};
use crate::endpoints::Endpoints;

/// When a caller may ask again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Says that the model is not ready where it is not, and why; all else goes on its way.
///
/// `/health` is MLflow's, which is the same as `/ping`: 404 without a model.
pub(super) async fn gate(State(endpoints): State<Endpoints>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_invocation = path == "/invocations" || path.starts_with("/endpoints/");
    let why = match path {
        "/health" | "/ping" | "/v2/health/ready" => endpoints.waits_for(),
        path if is_invocation || path.starts_with("/v2/models/") => endpoints.waits_for_first(),
        _ => None,
    };
    let Some(why) = why else {
        return next.run(request).await;
    };
    let refused = match path {
        "/health" | "/ping" => return (StatusCode::NOT_FOUND, format!("{why}\n")).into_response(),
        _ if is_invocation => RestError::new(Code::TemporarilyUnavailable, why).into_response(),
        _ => {
            let body = axum::Json(json!({ "error": why }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    };
    later(refused)
}

fn later(mut response: Response) -> Response {
    let seconds = HeaderValue::from(RETRY_AFTER.as_secs());
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}
