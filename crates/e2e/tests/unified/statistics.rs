//! Stats: every number of the answer is the one in the cgroup's file.

use std::fs;

use containerd_shim_protos::cgroups_v2::metrics as message;
use hull_e2e::{Case, Container, Lab, block, eventually};
use protobuf::Message;
use serde_json::json;

use crate::group::Group;
use crate::limits::disk;
use crate::{MIB, both_kinds, script, sleeper};

fn metrics(c: &Container<'_>) -> message::Metrics {
    let any = block(c.task.stats(&c.id)).unwrap();
    assert_eq!(any.type_url, "io.containerd.cgroups.v2.Metrics");
    message::Metrics::parse_from_bytes(&any.value).unwrap()
}

/// Fields of `memory.stat` that are called alike in both.
macro_rules! by_name {
    ($message:expr, $($field:ident)+) => {
        vec![$((stringify!($field), $message.$field)),+]
    };
}

fn cpu_fields(cpu: &message::CPUStat) -> Vec<(&'static str, u64)> {
    by_name!(cpu, usage_usec user_usec system_usec nr_periods nr_throttled throttled_usec
        nr_bursts burst_usec)
}

fn memory_fields(memory: &message::MemoryStat) -> Vec<(&'static str, u64)> {
    by_name!(memory, anon file kernel_stack slab sock shmem file_mapped file_dirty file_writeback
        anon_thp inactive_anon active_anon inactive_file active_file unevictable slab_reclaimable
        slab_unreclaimable pgfault pgmajfault workingset_refault workingset_activate
        workingset_nodereclaim pgrefill pgscan pgsteal pgactivate pgdeactivate pglazyfree
        pglazyfreed thp_fault_alloc thp_collapse_alloc)
}

fn event_fields(events: &message::MemoryEvents) -> Vec<(&'static str, u64)> {
    by_name!(events, low high max oom oom_kill oom_group_kill)
}

/// A line for each number that a message has, but the pressures.
fn told(m: &message::Metrics) -> Vec<String> {
    let mut lines = Vec::new();
    let mut put = |name: String, value: u64| lines.push(format!("{name}={value}"));
    put("pids.current".into(), m.pids.current);
    put("pids.max".into(), m.pids.limit);
    for (name, value) in cpu_fields(&m.cpu) {
        put(format!("cpu.stat {name}"), value);
    }
    for (name, value) in memory_fields(&m.memory) {
        put(format!("memory.stat {name}"), value);
    }
    put("memory.current".into(), m.memory.usage);
    put("memory.max".into(), m.memory.usage_limit);
    put("memory.peak".into(), m.memory.max_usage);
    put("memory.swap.current".into(), m.memory.swap_usage);
    put("memory.swap.max".into(), m.memory.swap_limit);
    put("memory.swap.peak".into(), m.memory.swap_max_usage);
    for (name, value) in event_fields(&m.memory_events) {
        put(format!("memory.events {name}"), value);
    }
    for page in &m.hugetlb {
        let file = format!("hugetlb.{}", page.pagesize);
        put(format!("{file}.current"), page.current);
        put(format!("{file}.max"), page.max);
        put(format!("{file}.events max"), page.failcnt);
    }
    for (file, entries) in [("current", &m.rdma.current), ("max", &m.rdma.limit)] {
        for entry in entries {
            let of = |key: &str| format!("rdma.{file} {} {key}", entry.device);
            put(of("hca_handle"), entry.hca_handles.into());
            put(of("hca_object"), entry.hca_objects.into());
        }
    }
    for disk in &m.io.usage {
        let of = |key: &str| format!("io.stat {}:{} {key}", disk.major, disk.minor);
        put(of("rbytes"), disk.rbytes);
        put(of("wbytes"), disk.wbytes);
        put(of("rios"), disk.rios);
        put(of("wios"), disk.wios);
    }
    lines.sort();
    lines
}

/// The number of a file that holds nothing else; the largest for "max", 0 where there is none.
fn number(group: &Group, file: &str) -> u64 {
    if !group.has(file) {
        return 0;
    }
    match group.read(file).as_str() {
        "max" => u64::MAX,
        text => text.parse().unwrap(),
    }
}

/// The sum of the keys of a file that the field stands for: the kernel has split some.
fn keyed(content: &str, field: &str) -> u64 {
    let split = [format!("{field}_anon"), format!("{field}_file")];
    let is_split = field.starts_with("workingset");
    content
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(key, _)| *key == field || is_split && split.iter().any(|part| part == key))
        .map(|(_, value)| value.parse::<u64>().unwrap())
        .sum()
}

