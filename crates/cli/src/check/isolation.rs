//! Namespaces, seccomp and security modules.

use super::item::Item;
use std::fs::{read_to_string, symlink_metadata};

/// Namespaces that containers ask for: the file in /proc/self/ns, and the limit in /proc/sys/user.
const NAMESPACES: [(&str, &str); 6] = [
    ("mnt", "max_mnt_namespaces"),
    ("pid", "max_pid_namespaces"),
    ("net", "max_net_namespaces"),
    ("ipc", "max_ipc_namespaces"),
    ("uts", "max_uts_namespaces"),
    ("cgroup", "max_cgroup_namespaces"),
];

/// Actions that profiles use.
const ACTIONS: [&str; 7] = [
    "kill_process",
    "kill_thread",
    "trap",
    "errno",
    "trace",
    "log",
    "allow",
];

/// Namespaces, seccomp, AppArmor, SELinux.
pub(super) fn items() -> Vec<Item> {
    vec![
        namespaces(),
        seccomp(read_to_string("/proc/sys/kernel/seccomp/actions_avail").ok()),
        apparmor(hull_sys::lsm::apparmor()),
        selinux(hull_sys::lsm::selinux()),
    ]
}

fn namespaces() -> Item {
    const NAME: &str = "namespaces";
    let missing: Vec<&str> = NAMESPACES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| symlink_metadata(format!("/proc/self/ns/{name}")).is_err())
        .collect();
    if !missing.is_empty() {
        let text = format!("the kernel has no {} namespaces", missing.join(", "));
        return Item::fail(NAME, text).advise("run a kernel with CONFIG_NAMESPACES and its parts");
    }
    let forbidden = NAMESPACES.iter().find(|(_, limit)| {
        read_to_string(format!("/proc/sys/user/{limit}")).is_ok_and(|limit| limit.trim() == "0")
    });
    if let Some((name, limit)) = forbidden {
        let text = format!("no {name} namespace may be made: user.{limit} is 0");
        return Item::fail(NAME, text).advise(format!("sysctl user.{limit}=65536"));
    }
    let names = NAMESPACES.map(|(name, _)| name);
    Item::ok(
        NAME,
        format!("{} (user namespaces are not used)", names.join(", ")),
    )
}

fn seccomp(actions: Option<String>) -> Item {
    const NAME: &str = "seccomp";
    let Some(actions) = actions else {
        return Item::warn(
            NAME,
            "the kernel has no filters: configs with a profile are refused",
        )
        .advise("run a kernel with CONFIG_SECCOMP_FILTER");
    };
    let missing: Vec<&str> = ACTIONS
        .into_iter()
        .filter(|action| !actions.split_whitespace().any(|there| there == *action))
        .collect();
    if missing.is_empty() {
        return Item::ok(NAME, "filters with every action that profiles use");
    }
    Item::warn(
        NAME,
        format!("filters, but without the actions {}", missing.join(", ")),
    )
}

fn apparmor(enabled: bool) -> Item {
    let text = if enabled {
        "enabled: a container gets the profile that its config names"
    } else {
        "not enabled: configs that name a profile are refused"
    };
    Item::ok("AppArmor", text)
}

fn selinux(enabled: bool) -> Item {
    const NAME: &str = "SELinux";
    if !enabled {
        return Item::ok(NAME, "not enabled: configs that name a label are refused");
    }
    Item::warn(
        NAME,
        "enabled: a process gets the label that its config names, but configs with a label for \
         mounts are refused",
    )
    .advise("leave enable_selinux off in containerd's configuration of CRI")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::item::Status;

    #[test]
    fn missing_seccomp_actions_are_named() {
        let all = "kill_process kill_thread trap errno user_notif trace log allow\n";
        assert_eq!(seccomp(Some(all.to_owned())).status, Status::Ok);
        let old = seccomp(Some("kill_thread trap errno trace allow".to_owned()));
        assert_eq!(old.status, Status::Warn);
        assert_eq!(
            old.text,
            "filters, but without the actions kill_process, log"
        );
        assert_eq!(seccomp(None).status, Status::Warn);
    }
}
