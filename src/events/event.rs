//! What can happen to a task, and how containerd wants to hear of it: topics, message names and
//! fields of <https://github.com/containerd/containerd/blob/main/api/events/task.proto>.

use containerd_shim_protos::api::Mount;
use containerd_shim_protos::events::task as message;
use protobuf::well_known_types::any::Any;
use protobuf::well_known_types::timestamp::Timestamp;
use protobuf::{Message, MessageField, Result};
use std::time::{SystemTime, UNIX_EPOCH};

/// Something that happened to a task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// Create succeeded.
    Create {
        /// Container.
        id: String,
        /// Its bundle.
        bundle: String,
        /// Mounts of its root file system, as containerd gave them.
        rootfs: Vec<Mount>,
        /// Its streams.
        io: Io,
        /// Directory it was restored from, or empty.
        checkpoint: String,
        /// Init process.
        pid: u32,
    },
    /// The init process runs.
    Start {
        /// Container.
        id: String,
        /// Init process.
        pid: u32,
    },
    /// An exec process was registered.
    ExecAdded {
        /// Container.
        id: String,
        /// Exec.
        exec_id: String,
    },
    /// An exec process runs.
    ExecStarted {
        /// Container.
        id: String,
        /// Exec.
        exec_id: String,
        /// Its process.
        pid: u32,
    },
    /// A process ended.
    Exit {
        /// Container.
        id: String,
        /// The exec's id, or the container's for its init process.
        process: String,
        /// The process.
        pid: u32,
        /// Exit code, or 128 + signal.
        status: u32,
        /// When.
        exited_at: SystemTime,
    },
    /// The kernel killed a process of the container for want of memory.
    Oom {
        /// Container.
        id: String,
    },
    /// The container is frozen.
    Paused {
        /// Container.
        id: String,
    },
    /// The container goes on.
    Resumed {
        /// Container.
        id: String,
    },
    /// The init process was deleted.
    Delete {
        /// Container.
        id: String,
        /// The process.
        pid: u32,
        /// Exit code, or 128 + signal.
        status: u32,
        /// When.
        exited_at: SystemTime,
    },
}

/// The streams of a process as containerd named them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Io {
    /// Standard input.
    pub(crate) stdin: String,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
    /// Whether it is a terminal.
    pub(crate) terminal: bool,
}

/// A point in time as protobuf has it.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos().cast_signed(),
        ..Timestamp::default()
    }
}

// === impl Event ===

impl Event {
    /// The topic and the packed message.
    pub(super) fn pack(self) -> Result<(&'static str, Any)> {
        match self {
            Self::Create {
                id,
                bundle,
                rootfs,
                io,
                checkpoint,
                pid,
            } => {
                let event = message::TaskCreate {
                    container_id: id,
                    bundle,
                    rootfs,
                    io: MessageField::some(io.into()),
                    checkpoint,
                    pid,
                    ..Default::default()
                };
                packed("/tasks/create", "containerd.events.TaskCreate", &event)
            }
            Self::Start { id, pid } => {
                let event = message::TaskStart {
                    container_id: id,
                    pid,
                    ..Default::default()
                };
                packed("/tasks/start", "containerd.events.TaskStart", &event)
            }
            Self::ExecAdded { id, exec_id } => exec_added(id, exec_id),
            Self::ExecStarted { id, exec_id, pid } => exec_started(id, exec_id, pid),
            Self::Exit {
                id,
                process,
                pid,
                status,
                exited_at,
            } => exit(
                id,
                process,
                &End {
                    pid,
                    status,
                    exited_at,
                },
            ),
            Self::Oom { id } => {
                let event = message::TaskOOM {
                    container_id: id,
                    ..Default::default()
                };
                packed("/tasks/oom", "containerd.events.TaskOOM", &event)
            }
            Self::Paused { id } => {
                let event = message::TaskPaused {
                    container_id: id,
                    ..Default::default()
                };
                packed("/tasks/paused", "containerd.events.TaskPaused", &event)
            }
            Self::Resumed { id } => {
                let event = message::TaskResumed {
                    container_id: id,
                    ..Default::default()
                };
                packed("/tasks/resumed", "containerd.events.TaskResumed", &event)
            }
            Self::Delete {
                id,
                pid,
                status,
                exited_at,
            } => delete(
                id,
                &End {
                    pid,
                    status,
                    exited_at,
                },
            ),
        }
    }
}

fn exec_added(container_id: String, exec_id: String) -> Result<(&'static str, Any)> {
    let event = message::TaskExecAdded {
        container_id,
        exec_id,
        ..Default::default()
    };
    packed(
        "/tasks/exec-added",
        "containerd.events.TaskExecAdded",
        &event,
    )
}

fn exec_started(container_id: String, exec_id: String, pid: u32) -> Result<(&'static str, Any)> {
    let event = message::TaskExecStarted {
        container_id,
        exec_id,
        pid,
        ..Default::default()
    };
    packed(
        "/tasks/exec-started",
        "containerd.events.TaskExecStarted",
        &event,
    )
}

/// What is common to the events about a process that ended.
struct End {
    pid: u32,
    status: u32,
    exited_at: SystemTime,
}

fn exit(container_id: String, id: String, end: &End) -> Result<(&'static str, Any)> {
    let event = message::TaskExit {
        container_id,
        id,
        pid: end.pid,
        exit_status: end.status,
        exited_at: MessageField::some(timestamp(end.exited_at)),
        ..Default::default()
    };
    packed("/tasks/exit", "containerd.events.TaskExit", &event)
}

fn delete(container_id: String, end: &End) -> Result<(&'static str, Any)> {
    let event = message::TaskDelete {
        container_id,
        pid: end.pid,
        exit_status: end.status,
        exited_at: MessageField::some(timestamp(end.exited_at)),
        ..Default::default()
    };
    packed("/tasks/delete", "containerd.events.TaskDelete", &event)
}

fn packed(topic: &'static str, name: &str, event: &impl Message) -> Result<(&'static str, Any)> {
    Ok((topic, hull_proto::pack(name, event)?))
}

// === impl Io ===

impl From<Io> for message::TaskIO {
    fn from(io: Io) -> Self {
        Self {
            stdin: io.stdin,
            stdout: io.stdout,
            stderr: io.stderr,
            terminal: io.terminal,
            ..Self::default()
        }
    }
}
