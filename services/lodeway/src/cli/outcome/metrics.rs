//! `lodeway outcome metrics`.

use clap::{Args, ValueEnum};
use lodeway_domain::time::{Clock as _, SystemClock};
use lodeway_proto::evaluation::v1::{LiveMetrics, QueryLiveMetricsRequest, Task};
use serde_json::{Value, json};

use crate::cli::{
    Done,
    connect::Client,
    evaluation::metric,
    output::{self, Format},
    parse,
};

/// What is wanted.
#[derive(Args)]
pub struct Metrics {
    /// The endpoint.
    endpoint: String,
    /// Only this target.
    #[arg(long, default_value = "")]
    target: String,
    /// Also each value of this column by itself.
    #[arg(long, value_name = "COLUMN", default_value = "")]
    slice: String,
    /// How far back predictions are looked at.
    #[arg(long, value_name = "SPAN", default_value = "720h", value_parser = parse::span)]
    last: prost_types::Duration,
    /// Each day (UTC) by itself.
    #[arg(long)]
    daily: bool,
    /// Said instead of told from the labels.
    #[arg(long, value_enum)]
    task: Option<Kind>,
    /// Only this metric; repeatable.
    #[arg(long = "metric", value_name = "METRIC")]
    metrics: Vec<String>,
}

/// What labels are.
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Classification,
    Regression,
}

const COLUMNS: &[&str] = &[
    "target",
    "version",
    "day",
    "slice",
    "predictions",
    "labelled",
    "unlabelled",
    "not_joined",
    "metrics",
];

impl Metrics {
    /// Shows them.
    pub async fn run(self, client: &Client) -> Done {
        let span = std::time::Duration::try_from(self.last).map_err(anyhow::Error::from)?;
        let since = SystemClock.now().minus(span).millis();
        let task = match self.task {
            None => Task::Unspecified,
            Some(Kind::Classification) => Task::Classification,
            Some(Kind::Regression) => Task::Regression,
        };
        let request = QueryLiveMetricsRequest {
            endpoint: self.endpoint,
            target: self.target,
            slice: self.slice,
            start_time: Some(prost_types::Timestamp {
                seconds: since.div_euclid(1_000),
                nanos: i32::try_from(since.rem_euclid(1_000)).unwrap_or_default() * 1_000_000,
            }),
            end_time: None,
            daily: self.daily,
            task: task.into(),
        };
        let reply = client.outcomes.clone().query_live_metrics(request).await?;
        let mut found = reply.into_inner().metrics;
        for live in &mut found {
            live.metrics
                .retain(|one| self.metrics.is_empty() || self.metrics.contains(&one.metric));
        }
        let render = match client.format {
            Format::Json => full,
            Format::Table => row,
        };
        let rows: Vec<_> = found.iter().map(render).collect();
        output::list(client.format, COLUMNS, &rows)
    }
}

fn share(live: &LiveMetrics) -> Option<f64> {
    Some(live.unlabelled_share).filter(|share| !share.is_nan())
}

/// For people.
fn row(live: &LiveMetrics) -> Value {
    let metrics = live.metrics.iter().map(|metric| {
        let ends = format!("[{:.4}, {:.4}]", metric.low, metric.high);
        let ends = if metric.low.is_nan() { "" } else { &ends };
        format!("{} {:.4} {ends}", metric.metric, metric.value)
    });
    json!({
        "target": live.target,
        "version": live.model_version,
        "day": day(live),
        "slice": live.slice,
        "predictions": live.predictions,
        "labelled": live.labelled,
        "unlabelled": share(live).map(output::percent),
        "not_joined": live.pending + live.unjoined,
        "metrics": metrics.collect::<Vec<_>>(),
    })
}

/// For scripts.
fn full(live: &LiveMetrics) -> Value {
    output::object([
        ("target", json!(live.target)),
        ("model_version", json!(live.model_version)),
        ("day", day(live)),
        ("slice", json!(live.slice)),
        ("predictions", json!(live.predictions)),
        ("labelled", json!(live.labelled)),
        ("pending", json!(live.pending)),
        ("unjoined", json!(live.unjoined)),
        ("unlabelled_share", json!(share(live))),
        ("metrics", live.metrics.iter().map(metric).collect()),
    ])
}

/// The date of a day's beginning.
fn day(live: &LiveMetrics) -> Value {
    match output::time(live.day.as_ref()) {
        Value::String(time) => json!(time.split('T').next()),
        none => none,
    }
}
