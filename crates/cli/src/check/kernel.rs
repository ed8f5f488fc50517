//! The kernel's interfaces that hull uses, each called in a way that does nothing: what it answers
//! tells whether it is there, whatever the version says.

use super::item::{Item, is_root};
use hull_sys::clone::{CloneArgs, Cloned};
use hull_sys::mount::{self, FsContext, MountAttr};
use hull_sys::single::SingleThreaded;
use hull_sys::{Errno, fd, fs, pidfd};
use std::fs::read_to_string;
use std::os::fd::AsFd as _;
use std::path::Path;

/// Without these no container is made: `CAP_DAC_OVERRIDE`, `CAP_SETPCAP`, `CAP_NET_ADMIN`,
/// `CAP_SYS_ADMIN`.
const NEEDED: u64 = 1 << 1 | 1 << 8 | 1 << 12 | 1 << 21;

/// Whether an interface is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    There,
    Missing,
    /// Something keeps us from asking.
    Unknown,
}

/// An interface, the version of Linux that brought it, and how to ask for it.
struct Interface {
    name: &'static str,
    since: &'static str,
    ask: fn() -> Answer,
}

const INTERFACES: [Interface; 11] = [
    Interface {
        name: "pidfd_send_signal",
        since: "5.1",
        ask: || with_own_pidfd(|pidfd| pidfd::send_signal(pidfd, 0), |_| false),
    },
    Interface {
        name: "fsopen",
        since: "5.2",
        ask: || answer(FsContext::open("tmpfs").map(drop), |_| false),
    },
    Interface {
        name: "open_tree",
        since: "5.2",
        ask: || {
            answer(
                mount::clone_tree("/proc/self/no such file", false).map(drop),
                |_| false,
            )
        },
    },
    Interface {
        name: "move_mount",
        since: "5.2",
        ask: || with_memory(|file| mount::move_mount(file, file), |_| false),
    },
    Interface {
        name: "pidfd_open",
        since: "5.3",
        ask: || with_own_pidfd(|_| Ok(()), |_| false),
    },
    Interface {
        name: "clone3",
        since: "5.3",
        // Contradicts itself, so nothing is cloned.
        ask: || clone3(nix::libc::CLONE_NEWNS | nix::libc::CLONE_FS, false),
    },
    Interface {
        name: "waitid by pidfd",
        since: "5.4",
        // ECHILD: nobody is the child of itself.
        ask: || with_own_pidfd(|pidfd| pidfd::reap(pidfd).map(drop), |e| e == Errno::EINVAL),
    },
    Interface {
        name: "openat2",
        since: "5.6",
        ask: || {
            let opened = fs::InRoot::open(Path::new("/")).and_then(|root| root.resolve("/"));
            answer(opened.map(drop), |_| false)
        },
    },
    Interface {
        name: "CLONE_INTO_CGROUP",
        since: "5.7",
        // EBADF: no cgroup is behind the descriptor.
        ask: || clone3(0, true),
    },
    Interface {
        name: "close_range",
        since: "5.11",
        // Everything that this program opens is close-on-exec already.
        ask: || answer(fd::cloexec_all(), |e| e == Errno::EINVAL),
    },
    Interface {
        name: "mount_setattr",
        since: "5.12",
        ask: || {
            let attr = MountAttr {
                set: hull_abi::MountFlags::RDONLY.0,
                ..MountAttr::default()
            };
            // The descriptor is of a file, not of a mount.
            with_memory(|file| mount::set_attr(file, attr, false), |_| false)
        },
    },
];

/// Who we are, the version, and the interfaces.
pub(super) fn items() -> Vec<Item> {
    let answers: Vec<(&Interface, Answer)> = INTERFACES
        .iter()
        .map(|interface| (interface, (interface.ask)()))
        .collect();
    vec![root(), version(), interfaces(&answers)]
}

fn root() -> Item {
    const NAME: &str = "root";
    if !is_root() {
        return Item::unknown(NAME, "this is not root, so not everything can be looked at")
            .advise("run hull check as root, as containerd runs the shim");
    }
    let (Ok(own), Ok(last)) = (
        hull_sys::cred::capabilities(),
        hull_sys::cred::last_capability(),
    ) else {
        return Item::unknown(NAME, "the capabilities of this process cannot be read");
    };
    let all = u64::MAX >> 63_u32.saturating_sub(last.into());
    capabilities(all & !own.permitted)
}

/// What it means that these are missing.
fn capabilities(missing: u64) -> Item {
    const NAME: &str = "root";
    let names = |set| {
        let names = hull_plan::capability_names(set).map(|name| format!("CAP_{name}"));
        names.collect::<Vec<_>>().join(", ")
    };
    let needed = missing & NEEDED;
    if needed != 0 {
        let text = format!("root, but without {}: no container is made", names(needed));
        return Item::fail(NAME, text).advise("run it outside of the container that takes it away");
    }
    if missing == 0 {
        return Item::ok(NAME, "uid 0 with every capability");
    }
    let text = format!(
        "uid 0, but without {}: no container can have it",
        names(missing)
    );
    Item::warn(NAME, text)
}

fn version() -> Item {
    match read_to_string("/proc/sys/kernel/osrelease") {
        Ok(release) => Item::ok("version", format!("Linux {}", release.trim())),
        Err(e) => Item::unknown("version", format!("/proc/sys/kernel/osrelease: {e}")),
    }
}

