//! Daemon ↔ init (or exec process, or job), over one `SOCK_SEQPACKET` pair per process.
//!
//! ```text
//! init                                daemon
//!  │ ── Cloned (+ pidfd) ─────────────► │  only of an exec, see `launcher::spawn`
//!  │ ── Hooks ────────────────────────► │  only if the plan has hooks of the create phase
//!  │ ◄───────────────────── Proceed ─── │  after they have run
//!  │ ── Console (+ master fd) ────────► │  only with a terminal
//!  │ ── Ready ────────────────────────► │  everything that can fail has been done
//!  │ ◄─────────────────────── Start ─── │  the gate
//!  │ ── Execing ──────────────────────► │
//!  │ ── end of file ──────────────────► │  execve worked (the socket is close-on-exec)
//! ```
//! At any point `Failed` may come instead, then the end of the file. The end of the file without
//! `Execing` or `Failed` before it means that the process was killed. An exec process skips `Hooks`
//! and does not wait for `Start`: containerd's Exec only registers it. A job sends `Done` or
//! `Failed`.
//!
//! After `Console` (and `Cloned`) the process sends with plain write(2) and receives with plain read(2): the
//! container's seccomp filter may be in force and must only allow those.

use crate::SetupError;
use serde::{Deserialize, Serialize};

/// From the new process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromInit {
    /// The process on the way to a container has cloned the one that goes on; its pidfd comes with
    /// this datagram. Only for an exec.
    Cloned {
        /// Its process id on the host.
        pid: i32,
    },
    /// Namespaces, mounts and devices are made; run the hooks of the runtime namespace now.
    Hooks,
    /// The master side of the pseudo terminal comes with this datagram.
    Console,
    /// Waiting at the gate.
    Ready,
    /// execve comes next.
    Execing,
    /// A job is done.
    Done,
    /// This step failed; the process ends.
    Failed(SetupError),
}

/// To the new process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToInit {
    /// The hooks of the runtime namespace have run.
    Proceed {
        /// The init process as the host sees it, for the state that createContainer hooks get.
        pid: i32,
    },
    /// Go through the gate.
    Start {
        /// As in `Proceed`, for startContainer hooks.
        pid: i32,
    },
}
