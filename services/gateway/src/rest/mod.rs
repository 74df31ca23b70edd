//! The REST side of the edge.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware,
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use http::{Method, StatusCode};
use serde_json::json;

use crate::{Edge, Endpoints, Llm};

mod alone;
mod coding;
pub(crate) mod mlflow;
pub(crate) mod openai;
pub(crate) mod scoring;
mod streamed;
mod unanswered;

pub(crate) fn router(edge: Arc<Edge>, endpoints: Option<Endpoints>, llm: Option<Llm>) -> Router {
    let alone = endpoints.clone().filter(|endpoints| endpoints.0.config.one_model);
    let scoring = endpoints.map(scoring::router).unwrap_or_default();
    let router = mlflow::router(edge)
        .merge(scoring)
        .merge(llm.map(openai::router).unwrap_or_default())
        .route("/", get(|| async { Html(HOME) }))
        .fallback(unknown);
    match alone {
        Some(endpoints) => router.layer(middleware::from_fn_with_state(endpoints, alone::gate)),
        None => router,
    }
}

/// The access rules of every REST route.
pub fn access_rules() -> Vec<(&'static str, lodeway_rpc::access::Access)> {
    let mut rules = mlflow::access_rules();
    rules.extend_from_slice(scoring::RULES);
    rules.extend_from_slice(openai::RULES);
    rules
}

/// An error of the layers round the edge (no credentials, too busy, past its deadline) in MLflow's shape.
pub fn refuse(error: &lodeway_domain::Error) -> Response {
    let status = lodeway_rpc::status::status_of(error, "", lodeway_rpc::status::DEFAULT_DOMAIN);
    mlflow::error::of("", &status).into_response()
}

const HOME: &str = "<!doctype html><title>Lodeway</title><h1>Lodeway</h1>\
    <p>This server tracks experiments and keeps models. It speaks gRPC (with reflection) and MLflow's REST API on this \
    port: set <code>MLFLOW_TRACKING_URI</code> to this address.</p>";

/// Answers in HTML, not JSON: clients take a 404 without JSON for an endpoint that this server does not have. Below `/v2`
/// is the Open Inference Protocol, whose errors are JSON.
async fn unknown(request: Request) -> Response {
    let uri = request.uri();
    if matches!(*request.method(), Method::GET | Method::HEAD) && uri.path().contains("//") {
        return Redirect::permanent(&collapsed(uri)).into_response();
    }
    if uri.path() == "/v2" || uri.path().starts_with("/v2/") {
        let why = format!("there is nothing at `{}`", uri.path());
        return (StatusCode::NOT_FOUND, axum::Json(json!({ "error": why }))).into_response();
    }
    let text = "<!doctype html><title>404 Not Found</title><h1>Not Found</h1><p>There is nothing at this address.</p>";
    (StatusCode::NOT_FOUND, Html(text)).into_response()
}

fn collapsed(uri: &http::Uri) -> String {
    let mut path = String::from("/");
    for segment in uri.path().split('/').filter(|s| !s.is_empty()) {
        if path.len() > 1 {
            path.push('/');
        }
        path.push_str(segment);
    }
    match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}
