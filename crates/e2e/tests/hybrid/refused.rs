//! Limits and places that cannot be had: one clear line, and nothing is left of the attempt.

use std::fs;

use hull_e2e::{Lab, Spec, block, is_one_clear_line};
use serde_json::{Value, json};

use crate::group::{Group, Inhabitant};
use crate::{MIB, sleeper};

fn with(path: &str, value: impl Into<Value>) -> Spec {
    sleeper().resource(path, value)
}

#[test]
fn limits_without_their_controller_or_with_a_wrong_value() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["true"]));
    let table: [(Spec, &[&str]); 12] = [
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
            with("rdma", json!({ "mlx5_1": { "hcaHandles": 3 } })),
            &["rdma", "rdma controller"],
        ),
        // In the unified tree of this host there is no such controller.
        (
            with("unified", json!({ "memory.high": "1048576" })),
            &["unified", "memory controller"],
        ),
        (
            with("unified", json!({ "pids.max": "9" })),
            &["unified", "pids controller"],
        ),
        (
            with("unified", json!({ "cgroup.nonsense": "1" })),
            &["unified", "cgroup.nonsense"],
        ),
        (with("unified", json!({ "a/b.max": "1" })), &["a/b.max"]),
        (with("cpu/cpus", "1000"), &["cpuset.cpus", "1000"]),
        (with("cpu/quota", 10), &["cpu.cfs_quota_us", "10"]),
        (
            with("memory", json!({ "limit": 64 * MIB, "swap": 32 * MIB })),
            &["memory.swap", "33554432"],
        ),
        (
            with("memory/swappiness", 101),
            &["memory.swappiness", "101"],
        ),
        (
            with(
                "blockIO/throttleReadBpsDevice",
                json!([{ "major": 4000, "minor": 99, "rate": 1000 }]),
            ),
            &["blkio.throttle.read_bps_device", "4000:99"],
        ),
    ];
    for (spec, parts) in table {
        c.reconfigure(&spec);
        let error = c.try_create().unwrap_err();
        is_one_clear_line(error.message(), parts);
        assert!(!Group::of(&c).exists(), "{error}");
    }
    // What asks for nothing needs no controller.
    let nothing = with(
        "network",
        json!({ "classID": 0, "priorities": [{ "name": "lo", "priority": 0 }] }),
    );
    c.reconfigure(&nothing.set("/process/args", json!(["true"])));
    c.run();
    assert_eq!(c.wait(), 0);
}

#[test]
fn missing_controllers_are_named_in_updates_too() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let table: [(Value, &[&str]); 3] = [
        (
            json!({ "network": { "classID": 7 } }),
            &["network.classID", "net_cls controller"],
        ),
        (
            json!({ "network": { "priorities": [{ "name": "eth9", "priority": 1 }] } }),
            &["network.priorities", "net_prio controller"],
        ),
        (
            json!({ "rdma": { "mlx5_1": { "hcaObjects": 3 } } }),
            &["rdma", "rdma controller"],
        ),
    ];
    for (resources, parts) in table {
        let error = block(c.task.update(&c.id, &resources)).unwrap_err();
        is_one_clear_line(error.message(), parts);
    }
    block(c.task.update(&c.id, &json!({ "pids": { "limit": 9 } }))).unwrap();
    Group::of(&c).expect(&[("pids", "pids.max", "9")]);
}

/// In whichever hierarchy a stranger is: the group is somebody else's, and stays as it is.
#[test]
fn group_with_processes_is_refused_in_any_hierarchy() {
    let lab = Lab::new();
    for controller in ["memory", "freezer", "unified"] {
        let c = lab.container(&sleeper().resource("memory/limit", 64 * MIB));
        let target = Group::of(&c);
        fs::create_dir_all(target.dir(controller)).unwrap();
        let neighbour = Inhabitant::of(&target, controller);
        let before = picture(&target, controller);
        let error = c.try_create().unwrap_err();
        let place = target.dir(controller).display().to_string();
        is_one_clear_line(
            error.message(),
            &["container's cgroup is not empty", &place],
        );
        assert_eq!(picture(&target, controller), before);
        assert_eq!(before[0], neighbour.0.id().to_string());
        drop(neighbour);
        fs::remove_dir(target.dir(controller)).unwrap();
        assert!(!target.exists());
    }
}

/// Its processes, and in the memory controller its limit.
fn picture(group: &Group, controller: &str) -> [String; 2] {
    let limit = match controller {
        "memory" => group.read(controller, "memory.limit_in_bytes"),
        _ => String::new(),
    };
    [group.read(controller, "cgroup.procs"), limit]
}

#[test]
fn frozen_group_is_refused_in_either_freezer() {
    let lab = Lab::new();
    let freezers = [
        ("freezer", "freezer.state", "FROZEN", "THAWED"),
        ("unified", "cgroup.freeze", "1", "0"),
    ];
    for (controller, file, frozen, thawed) in freezers {
        let c = lab.container(&sleeper());
        let target = Group::of(&c);
        fs::create_dir_all(target.dir(controller)).unwrap();
        target.write(controller, file, frozen);
        let error = c.try_create().unwrap_err();
        let place = target.dir(controller).display().to_string();
        is_one_clear_line(
            error.message(),
            &["container's cgroup unexpectedly frozen", &place],
        );
        target.expect(&[(controller, file, frozen)]);
        target.write(controller, file, thawed);
        // Empty and thawed it is taken.
        c.run();
        c.kill_and_wait();
        c.delete().unwrap();
        assert!(!target.exists());
    }
}
