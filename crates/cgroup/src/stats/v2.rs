//! Statistics of a v2 cgroup.

use super::parse::{counters, device, keyed};
use super::v1::value;
use super::{Hugepages, Pids, page_sizes};
use crate::Error;
use crate::files::CgroupDir;
use crate::routes::Routes;

/// `io.containerd.cgroups.v2.Metrics`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct V2 {
    /// Tasks.
    pub pids: Option<Pids>,
    /// CPU time; there even without the controller.
    pub cpu: CpuV2,
    /// CPU pressure.
    pub cpu_pressure: Option<Pressure>,
    /// Memory.
    pub memory: Option<MemoryV2>,
    /// Memory events of the cgroup and below.
    pub memory_events: Option<MemoryEvents>,
    /// Block devices.
    pub io: Option<IoV2>,
    /// One entry for each page size.
    pub hugepages: Vec<Hugepages>,
    /// RDMA devices.
    pub rdma: Option<Rdma>,
}

counters! {
    /// `cpu.stat`, times in µs.
    #[expect(missing_docs, reason = "the kernel's names, documented there")]
    pub struct CpuV2 {
        usage_usec: "usage_usec",
        user_usec: "user_usec",
        system_usec: "system_usec",
        nr_periods: "nr_periods",
        nr_throttled: "nr_throttled",
        throttled_usec: "throttled_usec",
        nr_bursts: "nr_bursts",
        burst_usec: "burst_usec",
    }
}

/// Memory in bytes; limits of `u64::MAX` are none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemoryV2 {
    /// `memory.stat`.
    pub stat: MemoryStatV2,
    /// Now.
    pub usage: u64,
    /// Limit.
    pub usage_limit: u64,
    /// Highest so far (Linux 5.19).
    pub max_usage: u64,
    /// Swap now.
    pub swap_usage: u64,
    /// Limit of swap.
    pub swap_limit: u64,
    /// Highest swap so far (Linux 6.5).
    pub swap_max_usage: u64,
    /// Memory pressure.
    pub pressure: Option<Pressure>,
}

counters! {
    /// `memory.stat` of v2: bytes, and events where the name says so.
    #[expect(missing_docs, reason = "the kernel's names, documented there")]
    pub struct MemoryStatV2 {
        anon: "anon",
        file: "file",
        kernel_stack: "kernel_stack",
        slab: "slab",
        sock: "sock",
        shmem: "shmem",
        file_mapped: "file_mapped",
        file_dirty: "file_dirty",
        file_writeback: "file_writeback",
        anon_thp: "anon_thp",
        inactive_anon: "inactive_anon",
        active_anon: "active_anon",
        inactive_file: "inactive_file",
        active_file: "active_file",
        unevictable: "unevictable",
        slab_reclaimable: "slab_reclaimable",
        slab_unreclaimable: "slab_unreclaimable",
        pgfault: "pgfault",
        pgmajfault: "pgmajfault",
        workingset_refault:
            "workingset_refault" | "workingset_refault_anon" | "workingset_refault_file",
        workingset_activate:
            "workingset_activate" | "workingset_activate_anon" | "workingset_activate_file",
        workingset_nodereclaim: "workingset_nodereclaim",
        pgrefill: "pgrefill",
        pgscan: "pgscan",
        pgsteal: "pgsteal",
        pgactivate: "pgactivate",
        pgdeactivate: "pgdeactivate",
        pglazyfree: "pglazyfree",
        pglazyfreed: "pglazyfreed",
        thp_fault_alloc: "thp_fault_alloc",
        thp_collapse_alloc: "thp_collapse_alloc",
    }
}

counters! {
    /// `memory.events`.
    #[expect(missing_docs, reason = "the kernel's names, documented there")]
    pub struct MemoryEvents {
        low: "low",
        high: "high",
        max: "max",
        oom: "oom",
        oom_kill: "oom_kill",
        oom_group_kill: "oom_group_kill",
    }
}

/// Use of block devices.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct IoV2 {
    /// One entry for each device.
    pub usage: Vec<IoEntry>,
    /// I/O pressure.
    pub pressure: Option<Pressure>,
}

/// Use of one block device (`io.stat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IoEntry {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// Bytes read.
    pub rbytes: u64,
    /// Bytes written.
    pub wbytes: u64,
    /// Reads.
    pub rios: u64,
    /// Writes.
    pub wios: u64,
}

/// Use of RDMA devices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rdma {
    /// Now, one entry for each device (`rdma.current`).
    pub current: Vec<RdmaEntry>,
    /// Limits (`rdma.max`); `u32::MAX` is none.
    pub limit: Vec<RdmaEntry>,
}

/// Numbers of one RDMA device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RdmaEntry {
    /// Its name, e.g. `mlx4_0`.
    pub device: String,
    /// Handles of the host channel adapter.
    pub hca_handles: u32,
    /// Objects of the host channel adapter.
    pub hca_objects: u32,
}

/// Pressure stall information (<https://docs.kernel.org/accounting/psi.html>).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pressure {
    /// Time in which at least one task waited.
    pub some: PressureLine,
    /// Time in which all tasks waited.
    pub full: PressureLine,
}

/// One line of a pressure file.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PressureLine {
    /// Share of the last 10 s in percent.
    pub avg10: f64,
    /// Share of the last 60 s in percent.
    pub avg60: f64,
    /// Share of the last 300 s in percent.
    pub avg300: f64,
    /// Total in µs.
    pub total: u64,
}

