//! One call on a connection: a request with its body, an answer with its own.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::FutureExt as _;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, body::Body};

use super::{Open, UnderWay};
use crate::transport::connection::Failure;

/// How much of a body is handed over before its answer is waited for, beyond its first message. What does not fit into the
/// peer's window waits in memory, where a message is anyway.
const AT_ONCE: usize = 64 << 10;

/// Sends a request; the answer once its head is there. Dropped before, or with the answer's body unread, it is cancelled on
/// the other side too.
pub(super) async fn exchange(
    mut open: Open,
    under_way: UnderWay,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let (head, mut body) = request.into_parts();
    let is_empty = body.is_end_stream();
    let (answer, mut stream) = open
        .requests
        .send_request(Request::from_parts(head, ()), is_empty)?;
    let is_whole = is_empty || send_ready(&mut stream, &mut body)?;
    #[expect(clippy::disallowed_methods, reason = "ends with the call")]
    let rest = (!is_whole).then(|| AbortOnDropHandle::new(tokio::spawn(send_rest(stream, body))));
    let answer = answer.await?;
    Ok(answer.map(|stream| {
        Body::new(Answer {
            stream,
            is_read: false,
            _rest: rest,
            _under_way: under_way,
        })
    }))
}

/// Hands over what of the body is there already; whether that is all of it.
fn send_ready(stream: &mut SendStream<Bytes>, body: &mut Body) -> Result<bool, Failure> {
    // One piece is held back: only with the next is known whether it is the last.
    let mut held: Option<Bytes> = None;
    let mut sent = 0;
    loop {
        match body.frame().now_or_never() {
            Some(None) => {
                stream.send_data(held.unwrap_or_default(), true)?;
                return Ok(true);
            }
            Some(Some(Err(status))) => {
                stream.send_reset(Reason::CANCEL);
                return Err(Failure::Own(Box::new(status)));
            }
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    sent += data.len();
                    if let Some(before) = held.replace(data) {
                        stream.send_data(before, false)?;
                    }
                }
                Err(frame) => {
                    if let Some(before) = held.take() {
                        stream.send_data(before, false)?;
                    }
                    return end(stream, frame).map(|()| true);
                }
            },
            None => break,
        }
        if sent > AT_ONCE {
            break;
        }
    }
    if let Some(before) = held {
        stream.send_data(before, false)?;
    }
    Ok(false)
}

fn end(stream: &mut SendStream<Bytes>, frame: Frame<Bytes>) -> Result<(), Failure> {
    match frame.into_trailers() {
        Ok(trailers) => stream.send_trailers(trailers)?,
        Err(_) => stream.send_data(Bytes::new(), true)?,
    }
    Ok(())
}

/// Sends the rest of a body as it comes and as the other side takes it.
async fn send_rest(mut stream: SendStream<Bytes>, mut body: Body) {
    let sent = async {
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                // It wants no more; why is in its answer.
                _ = poll_fn(|cx| stream.poll_reset(cx)) => return Ok(()),
            };
            let frame = match frame {
                None => return Ok(stream.send_data(Bytes::new(), true)?),
                Some(Err(status)) => {
                    stream.send_reset(Reason::CANCEL);
                    return Err(Failure::Own(Box::new(status)));
                }
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    stream.reserve_capacity(1);
                    while stream.capacity() == 0 {
                        match poll_fn(|cx| stream.poll_capacity(cx)).await {
                            Some(capacity) => capacity?,
                            None => return Ok(()),
                        };
                    }
                    stream.send_data(data, false)?;
                }
                Err(frame) => return end(&mut stream, frame),
            }
        }
    };
    if let Err(error) = sent.await {
        tracing::debug!(%error, "a request was not sent to its end");
    }
}

/// The body of an answer; keeps what sends the request alive, and ends it.
struct Answer {
    stream: RecvStream,
    is_read: bool,
    _rest: Option<AbortOnDropHandle<()>>,
    _under_way: UnderWay,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if !self.is_read {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Fails only for more than was received.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(ended(error)),
                None => self.is_read = true,
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(error) => Poll::Ready(ended(error)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}

/// A stream that is reset without an error has ended: the other side needs no more of the request.
fn ended(error: h2::Error) -> Option<Result<Frame<Bytes>, Status>> {
    (error.reason() != Some(Reason::NO_ERROR)).then(|| Err(error.into()))
}
