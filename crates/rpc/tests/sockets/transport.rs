//! A peer in this process and one behind a socket cannot be told apart.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use lodeway_domain::{Caller, caller::Workspace};
use lodeway_rpc::{
    CallContext, Transport,
    auth::{Authenticator, TokenTable, hash_token},
    config::Secret,
    layers::ColumnConfig,
    serve::ServeConfig,
    status, wire,
};
use tonic::{Code, Request};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt},
    registry::Registry,
};

use crate::common::{HealthClient, House, ask};

#[tokio::test]
async fn unary_answers_and_errors_are_the_same() {
    let house = House::start().await;
    for transport in [house.local(), house.remote()] {
        let mut client = HealthClient::new(transport);
        assert_eq!(client.check(ask("")).await.unwrap().into_inner().status, 0);
        let failure = status::from_status(&client.check(ask("missing")).await.unwrap_err());
        assert_eq!(
            (failure.code, failure.reason.as_str()),
            (Code::NotFound, "RESOURCE_NOT_FOUND")
        );
        assert_eq!(failure.resource, Some(("run".into(), "4f1".into())));
        let fault = client.check(ask("fault")).await.unwrap_err();
        assert_eq!(
            (fault.code(), fault.message()),
            (Code::Internal, "internal error")
        );
        let request_id = status::from_status(&fault).request_id.unwrap();
        assert_eq!(fault.metadata().get("x-request-id").unwrap(), request_id.as_str());
    }
}

#[tokio::test]
async fn streams_and_their_errors_are_the_same() {
    let house = House::start().await;
    for transport in [house.local(), house.remote()] {
        let mut client = HealthClient::new(transport);
        let mut answers = client.watch(ask("missing")).await.unwrap().into_inner();
        for expected in 1..=3 {
            assert_eq!(answers.message().await.unwrap().unwrap().status, expected);
        }
        let failure = status::from_status(&answers.message().await.unwrap_err());
        assert_eq!(
            (failure.code, failure.value("resource_name")),
            (Code::NotFound, Some("4f1"))
        );
    }
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_unavailable_and_may_come_later() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let peer = Transport::remote(&format!("http://{free}").parse().unwrap()).unwrap();
    let failure = status::from_status(&HealthClient::new(peer).check(ask("")).await.unwrap_err());
    assert_eq!(
        (failure.code, failure.reason.as_str()),
        (Code::Unavailable, "BACKEND_UNAVAILABLE")
    );
    assert!(failure.retry_after.is_some() && !failure.message.contains("127.0.0.1"));
    assert!(Transport::remote(&"ftp://x".parse().unwrap()).is_err());
}

async fn whoami(transport: Transport, cx: &CallContext) -> String {
    let request = cx.request(ask("whoami"));
    HealthClient::new(transport)
        .check(request)
        .await
        .unwrap_err()
        .message()
        .to_owned()
}

fn context() -> CallContext {
    let mut cx = CallContext::new(Caller {
        principal: "zoë k".to_owned(),
        verified: true,
        workspace: Workspace::parse("team-a").unwrap(),
    });
    cx.request_id = "req-7".into();
    cx.deadline = Some(std::time::Instant::now() + std::time::Duration::from_secs(30));
    cx
}

#[tokio::test]
async fn the_caller_travels_on_to_peers_that_share_the_token() {
    let secret = Some(Secret::new("s3cret".to_owned()));
    let auth = Authenticator::open().trusting_peers(secret.as_ref());
    let house = House::with(ColumnConfig::default(), auth, ServeConfig::default()).await;
    let expected = "zoë k true team-a req-7 true";
    assert_eq!(whoami(house.local(), &context()).await, expected);
    assert_eq!(
        whoami(house.remote().with_peer_token(secret), &context()).await,
        expected
    );
    let wrong = Some(Secret::new("wrong".to_owned()));
    assert_eq!(
        whoami(house.remote().with_peer_token(wrong), &context()).await,
        "anonymous false team-a req-7 true"
    );
    assert_eq!(
        whoami(house.remote(), &context()).await,
        "anonymous false team-a req-7 true"
    );
}

/// Counts what is said at warning or worse.
#[derive(Clone, Default)]
struct Complaints(Arc<AtomicUsize>);

