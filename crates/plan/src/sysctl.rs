//! `linux.sysctl`: only parameters that belong to one of the container's own namespaces; any other
//! would change the host (list as in runc's validator).

use crate::Invalid;
use hull_abi::{NamespaceKind, NamespacePlan, Sysctl};
use oci_spec::runtime::Linux;
use std::collections::BTreeMap;

const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// A change of it [resets](https://docs.kernel.org/networking/ip-sysctl.html) parameters of every
/// interface.
const RESETS_OTHERS: &str = "net/ipv4/ip_forward";

/// The parameters in the order in which they are to be written: what resets others, then by path.
pub(crate) fn lower(linux: &Linux, namespaces: &[NamespacePlan]) -> Result<Vec<Sysctl>, Invalid> {
    let mut by_path: BTreeMap<String, &String> = BTreeMap::new();
    // Sorted, so that of several mistakes always the same one is reported.
    let given: BTreeMap<&String, &String> = linux.sysctl().iter().flatten().collect();
    for (name, value) in given {
        let refuse = |why: String| Invalid::new(format!("linux.sysctl[{name:?}]"), why);
        let path = path(name);
        check(&path, namespaces).map_err(refuse)?;
        if by_path.insert(path, value).is_some() {
            return Err(refuse("the parameter is listed twice".to_owned()));
        }
    }
    let first = by_path.remove_entry(RESETS_OTHERS);
    Ok(first
        .into_iter()
        .chain(by_path)
        .map(|(path, value)| Sysctl {
            path,
            value: value.clone(),
        })
        .collect())
}

/// The path below `/proc/sys`. As in sysctl(8), the first separator decides: after a `.` the roles
/// of `.` and `/` are swapped, so that `net.ipv4.conf.eth0/1.mtu` names `eth0.1`.
fn path(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name.get(at..).is_some_and(|rest| rest.starts_with('.')) => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
        _ => name.to_owned(),
    }
}

fn check(path: &str, namespaces: &[NamespacePlan]) -> Result<(), String> {
    if path
        .split('/')
        .any(|component| matches!(component, "" | "." | ".."))
    {
        return Err("it is not the name of a kernel parameter".to_owned());
    }
    if path == "kernel/hostname" {
        return Err("the field hostname sets it".to_owned());
    }
    let Some((kind, name)) = owner(path) else {
        return Err("it would change the host".to_owned());
    };
    if namespaces.iter().any(|namespace| namespace.kind == kind) {
        Ok(())
    } else {
        Err(format!("without {name} namespace it would change the host"))
    }
}

/// The kind of namespace that a parameter belongs to.
fn owner(path: &str) -> Option<(NamespaceKind, &'static str)> {
    if path.starts_with("net/") {
        Some((NamespaceKind::Network, "a network"))
    } else if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        Some((NamespaceKind::Ipc, "an ipc"))
    } else if path == "kernel/domainname" {
        Some((NamespaceKind::Uts, "a uts"))
    } else if path.starts_with("user/") {
        Some((NamespaceKind::User, "a user"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_separators_name_the_same_parameter() {
        for (name, want) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            (
                "net.ipv4.conf.eth0/1.forwarding",
                "net/ipv4/conf/eth0.1/forwarding",
            ),
            (
                "net/ipv4/conf/eth0.1/forwarding",
                "net/ipv4/conf/eth0.1/forwarding",
            ),
            ("x", "x"),
            ("", ""),
        ] {
            assert_eq!(path(name), want);
        }
    }

    #[test]
    fn no_name_leaves_proc_sys() {
        let all = [
            NamespaceKind::Network,
            NamespaceKind::Ipc,
            NamespaceKind::Uts,
        ]
        .map(|kind| NamespacePlan { kind, path: None });
        for name in [
            "net/../kernel/core_pattern",
            "net.//.kernel.x",
            "net/",
            "/net/x",
            "",
            "net",
        ] {
            assert!(check(&path(name), &all).is_err(), "{name:?}");
        }
        assert_eq!(check(&path("net.core.somaxconn"), &all), Ok(()));
    }
}
