//! What the column refuses, ends and survives.

use std::{sync::atomic::Ordering, time::Duration};

use lodeway_domain::Reason;
use lodeway_rpc::{
    access,
    auth::{Authenticator, TokenTable, hash_token},
    config::HumanDuration,
    layers::ColumnConfig,
    serve::ServeConfig,
    status,
};
use tonic::{Code, Request, Status, body::Body};
use tower::Service as _;

use crate::common::{HealthClient, House, ask, until};

#[tokio::test]
async fn a_deadline_ends_the_work() {
    let house = House::start().await;
    for (n, transport) in [house.local(), house.remote()].into_iter().enumerate() {
        let mut request = Request::new(ask("slow"));
        request.set_timeout(Duration::from_millis(50));
        let refused = HealthClient::new(transport).check(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
        let probe = house.probe.clone();
        until("the handler is dropped", || {
            probe.dropped.load(Ordering::SeqCst) == n + 1
        })
        .await;
    }
}

#[tokio::test]
async fn a_deadline_ends_a_stream_too() {
    let house = House::start().await;
    let mut request = Request::new(ask("endless"));
    request.set_timeout(Duration::from_millis(100));
    let mut answers = HealthClient::new(house.local())
        .watch(request)
        .await
        .unwrap()
        .into_inner();
    for _ in 0..3 {
        answers.message().await.unwrap().unwrap();
    }
    assert_eq!(
        answers.message().await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
}

#[tokio::test]
async fn the_servers_own_maximum_holds_without_a_deadline() {
    let config = ColumnConfig {
        max_timeout: HumanDuration(Duration::from_millis(50)),
        ..ColumnConfig::default()
    };
    let house = House::with(config, Authenticator::open(), ServeConfig::default()).await;
    let refused = house.client().check(ask("slow")).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn too_many_calls_are_shed_and_told_when_to_return() {
    let config = ColumnConfig {
        max_in_flight: 2,
        ..ColumnConfig::default()
    };
    let house = House::with(config, Authenticator::open(), ServeConfig::default()).await;
    let slow: Vec<_> = (0..2)
        .map(|_| {
            let mut client = house.client();
            Box::pin(async move { client.check(ask("slow")).await })
        })
        .collect();
    let slow = futures::future::join_all(slow);
    tokio::pin!(slow);
    let probe = house.probe.clone();
    tokio::select! {
        _ = &mut slow => panic!("slow calls do not end"),
        () = until("both are at work", || probe.running.load(Ordering::SeqCst) == 2) => {}
    }
    let failure = status::from_status(&house.client().check(ask("")).await.unwrap_err());
    assert_eq!(
        (failure.code, failure.retry_after),
        (Code::ResourceExhausted, Some(Duration::from_secs(1)))
    );
}

#[tokio::test]
async fn places_are_given_back() {
    let house = House::start().await;
    let mut client = house.client();
    for service in ["", "missing", "panic"] {
        let _ = client.check(ask(service)).await;
    }
    let mut answers = client.watch(ask("")).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
    drop(client.watch(ask("endless")).await.unwrap());
    until("nothing is in flight", || house.column.in_flight() == 0).await;
    assert_eq!(house.column.in_flight(), 0);
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_the_connection_lives() {
    let house = House::start().await;
    for transport in [house.local(), house.remote()] {
        let mut client = HealthClient::new(transport);
        let refused = client.check(ask("panic")).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::Internal, "internal error")
        );
        let mut answers = client.watch(ask("panic")).await.unwrap().into_inner();
        // Messages before the panic may be lost: the encoder gathers what is ready into one frame.
        let end = async {
            while answers.message().await?.is_some() {}
            Ok::<_, tonic::Status>(())
        };
        assert_eq!(end.await.unwrap_err().code(), Code::Internal);
        assert!(client.check(ask("")).await.is_ok());
    }
}

#[tokio::test]
async fn a_closed_house_asks_for_credentials() {
    let table = format!(
        "[[token]]\nprincipal = 'ci'\nsha256 = '{}'\n",
        hash_token("t0ken")
    );
    let auth = Authenticator::with_table(TokenTable::parse(&table).unwrap());
    let house = House::with(ColumnConfig::default(), auth, ServeConfig::default()).await;
    let refused = house.client().check(ask("whoami")).await.unwrap_err();
    assert_eq!(status::from_status(&refused).reason, "CREDENTIALS_MISSING");
    let mut request = Request::new(ask("whoami"));
    request
        .metadata_mut()
        .insert("authorization", "Bearer t0ken".parse().unwrap());
    request
        .metadata_mut()
        .insert("x-request-id", "abc".parse().unwrap());
    let told = house.client().check(request).await.unwrap_err();
    assert_eq!(told.message(), "ci true default abc false");
}

#[test]
fn every_method_of_the_platform_services_has_a_rule() {
    let sets: [&[u8]; 3] = [
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    assert_eq!(
        access::platform().methods_without_rule(&sets).unwrap(),
        Vec::<String>::new()
    );
    let missing = access::AccessTable::new().methods_without_rule(&sets).unwrap();
    assert!(
        missing.contains(&"/grpc.health.v1.Health/Check".to_owned()),
        "{missing:?}"
    );
}

/// What comes back for these bytes as the body of a call.
async fn answer_to(house: &House, method: &str, body: &[u8]) -> Status {
    let request = http::Request::post(format!("http://lodeway/grpc.health.v1.Health/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(http_body_util::Full::new(
            bytes::Bytes::copy_from_slice(body),
        )))
        .unwrap();
    let answer = house.remote().call(request).await.unwrap();
    Status::from_header_map(answer.headers()).unwrap()
}

#[tokio::test]
async fn what_is_no_message_is_the_callers_mistake_and_says_so() {
    let house = House::start().await;
    let invalid = (Code::InvalidArgument, Some(Reason::InvalidField));
    for (method, body, expected) in [
        ("Check", b"\0\0\0\0\x03\xff\xff\xff".as_slice(), invalid),
        ("Watch", b"\0\0\0\0\x03\xff\xff\xff", invalid),
        ("Check", b"\x07\0\0\0\0", invalid),
        ("Check", b"\0\0\0\0\x09\x0a", invalid),
        ("Check", b"", invalid),
        (
            "Check",
            b"\0\x06\0\0\0",
            (Code::ResourceExhausted, Some(Reason::LimitExceeded)),
        ),
        (
            "Nope",
            b"\0\0\0\0\0",
            (Code::Unimplemented, Some(Reason::NotImplemented)),
        ),
    ] {
        let status = answer_to(&house, method, body).await;
        let failure = status::from_status(&status);
        assert_eq!(
            (failure.code, failure.known_reason()),
            expected,
            "{method} {body:?}: {status:?}"
        );
        assert!(
            !failure.message.is_empty() && !failure.domain.is_empty(),
            "{failure:?}"
        );
    }
}
