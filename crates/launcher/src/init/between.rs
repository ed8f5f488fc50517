//! The process in between: still the host's root in the host's mount namespace, it does what only
//! that one can and clones the process that goes on, which is a child of the daemon like itself.
//!
//! Every exec has one. An init has one if its container has a user namespace, shifted clocks or
//! id-mapped mounts; any other is cloned into its namespaces by the launcher itself.

use super::host_files::HostFiles;
use super::{FromHost, Membership, Newborn, cgroups, inside, namespaces, read_plan, root, session};
use super::{step, user_namespace};
use crate::failure::{At, because, by_clone};
use crate::fault;
use crate::id_maps;
use crate::spawn::clone_flag;
use crate::sync::Sync;
use hull_abi::{Blame, FromInit, IdMaps, NamespaceKind, Plan, SetupError, Step};
use hull_sys::clone::{CloneArgs, Cloned, clone3};
use hull_sys::single::SingleThreaded;
use std::os::fd::{AsFd as _, OwnedFd};

/// On which side of the clone we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The process in between, which has nothing left to do.
    Between,
    /// The process that goes on.
    GoesOn,
}

/// How to clone the process that goes on.
pub(super) struct Onward<'a> {
    pub(super) single: &'a SingleThreaded,
    pub(super) sync: &'a Sync,
    /// `CLONE_NEW*` flags.
    pub(super) namespaces: i32,
    /// Of the new user namespace, if there is one among them.
    pub(super) id_maps: Option<&'a IdMaps>,
    /// The fault point of this step.
    pub(super) fault: fn(Step) -> Result<(), SetupError>,
}

/// Prepares an init process and clones it. Returns in this process when that is done, in the new one
/// only with the reason why it failed.
pub(super) fn run(
    single: &SingleThreaded,
    sync: &Sync,
    body: OwnedFd,
    own_program: Option<OwnedFd>,
    membership: &Membership,
) -> Result<(), SetupError> {
    step::begin(Step::Plan)?;
    let plan: Plan = read_plan(body)?;
    // Before there is a user namespace, which would take the right to (CVE-2025-47291).
    step::begin(Step::JoinCgroup)?;
    cgroups::join(&membership.cgroup)?;
    session::set_oom_score(plan.process.oom_score_adj)?;
    step::begin(Step::Namespaces)?;
    let joined = namespaces::open(&plan, |_| true)?;
    let files = HostFiles::open(single, &plan)?;
    namespaces::shift_clocks(&plan)?;
    namespaces::join(joined)?;
    let kinds = plan.namespaces.iter().map(|n| n.kind);
    let cloned = kinds.filter(|kind| namespaces::is_cloned(&plan, *kind));
    let onward = Onward {
        single,
        sync,
        namespaces: cloned.fold(0, |flags, kind| flags | clone_flag(kind)),
        id_maps: plan
            .has_new_namespace(NamespaceKind::User)
            .then_some(&plan.id_maps),
        fault: fault::point,
    };
    if clone_onward(onward)? == Side::Between {
        return Ok(());
    }
    // Still with the host's root's own files in reach: the way to the root may be closed to others.
    let root = root::open(&plan.root)?;
    if plan.has_namespace(NamespaceKind::User) {
        step::begin(Step::IdMaps)?;
        if !fault::leaves_out("root of users") {
            user_namespace::become_root()?;
        }
    }
    namespaces::make_late(&plan)?;
    inside(Newborn {
        sync,
        plan: &plan,
        own_program,
        membership,
        host: Some(FromHost { files, root }),
    })
}

/// Clones the process that goes on and tells the daemon of it. The new one waits until that is done.
pub(super) fn clone_onward(onward: Onward<'_>) -> Result<Side, SetupError> {
    // A byte tells the new process that the daemon knows of it; without one nobody does, and it ends.
    let (announced, announcing) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
        .at(Step::Clone, || "make a pipe".to_owned())?;
    let args = CloneArgs {
        namespaces: onward.namespaces,
        sibling: true,
        ..CloneArgs::default()
    };
    match clone3(onward.single, args).map_err(by_clone)? {
        Cloned::Parent { pid, pidfd } => {
            if let Some(maps) = onward.id_maps {
                id_maps::write_maps(pid, maps)?;
            }
            let word = FromInit::Cloned { pid };
            onward.sync.send_fds(Step::Clone, &word, &[pidfd.as_fd()])?;
            (onward.fault)(Step::Clone)?;
            nix::unistd::write(&announcing, b"!")
                .at(Step::Clone, || "announce a process".to_owned())?;
            Ok(Side::Between)
        }
        Cloned::Child => {
            onward.sync.follow_daemon();
            drop(announcing);
            let action = || "wait to be announced".to_owned();
            let byte = hull_sys::fd::read_to_end(announced, 1).at(Step::Clone, action)?;
            if byte.is_empty() {
                let cause = "its maker was killed";
                return Err(because(Step::Clone, Blame::Host, action(), cause));
            }
            Ok(Side::GoesOn)
        }
    }
}
