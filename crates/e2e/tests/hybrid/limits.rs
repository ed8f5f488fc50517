//! Each limit of a spec is the value of a file of its controller.

use hull_e2e::{Lab, Spec, eventually};
use serde_json::{Value, json};

use crate::group::{Files, Group};
use crate::{MIB, disk, one_by_one, script, sleeper};

/// Each spec gives a group with these files.
#[track_caller]
fn created<'a>(table: impl IntoIterator<Item = (Spec, Files<'a>)>) {
    one_by_one(table, |c, values| Group::of(c).expect(values));
}

#[test]
fn memory_and_swap() {
    /// What a new group has: the largest number of pages.
    const NONE: &str = "9223372036854771712";
    let table: [(Value, Files<'_>); 7] = [
        (
            json!({ "limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB }),
            &[
                ("memory", "memory.limit_in_bytes", "67108864"),
                ("memory", "memory.soft_limit_in_bytes", "33554432"),
                ("memory", "memory.memsw.limit_in_bytes", "100663296"),
            ],
        ),
        (
            json!({ "limit": 64 * MIB, "swap": 64 * MIB }),
            &[
                ("memory", "memory.limit_in_bytes", "67108864"),
                ("memory", "memory.memsw.limit_in_bytes", "67108864"),
            ],
        ),
        (
            json!({ "limit": 64 * MIB, "swap": -1 }),
            &[
                ("memory", "memory.limit_in_bytes", "67108864"),
                ("memory", "memory.memsw.limit_in_bytes", NONE),
            ],
        ),
        (
            json!({ "limit": -1, "reservation": -1 }),
            &[
                ("memory", "memory.limit_in_bytes", NONE),
                ("memory", "memory.memsw.limit_in_bytes", NONE),
                ("memory", "memory.soft_limit_in_bytes", NONE),
            ],
        ),
        (
            json!({ "limit": 0, "reservation": 0, "swap": 0 }),
            &[
                ("memory", "memory.limit_in_bytes", NONE),
                ("memory", "memory.memsw.limit_in_bytes", NONE),
            ],
        ),
        (
            json!({ "swappiness": 7 }),
            &[("memory", "memory.swappiness", "7")],
        ),
        (
            // The kernel has no limit of its own for them any more, and no other way to count.
            json!({ "kernel": 64 * MIB, "kernelTCP": 64 * MIB, "useHierarchy": false }),
            &[
                ("memory", "memory.kmem.limit_in_bytes", NONE),
                ("memory", "memory.kmem.tcp.limit_in_bytes", NONE),
                ("memory", "memory.use_hierarchy", "1"),
            ],
        ),
    ];
    created(table.map(|(memory, values)| (sleeper().resource("memory", memory), values)));
}

#[test]
fn oom_killer_can_be_off() {
    let killer = |disabled: bool| sleeper().resource("memory/disableOOMKiller", disabled);
    for (spec, first_line) in [
        (killer(true), "oom_kill_disable 1"),
        (killer(false), "oom_kill_disable 0"),
    ] {
        one_by_one([(spec, first_line)], |c, first_line| {
            let control = Group::of(c).read("memory", "memory.oom_control");
            assert_eq!(control.lines().next(), Some(first_line));
        });
    }
}

#[test]
fn shares_are_taken_as_they_are_and_clipped_at_their_ends() {
    let table = [
        (1, "2"),
        (2, "2"),
        (512, "512"),
        (262_144, "262144"),
        (1_000_000, "262144"),
        (0, "1024"),
    ];
    let specs =
        table.map(|(shares, expected)| (sleeper().resource("cpu/shares", shares), expected));
    one_by_one(specs, |c, expected| {
        Group::of(c).expect(&[("cpu", "cpu.shares", expected)]);
    });
}

#[test]
fn quota_period_and_burst() {
    let table: [(Value, Files<'_>); 5] = [
        (
            json!({ "quota": 20_000, "period": 50_000, "burst": 10_000 }),
            &[
                ("cpu", "cpu.cfs_quota_us", "20000"),
                ("cpu", "cpu.cfs_period_us", "50000"),
                ("cpu", "cpu.cfs_burst_us", "10000"),
            ],
        ),
        (
            json!({ "quota": 20_000 }),
            &[
                ("cpu", "cpu.cfs_quota_us", "20000"),
                ("cpu", "cpu.cfs_period_us", "100000"),
            ],
        ),
        (
            json!({ "period": 50_000 }),
            &[
                ("cpu", "cpu.cfs_quota_us", "-1"),
                ("cpu", "cpu.cfs_period_us", "50000"),
            ],
        ),
        (
            json!({ "quota": -1, "period": 50_000 }),
            &[
                ("cpu", "cpu.cfs_quota_us", "-1"),
                ("cpu", "cpu.cfs_period_us", "50000"),
            ],
        ),
        (
            json!({ "quota": 0, "period": 0, "burst": 0 }),
            &[
                ("cpu", "cpu.cfs_quota_us", "-1"),
                ("cpu", "cpu.cfs_period_us", "100000"),
                ("cpu", "cpu.cfs_burst_us", "0"),
            ],
        ),
    ];
    created(table.map(|(cpu, values)| (sleeper().resource("cpu", cpu), values)));
}

#[test]
fn idle_group_takes_no_shares() {
    let table: [(Value, Files<'_>); 3] = [
        (json!({ "idle": 1 }), &[("cpu", "cpu.idle", "1")]),
        (
            json!({ "idle": 1, "shares": 512 }),
            &[("cpu", "cpu.idle", "1")],
        ),
        (
            json!({ "idle": 0, "shares": 512 }),
            &[("cpu", "cpu.idle", "0"), ("cpu", "cpu.shares", "512")],
        ),
    ];
    created(table.map(|(cpu, values)| (sleeper().resource("cpu", cpu), values)));
}

/// The kernel has a budget for realtime only in groups whose parent has one: here the root.
#[test]
fn realtime_budget_is_that_of_the_file_or_refused_by_it() {
    let lab = Lab::new();
    let budget = json!({ "realtimeRuntime": 5_000, "realtimePeriod": 500_000 });
    let spec = sleeper().resource("cpu", budget);
    let c = lab.container(&spec.clone().cgroup(&format!("/{}-realtime", lab.tag())));
    c.run();
    Group::of(&c).expect(&[
        ("cpu", "cpu.rt_runtime_us", "5000"),
        ("cpu", "cpu.rt_period_us", "500000"),
    ]);
    c.kill_and_wait();
    c.delete().unwrap();
    drop(c);
    let nested = lab.container(&spec);
    let error = nested.try_create().unwrap_err();
    hull_e2e::is_one_clear_line(error.message(), &["cpu.rt_runtime_us", "5000"]);
    assert!(!Group::of(&nested).exists());
}

/// Where the parent has no list, no process could come in: it gets that of its own parent first.
#[test]
fn processors_and_nodes_are_handed_down() {
    let lab = Lab::new();
    let (parent, way) = (
        format!("{}/a", lab.cgroup()),
        format!("{}/a/b", lab.cgroup()),
    );
    let c = lab.container(&sleeper().cgroup(&format!("{way}/c")));
    let pid = c.run();
    let root = Group::at("/");
    let [cpus, mems] = ["cpuset.cpus", "cpuset.mems"].map(|file| root.read("cpuset", file));
    assert!(!cpus.is_empty() && !mems.is_empty());
    for group in [Group::at(&parent), Group::at(&way), Group::of(&c)] {
        group.expect(&[
            ("cpuset", "cpuset.cpus", &cpus),
            ("cpuset", "cpuset.mems", &mems),
        ]);
    }
    let allowed = hull_e2e::procfs::field(pid, "Cpus_allowed_list");
    assert_eq!(allowed, Some(cpus));
    c.kill_and_wait();
    c.delete().unwrap();
    drop(c);
    hull_e2e::cgroup::remove_naming(&way);
    // A parent's own list is handed down as it is.
    Group::at(&parent).write("cpuset", "cpuset.cpus", "0");
    let c = lab.container(&sleeper().cgroup(&format!("{parent}/d")));
    let pid = c.run();
    Group::of(&c).expect(&[("cpuset", "cpuset.cpus", "0")]);
    let allowed = hull_e2e::procfs::field(pid, "Cpus_allowed_list");
    assert_eq!(allowed.as_deref(), Some("0"));
    c.kill_and_wait();
    c.delete().unwrap();
    drop(c);
    hull_e2e::cgroup::remove_naming(&parent);
}

#[test]
fn placement_is_that_of_the_spec() {
    let values: Files<'_> = &[
        ("cpuset", "cpuset.cpus", "1"),
        ("cpuset", "cpuset.mems", "0"),
    ];
    created([(
        sleeper().resource("cpu", json!({ "cpus": "1", "mems": "0" })),
        values,
    )]);
}

#[test]
fn number_of_tasks() {
    let table: [(i64, Files<'_>); 3] = [
        (33, &[("pids", "pids.max", "33")]),
        (-1, &[("pids", "pids.max", "max")]),
        (0, &[("pids", "pids.max", "1")]),
    ];
    created(table.map(|(limit, values)| (sleeper().resource("pids/limit", limit), values)));
}

#[test]
fn rates_of_block_devices() {
    let (major, minor) = disk();
    let rate = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let spec = sleeper()
        .resource("blockIO/throttleReadBpsDevice", rate(MIB))
        .resource("blockIO/throttleWriteBpsDevice", rate(2 * MIB))
        .resource("blockIO/throttleReadIOPSDevice", rate(300))
        .resource("blockIO/throttleWriteIOPSDevice", rate(400));
    let shown = |rate: u64| format!("{major}:{minor} {rate}");
    created([(
        spec,
        &[
            (
                "blkio",
                "blkio.throttle.read_bps_device",
                shown(MIB).as_str(),
            ),
            ("blkio", "blkio.throttle.write_bps_device", &shown(2 * MIB)),
            ("blkio", "blkio.throttle.read_iops_device", &shown(300)),
            ("blkio", "blkio.throttle.write_iops_device", &shown(400)),
        ] as Files<'_>,
    )]);
}

/// Which file takes a weight depends on the kernel; without any the limit is refused by name.
#[test]
fn weights_of_block_devices() {
    let (major, minor) = disk();
    let lab = Lab::new();
    let c = lab.container(&sleeper().resource("blockIO/weight", 500));
    let group = Group::of(&c);
    match c.try_create() {
        Ok(_) => {
            let file = ["blkio.bfq.weight", "blkio.weight"]
                .into_iter()
                .find(|file| group.dir("blkio").join(file).exists());
            assert_eq!(group.read("blkio", file.unwrap()), "500");
            c.kill_and_wait();
            c.delete().unwrap();
        }
        Err(error) => {
            hull_e2e::is_one_clear_line(error.message(), &["blockIO.weight", "blkio.bfq.weight"]);
        }
    }
    // A weight of its own needs the scheduler at work on the disk.
    let weights = json!([{ "major": major, "minor": minor, "weight": 300 }]);
    c.reconfigure(&sleeper().resource("blockIO/weightDevice", weights));
    let value = format!("{major}:{minor} 300");
    match c.try_create() {
        Ok(_) => {
            let content = group.read("blkio", "blkio.bfq.weight_device");
            assert!(content.contains(&value), "{content}");
        }
        Err(error) => {
            let parts = ["blkio.bfq.weight_device", value.as_str()];
            hull_e2e::is_one_clear_line(error.message(), &parts);
            assert!(!group.exists());
        }
    }
}

#[test]
fn huge_pages_and_files_of_the_unified_tree() {
    let limit = json!([{ "pageSize": "2MB", "limit": 4 * MIB }]);
    let spec = sleeper()
        .resource("hugepageLimits", limit)
        .resource("unified", json!({ "cgroup.max.depth": "5" }));
    created([(
        spec,
        &[
            ("hugetlb", "hugetlb.2MB.max", "4194304"),
            ("hugetlb", "hugetlb.2MB.rsvd.max", "4194304"),
            ("unified", "cgroup.max.depth", "5"),
        ] as Files<'_>,
    )]);
}

#[test]
fn quota_slows_a_loop() {
    let lab = Lab::new();
    let quota = json!({ "quota": 5_000, "period": 50_000 });
    let c = lab.container(&script("while :; do :; done").resource("cpu", quota));
    c.run();
    let group = Group::of(&c);
    eventually("five periods in which it was stopped", || {
        let stat = group.read("cpu", "cpu.stat");
        let stopped = stat
            .lines()
            .find_map(|line| line.strip_prefix("nr_throttled "));
        (stopped.unwrap().parse::<u64>().unwrap() >= 5).then_some(())
    });
}
