//! Stats: every number of the answer is the one in the controller's file.

use containerd_shim_protos::cgroups::metrics as message;
use hull_e2e::{Container, Lab, block, eventually};
use protobuf::Message;
use serde_json::json;

use crate::group::Group;
use crate::{MIB, script, sleeper};

fn metrics(c: &Container<'_>) -> message::Metrics {
    let any = block(c.task.stats(&c.id)).unwrap();
    assert_eq!(any.type_url, "io.containerd.cgroups.v1.Metrics");
    message::Metrics::parse_from_bytes(&any.value).unwrap()
}

/// Fields with the names that the kernel has for them in `memory.stat`.
fn memory_fields(m: &message::MemoryStat) -> Vec<(&'static str, u64)> {
    vec![
        ("cache", m.cache),
        ("rss", m.rss),
        ("rss_huge", m.rss_huge),
        ("mapped_file", m.mapped_file),
        ("dirty", m.dirty),
        ("writeback", m.writeback),
        ("pgpgin", m.pg_pg_in),
        ("pgpgout", m.pg_pg_out),
        ("pgfault", m.pg_fault),
        ("pgmajfault", m.pg_maj_fault),
        ("inactive_anon", m.inactive_anon),
        ("active_anon", m.active_anon),
        ("inactive_file", m.inactive_file),
        ("active_file", m.active_file),
        ("unevictable", m.unevictable),
        ("hierarchical_memory_limit", m.hierarchical_memory_limit),
        ("hierarchical_memsw_limit", m.hierarchical_swap_limit),
        ("total_cache", m.total_cache),
        ("total_rss", m.total_rss),
        ("total_rss_huge", m.total_rss_huge),
        ("total_mapped_file", m.total_mapped_file),
        ("total_dirty", m.total_dirty),
        ("total_writeback", m.total_writeback),
        ("total_pgpgin", m.total_pg_pg_in),
        ("total_pgpgout", m.total_pg_pg_out),
        ("total_pgfault", m.total_pg_fault),
        ("total_pgmajfault", m.total_pg_maj_fault),
        ("total_inactive_anon", m.total_inactive_anon),
        ("total_active_anon", m.total_active_anon),
        ("total_inactive_file", m.total_inactive_file),
        ("total_active_file", m.total_active_file),
        ("total_unevictable", m.total_unevictable),
    ]
}

