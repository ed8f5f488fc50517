//! Daemon → launcher, over a `SOCK_SEQPACKET` pair: one [`Request`] datagram with descriptors, one
//! [`Reply`] datagram with the new process's pidfd.
//!
//! The large part of a request (a `Plan`, an `ExecPlan`, a `HostJob`) travels in a memfd that only
//! the new process reads, so a datagram stays small whatever the container asks for.

use crate::{CgroupPaths, NamespaceKind, NumberSet, SetupError};
use serde::{Deserialize, Serialize};

/// What each descriptor that comes with a request is for. Order of the list = order of descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FdRole {
    /// memfd with the encoded `Plan`, `ExecPlan` or `HostJob`.
    Body,
    /// The new process's end of its sync socket.
    Sync,
    /// Standard input, output or error (0, 1, 2) of the new process; a logger also gets 3 to 5.
    Stdio(u8),
    /// pidfd of the container's init process, whose namespaces an exec joins.
    Init,
    /// The file (or the init process, by its pidfd) that a job is about, or the program of [`Payload::Compile`](crate::Payload::Compile)
    /// and [`Payload::Hold`](crate::Payload::Hold).
    File,
}

/// Which kind of process to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spawn {
    /// The first process of a container.
    Init {
        /// Namespaces to make in the clone3 call itself.
        new_namespaces: Vec<NamespaceKind>,
        /// PID namespace to be born in, by its file.
        pid_namespace: Option<String>,
        /// The cgroup to be born in (v2); the v1 part is joined by the process itself.
        cgroup: CgroupPaths,
        /// Name of the session keyring to make, if it gets one of its own.
        keyring: Option<String>,
        /// Whether a process in between makes or joins all namespaces instead, as the plan says
        /// (`Plan::needs_process_between`).
        between: bool,
    },
    /// A further process of a container.
    Exec {
        /// The cgroup to be born in (v2); the v1 part is joined by the process itself.
        cgroup: CgroupPaths,
        /// Name of the container's session keyring, if it has one of its own.
        keyring: Option<String>,
        /// Processors on which it is made, before it is in the cgroup.
        cpus: Option<NumberSet>,
    },
    /// A child that does a `HostJob` and ends.
    Job,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// What to make.
    pub spawn: Spawn,
    /// Meaning of the descriptors.
    pub fds: Vec<FdRole>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The process exists; its pidfd comes with the datagram. It is the daemon's child.
    Spawned {
        /// Process id in the launcher's (= the host's) PID namespace.
        pid: i32,
    },
    /// There is no process.
    Failed(SetupError),
}
