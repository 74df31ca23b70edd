//! What is left of an HTTP/1 request's body when its answer is there already.
//!
//! The next request of a connection begins where the body ends. One that was not read to its end ends the connection after
//! the answer, which the client must be told, or its next call is lost. Most such bodies are a few bytes that are just
//! arriving: those are read first, and the connection stays.

use std::{
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// A rest that is read; behind a longer one the connection ends.
const MAX_REST_BYTES: u64 = 64 << 10;
/// How long a rest may take to come.
const REST_WAIT: Duration = Duration::from_millis(200);

/// The body that one HTTP/1 connection is getting; it gets one at a time. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Unread(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    /// Nothing is to come before the next request.
    #[default]
    Read,
    /// Somebody has it and is not at its end.
    Held,
    /// It was given up before its end.
    Left(Incoming),
    /// It was given up, and its client waits to be asked for it.
    Unasked,
}

impl Unread {
    /// The body of a request, watched if there is one.
    pub(super) fn watch(&self, request: Request<Incoming>) -> Request<Watched> {
        if request.body().is_end_stream() {
            return request.map(Watched::not);
        }
        let waits_to_be_asked = request.headers().contains_key(http::header::EXPECT);
        *self.state() = State::Held;
        request.map(|body| Watched {
            inner: Some(body),
            waits_to_be_asked,
            by: Some(self.clone()),
        })
    }

    /// Whether the connection can take another request after this answer, once a short rest of the body was read.
    pub(super) async fn is_over(&self) -> bool {
        let state = mem::take(&mut *self.state());
        match state {
            State::Read => true,
            State::Held | State::Unasked => false,
            State::Left(rest) => {
                let read = tokio::time::timeout(REST_WAIT, skip(rest)).await;
                read.unwrap_or_default()
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a body to its end, unless it is too long or breaks off.
async fn skip(mut rest: Incoming) -> bool {
    let mut left = MAX_REST_BYTES;
    if rest.size_hint().lower() > left {
        return false;
    }
    while let Some(frame) = rest.frame().await {
        let read = frame.ok().map_or(u64::MAX, |frame| {
            frame.data_ref().map_or(0, |data| data.len() as u64)
        });
        match left.checked_sub(read) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
    true
}

/// A body that is given back if it is dropped before its end.
pub(super) struct Watched {
    /// There until it is given back.
    inner: Option<Incoming>,
    waits_to_be_asked: bool,
    by: Option<Unread>,
}

impl Watched {
    /// A body that nothing depends on.
    pub(super) fn not(body: Incoming) -> Self {
        Self {
            inner: Some(body),
            waits_to_be_asked: false,
            by: None,
        }
    }

    /// Nobody needs to know any more: it was read to its end.
    fn is_read(&mut self) {
        if let Some(by) = self.by.take() {
            *by.state() = State::Read;
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        this.waits_to_be_asked = false;
        let polled = Pin::new(&mut *inner).poll_frame(cx);
        let is_over = matches!(polled, Poll::Ready(None)) || inner.is_end_stream();
        if is_over {
            this.is_read();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some((by, rest)) = self.by.take().zip(self.inner.take()) else {
            return;
        };
        *by.state() = match self.waits_to_be_asked {
            true => State::Unasked,
            false => State::Left(rest),
        };
    }
}