/// The four counters of the memory controller: their prefix in files, and the part of the message.
fn counters(m: &message::MemoryStat) -> [(&'static str, &message::MemoryEntry); 4] {
    [
        ("memory", &m.usage),
        ("memory.memsw", &m.swap),
        ("memory.kmem", &m.kernel),
        ("memory.kmem.tcp", &m.kernel_tcp),
    ]
}

/// A line for each number that a message has.
fn told(m: &message::Metrics) -> Vec<String> {
    let mut lines = Vec::new();
    let mut put = |name: String, value: u64| lines.push(format!("{name}={value}"));
    put("pids.current".into(), m.pids.current);
    put("pids.max".into(), m.pids.limit);
    let usage = &m.cpu.usage;
    put("cpuacct.usage".into(), usage.total);
    put("cpuacct.usage_sys".into(), usage.kernel);
    put("cpuacct.usage_user".into(), usage.user);
    for (number, time) in usage.per_cpu.iter().enumerate() {
        put(format!("cpuacct.usage_percpu {number}"), *time);
    }
    let throttling = &m.cpu.throttling;
    put("cpu.stat nr_periods".into(), throttling.periods);
    put("cpu.stat nr_throttled".into(), throttling.throttled_periods);
    put("cpu.stat throttled_time".into(), throttling.throttled_time);
    for (name, value) in memory_fields(&m.memory) {
        put(format!("memory.stat {name}"), value);
    }
    for (prefix, entry) in counters(&m.memory) {
        put(format!("{prefix}.limit_in_bytes"), entry.limit);
        put(format!("{prefix}.usage_in_bytes"), entry.usage);
        put(format!("{prefix}.max_usage_in_bytes"), entry.max);
        put(format!("{prefix}.failcnt"), entry.failcnt);
    }
    let oom = &m.memory_oom_control;
    put(
        "memory.oom_control oom_kill_disable".into(),
        oom.oom_kill_disable,
    );
    put("memory.oom_control under_oom".into(), oom.under_oom);
    put("memory.oom_control oom_kill".into(), oom.oom_kill);
    for page in &m.hugetlb {
        let file = format!("hugetlb.{}", page.pagesize);
        put(format!("{file}.current"), page.usage);
        put(format!("{file}.max"), page.max);
        put(format!("{file}.events max"), page.failcnt);
    }
    for (file, entries) in [
        ("io_service_bytes", &m.blkio.io_service_bytes_recursive),
        ("io_serviced", &m.blkio.io_serviced_recursive),
    ] {
        for entry in entries {
            let (major, minor) = (entry.major, entry.minor);
            put(format!("{file} {major}:{minor} {}", entry.op), entry.value);
        }
    }
    lines.sort();
    lines
}

/// The same lines from the files.
fn in_files(group: &Group) -> Vec<String> {
    let mut lines = vec![
        format!("pids.current={}", group.read("pids", "pids.current")),
        // No limit is 0 in this message.
        format!(
            "pids.max={}",
            group.read("pids", "pids.max").replace("max", "0")
        ),
    ];
    for file in ["cpuacct.usage", "cpuacct.usage_sys", "cpuacct.usage_user"] {
        lines.push(format!("{file}={}", group.read("cpuacct", file)));
    }
    let per_cpu = group.read("cpuacct", "cpuacct.usage_percpu");
    for (number, time) in per_cpu.split_whitespace().enumerate() {
        lines.push(format!("cpuacct.usage_percpu {number}={time}"));
    }
    let none = message::MemoryStat::new();
    let fields: Vec<&str> = memory_fields(&none).iter().map(|(name, _)| *name).collect();
    lines.extend(keyed(group, "memory", "memory.stat", &fields));
    let times = ["nr_periods", "nr_throttled", "throttled_time"];
    lines.extend(keyed(group, "cpu", "cpu.stat", &times));
    let oom = ["oom_kill_disable", "under_oom", "oom_kill"];
    lines.extend(keyed(group, "memory", "memory.oom_control", &oom));
    for (prefix, _) in counters(&none) {
        for name in [
            "limit_in_bytes",
            "usage_in_bytes",
            "max_usage_in_bytes",
            "failcnt",
        ] {
            let file = format!("{prefix}.{name}");
            lines.push(format!("{file}={}", group.read("memory", &file)));
        }
    }
    lines.extend(huge_pages(group));
    for file in ["io_service_bytes", "io_serviced"] {
        let content = group.read("blkio", &format!("blkio.throttle.{file}_recursive"));
        // The last line is the sum over all devices.
        let of_devices = content.lines().filter(|line| line.contains(':'));
        lines.extend(of_devices.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            format!("{file} {name}={value}")
        }));
    }
    lines.sort();
    lines
}

fn keyed(group: &Group, controller: &str, file: &str, fields: &[&str]) -> Vec<String> {
    let content = group.read(controller, file);
    fields
        .iter()
        .map(|field| {
            let of = |line: &str| Some(line.strip_prefix(field)?.strip_prefix(' ')?.to_owned());
            let value = content.lines().find_map(of).unwrap_or("0".to_owned());
            format!("{file} {field}={value}")
        })
        .collect()
}

/// That controller is in the unified tree of this host.
fn huge_pages(group: &Group) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(group.dir("hugetlb")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(file) = name.strip_suffix(".rsvd.max") else {
            continue;
        };
        for name in ["current", "max"] {
            let value = group.read("hugetlb", &format!("{file}.{name}"));
            let value = value.replace("max", &u64::MAX.to_string());
            lines.push(format!("{file}.{name}={value}"));
        }
        let events = format!("{file}.events");
        lines.extend(keyed(group, "hugetlb", &events, &["max"]));
    }
    lines
}

