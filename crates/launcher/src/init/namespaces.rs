//! Joining and finishing namespaces. New ones (but the cgroup namespace) were made by clone3, the
//! PID namespace was joined by the launcher.

use crate::failure::{At, because};
use crate::fault;
use crate::spawn::{clone_flag, open_namespace};
use hull_abi::{Blame, NamespaceKind, Plan, SetupError, Step};
use hull_sys::ns;
use std::os::fd::OwnedFd;

/// Joins existing namespaces and makes the cgroup namespace.
pub(super) fn enter(plan: &Plan) -> Result<(), SetupError> {
    // All files first: after joining a mount namespace their paths mean something else.
    let mut joined = plan
        .namespaces
        .iter()
        .filter(|n| n.kind != NamespaceKind::Pid)
        .filter_map(|n| n.path.as_deref().map(|path| (n.kind, path)))
        .map(|(kind, path)| Ok((kind, open_namespace(kind, path)?)))
        .collect::<Result<Vec<_>, SetupError>>()?;
    refuse_host_network(plan, &joined)?;
    joined.sort_by_key(|(kind, _)| *kind == NamespaceKind::Mount);
    for (kind, fd) in joined {
        if fault::leaves_out("join namespaces") {
            break;
        }
        ns::set(fd, clone_flag(kind)).at(Step::Namespaces, || {
            format!("join the {kind:?} namespace").to_lowercase()
        })?;
    }
    if plan
        .namespaces
        .iter()
        .any(|n| n.kind == NamespaceKind::Cgroup && n.path.is_none())
        && !fault::leaves_out("cgroup namespace")
    {
        ns::unshare(clone_flag(NamespaceKind::Cgroup))
            .at(Step::Namespaces, || "make the cgroup namespace".to_owned())?;
    }
    Ok(())
}

/// `net.*` parameters of a network namespace that turns out to be the host's would change the host.
fn refuse_host_network(plan: &Plan, joined: &[(NamespaceKind, OwnedFd)]) -> Result<(), SetupError> {
    let Some(sysctl) = plan.sysctls.iter().find(|s| s.path.starts_with("net/")) else {
        return Ok(());
    };
    let action = || format!("write sysctl {:?}", sysctl.path);
    for (_, fd) in joined
        .iter()
        .filter(|(kind, _)| *kind == NamespaceKind::Network)
    {
        let theirs = nix::sys::stat::fstat(fd).at(Step::Namespaces, action)?;
        let own = nix::sys::stat::stat("/proc/self/ns/net").at(Step::Namespaces, action)?;
        if (theirs.st_dev, theirs.st_ino) == (own.st_dev, own.st_ino) {
            let cause = "the network namespace is the host's";
            return Err(because(Step::Namespaces, Blame::Caller, action(), cause));
        }
    }
    Ok(())
}

/// Joins all namespaces of a running container at once through the pidfd of its init process. The
/// PID namespace only counts for children (setns(2)).
pub(super) fn join_container(init: &OwnedFd, kinds: &[NamespaceKind]) -> Result<(), SetupError> {
    let flags = kinds
        .iter()
        .fold(0, |flags, &kind| flags | clone_flag(kind));
    if flags == 0 {
        return Ok(());
    }
    ns::set(init, flags).at(Step::Namespaces, || {
        "join the container's namespaces".to_owned()
    })
}

/// A new network namespace has its loopback device down.
pub(super) fn loopback(plan: &Plan) -> Result<(), SetupError> {
    let new = |n: &hull_abi::NamespacePlan| n.kind == NamespaceKind::Network && n.path.is_none();
    if plan.namespaces.iter().any(new) && !fault::leaves_out("loopback") {
        hull_sys::net::loopback_up().at(Step::Loopback, || "bring lo up".to_owned())?;
    }
    Ok(())
}

/// Host and domain name of the container's own UTS namespace.
pub(super) fn set_names(plan: &Plan) -> Result<(), SetupError> {
    if fault::leaves_out("host name") {
        return Ok(());
    }
    if let Some(name) = &plan.hostname {
        nix::unistd::sethostname(name)
            .at(Step::Hostname, || format!("set the host name to {name:?}"))?;
    }
    if let Some(name) = &plan.domainname {
        hull_sys::process::set_domain_name(name).at(Step::Hostname, || {
            format!("set the domain name to {name:?}")
        })?;
    }
    Ok(())
}
