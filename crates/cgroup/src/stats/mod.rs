//! What a cgroup uses, in the terms of containerd's metrics
//! (`io.containerd.cgroups.v1.Metrics`, `io.containerd.cgroups.v2.Metrics`): each struct here has
//! the fields of its message. Not filled: networks, which belong to a
//! namespace and not to a cgroup, v1's task states, and v1's counters of the CFQ scheduler (gone since
//! Linux 5.0); containerd's own consumers read none of them from a shim. No field in either message
//! has what `misc.current` counts.

mod parse;
mod v1;
mod v2;

use crate::Error;
use crate::routes::Routes;
use hull_abi::CgroupPaths;

pub(crate) use parse::flat_value;
pub use v1::{BlockIoEntry, CpuV1, MemoryCounters, MemoryStatV1, MemoryV1, OomControl, V1};
pub use v2::{
    CpuV2, IoEntry, IoV2, MemoryEvents, MemoryStatV2, MemoryV2, Pressure, PressureLine, Rdma,
    RdmaEntry, V2,
};

/// The usage of a cgroup, in the form that fits the host.
#[derive(Debug, Clone, PartialEq)]
pub enum Stats {
    /// For hosts with v1 controllers; what lives in the unified tree there is filled in from it.
    V1(Box<V1>),
    /// For unified hosts.
    V2(Box<V2>),
}

/// Number of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pids {
    /// Tasks now.
    pub current: u64,
    /// Largest number; `u64::MAX` in v2 and 0 in v1 mean no limit, as containerd has them.
    pub limit: u64,
}

/// Use of one size of huge pages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hugepages {
    /// `2MB`, `1GB`, …
    pub page_size: String,
    /// Bytes now.
    pub usage_bytes: u64,
    /// v1: the highest usage so far. v2: the limit (`u64::MAX` is none). As containerd has them.
    pub max_bytes: u64,
    /// How often the limit was hit.
    pub failures: u64,
}

/// Reads the usage. Controllers that are not there leave their part empty.
///
/// # Errors
/// [`Error::Io`] when the cgroup does not exist or a file cannot be read.
pub fn stats(paths: &CgroupPaths) -> Result<Stats, Error> {
    let routes = Routes::open(paths)?;
    if routes.is_unified() {
        v2::read(&routes).map(|stats| Stats::V2(Box::new(stats)))
    } else {
        v1::read(&routes).map(|stats| Stats::V1(Box::new(stats)))
    }
}

/// The page sizes of this host as the controller's files name them.
fn page_sizes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else {
        return Vec::new();
    };
    let mut sizes: Vec<u64> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            name.to_str()?
                .strip_prefix("hugepages-")?
                .strip_suffix("kB")?
                .parse()
                .ok()
        })
        .collect();
    sizes.sort_unstable();
    sizes.into_iter().map(parse::page_size).collect()
}
