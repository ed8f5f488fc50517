//! The daemon's end of a process's sync socket.

use super::watch;
use hull_abi::{FromInit, ToInit};
use hull_sys::{Errno, fd, socket};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The other end is gone, or spoke nonsense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncClosed {
    /// Its descriptors were lost, since this process may have no more.
    pub no_room: bool,
}

impl From<io::Error> for SyncClosed {
    fn from(error: io::Error) -> Self {
        let no_room = matches!(fd::errno(&error), Errno::EMFILE | Errno::ENFILE);
        Self { no_room }
    }
}

/// Nonsense.
const MALFORMED: SyncClosed = SyncClosed { no_room: false };

/// A process's sync socket (protocol: `hull_abi::FromInit`).
#[derive(Debug)]
pub struct SyncSocket(AsyncFd<OwnedFd>);

impl SyncSocket {
    pub(super) fn new(socket: OwnedFd) -> Result<Self, Errno> {
        nix::fcntl::fcntl(
            &socket,
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        )?;
        watch(socket, Interest::READABLE | Interest::WRITABLE).map(Self)
    }

    /// Waits for the next message and the descriptors that it brings.
    ///
    /// # Errors
    /// [`SyncClosed`] at the end: the process has executed its program, or died.
    pub async fn receive(&self) -> Result<(FromInit, Vec<OwnedFd>), SyncClosed> {
        let received = self
            .0
            .async_io(Interest::READABLE, |s| Ok(socket::receive(s)?))
            .await;
        let (bytes, fds) = received?;
        let message = hull_abi::decode(&bytes).map_err(|_| MALFORMED)?;
        Ok((message, fds))
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`SyncClosed`] when the process is gone.
    pub async fn send(&self, message: &ToInit) -> Result<(), SyncClosed> {
        self.send_fds(message, &[]).await
    }

    /// Sends a message with descriptors.
    ///
    /// # Errors
    /// [`SyncClosed`] when the process is gone.
    pub async fn send_fds(
        &self,
        message: &ToInit,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), SyncClosed> {
        let bytes = hull_abi::encode(message).map_err(|_| MALFORMED)?;
        let sent = self
            .0
            .async_io(Interest::WRITABLE, |s| Ok(socket::send(s, &bytes, fds)?));
        Ok(sent.await?)
    }
}
