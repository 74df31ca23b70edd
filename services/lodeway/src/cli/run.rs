//! `lodeway run`.

use clap::Subcommand;
use lodeway_proto::tracking::v1::{
    DeleteRunRequest, GetRunRequest, LifecycleStage, ListMetricHistoryRequest, MetricOrder,
    RestoreRunRequest, Run, SearchRunsRequest,
};
use serde_json::{Map, Value, json};

use super::{Done, connect::Client, experiment, output, paging};

/// What can be done with runs.
#[derive(Subcommand)]
pub enum Verb {
    /// Lists the runs of experiments, newest first.
    List {
        /// Experiments by id or name.
        #[arg(required = true)]
        experiments: Vec<String>,
        /// Also deleted ones.
        #[arg(long)]
        all: bool,
        /// What to show of each, for example `run_id,status,metrics.loss,params.lr`.
        #[arg(long, value_delimiter = ',')]
        columns: Vec<String>,
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Finds runs, for example `metrics.loss < 0.2 AND tags.team = 'a'`.
    Search {
        /// The filter.
        filter: String,
        /// An experiment by id or name; repeatable.
        #[arg(long = "experiment", required = true)]
        experiments: Vec<String>,
        /// For example `metrics.loss ASC`; repeatable.
        #[arg(long)]
        order_by: Vec<String>,
        /// What to show of each, for example `run_id,status,metrics.loss,params.lr`.
        #[arg(long, value_delimiter = ',')]
        columns: Vec<String>,
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Shows one run with everything it recorded.
    Show {
        /// Its id.
        run_id: String,
    },
    /// Shows the curve of one metric.
    Metric {
        /// The run.
        run_id: String,
        /// The metric.
        key: String,
        /// At most this many points; 0: all.
        #[arg(long, default_value_t = 1_000)]
        limit: usize,
    },
    /// Moves a run to the bin.
    Delete {
        /// Its id.
        run_id: String,
    },
    /// Brings a run back.
    Restore {
        /// Its id.
        run_id: String,
    },
}

const COLUMNS: &[&str] = &["run_id", "name", "status", "start_time", "metrics"];

/// Does it.
pub async fn run(verb: Verb, client: &Client) -> Done {
    match verb {
        Verb::List {
            experiments,
            all,
            columns,
            limit,
        } => {
            let sought = Sought {
                lifecycle_stage: if all {
                    LifecycleStage::Unspecified
                } else {
                    LifecycleStage::Active
                },
                columns,
                ..Sought::default()
            };
            search(client, &experiments, sought, limit).await
        }
        Verb::Search {
            filter,
            experiments,
            order_by,
            columns,
            limit,
        } => {
            let sought = Sought {
                filter,
                order_by,
                columns,
                lifecycle_stage: LifecycleStage::Active,
            };
            search(client, &experiments, sought, limit).await
        }
        Verb::Show { run_id } => {
            let request = GetRunRequest {
                run_id,
                columns: Vec::new(),
            };
            let run = client
                .tracking
                .clone()
                .get_run(request)
                .await?
                .into_inner()
                .run
                .unwrap_or_default();
            output::one(client.format, &render(&run))
        }
        Verb::Metric { run_id, key, limit } => curve(client, run_id, key, limit).await,
        Verb::Delete { run_id } => {
            let request = DeleteRunRequest {
                run_id: run_id.clone(),
                request_id: String::new(),
            };
            client.tracking.clone().delete_run(request).await?;
            output::done(client.format, &format!("deleted run {run_id}"), &json!({}))
        }
        Verb::Restore { run_id } => {
            let request = RestoreRunRequest {
                run_id: run_id.clone(),
                request_id: String::new(),
            };
            client.tracking.clone().restore_run(request).await?;
            output::done(client.format, &format!("restored run {run_id}"), &json!({}))
        }
    }
}

/// Which runs, and what of them.
#[derive(Default)]
struct Sought {
    filter: String,
    order_by: Vec<String>,
    columns: Vec<String>,
    lifecycle_stage: LifecycleStage,
}

async fn search(client: &Client, experiments: &[String], sought: Sought, limit: usize) -> Done {
    let mut experiment_ids = Vec::new();
    for name in experiments {
        experiment_ids.push(experiment::find(client, name).await?.experiment_id);
    }
    let request = SearchRunsRequest {
        experiment_ids,
        filter: sought.filter,
        order_by: sought.order_by,
        columns: sought.columns.clone(),
        page_size: paging::page_size(limit, 1_000),
        lifecycle_stage: sought.lifecycle_stage.into(),
        ..SearchRunsRequest::default()
    };
    let found = paging::collect(limit, |page_token| {
        let mut request = request.clone();
        request.page_token = page_token;
        async move {
            let page = client.tracking.clone().search_runs(request).await?.into_inner();
            Ok((page.runs.iter().map(render).collect(), page.next_page_token))
        }
    })
    .await?;
    let columns: Vec<&str> = match sought.columns.is_empty() {
        true => COLUMNS.to_vec(),
        false => sought.columns.iter().map(String::as_str).collect(),
    };
    output::list(client.format, &columns, &found)
}

async fn curve(client: &Client, run_id: String, metric_key: String, limit: usize) -> Done {
    let request = ListMetricHistoryRequest {
        run_id,
        metric_key,
        order: MetricOrder::Step.into(),
        page_size: paging::page_size(limit, 100_000),
        ..Default::default()
    };
    let points = paging::collect(limit, |page_token| {
        let mut request = request.clone();
        request.page_token = page_token;
        async move {
            let page = client
                .tracking
                .clone()
                .list_metric_history(request)
                .await?
                .into_inner();
            Ok((
                page.metrics
                    .iter()
                    .map(|metric| {
                        json!({
                            "step": metric.step,
                            "time": output::either_time(metric.time.as_ref(), metric.time_ms),
                            "value": output::exact(metric.value),
                        })
                    })
                    .collect(),
                page.next_page_token,
            ))
        }
    })
    .await?;
    output::list(client.format, &["step", "time", "value"], &points)
}

fn render(run: &Run) -> Value {
    let metrics: Map<_, _> = run
        .metrics
        .iter()
        .map(|m| (m.key.clone(), output::exact(m.value)))
        .collect();
    output::object([
        ("run_id", json!(run.run_id)),
        ("experiment_id", json!(run.experiment_id)),
        ("name", json!(run.name)),
        (
            "status",
            output::constant(run.status().as_str_name(), "RUN_STATUS_"),
        ),
        (
            "lifecycle_stage",
            output::word(run.lifecycle_stage().as_str_name(), "LIFECYCLE_STAGE_"),
        ),
        ("user_id", json!(run.user_id)),
        (
            "start_time",
            output::either_time(run.start_time.as_ref(), run.start_time_ms),
        ),
        (
            "end_time",
            output::either_time(run.end_time.as_ref(), run.end_time_ms),
        ),
        ("artifact_uri", json!(run.artifact_uri)),
        ("parent_run_id", json!(run.parent_run_id)),
        ("metrics", Value::Object(metrics)),
        ("params", json!(run.params)),
        ("tags", json!(run.tags)),
    ])
}
