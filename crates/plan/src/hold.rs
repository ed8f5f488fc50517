//! The container of a pod that has no pause image: it makes or joins the namespaces that the pod's
//! containers share, and a program of ours in it does nothing but keep them.
//!
//! The settings are those that containerd's CRI plugin gives to a pause container
//! (<https://github.com/containerd/containerd/blob/main/internal/cri/server/podsandbox/sandbox_run_linux.go>):
//! they are written as a config and lowered like any other. What is ours is that the process has no
//! file, no device, no capability and no user of its own choosing.

use crate::device_rules::DENY_ALL;
use crate::{Host, Inputs, Invalid, lower};
use hull_abi::{ContainerId, IdMaps, IdRange, Payload, Plan};
use serde_json::{Map, Value, json};

/// User and group of the process, as in the pause image.
const NOBODY: u32 = 65_535;

/// Any user may bind to any port, and may send echo requests: what containerd sets in a pod's own
/// network namespace unless it is told otherwise (`enable_unprivileged_ports`,
/// `enable_unprivileged_icmp`).
const PORTS: (&str, &str) = ("net.ipv4.ip_unprivileged_port_start", "0");
const PING: (&str, &str) = ("net.ipv4.ping_group_range", "0 2147483647");

/// The network of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodNetwork<'a> {
    /// The host's, and with it the host's name.
    Host,
    /// A new one with nothing but a loopback device.
    New,
    /// The one of this file.
    Joined(&'a str),
}

/// The user namespace of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodUsers<'a> {
    /// Which ids it has.
    pub maps: IdMaps,
    /// The one of this file, or else a new one.
    pub path: Option<&'a str>,
}

/// A pod to lower.
#[derive(Debug, Clone)]
pub struct PodInputs<'a> {
    /// The sandbox's id.
    pub id: &'a ContainerId,
    /// The containerd namespace, part of the default cgroup path.
    pub namespace: &'a str,
    /// Absolute path of the bundle.
    pub bundle: &'a str,
    /// Absolute path of an empty directory on the host, the root of its file system.
    pub root: &'a str,
    /// Host name, if it has a name of its own; empty leaves the host's.
    pub hostname: &'a str,
    /// The pod's cgroup, a path or the path of a slice; empty takes the default place.
    pub cgroup_parent: &'a str,
    /// The network namespace.
    pub network: PodNetwork<'a>,
    /// Whether its processes see all of the host's.
    pub host_pid: bool,
    /// Whether System V IPC and message queues are the host's.
    pub host_ipc: bool,
    /// The user namespace, if it is not the host's.
    pub users: Option<PodUsers<'a>>,
    /// Kernel parameters.
    pub sysctls: &'a [(String, String)],
    /// Preference of the OOM killer; `None` leaves it.
    pub oom_score_adj: Option<i32>,
}

/// Decides everything about the process that holds a pod's namespaces.
///
/// # Errors
/// [`Invalid`] names the first field that is wrong or that we cannot honour.
pub fn lower_pod(inputs: &PodInputs<'_>, host: &Host) -> Result<Plan, Invalid> {
    let config = config(inputs).to_string();
    let given = Inputs {
        config: config.as_bytes(),
        bundle: inputs.bundle,
        id: inputs.id,
        namespace: inputs.namespace,
        rootfs: None,
        no_pivot: false,
        terminal: false,
    };
    let mut plan = lower(&given, host)?;
    plan.process.payload = Payload::Hold;
    // Not even those that every container has: its root is empty.
    plan.devices.clear();
    plan.device_links = false;
    plan.resources.devices = Some(vec![DENY_ALL]);
    Ok(plan)
}

fn config(inputs: &PodInputs<'_>) -> Value {
    let (uid, gid) = match &inputs.users {
        None => (NOBODY, NOBODY),
        Some(users) => (nobody(&users.maps.uids), nobody(&users.maps.gids)),
    };
    let mut config = json!({
        "ociVersion": "1.2.0",
        "process": {
            "args": ["hull-sandbox", inputs.id.as_str()],
            "cwd": "/",
            "user": { "uid": uid, "gid": gid },
            "noNewPrivileges": true,
            "oomScoreAdj": inputs.oom_score_adj,
        },
        "root": { "path": inputs.root, "readonly": true },
        "linux": {
            "namespaces": namespaces(inputs),
            "sysctl": sysctls(inputs),
            "cgroupsPath": cgroups_path(inputs.cgroup_parent, inputs.id),
        },
    });
    let hostname = Some(inputs.hostname).filter(|name| !name.is_empty());
    if inputs.network != PodNetwork::Host
        && let Some(hostname) = hostname
    {
        insert(&mut config, "hostname", json!(hostname));
    }
    if let Some(users) = &inputs.users
        && let Some(linux) = config.get_mut("linux")
    {
        insert(linux, "uidMappings", mappings(&users.maps.uids));
        insert(linux, "gidMappings", mappings(&users.maps.gids));
    }
    config
}

