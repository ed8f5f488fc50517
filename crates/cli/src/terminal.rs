//! Our own terminal: raw while a container uses it, and its size.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::error::Error;

/// A terminal in raw mode; dropping it sets it back.
#[derive(Debug)]
pub(crate) struct RawTerminal {
    terminal: OwnedFd,
    before: Termios,
}

/// What the container's own terminal does, so that ours must not do it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Raw {
    /// Everything: its keys are for the container.
    Both,
    /// Line ends of output. Keys still send us signals.
    Output,
}

impl RawTerminal {
    /// Makes it raw.
    ///
    /// # Errors
    /// When it is no terminal.
    pub(crate) fn enter(terminal: OwnedFd, what: Raw) -> Result<Self, Error> {
        let failed = |errno: nix::Error| Error::new("set the terminal", errno.desc());
        let before = tcgetattr(&terminal).map_err(failed)?;
        let mut raw = before.clone();
        match what {
            Raw::Both => cfmakeraw(&mut raw),
            Raw::Output => raw.output_flags.remove(OutputFlags::OPOST),
        }
        tcsetattr(&terminal, SetArg::TCSANOW, &raw).map_err(failed)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that went away needs nothing. What was typed ahead stays for the shell.
        let _gone = tcsetattr(&self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}

/// The terminal that we were started on: that of standard input, else of an output.
pub(crate) fn ours() -> Option<OwnedFd> {
    let clone = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().ok();
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    if stdin.is_terminal() {
        clone(stdin.as_fd())
    } else if stdout.is_terminal() {
        clone(stdout.as_fd())
    } else if stderr.is_terminal() {
        clone(stderr.as_fd())
    } else {
        None
    }
}

/// Its columns and rows, where it was told them.
pub(crate) fn size(terminal: &OwnedFd) -> Option<(u16, u16)> {
    hull_sys::pty::size(terminal)
        .ok()
        .filter(|size| *size != (0, 0))
}

/// Whether a terminal that we had is gone: its window was closed, or its connection lost.
pub(crate) fn is_gone(terminal: &OwnedFd) -> bool {
    tcgetattr(terminal).is_err()
}
