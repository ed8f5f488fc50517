//! Daemon ↔ init (or exec process, or job), over one `SOCK_SEQPACKET` pair per process.
//!
//! ```text
//! init                                daemon
//!  │ ── Hooks ────────────────────────► │  only if the plan has prestart or createRuntime hooks
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
//! After `Console` the process sends with plain write(2) and receives with plain read(2): the
//! container's seccomp filter may be in force and must only allow those.

use crate::SetupError;
use serde::{Deserialize, Serialize};

/// From the new process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromInit {
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
    /// The hooks have run. Carries the container's state as JSON for createContainer hooks, if any.
    Proceed {
        /// State JSON.
        state: Option<String>,
    },
    /// Go through the gate. Carries the container's state for startContainer hooks, if any.
    Start {
        /// State JSON.
        state: Option<String>,
    },
}
