//! `lodeway purge`.

use clap::Args;
use lodeway_proto::tracking::v1::{PurgeRequest, PurgedEntity};
use serde_json::{Value, json};

use super::{Done, connect::Client, output};

/// What to remove for good; nothing named means everything that is deleted.
#[derive(Args)]
pub struct What {
    /// A deleted experiment by id, with its runs; repeatable.
    #[arg(long = "experiment", value_name = "ID")]
    experiments: Vec<String>,
    /// A deleted run by id; repeatable.
    #[arg(long = "run", value_name = "ID")]
    runs: Vec<String>,
    /// A deleted logged model by id; repeatable.
    #[arg(long = "model", value_name = "ID")]
    models: Vec<String>,
    /// Only say what would go.
    #[arg(long)]
    dry_run: bool,
    /// Really remove; without this and without `--dry-run` nothing happens.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
}

/// Does it.
pub async fn run(what: What, client: &Client) -> Done {
    if !what.dry_run && !what.yes {
        return Err(anyhow::anyhow!(
            "a purge cannot be undone; give --dry-run to see what would go, or --yes"
        )
        .into());
    }
    let request = PurgeRequest {
        experiment_ids: what.experiments,
        run_ids: what.runs,
        model_ids: what.models,
        dry_run: what.dry_run,
        ..PurgeRequest::default()
    };
    let mut gone = Vec::new();
    loop {
        let page = client.tracking.clone().purge(request.clone()).await?.into_inner();
        let removed = page.entities.iter().any(|entity| entity.held_back_by.is_empty());
        gone.extend(page.entities.iter().map(render));
        // A dry run removes nothing, so its next page would be the same one.
        if !page.more || what.dry_run || !removed {
            break;
        }
    }
    let columns = ["kind", "id", "artifact_count", "artifact_bytes", "held_back_by"];
    output::list(client.format, &columns, &gone)
}

fn render(entity: &PurgedEntity) -> Value {
    output::object([
        ("kind", json!(entity.kind)),
        ("id", json!(entity.id)),
        ("artifact_count", json!(entity.artifact_count)),
        ("artifact_bytes", json!(entity.artifact_bytes)),
        ("held_back_by", json!(entity.held_back_by)),
    ])
}
