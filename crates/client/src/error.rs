//! Errors of this crate: what a shim answered, and what went wrong before it could answer.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use ttrpc::Code;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why there is no shim, bundle or FIFO to talk to.
#[derive(Debug, Error)]
pub enum Error {
    /// A system call on a path failed.
    #[error("{step} {}", path.display())]
    Path {
        /// What was tried, as a verb: "make directory", "open FIFO".
        step: &'static str,
        /// The path it was tried on.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The shim binary ended with a failure or printed what containerd would not accept.
    #[error("shim {action}: {text}")]
    Shim {
        /// `start`, `delete` or `-info`.
        action: &'static str,
        /// What it printed on stdout and stderr, trimmed.
        text: String,
    },
    /// The shim binary did not end, or a child of it kept its output open.
    #[error("shim {action} did not close its output within {limit:?}")]
    ShimTimeout {
        /// `start`, `delete` or `-info`.
        action: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The runtime name has no form that containerd accepts.
    #[error("runtime name {0:?} has not the form a.b.NAME.VERSION")]
    RuntimeName(String),
    /// The RPC failed.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

impl Error {
    pub(crate) fn path(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Path {
            step,
            path: path.to_owned(),
            source,
        }
    }
}

/// Why an RPC gave no reply.
#[derive(Debug, Error)]
pub enum RpcError {
    /// The shim answered with a status that is not OK.
    #[error("{message} ({code:?})")]
    Status {
        /// The gRPC code of the answer.
        code: Code,
        /// The text that the user of containerd would see.
        message: String,
    },
    /// The connection is closed: the shim ended.
    #[error("connection closed")]
    Closed,
    /// No answer came in time.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// The socket cannot be reached, or the bytes are no ttrpc.
    #[error("{0}")]
    Transport(String),
}

impl RpcError {
    /// The code of the shim's answer, or nothing where there was none.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Status { code, .. } => Some(*code),
            Self::Closed | Self::Deadline(_) | Self::Transport(_) => None,
        }
    }

    /// The text of the shim's answer, or nothing where there was none.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Status { message, .. } => message,
            Self::Closed | Self::Deadline(_) | Self::Transport(_) => "",
        }
    }
}

impl From<ttrpc::Error> for RpcError {
    fn from(error: ttrpc::Error) -> Self {
        match error {
            ttrpc::Error::RpcStatus(status) => Self::Status {
                code: status.code(),
                message: status.message().to_owned(),
            },
            ttrpc::Error::Socket(_)
            | ttrpc::Error::LocalClosed
            | ttrpc::Error::RemoteClosed
            | ttrpc::Error::Eof => Self::Closed,
            // Every later request of a client whose connection ended.
            ttrpc::Error::Others(text) if text.contains("channel closed") => Self::Closed,
            ttrpc::Error::Nix(errno) => Self::Transport(errno.to_string()),
            ttrpc::Error::Others(text) => Self::Transport(text),
        }
    }
}
