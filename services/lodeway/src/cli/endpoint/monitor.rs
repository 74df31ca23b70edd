//! `lodeway endpoint monitor`.

use clap::Args;
use lodeway_domain::time::{Clock as _, SystemClock};
use lodeway_proto::gateway::v1::{
    Distribution, MonitorEvent, QueryMonitorRequest, ShadowSummary, TargetMonitor, WatchMonitorRequest,
};
use serde_json::{Value, json};

use crate::cli::{
    Done,
    connect::Client,
    output::{self, Format},
    parse,
};

/// What is wanted.
#[derive(Args)]
pub struct Monitor {
    /// The endpoint.
    name: String,
    /// Only this target.
    #[arg(long, default_value = "")]
    target: String,
    /// How far back.
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = parse::span)]
    last: prost_types::Duration,
    /// Goes on, span by span.
    #[arg(long, conflicts_with_all = ["last", "target"])]
    watch: bool,
    /// The span of each message, rounded up to whole windows of the platform (`endpoints.window`).
    #[arg(long, value_name = "SPAN", default_value = "10s", requires = "watch", value_parser = parse::span)]
    interval: prost_types::Duration,
}

const COLUMNS: &[&str] = &[
    "target", "version", "calls", "calls/s", "errors", "p50", "p95", "p99", "drift", "shadow",
];

impl Monitor {
    /// Shows it once, or until the platform ends the stream.
    pub async fn run(self, client: &Client) -> Done {
        if self.watch {
            return self.follow(client).await;
        }
        let seconds = std::time::Duration::try_from(self.last).map_err(anyhow::Error::from)?;
        let since = SystemClock.now().minus(seconds).millis();
        let request = QueryMonitorRequest {
            endpoint: self.name,
            target: self.target,
            start_time: Some(prost_types::Timestamp {
                seconds: since.div_euclid(1_000),
                nanos: i32::try_from(since.rem_euclid(1_000)).unwrap_or_default() * 1_000_000,
            }),
            end_time: None,
        };
        let reply = client.monitor.clone().query_monitor(request).await?.into_inner();
        output::list(client.format, COLUMNS, &rows(client.format, &reply.targets))
    }

