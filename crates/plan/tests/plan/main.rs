//! The crate through its public functions.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, outside of its test functions too"
)]

mod accepted;
mod attributes;
mod compile;
mod corpus;
mod exec;
mod golden;
mod hold;
mod labels;
mod net_devices;
mod payload;
mod properties;
mod refused;
mod refused_linux;
mod trace;
mod update;
mod users;
mod wasm;

use hull_abi::{ContainerId, Plan};
use hull_plan::{Host, Inputs, Invalid, lower};
use serde_json::{Value, json};

/// A host with everything but SELinux.
fn host() -> Host {
    Host {
        last_capability: 40,
        grantable_capabilities: (1 << 41) - 1,
        default_apparmor: true,
        selinux: false,
    }
}

/// The smallest config that is accepted.
fn smallest() -> Value {
    json!({
        "ociVersion": "1.1.0",
        "root": { "path": "rootfs" },
        "process": { "args": ["true"], "cwd": "/" },
        "linux": { "namespaces": [{ "type": "mount" }] },
    })
}

/// Puts a value at a path like `/linux/sysctl/net.core.x`; objects on the way are made, and `null`
/// removes. Numbers index arrays, `-` appends.
fn set(config: &mut Value, path: &str, value: Value) {
    let (parent, key) = path.rsplit_once('/').unwrap();
    let mut at = config;
    for name in parent.split('/').skip(1) {
        at = match at {
            Value::Array(items) => &mut items[name.parse::<usize>().unwrap()],
            other => {
                if !other.is_object() {
                    *other = json!({});
                }
                let members = other.as_object_mut().unwrap();
                members.entry(name).or_insert_with(|| json!({}))
            }
        };
    }
    match at {
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        Value::Object(members) if value.is_null() => {
            members.remove(key);
        }
        Value::Object(members) => {
            members.insert(key.to_owned(), value);
        }
        other => panic!("{path}: {other} has no members"),
    }
}

/// The smallest config with changes.
fn with(changes: &[(&str, Value)]) -> Value {
    let mut config = smallest();
    for (path, value) in changes {
        set(&mut config, path, value.clone());
    }
    config
}

fn lower_on(host: &Host, config: &Value) -> Result<Plan, Invalid> {
    let id = ContainerId::parse("c1").unwrap();
    let terminal = config
        .pointer("/process/terminal")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let text = config.to_string();
    let inputs = Inputs {
        config: text.as_bytes(),
        bundle: "/run/bundle",
        id: &id,
        namespace: "default",
        rootfs: None,
        no_pivot: false,
        terminal,
    };
    lower(&inputs, host)
}

fn lower_value(config: &Value) -> Result<Plan, Invalid> {
    lower_on(&host(), config)
}
