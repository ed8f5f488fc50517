//! What can go wrong, by blame, and the one place where it becomes a ttrpc status.
//!
//! Codes and texts are those that containerd, its tests and its clients look for; they follow the
//! runc shim (<https://github.com/containerd/containerd/tree/main/cmd/containerd-shim-runc-v2>).

use hull_abi::SetupError;
use std::error::Error as StdError;
use std::io;
use ttrpc::Code;

/// A failed operation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The request, config.json or command line is wrong. The text names what and why.
    #[error("{0}")]
    Invalid(String),
    /// No container of that id is here.
    #[error("container not created")]
    NoContainer,
    /// No exec process of that id is in the container.
    #[error("process does not exist {0}")]
    NoProcess(String),
    /// A signal for a process that is dead. Clients wait for exactly this answer.
    #[error("process already finished")]
    Finished,
    /// Something else is not there.
    #[error("{0}")]
    NotFound(String),
    /// The id is taken.
    #[error("{0}")]
    InUse(String),
    /// The process or container is in a state that does not allow the operation.
    #[error("{}", wrong_state(*op, have))]
    WrongState {
        /// The present state: `created`, `running`, `paused`, `stopped`.
        have: &'static str,
        /// What was asked for.
        op: Op,
    },
    /// Something else has to happen first.
    #[error("{0}")]
    FailedPrecondition(String),
    /// We do not offer this.
    #[error("{0}")]
    Unimplemented(String),
    /// Making a container or process failed at a step.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Something about a cgroup.
    #[error(transparent)]
    Cgroup(#[from] hull_cgroup::Error),
    /// The kernel refused something.
    #[error("{action}")]
    Host {
        /// What was tried, with its object: `bind "/run/containerd/s/…"`.
        action: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Running Wasm is not possible on this host, or something about a module's compiled form.
    #[error("wasm: {0}")]
    Wasm(String),
    /// It took too long.
    #[error("{0}")]
    Deadline(String),
    /// A process of ours is gone or cannot be reached.
    #[error("{0}")]
    Unavailable(String),
}

/// Operations that depend on the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// Start of an init or exec process.
    Start,
    /// Delete of an init or exec process.
    Delete,
    /// Registering an exec process.
    Exec,
    /// Pause.
    Pause,
    /// Resume.
    Resume,
    /// Change of the terminal's size.
    Resize,
    /// Change of limits.
    Update,
    /// Checkpoint.
    Checkpoint,
}

fn wrong_state(op: Op, have: &str) -> String {
    match op {
        Op::Start => format!("cannot start a {have} process"),
        Op::Delete => format!("cannot delete a {have} process"),
        Op::Exec => format!("cannot exec in a {have} state"),
        Op::Pause => format!("cannot pause a {have} container"),
        Op::Resume => format!("cannot resume a {have} container"),
        Op::Resize => format!("cannot resize a {have} container"),
        Op::Update => format!("cannot update a {have} container"),
        Op::Checkpoint => format!("cannot checkpoint a {have} container"),
    }
}

// === impl Error ===

impl Error {
    /// A refusal by the kernel of `action`, which names its object.
    pub(crate) fn host(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Host {
            action: action.into(),
            source: source.into(),
        }
    }

    /// The error and its causes as one line, for people.
    pub(crate) fn line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        // A path or a foreign text may hold a line break.
        line.replace(['\n', '\r'], " ")
    }

    /// The status code that containerd expects.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::INVALID_ARGUMENT,
            Self::NoContainer | Self::NoProcess(_) | Self::Finished | Self::NotFound(_) => {
                Code::NOT_FOUND
            }
            Self::InUse(_) => Code::ALREADY_EXISTS,
            Self::FailedPrecondition(_) => Code::FAILED_PRECONDITION,
            Self::Unimplemented(_) => Code::UNIMPLEMENTED,
            // Plain errors of the runc shim arrive as UNKNOWN, and so must ours: containerd takes
            // other codes of Create as news about the task itself.
            Self::WrongState { .. }
            | Self::Setup(_)
            | Self::Cgroup(_)
            | Self::Wasm(_)
            | Self::Host { .. } => Code::UNKNOWN,
            Self::Deadline(_) => Code::DEADLINE_EXCEEDED,
            Self::Unavailable(_) => Code::UNAVAILABLE,
        }
    }
}

impl From<Error> for ttrpc::Error {
    fn from(error: Error) -> Self {
        ttrpc::error::get_rpc_status(error.code(), error.line())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hull_abi::{Blame, Step};

    #[test]
    fn wrong_states_read_like_the_runc_shims() {
        for (have, op, text) in [
            ("running", Op::Start, "cannot start a running process"),
            ("running", Op::Delete, "cannot delete a running process"),
            ("stopped", Op::Exec, "cannot exec in a stopped state"),
            ("paused", Op::Pause, "cannot pause a paused container"),
            ("stopped", Op::Resize, "cannot resize a stopped container"),
            ("stopped", Op::Update, "cannot update a stopped container"),
        ] {
            let error = Error::WrongState { have, op };
            assert_eq!(error.to_string(), text);
            assert_eq!(error.code(), Code::UNKNOWN);
        }
    }

    #[test]
    fn causes_follow_once_and_on_one_line() {
        let error = Error::host("open \"a\nb\"", io::Error::from_raw_os_error(2));
        assert_eq!(error.to_string(), "open \"a\nb\"");
        assert_eq!(
            error.line(),
            "open \"a b\": No such file or directory (os error 2)"
        );
    }

    #[test]
    fn a_failed_step_keeps_its_line_and_is_unknown() {
        let step = SetupError {
            step: Step::Mounts,
            blame: Blame::Host,
            action: "mount \"proc\" on \"/proc\"".to_owned(),
            cause: "Operation not permitted".to_owned(),
            errno: 1,
        };
        let ttrpc::Error::RpcStatus(status) = ttrpc::Error::from(Error::Setup(step)) else {
            panic!("not a status")
        };
        assert_eq!(status.code(), Code::UNKNOWN);
        assert_eq!(
            status.message(),
            "mounts: mount \"proc\" on \"/proc\": Operation not permitted"
        );
    }

    #[test]
    fn absences_are_not_found() {
        for (error, text) in [
            (Error::NoContainer, "container not created"),
            (
                Error::NoProcess("e1".to_owned()),
                "process does not exist e1",
            ),
            (Error::Finished, "process already finished"),
        ] {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.code(), Code::NOT_FOUND);
        }
    }
}
