//! The listener: one port for everything, bounds on clients, an orderly end.

use std::{sync::atomic::Ordering, time::Duration};

use lodeway_rpc::{
    config::HumanDuration,
    serve::{Drained, ServeConfig, merge, proxy},
    status::{Failure, from_status},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};
use tonic::{Code, transport::Channel};
use tonic_health::pb::HealthCheckResponse;

use crate::common::{HealthClient, House, ask, until};

/// Sends raw HTTP/1.1 and returns everything that comes back until the server closes.
async fn raw(house: &House, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(house.addr).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn web(origin: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: x\r\nconnection: close\r\norigin: {origin}\r\n\
         content-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn grpc_web_over_http1_reads_status_and_details() {
    let house = House::start().await;
    let answer = raw(&house, &web("http://localhost:3000", &[0, 0, 0, 0, 0])).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("grpc-status:0"),
        "{answer}"
    );
    assert!(
        answer.contains("access-control-allow-origin: http://localhost:3000"),
        "{answer}"
    );
    let exposed = answer
        .lines()
        .find(|l| l.starts_with("access-control-expose-headers"))
        .unwrap();
    assert!(exposed.contains("grpc-status-details-bin"), "{exposed}");
    let missing = [&[0, 0, 0, 0, 9, 10, 7], "missing".as_bytes()].concat();
    let answer = raw(&house, &web("https://evil.example", &missing)).await;
    assert!(
        answer.contains("grpc-status") && !answer.contains("access-control-allow-origin"),
        "{answer}"
    );
}

#[tokio::test]
async fn browsers_may_ask_first() {
    let house = House::start().await;
    let preflight = "OPTIONS /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
        origin: http://127.0.0.1:1\r\naccess-control-request-method: POST\r\n\
        access-control-request-headers: content-type,x-grpc-web\r\n\r\n";
    let answer = raw(&house, preflight.as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("access-control-allow-methods: POST"),
        "{answer}"
    );
}

#[tokio::test]
async fn rest_is_on_the_same_port() {
    let house = House::start().await;
    let answer = raw(
        &house,
        b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-request-id: r-1\r\n\r\n",
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("OK"),
        "{answer}"
    );
    assert!(answer.contains("x-request-id: r-1"), "{answer}");
    let lost = raw(
        &house,
        b"GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(lost.starts_with("HTTP/1.1 404"), "{lost}");
}

#[tokio::test]
async fn slow_and_silent_clients_are_dropped() {
    let short = HumanDuration(Duration::from_millis(200));
    let house = House::platform(ServeConfig {
        header_timeout: short,
        ..ServeConfig::default()
    })
    .await;
    for begun in ["", "GET /health HTTP/1.1\r\nhost:", "PRI * HT"] {
        let answer = raw(&house, begun.as_bytes()).await;
        assert!(!answer.contains("200"), "{begun:?}: {answer}");
    }
}

#[tokio::test]
async fn shutdown_lets_calls_at_work_end() {
    let house = House::start().await;
    let mut client = house.client();
    let probe = house.probe.clone();
    let call = async { client.check(ask("brief")).await };
    let stop = async {
        until("the call is at work", || {
            probe.running.load(Ordering::SeqCst) == 1
        })
        .await;
        house.stop().await
    };
    let (answer, drained) = tokio::join!(call, stop);
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(drained, Drained::Clean);
}

/// A keep-alive connection that has had its first answer, and is idle.
async fn idle(house: &House) -> TcpStream {
    let mut stream = TcpStream::connect(house.addr).await.unwrap();
    stream.write_all(HEALTH).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"OK") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
    }
    let answer = String::from_utf8_lossy(&answer);
    assert!(!answer.contains("connection: close"), "{answer}");
    stream
}

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n";

/// Everything that comes until the server closes.
async fn rest(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    let all = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), all)
        .await
        .unwrap()
        .unwrap();
    answer
}

