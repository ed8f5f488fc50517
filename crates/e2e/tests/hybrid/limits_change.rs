//! Update: what it names is changed at once, what it leaves out stays.

use hull_e2e::{Container, Lab, Spec, block, is_one_clear_line};
use serde_json::{Value, json};

use crate::group::{Files, Group};
use crate::{MIB, disk, script, sleeper};

/// Updates one after the other, each with the files after it.
#[track_caller]
fn updates(c: &Container<'_>, table: &[(Value, Files<'_>)]) {
    let group = Group::of(c);
    for (resources, values) in table {
        block(c.task.update(&c.id, resources))
            .unwrap_or_else(|error| panic!("{resources}: {error}"));
        group.expect(values);
    }
}

/// The kernel takes neither limit above the other: the order depends on where they go.
#[test]
fn memory_grows_and_shrinks_with_its_swap() {
    const LIMIT: &str = "memory.limit_in_bytes";
    const BOTH: &str = "memory.memsw.limit_in_bytes";
    const NONE: &str = "9223372036854771712";
    let lab = Lab::new();
    let c = lab.container(&sleeper().resource("memory/limit", 32 * MIB));
    c.run();
    let memory = |value: Value| json!({ "memory": value });
    updates(
        &c,
        &[
            (
                memory(json!({ "limit": 128 * MIB, "swap": 160 * MIB })),
                &[
                    ("memory", LIMIT, "134217728"),
                    ("memory", BOTH, "167772160"),
                ],
            ),
            (
                memory(json!({ "limit": 64 * MIB })),
                &[("memory", LIMIT, "67108864"), ("memory", BOTH, "167772160")],
            ),
            (
                memory(json!({ "limit": 16 * MIB, "swap": 16 * MIB })),
                &[("memory", LIMIT, "16777216"), ("memory", BOTH, "16777216")],
            ),
            (
                memory(json!({ "limit": 256 * MIB, "swap": 256 * MIB })),
                &[
                    ("memory", LIMIT, "268435456"),
                    ("memory", BOTH, "268435456"),
                ],
            ),
            (
                memory(json!({ "reservation": 8 * MIB })),
                &[
                    ("memory", LIMIT, "268435456"),
                    ("memory", "memory.soft_limit_in_bytes", "8388608"),
                ],
            ),
            (
                memory(json!({ "limit": 0, "swap": 0, "reservation": 0 })),
                &[
                    ("memory", LIMIT, "268435456"),
                    ("memory", BOTH, "268435456"),
                    ("memory", "memory.soft_limit_in_bytes", "8388608"),
                ],
            ),
            (
                memory(json!({ "swap": -1 })),
                &[("memory", LIMIT, "268435456"), ("memory", BOTH, NONE)],
            ),
            (
                memory(json!({ "limit": 16 * MIB, "swap": 24 * MIB })),
                &[("memory", LIMIT, "16777216"), ("memory", BOTH, "25165824")],
            ),
            (
                memory(json!({ "limit": -1, "reservation": -1 })),
                &[
                    ("memory", LIMIT, NONE),
                    ("memory", BOTH, NONE),
                    ("memory", "memory.soft_limit_in_bytes", NONE),
                ],
            ),
        ],
    );
}

#[test]
fn cpu_parts_change_by_themselves() {
    const QUOTA: &str = "cpu.cfs_quota_us";
    const PERIOD: &str = "cpu.cfs_period_us";
    const BURST: &str = "cpu.cfs_burst_us";
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let cpu = |value: Value| json!({ "cpu": value });
    updates(
        &c,
        &[
            (
                cpu(json!({ "shares": 2048 })),
                &[("cpu", "cpu.shares", "2048")],
            ),
            (
                cpu(json!({ "shares": 0 })),
                &[("cpu", "cpu.shares", "2048")],
            ),
            (
                cpu(json!({ "quota": 20_000, "period": 50_000 })),
                &[("cpu", QUOTA, "20000"), ("cpu", PERIOD, "50000")],
            ),
            (
                cpu(json!({ "period": 60_000 })),
                &[("cpu", QUOTA, "20000"), ("cpu", PERIOD, "60000")],
            ),
            (
                // The kernel takes a burst only up to the quota, whichever is written first.
                cpu(json!({ "burst": 40_000, "quota": 40_000 })),
                &[("cpu", QUOTA, "40000"), ("cpu", BURST, "40000")],
            ),
            (
                cpu(json!({ "burst": 10_000, "quota": 15_000 })),
                &[("cpu", QUOTA, "15000"), ("cpu", BURST, "10000")],
            ),
            (cpu(json!({ "burst": 0 })), &[("cpu", BURST, "0")]),
            (
                cpu(json!({ "quota": -1 })),
                &[("cpu", QUOTA, "-1"), ("cpu", PERIOD, "60000")],
            ),
            (cpu(json!({ "idle": 1 })), &[("cpu", "cpu.idle", "1")]),
            (
                cpu(json!({ "idle": 1, "shares": 512 })),
                &[("cpu", "cpu.idle", "1")],
            ),
            (
                cpu(json!({ "idle": 0, "shares": 512 })),
                &[("cpu", "cpu.idle", "0"), ("cpu", "cpu.shares", "512")],
            ),
            (
                cpu(json!({ "cpus": "1", "mems": "0" })),
                &[
                    ("cpuset", "cpuset.cpus", "1"),
                    ("cpuset", "cpuset.mems", "0"),
                ],
            ),
            (
                cpu(json!({ "cpus": "0-1" })),
                &[("cpuset", "cpuset.cpus", "0-1")],
            ),
        ],
    );
}