/// The same lines from the files.
fn in_files(group: &Group) -> Vec<String> {
    let none = message::Metrics::new();
    let mut lines = Vec::new();
    for file in [
        "pids.current",
        "pids.max",
        "memory.current",
        "memory.max",
        "memory.peak",
        "memory.swap.current",
        "memory.swap.max",
        "memory.swap.peak",
    ] {
        lines.push(format!("{file}={}", number(group, file)));
    }
    let flat = [
        ("cpu.stat", cpu_fields(&none.cpu)),
        ("memory.stat", memory_fields(&none.memory)),
        ("memory.events", event_fields(&none.memory_events)),
    ];
    for (file, fields) in flat {
        let content = group.read(file);
        for (field, _) in fields {
            lines.push(format!("{file} {field}={}", keyed(&content, field)));
        }
    }
    lines.extend(huge_pages(group));
    for file in ["current", "max"] {
        // One line for each device: none in most machines.
        for line in group.read(&format!("rdma.{file}")).lines() {
            let mut words = line.split(' ');
            let device = words.next().unwrap();
            lines.extend(words.map(|word| {
                let word = word.replace("=max", &format!("={}", u32::MAX));
                format!("rdma.{file} {device} {word}")
            }));
        }
    }
    for line in group.read("io.stat").lines() {
        let mut words = line.split(' ');
        let device = words.next().unwrap();
        let counted = words.filter(|word| !word.starts_with('d'));
        lines.extend(counted.map(|word| format!("io.stat {device} {word}")));
    }
    lines.sort();
    lines
}

fn huge_pages(group: &Group) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(group.dir()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(file) = name.strip_suffix(".rsvd.max") else {
            continue;
        };
        let current = format!("{file}.current");
        lines.push(format!("{current}={}", number(group, &current)));
        let max = format!("{file}.max");
        lines.push(format!("{max}={}", number(group, &max)));
        let events = group.read(&format!("{file}.events"));
        lines.push(format!("{file}.events max={}", keyed(&events, "max")));
    }
    lines
}

/// The lines of pressure, where the kernel counts it.
fn pressure_in_files(group: &Group) -> Vec<String> {
    let mut lines = Vec::new();
    for kind in ["cpu", "memory", "io"] {
        let file = format!("{kind}.pressure");
        if group.has(&file) {
            let content = group.read(&file);
            lines.extend(content.lines().map(|line| format!("{kind} {line}")));
        }
    }
    lines
}

fn pressure_told(m: &message::Metrics) -> Vec<String> {
    let line = |kind: &str, word: &str, data: &message::PSIData| {
        let message::PSIData {
            avg10,
            avg60,
            avg300,
            total,
            ..
        } = data;
        format!("{kind} {word} avg10={avg10:.2} avg60={avg60:.2} avg300={avg300:.2} total={total}")
    };
    [
        ("cpu", &m.cpu.psi),
        ("memory", &m.memory.psi),
        ("io", &m.io.psi),
    ]
    .into_iter()
    .filter_map(|(kind, psi)| Some((kind, psi.as_ref()?)))
    .flat_map(|(kind, psi)| [line(kind, "some", &psi.some), line(kind, "full", &psi.full)])
    .collect()
}

/// Looks at the files before and after; once they stood still in between, the answer is theirs.
#[track_caller]
fn agree(c: &Container<'_>) -> message::Metrics {
    let group = Group::of(c);
    let look = || (in_files(&group), pressure_in_files(&group));
    let (files, m) = eventually("numbers that stand still", || {
        let (before, m, after) = (look(), metrics(c), look());
        (before == after).then_some((before, m))
    });
    assert_eq!(told(&m), files.0);
    assert_eq!(pressure_told(&m), files.1);
    m
}

