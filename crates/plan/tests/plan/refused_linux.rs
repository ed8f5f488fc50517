//! Mistakes in `linux`, and the exact text that the client reads.

use crate::refused::check;
use crate::{lower_value, with};
use serde_json::{Value, json};

fn uts() -> Value {
    json!([{ "type": "mount" }, { "type": "uts" }])
}

#[test]
fn namespaces() {
    let at = "/linux/namespaces";
    check(&[
        (
            at,
            json!([]),
            "linux.namespaces: a mount namespace is required",
        ),
        (
            at,
            json!([{ "type": "pid" }]),
            "linux.namespaces: a mount namespace is required",
        ),
        (
            at,
            json!([{ "type": "mount" }, { "type": "pid" }, { "type": "pid" }]),
            "linux.namespaces[2].type: the type pid is listed twice",
        ),
        (
            at,
            json!([{ "type": "mnt" }]),
            "linux.namespaces[0].type: unknown variant `mnt`, expected one of `mount`, `cgroup`, \
             `uts`, `ipc`, `user`, `pid`, `network`, `time`",
        ),
        (
            at,
            json!([{ "type": "network", "path": "proc/1/ns/net" }]),
            "linux.namespaces[0].path: \"proc/1/ns/net\" is not absolute",
        ),
        (
            at,
            json!([{ "type": "mount", "path": "/proc/1/ns/mnt" }]),
            "linux.namespaces[0].path: joining a mount namespace is not supported yet",
        ),
        (
            "/hostname",
            json!("h"),
            "hostname: setting it needs a uts namespace",
        ),
        (
            "/domainname",
            json!("d"),
            "domainname: setting it needs a uts namespace",
        ),
        (
            "/hostname",
            json!("h".repeat(65)),
            "hostname: it is longer than 64 bytes",
        ),
    ]);
}

#[test]
fn devices() {
    let at = "/linux/devices";
    check(&[
        (
            at,
            json!([{ "path": "dev/x", "type": "c" }]),
            "linux.devices[0].path: \"dev/x\" is not an absolute path of a file",
        ),
        (
            at,
            json!([{ "path": "/..", "type": "c" }]),
            "linux.devices[0].path: \"/..\" is not an absolute path of a file",
        ),
        (
            at,
            json!([{ "path": "/dev/x", "type": "a" }]),
            "linux.devices[0].type: \"a\" is no type of a device node",
        ),
        (
            at,
            json!([{ "path": "/dev/x", "type": "c", "major": 4096 }]),
            "linux.devices[0].major: 4096 is not between 0 and 4095",
        ),
        (
            at,
            json!([{ "path": "/dev/x", "type": "b", "minor": -1 }]),
            "linux.devices[0].minor: -1 is not between 0 and 1048575",
        ),
        (
            at,
            json!([{ "path": "/dev/x", "type": "p", "uid": u32::MAX }]),
            "linux.devices[0].uid: 4294967295 is not a valid id",
        ),
        (
            "/linux/resources/devices",
            json!([{ "allow": true }]),
            "linux.resources.devices[0].access: \"\" is not made of r, w and m",
        ),
        (
            "/linux/resources/devices",
            json!([{ "allow": true, "access": "rx" }]),
            "linux.resources.devices[0].access: \"rx\" is not made of r, w and m",
        ),
        (
            "/linux/resources/devices",
            json!([{ "allow": true, "type": "p", "access": "r" }]),
            "linux.resources.devices[0].type: \"p\" is no type of a device rule",
        ),
        (
            "/linux/resources/devices",
            json!([{ "allow": true, "major": -2, "access": "r" }]),
            "linux.resources.devices[0].major: -2 is not a device number",
        ),
    ]);
}

#[test]
fn sysctls() {
    for (name, kinds, want) in [
        ("kernel.core_pattern", uts(), "it would change the host"),
        ("vm.swappiness", uts(), "it would change the host"),
        (
            "user.max_user_namespaces",
            uts(),
            "without a user namespace it would change the host",
        ),
        (
            "net.core.somaxconn",
            uts(),
            "without a network namespace it would change the host",
        ),
        (
            "net/core/somaxconn",
            uts(),
            "without a network namespace it would change the host",
        ),
        (
            "kernel.shmmax",
            uts(),
            "without an ipc namespace it would change the host",
        ),
        (
            "fs.mqueue.msg_max",
            uts(),
            "without an ipc namespace it would change the host",
        ),
        (
            "kernel.domainname",
            json!([{ "type": "mount" }]),
            "without a uts namespace it would change the host",
        ),
        ("kernel.hostname", uts(), "the field hostname sets it"),
        (
            "net/../kernel/core_pattern",
            uts(),
            "it is not the name of a kernel parameter",
        ),
        (
            "net.//.kernel.core_pattern",
            uts(),
            "it is not the name of a kernel parameter",
        ),
        ("", uts(), "it is not the name of a kernel parameter"),
    ] {
        let sysctl = json!({ name: "1" });
        let config = with(&[("/linux/namespaces", kinds), ("/linux/sysctl", sysctl)]);
        let message = lower_value(&config).unwrap_err().to_string();
        assert_eq!(
            message,
            format!("invalid config: linux.sysctl[{name:?}]: {want}")
        );
    }
    let twice = json!({ "net.core.a": "1", "net/core/a": "2" });
    let kinds = json!([{ "type": "mount" }, { "type": "network" }]);
    let config = with(&[("/linux/namespaces", kinds), ("/linux/sysctl", twice)]);
    assert_eq!(
        lower_value(&config).unwrap_err().to_string(),
        "invalid config: linux.sysctl[\"net/core/a\"]: the parameter is listed twice"
    );
}

