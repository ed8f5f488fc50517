//! Descriptors that copies read and write, none of which ever blocks the thread.

use hull_launcher::client::watch;
use hull_sys::Errno;
use nix::unistd::{read, write};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that is registered with the event loop.
pub(super) type Watched = Arc<AsyncFd<OwnedFd>>;

/// One end of a copy.
#[derive(Debug, Clone)]
pub(super) enum Stream {
    /// Says when it is ready; opened with O_NONBLOCK.
    Watched(Watched),
    /// Is always ready: a regular file, `/dev/null`.
    Plain(Arc<OwnedFd>),
}

impl Stream {
    /// Registers a descriptor that was opened with O_NONBLOCK; one that epoll refuses because it
    /// never blocks ([epoll_ctl(2)](https://man7.org/linux/man-pages/man2/epoll_ctl.2.html),
    /// `EPERM`) is used as it is.
    ///
    /// # Errors
    /// As epoll_ctl(2) and dup(2).
    pub(super) fn new(fd: OwnedFd, interest: Interest) -> Result<Self, Errno> {
        let spare = fd.try_clone().map_err(|e| hull_sys::fd::errno(&e))?;
        match watch(fd, interest) {
            Ok(watched) => Ok(Self::Watched(Arc::new(watched))),
            Err(Errno::EPERM) => Ok(Self::Plain(Arc::new(spare))),
            Err(e) => Err(e),
        }
    }

    /// Reads some bytes, waiting for the first; 0 means the end.
    ///
    /// # Errors
    /// As read(2).
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Watched(fd) => read_watched(fd, buffer).await,
            Self::Plain(fd) => Ok(read(fd, buffer)?),
        }
    }

    /// Writes some of the bytes, waiting for room.
    ///
    /// # Errors
    /// As write(2).
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Watched(fd) => write_watched(fd, bytes).await,
            Self::Plain(fd) => Ok(write(fd, bytes)?),
        }
    }
}

/// Reads what is there, without waiting; `EAGAIN` when there is nothing. A terminal that nobody uses
/// any more is at its end.
pub(super) fn read_now(fd: &Watched, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match read(fd.get_ref(), &mut *buffer) {
            Err(Errno::EINTR) => {}
            Err(Errno::EIO) => return Ok(0),
            other => return other,
        }
    }
}

/// Reads some bytes, waiting for the first; 0 means the end.
///
/// # Errors
/// As read(2).
pub(super) async fn read_watched(fd: &Watched, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut ready = fd.readable().await?;
        match read_now(fd, buffer) {
            // The event loop never forgets that all writers had gone. Should another have come
            // meanwhile, waiting for it would be a busy loop.
            Err(Errno::EAGAIN) if ready.ready().is_read_closed() => return Ok(0),
            Err(Errno::EAGAIN) => ready.clear_ready(),
            other => return Ok(other?),
        }
    }
}

async fn write_watched(fd: &Watched, bytes: &[u8]) -> io::Result<usize> {
    loop {
        let mut ready = fd.writable().await?;
        match write(fd.get_ref(), bytes) {
            // As above.
            Err(Errno::EAGAIN) if ready.ready().is_write_closed() => {
                return Err(Errno::EPIPE.into());
            }
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}
