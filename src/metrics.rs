//! Usage of a cgroup as containerd's clients want it: an `Any` of the metrics message that fits the
//! host's cgroup version. CRI refuses any other type, and a wrong version shows nothing.

mod v1;
mod v2;

use crate::error::Error;
use hull_cgroup::Stats;
use hull_sys::Errno;
use protobuf::well_known_types::any::Any;
use std::io;

/// Packs what [`hull_cgroup::stats`] read.
///
/// # Errors
/// When protobuf cannot encode the message, which no number causes.
pub(crate) fn to_any(stats: &Stats) -> Result<Any, Error> {
    let packed = match stats {
        Stats::V1(stats) => {
            hull_proto::pack("io.containerd.cgroups.v1.Metrics", &v1::metrics(stats))
        }
        Stats::V2(stats) => {
            hull_proto::pack("io.containerd.cgroups.v2.Metrics", &v2::metrics(stats))
        }
    };
    packed.map_err(|e| Error::host("encode metrics", io::Error::other(e)))
}

/// The answer to Stats where reading failed: a cgroup that is gone is not found.
pub(crate) fn failed(error: hull_cgroup::Error) -> Error {
    if matches!(
        Errno::from_raw(error.errno()),
        Errno::ENOENT | Errno::ENODEV
    ) {
        return Error::NotFound("cgroup does not exist".to_owned());
    }
    Error::Cgroup(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_shim_protos::cgroups::metrics::Metrics as MetricsV1;
    use containerd_shim_protos::cgroups_v2::metrics::Metrics as MetricsV2;
    use hull_cgroup::{
        BlockIoEntry, CpuV1, Hugepages, IoEntry, IoV2, MemoryEvents, MemoryV1, MemoryV2, Pids,
        Pressure, Rdma, RdmaEntry, V1, V2,
    };
    use protobuf::Message;

    #[test]
    fn v1_usage_travels_as_v1_metrics() {
        let mut stats = V1 {
            pids: Some(Pids {
                current: 3,
                limit: 10,
            }),
            cpu: Some(CpuV1 {
                total_ns: 5,
                per_cpu_ns: vec![2, 3],
                throttled_ns: 7,
                ..CpuV1::default()
            }),
            memory: Some(MemoryV1::default()),
            hugepages: vec![Hugepages {
                page_size: "2MB".to_owned(),
                failures: 1,
                ..Hugepages::default()
            }],
            io_serviced_recursive: vec![BlockIoEntry {
                op: "Read".to_owned(),
                device: "/dev/sda".to_owned(),
                major: 8,
                value: 9,
                ..BlockIoEntry::default()
            }],
            rdma: Some(Rdma {
                limit: vec![RdmaEntry {
                    device: "mlx5_1".to_owned(),
                    hca_handles: 3,
                    hca_objects: u32::MAX,
                }],
                ..Rdma::default()
            }),
            ..V1::default()
        };
        let memory = stats.memory.as_mut().unwrap();
        memory.stat.total_inactive_file = 11;
        memory.usage.usage = 12;
        memory.usage.failcnt = 13;
        let any = to_any(&Stats::V1(Box::new(stats))).unwrap();
        assert_eq!(any.type_url, "io.containerd.cgroups.v1.Metrics");
        let metrics = MetricsV1::parse_from_bytes(&any.value).unwrap();
        assert_eq!((metrics.pids.current, metrics.pids.limit), (3, 10));
        assert_eq!(
            (
                metrics.cpu.usage.total,
                metrics.cpu.throttling.throttled_time
            ),
            (5, 7)
        );
        assert_eq!(metrics.cpu.usage.per_cpu, [2, 3]);
        assert_eq!(metrics.memory.total_inactive_file, 11);
        assert_eq!(
            (metrics.memory.usage.usage, metrics.memory.usage.failcnt),
            (12, 13)
        );
        assert!(metrics.memory.swap.is_none() && metrics.memory_oom_control.is_none());
        let hugetlb = metrics.hugetlb.first().unwrap();
        assert_eq!((hugetlb.pagesize.as_str(), hugetlb.failcnt), ("2MB", 1));
        let io = metrics.blkio.io_serviced_recursive.first().unwrap();
        assert_eq!((io.op.as_str(), io.major, io.value), ("Read", 8, 9));
        assert_eq!(io.device, "/dev/sda");
        let rdma = metrics.rdma.limit.first().unwrap();
        assert_eq!(
            (rdma.device.as_str(), rdma.hca_handles, rdma.hca_objects),
            ("mlx5_1", 3, u32::MAX)
        );
    }

    #[test]
    fn v2_usage_travels_as_v2_metrics() {
        let mut pressure = Pressure::default();
        pressure.full.avg10 = 1.5;
        pressure.some.total = 4;
        let mut stats = V2 {
            cpu_pressure: Some(pressure),
            memory: Some(MemoryV2 {
                usage: 3,
                swap_limit: u64::MAX,
                ..MemoryV2::default()
            }),
            memory_events: Some(MemoryEvents {
                oom_kill: 2,
                ..MemoryEvents::default()
            }),
            io: Some(IoV2 {
                usage: vec![IoEntry {
                    major: 8,
                    rbytes: 6,
                    ..IoEntry::default()
                }],
                pressure: None,
            }),
            ..V2::default()
        };
        stats.cpu.usage_usec = 5;
        stats.memory.as_mut().unwrap().stat.pgmajfault = 8;
        let any = to_any(&Stats::V2(Box::new(stats))).unwrap();
        assert_eq!(any.type_url, "io.containerd.cgroups.v2.Metrics");
        let metrics = MetricsV2::parse_from_bytes(&any.value).unwrap();
        assert_eq!(metrics.cpu.usage_usec, 5);
        let psi = metrics.cpu.psi.as_ref().unwrap();
        assert_eq!(
            (psi.full.avg10.to_bits(), psi.some.total),
            (1.5_f64.to_bits(), 4)
        );
        assert_eq!(
            (metrics.memory.usage, metrics.memory.swap_limit),
            (3, u64::MAX)
        );
        assert_eq!(metrics.memory.pgmajfault, 8);
        assert_eq!(metrics.memory_events.oom_kill, 2);
        assert_eq!(metrics.io.usage.first().unwrap().rbytes, 6);
        assert!(metrics.pids.is_none() && metrics.io.psi.is_none());
    }

    #[test]
    fn a_cgroup_that_is_gone_is_not_found() {
        let gone = |errno| hull_cgroup::Error::Io {
            operation: "open",
            path: "/sys/fs/cgroup/x".to_owned(),
            errno,
        };
        assert_eq!(
            failed(gone(Errno::ENOENT)).to_string(),
            "cgroup does not exist"
        );
        assert!(matches!(failed(gone(Errno::EACCES)), Error::Cgroup(_)));
    }
}