#[test]
fn tasks_huge_pages_rates_and_the_oom_killer() {
    let (major, minor) = disk();
    let rate = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let set = format!("{major}:{minor} 1048576");
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let page = |limit: u64| json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": limit }] });
    let killer = |disabled: bool| json!({ "memory": { "disableOOMKiller": disabled } });
    updates(
        &c,
        &[
            (
                json!({ "pids": { "limit": 44 } }),
                &[("pids", "pids.max", "44")],
            ),
            (
                json!({ "pids": { "limit": -1 } }),
                &[("pids", "pids.max", "max")],
            ),
            (page(2 * MIB), &[("hugetlb", "hugetlb.2MB.max", "2097152")]),
            (
                json!({ "blockIO": { "throttleReadBpsDevice": rate(MIB) } }),
                &[("blkio", "blkio.throttle.read_bps_device", &set)],
            ),
            (
                json!({ "blockIO": { "throttleReadBpsDevice": rate(0) } }),
                &[("blkio", "blkio.throttle.read_bps_device", "")],
            ),
            (
                json!({ "memory": { "swappiness": 3 } }),
                &[("memory", "memory.swappiness", "3")],
            ),
            (
                killer(true),
                &[(
                    "memory",
                    "memory.oom_control",
                    "oom_kill_disable 1\nunder_oom 0\noom_kill 0",
                )],
            ),
            (
                json!({ "memory": { "limit": 64 * MIB } }),
                &[(
                    "memory",
                    "memory.oom_control",
                    "oom_kill_disable 1\nunder_oom 0\noom_kill 0",
                )],
            ),
            (
                killer(false),
                &[(
                    "memory",
                    "memory.oom_control",
                    "oom_kill_disable 0\nunder_oom 0\noom_kill 0",
                )],
            ),
        ],
    );
}

/// CRI sends all resources of the spec with each update, the device rules among them.
#[test]
fn whole_resources_of_the_spec_are_taken_again() {
    let spec: Spec = sleeper()
        .resource("memory", json!({ "limit": 64 * MIB, "swap": 64 * MIB }))
        .resource(
            "cpu",
            json!({ "shares": 512, "quota": 20_000, "period": 50_000 }),
        )
        .resource("pids/limit", 33);
    let lab = Lab::new();
    let c = lab.container(&spec);
    c.run();
    let devices = Group::of(&c).read("devices", "devices.list");
    let files: Files<'_> = &[
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.memsw.limit_in_bytes", "67108864"),
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "20000"),
        ("pids", "pids.max", "33"),
        ("devices", "devices.list", &devices),
    ];
    let all = spec.json()["linux"]["resources"].clone();
    updates(&c, &[(all.clone(), files), (all, files)]);
}

/// The kernel would push out what it can before it refuses; on request it is not even asked.
#[test]
fn limit_below_the_usage_is_refused_where_asked() {
    let lab = Lab::new();
    let mut c = lab.container(&script(
        "dd if=/dev/zero of=/dev/shm/full bs=1M count=16 2>/dev/null; echo ready; sleep 600",
    ));
    c.run();
    c.read_until("ready\n");
    let group = Group::of(&c);
    let before = group.read("memory", "memory.limit_in_bytes");
    let resources = json!({ "memory": { "limit": 8 * MIB, "checkBeforeUpdate": true } });
    let error = block(c.task.update(&c.id, &resources)).unwrap_err();
    is_one_clear_line(error.message(), &["memory.limit", "8388608", "usage"]);
    group.expect(&[("memory", "memory.limit_in_bytes", &before)]);
    let resources = json!({ "memory": { "limit": 64 * MIB, "checkBeforeUpdate": true } });
    updates(
        &c,
        &[(
            resources,
            &[("memory", "memory.limit_in_bytes", "67108864")],
        )],
    );
}
