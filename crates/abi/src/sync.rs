//! Daemon ↔ init (or exec process, or job), over one `SOCK_SEQPACKET` pair per process.
//!
//! ```text
//! init                                daemon
//!  │ ── Cloned (+ pidfd) ─────────────► │  of an exec, and of an init with a process in between
//!  │ ── Hooks ────────────────────────► │  only if the plan has hooks of the create phase or net devices
//!  │ ◄───────────────────── Proceed ─── │  after those have moved and the hooks have run
//!  │ ── Console (+ master fd) ────────► │  only with a terminal
//!  │ ── Limits ───────────────────────► │  only if it has resource limits
//!  │ ◄─────────────────────── Limited ─ │  its resource limits are set
//!  │ ── Wasm (+ module) ──────────────► │  only if the program is a Wasm file
//!  │ ── Module (+ module) ────────────► │  before that, if it is large
//!  │ ◄──────────────────────── Digest ─ │  unless it is known; else Runner
//!  │ ── Absent ───────────────────────► │  instead, if there is no such program: the image may be a module
//!  │ ◄─ Runner (+ runner, config, artifact)
//!  │ ── BadArtifact ──────────────────► │  only if that is damaged; another Runner answers
//!  │ ── Notify ───────────────────────► │  only if its filter asks an agent, who has the listener
//!  │ ◄──────────────────── Notified ─── │  now
//!  │ ── Ready ────────────────────────► │  everything that can fail has been done
//!  │ ◄─────────────────────── Start ─── │  the gate
//!  │ ── Execing ──────────────────────► │
//!  │ ── end of file ──────────────────► │  execve worked (the socket is close-on-exec)
//! ```
//! At any point `Failed` may come instead, then the end of the file. The end of the file without
//! `Execing` or `Failed` before it means that the process was killed. An exec process skips `Hooks`
//! and does not wait for `Start`: containerd's Exec only registers it. A job sends `Done` or
//! `Failed`; one that compiles may send `Claimed` before and wait for `Keep`, one that makes a unit of
//! systemd sends `Holding` and waits for `Leave`, one that becomes a logger sends `Execing`.
//!
//! After `Console` (and `Cloned`) a process on the way to a native program sends with plain write(2)
//! and receives with plain read(2): the container's seccomp filter may be in force and must only allow
//! those; of a filter that asks an agent, write(2) must be decided without asking. `Wasm` and `Runner` carry descriptors and take sendmsg(2) and recvmsg(2).

use crate::{Moments, SetupError};
use serde::{Deserialize, Serialize};

/// What a process asks for that is to run Wasm; `ToInit::Runner` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WasmRequest {
    /// The program is a Wasm file, which comes with this datagram, open for reading.
    Digested {
        /// Its path in the container.
        program: String,
        /// The exported function that is asked for, as in `module.wasm#function`.
        function: Option<String>,
        /// sha256 of its content.
        digest: [u8; 32],
        /// The user's home directory, where the environment names none.
        home: Option<String>,
    },
    /// The same of a large file, whose digest may be known already. Either `Runner` answers or `Digest`.
    Module {
        /// Its path in the container.
        program: String,
        /// The exported function that is asked for.
        function: Option<String>,
        /// The user's home directory, where the environment names none.
        home: Option<String>,
    },
    /// There is no such program in the root. The image may be a Wasm module instead of a root file system.
    Absent {
        /// What is said where it is not.
        error: SetupError,
        /// The user's home directory, where the environment names none.
        home: Option<String>,
    },
    /// The artifact of the last `Runner` is not what it should be.
    BadArtifact {
        /// What is wrong with it.
        flaw: String,
    },
}

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
    /// A process waits for its resource limits: raising them takes a right on the host, which a process in
    /// a user namespace has not.
    Limits,
    /// What running Wasm takes.
    Wasm(WasmRequest),
    /// The filter is loaded and somebody has to listen to it.
    Notify {
        /// The listener's descriptor in this process.
        listener: i32,
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
    /// waits for `Leave`. What the job was to bring comes with this datagram.
    Holding {
        /// How it got there.
        moments: Moments,
        /// What did not work and can be done without; one line each, for the log.
        warnings: Vec<String>,
    },
    /// A job is done; what it was to bring comes with this datagram.
    Done {
        /// How it got there.
        moments: Moments,
        /// What did not work and can be done without; one line each, for the log. Only `Prepare` has any.
        warnings: Vec<String>,
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
        /// It has been read through since it was last changed, and is good.
        checked: bool,
    },
    /// Digest the module and send `Wasm`.
    Digest,
    /// Somebody listens to the filter.
    Notified,
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