#[test]
fn every_number_is_that_of_its_file() {
    let (_, major, minor) = disk();
    let lab = Lab::new();
    let text = "dd if=/disk of=/dev/null bs=4k count=16 iflag=direct 2>/dev/null; \
        dd if=/dev/zero of=/dev/shm/full bs=1M count=20 2>/dev/null; \
        i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; sleep 601 & echo ready; exec sleep 600";
    let spec = script(text)
        .set(
            "/linux/devices/-",
            json!({ "path": "/disk", "type": "b", "major": major, "minor": minor }),
        )
        .resource(
            "devices/-",
            json!({ "allow": true, "type": "b", "major": major, "minor": minor, "access": "r" }),
        )
        .resource("memory", json!({ "limit": 64 * MIB, "swap": 96 * MIB }))
        .resource("cpu", json!({ "quota": 10_000, "period": 50_000 }))
        .resource("pids/limit", 20)
        .resource(
            "hugepageLimits/-",
            json!({ "pageSize": "2MB", "limit": 4 * MIB }),
        );
    let mut c = lab.container(&spec);
    c.run();
    c.read_until("ready\n");
    block(c.task.pause(&c.id)).unwrap();
    let m = agree(&c);
    // That both are 0 would prove little.
    assert_eq!((m.pids.current, m.pids.limit), (2, 20));
    assert!(
        m.cpu.usage_usec > 0 && m.cpu.nr_throttled > 0,
        "{:?}",
        m.cpu
    );
    assert_eq!(m.memory.usage_limit, 64 * MIB);
    assert_eq!(m.memory.swap_limit, 32 * MIB);
    assert!(m.memory.shmem >= 20 * MIB, "{:?}", m.memory);
    assert!(m.memory.max_usage >= 20 * MIB, "{:?}", m.memory);
    let io =
        m.io.usage
            .iter()
            .find(|io| (io.major, io.minor) == (major, minor));
    assert_eq!(io.map(|io| (io.rbytes, io.rios)), Some((65536, 16)));
    assert!(
        m.hugetlb
            .iter()
            .any(|page| page.pagesize == "2MB" && page.max == 4 * MIB)
    );
}

#[test]
fn container_without_limits_has_the_largest_numbers_for_them() {
    for (lab, spec) in both_kinds() {
        let mut c = lab.container(&spec);
        c.run();
        c.read_until("ready\n");
        let m = agree(&c);
        assert_eq!(m.pids.limit, u64::MAX);
        assert_eq!(m.memory.usage_limit, u64::MAX);
        assert_eq!(m.memory.swap_limit, u64::MAX);
        assert!(m.memory.usage > 0 && m.cpu.usage_usec > 0);
    }
}

/// The client shows what it understands of the answer.
#[test]
fn ctr_shows_them() {
    let case = Case::new();
    let limit = (64 * MIB).to_string();
    let id = case.run_detached(&["--memory-limit", &limit], &["sleep", "600"]);
    let table = case.ctr(&["task", "metrics", &id]).ok();
    let shown = |name: &str| {
        let line = table.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}: {table}"))
            .trim()
            .to_owned()
    };
    assert_eq!(shown("memory.usage_limit"), limit);
    assert_ne!(shown("cpu.usage_usec"), "0");
    assert_eq!(shown("pids.current"), "1");
    case.remove(&id);
}

#[test]
fn counters_of_a_busy_container_lie_between_two_looks() {
    let lab = Lab::new();
    let c = lab.container(&script("while :; do :; done"));
    c.run();
    let group = Group::of(&c);
    let used = || group.counter("cpu.stat", "usage_usec");
    let faults = || group.counter("memory.stat", "pgfault");
    for _ in 0..20 {
        let before = (used(), faults());
        let m = metrics(&c);
        let after = (used(), faults());
        assert!((before.0..=after.0).contains(&m.cpu.usage_usec));
        assert!((before.1..=after.1).contains(&m.memory.pgfault));
    }
}

/// A group for which the kernel does not count pressure (`cgroup.pressure`) has no numbers, not 0.
#[test]
fn pressure_that_is_not_counted_is_left_out() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let parts =
        |m: &message::Metrics| [&m.cpu.psi, &m.memory.psi, &m.io.psi].map(|psi| psi.is_some());
    assert_eq!(parts(&metrics(&c)), [true; 3]);
    Group::of(&c).write("cgroup.pressure", "0");
    assert_eq!(parts(&agree(&c)), [false; 3]);
}

/// What was saved up in quiet periods is used in a busy one.
#[test]
fn bursts_are_counted() {
    let lab = Lab::new();
    let cpu = json!({ "quota": 20_000, "period": 100_000, "burst": 20_000 });
    let text = "while :; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.5; done";
    let c = lab.container(&script(text).resource("cpu", cpu));
    c.run();
    let group = Group::of(&c);
    eventually("a burst", || {
        (group.counter("cpu.stat", "nr_bursts") > 0).then_some(())
    });
    block(c.task.pause(&c.id)).unwrap();
    let m = agree(&c);
    assert!(m.cpu.nr_bursts > 0 && m.cpu.burst_usec > 0, "{:?}", m.cpu);
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
    assert_eq!((m.memory_events.oom, m.memory_events.oom_kill), (1, 1));
    assert!(m.memory_events.max > 0);
}

#[test]
fn stopped_container_has_its_last_numbers_until_it_is_deleted() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    c.kill_and_wait();
    let m = metrics(&c);
    assert_eq!(m.pids.current, 0);
    assert!(m.cpu.usage_usec > 0);
}
