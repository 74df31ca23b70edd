use futures::StreamExt as _;
use lodeway_proto::{
    DESCRIPTOR_SET,
    artifacts::v1::{DownloadArtifactRequest, artifact_service_client::ArtifactServiceClient},
    tracking::v1::{GetRunRequest, PurgeRequest, tracking_service_client::TrackingServiceClient},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};

use super::*;

/// Patience that ends while a test waits for it.
const SHORT: Patience = Patience {
    connect: Duration::from_secs(5),
    answer: Duration::from_millis(200),
    ask_after: Duration::from_millis(100),
    ask_for: Duration::from_millis(100),
};

/// Patience for ordinary calls that outlasts every test.
const ONLY_ASKED: Patience = Patience {
    answer: Duration::from_secs(3_600),
    ..SHORT
};

fn link(address: &str, patience: Patience) -> Link {
    Link::new(&address.parse().unwrap(), Identity::default(), patience).unwrap()
}

/// A listener whose connections go to `serve`, and its address.
async fn listener<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Accepts and says nothing for as long as the test lasts.
async fn silent() -> String {
    listener(|stream| async move {
        let _held = stream;
        std::future::pending().await
    })
    .await
}

fn why(status: Status) -> String {
    let failure = super::super::Failure::from(status);
    let (text, code) = super::super::told(failure);
    assert_eq!(code, 6, "{text}");
    text
}

#[tokio::test]
async fn a_call_that_nobody_answers_ends_and_says_whom_it_was_for() {
    let address = silent().await;
    let mut tracking = TrackingServiceClient::new(link(&address, SHORT));
    let said = why(tracking.get_run(GetRunRequest::default()).await.unwrap_err());
    assert!(
        said.contains(&format!("http://{address} does not answer: ")),
        "{said}"
    );
}

#[tokio::test]
async fn a_long_call_ends_when_the_other_side_is_not_there() {
    let address = silent().await;
    let mut tracking = TrackingServiceClient::new(link(&address, ONLY_ASKED));
    let said = why(tracking.purge(PurgeRequest::default()).await.unwrap_err());
    assert!(
        said.contains(&format!("http://{address} does not answer: ")),
        "{said}"
    );
}

#[tokio::test]
async fn a_refused_connection_says_where_and_why() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let mut tracking = TrackingServiceClient::new(link(&address, Patience::default()));
    let said = why(tracking.get_run(GetRunRequest::default()).await.unwrap_err());
    assert!(
        said.contains(&address) && said.contains("Connection refused"),
        "{said}"
    );
}

#[tokio::test]
async fn a_connection_that_breaks_says_so() {
    let address = listener(|mut stream| async move {
        // Gone at once, before any answer.
        let _ = stream.shutdown().await;
    })
    .await;
    let mut tracking = TrackingServiceClient::new(link(&address, Patience::default()));
    let said = why(tracking.get_run(GetRunRequest::default()).await.unwrap_err());
    assert!(
        said.contains(&address) && !said.contains("transport error"),
        "{said}"
    );
}

/// Gives every call this answer, over HTTP/2.
async fn answering(answer: impl Fn() -> Response<Body> + Clone + Send + 'static) -> String {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    listener(move |stream| {
        let answer = answer.clone();
        async move {
            let service = hyper::service::service_fn(move |_| {
                let answer = answer();
                async move { Ok::<_, Status>(answer) }
            });
            let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = http2.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_no_answer() {
    let was_read = Arc::new(tokio::sync::Notify::new());
    let goes_on = was_read.clone();
    let address = answering(move || {
        let goes_on = goes_on.clone();
        // An empty message, and a fault once that was read.
        let message = http_body::Frame::data(bytes::Bytes::from_static(&[0; 5]));
        let fault = async move {
            goes_on.notified().await;
            Err(Status::internal("cut"))
        };
        let frames = futures::stream::iter([Ok(message)]).chain(futures::stream::once(fault));
        let mut response = Response::new(Body::new(http_body_util::StreamBody::new(frames)));
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
        response
    })
    .await;
    let mut artifacts = ArtifactServiceClient::new(link(&address, Patience::default()));
    let stream = artifacts
        .download_artifact(DownloadArtifactRequest::default())
        .await;
    let mut stream = stream.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    was_read.notify_one();
    let said = why(stream.message().await.unwrap_err());
    assert!(said.contains("broke") && said.contains(&address), "{said}");
}

#[tokio::test]
async fn who_has_no_token_is_told_how_to_give_one() {
    let address =
        answering(|| Status::unauthenticated("the credentials are not known here").into_http()).await;
    let refused = |identity| {
        let link = Link::new(&address.parse().unwrap(), identity, Patience::default()).unwrap();
        async move {
            let mut tracking = TrackingServiceClient::new(link);
            let status = tracking.get_run(GetRunRequest::default()).await.unwrap_err();
            super::super::told(status.into())
        }
    };
    let (text, code) = refused(Identity::default()).await;
    assert!(
        text.contains("--token") && text.contains("LODEWAY_TOKEN") && text.contains("not known"),
        "{text}"
    );
    assert_eq!(code, 5);
    let known = Identity {
        has_token: true,
        ..Identity::default()
    };
    assert_eq!(
        refused(known).await,
        ("the credentials are not known here".to_owned(), 5)
    );
}

#[test]
fn long_methods_are_methods() {
    let methods = lodeway_rpc::access::method_paths(&[DESCRIPTOR_SET]).unwrap();
    for long in LONG {
        let is_method = methods.iter().any(|path| path.ends_with(&format!("/{long}")));
        assert!(is_method, "{long}");
    }
}