#[tokio::test]
async fn a_call_sent_as_shutdown_begins_is_answered_and_the_last() {
    let house = House::start().await;
    let mut used = idle(&house).await;
    // Connected before, and asks for the first time after.
    let mut fresh = TcpStream::connect(house.addr).await.unwrap();
    let asks = async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        used.write_all(HEALTH).await.unwrap();
        fresh.write_all(HEALTH).await.unwrap();
        tokio::join!(rest(used), rest(fresh))
    };
    let begun = Instant::now();
    let ((used, fresh), drained) = tokio::join!(asks, house.stop());
    for answer in [used, fresh] {
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("OK"),
            "{answer}"
        );
        assert!(answer.contains("connection: close"), "{answer}");
    }
    assert_eq!(drained, Drained::Clean);
    // Nobody was left to wait for.
    assert!(
        begun.elapsed() < Duration::from_millis(900),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn shutdown_waits_no_longer_than_it_lingers_for_the_silent() {
    let linger = HumanDuration(Duration::from_millis(300));
    let house = House::platform(ServeConfig {
        linger,
        ..ServeConfig::default()
    })
    .await;
    let used = idle(&house).await;
    let fresh = TcpStream::connect(house.addr).await.unwrap();
    let mut over_http2 = house.client();
    over_http2.check(ask("")).await.unwrap();
    let begun = Instant::now();
    assert_eq!(house.stop().await, Drained::Clean);
    let waited = begun.elapsed();
    assert!(
        waited >= linger.get() && waited < Duration::from_millis(1_500),
        "{waited:?}"
    );
    assert_eq!((rest(used).await, rest(fresh).await), Default::default());
}

#[tokio::test]
async fn shutdown_does_not_linger_for_nobody() {
    let house = House::platform(ServeConfig::default()).await;
    drop(idle(&house).await);
    let mut over_http2 = house.client();
    over_http2.check(ask("")).await.unwrap();
    let begun = Instant::now();
    assert_eq!(house.stop().await, Drained::Clean);
    assert!(
        begun.elapsed() < Duration::from_millis(900),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn shutdown_cuts_what_never_ends() {
    let house = House::start().await;
    let mut client = house.client();
    let mut answers = client.watch(ask("endless")).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    assert_eq!(house.stop().await, Drained::Cut(1));
    let end = async {
        while answers.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    };
    assert_eq!(end.await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn health_is_known_by_service() {
    let house = House::platform(ServeConfig::default()).await;
    house
        .health
        .set("lodeway.tracking.v1.TrackingService", true)
        .await;
    let mut client = house.client();
    let status = client
        .check(ask("lodeway.tracking.v1.TrackingService"))
        .await
        .unwrap()
        .into_inner()
        .status;
    assert_eq!(status, 1);
    assert_eq!(
        client.check(ask("no.such")).await.unwrap_err().code(),
        Code::NotFound
    );
    house.health.not_serving().await;
    for service in ["", "lodeway.tracking.v1.TrackingService"] {
        assert_eq!(client.check(ask(service)).await.unwrap().into_inner().status, 2);
    }
}

#[tokio::test]
async fn a_front_passes_calls_through_with_their_caller() {
    let back = House::start().await;
    let front = lodeway_rpc::Transport::local(
        back.column
            .wrap(merge([proxy(&["grpc.health.v1.Health"], &back.remote())])),
    );
    let mut request = tonic::Request::new(ask("whoami"));
    request
        .metadata_mut()
        .insert("x-request-id", "abc".parse().unwrap());
    request
        .metadata_mut()
        .insert("authorization", "Basic Ym9iOg==".parse().unwrap());
    let told = HealthClient::new(front).check(request).await.unwrap_err();
    assert_eq!(told.message(), "bob false default abc false");
}

/// How a stream fails that has begun.
async fn failure(mut answers: tonic::Streaming<HealthCheckResponse>) -> Failure {
    let end = async {
        while answers.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    };
    let end = tokio::time::timeout(Duration::from_secs(10), end).await.unwrap();
    from_status(&end.unwrap_err())
}

#[tokio::test]
async fn watches_that_are_passed_through_end_when_the_front_drains() {
    let back = House::start().await;
    let front = House::front(&back).await;
    let mut client = front.client();
    let mut answers = client.watch(ask("endless")).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    assert_eq!(front.stop().await, Drained::Clean);
    let told = failure(answers).await;
    assert_eq!(
        (told.code, &*told.reason),
        (Code::Unavailable, "BACKEND_UNAVAILABLE")
    );
    assert!(
        told.retry_after.is_some() && told.message.contains("stopping"),
        "{told:?}"
    );
    // The service behind it goes on.
    back.client().check(ask("")).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_is_passed_through_says_that_its_service_is_gone() {
    let back = House::start().await;
    let front = House::front(&back).await;
    let mut client = front.client();
    let mut answers = client.watch(ask("endless")).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    assert_eq!(back.stop().await, Drained::Cut(1));
    let told = failure(answers).await;
    assert_eq!(
        (told.code, &*told.reason),
        (Code::Unavailable, "BACKEND_UNAVAILABLE")
    );
    assert!(told.retry_after.is_some(), "{told:?}");
    let gone = from_status(&client.check(ask("")).await.unwrap_err());
    assert_eq!((gone.code, gone.reason), (told.code, told.reason));
}

#[tokio::test]
async fn unknown_methods_are_unimplemented() {
    let house = House::platform(ServeConfig::default()).await;
    let channel = Channel::from_shared(format!("http://{}", house.addr))
        .unwrap()
        .connect_lazy();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/no.such.Service/Method");
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
    let refused = grpc
        .unary(tonic::Request::new(ask("")), path, codec)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}
use crate::common::HealthCheckRequest;
