//! Cgroups of a container on unified, hybrid and pure v1 hosts, without a daemon in between.
//!
//! Each controller sits in exactly one hierarchy; [`Layout`] finds out which on this host and
//! [`Layout::resolve`] turns a `cgroupsPath` into one directory in every hierarchy. Everything else
//! takes those [`CgroupPaths`](hull_abi::CgroupPaths), routes each limit to where its controller
//! lives and prefers the unified tree for freezing, killing and counting processes.
//!
//! The conversion of limits to files is pure (`convert`), and so are the device filters
//! (`devices`); the rest blocks on the kernel, or on systemd where that makes the cgroup (`systemd`),
//! and belongs in a process that may wait. Not here: joining the unified cgroup (a process is born in it).
#![forbid(unsafe_code)]

mod absence;
mod announced;
mod convert;
mod create;
mod delegate;
mod devices;
mod error;
mod files;
mod freezer;
mod kill;
mod layout;
mod oom;
mod processes;
mod remove;
mod resolve;
mod routes;
mod stats;
mod systemd;
mod update;

pub use create::create;
pub use error::{Absence, Error};
pub use freezer::{freeze, thaw};
pub use kill::{kill, kill_within};
pub use layout::Layout;
pub use oom::{OomFiles, OomWatch};
pub use processes::{is_populated, join_self, pids};
pub use remove::{remove, remove_within};
pub use stats::{
    BlockIoEntry, CpuV1, CpuV2, Hugepages, IoEntry, IoV2, MemoryCounters, MemoryEvents,
    MemoryStatV1, MemoryStatV2, MemoryV1, MemoryV2, OomControl, Pids, Pressure, PressureLine, Rdma,
    RdmaEntry, Stats, V1, V2, stats,
};
pub use systemd::{Placeholder, create_scope};
pub use update::update;
