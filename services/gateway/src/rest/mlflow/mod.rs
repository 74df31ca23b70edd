//! MLflow's REST API: the table of routes, and what every handler has at hand.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use axum::{
    Router,
    body::Body,
    extract::{RawPathParams, Request, rejection::RawPathParamsRejection},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use futures::future::BoxFuture;
use http::{Method, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, Limited};
use lodeway_domain::Caller;
use lodeway_proto::{
    registry::v1::{
        promotion_service_client::PromotionServiceClient, registry_service_client::RegistryServiceClient,
    },
    tracking::v1::tracking_service_client::TrackingServiceClient,
};
use lodeway_rpc::{CallContext, Transport, access::Access};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tonic::Status;

use crate::Edge;

mod artifacts;
mod body;
mod datasets;
mod dialect;
pub(crate) mod error;
mod experiments;
mod graphql;
mod logged_models;
mod logging;
mod metrics;
mod misc;
mod misfit;
mod model_versions;
mod paging;
mod paths;
mod promotion;
mod query;
mod registered_models;
mod run_id;
mod runs;
mod source;
mod validate;
mod wire;

use body::Message;
use error::RestError;
use query::Query;

/// The answer of a handler.
pub(crate) type Answer = Result<Response, RestError>;

type Handler = fn(Call) -> BoxFuture<'static, Answer>;

/// Under which prefixes a route is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Under {
    /// `/api` and `/ajax-api`.
    Both,
    /// `/ajax-api` only.
    Ajax,
    /// At its own path.
    Bare,
}

/// One row of the table of routes.
pub(crate) struct Route {
    method: Method,
    path: &'static str,
    name: &'static str,
    under: Under,
    access: Access,
    limit_bytes: usize,
    handler: Handler,
}

/// JSON bodies: a batch of 1,000 metrics is 0.2 MiB, the largest profile of a data set 16 MiB.
const JSON_LIMIT_BYTES: usize = 32 << 20;

const fn route(
    method: Method,
    path: &'static str,
    name: &'static str,
    access: Access,
    handler: Handler,
) -> Route {
    Route {
        method,
        path,
        name,
        under: Under::Both,
        access,
        limit_bytes: JSON_LIMIT_BYTES,
        handler,
    }
}

/// A call that only looks.
const fn get(path: &'static str, name: &'static str, handler: Handler) -> Route {
    route(Method::GET, path, name, Access::Read, handler)
}

/// A search by POST, which only looks as well.
const fn look(path: &'static str, name: &'static str, handler: Handler) -> Route {
    route(Method::POST, path, name, Access::Read, handler)
}

const fn post(path: &'static str, name: &'static str, handler: Handler) -> Route {
    route(Method::POST, path, name, Access::Write, handler)
}

const fn put(path: &'static str, name: &'static str, handler: Handler) -> Route {
    route(Method::PUT, path, name, Access::Write, handler)
}

const fn patch(path: &'static str, name: &'static str, handler: Handler) -> Route {
    route(Method::PATCH, path, name, Access::Write, handler)
}

const fn delete(path: &'static str, name: &'static str, handler: Handler) -> Route {
    route(Method::DELETE, path, name, Access::Write, handler)
}

impl Route {
    const fn ajax(mut self) -> Self {
        self.under = Under::Ajax;
        self
    }

    const fn bare(mut self) -> Self {
        self.under = Under::Bare;
        self
    }

    /// Anybody may call it, without credentials.
    const fn public(mut self) -> Self {
        self.access = Access::Public;
        self
    }

    /// Takes bodies up to this size; streamed bodies (uploads) are not limited.
    const fn limit(mut self, bytes: usize) -> Self {
        self.limit_bytes = bytes;
        self
    }

    fn paths(&self) -> Vec<String> {
        let under = |prefix: &str| format!("{prefix}{}", self.path);
        match self.under {
            Under::Both => vec![under("/api"), under("/ajax-api")],
            Under::Ajax => vec![under("/ajax-api")],
            Under::Bare => vec![self.path.to_owned()],
        }
    }
}

fn all_routes() -> impl Iterator<Item = &'static Route> {
    [
        experiments::ROUTES,
        runs::ROUTES,
        logging::ROUTES,
        metrics::ROUTES,
        datasets::ROUTES,
        logged_models::ROUTES,
        registered_models::ROUTES,
        model_versions::ROUTES,
        artifacts::ROUTES,
        graphql::ROUTES,
        misc::ROUTES,
    ]
    .into_iter()
    .flatten()
}

/// The access rule of every route by method and path, for example `POST /api/2.0/mlflow/runs/log-batch`.
pub fn access_rules() -> Vec<(&'static str, Access)> {
    static KEYS: LazyLock<Vec<(String, Access)>> = LazyLock::new(|| {
        let keys = |r: &'static Route| {
            r.paths()
                .into_iter()
                .map(|path| (format!("{} {path}", r.method), r.access))
        };
        all_routes().flat_map(keys).collect()
    });
    KEYS.iter().map(|(key, access)| (key.as_str(), *access)).collect()
}

