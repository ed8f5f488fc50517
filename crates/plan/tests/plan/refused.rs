//! Configs that are refused, and the exact text that the client reads.

use crate::{host, lower_on, lower_value, smallest, with};
use hull_abi::ContainerId;
use hull_plan::{Host, Inputs, lower};
use serde_json::{Value, json};

/// Each row: one change to the smallest config, and the message without its common beginning.
pub(crate) fn check(rows: &[(&str, Value, &str)]) {
    for (path, value, want) in rows {
        let config = with(&[(path, value.clone())]);
        let message = match lower_value(&config) {
            Ok(_) => format!("accepted {path} {value}"),
            Err(invalid) => invalid.to_string(),
        };
        assert_eq!(message, format!("invalid config: {want}"), "{path} {value}");
    }
}

#[test]
fn whole_config() {
    check(&[
        (
            "/ociVersion",
            json!("2.0.0"),
            "ociVersion: \"2.0.0\" is not a version 1.x.y of the spec",
        ),
        (
            "/ociVersion",
            Value::Null,
            "ociVersion: \"\" is not a version 1.x.y of the spec",
        ),
        (
            "/ociVersion",
            json!(1),
            "ociVersion: invalid type: integer `1`, expected a string",
        ),
        ("/linux", Value::Null, "linux: it is missing"),
        ("/process", Value::Null, "process: it is missing"),
        ("/root", Value::Null, "root: it is missing"),
        ("/root/path", json!(""), "root.path: it is empty"),
        (
            "/annotations",
            json!({ "a\0": "" }),
            "annotations: the key \"a\\0\" contains a NUL character",
        ),
        (
            "/annotations",
            json!({ "a": "\0" }),
            "annotations.a: it contains a NUL character",
        ),
        (
            "/linux/rootfsPropagation",
            json!("up"),
            "linux.rootfsPropagation: \"up\" is not a kind of propagation",
        ),
        (
            "/linux/maskedPaths",
            json!(["/a", "b"]),
            "linux.maskedPaths[1]: \"b\" is not absolute",
        ),
        (
            "/linux/readonlyPaths",
            json!([""]),
            "linux.readonlyPaths[0]: \"\" is not absolute",
        ),
        (
            "/linux/mountLabel",
            json!("l"),
            "linux.mountLabel: a label is given, but SELinux is not enabled on this host",
        ),
    ]);
}

#[test]
fn bytes_that_are_no_config() {
    let id = ContainerId::parse("c1").unwrap();
    let message = |config: &[u8]| {
        let inputs = Inputs {
            config,
            bundle: "/b",
            id: &id,
            namespace: "default",
            rootfs: None,
            no_pivot: false,
            terminal: false,
        };
        lower(&inputs, &host()).unwrap_err().to_string()
    };
    let begin = "invalid config: config.json: ";
    assert_eq!(
        message(b""),
        format!("{begin}no JSON: EOF while parsing a value at line 1 column 0")
    );
    assert_eq!(message(b"[]"), format!("{begin}it is not a JSON object"));
    assert_eq!(
        message(&vec![b' '; (16 << 20) + 1]),
        format!("{begin}it is larger than 16777216 bytes")
    );
    let deep = "[".repeat(100_000);
    assert_eq!(
        message(deep.as_bytes()),
        format!("{begin}no JSON: recursion limit exceeded at line 1 column 128")
    );
}

#[test]
fn process() {
    check(&[
        ("/process/args", json!([]), "process.args: it is empty"),
        ("/process/args", Value::Null, "process.args: it is empty"),
        (
            "/process/args",
            json!(["a\0b"]),
            "process.args[0]: it contains a NUL character",
        ),
        (
            "/process/cwd",
            json!("tmp"),
            "process.cwd: \"tmp\" is not absolute",
        ),
        (
            "/process/cwd",
            json!(""),
            "process.cwd: \"\" is not absolute",
        ),
        ("/process/cwd", Value::Null, "process: missing field `cwd`"),
        (
            "/process/env",
            json!(["A=b", "C"]),
            "process.env[1]: it is not NAME=value",
        ),
        (
            "/process/env",
            json!(["=b"]),
            "process.env[0]: it is not NAME=value",
        ),
        (
            "/process/user/uid",
            json!(u32::MAX),
            "process.user.uid: 4294967295 is not a valid id",
        ),
        (
            "/process/user/uid",
            json!(4_294_967_296_u64),
            "process.user.uid: invalid value: integer `4294967296`, expected u32",
        ),
        (
            "/process/user/gid",
            json!(u32::MAX),
            "process.user.gid: 4294967295 is not a valid id",
        ),
        (
            "/process/user/additionalGids",
            json!([1, u32::MAX]),
            "process.user.additionalGids[1]: 4294967295 is not a valid id",
        ),
        (
            "/process/user/umask",
            json!(512),
            "process.user.umask: 0o1000 is more than 0o777",
        ),
        (
            "/process/rlimits",
            json!([{ "type": "RLIMIT_CPU" }, { "type": "RLIMIT_CPU" }]),
            "process.rlimits[1]: RLIMIT_CPU is listed twice",
        ),
        (
            "/process/rlimits",
            json!([{ "type": "RLIMIT_NOFILE", "soft": 2, "hard": 1 }]),
            "process.rlimits[0]: the soft limit 2 is above the hard limit 1",
        ),
    ]);
}

