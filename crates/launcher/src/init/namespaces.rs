//! Joining and finishing namespaces. New ones (but the cgroup and the time namespace) are made by
//! clone3; without a process in between the launcher joins the PID namespace.

use crate::failure::{At, Blamed, because};
use crate::fault;
use crate::spawn::{clone_flag, open_namespace};
use crate::step;
use hull_abi::{Blame, NamespaceKind, Plan, SetupError, Step, TimeOffset};
use hull_sys::ns;
use nix::sys::stat::{fstat, stat};
use std::os::fd::OwnedFd;

/// A namespace file, open.
pub(super) type Joined = (NamespaceKind, OwnedFd);

/// Joins existing namespaces and makes the cgroup namespace.
pub(super) fn enter(plan: &Plan) -> Result<(), SetupError> {
    // The launcher has joined the PID namespace.
    join(open(plan, |kind| kind != NamespaceKind::Pid)?)?;
    make_cgroup(plan)
}

/// Opens the existing namespaces. All of them first: after joining a mount namespace their paths
/// mean something else, after joining a user namespace they may be out of reach.
pub(super) fn open(
    plan: &Plan,
    wanted: impl Fn(NamespaceKind) -> bool,
) -> Result<Vec<Joined>, SetupError> {
    let joined = plan
        .namespaces
        .iter()
        .filter(|n| wanted(n.kind))
        .filter_map(|n| n.path.as_deref().map(|path| (n.kind, path)))
        .map(|(kind, path)| Ok((kind, open_namespace(kind, path)?)))
        .collect::<Result<Vec<_>, SetupError>>()?;
    refuse_host_network(plan, &joined)?;
    refuse_host_user(&joined)?;
    Ok(joined)
}

/// Joins namespaces. The user namespace comes last: it takes away the right to join those that belong
/// to others, and gives none that the host's root does not have.
pub(super) fn join(mut joined: Vec<Joined>) -> Result<(), SetupError> {
    joined.sort_by_key(|(kind, _)| turn(*kind));
    for (kind, fd) in joined {
        if fault::leaves_out("join namespaces") {
            break;
        }
        ns::set(fd, clone_flag(kind)).at(Step::Namespaces, || {
            format!("join the {kind:?} namespace").to_lowercase()
        })?;
    }
    Ok(())
}

/// When a namespace is joined, where it is one after the other.
fn turn(kind: NamespaceKind) -> u8 {
    match kind {
        NamespaceKind::User => 2,
        NamespaceKind::Mount => 1,
        NamespaceKind::Pid
        | NamespaceKind::Network
        | NamespaceKind::Ipc
        | NamespaceKind::Uts
        | NamespaceKind::Cgroup
        | NamespaceKind::Time => 0,
    }
}

/// Makes the cgroup namespace, whose root is the cgroup that we are in.
fn make_cgroup(plan: &Plan) -> Result<(), SetupError> {
    if plan.has_new_namespace(NamespaceKind::Cgroup) && !fault::leaves_out("cgroup namespace") {
        ns::unshare(clone_flag(NamespaceKind::Cgroup))
            .at(Step::Namespaces, || "make the cgroup namespace".to_owned())?;
    }
    Ok(())
}

/// Whether clone3 makes a namespace of this kind on the way through a process in between.
pub(super) fn is_cloned(plan: &Plan, kind: NamespaceKind) -> bool {
    let later = match kind {
        NamespaceKind::Cgroup | NamespaceKind::Time => true,
        NamespaceKind::Ipc => plan.has_namespace(NamespaceKind::User),
        NamespaceKind::Mount
        | NamespaceKind::Pid
        | NamespaceKind::Network
        | NamespaceKind::Uts
        | NamespaceKind::User => false,
    };
    plan.has_new_namespace(kind) && !later
}

