//! What holds for every input of `hull-plan`, however odd. The fuzzer calls it, and so do the tests
//! of the crate with the corpus.
//!
//! The first byte of an input says what the rest is: `c` a config.json, `p` the process of an Exec
//! request, `r` the resources of an Update request, anything else all of them.

use hull_abi::{ContainerId, Plan};
use hull_plan::{Host, Inputs, Invalid, lower, lower_exec, lower_resources};
use serde_json::Value;

/// What the first component of a field may be beside the keys of the document itself.
const SECTIONS: [&str; 21] = [
    "config.json",
    "process",
    "ociVersion",
    "root",
    "mounts",
    "hostname",
    "domainname",
    "hooks",
    "annotations",
    "linux",
    // Sections for other systems, which are parsed and have no effect.
    "solaris",
    "windows",
    "vm",
    "zos",
    "freebsd",
    "uid_mappings",
    "gid_mappings",
    "uidMappings",
    "gidMappings",
    "username",
    "version",
];

/// Lowers an input and checks what came out.
///
/// # Panics
/// When something does not hold.
pub(crate) fn input(input: &[u8]) {
    let (kind, json) = match input.split_first() {
        Some((kind @ (b'c' | b'p' | b'r'), json)) => (Some(*kind), json),
        _ => (None, input),
    };
    if kind.is_none_or(|kind| kind == b'c') {
        config(json);
    }
    if kind.is_none_or(|kind| kind == b'p') {
        process(json);
    }
    if kind.is_none_or(|kind| kind == b'r') {
        resources(json);
    }
}

/// A host with everything, and one with nothing.
fn hosts() -> [Host; 2] {
    let everything = Host {
        last_capability: 40,
        grantable_capabilities: (1 << 41) - 1,
        default_apparmor: true,
        selinux: true,
    };
    let nothing = Host {
        last_capability: 0,
        grantable_capabilities: 0,
        default_apparmor: false,
        selinux: false,
    };
    [everything, nothing]
}

fn lower_on(host: &Host, json: &[u8], terminal: bool) -> Result<Plan, Invalid> {
    let id = ContainerId::parse("c1").expect("a valid id");
    let inputs = Inputs {
        config: json,
        bundle: "/run/bundle",
        id: &id,
        namespace: "default",
        rootfs: None,
        no_pivot: false,
        terminal,
    };
    lower(&inputs, host)
}

fn config(json: &[u8]) {
    for host in hosts() {
        for terminal in [false, true] {
            match lower_on(&host, json, terminal) {
                Ok(plan) => {
                    well_formed(&plan);
                    exec_of(&plan, json, &host);
                }
                Err(invalid) => well_said(&invalid, json),
            }
        }
    }
}

/// The container's own process as that of an exec: what init may be, an exec may be too.
fn exec_of(plan: &Plan, json: &[u8], host: &Host) {
    let config: Value = serde_json::from_slice(json).expect("it was lowered");
    let process = config["process"].to_string();
    let terminal = plan.process.terminal;
    if let Err(invalid) = lower_exec(process.as_bytes(), terminal, plan, host) {
        panic!("init's own process is refused for an exec: {invalid}");
    }
}

fn process(json: &[u8]) {
    let init = br#"{"ociVersion":"1.1.0","root":{"path":"r"},"process":{"args":["a"],"cwd":"/"},
        "linux":{"namespaces":[{"type":"mount"}]}}"#;
    for host in hosts() {
        let init = lower_on(&host, init, false).expect("a valid config");
        if let Err(invalid) = lower_exec(json, false, &init, &host) {
            assert!(
                invalid.field.starts_with("process"),
                "{invalid} is no field of a process"
            );
            well_said(&invalid, json);
        }
    }
}

fn resources(json: &[u8]) {
    if let Err(invalid) = lower_resources(json) {
        assert!(
            invalid.field.starts_with("linux.resources"),
            "{invalid} is no field of resources"
        );
        well_said(&invalid, json);
    }
}

/// A refusal is one line, and its first words are the way to a field.
fn well_said(invalid: &Invalid, json: &[u8]) {
    let text = invalid.to_string();
    assert_eq!(text.lines().count(), 1, "{text:?}");
    assert!(!invalid.why.is_empty(), "{text:?}");
    let is_section = |section: &str| {
        let rest = invalid.field.strip_prefix(section);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let document = serde_json::from_slice::<Value>(json).unwrap_or_default();
    // A key of the document may hold a separator or a line break.
    let own = document.as_object().into_iter().flatten();
    let mut own = own.filter(|(key, _)| {
        let shown = key.replace(['\n', '\r'], " ");
        invalid.field.starts_with(&shown)
    });
    assert!(
        SECTIONS.iter().any(|section| is_section(section)) || own.next().is_some(),
        "{text:?} begins with no field"
    );
}

fn well_formed(plan: &Plan) {
    for mount in &plan.mounts {
        inside(&mount.destination);
        assert_ne!(mount.destination, "/", "the root is covered");
    }
    plan.devices.iter().for_each(|device| inside(&device.path));
    let covered = plan.masked_paths.iter().chain(&plan.readonly_paths);
    covered.for_each(|path| inside(path));
    for sysctl in &plan.sysctls {
        inside(&format!("/{}", sysctl.path));
    }
    assert!(
        plan.cgroups_path.split('/').all(|name| name != ".."),
        "{:?} leads up",
        plan.cgroups_path
    );
    let strings = [&plan.process.args, &plan.process.env];
    for text in strings.into_iter().flatten().chain([&plan.process.cwd]) {
        assert!(!text.contains('\0'), "{text:?} would be cut off");
    }
    let sets = plan.process.capabilities;
    assert_eq!(sets.effective & !sets.permitted, 0, "{sets:?}");
    let bytes = hull_abi::encode(plan).expect("every plan can be sent");
    let back: Plan = hull_abi::decode(&bytes).expect("every plan arrives");
    assert_eq!(&back, plan, "a plan changed on its way");
}

fn inside(path: &str) {
    assert!(
        path.starts_with('/') && path.split('/').all(|name| name != ".."),
        "{path:?} leaves the container"
    );
}
