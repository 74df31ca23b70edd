//! What every listener offers besides its services: health, reflection, gRPC-web, a few plain pages.

use std::net::SocketAddr;

use futures::StreamExt as _;
use lodeway_proto::{DESCRIPTOR_SET, tracking::v1::GetRunRequest};
use lodeway_rpc::access;
use lodeway_testkit::platform::{Settings, Shape, channel};
use tonic::{Code, codec::CompressionEncoding};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::{batch, eventually, http, new_run, on_both, point, started};

pub const TRACKING: &str = "lodeway.tracking.v1.TrackingService";
const REGISTRY: &str = "lodeway.registry.v1.RegistryService";
const ARTIFACTS: &str = "lodeway.artifacts.v1.ArtifactService";
const DEPLOYMENTS: &str = "lodeway.serving.v1.DeploymentService";
const ENDPOINTS: &str = "lodeway.gateway.v1.EndpointService";
const INFERENCE: &str = "inference.GRPCInferenceService";

/// What a listener says of the health of a service.
pub async fn health(address: SocketAddr, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    match HealthClient::new(channel(address)).check(request).await {
        Ok(answer) => Ok(answer.into_inner().status()),
        Err(status) => Err(status.code()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_says_of_a_service_elsewhere_whether_it_serves() {
    let mut house = started(Shape::Split, Settings::default()).await;
    let edge = house.address();
    let turned = async |wanted: ServingStatus| {
        eventually("the edge has noticed", async || {
            (health(edge, TRACKING).await == Ok(wanted)).then_some(())
        })
        .await;
        // The edge itself serves whatever becomes of the others.
        assert_eq!(health(edge, "").await, Ok(ServingStatus::Serving));
    };
    turned(ServingStatus::Serving).await;
    house.node("tracking").signal("KILL").unwrap();
    house.node("tracking").wait().unwrap();
    turned(ServingStatus::NotServing).await;
    house.node("tracking").spawn().unwrap();
    house.node("tracking").wait_ready().unwrap();
    turned(ServingStatus::Serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_per_service_on_every_listener() {
    on_both(async |mut house| {
        for service in ["", TRACKING, REGISTRY, ARTIFACTS] {
            // The edge may have begun before the others.
            eventually(service, async || {
                (health(house.address(), service).await == Ok(ServingStatus::Serving)).then_some(())
            })
            .await;
        }
        assert_eq!(
            health(house.address(), "lodeway.none.v1").await,
            Err(Code::NotFound)
        );
        let served = [
            ("tracking", TRACKING),
            ("tracking", ARTIFACTS),
            ("registry", REGISTRY),
        ];
        for (node, service) in served {
            let address = house.node(node).address();
            assert_eq!(
                health(address, service).await,
                Ok(ServingStatus::Serving),
                "{service}"
            );
        }
    })
    .await;
}

async fn services_v1(address: SocketAddr) -> Vec<String> {
    use v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel(address));
    let mut answers = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    match answers.next().await.unwrap().unwrap().message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => list.service.into_iter().map(|s| s.name).collect(),
        other => panic!("{other:?}"),
    }
}

async fn symbol_v1alpha(address: SocketAddr, symbol: &str) -> usize {
    use v1alpha::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(symbol.to_owned())),
    };
    let mut client = ServerReflectionClient::new(channel(address));
    let mut answers = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    match answers.next().await.unwrap().unwrap().message_response.unwrap() {
        MessageResponse::FileDescriptorResponse(files) => files.file_descriptor_proto.len(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_tells_the_contract_on_every_listener() {
    on_both(async |mut house| {
        let addresses: Vec<_> = house.nodes().iter().map(|node| node.address()).collect();
        for address in &addresses {
            // What a process neither serves nor passes on is not told of.
            let services = services_v1(*address).await;
            assert!(
                services.iter().any(|s| s == "grpc.health.v1.Health"),
                "{services:?}"
            );
        }
        let edge = house.address();
        let services = services_v1(edge).await;
        for service in [TRACKING, REGISTRY, ARTIFACTS, ENDPOINTS, DEPLOYMENTS, INFERENCE] {
            assert!(
                services.iter().any(|s| s == service),
                "{service} is not in {services:?}"
            );
        }
        assert!(symbol_v1alpha(edge, "lodeway.tracking.v1.TrackingService.LogBatch").await > 0);
        if let [tracking, ..] = addresses.as_slice()
            && addresses.len() > 1
        {
            let services = services_v1(*tracking).await;
            assert!(services.iter().any(|s| s == TRACKING) && services.iter().all(|s| s != REGISTRY));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_may_call_from_this_machine_only() {
    on_both(async |house| {
        let path = format!("/{TRACKING}/GetExperiment");
        let asked = |origin: &'static str| {
            let headers = [
                ("origin", origin),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "content-type,x-grpc-web"),
            ];
            http::send(house.address(), "OPTIONS", &path, &headers, b"")
        };
        let near = asked("http://localhost:3000");
        assert_eq!(
            near.header("access-control-allow-origin"),
            Some("http://localhost:3000")
        );
        let far = asked("https://elsewhere.example");
        assert_eq!(far.header("access-control-allow-origin"), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_web_calls_arrive() {
    on_both(async |house| {
        // GetExperimentRequest { experiment_id: "0" } in a frame.
        let body = [0, 0, 0, 0, 3, 0x0a, 1, b'0'];
        let headers = [
            ("content-type", "application/grpc-web+proto"),
            ("x-grpc-web", "1"),
            ("origin", "http://localhost:3000"),
        ];
        let path = format!("/{TRACKING}/GetExperiment");
        let answer = http::send(house.address(), "POST", &path, &headers, &body);
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains("Default"), "{}", answer.text());
        assert!(answer.text().contains("grpc-status:0"), "{}", answer.text());
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("grpc-status"), "{exposed}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_messages_are_taken_by_every_service() {
    on_both(async |house| {
        for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
            let run_id = new_run(&house).await;
            let points = (0..1_000).map(|n| point(&format!("key{n:03}"), 1, f64::from(n)));
            let mut client = house.tracking().send_compressed(encoding);
            client.log_batch(batch(&run_id, points.collect())).await.unwrap();
            let request = GetRunRequest {
                run_id,
                columns: Vec::new(),
            };
            let run = client.get_run(request).await.unwrap().into_inner().run.unwrap();
            assert_eq!(run.metrics.len(), 1_000, "{encoding}");
        }
        // A packed message that does not unpack: whoever takes packed ones finds that.
        let (frame, text) = ([1, 0, 0, 0, 3, 1, 2, 3], "Error decompressing");
        let methods = access::method_paths(&[DESCRIPTOR_SET]).unwrap();
        let platform = ["/grpc.health.v1.Health/Check".to_owned()];
        for path in methods.iter().chain(&platform) {
            let headers = [
                ("content-type", "application/grpc-web+proto"),
                ("x-grpc-web", "1"),
                ("grpc-encoding", "gzip"),
            ];
            let answer = http::send(house.address(), "POST", path, &headers, &frame);
            let message = answer.header("grpc-message").unwrap_or_default().to_owned() + &answer.text();
            let is_found = message.replace("%20", " ").contains(text);
            assert!(is_found, "{path}: {:?} {message}", answer.headers);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_pages_are_on_the_same_port() {
    on_both(async |mut house| {
        let edge = house.address();
        for node in house.nodes() {
            let health = http::get(node.address(), "/health");
            assert_eq!((health.status, health.text().as_str()), (200, "OK"));
            assert_eq!(http::get(node.address(), "/metrics").status, 200);
        }
        assert_eq!(http::get(edge, "/version").text(), "3.7.0");
        let metrics = http::get(edge, "/metrics").text();
        assert!(metrics.contains("# TYPE"), "{metrics}");
        for unknown in ["/nowhere", "/api/2.0/mlflow/nowhere"] {
            let answer = http::get(edge, unknown);
            assert_eq!(answer.status, 404, "{unknown}");
            assert!(
                serde_json::from_slice::<serde_json::Value>(&answer.body).is_err(),
                "{unknown}"
            );
        }
        let wrong_verb = http::get(edge, "/api/2.0/mlflow/runs/create");
        assert_eq!(wrong_verb.status, 405);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_method_is_unimplemented() {
    on_both(async |house| {
        for path in [format!("/{TRACKING}/Nothing"), "/some.Service/Call".to_owned()] {
            let headers = [
                ("content-type", "application/grpc-web+proto"),
                ("x-grpc-web", "1"),
            ];
            let answer = http::send(house.address(), "POST", &path, &headers, &[0; 5]);
            let code = answer.header("grpc-status").map(str::to_owned);
            let told = code.as_deref() == Some("12") || answer.text().contains("grpc-status:12");
            assert!(
                told,
                "{path}: {} {:?} {}",
                answer.status,
                answer.headers,
                answer.text()
            );
        }
    })
    .await;
}
