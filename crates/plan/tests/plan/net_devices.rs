//! `linux.netDevices`.

use crate::refused::check;
use crate::{lower_value, with};
use hull_abi::NetDevice;
use serde_json::{Value, json};

const NAMESPACES: &str = "/linux/namespaces";
const DEVICES: &str = "/linux/netDevices";

fn network() -> (&'static str, Value) {
    (
        NAMESPACES,
        json!([{ "type": "mount" }, { "type": "network" }]),
    )
}

fn message(devices: Value) -> String {
    let config = with(&[network(), (DEVICES, devices)]);
    lower_value(&config).unwrap_err().to_string()
}

#[test]
fn devices_are_in_order_and_templates_come_last() {
    let devices = json!({
        "b": { "name": "eth1" }, "a": { "name": "eth%d" }, "c": {}, "d": { "name": "" },
    });
    let plan = lower_value(&with(&[network(), (DEVICES, devices)])).unwrap();
    let wanted = [("b", "eth1"), ("c", "c"), ("d", "d"), ("a", "eth%d")];
    let wanted = wanted.map(|(host, name)| NetDevice {
        host: host.to_owned(),
        name: name.to_owned(),
    });
    assert_eq!(plan.net_devices, wanted);
}

#[test]
fn a_joined_network_will_do_and_none_will_not() {
    let joined = json!([{ "type": "mount" }, { "type": "network", "path": "/run/netns/a" }]);
    let config = with(&[(NAMESPACES, joined), (DEVICES, json!({ "a": {} }))]);
    assert_eq!(lower_value(&config).unwrap().net_devices.len(), 1);
    let none = json!([{ "type": "mount" }]);
    let config = with(&[(NAMESPACES, none.clone()), (DEVICES, json!({}))]);
    assert_eq!(lower_value(&config).unwrap().net_devices, []);
    let config = with(&[(NAMESPACES, none), (DEVICES, json!({ "a": {} }))]);
    assert_eq!(
        lower_value(&config).unwrap_err().to_string(),
        "invalid config: linux.netDevices: moving network devices needs a network namespace"
    );
}

#[test]
fn names_that_the_kernel_would_not_take() {
    for (devices, want) in [
        (json!({ "": {} }), r#"[""]: "" is empty"#),
        (
            json!({ "a%d": { "name": "b" } }),
            r#"["a%d"]: "a%d" is a template, and a device has a name"#,
        ),
        (
            json!({ "a": { "name": ".." } }),
            r#"["a"].name: ".." is not a name of a network device"#,
        ),
        (
            json!({ "a": { "name": "b:1" } }),
            r#"["a"].name: "b:1" has a slash, a colon or a blank in it"#,
        ),
        (
            json!({ "a": { "name": "0123456789abcdef" } }),
            r#"["a"].name: "0123456789abcdef" is longer than 15 bytes"#,
        ),
        (
            json!({ "a": { "name": "b%x" } }),
            r#"["a"].name: "b%x" has a % that is not a single %d"#,
        ),
        (
            json!({ "a": { "name": "x" }, "b": { "name": "x" } }),
            r#"["b"].name: "x" is the name of "a" too"#,
        ),
    ] {
        assert_eq!(
            message(devices),
            format!("invalid config: linux.netDevices{want}")
        );
    }
    check(&[(
        DEVICES,
        json!({ "a": "eth0" }),
        "linux.netDevices.a: invalid type: string \"eth0\", expected struct LinuxNetDevice",
    )]);
}
