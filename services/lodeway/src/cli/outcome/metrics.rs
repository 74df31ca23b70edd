//! `lodeway outcome metrics`.

use clap::{Args, ValueEnum};
use lodeway_domain::time::{Clock as _, SystemClock};
use lodeway_proto::evaluation::v1::{LiveMetrics, MetricValue, QueryLiveMetricsRequest, Task};
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
    json!({
        "target": live.target,
        "version": live.model_version,
        "day": day(live),
        "slice": live.slice,
        "predictions": live.predictions,
        "labelled": live.labelled,
        "unlabelled": share(live).map(output::percent),
        "not_joined": live.pending + live.unjoined,
        "metrics": live.metrics.iter().map(line).collect::<Vec<_>>(),
    })
}

/// A metric with its interval; without a value its method, which is `undefined` where it is not defined.
fn line(of: &MetricValue) -> String {
    let name = &of.metric;
    if !of.value.is_finite() {
        return format!("{name} {}", of.method);
    }
    match of.low.is_finite() && of.high.is_finite() {
        true => format!("{name} {:.4} [{:.4}, {:.4}]", of.value, of.low, of.high),
        false => format!("{name} {:.4}", of.value),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn value(value: f64, low: f64, method: &str) -> MetricValue {
        MetricValue {
            metric: "roc_auc".to_owned(),
            value,
            low,
            high: low + 0.2,
            samples: 4,
            method: method.to_owned(),
            ..MetricValue::default()
        }
    }

    #[test]
    fn a_metric_that_is_not_defined_has_no_value() {
        let live = LiveMetrics {
            metrics: vec![
                value(f64::NAN, f64::NAN, "undefined"),
                value(0.9, 0.75, "delong"),
                value(0.5, f64::NAN, "none"),
            ],
            unlabelled_share: f64::NAN,
            ..LiveMetrics::default()
        };
        let lines = [
            "roc_auc undefined",
            "roc_auc 0.9000 [0.7500, 0.9500]",
            "roc_auc 0.5000",
        ];
        assert_eq!(row(&live)["metrics"], json!(lines));
        let full = full(&live);
        let of = |at: usize| ["value", "low", "high"].map(|end| full["metrics"][at][end].clone());
        assert_eq!(of(0), [Value::Null, Value::Null, Value::Null]);
        assert_eq!(of(1)[..2], [json!(0.9), json!(0.75)]);
        assert_eq!(of(2), [json!(0.5), Value::Null, Value::Null]);
        assert_eq!(full.get("unlabelled_share"), None);
    }
}
