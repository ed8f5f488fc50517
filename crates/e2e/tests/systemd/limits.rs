//! Limits: the same in systemd and in the files, whoever writes them last.

use std::fs;
use std::os::unix::fs::MetadataExt;

use hull_e2e::{Container, Lab, Spec, block};
use nix::sys::stat::{major, minor};
use serde_json::json;

use crate::sleeper;
use crate::unit::{Unit, systemctl};

const MIB: u64 = 1 << 20;

fn limited() -> Spec {
    sleeper()
        .resource("memory/limit", 64 * MIB)
        .resource("memory/swap", 96 * MIB)
        .resource("memory/reservation", 16 * MIB)
        .resource("cpu/shares", 512)
        .resource("cpu/quota", 50_000)
        .resource("cpu/period", 20_000)
        .resource("cpu/cpus", "0")
        .resource("cpu/mems", "0")
        .resource("pids/limit", 50)
        .resource(
            "unified",
            json!({ "memory.high": "50M", "io.weight": "default 77" }),
        )
        .resource(
            "hugepageLimits",
            json!([{ "pageSize": "2MB", "limit": 4 * MIB }]),
        )
}

const PROPERTIES: &[(&str, &str)] = &[
    ("MemoryMax", "67108864"),
    ("MemorySwapMax", "33554432"),
    ("MemoryLow", "16777216"),
    ("MemoryHigh", "52428800"),
    ("CPUWeight", "59"),
    ("CPUQuotaPerSecUSec", "2.500000s"),
    ("CPUQuotaPeriodUSec", "20ms"),
    ("AllowedCPUs", "0"),
    ("AllowedMemoryNodes", "0"),
    ("TasksMax", "50"),
    ("IOWeight", "77"),
];

const FILES: &[(&str, &str)] = &[
    ("memory.max", "67108864"),
    ("memory.swap.max", "33554432"),
    ("memory.low", "16777216"),
    ("memory.high", "52428800"),
    ("cpu.weight", "59"),
    ("cpu.max", "50000 20000"),
    ("cpuset.cpus", "0"),
    ("cpuset.mems", "0"),
    ("pids.max", "50"),
    ("io.weight", "default 77"),
    ("hugetlb.2MB.max", "4194304"),
];

fn without<'a>(files: &[(&'a str, &'a str)], name: &str) -> Vec<(&'a str, &'a str)> {
    let mut files = files.to_vec();
    files.retain(|(file, _)| *file != name);
    files
}

/// Fails the test unless the container cannot read the machine's disk, which only the filter forbids,
/// and can read what it may.
#[track_caller]
fn expect_device_filter(c: &Container<'_>, exec: &str) {
    let disk = fs::metadata("/dev/vda").unwrap().rdev();
    let text = format!(
        "cd /tmp; rm -f n; mknod n b {} {}; head -c 1 /dev/zero | wc -c; head -c 1 n",
        major(disk),
        minor(disk)
    );
    let ran = c.exec(exec, ["sh", "-c", &text]);
    assert_eq!(ran.stdout, "1\n", "{ran:?}");
    assert!(ran.stderr.contains("Operation not permitted"), "{ran:?}");
}

/// Without a rule against it the disk can be read.
#[test]
fn disk_can_be_read_where_a_rule_allows_it() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let rule = json!({ "allow": true, "type": "b", "access": "rwm" });
    let c = lab.container(&unit.around(sleeper().resource("devices/-", rule)));
    c.run();
    let disk = fs::metadata("/dev/vda").unwrap().rdev();
    let text = format!(
        "mknod /tmp/n b {} {}; head -c 512 /tmp/n | wc -c",
        major(disk),
        minor(disk)
    );
    assert_eq!(c.exec("e", ["sh", "-c", &text]).stdout, "512\n");
}

#[test]
fn limits_are_in_systemd_and_in_the_files_and_survive_a_reload() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let c = lab.container(&unit.around(limited()));
    c.run();
    unit.expect(PROPERTIES);
    unit.expect_files(FILES);
    expect_device_filter(&c, "before");
    systemctl(&["daemon-reload"]);
    unit.expect(PROPERTIES);
    unit.expect_files(FILES);
    expect_device_filter(&c, "after");
    // Which makes systemd write everything that it knows of the unit.
    systemctl(&["set-property", "--runtime", &unit.name(), "MemoryHigh=40M"]);
    unit.expect_files(&[("memory.high", "41943040")]);
    unit.expect_files(&without(FILES, "memory.high"));
    expect_device_filter(&c, "set");
}

