//! The connection to the platform: who calls, how long an answer is waited for, and what is said when there is none.
//!
//! An ordinary call has a bound. One whose work grows with the data has none, as transfers and watches have none: there the
//! connection is asked again and again whether the other side is alive.

use std::{
    error::Error,
    fmt, io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body_util::BodyExt as _;
use tonic::{
    Code, Status,
    body::Body,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tower::{Service, ServiceExt as _};

use crate::address::Address;

/// Methods that may rightly take longer than [`Patience::answer`]: they move or read files, wait for models or for a
/// language model, or work through data of any size.
const LONG: &[&str] = &[
    "AddRecords",
    "CaptureTraffic",
    "CompareEvaluations",
    "CreateEndpoint",
    "CreateRevision",
    "DeleteArtifacts",
    "DeleteDataset",
    "DeleteDeployment",
    "DeleteEndpoint",
    "LoadDeployment",
    "PublishRecords",
    "Purge",
    "QueryLiveMetrics",
    "RegisterDatasetVersion",
    "ReportOutcomes",
    "RollbackEndpoint",
    "RollbackTransition",
    "SetAlias",
    "StartRollout",
    "StreamChat",
    "TransitionModelVersion",
    "UnloadDeployment",
    "UploadArtifact",
    "UploadDatasetVersion",
    "VerifyEvaluation",
];

/// How long the other side is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until there is a connection.
    pub connect: Duration,
    /// Until an ordinary call is answered, or a stream begins.
    pub answer: Duration,
    /// After how much silence during a call the other side is asked whether it is there.
    pub ask_after: Duration,
    /// How long it may take to say so.
    pub ask_for: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(60),
            ask_after: Duration::from_secs(30),
            ask_for: Duration::from_secs(15),
        }
    }
}

/// What every call says of the caller.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// The header `authorization`.
    pub authorization: Option<HeaderValue>,
    /// Whether that is a token that somebody gave, and not just a name.
    pub has_token: bool,
    /// The workspace.
    pub workspace: Option<HeaderValue>,
}

impl Identity {
    fn sign(&self, headers: &mut HeaderMap) {
        if let Some(value) = &self.authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        if let Some(value) = &self.workspace {
            headers.insert("x-mlflow-workspace", value.clone());
        }
    }
}

/// The source of a status that nobody over there gave: there was no answer, or no whole one.
#[derive(Debug)]
pub struct Unanswered;

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no answer")
    }
}

impl Error for Unanswered {}

impl Unanswered {
    /// Whether a status is of this side.
    pub fn is_source_of(status: &Status) -> bool {
        status.source().is_some_and(|source| source.is::<Self>())
    }

    fn status(why: String) -> Status {
        let mut status = Status::unavailable(why);
        status.set_source(Arc::new(Self));
        status
    }
}

/// A connection that signs every call and says in its errors whom it called. Made with the first call. Clones share it.
#[derive(Clone)]
pub struct Link {
    channel: Channel,
    address: Arc<str>,
    identity: Identity,
    answer: Duration,
}

impl Link {
    /// Prepares the connection; needs a tokio runtime. Errors: TLS cannot be set up.
    pub fn new(address: &Address, identity: Identity, patience: Patience) -> anyhow::Result<Self> {
        let mut endpoint = Endpoint::from_shared(address.as_str().to_owned())?
            .connect_timeout(patience.connect)
            .http2_keep_alive_interval(patience.ask_after)
            .keep_alive_timeout(patience.ask_for);
        if address.is_tls() {
            endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots())?;
        }
        Ok(Self {
            channel: endpoint.connect_lazy(),
            address: address.as_str().into(),
            identity,
            answer: patience.answer,
        })
    }

    async fn answer(mut self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        let is_long = LONG.contains(&method);
        let address = self.address.clone();
        let asked = async {
            let channel = self.channel.ready().await?;
            channel.call(request).await
        };
        let answered = match is_long {
            true => asked.await,
            false => tokio::time::timeout(self.answer, asked).await.map_err(|_| {
                let waited = self.answer.as_secs_f64();
                Unanswered::status(format!(
                    "the platform at {address} does not answer: nothing came within {waited} s"
                ))
            })?,
        };
        let response = answered.map_err(|error| {
            Unanswered::status(format!(
                "the platform at {address} does not answer: {}",
                cause(&error)
            ))
        })?;
        if let Some(status) = self.needs_token(response.headers()) {
            return Err(status);
        }
        let broken = move |error: Status| {
            let why = format!(
                "the connection to the platform at {address} broke: {}",
                cause(&error)
            );
            Unanswered::status(why)
        };
        Ok(response.map(|body| Body::new(body.map_err(broken))))
    }

    /// The refusal of a call without a token, if it is one, with what would help.
    fn needs_token(&self, headers: &HeaderMap) -> Option<Status> {
        if self.identity.has_token {
            return None;
        }
        let status = Status::from_header_map(headers).filter(|one| one.code() == Code::Unauthenticated)?;
        let message = format!(
            "the platform at {} asks for a token, and none is given; use `--token` or LODEWAY_TOKEN ({})",
            self.address,
            status.message()
        );
        let (details, metadata) = (status.details().to_vec(), status.metadata().clone());
        Some(Status::with_details_and_metadata(
            status.code(),
            message,
            details.into(),
            metadata,
        ))
    }
}

impl Service<Request<Body>> for Link {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    // Always ready: a generated client makes an error of readiness UNKNOWN.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        self.identity.sign(request.headers_mut());
        Box::pin(self.clone().answer(request))
    }
}

/// What is at the bottom of an error: the layers above only say that something is the matter.
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    loop {
        let is_late = innermost
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none());
        if is_late || innermost.is::<tokio::time::error::Elapsed>() {
            return "timed out".to_owned();
        }
        match innermost.source() {
            Some(source) => innermost = source,
            None => break,
        }
    }
    match innermost.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => innermost.to_string(),
    }
}

#[cfg(test)]
mod tests;