#[test]
fn cgroup_path() {
    let at = "/linux/cgroupsPath";
    check(&[
        (
            at,
            json!("/a/../b"),
            "linux.cgroupsPath: \"/a/../b\" contains \"..\"",
        ),
        (at, json!("/"), "linux.cgroupsPath: it is the root cgroup"),
        (at, json!("."), "linux.cgroupsPath: it is the root cgroup"),
        (
            at,
            json!("system.slice:hull"),
            "linux.cgroupsPath: \"system.slice:hull\": expected slice:prefix:name for a unit of systemd, \
             not 2 parts",
        ),
        (
            at,
            json!("a:hull:c1"),
            "linux.cgroupsPath: \"a:hull:c1\": expected slice:prefix:name for a unit of systemd, and \
             \"a\" is no slice",
        ),
    ]);
}

#[test]
fn resources() {
    let at = "/linux/resources";
    let row = |value: Value, want: &'static str| (at, value, want);
    check(&[
        row(
            json!({ "cpu": { "idle": 2 } }),
            "linux.resources.cpu.idle: 2 is not 0 or 1",
        ),
        row(
            json!({ "cpu": { "cpus": "0;1" } }),
            "linux.resources.cpu.cpus: \"0;1\" is no list like \"0-2,7\"",
        ),
        row(
            json!({ "cpu": { "shares": -1 } }),
            "linux.resources.cpu.shares: invalid value: integer `-1`, expected u64",
        ),
        row(
            json!({ "memory": { "limit": -2 } }),
            "linux.resources.memory.limit: -2 is not -1 or a number of bytes",
        ),
        row(
            json!({ "memory": { "swappiness": 101 } }),
            "linux.resources.memory.swappiness: 101 is above 100",
        ),
        row(
            json!({ "memory": { "limit": 20, "swap": 10 } }),
            "linux.resources.memory.swap: 10 bytes of memory and swap are less than 20 bytes of \
             memory",
        ),
        row(
            json!({ "pids": { "limit": -2 } }),
            "linux.resources.pids.limit: -2 is not -1 or a number",
        ),
        row(
            json!({ "blockIO": { "weight": 9 } }),
            "linux.resources.blockIO.weight: 9 is not between 10 and 1000",
        ),
        row(
            json!({ "blockIO": { "throttleReadBpsDevice": [{ "major": -8 }] } }),
            "linux.resources.blockIO.throttleReadBpsDevice[0]: -8:0 is not a device number",
        ),
        row(
            json!({ "hugepageLimits": [{ "pageSize": "../2MB", "limit": 1 }] }),
            "linux.resources.hugepageLimits[0].pageSize: \"../2MB\" is no size like \"2MB\"",
        ),
        row(
            json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": -1 }] }),
            "linux.resources.hugepageLimits[0].limit: -1 is negative",
        ),
        row(
            json!({ "unified": { "../cgroup.procs": "1" } }),
            "linux.resources.unified[\"../cgroup.procs\"]: it is not the name of a cgroup file",
        ),
        row(
            json!({ "network": { "priorities": [{ "name": "eth0 9", "priority": 1 }] } }),
            "linux.resources.network.priorities[0].name: \"eth0 9\" is not the name of a network \
             interface",
        ),
        row(
            json!({ "network": { "priorities": [{ "priority": 1 }] } }),
            "linux.resources.network.priorities[0].name: \"\" is not the name of a network interface",
        ),
        row(
            json!({ "rdma": { "mlx": {} } }),
            "linux.resources.rdma[\"mlx\"]: it has neither hcaHandles nor hcaObjects",
        ),
        row(
            json!({ "rdma": { "m x": { "hcaHandles": 1 } } }),
            "linux.resources.rdma[\"m x\"]: it is not the name of an RDMA device",
        ),
    ]);
}

#[test]
fn what_is_not_supported_yet() {
    check(&[
        (
            "/linux/intelRdt",
            json!({ "closID": "x" }),
            "linux.intelRdt: Intel RDT is not supported yet",
        ),
        (
            "/linux/memoryPolicy",
            json!({ "mode": "MPOL_BIND", "nodes": "0" }),
            "linux.memoryPolicy: a memory policy is not supported yet",
        ),
        (
            "/linux/personality",
            json!({ "domain": "LINUX32" }),
            "linux.personality: a personality is not supported yet",
        ),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock" }),
            "linux.seccomp.listenerPath: notifying a seccomp agent is not supported yet",
        ),
    ]);
}

#[test]
fn a_key_with_a_line_break_stays_one_line() {
    check(&[(
        "/linux/sysctl",
        json!({ "a\nb": 1 }),
        "linux.sysctl.a b: invalid type: integer `1`, expected a string",
    )]);
}
