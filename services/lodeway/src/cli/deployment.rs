//! `lodeway deployment`.

use clap::Subcommand;
use lodeway_proto::serving::v1::{
    DeleteDeploymentRequest, Deployment, DeploymentSettings, GetDeploymentRequest, ListDeploymentsRequest,
    LoadDeploymentRequest, ParityCheck, TensorSpec, UnloadDeploymentRequest,
};
use serde_json::{Value, json};

use super::{
    Done,
    connect::Client,
    output::{self, Format},
    paging,
};

/// What can be done with models that the model host holds. Endpoints make them; this is for looking and for memory.
#[derive(Subcommand)]
pub enum Verb {
    /// Lists deployments by id.
    List {
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Shows one deployment.
    Show {
        /// Its id.
        deployment_id: String,
    },
    /// Loads a deployment into memory and waits for it.
    Load {
        /// Its id.
        deployment_id: String,
    },
    /// Takes a deployment out of memory after its calls; it is loaded again when it is asked for.
    Unload {
        /// Its id.
        deployment_id: String,
    },
    /// Forgets a deployment after its calls.
    Delete {
        /// Its id.
        deployment_id: String,
    },
}

const COLUMNS: &[&str] = &[
    "deployment_id",
    "model_name",
    "model_version",
    "state",
    "platform",
    "memory_bytes",
    "source",
];

/// Does it.
pub async fn run(verb: Verb, client: &Client) -> Done {
    let mut host = client.deployments.clone();
    match verb {
        Verb::List { limit } => list(client, limit).await,
        Verb::Show { deployment_id } => {
            let request = GetDeploymentRequest { deployment_id };
            show(
                client,
                host.get_deployment(request).await?.into_inner().deployment,
            )
        }
        Verb::Load { deployment_id } => {
            let request = LoadDeploymentRequest { deployment_id };
            show(
                client,
                host.load_deployment(request).await?.into_inner().deployment,
            )
        }
        Verb::Unload { deployment_id } => {
            let request = UnloadDeploymentRequest { deployment_id };
            show(
                client,
                host.unload_deployment(request).await?.into_inner().deployment,
            )
        }
        Verb::Delete { deployment_id } => {
            let message = format!("deleted deployment {deployment_id}");
            host.delete_deployment(DeleteDeploymentRequest { deployment_id })
                .await?;
            output::done(client.format, &message, &json!({}))
        }
    }
}

async fn list(client: &Client, limit: usize) -> Done {
    let page_size = paging::page_size(limit, 1_000);
    let found = paging::collect(limit, |page_token| {
        let request = ListDeploymentsRequest {
            page_size,
            page_token,
        };
        async move {
            let page = client
                .deployments
                .clone()
                .list_deployments(request)
                .await?
                .into_inner();
            let deployments = page.deployments.iter().map(|one| render(client.format, one));
            Ok((deployments.collect(), page.next_page_token))
        }
    })
    .await?;
    output::list(client.format, COLUMNS, &found)
}

fn show(client: &Client, deployment: Option<Deployment>) -> Done {
    output::one(
        client.format,
        &render(client.format, &deployment.unwrap_or_default()),
    )
}

fn render(format: Format, of: &Deployment) -> Value {
    let tensors = |specs: &[TensorSpec]| -> Value {
        match format {
            Format::Json => specs.iter().map(tensor).collect(),
            Format::Table => specs.iter().map(|spec| json!(tensor_line(spec))).collect(),
        }
    };
    output::object([
        ("deployment_id", json!(of.deployment_id)),
        ("source", json!(of.source)),
        ("model_name", json!(of.model_name)),
        ("model_version", json!(of.model_version)),
        ("model_uid", json!(of.model_uid)),
        ("content_digest", json!(of.content_digest)),
        (
            "state",
            output::word(of.state().as_str_name(), "DEPLOYMENT_STATE_"),
        ),
        ("state_reason", json!(of.state_reason)),
        ("platform", json!(of.platform)),
        ("inputs", tensors(&of.inputs)),
        ("outputs", tensors(&of.outputs)),
        ("memory_bytes", json!(of.memory_bytes)),
        ("row_independent", json!(of.row_independent)),
        ("reads_documents", json!(of.reads_documents)),
        ("queued_calls", json!(of.queued_calls)),
        ("active_calls", json!(of.active_calls)),
        ("parity", of.parity.as_ref().map_or(Value::Null, parity)),
        ("settings", of.settings.as_ref().map_or(Value::Null, settings)),
        ("create_time", output::time(of.create_time.as_ref())),
        ("ready_time", output::time(of.ready_time.as_ref())),
        ("load_duration_ms", output::millis(of.load_duration.as_ref())),
    ])
}

fn tensor(of: &TensorSpec) -> Value {
    json!({ "name": of.name, "datatype": of.datatype, "shape": of.shape })
}

/// `x FP64 [-1, 4]`.
fn tensor_line(of: &TensorSpec) -> String {
    format!("{} {} {:?}", of.name, of.datatype, of.shape)
}

fn parity(of: &ParityCheck) -> Value {
    output::object([
        ("was_checked", json!(of.was_checked)),
        ("max_abs_difference", output::exact(of.max_abs_difference)),
        ("max_rel_difference", output::exact(of.max_rel_difference)),
        ("detail", json!(of.detail)),
    ])
}

fn settings(of: &DeploymentSettings) -> Value {
    output::object([
        ("runtime", json!(of.runtime)),
        ("workers", json!(of.workers)),
        ("env_manager", json!(of.env_manager)),
        ("memory_limit_bytes", json!(of.memory_limit_bytes)),
        ("allow_network", json!(of.allow_network)),
        ("row_independent", json!(of.row_independent)),
        ("max_batch_rows", json!(of.max_batch_rows)),
        ("max_batch_delay_ms", output::millis(of.max_batch_delay.as_ref())),
        ("max_queued_calls", json!(of.max_queued_calls)),
        ("call_timeout_ms", output::millis(of.call_timeout.as_ref())),
        ("max_active_batches", json!(of.max_active_batches)),
        ("check_parity", json!(of.check_parity)),
    ])
}
