//! The maps of user namespaces: of a container's, and of those that only lend theirs to a mount.

use crate::failure::{At, Blamed, because, by_clone};
use crate::spawn::open_namespace;
use hull_abi::{Blame, IdMaps, NamespaceKind, SetupError, Step, map_text};
use hull_sys::clone::{CloneArgs, Cloned, clone3};
use hull_sys::mount::set_id_map;
use hull_sys::single::SingleThreaded;
use hull_sys::{Errno, fd, pidfd, process};
use nix::fcntl::OFlag;
use nix::libc::{CLONE_NEWUSER, SIGKILL};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long a killed process that has done nothing may take to end.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// Writes the maps of the user namespace that a child of ours was born in. As the host's root: nothing has
/// to be given up for it, setgroups(2) stays allowed.
pub(crate) fn write_maps(pid: i32, maps: &IdMaps) -> Result<(), SetupError> {
    for (file, map) in [("uid_map", &maps.uids), ("gid_map", &maps.gids)] {
        let text = map_text(map);
        std::fs::write(format!("/proc/{pid}/{file}"), &text)
            .map_err(|e| fd::errno(&e))
            .at(Step::IdMaps, || {
                format!("write {:?} to {file}", text.trim_end())
            })?;
    }
    Ok(())
}

/// The file of a new user namespace with these maps, in which nobody lives.
pub(crate) fn namespace_with(
    single: &SingleThreaded,
    maps: &IdMaps,
) -> Result<OwnedFd, SetupError> {
    let action = || "make a user namespace for an id-mapped mount".to_owned();
    let (end, alive) = nix::unistd::pipe2(OFlag::O_CLOEXEC).at(Step::IdMaps, action)?;
    let args = CloneArgs {
        namespaces: CLONE_NEWUSER,
        ..CloneArgs::default()
    };
    match clone3(single, args).map_err(by_clone)? {
        Cloned::Parent { pid, pidfd } => {
            let made = write_maps(pid, maps).and_then(|()| {
                open_namespace(NamespaceKind::User, &format!("/proc/{pid}/ns/user"))
            });
            drop(alive);
            reap(&pidfd).map_or_else(|| made, Err)
        }
        Cloned::Child => {
            drop(alive);
            // It only has to be there until its namespace is open, and not longer than its maker.
            drop(fd::read_to_end(end, 1));
            process::exit_now(0)
        }
    }
}

/// Ends a process that nobody needs any more. Gives what went wrong.
fn reap(pidfd: &OwnedFd) -> Option<SetupError> {
    let action = || "end the process of a user namespace".to_owned();
    let ended = pidfd::send_signal(pidfd, SIGKILL)
        .and_then(|()| pidfd::wait_ended(pidfd, END_DEADLINE))
        .at(Step::IdMaps, action);
    match ended {
        Ok(true) => pidfd::reap(pidfd).at(Step::IdMaps, action).err(),
        Ok(false) => {
            let cause = "it is still there after 5 s";
            Some(because(Step::IdMaps, Blame::Host, action(), cause))
        }
        Err(error) => Some(error),
    }
}

/// Shows the files of a detached mount with other owners.
pub(crate) fn apply(
    tree: &OwnedFd,
    namespace: &OwnedFd,
    recursive: bool,
    of: (Step, impl FnOnce() -> String),
) -> Result<(), SetupError> {
    let (step, action) = of;
    match set_id_map(tree, namespace, recursive) {
        Err(Errno::EINVAL) => {
            let cause = "the file system of the source does not support id-mapped mounts";
            Err(because(step, Blame::Caller, action(), cause))
        }
        other => other.at(step, action).blame(Blame::Caller),
    }
}