fn interfaces(answers: &[(&Interface, Answer)]) -> Item {
    const NAME: &str = "interfaces";
    let of = |wanted: Answer| -> Vec<String> {
        answers
            .iter()
            .filter(|(_, answer)| *answer == wanted)
            .map(|(interface, _)| match wanted {
                Answer::Missing => format!("{} (Linux {})", interface.name, interface.since),
                Answer::There | Answer::Unknown => interface.name.to_owned(),
            })
            .collect()
    };
    let (there, missing, unknown) = (of(Answer::There), of(Answer::Missing), of(Answer::Unknown));
    if !missing.is_empty() {
        let text = format!("the kernel lacks {}", missing.join(", "));
        return Item::fail(NAME, text).advise(
            "run Linux 5.12 or later; a seccomp filter around this process may also hide them",
        );
    }
    if !unknown.is_empty() {
        return Item::unknown(NAME, format!("{} cannot be asked for", unknown.join(", ")));
    }
    Item::ok(NAME, there.join(", "))
}

/// ENOSYS means that it is missing, success and every other error that it is there, except for
/// those by which older kernels say that they do not know it.
fn answer(asked: Result<(), Errno>, is_older: fn(Errno) -> bool) -> Answer {
    match asked {
        Err(Errno::ENOSYS) => Answer::Missing,
        Err(errno) if is_older(errno) => Answer::Missing,
        Ok(()) | Err(_) => Answer::There,
    }
}

fn with_own_pidfd(
    ask: fn(&std::os::fd::OwnedFd) -> Result<(), Errno>,
    is_older: fn(Errno) -> bool,
) -> Answer {
    match pidfd::open(nix::unistd::getpid().as_raw()) {
        Ok(own) => answer(ask(&own), is_older),
        Err(Errno::ENOSYS) => Answer::Missing,
        Err(_) => Answer::Unknown,
    }
}

fn with_memory(
    ask: impl FnOnce(&std::os::fd::OwnedFd) -> Result<(), Errno>,
    is_older: fn(Errno) -> bool,
) -> Answer {
    match fd::memory(c"hull check") {
        Ok(file) => answer(ask(&file), is_older),
        Err(_) => Answer::Unknown,
    }
}

/// A call that every kernel refuses; `into` asks for birth in a cgroup that is none.
fn clone3(namespaces: i32, into: bool) -> Answer {
    let (Ok(proof), Ok(file)) = (SingleThreaded::check(), fd::memory(c"hull check")) else {
        return Answer::Unknown;
    };
    let args = CloneArgs {
        namespaces,
        cgroup: into.then(|| file.as_fd()),
        sibling: false,
    };
    match hull_sys::clone::clone3(&proof, args) {
        Err(errno) => answer(
            Err(errno),
            if into {
                |e| e == Errno::EINVAL
            } else {
                |_| false
            },
        ),
        // No kernel does either; should one, the process must not go on as a second hull.
        Ok(Cloned::Child) => hull_sys::process::exit_now(0),
        Ok(Cloned::Parent { .. }) => Answer::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::item::Status;

    #[test]
    fn what_is_missing_is_named_with_its_version() {
        let known: Vec<&Interface> = INTERFACES.iter().collect();
        let all = |answer: Answer| known.iter().map(|i| (*i, answer)).collect::<Vec<_>>();
        let there = interfaces(&all(Answer::There));
        assert_eq!(there.status, Status::Ok);
        assert!(there.text.contains("clone3") && there.text.contains("mount_setattr"));
        let mut older = all(Answer::There);
        older[10].1 = Answer::Missing;
        older[0].1 = Answer::Unknown;
        let item = interfaces(&older);
        assert_eq!(item.status, Status::Fail);
        assert_eq!(item.text, "the kernel lacks mount_setattr (Linux 5.12)");
        assert_eq!(interfaces(&all(Answer::Unknown)).status, Status::Unknown);
    }

    #[test]
    fn enosys_and_what_older_kernels_say_mean_missing() {
        let older = |e| e == Errno::EINVAL;
        assert_eq!(answer(Err(Errno::ENOSYS), |_| false), Answer::Missing);
        assert_eq!(answer(Err(Errno::EINVAL), older), Answer::Missing);
        assert_eq!(answer(Err(Errno::EINVAL), |_| false), Answer::There);
        assert_eq!(answer(Err(Errno::EPERM), older), Answer::There);
        assert_eq!(answer(Ok(()), older), Answer::There);
    }

    #[test]
    fn this_kernel_has_what_can_be_asked_for_with_other_threads_around() {
        for interface in &INTERFACES {
            let answer = (interface.ask)();
            assert_ne!(answer, Answer::Missing, "{}", interface.name);
        }
    }

    #[test]
    fn capabilities_that_every_container_needs_are_told_from_others() {
        assert_eq!(capabilities(0).status, Status::Ok);
        for (bit, name) in [
            (1, "DAC_OVERRIDE"),
            (8, "SETPCAP"),
            (12, "NET_ADMIN"),
            (21, "SYS_ADMIN"),
        ] {
            let item = capabilities(1 << bit | 1 << 16);
            assert_eq!(item.status, Status::Fail, "{name}");
            let want = format!("root, but without CAP_{name}: no container is made");
            assert_eq!(item.text, want);
        }
        assert_eq!(capabilities(1 << 16).status, Status::Warn);
    }
}
