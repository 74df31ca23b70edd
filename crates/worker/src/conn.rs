//! The host's end of one worker's socket.

use std::{collections::VecDeque, io, os::unix::net::UnixStream as StdStream};

use bytes::{Buf, Bytes, BytesMut};
use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::wire::{self, PREAMBLE_BYTES, Reply};

/// Bytes asked of the kernel at a time while a header is due.
const READ_BYTES: usize = 64 << 10;
/// Room taken for a body before its bytes are there: a worker's claim alone takes no more.
const FIRST_ROOM: usize = 1 << 20;

/// Bodies up to this are copied out of the buffer.
const SMALL_BYTES: usize = 4 << 10;

/// Why a worker cannot be spoken with any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// It ended or closed its socket.
    #[error("the process went away")]
    Ended,
    /// The socket failed.
    #[error("its socket failed: {0}")]
    Io(#[from] io::Error),
    /// It sent something that is no frame.
    #[error("it sent what is no answer: {0}")]
    Garbage(String),
}

/// One socket. Both directions may be left in the middle and taken up again, so a call that nobody waits for any more
/// can be drained instead of killed.
pub(crate) struct Conn {
    stream: UnixStream,
    max_body_bytes: u64,
    out: VecDeque<Bytes>,
    input: BytesMut,
    /// A reply whose body is not complete.
    partial: Option<(Reply, usize)>,
}

impl Conn {
    /// A connection over a socket, of which the worker has the other end.
    pub fn new(stream: StdStream, max_body_bytes: u64) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: UnixStream::from_std(stream)?,
            max_body_bytes,
            out: VecDeque::new(),
            input: BytesMut::new(),
            partial: None,
        })
    }

    /// Whether the worker is there and silent, as one without a call should be.
    pub fn is_quiet(&self) -> bool {
        let peeked = recv(&self.stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(peeked, Err(Errno::AGAIN)) && !self.has_input()
    }

    /// Puts a frame behind what is still to be written.
    pub fn put(&mut self, frame: VecDeque<Bytes>) {
        self.out.extend(frame);
    }

    /// Writes what was put. Can be dropped and called again.
    pub async fn flush(&mut self) -> Result<(), Broken> {
        while let Some(piece) = self.out.front_mut() {
            if piece.has_remaining() {
                self.stream.write_buf(piece).await?;
            } else {
                self.out.pop_front();
            }
        }
        Ok(())
    }

    /// Writes what was put and reads the next reply with its body. Can be dropped and called again.
    pub async fn exchange(&mut self) -> Result<(Reply, Bytes), Broken> {
        self.flush().await?;
        let length = match &self.partial {
            Some((_, length)) => *length,
            None => {
                self.fill(PREAMBLE_BYTES).await?;
                let preamble = self.input.first_chunk().ok_or(Broken::Ended)?;
                let (header, body) = wire::lengths(preamble, self.max_body_bytes).map_err(Broken::Garbage)?;
                self.fill(PREAMBLE_BYTES + header).await?;
                self.input.advance(PREAMBLE_BYTES);
                let text = self.input.split_to(header);
                let reply = serde_json::from_slice(&text).map_err(|e| Broken::Garbage(e.to_string()))?;
                self.partial = Some((reply, body));
                body
            }
        };
        self.fill(length).await?;
        let body = self.input.split_to(length);
        // a small answer must not hold the whole buffer as long as somebody keeps it
        let body = match length {
            ..=SMALL_BYTES => Bytes::copy_from_slice(&body),
            _ => body.freeze(),
        };
        let (reply, _) = self.partial.take().ok_or(Broken::Ended)?;
        Ok((reply, body))
    }

    /// Reads until `count` bytes are there.
    async fn fill(&mut self, count: usize) -> Result<(), Broken> {
        while self.input.len() < count {
            let missing = count - self.input.len();
            // doubles on the way, so a large body is moved a few times and a false claim costs little
            let room = missing.clamp(READ_BYTES, FIRST_ROOM.max(self.input.len()));
            self.input.reserve(room);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(Broken::Ended);
            }
        }
        Ok(())
    }

    /// Whether the worker has said something that nobody asked for.
    pub fn has_input(&self) -> bool {
        !self.input.is_empty() || self.partial.is_some()
    }
}
