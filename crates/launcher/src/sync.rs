//! The new process's end of its sync socket (protocol: `hull_abi::FromInit`).

use crate::failure::{At, because};
use hull_abi::{Blame, FromInit, SetupError, Step, ToInit};
use hull_sys::{fd, socket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Longest text of a reported failure, in characters.
const MAX_TEXT: usize = 1024;

/// The only way in which a new process speaks to the daemon.
#[derive(Debug)]
pub(crate) struct Sync(OwnedFd);

impl Sync {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The socket, to wait for its end.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Sends a message with plain write(2), which every usable seccomp filter allows.
    pub(crate) fn send(&self, step: Step, message: &FromInit) -> Result<(), SetupError> {
        let bytes = encoded(step, message)?;
        socket::write_datagram(&self.0, &bytes).at(step, || "tell the shim".to_owned())
    }

    /// Sends a message with descriptors. That takes sendmsg(2), which a seccomp filter that is loaded already
    /// may forbid.
    pub(crate) fn send_fds(
        &self,
        step: Step,
        message: &FromInit,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), SetupError> {
        let bytes = encoded(step, message)?;
        socket::send(self.0.as_fd(), &bytes, fds).at(step, || "tell the shim (sendmsg)".to_owned())
    }

    /// Tells of a filter's listener, and waits until an agent has it. Up to the write(2) nothing is
    /// allocated: the filter may ask about mmap(2), and nobody would answer.
    pub(crate) fn hand_over(&self, listener: &OwnedFd) -> Result<(), SetupError> {
        let step = Step::Seccomp;
        let message = FromInit::Notify {
            listener: listener.as_raw_fd(),
        };
        let mut buffer = [0; 16];
        let bytes = hull_abi::encode_into(&message, &mut buffer)
            .map_err(|e| malformed(step, &e.to_string()))?;
        socket::write_datagram(&self.0, bytes).at(step, || "tell the shim".to_owned())?;
        match self.receive(step)? {
            ToInit::Notified => Ok(()),
            ToInit::Proceed { .. }
            | ToInit::Runner { .. }
            | ToInit::Digest
            | ToInit::Keep
            | ToInit::Leave
            | ToInit::Limited
            | ToInit::Start { .. } => {
                let action = "wait for the shim".to_owned();
                Err(because(step, Blame::Hull, action, "a message out of order"))
            }
        }
    }

    /// As [`Sync::receive`], for a message with descriptors; `None` when the daemon is gone. That takes
    /// recvmsg(2).
    pub(crate) fn receive_fds(
        &self,
        step: Step,
    ) -> Result<Option<(ToInit, Vec<OwnedFd>)>, SetupError> {
        let (bytes, fds) =
            socket::receive(&self.0).at(step, || "wait for the shim (recvmsg)".to_owned())?;
        if bytes.is_empty() {
            return Ok(None);
        }
        Ok(Some((decoded(step, &bytes)?, fds)))
    }

    /// Waits for a message with plain read(2). The end means that the daemon gave us up: there is
    /// nobody left to tell, so the process just ends.
    pub(crate) fn receive(&self, step: Step) -> Result<ToInit, SetupError> {
        let bytes = socket::read_datagram(&self.0).at(step, || "wait for the shim".to_owned())?;
        if bytes.is_empty() {
            hull_sys::process::exit_now(1);
        }
        decoded(step, &bytes)
    }

    /// Has this process end with the daemon, whenever that is: what it would go on doing, nobody would undo.
    /// The daemon's end is closed before its children are told of its death: either that is seen here, or
    /// the signal comes.
    pub(crate) fn follow_daemon(&self) {
        let follows = hull_sys::process::die_with_parent(true);
        if follows.is_err() || self.is_abandoned() {
            hull_sys::process::exit_now(1);
        }
    }

    /// Whether the daemon has closed its end.
    pub(crate) fn is_abandoned(&self) -> bool {
        fd::is_hung_up(&self.0)
    }

    /// Reports a failure, as far as that is possible.
    pub(crate) fn fail(&self, mut error: SetupError) {
        // A path or a value from the config may be longer than a datagram.
        for text in [&mut error.action, &mut error.cause] {
            if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
                text.truncate(end);
                text.push('…');
            }
        }
        if let Ok(bytes) = hull_abi::encode(&FromInit::Failed(error)) {
            // Without the daemon there is nobody to tell.
            socket::write_datagram(&self.0, &bytes).ok();
        }
    }
}

fn decoded(step: Step, bytes: &[u8]) -> Result<ToInit, SetupError> {
    hull_abi::decode(bytes).map_err(|e| {
        let action = "read a message".to_owned();
        because(step, Blame::Hull, action, &e.to_string())
    })
}

fn encoded(step: Step, message: &FromInit) -> Result<Vec<u8>, SetupError> {
    hull_abi::encode(message).map_err(|e| malformed(step, &e.to_string()))
}

fn malformed(step: Step, cause: &str) -> SetupError {
    because(step, Blame::Hull, "make a message".to_owned(), cause)
}
