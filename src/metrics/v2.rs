//! `io.containerd.cgroups.v2.Metrics`.

use containerd_shim_protos::cgroups_v2::metrics as message;
use hull_cgroup::{
    Hugepages, IoEntry, IoV2, MemoryEvents, MemoryV2, Pids, Pressure, PressureLine, Rdma,
    RdmaEntry, V2,
};
use protobuf::MessageField;

/// The message for what was read.
pub(super) fn metrics(stats: &V2) -> message::Metrics {
    message::Metrics {
        pids: field(stats.pids.as_ref(), pids),
        cpu: MessageField::some(cpu(stats)),
        memory: field(stats.memory.as_ref(), memory),
        io: field(stats.io.as_ref(), io),
        hugetlb: stats.hugepages.iter().map(hugetlb).collect(),
        rdma: field(stats.rdma.as_ref(), rdma),
        memory_events: field(stats.memory_events.as_ref(), memory_events),
        ..Default::default()
    }
}

fn field<T, M>(part: Option<&T>, convert: impl Fn(&T) -> M) -> MessageField<M> {
    MessageField::from_option(part.map(convert))
}

fn pids(pids: &Pids) -> message::PidsStat {
    message::PidsStat {
        current: pids.current,
        limit: pids.limit,
        ..Default::default()
    }
}

fn cpu(stats: &V2) -> message::CPUStat {
    let cpu = &stats.cpu;
    message::CPUStat {
        usage_usec: cpu.usage_usec,
        user_usec: cpu.user_usec,
        system_usec: cpu.system_usec,
        nr_periods: cpu.nr_periods,
        nr_throttled: cpu.nr_throttled,
        throttled_usec: cpu.throttled_usec,
        nr_bursts: cpu.nr_bursts,
        burst_usec: cpu.burst_usec,
        psi: field(stats.cpu_pressure.as_ref(), psi),
        ..Default::default()
    }
}

fn memory(memory: &MemoryV2) -> message::MemoryStat {
    let stat = &memory.stat;
    message::MemoryStat {
        anon: stat.anon,
        file: stat.file,
        kernel_stack: stat.kernel_stack,
        slab: stat.slab,
        sock: stat.sock,
        shmem: stat.shmem,
        file_mapped: stat.file_mapped,
        file_dirty: stat.file_dirty,
        file_writeback: stat.file_writeback,
        anon_thp: stat.anon_thp,
        inactive_anon: stat.inactive_anon,
        active_anon: stat.active_anon,
        inactive_file: stat.inactive_file,
        active_file: stat.active_file,
        unevictable: stat.unevictable,
        slab_reclaimable: stat.slab_reclaimable,
        slab_unreclaimable: stat.slab_unreclaimable,
        pgfault: stat.pgfault,
        pgmajfault: stat.pgmajfault,
        workingset_refault: stat.workingset_refault,
        workingset_activate: stat.workingset_activate,
        workingset_nodereclaim: stat.workingset_nodereclaim,
        pgrefill: stat.pgrefill,
        pgscan: stat.pgscan,
        pgsteal: stat.pgsteal,
        pgactivate: stat.pgactivate,
        pgdeactivate: stat.pgdeactivate,
        pglazyfree: stat.pglazyfree,
        pglazyfreed: stat.pglazyfreed,
        thp_fault_alloc: stat.thp_fault_alloc,
        thp_collapse_alloc: stat.thp_collapse_alloc,
        usage: memory.usage,
        usage_limit: memory.usage_limit,
        swap_usage: memory.swap_usage,
        swap_limit: memory.swap_limit,
        max_usage: memory.max_usage,
        swap_max_usage: memory.swap_max_usage,
        psi: field(memory.pressure.as_ref(), psi),
        ..Default::default()
    }
}

fn memory_events(events: &MemoryEvents) -> message::MemoryEvents {
    message::MemoryEvents {
        low: events.low,
        high: events.high,
        max: events.max,
        oom: events.oom,
        oom_kill: events.oom_kill,
        oom_group_kill: events.oom_group_kill,
        ..Default::default()
    }
}

fn io(io: &IoV2) -> message::IOStat {
    let entry = |entry: &IoEntry| message::IOEntry {
        major: entry.major,
        minor: entry.minor,
        rbytes: entry.rbytes,
        wbytes: entry.wbytes,
        rios: entry.rios,
        wios: entry.wios,
        ..Default::default()
    };
    message::IOStat {
        usage: io.usage.iter().map(entry).collect(),
        psi: field(io.pressure.as_ref(), psi),
        ..Default::default()
    }
}

fn hugetlb(pages: &Hugepages) -> message::HugeTlbStat {
    message::HugeTlbStat {
        current: pages.usage_bytes,
        max: pages.max_bytes,
        pagesize: pages.page_size.clone(),
        failcnt: pages.failures,
        ..Default::default()
    }
}

fn rdma(rdma: &Rdma) -> message::RdmaStat {
    let entry = |entry: &RdmaEntry| message::RdmaEntry {
        device: entry.device.clone(),
        hca_handles: entry.hca_handles,
        hca_objects: entry.hca_objects,
        ..Default::default()
    };
    message::RdmaStat {
        current: rdma.current.iter().map(entry).collect(),
        limit: rdma.limit.iter().map(entry).collect(),
        ..Default::default()
    }
}

fn psi(pressure: &Pressure) -> message::PSIStats {
    let line = |line: &PressureLine| message::PSIData {
        avg10: line.avg10,
        avg60: line.avg60,
        avg300: line.avg300,
        total: line.total,
        ..Default::default()
    };
    message::PSIStats {
        some: MessageField::some(line(&pressure.some)),
        full: MessageField::some(line(&pressure.full)),
        ..Default::default()
    }
}