/// Looks at the files before and after; once they stood still in between, the answer is theirs.
#[track_caller]
fn agree(c: &Container<'_>) -> message::Metrics {
    let group = Group::of(c);
    let (files, m) = eventually("numbers that stand still", || {
        let (before, m, after) = (in_files(&group), metrics(c), in_files(&group));
        (before == after).then_some((before, m))
    });
    assert_eq!(told(&m), files);
    m
}

#[test]
fn every_number_is_that_of_its_file() {
    let text = "dd if=/dev/zero of=/file bs=4k count=16 oflag=direct 2>/dev/null; \
        dd if=/dev/zero of=/dev/shm/full bs=1M count=20 2>/dev/null; \
        i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; sleep 601 & echo ready; exec sleep 600";
    let spec = script(text)
        .resource("memory", json!({ "limit": 64 * MIB, "swap": 96 * MIB }))
        .resource("cpu", json!({ "quota": 10_000, "period": 50_000 }))
        .resource("pids/limit", 20)
        .resource(
            "hugepageLimits/-",
            json!({ "pageSize": "2MB", "limit": 4 * MIB }),
        );
    let lab = Lab::new();
    let mut c = lab.container(&spec);
    c.run();
    c.read_until("ready\n");
    block(c.task.pause(&c.id)).unwrap();
    let m = agree(&c);
    // That both are 0 would prove little.
    assert_eq!((m.pids.current, m.pids.limit), (2, 20));
    assert!(
        m.cpu.usage.total > 0 && m.cpu.throttling.throttled_periods > 0,
        "{:?}",
        m.cpu
    );
    assert_eq!(m.memory.usage.limit, 64 * MIB);
    assert_eq!(m.memory.swap.limit, 96 * MIB);
    assert!(m.memory.usage.max >= 20 * MIB && m.memory.total_cache >= 20 * MIB);
    let mut io = m.blkio.io_service_bytes_recursive.iter();
    let written = io.find(|entry| entry.op == "Write" && entry.value >= 65536);
    let written = written.expect("what was written past the page cache");
    let link = format!("/sys/dev/block/{}:{}", written.major, written.minor);
    let link = std::fs::read_link(link).unwrap();
    let name = link.file_name().unwrap().to_str().unwrap();
    assert_eq!(written.device, format!("/dev/{name}"));
    assert!(
        m.hugetlb
            .iter()
            .any(|page| page.pagesize == "2MB" && page.max == 4 * MIB),
        "{:?}",
        m.hugetlb
    );
    assert!(m.rdma.is_none() && m.network.is_empty() && m.cgroup_stats.is_none());
}

#[test]
fn container_without_limits_has_the_kernels_numbers_for_them() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let m = agree(&c);
    assert_eq!(m.pids.limit, 0);
    assert_eq!(m.memory.usage.limit, 9_223_372_036_854_771_712);
    assert!(m.memory.usage.usage > 0 && m.cpu.usage.total > 0);
}

#[test]
fn kills_for_want_of_memory_are_counted() {
    let lab = Lab::new();
    let memory = json!({ "limit": 16 * MIB, "swap": 16 * MIB });
    let text = "(x=0123456789abcdef; while :; do x=$x$x; done); echo ready; exec sleep 600";
    let mut c = lab.container(&script(text).resource("memory", memory));
    c.run();
    c.read_until("ready\n");
    let m = agree(&c);
    assert_eq!(m.memory_oom_control.oom_kill, 1);
    assert_eq!(m.memory.usage.max, 16 * MIB);
}

#[test]
fn stopped_container_has_its_last_numbers_until_it_is_deleted() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    c.kill_and_wait();
    let m = metrics(&c);
    assert_eq!(m.pids.current, 0);
    assert!(m.cpu.usage.total > 0);
}
