//! The body of an answer: measured to its end, ended at the deadline or when the listener drains, guarded against panics.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use lodeway_domain::Error;
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Code, Status, body::Body};
use tracing::Span;

use super::{meter::Call, panicked};
use crate::status;

pub(super) struct CallBody {
    inner: Option<Body>,
    call: Call,
    span: Span,
    ends: Ends,
    request_id: Arc<str>,
}

/// What ends a stream before its end.
pub(super) struct Ends {
    deadline: Option<Pin<Box<Sleep>>>,
    drain: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Ends {
    pub(super) fn new(deadline: Option<Instant>, drain: Option<WaitForCancellationFutureOwned>) -> Self {
        Self {
            deadline: deadline.map(|at| Box::pin(tokio::time::sleep_until(at.into()))),
            drain: drain.map(Box::pin),
        }
    }

    /// Why the stream ends now, if it does.
    fn poll(&mut self, cx: &mut Context<'_>) -> Option<Error> {
        let is_over = |ready: Poll<()>| ready.is_ready();
        if self
            .deadline
            .as_mut()
            .is_some_and(|at| is_over(at.as_mut().poll(cx)))
        {
            return Some(Error::DeadlineExceeded);
        }
        let drain = self.drain.as_mut()?;
        is_over(drain.as_mut().poll(cx)).then(|| {
            let why = "this server is stopping; open the stream again where it ended";
            Error::unavailable(why, "the listener drains")
        })
    }
}

impl CallBody {
    pub(super) fn new(inner: Body, call: Call, span: Span, ends: Ends, request_id: Arc<str>) -> Self {
        Self {
            inner: Some(inner),
            call,
            span,
            ends,
            request_id,
        }
    }

    /// Ends the stream with an error in place of whatever would have come.
    fn end(&mut self, error: &Error) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.inner = None;
        let status = self
            .span
            .in_scope(|| status::status_of(error, &self.request_id, self.call.domain()));
        self.call.finish(status.code(), &self.span);
        let mut trailers = http::HeaderMap::new();
        Poll::Ready(Some(
            status
                .add_header(&mut trailers)
                .map(|()| Frame::trailers(trailers)),
        ))
    }
}

impl http_body::Body for CallBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.inner.is_none() {
            return Poll::Ready(None);
        }
        // First, so that a stream which always has something ready ends too.
        if let Some(error) = this.ends.poll(cx) {
            return this.end(&error);
        }
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        let entered = this.span.enter();
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut *inner).poll_frame(cx)));
        drop(entered);
        let polled = match polled {
            Ok(polled) => polled,
            Err(panic) => return this.end(&panicked(&*panic)),
        };
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => this.call.finish(Code::Ok, &this.span),
            // The stream comes from elsewhere and broke: as trailers it reaches the caller, with what it takes to go on. A
            // body that fails would only be reset.
            Poll::Ready(Some(Err(status))) => {
                let error = status::into_error(status);
                return this.end(&error);
            }
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(|t| t.get("grpc-status")) {
                    this.call.finish(Code::from_bytes(code.as_bytes()), &this.span);
                    this.ends = Ends::new(None, None);
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map(http_body::Body::size_hint)
            .unwrap_or_default()
    }
}
