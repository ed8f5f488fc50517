//! A container that asks for most of what there is, beside the floor, which does ctr's default spec.

use hull_client::Spec;
use serde_json::{Value, json};

use super::bed::Bed;
use super::floor::Floor;
use super::report::{Comparison, NEWEST, Table};
use super::task::{Entry, IN_POD, in_pod};
use super::{Plan, Result};

mod steps;

/// A config with containerd's default seccomp profile.
const DEFAULT: &str = include_str!("../../../plan/tests/golden/ctr-seccomp-host-network.json");
/// How many paths are hidden, those of ctr's default spec among them.
const HIDDEN: usize = 30;
/// How many mounts there are, those of ctr's default spec among them.
const MOUNTS: usize = 12;

/// Both tables.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    let rounds = plan.rounds(100);
    let hull = plan.hull()?;
    let all = spec(&["user", "time", "cgroup"])?;
    let entry = |name: &str, peer, spec: &Spec| Entry {
        name: name.to_owned(),
        peer,
        spec: spec.clone(),
    };
    let mut entries = vec![entry(&hull.name, hull, &all)];
    // Debian's runc knows no time namespaces.
    let newest = plan
        .peers
        .iter()
        .filter(|peer| peer.name.starts_with(NEWEST));
    entries.extend(newest.map(|peer| entry(&peer.name, peer, &all)));
    entries.push(entry("hull, no user and time", hull, &spec(&["cgroup"])?));
    let bed = Bed::make()?;
    let mut floor = Floor::start(&bed)?;
    let split = steps::split(&bed, hull, &all, rounds)?;
    let whole = Table {
        row: "full",
        id: "full",
        title: "A container that asks for most of what there is, in a shim that runs".to_owned(),
        how: format!(
            "ms, median of {rounds}. All eight namespaces, {MOUNTS} mounts, {HIDDEN} hidden paths, \
             containerd's seccomp profile, limits of memory, processors and processes. The floor is \
             that of `task`, which asks for much less. Target: sum at most 3 times the floor."
        ),
        columns: IN_POD.to_vec(),
        lines: in_pod(&bed, &entries, rounds, Some(&mut floor))?,
        comparison: Some(Comparison::Ratio),
    };
    let split = Table {
        row: "full",
        id: "full-steps",
        title: "Where the time of that Create goes".to_owned(),
        how: format!(
            "Median of {rounds}. A step lasts until the next one begins, in whichever process; with \
             hull's trace on (`io.containerd.hull.trace`)."
        ),
        columns: steps::COLUMNS.to_vec(),
        lines: split,
        comparison: None,
    };
    Ok(vec![whole, split])
}

/// ctr's default spec with more of everything, and these namespaces besides its own.
fn spec(namespaces: &[&str]) -> Result<Spec> {
    let config: Value = serde_json::from_str(DEFAULT)?;
    let seccomp = config.pointer("/linux/seccomp").cloned();
    let mut spec = Spec::new(["true"])
        .set("/linux/seccomp", seccomp.ok_or("no seccomp profile")?)
        .resource("memory/limit", 256 << 20)
        .resource("cpu/shares", 512)
        .resource("cpu/quota", 100_000)
        .resource("pids/limit", 100);
    for kind in namespaces {
        spec = spec.namespace(kind, None);
    }
    if namespaces.contains(&"user") {
        // Everybody stays who they are, so that the same image will do.
        let map = json!([{ "containerID": 0, "hostID": 0, "size": 65_536 }]);
        spec = spec
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map);
    }
    let count = |spec: &Spec, pointer| {
        let list = spec.json().pointer(pointer).and_then(Value::as_array);
        list.map_or(0, Vec::len)
    };
    for number in count(&spec, "/linux/maskedPaths")..HIDDEN {
        // A file and a directory in turn.
        let path = match number % 2 {
            0 => format!("/proc/irq/{}", number / 2),
            _ => format!(
                "/proc/sys/kernel/{}",
                FILES.get(number / 2 % FILES.len()).unwrap_or(&"acct")
            ),
        };
        spec = spec.set("/linux/maskedPaths/-", path);
    }
    for number in count(&spec, "/mounts")..MOUNTS {
        let mount = json!({
            "type": "tmpfs", "source": "tmpfs", "destination": format!("/mnt/{number}"),
            "options": ["nosuid", "nodev", "size=64k"],
        });
        spec = spec.set("/mounts/-", mount);
    }
    Ok(spec)
}

/// Files that every kernel has.
const FILES: [&str; 10] = [
    "acct",
    "printk",
    "core_pattern",
    "ctrl-alt-del",
    "dmesg_restrict",
    "hotplug",
    "kptr_restrict",
    "modprobe",
    "randomize_va_space",
    "panic",
];
