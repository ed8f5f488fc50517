//! A child of the daemon, known by its pidfd.

use super::orphans::Known;
use super::watch;
use hull_sys::{Errno, fd, pidfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process that the launcher made and that is the daemon's child. Whoever holds this must wait for
/// it: the zombie is nobody else's.
#[derive(Debug)]
pub struct ChildProcess {
    pid: i32,
    pidfd: AsyncFd<OwnedFd>,
    known: Known,
}

impl ChildProcess {
    pub(super) fn new(pid: i32, pidfd: OwnedFd, known: Known) -> Result<Self, Errno> {
        let pidfd = watch(pidfd, Interest::READABLE)?;
        Ok(Self { pid, pidfd, known })
    }

    /// Its process id in the host's PID namespace.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its pidfd.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.get_ref().as_fd()
    }

    /// Sends a signal by number.
    ///
    /// # Errors
    /// `ESRCH` when it was reaped already, `EINVAL` for an unknown number.
    pub fn signal(&self, number: i32) -> Result<(), Errno> {
        pidfd::send_signal(self.pidfd(), number)
    }

    /// Waits until it has ended and leaves it to be reaped.
    pub async fn dead(&self) {
        // An error means that nobody can ever tell: as good as gone.
        while let Ok(mut ready) = self.pidfd.readable().await {
            if fd::is_readable(self.pidfd()) {
                return;
            }
            ready.clear_ready();
        }
    }

    /// Waits until it has ended and reaps it.
    ///
    /// # Errors
    /// `ECHILD` when somebody else reaped it.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: reaping and returning happen in one step.
    pub async fn ended(&self) -> Result<pidfd::Ended, Errno> {
        loop {
            let mut ready = self.pidfd.readable().await.map_err(|e| fd::errno(&e))?;
            match pidfd::reap(self.pidfd())? {
                Some(ended) => {
                    self.known.reaped();
                    return Ok(ended);
                }
                None => ready.clear_ready(),
            }
        }
    }
}