pub(super) fn read(routes: &Routes) -> Result<V2, Error> {
    let Some(dir) = routes.unified() else {
        return Ok(V2::default());
    };
    let has = |controller| routes.find(controller).is_some();
    let mut stats = V2 {
        cpu: CpuV2::parse(&dir.read("cpu.stat")?),
        cpu_pressure: pressure(dir, "cpu.pressure")?,
        ..V2::default()
    };
    if has("pids") {
        let of = |name| value(dir, name).map(Option::unwrap_or_default);
        stats.pids = Some(Pids {
            current: of("pids.current")?,
            limit: of("pids.max")?,
        });
    }
    if has("memory") {
        stats.memory = Some(memory(dir)?);
        stats.memory_events = Some(MemoryEvents::parse(&dir.read("memory.events")?));
    }
    if has("io") {
        let usage = dir.read("io.stat")?.lines().filter_map(io_line).collect();
        stats.io = Some(IoV2 {
            usage,
            pressure: pressure(dir, "io.pressure")?,
        });
    }
    if has("hugetlb") {
        stats.hugepages = hugepages(dir)?;
    }
    if has("rdma") {
        stats.rdma = Some(rdma(dir)?);
    }
    Ok(stats)
}

/// The files are those of v1, too.
pub(super) fn rdma(dir: &CgroupDir) -> Result<Rdma, Error> {
    let of = |name| Ok(dir.read(name)?.lines().filter_map(rdma_line).collect());
    Ok(Rdma {
        current: of("rdma.current")?,
        limit: of("rdma.max")?,
    })
}

fn memory(dir: &CgroupDir) -> Result<MemoryV2, Error> {
    let of = |name| value(dir, name).map(Option::unwrap_or_default);
    Ok(MemoryV2 {
        stat: MemoryStatV2::parse(&dir.read("memory.stat")?),
        usage: of("memory.current")?,
        usage_limit: of("memory.max")?,
        max_usage: of("memory.peak")?,
        swap_usage: of("memory.swap.current")?,
        swap_limit: of("memory.swap.max")?,
        swap_max_usage: of("memory.swap.peak")?,
        pressure: pressure(dir, "memory.pressure")?,
    })
}

pub(super) fn hugepages(dir: &CgroupDir) -> Result<Vec<Hugepages>, Error> {
    let mut all = Vec::new();
    for page_size in page_sizes() {
        let of = |name: &str| value(dir, &format!("hugetlb.{page_size}.{name}"));
        if let Some(usage_bytes) = of("current")? {
            let events = dir.read_if_present(&format!("hugetlb.{page_size}.events"))?;
            let failures = super::flat_value(&events.unwrap_or_default(), "max").unwrap_or(0);
            let max_bytes = of("max")?.unwrap_or(0);
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

/// `None` where pressure is not counted.
fn pressure(dir: &CgroupDir, file: &str) -> Result<Option<Pressure>, Error> {
    Ok(dir
        .read_if_present(file)?
        .map(|content| parse_pressure(&content)))
}

fn parse_pressure(content: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in content.lines() {
        let share = |key| {
            keyed(line, key)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0.0)
        };
        let parsed = PressureLine {
            avg10: share("avg10"),
            avg60: share("avg60"),
            avg300: share("avg300"),
            total: keyed(line, "total")
                .and_then(|text| text.parse().ok())
                .unwrap_or(0),
        };
        match line.split(' ').next() {
            Some("some") => pressure.some = parsed,
            Some("full") => pressure.full = parsed,
            _ => {}
        }
    }
    pressure
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`; a device without traffic has no values.
fn io_line(line: &str) -> Option<IoEntry> {
    let (major, minor) = device(line.split(' ').next()?)?;
    let of = |key| keyed(line, key).and_then(|text| text.parse().ok());
    Some(IoEntry {
        major,
        minor,
        rbytes: of("rbytes")?,
        wbytes: of("wbytes").unwrap_or(0),
        rios: of("rios").unwrap_or(0),
        wios: of("wios").unwrap_or(0),
    })
}

/// `mlx4_0 hca_handle=2 hca_object=max`.
fn rdma_line(line: &str) -> Option<RdmaEntry> {
    let (device, numbers) = line.split_once(' ')?;
    let of = |key| match keyed(numbers, key)? {
        "max" => Some(u32::MAX),
        number => number.parse().ok(),
    };
    Some(RdmaEntry {
        device: device.to_owned(),
        hca_handles: of("hca_handle")?,
        hca_objects: of("hca_object")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_lines_are_read() {
        let content = "some avg10=1.50 avg60=0.25 avg300=0.00 total=123\n\
                       full avg10=0.00 avg60=0.00 avg300=2.00 total=4\n";
        let line = |avg10, avg60, avg300, total| PressureLine {
            avg10,
            avg60,
            avg300,
            total,
        };
        let expected = Pressure {
            some: line(1.5, 0.25, 0.0, 123),
            full: line(0.0, 0.0, 2.0, 4),
        };
        assert_eq!(parse_pressure(content), expected);
    }

    #[test]
    fn io_of_a_device_is_read_and_an_idle_one_left_out() {
        let entry = IoEntry {
            major: 8,
            minor: 16,
            rbytes: 1,
            wbytes: 2,
            rios: 3,
            wios: 4,
        };
        assert_eq!(
            io_line("8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6"),
            Some(entry)
        );
        assert_eq!(io_line("8:16 "), None);
    }

    #[test]
    fn rdma_devices_are_read() {
        let entry = RdmaEntry {
            device: "mlx4_0".to_owned(),
            hca_handles: 2,
            hca_objects: u32::MAX,
        };
        assert_eq!(rdma_line("mlx4_0 hca_handle=2 hca_object=max"), Some(entry));
        assert_eq!(rdma_line("mlx4_0"), None);
    }

    #[test]
    fn counters_that_newer_kernels_split_are_summed() {
        let stat = MemoryStatV2::parse("workingset_refault_anon 2\nworkingset_refault_file 3\n");
        assert_eq!(stat.workingset_refault, 5);
    }
}