#[test]
fn update_changes_both_and_survives_a_reload() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let c = lab.container(&unit.around(limited()));
    c.run();
    let resources = json!({
        "memory": { "limit": 128 * MIB, "swap": 128 * MIB },
        "cpu": { "quota": 30_000, "shares": 1024, "cpus": "0-1" },
        "pids": { "limit": 70 },
    });
    block(c.task.update(&c.id, &resources)).unwrap();
    let properties = [
        ("MemoryMax", "134217728"),
        ("MemorySwapMax", "0"),
        ("MemoryLow", "16777216"),
        ("CPUWeight", "100"),
        ("CPUQuotaPerSecUSec", "1.500000s"),
        ("CPUQuotaPeriodUSec", "20ms"),
        ("AllowedCPUs", "0-1"),
        ("TasksMax", "70"),
    ];
    let files = [
        ("memory.max", "134217728"),
        ("memory.swap.max", "0"),
        ("memory.low", "16777216"),
        ("cpu.weight", "100"),
        ("cpu.max", "30000 20000"),
        ("cpuset.cpus", "0-1"),
        ("pids.max", "70"),
    ];
    unit.expect_files(&files);
    unit.expect(&properties);
    systemctl(&["daemon-reload"]);
    unit.expect_files(&files);
    unit.expect(&properties);
}

/// systemd keeps whole percents: the file is exact, and what systemd would write is never less.
#[test]
fn quota_that_is_no_whole_percent_is_exact_in_the_file() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let spec = sleeper()
        .resource("cpu/quota", 33_333)
        .resource("cpu/period", 100_000);
    let c = lab.container(&unit.around(spec));
    c.run();
    unit.expect_files(&[("cpu.max", "33333 100000")]);
    unit.expect(&[("CPUQuotaPerSecUSec", "340ms")]);
    block(c.task.update(&c.id, &json!({ "cpu": { "quota": 12_345 } }))).unwrap();
    unit.expect_files(&[("cpu.max", "12345 100000")]);
    unit.expect(&[("CPUQuotaPerSecUSec", "130ms")]);
}

#[test]
fn idle_container_stays_idle_after_a_reload() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let c = lab.container(&unit.around(sleeper().resource("cpu/idle", 1)));
    c.run();
    unit.expect_files(&[("cpu.idle", "1")]);
    systemctl(&["daemon-reload"]);
    unit.expect_files(&[("cpu.idle", "1")]);
    block(
        c.task
            .update(&c.id, &json!({ "cpu": { "idle": 0, "shares": 512 } })),
    )
    .unwrap();
    unit.expect_files(&[("cpu.idle", "0"), ("cpu.weight", "59")]);
}

/// The process that makes the unit is in it too until init is there, and must not take its place.
#[test]
fn limit_of_one_process_leaves_room_for_init() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let c = lab.container(&unit.around(sleeper().resource("pids/limit", 1)));
    let pid = c.run();
    unit.expect_files(&[("pids.max", "1"), ("cgroup.procs", &pid.to_string())]);
    unit.expect(&[("TasksMax", "1")]);
}

/// A new time namespace takes a process between the launcher and init, which counts as well.
#[test]
fn limit_of_processes_leaves_room_for_those_on_the_way() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let spec = sleeper()
        .resource("pids/limit", 2)
        .namespace("time", None)
        .set(
            "/linux/timeOffsets",
            json!({ "monotonic": { "secs": 1000 } }),
        );
    let c = lab.container(&unit.around(spec));
    let pid = c.run();
    unit.expect_files(&[("pids.max", "2"), ("cgroup.procs", &pid.to_string())]);
}

#[test]
fn container_without_limits_has_none() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let c = lab.container(&unit.around(sleeper()));
    c.run();
    unit.expect_files(&[
        ("memory.max", "max"),
        ("cpu.max", "max 100000"),
        ("cpu.weight", "100"),
    ]);
    unit.expect(&[("MemoryMax", "infinity"), ("CPUWeight", "[not set]")]);
}
