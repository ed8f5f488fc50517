//! Update: what it names is changed at once, what it leaves out stays.

use hull_e2e::{Container, Lab, block};
use serde_json::{Value, json};

use crate::group::Group;
use crate::limits::disk;
use crate::{MIB, both_kinds, sleeper};

type Files<'a> = &'a [(&'a str, &'a str)];

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

#[test]
fn memory_grows_and_shrinks_with_its_swap() {
    let lab = Lab::new();
    let c = lab.container(&sleeper().resource("memory/limit", 32 * MIB));
    c.run();
    let memory = |value: Value| json!({ "memory": value });
    updates(
        &c,
        &[
            (
                memory(json!({ "limit": 128 * MIB, "swap": 160 * MIB })),
                &[("memory.max", "134217728"), ("memory.swap.max", "33554432")],
            ),
            (
                memory(json!({ "limit": 64 * MIB })),
                &[("memory.max", "67108864"), ("memory.swap.max", "33554432")],
            ),
            (
                memory(json!({ "limit": 16 * MIB, "swap": 16 * MIB })),
                &[("memory.max", "16777216"), ("memory.swap.max", "0")],
            ),
            (
                memory(json!({ "reservation": 8 * MIB })),
                &[("memory.max", "16777216"), ("memory.low", "8388608")],
            ),
            (
                memory(json!({ "limit": 0, "swap": 0, "reservation": 0 })),
                &[
                    ("memory.max", "16777216"),
                    ("memory.swap.max", "0"),
                    ("memory.low", "8388608"),
                ],
            ),
            (
                memory(json!({ "swap": -1 })),
                &[("memory.max", "16777216"), ("memory.swap.max", "max")],
            ),
            (
                memory(json!({ "limit": 16 * MIB, "swap": 24 * MIB })),
                &[("memory.max", "16777216"), ("memory.swap.max", "8388608")],
            ),
            (
                memory(json!({ "limit": -1, "reservation": -1 })),
                &[
                    ("memory.max", "max"),
                    ("memory.swap.max", "max"),
                    ("memory.low", "max"),
                ],
            ),
        ],
    );
}

#[test]
fn cpu_parts_change_by_themselves() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let cpu = |value: Value| json!({ "cpu": value });
    updates(
        &c,
        &[
            (cpu(json!({ "shares": 2048 })), &[("cpu.weight", "174")]),
            (cpu(json!({ "shares": 0 })), &[("cpu.weight", "174")]),
            (
                cpu(json!({ "quota": 20_000, "period": 50_000 })),
                &[("cpu.max", "20000 50000"), ("cpu.weight", "174")],
            ),
            (
                cpu(json!({ "quota": 30_000 })),
                &[("cpu.max", "30000 50000")],
            ),
            (
                cpu(json!({ "period": 60_000 })),
                &[("cpu.max", "30000 60000")],
            ),
            (
                // The kernel takes a burst only up to the quota, whichever is written first.
                cpu(json!({ "burst": 40_000, "quota": 40_000 })),
                &[("cpu.max", "40000 60000"), ("cpu.max.burst", "40000")],
            ),
            (
                cpu(json!({ "burst": 10_000, "quota": 15_000 })),
                &[("cpu.max", "15000 60000"), ("cpu.max.burst", "10000")],
            ),
            (cpu(json!({ "burst": 0 })), &[("cpu.max.burst", "0")]),
            (cpu(json!({ "quota": -1 })), &[("cpu.max", "max 60000")]),
            (
                cpu(json!({ "cpus": "1", "mems": "0" })),
                &[("cpuset.cpus", "1"), ("cpuset.mems", "0")],
            ),
            (
                cpu(json!({ "cpus": "0-1" })),
                &[("cpuset.cpus", "0-1"), ("cpuset.cpus.effective", "0-1")],
            ),
        ],
    );
}

#[test]
fn idle_comes_and_goes() {
    let lab = Lab::new();
    let c = lab.container(&sleeper().resource("cpu/shares", 1024));
    c.run();
    let cpu = |value: Value| json!({ "cpu": value });
    updates(
        &c,
        &[
            (cpu(json!({ "idle": 1 })), &[("cpu.idle", "1")]),
            // An idle cgroup takes no weight.
            (
                cpu(json!({ "idle": 1, "shares": 512 })),
                &[("cpu.idle", "1")],
            ),
            (
                cpu(json!({ "idle": 0, "shares": 512 })),
                &[("cpu.idle", "0"), ("cpu.weight", "59")],
            ),
        ],
    );
}