fn insert(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(members) = object {
        members.insert(key.to_owned(), value);
    }
}

/// 65535, or the highest id that there is where that one is not mapped.
fn nobody(ranges: &[IdRange]) -> u32 {
    let last = |range: &IdRange| range.container.saturating_add(range.size.saturating_sub(1));
    let is_mapped = |range: &IdRange| (range.container..=last(range)).contains(&NOBODY);
    if ranges.iter().any(is_mapped) {
        return NOBODY;
    }
    ranges.iter().map(last).max().unwrap_or(NOBODY)
}

fn namespaces(inputs: &PodInputs<'_>) -> Vec<Value> {
    let new = |kind: &str| json!({ "type": kind });
    let mut all = vec![new("mount"), new("cgroup")];
    if !inputs.host_pid {
        all.push(new("pid"));
    }
    if !inputs.host_ipc {
        all.push(new("ipc"));
    }
    match inputs.network {
        PodNetwork::Host => {}
        PodNetwork::New => all.extend([new("network"), new("uts")]),
        PodNetwork::Joined(path) => {
            all.extend([json!({ "type": "network", "path": path }), new("uts")]);
        }
    }
    match inputs.users.as_ref().map(|users| users.path) {
        None => {}
        Some(None) => all.push(new("user")),
        Some(Some(path)) => all.push(json!({ "type": "user", "path": path })),
    }
    all
}

fn mappings(ranges: &[IdRange]) -> Value {
    let all = ranges.iter().map(
        |range| json!({ "containerID": range.container, "hostID": range.host, "size": range.size }),
    );
    all.collect()
}

fn sysctls(inputs: &PodInputs<'_>) -> Map<String, Value> {
    let mut all: Map<String, Value> = inputs
        .sysctls
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    if inputs.network == PodNetwork::Host {
        return all;
    }
    let mut default = |(name, value): (&str, &str)| {
        all.entry(name).or_insert(json!(value));
    };
    default(PORTS);
    if inputs.users.is_none() {
        // Not every group of that range exists in a user namespace.
        default(PING);
    }
    all
}

/// A scope in the pod's slice, or a directory in the pod's directory.
fn cgroups_path(parent: &str, id: &ContainerId) -> String {
    let parent = parent.trim_end_matches('/');
    let base = parent.rsplit('/').next().unwrap_or_default();
    if base.ends_with(".slice") {
        format!("{base}:cri-containerd:{id}")
    } else if parent.is_empty() {
        String::new()
    } else {
        format!("{parent}/{id}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_is_where_containerd_puts_a_pause_container() {
        let id = ContainerId::parse("s1").unwrap();
        for (parent, expected) in [
            ("", ""),
            ("/", ""),
            ("/kubepods/pod1", "/kubepods/pod1/s1"),
            ("/kubepods/pod1/", "/kubepods/pod1/s1"),
            ("k8s.io", "k8s.io/s1"),
            (
                "/kubepods.slice/kubepods-pod1.slice",
                "kubepods-pod1.slice:cri-containerd:s1",
            ),
            ("/a.slice/b", "/a.slice/b/s1"),
        ] {
            assert_eq!(cgroups_path(parent, &id), expected, "{parent}");
        }
    }

    #[test]
    fn nobody_is_somebody_in_every_user_namespace() {
        let range = |container, size| IdRange {
            container,
            host: 100_000,
            size,
        };
        for (ranges, expected) in [
            (vec![], NOBODY),
            (vec![range(0, 65_536)], 65_535),
            (vec![range(0, 131_072)], 65_535),
            (vec![range(0, 1000)], 999),
            (vec![range(0, 10), range(65_530, 10)], 65_535),
        ] {
            assert_eq!(nobody(&ranges), expected, "{ranges:?}");
        }
    }
}
