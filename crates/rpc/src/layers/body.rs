//! The body of an answer: measured to its end, ended at the deadline, guarded against panics.

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
use tonic::{Code, Status, body::Body};
use tracing::Span;

use super::{meter::Call, panicked};
use crate::status;

pub(super) struct CallBody {
    inner: Option<Body>,
    call: Call,
    span: Span,
    deadline: Option<Pin<Box<Sleep>>>,
    request_id: Arc<str>,
}

impl CallBody {
    pub(super) fn new(
        inner: Body,
        call: Call,
        span: Span,
        deadline: Option<Instant>,
        request_id: Arc<str>,
    ) -> Self {
        let deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at.into())));
        Self {
            inner: Some(inner),
            call,
            span,
            deadline,
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
        if this
            .deadline
            .as_mut()
            .is_some_and(|d| d.as_mut().poll(cx).is_ready())
        {
            return this.end(&Error::DeadlineExceeded);
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
            Poll::Ready(Some(Err(status))) => this.call.finish(status.code(), &this.span),
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(|t| t.get("grpc-status")) {
                    this.call.finish(Code::from_bytes(code.as_bytes()), &this.span);
                    this.deadline = None;
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
