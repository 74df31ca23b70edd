//! `lodeway experiment`.

use clap::Subcommand;
use lodeway_proto::tracking::v1::{
    CreateExperimentRequest, DeleteExperimentRequest, Experiment, GetExperimentRequest, LifecycleStage,
    RestoreExperimentRequest, SearchExperimentsRequest, get_experiment_request::By,
};
use serde_json::{Value, json};

use super::{Done, connect::Client, output, paging};

/// What can be done with experiments.
#[derive(Subcommand)]
pub enum Verb {
    /// Lists experiments, newest first.
    List {
        /// Also deleted ones.
        #[arg(long)]
        all: bool,
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Finds experiments, for example `name LIKE 'team/%'`.
    Search {
        /// The filter.
        filter: String,
        /// For example `name ASC`; repeatable.
        #[arg(long)]
        order_by: Vec<String>,
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Shows one experiment.
    Show {
        /// Its id or name.
        experiment: String,
    },
    /// Creates an experiment.
    Create {
        /// Its name; a `/` makes it a path.
        name: String,
        /// Where its artifacts go.
        #[arg(long, value_name = "URI")]
        artifact_location: Option<String>,
        /// A label; repeatable.
        #[arg(long, value_parser = output::key_value, value_name = "KEY=VALUE")]
        tag: Vec<(String, String)>,
    },
    /// Moves an experiment and its runs to the bin.
    Delete {
        /// Its id or name.
        experiment: String,
    },
    /// Brings an experiment and its runs back.
    Restore {
        /// Its id or name.
        experiment: String,
    },
}

const COLUMNS: &[&str] = &[
    "experiment_id",
    "name",
    "lifecycle_stage",
    "create_time",
    "artifact_location",
];

/// Does it.
pub async fn run(verb: Verb, client: &Client) -> Done {
    match verb {
        Verb::List { all, limit } => search(client, String::new(), Vec::new(), all, limit).await,
        Verb::Search {
            filter,
            order_by,
            limit,
        } => search(client, filter, order_by, false, limit).await,
        Verb::Show { experiment } => output::one(client.format, &render(&find(client, &experiment).await?)),
        Verb::Create {
            name,
            artifact_location,
            tag,
        } => {
            let request = CreateExperimentRequest {
                name,
                artifact_location: artifact_location.unwrap_or_default(),
                tags: tag.into_iter().collect(),
                request_id: String::new(),
            };
            let created = client
                .tracking
                .clone()
                .create_experiment(request)
                .await?
                .into_inner();
            let created = created.experiment.unwrap_or_default();
            let message = format!("created experiment {} `{}`", created.experiment_id, created.name);
            output::done(client.format, &message, &render(&created))
        }
        Verb::Delete { experiment } => {
            let found = find(client, &experiment).await?;
            let request = DeleteExperimentRequest {
                experiment_id: found.experiment_id.clone(),
                request_id: String::new(),
            };
            client.tracking.clone().delete_experiment(request).await?;
            output::done(
                client.format,
                &format!("deleted experiment `{}`", found.name),
                &json!({}),
            )
        }
        Verb::Restore { experiment } => {
            let found = find(client, &experiment).await?;
            let request = RestoreExperimentRequest {
                experiment_id: found.experiment_id.clone(),
                request_id: String::new(),
            };
            client.tracking.clone().restore_experiment(request).await?;
            output::done(
                client.format,
                &format!("restored experiment `{}`", found.name),
                &json!({}),
            )
        }
    }
}

async fn search(client: &Client, filter: String, order_by: Vec<String>, all: bool, limit: usize) -> Done {
    let stage = if all {
        LifecycleStage::Unspecified
    } else {
        LifecycleStage::Active
    };
    let request = SearchExperimentsRequest {
        filter,
        order_by,
        page_size: paging::page_size(limit, 1_000),
        lifecycle_stage: stage.into(),
        page_token: String::new(),
    };
    let found = paging::collect(limit, |page_token| {
        let mut request = request.clone();
        request.page_token = page_token;
        async move {
            let page = client
                .tracking
                .clone()
                .search_experiments(request)
                .await?
                .into_inner();
            Ok((
                page.experiments.iter().map(render).collect(),
                page.next_page_token,
            ))
        }
    })
    .await?;
    output::list(client.format, COLUMNS, &found)
}

/// An experiment by its id, else by its name.
pub async fn find(client: &Client, id_or_name: &str) -> Result<Experiment, super::Failure> {
    let get = |by| GetExperimentRequest { by: Some(by) };
    if id_or_name.bytes().all(|b| b.is_ascii_digit()) && !id_or_name.is_empty() {
        let by_id = client
            .tracking
            .clone()
            .get_experiment(get(By::ExperimentId(id_or_name.to_owned())))
            .await;
        match by_id {
            Ok(reply) => return Ok(reply.into_inner().experiment.unwrap_or_default()),
            Err(status) if status.code() == tonic::Code::NotFound => {}
            Err(status) => return Err(status.into()),
        }
    }
    let by_name = client
        .tracking
        .clone()
        .get_experiment(get(By::Name(id_or_name.to_owned())))
        .await?;
    Ok(by_name.into_inner().experiment.unwrap_or_default())
}

fn render(experiment: &Experiment) -> Value {
    output::object([
        ("experiment_id", json!(experiment.experiment_id)),
        ("name", json!(experiment.name)),
        (
            "lifecycle_stage",
            output::word(experiment.lifecycle_stage().as_str_name(), "LIFECYCLE_STAGE_"),
        ),
        ("artifact_location", json!(experiment.artifact_location)),
        ("create_time", output::time(experiment.create_time.as_ref())),
        ("update_time", output::time(experiment.update_time.as_ref())),
        ("tags", json!(experiment.tags)),
    ])
}
