//! Limits that cannot be had: one clear line, and nothing is left of the attempt.

use hull_e2e::{Lab, Spec, block, is_one_clear_line};
use serde_json::{Value, json};

use crate::group::Group;
use crate::{MIB, sleeper};

/// Each Create fails and names the parts; no cgroup is left, and the shim takes a good container.
#[track_caller]
fn refused<'a>(table: impl IntoIterator<Item = (Spec, &'a [&'a str])>) {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["true"]));
    for (spec, parts) in table {
        c.reconfigure(&spec);
        let error = c.try_create().unwrap_err();
        is_one_clear_line(error.message(), parts);
        assert!(!Group::of(&c).exists(), "{error}");
    }
    c.reconfigure(&c.spec);
    c.run();
    assert_eq!(c.wait(), 0);
}

fn with(path: &str, value: impl Into<Value>) -> Spec {
    sleeper().resource(path, value)
}

#[test]
fn what_makes_no_sense_or_is_no_more_in_v2() {
    let table: [(Spec, &[&str]); 12] = [
        (
            with("rdma", json!({ "mlx9_9": {} })),
            &["linux.resources.rdma", "mlx9_9", "hcaHandles"],
        ),
        (
            with("rdma", json!({ "mlx 9": { "hcaHandles": 1 } })),
            &["linux.resources.rdma", "mlx 9"],
        ),
        (
            with("network/classID", 1_048_577),
            &["network.classID", "net_cls controller"],
        ),
        (
            with(
                "network/priorities",
                json!([{ "name": "lo", "priority": 5 }]),
            ),
            &["network.priorities", "net_prio controller"],
        ),
        (
            with("memory", json!({ "limit": 64 * MIB, "swap": 32 * MIB })),
            &["memory.swap", "33554432"],
        ),
        (
            with("memory", json!({ "swap": 32 * MIB })),
            &["memory.swap"],
        ),
        (with("memory/limit", -2), &["memory.limit", "-2"]),
        (
            with("memory", json!({ "swappiness": 10 })),
            &["memory.swappiness"],
        ),
        (
            with("memory", json!({ "disableOOMKiller": true })),
            &["memory.disableOOMKiller"],
        ),
        (
            with("cpu", json!({ "realtimeRuntime": 9500 })),
            &["realtimeRuntime"],
        ),
        (with("blockIO/weight", 5), &["blockIO.weight", "5"]),
        (with("cpu/idle", 2), &["cpu.idle", "2"]),
    ];
    refused(table);
}

#[test]
fn what_the_kernel_refuses() {
    let table: [(Spec, &[&str]); 7] = [
        // No RDMA device is in this machine, so this is as far as a limit for one can come.
        (
            with(
                "rdma",
                json!({ "mlx9_9": { "hcaHandles": 1, "hcaObjects": 2 } }),
            ),
            &[
                "rdma.max",
                "mlx9_9 hca_handle=1 hca_object=2",
                "no such device",
            ],
        ),
        (
            with("unified/rdma.max", "mlx9_9 hca_handle=1"),
            &["rdma.max", "mlx9_9"],
        ),
        (with("cpu/cpus", "1000"), &["cpuset.cpus", "1000"]),
        (with("cpu/mems", "77"), &["cpuset.mems", "77"]),
        (with("cpu/quota", 10), &["cpu.max", "10 100000"]),
        (
            with(
                "blockIO/throttleReadBpsDevice",
                json!([{ "major": 4000, "minor": 99, "rate": 1000 }]),
            ),
            &["io.max", "4000:99"],
        ),
        (
            with("hugepageLimits", json!([{ "pageSize": "3MB", "limit": 1 }])),
            &["hugetlb.3MB.max"],
        ),
    ];
    refused(table);
}

#[test]
fn names_of_files_that_are_none() {
    let unified = |name: &str, value: &str| {
        let mut files = serde_json::Map::new();
        files.insert(name.to_owned(), json!(value));
        with("unified", files)
    };
    let table: [(Spec, &[&str]); 10] = [
        (unified("memory.nonsense", "1"), &["memory.nonsense"]),
        (unified("nonsense.max", "1"), &["nonsense"]),
        (unified("memory.max", "lots"), &["memory.max", "lots"]),
        (unified("../memory.max", "1"), &["../memory.max"]),
        (unified("sub/memory.max", "1"), &["sub/memory.max"]),
        (unified("memory", "1"), &["\"memory\""]),
        // It would be a process of the host that moves.
        (unified("cgroup.procs", "1"), &["cgroup.procs"]),
        // No process would ever run.
        (unified("cgroup.freeze", "1"), &["cgroup.freeze"]),
        (unified("cgroup.type", "threaded"), &["cgroup.type"]),
        (unified("cgroup.kill", "1"), &["cgroup.kill"]),
    ];
    refused(table);
}

#[test]
fn refused_update_is_an_error_and_the_container_lives() {
    let lab = Lab::new();
    let c = lab.container(&with("memory/limit", 64 * MIB));
    c.run();
    let table: [(Value, &[&str]); 6] = [
        (
            json!({ "memory": { "limit": 64 * MIB, "swap": MIB } }),
            &["memory.swap"],
        ),
        (
            json!({ "cpu": { "cpus": "1000" } }),
            &["cpuset.cpus", "1000"],
        ),
        (json!({ "cpu": { "quota": 10 } }), &["cpu.max", "10 "]),
        (
            json!({ "unified": { "memory.nonsense": "1" } }),
            &["memory.nonsense"],
        ),
        (json!({ "unified": { "a/b.c": "1" } }), &["a/b.c"]),
        (
            json!({ "unified": { "cgroup.procs": "1" } }),
            &["cgroup.procs"],
        ),
    ];
    for (resources, parts) in table {
        let error = block(c.task.update(&c.id, &resources)).unwrap_err();
        is_one_clear_line(error.message(), parts);
    }
    Group::of(&c).expect(&[("memory.max", "67108864"), ("cpuset.cpus", "")]);
    block(
        c.task
            .update(&c.id, &json!({ "memory": { "limit": 32 * MIB } })),
    )
    .unwrap();
    Group::of(&c).expect(&[("memory.max", "33554432")]);
}