#[test]
fn process_limits_and_rights() {
    check(&[
        (
            "/process/oomScoreAdj",
            json!(-1001),
            "process.oomScoreAdj: -1001 is not between -1000 and 1000",
        ),
        (
            "/process/consoleSize",
            json!({ "width": 65536, "height": 1 }),
            "process.consoleSize.width: 65536 is more than 65535",
        ),
        (
            "/process/capabilities",
            json!({ "effective": ["CAP_KILL"] }),
            "process.capabilities.effective: CAP_KILL is not in the permitted set",
        ),
        (
            "/process/selinuxLabel",
            json!("l"),
            "process.selinuxLabel: a label is given, but SELinux is not enabled on this host",
        ),
    ]);
    let unknown = with(&[("/process/rlimits", json!([{ "type": "RLIMIT_FUTURE" }]))]);
    let message = lower_value(&unknown).unwrap_err().to_string();
    assert!(
        message.starts_with("invalid config: process.rlimits[0].type: unknown variant `RLIMIT_FUT"),
        "{message}"
    );
}

#[test]
fn what_the_host_does_not_have() {
    let host = Host {
        default_apparmor: false,
        ..host()
    };
    let config = with(&[("/process/apparmorProfile", json!("p"))]);
    assert_eq!(
        lower_on(&host, &config).unwrap_err().to_string(),
        "invalid config: process.apparmorProfile: a profile is given, but AppArmor is not enabled \
         on this host"
    );
}

#[test]
fn a_terminal_that_config_and_request_disagree_about() {
    let id = ContainerId::parse("c1").unwrap();
    let config = smallest().to_string();
    let inputs = Inputs {
        config: config.as_bytes(),
        bundle: "/b",
        id: &id,
        namespace: "default",
        rootfs: None,
        no_pivot: false,
        terminal: true,
    };
    assert_eq!(
        lower(&inputs, &host()).unwrap_err().to_string(),
        "invalid config: process.terminal: it is false, but the request says true"
    );
}

#[test]
fn mounts() {
    let at = "/mounts";
    check(&[
        (
            at,
            json!([{ "type": "tmpfs" }]),
            "mounts[0]: missing field `destination`",
        ),
        (
            at,
            json!([{ "destination": "", "type": "tmpfs" }]),
            "mounts[0].destination: it is empty",
        ),
        (
            at,
            json!([{ "destination": "/a/../..", "type": "tmpfs" }]),
            "mounts[0].destination: it is the root file system itself",
        ),
        (
            at,
            json!([{ "destination": "/a" }]),
            "mounts[0].type: it is missing",
        ),
        (
            at,
            json!([{ "destination": "/a", "type": "bind" }]),
            "mounts[0].source: a bind mount needs a source",
        ),
        (
            at,
            json!([{ "destination": "/a", "source": "/s", "options": ["rbind", "size=1"] }]),
            "mounts[0].options: a bind mount cannot take the file system option \"size\"",
        ),
        (
            at,
            json!([{ "destination": "/a", "source": "/s", "options": ["bind", "idmap"] }]),
            "mounts[0].options: idmap without maps of the mount takes the container's, which are not \
             given",
        ),
        (
            at,
            json!([{ "destination": "/a", "type": "bind", "uidMappings": [{ "size": 1 }] }]),
            "mounts[0].gidMappings: a mount has both maps or none",
        ),
        (
            at,
            json!([{ "destination": "/a", "type": "bind", "gidMappings": [{ "size": 1 }] }]),
            "mounts[0].uidMappings: a mount has both maps or none",
        ),
        (
            at,
            json!([{
                "destination": "/a",
                "type": "tmpfs",
                "uidMappings": [{ "size": 1 }],
                "gidMappings": [{ "size": 1 }],
            }]),
            "mounts[0]: only a bind mount can be id-mapped",
        ),
        (
            at,
            json!([{
                "destination": "/a",
                "type": "bind",
                "uidMappings": [{ "size": 1 }],
                "gidMappings": [{ "size": 1 }, { "containerID": 9, "size": 0 }],
            }]),
            "mounts[0].gidMappings[1].size: it is 0",
        ),
    ]);
}

#[test]
fn hooks() {
    check(&[
        (
            "/hooks/prestart",
            json!([{ "path": "x" }]),
            "hooks.prestart[0].path: \"x\" is not absolute",
        ),
        (
            "/hooks/createContainer",
            json!([{ "path": "/x" }, { "path": "" }]),
            "hooks.createContainer[1].path: \"\" is not absolute",
        ),
        (
            "/hooks/poststop",
            json!([{ "path": "/x", "timeout": 0 }]),
            "hooks.poststop[0].timeout: 0 is not a number of seconds",
        ),
        (
            "/hooks/startContainer",
            json!([{ "path": "/x", "env": ["A=b", "A"] }]),
            "hooks.startContainer[0].env[1]: it is not NAME=value",
        ),
        (
            "/hooks/poststart",
            json!([{}]),
            "hooks.poststart[0]: missing field `path`",
        ),
    ]);
}
