//! Daemon ↔ init (or exec process, or job), over one `SOCK_SEQPACKET` pair per process.
//!
//! ```text
//! init                                daemon
//!  │ ── Cloned (+ pidfd) ─────────────► │  of an exec, and of an init with a process in between
//!  │ ── Hooks ────────────────────────► │  only if the plan has hooks of the create phase or net devices
//!  │ ◄───────────────────── Proceed ─── │  after those have moved and the hooks have run
//!  │ ── Console (+ master fd) ────────► │  only with a terminal
//!  │ ── Limits ───────────────────────► │  only in a user namespace
//!  │ ◄─────────────────────── Limited ─ │  its resource limits are set
//!  │ ── Wasm (+ module) ──────────────► │  only if the program is a Wasm file
//!  │ ◄─ Runner (+ runner, config, artifact)
//!  │ ── BadArtifact ──────────────────► │  only if that is damaged; another Runner answers
//!  │ ── Ready ────────────────────────► │  everything that can fail has been done
//!  │ ◄─────────────────────── Start ─── │  the gate
//!  │ ── Execing ──────────────────────► │
//!  │ ── end of file ──────────────────► │  execve worked (the socket is close-on-exec)
//! ```
//! At any point `Failed` may come instead, then the end of the file. The end of the file without
//! `Execing` or `Failed` before it means that the process was killed. An exec process skips `Hooks`
//! and does not wait for `Start`: containerd's Exec only registers it. A job sends `Done` or
//! `Failed`; one that compiles may send `Claimed` before and wait for `Keep`, one that makes a unit of
//! systemd sends `Holding` and waits for `Leave`.
//!
//! After `Console` (and `Cloned`) a process on the way to a native program sends with plain write(2)
//! and receives with plain read(2): the container's seccomp filter may be in force and must only allow
//! those. `Wasm` and `Runner` carry descriptors and take sendmsg(2) and recvmsg(2).

use crate::{Moments, SetupError};
use serde::{Deserialize, Serialize};

/// From the new process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromInit {
    /// The process on the way to a container has cloned the one that goes on; its pidfd comes with
    /// this datagram.
    Cloned {
        /// Its process id on the host.
        pid: i32,
    },
    /// Namespaces, mounts and devices are made; move the network devices and run the hooks of the
    /// runtime namespace now.
    Hooks,
    /// The master side of the pseudo terminal comes with this datagram.
    Console,
    /// A process in a user namespace waits for its resource limits: raising them takes a right on
    /// the host.
    Limits,
    /// The program is a Wasm file, which comes with this datagram, open for reading.
    Wasm {
        /// Its path in the container.
        program: String,
        /// sha256 of its content.
        digest: [u8; 32],
        /// The user's home directory, where the environment names none.
        home: Option<String>,
    },
    /// The artifact of the last `Runner` is not what it should be.
    BadArtifact {
        /// What is wrong with it.
        flaw: String,
    },
    /// Waiting at the gate.
    Ready {
        /// How it got there.
        moments: Moments,
    },
    /// execve comes next.
    Execing,
    /// A job has the right to compile and waits for the artifact; the module comes with this datagram.
    Claimed,
    /// A job has made a unit of systemd and stays in it, since a unit without a process is removed; it
    /// waits for `Leave`.
    Holding {
        /// How it got there.
        moments: Moments,
    },
    /// A job is done; what it was to bring comes with this datagram.
    Done {
        /// How it got there.
        moments: Moments,
    },
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
    /// The resource limits are set.
    Limited,
    /// With this datagram come the runner's binary, its config and the compiled artifact.
    Runner {
        /// The key that the artifact must have been made for (`hull_artifact::Key`).
        key: [u8; 32],
    },
    /// With this datagram comes the artifact that a job waits for.
    Keep,
    /// The unit that a job holds has another process now.
    Leave,
    /// Go through the gate.
    Start {
        /// As in `Proceed`, for startContainer hooks.
        pid: i32,
    },
}
