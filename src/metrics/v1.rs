//! `io.containerd.cgroups.v1.Metrics`.

use containerd_shim_protos::cgroups::metrics as message;
use hull_cgroup::{
    BlockIoEntry, CpuV1, Hugepages, MemoryCounters, MemoryV1, OomControl, Pids, Rdma, RdmaEntry, V1,
};
use protobuf::MessageField;

/// The message for what was read.
pub(super) fn metrics(stats: &V1) -> message::Metrics {
    message::Metrics {
        hugetlb: stats.hugepages.iter().map(hugetlb).collect(),
        pids: field(stats.pids.as_ref(), pids),
        cpu: field(stats.cpu.as_ref(), cpu),
        memory: field(stats.memory.as_ref(), memory),
        blkio: MessageField::some(message::BlkIOStat {
            io_service_bytes_recursive: entries(&stats.io_service_bytes_recursive),
            io_serviced_recursive: entries(&stats.io_serviced_recursive),
            ..Default::default()
        }),
        memory_oom_control: field(stats.oom_control.as_ref(), oom_control),
        rdma: field(stats.rdma.as_ref(), rdma),
        ..Default::default()
    }
}

fn field<T, M>(part: Option<&T>, convert: impl Fn(&T) -> M) -> MessageField<M> {
    MessageField::from_option(part.map(convert))
}

fn hugetlb(pages: &Hugepages) -> message::HugetlbStat {
    message::HugetlbStat {
        usage: pages.usage_bytes,
        max: pages.max_bytes,
        failcnt: pages.failures,
        pagesize: pages.page_size.clone(),
        ..Default::default()
    }
}

fn pids(pids: &Pids) -> message::PidsStat {
    message::PidsStat {
        current: pids.current,
        limit: pids.limit,
        ..Default::default()
    }
}

fn cpu(cpu: &CpuV1) -> message::CPUStat {
    let usage = message::CPUUsage {
        total: cpu.total_ns,
        kernel: cpu.kernel_ns,
        user: cpu.user_ns,
        per_cpu: cpu.per_cpu_ns.clone(),
        ..Default::default()
    };
    let throttling = message::Throttle {
        periods: cpu.periods,
        throttled_periods: cpu.throttled_periods,
        throttled_time: cpu.throttled_ns,
        ..Default::default()
    };
    message::CPUStat {
        usage: MessageField::some(usage),
        throttling: MessageField::some(throttling),
        ..Default::default()
    }
}

fn memory(memory: &MemoryV1) -> message::MemoryStat {
    let stat = &memory.stat;
    message::MemoryStat {
        cache: stat.cache,
        rss: stat.rss,
        rss_huge: stat.rss_huge,
        mapped_file: stat.mapped_file,
        dirty: stat.dirty,
        writeback: stat.writeback,
        pg_pg_in: stat.pg_pg_in,
        pg_pg_out: stat.pg_pg_out,
        pg_fault: stat.pg_fault,
        pg_maj_fault: stat.pg_maj_fault,
        inactive_anon: stat.inactive_anon,
        active_anon: stat.active_anon,
        inactive_file: stat.inactive_file,
        active_file: stat.active_file,
        unevictable: stat.unevictable,
        hierarchical_memory_limit: stat.hierarchical_memory_limit,
        hierarchical_swap_limit: stat.hierarchical_swap_limit,
        total_cache: stat.total_cache,
        total_rss: stat.total_rss,
        total_rss_huge: stat.total_rss_huge,
        total_mapped_file: stat.total_mapped_file,
        total_dirty: stat.total_dirty,
        total_writeback: stat.total_writeback,
        total_pg_pg_in: stat.total_pg_pg_in,
        total_pg_pg_out: stat.total_pg_pg_out,
        total_pg_fault: stat.total_pg_fault,
        total_pg_maj_fault: stat.total_pg_maj_fault,
        total_inactive_anon: stat.total_inactive_anon,
        total_active_anon: stat.total_active_anon,
        total_inactive_file: stat.total_inactive_file,
        total_active_file: stat.total_active_file,
        total_unevictable: stat.total_unevictable,
        usage: MessageField::some(counters(&memory.usage)),
        swap: field(memory.swap.as_ref(), counters),
        kernel: field(memory.kernel.as_ref(), counters),
        kernel_tcp: field(memory.kernel_tcp.as_ref(), counters),
        ..Default::default()
    }
}

fn counters(counters: &MemoryCounters) -> message::MemoryEntry {
    message::MemoryEntry {
        limit: counters.limit,
        usage: counters.usage,
        max: counters.max,
        failcnt: counters.failcnt,
        ..Default::default()
    }
}

fn oom_control(control: &OomControl) -> message::MemoryOomControl {
    message::MemoryOomControl {
        oom_kill_disable: control.oom_kill_disable,
        under_oom: control.under_oom,
        oom_kill: control.oom_kill,
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

fn entries(entries: &[BlockIoEntry]) -> Vec<message::BlkIOEntry> {
    let entry = |entry: &BlockIoEntry| message::BlkIOEntry {
        op: entry.op.clone(),
        device: entry.device.clone(),
        major: entry.major,
        minor: entry.minor,
        value: entry.value,
        ..Default::default()
    };
    entries.iter().map(entry).collect()
}
