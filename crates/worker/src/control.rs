//! Packets between host and zygote: JSON, with file descriptors beside it.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream as StdStream,
    },
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg, shutdown,
    socketpair,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{io::Interest, net::UnixStream};

/// The longest packet.
const MAX_PACKET_BYTES: usize = 64 << 10;
/// File descriptors in one packet at most.
const MAX_FDS: usize = 4;

/// The host's end. The type is that of a stream, but packets stay whole, since the socket keeps them so.
#[derive(Debug)]
pub(crate) struct Control(UnixStream);

impl Control {
    /// A pair: ours, and the one that becomes the zygote's standard input.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let ours = StdStream::from(ours);
        ours.set_nonblocking(true)?;
        Ok((Self(UnixStream::from_std(ours)?), theirs))
    }

    /// Sends one packet.
    pub async fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        if text.len() > MAX_PACKET_BYTES {
            return Err(io::Error::other("a request beyond the size of a packet"));
        }
        let sent = self.0.async_io(Interest::WRITABLE, || {
            let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
            let mut beside = SendAncillaryBuffer::new(&mut room);
            if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(io::Error::other("too many file descriptors for a packet"));
            }
            Ok(sendmsg(
                self.0.as_fd(),
                &[IoSlice::new(&text)],
                &mut beside,
                SendFlags::NOSIGNAL,
            )?)
        });
        sent.await.map(|_| ())
    }

    /// Receives one packet with its first file descriptor; `None` once the zygote has ended.
    pub async fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        let mut text = vec![0; MAX_PACKET_BYTES];
        let (count, fd) = self
            .0
            .async_io(Interest::READABLE, || {
                let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
                let mut beside = RecvAncillaryBuffer::new(&mut room);
                let received = recvmsg(
                    self.0.as_fd(),
                    &mut [IoSliceMut::new(&mut text)],
                    &mut beside,
                    RecvFlags::CMSG_CLOEXEC,
                )?;
                let mut first = None;
                for message in beside.drain() {
                    if let RecvAncillaryMessage::ScmRights(fds) = message {
                        for fd in fds {
                            first.get_or_insert(fd);
                        }
                    }
                }
                Ok((received.bytes, first))
            })
            .await?;
        if count == 0 {
            return Ok(None);
        }
        let message = serde_json::from_slice(text.get(..count).unwrap_or_default())?;
        Ok(Some((message, fd)))
    }

    /// Tells the zygote to end.
    pub fn close(&self) {
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}
