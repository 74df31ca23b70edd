//! Logs and metrics of a whole process, so this file is one test in a process of its own.

use lodeway_rpc::{
    Transport, access,
    auth::Authenticator,
    layers::{Column, ColumnConfig},
    serve::{Health, Reflection, platform_routes},
    telemetry::{LogFormat, Telemetry, TelemetryConfig, TelemetryError},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

#[tokio::test]
async fn calls_are_counted_and_timed_in_buckets() {
    let config = TelemetryConfig {
        format: LogFormat::Json,
        ..TelemetryConfig::default()
    };
    let bad = TelemetryConfig {
        log: "=loud=".to_owned(),
        ..TelemetryConfig::default()
    };
    assert!(matches!(
        Telemetry::init(&bad, "lodeway"),
        Err(TelemetryError::Filter(_))
    ));
    let telemetry = Telemetry::init(&config, "lodeway").unwrap();
    assert!(matches!(
        Telemetry::init(&config, "lodeway"),
        Err(TelemetryError::Twice(_))
    ));

    let column = Column::new(ColumnConfig::default(), Authenticator::open(), access::platform());
    let routes = platform_routes(&Health::new(), &Reflection::new(&[], &[]).unwrap());
    let mut client = HealthClient::new(Transport::local(column.wrap(routes)));
    client.check(HealthCheckRequest::default()).await.unwrap();
    client
        .check(HealthCheckRequest {
            service: "no.such".to_owned(),
        })
        .await
        .unwrap_err();

    let text = telemetry.metrics().render();
    let labels = "service=\"grpc.health.v1.Health\",method=\"Check\",code=\"NOT_FOUND\"";
    assert!(
        text.contains(&format!("lodeway_rpc_requests_total{{{labels}}} 1")),
        "{text}"
    );
    assert!(
        text.contains("lodeway_rpc_duration_seconds_bucket{") && text.contains("le=\"0.00025\""),
        "{text}"
    );
    assert!(text.contains("lodeway_rpc_in_flight 0"), "{text}");
    telemetry.shutdown().await;
}
