//! What a container's cgroup is called and what it may use, lowered from `linux.resources`.
//!
//! Values keep the meaning of the OCI spec
//! (<https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#control-groups>);
//! conversion to the files of either cgroup version belongs to the cgroup crate.

use serde::{Deserialize, Serialize};

/// Where a container's cgroup lies in each mounted hierarchy. Absolute host paths.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CgroupPaths {
    /// Directory in the v2 tree, where one is mounted.
    pub unified: Option<String>,
    /// Directories in the v1 hierarchies, one for each.
    pub v1: Vec<V1Path>,
    /// The unit of systemd that the cgroup belongs to, if it is not ours to make.
    pub scope: Option<Scope>,
}

/// A scope unit of systemd
/// ([systemd.scope(5)](https://www.freedesktop.org/software/systemd/man/latest/systemd.scope.html)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Its name, e.g. `cri-containerd-ID.scope`.
    pub unit: String,
    /// The slice that it lies in, e.g. `kubepods-burstable.slice`.
    pub slice: String,
}

/// A directory in one cgroup v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct V1Path {
    /// The controllers of the hierarchy (`cpu`, `memory`, …), or `name=systemd`.
    pub controllers: Vec<String>,
    /// Absolute path of the container's directory.
    pub path: String,
    /// Absolute path of the hierarchy's mount point, a prefix of `path`.
    pub mount: String,
}

/// Everything that `linux.resources` can ask for and we can apply.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resources {
    /// CPU time and placement.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Largest number of tasks; `-1` means no limit, absent means untouched.
    pub pids: Option<i64>,
    /// Block devices.
    pub block_io: BlockIo,
    /// Huge pages, one entry for each page size.
    pub hugepages: Vec<HugepageLimit>,
    /// RDMA devices, one entry for each.
    pub rdma: Vec<RdmaLimit>,
    /// Class and priorities of network packets (v1 only).
    pub network: Network,
    /// Files of the v2 tree with their verbatim values, in the order of their names.
    pub unified: Vec<(String, String)>,
    /// Device rules in the order of the spec, the last match wins; `None` leaves the rules alone
    /// (an update), `Some` already includes the default rules.
    pub devices: Option<Vec<DeviceRule>>,
}

/// `linux.resources.cpu`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cpu {
    /// Relative weight as cgroup v1 counts it (1024 is the default); 0 leaves it.
    pub shares: Option<u64>,
    /// Time in each period in µs; negative means no limit, 0 leaves it.
    pub quota_us: Option<i64>,
    /// Length of a period in µs.
    pub period_us: Option<u64>,
    /// Extra time that may be saved up, in µs.
    pub burst_us: Option<u64>,
    /// 1 makes the cgroup run only when nothing else wants the CPU.
    pub idle: Option<i64>,
    /// Realtime budget in each realtime period in µs (v1 only).
    pub realtime_runtime_us: Option<i64>,
    /// Length of a realtime period in µs (v1 only).
    pub realtime_period_us: Option<u64>,
    /// CPUs in the list format, e.g. `0-2,7`.
    pub cpus: Option<String>,
    /// Memory nodes in the list format.
    pub mems: Option<String>,
}

/// `linux.resources.memory`. Bytes; `-1` means no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Hard limit; 0 leaves it.
    pub limit_bytes: Option<i64>,
    /// Soft limit.
    pub reservation_bytes: Option<i64>,
    /// Memory *and* swap together, as the spec counts.
    pub swap_bytes: Option<i64>,
    /// 0–100 (v1 only).
    pub swappiness: Option<u64>,
    /// Whether the OOM killer is off for this cgroup (v1 only; `false` is all that v2 has).
    pub disable_oom_killer: Option<bool>,
    /// Whether a limit below the present usage is refused instead of reclaiming or killing.
    pub check_before_update: bool,
}

/// `linux.resources.blockIO`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BlockIo {
    /// 10–1000.
    pub weight: Option<u16>,
    /// Weights of single devices.
    pub weight_devices: Vec<WeightDevice>,
    /// Throttles of single devices.
    pub throttles: Vec<ThrottleDevice>,
}

/// A weight of one block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightDevice {
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// 10–1000.
    pub weight: u16,
}

/// A throttle of one block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleDevice {
    /// What is throttled.
    pub kind: ThrottleKind,
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Bytes or operations each second.
    pub rate: u64,
}

/// What a block device throttle counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ThrottleKind {
    /// Bytes read each second.
    ReadBps,
    /// Bytes written each second.
    WriteBps,
    /// Reads each second.
    ReadIops,
    /// Writes each second.
    WriteIops,
}

/// A limit for one size of huge pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugepageLimit {
    /// `2MB`, `1GB`, … as in the controller's file names.
    pub page_size: String,
    /// Bytes.
    pub limit_bytes: u64,
}

/// A limit for one RDMA device; what is absent has none, and at least one is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RdmaLimit {
    /// The kernel's name of the device, e.g. `mlx5_1`.
    pub device: String,
    /// Handles of the host channel adapter.
    pub hca_handles: Option<u32>,
    /// Objects of the host channel adapter.
    pub hca_objects: Option<u32>,
}

/// `linux.resources.network` (v1 only).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Network {
    /// The class that packets are tagged with; `None` leaves it.
    pub class_id: Option<u32>,
    /// Priorities of packets on network interfaces of the host: name and priority.
    pub priorities: Vec<(String, u32)>,
}

/// The kind of device node that a rule speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// Any kind.
    All,
    /// Character devices.
    Char,
    /// Block devices.
    Block,
}

/// One rule of the device filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Whether the rule allows or denies.
    pub allow: bool,
    /// Which kind of node.
    pub kind: DeviceKind,
    /// Major number; `None` is any.
    pub major: Option<u32>,
    /// Minor number; `None` is any.
    pub minor: Option<u32>,
    /// Whether the rule covers reading.
    pub read: bool,
    /// Whether the rule covers writing.
    pub write: bool,
    /// Whether the rule covers mknod.
    pub mknod: bool,
}
