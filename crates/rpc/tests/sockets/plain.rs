//! Peers over HTTP/2 without TLS: what is on the wire, and what happens when the wire breaks.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use lodeway_rpc::{
    Tasks, Transport,
    auth::Authenticator,
    serve::{Reflection, ServeConfig},
};
use tokio::{
    io::{AsyncReadExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tonic::Code;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};
use tower::Service as _;

use crate::common::{HealthClient, House, ask, until};

const PATIENCE: Duration = Duration::from_secs(20);

fn peer(addr: SocketAddr) -> Transport {
    Transport::remote(&format!("http://{addr}").parse().unwrap()).unwrap()
}

/// Kinds and flags of the whole frames at the start of `bytes`, which are taken off it. Source: RFC 9113, 4.1.
fn frames(bytes: &mut Vec<u8>) -> Vec<(u8, u8)> {
    let mut found = Vec::new();
    while let [a, b, c, kind, flags, ..] = bytes[..] {
        let whole = 9 + (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c));
        if bytes.len() < whole {
            break;
        }
        found.push((kind, flags));
        bytes.drain(..whole);
    }
    found
}

#[tokio::test]
async fn a_short_call_is_one_packet() {
    const PREFACE: usize = 24;
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const END_STREAM: u8 = 1;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = HealthClient::new(peer(listener.local_addr().unwrap()));
    let calling = Tasks::new().spawn(async move { client.check(ask("a")).await });
    let (mut socket, _) = listener.accept().await.unwrap();
    let read = async {
        socket.read_exact(&mut [0; PREFACE]).await.unwrap();
        let mut bytes = Vec::new();
        loop {
            assert!(socket.read_buf(&mut bytes).await.unwrap() > 0);
            let found = frames(&mut bytes);
            if found.iter().any(|(kind, _)| *kind == HEADERS) {
                return found;
            }
        }
    };
    let found = timeout(PATIENCE, read).await.unwrap();
    assert!(
        matches!(found[..], [.., (HEADERS, _), (DATA, END_STREAM)]),
        "{found:?}"
    );
    calling.abort();
}

#[tokio::test]
async fn what_a_caller_says_of_their_own_connection_is_not_passed_on() {
    let house = House::start().await;
    for (name, value) in [
        ("connection", "keep-alive, x-hop"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
    ] {
        let request = http::Request::post("/grpc.health.v1.Health/Check")
            .header("content-type", "application/grpc")
            .header("x-hop", "1")
            .header(name, value)
            // An empty message in its frame.
            .body(tonic::body::Body::new(http_body_util::Full::from(&[0; 5][..])))
            .unwrap();
        let answer = house.remote().call(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let trailers = body.collect().await.unwrap();
        let status = trailers.trailers().unwrap_or(&head.headers).get("grpc-status");
        assert_eq!(status.unwrap(), "0", "{name}");
    }
}

/// Passes bytes on to `to`; every change of `cut` breaks the connections that are open.
async fn wire(to: SocketAddr) -> (SocketAddr, watch::Sender<()>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, (cut, _), accepted) = (
        listener.local_addr().unwrap(),
        watch::channel(()),
        Arc::new(AtomicUsize::new(0)),
    );
    let (cuts, count) = (cut.clone(), Arc::clone(&accepted));
    Tasks::new().spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut cut = cuts.subscribe();
            Tasks::new().spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => {}
                    _ = cut.changed() => {}
                }
            });
        }
    });
    (addr, cut, accepted)
}

#[tokio::test]
async fn a_broken_connection_fails_its_calls_and_is_made_again() {
    let house = House::start().await;
    let (addr, cut, accepted) = wire(house.addr).await;
    let client = HealthClient::new(peer(addr));
    for round in 1..=3 {
        let mut at_work = client.clone();
        let calling = Tasks::new().spawn(async move { at_work.check(ask("slow")).await });
        until("the call is at work", || {
            house.probe.running.load(Ordering::SeqCst) == round
        })
        .await;
        assert_eq!(
            accepted.load(Ordering::SeqCst),
            round,
            "one connection serves all calls"
        );
        cut.send(()).unwrap();
        let failed = timeout(PATIENCE, calling).await.unwrap().unwrap().unwrap_err();
        assert_eq!(failed.code(), Code::Unavailable, "{failed}");
        // The connection is known to be broken now, so this goes over a new one.
        client.clone().check(ask("")).await.unwrap();
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_at_the_peer() {
    let house = House::start().await;
    let mut client = house.client();
    let mut answers = client.watch(ask("endless")).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    let mut other = client.clone();
    let calling = Tasks::new().spawn(async move { other.check(ask("slow")).await });
    until("the call is at work", || {
        house.probe.running.load(Ordering::SeqCst) == 1
    })
    .await;
    calling.abort();
    until("the call has ended", || {
        house.probe.dropped.load(Ordering::SeqCst) == 1
    })
    .await;
    // What shares the connection goes on.
    answers.message().await.unwrap().unwrap();
    client.check(ask("")).await.unwrap();
}

#[tokio::test]
async fn many_share_a_few_connections() {
    let house = House::start().await;
    let (addr, _cut, accepted) = wire(house.addr).await;
    let client = HealthClient::new(peer(addr));
    let calls = (0..300).map(|_| {
        let mut client = client.clone();
        async move { client.check(ask("")).await }
    });
    for answer in futures::future::join_all(calls).await {
        answer.unwrap();
    }
    let made = accepted.load(Ordering::SeqCst);
    assert!((1..=4).contains(&made), "{made}");
    // Calls that never end leave no room, so there is a second one now; but no fifth, however many they are.
    let probe = &house.probe.running;
    let mut never = Vec::new();
    for n in 1..=60 {
        let mut client = client.clone();
        never.push(Tasks::new().spawn(async move { client.check(ask("slow")).await }));
        until("the call is at work", || probe.load(Ordering::SeqCst) == n).await;
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 4);
    client.clone().check(ask("")).await.unwrap();
    never.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn bodies_beyond_the_windows_pass_both_ways() {
    let reflection = Reflection::new(&[], &[]).unwrap();
    let house = House::telling(&reflection, Authenticator::open(), ServeConfig::default()).await;
    let asked = |n: usize| ServerReflectionRequest {
        host: n.to_string(),
        message_request: Some(MessageRequest::FileContainingSymbol("x".repeat(200_000))),
    };
    // 20 MB each way: each answer repeats what was asked.
    let mut client = ServerReflectionClient::new(house.remote());
    let request = tokio_stream::iter((0..100).map(asked));
    let mut answers = client.server_reflection_info(request).await.unwrap().into_inner();
    for n in 0..100 {
        let answer = timeout(PATIENCE, answers.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(answer.original_request, Some(asked(n)));
    }
    assert!(answers.next().await.is_none());
    // One message beyond what may be sent before the peer grants more.
    let large = ServerReflectionRequest {
        host: "large".to_owned(),
        message_request: Some(MessageRequest::FileContainingSymbol("y".repeat(1_900_000))),
    };
    let mut answers = client
        .server_reflection_info(tokio_stream::iter([large.clone()]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.next().await.unwrap().unwrap();
    assert_eq!(answer.original_request, Some(large));
}
