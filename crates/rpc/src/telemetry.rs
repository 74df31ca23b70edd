//! Logs, traces and metrics of a process.

mod fields;
mod otlp;

use std::io::IsTerminal as _;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{config::HumanDuration, trace};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines, one object a line.
    Json,
}

/// What a process tells about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// The least level logged, or a filter such as `info,lodeway_store=debug`.
    pub log: String,
    /// How log lines look.
    pub format: LogFormat,
    /// Where traces and metrics go, for example `http://collector:4317` (OTLP over gRPC); empty = nowhere.
    pub otlp_endpoint: String,
    /// How often metrics are sent there.
    pub otlp_metrics_every: HumanDuration,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log: "info".to_owned(),
            format: LogFormat::Text,
            otlp_endpoint: String::new(),
            otlp_metrics_every: HumanDuration::secs(60),
        }
    }
}

/// Telemetry that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `telemetry.log` is no filter.
    #[error("`telemetry.log`: {0}")]
    Filter(String),
    /// The trace exporter refuses its settings.
    #[error("`telemetry.otlp_endpoint`: {0}")]
    Exporter(String),
    /// Another subscriber or recorder is installed in this process.
    #[error("telemetry is started twice in one process: {0}")]
    Twice(String),
}

/// The telemetry of a process; keep it until the end and [`Telemetry::shutdown`] it.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
    traces: Option<SdkTracerProvider>,
    export: Option<otlp::Export>,
}

impl Telemetry {
    /// Installs the process's subscriber and metrics recorder. Logs go to stderr. Needs a tokio runtime if traces and
    /// metrics are exported; `service` names the process in them.
    pub fn init(config: &TelemetryConfig, service: &str) -> Result<Self, TelemetryError> {
        let filter = EnvFilter::try_new(&config.log).map_err(|e| TelemetryError::Filter(e.to_string()))?;
        let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.format {
            LogFormat::Text => tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal())
                .fmt_fields(fields::Plain)
                .with_filter(filter)
                .boxed(),
            LogFormat::Json => tracing_subscriber::fmt::layer()
                .json()
                .with_writer(std::io::stderr)
                .with_filter(filter)
                .boxed(),
        };
        // Which process it is: figures of two replicas are not those of one.
        let instance = uuid::Uuid::now_v7().to_string();
        let resource = vec![
            ("service.name", service.to_owned()),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id", instance),
        ];
        let traces = exporter(config, &resource)?;
        trace::set_exported(traces.is_some());
        let exported = traces.as_ref().map(|provider| {
            let info = tracing_subscriber::filter::LevelFilter::INFO;
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("lodeway"))
                .with_filter(info)
        });
        let twice = |e: &dyn std::fmt::Display| TelemetryError::Twice(e.to_string());
        tracing_subscriber::registry()
            .with(lines)
            .with(exported)
            .try_init()
            .map_err(|e| twice(&e))?;
        let metrics = Metrics::install().map_err(|e| twice(&e))?;
        let export = match config.otlp_endpoint.is_empty() {
            true => None,
            false => Some(otlp::Export::begin(config, metrics.clone(), resource)?),
        };
        Ok(Self {
            metrics,
            traces,
            export,
        })
    }

    /// The metrics of the process.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Sends what is not sent yet; takes up to some seconds if traces and metrics are exported.
    pub async fn shutdown(self) {
        if let Some(export) = self.export {
            export.finish().await;
        }
        let Some(traces) = self.traces else { return };
        let ended = tokio::task::spawn_blocking(move || traces.shutdown()).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last traces were not exported");
        }
    }
}

fn exporter(
    config: &TelemetryConfig,
    resource: &[(&'static str, String)],
) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    if config.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&config.otlp_endpoint)
        .build()
        .map_err(|e| TelemetryError::Exporter(e.to_string()))?;
    let attributes = resource
        .iter()
        .map(|(key, value)| KeyValue::new(*key, value.clone()));
    let resource = Resource::builder().with_attributes(attributes).build();
    Ok(Some(
        SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build(),
    ))
}

/// The metrics of a process, in Prometheus's text format.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

/// Bounds of duration histograms, in seconds.
const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0,
];

impl Metrics {
    /// Installs the recorder of the process. Errors: there is one already.
    pub fn install() -> Result<Self, BuildError> {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?;
        builder.install_recorder().map(Self)
    }

    /// All metrics as text. Call it (or let `/metrics` be scraped) now and then: it also folds in what was recorded.
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }

    /// Folds recorded values into their buckets, so that memory stays small while nobody scrapes.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}
