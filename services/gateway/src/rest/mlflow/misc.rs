//! What is about the server itself, and MLflow's calls that this platform does not have (yet).

use axum::response::IntoResponse;
use http::{Method, header};
use lodeway_rpc::access::Access;
use serde::{Deserialize, Serialize};

use super::{
    Answer, Call, Handler, Route,
    body::{Field, Kind, Message, blank},
    done,
    error::{Code, RestError},
    get, look, post, reply, route,
};

pub(super) const ROUTES: &[Route] = &[
    get("/health", "mlflow.Health", |_| {
        Box::pin(async { Ok("OK".into_response()) })
    })
    .bare()
    .public(),
    get("/version", "mlflow.Version", |c| Box::pin(version(c)))
        .bare()
        .public(),
    get("/3.0/mlflow/server-info", "mlflow.ServerInfo", |c| {
        Box::pin(server_info(c))
    })
    .public(),
    get("/2.0/mlflow/gateway-proxy", "mlflow.GatewayProxy", |c| {
        Box::pin(no_endpoints(c))
    })
    .ajax(),
    post("/2.0/mlflow/gateway-proxy", "mlflow.GatewayProxy", |c| {
        Box::pin(no_endpoints(c))
    })
    .ajax(),
    // Searches that find nothing: clients ask on the way and go on.
    look("/3.0/mlflow/traces/search", "mlflow.SearchTraces", EMPTY),
    get("/3.0/mlflow/traces/batchGet", "mlflow.BatchGetTraces", EMPTY),
    look(
        "/3.0/mlflow/traces/batchGetInfos",
        "mlflow.BatchGetTraceInfos",
        EMPTY,
    ),
    get("/2.0/mlflow/traces", "mlflow.SearchTracesV2", EMPTY),
    get("/3.0/mlflow/scorers/list", "mlflow.ListScorers", EMPTY),
    get(
        "/3.0/mlflow/scorers/online-configs",
        "mlflow.GetOnlineScoringConfigs",
        EMPTY,
    ),
    get(
        "/3.0/mlflow/datasets/search",
        "mlflow.SearchEvaluationDatasets",
        EMPTY,
    ),
    look(
        "/3.0/mlflow/datasets/search",
        "mlflow.SearchEvaluationDatasets",
        EMPTY,
    ),
    // The rest is refused with 501, which clients neither retry nor take for an older server.
    post("/2.0/mlflow/traces", "mlflow.StartTraceV2", MISSING),
    post("/3.0/mlflow/traces", "mlflow.StartTrace", MISSING),
    look("/v1/traces", "mlflow.ExportSpans", MISSING).bare(),
    post(
        "/2.0/mlflow/runs/create-promptlab-run",
        "mlflow.CreatePromptlabRun",
        MISSING,
    )
    .ajax(),
    get(
        "/2.0/mlflow/get-trace-artifact",
        "mlflow.GetTraceArtifact",
        MISSING,
    )
    .ajax(),
    post("/2.0/mlflow/webhooks", "mlflow.CreateWebhook", MISSING),
    get("/2.0/mlflow/webhooks", "mlflow.ListWebhooks", MISSING),
    any(Method::GET, "/2.0/mlflow/traces/{*rest}"),
    any(Method::POST, "/2.0/mlflow/traces/{*rest}"),
    any(Method::PATCH, "/2.0/mlflow/traces/{*rest}"),
    any(Method::DELETE, "/2.0/mlflow/traces/{*rest}"),
    any(Method::GET, "/2.0/mlflow/webhooks/{*rest}"),
    any(Method::POST, "/2.0/mlflow/webhooks/{*rest}"),
    any(Method::PATCH, "/2.0/mlflow/webhooks/{*rest}"),
    any(Method::DELETE, "/2.0/mlflow/webhooks/{*rest}"),
    any(Method::GET, "/3.0/mlflow/traces/{*rest}"),
    any(Method::POST, "/3.0/mlflow/traces/{*rest}"),
    any(Method::PATCH, "/3.0/mlflow/traces/{*rest}"),
    any(Method::DELETE, "/3.0/mlflow/traces/{*rest}"),
    any(Method::GET, "/3.0/mlflow/scorers/{*rest}"),
    any(Method::POST, "/3.0/mlflow/scorers/{*rest}"),
    any(Method::PUT, "/3.0/mlflow/scorers/{*rest}"),
    any(Method::DELETE, "/3.0/mlflow/scorers/{*rest}"),
    any(Method::GET, "/3.0/mlflow/datasets/{*rest}"),
    any(Method::POST, "/3.0/mlflow/datasets/{*rest}"),
    any(Method::PATCH, "/3.0/mlflow/datasets/{*rest}"),
    any(Method::DELETE, "/3.0/mlflow/datasets/{*rest}"),
];

const EMPTY: Handler = |_| Box::pin(async { done() });
const MISSING: Handler = |c| Box::pin(missing(c));

const fn any(method: Method, path: &'static str) -> Route {
    route(method, path, "mlflow.NotImplemented", Access::Read, MISSING)
}

/// What the tags of a trace would be set or deleted by; a missing key is told first.
#[derive(Deserialize)]
struct TraceTag {
    key: Option<String>,
}

impl Message for TraceTag {
    const FIELDS: &'static [Field<Self>] =
        &[Field::new("key", Kind::Text).required(|m| blank(m.key.as_ref()))];
}

async fn missing(mut call: Call) -> Answer {
    let path = call.parts.uri.path();
    if path.contains("/traces/") && path.ends_with("/tags") {
        call.message::<TraceTag>().await?;
    }
    let path = call.parts.uri.path();
    let message = format!("{} {path} is not part of this server yet", call.parts.method);
    Err(RestError::new(Code::NotImplemented, message))
}

async fn version(call: Call) -> Answer {
    let text = call.edge.config.mlflow_version.clone();
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// What newer clients ask before they use a feature.
#[derive(Serialize)]
struct ServerInfo {
    store_type: &'static str,
    workspaces_enabled: bool,
    trace_archival_enabled: bool,
    multipart_uploads_enabled: bool,
    multipart_downloads_enabled: bool,
    presigned_upload_run_id_supported: bool,
    presigned_upload_model_id_supported: bool,
    features_enabled: Features,
}

#[derive(Serialize)]
struct Features {
    gateway: bool,
}

async fn server_info(call: Call) -> Answer {
    reply(&ServerInfo {
        store_type: "SqlStore",
        workspaces_enabled: false,
        trace_archival_enabled: false,
        multipart_uploads_enabled: call.edge.config.multipart_uploads,
        multipart_downloads_enabled: false,
        presigned_upload_run_id_supported: false,
        presigned_upload_model_id_supported: false,
        features_enabled: Features { gateway: false },
    })
}

#[derive(Serialize)]
struct Endpoints {
    endpoints: [(); 0],
}

async fn no_endpoints(_: Call) -> Answer {
    reply(&Endpoints { endpoints: [] })
}