impl<S: Subscriber> Layer<S> for Complaints {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= Level::WARN {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn closed(peer_token: Option<&str>) -> House {
    let table = format!(
        "[[token]]\nprincipal = \"ci\"\nsha256 = \"{}\"\n",
        hash_token("t0ken")
    );
    let token = peer_token.map(|token| Secret::new(token.to_owned()));
    let auth = Authenticator::with_table(TokenTable::parse(&table).unwrap()).trusting_peers(token.as_ref());
    House::with(ColumnConfig::default(), auth, ServeConfig::default()).await
}

#[tokio::test]
async fn a_wrong_peer_token_is_a_fault_of_the_platform_and_told_once() {
    let said = Complaints::default();
    let _mine = tracing::subscriber::set_default(Registry::default().with(said.clone()));
    let wrong = Some(Secret::new("wrong".to_owned()));
    for (own, complaints) in [(Some("s3cret"), 2), (None, 4)] {
        let house = closed(own).await;
        let peer = house.remote().with_peer_token(wrong.clone());
        for _ in 0..5 {
            let request = context().request(ask("whoami"));
            let answer = HealthClient::new(peer.clone()).check(request).await;
            let refused = answer.unwrap_err();
            let failure = status::from_status(&refused);
            assert_eq!(
                (failure.code, failure.reason.as_str()),
                (Code::Unavailable, "PEER_TOKEN_REFUSED")
            );
            assert!(failure.message.contains("peer token"), "{failure:?}");
            for secret in ["127.0.0.1", "wrong", "s3cret"] {
                assert!(!format!("{failure:?}").contains(secret), "{failure:?}");
            }
            // As the service passes it on that asked.
            let passed = context().status(status::into_error(&refused));
            assert_eq!(passed.code(), Code::Unavailable);
            assert_eq!(status::from_status(&passed).reason, "PEER_TOKEN_REFUSED");
        }
        assert_eq!(said.0.load(Ordering::SeqCst), complaints, "one of each side");
    }
}

#[tokio::test]
async fn a_user_who_sends_a_peer_token_lacks_credentials() {
    let house = closed(Some("s3cret")).await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", house.addr)).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    let mut call = async |token: Option<&'static str>| {
        let mut request = Request::new(ask("whoami"));
        let headers = request.metadata_mut();
        for (name, value) in [
            (wire::PEER_TOKEN, "guess"),
            (wire::PRINCIPAL, "ci"),
            (wire::VERIFIED, "1"),
        ] {
            headers.insert(
                tonic::metadata::AsciiMetadataKey::from_bytes(name.as_str().as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        if let Some(token) = token {
            headers.insert("authorization", token.parse().unwrap());
        }
        client.check(request).await.unwrap_err()
    };
    assert_eq!(call(None).await.code(), Code::Unauthenticated);
    assert_eq!(call(Some("Bearer nope")).await.code(), Code::Unauthenticated);
    let known = call(Some("Bearer t0ken")).await;
    assert_eq!(known.code(), Code::PermissionDenied, "{known:?}");
    assert!(known.message().starts_with("ci true default"), "{known:?}");
}

/// What is done later for a caller, as the end of a rollout, has the caller's name in one process and in several.
#[tokio::test]
async fn a_caller_whom_nobody_proved_is_named_to_peers_without_a_token() {
    let house = House::start().await;
    let mut cx = context();
    cx.caller = std::sync::Arc::new(Caller {
        verified: false,
        ..(*cx.caller).clone()
    });
    let expected = "zoë k false team-a req-7 true";
    assert_eq!(whoami(house.local(), &cx).await, expected);
    let peer = || house.remote().with_peer_token(None);
    assert_eq!(whoami(peer(), &cx).await, expected);
    assert_eq!(
        whoami(house.remote(), &cx).await,
        "anonymous false team-a req-7 true",
        "a server of others learns nothing of our callers"
    );
    for (principal, verified) in [("service:gateway", false), ("a:b", false), ("zoë k", true)] {
        cx.caller = std::sync::Arc::new(Caller {
            principal: principal.to_owned(),
            verified,
            ..(*cx.caller).clone()
        });
        assert_eq!(
            whoami(peer(), &cx).await,
            "anonymous false team-a req-7 true",
            "{principal}"
        );
    }
}
