//! What a platform tells a collector by OTLP: one trace through every process, and the figures that `/metrics` shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use lodeway_proto::tracking::v1::ListMetricHistoryRequest;
use lodeway_testkit::platform::{Settings, Shape};
use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{metric::Data, number_data_point},
    resource::v1::Resource,
};
use tonic::{Request, Response, Status, async_trait};

use crate::support::{eventually, started};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A collector that keeps what it gets.
#[derive(Clone, Default)]
struct Collector {
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
}

#[async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Collector {
    async fn start(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self.clone()));
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        #[expect(clippy::disallowed_methods, reason = "ends with the test")]
        tokio::spawn(server.serve_with_incoming(incoming));
        address
    }

    /// The processes that told of the trace, with the methods that they told of.
    fn of_trace(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for resource in self.traces.lock().unwrap().iter().flat_map(|r| &r.resource_spans) {
            let instance = instance(resource.resource.as_ref());
            for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                if hex::encode(&span.trace_id) == TRACE {
                    found
                        .entry(instance.clone())
                        .or_default()
                        .insert(span.name.clone());
                }
            }
        }
        found
    }

    /// The last figure of a counter whose labels include these, by process.
    fn counted(&self, name: &str, label: (&str, &str)) -> Option<f64> {
        let mut last = BTreeMap::new();
        for resource in self
            .metrics
            .lock()
            .unwrap()
            .iter()
            .flat_map(|r| &r.resource_metrics)
        {
            let instance = instance(resource.resource.as_ref());
            let metrics = resource.scope_metrics.iter().flat_map(|scope| &scope.metrics);
            for metric in metrics.filter(|metric| metric.name == name) {
                let Some(Data::Sum(sum)) = &metric.data else {
                    panic!("{metric:?}")
                };
                let points = sum.data_points.iter();
                let mine = points.filter(|point| text(&point.attributes, label.0) == Some(label.1));
                let value = mine.map(|point| match point.value {
                    Some(number_data_point::Value::AsDouble(value)) => value,
                    other => panic!("{other:?}"),
                });
                last.insert(instance.clone(), value.sum::<f64>());
            }
        }
        (!last.is_empty()).then(|| last.values().sum())
    }
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|one| one.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn instance(resource: Option<&Resource>) -> String {
    let attributes = &resource.unwrap().attributes;
    assert_eq!(text(attributes, "service.name"), Some("lodeway"));
    text(attributes, "service.instance.id").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_one_trace_of_all_processes_and_the_figures() {
    let collector = Collector::default();
    let address = collector.start().await;
    let settings = Settings::default()
        .env("LODEWAY_TELEMETRY__OTLP_ENDPOINT", format!("http://{address}"))
        .env("LODEWAY_TELEMETRY__OTLP_METRICS_EVERY", "200ms")
        .env("LODEWAY_TELEMETRY__LOG", "info,lodeway_rpc=debug");
    let mut house = started(Shape::Split, settings).await;
    const CALLS: usize = 3;
    for _ in 0..CALLS {
        let mut request = Request::new(ListMetricHistoryRequest {
            run_id: "0123456789abcdef0123456789abcdef".to_owned(),
            metric_key: "loss".to_owned(),
            ..ListMetricHistoryRequest::default()
        });
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        request
            .metadata_mut()
            .insert("traceparent", parent.parse().unwrap());
        let refused = house.tracking().list_metric_history(request).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::NotFound);
    }
    let method = ("method", "ListMetricHistory");
    eventually("figures while it runs", async || {
        collector
            .counted("lodeway_rpc_requests_total", method)
            .filter(|count| *count > 0.0)
    })
    .await;
    // What was not sent by then goes out when a process ends.
    house.stop().unwrap();
    let spans = collector.of_trace();
    assert!(spans.len() >= 2, "{spans:?}");
    assert!(
        spans
            .values()
            .all(|names| names.iter().any(|name| name.contains("ListMetricHistory"))),
        "{spans:?}"
    );
    // The edge and the service behind it each count the call.
    let counted = collector.counted("lodeway_rpc_requests_total", method).unwrap();
    assert_eq!(counted, (spans.len() * CALLS) as f64);
    // The log of each names the trace too.
    let lines = house.logs();
    let named = lines
        .lines()
        .filter(|line| line.contains(&format!("trace.id={TRACE}")));
    assert!(named.count() >= counted as usize, "{lines}");
}
