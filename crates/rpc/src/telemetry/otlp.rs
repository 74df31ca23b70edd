//! Metrics by OTLP: what `/metrics` shows, sent to a collector now and then.
//!
//! The figures are those of the process's one recorder, read as the text it renders: nothing is counted twice, and a call
//! costs the same with and without a collector. Sums and histograms are cumulative since the start of the process; names are
//! those of Prometheus, so that a dashboard fits both.

use std::{collections::BTreeMap, time::Duration};

use lodeway_domain::time::{Clock as _, SystemClock};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};
use tokio::{sync::oneshot, task::JoinHandle};
use url::Url;

use super::{Metrics, TelemetryConfig, TelemetryError};
use crate::transport::Transport;

/// How long one export may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Points of one message: collectors take 4 MiB by default, and a point of ours is far below 2 KiB.
const MAX_POINTS: usize = 1_000;

/// The sender of a process.
#[derive(Debug)]
pub(super) struct Export {
    stop: oneshot::Sender<()>,
    sender: JoinHandle<()>,
}

impl Export {
    /// Begins to send every `telemetry.otlp_metrics_every`. Errors: an address that is none.
    pub(super) fn begin(
        config: &TelemetryConfig,
        metrics: Metrics,
        resource: Vec<(&'static str, String)>,
    ) -> Result<Self, TelemetryError> {
        let refused = |e: &dyn std::fmt::Display| TelemetryError::Exporter(e.to_string());
        let url = Url::parse(&config.otlp_endpoint).map_err(|e| refused(&e))?;
        let transport = Transport::remote(&url).map_err(|e| refused(&e))?;
        let every = config.otlp_metrics_every.get().max(Duration::from_millis(100));
        let (stop, mut stopped) = oneshot::channel();
        let resource = Resource {
            attributes: resource
                .into_iter()
                .map(|(k, v)| attribute(k.to_owned(), v))
                .collect(),
            ..Resource::default()
        };
        let since = nanos();
        #[expect(
            clippy::disallowed_methods,
            reason = "ends in `Export::finish`, or with the runtime"
        )]
        let sender = tokio::spawn(async move {
            let mut client = MetricsServiceClient::new(transport);
            loop {
                // The last figures go out when the process ends.
                let is_over = tokio::time::timeout(every, &mut stopped).await.is_ok();
                let all = families(&metrics.render(), since, nanos());
                for request in messages(all, &resource) {
                    let mut request = tonic::Request::new(request);
                    request.set_timeout(TIMEOUT);
                    match tokio::time::timeout(TIMEOUT, client.export(request)).await {
                        Ok(Ok(_)) => {}
                        // What it counts is in the next message too.
                        Ok(Err(error)) => tracing::warn!(%error, "metrics were not exported"),
                        Err(_) => tracing::warn!("metrics were not exported: the collector does not answer"),
                    }
                }
                if is_over {
                    return;
                }
            }
        });
        Ok(Self { stop, sender })
    }

    /// Sends the last figures.
    pub(super) async fn finish(self) {
        let Self { stop, sender } = self;
        // Fails only where the sender is gone.
        let _is_there: Result<(), ()> = stop.send(());
        drop(tokio::time::timeout(TIMEOUT, sender).await);
    }
}

fn nanos() -> u64 {
    u64::try_from(SystemClock.now().millis())
        .unwrap_or_default()
        .saturating_mul(1_000_000)
}

fn attribute(key: String, value: String) -> KeyValue {
    KeyValue {
        key,
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value)),
        }),
        ..KeyValue::default()
    }
}

/// Metrics in messages that a collector takes.
fn messages(metrics: Vec<Metric>, resource: &Resource) -> Vec<ExportMetricsServiceRequest> {
    let mut parts: Vec<Vec<Metric>> = Vec::new();
    let mut room = 0;
    for metric in metrics.into_iter().flat_map(divided) {
        let points = points(&metric);
        match parts.last_mut().filter(|_| points <= room) {
            Some(part) => part.push(metric),
            None => {
                parts.push(vec![metric]);
                room = MAX_POINTS;
            }
        }
        room = room.saturating_sub(points);
    }
    let message = |metrics| ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.clone()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: "lodeway".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    ..InstrumentationScope::default()
                }),
                metrics,
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    };
    parts.into_iter().map(message).collect()
}

fn points(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Sum(of)) => of.data_points.len(),
        Some(Data::Gauge(of)) => of.data_points.len(),
        Some(Data::Histogram(of)) => of.data_points.len(),
        _ => 0,
    }
}

