//! A peer in this process and one behind a socket cannot be told apart.

use lodeway_domain::{Caller, caller::Workspace};
use lodeway_rpc::{
    CallContext, Transport, auth::Authenticator, config::Secret, layers::ColumnConfig, serve::ServeConfig,
    status,
};
use tonic::Code;

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