pub(crate) fn router(edge: Arc<Edge>) -> Router {
    let mut methods: BTreeMap<String, MethodRouter> = BTreeMap::new();
    for route in all_routes() {
        let Ok(filter) = MethodFilter::try_from(route.method.clone()) else {
            continue;
        };
        for path in route.paths() {
            let edge = edge.clone();
            let serve = move |params: Result<RawPathParams, RawPathParamsRejection>, request: Request| {
                answer(edge.clone(), route, params, request)
            };
            let known = methods.remove(&path).unwrap_or_default();
            methods.insert(path, known.merge(on(filter, serve)));
        }
    }
    methods
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| {
            router.route(&path, methods)
        })
}

async fn answer(
    edge: Arc<Edge>,
    route: &'static Route,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    // The layers put the caller there; a router that was mounted without them serves nobody in particular.
    let cx = parts
        .extensions
        .get::<CallContext>()
        .cloned()
        .unwrap_or_else(|| CallContext::new(Caller::anonymous()));
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let params = match params {
        Ok(params) => {
            let params = params.iter();
            params
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect()
        }
        Err(rejection) => match rest_of(route, parts.uri.path()) {
            Some(params) => vec![params],
            None => return rejection.into_response(),
        },
    };
    let call = Call {
        edge,
        cx,
        route,
        params,
        query,
        parts,
        body,
    };
    (route.handler)(call)
        .await
        .unwrap_or_else(RestError::into_response)
}

/// The end of a path that the router does not decode, because an escape in it is of no UTF-8, by its name in the route.
///
/// MLflow's client sends names of files as they are, so that of `10%cases.csv` looks like one. Its server reads such an escape
/// as U+FFFD, and the client finds the file by that name again.
fn rest_of(route: &Route, path: &str) -> Option<(String, String)> {
    route.paths().iter().find_map(|known| {
        let (before, name) = known.split_once("{*")?;
        let rest = percent_decode_str(path.strip_prefix(before)?).decode_utf8_lossy();
        Some((name.trim_end_matches('}').to_owned(), rest.into_owned()))
    })
}

/// One request on its way through a handler.
pub(crate) struct Call {
    pub(crate) edge: Arc<Edge>,
    pub(crate) cx: CallContext,
    pub(crate) route: &'static Route,
    params: Vec<(String, String)>,
    pub(crate) query: Query,
    pub(crate) parts: Parts,
    pub(crate) body: Body,
}

impl Call {
    /// Takes the body whole, up to the limit of the route.
    pub(crate) async fn bytes(&mut self) -> Result<bytes::Bytes, RestError> {
        let limit = self.route.limit_bytes;
        let length = self
            .parts
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse().ok());
        if length.is_some_and(|n: u64| n > limit as u64) {
            return Err(RestError::too_large(limit));
        }
        match Limited::new(std::mem::take(&mut self.body), limit)
            .collect()
            .await
        {
            Ok(body) => Ok(body.to_bytes()),
            Err(e) if e.is::<http_body_util::LengthLimitError>() => Err(RestError::too_large(limit)),
            Err(_) => Err(RestError::incomplete()),
        }
    }

    /// Reads the request from its body or query string.
    pub(crate) async fn message<T: Message>(&mut self) -> Result<T, RestError> {
        let bytes = self.bytes().await?;
        body::read(&self.parts.method, &self.parts.headers, &self.query, &bytes)
    }

    /// A part of the path, percent-decoded once.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .unwrap_or_default()
    }

    pub(crate) fn ask(&self) -> Ask {
        Ask {
            edge: self.edge.clone(),
            cx: self.cx.clone(),
            route: self.route.name,
        }
    }
}

/// What is needed to ask the services on behalf of a caller.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) edge: Arc<Edge>,
    pub(crate) cx: CallContext,
    pub(crate) route: &'static str,
}

impl Ask {
    pub(crate) fn tracking(&self) -> TrackingServiceClient<Transport> {
        self.edge.tracking.clone()
    }

    pub(crate) fn registry(&self) -> RegistryServiceClient<Transport> {
        self.edge.registry.clone()
    }

    pub(crate) fn promotion(&self) -> PromotionServiceClient<Transport> {
        self.edge.promotion.clone()
    }

    /// A message to a service on behalf of the caller.
    pub(crate) fn with<T>(&self, message: T) -> tonic::Request<T> {
        self.cx.request(message)
    }

    /// What a REST client sees of a service's refusal.
    pub(crate) fn fail(&self, status: &Status) -> RestError {
        error::of(self.route, status)
    }
}

/// A JSON answer.
pub(crate) fn reply<T: Serialize>(message: &T) -> Answer {
    match serde_json::to_vec(message) {
        Ok(bytes) => Ok(json(bytes)),
        Err(_) => Err(RestError::new(
            error::Code::InternalError,
            "the answer cannot be written as JSON",
        )),
    }
}

fn json(bytes: Vec<u8>) -> Response {
    (
        StatusCode::OK,
        [(header::CONTENT_TYPE, "application/json")],
        bytes,
    )
        .into_response()
}

/// The answer that says nothing but that it worked.
pub(crate) fn done() -> Answer {
    Ok(json(b"{}".to_vec()))
}