#[test]
fn tasks_huge_pages_and_rates() {
    let (_, major, minor) = disk();
    let rate = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let set = format!("{major}:{minor} rbps=1048576 wbps=max riops=max wiops=50");
    let left = format!("{major}:{minor} rbps=max wbps=max riops=max wiops=50");
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let page = |limit: u64| json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": limit }] });
    updates(
        &c,
        &[
            (json!({ "pids": { "limit": 44 } }), &[("pids.max", "44")]),
            (json!({ "pids": { "limit": -1 } }), &[("pids.max", "max")]),
            (page(2 * MIB), &[("hugetlb.2MB.max", "2097152")]),
            (
                page(0),
                &[("hugetlb.2MB.max", "0"), ("hugetlb.2MB.rsvd.max", "0")],
            ),
            (
                json!({ "blockIO": {
                    "throttleReadBpsDevice": rate(MIB), "throttleWriteIOPSDevice": rate(50),
                } }),
                &[("io.max", &set)],
            ),
            (
                json!({ "blockIO": { "throttleReadBpsDevice": rate(0) } }),
                &[("io.max", &left)],
            ),
            (
                json!({ "blockIO": { "throttleWriteIOPSDevice": rate(0) } }),
                &[("io.max", "")],
            ),
            (
                json!({ "unified": { "memory.high": "1048576", "pids.max": "9" } }),
                &[("memory.high", "1048576"), ("pids.max", "9")],
            ),
        ],
    );
}

/// CRI sends all resources of the spec with each update, the device rules among them.
#[test]
fn whole_resources_of_the_spec_are_taken_again() {
    let lab = Lab::new();
    let spec = sleeper()
        .resource("memory", json!({ "limit": 64 * MIB, "swap": 64 * MIB }))
        .resource(
            "cpu",
            json!({ "shares": 512, "quota": 20_000, "period": 50_000 }),
        )
        .resource("pids/limit", 33);
    let c = lab.container(&spec);
    c.run();
    let files: Files<'_> = &[
        ("memory.max", "67108864"),
        ("memory.swap.max", "0"),
        ("cpu.weight", "59"),
        ("cpu.max", "20000 50000"),
        ("pids.max", "33"),
    ];
    let all = spec.json()["linux"]["resources"].clone();
    updates(&c, &[(all.clone(), files), (all, files)]);
}

#[test]
fn wasm_guest_and_native_program_are_limited_alike() {
    for (lab, spec) in both_kinds() {
        let mut c = lab.container(&spec.resource("memory/limit", 128 * MIB));
        c.run();
        c.read_until("ready\n");
        let resources = json!({
            "memory": { "limit": 64 * MIB, "swap": 64 * MIB },
            "cpu": { "shares": 256 },
            "pids": { "limit": 3 },
        });
        updates(
            &c,
            &[(
                resources,
                &[
                    ("memory.max", "67108864"),
                    ("memory.swap.max", "0"),
                    ("cpu.weight", "35"),
                    ("pids.max", "3"),
                ],
            )],
        );
    }
}

/// Once the usage is above it, a limit can only be had by killing: only on request it is refused.
#[test]
fn limit_below_the_usage_is_refused_where_asked() {
    let lab = Lab::new();
    let mut c = lab.container(&crate::script(
        "dd if=/dev/zero of=/dev/shm/full bs=1M count=16 2>/dev/null; echo ready; sleep 600",
    ));
    c.run();
    c.read_until("ready\n");
    let resources = json!({ "memory": { "limit": 8 * MIB, "checkBeforeUpdate": true } });
    let error = block(c.task.update(&c.id, &resources)).unwrap_err();
    hull_e2e::is_one_clear_line(error.message(), &["memory.limit", "8388608", "usage"]);
    Group::of(&c).expect(&[("memory.max", "max")]);
    let resources = json!({ "memory": { "limit": 64 * MIB, "checkBeforeUpdate": true } });
    updates(&c, &[(resources, &[("memory.max", "67108864")])]);
}
