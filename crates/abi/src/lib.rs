//! Plain data that crosses a process boundary: daemon ↔ launcher ↔ init.
//!
//! Nothing here performs I/O and nothing here knows the OCI spec or protobuf. Every type can be
//! encoded with [`encode`] and decoded with [`decode`]; decoding is total and never panics on
//! hostile bytes.
#![forbid(unsafe_code)]

mod attributes;
mod cgroup;
mod ids;
mod job;
mod mount;
mod namespaces;
mod network;
mod plan;
mod request;
mod step;
mod sync;
mod trace;
mod wasm;

pub use attributes::{
    Attributes, ExecAffinity, IoPriority, MemoryPolicy, NumberSet, Personality, Scheduler,
};
pub use cgroup::{
    BlockIo, CgroupPaths, Cpu, DeviceKind, DeviceRule, HugepageLimit, Memory, Network, RdmaLimit,
    Resources, Scope, ThrottleDevice, ThrottleKind, V1Path, WeightDevice,
};
pub use ids::{ContainerId, ExecId, InvalidId};
pub use job::{CgroupSetup, Hook, HostJob, HostMount, LoggerProgram, Noted, PodFiles, WasmJob};
pub use mount::{Mount, MountFlags, MountIdMap, MountSource, Propagation};
pub use namespaces::{Clock, IdMaps, IdRange, TimeOffset, host_id, map_text, parse_map};
pub use network::NetDevice;
pub use plan::{
    CapabilitySets, ConsoleSize, Device, ExecPlan, HookState, Hooks, NamespaceKind, NamespacePlan,
    Plan, Process, Rlimit, Root, Seccomp, SeccompListener, SockFilter, Sysctl, User,
};
pub use request::{FdRole, Reply, Request, Spawn};
pub use step::{Blame, SetupError, Step};
pub use sync::{FromInit, ToInit, WasmRequest};
pub use trace::{Mark, Moments, TRACE_ANNOTATION, TRACE_FILE, Trace, Who};
pub use wasm::{
    ContentSource, Entry, HttpSettings, ImageModule, MAX_CONCURRENCY, NameFiles, Net, NetRule,
    NoConfig, Payload, Peer, Preopen, Proposal, RUNNER_FDS, RunnerConfig, WasmSettings, World,
};

use serde::{Serialize, de::DeserializeOwned};

/// Bytes that are not an encoding of the expected type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0} message")]
pub struct Malformed(pub &'static str);

/// Encodes a value in the compact form that all of our processes speak.
///
/// # Errors
/// Only when a `Serialize` implementation fails, which none of this crate's does.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Malformed> {
    postcard::to_allocvec(value).map_err(|_| Malformed(std::any::type_name::<T>()))
}

/// As [`encode`], into `buffer` and without allocating: the memory of a process whose seccomp filter
/// asks somebody about mmap(2) must not grow before that one listens.
///
/// # Errors
/// When the buffer is too small.
pub fn encode_into<'b, T: Serialize>(
    value: &T,
    buffer: &'b mut [u8],
) -> Result<&'b [u8], Malformed> {
    postcard::to_slice(value, buffer)
        .map(|bytes| &*bytes)
        .map_err(|_| Malformed(std::any::type_name::<T>()))
}

/// Decodes what [`encode`] made.
///
/// # Errors
/// [`Malformed`] for any other bytes; trailing bytes count as malformed.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    match decode_first(bytes)? {
        (value, []) => Ok(value),
        _ => Err(Malformed(std::any::type_name::<T>())),
    }
}

/// As [`decode`], with whatever follows.
fn decode_first<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), Malformed> {
    postcard::take_from_bytes(bytes).map_err(|_| Malformed(std::any::type_name::<T>()))
}
