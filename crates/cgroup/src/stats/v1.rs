//! Statistics of the v1 controllers.

use super::parse::{counters, device, flat_value, number};
use super::v2::{self, Rdma};
use super::{Hugepages, Pids, page_sizes};
use crate::Error;
use crate::files::CgroupDir;
use crate::routes::{Routes, Version};

/// `io.containerd.cgroups.v1.Metrics`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct V1 {
    /// One entry for each page size.
    pub hugepages: Vec<Hugepages>,
    /// Tasks.
    pub pids: Option<Pids>,
    /// CPU time.
    pub cpu: Option<CpuV1>,
    /// Memory.
    pub memory: Option<MemoryV1>,
    /// Bytes moved to and from block devices, below the cgroup too.
    pub io_service_bytes_recursive: Vec<BlockIoEntry>,
    /// Operations on block devices, below the cgroup too.
    pub io_serviced_recursive: Vec<BlockIoEntry>,
    /// OOM state and counter.
    pub oom_control: Option<OomControl>,
    /// RDMA devices.
    pub rdma: Option<Rdma>,
}

/// CPU time in ns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuV1 {
    /// Total.
    pub total_ns: u64,
    /// In the kernel.
    pub kernel_ns: u64,
    /// In user space.
    pub user_ns: u64,
    /// On each CPU.
    pub per_cpu_ns: Vec<u64>,
    /// Periods in which there was something to run.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// Time spent waiting for quota.
    pub throttled_ns: u64,
}

/// Memory in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryV1 {
    /// `memory.stat`.
    pub stat: MemoryStatV1,
    /// Memory.
    pub usage: MemoryCounters,
    /// Memory and swap together, where counted.
    pub swap: Option<MemoryCounters>,
    /// Kernel memory, where counted.
    pub kernel: Option<MemoryCounters>,
    /// Kernel memory of TCP, where counted.
    pub kernel_tcp: Option<MemoryCounters>,
}

/// One of the controller's counters, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryCounters {
    /// Limit.
    pub limit: u64,
    /// Now.
    pub usage: u64,
    /// Highest so far.
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

counters! {
    /// `memory.stat` of v1: bytes, and events where the name says so.
    #[expect(missing_docs, reason = "the kernel's names, documented there")]
    pub struct MemoryStatV1 {
        cache: "cache",
        rss: "rss",
        rss_huge: "rss_huge",
        mapped_file: "mapped_file",
        dirty: "dirty",
        writeback: "writeback",
        pg_pg_in: "pgpgin",
        pg_pg_out: "pgpgout",
        pg_fault: "pgfault",
        pg_maj_fault: "pgmajfault",
        inactive_anon: "inactive_anon",
        active_anon: "active_anon",
        inactive_file: "inactive_file",
        active_file: "active_file",
        unevictable: "unevictable",
        hierarchical_memory_limit: "hierarchical_memory_limit",
        hierarchical_swap_limit: "hierarchical_memsw_limit",
        total_cache: "total_cache",
        total_rss: "total_rss",
        total_rss_huge: "total_rss_huge",
        total_mapped_file: "total_mapped_file",
        total_dirty: "total_dirty",
        total_writeback: "total_writeback",
        total_pg_pg_in: "total_pgpgin",
        total_pg_pg_out: "total_pgpgout",
        total_pg_fault: "total_pgfault",
        total_pg_maj_fault: "total_pgmajfault",
        total_inactive_anon: "total_inactive_anon",
        total_active_anon: "total_active_anon",
        total_inactive_file: "total_inactive_file",
        total_active_file: "total_active_file",
        total_unevictable: "total_unevictable",
    }
}

counters! {
    /// `memory.oom_control`.
    pub struct OomControl {
        /// 1 when the OOM killer is off.
        oom_kill_disable: "oom_kill_disable",
        /// 1 while processes wait for memory.
        under_oom: "under_oom",
        /// Processes killed so far.
        oom_kill: "oom_kill",
    }
}

/// A value for one block device and kind of operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockIoEntry {
    /// `Read`, `Write`, `Sync`, `Async`, `Discard` or `Total`.
    pub op: String,
    /// The device's usual path, e.g. `/dev/sda`; empty for one that the kernel does not name.
    pub device: String,
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// Bytes or operations.
    pub value: u64,
}

pub(super) fn read(routes: &Routes) -> Result<V1, Error> {
    let memory = routes.v1("memory");
    let mut stats = V1 {
        hugepages: hugepages(routes)?,
        pids: routes.find("pids").map(|(_, dir)| pids(dir)).transpose()?,
        cpu: cpu(routes)?,
        memory: memory.map(read_memory).transpose()?,
        rdma: routes
            .find("rdma")
            .map(|(_, dir)| v2::rdma(dir))
            .transpose()?,
        ..V1::default()
    };
    if let Some(dir) = routes.v1("blkio") {
        stats.io_service_bytes_recursive = block_io(dir, "io_service_bytes")?;
        stats.io_serviced_recursive = block_io(dir, "io_serviced")?;
    }
    if let Some(dir) = memory {
        stats.oom_control = dir
            .read_if_present("memory.oom_control")?
            .map(|content| OomControl::parse(&content));
    }
    Ok(stats)
}

fn pids(dir: &CgroupDir) -> Result<Pids, Error> {
    let limit = value(dir, "pids.max")?
        .filter(|limit| *limit != u64::MAX)
        .unwrap_or(0);
    Ok(Pids {
        current: value(dir, "pids.current")?.unwrap_or(0),
        limit,
    })
}