/// Makes the namespaces that clone3 has not made: the message queues of a new IPC namespace belong to
/// who makes it, which must be the root of the user namespace already.
pub(super) fn make_late(plan: &Plan) -> Result<(), SetupError> {
    if plan.has_namespace(NamespaceKind::User) && plan.has_new_namespace(NamespaceKind::Ipc) {
        ns::unshare(clone_flag(NamespaceKind::Ipc))
            .at(Step::Namespaces, || "make the ipc namespace".to_owned())?;
    }
    make_cgroup(plan)
}

/// Makes a time namespace for our children. Its clocks can be set until the first one is in it.
pub(super) fn shift_clocks(plan: &Plan) -> Result<(), SetupError> {
    if !plan.has_new_namespace(NamespaceKind::Time) {
        return Ok(());
    }
    step::begin(Step::TimeOffsets)?;
    ns::unshare(clone_flag(NamespaceKind::Time))
        .at(Step::TimeOffsets, || "make the time namespace".to_owned())?;
    if plan.time_offsets.is_empty() || fault::leaves_out("time offsets") {
        return Ok(());
    }
    let lines = plan.time_offsets.iter().map(|offset| {
        let TimeOffset {
            clock,
            seconds,
            nanoseconds,
        } = offset;
        format!("{} {seconds} {nanoseconds}\n", clock.name())
    });
    let text: String = lines.collect();
    let action = || format!("shift the clocks by {:?}", text.trim_end());
    std::fs::write("/proc/self/timens_offsets", &text)
        .map_err(|e| hull_sys::fd::errno(&e))
        .at(Step::TimeOffsets, action)
        .blame(Blame::Caller)
}

/// Joining the user namespace that we are in is an error that nobody would understand (setns(2)), and
/// no isolation.
fn refuse_host_user(joined: &[Joined]) -> Result<(), SetupError> {
    let action = || "join the user namespace".to_owned();
    refuse_own(joined, NamespaceKind::User, "user", action)
}

/// `net.*` parameters of a network namespace that turns out to be the host's would change the host.
fn refuse_host_network(plan: &Plan, joined: &[Joined]) -> Result<(), SetupError> {
    let Some(sysctl) = plan.sysctls.iter().find(|s| s.path.starts_with("net/")) else {
        return Ok(());
    };
    let action = || format!("write sysctl {:?}", sysctl.path);
    refuse_own(joined, NamespaceKind::Network, "net", action)
}

fn refuse_own(
    joined: &[Joined],
    kind: NamespaceKind,
    file: &str,
    action: impl Fn() -> String,
) -> Result<(), SetupError> {
    for (_, fd) in joined.iter().filter(|(other, _)| *other == kind) {
        let theirs = fstat(fd).at(Step::Namespaces, &action)?;
        let own = stat(format!("/proc/self/ns/{file}").as_str()).at(Step::Namespaces, &action)?;
        if (theirs.st_dev, theirs.st_ino) == (own.st_dev, own.st_ino) {
            let cause = format!("the {kind:?} namespace is the host's").to_lowercase();
            return Err(because(Step::Namespaces, Blame::Caller, action(), &cause));
        }
    }
    Ok(())
}

/// Joins the namespaces of a running container through the pidfd of its init process: all at once, or where
/// the kernel does not do that, one after the other, which also tells which of them it refuses. The PID
/// namespace only counts for children (setns(2)).
pub(super) fn join_container(init: &OwnedFd, kinds: &[NamespaceKind]) -> Result<(), SetupError> {
    let flags = kinds
        .iter()
        .fold(0, |flags, &kind| flags | clone_flag(kind));
    if flags == 0 || !fault::leaves_out("join at once") && ns::set(init, flags).is_ok() {
        return Ok(());
    }
    let mut kinds = kinds.to_vec();
    kinds.sort_by_key(|kind| turn(*kind));
    for kind in kinds {
        ns::set(init, clone_flag(kind)).at(Step::Namespaces, || {
            format!("join the container's {kind:?} namespace").to_lowercase()
        })?;
    }
    Ok(())
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