/// One metric in parts of at most [`MAX_POINTS`].
fn divided(metric: Metric) -> Vec<Metric> {
    let whole = Metric {
        data: None,
        ..metric.clone()
    };
    let part = |data| Metric {
        data: Some(data),
        ..whole.clone()
    };
    match metric.data {
        Some(Data::Sum(of)) => {
            let of_points = |points: &[NumberDataPoint]| Sum {
                data_points: points.to_vec(),
                ..of
            };
            let parts = of.data_points.chunks(MAX_POINTS);
            parts.map(|points| part(Data::Sum(of_points(points)))).collect()
        }
        Some(Data::Gauge(of)) => {
            let parts = of.data_points.chunks(MAX_POINTS).map(<[_]>::to_vec);
            parts
                .map(|data_points| part(Data::Gauge(Gauge { data_points })))
                .collect()
        }
        Some(Data::Histogram(of)) => {
            let of_points = |points: &[HistogramDataPoint]| Histogram {
                data_points: points.to_vec(),
                ..of
            };
            let parts = of.data_points.chunks(MAX_POINTS);
            parts
                .map(|points| part(Data::Histogram(of_points(points))))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// One line of figures: `name{label="value"} 1`.
struct Line<'a> {
    name: &'a str,
    labels: Vec<(String, String)>,
    value: f64,
}

/// A histogram while its lines are read.
#[derive(Default)]
struct Buckets {
    /// Upper bound and how many are not above it.
    counts: Vec<(f64, u64)>,
    sum: f64,
    count: u64,
}

/// What Prometheus's text format says, as OTLP has it. Lines that are none of the format are left out.
fn families(text: &str, since: u64, now: u64) -> Vec<Metric> {
    let mut found = Vec::new();
    let mut open: Option<(&str, &str, Vec<Line<'_>>)> = None;
    let mut close = |open: Option<(&str, &str, Vec<Line<'_>>)>| {
        if let Some((name, kind, lines)) = open {
            found.extend(family(name, kind, lines, (since, now)));
        }
    };
    for line in text.lines() {
        if let Some(of) = line.strip_prefix("# TYPE ") {
            close(open.take());
            open = of.split_once(' ').map(|(name, kind)| (name, kind, Vec::new()));
        } else if !line.starts_with('#')
            && let Some((_, _, lines)) = &mut open
        {
            lines.extend(parse(line));
        }
    }
    close(open);
    found
}

fn family(name: &str, kind: &str, lines: Vec<Line<'_>>, (since, now): (u64, u64)) -> Option<Metric> {
    let attributes = |labels: Vec<(String, String)>| {
        labels
            .into_iter()
            .map(|(k, v)| attribute(k, v))
            .collect::<Vec<_>>()
    };
    let number = |line: Line<'_>| NumberDataPoint {
        attributes: attributes(line.labels),
        start_time_unix_nano: since,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(line.value)),
        ..NumberDataPoint::default()
    };
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match kind {
        "counter" => Data::Sum(Sum {
            data_points: lines.into_iter().map(number).collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        "gauge" => Data::Gauge(Gauge {
            data_points: lines.into_iter().map(number).collect(),
        }),
        "histogram" => {
            let mut of: BTreeMap<Vec<(String, String)>, Buckets> = BTreeMap::new();
            for mut line in lines {
                let bound = line.labels.iter().position(|(key, _)| key == "le");
                let bound = bound.map(|at| line.labels.remove(at).1);
                let buckets = of.entry(line.labels).or_default();
                // Counts are whole numbers as far as a double holds them.
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
                let count = line.value as u64;
                match (line.name.strip_prefix(name), bound) {
                    (Some("_bucket"), Some(bound)) => match bound.parse::<f64>() {
                        Ok(bound) if bound.is_finite() => buckets.counts.push((bound, count)),
                        // Of the last one OTLP has only the count.
                        _ => {}
                    },
                    (Some("_sum"), _) => buckets.sum = line.value,
                    (Some("_count"), _) => buckets.count = count,
                    _ => {}
                }
            }
            let point = |(labels, buckets): (Vec<(String, String)>, Buckets)| {
                let mut below = 0;
                let ends = buckets
                    .counts
                    .iter()
                    .map(|(_, count)| *count)
                    .chain([buckets.count]);
                let bucket_counts = ends
                    .map(|count| count.saturating_sub(std::mem::replace(&mut below, count)))
                    .collect();
                HistogramDataPoint {
                    attributes: attributes(labels),
                    start_time_unix_nano: since,
                    time_unix_nano: now,
                    count: buckets.count,
                    sum: Some(buckets.sum),
                    bucket_counts,
                    explicit_bounds: buckets.counts.into_iter().map(|(bound, _)| bound).collect(),
                    ..HistogramDataPoint::default()
                }
            };
            Data::Histogram(Histogram {
                data_points: of.into_iter().map(point).collect(),
                aggregation_temporality: cumulative,
            })
        }
        // The recorder renders no others: each of our distributions has bounds.
        _ => return None,
    };
    let unit = match name {
        _ if name.ends_with("_seconds") => "s",
        _ if name.ends_with("_bytes") => "By",
        _ => "",
    };
    Some(Metric {
        name: name.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

fn parse(line: &str) -> Option<Line<'_>> {
    let (front, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = front.split_once('{') else {
        return Some(Line {
            name: front,
            labels: Vec::new(),
            value,
        });
    };
    Some(Line {
        name,
        labels: read_labels(labels.strip_suffix('}')?)?,
        value,
    })
}

/// `a="b",c="d"`, where values escape `\`, `"` and line ends.
fn read_labels(text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, behind) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut letters = behind.char_indices();
        let end = loop {
            match letters.next()? {
                (at, '"') => break at,
                (_, '\\') => match letters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.push((key.to_owned(), value));
        rest = behind.get(end + 1..)?;
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP calls_total Calls.\n# TYPE calls_total counter\n\
        calls_total{code=\"OK\",name=\"a \\\"b\\\\c\\nd, e\"} 3\ncalls_total{code=\"X\"} 1\n\n\
        # TYPE open gauge\nopen -2\n\n\
        # TYPE wait_seconds histogram\nwait_seconds_bucket{m=\"x\",le=\"0.5\"} 1\nwait_seconds_bucket{m=\"x\",le=\"1\"} 4\n\
        wait_seconds_bucket{m=\"x\",le=\"+Inf\"} 6\nwait_seconds_sum{m=\"x\"} 7.25\nwait_seconds_count{m=\"x\"} 6\n";

    #[test]
    fn figures_keep_their_kind_labels_and_values() {
        let found = families(TEXT, 1, 2);
        let names: Vec<_> = found.iter().map(|m| (&*m.name, &*m.unit)).collect();
        assert_eq!(names, [("calls_total", ""), ("open", ""), ("wait_seconds", "s")]);
        let Some(Data::Sum(sum)) = &found[0].data else {
            panic!()
        };
        assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
        assert_eq!(
            sum.data_points[0].attributes,
            [
                attribute("code".into(), "OK".into()),
                attribute("name".into(), "a \"b\\c\nd, e".into())
            ]
        );
        assert_eq!(
            sum.data_points[0].value,
            Some(number_data_point::Value::AsDouble(3.0))
        );
        let Some(Data::Gauge(gauge)) = &found[1].data else {
            panic!()
        };
        assert_eq!(
            gauge.data_points[0].value,
            Some(number_data_point::Value::AsDouble(-2.0))
        );
        let Some(Data::Histogram(histogram)) = &found[2].data else {
            panic!()
        };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (6, Some(7.25)));
        assert_eq!(
            (&*point.explicit_bounds, &*point.bucket_counts),
            (&[0.5, 1.0][..], &[1, 3, 2][..])
        );
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1, 2));
    }

    #[test]
    fn many_points_are_sent_in_parts() {
        let lines: String = (0..2_500)
            .map(|n| format!("a_total{{n=\"{n}\"}} {n}\n"))
            .collect();
        let text = format!("# TYPE a_total counter\n{lines}# TYPE b gauge\nb 1\n");
        let parts = messages(families(&text, 1, 2), &Resource::default());
        let sizes = parts.iter().map(|part| {
            let metrics = &part.resource_metrics[0].scope_metrics[0].metrics;
            metrics.iter().map(points).sum::<usize>()
        });
        assert_eq!(sizes.collect::<Vec<_>>(), [1_000, 1_000, 501]);
    }

    #[test]
    fn lines_of_no_format_are_left_out() {
        assert!(families("nonsense\n# TYPE x\nx{a=\"b} 1\n", 1, 2).is_empty());
        let found = families("# TYPE x counter\nx{a=\"b} 1\nx 2\nx y\n", 1, 2);
        assert_eq!(points(&found[0]), 1);
    }
}