fn cpu(routes: &Routes) -> Result<Option<CpuV1>, Error> {
    let Some(dir) = routes.v1("cpuacct") else {
        return Ok(None);
    };
    let per_cpu = dir
        .read_if_present("cpuacct.usage_percpu")?
        .unwrap_or_default();
    let mut cpu = CpuV1 {
        total_ns: value(dir, "cpuacct.usage")?.unwrap_or(0),
        kernel_ns: value(dir, "cpuacct.usage_sys")?.unwrap_or(0),
        user_ns: value(dir, "cpuacct.usage_user")?.unwrap_or(0),
        per_cpu_ns: per_cpu
            .split_whitespace()
            .filter_map(|ns| ns.parse().ok())
            .collect(),
        ..CpuV1::default()
    };
    if let Some(dir) = routes.v1("cpu")
        && let Some(stat) = dir.read_if_present("cpu.stat")?
    {
        let of = |key| flat_value(&stat, key).unwrap_or(0);
        cpu.periods = of("nr_periods");
        cpu.throttled_periods = of("nr_throttled");
        cpu.throttled_ns = of("throttled_time");
    }
    Ok(Some(cpu))
}

fn read_memory(dir: &CgroupDir) -> Result<MemoryV1, Error> {
    Ok(MemoryV1 {
        stat: MemoryStatV1::parse(&dir.read("memory.stat")?),
        usage: counters_of(dir, "memory")?.unwrap_or_default(),
        swap: counters_of(dir, "memory.memsw")?,
        kernel: counters_of(dir, "memory.kmem")?,
        kernel_tcp: counters_of(dir, "memory.kmem.tcp")?,
    })
}

fn counters_of(dir: &CgroupDir, prefix: &str) -> Result<Option<MemoryCounters>, Error> {
    let of = |name: &str| value(dir, &format!("{prefix}.{name}"));
    let Some(usage) = of("usage_in_bytes")? else {
        return Ok(None);
    };
    Ok(Some(MemoryCounters {
        usage,
        limit: of("limit_in_bytes")?.unwrap_or(0),
        max: of("max_usage_in_bytes")?.unwrap_or(0),
        failcnt: of("failcnt")?.unwrap_or(0),
    }))
}

fn hugepages(routes: &Routes) -> Result<Vec<Hugepages>, Error> {
    let Some((version, dir)) = routes.find("hugetlb") else {
        return Ok(Vec::new());
    };
    if version == Version::V2 {
        return v2::hugepages(dir);
    }
    let mut all = Vec::new();
    for page_size in page_sizes() {
        let of = |name: &str| value(dir, &format!("hugetlb.{page_size}.{name}"));
        if let Some(usage_bytes) = of("usage_in_bytes")? {
            let max_bytes = of("max_usage_in_bytes")?.unwrap_or(0);
            let failures = of("failcnt")?.unwrap_or(0);
            all.push(Hugepages {
                page_size,
                usage_bytes,
                max_bytes,
                failures,
            });
        }
    }
    Ok(all)
}

fn block_io(dir: &CgroupDir, what: &str) -> Result<Vec<BlockIoEntry>, Error> {
    // Kernels before 4.16 do not sum up what lies below.
    let content = match dir.read_if_present(&format!("blkio.throttle.{what}_recursive"))? {
        Some(content) => Some(content),
        None => dir.read_if_present(&format!("blkio.throttle.{what}"))?,
    };
    let mut entries: Vec<BlockIoEntry> = content
        .unwrap_or_default()
        .lines()
        .filter_map(block_io_line)
        .collect();
    // The lines of a device follow each other.
    for device in entries.chunk_by_mut(|a, b| (a.major, a.minor) == (b.major, b.minor)) {
        let Some(first) = device.first() else {
            continue;
        };
        let path = device_path(first.major, first.minor);
        for entry in device {
            entry.device.clone_from(&path);
        }
    }
    Ok(entries)
}

/// What sysfs calls a block device.
fn device_path(major: u64, minor: u64) -> String {
    let link = std::fs::read_link(format!("/sys/dev/block/{major}:{minor}"));
    let name = link
        .as_deref()
        .ok()
        .and_then(|link| link.file_name()?.to_str());
    name.map(|name| format!("/dev/{name}")).unwrap_or_default()
}

/// `8:0 Read 4096`; the last line of a file, `Total 4096`, is of no device.
fn block_io_line(line: &str) -> Option<BlockIoEntry> {
    let mut fields = line.split(' ');
    let (major, minor) = device(fields.next()?)?;
    let op = fields.next()?.to_owned();
    Some(BlockIoEntry {
        op,
        device: String::new(),
        major,
        minor,
        value: fields.next()?.parse().ok()?,
    })
}

/// A file with one number; `None` where there is no such file.
pub(super) fn value(dir: &CgroupDir, name: &str) -> Result<Option<u64>, Error> {
    let Some(content) = dir.read_if_present(name)? else {
        return Ok(None);
    };
    match number(&content) {
        Some(value) => Ok(Some(value)),
        None => Err(Error::Content {
            path: dir.path_of(name),
            content: content.trim().to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_io_lines_of_devices_are_taken() {
        let entry = BlockIoEntry {
            op: "Read".into(),
            device: String::new(),
            major: 8,
            minor: 1,
            value: 4096,
        };
        assert_eq!(block_io_line("8:1 Read 4096"), Some(entry));
        assert_eq!(block_io_line("Total 4096"), None);
    }

    #[test]
    fn memory_stat_is_read_by_the_kernels_names() {
        let stat =
            MemoryStatV1::parse("pgpgin 5\ntotal_inactive_file 7\nhierarchical_memsw_limit 9\n");
        let expected = MemoryStatV1 {
            pg_pg_in: 5,
            total_inactive_file: 7,
            hierarchical_swap_limit: 9,
            ..MemoryStatV1::default()
        };
        assert_eq!(stat, expected);
    }
}