    async fn follow(self, client: &Client) -> Done {
        let request = WatchMonitorRequest {
            endpoint: self.name,
            interval: Some(self.interval),
            start_time: None,
        };
        let mut stream = client.monitor.clone().watch_monitor(request).await?.into_inner();
        while let Some(window) = stream.message().await? {
            let rows = rows(client.format, &window.targets);
            match client.format {
                Format::Json => {
                    let events: Vec<_> = window.events.iter().map(event).collect();
                    let item = json!({
                        "start_time": output::time(window.start_time.as_ref()),
                        "end_time": output::time(window.end_time.as_ref()),
                        "targets": rows,
                        "events": events,
                    });
                    output::event(client.format, "", &item)?;
                }
                Format::Table => {
                    // Events do not wait for the end of a span.
                    if window.end_time.is_some() {
                        output::list(client.format, COLUMNS, &rows)?;
                    }
                    for event in &window.events {
                        let text = format!("{} {}: {}", event.target, event.kind, event.message);
                        output::event(client.format, &text, &Value::Null)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn rows(format: Format, targets: &[TargetMonitor]) -> Vec<Value> {
    let render = match format {
        Format::Json => full,
        Format::Table => row,
    };
    targets.iter().map(render).collect()
}

/// What people look at first.
fn row(of: &TargetMonitor) -> Value {
    let latency = of.latency.unwrap_or_default();
    let calls: i64 = of.outcomes.values().sum();
    let shadow = of.shadow.as_ref().filter(|shadow| shadow.compared > 0);
    let agreed = shadow.map(|shadow| {
        let share = output::percent(shadow.agreed as f64 / shadow.compared as f64);
        format!("{share} of {} agree", shadow.compared)
    });
    json!({
        "target": of.target,
        "version": of.model_version,
        "calls": calls,
        "calls/s": format!("{:.2}", of.calls_per_second),
        "errors": errors(of),
        "p50": output::span_text(latency.p50.as_ref()),
        "p95": output::span_text(latency.p95.as_ref()),
        "p99": output::span_text(latency.p99.as_ref()),
        "drift": drift(of),
        "shadow": agreed,
    })
}

/// Failed calls by code, with their share of all.
fn errors(of: &TargetMonitor) -> String {
    let calls: i64 = of.outcomes.values().sum();
    let mut failed: Vec<_> = of.outcomes.iter().filter(|(code, _)| *code != "ok").collect();
    failed.sort_unstable();
    let count: i64 = failed.iter().map(|(_, count)| **count).sum();
    if count == 0 {
        return "0".to_owned();
    }
    let codes: Vec<_> = failed
        .iter()
        .map(|(code, count)| format!("{code} {count}"))
        .collect();
    let share = output::percent(count as f64 / calls.max(1) as f64);
    format!("{share}: {}", codes.join(", "))
}

/// The input or output that is farthest from what it is compared with, by PSI.
fn drift(of: &TargetMonitor) -> Value {
    let all = of.predictions.iter().chain(&of.features);
    let known = all.filter_map(|one| Some((one.drift.as_ref()?, &one.name)));
    let worst = known.max_by(|(a, _), (b, _)| a.psi.total_cmp(&b.psi));
    worst.map_or(Value::Null, |(drift, name)| {
        let alarm = drift.alarm_time.map_or("", |_| ", alarm");
        json!(format!(
            "{:.3} {name} (from {}{alarm})",
            drift.psi, drift.reference
        ))
    })
}

/// Everything.
fn full(of: &TargetMonitor) -> Value {
    let latency = of.latency.unwrap_or_default();
    output::object([
        ("target", json!(of.target)),
        ("model_version", json!(of.model_version)),
        ("start_time", output::time(of.start_time.as_ref())),
        ("end_time", output::time(of.end_time.as_ref())),
        ("outcomes", json!(of.outcomes)),
        ("calls_per_second", output::number(of.calls_per_second)),
        ("rows", json!(of.rows)),
        (
            "latency",
            output::object([
                ("count", json!(latency.count)),
                ("p50_ms", output::millis(latency.p50.as_ref())),
                ("p95_ms", output::millis(latency.p95.as_ref())),
                ("p99_ms", output::millis(latency.p99.as_ref())),
                ("max_ms", output::millis(latency.max.as_ref())),
            ]),
        ),
        ("predictions", of.predictions.iter().map(distribution).collect()),
        ("features", of.features.iter().map(distribution).collect()),
        ("shadow", of.shadow.as_ref().map_or(Value::Null, shadow)),
    ])
}

fn distribution(of: &Distribution) -> Value {
    let number = |value: Option<f64>| value.map_or(Value::Null, output::number);
    let drift = of.drift.as_ref().map(|drift| {
        output::object([
            ("psi", output::number(drift.psi)),
            ("jensen_shannon", output::number(drift.jensen_shannon)),
            ("kolmogorov_smirnov", number(drift.kolmogorov_smirnov)),
            ("unseen_categories", json!(drift.unseen_categories)),
            ("reference", json!(drift.reference)),
            ("psi_by_chance", output::number(drift.psi_by_chance)),
            ("alarm_time", output::time(drift.alarm_time.as_ref())),
        ])
    });
    output::object([
        ("name", json!(of.name)),
        ("count", json!(of.count)),
        ("missing", json!(of.missing)),
        ("mean", number(of.mean)),
        ("standard_deviation", number(of.standard_deviation)),
        ("min", number(of.min)),
        ("max", number(of.max)),
        (
            "quantiles",
            of.quantiles.iter().copied().map(output::number).collect(),
        ),
        ("categories", json!(of.categories)),
        ("drift", json!(drift)),
    ])
}

fn shadow(of: &ShadowSummary) -> Value {
    output::object([
        ("compared", json!(of.compared)),
        ("agreed", json!(of.agreed)),
        ("failed", json!(of.failed)),
        ("dropped", json!(of.dropped)),
        ("max_abs_difference", output::exact(of.max_abs_difference)),
        ("median_abs_difference", output::exact(of.median_abs_difference)),
        ("worst_prediction_ids", json!(of.worst_prediction_ids)),
    ])
}

fn event(of: &MonitorEvent) -> Value {
    output::object([
        ("time", output::time(of.time.as_ref())),
        ("target", json!(of.target)),
        ("kind", json!(of.kind)),
        ("message", json!(of.message)),
    ])
}

#[cfg(test)]
mod tests {
    use lodeway_proto::gateway::v1::Drift;

    use super::*;

    #[test]
    fn errors_are_counted_by_code() {
        let mut monitor = TargetMonitor::default();
        assert_eq!(errors(&monitor), "0");
        monitor.outcomes = [("ok", 96), ("UNAVAILABLE", 3), ("INTERNAL", 1)]
            .into_iter()
            .map(|(code, count)| (code.to_owned(), count))
            .collect();
        assert_eq!(errors(&monitor), "4%: INTERNAL 1, UNAVAILABLE 3");
    }

    #[test]
    fn the_worst_drift_is_shown() {
        let of = |name: &str, psi| Distribution {
            name: name.to_owned(),
            drift: Some(Drift {
                psi,
                reference: "champion 2".to_owned(),
                ..Drift::default()
            }),
            ..Distribution::default()
        };
        let monitor = TargetMonitor {
            predictions: vec![of("class", 0.1), Distribution::default()],
            features: vec![of("width", 0.31)],
            ..TargetMonitor::default()
        };
        assert_eq!(drift(&monitor), json!("0.310 width (from champion 2)"));
        assert_eq!(drift(&TargetMonitor::default()), Value::Null);
    }
}
